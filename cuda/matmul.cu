/* Matrix products of few rows, and which kernel makes which. See product.h for the order of summation.
 *
 * Few rows (decoding): bound by reading the weights. A block makes 16 lines for 8 to 32 rows; each of its PARTS warps
 * sums one part, so that many loads are under way, and the parts meet in shared memory. */
#include <errno.h>

#include "cuda/product.h"

enum {
        FEW_THREADS = PARTS * WARP,
        FEW_MAX = 32, /* rows */
        BATCH_MAX = 4, /* groups that are read at once */
};

/* Lines g and g + 8 of a tile. */
typedef struct TileRows {
        const char *a, *b; /* NULL beyond the last feature */
} TileRows;

typedef struct TileWeights {
        Eights a, b;
} TileWeights;

/* What a lane has read of a group. */
typedef struct FewFetched {
        Raw a, b;
        Floats norm, x[FEW_MAX / TILE_N];
} FewFetched;

typedef struct FewSums {
        float of[FEW_MAX / TILE_N][4], squares[FEW_MAX / TILE_N];
} FewSums;

DEVICE TileRows tile_rows(Dtype type, const Share *m) {
        uint32_t g = threadIdx.x % WARP / 4;
        TileRows r = {line_row(type, m, TILE_LINES, g), line_row(type, m, TILE_LINES, g + 8)};
        return r;
}

/* Adds one group's products to the sums of a tile: c0, c1 for line g and rows 2t, 2t + 1; c2, c3 for g + 8. */
DEVICE void add_group(Dtype type, float acc[4], const TileWeights *w, const Eight *x) {
        float sum[4] = {0, 0, 0, 0}, other[4] = {0, 0, 0, 0};
        float *to = is_quantised(type) ? sum : acc;
        UNROLL for (int half = 0; half < 2; half++) {
                add_half(to, w->a.e.hi, w->b.e.hi, x->hi, half);
                add_half(to, w->a.e.hi, w->b.e.hi, x->lo, half);
                if (has_two_terms(type))
                        add_half(to, w->a.e.lo, w->b.e.lo, x->hi, half);
        }
        UNROLL for (int half = 0; half < 2 && has_offset(type); half++) {
                add_half(other, w->a.e.lo, w->b.e.lo, x->hi, half);
                add_half(other, w->a.e.lo, w->b.e.lo, x->lo, half);
        }
        if (!is_quantised(type))
                return;
        UNROLL for (int i = 0; i < 4; i++) {
                acc[i] = fmaf(i < 2 ? w->a.scale : w->b.scale, sum[i], acc[i]);
                if (has_offset(type))
                        acc[i] = fmaf(i < 2 ? w->a.offset : w->b.offset, other[i], acc[i]);
        }
}

DEVICE float parts_sum(const float *partial, uint32_t each, uint32_t at) {
        float sum = 0;
        UNROLL for (uint32_t p = 0; p < PARTS; p++)
                sum += partial[p * each + at];
        return sum;
}

DEVICE void few_fetch(Reading r, Dtype type, int tiles, const Share *m, const TileRows *rows, uint32_t k, FewFetched *f) {
        uint32_t t = threadIdx.x % 4, first = m->tile * (uint32_t)tiles * TILE_N + threadIdx.x % WARP / 4;
        f->a = raw_eight(type, rows->a, k, r.cols, t, r.aligned);
        f->b = raw_eight(type, rows->b, k, r.cols, t, r.aligned);
        f->norm = norm_eight(r, m->a, k + t * EIGHT);
        UNROLL for (int j = 0; j < tiles; j++) { /* rows beyond the last are it again */
                uint32_t i = MIN(first + (uint32_t)j * TILE_N, m->a->n - 1);
                f->x[j] = activation_eight(r, m->a, i, k + t * EIGHT);
        }
}

/* Adds the groups from k on; all are read before the first is needed. */
DEVICE void add_groups(Reading r, int groups, Dtype type, int tiles, const Share *m, const TileRows *rows, uint32_t k, FewSums *s) {
        FewFetched f[BATCH_MAX];
        uint32_t t = threadIdx.x % 4;
        UNROLL for (int i = 0; i < groups; i++)
                few_fetch(r, type, tiles, m, rows, k + (uint32_t)i * GROUP, &f[i]);
        UNROLL for (int i = 0; i < groups; i++) {
                uint32_t at = k + (uint32_t)i * GROUP;
                TileWeights w = {unpack_eight(type, &f[i].a, at, t), unpack_eight(type, &f[i].b, at, t)};
                UNROLL for (int j = 0; j < tiles; j++) {
                        Eight x = normed_terms(r, f[i].x[j], &f[i].norm, &s->squares[j]);
                        add_group(type, s->of[j], &w, &x);
                }
        }
}

