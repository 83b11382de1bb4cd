/* What comes first: a binary heap of moments. A HeapItem is embedded in its owner, which is found back with
 * container_of(), and knows its place, so that it can be moved and taken out from anywhere. Each of these costs a
 * logarithm; the first is at hand. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct HeapItem {
        uint64_t at;
        size_t index; /* in the heap */
} HeapItem;

typedef struct Heap {
        HeapItem **items; /* none later than the two at 2i + 1 and 2i + 2 */
        size_t n, room;
} Heap;

#define HEAP_NULL ((Heap){0})

/* Frees the heap, not what is in it. */
void heap_deinit(Heap *h);
/* Makes room for `n` items in all. -ENOMEM. */
int heap_reserve(Heap *h, size_t n);
/* There must be room. */
void heap_add(Heap *h, HeapItem *item, uint64_t at);
void heap_move(Heap *h, HeapItem *item, uint64_t at);
void heap_remove(Heap *h, HeapItem *item);

/* NULL: it is empty. */
static inline HeapItem *heap_first(const Heap *h) {
        return h->n > 0 ? h->items[0] : NULL;
}
