/* The worker pool: everything submitted is run and done exactly once, on the right threads; withdrawn work never. */
#include <pthread.h>

#include "unit.h"
#include "event/work.h"

enum { N = 500 };

typedef struct Item {
        Work work;
        int ran, done;
        pthread_t on;
} Item;

static EventLoop *loop;
static pthread_t loop_thread;
static int n_done, n_expected;

static void run(Work *w) {
        Item *it = container_of(w, Item, work);
        it->ran++;
        it->on = pthread_self();
}

static void done(Work *w) {
        Item *it = container_of(w, Item, work);
        assert_true(pthread_equal(pthread_self(), loop_thread));
        assert_false(pthread_equal(it->on, loop_thread));
        it->done++;
        if (++n_done == n_expected)
                event_loop_exit(loop, 0);
}

static void test_all(void **state) {
        (void)state;
        static Item items[N];
        WorkPool *p;
        loop_thread = pthread_self();
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(work_pool_new(loop, 3, &p), 0);
        n_expected = N;
        for (int i = 0; i < N; i++) {
                items[i].work = (Work){.run = run, .done = done};
                work_submit(p, &items[i].work);
        }
        for (int i = 0; i < N; i += 50)
                if (work_withdraw(p, &items[i].work)) {
                        n_expected--;
                        assert_int_equal(items[i].ran, 0);
                }
        event_loop_run(loop);
        int ran = 0;
        for (int i = 0; i < N; i++) {
                assert_int_equal(items[i].ran, items[i].done);
                ran += items[i].ran;
        }
        assert_int_equal(ran, n_expected);
        work_pool_free(p);
        event_loop_free(loop);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
