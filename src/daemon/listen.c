/* Listening sockets; see listen.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/listen.h"
#include "util/log.h"

enum { ACCEPTS_PER_TURN = 64, BACKLOG = 4096, RETRY_USEC = 100000 };

static void on_connection(EventSource *s, uint32_t revents _unused_) {
        Listener *l = container_of(s, Listener, source);
        for (int i = 0; i < ACCEPTS_PER_TURN && !l->paused; i++) {
                int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        if (!l->accept(l, fd, l->arg))
                                listener_pause(l);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                        log_warning("%s: cannot accept: %s; trying again shortly", l->address, strerror(errno));
                        listener_pause(l);
                        event_timer_set(&l->retry, RETRY_USEC);
                } else if (errno == ECONNABORTED || errno == EINTR)
                        continue;
                return;
        }
}

static void on_retry(EventSource *s, uint32_t revents _unused_) {
        listener_resume(container_of(s, Listener, retry));
}

void listener_pause(Listener *l) {
        l->paused = true;
        event_timer_set(&l->retry, UINT64_MAX); /* armed again by who pauses for a moment only */
        event_io_set(&l->source, 0);
}

void listener_resume(Listener *l) {
        if (!l->paused)
                return;
        l->paused = false;
        event_io_set(&l->source, EPOLLIN);
}

static int listener_start(EventLoop *loop, Listener *l, ListenerAccept accept, void *arg) {
        l->accept = accept;
        l->arg = arg;
        int r = event_add_io(loop, &l->source, l->fd, EPOLLIN, EVENT_PRIORITY_NORMAL, "listen", on_connection);
        return r < 0 ? r : event_add_timer(loop, &l->retry, EVENT_PRIORITY_NORMAL, "listen retry", on_retry);
}

static Listener *listener_new(int fd) {
        Listener *l = calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        list_init(&l->node);
        l->source = l->retry = EVENT_SOURCE_NULL;
        l->fd = fd;
        return l;
}

void listener_free(Listener *l) {
        if (!l)
                return;
        if (l->node.next)
                list_remove(&l->node);
        event_remove(&l->source);
        event_remove(&l->retry);
        if (l->unlink_path)
                unlink(l->unlink_path);
        if (l->fd >= 0)
                close(l->fd);
        free(l->unlink_path);
        free(l->address);
        free(l->key);
        free(l->next_key);
        free(l);
}

char *listen_address(const ConfigListen *c) {
        char *s;
        int r = c->unix_path ? asprintf(&s, "%s", c->unix_path) : asprintf(&s, "%s:%u", c->host, c->port);
        return r < 0 ? NULL : s;
}

