/* Products of weights in any format with float32 activations: what the kernels for few rows (matmul.cu) and for many
 * (matmul-many.cu) have in common, so that they give a row the same bits.
 *
 * One order of summation for every number of rows. The columns are cut into PARTS equal parts of whole groups of 32. A
 * part is summed from 0, group by group, each by two products of 16 columns; then the parts are added up in order, the
 * sum is multiplied by what the row's norm leaves to do, and then come the bias and what was there before. Which columns
 * of a group meet in which product, and in which order the terms do, is fixed too. The square sum of a norm goes by the
 * same parts. This is why cuBLASLt is not used: its algorithms for few and for many rows sum in different orders.
 *
 * Fragments: weights are A (16 lines x 16 columns), activations B (16 columns x 8 rows). Lane 4g + t has, of a group of
 * 32 columns, those from 8t to 8t + 7 of line g, of line g + 8, and of row g: contiguous in memory. The first product
 * takes the first four of each lane, the second the last four. A line is a feature; where there are a gate and `up`, of
 * each 16 lines eight are the gate's and eight those of the same features of `up`, so that a thread holds both. */
#pragma once

#include "cuda/kernel.h"

enum {
        PARTS = 8,
        TILE_LINES = 16, /* of a product */
        TILE_N = 8,      /* rows of a product */
        LINE_BYTES = 128, /* of the cache */
};

typedef struct Joined {
        const void *w;
        const float *bias;
        float *out;
        uint32_t rows, end; /* the first block that is not its own */
} Joined;

/* The rows of activations as terms; see matmul-many.cu. */
typedef struct Terms {
        char *data; /* NULL: there are none, for few rows */
        float *scale;
        uint32_t rows, groups; /* as they are laid out */
} Terms;

/* What becomes of the sums. In a gated unit they are the gate's, with the same feature of `up`; or with what is in `out`. */
typedef struct Ending {
        const void *up; /* of the gate's format; NULL: none */
        const float *up_bias;
        Update update;
        Gate unit; /* where there is `up`, or with UPDATE_MULTIPLY */
} Ending;

/* Products of matrices of one format; with `up` one. */
typedef struct ProductsArgs {
        Joined joined[PRODUCTS_MAX];
        Ending ending;
        const float *x, *norm;
        Terms terms;
        float *partial; /* of many rows: [PARTS, n, lines], for the sums of parts; NULL: a block makes all of them */
        uint32_t cols, n;
        float eps;
        Dtype type; /* of the matrices */
} ProductsArgs;

/* What a block makes. Both pointers are to the kernel's arguments, so that what is not used yet takes no register. */
typedef struct Share {
        const ProductsArgs *a;
        const Joined *p;
        uint32_t block; /* of the product's */
        uint32_t tile;  /* of rows */
} Share;

DEVICE Share block_share(const ProductsArgs *a) {
        uint32_t i = 0, first = 0;
        while (blockIdx.x >= a->joined[i].end)
                first = a->joined[i++].end;
        Share s = {a, &a->joined[i], blockIdx.x - first, blockIdx.y};
        return s;
}

/* Columns of a part. */
BOTH uint32_t part_length(uint32_t cols) {
        return ((cols + PARTS - 1) / PARTS + GROUP - 1) / GROUP * GROUP;
}

/* ---- weights ---- */

/* The feature that a line of the block's `lines` is of. */
DEVICE uint32_t line_feature(const Share *m, uint32_t lines, uint32_t line) {
        if (!m->a->ending.up)
                return m->block * lines + line;
        return m->block * lines / 2 + line / TILE_LINES * (TILE_LINES / 2) + line % (TILE_LINES / 2);
}

/* Its row of the matrix; beyond the last some other, and nobody wants the sum. */
DEVICE const char *line_row(Dtype type, const Share *m, uint32_t lines, uint32_t line) {
        bool of_up = m->a->ending.up && line % TILE_LINES >= TILE_LINES / 2;
        const char *w = (const char *)(of_up ? m->a->ending.up : m->p->w);
        return w + MIN(line_feature(m, lines, line), m->p->rows - 1) * row_bytes(type, m->a->cols);
}

/* Whether every eight values of a row can be read at once, but for the last. */
DEVICE bool rows_aligned(Dtype type, const Share *m) {
        return is_quantised(type) || (is_aligned(m->p->w) && (!m->a->ending.up || is_aligned(m->a->ending.up)) && row_bytes(type, m->a->cols) % 16 == 0);
}

/* d += half of a group's products: of lines a and b with row x. */
DEVICE void add_half(float d[4], const uint32_t a[4], const uint32_t b[4], const uint32_t x[4], int half) {
        uint32_t lines[4] = {a[2 * half], b[2 * half], a[2 * half + 1], b[2 * half + 1]};
        mma(d, lines, x + 2 * half);
}

