/* Unicode on utf8proc's tables.
 *
 * Decomposing and composing are utf8proc's; putting combining characters into order is not, because its way takes
 * quadratic time for a long run of them, and text is hostile. Here a run that is longer than people write is sorted by
 * counting, which is stable as the order has to be (The Unicode Standard, 3.11, D108). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/unicode.h"

enum { RUN_SHORT = 32, DECOMPOSED_MAX = 18 /* U+FDFA */ };

static unsigned category(int32_t c) {
        return utf8proc_get_property(c)->category;
}

static bool between(unsigned x, unsigned lo, unsigned hi) {
        return x >= lo && x <= hi;
}

bool unicode_is_white(int32_t c) {
        if (c < 0x80)
                return c == ' ' || (c >= 9 && c <= 13);
        return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
               c == 0x202f || c == 0x205f || c == 0x3000;
}

bool unicode_is_control(int32_t c) {
        return between(category(c), UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO);
}

bool unicode_is_punctuation(int32_t c) {
        if (c < 0x80)
                return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        return between(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool unicode_is_mark(int32_t c) {
        return between(category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool unicode_is_nonspacing(int32_t c) {
        return category(c) == UTF8PROC_CATEGORY_MN;
}

/* Alphabetic are letters, letter numbers, marks, and of the symbols the circled letters (Other_Alphabetic). */
bool unicode_is_word(int32_t c) {
        unsigned k = category(c);
        return between(k, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC ||
               between((unsigned)c, 0x24b6, 0x24e9) || between((unsigned)c, 0x1f130, 0x1f149) ||
               between((unsigned)c, 0x1f150, 0x1f169) || between((unsigned)c, 0x1f170, 0x1f189) ||
               between((unsigned)c, 0x200c, 0x200d);
}

bool unicode_is_inert(int32_t c) {
        const utf8proc_property_t *p = utf8proc_get_property(c);
        unsigned k = p->category;
        return k < UTF8PROC_CATEGORY_ZS && !between(k, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME) &&
               p->combining_class == 0 && p->decomp_seqindex == UINT16_MAX && p->lowercase_seqindex == UINT16_MAX &&
               !between((unsigned)c, 0xac00, 0xd7a3) && c != 0xfffd; /* Hangul decomposes by rule, not by table */
}

void chars_deinit(Chars *c) {
        free(c->data);
        *c = (Chars){0};
}

int chars_reserve(Chars *c, size_t n) {
        if (n <= c->cap - c->n)
                return 0;
        size_t cap = MAX(c->n + n, MAX(c->cap + c->cap / 2, (size_t)256));
        int32_t *data = reallocarray(c->data, cap, sizeof(*data));
        if (!data)
                return -ENOMEM;
        c->data = data;
        c->cap = cap;
        return 0;
}

/* U+0130 alone has two characters as its full lower case (SpecialCasing.txt). */
void chars_put_lower(Chars *c, int32_t ch) {
        c->data[c->n++] = ch == 0x130 ? 'i' : utf8proc_tolower(ch);
        if (ch == 0x130)
                c->data[c->n++] = 0x307;
}

int chars_put_decomposed(Chars *c, int32_t ch, bool compat) {
        int r = chars_reserve(c, DECOMPOSED_MAX);
        if (r < 0)
                return r;
        utf8proc_option_t options = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
        utf8proc_ssize_t n = utf8proc_decompose_char(ch, c->data + c->n, DECOMPOSED_MAX, options, NULL);
        if (n < 1 || n > DECOMPOSED_MAX) /* not of any character that there is */
                c->data[c->n] = ch, n = 1;
        c->n += (size_t)n;
        return 0;
}

static unsigned combining_class(int32_t c) {
        return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

static void sort_short(int32_t *run, size_t n) {
        for (size_t i = 1; i < n; i++) {
                int32_t c = run[i];
                size_t k = i;
                for (; k > 0 && combining_class(run[k - 1]) > combining_class(c); k--)
                        run[k] = run[k - 1];
                run[k] = c;
        }
}

static void sort_long(int32_t *run, size_t n, int32_t *room) {
        size_t starts[257] = {0};
        for (size_t i = 0; i < n; i++)
                starts[combining_class(run[i]) + 1]++;
        for (size_t k = 1; k < 257; k++)
                starts[k] += starts[k - 1];
        for (size_t i = 0; i < n; i++)
                room[starts[combining_class(run[i])]++] = run[i];
        memcpy(run, room, n * sizeof(*run));
}

int chars_order(Chars *c) {
        for (size_t i = 0, end; i < c->n; i = end + 1) {
                for (end = i; end < c->n && combining_class(c->data[end]) > 0; end++)
                        ;
                size_t n = end - i;
                if (n <= RUN_SHORT) {
                        sort_short(c->data + i, n);
                        continue;
                }
                int r = chars_reserve(c, n);
                if (r < 0)
                        return r;
                sort_long(c->data + i, n, c->data + c->n);
        }
        return 0;
}

void chars_compose(Chars *c) {
        utf8proc_ssize_t n =
                utf8proc_normalize_utf32(c->data, (utf8proc_ssize_t)c->n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n >= 0)
                c->n = (size_t)n;
}

void chars_write(const Chars *c, Buf *out) {
        char *at = buf_reserve(out, c->n * 4);
        if (!at)
                return;
        char *p = at;
        for (size_t i = 0; i < c->n; i++)
                p += utf8proc_encode_char(c->data[i], (utf8proc_uint8_t *)p);
        out->len += (size_t)(p - at);
        *p = 0;
}
