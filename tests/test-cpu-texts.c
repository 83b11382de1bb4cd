/* What is done with whole texts, and the operations of encoders besides products, against their formulas in double
 * precision. */
#include "cpu.h"

enum { N_TEXTS = 6 };
static const uint32_t starts[N_TEXTS + 1] = {0, 1, 8, 68, 69, 320, 1000};

/* ---- embeddings ---- */

static void embed_sum(Rig *r) {
        enum { COLS = 1100, N = 5 };
        static const uint32_t sizes[EMBED_TABLES] = {11, 7, 2};
        static const Dtype types[EMBED_TABLES] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
        static const int32_t index[EMBED_TABLES][N] = {{10, 0, -1, 11, 3}, {6, 0, INT32_MIN, INT32_MAX, 7}, {1, 0, 2, 0, 1}};
        Matrix tables[EMBED_TABLES];
        for (int t = 0; t < EMBED_TABLES; t++)
                tables[t] = (Matrix){random_rows(types[t], sizes[t], COLS), types[t], sizes[t], COLS};
        for (uint32_t n = 1; n <= EMBED_TABLES; n++) {
                float *out = poisoned_floats(N * COLS);
                r->ops->embed_sum(r->stream, out, tables, (const int32_t *[]){index[0], index[1], index[2]}, n, N);
                rig_run(r);
                for (int i = 0; i < N; i++)
                        for (int c = 0; c < COLS; c++) {
                                float want = 0;
                                for (uint32_t t = 0; t < n; t++) {
                                        const char *table = tables[t].data;
                                        size_t stride = dtype_row_size(types[t], COLS);
                                        if (index[t][i] >= 0 && (uint32_t)index[t][i] < sizes[t])
                                                want += (float)row_value(types[t], table + (size_t)index[t][i] * stride,
                                                                         (size_t)c);
                                }
                                assert_true(out[i * COLS + c] == want);
                        }
                free(out);
        }
        for (int t = 0; t < EMBED_TABLES; t++)
                free((void *)tables[t].data);
}

static void test_embed_sum(void **state) {
        on_every_rig(embed_sum);
}

/* ---- normalisation ---- */

static void check_layernorm(Rig *r, uint32_t n, uint32_t cols, bool in_place, float shift) {
        float *x = random_floats((size_t)n * cols), *weight = random_floats(cols), *bias = random_floats(cols);
        float *out = poisoned_floats((size_t)n * cols);
        for (size_t i = 0; i < (size_t)n * cols; i++)
                x[i] += shift;
        if (in_place)
                memcpy(out, x, (size_t)n * cols * sizeof(float));
        r->ops->layernorm(r->stream, out, in_place ? out : x, weight, bias, n, cols, 1e-5f);
        rig_run(r);
        for (uint32_t i = 0; i < n; i++) {
                double mean = 0, variance = 0;
                for (uint32_t c = 0; c < cols; c++)
                        mean += (double)x[i * cols + c] / cols;
                for (uint32_t c = 0; c < cols; c++)
                        variance += pow(x[i * cols + c] - mean, 2) / cols;
                for (uint32_t c = 0; c < cols; c++)
                        assert_close(out[i * cols + c],
                                     (x[i * cols + c] - mean) / sqrt(variance + 1e-5f) * weight[c] + bias[c],
                                     4e-6 * (1 + fabs((double)shift)));
        }
        free(x), free(weight), free(bias), free(out);
}

static void layernorm(Rig *r) {
        check_layernorm(r, 1, 1, false, 0);
        check_layernorm(r, 3, 16, true, 0);
        check_layernorm(r, 7, 45, false, 30);
        check_layernorm(r, 5, 384, true, -3);
}

static void test_layernorm(void **state) {
        on_every_rig(layernorm);
}

/* ---- attention ---- */

typedef struct Heads {
        uint32_t n, n_kv, dim;
        bool causal;
        const double *slopes; /* of ALiBi, or NULL */
} Heads;

/* One row and head, which sees n keys; of key j's score is taken slope * |row - j|. */
static void attend(const float *q, const float *k, const float *v, size_t stride, uint32_t n, uint32_t dim, double scale,
                   uint32_t row, double slope, double *out) {
        double most = -INFINITY, sum = 0, *scores = malloc(n * sizeof(double));
        for (uint32_t j = 0; j < n; j++) {
                scores[j] = -slope * fabs((double)row - (double)j);
                for (uint32_t d = 0; d < dim; d++)
                        scores[j] += scale * q[d] * k[j * stride + d];
                most = fmax(most, scores[j]);
        }
        memset(out, 0, dim * sizeof(double));
        for (uint32_t j = 0; j < n; j++) {
                double weight = exp(scores[j] - most);
                sum += weight;
                for (uint32_t d = 0; d < dim; d++)
                        out[d] += weight * v[j * stride + d];
        }
        for (uint32_t d = 0; d < dim; d++)
                out[d] /= sum;
        free(scores);
}

