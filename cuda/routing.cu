/* Mixtures of experts: which expert each row goes to, and what they made brought together. Their products are in matmul.cu.
 *
 *   route_rows   a warp for each row: the greatest logits, one after another, and their weights
 *   route_sort   one block, a thread for each expert: counts its choices, finds where its places begin, and goes through
 *                all choices again in their order. It also lists the tiles of places that products are made in. */
#include <errno.h>
#include <float.h>

#include "cuda/product.h"

#define NOTHING_LEFT (-INFINITY) /* less than any logit, as they are compared */

enum { SORT_THREADS_MAX = 1024, COMBINE_THREADS = 256 };

typedef struct RouteArgs {
        Routing r;
        const float *logits;
        uint32_t normalise;
} RouteArgs;

/* The better of two experts: the greater logit, or the first. */
DEVICE bool is_better(float a, uint32_t expert_a, float b, uint32_t expert_b) {
        return a > b || (a == b && expert_a < expert_b);
}

/* All lanes get the best of what is left. */
DEVICE uint32_t best_expert(const float *logit, uint32_t n) {
        float most = NOTHING_LEFT;
        uint32_t best = 0xffffffff;
        for (uint32_t e = threadIdx.x; e < n; e += WARP)
                if (is_better(logit[e], e, most, best)) {
                        most = logit[e];
                        best = e;
                }
        UNROLL for (int by = WARP / 2; by > 0; by /= 2) {
                float other = __shfl_xor_sync(0xffffffff, most, by);
                uint32_t expert = (uint32_t)__shfl_xor_sync(0xffffffff, (int)best, by);
                if (is_better(other, expert, most, best)) {
                        most = other;
                        best = expert;
                }
        }
        return best;
}

KERNEL(route_rows, RouteArgs, WARP) {
        float *logit = (float *)shared_memory, *chosen = logit + a.r.n_experts, all = 0, sum = 0;
        const float *from = a.logits + (size_t)blockIdx.x * a.r.n_experts;
        size_t first = (size_t)blockIdx.x * a.r.n_used;
        for (uint32_t e = threadIdx.x; e < a.r.n_experts; e += WARP)
                logit[e] = from[e] >= -FLT_MAX ? from[e] : -FLT_MAX;
        __syncthreads();
        float most = logit[best_expert(logit, a.r.n_experts)];
        for (uint32_t e = threadIdx.x; e < a.r.n_experts; e += WARP)
                all += expf(logit[e] - most);
        all = warp_sum(all);
        for (uint32_t c = 0; c < a.r.n_used; c++) {
                uint32_t best = best_expert(logit, a.r.n_experts);
                float weight = expf(logit[best] - most);
                __syncthreads(); /* all have read it */
                sum += weight;
                if (threadIdx.x == 0) {
                        chosen[c] = weight;
                        a.r.room[first + c] = (int32_t)best;
                        logit[best] = NOTHING_LEFT;
                }
                __syncthreads();
        }
        for (uint32_t c = threadIdx.x; c < a.r.n_used; c += WARP)
                a.r.weight[first + c] = chosen[c] / (a.normalise ? sum : all);
}

typedef struct SortArgs {
        Routing r;
        uint32_t n, tile, n_tiles;
} SortArgs;

/* What comes before this thread's number, of all in the block; *ret_all gets the sum. */
DEVICE uint32_t sum_before(uint32_t n, uint32_t *shared, uint32_t *ret_all) {
        uint32_t sum = n;
        for (uint32_t by = 1; by < blockDim.x; by *= 2) {
                __syncthreads();
                shared[threadIdx.x] = sum;
                __syncthreads();
                if (threadIdx.x >= by)
                        sum += shared[threadIdx.x - by];
        }
        __syncthreads();
        shared[threadIdx.x] = sum;
        __syncthreads();
        *ret_all = shared[blockDim.x - 1];
        return sum - n;
}

KERNEL(route_sort, SortArgs, SORT_THREADS_MAX) {
        uint32_t *shared = (uint32_t *)shared_memory, e = threadIdx.x, n = 0, all;
        const int32_t *expert = a.r.room;
        int32_t *tiles = a.r.room + a.n;
        for (uint32_t i = 0; i < a.n; i++)
                n += (uint32_t)expert[i] == e;
        uint32_t place = sum_before(n, shared, &all), tile = sum_before(ceil_div(n, a.tile), shared, &all);
        if (e <= a.r.n_experts)
                a.r.starts[e] = (int32_t)place;
        for (uint32_t i = 0; i < n; i += a.tile, tile++) {
                tiles[2 * tile] = (int32_t)e;
                tiles[2 * tile + 1] = (int32_t)(place + i);
        }
        for (uint32_t i = all + e; i < a.n_tiles; i += blockDim.x)
                tiles[2 * i] = -1;
        for (uint32_t i = 0; i < a.n && n > 0; i++)
                if ((uint32_t)expert[i] == e) {
                        a.r.place[i] = (int32_t)place;
                        a.r.row[place++] = (int32_t)(i / a.r.n_used);
                }
}

HOST void cuda_route(Stream *s, const Routing *r, const float *logits, bool normalise) {
        RouteArgs route = {*r, logits, normalise};
        SortArgs sort = {*r, r->n_rows * r->n_used, experts_tile(r), experts_tiles(r)};
        uint32_t threads = ceil_div(r->n_experts + 1, WARP) * WARP;
        StreamLaunch rows = {(const void *)route_rows, {r->n_rows, 1, 1}, WARP, (r->n_experts + r->n_used) * sizeof(float)};
        StreamLaunch one = {(const void *)route_sort, {r->n_rows > 0, 1, 1}, threads, threads * sizeof(uint32_t)};
        if (threads > SORT_THREADS_MAX) {
                stream_fail(s, -ENOTSUP);
                return;
        }
        stream_launch(s, &rows, &route);
        stream_launch(s, &one, &sort);
}

typedef struct CombineArgs {
        float *x;
        const float *y;
        Routing r;
        uint32_t n_cols;
} CombineArgs;

KERNEL(combine, CombineArgs, COMBINE_THREADS) {
        const float *weight = a.r.weight + (size_t)blockIdx.x * a.r.n_used;
        const int32_t *place = a.r.place + (size_t)blockIdx.x * a.r.n_used;
        float *x = a.x + (size_t)blockIdx.x * a.n_cols;
        for (uint32_t k = threadIdx.x; k < a.n_cols; k += COMBINE_THREADS) {
                float sum = x[k];
                for (uint32_t c = 0; c < a.r.n_used; c++)
                        sum = fmaf(weight[c], a.y[(size_t)place[c] * a.n_cols + k], sum);
                x[k] = sum;
        }
}

HOST void cuda_combine(Stream *s, float *x, const float *y, const Routing *r, uint32_t n_cols) {
        CombineArgs args = {x, y, *r, n_cols};
        StreamLaunch l = {(const void *)combine, {r->n_rows, 1, 1}, COMBINE_THREADS, 0};
        stream_launch(s, &l, &args);
}
