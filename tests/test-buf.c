/* The growing buffer: it stays a string, consumes from the front, and remembers a failure. */
#include "unit.h"
#include "util/buf.h"

static void test_text(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        for (int i = 0; i < 1000; i++)
                buf_printf(&b, "%d,", i);
        assert_int_equal(b.len, strlen(b.data));
        assert_memory_equal(b.data, "0,1,2,", 6);
        buf_consume(&b, 4);
        assert_memory_equal(b.data, "2,3,", 4);
        buf_clear(&b);
        assert_int_equal(b.len, 0);
        buf_putu(&b, 0);
        buf_putu(&b, 1234567890);
        buf_putu(&b, UINT64_MAX);
        assert_string_equal(b.data, "0123456789018446744073709551615");
        buf_clear(&b);
        buf_puts(&b, "end");
        char *s = buf_take(&b);
        assert_string_equal(s, "end");
        free(s);
        s = buf_take(&b);
        assert_string_equal(s, "");
        free(s);
}

static void test_failure(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        buf_puts(&b, "x");
        assert_null(buf_reserve(&b, SIZE_MAX));
        assert_true(b.failed);
        buf_puts(&b, "y");
        assert_int_equal(b.len, 1);
        assert_null(buf_take(&b));
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_failure)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
