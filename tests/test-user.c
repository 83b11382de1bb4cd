/* Users: who a peer is, limits that refuse, the token bucket and its honest waiting time, forgetting. */
#include <sys/socket.h>

#include "unit.h"
#include "daemon/user.h"
#include "util/str.h"

static Config *config;

static int setup(void **state) {
        (void)state;
        char path[] = "/tmp/test-user-XXXXXX";
        int fd = mkstemp(path);
        static const char text[] =
                "user_defaults: {weight: 2, jobs: 3}\n"
                "users:\n  - {id: 4000000, jobs: 2, queue: 1}\n  - {id: 4000001, tokens_per_minute: 600}\n"
                "groups:\n  - {id: 4000002, weight: 5}\n";
        assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
        close(fd);
        Error e = ERROR_NULL;
        int r = config_load(path, &config, &e);
        unlink(path);
        if (r < 0)
                fail_msg("%s", e.text);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        config_free(config);
        return 0;
}

static void test_peer(void **state) {
        (void)state;
        int fds[2];
        Peer p;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(peer_of(fds[0], &p), 0);
        assert_int_equal(p.uid, geteuid());
        assert_int_equal(p.gids[0], getegid());
        assert_int_equal(p.pid, getpid());
        assert_false(p.tcp);
        close(fds[0]);
        close(fds[1]);
        int tcp = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(peer_of(tcp, &p), 0);
        assert_true(p.tcp);
        assert_int_equal(p.uid, USER_TCP_UID);
        close(tcp);
}

static void test_limits(void **state) {
        (void)state;
        Users us;
        const char *why = NULL;
        users_init(&us);
        User *u = users_get(&us, &(Peer){.uid = 4000000}, config);
        assert_ptr_equal(u, users_get(&us, &(Peer){.uid = 4000000}, config));
        assert_int_equal(user_refusal(u, true, &why), 0);
        u->waiting = 1;
        assert_true(user_refusal(u, true, &why) > 0);
        assert_string_equal(why, "too many waiting requests of this user");
        assert_int_equal(user_refusal(u, false, &why), 0); /* a slot is free for it */
        u->waiting = 0;
        u->running = 2;
        u->job_usec = 7e6; /* as long as theirs take, so long until one has ended */
        assert_int_equal(user_refusal(u, true, &why), 7000000);
        u->job_usec = 7e9;
        assert_int_equal(user_refusal(u, true, &why), 60000000);
        assert_string_equal(why, "too many requests of this user at once");
        User *other = users_get(&us, &(Peer){.uid = 4000009, .gids = {4000002}, .n_gids = 1}, config);
        assert_true(other->limits.weight == 5);
        assert_true(users_get(&us, &(Peer){.uid = 4000010}, config)->limits.weight == 2);
        users_sweep(&us); /* all are remembered for an hour */
        assert_ptr_equal(other, users_get(&us, &other->peer, config));
        list_foreach(it, &us.list, User, node)
                it->seen -= UINT64_C(3600000001);
        users_sweep(&us); /* only the one that holds something stays */
        assert_ptr_equal(list_first(&us.list, User, node), u);
        assert_ptr_equal(list_last(&us.list, User, node), u);
        users_deinit(&us);
}

static void test_tokens(void **state) {
        (void)state;
        Users us;
        const char *why;
        users_init(&us);
        User *u = users_get(&us, &(Peer){.uid = 4000001}, config);
        assert_int_equal(user_refusal(u, true, &why), 0);
        user_spend_tokens(u, 900); /* known only afterwards, so it may go below zero: 300 tokens are 30 s at 600 a minute */
        uint64_t wait = user_refusal(u, true, &why);
        assert_in_range(wait, 29000000, 31000000);
        u->seen -= UINT64_C(3600000001);
        users_sweep(&us);
        assert_false(list_is_empty(&us.list)); /* a debt is remembered */
        u->refilled -= 31000000;               /* half a minute passes */
        assert_int_equal(user_refusal(u, true, &why), 0);
        u->refilled -= 600000000;
        user_spend_tokens(u, 0);
        assert_true(u->tokens <= 600); /* never more than a minute's worth */
        assert_int_equal(u->tokens_total, 900);
        users_deinit(&us);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_peer), cmocka_unit_test(test_limits),
                                           cmocka_unit_test(test_tokens)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
