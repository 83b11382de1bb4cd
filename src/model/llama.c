/* The Llama family: llama, mistral, mixtral, qwen2, qwen3, qwen3moe, gpt-oss, gemma to gemma3, phi3, granite, smollm3, olmo2, and
 * of those that see images (gemma3, mistral3, qwen2vl, qwen3vl) what reads texts; as embedders see llama-encoder.c. One
 * transformer, with small differences:
 *
 *   x = embedding of the token                 gemma: * sqrt(n_embd)
 *   each layer:  h = rmsnorm(x);  q, k, v = Wq h, Wk h, Wv h  (+ bias: qwen2)
 *                q, k = rmsnorm of each head (qwen3, gemma3);  q, k = rope(q), rope(k);  k, v into the cache
 *                x += Wo attention(q)          GQA; of mistral and some layers of gemma2 and gemma3: the last `window`
 *                                              positions only; gemma2: scores are capped
 *                h = rmsnorm(x);  x += Wdown (silu(Wgate h) * Wup h)           gemma: gelu
 *   logits = Wout rmsnorm(x)                   Wout is the embedding table when there is no output.weight; gemma2: capped
 *
 * The network may be a mixture of experts (qwen3moe, mixtral): a token goes to those that Wrouter h says, and what they make
 * is added up by their weights. gpt-oss has besides biases of router and experts, a clamped unit, and in each head a score
 * for nothing (`sinks`). gemma2 and gemma3 normalise what is added to x, too. gemma3's layers that slide rotate by a base of
 * their own.
 *
 * granite scales embeddings, scores, logits, and what is added to x. Instead of that, x is kept divided by that scale: then
 * embeddings are, and the eps of norms by its square; the logits' scale is in the last norm's weights.
 * olmo2 normalises what is added and not what it is made of, and queries and keys of all heads together. smollm3 rotates in
 * three of four layers. phi3 has Wq, Wk and Wv in one, and Wgate and Wup; long texts rotate by other factors than short ones.
 *
 * In the last layer only the rows whose logits are wanted go on after their keys and values are stored.
 *
 * Rope: which values of a head rotate together, neighbours (2i, 2i+1) or halves (i, i + n/2), the files' format knows.
 * Llama 3's frequency scaling is the tensor rope_freqs.weight: divisors, one for each pair. Names of tensors are those
 * of ggml's docs/gguf.md. */
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
        Matrix router;
        const float *router_bias, *sinks;                    /* gpt-oss */
        Experts gates, ups, downs;                           /* of a mixture, instead */
        const float *attn_post_norm, *ffn_post_norm;         /* gemma2, gemma3 */
        const Rope *rope;
        uint32_t window; /* 0: none */
} Layer;

typedef struct Llama {
        float eps, head_eps, embedding_scale, attention_scale; /* head_eps: of queries and keys */
        Gate unit;
        bool norm_experts;
        Rope rope, local_rope, no_rope; /* local: of layers with a window of their own */
        Matrix embedding, output; /* output.data NULL: tied to the embedding */
        const float *output_norm;
        Layer layers[];
} Llama;

enum {
        PART_X, /* the residual */
        PART_H, /* for the device, where it makes normed rows */
        PART_Q,
        PART_K,
        PART_V,
        PART_MIXED, /* what attention returns */
        PART_FF, /* of the feed-forward network, before the last product */
        PART_ROUTER, /* logits of experts */
        PART_ROUTING,
        PART_PLACES, /* what experts read, and then what they made; see Routing */
        PART_TAIL, /* the residual of the rows that become logits */
        PART_LOGITS,
};

