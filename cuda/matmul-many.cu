/* Matrix products of many rows: prompts and large batches, bound by the tensor cores or by what comes from the
 * second-level cache. See product.h for the order of summation.
 *
 * Activations are split into terms once, by a kernel of their own, in the stream's scratch, as in linear.cu:
 *
 *   [term: hi, lo][group][row][32 columns] of bfloat16, then float scale[row]      rows are whole TERM_ROWs
 *
 * A block makes BLOCK_LINES lines for 128 rows (large) or 64 (small), a warp 64 lines for 32 rows. It goes through its
 * groups in order, with some in shared memory: terms come by asynchronous copies, and so do weights in BF16; those of
 * other formats pass through registers, in which they become terms, a step of the loop later. Both lie there as lanes
 * read them, 16 bytes each.
 *
 * Where small blocks are too few to fill the GPU, each makes one part of the columns only; a kernel after it adds the
 * parts. */
#include "cuda/product.h"

enum {
        TERM_ROWS = 128,
        SPLIT_ROWS = 4, /* of a block, one by each warp */
        SPLIT_THREADS = SPLIT_ROWS * WARP,
        BLOCK_LINES = 128,
        WARP_TILES = 4, /* of lines, and of rows, in a warp's part of the block */
        WARP_LINES = WARP_TILES * TILE_LINES, WARP_ROWS = WARP_TILES * TILE_N,
        EIGHTS = GROUP / EIGHT, /* of a row in a group */
        EIGHT_BYTES = 16,       /* of eight terms */
        SPLIT_AT_ONCE = 4,      /* groups that are read at once */
        PREFETCHED = 1024,      /* bytes of each row */
        LARGE_THREADS = 256,    /* of large_tiling(); small ones have a thread for each line */
};

/* ---- the terms of activations ---- */

static size_t terms_row_size(uint32_t cols) {
        return (size_t)ceil_div(cols, GROUP) * 2 * GROUP_BYTES + sizeof(float);
}

DEVICE char *terms_at(const Terms *t, uint32_t term, uint32_t group, uint32_t row) {
        return t->data + (((size_t)term * t->groups + group) * t->rows + row) * GROUP_BYTES;
}

DEVICE void split_groups(Reading r, int n, const ProductsArgs *a, uint32_t i, uint32_t k, float *squares) {
        uint32_t t = threadIdx.x % EIGHTS;
        Floats x[SPLIT_AT_ONCE], norm[SPLIT_AT_ONCE];
        UNROLL for (int j = 0; j < n; j++) {
                x[j] = activation_eight(r, a, i, k + (uint32_t)j * GROUP + t * EIGHT);
                norm[j] = norm_eight(r, a, k + (uint32_t)j * GROUP + t * EIGHT);
        }
        UNROLL for (int j = 0; j < n; j++) {
                Eight e = normed_terms(r, x[j], &norm[j], squares);
                store_words(terms_at(&a->terms, 0, k / GROUP + (uint32_t)j, i) + t * EIGHT_BYTES, e.hi);
                store_words(terms_at(&a->terms, 1, k / GROUP + (uint32_t)j, i) + t * EIGHT_BYTES, e.lo);
        }
}

/* A lane's eights of its part of row i. */
DEVICE void split_part(Reading r, const ProductsArgs *a, uint32_t i, float *squares) {
        uint32_t length = part_length(a->cols), k = threadIdx.x % WARP / EIGHTS * length, end = MIN(a->cols, k + length);
        int n = r.cols != ENDLESS ? 1 : SPLIT_AT_ONCE;
        NO_UNROLL for (; k + (uint32_t)(n - 1) * GROUP < end; k += (uint32_t)n * GROUP)
                split_groups(r, n, a, i, k, squares);
        NO_UNROLL for (; k < end; k += GROUP)
                split_groups(r, 1, a, i, k, squares);
}

