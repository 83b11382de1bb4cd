/* JSON text written by hand on the hot path: it parses back to the same string, or to the same bits of a number, with an
 * independent parser, and whatever bytes come in, what goes out is valid JSON. And how inputs are read. */
#include <jansson.h>
#include <math.h>

#include "unit.h"
#include "api/api-private.h"
#include "util/str.h"

static json_t *round_trip(const char *data, size_t len) {
        Buf b = BUF_NULL;
        json_error_t e;
        json_put_string(&b, data, len);
        json_t *v = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
        if (!v)
                fail_msg("%s: %s", e.text, b.data);
        buf_deinit(&b);
        return v;
}

static void test_strings(void **state) {
        (void)state;
        static const char *const cases[] = {"", "plain", "\"quoted\" \\ back", "tab\tnewline\nreturn\r\b\f\x01\x1f\x7f", "h\xc3\xa9llo",
                                            "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x98\x80 smile", "</script>"};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                json_t *v = round_trip(cases[i], strlen(cases[i]));
                assert_string_equal(json_string_value(v), cases[i]);
                json_decref(v);
        }
        json_t *v = round_trip("a\0b", 3);
        assert_int_equal(json_string_length(v), 3);
        json_decref(v);
}

static void test_broken_utf8(void **state) {
        (void)state;
        json_t *v = round_trip("a\xff" "b\xc3", 4);
        assert_string_equal(json_string_value(v), "a\xef\xbf\xbd" "b\xef\xbf\xbd");
        json_decref(v);
        srand(7);
        for (int i = 0; i < 20000; i++) {
                char bytes[24];
                size_t n = (size_t)rand() % sizeof(bytes);
                for (size_t k = 0; k < n; k++)
                        bytes[k] = (char)rand();
                json_decref(round_trip(bytes, n));
        }
}

/* ---- numbers ---- */

static float read_number(float x) {
        Buf b = BUF_NULL;
        char *end;
        json_put_float(&b, x);
        json_t *v = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
        if (!json_is_number(v) || b.len > 20)
                fail_msg("%.9g became %s", (double)x, b.data);
        float y = strtof(b.data, &end);
        assert_true(*end == 0);
        json_decref(v);
        buf_deinit(&b);
        return y;
}

static void assert_number(float x, const char *text) {
        Buf b = BUF_NULL;
        json_put_float(&b, x);
        assert_string_equal(b.data, text);
        buf_deinit(&b);
}

/* Each reads back to the same bits: those near powers of ten and of two, and many at random. */
static void test_floats(void **state) {
        (void)state;
        union {
                uint32_t bits;
                float x;
        } u;
        srand(3);
        for (int i = 0; i < 1000000; i++) {
                u.bits = (uint32_t)rand() ^ (uint32_t)rand() << 16;
                if (i % 4) /* as embeddings are: from 2^-20 to 2^4 */
                        u.bits = (u.bits & 0x807fffff) | (uint32_t)(107 + rand() % 25) << 23;
                if (isfinite(u.x) && read_number(u.x) != u.x)
                        fail_msg("%.9g", (double)u.x);
        }
        for (float x = 1e-30f; x < 1e30f; x *= 10)
                for (int k = -3; k <= 3; k++) {
                        u.x = x;
                        u.bits += (uint32_t)k;
                        assert_true(read_number(u.x) == u.x && read_number(-u.x) == -u.x);
                }
        assert_number(0, "0");
        assert_number(1, "1");
        assert_number(-0.5f, "-0.5");
        assert_number(0.25f, "0.25");
        assert_number(1024, "1024");
        assert_number(-16777216, "-16777216");
        assert_number(1.5e-6f, "0.00000150000005"); /* the nearest float to it */
        assert_number(NAN, "null");
        assert_number(-INFINITY, "null");
}

static void test_lists(void **state) {
        (void)state;
        static const float values[] = {1, -2.5f, 0};
        Buf b = BUF_NULL;
        json_put_floats(&b, values, 3);
        assert_string_equal(b.data, "[1,-2.5,0]");
        buf_clear(&b);
        json_put_floats(&b, values, 0);
        assert_string_equal(b.data, "[]");
        static const struct {
                const char *data, *text;
        } cases[] = {/* RFC 4648, 10 */
                {"", "\"\""}, {"f", "\"Zg==\""}, {"fo", "\"Zm8=\""}, {"foo", "\"Zm9v\""}, {"foob", "\"Zm9vYg==\""},
                {"fooba", "\"Zm9vYmE=\""}, {"foobar", "\"Zm9vYmFy\""}, {"\xfb\xff\xbf", "\"+/+/\""}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                buf_clear(&b);
                json_put_base64(&b, cases[i].data, strlen(cases[i].data));
                assert_string_equal(b.data, cases[i].text);
        }
        buf_deinit(&b);
}

/* ---- inputs ---- */

