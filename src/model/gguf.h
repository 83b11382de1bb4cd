/* A GGUF file (versions 2 and 3, little-endian), mapped and checked: metadata by key, tensors by name.
 *
 * Layout, from ggml's docs/gguf.md: "GGUF", u32 version, u64 tensor count, u64 metadata count; metadata: string key,
 * u32 type, value; tensors: string name, u32 n_dims, u64 dims[n_dims] (innermost first), u32 type, u64 offset; then,
 * aligned to general.alignment (32), the tensor data. A string is u64 length and bytes, not terminated.
 *
 * The file is hostile: gguf_open() checks every length, count, type, name, shape, offset and overlap against the
 * file's size before anything is believed, so that what it returns can be used without further checks. Values and
 * strings point into the map and live as long as the Gguf. Errors name the file, the key or tensor, and the reason. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/file.h"

typedef struct Gguf Gguf;

typedef enum GgufType {
        GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
        GGUF_U64, GGUF_I64, GGUF_F64,
} GgufType;

/* 0 or negative errno: -EINVAL the file is no valid GGUF, -EOPNOTSUPP valid but not supported (tensor type, version,
 * byte order), else what open/mmap said, with the path component that could not be read named in `e`. */
int gguf_open(const char *path, Gguf **ret, Error *e);
void gguf_free(Gguf *g);
DEFINE_CLEANUP(Gguf, gguf_free)

const ModelFile *gguf_file(const Gguf *g);

/* Metadata. 0, -ENOENT when the key is absent, -EINVAL when it is of another type; `e` says which. Any integer type
 * reads as u64 (negative: -EINVAL), any number as f64. */
int gguf_get_u64(const Gguf *g, const char *key, uint64_t *ret, Error *e);
int gguf_get_f64(const Gguf *g, const char *key, double *ret, Error *e);
int gguf_get_bool(const Gguf *g, const char *key, bool *ret, Error *e);
int gguf_get_string(const Gguf *g, const char *key, FileText *ret, Error *e);
/* Arrays: element type and count; then elements. */
int gguf_get_array(const Gguf *g, const char *key, GgufType *ret_type, size_t *ret_n, Error *e);
/* The elements of a numeric array, as they are in the file (unaligned). */
int gguf_get_array_data(const Gguf *g, const char *key, GgufType type, const void **ret, size_t *ret_n, Error *e);
/* All strings of a string array in one allocation the caller frees; the texts stay in the map. */
int gguf_get_strings(const Gguf *g, const char *key, FileText **ret, size_t *ret_n, Error *e);

size_t gguf_n_tensors(const Gguf *g);
const Tensor *gguf_tensor_at(const Gguf *g, size_t i);
const Tensor *gguf_tensor(const Gguf *g, const char *name); /* NULL when absent */

/* For showing: calls `fn` for every metadata key, with its value as text (arrays: as "[n]" of the element type). */
typedef void (*GgufEach)(FileText key, GgufType type, const char *value, void *arg);
void gguf_each(const Gguf *g, GgufEach fn, void *arg);
