/* Operations that treat each value, or each row, by itself. */
#include <string.h>

#include "device/cpu/cpu.h"

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

typedef struct Softcap {
        float *x;
        size_t n;
        float cap;
} Softcap;

static void softcap_run(const void *args, const CpuPart *part) {
        const Softcap *a = args;
        CpuShare mine = cpu_share(part, a->n, 64);
        part->kernels->softcap(a->x + mine.begin, mine.end - mine.begin, 1, a->cap);
}

static uint64_t softcap_work(const void *args) {
        const Softcap *a = args;
        return a->n * 16;
}

void cpu_softcap(Stream *s, float *x, size_t n, float cap) {
        stream_record(s, softcap_run, softcap_work, &(Softcap){x, n, cap}, sizeof(Softcap));
}
