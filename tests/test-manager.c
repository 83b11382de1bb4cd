/* The service manager's protocol: what the environment says, whom it is meant for, and the datagram we send. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "daemon/manager.h"

static void set_pid(const char *name, int add) {
        char text[32];
        snprintf(text, sizeof(text), "%d", getpid() + add);
        setenv(name, text, 1);
}

static void test_listen_fds(void **state) {
        (void)state;
        char *names;
        unsetenv("LISTEN_PID");
        assert_int_equal(manager_listen_fds(&names), 0);
        set_pid("LISTEN_PID", 1); /* for somebody else */
        setenv("LISTEN_FDS", "1", 1);
        assert_int_equal(manager_listen_fds(&names), 0);
        set_pid("LISTEN_PID", 0);
        setenv("LISTEN_FDS", "x", 1);
        assert_true(manager_listen_fds(&names) < 0);
        setenv("LISTEN_FDS", "-1", 1);
        assert_true(manager_listen_fds(&names) < 0);
        setenv("LISTEN_FDS", "0", 1);
        setenv("LISTEN_FDNAMES", "api:state", 1);
        assert_int_equal(manager_listen_fds(&names), 0);
        assert_null(getenv("LISTEN_FDS")); /* not for our children */
        assert_string_equal(names, "api:state");
        free(names);
}

static void test_watchdog(void **state) {
        (void)state;
        unsetenv("WATCHDOG_PID");
        unsetenv("WATCHDOG_USEC");
        assert_int_equal(manager_watchdog_usec(), 0);
        setenv("WATCHDOG_USEC", "400000", 1);
        assert_int_equal(manager_watchdog_usec(), 400000);
        set_pid("WATCHDOG_PID", 0);
        assert_int_equal(manager_watchdog_usec(), 400000);
        set_pid("WATCHDOG_PID", 1);
        assert_int_equal(manager_watchdog_usec(), 0);
}

static void test_notify(void **state) {
        (void)state;
        char dir[] = "/tmp/test-manager-XXXXXX", path[64], got[256] = "";
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        unsetenv("NOTIFY_SOCKET");
        manager_notify("READY=1"); /* to nobody */
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/n", dir);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        setenv("NOTIFY_SOCKET", path, 1);
        manager_notify("READY=1\nSTATUS=%d models", 3);
        assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), 23);
        assert_string_equal(got, "READY=1\nSTATUS=3 models");
        close(fd);
        unlink(path);
        rmdir(dir);
        setenv("NOTIFY_SOCKET", "relative/path", 1);
        manager_notify("READY=1");
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_listen_fds), cmocka_unit_test(test_watchdog),
                                           cmocka_unit_test(test_notify)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
