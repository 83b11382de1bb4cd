/* Arithmetic on sizes that come from files, requests and frames: overflow is an answer, never a wrapped number. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(size_t a, size_t b, size_t *ret) {
        return !__builtin_add_overflow(a, b, ret);
}

static inline bool checked_mul(size_t a, size_t b, size_t *ret) {
        return !__builtin_mul_overflow(a, b, ret);
}

static inline bool checked_mul3(size_t a, size_t b, size_t c, size_t *ret) {
        size_t t;
        return checked_mul(a, b, &t) && checked_mul(t, c, ret);
}

/* Rounds up to a multiple of `align`, a power of two. */
static inline bool checked_align(size_t a, size_t align, size_t *ret) {
        size_t t;
        if (!checked_add(a, align - 1, &t))
                return false;
        *ret = t & ~(align - 1);
        return true;
}