static const ModelKind kinds[] = {
        {.name = "llama", .gguf_rope = ROPE_NORMAL, .embeds = true},
        {.name = "mistral", .gguf_rope = ROPE_NORMAL, .embeds = true, .bias = BIAS_NEVER, .window = WINDOW_AS_SAID},
        {.name = "qwen2", .gguf_rope = ROPE_NEOX, .embeds = true, .bias = BIAS_ALWAYS, .window = WINDOW_IF_USED},
        {.name = "qwen2vl", .format = "gguf", .gguf_rope = ROPE_NEOX, .sees = true},
        {.name = "qwen25vl", .format = "gguf", .gguf_rope = ROPE_NEOX, .sees = true}, /* the same, as Ollama calls it */
        {.name = "qwen3vl", .format = "gguf", .gguf_rope = ROPE_NEOX, .qk_norm = true, .sees = true},
        {.name = "qwen3vlmoe", .format = "gguf", .gguf_rope = ROPE_NEOX, .qk_norm = true, .experts = true, .sees = true},
        {.name = "mistral3", .format = "gguf", .gguf_rope = ROPE_NORMAL, .sees = true},
        {.name = "qwen3", .gguf_rope = ROPE_NEOX, .embeds = true, .qk_norm = true, .window = WINDOW_IF_USED, .head_dim = 128},
        {.name = "qwen3moe", .format = "gguf", .gguf_rope = ROPE_NEOX, .qk_norm = true, .experts = true},
        {.name = "qwen3_moe", .format = "safetensors", .qk_norm = true, .experts = true, .window = WINDOW_IF_USED, .head_dim = 128},
        {.name = "mixtral", .format = "safetensors", .experts = true, .bias = BIAS_NEVER, .window = WINDOW_AS_SAID, .norm_eps = 1e-5f},
        {.name = "gpt-oss", .format = "gguf", .gguf_rope = ROPE_NEOX, .experts = true, .oss = true, .global_every = 2},
        {.name = "gptoss", .format = "gguf", .gguf_rope = ROPE_NEOX, .experts = true, .oss = true, .global_every = 2}, /* Ollama's */
        {.name = "phi3", .gguf_rope = ROPE_NEOX, .fused = true, .bias = BIAS_NEVER, .window = WINDOW_AS_SAID, .norm_eps = 1e-5f},
        {.name = "granite", .gguf_rope = ROPE_NORMAL},
        {.name = "smollm3", .gguf_rope = ROPE_NORMAL, .still_every = 4, .window = WINDOW_IF_USED},
        {.name = "olmo2",
         .gguf_rope = ROPE_NEOX,
         .qk_norm = true,
         .wide_norm = true,
         .post_norm = true,
         .no_pre_norm = true,
         .norm_eps = 1e-5f},
        {.name = "gemma", .gguf_rope = ROPE_NEOX, .gemma = true},
        {.name = "gemma2", .gguf_rope = ROPE_NEOX, .gemma = true, .post_norm = true, .global_every = 2, .window = WINDOW_AS_SAID},
        {.name = "gemma3",
         .format = "gguf",
         .gguf_rope = ROPE_NEOX,
         .gemma = true,
         .post_norm = true,
         .qk_norm = true,
         .sees = true,
         .global_every = 6},
        {.name = "gemma3_text",
         .format = "safetensors",
         .gemma = true,
         .post_norm = true,
         .qk_norm = true,
         .global_every = 6,
         .window = WINDOW_AS_SAID},
        {NULL},
};

/* ---- opening ---- */

static int claim_globals(Model *m, Llama *g, Error *e) {
        const ModelInfo *i = &m->info;
        const ModelParams *p = &m->params;
        int k;
        if ((k = model_claim_matrix(m, "token_embd.weight", i->n_embd, i->n_vocab, PRESENT_YES, &g->embedding, e)) < 0 ||
            (k = model_claim_matrix(m, "output.weight", i->n_embd, i->n_vocab, p->head, &g->output, e)) < 0 ||
            (k = model_claim_vector(m, "output_norm.weight", i->n_embd, PRESENT_YES, &g->output_norm, e)) < 0)
                return k;
        return model_claim_vector(m, "rope_freqs.weight", g->rope.n_rot / 2, PRESENT_MAYBE, &g->rope.factors, e);
}

