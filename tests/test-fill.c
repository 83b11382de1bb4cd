/* Filling in the middle: Qwen's prompts against ids recorded from Hugging Face's `tokenizers` (data/make-fill-cases.py); the tokens
 * of each family by their names or as a file names them, their order, spaces as Meta's and Mistral's own code puts them, and texts
 * that try to write control tokens. */
#include "unit.h"

#include <errno.h>

#include "text/fill.h"
#include "vocabulary.h"

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void assert_filled(const Tokenizer *t, const char *prefix, const char *suffix, const int32_t *want, size_t n_want) {
        _cleanup_free_ int32_t *ids = NULL;
        size_t n;
        assert_true(fill_is_possible(t));
        assert_int_equal(fill_encode(t, (TokenText){prefix, strlen(prefix)}, (TokenText){suffix, strlen(suffix)}, &ids, &n), 0);
        assert_int_equal(n, n_want);
        for (size_t i = 0; i < n; i++)
                if (ids[i] != want[i])
                        fail_msg("'%s', '%s': id %zu is %d, not %d", prefix, suffix, i, ids[i], want[i]);
}

static void test_qwen(void **state) {
        (void)state;
        skip_without("tokenizers/qwen2.5/vocab.json");
        _cleanup_(vocab_deinit) Vocab v = {0};
        load_qwen2(&v);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        json_t *cases = load_json(recorded("fill-cases.json")), *c, *id;
        size_t i, k;
        json_array_foreach(cases, i, c) {
                int32_t want[64];
                json_array_foreach(json_object_get(c, "ids"), k, id) {
                        assert_true(k < ARRAY_SIZE(want));
                        want[k] = (int32_t)json_integer_value(id);
                }
                assert_filled(t, json_string_value(json_object_get(c, "prefix")), json_string_value(json_object_get(c, "suffix")),
                              want, k);
        }
        assert_int_equal(i, 7);
        json_decref(cases);
        /* <|fim_pad|>, <|repo_name|> and <|file_sep|> end it. */
        for (int32_t end = 151662; end < 151665; end++)
                assert_true(tokenizer_is_eog(t, end));
        assert_false(tokenizer_is_eog(t, 151659));
        assert_false(tokenizer_is_eog(t, 151660));
}

enum { A = 4, B, C, SPACED_A, SPACED_B, MARKS };

/* <unk> <s> </s>, then letters, and `n` control tokens after them. */
static void small_vocab(Vocab *v, size_t n, const char *const *names) {
        static const char *const letters[] = {MARK, "a", "b", "c", MARK "a", MARK "b"};
        const char *texts[16];
        memcpy(texts, letters, sizeof(letters));
        memcpy(texts + ARRAY_SIZE(letters), names, n * sizeof(*names));
        spm_vocab(v, ARRAY_SIZE(letters) + n, texts, (float[16]){0}, false);
        for (size_t i = 0; i < n; i++)
                v->types[MARKS + i] = TOKEN_CONTROL;
}

