/* The Llama family against references that are not ours: trained models with greedy texts and logits from numpy
 * (skipped where that data is absent), and tiny random models of each architecture with logits from transformers
 * (tests/data/make-arch-cases.py). Logits must be the same bits however the text is cut into steps. */
#include <errno.h>
#include <math.h>

#include "json-file.h"
#include "model/model.h"
#ifdef TEST_RUNTIME /* the same on the CUDA device, whose products take 16 bits of an activation */
#include "cuda/cuda.h"
#include "cuda/fake.h"
#define LOGIT_ERROR 5e-3
#define F32_ERROR 5e-3
#else
#define LOGIT_ERROR 2e-4
#define F32_ERROR 1e-3
#endif
#ifdef CUDA_EMULATED
enum { TEXTS = 1, TEXT_MAX = SANITIZED ? 3 : 16 }; /* slow */
#else
enum { TEXTS = 1000, TEXT_MAX = 1000 };
#endif

enum { SLOTS = 2, CONTEXT = 256, PAGE = 16, PAGES = CONTEXT / PAGE, ROWS_MAX = 128 };

/* A loaded model with room for SLOTS sequences. */
typedef struct Runner {
        Device *device;
        Stream *stream;
        Model *model;
        Workspace *workspace;
        Buffer arena, tables, tokens, slot, position, index;
        KvArena kv;
} Runner;

static Buffer buffer(Device *d, size_t size) {
        Buffer b;
        assert_int_equal(d->ops->buffer_new(d, size, &b), 0);
        return b;
}

/* Pages of the sequences lie scattered: slot 0 has the odd ones downwards, slot 1 the even ones upwards. */
static void scatter_pages(Runner *r) {
        int32_t tables[SLOTS][PAGES];
        for (int i = 0; i < PAGES; i++) {
                tables[0][i] = 2 * (PAGES - 1 - i) + 1;
                tables[1][i] = 2 * i;
        }
        r->device->ops->upload(r->stream, r->tables.data, tables, sizeof(tables));
}

static void runner_init(Runner *r, Device *d, Model *m, Dtype type) {
        Error e = ERROR_NULL;
        *r = (Runner){.device = d, .model = m};
        assert_int_equal(d->ops->stream_new(d, STREAM_STEPS, &r->stream, &e), 0);
        assert_int_equal(workspace_new(m, d, ROWS_MAX, ROWS_MAX, &r->workspace, &e), 0);
        r->arena = buffer(d, SLOTS * PAGES * model_kv_page_size(m, type, PAGE));
        r->tables = buffer(d, SLOTS * PAGES * sizeof(int32_t));
        r->tokens = buffer(d, SLOTS * CONTEXT * sizeof(int32_t));
        r->slot = buffer(d, ROWS_MAX * sizeof(int32_t));
        r->position = buffer(d, ROWS_MAX * sizeof(int32_t));
        r->index = buffer(d, ROWS_MAX * sizeof(int32_t));
        r->kv = (KvArena){.data = r->arena.data,
                          .type = type,
                          .page_size = PAGE,
                          .n_pages = SLOTS * PAGES,
                          .block_tables = r->tables.data,
                          .max_pages = PAGES};
        scatter_pages(r);
}

static void runner_deinit(Runner *r) {
        r->device->ops->stream_free(r->stream);
        workspace_free(r->workspace);
        Buffer *all[] = {&r->arena, &r->tables, &r->tokens, &r->slot, &r->position, &r->index};
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                r->device->ops->buffer_free(r->device, all[i]);
}

/* A step over rows whose tokens were uploaded: the logits of the rows in `index`, [n_logits, n_vocab]. */
static void step(Runner *r, const int32_t *slot, const int32_t *position, uint32_t n, const int32_t *index,
                 uint32_t n_logits, float *ret_logits) {
        const DeviceOps *ops = r->device->ops;
        Stream *s = r->stream;
        Rows rows = {.n = n,
                     .slot = r->slot.data,
                     .position = r->position.data,
                     .tokens = r->tokens.data,
                     .context = CONTEXT};
        float *logits;
        uint64_t ticket;
        ops->upload(s, r->slot.data, slot, n * sizeof(*slot));
        ops->upload(s, r->position.data, position, n * sizeof(*position));
        if (n_logits > 0)
                ops->upload(s, r->index.data, index, n_logits * sizeof(*index));
        model_forward(r->model, r->workspace, s, &rows, &r->kv, r->index.data, n_logits, &logits, NULL);
        if (n_logits > 0)
                ops->download(s, ret_logits, logits, (size_t)n_logits * model_info(r->model)->n_vocab * sizeof(float));
        assert_int_equal(ops->mark(s, &ticket), 0);
        assert_int_equal(ops->wait(s, ticket), 0);
}

