/* Attention over the paged KV cache, on tensor cores, in one order for decoding and prompts.
 *
 * Which positions meet in which order depends on the positions and the cache's capacity alone:
 *
 *   split   SPLIT_MIN positions, or as many more as it takes for at most SPLITS_MAX of them to cover the capacity,
 *           cut at multiples of its size
 *   strand  of a split's runs of 16 positions every fourth, for one of the four warps: the online softmax (Milakov and
 *           Gimelshein 2018) goes through them in ascending order
 *
 * The strands of a split are merged in order, then the splits. A position that a row does not see has the weight 0,
 * which changes no bit of maximum, sum or output; so rows of one sequence can be made together, and it does not matter
 * which.
 *
 * A block makes a tile of 16 lines: line r * heads + h is row r of the tile and query head h of those that share a KV
 * head. How rows are dealt out to blocks is free: a step of few rows takes one row per tile and a block per split,
 * whose results meet in the stream's scratch and are merged by attention_merge; with enough rows to fill the device a
 * block goes through all splits itself, and its tile takes as many rows as there is place for. The rows of a tile may
 * be of different sequences: those of one are made together, one sequence after another.
 *
 * Scores: A = queries (16 lines x 16 dimensions), B = keys (16 dimensions x 8 positions). A lane has eight contiguous
 * dimensions of its line and of its position, as in matmul.cu. Output: A = weights (16 lines x 16 positions), which
 * lie in the lanes as the scores came out, B = values (16 positions x 8 columns), where column g of product j is
 * dimension g * WIDTH/8 + j, so that a lane reads contiguous dimensions here too. WIDTH is the head's size, rounded up
 * to 64, 128 or 256.
 *
 * Keys and values in F16 are float16 in the products, and queries and weights two terms of it; what is in F32, or lies
 * in any other way than Halves says, is two terms of bfloat16 on both sides. */
#include <errno.h>

#include "cuda/softmax.h"

enum {
        LINES = 16,
        ATTENTION_WARPS = 4,
        RUN = 16, /* positions */
        SPLIT_MIN = 512, SPLITS_MAX = 64,
        ATTENTION_THREADS = ATTENTION_WARPS * WARP,
};

typedef struct AttentionArgs {
        float *out;
        const float *q;
        KvLayer kv;
        Rows rows;
        Attending how;
        uint32_t tile_rows, tile_heads; /* tile_rows * tile_heads <= LINES */
        uint32_t split, n_splits;
        float *partial; /* [rows, heads, n_splits, 2 + head_dim]: maximum, sum, output; NULL: blocks do all splits */
        uint32_t *arrived; /* [tiles]: blocks that have written there; 0 before and after */
} AttentionArgs;

typedef struct AttentionShared {
        float unit[LINES];                        /* of queries in float16: what they are multiples of */
        float max[LINES], sum[LINES];             /* of the split so far */
        float total_max[LINES], total_sum[LINES]; /* of the splits before it */
        uint32_t last, unused[3];                 /* to come, of a tile's blocks; what follows is at a multiple of 16 */
} AttentionShared; /* then float out[LINES, WIDTH]; then the queries' terms: uint32_t [2, LINES, WIDTH / 2] */

/* What a kernel is made for. */
typedef struct Kind {
        int width;
        bool halves; /* see Halves */
} Kind;

/* The lines of one sequence in a tile. */
typedef struct Run {
        uint32_t first, n; /* rows */
        int32_t slot;
        uint32_t kv_head, head; /* the first query head */
        uint32_t begin, end;    /* positions that any of them sees */
} Run;

DEVICE uint32_t first_seen(const AttentionArgs *a, uint32_t end) {
        return a->how.window > 0 && end > a->how.window ? end - a->how.window : 0;
}

DEVICE const char *cached(const AttentionArgs *a, const void *cache, const Run *run, uint32_t position) {
        size_t at = cache_offset(&a->kv, run->slot, position, run->kv_head);
        return (const char *)cache + at * (a->kv.type == DTYPE_F16 ? 2 : 4);
}

