/* Matrix products of weights in any format with float32 activations.
 *
 * One order of summation for every number of rows. The columns are cut into PARTS equal parts of whole groups of 32. A
 * part is summed from 0, group by group, each by two products of 16 columns; then the parts are added up in order,
 * then the bias and what was there before. Which columns of a group meet in which product, and in which order the
 * terms do, is fixed too (lane_terms()). So both kernels below give a row the same bits, whatever else is in the step.
 * The square sum of a norm goes by the same parts. This is why cuBLASLt is not used: its algorithms for few and for many rows sum in different orders.
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

typedef struct Joined {
        const void *w;
        const float *bias;
        float *out;
        uint32_t rows, end; /* the first block that is not its own */
} Joined;

/* Products of matrices of one format; with `up` one, of lines that are features of
 * the gate and of `up`, which become SwiGLU. UPDATE_MULTIPLY is SwiGLU, too: of the gate, with `up` in `out`. */
typedef struct ProductsArgs {
        Joined joined[PRODUCTS_MAX];
        const void *up;
        const float *x, *norm;
        uint32_t cols, n;
        float eps;
        Update update;
} ProductsArgs;

/* What a block makes. Both pointers are to the kernel's arguments, so that what is not used yet takes no register. */
typedef struct Share {
        const ProductsArgs *a;
        const Joined *p;
        uint32_t block; /* of the product's */
} Share;