/* A warp makes a row: four lanes a part. */
KERNEL(split_rows, ProductsArgs, SPLIT_THREADS) {
        uint32_t warp = threadIdx.x / WARP, i = blockIdx.x * SPLIT_ROWS + warp;
        float *partial = (float *)shared_memory + warp * PARTS, squares = 0, sum = 0;
        if (i >= a.n)
                return; /* the whole warp */
        WITH_READING(reading_of(&a, true), split_part, &a, i, &squares);
        squares = lane_sum(squares);
        if (threadIdx.x % EIGHTS == 0)
                partial[threadIdx.x % WARP / EIGHTS] = squares;
        __syncwarp();
        UNROLL for (int p = 0; p < PARTS; p++)
                sum += partial[p];
        if (threadIdx.x % WARP == 0)
                a.terms.scale[i] = row_scale(&a, sum);
}

/* ---- what a block has in shared memory ---- */

typedef struct Tiling {
        uint32_t warps_lines, warps_rows, stages;
} Tiling;

BOTH uint32_t tiling_threads(const Tiling *h) {
        return h->warps_lines * h->warps_rows * WARP;
}

BOTH uint32_t tiling_rows(const Tiling *h) {
        return h->warps_rows * WARP_ROWS;
}

/* A stage: lines [term][line][eight], rows [term][row][eight], the lines' scales, and their offsets. */
typedef struct Stage {
        char *lines, *rows;
        float *scales, *offsets;
} Stage;

/* What a line has: one term or two, or P and M. */
BOTH uint32_t line_planes(Dtype type) {
        return has_two_terms(type) || has_offset(type) ? 2 : 1;
}

BOTH uint32_t line_terms_size(Dtype type) {
        return BLOCK_LINES * line_planes(type) * GROUP_BYTES;
}

BOTH uint32_t stage_size(Dtype type, const Tiling *h) {
        return line_terms_size(type) + tiling_rows(h) * 2 * GROUP_BYTES +
               (is_quantised(type) ? BLOCK_LINES * (has_offset(type) ? 2u : 1u) * (uint32_t)sizeof(float) : 0);
}

DEVICE Stage stage_of(Dtype type, const Tiling *h, uint32_t group) {
        char *at = (char *)shared_memory + group % h->stages * stage_size(type, h), *rows = at + line_terms_size(type);
        float *scales = (float *)(rows + tiling_rows(h) * 2 * GROUP_BYTES);
        Stage s = {at, rows, scales, scales + BLOCK_LINES};
        return s;
}

#define LINES_EACH 4 /* eights of a thread, at most */

/* The rows of the matrix that a thread reads: eight threadIdx.x % EIGHTS of each. */
typedef struct Lines {
        const char *row[LINES_EACH];
        bool aligned;
} Lines;

DEVICE uint32_t lines_each(const Tiling *h) {
        return BLOCK_LINES * EIGHTS / tiling_threads(h);
}

DEVICE uint32_t own_line(const Tiling *h, uint32_t i) {
        return (threadIdx.x + i * tiling_threads(h)) / EIGHTS;
}

DEVICE Lines lines_of(Dtype type, const Tiling *h, const Share *m) {
        Lines l;
        l.aligned = rows_aligned(type, m);
        UNROLL for (uint32_t i = 0; i < lines_each(h); i++)
                l.row[i] = line_row(type, m, BLOCK_LINES, own_line(h, i));
        return l;
}

DEVICE void copy_lines(const Tiling *h, const Share *m, const Lines *l, const Stage *s, uint32_t group) {
        uint32_t t = threadIdx.x % EIGHTS;
        bool there = group * GROUP + t * EIGHT < m->a->cols; /* all eight: rows are aligned */
        UNROLL for (uint32_t i = 0; i < lines_each(h); i++)
                copy_async_or_zero(s->lines + (own_line(h, i) * EIGHTS + t) * EIGHT_BYTES,
                                   there ? l->row[i] + group * GROUP_BYTES + t * EIGHT_BYTES : l->row[i], there);
}

typedef struct Fetched {
        Raw raw[LINES_EACH];
} Fetched;

DEVICE void fetch_lines(Dtype type, const Tiling *h, const Share *m, const Lines *l, uint32_t group, Fetched *f) {
        UNROLL for (uint32_t i = 0; i < lines_each(h); i++)
                f->raw[i] = raw_eight(type, l->row[i], group * GROUP, m->a->cols, threadIdx.x % EIGHTS, l->aligned);
}

