/* What a Hugging Face directory says of an encoder: config.json as transformers' Bert, Roberta and XLMRoberta classes read
 * it, with their defaults, and sentence-transformers' files beside it:
 *
 *   modules.json               Transformer, Pooling and perhaps Normalize, in this order
 *   1_Pooling/config.json      which rows of a text make its vector
 *   sentence_bert_config.json  max_seq_length
 *
 * A model saved from a …ForSequenceClassification is a reranker, whatever else is there. A value that would change the
 * result and is not computed here is refused by its name. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/hf-config.h"

#define MODULES "modules.json"

static bool is_bert(const Model *m) {
        return strcmp(m->info.architecture, "bert") == 0;
}

/* ---- config.json ---- */

int describe_encoder_heads(Model *m, const char *key, Error *e) {
        ModelInfo *i = &m->info;
        if (i->n_embd % i->n_heads != 0 || i->n_embd / i->n_heads > SELF_ATTENTION_DIM_MAX)
                return BAD_VALUE(m, e, -EINVAL, key,
                                 "is %" PRIu32 ", which does not divide %" PRIu32 " values into heads of at most %d",
                                 i->n_heads, i->n_embd, SELF_ATTENTION_DIM_MAX);
        i->n_kv_heads = i->n_heads;
        i->head_dim = i->n_embd / i->n_heads;
        return 0;
}

static int read_sizes(Model *m, Error *e) {
        ModelInfo *i = &m->info;
        const json_t *config = hf_config(m->hf);
        const struct {
                const char *key;
                bool required;
                uint32_t *value;
        } sizes[] = {
                {"max_position_embeddings", true, &m->params.n_positions},
                {"num_hidden_layers", true, &i->n_layers},
                {"hidden_size", true, &i->n_embd},
                {"intermediate_size", true, &i->n_ff},
                {"num_attention_heads", true, &i->n_heads},
                {"vocab_size", true, &i->n_vocab},
                {"type_vocab_size", false, &m->encoder.n_types},
        };
        m->encoder.n_types = 2;
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                int k = config_count(m, config, sizes[n].key, sizes[n].required, sizes[n].value, e);
                if (k < 0)
                        return k;
        }
        return describe_encoder_heads(m, "num_attention_heads", e);
}

/* RoBERTa's positions begin behind that of padding. */
static int read_positions(Model *m, Error *e) {
        const json_t *pad = config_get(hf_config(m->hf), "pad_token_id");
        json_int_t id = pad ? json_integer_value(pad) : 1;
        m->params.pad_token = -1;
        if (!is_bert(m)) {
                if ((pad && !json_is_integer(pad)) || id < 0 || id + 1 >= (json_int_t)m->params.n_positions)
                        return BAD_VALUE(m, e, -EINVAL, "pad_token_id",
                                         "should be a token, with less than max_position_embeddings before it");
                m->params.pad_token = (int32_t)id;
        }
        m->params.first_position = m->params.pad_token + 1;
        m->encoder.max_tokens = m->params.n_positions - (uint32_t)m->params.first_position;
        m->info.context_length = m->encoder.usual_tokens = m->encoder.max_tokens;
        return 0;
}

