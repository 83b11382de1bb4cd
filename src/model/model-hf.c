/* What a Hugging Face directory says of its model: config.json as transformers' Llama, Mistral, Mixtral, Qwen2, Qwen3,
 * Qwen3Moe, Gemma, Phi3, Granite, SmolLM3 and Olmo2 classes read it, with their defaults. Their rotary embedding rotates the
 * halves of a head together. A value that would change the result and is not computed here is refused by its name; null is the
 * same as absent. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/hf-config.h"

#define HEAD "lm_head.weight"

enum { ROT_MAX = 4096 }; /* dimensions of a head that rotate */

/* ---- sizes and options ---- */

static int read_sizes(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const json_t *config = hf_text_config(m->hf);
        const struct {
                const char *key;
                bool required;
                uint32_t *value;
        } sizes[] = {
                {"max_position_embeddings", i->context_length == 0, &i->context_length},
                {"num_hidden_layers", true, &i->n_layers},
                {"hidden_size", true, &i->n_embd},
                {"intermediate_size", true, &i->n_ff},
                {"num_attention_heads", i->n_heads == 0, &i->n_heads},
                {"vocab_size", i->n_vocab == 0, &i->n_vocab},
                {"num_key_value_heads", false, &i->n_kv_heads},
                {"head_dim", false, &i->head_dim},
        };
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                int k = config_count(m, config, sizes[n].key, sizes[n].required, sizes[n].value, e);
                if (k < 0)
                        return k;
        }
        if (i->n_kv_heads == 0)
                i->n_kv_heads = i->n_heads;
        if (i->head_dim == 0)
                i->head_dim = m->kind->head_dim > 0 ? m->kind->head_dim : i->n_embd / i->n_heads;
        return model_check_heads(m, e);
}

/* Those that say whether there are biases say so of the output, too. */
static int read_params(Model *m, Error *e) {
        const json_t *config = hf_text_config(m->hf);
        bool tied, bias;
        int k;
        m->params.norm_eps = m->kind->norm_eps > 0 ? m->kind->norm_eps : 1e-6f;
        if ((k = config_positive(m, config, "rms_norm_eps", false, &m->params.norm_eps, e)) < 0 ||
            (k = config_flag(m, "tie_word_embeddings", &tied, e)) < 0 || (k = config_flag(m, "attention_bias", &bias, e)) < 0)
                return k;
        if ((m->kind->gemma || m->kind->still_every > 0) && !config_get(config, "tie_word_embeddings"))
                tied = true;
        bool said = bias && m->kind->bias == BIAS_AS_SAID;
        m->params.head = tied ? PRESENT_NO : hf_text_type(m->hf) ? PRESENT_MAYBE : PRESENT_YES; /* which may be said elsewhere */
        m->params.qkv_bias = said || m->kind->bias == BIAS_ALWAYS ? PRESENT_YES : PRESENT_NO;
        m->params.output_bias = said ? PRESENT_YES : PRESENT_NO;
        return 0;
}

/* Granite's. */
static int read_scales(Model *m, Error *e) {
        const json_t *config = hf_text_config(m->hf);
        ModelParams *p = &m->params;
        float divisor = 1;
        int k;
        if (strcmp(m->info.architecture, "granite") != 0)
                return 0;
        p->attention_scale = 1;
        if ((k = config_positive(m, config, "attention_multiplier", false, &p->attention_scale, e)) < 0 ||
            (k = config_positive(m, config, "embedding_multiplier", false, &p->embedding_scale, e)) < 0 ||
            (k = config_positive(m, config, "residual_multiplier", false, &p->residual_scale, e)) < 0 ||
            (k = config_positive(m, config, "logits_scaling", false, &divisor, e)) < 0)
                return k;
        p->logit_scale = 1 / divisor;
        return 0;
}

