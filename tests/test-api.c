/* JSON text written by hand on the hot path: it parses back to the same string with an independent parser, and whatever
 * bytes come in, what goes out is valid JSON. */
#include <jansson.h>

#include "unit.h"
#include "api/api-private.h"
#include "util/str.h"

static json_t *round_trip(const char *data, size_t len) {
        Buf b = BUF_NULL;
        json_error_t e;
        json_put_string(&b, data, len);
        json_t *v = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
        if (!v)
                fail_msg("%s: %s", e.text, b.data);
        buf_deinit(&b);
        return v;
}

static void test_strings(void **state) {
        (void)state;
        static const char *const cases[] = {"", "plain", "\"quoted\" \\ back", "tab\tnewline\nreturn\r\b\f\x01\x1f\x7f", "h\xc3\xa9llo",
                                            "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x98\x80 smile", "</script>"};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                json_t *v = round_trip(cases[i], strlen(cases[i]));
                assert_string_equal(json_string_value(v), cases[i]);
                json_decref(v);
        }
        json_t *v = round_trip("a\0b", 3);
        assert_int_equal(json_string_length(v), 3);
        json_decref(v);
}

static void test_broken_utf8(void **state) {
        (void)state;
        json_t *v = round_trip("a\xff" "b\xc3", 4);
        assert_string_equal(json_string_value(v), "a\xef\xbf\xbd" "b\xef\xbf\xbd");
        json_decref(v);
        srand(7);
        for (int i = 0; i < 20000; i++) {
                char bytes[24];
                size_t n = (size_t)rand() % sizeof(bytes);
                for (size_t k = 0; k < n; k++)
                        bytes[k] = (char)rand();
                json_decref(round_trip(bytes, n));
        }
}

static void test_time(void **state) {
        (void)state;
        char text[64];
        format_time(text, sizeof(text), 1000000000123456);
        assert_string_equal(text, "2001-09-09T01:46:40.123456+00:00");
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_broken_utf8),
                                           cmocka_unit_test(test_time)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
