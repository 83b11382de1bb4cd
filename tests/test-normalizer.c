/* Steps of normalizers. That they do to text what Hugging Face's and SentencePiece's do is shown with the tokenizers of
 * encoders (test-vocab-encoders); here are the borders: empty text, growth, long runs of marks, damaged charsmaps. */
#include <errno.h>

#include "text/charsmap.h"
#include "text/normalizer.h"
#include "unit.h"

static void check(const NormalizerStep *steps, size_t n, const char *text, const char *want) {
        _cleanup_(normalizer_freep) Normalizer *made = NULL;
        _cleanup_(normalizer_scratch_deinit) NormalizerScratch s = {0};
        const char *got;
        size_t len;
        Error e = ERROR_NULL;
        if (normalizer_new(steps, n, &made, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(normalizer_run(made, &s, text, strlen(text), &got, &len), 0);
        if (len != strlen(want) || memcmp(got, want, len) != 0)
                fail_msg("'%s': wanted '%s', got '%.*s'", text, want, (int)len, got);
}

static NormalizerStep replacing(NormalizerKind kind, const char *from, const char *to) {
        return (NormalizerStep){.kind = kind, .from = {from, strlen(from)}, .to = {to, strlen(to)}};
}

static void test_steps(void **state) {
        (void)state;
        const NormalizerStep runs = replacing(NORMALIZE_REPLACE_RUNS, "ab", "-"),
                             one = replacing(NORMALIZE_REPLACE, "aa", "a"),
                             prepend = replacing(NORMALIZE_PREPEND, "", "x"),
                             spaces = {.kind = NORMALIZE_STRIP, .flags = STRIP_LEFT | STRIP_RIGHT | STRIP_SPACES},
                             white = {.kind = NORMALIZE_STRIP, .flags = STRIP_RIGHT},
                             lower = {.kind = NORMALIZE_LOWERCASE}, both[] = {one, prepend};
        check(NULL, 0, "a  b", "a  b");
        check(&runs, 1, "ababab ab abab", "- ab -");
        check(&one, 1, "aaaaa", "aaa");
        check(&prepend, 1, "", "");
        check(&prepend, 1, "y", "xy");
        check(both, 2, "aa", "xa");
        check(&spaces, 1, " \t a \xe2\x96\x81 ", "\t a");
        check(&spaces, 1, "  ", "");
        check(&white, 1, " a\xe3\x80\x80\t", " a");
        check(&lower, 1, "\xc4\xb0I\xce\xa3", "i\xcc\x87i\xcf\x83"); /* no final sigma: character by character */
        Normalizer *none = NULL;
        const NormalizerStep empty = replacing(NORMALIZE_REPLACE, "", "x");
        assert_int_equal(normalizer_new(&empty, 1, &none, NULL), -EINVAL);
        assert_null(none);
}

/* Text made of `n` times U+0301 (230), U+0327 (202) and U+0323 (220) in turn after an "a". */
static char *marks(size_t n, bool ordered) {
        static const char *const one[] = {"\xcc\x81", "\xcc\xa7", "\xcc\xa3"}, *const order[] = {"\xcc\xa7", "\xcc\xa3",
                                                                                                 "\xcc\x81"};
        char *text = malloc(6 * n + 2), *p = text;
        assert_non_null(text);
        *p++ = 'a';
        for (size_t i = 0; i < 3 * n; i++, p += 2)
                memcpy(p, ordered ? order[i / n] : one[i % 3], 2);
        *p = 0;
        return text;
}

/* Sorted in one way below 32 marks and in another above; a million would take hours in quadratic time. */
static void test_marks(void **state) {
        (void)state;
        static const size_t lengths[] = {1, 2, 10, 11, 1000, 300000};
        const NormalizerStep nfd = {.kind = NORMALIZE_NFD};
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
                _cleanup_free_ char *text = marks(lengths[i], false), *want = marks(lengths[i], true);
                check(&nfd, 1, text, want);
        }
}

static void test_growth(void **state) {
        (void)state;
        _cleanup_(normalizer_freep) Normalizer *n = NULL;
        _cleanup_(normalizer_scratch_deinit) NormalizerScratch s = {0};
        const NormalizerStep ten = replacing(NORMALIZE_REPLACE, "a", "aaaaaaaaaa"), steps[] = {ten, ten, ten, ten};
        char text[2000];
        const char *got;
        size_t len;
        memset(text, 'a', sizeof(text));
        assert_int_equal(normalizer_new(steps, 4, &n, NULL), 0);
        assert_int_equal(normalizer_run(n, &s, text, sizeof(text), &got, &len), -E2BIG);
        assert_int_equal(normalizer_run(n, &s, "a", 1, &got, &len), -E2BIG);
        assert_int_equal(normalizer_run(n, &s, "b", 1, &got, &len), 0);
}

/* Any trie at all: looking something up stays within it, and what it gives is a replacement. */
static void test_random_charsmaps(void **state) {
        (void)state;
        struct {
                uint32_t size, units[512];
                char texts[16];
        } map = {.size = sizeof(map.units), .texts = "x\0yy\0\xc3\xa9"};
        size_t found = 0;
        srand(3);
        for (unsigned i = 0; i < 20000; i++) {
                Charsmap m;
                for (size_t k = 0; k < ARRAY_SIZE(map.units); k++) {
                        uint32_t r = (uint32_t)rand(), offset = (uint32_t)rand() % 1024;
                        map.units[k] =
                                r % 4 ? offset << 10 | (r & 0x100) | (r >> 9 & 0x7f) : 0x80000000u | (r >> 8) % 6;
                }
                assert_int_equal(charsmap_init(&m, &map, sizeof(map), NULL), 0);
                for (int c = 0; c < 128; c++) {
                        char text[4] = {(char)c, (char)rand(), (char)rand(), (char)rand()};
                        size_t len;
                        const char *to = charsmap_find(&m, text, sizeof(text), c % 2, &len);
                        assert_true(!to || (to >= m.texts && to < m.texts + m.n_texts && len <= sizeof(text)));
                        found += !!to;
                }
                charsmap_deinit(&m);
        }
        print_message("%zu found\n", found);
        assert_true(found > 100);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_steps),
                cmocka_unit_test(test_marks),
                cmocka_unit_test(test_growth),
                cmocka_unit_test(test_random_charsmaps),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