/* SmolLM3's: those that rotate are listed, or all but every so many-th do. */
static int read_still(Model *m, Error *e) {
        const json_t *config = hf_text_config(m->hf), *listed = config_get(config, "no_rope_layers"), *rotates;
        uint32_t every = m->kind->still_every;
        size_t l;
        if (every == 0)
                return 0;
        int k = config_count(m, config, "no_rope_layer_interval", false, &every, e);
        if (k < 0 || (k = model_still(m, every, e)) < 0 || !listed)
                return k;
        if (json_array_size(listed) != m->info.n_layers)
                return BAD_VALUE(m, e, -EINVAL, "no_rope_layers", "should list %" PRIu32 " layers", m->info.n_layers);
        json_array_foreach(listed, l, rotates) {
                if (!json_is_integer(rotates) || json_integer_value(rotates) < 0 || json_integer_value(rotates) > 1)
                        return BAD_VALUE(m, e, -EINVAL, "no_rope_layers", "should be a list of 0 and 1");
                m->params.still[l] = json_integer_value(rotates) == 0;
        }
        return 0;
}

/* Qwen's have networks of a size of their own; layers without experts are not supported. */
static int read_experts(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const json_t *config = hf_text_config(m->hf), *plain = config_get(config, "mlp_only_layers");
        bool qwen = strcmp(i->architecture, "qwen3_moe") == 0;
        uint32_t step = 1;
        int k;
        if (!m->kind->experts)
                return 0;
        m->params.norm_experts = !qwen;
        i->n_experts_used = qwen ? 8 : 2;
        if ((k = config_count(m, config, qwen && config_get(config, "num_experts") ? "num_experts" : "num_local_experts", true, &i->n_experts, e)) < 0 ||
            (k = config_count(m, config, "num_experts_per_tok", false, &i->n_experts_used, e)) < 0 ||
            (k = config_count(m, config, "moe_intermediate_size", qwen, &i->n_ff, e)) < 0 ||
            (k = config_count(m, config, "decoder_sparse_step", false, &step, e)) < 0 ||
            (qwen && (k = config_flag(m, "norm_topk_prob", &m->params.norm_experts, e)) < 0))
                return k;
        if (step > 1 || json_array_size(plain) > 0)
                return BAD_VALUE(m, e, -EOPNOTSUPP, step > 1 ? "decoder_sparse_step" : "mlp_only_layers",
                                 "asks for layers without experts, which are not supported");
        return model_check_experts(m, e);
}

static int read_window(Model *m, Error *e) {
        bool slides = m->kind->window == WINDOW_AS_SAID;
        int k = m->kind->window == WINDOW_IF_USED ? config_flag(m, "use_sliding_window", &slides, e) : 0;
        if (k < 0 || !slides)
                return k;
        return config_count(m, hf_text_config(m->hf), "sliding_window", false, &m->info.window, e);
}

static int read_layer_types(const Model *m, const json_t *types, Error *e) {
        size_t i;
        json_t *type;
        if (!json_is_array(types))
                return BAD_VALUE(m, e, -EINVAL, "layer_types", "should be a list");
        if (json_array_size(types) != m->info.n_layers)
                return BAD_VALUE(m, e, -EINVAL, "layer_types", "lists %zu layers of %" PRIu32, json_array_size(types),
                                 m->info.n_layers);
        json_array_foreach(types, i, type) {
                const char *name = json_string_value(type);
                if (!name || (strcmp(name, "full_attention") != 0 && strcmp(name, "sliding_attention") != 0))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, "layer_types",
                                         "has a layer of '%.40s', which is not supported", name ? name : "no string");
                m->params.slides[i] = name[0] == 's';
        }
        return 0;
}

/* As they are listed; else Qwen's slide from max_window_layers on, and gemma's but for some. */
static int list_slides(Model *m, Error *e) {
        bool qwen = m->kind->window == WINDOW_IF_USED;
        const json_t *config = hf_text_config(m->hf), *types = config_get(config, "layer_types"),
                     *first = config_get(config, "max_window_layers");
        uint32_t every = qwen ? 1 : m->kind->global_every;
        int k = m->kind->qk_norm && !qwen ? config_count(m, config, "sliding_window_pattern", false, &every, e) : 0;
        if (k < 0 || (k = model_slides(m, every, e)) < 0)
                return k;
        if (types)
                return read_layer_types(m, types, e);
        json_int_t from = first ? json_integer_value(first) : 28;
        for (uint32_t l = 0; qwen && l < m->info.n_layers; l++)
                m->params.slides[l] = l >= from;
        return 0;
}

