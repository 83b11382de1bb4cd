/* Products of packed matrices, compiled once for each instruction set; see CpuGemm in kernels.h for layouts and the
 * order of summation.
 *
 * A tile is MR rows by one panel of NV vectors, with an accumulator vector for each row and vector of the panel: the
 * greatest that the registers hold. One step takes four bytes of every row, spread to all lanes, and four bytes of every
 * feature: one float32, two 16-bit or four 8-bit integers of each. So one layout serves all precisions. Rows stand a
 * constant apart, which leaves one pointer to walk over them all. */
#include <math.h>

#include "device/cpu/finish.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec.h"
#include "util/macro.h"

#if defined(__AVX512F__)
enum { MR = 12 };
#else
enum { MR = 6 };
#endif
enum { UNIT = 4, STEP = NV * LANES * UNIT };
enum { AHEAD = 16 * STEP }; /* what of a panel is asked for while a step is computed: it comes from beyond the first cache */

typedef int16_t ShortVec __attribute__((vector_size(LANES * 2)));
typedef uint8_t ByteVec __attribute__((vector_size(LANES)));

#if defined(__AVX512F__)
typedef __m512i Ints;
#elif defined(__AVX2__)
typedef __m256i Ints;
#endif

INLINE float float_at(const char *p) {
        float x;
        memcpy(&x, p, sizeof(x));
        return x;
}

#if defined(__AVX2__)
INLINE int32_t int_at(const char *p) {
        int32_t x;
        memcpy(&x, p, sizeof(x));
        return x;
}

INLINE Ints load_ints(const char *p) {
        Ints x;
        memcpy(&x, p, sizeof(x));
        return x;
}
#endif

/* ---- formats ---- */

INLINE size_t value_size(Precision p) {
        return p == PRECISION_F32 ? 4 : p == PRECISION_INT16 ? 2 : 1;
}

/* The greatest integer: of 16-bit ones as many bits as let CPU_GEMM_BLOCK products be summed in 32. */
INLINE int32_t greatest(Precision p) {
        return p == PRECISION_INT16 ? 2047 : 127;
}
_Static_assert(2047ll * 2047 * CPU_GEMM_BLOCK <= INT32_MAX, "sums of a block are exact");

/* Values of a block. */
INLINE size_t block_of(Precision p) {
        return p == PRECISION_INT8 ? CPU_GEMM_BLOCK_INT8 : CPU_GEMM_BLOCK;
}

INLINE size_t row_stride(Precision p) {
        return block_of(p) * value_size(p) + CPU_GEMM_PAD;
}

/* What stands before the features of a block in a panel: their scales, and of bytes their sums. */
INLINE size_t head_size(Precision p) {
        return p == PRECISION_F32 ? 0 : p == PRECISION_INT16 ? NR * 4 : NR * 8;
}

INLINE size_t steps_of(Precision p, size_t k) {
        return (k * value_size(p) + UNIT - 1) / UNIT;
}

INLINE size_t block_stride(Precision p) {
        return head_size(p) + steps_of(p, block_of(p)) * STEP;
}

static size_t panel_size(Precision p, size_t k) {
        size_t whole = k / block_of(p), rest = k % block_of(p);
        return whole * block_stride(p) + (rest > 0 ? head_size(p) + steps_of(p, rest) * STEP : 0);
}

static uint32_t rows_at_once(Precision p, size_t k) {
        (void)p, (void)k;
        return CPU_GEMM_ROWS;
}

static size_t rows_size(Precision p, size_t k) {
        return (k + block_of(p) - 1) / block_of(p) * CPU_GEMM_ROWS * row_stride(p);
}

/* The greatest magnitude; NaN are passed over. */
INLINE float greatest_of(const float *x, size_t n) {
        const IntVec bits = (IntVec){0} + 0x7fffffff;
        size_t whole = n - n % LANES;
        Vec most = splat(0);
        for (size_t i = 0; i < whole; i += LANES)
                most = vec_max((Vec)((IntVec)load(x + i) & bits), most);
        if (whole < n)
                most = vec_max((Vec)((IntVec)load_part(x + whole, n - whole) & bits), most);
        return fold_max(most);
}

/* The integers nearest to x * by. What is no number becomes any integer: no product or sum of it traps, and only its own
 * row has it. */
INLINE IntVec to_integers(Vec x, float by) {
        const Vec round = splat(0x1.8p23f); /* adding it leaves no bits for a fraction */
        return (IntVec)mul_add(x, splat(by), round) - (IntVec)round;
}

