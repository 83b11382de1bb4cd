/* The activation functions of networks, a vector of values at once. Included by kernels only. */
#pragma once

#include "device/cpu/vec.h"
#include "device/device.h"

/* 1 / x, of an x from 1 to 100: an estimate to 14 bits, and a step of Newton's method that doubles them. */
INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
        Vec y = (Vec)_mm512_rcp14_ps((__m512)x);
        return y * mul_add(-x, y, splat(2.0f));
#else
        return 1.0f / x;
#endif
}

/* erf(x / sqrt(2)) within 4e-7: a rational function of x^2, fitted to the least greatest error up to the clamp, beyond
 * which the result is 1 to less than that. */
INLINE Vec vec_erf_half(Vec x) {
        Vec z = vec_min(splat(3.92f), vec_max(splat(-3.92f), x * 0.70710678f));
        Vec u = z * z, p = splat(2.03473611e-06f), q = splat(3.80706078e-05f);
        p = mul_add(p, u, splat(2.87478615e-04f));
        p = mul_add(p, u, splat(3.86830489e-03f));
        p = mul_add(p, u, splat(5.30604161e-02f));
        p = mul_add(p, u, splat(1.92763567e-01f));
        p = mul_add(p, u, splat(1.12837899e+00f));
        q = mul_add(q, u, splat(1.18810905e-03f));
        q = mul_add(q, u, splat(1.51722524e-02f));
        q = mul_add(q, u, splat(1.15084417e-01f));
        q = mul_add(q, u, splat(5.04163921e-01f));
        q = mul_add(q, u, splat(1.0f));
        return z * p * reciprocal(q);
}

/* 1 - 2 / (e^2x + 1) loses the small ones, which are not asked for where it counts. */
INLINE Vec vec_tanh(Vec x) {
        return 1.0f - 2.0f / (vec_exp(x + x) + 1.0f);
}

INLINE Vec activate(Activation a, Vec x) {
        switch (a) {
        case ACTIVATION_GELU:
                return x * 0.5f * (1.0f + vec_erf_half(x));
        case ACTIVATION_GELU_TANH:
                return x / (1.0f + vec_exp(-1.5957691216f * mul_add(x * x, x * 0.044715f, x)));
        case ACTIVATION_RELU:
                return blend(x > 0.0f, x, splat(0));
        case ACTIVATION_TANH:
                return vec_tanh(x);
        case ACTIVATION_SILU:
                return x / (1.0f + vec_exp(-x));
        case ACTIVATION_NONE:
        default:
                return x;
        }
}
