/* What a device can do: hold buffers, run streams of operations, and say when a stream has come to a mark.
 *
 * A Device is one GPU or the CPU. A Stream is a queue of operations that run in order, away from the caller: every
 * call below that takes a Stream only *enqueues* and returns at once, so it may be called from a loop thread. The
 * CPU plays the same game: its stream is a thread group that executes a list of recorded operations.
 *
 *   upload… ops… download… stream_mark(stream) -> ticket     …later the eventfd becomes readable
 *   stream_poll(stream) -> the last ticket reached, or a negative errno when the device has failed
 *
 * Operations return nothing: a failure (no memory for the record, a device error) is sticky in the stream and comes
 * out of stream_mark() and stream_poll(). After such an error the device is lost; the process should end.
 *
 * Pointers named dev below are device memory (from Buffer.data plus an offset); on the CPU that is host memory.
 * Structures passed to operations are copied. All matrices are row-major. Activations are float32.
 *
 * Invariants
 *  - Operations of one stream run one after another; none runs before the mark after it.
 *  - Batch invariance: the value of an output row depends on its own inputs only, bit for bit, never on how many
 *    other rows the call has, nor on the number of threads.
 */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/dtype.h"
#include "util/error.h"

typedef struct Device Device;
typedef struct Stream Stream;

typedef struct Buffer {
        void *data; /* device pointer */
        size_t size;
        bool wrapped; /* not ours to free: an mmap of the model file */
} Buffer;

/* A weight matrix in device memory: `rows` output features of `cols` inputs, in format `type`. A vector has rows 1.
 * data NULL: absent (an optional bias). */
typedef struct Matrix {
        const void *data;
        Dtype type;
        uint32_t rows, cols;
} Matrix;

/* What products are made of: rows of activations, where there is `norm` each of them normalised first, as by rmsnorm(). */
typedef struct Activations {
        const float *x; /* dev [n_rows, columns of the matrices] */
        uint32_t n_rows;
        const float *norm; /* dev f32 [columns]; NULL: x as it is */
        float eps;
        float *room; /* dev, as large as x: where a device may put the normalised rows */
} Activations;

/* A matrix to multiply with, and where the results go. */
typedef struct Product {
        Matrix w;
        const float *bias; /* dev f32 [w.rows] or NULL */
        float *out;        /* dev [n_rows, w.rows] */
} Product;

enum { PRODUCTS_MAX = 3 };

/* The experts of a network: a matrix each, all of one shape and format. */
typedef struct Experts {
        const void *const *each; /* dev [n]: their data, as in Matrix */
        const float *bias;       /* dev f32 [n, rows] or NULL */
        Dtype type;
        uint32_t n, rows, cols;
} Experts;

/* Which experts the rows of a step go to, n_used each, the one with the greatest weight first. What a row was given has a
 * *place* among all that was, sorted by expert and then by row. */
typedef struct Routing {
        uint32_t n_rows, n_experts, n_used;
        float *weight;   /* dev [n_rows, n_used] */
        int32_t *place;  /* dev [n_rows, n_used] */
        int32_t *row;    /* dev [n_rows * n_used]: the row of each place */
        int32_t *starts; /* dev [n_experts + 1]: the first place of each expert */
        int32_t *room;   /* dev [3 * n_rows * n_used], for the device's own use */
} Routing;

/* How many values of four bytes a routing takes, and one in such memory. */
static inline size_t routing_size(size_t n_rows, size_t n_experts, size_t n_used) {
        return 6 * n_rows * n_used + n_experts + 1;
}

static inline Routing routing_in(void *memory, uint32_t n_rows, uint32_t n_experts, uint32_t n_used) {
        size_t n = (size_t)n_rows * n_used;
        int32_t *at = (int32_t *)memory;
        return (Routing){n_rows, n_experts, n_used, (float *)memory, at + n, at + 2 * n, at + 3 * n, at + 3 * n + n_experts + 1};
}

/* In what numbers a packed matrix is multiplied, from fine to coarse. Sums are exact or float32, and results float32, in
 * any case. Quality, by all-MiniLM-L6-v2's vectors of 500 texts (bench/embed_quality.py): greatest difference 3e-7 in
 * float32; least cosine 0.9999 in 16 bits, 0.9993 in 8, and 0.9999 with one bfloat16. */
