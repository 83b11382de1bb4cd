/* Special tokens in text: a byte trie, walked from every byte that starts one. Texts of special tokens are short and
 * share prefixes ("<|reserved_special_token_…"), so nodes are few and siblings are a plain list. */
#include <errno.h>
#include <stdlib.h>

#include "text/special.h"
#include "text/unicode.h"
#include "text/utf8.h"

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

int specials_add(Specials *s, const char *text, size_t len, int32_t id, unsigned flags) {
        uint32_t node = 0;
        for (size_t i = 0; i < len; i++) {
                int r = find_or_add_child(s, node, (uint8_t)text[i], &node);
                if (r < 0)
                        return r;
        }
        if (node != 0 && s->nodes[node].id < 0) {
                s->nodes[node].id = id;
                s->nodes[node].flags = (uint8_t)flags;
        }
        return 0;
}

/* Length of the longest special token that `text` starts with, or 0. */
static size_t longest_here(const Specials *s, const char *text, size_t len, bool parse, const SpecialNode **ret) {
        size_t longest = 0;
        uint32_t node = 0;
        for (size_t i = 0; i < len; i++) {
                node = find_child(s, node, (uint8_t)text[i]);
                if (!node)
                        break;
                const SpecialNode *at = &s->nodes[node];
                if (at->id >= 0 && (parse || (at->flags & SPECIAL_ORDINARY))) {
                        longest = i + 1;
                        *ret = at;
                }
        }
        return longest;
}

/* The character that ends before `at` > `from`, and where it starts; U+FFFD for what is no character. */
static int32_t char_before(const char *text, size_t from, size_t at, size_t *ret_start) {
        for (size_t n = 1; n <= 4 && n <= at - from; n++)
                if (utf8_char(text + at - n, n) == (int)n) {
                        const char *p = text + (*ret_start = at - n);
                        return unicode_next(&p);
                }
        *ret_start = at - 1;
        return 0xfffd;
}

static int32_t char_at(const char *text, size_t len, size_t at, size_t *ret_end) {
        int n = utf8_char(text + at, len - at);
        const char *p = text + at;
        *ret_end = at + (n > 0 ? (size_t)n : 1);
        return n > 0 ? unicode_next(&p) : 0xfffd;
}

static bool is_single_word(const char *text, size_t len, const SpecialMatch *m) {
        size_t unused;
        return (m->start == 0 || !unicode_is_word(char_before(text, 0, m->start, &unused))) &&
               (m->end == len || !unicode_is_word(char_at(text, len, m->end, &unused)));
}

static void take_white(const char *text, size_t len, size_t from, unsigned flags, SpecialMatch *m) {
        size_t next;
        while ((flags & SPECIAL_LSTRIP) && m->start > from &&
               unicode_is_white(char_before(text, from, m->start, &next)))
                m->start = next;
        while ((flags & SPECIAL_RSTRIP) && m->end < len && unicode_is_white(char_at(text, len, m->end, &next)))
                m->end = next;
}

bool specials_find(const Specials *s, const char *text, size_t len, size_t from, bool parse, SpecialMatch *ret) {
        for (size_t i = from; i < len; i++) {
                const SpecialNode *node;
                if (!s->first[(uint8_t)text[i]])
                        continue;
                size_t n = longest_here(s, text + i, len - i, parse, &node);
                if (n == 0)
                        continue;
                SpecialMatch m = {.start = i, .end = i + n, .id = node->id};
                if ((node->flags & SPECIAL_SINGLE_WORD) && !is_single_word(text, len, &m)) {
                        i = m.end - 1;
                        continue;
                }
                take_white(text, len, from, node->flags, &m);
                *ret = m;
                return true;
        }
        return false;
}
