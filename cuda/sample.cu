/* Choosing the next tokens. What is done, in which order, is said in src/device/cpu/sample.c; here is how it is done. The
 * logits of a row are read as few times as can be: a vocabulary takes one block some microseconds each time.
 *
 * Order. Every token has a rank: 64 bits made of its logit, mapped to an integer that grows with it, and of its id, so
 * that greater ranks come first in descending order and ties go to lower ids. No two ranks are equal. What top_k, top_p
 * and min_p leave are the tokens whose rank is at least some bound.
 *
 * The greatest is found by many blocks for each row (greatest_parts); a greedy row needs no more. The rest is done by a
 * block for one row after another (sample).
 *
 * A list. What top_k and top_p leave are mostly some dozens of tokens: the logits are counted, or their weights summed, in
 * bins by how far they are below the greatest; the bins down to where the goal is reached are put into a list, and it is sorted
 * by rank. What follows, down to the draw, goes by the list.
 *
 * By ids. Where neither top_k nor top_p asks for the order of logits, the draw goes by ids: each thread has the sum of a
 * range of them, then those of the range in which the goal lies are dealt out again.
 *
 * Search. Where a list would be too long: the token at which, going down the ranks, weights add up to a goal is found
 * eight bits of the rank at a time: the weights are summed by the value of the next eight bits, and the search goes on
 * among the tokens of the value in which the goal lies, until one is left.
 *
 * Mass. A weight is e^x as a multiple of 2^-40, an integer. Integers add up to the same in any order, so atomic
 * additions by all threads at once leave no bit to chance; 2^20 tokens have a sum below 2^60. What is less than 2^-40
 * of the most probable token is 0. */
#include <errno.h>

#include "cuda/kernel.h"

enum {
        SAMPLE_THREADS = 512,
        SAMPLE_WARPS = SAMPLE_THREADS / WARP,
        DIGITS = 256, DIGIT_BITS = 8,
        BINS = 1024, BINS_OF_ONE = 32, /* of a difference of 1; the last is for what is far below and has no mass */
        LIST_MAX = 2048,
        AT_ONCE = 8, /* logits that a thread reads before it needs the first */
        SUM_GROUP = 16, SUM_GROUPS = SAMPLE_THREADS / SUM_GROUP,
        GREATEST_THREADS = 256,
        GREATEST_PART = GREATEST_THREADS * AT_ONCE * 2,
};

#define MASS_ONE 0x1p40f
#define LOGIT_MAX 3.402823466e+38f
#define FACTOR_MIN 1.175494351e-38f
#define LOGPROB_MIN (-9999.0f)

typedef unsigned long long Mass; /* what atomicAdd() knows */

typedef struct SampleArgs {
        SampleOut *out;
        const float *logits;
        uint32_t n, n_vocab;
        const int32_t *index;
        Rows rows;
        const SampleParams *params; /* dev [n] */
        Mass *greatest;             /* dev [n, n_parts]: of parts of a row's logits */
        float *work;                /* dev [blocks, n_vocab] */
        uint32_t *counts;           /* dev [blocks, n_vocab] */
        uint32_t n_parts;
} SampleArgs;

typedef struct SampleShared {
        Mass sums[SAMPLE_THREADS], groups[SUM_GROUPS]; /* see mass_before() */
        Mass bin_sums[BINS]; /* also of a search's digits */
        uint32_t bin_counts[BINS];
        Mass list[LIST_MAX]; /* ranks */
        uint32_t n_list;
        Mass goal, prefix, mass;
        uint32_t left, found;
        Mass ranks[SAMPLE_WARPS];
        double totals[SAMPLE_WARPS];
} SampleShared;

/* One row being sampled. */
typedef struct Draw {
        SampleShared *shared;
        const SampleParams *params;
        uint32_t n_vocab;
        uint32_t position;
        const int32_t *tokens; /* of the sequence; position + 1 of them */
        const float *logits;
        const float *work;     /* modified, or the same */
        Mass bound;            /* ranks below it are out */
        float top;
} Draw;

/* Logits are taken so wherever they are read. */
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

