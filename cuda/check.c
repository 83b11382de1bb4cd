/* Compares every operation of the CUDA device with the CPU device: random inputs, poisoned outputs, odd shapes.
 *
 *      cuda-check [NAME...]     all, or those whose names begin so
 *
 * Built twice: for a GPU (`make check-cuda`), where it needs nothing beside itself, and with the kernels emulated on
 * the host (tests/cuda-check-emulated, run by `make check`), where it says nothing about what nvcc and the GPU make of
 * them. Each line is a case: the norm of the difference over the norm of the reference, and what it may be. Invariance is
 * exact: rows alone and among others are compared bit by bit. Exit status 1: something differs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "device/cpu/half.h"

#ifdef CUDA_EMULATED
#include "cuda/fake.h"
#define RUNTIME fake_cuda_runtime
#else
#define RUNTIME cuda_runtime
#endif

enum { BUFFERS_MAX = 64 };

#if defined(CUDA_EMULATED) && defined(__SANITIZE_ADDRESS__) /* which takes ten times as long */
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

typedef struct Side {
        Device *device;
        Stream *stream;
        const DeviceOps *ops;
        Buffer buffers[BUFFERS_MAX]; /* of the case at hand */
        int n_buffers;
} Side;

static Side sides[2]; /* the CPU, which is right, and the GPU */
static int failures, cases;

/* ---- cases ---- */

static void die(const char *what, int r) {
        fprintf(stderr, "cuda-check: %s: %s\n", what, strerror(-r));
        exit(1);
}

static void side_open(Side *s, Device *d) {
        Error e = ERROR_NULL;
        s->device = d;
        s->ops = d->ops;
        if (s->ops->stream_new(d, STREAM_STEPS, &s->stream, &e) < 0) {
                fprintf(stderr, "%s\n", e.text);
                exit(1);
        }
}

static void side_close(Side *s) {
        s->ops->stream_free(s->stream);
        device_free(s->device);
}

static void side_run(Side *s) {
        uint64_t ticket;
        int r = s->ops->mark(s->stream, &ticket);
        if (r >= 0)
                r = s->ops->wait(s->stream, ticket);
        if (r < 0)
                die(s->device->name, r);
}

/* Device memory of exactly this size with a copy of `host`, until the case ends. */
static void *put(Side *s, const void *host, size_t n) {
        Buffer *b = &s->buffers[s->n_buffers++];
        int r = s->ops->buffer_new(s->device, n, b);
        if (r < 0 || s->n_buffers == BUFFERS_MAX)
                die("a buffer", r);
        s->ops->upload(s->stream, b->data, host, n);
        return b->data;
}

/* Filled with what is NaN in every format. */
static void *put_poison(Side *s, size_t n) {
        void *host = malloc(n), *dev;
        memset(host, 0xff, n);
        dev = put(s, host, n);
        free(host);
        return dev;
}

static void get(Side *s, void *host, const void *dev, size_t n) {
        s->ops->download(s->stream, host, dev, n);
        side_run(s);
}

static void case_end(void) {
        for (int i = 0; i < 2; i++)
                while (sides[i].n_buffers > 0)
                        sides[i].ops->buffer_free(sides[i].device, &sides[i].buffers[--sides[i].n_buffers]);
}

static void report(const char *what, double error, double limit) {
        bool ok = error <= limit;
        cases++;
        failures += !ok;
        printf("%-72s %9.2e of %7.1e  %s\n", what, error, limit, ok ? "ok" : "WRONG");
        fflush(stdout);
}

static double relative(const float *want, const float *got, size_t n) {
        double difference = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
                if (isnan(want[i]) || isnan(got[i]))
                        return INFINITY;
                difference += pow((double)got[i] - want[i], 2);
                size += pow(want[i], 2);
        }
        return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

static double unequal(const void *a, const void *b, size_t n) {
        return memcmp(a, b, n) == 0 ? 0 : INFINITY;
}

/* Of keys and values in caches of `size` bytes each. What nobody wrote is the same poison in both; in F16 a value may be
 * rounded the other way. */
static double cache_error(Dtype type, char *const caches[2], size_t size) {
        size_t n = 2 * size / (type == DTYPE_F16 ? 2 : 4);
        double worst = 0;
        for (size_t i = 0; i < n; i++) {
                float v[2];
                uint16_t half[2];
                for (int k = 0; k < 2; k++)
                        if (type == DTYPE_F16) {
                                memcpy(&half[k], caches[k] + 2 * i, 2);
                                v[k] = half_to_float(half[k]);
                        } else
                                memcpy(&v[k], caches[k] + 4 * i, 4);
                if (isnan(v[0]) != isnan(v[1]))
                        return INFINITY;
                double difference = isnan(v[0]) ? 0 : fabs((double)v[0] - v[1]) - (type == DTYPE_F16 ? fabs(v[0]) / 1000 : 0);
                worst = fmax(worst, difference);
        }
        return worst;
}

/* ---- random inputs ---- */

static uint64_t random_state = 1;

static uint64_t random_bits(void) { /* xorshift64* */
        random_state ^= random_state >> 12;
        random_state ^= random_state << 25;
        random_state ^= random_state >> 27;
        return random_state * 0x2545f4914f6cdd1d;
}

static float random_float(void) { /* [-1, 1) */
        return (float)((double)(random_bits() >> 11) * 0x1p-52 - 1);
}

static float *random_floats(size_t n) {
        float *x = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++)
                x[i] = random_float();
        return x;
}

/* Whether a block has a second number beside d. */
static bool has_offset(Dtype type) {
        return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

static void *random_rows(Dtype type, size_t rows, size_t cols) {
        size_t size = dtype_row_size(type, cols) * rows, block = dtype_info(type)->block_size;
        size_t at = type == DTYPE_Q6_K ? 208 : type == DTYPE_Q3_K ? 108 : type == DTYPE_Q2_K ? 80 : 0;
        char *w = malloc(size);
        for (size_t i = 0; i < size; i++)
                w[i] = (char)random_bits();
        for (size_t i = 0; i < size; i += block) {
                float f = random_float();
                uint16_t h = half_from_float(block > 4 ? f / 64 : f), b = (uint16_t)(float_bits(f) >> 16);
                if (type == DTYPE_MXFP4) {
                        w[i] = (char)(118 + random_bits() % 4);
                        continue;
                }
                memcpy(w + i + at, type == DTYPE_F32 ? (void *)&f : type == DTYPE_BF16 ? (void *)&b : (void *)&h,
                       type == DTYPE_F32 ? 4 : 2);
                if (has_offset(type)) {
                        h = half_from_float(random_float() / 64);
                        memcpy(w + i + at + 2, &h, 2);
                }
        }
        return w;
}

static const Dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q6_K,
                              DTYPE_Q2_K, DTYPE_Q5_K, DTYPE_Q3_K, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_IQ4_NL,
                              DTYPE_IQ4_XS, DTYPE_MXFP4};
enum { N_TYPES = 5, N_KINDS = 8 /* of each way to multiply one */, N_ALL = ARRAY_SIZE(types) };

static uint32_t whole_blocks(Dtype type, uint32_t cols) {
        uint32_t block = dtype_info(type)->block;
        return (cols + block - 1) / block * block;
}

/* ---- elementwise ---- */

static void check_embed(void) {
        enum { VOCAB = 37, CONTEXT = 8, N = 5 };
        int32_t tokens[2 * CONTEXT], slot[N] = {0, 1, 1, 0, 1}, position[N] = {3, 0, 7, 0, 2};
        char name[80];
        for (int i = 0; i < 2 * CONTEXT; i++)
                tokens[i] = (i * 7) % VOCAB;
        tokens[3] = VOCAB; /* there is no such token */
        for (int t = 0; t < (int)N_ALL; t++) {
                uint32_t cols = whole_blocks(types[t], 333);
                float *out[2];
                void *table = random_rows(types[t], VOCAB, cols);
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        Rows rows = {N, put(s, slot, sizeof(slot)), put(s, position, sizeof(position)),
                                     put(s, tokens, sizeof(tokens)), CONTEXT};
                        Matrix m = {put(s, table, VOCAB * dtype_row_size(types[t], cols)), types[t], VOCAB, cols};
                        float *dev = put_poison(s, N * cols * sizeof(float));
                        out[i] = malloc(N * cols * sizeof(float));
                        s->ops->embed(s->stream, dev, &m, &rows, t % 2 ? 3 : 1);
                        get(s, out[i], dev, N * cols * sizeof(float));
                }
                snprintf(name, sizeof(name), "embed %s, %u columns", dtype_name(types[t]), cols);
                report(name, relative(out[0], out[1], N * cols), 0); /* but for signs of 0 */
                case_end();
                free(out[0]), free(out[1]), free(table);
        }
}

