/* The number formats: sizes as the published block layouts give them, names as ggml gives them. */
#include "unit.h"
#include "device/dtype.h"

static void test_info(void **state) {
        (void)state;
        assert_string_equal(dtype_info(DTYPE_F32)->name, "F32");
        assert_int_equal(dtype_info(DTYPE_Q8_0)->block, 32);
        assert_int_equal(dtype_info(DTYPE_Q8_0)->block_size, 2 + 32);
        assert_int_equal(dtype_info(DTYPE_Q4_0)->block_size, 2 + 16);
        assert_int_equal(dtype_info(DTYPE_Q4_1)->block_size, 2 * 2 + 16);
        assert_int_equal(dtype_info(DTYPE_Q5_0)->block_size, 2 + 4 + 16);
        assert_int_equal(dtype_info(DTYPE_Q5_1)->block_size, 2 * 2 + 4 + 16);
        assert_int_equal(dtype_info(DTYPE_Q2_K)->block_size, 16 + 64 + 2 * 2);
        assert_int_equal(dtype_info(DTYPE_Q3_K)->block_size, 32 + 64 + 12 + 2);
        assert_int_equal(dtype_info(DTYPE_Q4_K)->block_size, 2 * 2 + 12 + 128);
        assert_int_equal(dtype_info(DTYPE_Q5_K)->block_size, 2 * 2 + 12 + 32 + 128);
        assert_int_equal(dtype_info(DTYPE_Q6_K)->block_size, 128 + 64 + 16 + 2);
        assert_int_equal(dtype_info(DTYPE_IQ4_NL)->block_size, 2 + 16);
        assert_int_equal(dtype_info(DTYPE_IQ4_XS)->block_size, 2 * 2 + 4 + 128);
        assert_int_equal(dtype_info(DTYPE_MXFP4)->block_size, 1 + 16);
        assert_null(dtype_info(16));
        assert_null(dtype_info(4));
        assert_null(dtype_info(1000));
        assert_null(dtype_info(UINT32_MAX));
}

static void test_name(void **state) {
        (void)state;
        assert_string_equal(dtype_name(12), "Q4_K");
        assert_string_equal(dtype_name(14), "Q6_K");
        assert_string_equal(dtype_name(20), "IQ4_NL");
        assert_string_equal(dtype_name(DTYPE_BF16), "BF16");
        assert_string_equal(dtype_name(4), "unknown");
        assert_string_equal(dtype_name(UINT32_MAX), "unknown");
}

static void test_row_size(void **state) {
        (void)state;
        assert_int_equal(dtype_row_size(DTYPE_F32, 7), 28);
        assert_int_equal(dtype_row_size(DTYPE_F16, 7), 14);
        assert_int_equal(dtype_row_size(DTYPE_BF16, 3), 6);
        assert_int_equal(dtype_row_size(DTYPE_Q8_0, 64), 68);
        assert_int_equal(dtype_row_size(DTYPE_Q4_0, 4096), 2304);
        assert_int_equal(dtype_row_size(DTYPE_Q8_0, 33), 0);
        assert_int_equal(dtype_row_size(DTYPE_F32, UINT64_MAX), 0);
        assert_int_equal(dtype_row_size(DTYPE_Q8_0, UINT64_MAX & ~UINT64_C(31)), 0);
        assert_int_equal(dtype_row_size((Dtype)16, 256), 0);
        assert_int_equal(dtype_row_size(DTYPE_Q4_K, 512), 288);
        assert_int_equal(dtype_row_size(DTYPE_Q6_K, 128), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_info), cmocka_unit_test(test_name), cmocka_unit_test(test_row_size)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
