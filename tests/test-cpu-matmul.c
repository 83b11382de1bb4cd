/* Matrix products of every format against sums in double precision, and the promise that a row's result does not
 * depend on the other rows, the threads or the parts. */
#include "cpu.h"

static const Dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0,
                              DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q2_K, DTYPE_Q3_K,
                              DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4};
enum { N_TYPES = ARRAY_SIZE(types) };

/* The sum and, for the tolerance, the sum of the magnitudes. */
static double dot(Dtype type, const void *w, const float *x, size_t n, double *ret_size) {
        double sum = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
                double p = row_value(type, w, i) * x[i];
                sum += p;
                size += fabs(p);
        }
        *ret_size = size;
        return sum;
}

static void check(Rig *r, Dtype type, uint32_t rows, uint32_t cols, uint32_t n, bool with_bias, bool accumulate) {
        void *w = random_rows(type, rows, cols);
        float *x = random_floats((size_t)n * cols), *bias = random_floats(rows);
        float *before = random_floats((size_t)n * rows), *out = poisoned_floats((size_t)n * rows);
        Matrix m = {w, type, rows, cols};
        if (accumulate)
                memcpy(out, before, (size_t)n * rows * sizeof(float));
        r->ops->matmul(r->stream, &(Product){m, with_bias ? bias : NULL, out}, 1, &(Activations){.x = x, .n_rows = n},
                       accumulate ? UPDATE_ADD : UPDATE_SET);
        rig_run(r);
        for (uint32_t i = 0; i < n; i++)
                for (uint32_t j = 0; j < rows; j++) {
                        double size, want = dot(type, (char *)w + j * dtype_row_size(type, cols),
                                                x + (size_t)i * cols, cols, &size);
                        want += with_bias ? bias[j] : 0;
                        want += accumulate ? before[i * rows + j] : 0;
                        assert_close(out[i * rows + j], want, 1e-6 * (size + 2));
                }
        free(w), free(x), free(bias), free(before), free(out);
}

static void every_shape(Rig *r) {
        static const uint32_t rows[] = {1, 3, 4, 37, 70}, n[] = {1, 2, 3, 4, 7, 13};
        static const uint32_t plain_cols[] = {1, 5, 31, 64, 100}, blocks[] = {1, 2, 3, 5, 33};
        for (size_t t = 0; t < N_TYPES; t++)
                for (size_t i = 0; i < 5; i++)
                        for (size_t k = 0; k < 6; k++) {
                                uint32_t block = dtype_info(types[t])->block;
                                uint32_t cols = block == 1 ? plain_cols[(i + k) % 5] : block * MIN(blocks[(i + k) % 5], 1280 / block + 1); /* more than is summed at once */
                                check(r, types[t], rows[i], cols, n[k], k % 2, i % 2);
                        }
        check(r, DTYPE_F32, 9, 2100, 5, true, false);
        check(r, DTYPE_F16, 9, 1031, 2, false, false);
}

static void test_shapes(void **state) {
        on_every_rig(every_shape);
}

static void no_rows(Rig *r) {
        float w[4] = {1, 2, 3, 4};
        r->ops->matmul(r->stream, &(Product){{w, DTYPE_F32, 2, 2}, NULL, NULL}, 1, &(Activations){0}, UPDATE_SET);
        rig_run(r);
}

static void test_no_rows(void **state) {
        on_every_rig(no_rows);
}

/* Rows normalised in double precision. */
static float *normed(const float *x, const float *norm, uint32_t n, uint32_t cols) {
        float *h = malloc((size_t)n * cols * sizeof(float));
        for (uint32_t i = 0; i < n; i++) {
                double sum = 0;
                for (uint32_t c = 0; c < cols; c++)
                        sum += (double)x[i * cols + c] * x[i * cols + c];
                for (uint32_t c = 0; c < cols; c++)
                        h[i * cols + c] = (float)(x[i * cols + c] / sqrt(sum / cols + 1e-5f) * norm[c]);
        }
        return h;
}

typedef struct Together {
        Dtype type[3];
        uint32_t n_products, rows[3], cols, n;
        bool gated; /* SwiGLU of two */
        Update update;
} Together;

