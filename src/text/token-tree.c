/* See token-tree.h. The nodes are in the order of a walk through the tree, which is that of the sorted texts: so the walk
 * is a loop, and where a byte leads nowhere it goes on behind all that begins like that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/token-tree.h"

enum { LENGTH_MAX = MATCHER_PATH_MAX - 1 };

typedef struct Node {
        uint32_t after;  /* the first node behind all that begins like this one */
        uint32_t tokens; /* the first of its own; they end where the next node's begin */
        uint8_t depth, byte;
} Node;

typedef struct Entry {
        TokenText text;
        int32_t id;
} Entry;

struct TokenTree {
        Node *nodes; /* [n_nodes + 1] */
        uint32_t n_nodes;
        int32_t *tokens; /* sorted by text */
        int32_t *ends;
        uint32_t n_ends;
};

static int by_text(const void *a, const void *b) {
        const Entry *x = a, *y = b;
        size_t n = MIN(x->text.len, y->text.len);
        int order = memcmp(x->text.data, y->text.data, n);
        if (order != 0 || x->text.len != y->text.len)
                return order != 0 ? order : x->text.len < y->text.len ? -1 : 1;
        return (x->id > y->id) - (x->id < y->id);
}

/* The tokens with text into `entries`, those that end generation into t->ends. */
static size_t sort_out(TokenTree *t, const Tokenizer *from, Entry *entries) {
        size_t n = 0;
        for (size_t i = 0; i < tokenizer_n_tokens(from); i++) {
                TokenText text = tokenizer_piece(from, (int32_t)i, false);
                if (tokenizer_is_eog(from, (int32_t)i))
                        t->ends[t->n_ends++] = (int32_t)i;
                else if (text.len > 0 && text.len <= LENGTH_MAX)
                        entries[n++] = (Entry){text, (int32_t)i};
        }
        qsort(entries, n, sizeof(*entries), by_text);
        return n;
}

static size_t common(const TokenText *a, const TokenText *b) {
        size_t n = 0;
        while (n < a->len && n < b->len && a->data[n] == b->data[n])
                n++;
        return n;
}

static size_t count_nodes(const Entry *entries, size_t n) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++)
                count += entries[i].text.len - (i > 0 ? common(&entries[i - 1].text, &entries[i].text) : 0);
        return count;
}

static void put_nodes(TokenTree *t, const Entry *entries, size_t n) {
        uint32_t open[LENGTH_MAX], n_open = 0; /* the nodes of the text before */
        for (size_t i = 0; i < n; i++) {
                const TokenText *text = &entries[i].text;
                uint32_t shared = i > 0 ? (uint32_t)common(&entries[i - 1].text, text) : 0;
                while (n_open > shared)
                        t->nodes[open[--n_open]].after = t->n_nodes;
                for (; n_open < text->len; n_open++) {
                        open[n_open] = t->n_nodes;
                        t->nodes[t->n_nodes++] = (Node){.tokens = (uint32_t)i, .depth = (uint8_t)n_open, .byte = (uint8_t)text->data[n_open]};
                }
                t->tokens[i] = entries[i].id;
        }
        while (n_open > 0)
                t->nodes[open[--n_open]].after = t->n_nodes;
        t->nodes[t->n_nodes] = (Node){.tokens = (uint32_t)n};
}

int token_tree_new(const Tokenizer *from, TokenTree **ret) {
        size_t n = tokenizer_n_tokens(from);
        _cleanup_(token_tree_freep) TokenTree *t = calloc(1, sizeof(*t));
        _cleanup_free_ Entry *entries = calloc(n + 1, sizeof(*entries));
        if (!t || !entries || !(t->ends = calloc(n + 1, sizeof(*t->ends))) || !(t->tokens = calloc(n + 1, sizeof(*t->tokens))))
                return -ENOMEM;
        n = sort_out(t, from, entries);
        t->nodes = calloc(count_nodes(entries, n) + 1, sizeof(*t->nodes));
        if (!t->nodes)
                return -ENOMEM;
        put_nodes(t, entries, n);
        *ret = TAKE(t);
        return 0;
}

void token_tree_free(TokenTree *t) {
        if (!t)
                return;
        free(t->nodes);
        free(t->tokens);
        free(t->ends);
        free(t);
}

int lazy_token_tree_get(LazyTokenTree *l, const Tokenizer *t, const TokenTree **ret) {
        pthread_mutex_lock(&l->lock);
        int r = l->tree ? 0 : token_tree_new(t, &l->tree);
        *ret = l->tree;
        pthread_mutex_unlock(&l->lock);
        return r;
}

static void set_bit(uint32_t *bits, int32_t id) {
        bits[id / 32] |= 1u << (id % 32);
}

bool token_tree_allowed(const TokenTree *t, Matcher *m, uint32_t *state, uint64_t most, uint32_t *bits) {
        uint32_t path[MATCHER_PATH_MAX] = {*state};
        uint64_t until = matcher_work(m) + most;
        for (uint32_t i = 0; i < t->n_nodes;) {
                const Node *node = &t->nodes[i];
                if (matcher_work(m) > until)
                        break;
                uint32_t to = matcher_step(m, path, node->depth + 1u, node->byte);
                if (to == MATCHER_DEAD) {
                        i = node->after;
                        continue;
                }
                path[node->depth + 1] = to;
                for (uint32_t k = node->tokens; k < node[1].tokens; k++)
                        set_bit(bits, t->tokens[k]);
                i++;
        }
        *state = path[0];
        for (uint32_t i = 0; i < t->n_ends && matcher_accepts(m, *state); i++)
                set_bit(bits, t->ends[i]);
        return matcher_work(m) <= until;
}
