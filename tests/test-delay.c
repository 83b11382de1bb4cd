/* The delay model in model time: the loop below is called by hand, and its clock stands still but for what the test
 * says. So each end can be asked for at its very microsecond, in its very order, with thousands of slots, late loops
 * and cancels, on any machine.
 *
 * ZEROLLAMA_TEST_SEED draws another run. */

#include "unit.h"
#include "util/str.h"
#define now_usec model_usec
static uint64_t model_usec(void);
#include "engine/loadtest.c"

enum { JOBS = 6000, LATER = 1000, SLOTS = 4096 };

/* ---- dice and clock ---- */

static uint64_t dice, now;

static uint32_t below(uint32_t n) {
        dice = dice * 6364136223846793005 + 1442695040888963407;
        return (uint32_t)(dice >> 33) % n;
}

static uint64_t model_usec(void) {
        return now;
}

/* ---- the loop: a deferred call and a timer ---- */

static EventSource *pump, *timer;
static bool pump_is_set;
static uint64_t timer_due;

int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h) {
        *s = (EventSource){.handler = h, .impl = s};
        pump = s;
        return 0;
}

int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h) {
        *s = (EventSource){.handler = h, .impl = s};
        timer = s;
        return 0;
}

void event_defer_set(EventSource *s) {
        pump_is_set = true;
}

int event_timer_set(EventSource *s, uint64_t delay_usec) {
        timer_due = delay_usec == UINT64_MAX ? UINT64_MAX : now + delay_usec;
        return 0;
}

/* What other objects of the library ask for, and nobody calls here. */
int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name,
                 EventHandler h) {
        return -ENOSYS;
}

int event_io_set(EventSource *s, uint32_t events) {
        return -ENOSYS;
}

void event_remove(EventSource *s) {
        s->impl = NULL;
}

/* ---- jobs ---- */

typedef struct DelayJob {
        IpcJob ask;
        Seq seq;
        uint64_t came, delay, due; /* due 0: it has no slot */
        bool live;
} DelayJob;

static DelayJob jobs[JOBS];
static Runner *runner;
static uint32_t n_put, n_live, n_started, n_ended, n_in_turn;
static uint64_t last_due, passed_on; /* passed_on: since when the slot is free that somebody has just left; 0: none */

/* It has the slot from when that was due and it was there, however late the loop is. */
static void on_started(Seq *q) {
        DelayJob *j = container_of(q, DelayJob, seq);
        uint64_t begin = passed_on ? MAX(passed_on, j->came) : now;
        assert_int_equal(q->started_usec, begin);
        j->due = begin + j->delay;
        passed_on = 0;
        n_started++;
}

static void leave(DelayJob *j) {
        runner->ops->remove(runner, &j->seq);
        seq_deinit(&j->seq);
        j->live = false;
        j->due = 0;
        n_live--;
}

static void on_progress(Seq *q) {
        DelayJob *j = container_of(q, DelayJob, seq);
        assert_true(j->live);
        assert_int_equal(q->finish, IPC_FINISH_STOP);
        assert_int_equal(q->n_ids, q->n_prompt + 1);
        assert_true(j->due > 0 && j->due <= now);
        assert_true(j->due >= last_due);
        last_due = passed_on = j->due;
        n_ended++;
        n_in_turn++;
        leave(j);
}

static void put(DelayJob *j, const Tokenizer *t) {
        char text[32];
        size_t dropped;
        Error e = ERROR_NULL;
        j->delay = 1000 * (uint64_t)below(3000);
        int n = snprintf(text, sizeof(text), "%llums", (unsigned long long)j->delay / 1000);
        int32_t *ids = malloc((size_t)n * sizeof(*ids));
        for (int i = 0; i < n; i++)
                ids[i] = text[i];
        j->ask = (IpcJob){.uid = below(3), .weight = 1, .max_tokens = -1};
        seq_init(&j->seq, &j->ask, t);
        j->came = j->seq.queued_usec = now;
        assert_int_equal(seq_set_prompt(&j->seq, ids, (size_t)n, LOADTEST_CONTEXT, &dropped, &e), 0);
        assert_int_equal(runner->ops->check(runner, &j->seq, &e), 0);
        RunLoad load = runner->ops->load(runner);
        assert_int_equal(runner->ops->add(runner, &j->seq), 0);
        if (load.waiting == 0 && load.running < SLOTS)
                assert_int_equal(j->due, now + j->delay); /* at once */
        j->live = true;
        n_live++;
        n_put++;
}

/* The timer stands at the end that comes first, or at a sign of life before it, and no slot is empty while somebody waits. */
static void check(void) {
        uint64_t first = UINT64_MAX;
        uint32_t running = 0;
        for (DelayJob *j = jobs; j < jobs + JOBS; j++)
                if (j->live && j->due > 0) {
                        first = MIN(first, j->due);
                        running++;
                }
        RunLoad load = runner->ops->load(runner);
        assert_int_equal(load.running, running);
        assert_int_equal(load.running + load.waiting, n_live);
        assert_true(running == SLOTS || load.waiting == 0);
        assert_int_equal(timer_due, first == UINT64_MAX ? first : CLAMP(first, now, now + ALIVE_USEC));
}

static void turn(EventSource *s) {
        n_in_turn = 0;
        last_due = 0;
        s->handler(s, 0);
        passed_on = 0;
        assert_true(n_in_turn <= AT_ONCE); /* others are to be served too */
        if (!pump_is_set)
                check();
}

/* To the end: in each turn something is taken out, or the loop is late, and then somebody may have come meanwhile. */
static void run_to_end(const Tokenizer *t) {
        while (n_live > 0) {
                if (pump_is_set) {
                        pump_is_set = false;
                        turn(pump);
                        continue;
                }
                DelayJob *j = &jobs[below(JOBS)];
                assert_true(timer_due < UINT64_MAX);
                if (below(4) == 0 && j->live)
                        leave(j);
                else {
                        now = MAX(now, timer_due) + (below(8) ? 0 : below(20000));
                        timer_due = UINT64_MAX;
                        if (n_put < JOBS && below(2))
                                put(&jobs[n_put], t);
                        turn(timer);
                }
        }
}

static void test_order(void **state) {
        static const RunHandlers handlers = {on_started, on_progress, NULL, NULL};
        dice = test_seed();
        RunCounts counts = {0};
        Tokenizer *t = NULL;
        Error e = ERROR_NULL;
        assert_int_equal(loadtest_tokenizer_new(&t, &e), 0);
        assert_int_equal(loadtest_new(LOADTEST_DELAY, SLOTS, &runner, &e), 0);
        assert_int_equal(runner_start(runner, NULL, &handlers, NULL, &counts), 0);
        now = timer_due = 1000000;
        while (n_put < JOBS - LATER)
                put(&jobs[n_put], t);
        run_to_end(t);
        print_message("%u of %u ended by themselves\n", n_ended, n_started);
        assert_true(n_ended > JOBS / 2 && n_ended <= n_started);
        assert_int_equal(counts.generation_tokens, n_ended);
        runner->ops->stop(runner);
        runner->ops->free(runner);
        tokenizer_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_order)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