DEVICE void store_lines(Dtype type, const Tiling *h, const Stage *s, uint32_t group, const Fetched *f) {
        uint32_t t = threadIdx.x % EIGHTS;
        UNROLL for (uint32_t i = 0; i < lines_each(h); i++) {
                uint32_t line = own_line(h, i);
                Eights u = unpack_eight(type, &f->raw[i], group * GROUP, t);
                store_words(s->lines + (line * EIGHTS + t) * EIGHT_BYTES, u.e.hi);
                if (line_planes(type) == 2)
                        store_words(s->lines + ((BLOCK_LINES + line) * EIGHTS + t) * EIGHT_BYTES, u.e.lo);
                if (is_quantised(type) && t == 0)
                        s->scales[line] = u.scale;
                if (has_offset(type) && t == 0)
                        s->offsets[line] = u.offset;
        }
}

DEVICE void copy_rows(const Tiling *h, const Share *m, const Stage *s, uint32_t group) {
        uint32_t each = tiling_rows(h) * EIGHTS;
        UNROLL for (uint32_t term = 0; term < 2; term++) {
                const char *from = terms_at(&m->a->terms, term, group, blockIdx.y * tiling_rows(h));
                UNROLL for (uint32_t i = 0; i < each / tiling_threads(h); i++) {
                        uint32_t at = (threadIdx.x + i * tiling_threads(h)) * EIGHT_BYTES;
                        copy_async(s->rows + term * each * EIGHT_BYTES + at, from + at);
                }
        }
}

/* ---- a group ---- */

DEVICE Words staged_words(const char *s, uint32_t i) {
        return load_words(s + (i * EIGHTS + threadIdx.x % EIGHTS) * EIGHT_BYTES);
}

/* The products of 16 lines with the warp's rows; neighbours are independent, so that one need not await the other. */
DEVICE void add_tile(bool two_terms, const Words *a, const Words *b, const Words x[2][WARP_TILES], float to[WARP_TILES][4]) {
        UNROLL for (int half = 0; half < 2; half++) {
                UNROLL for (int j = 0; j < WARP_TILES; j++)
                        add_half(to[j], a[0].w, b[0].w, x[0][j].w, half);
                UNROLL for (int j = 0; j < WARP_TILES; j++)
                        add_half(to[j], a[0].w, b[0].w, x[1][j].w, half);
                UNROLL for (int j = 0; j < WARP_TILES && two_terms; j++)
                        add_half(to[j], a[1].w, b[1].w, x[0][j].w, half);
        }
}

/* The same, from 0, and then times what is each line's. */
DEVICE void add_scaled(bool two_terms, const Words *a, const Words *b, const Words x[2][WARP_TILES], const float *factors,
                       float to[WARP_TILES][4]) {
        float sum[WARP_TILES][4];
        UNROLL for (int j = 0; j < WARP_TILES; j++)
                sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
        add_tile(two_terms, a, b, x, sum);
        UNROLL for (int j = 0; j < WARP_TILES; j++)
                UNROLL for (int e = 0; e < 4; e++)
                        to[j][e] = fmaf(factors[e < 2 ? 0 : 8], sum[j][e], to[j][e]);
}

DEVICE void add_staged(Dtype type, const Tiling *h, const Stage *s, float acc[WARP_TILES][WARP_TILES][4]) {
        uint32_t warp = threadIdx.x / WARP, g = threadIdx.x % WARP / 4;
        uint32_t line = warp % h->warps_lines * WARP_LINES + g, row = warp / h->warps_lines * WARP_ROWS + g;
        Words x[2][WARP_TILES];
        UNROLL for (uint32_t j = 0; j < WARP_TILES; j++)
                UNROLL for (uint32_t term = 0; term < 2; term++)
                        x[term][j] = staged_words(s->rows, term * tiling_rows(h) + row + j * TILE_N);
        UNROLL for (uint32_t i = 0; i < WARP_TILES; i++) {
                Words a[2], b[2];
                uint32_t at = line + i * TILE_LINES;
                UNROLL for (uint32_t term = 0; term < line_planes(type); term++) {
                        a[term] = staged_words(s->lines, term * BLOCK_LINES + at);
                        b[term] = staged_words(s->lines, term * BLOCK_LINES + at + 8);
                }
                if (!is_quantised(type))
                        add_tile(has_two_terms(type), a, b, x, acc[i]);
                else
                        add_scaled(has_two_terms(type), a, b, x, s->scales + at, acc[i]);
                if (has_offset(type))
                        add_scaled(false, a + 1, b + 1, x, s->offsets + at, acc[i]);
        }
}