static void upload_tokens(Runner *r, int32_t slot, const int32_t *ids, uint32_t n) {
        r->device->ops->upload(r->stream, (int32_t *)r->tokens.data + slot * CONTEXT, ids, n * sizeof(*ids));
}

/* Logits of all positions, the text taken in steps of `chunk` rows. The caller frees. */
static float *run(Runner *r, int32_t slot, const int32_t *ids, uint32_t n, uint32_t chunk) {
        uint32_t n_vocab = model_info(r->model)->n_vocab;
        float *logits = calloc((size_t)n * n_vocab, sizeof(float));
        assert_non_null(logits);
        upload_tokens(r, slot, ids, n);
        for (uint32_t at = 0; at < n; at += chunk) {
                int32_t slots[ROWS_MAX], positions[ROWS_MAX], index[ROWS_MAX];
                uint32_t rows = MIN(chunk, n - at);
                for (uint32_t i = 0; i < rows; i++) {
                        slots[i] = slot;
                        positions[i] = (int32_t)(at + i);
                        index[i] = (int32_t)i;
                }
                step(r, slots, positions, rows, index, rows, logits + (size_t)at * n_vocab);
        }
        return logits;
}

/* ---- references ---- */

static uint32_t read_ids(const json_t *a, int32_t *ids) {
        size_t n = json_array_size(a);
        assert_in_range(n, 1, CONTEXT);
        for (size_t i = 0; i < n; i++)
                ids[i] = (int32_t)json_integer_value(json_array_get(a, i));
        return (uint32_t)n;
}

static uint32_t argmax(const float *x, uint32_t n) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
                if (x[i] > x[best])
                        best = i;
        return best;
}

/* Not fmax(): that would take no notice of a NaN. */
static double larger(double worst, float is, double want) {
        double error = fabs((double)is - want);
        assert_true(isfinite(error));
        return MAX(worst, error);
}

typedef struct RealCase {
        const char *name, *expected; /* in models/ */
        double margin; /* greedy ids must agree where the best two logits are further apart */
        double error;  /* of a logit */
} RealCase;

/* Our logits, n rows, for one recorded continuation; returns the largest error. */
static double check_text(const RealCase *c, const json_t *text, const float *logits, uint32_t n, uint32_t n_vocab) {
        const json_t *steps = json_object_get(text, "steps"), *ids = json_object_get(text, "ids");
        size_t i;
        json_t *s;
        double worst = 0;
        json_array_foreach(steps, i, s) {
                size_t pos = (size_t)json_integer_value(json_object_get(s, "pos"));
                const float *row = logits + pos * n_vocab;
                if (pos >= n)
                        break;
                if (json_number_value(json_object_get(s, "margin")) > c->margin)
                        assert_int_equal(argmax(row, n_vocab), json_integer_value(json_array_get(ids, pos + 1)));
                size_t k;
                json_t *top;
                json_array_foreach(json_object_get(s, "top5"), k, top) {
                        double want = json_number_value(json_array_get(top, 1));
                        worst = larger(worst, row[json_integer_value(json_array_get(top, 0))], want);
                }
        }
        return worst;
}

