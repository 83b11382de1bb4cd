/* Numbers within bounds, digit by digit; and, as it is the same work letter by letter, keys that are not those of a list.
 *
 * A number is a sign and a magnitude; magnitudes of one length from `low` to `high` share their first digits, or begin with
 * that of low and go on no lower, or with that of high and go on no higher, or with one between and go on as they like. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema-internal.h"
#include "text/utf8.h"

enum { DIGITS_MAX = 16, NAME_MAX = 100 };
#define MAGNITUDE_MAX 9999999999999999u /* of 16 digits */

/* ---- whole numbers ---- */

static GrammarNode digit_from(Schema *s, char first, char last) {
        return grammar_char(s->g, &(CharRange){(uint8_t)first, (uint8_t)last}, 1);
}

static GrammarNode digits_between(Schema *s, const char *low, const char *high, size_t n) {
        static const char zeros[] = "00000000000000000000", nines[] = "99999999999999999999";
        GrammarNode options[3];
        size_t k = 0;
        if (n == 0)
                return GRAMMAR_EMPTY;
        if (*low == *high)
                return grammar_sequence_of(s->g, grammar_text(s->g, low, 1), digits_between(s, low + 1, high + 1, n - 1));
        bool from_zero = memcmp(low + 1, zeros, n - 1) == 0, to_nine = memcmp(high + 1, nines, n - 1) == 0;
        char first = (char)(*low + !from_zero), last = (char)(*high - !to_nine);
        if (!from_zero)
                options[k++] = grammar_sequence_of(s->g, grammar_text(s->g, low, 1), digits_between(s, low + 1, nines, n - 1));
        if (first <= last)
                options[k++] = grammar_sequence_of(s->g, digit_from(s, first, last), grammar_repeat(s->g, s->j.digit, (uint32_t)n - 1, (uint32_t)n - 1));
        if (!to_nine)
                options[k++] = grammar_sequence_of(s->g, grammar_text(s->g, high, 1), digits_between(s, zeros, high + 1, n - 1));
        return grammar_choice(s->g, options, k);
}

/* Without leading zeros. */
static GrammarNode whole_between(Schema *s, uint64_t low, uint64_t high) {
        GrammarNode options[DIGITS_MAX + 1];
        size_t k = 0;
        uint64_t least = 0, most = 9;
        for (size_t n = 1; n <= DIGITS_MAX; n++, least = most + 1, most = most * 10 + 9) {
                char from[24], to[24];
                if (MAX(low, least) > MIN(high, most))
                        continue;
                snprintf(from, sizeof(from), "%llu", (unsigned long long)MAX(low, least));
                snprintf(to, sizeof(to), "%llu", (unsigned long long)MIN(high, most));
                options[k++] = digits_between(s, from, to, n);
        }
        return grammar_choice(s->g, options, k);
}

/* ---- magnitudes ---- */

typedef struct Bound {
        double at;      /* whole; infinite: none */
        bool exclusive; /* of fractions: `at` itself is out */
} Bound;

/* ".0…", or, with `more`, one that adds something. */
static GrammarNode fraction_of(Schema *s, bool more) {
        GrammarNode zeros = grammar_repeat(s->g, json_literal(s->g, "0"), more ? 0 : 1, DIGITS_MAX / 2);
        if (!more)
                return grammar_sequence_of(s->g, json_literal(s->g, "."), zeros);
        return grammar_sequence_of(s->g, json_literal(s->g, "."), zeros, digit_from(s, '1', '9'), grammar_repeat(s->g, s->j.digit, 0, DIGITS_MAX / 2));
}

static uint64_t magnitude_of(double x) {
        return x < (double)MAGNITUDE_MAX ? (uint64_t)x : MAGNITUDE_MAX;
}

/* From low to high, both at least 0. */
static GrammarNode magnitude(Schema *s, Bound low, Bound high, bool whole) {
        if (low.at > high.at || low.at > (double)MAGNITUDE_MAX)
                return s->j.never;
        uint64_t from = magnitude_of(low.at), to = magnitude_of(high.at);
        if (whole)
                return whole_between(s, from, to);
        GrammarNode options[3], zeros = grammar_optional(s->g, fraction_of(s, false));
        size_t k = 0;
        uint64_t inner = low.exclusive ? from + 1 : from;
        if (low.exclusive && from < to)
                options[k++] = grammar_sequence_of(s->g, whole_between(s, from, from), fraction_of(s, true));
        if (inner < to)
                options[k++] = grammar_sequence_of(s->g, whole_between(s, inner, to - 1), grammar_optional(s->g, s->j.fraction));
        if (!high.exclusive && inner <= to)
                options[k++] = grammar_sequence_of(s->g, whole_between(s, to, to), zeros);
        return grammar_choice(s->g, options, k);
}

static GrammarNode between(Schema *s, Bound low, Bound high, bool whole) {
        const Bound zero = {0, false};
        Bound minus_low = {-low.at, low.exclusive}, minus_high = {-high.at, high.exclusive};
        GrammarNode options[2];
        size_t k = 0;
        if (high.at >= 0)
                options[k++] = magnitude(s, low.at < 0 ? zero : low, high, whole);
        if (low.at < 0)
                options[k++] = grammar_sequence_of(s->g, json_literal(s->g, "-"), magnitude(s, high.at > 0 ? zero : minus_high, minus_low, whole));
        return grammar_choice(s->g, options, k);
}

