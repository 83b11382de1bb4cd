/* Streaming UTF-8, against what Python's bytes.decode("utf-8", "replace") makes of the same bytes, which follows
 * Unicode's recommendation for ill-formed sequences; and however the bytes are cut, the result is the same. */
#include "unit.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define R "\xef\xbf\xbd"

static const struct {
        const char *in, *out;
} cases[] = {
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0", "gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0"},
        {"\x80", R},
        {"a\xff" "b\xfe", "a" R "b" R},
        {"\xc0\x80", R R},
        {"\xc3" "A", R "A"},
        {"\xc3\xc3\xa9", R "\xc3\xa9"},
        {"\xe2\x96", R},
        {"\xe2\x96" "x", R "x"},
        {"\xe2\xe2\x96\x81", R "\xe2\x96\x81"},
        {"\xe0\x80\x80", R R R},
        {"\xe0\x9f\xbf", R R R},
        {"\xed\xa0\x80", R R R},
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},
        {"\xf0\x8f\xbf\xbf", R R R R},
        {"\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},
        {"\xf0\x9f\xa6", R},
        {"\xf0\x9f\xa6\xf0\x9f\xa6\x99", R "\xf0\x9f\xa6\x99"},
        {"\xf0\x9f\x41\x99", R "A" R},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xf4\x90\x80\x80", R R R R},
        {"\xf5\x80\x80\x80", R R R R},
        {"\xf0\x9f", R},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A"},
};

/* Feeds `in` with a cut after every byte whose bit is set in `cuts`. */
static void feed(const char *in, unsigned cuts, Buf *out) {
        Utf8Stream u = {0};
        size_t len = strlen(in), start = 0;
        for (size_t i = 0; i < len; i++)
                if (cuts >> i & 1) {
                        utf8_stream_put(&u, in + start, i + 1 - start, false, out);
                        start = i + 1;
                }
        utf8_stream_put(&u, in + start, len - start, true, out);
        assert_int_equal(u.n, 0);
}

static void test_any_cut(void **state) {
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].in);
                for (unsigned cuts = 0; cuts < 1u << MIN(len, (size_t)9); cuts++) {
                        _cleanup_buf_ Buf out = BUF_NULL;
                        feed(cases[i].in, cuts, &out);
                        assert_string_equal(out.data, cases[i].out);
                }
        }
}

static void test_waits(void **state) {
        (void)state;
        _cleanup_buf_ Buf out = BUF_NULL;
        Utf8Stream u = {0};
        utf8_stream_put(&u, "a\xf0\x9f", 3, false, &out);
        assert_string_equal(out.data, "a");
        utf8_stream_put(&u, "\xa6", 1, false, &out);
        assert_string_equal(out.data, "a");
        utf8_stream_put(&u, "", 0, false, &out);
        utf8_stream_put(&u, "\x99z", 2, false, &out);
        assert_string_equal(out.data, "a\xf0\x9f\xa6\x99z");
        utf8_stream_put(&u, "", 0, true, &out);
        assert_string_equal(out.data, "a\xf0\x9f\xa6\x99z");
}

static void test_char(void **state) {
        (void)state;
        assert_int_equal(utf8_char("a", 1), 1);
        assert_int_equal(utf8_char("\xc3\xa9", 2), 2);
        assert_int_equal(utf8_char("\xc3", 1), 0);
        assert_int_equal(utf8_char("\xf0\x9f\xa6", 3), 0);
        assert_int_equal(utf8_char("\xf0\x9f\xa6x", 4), -3);
        assert_int_equal(utf8_char("\xed\xa0\x80", 3), -1);
        assert_int_equal(utf8_char("\0", 1), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_any_cut),
                cmocka_unit_test(test_waits),
                cmocka_unit_test(test_char),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
