/* Histograms; see histogram.h. Bounds from a millisecond (a token) to minutes (a long answer). */
#include <inttypes.h>
#include <stddef.h>

#include "daemon/histogram.h"

static const uint64_t bounds_usec[HISTOGRAM_BUCKETS] = {
        1000,   2500,    5000,    10000,   25000,    50000,    100000,   250000,
        500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000,
};

void histogram_add(Histogram *h, uint64_t usec) {
        size_t i = 0;
        while (i < HISTOGRAM_BUCKETS && usec > bounds_usec[i])
                i++;
        h->counts[i]++;
        h->sum_usec += usec;
}

void histogram_print(const Histogram *h, const char *name, const char *labels, Buf *out) {
        uint64_t n = 0;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
                n += h->counts[i];
                buf_printf(out, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n", name, labels, (double)bounds_usec[i] / 1e6, n);
        }
        n += h->counts[HISTOGRAM_BUCKETS];
        buf_printf(out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, n);
        buf_printf(out, "%s_sum{%s} %.6f\n%s_count{%s} %" PRIu64 "\n", name, labels, (double)h->sum_usec / 1e6, name, labels, n);
}