static void check_rmsnorm(void) {
        static const uint32_t shapes[][2] = {{1, 1}, {5, 67}, {3, 512}, {2, 2048}, {7, 64}, {1, 8191}};
        char name[80];
        for (size_t k = 0; k < 2 * ARRAY_SIZE(shapes); k++) {
                uint32_t n = shapes[k / 2][0], cols = shapes[k / 2][1];
                Update update = k % 2 ? UPDATE_ADD : UPDATE_SET;
                size_t size = (size_t)n * cols * sizeof(float);
                float *x = random_floats((size_t)n * cols), *weight = random_floats(cols), *out[2];
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        float *dev = put(s, x, size); /* in place */
                        out[i] = malloc(size);
                        s->ops->rmsnorm(s->stream, dev, dev, put(s, weight, cols * sizeof(float)), n, cols, 1e-5f, update);
                        get(s, out[i], dev, size);
                }
                snprintf(name, sizeof(name), "rmsnorm %u x %u%s", n, cols, update == UPDATE_ADD ? ", added" : "");
                report(name, relative(out[0], out[1], (size_t)n * cols), 1e-6);
                case_end();
                free(x), free(weight), free(out[0]), free(out[1]);
        }
}

static void check_softcap(void) {
        enum { N = 1003 };
        float *x = random_floats(N), out[2][N];
        for (int i = 0; i < N; i++)
                x[i] *= i % 3 ? 10 : 1000;
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                float *dev = put(s, x, sizeof(out[i]));
                s->ops->softcap(s->stream, dev, N, 30);
                get(s, out[i], dev, sizeof(out[i]));
        }
        report("softcap", relative(out[0], out[1], N), 1e-6);
        case_end();
        free(x);
}

static void check_gather(void) {
        int32_t index[4] = {6, 0, 3, 3};
        float *x = random_floats(7 * 301), out[2][4 * 301];
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                float *dev = put_poison(s, sizeof(out[i]));
                float *dev_x = put(s, x, 7 * 301 * sizeof(float));
                s->ops->gather(s->stream, dev, dev_x, put(s, index, sizeof(index)), 4, 301);
                get(s, out[i], dev, sizeof(out[i]));
        }
        report("gather 4 of 7 rows", unequal(out[0], out[1], sizeof(out[0])), 0);
        case_end();
        free(x);
}

typedef struct RopeCase {
        Rope rope;
        uint32_t n_heads, n_kv_heads, head_dim;
        bool scaled, normed, stored;
        Dtype type; /* of the cache */
} RopeCase;

static void rope_case(const RopeCase *c) {
        enum { N = 3, PAGE = 2, PAGES = 4 };
        int32_t slot[N] = {0, 1, 0}, position[N] = {0, 2, 3}, far[N] = {0, 17, 120003}, tables[] = {3, 1, 0, 2};
        size_t q = (size_t)N * c->n_heads * c->head_dim, k = (size_t)N * c->n_kv_heads * c->head_dim, all = q + 2 * k;
        size_t cache = (size_t)PAGES * PAGE * c->n_kv_heads * c->head_dim * (c->type == DTYPE_F16 ? 2 : 4);
        float *x = random_floats(all), *factors = random_floats(128), *norms = random_floats(2 * c->head_dim), *out[2];
        char name[120], *stored[2];
        double limit = 1e-6;
        for (int i = 0; i < 128; i++)
                factors[i] = 2 + factors[i];
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                Rows rows = {N, put(s, slot, sizeof(slot)), put(s, c->stored ? position : far, sizeof(far)), NULL, 0};
                float *dev_norms = put(s, norms, 2 * c->head_dim * sizeof(float));
                KvLayer kv = {put_poison(s, cache), put_poison(s, cache), c->type, PAGE, c->n_kv_heads, c->head_dim,
                              put(s, tables, sizeof(tables)), 2};
                Qkv h = {.n_heads = c->n_heads, .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim, .eps = 1e-5f,
                           .q_norm = c->normed ? dev_norms : NULL,
                           .k_norm = c->normed ? dev_norms + c->head_dim : NULL};
                Rope rope = c->rope;
                rope.factors = c->scaled ? put(s, factors, 128 * sizeof(float)) : NULL;
                out[i] = malloc(q * sizeof(float));
                stored[i] = malloc(2 * MAX(cache, k * sizeof(float)));
                for (int times = 0; times < 2; times++) { /* the second with the turns of the first */
                        h.q = put(s, x, all * sizeof(float));
                        h.k = h.q + q;
                        h.v = c->stored ? h.k + k : NULL;
                        s->ops->rope(s->stream, &h, &rows, &rope, c->stored ? &kv : NULL);
                        s->ops->rope(s->stream, &(Qkv){.q = h.q, .n_heads = c->n_heads, .head_dim = c->head_dim}, &rows,
                                     &rope, NULL);
                }
                get(s, out[i], h.q, q * sizeof(float));
                get(s, stored[i], c->stored ? kv.k : h.k, c->stored ? cache : k * sizeof(float));
                if (c->stored)
                        get(s, stored[i] + cache, kv.v, cache);
        }
        snprintf(name, sizeof(name), "rope %s, %u of %u values, %u/%u heads%s", c->rope.style == ROPE_NEOX ? "neox" : "normal",
                 c->rope.n_rot, c->head_dim, c->n_heads, c->n_kv_heads, c->normed ? ", normed" : "");
        report(name, relative(out[0], out[1], q), limit);
        if (c->stored)
                report(c->type == DTYPE_F16 ? "  stored in F16" : "  stored in F32", cache_error(c->type, stored, cache), limit);
        else
                report("  keys in place", relative((float *)(void *)stored[0], (float *)(void *)stored[1], k), limit);
        case_end();
        free(x), free(factors), free(norms), free(out[0]), free(out[1]), free(stored[0]), free(stored[1]);
}

static void check_rope(void) {
        static const RopeCase all[] = {
                {{ROPE_NORMAL, 64, 10000, 1, NULL}, 4, 2, 64, false, false, true, DTYPE_F16},
                {{ROPE_NEOX, 128, 1000000, 1, NULL}, 3, 1, 128, true, true, false, DTYPE_F32},
                {{ROPE_NEOX, 128, 1000000, 1, NULL}, 16, 8, 128, false, true, true, DTYPE_F16},
                {{ROPE_NEOX, 16, 10000, 0.25f, NULL}, 2, 2, 20, false, true, true, DTYPE_F32},
                {{ROPE_NORMAL, 6, 500000, 1, NULL}, 1, 1, 10, true, false, false, DTYPE_F32},
                {{ROPE_NEOX, 12, 10000, 1, NULL, 1.25f}, 2, 1, 16, true, false, true, DTYPE_F32},
                {{ROPE_NEOX, 0, 0, 0, NULL}, 2, 1, 33, false, true, true, DTYPE_F16},
        };
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                rope_case(&all[i]);
}

/* ---- matrix products ---- */

typedef struct MatmulCase {
        uint32_t n_products;
        Dtype type[PRODUCTS_MAX];
        uint32_t rows[PRODUCTS_MAX], cols, n;
        bool bias, normed;
        Update update;
        bool glu; /* of two */
        Gate unit;
} MatmulCase;

/* Residuals are of any size: the norm sees to it. */
static void random_activations(const MatmulCase *c, float *x) {
        for (uint32_t i = 0; c->normed && i < c->n; i++)
                for (uint32_t k = 0; k < c->cols; k++)
                        x[(size_t)i * c->cols + k] *= (float)(1 + i * i) * (k == 3 ? 50 : 1);
}

static const char *const units[] = {"swiglu", "geglu", "clamped swiglu"};

