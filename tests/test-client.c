/* The client library against a scripted server: addresses, requests as they are sent, streams cut at every byte,
 * errors of every kind, retries, cancelling. */
#include "config.h"

#include "unit.h"

#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>

#include "client/zerollama.h"
#include "fake-server.h"
#include "util/str.h"

static ZlClient *connect_to(const Server *s) {
        ZlClient *c = NULL;
        assert_int_equal(zl_client_new(s->path, &c, NULL), 0);
        return c;
}

/* ---- Addresses ---- */

static void check_address(const char *text, const char *shown) {
        ZlClient *c = NULL;
        ZlError e;
        assert_int_equal(zl_client_new(text, &c, &e), 0);
        assert_string_equal(zl_client_address(c), shown);
        zl_client_free(c);
}

static void test_address(void **state) {
        check_address("/run/x.sock", "/run/x.sock");
        check_address("unix:/run/x.sock", "/run/x.sock");
        check_address("unix:///run/x.sock", "/run/x.sock");
        check_address("./x.sock", "./x.sock");
        check_address("http://localhost:8080/", "http://localhost:8080");
        check_address("localhost:8080", "http://localhost:8080");
        check_address("[::1]:8080", "http://[::1]:8080");
        setenv("ZEROLLAMA_HOST", "example.net:1234", 1);
        check_address(NULL, "http://example.net:1234");
        check_address("/other", "/other");
        unsetenv("ZEROLLAMA_HOST");

        const char *bad[] = {"localhost", "unix:", "ftp://x:1", ":80", "x:", "x:port"};
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                ZlClient *c = NULL;
                ZlError e;
                assert_int_equal(zl_client_new(bad[i], &c, &e), -EINVAL);
                assert_true(e.message[0]);
                assert_null(c);
        }
        char long_path[200] = "/";
        memset(long_path + 1, 'x', sizeof(long_path) - 2);
        assert_int_equal(zl_client_new(long_path, &(ZlClient *){NULL}, NULL), -EINVAL);
}

static void test_default_socket(void **state) {
        char dir[] = "/tmp/zl-test-run-XXXXXX", sub[64], path[96];
        assert_non_null(mkdtemp(dir));
        snprintf(sub, sizeof(sub), "%s/zerollama", dir);
        snprintf(path, sizeof(path), "%s/api.sock", sub);
        setenv("XDG_RUNTIME_DIR", dir, 1);
        if (access(RUNSTATEDIR "/zerollama/api.sock", F_OK) != 0) {
                check_address(NULL, RUNSTATEDIR "/zerollama/api.sock");
                assert_int_equal(mkdir(sub, 0700), 0);
                fclose(fopen(path, "w"));
                check_address(NULL, path);
                unlink(path);
                rmdir(sub);
        }
        rmdir(dir);
        unsetenv("XDG_RUNTIME_DIR");
}

/* ---- Streams ---- */

static const char stream[] =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Gr\xc3\xbc\xc3\x9f\"},\"done\":false}\n"
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\" dich\\n\\u0000!\"},\"done\":false}\r\n"
        "\n"
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\","
        "\"total_duration\":900,\"load_duration\":100,\"prompt_eval_count\":26,\"prompt_eval_duration\":300,"
        "\"prompt_cached_count\":16,\"eval_count\":3,\"eval_duration\":400}\n";
static const char answer[] = "Gr\xc3\xbc\xc3\x9f dich\n\0!";

typedef struct Heard {
        Buf text;
        unsigned pieces, done, cancel_after;
} Heard;

static int hear(void *userdata, const ZlPiece *piece) {
        Heard *h = userdata;
        buf_put(&h->text, piece->text, piece->len);
        h->pieces++;
        h->done += piece->done;
        json_t *root = json_loads(piece->json, JSON_ALLOW_NUL, NULL);
        assert_non_null(root);
        json_decref(root);
        return h->cancel_after && h->pieces >= h->cancel_after;
}

static int chat(ZlClient *c, Heard *h, ZlResult **ret, ZlError *e) {
        ZlMessage hello = {"user", "Hallo"};
        ZlRequest q = {.model = "m", .messages = &hello, .n_messages = 1, .piece = hear, .userdata = h};
        return zl_chat(c, &q, ret, e);
}

