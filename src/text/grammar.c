/* Making a grammar; see grammar.h.
 *
 * `need` is what makes depth safe: to come through a node a matcher has to remember so many continuations at once, at
 * the least. A matcher enters a node only where that many fit below GRAMMAR_DEPTH. As a sequence needs what the
 * neediest of its parts does, and a choice what the least needy of its options does, whatever is entered can be left
 * again: no text leads to where it cannot be completed. A node with which no text ends needs more than there is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar.h"
#include "util/macro.h"

enum { NEED_TOO_MUCH = GRAMMAR_DEPTH + 1, CHILDREN_MAX = 8 * GRAMMAR_NODES_MAX, TEXTS_MAX = 16 * 1024 * 1024, ROUNDS_MAX = 512 };

/* ---- memory ---- */

/* Room for n more; NULL after a failure. */
static void *room(Grammar *g, void **array, size_t size, uint32_t used, uint32_t *cap, size_t n, uint32_t most) {
        if (!g->failed && n > most - used)
                g->failed = -E2BIG;
        if (g->failed)
                return NULL;
        if (used + n > *cap) {
                uint32_t more = MAX((uint32_t)(used + n), MAX(*cap * 2, 64u));
                void *p = realloc(*array, more * size);
                if (!p) {
                        g->failed = -ENOMEM;
                        return NULL;
                }
                *array = p;
                *cap = more;
        }
        return (char *)*array + used * size;
}

