/* Special tokens in text: a byte trie, walked from every byte that starts one. Texts of special tokens are short and
 * share prefixes ("<|reserved_special_token_…"), so nodes are few and siblings are a plain list. */
#include <errno.h>
#include <stdlib.h>

#include "text/special.h"

void specials_deinit(Specials *s) {
        free(s->nodes);
        *s = (Specials){0};
}

static int add_node(Specials *s, uint8_t byte, uint32_t *ret) {
        if (s->n == s->cap) {
                size_t cap = s->cap ? s->cap * 2 : 64;
                if (cap > UINT32_MAX)
                        return -ENOMEM;
                SpecialNode *nodes = reallocarray(s->nodes, cap, sizeof(SpecialNode));
                if (!nodes)
                        return -ENOMEM;
                s->nodes = nodes;
                s->cap = cap;
                if (s->n == 0)
                        s->nodes[s->n++] = (SpecialNode){.id = -1};
        }
        s->nodes[s->n] = (SpecialNode){.id = -1, .byte = byte};
        *ret = (uint32_t)s->n++;
        return 0;
}

/* The child of `node` by `byte`, or 0. */
static uint32_t find_child(const Specials *s, uint32_t node, uint8_t byte) {
        if (node == 0)
                return s->first[byte];
        uint32_t child = s->nodes[node].child;
        while (child && s->nodes[child].byte != byte)
                child = s->nodes[child].sibling;
        return child;
}

static int find_or_add_child(Specials *s, uint32_t node, uint8_t byte, uint32_t *ret) {
        *ret = find_child(s, node, byte);
        if (*ret)
                return 0;
        int r = add_node(s, byte, ret);
        if (r < 0)
                return r;
        if (node == 0) {
                s->first[byte] = *ret;
        } else {
                s->nodes[*ret].sibling = s->nodes[node].child;
                s->nodes[node].child = *ret;
        }
        return 0;
}

int specials_add(Specials *s, const char *text, size_t len, int32_t id, bool ordinary) {
        uint32_t node = 0;
        for (size_t i = 0; i < len; i++) {
                int r = find_or_add_child(s, node, (uint8_t)text[i], &node);
                if (r < 0)
                        return r;
        }
        if (node != 0 && s->nodes[node].id < 0) {
                s->nodes[node].id = id;
                s->nodes[node].ordinary = ordinary;
        }
        return 0;
}

/* Length of the longest special token that `text` starts with, or 0. */
static size_t longest_here(const Specials *s, const char *text, size_t len, bool parse, int32_t *ret_id) {
        size_t longest = 0;
        uint32_t node = 0;
        for (size_t i = 0; i < len; i++) {
                node = find_child(s, node, (uint8_t)text[i]);
                if (!node)
                        break;
                const SpecialNode *at = &s->nodes[node];
                if (at->id >= 0 && (parse || at->ordinary)) {
                        longest = i + 1;
                        *ret_id = at->id;
                }
        }
        return longest;
}

size_t specials_find(const Specials *s, const char *text, size_t len, bool parse, int32_t *ret_id, size_t *ret_len) {
        *ret_len = 0;
        for (size_t i = 0; i < len; i++) {
                if (!s->first[(uint8_t)text[i]])
                        continue;
                *ret_len = longest_here(s, text + i, len - i, parse, ret_id);
                if (*ret_len > 0)
                        return i;
        }
        return len;
}