/* Chunks that end at two places of the stream: request number n at n and a bit later. */
static bool serve_cut(Server *s, int fd, const Request *q) {
        size_t n = strlen(s->script), a = q->number % n, b = MIN(a + 7, n);
        begin_chunks(fd);
        if (a > 0)
                send_chunk(fd, s->script, a);
        if (b > a)
                send_chunk(fd, (const char *)s->script + a, b - a);
        if (n > b)
                send_chunk(fd, (const char *)s->script + b, n - b);
        send_chunk(fd, "", 0);
        return true;
}

static void test_every_cut(void **state) {
        Server *s = server_start(serve_cut, stream);
        ZlClient *c = connect_to(s);
        for (size_t i = 0; i < strlen(stream); i++) {
                Heard h = {0};
                ZlResult *r = NULL;
                ZlError e;
                assert_int_equal(chat(c, &h, &r, &e), 0);
                assert_int_equal(h.pieces, 3);
                assert_int_equal(h.done, 1);
                assert_int_equal(h.text.len, sizeof(answer) - 1);
                assert_memory_equal(h.text.data, answer, sizeof(answer));
                assert_int_equal(r->len, sizeof(answer) - 1);
                assert_memory_equal(r->text, answer, sizeof(answer));
                zl_result_free(r);
                buf_deinit(&h.text);
        }
        assert_int_equal(s->n_connections, 1); /* kept alive */
        zl_client_free(c);
        server_stop(s);
}

static bool serve_stream(Server *s, int fd, const Request *q) {
        begin_chunks(fd);
        send_chunk(fd, s->script, strlen(s->script));
        send_chunk(fd, "", 0);
        return true;
}

static void test_result(void **state) {
        Server *s = server_start(serve_stream, stream);
        ZlClient *c = connect_to(s);
        Heard h = {0};
        ZlResult *r = NULL;
        assert_int_equal(chat(c, &h, &r, NULL), 0);
        assert_string_equal(r->finish_reason, "stop");
        assert_int_equal(r->prompt_tokens, 26);
        assert_int_equal(r->cached_tokens, 16);
        assert_int_equal(r->completion_tokens, 3);
        assert_int_equal(r->total_ns, 900);
        assert_int_equal(r->load_ns, 100);
        assert_int_equal(r->prompt_ns, 300);
        assert_int_equal(r->completion_ns, 400);
        assert_true(r->first_ns > 0);
        assert_non_null(strstr(r->json, "\"done\":true"));
        zl_result_free(r);
        buf_deinit(&h.text);
        zl_client_free(c);
        server_stop(s);
}

/* A broken answer must come back as `code`, with a message that has `word` in it. */
static void check_failure(Handler handler, const char *script, int code, const char *word) {
        Server *s = server_start(handler, script);
        ZlClient *c = connect_to(s);
        zl_client_set_retries(c, 0, 0);
        Heard h = {0};
        ZlResult *r = NULL;
        ZlError e;
        int got = chat(c, &h, &r, &e);
        if (got != code)
                print_error("%s: %s\n", script, e.message);
        assert_int_equal(got, code);
        assert_int_equal(e.code, code);
        assert_non_null(strstr(e.message, word));
        assert_null(r);
        buf_deinit(&h.text);
        zl_client_free(c);
        server_stop(s);
}

static bool serve_bytes(Server *s, int fd, const Request *q) {
        send_text(fd, s->script);
        return false;
}

