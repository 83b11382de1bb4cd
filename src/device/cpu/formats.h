/* Number formats of rows, as vectors: what dot products and de-quantisation in kernels.c are made of. The layouts are in
 * dtype.h.
 *
 * A row is read block by block, in parts of 32 values, or of 128 where a block has 256. A quantised value is an integer
 * times the factor of its group of 16 or 32 and, in some formats, plus a summand of the group. Integers of 8 and 4 bits are
 * read where they stand; those that are put together from several places, or looked up, are unpacked to bytes first, a part
 * at a time.
 * A factor times an integer is exact in float32, so a value is rounded once at most, and has the same bits whichever
 * instructions made it. */
#pragma once

#include <stdbool.h>

#include "device/cpu/half.h"
#include "device/cpu/vec.h"
#include "device/dtype.h"
#include "util/macro.h"

enum { GROUP = 32, VECS = GROUP / LANES, PART_MAX = 128 };

#if defined(__AVX2__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
typedef int8_t ByteVec __attribute__((vector_size(LANES)));
typedef uint16_t HalfVec __attribute__((vector_size(LANES * 2)));
#endif
typedef uint8_t Bytes __attribute__((vector_size(BYTES)));
typedef uint32_t Words __attribute__((vector_size(16)));

/* What a block of 256 values says of its groups, first all factors, then all summands; and the integers of one part. */
typedef struct Unpacked {
        float groups[32];
        uint8_t q[PART_MAX];
} Unpacked;

/* ---- numbers in memory ---- */

INLINE Vec from_half(const void *p) {
#if defined(__AVX512F__)
        return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(__AVX2__)
        return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(p));
#else
        uint16_t h[LANES];
        float f[LANES];
        memcpy(h, p, sizeof(h));
        UNROLL for (int i = 0; i < LANES; i++)
                f[i] = half_to_float(h[i]);
        return load(f);
#endif
}

/* One half, in every lane. */
INLINE Vec splat_half(const void *p) {
        uint16_t h;
        memcpy(&h, p, sizeof(h));
#if defined(__AVX512F__)
        return (Vec)_mm512_cvtph_ps(_mm256_set1_epi16((short)h));
#elif defined(__AVX2__)
        return (Vec)_mm256_cvtph_ps(_mm_set1_epi16((short)h));
#else
        return splat(half_to_float(h));
#endif
}

INLINE Vec from_bfloat(const void *p) {
#if defined(__AVX512F__)
        return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
#elif defined(__AVX2__)
        return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
#else
        HalfVec h;
        memcpy(&h, p, sizeof(h));
        return (Vec)(__builtin_convertvector(h, IntVec) << 16);
#endif
}

/* Signed bytes. */
INLINE IntVec from_bytes(const void *p) {
#if defined(__AVX512F__)
        return (IntVec)_mm512_cvtepi8_epi32(_mm_loadu_si128(p));
#elif defined(__AVX2__)
        return (IntVec)_mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
#else
        ByteVec b;
        memcpy(&b, p, sizeof(b));
        return __builtin_convertvector(b, IntVec);
#endif
}

INLINE Vec floats_of(const void *bytes) {
        return __builtin_convertvector(from_bytes(bytes), Vec);
}

#if defined(__AVX512F__)
/* Which of sixteen values each number of four bits says, the low half of each byte or the high: the look-up minds the low
 * four bits only. */
INLINE Vec look_up(const void *p, bool high, Vec values) {
        __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
        return (Vec)_mm512_permutexvar_ps(high ? _mm512_srli_epi32(q, 4) : q, (__m512)values);
}
#endif

/* Integers of four bits, the low half of each byte or the high, less `zero`, times `by`, plus `plus`. */
INLINE Vec from_nibbles(const void *p, bool high, int zero, Vec by, Vec plus) {
#if defined(__AVX512F__)
        const Vec integers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        return look_up(p, high, zero ? (integers - (float)zero) * by : mul_add(integers, by, plus));
#else
        IntVec b = from_bytes(p);
        Vec q = __builtin_convertvector(((high ? b >> 4 : b) & 15) - zero, Vec);
        return zero ? q * by : mul_add(q, by, plus);
#endif
}

