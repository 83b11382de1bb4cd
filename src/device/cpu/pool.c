/* From the rows of a text to its one vector. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Pool {
        float *out;
        const float *x;
        Texts texts;
        uint32_t n_cols;
        Pooling pooling;
        bool normalise;
} Pool;

/* Rows [begin, end); at least one. */
static void pool_rows(const Pool *a, float *out, uint32_t begin, uint32_t end, const CpuKernels *kernels) {
        size_t n = a->n_cols, first = a->pooling == POOLING_LAST ? end - 1 : begin;
        memcpy(out, a->x + first * n, n * sizeof(float));
        if (a->pooling != POOLING_MEAN)
                return;
        for (size_t i = first + 1; i < end; i++)
                kernels->add(out, a->x + i * n, n);
        kernels->scale(out, n, 1 / (float)(end - begin));
}

static void pool_run(const void *args, const CpuPart *part) {
        const Pool *a = args;
        CpuShare mine = cpu_share(part, a->texts.n, 1);
        for (size_t t = mine.begin; t < mine.end; t++) {
                float *out = a->out + t * a->n_cols;
                const uint32_t *starts = a->texts.starts;
                pool_rows(a, out, starts ? starts[t] : (uint32_t)t, starts ? starts[t + 1] : (uint32_t)t + 1, part->kernels);
                float length = a->normalise ? sqrtf(part->kernels->dot(out, out, a->n_cols)) : 0;
                if (length > 0)
                        part->kernels->scale(out, a->n_cols, 1 / length);
        }
}

static uint64_t pool_work(const void *args) {
        const Pool *a = args;
        return (uint64_t)a->texts.n_rows * a->n_cols;
}

void cpu_pool(Stream *s, float *out, const float *x, const Texts *texts, uint32_t n_cols, Pooling pooling,
              bool normalise) {
        stream_record(s, pool_run, pool_work, &(Pool){out, x, *texts, n_cols, pooling, normalise}, sizeof(Pool));
}
