/* A GPU's threads on the host, so that the kernels' own sources are executed, and compared with the CPU device, where
 * there is no GPU: in `make check`, under the sanitizers.
 *
 * Every .cu file is also C: compiled with -DCUDA_EMULATED, kernel.h includes this header in place of CUDA's. A kernel
 * is then a function of one pointer to its arguments. emulate_launch() runs the blocks of a grid one after another;
 * each thread of a block is a fiber, which runs until it waits at a barrier, a shuffle or a tensor-core product. The
 * fibers are taken in ascending order in even blocks and in descending order in odd ones, so that a result that
 * depends on their order, for want of a barrier, shows itself as a wrong number sooner or later. What is checked:
 *
 *  - all threads of a block, or of a warp, come to the same barrier, shuffle or product;
 *  - what is read or written 16 bytes at a time is aligned so, which on a GPU would be the end of the process;
 *  - a grid and its blocks are no larger than a GPU and the kernel's own bounds allow;
 *  - dynamic shared memory, the only kind the kernels use, is allocated to the byte, and filled with 0xff (NaN) for
 *    every block; with device memory from malloc(), the address sanitizer sees each step outside, of prefetches, too.
 *
 * Anything else is a message and abort(). Every other grid is run from its last block to its first.
 *
 * It says nothing about speed, registers, memory ordering between blocks, or what nvcc makes of the source. Fragment
 * layouts of mma.sync are those of the PTX manual ("Matrix Fragments for mma.m16n8k16"); sums are cut off as Hopper's
 * tensor cores do, so that limits which hold here should hold there. */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "device/cpu/half.h"

typedef struct EmulatedIndex {
        unsigned x, y, z;
} EmulatedIndex;

/* Of the thread that runs. */
extern EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;
extern unsigned char *shared_memory;

typedef void EmulatedKernel(const void *args);
/* Runs the whole grid before it returns. One grid runs at a time, whoever calls. */
void emulate_launch(EmulatedKernel *kernel, const uint32_t grid[static 3], uint32_t block, size_t shared,
                    const void *args);

/* The number of threads that the kernel is compiled for. */
void emulate_bound(unsigned threads);
/* Of what is accessed 16 bytes at a time. */
void emulate_aligned(const void *p);
void emulate_barrier(void);      /* of the block */
void emulate_warp_barrier(void); /* of the warp */
/* Replaces the value by that of another lane of the warp. All lanes take part. */
void emulate_shuffle(void *value, size_t size, unsigned lane);
/* d += a b for tiles of 16 x 16 and 16 x 8 bfloat16, or float16, that lie across the warp. */
void emulate_mma(float d[4], const uint32_t a[4], const uint32_t b[2], bool halves);
/* Copies are made when they are waited for, not before. */
void copy_async(void *shared, const void *global);
void copy_async_or_zero(void *shared, const void *global, bool there);
void copy_commit(void);
void copy_wait(int n);

#define DEVICE static inline
#define DEVICE_CALLED static inline
#define BOTH static inline
#define EMULATE_BOUND(threads, ...) emulate_bound(threads)
#define KERNEL_AFTER(name, Args, bounds, before)          \
        static void name##_body(const Args a);            \
        static void name(const void *args) {              \
                EMULATE_BOUND bounds;                     \
                before((const Args *)args);               \
                name##_body(*(const Args *)args);         \
        }                                                 \
        static void name##_body(const Args a)
#define HOST
#define UNROLL
#define NO_UNROLL
#define UNROLL4

enum { KERNELS_AWAIT = 1 }; /* the fake runtime keeps their order */

static inline void prefetch(const void *p) {
        (void)*(const volatile char *)p;
}

#define __syncthreads() emulate_barrier()
#define __syncwarp() emulate_warp_barrier()
#define __threadfence() ((void)0) /* blocks run one after another */
#define __shfl_xor_sync(mask, value, by)                                                                   \
        ({                                                                                                 \
                __typeof__(value) _v = (value);                                                            \
                emulate_shuffle(&_v, sizeof(_v), (threadIdx.x % 32) ^ (unsigned)(by));                      \
                _v;                                                                                        \
        })
/* Fibers only change at barriers. */
#define atomicAdd(p, v)                          \
        ({                                       \
                __typeof__(*(p)) _o = *(p);      \
                *(p) = _o + (v);                 \
                _o;                              \
        })
#define atomicExch(p, v)                         \
        ({                                       \
                __typeof__(*(p)) _o = *(p);      \
                *(p) = (v);                      \
                _o;                              \
        })

static inline uint32_t bits_of(float f) {
        return float_bits(f);
}

static inline float float_of(uint32_t u) {
        return float_from_bits(u);
}

static inline float from_half(uint16_t h) {
        return half_to_float(h);
}

static inline uint16_t to_half(float f) {
        return half_from_float(f);
}

/* Two bfloat16, rounded to nearest even; `low` in the low half. */
static inline uint32_t bfloat_pair(float low, float high) {
        uint32_t l = float_bits(low), h = float_bits(high);
        l = (l + 0x7fff + (l >> 16 & 1)) >> 16;
        h = (h + 0x7fff + (h >> 16 & 1)) & 0xffff0000;
        return l | h;
}

static inline uint32_t half_pair(float low, float high) {
        return (uint32_t)to_half(low) | (uint32_t)to_half(high) << 16;
}

static inline void mma(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        emulate_mma(d, a, b, false);
}

static inline void mma_half(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        emulate_mma(d, a, b, true);
}
