/* Sampling: each parameter by itself against an answer worked out by hand, distributions against probabilities that
 * are computed here in double precision from a full sort, the generator against published values. */
#include <float.h>

#include "cpu.h"

enum { VOCAB_MAX = 600, MANY = 20000 };

#define PLAIN                                                                                                  \
        (SampleParams) {                                                                                       \
                .temperature = 1, .top_p = 1, .repeat_penalty = 1, .n_top = -1, .seed = 42                     \
        }

/* One row of the step for each draw, at positions 0, 1, … of one sequence. */
typedef struct Draws {
        int32_t slot[MANY], position[MANY], index[MANY], tokens[MANY + 1];
        SampleParams params[MANY];
        SampleOut out[MANY];
} Draws;

static Draws *draws_new(void) {
        Draws *d = calloc(1, sizeof(*d));
        for (int i = 0; i < MANY; i++)
                d->position[i] = d->index[i] = i;
        return d;
}

/* Draws n times from the same logits, in steps of some rows. */
static void draw(Rig *r, Draws *d, const float *logits, uint32_t n_vocab, SampleParams p, int n) {
        enum { STEP = 50 };
        float *copies = malloc(STEP * n_vocab * sizeof(float));
        for (int i = 0; i < n; i += STEP) {
                uint32_t rows = (uint32_t)(n - i < STEP ? n - i : STEP);
                for (uint32_t j = 0; j < rows; j++) {
                        memcpy(copies + j * n_vocab, logits, n_vocab * sizeof(float));
                        d->params[j] = p;
                }
                r->ops->sample(r->stream, d->out + i, copies, rows, n_vocab, d->index,
                               &(Rows){rows, d->slot, d->position + i, d->tokens, MANY + 1}, d->params);
                memset(d->params, 0xff, sizeof(SampleParams) * rows); /* they were copied */
                rig_run(r);
        }
        free(copies);
}

/* One draw at `position` after the tokens given. */
static SampleOut draw_one(Rig *r, const float *logits, uint32_t n_vocab, SampleParams p, const int32_t *tokens,
                          int32_t position) {
        float *copy = malloc(n_vocab * sizeof(float));
        int32_t context[64], slot = 0, index = 0;
        SampleOut out;
        memset(context, 0xff, sizeof(context));
        memset(&out, 0xff, sizeof(out));
        memcpy(copy, logits, n_vocab * sizeof(float));
        if (tokens)
                memcpy(context, tokens, (size_t)(position + 1) * sizeof(int32_t));
        r->ops->sample(r->stream, &out, copy, 1, n_vocab, &index, &(Rows){1, &slot, &position, context, 64}, &p);
        rig_run(r);
        if (position < 63)
                assert_int_equal(context[position + 1], out.id);
        free(copy);
        return out;
}

static int32_t pick(Rig *r, const float *logits, uint32_t n_vocab, SampleParams p) {
        return draw_one(r, logits, n_vocab, p, NULL, 0).id;
}

static void greedy(Rig *r) {
        SampleParams p = PLAIN;
        p.temperature = 0;
        float ties[7] = {1, 3, 2, 3, -1, 3, 0};
        assert_int_equal(pick(r, ties, 7, p), 1);
        float odd[5] = {NAN, -INFINITY, -2, NAN, -3};
        assert_int_equal(pick(r, odd, 5, p), 2);
        float inf[4] = {0, NAN, INFINITY, INFINITY};
        assert_int_equal(pick(r, inf, 4, p), 2);
        float one[1] = {-7};
        assert_int_equal(pick(r, one, 1, p), 0);
}

static void test_greedy(void **state) {
        on_every_rig(greedy);
}

