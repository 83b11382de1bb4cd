/* The rows of the embedding table that belong to the step's tokens. */
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Embed {
        float *out;
        Matrix table;
        Rows rows;
} Embed;

static void embed_run(const void *args, const CpuPart *part) {
        const Embed *a = args;
        CpuShare mine = cpu_share(part, a->rows.n, 1);
        size_t stride = dtype_row_size(a->table.type, a->table.cols);
        for (size_t i = mine.begin; i < mine.end; i++) {
                uint32_t token = (uint32_t)*cpu_token(&a->rows, (uint32_t)i);
                float *out = a->out + i * a->table.cols;
                if (token < a->table.rows)
                        part->kernels->dequantise(a->table.type, (const char *)a->table.data + token * stride, out,
                                               a->table.cols);
                else /* no such token: no meaning, and no read outside the table */
                        memset(out, 0, a->table.cols * sizeof(float));
        }
}

static uint64_t embed_work(const void *args) {
        const Embed *a = args;
        return (uint64_t)a->rows.n * a->table.cols * 2;
}

void cpu_embed(Stream *s, float *out, const Matrix *table, const Rows *rows) {
        stream_record(s, embed_run, embed_work, &(Embed){out, *table, *rows}, sizeof(Embed));
}
