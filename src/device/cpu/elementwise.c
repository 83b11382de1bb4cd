/* Operations that treat each value, or each row, by itself. */
#include <string.h>

#include "device/cpu/cpu.h"

enum { VALUES_EACH = 1024 }; /* whole cache lines, and many vectors */

typedef struct Swiglu {
        float *out;
        const float *gate, *up;
        size_t n;
} Swiglu;

static void swiglu_run(const void *args, const CpuPart *part) {
        const Swiglu *a = args;
        CpuShare mine = cpu_share(part, a->n, VALUES_EACH);
        part->kernels->swiglu(a->out + mine.begin, a->gate + mine.begin, a->up + mine.begin, mine.end - mine.begin);
}

static uint64_t swiglu_work(const void *args) {
        const Swiglu *a = args;
        return a->n * 8;
}

void cpu_swiglu(Stream *s, float *out, const float *gate, const float *up, size_t n) {
        stream_record(s, swiglu_run, swiglu_work, &(Swiglu){out, gate, up, n}, sizeof(Swiglu));
}

typedef struct Gather {
        float *out;
        const float *x;
        const int32_t *index;
        uint32_t n, n_cols;
} Gather;

static void gather_run(const void *args, const CpuPart *part) {
        const Gather *a = args;
        CpuShare mine = cpu_share(part, a->n, 1);
        for (size_t i = mine.begin; i < mine.end; i++)
                memcpy(a->out + i * a->n_cols, a->x + (size_t)a->index[i] * a->n_cols, a->n_cols * sizeof(float));
}

static uint64_t gather_work(const void *args) {
        const Gather *a = args;
        return (uint64_t)a->n * a->n_cols * 2;
}

void cpu_gather(Stream *s, float *out, const float *x, const int32_t *index, uint32_t n, uint32_t n_cols) {
        stream_record(s, gather_run, gather_work, &(Gather){out, x, index, n, n_cols}, sizeof(Gather));
}
