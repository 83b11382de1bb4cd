/* What a model does to text before it is cut into words: a list of steps, each from text to text, as the "normalizer"
 * of a tokenizer.json. A Normalizer is immutable and may be used by many threads at once. */
#pragma once

#include "text/unicode.h"
#include "util/error.h"

typedef enum NormalizerKind {
        NORMALIZE_NFC,
        NORMALIZE_NFD,
        NORMALIZE_NFKC,
        NORMALIZE_NFKD,
        NORMALIZE_LOWERCASE,
        NORMALIZE_STRIP_ACCENTS, /* drops M* */
        NORMALIZE_STRIP,         /* white space at the ends that `flags` say */
        NORMALIZE_REPLACE,       /* `from` by `to` */
        NORMALIZE_REPLACE_RUNS,  /* two and more `from` in a row by one `to` */
        NORMALIZE_PREPEND,       /* `to`, unless the text is empty */
        NORMALIZE_BERT,          /* as `flags` say */
        NORMALIZE_CHARSMAP, /* `from` is a precompiled_charsmap; applied as Hugging Face's tokenizers do: to a whole
                             * grapheme cluster of less than 6 bytes, or else to each character */
        NORMALIZE_CHARSMAP_LONGEST, /* … as SentencePiece does: to the longest sequence it has */
} NormalizerKind;

enum { /* flags */
        STRIP_LEFT = 1,
        STRIP_RIGHT = 2,
        STRIP_SPACES = 4,       /* … of spaces only, and at the right of U+2581 */
        BERT_CLEAN = 1,         /* drops control characters and U+FFFD, makes white space a space */
        BERT_CHINESE = 2,       /* puts spaces around Chinese characters */
        BERT_STRIP_ACCENTS = 4, /* decomposes, and drops Mn */
        BERT_LOWERCASE = 8,
};

typedef struct NormalizerText {
        const char *data;
        size_t len;
} NormalizerText;

typedef struct NormalizerStep { /* the texts are the caller's and are copied */
        NormalizerKind kind;
        unsigned flags;
        NormalizerText from, to;
} NormalizerStep;

typedef struct Normalizer Normalizer;

/* Working memory of one thread at a time. Zeroed memory is empty. */
typedef struct NormalizerScratch {
        Buf a, b; /* the text goes from one to the other, step by step */
        Chars chars;
} NormalizerScratch;

/* What SentencePiece's normalizer does, into `steps`, and how many they are: its map, which may be empty, then no spaces at
 * the ends and one at a time between. */
enum { SENTENCEPIECE_STEPS = 3 };
size_t normalizer_sentencepiece(NormalizerText charsmap, bool remove_extra, NormalizerStep steps[SENTENCEPIECE_STEPS]);

/* *ret is NULL for no steps. -EINVAL for a charsmap that is damaged or a replaced text that is empty, -ENOMEM. */
int normalizer_new(const NormalizerStep *steps, size_t n, Normalizer **ret, Error *e);
void normalizer_free(Normalizer *n);
DEFINE_CLEANUP(Normalizer, normalizer_free)
void normalizer_scratch_deinit(NormalizerScratch *s);
/* `text` is valid UTF-8, and so is *ret_text, which lies in `text` or `s`. NULL does nothing. -ENOMEM; -E2BIG when the
 * text would grow out of all proportion. */
int normalizer_run(const Normalizer *n, NormalizerScratch *s, const char *text, size_t len, const char **ret_text,
                   size_t *ret_len);