/* Whatever the logits, an id inside the vocabulary comes out. */
static void hostile(Rig *r) {
        float none[9], mixed[9] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0, NAN, INFINITY, 1};
        for (int i = 0; i < 9; i++)
                none[i] = i % 2 ? NAN : -INFINITY;
        for (int i = 0; i < 32; i++) {
                SampleParams p = PLAIN;
                p.temperature = i & 1 ? 1e-40f : INFINITY;
                p.top_k = i & 2 ? 3 : 0;
                p.top_p = i & 4 ? 0 : 1;
                p.min_p = i & 8 ? 2 : 0;
                p.repeat_penalty = i & 16 ? 0 : 1;
                p.penalty_last = -1;
                p.n_top = 20;
                SampleOut a = draw_one(r, none, 9, p, (int32_t[3]){5, -1, 100}, 2);
                assert_int_equal(a.id, 0);
                assert_true(a.logprob == -9999);
                SampleOut b = draw_one(r, mixed, 9, p, (int32_t[3]){5, -1, 100}, 2);
                assert_in_range(b.id, 0, 8);
                assert_true(isfinite(b.logprob));
                for (int j = 0; j < 9; j++)
                        assert_true(isfinite(b.top_logprobs[j]));
                assert_int_equal(b.top_ids[0], 1);
                assert_int_equal(b.top_ids[1], 3);
                assert_int_equal(b.top_ids[9], -1);
        }
}

static void test_hostile(void **state) {
        on_every_rig(hostile);
}

static void bias(Rig *r) {
        SampleParams p = PLAIN;
        int32_t ids[3] = {2, 0, 99};
        float by[3] = {-INFINITY, 1.5f, 7}, logits[4] = {1, 2, 9, 2.25f};
        p.temperature = 0;
        assert_int_equal(pick(r, logits, 4, p), 2);
        p.n_bias = 3;
        p.bias_ids = ids;
        p.bias = by;
        assert_int_equal(pick(r, logits, 4, p), 0);
        p.temperature = 100;
        for (p.seed = 0; p.seed < 200; p.seed++)
                assert_int_not_equal(pick(r, logits, 4, p), 2);
}

static void test_bias(void **state) {
        on_every_rig(bias);
}

