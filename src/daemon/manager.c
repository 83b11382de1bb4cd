/* The service manager's protocol; see manager.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/manager.h"

enum { FIRST_FD = 3, BARRIER_MSEC = 1000 };

static bool env_number(const char *name, uint64_t *ret) {
        const char *s = getenv(name);
        char *end;
        if (!s || !*s || *s == '-')
                return false;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno == 0 && !*end;
}

int manager_listen_fds(char **ret_names) {
        uint64_t pid, n;
        const char *names = getenv("LISTEN_FDNAMES");
        *ret_names = NULL;
        if (!env_number("LISTEN_PID", &pid) || pid != (uint64_t)getpid())
                return 0;
        if (!env_number("LISTEN_FDS", &n) || n > 1024)
                return -EINVAL;
        for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++)
                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                        return -errno;
        *ret_names = names ? strdup(names) : NULL;
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
        return (int)n;
}

static int notify_socket(struct sockaddr_un *ret_addr, socklen_t *ret_len) {
        const char *path = getenv("NOTIFY_SOCKET");
        if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(ret_addr->sun_path))
                return -1;
        *ret_addr = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret_addr->sun_path, path, strlen(path));
        if (path[0] == '@') /* an abstract socket */
                ret_addr->sun_path[0] = 0;
        *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* One datagram, with a descriptor where `passed` is not negative. */
static bool notify(const char *text, size_t len, int passed) {
        struct sockaddr_un addr;
        socklen_t addr_len;
        _cleanup_close_ int fd = notify_socket(&addr, &addr_len);
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(sizeof(int))];
        } control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
        struct iovec iov = {(char *)text, len};
        struct msghdr m = {.msg_name = &addr, .msg_namelen = addr_len, .msg_iov = &iov, .msg_iovlen = 1};
        if (fd < 0)
                return false;
        if (passed >= 0) {
                memcpy(CMSG_DATA(&control.head), &passed, sizeof(passed));
                m.msg_control = &control;
                m.msg_controllen = sizeof(control.room);
        }
        return sendmsg(fd, &m, MSG_NOSIGNAL) >= 0;
}

void manager_notify(const char *fmt, ...) {
        char text[2048];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n > 0)
                notify(text, MIN((size_t)n, sizeof(text) - 1), -1);
}

bool manager_store(int fd, const char *name) {
        char text[128];
        manager_notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
        int n = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
        return notify(text, (size_t)n, fd);
}

/* The manager closes what it is sent with BARRIER=1 when it comes to that message: we see the other end hang up. */
void manager_barrier(void) {
        static const char text[] = "BARRIER=1";
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        bool sent = notify(text, sizeof(text) - 1, fds[1]);
        close(fds[1]);
        if (sent)
                poll(&(struct pollfd){.fd = fds[0]}, 1, BARRIER_MSEC);
        close(fds[0]);
}

uint64_t manager_watchdog_usec(void) {
        uint64_t usec, pid;
        if (!env_number("WATCHDOG_USEC", &usec))
                return 0;
        return env_number("WATCHDOG_PID", &pid) && pid != (uint64_t)getpid() ? 0 : usec;
}