/* Products of matrices of different formats, of normed rows: at once, and each value by itself. */
static void check_together(Rig *r, const Together *t) {
        float *x = random_floats((size_t)t->n * t->cols), *norm = random_floats(t->cols);
        float *room = poisoned_floats((size_t)t->n * t->cols), *before[3], *h = normed(x, norm, t->n, t->cols);
        Activations rows = {x, t->n, norm, 1e-5f, room};
        Product p[3];
        for (uint32_t i = 0; i < t->n_products; i++) {
                size_t size = (size_t)t->n * t->rows[i];
                p[i] = (Product){{random_rows(t->type[i], t->rows[i], t->cols), t->type[i], t->rows[i], t->cols},
                                 i == 1 || t->gated ? NULL : random_floats(t->rows[i]), poisoned_floats(size)};
                before[i] = random_floats(size);
                if (t->update == UPDATE_ADD)
                        memcpy(p[i].out, before[i], size * sizeof(float));
        }
        if (t->gated)
                r->ops->glu(r->stream, p[0].out, &p[0].w, &p[1].w, &rows, GATE_SILU);
        else
                r->ops->matmul(r->stream, p, t->n_products, &rows, t->update);
        rig_run(r);
        for (uint32_t k = 0; k < (t->gated ? 1 : t->n_products); k++)
                for (uint32_t i = 0; i < t->n; i++)
                        for (uint32_t j = 0; j < t->rows[k]; j++) {
                                double value[2] = {0}, size[2] = {0};
                                for (uint32_t m = k; m <= k + t->gated; m++)
                                        value[m - k] = dot(t->type[m],
                                                           (char *)p[m].w.data + j * dtype_row_size(t->type[m], t->cols),
                                                           h + (size_t)i * t->cols, t->cols, &size[m - k]);
                                double want = value[0] + (p[k].bias ? p[k].bias[j] : 0), error = size[0] + 2;
                                if (t->update == UPDATE_ADD)
                                        want += before[k][i * t->rows[k] + j];
                                if (t->gated) {
                                        want = want / (1 + exp(-want)) * value[1];
                                        error = 2 * (size[0] + 2) * (fabs(value[1]) + size[1] + 2);
                                }
                                assert_close(p[k].out[i * t->rows[k] + j], want, 1e-6 * error);
                        }
        for (uint32_t i = 0; i < t->n_products; i++)
                free((void *)p[i].w.data), free((void *)p[i].bias), free(p[i].out), free(before[i]);
        free(x), free(norm), free(room), free(h);
}

static void together(Rig *r) {
        static const uint32_t n[] = {1, 2, 7, 40};
        static const Dtype mixed[][3] = {{DTYPE_BF16, DTYPE_BF16, DTYPE_BF16}, {DTYPE_Q4_0, DTYPE_Q8_0, DTYPE_F32},
                                         {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q8_0}, {DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q5_K}};
        for (size_t t = 0; t < 4; t++)
                for (size_t i = 0; i < 4; i++) {
                        Together c = {.n_products = 3, .rows = {37, 5, 70}, .cols = t == 3 ? 1280 : i == 2 ? 1056 : 64, .n = n[i]};
                        memcpy(c.type, mixed[t], sizeof(c.type));
                        check_together(r, &c);
                        c.update = UPDATE_ADD;
                        check_together(r, &c);
                        check_together(r, &(Together){.n_products = 2, .type = {mixed[t][0], mixed[t][1]}, .rows = {45, 45},
                                                      .cols = c.cols, .n = n[i], .gated = true});
                }
}

static void test_together(void **state) {
        on_every_rig(together);
}

enum { ROWS = 75, COLS = 2304, N = 17 };

/* Stored, then the gate's of the first rows and the last, of normed activations: `out` is [n, ROWS + HALF]. */
enum { HALF = ROWS / 2 };

static void multiply(Rig *r, const Matrix *m, const float *x, const float *norm, uint32_t n, float *out) {
        size_t half = HALF * dtype_row_size(m->type, COLS);
        float *room = poisoned_floats((size_t)n * COLS);
        Matrix gate = {m->data, m->type, HALF, COLS}, up = {(const char *)m->data + half, m->type, HALF, COLS};
        r->ops->matmul(r->stream, &(Product){*m, NULL, out}, 1, &(Activations){.x = x, .n_rows = n}, UPDATE_SET);
        r->ops->glu(r->stream, out + (size_t)n * ROWS, &gate, &up, &(Activations){x, n, norm, 1e-6f, room}, GATE_SILU);
        rig_run(r);
        free(room);
}

/* All rows at once, by one thread, is what every other way has to equal; n rows are done in n parts, up to the most. */
static void invariant(Rig *r) {
        float *x = random_floats(N * COLS), *norm = random_floats(COLS), *all = poisoned_floats(N * (ROWS + HALF));
        float *some = poisoned_floats(N * (ROWS + HALF));
        Rig one;
        assert_true(rig_init(&one, r->isa, 1));
        for (size_t t = 0; t < N_TYPES; t++) {
                Matrix m = {random_rows(types[t], ROWS, COLS), types[t], ROWS, COLS};
                multiply(&one, &m, x, norm, N, all);
                cpu_stream_set_part_work(r->stream, ROWS * COLS);
                for (uint32_t n = 1; n <= N; n++) {
                        multiply(r, &m, x + (N - n) * COLS, norm, n, some);
                        assert_memory_equal(some, all + (N - n) * ROWS, n * ROWS * sizeof(float));
                        assert_memory_equal(some + n * ROWS, all + N * ROWS + (N - n) * HALF, n * HALF * sizeof(float));
                }
                free((void *)m.data);
        }
        rig_deinit(&one);
        free(x), free(norm), free(all), free(some);
}

static void test_invariance(void **state) {
        on_every_rig(invariant);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_no_rows),
                                           cmocka_unit_test(test_together), cmocka_unit_test(test_invariance)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
