/* What outlives a restart of the daemon: users' accounts and budgets, and the counters of the metrics.
 *
 * They are kept in a memfd which the service manager holds for us (FDSTORE) and passes to the next instance. It is
 * written whenever something changed, about once a second, into the older of two halves, so that a daemon which is
 * killed while it writes leaves the other. What is read back is checked as if a stranger had written it. Without a
 * service manager there is none of this. */
#pragma once

#include <stdint.h>

typedef struct Daemon Daemon;

#define STATE_NAME "state"

typedef struct State {
        int fd;            /* -1: none */
        uint64_t sequence; /* of the last writing; its parity chooses the half */
        uint64_t checksum; /* of what was written last */
} State;

#define STATE_NULL ((State){.fd = -1})

/* Takes over a descriptor that the service manager kept. */
void state_adopt(State *s, int fd);
/* Once, when the configuration is in force: puts back what was kept, or begins anew. */
void state_restore(State *s, Daemon *d);
void state_save(State *s, const Daemon *d);
void state_deinit(State *s);
