/* The worker pool: everything submitted is run and done exactly once, on the right threads; withdrawn work never. */
#include <pthread.h>
#include <semaphore.h>

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

static sem_t gate, entered;
static Item *order[4];
static int n_order;

static void run_in_order(Work *w) {
        order[n_order++] = container_of(w, Item, work); /* of the one worker */
        if (n_order == 1) {
                sem_post(&entered);
                sem_wait(&gate);
        }
        run(w);
}

/* It goes before those that wait, not before what runs. */
static void test_urgent(void **state) {
        (void)state;
        static Item items[4];
        WorkPool *p;
        loop_thread = pthread_self();
        sem_init(&gate, 0, 0);
        sem_init(&entered, 0, 0);
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(work_pool_new(loop, 1, &p), 0);
        n_done = 0;
        n_expected = 4;
        for (int i = 0; i < 4; i++) {
                items[i].work = (Work){.urgent = i == 3, .run = run_in_order, .done = done};
                work_submit(p, &items[i].work);
                if (i == 0)
                        sem_wait(&entered);
        }
        sem_post(&gate);
        event_loop_run(loop);
        static const int expected[] = {0, 3, 1, 2};
        for (int i = 0; i < 4; i++)
                assert_ptr_equal(order[i], &items[expected[i]]);
        work_pool_free(p);
        event_loop_free(loop);
}

static void drop(Work *w) {
        n_done += 100;
}

/* One that has run and one that waits, when the pool goes. */
static void test_drop(void **state) {
        (void)state;
        static Item items[2];
        WorkPool *p;
        sem_init(&gate, 0, 1);
        sem_init(&entered, 0, 0);
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(work_pool_new(loop, 1, &p), 0);
        n_done = n_order = 0;
        for (int i = 0; i < 2; i++) {
                items[i].work = (Work){.run = run_in_order, .done = done, .drop = drop};
                work_submit(p, &items[i].work);
        }
        sem_wait(&entered);
        work_pool_free(p);
        assert_int_equal(n_done, 200);
        event_loop_free(loop);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_urgent),
                                           cmocka_unit_test(test_drop)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