static void matmul_case(const MatmulCase *c) {
        uint32_t n_out = c->glu ? 1 : c->n_products, total = 0;
        for (uint32_t i = 0; i < c->n_products; i++)
                total += c->rows[i];
        float *x = random_floats((size_t)c->n * c->cols), *bias = random_floats(total), *norm = random_floats(c->cols);
        float *before = random_floats((size_t)c->n * total), *out[2];
        void *w[PRODUCTS_MAX];
        char name[120], shape[40] = "";
        double worst = 0;
        random_activations(c, x);
        for (uint32_t i = 0; i < c->n_products; i++) {
                w[i] = random_rows(c->type[i], c->rows[i], c->cols);
                snprintf(shape + strlen(shape), sizeof(shape) - strlen(shape), "%s%s %u", i ? " + " : "",
                         dtype_name(c->type[i]), c->rows[i]);
        }
        for (int k = 0; k < 2; k++) {
                Side *s = &sides[k];
                float *dev_bias = put(s, bias, total * sizeof(float)), *dev_norm = put(s, norm, c->cols * sizeof(float));
                size_t size = (size_t)c->n * total * sizeof(float), x_size = (size_t)c->n * c->cols * sizeof(float);
                float *dev = c->update == UPDATE_ADD ? put(s, before, size) : put_poison(s, size), *at = dev;
                Activations h = {put(s, x, x_size), c->n, c->normed ? dev_norm : NULL, 1e-5f, put_poison(s, x_size)};
                Product p[PRODUCTS_MAX];
                for (uint32_t i = 0; i < c->n_products; i++) {
                        size_t w_size = c->rows[i] * dtype_row_size(c->type[i], c->cols);
                        p[i] = (Product){{put(s, w[i], w_size), c->type[i], c->rows[i], c->cols}, c->bias ? dev_bias : NULL,
                                         i < n_out ? at : NULL};
                        dev_bias += c->rows[i];
                        at += (size_t)c->n * c->rows[i];
                }
                out[k] = malloc(size);
                if (c->glu)
                        s->ops->glu(s->stream, dev, &p[0].w, &p[1].w, &h, c->unit);
                else
                        s->ops->matmul(s->stream, p, c->n_products, &h, c->update);
                get(s, out[k], dev, size);
        }
        size_t at = 0;
        for (uint32_t i = 0; i < n_out; at += (size_t)c->n * c->rows[i++]) /* a large one would hide the others */
                worst = fmax(worst, relative(out[0] + at, out[1] + at, (size_t)c->n * c->rows[i]));
        snprintf(name, sizeof(name), "%s %s x %u, %u rows%s%s%s", c->glu ? units[c->unit] : "matmul", shape, c->cols, c->n,
                 c->normed ? ", normed" : "", c->bias ? ", bias" : "", c->update == UPDATE_ADD ? ", added" : "");
        report(name, worst, 3e-5);
        case_end();
        for (uint32_t i = 0; i < c->n_products; i++)
                free(w[i]);
        free(x), free(bias), free(norm), free(before), free(out[0]), free(out[1]);
}

static void check_matmul(void) {
        static const uint32_t rows[] = {1, 16, 37, 130}, n[] = {1, 3, 8, 11, 17, 33, 70};
        static const uint32_t cols[] = {5, 64, 100, 32, 1056, 520};
        for (size_t t = 0; t < N_TYPES; t++)
                for (size_t k = SLOW ? t % 2 : 0; k < ARRAY_SIZE(n); k += 1 + SLOW)
                        matmul_case(&(MatmulCase){1, {types[t]}, {rows[(k + t) % 4]},
                                                  whole_blocks(types[t], cols[(k + 2 * t) % 6]), n[k], k % 2, k % 2, k % 3 == 1 ? UPDATE_ADD : UPDATE_SET, false, GATE_SILU});
}

static void check_matmul_formats(void) {
        static const uint32_t n[] = {1, 17, 40};
        for (size_t t = N_TYPES; t < N_ALL; t++) {
                Dtype a = types[t], b = types[(t + 1) % N_ALL];
                uint32_t cols = whole_blocks(a, 100);
                for (size_t k = SLOW ? t % 3 : 0; k < ARRAY_SIZE(n); k += 1 + 2 * SLOW)
                        matmul_case(&(MatmulCase){1, {a}, {37}, cols, n[k], k % 2, k % 2, UPDATE_SET, false, GATE_SILU});
                matmul_case(&(MatmulCase){2, {a, a}, {21, 21}, 2 * cols, 3, false, true, UPDATE_SET, true, GATE_SILU});
                matmul_case(&(MatmulCase){3, {a, a, b}, {20, 37, 5}, 256, 2, true, true, UPDATE_SET, false, GATE_SILU});
        }
}

/* Queries, keys and values: of one format and of several. */
static void check_matmul_together(void) {
        static const uint32_t n[] = {1, 9, 20, 40};
        for (size_t t = 0; t < N_TYPES; t++)
                for (size_t k = t % 2; k < ARRAY_SIZE(n); k += 2) {
                        Dtype a = types[t], b = types[(t + 1) % N_TYPES], c = types[(t + 2) % N_TYPES];
                        matmul_case(&(MatmulCase){3, {a, a, a}, {37, 5, 20}, 96, n[k], true, true, UPDATE_SET, false, GATE_SILU});
                        matmul_case(&(MatmulCase){3, {a, b, c}, {20, 37, 5}, 64, n[k], false, true, UPDATE_ADD, false, GATE_SILU});
                }
}

static void check_glu(void) {
        static const uint32_t n[] = {1, 9, 20, 40};
        for (size_t t = 0; t < N_TYPES; t++)
                for (size_t k = t % 2; k < ARRAY_SIZE(n); k += 2) {
                        Dtype a = types[t], b = types[(t + 1) % N_TYPES];
                        matmul_case(&(MatmulCase){2, {a, a}, {37, 37}, 1056, n[k], false, true, UPDATE_SET, true, GATE_SILU});
                        matmul_case(&(MatmulCase){2, {a, b}, {21, 21}, 96, n[k], false, k % 2, UPDATE_SET, true, GATE_SILU});
                        if (t == 2)
                                matmul_case(&(MatmulCase){2, {a, k % 2 ? a : b}, {21, 21}, 96, n[k], false, true, UPDATE_SET, true, GATE_GELU_TANH});
                }
        matmul_case(&(MatmulCase){2, {DTYPE_BF16, DTYPE_BF16}, {130, 130}, 100, 5, false, true, UPDATE_SET, true, GATE_SILU});
}

/* Stored, and SwiGLU of normed activations. */
static void matmul_twice(Side *s, const Matrix *m, const float *x, const float *norm, uint32_t n, float *stored,
                         float *gated) {
        size_t skip = dtype_row_size(m->type, m->cols);
        Matrix half = {m->data, m->type, m->rows - 1, m->cols}, other = half;
        other.data = (const char *)m->data + skip;
        s->ops->matmul(s->stream, &(Product){*m, NULL, stored}, 1, &(Activations){.x = x, .n_rows = n}, UPDATE_SET);
        s->ops->glu(s->stream, gated, &half, &other, &(Activations){x, n, norm, 1e-5f, NULL}, GATE_SILU);
}

/* Each number of rows, against all of them. */
static void check_matmul_invariance(void) {
        enum { ROWS = 19, HALF = ROWS - 1, MOST = 768, N = 67 };
        static const uint32_t some[] = {1, 9, 33, 2, 7, 8, 16, 18, 32, 64, 66};
        Side *s = &sides[1];
        char name[80];
        for (size_t t = SLOW ? 2 : 0; t < N_KINDS; t += 1 + 2 * SLOW) {
                uint32_t cols = t < N_TYPES ? 608 : MOST;
                void *w = random_rows(types[t], ROWS, cols);
                float *x = random_floats(N * cols), *norm = random_floats(cols), all[N * ROWS], part[N * ROWS];
                float all_gated[N * HALF], gated[N * HALF];
                Matrix m = {put(s, w, ROWS * dtype_row_size(types[t], cols)), types[t], ROWS, cols};
                float *dev_x = put(s, x, N * cols * sizeof(float)), *dev = put_poison(s, sizeof(all));
                float *dev_gated = put_poison(s, sizeof(gated)), *dev_norm = put(s, norm, cols * sizeof(float));
                matmul_twice(s, &m, dev_x, dev_norm, N, dev, dev_gated);
                get(s, all, dev, sizeof(all));
                get(s, all_gated, dev_gated, sizeof(gated));
                double worst = 0;
                for (size_t k = 0; k < (t < N_TYPES && !SLOW ? ARRAY_SIZE(some) : 3); k++) {
                        uint32_t n = some[k], first = N - n;
                        matmul_twice(s, &m, dev_x + (size_t)first * cols, dev_norm, n, dev, dev_gated);
                        get(s, part, dev, n * ROWS * sizeof(float));
                        get(s, gated, dev_gated, n * HALF * sizeof(float));
                        worst = fmax(worst, unequal(part, all + first * ROWS, n * ROWS * sizeof(float)));
                        worst = fmax(worst, unequal(gated, all_gated + first * HALF, n * HALF * sizeof(float)));
                }
                snprintf(name, sizeof(name), "matmul %s: rows alone and among others", dtype_name(types[t]));
                report(name, worst, 0);
                case_end();
                free(w), free(x), free(norm);
        }
}