INLINE Bytes load_bytes(const void *p) {
        Bytes b;
        memcpy(&b, p, sizeof(b));
        return b;
}

INLINE void store_bytes(void *p, Bytes b) {
        memcpy(p, &b, sizeof(b));
}

/* ---- formats ---- */

INLINE bool is_plain(Dtype type) {
        return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
}

/* Plain formats are read as if they had blocks of a group. */
INLINE int block_values(Dtype type) {
        if (is_plain(type))
                return GROUP;
        switch (type) {
                DTYPES(DTYPE_CASE_VALUES)
        }
        return GROUP;
}

INLINE size_t stored_size(Dtype type) {
        switch (type) {
                DTYPES(DTYPE_CASE_BYTES)
        }
        return 1;
}

INLINE size_t block_size(Dtype type) {
        return is_plain(type) ? GROUP * stored_size(type) : stored_size(type);
}

INLINE int part_values(Dtype type) {
        return MIN(block_values(type), (int)PART_MAX);
}

/* Values of one factor. */
INLINE int group_values(Dtype type) {
        return block_values(type) == 256 && type != DTYPE_Q4_K && type != DTYPE_Q5_K && type != DTYPE_IQ4_XS ? 16 : GROUP;
}

/* The factors and summands of the eight groups of Q4_K and Q5_K: d * 6 bits, -dmin * 6 bits. Of the 12 bytes from 4 on, the
 * first four have the first four factors and, in their upper bits, the upper bits of the others; the next four have the
 * same of what is taken off; the last have the lower bits of both. */
INLINE void eight_groups(const char *block, float *groups) {
        Words w;
        char six[16];
        memcpy(&w, block, sizeof(w));
        Words upper = __builtin_shufflevector(w, w, 1, 1, 2, 2), lower = __builtin_shufflevector(w, w, 3, 3, 3, 3);
        w = (upper >> (Words){0, 2, 0, 2} & (Words){0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030}) |
            (lower >> (Words){0, 0, 0, 4} & (Words){0, 0x0f0f0f0f, 0, 0x0f0f0f0f});
        memcpy(six, &w, sizeof(w));
        Vec by = splat_half(block), plus = -splat_half(block + 2);
        for (int i = 0; i < 16; i += LANES) {
                IntVec factors = {0};
                UNROLL for (int l = 0; l < LANES; l++)
                        factors[l] = i + l < 8 ? -1 : 0;
                store(groups + i, floats_of(six + i) * blend(factors, by, plus));
        }
}

/* The 16 factors of Q3_K: d * (6 bits - 32). */
INLINE void sixteen_groups(const char *block, float *groups) {
        uint32_t b[3];
        char six[16];
        memcpy(b, block + 96, sizeof(b));
        Words low = (Words){b[0], b[1], b[0], b[1]} >> (Words){0, 0, 4, 4} & 0x0f0f0f0fu;
        Words high = (Words){b[2], b[2], b[2], b[2]} >> (Words){0, 2, 4, 6} & 0x03030303u;
        Words w = low | high << 4;
        memcpy(six, &w, sizeof(w));
        for (int i = 0; i < 16; i += LANES)
                store(groups + i, (floats_of(six + i) - 32.0f) * splat_half(block + 108));
}

/* The eight factors of IQ4_XS: d * (6 bits - 32). */
INLINE void eight_factors(const char *block, float *groups) {
        typedef uint32_t Eight __attribute__((vector_size(32)));
        typedef float Floats __attribute__((vector_size(32)));
        uint16_t high;
        uint32_t low;
        memcpy(&high, block + 2, sizeof(high));
        memcpy(&low, block + 4, sizeof(low));
        Eight six = ((Eight){low, low, low, low, low, low, low, low} >> (Eight){0, 4, 8, 12, 16, 20, 24, 28} & 15) |
                    ((Eight){high, high, high, high, high, high, high, high} >> (Eight){0, 2, 4, 6, 8, 10, 12, 14} & 3) << 4;
        Floats factors = (__builtin_convertvector(six, Floats) - 32.0f) * splat_half(block)[0];
        memcpy(groups, &factors, sizeof(factors));
}