static int read_slides(Model *m, Error *e) {
        if (m->info.window == 0)
                return 0;
        int k = m->kind->window == WINDOW_IF_USED || m->kind->global_every > 0 ? list_slides(m, e) : 0;
        if (k < 0)
                return k;
        if (m->params.slides && !memchr(m->params.slides, true, m->info.n_layers))
                m->info.window = 0;
        if (m->encodes && m->info.window > 0)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "sliding_window", "is not supported for embeddings");
        return 0;
}

/* Keys that would change the result, and are not computed here unless they have the value that changes nothing. */
static int refuse_options(const Model *m, Error *e) {
        const json_t *config = hf_text_config(m->hf), *act = config_get(config, "hidden_act"),
                     *partial = m->kind->fused ? NULL : config_get(config, "partial_rotary_factor");
        bool mlp_bias;
        int k = config_flag(m, "mlp_bias", &mlp_bias, e);
        if (k < 0)
                return k;
        static const char *const quantized[] = {"quantization_config", "quantization", "compression_config"};
        for (size_t i = 0; i < ARRAY_SIZE(quantized); i++)
                if (config_get(hf_config(m->hf), quantized[i]))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, quantized[i],
                                         "says that the weights are quantised; F32, F16 and BF16 are supported");
        if (act && !m->kind->gemma && (!json_is_string(act) || strcmp(json_string_value(act), "silu") != 0))
                return BAD_VALUE(m, e, -EOPNOTSUPP, "hidden_act", "is '%.40s'; 'silu' is supported",
                                 json_is_string(act) ? json_string_value(act) : "no string");
        if (mlp_bias)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "mlp_bias",
                                 "asks for biases in the network, which are not supported");
        if (partial && json_number_value(partial) != 1)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "partial_rotary_factor",
                                 "asks for heads that rotate in part, which is not supported");
        return 0;
}

/* ---- rotary embedding ---- */

/* Llama 3: long waves are slowed down by `factor`, short ones not at all, those between gradually. */
static int add_llama3_factors(Model *m, const json_t *scaling, float factor, Error *e) {
        uint32_t original, n = m->params.rope.n_rot / 2;
        float low, high, factors[ROT_MAX / 2];
        int k;
        if ((k = config_positive(m, scaling, "low_freq_factor", true, &low, e)) < 0 ||
            (k = config_positive(m, scaling, "high_freq_factor", true, &high, e)) < 0 ||
            (k = config_count(m, scaling, "original_max_position_embeddings", true, &original, e)) < 0)
                return k;
        if (high <= low)
                return BAD_VALUE(m, e, -EINVAL, "high_freq_factor", "should be above low_freq_factor");
        for (uint32_t i = 0; i < n; i++) {
                double wave = 2 * M_PI * pow((double)m->params.rope.base, (double)i / n);
                double smooth = (original / wave - (double)low) / (double)(high - low);
                factors[i] = wave < original / (double)high  ? 1
                             : wave > original / (double)low ? factor
                                                             : (float)(1 / ((1 - smooth) / (double)factor + smooth));
        }
        return model_make_factors(m, factors, n, e);
}

/* Without a factor it is what the original context has grown by. */
static int read_yarn(Model *m, const json_t *scaling, Error *e) {
        static const char *const others[] = {"mscale", "mscale_all_dim"};
        Yarn y = {.beta_fast = 32, .beta_slow = 1, .original = m->info.context_length, .whole = true};
        const json_t *truncate = config_get(scaling, "truncate");
        int k;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (config_get(scaling, others[i]))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, others[i], "is not supported");
        if (truncate && !json_is_boolean(truncate))
                return BAD_VALUE(m, e, -EINVAL, "truncate", "should be true or false");
        y.whole = !json_is_false(truncate);
        if ((k = config_count(m, scaling, "original_max_position_embeddings", false, &y.original, e)) < 0)
                return k;
        y.factor = (float)m->info.context_length / (float)y.original;
        if ((k = config_positive(m, scaling, "factor", false, &y.factor, e)) < 0 ||
            (k = config_positive(m, scaling, "attention_factor", false, &y.magnitude, e)) < 0 ||
            (k = config_positive(m, scaling, "beta_fast", false, &y.beta_fast, e)) < 0 ||
            (k = config_positive(m, scaling, "beta_slow", false, &y.beta_slow, e)) < 0)
                return k;
        return model_set_yarn(m, &y, e);
}

