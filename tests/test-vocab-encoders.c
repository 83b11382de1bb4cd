/* Tokenizers of encoders, WordPiece and Unigram, from Hugging Face directories and tokenizer.model: their ids against
 * the tokenizers library's and SentencePiece's (tests/data/make-encoder-cases.py), and what is refused. */
#include "engine/vocab.h"
#include "vocab-folder.h"

/* ---- ids ---- */

/* What the script's fnv() makes of the ids. */
static void hash_ids(char *ret, const int32_t *ids, size_t n) {
        uint64_t h = 0xcbf29ce484222325;
        for (size_t i = 0; i < n; i++)
                for (unsigned shift = 0; shift < 32; shift += 8)
                        h = (h ^ ((uint32_t)ids[i] >> shift & 0xff)) * 0x100000001b3;
        snprintf(ret, 17, "%016llx", (unsigned long long)h);
}

static bool equal_numbers(const json_t *want, const Encoding *e, bool types) {
        size_t i;
        json_t *number;
        bool equal = json_array_size(want) == e->n;
        json_array_foreach(want, i, number)
                equal = equal && json_integer_value(number) == (types ? e->types[i] : e->ids[i]);
        return equal;
}

static bool equal_hash(const json_t *want, const Encoding *e) {
        char hash[17];
        hash_ids(hash, e->ids, e->n);
        return json_integer_value(json_array_get(want, 0)) == (json_int_t)e->n &&
               strcmp(json_string_value(json_array_get(want, 1)), hash) == 0;
}

static TokenText text_of(const json_t *text) {
        return (TokenText){json_string_value(text), json_string_length(text)};
}

static bool check_text(const Tokenizer *t, const json_t *c, size_t i, const json_t *text) {
        const json_t *ids = json_object_get(c, "ids"), *hashes = json_object_get(c, "hashes");
        size_t shown = json_array_size(ids);
        _cleanup_(encoding_deinit) Encoding e = {0};
        TokenText given = text_of(text);
        bool sentencepiece = json_object_get(c, "folder"); /* to which no name is special */
        unsigned flags = TOKENIZE_ADD_SPECIAL | (sentencepiece ? 0 : TOKENIZE_PARSE_SPECIAL);
        assert_int_equal(tokenizer_encode_texts(t, &given, 1, flags, &e), 0);
        return i < shown ? equal_numbers(json_array_get(ids, i), &e, false)
                         : equal_hash(json_array_get(hashes, i - shown), &e);
}

/* With the first text's ids known, a pair is the same. */
static void check_ready_pair(const Tokenizer *t, const TokenText texts[2]) {
        _cleanup_(encoding_deinit) Encoding a = {0}, b = {0};
        _cleanup_free_ int32_t *first = NULL;
        size_t n;
        assert_int_equal(tokenizer_encode_texts(t, texts, 2, TOKENIZE_ADD_SPECIAL, &a), 0);
        assert_int_equal(tokenizer_encode(t, texts[0].data, texts[0].len, 0, &first, &n), 0);
        assert_int_equal(tokenizer_encode_pair(t, first, n, texts[1], &b), 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.ids, b.ids, a.n * sizeof(*a.ids));
        assert_memory_equal(a.types, b.types, a.n);
        assert_memory_equal(a.texts, b.texts, sizeof(a.texts));
}

/* A third member of `pair` is how many ids are left of it at most. */
static bool check_pair(const Tokenizer *t, const json_t *want, const json_t *pair) {
        _cleanup_(encoding_deinit) Encoding e = {0};
        const TokenText texts[] = {text_of(json_array_get(pair, 0)), text_of(json_array_get(pair, 1))};
        check_ready_pair(t, texts);
        assert_int_equal(tokenizer_encode_texts(t, texts, 2, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &e), 0);
        if (json_array_get(pair, 2))
                assert_true(encoding_truncate(&e, (size_t)json_integer_value(json_array_get(pair, 2))));
        return equal_numbers(json_array_get(want, 0), &e, false) && equal_numbers(json_array_get(want, 1), &e, true);
}

