/* Matrix products of every format against sums in double precision, and the promise that a row's result does not
 * depend on the other rows, the threads or the parts. */
#include "cpu.h"

static const Dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
enum { N_TYPES = 5 };

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
        r->ops->matmul(r->stream, out, &m, x, n, with_bias ? bias : NULL, accumulate);
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
        static const uint32_t plain_cols[] = {1, 5, 31, 64, 100}, block_cols[] = {32, 64, 96, 160, 1056};
        for (size_t t = 0; t < N_TYPES; t++)
                for (size_t i = 0; i < 5; i++)
                        for (size_t k = 0; k < 6; k++) {
                                uint32_t cols = dtype_info(types[t])->block == 1 ? plain_cols[(i + k) % 5]
                                                                                 : block_cols[(i + k) % 5];
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
        r->ops->matmul(r->stream, NULL, &(Matrix){w, DTYPE_F32, 2, 2}, NULL, 0, NULL, false);
        rig_run(r);
}

static void test_no_rows(void **state) {
        on_every_rig(no_rows);
}

enum { ROWS = 75, COLS = 2080, N = 17 };

static void multiply(Rig *r, const Matrix *m, const float *x, uint32_t n, float *out) {
        r->ops->matmul(r->stream, out, m, x, n, NULL, false);
        rig_run(r);
}

/* All rows at once, by one thread, is what every other way has to equal; n rows are done in n parts, up to the most. */
static void invariant(Rig *r) {
        float *x = random_floats(N * COLS), *all = poisoned_floats(N * ROWS), *some = poisoned_floats(N * ROWS);
        Rig one;
        assert_true(rig_init(&one, r->isa, 1));
        for (size_t t = 0; t < N_TYPES; t++) {
                Matrix m = {random_rows(types[t], ROWS, COLS), types[t], ROWS, COLS};
                multiply(&one, &m, x, N, all);
                cpu_stream_set_part_work(r->stream, ROWS * COLS);
                for (uint32_t n = 1; n <= N; n++) {
                        multiply(r, &m, x + (N - n) * COLS, n, some);
                        assert_memory_equal(some, all + (N - n) * ROWS, n * ROWS * sizeof(float));
                }
                free((void *)m.data);
        }
        rig_deinit(&one);
        free(x), free(all), free(some);
}

static void test_invariance(void **state) {
        on_every_rig(invariant);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_no_rows),
                                           cmocka_unit_test(test_invariance)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
