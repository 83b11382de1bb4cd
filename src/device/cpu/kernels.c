/* The inner loops, written once with vectors of whatever length the compiler's target has; see kernels.h.
 *
 * This file is compiled with -DCPU_ISA=generic for any processor, and on x86-64 again with CPU_ISA avx2, avx512 and
 * avx512vnni and the flags to match. Only what vector extensions cannot say (fused multiply-add, half precision) is written with
 * the target's own intrinsics. The last, partial vector of a row is always computed as a whole vector padded with
 * zeros, so that a value's result does not depend on where in a vector it stands.
 *
 * Tiles. dots() walks over its rows in tiles of MR rows of w and NR rows of x, with one accumulator vector for each
 * pair. Every tile shape is the same inline function with constant bounds, unrolled by the compiler.
 *
 * Rows are walked along by the blocks of their format; of the plain ones 32 values count as a block. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "device/cpu/activate.h"
#include "device/cpu/formats.h"
#include "device/cpu/kernels.h"

#if defined(__AVX512F__)
enum { NR = 4, NR_MAX = 6 };
#else
enum { NR = 2, NR_MAX = 3 };
#endif
enum { MR = 4 };

/* The last n < 32 values of a row of a plain format, as a block padded with zeros. */
INLINE void block_pad(Dtype type, char *block, const char *from, size_t n) {
        memset(block, 0, block_size(type));
        memcpy(block, from, n * block_size(type) / GROUP);
}

/* ---- dot products ---- */

typedef struct Tile {
        Vec acc[MR][NR_MAX]; /* in registers: only constant indices touch it */
} Tile;

/* Adds the products of one block of each row. */
INLINE void tile_step(Dtype type, int mr, int nr, Tile *t, const char *w, size_t w_stride, const float *x,
                      size_t x_stride) {
        Unpacked u[MR];
        UNROLL for (int r = 0; r < mr; r++)
                unpack_groups(type, w + r * w_stride, &u[r]);
        for (int at = 0; at < block_values(type); at += part_values(type), x += part_values(type)) {
                UNROLL for (int r = 0; r < mr; r++)
                        unpack_part(type, w + r * w_stride, at, &u[r]);
                UNROLL for (int g = 0; g < part_values(type) / GROUP; g++)
                        UNROLL for (int v = 0; v < VECS; v++) {
                                Vec wv[MR];
                                UNROLL for (int r = 0; r < mr; r++)
                                        wv[r] = block_vec(type, w + r * w_stride, &u[r], at, g, v);
                                UNROLL for (int c = 0; c < nr; c++) {
                                        Vec xv = load(x + c * x_stride + g * GROUP + v * LANES);
                                        UNROLL for (int r = 0; r < mr; r++)
                                                t->acc[r][c] = mul_add(wv[r], xv, t->acc[r][c]);
                                }
                        }
        }
}

/* The step for the last n < 32 values of the rows. */
INLINE void tile_step_part(Dtype type, int mr, int nr, Tile *t, const char *w, size_t w_stride, const float *x,
                           size_t x_stride, size_t n) {
        char wp[MR][GROUP * 4];
        float xp[NR_MAX][GROUP] = {0};
        for (int r = 0; r < mr; r++)
                block_pad(type, wp[r], w + r * w_stride, n);
        for (int c = 0; c < nr; c++)
                memcpy(xp[c], x + c * x_stride, n * sizeof(float));
        tile_step(type, mr, nr, t, wp[0], sizeof(wp[0]), xp[0], GROUP);
}

/* Asks for the block at the same place of each row of the next tile. The processor itself follows rows only after it
 * has seen some of each, which is too late for rows of a few kilobytes that come from memory. */
INLINE void tile_prefetch(Dtype type, int mr, const char *w, size_t w_stride) {
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (size_t i = 0; i < block_size(type); i += 64)
                        __builtin_prefetch(w + (size_t)(mr + r) * w_stride + i, 0, 2);
}

/* One tile over at most CPU_DOT_BLOCK values. */
INLINE void tile_block(Dtype type, int mr, int nr, const char *w, size_t w_stride, const float *x, size_t x_stride,
                       size_t k, float *out, size_t out_stride) {
        Tile t;
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int c = 0; c < nr; c++)
                        t.acc[r][c] = splat(0);
        size_t values = (size_t)block_values(type), blocks = k / values;
        for (size_t b = 0; b < blocks; b++) {
                if (nr < NR_MAX) /* a panel is in the cache already */
                        tile_prefetch(type, mr, w + b * block_size(type), w_stride);
                tile_step(type, mr, nr, &t, w + b * block_size(type), w_stride, x + b * values, x_stride);
        }
        if (is_plain(type) && k % GROUP > 0)
                tile_step_part(type, mr, nr, &t, w + blocks * block_size(type), w_stride, x + blocks * GROUP, x_stride,
                               k % GROUP);
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int c = 0; c < nr; c++)
                        out[c * out_stride + r] += fold(t.acc[r][c]);
}