static int claim_experts(Model *m, uint32_t l, Layer *y, Error *e) {
        const ModelInfo *i = &m->info;
        const struct {
                const char *name;
                uint64_t cols, rows;
                Experts *experts;
        } all[] = {
                {"ffn_gate", i->n_embd, i->n_ff, &y->gates},
                {"ffn_up", i->n_embd, i->n_ff, &y->ups},
                {"ffn_down", i->n_ff, i->n_embd, &y->downs},
        };
        const Presence biased = m->kind->oss ? PRESENT_YES : PRESENT_NO;
        char name[64];
        snprintf(name, sizeof(name), "blk.%" PRIu32 ".ffn_gate_inp.weight", l);
        int k = model_claim_matrix(m, name, i->n_embd, i->n_experts, PRESENT_YES, &y->router, e);
        snprintf(name, sizeof(name), "blk.%" PRIu32 ".ffn_gate_inp.bias", l);
        if (k == 0)
                k = model_claim_vector(m, name, i->n_experts, biased, &y->router_bias, e);
        for (size_t n = 0; n < ARRAY_SIZE(all) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, all[n].name);
                k = model_claim_experts(m, name, all[n].cols, all[n].rows, i->n_experts, all[n].experts, e);
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s_exps.bias", l, all[n].name);
                if (k == 0)
                        k = model_claim_vectors(m, name, all[n].rows, i->n_experts, biased, &all[n].experts->bias, e);
        }
        return k;
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
                {"attn_q", embd, q, &y->q},       {"attn_k", embd, kv, &y->k},
                {"attn_v", embd, kv, &y->v},      {"attn_output", q, embd, &y->output},
                {"ffn_gate", embd, ff, &y->gate}, {"ffn_up", embd, ff, &y->up}, /* these three where there are no experts */
                {"ffn_down", ff, embd, &y->down},
        };
        const size_t n_matrices = ARRAY_SIZE(matrices) - (i->n_experts > 0 ? 3 : 0);
        const Presence bias = m->params.qkv_bias, qk_norm = m->kind->qk_norm ? PRESENT_YES : PRESENT_NO,
                       post_norm = m->kind->post_norm ? PRESENT_YES : PRESENT_NO,
                       pre_norm = m->kind->no_pre_norm ? PRESENT_NO : PRESENT_YES;
        const uint64_t q_norm = m->kind->wide_norm ? q : i->head_dim, k_norm = m->kind->wide_norm ? kv : i->head_dim;
        const struct {
                const char *name;
                uint64_t n;
                Presence presence;
                const float **vector;
        } vectors[] = {
                {"attn_norm.weight", embd, pre_norm, &y->attn_norm},
                {m->kind->oss ? "post_attention_norm.weight" : "ffn_norm.weight", embd, pre_norm, &y->ffn_norm},
                {"attn_sinks.weight", i->n_heads, m->kind->oss ? PRESENT_YES : PRESENT_NO, &y->sinks},
                {"attn_q.bias", q, bias, &y->q_bias},
                {"attn_k.bias", kv, bias, &y->k_bias},
                {"attn_v.bias", kv, bias, &y->v_bias},
                {"attn_output.bias", embd, m->params.output_bias, &y->output_bias},
                {"attn_q_norm.weight", q_norm, qk_norm, &y->q_norm},
                {"attn_k_norm.weight", k_norm, qk_norm, &y->k_norm},
                {"post_attention_norm.weight", embd, post_norm, &y->attn_post_norm},
                {"post_ffw_norm.weight", embd, post_norm, &y->ffn_post_norm},
        };
        char name[64];
        int k = i->n_experts > 0 ? claim_experts(m, l, y, e) : 0;
        for (size_t n = 0; n < n_matrices && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s.weight", l, matrices[n].name);
                k = model_claim_matrix(m, name, matrices[n].cols, matrices[n].rows, PRESENT_YES,
                                       matrices[n].matrix, e);
        }
        for (size_t n = 0; n < ARRAY_SIZE(vectors) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, vectors[n].name);
                k = model_claim_vector(m, name, vectors[n].n, vectors[n].presence, vectors[n].vector, e);
        }
        return k;
}

/* What a layer sees, and how it rotates. */
static void set_window(const Model *m, uint32_t l, Llama *g) {
        const bool *slides = m->params.slides;
        g->layers[l].window = !slides || slides[l] ? m->info.window : 0;
        g->layers[l].rope = slides && slides[l] && m->params.local_base > 0 ? &g->local_rope : &g->rope;
        if (m->params.still && m->params.still[l])
                g->layers[l].rope = &g->no_rope;
}