DEVICE float rank_logit(Mass rank) {
        uint32_t u = (uint32_t)(rank >> 32);
        return float_of(u & 0x80000000 ? u & 0x7fffffff : ~u);
}

/* The thread's next logits: every blockDim-th from `first` on. */
DEVICE void read_some(const float *x, uint32_t first, uint32_t n, uint32_t threads, float ret[AT_ONCE]) {
        UNROLL for (uint32_t j = 0; j < AT_ONCE; j++) {
                uint32_t i = first + j * threads;
                ret[j] = tame(i < n ? x[i] : -INFINITY);
        }
}

/* The greatest of all threads' ranks, in every thread. `ranks` is shared, one for each warp. */
DEVICE Mass block_greatest(Mass *ranks, uint32_t warps, Mass rank) {
        UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                rank = greater(rank, __shfl_xor_sync(0xffffffff, rank, by));
        __syncthreads();
        if (threadIdx.x % WARP == 0)
                ranks[threadIdx.x / WARP] = rank;
        __syncthreads();
        for (uint32_t i = 0; i < warps; i++)
                rank = greater(rank, ranks[i]);
        return rank;
}

/* The thread's greatest rank below `limit`, of the logits from `begin` on; 0 when there is none. */
DEVICE Mass own_greatest(const float *x, uint32_t begin, uint32_t n, uint32_t threads, Mass limit) {
        Mass best = 0;
        for (uint32_t first = begin + threadIdx.x; first < n; first += AT_ONCE * threads) {
                float v[AT_ONCE];
                read_some(x, first, n, threads, v);
                UNROLL for (uint32_t j = 0; j < AT_ONCE; j++) {
                        Mass rank = rank_of(v[j], first + j * threads);
                        if (rank < limit && first + j * threads < n)
                                best = greater(best, rank);
                }
        }
        return best;
}

DEVICE Mass greatest_below(SampleShared *s, const float *x, uint32_t n, Mass limit) {
        return block_greatest(s->ranks, SAMPLE_WARPS, own_greatest(x, 0, n, SAMPLE_THREADS, limit));
}

/* Of a part of a row. */
KERNEL(greatest_parts, SampleArgs, GREATEST_THREADS) {
        uint32_t begin = blockIdx.x * GREATEST_PART, end = MIN(a.n_vocab, begin + GREATEST_PART);
        Mass best = own_greatest(a.logits + (size_t)blockIdx.y * a.n_vocab, begin, end, GREATEST_THREADS, ~(Mass)0);
        best = block_greatest((Mass *)shared_memory, GREATEST_THREADS / WARP, best);
        if (threadIdx.x == 0)
                a.greatest[blockIdx.y * a.n_parts + blockIdx.x] = best;
}

/* ---- weights ---- */

typedef enum Weight { COUNT, MASS } Weight;

/* MASS: e to the logit, less the greatest, times the factor. */
DEVICE Mass weight_of(const Draw *d, Weight kind, float factor, float logit) {
        return kind == COUNT ? 1 : (Mass)(expf((logit - d->top) * factor) * MASS_ONE);
}

/* Of token i; 0 if it is out. */
DEVICE Mass weight_at(const Draw *d, Weight kind, float factor, uint32_t i) {
        float v = tame(d->work[i]);
        return rank_of(v, i) >= d->bound ? weight_of(d, kind, factor, v) : 0;
}

/* The sum of what the threads before this one have, and of what all have. */
DEVICE Mass mass_before(SampleShared *s, Mass mine, Mass *ret_all) {
        uint32_t group = threadIdx.x / SUM_GROUP;
        Mass before = 0, all = 0;
        __syncthreads();
        s->sums[threadIdx.x] = mine;
        __syncthreads();
        if (threadIdx.x < SUM_GROUPS) {
                Mass sum = 0;
                for (uint32_t i = 0; i < SUM_GROUP; i++)
                        sum += s->sums[threadIdx.x * SUM_GROUP + i];
                s->groups[threadIdx.x] = sum;
        }
        __syncthreads();
        for (uint32_t i = group * SUM_GROUP; i < threadIdx.x; i++)
                before += s->sums[i];
        for (uint32_t i = 0; i < SUM_GROUPS; i++) {
                before += i < group ? s->groups[i] : 0;
                all += s->groups[i];
        }
        *ret_all = all;
        return before;
}