/* Brings two results together: exactly the first where the second is of no positions. */
typedef struct Merge {
        float max, first, second; /* the factors */
} Merge;

DEVICE Merge merge_of(float max1, float max2) {
        Merge m;
        m.max = fmaxf(max1, max2);
        m.first = max2 == NOTHING ? 1 : expf(max1 - m.max);
        m.second = max2 == NOTHING ? 0 : expf(max2 - m.max);
        return m;
}

DEVICE float merged(const Merge *m, float first, float second) {
        return fmaf(second, m->second, first * m->first);
}

/* What is weighed besides is in the sum, and in nothing else. */
DEVICE float weighed(const AttentionArgs *a, size_t head, float max, float sum, float out) {
        if (!a->how.sinks)
                return out / sum;
        Merge m = merge_of(max, a->how.sinks[head % a->how.n_heads]);
        return out * m.first / merged(&m, sum, 1);
}

/* ---- lines ---- */

DEVICE bool line_is_used(const AttentionArgs *a, const Run *run, uint32_t line) {
        return line / a->tile_heads < run->n && line % a->tile_heads + run->head < a->how.n_heads / a->kv.n_kv_heads;
}

/* Where a line's values begin in q and out, counted in heads. */
DEVICE size_t line_head(const AttentionArgs *a, const Run *run, uint32_t line) {
        uint32_t per_kv = a->how.n_heads / a->kv.n_kv_heads;
        return (size_t)(run->first + line / a->tile_heads) * a->how.n_heads + run->kv_head * per_kv + run->head +
               line % a->tile_heads;
}

DEVICE uint32_t line_end(const AttentionArgs *a, const Run *run, uint32_t line) {
        return (uint32_t)a->rows.position[run->first + line / a->tile_heads] + 1;
}

/* ---- one strand ---- */

DEVICE void three_products(float acc[4], const uint32_t hi[4], const uint32_t lo[4], const uint32_t x_hi[2],
                           const uint32_t x_lo[2]) {
        mma(acc, hi, x_hi);
        mma(acc, hi, x_lo);
        mma(acc, lo, x_hi);
}

DEVICE Words query(const uint32_t *terms, uint32_t width, uint32_t line, uint32_t d) {
        return load_words(terms + (line * width + d) / 2);
}

/* score[tile][i]: of line g (i < 2) or g + 8 with position begin + 8 tile + 2t + i % 2. */
DEVICE void scores(int width, const AttentionArgs *a, const Run *run, const uint32_t *terms, uint32_t begin,
                   float score[2][4]) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        const uint32_t *lo_terms = terms + LINES * width / 2;
        bool aligned = a->kv.head_dim % 8 == 0;
        const char *key[2];
        UNROLL for (uint32_t tile = 0; tile < 2; tile++) {
                uint32_t position = begin + tile * 8 + g;
                key[tile] = position >= run->begin && position < run->end ? cached(a, a->kv.k, run, position) : NULL;
                UNROLL for (int i = 0; i < 4; i++)
                        score[tile][i] = 0;
        }
        NO_UNROLL for (uint32_t d = 0; d < (uint32_t)width; d += GROUP) {
                Words hi_a = query(terms, (uint32_t)width, g, d + t * EIGHT);
                Words hi_b = query(terms, (uint32_t)width, g + 8, d + t * EIGHT);
                Words lo_a = query(lo_terms, (uint32_t)width, g, d + t * EIGHT);
                Words lo_b = query(lo_terms, (uint32_t)width, g + 8, d + t * EIGHT);
                UNROLL for (int tile = 0; tile < 2; tile++) {
                        Eight k = eight_zero();
                        if (key[tile]) {
                                float v[EIGHT];
                                plain_values(a->kv.type, key[tile], d + t * EIGHT, a->kv.head_dim, aligned, v);
                                k = eight_of(v);
                        }
                        UNROLL for (int half = 0; half < 4; half += 2) {
                                uint32_t hi[4] = {hi_a.w[half], hi_b.w[half], hi_a.w[half + 1], hi_b.w[half + 1]};
                                uint32_t lo[4] = {lo_a.w[half], lo_b.w[half], lo_a.w[half + 1], lo_b.w[half + 1]};
                                three_products(score[tile], hi, lo, k.hi + half, k.lo + half);
                        }
                }
        }
}

