/* The event loop's promises, the same for both implementations: io, timers in order, deferred calls, signals,
 * children with their status, and removal of a source from inside its own callback. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "unit.h"
#include "event/event.h"
#include "util/str.h"

typedef struct Fixture {
        EventLoop *loop;
        EventSource a, b, c;
        int fds[2];
        char order[16];
        uint32_t status;
        int calls;
} Fixture;

static Fixture f;

static int setup(void **state) {
        (void)state;
        f = (Fixture){.a = EVENT_SOURCE_NULL, .b = EVENT_SOURCE_NULL, .c = EVENT_SOURCE_NULL};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f.fds), 0);
        return event_loop_new(&f.loop);
}

static int teardown(void **state) {
        (void)state;
        event_remove(&f.a);
        event_remove(&f.b);
        event_remove(&f.c);
        event_loop_free(f.loop);
        close(f.fds[0]);
        close(f.fds[1]);
        return 0;
}

static void note(EventSource *s, uint32_t revents) {
        (void)revents;
        strcat(f.order, s == &f.a ? "a" : s == &f.b ? "b" : "c");
        if (++f.calls == 3)
                event_loop_exit(s->loop, 7);
}

static void test_timers(void **state) {
        (void)state;
        event_add_timer(f.loop, &f.a, 0, "a", note);
        event_add_timer(f.loop, &f.b, 0, "b", note);
        event_add_timer(f.loop, &f.c, 0, "c", note);
        uint64_t start = now_usec();
        event_timer_set(&f.a, 30000);
        event_timer_set(&f.b, 10000);
        event_timer_set(&f.c, 20000);
        assert_int_equal(event_loop_run(f.loop), 7);
        assert_string_equal(f.order, "bca");
        assert_true(now_usec() - start >= 30000);
}

static void rearm(EventSource *s, uint32_t revents) {
        (void)revents;
        if (++f.calls == 5)
                event_loop_exit(s->loop, 0);
        else
                event_timer_set(s, 1000);
}

static void test_timer_rearm_and_disarm(void **state) {
        (void)state;
        event_add_timer(f.loop, &f.a, 0, "a", rearm);
        event_add_timer(f.loop, &f.b, 0, "b", note);
        event_timer_set(&f.b, 1000);
        event_timer_set(&f.b, UINT64_MAX);
        event_timer_set(&f.a, 1000);
        assert_int_equal(event_loop_run(f.loop), 0);
        assert_int_equal(f.calls, 5);
        assert_string_equal(f.order, "");
}

static void on_readable(EventSource *s, uint32_t revents) {
        char buf[8];
        assert_true(revents & EPOLLIN);
        assert_int_equal(read(f.fds[0], buf, sizeof(buf)), 2);
        event_remove(s); /* from inside its own callback */
        event_loop_exit(f.loop, 3);
}

static void test_io(void **state) {
        (void)state;
        assert_int_equal(event_add_io(f.loop, &f.a, f.fds[0], EPOLLIN, 0, "io", on_readable), 0);
        assert_int_equal(write(f.fds[1], "hi", 2), 2);
        assert_int_equal(event_loop_run(f.loop), 3);
        assert_null(f.a.impl);
        event_remove(&f.a);
}

static void pause_io(EventSource *s, uint32_t revents) {
        (void)revents;
        f.calls++;
        event_io_set(s, 0);
}

static void stop(EventSource *s, uint32_t revents) {
        (void)revents;
        event_loop_exit(s->loop, 0);
}

static void test_io_pause(void **state) {
        (void)state;
        event_add_io(f.loop, &f.a, f.fds[0], EPOLLIN, 0, "io", pause_io);
        event_add_timer(f.loop, &f.b, 0, "stop", stop);
        event_timer_set(&f.b, 20000);
        assert_int_equal(write(f.fds[1], "x", 1), 1);
        event_loop_run(f.loop);
        assert_int_equal(f.calls, 1);
}

static void defer_again(EventSource *s, uint32_t revents) {
        note(s, revents);
        event_defer_set(s);
}

