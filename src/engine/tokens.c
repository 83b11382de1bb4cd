/* The tokens of a prompt, piece by piece; see tokens.h. */
#include <errno.h>
#include <stdlib.h>

#include "engine/tokens.h"

enum { PIECE_TOKENS = 4096 };

void tokens_deinit(Tokens *t) {
        free(t->ids);
        buf_deinit(&t->text);
        buf_deinit(&t->lens);
        buf_deinit(&t->bytes);
}

/* Special tokens are told as they are written, so that no token is without text. */
static int put_text(const PrepModel *m, Tokens *t) {
        _cleanup_buf_ Buf raw = BUF_NULL;
        bool first = t->from == 0, last = t->to == t->n;
        int r = tokenizer_decode(m->tokenizer, t->ids + t->from, t->to - t->from, true, first, &raw);
        utf8_stream_put(&t->utf8, raw.len ? raw.data : "", raw.len, last, &t->text);
        return r;
}

static void put_pieces(const PrepModel *m, Tokens *t) {
        for (size_t i = t->from; i < t->to; i++) {
                TokenText piece = tokenizer_piece(m->tokenizer, t->ids[i], true);
                ipc_strs_put(&t->lens, &t->bytes, piece.data, piece.len);
        }
}

static int next_piece(const PrepModel *m, const IpcJob *job, Tokens *t) {
        int r = 0;
        buf_clear(&t->text);
        buf_clear(&t->lens);
        buf_clear(&t->bytes);
        t->from = t->to;
        t->to += MIN(t->n - t->to, (size_t)PIECE_TOKENS);
        if (job->kind == IPC_PROMPT_IDS)
                r = put_text(m, t);
        if (job->n_top >= 0)
                put_pieces(m, t);
        return r < 0 || t->text.failed || t->lens.failed || t->bytes.failed ? -ENOMEM : 0;
}

IpcFailCode tokens_prepare(const PrepModel *m, const IpcJob *job, Tokens *t, Error *e) {
        IpcFailCode code = t->ids ? 0 : prep_prompt(m, job, &t->ids, &t->n, e);
        if (code)
                return code;
        int r;
        do /* those that another engine sent are made again for what they leave of a character */
                r = next_piece(m, job, t);
        while (r == 0 && t->to <= job->results_sent && t->to < t->n);
        if (r == 0)
                return 0;
        error_set(e, r, "not enough memory for the tokens of the prompt");
        return IPC_E_INTERNAL;
}

void tokens_piece(const Tokens *t, const IpcJob *job, IpcPiece *ret) {
        bool last = t->to == t->n;
        *ret = (IpcPiece){
                .id = job->id,
                .ids = {t->ids + t->from, (uint32_t)(t->to - t->from)},
                .text = {t->text.data, (uint32_t)t->text.len},
                .finish = last ? IPC_FINISH_STOP : IPC_FINISH_NONE,
                .top_text = ipc_strs(&t->lens, &t->bytes),
                .prompt_tokens = last ? (uint32_t)t->n : 0,
        };
}
