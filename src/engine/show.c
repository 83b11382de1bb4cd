/* Showing a model; see show.h. Keys are those of the Ollama API's /api/show. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/loaded.h"
#include "engine/sampler-defaults.h"
#include "engine/show.h"
#include "text/fill.h"
#include "text/split.h"
#include "util/buf.h"

/* "260K", "1.2B": as model cards write it. */
static void format_count(char *buf, size_t n, uint64_t count) {
        static const struct {
                uint64_t unit;
                char letter;
        } units[] = {{1000000000000, 'T'}, {1000000000, 'B'}, {1000000, 'M'}, {1000, 'K'}};
        for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
                double v = (double)count / (double)units[i].unit;
                if (v >= 0.9995) {
                        snprintf(buf, n, v < 99.95 && units[i].unit > 1000 ? "%.1f%c" : "%.0f%c", v, units[i].letter);
                        return;
                }
        }
        snprintf(buf, n, "%llu", (unsigned long long)count);
}

/* A JSON string of bytes that may not be UTF-8. */
static json_t *string_of_bytes(const char *data, size_t len) {
        _cleanup_buf_ Buf text = BUF_NULL;
        Utf8Stream u = {0};
        utf8_stream_put(&u, data, len, true, &text);
        return text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
}

/* Empty where there is none. */
static FileText template_of(const Model *m, bool for_tools) {
        FileText template = {"", 0};
        loaded_template(m, for_tools, &template, NULL);
        return template;
}

/* In the words of the Ollama API, which has none for rerankers. */
static json_t *capabilities(const Model *m, const Tokenizer *t) {
        const EncoderInfo *encoder = model_encoder(m);
        FileText template = template_of(m, false), with_tools = template_of(m, true);
        unsigned forms = split_forms(template.data, template.len) | split_forms(with_tools.data, with_tools.len);
        if (encoder)
                return json_pack("[s]", encoder->scores ? "rerank" : "embedding");
        return json_pack("[s, s*, s*, s*]", "completion", forms & SPLIT_CALLS ? "tools" : NULL, forms & SPLIT_THINKS ? "thinking" : NULL,
                         fill_is_possible(t) ? "insert" : NULL);
}

json_t *show_details(const Model *m, const Tokenizer *t) {
        const ModelInfo *info = model_info(m);
        char size[32];
        format_count(size, sizeof(size), info->n_params);
        return json_pack("{s:s, s:s, s:[s], s:s, s:s, s:s, s:o}", "format", info->format, "family", info->architecture,
                         "families", info->architecture, "parameter_size", size, "quantization_level",
                         info->quantization, "parent_model", "", "capabilities", capabilities(m, t));
}

/* Numbers come as text that JSON reads the same way, except for the infinities and NaN it does not have. */
static json_t *json_of_value(GgufType type, const char *value) {
        json_t *v = NULL;
        if (type == GGUF_STRING)
                v = string_of_bytes(value, strlen(value));
        else if (type != GGUF_ARRAY)
                v = json_loads(value,
                               JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL * (type == GGUF_F32 || type == GGUF_F64),
                               NULL);
        return v ? v : json_null();
}

static void put_key(FileText key, GgufType type, const char *value, void *arg) {
        _cleanup_buf_ Buf name = BUF_NULL;
        Utf8Stream u = {0};
        utf8_stream_put(&u, key.data, key.len, true, &name);
        if (!name.failed && name.data)
                json_object_set_new(arg, name.data, json_of_value(type, value));
}

/* A directory says the same in its own words: the sizes under GGUF's names, which clients know, and config.json. */
static void put_hf_sizes(const ModelInfo *i, json_t *info) {
        const struct {
                const char *key;
                uint32_t value;
        } sizes[] = {
                {"context_length", i->context_length}, {"block_count", i->n_layers},
                {"embedding_length", i->n_embd},       {"feed_forward_length", i->n_ff},
                {"attention.head_count", i->n_heads},  {"attention.head_count_kv", i->n_kv_heads},
                {"attention.key_length", i->head_dim}, {"attention.sliding_window", i->window},
                {"vocab_size", i->n_vocab},
        };
        char name[128];
        for (size_t n = 0; n < ARRAY_SIZE(sizes); n++) {
                if (sizes[n].value == 0) /* no window */
                        continue;
                snprintf(name, sizeof(name), "%s.%s", i->architecture, sizes[n].key);
                json_object_set_new(info, name, json_integer(sizes[n].value));
        }
}

