/* What event.c (shared) asks of the two implementations, and the reverse. */
#pragma once

#include "event/event.h"

#define EVENT_LONGEST_NULL ((EventLongest){.clock_name = "", .cpu_name = ""})

/* Every callback goes through here, to be timed. */
void event_dispatch(EventSource *s, uint32_t revents);
EventLongest *event_loop_stats(EventLoop *l);

/* Releases `impl` of an io, timer or defer source. */
void event_impl_remove(EventSource *s);