DEVICE void few_part(Reading r, Dtype type, int tiles, const Share *m, FewSums *s) {
        uint32_t length = part_length(m->a->cols), k = threadIdx.x / WARP * length, end = MIN(m->a->cols, k + length);
        int batch = r.cols != ENDLESS ? 1 : tiles == 1 ? BATCH_MAX : 2;
        TileRows rows = tile_rows(type, m);
        NO_UNROLL for (; k + (uint32_t)(batch - 1) * GROUP < end; k += (uint32_t)batch * GROUP)
                add_groups(r, batch, type, tiles, m, &rows, k, s);
        NO_UNROLL for (; k < end; k += GROUP)
                add_groups(r, 1, type, tiles, m, &rows, k, s);
}

DEVICE void few_rows(Dtype type, int tiles, const Share *m) {
        uint32_t part = threadIdx.x / WARP, lane = threadIdx.x % WARP, n0 = m->tile * (uint32_t)tiles * TILE_N;
        uint32_t n_rows = (uint32_t)tiles * TILE_N, each = n_rows * TILE_LINES;
        float *partial = (float *)shared_memory; /* [PARTS, tiles, TILE_N, TILE_LINES] */
        float *partial_squares = partial + PARTS * each; /* [PARTS, tiles, TILE_N] */
        Reading reading = reading_of(m->a, rows_aligned(type, m));
        FewSums s;
        UNROLL for (int j = 0; j < tiles; j++)
                s.of[j][0] = s.of[j][1] = s.of[j][2] = s.of[j][3] = s.squares[j] = 0;
        WITH_READING(reading, few_part, type, tiles, m, &s);
        UNROLL for (int j = 0; j < tiles; j++) {
                UNROLL for (int i = 0; i < 4; i++)
                        partial[((part * (uint32_t)tiles + (uint32_t)j) * TILE_N + lane % 4 * 2 + i % 2) * TILE_LINES +
                                lane / 4 + (i < 2 ? 0 : 8)] = s.of[j][i];
                float sum = lane_sum(s.squares[j]);
                if (lane % 4 == 0)
                        partial_squares[part * n_rows + (uint32_t)j * TILE_N + lane / 4] = sum;
        }
        __syncthreads();
        for (uint32_t e = threadIdx.x; e < each; e += FEW_THREADS) {
                uint32_t line = e % TILE_LINES, i = n0 + e / TILE_LINES;
                uint32_t row = line_feature(m, TILE_LINES, line);
                if (row >= m->p->rows || i >= m->a->n || (m->a->ending.up && line >= TILE_LINES / 2))
                        continue;
                float scale = row_scale(m->a, parts_sum(partial_squares, n_rows, e / TILE_LINES));
                finish(m, row, i, parts_sum(partial, each, e) * scale,
                       m->a->ending.up ? parts_sum(partial, each, e + TILE_LINES / 2) * scale : 0);
        }
}

/* ---- kernels ---- */

DEVICE void prefetch_features(const Share *m, const void *w, uint32_t first, uint32_t n) {
        size_t stride = row_bytes(m->a->type, m->a->cols), size = MIN(n, m->p->rows - first) * stride;
        for (size_t i = threadIdx.x * LINE_BYTES; i < size; i += FEW_THREADS * LINE_BYTES)
                prefetch((const char *)w + first * stride + i);
}

/* The weights that few_rows() reads: they are on their way while the kernel before has not ended. */
DEVICE void few_prefetch(const ProductsArgs *a) {
        Share m = block_share(a);
        uint32_t n = a->ending.up ? TILE_LINES / 2 : TILE_LINES;
        prefetch_features(&m, m.p->w, m.block * n, n);
        if (a->ending.up)
                prefetch_features(&m, a->ending.up, m.block * n, n);
}

#define MATMUL(name, type)                                                           \
        KERNEL_AFTER(name##_8, ProductsArgs, (FEW_THREADS, 2), few_prefetch) {        \
                Share m = block_share(&a);                                            \
                few_rows(type, 1, &m);                                                \
        }                                                                             \
        KERNEL_AFTER(name##_16, ProductsArgs, (FEW_THREADS, 2), few_prefetch) {       \
                Share m = block_share(&a);                                            \
                few_rows(type, 2, &m);                                                \
        }                                                                             \
        KERNEL_AFTER(name##_32, ProductsArgs, (FEW_THREADS, 2), few_prefetch) {       \
                Share m = block_share(&a);                                            \
                few_rows(type, 4, &m);                                                \
        }