static uint32_t processors(void) {
        CudaInfo info;
        int r = RUNTIME.describe(0, &info);
        if (r)
                die(RUNTIME.error_text(r), 0);
        return info.processors;
}

/* So many features that large blocks fill the GPU: right, and as by themselves. */
static void check_matmul_large(void) {
        enum { N = 130, FEW = 3 };
        uint32_t rows = processors() * 128 + 2;
        size_t size = (size_t)N * rows * sizeof(float);
        char name[80];
        for (size_t t = SLOW ? 2 : 0; t < N_KINDS; t += 1 + 2 * SLOW) {
                uint32_t cols = whole_blocks(types[t], 96);
                void *w = random_rows(types[t], rows, cols);
                float *x = random_floats(N * cols), *norm = random_floats(cols), *out[2], *few = malloc(FEW * rows * sizeof(float));
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        Matrix m = {put(s, w, rows * dtype_row_size(types[t], cols)), types[t], rows, cols};
                        Activations h = {put(s, x, N * cols * sizeof(float)), N, put(s, norm, cols * sizeof(float)), 1e-5f,
                                         put_poison(s, N * cols * sizeof(float))};
                        float *dev = put_poison(s, size);
                        out[i] = malloc(size);
                        s->ops->matmul(s->stream, &(Product){m, NULL, dev}, 1, &h, UPDATE_SET);
                        get(s, out[i], dev, size);
                        h.x += (N - FEW) * cols;
                        h.n_rows = FEW;
                        s->ops->matmul(s->stream, &(Product){m, NULL, dev}, 1, &h, UPDATE_SET);
                        get(s, few, dev, FEW * rows * sizeof(float)); /* in the end, of the GPU */
                }
                snprintf(name, sizeof(name), "matmul %s %u x %u, %u rows, normed", dtype_name(types[t]), rows, cols, N);
                report(name, relative(out[0], out[1], (size_t)N * rows), 3e-5);
                report("  rows alone and among others", unequal(few, out[1] + (size_t)(N - FEW) * rows, FEW * rows * sizeof(float)), 0);
                case_end();
                free(w), free(x), free(norm), free(few), free(out[0]), free(out[1]);
        }
}

/* Columns so many that there is room for the terms of some rows only, and of none. Emulated, the former would take long. */
static void check_matmul_long(void) {
#ifndef CUDA_EMULATED
        matmul_case(&(MatmulCase){1, {DTYPE_BF16}, {3}, 8192, 300, true, true, UPDATE_ADD, false, GATE_SILU});
        matmul_case(&(MatmulCase){1, {DTYPE_Q8_0}, {130}, 40000, 300, true, true, UPDATE_ADD, false, GATE_SILU});
#endif
        matmul_case(&(MatmulCase){1, {DTYPE_BF16}, {3}, 70016, 33, true, true, UPDATE_ADD, false, GATE_SILU});
}

/* ---- experts ---- */

typedef struct ExpertsCase {
        uint32_t n_rows, n_experts, n_used, cols, ff;
        Dtype gate, up, down;
        bool normalise;
        Gate unit;
        bool biased;
} ExpertsCase;

/* Two rows of equal logits, one of none that is a number, and one that is for the last expert whatever the others say. */
static float *random_routes(const ExpertsCase *c) {
        float *logits = random_floats((size_t)c->n_rows * c->n_experts);
        for (uint32_t i = 0; i < c->n_rows; i++)
                for (uint32_t e = 0; e < c->n_experts; e++) {
                        float *x = &logits[(size_t)i * c->n_experts + e];
                        *x = i == 1 || i == 40 ? 1 : i == 3 ? NAN : i == 4 && e + 1 < c->n_experts ? -INFINITY : *x * 5;
                }
        return logits;
}

static Experts put_experts(Side *s, const ExpertsCase *c, Dtype type, uint32_t rows, uint32_t cols, const void *data) {
        size_t each = rows * dtype_row_size(type, cols);
        const char *dev = put(s, data, c->n_experts * each);
        const void **table = malloc(c->n_experts * sizeof(*table));
        for (uint32_t e = 0; e < c->n_experts; e++) /* in any order */
                table[e] = dev + (c->n_experts - 1 - e) * each;
        Experts x = {.each = (const void *const *)put(s, table, c->n_experts * sizeof(*table)), .type = type, .n = c->n_experts, .rows = rows, .cols = cols};
        free(table);
        return x;
}

static void experts_case(const ExpertsCase *c) {
        size_t places = (size_t)c->n_rows * c->n_used, size = (size_t)c->n_rows * c->cols * sizeof(float);
        size_t routing = routing_size(c->n_rows, c->n_experts, c->n_used) * 4, known = routing - 3 * places * 4;
        float *x = random_floats((size_t)c->n_rows * c->cols), *logits = random_routes(c), *out[2], *alone = malloc(size);
        void *gate = random_rows(c->gate, c->n_experts * c->ff, c->cols), *up = random_rows(c->up, c->n_experts * c->ff, c->cols),
             *down = random_rows(c->down, c->n_experts * c->cols, c->ff);
        float *biases = random_floats((size_t)c->n_experts * MAX(c->ff, c->cols) + 1);
        int32_t *routes[2];
        char name[120];
        for (int k = 0; k < 2; k++) {
                Side *s = &sides[k];
                float *bias = c->biased ? put(s, biases, ((size_t)c->n_experts * MAX(c->ff, c->cols) + 1) * 4) : NULL;
                Experts gates = put_experts(s, c, c->gate, c->ff, c->cols, gate), ups = put_experts(s, c, c->up, c->ff, c->cols, up),
                        downs = put_experts(s, c, c->down, c->cols, c->ff, down);
                gates.bias = bias;
                ups.bias = bias ? bias + 1 : NULL;
                downs.bias = bias;
                float *dev = put(s, x, size), *dev_logits = put(s, logits, (size_t)c->n_rows * c->n_experts * 4);
                float *of_places = put_poison(s, places * c->cols * 4), *ff = put_poison(s, places * c->ff * 4);
                void *memory = put_poison(s, routing);
                out[k] = malloc(size);
                routes[k] = malloc(routing);
                for (uint32_t n = c->n_rows;; n = 1) { /* all, and then each row by itself */
                        for (uint32_t first = 0; first < (n == 1 ? c->n_rows : 1); first++) {
                                Routing r = routing_in(memory, n, c->n_experts, c->n_used);
                                float *at = dev + (size_t)first * c->cols;
                                s->ops->route(s->stream, &r, dev_logits + (size_t)first * c->n_experts, c->normalise);
                                s->ops->gather(s->stream, of_places, at, r.row, n * c->n_used, c->cols);
                                s->ops->glu_experts(s->stream, ff, &gates, &ups, &r, of_places, c->unit);
                                s->ops->matmul_experts(s->stream, of_places, &downs, &r, ff);
                                s->ops->combine(s->stream, at, of_places, &r, c->cols);
                        }
                        if (n == 1)
                                break;
                        get(s, out[k], dev, size);
                        get(s, routes[k], memory, routing);
                        dev = put(s, x, size);
                }
                get(s, alone, dev, size); /* in the end, of the GPU */
        }
        snprintf(name, sizeof(name), "experts: %u rows, %u of %u, %u x %u in %s, %s and %s%s", c->n_rows, c->n_used, c->n_experts,
                 c->cols, c->ff, dtype_name(c->gate), dtype_name(c->up), dtype_name(c->down), c->biased ? ", biased" : c->normalise ? ", normalised" : "");
        report(name, relative(out[0], out[1], (size_t)c->n_rows * c->cols), 3e-5);
        report("  weights", relative((float *)routes[0], (float *)routes[1], places), 1e-6);
        report("  places", unequal(routes[0] + places, routes[1] + places, known - places * 4), 0);
        report("  rows alone and among others", unequal(out[1], alone, size), 0);
        case_end();
        for (int k = 0; k < 2; k++)
                free(out[k]), free(routes[k]);
        free(x), free(logits), free(alone), free(biases), free(gate), free(up), free(down);
}

