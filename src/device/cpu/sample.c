/* Choosing the next token of a sequence from its logits.
 *
 * The unmodified logits give the log-probabilities that are reported. A copy of them goes through, in this order:
 *   1 logit_bias is added
 *   2 penalties for every token among the last penalty_last ones, up to and including the row's position:
 *     the logit is divided by repeat_penalty if positive, else multiplied; less frequency_penalty * count and
 *     presence_penalty
 *     Of tokens that are not allowed the logit is then -infinity, of the others no less than the least float
 *   3 temperature 0: the greatest logit, of equals the lowest id. Else:
 *   4 top_k: the k greatest stay
 *   5 top_p: the fewest stay, greatest first, whose probabilities sum to at least top_p
 *   6 min_p: those stay whose probability is at least min_p times that of the most probable
 *   7 logits are divided by the temperature, and one is drawn from their softmax
 * Steps 5 and 6 see the probabilities among what is left before them, at temperature 1. This is the order of
 * llama.cpp's default chain and of what users of these parameters expect. Ties are broken towards lower ids.
 *
 * The draw is the inverse of the distribution function at u, candidates in the order they then are (descending when
 * step 4 or 5 sorted them, else by id). u is made of the seed and the row's position p alone, by SplitMix64 (Steele,
 * Lea and Flood 2014): mix is its output function, u = (mix(mix(seed) + (p + 1) * 0x9e3779b97f4a7c15) >> 11) * 2^-53.
 *
 * Hostile logits: NaN counts as -infinity and +infinity as the greatest float. When all are -infinity, id 0 is
 * chosen. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"

/* A log-probability that JSON can carry, for what is impossible; OpenAI's convention. */
#define LOGPROB_MIN (-9999.0f)

typedef struct Candidate {
        int32_t id;
        float logit;
} Candidate;

typedef struct Sample {
        SampleOut *out;
        float *logits;
        uint32_t n, n_vocab;
        const int32_t *index;
        Rows rows;
        SampleParams params[];
} Sample;

/* One row being sampled. The arrays have room for the vocabulary. */
typedef struct Draw {
        const SampleParams *params;
        const CpuKernels *kernels;
        uint32_t n_vocab;
        int32_t position;
        const int32_t *tokens; /* of the sequence; position + 1 of them */
        const float *logits;   /* unmodified but for NaN and infinity */
        float *work;           /* modified copy; later weights of the candidates */
        uint32_t *counts;      /* how often each token was seen */
        Candidate *candidates;
        uint32_t n_candidates;
        bool sorted; /* descending; else all tokens by id */
} Draw;

static float tame(float x) {
        return isnan(x) ? -INFINITY : MIN(x, FLT_MAX);
}

/* ---- the k greatest ---- */

