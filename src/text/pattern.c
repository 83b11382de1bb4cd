/* See pattern.h. A class of characters becomes the ways in which its characters are written in a JSON string: as they are,
 * or, where JSON wants that, escaped. Where engines differ about what \d, \w, \s and their negations are, it is what all agree
 * about. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chars.h"
#include "text/pattern.h"
#include "util/macro.h"
#include "util/str.h"

enum { DEPTH_MAX = 32, PARTS_MAX = 1000, COUNT_MAX = 1000 };

typedef struct Pattern {
        Grammar *g;
        const JsonGrammar *j; /* NULL: of plain text */
        GrammarNode never;
        const char *at;
        unsigned depth;
        Error *e;
        bool failed;
} Pattern;

static GrammarNode fail(Pattern *p, const char *what) {
        if (!p->failed)
                error_set(p->e, -EINVAL, "%s (at '%.*s')", what, utf8_shown(p->at, 20), p->at);
        p->failed = true;
        return p->never;
}

/* ---- classes ---- */

/* \d, \w and \s: what they are by all engines, and what further they may be by some, generously. */
static const struct Shorthand {
        char letter;
        CharRange sure[4], perhaps[12];
} shorthands[] = {
        {'d', {{'0', '9'}}, {{0x660, 0x1fff}, {0xa000, 0xabff}, {0xf900, 0x1f2ff}, {0x1fb00, UNICODE_MAX}}},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}}, {{0x80, UNICODE_MAX}}},
        {'s', {{'\t', '\r'}, {' ', ' '}}, {{0x1c, 0x1f}, {0x85, 0x85}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f},
                                           {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}}},
};

static void add_ranges(CharSet *c, const CharRange *ranges, size_t n) {
        for (size_t i = 0; i < n && ranges[i].last > 0; i++)
                char_set_add(c, ranges[i].first, ranges[i].last);
}

/* One of them, or, with a capital letter, its negation, in a class that may be negated as a whole. */
static void add_shorthand(CharSet *c, char letter, bool negated) {
        CharSet s = {.n = 0};
        bool not = letter < 'a';
        const struct Shorthand *h = shorthands;
        while (h->letter != (letter | 0x20))
                h++;
        add_ranges(&s, h->sure, ARRAY_SIZE(h->sure));
        if (not != negated)
                add_ranges(&s, h->perhaps, ARRAY_SIZE(h->perhaps));
        if (not)
                char_set_negate(&s);
        add_ranges(c, s.ranges, s.n);
}

static uint32_t hex(Pattern *p, size_t digits) {
        uint32_t c = 0;
        if (!read_hex(&p->at, digits, &c))
                fail(p, "has an escape without its hexadecimal digits");
        return c;
}

static uint32_t next_char(Pattern *p) {
        uint32_t c = 0;
        if (!read_char(&p->at, &c))
                fail(p, "is not UTF-8");
        return c;
}

/* What follows a backslash and is one character. */
static uint32_t escaped(Pattern *p) {
        static const char letters[] = "ntrfv0", meant[] = "\n\t\r\f\v";
        const char *letter = strchr(letters, *p->at);
        if (*p->at && letter) {
                p->at++;
                return (uint8_t)meant[letter - letters];
        }
        if (*p->at == 'x' || *p->at == 'u')
                return hex(p, *p->at++ == 'x' ? 2 : 4);
        bool known = !*p->at || (*p->at >= '1' && *p->at <= '9') || (*p->at >= 'a' && *p->at <= 'z') || (*p->at >= 'A' && *p->at <= 'Z');
        if (known) {
                fail(p, "has an escape that is not supported");
                return 0;
        }
        return next_char(p);
}

static bool is_shorthand(const char *at) {
        return at[0] == '\\' && at[1] && strchr("dDwWsS", at[1]);
}

