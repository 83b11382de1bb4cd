/* The Llama family: llama, mistral, qwen2, qwen3. One transformer, with small differences:
 *
 *   x = embedding of the token
 *   each layer:  h = rmsnorm(x);  q, k, v = Wq h, Wk h, Wv h  (+ bias: qwen2)
 *                q, k = rmsnorm of each head (qwen3);  q, k = rope(q), rope(k);  k, v into the cache
 *                x += Wo attention(q)          GQA; mistral: the last `window` positions only
 *                h = rmsnorm(x);  x += Wdown (silu(Wgate h) * Wup h)
 *   logits = Wout rmsnorm(x)                   Wout is the embedding table when the file has no output.weight
 *
 * In the last layer only the rows whose logits are wanted go on after their keys and values are stored.
 *
 * Rope: "llama" files hold Wq and Wk permuted so that neighbours (2i, 2i+1) rotate together; qwen files keep the
 * halves (i, i + n/2). Llama 3's frequency scaling is the tensor rope_freqs.weight: divisors, one for each pair.
 * Names of keys and tensors are those of ggml's docs/gguf.md. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

typedef struct Layer {
        const float *attn_norm, *ffn_norm;
        Matrix q, k, v, output;
        const float *q_bias, *k_bias, *v_bias, *output_bias; /* NULL: none */
        const float *q_norm, *k_norm;                        /* qwen3, for each head */
        Matrix gate, up, down;
} Layer;

typedef struct Llama {
        float eps;
        Rope rope;
        Matrix embedding, output; /* output.data NULL: tied to the embedding */
        const float *output_norm;
        Layer layers[];
} Llama;

enum {
        PART_X, /* the residual */
        PART_H, /* normed */
        PART_Q,
        PART_K,
        PART_V,
        PART_MIXED, /* what attention returns */
        PART_GATE,
        PART_UP,
        PART_TAIL, /* the residual of the rows that become logits */
        PART_LOGITS,
};

/* The kinds of file, and what each has of its own. */
static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3", NULL};
static const struct {
        RopeStyle rope;
        bool head_norm;
} kinds[] = {
        {ROPE_NORMAL, false}, /* llama */
        {ROPE_NORMAL, false}, /* mistral */
        {ROPE_NEOX, false},   /* qwen2 */
        {ROPE_NEOX, true},    /* qwen3 */
};

static size_t kind_of(const Model *m) {
        size_t i = 0;
        while (strcmp(names[i], m->info.architecture) != 0)
                i++;
        return i;
}

/* ---- opening ---- */

static int read_sizes(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const struct {
                const char *key;
                uint32_t *value;
        } sizes[] = {
                {"context_length", &i->context_length}, {"block_count", &i->n_layers},
                {"embedding_length", &i->n_embd},       {"feed_forward_length", &i->n_ff},
                {"attention.head_count", &i->n_heads},
        };
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                int k = model_u32(m, sizes[n].key, true, sizes[n].value, e);
                if (k < 0)
                        return k;
                if (*sizes[n].value == 0)
                        return MODEL_REFUSE(m, e, -EINVAL, "key '%s.%s': is 0", i->architecture, sizes[n].key);
        }
        if (i->n_layers > gguf_n_tensors(m->gguf))
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "key '%s.block_count': is %" PRIu32 ", but there are only %zu tensors",
                                    i->architecture, i->n_layers, gguf_n_tensors(m->gguf));
        return model_u32(m, "attention.sliding_window", false, &i->window, e);
}

static int read_heads(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        uint32_t value_dim;
        int k;
        i->n_kv_heads = i->n_heads;
        i->head_dim = i->n_embd / i->n_heads;
        if ((k = model_u32(m, "attention.head_count_kv", false, &i->n_kv_heads, e)) < 0 ||
            (k = model_u32(m, "attention.key_length", false, &i->head_dim, e)) < 0)
                return k;
        value_dim = i->head_dim;
        if ((k = model_u32(m, "attention.value_length", false, &value_dim, e)) < 0)
                return k;
        if (i->n_kv_heads == 0 || i->n_heads % i->n_kv_heads != 0)
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "%" PRIu32 " attention heads cannot share %" PRIu32 " key/value heads", i->n_heads,
                                    i->n_kv_heads);
        if (i->head_dim == 0 || i->head_dim % 2 != 0)
                return MODEL_REFUSE(m, e, -EINVAL, "attention heads of %" PRIu32 " values cannot be rotated",
                                    i->head_dim);
        if (value_dim != i->head_dim)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    "values of %" PRIu32 " and keys of %" PRIu32
                                    " dimensions: different lengths are not supported",
                                    value_dim, i->head_dim);
        return 0;
}

