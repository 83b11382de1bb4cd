/* What a text may be: a context-free grammar over bytes, as a graph of nodes, and who follows a text through it.
 *
 * Nodes are made from the leaves up: bytes, texts, characters, sequences, choices and repetitions of other nodes. One
 * that refers to itself is reserved first and defined later. A failure while making nodes (no memory, too many) is
 * sticky and comes out of grammar_finish(); until then every call returns some node. A finished grammar is immutable.
 *
 * A matcher (matcher.h) then says of a text, byte by byte, whether it can still become one of the grammar's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

typedef struct Grammar Grammar;
typedef uint32_t GrammarNode;

enum {
        GRAMMAR_NODES_MAX = 128 * 1024,
        GRAMMAR_DEPTH = 256, /* open sequences and repetitions: so deeply may a text be nested */
};
#define GRAMMAR_EMPTY ((GrammarNode)0) /* the empty text */
#define GRAMMAR_EVER UINT32_MAX        /* a repetition without an end */

typedef struct CharRange { /* of Unicode characters, both ends included; surrogates in it do not count */
        uint32_t first, last;
} CharRange;

int grammar_new(Grammar **ret); /* -ENOMEM */
void grammar_free(Grammar *g);
DEFINE_CLEANUP(Grammar, grammar_free)

GrammarNode grammar_text(Grammar *g, const char *text, size_t len);
/* One character of any of the ranges, in UTF-8; ranges may overlap. Without any nothing can match. */
GrammarNode grammar_char(Grammar *g, const CharRange *ranges, size_t n);
GrammarNode grammar_sequence(Grammar *g, const GrammarNode *parts, size_t n);
GrammarNode grammar_choice(Grammar *g, const GrammarNode *options, size_t n);
GrammarNode grammar_repeat(Grammar *g, GrammarNode what, uint32_t least, uint32_t most);
GrammarNode grammar_reserve(Grammar *g);
/* A reserved node is from now on what `as` is. */
void grammar_define(Grammar *g, GrammarNode reserved, GrammarNode as);

#define grammar_sequence_of(g, ...)                                                                            \
        grammar_sequence(g, (const GrammarNode[]){__VA_ARGS__}, sizeof((GrammarNode[]){__VA_ARGS__}) / sizeof(GrammarNode))
#define grammar_choice_of(g, ...)                                                                              \
        grammar_choice(g, (const GrammarNode[]){__VA_ARGS__}, sizeof((GrammarNode[]){__VA_ARGS__}) / sizeof(GrammarNode))
static inline GrammarNode grammar_optional(Grammar *g, GrammarNode what) {
        return grammar_repeat(g, what, 0, 1);
}

/* Whether no more nodes are taken: there is no memory, or they are too many. */
bool grammar_is_full(const Grammar *g);
/* A reserved node that can begin with itself, before any byte, as in x = x "a": what follows it through a text has ever more
 * ways to go. 1: *ret is one; 0: there is none; -ENOMEM; -E2BIG. For grammars that others write, ahead of grammar_finish(). */
int grammar_find_left_recursion(const Grammar *g, GrammarNode *ret);
/* The text is what `root` is. -ENOMEM; -E2BIG: too many nodes; -EINVAL: there is no such text of bounded depth. */
int grammar_finish(Grammar *g, GrammarNode root, Error *e);

/* ---- for the matcher ---- */

typedef enum GrammarKind { GRAMMAR_BYTES, GRAMMAR_TEXT, GRAMMAR_SEQUENCE, GRAMMAR_CHOICE, GRAMMAR_REPEAT } GrammarKind;

typedef struct GrammarItem {
        uint8_t kind;
        uint16_t need; /* so many continuations must be remembered to come through it, at least */
        uint32_t first, n; /* BYTES: which set · TEXT: bytes · SEQUENCE, CHOICE: children · REPEAT: of `first`, at least n */
        uint32_t most;     /* REPEAT */
} GrammarItem;

typedef struct ByteSet {
        uint64_t bits[4];
        GrammarNode node;
} ByteSet;

struct Grammar {
        GrammarItem *items;
        GrammarNode *children;
        ByteSet *sets;
        char *texts;
        uint32_t n_items, n_children, n_sets, n_texts;
        uint32_t cap_items, cap_children, cap_sets, cap_texts;
        int failed;
        GrammarNode root;
        uint8_t classes[256]; /* bytes that the grammar does not tell apart have one class */
        uint32_t n_classes;
};

static inline bool byte_set_has(const ByteSet *s, uint8_t byte) {
        return s->bits[byte / 64] >> (byte % 64) & 1;
}
