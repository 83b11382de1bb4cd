/* The load generator's HTTP reader: the shapes answers come in, cut at every byte, and what is no HTTP. */
#include "unit.h"

#include <errno.h>

#include "cli/http-answer.h"

#define STREAM                                                                                      \
        "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: application/x-ndjson\r\n"                    \
        "Transfer-Encoding: chunked\r\n\r\n"

#define FIRST "{\"model\":\"m\",\"response\":\"\\\"done\\\":true, \",\"done\":false}\n"
#define LAST "{\"model\":\"m\",\"response\":\"\",\"done\":true,\"prompt_eval_count\":7,\"eval_count\":42}\n"

static char *chunk(char *to, const char *text) {
        return to + sprintf(to, "%zx\r\n%s\r\n", strlen(text), text);
}

/* A whole answer of two chunks that do not end where lines do. */
static const char *stream(void) {
        static char text[1024];
        char both[512], half[512];
        snprintf(both, sizeof(both), "%s%s", FIRST, LAST);
        snprintf(half, sizeof(half), "%.20s", both);
        char *p = text + sprintf(text, "%s", STREAM);
        p = chunk(p, half);
        p = chunk(p, both + 20);
        sprintf(p, "0\r\n\r\n");
        return text;
}

static void test_cut_anywhere(void **state) {
        const char *text = stream();
        size_t n = strlen(text);
        for (size_t cut = 1; cut < n; cut++) {
                HttpAnswer a = {0};
                assert_int_equal(http_answer_feed(&a, text, cut), 0);
                assert_int_equal(http_answer_feed(&a, text + cut, n - cut), 1);
                assert_int_equal(a.status, 200);
                assert_true(a.has_text);
                assert_true(a.done);
                assert_int_equal(a.tokens, 42);
                assert_false(a.closes);
                http_answer_deinit(&a);
        }
}

static void test_byte_by_byte(void **state) {
        const char *text = stream();
        HttpAnswer a = {0};
        for (int round = 0; round < 3; round++) { /* memory is kept between answers */
                http_answer_reset(&a);
                for (size_t i = 0; text[i + 1]; i++)
                        assert_int_equal(http_answer_feed(&a, text + i, 1), 0);
                assert_int_equal(http_answer_feed(&a, text + strlen(text) - 1, 1), 1);
                assert_int_equal(a.tokens, 42);
        }
        http_answer_deinit(&a);
}

/* What the model writes is not what the daemon says: quotes in strings are escaped. */
static void test_members_in_text(void **state) {
        char text[1024];
        HttpAnswer a = {0};
        chunk(text + sprintf(text, "%s", STREAM), FIRST);
        assert_int_equal(http_answer_feed(&a, text, strlen(text)), 0);
        assert_true(a.has_text);
        assert_false(a.done);
        http_answer_deinit(&a);
}

static void test_first_text(void **state) {
        char text[1024];
        HttpAnswer a = {0};
        chunk(text + sprintf(text, "%s", STREAM), "{\"response\": \"\", \"done\": false}\n");
        assert_int_equal(http_answer_feed(&a, text, strlen(text)), 0);
        assert_false(a.has_text);
        chunk(text, "{\"response\": \"x\", \"done\": false}\n");
        assert_int_equal(http_answer_feed(&a, text, strlen(text)), 0);
        assert_true(a.has_text);
        http_answer_deinit(&a);
}

static void test_known_length(void **state) {
        static const char text[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 34\r\nRetry-After: 1\r\n"
                                   "Connection: close\r\n\r\n{\"error\":\"the \\\"queue\\\" is full\"}\n";
        HttpAnswer a = {0};
        assert_int_equal(http_answer_feed(&a, text, sizeof(text) - 1), 1);
        assert_int_equal(a.status, 503);
        assert_true(a.closes);
        assert_string_equal(a.error, "the \"queue\" is full");
        http_answer_deinit(&a);
}

static void test_until_the_end(void **state) {
        static const char text[] = "HTTP/1.0 200 OK\r\n\r\n{\"done\":true,\"eval_count\":3}";
        HttpAnswer a = {0};
        assert_int_equal(http_answer_feed(&a, text, sizeof(text) - 1), 0);
        assert_false(a.done);
        assert_int_equal(http_answer_eof(&a), 1);
        assert_true(a.done);
        assert_int_equal(a.tokens, 3);
        assert_true(a.closes);
        http_answer_deinit(&a);
}

static void test_cut_off(void **state) {
        const char *text = stream();
        HttpAnswer a = {0};
        assert_int_equal(http_answer_eof(&a), -ECONNRESET);
        assert_int_equal(http_answer_feed(&a, text, strlen(text) - 3), 0);
        assert_int_equal(http_answer_eof(&a), -ECONNRESET);
        http_answer_deinit(&a);
}

static void test_continue(void **state) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        HttpAnswer a = {0};
        assert_int_equal(http_answer_feed(&a, text, sizeof(text) - 1), 1);
        assert_int_equal(a.status, 204);
        http_answer_deinit(&a);
}

static void test_no_http(void **state) {
        static const char *const bad[] = {
                "SSH-2.0-OpenSSH_9.2\r\n",
                "HTTP/1.1 2x0 OK\r\n",
                "HTTP/2\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
                STREAM "xyz\r\n",
                STREAM "\r\n",
                STREAM "fffffffffffffffff\r\n",
                STREAM "2\r\nabc\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n",
        };
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                HttpAnswer a = {0};
                assert_int_equal(http_answer_feed(&a, bad[i], strlen(bad[i])), -EPROTO);
                http_answer_deinit(&a);
        }
}

/* Any byte may be any other: the answer is then another one, incomplete, or none, but reading it stays in bounds. */
static void test_corrupted(void **state) {
        static const char bytes[] = {0, '\n', '\r', '0', 'f', '"', ':', '{', -1};
        char text[1024];
        HttpAnswer a = {0};
        snprintf(text, sizeof(text), "%s", stream());
        size_t n = strlen(text);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < sizeof(bytes); k++) {
                        char was = text[i], *copy;
                        text[i] = bytes[k];
                        copy = memcpy(malloc(n), text, n); /* exactly as long as it is */
                        http_answer_reset(&a);
                        int r = http_answer_feed(&a, copy, n);
                        assert_true(r == 0 || r == 1 || r == -EPROTO);
                        free(copy);
                        text[i] = was;
                }
        http_answer_reset(&a);
        assert_int_equal(http_answer_feed(&a, text, n), 1);
        http_answer_deinit(&a);
}

static void test_endless_header(void **state) {
        static char text[32 << 10];
        HttpAnswer a = {0};
        memset(text, 'x', sizeof(text));
        memcpy(text, "HTTP/1.1 200 OK\r\n", 17);
        assert_int_equal(http_answer_feed(&a, text, sizeof(text)), -EPROTO);
        http_answer_deinit(&a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cut_anywhere),  cmocka_unit_test(test_byte_by_byte),
                cmocka_unit_test(test_members_in_text), cmocka_unit_test(test_first_text),
                cmocka_unit_test(test_known_length),  cmocka_unit_test(test_until_the_end),
                cmocka_unit_test(test_cut_off),       cmocka_unit_test(test_continue),
                cmocka_unit_test(test_no_http),       cmocka_unit_test(test_endless_header),
                cmocka_unit_test(test_corrupted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
