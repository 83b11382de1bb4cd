/* Flattening of a step; see batch.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/batch.h"
#include "util/checked.h"

size_t batch_size(uint32_t slots, uint32_t context, uint32_t max_rows, uint32_t max_samples) {
        size_t tokens, rest = (2 * (size_t)max_rows + max_samples) * sizeof(int32_t) + max_samples * sizeof(SampleOut), total;
        if (!checked_mul3(slots, context, sizeof(int32_t), &tokens) || !checked_add(tokens, rest, &total))
                return SIZE_MAX;
        return total;
}

static int make_buffer(Device *d, size_t n, size_t size, Buffer *ret, Error *e) {
        size_t bytes;
        if (!checked_mul(n, size, &bytes) || d->ops->buffer_new(d, bytes, ret) < 0)
                return error_set(e, -ENOMEM, "not enough memory on %s for the tokens of a batch (%zu entries)", d->name,
                                 n);
        return 0;
}

int batch_init(Batch *b, Device *d, uint32_t slots, uint32_t context, uint32_t max_rows, uint32_t max_samples, Error *e) {
        *b = (Batch){.device = d, .max_rows = max_rows, .context = context};
        b->slot = calloc(max_rows, sizeof(int32_t));
        b->position = calloc(max_rows, sizeof(int32_t));
        b->index = calloc(max_samples, sizeof(int32_t));
        b->packed = calloc(2 * (size_t)max_rows + max_samples, sizeof(int32_t));
        b->params = calloc(max_samples, sizeof(SampleParams));
        int r = b->slot && b->position && b->index && b->packed && b->params
                        ? 0 : error_set(e, -ENOMEM, "not enough memory for a batch of %u rows", max_rows);
        if (r == 0)
                r = make_buffer(d, (size_t)slots * context, sizeof(int32_t), &b->tokens, e);
        if (r == 0)
                r = make_buffer(d, 2 * (size_t)max_rows + max_samples, sizeof(int32_t), &b->arrays, e);
        if (r == 0)
                r = make_buffer(d, max_samples, sizeof(SampleOut), &b->out, e);
        if (r < 0)
                batch_deinit(b);
        return r;
}

static void free_buffer(Device *d, Buffer *buffer) {
        if (buffer->data)
                d->ops->buffer_free(d, buffer);
}

void batch_deinit(Batch *b) {
        free_buffer(b->device, &b->tokens);
        free_buffer(b->device, &b->arrays);
        free_buffer(b->device, &b->out);
        free(b->slot);
        free(b->position);
        free(b->index);
        free(b->packed);
        free(b->params);
        *b = BATCH_NULL;
}

void batch_add(Batch *b, uint32_t slot, uint32_t first, uint32_t n) {
        for (uint32_t i = 0; i < n; i++, b->n_rows++) {
                b->slot[b->n_rows] = (int32_t)slot;
                b->position[b->n_rows] = (int32_t)(first + i);
        }
}

void batch_sample_last(Batch *b, const SampleParams *params) {
        b->index[b->n_samples] = (int32_t)b->n_rows - 1;
        b->params[b->n_samples++] = *params;
}

void batch_put_tokens(Batch *b, Stream *s, uint32_t slot, uint32_t first, const int32_t *ids, uint32_t n) {
        int32_t *tokens = b->tokens.data;
        b->device->ops->upload(s, tokens + (size_t)slot * b->context + first, ids, n * sizeof(*ids));
}

void batch_upload(Batch *b, Stream *s, Rows *ret, const int32_t **ret_index) {
        uint32_t n = b->n_rows;
        int32_t *dev = b->arrays.data;
        memcpy(b->packed, b->slot, n * sizeof(int32_t));
        memcpy(b->packed + n, b->position, n * sizeof(int32_t));
        memcpy(b->packed + 2 * n, b->index, b->n_samples * sizeof(int32_t));
        b->device->ops->upload(s, dev, b->packed, (2 * (size_t)n + b->n_samples) * sizeof(int32_t));
        *ret = (Rows){.n = n, .slot = dev, .position = dev + n, .tokens = b->tokens.data, .context = b->context};
        *ret_index = dev + 2 * n;
}
