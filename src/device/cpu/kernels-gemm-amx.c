/* Products of packed matrices on tile registers (AMX), which multiply bfloat16 sixteen times as fast as vectors do float32.
 *
 * A number is written as terms, bfloat16 that add up to it: three have float32's 24 bits, two 16, one 8. Of the products of
 * two numbers' terms those that count are made: six, three, or one. So all precisions are one kernel, without scales, and
 * each is finer than its name says.
 *
 * Both factors lie in tiles of 1 KiB as the instructions load them, one after another in the order of their use:
 *
 *   panel: [steps][terms][2 halves] tiles of 16 pairs of values x 16 features x 2
 *   rows:  [n_rows / 16][steps][terms] tiles of 16 rows x 32 values
 *
 * zeros behind the last value. A block is 32 rows by a panel, in four accumulators.
 *
 * Order of summation: step by step, in each product by product; of one product's 32 values those at even and at odd places
 * are summed each in one chain, then together, and added to the sum before. It is the same for every row. */
#include <immintrin.h>
#include <string.h>

#include "device/cpu/finish.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec.h"
#include "util/macro.h"

enum { STEP = 32, TILE = 1024, TILE_ROWS = 16, LINE = TILE / TILE_ROWS, BLOCK = 2 * TILE_ROWS };
enum { ROWS_BYTES = 768 * 1024 }; /* what stays in the second-level cache beside panels */
enum { ROWS_EACH = 64 };          /* for each term: the more there are, the more a panel's way costs, and rows' the less */

INLINE size_t terms_of(Precision p) {
        return p == PRECISION_F32 ? 3 : p == PRECISION_INT16 ? 2 : 1;
}

INLINE size_t steps_of(size_t k) {
        return (k + STEP - 1) / STEP;
}

static size_t panel_size(Precision p, size_t k) {
        return steps_of(k) * terms_of(p) * NV * TILE;
}

static uint32_t rows_at_once(Precision p, size_t k) {
        size_t each = steps_of(k) * terms_of(p) * LINE;
        return (uint32_t)CLAMP(ROWS_BYTES / each / BLOCK * BLOCK, (size_t)BLOCK, ROWS_EACH * terms_of(p));
}

static size_t rows_size(Precision p, size_t k) {
        return rows_at_once(p, k) * steps_of(k) * terms_of(p) * LINE;
}

/* ---- terms ---- */

/* The terms of 32 values, those of the first vector first. What is no number gives terms that are none. */
INLINE void split(int terms, Vec x, Vec y, __m512i out[]) {
        UNROLL for (int t = 0; t < terms; t++) {
                out[t] = (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x);
                x -= (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(out[t])), 16);
                y -= (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(out[t], 1)), 16);
        }
}

INLINE void split_row(int terms, char *to, const float *x, size_t k) {
        for (size_t i = 0; i < k; i += STEP, to += terms * TILE) {
                size_t n = k - i;
                __m512i out[3];
                Vec low = n >= LANES ? load(x + i) : load_part(x + i, n);
                Vec high = n >= STEP ? load(x + i + LANES) : n > LANES ? load_part(x + i + LANES, n - LANES) : splat(0);
                split(terms, low, high, out);
                UNROLL for (int t = 0; t < terms; t++)
                        _mm512_store_si512(to + t * TILE, out[t]);
        }
}

static void prepare(Precision p, void *rows, uint32_t row, const float *x, size_t k) {
        char *to = (char *)rows + row / TILE_ROWS * steps_of(k) * terms_of(p) * TILE + row % TILE_ROWS * LINE;
        if (p == PRECISION_F32)
                split_row(3, to, x, k);
        else if (p == PRECISION_INT16)
                split_row(2, to, x, k);
        else
                split_row(1, to, x, k);
}

static void pack(Precision p, void *panel, uint32_t lane, const float *w, size_t k) {
        size_t terms = terms_of(p);
        char line[3 * TILE] __attribute__((aligned(64))), *to = (char *)panel + lane / LANES * TILE + lane % LANES * 4;
        for (size_t i = 0; i < k; i += STEP, to += terms * NV * TILE) {
                prepare(p, line, 0, w + i, MIN(k - i, (size_t)STEP));
                for (size_t t = 0; t < terms; t++)
                        for (size_t pair = 0; pair < STEP / 2; pair++)
                                memcpy(to + t * NV * TILE + pair * LINE, line + t * TILE + pair * 4, 4);
        }
}

/* ---- products ---- */

typedef struct Sums { /* of a block of rows from `row` on */
        Vec sum[BLOCK][NV];
        size_t row;
} Sums;

/* Accumulators are tiles 0 to 3, two for each 16 rows; 4 and 5 have those rows, 6 and 7 the panel's halves. */
#define LOAD_ROWS(term)                                                                                                \
        do {                                                                                                           \
                _tile_loadd(4, x + (term) * TILE, LINE);                                                               \
                if (two)                                                                                               \
                        _tile_loadd(5, x + second + (term) * TILE, LINE);                                              \
        } while (0)
#define LOAD_PANEL(term)                                                                                               \
        do {                                                                                                           \
                _tile_loadd(6, w + (term) * NV * TILE, LINE);                                                          \
                _tile_loadd(7, w + ((term) * NV + 1) * TILE, LINE);                                                    \
        } while (0)
