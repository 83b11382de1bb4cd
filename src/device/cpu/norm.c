/* Normalisation of rows: by their root mean square (Zhang and Sennrich 2019), and by mean and variance (Ba, Kiros and
 * Hinton 2016). */
#include "device/cpu/cpu.h"

typedef struct Rmsnorm {
        float *out;
        const float *x, *weight;
        uint32_t n_rows, n_cols;
        float eps;
        Update update;
} Rmsnorm;

static void rmsnorm_run(const void *args, const CpuPart *part) {
        const Rmsnorm *a = args;
        CpuShare mine = cpu_share(part, a->n_rows, 1);
        for (size_t i = mine.begin; i < mine.end; i++)
                part->kernels->rmsnorm(a->out + i * a->n_cols, a->x + i * a->n_cols, a->weight, a->n_cols, a->eps, a->update);
}

static uint64_t rmsnorm_work(const void *args) {
        const Rmsnorm *a = args;
        return (uint64_t)a->n_rows * a->n_cols * 4;
}

void cpu_rmsnorm(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                 float eps, Update update) {
        stream_record(s, rmsnorm_run, rmsnorm_work, &(Rmsnorm){out, x, weight, n_rows, n_cols, eps, update},
                      sizeof(Rmsnorm));
}

typedef struct Layernorm {
        float *out;
        const float *x, *weight, *bias;
        uint32_t n_rows, n_cols;
        float eps;
} Layernorm;

static void layernorm_run(const void *args, const CpuPart *part) {
        const Layernorm *a = args;
        CpuShare mine = cpu_share(part, a->n_rows, 1);
        for (size_t i = mine.begin; i < mine.end; i++)
                part->kernels->layernorm(a->out + i * a->n_cols, a->x + i * a->n_cols, a->weight, a->bias, a->n_cols,
                                         a->eps);
}

static uint64_t layernorm_work(const void *args) {
        const Layernorm *a = args;
        return (uint64_t)a->n_rows * a->n_cols * 4;
}

void cpu_layernorm(Stream *s, float *out, const float *x, const float *weight, const float *bias, uint32_t n_rows,
                   uint32_t n_cols, float eps) {
        stream_record(s, layernorm_run, layernorm_work, &(Layernorm){out, x, weight, bias, n_rows, n_cols, eps},
                      sizeof(Layernorm));
}
