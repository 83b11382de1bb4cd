/* Normalisation of rows, by their root mean square and by mean and variance. A block makes one row: thread t sums every
 * blockDim-th value from t on; warps and then the block add up in a fixed order. Short rows (the heads of qwen3) take one
 * warp. */
#include "cuda/kernel.h"

enum { NORM_THREADS = 256, NORM_WARPS = 8, NORM_SHORT = 512 /* columns */ };

typedef struct RmsnormArgs {
        float *out;
        const float *x, *weight;
        uint32_t n_cols;
        float eps;
        Update update;
} RmsnormArgs;

KERNEL(rmsnorm, RmsnormArgs, NORM_THREADS) {
        float *partial = (float *)shared_memory, sum = 0;
        const float *x = a.x + (size_t)blockIdx.x * a.n_cols;
        float *out = a.out + (size_t)blockIdx.x * a.n_cols;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                sum = fmaf(x[c], x[c], sum);
        float scale = 1 / sqrtf(block_sum(sum, partial) / (float)a.n_cols + a.eps);
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                out[c] = a.update == UPDATE_ADD ? out[c] + x[c] * scale * a.weight[c] : x[c] * scale * a.weight[c];
}

static StreamLaunch launch_norm(const void *kernel, uint32_t n_rows, uint32_t n_cols) {
        uint32_t threads = n_cols <= NORM_SHORT ? (uint32_t)WARP : (uint32_t)NORM_THREADS;
        StreamLaunch l = {kernel, {n_rows, 1, 1}, threads, NORM_WARPS * sizeof(float)};
        return l;
}

HOST void cuda_rmsnorm(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                       float eps, Update update) {
        RmsnormArgs args = {out, x, weight, n_cols, eps, update};
        StreamLaunch l = launch_norm((const void *)rmsnorm, n_rows, n_cols);
        stream_launch(s, &l, &args);
}

typedef struct LayernormArgs {
        float *out;
        const float *x, *weight, *bias;
        uint32_t n_cols;
        float eps;
} LayernormArgs;

KERNEL(layernorm, LayernormArgs, NORM_THREADS) {
        float *partial = (float *)shared_memory, sum = 0, squares = 0;
        const float *x = a.x + (size_t)blockIdx.x * a.n_cols;
        float *out = a.out + (size_t)blockIdx.x * a.n_cols;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                sum += x[c];
        float mean = block_sum(sum, partial) / (float)a.n_cols;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                squares = fmaf(x[c] - mean, x[c] - mean, squares);
        float scale = 1 / sqrtf(block_sum(squares, partial) / (float)a.n_cols + a.eps);
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += blockDim.x)
                out[c] = fmaf((x[c] - mean) * scale, a.weight[c], a.bias[c]);
}

HOST void cuda_layernorm(Stream *s, float *out, const float *x, const float *weight, const float *bias,
                         uint32_t n_rows, uint32_t n_cols, float eps) {
        LayernormArgs args = {out, x, weight, bias, n_cols, eps};
        StreamLaunch l = launch_norm((const void *)layernorm, n_rows, n_cols);
        stream_launch(s, &l, &args);
}
