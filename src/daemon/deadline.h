/* Moments by which something must have happened, of any number of objects: a heap, and one timer for the nearest. A
 * Deadline is embedded in its owner, which is found back with container_of(). */
#pragma once

#include "event/event.h"
#include "util/heap.h"

typedef HeapItem Deadline; /* at: now_usec(); UINT64_MAX: never */

/* `d` has passed: postpone or remove it here, else it passes again at once. */
typedef void (*DeadlinePassed)(Deadline *d);

typedef struct Deadlines {
        EventSource timer;
        uint64_t wake; /* when the timer fires; UINT64_MAX: it is not set */
        Heap heap;
        DeadlinePassed passed;
} Deadlines;

int deadlines_init(Deadlines *ds, EventLoop *l, DeadlinePassed passed);
/* Nothing is in it any more. */
void deadlines_deinit(Deadlines *ds);
/* -ENOMEM. What is in can be moved and removed without a chance to fail. */
int deadlines_add(Deadlines *ds, Deadline *d, uint64_t at);
void deadlines_move(Deadlines *ds, Deadline *d, uint64_t at);
void deadlines_remove(Deadlines *ds, Deadline *d);
