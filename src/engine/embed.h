/* Dynamic batching for one loaded encoder: which inputs of which jobs make the next batch.
 *
 * A batch is texts one after another, without padding, up to batch_tokens tokens and to what takes some 20 ms; a text
 * that is longer than that has a batch of its own. Its inputs are picked one at a time: the next input of the job that
 * the fair queue names, which then lets the other jobs of its user go first. So a job of ten thousand inputs delays one
 * of a single input by what is being computed, and by no more of its own inputs than there are jobs. In the batch the
 * longest texts come first, so that the threads of a device have the short ones to even out.
 *
 * An idle encoder starts at once. When a batch is nearly computed the next one is enqueued, before the result of the first
 * is seen, when it is full, or when its oldest input has waited for batch_wait: until then there may be more to come. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/lane.h"
#include "engine/runner.h"
#include "model/model.h"

typedef struct EmbedSpec {
        uint32_t batch_tokens;
        uint32_t max_tokens; /* of one text */
        uint64_t batch_wait; /* microseconds */
} EmbedSpec;

/* Bytes on the device apart from the weights; SIZE_MAX: too large. */
size_t embed_size(const Model *m, const EmbedSpec *spec);
/* Allocates; belongs on a worker. The model is an encoder, and loaded on the lane's device. */
int embed_new(Lane *lane, Model *m, const EmbedSpec *spec, Runner **ret, Error *e);
