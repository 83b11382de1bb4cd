/* What the operations ask of a stream: to launch a kernel, to copy, and memory to work in.
 *
 * Kernels are held back and launched in runs: see run.h. Scratch memory belongs to the stream, is there from its
 * beginning, and holds nothing from one operation to the next, except for the turns of rope.cu and zeros in `arrived`. */
#pragma once

#include "device/device.h"

enum {
        STREAM_ARGS_MAX = 256,           /* bytes of a kernel's arguments */
        STREAM_SHARED_MAX = 99 << 10,    /* bytes of a block's shared memory: what every GPU from 8.0 on has */
        STREAM_SCRATCH = 32 << 20,       /* bytes */
        STREAM_TURNS = 8 << 20,          /* bytes */
        STREAM_SAMPLES = 1024,           /* sampling parameters that are on the device at once */
        STREAM_TILES = 1024,             /* counters */
};

/* What the kernels are made for; see DeviceLimits. */
enum {
        HEAD_DIM_MAX = 256,                    /* attention.cu */
        GRID_MAX = 65535,                      /* blocks in a grid's second and third dimension */
        VOCAB_MAX = STREAM_SCRATCH / 16,       /* sample.cu: a working copy and counts for a row, and more */
        LINEAR_COLS_MAX = 32768,               /* linear.cu: some rows of three terms in the scratch */
};

typedef struct StreamScratch {
        void *any;            /* dev [STREAM_SCRATCH] */
        float *turns;         /* dev [STREAM_TURNS] */
        SampleParams *params; /* dev [STREAM_SAMPLES] */
        uint32_t *arrived;    /* dev [STREAM_TILES], 0 between operations */
} StreamScratch;

/* What the turns are for, as long as no upload may have changed the positions. */
typedef struct StreamTurns {
        const int32_t *position; /* NULL: none */
        uint32_t n;
        Rope rope;
} StreamTurns;

typedef struct StreamLaunch {
        const void *kernel; /* as its own source file knows it */
        uint32_t grid[3], block;
        size_t shared; /* bytes, at most STREAM_SHARED_MAX */
} StreamLaunch;

/* Appends a kernel; `args` are copied. A grid without blocks is no kernel. */
void stream_append(Stream *s, const StreamLaunch *l, const void *args, size_t size);
/* Their padding is cleared: it would come from wherever a Rows or a KvLayer was, and runs are compared byte by byte. No
 * arrays of structures with padding: gcc 12 clears more than that. */
#define stream_launch(s, l, args) (__builtin_clear_padding(args), stream_append(s, l, args, sizeof(*(args))))
const StreamScratch *stream_scratch(const Stream *s);
StreamTurns *stream_turns(Stream *s);
/* Multiprocessors of the device. */
uint32_t stream_processors(const Stream *s);
/* The stream cannot do what was asked; sticky. */
void stream_fail(Stream *s, int error);

void cuda_upload(Stream *s, void *dev, const void *host, size_t n);
void cuda_download(Stream *s, void *host, const void *dev, size_t n);

/* *out becomes 1 if kernels, as they were compiled for this GPU, await those before them, and else 0. */
void cuda_awaits(Stream *s, float *out);

/* The operations; see DeviceOps. */
void cuda_embed(Stream *s, float *out, const Matrix *table, const Rows *rows, float scale);
void cuda_rmsnorm(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                  float eps, Update update);
void cuda_matmul(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update);
void cuda_glu(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x, Gate unit);
void cuda_rope(Stream *s, const Qkv *heads, const Rows *rows, const Rope *rope, const KvLayer *kv);
void cuda_attention(Stream *s, float *out, const float *q, const KvLayer *kv, const Rows *rows, const Attending *how);
void cuda_softcap(Stream *s, float *x, size_t n, float cap);
void cuda_route(Stream *s, const Routing *r, const float *logits, bool normalise);
void cuda_glu_experts(Stream *s, float *out, const Experts *gate, const Experts *up, const Routing *r, const float *x,
                      Gate unit);
void cuda_matmul_experts(Stream *s, float *out, const Experts *w, const Routing *r, const float *x);
void cuda_combine(Stream *s, float *x, const float *y, const Routing *r, uint32_t n_cols);
void cuda_gather(Stream *s, float *out, const float *x, const int32_t *index, uint32_t n, uint32_t n_cols);
void cuda_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                 const Rows *rows, const SampleParams *params);
size_t cuda_packed_size(const Device *d, Precision precision, uint32_t rows, uint32_t cols);
void cuda_pack(Stream *s, const Packed *to, uint32_t first, const Matrix *w);
void cuda_linear(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                 Activation activation, Update update);
void cuda_embed_sum(Stream *s, float *out, const Matrix *tables, const int32_t *const *index, uint32_t n_tables,
                    uint32_t n_rows);
void cuda_layernorm(Stream *s, float *out, const float *x, const float *weight, const float *bias, uint32_t n_rows,
                    uint32_t n_cols, float eps);
void cuda_self_attention(Stream *s, float *out, const SelfAttention *a);
void cuda_pool(Stream *s, float *out, const float *x, const Texts *texts, uint32_t n_cols, Pooling pooling,
               bool normalise);