/* n integers of a row, and zeros up to the end of the last vector; bytes are stored as unsigned ones, 128 more. */
INLINE void store_integers(Precision p, char *to, const float *x, size_t n, float by) {
        for (size_t i = 0; i < n; i += LANES) {
                IntVec q = to_integers(n - i >= LANES ? load(x + i) : load_part(x + i, n - i), by);
                if (p == PRECISION_INT16) {
                        ShortVec s = __builtin_convertvector(q, ShortVec);
                        memcpy(to + i * 2, &s, sizeof(s));
                } else {
                        ByteVec b = __builtin_convertvector(q + 128, ByteVec);
                        memcpy(to + i, &b, sizeof(b));
                }
        }
}

INLINE void prepare_block(Precision p, char *to, const float *x, size_t n) {
        if (p == PRECISION_F32) {
                memcpy(to, x, n * sizeof(float));
                return;
        }
        float most = greatest_of(x, n), limit = (float)greatest(p), scale = most / limit;
        store_integers(p, to, x, n, most > 0 ? limit / most : 0);
        memcpy(to + row_stride(p) - CPU_GEMM_PAD, &scale, sizeof(scale));
}

static void prepare(Precision p, void *rows, uint32_t row, const float *x, size_t k) {
        char *to = (char *)rows + row * row_stride(p);
        for (size_t i = 0; i < k; i += block_of(p), to += CPU_GEMM_ROWS * row_stride(p)) {
                size_t n = MIN(k - i, block_of(p));
                if (p == PRECISION_F32)
                        prepare_block(PRECISION_F32, to, x + i, n);
                else if (p == PRECISION_INT16)
                        prepare_block(PRECISION_INT16, to, x + i, n);
                else if (n == CPU_GEMM_BLOCK_INT8)
                        prepare_block(PRECISION_INT8, to, x + i, CPU_GEMM_BLOCK_INT8);
                else
                        prepare_block(PRECISION_INT8, to, x + i, n);
        }
}

/* One feature's values of a block, each into its step. */
static void pack_block(Precision p, char *block, uint32_t lane, const float *w, size_t n) {
        size_t each = UNIT / value_size(p);
        char *to = block + head_size(p) + lane * UNIT;
        if (p == PRECISION_F32) {
                for (size_t i = 0; i < n; i++)
                        memcpy(to + i * STEP, w + i, sizeof(float));
                return;
        }
        float most = greatest_of(w, n), limit = (float)greatest(p), scale = most / limit, by = most > 0 ? 1 / scale : 0;
        int32_t sum = 0;
        for (size_t i = 0; i < n; i++) {
                int32_t q = (int32_t)CLAMP(rintf(w[i] * by), -limit, limit); /* NaN become a limit */
                memcpy(to + i / each * STEP + i % each * value_size(p), &q, value_size(p));
                sum += q;
        }
        memcpy(block + lane * 4, &scale, sizeof(scale));
        sum *= -128;
        if (p == PRECISION_INT8)
                memcpy(block + NR * 4 + lane * 4, &sum, sizeof(sum));
}

static void pack(Precision p, void *panel, uint32_t lane, const float *w, size_t k) {
        for (size_t i = 0; i < k; i += block_of(p))
                pack_block(p, (char *)panel + i / block_of(p) * block_stride(p), lane, w + i,
                           MIN(k - i, block_of(p)));
}

/* ---- products ---- */

/* Adds the products of one block to the sums of mr rows. */
INLINE void block_floats(int mr, Vec sum[][NV], const char *w, const char *x, size_t steps) {
        const Precision p = PRECISION_F32;
        Vec acc[MR][NV];
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < NV; v++)
                        acc[r][v] = splat(0);
        for (size_t s = 0; s < steps; s++, w += STEP, x += UNIT) {
                Vec wv[NV];
                UNROLL for (int v = 0; v < NV; v++) {
                        wv[v] = load(w + v * LANES * 4);
                        __builtin_prefetch(w + AHEAD + v * LANES * 4);
                }
                UNROLL for (int r = 0; r < mr; r++)
                        UNROLL for (int v = 0; v < NV; v++)
                                acc[r][v] = mul_add(wv[v], splat(float_at(x + r * row_stride(p))), acc[r][v]);
        }
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < NV; v++)
                        sum[r][v] += acc[r][v];
}

#if defined(__AVX2__)
/* acc + w * x: in each lane the sum of two products, or of four. */
INLINE Ints fuse(Precision p, Ints acc, Ints w, int32_t x) {
#if defined(__AVX512VNNI__)
        Ints xs = _mm512_set1_epi32(x);
        if (p == PRECISION_INT16)
                __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(xs));
        else
                __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(xs), "v"(w));
        return acc;
