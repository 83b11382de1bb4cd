/* Byte-pair merging, the step that both kinds of tokenizer share: a word starts as a chain of small symbols, and the
 * best-ranked neighbours are joined, leftmost first among equals, until no two neighbours make a token. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Symbols live in an array at the offset of their first byte in the word, so `start` needs no field; a symbol that was
 * absorbed has length 0. */
typedef struct Symbol {
        uint32_t len;
        int32_t id;          /* -1: in no vocabulary, to be spelled out in bytes */
        uint32_t prev, next; /* offsets; UINT32_MAX before the first, the word's length after the last */
} Symbol;

/* What two neighbours would become. */
typedef struct Merge {
        uint32_t rank; /* lower is merged first */
        int32_t id;
} Merge;

/* A merge that was possible when it was queued. It still is if the two symbols at `left` still span `len` bytes:
 * symbols only grow. */
typedef struct QueuedMerge {
        uint32_t rank, left;
        uint32_t len;
        int32_t id;
} QueuedMerge;

/* The working memory of one encode call, grown to its longest word. */
typedef struct MergeScratch {
        Symbol *symbols;    /* [cap] */
        QueuedMerge *queue; /* [2 * cap]: a binary heap */
        size_t cap, n_queued;
} MergeScratch;

struct Tokenizer;

int merge_scratch_reserve(MergeScratch *m, size_t word_len);
void merge_scratch_deinit(MergeScratch *m);
/* Puts a symbol at `start`, where the one at `prev` ends (UINT32_MAX: none). */
void merge_put_symbol(MergeScratch *m, uint32_t prev, uint32_t start, uint32_t len, int32_t id);
/* Merges the symbols of `word`. O(len log len). */
void merge_run(MergeScratch *m, const struct Tokenizer *t, const char *word, uint32_t len);