/* ---- before and after ---- */

/* How rows are read. The usual cases are compiled by themselves: without a question between them, many loads are under way. */
typedef struct Reading {
        uint32_t cols; /* ENDLESS where groups are whole */
        bool aligned, normed;
} Reading;

#define ENDLESS 0xffffffff

DEVICE Reading reading_of(const ProductsArgs *a, bool w_aligned) {
        bool aligned = w_aligned && is_aligned(a->x) && is_aligned(a->norm) && a->cols % 4 == 0;
        Reading r = {aligned && a->cols % GROUP == 0 ? ENDLESS : a->cols, aligned, a->norm != NULL};
        return r;
}

/* Calls f(reading, ...) with one that is constant where it is usual. */
#define WITH_READING(r, f, ...)                                \
        do {                                                   \
                Reading _normed = {ENDLESS, true, true};       \
                Reading _plain = {ENDLESS, true, false};       \
                if ((r).cols != ENDLESS)                       \
                        f((r), __VA_ARGS__);                   \
                else if ((r).normed)                           \
                        f(_normed, __VA_ARGS__);               \
                else                                           \
                        f(_plain, __VA_ARGS__);                \
        } while (0)

DEVICE Floats norm_eight(Reading r, const ProductsArgs *a, uint32_t k) {
        Floats f;
        if (r.normed)
                plain_values(DTYPE_F32, a->norm, k, r.cols, r.aligned, f.v);
        return f;
}

/* Of row i. */
DEVICE Floats activation_eight(Reading r, const ProductsArgs *a, uint32_t i, uint32_t k) {
        Floats f;
        plain_values(DTYPE_F32, a->x + (size_t)i * a->cols, k, r.cols, r.aligned, f.v);
        return f;
}

/* The norm is applied but for the root mean square, which is known at the end only: `squares` grows by these eight values',
 * and the sums are divided by it. */
DEVICE Eight normed_terms(Reading r, Floats x, const Floats *norm, float *squares) {
        UNROLL for (int j = 0; j < EIGHT && r.normed; j++) {
                *squares = fmaf(x.v[j], x.v[j], *squares);
                x.v[j] *= norm->v[j];
        }
        return eight_of(x.v);
}

/* By what a row's sums are multiplied. */
DEVICE float row_scale(const ProductsArgs *a, float squares) {
        return a->norm ? 1 / sqrtf(squares / (float)a->cols + a->eps) : 1;
}

/* `up`: of the same feature of the second matrix, where there is one. */
DEVICE void finish(const Share *m, uint32_t row, uint32_t i, float sum, float up) {
        float *out = m->p->out + (size_t)i * m->p->rows + row;
        if (m->p->bias)
                sum += m->p->bias[row];
        if (m->a->ending.up)
                *out = gated(m->a->ending.unit, sum, m->a->ending.up_bias ? up + m->a->ending.up_bias[row] : up);
        else if (m->a->ending.update == UPDATE_MULTIPLY)
                *out = gated(m->a->ending.unit, sum, *out);
        else
                *out = m->a->ending.update == UPDATE_ADD ? *out + sum : sum;
}

/* ---- launching ---- */

/* Of blocks that make so many lines each; how many blocks there are. */
static inline ProductsArgs products_args(const Product *p, uint32_t n, const Ending *ending, const Activations *x,
                                         uint32_t lines, uint32_t *ret_blocks) {
        ProductsArgs args = {.ending = *ending,
                             .x = x->x,
                             .norm = x->norm,
                             .cols = p->w.cols,
                             .n = x->n_rows,
                             .eps = x->eps,
                             .type = p->w.type};
        uint32_t blocks = 0;
        for (uint32_t i = 0; i < n; i++) {
                blocks += ceil_div(p[i].w.rows, ending->up ? lines / 2 : lines);
                Joined one = {p[i].w.data, p[i].bias, p[i].out, p[i].w.rows, blocks};
                args.joined[i] = one;
        }
        *ret_blocks = blocks;
        return args;
}

/* Rows of a tile of experts' places, and how many tiles there can be. */
BOTH uint32_t experts_tile(const Routing *r) {
        return r->n_rows * r->n_used >= 12 * r->n_experts ? 32 : 8;
}

BOTH uint32_t experts_tiles(const Routing *r) {
        uint32_t n = r->n_rows * r->n_used;
        return MIN(n, n / experts_tile(r) + r->n_experts);
}

/* Of matmul-many.cu: how many rows can be made at once, 0 for none; their terms, in the scratch; the products. */
HOST uint32_t products_many_most(uint32_t cols);
HOST Terms products_terms(Stream *s, const Activations *x, uint32_t cols);
HOST void products_many(Stream *s, const Product *p, uint32_t n, const Ending *ending, const Activations *x,
                        const Terms *terms);
