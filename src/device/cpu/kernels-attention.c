/* Attention of some rows of a text to its rows, compiled once for each instruction set; see CpuAttend in kernels.h.
 *
 * The lanes are queries: so keys and values are read as they lie, and the softmax, which goes over keys, needs neither the
 * sum nor the maximum of a vector's lanes. Three passes over the keys: scores [n_keys][queries], in tiles of MR keys, and
 * their maxima; what they weigh, in place, and its sums; and the products with the values, in tiles of MR queries.
 *
 * Order of summation: every sum, over head_dim or keys, is one ascending chain. */
#include <math.h>

#include "device/cpu/kernels.h"
#include "device/cpu/vec.h"
#include "util/macro.h"

#if defined(__AVX512F__)
enum { MR = 12 };
#else
enum { MR = 6 };
#endif
enum { NV = 2, NR = NV * LANES, AHEAD = 8 /* keys: values lie too far apart for the processor to foresee them */ };

typedef struct Panel {
        float *queries; /* [dim][NR], times a->scale; 0 in lanes without a query */
        float *weights; /* [n_keys][NR] */
        Vec most[NV], sum[NV];
} Panel;

static size_t scratch_size(uint32_t n_keys, uint32_t dim) {
        return ((size_t)n_keys + dim) * NR * sizeof(float);
}

/* Rows become columns: at each step, lanes that differ in one bit of their number change places with rows that do. */
INLINE void transpose(Vec x[LANES]) {
        UNROLL for (int bit = 1; bit < LANES; bit *= 2) {
                IntVec low = {0}, high = {0};
                UNROLL for (int i = 0; i < LANES; i++) {
                        low[i] = i & bit ? LANES + i - bit : i;
                        high[i] = i & bit ? LANES + i : i + bit;
                }
                UNROLL for (int i = 0; i < LANES; i++) {
                        if (i & bit)
                                continue;
                        Vec a = x[i], b = x[i + bit];
                        x[i] = __builtin_shuffle(a, b, low);
                        x[i + bit] = __builtin_shuffle(a, b, high);
                }
        }
}

INLINE void load_queries(const CpuAttend *a, const Panel *p, int nv) {
        for (int v = 0; v < nv; v++)
                for (uint32_t d = 0; d < a->dim; d += LANES) {
                        size_t n = MIN(a->dim - d, (uint32_t)LANES);
                        Vec x[LANES];
                        UNROLL for (uint32_t i = 0; i < LANES; i++) {
                                const float *q = a->q + (size_t)(v * LANES + i) * a->q_stride + d;
                                x[i] = v * LANES + i >= a->n ? splat(0) : n == LANES ? load(q) : load_part(q, n);
                        }
                        transpose(x);
                        UNROLL for (size_t i = 0; i < LANES; i++)
                                if (i < n)
                                        store(p->queries + (d + i) * NR + v * LANES, x[i] * a->scale);
                }
}

/* ---- scores ---- */

/* Lanes whose query comes before key `key` do not see it. */
INLINE Vec hide(const CpuAttend *a, uint32_t key, int v, Vec scores) {
        IntVec query;
        UNROLL for (int i = 0; i < LANES; i++)
                query[i] = v * LANES + i;
        return blend(query + (int32_t)a->first < (int32_t)key, splat(-INFINITY), scores);
}

/* ALiBi's bias: the farther away a key is, the less it counts. */
INLINE Vec take_bias(const CpuAttend *a, uint32_t key, int v, Vec scores) {
        Vec distance;
        UNROLL for (int i = 0; i < LANES; i++)
                distance[i] = (float)(v * LANES + i);
        distance += (float)a->first - (float)key;
        return scores - a->slope * vec_max(distance, -distance);
}

/* Of `mr` keys from `key` on. */
INLINE void score(const CpuAttend *a, Panel *p, int nv, int mr, uint32_t key) {
        Vec acc[MR][NV];
        size_t stride = a->k_stride;
        const float *k = a->k + key * stride, *q = p->queries;
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < nv; v++)
                        acc[r][v] = splat(0);
        for (uint32_t d = 0; d < a->dim; d++, k++, q += NR) {
                Vec x[NV];
                UNROLL for (int v = 0; v < nv; v++)
                        x[v] = load(q + v * LANES);
                UNROLL for (int r = 0; r < mr; r++)
                        UNROLL for (int v = 0; v < nv; v++)
                                acc[r][v] = mul_add(splat(k[(size_t)r * stride]), x[v], acc[r][v]);
        }
        bool hides = a->causal && key + (uint32_t)mr > a->first + 1;
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < nv; v++) {
                        if (a->slope > 0)
                                acc[r][v] = take_bias(a, key + (uint32_t)r, v, acc[r][v]);
                        if (hides)
                                acc[r][v] = hide(a, key + (uint32_t)r, v, acc[r][v]);
                        p->most[v] = vec_max(acc[r][v], p->most[v]);
                        store(p->weights + (key + (uint32_t)r) * NR + v * LANES, acc[r][v]);
                }
}