static void check_attention(Rig *r, const Heads *h) {
        uint32_t n_rows = starts[N_TEXTS];
        size_t q_width = (size_t)h->n * h->dim, kv_width = (size_t)h->n_kv * h->dim, stride = q_width + 2 * kv_width;
        float *qkv = random_floats(n_rows * stride), *out = poisoned_floats(n_rows * q_width);
        double want[64];
        SelfAttention a = {.texts = {n_rows, N_TEXTS, 680, starts},
                           .q = qkv, .k = qkv + q_width, .v = qkv + q_width + kv_width,
                           .q_stride = stride, .k_stride = stride, .v_stride = stride, .out_stride = q_width,
                           .n_heads = h->n, .n_kv_heads = h->n_kv, .head_dim = h->dim,
                           .causal = h->causal, .alibi = h->slopes, .scale = 0.5f};
        r->ops->self_attention(r->stream, out, &a);
        rig_run(r);
        for (uint32_t t = 0; t < N_TEXTS; t++)
                for (uint32_t i = starts[t]; i < starts[t + 1]; i += 1 + i % 7)
                        for (uint32_t head = 0; head < h->n; head++) {
                                size_t kv = starts[t] * stride + head / (h->n / h->n_kv) * h->dim;
                                attend(qkv + i * stride + head * h->dim, a.k + kv, a.v + kv, stride,
                                       (h->causal ? i + 1 : starts[t + 1]) - starts[t], h->dim, 0.5, i - starts[t],
                                       h->slopes ? h->slopes[head] : 0, want);
                                for (uint32_t d = 0; d < h->dim; d++)
                                        assert_close(out[i * q_width + head * h->dim + d], want[d], 2e-6);
                        }
        free(qkv), free(out);
}

static void self_attention(Rig *r) {
        /* As the paper gives them for 8 heads, and its authors' program for 6: those of 4, and two of those of 8. */
        static const double eight[] = {0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625},
                            six[] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
        static const Heads cases[] = {{2, 2, 32, false, NULL}, {4, 2, 12, true, NULL}, {3, 1, 50, false, NULL},
                                      {1, 1, 1, true, NULL},   {8, 8, 6, false, eight}, {6, 3, 20, false, six},
                                      {8, 4, 9, true, eight}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                check_attention(r, &cases[i]);
}

static void test_self_attention(void **state) {
        on_every_rig(self_attention);
}

/* A text alone is what it is among others. */
static void alone(Rig *r) {
        enum { DIM = 40, WIDTH = 2 * DIM };
        uint32_t n_rows = starts[N_TEXTS];
        float *qkv = random_floats((size_t)n_rows * 3 * WIDTH), *all = poisoned_floats((size_t)n_rows * WIDTH),
              *one = poisoned_floats((size_t)n_rows * WIDTH);
        for (int kind = 0; kind < 4; kind++) {
                SelfAttention a = {.texts = {n_rows, N_TEXTS, 680, starts},
                                   .q = qkv, .k = qkv + WIDTH, .v = qkv + 2 * WIDTH,
                                   .q_stride = 3 * WIDTH, .k_stride = 3 * WIDTH, .v_stride = 3 * WIDTH,
                                   .out_stride = WIDTH, .n_heads = 2, .n_kv_heads = 2, .head_dim = DIM,
                                   .causal = kind % 2, .alibi = kind / 2, .scale = 1};
                r->ops->self_attention(r->stream, all, &a);
                rig_run(r);
                for (uint32_t t = 0; t < N_TEXTS; t++) {
                        uint32_t n = starts[t + 1] - starts[t], ends[2] = {0, n};
                        size_t at = (size_t)starts[t] * 3 * WIDTH;
                        SelfAttention b = a;
                        b.texts = (Texts){n, 1, n, ends};
                        b.q = a.q + at, b.k = a.k + at, b.v = a.v + at;
                        r->ops->self_attention(r->stream, one, &b);
                        rig_run(r);
                        assert_memory_equal(one, all + starts[t] * WIDTH, n * WIDTH * sizeof(float));
                }
        }
        free(qkv), free(all), free(one);
}

static void test_alone(void **state) {
        on_every_rig(alone);
}

/* ---- pooling ---- */

static void pool(Rig *r) {
        enum { COLS = 45 };
        Texts texts = {starts[N_TEXTS], N_TEXTS, 680, starts};
        float *x = random_floats((size_t)texts.n_rows * COLS), *out = poisoned_floats(N_TEXTS * COLS);
        memset(x, 0, COLS * sizeof(float)); /* the first text's: a vector without a direction */
        for (int i = 0; i < 6; i++) {
                Pooling pooling = (Pooling)(i / 2);
                bool normalise = i % 2;
                r->ops->pool(r->stream, out, x, &texts, COLS, pooling, normalise);
                rig_run(r);
                for (uint32_t t = 0; t < N_TEXTS; t++) {
                        uint32_t from = pooling == POOLING_LAST ? starts[t + 1] - 1 : starts[t];
                        uint32_t to = pooling == POOLING_CLS ? from + 1 : starts[t + 1];
                        double want[COLS] = {0}, squares = 0;
                        for (int c = 0; c < COLS; c++) {
                                for (uint32_t k = from; k < to; k++)
                                        want[c] += (double)x[k * COLS + (uint32_t)c] / (to - from);
                                squares += want[c] * want[c];
                        }
                        for (int c = 0; c < COLS; c++)
                                assert_close(out[t * COLS + (uint32_t)c],
                                             want[c] / (normalise && squares > 0 ? sqrt(squares) : 1), 2e-6);
                }
        }
        free(x), free(out);
}

static void test_pool(void **state) {
        on_every_rig(pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_embed_sum), cmocka_unit_test(test_layernorm), cmocka_unit_test(test_self_attention),
                cmocka_unit_test(test_alone),     cmocka_unit_test(test_pool),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
