/* Products with packed matrices against sums in double precision: in every precision within what its rounding allows,
 * and the same bits whatever rows, threads and parts there are. */
#include "cpu.h"

typedef struct Case {
        Precision precision;
        Dtype type;
        uint32_t rows, cols, n;
        Activation activation;
        bool bias;
        Update update;
} Case;

/* Packs the first rows from one matrix and the rest from another, as layers that are put together are. */
static Packed pack(Rig *r, Precision precision, Dtype type, const void *w, uint32_t rows, uint32_t cols) {
        size_t size = r->ops->packed_size(r->device, precision, rows, cols), stride = dtype_row_size(type, cols);
        uint32_t first = rows / 3;
        Packed p = {aligned_alloc(256, (size + 255) / 256 * 256), precision, rows, cols};
        memset(p.data, 0, size);
        r->ops->pack(r->stream, &p, 0, &(Matrix){w, type, first, cols});
        r->ops->pack(r->stream, &p, first, &(Matrix){(const char *)w + first * stride, type, rows - first, cols});
        rig_run(r);
        return p;
}

static double activate(Activation a, double x) {
        switch (a) {
        case ACTIVATION_GELU:
                return x / 2 * (1 + erf(x / sqrt(2)));
        case ACTIVATION_GELU_TANH:
                return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        case ACTIVATION_RELU:
                return fmax(x, 0);
        case ACTIVATION_TANH:
                return tanh(x);
        case ACTIVATION_SILU:
                return x / (1 + exp(-x));
        case ACTIVATION_NONE:
                break;
        }
        return x;
}

/* What rounding both factors can change at the most: half a step in each. */
static double rounding(const Case *c, const void *w, const float *x) {
        double most_w = 0, most_x = 0, sum_w = 0, sum_x = 0, products = 0;
        for (size_t i = 0; i < c->cols; i++) {
                double wi = fabs(row_value(c->type, w, i)), xi = fabs(x[i]);
                most_w = fmax(most_w, wi);
                most_x = fmax(most_x, xi);
                sum_w += wi;
                sum_x += xi;
                products += wi * xi;
        }
        double step = c->precision == PRECISION_INT8 ? 127 : 2047;
        double integers = 1.01 * (most_w * sum_x + most_x * sum_w) / (2 * step);
        return c->precision == PRECISION_F32    ? 0
               : c->precision == PRECISION_BF16 ? fmax(integers, 1.01 * products / 128) /* or in integers of 11 bits */
                                                : integers;
}

static void check(Rig *r, const Case *c) {
        void *w = random_rows(c->type, c->rows, c->cols);
        float *x = random_floats((size_t)c->n * c->cols), *bias = random_floats(c->rows);
        float *before = random_floats((size_t)c->n * c->rows), *out = poisoned_floats((size_t)c->n * c->rows);
        Packed p = pack(r, c->precision, c->type, w, c->rows, c->cols);
        if (c->update)
                memcpy(out, before, (size_t)c->n * c->rows * sizeof(float));
        r->ops->linear(r->stream, out, &p, x, c->n, c->bias ? bias : NULL, c->activation, c->update);
        rig_run(r);
        for (uint32_t i = 0; i < c->n; i++)
                for (uint32_t j = 0; j < c->rows; j++) {
                        const char *row = (char *)w + j * dtype_row_size(c->type, c->cols);
                        double sum = c->bias ? bias[j] : 0, size = 2;
                        for (size_t k = 0; k < c->cols; k++) {
                                double product = row_value(c->type, row, k) * x[i * c->cols + k];
                                sum += product;
                                size += fabs(product);
                        }
                        double want = activate(c->activation, sum), was = before[i * c->rows + j];
                        if (c->update)
                                want = c->update == UPDATE_ADD ? was + want : was * want;
                        assert_close(out[i * c->rows + j], want,
                                     1.2 * (1e-6 * size + rounding(c, row, x + i * c->cols)));
                }
        free(w), free(x), free(bias), free(before), free(out), free(p.data);
}

static void every_shape(Rig *r) {
        static const uint32_t rows[] = {1, 3, 15, 33, 70}, n[] = {1, 2, 3, 7, 12, 20, 73}, cols[] = {1, 5, 31, 64, 515};
        static const Dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
        for (Precision p = PRECISION_F32; p <= PRECISION_INT8; p++)
                for (uint32_t i = 0; i < 5; i++)
                        for (uint32_t k = 0; k < 7; k++)
                                check(r, &(Case){p, types[(i + k) % 3], rows[i], cols[(i + k) % 5], n[k],
                                                 (Activation)((i + 2 * k) % 6), k % 2, (Update)(i % 3)});
        check(r, &(Case){PRECISION_INT8, DTYPE_F32, 400, 1100, 3, ACTIVATION_NONE, true, UPDATE_SET});
}

static void test_shapes(void **state) {
        on_every_rig(every_shape);
}

