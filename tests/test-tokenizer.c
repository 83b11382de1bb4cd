/* Tokenizers: byte-level BPE against ids recorded from Hugging Face's `tokenizers` (data/make-tokenizer-cases.py), SPM
 * on vocabularies small enough to work out by hand, round trips of random bytes, special tokens that must not be
 * injected, hostile lengths, threads, and broken vocabularies. The real SPM vocabularies are in test-vocab.c. */
#include "unit.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "vocabulary.h"

static int32_t *encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, size_t *ret_n) {
        int32_t *ids = NULL;
        assert_int_equal(tokenizer_encode(t, text, len, flags, &ids, ret_n), 0);
        assert_non_null(ids);
        return ids;
}

static void assert_ids(const Tokenizer *t, const char *text, unsigned flags, const int32_t *want, size_t n_want) {
        size_t n;
        _cleanup_free_ int32_t *ids = encode(t, text, strlen(text), flags, &n);
        if (n != n_want || memcmp(ids, want, n * sizeof(*ids)) != 0) {
                for (size_t i = 0; i < n; i++)
                        print_message("%d ", ids[i]);
                fail_msg("instead of the above, '%s' has %zu ids from %d", text, n_want, n_want > 0 ? want[0] : -1);
        }
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void load_gpt2(Vocab *v, const char *pre) {
        v->json[0] = load_json(test_data("tokenizers/gpt2/tokenizer.json"));
        json_t *model = json_object_get(v->json[0], "model"), *merge;
        put_vocabulary(v, json_object_get(model, "vocab"), NULL);
        size_t i;
        json_array_foreach(json_object_get(model, "merges"), i, merge)
                add_merge(v, json_string_value(merge), json_string_length(merge));
        v->spec.pre = pre;
        v->spec.ignore_merges = strcmp(pre, "llama-bpe") == 0 || strcmp(pre, "tekken") == 0;
        v->types[50256] = TOKEN_CONTROL;
        v->spec.bos = v->spec.eos = 50256;
}

static Tokenizer *gpt2(const char *pre) {
        _cleanup_(vocab_deinit) Vocab v = {0};
        load_gpt2(&v, pre);
        return make(&v.spec);
}

static json_t *load_cases(void) {
        return load_json(recorded("tokenizer-cases.json"));
}

static void check_set(const Tokenizer *t, const char *name, unsigned flags) {
        json_t *all = load_cases(), *row, *id;
        size_t set = 0, i, j, n, wrong = 0;
        json_array_foreach(json_object_get(all, "sets"), i, row)
                if (strcmp(json_string_value(row), name) == 0)
                        set = i + 1;
        assert_true(set > 0);
        json_array_foreach(json_object_get(all, "cases"), i, row) {
                json_t *text_json = json_array_get(row, 0), *want = json_array_get(row, set);
                const char *text = json_string_value(text_json);
                size_t len = json_string_length(text_json);
                /* Twice: the second time, words are known. */
                for (int again = 0; again < 2; again++) {
                        _cleanup_free_ int32_t *ids = encode(t, text, len, flags, &n);
                        bool equal = n == json_array_size(want);
                        json_array_foreach(want, j, id)
                                equal = equal && ids[j] == json_integer_value(id);
                        if (!equal)
                                print_message("%s: case %zu: '%s'\n", name, i, text);
                        wrong += !equal;
                        _cleanup_buf_ Buf back = BUF_NULL;
                        assert_int_equal(tokenizer_decode(t, ids, n, true, true, &back), 0);
                        assert_int_equal(back.len, len);
                        if (len > 0)
                                assert_memory_equal(back.data, text, len);
                }
        }
        assert_true(i > 300);
        json_decref(all);
        assert_int_equal(wrong, 0);
}

static void test_gpt2(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *t = gpt2("gpt-2");
        check_set(t, "gpt-2", 0);
}

static void test_llama3(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *t = gpt2("llama-bpe");
        check_set(t, "llama-bpe", 0);
}

static void test_tekken(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *t = gpt2("tekken");
        check_set(t, "tekken", 0);
}

static void test_smollm(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *t = gpt2("smollm");
        check_set(t, "smollm", 0);
}

static void test_qwen2(void **state) {
        (void)state;
        skip_without("tokenizers/qwen2.5/vocab.json");
        _cleanup_(vocab_deinit) Vocab v = {0};
        load_qwen2(&v);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        check_set(t, "qwen2", TOKENIZE_PARSE_SPECIAL);
        assert_true(tokenizer_is_eog(t, 151645));  /* <|im_end|>, eos */
        assert_true(tokenizer_is_eog(t, 151643));  /* <|endoftext|>, by name */
        assert_false(tokenizer_is_eog(t, 151644)); /* <|im_start|> */
        assert_false(tokenizer_is_eog(t, -1));
        assert_false(tokenizer_is_eog(t, 1 << 30));
}

/* A text with a control token's name is text, unless the caller says it may be more. */
static void test_injection(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *t = gpt2("gpt-2");
        assert_ids(t, "a<|endoftext|>b", TOKENIZE_PARSE_SPECIAL, IDS(64, 50256, 65));
        size_t n;
        _cleanup_free_ int32_t *ids = encode(t, "a<|endoftext|>b", 15, 0, &n);
        assert_true(n > 3);
        for (size_t i = 0; i < n; i++)
                assert_int_not_equal(ids[i], 50256);
        assert_int_equal(tokenizer_piece(t, 50256, false).len, 0);
        assert_int_equal(tokenizer_piece(t, 50256, true).len, 13);
        assert_int_equal(tokenizer_piece(t, -1, true).len, 0);
        assert_int_equal(tokenizer_piece(t, 50257, true).len, 0);
}


/*                                          3     4    5    6    7     8     9    10        11 */
static const char *const small_texts[] = {MARK, "a", "b", "c", "ab", "bc", "abc", MARK "a", MARK "ab"};
static const float small_scores[] = {-10, -11, -12, -13, -3, -2, -9, -5, -8};

static void check_encoding(const Encoding *e, const char *what, const int32_t *ids, const uint8_t *types, size_t n) {
        if (e->n != n || memcmp(e->ids, ids, n * sizeof(*ids)) != 0 || memcmp(e->types, types, n) != 0)
                fail_msg("%s: wrong", what);
}

static void test_pairs(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        _cleanup_(encoding_deinit) Encoding e = {0};
        spm_vocab(&v, ARRAY_SIZE(small_texts), small_texts, small_scores, false);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        const TokenText texts[] = {{"ab a", 4}, {"a b ab", 6}};
        assert_true(tokenizer_has_pairs(t));
        assert_int_equal(tokenizer_encode_texts(t, texts, 2, TOKENIZE_ADD_SPECIAL, &e), 0);
        check_encoding(&e, "pair", (int32_t[]){1, 11, 10, 2, 1, 10, 3, 5, 11, 2},
                       (uint8_t[]){0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, 10);
        assert_true(e.texts[0].start == 1 && e.texts[0].n == 2 && e.texts[1].start == 5 && e.texts[1].n == 4);
        assert_true(encoding_truncate(&e, 10));
        assert_int_equal(e.n, 10);
        assert_true(encoding_truncate(&e, 9));
        check_encoding(&e, "longer one", (int32_t[]){1, 11, 10, 2, 1, 10, 3, 5, 2},
                       (uint8_t[]){0, 0, 0, 0, 1, 1, 1, 1, 1}, 9);
        assert_true(encoding_truncate(&e, 7));
        check_encoding(&e, "both", (int32_t[]){1, 11, 2, 1, 10, 3, 2}, (uint8_t[]){0, 0, 0, 1, 1, 1, 1}, 7);
        assert_true(e.texts[0].n == 1 && e.texts[1].n == 2 && e.texts[1].start == 4);
        assert_false(encoding_truncate(&e, 3));
        assert_int_equal(e.n, 7);
        assert_true(encoding_truncate(&e, 4));
        check_encoding(&e, "nothing", (int32_t[]){1, 2, 1, 2}, (uint8_t[]){0, 0, 1, 1}, 4);
        encoding_deinit(&e);
        assert_int_equal(tokenizer_encode_texts(t, texts, 2, 0, &e), 0);
        check_encoding(&e, "bare pair", (int32_t[]){11, 10, 10, 3, 5, 11}, (uint8_t[]){0, 0, 1, 1, 1, 1}, 6);
        encoding_deinit(&e);
        assert_int_equal(tokenizer_encode_texts(t, texts, 1, TOKENIZE_ADD_SPECIAL, &e), 0);
        check_encoding(&e, "single", (int32_t[]){1, 11, 10}, (uint8_t[3]){0}, 3);
        assert_true(encoding_truncate(&e, 2));
        check_encoding(&e, "short single", (int32_t[]){1, 11}, (uint8_t[2]){0}, 2);
        encoding_deinit(&e);
        v.spec.pair.n = 0;
        _cleanup_(tokenizer_freep) Tokenizer *alone = make(&v.spec);
        assert_false(tokenizer_has_pairs(alone));
        assert_int_equal(tokenizer_encode_texts(alone, texts, 2, TOKENIZE_ADD_SPECIAL, &e), -EOPNOTSUPP);
}

static void test_spm_merges(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(small_texts), small_texts, small_scores, false);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        for (int again = 0; again < 2; again++) {
                assert_ids(t, "", TOKENIZE_ADD_SPECIAL, IDS(1));
                assert_ids(t, "a", TOKENIZE_ADD_SPECIAL, IDS(1, 10));
                assert_ids(t, "ab", 0, IDS(11));          /* ab by -3, then with the mark by -8 */
                assert_ids(t, "abc", 0, IDS(10, 8));      /* bc by -2 is first: only mark and a are left to join */
                assert_ids(t, "bcab", 0, IDS(3, 8, 7));   /* no token of bc and a */
                assert_ids(t, "aab", 0, IDS(10, 7));
                assert_ids(t, "a  b", 0, IDS(10, 3, 3, 5));
                assert_ids(t, "a" MARK "b", 0, IDS(10, 3, 5));
                assert_ids(t, "axyzb", 0, IDS(10, 0, 5)); /* unknown characters in a row are one unknown token */
                assert_ids(t, "a\xffx b", 0, IDS(10, 0, 3, 5));
                assert_ids(t, "a</s>b", TOKENIZE_PARSE_SPECIAL, IDS(10, 2, 3, 5));
                assert_ids(t, "a</s>b", 0, IDS(10, 0, 5));
        }
        _cleanup_buf_ Buf out = BUF_NULL;
        assert_int_equal(tokenizer_decode(t, (int32_t[]){1, 10, 3, 5, 2}, 5, false, true, &out), 0);
        assert_string_equal(out.data, "a b");
        buf_clear(&out);
        assert_int_equal(tokenizer_decode(t, (int32_t[]){1, 10, 3, 5, 2}, 5, true, false, &out), 0);
        assert_string_equal(out.data, "<s> a b</s>");
        assert_true(tokenizer_is_eog(t, 2));
        assert_int_equal(tokenizer_bos(t), 1);
        assert_int_equal(tokenizer_eos(t), 2);
        assert_int_equal(tokenizer_n_tokens(t), 12);
}

/* A token with a space inside forbids cutting at spaces: "b a" must win here. */
static void test_spm_space_inside(void **state) {
        (void)state;
        static const char *const texts[] = {MARK, "a", "b", "b" MARK, "b" MARK "a"};
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(texts), texts, (float[]){-10, -11, -12, -1, -2}, false);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        assert_ids(t, "ab a", 0, IDS(3, 4, 7));
}

