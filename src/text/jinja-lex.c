/* Source into tokens, with Jinja2's rules of white space.
 *
 * Between tags there is data. A `-` inside a tag's edge strips all white space on that side; without it, a newline
 * right behind a block or comment goes (trim_blocks), and so do spaces between the start of a line and a block or
 * comment (lstrip_blocks), unless the tag begins with `+`; `{{ }}` keeps both. Comments vanish here, `raw` blocks
 * become data. */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja-ast.h"
#include "text/jinja.h"

const String *jinja_normalise(Run *r, const char *source, size_t len) {
        Text t = {0};
        for (size_t i = 0; i < len; i++)
                if (source[i] == '\r') {
                        jinja_putc(r, &t, '\n');
                        i += i + 1 < len && source[i + 1] == '\n';
                } else
                        jinja_putc(r, &t, source[i]);
        t.len -= t.len > 0 && t.data[t.len - 1] == '\n';
        return jinja_text(r, &t).s;
}

static bool at_text(const Lexer *l, size_t at, const char *s) {
        size_t n = strlen(s);
        return at <= l->len && l->len - at >= n && memcmp(l->s + at, s, n) == 0;
}

static size_t skip_space(const Lexer *l, size_t at) {
        const char *p = l->s + at, *end = l->s + l->len;
        while (p < end) {
                const char *next = p;
                if (!jinja_is_space(jinja_next_char(&next)))
                        break;
                p = next;
        }
        return (size_t)(p - l->s);
}

static bool is_sign(const Lexer *l, size_t at, const char *signs) {
        return at < l->len && l->s[at] && strchr(signs, l->s[at]);
}

/* The end of a tag, `-%}` or `+%}` or `%}`, taken with the white space it swallows. */
static bool take_close(Lexer *l, size_t at, const char *close, bool trim) {
        bool minus = is_sign(l, at, "-"), plus = trim && is_sign(l, at, "+");
        if (!at_text(l, at + (minus || plus), close))
                return false;
        at += (minus || plus) + 2;
        l->line_start = trim && !minus && !plus && at_text(l, at, "\n");
        l->at = minus ? skip_space(l, at) : at + l->line_start;
        if (minus)
                l->line_start = l->at > at && l->s[l->at - 1] == '\n';
        return true;
}

/* What follows `{% name`, up to and with its `%}`; 0 when this is not such a tag. */
static size_t match_tag(const Lexer *l, size_t at, const char *name) {
        if (!at_text(l, at, "{%"))
                return 0;
        at = skip_space(l, at + 2 + is_sign(l, at + 2, "-+"));
        if (!at_text(l, at, name))
                return 0;
        at = skip_space(l, at + strlen(name));
        return at + is_sign(l, at, "-+") < l->len && at_text(l, at + is_sign(l, at, "-+"), "%}") ? at : 0;
}

/* Where the data ends: at the next tag, or in a raw block at its end. */
static size_t find_tag(const Lexer *l, size_t at) {
        for (; at < l->len; at++) {
                const char *p = memchr(l->s + at, '{', l->len - at);
                if (!p)
                        return l->len;
                at = (size_t)(p - l->s);
                if (l->state == LEX_RAW ? match_tag(l, at, "endraw") > 0
                                        : at + 1 < l->len && strchr("%{#", l->s[at + 1]) && l->s[at + 1])
                        break;
        }
        return at;
}

/* The data before the tag at `end`, without what that tag strips. */
static size_t strip_data(const Lexer *l, size_t begin, size_t end) {
        if (end >= l->len)
                return l->len;
        char sign = end + 2 < l->len ? l->s[end + 2] : 0;
        size_t stripped = end;
        if (sign == '-') {
                const String s = {l->s + begin, end - begin, NULL};
                while (stripped > begin) {
                        size_t at = stripped - 1;
                        while ((l->s[at] & 0xc0) == 0x80)
                                at--;
                        const char *p = s.data + (at - begin);
                        if (!jinja_is_space(jinja_next_char(&p)))
                                break;
                        stripped = at;
                }
                return stripped;
        }
        if (sign == '+' || l->s[end + 1] == '{')
                return end;
        const char *newline = end > begin ? memrchr(l->s + begin, '\n', end - begin) : NULL;
        size_t line = newline ? (size_t)(newline - l->s) + 1 : begin;
        return (newline || l->line_start) && skip_space(l, line) >= end ? line : end;
}

