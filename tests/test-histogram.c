/* The histogram's text: cumulative buckets, a sum in seconds, a count that equals the last bucket. */
#include "unit.h"
#include "daemon/histogram.h"

static void test_print(void **state) {
        (void)state;
        Histogram h = {0};
        Buf out = BUF_NULL;
        histogram_add(&h, 1000);      /* on a bound: le includes it */
        histogram_add(&h, 1001);
        histogram_add(&h, 700000);
        histogram_add(&h, 400000000); /* above all */
        histogram_print(&h, "x_seconds", "model=\"m\"", &out);
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"0.001\"} 1\n"));
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"0.0025\"} 2\n"));
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"0.5\"} 2\n"));
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"1\"} 3\n"));
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"300\"} 3\n"));
        assert_non_null(strstr(out.data, "x_seconds_bucket{model=\"m\",le=\"+Inf\"} 4\n"));
        assert_non_null(strstr(out.data, "x_seconds_sum{model=\"m\"} 400.702001\n"));
        assert_non_null(strstr(out.data, "x_seconds_count{model=\"m\"} 4\n"));
        buf_deinit(&out);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_print)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
