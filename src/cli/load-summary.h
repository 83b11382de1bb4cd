/* What the samples of a stage of load say. */
#pragma once

#include "cli/load.h"

/* Times in seconds. Latencies and rates are of the good requests that were kept; NAN where there is none. */
typedef struct LoadSummary {
        size_t requests, dropped, errors; /* kept and good; left out, on both sides together; of all */
        double seconds;                   /* that the kept ones took to end */
        double qps, tokens_per_second;
        double mean, p50, p99, max;       /* from when a request was due to its last byte */
        double first_p50, first_p99;      /* to its first text */
        double cpu;                       /* of this process, per request */
} LoadSummary;

/* Leaves out the first and last `drop` requests to end, or none when fewer than three times as many ended. */
int load_summarize(const LoadResult *r, size_t drop, LoadSummary *ret);

/* The smallest of `n` ascending values that at least the fraction `p` of them do not exceed; NAN for none. */
double percentile(const double *sorted, size_t n, double p);

/* What a perfect daemon with so many slots, each held for `hold` seconds, would do. `rate` 0: closed loop. */
double ideal_qps(double clients, double rate, double slots, double hold);
double ideal_latency(double clients, double rate, double slots, double hold);
