/* A scripted HTTP server on a Unix socket, in threads of the test: one that accepts, and one for each connection.
 * A test gives a handler, which gets each request and writes the bytes of the answer itself, right or wrong. */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "util/buf.h"

typedef struct Request {
        char method[8], path[64];
        char *head, *body;
        unsigned number; /* of requests before this one, on any connection */
} Request;

typedef struct Server Server;

/* Returns false to close the connection. */
typedef bool (*Handler)(Server *s, int fd, const Request *q);

enum { CONNECTIONS_MAX = 512 };

struct Server {
        char path[64];
        int fd, stop[2];
        Handler handler;
        const void *script;      /* for the handler */
        pthread_t thread, connections[CONNECTIONS_MAX];
        unsigned n_connections;
        _Atomic unsigned n_requests, n_hangups; /* hangups: the client left in mid-answer */
        pthread_mutex_t lock;
        char *last_body, *last_head;
};

static inline void send_all(int fd, const char *data, size_t n) {
        while (n > 0) {
                ssize_t k = send(fd, data, n, MSG_NOSIGNAL);
                if (k <= 0)
                        return;
                data += k;
                n -= (size_t)k;
        }
}

static inline void send_text(int fd, const char *text) {
        send_all(fd, text, strlen(text));
}

static inline void send_status(int fd, const char *status, const char *headers, const char *body) {
        Buf b = BUF_NULL;
        buf_printf(&b, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
        send_all(fd, b.data, b.len);
        buf_deinit(&b);
}

static inline void send_json(int fd, const char *body) {
        send_status(fd, "200 OK", "Content-Type: application/json\r\n", body);
}

static inline void begin_chunks(int fd) {
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static inline void send_chunk(int fd, const char *data, size_t n) {
        char size[32];
        snprintf(size, sizeof(size), "%zx\r\n", n);
        send_text(fd, size);
        send_all(fd, data, n);
        send_text(fd, "\r\n");
}

/* True when the client hung up, false when the server is told to stop first. */
static inline bool wait_for_hangup(Server *s, int fd) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN | POLLRDHUP}, {.fd = s->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        if (p[0].revents)
                s->n_hangups++;
        return p[0].revents != 0;
}

static inline void wait_for_hangups(Server *s, unsigned n) {
        while (s->n_hangups < n)
                usleep(1000);
}

/* Reads one request; false at the end of the connection. */
static inline bool read_request(Server *s, int fd, Buf *in, Request *q) {
        const char *end = NULL;
        size_t length = 0;
        for (;;) {
                if (in->len > 0 && (end = strstr(in->data, "\r\n\r\n"))) {
                        const char *h = strcasestr(in->data, "content-length:");
                        length = h && h < end ? strtoul(h + 15, NULL, 10) : 0;
                        if (in->len >= (size_t)(end + 4 - in->data) + length)
                                break;
                }
                struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
                poll(p, 2, -1);
                ssize_t n = p[0].revents ? recv(fd, buf_reserve(in, 65536), 65536, 0) : 0;
                if (n <= 0)
                        return false;
                in->len += (size_t)n;
                in->data[in->len] = 0;
        }
        size_t head = (size_t)(end + 4 - in->data);
        *q = (Request){.number = s->n_requests++};
        q->head = strndup(in->data, head);
        q->body = strndup(in->data + head, length);
        assert_int_equal(sscanf(in->data, "%7s %63s", q->method, q->path), 2);
        buf_consume(in, head + length);
        return true;
}

typedef struct ServerConnection {
        Server *server;
        int fd;
} ServerConnection;

static inline void *serve(void *userdata) {
        ServerConnection c = *(ServerConnection *)userdata;
        Buf in = BUF_NULL;
        Request q;
        free(userdata);
        for (bool more = true; more && read_request(c.server, c.fd, &in, &q);) {
                pthread_mutex_lock(&c.server->lock);
                free(c.server->last_body);
                free(c.server->last_head);
                c.server->last_body = strdup(q.body);
                c.server->last_head = strdup(q.head);
                pthread_mutex_unlock(&c.server->lock);
                more = c.server->handler(c.server, c.fd, &q);
                free(q.head);
                free(q.body);
        }
        buf_deinit(&in);
        close(c.fd);
        return NULL;
}

static inline void *accept_all(void *userdata) {
        Server *s = userdata;
        for (;;) {
                struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
                poll(p, 2, -1);
                if (p[1].revents)
                        return NULL;
                ServerConnection *c = malloc(sizeof(*c));
                *c = (ServerConnection){s, accept(s->fd, NULL, NULL)};
                assert_true(s->n_connections < CONNECTIONS_MAX);
                pthread_create(&s->connections[s->n_connections++], NULL, serve, c);
        }
}

static inline Server *server_start(Handler handler, const void *script) {
        static unsigned count;
        Server *s = calloc(1, sizeof(*s));
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        s->handler = handler;
        s->script = script;
        pthread_mutex_init(&s->lock, NULL);
        snprintf(s->path, sizeof(s->path), "/tmp/zl-test-%d-%u.sock", (int)getpid(), count++);
        strcpy(a.sun_path, s->path);
        s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unlink(s->path);
        assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(s->fd, 64), 0);
        assert_int_equal(pipe(s->stop), 0);
        assert_int_equal(pthread_create(&s->thread, NULL, accept_all, s), 0);
        return s;
}

static inline void server_stop(Server *s) {
        close(s->stop[1]);
        pthread_join(s->thread, NULL);
        for (unsigned i = 0; i < s->n_connections; i++)
                pthread_join(s->connections[i], NULL);
        close(s->stop[0]);
        close(s->fd);
        unlink(s->path);
        pthread_mutex_destroy(&s->lock);
        free(s->last_body);
        free(s->last_head);
        free(s);
}
