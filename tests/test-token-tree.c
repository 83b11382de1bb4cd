/* The tokens that a text may go on with, by the tree, against a search through all of the vocabulary with a matcher that has
 * seen nothing else; in states of texts that were made of the tokens allowed. And that a matcher's memory is bounded without
 * it being noticed. */
#include "engine/vocab.h"
#include "text/json-grammar.h"
#include "text/schema.h"
#include "text/token-tree.h"
#include "unit.h"

enum { VOCAB_MAX = 200000, STEPS = 30 };

static Tokenizer *tokenizer;
static TokenTree *tree;
static size_t n_tokens;

static int load(void **state) {
        (void)state;
        char path[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(path, sizeof(path), "%s/demo/demo.gguf", dir ? dir : ".");
        Gguf *g = NULL;
        Error e;
        if (gguf_open(path, &g, &e) < 0 || vocab_tokenizer_new(g, &tokenizer, &e) < 0 || token_tree_new(tokenizer, &tree) < 0)
                return -1;
        gguf_free(g);
        n_tokens = tokenizer_n_tokens(tokenizer);
        return n_tokens > VOCAB_MAX;
}

static int unload(void **state) {
        (void)state;
        token_tree_free(tree);
        tokenizer_free(tokenizer);
        return 0;
}

static bool may_follow(const Grammar *g, const char *text, size_t len, int32_t id) {
        Matcher *m;
        TokenText piece = tokenizer_piece(tokenizer, id, false);
        bool is_end = tokenizer_is_eog(tokenizer, id);
        assert_int_equal(matcher_new(g, &m), 0);
        uint32_t at = matcher_start(m);
        for (size_t i = 0; i < len; i++)
                at = matcher_step(m, &at, 1, (uint8_t)text[i]);
        for (size_t i = 0; i < piece.len && !is_end; i++)
                at = matcher_step(m, &at, 1, (uint8_t)piece.data[i]);
        bool may = at != MATCHER_DEAD && (is_end ? matcher_accepts(m, at) : piece.len > 0);
        matcher_free(m);
        return may;
}

static bool has(const uint32_t *bits, size_t id) {
        return bits[id / 32] >> (id % 32) & 1;
}

/* A random one of those allowed. */
static int32_t any(const uint32_t *bits) {
        int32_t id = -1, n = 0;
        for (size_t i = 0; i < n_tokens; i++)
                if (has(bits, i) && rand() % ++n == 0)
                        id = (int32_t)i;
        return id;
}

static void follow(const char *schema, unsigned seed) {
        static uint32_t bits[VOCAB_MAX / 32 + 1];
        char text[16384];
        size_t len = 0;
        Grammar *g;
        Matcher *m;
        Error e;
        srand(seed);
        assert_int_equal(grammar_new(&g), 0);
        if (schema_compile("schema", schema, strlen(schema), g, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(matcher_new(g, &m), 0);
        uint32_t at = matcher_start(m);
        for (int i = 0; i < STEPS && !matcher_is_final(m, at); i++) {
                memset(bits, 0, sizeof(bits));
                assert_true(token_tree_allowed(tree, m, &at, UINT64_MAX / 2, bits));
                for (size_t id = (size_t)rand() % 3; id < n_tokens; id += 3)
                        if (has(bits, id) != may_follow(g, text, len, (int32_t)id))
                                fail_msg("%s: after '%.*s' token %zu is %sallowed", schema, (int)len, text, id, has(bits, id) ? "" : "not ");
                int32_t id = any(bits);
                assert_true(id >= 0);
                if (tokenizer_is_eog(tokenizer, id))
                        break;
                TokenText piece = tokenizer_piece(tokenizer, id, false);
                memcpy(text + len, piece.data, piece.len);
                len += piece.len;
                for (size_t k = 0; k < piece.len; k++)
                        at = matcher_step(m, &at, 1, (uint8_t)piece.data[k]);
                assert_true(at != MATCHER_DEAD);
        }
        matcher_free(m);
        grammar_free(g);
}

static void test_against_search(void **state) {
        (void)state;
        static const char *const schemas[] = {
                "{\"type\":\"object\"}",
                "{}",
                "{\"type\":\"string\",\"minLength\":3,\"maxLength\":40}",
                "{\"properties\":{\"a\":{\"enum\":[\"yes\",\"no\",\"not now\"]},\"b\":{\"type\":\"integer\"}},\"required\":[\"b\"]}",
                "{\"type\":\"string\",\"pattern\":\"^(th|the|[a-z]{2,5} )+$\"}",
        };
        for (unsigned i = 0; i < 3 * ARRAY_SIZE(schemas); i++)
                follow(schemas[i % ARRAY_SIZE(schemas)], i);
}

/* A budget that is too small says so, and changes nothing. */
static void test_budget(void **state) {
        (void)state;
        static uint32_t bits[VOCAB_MAX / 32 + 1];
        Grammar *g;
        Matcher *m;
        assert_int_equal(grammar_new(&g), 0);
        assert_int_equal(grammar_finish(g, json_grammar(g).string, NULL), 0);
        assert_int_equal(matcher_new(g, &m), 0);
        uint32_t start = matcher_start(m), at = matcher_step(m, &start, 1, '"');
        assert_false(token_tree_allowed(tree, m, &at, 10, bits));
        assert_true(token_tree_allowed(tree, m, &at, 1000000, bits));
        matcher_free(m);
        grammar_free(g);
}

/* .*a.{20}: what it has to remember doubles with each character, so it forgets many times, and yet knows. */
static void test_forgetting(void **state) {
        (void)state;
        static const char schema[] = "{\"type\":\"string\",\"pattern\":\"a.{20}$\"}";
        Grammar *g;
        Matcher *m;
        Error e;
        srand(3);
        assert_int_equal(grammar_new(&g), 0);
        assert_int_equal(schema_compile("schema", schema, strlen(schema), g, &e), 0);
        assert_int_equal(matcher_new(g, &m), 0);
        uint32_t at = matcher_start(m), epoch = matcher_epoch(m);
        static char text[20000];
        at = matcher_step(m, &at, 1, '"');
        for (size_t i = 0; i < sizeof(text); i++) {
                text[i] = "ab"[rand() % 2];
                at = matcher_step(m, &at, 1, (uint8_t)text[i]);
                assert_true(at != MATCHER_DEAD);
                uint32_t end = matcher_step(m, (uint32_t[]){at, 0}, 1, '"');
                if (matcher_epoch(m) != epoch) { /* `at` was numbered anew: begin again */
                        epoch = matcher_epoch(m);
                        at = matcher_start(m);
                        at = matcher_step(m, &at, 1, '"');
                        for (size_t k = i > 30 ? i - 30 : 0; k <= i; k++)
                                at = matcher_step(m, &at, 1, (uint8_t)text[k]);
                        epoch = matcher_epoch(m);
                } else
                        assert_int_equal(end != MATCHER_DEAD, i >= 20 && text[i - 20] == 'a');
        }
        assert_true(epoch > 10);
        matcher_free(m);
        grammar_free(g);
}

/* As deep as it may be, the way back is free. */
static void test_depth(void **state) {
        (void)state;
        Grammar *g;
        Matcher *m;
        assert_int_equal(grammar_new(&g), 0);
        assert_int_equal(grammar_finish(g, json_grammar(g).value, NULL), 0);
        assert_int_equal(matcher_new(g, &m), 0);
        uint32_t at = matcher_start(m), next, depth = 0;
        while ((next = matcher_step(m, &at, 1, '[')) != MATCHER_DEAD) {
                at = next;
                depth++;
        }
        assert_in_range(depth, 50, GRAMMAR_DEPTH);
        for (; depth > 0; depth--) {
                at = matcher_step(m, &at, 1, ']');
                assert_true(at != MATCHER_DEAD);
        }
        assert_true(matcher_is_final(m, at));
        matcher_free(m);
        grammar_free(g);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_against_search),
                cmocka_unit_test(test_budget),
                cmocka_unit_test(test_forgetting),
                cmocka_unit_test(test_depth),
        };
        return cmocka_run_group_tests(tests, load, unload);
}