static void check_experts(void) {
        static const ExpertsCase all[] = {
                {2, 4, 2, 64, 37, DTYPE_F32, DTYPE_F32, DTYPE_F32, true, GATE_SILU},
                {7, 33, 8, 64, 32, DTYPE_BF16, DTYPE_BF16, DTYPE_Q8_0, false, GATE_SILU},
                {41, 3, 2, 96, 64, DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_BF16, true, GATE_GELU_TANH}, /* tiles of 32 */
                {5, 6, 6, 256, 256, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, true, GATE_SILU},
                {41, 2, 1, 256, 256, DTYPE_Q5_K, DTYPE_Q5_K, DTYPE_Q4_K, false, GATE_SILU},
                {9, 130, 2, 32, 32, DTYPE_Q4_0, DTYPE_Q4_0, DTYPE_F16, false, GATE_SILU},
                {5, 512, 4, 32, 32, DTYPE_IQ4_NL, DTYPE_IQ4_NL, DTYPE_IQ4_NL, true, GATE_SILU},
                {3, 5, 2, 256, 256, DTYPE_IQ4_XS, DTYPE_IQ4_XS, DTYPE_IQ4_XS, false, GATE_SILU},
                {9, 7, 3, 64, 64, DTYPE_MXFP4, DTYPE_MXFP4, DTYPE_MXFP4, true, GATE_CLAMPED, true},
                {9, 7, 3, 64, 64, DTYPE_F16, DTYPE_Q8_0, DTYPE_BF16, true, GATE_CLAMPED, true},
        };
        for (size_t i = 0; i < ARRAY_SIZE(all); i += 1 + SLOW)
                experts_case(&all[i]);
}

/* ---- attention ---- */

typedef struct AttentionCase {
        Dtype type;
        uint32_t page_size, n_kv_heads, n_heads, head_dim, window;
        uint32_t length[2]; /* of the sequences in slots 0 and 1 */
        uint32_t rows[2];   /* how many of the last positions are computed */
        uint32_t capacity;  /* positions */
        float size;         /* of queries; 0: of 1 */
        float cap;
        bool sinks;
} AttentionCase;

typedef struct Cache {
        KvLayer kv;
        size_t size;
} Cache;

/* All positions of both sequences are stored, in pages that lie in any order. */
static Cache cache_fill(Side *s, const AttentionCase *c, const float *k, const float *v) {
        uint32_t max_pages = (c->capacity + c->page_size - 1) / c->page_size, n = c->length[0] + c->length[1];
        uint32_t n_pages = 0, width = c->n_kv_heads * c->head_dim;
        int32_t *tables = malloc(2 * max_pages * sizeof(*tables)), *slot = malloc(n * 4), *position = malloc(n * 4);
        memset(tables, 0x7f, 2 * max_pages * sizeof(*tables)); /* no page is there */
        for (uint32_t i = 0; i < max_pages; i++)
                for (int q = 0; q < 2; q++)
                        if (i * c->page_size < c->length[q])
                                tables[(uint32_t)q * max_pages + i] = (int32_t)n_pages++;
        for (uint32_t i = 0; i < 2 * max_pages; i++)
                if (tables[i] < 0x7f000000)
                        tables[i] = (int32_t)n_pages - 1 - tables[i];
        for (uint32_t i = 0; i < n; i++) {
                slot[i] = i >= c->length[0];
                position[i] = (int32_t)(i >= c->length[0] ? i - c->length[0] : i);
        }
        size_t size = (size_t)n_pages * c->page_size * width * (c->type == DTYPE_F16 ? 2 : 4);
        Cache cache = {{put_poison(s, size), put_poison(s, size), c->type, c->page_size, c->n_kv_heads, c->head_dim,
                        put(s, tables, 2 * max_pages * sizeof(*tables)), max_pages}, size};
        Rows rows = {n, put(s, slot, n * 4), put(s, position, n * 4), NULL, 0};
        Qkv heads = {.k = put(s, k, (size_t)n * width * 4), .v = put(s, v, (size_t)n * width * 4),
                       .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim};
        s->ops->rope(s->stream, &heads, &rows, &(Rope){0}, &cache.kv);
        free(tables), free(slot), free(position);
        return cache;
}

static void attention_case(const AttentionCase *c) {
        uint32_t n = c->rows[0] + c->rows[1], width = c->n_heads * c->head_dim;
        size_t size = (size_t)n * width * sizeof(float);
        size_t kv = (size_t)(c->length[0] + c->length[1]) * c->n_kv_heads * c->head_dim;
        float *k = random_floats(kv), *v = random_floats(kv), *q = random_floats((size_t)n * width), *out[2];
        int32_t *slot = malloc(n * 4), *position = malloc(n * 4);
        for (size_t i = 0; c->size > 0 && i < (size_t)n * width; i++)
                q[i] *= c->size;
        void *keys[2];
        float scale = 4 / sqrtf((float)c->head_dim) / (c->size > 0 ? c->size : 1), *alone = malloc(size);
        char name[120];
        size_t cache_size = 0;
        for (uint32_t i = 0; i < n; i++) {
                slot[i] = i >= c->rows[0];
                position[i] = (int32_t)(i >= c->rows[0] ? c->length[1] - n + i : c->length[0] - c->rows[0] + i);
        }
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                Cache cache = cache_fill(s, c, k, v);
                int32_t *dev_slot = put(s, slot, n * 4), *dev_position = put(s, position, n * 4);
                Rows rows = {n, dev_slot, dev_position, NULL, 0};
                float *dev = put_poison(s, size), *dev_q = put(s, q, size);
                Attending how = {c->n_heads, c->window, scale, c->cap, c->sinks ? put(s, q, c->n_heads * 4) : NULL};
                out[i] = malloc(size);
                keys[i] = malloc(cache.size);
                s->ops->attention(s->stream, dev, dev_q, &cache.kv, &rows, &how);
                get(s, out[i], dev, size);
                get(s, keys[i], cache.kv.k, cache.size);
                cache_size = cache.size;
                for (uint32_t r = 0; r < n; r++) { /* each row by itself */
                        Rows one = {1, dev_slot + r, dev_position + r, NULL, 0};
                        size_t at = (size_t)r * width;
                        s->ops->attention(s->stream, dev + at, dev_q + at, &cache.kv, &one, &how);
                }
                get(s, alone, dev, size); /* in the end, of the GPU */
        }
        snprintf(name, sizeof(name), "%s %u/%u heads of %u, window %u, positions %u and %u, rows %u and %u%s",
                 dtype_name(c->type), c->n_heads, c->n_kv_heads, c->head_dim, c->window, c->length[0], c->length[1],
                 c->rows[0], c->rows[1], c->cap > 0 ? ", capped" : c->sinks ? ", sinks" : "");
        report(name, relative(out[0], out[1], (size_t)n * width), 5e-5);
        report("  rows alone and among others", unequal(out[1], alone, size), 0);
        report("  the cache", unequal(keys[0], keys[1], cache_size), 0);
        case_end();
        for (int i = 0; i < 2; i++)
                free(out[i]), free(keys[i]);
        free(k), free(v), free(q), free(slot), free(position), free(alone);
}

static void check_attention(void) {
        static const AttentionCase all[] = {
                {DTYPE_F32, 16, 2, 4, 16, 0, {40, 7}, {3, 2}, 64},
                {DTYPE_F16, 16, 4, 8, 64, 0, {300, 129}, {1, 1}, 1024},
                {DTYPE_F16, 32, 2, 8, 64, 0, {90, 60}, {40, 30}, 128}, /* tiles of several rows */
                {DTYPE_F32, 7, 1, 11, 20, 0, {150, 128}, {2, 1}, 300},
                {DTYPE_F16, 1, 3, 3, 10, 0, {5, 131}, {1, 3}, 131},
                {DTYPE_F32, 32, 2, 2, 33, 5, {140, 3}, {3, 2}, 2048},
                {DTYPE_F16, 64, 1, 4, 128, 130, {700, 256}, {2, 1}, 2048},
                {DTYPE_F16, 32, 1, 20, 128, 0, {1100, 600}, {1, 1}, 2048}, /* more heads than lines */
                {DTYPE_F32, 256, 1, 1, 256, 1, {1, 2}, {1, 1}, 512},
                {DTYPE_F16, 32, 1, 2, 200, 0, {70, 40}, {2, 2}, 1024},
                {DTYPE_F16, 32, 1, 1, 64, 0, {600, 520}, {20, 20}, 40000},
                {DTYPE_F16, 16, 1, 3, 256, 40, {90, 30}, {2, 1}, 1024},
                {DTYPE_F16, 16, 2, 2, 64, 0, {90, 30}, {2, 1}, 1024, 1e20f}, /* beyond what float16 has */
                {DTYPE_F16, 16, 2, 2, 64, 0, {90, 30}, {2, 1}, 1024, 1e-20f},
                {DTYPE_F16, 16, 1, 2, 256, 40, {90, 30}, {2, 1}, 1024, 0, 0.5f},
                {DTYPE_F32, 16, 2, 4, 24, 0, {150, 9}, {2, 1}, 1024, 0, 0.5f},
                {DTYPE_F16, 32, 2, 8, 64, 0, {700, 60}, {1, 1}, 2048, 0, 0, true},
                {DTYPE_F16, 32, 2, 8, 64, 7, {90, 60}, {40, 30}, 128, 0, 0, true},
        };
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                attention_case(&all[i]);
}

