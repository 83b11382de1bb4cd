/* The llama family as embedders (Qwen3-Embedding): llama.c's transformer, computed as encoders are, over whole texts whose
 * rows see only those before them.
 *
 *   each layer:  h = rmsnorm(x);  q, k, v = Wq h, Wk h, Wv h;  q, k = rmsnorm of each head (qwen3);  both rotated
 *                x += Wo attention(q, k, v)
 *                h = rmsnorm(x);  x += Wdown (silu(Wgate h) * Wup h)
 *   a text:      its pooled rows of rmsnorm(x), perhaps of length 1
 *
 * There is no cache, and matrices are packed. In the last layer only the rows that are pooled go on, if those are single
 * ones. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/encode.h"

typedef struct Layer {
        Linear q, k, v, output, gate, up, down;
        const float *attn_norm, *ffn_norm, *q_norm, *k_norm; /* the last two of qwen3, for each head */
} Layer;

typedef struct Encoder {
        Matrix embedding;
        const float *output_norm;
        Rope rope;
        Layer layers[];
} Encoder;

enum { PART_X, PART_H, /* normed */ PART_Q, PART_K, PART_V, PART_MIXED, PART_FF, PART_OUT };

/* ---- opening ---- */

static int claim_layer(Model *m, uint32_t l, Layer *y, Error *e) {
        const ModelInfo *i = &m->info;
        uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
        uint64_t embd = i->n_embd, ff = i->n_ff;
        const Presence bias = m->params.qkv_bias, qk_norm = m->kind->qk_norm ? PRESENT_YES : PRESENT_NO;
        const struct {
                const char *name;
                uint64_t cols, rows;
                Presence bias;
                Precision coarsest; /* see bert.c */
                Linear *linear;
        } linears[] = {
                {"attn_q", embd, q, bias, PRECISION_INT8, &y->q},
                {"attn_k", embd, kv, bias, PRECISION_INT8, &y->k},
                {"attn_v", embd, kv, bias, PRECISION_BF16, &y->v},
                {"attn_output", q, embd, m->params.output_bias, PRECISION_INT8, &y->output},
                {"ffn_gate", embd, ff, PRESENT_NO, PRECISION_BF16, &y->gate},
                {"ffn_up", embd, ff, PRESENT_NO, PRECISION_BF16, &y->up},
                {"ffn_down", ff, embd, PRESENT_NO, PRECISION_INT8, &y->down},
        };
        const struct {
                const char *name;
                uint64_t n;
                Presence presence;
                const float **vector;
        } norms[] = {
                {"attn_norm", embd, PRESENT_YES, &y->attn_norm},
                {"ffn_norm", embd, PRESENT_YES, &y->ffn_norm},
                {"attn_q_norm", i->head_dim, qk_norm, &y->q_norm},
                {"attn_k_norm", i->head_dim, qk_norm, &y->k_norm},
        };
        char name[64];
        int k = 0;
        for (size_t n = 0; n < ARRAY_SIZE(linears) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", l, linears[n].name);
                k = model_claim_linear(m, name, linears[n].cols, linears[n].rows, linears[n].bias, linears[n].coarsest,
                                       linears[n].linear, e);
        }
        for (size_t n = 0; n < ARRAY_SIZE(norms) && k == 0; n++) {
                snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s.weight", l, norms[n].name);
                k = model_claim_vector(m, name, norms[n].n, norms[n].presence, norms[n].vector, e);
        }
        return k;
}

static int encoder_open(Model *m, Error *e) {
        const ModelInfo *i = &m->info;
        Encoder *g = calloc(1, sizeof(*g) + i->n_layers * sizeof(*g->layers));
        if (!g)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory for %" PRIu32 " layers", i->n_layers);
        m->graph = g;
        g->rope = m->params.rope;
        int k = model_claim_matrix(m, "token_embd.weight", i->n_embd, i->n_vocab, PRESENT_YES, &g->embedding, e);
        if (k == 0)
                k = model_claim_vector(m, "output_norm.weight", i->n_embd, PRESENT_YES, &g->output_norm, e);
        if (k == 0)
                k = model_claim_vector(m, "rope_freqs.weight", g->rope.n_rot / 2, PRESENT_MAYBE, &g->rope.factors, e);
        for (uint32_t l = 0; l < i->n_layers && k == 0; l++)
                k = claim_layer(m, l, &g->layers[l], e);
        return k;
}

