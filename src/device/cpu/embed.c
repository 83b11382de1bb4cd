/* Rows of embedding tables: those that belong to a step's tokens, and sums of them. */
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Embed {
        float *out;
        Matrix table;
        Rows rows;
        float scale;
} Embed;

static void embed_run(const void *args, const CpuPart *part) {
        const Embed *a = args;
        CpuShare mine = cpu_share(part, a->rows.n, 1);
        size_t stride = dtype_row_size(a->table.type, a->table.cols);
        for (size_t i = mine.begin; i < mine.end; i++) {
                uint32_t token = (uint32_t)*cpu_token(&a->rows, (uint32_t)i);
                float *out = a->out + i * a->table.cols;
                if (token >= a->table.rows) { /* no such token: no meaning, and no read outside the table */
                        memset(out, 0, a->table.cols * sizeof(float));
                        continue;
                }
                part->kernels->dequantise(a->table.type, (const char *)a->table.data + token * stride, out, a->table.cols);
                if (a->scale != 1)
                        part->kernels->scale(out, a->table.cols, a->scale);
        }
}

static uint64_t embed_work(const void *args) {
        const Embed *a = args;
        return (uint64_t)a->rows.n * a->table.cols * 2;
}

void cpu_embed(Stream *s, float *out, const Matrix *table, const Rows *rows, float scale) {
        stream_record(s, embed_run, embed_work, &(Embed){out, *table, *rows, scale}, sizeof(Embed));
}

typedef struct EmbedSum {
        float *out;
        Matrix tables[EMBED_TABLES];
        const int32_t *index[EMBED_TABLES];
        uint32_t n_tables, n_rows;
} EmbedSum;

static void add_entry(float *out, const Matrix *table, int32_t index, const CpuPart *part) {
        if (index < 0 || (uint32_t)index >= table->rows)
                return;
        const char *row = (const char *)table->data + (size_t)index * dtype_row_size(table->type, table->cols);
        for (size_t at = 0; at < table->cols; at += PANEL_COLS) {
                size_t n = MIN(table->cols - at, (size_t)PANEL_COLS);
                part->kernels->dequantise(table->type, row + dtype_row_size(table->type, at), part->panel, n);
                part->kernels->add(out + at, part->panel, n);
        }
}

static void embed_sum_run(const void *args, const CpuPart *part) {
        const EmbedSum *a = args;
        size_t cols = a->tables[0].cols;
        CpuShare mine = cpu_share(part, a->n_rows, 1);
        for (size_t i = mine.begin; i < mine.end; i++) {
                memset(a->out + i * cols, 0, cols * sizeof(float));
                for (uint32_t t = 0; t < a->n_tables; t++)
                        add_entry(a->out + i * cols, &a->tables[t], a->index[t][i], part);
        }
}

static uint64_t embed_sum_work(const void *args) {
        const EmbedSum *a = args;
        return (uint64_t)a->n_rows * a->n_tables * a->tables[0].cols * 4;
}

void cpu_embed_sum(Stream *s, float *out, const Matrix *tables, const int32_t *const *index, uint32_t n_tables,
                   uint32_t n_rows) {
        EmbedSum a = {.out = out, .n_tables = n_tables, .n_rows = n_rows};
        for (uint32_t t = 0; t < n_tables; t++) {
                a.tables[t] = tables[t];
                a.index[t] = index[t];
        }
        stream_record(s, embed_sum_run, embed_sum_work, &a, sizeof(a));
}
