/* A sequence's tokens and text; see seq.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/constraint.h"
#include "engine/seq.h"
#include "engine/stop.h"
#include "text/split.h"
#include "util/error.h"

void seq_init(Seq *s, const IpcJob *job, const Tokenizer *t) {
        *s = (Seq){.job = job, .tokenizer = t, .skip = job->text_sent, .slot = -1};
        list_init(&s->node);
}

void seq_deinit(Seq *s) {
        constraint_free(s->constraint);
        lookup_deinit(&s->lookup);
        free(s->ids);
        buf_deinit(&s->text);
        buf_deinit(&s->logprobs);
        buf_deinit(&s->top_ids);
        buf_deinit(&s->top_lens);
        buf_deinit(&s->top_bytes);
}

/* ---- text ---- */

/* Moves the border of what may be sent; a stop string ends the text before it. */
static void scan_stops(Seq *s, bool last) {
        size_t safe = stop_scan(&s->job->stop, s->text.data + s->ready, s->text.len - s->ready, &s->stop);
        bool hit = s->stop.len > 0;
        if (hit) {
                s->finish = IPC_FINISH_STOP;
                s->text.len = s->ready + safe;
        }
        s->ready = hit || !last ? s->ready + safe : s->text.len;
}

/* Leaves out of the ready text what the client has already. */
static void skip_sent(Seq *s) {
        size_t n = (size_t)MIN(s->skip, (uint64_t)s->ready);
        buf_consume(&s->text, n);
        s->ready -= n;
        s->skip -= n;
}

static void put_text(Seq *s, const char *data, size_t len, bool last) {
        utf8_stream_put(&s->utf8, data, len, last, &s->text);
        scan_stops(s, last);
        skip_sent(s);
}

/* A control token is no text, unless it marks something that the daemon is to find. */
static bool is_hidden_mark(const Seq *s, int32_t id) {
        TokenText mark = tokenizer_piece(s->tokenizer, id, true);
        return s->forms && tokenizer_piece(s->tokenizer, id, false).len == 0 && split_is_mark(s->forms, mark.data, mark.len);
}

static void put_token_text(Seq *s, int32_t id) {
        bool mark = is_hidden_mark(s, id);
        if (mark || !s->strip_space) {
                TokenText piece = tokenizer_piece(s->tokenizer, id, mark);
                put_text(s, piece.data, piece.len, false);
                return;
        }
        _cleanup_buf_ Buf first = BUF_NULL;
        int r = tokenizer_decode(s->tokenizer, &id, 1, false, true, &first);
        if (r < 0)
                s->text.failed = true;
        s->strip_space = tokenizer_piece(s->tokenizer, id, false).len == 0;
        put_text(s, first.data, first.len, false);
}

/* ---- tokens ---- */

void seq_end(Seq *s) {
        put_text(s, NULL, 0, true);
        s->finish = IPC_FINISH_STOP;
}

void seq_constrain(Seq *s, Constraint *c) {
        s->constraint = c;
}

/* A text that nothing can follow ends, without asking the model. One that goes astray finds no token to go on with. */
static void follow_constraint(Seq *s, int32_t id) {
        TokenText piece = tokenizer_piece(s->tokenizer, id, false);
        if (constraint_accept(s->constraint, piece.data, piece.len) && constraint_is_done(s->constraint))
                seq_end(s);
}

static void accept(Seq *s, int32_t id) {
        if (tokenizer_is_eog(s->tokenizer, id) && !s->job->ignore_eos) {
                seq_end(s);
                return;
        }
        s->ids[s->n_ids++] = id;
        put_token_text(s, id);
        if (s->constraint && s->finish == IPC_FINISH_NONE)
                follow_constraint(s, id);
        if (s->finish == IPC_FINISH_NONE && s->n_ids >= s->limit) {
                put_text(s, NULL, 0, true);
                if (s->finish == IPC_FINISH_NONE)
                        s->finish = IPC_FINISH_LENGTH;
        }
}

static bool says_nothing(const Tokenizer *t, const int32_t *ids, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (tokenizer_piece(t, ids[i], false).len > 0)
                        return false;
        return true;
}

/* Cuts the oldest tokens after BOS so that the prompt fits and leaves room for an answer: for max_tokens up to half
 * the context, or a quarter when the answer is open-ended. */