/* Eight dimensions of four positions: 2t, 2t + 1, 2t + 8, 2t + 9 of the run. */
DEVICE void add_values(int width, const AttentionArgs *a, const Run *run, Strand *s, uint32_t begin,
                       float weight[2][4]) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4, hi[4], lo[4];
        bool aligned = a->kv.head_dim % 8 == 0;
        const char *value[4];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
                uint32_t position = begin + 2 * t + i % 2 + i / 2 * 8;
                value[i] = position >= run->begin && position < run->end ? cached(a, a->kv.v, run, position) : NULL;
        }
        UNROLL for (int i = 0; i < 4; i++) /* A: line g and g + 8 of tile 0, then of tile 1 */
                split_pair(weight[i / 2][i % 2 * 2], weight[i / 2][i % 2 * 2 + 1], &hi[i], &lo[i]);
        UNROLL for (int d = 0; d < width / 8; d += EIGHT) {
                float v[4][EIGHT];
                UNROLL for (int i = 0; i < 4; i++) {
                        UNROLL for (int j = 0; j < EIGHT; j++)
                                v[i][j] = 0;
                        if (value[i])
                                plain_values(a->kv.type, value[i], g * (uint32_t)width / 8 + (uint32_t)d,
                                             a->kv.head_dim, aligned, v[i]);
                }
                UNROLL for (int j = 0; j < EIGHT; j++) {
                        uint32_t x_hi[2], x_lo[2];
                        split_pair(v[0][j], v[1][j], &x_hi[0], &x_lo[0]);
                        split_pair(v[2][j], v[3][j], &x_hi[1], &x_lo[1]);
                        three_products(s->out[d + j], hi, lo, x_hi, x_lo);
                }
        }
}

/* ---- the same in the usual case ---- */

/* Keys and values in F16, heads of WIDTH, pages of whole runs: a run of positions is read at once, without a question
 * between the loads, and enters the products as it is. Queries and weights are two terms of float16. */
typedef struct Keys {
        Words of[2][HEAD_DIM_MAX / GROUP]; /* a position in each tile of eight: eight dimensions of each group */
} Keys;

typedef struct Halves {
        Keys keys;
        Words value[4][HEAD_DIM_MAX / 64]; /* of positions 2t, 2t + 1, 2t + 8, 2t + 9: a lane's dimensions */
} Halves;

/* How far from the run's begin the position is; one that nobody sees is taken to be some other, with the weight 0. */
DEVICE size_t seen_offset(const AttentionArgs *a, const Run *run, uint32_t begin, uint32_t i) {
        return (size_t)(CLAMP(begin + i, run->begin, run->end - 1) - begin) * a->kv.n_kv_heads * a->kv.head_dim;
}

DEVICE void fetch_keys(int width, const AttentionArgs *a, const Run *run, uint32_t begin, size_t base, Keys *keys) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        UNROLL for (uint32_t tile = 0; tile < 2; tile++) {
                const uint16_t *key = (const uint16_t *)a->kv.k + base + seen_offset(a, run, begin, tile * 8 + g);
                UNROLL for (int d = 0; d < width / GROUP; d++)
                        keys->of[tile][d] = load_words(key + (uint32_t)d * GROUP + t * EIGHT);
        }
}

DEVICE void fetch_values(int width, const AttentionArgs *a, const Run *run, uint32_t begin, size_t base, Halves *h) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        UNROLL for (uint32_t i = 0; i < 4; i++) {
                const uint16_t *value = (const uint16_t *)a->kv.v + base + seen_offset(a, run, begin, 2 * t + i % 2 + i / 2 * 8);
                UNROLL for (int d = 0; d < width / 64; d++)
                        h->value[i][d] = load_words(value + g * (uint32_t)width / 8 + (uint32_t)d * EIGHT);
        }
}