/* Whatever else is asked for, and whatever the logits, no other is chosen. */
static void allowed(Rig *r) {
        enum { N = 70 };
        const uint32_t bits[3] = {1u << 7 | 1u << 31, 1u << 0, 1u << 1}; /* 7, 31, 32, 65 */
        float logits[N], none[N];
        int32_t ids[4] = {7, 31, 32, 65}, seen[N] = {0};
        float by[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
        for (int i = 0; i < N; i++) {
                logits[i] = i == 32 ? 1 : i == 65 ? 2 : i < 65 ? (float)i : NAN;
                none[i] = i % 2 ? -INFINITY : 5;
        }
        logits[7] = logits[31] = -50;
        for (int i = 0; i < 64; i++) {
                SampleParams p = PLAIN;
                p.temperature = (const float[4]){0, 1, 100, INFINITY}[i % 4];
                p.top_k = i & 4 ? 9 : 0;
                p.top_p = i & 8 ? 0.9f : 1;
                p.min_p = i & 16 ? 0.5f : 0;
                p.allowed = bits;
                int32_t id = pick(r, logits, N, p);
                assert_true(id == 65 || (i % 4 > 0 && (id == 32 || (i % 4 > 1 && (id == 7 || id == 31)))));
                p.n_bias = i & 32 ? 4 : 0; /* they forbid what alone is allowed */
                p.bias_ids = ids;
                p.bias = by;
                p.seed = (uint64_t)i;
                id = pick(r, p.n_bias > 0 ? logits : none, N, p);
                assert_true(id == 7 || id == 31 || id == 32 || id == 65);
                seen[id]++;
        }
        assert_true(seen[7] > 0 && seen[32] > 0);
        SampleParams p = PLAIN;
        p.temperature = 0;
        assert_int_equal(pick(r, logits, N, p), 64); /* all are */
}

static void test_allowed(void **state) {
        on_every_rig(allowed);
}

static int32_t penalised(Rig *r, const float *logits, float repeat, float presence, float frequency, int32_t last) {
        static const int32_t tokens[5] = {3, 1, 1, 0, 2};
        SampleParams p = PLAIN;
        p.temperature = 0;
        p.repeat_penalty = repeat;
        p.presence_penalty = presence;
        p.frequency_penalty = frequency;
        p.penalty_last = last;
        return draw_one(r, logits, 5, p, tokens, 3).id; /* sees 3 1 1 0, not 2 */
}

static void penalties(Rig *r) {
        float a[5] = {4, 6, 0, 5, 2.5f};
        assert_int_equal(penalised(r, a, 1, 0, 0, -1), 1);
        assert_int_equal(penalised(r, a, 2, 0, 0, 0), 1);     /* off */
        assert_int_equal(penalised(r, a, 2, 0, 0, 1), 1);     /* 2 6 0 5 2.5 */
        assert_int_equal(penalised(r, a, 2, 0, 0, 2), 3);     /* 2 3 0 5 2.5 */
        assert_int_equal(penalised(r, a, 2.5f, 0, 0, -1), 4); /* 1.6 2.4 0 2 2.5: once for both ones */
        assert_int_equal(penalised(r, a, 1, 0, 0.75f, -1), 1); /* 3.25 4.5 0 4.25 2.5 */
        assert_int_equal(penalised(r, a, 1, 0, 1.5f, -1), 3); /* 2.5 3 0 3.5 2.5 */
        assert_int_equal(penalised(r, a, 1, 0, 1.5f, 1), 1);  /* 2.5 6 0 5 2.5 */
        assert_int_equal(penalised(r, a, 1, 3, 0, -1), 1);    /* 1 3 0 2 2.5 */
        assert_int_equal(penalised(r, a, 1, 4, 0, 100), 4);   /* 0 2 0 1 2.5 */
        float below[5] = {-1, -1.5f, -4, -3, -1.75f};
        assert_int_equal(penalised(r, below, 1.6f, 0, 0, -1), 0);    /* -1.6 -2.4 -4 -4.8 -1.75 */
        assert_int_equal(penalised(r, below, 2, 0, 0, -1), 4);       /* -2 -3 -4 -6 -1.75 */
        assert_int_equal(penalised(r, below, 1, -1, 0, -1), 0);      /* 0 -0.5 -4 -2 -1.75 */
        assert_int_equal(penalised(r, below, 1, 0, -1, -1), 1);      /* 0 0.5 -4 -2 -1.75 */
}

static void test_penalties(void **state) {
        on_every_rig(penalties);
}

/* ---- distributions ---- */

static const float *sorted_logits;

static int descending(const void *a, const void *b) {
        int x = *(const int *)a, y = *(const int *)b;
        float d = sorted_logits[y] - sorted_logits[x];
        return d > 0 ? 1 : d < 0 ? -1 : x - y;
}

/* The definition: sort, cut, cut, cut, heat. */
static void probabilities(const float *logits, int n, const SampleParams *p, double *ret) {
        int order[VOCAB_MAX], left = n;
        double sum = 0, all = 0, cumulated = 0;
        sorted_logits = logits;
        for (int i = 0; i < n; i++)
                order[i] = i;
        qsort(order, (size_t)n, sizeof(int), descending);
        if (p->top_k > 0 && p->top_k < left)
                left = p->top_k;
        for (int i = 0; i < left; i++)
                all += exp(logits[order[i]]);
        for (int i = 0; i < left && p->top_p < 1; i++) {
                cumulated += exp(logits[order[i]]) / all;
                if (cumulated >= p->top_p)
                        left = i + 1;
        }
        while (left > 1 && exp(logits[order[left - 1]] - logits[order[0]]) < p->min_p)
                left--;
        memset(ret, 0, (size_t)n * sizeof(double));
        for (int i = 0; i < left; i++)
                sum += exp(logits[order[i]] / p->temperature);
        for (int i = 0; i < left; i++)
                ret[order[i]] = exp(logits[order[i]] / p->temperature) / sum;
}

/* Pearson's chi-square, rare outcomes pooled; beyond about five standard deviations it is no accident. */
static void check_counts(const int *counts, const double *want, int n_vocab, int n) {
        double chi = 0, rare_want = 0;
        int rare = 0, cells = 0;
        for (int i = 0; i < n_vocab; i++) {
                if (want[i] == 0)
                        assert_int_equal(counts[i], 0);
                if (want[i] * n < 8) {
                        rare += counts[i];
                        rare_want += want[i] * n;
                        continue;
                }
                chi += pow(counts[i] - want[i] * n, 2) / (want[i] * n);
                cells++;
        }
        if (rare_want >= 8) {
                chi += pow(rare - rare_want, 2) / rare_want;
                cells++;
        }
        double freedom = cells > 1 ? cells - 1 : 1;
        if (chi > freedom + 5 * sqrt(2 * freedom) + 5)
                fail_msg("chi-square %.1f with %.0f degrees of freedom", chi, freedom);
}

static void check_distribution(Rig *r, Draws *d, const float *logits, int n_vocab, SampleParams p) {
        int counts[VOCAB_MAX] = {0};
        double want[VOCAB_MAX];
        probabilities(logits, n_vocab, &p, want);
        draw(r, d, logits, (uint32_t)n_vocab, p, MANY);
        for (int i = 0; i < MANY; i++) {
                assert_in_range(d->out[i].id, 0, n_vocab - 1);
                assert_int_equal(d->tokens[i + 1], d->out[i].id);
                counts[d->out[i].id]++;
        }
        check_counts(counts, want, n_vocab, MANY);
}

static void test_distributions(void **state) {
        static const struct {
                float temperature, top_p, min_p;
                int32_t top_k;
                int n_vocab;
                float reach;
        } cases[] = {
                {1, 1, 0, 0, 20, 2},        {0.5f, 1, 0, 0, 20, 2},       {2, 1, 0, 0, 600, 3},
                {1, 1, 0, 5, 20, 2},        {1.5f, 1, 0, 40, 600, 3},     {1, 0.7f, 0, 0, 20, 2},
                {1, 0.95f, 0, 0, 600, 1},   {3, 0.5f, 0, 0, 600, 4},      {1, 1, 0.2f, 0, 20, 2},
                {2, 1, 0.1f, 0, 600, 3},    {0.8f, 0.9f, 0.05f, 30, 600, 4}, {1, 0, 0, 0, 20, 2},
                {1, 1, 1, 0, 20, 2},        {1, 0.999999f, 0, 0, 600, 1}, {0.7f, 0.8f, 0.3f, 0, 20, 1},
                {1, 1, 0, 1, 20, 2},        {1, 0.5f, 0, 1000, 20, 2},
        };
        Draws *d = draws_new();
        Rig r;
        assert_true(rig_init(&r, "generic", 2));
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                float *logits = random_floats((size_t)cases[i].n_vocab);
                for (int j = 0; j < cases[i].n_vocab; j++)
                        logits[j] *= cases[i].reach;
                SampleParams p = PLAIN;
                p.temperature = cases[i].temperature;
                p.top_p = cases[i].top_p;
                p.min_p = cases[i].min_p;
                p.top_k = cases[i].top_k;
                p.seed = i * 1000003;
                check_distribution(&r, d, logits, cases[i].n_vocab, p);
                free(logits);
        }
        rig_deinit(&r);
        free(d);
}