/* ---- by ids ---- */

/* From the seed and the position alone; see src/device/cpu/sample.c. */
DEVICE uint64_t mix(uint64_t z) {
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
}

DEVICE double uniform(uint64_t seed, uint32_t position) {
        return (double)(mix(mix(seed) + ((uint64_t)position + 1) * 0x9e3779b97f4a7c15) >> 11) * 0x1p-53;
}

/* The first token at which the sum is greater than u times all: which sum that is. */
DEVICE Mass draw_goal(const Draw *d, Mass total) {
        Mass goal = (Mass)(uniform(d->params->seed, d->position) * (double)total);
        return MIN(goal, total - 1) + 1;
}

DEVICE float draw_factor(const Draw *d) {
        return fmaxf(fminf(1 / d->params->temperature, LOGIT_MAX), FACTOR_MIN);
}

/* The mass of a thread's range of ids, `each` of those from `first` to `end`. */
DEVICE Mass range_mass(const Draw *d, float factor, uint32_t first, uint32_t end, uint32_t each) {
        SampleShared *s = d->shared;
        uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        if (each == 1)
                return first + threadIdx.x < end ? weight_at(d, MASS, factor, first + threadIdx.x) : 0;
        __syncthreads();
        for (uint32_t k = warp * WARP; k < (warp + 1) * WARP; k++) { /* the warp sums up its threads' ranges together */
                uint32_t begin = first + k * each, stop = MIN(end, begin + each);
                Mass sum = 0;
                UNROLL4 for (uint32_t i = begin + lane; i < stop; i += WARP)
                        sum += weight_at(d, MASS, factor, i);
                UNROLL for (int by = WARP / 2; by > 0; by /= 2)
                        sum += __shfl_xor_sync(0xffffffff, sum, by);
                if (lane == 0)
                        s->sums[k] = sum;
        }
        __syncthreads();
        return s->sums[threadIdx.x];
}

DEVICE uint32_t draw_by_id(const Draw *d) {
        SampleShared *s = d->shared;
        float factor = draw_factor(d);
        uint32_t first = 0, end = d->n_vocab;
        Mass goal = 0;
        while (end - first > 1) {
                uint32_t each = ceil_div(end - first, SAMPLE_THREADS);
                Mass mine = range_mass(d, factor, first, end, each), all, before = mass_before(s, mine, &all);
                if (goal == 0)
                        goal = draw_goal(d, all);
                if (before < goal && goal <= before + mine) {
                        s->found = first + threadIdx.x * each;
                        s->goal = goal - before;
                }
                __syncthreads();
                first = s->found;
                end = MIN(end, first + each);
                goal = s->goal;
                __syncthreads();
        }
        return first;
}

/* ---- the list ---- */

DEVICE uint32_t bin_of(float top, float logit) {
        float below = (top - logit) * BINS_OF_ONE;
        return below < BINS - 1 ? (uint32_t)below : BINS - 1;
}

DEVICE void fill_bins(SampleShared *s, const Draw *d, const float *x, Weight kind) {
        uint32_t far = 0;
        for (uint32_t i = threadIdx.x; i < BINS; i += SAMPLE_THREADS) {
                s->bin_counts[i] = 0;
                s->bin_sums[i] = 0;
        }
        __syncthreads();
        for (uint32_t first = threadIdx.x; first < d->n_vocab; first += AT_ONCE * SAMPLE_THREADS) {
                float v[AT_ONCE];
                read_some(x, first, d->n_vocab, SAMPLE_THREADS, v);
                UNROLL for (int j = 0; j < AT_ONCE; j++) {
                        uint32_t bin = bin_of(d->top, v[j]);
                        if (bin == BINS - 1) { /* -infinity is nowhere */
                                far += v[j] > -INFINITY;
                                continue;
                        }
                        atomicAdd(&s->bin_counts[bin], 1u);
                        if (kind == MASS)
                                atomicAdd(&s->bin_sums[bin], weight_of(d, MASS, 1, v[j]));
                }
        }
        if (far > 0)
                atomicAdd(&s->bin_counts[BINS - 1], far);
        __syncthreads();
}