#elif defined(__AVX512F__)
        return _mm512_add_epi32(acc, _mm512_madd_epi16(w, _mm512_set1_epi32(x)));
#else
        return _mm256_add_epi32(acc, _mm256_madd_epi16(w, _mm256_set1_epi32(x)));
#endif
}

INLINE void block_ints(Precision p, int mr, Vec sum[][NV], const char *block, const char *x, size_t steps) {
        Ints acc[MR][NV]; /* of this very type: with any other they would not stay in registers */
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < NV; v++)
                        acc[r][v] = p == PRECISION_INT8 ? load_ints(block + NR * 4 + v * LANES * 4) : (Ints){0};
        const char *w = block + head_size(p);
        for (size_t s = 0; s < steps; s++, w += STEP) {
                Ints wv[NV];
                UNROLL for (int v = 0; v < NV; v++) {
                        wv[v] = load_ints(w + v * LANES * 4);
                        __builtin_prefetch(w + AHEAD + v * LANES * 4);
                }
                UNROLL for (int r = 0; r < mr; r++)
                        UNROLL for (int v = 0; v < NV; v++)
                                acc[r][v] = fuse(p, acc[r][v], wv[v], int_at(x + r * row_stride(p) + s * UNIT));
        }
        UNROLL for (int r = 0; r < mr; r++) {
                float scale = float_at(x + r * row_stride(p) + row_stride(p) - CPU_GEMM_PAD);
                UNROLL for (int v = 0; v < NV; v++)
                        sum[r][v] = mul_add(__builtin_convertvector((IntVec)acc[r][v], Vec),
                                            load(block + v * LANES * 4) * scale, sum[r][v]);
        }
}
#endif

INLINE void tile(const CpuProduct *a, Precision p, int mr, size_t row) {
        Vec sum[MR][NV];
        const char *block = a->panel, *x = (const char *)a->rows + row * row_stride(p);
        UNROLL for (int r = 0; r < mr; r++)
                UNROLL for (int v = 0; v < NV; v++)
                        sum[r][v] = splat(0);
        for (size_t k = 0; k < a->k; k += block_of(p)) {
                size_t steps = steps_of(p, MIN(a->k - k, block_of(p)));
                if (p == PRECISION_F32)
                        block_floats(mr, sum, block, x, steps);
#if defined(__AVX2__)
                else
                        block_ints(p, mr, sum, block, x, steps);
#endif
                block += block_stride(p);
                x += CPU_GEMM_ROWS * row_stride(p);
        }
        finish(a, mr, sum, row);
}

INLINE void product_of(const CpuProduct *a, Precision p) {
        size_t row = 0;
        for (; row + MR <= a->n_rows; row += MR)
                tile(a, p, MR, row);
        for (; row + 4 <= a->n_rows; row += 4)
                tile(a, p, 4, row);
        for (; row + 2 <= a->n_rows; row += 2)
                tile(a, p, 2, row);
        if (row < a->n_rows)
                tile(a, p, 1, row);
}

/* Functions of their own, so that each is compiled for itself. */
#define PRODUCT(name, p)                                                                                               \
        static __attribute__((noinline)) void name(const CpuProduct *a) {                                              \
                product_of(a, p);                                                                                      \
        }
PRODUCT(product_f32, PRECISION_F32)
#if defined(__AVX2__)
PRODUCT(product_int16, PRECISION_INT16)
#endif
#if defined(__AVX512VNNI__)
PRODUCT(product_int8, PRECISION_INT8)
#endif

static void multiply(const CpuProduct *a) {
        switch (a->precision) {
        case PRECISION_F32:
                product_f32(a);
                break;
#if defined(__AVX2__)
        case PRECISION_INT16:
                product_int16(a);
                break;
#endif
#if defined(__AVX512VNNI__)
        case PRECISION_INT8:
                product_int8(a);
                break;
#endif
        default:
                break; /* not among those that nearest() gives */
        }
}

static Precision nearest(Precision p) {
#if defined(__AVX512VNNI__)
        return p == PRECISION_BF16 ? PRECISION_INT16 : p;
#elif defined(__AVX2__)
        return MIN(p, PRECISION_INT16);
#else
        (void)p;
        return PRECISION_F32;
#endif
}

const CpuGemm PASTE(cpu_gemm_, CPU_ISA) = {
        .panel = NR,
        .tile = MR,
        .nearest = nearest,
        .panel_size = panel_size,
        .rows_at_once = rows_at_once,
        .rows_size = rows_size,
        .pack = pack,
        .prepare = prepare,
        .multiply = multiply,
};