DEVICE void half_scores(int width, const AttentionShared *shared, const uint32_t *terms, const Keys *keys, float score[2][4]) {
        uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        const uint32_t *lo_terms = terms + LINES * width / 2;
        UNROLL for (int tile = 0; tile < 2; tile++)
                score[tile][0] = score[tile][1] = score[tile][2] = score[tile][3] = 0;
        UNROLL for (int d = 0; d < width / GROUP; d++) {
                uint32_t at = (uint32_t)d * GROUP + t * EIGHT;
                Words hi_a = query(terms, (uint32_t)width, g, at), hi_b = query(terms, (uint32_t)width, g + 8, at);
                Words lo_a = query(lo_terms, (uint32_t)width, g, at), lo_b = query(lo_terms, (uint32_t)width, g + 8, at);
                UNROLL for (int half = 0; half < 4; half += 2) {
                        uint32_t hi[4] = {hi_a.w[half], hi_b.w[half], hi_a.w[half + 1], hi_b.w[half + 1]};
                        uint32_t lo[4] = {lo_a.w[half], lo_b.w[half], lo_a.w[half + 1], lo_b.w[half + 1]};
                        UNROLL for (int tile = 0; tile < 2; tile++)
                                mma_half(score[tile], hi, keys->of[tile][d].w + half);
                        UNROLL for (int tile = 0; tile < 2; tile++)
                                mma_half(score[tile], lo, keys->of[tile][d].w + half);
                }
        }
        UNROLL for (int tile = 0; tile < 2; tile++)
                UNROLL for (uint32_t i = 0; i < 4; i++)
                        score[tile][i] *= shared->unit[g + i / 2 * 8];
}

DEVICE void add_half_values(int width, const Halves *h, float weight[2][4], Strand *s) {
        uint32_t hi[4], lo[4];
        UNROLL for (int i = 0; i < 4; i++) /* as in add_values() */
                split_halves(weight[i / 2][i % 2 * 2], weight[i / 2][i % 2 * 2 + 1], &hi[i], &lo[i]);
        UNROLL for (int j = 0; j < width / 8; j++) {
                uint32_t w[4], x[2];
                UNROLL for (int i = 0; i < 4; i++)
                        w[i] = h->value[i][j / EIGHT].w[j % EIGHT / 2];
                UNROLL for (int i = 0; i < 2; i++) /* the dimension of two positions */
                        x[i] = j % 2 ? w[2 * i] >> 16 | (w[2 * i + 1] & 0xffff0000) : (w[2 * i] & 0xffff) | w[2 * i + 1] << 16;
                mma_half(s->out[j], hi, x);
                mma_half(s->out[j], lo, x);
        }
}

/* Where a run's keys and values begin; a place that exists, beyond the last. */
DEVICE size_t run_base(const AttentionArgs *a, const Run *run, uint32_t p, uint32_t end) {
        return cache_offset(&a->kv, run->slot, MIN(p, end - 1) / RUN * RUN, run->kv_head);
}

/* Values, and the keys of the next run, are on their way while scores are made; so is where the run after that lies. Heads
 * of 256 have no registers for it. */
DEVICE void half_positions(int width, const AttentionArgs *a, const Run *run, const AttentionShared *shared,
                           const uint32_t *terms, uint32_t begin, uint32_t end, Strand *s) {
        enum { STEP = ATTENTION_WARPS * RUN };
        Halves h;
        Keys next;
        if (begin >= end)
                return;
        size_t base = run_base(a, run, begin, end), next_base = run_base(a, run, begin + STEP, end);
        if (width <= 128)
                fetch_keys(width, a, run, begin, base, &next);
        NO_UNROLL for (uint32_t p = begin; p < end; p += STEP) {
                float score[2][4];
                bool more = p + STEP < end;
                if (width > 128)
                        fetch_keys(width, a, run, p, base, &h.keys);
                else {
                        h.keys = next;
                        fetch_values(width, a, run, p, base, &h);
                        fetch_keys(width, a, run, more ? p + STEP : p, more ? next_base : base, &next);
                }
                size_t after = run_base(a, run, p + 2 * STEP, end);
                half_scores(width, shared, terms, &h.keys, score);
                weigh(width, 2, a->how.scale, a->how.cap, s, p, score);
                if (width > 128)
                        fetch_values(width, a, run, p, base, &h);
                add_half_values(width, &h, score, s);
                base = next_base;
                next_base = after;
        }
}

