/* Samples to figures. Requests are put in the order they ended, because that is how a rate is measured: the kept ones
 * ended between the end of the last one left out and their own last end, and that time is theirs. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "cli/load-summary.h"

static int compare_ends(const void *a, const void *b) {
        const LoadSample *x = *(const LoadSample *const *)a, *y = *(const LoadSample *const *)b;
        return (x->end > y->end) - (x->end < y->end);
}

static int compare_values(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

double percentile(const double *sorted, size_t n, double p) {
        if (n == 0)
                return NAN;
        double rank = ceil(p * (double)n - 1e-9);
        return sorted[rank < 1 ? 0 : rank > (double)n ? n - 1 : (size_t)rank - 1];
}

/* Pointers to those that ended, in that order; to be freed. */
static const LoadSample **sort_ended(const LoadResult *r, size_t *ret_n) {
        const LoadSample **list = malloc((r->n + 1) * sizeof(const LoadSample *));
        size_t n = 0;
        for (size_t i = 0; list && i < r->n; i++)
                if (r->samples[i].end > 0)
                        list[n++] = &r->samples[i];
        if (list)
                qsort((void *)list, n, sizeof(const LoadSample *), compare_ends);
        *ret_n = n;
        return list;
}

static void fill_latencies(LoadSummary *s, double *latency, double *first, size_t n_first) {
        double sum = 0;
        qsort(latency, s->requests, sizeof(double), compare_values);
        qsort(first, n_first, sizeof(double), compare_values);
        for (size_t i = 0; i < s->requests; i++)
                sum += latency[i];
        s->mean = s->requests > 0 ? sum / (double)s->requests : NAN;
        s->p50 = percentile(latency, s->requests, 0.5);
        s->p99 = percentile(latency, s->requests, 0.99);
        s->max = percentile(latency, s->requests, 1);
        s->first_p50 = percentile(first, n_first, 0.5);
        s->first_p99 = percentile(first, n_first, 0.99);
}

int load_summarize(const LoadResult *r, size_t drop, LoadSummary *ret) {
        size_t n, n_first = 0;
        uint64_t tokens = 0;
        _cleanup_free_ const LoadSample **list = sort_ended(r, &n);
        _cleanup_free_ double *latency = malloc((r->n + 1) * sizeof(double));
        _cleanup_free_ double *first = malloc((r->n + 1) * sizeof(double));
        if (!list || !latency || !first)
                return -ENOMEM;
        if (drop > n / 3)
                drop = 0;
        LoadSummary s = {.dropped = 2 * drop, .errors = r->failed};
        for (size_t i = drop; i < n - drop; i++) {
                const LoadSample *x = list[i];
                if (!x->good)
                        continue;
                latency[s.requests++] = (double)(x->end - x->due) / 1e9;
                if (x->first > 0)
                        first[n_first++] = (double)(x->first - x->due) / 1e9;
                tokens += x->tokens;
        }
        uint64_t begin = drop > 0 ? list[drop - 1]->end : 0, end = n > 0 ? list[n - drop - 1]->end : 0;
        s.seconds = (double)(end - begin) / 1e9;
        s.qps = s.seconds > 0 ? (double)s.requests / s.seconds : NAN;
        s.tokens_per_second = s.seconds > 0 ? (double)tokens / s.seconds : NAN;
        s.cpu = r->ended > 0 ? (double)r->cpu_ns / 1e9 / (double)r->ended : NAN;
        fill_latencies(&s, latency, first, n_first);
        *ret = s;
        return 0;
}

double ideal_qps(double clients, double rate, double slots, double hold) {
        return rate > 0 ? fmin(rate, slots / hold) : fmin(clients, slots) / hold;
}

double ideal_latency(double clients, double rate, double slots, double hold) {
        return rate > 0 ? hold : hold * fmax(1, clients / slots);
}