/* Whether a comes after b in descending order. */
static bool after(Candidate a, Candidate b) {
        return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

/* Restores the heap whose root is the last in order, after its root has changed. */
static void sift_down(Candidate *heap, size_t n) {
        Candidate moved = heap[0];
        size_t i = 0;
        for (size_t child; (child = 2 * i + 1) < n; i = child) {
                if (child + 1 < n && after(heap[child + 1], heap[child]))
                        child++;
                if (!after(heap[child], moved))
                        break;
                heap[i] = heap[child];
        }
        heap[i] = moved;
}

static void sift_up(Candidate *heap, size_t i) {
        Candidate moved = heap[i];
        for (size_t parent; i > 0 && after(moved, heap[parent = (i - 1) / 2]); i = parent)
                heap[i] = heap[parent];
        heap[i] = moved;
}

/* The k greatest of x[0..n), in descending order: a heap of the best so far, most of the rest being turned away at
 * its root, then taken apart from the last in order. */
static void select_top(const float *x, uint32_t n, Candidate *ret, uint32_t k) {
        for (uint32_t i = 0; i < n; i++) {
                Candidate c = {(int32_t)i, x[i]};
                if (i < k) {
                        ret[i] = c;
                        sift_up(ret, i);
                } else if (after(ret[0], c)) {
                        ret[0] = c;
                        sift_down(ret, k);
                }
        }
        for (uint32_t left = k; left > 1; left--) {
                Candidate last = ret[0];
                ret[0] = ret[left - 1];
                sift_down(ret, left - 1);
                ret[left - 1] = last;
        }
}

/* ---- bias and penalties ---- */

static void apply_bias(Draw *d) {
        for (int32_t i = 0; i < d->params->n_bias; i++) {
                uint32_t id = (uint32_t)d->params->bias_ids[i];
                if (id < d->n_vocab)
                        d->work[id] = tame(d->work[id] + d->params->bias[i]);
        }
}

static float penalised(const SampleParams *p, float logit, uint32_t count) {
        logit = logit > 0 ? logit / p->repeat_penalty : logit * p->repeat_penalty;
        return tame(logit - p->frequency_penalty * (float)count - p->presence_penalty);
}

/* Of rows of one sequence that are sampled in one call each writes what the next ones read: what they make of that counts only
 * where the value stays the same, but there must be one. */
static uint32_t token_at(const int32_t *tokens, int32_t i) {
        return (uint32_t)__atomic_load_n(&tokens[i], __ATOMIC_RELAXED);
}

static void apply_penalties(Draw *d) {
        const SampleParams *p = d->params;
        int32_t n = d->position + 1;
        if (p->penalty_last == 0 || (p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0))
                return;
        const int32_t *seen = d->tokens;
        if (p->penalty_last > 0 && p->penalty_last < n) {
                seen += n - p->penalty_last;
                n = p->penalty_last;
        }
        memset(d->counts, 0, d->n_vocab * sizeof(*d->counts));
        for (int32_t i = 0; i < n; i++) {
                uint32_t id = token_at(seen, i);
                if (id < d->n_vocab)
                        d->counts[id]++;
        }
        for (int32_t i = 0; i < n; i++) {
                uint32_t id = token_at(seen, i);
                if (id < d->n_vocab && d->counts[id] > 0) {
                        d->work[id] = penalised(p, d->work[id], d->counts[id]);
                        d->counts[id] = 0;
                }
        }
}

/* ---- what is allowed ---- */

static void apply_allowed(Draw *d) {
        const uint32_t *allowed = d->params->allowed;
        for (uint32_t i = 0; allowed && i < d->n_vocab; i++)
                d->work[i] = allowed[i / 32] >> (i % 32) & 1 ? MAX(d->work[i], -FLT_MAX) : -INFINITY;
}

/* ---- truncation ---- */

static void sort_candidates(Draw *d, uint32_t k) {
        select_top(d->work, d->n_vocab, d->candidates, k);
        d->n_candidates = k;
        d->sorted = true;
}

/* How many of the candidates, in order, reach `goal`; 0 when all together do not. */
static uint32_t nucleus(const Draw *d, double goal) {
        double sum = 0;
        for (uint32_t i = 0; i < d->n_candidates; i++) {
                sum += exp((double)d->candidates[i].logit - d->candidates[0].logit);
                if (sum >= goal)
                        return i + 1;
        }
        return 0;
}

/* Of the whole vocabulary: most of the mass is in few tokens, so ever more of them are sorted until they suffice. */
static void apply_top_p_to_all(Draw *d, float top) {
        double total = 0;
        for (uint32_t i = 0; i < d->n_vocab; i++)
                total += exp((double)d->work[i] - top);
        for (uint32_t k = MIN(256u, d->n_vocab);; k = (uint32_t)MIN((uint64_t)k * 8, (uint64_t)d->n_vocab)) {
                sort_candidates(d, k);
                uint32_t n = nucleus(d, d->params->top_p * total);
                if (n > 0)
                        d->n_candidates = n;
                if (n > 0 || k == d->n_vocab)
                        return;
        }
}

static void apply_top_p(Draw *d, float top) {
        double total = 0;
        if (!(d->params->top_p < 1))
                return;
        if (!d->sorted) {
                apply_top_p_to_all(d, top);
                return;
        }
        for (uint32_t i = 0; i < d->n_candidates; i++)
                total += exp((double)d->candidates[i].logit - top);
        uint32_t n = nucleus(d, d->params->top_p * total);
        d->n_candidates = n > 0 ? n : d->n_candidates;
}

/* Probabilities compare as logits do: p >= min_p * p_top where logit >= top + log(min_p). */
static void apply_min_p(Draw *d, float top) {
        if (!(d->params->min_p > 0))
                return;
        float least = top + logf(MIN(d->params->min_p, 1.0f));
        if (d->sorted) {
                while (d->n_candidates > 1 && d->candidates[d->n_candidates - 1].logit < least)
                        d->n_candidates--;
                return;
        }
        for (uint32_t i = 0; i < d->n_vocab; i++)
                if (d->work[i] < least)
                        d->work[i] = -INFINITY;
}

/* ---- the draw ---- */

static uint64_t mix(uint64_t z) {
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
}

static double uniform(uint64_t seed, int32_t position) {
        uint64_t z = mix(mix(seed) + ((uint64_t)position + 1) * 0x9e3779b97f4a7c15);
        return (double)(z >> 11) * 0x1p-53;
}

/* Weights of what is left, in d->work, from their logits. */
static uint32_t weigh(Draw *d, float top) {
        uint32_t n = d->sorted ? d->n_candidates : d->n_vocab;
        if (d->sorted)
                for (uint32_t i = 0; i < n; i++)
                        d->work[i] = d->candidates[i].logit;
        d->kernels->exp_sum(d->work, d->work, n, top, CLAMP(1 / d->params->temperature, FLT_MIN, FLT_MAX));
        return n;
}

static int32_t draw(Draw *d, float top) {
        uint32_t n = weigh(d, top), last = 0;
        double total = 0, sum = 0;
        for (uint32_t i = 0; i < n; i++)
                total += d->work[i];
        double goal = uniform(d->params->seed, d->position) * total;
        for (uint32_t i = 0; i < n && sum <= goal; i++) {
                if (d->work[i] > 0)
                        last = i;
                sum += d->work[i];
        }
        return d->sorted ? d->candidates[last].id : (int32_t)last;
}

static int32_t first_of(const Draw *d, float logit) {
        int32_t id = 0;
        while (d->work[id] != logit)
                id++;
        return id;
}

static int32_t choose(Draw *d) {
        const SampleParams *p = d->params;
        memcpy(d->work, d->logits, d->n_vocab * sizeof(float));
        apply_bias(d);
        apply_penalties(d);
        apply_allowed(d);
        float top = d->kernels->max(d->work, d->n_vocab);
        if (top == -INFINITY)
                return 0;
        if (!(p->temperature > 0))
                return first_of(d, top);
        if (p->top_k > 0 && (uint32_t)p->top_k < d->n_vocab)
                sort_candidates(d, (uint32_t)p->top_k);
        apply_top_p(d, top);
        apply_min_p(d, top);
        return draw(d, top);
}

/* ---- log-probabilities ---- */

static float logprob(double logit, double log_total) {
        return (float)MAX(logit - log_total, (double)LOGPROB_MIN);
}

static void report_logprobs(const Draw *d, SampleOut *out) {
        uint32_t n_top = (uint32_t)CLAMP(d->params->n_top, 0, SAMPLE_TOP_MAX);
        Candidate top[SAMPLE_TOP_MAX];
        n_top = MIN(n_top, d->n_vocab);
        double total = 0, most = d->kernels->max(d->logits, d->n_vocab);
        if (most == -INFINITY)
                most = 0;
        for (uint32_t i = 0; i < d->n_vocab; i++)
                total += exp(d->logits[i] - most);
        double log_total = total > 0 ? most + log(total) : 0;
        out->logprob = logprob(d->logits[out->id], log_total);
        select_top(d->logits, d->n_vocab, top, n_top);
        for (uint32_t i = 0; i < n_top; i++) {
                out->top_ids[i] = top[i].id;
                out->top_logprobs[i] = logprob(top[i].logit, log_total);
        }
}

/* ---- rows ---- */

static size_t scratch_size(uint32_t n_vocab) {
        return (size_t)n_vocab * (sizeof(Candidate) + sizeof(uint32_t) + sizeof(float));
}

static void sample_row(const Sample *a, uint32_t i, const CpuPart *part) {
        uint32_t row = (uint32_t)a->index[i];
        float *logits = a->logits + (size_t)i * a->n_vocab;
        int32_t *token = cpu_token(&a->rows, row);
        Draw d = {
                .params = &a->params[i],
                .kernels = part->kernels,
                .n_vocab = a->n_vocab,
                .position = a->rows.position[row],
                .tokens = token - a->rows.position[row],
                .logits = logits,
                .candidates = (Candidate *)part->scratch,
                .counts = (uint32_t *)(part->scratch + a->n_vocab * sizeof(Candidate)),
                .work = (float *)(part->scratch + a->n_vocab * (sizeof(Candidate) + sizeof(uint32_t))),
        };
        for (uint32_t j = 0; j < a->n_vocab; j++)
                logits[j] = tame(logits[j]);
        SampleOut *out = &a->out[i];
        *out = (SampleOut){.id = choose(&d)};
        for (int j = 0; j < SAMPLE_TOP_MAX; j++)
                out->top_ids[j] = -1;
        if (d.params->n_top >= 0)
                report_logprobs(&d, out);
        if ((uint32_t)d.position + 1 < a->rows.context)
                __atomic_store_n(&token[1], out->id, __ATOMIC_RELAXED); /* see token_at() */
}

static void sample_run(const void *args, const CpuPart *part) {
        const Sample *a = args;
        for (uint32_t i = part->index; i < a->n; i += part->n)
                sample_row(a, i, part);
}

/* A row is done by one thread. */
static uint64_t sample_work(const void *args) {
        const Sample *a = args;
        return a->n > 1 ? (uint64_t)a->n * a->n_vocab * 32 : 0;
}

void cpu_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                const Rows *rows, const SampleParams *params) {
        Sample *a = stream_op(s, sample_run, sample_work, sizeof(Sample) + n * sizeof(SampleParams),
                              scratch_size(n_vocab));
        if (!a)
                return;
        *a = (Sample){.out = out, .logits = logits, .n = n, .n_vocab = n_vocab, .index = index, .rows = *rows};
        memcpy(a->params, params, n * sizeof(SampleParams));
}
