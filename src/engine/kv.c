/* Page accounting of the KV cache; see kv.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/kv.h"

int kv_init(Kv *kv, uint32_t n_slots, uint32_t max_pages, uint32_t n_pages, uint32_t page_size) {
        *kv = (Kv){.n_slots = n_slots, .max_pages = max_pages, .n_pages = n_pages, .page_size = page_size};
        kv->free = calloc(n_pages, sizeof(*kv->free));
        kv->refs = calloc(n_pages, sizeof(*kv->refs));
        kv->tables = calloc((size_t)n_slots * max_pages, sizeof(*kv->tables));
        kv->used = calloc(n_slots, sizeof(*kv->used));
        if (!kv->free || !kv->refs || !kv->tables || !kv->used) {
                kv_deinit(kv);
                return -ENOMEM;
        }
        while (kv->n_free < n_pages) {
                kv->free[kv->n_free] = (int32_t)(n_pages - 1 - kv->n_free); /* page 0 is used first */
                kv->n_free++;
        }
        return 0;
}

void kv_deinit(Kv *kv) {
        free(kv->free);
        free(kv->refs);
        free(kv->tables);
        free(kv->used);
        *kv = KV_NULL;
}

uint32_t kv_pages(const Kv *kv, uint32_t n_tokens) {
        return n_tokens / kv->page_size + (n_tokens % kv->page_size > 0);
}

uint32_t kv_missing(const Kv *kv, uint32_t slot, uint32_t n_tokens) {
        uint32_t n = kv_pages(kv, n_tokens);
        return n > kv->used[slot] ? n - kv->used[slot] : 0;
}

void kv_extend(Kv *kv, uint32_t slot, uint32_t n_tokens) {
        uint32_t missing = kv_missing(kv, slot, n_tokens);
        assert(missing <= kv->n_free && kv->used[slot] + missing <= kv->max_pages);
        int32_t *table = kv->tables + (size_t)slot * kv->max_pages;
        for (; missing > 0; missing--) {
                int32_t page = kv->free[--kv->n_free];
                kv->refs[page] = 1;
                table[kv->used[slot]++] = page;
        }
}

void kv_release(Kv *kv, uint32_t slot) {
        const int32_t *table = kv_table(kv, slot);
        while (kv->used[slot] > 0) {
                int32_t page = table[--kv->used[slot]];
                if (--kv->refs[page] == 0)
                        kv->free[kv->n_free++] = page;
        }
}
