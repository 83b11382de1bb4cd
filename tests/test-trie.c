/* The double-array trie against a plain search, on keys that share prefixes, bytes of all values, and equal keys. */
#include "text/trie.h"
#include "unit.h"

enum { N_KEYS = 4000, LEN_MAX = 9 };

typedef struct Keys {
        char texts[N_KEYS][LEN_MAX];
        size_t lens[N_KEYS];
} Keys;

/* Few different bytes make shared prefixes, many make wide nodes. */
static void make_keys(Keys *k, unsigned n_bytes) {
        for (size_t i = 0; i < N_KEYS; i++) {
                k->lens[i] = (size_t)rand() % (LEN_MAX + 1);
                for (size_t j = 0; j < k->lens[i]; j++)
                        k->texts[i][j] = (char)((unsigned)rand() % n_bytes);
        }
}

static int32_t find(const Trie *t, const char *text, size_t len) {
        uint32_t node = 0;
        for (size_t i = 0; i < len; i++)
                if (!trie_step(t, &node, text[i]))
                        return -1;
        return t->nodes[node].value;
}

/* The last key of that text. */
static int32_t search(const Keys *k, size_t n, const char *text, size_t len) {
        for (size_t i = n; i > 0 && len > 0; i--)
                if (k->lens[i - 1] == len && memcmp(k->texts[i - 1], text, len) == 0)
                        return (int32_t)i - 1;
        return -1;
}

static void check(unsigned n_bytes, size_t n) {
        static Keys k, others;
        static TrieKey keys[N_KEYS];
        Trie t;
        make_keys(&k, n_bytes);
        make_keys(&others, n_bytes);
        for (size_t i = 0; i < n; i++)
                keys[i] = (TrieKey){k.texts[i], k.lens[i], (int32_t)i};
        assert_int_equal(trie_init(&t, keys, n), 0);
        for (size_t i = 0; i < N_KEYS; i++) {
                assert_int_equal(find(&t, k.texts[i], k.lens[i]), search(&k, n, k.texts[i], k.lens[i]));
                assert_int_equal(find(&t, others.texts[i], others.lens[i]),
                                 search(&k, n, others.texts[i], others.lens[i]));
        }
        trie_deinit(&t);
}

static void test_find(void **state) {
        (void)state;
        static const unsigned widths[] = {1, 2, 4, 26, 256};
        srand(1);
        for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
                check(widths[i], N_KEYS);
                check(widths[i], 1);
                check(widths[i], 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_find)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