typedef enum Precision {
        PRECISION_F32,
        PRECISION_INT16, /* both factors as integers of 11 bits and a sign, scaled by the greatest of their neighbours */
        PRECISION_BF16,  /* of each number its 8 leading bits */
        PRECISION_INT8,  /* integers of 7 bits and a sign */
} Precision;

/* A matrix of `rows` output features and `cols` inputs, in the device's own layout for products with many rows. */
typedef struct Packed {
        void *data; /* dev */
        Precision precision; /* that was asked for; the device may compute in a finer one */
        uint32_t rows, cols;
} Packed;

typedef enum Activation {
        ACTIVATION_NONE,
        ACTIVATION_GELU,      /* x/2 (1 + erf(x / sqrt 2)) */
        ACTIVATION_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
        ACTIVATION_RELU,
        ACTIVATION_TANH,
        ACTIVATION_SILU, /* x / (1 + exp(-x)) */
} Activation;

/* Gated linear units (Shazeer 2020), of a gate and what goes through it. */
typedef enum Gate {
        GATE_SILU,      /* SwiGLU: silu(gate) * up */
        GATE_GELU_TANH, /* GeGLU: gelu(gate) * up, by tanh */
        GATE_CLAMPED,   /* gpt-oss's: g / (1 + exp(-1.702 g)) * (u + 1), of g = min(gate, 7) and u = up between -7 and 7 */
} Gate;

/* What becomes of what is in the output. */
typedef enum Update {
        UPDATE_SET,
        UPDATE_ADD,
        UPDATE_MULTIPLY, /* a gate, which lets through what is there */
} Update;

/* Texts of a batch, one after another, without padding: text i is rows [starts[i], starts[i+1]). */
typedef struct Texts {
        uint32_t n_rows, n, longest; /* rows of all, texts, rows of the longest */
        const uint32_t *starts;      /* dev [n + 1]; for pool() NULL where each text is one row */
} Texts;

/* How a text's rows become one. */
typedef enum Pooling {
        POOLING_CLS,  /* the first row */
        POOLING_MEAN, /* the mean of all */
        POOLING_LAST, /* the last row: of decoders, whose rows see only what is before them */
} Pooling;

/* See DeviceOps.self_attention. */
typedef struct SelfAttention {
        Texts texts;
        const float *q, *k, *v; /* dev [n_rows, heads, head_dim] */
        size_t q_stride, k_stride, v_stride, out_stride;
        uint32_t n_heads, n_kv_heads, head_dim; /* head_dim at most SELF_ATTENTION_DIM_MAX */
        bool causal, alibi;
        float scale; /* above 0 */
} SelfAttention;

#ifdef __CUDACC__
__host__ __device__
#endif
/* ALiBi's (Press et al. 2022): of a power of two heads a geometric series from 2^(-8/n) on; of others, as many of the
 * greatest power of two below, and then every other of the one above. */
static inline float alibi_slope(uint32_t head, uint32_t n_heads) {
        uint32_t below = 1;
        while (below * 2 <= n_heads)
                below *= 2;
        if (head < below)
                return exp2f(-8.0f / (float)below * (float)(head + 1));
        return exp2f(-4.0f / (float)below * (float)(2 * (head - below) + 1));
}

enum { EMBED_TABLES = 3, SELF_ATTENTION_DIM_MAX = 512 };

/* One paged KV cache of one layer: k and v each [n_pages, page_size, n_kv_heads, head_dim] of `type` (F32 or F16).
 * Position p of the sequence in slot s lives in page block_tables[s*max_pages + p/page_size], row p%page_size. */
typedef struct KvLayer {
        void *k, *v; /* dev */
        Dtype type;
        uint32_t page_size, n_kv_heads, head_dim;
        const int32_t *block_tables; /* dev [slots, max_pages] */
        uint32_t max_pages;
} KvLayer;

/* How attention() weighs positions. */
typedef struct Attending {
        uint32_t n_heads;
        uint32_t window;    /* only so many last positions are seen; 0: all */
        float scale, cap;   /* cap 0: none; else scaled scores are softcap()ped */
        const float *sinks; /* dev f32 [n_heads] or NULL: the score of what is seen besides, and has no value */
} Attending;

