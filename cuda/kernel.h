/* What every kernel's file includes: the language they are written in, and values of the number formats.
 *
 * The .cu files are C++ to nvcc and C to the tests (emulate.h), so they are written in what both have: no templates,
 * but inline functions whose constant arguments fold away; no overloads; explicit casts. A kernel has one argument, a
 * structure, and only dynamic shared memory. Every kernel awaits those before it, as KERNEL() has it, so that it may be launched
 * while they run (programmatic dependent launch); what KERNEL_AFTER() names runs ahead of that, and touches nothing but
 * weights and its arguments. Below each kernel is the operation of DeviceOps that launches it.
 *
 * nvcc runs with --fmad=false: a product and a sum are fused where fmaf() says so and nowhere else. So the same formula
 * in two kernels gives the same bits, which batch invariance rests on.
 *
 * Products are made by tensor cores in bfloat16 with float32 sums. A float32 operand enters as two terms, hi + lo, each
 * a bfloat16: 16 bits of it count. Weights in F16 are two terms exactly, BF16 is one, and of quantised formats formats.h
 * tells. Encoders' products are in linear.cu and self-attention.cu, with three terms, or in float16, as are keys and values. */
#pragma once

#ifdef CUDA_EMULATED
#include "cuda/emulate.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#define DEVICE static __device__ __forceinline__
#define DEVICE_CALLED static __device__ __noinline__
#define BOTH static __host__ __device__ __forceinline__
/* `bounds`: (threads) of a block, or (threads, blocks) that should have a place on a multiprocessor together. */
#define KERNEL_AFTER(name, Args, bounds, before)                                               \
        DEVICE void name##_body(const Args &a);                                                 \
        static __global__ void __launch_bounds__ bounds name(const __grid_constant__ Args a) { \
                before(&a);                                                                     \
                await_earlier();                                                                \
                name##_body(a);                                                                 \
        }                                                                                       \
        DEVICE void name##_body(const Args &a)
#define HOST extern "C"
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#define UNROLL4 _Pragma("unroll 4")

/* Until all that was enqueued before has been done and can be seen; then the next kernel's blocks may take the places that
 * are free, and come to this point. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
enum { KERNELS_AWAIT = 1 };
DEVICE void await_earlier(void) {
        asm volatile("griddepcontrol.wait;" ::: "memory");
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
#else
enum { KERNELS_AWAIT = 0 };
DEVICE void await_earlier(void) {
}
#endif

/* Has the line at p brought into the second-level cache. */
DEVICE void prefetch(const void *p) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

extern __shared__ __align__(16) unsigned char shared_memory[];

DEVICE uint32_t bits_of(float f) {
        return __float_as_uint(f);
}

DEVICE float float_of(uint32_t u) {
        return __uint_as_float(u);
}

DEVICE float from_half(uint16_t h) {
        return __half2float(__ushort_as_half(h));
}

DEVICE uint16_t to_half(float f) {
        return __half_as_ushort(__float2half_rn(f));
}

/* Two bfloat16, rounded to nearest even; `low` in the low half. */
DEVICE uint32_t bfloat_pair(float low, float high) {
        uint32_t pair;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
        return pair;
}

/* The same of float16. */
DEVICE uint32_t half_pair(float low, float high) {
        uint32_t pair;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
        return pair;
}

/* 16 bytes from global to shared memory, which come some time later: copies are counted in groups, each ended by
 * copy_commit(); copy_wait(n) is for the thread's own groups but the last n. */
DEVICE void copy_async(void *shared, const void *global) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
                     "l"(global)
                     : "memory");
}

/* The same, of zeros unless `there`. */
DEVICE void copy_async_or_zero(void *shared, const void *global, bool there) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
                     "l"(global), "r"(there ? 16 : 0)
                     : "memory");
}

DEVICE void copy_commit(void) {
        asm volatile("cp.async.commit_group;" ::: "memory");
}

DEVICE void copy_wait(int n) { /* a constant, up to 2 */
        if (n == 0)
                asm volatile("cp.async.wait_group 0;" ::: "memory");
        else if (n == 1)
                asm volatile("cp.async.wait_group 1;" ::: "memory");
        else
                asm volatile("cp.async.wait_group 2;" ::: "memory");
}

