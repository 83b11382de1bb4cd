/* See chars.h. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/chars.h"
#include "util/macro.h"

void char_set_add(CharSet *c, uint32_t first, uint32_t last) {
        if (first > last)
                return;
        if (c->n == CHAR_SET_MAX)
                c->full = true;
        else
                c->ranges[c->n++] = (CharRange){first, last};
}

static int by_first(const void *a, const void *b) {
        const CharRange *x = a, *y = b;
        return (x->first > y->first) - (x->first < y->first);
}

void char_set_negate(CharSet *c) {
        CharSet out = {.full = c->full};
        uint32_t from = 0;
        qsort(c->ranges, c->n, sizeof(*c->ranges), by_first);
        for (size_t i = 0; i < c->n; i++) {
                if (c->ranges[i].first > from)
                        char_set_add(&out, from, c->ranges[i].first - 1);
                from = MAX(from, c->ranges[i].last + 1);
        }
        char_set_add(&out, from, UNICODE_MAX);
        *c = out;
}

bool read_char(const char **at, uint32_t *ret) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = **at ? utf8proc_iterate((const utf8proc_uint8_t *)*at, -1, &c) : 0;
        if (n <= 0)
                return false;
        *at += n;
        *ret = (uint32_t)c;
        return true;
}

bool read_hex(const char **at, size_t digits, uint32_t *ret) {
        static const char all[] = "0123456789abcdef";
        uint32_t c = 0;
        for (size_t i = 0; i < digits; i++, (*at)++) {
                if (!isxdigit((unsigned char)**at))
                        return false;
                c = c * 16 + (uint32_t)(strchr(all, tolower((unsigned char)**at)) - all);
        }
        *ret = c;
        return true;
}
