/* Preparing inputs, and keeping them; see inputs.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/inputs.h"

enum {
        SLICE_BYTES = 64 * 1024, SLICE_INPUTS = 512, /* of one slice: some milliseconds of a worker */
        AHEAD_TOKENS = 8 * 1024, AHEAD_INPUTS = 1024,
        SHORT_BYTES = 512, SHORT_INPUTS = 2,
        TOKEN_BYTES = 64, /* few tokens of any vocabulary stand for more; see prepare_query() */
};

static uint32_t number(const IpcJob *job) {
        return job->input_counts.n ? job->input_counts.n : job->inputs.lens.n;
}

void inputs_init(Inputs *in, const IpcJob *job) {
        uint32_t n = number(job);
        uint32_t first = MIN(job->results_sent, n);
        *in = (Inputs){.n = n, .n_ready = first, .n_taken = first, .n_done = first};
        list_init(&in->slices);
        IpcStr skipped;
        while (in->cursor.next < first) {
                if (job->input_counts.n)
                        in->cursor.at += (size_t)MAX(job->input_counts.data[in->cursor.next], 0);
                else if (!ipc_strs_next(&job->inputs, &in->cursor.pos, &in->cursor.offset, &skipped))
                        return; /* inputs_prepare() will say so */
                in->cursor.next++;
        }
}

void slice_free(Slice *s) {
        buf_deinit(&s->counts);
        buf_deinit(&s->ids);
        buf_deinit(&s->types);
        free(s);
}

static void drop_slice(Slice *s) {
        list_remove(&s->node);
        slice_free(s);
}

void inputs_deinit(Inputs *in) {
        list_foreach(s, &in->slices, Slice, node)
                drop_slice(s);
        buf_deinit(&in->values);
        free(in->cursor.query);
}

bool inputs_are_asked(const IpcJob *job) {
        return job->kind == IPC_PROMPT_EMBED || job->kind == IPC_PROMPT_RANK;
}

bool inputs_are_short(const IpcJob *job) {
        return number(job) <= SHORT_INPUTS && job->prompt.len + job->inputs.bytes.len + job->prompt_ids.n <= SHORT_BYTES;
}

/* ---- preparing ---- */

static IpcFailCode no_memory(Error *e) {
        error_set(e, -ENOMEM, "not enough memory to prepare the inputs");
        return IPC_E_INTERNAL;
}

static IpcFailCode malformed(Error *e) {
        error_set(e, -EINVAL, "the list of inputs is malformed");
        return IPC_E_INVALID;
}

static IpcFailCode check_dimensions(const PrepModel *m, uint32_t wanted, Error *e) {
        uint32_t all = m->encoder->n_out;
        bool fits = wanted == 0 || wanted == all || (wanted < all && m->matryoshka && m->n_matryoshka == 0);
        for (uint32_t i = 0; i < m->n_matryoshka; i++)
                fits |= wanted < all && wanted == m->matryoshka_dimensions[i];
        if (fits)
                return 0;
        if (wanted < all && m->n_matryoshka > 0)
                error_set(e, -EINVAL, "dimensions: model %s can be cut to some sizes only (matryoshka_dimensions in its "
                          "config.json), and %u is none of them", m->name, wanted);
        else if (wanted < all)
                error_set(e, -EINVAL, "dimensions: model %s makes %u, and was not trained to be cut to %u (its config.json "
                          "names no matryoshka_dimensions)", m->name, all, wanted);
        else
                error_set(e, -EINVAL, "dimensions: model %s makes %u, not %u", m->name, all, wanted);
        return IPC_E_INVALID;
}

