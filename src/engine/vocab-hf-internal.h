/* What the files behind vocab-hf.h share: the TokenizerSpec under construction, and reading JSON. */
#pragma once

#include <string.h>

#include "engine/vocab-hf.h"
#include "util/map.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */

enum { PARTS_MAX = 8, SHOWN_MAX = 80, ENDS_MAX = 64 };

typedef struct Reader {
        const HfModel *h;
        Error *e;
        const char *file;     /* the one that is read, for messages */
        json_t *root;         /* a tokenizer.json, or what other files say in its form; or NULL */
        ModelFile model_file; /* SentencePiece's */
        TokenizerSpec spec;
        size_t cap;        /* of the arrays */
        TokenText *tokens; /* in root, or in texts */
        int32_t *types;
        uint8_t *added;
        float *scores;
        double *log_probs;
        Map ids; /* the tokens' texts → ids */
        TokenText *merges;
        bool byte_fallback;
        Buf texts; /* merges that were two texts */
        Buf charsmap;
        NormalizerStep steps[PARTS_MAX];
        char pre[32];
        int32_t ends[ENDS_MAX];
} Reader;

#define REFUSE(v, code, fmt, ...) HF_REFUSE((v)->h, (v)->e, code, "%s: " fmt, (v)->file, ##__VA_ARGS__)

/* The member of an object; NULL where it is null, too. */
const json_t *json_member(const json_t *object, const char *key);
bool json_is(const json_t *value, const char *text);
bool json_has(const json_t *object, const char *key, const char *text);
bool json_has_type(const json_t *part, const char *type);
/* Where the key is absent, `otherwise`. */
bool json_flag(const json_t *object, const char *key, bool otherwise);
/* A text of the file for messages; `buf` has SHOWN_MAX bytes. */
char *json_shown(char *buf, const json_t *text);

/* The parts of a stage of the pipeline: none, one, or a Sequence's. */
typedef struct Stage {
        const char *name;
        const json_t *parts[PARTS_MAX];
        size_t n;
} Stage;

int reader_stage(const Reader *v, const char *name, const char *list, Stage *ret);
/* Refuses a part of the pipeline by its type. */
int reader_refuse_part(const Reader *v, const char *where, const json_t *part);

/* Makes room for `n` tokens. */
int reader_reserve(Reader *v, size_t n);
/* Enters a token; the same one may come twice, from the vocabulary and as an added token. */
int reader_put_token(Reader *v, TokenText text, const json_t *id, TokenType type);
/* The id of a token by its text, or -1. */
int32_t reader_find_token(const Reader *v, const json_t *text);

/* The stages of a tokenizer.json in front of its model, and its decoder. The kind is known, but of the two that merge
 * only that it is one of them. */
int reader_front(Reader *v);
/* The model, its vocabulary and the added tokens. */
int reader_model_kind(Reader *v);
int reader_model(Reader *v);
/* What there is instead of a tokenizer.json, in its form: vocab.txt, or vocab.json and merges.txt. -ENOENT: neither. */
int reader_plain(Reader *v);
/* A SentencePiece file, into the spec. -ENOENT: there is none. */
int reader_sentencepiece(Reader *v);
/* The class of transformers' tokenizers that the directory names, without a "Fast" at its end, or that its model_type
 * has; of no length where neither is known. */
TokenText reader_class(const Reader *v);
bool reader_has_class(const Reader *v, const char *name);
/* Refuses `file` of that class. */
int reader_refuse_class(const Reader *v, const char *file);
