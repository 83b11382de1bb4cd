/* HTTP on the loop; see http.h for the promises.
 *
 * libmicrohttpd runs in external mode: it keeps an epoll descriptor, and MHD_run() does what is ready. After resuming a
 * connection, and where it did not do all, MHD_run() must be called by hand.
 *
 * MHD_run() does all that is ready, and looks at every suspended connection when one was resumed. So that neither grows
 * with the number of clients, connections are dealt out to shards: instances of libmicrohttpd with at most
 * SHARD_CONNECTIONS each. An epoll descriptor of ours gathers theirs, and our loop watches that one. Shards that have
 * something to do queue in `ready`; a turn of the loop runs them one after another for TURN_USEC, then others have
 * theirs. Invariant: shards that have room come first in `shards`; there is always one.
 *
 * A request's states
 *   RECEIVING  the body arrives; over the limit it is thrown away (`refused`) and the answer is 413
 *   HANDLED    with the handler; the connection is suspended
 *   REPLY      a whole answer is ready: libmicrohttpd comes back to on_request(), which queues it
 *   STREAM     as REPLY, but the body is pulled from `out` by on_pull() as the client takes it; empty: suspended.
 *              One that ends before libmicrohttpd came back becomes a REPLY: one packet instead of three
 *   GONE       the client left; libmicrohttpd closes the connection and on_completed() frees the request
 * Invariant: `suspended` is what libmicrohttpd believes; nothing but suspend() and resume() changes it.
 *
 * Timeouts are our own sweep once a second over the connections, because libmicrohttpd's is by inactivity, which a
 * client that sends a byte at a time never runs into. A connection is ended by shutting its socket down. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/http.h"
#include "util/str.h"

enum {
        SHARD_CONNECTIONS = 16, /* so many requests are half a millisecond or less */
        SHARDS_AT_ONCE = 64,
        TURN_USEC = 250,
        STREAM_BLOCK = 8192,
        SWEEP_USEC = 1000000,
        SWEEP_AT_ONCE = 256,
        SILENT_USEC = 1000000,
        PENDING_HIGH = 256 * 1024, PENDING_LOW = 64 * 1024, /* of a stream: see request_is_full() */
        DISCARD_FACTOR = 4,
        MHD_MEMORY_MIN = 4096,
};

/* By edge: ten thousand that hang up together are then seen once each, not all again in each turn until all are served. */
static const uint32_t HANGUP = EPOLLRDHUP | EPOLLET;

typedef struct RequestImpl RequestImpl;

typedef struct Shard {
        ListNode node, ready;
        Http *http;
        struct MHD_Daemon *mhd;
        uint32_t n_connections;
} Shard;

struct Http {
        EventLoop *loop;
        Users *users;
        HttpHandler handler;
        HttpRoom room;
        void *arg;
        const Config *config;
        List shards, ready;
        int epoll;
        EventSource io, kick, sweep;
        List connections;
        uint32_t n_connections, n_requests;
        Connection *accepting; /* the one MHD_add_connection() is telling us about */
        bool draining, full, closing;
};

struct Connection {
        ListNode node;
        Shard *shard;
        User *user;
        Peer peer;
        char *key; /* its listener's, which may go before it does */
        int fd;
        EventSource watch; /* for the client's hang-up: libmicrohttpd does not look while a request is suspended */
        bool watched;
        RequestImpl *request; /* the one being received or answered; NULL: idle */
        bool served;          /* has had a request */
        uint64_t since;       /* since when it is idle or receiving; else when the client last took something */
};

typedef enum RequestState { RECEIVING, HANDLED, REPLY, STREAM, GONE } RequestState;

struct RequestImpl {
        Request r;
        RequestState state;
        struct MHD_Connection *mhd;
        bool suspended, queued, ended, refused, too_much_held;
        size_t taken; /* of out, by the client; see take() */
        size_t held;  /* bytes of body and out, charged to the user */
        unsigned status;
        const char *content_type;
        Buf out;
        size_t body_discarded;
        Buf headers; /* names and values, each with its 0 */
};

static RequestImpl *impl_of(const Request *r) {
        return container_of((void *)r, RequestImpl, r);
}

/* ---- running libmicrohttpd ---- */

static void shard_free(Shard *s) {
        if (!s)
                return;
        if (s->mhd)
                MHD_stop_daemon(s->mhd);
        list_remove(&s->node);
        list_remove(&s->ready);
        free(s);
}

DEFINE_CLEANUP(Shard, shard_free)