/* 2^(e - 128), right at both ends. */
INLINE Vec splat_power(const char *p) {
        uint32_t e = (uint8_t)*p, bits = e < 2 ? UINT32_C(0x00200000) << e : (e - 1) << 23;
        float f;
        memcpy(&f, &bits, sizeof(f));
        return splat(f);
}

INLINE void unpack_groups(Dtype type, const char *block, Unpacked *u) {
        if (type == DTYPE_IQ4_XS)
                eight_factors(block, u->groups);
        if (type == DTYPE_Q4_K || type == DTYPE_Q5_K)
                eight_groups(block, u->groups);
        if (type == DTYPE_Q3_K)
                sixteen_groups(block, u->groups);
        UNROLL for (int i = 0; i < 16; i += LANES) {
                if (type == DTYPE_Q6_K)
                        store(u->groups + i, floats_of(block + 192 + i) * splat_half(block + 208));
                if (type == DTYPE_Q2_K) {
                        store(u->groups + i, from_nibbles(block + i, false, 0, splat_half(block + 80), splat(0)));
                        store(u->groups + 16 + i, from_nibbles(block + i, true, 0, -splat_half(block + 82), splat(0)));
                }
        }
}

INLINE Bytes shift_left(Bytes b, int by) { /* right where `by` is negative */
        return by < 0 ? b >> -by : b << by;
}

/* The integers of 32 values, from `at` + 32 * g on: byte i of each place that has a share of them. `at` is 0 or 128. */
INLINE Bytes unpack_bytes(Dtype type, const char *block, int at, int g, int i) {
        Bytes low, high;
        switch (type) {
        case DTYPE_Q2_K:
                return load_bytes(block + 16 + at / 4 + i) >> 2 * g & 3;
        case DTYPE_Q3_K:
                low = load_bytes(block + 32 + at / 4 + i) >> 2 * g & 3;
                high = load_bytes(block + i);
                high = at > 0 ? high >> 4 : high;
                return (low | (shift_left(high, 2 - g) & 4)) - 4;
        case DTYPE_Q5_K:
                low = load_bytes(block + 48 + at / 2 + g / 2 * 32 + i);
                high = load_bytes(block + 16 + i);
                high = at > 0 ? high >> 4 : high;
                return (g % 2 ? low >> 4 : low & 15) | (shift_left(high, 4 - g) & 16);
        case DTYPE_Q6_K:
        default:
                low = load_bytes(block + at / 2 + g % 2 * 32 + i);
                high = load_bytes(block + 128 + at / 4 + i);
                return ((g < 2 ? low & 15 : low >> 4) | (shift_left(high, 4 - 2 * g) & 48)) - 32;
        }
}

