/* One step as flat arrays: rows on the host, their copy on the device, and where results go.
 *
 * The host side is filled row by row and uploaded in one piece; the device side is one set of arrays for all steps of
 * a stream, since uploads happen in stream order. Sequences are known here by their slots. */
#pragma once

#include <stdint.h>

#include "device/device.h"
#include "util/error.h"

typedef struct Batch {
        Device *device;
        uint32_t max_rows, context;
        Buffer tokens; /* dev [slots, context] */
        Buffer arrays; /* dev: slot[n_rows] position[n_rows] index[n_samples], one after another */
        Buffer out;    /* dev SampleOut[max_samples], of one step */
        int32_t *slot, *position, *index, *packed; /* host */
        SampleParams *params;                      /* host [max_samples] */
        uint32_t n_rows, n_samples;
} Batch;

#define BATCH_NULL ((Batch){0})

int batch_init(Batch *b, Device *d, uint32_t slots, uint32_t context, uint32_t max_rows, uint32_t max_samples, Error *e);
void batch_deinit(Batch *b);
/* Bytes on the device; SIZE_MAX: too large. */
size_t batch_size(uint32_t slots, uint32_t context, uint32_t max_rows, uint32_t max_samples);

static inline void batch_clear(Batch *b) {
        b->n_rows = b->n_samples = 0;
}
/* Adds `n` rows for the positions from `first` on. */
void batch_add(Batch *b, uint32_t slot, uint32_t first, uint32_t n);
/* The row added last is to be sampled. */
void batch_sample_last(Batch *b, const SampleParams *params);

/* Enqueues the upload of a slot's tokens, from the position `first` on. */
void batch_put_tokens(Batch *b, Stream *s, uint32_t slot, uint32_t first, const int32_t *ids, uint32_t n);
/* Enqueues the upload of the rows; *ret_index is where the index of sampled rows is on the device. */
void batch_upload(Batch *b, Stream *s, Rows *ret, const int32_t **ret_index);
