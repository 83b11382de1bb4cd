/* Stop strings: fed in any pieces, the text comes out cut at the same place, and is held back no longer than needed. */

#include "unit.h"
#include "engine/stop.h"

typedef struct Stops {
        Buf lens, bytes;
        IpcStrs list;
} Stops;

static void add(Stops *s, const char *text, size_t n) {
        ipc_strs_put(&s->lens, &s->bytes, text, n);
        s->list = ipc_strs(&s->lens, &s->bytes);
}

static void stops_deinit(Stops *s) {
        buf_deinit(&s->lens);
        buf_deinit(&s->bytes);
        *s = (Stops){0};
}

static void test_table(void **state) {
        static const struct {
                const char *stops[3], *text;
                size_t safe;
                const char *hit;
        } cases[] = {
                {{"\n\n"}, "one\ntwo", 7},
                {{"\n\n"}, "one\n", 3},
                {{"\n\n"}, "one\n\ntwo", 3, "\n\n"},
                {{"abcd", "bc"}, "xabc", 2, "bc"},  /* the one that ends first */
                {{"bc", "abc"}, "xabc", 1, "abc"}, /* of those that end together the longest */
                {{"aab"}, "aaab", 1, "aab"},        /* overlapping beginnings */
                {{"aab"}, "xaa", 1},
                {{"aab"}, "xaaa", 2},
                {{""}, "text", 4},
                {{"long stop"}, "a long sto", 2},
                {{"é"}, "caf", 3},
                {{"é"}, "café!", 3, "é"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Stops s = {0};
                IpcStr hit;
                for (int k = 0; k < 3 && cases[i].stops[k]; k++)
                        add(&s, cases[i].stops[k], strlen(cases[i].stops[k]));
                assert_int_equal(stop_check(&s.list, NULL), 0);
                assert_int_equal(stop_scan(&s.list, cases[i].text, strlen(cases[i].text), &hit), cases[i].safe);
                const char *expected = cases[i].hit ? cases[i].hit : "";
                assert_int_equal(hit.len, strlen(expected));
                assert_memory_equal(hit.data ? hit.data : "", expected, hit.len);
                stops_deinit(&s);
        }
}

/* Over a two-letter alphabet everything that can overlap does. The reference looks at the whole text at once. */
static size_t reference_cut(const Stops *s, const char *text, size_t n) {
        size_t best_end = SIZE_MAX, best = n;
        uint32_t pos = 0, offset = 0;
        IpcStr stop;
        while (ipc_strs_next(&s->list, &pos, &offset, &stop))
                for (size_t i = 0; i + stop.len <= n; i++)
                        if (memcmp(text + i, stop.data, stop.len) == 0 &&
                            (i + stop.len < best_end || (i + stop.len == best_end && i < best))) {
                                best_end = i + stop.len;
                                best = i;
                        }
        return best;
}

static void test_pieces(void **state) {
        srand((unsigned)test_seed());
        for (int round = 0; round < 20000; round++) {
                Stops s = {0};
                char text[24], stop[8];
                size_t out = 0, in = 0;
                IpcStr hit = {0};
                for (size_t i = 0; i < sizeof(text); i++)
                        text[i] = "ab"[rand() % 2];
                for (int k = rand() % 3; k >= 0; k--) {
                        size_t n = 1 + (size_t)rand() % sizeof(stop);
                        for (size_t i = 0; i < n; i++)
                                stop[i] = "ab"[rand() % 2];
                        add(&s, stop, n);
                }
                while (in < sizeof(text) && hit.len == 0) {
                        in += 1 + (size_t)rand() % 5;
                        in = in > sizeof(text) ? sizeof(text) : in;
                        out += stop_scan(&s.list, text + out, in - out, &hit);
                }
                size_t want = reference_cut(&s, text, sizeof(text));
                if (hit.len > 0) {
                        assert_int_equal(out, want);
                        assert_memory_equal(text + out, hit.data, hit.len);
                } else
                        assert_int_equal(want, sizeof(text));
                stops_deinit(&s);
        }
}

static void test_check(void **state) {
        char big[1025];
        Stops s = {0};
        Error e = ERROR_NULL;
        memset(big, 'x', sizeof(big));
        add(&s, big, 1024);
        assert_int_equal(stop_check(&s.list, &e), 0);
        add(&s, big, 1025);
        assert_true(stop_check(&s.list, &e) < 0);
        stops_deinit(&s);
        add(&s, "\xff", 1);
        assert_true(stop_check(&s.list, &e) < 0);
        stops_deinit(&s);
        for (int i = 0; i < 65; i++)
                add(&s, "x", 1);
        assert_true(stop_check(&s.list, &e) < 0);
        stops_deinit(&s);
        static const int32_t beyond[] = {3, 4};
        IpcStrs broken = {{beyond, 2}, {"abcde", 5}};
        assert_true(stop_check(&broken, &e) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table), cmocka_unit_test(test_pieces), cmocka_unit_test(test_check),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
