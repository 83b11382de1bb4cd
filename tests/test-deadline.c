/* Deadlines: what has passed is told once each, in order, and the loop has its turn between many. (The heap they are in:
 * test-heap.c.) */
#include "unit.h"
#include "daemon/deadline.h"
#include "util/str.h"

enum { N = 500 };

typedef struct Thing {
        Deadline deadline;
        bool in;
} Thing;

static EventLoop *loop;
static Deadlines ds;
static Thing things[N];
static int n_passed, n_between;
static uint64_t latest;

static void on_passed(Deadline *d) {
        Thing *t = container_of(d, Thing, deadline);
        assert_true(t->in);
        assert_true(d->at <= now_usec());
        assert_true(d->at >= latest);
        latest = d->at;
        t->in = false;
        deadlines_remove(&ds, d);
        if (++n_passed == N)
                event_loop_exit(loop, 0);
}

static int setup(void **state) {
        (void)state;
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(deadlines_init(&ds, loop, on_passed), 0);
        memset(things, 0, sizeof(things));
        n_passed = n_between = 0;
        latest = 0;
        return 0;
}

static int teardown(void **state) {
        (void)state;
        deadlines_deinit(&ds);
        event_loop_free(loop);
        return 0;
}

static void on_between(EventSource *s, uint32_t revents) {
        (void)revents;
        n_between++;
        if (n_passed < N)
                event_timer_set(s, 0);
}

static void test_passing(void **state) {
        (void)state;
        EventSource between;
        uint64_t now = now_usec();
        for (size_t i = 0; i < N; i++) {
                things[i].in = true;
                /* half have passed already, some pass while the loop runs */
                assert_int_equal(deadlines_add(&ds, &things[i].deadline, i % 2 ? now - i : now + i * 40), 0);
        }
        assert_int_equal(event_add_timer(loop, &between, EVENT_PRIORITY_NORMAL, "between", on_between), 0);
        event_timer_set(&between, 0);
        assert_int_equal(event_loop_run(loop), 0);
        event_remove(&between);
        assert_int_equal(n_passed, N);
        assert_int_equal(ds.heap.n, 0);
        assert_true(n_between > N / 64);
}

/* A timer is set to an earlier time when one comes, and again when the first is gone. */
static void test_timer(void **state) {
        (void)state;
        n_passed = N - 1;
        Thing *never = &things[0], *late = &things[1], *soon = &things[2], *gone = &things[3];
        never->in = late->in = soon->in = gone->in = true;
        assert_int_equal(deadlines_add(&ds, &never->deadline, UINT64_MAX), 0);
        assert_int_equal(deadlines_add(&ds, &late->deadline, now_usec() + 3600000000u), 0);
        assert_int_equal(deadlines_add(&ds, &gone->deadline, now_usec() + 1000), 0);
        assert_int_equal(deadlines_add(&ds, &soon->deadline, now_usec() + 20000), 0);
        deadlines_remove(&ds, &gone->deadline);
        assert_int_equal(event_loop_run(loop), 0);
        assert_false(soon->in);
        assert_true(late->in && never->in);
        deadlines_remove(&ds, &late->deadline);
        deadlines_remove(&ds, &never->deadline);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_passing, setup, teardown),
                                           cmocka_unit_test_setup_teardown(test_timer, setup, teardown)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