static int llama_open(Model *m, Error *e) {
        const ModelParams *p = &m->params;
        Llama *g = calloc(1, sizeof(*g) + m->info.n_layers * sizeof(*g->layers));
        if (!g)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " layers", m->info.n_layers);
        m->graph = g;
        float added = p->residual_scale > 0 ? p->residual_scale : 1;
        g->eps = p->norm_eps / (added * added);
        g->head_eps = p->norm_eps;
        g->embedding_scale = (m->kind->gemma ? sqrtf((float)m->info.n_embd) : p->embedding_scale > 0 ? p->embedding_scale : 1) / added;
        g->attention_scale = model_attention_scale(m);
        g->unit = m->kind->gemma ? GATE_GELU_TANH : m->kind->oss ? GATE_CLAMPED : GATE_SILU;
        g->norm_experts = p->norm_experts;
        g->rope = p->rope;
        g->local_rope = (Rope){.style = p->rope.style, .n_rot = p->rope.n_rot, .base = p->local_base, .scale = 1};
        int k = claim_globals(m, g, e);
        for (uint32_t l = 0; l < m->info.n_layers && k == 0; l++) {
                set_window(m, l, g);
                k = claim_layer(m, l, &g->layers[l], e);
        }
        return k;
}

/* ---- steps ---- */

static void llama_parts(const Model *m, size_t rows, size_t logits, WorkspacePart parts[static WORKSPACE_PARTS]) {
        const ModelInfo *i = &m->info;
        size_t q = (size_t)i->n_heads * i->head_dim, kv = (size_t)i->n_kv_heads * i->head_dim;
        parts[PART_X] = parts[PART_H] = (WorkspacePart){rows, i->n_embd};
        parts[PART_Q] = parts[PART_MIXED] = (WorkspacePart){rows, q};
        parts[PART_K] = parts[PART_V] = (WorkspacePart){rows, kv};
        parts[PART_FF] = (WorkspacePart){rows * MAX(i->n_experts_used, 1u), i->n_ff};
        if (i->n_experts > 0) {
                parts[PART_ROUTER] = (WorkspacePart){rows, i->n_experts};
                parts[PART_ROUTING] = (WorkspacePart){1, routing_size(rows, i->n_experts, i->n_experts_used)};
                parts[PART_PLACES] = (WorkspacePart){rows * i->n_experts_used, i->n_embd};
        }
        parts[PART_TAIL] = (WorkspacePart){logits, i->n_embd};
        parts[PART_LOGITS] = (WorkspacePart){logits, i->n_vocab};
}

typedef struct Step {
        const ModelInfo *info;
        const Llama *g;
        bool wide_norm; /* see ModelKind */
        const DeviceOps *ops;
        Stream *stream;
        const Rows *rows;
        float *const *part;
} Step;

static Activations normed(const Step *t, const float *x, uint32_t n, const float *norm) {
        return (Activations){.x = x, .n_rows = n, .norm = norm, .eps = t->g->eps, .room = t->part[PART_H]};
}

/* Queries of all rows, keys and values: into the cache, if there is one. */
static void project(const Step *t, const Layer *y, const KvLayer *kv) {
        const ModelInfo *i = t->info;
        Qkv h = {.q = t->part[PART_Q],
                 .k = t->part[PART_K],
                 .v = t->part[PART_V],
                 .n_heads = i->n_heads,
                 .n_kv_heads = i->n_kv_heads,
                 .head_dim = i->head_dim,
                 .q_norm = t->wide_norm ? NULL : y->q_norm,
                 .k_norm = t->wide_norm ? NULL : y->k_norm,
                 .eps = t->g->head_eps};
        Product qkv[] = {{y->q, y->q_bias, h.q}, {y->k, y->k_bias, h.k}, {y->v, y->v_bias, t->part[PART_V]}};
        Activations x = normed(t, t->part[PART_X], t->rows->n, y->attn_norm);
        t->ops->matmul(t->stream, qkv, 3, &x, UPDATE_SET);
        if (t->wide_norm) {
                t->ops->rmsnorm(t->stream, h.q, h.q, y->q_norm, x.n_rows, y->q.rows, h.eps, UPDATE_SET);
                t->ops->rmsnorm(t->stream, h.k, h.k, y->k_norm, x.n_rows, y->k.rows, h.eps, UPDATE_SET);
        }
        t->ops->rope(t->stream, &h, t->rows, y->rope, kv);
}

/* x += w in, for `n` rows; `norm` (or NULL) is applied before it is added. */
static void add_product(const Step *t, float *x, const Matrix *w, const float *bias, const float *in, const float *norm,
                        uint32_t n) {
        float *added = t->part[PART_H];
        Product p = {*w, bias, norm ? added : x};
        t->ops->matmul(t->stream, &p, 1, &(Activations){.x = in, .n_rows = n}, norm ? UPDATE_SET : UPDATE_ADD);
        if (norm)
                t->ops->rmsnorm(t->stream, x, added, norm, n, t->info->n_embd, t->g->eps, UPDATE_ADD);
}

