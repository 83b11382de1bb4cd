/* The engines' programs: for the CPU, and for CUDA where it is installed. They are opened when the daemon starts, and
 * what is started later is what was opened then: while a package is upgraded another version lies in their place, which
 * need not speak our language. One that is missing is looked for again each time. */
#pragma once

#include <sys/types.h>

#include "util/error.h"

typedef struct Programs {
        int cpu, cuda; /* O_PATH descriptors; -1: not there */
} Programs;

#define PROGRAMS_NULL ((Programs){-1, -1})

void programs_open(Programs *p);
void programs_close(Programs *p);
/* Starts the engine for a pool's device, with `fd`, which stays the caller's, as its end of the connection: the one with
 * CUDA where that is asked for or may be used. The other one says so where a GPU was asked for, or refuses where it is
 * required. A negative errno; -ENOENT, -EACCES: trying again would not help. */
int programs_spawn(Programs *p, const char *device, int fd, pid_t *ret_pid, Error *e);