/* ---- encoders ---- */

static void check_embed_sum(void) {
        enum { N = 5, COLS = 96 };
        static const uint32_t vocab[EMBED_TABLES] = {37, 9, 2};
        int32_t ids[EMBED_TABLES][N] = {{3, 36, 37, 0, -1}, {0, 8, 1, 2, 9}, {1, 0, 1, INT32_MIN, INT32_MAX}};
        float out[2][N * COLS];
        char name[80];
        for (int t = 0; t < N_TYPES; t++) {
                Dtype type[EMBED_TABLES] = {types[t], types[(t + 1) % N_TYPES], types[(t + 2) % N_TYPES]};
                void *rows[EMBED_TABLES];
                for (int k = 0; k < EMBED_TABLES; k++)
                        rows[k] = random_rows(type[k], vocab[k], COLS);
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        Matrix tables[EMBED_TABLES];
                        const int32_t *index[EMBED_TABLES];
                        float *dev = put_poison(s, sizeof(out[i]));
                        for (int k = 0; k < EMBED_TABLES; k++) {
                                size_t size = vocab[k] * dtype_row_size(type[k], COLS);
                                tables[k] = (Matrix){put(s, rows[k], size), type[k], vocab[k], COLS};
                                index[k] = put(s, ids[k], sizeof(ids[k]));
                        }
                        s->ops->embed_sum(s->stream, dev, tables, index, EMBED_TABLES - (uint32_t)t % 3, N);
                        get(s, out[i], dev, sizeof(out[i]));
                }
                snprintf(name, sizeof(name), "embed_sum of %d tables, the first %s", EMBED_TABLES - t % 3,
                         dtype_name(types[t]));
                report(name, unequal(out[0], out[1], sizeof(out[0])), 0);
                case_end();
                for (int k = 0; k < EMBED_TABLES; k++)
                        free(rows[k]);
        }
}

static void check_layernorm(void) {
        static const uint32_t shapes[][2] = {{1, 1}, {5, 67}, {3, 512}, {2, 1024}, {7, 24}, {1, 8191}};
        char name[80];
        for (size_t k = 0; k < ARRAY_SIZE(shapes); k++) {
                uint32_t n = shapes[k][0], cols = shapes[k][1];
                size_t size = (size_t)n * cols * sizeof(float), row = cols * sizeof(float);
                float *x = random_floats((size_t)n * cols), *weight = random_floats(cols), *bias = random_floats(cols);
                float *out[2];
                for (size_t i = 0; i < (size_t)n * cols; i++)
                        x[i] += 3;
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        float *dev = put(s, x, size); /* in place */
                        out[i] = malloc(size);
                        s->ops->layernorm(s->stream, dev, dev, put(s, weight, row), put(s, bias, row), n, cols, 1e-12f);
                        get(s, out[i], dev, size);
                }
                snprintf(name, sizeof(name), "layernorm %u x %u", n, cols);
                report(name, relative(out[0], out[1], (size_t)n * cols), 2e-6);
                case_end();
                free(x), free(weight), free(bias), free(out[0]), free(out[1]);
        }
}

/* Put together of two parts, as layers are; from an odd address, as files may have it. */
static Packed put_packed(Side *s, Precision p, Dtype type, const void *w, uint32_t rows, uint32_t cols) {
        size_t stride = dtype_row_size(type, cols), size = s->ops->packed_size(s->device, p, rows, cols);
        char *odd = malloc(rows * stride + 1), *zeros = calloc(1, size);
        uint32_t first = rows / 3;
        memcpy(odd + 1, w, rows * stride);
        Packed packed = {put(s, zeros, size), p, rows, cols};
        s->ops->pack(s->stream, &packed, 0, &(Matrix){odd + 1, type, first, cols});
        s->ops->pack(s->stream, &packed, first, &(Matrix){odd + 1 + first * stride, type, rows - first, cols});
        side_run(s);
        free(odd), free(zeros);
        return packed;
}

typedef struct LinearCase {
        Precision precision;
        Dtype type;
        uint32_t rows, cols, n;
        Activation activation;
        bool bias;
        Update update;
} LinearCase;

/* The CPU computes in float32, whatever the precision. */
static void linear_case(const LinearCase *c) {
        static const char *const precisions[] = {"f32", "16 bits", "bfloat16", "8 bits"};
        static const char *const activations[] = {"", ", gelu", ", gelu_tanh", ", relu", ", tanh", ", silu"};
        static const char *const updates[] = {"", ", added", ", multiplied"};
        size_t size = (size_t)c->n * c->rows * sizeof(float);
        void *w = random_rows(c->type, c->rows, c->cols);
        float *x = random_floats((size_t)c->n * c->cols), *bias = random_floats(c->rows);
        float *before = random_floats((size_t)c->n * c->rows), *out[2];
        char name[120];
        for (size_t i = 0; i < (size_t)c->n * c->cols; i++)
                x[i] *= i / c->cols % 3 == 1 && c->activation != ACTIVATION_TANH ? 1e9f : 1; /* scales differ by row */
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                Packed p = put_packed(s, i == 0 ? PRECISION_F32 : c->precision, c->type, w, c->rows, c->cols);
                float *dev = c->update ? put(s, before, size) : put_poison(s, size);
                out[i] = malloc(size);
                s->ops->linear(s->stream, dev, &p, put(s, x, (size_t)c->n * c->cols * sizeof(float)), c->n,
                               c->bias ? put(s, bias, c->rows * sizeof(float)) : NULL, c->activation, c->update);
                get(s, out[i], dev, size);
        }
        snprintf(name, sizeof(name), "linear %s of %s %u x %u, %u rows%s%s%s", precisions[c->precision],
                 dtype_name(c->type), c->rows, c->cols, c->n, activations[c->activation], c->bias ? ", bias" : "",
                 updates[c->update]);
        double worst = 0;
        for (uint32_t i = 0; i < c->n; i++) /* row by row: one with great numbers would hide the others */
                worst = fmax(worst, relative(out[0] + (size_t)i * c->rows, out[1] + (size_t)i * c->rows, c->rows));
        report(name, worst, c->precision == PRECISION_F32 ? 2e-6 : 2e-3);
        case_end();
        free(w), free(x), free(bias), free(before), free(out[0]), free(out[1]);
}

static void check_linear(void) {
        static const uint32_t rows[] = {7, 16, 37, 130, 300}, n[] = {1, 3, 33, 70, 129}, cols[] = {5, 64, 100, 32, 264};
        for (uint32_t p = 0; p <= PRECISION_INT8; p++)
                for (uint32_t k = 0; k < 5; k++)
                        linear_case(&(LinearCase){(Precision)p, types[k], rows[(k + p) % 5],
                                                  whole_blocks(types[k], cols[(k + 2 * p) % 5]), n[k],
                                                  (Activation)((k + p) % 6), k % 2, (Update)((k + 2 * p) % 3)});
        linear_case(&(LinearCase){PRECISION_F32, DTYPE_F32, 24, 2050, 40, ACTIVATION_NONE, true, UPDATE_SET});
        linear_case(&(LinearCase){PRECISION_INT16, DTYPE_F32, 250, 40, 260, ACTIVATION_NONE, true, UPDATE_SET});
}

