/* Matrix products of weights in any format with float32 activations.
 *
 * One order of summation for every number of rows. The columns are cut into PARTS equal parts of whole groups of 32. A
 * part is summed from 0, group by group, each by two products of 16 columns; then the parts are added up in order,
 * then the bias and what was there before. Which columns of a group meet in which product, and in which order the
 * terms do, is fixed too (lane_terms()). So both kernels below give a row the same bits, whatever else is in the step.
 * This is why cuBLASLt is not used: its algorithms for few and for many rows sum in different orders.
 *
 * Few rows (decoding): bound by reading the weights. A block makes 16 features for 8 to 32 rows; each of its PARTS
 * warps sums one part, so that many loads are under way, and the parts meet in shared memory.
 *
 * Many rows (prompts, large batches): a block makes 64 features for 64 rows; the activations of a group are split into
 * terms once, in shared memory, while those of the next are on their way. Every warp goes through all parts.
 *
 * Fragments: weights are A (16 features x 16 columns), activations B (16 columns x 8 rows). Lane 4g + t has, of a group
 * of 32 columns, those from 8t to 8t + 7 of feature g, of feature g + 8, and of row g: contiguous in memory. The first
 * product takes the first four of each lane, the second the last four. */
#include "cuda/kernel.h"

enum {
        PARTS = 16,
        TILE_ROWS = 16, /* features of a product */
        TILE_N = 8,     /* rows of a product */
        FEW_THREADS = PARTS * WARP,
        FEW_MAX = 32, /* rows */
        MANY_WARPS_ROWS = 4, MANY_WARPS_N = 2, MANY_TILES = 4,
        MANY_ROWS = MANY_WARPS_ROWS * TILE_ROWS, MANY_N = MANY_WARPS_N * MANY_TILES * TILE_N,
        MANY_THREADS = MANY_WARPS_ROWS * MANY_WARPS_N * WARP,
};

/* Products of the same rows, asked for one after another (queries, keys and values; gate and up), are one launch: what
 * each of them makes is the same, and the small ones find the GPU at work. */
enum { PRODUCTS = 3 };

typedef struct Product {
        float *out;
        const void *w;
        const float *bias;
        uint32_t rows, end; /* the first block that is not its own */
} Product;

typedef struct ProductsArgs {
        Product products[PRODUCTS];
        const float *x;
        uint32_t n_products, cols, n;
        bool accumulate;
} ProductsArgs;

/* One of them, as its blocks see it. */
typedef struct MatmulArgs {
        float *out;
        const void *w;
        uint32_t rows, cols;
        const float *x, *bias;
        uint32_t n;
        bool accumulate;
        uint32_t block; /* of features */
} MatmulArgs;

DEVICE MatmulArgs block_product(const ProductsArgs *a) {
        uint32_t i = 0, first = 0;
        while (blockIdx.x >= a->products[i].end)
                first = a->products[i++].end;
        const Product *p = &a->products[i];
        MatmulArgs m = {p->out, p->w, p->rows, a->cols, a->x, p->bias, a->n, a->accumulate, blockIdx.x - first};
        return m;
}

DEVICE uint32_t part_length(uint32_t cols) {
        return ((cols + PARTS - 1) / PARTS + GROUP - 1) / GROUP * GROUP;
}

/* ---- operands ---- */

/* The share of lane part t in the group of columns from k on, of one feature; `scale` of quantised formats. */
DEVICE Eight weight_eight(Dtype type, const char *row, uint32_t k, uint32_t cols, uint32_t t, bool aligned,
                          float *scale) {
        Eight r = eight_zero();
        const char *block = row + k / GROUP * block_bytes(type);
        uint32_t i = k + t * EIGHT;
        *scale = is_quantised(type) ? from_half(*(const uint16_t *)block) : 1;
        if (type == DTYPE_Q8_0) {
                const uint16_t *q = (const uint16_t *)(block + 2) + t * 4;
                UNROLL for (int j = 0; j < 4; j++)
                        r.hi[j] = bfloat_pair((float)(int8_t)(q[j] & 255), (float)(int8_t)(q[j] >> 8));
        } else if (type == DTYPE_Q4_0) {
                const uint16_t *q = (const uint16_t *)(block + 2) + t % 2 * 4;
                UNROLL for (int j = 0; j < 4; j++) {
                        int two = t < 2 ? q[j] : q[j] >> 4;
                        r.hi[j] = bfloat_pair((float)((two & 15) - 8), (float)((two >> 8 & 15) - 8));
                }
        } else if (type == DTYPE_BF16 && aligned && i + EIGHT <= cols) {
                Words w = load_words((const uint16_t *)row + i);
                UNROLL for (int j = 0; j < 4; j++)
                        r.hi[j] = w.w[j];
        } else {
                float v[EIGHT];
                plain_values(type, row, i, cols, aligned, v);
                r = eight_of(v);
        }
        return r;
}