static void shard_wake(Shard *s) {
        if (list_is_linked(&s->ready))
                return;
        list_append(&s->http->ready, &s->ready);
        event_defer_set(&s->http->kick);
}

static void shard_run(Shard *s) {
        MHD_UNSIGNED_LONG_LONG ms; /* 0: it has no timeouts of its own, but may have left something for the next run */
        MHD_run(s->mhd);
        if (s->n_connections == 0 && !list_is_single(&s->http->shards))
                shard_free(s);
        else if (MHD_get_timeout(s->mhd, &ms) == MHD_YES)
                shard_wake(s);
}

static void on_kick(EventSource *source, uint32_t revents _unused_) {
        Http *h = container_of(source, Http, kick);
        uint64_t until = now_usec() + TURN_USEC;
        for (Shard *s; (s = list_first(&h->ready, Shard, ready)) && now_usec() < until;) {
                list_remove(&s->ready);
                shard_run(s);
        }
        if (!list_is_empty(&h->ready))
                event_defer_set(&h->kick);
}

static void on_io(EventSource *source, uint32_t revents _unused_) {
        Http *h = container_of(source, Http, io);
        struct epoll_event events[SHARDS_AT_ONCE];
        int n = epoll_wait(h->epoll, events, SHARDS_AT_ONCE, 0);
        for (int i = 0; i < n; i++)
                shard_wake(events[i].data.ptr);
        on_kick(&h->kick, 0);
}

/* ---- memory, charged to the user ---- */

/* Brings the charge up to date. */
static void account(RequestImpl *q) {
        size_t now = q->r.body.len + q->out.len;
        q->r.user->held += now - q->held;
        q->held = now;
}

/* Asked before the memory is taken. */
static bool may_hold(const RequestImpl *q, size_t more) {
        return q->r.user->held + more <= q->r.http->config->limits.memory_per_user;
}

/* ---- suspended connections ---- */

static void request_gone(RequestImpl *q) {
        if (q->state == GONE)
                return;
        bool handled = q->state == HANDLED || (q->state == STREAM && !q->ended);
        q->state = GONE;
        if (handled && q->r.gone)
                q->r.gone(&q->r);
}

static void resume(RequestImpl *q) {
        if (!q->suspended)
                return;
        q->suspended = false;
        MHD_resume_connection(q->mhd);
        shard_wake(q->r.connection->shard);
}

/* Nobody will read this answer: whoever makes it is told, and the connection closes. */
static void request_abandon(RequestImpl *q) {
        shutdown(q->r.connection->fd, SHUT_RDWR);
        request_gone(q);
        resume(q);
}

static void watch(Connection *c) {
        if (c->watch.impl && !c->watched)
                c->watched = event_io_set(&c->watch, HANGUP) >= 0;
}

/* libev reports readability for a hang-up. Bytes of a request are none, and are not ours to read: then we look again when
 * the request is suspended. They may be read by now, and it suspended. */
static bool is_hangup(Connection *c, uint32_t revents) {
        char byte;
        if (revents & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                return true;
        ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                watch(c);
                return false;
        }
        return n <= 0;
}

static void on_hangup(EventSource *s, uint32_t revents) {
        Connection *c = container_of(s, Connection, watch);
        c->watched = false;
        if (is_hangup(c, revents) && c->request && c->request->suspended)
                request_abandon(c->request); /* else libmicrohttpd sees it */
}

static void suspend(RequestImpl *q) {
        if (q->suspended)
                return;
        q->suspended = true;
        MHD_suspend_connection(q->mhd);
        watch(q->r.connection);
}

/* ---- answers ---- */

static size_t pending(const RequestImpl *q) {
        return q->out.len - q->taken;
}

/* What was taken goes when it is most of `out`, not each time: a long answer would be moved over and over. */
static void take(RequestImpl *q, char *buf, size_t n) {
        memcpy(buf, q->out.data + q->taken, n);
        q->taken += n;
        if (q->taken < q->out.len / 2)
                return;
        buf_consume(&q->out, q->taken);
        q->taken = 0;
        account(q);
}

static ssize_t on_pull(void *cls, uint64_t pos _unused_, char *buf, size_t max) {
        RequestImpl *q = cls;
        if (q->state == GONE || q->out.failed)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        q->r.connection->since = now_usec();
        size_t before = pending(q), n = MIN(max, before);
        if (n == 0 && q->ended)
                return MHD_CONTENT_READER_END_OF_STREAM;
        if (n == 0) {
                suspend(q);
                return 0;
        }
        take(q, buf, n);
        if (q->r.drained && !q->ended && before > PENDING_LOW && pending(q) <= PENDING_LOW)
                q->r.drained(&q->r);
        return (ssize_t)n;
}

