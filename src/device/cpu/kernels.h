/* The inner loops of the CPU device, compiled once for each instruction set and chosen when the device is made.
 *
 * Order of summation: a dot product over k values is cut into blocks of CPU_DOT_BLOCK. In each, lane j of a vector of
 * L lanes sums the products with k = j (mod L), ascending; the lanes are folded in halves, and the block's sum is
 * added to the output. That order is a property of the instruction set alone: every tile shape keeps it, which is
 * what makes a row's result independent of the other rows. Other reductions go by the same rule. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "device/device.h"

enum { CPU_DOT_BLOCK = 1024 };
enum { CPU_FEW_ROWS = 16 }; /* of activations, which meet weights while the fastest cache holds these */

/* out[c * out_stride + r] += dot(row r of w, row c of x), for all r < n_w and c < n_x. Strides of out and x count
 * floats, that of w bytes. */
typedef struct CpuDots {
        Dtype type;
        const void *w;
        size_t w_stride;
        const float *x;
        size_t x_stride;
        float *out;
        size_t out_stride;
        uint32_t n_w, n_x, k;
} CpuDots;

/* out[c * out_stride + d] += sum over r of p[c * p_stride + r] * (row r of w)[d], for c < n_p, d < dim, r < n_w
 * ascending. `type` is F32 or F16. */
typedef struct CpuMix {
        Dtype type;
        const void *w;
        size_t w_stride;
        const float *p;
        size_t p_stride;
        float *out;
        size_t out_stride;
        uint32_t n_w, n_p, dim;
} CpuMix;

/* Products of packed matrices (DeviceOps.linear). Features of the matrix stand side by side in *panels*, as many as a
 * tile of the kernel has, and activations are *prepared* some rows at a time. The layout is that of kernels-gemm-amx.c, or
 * else of kernels-gemm.c: both are cut into blocks of
 * CPU_GEMM_BLOCK values, of bytes CPU_GEMM_BLOCK_INT8, each of its own scale where they are integers:
 *
 *   panel: for each block   float scale[panel]; int32 -128 * sums of values[panel] (of bytes only);
 *                           values [steps][panel][4 bytes: one float, two 16-bit or four 8-bit integers]
 *          F32 has neither scales nor sums, so its panel is float [k][panel].
 *   rows:  for each block   CPU_GEMM_ROWS times { values of the block; CPU_GEMM_PAD bytes, of which float scale }
 *          Bytes are unsigned here, 128 more than they mean.
 *
 * Order of summation: over a block ascending, in one float32 chain for each output value or exactly, then block by block
 * in float32. It does not depend on tiles. */
enum { CPU_GEMM_BLOCK = 512, CPU_GEMM_BLOCK_INT8 = 64, CPU_GEMM_ROWS = 60, CPU_GEMM_PAD = 64 };

typedef struct CpuProduct {
        Precision precision;
        const void *panel, *rows; /* prepared */
        uint32_t k, n_rows, n_out; /* n_rows up to rows_at_once(); of the panel the first n_out features are wanted */
        float *out;                /* [n_rows, …] */
        size_t out_stride;         /* floats */
        const float *bias;         /* [n_out] or NULL */
        Activation activation;
        Update update;
} CpuProduct;

typedef struct CpuGemm {
        uint32_t panel, tile; /* features of a panel, rows of the greatest tile */
        Precision (*nearest)(Precision p); /* the one that is computed where `p` is wanted: as fine or finer */
        size_t (*panel_size)(Precision p, size_t k); /* bytes, multiples of 64 */
        uint32_t (*rows_at_once)(Precision p, size_t k); /* how many rows are prepared together */
        size_t (*rows_size)(Precision p, size_t k);
        /* Puts k values of one feature, or of one row, into their place. What of a panel is not filled should be 0 if it
         * is computed with. */
        void (*pack)(Precision p, void *panel, uint32_t lane, const float *w, size_t k);
        void (*prepare)(Precision p, void *rows, uint32_t row, const float *x, size_t k);
        /* activation(rows[i] . panel[f] + bias[f]) into out[i, f]: DeviceOps.linear. */
        void (*multiply)(const CpuProduct *a);
} CpuGemm;

/* Attention of rows [first, first + n) of a text to its first n_keys, in one head; with `causal` each sees those up to its
 * own only: DeviceOps.self_attention. q and out point to the first of these rows, k and v to the text's first. Strides count
 * floats. */
typedef struct CpuAttend {
        const float *q, *k, *v;
        float *out;
        size_t q_stride, k_stride, v_stride, out_stride;
        uint32_t n, first, n_keys, dim; /* n up to CpuAttention.panel */
        bool causal;
        float scale, slope; /* slope: of ALiBi, or 0 */
        float *scratch;
} CpuAttend;

typedef struct CpuAttention {
        uint32_t panel;
        size_t (*scratch_size)(uint32_t n_keys, uint32_t dim); /* bytes */
        void (*attend)(const CpuAttend *a);
} CpuAttention;

typedef struct CpuKernels {
        const char *name;
        void (*dots)(const CpuDots *a);
        /* Up to how many rows of x, at least 1, `dots` is the fastest with weights of that type as they are stored. */
        uint32_t (*few_rows)(Dtype type);
        void (*mix)(const CpuMix *a);
        /* n values of a row, from its start; exact. */
        void (*dequantise)(Dtype type, const void *row, float *out, size_t n);
        /* Rounds to nearest even. */
        void (*to_f16)(const float *x, uint16_t *out, size_t n);
        void (*rmsnorm)(float *out, const float *x, const float *weight, size_t n, float eps, Update update);
        void (*glu)(float *out, const float *gate, const float *up, size_t n, Gate unit);
        /* The greatest value; NaN are passed over, -INFINITY if there is nothing else. */
        float (*max)(const float *x, size_t n);
        /* out[i] = exp((x[i] - shift) * scale); returns their sum. out may be x. */
        float (*exp_sum)(float *out, const float *x, size_t n, float shift, float scale);
        void (*scale)(float *x, size_t n, float by);
        void (*softcap)(float *x, size_t n, float scale, float cap); /* x[i] = cap * tanh(x[i] * scale / cap) */
        /* out[i] = (x[i] - mean(x)) / sqrt(variance(x) + eps) * weight[i] + bias[i]; out may be x. */
        void (*layernorm)(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps);
        void (*add)(float *out, const float *x, size_t n); /* out[i] += x[i] */
        float (*dot)(const float *x, const float *y, size_t n);
        const CpuGemm *gemm;
        const CpuAttention *attention;
} CpuKernels;

/* The best set this processor can run, or the one ZEROLLAMA_CPU_ISA names (generic, avx2, avx512, avx512vnni,
 * amx) if it can. */
const CpuKernels *cpu_kernels(void);

extern const CpuKernels cpu_kernels_generic;
extern const CpuGemm cpu_gemm_generic;
extern const CpuAttention cpu_attention_generic;
#ifdef __x86_64__
extern const CpuKernels cpu_kernels_avx2, cpu_kernels_avx512, cpu_kernels_avx512vnni, cpu_kernels_amx;
extern const CpuGemm cpu_gemm_avx2, cpu_gemm_avx512, cpu_gemm_avx512vnni, cpu_gemm_amx;
extern const CpuAttention cpu_attention_avx2, cpu_attention_avx512, cpu_attention_avx512vnni, cpu_attention_amx;
#endif
