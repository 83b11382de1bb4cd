/* Continuous batching for one loaded model: which rows of which sequences make the next step.
 *
 * A sequence waits in the fair queue, gets a slot, has its prompt computed in chunks and then one row a step, and
 * leaves at its end; sequences join and leave between any two steps. A step takes the decodes first, then prefill up
 * to the row limit. Two steps are in flight: the second is enqueued before the first one's result is seen, which the
 * device makes possible by writing sampled tokens where the next step reads them. The results of a sequence that
 * ended or lost its slot meanwhile are dropped.
 *
 * Pages are taken for all of a prompt when it gets its slot, then one by one. When none is left, the running sequence
 * with the least claim (batch class, most service had, youngest) gives its slot up and returns to the front of its
 * user's queue; it is computed again from its tokens, with the same result, since values do not depend on the batch.
 * The arena holds at least one full context, so the last one running always comes to its end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/seq.h"
#include "event/event.h"
#include "model/model.h"

typedef struct Sched Sched;

typedef struct SchedSpec {
        uint32_t slots, context, batch_tokens;
        uint32_t n_pages; /* of SCHED_PAGE_SIZE positions; at least one context */
} SchedSpec;

enum { SCHED_PAGE_SIZE = 32 };

/* Counted since the engine started: kept by the owner, who outlives the scheduler. */
typedef struct SchedCounts {
        uint64_t steps, rows, prompt_tokens, cached_tokens, generation_tokens, preemptions;
} SchedCounts;

/* Called on the loop; each may end its sequence, with sched_remove(). */
typedef struct SchedHandlers {
        void (*started)(Seq *q);  /* it has its first slot */
        void (*progress)(Seq *q); /* it has a new token, or is finished */
        void (*failed)(void *owner, int error); /* the device is lost */
} SchedHandlers;

/* Bytes on the device apart from weights and pages; SIZE_MAX: too large. */
size_t sched_size(const Model *m, const SchedSpec *spec);
/* Allocates; may take long, so it belongs on a worker. The model is loaded on `d`. */
int sched_new(Device *d, Model *m, const SchedSpec *spec, Sched **ret, Error *e);
/* Waits for what is in flight. */
void sched_free(Sched *s);
DEFINE_CLEANUP(Sched, sched_free)

/* On the loop's thread: between the two the scheduler runs. */
int sched_start(Sched *s, EventLoop *l, const SchedHandlers *handlers, void *owner, SchedCounts *counts);
void sched_stop(Sched *s);

/* Queues a prepared sequence for its user. -ENOMEM. */
int sched_add(Sched *s, Seq *q);
/* Takes it out, waiting or running: its slot and pages are free at once. Does nothing when it is not in. */
void sched_remove(Sched *s, Seq *q);

typedef struct SchedLoad {
        uint32_t running, waiting, pages_used, pages;
} SchedLoad;
SchedLoad sched_load(const Sched *s);
