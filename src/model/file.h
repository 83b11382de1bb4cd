/* A file of a model: mapped read-only, with the name that messages call it by. Everything in it is hostile; whoever
 * reads it checks.
 *
 * The file must not be truncated in place while it is open: reading a page that is gone raises SIGBUS. Replace a
 * model by renaming a new one over it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "device/dtype.h"
#include "util/error.h"

/* Text in a file's map or in what was read from it; not terminated. */
typedef struct FileText {
        const char *data;
        size_t len;
} FileText;

typedef struct ModelFile { /* zeroed: none */
        char *path;
        const char *label;   /* the path, or the end of a long one */
        const uint8_t *data; /* the whole map, page-aligned */
        size_t size;
} ModelFile;

/* A tensor of a file that was checked: its data lies within the map and is `size` bytes, whole rows of `type` if
 * that is known. */
typedef struct Tensor {
        FileText name;
        Dtype type;
        const char *foreign; /* the file's name for a type that is no Dtype ("I64"), else NULL: there is `type` */
        uint32_t n_dims;
        uint64_t dims[4]; /* innermost first: dims[0] is the row length; absent ones are 1 */
        const void *data;
        size_t size;
} Tensor;

enum { TENSOR_DTYPE_MAX = 64 }; /* tensor types are below this */

/* 0, or the negative errno of what failed, with the path component that stood in the way named in `e`; -EISDIR and
 * -EINVAL for what is no file. On failure `ret` is empty. */
int model_file_open(const char *path, ModelFile *ret, Error *e);
void model_file_close(ModelFile *f);

/* Copies the file's own words for messages and JSON: as many whole UTF-8 characters as fit, control characters as '?'.
 * Returns `buf`. */
char *file_text(char *buf, size_t size, FileText s);
/* The last component of a path. */
FileText file_base_name(const char *path);

/* Says why, with the file's name, and returns `code`, in sight of the compiler, which then knows that it is not 0. */
#define FILE_REFUSE(f, e, code, fmt, ...)                                                                              \
        ({                                                                                                             \
                int _code = (code);                                                                                    \
                error_set(e, _code, "%s: " fmt, (f)->label, ##__VA_ARGS__);                                            \
                _code;                                                                                                 \
        })