static void skip_comment(Run *r, Lexer *l, size_t at) {
        for (size_t i = at + 2; i < l->len; i++)
                if (l->s[i] == '#' ? at_text(l, i, "#}") : is_sign(l, i, "-+") && at_text(l, i + 1, "#}")) {
                        take_close(l, i, "#}", true);
                        return;
                }
        r->pos = at;
        jinja_fail(r, -EINVAL, "the comment that begins here has no end");
}

/* Enters or leaves a raw block whose tag is at `at`. */
static void switch_raw(Lexer *l, size_t at, const char *name) {
        size_t close = match_tag(l, at, name);
        take_close(l, close, "%}", true);
        if (l->state == LEX_DATA && l->line_start && !is_sign(l, close, "-")) {
                l->at--; /* the newline behind `raw` is content */
                l->line_start = false;
        }
        l->state = l->state == LEX_RAW ? LEX_DATA : LEX_RAW;
}

/* Consumes the tag opener at `at`; false when it was a comment or raw, behind which data goes on. */
static bool open_tag(Run *r, Lexer *l, size_t at) {
        if (l->state == LEX_RAW)
                switch_raw(l, at, "endraw");
        else if (l->s[at + 1] == '#')
                skip_comment(r, l, at);
        else if (match_tag(l, at, "raw") > 0)
                switch_raw(l, at, "raw");
        else {
                l->state = l->s[at + 1] == '{' ? LEX_VAR : LEX_BLOCK;
                l->at = at + 2 + is_sign(l, at + 2, "-+");
                l->braces = 0;
                return true;
        }
        return false;
}

static Token make_token(TokenKind kind, size_t pos, Value v) {
        return (Token){kind, pos, v};
}

static Token lex_data(Run *r, Lexer *l) {
        Text t = {0};
        size_t pos = l->at;
        while (l->at < l->len) {
                size_t begin = l->at, end = find_tag(l, begin), stripped = strip_data(l, begin, end);
                jinja_put(r, &t, l->s + begin, stripped - begin);
                l->line_start = false;
                if (end == l->len) {
                        r->pos = begin;
                        if (l->state == LEX_RAW)
                                jinja_fail(r, -EINVAL, "the raw block has no end");
                        l->at = end;
                } else if (open_tag(r, l, end)) {
                        l->opened = true;
                        break;
                }
        }
        return make_token(t.len > 0 ? TOKEN_DATA : TOKEN_END, pos, jinja_text(r, &t));
}

static bool is_name_char(char c, bool first) {
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) ||
               (!first && c >= '0' && c <= '9');
}

static bool is_digit(const Lexer *l, size_t at) {
        return at < l->len && l->s[at] >= '0' && l->s[at] <= '9';
}

static size_t skip_digits(const Lexer *l, size_t at) {
        while (is_digit(l, at) || (at < l->len && l->s[at] == '_' && is_digit(l, at + 1)))
                at++;
        return at;
}

static size_t skip_exponent(const Lexer *l, size_t at) {
        if (!is_sign(l, at, "eE"))
                return at;
        size_t digits = at + 1 + is_sign(l, at + 1, "+-");
        return is_digit(l, digits) ? skip_digits(l, digits) : at;
}

/* `a.0.1` is two subscripts, so behind a dot there are no fractions. */
static Token lex_number(Run *r, Lexer *l) {
        size_t begin = l->at, end = skip_digits(l, begin), whole = end, n = 0;
        char digits[400];
        if (begin == 0 || l->s[begin - 1] != '.') {
                if (is_sign(l, end, ".") && is_digit(l, end + 1))
                        end = skip_digits(l, end + 1);
                end = skip_exponent(l, end);
        }
        for (size_t i = begin; i < end && n + 1 < sizeof(digits); i++)
                if (l->s[i] != '_')
                        digits[n++] = l->s[i];
        digits[n] = 0;
        l->at = end;
        errno = 0;
        Value v = end > whole ? jinja_float(strtod(digits, NULL)) : jinja_int(strtoll(digits, NULL, 10));
        if (n + 1 == sizeof(digits) || (v.kind == VALUE_INT && errno == ERANGE))
                jinja_fail(r, -EINVAL, "the number is too large");
        return make_token(v.kind == VALUE_INT ? TOKEN_INT : TOKEN_FLOAT, begin, v);
}