static enum MHD_Result queue_answer(RequestImpl *q) {
        struct MHD_Response *m;
        if (q->out.failed || q->headers.failed) /* better no answer than a cut one */
                return MHD_NO;
        if (q->state == STREAM)
                m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_pull, q, NULL);
        else
                m = MHD_create_response_from_buffer(q->out.len, q->out.data, MHD_RESPMEM_MUST_FREE);
        if (!m)
                return MHD_NO;
        if (q->state == REPLY)
                q->out = BUF_NULL; /* libmicrohttpd's now; it stays charged until the request is done */
        MHD_add_response_header(m, "Content-Type", q->content_type);
        if (q->state == STREAM)
                MHD_add_response_header(m, "Cache-Control", "no-cache");
        for (const char *name = q->headers.data, *value; name && name < q->headers.data + q->headers.len; name = strchr(value, 0) + 1) {
                value = strchr(name, 0) + 1;
                MHD_add_response_header(m, name, value);
        }
        if (q->r.http->draining || q->refused)
                MHD_add_response_header(m, "Connection", "close");
        q->r.connection->since = now_usec();
        enum MHD_Result r = MHD_queue_response(q->mhd, q->status, m);
        MHD_destroy_response(m);
        q->queued = true;
        return r;
}

void request_add_header(Request *r, const char *name, const char *value) {
        RequestImpl *q = impl_of(r);
        buf_put(&q->headers, name, strlen(name) + 1);
        buf_put(&q->headers, value, strlen(value) + 1);
}

static void begin(RequestImpl *q, RequestState state, unsigned status, const char *content_type) {
        q->state = state;
        q->status = status;
        q->content_type = content_type;
        buf_deinit(&q->r.body); /* not needed any more, while a stream may last */
}

void request_reply(Request *r, unsigned status, const char *content_type, const void *body, size_t len) {
        RequestImpl *q = impl_of(r);
        if (q->state != HANDLED && q->state != RECEIVING)
                return;
        begin(q, REPLY, status, content_type);
        buf_put(&q->out, body, len);
        account(q);
        resume(q);
}

void request_stream_begin(Request *r, unsigned status, const char *content_type) {
        RequestImpl *q = impl_of(r);
        if (q->state != HANDLED)
                return;
        begin(q, STREAM, status, content_type);
        q->r.connection->since = now_usec();
        resume(q);
}

void request_write(Request *r, const void *data, size_t len) {
        RequestImpl *q = impl_of(r);
        if (q->state != STREAM)
                return;
        if (pending(q) == 0)
                q->r.connection->since = now_usec();
        buf_put(&q->out, data, len);
        account(q);
        resume(q);
}

void request_end(Request *r) {
        RequestImpl *q = impl_of(r);
        if (q->state != STREAM)
                return;
        q->ended = true;
        if (!q->queued)
                q->state = REPLY;
        resume(q);
}

bool request_is_full(const Request *r) {
        size_t most = may_hold(impl_of(r), 0) ? PENDING_HIGH : PENDING_LOW;
        return pending(impl_of(r)) > most;
}

void request_drop_body(Request *r) {
        buf_deinit(&r->body);
        account(impl_of(r));
}

const char *request_header(const Request *r, const char *name) {
        return MHD_lookup_connection_value(impl_of(r)->mhd, MHD_HEADER_KIND, name);
}

/* ---- receiving ---- */

static const char too_large[] = "the request body is larger than the limit (limits.body_size)";
static const char too_much_held[] = "this user's requests hold too much memory at once (limits.memory_per_user)";

static void reply_text(RequestImpl *q, unsigned status, const char *text) {
        char body[256];
        int n = snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}\n", text);
        q->refused = true;
        request_reply(&q->r, status, "application/json", body, (size_t)n);
}

/* Whether a body far beyond the limit is announced. One not so far is taken and thrown away, for a client that is
 * sending already reads no answer before it is done; one that waits for leave is told at once. */
static bool is_far_too_long(RequestImpl *q) {
        const char *s = request_header(&q->r, "Content-Length");
        uint64_t limit = q->r.http->config->limits.body_size, n = s ? strtoull(s, NULL, 10) : 0;
        q->refused = n > limit;
        return n / DISCARD_FACTOR > limit || (q->refused && request_header(&q->r, "Expect"));
}

