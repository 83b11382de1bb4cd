/* Heads and chunk lines: what RFC 9112 allows is read as it says, all else is refused; nothing is read beyond the bytes
 * that came. Every text is parsed in a block of exactly its size, so that the address sanitizer sees a step too far. */
#include "unit.h"
#include "daemon/http-head.h"
#include "util/macro.h"

typedef struct Parsed {
        char *text;
        HttpHead head;
        unsigned status;
        const char *why;
} Parsed;

static Parsed parse_bytes(const char *text, size_t n) {
        Parsed p = {.text = malloc(n)};
        assert_non_null(p.text);
        memcpy(p.text, text, n);
        assert_int_equal(http_head_length(p.text, n), n);
        p.status = http_head_parse(p.text, n, &p.head, &p.why);
        return p;
}

static Parsed parse(const char *text) {
        return parse_bytes(text, strlen(text));
}

static void test_request(void **state) {
        (void)state;
        Parsed p = parse("POST /v1/models/a%2Fb%20c?x=%41 HTTP/1.1\r\nHost: localhost:11434\r\ncontent-length:\t42 \r\nX-Empty:\r\n"
                         "Authorization: Bearer k\xc3\xa9y\r\n\r\n");
        assert_int_equal(p.status, 0);
        assert_string_equal(p.head.method, "POST");
        assert_string_equal(p.head.path, "/v1/models/a/b c");
        assert_int_equal(p.head.length, 42);
        assert_true(p.head.http11 && p.head.keep_alive && !p.head.chunked && !p.head.expects_continue);
        assert_string_equal(http_head_field(&p.head, "HOST"), "localhost:11434");
        assert_string_equal(http_head_field(&p.head, "X-Empty"), "");
        assert_string_equal(http_head_field(&p.head, "authorization"), "Bearer k\xc3\xa9y");
        assert_null(http_head_field(&p.head, "42"));
        free(p.text);
}