/* Which of the first eight tokens come up in many draws, as bits. */
static unsigned drawn(Rig *r, const float *logits, uint32_t n_vocab, SampleParams p) {
        unsigned seen = 0;
        for (p.seed = 0; p.seed < 300; p.seed++)
                seen |= 1u << pick(r, logits, n_vocab, p);
        return seen;
}

/* Sums and ratios that meet their bound exactly: "at least" is what both say. */
static void bounds(Rig *r) {
        float equal[4] = {0, 0, 0, 0}, two[3] = {1, 1, 0};
        SampleParams p = PLAIN;
        p.top_p = 0.5f;
        assert_int_equal(drawn(r, equal, 4, p), 3);
        p.top_k = 3; /* half of three is reached by two */
        assert_int_equal(drawn(r, equal, 4, p), 3);
        p = PLAIN;
        p.min_p = 1;
        assert_int_equal(drawn(r, two, 3, p), 3);
        p.top_k = 2;
        assert_int_equal(drawn(r, two, 3, p), 3);
}

static void test_bounds(void **state) {
        on_every_rig(bounds);
}

/* With seed 0 the generator's state begins at 0, and position p takes output p + 1 of SplitMix64, whose first outputs
 * for seed 0 are published. Of 256 equally probable tokens it chooses the one that its top byte names. */
