/* Curves as SVG: where points lie, which ticks there are, and that no name can break the XML. That the whole is
 * well-formed XML is tested with a parser, in test-cli.py. */
#include "unit.h"

#include "cli/plot.c"

static const double x[] = {1, 2, 4, 8};

static char *draw(const double *y, const char *title) {
        Buf b = BUF_NULL;
        Plot p = {.title = title, .subtitle = "s", .x_label = "clients", .x = x, .n = 4,
                  .panels = {{"per second", {{"measured", y, false}}}}};
        plot_svg(&p, &b);
        return buf_take(&b);
}

static void test_points(void **state) {
        const double y[] = {10, 20, 30, 40};
        char *svg = draw(y, "t");
        /* x: 102 … 758, a third for each doubling; y: 0 … 40 on 346 … 86. */
        assert_non_null(strstr(svg, "d=\"M102.0 281.0L320.7 216.0L539.3 151.0L758.0 86.0\""));
        free(svg);
}

static void test_gaps(void **state) {
        const double y[] = {10, NAN, 30, 40};
        char *svg = draw(y, "t");
        assert_non_null(strstr(svg, "d=\"M102.0 281.0M539.3 151.0L758.0 86.0\""));
        free(svg);
}

static void test_logarithmic(void **state) {
        const double y[] = {1, 10, 100, 1000};
        char *svg = draw(y, "t");
        assert_non_null(strstr(svg, "d=\"M102.0 346.0L320.7 259.3L539.3 172.7L758.0 86.0\""));
        assert_non_null(strstr(svg, ">500</text>"));
        free(svg);
}

static void test_text(void **state) {
        const double y[] = {1, 1, 1, 1};
        char *svg = draw(y, "<a href=\"x\">&\x1b größer");
        assert_non_null(strstr(svg, ">&#60;a href=&#34;x&#34;&#62;&#38;? größer</text>"));
        free(svg);
        svg = draw(y, "half\xc3");
        assert_non_null(strstr(svg, ">half?</text>"));
        free(svg);
}

static void test_ticks(void **state) {
        assert_float_equal(round_tick(0.3, true), 0.5, 1e-12);
        assert_float_equal(round_tick(0.3, false), 0.2, 1e-12);
        assert_float_equal(round_tick(20, true), 20, 1e-12);
        assert_float_equal(round_tick(20, false), 20, 1e-12);
        assert_float_equal(round_tick(6, true), 10, 1e-12);
        assert_float_equal(round_tick(1000, true), 1000, 1e-9);
        char text[32];
        format_tick(text, sizeof(text), 16000);
        assert_string_equal(text, "16k");
        format_tick(text, sizeof(text), 2.5e6);
        assert_string_equal(text, "2.5M");
        format_tick(text, sizeof(text), 0.05);
        assert_string_equal(text, "0.05");
}

/* One stage, nothing measured: still a picture. */
static void test_little(void **state) {
        const double one = 64, none = NAN, *ys[] = {&one, &none};
        for (int i = 0; i < 2; i++) {
                Buf b = BUF_NULL;
                Plot p = {.title = "t", .subtitle = "", .x_label = "", .x = &one, .n = 1,
                          .panels = {{"y", {{"measured", ys[i], false}}}}};
                plot_svg(&p, &b);
                assert_null(strstr(b.data, "nan"));
                assert_null(strstr(b.data, "inf"));
                assert_non_null(strstr(b.data, "</svg>"));
                buf_deinit(&b);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_points), cmocka_unit_test(test_gaps),  cmocka_unit_test(test_logarithmic),
                cmocka_unit_test(test_text),   cmocka_unit_test(test_ticks), cmocka_unit_test(test_little),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