static IpcFailCode check_kind(const PrepModel *m, const IpcJob *j, Error *e) {
        const char *name = m->name;
        if (!m->encoder)
                error_set(e, -EINVAL, "model %s generates text and makes no %s; name a model with the capability %s "
                          "(GET /api/tags lists models)", name, j->kind == IPC_PROMPT_RANK ? "scores" : "embeddings",
                          j->kind == IPC_PROMPT_RANK ? "rerank" : "embedding");
        else if (j->kind == IPC_PROMPT_EMBED && m->encoder->scores)
                error_set(e, -EINVAL, "model %s is a reranker and makes no embeddings; send a query and documents to "
                          "/v1/rerank", name);
        else if (j->kind == IPC_PROMPT_RANK && !m->encoder->scores)
                error_set(e, -EINVAL, "model %s makes embeddings and is no reranker; send texts to /v1/embeddings", name);
        else if (j->kind == IPC_PROMPT_RANK && m->encoder->n_out != 1)
                error_set(e, -EINVAL, "model %s sorts texts into %u classes; a reranker has one score", name,
                          m->encoder->n_out);
        else if (j->kind == IPC_PROMPT_RANK && !tokenizer_has_pairs(m->tokenizer))
                error_set(e, -EINVAL, "the tokenizer of model %s does not say how a query and a document are joined", name);
        else
                return j->kind == IPC_PROMPT_EMBED ? check_dimensions(m, j->dimensions, e) : 0;
        return IPC_E_INVALID;
}

/* A text that is too long is cut, if it may be. */
static IpcFailCode fit(const PrepModel *m, const IpcJob *j, uint32_t at, Encoding *enc, Error *e) {
        if (enc->n == 0) {
                error_set(e, -EINVAL, "input %u has no tokens", at);
                return IPC_E_INVALID;
        }
        if (enc->n <= m->context || (j->truncate && encoding_truncate(enc, m->context)))
                return 0;
        error_set(e, -E2BIG, "input %u has %zu tokens, but model %s takes at most %u; shorten it, or send "
                  "\"truncate\": true", at, enc->n, m->name, m->context);
        return IPC_E_CONTEXT;
}

static void put_input(Slice *s, const Encoding *enc) {
        uint32_t n = (uint32_t)enc->n;
        buf_put(&s->counts, &n, sizeof(n));
        buf_put(&s->ids, enc->ids, enc->n * sizeof(*enc->ids));
        buf_put(&s->types, enc->types, enc->n);
}

/* Once for all documents. Where it may be cut, what is far beyond all that a model takes is left out before: else some
 * megabytes of it would be carried along with each. */
static IpcFailCode prepare_query(const PrepModel *m, const IpcJob *j, InputCursor *c, Error *e) {
        size_t n = j->prompt.len, most = (size_t)m->context * TOKEN_BYTES;
        if (j->truncate && n > most)
                for (n = most; n > 0 && ((unsigned char)j->prompt.data[n] & 0xc0) == 0x80; n--) /* whole characters */
                        ;
        int r = tokenizer_encode(m->tokenizer, j->prompt.data, n, 0, &c->query, &c->n_query);
        return r < 0 ? prep_encode_failed(m, r, e) : 0;
}

static IpcFailCode prepare_text(const PrepModel *m, const IpcJob *j, InputCursor *c, Slice *s, size_t *bytes, Error *e) {
        IpcStr str;
        Encoding enc = {0};
        if (!ipc_strs_next(&j->inputs, &c->pos, &c->offset, &str))
                return malformed(e);
        TokenText text = {str.data, str.len};
        int r = c->query ? tokenizer_encode_pair(m->tokenizer, c->query, c->n_query, text, &enc)
                         : tokenizer_encode_texts(m->tokenizer, &text, 1, TOKENIZE_ADD_SPECIAL, &enc);
        if (r < 0)
                return prep_encode_failed(m, r, e);
        IpcFailCode code = fit(m, j, c->next, &enc, e);
        if (!code)
                put_input(s, &enc);
        encoding_deinit(&enc);
        *bytes += text.len + c->n_query;
        return code;
}

