/* Encoders against transformers: the vectors and scores of texts by the directories of tests/data, in every precision, and
 * the promise that a text's result does not depend on the others of its batch. */
#include <errno.h>
#include <jansson.h>
#include <math.h>

#include "model/model.h"
#include "unit.h"
#ifdef TEST_RUNTIME /* the same on the CUDA device, whose 8 bits are 16, and which takes 16 bits of a decoder's activations */
#include "cuda/cuda.h"
#include "cuda/fake.h"
#define F32_ERROR 5e-6
#define DECODER_ERROR 2e-4
#define INT8_ERROR 0.01
#else
#define F32_ERROR 5e-6
#define DECODER_ERROR F32_ERROR
#define INT8_ERROR 0.15
#endif

enum { MAX_TEXTS = 8, MAX_TOKENS = 256 };

/* Emulation is slow, and more so under the address sanitizer: there, models that have something of their own are enough. */
static bool is_tested(const char *name, bool alone) {
#ifdef CUDA_EMULATED
#ifdef __SANITIZE_ADDRESS__
        alone = true;
#endif
        static const char *const some[] = {"bert", "roberta-rerank", "qwen3"};
        for (size_t i = 0; i < ARRAY_SIZE(some) && alone; i++)
                if (strcmp(name, some[i]) == 0)
                        return true;
        return !alone;
#else
        return true;
#endif
}

typedef struct Batch {
        int32_t tokens[MAX_TOKENS], types[MAX_TOKENS];
        uint32_t starts[MAX_TEXTS + 1], n;
} Batch;

static const char *source(const char *name) {
        static char path[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(path, sizeof(path), "%s/tests/data/%s", dir ? dir : ".", name);
        return path;
}

static json_t *load_cases(void) {
        json_t *j = json_load_file(source("bert-cases.json"), 0, NULL);
        assert_non_null(j);
        return j;
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
        assert_int_equal(d->ops->stream_new(d, &s, NULL), 0);
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

static void check_all(Device *d, Precision p, double encoders_tolerance) {
        json_t *cases = load_cases(), *texts;
        const char *name;
        json_object_foreach(cases, name, texts) {
                char path[64];
                if (!is_tested(name, false))
                        continue;
                double tolerance = strstr(name, "qwen") ? fmax(encoders_tolerance, DECODER_ERROR) : encoders_tolerance;
                snprintf(path, sizeof(path), "enc-%s", name);
                if (strncmp(name, "tiny_", 5) != 0)
                        check(d, name, source(path), texts, p, tolerance);
                else if (test_data("models/tiny_bert_random"))
                        check(d, name, test_data("models/tiny_bert_random/tiny_bert"), texts, p, tolerance);
        }
        json_decref(cases);
}

#ifdef TEST_RUNTIME
static void test_transformers(void **state) {
        check_all(*state, PRECISION_F32, F32_ERROR);
}
#else
static void test_transformers(void **state) {
        static const char *const isas[] = {"generic", "avx2", "avx512", "avx512vnni"};
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
        check_all(*state, PRECISION_INT8, INT8_ERROR);
}

#ifndef TEST_RUNTIME /* there, weights are always uploaded */
/* Of a device that cannot use host memory, and of files with numbers at odd places. */
static void test_upload(void **state) {
        Device *d = *state;
        const DeviceOps *real = d->ops;
        DeviceOps ops = *real;
        ops.buffer_wrap = NULL;
        d->ops = &ops;
        check_all(d, PRECISION_F32, F32_ERROR);
        d->ops = real;
}
#endif

/* ---- batches ---- */

static void check_alone(Device *d, const char *name, const json_t *texts, Precision p) {
        Batch all = {0};
        char path[64];
        snprintf(path, sizeof(path), "enc-%s", name);
        _cleanup_(model_freep) Model *m = load_model(source(path), d, p);
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
                for (Precision p = PRECISION_F32; p <= PRECISION_INT8; p++)
                        if (strncmp(name, "tiny_", 5) != 0 && is_tested(name, true))
                                check_alone(*state, name, texts, p);
        json_decref(cases);
}

/* No types are types of 0; a token or type that there is not changes nothing beyond its text. */
static void test_ids(void **state) {
        Batch b = {.tokens = {3, 5, 7, 9, 11, 13}, .starts = {0, 4, 6}, .n = 2};
        _cleanup_(model_freep) Model *m = load_model(source("enc-bert"), *state, PRECISION_F32);
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
        assert_int_equal(model_open(source("enc-bert"), &m, NULL), 0);
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
                cmocka_unit_test(test_upload),
#endif
                cmocka_unit_test(test_alone),        cmocka_unit_test(test_ids),      cmocka_unit_test(test_loading),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