/* LongRoPE: the factors of the context that is asked for. What is rotated grows with what the context has grown by, as transformers
 * has it. */
static int read_longrope(Model *m, const json_t *scaling, Error *e) {
        const json_t *config = hf_text_config(m->hf);
        Rope *rope = &m->params.rope;
        uint32_t original = m->info.context_length, n = rope->n_rot / 2;
        float factors[ROT_MAX / 2], grown;
        int k;
        if ((k = config_count(m, config, "original_max_position_embeddings", false, &original, e)) < 0 ||
            (k = config_count(m, scaling, "original_max_position_embeddings", false, &original, e)) < 0)
                return k;
        const char *key = model_is_long(m, original) ? "long_factor" : "short_factor";
        const json_t *list = config_get(scaling, key);
        if (!json_is_array(list) || json_array_size(list) != n)
                return BAD_VALUE(m, e, -EINVAL, key, "should be a list of %" PRIu32 " numbers", n);
        for (uint32_t i = 0; i < n; i++) {
                factors[i] = (float)json_number_value(json_array_get(list, i));
                if (!(factors[i] > 0) || !isfinite(factors[i]))
                        return BAD_VALUE(m, e, -EINVAL, key, "should be a list of %" PRIu32 " positive numbers", n);
        }
        grown = (float)m->info.context_length / (float)original;
        if ((k = config_positive(m, scaling, "factor", false, &grown, e)) < 0)
                return k;
        rope->magnitude = grown > 1 ? sqrtf(1 + logf(grown) / logf((float)original)) : 1;
        if ((k = config_positive(m, scaling, "attention_factor", false, &rope->magnitude, e)) < 0)
                return k;
        return model_make_factors(m, factors, n, e);
}

static int read_scaling(Model *m, const json_t *scaling, Error *e) {
        const json_t *type = config_get(scaling, "rope_type");
        float factor = 1;
        if (!type)
                type = config_get(scaling, "type");
        if (type && !json_is_string(type))
                return BAD_VALUE(m, e, -EINVAL, "rope_type", "should be a string");
        const char *name = type ? json_string_value(type) : "default";
        bool as_texts = hf_text_type(m->hf) && strcmp(name, "mrope") == 0; /* places in images are all that differs */
        if (strcmp(name, "default") == 0 || as_texts)
                return 0;
        bool linear = strcmp(name, "linear") == 0, yarn = strcmp(name, "yarn") == 0;
        bool longrope = m->kind->fused && (strcmp(name, "longrope") == 0 || strcmp(name, "su") == 0); /* the older name */
        if (!linear && !yarn && !longrope && strcmp(name, "llama3") != 0)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "rope_type",
                                 "is '%.40s'; default, linear, llama3 and yarn are supported", name);
        if (yarn)
                return read_yarn(m, scaling, e);
        if (longrope)
                return read_longrope(m, scaling, e);
        int k = config_positive(m, scaling, "factor", true, &factor, e);
        if (k < 0)
                return k;
        if (linear)
                m->params.rope.scale = 1 / factor;
        return linear ? 0 : add_llama3_factors(m, scaling, factor, e);
}