/* The file that the case names, with its parts in place of the file's; NULL where there is none. */
static json_t *tokenizer_of(const json_t *c) {
        const char *file = json_string_value(json_object_get(c, "file"));
        bool ours = strncmp(file, "encoder-", 8) == 0;
        if (!ours && !test_data(file)) {
                print_message("no test data %s: skipped\n", file);
                return NULL;
        }
        json_t *root = load_json(ours ? recorded(file) : test_data(file)), *parts = json_object_get(c, "parts");
        json_t *model = json_incref(json_object_get(root, "model"));
        json_object_update(root, parts);
        json_object_update(model, json_object_get(parts, "model"));
        json_object_set_new(root, "model", model);
        return root;
}

static Tokenizer *make(const Folder *f, const char *name, const json_t *c) {
        const char *folder = json_string_value(json_object_get(c, "folder"));
        json_t *root = folder ? NULL : tokenizer_of(c);
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        if (folder ? load(recorded(folder), &t, &e) < 0 : root && load_text(f, root, &t, &e) < 0)
                fail_msg("%s: %s", name, e.text);
        json_decref(root);
        return t;
}

static size_t check_pairs(const Tokenizer *t, const char *name, const char *key, const json_t *c, const json_t *all) {
        size_t i, wrong = 0;
        json_t *want;
        json_array_foreach(json_object_get(c, key), i, want) {
                if (check_pair(t, want, json_array_get(json_object_get(all, key), i)))
                        continue;
                print_message("%s: wrong ids of %s %zu\n", name, key, i);
                wrong++;
        }
        return wrong;
}

static size_t check_tokenizer(const Tokenizer *t, const char *name, const json_t *c, const json_t *all) {
        size_t i, wrong = check_pairs(t, name, "pairs", c, all) + check_pairs(t, name, "truncated", c, all);
        json_t *item;
        json_array_foreach(json_object_get(all, "texts"), i, item) {
                if (check_text(t, c, i, item))
                        continue;
                print_message("%s: wrong ids of text %zu '%s'\n", name, i, json_string_value(item));
                wrong++;
        }
        return wrong;
}

static void test_ids(void **state) {
        const Folder *f = *state;
        json_t *all = load_json(recorded("encoder-cases.json")), *c;
        const char *name;
        size_t wrong = 0, compared = 0;
        json_object_foreach(json_object_get(all, "tokenizers"), name, c) {
                _cleanup_(tokenizer_freep) Tokenizer *t = make(f, name, c);
                if (!t)
                        continue;
                wrong += check_tokenizer(t, name, c, all);
                compared++;
        }
        print_message("%zu texts by %zu tokenizers\n", json_array_size(json_object_get(all, "texts")), compared);
        json_decref(all);
        assert_int_equal(wrong, 0);
}

/* Bytes at random, mostly no UTF-8: any become ids of the vocabulary. */
static void test_any_bytes(void **state) {
        (void)state;
        static const char *const folders[] = {"encoder-wordpiece", "encoder-sp-unigram", "encoder-sp-bpe"};
        srand(5);
        for (size_t k = 0; k < ARRAY_SIZE(folders); k++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                assert_int_equal(load(recorded(folders[k]), &t, NULL), 0);
                for (size_t i = 0; i < 3000; i++) {
                        _cleanup_(encoding_deinit) Encoding e = {0};
                        size_t n = (size_t)rand() % 40;
                        _cleanup_free_ char *text = malloc(n + 1); /* as long as it is said to be: its end shows */
                        assert_non_null(text);
                        for (size_t j = 0; j < n; j++)
                                text[j] = (char)(rand() % 3 ? rand() : "a \xe2\x96\x81<"[rand() % 6]);
                        assert_int_equal(tokenizer_encode_texts(t, &(TokenText){text, n}, 1, (unsigned)i % 4, &e), 0);
                        for (size_t j = 0; j < e.n; j++)
                                assert_true(e.ids[j] >= 0 && (size_t)e.ids[j] < tokenizer_n_tokens(t));
                }
        }
}

/* ---- vocab.txt, vocab.json and tokenizer.model ---- */

static void copy(const Folder *f, const char *path, const char *as) {
        size_t n;
        _cleanup_free_ char *data = read_file(path, &n);
        folder_put(f, as, data, n);
}

