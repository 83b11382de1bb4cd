/* The load generator against a scripted server: how many requests it has running, when it sends them, what it does when
 * connections break. */
#include "config.h"

#include "unit.h"

#include <errno.h>
#include <stdatomic.h>

#include "cli/load.h"
#include "fake-server.h"

#define NSEC UINT64_C(1000000000)

static _Atomic unsigned inside, most;

static void send_answer(int fd) {
        begin_chunks(fd);
        const char *first = "{\"response\":\"a\",\"done\":false}\n", *last = "{\"done\":true,\"eval_count\":5}\n";
        send_chunk(fd, first, strlen(first));
        send_chunk(fd, last, strlen(last));
        send_text(fd, "0\r\n\r\n");
}

static bool serve_text(Server *s, int fd, const Request *q) {
        unsigned now = ++inside, seen = most;
        while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
                ;
        usleep(2000);
        inside--;
        send_answer(fd);
        return true;
}

static LoadResult run(Server *s, const LoadStage *stage, int expected) {
        Load *l = NULL;
        LoadResult r;
        Error e = ERROR_NULL;
        assert_int_equal(load_new(s->path, NULL, "/api/generate", "{\"prompt\":\"x\"}", &l, &e), 0);
        assert_int_equal(load_run(l, stage, &r, &e), expected);
        load_free(l);
        return r;
}

static void test_closed_loop(void **state) {
        Server *s = server_start(serve_text, NULL);
        inside = most = 0;
        LoadResult r = run(s, &(LoadStage){.clients = 4, .requests = 40}, 0);
        assert_int_equal(r.n, 40);
        assert_int_equal(r.ended, 40);
        assert_int_equal(r.failed, 0);
        assert_int_equal(s->n_requests, 40);
        assert_int_equal(s->n_connections, 4);
        assert_in_range(most, 2, 4);
        for (size_t i = 0; i < r.n; i++) {
                const LoadSample *x = &r.samples[i];
                assert_true(x->good);
                assert_int_equal(x->tokens, 5);
                assert_int_equal(x->status, 200);
                assert_int_equal(x->due, x->sent);
                assert_true(x->sent <= x->first && x->first <= x->end);
                assert_true(x->end - x->sent >= 2000000); /* the server slept so long */
        }
        assert_non_null(strstr(s->last_head, "POST /api/generate HTTP/1.1\r\n"));
        assert_string_equal(s->last_body, "{\"prompt\":\"x\"}");
        load_result_deinit(&r);
        server_stop(s);
}

/* Requests are due when the rate says so, although one client cannot keep up; they are late, and counted as late. */
static void test_fixed_rate(void **state) {
        Server *s = server_start(serve_text, NULL);
        LoadResult r = run(s, &(LoadStage){.clients = 1, .requests = 20, .rate = 2000}, 0);
        assert_int_equal(r.ended, 20);
        for (size_t i = 0; i < r.n; i++) {
                assert_int_equal(r.samples[i].due, i * 500000);
                assert_true(r.samples[i].sent >= r.samples[i].due);
        }
        assert_true(r.samples[19].sent >= 19 * UINT64_C(2000000)); /* after 19 answers of 2 ms */
        load_result_deinit(&r);
        server_stop(s);
}

static void test_rate_is_kept(void **state) {
        Server *s = server_start(serve_text, NULL);
        LoadResult r = run(s, &(LoadStage){.clients = 16, .duration_ns = NSEC / 5, .rate = 100}, 0);
        assert_int_equal(r.n, 20); /* 0, 10, … 190 ms */
        assert_true(r.samples[19].sent >= 190 * UINT64_C(1000000));
        load_result_deinit(&r);
        server_stop(s);
}

/* Every third answer is followed by the end of its connection, though it was said that it would be kept. */
static bool serve_and_leave(Server *s, int fd, const Request *q) {
        send_answer(fd);
        return q->number % 3 != 2;
}

