/* Filling in the middle: what stands between a text and another one that follows it, as editors ask for. Models are
 * trained for it with three tokens, or two, which mark the texts in the prompt:
 *
 *   prefix-token text suffix-token text middle-token      CodeLlama, StarCoder, Qwen, DeepSeek, Granite, CodeGemma
 *   suffix-token text prefix-token text                   Codestral
 *
 * and go on with the middle. */
#pragma once

#include "text/tokenizer.h"

/* The vocabulary's tokens for it: those that its file names, and others by their texts. All -1: it has none. */
FillTokens fill_find(const TokenizerSpec *spec);
/* Sets ends[id] of the tokens by which such models say that there is nothing more: padding, and the marks between files. */
void fill_find_ends(const TokenizerSpec *spec, bool *ends);
static inline bool fill_is_possible(const Tokenizer *t) {
        return tokenizer_fill(t).prefix >= 0;
}

/* The prompt, without what stands around texts; of the texts nothing is a control token. *ret is malloc'd. Errors as
 * tokenizer_encode()'s. */
int fill_encode(const Tokenizer *t, TokenText prefix, TokenText suffix, int32_t **ret, size_t *ret_n);
