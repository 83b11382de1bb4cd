/* What a Hugging Face directory says of a Nomic encoder. There are two ways to say it, of the model's own code, whose
 * configuration is GPT-2's with more, and of transformers since version 5; and three ways to call the tensors. Values and
 * tensors are looked for under all their names.
 *
 * The model's own code stretches the rotations of texts longer than it was trained with (2048 tokens); here those are too
 * long. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/hf-config.h"

enum { TRAINED_POSITIONS = 2048 };

/* ---- config.json ---- */

static int read_count(const Model *m, const char *const keys[2], uint32_t *ret, Error *e) {
        const json_t *config = hf_config(m->hf);
        const char *key = config_get(config, keys[1]) ? keys[1] : keys[0];
        return config_count(m, config, key, true, ret, e);
}

static int read_sizes(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const struct {
                const char *keys[2];
                uint32_t *value;
        } sizes[] = {
                {{"n_embd", "hidden_size"}, &i->n_embd},         {{"n_layer", "num_hidden_layers"}, &i->n_layers},
                {{"n_head", "num_attention_heads"}, &i->n_heads}, {{"n_inner", "intermediate_size"}, &i->n_ff},
                {{"vocab_size", "vocab_size"}, &i->n_vocab},
                {{"n_positions", "max_position_embeddings"}, &i->context_length},
        };
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                int k = read_count(m, sizes[n].keys, sizes[n].value, e);
                if (k < 0)
                        return k;
        }
        int k = describe_encoder_heads(m, config_get(hf_config(m->hf), "n_head") ? "n_head" : "num_attention_heads", e);
        return k < 0 ? k : model_check_heads(m, e);
}

/* Types may be none, unlike all other things. */
static int read_types(Model *m, Error *e) {
        const json_t *types = config_get(hf_config(m->hf), "type_vocab_size");
        m->encoder.n_types = types ? 0 : 2;
        return types && json_is_integer(types) && json_integer_value(types) == 0
                       ? 0
                       : config_count(m, hf_config(m->hf), "type_vocab_size", false, &m->encoder.n_types, e);
}

static int read_positions(Model *m, Error *e) {
        const json_t *config = hf_config(m->hf);
        uint32_t trained = TRAINED_POSITIONS;
        int k = config_count(m, config, "max_trained_positions", false, &trained, e);
        m->info.context_length = MIN(m->info.context_length, trained);
        m->encoder.max_tokens = m->info.context_length;
        m->params.pad_token = -1;
        return k;
}

static int read_rope(Model *m, Error *e) {
        const json_t *config = hf_config(m->hf), *both = config_get(config, "rope_parameters"),
                     *type = config_get(both, "rope_type");
        Rope *rope = &m->params.rope;
        int k;
        *rope = (Rope){.style = ROPE_NEOX, .n_rot = m->info.head_dim, .scale = 1};
        m->params.rotary = true;
        if ((type && !(json_is_string(type) && strcmp(json_string_value(type), "default") == 0)) ||
            config_get(config, "rope_scaling"))
                return BAD_VALUE(m, e, -EOPNOTSUPP, type ? "rope_type" : "rope_scaling",
                                 "asks for scaled rotations, which are not supported for encoders");
        if ((k = config_positive(m, config, "rotary_emb_base", false, &rope->base, e)) < 0 ||
            (k = config_positive(m, config, "rope_theta", false, &rope->base, e)) < 0 ||
            (k = config_positive(m, both, "rope_theta", false, &rope->base, e)) < 0)
                return k;
        return rope->base > 0 ? 0 : BAD_VALUE(m, e, -EINVAL, "rotary_emb_base", "is missing");
}

static int read_norm(Model *m, Error *e) {
        const json_t *config = hf_config(m->hf);
        m->params.norm_eps = 1e-12f;
        int k = config_positive(m, config, "layer_norm_epsilon", false, &m->params.norm_eps, e);
        return k < 0 ? k : config_positive(m, config, "layer_norm_eps", false, &m->params.norm_eps, e);
}

/* Which matrices have a bias, only the files know. */
static void set_shape(Model *m) {
        m->params.gated = true;
        m->params.activation = ACTIVATION_SILU;
        m->params.qkv_bias = m->params.output_bias = m->params.ffn_bias = PRESENT_MAYBE;
}

static int check_activation(const Model *m, Error *e) {
        static const char *const keys[] = {"activation_function", "hidden_act"}, *const known[] = {"swiglu", "silu"};
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                const json_t *v = config_get(hf_config(m->hf), keys[i]);
                const char *name = json_string_value(v);
                if (v && !(name && (strcmp(name, known[0]) == 0 || strcmp(name, known[1]) == 0)))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, keys[i], "is '%.40s'; swiglu is supported",
                                         name ? name : "no string");
        }
        return 0;
}

