/* Figures from samples whose figures are known. */
#include "unit.h"

#include <math.h>

#include "cli/load-summary.h"

#define MS UINT64_C(1000000)

static void test_percentiles(void **state) {
        double v[100];
        for (int i = 0; i < 100; i++)
                v[i] = i + 1;
        /* The nearest rank: of 1 … 100 the p-th percentile is p. */
        for (int p = 1; p <= 100; p++)
                assert_float_equal(percentile(v, 100, p / 100.0), p, 0);
        assert_float_equal(percentile(v, 100, 0), 1, 0);
        assert_float_equal(percentile(v, 5, 0.5), 3, 0);
        assert_float_equal(percentile(v, 4, 0.5), 2, 0);
        assert_float_equal(percentile(v, 4, 0.51), 3, 0);
        assert_float_equal(percentile(v, 1, 0.99), 1, 0);
        assert_true(isnan(percentile(v, 0, 0.5)));
}

/* One client, one request after the other: request i takes i + 1 ms and has 2 tokens. */
static LoadResult ramp(LoadSample *samples, size_t n) {
        uint64_t at = 0;
        for (size_t i = 0; i < n; i++) {
                samples[i] = (LoadSample){.due = at, .sent = at, .first = at + MS / 2, .end = at + (i + 1) * MS,
                                          .tokens = 2, .status = 200, .good = true};
                at = samples[i].end;
        }
        return (LoadResult){.samples = samples, .n = n, .ended = n, .elapsed_ns = at, .cpu_ns = n * 10000};
}

static void test_all(void **state) {
        LoadSample samples[9];
        LoadResult r = ramp(samples, 9);
        LoadSummary s;
        assert_int_equal(load_summarize(&r, 0, &s), 0);
        assert_int_equal(s.requests, 9);
        assert_int_equal(s.dropped, 0);
        assert_float_equal(s.seconds, 0.045, 1e-12); /* 1 + 2 + … + 9 ms */
        assert_float_equal(s.qps, 200, 1e-9);
        assert_float_equal(s.tokens_per_second, 400, 1e-9);
        assert_float_equal(s.mean, 0.005, 1e-12);
        assert_float_equal(s.p50, 0.005, 1e-12);
        assert_float_equal(s.p99, 0.009, 1e-12);
        assert_float_equal(s.max, 0.009, 1e-12);
        assert_float_equal(s.first_p50, 0.0005, 1e-12);
        assert_float_equal(s.cpu, 1e-5, 1e-15);
}

static void test_drop(void **state) {
        LoadSample samples[9];
        LoadResult r = ramp(samples, 9);
        LoadSummary s;
        assert_int_equal(load_summarize(&r, 3, &s), 0);
        assert_int_equal(s.requests, 3); /* those of 4, 5 and 6 ms */
        assert_int_equal(s.dropped, 6);
        assert_float_equal(s.seconds, 0.015, 1e-12);
        assert_float_equal(s.qps, 200, 1e-9);
        assert_float_equal(s.max, 0.006, 1e-12);
        assert_int_equal(load_summarize(&r, 4, &s), 0); /* too few would be left */
        assert_int_equal(s.requests, 9);
}

/* The order is that of the ends; the latency counts from when a request was due; failures are in no figure. */
static void test_order_and_failures(void **state) {
        LoadSample samples[] = {
                {.due = 0, .sent = 5 * MS, .end = 40 * MS, .tokens = 8, .good = true},
                {.due = 10 * MS, .sent = 10 * MS, .end = 20 * MS, .good = false},
                {.due = 10 * MS, .sent = 10 * MS, .end = 30 * MS, .tokens = 4, .good = true},
                {.due = 30 * MS, .sent = 30 * MS}, /* was cut short */
        };
        LoadResult r = {.samples = samples, .n = 4, .ended = 3, .failed = 1};
        LoadSummary s;
        assert_int_equal(load_summarize(&r, 0, &s), 0);
        assert_int_equal(s.requests, 2);
        assert_int_equal(s.errors, 1);
        assert_float_equal(s.seconds, 0.04, 1e-12);
        assert_float_equal(s.mean, 0.03, 1e-12);
        assert_float_equal(s.max, 0.04, 1e-12);
        assert_true(isnan(s.first_p50));
        assert_int_equal(load_summarize(&r, 1, &s), 0);
        assert_int_equal(s.requests, 1); /* the one that ended in the middle */
        assert_float_equal(s.mean, 0.02, 1e-12);
        assert_float_equal(s.seconds, 0.01, 1e-12);
}

static void test_nothing(void **state) {
        LoadResult r = {0};
        LoadSummary s;
        assert_int_equal(load_summarize(&r, 5, &s), 0);
        assert_int_equal(s.requests, 0);
        assert_true(isnan(s.qps));
        assert_true(isnan(s.mean));
}

/* The tables this kind of bench is known from: 128 slots of 0.1 s give 1280 requests per second at most. */
static void test_ideal(void **state) {
        assert_float_equal(ideal_qps(1, 0, 128, 0.1), 10, 1e-9);
        assert_float_equal(ideal_qps(64, 0, 128, 0.1), 640, 1e-9);
        assert_float_equal(ideal_qps(512, 0, 128, 0.1), 1280, 1e-9);
        assert_float_equal(ideal_latency(64, 0, 128, 0.1), 0.1, 1e-9);
        assert_float_equal(ideal_latency(512, 0, 128, 0.1), 0.4, 1e-9);
        assert_float_equal(ideal_qps(1024, 100, 128, 0.1), 100, 1e-9);
        assert_float_equal(ideal_qps(1024, 5000, 128, 0.1), 1280, 1e-9);
        assert_float_equal(ideal_latency(1024, 100, 128, 0.1), 0.1, 1e-9);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_percentiles),        cmocka_unit_test(test_all),
                cmocka_unit_test(test_drop),               cmocka_unit_test(test_order_and_failures),
                cmocka_unit_test(test_nothing),            cmocka_unit_test(test_ideal),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