INLINE void make_scores(const CpuAttend *a, Panel *p, int nv) {
        uint32_t key = 0;
        for (; key + MR <= a->n_keys; key += MR)
                score(a, p, nv, MR, key);
        for (; key + 4 <= a->n_keys; key += 4)
                score(a, p, nv, 4, key);
        for (; key < a->n_keys; key++)
                score(a, p, nv, 1, key);
}

/* ---- weights ---- */

INLINE void weigh(const CpuAttend *a, Panel *p, int nv) {
        Vec sum[NV] = {0};
        for (uint32_t key = 0; key < a->n_keys; key++)
                UNROLL for (int v = 0; v < nv; v++) {
                        float *at = p->weights + key * NR + v * LANES;
                        Vec e = vec_exp(load(at) - p->most[v]);
                        store(at, e);
                        sum[v] += e;
                }
        UNROLL for (int v = 0; v < nv; v++)
                p->sum[v] = sum[v];
}

/* ---- values ---- */

/* How many of n values are in vector v. */
INLINE size_t in_vector(size_t n, size_t v) {
        return MIN(n - MIN(n, v * LANES), (size_t)LANES);
}

/* NV vectors of values, or the first n of them. */
INLINE void load_values(const float *at, size_t n, Vec x[NV]) {
        UNROLL for (size_t v = 0; v < NV; v++)
                x[v] = n >= NR ? load(at + v * LANES) : load_part(at + v * LANES, in_vector(n, v));
}

/* Of `mr` queries from `query` on, dimensions [d, d + n), n at most NR. */
INLINE void mix(const CpuAttend *a, const Panel *p, const float *by, int mr, uint32_t query, uint32_t d, size_t n) {
        Vec acc[MR][NV];
        const float *w = p->weights + query, *value = a->v + d;
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < NV; v++)
                        acc[r][v] = splat(0);
        for (uint32_t key = 0; key < a->n_keys; key++, w += NR, value += a->v_stride) {
                Vec x[NV];
                load_values(value, n, x);
                UNROLL for (int v = 0; v < NV; v++)
                        __builtin_prefetch(value + AHEAD * a->v_stride + v * LANES);
                UNROLL for (int r = 0; r < mr; r++)
                        UNROLL for (int v = 0; v < NV; v++)
                                acc[r][v] = mul_add(splat(w[r]), x[v], acc[r][v]);
        }
        UNROLL for (int r = 0; r < mr; r++) {
                float *out = a->out + (query + (uint32_t)r) * a->out_stride + d;
                UNROLL for (size_t v = 0; v < NV; v++) {
                        Vec y = acc[r][v] * by[query + (uint32_t)r];
                        if (n >= NR)
                                store(out + v * LANES, y);
                        else
                                store_part(out + v * LANES, y, in_vector(n, v));
                }
        }
}

INLINE void mix_all(const CpuAttend *a, const Panel *p, const float *by, uint32_t d, size_t n) {
        uint32_t query = 0;
        for (; query + MR <= a->n; query += MR)
                mix(a, p, by, MR, query, d, n);
        for (; query + 4 <= a->n; query += 4)
                mix(a, p, by, 4, query, d, n);
        for (; query < a->n; query++)
                mix(a, p, by, 1, query, d, n);
}

/* A function of its own: the variants of attend_as() share it. */
static __attribute__((noinline)) void mix_values(const CpuAttend *a, const Panel *p) {
        float by[NR];
        uint32_t d = 0;
        UNROLL for (int v = 0; v < NV; v++)
                store(by + v * LANES, 1.0f / p->sum[v]);
        for (; d + NR <= a->dim; d += NR)
                mix_all(a, p, by, d, NR);
        if (d < a->dim)
                mix_all(a, p, by, d, a->dim - d);
}

/* With `nv` vectors of queries. */
INLINE void attend_as(const CpuAttend *a, int nv) {
        Panel p = {.queries = a->scratch, .weights = a->scratch + (size_t)a->dim * NR};
        UNROLL for (int v = 0; v < NV; v++)
                p.most[v] = splat(-INFINITY);
        load_queries(a, &p, nv);
        make_scores(a, &p, nv);
        weigh(a, &p, nv);
        mix_values(a, &p);
}

static void attend(const CpuAttend *a) {
        if (a->n <= LANES)
                attend_as(a, 1);
        else
                attend_as(a, NV);
}

const CpuAttention PASTE(cpu_attention_, CPU_ISA) = {
        .panel = NR,
        .scratch_size = scratch_size,
        .attend = attend,
};
