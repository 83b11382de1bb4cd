/* What tensor cores can do with the instruction that the device's kernels use: nothing but mma.sync in bfloat16, with
 * eight sums for each warp that do not wait for each other. */
#include "cuda/kernel.h"
#include "bench/cuda/ceiling.h"

enum { CEILING_WARPS = 8, CEILING_THREADS = CEILING_WARPS * WARP, SUMS = 8 };

typedef struct CeilingArgs {
        float *out;
        uint32_t times;
} CeilingArgs;

KERNEL(ceiling, CeilingArgs, CEILING_THREADS) {
        float sum[SUMS][4], all = 0;
        uint32_t w[4] = {threadIdx.x, blockIdx.x, 1, 2}, x[2] = {threadIdx.x, 3};
        UNROLL for (int i = 0; i < SUMS; i++)
                UNROLL for (int j = 0; j < 4; j++)
                        sum[i][j] = 0;
        NO_UNROLL for (uint32_t k = 0; k < a.times; k++)
                UNROLL for (int i = 0; i < SUMS; i++)
                        mma(sum[i], w, x);
        UNROLL for (int i = 0; i < SUMS; i++)
                UNROLL for (int j = 0; j < 4; j++)
                        all += sum[i][j];
        a.out[blockIdx.x * CEILING_THREADS + threadIdx.x] = all;
}

HOST double ceiling_launch(Stream *s, float *out, uint32_t times) {
        CeilingArgs args = {out, times};
        uint32_t blocks = stream_processors(s) * 4, warps = blocks * CEILING_WARPS, sums = SUMS;
        StreamLaunch l = {(const void *)ceiling, {blocks, 1, 1}, CEILING_THREADS, 0};
        stream_launch(s, &l, &args);
        return 2.0 * 16 * 8 * 16 * sums * times * warps;
}