static void test_defer(void **state) {
        (void)state;
        event_add_defer(f.loop, &f.a, "defer", defer_again);
        event_defer_set(&f.a);
        event_defer_set(&f.a); /* twice before it ran is once */
        assert_int_equal(event_loop_run(f.loop), 7);
        assert_string_equal(f.order, "aaa");
}

static void forever(EventSource *s, uint32_t revents) {
        (void)revents;
        event_defer_set(s);
        if (++f.calls == 1000000)
                event_loop_exit(s->loop, 1);
}

static void once(EventSource *s, uint32_t revents) {
        (void)revents;
        strcat(f.order, s == &f.b ? "b" : "c");
        if (s == &f.c)
                event_io_set(s, 0);
        if (strlen(f.order) == 2)
                event_loop_exit(s->loop, 0);
}

/* A call that defers itself again and again lets the others have their turns. */
static void test_defer_and_others(void **state) {
        (void)state;
        event_add_defer(f.loop, &f.a, "defer", forever);
        event_add_timer(f.loop, &f.b, 0, "timer", once);
        event_add_io(f.loop, &f.c, f.fds[0], EPOLLIN, 0, "io", once);
        assert_int_equal(write(f.fds[1], "x", 1), 1);
        event_timer_set(&f.b, 2000);
        event_defer_set(&f.a);
        assert_int_equal(event_loop_run(f.loop), 0);
        assert_int_equal(strlen(f.order), 2);
}

static void on_signal(EventSource *s, uint32_t revents) {
        f.status = revents;
        event_loop_exit(s->loop, 0);
}

static void test_signal(void **state) {
        (void)state;
        assert_int_equal(event_add_signal(f.loop, &f.a, SIGUSR1, "usr1", on_signal), 0);
        kill(getpid(), SIGUSR1);
        event_loop_run(f.loop);
        assert_int_equal(f.status, SIGUSR1);
}

static pid_t spawn_shell(const char *script) {
        char sh[] = "sh", c[] = "-c", *argv[] = {sh, c, (char *)script, NULL}, *envp[] = {NULL};
        pid_t pid;
        assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, envp), 0);
        return pid;
}

static void test_child(void **state) {
        (void)state;
        pid_t pid = spawn_shell("exit 5");
        assert_int_equal(event_add_child(f.loop, &f.a, pid, "child", on_signal), 0);
        event_loop_run(f.loop);
        assert_true(WIFEXITED((int)f.status));
        assert_int_equal(WEXITSTATUS((int)f.status), 5);
        assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped already */
}

static void test_child_killed(void **state) {
        (void)state;
        pid_t pid = spawn_shell("kill -9 $$");
        assert_int_equal(event_add_child(f.loop, &f.a, pid, "child", on_signal), 0);
        event_loop_run(f.loop);
        assert_true(WIFSIGNALED((int)f.status));
        assert_int_equal(WTERMSIG((int)f.status), SIGKILL);
}

static void slow(EventSource *s, uint32_t revents) {
        (void)revents;
        usleep(5000);
        event_loop_exit(s->loop, 0);
}

static void test_longest(void **state) {
        (void)state;
        event_add_defer(f.loop, &f.a, "the slow one", slow);
        event_defer_set(&f.a);
        event_loop_run(f.loop);
        const EventLongest *longest = event_loop_longest(f.loop);
        assert_true(longest->clock_usec >= 5000);
        assert_true(longest->cpu_usec < longest->clock_usec); /* it slept */
        assert_string_equal(longest->clock_name, "the slow one");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_rearm_and_disarm, setup, teardown),
                cmocka_unit_test_setup_teardown(test_io, setup, teardown),
                cmocka_unit_test_setup_teardown(test_io_pause, setup, teardown),
                cmocka_unit_test_setup_teardown(test_defer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_defer_and_others, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_child, setup, teardown),
                cmocka_unit_test_setup_teardown(test_child_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_longest, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