static int read_activation(Model *m, Error *e) {
        static const struct {
                const char *name;
                Activation activation;
        } known[] = {{"gelu", ACTIVATION_GELU},
                     {"gelu_new", ACTIVATION_GELU_TANH},
                     {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
                     {"relu", ACTIVATION_RELU}};
        const json_t *act = config_get(hf_config(m->hf), "hidden_act");
        const char *name = act ? json_string_value(act) : "gelu";
        for (size_t i = 0; name && i < ARRAY_SIZE(known); i++)
                if (strcmp(name, known[i].name) == 0) {
                        m->params.activation = known[i].activation;
                        return 0;
                }
        return BAD_VALUE(m, e, -EOPNOTSUPP, "hidden_act",
                         "is '%.40s'; gelu, gelu_new, gelu_pytorch_tanh and relu are supported",
                         name ? name : "no string");
}

static int refuse_options(const Model *m, Error *e) {
        const json_t *config = hf_config(m->hf), *kind = config_get(config, "position_embedding_type");
        static const char *const flags[] = {"is_decoder", "add_cross_attention"};
        static const char *const others[] = {"quantization_config", "auto_map"};
        if (kind && !is_jina(m) && (!json_is_string(kind) || strcmp(json_string_value(kind), "absolute") != 0))
                return BAD_VALUE(m, e, -EOPNOTSUPP, "position_embedding_type", "is '%.40s'; 'absolute' is supported",
                                 json_is_string(kind) ? json_string_value(kind) : "no string");
        int k = config_refuse_true(m, flags, ARRAY_SIZE(flags), e);
        if (k < 0)
                return k;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (config_get(config, others[i]) && !(is_jina(m) && strcmp(others[i], "auto_map") == 0))
                        return BAD_VALUE(m, e, -EOPNOTSUPP, others[i], "says that the model is computed otherwise than "
                                                                       "its class, which is not supported");
        return 0;
}

/* What follows the classification head in sentence-transformers' CrossEncoder: by default a sigmoid of a single score. */
static int read_sigmoid(Model *m, Error *e) {
        const json_t *config = hf_config(m->hf), *own = config_get(config, "sentence_transformers");
        const json_t *function = config_get(own, "activation_fn");
        if (!function)
                function = config_get(config, "sbert_ce_default_activation_function");
        const char *name = function ? json_string_value(function) : m->encoder.n_out == 1 ? ".Sigmoid" : ".Identity";
        m->encoder.sigmoid = name && ends_with(name, ".Sigmoid");
        if (m->encoder.sigmoid || (name && ends_with(name, ".Identity")))
                return 0;
        return BAD_VALUE(m, e, -EOPNOTSUPP, "activation_fn", "is '%.60s'; Sigmoid and Identity are supported",
                         name ? name : "no string");
}

static int read_head(Model *m, Error *e) {
        const json_t *config = hf_config(m->hf), *labels = config_get(config, "id2label");
        EncoderInfo *c = &m->encoder;
        int k = 0;
        c->scores = true;
        c->pooling = POOLING_CLS;
        c->n_out = labels ? (uint32_t)json_object_size(labels) : 2;
        if (c->n_out == 0)
                return BAD_VALUE(m, e, -EINVAL, "id2label", "names no labels");
        if (!labels)
                k = config_count(m, config, "num_labels", false, &c->n_out, e);
        return k < 0 ? k : read_sigmoid(m, e);
}

int describe_encoder_output(Model *m, Error *e) {
        const char *class;
        bool found;
        int k = config_class(m, &class, e);
        if (k < 0)
                return k;
        if (ends_with(class, "ForSequenceClassification"))
                return read_head(m, e);
        if (*class && !ends_with(class, "Model") && !ends_with(class, "ForMaskedLM") && !ends_with(class, "ForPreTraining"))
                return BAD_VALUE(m, e, -EOPNOTSUPP, "architectures",
                                 "is '%.60s'; …Model and …ForSequenceClassification are supported", class);
        m->encoder.n_out = m->info.n_embd;
        return describe_sentence_transformer(m, &found, e);
}

int describe_bert(Model *m, Error *e) {
        int k;
        m->encodes = true;
        m->params.norm_eps = is_bert(m) ? 1e-12f : 1e-5f;
        m->params.qkv_bias = m->params.output_bias = m->params.ffn_bias = PRESENT_YES;
        if ((k = refuse_options(m, e)) < 0 || (k = read_sizes(m, e)) < 0 ||
            (k = read_positions(m, e)) < 0 || (k = read_activation(m, e)) < 0 ||
            (k = config_positive(m, hf_config(m->hf), "layer_norm_eps", false, &m->params.norm_eps, e)) < 0 ||
            (is_jina(m) && (k = describe_jina(m, e)) < 0))
                return k;
        return describe_encoder_output(m, e);
}

/* ---- sentence-transformers ---- */

static const struct {
        const char *mode, *flag; /* as newer and as older files have it */
        bool supported;
        Pooling pooling;
} poolings[] = {
        {"cls", "pooling_mode_cls_token", true, POOLING_CLS},
        {"mean", "pooling_mode_mean_tokens", true, POOLING_MEAN},
        {"lasttoken", "pooling_mode_lasttoken", true, POOLING_LAST},
        {.mode = "max", .flag = "pooling_mode_max_tokens"},
        {.mode = "mean_sqrt_len_tokens", .flag = "pooling_mode_mean_sqrt_len_tokens"},
        {.mode = "weightedmean", .flag = "pooling_mode_weightedmean_tokens"},
};

/* Whether a pooling configuration asks for poolings[i]. */
static bool asks_for(const json_t *config, size_t i) {
        const json_t *mode = config_get(config, "pooling_mode");
        if (!mode)
                return json_is_true(config_get(config, poolings[i].flag));
        for (size_t k = 0; k < json_array_size(mode); k++) {
                const char *name = json_string_value(json_array_get(mode, k));
                if (name && strcmp(name, poolings[i].mode) == 0)
                        return true;
        }
        return json_is_string(mode) && strcmp(json_string_value(mode), poolings[i].mode) == 0;
}

static int read_pooling(Model *m, const char *file, Error *e) {
        json_auto_t *config = NULL;
        size_t n = 0, found = 0;
        int k = hf_read_json(m->hf, file, &config, e);
        if (k < 0)
                return k;
        for (size_t i = 0; i < ARRAY_SIZE(poolings); i++)
                if (asks_for(config, i)) {
                        found = i;
                        n++;
                }
        if (n != 1)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: asks for %zu ways of pooling that are known; one is supported",
                                    file, n);
        if (!poolings[found].supported)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: '%s' pooling is not supported; cls, mean and lasttoken are",
                                    file, poolings[found].mode);
        m->encoder.pooling = poolings[found].pooling;
        return 0;
}