static void test_broken(void **state) {
        check_failure(serve_bytes, "", -ECONNRESET, "ended before");
        check_failure(serve_bytes, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"message\":{\"content\":\"a\"}}\n",
                      -ECONNRESET, "ended before");
        check_failure(serve_bytes, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"m", -ECONNRESET,
                      "ended before");
        check_failure(serve_bytes, "SSH-2.0-x\r\n", -ECONNRESET, "ended before");
        check_failure(serve_stream, "{\"message\":{\"content\":\"a\"},\"done\":false}\n", -ECONNRESET, "ended before");
        check_failure(serve_stream, "", -ECONNRESET, "ended before");
        check_failure(serve_stream, "<html>\n", -EPROTO, "not JSON");
        check_failure(serve_stream, "[1]\n", -EPROTO, "no object");
        check_failure(serve_stream, "{\"message\":{\"content\":\"\xff\"}}\n", -EPROTO, "not JSON");
        check_failure(serve_stream, "{\"message\":{\"content\":\"a\"}}\n{\"error\":\"the engine died\"}\n", -EREMOTEIO,
                      "the engine died");
        check_failure(serve_stream, "{\"error\":{\"message\":\"too hot\",\"type\":\"x\"}}", -EREMOTEIO, "too hot");
}

/* The stream with some bytes replaced, differently for each request. */
static bool serve_damaged(Server *s, int fd, const Request *q) {
        static const char damage[] = "\"\\{}[]:,\n0ue\xff"; /* and the 0 at its end */
        size_t n = strlen(s->script);
        char *copy = strdup(s->script);
        uint32_t random = q->number * 2654435761u + 1;
        for (unsigned i = 0; i <= q->number % 4; i++) {
                random = random * 1664525u + 1013904223u;
                copy[(random >> 8) % n] = damage[(random >> 28) % sizeof(damage)];
        }
        begin_chunks(fd);
        send_chunk(fd, copy, n);
        send_chunk(fd, "", 0);
        free(copy);
        return true;
}

static int ignore(void *userdata, const ZlPiece *piece) {
        assert_non_null(piece->text);
        return 0;
}

static void test_damaged(void **state) {
        Server *s = server_start(serve_damaged, stream);
        ZlClient *c = connect_to(s);
        unsigned failed = 0;
        for (int i = 0; i < 400; i++) {
                ZlResult *r = NULL;
                ZlError e;
                int got = zl_generate(c, &(ZlRequest){.model = "m", .prompt = "", .piece = ignore}, &r, &e);
                assert_true(got == 0 || got == -EPROTO || got == -ECONNRESET);
                assert_true((got == 0) == (r != NULL));
                assert_true(got == 0 || e.message[0]);
                failed += got < 0;
                zl_result_free(r);
        }
        assert_true(failed > 100 && failed < 400);
        zl_client_free(c);
        server_stop(s);
}

static bool serve_status(Server *s, int fd, const Request *q) {
        send_status(fd, s->script, "Retry-After: 7\r\n", "{\"error\":\"as the daemon says\"}");
        return true;
}

static bool serve_html(Server *s, int fd, const Request *q) {
        send_status(fd, s->script, "", "<h1>no</h1>");
        return true;
}

static void test_statuses(void **state) {
        check_failure(serve_status, "404 Not Found", -EREMOTEIO, "as the daemon says");
        check_failure(serve_status, "503 Busy", -EREMOTEIO, "as the daemon says");
        check_failure(serve_html, "502 Bad Gateway", -EREMOTEIO, "502");
        check_failure(serve_html, "302 Found", -EREMOTEIO, "302");

        Server *s = server_start(serve_status, "429 Too Many Requests");
        ZlClient *c = connect_to(s);
        zl_client_set_retries(c, 5, 1000); /* it asks for 7 s: longer than we would wait, so no retry */
        ZlError e;
        char *text = NULL;
        assert_int_equal(zl_status(c, &text, &e), -EREMOTEIO);
        assert_int_equal(e.status, 429);
        assert_int_equal(e.retry_after_ms, 7000);
        assert_int_equal(s->n_requests, 1);
        zl_client_free(c);
        server_stop(s);
}

static void test_unreachable(void **state) {
        ZlClient *c = NULL;
        ZlError e;
        assert_int_equal(zl_client_new("/nonexistent/api.sock", &c, NULL), 0);
        assert_int_equal(zl_load(c, "m", NULL, &e), -ENOTCONN);
        assert_int_equal(e.status, 0);
        assert_non_null(strstr(e.message, "cannot connect to /nonexistent/api.sock: No such file or directory"));
        assert_non_null(strstr(e.message, "is zerollamad running?"));
        zl_client_free(c);
}

/* ---- Retries, waiting, cancelling ---- */

