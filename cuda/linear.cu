/* Products with the packed matrices of encoders: many rows at once, and weights that are known long before.
 *
 * Both factors are brought into one layout, weights by pack() when the model is loaded, activations by the same kernel
 * before each product, into the stream's scratch. A row is cut into groups of 32 columns, zeros behind the last, and
 * its numbers are written as 16-bit terms that tensor cores multiply:
 *
 *   PRECISION_F32           three bfloat16 that add up to the number, 24 bits. Of their nine products the six that count
 *                           are made, the small ones first
 *   PRECISION_INT16, INT8   one float16, 11 bits, of the row times a power of two that brings its greatest value near
 *                           2^15: no coarser than integers of 11 bits and a sign. 8 bits would take scales for each 64
 *                           columns, which cost what the shorter product saves
 *
 *   [plane][group][row][32 columns] of 16 bits, then float scale[row]        plane: the term; rows are whole TILEs
 *
 * So what a block needs of a group is contiguous, and comes by asynchronous copies in the order in which lanes read it:
 * lane 4g + t has columns 8t to 8t + 7 of row g, as in matmul.cu. A block makes a tile of rows (A) and features (B); its
 * columns are summed from the first group to the last in any tile, so that a row has the same bits in the tiles for few
 * and for many rows. The sum of a group is made from 0 and then added where three terms are: tensor cores cut off what
 * they add, float32 additions round. */
#include <errno.h>

#include "cuda/kernel.h"
#include "util/checked.h"

enum {
        TILE = 128, /* of prepared rows: the greatest tile of a product */
        PREPARE_ROWS = 4, /* one by each warp */
        PREPARE_THREADS = PREPARE_ROWS * WARP,
        TERMS = 3, /* bfloat16 */
};

/* A matrix in the layout above. */
typedef struct Prepared {
        char *data;
        uint32_t rows, groups; /* rows: as they are laid out */
} Prepared;

static uint32_t plane_count(Precision p) {
        return p == PRECISION_F32 ? TERMS : 1;
}

static size_t row_size(Precision p, uint32_t groups) {
        return (size_t)groups * plane_count(p) * GROUP_BYTES + sizeof(float);
}

static Prepared prepared(void *data, uint32_t rows, uint32_t cols) {
        Prepared r = {(char *)data, ceil_div(rows, TILE) * TILE, ceil_div(cols, GROUP)};
        return r;
}

DEVICE char *prepared_at(const Prepared *p, uint32_t plane, uint32_t group, uint32_t row) {
        return p->data + (((size_t)plane * p->groups + group) * p->rows + row) * GROUP_BYTES;
}

DEVICE float *prepared_scale(const Prepared *p, uint32_t planes) {
        return (float *)prepared_at(p, planes, 0, 0);
}

/* ---- preparing ---- */

typedef struct PrepareArgs {
        Prepared to;
        uint32_t first; /* row of `to` */
        const char *from;
        Dtype type;
        uint32_t n, cols;
} PrepareArgs;

DEVICE void row_eight(const PrepareArgs *a, const char *row, uint32_t i, float v[EIGHT]) {
        if (is_quantised(a->type) && i < a->cols)
                quantised_values(a->type, row, i, v);
        else
                plain_values(a->type, row, i, a->cols, is_aligned(row), v);
}

/* The exponent of the power of two that the row is multiplied by. */
DEVICE int row_exponent(const PrepareArgs *a, const char *row) {
        float most = 0, v[EIGHT];
        for (uint32_t i = threadIdx.x % WARP * EIGHT; i < a->cols; i += WARP * EIGHT) {
                row_eight(a, row, i, v);
                UNROLL for (int j = 0; j < EIGHT; j++)
                        most = fmaxf(most, fabsf(v[j]));
        }
        return half_exponent(warp_max(most));
}