MATMUL(matmul_f32, DTYPE_F32)
MATMUL(matmul_f16, DTYPE_F16)
MATMUL(matmul_bf16, DTYPE_BF16)
MATMUL(matmul_q8_0, DTYPE_Q8_0)
MATMUL(matmul_q4_0, DTYPE_Q4_0)
MATMUL(matmul_q4_k, DTYPE_Q4_K)
MATMUL(matmul_q5_k, DTYPE_Q5_K)
MATMUL(matmul_q6_k, DTYPE_Q6_K)
MATMUL(matmul_rare, a.type) /* which are not worth a kernel each */

/* ---- experts ---- */

/* A block makes 16 lines for a tile of one expert's places. Which tiles there are route() has written; see routing.cu. */
typedef struct ExpertsArgs {
        ProductsArgs products; /* of all places; without weights, and `up` not NULL only says that there is another */
        const void *const *each, *const *each_up;
        const int32_t *starts, *tiles; /* [tiles, 2]: the expert, -1 for none, and the first place */
} ExpertsArgs;

DEVICE void expert_rows(Dtype type, int tiles, const ExpertsArgs *a) {
        int32_t expert = a->tiles[2 * blockIdx.y], first = a->tiles[2 * blockIdx.y + 1];
        if (expert < 0)
                return;
        ProductsArgs own = a->products;
        uint32_t left = (uint32_t)(a->starts[expert + 1] - first);
        own.joined[0].w = a->each[expert];
        own.joined[0].out += (size_t)first * own.joined[0].rows;
        own.x += (size_t)first * own.cols;
        own.n = MIN(left, (uint32_t)tiles * TILE_N);
        if (own.joined[0].bias)
                own.joined[0].bias += (size_t)expert * own.joined[0].rows;
        if (own.ending.up)
                own.ending.up = a->each_up[expert];
        if (own.ending.up_bias)
                own.ending.up_bias += (size_t)expert * own.joined[0].rows;
        Share m = {&own, &own.joined[0], blockIdx.x, 0};
        few_rows(type, tiles, &m);
}

#define EXPERTS(name, type)                                           \
        KERNEL(name##_8, ExpertsArgs, FEW_THREADS) {                  \
                expert_rows(type, 1, &a);                             \
        }                                                             \
        KERNEL(name##_32, ExpertsArgs, FEW_THREADS) {                 \
                expert_rows(type, 4, &a);                             \
        }
EXPERTS(experts_bf16, DTYPE_BF16)
EXPERTS(experts_q8_0, DTYPE_Q8_0)
EXPERTS(experts_q4_k, DTYPE_Q4_K)
EXPERTS(experts_q5_k, DTYPE_Q5_K)
EXPERTS(experts_q6_k, DTYPE_Q6_K)
EXPERTS(experts_rare, a.products.type)

static const void *find_experts(Dtype type, bool small) {
        switch (type) {
        case DTYPE_BF16:
                return small ? (const void *)experts_bf16_8 : (const void *)experts_bf16_32;
        case DTYPE_Q8_0:
                return small ? (const void *)experts_q8_0_8 : (const void *)experts_q8_0_32;
        case DTYPE_Q4_K:
                return small ? (const void *)experts_q4_k_8 : (const void *)experts_q4_k_32;
        case DTYPE_Q5_K:
                return small ? (const void *)experts_q5_k_8 : (const void *)experts_q5_k_32;
        case DTYPE_Q6_K:
                return small ? (const void *)experts_q6_k_8 : (const void *)experts_q6_k_32;
        default:
                return small ? (const void *)experts_rare_8 : (const void *)experts_rare_32;
        }
}

static void launch_experts(Stream *s, float *out, const Experts *w, const Routing *r, const float *x, const Ending *ending,
                           const Experts *up) {
        Product p = {{NULL, w->type, w->rows, w->cols}, w->bias, out};
        Activations all = {.x = x, .n_rows = r->n_rows * r->n_used};
        uint32_t blocks, tile = experts_tile(r);
        ExpertsArgs args = {products_args(&p, 1, ending, &all, TILE_LINES, &blocks), w->each, up ? up->each : NULL, r->starts,
                            r->room + all.n_rows};
        StreamLaunch l = {find_experts(w->type, tile == TILE_N), {blocks, experts_tiles(r), 1}, FEW_THREADS,
                          PARTS * tile * (TILE_LINES + 1) * sizeof(float)};
        if (l.grid[1] > GRID_MAX)
                stream_fail(s, -ENOTSUP);
        else
                stream_launch(s, &l, &args);
}

HOST void cuda_matmul_experts(Stream *s, float *out, const Experts *w, const Routing *r, const float *x) {
        Ending ending = {.update = UPDATE_SET};
        launch_experts(s, out, w, r, x, &ending, NULL);
}

