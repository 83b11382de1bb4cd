/* Page accounting of the KV cache; see kv.h. Contents are compared token by token, the hash only finds candidates, and
 * content numbers are never used twice: a page whose predecessor was overwritten cannot be reached any more. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/kv.h"
#include "util/macro.h"
#include "util/map.h"

/* ---- the free list ---- */

static void free_list_insert(Kv *kv, int32_t after, int32_t page) {
        KvPage *p = &kv->pages[page], *a = &kv->pages[after];
        p->prev = after;
        p->next = a->next;
        kv->pages[a->next].prev = page;
        a->next = page;
        kv->n_free++;
}

static void free_list_remove(Kv *kv, int32_t page) {
        const KvPage *p = &kv->pages[page];
        kv->pages[p->prev].next = p->next;
        kv->pages[p->next].prev = p->prev;
        kv->n_free--;
}

/* ---- contents ---- */

static int32_t *bucket_of(const Kv *kv, uint64_t before, const int32_t *tokens) {
        uint64_t hash = hash_bytes(tokens, kv->page_size * sizeof(*tokens), kv->seed ^ before);
        return &kv->buckets[hash & kv->bucket_mask];
}

static int32_t *tokens_of(const Kv *kv, int32_t page) {
        return kv->tokens + (size_t)page * kv->page_size;
}

static int32_t find_content(const Kv *kv, uint64_t before, const int32_t *tokens) {
        int32_t page = *bucket_of(kv, before, tokens);
        while (page >= 0 && (kv->pages[page].before != before ||
                             memcmp(tokens_of(kv, page), tokens, kv->page_size * sizeof(*tokens)) != 0))
                page = kv->pages[page].same_hash;
        return page;
}

static void set_content(Kv *kv, int32_t page, uint64_t before, const int32_t *tokens) {
        int32_t *bucket = bucket_of(kv, before, tokens);
        KvPage *p = &kv->pages[page];
        memcpy(tokens_of(kv, page), tokens, kv->page_size * sizeof(*tokens));
        p->before = before;
        p->content = ++kv->last_content;
        p->same_hash = *bucket;
        *bucket = page;
}

static void forget_content(Kv *kv, int32_t page) {
        KvPage *p = &kv->pages[page];
        if (p->content == 0)
                return;
        int32_t *link = bucket_of(kv, p->before, tokens_of(kv, page));
        while (*link != page)
                link = &kv->pages[*link].same_hash;
        *link = p->same_hash;
        p->content = 0;
}

/* ---- life ---- */

static uint32_t power_of_two_above(uint32_t n) {
        uint32_t p = 1;
        while (p < n && p < 1u << 31)
                p *= 2;
        return p;
}

int kv_init(Kv *kv, uint32_t n_slots, uint32_t max_pages, uint32_t n_pages, uint32_t page_size) {
        uint32_t n_buckets = power_of_two_above(n_pages);
        *kv = (Kv){
                .n_slots = n_slots, .max_pages = max_pages, .n_pages = n_pages, .page_size = page_size,
                .pages = calloc((size_t)n_pages + 1, sizeof(KvPage)),
                .tokens = calloc((size_t)n_pages * page_size, sizeof(int32_t)),
                .tables = calloc((size_t)n_slots * max_pages, sizeof(int32_t)),
                .slots = calloc(n_slots, sizeof(KvSlot)),
                .buckets = malloc(n_buckets * sizeof(int32_t)),
                .bucket_mask = n_buckets - 1,
                .last_content = UINT32_MAX, /* smaller ones are owners */
        };
        if (!kv->pages || !kv->tokens || !kv->tables || !kv->slots || !kv->buckets) {
                kv_deinit(kv);
                return -ENOMEM;
        }
        memset(kv->buckets, -1, n_buckets * sizeof(int32_t));
        (void)!getrandom(&kv->seed, sizeof(kv->seed), GRND_NONBLOCK);
        int32_t head = (int32_t)n_pages;
        kv->pages[head].prev = kv->pages[head].next = head;
        for (int32_t page = 0; page < head; page++)
                free_list_insert(kv, kv->pages[head].prev, page);
        return 0;
}

void kv_deinit(Kv *kv) {
        free(kv->pages);
        free(kv->tokens);
        free(kv->tables);
        free(kv->slots);
        free(kv->buckets);
        *kv = KV_NULL;
}

/* ---- slots ---- */

uint32_t kv_pages(const Kv *kv, uint32_t n_tokens) {
        return n_tokens / kv->page_size + (n_tokens % kv->page_size > 0);
}

uint32_t kv_missing(const Kv *kv, uint32_t slot, uint32_t n_tokens) {
        uint32_t n = kv_pages(kv, n_tokens), used = kv->slots[slot].used;
        return n > used ? n - used : 0;
}

uint32_t kv_room(const Kv *kv, uint32_t slot, uint32_t n_tokens) {
        uint32_t held = kv->slots[slot].used * kv->page_size;
        return held - MIN(held, n_tokens);
}

static void put_page(Kv *kv, uint32_t slot, int32_t page) {
        if (kv->pages[page].refs++ == 0)
                free_list_remove(kv, page);
        kv->tables[(size_t)slot * kv->max_pages + kv->slots[slot].used++] = page;
}

uint32_t kv_begin(Kv *kv, uint32_t slot, uint32_t owner, const int32_t *ids, uint32_t n) {
        KvSlot *s = &kv->slots[slot];
        assert(s->used == 0);
        s->content = owner;
        for (s->known = 0; (s->known + 1) * kv->page_size < n; s->known++) {
                int32_t page = find_content(kv, s->content, ids + (size_t)s->known * kv->page_size);
                if (page < 0)
                        break;
                put_page(kv, slot, page);
                s->content = kv->pages[page].content;
        }
        return s->known * kv->page_size;
}

void kv_extend(Kv *kv, uint32_t slot, uint32_t n_tokens) {
        uint32_t missing = kv_missing(kv, slot, n_tokens);
        assert(missing <= kv->n_free && kv->slots[slot].used + missing <= kv->max_pages);
        for (; missing > 0; missing--) {
                int32_t page = kv->pages[kv->n_pages].next;
                forget_content(kv, page);
                put_page(kv, slot, page);
        }
}

/* Where another sequence left the same content meanwhile, that page stands for it, and ours is just ours. */
void kv_remember(Kv *kv, uint32_t slot, const int32_t *ids, uint32_t n) {
        KvSlot *s = &kv->slots[slot];
        for (; s->known < n / kv->page_size; s->known++) {
                const int32_t *tokens = ids + (size_t)s->known * kv->page_size;
                int32_t page = find_content(kv, s->content, tokens);
                if (page < 0) {
                        page = kv_table(kv, slot)[s->known];
                        set_content(kv, page, s->content, tokens);
                }
                s->content = kv->pages[page].content;
        }
}

/* From the last page on, so that of one sequence the end is forgotten before the beginning. Pages of which nothing is
 * known are taken before any others. */
void kv_release(Kv *kv, uint32_t slot) {
        KvSlot *s = &kv->slots[slot];
        int32_t head = (int32_t)kv->n_pages;
        while (s->used > 0) {
                int32_t page = kv_table(kv, slot)[--s->used];
                if (--kv->pages[page].refs == 0)
                        free_list_insert(kv, kv->pages[page].content ? kv->pages[head].prev : head, page);
        }
        s->known = 0;
}