static bool serve_busy_twice(Server *s, int fd, const Request *q) {
        if (q->number < 2)
                send_status(fd, q->number == 0 ? "429 Too Many Requests" : "503 Busy", s->script,
                            "{\"error\":\"busy\"}");
        else
                send_json(fd, "{\"models\":[]}");
        return true;
}

static int count_wait(void *userdata, uint64_t waited_ms) {
        ++*(unsigned *)userdata;
        return 0;
}

static void test_retry(void **state) {
        Server *s = server_start(serve_busy_twice, "Retry-After: 0\r\nretry-after-ms: 60\r\n");
        ZlClient *c = connect_to(s);
        ZlModels *models = NULL;
        unsigned waits = 0;
        uint64_t begin = now_usec();
        zl_client_set_wait(c, count_wait, 10, &waits);
        assert_int_equal(zl_models(c, &models, NULL), 0);
        assert_true(now_usec() - begin >= 2 * 60000);
        assert_true(waits > 0);
        assert_int_equal(s->n_requests, 3);
        assert_int_equal(models->n, 0);
        zl_models_free(models);
        zl_client_free(c);
        server_stop(s);
}

static void test_retries_are_bounded(void **state) {
        Server *s = server_start(serve_busy_twice, "retry-after-ms: 1\r\n");
        ZlClient *c = connect_to(s);
        ZlModels *models = NULL;
        ZlError e;
        zl_client_set_retries(c, 1, 1000);
        assert_int_equal(zl_models(c, &models, &e), -EREMOTEIO);
        assert_int_equal(e.status, 503);
        assert_int_equal(e.retry_after_ms, 1);
        assert_int_equal(s->n_requests, 2);
        zl_client_free(c);
        server_stop(s);
}

/* One piece, then silence until the client leaves. */
static bool serve_endless(Server *s, int fd, const Request *q) {
        const char *piece = s->script;
        begin_chunks(fd);
        if (*piece)
                send_chunk(fd, piece, strlen(piece));
        wait_for_hangup(s, fd);
        return false;
}

static void test_cancel_by_callback(void **state) {
        Server *s = server_start(serve_endless, "{\"message\":{\"content\":\"a\"},\"done\":false}\n");
        ZlClient *c = connect_to(s);
        Heard h = {.cancel_after = 1};
        ZlResult *r = NULL;
        ZlError e;
        assert_int_equal(chat(c, &h, &r, &e), -ECANCELED);
        wait_for_hangups(s, 1); /* the daemon hears of it without the client being freed */
        assert_int_equal(chat(c, &h, &r, &e), -ECANCELED);
        wait_for_hangups(s, 2);
        buf_deinit(&h.text);
        zl_client_free(c);
        server_stop(s);
}

static int cancel_wait(void *userdata, uint64_t waited_ms) {
        return waited_ms >= 20;
}

static void test_cancel_while_waiting(void **state) {
        Server *s = server_start(serve_endless, "");
        ZlClient *c = connect_to(s);
        ZlError e;
        zl_client_set_wait(c, cancel_wait, 5, NULL);
        assert_int_equal(zl_load(c, "m", NULL, &e), -ECANCELED);
        wait_for_hangups(s, 1);
        zl_client_free(c);
        server_stop(s);
}

static void *cancel_soon(void *userdata) {
        usleep(20000);
        zl_client_cancel(userdata);
        return NULL;
}

static void test_cancel_from_elsewhere(void **state) {
        Server *s = server_start(serve_endless, "");
        ZlClient *c = connect_to(s);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, c), 0);
        assert_int_equal(zl_load(c, "m", NULL, NULL), -ECANCELED);
        pthread_join(thread, NULL);
        wait_for_hangups(s, 1);
        assert_int_equal(zl_load(c, "m", NULL, NULL), -ECANCELED);
        assert_int_equal(s->n_requests, 1); /* the second was not sent */
        zl_client_resume(c);
        zl_client_set_timeout(c, 20);
        ZlError e;
        assert_int_equal(zl_load(c, "m", NULL, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.message, "did not answer"));
        zl_client_free(c);
        server_stop(s);
}

