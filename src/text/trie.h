/* A set of byte strings with a number each, walked byte by byte: a double-array trie (Aoe 1989), in which a step is one
 * addition and one comparison. Children of a node lie at base ^ byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TrieNode {
        uint32_t base;   /* where its children are; below `n`, whatever byte is added */
        uint32_t parent; /* UINT32_MAX: the place is free, or the root */
        int32_t value;   /* -1: no key ends here */
} TrieNode;

typedef struct Trie {
        TrieNode *nodes; /* [n]; [0] is the root */
        size_t n;
} Trie;

typedef struct TrieKey {
        const char *data;
        size_t len;
        int32_t value; /* at least 0 */
} TrieKey;

/* Puts the keys, which it sorts, into a new trie. Of equal ones the greatest value counts, empty ones are ignored.
 * -ENOMEM. */
int trie_init(Trie *t, TrieKey *keys, size_t n);
void trie_deinit(Trie *t);

/* The child of `node` by `byte`; false: there is none. */
static inline bool trie_step(const Trie *t, uint32_t *node, char byte) {
        uint32_t next = t->nodes[*node].base ^ (uint8_t)byte;
        if (t->nodes[next].parent != *node)
                return false;
        *node = next;
        return true;
}