/* ---- a block's tile ---- */

typedef float Sums[WARP_TILES][WARP_TILES][4];

DEVICE void clear_sums(Sums s) {
        UNROLL for (int i = 0; i < WARP_TILES; i++)
                UNROLL for (int j = 0; j < WARP_TILES; j++)
                        s[i][j][0] = s[i][j][1] = s[i][j][2] = s[i][j][3] = 0;
}

/* Which line of the block and which row element e of tile i, j is. */
DEVICE uint32_t sum_line(const Tiling *h, uint32_t i, uint32_t e) {
        return threadIdx.x / WARP % h->warps_lines * WARP_LINES + i * TILE_LINES + threadIdx.x % WARP / 4 + e / 2 * 8;
}

DEVICE uint32_t sum_row(const Tiling *h, uint32_t j, uint32_t e) {
        return blockIdx.y * tiling_rows(h) + threadIdx.x / WARP / h->warps_lines * WARP_ROWS + j * TILE_N +
               threadIdx.x % 4 * 2 + e % 2;
}

DEVICE float *partial_at(const ProductsArgs *a, uint32_t part, uint32_t row) {
        return a->partial + (((size_t)part * a->n + row) * gridDim.x + blockIdx.x) * BLOCK_LINES;
}

DEVICE void write_part(const Tiling *h, const Share *m, uint32_t part, Sums acc) {
        UNROLL for (uint32_t i = 0; i < WARP_TILES; i++)
                UNROLL for (uint32_t j = 0; j < WARP_TILES; j++)
                        UNROLL for (uint32_t e = 0; e < 4; e++)
                                if (sum_row(h, j, e) < m->a->n)
                                        partial_at(m->a, part, sum_row(h, j, e))[sum_line(h, i, e)] = acc[i][j][e];
}

DEVICE void add_part(Sums total, Sums acc) {
        UNROLL for (int i = 0; i < WARP_TILES; i++)
                UNROLL for (int j = 0; j < WARP_TILES; j++)
                        UNROLL for (int e = 0; e < 4; e++)
                                total[i][j][e] += acc[i][j][e];
}

DEVICE void write_totals(const Tiling *h, const Share *m, Sums total) {
        UNROLL for (uint32_t j = 0; j < WARP_TILES; j++)
                UNROLL for (uint32_t e = 0; e < 4; e++) {
                        uint32_t row = sum_row(h, j, e);
                        if (row >= m->a->n || (m->a->ending.up && e >= 2))
                                continue;
                        float scale = m->a->terms.scale[row];
                        UNROLL for (uint32_t i = 0; i < WARP_TILES; i++) {
                                uint32_t feature = line_feature(m, BLOCK_LINES, sum_line(h, i, e));
                                if (feature < m->p->rows)
                                        finish(m, feature, row, total[i][j][e] * scale, total[i][j][e % 2 + 2] * scale);
                        }
                }
}

/* Whether a warp has a line and a row that exist. */
DEVICE bool is_useful(const Tiling *h, const Share *m) {
        uint32_t line = threadIdx.x / WARP % h->warps_lines * WARP_LINES;
        return line_feature(m, BLOCK_LINES, line) < m->p->rows && sum_row(h, 0, 0) - threadIdx.x % 4 * 2 < m->a->n;
}

