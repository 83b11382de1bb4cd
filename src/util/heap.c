/* A binary heap; see heap.h. An item that enters, or fills a hole, is sifted: up past those that are later, or down past
 * those that are earlier (Williams, "Algorithm 232: Heapsort", 1964). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "util/heap.h"
#include "util/macro.h"

enum { ROOM_MIN = 64 };

void heap_deinit(Heap *h) {
        free(h->items);
        *h = HEAP_NULL;
}

int heap_reserve(Heap *h, size_t n) {
        if (n <= h->room)
                return 0;
        size_t room = MAX(n, MAX(2 * h->room, (size_t)ROOM_MIN));
        HeapItem **items = reallocarray(h->items, room, sizeof(HeapItem *));
        if (!items)
                return -ENOMEM;
        h->items = items;
        h->room = room;
        return 0;
}

static void place(Heap *h, size_t i, HeapItem *item) {
        h->items[i] = item;
        item->index = i;
}

/* Puts `item` where it belongs, from the hole `i`. */
static void sift(Heap *h, size_t i, HeapItem *item) {
        for (size_t up; i > 0 && h->items[up = (i - 1) / 2]->at > item->at; i = up)
                place(h, i, h->items[up]);
        for (size_t down; (down = 2 * i + 1) < h->n; i = down) {
                if (down + 1 < h->n && h->items[down + 1]->at < h->items[down]->at)
                        down++;
                if (h->items[down]->at >= item->at)
                        break;
                place(h, i, h->items[down]);
        }
        place(h, i, item);
}

void heap_add(Heap *h, HeapItem *item, uint64_t at) {
        assert(h->n < h->room);
        item->at = at;
        h->n++;
        sift(h, h->n - 1, item);
}

void heap_move(Heap *h, HeapItem *item, uint64_t at) {
        item->at = at;
        sift(h, item->index, item);
}

void heap_remove(Heap *h, HeapItem *item) {
        HeapItem *last = h->items[--h->n];
        if (last != item)
                sift(h, item->index, last);
}
