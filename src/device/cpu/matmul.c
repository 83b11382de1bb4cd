/* Matrix products of weights in any format with float32 activations. Each part makes its own output features: it
 * reads its own rows of the weights, once. The features of all products of an operation are dealt out as one row of them.
 *
 * One row, or few (decoding): weights go from memory through registers, de-quantised on the way.
 * More rows (prompts, large batches): a panel of PANEL_ROWS x PANEL_COLS weights, or of SLIM_ROWS up to CPU_FEW_ROWS, is
 * de-quantised into the cache and used for all rows, panel after panel along the rows of the weights. A panel is as wide as
 * the blocks in which dot products are summed, so both ways give the same bits.
 *
 * Gated units: some features of the gate, the same of the other matrix, which only the part sees, and then their product.
 * Experts: each with its places. */
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Matmul {
        Product products[PRODUCTS_MAX];
        uint32_t n, n_rows;
        const float *x;
        Update update;
        Gate unit; /* of the products gate and up */
} Matmul;

/* Features [begin, begin + n) of a product, and where they go. */
typedef struct Features {
        const Product *p;
        size_t begin, n;
        float *out;
        size_t out_stride;
} Features;

static void start_values(const Matmul *a, const Features *f) {
        for (uint32_t i = 0; i < a->n_rows; i++) {
                float *out = f->out + i * f->out_stride;
                if (a->update != UPDATE_ADD)
                        memset(out, 0, f->n * sizeof(*out));
                for (size_t r = 0; f->p->bias && r < f->n; r++)
                        out[r] += f->p->bias[f->begin + r];
        }
}

static void by_registers(const Matmul *a, const Features *f, const CpuPart *part) {
        const Matrix *w = &f->p->w;
        size_t stride = dtype_row_size(w->type, w->cols);
        part->kernels->dots(&(CpuDots){
                .type = w->type,
                .w = (const char *)w->data + f->begin * stride,
                .w_stride = stride,
                .n_w = (uint32_t)f->n,
                .x = a->x,
                .x_stride = w->cols,
                .n_x = a->n_rows,
                .out = f->out,
                .out_stride = f->out_stride,
                .k = w->cols,
        });
}

/* Asks for the row at the same place of the next panel of `rows`, which is beside this one, or below at the beginning. The
 * processor itself follows a row only after it has seen some of it, and there is little of each in a panel. */
static void prefetch_row(const Features *f, size_t row, size_t col, size_t rows) {
        const Matrix *w = &f->p->w;
        size_t next = col + PANEL_COLS;
        if (next >= w->cols) {
                row += rows;
                next = 0;
        }
        if (row >= f->n)
                return;
        const char *from = (const char *)w->data + (f->begin + row) * dtype_row_size(w->type, w->cols) + dtype_row_size(w->type, next);
        size_t size = dtype_row_size(w->type, MIN(w->cols - next, (size_t)PANEL_COLS));
        for (size_t i = 0; i < size; i += 64)
                __builtin_prefetch(from + i, 0, 2);
}

/* The panel of n of the features from `first` on, columns from `col` on. */
static void by_panel(const Matmul *a, const Features *f, size_t first, size_t n, size_t col, const CpuPart *part) {
        const Matrix *w = &f->p->w;
        size_t stride = dtype_row_size(w->type, w->cols);
        size_t cols = MIN(w->cols - col, (size_t)PANEL_COLS);
        const char *from = (const char *)w->data + (f->begin + first) * stride + dtype_row_size(w->type, col);
        for (size_t r = 0; r < n; r++) {
                prefetch_row(f, first + r, col, n);
                part->kernels->dequantise(w->type, from + r * stride, part->panel + r * PANEL_COLS, cols);
        }
        part->kernels->dots(&(CpuDots){
                .type = DTYPE_F32,
                .w = part->panel,
                .w_stride = PANEL_COLS * sizeof(float),
                .n_w = (uint32_t)n,
                .x = a->x + col,
                .x_stride = w->cols,
                .n_x = a->n_rows,
                .out = f->out + first,
                .out_stride = f->out_stride,
                .k = (uint32_t)cols,
        });
}

static void make_features(const Matmul *a, const Features *f, const CpuPart *part) {
        start_values(a, f);
        if (a->n_rows <= part->kernels->few_rows(f->p->w.type)) {
                by_registers(a, f, part);
                return;
        }
        size_t rows = a->n_rows <= CPU_FEW_ROWS ? SLIM_ROWS : PANEL_ROWS;
        for (size_t first = 0; first < f->n; first += rows)
                for (size_t col = 0; col < f->p->w.cols; col += PANEL_COLS)
                        by_panel(a, f, first, MIN(f->n - first, rows), col, part);
}

static size_t all_features(const Matmul *a) {
        size_t n = 0;
        for (uint32_t i = 0; i < a->n; i++)
                n += a->products[i].w.rows;
        return n;
}

/* Of the features of all products, as one row of them. */
static void make_products(const Matmul *a, CpuShare mine, const CpuPart *part) {
        size_t first = 0;
        for (uint32_t i = 0; i < a->n; first += a->products[i++].w.rows) {
                const Product *p = &a->products[i];
                size_t begin = MAX(mine.begin, first) - first, end = MIN(MAX(mine.end, first) - first, (size_t)p->w.rows);
                if (begin < end)
                        make_features(a, &(Features){p, begin, end - begin, p->out + begin, p->w.rows}, part);
        }
}