/* `n` hexadecimal digits, or up to three octal ones, as one character. */
static uint32_t lex_code(Run *r, Lexer *l, size_t n, int base) {
        char digits[9] = {0};
        for (size_t i = 0; i < n && l->at < l->len; i++) {
                char c = l->s[l->at];
                if (!(c >= '0' && c <= '7') &&
                    (base == 8 || !((c >= '8' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'))))
                        break;
                digits[i] = c;
                l->at++;
        }
        unsigned long c = strtoul(digits, NULL, base);
        if ((base == 16 && strlen(digits) < n) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                jinja_fail(r, -EINVAL, "the escape in this string is no character");
        return (uint32_t)c;
}

static void lex_escape(Run *r, Lexer *l, Text *t) {
        static const char letters[] = "abfnrtv\\'\"", bytes[] = "\a\b\f\n\r\t\v\\'\"";
        char c = l->s[l->at++];
        const char *p = c ? strchr(letters, c) : NULL;
        if (p)
                jinja_putc(r, t, bytes[p - letters]);
        else if (c == 'x' || c == 'u' || c == 'U')
                jinja_put_char(r, t, lex_code(r, l, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
        else if (c >= '0' && c <= '7') {
                l->at--;
                jinja_put_char(r, t, lex_code(r, l, 3, 8));
        } else if (c != '\n') {
                jinja_putc(r, t, '\\');
                l->at--;
        }
}

static Token lex_string(Run *r, Lexer *l) {
        size_t begin = l->at;
        char quote = l->s[l->at++];
        Text t = {0};
        while (l->at < l->len && l->s[l->at] != quote) {
                char c = l->s[l->at++];
                if (c != '\\')
                        jinja_putc(r, &t, c);
                else if (l->at < l->len)
                        lex_escape(r, l, &t);
        }
        if (l->at >= l->len)
                jinja_fail(r, -EINVAL, "the string that begins here has no end");
        l->at++;
        return make_token(TOKEN_STRING, begin, jinja_text(r, &t));
}

static Token lex_operator(Run *r, Lexer *l) {
        static const char *const operators[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "[",
                                                "]",  "(",  ")",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"};
        for (size_t i = 0; i < ARRAY_SIZE(operators); i++)
                if (at_text(l, l->at, operators[i])) {
                        size_t begin = l->at, n = strlen(operators[i]);
                        char c = operators[i][0];
                        l->at += n;
                        l->braces += c == '(' || c == '[' || c == '{';
                        l->braces -= l->braces > 0 && (c == ')' || c == ']' || c == '}');
                        return make_token(TOKEN_OPERATOR, begin, jinja_string(r, l->s + begin, n));
                }
        jinja_fail(r, -EINVAL, "unexpected character");
}

static Token lex_name(Run *r, Lexer *l) {
        size_t begin = l->at;
        while (l->at < l->len && is_name_char(l->s[l->at], l->at == begin))
                l->at++;
        return make_token(TOKEN_NAME, begin, jinja_string(r, l->s + begin, l->at - begin));
}

/* A token inside a tag, or its end. */
static Token lex_tag(Run *r, Lexer *l) {
        l->at = r->pos = skip_space(l, l->at);
        bool block = l->state == LEX_BLOCK;
        if (l->at >= l->len)
                jinja_fail(r, -EINVAL, "the template ends inside a tag");
        if (l->braces == 0 && take_close(l, l->at, block ? "%}" : "}}", block)) {
                l->state = LEX_DATA;
                return make_token(block ? TOKEN_BLOCK_END : TOKEN_VAR_END, r->pos, jinja_none());
        }
        char c = l->s[l->at];
        if (is_name_char(c, true))
                return lex_name(r, l);
        if (is_digit(l, l->at))
                return lex_number(r, l);
        return c == '"' || c == '\'' ? lex_string(r, l) : lex_operator(r, l);
}

Token jinja_lex(Run *r, Lexer *l) {
        if (l->state == LEX_DATA && !l->opened) {
                Token t = lex_data(r, l);
                if (t.kind == TOKEN_DATA || !l->opened)
                        return t;
        }
        if (l->opened) {
                l->opened = false;
                return make_token(l->state == LEX_VAR ? TOKEN_VAR_BEGIN : TOKEN_BLOCK_BEGIN, l->at, jinja_none());
        }
        return lex_tag(r, l);
}