/* As "kind:element|element". */
static void assert_inputs(const char *json, bool documents, const char *expected) {
        json_t *o = json_loads(json, 0, NULL);
        ApiError e = {0};
        Args a = {.object = o, .prefix = "", .error = &e};
        InputList *l = arg_inputs(&a, "input", documents);
        Buf b = BUF_NULL;
        if (!l) {
                assert_int_equal(e.status, 400);
                buf_puts(&b, e.text);
        } else {
                const int32_t *ids = l->counts + l->n;
                const char *text = (const char *)ids;
                size_t sum = 0;
                buf_puts(&b, l->is_ids ? "ids:" : "text:");
                for (uint32_t i = 0; i < l->n; i++) {
                        buf_puts(&b, i ? "|" : "");
                        for (int32_t k = 0; l->is_ids && k < l->counts[i]; k++)
                                buf_printf(&b, k ? ",%d" : "%d", *ids++);
                        if (!l->is_ids)
                                buf_put(&b, text, (size_t)l->counts[i]);
                        text += l->is_ids ? 0 : l->counts[i];
                        sum += (size_t)l->counts[i];
                }
                assert_int_equal(sum, l->size);
        }
        if (!strstr(b.data, expected) || (l && strcmp(b.data, expected) != 0))
                fail_msg("%s gave %s", json, b.data);
        buf_deinit(&b);
        free(l);
        json_decref(o);
}

static void test_inputs(void **state) {
        (void)state;
        assert_inputs("{\"input\": \"a text\"}", false, "text:a text");
        assert_inputs("{\"input\": [\"a\", \"\", \"ccc\"]}", false, "text:a||ccc");
        assert_inputs("{\"input\": []}", false, "text:");
        assert_inputs("{\"input\": [1, 2, 3]}", false, "ids:1,2,3");
        assert_inputs("{\"input\": [[1, 2], [], [3]]}", false, "ids:1,2||3");
        assert_inputs("{\"input\": [\"a\", {\"text\": \"b\", \"title\": 1}]}", true, "text:a|b");
        assert_inputs("{\"input\": [{\"text\": \"b\"}]}", false, "input: element 0 must be a text");
        assert_inputs("{\"input\": [\"a\", 1]}", false, "input: element 1 must be a text, as the first is");
        assert_inputs("{\"input\": [[1], \"a\"]}", false, "input: element 1 must be a list of token ids");
        assert_inputs("{\"input\": [1, \"a\"]}", false, "input: element 1 of input 0 is no token id");
        assert_inputs("{\"input\": [1, -1]}", false, "is no token id");
        assert_inputs("{\"input\": [[1, 3000000000]]}", false, "element 1 of input 0 is no token id");
        assert_inputs("{\"input\": {}}", false, "must be a text, a list of texts, or token ids");
        assert_inputs("{\"input\": \"a\"}", true, "must be a list of texts");
        assert_inputs("{\"input\": [{\"title\": 1}]}", true, "must be a text, or an object with a text");
        assert_inputs("{}", false, "input: is missing");
        Buf b = BUF_NULL;
        buf_puts(&b, "{\"input\": [\"\"");
        for (int i = 0; i < 65536; i++)
                buf_puts(&b, ",\"\"");
        buf_puts(&b, "]}");
        assert_inputs(b.data, false, "input: has 65537 elements; at most 65536");
        buf_deinit(&b);
}

/* ---- charges ---- */

/* What a tree held when it was whole; 0: there was no more to be had. */
static uint64_t charge_for(const char *json, uint64_t most, uint64_t others) {
        User u = {.held = others};
        Charge c = {.user = &u, .most = most};
        charge_enter(&c);
        json_t *v = json_loads(json, 0, NULL);
        char *text = v ? json_dumps(v, 0) : NULL;
        charge_leave(&c);
        uint64_t held = c.held;
        assert_true(c.left == 0 && u.held == others + held && (c.refused || (v && text)));
        assert_true(u.held <= MAX(most, others) + 4200); /* malloc() rounds up */
        if (c.refused)
                assert_int_equal(c.refused->status, others ? 429 : 413);
        json_decref(v);
        free(text);
        charge_end(&c);
        assert_int_equal(u.held, others);
        return c.refused ? 0 : held;
}

/* Wherever memory ends, nothing is left behind, and nothing is taken that the user may not hold. */
static void test_charges(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        buf_puts(&b, "{\"a\": [1.5, 2, \"text\\u00e9\", null, true], \"lists\": [[]");
        for (int i = 0; i < 2000; i++)
                buf_puts(&b, ",{}");
        buf_puts(&b, "]}");
        charge_init();
        uint64_t need = charge_for(b.data, 1 << 30, 0);
        assert_in_range(need, 2000 * 100, 2000 * 600);
        for (uint64_t most = 0; most < need; most += most < 4096 ? 16 : 4096)
                assert_int_equal(charge_for(b.data, most, 0), 0);
        assert_int_equal(charge_for(b.data, 2 * need, 2 * need - 50000), 0);
        assert_int_not_equal(charge_for(b.data, 4 * need, need), 0);
        assert_int_equal(charge_for("[]", 1000, 2000), 0); /* they hold more than they may, since a reload */
        buf_deinit(&b);
}

static void test_time(void **state) {
        (void)state;
        char text[64];
        format_time(text, sizeof(text), 1000000000123456);
        assert_string_equal(text, "2001-09-09T01:46:40.123456+00:00");
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_broken_utf8),
                                           cmocka_unit_test(test_floats), cmocka_unit_test(test_lists),
                                           cmocka_unit_test(test_inputs), cmocka_unit_test(test_charges), cmocka_unit_test(test_time)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
