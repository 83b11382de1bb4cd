/* What the programs that measure share. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double seconds_of(clockid_t clock) {
        struct timespec t;
        clock_gettime(clock, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double seconds(void) {
        return seconds_of(CLOCK_MONOTONIC);
}

static inline _Noreturn void give_up(const char *why) {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
        exit(1);
}
