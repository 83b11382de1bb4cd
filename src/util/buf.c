/* Growing byte buffer; see buf.h. Capacity doubles, so n puts cost O(total). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/buf.h"
#include "util/checked.h"

enum { CAP_MIN = 64, PRINTF_ROOM = 120 };

void buf_deinit(Buf *b) {
        free(b->data);
        *b = BUF_NULL;
}

char *buf_reserve(Buf *b, size_t n) {
        size_t need;
        if (b->failed || !checked_add(b->len, n, &need) || !checked_add(need, 1, &need)) {
                b->failed = true;
                return NULL;
        }
        if (need > b->cap) {
                size_t cap = MAX(need, MAX(2 * b->cap, (size_t)CAP_MIN));
                char *p = realloc(b->data, cap);
                if (!p) {
                        b->failed = true;
                        return NULL;
                }
                b->data = p;
                b->cap = cap;
        }
        return b->data + b->len;
}

void buf_put(Buf *b, const void *data, size_t n) {
        char *p = buf_reserve(b, n);
        if (!p)
                return;
        if (n > 0)
                memcpy(p, data, n);
        b->len += n;
        b->data[b->len] = 0;
}

void buf_puts(Buf *b, const char *s) {
        buf_put(b, s, strlen(s));
}

void buf_putc(Buf *b, char c) {
        buf_put(b, &c, 1);
}

void buf_putu(Buf *b, uint64_t n) {
        char text[20], *p = text + sizeof(text);
        do
                *--p = (char)('0' + n % 10);
        while (n /= 10);
        buf_put(b, p, (size_t)(text + sizeof(text) - p));
}

/* Prints into the room there is, and only what did not fit a second time. */
void buf_printf(Buf *b, const char *fmt, ...) {
        char *p = buf_reserve(b, PRINTF_ROOM);
        if (!p)
                return;
        size_t room = b->cap - b->len;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(p, room, fmt, ap);
        va_end(ap);
        if (n < 0) {
                b->failed = true;
                return;
        }
        if ((size_t)n >= room) {
                p[0] = 0; /* should the memory not come, nothing was added */
                if (!(p = buf_reserve(b, (size_t)n)))
                        return;
                va_start(ap, fmt);
                vsnprintf(p, (size_t)n + 1, fmt, ap);
                va_end(ap);
        }
        b->len += (size_t)n;
}

void buf_consume(Buf *b, size_t n) {
        if (n == 0)
                return;
        memmove(b->data, b->data + n, b->len - n + 1);
        b->len -= n;
}

void buf_clear(Buf *b) {
        b->len = 0;
        b->failed = false;
        if (b->data)
                b->data[0] = 0;
}

char *buf_take(Buf *b) {
        if (!b->data)
                buf_put(b, "", 0);
        char *s = b->failed ? NULL : TAKE(b->data);
        buf_deinit(b);
        return s;
}
