/* See pattern.h. A class of characters becomes the ways in which its characters are written in a JSON string: as they are,
 * or, where JSON wants that, escaped. Where engines differ about what \s and the negations of \d, \w and \s are, it is what all
 * agree about. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/pattern.h"
#include "text/utf8.h"
#include "util/macro.h"

enum { RANGES_MAX = 256, DEPTH_MAX = 32, PARTS_MAX = 1024, COUNT_MAX = 1000 };

typedef struct Class {
        CharRange ranges[RANGES_MAX];
        size_t n;
        bool ascii; /* of its complement only that counts */
} Class;

typedef struct Pattern {
        const JsonGrammar *j;
        const char *at;
        unsigned depth;
        Error *e;
        bool failed;
} Pattern;

static GrammarNode fail(Pattern *p, const char *what) {
        if (!p->failed)
                error_set(p->e, -EINVAL, "%s (at '%.20s')", what, p->at);
        p->failed = true;
        return p->j->never;
}

/* ---- classes ---- */

static void add(Pattern *p, Class *c, uint32_t first, uint32_t last) {
        if (c->n == RANGES_MAX)
                fail(p, "has a class of too many characters");
        else if (first <= last)
                c->ranges[c->n++] = (CharRange){first, last};
}

static int by_first(const void *a, const void *b) {
        const CharRange *x = a, *y = b;
        return (x->first > y->first) - (x->first < y->first);
}

static void negate(Pattern *p, Class *c) {
        Class out = {.n = 0};
        uint32_t from = 0, end = c->ascii ? 0x7e : 0x10ffff;
        qsort(c->ranges, c->n, sizeof(*c->ranges), by_first);
        for (size_t i = 0; i < c->n; i++) {
                if (c->ranges[i].first > from && from <= end)
                        add(p, &out, from, MIN(c->ranges[i].first - 1, end));
                from = MAX(from, c->ranges[i].last + 1);
        }
        if (from <= end)
                add(p, &out, from, end);
        *c = out;
}

/* \d, \w, \s and their negations. */
static void add_shorthand(Pattern *p, Class *c, char letter, bool negated) {
        Class s = {.ascii = true};
        char lower = (char)(letter | 0x20);
        bool not = letter != lower;
        if (lower == 'd' || lower == 'w')
                add(p, &s, '0', '9');
        if (lower == 'w') {
                add(p, &s, 'A', 'Z');
                add(p, &s, 'a', 'z');
                add(p, &s, '_', '_');
        }
        if (lower == 's') {
                add(p, &s, '\t', '\r');
                add(p, &s, not || negated ? 28 : ' ', ' ');
        }
        if (not)
                negate(p, &s);
        for (size_t i = 0; i < s.n; i++)
                add(p, c, s.ranges[i].first, s.ranges[i].last);
        c->ascii = true;
}

static uint32_t hex(Pattern *p, size_t digits) {
        uint32_t c = 0;
        for (size_t i = 0; i < digits; i++) {
                static const char all[] = "0123456789abcdef";
                const char *d = *p->at ? strchr(all, *p->at | 0x20) : NULL;
                if (!d) {
                        fail(p, "has an escape without its hexadecimal digits");
                        return 0;
                }
                c = c * 16 + (uint32_t)(d - all);
                p->at++;
        }
        return c;
}