/* Features g and g + 8 of a tile. */
typedef struct TileWeights {
        Eight a, b;
        float scale_a, scale_b;
} TileWeights;

typedef struct TileRows {
        const char *a, *b; /* NULL beyond the last feature */
} TileRows;

DEVICE TileRows tile_rows(Dtype type, const MatmulArgs *m, uint32_t first) {
        uint32_t g = first + threadIdx.x % WARP / 4;
        size_t stride = row_bytes(type, m->cols);
        TileRows r = {g < m->rows ? (const char *)m->w + g * stride : NULL,
                      g + 8 < m->rows ? (const char *)m->w + (g + 8) * stride : NULL};
        return r;
}

DEVICE TileWeights tile_weights(Dtype type, const TileRows *rows, uint32_t k, uint32_t cols, bool aligned) {
        TileWeights w;
        uint32_t t = threadIdx.x % 4;
        w.a = w.b = eight_zero();
        w.scale_a = w.scale_b = 0;
        if (rows->a)
                w.a = weight_eight(type, rows->a, k, cols, t, aligned, &w.scale_a);
        if (rows->b)
                w.b = weight_eight(type, rows->b, k, cols, t, aligned, &w.scale_b);
        return w;
}

/* ---- the order of products ---- */

DEVICE void lane_terms(float acc[4], const uint32_t a[4], const uint32_t b[4], const uint32_t x[4], int half) {
        uint32_t weights[4] = {a[2 * half], b[2 * half], a[2 * half + 1], b[2 * half + 1]};
        mma(acc, weights, x + 2 * half);
}

/* Adds one group's products to the sums of a tile: c0, c1 for feature g and rows 2t, 2t + 1; c2, c3 for g + 8. */
DEVICE void add_group(Dtype type, float acc[4], const TileWeights *w, const Eight *x) {
        float sum[4] = {0, 0, 0, 0};
        float *to = is_quantised(type) ? sum : acc;
        UNROLL for (int half = 0; half < 2; half++) {
                lane_terms(to, w->a.hi, w->b.hi, x->hi, half);
                lane_terms(to, w->a.hi, w->b.hi, x->lo, half);
                if (type == DTYPE_F16 || type == DTYPE_F32)
                        lane_terms(to, w->a.lo, w->b.lo, x->hi, half);
        }
        if (!is_quantised(type))
                return;
        UNROLL for (int i = 0; i < 4; i++)
                acc[i] = fmaf(i < 2 ? w->scale_a : w->scale_b, sum[i], acc[i]);
}

DEVICE void finish(const MatmulArgs *m, uint32_t row, uint32_t i, float sum) {
        float *out = m->out + (size_t)i * m->rows + row;
        if (m->bias)
                sum += m->bias[row];
        *out = m->accumulate ? *out + sum : sum;
}

/* ---- few rows ---- */

/* Eight activations of row g of a tile. */
DEVICE Eight activations(const MatmulArgs *m, uint32_t first, uint32_t k, bool aligned) {
        uint32_t i = first + threadIdx.x % WARP / 4;
        float v[EIGHT];
        if (i >= m->n)
                return eight_zero();
        plain_values(DTYPE_F32, m->x + (size_t)i * m->cols, k + threadIdx.x % 4 * EIGHT, m->cols, aligned, v);
        return eight_of(v);
}

DEVICE void few_rows(Dtype type, int tiles, const MatmulArgs *m) {
        uint32_t part = threadIdx.x / WARP, lane = threadIdx.x % WARP, length = part_length(m->cols);
        uint32_t row0 = m->block * TILE_ROWS, n0 = blockIdx.y * (uint32_t)tiles * TILE_N;
        uint32_t end = MIN(m->cols, (part + 1) * length);
        bool w_aligned = is_aligned(m->w) && row_bytes(type, m->cols) % 16 == 0;
        bool x_aligned = is_aligned(m->x) && m->cols % 4 == 0;
        TileRows rows = tile_rows(type, m, row0);
        float acc[FEW_MAX / TILE_N][4];
        float *partial = (float *)shared_memory; /* [PARTS, tiles, TILE_N, TILE_ROWS] */
        UNROLL for (int j = 0; j < tiles; j++)
                acc[j][0] = acc[j][1] = acc[j][2] = acc[j][3] = 0;
        UNROLL4 for (uint32_t k = part * length; k < end; k += GROUP) {
                TileWeights w = tile_weights(type, &rows, k, m->cols, w_aligned);
                UNROLL for (int j = 0; j < tiles; j++) {
                        Eight x = activations(m, n0 + (uint32_t)j * TILE_N, k, x_aligned);
                        add_group(type, acc[j], &w, &x);
                }
        }
        UNROLL for (int j = 0; j < tiles; j++)
                UNROLL for (int i = 0; i < 4; i++)
                        partial[((part * (uint32_t)tiles + (uint32_t)j) * TILE_N + lane % 4 * 2 + i % 2) * TILE_ROWS +
                                lane / 4 + (i < 2 ? 0 : 8)] = acc[j][i];
        __syncthreads();
        for (uint32_t e = threadIdx.x; e < (uint32_t)tiles * TILE_N * TILE_ROWS; e += FEW_THREADS) {
                uint32_t row = row0 + e % TILE_ROWS, i = n0 + e / TILE_ROWS;
                float sum = 0;
                for (uint32_t p = 0; p < PARTS; p++)
                        sum += partial[p * (uint32_t)tiles * TILE_N * TILE_ROWS + e];
                if (row < m->rows && i < m->n)
                        finish(m, row, i, sum);
        }
}