DEVICE void strand_run(Kind kind, const AttentionArgs *a, const Run *run, const AttentionShared *shared,
                       const uint32_t *terms, uint32_t split, Strand *s) {
        int width = kind.width;
        uint32_t g = threadIdx.x % WARP / 4, end = MIN(run->end, (split + 1) * a->split);
        UNROLL for (uint32_t half = 0; half < 2; half++) {
                uint32_t line = g + 8 * half;
                bool used = line_is_used(a, run, line);
                s->end[half] = used ? line_end(a, run, line) : 0;
                s->begin[half] = first_seen(a, s->end[half]);
                s->max[half] = NOTHING;
                s->sum[half] = 0;
        }
        UNROLL for (int j = 0; j < width / 8; j++)
                UNROLL for (int i = 0; i < 4; i++)
                        s->out[j][i] = 0;
        uint32_t begin = split * a->split + threadIdx.x / WARP * RUN;
        while (begin + RUN <= run->begin)
                begin += ATTENTION_WARPS * RUN;
        if (kind.halves) {
                half_positions(width, a, run, shared, terms, begin, end, s);
                return;
        }
        for (uint32_t p = begin; p < end; p += ATTENTION_WARPS * RUN) {
                float score[2][4];
                scores(width, a, run, terms, p, score);
                weigh(width, 2, a->how.scale, a->how.cap, s, p, score);
                add_values(width, a, run, s, p, score);
        }
}

/* ---- a tile ---- */

/* Rows from `first` on that are of one sequence, up to `limit`. */
DEVICE Run run_of(const AttentionArgs *a, uint32_t first, uint32_t limit) {
        uint32_t head_blocks = (a->how.n_heads / a->kv.n_kv_heads + a->tile_heads - 1) / a->tile_heads;
        Run r = {first, 0, a->rows.slot[first], blockIdx.y / head_blocks, blockIdx.y % head_blocks * a->tile_heads,
                 0xffffffff, 0};
        while (first + r.n < limit && a->rows.slot[first + r.n] == r.slot) {
                uint32_t end = (uint32_t)a->rows.position[first + r.n] + 1;
                r.begin = MIN(r.begin, first_seen(a, end));
                r.end = MAX(r.end, end);
                r.n++;
        }
        return r;
}

DEVICE void load_queries(int width, const AttentionArgs *a, const Run *run, uint32_t *terms) {
        for (uint32_t i = threadIdx.x; i < LINES * (uint32_t)width / 2; i += ATTENTION_THREADS) {
                uint32_t line = i / ((uint32_t)width / 2), d = i % ((uint32_t)width / 2) * 2;
                float low = 0, high = 0;
                if (line_is_used(a, run, line)) {
                        const float *q = a->q + line_head(a, run, line) * a->kv.head_dim;
                        low = d < a->kv.head_dim ? q[d] : 0;
                        high = d + 1 < a->kv.head_dim ? q[d + 1] : 0;
                }
                split_pair(low, high, &terms[i], &terms[LINES * (uint32_t)width / 2 + i]);
        }
}