static void test_targets(void **state) {
        (void)state;
        static const struct {
                const char *target, *path; /* path NULL: refused */
        } cases[] = {
                {"/", "/"}, {"/?", "/"}, {"/a?b?c", "/a"}, {"/%41%7a", "/Az"}, {"http://h:1/x", "/x"}, {"http://h:1", "/"},
                {"HTTP://H:1?q=/y", "/"}, {"http://h:1//h:1", "//h:1"}, {"http://", NULL}, {"http:///x", NULL}, {"http://h/", NULL},
                {"http://other/", NULL}, {"http://u@h:1/", NULL}, {"http://h\t:1/", NULL}, {"/%", NULL}, {"/%4", NULL}, {"/%4g", NULL}, {"/%00", NULL},
                {"x", NULL}, {"", NULL}, {"*", NULL}, {"/a#b", NULL}, {"/a?b#c", NULL}, {"/\xc0\xaf", NULL}, {"/a?\xff", NULL},
                {"https://host/", NULL}, {"host:443", NULL}, {"/\\", "/\\"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[256];
                snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: h:1\r\n\r\n", cases[i].target);
                Parsed p = parse(text);
                if (p.status != (cases[i].path ? 0 : 400))
                        fail_msg("%s: %u", cases[i].target, p.status);
                if (cases[i].path)
                        assert_string_equal(p.head.path, cases[i].path);
                free(p.text);
        }
}

static void test_persistence(void **state) {
        (void)state;
        static const struct {
                const char *version, *connection;
                bool keep;
        } cases[] = {
                {"1.1", "", true}, {"1.1", "Connection: close\r\n", false}, {"1.1", "Connection: Upgrade , CLOSE\r\n", false},
                {"1.1", "Connection: closed\r\n", true}, {"1.0", "", false}, {"1.0", "Connection: Keep-Alive\r\n", true},
                {"1.0", "Connection: keep-alive, close\r\n", false}, {"1.2", "", true},
                {"1.1", "Connection: close\r\nConnection: keep-alive\r\n", false}, {"1.1", "Connection: TE\r\nConnection: close\r\n", false},
                {"1.0", "Connection: close\r\nConnection: keep-alive\r\n", false}, {"1.0", "Connection: TE\r\nConnection: keep-alive\r\n", true},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[256];
                snprintf(text, sizeof(text), "GET / HTTP/%s\r\nHost: x\r\n%s\r\n", cases[i].version, cases[i].connection);
                Parsed p = parse(text);
                assert_int_equal(p.status, 0);
                if (p.head.keep_alive != cases[i].keep)
                        fail_msg("HTTP/%s %s", cases[i].version, cases[i].connection);
                free(p.text);
        }
}

static void test_lengths(void **state) {
        (void)state;
        static const struct {
                const char *field;
                uint64_t length;
        } cases[] = {
                {"0", 0}, {"007", 7}, {"9223372036854775806", HTTP_LENGTH_MAX}, {"18446744073709551616", HTTP_LENGTH_MAX},
                {"1000000000000000000000000000000", HTTP_LENGTH_MAX}, {"123456789012", 123456789012},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[256];
                snprintf(text, sizeof(text), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n", cases[i].field);
                Parsed p = parse(text);
                assert_int_equal(p.status, 0);
                assert_true(p.head.length == cases[i].length);
                free(p.text);
        }
}

static void test_refusals(void **state) {
        (void)state;
        static const struct {
                const char *text;
                unsigned status;
        } cases[] = {
                {"GET / HTTP/1.1\r\n\r\n", 400},                                     /* no Host */
                {"GET / HTTP/1.0\r\n\r\n", 0},
                {"GET http://a/ HTTP/1.0\r\n\r\n", 0},
                {"GET http://\xdc/ HTTP/1.0\r\n\r\n", 400},
                {"GET http:/// HTTP/1.0\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0},
                {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
                {"GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
                {"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400},
                {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
                {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
                {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
                {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
                {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
                {" / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
                {"GET /\r\nHost: a\r\n\r\n", 400},
                {"GET\r\n\r\n", 400},
                {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},                            /* bare LF, bare CR */
                {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},            /* folded */
                {"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xab: a\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 0},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", 501},
                {"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
                {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b" "chunked\r\n\r\n", 400},
                {"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
                {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Parsed p = parse(cases[i].text);
                if (p.status != cases[i].status)
                        fail_msg("%s: %u %s", cases[i].text, p.status, p.why);
                assert_true(!p.status == !p.why);
                free(p.text);
        }
        static const char nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
        Parsed p = parse_bytes(nul, sizeof(nul) - 1);
        assert_int_equal(p.status, 400);
        free(p.text);
}

static void test_ends(void **state) {
        (void)state;
        static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        for (size_t n = 0; n < sizeof(text) - 1; n++) {
                char *exact = n ? malloc(n) : NULL;
                if (n)
                        memcpy(exact, text, n);
                assert_int_equal(http_head_length(exact, n), n < sizeof(text) - 4 ? 0 : sizeof(text) - 4);
                free(exact);
        }
        assert_true(http_head_is_hopeless("\x16\x03\x01", 3));
        assert_false(http_head_is_hopeless("GE", 2));
        assert_false(http_head_is_hopeless("", 0));
}

static void test_chunk_lines(void **state) {
        (void)state;
        static const struct {
                const char *line;
                int length;
                uint64_t size;
        } cases[] = {
                {"0\r\n", 3, 0}, {"1aF\r\nrest", 5, 0x1af}, {"5;a=b\r\n", 7, 5}, {"00000005\r\n", 10, 5}, {"", 0, 0}, {"5", 0, 0},
                {"5\r", 0, 0}, {"7fffffffffffffff\r\n", 18, HTTP_LENGTH_MAX}, {"\r\n", -1, 0}, {"5\n", -1, 0}, {"5 \r\n", -1, 0},
                {" 5\r\n", -1, 0}, {"-1\r\n", -1, 0}, {"+1\r\n", -1, 0}, {"0x5\r\n", -1, 0}, {"1_0\r\n", -1, 0}, {"5;\r\n", -1, 0},
                {"5;a\rb\r\n", -1, 0}, {"5\rhello\r\n", -1, 0}, {"5;\n\r\n", -1, 0}, {"fffffffffffffffff\r\n", -1, 0}, {";a=b\r\n", -1, 0},
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = strlen(cases[i].line);
                char *exact = malloc(n + 1);
                uint64_t size = 0;
                memcpy(exact, cases[i].line, n + 1);
                int length = http_chunk_line(exact, n, &size);
                if (length != cases[i].length || (length > 0 && size != cases[i].size))
                        fail_msg("'%s': %d", cases[i].line, length);
                free(exact);
        }
        char endless[8192];
        memset(endless, '0', sizeof(endless));
        uint64_t size;
        assert_int_equal(http_chunk_line(endless, sizeof(endless), &size), -1);
        assert_int_equal(http_trailer_line("\r\n", 2), 2);
        assert_int_equal(http_trailer_line("X: y\r\n\r\n", 8), 6);
        assert_int_equal(http_trailer_line("X: \x01\r\n", 6), -1);
}

/* Whatever is done to a good head, what comes out of it is inside of it, and terminated. */
static void test_mutations(void **state) {
        (void)state;
        static const char good[] = "POST /a%20b?c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: keep-alive\r\nX: y\r\n\r\n";
        static const char odd[] = "\r\n\0: %/*\t,;\xff";
        unsigned seed = 20261125, taken = 0;
        for (int round = 0; round < 200000; round++) {
                size_t n = sizeof(good) - 1;
                char *text = malloc(n);
                memcpy(text, good, n);
                for (int k = rand_r(&seed) % 4; k >= 0; k--)
                        text[(unsigned)rand_r(&seed) % n] = rand_r(&seed) % 2 ? odd[(unsigned)rand_r(&seed) % (sizeof(odd) - 1)] : (char)rand_r(&seed);
                size_t len = http_head_length(text, n);
                HttpHead h;
                const char *why;
                if (len > 0 && http_head_parse(text, len, &h, &why) == 0) {
                        taken++;
                        assert_in_range((uintptr_t)h.path, (uintptr_t)text, (uintptr_t)text + len - 1);
                        assert_true(h.path + strlen(h.path) < text + len);
                        for (const char *s = h.fields; *s; s += strlen(s) + 1)
                                assert_in_range((uintptr_t)s, (uintptr_t)text, (uintptr_t)text + len - 1);
                        http_head_field(&h, "none");
                }
                free(text);
        }
        print_message("%u of 200000 mutated heads (seed 20261125) are still good ones\n", taken);
        assert_in_range(taken, 1, 199999);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request), cmocka_unit_test(test_targets), cmocka_unit_test(test_persistence),
                cmocka_unit_test(test_lengths), cmocka_unit_test(test_refusals), cmocka_unit_test(test_ends),
                cmocka_unit_test(test_chunk_lines), cmocka_unit_test(test_mutations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