/* What comes of a module: the end of its class's name. */
static const char *module_kind(const json_t *module) {
        const char *type = json_string_value(config_get(module, "type")), *dot = type ? strrchr(type, '.') : NULL;
        return dot ? dot + 1 : "unnamed";
}

static int read_module(Model *m, const json_t *module, size_t index, Error *e) {
        static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
        const char *kind = module_kind(module), *path = json_string_value(config_get(module, "path"));
        char file[300];
        if (index >= ARRAY_SIZE(order) || strcmp(kind, order[index]) != 0)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP,
                                    MODULES ": module %zu is '%.40s'; supported are Transformer, Pooling and Normalize, "
                                            "in this order",
                                    index, kind);
        if (index == 0 && path && *path)
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, MODULES ": its Transformer is not in this directory itself");
        m->encoder.normalised |= index == 2;
        if (index != 1)
                return 0;
        if (!path || !hf_is_plain(path))
                return MODEL_REFUSE(m, e, -EINVAL, MODULES ": its Pooling is not in a folder of this directory");
        snprintf(file, sizeof(file), "%s/config.json", path);
        return read_pooling(m, file, e);
}

static int read_modules(Model *m, const json_t *modules, Error *e) {
        size_t i;
        json_t *module;
        json_array_foreach(modules, i, module) {
                int k = read_module(m, module, i, e);
                if (k < 0)
                        return k;
        }
        return i >= 2 ? 0 : MODEL_REFUSE(m, e, -EOPNOTSUPP, MODULES ": has no Pooling");
}