/* Descending: a bitonic network over the next power of two. */
DEVICE void sort_list(SampleShared *s) {
        uint32_t size = 2;
        while (size < s->n_list)
                size *= 2;
        for (uint32_t i = s->n_list + threadIdx.x; i < size; i += SAMPLE_THREADS)
                s->list[i] = 0;
        for (uint32_t run = 2; run <= size; run *= 2)
                for (uint32_t by = run / 2; by > 0; by /= 2) {
                        __syncthreads();
                        for (uint32_t k = threadIdx.x; k < size / 2; k += SAMPLE_THREADS) {
                                uint32_t i = k / by * 2 * by + k % by;
                                Mass a = s->list[i], b = s->list[i + by];
                                if ((a < b) == ((i & run) == 0)) {
                                        s->list[i] = b;
                                        s->list[i + by] = a;
                                }
                        }
                }
        __syncthreads();
}

/* The goal of top_p. */
DEVICE Mass share_goal(float p, Mass total) {
        double goal = ceil((double)p * (double)total);
        return MIN(goal < 1 ? 1 : (Mass)goal, total);
}

/* Puts the `count` first tokens, or those that have the share top_p of the mass, and some more, into the list, sorted; all
 * but those at -infinity where there are fewer. False where they are too many, or not all in the bins. */
DEVICE bool make_list(const Draw *d, const float *x, Weight kind, uint32_t count) {
        enum { EACH = BINS / SAMPLE_THREADS };
        SampleShared *s = d->shared;
        uint32_t own = threadIdx.x * EACH;
        Mass mine = 0, number = 0, all, before, n_before, n_all;
        fill_bins(s, d, x, kind);
        for (uint32_t i = own; i < MIN(own + EACH, (uint32_t)BINS - 1); i++) {
                mine += kind == COUNT ? s->bin_counts[i] : s->bin_sums[i];
                number += s->bin_counts[i];
        }
        n_before = mass_before(s, number, &n_all);
        before = mass_before(s, mine, &all);
        Mass goal = kind == COUNT ? count : share_goal(d->params->top_p, all);
        if (threadIdx.x == 0) {
                bool fewer = goal > all && s->bin_counts[BINS - 1] == 0;
                s->found = fewer ? BINS - 2 : BINS;
                s->left = (uint32_t)MIN(n_all, (Mass)LIST_MAX + 1);
                s->mass = all;
                s->n_list = 0;
        }
        __syncthreads();
        if (before < goal && goal <= before + mine) {
                s->found = MIN(own + EACH - 1, (uint32_t)BINS - 2);
                s->left = (uint32_t)MIN(n_before + number, (Mass)LIST_MAX + 1);
        }
        __syncthreads();
        uint32_t last = s->found, n = s->left;
        if (last == BINS || n > LIST_MAX)
                return false;
        for (uint32_t first = threadIdx.x; first < d->n_vocab; first += AT_ONCE * SAMPLE_THREADS) {
                float v[AT_ONCE];
                read_some(x, first, d->n_vocab, SAMPLE_THREADS, v);
                UNROLL for (uint32_t j = 0; j < AT_ONCE; j++)
                        if (bin_of(d->top, v[j]) <= last)
                                s->list[atomicAdd(&s->n_list, 1u)] = rank_of(v[j], first + j * SAMPLE_THREADS);
        }
        __syncthreads();
        sort_list(s);
        return true;
}

DEVICE Mass list_weight(const Draw *d, uint32_t n, float factor, uint32_t i) {
        return i < n ? weight_of(d, MASS, factor, rank_logit(d->shared->list[i])) : 0;
}

enum { LIST_EACH = LIST_MAX / SAMPLE_THREADS };

DEVICE Mass own_mass(const Draw *d, uint32_t n, float factor) {
        Mass sum = 0;
        UNROLL for (uint32_t i = 0; i < LIST_EACH; i++)
                sum += list_weight(d, n, factor, threadIdx.x * LIST_EACH + i);
        return sum;
}

