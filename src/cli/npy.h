/* A matrix of numbers in a file as numpy reads it, written row by row. */
#pragma once

#include <stddef.h>

#include "util/error.h"
#include "util/macro.h"

typedef struct Npy Npy;

int npy_open(const char *path, Npy **ret, Error *e);
/* Rows of as many numbers as the first ones. */
int npy_add(Npy *n, const float *values, size_t rows, size_t columns, Error *e);
/* The file is whole when this returns 0; npy_free() without it removes what was begun. */
int npy_finish(Npy *n, Error *e);
void npy_free(Npy *n);
DEFINE_CLEANUP(Npy, npy_free)