/* *ret_scale multiplies positions. An absent type means linear, as in older files. */
static int read_rope_scaling(Model *m, float *ret_scale, Error *e) {
        char key[64], shown[32];
        float factor = 1;
        GgufString type = {.data = "linear", .len = 6};
        snprintf(key, sizeof(key), "%s.rope.scaling.type", m->info.architecture);
        int k = gguf_get_string(m->gguf, key, &type, e);
        if (k < 0 && k != -ENOENT)
                return k;
        bool none = type.len == 4 && memcmp(type.data, "none", 4) == 0;
        if (!none && !(type.len == 6 && memcmp(type.data, "linear", 6) == 0))
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "key '%s': rope scaling '%s' is not supported; linear is", key,
                                    gguf_text(shown, sizeof(shown), type));
        if ((k = model_f32(m, "rope.scale_linear", false, &factor, e)) < 0 || /* the old name */
            (k = model_f32(m, "rope.scaling.factor", false, &factor, e)) < 0)
                return k;
        if (factor < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.rope.scaling.factor': is %g", m->info.architecture,
                                    (double)factor);
        *ret_scale = none || factor == 0 ? 1 : 1 / factor;
        return 0;
}

static int read_rope(Model *m, Rope *rope, Error *e) {
        const ModelInfo *i = &m->info;
        int k;
        *rope = (Rope){.style = kinds[kind_of(m)].rope, .n_rot = i->head_dim, .base = 10000, .scale = 1};
        if ((k = model_u32(m, "rope.dimension_count", false, &rope->n_rot, e)) < 0 ||
            (k = model_f32(m, "rope.freq_base", false, &rope->base, e)) < 0 ||
            (k = read_rope_scaling(m, &rope->scale, e)) < 0)
                return k;
        if (rope->n_rot == 0 || rope->n_rot % 2 != 0 || rope->n_rot > i->head_dim)
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "key '%s.rope.dimension_count': is %" PRIu32
                                    ", should be even and at most %" PRIu32,
                                    i->architecture, rope->n_rot, i->head_dim);
        if (rope->base <= 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.rope.freq_base': is %g, should be positive",
                                    i->architecture, (double)rope->base);
        return 0;
}

