/* A growing byte buffer, for text that is built piece by piece. Invariant: data[len] is 0 once anything was added,
 * so text can be read as a string. An allocation failure is sticky: `failed` is set, later puts do nothing, and the
 * owner checks once, at the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

typedef struct Buf {
        char *data;
        size_t len, cap;
        bool failed;
} Buf;

#define BUF_NULL ((Buf){0})

void buf_deinit(Buf *b);
#define _cleanup_buf_ _cleanup_(buf_deinit)

/* Makes room for `n` more bytes and returns where they go, or NULL; the caller then adds to `len`. */
char *buf_reserve(Buf *b, size_t n);
void buf_put(Buf *b, const void *data, size_t n);
void buf_puts(Buf *b, const char *s);
void buf_putc(Buf *b, char c);
void buf_putu(Buf *b, uint64_t n); /* in decimal; for where printf would be most of the work */
void buf_printf(Buf *b, const char *fmt, ...) _printf_(2, 3);
/* Removes `n` bytes from the front. */
void buf_consume(Buf *b, size_t n);
/* Empties it, keeping the memory. */
void buf_clear(Buf *b);
/* Hands out the text (never NULL unless memory failed); the buffer is empty afterwards. */
char *buf_take(Buf *b);