/* User-defined tokens are found in any text, and no space is put after them; one that ends turns is a control token. */
static void test_user_defined(void **state) {
        (void)state;
        static const char *const texts[] = {MARK, "a", "b", "<tag>", "<|im_end|>"};
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(texts), texts, (float[5]){0}, false);
        v.types[6] = v.types[7] = TOKEN_USER_DEFINED;
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        assert_ids(t, "a<tag>b", 0, IDS(3, 4, 6, 5));
        assert_ids(t, "a<|im_end|>b", 0, IDS(3, 4, 0, 5));
        assert_ids(t, "a<|im_end|>b", TOKENIZE_PARSE_SPECIAL, IDS(3, 4, 7, 3, 5));
        assert_true(tokenizer_is_eog(t, 7));
        assert_false(tokenizer_is_eog(t, 6));
        assert_int_equal(tokenizer_piece(t, 6, false).len, 5);
        assert_int_equal(tokenizer_piece(t, 7, false).len, 0);
}

/* Where two others end turns, <|end|> ends a message only. */
static void test_messages(void **state) {
        (void)state;
        for (size_t others = 0; others <= 2; others++) {
                static const char *const texts[] = {MARK, "a", "<|end|>", "<|return|>", "<|call|>"};
                _cleanup_(vocab_deinit) Vocab v = {0};
                spm_vocab(&v, 3 + others, texts, (float[5]){0}, false);
                for (size_t i = 0; i <= others; i++)
                        v.types[5 + i] = TOKEN_CONTROL;
                _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
                assert_int_equal(tokenizer_is_eog(t, 5), others < 2);
                v.spec.eos = 5; /* whoever says so */
                _cleanup_(tokenizer_freep) Tokenizer *said = make(&v.spec);
                assert_true(tokenizer_is_eog(said, 5));
                for (int32_t i = 1; i <= (int32_t)others; i++)
                        assert_true(tokenizer_is_eog(t, 5 + i));
        }
}