static int read_length(Model *m, Error *e) {
        static const char name[] = "sentence_bert_config.json";
        json_auto_t *config = NULL;
        int k = hf_read_json(m->hf, name, &config, e);
        if (k < 0)
                return k == -ENOENT ? 0 : k;
        const json_t *length = config_get(config, "max_seq_length");
        if (length && (!json_is_integer(length) || json_integer_value(length) < 1))
                return MODEL_REFUSE(m, e, -EINVAL, "%s: 'max_seq_length' should be a number of tokens", name);
        if (json_is_true(config_get(config, "do_lower_case")))
                return MODEL_REFUSE(m, e, -EOPNOTSUPP, "%s: 'do_lower_case' is true, which is not supported", name);
        if (length && json_integer_value(length) < (json_int_t)m->encoder.max_tokens)
                m->encoder.usual_tokens = (uint32_t)json_integer_value(length);
        return 0;
}

int describe_sentence_transformer(Model *m, bool *ret, Error *e) {
        json_auto_t *modules = NULL;
        m->encoder.pooling = POOLING_MEAN;
        m->encoder.usual_tokens = m->encoder.max_tokens;
        int k = hf_read_json_array(m->hf, MODULES, &modules, e);
        *ret = k == 0;
        if (k == -ENOENT) {
                m->encoder.normalised = true;
                return 0;
        }
        if (k < 0 || (k = read_modules(m, modules, e)) < 0)
                return k;
        return read_length(m, e);
}

/* ---- names ---- */

void bert_tensor_name(const Model *m, const char *name, char *buf, size_t size) {
        static const char *const globals[][2] = {
                {"token_embd", "embeddings.word_embeddings"},
                {"position_embd", "embeddings.position_embeddings"},
                {"token_types", "embeddings.token_type_embeddings"},
                {"token_embd_norm", "embeddings.LayerNorm"},
        },
                                 *const parts[][2] = {
                                         {"attn_q", "attention.self.query"},
                                         {"attn_k", "attention.self.key"},
                                         {"attn_v", "attention.self.value"},
                                         {"attn_output", "attention.output.dense"},
                                         {"attn_output_norm", "attention.output.LayerNorm"},
                                         {"ffn_up", "intermediate.dense"},
                                         {"ffn_down", "output.dense"},
                                         {"layer_output_norm", "output.LayerNorm"},
                                 };
        unsigned layer;
        const char *kind = strrchr(name, '.') + 1;
        char part[32];
        if (sscanf(name, "blk.%u.%31[a-z_]", &layer, part) == 2) {
                for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                        if (strcmp(part, parts[i][0]) == 0)
                                snprintf(buf, size, "%sencoder.layer.%u.%s.%s", m->params.prefix, layer, parts[i][1],
                                         kind);
                return;
        }
        /* The head's first layer is BERT's pooler, and RoBERTa's own. */
        if (strncmp(name, "cls.output.", 11) == 0)
                snprintf(buf, size, "classifier.%s%s", is_bert(m) ? "" : "out_proj.", kind);
        else if (strncmp(name, "cls.", 4) == 0)
                snprintf(buf, size, "%s%s.%s", is_bert(m) ? m->params.prefix : "",
                         is_bert(m) ? "pooler.dense" : "classifier.dense", kind);
        for (size_t i = 0; i < ARRAY_SIZE(globals); i++)
                if (strncmp(name, globals[i][0], (size_t)(kind - 1 - name)) == 0 && !globals[i][0][kind - 1 - name])
                        snprintf(buf, size, "%s%s.%s", m->params.prefix, globals[i][1], kind);
}

static bool begins_with(FileText name, const char *prefix, const char *begin) {
        size_t p = strlen(prefix), n = strlen(begin);
        return name.len >= p + n && memcmp(name.data, prefix, p) == 0 && memcmp(name.data + p, begin, n) == 0;
}

/* Counters that old files hold, and heads that have no part in a vector: of pre-training, and the pooler. */
bool bert_ignores(const Model *m, FileText name) {
        return begins_with(name, m->params.prefix, "embeddings.position_ids") ||
               begins_with(name, m->params.prefix, "embeddings.token_type_ids") || begins_with(name, "", "cls.") ||
               begins_with(name, "", "lm_head.") || begins_with(name, m->params.prefix, "pooler.dense.");
}