HOST void cuda_glu_experts(Stream *s, float *out, const Experts *gate, const Experts *up, const Routing *r, const float *x,
                           Gate unit) {
        Ending both = {.up = up->each, .up_bias = up->bias, .update = UPDATE_SET, .unit = unit},
               first = {.update = UPDATE_SET}, second = {.update = UPDATE_MULTIPLY, .unit = unit};
        if (gate->type == up->type)
                launch_experts(s, out, gate, r, x, &both, up);
        else {
                launch_experts(s, out, up, r, x, &first, NULL);
                launch_experts(s, out, gate, r, x, &second, NULL);
        }
}

/* ---- kernels by format ---- */

enum { SHAPES = 3 };

#define KERNELS(name) { (const void *)name##_8, (const void *)name##_16, (const void *)name##_32 }

static const void *find_kernel(Dtype type, int shape) {
        static const struct {
                Dtype type;
                const void *shapes[SHAPES];
        } all[] = {
                {DTYPE_F32, KERNELS(matmul_f32)},   {DTYPE_F16, KERNELS(matmul_f16)},   {DTYPE_BF16, KERNELS(matmul_bf16)},
                {DTYPE_Q8_0, KERNELS(matmul_q8_0)}, {DTYPE_Q4_0, KERNELS(matmul_q4_0)}, {DTYPE_Q4_K, KERNELS(matmul_q4_k)},
                {DTYPE_Q5_K, KERNELS(matmul_q5_k)}, {DTYPE_Q6_K, KERNELS(matmul_q6_k)},
        };
        static const void *const rare[SHAPES] = KERNELS(matmul_rare);
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                if (all[i].type == type)
                        return all[i].shapes[shape];
        return rare[shape];
}

static void products_few(Stream *s, const Product *p, uint32_t n, const Ending *ending, const Activations *x) {
        int shape = x->n_rows <= 8 ? 0 : x->n_rows <= 16 ? 1 : 2;
        uint32_t tile = 8u << shape, blocks;
        ProductsArgs args = products_args(p, n, ending, x, TILE_LINES, &blocks);
        StreamLaunch l = {find_kernel(p->w.type, shape), {blocks, ceil_div(x->n_rows, tile), 1}, FEW_THREADS,
                          PARTS * tile * (TILE_LINES + 1) * sizeof(float)};
        stream_launch(s, &l, &args);
}

/* ---- operations ---- */

/* Rows that are made together, and their terms if they are many. */
typedef struct Slice {
        uint32_t first;
        Activations x;
        Terms terms;
} Slice;

/* The one that begins with row `first`. */
static Slice slice_at(Stream *s, const Activations *x, uint32_t first, uint32_t cols) {
        uint32_t left = x->n_rows - first, most = x->n_rows > FEW_MAX ? products_many_most(cols) : 0;
        Slice t = {first, *x, {NULL, NULL, 0, 0}};
        t.x.x += (size_t)first * cols;
        t.x.n_rows = MIN(left, most > 0 ? most : (uint32_t)FEW_MAX);
        if (most > 0)
                t.terms = products_terms(s, &t.x, cols);
        return t;
}

/* Products of matrices of one format. */
static void launch_products(Stream *s, const Slice *t, const Product *products, uint32_t n, const Ending *ending) {
        Product p[PRODUCTS_MAX];
        for (uint32_t i = 0; i < n; i++) {
                p[i] = products[i];
                p[i].out += (size_t)t->first * p[i].w.rows;
        }
        if (t->terms.data)
                products_many(s, p, n, ending, &t->x, &t->terms);
        else
                products_few(s, p, n, ending, &t->x);
}

/* Those of one format at the same time, so that the small ones find the GPU at work. */
HOST void cuda_matmul(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update) {
        Ending ending = {.update = update};
        for (uint32_t i = 0; i < x->n_rows;) {
                Slice t = slice_at(s, x, i, products->w.cols);
                for (uint32_t first = 0, last; first < n; first = last) {
                        for (last = first + 1; last < n && products[last].w.type == products[first].w.type; last++)
                                ;
                        launch_products(s, &t, products + first, last - first, &ending);
                }
                i += t.x.n_rows;
        }
}

HOST void cuda_glu(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x, Gate unit) {
        Product of_gate = {*gate, NULL, out}, of_up = {*up, NULL, out};
        Ending both = {.up = up->data, .update = UPDATE_SET, .unit = unit}, first = {.update = UPDATE_SET},
               second = {.update = UPDATE_MULTIPLY, .unit = unit};
        for (uint32_t i = 0; i < x->n_rows;) {
                Slice t = slice_at(s, x, i, gate->cols);
                if (gate->type == up->type)
                        launch_products(s, &t, &of_gate, 1, &both);
                else {
                        launch_products(s, &t, &of_up, 1, &first);
                        launch_products(s, &t, &of_gate, 1, &second);
                }
                i += t.x.n_rows;
        }
}