/* 16 in each byte whose bit is set. */
INLINE uint64_t spread_bits(uint8_t bits) {
        uint64_t each = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        return (each + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3 & UINT64_C(0x1010101010101010);
}

/* 32 integers less `zero`: their fifth bits, then the others as nibbles. */
INLINE void unpack_fives(const char *p, int zero, uint8_t *q) {
        typedef uint8_t Sixteen __attribute__((vector_size(16)));
        typedef uint64_t Two __attribute__((vector_size(16)));
        Sixteen low;
        uint8_t high[4];
        memcpy(high, p, sizeof(high));
        memcpy(&low, p + 4, sizeof(low));
        Sixteen first = (low & 15) | (Sixteen)(Two){spread_bits(high[0]), spread_bits(high[1])};
        Sixteen second = low >> 4 | (Sixteen)(Two){spread_bits(high[2]), spread_bits(high[3])};
        first -= (uint8_t)zero;
        second -= (uint8_t)zero;
        memcpy(q, &first, sizeof(first));
        memcpy(q + 16, &second, sizeof(second));
}

/* Vectors of sixteen lanes look values up, others bytes. */
INLINE bool has_table(Dtype type) {
        return type == DTYPE_IQ4_NL || type == DTYPE_IQ4_XS || type == DTYPE_MXFP4;
}

/* 32 values of a table, by nibbles. */
INLINE void unpack_table(const char *p, bool iq4, uint8_t *q) {
        typedef int8_t Sixteen __attribute__((vector_size(16)));
        const Sixteen table = iq4 ? (Sixteen){DTYPE_TABLE_IQ4} : (Sixteen){DTYPE_TABLE_E2M1};
        Sixteen nibbles;
        memcpy(&nibbles, p, sizeof(nibbles));
        Sixteen first = __builtin_shuffle(table, nibbles & 15), second = __builtin_shuffle(table, nibbles >> 4 & 15);
        memcpy(q, &first, sizeof(first));
        memcpy(q + 16, &second, sizeof(second));
}

/* Where the nibbles of group g of the part from `at` on are. */
INLINE int table_at(Dtype type, int at, int g) {
        return type == DTYPE_IQ4_XS ? 8 + at / 2 + g * 16 : type == DTYPE_IQ4_NL ? 2 : 1;
}

INLINE void unpack_part(Dtype type, const char *block, int at, Unpacked *u) {
        if (type == DTYPE_Q5_0)
                unpack_fives(block + 2, 16, u->q);
        if (type == DTYPE_Q5_1)
                unpack_fives(block + 4, 0, u->q);
        for (int g = 0; g < part_values(type) / GROUP && has_table(type) && LANES < 16; g++)
                unpack_table(block + table_at(type, at, g), type != DTYPE_MXFP4, u->q + g * GROUP);
        if (block_values(type) == GROUP || type == DTYPE_Q4_K || has_table(type))
                return;
        UNROLL for (int g = 0; g < PART_MAX / GROUP; g++)
                UNROLL for (int i = 0; i < GROUP; i += BYTES)
                        store_bytes(u->q + g * GROUP + i, unpack_bytes(type, block, at, g, i));
}

/* Vector v of group g of a format with a table, times `by`. */
INLINE Vec table_vec(Dtype type, const char *block, const Unpacked *u, int at, int g, int v, Vec by) {
#if defined(__AVX512F__)
        (void)u;
        const Vec table = type == DTYPE_MXFP4 ? (Vec){DTYPE_TABLE_E2M1} : (Vec){DTYPE_TABLE_IQ4};
        return look_up(block + table_at(type, at, g), v > 0, table * by);
#else
        (void)type, (void)block, (void)at;
        return floats_of(u->q + g * GROUP + v * LANES) * by;
#endif
}

/* Vector v of group g of the part from `at` on. */
INLINE Vec block_vec(Dtype type, const char *block, const Unpacked *u, int at, int g, int v) {
        int i = g * GROUP + v * LANES; /* in the part */
        const float *group = u->groups + at / group_values(type) + i / group_values(type);
        switch (type) {
        case DTYPE_F16:
                return from_half(block + i * 2);
        case DTYPE_BF16:
                return from_bfloat(block + i * 2);
        case DTYPE_Q8_0:
                return floats_of(block + 2 + i) * splat_half(block);
        case DTYPE_Q4_0:
                return from_nibbles(block + 2 + i % 16, i >= 16, 8, splat_half(block), splat(0));
        case DTYPE_Q4_1:
                return from_nibbles(block + 4 + i % 16, i >= 16, 0, splat_half(block), splat_half(block + 2));
        case DTYPE_Q5_0:
                return floats_of(u->q + i) * splat_half(block);
        case DTYPE_IQ4_NL:
                return table_vec(type, block, u, at, g, v, splat_half(block));
        case DTYPE_IQ4_XS:
                return table_vec(type, block, u, at, g, v, splat(group[0]));
        case DTYPE_MXFP4:
                return table_vec(type, block, u, at, g, v, splat_power(block));
        case DTYPE_Q5_1:
                return mul_add(floats_of(u->q + i), splat_half(block), splat_half(block + 2));
        case DTYPE_Q2_K:
                return mul_add(floats_of(u->q + i), splat(group[0]), splat(group[16]));
        case DTYPE_Q4_K:
                return from_nibbles(block + 16 + at / 2 + g / 2 * 32 + v * LANES, g % 2, 0, splat(group[0]),
                                    splat(group[8]));
        case DTYPE_Q5_K:
                return mul_add(floats_of(u->q + i), splat(group[0]), splat(group[8]));
        case DTYPE_Q3_K:
        case DTYPE_Q6_K:
                return floats_of(u->q + i) * splat(group[0]);
        case DTYPE_F32:
        default:
                return load(block + i * 4);
        }
}