static void read_class(Pattern *p, CharSet *c) {
        bool not = *p->at == '^';
        p->at += not;
        while (*p->at && *p->at != ']' && !p->failed) {
                if (is_shorthand(p->at)) {
                        add_shorthand(c, p->at[1], not);
                        p->at += 2;
                        continue;
                }
                bool backslash = *p->at == '\\';
                p->at += backslash;
                uint32_t first = backslash && *p->at == 'b' ? (p->at++, 8u) : backslash ? escaped(p) : next_char(p), last = first;
                if (p->at[0] == '-' && p->at[1] && p->at[1] != ']' && !is_shorthand(p->at + 1)) {
                        p->at++;
                        backslash = *p->at == '\\';
                        p->at += backslash;
                        last = backslash ? escaped(p) : next_char(p);
                }
                if (first > last)
                        fail(p, "has a range that ends before it begins");
                char_set_add(c, first, last);
        }
        if (*p->at == ']')
                p->at++;
        else
                fail(p, "has a [ without its ]");
        if (not)
                char_set_negate(c);
        if (c->full)
                fail(p, "has a class of too many characters");
}

/* ---- in JSON ---- */

static GrammarNode escape_of(Grammar *g, uint32_t c) {
        static const char shorts[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
        const char *is_short = c > 0 ? strchr(shorts, (int)c) : NULL;
        char text[8];
        if (is_short)
                snprintf(text, sizeof(text), "\\%c", letters[is_short - shorts]);
        else
                snprintf(text, sizeof(text), "\\u%04x", (unsigned)(c & 0xffff));
        return json_literal(g, text);
}

static GrammarNode in_json(Grammar *g, const CharSet *c) {
        static const CharRange plain[] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
        CharRange ranges[3 * CHAR_SET_MAX];
        GrammarNode options[64];
        size_t n = 0, n_options = 0;
        for (uint32_t code = 0; code <= '\\'; code++) { /* what must be escaped */
                bool in = false;
                for (size_t i = 0; i < c->n; i++)
                        in |= code >= c->ranges[i].first && code <= c->ranges[i].last;
                if (in && (code < ' ' || code == '"' || code == '\\'))
                        options[n_options++] = escape_of(g, code);
        }
        for (size_t i = 0; i < c->n; i++)
                for (size_t k = 0; k < ARRAY_SIZE(plain); k++)
                        ranges[n++] = (CharRange){MAX(c->ranges[i].first, plain[k].first), MIN(c->ranges[i].last, plain[k].last)};
        options[n_options++] = grammar_char(g, ranges, n);
        return grammar_choice(g, options, n_options);
}

static GrammarNode one_of(Pattern *p, const CharSet *c) {
        if (p->failed)
                return p->never;
        return p->j ? in_json(p->g, c) : grammar_char(p->g, c->ranges, c->n);
}

/* ---- expressions ---- */

static GrammarNode alternatives(Pattern *p, bool outermost);

static GrammarNode group(Pattern *p) {
        if (p->at[0] == '?') {
                const char *name = p->at + (p->at[1] == 'P' ? 2 : 1); /* as in ECMA-262, or as in Python */
                const char *name_end = name[0] == '<' && name[1] != '=' && name[1] != '!' ? strchr(name, '>') : NULL;
                if (p->at[1] == ':')
                        p->at += 2;
                else if (name_end)
                        p->at = name_end + 1;
                else
                        return fail(p, "has an assertion or a flag, which is not supported");
        }
        GrammarNode node = alternatives(p, false);
        if (*p->at != ')')
                return fail(p, "has a ( without its )");
        p->at++;
        return node;
}

static GrammarNode atom(Pattern *p) {
        CharSet c = {.n = 0};
        char first = *p->at;
        if (strchr("^$*+?{", first))
                return fail(p, first == '^' || first == '$' ? "has ^ or $ elsewhere than at its ends" : "repeats nothing");
        if (is_shorthand(p->at)) {
                add_shorthand(&c, p->at[1], false);
                p->at += 2;
                return one_of(p, &c);
        }
        if (first == '(' || first == '[' || first == '\\' || first == '.')
                p->at++;
        if (first == '(')
                return group(p);
        if (first == '[')
                read_class(p, &c);
        else if (first == '.') {
                static const CharRange breaks[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
                add_ranges(&c, breaks, ARRAY_SIZE(breaks));
                char_set_negate(&c);
        } else {
                uint32_t code = first == '\\' ? escaped(p) : next_char(p);
                char_set_add(&c, code, code);
        }
        return one_of(p, &c);
}

/* A number of repetitions; -1: there is none. */
static int count(Pattern *p) {
        int n = -1;
        for (; *p->at >= '0' && *p->at <= '9' && n <= COUNT_MAX; p->at++)
                n = MAX(n, 0) * 10 + (*p->at - '0');
        if (n > COUNT_MAX)
                fail(p, "has more than 1000 repetitions of something");
        return n;
}

static GrammarNode repeated(Pattern *p, GrammarNode what) {
        uint32_t least = *p->at == '+', most = *p->at == '?' ? 1 : GRAMMAR_EVER;
        if (!*p->at || !strchr("*+?{", *p->at))
                return what;
        if (*p->at++ == '{') {
                int from = count(p), to = from;
                if (*p->at == ',') {
                        p->at++;
                        to = count(p);
                        most = to < 0 ? GRAMMAR_EVER : (uint32_t)to;
                } else
                        most = (uint32_t)MAX(to, 0);
                if (*p->at != '}' || from < 0 || most < (uint32_t)from)
                        return fail(p, "has a { that says no number of repetitions");
                p->at++;
                least = (uint32_t)from;
        }
        if (*p->at == '?') /* as few as possible: the same texts match */
                p->at++;
        return grammar_repeat(p->g, what, least, most);
}

static GrammarNode anything(const JsonGrammar *j) {
        return grammar_repeat(j->g, j->one, 0, GRAMMAR_EVER);
}

static GrammarNode alternative(Pattern *p, bool outermost) {
        GrammarNode parts[PARTS_MAX + 2]; /* and anything before and after */
        size_t n = 0;
        bool from_start = outermost && *p->at == '^', to_end = false;
        p->at += from_start;
        if (outermost && p->j && !from_start)
                parts[n++] = anything(p->j);
        while (*p->at && *p->at != '|' && *p->at != ')' && !to_end && !p->failed) {
                to_end = outermost && p->at[0] == '$' && (!p->at[1] || p->at[1] == '|');
                p->at += to_end;
                if (!to_end && n > PARTS_MAX)
                        return fail(p, "has more than 1000 parts in a row");
                if (!to_end) {
                        GrammarNode what = atom(p);
                        parts[n++] = repeated(p, what);
                }
        }
        if (outermost && p->j && !to_end)
                parts[n++] = anything(p->j);
        return grammar_sequence(p->g, parts, n);
}

static GrammarNode alternatives(Pattern *p, bool outermost) {
        GrammarNode node = p->never;
        if (p->depth++ == DEPTH_MAX)
                fail(p, "is nested too deeply");
        for (bool more = true; more && !p->failed;) {
                node = grammar_choice_of(p->g, node, alternative(p, outermost));
                more = *p->at == '|';
                p->at += more;
        }
        p->depth--;
        return node;
}

static int compile(Pattern *p, GrammarNode *ret) {
        *ret = alternatives(p, true);
        if (*p->at && !p->failed)
                fail(p, "has a ) without its (");
        return p->failed ? -EINVAL : 0;
}

int pattern_compile(const JsonGrammar *j, const char *pattern, GrammarNode *ret, Error *e) {
        Pattern p = {.g = j->g, .j = j, .never = j->never, .at = pattern, .e = e};
        GrammarNode content;
        int r = compile(&p, &content);
        if (r == 0)
                *ret = grammar_sequence_of(j->g, j->quote, content, j->quote);
        return r;
}

int pattern_compile_plain(const char *name, const char *text, size_t len, Grammar *g, Error *e) {
        _cleanup_free_ char *pattern = strndup(text ? text : "", len);
        Pattern p = {.g = g, .never = grammar_choice(g, NULL, 0), .at = pattern, .e = e};
        GrammarNode root = p.never;
        int r = pattern ? 0 : error_set(e, -ENOMEM, "not enough memory for it");
        if (r == 0)
                r = strlen(pattern) == len ? compile(&p, &root) : error_set(e, -EINVAL, "has a NUL byte");
        if (r == 0)
                r = grammar_finish(g, root, e);
        return r < 0 ? error_prefix(e, "%s", name) : 0;
}
