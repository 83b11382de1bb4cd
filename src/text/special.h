/* Finding special tokens written out in text: the leftmost one, and of those the longest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SpecialNode {
        int32_t id;    /* of the token that ends here, or -1 */
        bool ordinary; /* that token may be written by anybody: it is found without `parse` too */
        uint8_t byte;
        uint32_t child, sibling; /* 0: none */
} SpecialNode;

typedef struct Specials {
        SpecialNode *nodes; /* [0] is the root */
        size_t n, cap;
        uint32_t first[256]; /* the root's children by byte; 0: none */
} Specials;

/* Zeroed memory is an empty set. Adding the same text again is ignored. -ENOMEM. */
int specials_add(Specials *s, const char *text, size_t len, int32_t id, bool ordinary);
void specials_deinit(Specials *s);
/* Offset of the first special token in `text`, with its id and length; `len` (and length 0) when there is none.
 * Without `parse` only ordinary ones count. */
size_t specials_find(const Specials *s, const char *text, size_t len, bool parse, int32_t *ret_id, size_t *ret_len);
