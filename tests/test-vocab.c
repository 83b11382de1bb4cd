/* Vocabularies from GGUF files: the real ones against llama.cpp's recorded ids (ggml-vocab) and against the reference
 * runs of real models, and files made here for what must be refused. */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>
#include <jansson.h>

#include "engine/vocab.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

static int load_file(const char *path, Tokenizer **ret, Error *e) {
        _cleanup_(gguf_freep) Gguf *g = NULL;
        int r = gguf_open(path, &g, e);
        return r < 0 ? r : vocab_tokenizer_new(g, ret, e);
}

static Tokenizer *load(const char *name) {
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        if (load_file(test_data(name), &t, &e) < 0)
                fail_msg("%s", e.text);
        return t;
}

static char *read_all(const char *name) {
        FILE *f = fopen(test_data(name), "re");
        assert_non_null(f);
        struct stat st;
        assert_int_equal(fstat(fileno(f), &st), 0);
        char *text = calloc(1, (size_t)st.st_size + 1);
        assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
        fclose(f);
        return text;
}

/* Compares with one line of ids; returns whether they are equal, and where the next line starts. */
static bool equal_line(const char **line, const int32_t *ids, size_t n) {
        const char *end = strchr(*line, '\n'), *p = *line;
        size_t i = 0;
        bool equal = true;
        while (p < end) {
                char *next;
                long id = strtol(p, &next, 10);
                if (next == p || next > end)
                        break;
                equal = equal && i < n && ids[i] == id;
                i++;
                p = next;
        }
        *line = end + 1;
        return equal && i == n;
}

static void check_set(const char *set) {
        char name[128];
        snprintf(name, sizeof(name), "tokenizers/ggml-vocab/ggml-vocab-%s.gguf", set);
        skip_without(name);
        _cleanup_(tokenizer_freep) Tokenizer *t = load(name);
        strcat(name, ".inp");
        _cleanup_free_ char *inputs = read_all(name);
        strcpy(strrchr(name, '.'), ".out");
        _cleanup_free_ char *outputs = read_all(name);
        const char *line = outputs;
        int cases = 0, good = 0;
        for (char *in = inputs, *end; (end = strstr(in, SEPARATOR)); in = end + strlen(SEPARATOR), cases++) {
                _cleanup_free_ int32_t *ids = NULL;
                size_t n;
                assert_int_equal(tokenizer_encode(t, in, (size_t)(end - in), 0, &ids, &n), 0);
                bool equal = equal_line(&line, ids, n);
                if (!equal)
                        print_message("%s, case %d: '%.*s'\n", set, cases, (int)(end - in), in);
                good += equal;
        }
        assert_int_equal(cases, 46);
        assert_int_equal(good, cases);
}

static void test_gpt2(void **state) {
        (void)state;
        check_set("gpt-2");
}

static void test_llama_spm(void **state) {
        (void)state;
        check_set("llama-spm");
}

static void test_bert(void **state) {
        (void)state;
        check_set("bert-bge");
}

static void test_phi3(void **state) {
        (void)state;
        check_set("phi-3");
}

/* The reference runs of a model: its prompts and their ids, with BOS. */
static void check_model(const char *model) {
        char name[128];
        snprintf(name, sizeof(name), "models/%s.expected.json", model);
        skip_without(name);
        json_t *runs = json_load_file(test_data(name), 0, NULL), *run;
        strcpy(strstr(name, ".expected"), ".gguf");
        _cleanup_(tokenizer_freep) Tokenizer *t = load(name);
        size_t i, j;
        json_array_foreach(runs, i, run) {
                json_t *want = json_object_get(run, "prompt_ids"), *id, *prompt = json_object_get(run, "prompt");
                _cleanup_free_ int32_t *ids = NULL;
                size_t n;
                assert_int_equal(tokenizer_encode(t, json_string_value(prompt), json_string_length(prompt),
                                                  TOKENIZE_ADD_SPECIAL, &ids, &n), 0);
                assert_int_equal(n, json_array_size(want));
                json_array_foreach(want, j, id)
                        assert_int_equal(ids[j], json_integer_value(id));
                _cleanup_buf_ Buf text = BUF_NULL;
                assert_int_equal(tokenizer_decode(t, ids, n, false, true, &text), 0);
                assert_string_equal(text.len > 0 ? text.data : "", json_string_value(prompt));
        }
        assert_true(i > 0);
        json_decref(runs);
}