/* ---- many rows ---- */

typedef struct ManyShared {
        uint32_t hi[2][MANY_N][4][4], lo[2][MANY_N][4][4]; /* of two groups, [row, lane part, pair] */
} ManyShared;

/* What a thread carries of the next group. */
DEVICE void fetch(const MatmulArgs *m, uint32_t n0, uint32_t k, bool aligned, float v[EIGHT]) {
        uint32_t i = n0 + threadIdx.x / 4;
        UNROLL for (int j = 0; j < EIGHT; j++)
                v[j] = 0;
        if (i < m->n && k < m->cols)
                plain_values(DTYPE_F32, m->x + (size_t)i * m->cols, k + threadIdx.x % 4 * EIGHT, m->cols, aligned, v);
}

DEVICE void stage(ManyShared *s, uint32_t buffer, const float v[EIGHT]) {
        Eight e = eight_of(v);
        store_words(s->hi[buffer][threadIdx.x / 4][threadIdx.x % 4], e.hi);
        store_words(s->lo[buffer][threadIdx.x / 4][threadIdx.x % 4], e.lo);
}

DEVICE Eight staged(const ManyShared *s, uint32_t buffer, uint32_t row) {
        uint32_t t = threadIdx.x % 4;
        Words hi = load_words(s->hi[buffer][row][t]), lo = load_words(s->lo[buffer][row][t]);
        Eight e;
        UNROLL for (int i = 0; i < 4; i++) {
                e.hi[i] = hi.w[i];
                e.lo[i] = lo.w[i];
        }
        return e;
}

DEVICE void many_rows(Dtype type, const MatmulArgs *m) {
        ManyShared *s = (ManyShared *)shared_memory;
        uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, length = part_length(m->cols);
        uint32_t row0 = m->block * MANY_ROWS + warp % MANY_WARPS_ROWS * TILE_ROWS, n0 = blockIdx.y * MANY_N;
        uint32_t first = warp / MANY_WARPS_ROWS * MANY_TILES * TILE_N; /* of the block's rows */
        bool w_aligned = is_aligned(m->w) && row_bytes(type, m->cols) % 16 == 0;
        bool x_aligned = is_aligned(m->x) && m->cols % 4 == 0;
        TileRows rows = tile_rows(type, m, row0);
        float acc[MANY_TILES][4], total[MANY_TILES][4], next[EIGHT];
        UNROLL for (int j = 0; j < MANY_TILES; j++)
                UNROLL for (int i = 0; i < 4; i++)
                        acc[j][i] = total[j][i] = 0;
        fetch(m, n0, 0, x_aligned, next);
        for (uint32_t k = 0, buffer = 0; k < m->cols; k += GROUP, buffer ^= 1) {
                stage(s, buffer, next);
                fetch(m, n0, k + GROUP, x_aligned, next);
                TileWeights w = tile_weights(type, &rows, k, m->cols, w_aligned);
                __syncthreads(); /* one is enough: who stages two groups on has passed the one between */
                UNROLL for (int j = 0; j < MANY_TILES; j++) {
                        Eight x = staged(s, buffer, first + (uint32_t)j * TILE_N + lane / 4);
                        add_group(type, acc[j], &w, &x);
                }
                if ((k + GROUP) % length != 0 && k + GROUP < m->cols)
                        continue;
                UNROLL for (int j = 0; j < MANY_TILES; j++) /* the end of a part */
                        UNROLL for (int i = 0; i < 4; i++) {
                                total[j][i] += acc[j][i];
                                acc[j][i] = 0;
                        }
        }
        UNROLL for (int j = 0; j < MANY_TILES; j++)
                UNROLL for (int i = 0; i < 4; i++) {
                        uint32_t row = row0 + lane / 4 + (i < 2 ? 0 : 8);
                        uint32_t at = n0 + first + (uint32_t)j * TILE_N + lane % 4 * 2 + (uint32_t)i % 2;
                        if (row < m->rows && at < m->n)
                                finish(m, row, at, total[j][i]);
                }
}

