/* Vocabularies under test: Qwen 2.5's own, and small ones of SentencePiece's kind. */
#pragma once

#include "json-file.h"
#include "text/tokenizer.h"

/* A TokenizerSpec and the memory it needs. */
typedef struct Vocab {
        TokenizerSpec spec;
        TokenText *tokens, *merges;
        size_t cap_merges;
        float *scores;
        int32_t *types;
        json_t *json[2];
        char *merges_text;
} Vocab;

static inline void vocab_deinit(Vocab *v) {
        free(v->tokens);
        free(v->merges);
        free(v->scores);
        free(v->types);
        json_decref(v->json[0]);
        json_decref(v->json[1]);
        free(v->merges_text);
}

static inline Tokenizer *make(const TokenizerSpec *spec) {
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        if (tokenizer_new(spec, &t, &e) < 0)
                fail_msg("%s", e.text);
        return t;
}

static inline void put_vocabulary(Vocab *v, json_t *tokens, json_t *added) {
        size_t n = json_object_size(tokens) + json_object_size(added);
        v->tokens = calloc(n, sizeof(TokenText));
        v->types = calloc(n, sizeof(int32_t));
        const char *key;
        json_t *value;
        json_object_foreach(tokens, key, value) {
                size_t id = (size_t)json_integer_value(value);
                assert_true(id < n);
                v->tokens[id] = (TokenText){key, strlen(key)};
                v->types[id] = TOKEN_NORMAL;
        }
        json_object_foreach(added, key, value) {
                size_t id = strtoul(key, NULL, 10);
                const char *text = json_string_value(json_object_get(value, "content"));
                assert_true(id < n);
                v->tokens[id] = (TokenText){text, strlen(text)};
                v->types[id] = json_is_true(json_object_get(value, "special")) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        }
        v->spec = (TokenizerSpec){.kind = TOKENIZER_BPE, .n_tokens = n, .tokens = v->tokens, .types = v->types,
                                  .bos = -1, .eos = -1, .eot = -1, .unk = -1};
}

static inline void add_merge(Vocab *v, const char *line, size_t len) {
        if (v->spec.n_merges == v->cap_merges) {
                v->cap_merges = MAX(v->cap_merges * 2, (size_t)1024);
                v->merges = reallocarray(v->merges, v->cap_merges, sizeof(TokenText));
                assert_non_null(v->merges);
        }
        v->merges[v->spec.n_merges++] = (TokenText){line, len};
        v->spec.merges = v->merges;
}

static inline void load_qwen2(Vocab *v) {
        v->json[0] = load_json(test_data("tokenizers/qwen2.5/vocab.json"));
        v->json[1] = load_json(test_data("tokenizers/qwen2.5/tokenizer_config.json"));
        put_vocabulary(v, v->json[0], json_object_get(v->json[1], "added_tokens_decoder"));
        FILE *f = fopen(test_data("tokenizers/qwen2.5/merges.txt"), "re");
        v->merges_text = calloc(1, 4 << 20);
        assert_true(fread(v->merges_text, 1, (4 << 20) - 1, f) > 0);
        fclose(f);
        for (char *line = v->merges_text, *end; (end = strchr(line, '\n')); line = end + 1)
                if (strncmp(line, "#version", 8) != 0)
                        add_merge(v, line, (size_t)(end - line));
        v->spec.pre = "qwen2";
        v->spec.eos = 151645;
}

#define MARK "\xe2\x96\x81" /* U+2581 */

/* An SPM vocabulary: unknown, bos, eos, 256 bytes, then what the test adds. */
static inline void spm_vocab(Vocab *v, size_t n, const char *const *texts, const float *scores, bool with_bytes) {
        static char names[256][8];
        size_t total = 3 + (with_bytes ? 256 : 0) + n, at = 3;
        v->tokens = calloc(total, sizeof(TokenText));
        v->scores = calloc(total, sizeof(float));
        v->types = calloc(total, sizeof(int32_t));
        v->tokens[0] = (TokenText){"<unk>", 5};
        v->tokens[1] = (TokenText){"<s>", 3};
        v->tokens[2] = (TokenText){"</s>", 4};
        v->types[0] = TOKEN_UNKNOWN;
        v->types[1] = v->types[2] = TOKEN_CONTROL;
        for (unsigned i = 0; with_bytes && i < 256; i++, at++) {
                snprintf(names[i], sizeof(names[i]), "<0x%02X>", i);
                v->tokens[at] = (TokenText){names[i], 6};
                v->types[at] = TOKEN_BYTE;
        }
        for (size_t i = 0; i < n; i++, at++) {
                v->tokens[at] = (TokenText){texts[i], strlen(texts[i])};
                v->scores[at] = scores[i];
                v->types[at] = TOKEN_NORMAL;
        }
        v->spec = (TokenizerSpec){.kind = TOKENIZER_SPM, .n_tokens = total, .tokens = v->tokens, .scores = v->scores,
                                  .types = v->types, .bos = 1, .eos = 2, .eot = -1, .unk = 0,
                                  .single = template_bos_eos(1, -1, 1), .pair = template_bos_eos(1, 2, 2),
                                  .space_prefix = SPACE_PREFIX_AFTER_CONTROL};
}
