/* Guesses from what a sequence repeats: what is found, how far it goes, and when it is let be. */
#include "unit.h"
#include "engine/lookup.h"
#include "util/macro.h"

/* Letters are tokens. */
static uint32_t tokens_of(const char *text, int32_t *ret) {
        uint32_t n = 0;
        for (; text[n]; n++)
                ret[n] = text[n];
        return n;
}

static void check_guess(const char *text, uint32_t most, uint32_t length, uint32_t room, const char *expected) {
        int32_t ids[256], guesses[LOOKUP_MAX], wanted[LOOKUP_MAX + 1];
        uint32_t n = tokens_of(text, ids), n_wanted = tokens_of(expected, wanted);
        Lookup l;
        lookup_init(&l, most, sizeof(ids) / sizeof(*ids));
        lookup_learn(&l, ids, n);
        l.length = length;
        assert_int_equal(lookup_guesses(&l), most > 0 && n_wanted > 0);
        assert_int_equal(lookup_guess(&l, ids, room, guesses), n_wanted);
        assert_memory_equal(guesses, wanted, n_wanted * sizeof(*ids));
        lookup_deinit(&l);
}

static void test_what_is_found(void **state) {
        (void)state;
        check_guess("", 15, 4, 9, "");
        check_guess("ab", 15, 4, 9, "");
        check_guess("abc", 15, 4, 9, "");
        check_guess("abcdeab", 15, 4, 9, "");
        check_guess("abcdefgabc", 15, 4, 9, "defg");
        check_guess("abcdefgabc", 15, 2, 9, "de");
        check_guess("abcdefgabc", 15, 4, 3, "def");
        check_guess("abcxabcyabc", 15, 1, 9, "y"); /* the last of them */
        check_guess("aaaa", 15, 6, 9, "aaaaaa");   /* what it is in the midst of goes on */
        check_guess("xyxyxyx", 15, 5, 9, "yxyxy");
        check_guess("abcdefgabc", 0, 4, 9, "");
        check_guess("abcdefgabc", 15, 15, 15, "defgabcdefgabcd");
}

/* Learned a token at a time or at once, it finds the same; and in a table far too small what it finds is right. */
static void test_learning(void **state) {
        (void)state;
        static int32_t ids[3000];
        uint64_t dice = test_seed(), found = 0;
        for (uint32_t letters = 2; letters <= 8; letters *= 2) {
                Lookup steadily, small;
                lookup_init(&steadily, 15, ARRAY_SIZE(ids));
                lookup_init(&small, 15, 1);
                assert_true(small.mask < 100);
                for (uint32_t n = 0; n < ARRAY_SIZE(ids); n++) {
                        dice = dice * 6364136223846793005u + 1442695040888963407u;
                        ids[n] = (int32_t)((dice >> 40) % letters);
                        steadily.judged = small.judged = true; /* how often it is wrong is not the question */
                        lookup_learn(&steadily, ids, n + 1);
                        lookup_learn(&small, ids, n + 1);
                        if (lookup_guesses(&small))
                                assert_memory_equal(ids + small.from - 3, ids + n - 2, 3 * sizeof(*ids));
                        found += lookup_guesses(&steadily);
                        if (n % 100 != 99)
                                continue;
                        Lookup at_once;
                        lookup_init(&at_once, 15, ARRAY_SIZE(ids));
                        lookup_learn(&at_once, ids, n + 1);
                        assert_int_equal(at_once.from, steadily.from);
                        lookup_deinit(&at_once);
                }
                lookup_deinit(&steadily);
                lookup_deinit(&small);
        }
        assert_true(found > 8000);
}

/* More after what was right, less after what was not, and a rest that grows while nothing is. */
static void test_how_many(void **state) {
        (void)state;
        int32_t ids[512];
        uint32_t n = 0;
        for (; n < 100; n++)
                ids[n] = 'a';
        Lookup l;
        lookup_init(&l, 7, ARRAY_SIZE(ids));
        lookup_learn(&l, ids, n);
        assert_int_equal(l.length, 2);
        lookup_outcome(&l, 2, 2);
        assert_int_equal(l.length, 4);
        lookup_outcome(&l, 4, 4);
        assert_int_equal(l.length, 7);
        lookup_outcome(&l, 7, 3);
        assert_int_equal(l.length, 3);
        lookup_outcome(&l, 2, 2); /* there was room for no more */
        assert_int_equal(l.length, 6);
        for (uint32_t i = 1, rest = 2; i <= 9; i++, rest = MIN(rest * 2, 64u)) {
                lookup_outcome(&l, l.length, 0);
                assert_int_equal(l.length, 1);
                for (uint32_t k = 0; k < rest - 1; k++) {
                        ids[n++] = 'a';
                        lookup_learn(&l, ids, n);
                        assert_false(lookup_guesses(&l));
                }
                ids[n++] = 'a';
                lookup_learn(&l, ids, n);
                assert_true(lookup_guesses(&l));
        }
        lookup_outcome(&l, 1, 1);
        lookup_outcome(&l, 2, 0);
        assert_int_equal(l.rest, 2); /* as the first time */
        ids[n++] = 'a', ids[n++] = 'a';
        lookup_learn(&l, ids, n);
        assert_true(lookup_guesses(&l));
        ids[n++] = 'b'; /* not what was guessed, though nobody had it computed */
        lookup_learn(&l, ids, n);
        assert_int_equal(l.misses, 2);
        assert_int_equal(l.rest, 3);
        lookup_deinit(&l);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_found), cmocka_unit_test(test_learning),
                                           cmocka_unit_test(test_how_many)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
