/* Tokenizers from Hugging Face directories: their ids against the tokenizers library's (tests/data/make-hf-cases.py),
 * what the small files say of special tokens, and what is refused, down to any one part of a tokenizer.json taken away
 * or replaced. */
#include "vocab-folder.h"

/* ---- ids ---- */

/* A model of vocab.json and the lines of merges.txt. */
static json_t *model_of_parts(json_t *vocab, const char *path) {
        json_t *merges = json_array();
        char *text = read_file(path, NULL), *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));)
                if (*line && strncmp(line, "#version", 8) != 0)
                        json_array_append_new(merges, json_string(line));
        free(text);
        return json_pack("{s:{s:s, s:o, s:o}}", "model", "type", "BPE", "vocab", vocab, "merges", merges);
}

/* The published file with the case's parts in place of its own; NULL where there is none. */
static json_t *tokenizer_of(const json_t *c) {
        const char *file = json_string_value(json_object_get(c, "file")),
                   *merges = json_string_value(json_object_get(c, "merges"));
        if (!test_data(file)) {
                print_message("no test data %s: skipped\n", file);
                return NULL;
        }
        json_t *root = load_json(test_data(file));
        if (merges)
                root = model_of_parts(root, test_data(merges));
        json_object_update(root, json_object_get(c, "parts"));
        if (json_object_get(c, "model"))
                json_object_update(json_object_get(root, "model"), json_object_get(c, "model"));
        return root;
}

static bool equal_ids(const Tokenizer *t, const json_t *text, const json_t *want) {
        _cleanup_free_ int32_t *ids = NULL;
        size_t n, i;
        json_t *id;
        assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text),
                                          TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids, &n),
                         0);
        bool equal = n == json_array_size(want);
        json_array_foreach(want, i, id)
                equal = equal && ids[i] == json_integer_value(id);
        if (!equal)
                print_message("wrong ids of '%s'\n", json_string_value(text));
        return equal;
}

static void test_ids(void **state) {
        Folder *f = *state;
        json_t *all = load_json(recorded("hf-cases.json")), *c, *row;
        const char *name;
        size_t column = 1, i, wrong = 0, compared = 0;
        json_object_foreach(json_object_get(all, "tokenizers"), name, c) {
                json_t *root = tokenizer_of(c);
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                if (root && load_text(f, root, &t, &e) < 0)
                        fail_msg("%s: %s", name, e.text);
                json_array_foreach(json_object_get(all, "texts"), i, row)
                        if (t && !equal_ids(t, json_array_get(row, 0), json_array_get(row, column))) {
                                print_message("… by %s\n", name);
                                wrong++;
                        }
                compared += t ? i : 0;
                column++;
                json_decref(root);
        }
        json_decref(all);
        print_message("%zu texts compared\n", compared);
        assert_int_equal(wrong, 0);
        if (compared == 0)
                skip();
}

/* ---- small tokenizers ---- */

#define ADDED(number, text, special)                                                                                   \
        "{\"id\": " #number ", \"content\": \"" text "\", \"special\": " #special ", \"lstrip\": false}"
#define TOKENS "\"<s>\": 0, \"</s>\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"\\u2581\": 5, \"\\u2581ab\": 6"
#define MODEL                                                                                                          \
        "\"model\": {\"type\": \"BPE\", \"vocab\": {" TOKENS                                                           \
        "}, \"merges\": [\"a b\", [\"\\u2581\", \"ab\"]], \"fuse_unk\": true, \"unk_token\": null}"
#define PARTS                                                                                                          \
        "\"added_tokens\": [" ADDED(0, "<s>", true) ", " ADDED(1, "</s>", true) ", " ADDED(                            \
                7, "<x>",                                                                                              \
                false) "], \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", "        \
                       "\"prepend\": "                                                                                 \
                       "\"\\u2581\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": "         \
                       "\"\\u2581\"}]}, "                                                                              \
                       "\"pre_tokenizer\": null, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "  \
                       "[{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}], "                    \
                       "\"special_tokens\": {\"<s>\": "                                                                \
                       "{\"id\": \"<s>\", \"ids\": [0], \"tokens\": [\"<s>\"]}}}, \"decoder\": {\"type\": "            \
                       "\"Sequence\", "                                                                                \
                       "\"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"\\u2581\"}, \"content\": "  \
                       "\" \"}, "                                                                                      \
                       "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" "    \
                       "\", \"start\": 1, "                                                                            \
                       "\"stop\": 0}]}"
