/* Choosing the next tokens. What is done, in which order, is said in src/device/cpu/sample.c; here is how a block does
 * it for one row after another.
 *
 * Order. Every token has a rank: 64 bits made of its logit, mapped to an integer that grows with it, and of its id, so
 * that greater ranks come first in descending order and ties go to lower ids. No two ranks are equal. What top_k, top_p
 * and min_p leave are the tokens whose rank is at least some bound, so each of them only raises the bound.
 *
 * Search. The k-th token, the one at which a share of the mass is reached, and the one that is drawn are all the same
 * question: at which token, going down the ranks, do the weights add up to a goal? It is answered without sorting,
 * eight bits of the rank at a time: the weights are summed by the value of the next eight bits, and the search goes on
 * among the tokens of the value in which the goal lies, until one is left. Where neither top_k nor top_p asks for the
 * order of logits, the draw goes by ids: the same search, with the id for a rank.
 *
 * Mass. A weight is e^x as a multiple of 2^-40, an integer. Integers add up to the same in any order, so atomic
 * additions by all threads at once leave no bit to chance; 2^20 tokens have a sum below 2^60. What is less than 2^-40
 * of the most probable token is 0. */
#include <errno.h>

#include "cuda/kernel.h"

enum { SAMPLE_THREADS = 512, SAMPLE_WARPS = 16, DIGITS = 256, DIGIT_BITS = 8 };

#define MASS_ONE 0x1p40f
#define LOGIT_MAX 3.402823466e+38f
#define FACTOR_MIN 1.175494351e-38f
#define LOGPROB_MIN (-9999.0f)

typedef unsigned long long Mass; /* what atomicAdd() knows */

typedef struct SampleArgs {
        SampleOut *out;
        float *logits;
        uint32_t n, n_vocab;
        const int32_t *index;
        Rows rows;
        const SampleParams *params; /* dev [n] */
        float *work;                /* dev [blocks, n_vocab] */
        uint32_t *counts;           /* dev [blocks, n_vocab] */
} SampleArgs;

typedef struct SampleShared {
        Mass sums[DIGITS];
        uint32_t counts[DIGITS];
        Mass goal, prefix;
        uint32_t left;
        Mass ranks[SAMPLE_WARPS];
        double totals[SAMPLE_WARPS];
        Mass mass;
} SampleShared;

/* One row being sampled. */
typedef struct Draw {
        SampleShared *shared;
        const SampleParams *params;
        uint32_t n_vocab;
        uint32_t position;
        const int32_t *tokens; /* of the sequence; position + 1 of them */
        const float *logits;   /* unmodified but for NaN and infinity */
        const float *work;     /* modified, or the same */
        Mass bound;            /* ranks below it are out */
        float top;
} Draw;

DEVICE float tame(float x) {
        return isnan(x) ? -INFINITY : fminf(x, LOGIT_MAX);
}

/* ---- ranks ---- */

DEVICE uint32_t ordered(float x) {
        uint32_t u = bits_of(x == 0 ? 0.0f : x); /* -0 equals 0 */
        return u & 0x80000000 ? ~u : u | 0x80000000;
}

DEVICE Mass rank_of(float logit, uint32_t id) {
        return (Mass)ordered(logit) << 32 | (0xffffffff - id);
}

DEVICE uint32_t rank_id(Mass rank) {
        return 0xffffffff - (uint32_t)rank;
}

DEVICE Mass greater(Mass a, Mass b) {
        return a > b ? a : b;
}

/* The greatest of all threads' ranks, in every thread. */
DEVICE Mass block_greatest(SampleShared *s, Mass rank) {
        UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                rank = greater(rank, __shfl_xor_sync(0xffffffff, rank, by));
        __syncthreads();
        if (threadIdx.x % WARP == 0)
                s->ranks[threadIdx.x / WARP] = rank;
        __syncthreads();
        for (int i = 0; i < SAMPLE_WARPS; i++)
                rank = greater(rank, s->ranks[i]);
        return rank;
}

/* The greatest rank below `limit`; 0 when there is none. */
DEVICE Mass greatest_below(SampleShared *s, const float *x, uint32_t n, Mass limit) {
        Mass best = 0;
        for (uint32_t i = threadIdx.x; i < n; i += SAMPLE_THREADS) {
                Mass rank = rank_of(x[i], i);
                if (rank < limit)
                        best = greater(best, rank);
        }
        return block_greatest(s, best);
}