/* A warp makes every fourth line. */
DEVICE void load_half_queries(uint32_t width, const AttentionArgs *a, const Run *run, AttentionShared *s, uint32_t *terms) {
        uint32_t lane = threadIdx.x % WARP;
        for (uint32_t line = threadIdx.x / WARP; line < LINES; line += ATTENTION_WARPS) {
                bool used = line_is_used(a, run, line);
                const float *q = a->q + (used ? line_head(a, run, line) * width : 0);
                float v[HEAD_DIM_MAX / WARP], most = 0;
                UNROLL for (uint32_t i = 0; i < width / WARP; i++) { /* pairs of neighbours */
                        v[i] = used ? q[i / 2 * 2 * WARP + lane * 2 + i % 2] : 0;
                        most = fmaxf(most, fabsf(v[i]));
                }
                int exponent = half_exponent(warp_max(most));
                float scale = ldexpf(1, exponent);
                UNROLL for (uint32_t i = 0; i < width / WARP; i += 2) {
                        uint32_t at = line * width / 2 + i / 2 * WARP + lane;
                        split_halves(v[i] * scale, v[i + 1] * scale, &terms[at], &terms[LINES * width / 2 + at]);
                }
                if (lane == 0)
                        s->unit[line] = ldexpf(1, -exponent);
        }
}

/* The warps add their strands to the split, one after another. */
DEVICE void merge_strands(int width, AttentionShared *s, float *out, const Strand *strand) {
        uint32_t warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
        for (uint32_t w = 0; w < ATTENTION_WARPS; w++) {
                if (w == warp)
                        for (uint32_t half = 0; half < 2; half++) {
                                uint32_t line = g + 8 * half;
                                Merge m = merge_of(s->max[line], strand->max[half]);
                                float sum = merged(&m, s->sum[line], strand->sum[half]);
                                UNROLL for (int j = 0; j < width / 8; j++)
                                        UNROLL for (uint32_t i = 0; i < 2; i++) {
                                                float *to = out + line * (uint32_t)width +
                                                            (2 * t + i) * (uint32_t)width / 8 + (uint32_t)j;
                                                *to = merged(&m, *to, strand->out[j][half * 2 + i]);
                                        }
                                __syncwarp(); /* all four lanes have read the line's maximum */
                                if (t == 0) {
                                        s->max[line] = m.max;
                                        s->sum[line] = sum;
                                }
                        }
                __syncthreads();
        }
}

DEVICE void write_partial(int width, const AttentionArgs *a, const Run *run, const AttentionShared *s,
                          const float *out, uint32_t split) {
        for (uint32_t line = 0; line < LINES; line++) {
                if (!line_is_used(a, run, line))
                        continue;
                float *to = a->partial + (line_head(a, run, line) * a->n_splits + split) * (2 + a->kv.head_dim);
                if (threadIdx.x == 0) {
                        to[0] = s->max[line];
                        to[1] = s->sum[line];
                }
                for (uint32_t d = threadIdx.x; d < a->kv.head_dim; d += ATTENTION_THREADS)
                        to[2 + d] = out[line * (uint32_t)width + d];
        }
}

/* Adds a split to the splits before it, whose output is where the result will be. */
DEVICE void merge_split(int width, const AttentionArgs *a, const Run *run, AttentionShared *s, const float *out) {
        for (uint32_t line = 0; line < LINES; line++) {
                if (!line_is_used(a, run, line))
                        continue;
                float *to = a->out + line_head(a, run, line) * a->kv.head_dim;
                Merge m = merge_of(s->total_max[line], s->max[line]);
                bool first = s->total_max[line] == NOTHING;
                for (uint32_t d = threadIdx.x; d < a->kv.head_dim; d += ATTENTION_THREADS)
                        to[d] = merged(&m, first ? 0 : to[d], out[line * (uint32_t)width + d]);
        }
        __syncthreads();
        if (threadIdx.x < LINES) {
                Merge m = merge_of(s->total_max[threadIdx.x], s->max[threadIdx.x]);
                s->total_max[threadIdx.x] = m.max;
                s->total_sum[threadIdx.x] = merged(&m, s->total_sum[threadIdx.x], s->sum[threadIdx.x]);
        }
        __syncthreads();
}

DEVICE void normalise(const AttentionArgs *a, const Run *run, const AttentionShared *s) {
        for (uint32_t line = 0; line < LINES; line++) {
                if (!line_is_used(a, run, line))
                        continue;
                size_t head = line_head(a, run, line);
                float *to = a->out + head * a->kv.head_dim;
                for (uint32_t d = threadIdx.x; d < a->kv.head_dim; d += ATTENTION_THREADS)
                        to[d] = weighed(a, head, s->total_max[line], s->total_sum[line], to[d]);
        }
}