static void test_models(void **state) {
        (void)state;
        check_model("stories260K-f32");
        check_model("stories260K-f16");
        check_model("babyllama105-f16");
        check_model("babyllama105-q8_0");
        check_model("babyllama105-q4_0");
}

/* SentencePiece vocabularies against Hugging Face's ids (tests/data/make-tokenizer-cases.py): the first spells unknown
 * characters in bytes, the second has one unknown token for a run of them. */
static void check_recorded(const char *model, const char *gguf) {
        skip_without(gguf);
        _cleanup_(tokenizer_freep) Tokenizer *t = load(gguf);
        json_t *all = json_load_file(recorded("tokenizer-cases.json"), JSON_ALLOW_NUL, NULL), *row, *id;
        assert_non_null(all);
        size_t set = 0, i, j, wrong = 0;
        json_array_foreach(json_object_get(all, "sets"), i, row)
                if (strcmp(json_string_value(row), model) == 0)
                        set = i + 1;
        assert_true(set > 0);
        json_array_foreach(json_object_get(all, "cases"), i, row) {
                json_t *text_json = json_array_get(row, 0), *want = json_array_get(row, set);
                const char *text = json_string_value(text_json);
                _cleanup_free_ int32_t *ids = NULL;
                size_t n;
                assert_int_equal(tokenizer_encode(t, text, json_string_length(text_json), 0, &ids, &n), 0);
                bool equal = n == json_array_size(want);
                json_array_foreach(want, j, id)
                        equal = equal && ids[j] == json_integer_value(id);
                if (!equal)
                        print_message("%s, case %zu: '%s'\n", model, i, text);
                wrong += !equal;
        }
        json_decref(all);
        assert_true(i > 300);
        assert_int_equal(wrong, 0);
}

static void test_recorded(void **state) {
        (void)state;
        check_recorded("stories260K", "models/stories260K-f32.gguf");
        check_recorded("babyllama105", "models/babyllama105-f16.gguf");
}

/* A GGUF file of metadata alone. */
typedef struct Writer {
        Buf body;
        uint64_t n_keys;
        uint64_t n_rows; /* of token_embd.weight; 0: there is none */
} Writer;

static void put_u32(Writer *w, uint32_t v) {
        buf_put(&w->body, &v, sizeof(v));
}

static void put_u64(Writer *w, uint64_t v) {
        buf_put(&w->body, &v, sizeof(v));
}

static void put_string(Writer *w, const char *s) {
        put_u64(w, strlen(s));
        buf_puts(&w->body, s);
}

static void put_key(Writer *w, const char *name, GgufType type) {
        char key[64];
        snprintf(key, sizeof(key), "tokenizer.ggml.%s", name);
        put_string(w, key);
        put_u32(w, type);
        w->n_keys++;
}

static void add_string(Writer *w, const char *name, const char *value) {
        put_key(w, name, GGUF_STRING);
        put_string(w, value);
}

static void add_u32(Writer *w, const char *name, uint32_t value) {
        put_key(w, name, GGUF_U32);
        put_u32(w, value);
}

static void add_bool(Writer *w, const char *name, bool value) {
        put_key(w, name, GGUF_BOOL);
        buf_putc(&w->body, value);
}

/* `values`: separated by '/'. */
static void add_strings(Writer *w, const char *name, const char *values) {
        put_key(w, name, GGUF_ARRAY);
        put_u32(w, GGUF_STRING);
        size_t n = 1;
        for (const char *p = values; (p = strchr(p, '/')); p++)
                n++;
        put_u64(w, n);
        for (const char *p = values; n > 0; n--) {
                size_t len = strcspn(p, "/");
                put_u64(w, len);
                buf_put(&w->body, p, len);
                p += len + 1;
        }
}

