/* KV pages under random operations: no page is in two places, none is lost, tables keep what they have. */
#include <time.h>

#include "unit.h"
#include "engine/kv.h"
#include "util/macro.h"

static void check(const Kv *kv) {
        uint32_t *seen = calloc(kv->n_pages, sizeof(*seen)), held = 0;
        for (uint32_t i = 0; i < kv->n_free; i++) {
                assert_in_range(kv->free[i], 0, kv->n_pages - 1);
                assert_int_equal(seen[kv->free[i]]++, 0);
                assert_int_equal(kv->refs[kv->free[i]], 0);
        }
        for (uint32_t s = 0; s < kv->n_slots; s++) {
                assert_true(kv->used[s] <= kv->max_pages);
                for (uint32_t i = 0; i < kv->used[s]; i++, held++) {
                        int32_t page = kv_table(kv, s)[i];
                        assert_in_range(page, 0, kv->n_pages - 1);
                        assert_int_equal(seen[page]++, 0);
                        assert_int_equal(kv->refs[page], 1);
                }
        }
        assert_int_equal(held + kv->n_free, kv->n_pages);
        free(seen);
}

static void test_random(void **state) {
        unsigned seed = (unsigned)time(NULL);
        print_message("seed %u\n", seed);
        srand(seed);
        for (int round = 0; round < 50; round++) {
                uint32_t slots = 1 + (uint32_t)rand() % 6, max_pages = 1 + (uint32_t)rand() % 9;
                uint32_t pages = max_pages + (uint32_t)rand() % (slots * max_pages), size = 1u << rand() % 6;
                Kv kv;
                assert_int_equal(kv_init(&kv, slots, max_pages, pages, size), 0);
                for (int op = 0; op < 400; op++) {
                        uint32_t slot = (uint32_t)rand() % slots, had = kv.used[slot];
                        if (rand() % 4 == 0) {
                                kv_release(&kv, slot);
                                assert_int_equal(kv.used[slot], 0);
                        } else {
                                uint32_t tokens = (uint32_t)rand() % (max_pages * size + 1);
                                uint32_t missing = kv_missing(&kv, slot, tokens), n = (tokens + size - 1) / size;
                                int32_t before[16];
                                memcpy(before, kv_table(&kv, slot), had * sizeof(int32_t));
                                assert_int_equal(missing, n > had ? n - had : 0);
                                if (missing > kv.n_free)
                                        continue;
                                kv_extend(&kv, slot, tokens);
                                assert_int_equal(kv.used[slot], MAX(had, n));
                                assert_memory_equal(before, kv_table(&kv, slot), had * sizeof(int32_t));
                        }
                        check(&kv);
                }
                kv_deinit(&kv);
        }
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
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_borders)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