DEVICE void one_split(Kind kind, const AttentionArgs *a, const Run *run, AttentionShared *s, uint32_t split) {
        int width = kind.width;
        float *out = (float *)(s + 1);
        const uint32_t *terms = (const uint32_t *)(out + LINES * width);
        Strand strand;
        for (uint32_t i = threadIdx.x; i < LINES * (uint32_t)width; i += ATTENTION_THREADS)
                out[i] = 0;
        if (threadIdx.x < LINES) {
                s->max[threadIdx.x] = NOTHING;
                s->sum[threadIdx.x] = 0;
        }
        __syncthreads();
        strand_run(kind, a, run, s, terms, split, &strand);
        merge_strands(width, s, out, &strand);
}

DEVICE void all_splits(Kind kind, const AttentionArgs *a, const Run *run, AttentionShared *s) {
        const float *out = (const float *)(s + 1);
        if (threadIdx.x < LINES) {
                s->total_max[threadIdx.x] = NOTHING;
                s->total_sum[threadIdx.x] = 0;
        }
        for (uint32_t split = run->begin / a->split; split * a->split < run->end; split++) {
                one_split(kind, a, run, s, split);
                merge_split(kind.width, a, run, s, out);
        }
        normalise(a, run, s);
        __syncthreads();
}

/* ---- splits that several blocks have made ---- */

DEVICE uint32_t split_count(const AttentionArgs *a, const Run *run) {
        return (run->end - 1) / a->split - run->begin / a->split + 1;
}

/* Whether the tile's other blocks have written what they made, and it can be seen. */
DEVICE bool is_last(const AttentionArgs *a, const Run *run, AttentionShared *s) {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
                uint32_t *arrived = &a->arrived[blockIdx.x * gridDim.y + blockIdx.y];
                s->last = atomicAdd(arrived, 1u) + 1 == split_count(a, run);
                if (s->last)
                        *arrived = 0;
        }
        __syncthreads();
        __threadfence();
        return s->last;
}

DEVICE void merge_partials(const AttentionArgs *a, const Run *run) {
        uint32_t dim = a->kv.head_dim;
        for (uint32_t e = threadIdx.x; e < a->tile_heads * dim; e += ATTENTION_THREADS) {
                uint32_t line = e / dim, d = e % dim;
                if (!line_is_used(a, run, line))
                        continue;
                size_t head = line_head(a, run, line);
                const float *partial = a->partial + head * a->n_splits * (2 + dim);
                float max = NOTHING, sum = 0, out = 0;
                UNROLL4 for (uint32_t i = run->begin / a->split; i < ceil_div(run->end, a->split); i++) {
                        const float *p = partial + (size_t)i * (2 + dim);
                        Merge m = merge_of(max, p[0]);
                        out = merged(&m, out, p[2 + d]);
                        sum = merged(&m, sum, p[1]);
                        max = m.max;
                }
                a->out[head * dim + d] = weighed(a, head, max, sum, out);
        }
}

/* The block's split of a row; the last block to come merges all. */
DEVICE void split_of_row(Kind kind, const AttentionArgs *a, const Run *run, AttentionShared *s) {
        if (blockIdx.z * a->split >= run->end || (blockIdx.z + 1) * a->split <= run->begin)
                return;
        one_split(kind, a, run, s, blockIdx.z);
        write_partial(kind.width, a, run, s, (const float *)(s + 1), blockIdx.z);
        if (is_last(a, run, s))
                merge_partials(a, run);
}