static void add_zeros(Writer *w, const char *name, GgufType type, size_t n) {
        put_key(w, name, GGUF_ARRAY);
        put_u32(w, type);
        put_u64(w, n);
        for (size_t i = 0; i < n; i++)
                put_u32(w, type == GGUF_I32 ? TOKEN_NORMAL : 0);
}

static int load_written(Writer *w, Tokenizer **ret, Error *e) {
        char path[] = "test-vocab-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        FILE *f = fdopen(fd, "w");
        const uint32_t version = 3;
        const uint64_t n_tensors = w->n_rows > 0;
        fwrite("GGUF", 1, 4, f);
        fwrite(&version, sizeof(version), 1, f);
        fwrite(&n_tensors, sizeof(n_tensors), 1, f);
        fwrite(&w->n_keys, sizeof(w->n_keys), 1, f);
        if (w->n_rows > 0) {
                put_string(w, "token_embd.weight");
                put_u32(w, 2);
                put_u64(w, 8);
                put_u64(w, w->n_rows);
                put_u32(w, 0); /* F32 */
                put_u64(w, 0);
                size_t at = 24 + w->body.len, end = (at + 31) / 32 * 32 + 32 * w->n_rows;
                for (; at < end; at++)
                        buf_putc(&w->body, 0);
        }
        fwrite(w->body.data, 1, w->body.len, f);
        assert_int_equal(fclose(f), 0);
        int r = load_file(path, ret, e);
        unlink(path);
        buf_deinit(&w->body);
        return r;
}

static void refused(Writer *w, int code, const char *about) {
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(load_written(w, &t, &e), code);
        assert_null(t);
        if (!strstr(e.text, about) || !strstr(e.text, "test-vocab-"))
                fail_msg("'%s' does not speak of %s and the file", e.text, about);
}

static void bpe_keys(Writer *w, const char *pre) {
        add_string(w, "model", "gpt2");
        if (pre)
                add_string(w, "pre", pre);
        add_strings(w, "tokens", "a/b/ab/<end>");
        add_strings(w, "merges", "a b");
}

static void check_ids(Writer *w, const int32_t *want, size_t n_want) {
        _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        if (load_written(w, &t, &e) < 0)
                fail_msg("%s", e.text);
        _cleanup_free_ int32_t *ids = NULL;
        size_t n;
        assert_int_equal(tokenizer_encode(t, "abb", 3, TOKENIZE_ADD_SPECIAL, &ids, &n), 0);
        assert_int_equal(n, n_want);
        assert_memory_equal(ids, want, n * sizeof(*ids));
}

static void begin_written(Writer *w, const char *architecture) {
        *w = (Writer){0};
        put_string(w, "general.architecture");
        put_u32(w, GGUF_STRING);
        put_string(w, architecture);
        w->n_keys++;
}

/* Where a file does not say whether a space is put before a text, only Gemma's have none. */
static void test_spm_defaults(void **state) {
        (void)state;
        static const char *const architectures[] = {"llama", "gemma3"};
        for (size_t i = 0; i < ARRAY_SIZE(architectures); i++) {
                Writer w;
                begin_written(&w, architectures[i]);
                add_string(&w, "model", "llama");
                add_strings(&w, "tokens", "<unk>/<s>/<e>/a/b/\xe2\x96\x81");
                add_zeros(&w, "scores", GGUF_F32, 6);
                add_bool(&w, "add_bos_token", false);
                check_ids(&w, i == 0 ? (int32_t[]){5, 3, 4, 4} : (int32_t[]){3, 4, 4}, i == 0 ? 4 : 3);
        }
}

static void test_bpe_defaults(void **state) {
        (void)state;
        Writer w = {0};
        bpe_keys(&w, NULL);
        add_u32(&w, "bos_token_id", 3);
        check_ids(&w, (int32_t[]){2, 1}, 2);
        w = (Writer){0};
        bpe_keys(&w, "llama-bpe");
        add_u32(&w, "bos_token_id", 3);
        check_ids(&w, (int32_t[]){3, 2, 1}, 3);
        w = (Writer){0};
        bpe_keys(&w, "llama-bpe");
        add_u32(&w, "bos_token_id", 3);
        add_bool(&w, "add_bos_token", false);
        check_ids(&w, (int32_t[]){2, 1}, 2);
        w = (Writer){0};
        bpe_keys(&w, "gpt-2");
        add_u32(&w, "eos_token_id", 3);
        add_bool(&w, "add_eos_token", true);
        check_ids(&w, (int32_t[]){2, 1, 3}, 3);
}

