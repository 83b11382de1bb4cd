/* See gbnf.h. Rules are read once, from the first on: a rule that is named before it is read has a reserved node. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/chars.h"
#include "text/gbnf.h"
#include "util/buf.h"
#include "util/map.h"
#include "util/str.h"

enum { GROUPS_MAX = 64, COUNT_MAX = 100000 };

typedef struct Rule {
        GrammarNode node;
        bool defined;
        const char *first; /* where it is first named */
} Rule;

typedef struct Gbnf {
        Grammar *g;
        const char *text, *at; /* ends with a NUL */
        Map by_name;           /* indices of rules */
        Buf rules;             /* of Rule */
        GrammarNode never;
        unsigned groups; /* that are open */
        Error *e;
        bool failed;
} Gbnf;

_printf_(3, 4) static GrammarNode fail_at(Gbnf *p, const char *at, const char *fmt, ...) {
        unsigned line = 1;
        char what[256];
        va_list args;
        if (p->failed)
                return p->never;
        va_start(args, fmt);
        vsnprintf(what, sizeof(what), fmt, args);
        va_end(args);
        for (const char *c = p->text; c < at; c++)
                line += *c == '\n';
        error_set(p->e, -EINVAL, "line %u: %s", line, what);
        p->failed = true;
        return p->never;
}

#define fail(p, ...) fail_at(p, (p)->at, __VA_ARGS__)

/* ---- words ---- */

static void skip(Gbnf *p, bool lines) {
        for (;; p->at++) {
                if (*p->at == '#')
                        p->at += strcspn(p->at, "\r\n");
                if (*p->at != ' ' && *p->at != '\t' && !(lines && (*p->at == '\n' || *p->at == '\r')))
                        return;
        }
}

static size_t name_length(const char *at) {
        return strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
}

/* NULL: there is no memory. */
static Rule *rule(Gbnf *p, const char *name, size_t n) {
        int32_t index;
        if (!map_get(&p->by_name, name, n, &index)) {
                Rule r = {.node = grammar_reserve(p->g), .first = name};
                index = (int32_t)(p->rules.len / sizeof(r));
                buf_put(&p->rules, &r, sizeof(r));
                if (p->rules.failed || map_set(&p->by_name, name, n, index) < 0) {
                        if (!p->failed)
                                error_set(p->e, -ENOMEM, "not enough memory for it");
                        p->failed = true;
                        return NULL;
                }
        }
        return (Rule *)(void *)p->rules.data + index;
}

/* A character of a text or a class, escaped or not. */
static uint32_t character(Gbnf *p) {
        static const char letters[] = "ntr\\\"[]-", meant[] = "\n\t\r\\\"[]-";
        uint32_t c = 0;
        if (*p->at != '\\') {
                if (*p->at && !read_char(&p->at, &c))
                        fail(p, "is not UTF-8");
                return c;
        }
        char kind = *++p->at;
        const char *letter = kind ? strchr(letters, kind) : NULL;
        if (letter) {
                p->at++;
                return (uint8_t)meant[letter - letters];
        }
        size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
        p->at += digits > 0;
        if (digits == 0 || !read_hex(&p->at, digits, &c) || !utf8proc_codepoint_valid((utf8proc_int32_t)c))
                fail(p, "an escape that is none of \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH");
        return c;
}