/* Every byte string comes back as it was; an SPM text only where it has no U+2581. */
static void round_trip(const Tokenizer *t) {
        static const char *const bits[] = {"a",        "ab", " ", "  ",   "\n", "\xc3\xa9", "\xf0\x9f\xa6\x99",
                                           "\xe2\x96", "'s", "7", "\xff", ""};
        srand((unsigned)test_seed());
        for (int round = 0; round < 3000; round++) {
                _cleanup_buf_ Buf text = BUF_NULL, back = BUF_NULL;
                for (int n = rand() % 20; n >= 0; n--)
                        if (rand() % 2)
                                buf_puts(&text, bits[(size_t)rand() % ARRAY_SIZE(bits)]);
                        else
                                buf_putc(&text, (char)(rand() % 256));
                for (char *mark; text.len > 0 && (mark = memmem(text.data, text.len, MARK, strlen(MARK)));)
                        *mark = 'x';
                size_t n;
                _cleanup_free_ int32_t *ids = encode(t, text.data, text.len, 0, &n);
                assert_int_equal(tokenizer_decode(t, ids, n, false, true, &back), 0);
                assert_int_equal(back.len, text.len);
                if (text.len > 0)
                        assert_memory_equal(back.data, text.data, text.len);
        }
}

static void test_round_trip_bpe(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        static const char *const names[] = {"gpt-2", "llama-bpe", "qwen2", "smollm"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = gpt2(names[i]);
                round_trip(t);
        }
}