/* Older files have rope_theta and rope_scaling, newer ones both in rope_parameters; where layers differ, those of each. */
static int read_rope(Model *m, Error *e) {
        const json_t *config = hf_text_config(m->hf), *both = config_get(config, "rope_parameters");
        const json_t *full = config_get(both, "full_attention"), *local = config_get(both, "sliding_attention");
        Rope *rope = &m->params.rope;
        *rope = (Rope){.style = ROPE_NEOX, .n_rot = m->info.head_dim, .base = 10000, .scale = 1};
        if (m->params.local_base > 0) {
                rope->base = 1000000; /* gemma3's */
                both = full ? full : both;
        }
        const json_t *scaling = both ? both : config_get(config, "rope_scaling");
        float partial = 1;
        if (rope->n_rot > ROT_MAX)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "head_dim", "is %" PRIu32 "; at most %d are supported", rope->n_rot,
                                 ROT_MAX);
        if (scaling && !json_is_object(scaling))
                return BAD_VALUE(m, e, -EINVAL, both ? "rope_parameters" : "rope_scaling", "should be an object");
        const json_t *type = config_get(local, "rope_type");
        if (type && (!json_is_string(type) || strcmp(json_string_value(type), "default") != 0))
                return BAD_VALUE(m, e, -EOPNOTSUPP, "rope_parameters", "scale layers with a window, which is not supported");
        int k;
        if ((k = config_positive(m, config, "rope_theta", false, &rope->base, e)) < 0 ||
            (k = config_positive(m, both, "rope_theta", false, &rope->base, e)) < 0 ||
            (k = config_positive(m, local, "rope_theta", false, &m->params.local_base, e)) < 0 ||
            (k = config_positive(m, config, "partial_rotary_factor", false, &partial, e)) < 0 ||
            (k = config_positive(m, both, "partial_rotary_factor", false, &partial, e)) < 0)
                return k;
        rope->n_rot = (uint32_t)((float)rope->n_rot * fminf(partial, 1)) / 2 * 2;
        return scaling ? read_scaling(m, scaling, e) : 0;
}

/* "LlamaForCausalLM" computes logits, "LlamaModel" and "LlamaForSequenceClassification" do not; an embedder has no use
 * for them. */
static int check_class(const Model *m, Error *e) {
        const char *class;
        int k = config_class(m, &class, e);
        if (k < 0 || !*class || ends_with(class, "ForCausalLM") || (m->encodes && ends_with(class, "Model")) ||
            (hf_text_type(m->hf) && ends_with(class, "ForConditionalGeneration")))
                return k;
        return BAD_VALUE(m, e, -EOPNOTSUPP, "architectures", "is '%.60s', which is no language model (…ForCausalLM)",
                         class);
}

/* With sentence-transformers' files beside it, a language model embeds instead. */
static int read_embedder(Model *m, Error *e) {
        static const char *const keys[] = {"is_causal", "use_bidirectional_attention"};
        m->encoder = (EncoderInfo){.n_out = m->info.n_embd, .max_tokens = m->info.context_length, .causal = true};
        int k = describe_sentence_transformer(m, &m->encodes, e);
        if (k < 0 || !m->encodes)
                return k;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                const json_t *v = config_get(hf_text_config(m->hf), keys[i]);
                if (v && json_is_true(v) != (i == 0))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, keys[i],
                                         "asks for attention in both directions, which is not supported");
        }
        if (!m->kind->embeds)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "model_type", "is %s, which is not supported for embeddings",
                                 m->info.architecture);
        if (m->info.head_dim > SELF_ATTENTION_DIM_MAX)
                return BAD_VALUE(m, e, -EOPNOTSUPP, "head_dim", "is %" PRIu32 "; at most %d are supported",
                                 m->info.head_dim, SELF_ATTENTION_DIM_MAX);
        m->params.head = PRESENT_NO;
        m->params.pad_token = -1;
        return 0;
}

static int open_weights(Model *m, Error *e) {
        int k = hf_open_weights(m->hf, e);
        if (k < 0)
                return k;
        m->files = calloc(hf_n_files(m->hf), sizeof(*m->files));
        if (!m->files)
                return MODEL_REFUSE(m, e, -ENOMEM, "no memory to open it");
        for (; m->n_files < hf_n_files(m->hf); m->n_files++)
                m->files[m->n_files] = hf_file_at(m->hf, m->n_files);
        m->tensors = hf_tensors(m->hf);
        m->n_tensors = hf_n_tensors(m->hf);
        if (m->info.n_layers > m->n_tensors)
                return BAD_VALUE(m, e, -EINVAL, "num_hidden_layers", "is %" PRIu32 ", but there are only %zu tensors",
                                 m->info.n_layers, m->n_tensors);
        return 0;
}

