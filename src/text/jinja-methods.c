/* Methods of strings, lists and dicts as Python has them, one table per type; and the global functions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja.h"

static Value sub_string(Run *r, const String *s, size_t from, size_t to) {
        return jinja_string(r, s->data + from, to - from);
}

static bool given(Value v) {
        return v.kind != VALUE_ABSENT && v.kind != VALUE_NONE;
}

static int64_t int_or(Run *r, Value v, int64_t standard) {
        return given(v) ? jinja_need_int(r, v, "the argument") : standard;
}

/* Letter case. */

static uint32_t to_upper(uint32_t c) {
        return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
}

static uint32_t to_lower(uint32_t c) {
        return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

static bool in_range(utf8proc_category_t c, utf8proc_category_t low, utf8proc_category_t high) {
        return c >= low && c <= high;
}

static utf8proc_category_t category(uint32_t c) {
        return utf8proc_category((utf8proc_int32_t)c);
}

static bool is_cased(uint32_t c) {
        return in_range(category(c), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LT);
}

/* The one character of everyday text whose upper case is two. */
static void put_upper(Run *r, Text *t, uint32_t c, bool starts_word) {
        if (c == 0xdf)
                jinja_puts(r, t, starts_word ? "Ss" : "SS");
        else
                jinja_put_char(r, t, to_upper(c));
}

typedef enum CaseMode { CASE_UPPER, CASE_LOWER, CASE_SWAP, CASE_FOLD } CaseMode;

static Value change_case(Run *r, Value self, CaseMode mode) {
        const String *s = jinja_str(r, self).s;
        Text t = {0};
        jinja_scan(r, s->len);
        for (const char *p = s->data; p < s->data + s->len;) {
                uint32_t c = jinja_next_char(&p);
                if (mode == CASE_FOLD && c == 0xdf)
                        jinja_puts(r, &t, "ss");
                else if (mode == CASE_LOWER || mode == CASE_FOLD || (mode == CASE_SWAP && to_lower(c) != c))
                        jinja_put_char(r, &t, to_lower(c));
                else
                        put_upper(r, &t, c, false);
        }
        Value v = jinja_text(r, &t);
        v.safe = self.safe;
        return v;
}

Value jinja_upper(Run *r, Value self, const Args *a) {
        return change_case(r, self, CASE_UPPER);
}

Value jinja_lower(Run *r, Value self, const Args *a) {
        return change_case(r, self, CASE_LOWER);
}

static Value str_swapcase(Run *r, Value self, const Args *a) {
        return change_case(r, self, CASE_SWAP);
}

static Value str_casefold(Run *r, Value self, const Args *a) {
        return change_case(r, self, CASE_FOLD);
}

Value jinja_title(Run *r, Value s, bool (*within_word)(uint32_t before)) {
        const String *from = jinja_str(r, s).s;
        Text t = {0};
        uint32_t before = 0;
        jinja_scan(r, from->len);
        for (const char *p = from->data, *start = p; p < from->data + from->len;) {
                bool within = p > start && within_word(before);
                before = jinja_next_char(&p);
                if (within)
                        jinja_put_char(r, &t, to_lower(before));
                else
                        put_upper(r, &t, before, true);
        }
        return jinja_text(r, &t);
}

static bool always(uint32_t before) {
        return true;
}

Value jinja_capitalize(Run *r, Value self, const Args *a) {
        return jinja_title(r, self, always);
}

static Value str_title(Run *r, Value self, const Args *a) {
        return jinja_title(r, self, is_cased);
}

/* Questions about all characters. */

Value jinja_is_case(Run *r, Value s, bool upper) {
        bool cased = false;
        const String *text = jinja_str(r, s).s;
        jinja_scan(r, text->len);
        for (const char *p = text->data; p < text->data + text->len;) {
                uint32_t c = jinja_next_char(&p);
                if (is_cased(c) && (upper ? to_upper(c) : to_lower(c)) != c)
                        return jinja_bool(false);
                cased |= is_cased(c);
        }
        return jinja_bool(cased);
}

static Value str_isupper(Run *r, Value self, const Args *a) {
        return jinja_is_case(r, self, true);
}

static Value str_islower(Run *r, Value self, const Args *a) {
        return jinja_is_case(r, self, false);
}

static Value all_chars(Run *r, Value self, bool (*is)(uint32_t c)) {
        jinja_scan(r, self.s->len);
        for (const char *p = self.s->data; p < self.s->data + self.s->len;)
                if (!is(jinja_next_char(&p)))
                        return jinja_bool(false);
        return jinja_bool(self.s->len > 0);
}

static bool is_alpha(uint32_t c) {
        return in_range(category(c), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO);
}

static bool is_decimal(uint32_t c) {
        return category(c) == UTF8PROC_CATEGORY_ND;
}

static bool is_digit(uint32_t c) {
        return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9;
}

static bool is_numeric(uint32_t c) {
        return in_range(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

static bool is_alnum(uint32_t c) {
        return is_alpha(c) || is_numeric(c);
}

static bool is_ascii(uint32_t c) {
        return c < 0x80;
}

static Value str_isalpha(Run *r, Value self, const Args *a) {
        return all_chars(r, self, is_alpha);
}

static Value str_isalnum(Run *r, Value self, const Args *a) {
        return all_chars(r, self, is_alnum);
}

static Value str_isdecimal(Run *r, Value self, const Args *a) {
        return all_chars(r, self, is_decimal);
}

static Value str_isdigit(Run *r, Value self, const Args *a) {
        return all_chars(r, self, is_digit);
}

static Value str_isnumeric(Run *r, Value self, const Args *a) {
        return all_chars(r, self, is_numeric);
}

static Value str_isspace(Run *r, Value self, const Args *a) {
        return all_chars(r, self, jinja_is_space);
}

static Value str_isascii(Run *r, Value self, const Args *a) {
        return jinja_bool(self.s->len == 0 || all_chars(r, self, is_ascii).b);
}

/* Trimming, padding, affixes. */

static const String *chars_or_space(Run *r, Value v) {
        return given(v) ? jinja_need_string(r, v, "the characters to strip") : NULL;
}

Value jinja_trim(Run *r, Value self, const Args *a) {
        return jinja_strip(r, jinja_str(r, self), chars_or_space(r, a->v[0]), true, true);
}

static Value str_lstrip(Run *r, Value self, const Args *a) {
        return jinja_strip(r, self, chars_or_space(r, a->v[0]), true, false);
}

static Value str_rstrip(Run *r, Value self, const Args *a) {
        return jinja_strip(r, self, chars_or_space(r, a->v[0]), false, true);
}

static Value pad(Run *r, Value self, size_t left, size_t right, const String *fill) {
        Text t = {0};
        while (left-- > 0)
                jinja_put(r, &t, fill->data, fill->len);
        jinja_put_str(r, &t, self);
        while (right-- > 0)
                jinja_put(r, &t, fill->data, fill->len);
        return jinja_text(r, &t);
}

/* What is missing up to the width in a->v[0]; *ret_fill is a->v[1] or a space. */
static size_t missing(Run *r, Value self, const Args *a, const String **ret_fill) {
        static const String space = {" ", 1, NULL};
        *ret_fill = given(a->v[1]) ? jinja_need_string(r, a->v[1], "the fill character") : &space;
        int64_t width = jinja_need_int(r, a->v[0], "the width"), n = (int64_t)jinja_length(r, self);
        if (width > JINJA_MAX_TEXT)
                jinja_fail(r, -E2BIG, "text grows beyond %d MiB", JINJA_MAX_TEXT >> 20);
        return width > n ? (size_t)(width - n) : 0;
}

Value jinja_center(Run *r, Value self, const Args *a) {
        const String *fill;
        Value s = jinja_str(r, self);
        size_t n = missing(r, s, a, &fill), left = n / 2 + (n & (size_t)a->v[0].i & 1);
        return pad(r, s, left, n - left, fill);
}

static Value str_ljust(Run *r, Value self, const Args *a) {
        const String *fill;
        size_t n = missing(r, self, a, &fill);
        return pad(r, self, 0, n, fill);
}

static Value str_rjust(Run *r, Value self, const Args *a) {
        const String *fill;
        size_t n = missing(r, self, a, &fill);
        return pad(r, self, n, 0, fill);
}

static Value str_zfill(Run *r, Value self, const Args *a) {
        static const String zero = {"0", 1, NULL};
        const String *fill;
        size_t n = missing(r, self, &(Args){.v = (Value[]){a->v[0], {0}}, .n = 2}, &fill);
        size_t sign = self.s->len > 0 && (self.s->data[0] == '-' || self.s->data[0] == '+');
        Value digits = pad(r, sub_string(r, self.s, sign, self.s->len), n, 0, &zero);
        return jinja_concat(r, sub_string(r, self.s, 0, sign), digits);
}

static bool has_affix(const String *s, const String *affix, bool at_end) {
        return affix->len <= s->len &&
               (affix->len == 0 || memcmp(s->data + (at_end ? s->len - affix->len : 0), affix->data, affix->len) == 0);
}

/* `affix` may be a tuple of them; start and end cut the string first. */
static Value test_affix(Run *r, Value self, const Args *a, bool at_end) {
        Value start = given(a->v[1]) ? a->v[1] : jinja_none(), end = given(a->v[2]) ? a->v[2] : jinja_none();
        const String *s = jinja_slice(r, self, start, end, jinja_none()).s;
        if (a->v[0].kind != VALUE_TUPLE)
                return jinja_bool(has_affix(s, jinja_need_string(r, a->v[0], "the affix"), at_end));
        for (size_t i = 0; i < a->v[0].list->n; i++)
                if (has_affix(s, jinja_need_string(r, a->v[0].list->items[i], "the affix"), at_end))
                        return jinja_bool(true);
        return jinja_bool(false);
}

static Value str_startswith(Run *r, Value self, const Args *a) {
        return test_affix(r, self, a, false);
}

static Value str_endswith(Run *r, Value self, const Args *a) {
        return test_affix(r, self, a, true);
}

static Value str_removeprefix(Run *r, Value self, const Args *a) {
        const String *affix = jinja_need_string(r, a->v[0], "the prefix");
        return has_affix(self.s, affix, false) ? sub_string(r, self.s, affix->len, self.s->len) : self;
}

static Value str_removesuffix(Run *r, Value self, const Args *a) {
        const String *affix = jinja_need_string(r, a->v[0], "the suffix");
        return has_affix(self.s, affix, true) ? sub_string(r, self.s, 0, self.s->len - affix->len) : self;
}

/* Searching, splitting, joining. */

/* The last occurrence that ends at or before `to`, or SIZE_MAX. */
static size_t find_last(Run *r, const String *s, const String *sub, size_t to) {
        if (sub->len > to)
                return SIZE_MAX;
        for (size_t at = to - sub->len + 1; at-- > 0;) {
                if (sub->len == 0)
                        return at;
                jinja_charge(r, (at & 63) == 0);
                if (s->data[at] != sub->data[0])
                        continue;
                jinja_scan(r, sub->len);
                if (memcmp(s->data + at, sub->data, sub->len) == 0)
                        return at;
        }
        return SIZE_MAX;
}

static Value find_in(Run *r, Value self, const Args *a, bool last) {
        const String *sub = jinja_need_string(r, a->v[0], "what is looked for");
        Value stop = given(a->v[2]) ? a->v[2] : jinja_none();
        int64_t n = (int64_t)jinja_length(r, self), start = int_or(r, a->v[1], 0);
        start = CLAMP(start < 0 ? start + n : start, 0, n + 1);
        const String *s = jinja_slice(r, self, jinja_int(start), stop, jinja_none()).s;
        size_t at = start > n ? SIZE_MAX : last ? find_last(r, s, sub, s->len) : jinja_find(r, s, sub, 0);
        return jinja_int(at == SIZE_MAX ? -1 : start + (int64_t)jinja_count_chars(r, s->data, at));
}

static Value str_find(Run *r, Value self, const Args *a) {
        return find_in(r, self, a, false);
}

static Value str_rfind(Run *r, Value self, const Args *a) {
        return find_in(r, self, a, true);
}

static Value need_found(Run *r, Value at) {
        if (at.i < 0)
                jinja_fail(r, -EINVAL, "substring not found");
        return at;
}

static Value str_index(Run *r, Value self, const Args *a) {
        return need_found(r, find_in(r, self, a, false));
}

static Value str_rindex(Run *r, Value self, const Args *a) {
        return need_found(r, find_in(r, self, a, true));
}

static Value str_count(Run *r, Value self, const Args *a) {
        const String *sub = jinja_need_string(r, a->v[0], "what is counted");
        int64_t n = 0;
        if (sub->len == 0)
                return jinja_int((int64_t)jinja_length(r, self) + 1);
        for (size_t at = 0; (at = jinja_find(r, self.s, sub, at)) != SIZE_MAX; at += sub->len, n++)
                jinja_charge(r, 1);
        return jinja_int(n);
}

/* An empty `old` stands before each character and at the end. */
static void replace_between(Run *r, Text *t, const String *s, const String *new, int64_t count) {
        const char *p = s->data, *end = p + s->len;
        for (;;) {
                const char *at = p;
                if (count-- > 0)
                        jinja_put(r, t, new->data, new->len);
                if (p >= end)
                        return;
                jinja_next_char(&p);
                jinja_charge(r, 1);
                jinja_put(r, t, at, (size_t)(p - at));
        }
}

static void replace_found(Run *r, Text *t, const String *s, const String *old, const String *new, int64_t count) {
        size_t from = 0, at;
        while (count-- > 0 && (at = jinja_find(r, s, old, from)) != SIZE_MAX) {
                jinja_charge(r, 1);
                jinja_put(r, t, s->data + from, at - from);
                jinja_put(r, t, new->data, new->len);
                from = at + old->len;
        }
        jinja_put(r, t, s->data + from, s->len - from);
}

Value jinja_replace(Run *r, Value self, const Args *a) {
        const String *s = jinja_str(r, self).s, *old = jinja_str(r, a->v[0]).s, *new = jinja_str(r, a->v[1]).s;
        int64_t count = int_or(r, a->v[2], -1);
        Text t = {0};
        if (count < 0)
                count = INT64_MAX;
        if (old->len == 0)
                replace_between(r, &t, s, new, count);
        else
                replace_found(r, &t, s, old, new, count);
        return jinja_text(r, &t);
}

/* Splits at white space, ends stripped. */
static Value split_space(Run *r, Value self, int64_t count) {
        Value parts = jinja_list(r, 0);
        const String *rest = jinja_strip(r, self, NULL, true, false).s;
        while (rest->len > 0) {
                const char *p = rest->data, *end = p + rest->len, *at = p;
                while (p < end && count > 0 && !jinja_is_space(jinja_next_char(&p)))
                        at = p;
                if (count-- <= 0)
                        at = end;
                jinja_scan(r, (size_t)(at - rest->data));
                jinja_append(r, parts, jinja_string(r, rest->data, (size_t)(at - rest->data)));
                rest = jinja_strip(r, jinja_string(r, at, (size_t)(end - at)), NULL, true, false).s;
        }
        return parts;
}

static void reverse(List *l) {
        for (size_t i = 0, j = l->n; i + 1 < j; i++) {
                Value v = l->items[i];
                l->items[i] = l->items[--j];
                l->items[j] = v;
        }
}

/* Splits at white space from the right; the last part keeps its leading space. */
static Value rsplit_space(Run *r, Value self, int64_t count) {
        Value parts = jinja_list(r, 0);
        const String *rest = jinja_strip(r, self, NULL, false, true).s;
        while (rest->len > 0) {
                size_t from = 0;
                const char *p = rest->data, *end = p + rest->len;
                while (p < end && count > 0)
                        if (jinja_is_space(jinja_next_char(&p)))
                                from = (size_t)(p - rest->data);
                count--;
                jinja_scan(r, rest->len);
                jinja_append(r, parts, sub_string(r, rest, from, rest->len));
                rest = jinja_strip(r, sub_string(r, rest, 0, from), NULL, false, true).s;
        }
        reverse(parts.list);
        return parts;
}

static Value split_at(Run *r, const String *s, const String *separator, int64_t count) {
        Value parts = jinja_list(r, 0);
        size_t from = 0, at;
        while (count-- > 0 && (at = jinja_find(r, s, separator, from)) != SIZE_MAX) {
                jinja_append(r, parts, sub_string(r, s, from, at));
                from = at + separator->len;
        }
        jinja_append(r, parts, sub_string(r, s, from, s->len));
        return parts;
}

static Value rsplit_at(Run *r, const String *s, const String *separator, int64_t count) {
        Value parts = jinja_list(r, 0);
        size_t to = s->len, at;
        while (count-- > 0 && (at = find_last(r, s, separator, to)) != SIZE_MAX) {
                jinja_append(r, parts, sub_string(r, s, at + separator->len, to));
                to = at;
        }
        jinja_append(r, parts, sub_string(r, s, 0, to));
        reverse(parts.list);
        return parts;
}

static Value split(Run *r, Value self, const Args *a, bool right) {
        int64_t count = int_or(r, a->v[1], -1);
        if (count < 0)
                count = INT64_MAX;
        if (!given(a->v[0]))
                return right ? rsplit_space(r, self, count) : split_space(r, self, count);
        const String *separator = jinja_need_string(r, a->v[0], "the separator");
        if (separator->len == 0)
                jinja_fail(r, -EINVAL, "empty separator");
        return right ? rsplit_at(r, self.s, separator, count) : split_at(r, self.s, separator, count);
}

static Value str_split(Run *r, Value self, const Args *a) {
        return split(r, self, a, false);
}

static Value str_rsplit(Run *r, Value self, const Args *a) {
        return split(r, self, a, true);
}

static Value partition(Run *r, Value self, const Args *a, bool last) {
        const String *s = self.s, *sub = jinja_need_string(r, a->v[0], "the separator");
        if (sub->len == 0)
                jinja_fail(r, -EINVAL, "empty separator");
        size_t at = last ? find_last(r, s, sub, s->len) : jinja_find(r, s, sub, 0);
        Value none = jinja_string(r, "", 0);
        if (at == SIZE_MAX)
                return jinja_tuple(r, 3, last ? (Value[]){none, none, self} : (Value[]){self, none, none});
        return jinja_tuple(r, 3, (Value[]){sub_string(r, s, 0, at), a->v[0], sub_string(r, s, at + sub->len, s->len)});
}

static Value str_partition(Run *r, Value self, const Args *a) {
        return partition(r, self, a, false);
}

static Value str_rpartition(Run *r, Value self, const Args *a) {
        return partition(r, self, a, true);
}

static bool is_line_end(uint32_t c) {
        return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

Value jinja_splitlines(Run *r, const String *s, bool keep_ends) {
        Value lines = jinja_list(r, 0);
        const char *begin = s->data, *end = begin + s->len;
        jinja_scan(r, s->len);
        for (const char *p = begin, *at = p; p < end; at = p) {
                uint32_t c = jinja_next_char(&p);
                if (is_line_end(c)) {
                        p += c == '\r' && p < end && *p == '\n';
                        jinja_append(r, lines, jinja_string(r, begin, (size_t)((keep_ends ? p : at) - begin)));
                        begin = p;
                }
        }
        if (begin < end)
                jinja_append(r, lines, jinja_string(r, begin, (size_t)(end - begin)));
        return lines;
}

static Value str_splitlines(Run *r, Value self, const Args *a) {
        return jinja_splitlines(r, self.s, jinja_truthy(a->v[0]));
}

static Value str_join(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, a->v[0]);
        Text t = {0};
        for (size_t i = 0; i < items.list->n; i++) {
                const String *s = jinja_need_string(r, items.list->items[i], "what is joined");
                if (i > 0)
                        jinja_put(r, &t, self.s->data, self.s->len);
                jinja_put(r, &t, s->data, s->len);
        }
        return jinja_text(r, &t);
}

/* Formatting. */

static Value format_argument(Run *r, const Args *a, const String *name, size_t *next) {
        bool number = name->len > 0 && name->len < 6 && strspn(name->data, "0123456789") >= name->len;
        size_t at = number ? strtoul(name->data, NULL, 10) : *next;
        if (name->len == 0 || number) {
                *next += !number;
                if (at >= a->n)
                        jinja_fail(r, -EINVAL, "the format wants more values than there are");
                return a->v[at];
        }
        for (size_t i = 0; i < a->n_named; i++)
                if (jinja_same(r, a->named[i].name, name))
                        return a->named[i].value;
        jinja_fail(r, -EINVAL, "the format's value '%.*s' is not given", (int)MIN(name->len, (size_t)100), name->data);
}

/* str.format() with {}, {0}, {name}; what a field may say behind ':' or '!' is not supported. */
static Value str_format(Run *r, Value self, const Args *a) {
        const char *p = self.s->data, *end = p + self.s->len;
        size_t next = 0;
        Text t = {0};
        for (; p < end; p++) {
                if (*p != '{' && *p != '}')
                        jinja_putc(r, &t, *p);
                else if (p + 1 < end && p[1] == *p)
                        jinja_putc(r, &t, *p++);
                else {
                        const char *close = memchr(p, '}', (size_t)(end - p));
                        if (*p == '}' || !close)
                                jinja_fail(r, -EINVAL, "a brace in the format has no counterpart");
                        const String name = {p + 1, (size_t)(close - p - 1), NULL};
                        if (name.len > 0 && (memchr(name.data, ':', name.len) || memchr(name.data, '!', name.len)))
                                jinja_fail(r, -EINVAL, "only plain fields are supported in a format");
                        jinja_put_str(r, &t, format_argument(r, a, &name, &next));
                        p = close;
                }
        }
        return jinja_text(r, &t);
}

typedef struct PercentSpec { /* %[flags][width][.precision]letter */
        char flags[8];
        int width, precision; /* precision: -1: none */
        char letter;
} PercentSpec;

static int percent_number(const char **p, const char *end) {
        int n = 0;
        for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
                n = MIN(n * 10 + (**p - '0'), 1000);
        return n;
}

static PercentSpec percent_spec(Run *r, const char **p, const char *end) {
        PercentSpec s = {.precision = -1};
        for (size_t n = 0; *p < end && **p && strchr("-+ #0", **p) && n + 1 < sizeof(s.flags); ++*p)
                s.flags[n++] = **p;
        s.width = percent_number(p, end);
        if (*p < end && **p == '.') {
                ++*p;
                s.precision = percent_number(p, end);
        }
        if (*p >= end)
                jinja_fail(r, -EINVAL, "the format ends inside a field");
        s.letter = *(*p)++;
        return s;
}

static void put_percent_text(Run *r, Text *t, const PercentSpec *s, Value v) {
        Text repr = {0};
        if (s->letter == 'r')
                jinja_put_repr(r, &repr, v);
        else
                jinja_put_str(r, &repr, v);
        Value text = jinja_text(r, &repr);
        if (s->precision >= 0)
                text = jinja_slice(r, text, jinja_int(0), jinja_int(s->precision), jinja_none());
        const Args width = {.v = (Value[]){jinja_int(s->width), {0}}, .n = 2};
        jinja_put_str(r, t, strchr(s->flags, '-') ? str_ljust(r, text, &width) : str_rjust(r, text, &width));
}

static void put_percent_number(Run *r, Text *t, const PercentSpec *s, Value v) {
        char format[40], number[1400];
        bool whole = strchr("diuxXo", s->letter);
        if (!jinja_is_number(v))
                jinja_fail(r, -EINVAL, "%%%c needs a number, not %s", s->letter, jinja_kind(v));
        snprintf(format, sizeof(format), "%%%s%d", s->flags, s->width);
        if (s->width == 0)
                snprintf(format, sizeof(format), "%%%s", s->flags);
        if (s->precision >= 0)
                snprintf(format + strlen(format), sizeof(format) - strlen(format), ".%d", s->precision);
        snprintf(format + strlen(format), sizeof(format) - strlen(format), "%s%c", whole ? "ll" : "",
                 s->letter == 'u' ? 'd' : s->letter);
        double f = jinja_as_float(v);
        if (whole && !(f > -0x1p63 && f < 0x1p63))
                jinja_fail(r, -EINVAL, "%%%c cannot write this number", s->letter);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if (whole)
                snprintf(number, sizeof(number), format,
                         v.kind == VALUE_FLOAT ? (long long)f
                         : v.kind == VALUE_INT ? (long long)v.i
                                               : (long long)v.b);
        else
                snprintf(number, sizeof(number), format, f);
#pragma GCC diagnostic pop
        jinja_puts(r, t, number);
}

/* The value of the next field: by name from a dict, else by position. */
static Value percent_value(Run *r, const char **p, const char *end, Value v, size_t *next) {
        if (*p < end && **p == '(') {
                const char *close = memchr(*p, ')', (size_t)(end - *p));
                if (!close || v.kind != VALUE_DICT)
                        jinja_fail(r, -EINVAL, "the format wants a dict");
                Value found = jinja_item(r, v, jinja_string(r, *p + 1, (size_t)(close - *p - 1)));
                *p = close + 1;
                return found;
        }
        size_t at = (*next)++, n = v.kind == VALUE_TUPLE ? v.list->n : 1;
        if (at >= n)
                return (Value){0};
        return v.kind == VALUE_TUPLE ? v.list->items[at] : v;
}

Value jinja_format_percent(Run *r, const String *format, Value v) {
        const char *p = format->data, *end = p + format->len;
        size_t next = 0;
        Text t = {0};
        while (p < end) {
                const char *percent = memchr(p, '%', (size_t)(end - p));
                jinja_put(r, &t, p, (size_t)((percent ? percent : end) - p));
                if (!percent)
                        break;
                p = percent + 1;
                if (p < end && *p == '%') {
                        jinja_putc(r, &t, *p++);
                        continue;
                }
                Value value = percent_value(r, &p, end, v, &next);
                PercentSpec s = percent_spec(r, &p, end);
                if (value.kind == VALUE_ABSENT)
                        jinja_fail(r, -EINVAL, "the format wants more values than there are");
                if (s.letter && strchr("sr", s.letter))
                        put_percent_text(r, &t, &s, value);
                else if (s.letter && strchr("diuxXoeEfFgG", s.letter))
                        put_percent_number(r, &t, &s, value);
                else
                        jinja_fail(r, -EINVAL, "the format has an unknown field");
        }
        if (v.kind == VALUE_TUPLE && next < v.list->n)
                jinja_fail(r, -EINVAL, "the format wants fewer values than there are");
        return jinja_text(r, &t);
}

static const Builtin string_methods[] = {
        {"capitalize", "", jinja_capitalize},
        {"casefold", "", str_casefold},
        {"center", "width fill?", jinja_center},
        {"count", "sub", str_count},
        {"endswith", "suffix start? end?", str_endswith},
        {"find", "sub start? end?", str_find},
        {"format", "*", str_format},
        {"index", "sub start? end?", str_index},
        {"isalnum", "", str_isalnum},
        {"isalpha", "", str_isalpha},
        {"isascii", "", str_isascii},
        {"isdecimal", "", str_isdecimal},
        {"isdigit", "", str_isdigit},
        {"islower", "", str_islower},
        {"isnumeric", "", str_isnumeric},
        {"isspace", "", str_isspace},
        {"isupper", "", str_isupper},
        {"join", "iterable", str_join},
        {"ljust", "width fill?", str_ljust},
        {"lower", "", jinja_lower},
        {"lstrip", "chars?", str_lstrip},
        {"partition", "sep", str_partition},
        {"removeprefix", "prefix", str_removeprefix},
        {"removesuffix", "suffix", str_removesuffix},
        {"replace", "old new count?", jinja_replace},
        {"rfind", "sub start? end?", str_rfind},
        {"rindex", "sub start? end?", str_rindex},
        {"rjust", "width fill?", str_rjust},
        {"rpartition", "sep", str_rpartition},
        {"rsplit", "sep? maxsplit?", str_rsplit},
        {"rstrip", "chars?", str_rstrip},
        {"split", "sep? maxsplit?", str_split},
        {"splitlines", "keepends?", str_splitlines},
        {"startswith", "prefix start? end?", str_startswith},
        {"strip", "chars?", jinja_trim},
        {"swapcase", "", str_swapcase},
        {"title", "", str_title},
        {"upper", "", jinja_upper},
        {"zfill", "width", str_zfill},
        {0},
};

/* Lists. */

static size_t find_item(Run *r, const List *l, Value v) {
        for (size_t i = 0; i < l->n; i++)
                if (jinja_equal(r, l->items[i], v))
                        return i;
        return SIZE_MAX;
}

/* Gives the list items of its own, with room for one more, so that they may be changed in place. */
static List *own_items(Run *r, Value v) {
        List *l = v.list;
        Value *items = jinja_alloc(r, l->n + 1, sizeof(*items));
        jinja_charge(r, l->n / 16);
        if (l->n > 0)
                memcpy(items, l->items, l->n * sizeof(*items));
        l->items = items;
        l->cap = l->n + 1;
        return l;
}

static Value list_append(Run *r, Value self, const Args *a) {
        jinja_append(r, self, a->v[0]);
        return jinja_none();
}

static Value list_extend(Run *r, Value self, const Args *a) {
        Value items = jinja_iterate(r, a->v[0]);
        for (size_t i = 0; i < items.list->n; i++)
                jinja_append(r, self, items.list->items[i]);
        return jinja_none();
}

static Value list_insert(Run *r, Value self, const Args *a) {
        List *l = own_items(r, self);
        int64_t n = (int64_t)l->n++, at = jinja_need_int(r, a->v[0], "the position");
        at = CLAMP(at < 0 ? at + n : at, 0, n);
        memmove(l->items + at + 1, l->items + at, (size_t)(n - at) * sizeof(Value));
        l->items[at] = a->v[1];
        return jinja_none();
}

static Value take_item(Run *r, Value list, size_t at) {
        List *l = own_items(r, list);
        Value v = l->items[at];
        memmove(l->items + at, l->items + at + 1, (l->n - at - 1) * sizeof(v));
        l->n--;
        return v;
}

static Value list_pop(Run *r, Value self, const Args *a) {
        int64_t n = (int64_t)self.list->n, at = int_or(r, a->v[0], -1);
        at += at < 0 ? n : 0;
        if (at < 0 || at >= n)
                jinja_fail(r, -EINVAL, "pop: there is no such item");
        return take_item(r, self, (size_t)at);
}

static Value list_remove(Run *r, Value self, const Args *a) {
        size_t at = find_item(r, self.list, a->v[0]);
        if (at == SIZE_MAX)
                jinja_fail(r, -EINVAL, "remove: there is no such item");
        take_item(r, self, at);
        return jinja_none();
}

static Value list_index(Run *r, Value self, const Args *a) {
        size_t at = find_item(r, self.list, a->v[0]);
        if (at == SIZE_MAX)
                jinja_fail(r, -EINVAL, "index: there is no such item");
        return jinja_int((int64_t)at);
}

static Value list_count(Run *r, Value self, const Args *a) {
        int64_t n = 0;
        for (size_t i = 0; i < self.list->n; i++)
                n += jinja_equal(r, self.list->items[i], a->v[0]);
        return jinja_int(n);
}

static Value list_reverse(Run *r, Value self, const Args *a) {
        reverse(own_items(r, self));
        return jinja_none();
}

static Value same(Run *r, Value item, const void *arg) {
        return item;
}

static Value list_sort(Run *r, Value self, const Args *a) {
        Value sorted = jinja_sort(r, self, jinja_truthy(a->v[0]), same, NULL);
        *self.list = *sorted.list;
        return jinja_none();
}

static Value list_clear(Run *r, Value self, const Args *a) {
        *self.list = (List){0};
        return jinja_none();
}

static Value list_copy(Run *r, Value self, const Args *a) {
        return jinja_iterate(r, self);
}

static const Builtin list_methods[] = {
        {"append", "item", list_append}, {"clear", "", list_clear},
        {"copy", "", list_copy},         {"count", "item", list_count},
        {"extend", "items", list_extend}, {"index", "item", list_index},
        {"insert", "index item", list_insert}, {"pop", "index?", list_pop},
        {"remove", "item", list_remove}, {"reverse", "", list_reverse},
        {"sort", "reverse?", list_sort}, {0},
};

static const Builtin tuple_methods[] = {{"count", "item", list_count}, {"index", "item", list_index}, {0}};

/* Dicts. */

static Value dict_get(Run *r, Value self, const Args *a) {
        const Value *v = jinja_get(r, self.dict, a->v[0]);
        return v ? *v : a->v[1].kind != VALUE_ABSENT ? a->v[1] : jinja_none();
}

Value jinja_items(Run *r, Value self, const Args *a) {
        if (self.kind == VALUE_UNDEFINED)
                return jinja_list(r, 0);
        if (self.kind != VALUE_DICT)
                jinja_fail(r, -EINVAL, "items needs a dict, not %s", jinja_kind(self));
        const Dict *d = self.dict;
        Value items = jinja_list(r, d->n);
        for (size_t i = 0; i < d->n; i++)
                jinja_append(r, items, jinja_tuple(r, 2, (Value[]){d->entries[i].key, d->entries[i].value}));
        return items;
}

static Value dict_keys(Run *r, Value self, const Args *a) {
        return jinja_iterate(r, self);
}

static Value dict_values(Run *r, Value self, const Args *a) {
        Value values = jinja_list(r, self.dict->n);
        for (size_t i = 0; i < self.dict->n; i++)
                jinja_append(r, values, self.dict->entries[i].value);
        return values;
}

static Value dict_pop(Run *r, Value self, const Args *a) {
        const Value *found = jinja_get(r, self.dict, a->v[0]);
        if (!found && a->v[1].kind == VALUE_ABSENT)
                jinja_fail(r, -EINVAL, "pop: there is no such key");
        Value v = found ? *found : a->v[1];
        jinja_del(r, self.dict, a->v[0]);
        return v;
}

static Value dict_setdefault(Run *r, Value self, const Args *a) {
        const Value *found = jinja_get(r, self.dict, a->v[0]);
        if (found)
                return *found;
        Value v = a->v[1].kind == VALUE_ABSENT ? jinja_none() : a->v[1];
        jinja_set(r, self.dict, a->v[0], v);
        return v;
}

/* Adds the entries of a dict, or of a list of pairs. */
static void add_entries(Run *r, Dict *d, Value from) {
        Value pairs = from.kind == VALUE_DICT ? jinja_items(r, from, NULL) : jinja_iterate(r, from);
        for (size_t i = 0; i < pairs.list->n; i++) {
                Value pair = jinja_iterate(r, pairs.list->items[i]);
                if (pair.list->n != 2)
                        jinja_fail(r, -EINVAL, "a dict is made of pairs");
                jinja_set(r, d, pair.list->items[0], pair.list->items[1]);
        }
}

static void add_arguments(Run *r, Dict *d, const Args *a) {
        if (a->n > 1)
                jinja_fail(r, -EINVAL, "expected at most one argument without a name");
        if (a->n == 1)
                add_entries(r, d, a->v[0]);
        for (size_t i = 0; i < a->n_named; i++)
                jinja_set(r, d, (Value){.kind = VALUE_STRING, .s = a->named[i].name}, a->named[i].value);
}

static Value dict_update(Run *r, Value self, const Args *a) {
        add_arguments(r, self.dict, a);
        return jinja_none();
}

static Value dict_clear(Run *r, Value self, const Args *a) {
        self.dict->n = 0;
        return jinja_none();
}

static Value dict_copy(Run *r, Value self, const Args *a) {
        Value copy = jinja_dict(r);
        add_entries(r, copy.dict, self);
        return copy;
}

static Value dict_popitem(Run *r, Value self, const Args *a) {
        if (self.dict->n == 0)
                jinja_fail(r, -EINVAL, "popitem: the dict is empty");
        const DictEntry *e = &self.dict->entries[--self.dict->n];
        return jinja_tuple(r, 2, (Value[]){e->key, e->value});
}

static const Builtin dict_methods[] = {
        {"clear", "", dict_clear},
        {"copy", "", dict_copy},
        {"get", "key default?", dict_get},
        {"items", "", jinja_items},
        {"keys", "", dict_keys},
        {"pop", "key default?", dict_pop},
        {"popitem", "", dict_popitem},
        {"setdefault", "key default?", dict_setdefault},
        {"update", "*", dict_update},
        {"values", "", dict_values},
        {0},
};

const Builtin *jinja_find_builtin(const Builtin *table, const String *name) {
        for (; table && table->name; table++)
                if (jinja_is(name, table->name))
                        return table;
        return NULL;
}

const Builtin *jinja_find_method(Value v, const String *name) {
        static const Builtin *const methods[VALUE_FUNCTION + 1] = {
                [VALUE_STRING] = string_methods,
                [VALUE_LIST] = list_methods,
                [VALUE_TUPLE] = tuple_methods,
                [VALUE_DICT] = dict_methods,
        };
        return jinja_find_builtin(methods[v.kind], name);
}

/* Functions. */

/* How many numbers there are from `start` to before `stop`. */
static uint64_t count_range(int64_t start, int64_t stop, int64_t step) {
        if (step > 0 ? start >= stop : start <= stop)
                return 0;
        uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
        return (span - 1) / (step > 0 ? (uint64_t)step : -(uint64_t)step) + 1;
}

static Value function_range(Run *r, Value self, const Args *a) {
        if (a->n < 1 || a->n > 3 || a->n_named > 0)
                jinja_fail(r, -EINVAL, "range takes one to three numbers");
        int64_t start = a->n > 1 ? jinja_need_int(r, a->v[0], "range's start") : 0;
        int64_t stop = jinja_need_int(r, a->v[a->n > 1], "range's end");
        int64_t step = a->n > 2 ? jinja_need_int(r, a->v[2], "range's step") : 1;
        if (step == 0)
                jinja_fail(r, -EINVAL, "range's step cannot be zero");
        uint64_t n = count_range(start, stop, step);
        if (n > JINJA_MAX_RANGE)
                jinja_fail(r, -E2BIG, "a range has more than %d items", JINJA_MAX_RANGE);
        Value list = jinja_list(r, n);
        for (uint64_t i = 0; i < n; i++)
                jinja_append(r, list, jinja_int((int64_t)((uint64_t)start + i * (uint64_t)step)));
        return list;
}

static Value function_dict(Run *r, Value self, const Args *a) {
        Value dict = jinja_dict(r);
        add_arguments(r, dict.dict, a);
        return dict;
}

static Value function_namespace(Run *r, Value self, const Args *a) {
        Value dict = function_dict(r, self, a);
        dict.kind = VALUE_NAMESPACE;
        return dict;
}

static Value function_list(Run *r, Value self, const Args *a) {
        return a->v[0].kind == VALUE_ABSENT ? jinja_list(r, 0) : jinja_iterate(r, a->v[0]);
}

/* A joiner is a function that yields nothing the first time, then its separator: its list of what is still to come. */
static Value joiner_call(Run *r, Value self, const Args *a) {
        return self.list->n > 1 ? take_item(r, self, 0) : self.list->items[0];
}

static Value function_joiner(Run *r, Value self, const Args *a) {
        static const Builtin call = {"joiner", "", joiner_call};
        Value todo = jinja_list(r, 2);
        jinja_append(r, todo, jinja_string(r, "", 0));
        jinja_append(r, todo, given(a->v[0]) ? a->v[0] : jinja_cstring(r, ", "));
        return jinja_function(r, &call, todo);
}

const Builtin jinja_functions[] = {
        {"dict", "*", function_dict},
        {"joiner", "sep?", function_joiner},
        {"list", "iterable?", function_list},
        {"namespace", "*", function_namespace},
        {"range", "*", function_range},
        {0},
};