/* The character that stands here. */
static uint32_t next_char(Pattern *p) {
        static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
        int n = utf8_char(p->at, strlen(p->at));
        if (n <= 0) {
                fail(p, "is not UTF-8");
                return 0;
        }
        uint32_t c = (uint8_t)*p->at & masks[n];
        for (int i = 1; i < n; i++)
                c = c << 6 | ((uint8_t)p->at[i] & 0x3f);
        p->at += n;
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

static void read_class(Pattern *p, Class *c) {
        bool not = *p->at == '^';
        p->at += not;
        while (*p->at && *p->at != ']' && !p->failed) {
                if (is_shorthand(p->at)) {
                        add_shorthand(p, c, p->at[1], not);
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
                add(p, c, first, last);
        }
        if (*p->at == ']')
                p->at++;
        else
                fail(p, "has a [ without its ]");
        if (not)
                negate(p, c);
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

static GrammarNode in_json(Pattern *p, const Class *c) {
        static const CharRange plain[] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
        Grammar *g = p->j->g;
        CharRange ranges[3 * RANGES_MAX];
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

/* ---- expressions ---- */

static GrammarNode alternatives(Pattern *p, bool outermost);

static GrammarNode group(Pattern *p) {
        if (p->at[0] == '?') {
                const char *name_end = p->at[1] == '<' && p->at[2] != '=' && p->at[2] != '!' ? strchr(p->at, '>') : NULL;
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
        Class c = {.n = 0};
        char first = *p->at;
        if (strchr("^$*+?{", first))
                return fail(p, first == '^' || first == '$' ? "has ^ or $ elsewhere than at its ends" : "repeats nothing");
        if (is_shorthand(p->at)) {
                add_shorthand(p, &c, p->at[1], false);
                p->at += 2;
                return in_json(p, &c);
        }
        if (first == '(' || first == '[' || first == '\\' || first == '.')
                p->at++;
        if (first == '(')
                return group(p);
        if (first == '[')
                read_class(p, &c);
        else if (first == '.') {
                static const CharRange breaks[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
                memcpy(c.ranges, breaks, sizeof(breaks));
                c.n = ARRAY_SIZE(breaks);
                negate(p, &c);
        } else {
                uint32_t code = first == '\\' ? escaped(p) : next_char(p);
                add(p, &c, code, code);
        }
        return p->failed ? p->j->never : in_json(p, &c);
}

/* A number of repetitions; -1: there is none. */
static int count(Pattern *p) {
        int n = -1;
        for (; *p->at >= '0' && *p->at <= '9' && n <= COUNT_MAX; p->at++)
                n = MAX(n, 0) * 10 + (*p->at - '0');
        if (n > COUNT_MAX)
                fail(p, "has more repetitions than are supported");
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
        return grammar_repeat(p->j->g, what, least, most);
}

static GrammarNode alternative(Pattern *p, bool outermost) {
        Grammar *g = p->j->g;
        GrammarNode parts[PARTS_MAX], anything = grammar_repeat(g, p->j->one, 0, GRAMMAR_EVER);
        size_t n = 0;
        bool from_start = outermost && *p->at == '^', to_end = false;
        p->at += from_start;
        if (outermost && !from_start)
                parts[n++] = anything;
        while (*p->at && *p->at != '|' && *p->at != ')' && !to_end && !p->failed) {
                to_end = outermost && p->at[0] == '$' && (!p->at[1] || p->at[1] == '|');
                p->at += to_end;
                if (!to_end && n + 2 >= PARTS_MAX)
                        return fail(p, "has too many parts");
                if (!to_end) {
                        GrammarNode what = atom(p);
                        parts[n++] = repeated(p, what);
                }
        }
        if (outermost && !to_end)
                parts[n++] = anything;
        return grammar_sequence(g, parts, n);
}

static GrammarNode alternatives(Pattern *p, bool outermost) {
        GrammarNode node = p->j->never;
        if (p->depth++ == DEPTH_MAX)
                fail(p, "is nested too deeply");
        for (bool more = true; more && !p->failed;) {
                node = grammar_choice_of(p->j->g, node, alternative(p, outermost));
                more = *p->at == '|';
                p->at += more;
        }
        p->depth--;
        return node;
}

int pattern_compile(const JsonGrammar *j, const char *pattern, GrammarNode *ret, Error *e) {
        Pattern p = {.j = j, .at = pattern, .e = e};
        GrammarNode node = alternatives(&p, true);
        if (*p.at && !p.failed)
                fail(&p, "has a ) without its (");
        if (p.failed)
                return -EINVAL;
        *ret = grammar_sequence_of(j->g, j->quote, node, j->quote);
        return 0;
}
