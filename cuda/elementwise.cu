/* Operations that treat each value, or each row, by itself: embeddings, gathering, soft caps. All are bound by memory. */
#include "cuda/kernel.h"

enum { ELEMENT_THREADS = 256 };

static StreamLaunch launch_rows(const void *kernel, uint32_t n) {
        StreamLaunch l = {kernel, {n, 1, 1}, ELEMENT_THREADS, 0};
        return l;
}

typedef struct EmbedArgs {
        float *out;
        Matrix table;
        Rows rows;
        float scale;
} EmbedArgs;

KERNEL(embed, EmbedArgs, ELEMENT_THREADS) {
        uint32_t token = (uint32_t)*row_token(&a.rows, blockIdx.x), cols = a.table.cols;
        float *out = a.out + (size_t)blockIdx.x * cols;
        const char *row = (const char *)a.table.data + token * row_bytes(a.table.type, cols);
        for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x)
                out[c] = token < a.table.rows ? a.scale * row_value(a.table.type, row, c) : 0;
}

HOST void cuda_embed(Stream *s, float *out, const Matrix *table, const Rows *rows, float scale) {
        EmbedArgs args = {out, *table, *rows, scale};
        StreamLaunch l = launch_rows((const void *)embed, rows->n);
        stream_launch(s, &l, &args);
}

typedef struct EmbedSumArgs {
        float *out;
        const void *data[EMBED_TABLES];
        const int32_t *index[EMBED_TABLES];
        Dtype type[EMBED_TABLES];
        uint32_t rows[EMBED_TABLES], n_tables, cols;
} EmbedSumArgs;

KERNEL(embed_sum, EmbedSumArgs, ELEMENT_THREADS) {
        float *out = a.out + (size_t)blockIdx.x * a.cols;
        for (uint32_t c = threadIdx.x; c < a.cols; c += blockDim.x) {
                float sum = 0;
                for (uint32_t t = 0; t < a.n_tables; t++) {
                        uint32_t i = (uint32_t)a.index[t][blockIdx.x];
                        const char *table = (const char *)a.data[t];
                        if (i < a.rows[t])
                                sum += row_value(a.type[t], table + i * row_bytes(a.type[t], a.cols), c);
                }
                out[c] = sum;
        }
}

HOST void cuda_embed_sum(Stream *s, float *out, const Matrix *tables, const int32_t *const *index, uint32_t n_tables,
                         uint32_t n_rows) {
        EmbedSumArgs args = {.out = out, .n_tables = n_tables, .cols = tables[0].cols};
        StreamLaunch l = launch_rows((const void *)embed_sum, n_rows);
        for (uint32_t t = 0; t < n_tables; t++) {
                args.data[t] = tables[t].data;
                args.type[t] = tables[t].type;
                args.rows[t] = tables[t].rows;
                args.index[t] = index[t];
        }
        stream_launch(s, &l, &args);
}

typedef struct AwaitsArgs {
        float *out;
} AwaitsArgs;

KERNEL(awaits, AwaitsArgs, 1) {
        *a.out = KERNELS_AWAIT;
}

HOST void cuda_awaits(Stream *s, float *out) {
        AwaitsArgs args = {out};
        StreamLaunch l = {(const void *)awaits, {1, 1, 1}, 1, 0};
        stream_launch(s, &l, &args);
}

typedef struct GatherArgs {
        float *out;
        const float *x;
        const int32_t *index;
        uint32_t n_cols;
} GatherArgs;

KERNEL(gather, GatherArgs, ELEMENT_THREADS) {
        const float *from = a.x + (size_t)a.index[blockIdx.x] * a.n_cols;
        float *to = a.out + (size_t)blockIdx.x * a.n_cols;
        for (uint32_t i = threadIdx.x; i < a.n_cols; i += blockDim.x)
                to[i] = from[i];
}

HOST void cuda_gather(Stream *s, float *out, const float *x, const int32_t *index, uint32_t n, uint32_t n_cols) {
        GatherArgs args = {out, x, index, n_cols};
        StreamLaunch l = launch_rows((const void *)gather, n);
        stream_launch(s, &l, &args);
}

typedef struct SoftcapArgs {
        float *x;
        size_t n;
        float cap;
} SoftcapArgs;

KERNEL(softcap, SoftcapArgs, ELEMENT_THREADS) {
        size_t i = (size_t)blockIdx.x * ELEMENT_THREADS + threadIdx.x;
        if (i < a.n)
                a.x[i] = softcapped(a.x[i], a.cap);
}

HOST void cuda_softcap(Stream *s, float *x, size_t n, float cap) {
        SoftcapArgs args = {x, n, cap};
        StreamLaunch l = launch_rows((const void *)softcap, (uint32_t)((n + ELEMENT_THREADS - 1) / ELEMENT_THREADS));
        stream_launch(s, &l, &args);
}
