/* From the rows of a text to its one vector: a block makes a text, each thread every blockDim-th column from its own on,
 * rows in order. */
#include "cuda/kernel.h"

enum { POOL_THREADS = 256, POOL_WARPS = POOL_THREADS / WARP };

typedef struct PoolArgs {
        float *out;
        const float *x;
        Texts texts;
        uint32_t n_cols;
        Pooling pooling;
        bool normalise;
} PoolArgs;

DEVICE float pooled(const PoolArgs *a, uint32_t begin, uint32_t end, uint32_t c) {
        const float *x = a->x + c;
        if (a->pooling != POOLING_MEAN)
                return x[(size_t)(a->pooling == POOLING_LAST ? end - 1 : begin) * a->n_cols];
        float sum = x[(size_t)begin * a->n_cols];
        UNROLL4 for (uint32_t i = begin + 1; i < end; i++)
                sum += x[(size_t)i * a->n_cols];
        return sum * (1 / (float)(end - begin));
}

KERNEL(pool, PoolArgs, POOL_THREADS) {
        const uint32_t *starts = a.texts.starts;
        uint32_t begin = starts ? starts[blockIdx.x] : blockIdx.x, end = starts ? starts[blockIdx.x + 1] : begin + 1;
        float *out = a.out + (size_t)blockIdx.x * a.n_cols, squares = 0;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += POOL_THREADS) {
                float v = pooled(&a, begin, end, c);
                out[c] = v;
                squares = fmaf(v, v, squares);
        }
        float length = a.normalise ? sqrtf(block_sum(squares, (float *)shared_memory)) : 0;
        if (!(length > 0))
                return;
        for (uint32_t c = threadIdx.x; c < a.n_cols; c += POOL_THREADS)
                out[c] *= 1 / length;
}

HOST void cuda_pool(Stream *s, float *out, const float *x, const Texts *texts, uint32_t n_cols, Pooling pooling,
                    bool normalise) {
        PoolArgs args = {out, x, *texts, n_cols, pooling, normalise};
        StreamLaunch l = {(const void *)pool, {texts->n, 1, 1}, POOL_THREADS, POOL_WARPS * sizeof(float)};
        stream_launch(s, &l, &args);
}
