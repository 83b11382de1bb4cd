/* Encoders against transformers: the vectors and scores of texts by the directories of tests/data, in every precision, and
 * the promise that a text's result does not depend on the others of its batch. */
#include <errno.h>
#include <math.h>

#include "folder.h"
#include "json-file.h"
#include "model/model.h"
#ifdef TEST_RUNTIME /* the same on the CUDA device, whose 8 bits are 16 */
#include "cuda/cuda.h"
#include "cuda/fake.h"
#define F32_ERROR 5e-6
#define COARSEST PRECISION_INT16
#else
#define F32_ERROR 5e-6
#define COARSEST PRECISION_INT8
#endif

enum { MAX_TEXTS = 8, MAX_TOKENS = 256 };

/* Emulation is slow, and more so under the address sanitizer: there, models that have something of their own are enough,
 * and their rows alone of fewer. */
static bool is_tested(const char *name, bool alone) {
#ifdef CUDA_EMULATED
        static const char *const some[] = {"bert", "roberta-rerank", "qwen3", "nomic", "xlm-roberta", "jina"};
        size_t n = SANITIZED ? 1 : alone ? 3 : ARRAY_SIZE(some);
        for (size_t i = 0; i < n; i++)
                if (strcmp(name, some[i]) == 0)
                        return true;
        return false;
#else
        return true;
#endif
}

typedef struct Batch {
        int32_t tokens[MAX_TOKENS], types[MAX_TOKENS];
        uint32_t starts[MAX_TEXTS + 1], n;
} Batch;

static json_t *load_cases(void) {
        return load_json(recorded("bert-cases.json"));
}

static void add_text(Batch *b, const json_t *text) {
        const json_t *ids = json_object_get(text, "ids"), *types = json_object_get(text, "types");
        uint32_t at = b->starts[b->n], n = (uint32_t)json_array_size(ids);
        assert_true(n > 0 && at + n <= MAX_TOKENS && b->n < MAX_TEXTS);
        for (uint32_t i = 0; i < n; i++) {
                b->tokens[at + i] = (int32_t)json_integer_value(json_array_get(ids, i));
                b->types[at + i] = (int32_t)json_integer_value(json_array_get(types, i));
        }
        b->starts[++b->n] = at + n;
}

