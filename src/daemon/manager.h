/* The service manager (systemd, or whatever speaks its protocol): what it passed to us, and what we tell it.
 *
 * Both protocols are a few lines of environment and one datagram, documented as stable in sd_listen_fds(3) and
 * sd_notify(3); speaking them here keeps them in builds without libsystemd. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

/* Number of descriptors passed ($LISTEN_FDS, the first is 3), 0 when none; marks them close-on-exec and removes the
 * variables. *ret_names: their names, separated by colons, or NULL; caller frees. -EINVAL when the variables are
 * malformed. */
int manager_listen_fds(char **ret_names);

/* Sends newline-separated assignments ("READY=1\nSTATUS=…"). Does nothing without a manager. Never blocks. */
void manager_notify(const char *fmt, ...) _printf_(1, 2);

/* Lets the manager keep `fd` under `name` until the service is stopped, and pass it to the next instance; in place of
 * all it keeps under that name. False without a manager. */
bool manager_store(int fd, const char *name);
/* Waits until the manager has taken all messages in, at most a second: before an end that is nobody's wish but ours. */
void manager_barrier(void);

/* Interval within which WATCHDOG=1 must be sent, microseconds; 0: not asked for. */
uint64_t manager_watchdog_usec(void);
