/* Number formats of tensors. The values are ggml's type numbers, so that a GGUF file's type field is one of these
 * or unknown. A row of a quantised tensor is a sequence of blocks; rows never share a block.
 *
 * Block layouts (little-endian; from ggml's ggml-common.h):
 *   Q8_0: 34 bytes per 32 values: f16 d; int8 q[32];             x = d*q
 *   Q4_0: 18 bytes per 32 values: f16 d; uint8 q[16], low nibbles are values 0-15, high ones 16-31; x = d*(q-8)
 *   Q4_1: 20 bytes per 32 values: f16 d, m; q as Q4_0;           x = d*q + m
 *   Q5_0: 22 bytes per 32 values: f16 d; uint32 h; q as Q4_0: bit i of h is bit 4 of value i;  x = d*(q-16)
 *   Q5_1: 24 bytes per 32 values: f16 d, m; h and q as Q5_0;     x = d*q + m
 * and per 256 values, in groups of 32 (Q4_K, Q5_K) or 16:
 *   Q2_K: 84 bytes: 16 bytes of factors, s in the low nibble and m in the high; uint8 q[64], of each 32 bytes bits 2g and
 *         2g+1 are values 32g to 32g+31 of 128; f16 d, dmin;                    x = d*s*q - dmin*m
 *   Q3_K: 110 bytes: uint8 h[32]; q as Q2_K; 12 bytes of 6-bit factors s; f16 d;  x = d*(s-32)*(q-4)
 *         bit g of h[i] is bit 2 of value 32g+i; factors: the low nibbles of bytes 0-7 and then the high ones are the
 *         low bits of s, and bits 2g and 2g+1 of bytes 8-11 the high ones of factors 4g to 4g+3
 *   Q4_K: 144 bytes: f16 d, dmin; 12 bytes of 6-bit factors s and m of 8 groups; uint8 q[128], of each 32 bytes the low
 *         nibbles are 32 values and the high ones the next 32;                  x = d*s*q - dmin*m
 *         factors: byte j & 63 is s of group j (j < 4), byte j+4 & 63 its m; byte j+8 has the low bits of s (its low
 *         nibble) and of m of group j+4, bytes j and j+4 in bits 6-7 the high ones
 *   Q5_K: 176 bytes: as Q4_K, with uint8 h[32] before q: bit g of h[i] is bit 4 of value i of group g
 *   Q6_K: 210 bytes: uint8 q[128]; uint8 h[64]; int8 s[16]; f16 d;              x = d*s*(q-32)
 *         of each 128 values, of q 64 bytes and of h 32: low nibbles are values 0-63, high ones 64-127, and bits 2g and
 *         2g+1 of h[i] are bits 4 and 5 of value 32g+i
 * and with nibbles that say which of 16 values it is (DTYPE_TABLE_IQ4, and DTYPE_TABLE_E2M1 of OCP's Microscaling Formats):
 *   IQ4_NL: 18 bytes per 32 values: as Q4_0;                     x = d*table[q]
 *   MXFP4:  17 bytes per 32 values: uint8 e; q as Q4_0;          x = 2^(e-128)*table[q], whose values are twice E2M1's
 *   IQ4_XS: 136 bytes per 256 values: f16 d; uint16 h; uint8 l[4]; uint8 q[128], of each 16 bytes as Q4_0
 *           factor s of group g: nibble g of l, and bits 2g and 2g+1 of h above it;      x = d*(s-32)*table[q] */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* X(name, number, values of a block, its bytes), of all that can be computed with. */
#define DTYPES(X)               \
        X(F32, 0, 1, 4)         \
        X(F16, 1, 1, 2)         \
        X(Q4_0, 2, 32, 18)      \
        X(Q4_1, 3, 32, 20)      \
        X(Q5_0, 6, 32, 22)      \
        X(Q5_1, 7, 32, 24)      \
        X(Q8_0, 8, 32, 34)      \
        X(Q2_K, 10, 256, 84)    \
        X(Q3_K, 11, 256, 110)   \
        X(Q4_K, 12, 256, 144)   \
        X(Q5_K, 13, 256, 176)   \
        X(Q6_K, 14, 256, 210)   \
        X(IQ4_NL, 20, 32, 18)   \
        X(IQ4_XS, 23, 256, 136) \
        X(BF16, 30, 1, 2)       \
        X(MXFP4, 39, 32, 17)

#define DTYPE_TABLE_IQ4 -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
#define DTYPE_TABLE_E2M1 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

#define DTYPE_NUMBER(name, number, values, bytes) DTYPE_##name = number,
typedef enum Dtype { DTYPES(DTYPE_NUMBER) } Dtype;

/* Cases of a switch over formats, where a compiler is to know the answer. */
#define DTYPE_CASE_VALUES(name, number, values, bytes) \
        case DTYPE_##name:                             \
                return values;
#define DTYPE_CASE_BYTES(name, number, values, bytes) \
        case DTYPE_##name:                            \
                return bytes;

typedef struct DtypeInfo {
        const char *name;    /* "Q8_0" */
        uint32_t block;      /* values per block: 1 for the plain formats */
        uint32_t block_size; /* bytes per block */
} DtypeInfo;

/* NULL for a number that is not supported. */
const DtypeInfo *dtype_info(uint32_t type);
/* ggml's name of a type we know of but do not support ("Q4_K"), or "unknown". For error messages. */
const char *dtype_name(uint32_t type);
/* Bytes of one row of `cols` values; 0 when `cols` is not a whole number of blocks or the size overflows. */
size_t dtype_row_size(Dtype type, uint64_t cols);