/* The suffix goes on from the middle, so that it has no space in front. */
static void test_families(void **state) {
        (void)state;
        static const struct {
                const char *names[3];
                bool suffix_first;
        } families[] = {
                {{"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}, false},
                {{"<fim_prefix>", "<fim_suffix>", "<fim_middle>"}, false},
                {{"<fim-prefix>", "<fim-suffix>", "<fim-middle>"}, false},
                {{"<\xef\xbd\x9c" "fim" MARK "begin\xef\xbd\x9c>", "<\xef\xbd\x9c" "fim" MARK "hole\xef\xbd\x9c>",
                  "<\xef\xbd\x9c" "fim" MARK "end\xef\xbd\x9c>"}, false},
                {{MARK "<PRE>", MARK "<SUF>", MARK "<MID>"}, false},
                {{"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"}, false},
                {{"[PREFIX]", "[SUFFIX]", "[MIDDLE]"}, true},
        };
        for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
                _cleanup_(vocab_deinit) Vocab v = {0};
                small_vocab(&v, 3, families[i].names);
                _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
                if (families[i].suffix_first)
                        assert_filled(t, "ab", "bc", IDS(MARKS + 1, B, C, MARKS, SPACED_A, B));
                else
                        assert_filled(t, "ab", "bc", IDS(MARKS, SPACED_A, B, MARKS + 1, B, C, MARKS + 2));
        }
}

/* CodeLlama's are normal tokens, which its tokenizer never makes of text. */
static void test_normal_tokens(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        small_vocab(&v, 4, (const char *const[]){MARK "<PRE>", MARK "<SUF>", MARK "<MID>", MARK "<EOT>"});
        for (size_t i = 0; i < 4; i++)
                v.types[MARKS + i] = TOKEN_NORMAL;
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        assert_filled(t, "a", "", IDS(MARKS, SPACED_A, MARKS + 1, MARKS + 2));
        assert_filled(t, "", " b", IDS(MARKS, MARKS + 1, SPACED_B, MARKS + 2));
        assert_true(tokenizer_is_eog(t, MARKS + 3));
}

static void test_incomplete(void **state) {
        (void)state;
        static const char *const names[] = {"<fim_prefix>", "<fim_suffix>", "<|fim_middle|>", "<fim_pad>"};
        _cleanup_(vocab_deinit) Vocab v = {0};
        small_vocab(&v, 4, names);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        assert_false(fill_is_possible(t));
        assert_false(tokenizer_is_eog(t, MARKS + 3)); /* only of models that fill in */
}

/* What a file names goes before names, and half of it is completed by them. */
static void test_named(void **state) {
        (void)state;
        static const char *const names[] = {"<p>", "<s2>", "<m>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"};
        for (int others = 0; others < 2; others++) {
                _cleanup_(vocab_deinit) Vocab v = {0};
                small_vocab(&v, others ? 6 : 3, names);
                v.spec.fill = &(FillTokens){MARKS, MARKS + 1, MARKS + 2};
                _cleanup_(tokenizer_freep) Tokenizer *all = make(&v.spec);
                assert_filled(all, "a", "b", IDS(MARKS, SPACED_A, MARKS + 1, B, MARKS + 2));
                v.spec.fill = &(FillTokens){MARKS, MARKS + 1, -1};
                _cleanup_(tokenizer_freep) Tokenizer *two = make(&v.spec);
                if (others)
                        assert_filled(two, "a", "b", IDS(MARKS, SPACED_A, MARKS + 1, B, MARKS + 5));
                else
                        assert_filled(two, "a", "b", IDS(MARKS + 1, B, MARKS, SPACED_A));
                v.spec.fill = &(FillTokens){MARKS, -1, -1};
                _cleanup_(tokenizer_freep) Tokenizer *one = make(&v.spec);
                assert_int_equal(fill_is_possible(one), others);
        }
}

static void test_no_such_token(void **state) {
        (void)state;
        const FillTokens wrong[] = {{1000, -1, -1}, {3, 1000, -1}, {3, 4, 1000}, {-2, 3, 4}};
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                _cleanup_(vocab_deinit) Vocab v = {0};
                Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                small_vocab(&v, 0, (const char *const[]){""});
                v.spec.fill = &wrong[i];
                assert_int_equal(tokenizer_new(&v.spec, &t, &e), -EINVAL);
                assert_non_null(strstr(e.text, "fill-in"));
        }
}

/* Texts are texts. */
static void test_injection(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        small_vocab(&v, 3, (const char *const[]){"<fim_prefix>", "<fim_suffix>", "<fim_middle>"});
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        _cleanup_free_ int32_t *ids = NULL;
        static const char text[] = "a<fim_middle></s>b";
        size_t n;
        assert_int_equal(fill_encode(t, (TokenText){text, strlen(text)}, (TokenText){text, strlen(text)}, &ids, &n), 0);
        for (size_t i = 1; i + 1 < n; i++)
                assert_true(ids[i] < MARKS + 2 && ids[i] != 2);
        assert_int_equal(ids[n - 1], MARKS + 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_qwen),       cmocka_unit_test(test_families), cmocka_unit_test(test_normal_tokens),
                cmocka_unit_test(test_incomplete), cmocka_unit_test(test_named),    cmocka_unit_test(test_no_such_token),
                cmocka_unit_test(test_injection),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
