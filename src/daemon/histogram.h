/* A histogram of durations in Prometheus' sense: cumulative buckets, a sum and a count. */
#pragma once

#include <stdint.h>

#include "util/buf.h"

enum { HISTOGRAM_BUCKETS = 16 };

typedef struct Histogram {
        uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* not cumulative; the last is above all bounds */
        uint64_t sum_usec;
} Histogram;

void histogram_add(Histogram *h, uint64_t usec);
/* Appends the _bucket, _sum and _count lines of `name`; `labels` is `model="x"` or so. */
void histogram_print(const Histogram *h, const char *name, const char *labels, Buf *out);
