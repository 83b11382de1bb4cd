/* SentencePiece's "precompiled_charsmap": which sequences of characters are replaced by which text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

typedef struct Charsmap {
        uint32_t *units; /* [n_units]: a double-array trie in Darts-clone's layout, see charsmap.c */
        size_t n_units;
        char *texts; /* [n_texts]: replacements, each ended by a zero byte */
        size_t n_texts;
} Charsmap;

/* Copies what it needs of `data`. -EINVAL when it is cut short or leads out of itself, -ENOMEM. */
int charsmap_init(Charsmap *m, const void *data, size_t len, Error *e);
void charsmap_deinit(Charsmap *m);
/* The replacement of the shortest, or longest, sequence that `text` starts with, and that sequence's length; NULL when
 * there is none. */
const char *charsmap_find(const Charsmap *m, const char *text, size_t len, bool longest, size_t *ret_len);
