/* What event.c (shared) asks of the two implementations, and the reverse. */
#pragma once

#include "event/event.h"

typedef struct EventStats {
        uint64_t longest_usec;
        const char *longest_name;
} EventStats;

/* Every callback goes through here, to be timed. */
void event_dispatch(EventSource *s, uint32_t revents);
EventStats *event_loop_stats(EventLoop *l);

/* Releases `impl` of an io, timer or defer source. */
void event_impl_remove(EventSource *s);