/* ---- batches ---- */

static void encoder_parts(const Model *m, size_t rows, size_t texts, WorkspacePart parts[static WORKSPACE_PARTS]) {
        const ModelInfo *i = &m->info;
        size_t q = (size_t)i->n_heads * i->head_dim, kv = (size_t)i->n_kv_heads * i->head_dim;
        parts[PART_X] = parts[PART_H] = (WorkspacePart){rows, i->n_embd};
        parts[PART_Q] = parts[PART_MIXED] = (WorkspacePart){rows, q};
        parts[PART_K] = parts[PART_V] = (WorkspacePart){rows, kv};
        parts[PART_FF] = (WorkspacePart){rows, i->n_ff};
        parts[PART_OUT] = (WorkspacePart){texts, i->n_embd};
}

static void normalise(const EncodeStep *t, float *out, const float *x, const float *weight) {
        t->ops->rmsnorm(t->stream, out, x, weight, t->texts.n_rows, t->m->info.n_embd, t->m->params.norm_eps, UPDATE_SET);
}

/* The first part of a layer, up to what attention returns. */
static void mix(const EncodeStep *t, const Layer *y) {
        const Encoder *g = t->m->graph;
        float *h = t->part[PART_H];
        normalise(t, h, t->x, y->attn_norm);
        encode_project(t, h, &y->q, &y->k, &y->v);
        encode_rotate(t, &g->rope, y->q_norm, y->k_norm);
        encode_attend(t, true);
}

static void feed_forward(const EncodeStep *t, const Layer *y) {
        float *x = t->x, *h = x == t->part[PART_H] ? t->part[PART_X] : t->part[PART_H], *ff = t->part[PART_FF];
        encode_linear(t, x, &y->output, t->mixed, ACTIVATION_NONE, UPDATE_ADD);
        normalise(t, h, x, y->ffn_norm);
        encode_linear(t, ff, &y->up, h, ACTIVATION_NONE, UPDATE_SET);
        encode_linear(t, ff, &y->gate, h, ACTIVATION_SILU, UPDATE_MULTIPLY);
        encode_linear(t, x, &y->down, ff, ACTIVATION_NONE, UPDATE_ADD);
}

static void encoder_encode(const Model *m, Workspace *w, Stream *s, const Texts *texts, const int32_t *const *ids,
                           float **ret_out, uint64_t *ret_nearly) {
        const Encoder *g = m->graph;
        EncodeStep t = {.m = m, .ops = w->device->ops, .stream = s, .texts = *texts, .positions = ids[1], .part = w->part,
                        .q = w->part[PART_Q], .k = w->part[PART_K], .v = w->part[PART_V], .x = w->part[PART_X],
                        .mixed = w->part[PART_MIXED]};
        t.ops->embed_sum(s, t.x, &g->embedding, ids, 1, texts->n_rows);
        for (uint32_t l = 0; l < m->info.n_layers; l++) {
                model_mark_nearly(m, s, l, true, ret_nearly);
                mix(&t, &g->layers[l]);
                if (l + 1 == m->info.n_layers)
                        encode_choose(&t, w->part[PART_H]);
                feed_forward(&t, &g->layers[l]);
        }
        normalise(&t, t.x, t.x, g->output_norm);
        *ret_out = w->part[PART_OUT];
        t.ops->pool(s, *ret_out, t.x, &t.texts, m->info.n_embd, m->encoder.pooling, m->encoder.normalised);
}

const ModelArch arch_llama_encoder = {
        .open = encoder_open,
        .parts = encoder_parts,
        .encode = encoder_encode,
};
