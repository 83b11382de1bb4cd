/* The vocabulary as a tree of its tokens' bytes, to find the tokens that a text may go on with.
 *
 * Immutable once made. Tokens without text of their own are not in it; neither are those that end generation, nor, for
 * no text needs them, very long ones. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/matcher.h"
#include "text/tokenizer.h"

typedef struct TokenTree TokenTree;

int token_tree_new(const Tokenizer *t, TokenTree **ret); /* -ENOMEM */
void token_tree_free(TokenTree *t);
DEFINE_CLEANUP(TokenTree, token_tree_free)

/* One that is made when somebody first needs it, on whatever thread. */
typedef struct LazyTokenTree {
        pthread_mutex_t lock;
        TokenTree *tree;
} LazyTokenTree;

#define LAZY_TOKEN_TREE_NULL ((LazyTokenTree){PTHREAD_MUTEX_INITIALIZER, NULL})

int lazy_token_tree_get(LazyTokenTree *l, const Tokenizer *t, const TokenTree **ret); /* -ENOMEM */

/* Sets the bits, zero before, of the tokens that `*state` may go on with, and, where the text may end there, of those that
 * end generation. Other states may be forgotten, and *state be numbered anew. False: there was more to do than `most`
 * nodes and as much of the matcher's work; the bits are then of no use. */
bool token_tree_allowed(const TokenTree *t, Matcher *m, uint32_t *state, uint64_t most, uint32_t *bits);