/* A socket file nobody answers on is left over from a crash; one that answers belongs to a running server. */
static int remove_stale(const char *path, const struct sockaddr_un *addr, Error *e) {
        struct stat st;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : error_set(e, -errno, "cannot look at '%s': %s", path, strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return error_set(e, -EEXIST, "'%s' exists and is not a socket; remove it or choose another path", path);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_set(e, -errno, "cannot make a socket: %s", strerror(errno));
        if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
                return error_set(e, -EADDRINUSE, "'%s' is in use by a running server; stop it or choose another socket", path);
        if (errno != ECONNREFUSED)
                return error_set(e, -errno, "cannot tell whether '%s' is in use: %s", path, strerror(errno));
        return unlink(path) < 0 ? error_set(e, -errno, "cannot remove the stale socket '%s': %s", path, strerror(errno)) : 0;
}

/* Makes the directories that are missing: /run/zerollama after a boot. */
static int make_parents(const char *path, Error *e) {
        _cleanup_free_ char *dir = strdup(path);
        for (char *slash = dir ? strchr(dir + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                if (mkdir(dir, 0755) < 0 && errno != EEXIST)
                        return error_set(e, -errno, "cannot make the directory '%s' for the socket: %s", dir, strerror(errno));
                *slash = '/';
        }
        return 0;
}

static int set_owner(const ConfigListen *c, Error *e) {
        uid_t uid = (uid_t)-1;
        gid_t gid = (gid_t)-1;
        if (c->owner) {
                const struct passwd *p = getpwnam(c->owner);
                if (!p)
                        return error_set(e, -ENOENT, "'%s': there is no user '%s' to own it", c->unix_path, c->owner);
                uid = p->pw_uid;
        }
        if (c->group) {
                const struct group *g = getgrnam(c->group);
                if (!g)
                        return error_set(e, -ENOENT, "'%s': there is no group '%s' to own it", c->unix_path, c->group);
                gid = g->gr_gid;
        }
        if ((c->owner || c->group) && chown(c->unix_path, uid, gid) < 0)
                return error_set(e, -errno, "cannot give '%s' to its owner: %s", c->unix_path, strerror(errno));
        if (chmod(c->unix_path, c->mode) < 0)
                return error_set(e, -errno, "cannot set the mode of '%s': %s", c->unix_path, strerror(errno));
        return 0;
}

static int open_unix(Listener *l, const ConfigListen *c, Error *e) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        if (strlen(c->unix_path) >= sizeof(addr.sun_path))
                return error_set(e, -ENAMETOOLONG, "'%s' is too long for a socket: at most %zu bytes", c->unix_path,
                                 sizeof(addr.sun_path) - 1);
        strcpy(addr.sun_path, c->unix_path);
        int r = make_parents(c->unix_path, e);
        if (r >= 0)
                r = remove_stale(c->unix_path, &addr, e);
        if (r < 0)
                return r;
        l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        /* Bound with no permissions at first, so that nobody connects before owner and mode are right. */
        mode_t old = umask(0777);
        r = l->fd < 0 || bind(l->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
        umask(old);
        if (r < 0)
                return error_set(e, r, "cannot bind '%s': %s", c->unix_path, strerror(-r));
        l->unlink_path = strdup(c->unix_path);
        r = set_owner(c, e);
        if (r < 0)
                return r;
        return listen(l->fd, BACKLOG) < 0 ? error_set(e, -errno, "cannot listen on '%s': %s", c->unix_path, strerror(errno)) : 0;
}

typedef union Address {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage ss;
} Address;

static bool is_loopback(const Address *a) {
        if (a->sa.sa_family == AF_INET)
                return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
        return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static int open_tcp(Listener *l, const ConfigListen *c, Error *e) {
        char host[256], port[8];
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE}, *ai;
        size_t n = strlen(c->host);
        bool bracketed = n >= 2 && c->host[0] == '[' && c->host[n - 1] == ']';
        snprintf(host, sizeof(host), "%.*s", (int)(bracketed ? n - 2 : n), c->host + bracketed);
        snprintf(port, sizeof(port), "%u", c->port);
        int r = getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &ai);
        if (r != 0)
                return error_set(e, -EINVAL, "%s:%s is no address to listen on: %s", c->host, port, gai_strerror(r));
        int one = 1;
        l->tcp = true;
        l->loopback = is_loopback((const Address *)(const void *)ai->ai_addr);
        l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd >= 0) {
                setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
                setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* inherited: tokens leave at once */
        }
        r = l->fd < 0 || bind(l->fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(l->fd, BACKLOG) < 0 ? -errno : 0;
        freeaddrinfo(ai);
        return r < 0 ? error_set(e, r, "cannot listen on %s:%s: %s", c->host, port, strerror(-r)) : 0;
}

static int read_key(const char *path, char **ret, Error *e) {
        char text[512];
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return error_set(e, -errno, "cannot read the key file '%s': %s", path, strerror(errno));
        while (n > 0 && strchr(" \t\r\n", text[n - 1]))
                n--;
        if (n == 0)
                return error_set(e, -EINVAL, "the key file '%s' is empty", path);
        *ret = strndup(text, (size_t)n);
        return *ret ? 0 : -ENOMEM;
}

/* The key of a TCP socket: the file the configuration names, else the credential zerollama.key that the service manager
 * handed to us, if it did. */
static int find_key(const Listener *l, const ConfigListen *c, char **ret, Error *e) {
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *credential = NULL;
        if (c && c->key_file)
                return read_key(c->key_file, ret, e);
        if (!l->tcp || !dir)
                return 0;
        if (asprintf(&credential, "%s/zerollama.key", dir) < 0)
                return error_set(e, -ENOMEM, "out of memory");
        return access(credential, F_OK) == 0 ? read_key(credential, ret, e) : 0;
}

int listener_prepare(Listener *l, const ConfigListen *c, Error *e) {
        free(TAKE(l->next_key));
        int r = find_key(l, c, &l->next_key, e);
        if (r >= 0 && l->tcp && !l->loopback && !l->next_key)
                return error_set(e, -EACCES, "%s is open to the network; give its entry in listen a key_file, or the service a credential zerollama.key", l->address);
        return r;
}

void listener_commit(Listener *l, const ConfigListen *c) {
        Error e = ERROR_NULL;
        free(l->key);
        l->key = TAKE(l->next_key);
        if (c && c->unix_path && !l->passed && set_owner(c, &e) < 0)
                log_warning("%s", e.text);
}

int listener_open(EventLoop *loop, const ConfigListen *c, ListenerAccept accept, void *arg, Listener **ret, Error *e) {
        _cleanup_(listener_freep) Listener *l = listener_new(-1);
        if (!l || !(l->address = listen_address(c)))
                return error_set(e, -ENOMEM, "out of memory");
        int r = c->unix_path ? open_unix(l, c, e) : open_tcp(l, c, e);
        if (r >= 0)
                r = find_key(l, c, &l->key, e);
        if (r >= 0 && (r = listener_start(loop, l, accept, arg)) < 0)
                error_set(e, r, "cannot watch %s: %s", l->address, strerror(-r));
        if (r < 0)
                return r;
        *ret = TAKE(l);
        return 0;
}

static char *address_of(int fd, bool *ret_tcp, bool *ret_loopback) {
        Address a = {0};
        socklen_t len = sizeof(a);
        char host[NI_MAXHOST], port[NI_MAXSERV], *s = NULL;
        if (getsockname(fd, &a.sa, &len) < 0)
                return NULL;
        *ret_tcp = a.sa.sa_family != AF_UNIX;
        *ret_loopback = is_loopback(&a);
        if (!*ret_tcp)
                return strdup(a.un.sun_path[0] ? a.un.sun_path : "(abstract socket)");
        if (getnameinfo(&a.sa, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                return NULL;
        return asprintf(&s, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port) < 0 ? NULL : s;
}

int listener_adopt(EventLoop *loop, int fd, ListenerAccept accept, void *arg, Listener **ret, Error *e) {
        _cleanup_(listener_freep) Listener *l = listener_new(fd);
        if (!l)
                return error_set(e, -ENOMEM, "out of memory");
        int listening = 0, flags = fcntl(fd, F_GETFL);
        socklen_t len = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening)
                return error_set(e, -ENOTSOCK, "descriptor %d, passed by the service manager, is not a listening socket", fd);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || !(l->address = address_of(fd, &l->tcp, &l->loopback)))
                return error_set(e, -EINVAL, "cannot use descriptor %d, passed by the service manager", fd);
        l->passed = true;
        int r = listener_start(loop, l, accept, arg);
        if (r < 0)
                return error_set(e, r, "cannot watch %s: %s", l->address, strerror(-r));
        *ret = TAKE(l);
        return 0;
}
