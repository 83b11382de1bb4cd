/* The NPY format, version 1.0 (numpy.lib.format): "\x93NUMPY", 1, 0, the header's length in two bytes, the header, a
 * Python dict padded with spaces so that the data begins at a multiple of 64, and the numbers. How many rows there are
 * is known at the end: the header has room for any number, and is written again then. It is written beside its name, and
 * has it when it is whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/npy.h"

enum { HEADER = 128, BEFORE_DICT = 10 };

struct Npy {
        FILE *file;
        char *path, *temporary; /* temporary NULL: it has its name */
        size_t rows, columns;
};

static int failed(const Npy *n, Error *e) {
        int r = errno ? errno : EIO;
        return error_set(e, -r, "cannot write %s: %s", n->path, strerror(r));
}

/* "<f4": little-endian float32. */
static int write_header(Npy *n, Error *e) {
        char header[HEADER + 1];
        int k = snprintf(header, sizeof(header), "\x93NUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                         1, 0, HEADER - BEFORE_DICT, 0, n->rows, n->columns);
        memset(header + k, ' ', (size_t)(HEADER - k));
        header[HEADER - 1] = '\n';
        return fwrite(header, 1, HEADER, n->file) == HEADER ? 0 : failed(n, e);
}

int npy_open(const char *path, Npy **ret, Error *e) {
        _cleanup_(npy_freep) Npy *n = calloc(1, sizeof(*n));
        if (!n || !(n->path = strdup(path)) || asprintf(&n->temporary, "%s.part", path) < 0)
                return error_set(e, -ENOMEM, "out of memory");
        n->file = fopen(n->temporary, "wxe");
        if (!n->file && errno == EEXIST)
                return error_set(e, -EEXIST, "%s is there: another run writes it, or was killed; remove it", n->temporary);
        if (!n->file)
                return failed(n, e);
        int r = write_header(n, e);
        if (r >= 0)
                *ret = TAKE(n);
        return r;
}

int npy_add(Npy *n, const float *values, size_t rows, size_t columns, Error *e) {
        if (n->rows > 0 && columns != n->columns)
                return error_set(e, -EINVAL, "the model makes vectors of %zu numbers, and before of %zu", columns, n->columns);
        n->columns = columns;
        n->rows += rows;
        return fwrite(values, columns * sizeof(*values), rows, n->file) == rows ? 0 : failed(n, e);
}

int npy_finish(Npy *n, Error *e) {
        if (fseek(n->file, 0, SEEK_SET) < 0)
                return failed(n, e);
        int r = write_header(n, e);
        if (r < 0)
                return r;
        if (fflush(n->file) != 0 || fsync(fileno(n->file)) < 0 || rename(n->temporary, n->path) < 0)
                return failed(n, e);
        free(TAKE(n->temporary));
        return 0;
}

void npy_free(Npy *n) {
        if (!n)
                return;
        if (n->file)
                fclose(n->file);
        if (n->file && n->temporary)
                unlink(n->temporary);
        free(n->path);
        free(n->temporary);
        free(n);
}