/* Options that are computed only as they usually are. */
static int refuse_options(const Model *m, Error *e) {
        static const char *const flags[] = {"prenorm", "use_rms_norm", "causal", "is_decoder", "parallel_block",
                                            "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"};
        static const char *const others[] = {"rotary_emb_scale_base", "quantization_config", "num_experts"};
        const json_t *config = hf_config(m->hf), *fraction = config_get(config, "rotary_emb_fraction"),
                     *experts = config_get(config, "moe_every_n_layers");
        int k = config_refuse_true(m, flags, ARRAY_SIZE(flags), e);
        if (k < 0)
                return k;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (config_get(config, others[i]))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, others[i], "is not supported");
        if (fraction && json_number_value(fraction) != 1)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "rotary_emb_fraction", "is not 1, which is not supported");
        if (experts && json_number_value(experts) != 0)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "moe_every_n_layers",
                                 "asks for a mixture of experts, which is not supported");
        return check_activation(m, e);
}

int describe_nomic(Model *m, Error *e) {
        int k;
        m->encodes = true;
        set_shape(m);
        if ((k = refuse_options(m, e)) < 0 || (k = read_sizes(m, e)) < 0 || (k = read_types(m, e)) < 0 ||
            (k = read_positions(m, e)) < 0 || (k = read_rope(m, e)) < 0 || (k = read_norm(m, e)) < 0)
                return k;
        return describe_encoder_output(m, e);
}

/* ---- names ---- */

enum { WAYS = 3 };

/* What ggml calls a part, and how it is called by the model's own code, by transformers, and in BERT's manner. */
static const struct {
        const char *ggml, *names[WAYS];
} globals[] = {
        {"token_embd", {"embeddings.word_embeddings", "embeddings.word_embeddings", "embeddings.word_embeddings"}},
        {"token_types",
         {"embeddings.token_type_embeddings", "embeddings.token_type_embeddings", "embeddings.token_type_embeddings"}},
        {"token_embd_norm", {"emb_ln", "embeddings.LayerNorm", "embeddings.LayerNorm"}},
        {"cls", {"pooler.dense", "pooler.dense", "pooler.dense"}},
},
  parts[] = {
          {"attn_q", {"attn.Wqkv", "self_attn.q_proj", "attention.self.query"}},
          {"attn_k", {"attn.Wqkv", "self_attn.k_proj", "attention.self.key"}},
          {"attn_v", {"attn.Wqkv", "self_attn.v_proj", "attention.self.value"}},
          {"attn_output", {"attn.out_proj", "self_attn.o_proj", "attention.output.dense"}},
          {"attn_output_norm", {"norm1", "post_attention_layernorm", "attention.output.LayerNorm"}},
          {"ffn_gate", {"mlp.fc12", "mlp.gate_proj", "mlp.gate"}},
          {"ffn_up", {"mlp.fc11", "mlp.up_proj", "mlp.up"}},
          {"ffn_down", {"mlp.fc2", "mlp.down_proj", "mlp.down"}},
          {"layer_output_norm", {"norm2", "post_mlp_layernorm", "mlp.LayerNorm"}},
  };

static void put_name(const Model *m, const char *name, size_t way, char *buf, size_t size) {
        static const char *const layers[WAYS] = {"encoder.layers", "layers", "encoder.layer"};
        const char *kind = strrchr(name, '.') + 1;
        unsigned layer;
        char part[32];
        if (sscanf(name, "blk.%u.%31[a-z_]", &layer, part) == 2)
                for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                        if (strcmp(part, parts[i].ggml) == 0)
                                snprintf(buf, size, "%s%s.%u.%s.%s", m->params.prefix, layers[way], layer,
                                         parts[i].names[way], kind);
        for (size_t i = 0; i < ARRAY_SIZE(globals); i++)
                if (strncmp(name, globals[i].ggml, (size_t)(kind - 1 - name)) == 0 && !globals[i].ggml[kind - 1 - name])
                        snprintf(buf, size, "%s%s.%s", m->params.prefix, globals[i].names[way], kind);
        if (strncmp(name, "cls.output.", 11) == 0)
                snprintf(buf, size, "classifier.%s", kind);
}

/* A part that is there by no name is called as the model's own code does. */
Share nomic_tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const char *const fused[] = {"attn_q.", "attn_k.", "attn_v."};
        size_t way = WAYS - 1;
        for (; put_name(m, name, way, buf, size), way > 0 && !model_has_tensor(m, buf); way--)
                ;
        for (uint8_t i = 0; i < ARRAY_SIZE(fused); i++)
                if (way == 0 && strstr(name, fused[i]))
                        return (Share){i, ARRAY_SIZE(fused)};
        return (Share){0};
}