static void generator(Rig *r) {
        static const uint64_t outputs[5] = {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f,
                                            0xf88bb8a8724c81ec, 0x1b39896a51a8749b};
        float logits[256] = {0};
        for (int32_t i = 0; i < 5; i++) {
                SampleParams p = PLAIN;
                p.seed = 0;
                assert_int_equal(draw_one(r, logits, 256, p, NULL, i).id, outputs[i] >> 56);
        }
}

static void test_generator(void **state) {
        on_every_rig(generator);
}

/* The same draw alone and among others; another one with another seed. */
static void repeatable(Rig *r) {
        enum { N = 40 };
        Draws *d = draws_new();
        float logits[100];
        int same = 0;
        for (int i = 0; i < 100; i++)
                logits[i] = random_float();
        draw(r, d, logits, 100, PLAIN, N);
        for (int i = 0; i < N; i++) {
                SampleParams p = PLAIN;
                assert_int_equal(draw_one(r, logits, 100, p, NULL, i).id, d->out[i].id);
                p.seed++;
                same += draw_one(r, logits, 100, p, NULL, i).id == d->out[i].id;
        }
        assert_true(same < N / 4);
        free(d);
}

static void test_repeatable(void **state) {
        on_every_rig(repeatable);
}

/* Rows of the step that are sampled in another order, each with its own parameters and context. */
static void rows(Rig *r) {
        enum { CONTEXT = 4 };
        int32_t slot[3] = {1, 0, 1}, position[3] = {2, 3, 0}, tokens[2 * CONTEXT], index[2] = {2, 1};
        float logits[2][3] = {{1, 5, 2}, {3, 0, 9}};
        SampleParams p[2] = {PLAIN, PLAIN};
        SampleOut out[2];
        for (int i = 0; i < 2 * CONTEXT; i++)
                tokens[i] = -7;
        p[0].temperature = p[1].temperature = 0;
        r->ops->sample(r->stream, out, logits[0], 2, 3, index, &(Rows){3, slot, position, tokens, CONTEXT}, p);
        rig_run(r);
        assert_int_equal(out[0].id, 1);
        assert_int_equal(out[1].id, 2);
        for (int i = 0; i < 2 * CONTEXT; i++) /* row 1 stands at the end of its context */
                assert_int_equal(tokens[i], i == CONTEXT + 1 ? 1 : -7);
}

static void test_rows(void **state) {
        on_every_rig(rows);
}

static void logprobs(Rig *r) {
        enum { N = 501 };
        float *logits = random_floats(N);
        int order[N];
        double sum = 0;
        SampleParams p = PLAIN;
        int32_t banned;
        for (int i = 0; i < N; i++) {
                logits[i] *= 12;
                order[i] = i;
        }
        logits[77] = logits[400]; /* a tie */
        for (int i = 0; i < N; i++)
                sum += exp(logits[i]);
        sorted_logits = logits;
        qsort(order, N, sizeof(int), descending);
        banned = order[0];
        p.n_bias = 1;
        p.bias_ids = &banned;
        p.bias = &(float){-INFINITY};
        p.temperature = 0;
        p.n_top = 20;
        SampleOut out = draw_one(r, logits, N, p, NULL, 0);
        assert_int_equal(out.id, order[1]); /* chosen by the modified logits, reported by the unmodified ones */
        assert_close(out.logprob, logits[order[1]] - log(sum), 1e-6);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(out.top_ids[i], order[i]);
                assert_close(out.top_logprobs[i], logits[order[i]] - log(sum), 2e-6);
        }
        p.n_top = 2;
        out = draw_one(r, logits, N, p, NULL, 0);
        assert_int_equal(out.top_ids[1], order[1]);
        assert_int_equal(out.top_ids[2], -1);
        free(logits);
}

static void test_logprobs(void **state) {
        on_every_rig(logprobs);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_greedy),    cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_bias),
                cmocka_unit_test(test_allowed),      cmocka_unit_test(test_penalties),
                cmocka_unit_test(test_generator), cmocka_unit_test(test_distributions),
                cmocka_unit_test(test_rows),      cmocka_unit_test(test_repeatable),
                cmocka_unit_test(test_logprobs),  cmocka_unit_test(test_bounds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