DEVICE void many_rows(Dtype type, Tiling tiling, const ProductsArgs *a) {
        const Tiling *h = &tiling;
        Share share = block_share(a);
        const Share *m = &share;
        Lines lines = lines_of(type, h, m);
        bool direct = type == DTYPE_BF16 && lines.aligned, useful = is_useful(h, m);
        uint32_t groups = a->terms.groups, each = part_length(a->cols) / GROUP; /* of a part */
        uint32_t first = a->partial ? blockIdx.z * each : 0, end = a->partial ? MIN(groups, first + each) : groups;
        Fetched fetched;
        Sums acc, total;
        clear_sums(acc);
        clear_sums(total);
        for (uint32_t group = first; group < first + h->stages - 1; group++) {
                if (group < end) {
                        Stage s = stage_of(type, h, group);
                        copy_rows(h, m, &s, group);
                        if (direct)
                                copy_lines(h, m, &lines, &s, group);
                        else {
                                fetch_lines(type, h, m, &lines, group, &fetched);
                                store_lines(type, h, &s, group, &fetched);
                        }
                }
                copy_commit();
        }
        NO_UNROLL for (uint32_t group = first; group < end; group++) {
                Stage now = stage_of(type, h, group), later = stage_of(type, h, group + h->stages - 1);
                bool more = group + h->stages - 1 < end;
                copy_wait((int)h->stages - 2);
                __syncthreads(); /* all have their part of this group, and are done with the one before it */
                if (more) {
                        copy_rows(h, m, &later, group + h->stages - 1);
                        if (direct)
                                copy_lines(h, m, &lines, &later, group + h->stages - 1);
                        else
                                fetch_lines(type, h, m, &lines, group + h->stages - 1, &fetched);
                }
                copy_commit(); /* an empty one, too: groups are counted */
                if (useful)
                        add_staged(type, h, &now, acc);
                if (more && !direct)
                        store_lines(type, h, &later, group + h->stages - 1, &fetched);
                if (a->partial || ((group + 1) % each != 0 && group + 1 < end))
                        continue;
                add_part(total, acc);
                clear_sums(acc);
        }
        if (!a->partial)
                write_totals(h, m, total);
        else if (first < end)
                write_part(h, m, blockIdx.z, acc);
}

/* Adds the parts of a row: a thread those of one line. */
KERNEL(merge_parts, ProductsArgs, BLOCK_LINES) {
        Share m = block_share(&a);
        uint32_t feature = m.block * BLOCK_LINES + threadIdx.x, row = blockIdx.y, n = ceil_div(a.cols, part_length(a.cols));
        float sum = 0;
        if (feature >= m.p->rows)
                return;
        UNROLL for (uint32_t part = 0; part < PARTS; part++)
                if (part < n)
                        sum += partial_at(&a, part, row)[threadIdx.x];
        finish(&m, feature, row, sum * a.terms.scale[row], 0);
}

/* ---- kernels ---- */

/* The first weights of a small block, which is in a hurry, a thread those of one line: they are on their way while the terms
 * are made. */
DEVICE void small_prefetch(const ProductsArgs *a) {
        Share m = block_share(a);
        uint32_t first = a->partial ? blockIdx.z * part_length(a->cols) : 0;
        const char *row = line_row(a->type, &m, BLOCK_LINES, threadIdx.x);
        size_t end = row_bytes(a->type, MIN(a->cols, a->partial ? first + part_length(a->cols) : a->cols));
        size_t begin = row_bytes(a->type, first);
        for (size_t at = begin; at < MIN(end, begin + PREFETCHED); at += LINE_BYTES)
                prefetch(row + at);
}

BOTH Tiling large_tiling(void) {
        Tiling t = {2, 4, 3};
        return t;
}

/* A stage less for formats that have more in each, so that all have a place. */
BOTH Tiling small_tiling(Dtype type) {
        Tiling t = {2, 2, has_offset(type) ? 3u : 4u};
        return t;
}

#define MANY(name, type)                                                          \
        KERNEL(name##_large, ProductsArgs, LARGE_THREADS) {                       \
                many_rows(type, large_tiling(), &a);                              \
        }                                                                         \
        KERNEL_AFTER(name##_small, ProductsArgs, (BLOCK_LINES), small_prefetch) { \
                many_rows(type, small_tiling(type), &a);                          \
        }
MANY(many_f32, DTYPE_F32)
MANY(many_f16, DTYPE_F16)
MANY(many_bf16, DTYPE_BF16)
MANY(many_q8_0, DTYPE_Q8_0)
MANY(many_q4_0, DTYPE_Q4_0)
MANY(many_q4_k, DTYPE_Q4_K)
MANY(many_q5_k, DTYPE_Q5_K)
MANY(many_q6_k, DTYPE_Q6_K)
MANY(many_rare, a.type) /* which are not worth a kernel each */