/* The rows of one step: row i is position `position[i]` of the sequence in slot `slot[i]`. Its token is
 * tokens[slot*context + position]: the prompt was uploaded there, and sampling writes each new token there, so that
 * the next step can be enqueued before anyone has read the last one's result. slot and position change by uploads
 * only. */
typedef struct Rows {
        uint32_t n;
        const int32_t *slot, *position; /* dev [n] */
        int32_t *tokens;                /* dev [slots, context] */
        uint32_t context;
} Rows;

typedef enum RopeStyle {
        ROPE_NORMAL, /* rotates pairs (2i, 2i+1): "llama" files */
        ROPE_NEOX,   /* rotates pairs (i, i + n_rot/2): qwen2, qwen3 */
} RopeStyle;

/* Rotary embedding, llama.cpp's conventions: angle of pair i at position p is
 * p * scale * base^(-2i/n_rot) / factors[i] (factors NULL: 1), and what is rotated is multiplied by `magnitude` (0: 1). */
typedef struct Rope {
        RopeStyle style;
        uint32_t n_rot; /* dimensions of a head that rotate; 0: none */
        float base, scale;
        const float *factors; /* dev [n_rot/2] or NULL */
        float magnitude;
} Rope;

/* Queries, keys and values of the same rows; see DeviceOps.rope. */
typedef struct Qkv {
        float *q, *k;   /* dev [rows.n, n_heads, head_dim] and [rows.n, n_kv_heads, head_dim] */
        const float *v; /* dev, as large as k; NULL where nothing is stored */
        uint32_t n_heads, n_kv_heads, head_dim;
        const float *q_norm, *k_norm; /* dev f32 [head_dim] or NULL */
        float eps;
} Qkv;

enum { SAMPLE_TOP_MAX = 20 };

/* How to choose the next token of one sequence. Order, as in the field: logit_bias, penalties over the last
 * penalty_last tokens, what is allowed, then greedy if temperature is 0, else top_k, top_p, min_p, temperature, draw. */
typedef struct SampleParams {
        float temperature;       /* 0: greedy, lowest id wins ties */
        float top_p, min_p;      /* 1 and 0: off */
        int32_t top_k;           /* 0: off */
        float repeat_penalty;    /* 1: off; divides positive, multiplies negative logits of tokens seen */
        float presence_penalty;  /* 0: off */
        float frequency_penalty; /* 0: off */
        int32_t penalty_last;    /* how many last tokens the penalties look at; 0: off, -1: all */
        int32_t n_top;           /* alternatives wanted with their logprobs, up to SAMPLE_TOP_MAX; -1: no logprobs */
        uint64_t seed;           /* the draw for position p uses a counter-based generator on (seed, p), so a sequence
                                    that is resumed elsewhere continues with the same text */
        int32_t n_bias;
        const int32_t *bias_ids; /* dev [n_bias] */
        const float *bias;       /* dev [n_bias], added to the logits; -INFINITY forbids */
        const uint32_t *allowed; /* dev, a bit for each token, of which one at least is set: no other is chosen, whatever its
                                    logit. NULL: all are allowed */
} SampleParams;

/* What was sampled. Alternatives beyond n_top have id -1. Log-probabilities are 0 where none were wanted and never
 * below -9999, which stands for the impossible: JSON has no infinity. */
typedef struct SampleOut {
        int32_t id;
        float logprob; /* natural log of the softmax of the unmodified logits at id */
        int32_t top_ids[SAMPLE_TOP_MAX];
        float top_logprobs[SAMPLE_TOP_MAX];
} SampleOut;

/* ---- devices, buffers, streams ---- */

typedef struct DeviceOps DeviceOps;

/* What a stream is for. */
typedef enum StreamUse {
        STREAM_STEPS,   /* what somebody waits for */
        STREAM_LOADING, /* makes way for the others, where the device can see to that */
} StreamUse;

