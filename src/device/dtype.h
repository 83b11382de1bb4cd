/* Number formats of tensors. The values are ggml's type numbers, so that a GGUF file's type field is one of these
 * or unknown. A row of a quantised tensor is a sequence of blocks; rows never share a block.
 *
 * Block layouts (little-endian; from ggml's ggml-common.h):
 *   Q8_0: 34 bytes per 32 values: f16 d; int8 q[32];             x = d*q
 *   Q4_0: 18 bytes per 32 values: f16 d; uint8 q[16], low nibbles are values 0-15, high ones 16-31; x = d*(q-8) */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum Dtype {
        DTYPE_F32 = 0,
        DTYPE_F16 = 1,
        DTYPE_Q4_0 = 2,
        DTYPE_Q8_0 = 8,
        DTYPE_BF16 = 30,
} Dtype;

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