#define MULTIPLY()                                                                                                     \
        do {                                                                                                           \
                _tile_dpbf16ps(0, 4, 6);                                                                               \
                _tile_dpbf16ps(1, 4, 7);                                                                               \
                if (two) {                                                                                             \
                        _tile_dpbf16ps(2, 5, 6);                                                                       \
                        _tile_dpbf16ps(3, 5, 7);                                                                       \
                }                                                                                                      \
        } while (0)

/* One step; of two products that follow one another one factor is the same. */
INLINE void step(size_t terms, bool two, const char *x, size_t second, const char *w) {
        if (terms == 1) {
                LOAD_ROWS(0);
                LOAD_PANEL(0);
        } else if (terms == 2) {
                LOAD_ROWS(0);
                LOAD_PANEL(1);
                MULTIPLY();
                LOAD_PANEL(0);
                MULTIPLY();
                LOAD_ROWS(1);
        } else {
                LOAD_ROWS(1);
                LOAD_PANEL(1);
                MULTIPLY();
                LOAD_PANEL(0);
                MULTIPLY();
                LOAD_ROWS(2);
                MULTIPLY();
                LOAD_ROWS(0);
                MULTIPLY();
                LOAD_PANEL(1);
                MULTIPLY();
                LOAD_PANEL(2);
        }
        MULTIPLY();
}

/* Asks for `n` lines of the panel that comes next: by the time it is needed it has come from the third-level cache. */
INLINE const char *fetch(const char *next, size_t n) {
        for (size_t i = 0; i < n; i++)
                __builtin_prefetch(next + i * LINE, 0, 2);
        return next + n * LINE;
}

/* Of a block whose sums are made, the rows [from, from + n) of those that there are. */
static __attribute__((noinline)) void finish_rows(const CpuProduct *a, Sums *s, size_t from, size_t n) {
        size_t end = MIN(MIN(from + n, (size_t)BLOCK), a->n_rows - s->row);
        if (from < end)
                finish(a, (int)(end - from), s->sum + from, s->row + from);
}

/* Rows from s->row on, 16 or `two` times 16 of them. While tiles are multiplied, vectors finish the block `before`, if there
 * is one, and each step fetches `ahead` lines of the next panel. */
INLINE void block(const CpuProduct *a, size_t terms, bool two, Sums *s, Sums *before, size_t ahead) {
        size_t steps = steps_of(a->k), second = steps * terms * TILE; /* to the tiles of the next 16 rows */
        size_t share = (BLOCK + steps - 1) / steps;
        const char *x = (const char *)a->rows + s->row / TILE_ROWS * second, *w = a->panel;
        const char *next = w + steps * (terms * NV * TILE + s->row / BLOCK * ahead * LINE);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t i = 0; i < steps; i++, x += terms * TILE, w += terms * NV * TILE) {
                next = fetch(next, ahead);
                step(terms, two, x, second, w);
                if (before)
                        finish_rows(a, before, i * share, share);
        }
        _tile_stored(0, s->sum, sizeof(s->sum[0]));
        _tile_stored(1, &s->sum[0][1], sizeof(s->sum[0]));
        if (two) {
                _tile_stored(2, s->sum[TILE_ROWS], sizeof(s->sum[0]));
                _tile_stored(3, &s->sum[TILE_ROWS][1], sizeof(s->sum[0]));
        }
}

INLINE void product_of(const CpuProduct *a, size_t terms) {
        Sums sums[2], *s = NULL;
        size_t n = (a->n_rows + BLOCK - 1) / BLOCK, ahead = (terms * NV * TILE / LINE + n - 1) / n;
        for (size_t row = 0; row < a->n_rows; row += BLOCK) {
                Sums *before = s;
                s = &sums[row / BLOCK % 2];
                s->row = row;
                if (row + TILE_ROWS < a->n_rows)
                        block(a, terms, true, s, before, ahead);
                else
                        block(a, terms, false, s, before, ahead);
        }
        if (s)
                finish_rows(a, s, 0, BLOCK);
}

#define PRODUCT(name, terms)                                                                                           \
        static __attribute__((noinline)) void name(const CpuProduct *a) {                                              \
                product_of(a, terms);                                                                                  \
        }
PRODUCT(product_3, 3)
PRODUCT(product_2, 2)
PRODUCT(product_1, 1)

/* What each of the eight tiles is like. */
typedef struct TileConfig {
        uint8_t palette, start_row, none[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
} TileConfig;

static void multiply(const CpuProduct *a) {
        static const TileConfig config = {1, 0, {0}, {LINE, LINE, LINE, LINE, LINE, LINE, LINE, LINE},
                                          {TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS,
                                           TILE_ROWS}};
        _tile_loadconfig(&config);
        if (a->precision == PRECISION_F32)
                product_3(a);
        else if (a->precision == PRECISION_INT16)
                product_2(a);
        else
                product_1(a);
        _tile_release(); /* a thread that leaves tiles in use has 8 KiB more to be saved when it is interrupted */
}

static Precision nearest(Precision p) {
        return p;
}

const CpuGemm PASTE(cpu_gemm_, CPU_ISA) = {
        .panel = NR,
        .tile = BLOCK,
        .nearest = nearest,
        .panel_size = panel_size,
        .rows_at_once = rows_at_once,
        .rows_size = rows_size,
        .pack = pack,
        .prepare = prepare,
        .multiply = multiply,
};