/* d += a b for tiles of 16 x 16 and 16 x 8 bfloat16 that lie across the warp; see emulate.c for the layout. */
DEVICE void mma(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* The same of float16. */
DEVICE void mma_half(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                     "{%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#ifdef __cplusplus
extern "C" {
#endif
#include "cuda/stream.h"
#ifdef __cplusplus
}
#endif

#define KERNEL(name, Args, threads) KERNEL_AFTER(name, Args, (threads), (void))

enum { WARP = 32, EIGHT = 8, GROUP = 32 /* values of a row that two mma take, and a quantised block has */,
       GROUP_BYTES = GROUP * 2 /* as terms of 16 bits */ };

/* Eight values as two terms, in pairs: the share of a lane in GROUP values of a row. */
typedef struct Eight {
        uint32_t hi[4], lo[4];
} Eight;

typedef struct Words {
        uint32_t w[4];
} Words;

/* 16 bytes, aligned so. */
DEVICE Words load_words(const void *p) {
#ifdef CUDA_EMULATED
        emulate_aligned(p);
        return *(const Words *)p;
#else
        uint4 v = *(const uint4 *)p;
        Words r = {{v.x, v.y, v.z, v.w}};
        return r;
#endif
}

DEVICE void store_words(void *p, const uint32_t w[4]) {
#ifdef CUDA_EMULATED
        emulate_aligned(p);
        memcpy(p, w, 16);
#else
        *(uint4 *)p = make_uint4(w[0], w[1], w[2], w[3]);
#endif
}

DEVICE float pair_low(uint32_t pair) {
        return float_of(pair << 16);
}

DEVICE float pair_high(uint32_t pair) {
        return float_of(pair & 0xffff0000);
}

/* The pair of first terms, and of what they leave. */
DEVICE void split_pair(float low, float high, uint32_t *ret_hi, uint32_t *ret_lo) {
        uint32_t hi = bfloat_pair(low, high);
        *ret_hi = hi;
        *ret_lo = bfloat_pair(low - pair_low(hi), high - pair_high(hi));
}

/* Three terms: all of a float32's 24 bits. */
DEVICE void three_terms(float low, float high, uint32_t *ret_hi, uint32_t *ret_mid, uint32_t *ret_lo) {
        uint32_t hi = bfloat_pair(low, high);
        *ret_hi = hi;
        split_pair(low - pair_low(hi), high - pair_high(hi), ret_mid, ret_lo);
}

/* Two terms in float16: 22 bits. */
DEVICE void split_halves(float low, float high, uint32_t *ret_hi, uint32_t *ret_lo) {
        uint32_t hi = half_pair(low, high);
        *ret_hi = hi;
        *ret_lo = half_pair(low - from_half((uint16_t)hi), high - from_half((uint16_t)(hi >> 16)));
}

/* The exponent of the power of two that brings what is no greater than `most` within float16: near 2^15. */
DEVICE int half_exponent(float most) {
        int exponent = 0;
        if (most == 0 || isinf(most))
                return 0;
        frexpf(most, &exponent);
        return 15 - MAX(exponent, -100);
}

DEVICE Eight eight_of(const float v[EIGHT]) {
        Eight r;
        UNROLL for (int i = 0; i < 4; i++)
                split_pair(v[2 * i], v[2 * i + 1], &r.hi[i], &r.lo[i]);
        return r;
}

DEVICE Eight eight_zero(void) {
        Eight r;
        UNROLL for (int i = 0; i < 4; i++)
                r.hi[i] = r.lo[i] = 0;
        return r;
}

/* Value i of a row in a plain format. */
DEVICE float plain_value(Dtype type, const void *row, uint32_t i) {
        if (type == DTYPE_F32)
                return ((const float *)row)[i];
        uint16_t bits = ((const uint16_t *)row)[i];
        return type == DTYPE_F16 ? from_half(bits) : float_of((uint32_t)bits << 16);
}

typedef struct Floats {
        float v[EIGHT];
} Floats;

/* Not inlined: it is rare, and would be most of the code. */
DEVICE_CALLED Floats odd_values(Dtype type, const void *row, uint32_t i, uint32_t n) {
        Floats f;
        for (uint32_t j = 0; j < EIGHT; j++)
                f.v[j] = i + j < n ? plain_value(type, row, i + j) : 0;
        return f;
}

/* Eight values of a row in F16 or BF16, in pairs. */
DEVICE_CALLED Words odd_halves(const void *row, uint32_t i, uint32_t n) {
        Words r;
        for (uint32_t j = 0; j < 4; j++, i += 2)
                r.w[j] = (i < n ? ((const uint16_t *)row)[i] : 0u) | (i + 1 < n ? (uint32_t)((const uint16_t *)row)[i + 1] << 16 : 0u);
        return r;
}

DEVICE Words plain_halves(const void *row, uint32_t i, uint32_t n, bool aligned) {
        if (!aligned || i + EIGHT > n)
                return odd_halves(row, i, n);
        return load_words((const uint16_t *)row + i);
}

/* Eight values of a plain row from i on; those from `n` on are 0. `aligned`: its address is a multiple of 16 bytes. */
DEVICE void plain_values(Dtype type, const void *row, uint32_t i, uint32_t n, bool aligned, float ret[EIGHT]) {
        if (type != DTYPE_F32) {
                Words w = plain_halves(row, i, n, aligned);
                UNROLL for (int j = 0; j < 4; j++) {
                        ret[2 * j] = type == DTYPE_F16 ? from_half((uint16_t)w.w[j]) : pair_low(w.w[j]);
                        ret[2 * j + 1] = type == DTYPE_F16 ? from_half((uint16_t)(w.w[j] >> 16)) : pair_high(w.w[j]);
                }
                return;
        }
        if (!aligned || i + EIGHT > n) {
                Floats f = odd_values(type, row, i, n);
                UNROLL for (int j = 0; j < EIGHT; j++)
                        ret[j] = f.v[j];
                return;
        }
        Words a = load_words((const float *)row + i), b = load_words((const float *)row + i + 4);
        UNROLL for (int j = 0; j < 4; j++) {
                ret[j] = float_of(a.w[j]);
                ret[j + 4] = float_of(b.w[j]);
        }
}

#include "cuda/formats.h"

DEVICE bool is_aligned(const void *p) {
        return (uintptr_t)p % 16 == 0;
}

BOTH uint32_t ceil_div(uint32_t n, uint32_t by) {
        return n / by + (n % by > 0);
}

/* ---- over a block's threads, in one fixed order ---- */

DEVICE float warp_sum(float v) {
        UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                v += __shfl_xor_sync(0xffffffff, v, by);
        return v;
}

DEVICE float lane_sum(float v) { /* of four lanes, 4g to 4g + 3 */
        v += __shfl_xor_sync(0xffffffff, v, 1);
        return v + __shfl_xor_sync(0xffffffff, v, 2);
}

DEVICE float warp_max(float v) {
        UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, by));
        return v;
}