static void put_hf_info(const Model *m, const Tokenizer *t, json_t *info) {
        static const char *const kinds[] = {[TOKENIZER_SPM] = "llama", [TOKENIZER_BPE] = "gpt2",
                                            [TOKENIZER_WORDPIECE] = "bert", [TOKENIZER_UNIGRAM] = "t5"};
        const ModelInfo *i = model_info(m);
        char name[128];
        const char *key;
        json_t *value;
        json_object_set_new(info, "general.architecture", json_string(i->architecture));
        json_object_set_new(info, "general.name", json_string(i->name));
        json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)i->n_params));
        put_hf_sizes(i, info);
        json_object_set_new(info, "tokenizer.ggml.model", json_string(kinds[tokenizer_kind(t)]));
        json_object_set_new(info, "tokenizer.ggml.n_tokens", json_integer((json_int_t)tokenizer_n_tokens(t)));
        json_object_set_new(info, "tokenizer.ggml.bos_token_id", json_integer(tokenizer_bos(t)));
        json_object_set_new(info, "tokenizer.ggml.eos_token_id", json_integer(tokenizer_eos(t)));
        json_object_foreach((json_t *)hf_config(model_hf(m)), key, value) {
                bool plain = !json_is_object(value) && !json_is_array(value);
                _cleanup_free_ char *text = plain ? NULL : json_dumps(value, JSON_COMPACT);
                snprintf(name, sizeof(name), "config.%.100s", key);
                json_object_set_new(info, name, plain ? json_incref(value) : json_string(text));
        }
}

static void put_encoder(const EncoderInfo *c, json_t *o) {
        static const char *const poolings[] = {[POOLING_CLS] = "first token", [POOLING_MEAN] = "mean", [POOLING_LAST] = "last token"};
        json_object_set_new(o, c->scores ? "scores" : "dimensions", json_integer(c->n_out));
        json_object_set_new(o, "pooling", json_string(poolings[c->pooling]));
        if (c->scores)
                json_object_set_new(o, "sigmoid", json_boolean(c->sigmoid));
        else
                json_object_set_new(o, "normalised", json_boolean(c->normalised));
        json_object_set_new(o, "longest_text", json_integer(c->max_tokens));
        if (c->usual_tokens != c->max_tokens)
                json_object_set_new(o, "usual_cut", json_integer(c->usual_tokens));
}

/* What of all that counts, whatever the files are like. */
static json_t *understood(const Loaded *l) {
        static const char *const kinds[] = {[TOKENIZER_SPM] = "SentencePiece BPE", [TOKENIZER_BPE] = "byte-level BPE",
                                            [TOKENIZER_WORDPIECE] = "WordPiece", [TOKENIZER_UNIGRAM] = "Unigram"};
        const EncoderInfo *encoder = model_encoder(l->model);
        json_t *o = json_pack("{s:s, s:I}", "tokenizer", kinds[tokenizer_kind(l->tokenizer)], "vocabulary",
                              (json_int_t)tokenizer_n_tokens(l->tokenizer));
        if (encoder) {
                put_encoder(encoder, o);
                return o;
        }
        json_object_set_new(o, "context", json_integer(model_info(l->model)->context_length));
        json_object_set_new(o, "chat_template", l->chat || l->chat_error.code == -ENOENT || l->chat_error.code == 0
                                                        ? json_boolean(l->chat != NULL)
                                                        : json_string(l->chat_error.text));
        _cleanup_buf_ Buf sampling = BUF_NULL;
        sampler_defaults_write(&l->sampling, false, &sampling);
        if (sampling.len > 0 && !sampling.failed)
                json_object_set_new(o, "sampling", json_stringn(sampling.data, sampling.len));
        return o;
}

static int show_model(const char *path, json_t **ret, Error *e) {
        _cleanup_(loaded_freep) Loaded *l = NULL;
        _cleanup_buf_ Buf parameters = BUF_NULL;
        int r = loaded_new(&(LoadedSpec){.name = path, .path = path}, &l);
        if (r < 0)
                return error_set(e, r, "not enough memory to show %s", path);
        if ((r = loaded_open(l, e)) < 0)
                return r;
        if (!model_encoder(l->model))
                sampler_defaults_write(&l->sampling, true, &parameters);
        const char *lines = parameters.data && !parameters.failed ? parameters.data : "";
        json_t *info = json_object();
        FileText template = template_of(l->model, false);
        if (model_hf(l->model))
                put_hf_info(l->model, l->tokenizer, info);
        else
                gguf_each(model_gguf(l->model), put_key, info);
        *ret = json_pack("{s:o, s:o, s:o, s:o, s:s}", "details", show_details(l->model, l->tokenizer), "understood", understood(l),
                         "model_info", info, "template", string_of_bytes(template.data, template.len), "parameters", lines);
        return 0;
}

int show_file(const char *path, json_t **ret, Error *e) {
        json_t *shown = NULL;
        int r = 0;
        if (loadtest_of_path(path))
                shown = loadtest_show();
        else
                r = show_model(path, &shown, e);
        if (r < 0)
                return r;
        if (!shown)
                return error_set(e, -ENOMEM, "not enough memory to show %s", path);
        *ret = shown;
        return 0;
}
