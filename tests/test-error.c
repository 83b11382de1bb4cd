/* Error messages: set, prefixed, and cut at their size without running over. */
#include <errno.h>

#include "unit.h"
#include "util/error.h"

static void test_prefix(void **state) {
        (void)state;
        Error e = ERROR_NULL;
        assert_int_equal(error_set(&e, -EINVAL, "tensor '%s' is %d bytes short", "x", 3), -EINVAL);
        assert_int_equal(error_prefix(&e, "%s", "model.gguf"), -EINVAL);
        assert_string_equal(e.text, "model.gguf: tensor 'x' is 3 bytes short");
        assert_int_equal(error_set(NULL, -ENOENT, "x"), -ENOENT);
}

static void test_long(void **state) {
        (void)state;
        Error e = ERROR_NULL;
        char text[2000];
        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        error_set(&e, -1, "%s", text);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        error_prefix(&e, "prefix");
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        assert_memory_equal(e.text, "prefix: aaa", 11);
        for (size_t n = sizeof(e.text) - 6; n < sizeof(e.text) + 2; n++) {
                error_set(&e, -1, "tail");
                error_prefix(&e, "%.*s", (int)n, text);
                assert_true(strlen(e.text) < sizeof(e.text));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefix), cmocka_unit_test(test_long)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