static size_t cut_prompt(const Seq *s, int32_t *ids, size_t n, uint32_t context) {
        uint32_t wanted = s->job->max_tokens < 0 ? context / 4 : (uint32_t)s->job->max_tokens;
        uint32_t room = CLAMP(wanted, 1, MAX(context / 2, 1));
        size_t keep = context - room, head = ids[0] == tokenizer_bos(s->tokenizer) && keep > 1 ? 1 : 0;
        memmove(ids + head, ids + (n - (keep - head)), (keep - head) * sizeof(*ids));
        return n - keep;
}

static void replay(Seq *s) {
        const IpcInts *produced = &s->job->produced;
        if (s->n_ids >= s->limit) /* max_tokens is 0 */
                s->finish = IPC_FINISH_LENGTH;
        for (uint32_t i = 0; i < produced->n && s->finish == IPC_FINISH_NONE; i++)
                accept(s, produced->data[i]);
        s->n_sent = s->n_ids;
}

int seq_set_prompt(Seq *s, int32_t *ids, size_t n, uint32_t context, size_t *ret_dropped, Error *e) {
        s->ids = ids;
        *ret_dropped = 0;
        if (n + 1 > context) {
                if (!s->job->truncate || context < 2)
                        return error_set(e, -E2BIG, "the prompt has %zu tokens; the model's context is %u", n, context);
                *ret_dropped = cut_prompt(s, ids, n, context);
                n -= *ret_dropped;
        }
        s->n_prompt = s->n_ids = s->n_sent = (uint32_t)n;
        uint32_t room = context - s->n_prompt;
        s->limit = s->n_prompt + (s->job->max_tokens < 0 ? room : MIN(room, (uint32_t)s->job->max_tokens));
        int32_t *grown = realloc(ids, (size_t)MAX(s->limit, 1) * sizeof(*ids)); /* its pages are touched as it grows */
        if (!grown)
                return error_set(e, -ENOMEM, "not enough memory for a sequence of %u tokens", s->limit);
        s->ids = grown;
        s->strip_space = !s->constraint && says_nothing(s->tokenizer, s->ids, n);
        replay(s);
        return 0;
}

/* ---- pieces ---- */

static void put_choice(Seq *s, int32_t id, float logprob) {
        TokenText text = tokenizer_piece(s->tokenizer, id, true);
        buf_put(&s->top_ids, &id, sizeof(id));
        buf_put(&s->logprobs, &logprob, sizeof(logprob));
        ipc_strs_put(&s->top_lens, &s->top_bytes, text.data, text.len);
}

void seq_accept(Seq *s, const SampleOut *out) {
        uint32_t before = s->n_ids;
        accept(s, out->id);
        if (s->params.n_top < 0 || s->n_ids == before)
                return;
        put_choice(s, out->id, out->logprob);
        for (int32_t i = 0; i < s->params.n_top; i++)
                put_choice(s, out->top_ids[i], out->top_logprobs[i]);
}

void seq_piece(const Seq *s, IpcPiece *ret) {
        *ret = (IpcPiece){
                .id = s->job->id,
                .ids = {s->ids + s->n_sent, s->n_ids - s->n_sent},
                .text = {s->text.data, (uint32_t)s->ready},
                .finish = s->finish,
                .stop = s->stop,
                .logprobs = {(const float *)(const void *)s->logprobs.data,
                             (uint32_t)(s->logprobs.len / sizeof(float))},
                .top_ids = {(const int32_t *)(const void *)s->top_ids.data,
                            (uint32_t)(s->top_ids.len / sizeof(int32_t))},
                .top_text = ipc_strs(&s->top_lens, &s->top_bytes),
        };
}

void seq_sent(Seq *s) {
        s->n_sent = s->n_ids;
        buf_consume(&s->text, s->ready);
        s->ready = 0;
        buf_clear(&s->logprobs);
        buf_clear(&s->top_ids);
        buf_clear(&s->top_lens);
        buf_clear(&s->top_bytes);
}

bool seq_failed(const Seq *s) {
        return s->text.failed || s->logprobs.failed || s->top_ids.failed || s->top_lens.failed || s->top_bytes.failed;
}
