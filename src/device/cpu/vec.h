/* Vectors of float32 of whatever length the compiler's target has, and the name of that target; what the files that are
 * compiled once for each instruction set share. Only what vector extensions cannot say is written with the target's own
 * intrinsics. */
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef CPU_ISA
#define CPU_ISA generic
#endif
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define STRING_(a) #a
#define STRING(a) STRING_(a)

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec8 __attribute__((vector_size(32)));
typedef int32_t IntVec __attribute__((vector_size(LANES * 4)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE Vec load(const void *p) {
        Vec v;
        memcpy(&v, p, sizeof(v));
        return v;
}

INLINE void store(void *p, Vec v) {
        memcpy(p, &v, sizeof(v));
}

/* The first n lanes, n at most LANES; those that are not loaded are 0. */
INLINE Vec load_part(const float *p, size_t n) {
#if defined(__AVX512F__)
        return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
        float t[LANES] = {0};
        memcpy(t, p, n * sizeof(float));
        return load(t);
#endif
}

INLINE void store_part(float *p, Vec v, size_t n) {
#if defined(__AVX512F__)
        _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
        memcpy(p, &v, n * sizeof(float));
#endif
}

INLINE Vec splat(float x) {
        return x - (Vec){0};
}

INLINE Vec mul_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
        return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
        return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
        return a * b + c;
#endif
}

INLINE Vec blend(IntVec mask, Vec yes, Vec no) {
        return (Vec)((mask & (IntVec)yes) | (~mask & (IntVec)no));
}

/* In each lane the greater, or the lesser, of two; b where one of them is NaN. */
INLINE Vec vec_max(Vec a, Vec b) {
#if defined(__AVX512F__)
        return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
        return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
        return blend(a > b, a, b);
#endif
}

INLINE Vec vec_min(Vec a, Vec b) {
#if defined(__AVX512F__)
        return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
        return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
        return blend(a < b, a, b);
#endif
}

/* Halves onto halves: 16 lanes to 8 to 4 to 2 to 1. */
INLINE float fold(Vec v) {
#if defined(__AVX512F__)
        Vec8 v8 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
        Vec8 v8 = v;
#endif
#if defined(__AVX2__)
        Vec4 v4 = __builtin_shufflevector(v8, v8, 0, 1, 2, 3) + __builtin_shufflevector(v8, v8, 4, 5, 6, 7);
#else
        Vec4 v4 = v;
#endif
        v4 += __builtin_shufflevector(v4, v4, 2, 3, 0, 1);
        return v4[0] + v4[1];
}

/* Each half with the other, until all lanes are the same. No NaN. */
INLINE float fold_max(Vec v) {
        IntVec lane;
        UNROLL for (int i = 0; i < LANES; i++)
                lane[i] = i;
        UNROLL for (int half = LANES / 2; half > 0; half /= 2)
                v = vec_max(v, __builtin_shuffle(v, lane ^ half));
        return v[0];
}

/* x * 2^n, right at both ends of the range; n is whole. */
INLINE Vec vec_scale(Vec x, Vec n) {
#if defined(__AVX512F__)
        return (Vec)_mm512_scalef_ps((__m512)x, (__m512)n);
#else /* in two factors, none of which is beyond the range */
        IntVec k = __builtin_convertvector(blend(n == n, n, splat(0)), IntVec), half = k >> 1;
        return x * (Vec)((half + 127) << 23) * (Vec)((k - half + 127) << 23);
#endif
}

/* e^x to 2 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by its Taylor series (the first term left out is r^8/8! < 6e-9),
 * times 2^n. Beyond the ends the clamp gives 0 and infinity; NaN passes it. */
INLINE Vec vec_exp(Vec x) {
        x = vec_min(splat(89.0f), vec_max(splat(-104.0f), x));
        const float round = 0x1.8p23f; /* adding it leaves no bits for a fraction */
        Vec n = mul_add(x, splat(1.44269504f), splat(round)) - round;
        /* ln 2 in two parts, the first short enough for n times it to be exact */
        Vec r = mul_add(n, splat(-0x1.62e4p-1f), x);
        r = mul_add(n, splat(-0x1.7f7d1cp-20f), r);
        Vec e = splat(1.0f / 5040);
        e = mul_add(e, r, splat(1.0f / 720));
        e = mul_add(e, r, splat(1.0f / 120));
        e = mul_add(e, r, splat(1.0f / 24));
        e = mul_add(e, r, splat(1.0f / 6));
        e = mul_add(e, r, splat(0.5f));
        e = mul_add(e, r, splat(1.0f));
        e = mul_add(e, r, splat(1.0f));
        return vec_scale(e, n);
}