/* The most that a device's operations take; 0: anything. model_load() refuses a model that needs more. */
typedef struct DeviceLimits {
        uint32_t head_dim; /* of attention() */
        uint32_t heads;
        uint32_t vocab; /* of sample() */
        uint32_t cols;  /* of a packed matrix */
} DeviceLimits;

struct Device {
        const DeviceOps *ops;
        DeviceLimits limits;
        char name[128]; /* "CPU: AMD EPYC, 2 threads, avx512" */
        uint32_t few_rows; /* of a step: up to so many the reading of weights, once for all, is most of what they cost */
        size_t memory_total;
};

struct DeviceOps {
        void (*free)(Device *d);
        int (*buffer_new)(Device *d, size_t size, Buffer *ret); /* zeroed; -ENOMEM */
        void (*buffer_free)(Device *d, Buffer *b);
        /* (optional) Uses host memory that outlives the buffer, without a copy; NULL where not supported. */
        int (*buffer_wrap)(Device *d, const void *host, size_t size, Buffer *ret);
        size_t (*memory_free)(Device *d);
        int (*stream_new)(Device *d, StreamUse use, Stream **ret, Error *e);
        void (*stream_free)(Stream *s); /* waits for what runs */
        /* Readable when a mark was reached; cleared by poll. Owned by the stream. */
        int (*eventfd)(Stream *s);
        int (*mark)(Stream *s, uint64_t *ret_ticket);
        int (*poll)(Stream *s, uint64_t *ret_ticket);
        /* Blocks until the mark is reached: on a worker or in a test, never on a loop's thread. The only operation of
         * a stream that may be called on another thread than the rest. */
        int (*wait)(Stream *s, uint64_t ticket);

        /* Copies `n` bytes of host memory now, puts them at dev in stream order. */
        void (*upload)(Stream *s, void *dev, const void *host, size_t n);
        /* Host memory must stay until the next mark is reached. */
        void (*download)(Stream *s, void *host, const void *dev, size_t n);

        /* out[i,:] = scale * row tokens[...] of table, as float32. out dev [rows.n, table.cols] */
        void (*embed)(Stream *s, float *out, const Matrix *table, const Rows *rows, float scale);
        /* x[i,:] / sqrt(mean(x[i,:]^2) + eps) * weight is put into out[i,:], or added to it. out may be x. weight dev f32
         * [n_cols]. */
        void (*rmsnorm)(Stream *s, float *out, const float *x, const float *weight, uint32_t n_rows, uint32_t n_cols,
                        float eps, Update update);
        /* Of each of n products, at most PRODUCTS_MAX, of matrices with the same number of columns: out[i, r] =
         * dot(w[r,:], x[i,:]) + bias[r], set or added. Nothing that is written may be part of x. */
        void (*matmul)(Stream *s, const Product *products, uint32_t n, const Activations *x, Update update);
        /* out[i, r] = the gated unit of dot(gate[r,:], x[i,:]) and dot(up[r,:], x[i,:]). out dev [x.n_rows, gate.rows]. */
        void (*glu)(Stream *s, float *out, const Matrix *gate, const Matrix *up, const Activations *x, Gate unit);
        /* Normalises each head of q and of k, where they have norms, as rmsnorm() does, and rotates it by its row's
         * position: in place, but with `kv` keys and values are stored at each row's position, and k is left undefined. */
        void (*rope)(Stream *s, const Qkv *heads, const Rows *rows, const Rope *rope, const KvLayer *kv);
        /* out[i,h,:] = softmax(scale * q[i,h] . k[0..p]) v[0..p], p the row's position. q and out dev [rows.n, n_heads,
         * head_dim]; query head h reads kv head h / (n_heads / n_kv_heads). */
        void (*attention)(Stream *s, float *out, const float *q, const KvLayer *kv, const Rows *rows, const Attending *how);
        /* x[i] = cap * tanh(x[i] / cap), within 1e-7 of cap. x dev [n]; cap above 0. */
        void (*softcap)(Stream *s, float *x, size_t n, float cap);
        /* out[i,:] = x[index[i],:]. index dev [n]. */
        void (*gather)(Stream *s, float *out, const float *x, const int32_t *index, uint32_t n, uint32_t n_cols);
        /* Mixtures of experts (Shazeer et al. 2017). Routes each row by its logits, dev [n_rows, n_experts]: to the n_used
         * greatest, of equal ones the first, NaN counting as least, with the weights that the softmax of all gives them, which
         * are scaled to a sum of 1 if `normalise`. */
        void (*route)(Stream *s, const Routing *r, const float *logits, bool normalise);
        /* glu(), and a product that is set, of each expert with what is at its places: x dev [places, columns], out dev [places,
         * rows of the experts]. */
        void (*glu_experts)(Stream *s, float *out, const Experts *gate, const Experts *up, const Routing *r, const float *x,
                            Gate unit);
        void (*matmul_experts)(Stream *s, float *out, const Experts *w, const Routing *r, const float *x);
        /* x[i,:] += the sum over c of weight[i, c] * y[place[i, c],:], ascending. y dev [places, n_cols]. */
        void (*combine)(Stream *s, float *x, const float *y, const Routing *r, uint32_t n_cols);
        /* Samples row i of logits [n, n_vocab] for step row index[i] with params[i] (host array, copied): writes
         * out[i], and the id into tokens at that row's position + 1 when that is inside the context. Logits may be
         * overwritten. out dev [n]. Of several rows of one sequence a later one's result is defined where the ids of those
         * before are the tokens that stood there. */
        void (*sample)(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                       const Rows *rows, const SampleParams *params);