static Model *load_model_for(const char *path, uint32_t context, Device *d) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        if (model_open_for(path, context, &m, &e) < 0 || model_load(m, d, NULL, NULL, &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

static Model *load_model(const char *path, Device *d) {
        return load_model_for(path, 0, d);
}

/* However the text is cut into steps, and whichever slot it is in, the logits are the same bits. */
static void check_chunks(Runner *r, const int32_t *ids, uint32_t n, const float *whole) {
        static const uint32_t chunks[] = {1, 7, 33};
        size_t size = (size_t)n * model_info(r->model)->n_vocab * sizeof(float);
        for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
                _cleanup_free_ float *logits = run(r, 1, ids, n, chunks[i]);
                assert_memory_equal(logits, whole, size);
        }
}

static void check_real(Device *d, const RealCase *c) {
        char name[128];
        Runner r;
        snprintf(name, sizeof(name), "models/%s", c->name);
        skip_without(name);
        _cleanup_(model_freep) Model *m = load_model(test_data(name), d);
        snprintf(name, sizeof(name), "models/%s", c->expected);
        json_t *texts = load_json(test_data(name)), *text;
        runner_init(&r, d, m, model_kv_type(m));
        size_t i;
        json_array_foreach(texts, i, text) {
                int32_t ids[CONTEXT];
                uint32_t n = MIN(read_ids(json_object_get(text, "ids"), ids), (uint32_t)TEXT_MAX);
                if (i == TEXTS)
                        break;
                _cleanup_free_ float *logits = run(&r, 0, ids, n, MIN(n, (uint32_t)ROWS_MAX));
                double worst = check_text(c, text, logits, n, model_info(m)->n_vocab);
                print_message("%s, text %zu: logits differ by %.6f at most\n", c->name, i, worst);
                assert_true(worst < c->error);
                check_chunks(&r, ids, n, logits);
        }
        runner_deinit(&r);
        json_decref(texts);
}

static void test_real(void **state) {
        static const RealCase cases[] = {
                {"stories260K-f32.gguf", "stories260K-f32.expected.json", F32_ERROR, F32_ERROR},
                {"stories260K-f16.gguf", "stories260K-f16.expected.json", 2e-2, 2e-2},
                {"stories260K-hf", "stories260K-hf/expected_greedy.json", F32_ERROR, F32_ERROR},
                {"babyllama105-f16.gguf", "babyllama105-f16.expected.json", 2e-2, 2e-2},
                {"babyllama105-q8_0.gguf", "babyllama105-q8_0.expected.json", 2e-2, 2e-2},
                {"babyllama105-q4_0.gguf", "babyllama105-q4_0.expected.json", 2e-2, 2e-2},
                {"babyllama105-hf", "babyllama105-hf/expected_greedy.json", F32_ERROR, F32_ERROR},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                check_real(*state, &cases[i]);
}

/* ---- architectures ---- */

static const char *case_path(const char *name, const char *suffix) {
        char file[64];
        snprintf(file, sizeof(file), "arch-%s.%s", name, suffix);
        return recorded(file);
}

/* The logits of all positions, or of every `every`th token, against the reference, which does not round its cache. */
static void check_logits_for(Device *d, const char *path, uint32_t context, const json_t *want_all, uint32_t every) {
        Runner r;
        int32_t ids[CONTEXT];
        double worst = 0;
        const json_t *rows = json_object_get(want_all, "logits");
        uint32_t n = read_ids(json_object_get(want_all, "ids"), ids);
        _cleanup_(model_freep) Model *m = load_model_for(path, context, d);
        uint32_t n_vocab = model_info(m)->n_vocab;
        runner_init(&r, d, m, DTYPE_F32);
        _cleanup_free_ float *logits = run(&r, 0, ids, n, MIN(n, (uint32_t)ROWS_MAX));
        assert_int_equal(json_array_size(rows), n);
        for (uint32_t i = 0; i < n; i++) {
                const json_t *row = json_array_get(rows, i);
                assert_int_equal(json_array_size(row), n_vocab / every);
                for (uint32_t k = 0; k < n_vocab; k += every) {
                        double want = json_number_value(json_array_get(row, k / every));
                        worst = larger(worst, logits[i * n_vocab + k], want);
                }
        }
        print_message("%s: logits differ by %.6f at most\n", path, worst);
        assert_true(worst < LOGIT_ERROR);
        check_chunks(&r, ids, n, logits);
        runner_deinit(&r);
}

static void check_logits(Device *d, const char *path, const json_t *want_all, uint32_t every) {
        check_logits_for(d, path, 0, want_all, every);
}

static void check_arch(Device *d, const char *name) {
        json_t *j = load_json(case_path(name, "json"));
        check_logits(d, case_path(name, "gguf"), j, 1);
        json_decref(j);
}

/* Matrices in quantised formats, against what the same weights make in float32. */
static void test_quants(void **state) {
        static const char *const names[] = {"q4_k_m", "q3_k_m", "iq4_xs"};
        for (size_t i = 0; i < (TEXTS > 1 ? ARRAY_SIZE(names) : 1); i++) { /* one where it is slow */
                char file[64];
                snprintf(file, sizeof(file), "quant-%s.json", names[i]);
                json_t *j = load_json(recorded(file));
                snprintf(file, sizeof(file), "quant-%s.gguf", names[i]);
                check_logits(*state, recorded(file), j, 1);
                json_decref(j);
        }
}

static void test_archs(void **state) {
        /* The first few where it is slow: they have something of all the others. */
        static const char *const names[] = {"llama3", "mistral", "gpt-oss", "gemma3", "qwen2", "qwen3", "yarn", "qwen3moe", "mixtral",
                                            "gemma", "gemma2", "gemma2-27b", "qwen2vl", "qwen3vl", "mistral3", "ollama-gemma3",
                                            "ollama-gpt-oss", "phi3", "phi3-long", "granite", "smollm3", "olmo2"};
        for (size_t i = 0; i < (TEXTS > 1 ? ARRAY_SIZE(names) : SANITIZED ? 3 : 8); i++)
                check_arch(*state, names[i]);
}

/* Within its original context a model may rotate otherwise. */
static void test_short_context(void **state) {
        json_t *j = load_json(case_path("phi3-short", "json")), *all = load_json(recorded("hf-cases.json"));
        check_logits_for(*state, case_path("phi3-long", "gguf"), 16, j, 1);
        check_logits_for(*state, recorded("hf-phi3"), 16, json_object_get(json_object_get(all, "made"), "phi3, short"), 1);
        json_decref(j);
        json_decref(all);
}

/* Directories as transformers saves them (tests/data/make-hf-cases.py). */
static void test_directories(void **state) {
        static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3", "yarn", "qwen3_moe", "mixtral", "gemma", "gemma2", "gemma3", "gemma3-images",
                                            "qwen2_5_vl", "qwen3_vl", "mistral3", "phi3", "granite", "smollm3", "olmo2"};
        json_t *j = load_json(recorded("hf-cases.json")), *made = json_object_get(j, "made");
        for (size_t i = 0; i < (TEXTS > 1 ? ARRAY_SIZE(names) : 1); i++) {
                char name[64];
                snprintf(name, sizeof(name), "hf-%s", names[i]);
                check_logits(*state, recorded(name), json_object_get(made, names[i]), 1);
        }
        json_decref(j);
}

static void test_random_directories(void **state) {
        const char *name;
        skip_without("models/tiny_random");
        json_t *j = load_json(recorded("hf-cases.json")), *want;
        json_object_foreach(json_object_get(j, "random"), name, want) {
                char path[128];
                snprintf(path, sizeof(path), "models/tiny_random/%s", name);
                uint32_t every = (uint32_t)json_integer_value(json_object_get(want, "every"));
                check_logits(*state, test_data(path), want, every);
        }
        json_decref(j);
}

#ifndef TEST_RUNTIME
/* A device that cannot use host memory gets the weights uploaded. */
static void test_upload(void **state) {
        Device *d = *state;
        const DeviceOps *real = d->ops;
        DeviceOps ops = *real;
        ops.buffer_wrap = NULL;
        d->ops = &ops;
        check_arch(d, "llama3");
        check_arch(d, "qwen2");
        json_t *j = load_json(recorded("hf-cases.json"));
        check_logits(d, recorded("hf-qwen3"), json_object_get(json_object_get(j, "made"), "qwen3"), 1);
        json_decref(j);
        d->ops = real;
}
#endif

/* ---- batches ---- */

/* Two sequences side by side, one of them ahead, and logits of some rows only: the same bits as each alone. */
static void test_batch(void **state) {
        enum { N = 20, AHEAD = 5 };
        Runner r;
        int32_t ids[2][N], slot[2 * N], position[2 * N], index[2];
        _cleanup_(model_freep) Model *m = load_model(case_path("mistral", "gguf"), *state);
        uint32_t n_vocab = model_info(m)->n_vocab;
        runner_init(&r, *state, m, model_kv_type(m));
        for (int i = 0; i < N; i++) {
                ids[0][i] = i * 7 % 40;
                ids[1][i] = i * 11 % 40;
        }
        _cleanup_free_ float *one = run(&r, 0, ids[0], N, N), *two = run(&r, 1, ids[1], N, N);
        _cleanup_free_ float *logits = calloc(2 * n_vocab, sizeof(float));
        assert_non_null(logits);

        for (int i = 0; i < AHEAD; i++) { /* no logits wanted: fills the cache only */
                slot[i] = 0;
                position[i] = i;
        }
        step(&r, slot, position, AHEAD, NULL, 0, NULL);
        for (int i = 0; i + AHEAD < N; i++) { /* row 0: the second sequence, row 1: the first, AHEAD positions on */
                slot[0] = 1, position[0] = i;
                slot[1] = 0, position[1] = i + AHEAD;
                index[0] = 1, index[1] = 0;
                step(&r, slot, position, 2, index, 2, logits);
                assert_memory_equal(logits, one + (i + AHEAD) * n_vocab, n_vocab * sizeof(float));
                assert_memory_equal(logits + n_vocab, two + i * n_vocab, n_vocab * sizeof(float));
        }
        runner_deinit(&r);
}

/* A device is not asked for what it cannot compute. */
static void test_limits(void **state) {
        Device *d = *state;
        DeviceLimits limits = d->limits;
        Model *m = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(model_open(case_path("mistral", "gguf"), &m, &e), 0);
        uint32_t dim = model_info(m)->head_dim, vocab = model_info(m)->n_vocab;
        d->limits.head_dim = dim - 1;
        assert_int_equal(model_load(m, d, NULL, NULL, &e), -EOPNOTSUPP);
        assert_non_null(strstr(e.text, " values in an attention head, and "));
        d->limits.head_dim = dim;
        d->limits.vocab = vocab - 1;
        assert_int_equal(model_load(m, d, NULL, NULL, &e), -EOPNOTSUPP);
        assert_non_null(strstr(e.text, " tokens in its vocabulary, and "));
        d->limits.vocab = vocab;
        assert_int_equal(model_load(m, d, NULL, NULL, &e), 0);
        model_free(m);
        d->limits = limits;
}

#ifdef CUDA_EMULATED
/* A decoding step is few kernels, and a graph when it comes again. */
static void test_launches(void **state) {
        Runner r;
        const int32_t zero = 0, position = 3;
        _cleanup_(model_freep) Model *m = load_model(case_path("qwen3", "gguf"), *state);
        _cleanup_free_ float *logits = calloc(model_info(m)->n_vocab, sizeof(float));
        int32_t tokens[4] = {1, 2, 3, 4};
        runner_init(&r, *state, m, model_kv_type(m));
        upload_tokens(&r, 0, tokens, 4);
        for (int i = 0; i < 4; i++) {
                int kernels = fake_cuda.kernels, graphs = fake_cuda.graphs;
                step(&r, &zero, &position, 1, &zero, 1, logits);
                /* embedding, turns; six a layer; two gathered rows, logits */
                assert_int_equal(fake_cuda.kernels - kernels, i > 0 ? 0 : 2 + 6 * (int)model_info(m)->n_layers + 3);
                assert_int_equal(fake_cuda.graphs - graphs, i > 0);
        }
        runner_deinit(&r);
}
#endif

static int group_setup(void **state) {
        Error e = ERROR_NULL;
#ifdef CUDA_EMULATED
        fake_cuda_reset();
#endif
#ifdef TEST_RUNTIME
        return device_cuda_new(&TEST_RUNTIME, 0, (Device **)state, &e);
#else
        return device_cpu_new(2, (Device **)state, &e);
#endif
}

static int group_teardown(void **state) {
        device_free(*state);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_archs),
                cmocka_unit_test(test_quants),
                cmocka_unit_test(test_directories), cmocka_unit_test(test_short_context),
                cmocka_unit_test(test_random_directories),
#ifndef TEST_RUNTIME /* there, weights are always uploaded */
                cmocka_unit_test(test_upload),
#endif
                cmocka_unit_test(test_batch),
#ifdef CUDA_EMULATED
                cmocka_unit_test(test_launches),
#endif
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_real),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
