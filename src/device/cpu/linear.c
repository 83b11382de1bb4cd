/* Products with packed matrices; the layouts are in kernels.h.
 *
 * Each part makes a block of the output: some of the rows, or where those are few, some of the features. It prepares
 * as many rows at a time in its scratch as the kernel likes and takes all its panels to them: the rows stay in the second-level cache,
 * and so does a panel for as long as it is used.
 *
 * Products of the same rows that follow one another, as those for queries, keys and values do, are one operation: the rows
 * are prepared once for all. */
#include <string.h>

#include "device/cpu/cpu.h"
#include "util/checked.h"

enum { PANELS_MIN = 6 }; /* of a part: with fewer, preparing rows takes longer than using them */
enum { JOINED_MAX = 3 }; /* of one operation */

static size_t panels_of(const CpuGemm *gemm, uint32_t rows) {
        return ((size_t)rows + gemm->panel - 1) / gemm->panel;
}

size_t cpu_packed_size(const CpuGemm *gemm, Precision precision, uint32_t rows, uint32_t cols) {
        size_t size;
        if (rows > INT32_MAX || cols > INT32_MAX / 2 || /* so that no size below overflows */
            !checked_mul(panels_of(gemm, rows), gemm->panel_size(gemm->nearest(precision), cols), &size))
                return SIZE_MAX;
        return size;
}

typedef struct Pack {
        Packed to;
        uint32_t first;
        Matrix w;
} Pack;

static void pack_run(const void *args, const CpuPart *part) {
        const Pack *a = args;
        const CpuGemm *gemm = part->kernels->gemm;
        Precision p = gemm->nearest(a->to.precision);
        size_t stride = dtype_row_size(a->w.type, a->w.cols), panel = gemm->panel_size(p, a->w.cols);
        float *row = (float *)part->scratch;
        CpuShare mine = cpu_share(part, a->w.rows, 1);
        for (size_t i = mine.begin; i < mine.end; i++) {
                size_t to = a->first + i;
                part->kernels->dequantise(a->w.type, (const char *)a->w.data + i * stride, row, a->w.cols);
                gemm->pack(p, (char *)a->to.data + to / gemm->panel * panel, (uint32_t)(to % gemm->panel), row,
                           a->w.cols);
        }
}

static uint64_t pack_work(const void *args) {
        const Pack *a = args;
        return (uint64_t)a->w.rows * a->w.cols * 8;
}

void cpu_pack(Stream *s, const Packed *to, uint32_t first, const Matrix *w) {
        Pack *a = stream_op(s, pack_run, pack_work, sizeof(*a), w->cols * sizeof(float));
        if (a)
                *a = (Pack){*to, first, *w};
}

typedef struct Joined {
        float *out;
        Packed w;
        const float *bias;
        Activation activation;
        Update update;
} Joined;

typedef struct Linear {
        const float *x;
        uint32_t n_rows, cols, n;
        Precision precision;
        Joined products[JOINED_MAX];
} Linear;

/* What one part makes; the panels of all products are counted through. */
typedef struct Area {
        CpuShare rows, panels;
} Area;

static unsigned panel_parts(size_t panels, unsigned most) {
        return (unsigned)CLAMP(panels / PANELS_MIN, 1u, most);
}

static Area area_of(const Linear *a, const CpuGemm *gemm, const CpuPart *part) {
        size_t tiles = (a->n_rows + gemm->tile - 1) / gemm->tile, panels = 0;
        for (uint32_t i = 0; i < a->n; i++)
                panels += panels_of(gemm, a->products[i].w.rows);
        unsigned by_rows = (unsigned)CLAMP(tiles / 2, 1u, part->n), by_panels = panel_parts(panels, part->n / by_rows);
        while (by_rows > 1 && a->n_rows / (by_rows / 2) <= gemm->rows_at_once(a->precision, a->cols) &&
               by_rows / 2 * panel_parts(panels, part->n / (by_rows / 2)) >= by_rows * by_panels) {
                by_rows /= 2; /* a panel comes from far away, and once for each part by rows: as few as leave no part less */
                by_panels = panel_parts(panels, part->n / by_rows);
        }
        CpuPart rows = {.index = part->index / by_panels, .n = by_rows};
        CpuPart cols = {.index = part->index % by_panels, .n = by_panels};
        if (rows.index >= by_rows) /* more parts than there is a use for */
                return (Area){0};
        return (Area){cpu_share(&rows, a->n_rows, gemm->tile), cpu_share(&cols, panels, 1)};
}

