/* Sizes, durations, nearest words and UTF-8 prefixes. */
#include <errno.h>

#include "unit.h"
#include "util/str.h"

static void test_size(void **state) {
        (void)state;
        static const struct {
                const char *text;
                int r;
                uint64_t bytes;
        } cases[] = {
                {"0", 0, 0}, {"512", 0, 512}, {"1K", 0, 1024}, {"2GiB", 0, 2147483648u}, {"2 GiB", 0, 2147483648u},
                {"1.5GB", 0, 1500000000u}, {"16mib", 0, 16777216u}, {"", -EINVAL, 0}, {"GiB", -EINVAL, 0},
                {"-1", -EINVAL, 0}, {"1e9", -EINVAL, 0}, {"0x10", -EINVAL, 0}, {"1.2.3", -EINVAL, 0},
                {"5GiB 3", -EINVAL, 0}, {"99999999999TiB", -ERANGE, 0}, {"nan", -EINVAL, 0},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint64_t v = 0;
                if (parse_size(cases[i].text, &v) != cases[i].r || v != cases[i].bytes)
                        fail_msg("'%s' gave %ju", cases[i].text, (uintmax_t)v);
        }
}

static void test_duration(void **state) {
        (void)state;
        static const struct {
                const char *text;
                int r;
                uint64_t usec;
        } cases[] = {
                {"0", 0, 0}, {"250ms", 0, 250000}, {"10s", 0, 10000000}, {"10", 0, 10000000}, {"1h30m", 0, 5400000000u},
                {"1h 30m", 0, 5400000000u}, {"forever", 0, UINT64_MAX}, {"10x", -EINVAL, 0}, {"m", -EINVAL, 0},
                {"", -EINVAL, 0}, {"99999999999999d", -ERANGE, 0},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint64_t v = 0;
                if (parse_duration(cases[i].text, &v) != cases[i].r || v != cases[i].usec)
                        fail_msg("'%s' gave %ju", cases[i].text, (uintmax_t)v);
        }
}

static void test_format(void **state) {
        (void)state;
        char b[64];
        assert_string_equal(format_size(b, sizeof(b), 1610612736), "1.5 GiB");
        assert_string_equal(format_size(b, sizeof(b), 17), "17 B");
        assert_string_equal(format_duration(b, sizeof(b), 5400000000u), "1h30m");
        assert_string_equal(format_duration(b, sizeof(b), UINT64_MAX), "forever");
}

static void test_nearest(void **state) {
        (void)state;
        static const char *const words[] = {"listen", "models", "models_path", "pools", NULL};
        assert_string_equal(nearest_word("lisen", words), "listen");
        assert_string_equal(nearest_word("model_path", words), "models_path");
        assert_null(nearest_word("xyzzy", words));
        char longest[300];
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = 0;
        assert_null(nearest_word(longest, words)); /* as far from all of them */
        const char *mixed[] = {longest, "listen", NULL};
        assert_string_equal(nearest_word("lisen", mixed), "listen");
}

static void test_utf8(void **state) {
        (void)state;
        bool bad;
        assert_int_equal(utf8_valid_prefix("a\xc3\xa9", 3, &bad), 3);
        assert_false(bad);
        assert_int_equal(utf8_valid_prefix("a\xc3", 2, &bad), 1);
        assert_false(bad);
        assert_int_equal(utf8_valid_prefix("a\xff", 2, &bad), 1);
        assert_true(bad);
        assert_int_equal(utf8_valid_prefix("\xed\xa0\x80", 3, &bad), 0); /* a surrogate */
        assert_true(bad);
        assert_int_equal(utf8_valid_prefix("\xf0\x9f\x98", 3, &bad), 0);
        assert_false(bad);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_size),    cmocka_unit_test(test_duration), cmocka_unit_test(test_format),
                cmocka_unit_test(test_nearest), cmocka_unit_test(test_utf8),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