/* x += what the experts make of its rows. */
static void ask_experts(const Step *t, const Layer *y, float *x, uint32_t n) {
        const ModelInfo *i = t->info;
        float *h = t->part[PART_H], *ff = t->part[PART_FF], *places = t->part[PART_PLACES];
        Routing r = routing_in(t->part[PART_ROUTING], n, i->n_experts, i->n_experts_used);
        Product logits = {y->router, y->router_bias, t->part[PART_ROUTER]};
        t->ops->rmsnorm(t->stream, h, x, y->ffn_norm, n, i->n_embd, t->g->eps, UPDATE_SET);
        t->ops->matmul(t->stream, &logits, 1, &(Activations){.x = h, .n_rows = n}, UPDATE_SET);
        t->ops->route(t->stream, &r, logits.out, t->g->norm_experts);
        t->ops->gather(t->stream, places, h, r.row, n * i->n_experts_used, i->n_embd);
        t->ops->glu_experts(t->stream, ff, &y->gates, &y->ups, &r, places, t->g->unit);
        t->ops->matmul_experts(t->stream, places, &y->downs, &r, ff);
        t->ops->combine(t->stream, x, places, &r, i->n_embd);
}

/* The rest of a layer, for `n` rows: attention's result and the feed-forward network are added to the residual `x`. */
static void feed_forward(const Step *t, const Layer *y, float *x, const float *mixed, uint32_t n) {
        float *ff = t->part[PART_FF];
        Activations h = normed(t, x, n, y->ffn_norm);
        add_product(t, x, &y->output, y->output_bias, mixed, y->attn_post_norm, n);
        if (t->info->n_experts > 0) {
                ask_experts(t, y, x, n);
                return;
        }
        t->ops->glu(t->stream, ff, &y->gate, &y->up, &h, t->g->unit);
        add_product(t, x, &y->down, NULL, ff, y->ffn_post_norm, n);
}

static void llama_forward(const Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv,
                          const int32_t *logit_index, uint32_t n_logits, float **ret_logits, uint64_t *ret_nearly) {
        const ModelInfo *i = &m->info;
        const Llama *g = m->graph;
        const DeviceOps *ops = w->device->ops;
        Step t = {.info = i, .g = g, .wide_norm = m->kind->wide_norm, .ops = ops, .stream = s, .rows = rows, .part = w->part};
        float *x = w->part[PART_X], *mixed = w->part[PART_MIXED];
        uint32_t n = rows->n;
        *ret_logits = w->part[PART_LOGITS];
        ops->embed(s, x, &g->embedding, rows, g->embedding_scale);
        for (uint32_t l = 0; l < i->n_layers; l++) {
                const Layer *y = &g->layers[l];
                KvLayer layer = model_kv_layer(m, kv, l);
                bool last = l + 1 == i->n_layers;
                model_mark_nearly(m, s, l, false, ret_nearly);
                project(&t, y, &layer);
                if (last && n_logits == 0)
                        return;
                Attending how = {i->n_heads, y->window, g->attention_scale, m->params.attention_cap, y->sinks};
                ops->attention(s, mixed, w->part[PART_Q], &layer, rows, &how);
                if (last) { /* queries are done with: their place takes the chosen rows of `mixed` */
                        ops->gather(s, w->part[PART_TAIL], x, logit_index, n_logits, i->n_embd);
                        ops->gather(s, w->part[PART_Q], mixed, logit_index, n_logits, i->n_heads * i->head_dim);
                        x = w->part[PART_TAIL];
                        mixed = w->part[PART_Q];
                        n = n_logits;
                }
                feed_forward(&t, y, x, mixed, n);
        }
        Product logits = {g->output.data ? g->output : g->embedding, NULL, *ret_logits};
        Activations h = normed(&t, x, n, g->output_norm);
        ops->matmul(s, &logits, 1, &h, UPDATE_SET);
        if (m->params.logit_cap > 0)
                ops->softcap(s, *ret_logits, (size_t)n * i->n_vocab, m->params.logit_cap);
}

const ModelArch arch_llama = {
        .kinds = kinds,
        .open = llama_open,
        .parts = llama_parts,
        .forward = llama_forward,
        .encoder = &arch_llama_encoder,
};
