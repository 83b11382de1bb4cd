/* When the daemon believes to be stuck itself: jobs run, their clients take what they get, and nothing has moved for much
 * longer than a stalled engine is borne with. */
#include "unit.h"
#include "daemon/daemon.h"
#include "daemon/pool.h"
#include "util/str.h"

static void test_is_stuck(void **state) {
        (void)state;
        Config config = {.limits = {.stall_timeout = 1000000}};
        Daemon d = {.config = &config};
        Pool p = {.daemon = &d, .state = POOL_RUNNING, .last_progress = now_usec()};
        ModelEntry m = {.pool = &p, .running = 2};
        list_init(&d.pools);
        list_init(&d.registry.models);
        list_append(&d.pools, &p.node);
        list_append(&d.registry.models, &m.node);
        assert_false(daemon_is_stuck(&d));
        p.last_progress = now_usec() - 5 * config.limits.stall_timeout; /* the engine is being replaced, perhaps */
        assert_false(daemon_is_stuck(&d));
        p.last_progress = now_usec() - 100 * config.limits.stall_timeout;
        assert_true(daemon_is_stuck(&d));
        p.n_paused = 2; /* it is the clients who do not go on */
        assert_false(daemon_is_stuck(&d));
        p.n_paused = 1;
        assert_true(daemon_is_stuck(&d));
        m.running = 0;
        m.waiting = 5;
        p.n_paused = 0;
        assert_false(daemon_is_stuck(&d));
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_is_stuck)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
