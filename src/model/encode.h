/* What the encoders' families share: a batch of whole texts on its way through the layers of a model. */
#pragma once

#include <math.h>

#include "model/arch.h"

typedef struct EncodeStep {
        const Model *m;
        const DeviceOps *ops;
        Stream *stream;
        Texts texts;
        const int32_t *positions;
        float *const *part;
        float *q, *k, *v;
        float *x, *mixed; /* the rows at hand: the residual, and what attention returned */
} EncodeStep;

static inline void encode_linear(const EncodeStep *t, float *out, const Linear *w, const float *x, Activation act,
                                 Update update) {
        t->ops->linear(t->stream, out, &w->w, x, t->texts.n_rows, w->bias, act, update);
}

/* The three products of the rows `x`. */
static inline void encode_project(const EncodeStep *t, const float *x, const Linear *q, const Linear *k, const Linear *v) {
        encode_linear(t, t->q, q, x, ACTIVATION_NONE, UPDATE_SET);
        encode_linear(t, t->k, k, x, ACTIVATION_NONE, UPDATE_SET);
        encode_linear(t, t->v, v, x, ACTIVATION_NONE, UPDATE_SET);
}

/* Queries and keys, each head normalised where there are norms. */
static inline void encode_rotate(const EncodeStep *t, const Rope *rope, const float *q_norm, const float *k_norm) {
        const ModelInfo *i = &t->m->info;
        Rows rows = {.n = t->texts.n_rows, .position = t->positions};
        Qkv heads = {.q = t->q,
                     .k = t->k,
                     .n_heads = i->n_heads,
                     .n_kv_heads = i->n_kv_heads,
                     .head_dim = i->head_dim,
                     .q_norm = q_norm,
                     .k_norm = k_norm,
                     .eps = t->m->params.norm_eps};
        t->ops->rope(t->stream, &heads, &rows, rope, NULL);
}

static inline void encode_attend(const EncodeStep *t, bool causal) {
        const ModelInfo *i = &t->m->info;
        size_t q = (size_t)i->n_heads * i->head_dim, kv = (size_t)i->n_kv_heads * i->head_dim;
        SelfAttention a = {.texts = t->texts,
                           .q = t->q,
                           .k = t->k,
                           .v = t->v,
                           .q_stride = q,
                           .k_stride = kv,
                           .v_stride = kv,
                           .out_stride = q,
                           .n_heads = i->n_heads,
                           .n_kv_heads = i->n_kv_heads,
                           .head_dim = i->head_dim,
                           .causal = causal,
                           .alibi = t->m->params.alibi,
                           .scale = model_attention_scale(t->m)};
        t->ops->self_attention(t->stream, t->mixed, &a);
}

/* In the last layer only the rows that are pooled go on, if those are single ones: each as a text of its own. Their residual
 * goes to `x`, which is done with, as queries are. */
static inline void encode_choose(EncodeStep *t, float *x) {
        const ModelInfo *i = &t->m->info;
        uint32_t n = t->texts.n;
        Pooling pooling = t->m->encoder.pooling;
        if (pooling == POOLING_MEAN)
                return;
        t->ops->pool(t->stream, t->q, t->mixed, &t->texts, i->n_heads * i->head_dim, pooling, false);
        t->ops->pool(t->stream, x, t->x, &t->texts, i->n_embd, pooling, false);
        t->mixed = t->q;
        t->x = x;
        t->texts = (Texts){.n_rows = n, .n = n, .longest = 1};
}