#define ROOM(g, what, n, most) \
        room(g, (void **)&(g)->what, sizeof(*(g)->what), (g)->n_##what, &(g)->cap_##what, n, most)

static GrammarNode put_item(Grammar *g, GrammarItem item) {
        GrammarItem *to = ROOM(g, items, 1, GRAMMAR_NODES_MAX);
        if (!to)
                return GRAMMAR_EMPTY;
        *to = item;
        return g->n_items++;
}

int grammar_new(Grammar **ret) {
        Grammar *g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        grammar_sequence(g, NULL, 0); /* GRAMMAR_EMPTY */
        if (g->failed) {
                grammar_free(g);
                return -ENOMEM;
        }
        *ret = g;
        return 0;
}

void grammar_free(Grammar *g) {
        if (!g)
                return;
        free(g->items);
        free(g->children);
        free(g->sets);
        free(g->texts);
        free(g);
}

bool grammar_is_full(const Grammar *g) {
        return g->failed;
}

/* ---- leaves ---- */

GrammarNode grammar_text(Grammar *g, const char *text, size_t len) {
        if (len == 0)
                return GRAMMAR_EMPTY;
        char *to = ROOM(g, texts, len, TEXTS_MAX);
        if (!to)
                return GRAMMAR_EMPTY;
        memcpy(to, text, len);
        g->n_texts += (uint32_t)len;
        return put_item(g, (GrammarItem){.kind = GRAMMAR_TEXT, .first = g->n_texts - (uint32_t)len, .n = (uint32_t)len});
}

/* Of equal sets one node; most equal ones are made close together. */
static GrammarNode put_set(Grammar *g, const uint64_t bits[4]) {
        enum { NEAR = 64 };
        for (uint32_t i = g->n_sets; i > 0 && i + NEAR > g->n_sets; i--)
                if (memcmp(g->sets[i - 1].bits, bits, sizeof(g->sets->bits)) == 0)
                        return g->sets[i - 1].node;
        ByteSet *set = ROOM(g, sets, 1, GRAMMAR_NODES_MAX);
        if (!set)
                return GRAMMAR_EMPTY;
        memcpy(set->bits, bits, sizeof(set->bits));
        set->node = put_item(g, (GrammarItem){.kind = GRAMMAR_BYTES, .first = g->n_sets++});
        return g->failed ? GRAMMAR_EMPTY : g->sets[g->n_sets - 1].node;
}

static void add_bytes(uint64_t bits[4], uint32_t first, uint32_t last) {
        for (uint32_t byte = first; byte <= last; byte++)
                bits[byte / 64] |= 1ull << (byte % 64);
}

/* ---- characters ---- */

typedef struct Chars { /* that are being put together */
        Grammar *g;
        uint64_t ascii[4];
        GrammarNode *options; /* malloc'd */
        size_t n, cap;
} Chars;

static void put_option(Chars *c, GrammarNode option) {
        if (c->n == c->cap) {
                size_t cap = MAX(c->cap * 2, (size_t)16);
                GrammarNode *p = realloc(c->options, cap * sizeof(*p));
                if (!p) {
                        c->g->failed = -ENOMEM;
                        return;
                }
                c->options = p;
                c->cap = cap;
        }
        c->options[c->n++] = option;
}

static size_t encode(uint32_t c, uint8_t out[4]) {
        if (c < 0x800) {
                out[0] = (uint8_t)(0xc0 | c >> 6);
                out[1] = (uint8_t)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (uint8_t)(0xe0 | c >> 12);
                out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
                out[2] = (uint8_t)(0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (uint8_t)(0xf0 | c >> 18);
        out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[3] = (uint8_t)(0x80 | (c & 0x3f));
        return 4;
}

/* A range whose characters are one range of each byte. */
static void put_encoded(Chars *c, uint32_t first, uint32_t last) {
        uint8_t low[4], high[4];
        GrammarNode parts[4];
        size_t n = encode(first, low);
        encode(last, high);
        for (size_t i = 0; i < n; i++) {
                uint64_t bits[4] = {0};
                add_bytes(bits, low[i], high[i]);
                parts[i] = put_set(c->g, bits);
        }
        put_option(c, grammar_sequence(c->g, parts, n));
}

/* Splits a range of characters of the same length until put_encoded() can have the parts. */
static void split(Chars *c, uint32_t first, uint32_t last) {
        for (unsigned shift = 6; shift <= 18; shift += 6) {
                uint32_t mask = (1u << shift) - 1;
                if ((first & ~mask) == (last & ~mask))
                        break;
                if (first & mask) {
                        split(c, first, first | mask);
                        split(c, (first | mask) + 1, last);
                        return;
                }
                if ((last & mask) != mask) {
                        split(c, first, (last & ~mask) - 1);
                        split(c, last & ~mask, last);
                        return;
                }
        }
        put_encoded(c, first, last);
}

static void put_range(Chars *c, CharRange r) {
        static const CharRange lengths[] = {{0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
        if (r.first <= 0x7f && r.first <= r.last)
                add_bytes(c->ascii, r.first, MIN(r.last, 0x7fu));
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
                uint32_t first = MAX(r.first, lengths[i].first), last = MIN(r.last, lengths[i].last);
                if (first <= last)
                        split(c, first, last);
        }
}

GrammarNode grammar_char(Grammar *g, const CharRange *ranges, size_t n) {
        static const uint64_t none[4];
        Chars c = {.g = g};
        for (size_t i = 0; i < n && !g->failed; i++)
                put_range(&c, ranges[i]);
        if (memcmp(c.ascii, none, sizeof(none)) != 0)
                put_option(&c, put_set(g, c.ascii));
        GrammarNode node = grammar_choice(g, c.options, c.n);
        free(c.options);
        return node;
}

/* ---- inner nodes ---- */

static GrammarNode put_children(Grammar *g, GrammarKind kind, const GrammarNode *children, size_t n) {
        GrammarNode *to = n > 0 ? ROOM(g, children, n, CHILDREN_MAX) : NULL;
        if (n > 0 && !to)
                return GRAMMAR_EMPTY;
        if (n > 0)
                memcpy(to, children, n * sizeof(*to));
        g->n_children += (uint32_t)n;
        return put_item(g, (GrammarItem){.kind = (uint8_t)kind, .first = g->n_children - (uint32_t)n, .n = (uint32_t)n});
}

GrammarNode grammar_sequence(Grammar *g, const GrammarNode *parts, size_t n) {
        return n == 1 ? parts[0] : put_children(g, GRAMMAR_SEQUENCE, parts, n);
}

GrammarNode grammar_choice(Grammar *g, const GrammarNode *options, size_t n) {
        return n == 1 ? options[0] : put_children(g, GRAMMAR_CHOICE, options, n);
}

GrammarNode grammar_repeat(Grammar *g, GrammarNode what, uint32_t least, uint32_t most) {
        return put_item(g, (GrammarItem){.kind = GRAMMAR_REPEAT, .first = what, .n = least, .most = most});
}

GrammarNode grammar_reserve(Grammar *g) {
        return put_children(g, GRAMMAR_CHOICE, &(GrammarNode){GRAMMAR_EMPTY}, 1);
}

void grammar_define(Grammar *g, GrammarNode reserved, GrammarNode as) {
        if (!g->failed)
                g->children[g->items[reserved].first] = as;
}

/* ---- left recursion ---- */

static bool is_optional(const Grammar *g, const GrammarItem *item, const bool *optional) {
        const GrammarNode *children = g->children + item->first;
        switch (item->kind) {
        case GRAMMAR_SEQUENCE:
                for (uint32_t i = 0; i < item->n; i++)
                        if (!optional[children[i]])
                                return false;
                return true;
        case GRAMMAR_CHOICE:
                for (uint32_t i = 0; i < item->n; i++)
                        if (optional[children[i]])
                                return true;
                return false;
        case GRAMMAR_REPEAT:
                return item->n == 0 || optional[item->first];
        default:
                return false;
        }
}

/* Which nodes may be the empty text; see find_needs(). */
static int find_optional(const Grammar *g, bool *optional) {
        bool changed = true;
        for (int round = 0; changed && round < ROUNDS_MAX; round++) {
                changed = false;
                for (uint32_t k = 0; k < g->n_items; k++) {
                        uint32_t i = round % 2 ? g->n_items - 1 - k : k;
                        bool is = optional[i] || is_optional(g, &g->items[i], optional);
                        changed |= is != optional[i];
                        optional[i] = is;
                }
        }
        return changed ? -E2BIG : 0;
}

/* The i-th node that this one can begin with. */
static bool beginning(const Grammar *g, GrammarNode node, uint32_t i, const bool *optional, GrammarNode *ret) {
        const GrammarItem *item = &g->items[node];
        const GrammarNode *children = g->children + item->first;
        if (item->kind == GRAMMAR_REPEAT && i == 0) {
                *ret = item->first;
                return item->most > 0;
        }
        if ((item->kind != GRAMMAR_SEQUENCE && item->kind != GRAMMAR_CHOICE) || i >= item->n)
                return false;
        if (item->kind == GRAMMAR_SEQUENCE && i > 0 && !optional[children[i - 1]])
                return false;
        *ret = children[i];
        return true;
}

typedef struct Visit {
        GrammarNode node;
        uint32_t next; /* of what it can begin with */
} Visit;

typedef enum Visited { VISITED_NOT, VISITED_OPEN, VISITED } Visited;

/* Depth first, along what nodes can begin with. A way that comes to a node that is open is a circle, and no circle is without
 * a reserved node, which alone is a choice of one. */
static bool find_circle(const Grammar *g, GrammarNode from, const bool *optional, uint8_t *visited, Visit *path, GrammarNode *ret) {
        size_t n = 0;
        if (visited[from] == VISITED_NOT)
                path[n++] = (Visit){from, 0};
        while (n > 0) {
                Visit *v = &path[n - 1];
                GrammarNode next;
                visited[v->node] = VISITED_OPEN;
                if (!beginning(g, v->node, v->next++, optional, &next)) {
                        visited[v->node] = VISITED;
                        n--;
                } else if (visited[next] == VISITED_OPEN) {
                        while (g->items[path[n - 1].node].kind != GRAMMAR_CHOICE || g->items[path[n - 1].node].n != 1)
                                n--;
                        *ret = path[n - 1].node;
                        return true;
                } else if (visited[next] == VISITED_NOT)
                        path[n++] = (Visit){next, 0};
        }
        return false;
}

int grammar_find_left_recursion(const Grammar *g, GrammarNode *ret) {
        _cleanup_free_ bool *optional = calloc(g->n_items, sizeof(*optional));
        _cleanup_free_ uint8_t *visited = calloc(g->n_items, sizeof(*visited));
        _cleanup_free_ Visit *path = calloc(g->n_items, sizeof(*path));
        if (!optional || !visited || !path)
                return -ENOMEM;
        int r = find_optional(g, optional);
        for (GrammarNode i = 0; i < g->n_items && r == 0; i++)
                r = find_circle(g, i, optional, visited, path, ret);
        return r;
}

/* ---- finishing ---- */

static uint32_t need_of(const Grammar *g, const GrammarItem *item) {
        const GrammarNode *children = g->children + item->first;
        uint32_t need = item->kind == GRAMMAR_CHOICE ? NEED_TOO_MUCH : 0;
        switch (item->kind) {
        case GRAMMAR_SEQUENCE:
                for (uint32_t i = 0; i < item->n; i++)
                        need = MAX(need, g->items[children[i]].need + (uint32_t)(i + 1 < item->n));
                break;
        case GRAMMAR_CHOICE:
                for (uint32_t i = 0; i < item->n; i++)
                        need = MIN(need, (uint32_t)g->items[children[i]].need);
                break;
        case GRAMMAR_REPEAT:
                need = item->n > 0 ? g->items[item->first].need + 1u : 0;
                break;
        default:
                break;
        }
        return MIN(need, (uint32_t)NEED_TOO_MUCH);
}

/* From above: needs only ever fall. Most nodes come after those they are made of, so a round or two do. */
static int find_needs(Grammar *g) {
        bool changed = true;
        for (uint32_t i = 0; i < g->n_items; i++)
                g->items[i].need = NEED_TOO_MUCH;
        for (int round = 0; changed && round < ROUNDS_MAX; round++) {
                changed = false;
                for (uint32_t i = 0; i < g->n_items; i++) {
                        GrammarItem *item = &g->items[round % 2 ? g->n_items - 1 - i : i];
                        uint16_t need = (uint16_t)need_of(g, item);
                        changed |= need != item->need;
                        item->need = need;
                }
        }
        return changed ? -E2BIG : 0;
}

/* Parts the classes at each set's border. */
static void find_classes(Grammar *g) {
        g->n_classes = 1;
        memset(g->classes, 0, sizeof(g->classes));
        for (uint32_t i = 0; i < g->n_sets + 256 && g->n_classes < 256; i++) {
                int16_t parted[256];
                ByteSet one = {.bits = {0}}; /* each byte that stands in a text is a set, too */
                bool in_text = false;
                if (i >= g->n_sets) {
                        add_bytes(one.bits, i - g->n_sets, i - g->n_sets);
                        in_text = g->n_texts > 0 && memchr(g->texts, (int)(i - g->n_sets), g->n_texts);
                }
                if (i >= g->n_sets && !in_text)
                        continue;
                const ByteSet *set = i < g->n_sets ? &g->sets[i] : &one;
                uint32_t inside[256] = {0}, outside[256] = {0};
                for (uint32_t b = 0; b < 256; b++)
                        (byte_set_has(set, (uint8_t)b) ? inside : outside)[g->classes[b]]++;
                for (uint32_t c = 0, n = g->n_classes; c < n; c++)
                        parted[c] = inside[c] > 0 && outside[c] > 0 ? (int16_t)g->n_classes++ : -1;
                for (uint32_t b = 0; b < 256; b++)
                        if (byte_set_has(set, (uint8_t)b) && parted[g->classes[b]] >= 0)
                                g->classes[b] = (uint8_t)parted[g->classes[b]];
        }
}

int grammar_finish(Grammar *g, GrammarNode root, Error *e) {
        if (g->failed == -E2BIG)
                return error_set(e, -E2BIG, "it is too large: more than %d rules come of it", GRAMMAR_NODES_MAX);
        if (g->failed)
                return error_set(e, g->failed, "not enough memory for it");
        g->root = root;
        if (find_needs(g) < 0)
                return error_set(e, -E2BIG, "too many of its parts refer to one another in a row");
        find_classes(g);
        if (g->items[root].need > GRAMMAR_DEPTH)
                return error_set(e, -EINVAL, "nothing can match it, or only what is nested deeper than %d", GRAMMAR_DEPTH);
        return 0;
}