/* A daemon that does not keep the time it was given is not waited for much longer. */
static void test_request_timeout(void **state) {
        Server *s = server_start(serve_endless, "");
        ZlClient *c = connect_to(s);
        ZlResult *r = NULL;
        ZlError e;
        const ZlRequest q = {.model = "m", .prompt = "x", .timeout = &(double){0.05}};
        uint64_t begin = now_usec();
        assert_int_equal(zl_generate(c, &q, &r, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.message, "did not answer"));
        assert_true(now_usec() - begin >= 5000000);
        wait_for_hangups(s, 1);
        zl_client_free(c);
        server_stop(s);
}

/* ---- What is sent, and the smaller answers ---- */

static bool serve_script(Server *s, int fd, const Request *q) {
        send_json(fd, s->script);
        return true;
}

static void check_sent(Server *s, const char *line, const char *expected) {
        json_t *sent = s->last_body[0] ? json_loads(s->last_body, 0, NULL) : NULL;
        json_t *wanted = expected ? json_loads(expected, 0, NULL) : NULL;
        assert_memory_equal(s->last_head, line, strlen(line));
        if (expected && !json_equal(sent, wanted))
                fail_msg("sent %s, not %s", s->last_body, expected);
        assert_true(expected || !sent);
        json_decref(sent);
        json_decref(wanted);
}

