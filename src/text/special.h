/* Finding special tokens written out in text: the leftmost one, and of those the longest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        SPECIAL_ORDINARY = 1,    /* it may be written by anybody: it is found without `parse` too */
        SPECIAL_LSTRIP = 2,      /* takes the white space before it */
        SPECIAL_RSTRIP = 4,      /* … and after it */
        SPECIAL_SINGLE_WORD = 8, /* is none where a word goes on before or after it */
};

typedef struct SpecialNode {
        int32_t id;    /* of the token that ends here, or -1 */
        uint8_t flags; /* of that token */
        uint8_t byte;
        uint32_t child, sibling; /* 0: none */
} SpecialNode;

typedef struct Specials {
        SpecialNode *nodes; /* [0] is the root */
        size_t n, cap;
        uint32_t first[256]; /* the root's children by byte; 0: none */
} Specials;

typedef struct SpecialMatch { /* bytes start … end of the text are token `id` */
        size_t start, end;
        int32_t id;
} SpecialMatch;

/* Zeroed memory is an empty set. Adding the same text again is ignored. -ENOMEM. */
int specials_add(Specials *s, const char *text, size_t len, int32_t id, unsigned flags);
void specials_deinit(Specials *s);
/* The first special token at or behind `from`; false when there is none. Without `parse` only ordinary ones count. */
bool specials_find(const Specials *s, const char *text, size_t len, size_t from, bool parse, SpecialMatch *ret);