typedef struct Headers {
        unsigned hosts, lengths, encodings;
        bool malformed;
} Headers;

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind _unused_, const char *name, const char *value) {
        static const char token[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        Headers *h = cls;
        h->malformed |= !*name || name[strspn(name, token)];
        for (const char *c = value; c && *c; c++)
                h->malformed |= ((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f;
        h->hosts += strcasecmp(name, "Host") == 0;
        h->lengths += strcasecmp(name, "Content-Length") == 0;
        h->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
        return MHD_YES;
}

/* libmicrohttpd lets pass what a proxy before us may read otherwise than we do (RFC 9112, 5.1, 6.1 and 11.2). */
static bool headers_are_sound(const RequestImpl *q) {
        Headers h = {0};
        MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, look_at_header, &h);
        return !h.malformed && h.hosts <= 1 && h.lengths + h.encodings <= 1;
}

/* libmicrohttpd calls this once before the headers are read: the request exists from its first line on. */
static void *on_uri(void *cls, const char *uri _unused_, struct MHD_Connection *mhd) {
        Http *h = cls;
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        Connection *c = info->socket_context;
        RequestImpl *q = calloc(1, sizeof(*q));
        if (!q)
                return NULL;
        q->mhd = mhd;
        q->r = (Request){.http = h, .connection = c, .user = c->user, .peer = &c->peer, .key = c->key};
        c->request = q;
        c->since = now_usec();
        h->n_requests++;
        return q;
}

static enum MHD_Result receive_body(RequestImpl *q, const char *data, size_t *size) {
        uint64_t limit = q->r.http->config->limits.body_size;
        bool too_long = q->r.body.len + *size > limit;
        if (q->refused || too_long || !may_hold(q, *size)) {
                q->too_much_held |= !q->refused && !too_long;
                q->refused = true;
                buf_deinit(&q->r.body);
                account(q);
                q->body_discarded += *size;
                *size = 0;
                return q->body_discarded > limit * DISCARD_FACTOR ? MHD_NO : MHD_YES;
        }
        buf_put(&q->r.body, data, *size);
        account(q);
        *size = 0;
        return q->r.body.failed ? MHD_NO : MHD_YES;
}

static void handle(RequestImpl *q, const char *method, const char *url) {
        Http *h = q->r.http;
        q->r.method = method;
        q->r.path = url;
        q->state = HANDLED;
        if (q->too_much_held) {
                request_add_header(&q->r, "Retry-After", "1");
                reply_text(q, MHD_HTTP_TOO_MANY_REQUESTS, too_much_held);
        } else if (q->refused)
                reply_text(q, MHD_HTTP_CONTENT_TOO_LARGE, too_large);
        else
                h->handler(&q->r, h->arg);
}

static enum MHD_Result on_request(void *cls _unused_, struct MHD_Connection *mhd _unused_, const char *url, const char *method,
                                  const char *version _unused_, const char *data, size_t *size, void **req_cls) {
        RequestImpl *q = *req_cls;
        if (!q || q->state == GONE || q->r.http->closing)
                return MHD_NO;
        if (!q->r.started) { /* headers are complete */
                q->r.started = now_usec();
                q->r.method = method;
                if (!headers_are_sound(q))
                        reply_text(q, MHD_HTTP_BAD_REQUEST, "a header of the request is malformed or repeated");
                else if (is_far_too_long(q))
                        reply_text(q, MHD_HTTP_CONTENT_TOO_LARGE, too_large);
                else
                        return MHD_YES;
                return queue_answer(q);
        }
        if (*size > 0)
                return receive_body(q, data, size);
        if (q->state == RECEIVING)
                handle(q, method, url);
        if (q->state == HANDLED) {
                suspend(q);
                return MHD_YES;
        }
        if (q->queued)
                return MHD_YES;
        return q->state == GONE ? MHD_NO : queue_answer(q);
}

static void on_completed(void *cls, struct MHD_Connection *mhd _unused_, void **req_cls,
                         enum MHD_RequestTerminationCode why _unused_) {
        Http *h = cls;
        RequestImpl *q = *req_cls;
        if (!q)
                return;
        *req_cls = NULL;
        request_gone(q);
        q->r.connection->request = NULL;
        q->r.connection->served = true;
        q->r.connection->since = now_usec();
        q->r.user->held -= q->held;
        buf_deinit(&q->r.body);
        buf_deinit(&q->out);
        buf_deinit(&q->headers);
        free(q);
        h->n_requests--;
}

/* ---- connections ---- */

static void connection_link(Connection *c, Shard *s) {
        c->shard = s;
        c->user->connections++;
        s->http->n_connections++;
        list_append(&s->http->connections, &c->node);
        if (++s->n_connections < SHARD_CONNECTIONS)
                return;
        list_remove(&s->node);
        list_append(&s->http->shards, &s->node);
}

static void connection_free(Connection *c) {
        Shard *s = c->shard;
        event_remove(&c->watch);
        list_remove(&c->node);
        c->user->connections--;
        s->http->n_connections--;
        s->n_connections--;
        list_remove(&s->node);
        list_prepend(&s->http->shards, &s->node);
        free(c->key);
        free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
        Http *h = cls;
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                h->accepting->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
                Connection *fresh = TAKE(h->accepting);
                *socket_context = fresh;
                if (event_add_io(h->loop, &fresh->watch, fresh->fd, HANGUP, EVENT_PRIORITY_NORMAL, "hang-up", on_hangup) < 0)
                        shutdown(fresh->fd, SHUT_RDWR);
                fresh->watched = true;
                return;
        }
        connection_free(*socket_context);
        if (h->full) {
                h->full = false;
                h->room(h->arg);
        }
}

/* ---- shards ---- */

static int shard_start(Shard *s) {
        Http *h = s->http;
        /* Not MHD_USE_ERROR_LOG: on a Unix socket it reports each missing TCP option, for every write. */
        unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME;
        size_t memory = MAX((size_t)h->config->limits.header_size, (size_t)MHD_MEMORY_MIN);
        s->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
                                  on_connection, h, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
                                  MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
                                  MHD_OPTION_CONNECTION_LIMIT, UINT32_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                  MHD_OPTION_END);
        if (!s->mhd)
                return -ENOMEM;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
        int fd = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
        return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int shard_new(Http *h) {
        _cleanup_(shard_freep) Shard *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->http = h;
        list_init(&s->ready);
        list_prepend(&h->shards, &s->node);
        int r = shard_start(s);
        if (r < 0)
                return r;
        TAKE(s);
        return 0;
}

/* One with room; NULL: no memory, or no descriptors. */
static Shard *find_shard(Http *h) {
        Shard *s = list_first(&h->shards, Shard, node);
        if (s->n_connections < SHARD_CONNECTIONS)
                return s;
        return shard_new(h) < 0 ? NULL : list_first(&h->shards, Shard, node);
}

static void refuse(int fd, const char *why) {
        char text[256];
        int n = snprintf(text, sizeof(text),
                         "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n"
                         "Content-Length: %zu\r\n\r\n%s\n", strlen(why) + 1, why);
        ssize_t ignored _unused_ = send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
}

/* Who is calling, not yet counted; NULL when it cannot be told, or for want of memory. */
static Connection *connection_new(Http *h, const Listener *l, int fd) {
        Connection *c = calloc(1, sizeof(*c));
        if (!c)
                return NULL;
        c->watch = EVENT_SOURCE_NULL;
        c->since = now_usec();
        if (peer_of(fd, &c->peer) >= 0 && (c->user = users_get(h->users, &c->peer, h->config)) &&
            (!l->key || (c->key = strdup(l->key))))
                return c;
        free(c);
        return NULL;
}

/* At the limit in all, clients wait in the listen queue; a user at theirs is told so, since others may still come. */
bool http_accept(Listener *l, int fd, void *arg) {
        Http *h = arg;
        Shard *s = find_shard(h);
        Connection *c = s ? connection_new(h, l, fd) : NULL;
        if (!c || c->user->connections >= h->config->limits.connections_per_user) {
                refuse(fd, c ? "too many connections of this user (limits.connections_per_user)" : "out of memory or descriptors");
                if (c)
                        free(c->key);
                free(c);
                return true;
        }
        connection_link(c, s);
        h->accepting = c;
        struct sockaddr_storage addr = {.ss_family = AF_UNIX};
        if (MHD_add_connection(s->mhd, fd, (struct sockaddr *)&addr, sizeof(addr)) != MHD_YES && h->accepting)
                connection_free(c); /* the descriptor is closed already */
        h->accepting = NULL;
        shard_wake(s);
        if (h->n_connections == 1) /* the sweep sleeps while there is nobody: an idle daemon wakes for nothing */
                event_timer_set(&h->sweep, SWEEP_USEC);
        h->full = h->n_connections >= h->config->limits.connections;
        return !h->full;
}

/* libmicrohttpd may miss an end that comes together with the last bytes of an unfinished request, or, on a new connection,
 * of an unfinished first line. */
static bool has_ended(const Connection *c, uint64_t now) {
        char byte;
        bool in_doubt = c->request ? c->request->state == RECEIVING : now - c->since < 3 * SWEEP_USEC;
        return in_doubt && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* How long a connection may stay as it is: idle; receiving; with something to take that the client does not take. While
 * an answer is being made, as long as that lasts. */
static uint64_t allowed(const Connection *c, const ConfigLimits *limits) {
        const RequestImpl *q = c->request;
        if (!q)
                return limits->idle_timeout;
        if (q->state == HANDLED || (q->state == STREAM && pending(q) == 0 && !q->ended))
                return UINT64_MAX;
        return q->state == REPLY || q->state == STREAM ? limits->idle_timeout : limits->request_timeout;
}

/* Where there are many connections it takes them in parts, round and round, each once in SWEEP_USEC. */
static void on_sweep(EventSource *s, uint32_t revents _unused_) {
        Http *h = container_of(s, Http, sweep);
        const ConfigLimits *limits = &h->config->limits;
        uint64_t now = now_usec();
        uint32_t n = MIN(h->n_connections, (uint32_t)SWEEP_AT_ONCE);
        for (uint32_t i = 0; i < n; i++) {
                Connection *c = list_first(&h->connections, Connection, node);
                list_remove(&c->node);
                list_append(&h->connections, &c->node);
                if (has_ended(c, now) || now - c->since > allowed(c, limits))
                        shutdown(c->fd, SHUT_RDWR);
        }
        users_sweep(h->users);
        if (n > 0)
                event_timer_set(&h->sweep, (uint64_t)SWEEP_USEC * n / h->n_connections);
}

/* ---- life ---- */

int http_new(EventLoop *l, Users *users, HttpHandler handler, HttpRoom room, void *arg, Http **ret, Error *e) {
        _cleanup_(http_freep) Http *h = calloc(1, sizeof(*h));
        if (!h)
                return error_set(e, -ENOMEM, "out of memory");
        *h = (Http){.loop = l, .users = users, .handler = handler, .room = room, .arg = arg,
                    .io = EVENT_SOURCE_NULL, .kick = EVENT_SOURCE_NULL, .sweep = EVENT_SOURCE_NULL};
        list_init(&h->connections);
        list_init(&h->shards);
        list_init(&h->ready);
        h->epoll = epoll_create1(EPOLL_CLOEXEC);
        int r = h->epoll < 0 ? -errno : event_add_io(l, &h->io, h->epoll, EPOLLIN, EVENT_PRIORITY_NORMAL, "http", on_io);
        if (r >= 0)
                r = event_add_defer(l, &h->kick, "http kick", on_kick);
        if (r >= 0)
                r = event_add_timer(l, &h->sweep, EVENT_PRIORITY_NORMAL, "http sweep", on_sweep);
        if (r < 0)
                return error_set(e, r, "cannot set up HTTP: %s", strerror(-r));
        *ret = TAKE(h);
        return 0;
}

void http_free(Http *h) {
        if (!h)
                return;
        h->closing = true;
        /* libmicrohttpd refuses to stop while a connection is suspended. */
        list_foreach(c, &h->connections, Connection, node) {
                if (c->request) {
                        request_gone(c->request);
                        resume(c->request);
                }
                shutdown(c->fd, SHUT_RDWR);
        }
        list_foreach(s, &h->shards, Shard, node) {
                MHD_run(s->mhd);
                shard_free(s);
        }
        event_remove(&h->io);
        event_remove(&h->kick);
        event_remove(&h->sweep);
        if (h->epoll >= 0)
                close(h->epoll);
        free(h);
}

int http_configure(Http *h, const Config *config, Error *e) {
        h->config = config;
        if (!list_is_empty(&h->shards))
                return 0;
        int r = shard_new(h);
        return r < 0 ? error_set(e, r, "cannot start HTTP: %s", strerror(-r)) : 0;
}

void http_drain(Http *h) {
        h->draining = true;
}

uint32_t http_n_connections(const Http *h) {
        return h->n_connections;
}

uint32_t http_n_requests(const Http *h) {
        return h->n_requests;
}

uint32_t http_n_expected(const Http *h) {
        uint32_t n = 0;
        uint64_t now = now_usec();
        char byte;
        list_foreach(c, &h->connections, Connection, node)
                if (!c->request)
                        n += (!c->served && now - c->since < SILENT_USEC) || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
        return n;
}
