/* The pages of a model's KV cache, as the host accounts for them, and what earlier sequences left in them.
 *
 * The arena is n_pages pages of page_size positions. Each slot has a block table: page i of the table holds positions
 * i * page_size and up. Planning asks kv_missing() and changes nothing; only kv_begin(), kv_extend() and kv_release()
 * apply. A page is counted by the tables that hold it and is free when none does.
 *
 * Prefix cache: a full page whose tokens are known is remembered by its content: those tokens, and the content before
 * them. It stays so when it becomes free, until it is taken for something else, the longest unused first. A sequence
 * that begins with the same tokens takes such pages instead of computing them. Contents belong to an owner (a user),
 * so that nobody can find out by the clock what others have asked.
 *
 * Invariants: a page is either on the free list with no references or in at least one table; a page in several tables
 * is full, and nobody writes to it. Nothing here touches the device: whoever changes a table uploads it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct KvPage {
        uint32_t refs;
        int32_t prev, next;      /* on the free list */
        int32_t same_hash;       /* next page of its bucket, -1: none */
        uint64_t before, content; /* what precedes it, and itself; content 0: nothing is known of it */
} KvPage;

typedef struct KvSlot {
        uint32_t used;  /* entries of its table in force */
        uint32_t known; /* of these, from the front, whose content is remembered */
        uint64_t content; /* of the last known one, or the owner */
} KvSlot;

typedef struct Kv {
        uint32_t n_slots, max_pages; /* tables, and entries of each */
        uint32_t n_pages, page_size;
        uint32_t n_free;
        KvPage *pages;   /* [n_pages + 1]: the last is the free list's head; its next is taken first */
        int32_t *tokens; /* [n_pages, page_size] of pages with known content */
        int32_t *tables; /* [n_slots, max_pages] */
        KvSlot *slots;   /* [n_slots] */
        int32_t *buckets; /* pages by hash of content; -1: none */
        uint32_t bucket_mask;
        uint64_t seed, last_content;
} Kv;

#define KV_NULL ((Kv){0})

/* -ENOMEM. */
int kv_init(Kv *kv, uint32_t n_slots, uint32_t max_pages, uint32_t n_pages, uint32_t page_size);
void kv_deinit(Kv *kv);

/* Pages that `n_tokens` positions take. */
uint32_t kv_pages(const Kv *kv, uint32_t n_tokens);
/* Pages `slot` lacks to hold `n_tokens` positions. */
uint32_t kv_missing(const Kv *kv, uint32_t slot, uint32_t n_tokens);

/* Positions more than `n_tokens` that its pages can hold. */
uint32_t kv_room(const Kv *kv, uint32_t slot, uint32_t n_tokens);

/* Starts a sequence of `owner` in an empty slot. Returns how many of its first tokens need not be computed: whole
 * pages, and never all `n`, since the last one's result is wanted. */
uint32_t kv_begin(Kv *kv, uint32_t slot, uint32_t owner, const int32_t *ids, uint32_t n);
/* Gives `slot` the pages it lacks; there must be so many free. */
void kv_extend(Kv *kv, uint32_t slot, uint32_t n_tokens);
/* The first `n` positions of `slot` hold `ids` (those told before must not have changed). */
void kv_remember(Kv *kv, uint32_t slot, const int32_t *ids, uint32_t n);
void kv_release(Kv *kv, uint32_t slot);

static inline const int32_t *kv_table(const Kv *kv, uint32_t slot) {
        return kv->tables + (size_t)slot * kv->max_pages;
}
