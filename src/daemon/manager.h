/* The service manager (systemd, or whatever speaks its protocol): what it passed to us, and what we tell it.
 *
 * Both protocols are a few lines of environment and one datagram, documented as stable in sd_listen_fds(3) and
 * sd_notify(3); speaking them here keeps them in builds without libsystemd. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

/* Number of sockets passed ($LISTEN_FDS, first is descriptor 3), 0 when none; marks them close-on-exec and removes the
 * variables. -EINVAL when the variables are malformed. */
int manager_listen_fds(void);

/* Sends newline-separated assignments ("READY=1\nSTATUS=…"). Does nothing without a manager. Never blocks. */
void manager_notify(const char *fmt, ...) _printf_(1, 2);

/* Interval within which WATCHDOG=1 must be sent, microseconds; 0: not asked for. */
uint64_t manager_watchdog_usec(void);
