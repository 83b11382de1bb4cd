/* Products with packed matrices; the layouts are in kernels.h.
 *
 * Each part makes a block of the output: some of the rows, or where those are few, some of the features. It prepares
 * CPU_GEMM_ROWS rows at a time in its scratch and takes all its panels to them: the rows stay in the second-level cache,
 * and so does a panel for as long as it is used. */
#include <string.h>

#include "device/cpu/cpu.h"
#include "util/checked.h"

enum { PANELS_MIN = 6 }; /* of a part: with fewer, preparing rows takes longer than using them */

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

typedef struct Linear {
        float *out;
        Packed w;
        const float *x, *bias;
        uint32_t n_rows;
        Activation activation;
        bool accumulate;
} Linear;

/* What one part makes. */
typedef struct Area {
        CpuShare rows, panels;
} Area;

static Area area_of(const Linear *a, const CpuGemm *gemm, const CpuPart *part) {
        size_t tiles = (a->n_rows + gemm->tile - 1) / gemm->tile, panels = panels_of(gemm, a->w.rows);
        unsigned by_rows = (unsigned)CLAMP(tiles / 2, 1u, part->n);
        unsigned by_panels = (unsigned)CLAMP(panels / PANELS_MIN, 1u, part->n / by_rows);
        CpuPart rows = {.index = part->index / by_panels, .n = by_rows};
        CpuPart cols = {.index = part->index % by_panels, .n = by_panels};
        if (rows.index >= by_rows) /* more parts than there is a use for */
                return (Area){0};
        return (Area){cpu_share(&rows, a->n_rows, gemm->tile), cpu_share(&cols, panels, 1)};
}

static void multiply_panel(const Linear *a, const CpuPart *part, Precision p, size_t panel, CpuShare rows) {
        const CpuGemm *gemm = part->kernels->gemm;
        size_t feature = panel * gemm->panel;
        gemm->multiply(&(CpuProduct){
                .precision = p,
                .panel = (const char *)a->w.data + panel * gemm->panel_size(p, a->w.cols),
                .rows = part->scratch,
                .k = a->w.cols,
                .n_rows = (uint32_t)(rows.end - rows.begin),
                .n_out = (uint32_t)MIN(a->w.rows - feature, (size_t)gemm->panel),
                .out = a->out + rows.begin * a->w.rows + feature,
                .out_stride = a->w.rows,
                .bias = a->bias ? a->bias + feature : NULL,
                .activation = a->activation,
                .accumulate = a->accumulate,
        });
}

static void linear_run(const void *args, const CpuPart *part) {
        const Linear *a = args;
        const CpuGemm *gemm = part->kernels->gemm;
        Precision p = gemm->nearest(a->w.precision);
        Area area = area_of(a, gemm, part);
        for (size_t i = area.rows.begin; i < area.rows.end; i += CPU_GEMM_ROWS) {
                CpuShare rows = {i, MIN(area.rows.end, i + CPU_GEMM_ROWS)};
                for (size_t r = rows.begin; r < rows.end; r++)
                        gemm->prepare(p, part->scratch, (uint32_t)(r - rows.begin), a->x + r * a->w.cols, a->w.cols);
                for (size_t panel = area.panels.begin; panel < area.panels.end; panel++)
                        multiply_panel(a, part, p, panel, rows);
        }
}

static uint64_t linear_work(const void *args) {
        const Linear *a = args;
        return (uint64_t)a->w.rows * a->w.cols * a->n_rows;
}

void cpu_linear(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                Activation activation, bool accumulate) {
        const CpuGemm *gemm = stream_kernels(s)->gemm;
        Linear *a = stream_op(s, linear_run, linear_work, sizeof(*a),
                              gemm->rows_size(gemm->nearest(w->precision), w->cols));
        if (a)
                *a = (Linear){.out = out,
                              .w = *w,
                              .x = x,
                              .bias = bias,
                              .n_rows = n_rows,
                              .activation = activation,
                              .accumulate = accumulate};
}