/* A warp makes a row. */
DEVICE void prepare_row(uint32_t planes, const PrepareArgs *a) {
        uint32_t i = blockIdx.x * PREPARE_ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
        if (i >= a->n)
                return;
        const char *row = a->from + i * row_bytes(a->type, a->cols);
        int exponent = planes == 1 ? row_exponent(a, row) : 0;
        float scale = ldexpf(1, exponent);
        if (lane == 0)
                prepared_scale(&a->to, planes)[a->first + i] = ldexpf(1, -exponent);
        for (uint32_t c = lane; c < a->to.groups * 4; c += WARP) {
                float v[EIGHT];
                uint32_t terms[TERMS][4];
                row_eight(a, row, c * EIGHT, v);
                UNROLL for (int j = 0; j < 4; j++) {
                        if (planes == 1)
                                terms[0][j] = half_pair(v[2 * j] * scale, v[2 * j + 1] * scale);
                        else
                                three_terms(v[2 * j], v[2 * j + 1], &terms[0][j], &terms[1][j], &terms[2][j]);
                }
                UNROLL for (uint32_t p = 0; p < planes; p++)
                        store_words(prepared_at(&a->to, p, c / 4, a->first + i) + c % 4 * 16, terms[p]);
        }
}

KERNEL(prepare_halves, PrepareArgs, PREPARE_THREADS) {
        prepare_row(1, &a);
}

KERNEL(prepare_terms, PrepareArgs, PREPARE_THREADS) {
        prepare_row(TERMS, &a);
}

static void prepare_matrix(Stream *s, Precision p, PrepareArgs *args) {
        StreamLaunch l = {p == PRECISION_F32 ? (const void *)prepare_terms : (const void *)prepare_halves,
                          {ceil_div(args->n, PREPARE_ROWS), 1, 1}, PREPARE_THREADS, 0};
        stream_launch(s, &l, args);
}

HOST size_t cuda_packed_size(const Device *d, Precision precision, uint32_t rows, uint32_t cols) {
        size_t size;
        if (rows > GRID_MAX * 32 || cols > LINEAR_COLS_MAX ||
            !checked_mul((size_t)ceil_div(rows, TILE) * TILE, row_size(precision, ceil_div(cols, GROUP)), &size))
                return SIZE_MAX;
        return size;
}

/* As many rows at a time as the scratch takes in the file's format. */
HOST void cuda_pack(Stream *s, const Packed *to, uint32_t first, const Matrix *w) {
        char *scratch = (char *)stream_scratch(s)->any;
        size_t stride = dtype_row_size(w->type, w->cols);
        uint32_t most = (uint32_t)MIN(STREAM_SCRATCH / stride, (size_t)w->rows), n;
        for (uint32_t i = 0; i < w->rows; i += n) {
                n = MIN(most, w->rows - i);
                cuda_upload(s, scratch, (const char *)w->data + i * stride, n * stride);
                PrepareArgs args = {prepared(to->data, to->rows, to->cols), first + i, scratch, w->type, n, w->cols};
                prepare_matrix(s, to->precision, &args);
        }
}

/* ---- products ---- */

typedef struct LinearArgs {
        float *out;
        Prepared x, w;
        const float *bias;
        uint32_t n, rows; /* of x and w, without those that fill tiles */
        Activation activation;
        Update update;
} LinearArgs;

/* How a block makes its tile: warps side by side, each of `m` by `n` products of 16 rows and 8 features, and how many
 * groups it has in shared memory. */
typedef struct Shape {
        uint32_t planes, warps_m, warps_n, m, n, stages;
} Shape;

DEVICE uint32_t shape_rows(const Shape *h) {
        return h->warps_m * h->m * 16;
}

DEVICE uint32_t shape_features(const Shape *h) {
        return h->warps_n * h->n * 8;
}

DEVICE uint32_t stage_rows(const Shape *h) {
        return shape_rows(h) + shape_features(h);
}

/* Of a stage, [plane][rows, then features][32 columns]. */
DEVICE void copy_stage(const Shape *h, const LinearArgs *a, uint32_t group) {
        uint32_t each = stage_rows(h) * 4, threads = h->warps_m * h->warps_n * WARP;
        char *to = (char *)shared_memory + group % h->stages * h->planes * each * 16;
        UNROLL for (uint32_t k = 0; k < h->planes * each / threads; k++) {
                uint32_t i = threadIdx.x + k * threads, plane = i / each, row = i % each / 4;
                const char *from = row < shape_rows(h)
                                           ? prepared_at(&a->x, plane, group, blockIdx.x * shape_rows(h) + row)
                                           : prepared_at(&a->w, plane, group, blockIdx.y * shape_features(h) + row -
                                                                                      shape_rows(h));
                copy_async(to + i * 16, from + i % 4 * 16);
        }
}