static void matmul_run(const void *args, const CpuPart *part) {
        make_products(args, cpu_share(part, all_features(args), 4), part);
}

static void make_units(const Matmul *a, CpuShare mine, const CpuPart *part) {
        const Product *gate = &a->products[0], *up = &a->products[1];
        float *ups = (float *)part->scratch; /* [n_rows, PANEL_ROWS] */
        for (size_t begin = mine.begin; begin < mine.end; begin += PANEL_ROWS) {
                size_t n = MIN(mine.end - begin, (size_t)PANEL_ROWS), rows = gate->w.rows;
                make_features(a, &(Features){gate, begin, n, gate->out + begin, rows}, part);
                make_features(a, &(Features){up, begin, n, ups, PANEL_ROWS}, part);
                for (uint32_t i = 0; i < a->n_rows; i++) {
                        float *out = gate->out + i * rows + begin;
                        part->kernels->glu(out, out, ups + (size_t)i * PANEL_ROWS, n, a->unit);
                }
        }
}

static void glu_run(const void *args, const CpuPart *part) {
        const Matmul *a = args;
        make_units(a, cpu_share(part, a->products[0].w.rows, PANEL_ROWS), part);
}

static uint64_t matmul_work(const void *args) {
        const Matmul *a = args;
        return (uint64_t)all_features(a) * a->products[0].w.cols * a->n_rows;
}

static const float *normed(Stream *s, const Activations *x, uint32_t cols) {
        if (!x->norm)
                return x->x;
        cpu_rmsnorm(s, x->room, x->x, x->norm, x->n_rows, cols, x->eps, UPDATE_SET);
        return x->room;
}

void cpu_matmul(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update) {
        Matmul a = {.n = n, .n_rows = x->n_rows, .x = normed(s, x, products->w.cols), .update = update};
        memcpy(a.products, products, n * sizeof(*products));
        stream_record(s, matmul_run, matmul_work, &a, sizeof(a));
}

void cpu_glu(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x, Gate unit) {
        const float *h = normed(s, x, gate->cols);
        Matmul *a = stream_op(s, glu_run, matmul_work, sizeof(*a), (size_t)x->n_rows * PANEL_ROWS * sizeof(float));
        if (a)
                *a = (Matmul){.products = {{*gate, NULL, out}, {*up, NULL, NULL}},
                              .n = 2,
                              .n_rows = x->n_rows,
                              .x = h,
                              .unit = unit};
}

typedef struct ExpertProducts {
        Experts w[2]; /* the second: of a gated unit */
        Routing routing;
        const float *x;
        float *out;
        Gate unit;
} ExpertProducts;

/* Those of expert `e`; none where it has no places. */
static Matmul expert_products(const ExpertProducts *a, uint32_t e) {
        size_t first = (size_t)a->routing.starts[e];
        Matmul m = {.n_rows = (uint32_t)(a->routing.starts[e + 1] - a->routing.starts[e]),
                    .x = a->x + first * a->w[0].cols,
                    .unit = a->unit};
        for (int i = 0; i < 2 && a->w[i].each; i++) {
                const Experts *w = &a->w[i];
                m.products[m.n++] = (Product){{w->each[e], w->type, w->rows, w->cols},
                                              w->bias ? w->bias + (size_t)e * w->rows : NULL,
                                              a->out + first * a->w[0].rows};
        }
        return m;
}

/* Panels of all experts, as one row of them: those with many places take longer, so that a panel counts once for each. A part
 * has those that begin in its share. */
static void experts_run(const void *args, const CpuPart *part) {
        const ExpertProducts *a = args;
        size_t rows = a->w[0].rows, panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS;
        CpuShare mine = cpu_share(part, panels * (size_t)a->routing.starts[a->routing.n_experts], 1);
        for (uint32_t e = 0; e < a->routing.n_experts; e++) {
                Matmul m = expert_products(a, e);
                size_t before = panels * (size_t)a->routing.starts[e], n = m.n_rows;
                if (n == 0)
                        continue;
                size_t begin = mine.begin > before ? (mine.begin - before + n - 1) / n : 0;
                size_t end = mine.end > before ? (mine.end - before + n - 1) / n : 0;
                CpuShare features = {MIN(begin * PANEL_ROWS, rows), MIN(end * PANEL_ROWS, rows)};
                if (features.begin < features.end)
                        (m.n == 2 ? make_units : make_products)(&m, features, part);
        }
}

static size_t places(const Routing *r) {
        return (size_t)r->n_rows * r->n_used;
}

static uint64_t experts_work(const void *args) {
        const ExpertProducts *a = args;
        return places(&a->routing) * a->w[0].rows * a->w[0].cols * (a->w[1].each ? 2 : 1);
}

void cpu_glu_experts(Stream *s, float *out, const Experts *gate, const Experts *up, const Routing *r, const float *x,
                     Gate unit) {
        ExpertProducts *a = stream_op(s, experts_run, experts_work, sizeof(*a), places(r) * PANEL_ROWS * sizeof(float));
        if (a)
                *a = (ExpertProducts){.w = {*gate, *up}, .routing = *r, .x = x, .out = out, .unit = unit};
}

void cpu_matmul_experts(Stream *s, float *out, const Experts *w, const Routing *r, const float *x) {
        stream_record(s, experts_run, experts_work, &(ExpertProducts){.w = {*w}, .routing = *r, .x = x, .out = out},
                      sizeof(ExpertProducts));
}