DEVICE void attention_tile(Kind kind, const AttentionArgs *a) {
        AttentionShared *s = (AttentionShared *)shared_memory;
        float *out = (float *)(s + 1);
        uint32_t *terms = (uint32_t *)(out + LINES * kind.width);
        uint32_t first = blockIdx.x * a->tile_rows, limit = MIN(first + a->tile_rows, a->rows.n);
        while (first < limit) {
                Run run = run_of(a, first, limit);
                if (kind.halves)
                        load_half_queries((uint32_t)kind.width, a, &run, s, terms);
                else
                        load_queries(kind.width, a, &run, terms);
                __syncthreads();
                if (!a->partial)
                        all_splits(kind, a, &run, s);
                else
                        split_of_row(kind, a, &run, s);
                first += run.n;
        }
}

#define ATTENTION(name, bounds, width, halves)          \
        KERNEL_AFTER(name, AttentionArgs, bounds, (void)) { \
                Kind kind = {width, halves};            \
                attention_tile(kind, &a);               \
        }
ATTENTION(attention_64, (ATTENTION_THREADS), 64, false)
ATTENTION(attention_128, (ATTENTION_THREADS), 128, false)
ATTENTION(attention_256, (ATTENTION_THREADS), 256, false)
ATTENTION(attention_64_half, (ATTENTION_THREADS, 3), 64, true)
ATTENTION(attention_128_half, (ATTENTION_THREADS, 2), 128, true)
ATTENTION(attention_256_half, (ATTENTION_THREADS), 256, true)

/* ---- launching ---- */

static uint32_t split_size(const KvLayer *kv) {
        uint64_t each = ((uint64_t)kv->max_pages * kv->page_size + SPLITS_MAX - 1) / SPLITS_MAX;
        return each <= SPLIT_MIN ? (uint32_t)SPLIT_MIN : (uint32_t)((each + 63) / 64 * 64);
}

static const void *find_attention(const KvLayer *kv, uint32_t width) {
        bool halves = kv->type == DTYPE_F16 && kv->head_dim == width && kv->page_size % RUN == 0 &&
                      (uintptr_t)kv->k % 16 == 0 && (uintptr_t)kv->v % 16 == 0;
        switch (width) {
        case 64:
                return halves ? (const void *)attention_64_half : (const void *)attention_64;
        case 128:
                return halves ? (const void *)attention_128_half : (const void *)attention_128;
        default:
                return halves ? (const void *)attention_256_half : (const void *)attention_256;
        }
}

static void launch_attention(Stream *s, AttentionArgs *a, uint32_t columns) {
        uint32_t width = a->kv.head_dim <= 64 ? 64 : a->kv.head_dim <= 128 ? 128 : 256;
        StreamLaunch l = {find_attention(&a->kv, width),
                          {ceil_div(a->rows.n, a->tile_rows), columns, a->partial ? a->n_splits : 1},
                          ATTENTION_THREADS,
                          sizeof(AttentionShared) + LINES * width * 2 * sizeof(float)};
        stream_launch(s, &l, a);
}

HOST void cuda_attention(Stream *s, float *out, const float *q, const KvLayer *kv, const Rows *rows, const Attending *how) {
        uint32_t per_kv = how->n_heads / kv->n_kv_heads, heads = MIN(per_kv, (uint32_t)LINES), split = split_size(kv);
        AttentionArgs a = {out, q, *kv, *rows, *how, 1, heads, split,
                           ceil_div(kv->max_pages * kv->page_size, split), NULL, NULL};
        uint32_t columns = kv->n_kv_heads * ceil_div(per_kv, heads), enough = 2 * stream_processors(s);
        size_t partial = (size_t)rows->n * how->n_heads * a.n_splits * (2 + kv->head_dim) * sizeof(float);
        if (kv->head_dim > HEAD_DIM_MAX) {
                stream_fail(s, -ENOTSUP);
                return;
        }
        bool few = (uint64_t)rows->n * columns < MIN(2 * (uint64_t)enough, (uint64_t)STREAM_TILES);
        if (few && a.n_splits > 1 && partial <= STREAM_SCRATCH) {
                a.partial = (float *)stream_scratch(s)->any;
                a.arrived = stream_scratch(s)->arrived;
        } else if (ceil_div(rows->n, LINES / heads) * (uint64_t)columns >= enough)
                a.tile_rows = LINES / heads;
        launch_attention(s, &a, columns);
}