/* ---- weights and the search ---- */

typedef enum Weight { COUNT, MASS } Weight;

/* MASS: e to the logit, less the greatest, times the factor. */
DEVICE Mass weight_of(const Draw *d, Weight kind, float factor, float logit) {
        return kind == COUNT ? 1 : (Mass)(expf((logit - d->top) * factor) * MASS_ONE);
}

DEVICE Mass total_mass(const Draw *d, float factor) {
        Mass sum = 0;
        __syncthreads();
        if (threadIdx.x == 0)
                d->shared->mass = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS)
                if (rank_of(d->work[i], i) >= d->bound)
                        sum += weight_of(d, MASS, factor, d->work[i]);
        atomicAdd(&d->shared->mass, sum);
        __syncthreads();
        return d->shared->mass;
}

/* Of the values of the digit, descending, the one in which the goal is reached; by one thread. */
DEVICE void choose_digit(SampleShared *s, int shift) {
        Mass goal = s->goal;
        uint32_t digit = DIGITS - 1;
        while (digit > 0 && s->sums[digit] < goal)
                goal -= s->sums[digit--];
        s->goal = goal;
        s->prefix |= (Mass)digit << shift;
        s->left = s->counts[digit];
}

/* The rank at which the weights of those within the bound, added up in descending order of rank (or ascending order of
 * id), reach `goal`, which is 1 or more and no more than there is. */
DEVICE Mass search(const Draw *d, Weight kind, float factor, bool by_id, Mass goal) {
        SampleShared *s = d->shared;
        Mass mask = 0;
        int shift = by_id ? 32 : 64;
        __syncthreads();
        if (threadIdx.x == 0) {
                s->goal = goal;
                s->prefix = 0;
                s->left = 2;
        }
        __syncthreads();
        while (shift > 0 && s->left > 1) {
                shift -= DIGIT_BITS;
                for (uint32_t i = threadIdx.x; i < DIGITS; i += SAMPLE_THREADS) {
                        s->sums[i] = 0;
                        s->counts[i] = 0;
                }
                __syncthreads();
                for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS) {
                        Mass rank = rank_of(d->work[i], i), by = by_id ? 0xffffffff - i : rank;
                        if (rank < d->bound || (by & mask) != s->prefix)
                                continue;
                        atomicAdd(&s->sums[by >> shift & (DIGITS - 1)], weight_of(d, kind, factor, d->work[i]));
                        atomicAdd(&s->counts[by >> shift & (DIGITS - 1)], 1u);
                }
                mask |= (Mass)(DIGITS - 1) << shift;
                __syncthreads();
                if (threadIdx.x == 0)
                        choose_digit(s, shift);
                __syncthreads();
        }
        Mass best = 0; /* the one that is left */
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS) {
                Mass rank = rank_of(d->work[i], i), by = by_id ? 0xffffffff - i : rank;
                if (rank >= d->bound && (by & mask) == s->prefix)
                        best = greater(best, rank);
        }
        return block_greatest(s, best);
}

/* ---- bias and penalties ---- */

/* Repeated ids are added in order, by the thread of the first. */
DEVICE void apply_bias(const SampleParams *p, float *work, uint32_t n_vocab) {
        for (int32_t i = (int32_t)threadIdx.x; i < p->n_bias; i += SAMPLE_THREADS) {
                uint32_t id = (uint32_t)p->bias_ids[i];
                bool first = id < n_vocab;
                for (int32_t j = 0; j < i && first; j++)
                        first = p->bias_ids[j] != p->bias_ids[i];
                for (int32_t j = i; j < p->n_bias && first; j++)
                        if (p->bias_ids[j] == p->bias_ids[i])
                                work[id] = tame(work[id] + p->bias[j]);
        }
        __syncthreads();
}

DEVICE bool has_penalties(const SampleParams *p) {
        return p->penalty_last != 0 &&
               (p->repeat_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0);
}

DEVICE float penalised(const SampleParams *p, float logit, uint32_t count) {
        logit = logit > 0 ? logit / p->repeat_penalty : logit * p->repeat_penalty;
        return tame(logit - p->frequency_penalty * (float)count - p->presence_penalty);
}

