/* Root-mean-square normalisation of rows. A block makes one row: thread t sums the squares of every blockDim-th value
 * from t on; warps and then the block add up in a fixed order. Short rows (the heads of qwen3) take one warp. */
#include "cuda/kernel.h"

enum { NORM_THREADS = 256, NORM_WARPS = 8, NORM_SHORT = 512 /* columns */ };

typedef struct RmsnormArgs {
        float *out;
        const float *x, *weight;
        uint32_t n_cols;
        float eps;
} RmsnormArgs;

KERNEL(rmsnorm, RmsnormArgs, NORM_THREADS) {
        float *partial = (float *)shared_memory, sum = 0;
        const float *x = a.x + (size_t)blockIdx.x * a.n_cols;
        float *out = a.out + (size_t)blockIdx.x * a.n_cols;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                sum = fmaf(x[c], x[c], sum);
        float scale = 1 / sqrtf(block_sum(sum, partial) / (float)a.n_cols + a.eps);
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                out[c] = x[c] * scale * a.weight[c];
}

HOST void cuda_rmsnorm(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                       float eps) {
        RmsnormArgs args = {out, x, weight, n_cols, eps};
        uint32_t threads = n_cols <= NORM_SHORT ? (uint32_t)WARP : (uint32_t)NORM_THREADS;
        StreamLaunch l = {(const void *)rmsnorm, {n_rows, 1, 1}, threads, NORM_WARPS * sizeof(float)};
        stream_launch(s, &l, &args, sizeof(args));
}