static Model *load_model(const char *path, Device *d, Precision p) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        if (model_open(path, &m, &e) < 0)
                fail_msg("%s", e.text);
        model_set_precision(m, p);
        if (model_load(m, d, NULL, NULL, &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

/* [b->n, n_out]; the caller frees. */
static float *encode(Device *d, Model *m, const Batch *b, bool types) {
        Stream *s;
        Workspace *w;
        uint64_t ticket;
        size_t size = b->n * model_encoder(m)->n_out * sizeof(float);
        float *out, *host = malloc(size);
        assert_int_equal(d->ops->stream_new(d, STREAM_STEPS, &s, NULL), 0);
        assert_int_equal(workspace_new(m, d, b->starts[b->n], b->n, &w, NULL), 0);
        model_encode(m, w, s, &(EncoderBatch){b->starts[b->n], b->n, b->tokens, types ? b->types : NULL, b->starts},
                     &out, NULL);
        d->ops->download(s, host, out, size);
        assert_int_equal(d->ops->mark(s, &ticket), 0);
        assert_int_equal(d->ops->wait(s, ticket), 0);
        d->ops->stream_free(s);
        workspace_free(w);
        return host;
}

/* ---- transformers ---- */

static double wanted(const json_t *texts, size_t t, size_t i) {
        return json_number_value(json_array_get(json_object_get(json_array_get(texts, t), "out"), i));
}

/* The greatest difference; in *ret_cosine the least cosine. */
static double differ(const float *got, const json_t *texts, uint32_t n_out, double *ret_cosine) {
        double most = 0;
        *ret_cosine = 1;
        for (size_t t = 0; t < json_array_size(texts); t++) {
                double ab = 0, aa = 0, bb = 0;
                for (size_t i = 0; i < n_out; i++) {
                        double a = got[t * n_out + i], b = wanted(texts, t, i);
                        most = fmax(most, fabs(a - b));
                        assert_true(isfinite(a));
                        ab += a * b, aa += a * a, bb += b * b;
                }
                *ret_cosine = fmin(*ret_cosine, ab / sqrt(aa * bb));
        }
        return most;
}

static void check(Device *d, const char *name, const char *path, const json_t *texts, Precision p, double tolerance) {
        Batch b = {0};
        double cosine;
        _cleanup_(model_freep) Model *m = load_model(path, d, p);
        for (size_t t = 0; t < json_array_size(texts); t++)
                add_text(&b, json_array_get(texts, t));
        _cleanup_free_ float *out = encode(d, m, &b, true);
        double most = differ(out, texts, model_encoder(m)->n_out, &cosine);
        print_message("%s, precision %d: max |Δ| %.2g, least cosine %.7f\n", name, p, most, cosine);
        assert_int_equal(json_array_size(json_object_get(json_array_get(texts, 0), "out")), model_encoder(m)->n_out);
        assert_true(most <= tolerance);
}

static void check_all(Device *d, Precision p, double tolerance) {
        json_t *cases = load_cases(), *texts;
        const char *name;
        json_object_foreach(cases, name, texts) {
                char path[64];
                bool tiny = strncmp(name, "tiny_", 5) == 0;
                if (!is_tested(name, false))
                        continue;
                snprintf(path, sizeof(path), tiny ? "models/tiny_bert_random/%s" : "enc-%s", name);
                if (!tiny || test_data(path))
                        check(d, name, tiny ? test_data(path) : recorded(path), texts, p, tolerance);
        }
        json_decref(cases);
}

#ifdef TEST_RUNTIME
static void test_transformers(void **state) {
        check_all(*state, PRECISION_F32, F32_ERROR);
}
#else
static void test_transformers(void **state) {
        static const char *const isas[] = {"generic", "avx2", "avx512", "avx512vnni", "amx"};
        for (size_t i = 0; i < ARRAY_SIZE(isas); i++) {
                _cleanup_(device_freep) Device *d = NULL;
                setenv("ZEROLLAMA_CPU_ISA", isas[i], 1);
                assert_int_equal(device_cpu_new(1, &d, NULL), 0);
                print_message("%s\n", d->name);
                check_all(d, PRECISION_F32, F32_ERROR);
        }
        unsetenv("ZEROLLAMA_CPU_ISA");
}
#endif

/* Scores of these models reach 4; vectors have length 1, or some 5 for "roberta". */
static void test_integers(void **state) {
        check_all(*state, PRECISION_INT16, 0.01);
        if (COARSEST == PRECISION_INT8)
                check_all(*state, PRECISION_INT8, 0.15);
}

#ifndef TEST_RUNTIME /* files are read, and weights used where they lie, by the CPU alone */
static void check_all_gguf(Device *d, Precision p, double tolerance) {
        json_t *cases = load_json(recorded("gguf-encoder-cases.json")), *texts;
        const char *name;
        json_object_foreach(cases, name, texts) {
                char path[64];
                snprintf(path, sizeof(path), "enc-%s.gguf", name);
                check(d, name, recorded(path), texts, p, tolerance);
        }
        json_decref(cases);
}

static void test_gguf(void **state) {
        check_all_gguf(*state, PRECISION_F32, 5e-6);
        check_all_gguf(*state, PRECISION_INT16, 0.01);
}

/* Of a device that cannot use host memory, and of files with numbers at odd places. */
static void test_upload(void **state) {
        Device *d = *state;
        const DeviceOps *real = d->ops;
        DeviceOps ops = *real;
        ops.buffer_wrap = NULL;
        d->ops = &ops;
        check_all(d, PRECISION_F32, F32_ERROR);
        check_all_gguf(d, PRECISION_F32, F32_ERROR);
        d->ops = real;
}

/* Opens a recorded file with `n` bytes from `skip` behind some text in it replaced; the value of a key follows 4 bytes of
 * its type. */
static int open_edited(const char *name, const char *text, size_t skip, const void *value, size_t n, Model **ret, Error *e) {
        char path[] = "test-bert-XXXXXX";
        size_t size;
        _cleanup_free_ char *data = read_file(recorded(name), &size);
        char *at = memmem(data, size, text, strlen(text));
        assert_non_null(at);
        memcpy(at + strlen(text) + skip, value, n);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        close(fd);
        int r = model_open(path, ret, e);
        unlink(path);
        return r;
}

static void test_refused(void **state) {
        (void)state;
        enum { TYPE = 4 };
        static const uint32_t five = 5, rank = 4, nine = 9;
        static const float negative = -1;
        static const struct {
                const char *file, *text;
                size_t skip;
                const void *value;
                size_t n;
                int code;
                const char *message;
        } cases[] = {
                {"enc-bert.gguf", "bert.pooling_type", TYPE, &nine, 4, -EOPNOTSUPP, "pooling_type': is 9; 1 (mean), 2 (first"},
                {"enc-bert.gguf", "bert.pooling_type", TYPE, &rank, 4, -EOPNOTSUPP, "has not both layers of the head"},
                {"enc-qwen3.gguf", "qwen3.pooling_type", TYPE, &rank, 4, -EOPNOTSUPP, "making scores is not supported for qwen3"},
                {"enc-bert.gguf", "bert.attention.causal", TYPE, "\1", 1, -EOPNOTSUPP, "attention to what is before only"},
                {"enc-bert.gguf", "bert.attention.head_count", TYPE, &five, 4, -EINVAL, "5 attention heads of 4 values"},
                {"enc-bert.gguf", "layer_norm_epsilon", TYPE, &negative, 4, -EINVAL, "layer_norm_epsilon': is -1"},
                {"enc-bert.gguf", "bert.context_length", TYPE, &five, 4, -EINVAL, "position_embd.weight: is [24, 44], should be [24, 5]"},
                {"enc-bert.gguf", "blk.1.ffn_u", 0, "x", 1, -EINVAL, "blk.1.ffn_up.weight: is missing"},
                {"enc-nomic.gguf", "blk.1.attn_qk", 0, "x", 1, -EINVAL, "blk.1.attn_q.weight: is missing"},
                {"enc-nomic.gguf", "nomic-ber", 0, "x", 1, -EOPNOTSUPP, "its architecture 'nomic-berx' is not supported"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Model *m = NULL;
                Error e = ERROR_NULL;
                int r = open_edited(cases[i].file, cases[i].text, cases[i].skip, cases[i].value, cases[i].n, &m, &e);
                if (r != cases[i].code || !strstr(e.text, cases[i].message))
                        fail_msg("wanted %d '%s', got %d '%s'", cases[i].code, cases[i].message, r, e.text);
        }
}

/* Bits of GGUF files' headers flipped: refused in a sentence, or computed without touching what is not theirs. */
static void test_flipped(void **state) {
        enum { FLIPS = 700, HEADER = 2600 };
        static const char *const names[] = {"enc-bert-q8_0.gguf", "enc-nomic.gguf", "enc-xlm-roberta-rerank.gguf"};
        const Batch b = {.tokens = {3, 5, 70000, 9, -1, 1}, .types = {0, 1, 9}, .starts = {0, 1, 2}, .n = 2};
        Device *d = *state;
        unsigned opened = 0;
        srand(3);
        for (size_t i = 0; i < ARRAY_SIZE(names) * FLIPS; i++) {
                Model *m = NULL;
                Error e = ERROR_NULL;
                char path[] = "test-bert-XXXXXX";
                size_t n;
                _cleanup_free_ char *data = read_file(recorded(names[i % ARRAY_SIZE(names)]), &n);
                data[(unsigned)rand() % HEADER] ^= (char)(1 << rand() % 8);
                int fd = mkstemp(path);
                assert_true(fd >= 0);
                assert_int_equal(write(fd, data, n), n);
                close(fd);
                int r = model_open(path, &m, &e);
                if (r < 0)
                        assert_true(strlen(e.text) > 20);
                else if (model_encoder(m) && model_load(m, d, NULL, NULL, &e) == 0) {
                        free(encode(d, m, &b, true));
                        opened++;
                }
                unlink(path);
                model_free(m);
        }
        print_message("%u of %zu damaged files computed\n", opened, ARRAY_SIZE(names) * FLIPS);
        assert_in_range(opened, 10, ARRAY_SIZE(names) * FLIPS / 2);
}
#endif

/* ---- batches ---- */

static void check_alone(Device *d, const char *name, const json_t *texts, Precision p) {
        Batch all = {0};
        char path[64];
        snprintf(path, sizeof(path), "enc-%s", name);
        _cleanup_(model_freep) Model *m = load_model(recorded(path), d, p);
        uint32_t n = model_encoder(m)->n_out;
        for (size_t t = json_array_size(texts); t-- > 0;)
                add_text(&all, json_array_get(texts, t));
        _cleanup_free_ float *together = encode(d, m, &all, true);
        for (uint32_t t = 0; t < all.n; t++) {
                Batch one = {0};
                add_text(&one, json_array_get(texts, all.n - 1 - t));
                _cleanup_free_ float *alone = encode(d, m, &one, true);
                assert_memory_equal(alone, together + t * n, n * sizeof(float));
        }
}

static void test_alone(void **state) {
        json_t *cases = load_cases(), *texts;
        const char *name;
        json_object_foreach(cases, name, texts)
                for (Precision p = PRECISION_F32; p <= COARSEST; p++)
                        if (strncmp(name, "tiny_", 5) != 0 && is_tested(name, true))
                                check_alone(*state, name, texts, p);
        json_decref(cases);
}

/* No types are types of 0; a token or type that there is not changes nothing beyond its text. */
static void test_ids(void **state) {
        Batch b = {.tokens = {3, 5, 7, 9, 11, 13}, .starts = {0, 4, 6}, .n = 2};
        _cleanup_(model_freep) Model *m = load_model(recorded("enc-bert"), *state, PRECISION_F32);
        _cleanup_free_ float *zeros = encode(*state, m, &b, true), *none = encode(*state, m, &b, false);
        uint32_t n = model_encoder(m)->n_out;
        assert_memory_equal(zeros, none, 2 * n * sizeof(float));
        b.tokens[1] = INT32_MAX;
        b.tokens[2] = -1;
        b.types[0] = 7;
        b.types[1] = -7;
        _cleanup_free_ float *odd = encode(*state, m, &b, true);
        assert_memory_not_equal(odd, zeros, n * sizeof(float));
        assert_memory_equal(odd + n, zeros + n, n * sizeof(float));
        for (uint32_t i = 0; i < n; i++)
                assert_true(isfinite(odd[i]));
}

static bool stop_early(float done, void *arg) {
        float *seen = arg;
        assert_true(done >= 0 && done <= 1);
        *seen = done;
        return done < 0.99f;
}

static void test_loading(void **state) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        Device *d = *state;
        DeviceOps ops = *d->ops;
        const DeviceOps *real = d->ops;
        float seen = 0;
        assert_int_equal(model_open(recorded("enc-bert"), &m, NULL), 0);
        assert_int_equal(model_load(m, d, stop_early, &seen, &e), -ECANCELED);
        assert_true(seen >= 0.99f);
        ops.linear = NULL; /* a device that knows no encoders */
        d->ops = &ops;
        assert_int_equal(model_load(m, d, NULL, NULL, &e), -EOPNOTSUPP);
        assert_non_null(strstr(e.text, "does not compute embeddings"));
        d->ops = real;
        DeviceLimits limits = d->limits;
        d->limits.cols = 39; /* the model has 40 */
        assert_int_equal(model_load(m, d, NULL, NULL, &e), -EOPNOTSUPP);
        assert_non_null(strstr(e.text, "it has 40 columns in a matrix, and "));
        d->limits = limits;
        size_t free = d->ops->memory_free(d), size = model_load_size(m, d);
        assert_int_equal(model_load(m, d, NULL, NULL, NULL), 0);
        assert_true(size > model_info(m)->weights_size / 2 && size < SIZE_MAX);
#ifdef CUDA_EMULATED /* where nobody else allocates */
        assert_int_equal(free - d->ops->memory_free(d), size);
#else
        (void)free;
#endif
        assert_true(workspace_size(m, UINT32_MAX, 1) > workspace_size(m, 100, 1));
        model_free(m);
}

static int group_setup(void **state) {
#ifdef CUDA_EMULATED
        fake_cuda_reset();
#endif
#ifdef TEST_RUNTIME
        return device_cuda_new(&TEST_RUNTIME, 0, (Device **)state, NULL);
#else
        return device_cpu_new(3, (Device **)state, NULL);
#endif
}

static int group_teardown(void **state) {
        device_free(*state);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_transformers), cmocka_unit_test(test_integers),
#ifndef TEST_RUNTIME
                cmocka_unit_test(test_gguf),         cmocka_unit_test(test_flipped),  cmocka_unit_test(test_refused),
                cmocka_unit_test(test_upload),
#endif
                cmocka_unit_test(test_alone),        cmocka_unit_test(test_ids),      cmocka_unit_test(test_loading),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