/* Counts every token that was seen; who takes a count away changes the logit. */
DEVICE void apply_penalties(const Draw *d, float *work, uint32_t *counts) {
        const SampleParams *p = d->params;
        uint32_t n = d->position + 1, last = (uint32_t)p->penalty_last;
        const int32_t *seen = d->tokens;
        if (p->penalty_last > 0 && last < n) {
                seen += n - last;
                n = last;
        }
        for (uint32_t i = threadIdx.x; i < n; i += SAMPLE_THREADS)
                if ((uint32_t)seen[i] < d->n_vocab)
                        counts[seen[i]] = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < n; i += SAMPLE_THREADS)
                if ((uint32_t)seen[i] < d->n_vocab)
                        atomicAdd(&counts[seen[i]], 1u);
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < n; i += SAMPLE_THREADS) {
                uint32_t id = (uint32_t)seen[i], count = id < d->n_vocab ? atomicExch(&counts[id], 0u) : 0;
                if (count > 0)
                        work[id] = penalised(p, work[id], count);
        }
        __syncthreads();
}

/* ---- what is allowed ---- */

DEVICE void apply_allowed(const SampleParams *p, float *work, uint32_t n_vocab) {
        for (uint32_t i = threadIdx.x; i < n_vocab; i += SAMPLE_THREADS)
                work[i] = p->allowed[i / 32] >> (i % 32) & 1 ? fmaxf(work[i], -LOGIT_MAX) : -INFINITY;
        __syncthreads();
}

/* ---- choosing ---- */

DEVICE void apply_top_p(Draw *d) {
        Mass total = total_mass(d, 1);
        double goal = ceil((double)d->params->top_p * (double)total);
        Mass whole = goal < 1 ? 1 : (Mass)goal;
        d->bound = search(d, MASS, 1, false, MIN(whole, total));
}

/* From the seed and the position alone; see src/device/cpu/sample.c. */
DEVICE uint64_t mix(uint64_t z) {
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
}

DEVICE double uniform(uint64_t seed, uint32_t position) {
        return (double)(mix(mix(seed) + ((uint64_t)position + 1) * 0x9e3779b97f4a7c15) >> 11) * 0x1p-53;
}

/* The first token at which the sum is greater than u times all. */
DEVICE uint32_t draw(const Draw *d, bool by_id) {
        float factor = fmaxf(fminf(1 / d->params->temperature, LOGIT_MAX), FACTOR_MIN);
        Mass total = total_mass(d, factor), goal = (Mass)(uniform(d->params->seed, d->position) * (double)total);
        return rank_id(search(d, MASS, factor, by_id, MIN(goal, total - 1) + 1));
}

DEVICE uint32_t choose(Draw *d) {
        const SampleParams *p = d->params;
        Mass greatest = greatest_below(d->shared, d->work, d->n_vocab, ~(Mass)0);
        d->top = d->work[rank_id(greatest)];
        bool sorted = false;
        if (d->top == -INFINITY || !(p->temperature > 0))
                return rank_id(greatest);
        if (p->top_k > 0 && (uint32_t)p->top_k < d->n_vocab) {
                d->bound = search(d, COUNT, 1, false, (Mass)p->top_k);
                sorted = true;
        }
        if (p->top_p < 1) {
                apply_top_p(d);
                sorted = true;
        }
        if (p->min_p > 0)
                d->bound = greater(d->bound, rank_of(d->top + logf(fminf(p->min_p, 1)), 0xffffffff));
        return draw(d, !sorted);
}

/* ---- log-probabilities ---- */

DEVICE float logprob(float logit, double log_total) {
        return (float)fmax((double)logit - log_total, (double)LOGPROB_MIN);
}

/* Each thread's share in ascending order, then by warps, then in order of warps. */
DEVICE double block_total(SampleShared *s, double v) {
        UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                v += __shfl_xor_sync(0xffffffff, v, by);
        __syncthreads();
        if (threadIdx.x % WARP == 0)
                s->totals[threadIdx.x / WARP] = v;
        __syncthreads();
        v = 0;
        for (int i = 0; i < SAMPLE_WARPS; i++)
                v += s->totals[i];
        return v;
}

