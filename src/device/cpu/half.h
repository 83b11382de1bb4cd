/* IEEE 754 binary16 in plain C, for processors without instructions for it and for single values. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t u) {
        float f;
        memcpy(&f, &u, sizeof(f));
        return f;
}

static inline uint32_t float_bits(float f) {
        uint32_t u;
        memcpy(&u, &f, sizeof(u));
        return u;
}

/* A normal or subnormal half is its 15 bits, shifted to a float's place, times 2^112 (the difference of the
 * exponents' biases): the multiplication normalises what needs it, exactly. */
static inline float half_to_float(uint16_t h) {
        uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
        if (rest >= 0x7c00u << 13) /* infinity; NaN keeps its payload and becomes quiet, as the instructions do it */
                return float_from_bits(sign | 0x7f800000 | rest | (rest > 0x7c00u << 13 ? 0x400000 : 0));
        return float_from_bits(sign | float_bits(float_from_bits(rest) * 0x1p112f));
}

static inline uint16_t half_from_float(float f) {
        uint32_t u = float_bits(f), sign = u >> 16 & 0x8000;
        u &= 0x7fffffff;
        if (u > 0x7f800000)
                return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
        if (u >= 0x477ff000) /* 65520 and above round to infinity */
                return (uint16_t)(sign | 0x7c00);
        if (u < 0x38800000) /* below 2^-14: adding 0.5 leaves, rounded to even, the subnormal in the low bits */
                return (uint16_t)(sign | (float_bits(float_from_bits(u) + 0.5f) - 0x3f000000));
        return (uint16_t)(sign | (u - (112u << 23) + 0xfff + (u >> 13 & 1)) >> 13);
}