#define SIZES(name) { (const void *)name##_small, (const void *)name##_large }

static const void *find_many(Dtype type, bool is_large) {
        static const struct {
                Dtype type;
                const void *sizes[2];
        } all[] = {
                {DTYPE_F32, SIZES(many_f32)},   {DTYPE_F16, SIZES(many_f16)},   {DTYPE_BF16, SIZES(many_bf16)},
                {DTYPE_Q8_0, SIZES(many_q8_0)}, {DTYPE_Q4_0, SIZES(many_q4_0)}, {DTYPE_Q4_K, SIZES(many_q4_k)},
                {DTYPE_Q5_K, SIZES(many_q5_k)}, {DTYPE_Q6_K, SIZES(many_q6_k)},
        };
        static const void *const rare[2] = SIZES(many_rare);
        for (size_t i = 0; i < ARRAY_SIZE(all); i++)
                if (all[i].type == type)
                        return all[i].sizes[is_large];
        return rare[is_large];
}

/* ---- launching ---- */

HOST uint32_t products_many_most(uint32_t cols) {
        return (uint32_t)(STREAM_SCRATCH / terms_row_size(cols)) / TERM_ROWS * TERM_ROWS;
}

static size_t terms_size(uint32_t rows, uint32_t cols) {
        return (size_t)ceil_div(rows, TERM_ROWS) * TERM_ROWS * terms_row_size(cols);
}

HOST Terms products_terms(Stream *s, const Activations *x, uint32_t cols) {
        char *data = (char *)stream_scratch(s)->any;
        uint32_t rows = ceil_div(x->n_rows, TERM_ROWS) * TERM_ROWS;
        Terms terms = {data, (float *)(data + terms_size(rows, cols)) - rows, rows, ceil_div(cols, GROUP)};
        ProductsArgs args = {.x = x->x, .norm = x->norm, .terms = terms, .cols = cols, .n = x->n_rows, .eps = x->eps};
        StreamLaunch l = {(const void *)split_rows, {ceil_div(x->n_rows, SPLIT_ROWS), 1, 1}, SPLIT_THREADS,
                          SPLIT_ROWS * (size_t)PARTS * sizeof(float)};
        stream_launch(s, &l, &args);
        return terms;
}

/* Where the sums of parts can be put; NULL where there is no need, or no room. */
static float *parts_room(Stream *s, const ProductsArgs *a, uint32_t blocks) {
        Tiling small = small_tiling(a->type);
        size_t terms = terms_size(a->n, a->cols), size = (size_t)PARTS * a->n * blocks * BLOCK_LINES * sizeof(float);
        bool fills = (uint64_t)blocks * ceil_div(a->n, tiling_rows(&small)) >= stream_processors(s);
        if (fills || a->ending.up || terms + size > STREAM_SCRATCH)
                return NULL;
        return (float *)((char *)stream_scratch(s)->any + terms);
}

HOST void products_many(Stream *s, const Product *p, uint32_t n, const Ending *ending, const Activations *x,
                        const Terms *terms) {
        uint32_t blocks;
        ProductsArgs args = products_args(p, n, ending, x, BLOCK_LINES, &blocks);
        Tiling h = large_tiling();
        bool is_large = (uint64_t)blocks * (x->n_rows / tiling_rows(&h)) >= stream_processors(s);
        args.terms = *terms;
        if (!is_large) {
                h = small_tiling(args.type);
                args.partial = parts_room(s, &args, blocks);
        }
        StreamLaunch l = {find_many(args.type, is_large),
                          {blocks, ceil_div(x->n_rows, tiling_rows(&h)), args.partial ? (uint32_t)PARTS : 1},
                          tiling_threads(&h), h.stages * stage_size(args.type, &h)};
        stream_launch(s, &l, &args);
        if (!args.partial)
                return;
        StreamLaunch merge = {(const void *)merge_parts, {blocks, x->n_rows, 1}, BLOCK_LINES, 0};
        stream_launch(s, &merge, &args);
}