static void test_kept_connections_break(void **state) {
        Server *s = server_start(serve_and_leave, NULL);
        LoadResult r = run(s, &(LoadStage){.clients = 2, .requests = 60}, 0);
        assert_int_equal(r.ended, 60);
        assert_int_equal(r.failed, 0);
        load_result_deinit(&r);
        server_stop(s);
}

/* Every third request meets a connection that ends just then; it is sent again, on a new one. */
static bool serve_or_leave(Server *s, int fd, const Request *q) {
        if (q->number % 3 == 2)
                return false;
        send_answer(fd);
        return true;
}

static void test_kept_connection_ends_at_once(void **state) {
        Server *s = server_start(serve_or_leave, NULL);
        LoadResult r = run(s, &(LoadStage){.clients = 1, .requests = 40}, 0);
        assert_int_equal(r.ended, 40);
        assert_int_equal(r.failed, 0);
        assert_int_equal(s->n_requests, 59); /* 2 of 3 are answered */
        load_result_deinit(&r);
        server_stop(s);
}

static bool serve_badly(Server *s, int fd, const Request *q) {
        switch (q->number % 4) {
        case 0:
                send_status(fd, "503 Service Unavailable", "Retry-After: 1\r\n", "{\"error\":\"the queue is full\"}");
                return true;
        case 1:
                send_text(fd, "what?\r\n");
                return true;
        case 2:
                begin_chunks(fd);
                return false;
        default:
                send_answer(fd);
                return true;
        }
}

static void test_failures(void **state) {
        Server *s = server_start(serve_badly, NULL);
        LoadResult r = run(s, &(LoadStage){.clients = 1, .requests = 40}, 0);
        assert_int_equal(r.ended, 40);
        assert_int_equal(r.failed, 30);
        assert_string_equal(r.error, "503: the queue is full");
        load_result_deinit(&r);
        server_stop(s);
}

static bool serve_nothing(Server *s, int fd, const Request *q) {
        wait_for_hangup(s, fd);
        return false;
}

static int cancel(void *userdata, const LoadStage *stage, const LoadResult *so_far) {
        return so_far->n == 3;
}

static void test_cancel(void **state) {
        Server *s = server_start(serve_nothing, NULL);
        Load *l = NULL;
        LoadResult r;
        assert_int_equal(load_new(s->path, NULL, "/", "{}", &l, NULL), 0);
        load_set_tick(l, cancel, NULL);
        assert_int_equal(load_run(l, &(LoadStage){.clients = 3, .requests = 9}, &r, NULL), -ECANCELED);
        assert_int_equal(r.n, 3);
        assert_int_equal(r.ended, 0);
        load_result_deinit(&r);
        load_free(l);
        server_stop(s);
}

static void test_silence(void **state) {
        Server *s = server_start(serve_nothing, NULL);
        Load *l = NULL;
        LoadResult r;
        Error e = ERROR_NULL;
        assert_int_equal(load_new(s->path, NULL, "/", "{}", &l, NULL), 0);
        load_set_patience(l, NSEC / 10);
        assert_int_equal(load_run(l, &(LoadStage){.clients = 2, .requests = 9}, &r, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.text, "2 requests"));
        load_result_deinit(&r);
        load_free(l);
        server_stop(s);
}

static void test_addresses(void **state) {
        Load *l = NULL;
        LoadResult r;
        Error e = ERROR_NULL;
        assert_int_equal(load_new("https://localhost", NULL, "/", "{}", &l, &e), -EINVAL);
        assert_int_equal(load_new("/nonexistent/socket", NULL, "/", "{}", &l, &e), 0);
        assert_int_equal(load_run(l, &(LoadStage){.clients = 1, .requests = 1}, &r, &e), -ENOTCONN);
        assert_non_null(strstr(e.text, "/nonexistent/socket: No such file"));
        load_result_deinit(&r);
        load_free(l);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_closed_loop),  cmocka_unit_test(test_fixed_rate),
                cmocka_unit_test(test_kept_connection_ends_at_once),
                cmocka_unit_test(test_rate_is_kept), cmocka_unit_test(test_kept_connections_break),
                cmocka_unit_test(test_failures),     cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_silence),      cmocka_unit_test(test_addresses),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