/* The place of the list's first n at which their weights reach the goal. */
DEVICE uint32_t list_search(const Draw *d, uint32_t n, float factor, Mass goal) {
        SampleShared *s = d->shared;
        Mass mine = own_mass(d, n, factor), all, sum = mass_before(s, mine, &all);
        if (sum < goal && goal <= sum + mine) {
                uint32_t i = threadIdx.x * LIST_EACH;
                while ((sum += list_weight(d, n, factor, i)) < goal)
                        i++;
                s->found = i;
        }
        __syncthreads();
        return s->found;
}

DEVICE Mass list_mass(const Draw *d, uint32_t n, float factor) {
        Mass all;
        mass_before(d->shared, own_mass(d, n, factor), &all);
        return all;
}

/* How many of the list's first n have at least that rank. */
DEVICE uint32_t list_count(const Draw *d, uint32_t n, Mass rank) {
        Mass mine = 0, all;
        for (uint32_t i = threadIdx.x; i < n; i += SAMPLE_THREADS)
                mine += d->shared->list[i] >= rank;
        mass_before(d->shared, mine, &all);
        return (uint32_t)all;
}

/* ---- the search ---- */

DEVICE Mass total_mass(const Draw *d, float factor) {
        Mass sum = 0, all;
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS)
                sum += weight_at(d, MASS, factor, i);
        mass_before(d->shared, sum, &all);
        return all;
}

/* Of the values of the digit, descending, the one in which the goal is reached; by one thread. */
DEVICE void choose_digit(SampleShared *s, int shift) {
        Mass goal = s->goal;
        uint32_t digit = DIGITS - 1;
        while (digit > 0 && s->bin_sums[digit] < goal)
                goal -= s->bin_sums[digit--];
        s->goal = goal;
        s->prefix |= (Mass)digit << shift;
        s->left = s->bin_counts[digit];
}

/* The rank at which the weights of those within the bound, added up in descending order of rank, reach `goal`, which is
 * 1 or more and no more than there is. */
DEVICE Mass search(const Draw *d, Weight kind, float factor, Mass goal) {
        SampleShared *s = d->shared;
        Mass mask = 0;
        int shift = 64;
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
                        s->bin_sums[i] = 0;
                        s->bin_counts[i] = 0;
                }
                __syncthreads();
                for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS) {
                        float v = tame(d->work[i]);
                        Mass rank = rank_of(v, i);
                        if (rank < d->bound || (rank & mask) != s->prefix)
                                continue;
                        atomicAdd(&s->bin_sums[rank >> shift & (DIGITS - 1)], weight_of(d, kind, factor, v));
                        atomicAdd(&s->bin_counts[rank >> shift & (DIGITS - 1)], 1u);
                }
                mask |= (Mass)(DIGITS - 1) << shift;
                __syncthreads();
                if (threadIdx.x == 0)
                        choose_digit(s, shift);
                __syncthreads();
        }
        Mass best = 0; /* the one that is left */
        for (uint32_t i = threadIdx.x; i < d->n_vocab; i += SAMPLE_THREADS) {
                Mass rank = rank_of(tame(d->work[i]), i);
                if (rank >= d->bound && (rank & mask) == s->prefix)
                        best = greater(best, rank);
        }
        return block_greatest(s->ranks, SAMPLE_WARPS, best);
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

/* The least rank that min_p leaves. */
DEVICE Mass min_p_rank(const Draw *d) {
        float p = d->params->min_p;
        return p > 0 ? rank_of(d->top + logf(fminf(p, 1)), 0xffffffff) : 0;
}

/* By the list, in which are all that top_k or top_p leaves. */
DEVICE uint32_t choose_from_list(const Draw *d, bool has_k) {
        const SampleParams *p = d->params;
        float factor = draw_factor(d);
        Mass all = d->shared->mass;
        uint32_t n = has_k ? MIN((uint32_t)p->top_k, d->shared->n_list) : d->shared->n_list;
        if (p->top_p < 1)
                n = list_search(d, n, 1, share_goal(p->top_p, has_k ? list_mass(d, n, 1) : all)) + 1;
        n = list_count(d, n, min_p_rank(d));
        return rank_id(d->shared->list[list_search(d, n, factor, draw_goal(d, list_mass(d, n, factor)))]);
}

