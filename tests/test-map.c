/* The hash map against a plain array: many keys, growth, overwriting, absent keys. */
#include "unit.h"
#include "util/map.h"

enum { N = 20000 };

static void test_many(void **state) {
        (void)state;
        static char keys[N][16];
        Map m;
        int32_t v;
        assert_int_equal(map_init(&m, 0), 0);
        for (int i = 0; i < N; i++) {
                snprintf(keys[i], sizeof(keys[i]), "key%d", i * 7);
                assert_int_equal(map_set(&m, keys[i], strlen(keys[i]), i), 0);
        }
        assert_int_equal(m.count, N);
        for (int i = 0; i < N; i++) {
                assert_true(map_get(&m, keys[i], strlen(keys[i]), &v));
                assert_int_equal(v, i);
        }
        assert_false(map_get(&m, "key1", 4, &v));
        assert_int_equal(map_set(&m, keys[5], strlen(keys[5]), 99), 1);
        assert_true(map_get(&m, keys[5], strlen(keys[5]), &v));
        assert_int_equal(v, 99);
        map_deinit(&m);
}

static void test_bytes(void **state) {
        (void)state;
        Map m;
        int32_t v;
        assert_int_equal(map_init(&m, 4), 0);
        assert_int_equal(map_set(&m, "a\0b", 3, 1), 0);
        assert_int_equal(map_set(&m, "a\0c", 3, 2), 0);
        assert_int_equal(map_set(&m, "", 0, 3), 0);
        assert_true(map_get(&m, "a\0c", 3, &v));
        assert_int_equal(v, 2);
        assert_true(map_get(&m, "", 0, &v));
        assert_int_equal(v, 3);
        map_deinit(&m);
        assert_false(map_get(&m, "a", 1, &v));
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_many), cmocka_unit_test(test_bytes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
