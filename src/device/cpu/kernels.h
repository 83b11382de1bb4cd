/* The inner loops of the CPU device, compiled once for each instruction set and chosen when the device is made.
 *
 * Order of summation: a dot product over k values is cut into blocks of CPU_DOT_BLOCK. In each, lane j of a vector of
 * L lanes sums the products with k = j (mod L), ascending; the lanes are folded in halves, and the block's sum is
 * added to the output. That order is a property of the instruction set alone: every tile shape keeps it, which is
 * what makes a row's result independent of the other rows. Other reductions go by the same rule. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "device/dtype.h"

enum { CPU_DOT_BLOCK = 1024 };

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

typedef struct CpuKernels {
        const char *name;
        void (*dots)(const CpuDots *a);
        void (*mix)(const CpuMix *a);
        /* n values of a row, from its start; exact. */
        void (*dequantise)(Dtype type, const void *row, float *out, size_t n);
        /* Rounds to nearest even. */
        void (*to_f16)(const float *x, uint16_t *out, size_t n);
        void (*rmsnorm)(float *out, const float *x, const float *weight, size_t n, float eps);
        void (*swiglu)(float *out, const float *gate, const float *up, size_t n);
        /* The greatest value; NaN are passed over, -INFINITY if there is nothing else. */
        float (*max)(const float *x, size_t n);
        /* out[i] = exp((x[i] - shift) * scale); returns their sum. out may be x. */
        float (*exp_sum)(float *out, const float *x, size_t n, float shift, float scale);
        void (*scale)(float *x, size_t n, float by);
} CpuKernels;

/* The best set this processor can run, or the one ZEROLLAMA_CPU_ISA names (generic, avx2, avx512) if it can. */
const CpuKernels *cpu_kernels(void);

extern const CpuKernels cpu_kernels_generic;
#ifdef __x86_64__
extern const CpuKernels cpu_kernels_avx2, cpu_kernels_avx512;
#endif