static void test_requests(void **state) {
        Server *s = server_start(serve_script, "{\"response\":\"x\",\"done\":true,\"done_reason\":\"length\"}");
        ZlClient *c = connect_to(s);
        ZlResult *r = NULL;
        const char *stop[] = {"END", "\n", NULL};
        ZlRequest q = {.model = "m",
                       .prompt = "p",
                       .system = "s",
                       .raw = true,
                       .format = "{\"type\":\"object\"}",
                       .keep_alive = "10m",
                       .extra = "{\"think\":false}",
                       .timeout = &(double){2.5},
                       .priority = "batch",
                       .options = {.max_tokens = &(int64_t){5},
                                   .context = &(int64_t){4096},
                                   .seed = &(int64_t){-1},
                                   .top_k = &(int64_t){40},
                                   .temperature = &(double){0},
                                   .top_p = &(double){0.5},
                                   .min_p = &(double){0.25},
                                   .repeat_penalty = &(double){1.5},
                                   .presence_penalty = &(double){-1},
                                   .frequency_penalty = &(double){2},
                                   .stop = stop}};
        assert_int_equal(zl_generate(c, &q, &r, NULL), 0);
        assert_string_equal(r->text, "x");
        assert_string_equal(r->finish_reason, "length");
        zl_result_free(r);
        check_sent(s, "POST /api/generate HTTP/1.1\r\n",
                   "{\"model\":\"m\",\"prompt\":\"p\",\"system\":\"s\",\"raw\":true,\"format\":{\"type\":\"object\"},"
                   "\"keep_alive\":\"10m\",\"timeout\":2.5,\"priority\":\"batch\",\"think\":false,\"stream\":false,\"options\":{"
                   "\"num_predict\":5,\"num_ctx\":4096,"
                   "\"seed\":-1,\"top_k\":40,\"temperature\":0.0,\"top_p\":0.5,\"min_p\":0.25,\"repeat_penalty\":1.5,"
                   "\"presence_penalty\":-1.0,\"frequency_penalty\":2.0,\"stop\":[\"END\",\"\\n\"]}}");
        assert_null(strcasestr(s->last_head, "authorization"));

        Heard h = {0};
        assert_int_equal(chat(c, &h, &r, NULL), 0);
        buf_deinit(&h.text);
        zl_result_free(r);
        check_sent(s, "POST /api/chat HTTP/1.1\r\n",
                   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hallo\"}],\"stream\":true,"
                   "\"options\":{}}");
        assert_int_equal(zl_load(c, "m", "-1", NULL), 0);
        check_sent(s, "POST /api/generate",
                   "{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":-1,\"stream\":false,\"options\":{}}");
        assert_int_equal(zl_unload(c, "m", NULL), 0);
        check_sent(s, "POST /api/generate",
                   "{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":0,\"stream\":false,\"options\":{}}");
        char *text = NULL;
        assert_int_equal(zl_show(c, "m", &text, NULL), 0);
        assert_string_equal(text, s->script);
        free(text);
        check_sent(s, "POST /api/show", "{\"model\":\"m\"}");
        assert_int_equal(zl_tokenize(c, "m", "a b", 1, &text, NULL), 0);
        assert_string_equal(text, s->script);
        free(text);
        check_sent(s, "POST /tokenize", "{\"model\":\"m\",\"content\":\"a b\",\"with_pieces\":true}");
        assert_int_equal(zl_tokenize(c, "m", "\xff", 0, &text, NULL), -EINVAL);
        const double cool = 0.5;
        ZlMessage said = {"user", "Hallo"};
        ZlVariant v = {.name = "v", .from = "m", .system = "s", .messages = &said, .n_messages = 1, .extra = "{\"license\": \"l\"}",
                       .options = {.temperature = &cool, .stop = stop}};
        assert_int_equal(zl_create(c, &v, NULL, NULL), 0);
        check_sent(s, "POST /api/create HTTP/1.1\r\n",
                   "{\"model\":\"v\",\"from\":\"m\",\"stream\":false,\"system\":\"s\",\"license\":\"l\",\"messages\":[{\"role\":\"user\","
                   "\"content\":\"Hallo\"}],\"parameters\":{\"temperature\":0.5,\"stop\":[\"END\",\"\\n\"]}}");
        assert_int_equal(zl_create(c, &(ZlVariant){.name = "v"}, NULL, NULL), -EINVAL);
        assert_int_equal(zl_create(c, &(ZlVariant){.name = "v", .from = "\xff"}, NULL, NULL), -EINVAL);
        assert_int_equal(zl_create(c, &(ZlVariant){.name = "v", .from = "m", .extra = "1"}, NULL, NULL), -EINVAL);
        assert_int_equal(zl_delete(c, "v", &text, NULL), 0);
        assert_string_equal(text, s->script);
        free(text);
        check_sent(s, "DELETE /api/delete HTTP/1.1\r\n", "{\"model\":\"v\"}");
        assert_int_equal(zl_ctl(c, ZL_CTL_CHECK, NULL, NULL), 0);
        check_sent(s, "POST /zerollama/check", "{}");
        assert_int_equal(zl_ctl(c, ZL_CTL_RELOAD, NULL, NULL), 0);
        check_sent(s, "POST /zerollama/reload", "{}");
        assert_int_equal(zl_status(c, &text, NULL), 0);
        free(text);
        check_sent(s, "GET /zerollama/status", NULL);
        unsigned sent = s->n_requests;
        zl_client_cancel(c); /* nothing goes out any more, although the connection is there */
        assert_int_equal(zl_load(c, "m", NULL, NULL), -ECANCELED);
        zl_client_resume(c);
        assert_int_equal(zl_ctl(c, ZL_CTL_CHECK, NULL, NULL), 0);
        assert_int_equal(s->n_requests, sent + 1);
        zl_client_free(c);
        server_stop(s);
}

static void test_bad_requests(void **state) {
        Server *s = server_start(serve_script, "{}");
        ZlClient *c = connect_to(s);
        ZlResult *r = NULL;
        ZlError e;
        const ZlRequest bad[] = {
                {.model = NULL}, {.model = ""}, {.model = "m", .prompt = "\xff"}, {.model = "m", .format = "xml"},
                {.model = "m", .extra = "[]"}, {.model = "m", .extra = "{"}};
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(zl_generate(c, &bad[i], &r, &e), -EINVAL);
                assert_true(e.message[0]);
        }
        assert_int_equal(s->n_requests, 0);
        zl_client_free(c);
        server_stop(s);
}