INLINE void tile(const CpuDots *a, Dtype type, int mr, int nr, size_t r, size_t c) {
        const char *w = (const char *)a->w + r * a->w_stride;
        const float *x = a->x + c * a->x_stride;
        float *out = a->out + c * a->out_stride + r;
        for (size_t k = 0; k < a->k; k += CPU_DOT_BLOCK)
                tile_block(type, mr, nr, w + k / (size_t)block_values(type) * block_size(type), a->w_stride, x + k,
                           a->x_stride, MIN(a->k - k, (size_t)CPU_DOT_BLOCK), out, a->out_stride);
}

/* All rows of w for nr rows of x from c on. */
INLINE void tile_column(const CpuDots *a, Dtype type, int nr, size_t c) {
        size_t r = 0;
        for (; r + MR <= a->n_w; r += MR)
                tile(a, type, MR, nr, r, c);
        for (; r < a->n_w; r++)
                tile(a, type, 1, nr, r, c);
}

/* All rows of x for some rows of w at a time: these are in the fastest cache for all but the first of x. */
INLINE void dots_of_few(const CpuDots *a, Dtype type) {
        size_t r = 0, c;
        for (; r + MR <= a->n_w; r += MR) {
                for (c = 0; c + NR <= a->n_x; c += NR)
                        tile(a, type, MR, NR, r, c);
                for (; NR > 2 && c + NR / 2 <= a->n_x; c += NR / 2)
                        tile(a, type, MR, NR / 2, r, c);
                for (; c < a->n_x; c++)
                        tile(a, type, MR, 1, r, c);
        }
        for (; r < a->n_w; r++)
                for (c = 0; c < a->n_x; c++)
                        tile(a, type, 1, 1, r, c);
}

INLINE void dots_of(const CpuDots *a, Dtype type, int nr) {
        size_t c = 0;
        for (; c + nr <= a->n_x; c += nr)
                tile_column(a, type, nr, c);
        for (; nr > 1 && c + nr / 2 <= a->n_x; c += nr / 2)
                tile_column(a, type, nr / 2, c);
        for (; c < a->n_x; c++)
                tile_column(a, type, 1, c);
}

/* Only panels and caches meet more than few rows of x. */
INLINE int rows_together(Dtype type) {
        return type == DTYPE_F32 ? NR_MAX : type == DTYPE_F16 ? NR : 1;
}

/* Up to how many rows of x meet weights as they are stored sooner than weights that were de-quantised first: each tile of NR
 * of them does that anew, which is dear in the formats left. */
INLINE uint32_t few_rows_of(Dtype type) {
        return is_plain(type) || type == DTYPE_Q8_0 || type == DTYPE_Q4_0 ? CPU_FEW_ROWS : NR;
}

static uint32_t few_rows(Dtype type) {
        return NR > 2 ? few_rows_of(type) : 1;
}