/* Options that would change the result and are not computed here; with the value that changes nothing. */
static int refuse_options(const Model *m, Error *e) {
        static const struct {
                const char *key;
                double neutral;
                const char *what;
        } options[] = {
                {"expert_count", 0, "a mixture of experts"},
                {"use_parallel_residual", 0, "parallel residuals"},
                {"attention.causal", 1, "attention in both directions"},
                {"attention.clamp_kqv", 0, "clamped attention"},
                {"attention.max_alibi_bias", 0, "ALiBi"},
                {"attention.scale", 0, "a scale of its own for attention"},
                {"attention.temperature_scale", 0, "attention temperature"},
                {"attention.sliding_window_pattern", 0, "a sliding window in some layers only"},
                {"attn_logit_softcapping", 0, "soft-capped attention"},
                {"final_logit_softcapping", 0, "soft-capped logits"},
                {"logit_scale", 1, "scaled logits"},
                {"embedding_scale", 1, "scaled embeddings"},
                {"residual_scale", 1, "scaled residuals"},
                {"rope.scaling.attn_factor", 1, "rope scaling with an attention factor"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
                char key[96];
                bool flag = false;
                double value = 0;
                snprintf(key, sizeof(key), "%s.%s", m->info.architecture, options[i].key);
                int k = gguf_get_bool(m->gguf, key, &flag, NULL);
                if (k == 0)
                        value = flag;
                else
                        k = gguf_get_f64(m->gguf, key, &value, NULL);
                if (k == -ENOENT)
                        continue;
                if (k < 0 || value != options[i].neutral) /* k < 0: not one number but, say, one for each layer */
                        return MODEL_REFUSE(m, e, -EOPNOTSUPP, "key '%s' asks for %s, which is not supported", key,
                                            options[i].what);
        }
        return 0;
}

/* As many as the vocabulary has tokens, or the embedding rows. */
static uint64_t count_tokens(const Model *m) {
        GgufType type;
        size_t n;
        if (gguf_get_array(m->gguf, "tokenizer.ggml.tokens", &type, &n, NULL) == 0)
                return n;
        const GgufTensor *t = gguf_tensor(m->gguf, "token_embd.weight");
        return t ? t->dims[1] : 0;
}

static int claim_globals(Model *m, Llama *g, Error *e) {
        ModelInfo *i = &m->info;
        uint64_t n_vocab = count_tokens(m);
        int k;
        if ((k = model_claim_matrix(m, "token_embd.weight", i->n_embd, n_vocab, false, &g->embedding, e)) < 0 ||
            (k = model_claim_matrix(m, "output.weight", i->n_embd, n_vocab, true, &g->output, e)) < 0 ||
            (k = model_claim_vector(m, "output_norm.weight", i->n_embd, false, &g->output_norm, e)) < 0 ||
            (k = model_claim_vector(m, "rope_freqs.weight", g->rope.n_rot / 2, true, &g->rope.factors, e)) < 0)
                return k;
        i->n_vocab = (uint32_t)n_vocab;
        return 0;
}

static int claim_layer(Model *m, uint32_t l, Layer *y, Error *e) {
        const ModelInfo *i = &m->info;
        uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
        uint64_t embd = i->n_embd, ff = i->n_ff;
        const struct {
                const char *name;
                uint64_t cols, rows;
                Matrix *matrix;
        } matrices[] = {
                {"attn_q", embd, q, &y->q},       {"attn_k", embd, kv, &y->k},          {"attn_v", embd, kv, &y->v},
                {"ffn_gate", embd, ff, &y->gate}, {"attn_output", q, embd, &y->output}, {"ffn_up", embd, ff, &y->up},
                {"ffn_down", ff, embd, &y->down},
        };
        const struct {
                const char *name;
                uint64_t n;
                bool optional;
                const float **vector;
        } vectors[] = {
                {"attn_norm.weight", embd, false, &y->attn_norm},
                {"ffn_norm.weight", embd, false, &y->ffn_norm},
                {"attn_q.bias", q, true, &y->q_bias},
                {"attn_k.bias", kv, true, &y->k_bias},
                {"attn_v.bias", kv, true, &y->v_bias},
                {"attn_output.bias", embd, true, &y->output_bias},
                {"attn_q_norm.weight", i->head_dim, false, &y->q_norm},
                {"attn_k_norm.weight", i->head_dim, false, &y->k_norm},
        };
        size_t n_vectors = ARRAY_SIZE(vectors) - (kinds[kind_of(m)].head_norm ? 0 : 2);
        char name[64];
        int k = 0;
        for (size_t n = 0; n < ARRAY_SIZE(matrices) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s.weight", l, matrices[n].name);
                k = model_claim_matrix(m, name, matrices[n].cols, matrices[n].rows, false, matrices[n].matrix, e);
        }
        for (size_t n = 0; n < n_vectors && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, vectors[n].name);
                k = model_claim_vector(m, name, vectors[n].n, vectors[n].optional, vectors[n].vector, e);
        }
        return k;
}

static int llama_open(Model *m, Error *e) {
        int k;
        if ((k = read_sizes(m, e)) < 0 || (k = read_heads(m, e)) < 0 || (k = refuse_options(m, e)) < 0)
                return k;
        Llama *g = calloc(1, sizeof(*g) + m->info.n_layers * sizeof(*g->layers));
        if (!g)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " layers", m->info.n_layers);
        m->graph = g;
        if ((k = model_f32(m, "attention.layer_norm_rms_epsilon", true, &g->eps, e)) < 0)
                return k;
        if (g->eps < 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.attention.layer_norm_rms_epsilon': is %g",
                                    m->info.architecture, (double)g->eps);
        if ((k = read_rope(m, &g->rope, e)) < 0 || (k = claim_globals(m, g, e)) < 0)
                return k;
        for (uint32_t l = 0; l < m->info.n_layers && k == 0; l++)
                k = claim_layer(m, l, &g->layers[l], e);
        return k;
}

/* ---- steps ---- */

static void llama_parts(const Model *m, size_t rows, size_t logits, WorkspacePart parts[static WORKSPACE_PARTS]) {
        const ModelInfo *i = &m->info;
        size_t q = (size_t)i->n_heads * i->head_dim, kv = (size_t)i->n_kv_heads * i->head_dim;
        parts[PART_X] = parts[PART_H] = (WorkspacePart){rows, i->n_embd};
        parts[PART_Q] = parts[PART_MIXED] = (WorkspacePart){rows, q};
        parts[PART_K] = parts[PART_V] = (WorkspacePart){rows, kv};
        parts[PART_GATE] = parts[PART_UP] = (WorkspacePart){rows, i->n_ff};
        parts[PART_TAIL] = (WorkspacePart){logits, i->n_embd};
        parts[PART_LOGITS] = (WorkspacePart){logits, i->n_vocab};
}