static void test_models(void **state) {
        Server *s = server_start(
                serve_script,
                "{\"models\":[{\"name\":\"a:latest\",\"model\":\"a:latest\",\"size\":1000,\"details\":{"
                "\"family\":\"llama\",\"parameter_size\":\"1B\",\"quantization_level\":\"Q8_0\"},"
                "\"state\":\"loading\",\"progress\":0.5,\"slots\":4,\"running\":2,\"waiting\":1,\"pool\":\"p\","
                "\"device\":\"cuda:0\",\"context\":4096,\"size_vram\":900,\"users\":3,\"prompt_tokens\":90,"
                "\"cached_tokens\":30},{\"model\":\"b\",\"size\":-1,"
                "\"slots\":\"many\"}, 7]}\n");
        ZlClient *c = connect_to(s);
        ZlModels *l = NULL;
        assert_int_equal(zl_ps(c, &l, NULL), 0);
        assert_int_equal(l->n, 3);
        const ZlModel *a = &l->models[0], *b = &l->models[1];
        assert_string_equal(a->name, "a:latest");
        assert_string_equal(a->family, "llama");
        assert_string_equal(a->parameter_size, "1B");
        assert_string_equal(a->quantization, "Q8_0");
        assert_string_equal(a->state, "loading");
        assert_string_equal(a->device, "cuda:0");
        assert_true(a->progress == 0.5);
        assert_int_equal(a->size, 1000);
        assert_int_equal(a->size_vram, 900);
        assert_int_equal(a->context, 4096);
        assert_int_equal(a->slots * 100 + a->running * 10 + a->waiting, 421);
        assert_string_equal(b->name, "b");
        assert_int_equal(b->size, 0);
        assert_int_equal(b->slots, 0);
        assert_int_equal(l->models[0].users, 3);
        assert_int_equal(l->models[0].prompt_tokens, 90);
        assert_int_equal(l->models[0].cached_tokens, 30);
        assert_string_equal(b->family, "");
        assert_string_equal(l->models[2].name, "");
        zl_models_free(l);
        zl_client_free(c);
        server_stop(s);
}

/* ---- numbers ---- */

/* -1.5 and 0.25, then 3 and 4, as Python's base64 and struct write them. */
static const char embeddings[] =
        "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AADAvwAAgD4=\"},"
        "{\"object\":\"embedding\",\"index\":1,\"embedding\":\"AABAQAAAgEA=\"}],\"model\":\"m\","
        "\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}";

static void test_embed(void **state) {
        Server *s = server_start(serve_script, embeddings);
        ZlClient *c = connect_to(s);
        const char *inputs[] = {"one", "z\"wei"};
        ZlEmbedRequest q = {.model = "m", .inputs = inputs, .n_inputs = 2, .dimensions = 2, .truncate = true,
                            .timeout = &(double){2.5}, .priority = "batch", .extra = "{\"user\":\"u\"}"};
        ZlEmbeddings *a = NULL;
        assert_int_equal(zl_embed(c, &q, &a, NULL), 0);
        check_sent(s, "POST /v1/embeddings HTTP/1.1\r\n",
                   "{\"encoding_format\":\"base64\",\"dimensions\":2,\"truncate\":true,\"model\":\"m\",\"input\":[\"one\","
                   "\"z\\\"wei\"],\"timeout\":2.5,\"priority\":\"batch\",\"user\":\"u\"}");
        assert_true(a->n == 2 && a->dimensions == 2 && a->tokens == 7);
        assert_true(a->values[0] == -1.5f && a->values[1] == 0.25f && a->values[2] == 3 && a->values[3] == 4);
        zl_embeddings_free(a);
        zl_embeddings_free(NULL);
        ZlError e;
        assert_int_equal(zl_embed(c, &(ZlEmbedRequest){.inputs = inputs}, &a, &e), -EINVAL);
        assert_string_equal(e.message, "the request names no model");
        inputs[0] = "\xff";
        assert_int_equal(zl_embed(c, &q, &a, &e), -EINVAL);
        zl_client_free(c);
        server_stop(s);
}

