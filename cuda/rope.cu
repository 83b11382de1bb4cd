/* Rotary position embedding, and what stands before and behind it: heads are normalised, keys and values go into the
 * cache. A warp makes one head of one row, a KV head with its values.
 *
 * As on the CPU, angles are made in double precision, and the cosines and sines of a step's rows are made once, by a kernel of their own, and found again by queries and keys of every layer. They are
 * [n, 2, n_rot/2] in the stream's scratch; more rows than fit there are rotated slice by slice. */
#include "cuda/kernel.h"

enum { ROPE_WARPS = 4, ROPE_THREADS = ROPE_WARPS * WARP };

typedef struct TurnsArgs {
        float *table;
        const int32_t *position;
        Rope rope;
} TurnsArgs;

KERNEL(turns, TurnsArgs, ROPE_THREADS) {
        uint32_t pairs = a.rope.n_rot / 2;
        float *row = a.table + (size_t)blockIdx.x * pairs * 2;
        double magnitude = a.rope.magnitude > 0 ? a.rope.magnitude : 1;
        for (uint32_t i = threadIdx.x; i < pairs; i += blockDim.x) {
                double frequency = a.rope.scale * pow((double)a.rope.base, -2.0 * i / a.rope.n_rot), angle;
                angle = a.position[blockIdx.x] * (a.rope.factors ? frequency / a.rope.factors[i] : frequency);
                row[i] = (float)(magnitude * cos(angle));
                row[pairs + i] = (float)(magnitude * sin(angle));
        }
}

typedef struct RopeArgs {
        Qkv heads;
        const float *turns;
        const int32_t *slot, *position;
        KvLayer kv; /* kv.k NULL: nothing is stored */
        uint32_t n_rot;
        RopeStyle style;
} RopeArgs;

/* 1, or by what the root mean square of a warp's head is divided. */
DEVICE float head_scale(const float *x, const float *norm, uint32_t dim, float eps) {
        float sum = 0;
        if (!norm)
                return 1;
        for (uint32_t i = threadIdx.x % WARP; i < dim; i += WARP)
                sum = fmaf(x[i], x[i], sum);
        return 1 / sqrtf(warp_sum(sum) / (float)dim + eps);
}

/* Into the cache, or back to where it came from. */
DEVICE void put_value(const RopeArgs *a, bool stored, void *cache, size_t at, float *x, uint32_t i, float v) {
        if (!stored)
                x[i] = v;
        else if (a->kv.type == DTYPE_F16)
                ((uint16_t *)cache)[at + i] = to_half(v);
        else
                ((float *)cache)[at + i] = v;
}

KERNEL(rope_heads, RopeArgs, ROPE_THREADS) {
        const Qkv *h = &a.heads;
        uint32_t row = blockIdx.x, head = blockIdx.y * ROPE_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
        bool is_key = head >= h->n_heads, stored = is_key && a.kv.k;
        uint32_t kv_head = head - h->n_heads, dim = h->head_dim, pairs = a.n_rot / 2;
        if (head >= h->n_heads + h->n_kv_heads)
                return;
        size_t from = (is_key ? (size_t)row * h->n_kv_heads + kv_head : (size_t)row * h->n_heads + head) * dim;
        size_t at = stored ? cache_offset(&a.kv, a.slot[row], (uint32_t)a.position[row], kv_head) : 0;
        float *x = (is_key ? h->k : h->q) + from;
        const float *norm = is_key ? h->k_norm : h->q_norm, *cosines = a.turns + (size_t)row * pairs * 2;
        float scale = head_scale(x, norm, dim, h->eps);
        for (uint32_t i = lane; i < pairs; i += WARP) {
                uint32_t p = a.style == ROPE_NORMAL ? 2 * i : i, q = a.style == ROPE_NORMAL ? 2 * i + 1 : i + pairs;
                float u = norm ? x[p] * scale * norm[p] : x[p], v = norm ? x[q] * scale * norm[q] : x[q];
                float cosine = cosines[i], sine = cosines[pairs + i];
                put_value(&a, stored, a.kv.k, at, x, p, u * cosine - v * sine);
                put_value(&a, stored, a.kv.k, at, x, q, u * sine + v * cosine);
        }
        for (uint32_t i = 2 * pairs + lane; i < dim; i += WARP)
                put_value(&a, stored, a.kv.k, at, x, i, norm ? x[i] * scale * norm[i] : x[i]);
        for (uint32_t i = lane; stored && i < dim; i += WARP)
                put_value(&a, stored, a.kv.v, at, NULL, i, h->v[from + i]);
}

static bool same_turns(const StreamTurns *t, const int32_t *position, uint32_t n, const Rope *rope) {
        return t->position == position && t->n == n && t->rope.n_rot == rope->n_rot && t->rope.base == rope->base &&
               t->rope.scale == rope->scale && t->rope.magnitude == rope->magnitude && t->rope.factors == rope->factors;
}

static void make_turns(Stream *s, const int32_t *position, uint32_t n, const Rope *rope) {
        StreamTurns *kept = stream_turns(s), wanted = {position, n, *rope};
        if (same_turns(kept, position, n, rope))
                return;
        TurnsArgs args = {stream_scratch(s)->turns, position, *rope};
        StreamLaunch l = {(const void *)turns, {n, 1, 1}, ROPE_THREADS, 0};
        stream_launch(s, &l, &args);
        *kept = wanted;
}

/* Rows [first, first + n), by the turns that are in the table. */
static void launch_heads(Stream *s, const Qkv *heads, const Rows *rows, uint32_t first, uint32_t n, const Rope *rope,
                         const KvLayer *kv) {
        size_t q = (size_t)first * heads->n_heads * heads->head_dim, k = (size_t)first * heads->n_kv_heads * heads->head_dim;
        RopeArgs args = {.heads = *heads, .turns = stream_scratch(s)->turns, .n_rot = rope->n_rot, .style = rope->style};
        StreamLaunch l = {(const void *)rope_heads,
                          {n, ceil_div(heads->n_heads + heads->n_kv_heads, ROPE_WARPS), 1}, ROPE_THREADS, 0};
        args.heads.q += q;
        args.heads.k += k;
        if (kv) {
                args.heads.v += k;
                args.kv = *kv;
                args.slot = rows->slot + first;
                args.position = rows->position + first;
        }
        stream_launch(s, &l, &args);
}

HOST void cuda_rope(Stream *s, const Qkv *heads, const Rows *rows, const Rope *rope, const KvLayer *kv) {
        uint32_t each = MAX(rope->n_rot / 2 * 2, 1u), most = (uint32_t)(STREAM_TURNS / sizeof(float) / each);
        for (uint32_t i = 0; i < rows->n; i += most) {
                uint32_t n = MIN(most, rows->n - i);
                if (rope->n_rot > 0)
                        make_turns(s, rows->position + i, n, rope);
                launch_heads(s, heads, rows, i, n, rope, kv);
        }
}