DEVICE uint32_t choose_by_search(Draw *d, bool has_k) {
        const SampleParams *p = d->params;
        float factor = draw_factor(d);
        if (has_k)
                d->bound = search(d, COUNT, 1, (Mass)p->top_k);
        if (p->top_p < 1)
                d->bound = search(d, MASS, 1, share_goal(p->top_p, total_mass(d, 1)));
        d->bound = greater(d->bound, min_p_rank(d));
        return rank_id(search(d, MASS, factor, draw_goal(d, total_mass(d, factor))));
}

/* `greatest`: of the ranks. */
DEVICE uint32_t choose(Draw *d, Mass greatest) {
        const SampleParams *p = d->params;
        bool has_k = p->top_k > 0 && (uint32_t)p->top_k < d->n_vocab;
        d->top = rank_logit(greatest);
        if (d->top == -INFINITY || !(p->temperature > 0))
                return rank_id(greatest);
        if (!has_k && !(p->top_p < 1)) {
                d->bound = min_p_rank(d);
                return draw_by_id(d);
        }
        if (make_list(d, d->work, has_k ? COUNT : MASS, (uint32_t)p->top_k))
                return choose_from_list(d, has_k);
        return choose_by_search(d, has_k);
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

/* The greatest of a row's logits as they came. */
DEVICE Mass row_greatest(const SampleArgs *a, SampleShared *s, uint32_t i) {
        Mass best = 0;
        for (uint32_t part = threadIdx.x; part < a->n_parts; part += SAMPLE_THREADS)
                best = greater(best, a->greatest[i * a->n_parts + part]);
        return block_greatest(s->ranks, SAMPLE_WARPS, best);
}

DEVICE double total_exp(const Draw *d, float most) {
        double total = 0;
        for (uint32_t first = threadIdx.x; first < d->n_vocab; first += AT_ONCE * SAMPLE_THREADS) {
                float v[AT_ONCE];
                read_some(d->logits, first, d->n_vocab, SAMPLE_THREADS, v);
                UNROLL for (int j = 0; j < AT_ONCE; j++)
                        total += (double)expf(v[j] - most);
        }
        return block_total(d->shared, total);
}

DEVICE void report_logprobs(Draw *d, Mass greatest, SampleOut *out, uint32_t id) {
        uint32_t n_top = MIN((uint32_t)CLAMP(d->params->n_top, 0, SAMPLE_TOP_MAX), d->n_vocab);
        float most = rank_logit(greatest);
        d->top = most;
        if (most == -INFINITY)
                most = 0;
        double total = total_exp(d, most), log_total = total > 0 ? most + log(total) : 0;
        bool listed = n_top > 1 && make_list(d, d->logits, COUNT, n_top) && d->shared->n_list >= n_top;
        Mass rank = greatest;
        if (threadIdx.x == 0)
                out->logprob = logprob(tame(d->logits[id]), log_total);
        for (uint32_t i = 0; i < n_top; i++) {
                if (listed)
                        rank = d->shared->list[i];
                if (threadIdx.x == 0) {
                        out->top_ids[i] = (int32_t)rank_id(rank);
                        out->top_logprobs[i] = logprob(rank_logit(rank), log_total);
                }
                if (!listed && i + 1 < n_top)
                        rank = greatest_below(d->shared, d->logits, d->n_vocab, rank);
        }
}

/* ---- rows ---- */

DEVICE bool is_changed(const SampleParams *p) {
        return p->n_bias > 0 || has_penalties(p) || p->allowed;
}

/* The logits with all that changes them, in `work`. */
DEVICE void change(const Draw *d, float *work, uint32_t *counts) {
        for (uint32_t first = threadIdx.x; first < d->n_vocab; first += AT_ONCE * SAMPLE_THREADS) {
                float v[AT_ONCE];
                read_some(d->logits, first, d->n_vocab, SAMPLE_THREADS, v);
                UNROLL for (uint32_t j = 0; j < AT_ONCE; j++)
                        if (first + j * SAMPLE_THREADS < d->n_vocab)
                                work[first + j * SAMPLE_THREADS] = v[j];
        }
        __syncthreads();
        apply_bias(d->params, work, d->n_vocab);
        if (has_penalties(d->params))
                apply_penalties(d, work, counts);
        if (d->params->allowed)
                apply_allowed(d->params, work, d->n_vocab);
}

DEVICE void sample_row(const SampleArgs *a, uint32_t i) {
        uint32_t row = (uint32_t)a->index[i];
        const float *logits = a->logits + (size_t)i * a->n_vocab;
        int32_t *token = row_token(&a->rows, row);
        Draw d = {(SampleShared *)shared_memory, &a->params[i], a->n_vocab, (uint32_t)a->rows.position[row],
                  token - a->rows.position[row], logits, logits, 0, 0};
        SampleOut *out = &a->out[i];
        Mass as_it_came = row_greatest(a, d.shared, i), greatest = as_it_came;
        if (is_changed(d.params)) {
                float *work = a->work + (size_t)blockIdx.x * a->n_vocab;
                change(&d, work, a->counts + (size_t)blockIdx.x * a->n_vocab);
                d.work = work;
                greatest = greatest_below(d.shared, work, d.n_vocab, ~(Mass)0);
        }
        uint32_t id = choose(&d, greatest);
        if (threadIdx.x == 0) {
                out->id = (int32_t)id;
                out->logprob = 0;
                for (int j = 0; j < SAMPLE_TOP_MAX; j++) {
                        out->top_ids[j] = -1;
                        out->top_logprobs[j] = 0;
                }
        }
        if (d.params->n_top >= 0)
                report_logprobs(&d, as_it_came, out, id);
        if (threadIdx.x == 0 && d.position + 1 < a->rows.context)
                token[1] = (int32_t)id;
}

KERNEL(sample, SampleArgs, SAMPLE_THREADS) {
        for (uint32_t i = blockIdx.x; i < a.n; i += gridDim.x) {
                sample_row(&a, i);
                __syncthreads();
        }
}

/* Blocks that have their own working copy and counts in the scratch, behind `taken` bytes of it. */
static uint32_t block_count(const Stream *s, uint32_t n, uint32_t n_vocab, size_t taken) {
        size_t fit = (STREAM_SCRATCH - taken) / (n_vocab * (sizeof(float) + sizeof(uint32_t)));
        return (uint32_t)MIN(MIN((size_t)n, fit), (size_t)stream_processors(s));
}

/* Parameters go to the device a part at a time. */
HOST void cuda_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                      const Rows *rows, const SampleParams *params) {
        const StreamScratch *scratch = stream_scratch(s);
        uint32_t most = MIN(n, (uint32_t)STREAM_SAMPLES), parts = ceil_div(n_vocab, GREATEST_PART);
        size_t taken = most * (size_t)parts * sizeof(Mass);
        if (n_vocab > VOCAB_MAX) {
                stream_fail(s, -ENOTSUP);
                return;
        }
        uint32_t blocks = block_count(s, most, n_vocab, taken);
        float *work = (float *)((char *)scratch->any + taken);
        for (uint32_t i = 0; i < n; i += most) {
                uint32_t some = MIN(n - i, most);
                cuda_upload(s, scratch->params, params + i, some * sizeof(*params));
                SampleArgs a = {out + i, logits + (size_t)i * n_vocab, some, n_vocab, index + i, *rows, scratch->params,
                                (Mass *)scratch->any, work, (uint32_t *)work + (size_t)blocks * n_vocab, parts};
                StreamLaunch greatest = {(const void *)greatest_parts, {parts, some, 1}, GREATEST_THREADS,
                                         GREATEST_THREADS / WARP * sizeof(Mass)};
                StreamLaunch l = {(const void *)sample, {MIN(blocks, some), 1, 1}, SAMPLE_THREADS,
                                  sizeof(SampleShared)};
                stream_launch(s, &greatest, &a);
                stream_launch(s, &l, &a);
        }
}
