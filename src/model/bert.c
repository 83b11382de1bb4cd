/* The BERT family: bert, roberta, xlm-roberta; encoders, whose rows see all of their text (Devlin et al. 2018):
 *
 *   x = layernorm(embedding of the token + of its position + of its type)
 *   each layer:  x = layernorm(x + Wo attention(Wq x, Wk x, Wv x))
 *                x = layernorm(x + Wdown gelu(Wup x))                     every W with a bias
 *   embedder:    the pooled rows of each text, perhaps of length 1
 *   reranker:    Wscore tanh(Wpool x of the first row)
 *
 * Nomic's (Nussbaum et al. 2024) has no table of positions, but rotates the halves of Wq x and Wk x together, and for the
 * second part of a layer
 *
 *                x = layernorm(x + Wdown (silu(Wgate x) * Wup x))         W without a bias
 *
 * JinaBERT's (Günther et al. 2023) has gelu in place of silu there, attention with linear biases instead of a table of
 * positions, and perhaps norms of Wq x and Wk x.
 *
 * RoBERTa's positions begin behind its padding token's; the caller has seen to that. Names of tensors are ggml's. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "model/encode.h"

typedef struct Norm {
        const float *weight, *bias;
} Norm;

typedef struct Layer {
        Linear q, k, v, output, gate, up, down;
        Norm attention_norm, output_norm, q_norm, k_norm; /* the last two may be none */
} Layer;

typedef struct Bert {
        Matrix tables[EMBED_TABLES]; /* of words, positions and types, as far as there are any */
        uint8_t ids[EMBED_TABLES];   /* by which of the ids each is looked up */
        uint32_t n_tables;
        Norm norm;
        Linear pool, score; /* of a reranker */
        Layer layers[];
} Bert;

enum {
        PART_X,
        PART_Q,
        PART_K,
        PART_V,
        PART_MIXED, /* what attention returns */
        PART_UP,
        PART_POOLED,
        PART_HEAD,
        PART_OUT,
};

static const ModelKind kinds[] = {{"bert"}, {"roberta"}, {"xlm-roberta"}, {"nomic_bert", "safetensors"}, {"nomic-bert", "gguf", .gguf_rope = ROPE_NEOX}, {NULL}};

/* ---- opening ---- */

static int claim_norm(Model *m, const char *name, Presence presence, Norm *ret, Error *e) {
        char full[64];
        size_t before = m->n_weights;
        snprintf(full, sizeof(full), "%s.weight", name);
        int k = model_claim_vector(m, full, m->info.n_embd, presence, &ret->weight, e);
        if (k < 0 || m->n_weights == before)
                return k;
        snprintf(full, sizeof(full), "%s.bias", name);
        return model_claim_vector(m, full, m->info.n_embd, PRESENT_YES, &ret->bias, e);
}

static int claim_globals(Model *m, Bert *g, Error *e) {
        const struct {
                const char *name;
                uint32_t rows;
        } tables[EMBED_TABLES] = {{"token_embd.weight", m->info.n_vocab},
                                  {"position_embd.weight", m->params.n_positions},
                                  {"token_types.weight", m->encoder.n_types}};
        for (uint8_t t = 0; t < EMBED_TABLES; t++) {
                if (tables[t].rows == 0)
                        continue;
                int k = model_claim_matrix(m, tables[t].name, m->info.n_embd, tables[t].rows, PRESENT_YES,
                                           &g->tables[g->n_tables], e);
                if (k < 0)
                        return k;
                g->ids[g->n_tables++] = t;
        }
        return claim_norm(m, "token_embd_norm", PRESENT_YES, &g->norm, e);
}

static int claim_head(Model *m, Bert *g, Error *e) {
        uint64_t embd = m->info.n_embd;
        int k = model_claim_linear(m, "cls", embd, embd, PRESENT_YES, PRECISION_F32, &g->pool, e);
        return k < 0 ? k
                     : model_claim_linear(m, "cls.output", embd, m->encoder.n_out, PRESENT_YES, PRECISION_F32,
                                          &g->score, e);
}

/* What suffers most from 8 bits are the values and what goes into the feed-forward network, where few activations are far
 * greater than the rest: measured on all-MiniLM, each alone costs as much cosine as all others together. */
static int claim_layer(Model *m, uint32_t l, Layer *y, Error *e) {
        uint64_t embd = m->info.n_embd, ff = m->info.n_ff;
        const ModelParams *p = &m->params;
        const struct {
                const char *name;
                uint64_t cols, rows;
                Presence bias;
                Precision coarsest;
                Linear *linear;
        } linears[] = {
                {"attn_q", embd, embd, p->qkv_bias, PRECISION_INT8, &y->q},
                {"attn_k", embd, embd, p->qkv_bias, PRECISION_INT8, &y->k},
                {"attn_v", embd, embd, p->qkv_bias, PRECISION_BF16, &y->v},
                {"attn_output", embd, embd, p->output_bias, PRECISION_INT8, &y->output},
                {"ffn_up", embd, ff, p->ffn_bias, PRECISION_BF16, &y->up},
                {"ffn_down", ff, embd, p->ffn_bias, PRECISION_INT8, &y->down},
                {"ffn_gate", embd, ff, p->ffn_bias, PRECISION_BF16, &y->gate}, /* the last, if at all */
        };
        size_t n_linears = ARRAY_SIZE(linears) - !p->gated;
        const struct {
                const char *name;
                Presence presence;
                Norm *norm;
        } norms[] = {{"attn_output_norm", PRESENT_YES, &y->attention_norm},
                     {"layer_output_norm", PRESENT_YES, &y->output_norm},
                     {"attn_q_norm", p->qk_norm, &y->q_norm},
                     {"attn_k_norm", p->qk_norm, &y->k_norm}};
        char name[64];
        int k = 0;
        for (size_t n = 0; n < n_linears && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, linears[n].name);
                k = model_claim_linear(m, name, linears[n].cols, linears[n].rows, linears[n].bias,
                                       linears[n].coarsest, linears[n].linear, e);
        }
        for (size_t n = 0; n < ARRAY_SIZE(norms) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, norms[n].name);
                k = claim_norm(m, name, norms[n].presence, norms[n].norm, e);
        }
        return k;
}

