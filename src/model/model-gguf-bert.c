/* What a GGUF file says of an encoder, "bert" (which RoBERTa and XLM-RoBERTa are called, too, with their positions counted
 * from 0) or "nomic-bert". Keys and names are those of ggml's docs/gguf.md; those that are younger, and what is not said, as
 * llama.cpp's converter and readers have it:
 *
 *   pooling_type                   1 mean, 2 the first token, 3 the last; 4: the first token's scores by cls and cls.output
 *   attention.layer_norm_epsilon
 *   context_length                 rows of position_embd
 *
 * A file does not say whether a vector is brought to length 1; it is, as everybody who reads such files does. GELU is the
 * one that the models were trained with, not its approximation. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/gguf-keys.h"

static bool is_nomic(const Model *m) {
        return strcmp(m->info.architecture, "nomic-bert") == 0;
}

static void set_tables(Model *m) {
        const Tensor *types = gguf_tensor(m->gguf, "token_types.weight");
        uint32_t length = m->info.context_length;
        m->params.pad_token = -1;
        m->params.rotary = m->params.gated = is_nomic(m);
        m->params.n_positions = is_nomic(m) ? 0 : length;
        m->encoder.max_tokens = m->encoder.usual_tokens = length;
        m->encoder.n_types = types ? (uint32_t)MIN(types->dims[1], (uint64_t)INT32_MAX) : 0;
}

/* As many scores as the last matrix has rows. */
static int read_head(Model *m, Error *e) {
        const Tensor *head = gguf_tensor(m->gguf, "cls.output.weight");
        if (!head || !gguf_tensor(m->gguf, "cls.weight"))
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    "key '%s.pooling_type' asks for scores, but the file has not both layers of the head "
                                    "that makes them, cls and cls.output",
                                    m->info.architecture);
        m->encoder.n_out = (uint32_t)MIN(head->dims[1], (uint64_t)INT32_MAX);
        m->encoder.pooling = POOLING_CLS;
        m->encoder.sigmoid = m->encoder.n_out == 1;
        return 0;
}

int describe_gguf_bert(Model *m, Error *e) {
        const ModelInfo *i = &m->info;
        bool there;
        int k;
        if ((uint64_t)i->n_heads * i->head_dim != i->n_embd || i->n_kv_heads != i->n_heads ||
            i->head_dim > SELF_ATTENTION_DIM_MAX)
                return MODEL_REFUSE(m, e, -EINVAL,
                                    "%" PRIu32 " attention heads of %" PRIu32 " values, %" PRIu32 " of keys: should have "
                                    "%" PRIu32 " values together, at most %d each",
                                    i->n_heads, i->head_dim, i->n_kv_heads, i->n_embd, SELF_ATTENTION_DIM_MAX);
        m->encodes = true;
        m->encoder = (EncoderInfo){.n_out = i->n_embd, .pooling = POOLING_MEAN};
        m->params.norm_eps = 1e-12f;
        m->params.activation = is_nomic(m) ? ACTIVATION_SILU : ACTIVATION_GELU;
        m->params.qkv_bias = m->params.output_bias = m->params.ffn_bias = is_nomic(m) ? PRESENT_MAYBE : PRESENT_YES;
        if ((k = gguf_key_f32(m, "attention.layer_norm_epsilon", false, &m->params.norm_eps, e)) < 0 ||
            (k = gguf_key_pooling(m, &m->encoder.pooling, &m->encoder.scores, &there, e)) < 0)
                return k;
        set_tables(m);
        if (m->params.norm_eps <= 0)
                return MODEL_REFUSE(m, e, -EINVAL, "key '%s.attention.layer_norm_epsilon': is %g", m->info.architecture,
                                    (double)m->params.norm_eps);
        m->encoder.normalised = !m->encoder.scores;
        return m->encoder.scores ? read_head(m, e) : 0;
}
