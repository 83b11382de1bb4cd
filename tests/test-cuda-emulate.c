/* What the emulated GPU says about kernels that would not do on a real one; and how it adds. */
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/kernel.h"
#include "unit.h"

typedef struct Args {
        float *out;
        uint32_t at;
} Args;

static const uint32_t one_block[3] = {1, 1, 1};

/* Runs in a child, which aborts; its message goes nowhere. */
static void assert_aborts(EmulatedKernel *kernel, const uint32_t grid[static 3], uint32_t block, size_t shared, const Args *args) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
                assert_non_null(freopen("/dev/null", "w", stderr));
                signal(SIGABRT, SIG_DFL); /* not cmocka's, nor a sanitizer's */
                emulate_launch(kernel, grid, block, shared, args);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

KERNEL(nothing, Args, 64) {
        (void)a;
}

static void test_grids(void **state) {
        emulate_launch(nothing, one_block, 64, STREAM_SHARED_MAX, &(Args){0});
        assert_aborts(nothing, one_block, 65, 0, &(Args){0}); /* than it is compiled for */
        assert_aborts(nothing, one_block, 64, STREAM_SHARED_MAX + 1, &(Args){0});
        assert_aborts(nothing, (const uint32_t[]){1, 65536, 1}, 1, 0, &(Args){0});
        assert_aborts(nothing, (const uint32_t[]){1, 1, 65536}, 1, 0, &(Args){0});
        assert_aborts(nothing, (const uint32_t[]){1u << 31, 1, 1}, 1, 0, &(Args){0});
}

/* Words at byte a.at of shared memory. */
KERNEL(read_words, Args, 1) {
        a.out[0] = (float)load_words(shared_memory + a.at).w[0];
}

KERNEL(write_words, Args, 1) {
        uint32_t w[4] = {0};
        store_words(shared_memory + a.at, w);
}

KERNEL(copy_words, Args, 1) {
        copy_async(shared_memory, shared_memory + a.at);
}

static void test_alignment(void **state) {
        EmulatedKernel *const kernels[] = {read_words, write_words, copy_words};
        float out;
        for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
                emulate_launch(kernels[i], one_block, 1, 64, &(Args){&out, 16});
                for (uint32_t at = 4; at < 16; at += 4)
                        assert_aborts(kernels[i], one_block, 1, 64, &(Args){&out, at});
        }
}

/* From lane a.at on there is a barrier of the warp, before it a shuffle. */
KERNEL(divided, Args, WARP) {
        float v = 1;
        if (threadIdx.x < a.at)
                v = __shfl_xor_sync(0xffffffff, v, 1);
        else
                __syncwarp();
        a.out[0] = v;
}

/* Lanes from a.at on have ended. */
KERNEL(deserted, Args, WARP) {
        if (threadIdx.x < a.at)
                a.out[0] = warp_sum(1);
}

static void test_divergence(void **state) {
        float out = 0;
        emulate_launch(divided, one_block, WARP, 0, &(Args){&out, WARP});
        emulate_launch(divided, one_block, WARP, 0, &(Args){&out, 0});
        assert_aborts(divided, one_block, WARP, 0, &(Args){&out, 5});
        emulate_launch(deserted, one_block, WARP, 0, &(Args){&out, WARP});
        assert_true(out == WARP);
        assert_aborts(deserted, one_block, WARP, 0, &(Args){&out, 31});
}

/* The last block to run is the first in one grid and the last in the next. */
KERNEL(remember, Args, 1) {
        a.out[0] = (float)(blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z);
}

static void test_order(void **state) {
        float last[2];
        for (int i = 0; i < 2; i++)
                emulate_launch(remember, (const uint32_t[]){2, 3, 4}, 1, 0, &(Args){&last[i], 0});
        assert_true(last[0] + last[1] == 321);
        assert_true(last[0] * last[1] == 0);
}

/* *out + 2^-a.at, twice: as two products of one sum. */
KERNEL(add_small, Args, WARP) {
        float d[4] = {a.out[0], 0, 0, 0};
        uint32_t ones = bfloat_pair(1, 0), x[4] = {ones, ones, ones, ones};
        uint32_t small = threadIdx.x < 1 ? bfloat_pair(ldexpf(1, -(int)a.at), 0) : 0, y[2] = {small, small};
        mma(d, x, y);
        if (threadIdx.x == 0)
                a.out[0] = d[0];
}

static float added(float start, uint32_t exponent) {
        emulate_launch(add_small, one_block, WARP, 0, &(Args){&start, exponent});
        return start;
}

/* 25 bits below the greatest exponent are kept while adding, and then those of a float32, cut off. */
static void test_sums(void **state) {
        assert_true(added(1, 24) == 1 + 0x1p-23f); /* one by one both would be rounded away */
        assert_true(added(1, 25) == 1);            /* 2^-24 of the sum is cut off, not rounded */
        assert_true(added(-1, 26) == -1);
        assert_true(added(-1, 25) == -1 + 0x1p-24f);
        assert_true(added(1 + 0x1p-23f, 25) == 1 + 0x1p-23f); /* to nearest even it would be more */
        assert_true(added(0, 100) == 0x1p-99f);
        assert_true(isinf(added(INFINITY, 1)) && isnan(added(NAN, 1)));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grids),      cmocka_unit_test(test_alignment), cmocka_unit_test(test_divergence),
                cmocka_unit_test(test_order), cmocka_unit_test(test_sums),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