static IpcFailCode prepare_ids(const PrepModel *m, const IpcJob *j, InputCursor *c, Slice *s, size_t *bytes, Error *e) {
        int32_t count = j->input_counts.data[c->next];
        if (count < 0 || (size_t)count > j->prompt_ids.n - c->at)
                return malformed(e);
        const int32_t *ids = j->prompt_ids.data + c->at;
        for (int32_t i = 0; i < count; i++)
                if (ids[i] < 0 || (uint32_t)ids[i] >= m->n_vocab) {
                        error_set(e, -EINVAL, "token %d of input %u is %d, but the vocabulary of model %s has %u tokens", i,
                                  c->next, ids[i], m->name, m->n_vocab);
                        return IPC_E_INVALID;
                }
        _cleanup_free_ uint8_t *types = calloc((size_t)count + 1, 1);
        if (!types)
                return no_memory(e);
        Encoding enc = {.ids = (int32_t *)ids, .types = types, .n = (size_t)count};
        if (j->truncate)
                enc.n = MIN(enc.n, (size_t)m->context);
        IpcFailCode code = fit(m, j, c->next, &enc, e);
        if (!code)
                put_input(s, &enc);
        c->at += (size_t)count;
        *bytes += enc.n;
        return code;
}

static IpcFailCode prepare(const PrepModel *m, const IpcJob *j, InputCursor *c, Slice *s, Error *e) {
        bool are_ids = j->input_counts.n > 0;
        uint32_t n = number(j), first = c->next;
        size_t bytes = 0;
        IpcFailCode code = check_kind(m, j, e);
        if (!code && j->kind == IPC_PROMPT_RANK && !c->query)
                code = prepare_query(m, j, c, e);
        while (!code && c->next < n && c->next - first < SLICE_INPUTS && bytes < SLICE_BYTES) {
                code = are_ids ? prepare_ids(m, j, c, s, &bytes, e) : prepare_text(m, j, c, s, &bytes, e);
                c->next++;
        }
        return code || !(s->counts.failed || s->ids.failed || s->types.failed) ? code : no_memory(e);
}

IpcFailCode inputs_prepare(const PrepModel *m, const IpcJob *job, InputCursor *c, Slice **ret, Error *e) {
        Slice *s = calloc(1, sizeof(*s));
        if (!s)
                return no_memory(e);
        IpcFailCode code = prepare(m, job, c, s, e);
        if (code)
                slice_free(s);
        else
                *ret = s;
        return code;
}

/* ---- taking ---- */

static uint32_t slice_inputs(const Slice *s) {
        return (uint32_t)(s->counts.len / sizeof(uint32_t));
}

void inputs_put(Inputs *in, Slice *s) {
        in->n_ready += slice_inputs(s);
        in->tokens_ready += s->types.len;
        list_append(&in->slices, &s->node);
}

bool inputs_want_more(const Inputs *in) {
        return in->n_ready < in->n && in->tokens_ready < AHEAD_TOKENS && in->n_ready - in->n_taken < AHEAD_INPUTS;
}

uint32_t inputs_next(const Inputs *in) {
        const Slice *s = list_first(&in->slices, Slice, node);
        return s ? ((const uint32_t *)(const void *)s->counts.data)[s->next] : 0;
}

void inputs_take(Inputs *in, int32_t *ids, int32_t *types) {
        Slice *s = list_first(&in->slices, Slice, node);
        uint32_t n = inputs_next(in);
        memcpy(ids, s->ids.data + s->at * sizeof(*ids), n * sizeof(*ids));
        for (uint32_t i = 0; types && i < n; i++)
                types[i] = (uint8_t)s->types.data[s->at + i];
        s->at += n;
        in->tokens_ready -= n;
        in->n_taken++;
        if (++s->next == slice_inputs(s))
                drop_slice(s);
}

/* ---- results ---- */

static void scale_to_unit(float *x, uint32_t n) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++)
                sum += (double)x[i] * (double)x[i];
        double scale = sum > 0 ? 1 / sqrt(sum) : 1; /* which may be too great for a float */
        for (uint32_t i = 0; i < n; i++)
                x[i] = (float)(x[i] * scale);
}

int inputs_done(Inputs *in, const float *result, uint32_t n, bool normalise, uint32_t n_tokens) {
        for (uint32_t i = 0; i < n; i++)
                if (!isfinite(result[i]))
                        return -EDOM;
        buf_put(&in->values, result, in->width * sizeof(*result));
        if (in->values.failed)
                return -ENOMEM;
        if (normalise && in->width < n)
                scale_to_unit((float *)(void *)(in->values.data + in->values.len) - in->width, in->width);
        in->n_done++;
        in->tokens_done += n_tokens;
        return 0;
}