static GrammarNode literal(Gbnf *p) {
        _cleanup_buf_ Buf b = BUF_NULL;
        const char *begin = p->at++;
        while (*p->at && *p->at != '"' && !p->failed) {
                utf8proc_uint8_t bytes[4];
                uint32_t c = character(p);
                if (!p->failed)
                        buf_put(&b, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
        }
        if (p->failed)
                return p->never;
        if (*p->at != '"')
                return fail_at(p, begin, "a text without its closing \"");
        p->at++;
        return b.failed ? fail(p, "not enough memory for it") : grammar_text(p->g, b.data, b.len);
}

static GrammarNode class(Gbnf *p) {
        CharSet set = {.n = 0};
        const char *begin = p->at++;
        bool not = *p->at == '^';
        p->at += not;
        while (*p->at && *p->at != ']' && !p->failed) {
                uint32_t first = character(p), last = first;
                if (p->at[0] == '-' && p->at[1] && p->at[1] != ']') {
                        p->at++;
                        last = character(p);
                }
                if (first > last)
                        fail(p, "a class with a range that ends before it begins");
                char_set_add(&set, first, last);
        }
        if (p->failed)
                return p->never;
        if (*p->at != ']')
                return fail_at(p, begin, "a class without its closing ]");
        p->at++;
        if (not)
                char_set_negate(&set);
        return set.full ? fail_at(p, begin, "a class of too many characters") : grammar_char(p->g, set.ranges, set.n);
}

/* ---- rules ---- */

static GrammarNode choice(Gbnf *p);

static GrammarNode group(Gbnf *p) {
        const char *begin = p->at++;
        if (p->groups++ == GROUPS_MAX)
                return fail_at(p, begin, "too many brackets in one another");
        skip(p, true);
        GrammarNode node = choice(p);
        p->groups--;
        if (*p->at != ')')
                return fail_at(p, begin, "a ( without its )");
        p->at++;
        return node;
}

static GrammarNode reference(Gbnf *p, size_t n) {
        Rule *r = rule(p, p->at, n);
        p->at += n;
        return r ? r->node : p->never;
}

/* What stands here and can be repeated; false: nothing. */
static bool element(Gbnf *p, GrammarNode *ret) {
        static const CharRange any = {0, UNICODE_MAX};
        size_t n = name_length(p->at);
        if (n > 0)
                *ret = reference(p, n);
        else if (*p->at == '"')
                *ret = literal(p);
        else if (*p->at == '[')
                *ret = class(p);
        else if (*p->at == '(')
                *ret = group(p);
        else if (*p->at == '.') {
                p->at++;
                *ret = grammar_char(p->g, &any, 1);
        } else if (*p->at == '<' || *p->at == '!')
                *ret = fail(p, "tokens, as in <[1]>, are not supported");
        else
                return false;
        return true;
}

/* A number; -1: there is none. */
static int32_t count(Gbnf *p) {
        int32_t n = -1;
        for (; *p->at >= '0' && *p->at <= '9' && n <= COUNT_MAX; p->at++)
                n = (n < 0 ? 0 : n) * 10 + (*p->at - '0');
        if (n > COUNT_MAX)
                fail(p, "more than %d repetitions", COUNT_MAX);
        skip(p, false);
        return n;
}

static GrammarNode counted(Gbnf *p, GrammarNode what) {
        const char *begin = p->at++;
        skip(p, false);
        int32_t least = count(p), most = least;
        if (*p->at == ',') {
                p->at++;
                skip(p, false);
                most = count(p);
        }
        bool ends = *p->at == '}', open = most < 0;
        p->at += ends;
        if (!ends || least < 0 || (!open && most < least))
                return fail_at(p, begin, "no number of repetitions, as {2}, {2,} or {2,5}");
        return grammar_repeat(p->g, what, (uint32_t)least, open ? GRAMMAR_EVER : (uint32_t)most);
}

static GrammarNode repeated(Gbnf *p, GrammarNode what) {
        for (bool more = true; more && !p->failed;) {
                skip(p, p->groups > 0);
                char how = *p->at;
                more = how && strchr("*+?{", how);
                if (how == '{')
                        what = counted(p, what);
                else if (more) {
                        p->at++;
                        what = grammar_repeat(p->g, what, how == '+', how == '?' ? 1 : GRAMMAR_EVER);
                }
        }
        return what;
}

/* In memory of its own, as there may be many of them in one another. */
static GrammarNode sequence(Gbnf *p) {
        _cleanup_buf_ Buf parts = BUF_NULL;
        GrammarNode part;
        while (!p->failed && !grammar_is_full(p->g) && element(p, &part)) {
                part = repeated(p, part);
                buf_put(&parts, &part, sizeof(part));
        }
        if (parts.failed)
                return fail(p, "not enough memory for it");
        return grammar_sequence(p->g, (const GrammarNode *)(void *)parts.data, parts.len / sizeof(part));
}

/* Goes on to a | that stands here, or at the beginning of a line below. */
static bool goes_on(Gbnf *p) {
        const char *here = p->at;
        skip(p, true);
        if (*p->at != '|') {
                p->at = here;
                return false;
        }
        p->at++;
        skip(p, true);
        return true;
}

static GrammarNode choice(Gbnf *p) {
        _cleanup_buf_ Buf options = BUF_NULL;
        do {
                GrammarNode option = sequence(p);
                buf_put(&options, &option, sizeof(option));
        } while (!p->failed && !grammar_is_full(p->g) && goes_on(p));
        if (p->groups > 0)
                skip(p, true);
        if (options.failed)
                return fail(p, "not enough memory for it");
        return grammar_choice(p->g, (const GrammarNode *)(void *)options.data, options.len / sizeof(GrammarNode));
}

static void definition(Gbnf *p) {
        size_t n = name_length(p->at);
        const char *name = p->at;
        if (n == 0) {
                fail(p, "the name of a rule is missing before '%.*s'", utf8_shown(p->at, 20), p->at);
                return;
        }
        Rule *r = rule(p, name, n);
        p->at += n;
        skip(p, false);
        if (!r)
                return;
        if (r->defined)
                fail_at(p, name, "the rule %.*s is there already", (int)MIN(n, 64u), name);
        if (strncmp(p->at, "::=", 3) != 0) {
                fail(p, "::= is missing after %.*s", (int)MIN(n, 64u), name);
                return;
        }
        r->defined = true;
        GrammarNode node = r->node;
        p->at += 3;
        skip(p, true);
        grammar_define(p->g, node, choice(p));
        if (!grammar_is_full(p->g) && *p->at && *p->at != '\n' && *p->at != '\r')
                fail(p, "what is meant by '%.*s'?", utf8_shown(p->at, 20), p->at);
}

static int refuse_left_recursion(Gbnf *p) {
        const Rule *r = (const Rule *)(const void *)p->rules.data;
        GrammarNode node;
        int found = grammar_is_full(p->g) ? 0 : grammar_find_left_recursion(p->g, &node);
        if (found < 0)
                return error_set(p->e, found, found == -ENOMEM ? "not enough memory for it" : "too many of its rules refer to one another in a row");
        if (found == 0)
                return 0;
        while (r->node != node)
                r++;
        fail_at(p, r->first, "the rule %.*s can begin with itself; write it as a repetition", (int)MIN(name_length(r->first), 64u), r->first);
        return -EINVAL;
}

static int compile(Gbnf *p) {
        static const char mark[] = "\xef\xbb\xbf"; /* of byte order, where a file was edited so */
        int32_t root;
        p->at += strncmp(p->at, mark, strlen(mark)) == 0 ? strlen(mark) : 0;
        for (skip(p, true); *p->at && !p->failed && !grammar_is_full(p->g); skip(p, true))
                definition(p);
        const Rule *rules = (const Rule *)(const void *)p->rules.data;
        for (size_t i = 0; i < p->rules.len / sizeof(Rule) && !grammar_is_full(p->g); i++)
                if (!rules[i].defined)
                        fail_at(p, rules[i].first, "there is no rule %.*s", (int)MIN(name_length(rules[i].first), 64u), rules[i].first);
        if (!p->failed && !map_get(&p->by_name, "root", 4, &root))
                fail_at(p, p->text, "there is no rule root, which says what the text is");
        if (p->failed)
                return -EINVAL;
        int r = refuse_left_recursion(p);
        return r < 0 ? r : grammar_finish(p->g, rules[root].node, p->e);
}

int gbnf_compile(const char *name, const char *text, size_t len, Grammar *g, Error *e) {
        _cleanup_free_ char *copy = strndup(text ? text : "", len);
        Gbnf p = {.g = g, .text = copy, .at = copy, .never = grammar_choice(g, NULL, 0), .e = e};
        int r = copy && map_init(&p.by_name, 64) == 0 ? 0 : error_set(e, -ENOMEM, "not enough memory for it");
        if (r == 0)
                r = strlen(copy) == len ? compile(&p) : error_set(e, -EINVAL, "has a NUL byte");
        map_deinit(&p.by_name);
        buf_deinit(&p.rules);
        return r < 0 ? error_prefix(e, "%s", name) : 0;
}
