/* What the files of the CPU device share: how an operation is recorded and run, and the operations themselves.
 *
 * An operation is a function and a copy of its arguments. It is done in parts: the function is called once for every
 * part, with the same arguments and a CpuPart, by whichever thread of the stream's group is free. It makes a share
 * of the output, chosen by the part's index alone, and touches nothing else. How many parts there are depends on the
 * work and on the threads, so it must not change a bit of the result. When all parts are done, the next operation
 * runs. */
#pragma once

#include "device/cpu/kernels.h"
#include "device/device.h"

/* A panel of weights, de-quantised once and used for many activation rows: rows × columns of float32 that stay in
 * the second-level cache. */
enum { PANEL_ROWS = 32, SLIM_ROWS = 4, PANEL_COLS = CPU_DOT_BLOCK };

typedef struct CpuPart {
        unsigned index, n; /* this part, of how many */
        const CpuKernels *kernels;
        float *panel;  /* [PANEL_ROWS, PANEL_COLS], the thread's own */
        char *scratch; /* what stream_op() was asked for, the thread's own; holds nothing from part to part */
} CpuPart;

typedef void CpuRun(const void *args, const CpuPart *part);

/* What an operation has to do that more than one thread can do, in multiply-adds of a matrix product or what takes as
 * long. Asked when its turn has come: positions are known then. */
typedef uint64_t CpuWork(const void *args);

/* Appends an operation with room for `size` bytes of arguments, to be filled by the caller. `scratch` bytes per thread
 * are at hand when it runs. NULL without memory: then the stream has failed. */
void *stream_op(Stream *s, CpuRun *run, CpuWork *work, size_t size, size_t scratch);
/* Appends an operation with a copy of its arguments. */
void stream_record(Stream *s, CpuRun *run, CpuWork *work, const void *args, size_t size);

/* The arguments of the operation that was appended last and not marked yet, if it is of this kind; else NULL. */
void *stream_last(const Stream *s, CpuRun *run);

/* What an operation has left in the batch for later ones of its kind: its arguments, which live until the batch has
 * been executed. Forgotten at the mark and at an upload, which may change what it was made of. NULL: nothing. */
const void *stream_kept(const Stream *s);
void stream_keep(Stream *s, const void *args);

int cpu_stream_new(unsigned threads, const CpuKernels *kernels, Stream **ret, Error *e);
void cpu_stream_free(Stream *s);
/* The least work that makes a part of its own, 1 or more: tests have small operations done in many parts. */
void cpu_stream_set_part_work(Stream *s, uint64_t work);
int cpu_eventfd(Stream *s);
int cpu_mark(Stream *s, uint64_t *ret_ticket);
int cpu_poll(Stream *s, uint64_t *ret_ticket);
int cpu_wait(Stream *s, uint64_t ticket);
void cpu_upload(Stream *s, void *dev, const void *host, size_t n);
void cpu_download(Stream *s, void *host, const void *dev, size_t n);

/* The operations; see DeviceOps. */
void cpu_embed(Stream *s, float *out, const Matrix *table, const Rows *rows, float scale);
void cpu_rmsnorm(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                 float eps, Update update);
void cpu_matmul(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update);
void cpu_glu(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x, Gate unit);
void cpu_rope(Stream *s, const Qkv *heads, const Rows *rows, const Rope *rope, const KvLayer *kv);
void cpu_attention(Stream *s, float *out, const float *q, const KvLayer *kv, const Rows *rows, const Attending *how);
void cpu_softcap(Stream *s, float *x, size_t n, float cap);
void cpu_route(Stream *s, const Routing *r, const float *logits, bool normalise);
void cpu_glu_experts(Stream *s, float *out, const Experts *gate, const Experts *up, const Routing *r, const float *x,
                     Gate unit);
void cpu_matmul_experts(Stream *s, float *out, const Experts *w, const Routing *r, const float *x);
void cpu_combine(Stream *s, float *x, const float *y, const Routing *r, uint32_t n_cols);
void cpu_gather(Stream *s, float *out, const float *x, const int32_t *index, uint32_t n, uint32_t n_cols);
void cpu_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                const Rows *rows, const SampleParams *params);
void cpu_pack(Stream *s, const Packed *to, uint32_t first, const Matrix *w);
void cpu_linear(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                Activation activation, Update update);
void cpu_embed_sum(Stream *s, float *out, const Matrix *tables, const int32_t *const *index, uint32_t n_tables,
                   uint32_t n_rows);
void cpu_layernorm(Stream *s, float *out, const float *x, const float *weight, const float *bias, uint32_t n_rows,
                   uint32_t n_cols, float eps);
void cpu_self_attention(Stream *s, float *out, const SelfAttention *a);
void cpu_pool(Stream *s, float *out, const float *x, const Texts *texts, uint32_t n_cols, Pooling pooling,
              bool normalise);
size_t cpu_packed_size(const CpuGemm *gemm, Precision precision, uint32_t rows, uint32_t cols);

/* The kernels that operations will be run with: how much scratch they need depends on it. */
const CpuKernels *stream_kernels(const Stream *s);

/* This part's share [begin, end) of n items, in whole multiples of `align` but for the last. */
typedef struct CpuShare {
        size_t begin, end;
} CpuShare;

static inline CpuShare cpu_share(const CpuPart *part, size_t n, size_t align) {
        size_t units = n / align + (n % align != 0), each = units / part->n, more = units % part->n;
        size_t begin = part->index * each + MIN(part->index, more), end = begin + each + (part->index < more);
        return (CpuShare){MIN(begin * align, n), MIN(end * align, n)};
}

/* The token of row i: see Rows. */
static inline int32_t *cpu_token(const Rows *rows, uint32_t i) {
        return rows->tokens + (size_t)rows->slot[i] * rows->context + (size_t)rows->position[i];
}

/* Values of one position of a cache, and where the first KV head's begin. */
static inline size_t cpu_kv_width(const KvLayer *kv) {
        return (size_t)kv->n_kv_heads * kv->head_dim;
}

static inline size_t cpu_kv_offset(const KvLayer *kv, int32_t slot, uint32_t position) {
        int32_t page = kv->block_tables[(size_t)slot * kv->max_pages + position / kv->page_size];
        return ((size_t)page * kv->page_size + position % kv->page_size) * cpu_kv_width(kv);
}