DEVICE Words stage_words(const Shape *h, uint32_t group, uint32_t plane, uint32_t row) {
        uint32_t at = ((group % h->stages * h->planes + plane) * stage_rows(h) + row) * 4 + threadIdx.x % 4;
        return load_words(shared_memory + at * 16);
}

DEVICE void both_halves(bool halves, float acc[4], const Words *a, const Words *b, const Words *x) {
        UNROLL for (int i = 0; i < 4; i += 2) {
                uint32_t rows[4] = {a->w[i], b->w[i], a->w[i + 1], b->w[i + 1]};
                if (halves)
                        mma_half(acc, rows, x->w + i);
                else
                        mma(acc, rows, x->w + i);
        }
}

/* Rows a and b of terms, with a feature. */
DEVICE void add_terms(float acc[4], const Words a[TERMS], const Words b[TERMS], const Words x[TERMS]) {
        float sum[4] = {0, 0, 0, 0};
        UNROLL for (int order = TERMS - 1; order >= 0; order--)
                UNROLL for (int i = 0; i <= order; i++)
                        both_halves(false, sum, &a[order - i], &b[order - i], &x[i]);
        UNROLL for (int i = 0; i < 4; i++)
                acc[i] += sum[i];
}

#define M_MAX 4 /* of Shape.m and .n */

DEVICE void add_stage(const Shape *h, uint32_t group, float acc[M_MAX][M_MAX][4]) {
        uint32_t warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4;
        uint32_t row = warp % h->warps_m * h->m * 16 + g, feature = shape_rows(h) + warp / h->warps_m * h->n * 8 + g;
        Words x[M_MAX][TERMS];
        UNROLL for (uint32_t j = 0; j < h->n; j++)
                UNROLL for (uint32_t p = 0; p < h->planes; p++)
                        x[j][p] = stage_words(h, group, p, feature + j * 8);
        UNROLL for (uint32_t i = 0; i < h->m; i++) {
                Words a[TERMS], b[TERMS];
                UNROLL for (uint32_t p = 0; p < h->planes; p++) {
                        a[p] = stage_words(h, group, p, row + i * 16);
                        b[p] = stage_words(h, group, p, row + i * 16 + 8);
                }
                UNROLL for (uint32_t j = 0; j < h->n; j++) {
                        if (h->planes == 1)
                                both_halves(true, acc[i][j], &a[0], &b[0], &x[j][0]);
                        else
                                add_terms(acc[i][j], a, b, x[j]);
                }
        }
}

DEVICE float activate(Activation activation, float x) {
        switch (activation) {
        case ACTIVATION_GELU:
                return x / 2 * (1 + erff(x * 0.70710678f));
        case ACTIVATION_GELU_TANH:
                return x / 2 * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
        case ACTIVATION_RELU:
                return fmaxf(x, 0);
        case ACTIVATION_TANH:
                return tanhf(x);
        case ACTIVATION_SILU:
                return x / (1 + expf(-x));
        case ACTIVATION_NONE:
        default:
                return x;
        }
}

DEVICE void finish_linear(const Shape *h, const LinearArgs *a, uint32_t i, uint32_t r, float sum) {
        if (i >= a->n || r >= a->rows)
                return;
        float *out = a->out + (size_t)i * a->rows + r;
        sum = sum * prepared_scale(&a->x, h->planes)[i] * prepared_scale(&a->w, h->planes)[r];
        float v = activate(a->activation, a->bias ? sum + a->bias[r] : sum);
        *out = a->update == UPDATE_SET ? v : a->update == UPDATE_ADD ? *out + v : *out * v;
}