DEVICE void report_logprobs(const Draw *d, SampleOut *out, uint32_t id) {
        uint32_t n_top = MIN((uint32_t)CLAMP(d->params->n_top, 0, SAMPLE_TOP_MAX), d->n_vocab);
        Mass rank = greatest_below(d->shared, d->logits, d->n_vocab, ~(Mass)0);
        float most = d->logits[rank_id(rank)];
        double total = 0;
        if (most == -INFINITY)
                most = 0;
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS)
                total += (double)expf(d->logits[i] - most);
        total = block_total(d->shared, total);
        double log_total = total > 0 ? most + log(total) : 0;
        if (threadIdx.x == 0)
                out->logprob = logprob(d->logits[id], log_total);
        for (uint32_t i = 0; i < n_top; i++) {
                if (threadIdx.x == 0) {
                        out->top_ids[i] = (int32_t)rank_id(rank);
                        out->top_logprobs[i] = logprob(d->logits[rank_id(rank)], log_total);
                }
                rank = greatest_below(d->shared, d->logits, d->n_vocab, rank);
        }
}

/* ---- rows ---- */

DEVICE void prepare(Draw *d, float *logits, float *work, uint32_t *counts) {
        bool changes = d->params->n_bias > 0 || has_penalties(d->params) || d->params->allowed;
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS) {
                logits[i] = tame(logits[i]);
                if (changes)
                        work[i] = logits[i];
        }
        __syncthreads();
        d->work = changes ? work : logits;
        if (changes)
                apply_bias(d->params, work, d->n_vocab);
        if (has_penalties(d->params))
                apply_penalties(d, work, counts);
        if (d->params->allowed)
                apply_allowed(d->params, work, d->n_vocab);
}

DEVICE void sample_row(const SampleArgs *a, uint32_t i) {
        uint32_t row = (uint32_t)a->index[i];
        float *logits = a->logits + (size_t)i * a->n_vocab;
        int32_t *token = row_token(&a->rows, row);
        Draw d = {(SampleShared *)shared_memory, &a->params[i], a->n_vocab, (uint32_t)a->rows.position[row],
                  token - a->rows.position[row], logits, NULL, 0, 0};
        SampleOut *out = &a->out[i];
        prepare(&d, logits, a->work + (size_t)blockIdx.x * a->n_vocab, a->counts + (size_t)blockIdx.x * a->n_vocab);
        uint32_t id = choose(&d);
        if (threadIdx.x == 0) {
                out->id = (int32_t)id;
                out->logprob = 0;
                for (int j = 0; j < SAMPLE_TOP_MAX; j++) {
                        out->top_ids[j] = -1;
                        out->top_logprobs[j] = 0;
                }
        }
        if (d.params->n_top >= 0)
                report_logprobs(&d, out, id);
        if (threadIdx.x == 0 && d.position + 1 < a->rows.context)
                token[1] = (int32_t)id;
}

KERNEL(sample, SampleArgs, SAMPLE_THREADS) {
        for (uint32_t i = blockIdx.x; i < a.n; i += gridDim.x) {
                sample_row(&a, i);
                __syncthreads();
        }
}

/* Blocks that have their own working copy and counts in the scratch. */
static uint32_t block_count(const Stream *s, uint32_t n, uint32_t n_vocab) {
        size_t fit = STREAM_SCRATCH / (n_vocab * (sizeof(float) + sizeof(uint32_t)));
        return (uint32_t)MIN(MIN((size_t)n, fit), (size_t)stream_processors(s));
}

/* Parameters go to the device a part at a time. */
HOST void cuda_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                      const Rows *rows, const SampleParams *params) {
        const StreamScratch *scratch = stream_scratch(s);
        uint32_t blocks = block_count(s, MIN(n, (uint32_t)STREAM_SAMPLES), n_vocab);
        if (n > 0 && blocks == 0)
                stream_fail(s, -ENOTSUP);
        for (uint32_t i = 0; i < n; i += STREAM_SAMPLES) {
                uint32_t some = MIN(n - i, (uint32_t)STREAM_SAMPLES);
                cuda_upload(s, scratch->params, params + i, some * sizeof(*params));
                SampleArgs a = {out + i, logits + (size_t)i * n_vocab, some, n_vocab, index + i, *rows,
                                scratch->params, (float *)scratch->any,
                                (uint32_t *)scratch->any + (size_t)blocks * n_vocab};
                StreamLaunch l = {(const void *)sample, {MIN(blocks, some), 1, 1}, SAMPLE_THREADS,
                                  sizeof(SampleShared)};
                stream_launch(s, &l, &a);
        }
}