        /* ---- what encoders need besides (optional, but all of it or nothing) ---- */

        /* Bytes of a packed matrix; SIZE_MAX: too large. Packed.data is aligned to 256 and zeroed. */
        size_t (*packed_size)(const Device *d, Precision precision, uint32_t rows, uint32_t cols);
        /* Puts the rows of `w` into rows [first, first + w.rows) of `to`. w.data is *host* memory of any alignment that
         * must stay until the next mark is reached. */
        void (*pack)(Stream *s, const Packed *to, uint32_t first, const Matrix *w);
        /* activation(dot(w[r,:], x[i,:]) + bias[r]) is put into out[i, r], added to it, or multiplied with it. x dev [n_rows,
         * w.cols], out dev [n_rows, w.rows]; bias dev f32 [w.rows] or NULL. */
        void (*linear)(Stream *s, float *out, const Packed *w, const float *x, uint32_t n_rows, const float *bias,
                       Activation activation, Update update);
        /* out[i,:] = the sum over t < n_tables of row index[t][i] of tables[t], as float32; an index outside its table
         * adds nothing. The tables, at most EMBED_TABLES, have n_cols columns. index[t] dev [n_rows]; out dev [n_rows,
         * n_cols]. */
        void (*embed_sum)(Stream *s, float *out, const Matrix *tables, const int32_t *const *index, uint32_t n_tables,
                          uint32_t n_rows);
        /* out[i,:] = (x[i,:] - mean) / sqrt(variance + eps) * weight + bias, both of x[i,:]. out may be x. weight and
         * bias dev f32 [n_cols]. */
        void (*layernorm)(Stream *s, float *out, const float *x, const float *weight, const float *bias,
                          uint32_t n_rows, uint32_t n_cols, float eps);
        /* Attention of each text's rows to all rows of that text, or, if `causal`, to those up to their own:
         * out[i,h,:] = softmax(scale * q[i,h] . k[j..]) v[j..]. q and out have n_heads heads, k and v n_kv_heads, shared
         * as in attention(). Their rows lie a stride of floats apart, so that all three may be parts of one matrix. With
         * `alibi`, alibi_slope(h) |i - j| is taken from the score, after the scale. */
        void (*self_attention)(Stream *s, float *out, const SelfAttention *a);
        /* out[t,:] = the pooled rows of text t, divided by their length (if that is not 0) when `normalise`.
         * x dev [texts.n_rows, n_cols], out dev [texts.n, n_cols]. */
        void (*pool)(Stream *s, float *out, const float *x, const Texts *texts, uint32_t n_cols, Pooling pooling,
                     bool normalise);
};

/* The CPU with `threads` compute threads per stream (0: one per processor we may run on). */
int device_cpu_new(uint32_t threads, Device **ret, Error *e);
void device_free(Device *d);
DEFINE_CLEANUP(Device, device_free)
