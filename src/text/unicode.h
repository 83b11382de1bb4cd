/* What the normalizers and pre-tokenizers of models ask of Unicode: classes of characters, lower case, normal forms.
 * The tables are utf8proc's. Text is valid UTF-8 throughout. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

/* The character at *p, which moves behind it. */
static inline int32_t unicode_next(const char **p) {
        const unsigned char *s = (const unsigned char *)*p;
        int more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
        int32_t c = more == 0 ? s[0] : s[0] & (0x3f >> more);
        for (int i = 1; i <= more; i++)
                c = c << 6 | (s[i] & 0x3f);
        *p += more + 1;
        return c;
}

/* Bytes of the character that starts with `lead`. */
static inline size_t unicode_len(char lead) {
        unsigned char c = (unsigned char)lead;
        return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

bool unicode_is_white(int32_t c);       /* White_Space */
bool unicode_is_control(int32_t c);     /* Cc, Cf, Cs, Co */
bool unicode_is_punctuation(int32_t c); /* P*, and ASCII that is neither letter, digit, white space nor control */
bool unicode_is_mark(int32_t c);        /* M* */
bool unicode_is_nonspacing(int32_t c);  /* Mn */
bool unicode_is_word(int32_t c);        /* \w: Alphabetic, M*, Nd, Pc, Join_Control */
/* It is neither mark, control nor white space, has no decomposition and no other lower case. Most letters of most texts
 * are so, and one look-up tells it. Not of ASCII. */
bool unicode_is_inert(int32_t c);

/* Characters on their way between two texts. Zeroed memory is empty. */
typedef struct Chars {
        int32_t *data;
        size_t n, cap;
} Chars;

void chars_deinit(Chars *c);
int chars_reserve(Chars *c, size_t n); /* room for `n` more; -ENOMEM */
/* Appends in lower case: one character, or two. There is room. */
void chars_put_lower(Chars *c, int32_t ch);
/* Appends its canonical decomposition, or with `compat` its compatibility decomposition. -ENOMEM. */
int chars_put_decomposed(Chars *c, int32_t ch, bool compat);
/* Brings combining characters into canonical order, in linear time. -ENOMEM. */
int chars_order(Chars *c);
/* Composes what is decomposed and in order. */
void chars_compose(Chars *c);
/* Appends as UTF-8; a failure is the Buf's. */
void chars_write(const Chars *c, Buf *out);