static int bert_open(Model *m, Error *e) {
        Bert *g = calloc(1, sizeof(*g) + m->info.n_layers * sizeof(*g->layers));
        if (!g)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " layers", m->info.n_layers);
        m->graph = g;
        int k = claim_globals(m, g, e);
        for (uint32_t l = 0; l < m->info.n_layers && k == 0; l++)
                k = claim_layer(m, l, &g->layers[l], e);
        return k == 0 && m->encoder.scores ? claim_head(m, g, e) : k;
}

/* ---- batches ---- */

static void bert_parts(const Model *m, size_t rows, size_t texts, WorkspacePart parts[static WORKSPACE_PARTS]) {
        const ModelInfo *i = &m->info;
        size_t head = m->encoder.scores ? texts : 0;
        parts[PART_X] = parts[PART_Q] = parts[PART_K] = parts[PART_V] = parts[PART_MIXED] =
                (WorkspacePart){rows, i->n_embd};
        parts[PART_UP] = (WorkspacePart){rows, i->n_ff};
        parts[PART_POOLED] = parts[PART_HEAD] = (WorkspacePart){head, i->n_embd};
        parts[PART_OUT] = (WorkspacePart){texts, m->encoder.n_out};
}

static void normalise(const EncodeStep *t, float *x, const Norm *norm) {
        t->ops->layernorm(t->stream, x, x, norm->weight, norm->bias, t->texts.n_rows, t->m->info.n_embd,
                          t->m->params.norm_eps);
}

/* The network between attention and the next layer, up to its last product. */
static float *widen(const EncodeStep *t, const Layer *y) {
        const ModelParams *p = &t->m->params;
        float *up = t->part[PART_UP];
        encode_linear(t, up, &y->up, t->x, p->gated ? ACTIVATION_NONE : p->activation, UPDATE_SET);
        if (p->gated)
                encode_linear(t, up, &y->gate, t->x, p->activation, UPDATE_MULTIPLY);
        return up;
}

/* The first part of a layer, up to what attention returns. */
static void mix(const EncodeStep *t, const Layer *y) {
        encode_project(t, t->x, &y->q, &y->k, &y->v);
        if (y->q_norm.weight)
                normalise(t, t->q, &y->q_norm);
        if (y->k_norm.weight)
                normalise(t, t->k, &y->k_norm);
        if (t->m->params.rotary)
                encode_rotate(t, &t->m->params.rope, NULL, NULL);
        encode_attend(t, false);
}

static void feed_forward(const EncodeStep *t, const Layer *y) {
        float *x = t->x;
        encode_linear(t, x, &y->output, t->mixed, ACTIVATION_NONE, UPDATE_ADD);
        normalise(t, x, &y->attention_norm);
        encode_linear(t, x, &y->down, widen(t, y), ACTIVATION_NONE, UPDATE_ADD);
        normalise(t, x, &y->output_norm);
}

static void finish(const EncodeStep *t, const Bert *g) {
        const EncoderInfo *c = &t->m->encoder;
        float *pooled = t->part[c->scores ? PART_POOLED : PART_OUT], *head = t->part[PART_HEAD];
        t->ops->pool(t->stream, pooled, t->x, &t->texts, t->m->info.n_embd, c->pooling, c->normalised);
        if (!c->scores)
                return;
        t->ops->linear(t->stream, head, &g->pool.w, pooled, t->texts.n, g->pool.bias, ACTIVATION_TANH, UPDATE_SET);
        t->ops->linear(t->stream, t->part[PART_OUT], &g->score.w, head, t->texts.n, g->score.bias, ACTIVATION_NONE,
                       UPDATE_SET);
}

static void bert_encode(const Model *m, Workspace *w, Stream *s, const Texts *texts, const int32_t *const *ids,
                        float **ret_out, uint64_t *ret_nearly) {
        const Bert *g = m->graph;
        const int32_t *index[EMBED_TABLES];
        EncodeStep t = {.m = m, .ops = w->device->ops, .stream = s, .texts = *texts, .positions = ids[1], .part = w->part,
                        .q = w->part[PART_Q], .k = w->part[PART_K], .v = w->part[PART_V], .x = w->part[PART_X],
                        .mixed = w->part[PART_MIXED]};
        for (uint32_t i = 0; i < g->n_tables; i++)
                index[i] = ids[g->ids[i]];
        t.ops->embed_sum(s, t.x, g->tables, index, g->n_tables, texts->n_rows);
        normalise(&t, t.x, &g->norm);
        for (uint32_t l = 0; l < m->info.n_layers; l++) {
                model_mark_nearly(m, s, l, true, ret_nearly);
                mix(&t, &g->layers[l]);
                if (l + 1 == m->info.n_layers)
                        encode_choose(&t, t.k);
                feed_forward(&t, &g->layers[l]);
        }
        finish(&t, g);
        *ret_out = w->part[PART_OUT];
}

const ModelArch arch_bert = {
        .kinds = kinds,
        .open = bert_open,
        .parts = bert_parts,
        .encode = bert_encode,
};