/* Each number of rows against all of them, in tiles for few rows and for many. */
static void check_linear_invariance(void) {
        enum { ROWS = 200, COLS = 70, N = 300 };
        static const uint32_t some[] = {1, 2, 16, 31, 33, 64, 129, 257, 299};
        Side *s = &sides[1];
        for (uint32_t p = 0; p < 2; p++) {
                float *w = random_floats(ROWS * COLS), *x = random_floats(N * COLS);
                float *all = malloc(N * ROWS * sizeof(float)), *part = malloc(N * ROWS * sizeof(float));
                Packed packed = put_packed(s, (Precision)p, DTYPE_F32, w, ROWS, COLS);
                float *dev_x = put(s, x, N * COLS * sizeof(float)), *dev = put_poison(s, N * ROWS * sizeof(float));
                s->ops->linear(s->stream, dev, &packed, dev_x, N, NULL, ACTIVATION_GELU, UPDATE_SET);
                get(s, all, dev, N * ROWS * sizeof(float));
                double worst = 0;
                for (size_t k = 0; k < ARRAY_SIZE(some); k++) {
                        uint32_t n = some[k], first = N - n;
                        s->ops->linear(s->stream, dev, &packed, dev_x + (size_t)first * COLS, n, NULL, ACTIVATION_GELU,
                                       UPDATE_SET);
                        get(s, part, dev, n * ROWS * sizeof(float));
                        worst = fmax(worst, unequal(part, all + first * ROWS, n * ROWS * sizeof(float)));
                }
                report(p ? "linear 16 bits: rows alone and among others" : "linear f32: rows alone and among others",
                       worst, 0);
                case_end();
                free(w), free(x), free(all), free(part);
        }
}

/* Text i is rows [starts[i], starts[i+1]) of random lengths up to `longest`. */
static uint32_t random_texts(uint32_t *starts, uint32_t n, uint32_t longest) {
        starts[0] = 0;
        for (uint32_t i = 0; i < n; i++)
                starts[i + 1] = starts[i] + (i == n / 2 ? longest : 1 + (uint32_t)(random_bits() % longest));
        return starts[n];
}

typedef struct SelfCase {
        uint32_t n_texts, longest, n_heads, n_kv_heads, head_dim;
        bool causal, alibi;
        bool together; /* queries, keys and values are parts of one matrix */
} SelfCase;

static void self_attention_case(const SelfCase *c) {
        enum { TEXTS_MAX = 20 };
        uint32_t starts[TEXTS_MAX + 1], n = random_texts(starts, c->n_texts, c->longest);
        size_t q = (size_t)c->n_heads * c->head_dim, kv = (size_t)c->n_kv_heads * c->head_dim, all = q + 2 * kv;
        size_t size = n * q * sizeof(float);
        float *x = random_floats(n * all), *out[2], *alone = malloc(size);
        char name[120];
        double worst = 0;
        for (int i = 0; i < 2; i++) {
                Side *s = &sides[i];
                float *dev = put_poison(s, size), *dev_x = put(s, x, n * all * sizeof(float));
                SelfAttention a = {.texts = {n, c->n_texts, c->longest, put(s, starts, (c->n_texts + 1) * 4)},
                                   .q = dev_x, .k = dev_x + q, .v = dev_x + q + kv,
                                   .q_stride = all, .k_stride = all, .v_stride = all, .out_stride = q,
                                   .n_heads = c->n_heads, .n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim,
                                   .causal = c->causal, .alibi = c->alibi,
                                   .scale = 4 / sqrtf((float)c->head_dim)};
                if (!c->together) {
                        a.k = dev_x + n * q;
                        a.v = dev_x + n * (q + kv);
                        a.q_stride = q;
                        a.k_stride = a.v_stride = kv;
                }
                out[i] = malloc(size);
                s->ops->self_attention(s->stream, dev, &a);
                get(s, out[i], dev, size);
                if (i == 0)
                        continue;
                for (uint32_t t = 0; t < c->n_texts; t++) { /* each text by itself */
                        uint32_t length = starts[t + 1] - starts[t], one[2] = {0, length};
                        SelfAttention b = a;
                        b.texts = (Texts){length, 1, length, put(s, one, sizeof(one))};
                        b.q += starts[t] * a.q_stride;
                        b.k += starts[t] * a.k_stride;
                        b.v += starts[t] * a.v_stride;
                        s->ops->self_attention(s->stream, dev, &b);
                        get(s, alone, dev, length * q * sizeof(float));
                        worst = fmax(worst, unequal(alone, out[1] + starts[t] * q, length * q * sizeof(float)));
                }
        }
        snprintf(name, sizeof(name), "self_attention of %u texts, %u rows, %u/%u heads of %u%s%s%s", c->n_texts, n,
                 c->n_heads, c->n_kv_heads, c->head_dim, c->causal ? ", causal" : "",
                 c->alibi ? ", alibi" : "", c->together ? ", together" : "");
        report(name, relative(out[0], out[1], n * q), 3e-6);
        report("  texts alone and among others", worst, 0);
        case_end();
        free(x), free(out[0]), free(out[1]), free(alone);
}

static void check_self_attention(void) {
        static const SelfCase all[] = {
                {1, 1, 1, 1, 2, false, false, false},    {3, 40, 2, 2, 12, false, false, false},
                {7, 30, 2, 2, 32, false, false, true},   {2, 130, 1, 1, 64, false, false, false},
                {3, 70, 4, 2, 20, true, false, false},   {2, 66, 2, 1, 128, true, false, true},
                {2, 20, 1, 1, 200, false, false, false}, {20, 5, 2, 2, 7, true, false, false},
                {3, 140, 8, 8, 16, false, true, true},   {4, 50, 6, 3, 20, false, true, false},
                {1, 700, 1, 1, 16, false, false, false}, /* long: what products cut off adds up */
        };
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                self_attention_case(&all[i]);
}

static void check_pool(void) {
        enum { TEXTS = 9, COLS = 300 };
        static const char *const poolings[] = {"cls", "mean", "last"};
        uint32_t starts[TEXTS + 1], n = random_texts(starts, TEXTS, 20);
        float *x = random_floats((size_t)n * COLS), out[2][TEXTS * COLS];
        memset(x + (size_t)starts[2] * COLS, 0, (starts[3] - starts[2]) * COLS * sizeof(float)); /* of no length */
        char name[80];
        for (int k = 0; k < 6; k++) {
                for (int i = 0; i < 2; i++) {
                        Side *s = &sides[i];
                        float *dev = put_poison(s, sizeof(out[i])), *dev_x = put(s, x, (size_t)n * COLS * sizeof(float));
                        Texts texts = {n, TEXTS, 20, put(s, starts, sizeof(starts))};
                        s->ops->pool(s->stream, dev, dev_x, &texts, COLS, (Pooling)(k / 2), k % 2);
                        get(s, out[i], dev, sizeof(out[i]));
                }
                snprintf(name, sizeof(name), "pool %s%s", poolings[k / 2], k % 2 ? ", normalised" : "");
                report(name, relative(out[0], out[1], TEXTS * COLS), 1e-6);
                case_end();
        }
        free(x);
}

/* ---- sampling ---- */

typedef struct SampleCase {
        const char *name;
        uint32_t n_vocab;
        float reach; /* of logits; below 0: of a few, the others are -infinity */
        SampleParams params;
        bool biased, hostile, bound;
} SampleCase;

enum { DRAWS = SLOW ? 8 : 40 };
enum { CONTEXT = 64, BIASES = 3 };