typedef struct Step {
        const ModelInfo *info;
        const Llama *g;
        const DeviceOps *ops;
        Stream *stream;
        const Rows *rows;
        float *const *part;
} Step;

/* Queries, keys and values of all rows; the latter two go into the cache. */
static void project(const Step *t, const Layer *y, const KvLayer *kv) {
        const ModelInfo *i = t->info;
        const DeviceOps *ops = t->ops;
        Stream *s = t->stream;
        uint32_t n = t->rows->n;
        float *h = t->part[PART_H], *q = t->part[PART_Q], *k = t->part[PART_K], *v = t->part[PART_V];
        ops->rmsnorm(s, h, t->part[PART_X], y->attn_norm, n, i->n_embd, t->g->eps);
        ops->matmul(s, q, &y->q, h, n, y->q_bias, false);
        ops->matmul(s, k, &y->k, h, n, y->k_bias, false);
        ops->matmul(s, v, &y->v, h, n, y->v_bias, false);
        if (y->q_norm) {
                ops->rmsnorm(s, q, q, y->q_norm, n * i->n_heads, i->head_dim, t->g->eps);
                ops->rmsnorm(s, k, k, y->k_norm, n * i->n_kv_heads, i->head_dim, t->g->eps);
        }
        ops->rope(s, q, t->rows, i->n_heads, i->head_dim, &t->g->rope);
        ops->rope(s, k, t->rows, i->n_kv_heads, i->head_dim, &t->g->rope);
        ops->kv_store(s, kv, t->rows, k, v);
}

/* The rest of a layer, for `n` rows: attention's result and the feed-forward network are added to the residual `x`. */
static void feed_forward(const Step *t, const Layer *y, float *x, const float *mixed, uint32_t n) {
        const ModelInfo *i = t->info;
        const DeviceOps *ops = t->ops;
        Stream *s = t->stream;
        float *h = t->part[PART_H], *gate = t->part[PART_GATE], *up = t->part[PART_UP];
        ops->matmul(s, x, &y->output, mixed, n, y->output_bias, true);
        ops->rmsnorm(s, h, x, y->ffn_norm, n, i->n_embd, t->g->eps);
        ops->matmul(s, gate, &y->gate, h, n, NULL, false);
        ops->matmul(s, up, &y->up, h, n, NULL, false);
        ops->swiglu(s, gate, gate, up, (size_t)n * i->n_ff);
        ops->matmul(s, x, &y->down, gate, n, NULL, true);
}

static void llama_forward(const Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv,
                          const int32_t *logit_index, uint32_t n_logits, float **ret_logits) {
        const ModelInfo *i = &m->info;
        const Llama *g = m->graph;
        const DeviceOps *ops = w->device->ops;
        Step t = {.info = i, .g = g, .ops = ops, .stream = s, .rows = rows, .part = w->part};
        float *x = w->part[PART_X], *mixed = w->part[PART_MIXED];
        uint32_t n = rows->n;
        *ret_logits = w->part[PART_LOGITS];
        ops->embed(s, x, &g->embedding, rows);
        for (uint32_t l = 0; l < i->n_layers; l++) {
                const Layer *y = &g->layers[l];
                KvLayer layer = model_kv_layer(m, kv, l);
                bool last = l + 1 == i->n_layers;
                project(&t, y, &layer);
                if (last && n_logits == 0)
                        return;
                ops->attention(s, mixed, w->part[PART_Q], &layer, rows, i->n_heads, i->window,
                               1 / sqrtf((float)i->head_dim));
                if (last) { /* queries are done with: their place takes the chosen rows of `mixed` */
                        ops->gather(s, w->part[PART_TAIL], x, logit_index, n_logits, i->n_embd);
                        ops->gather(s, w->part[PART_Q], mixed, logit_index, n_logits, i->n_heads * i->head_dim);
                        x = w->part[PART_TAIL];
                        mixed = w->part[PART_Q];
                        n = n_logits;
                }
                feed_forward(&t, y, x, mixed, n);
        }
        ops->rmsnorm(s, x, x, g->output_norm, n_logits, i->n_embd, g->eps);
        ops->matmul(s, *ret_logits, g->output.data ? &g->output : &g->embedding, x, n_logits, NULL, false);
}

const ModelArch arch_llama = {
        .names = names,
        .open = llama_open,
        .parts = llama_parts,
        .forward = llama_forward,
};