/* A model that was saved as part of a greater one has that part's name before all names. */
static void find_prefix(Model *m, const char *table, const char *usual) {
        static const char *const prefixes[] = {"", "model.", "bert.", "roberta.", "nomic_bert.", "language_model.model.", "model.language_model."};
        char name[64];
        m->params.prefix = usual;
        for (size_t p = 0; p < ARRAY_SIZE(prefixes); p++) {
                size_t len = (size_t)snprintf(name, sizeof(name), "%s%s", prefixes[p], table);
                for (size_t i = 0; i < m->n_tensors; i++)
                        if (m->tensors[i].name.len == len && memcmp(m->tensors[i].name.data, name, len) == 0)
                                m->params.prefix = prefixes[p];
        }
}

static bool is_bert(const Model *m) {
        return m->arch == &arch_bert;
}

static bool is_nomic(const Model *m) {
        return strcmp(m->info.architecture, "nomic_bert") == 0;
}

static int describe_llama(Model *m, Error *e) {
        int k = m->kind->gemma ? describe_gemma(m, e) : 0;
        if (k < 0 || (k = refuse_options(m, e)) < 0 || (k = read_sizes(m, e)) < 0 || (k = read_params(m, e)) < 0 ||
            (k = read_scales(m, e)) < 0 || (k = read_still(m, e)) < 0 || (k = read_experts(m, e)) < 0 ||
            (k = read_window(m, e)) < 0 || (k = read_embedder(m, e)) < 0)
                return k;
        return check_class(m, e);
}

static int describe(Model *m, Error *e) {
        int k = is_nomic(m) ? describe_nomic(m, e) : is_bert(m) ? describe_bert(m, e) : describe_llama(m, e);
        if (k < 0 || (k = open_weights(m, e)) < 0)
                return k;
        if (m->params.alibi)
                describe_jina_head(m);
        find_prefix(m, is_bert(m) ? "embeddings.word_embeddings.weight" : "embed_tokens.weight",
                    is_bert(m) ? "" : "model.");
        return is_bert(m) || (k = read_slides(m, e)) < 0 ? k : read_rope(m, e);
}

/* ---- names ---- */

/* Experts, and the router. */
static bool expert_tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const struct {
                const char *ggml, *qwen, *mixtral;
        } parts[] = {{"ffn_gate", "gate_proj", "w1"}, {"ffn_up", "up_proj", "w3"}, {"ffn_down", "down_proj", "w2"}};
        bool mixtral = strcmp(m->info.architecture, "mixtral") == 0;
        const char *network = mixtral ? "block_sparse_moe" : "mlp";
        unsigned layer, expert;
        char part[32];
        int n = sscanf(name, "blk.%u.%31[a-z_].%u.weight", &layer, part, &expert);
        if (n == 2 && strcmp(part, "ffn_gate_inp") == 0)
                snprintf(buf, size, "%slayers.%u.%s.gate.weight", m->params.prefix, layer, network);
        for (size_t i = 0; n == 3 && i < ARRAY_SIZE(parts); i++)
                if (strcmp(part, parts[i].ggml) == 0)
                        snprintf(buf, size, "%slayers.%u.%s.experts.%u.%s.weight", m->params.prefix, layer, network, expert,
                                 mixtral ? parts[i].mixtral : parts[i].qwen);
        return n == 3 || (n == 2 && strcmp(part, "ffn_gate_inp") == 0);
}