DEVICE void linear_tile(Shape shape, const LinearArgs *a) {
        const Shape *h = &shape;
        uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, groups = a->w.groups;
        uint32_t row0 = blockIdx.x * shape_rows(h) + warp % h->warps_m * h->m * 16 + lane / 4;
        uint32_t feature0 = blockIdx.y * shape_features(h) + warp / h->warps_m * h->n * 8 + lane % 4 * 2;
        float acc[M_MAX][M_MAX][4];
        UNROLL for (uint32_t i = 0; i < h->m; i++)
                UNROLL for (uint32_t j = 0; j < h->n; j++)
                        acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0;
        for (uint32_t group = 0; group < h->stages - 1; group++) {
                if (group < groups)
                        copy_stage(h, a, group);
                copy_commit();
        }
        NO_UNROLL for (uint32_t group = 0; group < groups; group++) {
                copy_wait((int)h->stages - 2);
                __syncthreads(); /* all have their part of this group, and are done with the one before it */
                if (group + h->stages - 1 < groups)
                        copy_stage(h, a, group + h->stages - 1);
                copy_commit(); /* an empty one, too: groups are counted */
                add_stage(h, group, acc);
        }
        UNROLL for (uint32_t i = 0; i < h->m; i++)
                UNROLL for (uint32_t j = 0; j < h->n; j++)
                        UNROLL for (uint32_t e = 0; e < 4; e++)
                                finish_linear(h, a, row0 + i * 16 + e / 2 * 8, feature0 + j * 8 + e % 2, acc[i][j][e]);
}

#define LINEAR(name, planes, warps_m, warps_n, m, n, stages)                             \
        enum { name##_threads = (warps_m) * (warps_n) * WARP };                          \
        KERNEL(name, LinearArgs, name##_threads) {                                       \
                Shape shape = {planes, warps_m, warps_n, m, n, stages};                  \
                linear_tile(shape, &a);                                                  \
        }                                                                                \
        static const Shape name##_shape = {planes, warps_m, warps_n, m, n, stages};
LINEAR(linear_halves, 1, 2, 4, 4, 4, 3)     /* 128 x 128 */
LINEAR(linear_halves_few, 1, 2, 2, 1, 2, 4) /* 32 x 32 */
LINEAR(linear_terms, TERMS, 2, 4, 2, 2, 2)  /* 64 x 64 */
LINEAR(linear_terms_few, TERMS, 2, 2, 1, 2, 3)

static StreamLaunch launch_of(const void *kernel, const Shape *h, uint32_t n, uint32_t rows) {
        uint32_t m = h->warps_m * h->m * 16, f = h->warps_n * h->n * 8;
        StreamLaunch l = {kernel, {ceil_div(n, m), ceil_div(rows, f), 1}, h->warps_m * h->warps_n * WARP,
                          (size_t)h->stages * h->planes * (m + f) * GROUP_BYTES};
        return l;
}

static void multiply(Stream *s, Precision p, LinearArgs *a) {
        bool f32 = p == PRECISION_F32;
        StreamLaunch many = launch_of(f32 ? (const void *)linear_terms : (const void *)linear_halves,
                                      f32 ? &linear_terms_shape : &linear_halves_shape, a->n, a->rows);
        StreamLaunch few = launch_of(f32 ? (const void *)linear_terms_few : (const void *)linear_halves_few,
                                     f32 ? &linear_terms_few_shape : &linear_halves_few_shape, a->n, a->rows);
        bool enough = (uint64_t)many.grid[0] * many.grid[1] >= stream_processors(s);
        stream_launch(s, enough ? &many : &few, a);
}

HOST void cuda_linear(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                      Activation activation, Update update) {
        Precision p = w->precision;
        Prepared weights = prepared(w->data, w->rows, w->cols);
        uint32_t most = (uint32_t)(STREAM_SCRATCH / row_size(p, weights.groups)) / TILE * TILE, n;
        for (uint32_t i = 0; i < n_rows; i += n) {
                n = MIN(most, n_rows - i);
                Prepared rows = prepared(stream_scratch(s)->any, n, w->cols);
                PrepareArgs in = {rows, 0, (const char *)(x + (size_t)i * w->cols), DTYPE_F32, n, w->cols};
                LinearArgs args = {out + (size_t)i * w->rows, rows, weights, bias, n, w->rows, activation, update};
                prepare_matrix(s, p, &in);
                multiply(s, p, &args);
        }
}