/* The same sum in every thread. `partial` is shared memory for one value of each warp. */
DEVICE float block_sum(float v, float *partial) {
        v = warp_sum(v);
        __syncthreads();
        if (threadIdx.x % WARP == 0)
                partial[threadIdx.x / WARP] = v;
        __syncthreads();
        float sum = 0;
        for (unsigned i = 0; i < blockDim.x / WARP; i++)
                sum += partial[i];
        return sum;
}

DEVICE int32_t *row_token(const Rows *rows, uint32_t i) {
        return rows->tokens + (size_t)rows->slot[i] * rows->context + (size_t)rows->position[i];
}

/* See Gate: all are x times a sigmoid. */
DEVICE float gated(Gate unit, float x, float up) {
        bool clamped = unit == GATE_CLAMPED;
        if (clamped) {
                x = fminf(x, 7);
                up = fminf(fmaxf(up, -7), 7) + 1;
        }
        float z = unit == GATE_GELU_TANH ? 1.5957691216f * fmaf(x * x, x * 0.044715f, x) : clamped ? 1.702f * x : x;
        return x / (1 + expf(-z)) * up;
}

/* cap tanh(x / cap) */
DEVICE float softcapped(float x, float cap) {
        return cap - 2 * cap / (expf(2 * x / cap) + 1);
}

/* Where a position's keys and values begin in a cache, counted in values. */
DEVICE size_t cache_offset(const KvLayer *kv, int32_t slot, uint32_t position, uint32_t kv_head) {
        int32_t page = kv->block_tables[(size_t)slot * kv->max_pages + position / kv->page_size];
        return (((size_t)page * kv->page_size + position % kv->page_size) * kv->n_kv_heads + kv_head) * kv->head_dim;
}