DEVICE Share block_share(const ProductsArgs *a) {
        uint32_t i = 0, first = 0;
        while (blockIdx.x >= a->joined[i].end)
                first = a->joined[i++].end;
        Share s = {a, &a->joined[i], blockIdx.x - first};
        return s;
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

/* Line `first` is feature `first`, or, where there are a gate and `up`, half of it: of a tile's lines eight are the gate's
 * and eight those of the same features of `up`. */
DEVICE TileRows tile_rows(Dtype type, const Share *m, uint32_t first) {
        uint32_t g = (m->a->up ? first / 2 : first) + threadIdx.x % WARP / 4, h = m->a->up ? g : g + 8;
        size_t stride = row_bytes(type, m->a->cols);
        TileRows r = {g < m->p->rows ? (const char *)m->p->w + g * stride : NULL,
                      h < m->p->rows ? (const char *)(m->a->up ? m->a->up : m->p->w) + h * stride : NULL};
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

/* ---- before and after ---- */

/* The norm is applied to activations but for the root mean square, which is known at the end only: `squares` grows by these
 * eight values', and the sums are divided by it. */
typedef struct Norm {
        float w[EIGHT]; /* 1 where there is none */
} Norm;

DEVICE Norm norm_eight(const Share *m, uint32_t k, bool aligned) {
        Norm n;
        UNROLL for (int j = 0; j < EIGHT; j++)
                n.w[j] = 1;
        if (m->a->norm)
                plain_values(DTYPE_F32, m->a->norm, k, m->a->cols, aligned, n.w);
        return n;
}

DEVICE void weigh_eight(const Norm *n, float v[EIGHT], float *squares) {
        UNROLL for (int j = 0; j < EIGHT; j++) {
                *squares = fmaf(v[j], v[j], *squares);
                v[j] *= n->w[j];
        }
}

/* By what a row's sums are multiplied. */
DEVICE float row_scale(const Share *m, float squares) {
        return m->a->norm ? 1 / sqrtf(squares / (float)m->a->cols + m->a->eps) : 1;
}

/* `up`: of the same feature of the second matrix, where there is one. */
DEVICE void finish(const Share *m, uint32_t row, uint32_t i, float sum, float up) {
        float *out = m->p->out + (size_t)i * m->p->rows + row;
        if (m->p->bias)
                sum += m->p->bias[row];
        if (m->a->up)
                *out = silu(sum) * up;
        else if (m->a->update == UPDATE_MULTIPLY)
                *out = silu(sum) * *out;
        else
                *out = m->a->update == UPDATE_ADD ? *out + sum : sum;
}

/* ---- few rows ---- */

/* Eight activations of row g of a tile. */
DEVICE Eight activations(const Share *m, uint32_t first, uint32_t k, bool aligned, const Norm *norm, float *squares) {
        uint32_t i = first + threadIdx.x % WARP / 4;
        float v[EIGHT];
        if (i >= m->a->n)
                return eight_zero();
        plain_values(DTYPE_F32, m->a->x + (size_t)i * m->a->cols, k, m->a->cols, aligned, v);
        weigh_eight(norm, v, squares);
        return eight_of(v);
}

DEVICE float parts_sum(const float *partial, uint32_t each, uint32_t at) {
        float sum = 0;
        for (uint32_t p = 0; p < PARTS; p++)
                sum += partial[p * each + at];
        return sum;
}

DEVICE void few_rows(Dtype type, int tiles, const Share *m) {
        uint32_t part = threadIdx.x / WARP, lane = threadIdx.x % WARP, length = part_length(m->a->cols);
        uint32_t row0 = m->block * TILE_ROWS, n0 = blockIdx.y * (uint32_t)tiles * TILE_N;
        uint32_t end = MIN(m->a->cols, (part + 1) * length);
        bool w_aligned = is_aligned(m->p->w) && row_bytes(type, m->a->cols) % 16 == 0;
        bool x_aligned = is_aligned(m->a->x) && is_aligned(m->a->norm) && m->a->cols % 4 == 0;
        TileRows rows = tile_rows(type, m, row0);
        uint32_t n_rows = (uint32_t)tiles * TILE_N, each = n_rows * TILE_ROWS;
        float acc[FEW_MAX / TILE_N][4], squares[FEW_MAX / TILE_N];
        float *partial = (float *)shared_memory; /* [PARTS, tiles, TILE_N, TILE_ROWS] */
        float *partial_squares = partial + PARTS * each; /* [PARTS, tiles, TILE_N] */
        UNROLL for (int j = 0; j < tiles; j++)
                acc[j][0] = acc[j][1] = acc[j][2] = acc[j][3] = squares[j] = 0;
        UNROLL4 for (uint32_t k = part * length; k < end; k += GROUP) {
                TileWeights w = tile_weights(type, &rows, k, m->a->cols, w_aligned);
                Norm norm = norm_eight(m, k + lane % 4 * EIGHT, x_aligned);
                UNROLL for (int j = 0; j < tiles; j++) {
                        Eight x = activations(m, n0 + (uint32_t)j * TILE_N, k + lane % 4 * EIGHT, x_aligned, &norm,
                                              &squares[j]);
                        add_group(type, acc[j], &w, &x);
                }
        }
        UNROLL for (int j = 0; j < tiles; j++) {
                UNROLL for (int i = 0; i < 4; i++)
                        partial[((part * (uint32_t)tiles + (uint32_t)j) * TILE_N + lane % 4 * 2 + i % 2) * TILE_ROWS +
                                lane / 4 + (i < 2 ? 0 : 8)] = acc[j][i];
                float sum = lane_sum(squares[j]);
                if (lane % 4 == 0)
                        partial_squares[part * n_rows + (uint32_t)j * TILE_N + lane / 4] = sum;
        }
        __syncthreads();
        for (uint32_t e = threadIdx.x; e < each; e += FEW_THREADS) {
                uint32_t line = e % TILE_ROWS, i = n0 + e / TILE_ROWS, row = (m->a->up ? row0 / 2 : row0) + line;
                if (row >= m->p->rows || i >= m->a->n || (m->a->up && line >= TILE_ROWS / 2))
                        continue;
                float scale = row_scale(m, parts_sum(partial_squares, n_rows, e / TILE_ROWS));
                finish(m, row, i, parts_sum(partial, each, e) * scale,
                       m->a->up ? parts_sum(partial, each, e + TILE_ROWS / 2) * scale : 0);
        }
}

/* ---- many rows ---- */

typedef struct ManyShared {
        uint32_t hi[2][MANY_N][4][4], lo[2][MANY_N][4][4]; /* of two groups, [row, lane part, pair] */
        float scale[MANY_N];
} ManyShared;

/* What a thread carries of the next group. */
DEVICE void fetch(const Share *m, uint32_t n0, uint32_t k, bool aligned, float v[EIGHT]) {
        uint32_t i = n0 + threadIdx.x / 4;
        UNROLL for (int j = 0; j < EIGHT; j++)
                v[j] = 0;
        if (i < m->a->n && k < m->a->cols)
                plain_values(DTYPE_F32, m->a->x + (size_t)i * m->a->cols, k + threadIdx.x % 4 * EIGHT, m->a->cols, aligned, v);
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

DEVICE void many_rows(Dtype type, const Share *m) {
        ManyShared *s = (ManyShared *)shared_memory;
        uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, length = part_length(m->a->cols);
        uint32_t row0 = m->block * MANY_ROWS + warp % MANY_WARPS_ROWS * TILE_ROWS, n0 = blockIdx.y * MANY_N;
        uint32_t first = warp / MANY_WARPS_ROWS * MANY_TILES * TILE_N; /* of the block's rows */
        bool w_aligned = is_aligned(m->p->w) && row_bytes(type, m->a->cols) % 16 == 0;
        bool x_aligned = is_aligned(m->a->x) && is_aligned(m->a->norm) && m->a->cols % 4 == 0;
        TileRows rows = tile_rows(type, m, row0);
        float acc[MANY_TILES][4], total[MANY_TILES][4], next[EIGHT], squares = 0, total_squares = 0;
        UNROLL for (int j = 0; j < MANY_TILES; j++)
                UNROLL for (int i = 0; i < 4; i++)
                        acc[j][i] = total[j][i] = 0;
        fetch(m, n0, 0, x_aligned, next);
        for (uint32_t k = 0, buffer = 0; k < m->a->cols; k += GROUP, buffer ^= 1) {
                Norm norm = norm_eight(m, k + threadIdx.x % 4 * EIGHT, x_aligned);
                weigh_eight(&norm, next, &squares);
                stage(s, buffer, next);
                fetch(m, n0, k + GROUP, x_aligned, next);
                TileWeights w = tile_weights(type, &rows, k, m->a->cols, w_aligned);
                __syncthreads(); /* one is enough: who stages two groups on has passed the one between */
                UNROLL for (int j = 0; j < MANY_TILES; j++) {
                        Eight x = staged(s, buffer, first + (uint32_t)j * TILE_N + lane / 4);
                        add_group(type, acc[j], &w, &x);
                }
                if ((k + GROUP) % length != 0 && k + GROUP < m->a->cols)
                        continue;
                total_squares += lane_sum(squares); /* the end of a part */
                squares = 0;
                UNROLL for (int j = 0; j < MANY_TILES; j++)
                        UNROLL for (int i = 0; i < 4; i++) {
                                total[j][i] += acc[j][i];
                                acc[j][i] = 0;
                        }
        }
        if (threadIdx.x % 4 == 0)
                s->scale[threadIdx.x / 4] = row_scale(m, total_squares);
        __syncthreads();
        UNROLL for (int j = 0; j < MANY_TILES; j++)
                UNROLL for (int i = 0; i < 4; i++) {
                        uint32_t row = (m->a->up ? row0 / 2 : row0) + lane / 4 + (i < 2 || m->a->up ? 0 : 8);
                        uint32_t at = first + (uint32_t)j * TILE_N + lane % 4 * 2 + (uint32_t)i % 2;
                        if (row >= m->p->rows || n0 + at >= m->a->n || (m->a->up && i >= 2))
                                continue;
                        float scale = s->scale[at];
                        finish(m, row, n0 + at, total[j][i] * scale, total[j][i % 2 + 2] * scale);
                }
}

/* ---- kernels ---- */

enum { LINE = 128 /* bytes */ };

DEVICE void prefetch_features(Dtype type, const Share *m, const void *w, uint32_t first, uint32_t n) {
        size_t stride = row_bytes(type, m->a->cols), size = MIN(n, m->p->rows - first) * stride;
        for (size_t i = threadIdx.x * LINE; i < size; i += FEW_THREADS * LINE)
                prefetch((const char *)w + first * stride + i);
}

/* The weights that few_rows() reads: they are on their way while the kernel before has not ended. */
DEVICE void prefetch_tile(Dtype type, const ProductsArgs *a) {
        Share m = block_share(a);
        uint32_t n = a->up ? TILE_ROWS / 2 : TILE_ROWS;
        prefetch_features(type, &m, m.p->w, m.block * n, n);
        if (a->up)
                prefetch_features(type, &m, a->up, m.block * n, n);
}

#define MATMUL(name, type)                                                  \
        DEVICE void name##_prefetch(const ProductsArgs *a) {                \
                prefetch_tile(type, a);                                     \
        }                                                                   \
        KERNEL_AFTER(name##_8, ProductsArgs, FEW_THREADS, name##_prefetch) { \
                Share m = block_share(&a);                                  \
                few_rows(type, 1, &m);                                      \
        }                                                                   \
        KERNEL_AFTER(name##_16, ProductsArgs, FEW_THREADS, name##_prefetch) { \
                Share m = block_share(&a);                                  \
                few_rows(type, 2, &m);                                      \
        }                                                                   \
        KERNEL_AFTER(name##_32, ProductsArgs, FEW_THREADS, name##_prefetch) { \
                Share m = block_share(&a);                                  \
                few_rows(type, 4, &m);                                      \
        }                                                                   \
        KERNEL(name##_many, ProductsArgs, MANY_THREADS) {                   \
                Share m = block_share(&a);                                  \
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

/* Products of one format: at the same time, so that the small ones find the GPU at work. */
static void launch_products(Stream *s, const Product *p, uint32_t n, const void *up, const Activations *x, Update update) {
        int shape = x->n_rows <= 8 ? 0 : x->n_rows <= 16 ? 1 : x->n_rows <= FEW_MAX ? 2 : 3;
        bool few = shape < 3;
        uint32_t tile = few ? 8u << shape : (uint32_t)MANY_N, lines = few ? (uint32_t)TILE_ROWS : (uint32_t)MANY_ROWS;
        ProductsArgs args = {.up = up,
                             .x = x->x,
                             .norm = x->norm,
                             .cols = p->w.cols,
                             .n = x->n_rows,
                             .eps = x->eps,
                             .update = update};
        uint32_t blocks = 0;
        for (uint32_t i = 0; i < n; i++) {
                blocks += ceil_div(p[i].w.rows, up ? lines / 2 : lines);
                Joined one = {p[i].w.data, p[i].bias, p[i].out, p[i].w.rows, blocks};
                args.joined[i] = one;
        }
        StreamLaunch l = {find_kernel(p->w.type, shape), {blocks, ceil_div(x->n_rows, tile), 1},
                          few ? (uint32_t)FEW_THREADS : (uint32_t)MANY_THREADS,
                          few ? PARTS * tile * (TILE_ROWS + 1) * sizeof(float) : sizeof(ManyShared)};
        stream_launch(s, &l, &args);
}

HOST void cuda_matmul(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update) {
        for (uint32_t first = 0, last; first < n; first = last) {
                for (last = first + 1; last < n && products[last].w.type == products[first].w.type; last++)
                        ;
                launch_products(s, products + first, last - first, NULL, x, update);
        }
}

HOST void cuda_swiglu(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x) {
        Product of_gate = {*gate, NULL, out}, of_up = {*up, NULL, out};
        if (gate->type == up->type) {
                launch_products(s, &of_gate, 1, up->data, x, UPDATE_SET);
                return;
        }
        launch_products(s, &of_up, 1, NULL, x, UPDATE_SET);
        launch_products(s, &of_gate, 1, NULL, x, UPDATE_MULTIPLY);
}
