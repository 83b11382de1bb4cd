/* The service manager's protocol; see manager.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/manager.h"

enum { FIRST_FD = 3 };

static bool env_number(const char *name, uint64_t *ret) {
        const char *s = getenv(name);
        char *end;
        if (!s || !*s || *s == '-')
                return false;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno == 0 && !*end;
}

int manager_listen_fds(void) {
        uint64_t pid, n;
        if (!env_number("LISTEN_PID", &pid) || pid != (uint64_t)getpid())
                return 0;
        if (!env_number("LISTEN_FDS", &n) || n > 1024)
                return -EINVAL;
        for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++)
                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                        return -errno;
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

void manager_notify(const char *fmt, ...) {
        struct sockaddr_un addr;
        socklen_t len;
        _cleanup_close_ int fd = notify_socket(&addr, &len);
        if (fd < 0)
                return;
        char text[2048];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n > 0)
                sendto(fd, text, MIN((size_t)n, sizeof(text) - 1), MSG_NOSIGNAL, (struct sockaddr *)&addr, len);
}

uint64_t manager_watchdog_usec(void) {
        uint64_t usec, pid;
        if (!env_number("WATCHDOG_USEC", &usec))
                return 0;
        return env_number("WATCHDOG_PID", &pid) && pid != (uint64_t)getpid() ? 0 : usec;
}