static void test_broken_embeddings(void **state) {
        static const char *const bodies[] = {
                "{\"data\":[{\"index\":0,\"embedding\":[1]}]}",
                "{\"data\":[{\"index\":0}]}",
                "{\"data\":[{\"index\":1,\"embedding\":\"AADAvw==\"}]}",
                "{\"data\":[{\"index\":0,\"embedding\":\"AADAv*==\"}]}",
                "{\"data\":[{\"index\":0,\"embedding\":\"AADAvwAA\"}]}",
                "{\"data\":[{\"index\":0,\"embedding\":\"AADAvw==\"},{\"index\":1,\"embedding\":\"AADAvwAAgD4=\"}]}",
                "[]",
        };
        const char *inputs[] = {"one"};
        ZlEmbedRequest q = {.model = "m", .inputs = inputs, .n_inputs = 1};
        for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
                Server *s = server_start(serve_script, bodies[i]);
                ZlClient *c = connect_to(s);
                ZlEmbeddings *a = NULL;
                assert_int_equal(zl_embed(c, &q, &a, NULL), -EPROTO);
                zl_client_free(c);
                server_stop(s);
        }
}

static void test_rerank(void **state) {
        static const char json[] = "{\"model\":\"m\",\"results\":[{\"index\":1,\"relevance_score\":0.75},{\"index\":0,"
                                   "\"relevance_score\":0}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}";
        Server *s = server_start(serve_script, json);
        ZlClient *c = connect_to(s);
        const char *documents[] = {"a", "b"};
        ZlRerankRequest q = {.model = "m", .query = "q", .documents = documents, .n_documents = 2, .top_n = 2, .raw_scores = true};
        ZlRanking *r = NULL;
        assert_int_equal(zl_rerank(c, &q, &r, NULL), 0);
        check_sent(s, "POST /v1/rerank HTTP/1.1\r\n",
                   "{\"query\":\"q\",\"top_n\":2,\"raw_scores\":true,\"model\":\"m\",\"documents\":[\"a\",\"b\"]}");
        assert_true(r->n == 2 && r->tokens == 9 && r->ranks[0].index == 1 && r->ranks[1].index == 0);
        assert_true(r->ranks[0].score == 0.75 && r->ranks[1].score == 0);
        assert_string_equal(r->json, json);
        zl_ranking_free(r);
        zl_ranking_free(NULL);
        ZlError e;
        ZlRerankRequest wrong = q;
        wrong.query = "\xff";
        assert_int_equal(zl_rerank(c, &wrong, &r, &e), -EINVAL);
        assert_non_null(strstr(e.message, "UTF-8"));
        zl_client_free(c);
        server_stop(s);
        s = server_start(serve_script, "{\"results\":[{\"index\":1}]}");
        c = connect_to(s);
        assert_int_equal(zl_rerank(c, &q, &r, NULL), -EPROTO);
        zl_client_free(c);
        server_stop(s);
}

static void test_version(void **state) {
        Server *s = server_start(serve_script, "{\"version\":\"1.2.3\"}");
        ZlClient *c = connect_to(s);
        char *version = NULL;
        assert_int_equal(zl_version(c, &version, NULL), 0);
        assert_string_equal(version, "1.2.3");
        free(version);
        zl_client_free(c);
        server_stop(s);
        assert_string_equal(zl_library_version(), PACKAGE_VERSION);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_address),
                                           cmocka_unit_test(test_default_socket),
                                           cmocka_unit_test(test_every_cut),
                                           cmocka_unit_test(test_result),
                                           cmocka_unit_test(test_broken),
                                           cmocka_unit_test(test_damaged),
                                           cmocka_unit_test(test_statuses),
                                           cmocka_unit_test(test_unreachable),
                                           cmocka_unit_test(test_retry),
                                           cmocka_unit_test(test_retries_are_bounded),
                                           cmocka_unit_test(test_cancel_by_callback),
                                           cmocka_unit_test(test_cancel_while_waiting),
                                           cmocka_unit_test(test_cancel_from_elsewhere),
                                           cmocka_unit_test(test_request_timeout),
                                           cmocka_unit_test(test_requests),
                                           cmocka_unit_test(test_bad_requests),
                                           cmocka_unit_test(test_models),
                                           cmocka_unit_test(test_embed),
                                           cmocka_unit_test(test_broken_embeddings),
                                           cmocka_unit_test(test_rerank),
                                           cmocka_unit_test(test_version)};
        unsetenv("ZEROLLAMA_HOST");
        unsetenv("ZEROLLAMA_API_KEY");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
