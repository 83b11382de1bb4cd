/* Mixtures of experts: which expert each row goes to, and what they made brought together. Their products are matmul.c's.
 *
 * All choices are sorted by counting: rows ascending, so that an expert has its rows in their order. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

typedef struct Route {
        Routing r;
        const float *logits;
        bool normalise;
} Route;

/* Logits as they are compared: none is NaN, or less than the least number. */
static float logit(const float *logits, uint32_t e) {
        return logits[e] >= -FLT_MAX ? logits[e] : -FLT_MAX;
}

static bool is_chosen(const int32_t *chosen, uint32_t n, uint32_t e) {
        for (uint32_t c = 0; c < n; c++)
                if (chosen[c] == (int32_t)e)
                        return true;
        return false;
}

static void choose(const Routing *r, const float *logits, int32_t *chosen) {
        for (uint32_t c = 0; c < r->n_used; c++) {
                int32_t best = -1;
                for (uint32_t e = 0; e < r->n_experts; e++)
                        if (!is_chosen(chosen, c, e) && (best < 0 || logit(logits, e) > logit(logits, (uint32_t)best)))
                                best = (int32_t)e;
                chosen[c] = best;
        }
}

static void weigh(const Route *a, const float *logits, const int32_t *chosen, float *weight) {
        float most = logit(logits, (uint32_t)chosen[0]), all = 0, sum = 0;
        for (uint32_t e = 0; e < a->r.n_experts; e++)
                all += expf(logit(logits, e) - most);
        for (uint32_t c = 0; c < a->r.n_used; c++) {
                weight[c] = expf(logit(logits, (uint32_t)chosen[c]) - most);
                sum += weight[c];
        }
        for (uint32_t c = 0; c < a->r.n_used; c++)
                weight[c] /= a->normalise ? sum : all;
}

static void sort(const Routing *r, const int32_t *chosen) {
        size_t n = (size_t)r->n_rows * r->n_used;
        memset(r->starts, 0, (r->n_experts + 1) * sizeof(*r->starts));
        for (size_t i = 0; i < n; i++) /* starts[e + 1]: how many e has */
                r->starts[chosen[i] + 1]++;
        for (uint32_t e = 0; e < r->n_experts; e++)
                r->starts[e + 1] += r->starts[e];
        for (size_t i = n; i-- > 0;) { /* from behind: starts[e + 1] goes from its end down to its begin */
                int32_t place = --r->starts[chosen[i] + 1];
                r->place[i] = place;
                r->row[place] = (int32_t)(i / r->n_used);
        }
        memmove(r->starts, r->starts + 1, r->n_experts * sizeof(*r->starts));
        r->starts[r->n_experts] = (int32_t)n;
}

static void route_run(const void *args, const CpuPart *part) {
        const Route *a = args;
        (void)part;
        for (uint32_t i = 0; i < a->r.n_rows; i++) {
                const float *logits = a->logits + (size_t)i * a->r.n_experts;
                int32_t *chosen = a->r.room + (size_t)i * a->r.n_used;
                choose(&a->r, logits, chosen);
                weigh(a, logits, chosen, a->r.weight + (size_t)i * a->r.n_used);
        }
        sort(&a->r, a->r.room);
}

static uint64_t alone(const void *args) {
        (void)args;
        return 0;
}

void cpu_route(Stream *s, const Routing *r, const float *logits, bool normalise) {
        stream_record(s, route_run, alone, &(Route){*r, logits, normalise}, sizeof(Route));
}

typedef struct Combine {
        float *x;
        const float *y;
        Routing r;
        uint32_t n_cols;
} Combine;

static void combine_run(const void *args, const CpuPart *part) {
        const Combine *a = args;
        CpuShare mine = cpu_share(part, a->r.n_rows, 1);
        for (size_t i = mine.begin; i < mine.end; i++)
                for (uint32_t c = 0; c < a->r.n_used; c++) {
                        size_t at = i * a->r.n_used + c;
                        float weight = a->r.weight[at], *x = a->x + i * a->n_cols;
                        const float *y = a->y + (size_t)a->r.place[at] * a->n_cols;
                        for (uint32_t k = 0; k < a->n_cols; k++)
                                x[k] += weight * y[k];
                }
}

static uint64_t combine_work(const void *args) {
        const Combine *a = args;
        return (uint64_t)a->r.n_rows * a->r.n_used * a->n_cols * 2;
}

void cpu_combine(Stream *s, float *x, const float *y, const Routing *r, uint32_t n_cols) {
        stream_record(s, combine_run, combine_work, &(Combine){x, y, *r, n_cols}, sizeof(Combine));
}