static void llama_tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const struct {
                const char *ggml, *hf;
        } globals[] =
                {
                        {"token_embd.weight", "embed_tokens.weight"},
                        {"output_norm.weight", "norm.weight"},
                },
          parts[] = {
                  {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
                  {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
                  {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
                  {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
                  {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
                  {"ffn_down", "mlp.down_proj"},       {"post_attention_norm", "post_attention_layernorm"},
                  {"post_ffw_norm", "post_feedforward_layernorm"},
          };
        unsigned layer;
        char part[32], kind[16]; /* blk.LAYER.PART.KIND */
        bool is_head = strcmp(name, "output.weight") == 0, outside = strncmp(m->params.prefix, "language_model.", 15) == 0;
        snprintf(buf, size, "%s%s", is_head && outside ? "language_model." : "", is_head ? HEAD : name);
        for (size_t i = 0; i < ARRAY_SIZE(globals); i++)
                if (strcmp(name, globals[i].ggml) == 0)
                        snprintf(buf, size, "%s%s", m->params.prefix, globals[i].hf);
        if (expert_tensor_name(m, name, buf, size) || sscanf(name, "blk.%u.%31[a-z_].%15s", &layer, part, kind) != 3)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (strcmp(part, parts[i].ggml) == 0)
                        snprintf(buf, size, "%slayers.%u.%s.%s", m->params.prefix, layer, parts[i].hf, kind);
        if (m->kind->post_norm && strcmp(part, "ffn_norm") == 0)
                snprintf(buf, size, "%slayers.%u.pre_feedforward_layernorm.%s", m->params.prefix, layer, kind);
}

static bool is_about_images(FileText name) {
        static const char *const parts[] = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.",
                                            "visual.", "model.visual."};
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (name.len > strlen(parts[i]) && memcmp(name.data, parts[i], strlen(parts[i])) == 0)
                        return true;
        return false;
}

/* Old files also hold the rotary frequencies, which follow from the configuration, and tied ones the table twice; and what
 * sees images has no part in texts. */
static bool llama_ignores(const Model *m, FileText name) {
        if (hf_text_type(m->hf) && is_about_images(name))
                return true;
        static const char frequencies[] = ".self_attn.rotary_emb.inv_freq", head[] = HEAD;
        size_t n = sizeof(frequencies) - 1;
        if (name.len > n && memcmp(name.data + name.len - n, frequencies, n) == 0)
                return true;
        return m->params.head == PRESENT_NO && name.len == sizeof(head) - 1 && memcmp(name.data, head, name.len) == 0;
}

static Share tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        if (is_nomic(m))
                return nomic_tensor_name(m, name, buf, size);
        if (m->params.alibi)
                return jina_tensor_name(m, name, buf, size);
        Fused one;
        if (is_bert(m))
                bert_tensor_name(m, name, buf, size);
        else if (model_fused(m, name, &one)) {
                snprintf(buf, size, "%slayers.%u.%s.%s", m->params.prefix, one.layer,
                         one.attention ? "self_attn.qkv_proj" : "mlp.gate_up_proj", one.kind);
                return one.share;
        } else
                llama_tensor_name(m, name, buf, size);
        return (Share){0};
}

static bool ignores(const Model *m, FileText name) {
        return is_bert(m) ? bert_ignores(m, name) : llama_ignores(m, name);
}

/* ---- opening ---- */

static int name_it(Model *m, Error *e) {
        const json_t *type = config_get(hf_config(m->hf), "model_type");
        if (!json_is_string(type))
                return BAD_VALUE(m, e, -EINVAL, "model_type", "%s", type ? "should be a string" : "is missing");
        const char *name = json_string_value(type);
        if (hf_text_type(m->hf)) /* what sees is left out */
                name = hf_text_type(m->hf);
        file_text(m->info.architecture, sizeof(m->info.architecture), (FileText){name, strlen(name)});
        file_text(m->info.name, sizeof(m->info.name), file_base_name(m->label));
        return 0;
}

static int open_hf(Model *m, const char *path, Error *e) {
        int k = hf_open(path, &m->hf, e);
        if (k < 0)
                return k;
        m->label = hf_label(m->hf);
        return name_it(m, e);
}

static void close_hf(Model *m) {
        hf_free(m->hf);
}

const ModelFormat format_hf = {
        .name = "safetensors",
        .open = open_hf,
        .close = close_hf,
        .describe = describe,
        .tensor_name = tensor_name,
        .ignores = ignores,
};