static void multiply_panel(const Linear *a, const Joined *p, const CpuPart *part, size_t panel, CpuShare rows) {
        const CpuGemm *gemm = part->kernels->gemm;
        size_t feature = panel * gemm->panel;
        gemm->multiply(&(CpuProduct){
                .precision = a->precision,
                .panel = (const char *)p->w.data + panel * gemm->panel_size(a->precision, a->cols),
                .rows = part->scratch,
                .k = a->cols,
                .n_rows = (uint32_t)(rows.end - rows.begin),
                .n_out = (uint32_t)MIN(p->w.rows - feature, (size_t)gemm->panel),
                .out = p->out + rows.begin * p->w.rows + feature,
                .out_stride = p->w.rows,
                .bias = p->bias ? p->bias + feature : NULL,
                .activation = p->activation,
                .update = p->update,
        });
}

/* Of the prepared rows, and those panels of the area that are this product's; its first is panel `first` of all. */
static void multiply(const Linear *a, const Joined *p, const CpuPart *part, const Area *area, size_t first, CpuShare rows) {
        size_t end = first + panels_of(part->kernels->gemm, p->w.rows);
        for (size_t i = MAX(area->panels.begin, first); i < MIN(area->panels.end, end); i++)
                multiply_panel(a, p, part, i - first, rows);
}

static void linear_run(const void *args, const CpuPart *part) {
        const Linear *a = args;
        const CpuGemm *gemm = part->kernels->gemm;
        Area area = area_of(a, gemm, part);
        size_t most = gemm->rows_at_once(a->precision, a->cols);
        for (size_t i = area.rows.begin; i < area.rows.end; i += most) {
                CpuShare rows = {i, MIN(area.rows.end, i + most)};
                size_t first = 0;
                for (size_t r = rows.begin; r < rows.end; r++)
                        gemm->prepare(a->precision, part->scratch, (uint32_t)(r - rows.begin), a->x + r * a->cols,
                                      a->cols);
                for (uint32_t k = 0; k < a->n; first += panels_of(gemm, a->products[k++].w.rows))
                        multiply(a, &a->products[k], part, &area, first, rows);
        }
}

static uint64_t linear_work(const void *args) {
        const Linear *a = args;
        uint64_t features = 0;
        for (uint32_t i = 0; i < a->n; i++)
                features += a->products[i].w.rows;
        return features * a->cols * a->n_rows;
}

/* Whether `more` may be one operation with `a`: nothing of what is read or written there is written. */
static bool joins(const Linear *a, const Linear *more) {
        const Joined *p = more->products;
        if (a->x != more->x || a->n_rows != more->n_rows || a->cols != more->cols || a->precision != more->precision ||
            a->n == JOINED_MAX)
                return false;
        for (uint32_t i = 0; i < a->n; i++) {
                const Joined *q = &a->products[i];
                if (p->out < q->out + (size_t)a->n_rows * q->w.rows && q->out < p->out + (size_t)a->n_rows * p->w.rows)
                        return false;
        }
        return true;
}

void cpu_linear(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                Activation activation, Update update) {
        const CpuGemm *gemm = stream_kernels(s)->gemm;
        Precision precision = gemm->nearest(w->precision);
        Linear *last = stream_last(s, linear_run), one = {x, n_rows, w->cols, 1, precision,
                                                          {{out, *w, bias, activation, update}}};
        if (last && joins(last, &one)) {
                last->products[last->n++] = one.products[0];
                return;
        }
        Linear *a = stream_op(s, linear_run, linear_work, sizeof(*a), gemm->rows_size(precision, w->cols));
        if (a)
                *a = one;
}