static void test_round_trip_spm(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(small_texts), small_texts, small_scores, true);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        round_trip(t);
}

/* A megabyte of one thing must not take a megabyte squared: a quadratic step would run for hours here. */
static void encode_megabyte(const Tokenizer *t, const char *unit) {
        size_t unit_len = strlen(unit), len = (SANITIZED ? 1 << 18 : 1 << 20) / unit_len * unit_len, n;
        _cleanup_free_ char *text = malloc(len);
        for (size_t i = 0; i < len; i += unit_len)
                memcpy(text + i, unit, unit_len);
        _cleanup_free_ int32_t *ids = encode(t, text, len, TOKENIZE_PARSE_SPECIAL, &n);
        _cleanup_buf_ Buf back = BUF_NULL;
        assert_int_equal(tokenizer_decode(t, ids, n, true, true, &back), 0);
        assert_int_equal(back.len, len);
        assert_memory_equal(back.data, text, len);
}

static const char *const units[] = {"a",    "A",  "aA", "\xe7\x9a\x84" "A", " ",  "\n", "\r\n ",    "1", "=", "\xe7\x9a\x84",
                                    "\xff", "<|", "ab", " \xc2\xa0", "'"};

static void test_megabytes_bpe(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        static const char *const names[] = {"gpt-2", "llama-bpe", "smollm", "gpt-4o"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = gpt2(names[i]);
                for (size_t j = 0; j < ARRAY_SIZE(units); j++)
                        encode_megabyte(t, units[j]);
        }
}