/* ---- bounds ---- */

static void read_bound(Schema *s, const json_t *schema, const char *key, bool exclusive, int side, bool whole, Bound *ret) {
        const json_t *v = json_object_get(schema, key);
        double at = json_number_value(v);
        if (!v)
                return;
        if (!json_is_number(v) || !isfinite(at))
                schema_fail(s, key, "must be a number");
        if (whole) { /* the first whole number that is within */
                double in = side < 0 ? ceil(at) : floor(at);
                at = exclusive && in == at ? in - side : in;
        } else if (at != trunc(at) || fabs(at) > (double)MAGNITUDE_MAX)
                schema_fail(s, key, "must be a whole number; others are supported for integers only");
        bool closer = side < 0 ? at > ret->at : at < ret->at;
        if (closer || (at == ret->at && exclusive))
                *ret = (Bound){at, exclusive && !whole};
}

GrammarNode schema_number(Schema *s, const json_t *schema, bool whole) {
        Bound low = {-INFINITY, false}, high = {INFINITY, false};
        read_bound(s, schema, "minimum", false, -1, whole, &low);
        read_bound(s, schema, "exclusiveMinimum", true, -1, whole, &low);
        read_bound(s, schema, "maximum", false, 1, whole, &high);
        read_bound(s, schema, "exclusiveMaximum", true, 1, whole, &high);
        if (isinf(low.at) && isinf(high.at))
                return whole ? s->j.integer : s->j.number;
        return between(s, low, high, whole);
}

/* ---- keys that are none of some ---- */

typedef struct Names {
        const char **list; /* sorted */
        size_t n;
        GrammarNode rest; /* of a key that is different already */
} Names;

static int by_bytes(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static uint32_t code_of(const char *text, size_t n) {
        static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
        uint32_t c = (uint8_t)text[0] & masks[n];
        for (size_t i = 1; i < n; i++)
                c = c << 6 | ((uint8_t)text[i] & 0x3f);
        return c;
}

/* A character that is none of the n sorted ones, nor one that would have to be escaped. */
static GrammarNode char_besides(Schema *s, const uint32_t *codes, size_t n) {
        static const CharRange plain[] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
        _cleanup_free_ CharRange *ranges = calloc(n + ARRAY_SIZE(plain), sizeof(*ranges));
        size_t k = 0;
        for (size_t i = 0; ranges && i < ARRAY_SIZE(plain); i++) {
                uint32_t from = plain[i].first;
                for (size_t c = 0; c < n; c++)
                        if (codes[c] >= from && codes[c] <= plain[i].last) {
                                ranges[k++] = (CharRange){from, codes[c] - 1};
                                from = codes[c] + 1;
                        }
                ranges[k++] = (CharRange){from, plain[i].last};
        }
        return ranges ? grammar_char(s->g, ranges, k) : s->j.never;
}

/* What follows `at` bytes that the names from `first` on, n of them, have in common. */
static GrammarNode besides(Schema *s, const Names *names, size_t first, size_t n, size_t at) {
        _cleanup_free_ uint32_t *codes = calloc(n + 1, sizeof(*codes));
        _cleanup_free_ GrammarNode *options = calloc(n + 2, sizeof(*options));
        size_t k = 0, n_codes = 0, i = first;
        if (!codes || !options || grammar_is_full(s->g))
                return s->j.never;
        if (i < first + n && !names->list[i][at]) /* one ends here */
                i++;
        else
                options[k++] = s->j.quote;
        while (i < first + n) {
                const char *name = names->list[i] + at;
                int len = utf8_char(name, strlen(name));
                size_t same = i;
                while (same < first + n && strncmp(names->list[same] + at, name, (size_t)len) == 0)
                        same++;
                codes[n_codes++] = code_of(name, (size_t)len);
                options[k++] = grammar_sequence_of(s->g, grammar_text(s->g, name, (size_t)len), besides(s, names, i, same - i, at + (size_t)len));
                i = same;
        }
        options[k++] = grammar_sequence_of(s->g, char_besides(s, codes, n_codes), names->rest);
        return grammar_choice(s->g, options, k);
}

/* Such a name is never written plainly. */
static bool needs_escape(const char *name) {
        for (; *name; name++)
                if ((uint8_t)*name < ' ' || *name == '"' || *name == '\\')
                        return true;
        return false;
}

/* Written without escapes, so that none is a name in disguise. */
GrammarNode schema_other_key(Schema *s, const json_t *object) {
        Names names = {.list = calloc(json_object_size(object) + 1, sizeof(*names.list))};
        const char *name;
        const json_t *v;
        if (json_object_size(object) == 0 || !names.list) {
                free(names.list);
                return names.list ? s->j.string : s->j.never;
        }
        json_object_foreach((json_t *)object, name, v)
                if (strlen(name) > NAME_MAX)
                        schema_fail(s, "properties", "has a name of more than %d bytes, which is not supported besides additionalProperties", NAME_MAX);
                else if (!needs_escape(name))
                        names.list[names.n++] = name;
        qsort(names.list, names.n, sizeof(*names.list), by_bytes);
        names.rest = grammar_sequence_of(s->g, grammar_repeat(s->g, char_besides(s, NULL, 0), 0, GRAMMAR_EVER), s->j.quote);
        GrammarNode node = grammar_sequence_of(s->g, s->j.quote, besides(s, &names, 0, names.n, 0));
        free(names.list);
        return node;
}
