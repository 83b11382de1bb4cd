/* The inner loops of every instruction set: formats against values made by ggml, half precision against its
 * definition, the exponential against libm. */
#include "cpu.h"
#include "device/cpu/half.h"
#include "device/cpu/kernels.h"

static const CpuKernels *next_set(size_t *i) {
        static const char *const names[] = {"generic", "avx2", "avx512"};
        while (*i < 3) {
                setenv("ZEROLLAMA_CPU_ISA", names[(*i)++], 1);
                const CpuKernels *k = cpu_kernels();
                if (strcmp(k->name, names[*i - 1]) == 0)
                        return k;
        }
        return NULL;
}

static size_t read_data(const char *name, void *to, size_t size) {
        FILE *f = fopen(test_data(name), "re");
        assert_non_null(f);
        size_t n = fread(to, 1, size, f);
        fclose(f);
        return n;
}

/* Two rows of as many values in each file; with weights of importance and without. */
static void check_ggml(const char *name, Dtype type, size_t cols) {
        static const char *const ways[] = {"im", "noim"};
        for (size_t way = 0; way < 2; way++) {
                char path[96], bytes[2048];
                float want[1024], got[1024];
                size_t row = dtype_row_size(type, cols), i = 0;
                snprintf(path, sizeof(path), "quants/ggml_quants/%s_%zu_%s_expected.bin", name, cols, ways[way]);
                assert_int_equal(read_data(path, bytes, sizeof(bytes)), 2 * row);
                snprintf(path, sizeof(path), "quants/ggml_quants_dequant/%s_%zu_%s.f32", name, cols, ways[way]);
                assert_int_equal(read_data(path, want, sizeof(want)), 2 * cols * sizeof(float));
                for (const CpuKernels *k; (k = next_set(&i));) {
                        memset(got, 0xff, sizeof(got));
                        k->dequantise(type, bytes, got, cols);
                        k->dequantise(type, bytes + row, got + cols, cols);
                        assert_memory_equal(got, want, 2 * cols * sizeof(float));
                }
        }
}

static void test_ggml(void **state) {
        skip_without("quants/ggml_quants_dequant/q8_0_64_im.f32");
        check_ggml("q8_0", DTYPE_Q8_0, 64);
        check_ggml("q4_0", DTYPE_Q4_0, 64);
        check_ggml("q4_1", DTYPE_Q4_1, 64);
        check_ggml("q5_0", DTYPE_Q5_0, 64);
        check_ggml("q5_1", DTYPE_Q5_1, 64);
        check_ggml("q2_k", DTYPE_Q2_K, 512);
        check_ggml("q3_k", DTYPE_Q3_K, 512);
        check_ggml("q4_k", DTYPE_Q4_K, 512);
        check_ggml("q5_k", DTYPE_Q5_K, 512);
        check_ggml("q6_k", DTYPE_Q6_K, 512);
        check_ggml("iq4_nl", DTYPE_IQ4_NL, 64);
}

/* All powers of two that a block of MXFP4 may have: 2^-128 and 2^-127 are no normal numbers. */
static void test_powers(void **state) {
        (void)state;
        size_t i = 0;
        for (const CpuKernels *k; (k = next_set(&i));)
                for (int e = 0; e < 256; e++) {
                        unsigned char block[17] = {(unsigned char)e, 0x21};
                        float x[32];
                        k->dequantise(DTYPE_MXFP4, block, x, 32);
                        assert_true(x[0] == ldexpf(1, e - 128) && x[16] == ldexpf(2, e - 128) && x[1] == 0);
                }
}

/* All 65536 halves, there and back. */
static void test_half(void **state) {
        size_t i = 0;
        uint16_t all[65536], back[65536];
        float *x = malloc(65536 * sizeof(float));
        for (uint32_t h = 0; h < 65536; h++)
                all[h] = (uint16_t)h;
        for (const CpuKernels *k; (k = next_set(&i));) {
                k->dequantise(DTYPE_F16, all, x, 65536);
                k->to_f16(x, back, 65536);
                for (uint32_t h = 0; h < 65536; h++) {
                        if ((h & 0x7c00) == 0x7c00) {
                                assert_true(h & 0x3ff ? isnan(x[h]) : isinf(x[h]) && (x[h] < 0) == (h >> 15));
                                assert_true(h & 0x3ff ? (back[h] & 0x7fff) > 0x7c00 : back[h] == h);
                        } else {
                                assert_true(x[h] == half_value((uint16_t)h));
                                assert_int_equal(back[h], h);
                        }
                }
        }
        free(x);
}

/* Between two neighbouring halves the nearer one, of equally near ones the even. */
static void test_to_half(void **state) {
        size_t i = 0;
        for (const CpuKernels *k; (k = next_set(&i));) {
                for (uint32_t h = 0; h < 0x7bff; h++) {
                        double low = half_value((uint16_t)h), high = half_value((uint16_t)(h + 1));
                        float middle = (float)((low + high) / 2);
                        float x[3] = {nextafterf(middle, 0), middle, nextafterf(middle, INFINITY)};
                        uint16_t got[3];
                        k->to_f16(x, got, 3);
                        assert_int_equal(got[0], h);
                        assert_int_equal(got[1], h % 2 ? h + 1 : h);
                        assert_int_equal(got[2], h + 1);
                }
                float big[4] = {65519.99f, 65520, 1e30f, -INFINITY};
                uint16_t got[4];
                k->to_f16(big, got, 4);
                assert_int_equal(got[0], 0x7bff);
                assert_int_equal(got[1], 0x7c00);
                assert_int_equal(got[2], 0x7c00);
                assert_int_equal(got[3], 0xfc00);
        }
}

static void test_exp(void **state) {
        enum { N = 20011 };
        size_t set = 0;
        float *x = malloc(N * sizeof(float)), *y = malloc(N * sizeof(float));
        for (const CpuKernels *k; (k = next_set(&set));) {
                double sum = 0;
                for (int i = 0; i < N; i++)
                        x[i] = (float)i / N * 192 - 104;
                k->exp_sum(y, x, N, 0, 1);
                for (int i = 0; i < N; i++)
                        assert_close(y[i], exp(x[i]), 2.4e-7 * exp(x[i]) + 1.5e-45);
                float got = k->exp_sum(y, x, N, 88, 0.5f);
                for (int i = 0; i < N; i++)
                        sum += exp(((double)x[i] - 88) / 2);
                assert_close(got, sum, 1e-5 * sum);
                float odd[5] = {-INFINITY, INFINITY, NAN, 89, -200};
                k->exp_sum(odd, odd, 5, 0, 1);
                assert_true(odd[0] == 0 && odd[1] == INFINITY && isnan(odd[2]) && odd[3] == INFINITY && odd[4] == 0);
        }
        free(x), free(y);
}

static void test_max(void **state) {
        size_t set = 0;
        for (const CpuKernels *k; (k = next_set(&set));) {
                for (size_t n = 1; n < 70; n++)
                        for (size_t at = 0; at < n; at++) {
                                float x[70];
                                for (size_t i = 0; i < n; i++)
                                        x[i] = i % 2 ? NAN : -5;
                                x[at] = -1;
                                assert_true(k->max(x, n) == -1);
                        }
                float nothing[2] = {NAN, -INFINITY};
                assert_true(k->max(nothing, 2) == -INFINITY);
                assert_true(k->max(nothing, 0) == -INFINITY);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ggml), cmocka_unit_test(test_powers), cmocka_unit_test(test_half), cmocka_unit_test(test_to_half),
                cmocka_unit_test(test_exp),  cmocka_unit_test(test_max),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