/* Functions of their own, so that each is compiled for itself. */
#define DOTS(name, ...)                                                        \
        static __attribute__((noinline)) void dots_##name(const CpuDots *a) {  \
                if (rows_together(DTYPE_##name) == 1 || a->n_x <= CPU_FEW_ROWS) \
                        dots_of_few(a, DTYPE_##name);                          \
                else                                                           \
                        dots_of(a, DTYPE_##name, rows_together(DTYPE_##name)); \
        }
DTYPES(DOTS)

#define DOTS_CASE(name, ...)    \
        case DTYPE_##name:      \
                dots_##name(a); \
                break;

static void dots(const CpuDots *a) {
        switch (a->type) {
                DTYPES(DOTS_CASE)
        }
}

/* ---- weighted sums of rows ---- */

enum { ROWS_AHEAD = 16 }; /* to ask memory for: rows lie apart, which the processor does not follow by itself */

INLINE size_t value_size(Dtype type) {
        return type == DTYPE_F16 ? 2 : 4;
}

INLINE Vec row_vec(Dtype type, const char *row, size_t d) {
        return type == DTYPE_F16 ? from_half(row + d * 2) : load(row + d * 4);
}

INLINE Vec row_part(Dtype type, const char *row, size_t d, size_t n) {
        char t[LANES * 4] = {0};
        memcpy(t, row + d * value_size(type), n * value_size(type));
        return row_vec(type, t, 0);
}

/* `vecs` vectors of `np` outputs, kept in registers over all rows. */
INLINE void mix_vecs(const CpuMix *a, Dtype type, int np, int vecs, size_t c, size_t d) {
        const char *row = a->w;
        const float *p = a->p + c * a->p_stride;
        float *out = a->out + c * a->out_stride + d;
        Vec acc[NR][4];
        UNROLL for (int i = 0; i < np; i++)
                UNROLL for (int v = 0; v < vecs; v++)
                        acc[i][v] = load(out + i * a->out_stride + v * LANES);
        for (size_t r = 0; r < a->n_w; r++, row += a->w_stride) {
                const char *ahead = row + ROWS_AHEAD * a->w_stride + d * value_size(type);
                for (size_t i = 0; i < vecs * LANES * value_size(type); i += 64)
                        __builtin_prefetch(ahead + i, 0, 2);
                UNROLL for (int v = 0; v < vecs; v++) {
                        Vec x = row_vec(type, row, d + v * LANES);
                        UNROLL for (int i = 0; i < np; i++)
                                acc[i][v] = mul_add(splat(p[i * a->p_stride + r]), x, acc[i][v]);
                }
        }
        UNROLL for (int i = 0; i < np; i++)
                UNROLL for (int v = 0; v < vecs; v++)
                        store(out + i * a->out_stride + v * LANES, acc[i][v]);
}

INLINE void mix_part(const CpuMix *a, Dtype type, size_t c, size_t d) {
        const char *row = a->w;
        const float *p = a->p + c * a->p_stride;
        float *out = a->out + c * a->out_stride + d;
        size_t n = a->dim - d;
        Vec acc = load_part(out, n);
        for (size_t r = 0; r < a->n_w; r++, row += a->w_stride)
                acc = mul_add(splat(p[r]), row_part(type, row, d, n), acc);
        store_part(out, acc, n);
}

INLINE void mix_column(const CpuMix *a, Dtype type, int np, size_t c) {
        size_t d = 0;
        for (; d + 4 * LANES <= a->dim; d += 4 * LANES)
                mix_vecs(a, type, np, 4, c, d);
        for (; d + LANES <= a->dim; d += LANES)
                mix_vecs(a, type, np, 1, c, d);
        if (d < a->dim)
                for (int i = 0; i < np; i++)
                        mix_part(a, type, c + i, d);
}

INLINE void mix_of(const CpuMix *a, Dtype type) {
        size_t c = 0;
        for (; c + NR <= a->n_p; c += NR)
                mix_column(a, type, NR, c);
        for (; c < a->n_p; c++)
                mix_column(a, type, 1, c);
}

static void mix(const CpuMix *a) {
        if (a->type == DTYPE_F16)
                mix_of(a, DTYPE_F16);
        else
                mix_of(a, DTYPE_F32);
}

/* ---- conversions ---- */

INLINE void dequantise_block(Dtype type, const char *block, float *out) {
        Unpacked u;
        unpack_groups(type, block, &u);
        for (int at = 0; at < block_values(type); at += part_values(type)) {
                unpack_part(type, block, at, &u);
                UNROLL for (int g = 0; g < part_values(type) / GROUP; g++)
                        UNROLL for (int v = 0; v < VECS; v++)
                                store(out + at + g * GROUP + v * LANES, block_vec(type, block, &u, at, g, v));
        }
}

INLINE void dequantise_as(Dtype type, const char *row, float *out, size_t n) {
        size_t values = (size_t)block_values(type);
        for (; n >= values; n -= values, out += values, row += block_size(type))
                dequantise_block(type, row, out);
        if (is_plain(type) && n > 0) {
                char wp[GROUP * 4];
                float t[GROUP];
                block_pad(type, wp, row, n);
                dequantise_block(type, wp, t);
                memcpy(out, t, n * sizeof(float));
        }
}

#define DEQUANTISE_CASE(name, ...)                        \
        case DTYPE_##name:                                \
                dequantise_as(DTYPE_##name, row, out, n); \
                break;

static void dequantise(Dtype type, const void *row, float *out, size_t n) {
        switch (type) {
                DTYPES(DEQUANTISE_CASE)
        }
}

static void to_f16(const float *x, uint16_t *out, size_t n) {
        for (size_t i = 0; i < n; i++)
#if defined(__AVX2__)
                out[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
#else
                out[i] = half_from_float(x[i]);
#endif
}

/* ---- rows of values ---- */

/* What is there already, if it counts. */
INLINE Vec updated(Update update, Vec before, Vec y) {
        return update == UPDATE_ADD ? before + y : y;
}

static void rmsnorm(float *out, const float *x, const float *weight, size_t n, float eps, Update update) {
        size_t whole = n - n % LANES;
        Vec sum = splat(0);
        for (size_t i = 0; i < whole; i += LANES)
                sum = mul_add(load(x + i), load(x + i), sum);
        Vec last = load_part(x + whole, n - whole);
        float scale = 1 / sqrtf(fold(mul_add(last, last, sum)) / (float)n + eps);
        for (size_t i = 0; i < whole; i += LANES)
                store(out + i, updated(update, load(out + i), load(x + i) * scale * load(weight + i)));
        Vec y = last * scale * load_part(weight + whole, n - whole);
        store_part(out + whole, updated(update, load_part(out + whole, n - whole), y), n - whole);
}

INLINE Vec gated(Gate unit, Vec gate, Vec up) {
        switch (unit) {
        case GATE_GELU_TANH:
                return activate(ACTIVATION_GELU_TANH, gate) * up;
        case GATE_CLAMPED:
                gate = vec_min(splat(7), gate);
                return gate / (1.0f + vec_exp(-1.702f * gate)) * (vec_min(splat(7), vec_max(splat(-7), up)) + 1.0f);
        case GATE_SILU:
        default:
                return activate(ACTIVATION_SILU, gate) * up;
        }
}

static void glu(float *out, const float *gate, const float *up, size_t n, Gate unit) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
                store(out + i, gated(unit, load(gate + i), load(up + i)));
        if (i < n)
                store_part(out + i, gated(unit, load_part(gate + i, n - i), load_part(up + i, n - i)), n - i);
}

static float max(const float *x, size_t n) {
        size_t whole = n - n % LANES;
        Vec most = splat(-INFINITY);
        for (size_t i = 0; i < whole; i += LANES)
                most = vec_max(load(x + i), most);
        float best = fold_max(most);
        for (size_t i = whole; i < n; i++)
                best = x[i] > best ? x[i] : best;
        return best;
}

static float exp_sum(float *out, const float *x, size_t n, float shift, float scale) {
        size_t whole = n - n % LANES;
        Vec sum = splat(0);
        for (size_t i = 0; i < whole; i += LANES) {
                Vec e = vec_exp((load(x + i) - shift) * scale);
                store(out + i, e);
                sum += e;
        }
        if (whole < n) { /* the padding lanes must add nothing */
                store_part(out + whole, vec_exp((load_part(x + whole, n - whole) - shift) * scale), n - whole);
                sum += load_part(out + whole, n - whole);
        }
        return fold(sum);
}

static void scale(float *x, size_t n, float by) {
        for (size_t i = 0; i < n; i++)
                x[i] *= by;
}

static void softcap(float *x, size_t n, float scale, float cap) {
        size_t i = 0;
        float by = scale / cap;
        for (; i + LANES <= n; i += LANES)
                store(x + i, cap * vec_tanh(load(x + i) * by));
        if (i < n)
                store_part(x + i, cap * vec_tanh(load_part(x + i, n - i) * by), n - i);
}

/* A constant row has no variance, however its mean is rounded: eps keeps it finite. */
static void layernorm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps) {
        size_t whole = n - n % LANES;
        Vec sum = splat(0), squares = splat(0);
        for (size_t i = 0; i < whole; i += LANES)
                sum += load(x + i);
        float mean = fold(sum + load_part(x + whole, n - whole)) / (float)n;
        for (size_t i = 0; i < whole; i += LANES) {
                Vec d = load(x + i) - mean;
                squares = mul_add(d, d, squares);
        }
        float last[LANES] = {0};
        for (size_t i = whole; i < n; i++)
                last[i - whole] = x[i] - mean;
        float scale = 1 / sqrtf(fold(mul_add(load(last), load(last), squares)) / (float)n + eps);
        for (size_t i = 0; i < whole; i += LANES)
                store(out + i, mul_add((load(x + i) - mean) * scale, load(weight + i), load(bias + i)));
        store_part(out + whole,
                   mul_add(load(last) * scale, load_part(weight + whole, n - whole), load_part(bias + whole, n - whole)),
                   n - whole);
}

static void add(float *out, const float *x, size_t n) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
                store(out + i, load(out + i) + load(x + i));
        for (; i < n; i++)
                out[i] += x[i];
}

static float dot(const float *x, const float *y, size_t n) {
        size_t whole = n - n % LANES;
        Vec sum = splat(0);
        for (size_t i = 0; i < whole; i += LANES)
                sum = mul_add(load(x + i), load(y + i), sum);
        return fold(mul_add(load_part(x + whole, n - whole), load_part(y + whole, n - whole), sum));
}

const CpuKernels PASTE(cpu_kernels_, CPU_ISA) = {
        .name = STRING(CPU_ISA),
        .dots = dots,
        .few_rows = few_rows,
        .mix = mix,
        .dequantise = dequantise,
        .to_f16 = to_f16,
        .rmsnorm = rmsnorm,
        .glu = glu,
        .max = max,
        .exp_sum = exp_sum,
        .scale = scale,
        .softcap = softcap,
        .layernorm = layernorm,
        .add = add,
        .dot = dot,
        .gemm = &PASTE(cpu_gemm_, CPU_ISA),
        .attention = &PASTE(cpu_attention_, CPU_ISA),
};