/* Both folders' tokenizers give the same ids, except that the second gives those that `otherwise` says. */
static void check_same(const char *path, const char *other) {
        _cleanup_(tokenizer_freep) Tokenizer *a = NULL, *b = NULL;
        Error e = ERROR_NULL;
        json_t *all = load_json(recorded("encoder-cases.json")), *text;
        size_t i;
        if (load(path, &a, &e) < 0 || load(other, &b, &e) < 0)
                fail_msg("%s", e.text);
        json_array_foreach(json_object_get(all, "texts"), i, text) {
                _cleanup_(encoding_deinit) Encoding x = {0}, y = {0};
                const TokenText texts[] = {text_of(text), {"b", 1}};
                unsigned flags = TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL;
                assert_int_equal(tokenizer_encode_texts(a, texts, 2, flags, &x), 0);
                assert_int_equal(tokenizer_encode_texts(b, texts, 2, flags, &y), 0);
                if (x.n != y.n || memcmp(x.ids, y.ids, x.n * sizeof(*x.ids)) != 0 || memcmp(x.types, y.types, x.n) != 0)
                        fail_msg("text %zu '%s'", i, texts[0].data);
        }
        json_decref(all);
}

static void test_vocab_txt(void **state) {
        const Folder *f = *state;
        copy(f, recorded("encoder-wordpiece/vocab.txt"), "vocab.txt");
        copy(f, recorded("encoder-wordpiece/tokenizer_config.json"), "tokenizer_config.json");
        check_same(recorded("encoder-wordpiece"), f->path);
        folder_put_text(f, "tokenizer_config.json", "{}");
        check_same(recorded("encoder-wordpiece"), f->path);
        folder_put_text(f, "tokenizer_config.json", "{\"tokenizer_class\": \"XLNetTokenizer\"}");
        refused(f, -EOPNOTSUPP, "vocab.txt, of a tokenizer_class 'XLNetTokenizer' and without a tokenizer.json");
        folder_put_text(f, "tokenizer_config.json", "{\"cls_token\": \"<cls>\"}");
        refused(f, -EINVAL, "vocab.txt: has no token that starts texts");
        folder_put_text(f, "tokenizer_config.json", "{}");
        folder_put_text(f, "vocab.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b");
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        _cleanup_(encoding_deinit) Encoding e = {0};
        assert_int_equal(load(f->path, &t, NULL), 0);
        assert_int_equal(tokenizer_encode_texts(t, &(TokenText){"AB b", 4}, 1, TOKENIZE_ADD_SPECIAL, &e), 0);
        assert_int_equal(e.n, 5);
        assert_memory_equal(e.ids, ((int32_t[]){2, 4, 5, 1, 3}), sizeof(int32_t[5]));
        _cleanup_buf_ Buf text = BUF_NULL;
        assert_int_equal(tokenizer_decode(t, (int32_t[]){4, 5, 4}, 3, false, false, &text), 0);
        assert_string_equal(text.data, " ab a");
        static const struct {
                const char *text, *message;
        } cases[] = {
                {"[UNK]\n[CLS]\n\n[SEP]\n", "line 3 is empty"},
                {"[UNK]\n[CLS]\n[SEP]\na\na\n", "line 5 has a token that an earlier line has"},
                {"[UNK]\n[CLS]\n[SEP]\n\xff\n", "line 4 is not UTF-8"},
                {"[CLS]\n[SEP]\na\n", "its unk_token '[UNK]' is no token"},
                {"a", "has no token that starts texts"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                folder_put_text(f, "vocab.txt", cases[i].text);
                refused(f, -EINVAL, cases[i].message);
        }
}

static void test_vocab_json(void **state) {
        const Folder *f = *state;
        static const char *const vocab = "{\"<s>\": 0, \"</s>\": 1, \"<mask>\": 2, \"a\": 3, \"b\": 4, \"ab\": 5, "
                                         "\"\\u0120\": 6, \"<unk>\": 7, \"<pad>\": 8}";
        static const struct {
                const char *class, *text;
                int32_t ids[6];
                size_t n;
        } cases[] = {
                {"{\"tokenizer_class\": \"RobertaTokenizer\"}", "ab <mask>", {0, 5, 2, 1}, 4},
                {"{\"tokenizer_class\": \"GPT2TokenizerFast\"}", "ab a", {5, 6, 3}, 3},
                {"{\"tokenizer_class\": \"Qwen2Tokenizer\", \"added_tokens_decoder\": {\"9\": {\"content\": \"<|x|>\", "
                 "\"special\": true}, \"x\": 7, \"7y\": {}}}",
                 "ab<|x|>",
                 {5, 9},
                 2},
                {"{}", "ab a", {5, 6, 3}, 3},
        };
        folder_put_text(f, "vocab.json", vocab);
        folder_put_text(f, "tokenizer_config.json", cases[0].class);
        refused(f, -EINVAL, "has a vocab.json without a merges.txt");
        folder_put_text(f, "merges.txt", "#version: 0.2\na b\n");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                _cleanup_free_ int32_t *ids = NULL;
                Error e = ERROR_NULL;
                size_t n;
                folder_put_text(f, "tokenizer_config.json", cases[i].class);
                if (load(f->path, &t, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(tokenizer_encode(t, cases[i].text, strlen(cases[i].text),
                                                  TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids, &n),
                                 0);
                assert_int_equal(n, cases[i].n);
                assert_memory_equal(ids, cases[i].ids, n * sizeof(*ids));
        }
        folder_put_text(f, "tokenizer_config.json", "{\"tokenizer_class\": \"CLIPTokenizer\"}");
        refused(f, -EOPNOTSUPP, "vocab.json, of a tokenizer_class 'CLIPTokenizer'");
        folder_put_text(f, "tokenizer_config.json", "{}");
        folder_put_text(f, "config.json", "{\"model_type\": \"bart\"}");
        refused(f, -EOPNOTSUPP, "vocab.json, of a model_type 'bart'");
        folder_put_text(f, "config.json", "{\"model_type\": \"gpt2\"}");
        folder_put_text(f, "merges.txt", "a \xff\n");
        refused(f, -EINVAL, "merges.txt: line 1 is not UTF-8");
        folder_put_text(f, "merges.txt", "a c\n");
        refused(f, -EINVAL, "vocab.json: merge 0, 'a c'");
}

/* The published plain files against the tokenizer.json that was made of them. */
static void test_published_plain(void **state) {
        const Folder *f = *state;
        char path[sizeof(f->path)];
        Folder plain;
        skip_without("tokenizers/roberta-base/vocab.json");
        copy(f, test_data("tokenizers/roberta-base/tokenizer.json"), "tokenizer.json");
        strcpy(path, f->path);
        folder_init(&plain);
        folder_put_text(&plain, "config.json", "{\"model_type\": \"roberta\"}");
        copy(&plain, test_data("tokenizers/roberta-base/vocab.json"), "vocab.json");
        copy(&plain, test_data("tokenizers/roberta-base/merges.txt"), "merges.txt");
        check_same(path, plain.path);
        folder_deinit(&plain);
}

/* Every beginning of the file is refused, or is whole fields of it and loads. */
static void test_cut_sentencepiece(void **state) {
        const Folder *f = *state;
        static const char *const kinds[] = {"encoder-sp-unigram/tokenizer.model", "encoder-sp-bpe/tokenizer.model"};
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                size_t n, n_loaded = 0, n_refused = 0;
                _cleanup_free_ char *data = read_file(recorded(kinds[i]), &n);
                for (size_t cut = 1; cut < n; cut += 61) {
                        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                        Error e = ERROR_NULL;
                        folder_put(f, "tokenizer.model", data, cut);
                        if (load(f->path, &t, &e) == 0)
                                n_loaded++;
                        else if (strstr(e.text, "tokenizer.model"))
                                n_refused++;
                }
                assert_int_equal(n_loaded + n_refused, (n - 2) / 61 + 1);
                assert_true(n_refused > 50);
        }
        folder_put_text(f, "tokenizer.model", "{}");
        refused(f, -EINVAL, "tokenizer.model: is no SentencePiece model, or cut short");
        copy(f, recorded(kinds[0]), "tokenizer.model");
        folder_put_text(f, "tokenizer_config.json", "{\"tokenizer_class\": \"T5Tokenizer\"}");
        refused(f, -EOPNOTSUPP, "tokenizer.model, of a tokenizer_class 'T5Tokenizer' and without a tokenizer.json, is not");
        folder_put_text(f, "tokenizer_config.json",
                        "{\"tokenizer_class\": \"LlamaTokenizer\", \"add_eos_token\": true}");
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        _cleanup_free_ int32_t *ids = NULL;
        assert_int_equal(load(f->path, &t, NULL), 0);
        assert_int_equal(tokenizer_encode(t, "", 0, TOKENIZE_ADD_SPECIAL, &ids, &(size_t){0}), 0);
        assert_memory_equal(ids, ((int32_t[]){1, 2}), sizeof(int32_t[2]));
}

/* SentencePiece's file under the names of other classes, whose ids and templates are their own. */
static void test_slow_tokenizers(void **state) {
        const Folder *f = *state;
        json_t *all = load_json(recorded("encoder-cases.json")), *cases = load_json(recorded("slow-cases.json")), *c;
        const char *file;
        json_object_foreach(cases, file, c) {
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                char config[80];
                Error e = ERROR_NULL;
                snprintf(config, sizeof(config), "{\"tokenizer_class\": \"%s\"}",
                         json_string_value(json_object_get(c, "class")));
                copy(f, recorded("encoder-sp-unigram/tokenizer.model"), file);
                folder_put_text(f, "tokenizer_config.json", config);
                if (load(f->path, &t, &e) < 0)
                        fail_msg("%s: %s", file, e.text);
                assert_int_equal(check_tokenizer(t, file, c, all), 0);
                folder_put(f, file, NULL, 0);
        }
        json_decref(all);
        json_decref(cases);
        copy(f, recorded("encoder-sp-unigram/tokenizer.model"), "sentencepiece.bpe.model");
        folder_put_text(f, "tokenizer_config.json", "{\"tokenizer_class\": \"CamembertTokenizer\"}");
        refused(f, -EOPNOTSUPP, "sentencepiece.bpe.model, of a tokenizer_class 'CamembertTokenizer'");
        copy(f, recorded("encoder-sp-bpe/tokenizer.model"), "sentencepiece.bpe.model");
        folder_put_text(f, "tokenizer_config.json", "{\"tokenizer_class\": \"XLMRobertaTokenizerFast\"}");
        refused(f, -EOPNOTSUPP, "sentencepiece.bpe.model: is not like XLM-RoBERTa's");
}

/* The same vocabularies in GGUF. */
static void test_gguf(void **state) {
        (void)state;
        json_t *all = load_json(recorded("encoder-cases.json")), *slow = load_json(recorded("slow-cases.json"));
        const struct {
                const char *file;
                const json_t *c;
        } cases[] = {
                {"vocab-bert.gguf", json_object_get(json_object_get(all, "tokenizers"), "wordpiece")},
                {"vocab-xlm-roberta.gguf", json_object_get(slow, "sentencepiece.bpe.model")},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(gguf_freep) Gguf *g = NULL;
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                if (gguf_open(recorded(cases[i].file), &g, &e) < 0 || vocab_tokenizer_new(g, &t, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(check_tokenizer(t, cases[i].file, cases[i].c, all), 0);
        }
        json_decref(all);
        json_decref(slow);
}

/* Bytes of the file changed at random: refused, or loaded and used. */
static void test_damaged_sentencepiece(void **state) {
        static const char *const names[] = {"tokenizer.model", "sentencepiece.bpe.model", "spiece.model"};
        const Folder *f = *state;
        size_t n, loaded = 0;
        _cleanup_free_ char *data = read_file(recorded("encoder-sp-unigram/tokenizer.model"), &n);
        srand(7);
        for (unsigned i = 0; i < 400; i++) {
                const char *name = names[i / 2 % ARRAY_SIZE(names)];
                size_t at = i % 2 ? n - 1 - (size_t)rand() % 6000 : (size_t)rand() % n; /* the charsmap is at the end */
                char old = data[at];
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                data[at] = (char)rand();
                folder_put(f, name, data, n);
                if (load(f->path, &t, &e) == 0) {
                        _cleanup_(encoding_deinit) Encoding x = {0};
                        static const char text[] = "\xef\xbc\xa1 \xef\xac\x81 e\xcc\x81 \xc2\xbd x\xe2\x80\x83y";
                        tokenizer_encode_texts(t, &(TokenText){text, sizeof(text) - 1}, 1, 0, &x);
                        loaded++;
                } else {
                        assert_true(e.text[0]);
                }
                folder_put(f, name, NULL, 0);
                data[at] = old;
        }
        print_message("%zu of 400 loaded\n", loaded);
        assert_true(loaded > 0 && loaded < 400);
}

/* ---- what is refused ---- */

#define ADDED "\"added_tokens\": [{\"id\": 3, \"content\": \"<x>\", \"normalized\": true}]"
#define WORDPIECE                                                                                                      \
        "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"[UNK]\": 0, \"a\": 1, \"##b\": 2}, \"unk_token\": "       \
        "\"[UNK]\", \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 100}, " ADDED                 \
        ", \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, "      \
        "\"strip_accents\": null, \"lowercase\": true}, \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, "         \
        "\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"[UNK]\", 0], \"sep\": [\"a\", 1]}, "           \
        "\"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}}"
#define UNIGRAM                                                                                                        \
        "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"<unk>\", 0.0], [\"a\", -1.5], [\"\\u2581\", -2]], "        \
        "\"unk_id\": 0, \"byte_fallback\": false}, " ADDED                                                             \
        ", \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Precompiled\", "                    \
        "\"precompiled_charsmap\": \"BAAAAAAAAAAA\"}, {\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": "   \
        "true}, {\"type\": \"Replace\", \"pattern\": {\"String\": \"``\"}, \"content\": \"x\"}, {\"type\": "           \
        "\"Prepend\", \"prepend\": \"a\"}]}, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": "          \
        "[{\"type\": \"WhitespaceSplit\"}, {\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", "                   \
        "\"prepend_scheme\": \"always\", \"split\": true}]}, \"post_processor\": {\"type\": \"RobertaProcessing\", "   \
        "\"cls\": [\"a\", 1], \"sep\": [\"<unk>\", 0]}, \"decoder\": {\"type\": \"Metaspace\", \"replacement\": "      \
        "\"\\u2581\"}}"

static void test_refused_wordpiece(void **state) {
        static const Refusal cases[] = {
                {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"?\"", -EINVAL, "its unk_token '?' is no token"},
                {"\"unk_token\": \"[UNK]\", ", "", -EINVAL, "tokenizer.json: a WordPiece vocabulary needs an unknown"},
                {"\"##\"", "7", -EINVAL, "continuing_subword_prefix or max_input_chars_per_word"},
                {"100", "-1", -EINVAL, "continuing_subword_prefix or max_input_chars_per_word"},
                {"\"vocab\": {", "\"vocab\": [], \"x\": {", -EINVAL, "has no vocab"},
                {"\"##b\": 2", "\"##b\": 4", -EINVAL, "token '##b' has no id from 0 to 3"},
                {"\"id\": 3", "\"id\": 2", -EINVAL, "tokens '<x>' and '##b' have the same id 2"},
                {"\"BertNormalizer\"", "\"Nmt\"", -EOPNOTSUPP, "the normalizer 'Nmt'"},
                {"\"BertPreTokenizer\"", "\"Punctuation\"", -EOPNOTSUPP, "the pre_tokenizer 'Punctuation'"},
                {"\"pre_tokenizer\"", "\"pretokenizer\"", -EOPNOTSUPP, "without a pre_tokenizer"},
                {"{\"type\": \"BertPreTokenizer\"}",
                 "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, {\"type\": "
                 "\"Digits\"}]}",
                 -EOPNOTSUPP, "the pre_tokenizer 'Digits'"},
                {"\"cls\": [\"[UNK]\", 0]", "\"cls\": [\"[UNK]\", 9]", -EINVAL, "cls or sep is no token"},
                {"\"decoder\": {\"type\": \"WordPiece\"", "\"decoder\": {\"type\": \"BPEDecoder\"", -EOPNOTSUPP,
                 "the decoder 'BPEDecoder'"},
        };
        check_refusals(*state, "tokenizer.json", WORDPIECE, cases, ARRAY_SIZE(cases));
}

static void test_refused_unigram(void **state) {
        static const Refusal cases[] = {
                {"[\"a\", -1.5]", "[\"a\"]", -EINVAL, "token 1 of its vocab is not a text and a score"},
                {"[\"a\", -1.5]", "[\"a\", \"b\"]", -EINVAL, "token 1 of its vocab is not a text and a score"},
                {"[\"a\", -1.5]", "[\"a\", 1e999]", -EINVAL, "is no sound JSON"},
                {"\"unk_id\": 0", "\"unk_id\": 4", -EINVAL, "its unk_id is no token"},
                {"\"unk_id\": 0", "\"unk_id\": -1", -EINVAL, "its unk_id is no token"},
                {"\"vocab\": [", "\"vocab\": {}, \"x\": [", -EINVAL, "has no vocab"},
                {"\"byte_fallback\": false", "\"byte_fallback\": true", -EOPNOTSUPP, "0 of the 256 byte tokens"},
                {"\"id\": 3", "\"id\": 1", -EINVAL, "have the same id 1"},
                {"\"content\": \"<x>\"", "\"content\": \"a\"", -EINVAL, "added token 'a' has another id"},
                {"BAAAAAAAAAAA", "BAAAAAAAAAA", -EINVAL, "its precompiled_charsmap is not base64"},
                {"BAAAAAAAAAAA", "BAAA*AAAAAAA", -EINVAL, "its precompiled_charsmap is not base64"},
                {"BAAAAAAAAAAA", "CAAAAAAAAAAA", -EINVAL, "the charsmap of 9 bytes is cut short"},
                {"BAAAAAAAAAAA", "BAAA", -EINVAL, "the charsmap of 3 bytes is cut short"},
                {"BAAAAAAAAAAA", "BAAAAAEAAIAA", -EINVAL, "the charsmap is damaged: unit 0 leads to no replacement"},
                {"BAAAAAAAAAAA", "BAAAAAAAAAAB", -EINVAL, "its last replacement has no end"},
                {"\"Precompiled\"", "\"Sequence\"", -EOPNOTSUPP, "the normalizer 'Sequence'"},
                {"{\"String\": \"``\"}", "{\"Regex\": \"``\"}", -EOPNOTSUPP, "the normalizer 'Replace'"},
                {"{\"String\": \"``\"}", "{\"String\": \"\"}", -EINVAL, "the normalizer replaces an empty text"},
                {"\"prepend\": \"a\"",
                 "\"prepend\": \"0123456789012345678901234567890123456789012345678901234567890123456789\"", -EINVAL,
                 "the normalizer writes a text of 70 bytes"},
                {"\"WhitespaceSplit\"", "\"Whitespace\"", -EOPNOTSUPP, "the pre_tokenizer 'Whitespace'"},
                {"\"always\"", "\"first\"", -EOPNOTSUPP, "the pre_tokenizer 'Metaspace'"},
                {"\"split\": true", "\"split\": false", -EOPNOTSUPP, "the pre_tokenizer 'Metaspace'"},
                {"\"pre_tokenizer\"", "\"pretokenizer\"", -EOPNOTSUPP, "without the pre_tokenizer 'Metaspace'"},
                {"\"decoder\": {\"type\": \"Metaspace\"", "\"decoder\": {\"type\": \"CTC\"", -EOPNOTSUPP,
                 "the decoder 'CTC'"},
        };
        check_refusals(*state, "tokenizer.json", UNIGRAM, cases, ARRAY_SIZE(cases));
}

static void use(const Tokenizer *t) {
        _cleanup_(encoding_deinit) Encoding e = {0};
        const TokenText texts[] = {{"ab \xc3\x89<x>\xff ``", 13}, {"a", 1}};
        tokenizer_encode_texts(t, texts, 2, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &e);
}

static void test_odd_members(void **state) {
        check_odd_members(*state, WORDPIECE, use);
        check_odd_members(*state, UNIGRAM, use);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                VOCAB_TEST(test_ids),
                cmocka_unit_test(test_any_bytes),
                VOCAB_TEST(test_vocab_txt),
                VOCAB_TEST(test_vocab_json),
                VOCAB_TEST(test_published_plain),
                VOCAB_TEST(test_cut_sentencepiece),
                VOCAB_TEST(test_slow_tokenizers),
                cmocka_unit_test(test_gguf),
                VOCAB_TEST(test_damaged_sentencepiece),
                VOCAB_TEST(test_refused_wordpiece),
                VOCAB_TEST(test_refused_unigram),
                VOCAB_TEST(test_odd_members),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