#define SMALL "{" MODEL ", " PARTS "}"

static void check_small(const Folder *f, const char *text, const int32_t *want, size_t n_want) {
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        _cleanup_free_ int32_t *ids = NULL;
        Error e = ERROR_NULL;
        size_t n;
        if (load(f->path, &t, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(
                tokenizer_encode(t, text, strlen(text), TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids, &n), 0);
        assert_int_equal(n, n_want);
        assert_memory_equal(ids, want, n * sizeof(*ids));
}

#define IDS(...) ((int32_t[]){__VA_ARGS__}), sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

/* tokenizer_config.json's wishes, and its chat templates. */
static void test_configs(void **state) {
        Folder *f = *state;
        folder_put_text(f, "tokenizer.json", SMALL);
        check_small(f, "ab ab", IDS(0, 6, 6));
        check_small(f, "ab<x>ab</s>", IDS(0, 6, 7, 6, 1));
        folder_put_text(f, "tokenizer_config.json", "{\"add_bos_token\": false, \"bos_token\": \"<s>\"}");
        check_small(f, "ab", IDS(6));
        folder_put_text(f, "tokenizer_config.json",
                        "{\"add_eos_token\": true, \"eos_token\": {\"content\": \"</s>\"}}");
        check_small(f, "ab", IDS(0, 6, 1));
        folder_put_text(f, "tokenizer_config.json", NULL);
        folder_put_text(f, "generation_config.json", "{\"eos_token_id\": [1, 4]}");
        folder_put_text(f, "config.json", "{\"eos_token_id\": 2}");
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        assert_int_equal(load(f->path, &t, NULL), 0);
        for (int32_t id = 0; id < 8; id++)
                assert_int_equal(tokenizer_is_eog(t, id), id == 1 || id == 2 || id == 4);
}

static void check_named(const Folder *f, const char *name, const char *want, int code) {
        _cleanup_(hf_freep) HfModel *h = NULL;
        FileText text;
        assert_int_equal(hf_open(f->path, &h, NULL), 0);
        assert_int_equal(hf_chat_template(h, name, &text, NULL), code);
        if (want)
                assert_true(text.len == strlen(want) && memcmp(text.data, want, text.len) == 0);
}

static void check_template(const Folder *f, const char *want, int code) {
        check_named(f, "default", want, code);
}

static void test_templates(void **state) {
        Folder *f = *state;
        check_template(f, NULL, -ENOENT);
        folder_put_text(f, "tokenizer_config.json", "{\"chat_template\": \"one\"}");
        check_template(f, "one", 0);
        check_named(f, "tool_use", NULL, -ENOENT);
        folder_put_text(f, "tokenizer_config.json",
                        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"no\"}, "
                        "{\"name\": \"default\", \"template\": \"two\"}]}");
        check_template(f, "two", 0);
        check_named(f, "tool_use", "no", 0);
        check_named(f, "rag", NULL, -ENOENT);
        folder_put_text(f, "tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\"}]}");
        check_template(f, NULL, -EINVAL);
        folder_put_text(f, "chat_template.jinja", "three");
        check_template(f, "three", 0);
        check_named(f, "tool_use", NULL, -ENOENT);
}

/* Small files that do not go with the tokenizer. */
static void test_refused_configs(void **state) {
        Folder *f = *state;
        refused(f, -ENOENT, "has no tokenizer.json");
        folder_put_text(f, "tokenizer.json", SMALL);
        static const struct {
                const char *file, *text, *message;
        } cases[] = {
                {"tokenizer_config.json", "{\"bos_token\": \"<none>\"}", "bos_token '<none>' is no token"},
                {"tokenizer_config.json", "{\"eos_token\": 7}", "eos_token '?' is no token"},
                {"tokenizer_config.json", "{\"add_eos_token\": true}", "wants a token added that it does not name"},
                {"tokenizer_config.json", "[]", "is not a JSON object"},
                {"tokenizer_config.json", "{\"a\": 1, \"a\": 2}", "duplicate object key"},
                {"generation_config.json", "{\"eos_token_id\": 8}",
                 "generation_config.json: its eos_token_id is no token"},
                {"generation_config.json", "{\"eos_token_id\": [1, -1]}", "its eos_token_id is no token"},
                {"generation_config.json", "{\"eos_token_id\": \"</s>\"}", "its eos_token_id is no token"},
                {"generation_config.json", "{", "is no sound JSON"},
                {"config.json", "{\"eos_token_id\": [0.5]}", "config.json: its eos_token_id is no token"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                folder_put_text(f, cases[i].file, cases[i].text);
                refused(f, -EINVAL, cases[i].message);
                folder_put_text(f, cases[i].file, "{}");
        }
}

#define BYTES_ONLY "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}"

static void test_refused_parts(void **state) {
        Folder *f = *state;
        static const Refusal cases[] = {
                {"\"BPE\"", "\"WordLevel\"", -EOPNOTSUPP, "its model 'WordLevel' is not supported"},
                {"\"model\"", "\"modal\"", -EINVAL, "has no model"},
                {"\"vocab\"", "\"vokab\"", -EINVAL, "has no vocab"},
                {"\"merges\"", "\"merge\"", -EOPNOTSUPP, "has no merges, so it is not BPE"},
                {"\"merges\"", "\"merges\": 7, \"merge\"", -EINVAL, "merges are not a list"},
                {"\"fuse_unk\": true", "\"fuse_unk\": false", -EOPNOTSUPP, "neither byte_fallback nor fuse_unk"},
                {"\"fuse_unk\"", "\"byte_fallback\": true, \"fuse_unk\"", -EOPNOTSUPP, "with 0 of the 256 byte tokens"},
                {"\"fuse_unk\"", "\"dropout\": 0.1, \"fuse_unk\"", -EOPNOTSUPP, "dropout"},
                {"\"fuse_unk\"", "\"ignore_merges\": true, \"fuse_unk\"", -EOPNOTSUPP, "ignore_merges"},
                {"\"fuse_unk\"", "\"end_of_word_suffix\": \"</w>\", \"fuse_unk\"", -EOPNOTSUPP, "end_of_word_suffix"},
                {"\"unk_token\": null", "\"unk_token\": \"<unk>\"", -EINVAL, "unk_token '<unk>' is no token"},
                {"\"a\": 2", "\"a\": 9", -EINVAL, "a gap: no token has the id 2"},
                {"\"a\": 2", "\"a\": 3", -EINVAL, "have the same id 3"},
                {"\"a\": 2", "\"a\": -2", -EINVAL, "token 'a' has no id from 0 to"},
                {"\"a\": 2", "\"a\": 4000000000", -EINVAL, "token 'a' has no id from 0 to"},
                {"\"a\": 2", "\"a\": 2.0", -EINVAL, "token 'a' has no id from 0 to"},
                {"\"a\": 2", "\"a\": 2, \"a\": 2", -EINVAL, "duplicate object key"},
                {"\"id\": 1,", "\"id\": 2,", -EINVAL, "added token '</s>' has another id in the vocabulary"},
                {"\"id\": 7,", "\"id\": 8,", -EINVAL, "a gap: no token has the id 7"},
                {"\"id\": 7,", "\"id\": \"7\",", -EINVAL, "token '<x>' has no id"},
                {"\"content\": \"<x>\"", "\"content\": \"\"", -EINVAL, "added token without content"},
                {"\"a b\"", "\"a c\"", -EINVAL, "merge 0, 'a c'"},
                {"\"a b\"", "\"ab\"", -EINVAL, "merge 0, 'ab'"},
                {"\"a b\"", "7", -EINVAL, "merge 0 is not two texts"},
                {"\"a b\"", "[\"a\", 7]", -EINVAL, "merge 0 is not two texts"},
                {"\"a b\"", "[\"a \", \"b\"]", -EOPNOTSUPP, "merge 0 has a space"},
                {"\"Prepend\"", "\"Lowercase\"", -EOPNOTSUPP, "the normalizer 'Lowercase'"},
                {"\"Replace\"", "\"Precompiled\"", -EOPNOTSUPP, "the normalizer 'Precompiled'"},
                {"\"normalizer\"", "\"normaliser\"", -EOPNOTSUPP, "neither its normalizer nor its pre_tokenizer"},
                {"\"normalizers\": [", "\"normalizers\": 7, \"x\": [", -EOPNOTSUPP, "normalizer is not a list"},
                {"\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"Whitespace\"}", -EOPNOTSUPP,
                 "the pre_tokenizer 'Whitespace'"},
                {"\"pre_tokenizer\": null",
                 "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\\u2581\"}", -EOPNOTSUPP,
                 "the pre_tokenizer 'Metaspace'"},
                {"\"pre_tokenizer\": null",
                 "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", \"split\": false}",
                 -EOPNOTSUPP, "the normalizer 'Prepend'"},
                {"\"pre_tokenizer\": null", BYTES_ONLY, -EOPNOTSUPP, "the decoder 'Replace'"},
                {"\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}", -EOPNOTSUPP, "'ByteLevel'"},
                {"\"pre_tokenizer\": null",
                 "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                 "{\"Regex\": \"x+\"}}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}",
                 -EOPNOTSUPP, "the pre_tokenizer's regex 'x+' is none that is known"},
                {"\"Fuse\"", "\"WordPiece\"", -EOPNOTSUPP, "the decoder 'WordPiece'"},
                {"\"start\": 1", "\"start\": 2", -EOPNOTSUPP, "the decoder 'Strip'"},
                {"\"TemplateProcessing\"", "\"RobertaProcessing\"", -EINVAL, "cls or sep is no token"},
                {"\"TemplateProcessing\"", "\"OtherProcessing\"", -EOPNOTSUPP, "the post_processor 'OtherProcessing'"},
                {"\"Sequence\": {\"id\": \"A\"}", "\"Sequence\": null", -EOPNOTSUPP,
                 "the post_processor 'TemplateProcessing'"},
                {"\"ids\": [0]", "\"ids\": []", -EINVAL, "names a special token that it does not define"},
                {"\"ids\": [0]", "\"ids\": [0, 99]", -EINVAL, "names a special token that has no id"},
                {"\"ids\": [0]", "\"ids\": 0", -EINVAL, "names a special token that it does not define"},
                {SMALL, "{\"model\": {\"type\": \"BPE\", \"vocab\":", -EINVAL, "tokenizer.json: is no sound JSON"},
                {SMALL, "7", -EINVAL, "tokenizer.json: is n"},
        };
        check_refusals(f, "tokenizer.json", SMALL, cases, ARRAY_SIZE(cases));
}

/* Odd published tokenizers. */
static void test_refused_published(void **state) {
        Folder *f = *state;
        static const struct {
                const char *file;
                int code;
                const char *message;
        } cases[] = {
                {"config_cases/mlxd/config_object/tokenizer.json", -EOPNOTSUPP, "says how spaces are written"},
                {"config_cases/mlxd/corrupt_json/tokenizer.json", -EINVAL, "is no sound JSON"},
        };
        skip_without("config_cases/mlxd/config_object/tokenizer.json");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n;
                _cleanup_free_ char *text = read_file(test_data(cases[i].file), &n);
                folder_put(f, "tokenizer.json", text, n);
                refused(f, cases[i].code, cases[i].message);
        }
}

/* ---- any part gone or of another kind ---- */

static void use(const Tokenizer *t) {
        _cleanup_free_ int32_t *ids = NULL;
        size_t n;
        tokenizer_encode(t, "ab <s> <x>c", 11, TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids, &n);
}

static void test_odd_parts(void **state) {
        check_odd_members(*state, SMALL, use);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                VOCAB_TEST(test_ids),
                VOCAB_TEST(test_configs),
                VOCAB_TEST(test_templates),
                VOCAB_TEST(test_refused_configs),
                VOCAB_TEST(test_refused_parts),
                VOCAB_TEST(test_odd_parts),
                VOCAB_TEST(test_refused_published),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
