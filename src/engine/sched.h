/* Continuous batching for one loaded model: which rows of which sequences make the next step.
 *
 * A sequence waits in the fair queue, gets a slot, has its prompt computed in chunks and then one row a step, and
 * leaves at its end; sequences join and leave between any two steps. A step takes the decodes first, then prefill up
 * to the row limit, shared among the users; less of it where that would keep those who decode waiting for long. Steps are enqueued when the model has its turn on its lane (lane.h), up to
 * LANE_DEPTH of them: the next one before the last one's result is seen, which the device makes possible by writing
 * sampled tokens where the next step reads them, and when the last one is nearly done, so that whoever comes while a step
 * runs is in the next one. Only where steps are very short it is enqueued at once. The results of a sequence that ended
 * or lost its slot meanwhile are dropped.
 *
 * Pages are taken for all of a prompt when it gets its slot, then one by one. When none is left, the running sequence
 * with the least claim (batch class, most service had, youngest) gives its slot up and returns to the front of its
 * user's queue; it is computed again from its tokens, with the same result, since values do not depend on the batch.
 * The arena holds at least one full context, so the last one running always comes to its end.
 *
 * Where the next tokens of a sequence can be guessed (lookup.h), a step computes them after its last one, if it has few rows:
 * then each more costs little. It waits for its last token to be known, and gets no other row until these are seen.
 *
 * A user without a slot gets one from a user who has several, and an interactive sequence gets a batch one's: whoever
 * comes waits for the steps in flight, not for somebody else's long answer.
 *
 * A paused sequence gets no rows. It gives its slot and pages up, before any other, as soon as somebody else waits for
 * a slot or is short of pages, and is then outside the queue until it goes on. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/lane.h"
#include "engine/runner.h"
#include "model/model.h"

typedef struct SchedSpec {
        uint32_t slots, context, batch_tokens;
        uint32_t n_pages; /* of SCHED_PAGE_SIZE positions; at least one context */
        uint32_t lookup_tokens; /* that may be guessed at a time, at most LOOKUP_MAX */
} SchedSpec;

enum { SCHED_PAGE_SIZE = 32 };

/* Bytes on the device apart from weights and pages; SIZE_MAX: too large. */
size_t sched_size(const Model *m, const SchedSpec *spec);
/* Allocates; may take long, so it belongs on a worker. The model is loaded on the lane's device. */
int sched_new(Lane *lane, Model *m, const SchedSpec *spec, Runner **ret, Error *e);
