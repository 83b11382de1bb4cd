/* The heap: the first is the first whatever is added, moved and removed in between, against a plain array; and what is
 * taken out from the top comes in order. */
#include <stdbool.h>

#include "unit.h"
#include "util/heap.h"
#include "util/macro.h"

enum { N = 500 };

typedef struct Thing {
        HeapItem item;
        bool in;
} Thing;

static Thing things[N];

static uint64_t earliest(size_t *ret_n) {
        uint64_t at = UINT64_MAX;
        *ret_n = 0;
        for (size_t i = 0; i < N; i++)
                if (things[i].in) {
                        at = MIN(at, things[i].item.at);
                        (*ret_n)++;
                }
        return at;
}

static void check_first(const Heap *h) {
        size_t n;
        uint64_t first = earliest(&n);
        assert_int_equal(h->n, n);
        if (n == 0)
                assert_null(heap_first(h));
        else
                assert_true(heap_first(h)->at == first);
}

static void change(Heap *h, Thing *t, uint64_t at) {
        bool move = rand() % 2;
        if (!t->in) {
                assert_int_equal(heap_reserve(h, h->n + 1), 0);
                heap_add(h, &t->item, at);
        } else if (move)
                heap_move(h, &t->item, at);
        else
                heap_remove(h, &t->item);
        t->in = !t->in || move;
}

static void test_order(void **state) {
        (void)state;
        Heap h = HEAP_NULL;
        srand(11);
        for (int step = 0; step < 20000; step++) { /* few moments, so that many are equal */
                change(&h, &things[rand() % N], rand() % 10 == 0 ? UINT64_MAX : (uint64_t)(rand() % 300));
                check_first(&h);
        }
        for (HeapItem *first; (first = heap_first(&h));) {
                check_first(&h);
                container_of(first, Thing, item)->in = false;
                heap_remove(&h, first);
        }
        check_first(&h);
        heap_deinit(&h);
}

static void test_room(void **state) {
        (void)state;
        Heap h = HEAP_NULL;
        assert_null(heap_first(&h));
        assert_int_equal(heap_reserve(&h, 1000), 0);
        HeapItem *const *items = h.items;
        assert_int_equal(heap_reserve(&h, 10), 0);
        assert_int_equal(heap_reserve(&h, 1000), 0);
        assert_ptr_equal(h.items, items);
        heap_deinit(&h);
        assert_int_equal(h.room, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_room)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