/* ---- kernels ---- */

#define MATMUL(name, type)                                                  \
        KERNEL(name##_8, ProductsArgs, FEW_THREADS) {                       \
                MatmulArgs m = block_product(&a);                           \
                few_rows(type, 1, &m);                                      \
        }                                                                   \
        KERNEL(name##_16, ProductsArgs, FEW_THREADS) {                      \
                MatmulArgs m = block_product(&a);                           \
                few_rows(type, 2, &m);                                      \
        }                                                                   \
        KERNEL(name##_32, ProductsArgs, FEW_THREADS) {                      \
                MatmulArgs m = block_product(&a);                           \
                few_rows(type, 4, &m);                                      \
        }                                                                   \
        KERNEL(name##_many, ProductsArgs, MANY_THREADS) {                   \
                MatmulArgs m = block_product(&a);                           \
                many_rows(type, &m);                                        \
        }
MATMUL(matmul_f32, DTYPE_F32)
MATMUL(matmul_f16, DTYPE_F16)
MATMUL(matmul_bf16, DTYPE_BF16)
MATMUL(matmul_q8_0, DTYPE_Q8_0)
MATMUL(matmul_q4_0, DTYPE_Q4_0)

enum { SHAPES = 4 };

#define KERNELS(name) \
        { (const void *)name##_8, (const void *)name##_16, (const void *)name##_32, (const void *)name##_many }

static const void *find_kernel(Dtype type, int shape) {
        static const void *const f32[SHAPES] = KERNELS(matmul_f32), *const f16[SHAPES] = KERNELS(matmul_f16),
                                 *const bf16[SHAPES] = KERNELS(matmul_bf16), *const q8_0[SHAPES] = KERNELS(matmul_q8_0),
                                 *const q4_0[SHAPES] = KERNELS(matmul_q4_0);
        switch (type) {
        case DTYPE_F16:
                return f16[shape];
        case DTYPE_BF16:
                return bf16[shape];
        case DTYPE_Q8_0:
                return q8_0[shape];
        case DTYPE_Q4_0:
                return q4_0[shape];
        case DTYPE_F32:
        default:
                return f32[shape];
        }
}

/* Whether a product of these rows may be made at the same time: it reads and writes nothing that the others write. */
static bool can_join(const ProductsArgs *a, const Matrix *w, const float *out, const float *x, uint32_t n_rows,
                     bool accumulate) {
        if (a->n_products == PRODUCTS || a->x != x || a->n != n_rows || a->cols != w->cols || a->accumulate != accumulate)
                return false;
        for (uint32_t i = 0; i < a->n_products; i++) {
                const Product *p = &a->products[i];
                const float *end = p->out + (size_t)n_rows * p->rows;
                if ((out < end && p->out < out + (size_t)n_rows * w->rows) ||
                    (x < end && p->out < x + (size_t)n_rows * w->cols))
                        return false;
        }
        return true;
}

HOST void cuda_matmul(Stream *s, float *out, const Matrix *w, const float *x, uint32_t n_rows, const float *bias,
                      bool accumulate) {
        int shape = n_rows <= 8 ? 0 : n_rows <= 16 ? 1 : n_rows <= FEW_MAX ? 2 : 3;
        bool few = shape < 3;
        uint32_t tile = few ? 8u << shape : (uint32_t)MANY_N;
        uint32_t blocks = ceil_div(w->rows, few ? (uint32_t)TILE_ROWS : (uint32_t)MANY_ROWS);
        const void *kernel = find_kernel(w->type, shape);
        void *last;
        StreamLaunch *before = stream_newest(s, kernel, &last);
        ProductsArgs *joined = (ProductsArgs *)last;
        if (before && can_join(joined, w, out, x, n_rows, accumulate)) {
                before->grid[0] += blocks;
                Product another = {out, w->data, bias, w->rows, before->grid[0]};
                joined->products[joined->n_products++] = another;
                return;
        }
        ProductsArgs args = {{{out, w->data, bias, w->rows, blocks}}, x, 1, w->cols, n_rows, accumulate};
        StreamLaunch l = {kernel, {blocks, ceil_div(n_rows, tile), 1}, few ? (uint32_t)FEW_THREADS : (uint32_t)MANY_THREADS,
                          few ? PARTS * tile * TILE_ROWS * sizeof(float) : sizeof(ManyShared)};
        stream_launch(s, &l, &args, sizeof(args));
}
