/* The map: every item comes back once, in order when asked, with a bounded number inside, and cancelling ends it. */
#include "config.h"

#include "unit.h"

#include <errno.h>

#include "client/zerollama.h"
#include "fake-server.h"

enum { N = 500, WORKERS = 4, WINDOW = 8 };

static _Atomic int inside;
static _Atomic bool overlapped, too_many;

/* The number of an item times what a server echoes of it. */
static void *square(ZlClient *client, void *item, void *userdata) {
        int now = ++inside;
        overlapped |= now > 1;
        too_many |= now > WORKERS;
        ZlResult *r = NULL;
        char prompt[16];
        intptr_t n = (intptr_t)item;
        snprintf(prompt, sizeof(prompt), "%d", (int)n);
        int rc = zl_generate(client, &(ZlRequest){.model = "m", .prompt = prompt}, &r, NULL);
        intptr_t result = rc < 0 ? rc : atoi(r->text) * n;
        zl_result_free(r);
        inside--;
        return (void *)result;
}

/* Echoes the prompt; every third answer comes late, so that order is not a matter of luck. */
static bool serve_echo(Server *s, int fd, const Request *q) {
        const char *p = strstr(q->body, "\"prompt\":");
        char body[64];
        if (q->number % 3 == 0)
                usleep(3000);
        snprintf(body, sizeof(body), "{\"response\":\"%d\",\"done\":true}", atoi(p + strcspn(p + 9, "0123456789") + 9));
        send_json(fd, body);
        return true;
}

static ZlMap *start(const Server *s, unsigned flags, ZlMapFn function, void *userdata) {
        ZlClient *c = NULL;
        ZlMap *m = NULL;
        assert_int_equal(zl_client_new(s->path, &c, NULL), 0);
        assert_int_equal(zl_map_new(c, WORKERS, WINDOW, flags, function, userdata, &m, NULL), 0);
        zl_client_free(c); /* it was only copied */
        return m;
}

static void check_item(const ZlMapItem *i, bool *seen) {
        intptr_t n = (intptr_t)i->item;
        assert_true(i->ran);
        assert_false(seen[n]);
        seen[n] = true;
        assert_int_equal((intptr_t)i->result, n * n);
}

static void run_in_one_thread(unsigned flags) {
        Server *s = server_start(serve_echo, NULL);
        ZlMap *m = start(s, flags, square, NULL);
        bool seen[N] = {false};
        ZlMapItem item;
        intptr_t last = -1;
        unsigned taken = 0, disorder = 0;
        overlapped = too_many = false;
        for (intptr_t n = 0; n <= N; n++) {
                while (n < N && zl_map_try_put(m, (void *)n) == -EAGAIN) {
                        assert_int_equal((int)n - (int)taken, WINDOW);
                        assert_int_equal(zl_map_next(m, &item), 1);
                        check_item(&item, seen);
                        taken++;
                        disorder += (intptr_t)item.item != last + 1;
                        last = (intptr_t)item.item;
                }
                if (n == N)
                        zl_map_finish(m);
        }
        assert_int_equal(zl_map_try_put(m, NULL), -EPIPE);
        while (zl_map_next(m, &item) > 0) {
                check_item(&item, seen);
                taken++;
                disorder += (intptr_t)item.item != last + 1;
                last = (intptr_t)item.item;
        }
        assert_int_equal(taken, N);
        assert_true(overlapped && !too_many);
        if (flags & ZL_MAP_ORDERED)
                assert_int_equal(disorder, 0);
        else
                assert_true(disorder > 0);
        zl_map_free(m);
        server_stop(s);
}

static void test_unordered(void **state) {
        run_in_one_thread(0);
}

static void test_ordered(void **state) {
        run_in_one_thread(ZL_MAP_ORDERED);
}

static void *put_all(void *userdata) {
        for (intptr_t n = 0; n < N; n++)
                if (zl_map_put(userdata, (void *)n) < 0)
                        return (void *)n;
        zl_map_finish(userdata);
        return (void *)(intptr_t)N;
}