/* All rows at once, by one thread, is what every other way has to equal. */
static void invariant(Rig *r) {
        enum { ROWS = 300, COLS = 600, N = 131 };
        float *x = random_floats(N * COLS), *w = random_floats(ROWS * COLS);
        float *all = poisoned_floats(N * ROWS), *some = poisoned_floats(N * ROWS);
        Rig one;
        assert_true(rig_init(&one, r->isa, 1));
        for (Precision precision = PRECISION_F32; precision <= PRECISION_INT8; precision++) {
                Packed p = pack(r, precision, DTYPE_F32, w, ROWS, COLS);
                one.ops->linear(one.stream, all, &p, x, N, NULL, ACTIVATION_GELU, UPDATE_SET);
                rig_run(&one);
                for (uint32_t n = 1; n <= N; n += 1 + n / 8) {
                        r->ops->linear(r->stream, some, &p, x + (N - n) * COLS, n, NULL, ACTIVATION_GELU, UPDATE_SET);
                        rig_run(r);
                        assert_memory_equal(some, all + (N - n) * ROWS, n * ROWS * sizeof(float));
                }
                free(p.data);
        }
        rig_deinit(&one);
        free(x), free(w), free(all), free(some);
}

static void test_invariance(void **state) {
        on_every_rig(invariant);
}

/* Products of the same rows, one after another, give the bits of each by itself; and so does one more on the last's result. */
static void in_a_row(Rig *r) {
        enum { ROWS = 100, COLS = 200, N = 70, PRODUCTS = 5 };
        float *x = random_floats(N * COLS), *w = random_floats(ROWS * COLS), *bias = random_floats(ROWS);
        float *together = poisoned_floats(PRODUCTS * N * ROWS), *alone = poisoned_floats(PRODUCTS * N * ROWS);
        for (Precision precision = PRECISION_F32; precision <= PRECISION_INT8; precision++) {
                Packed p = pack(r, precision, DTYPE_F32, w, ROWS, COLS);
                for (int pass = 0; pass < 2; pass++)
                        for (int i = 0; i <= PRODUCTS; i++) {
                                float *out = (pass ? alone : together) + MIN(i, PRODUCTS - 1) * N * ROWS;
                                Packed some = {p.data, precision, ROWS - 17 * (uint32_t)i, COLS};
                                r->ops->linear(r->stream, out, &some, x, N, i % 2 ? bias : NULL, (Activation)(i % 3),
                                               i == PRODUCTS ? UPDATE_ADD : UPDATE_SET);
                                if (pass || i == PRODUCTS)
                                        rig_run(r);
                        }
                for (uint32_t i = 0; i < PRODUCTS; i++)
                        assert_memory_equal(together + i * N * ROWS, alone + i * N * ROWS,
                                            N * (ROWS - 17 * i) * sizeof(float));
                free(p.data);
        }
        free(x), free(w), free(bias), free(together), free(alone);
}

static void test_in_a_row(void **state) {
        on_every_rig(in_a_row);
}

/* The functions at values that a random product does not come to. */
static void activations(Rig *r) {
        static const float x[] = {0, -0.0f, 1e-4f, -1e-4f, 0.5f, -0.5f, 3, -3, 5, -5, 5.6f, -5.6f, 9, -9, 40, -40, 1e4f,
                                  -1e4f};
        enum { N = sizeof(x) / sizeof(x[0]) };
        float one = 1, out[N];
        Packed p = pack(r, PRECISION_F32, DTYPE_F32, &one, 1, 1);
        for (Activation a = ACTIVATION_NONE; a <= ACTIVATION_SILU; a++) {
                r->ops->linear(r->stream, out, &p, x, N, NULL, a, UPDATE_SET);
                rig_run(r);
                for (int i = 0; i < N; i++)
                        assert_close(out[i], activate(a, x[i]), 4e-7 * fmax(1, fabs(x[i])));
        }
        free(p.data);
}

static void test_activations(void **state) {
        on_every_rig(activations);
}

/* A model may hold anything: what is no number stays with its row and feature, and nothing else happens. */
static void no_numbers(Rig *r) {
        enum { ROWS = 40, COLS = 40, N = 14 };
        float *w = random_floats(ROWS * COLS), *x = random_floats(N * COLS), *out = poisoned_floats(N * ROWS);
        w[3 * COLS + 5] = NAN;
        w[4 * COLS + 5] = INFINITY;
        x[2 * COLS + 1] = NAN;
        x[9 * COLS + 1] = -INFINITY;
        for (Precision precision = PRECISION_F32; precision <= PRECISION_INT8; precision++) {
                Packed p = pack(r, precision, DTYPE_F32, w, ROWS, COLS);
                r->ops->linear(r->stream, out, &p, x, N, NULL, ACTIVATION_NONE, UPDATE_SET);
                rig_run(r);
                for (int i = 0; i < N; i++)
                        for (int j = 0; j < ROWS; j++)
                                if (i != 2 && i != 9 && j != 3 && j != 4)
                                        assert_true(isfinite(out[i * ROWS + j]));
                free(p.data);
        }
        free(w), free(x), free(out);
}

static void test_no_numbers(void **state) {
        on_every_rig(no_numbers);
}

static void sizes(Rig *r) {
        for (Precision p = PRECISION_F32; p <= PRECISION_INT8; p++) {
                assert_true(r->ops->packed_size(r->device, p, UINT32_MAX, 8) == SIZE_MAX);
                assert_true(r->ops->packed_size(r->device, p, 8, UINT32_MAX) == SIZE_MAX);
                assert_true(r->ops->packed_size(r->device, p, 384, 1536) >= 384 * 1536);
        }
}

static void test_sizes(void **state) {
        on_every_rig(sizes);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes),   cmocka_unit_test(test_invariance),
                                           cmocka_unit_test(test_in_a_row), cmocka_unit_test(test_activations),
                                           cmocka_unit_test(test_no_numbers), cmocka_unit_test(test_sizes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
