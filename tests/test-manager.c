/* The service manager's protocol: what the environment says, whom it is meant for, and the datagram we send. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* The next message, and the descriptor that came with it, or -1. */
static int receive(int fd, char *text, size_t size) {
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {text, size - 1};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        assert_true(n >= 0);
        text[n] = 0;
        int passed = -1;
        if (CMSG_FIRSTHDR(&m))
                memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(passed));
        return passed;
}

static void *take_barrier(void *arg) {
        char text[256];
        int passed = receive(*(int *)arg, text, sizeof(text));
        assert_string_equal(text, "BARRIER=1");
        assert_true(passed >= 0);
        usleep(50000);
        close(passed);
        return NULL;
}

static void test_store_and_barrier(void **state) {
        (void)state;
        char text[256], path[] = "@test-manager-store-XXXXXX";
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        pthread_t manager;
        unsetenv("NOTIFY_SOCKET");
        assert_false(manager_store(STDIN_FILENO, "state"));
        manager_barrier(); /* does not wait for nobody */
        snprintf(path, sizeof(path), "@test-manager-%d", getpid());
        memcpy(addr.sun_path + 1, path + 1, strlen(path + 1));
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0), kept = open("/dev/null", O_RDONLY);
        assert_int_equal(bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
        setenv("NOTIFY_SOCKET", path, 1);
        assert_true(manager_store(kept, "state"));
        assert_int_equal(receive(fd, text, sizeof(text)), -1);
        assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=state");
        int got = receive(fd, text, sizeof(text));
        assert_string_equal(text, "FDSTORE=1\nFDNAME=state");
        struct stat a, b;
        assert_int_equal(fstat(got, &a) + fstat(kept, &b), 0);
        assert_true(a.st_ino == b.st_ino && got != kept);
        assert_int_equal(pthread_create(&manager, NULL, take_barrier, &fd), 0);
        manager_barrier();
        pthread_join(manager, NULL);
        close(got);
        close(kept);
        close(fd);
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
                                           cmocka_unit_test(test_notify), cmocka_unit_test(test_store_and_barrier)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