/* Where Ollama's files say nothing, or what everybody says, it is known by the family. */
static void test_family_cuts(void **state) {
        (void)state;
        static const struct {
                const char *architecture, *said;
                size_t n;
        } cases[] = {{"gptoss", NULL, 1}, {"gptoss", "default", 1}, {"gptoss", "qwen2", 3}, {"mistral3", "gpt-2", 3}, {"mistral3", "llama-bpe", 1}, {"qwen2", NULL, 1}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Writer w;
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                begin_written(&w, cases[i].architecture);
                add_string(&w, "model", "gpt2");
                if (cases[i].said)
                        add_string(&w, "pre", cases[i].said);
                add_strings(&w, "tokens", "1/2/3/12/123/aB/a/B"); /* three digits together, a capital apart or not */
                add_strings(&w, "merges", "1 2/12 3/a B");
                if (load_written(&w, &t, &e) < 0)
                        fail_msg("%s", e.text);
                _cleanup_free_ int32_t *ids = NULL, *word = NULL;
                size_t n, n_word;
                assert_int_equal(tokenizer_encode(t, "123", 3, 0, &ids, &n), 0);
                assert_int_equal(n, cases[i].n);
                assert_int_equal(tokenizer_encode(t, "aB", 2, 0, &word, &n_word), 0);
                bool by_case = strcmp(cases[i].architecture, "qwen2") != 0 && (!cases[i].said || strchr("dg", *cases[i].said));
                assert_int_equal(n_word, by_case ? 2 : 1);
        }
}

