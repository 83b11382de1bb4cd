/* The BERT family: bert, roberta, xlm-roberta; encoders, whose rows see all of their text (Devlin et al. 2018):
 *
 *   x = layernorm(embedding of the token + of its position + of its type)
 *   each layer:  x = layernorm(x + Wo attention(Wq x, Wk x, Wv x))
 *                x = layernorm(x + Wdown gelu(Wup x))                     every W with a bias
 *   embedder:    the pooled rows of each text, perhaps of length 1
 *   reranker:    Wscore tanh(Wpool x of the first row)
 *
 * RoBERTa's positions begin behind its padding token's; the caller has seen to that. Names of tensors are ggml's. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "model/arch.h"

typedef struct Norm {
        const float *weight, *bias;
} Norm;

typedef struct Layer {
        Linear q, k, v, output, up, down;
        Norm attention_norm, output_norm;
} Layer;

typedef struct Bert {
        Matrix tables[EMBED_TABLES]; /* words, positions, types */
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

static const char *const names[] = {"bert", "roberta", "xlm-roberta", NULL};

/* ---- opening ---- */

static int claim_norm(Model *m, const char *name, Norm *ret, Error *e) {
        char full[64];
        snprintf(full, sizeof(full), "%s.weight", name);
        int k = model_claim_vector(m, full, m->info.n_embd, PRESENT_YES, &ret->weight, e);
        if (k < 0)
                return k;
        snprintf(full, sizeof(full), "%s.bias", name);
        return model_claim_vector(m, full, m->info.n_embd, PRESENT_YES, &ret->bias, e);
}

static int claim_globals(Model *m, Bert *g, Error *e) {
        const ModelInfo *i = &m->info;
        Matrix *t = g->tables;
        int k;
        if ((k = model_claim_matrix(m, "token_embd.weight", i->n_embd, i->n_vocab, PRESENT_YES, &t[0], e)) < 0 ||
            (k = model_claim_matrix(m, "position_embd.weight", i->n_embd, m->params.n_positions, PRESENT_YES, &t[1],
                                    e)) < 0 ||
            (k = model_claim_matrix(m, "token_types.weight", i->n_embd, m->encoder.n_types, PRESENT_YES, &t[2], e)) < 0)
                return k;
        return claim_norm(m, "token_embd_norm", &g->norm, e);
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
        const struct {
                const char *name;
                uint64_t cols, rows;
                Precision coarsest;
                Linear *linear;
        } linears[] = {
                {"attn_q", embd, embd, PRECISION_INT8, &y->q},
                {"attn_k", embd, embd, PRECISION_INT8, &y->k},
                {"attn_v", embd, embd, PRECISION_INT16, &y->v},
                {"attn_output", embd, embd, PRECISION_INT8, &y->output},
                {"ffn_up", embd, ff, PRECISION_INT16, &y->up},
                {"ffn_down", ff, embd, PRECISION_INT8, &y->down},
        };
        const struct {
                const char *name;
                Norm *norm;
        } norms[] = {{"attn_output_norm", &y->attention_norm}, {"layer_output_norm", &y->output_norm}};
        char name[64];
        int k = 0;
        for (size_t n = 0; n < ARRAY_SIZE(linears) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, linears[n].name);
                k = model_claim_linear(m, name, linears[n].cols, linears[n].rows, PRESENT_YES,
                                       linears[n].coarsest, linears[n].linear, e);
        }
        for (size_t n = 0; n < ARRAY_SIZE(norms) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, norms[n].name);
                k = claim_norm(m, name, norms[n].norm, e);
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

typedef struct Step {
        const Model *m;
        const DeviceOps *ops;
        Stream *stream;
        const Texts *texts;
        float *const *part;
} Step;

static void apply(const Step *t, float *out, const Linear *w, const float *x, Activation act, bool accumulate) {
        t->ops->linear(t->stream, out, &w->w, x, t->texts->n_rows, w->bias, act, accumulate);
}

static void normalise(const Step *t, const Norm *norm) {
        float *x = t->part[PART_X];
        t->ops->layernorm(t->stream, x, x, norm->weight, norm->bias, t->texts->n_rows, t->m->info.n_embd,
                          t->m->params.norm_eps);
}

static void attend(const Step *t) {
        const ModelInfo *i = &t->m->info;
        t->ops->self_attention(t->stream, t->part[PART_MIXED],
                               &(SelfAttention){.texts = *t->texts,
                                                .q = t->part[PART_Q],
                                                .k = t->part[PART_K],
                                                .v = t->part[PART_V],
                                                .q_stride = i->n_embd,
                                                .k_stride = i->n_embd,
                                                .v_stride = i->n_embd,
                                                .out_stride = i->n_embd,
                                                .n_heads = i->n_heads,
                                                .n_kv_heads = i->n_heads,
                                                .head_dim = i->head_dim,
                                                .scale = 1 / sqrtf((float)i->head_dim)});
}

static void layer(const Step *t, const Layer *y) {
        float *x = t->part[PART_X], *up = t->part[PART_UP];
        apply(t, t->part[PART_Q], &y->q, x, ACTIVATION_NONE, false);
        apply(t, t->part[PART_K], &y->k, x, ACTIVATION_NONE, false);
        apply(t, t->part[PART_V], &y->v, x, ACTIVATION_NONE, false);
        attend(t);
        apply(t, x, &y->output, t->part[PART_MIXED], ACTIVATION_NONE, true);
        normalise(t, &y->attention_norm);
        apply(t, up, &y->up, x, t->m->params.activation, false);
        apply(t, x, &y->down, up, ACTIVATION_NONE, true);
        normalise(t, &y->output_norm);
}

static void finish(const Step *t, const Bert *g) {
        const EncoderInfo *c = &t->m->encoder;
        float *pooled = t->part[c->scores ? PART_POOLED : PART_OUT], *head = t->part[PART_HEAD];
        t->ops->pool(t->stream, pooled, t->part[PART_X], t->texts, t->m->info.n_embd, c->pooling, c->normalised);
        if (!c->scores)
                return;
        t->ops->linear(t->stream, head, &g->pool.w, pooled, t->texts->n, g->pool.bias, ACTIVATION_TANH, false);
        t->ops->linear(t->stream, t->part[PART_OUT], &g->score.w, head, t->texts->n, g->score.bias, ACTIVATION_NONE,
                       false);
}

static void bert_encode(const Model *m, Workspace *w, Stream *s, const Texts *texts, const int32_t *const *ids,
                        float **ret_out, uint64_t *ret_nearly) {
        const Bert *g = m->graph;
        Step t = {.m = m, .ops = w->device->ops, .stream = s, .texts = texts, .part = w->part};
        t.ops->embed_sum(s, w->part[PART_X], g->tables, ids, EMBED_TABLES, texts->n_rows);
        normalise(&t, &g->norm);
        for (uint32_t l = 0; l < m->info.n_layers; l++) {
                model_mark_nearly(m, s, l, ret_nearly);
                layer(&t, &g->layers[l]);
        }
        finish(&t, g);
        *ret_out = w->part[PART_OUT];
}

const ModelArch arch_bert = {
        .names = names,
        .open = bert_open,
        .parts = bert_parts,
        .encode = bert_encode,
};