static void test_megabytes_spm(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(small_texts), small_texts, small_scores, true);
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&v.spec);
        for (size_t j = 0; j < ARRAY_SIZE(units); j++)
                encode_megabyte(t, units[j]);
}

/* Threads that share a tokenizer, each meeting every word for the first time, agree with one that has it alone. */
typedef struct Reader {
        pthread_t thread;
        const Tokenizer *t;
        int32_t *ids;
        size_t n;
} Reader;

static const char shared_text[] = "The quick brown fox can't jump over 1234 lazy dogs. \xe4\xbd\xa0\xe5\xa5\xbd";

static void *read_shared(void *arg) {
        Reader *r = arg;
        return (void *)(intptr_t)tokenizer_encode(r->t, shared_text, sizeof(shared_text) - 1, 0, &r->ids, &r->n);
}

static void test_threads(void **state) {
        (void)state;
        skip_without("tokenizers/gpt2/tokenizer.json");
        _cleanup_(tokenizer_freep) Tokenizer *alone = gpt2("gpt-2"), *t = gpt2("gpt-2");
        size_t n;
        _cleanup_free_ int32_t *want = encode(alone, shared_text, sizeof(shared_text) - 1, 0, &n);
        Reader readers[4];
        for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
                readers[i] = (Reader){.t = t};
                assert_int_equal(pthread_create(&readers[i].thread, NULL, read_shared, &readers[i]), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
                void *code;
                assert_int_equal(pthread_join(readers[i].thread, &code), 0);
                assert_null(code);
                assert_int_equal(readers[i].n, n);
                assert_memory_equal(readers[i].ids, want, n * sizeof(*want));
                free(readers[i].ids);
        }
}

static void refused(const TokenizerSpec *spec, int code, const char *about) {
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(tokenizer_new(spec, &t, &e), code);
        assert_null(t);
        if (!strstr(e.text, about))
                fail_msg("'%s' does not speak of %s", e.text, about);
}

static void test_broken_spm(void **state) {
        (void)state;
        _cleanup_(vocab_deinit) Vocab v = {0};
        spm_vocab(&v, ARRAY_SIZE(small_texts), small_texts, small_scores, true);
        TokenizerSpec spec = v.spec;
        spec.eos = (int32_t)spec.n_tokens;
        refused(&spec, -EINVAL, "end-of-text");
        spec.eos = -2;
        refused(&spec, -EINVAL, "end-of-text");
        spec = v.spec;
        spec.scores = NULL; /* so by merges */
        spec.merges = &(TokenText){"no such", 7};
        spec.n_merges = 1;
        refused(&spec, -EINVAL, "merge 0, 'no such'");
        spec = v.spec;
        spec.n_tokens = 0;
        refused(&spec, -EINVAL, "0 tokens");
        v.types[4] = 7;
        refused(&v.spec, -EINVAL, "token 4 has the unknown type 7");
        v.types[4] = TOKEN_BYTE;
        v.tokens[4] = (TokenText){"<0xG0>", 6};
        refused(&v.spec, -EINVAL, "byte token");
        v.tokens[4] = (TokenText){"<0x01>", 6};
        v.scores[5] = NAN;
        refused(&v.spec, -EINVAL, "score of token 5");
        v.scores[5] = 0;
        static char long_text[2000];
        v.tokens[2] = (TokenText){long_text, sizeof(long_text)};
        refused(&v.spec, -EINVAL, "token 2 is a special token of 2000 bytes");
}

