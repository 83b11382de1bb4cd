/* Cutting text into the words that byte-level BPE never merges across, by the regex a model was trained with. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

/* What a name in tokenizer.ggml.pre stands for. */
typedef struct PretokenizerRule {
        const char *names; /* separated by spaces */
        const char *published; /* the regex as tokenizer.json files have it; NULL: they do not write it as one */
        const char *pattern;   /* that which is matched here */
        bool ignore_merges; /* TokenizerSpec.ignore_merges, unless the model file says otherwise */
        bool add_bos;       /* unless the model file says otherwise */
} PretokenizerRule;

/* NULL when the name is unknown. */
const PretokenizerRule *pretokenizer_rule(const char *name);
/* By the regex as published; NULL when it is unknown. */
const PretokenizerRule *pretokenizer_rule_published(const char *regex);

typedef struct Pretokenizer Pretokenizer; /* a compiled rule; immutable, for many threads */
typedef struct PretokenizerScratch PretokenizerScratch;

int pretokenizer_new(const PretokenizerRule *rule, Pretokenizer **ret, Error *e);
void pretokenizer_free(Pretokenizer *p);
DEFINE_CLEANUP(Pretokenizer, pretokenizer_free)

/* Working memory of one thread at a time; NULL when memory failed. */
PretokenizerScratch *pretokenizer_scratch_new(const Pretokenizer *p);
void pretokenizer_scratch_free(PretokenizerScratch *s);

/* Where the word that starts at `start` ends. `text` is valid UTF-8 and `start` < len lies on a character. -ENOMEM;
 * -EINVAL when matching failed for another reason. */
int pretokenizer_next(const Pretokenizer *p, PretokenizerScratch *s, const char *text, size_t len, size_t start,
                      size_t *ret_end);
