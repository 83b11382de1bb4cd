/* Characters, and sets of them, as regular expressions and GBNF write them. Texts end with a NUL. */
#pragma once

#include "text/grammar.h"

enum { CHAR_SET_MAX = 256, UNICODE_MAX = 0x10ffff };

/* Ranges may overlap, and come in any order. */
typedef struct CharSet {
        CharRange ranges[CHAR_SET_MAX];
        size_t n;
        bool full; /* more were to be added than it has room for */
} CharSet;

void char_set_add(CharSet *c, uint32_t first, uint32_t last);
/* Becomes all other characters. */
void char_set_negate(CharSet *c);

/* Reads the character, or so many hexadecimal digits, that stand at *at, and goes beyond. False: there is none, or it is no
 * UTF-8; or they are not so many. */
bool read_char(const char **at, uint32_t *ret);
bool read_hex(const char **at, size_t digits, uint32_t *ret);