/* Phi-3's special tokens take the white space that follows. */
static void test_phi3_white_space(void **state) {
        (void)state;
        static const char *const architectures[] = {"phi3", "llama"};
        for (size_t i = 0; i < ARRAY_SIZE(architectures); i++) {
                Writer w;
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                _cleanup_free_ int32_t *ids = NULL;
                Error e = ERROR_NULL;
                size_t n;
                begin_written(&w, architectures[i]);
                add_string(&w, "model", "llama");
                add_strings(&w, "tokens", "<unk>/<s>/<e>/a/\xe2\x96\x81/<|end|>");
                add_zeros(&w, "scores", GGUF_F32, 6);
                put_key(&w, "token_type", GGUF_ARRAY);
                put_u32(&w, GGUF_I32);
                put_u64(&w, 6);
                const uint32_t types[] = {TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_CONTROL, TOKEN_NORMAL, TOKEN_NORMAL, TOKEN_CONTROL};
                for (size_t k = 0; k < ARRAY_SIZE(types); k++)
                        put_u32(&w, types[k]);
                add_bool(&w, "add_space_prefix", false);
                if (load_written(&w, &t, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(tokenizer_encode(t, "a<|end|>  <s> a", 15, TOKENIZE_PARSE_SPECIAL, &ids, &n), 0);
                const int32_t taken[] = {3, 5, 1, 4, 3}, left[] = {3, 5, 4, 4, 1, 4, 3};
                assert_int_equal(n, i == 0 ? ARRAY_SIZE(taken) : ARRAY_SIZE(left));
                assert_memory_equal(ids, i == 0 ? taken : left, n * sizeof(*ids));
        }
}

/* Tokens of gemma3 that there are no weights for are none. */
static void test_surplus_tokens(void **state) {
        (void)state;
        static const char *const architectures[] = {"gemma3", "gemma2"};
        for (size_t i = 0; i < ARRAY_SIZE(architectures); i++) {
                Writer w;
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                Error e = ERROR_NULL;
                begin_written(&w, architectures[i]);
                add_string(&w, "model", "llama");
                add_strings(&w, "tokens", "<unk>/<s>/<e>/a/b/<image>");
                add_zeros(&w, "scores", GGUF_F32, 6);
                add_zeros(&w, "token_type", GGUF_I32, 6);
                w.n_rows = 5;
                if (load_written(&w, &t, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(tokenizer_n_tokens(t), i == 0 ? 5 : 6);
        }
}

static void test_refused_bpe(void **state) {
        (void)state;
        Writer w = {0};
        bpe_keys(&w, "no-such-pre");
        refused(&w, -EOPNOTSUPP, "tokenizer.ggml.pre: the pre-tokenizer 'no-such-pre'");
        w = (Writer){0};
        bpe_keys(&w, "gpt-2");
        add_u32(&w, "eos_token_id", 4);
        refused(&w, -EINVAL, "end-of-text token is 4");
        w = (Writer){0};
        bpe_keys(&w, "gpt-2");
        add_u32(&w, "eos_token_id", UINT32_MAX);
        refused(&w, -EINVAL, "eos_token_id");
        w = (Writer){0};
        bpe_keys(&w, "gpt-2");
        add_zeros(&w, "token_type", GGUF_I32, 3);
        refused(&w, -EINVAL, "token_type has 3 elements for 4 tokens");
        w = (Writer){0};
        add_string(&w, "model", "gpt2");
        add_strings(&w, "tokens", "a/b");
        refused(&w, -EINVAL, "merges is missing");
        w = (Writer){0};
        add_string(&w, "model", "gpt2");
        add_strings(&w, "tokens", "a/b");
        add_strings(&w, "merges", "a b");
        refused(&w, -EINVAL, "merge 0, 'a b'");
}

static void bert_keys(Writer *w, const char *tokens) {
        add_string(w, "model", "bert");
        add_strings(w, "tokens", tokens);
        add_u32(w, "cls_token_id", 1);
        add_u32(w, "seperator_token_id", 2);
        add_u32(w, "unknown_token_id", 0);
}

/* Capital letters in a vocabulary are those of texts; without any, texts are lowercased. */
static void test_bert_case(void **state) {
        (void)state;
        static const char *const tokens[] = {"[UNK]/[CLS]/[SEP]/\xe2\x96\x81" "ab/c/\xe2\x96\x81" "c/[unused0]",
                                             "[UNK]/[CLS]/[SEP]/\xe2\x96\x81" "AB/c/\xe2\x96\x81" "c/[unused0]"};
        static const int32_t want[][6] = {{1, 3, 4, 3, 5, 2}, {1, 3, 4, 0, 5, 2}};
        for (size_t i = 0; i < 2; i++) {
                Writer w = {0};
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                _cleanup_free_ int32_t *ids = NULL;
                size_t n;
                Error e = ERROR_NULL;
                bert_keys(&w, tokens[i]);
                if (load_written(&w, &t, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(tokenizer_encode(t, "ABc ab c", 8, TOKENIZE_ADD_SPECIAL, &ids, &n), 0);
                assert_int_equal(n, 6);
                assert_memory_equal(ids, want[i], sizeof(want[i]));
        }
}

static void test_refused(void **state) {
        (void)state;
        Writer w = {0};
        add_u32(&w, "bos_token_id", 1);
        refused(&w, -ENOENT, "tokenizer.ggml.model is missing");
        w = (Writer){0};
        add_string(&w, "model", "llama");
        refused(&w, -ENOENT, "tokenizer.ggml.tokens is missing");
        w = (Writer){0};
        add_string(&w, "model", "rwkv");
        add_strings(&w, "tokens", "a/b");
        refused(&w, -EOPNOTSUPP, "tokenizer 'rwkv'");
        w = (Writer){0};
        add_string(&w, "model", "bert");
        add_strings(&w, "tokens", "a/b");
        refused(&w, -EINVAL, "cls_token_id 101 or tokenizer.ggml.seperator_token_id 102 is no token");
        w = (Writer){0};
        add_string(&w, "model", "bert");
        add_strings(&w, "tokens", "a/b");
        add_u32(&w, "cls_token_id", 0);
        add_u32(&w, "seperator_token_id", 1);
        add_u32(&w, "unknown_token_id", 2);
        refused(&w, -EINVAL, "unk");
        w = (Writer){0};
        add_string(&w, "model", "t5");
        add_strings(&w, "tokens", "a/b");
        refused(&w, -EINVAL, "scores is missing, which a 't5' vocabulary needs");
        w = (Writer){0};
        add_string(&w, "model", "t5");
        add_strings(&w, "tokens", "a/b/c");
        add_zeros(&w, "scores", GGUF_F32, 3);
        add_zeros(&w, "precompiled_charsmap", GGUF_F32, 3);
        refused(&w, -EINVAL, "precompiled_charsmap");
        w = (Writer){0};
        add_string(&w, "model", "llama");
        add_strings(&w, "tokens", "a/b/c");
        refused(&w, -EINVAL, "scores is missing");
        w = (Writer){0};
        add_string(&w, "model", "llama");
        add_strings(&w, "tokens", "a/b/c");
        add_zeros(&w, "scores", GGUF_F32, 4);
        refused(&w, -EINVAL, "scores has 4 elements for 3 tokens");
        w = (Writer){0};
        add_string(&w, "model", "llama");
        add_strings(&w, "tokens", "a/b/c");
        add_zeros(&w, "scores", GGUF_I32, 3);
        refused(&w, -EINVAL, "scores");
        w = (Writer){0};
        add_u32(&w, "model", 1);
        refused(&w, -EINVAL, "tokenizer.ggml.model");
}

/* A vocabulary with bytes flipped is refused or makes a tokenizer that works on any text; nothing crashes. */
static void use(const Tokenizer *t) {
        static const char text[] = "Once upon a time <s> \xf0\x9f\xa6\x99\xff\xe2\x96\x81</s><0x41>";
        int32_t *ids = NULL;
        size_t n = 0;
        int r = tokenizer_encode(t, text, sizeof(text), TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &ids, &n);
        _cleanup_buf_ Buf out = BUF_NULL;
        for (size_t i = 0; i < n; i++)
                assert_in_range(ids[i], 0, tokenizer_n_tokens(t) - 1);
        if (r == 0)
                assert_int_equal(tokenizer_decode(t, ids, n, true, true, &out), 0);
        else
                assert_int_equal(r, -EINVAL);
        free(ids);
}

static void write_file(const char *path, const char *data, size_t len) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(data, 1, len, f), len);
        assert_int_equal(fclose(f), 0);
}

static void test_flipped(void **state) {
        (void)state;
        Writer w = {0};
        bpe_keys(&w, "gpt-2");
        add_zeros(&w, "token_type", GGUF_I32, 4);
        add_u32(&w, "eos_token_id", 3);
        _cleanup_buf_ Buf file = BUF_NULL;
        buf_put(&file, "GGUF\3\0\0\0\0\0\0\0\0\0\0", 16);
        buf_put(&file, &w.n_keys, 8);
        buf_put(&file, w.body.data, w.body.len);
        buf_deinit(&w.body);
        char path[] = "test-vocab-XXXXXX";
        close(mkstemp(path));
        int loaded = 0;
        for (size_t bit = 16 * 8; bit < file.len * 8; bit++) {
                _cleanup_(tokenizer_freep) Tokenizer *t = NULL;
                file.data[bit / 8] ^= (char)(1 << bit % 8);
                write_file(path, file.data, file.len);
                file.data[bit / 8] ^= (char)(1 << bit % 8);
                Error e = ERROR_NULL;
                if (load_file(path, &t, &e) == 0) {
                        use(t);
                        loaded++;
                } else {
                        assert_true(e.text[0]);
                }
        }
        unlink(path);
        print_message("%d of %zu load\n", loaded, (file.len - 16) * 8);
        assert_true(loaded > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_gpt2),
                cmocka_unit_test(test_llama_spm),
                cmocka_unit_test(test_spm_defaults),
                cmocka_unit_test(test_phi3),
                cmocka_unit_test(test_bert),
                cmocka_unit_test(test_bert_case),
                cmocka_unit_test(test_models),
                cmocka_unit_test(test_recorded),
                cmocka_unit_test(test_bpe_defaults), cmocka_unit_test(test_family_cuts), cmocka_unit_test(test_surplus_tokens), cmocka_unit_test(test_phi3_white_space),
                cmocka_unit_test(test_refused_bpe),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_flipped),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