static void test_two_threads(void **state) {
        Server *s = server_start(serve_echo, NULL);
        ZlMap *m = start(s, 0, square, NULL);
        bool seen[N] = {false};
        ZlMapItem item;
        pthread_t putter;
        unsigned taken = 0;
        assert_int_equal(pthread_create(&putter, NULL, put_all, m), 0);
        for (; zl_map_next(m, &item) > 0; taken++)
                check_item(&item, seen);
        assert_int_equal(taken, N);
        pthread_join(putter, NULL);
        zl_map_free(m);
        server_stop(s);
}

static void *wait_for_go(ZlClient *client, void *item, void *userdata) {
        while (!*(_Atomic bool *)userdata)
                usleep(1000);
        return item;
}

static void test_no_result_in_time(void **state) {
        Server *s = server_start(serve_echo, NULL);
        _Atomic bool go = false;
        ZlMap *m = start(s, 0, wait_for_go, &go);
        ZlMapItem item;
        assert_int_equal(zl_map_try_next(m, 0, &item), -EAGAIN);
        assert_int_equal(zl_map_put(m, &go), 0);
        assert_int_equal(zl_map_try_next(m, 20, &item), -EAGAIN);
        go = true;
        assert_int_equal(zl_map_try_next(m, 60000, &item), 1);
        assert_ptr_equal(item.result, &go);
        assert_int_equal(zl_map_try_next(m, 999, &item), -EAGAIN); /* most likely into the next second */
        zl_map_finish(m);
        assert_int_equal(zl_map_try_next(m, 60000, &item), 0);
        zl_map_free(m);
        server_stop(s);
}

static bool serve_nothing(Server *s, int fd, const Request *q) {
        begin_chunks(fd);
        wait_for_hangup(s, fd);
        return false;
}

static void test_cancel(void **state) {
        Server *s = server_start(serve_nothing, NULL);
        ZlMap *m = start(s, 0, square, NULL);
        pthread_t putter;
        void *put = NULL;
        ZlMapItem item;
        unsigned ran = 0, not_run = 0;
        assert_int_equal(pthread_create(&putter, NULL, put_all, m), 0);
        while (s->n_requests < WORKERS)
                usleep(1000);
        zl_map_cancel(m);
        pthread_join(putter, &put); /* put, which was blocked, ends as well */
        while (zl_map_next(m, &item) > 0) {
                ran += item.ran;
                not_run += !item.ran;
                if (item.ran)
                        assert_int_equal((intptr_t)item.result, -ECANCELED);
        }
        assert_int_equal(ran, WORKERS);
        assert_int_equal(ran + not_run, (intptr_t)put);
        assert_int_equal(zl_map_put(m, NULL), -ECANCELED);
        zl_map_free(m);
        wait_for_hangups(s, WORKERS);
        server_stop(s);
}

static void test_free_while_running(void **state) {
        Server *s = server_start(serve_nothing, NULL);
        ZlMap *m = start(s, ZL_MAP_ORDERED, square, NULL);
        for (intptr_t n = 0; n < WINDOW; n++)
                assert_int_equal(zl_map_put(m, (void *)n), 0);
        assert_int_equal(zl_map_try_put(m, NULL), -EAGAIN);
        zl_map_free(m);
        server_stop(s);
}

static void test_bad_arguments(void **state) {
        ZlClient *c = NULL;
        ZlMap *m = NULL;
        ZlError e;
        assert_int_equal(zl_client_new("/x", &c, NULL), 0);
        assert_int_equal(zl_map_new(c, 0, 0, 0, square, NULL, &m, &e), -EINVAL);
        assert_true(e.message[0]);
        zl_client_free(c);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_unordered),          cmocka_unit_test(test_ordered),
                cmocka_unit_test(test_two_threads),        cmocka_unit_test(test_cancel),
                cmocka_unit_test(test_no_result_in_time),
                cmocka_unit_test(test_free_while_running), cmocka_unit_test(test_bad_arguments)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