/* A row for each draw, with its own slot, position and seed. */
static void sample_case(const SampleCase *c) {
        int32_t slot[DRAWS], position[DRAWS], index[DRAWS], tokens[DRAWS * CONTEXT], after[2][DRAWS * CONTEXT];
        int32_t ids[BIASES] = {1, 0, 99999999};
        float bias[BIASES] = {-INFINITY, 2, 3}, logprobs[2][DRAWS * (SAMPLE_TOP_MAX + 1)];
        float *logits = random_floats((size_t)DRAWS * c->n_vocab);
        SampleParams params[DRAWS];
        SampleOut out[2][DRAWS];
        char name[100];
        for (size_t i = 0; i < (size_t)DRAWS * c->n_vocab; i++) {
                static const float odd[] = {NAN, INFINITY, -INFINITY, -3e38f, 0};
                logits[i] = c->hostile                           ? odd[random_bits() % 5]
                            : c->reach < 0 && random_bits() % 64 ? -INFINITY
                                                                 : logits[i] * c->reach;
        }
        for (int i = 0; i < DRAWS * CONTEXT; i++)
                tokens[i] = (int32_t)(random_bits() % 24) - 2; /* some are no tokens */
        for (int i = 0; i < DRAWS; i++) {
                slot[i] = DRAWS - 1 - i;
                position[i] = i == 7 ? CONTEXT - 1 : (i * 5) % CONTEXT;
                index[i] = (i + 3) % DRAWS;
        }
        for (int k = 0; k < 2; k++) {
                Side *s = &sides[k];
                int32_t *dev_tokens = put(s, tokens, sizeof(tokens));
                Rows rows = {DRAWS, put(s, slot, sizeof(slot)), put(s, position, sizeof(position)), dev_tokens,
                             CONTEXT};
                SampleOut *dev = put_poison(s, sizeof(out[k]));
                for (int i = 0; i < DRAWS; i++) {
                        params[i] = c->params;
                        params[i].seed = (uint64_t)i * 1000003;
                }
                if (c->biased) {
                        int32_t *dev_ids = put(s, ids, sizeof(ids));
                        float *dev_bias = put(s, bias, sizeof(bias));
                        for (int i = 0; i < DRAWS; i += 2) {
                                params[i].n_bias = BIASES;
                                params[i].bias_ids = dev_ids;
                                params[i].bias = dev_bias;
                        }
                }
                if (c->bound) { /* every fifth token, in some rows only one that is forbidden otherwise */
                        uint32_t *bits[2] = {calloc(c->n_vocab / 32 + 1, 4), calloc(c->n_vocab / 32 + 1, 4)}, *dev_bits[2];
                        for (uint32_t i = 0; i < c->n_vocab; i += 5)
                                bits[0][i / 32] |= 1u << i % 32;
                        bits[1][0] = 1u << 1;
                        for (int i = 0; i < 2; i++)
                                dev_bits[i] = put(s, bits[i], (c->n_vocab / 32 + 1) * sizeof(uint32_t));
                        for (int i = 0; i < DRAWS; i++)
                                params[i].allowed = i % 7 == 6 ? NULL : dev_bits[i % 7 == 0];
                        free(bits[0]);
                        free(bits[1]);
                }
                s->ops->sample(s->stream, dev, put(s, logits, (size_t)DRAWS * c->n_vocab * sizeof(float)), DRAWS,
                               c->n_vocab, put(s, index, sizeof(index)), &rows, params);
                get(s, out[k], dev, sizeof(out[k]));
                get(s, after[k], dev_tokens, sizeof(tokens));
        }
        int differ = 0;
        for (int i = 0; i < DRAWS; i++) {
                differ += out[0][i].id != out[1][i].id ||
                          memcmp(out[0][i].top_ids, out[1][i].top_ids, sizeof(out[0][i].top_ids)) != 0;
                for (int k = 0; k < 2; k++) {
                        logprobs[k][i * (SAMPLE_TOP_MAX + 1)] = out[k][i].logprob;
                        memcpy(&logprobs[k][i * (SAMPLE_TOP_MAX + 1) + 1], out[k][i].top_logprobs,
                               SAMPLE_TOP_MAX * sizeof(float));
                }
        }
        snprintf(name, sizeof(name), "sample %s, vocabulary of %u", c->name, c->n_vocab);
        report(name, differ ? INFINITY : unequal(after[0], after[1], sizeof(tokens)), 0);
        if (c->params.n_top >= 0)
                report("  log-probabilities", relative(logprobs[0], logprobs[1], DRAWS * (SAMPLE_TOP_MAX + 1)), 1e-6);
        case_end();
        free(logits);
}

static void check_sample(void) {
        /* temperature top_p min_p top_k, repeat presence frequency last, n_top */
        static const SampleCase all[] = {
                {"greedy", 1000, 4, {0, 1, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"greedy, one token", 1, 4, {0, 1, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"plainly", 1000, 4, {1, 1, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"hot", 600, 3, {2, 1, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"top_k", 1000, 4, {1, 1, 0, 40, 1, 0, 0, 64, -1}, true, false},
                {"top_p", 1000, 4, {1, 0.9f, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"top_p of nothing", 333, 1, {1, 0, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"min_p", 1000, 4, {2, 1, 0.1f, 0, 1, 0, 0, 64, -1}, false, false},
                {"all of them", 2003, 6, {0.8f, 0.95f, 0.02f, 100, 1, 0, 0, 64, -1}, true, false},
                {"top_k of equals", 300, 0, {1, 1, 0, 17, 1, 0, 0, 64, -1}, false, false},
                {"penalties", 30, 2, {1, 1, 0, 0, 1.3f, 0.5f, 0.2f, 9, -1}, true, false},
                {"penalties for all, greedy", 30, 2, {0, 1, 0, 0, 2, 0, 0, -1, -1}, false, false},
                {"logprobs", 500, 9, {1, 1, 0, 0, 1, 0, 0, 64, 20}, true, false},
                {"logprobs of few", 7, 9, {1, 1, 0, 3, 1, 0, 0, 64, 20}, true, false},
                {"top_p of equals", 5000, 0, {1, 0.9f, 0, 0, 1, 0, 0, 64, -1}, false, false},
                {"top_k of thousands", 6000, 4, {2, 0.95f, 0, 3000, 1, 0, 0, 64, -1}, false, false},
                {"top_k far below", 1000, 5000, {300, 1, 0, 40, 1, 0, 0, 64, 20}, false, false},
                {"top_k of fewer", 1000, -9, {1, 0.9f, 0, 40, 1, 0, 0, 64, 20}, true, false},
                {"hostile, hot", 50, 1, {INFINITY, 1, 0, 0, 0, 0, 0, -1, 5}, true, true},
                {"allowed", 1000, 4, {1, 1, 0, 0, 1, 0, 0, 64, -1}, true, false, true},
                {"allowed, greedy", 333, 4, {0, 1, 0, 0, 1.3f, 0, 0, 64, -1}, true, false, true},
                {"allowed, all of them", 2003, 6, {0.8f, 0.95f, 0.02f, 100, 1.2f, 0, 0, 64, 5}, true, false, true},
                {"allowed, hostile", 50, 1, {INFINITY, 0.9f, 0, 7, 1, 0, 0, 64, -1}, true, true, true},
                {"hostile, cold", 50, 1, {1e-40f, 0.5f, 2, 0, 1, 0, 0, 64, 5}, false, true},
        };
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                sample_case(&all[i]);
}

/* ---- all ---- */

static const struct {
        const char *name;
        void (*check)(void);
} checks[] = {
        {"embed", check_embed},         {"rmsnorm", check_rmsnorm}, {"glu", check_glu},
        {"gather", check_gather},       {"rope", check_rope},       {"matmul", check_matmul},
        {"matmul together", check_matmul_together}, {"invariance", check_matmul_invariance},
        {"attention", check_attention}, {"sample", check_sample},
        {"embed_sum", check_embed_sum}, {"layernorm", check_layernorm}, {"linear", check_linear},
        {"linear invariance", check_linear_invariance}, {"self_attention", check_self_attention}, {"pool", check_pool},
        {"matmul large", check_matmul_large}, {"matmul long", check_matmul_long},
        {"matmul formats", check_matmul_formats}, {"softcap", check_softcap},
        {"experts", check_experts},
};

static bool is_wanted(const char *name, int argc, char **argv) {
        bool wanted = argc == 1;
        for (int i = 1; i < argc; i++)
                wanted |= strncmp(name, argv[i], strlen(argv[i])) == 0;
        return wanted;
}

int main(int argc, char **argv) {
        Device *cpu, *gpu;
        Error e = ERROR_NULL;
#ifdef CUDA_EMULATED
        fake_cuda_reset();
#endif
        if (device_cpu_new(0, &cpu, &e) < 0 || device_cuda_new(&RUNTIME, 0, &gpu, &e) < 0) {
                fprintf(stderr, "cuda-check: %s\n", e.text);
                return 1;
        }
        side_open(&sides[0], cpu);
        side_open(&sides[1], gpu);
        printf("%s, compared with %s\n", gpu->name, cpu->name);
        for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
                if (is_wanted(checks[i].name, argc, argv)) {
                        random_state = i + 1; /* the same inputs, whatever is checked besides */
                        checks[i].check();
                }
        side_close(&sides[0]);
        side_close(&sides[1]);
        printf("%d of %d cases are wrong\n", failures, cases);
        return failures > 0;
}
