/* KV pages under random operations: no page is in two places it must not be, none is lost, tables keep what they have;
 * and what the prefix cache hands out is what was written there, for this owner, and is there as long as it can be. */
#include <stdbool.h>

#include "unit.h"
#include "engine/kv.h"
#include "util/macro.h"

enum { SLOTS = 5, PAGES_MAX = 8, SIZE = 4, TOKENS = PAGES_MAX * SIZE, ARENA = 24 };

/* What the positions of a page, and all before them, hold: written by whoever computed it. */
typedef struct Written {
        uint32_t owner, n;
        int32_t ids[TOKENS];
} Written;

typedef struct Sequence {
        bool on;
        uint32_t owner, n, computed;
        int32_t ids[TOKENS];
} Sequence;

static uint32_t random_below(uint32_t n) {
        return (uint32_t)rand() % n;
}

static void check_books(const Kv *kv) {
        uint32_t *held = calloc(kv->n_pages, sizeof(*held)), n_free = 0;
        for (uint32_t s = 0; s < kv->n_slots; s++) {
                assert_true(kv->slots[s].used <= kv->max_pages);
                for (uint32_t i = 0; i < kv->slots[s].used; i++)
                        held[kv_table(kv, s)[i]]++;
        }
        for (int32_t p = kv->pages[kv->n_pages].next; p != (int32_t)kv->n_pages; p = kv->pages[p].next) {
                assert_int_equal(held[p], 0);
                assert_true(++n_free <= kv->n_pages);
        }
        assert_int_equal(n_free, kv->n_free);
        for (uint32_t p = 0; p < kv->n_pages; p++) {
                assert_int_equal(kv->pages[p].refs, held[p]);
                n_free += held[p] > 0;
        }
        assert_int_equal(n_free, kv->n_pages);
        free(held);
}

static void begin(Kv *kv, uint32_t slot, Sequence *q, const Written *written) {
        q->on = true;
        q->owner = random_below(2);
        q->n = 1 + random_below(TOKENS - 1);
        for (uint32_t i = 0; i < q->n; i++)
                q->ids[i] = (int32_t)random_below(i % SIZE ? 1 : 2); /* few kinds of pages, so that they recur */
        q->computed = kv_begin(kv, slot, q->owner, q->ids, q->n);
        assert_int_equal(q->computed % SIZE, 0);
        assert_true(q->computed < q->n);
        for (uint32_t i = 0; i < q->computed / SIZE; i++) {
                const Written *w = &written[kv_table(kv, slot)[i]];
                assert_int_equal(w->owner, q->owner);
                assert_int_equal(w->n, (i + 1) * SIZE);
                assert_memory_equal(w->ids, q->ids, w->n * sizeof(int32_t));
        }
}

/* Computes up to `n` positions, as the scheduler would: pages first, then rows, then the news. */
static void compute(Kv *kv, uint32_t slot, Sequence *q, uint32_t n, Written *written) {
        if (kv_missing(kv, slot, n) > kv->n_free)
                return;
        kv_extend(kv, slot, n);
        for (uint32_t i = q->computed / SIZE; i < kv_pages(kv, n); i++) {
                int32_t page = kv_table(kv, slot)[i];
                assert_int_equal(kv->pages[page].refs, 1); /* what is written to is nobody else's */
                written[page] = (Written){.owner = q->owner, .n = (i + 1) * SIZE};
                memcpy(written[page].ids, q->ids, MIN(written[page].n, (uint32_t)TOKENS) * sizeof(int32_t));
        }
        q->computed = MAX(q->computed, n);
        kv_remember(kv, slot, q->ids, q->computed);
}

static void test_random(void **state) {
        srand((unsigned)test_seed());
        uint32_t hits = 0;
        for (int round = 0; round < 100; round++) {
                static Written written[ARENA];
                Sequence seqs[SLOTS] = {0};
                Kv kv;
                assert_int_equal(kv_init(&kv, SLOTS, PAGES_MAX, PAGES_MAX + random_below(ARENA - PAGES_MAX), SIZE), 0);
                for (int op = 0; op < 500; op++) {
                        uint32_t slot = random_below(SLOTS);
                        Sequence *q = &seqs[slot];
                        if (!q->on) {
                                begin(&kv, slot, q, written);
                                hits += q->computed > 0;
                        } else if (random_below(4) == 0) {
                                kv_release(&kv, slot);
                                q->on = false;
                        } else
                                compute(&kv, slot, q, q->computed + random_below(q->n - q->computed + 1), written);
                        check_books(&kv);
                }
                kv_deinit(&kv);
        }
        assert_true(hits > 100);
}

static void test_prefix(void **state) {
        int32_t ids[40];
        Kv kv;
        for (int32_t i = 0; i < 40; i++)
                ids[i] = i;
        assert_int_equal(kv_init(&kv, 3, 10, 12, 4), 0);
        assert_int_equal(kv_begin(&kv, 0, 7, ids, 40), 0);
        kv_extend(&kv, 0, 40);
        kv_remember(&kv, 0, ids, 18); /* four whole pages */
        assert_int_equal(kv_begin(&kv, 1, 7, ids, 40), 16); /* from one that runs */
        assert_int_equal(kv_begin(&kv, 2, 8, ids, 40), 0);  /* not of another user */
        assert_int_equal(kv.n_free, 2);
        kv_release(&kv, 1);
        kv_remember(&kv, 0, ids, 40);
        kv_release(&kv, 0);
        kv_release(&kv, 2);
        assert_int_equal(kv.n_free, 12);
        assert_int_equal(kv_begin(&kv, 1, 7, ids, 40), 36); /* from one that is gone; the last token is computed */
        kv_release(&kv, 1);
        ids[5] = 99;
        assert_int_equal(kv_begin(&kv, 1, 7, ids, 40), 4); /* the same tokens after others are not the same */
        kv_release(&kv, 1);
        ids[5] = 5;
        kv_begin(&kv, 2, 8, ids, 1);
        kv_extend(&kv, 2, 20); /* takes the two that hold nothing, then the end of the old sequence */
        assert_int_equal(kv_begin(&kv, 1, 7, ids, 40), 28);
        kv_deinit(&kv);
}

static void test_borders(void **state) {
        Kv kv;
        assert_int_equal(kv_init(&kv, 2, 4, 5, 32), 0);
        assert_int_equal(kv_pages(&kv, 0), 0);
        assert_int_equal(kv_pages(&kv, 1), 1);
        assert_int_equal(kv_pages(&kv, 32), 1);
        assert_int_equal(kv_pages(&kv, 33), 2);
        assert_int_equal(kv_pages(&kv, UINT32_MAX), 134217728);
        kv_extend(&kv, 0, 128);
        assert_int_equal(kv.n_free, 1);
        assert_int_equal(kv_missing(&kv, 1, 33), 2);
        kv_release(&kv, 0);
        kv_release(&kv, 0);
        assert_int_equal(kv.n_free, 5);
        kv_deinit(&kv);
        kv_deinit(&kv);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random), cmocka_unit_test(test_prefix), cmocka_unit_test(test_borders),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