/* Merges do not lead to "abc" here: "bc" comes first, and no merge joins a with it. Llama 3 takes it all the same. */
static void test_ignore_merges(void **state) {
        (void)state;
        static const TokenText tokens[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"ab", 2}, {"bc", 2}, {"abc", 3}};
        static const TokenText merges[] = {{"b c", 3}, {"a b", 3}, {"ab c", 4}};
        TokenizerSpec spec = {.kind = TOKENIZER_BPE, .pre = "gpt-2", .n_tokens = 6, .tokens = tokens, .n_merges = 3,
                              .merges = merges, .bos = -1, .eos = -1, .eot = -1, .unk = -1};
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&spec);
        spec.ignore_merges = true;
        _cleanup_(tokenizer_freep) Tokenizer *taking_whole = make(&spec);
        for (int again = 0; again < 2; again++) {
                assert_ids(t, "abc", 0, IDS(0, 4));
                assert_ids(t, "ab", 0, IDS(3));
                assert_ids(taking_whole, "abc", 0, IDS(5));
                assert_ids(taking_whole, "abcb", 0, IDS(0, 4, 1));
        }
}

/* Every vocabulary that loads must encode: here without bytes and without an unknown token, where it may refuse. */
static void test_broken_bpe(void **state) {
        (void)state;
        static const TokenText tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"", 0}, {"ab", 2}};
        static const TokenText merges[] = {{"a b", 3}, {"a c", 3}, {"ab", 2}, {"a ", 2}, {"", 0}, {" b", 2}};
        TokenizerSpec spec = {.kind = TOKENIZER_BPE, .pre = "gpt-2", .n_tokens = 5, .tokens = tokens, .n_merges = 1,
                              .merges = merges, .bos = -1, .eos = -1, .eot = -1, .unk = -1};
        _cleanup_(tokenizer_freep) Tokenizer *t = make(&spec);
        assert_ids(t, "abba", 0, IDS(4, 1, 0));
        int32_t *ids;
        size_t n;
        assert_int_equal(tokenizer_encode(t, "abc", 3, 0, &ids, &n), -EINVAL);
        assert_int_equal(tokenizer_encode(t, "abc", INT32_MAX, 0, &ids, &n), -E2BIG); /* before it is looked at */
        for (size_t i = 1; i < ARRAY_SIZE(merges); i++) {
                spec.merges = &merges[i];
                refused(&spec, -EINVAL, "merge 0");
        }
        spec.pre = "no-such";
        refused(&spec, -EOPNOTSUPP, "no-such");
        spec.pre = "";
        refused(&spec, -EOPNOTSUPP, "pre-tokenizer");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_gpt2),
                cmocka_unit_test(test_llama3),
                cmocka_unit_test(test_tekken),
                cmocka_unit_test(test_smollm),
                cmocka_unit_test(test_qwen2),
                cmocka_unit_test(test_injection),
                cmocka_unit_test(test_spm_merges),
                cmocka_unit_test(test_pairs),
                cmocka_unit_test(test_spm_space_inside),
                cmocka_unit_test(test_user_defined),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_round_trip_bpe),
                cmocka_unit_test(test_round_trip_spm),
                cmocka_unit_test(test_megabytes_bpe),
                cmocka_unit_test(test_megabytes_spm),
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_broken_spm),
                cmocka_unit_test(test_ignore_merges),
                cmocka_unit_test(test_broken_bpe),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
