/* What a Hugging Face directory says of a JinaBERT (Günther et al. 2023): a BERT in config.json and in the names of its
 * tensors, but for attention with linear biases instead of a table of positions, and GEGLU. It has been published in two
 * ways; the later one norms queries and keys, too. In both, the two matrices that the text goes through side by side are one
 * in the file, in one or the other order.
 *
 * A reranker is not told by its class, which is that of the embedders, but by the classifier among its weights. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/hf-config.h"

bool is_jina(const Model *m) {
        const json_t *kind = config_get(hf_config(m->hf), "position_embedding_type");
        return strcmp(m->info.architecture, "bert") == 0 && json_is_string(kind) && strcmp(json_string_value(kind), "alibi") == 0;
}

int describe_jina(Model *m, Error *e) {
        const json_t *type = config_get(hf_config(m->hf), "feed_forward_type");
        if (!json_is_string(type) || strcmp(json_string_value(type), "geglu") != 0)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "feed_forward_type", "is '%.40s'; 'geglu' is supported",
                                 json_is_string(type) ? json_string_value(type) : "no string");
        m->params.alibi = m->params.gated = true;
        m->params.n_positions = 0;
        m->params.qkv_bias = m->params.output_bias = PRESENT_YES;
        m->params.ffn_bias = m->params.qk_norm = PRESENT_MAYBE;
        return 0;
}

void describe_jina_head(Model *m) {
        static const char name[] = "classifier.weight";
        for (size_t i = 0; i < m->n_tensors; i++) {
                const Tensor *t = &m->tensors[i];
                if (t->name.len != sizeof(name) - 1 || memcmp(t->name.data, name, t->name.len) != 0)
                        continue;
                m->encoder.scores = true;
                m->encoder.pooling = POOLING_CLS;
                m->encoder.normalised = false;
                m->encoder.n_out = (uint32_t)MIN(t->dims[1], (uint64_t)INT32_MAX);
                m->encoder.sigmoid = m->encoder.n_out == 1;
        }
}

Share jina_tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const struct {
                const char *ggml, *names[2]; /* earlier and later */
                Share shares[2];
        } parts[] = {
                {"ffn_gate", {"mlp.gated_layers", "mlp.up_gated_layer"}, {{0, 2}, {1, 2}}},
                {"ffn_up", {"mlp.gated_layers", "mlp.up_gated_layer"}, {{1, 2}, {0, 2}}},
                {"ffn_down", {"mlp.wo", "mlp.down_layer"}, {{0}, {0}}},
                {"attn_output_norm", {"attention.output.LayerNorm", "layer_norm_1"}, {{0}, {0}}},
                {"layer_output_norm", {"mlp.layernorm", "layer_norm_2"}, {{0}, {0}}},
                {"attn_q_norm", {"attention.self.layer_norm_q", "attention.self.layer_norm_q"}, {{0}, {0}}},
                {"attn_k_norm", {"attention.self.layer_norm_k", "attention.self.layer_norm_k"}, {{0}, {0}}},
        };
        unsigned layer;
        char part[32], later[128];
        bert_tensor_name(m, name, buf, size);
        if (sscanf(name, "blk.%u.%31[a-z_]", &layer, part) != 2)
                return (Share){0};
        snprintf(later, sizeof(later), "%sencoder.layer.%u.mlp.up_gated_layer.weight", m->params.prefix, layer);
        bool is_later = model_has_tensor(m, later);
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (strcmp(part, parts[i].ggml) == 0) {
                        snprintf(buf, size, "%sencoder.layer.%u.%s.%s", m->params.prefix, layer, parts[i].names[is_later],
                                 strrchr(name, '.') + 1);
                        return parts[i].shares[is_later];
                }
        return (Share){0};
}
