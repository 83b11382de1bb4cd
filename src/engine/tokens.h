/* What a job gets that wants no answer, but the tokens of its prompt: their ids in pieces of bounded size and, of a prompt
 * that came as ids, its text.
 *
 * A worker makes them, each when the daemon has the one before and its client takes more. So nobody holds much, and neither the
 * loop nor a worker has one job for long, apart from the tokenizer itself, which takes a text as a whole. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/prep.h"
#include "ipc/ipc.h"
#include "util/buf.h"

typedef struct Tokens { /* all zero: nothing was made yet */
        int32_t *ids;  /* [n] */
        size_t n;
        size_t from, to; /* which of them are in the piece */
        Utf8Stream utf8;
        Buf text;        /* of the piece */
        Buf lens, bytes; /* what each of its tokens stands for, when asked for */
} Tokens;

void tokens_deinit(Tokens *t);
/* Makes the next piece; on a worker. Of a job that was posted again it begins after job->results_sent. 0 or the IpcFailCode
 * whose text is in `e`. */
IpcFailCode tokens_prepare(const PrepModel *m, const IpcJob *job, Tokens *t, Error *e);
/* The piece, as views that live until the next is made. */
void tokens_piece(const Tokens *t, const IpcJob *job, IpcPiece *ret);
