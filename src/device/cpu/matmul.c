/* Matrix products of weights in any format with float32 activations. Each part makes its own output features: it
 * reads its own rows of the weights, once.
 *
 * One row (decoding): weights go from memory through registers, de-quantised on the way.
 * More rows (prompts, batches): a panel of PANEL_ROWS x PANEL_COLS weights is de-quantised into the cache and used
 * for all rows, panel after panel along the rows of the weights. A panel is as wide as the blocks in which dot
 * products are summed, so both ways give the same bits. */
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Matmul {
        float *out;
        Matrix w;
        const float *x;
        const float *bias;
        uint32_t n_rows;
        bool accumulate;
} Matmul;

static void start_values(const Matmul *a, CpuShare mine) {
        size_t n = mine.end - mine.begin;
        for (uint32_t i = 0; i < a->n_rows; i++) {
                float *out = a->out + (size_t)i * a->w.rows + mine.begin;
                if (!a->accumulate)
                        memset(out, 0, n * sizeof(*out));
                for (size_t r = 0; a->bias && r < n; r++)
                        out[r] += a->bias[mine.begin + r];
        }
}

static void by_registers(const Matmul *a, CpuShare mine, const CpuPart *part) {
        size_t stride = dtype_row_size(a->w.type, a->w.cols);
        part->kernels->dots(&(CpuDots){
                .type = a->w.type,
                .w = (const char *)a->w.data + mine.begin * stride,
                .w_stride = stride,
                .n_w = (uint32_t)(mine.end - mine.begin),
                .x = a->x,
                .x_stride = a->w.cols,
                .n_x = a->n_rows,
                .out = a->out + mine.begin,
                .out_stride = a->w.rows,
                .k = a->w.cols,
        });
}

/* The panel of n weight rows from `row` on, columns from `col` on. */
static void by_panel(const Matmul *a, size_t row, size_t n, size_t col, const CpuPart *part) {
        size_t stride = dtype_row_size(a->w.type, a->w.cols);
        size_t cols = MIN(a->w.cols - col, (size_t)PANEL_COLS);
        const char *w = (const char *)a->w.data + row * stride + dtype_row_size(a->w.type, col);
        for (size_t r = 0; r < n; r++)
                part->kernels->dequantise(a->w.type, w + r * stride, part->panel + r * PANEL_COLS, cols);
        part->kernels->dots(&(CpuDots){
                .type = DTYPE_F32,
                .w = part->panel,
                .w_stride = PANEL_COLS * sizeof(float),
                .n_w = (uint32_t)n,
                .x = a->x + col,
                .x_stride = a->w.cols,
                .n_x = a->n_rows,
                .out = a->out + row,
                .out_stride = a->w.rows,
                .k = (uint32_t)cols,
        });
}

static void matmul_run(const void *args, const CpuPart *part) {
        const Matmul *a = args;
        CpuShare mine = cpu_share(part, a->w.rows, 4);
        start_values(a, mine);
        if (a->n_rows == 1) {
                by_registers(a, mine, part);
                return;
        }
        for (size_t row = mine.begin; row < mine.end; row += PANEL_ROWS)
                for (size_t col = 0; col < a->w.cols; col += PANEL_COLS)
                        by_panel(a, row, MIN(mine.end - row, (size_t)PANEL_ROWS), col, part);
}

static uint64_t matmul_work(const void *args) {
        const Matmul *a = args;
        return (uint64_t)a->w.rows * a->w.cols * a->n_rows;
}

void cpu_matmul(Stream *s, float *out, const Matrix *w, const float *x, uint32_t n_rows, const float *bias,
                bool accumulate) {
        stream_record(s, matmul_run, matmul_work,
                      &(Matmul){.out = out, .w = *w, .x = x, .bias = bias, .n_rows = n_rows, .accumulate = accumulate},
                      sizeof(Matmul));
}
