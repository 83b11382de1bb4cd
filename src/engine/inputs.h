/* The inputs of an embedding or reranking job: their tokens on the way to the device, their results on the way back.
 *
 * A worker prepares them a slice at a time, in order; slices are put here, and the runner (embed.h) takes inputs one by
 * one, in order, into its batches. Results come in the same order. Slices are prepared only a little ahead of what is
 * taken, so that a job of many inputs needs little memory and no worker for long. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/prep.h"
#include "ipc/ipc.h"
#include "util/buf.h"
#include "util/list.h"

typedef struct Slice {
        ListNode node;
        Buf counts;    /* uint32_t: tokens of each input */
        Buf ids;       /* int32_t */
        Buf types;     /* uint8_t, as many */
        uint32_t next; /* input to be taken */
        size_t at;     /* and where its tokens begin */
} Slice;

typedef struct InputCursor { /* where the next slice begins; the worker's while it prepares */
        uint32_t next, pos, offset;
        size_t at; /* in prompt_ids */
        int32_t *query; /* [n_query] the tokens of what inputs are ranked by; NULL: not made yet */
        size_t n_query;
} InputCursor;

typedef struct Inputs {
        uint32_t n;    /* inputs of the job, of which the first results_sent are of no interest */
        uint32_t n_ready, n_taken, n_done;
        uint64_t tokens_ready; /* of those that are ready and not taken */
        uint64_t tokens_done;  /* of those whose results are in `values` */
        List slices;
        InputCursor cursor;
        Buf values;     /* float: results that were not sent yet */
        uint32_t width; /* numbers of a result */
        int error;      /* of inputs_done(), at the result of input n_done */
} Inputs;

void inputs_init(Inputs *in, const IpcJob *job);
void inputs_deinit(Inputs *in);

/* Whether a job is of this kind, and whether its first slice takes microseconds only. */
bool inputs_are_asked(const IpcJob *job);
bool inputs_are_short(const IpcJob *job);

/* The next slice, with at least one input where any is left; on a worker. 0 or the IpcFailCode whose text is in `e`. */
IpcFailCode inputs_prepare(const PrepModel *m, const IpcJob *job, InputCursor *c, Slice **ret, Error *e);
void slice_free(Slice *s);

/* Takes the slice over. */
void inputs_put(Inputs *in, Slice *s);
/* More should be prepared now. */
bool inputs_want_more(const Inputs *in);
/* Tokens of the input that inputs_take() takes next; 0: none is ready. */
uint32_t inputs_next(const Inputs *in);
/* Copies that input's tokens; `types` may be NULL. */
void inputs_take(Inputs *in, int32_t *ids, int32_t *types);
/* The result of the next input that was taken: its first `width` numbers, which with `normalise` are scaled to the
 * length 1 when not all are used. -EDOM when one of them is no number, -ENOMEM. */
int inputs_done(Inputs *in, const float *result, uint32_t n, bool normalise, uint32_t n_tokens);
static inline bool inputs_are_done(const Inputs *in) {
        return in->n_done == in->n;
}
