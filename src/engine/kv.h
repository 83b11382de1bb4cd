/* The pages of a model's KV cache, as the host accounts for them.
 *
 * The arena is n_pages pages of page_size positions. Each slot has a block table: page i of the table holds positions
 * i * page_size and up. Planning asks kv_missing() and changes nothing; only kv_extend() and kv_release() apply. A
 * page is counted by the tables that hold it and is free when none does.
 *
 * Invariants: a page is either on the free list with no references or in at least one table; entries of a table
 * beyond its length mean nothing. Nothing here touches the device: whoever extends a slot uploads its table. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct Kv {
        uint32_t n_slots, max_pages; /* tables, and entries of each */
        uint32_t n_pages, page_size;
        uint32_t n_free;
        int32_t *free;   /* [n_pages] a stack: the page released last is used next */
        uint32_t *refs;  /* [n_pages] */
        int32_t *tables; /* [n_slots, max_pages] */
        uint32_t *used;  /* [n_slots] entries in force */
} Kv;

#define KV_NULL ((Kv){0})

/* -ENOMEM. */
int kv_init(Kv *kv, uint32_t n_slots, uint32_t max_pages, uint32_t n_pages, uint32_t page_size);
void kv_deinit(Kv *kv);

/* Pages that `n_tokens` positions take. */
uint32_t kv_pages(const Kv *kv, uint32_t n_tokens);
/* Pages `slot` lacks to hold `n_tokens` positions. */
uint32_t kv_missing(const Kv *kv, uint32_t slot, uint32_t n_tokens);
/* Gives `slot` the pages it lacks; there must be so many free. */
void kv_extend(Kv *kv, uint32_t slot, uint32_t n_tokens);
void kv_release(Kv *kv, uint32_t slot);

static inline const int32_t *kv_table(const Kv *kv, uint32_t slot) {
        return kv->tables + (size_t)slot * kv->max_pages;
}
