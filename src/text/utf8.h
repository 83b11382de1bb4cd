/* The one question about UTF-8 that splitting text into characters and streaming it both ask. */
#pragma once

#include <stddef.h>

/* The character at the start of `s`, n >= 1. Positive: its length in bytes. 0: it is valid so far but cut short by
 * the end of `s`. Negative: minus the number of bytes that can belong to no character, the "maximal subpart" that
 * Unicode (chapter 3, D93b) recommends to replace by one U+FFFD. */
int utf8_char(const char *s, size_t n);
