/* Building a double-array trie.
 *
 * Sorted keys make every node a range of keys that share their first `depth` bytes. Nodes are placed one after the
 * other: a base is looked for at which all children fall on free places. Those are in a doubly linked list through the
 * fields of the free nodes. A node with one child, as most are, takes the first free place; one with more looks at the
 * most recently added places, a bounded number of times, before the array grows by a block in which it fits for sure.
 * Places come in blocks of 256, so that base ^ byte stays within its block. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/trie.h"
#include "util/macro.h"

#define NONE UINT32_MAX
enum { BLOCK = 256, TRIES = 64 };

/* Of a free place, `base` is the next free one and `value` the one before. */
typedef struct Builder {
        Trie *t;
        const TrieKey *keys;
        uint32_t first, last; /* free places */
        struct Range {
                uint32_t node;
                size_t lo, hi, depth;
        } *todo; /* a stack */
        size_t n_todo, cap_todo;
} Builder;

static int by_bytes(const void *a, const void *b) {
        const TrieKey *x = a, *y = b;
        int c = memcmp(x->data, y->data, MIN(x->len, y->len));
        if (c == 0)
                c = (x->len > y->len) - (x->len < y->len);
        return c ? c : (x->value > y->value) - (x->value < y->value);
}

static int add_block(Builder *b) {
        Trie *t = b->t;
        if (t->n > INT32_MAX - BLOCK)
                return -ENOMEM;
        if ((t->n & (t->n - 1)) == 0 || t->n < BLOCK) { /* it has doubled */
                TrieNode *nodes = reallocarray(t->nodes, MAX(t->n * 2, (size_t)BLOCK), sizeof(*nodes));
                if (!nodes)
                        return -ENOMEM;
                t->nodes = nodes;
        }
        for (uint32_t i = (uint32_t)t->n; i < t->n + BLOCK; i++) {
                t->nodes[i] = (TrieNode){.base = NONE, .parent = NONE, .value = (int32_t)b->last};
                if (b->last == NONE)
                        b->first = i;
                else
                        t->nodes[b->last].base = i;
                b->last = i;
        }
        t->n += BLOCK;
        return 0;
}

static void take(Builder *b, uint32_t place, uint32_t parent) {
        TrieNode *nodes = b->t->nodes;
        uint32_t next = nodes[place].base, before = (uint32_t)nodes[place].value;
        if (before == NONE)
                b->first = next;
        else
                nodes[before].base = next;
        if (next == NONE)
                b->last = before;
        else
                nodes[next].value = (int32_t)before;
        nodes[place] = (TrieNode){.base = 0, .parent = parent, .value = -1};
}

/* A place is free when it is in the list; the root, too, has no parent. */
static bool is_free(const Trie *t, uint32_t place) {
        return place != 0 && t->nodes[place].parent == NONE;
}

static bool fits(const Trie *t, uint32_t base, const uint8_t *labels, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (!is_free(t, base ^ labels[i]))
                        return false;
        return true;
}

static int find_base(Builder *b, const uint8_t *labels, size_t n, uint32_t *ret) {
        uint32_t place = n == 1 ? b->first : b->last;
        for (unsigned i = 0; i < TRIES && place != NONE; i++, place = (uint32_t)b->t->nodes[place].value)
                if (fits(b->t, *ret = place ^ labels[0], labels, n))
                        return 0;
        *ret = (uint32_t)b->t->n;
        return add_block(b);
}

static int push(Builder *b, struct Range range) {
        if (b->n_todo == b->cap_todo) {
                size_t cap = MAX(b->cap_todo * 2, (size_t)BLOCK);
                struct Range *todo = reallocarray(b->todo, cap, sizeof(*todo));
                if (!todo)
                        return -ENOMEM;
                b->todo = todo;
                b->cap_todo = cap;
        }
        b->todo[b->n_todo++] = range;
        return 0;
}

/* Places the children of a node: the distinct bytes at its depth, each with the range of keys that have it. */
static int expand(Builder *b, struct Range r) {
        uint8_t labels[BLOCK];
        size_t starts[BLOCK + 1], n = 0;
        while (r.lo < r.hi && b->keys[r.lo].len == r.depth)
                b->t->nodes[r.node].value = b->keys[r.lo++].value;
        for (size_t i = r.lo; i < r.hi; i++) {
                uint8_t byte = (uint8_t)b->keys[i].data[r.depth];
                if (n == 0 || labels[n - 1] != byte) {
                        labels[n] = byte;
                        starts[n++] = i;
                }
        }
        starts[n] = r.hi;
        if (n == 0)
                return 0;
        uint32_t base;
        int k = find_base(b, labels, n, &base);
        if (k < 0)
                return k;
        b->t->nodes[r.node].base = base;
        for (size_t i = 0; i < n; i++)
                take(b, base ^ labels[i], r.node);
        for (size_t i = 0; i < n && k == 0; i++)
                k = push(b, (struct Range){base ^ labels[i], starts[i], starts[i + 1], r.depth + 1});
        return k;
}

static int build(Builder *b, size_t n) {
        int r = add_block(b);
        if (r < 0)
                return r;
        take(b, 0, NONE);
        size_t first = 0;
        while (first < n && b->keys[first].len == 0)
                first++;
        r = push(b, (struct Range){0, first, n, 0});
        while (r == 0 && b->n_todo > 0)
                r = expand(b, b->todo[--b->n_todo]);
        for (uint32_t i = b->first, next; r == 0 && i != NONE; i = next) { /* what stayed free leads nowhere */
                next = b->t->nodes[i].base;
                b->t->nodes[i] = (TrieNode){.base = 0, .parent = NONE, .value = -1};
        }
        return r;
}

int trie_init(Trie *t, TrieKey *keys, size_t n) {
        Builder b = {.t = t, .keys = keys, .first = NONE, .last = NONE};
        *t = (Trie){0};
        qsort(keys, n, sizeof(*keys), by_bytes);
        int r = build(&b, n);
        free(b.todo);
        if (r < 0)
                trie_deinit(t);
        return r;
}

void trie_deinit(Trie *t) {
        free(t->nodes);
        *t = (Trie){0};
}
