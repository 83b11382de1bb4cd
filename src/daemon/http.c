/* HTTP on the loop; see http.h for the promises.
 *
 * Connections are watched, by edge, in an epoll descriptor of their own, and the loop watches that one: so one turn takes
 * many of them, on either loop, and one that is ready but not served is not seen again and again. What an edge said is
 * kept in the connection (`readable`, `ended`, `blocked`) until a system call says otherwise. Connections that have
 * something to do queue in `ready`; a turn runs them one after another for TURN_USEC, then others have theirs.
 *
 * A request's states; a connection without one waits for a head
 *   RECEIVING  the body arrives; over the limit it is thrown away (`refused`) and the answer is 413
 *   HANDLED    with the handler
 *   REPLY      a whole answer leaves
 *   STREAM     as REPLY, but the body comes piece by piece. One that ends before its head has left becomes a REPLY: one
 *              packet instead of three
 * After an answer that closes the connection while the client may still be sending it is LINGERING: what comes is thrown
 * away, so that the answer is not lost to a reset.
 *
 * An answer leaves in packets: `frame` (the head, a chunk's line), `packet` bytes of `out`, `tail`; `sent` of them all is
 * gone. One without a frame is made anew each time, with more of `out` where there is more now: what is sent stays its
 * beginning. Invariant: `out` keeps a packet's bytes until it has left.
 *
 * Only connection_run(), the sweep and http_free() end a connection; none of them runs inside a handler. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "daemon/http-head.h"
#include "daemon/http.h"
#include "util/str.h"

enum {
        EVENTS_AT_ONCE = 64,
        TURN_USEC = 250,
        STEPS_PER_RUN = 16, /* of one connection, before others have their turn */
        HEAD_ROOM = 2048, READ_SIZE = 64 * 1024, WRITE_SIZE = 256 * 1024, /* bytes per system call */
        SWEEP_USEC = 1000000,
        SWEEP_AT_ONCE = 256,
        SILENT_USEC = 1000000, AGAIN_USEC = 30000, /* http_n_expected() */
        LINGER_USEC = 2000000,
        PENDING_HIGH = 256 * 1024, PENDING_LOW = 64 * 1024, /* of a stream: see request_is_full() */
        OUT_KEPT = 16 * 1024, /* of memory without a charge, for the next that is written */
        DISCARD_FACTOR = 4,
};

static const uint32_t WATCHED = EPOLLIN | EPOLLRDHUP | EPOLLET;

typedef struct RequestImpl RequestImpl;

struct Http {
        EventLoop *loop;
        Users *users;
        HttpHandler handler;
        HttpRoom room;
        void *arg;
        const Config *config;
        int epoll;
        EventSource io, kick, sweep;
        List connections, ready;
        Connection *running; /* it goes on as long as it can: to wake it is not needed */
        uint32_t n_connections, n_requests;
        bool draining, full;
        time_t date_at; /* of `date`, a header line */
        char date[48];
};

struct Connection {
        ListNode node, ready;
        Http *http;
        User *user;
        Peer peer;
        char *key; /* its listener's, which may go before it does */
        int fd;
        bool readable;   /* the kernel may have bytes for us */
        bool ended;      /* the client will send no more, after what is readable */
        bool watched_out; /* EPOLLOUT is watched too: not always, for each time a client takes something is an event then */
        bool blocked;    /* the kernel takes no more now */
        bool lingering;
        bool served;     /* has had a request */
        Buf in;          /* received, and not yet taken: the beginning of a head, or what comes after it */
        RequestImpl *request; /* the one being received or answered; NULL: none */
        uint64_t since;  /* since when it is idle, receiving or lingering; else when the client last took something */
};

typedef enum RequestState { RECEIVING, HANDLED, REPLY, STREAM } RequestState;
typedef enum ChunkState { CHUNK_LINE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER } ChunkState;

struct RequestImpl {
        Request r;
        HttpHead head;
        RequestState state;
        ChunkState chunk;
        uint64_t expected;   /* bytes of the body, or of the chunk, that are still to come */
        uint64_t discarded;  /* bytes of a body that is refused */
        bool refused, too_much_held;
        bool begun, ended;   /* the answer's head has been made; nothing will be added to the answer */
        bool last;           /* packet */
        size_t held;         /* bytes of body and out, charged to the user */
        unsigned status;
        const char *content_type;
        Buf out;
        size_t taken;        /* of out, by the client; see packet_done() */
        Buf frame;
        size_t packet, sent;
        const char *tail;
        Buf fields;          /* lines for the answer's head */
        char text[];         /* the request's head */
};

static RequestImpl *impl_of(const Request *r) {
        return container_of((void *)r, RequestImpl, r);
}

static Connection *connection_of(const RequestImpl *q) {
        return q->r.connection;
}

/* ---- turns ---- */

static void wake(Connection *c) {
        if (c == c->http->running || list_is_linked(&c->ready))
                return;
        list_append(&c->http->ready, &c->ready);
        event_defer_set(&c->http->kick);
}

static void connection_run(Connection *c);

static void on_kick(EventSource *source, uint32_t revents _unused_) {
        Http *h = container_of(source, Http, kick);
        uint64_t until = now_usec() + TURN_USEC;
        for (Connection *c; (c = list_first(&h->ready, Connection, ready)) && now_usec() < until;) {
                list_remove(&c->ready);
                connection_run(c);
        }
        if (!list_is_empty(&h->ready))
                event_defer_set(&h->kick);
}

static void take_events(Http *h) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int n = epoll_wait(h->epoll, events, EVENTS_AT_ONCE, 0);
        for (int i = 0; i < n; i++) {
                Connection *c = events[i].data.ptr;
                uint32_t seen = events[i].events;
                c->readable |= (seen & EPOLLIN) != 0;
                c->ended |= (seen & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
                c->blocked &= (seen & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == 0;
                if (!list_is_linked(&c->ready)) /* it keeps its place: more to come must not cost it its turn */
                        list_append(&h->ready, &c->ready);
        }
}

static void on_io(EventSource *source, uint32_t revents _unused_) {
        Http *h = container_of(source, Http, io);
        take_events(h);
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

/* ---- the handler's side of an answer ---- */

static size_t pending(const RequestImpl *q) {
        return q->out.len - q->taken;
}

void request_add_header(Request *r, const char *name, const char *value) {
        buf_printf(&impl_of(r)->fields, "%s: %s\r\n", name, value);
}

static void begin(RequestImpl *q, RequestState state, unsigned status, const char *content_type) {
        q->state = state;
        q->status = status;
        q->content_type = content_type;
        connection_of(q)->since = now_usec();
        buf_deinit(&q->r.body); /* not needed any more, while a stream may last */
        wake(connection_of(q));
}

void request_reply(Request *r, unsigned status, const char *content_type, const void *body, size_t len) {
        RequestImpl *q = impl_of(r);
        if (q->state != HANDLED && q->state != RECEIVING)
                return;
        buf_put(&q->out, body, len); /* it may be the request's own body */
        begin(q, REPLY, status, content_type);
        q->ended = true;
        account(q);
}

void request_stream_begin(Request *r, unsigned status, const char *content_type) {
        RequestImpl *q = impl_of(r);
        if (q->state == HANDLED)
                begin(q, STREAM, status, content_type);
        account(q);
}

void request_write(Request *r, const void *data, size_t len) {
        RequestImpl *q = impl_of(r);
        if (q->state != STREAM)
                return;
        if (pending(q) == 0)
                connection_of(q)->since = now_usec();
        buf_put(&q->out, data, len);
        account(q);
        wake(connection_of(q));
}

void request_end(Request *r) {
        RequestImpl *q = impl_of(r);
        if (q->state != STREAM)
                return;
        q->ended = true;
        if (!q->begun)
                q->state = REPLY;
        wake(connection_of(q));
}

void request_abort(Request *r) {
        RequestImpl *q = impl_of(r);
        q->out.failed = q->ended = true;
        wake(connection_of(q));
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
        return http_head_field(&impl_of(r)->head, name);
}

/* ---- sending ---- */

typedef enum Step { STEP_ON, STEP_WAIT, STEP_CLOSE } Step;

static const char *date_line(Http *h) {
        time_t now = time(NULL);
        struct tm tm;
        if (now != h->date_at && gmtime_r(&now, &tm) && strftime(h->date, sizeof(h->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm))
                h->date_at = now;
        return h->date;
}

/* A body whose length is not known is chunked, or for HTTP/1.0 ends with the connection. */
static void put_head(RequestImpl *q) {
        Buf *f = &q->frame;
        bool whole = q->state == REPLY;
        if (q->r.http->draining || q->refused || (!whole && !q->head.http11))
                q->head.keep_alive = false;
        buf_printf(f, "HTTP/1.1 %u %s\r\n%s", q->status, http_reason(q->status), date_line(q->r.http));
        if (!q->head.keep_alive)
                buf_puts(f, "Connection: close\r\n");
        else if (!q->head.http11)
                buf_puts(f, "Connection: keep-alive\r\n");
        buf_printf(f, "Content-Type: %s\r\n", q->content_type);
        if (whole)
                buf_printf(f, "Content-Length: %zu\r\n", pending(q));
        else
                buf_puts(f, q->head.http11 ? "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n" : "Cache-Control: no-cache\r\n");
        buf_put(f, q->fields.data, q->fields.len);
        buf_puts(f, "\r\n");
        q->begun = true;
}

/* Makes the next packet, unless one is on its way; false when there is nothing to send now. */
static bool make_packet(RequestImpl *q) {
        bool headless = strcmp(q->r.method, "HEAD") == 0, chunked = q->state == STREAM && q->head.http11 && !headless;
        if (q->frame.len > 0)
                return true;
        q->packet = headless ? 0 : MIN(pending(q), (size_t)WRITE_SIZE);
        if (q->begun && q->packet == 0 && !q->ended)
                return false;
        q->tail = "";
        if (!q->begun)
                put_head(q);
        q->last = q->ended && (headless || q->packet == pending(q));
        if (chunked && q->packet > 0) {
                buf_printf(&q->frame, "%zx\r\n", q->packet);
                q->tail = q->last ? "\r\n0\r\n\r\n" : "\r\n";
        } else if (chunked && q->last)
                q->tail = "0\r\n\r\n";
        return true;
}

static ssize_t send_packet(RequestImpl *q, size_t *ret_total) {
        const struct iovec parts[] = {
                {q->frame.data, q->frame.len}, {q->out.data + q->taken, q->packet}, {(void *)q->tail, strlen(q->tail)},
        };
        struct iovec iov[ARRAY_SIZE(parts)];
        struct msghdr m = {.msg_iov = iov};
        size_t skip = q->sent;
        *ret_total = 0;
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
                size_t done = MIN(skip, parts[i].iov_len);
                skip -= done;
                *ret_total += parts[i].iov_len;
                if (parts[i].iov_len > done)
                        iov[m.msg_iovlen++] = (struct iovec){(char *)parts[i].iov_base + done, parts[i].iov_len - done};
        }
        return m.msg_iovlen == 0 ? 0 : sendmsg(connection_of(q)->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What was taken goes when it is most of `out`, not each time: a long answer would be moved over and over. */
static void packet_done(RequestImpl *q) {
        size_t before = pending(q);
        buf_clear(&q->frame);
        q->sent = 0;
        q->taken += q->packet;
        if (q->taken >= q->out.len / 2) {
                buf_consume(&q->out, q->taken);
                q->taken = 0;
                if (q->out.len == 0 && q->out.cap > OUT_KEPT)
                        buf_deinit(&q->out);
                account(q);
        }
        if (q->r.drained && !q->ended && before > PENDING_LOW && pending(q) <= PENDING_LOW)
                q->r.drained(&q->r);
}

static bool watch_out(Connection *c, bool on) {
        struct epoll_event event = {.events = on ? WATCHED | EPOLLOUT : WATCHED, .data.ptr = c};
        if (c->watched_out == on)
                return true;
        c->watched_out = on;
        return epoll_ctl(c->http->epoll, EPOLL_CTL_MOD, c->fd, &event) >= 0;
}

static Step block(Connection *c) {
        c->blocked = true;
        return watch_out(c, true) ? STEP_WAIT : STEP_CLOSE;
}

static Step answer_done(RequestImpl *q);
static Step answer_failed(RequestImpl *q);

static Step step_answer(RequestImpl *q) {
        Connection *c = connection_of(q);
        size_t total;
        if (q->out.failed || q->fields.failed)
                return answer_failed(q);
        bool can_send = !c->blocked && make_packet(q);
        if (q->frame.failed)
                return STEP_CLOSE;
        if (!can_send)
                return c->ended && !q->ended ? STEP_CLOSE : STEP_WAIT;
        ssize_t n = send_packet(q, &total);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? block(c) : STEP_CLOSE;
        c->since = now_usec();
        q->sent += (size_t)n;
        if (q->sent < total)
                return block(c);
        if (q->last)
                return answer_done(q);
        packet_done(q);
        return STEP_ON;
}

/* ---- receiving ---- */

/* Receives up to `room` bytes to the end of `b`. Fewer than there was room for: the kernel has no more. */
static Step fill(Connection *c, Buf *b, size_t room, size_t *ret_n) {
        *ret_n = 0;
        if (!c->readable)
                return c->ended ? STEP_CLOSE : STEP_WAIT;
        char *p = buf_reserve(b, room);
        if (!p)
                return STEP_CLOSE;
        ssize_t n = recv(c->fd, p, room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
                return STEP_ON;
        if (n == 0 || (n < 0 && errno != EAGAIN))
                return STEP_CLOSE;
        c->readable = n == (ssize_t)room;
        if (n < 0)
                return c->ended ? STEP_CLOSE : STEP_WAIT;
        b->len += (size_t)n;
        *ret_n = (size_t)n;
        return STEP_ON;
}

/* The handler finds the words of its dialect. */
static void refuse(RequestImpl *q, unsigned status, const char *why) {
        Http *h = q->r.http;
        q->refused = true;
        q->r.refused_with = status;
        q->r.refused_why = why;
        h->handler(&q->r, h->arg);
}

static const char too_large[] = "the request body is larger than the limit (limits.body_size)";
static const char too_much_held[] = "this user's requests hold too much memory at once (limits.memory_per_user)";
static const char head_too_large[] = "the request's head is larger than the limit (limits.header_size)";
static const char too_slow[] = "the request did not come in time (limits.request_timeout)";
static const char no_memory[] = "out of memory for this request";
static const char no_chunks[] = "the request's body is not chunked as it says";

static void refuse_body(RequestImpl *q) {
        if (q->too_much_held)
                request_add_header(&q->r, "Retry-After", "1");
        refuse(q, q->too_much_held ? 429 : 413, q->too_much_held ? too_much_held : too_large);
}

/* All has come. While it is with the handler its connection holds no buffer. */
static void handle(RequestImpl *q) {
        Http *h = q->r.http;
        Connection *c = connection_of(q);
        if (c->in.len == 0)
                buf_deinit(&c->in);
        q->state = HANDLED;
        if (q->refused)
                refuse_body(q);
        else
                h->handler(&q->r, h->arg);
}

/* What comes of a request and is not kept; who sends it on and on is told before the end. */
static void discard(RequestImpl *q, size_t n) {
        q->discarded += n;
        if (q->discarded > q->r.http->config->limits.body_size * DISCARD_FACTOR)
                refuse_body(q);
}

/* Whether a body far beyond the limit is announced. One not so far is taken and thrown away, for a client that is
 * sending already reads no answer before it is done; one that waits for leave is told at once. */
static bool is_far_too_long(RequestImpl *q) {
        uint64_t limit = q->r.http->config->limits.body_size, n = q->head.length;
        q->refused = n > limit;
        return n / DISCARD_FACTOR > limit || (q->refused && q->head.expects_continue);
}

static RequestImpl *request_new(Connection *c, const char *head, size_t n) {
        RequestImpl *q = calloc(1, sizeof(*q) + n + 1);
        if (!q)
                return NULL;
        if (n > 0)
                memcpy(q->text, head, n);
        q->r = (Request){.http = c->http, .connection = c, .user = c->user, .peer = &c->peer, .key = c->key,
                         .method = "", .path = "", .started = now_usec()};
        q->tail = "";
        c->request = q;
        c->http->n_requests++;
        return q;
}

static void request_free(RequestImpl *q) {
        Connection *c = connection_of(q);
        c->request = NULL;
        c->served = true;
        c->http->n_requests--;
        q->r.user->held -= q->held;
        buf_deinit(&q->r.body);
        buf_deinit(&q->out);
        buf_deinit(&q->frame);
        buf_deinit(&q->fields);
        free(q);
}

/* A head has come, or what cannot become one (`status`, `why`). */
static Step take_head(Connection *c, size_t n, unsigned status, const char *why) {
        RequestImpl *q = request_new(c, c->in.data, n);
        if (!q)
                return STEP_CLOSE;
        buf_consume(&c->in, n);
        if (!status)
                status = http_head_parse(q->text, n, &q->head, &why);
        if (status) {
                refuse(q, status, why);
                return STEP_ON;
        }
        q->r.method = q->head.method;
        q->r.path = q->head.path;
        q->expected = q->head.length;
        if (is_far_too_long(q))
                refuse(q, 413, too_large);
        else if (q->head.expects_continue && c->in.len == 0 &&
                 send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_DONTWAIT | MSG_NOSIGNAL) != 25)
                return STEP_CLOSE;
        return STEP_ON;
}

/* Blank lines before a head are let pass (RFC 9112, 2.2). */
static void skip_blank_lines(Buf *in) {
        size_t n = 0;
        while (in->len - n >= 2 && memcmp(in->data + n, "\r\n", 2) == 0)
                n += 2;
        buf_consume(in, n);
}

static Step step_head(Connection *c) {
        size_t limit = c->http->config->limits.header_size, got;
        skip_blank_lines(&c->in);
        size_t n = http_head_length(c->in.data, c->in.len);
        if (n > limit || (n == 0 && c->in.len > limit))
                return take_head(c, 0, 431, head_too_large);
        if (n > 0)
                return take_head(c, n, 0, NULL);
        if (c->in.len > 1 && http_head_is_hopeless(c->in.data, c->in.len))
                return take_head(c, 0, 400, "this is not HTTP");
        if (c->in.len == 0 && !c->readable)
                buf_deinit(&c->in); /* an idle connection holds no buffer */
        bool idle = c->in.len == 0;
        Step s = fill(c, &c->in, HEAD_ROOM, &got);
        if (idle && got > 0)
                c->since = now_usec();
        return s;
}

static Step keep_body(RequestImpl *q, const char *data, size_t n) {
        uint64_t limit = q->r.http->config->limits.body_size;
        bool too_long = q->r.body.len + n > limit;
        if (q->refused || too_long || !may_hold(q, n)) {
                q->too_much_held |= !q->refused && !too_long;
                q->refused = true;
                buf_deinit(&q->r.body);
                account(q);
                discard(q, n);
                return STEP_ON;
        }
        buf_put(&q->r.body, data, n);
        account(q);
        return q->r.body.failed ? STEP_CLOSE : STEP_ON;
}

/* Takes what is wanted of what has come; else waits for more. */
static Step take_body(RequestImpl *q) {
        Connection *c = connection_of(q);
        size_t n = (size_t)MIN((uint64_t)c->in.len, q->expected), got;
        if (n == 0)
                return fill(c, &c->in, (size_t)MIN(q->expected, (uint64_t)READ_SIZE), &got);
        Step s = keep_body(q, c->in.data, n);
        buf_consume(&c->in, n);
        q->expected -= n;
        return s;
}

/* A line between chunks: `n` is its length, as http_chunk_line() says it. */
static Step take_line(RequestImpl *q, int n, ChunkState next) {
        Connection *c = connection_of(q);
        size_t got;
        if (n == 0)
                return fill(c, &c->in, HEAD_ROOM, &got);
        if (n < 0) {
                refuse(q, 400, no_chunks);
                return STEP_ON;
        }
        buf_consume(&c->in, (size_t)n);
        q->chunk = next;
        discard(q, (size_t)n); /* so that endless lines end */
        return STEP_ON;
}

static Step step_chunk(RequestImpl *q) {
        const Buf *in = &connection_of(q)->in;
        Step s;
        int n;
        switch (q->chunk) {
        case CHUNK_LINE:
                n = http_chunk_line(in->data, in->len, &q->expected);
                return take_line(q, n, n > 0 && q->expected == 0 ? CHUNK_TRAILER : CHUNK_DATA);
        case CHUNK_DATA:
                if (q->expected > 0)
                        return take_body(q);
                q->chunk = CHUNK_END;
                return STEP_ON;
        case CHUNK_END:
                n = http_trailer_line(in->data, in->len);
                return take_line(q, n > 2 || (n == 0 && in->len > 1) ? -1 : n, CHUNK_LINE);
        case CHUNK_TRAILER:
        default:
                n = http_trailer_line(in->data, in->len);
                s = take_line(q, n, CHUNK_TRAILER);
                if (n == 2 && q->state == RECEIVING)
                        handle(q);
                return s;
        }
}

static Step step_body(RequestImpl *q) {
        if (q->head.chunked)
                return step_chunk(q);
        if (q->expected > 0)
                return take_body(q);
        handle(q);
        return STEP_ON;
}

/* ---- a connection's steps ---- */

/* Goes on with the next request, or closes: at once, or when the client has said all it had begun to. What it said and
 * nobody has read would be a reset when the connection closes. */
static Step answer_done(RequestImpl *q) {
        Connection *c = connection_of(q);
        bool keep = q->head.keep_alive && !q->refused, unread = q->refused || c->in.len > 0 || c->readable;
        request_free(q);
        if (keep)
                return watch_out(c, false) ? STEP_ON : STEP_CLOSE;
        if (!unread)
                return STEP_CLOSE;
        shutdown(c->fd, SHUT_WR);
        c->lingering = true;
        return STEP_ON;
}

static Step step_linger(Connection *c) {
        size_t got;
        buf_clear(&c->in);
        return fill(c, &c->in, READ_SIZE, &got);
}

/* Not when it is answered in whole: then the handler has said its last. */
static void request_gone(RequestImpl *q) {
        if ((q->state == HANDLED || (q->state == STREAM && !q->ended)) && q->r.gone)
                q->r.gone(&q->r);
}

/* Memory ran out. Better no answer than a cut one, and better still one that says so. */
static Step answer_failed(RequestImpl *q) {
        if (q->begun || q->refused)
                return STEP_CLOSE;
        request_gone(q);
        buf_deinit(&q->out);
        buf_deinit(&q->fields);
        q->state = HANDLED;
        request_add_header(&q->r, "Retry-After", "1");
        refuse(q, 503, no_memory);
        return STEP_ON;
}

static Step connection_step(Connection *c) {
        RequestImpl *q = c->request;
        if (c->lingering)
                return step_linger(c);
        if (!q)
                return step_head(c);
        switch (q->state) {
        case RECEIVING:
                return step_body(q);
        case HANDLED:
                return c->ended ? STEP_CLOSE : STEP_WAIT;
        case REPLY:
        case STREAM:
        default:
                return step_answer(q);
        }
}

static void make_room(Http *h) {
        if (!h->full || h->n_connections >= h->config->limits.connections)
                return;
        h->full = false;
        h->room(h->arg);
}

/* What is left of it when it is not counted, watched or connected. */
static void connection_drop(Connection *c) {
        if (!c)
                return;
        buf_deinit(&c->in);
        free(c->key);
        free(c);
}

static void connection_free(Connection *c) {
        Http *h = c->http;
        if (c->request) {
                request_gone(c->request);
                request_free(c->request);
        }
        list_remove(&c->ready);
        list_remove(&c->node);
        c->user->connections--;
        h->n_connections--;
        epoll_ctl(h->epoll, EPOLL_CTL_DEL, c->fd, NULL); /* close() leaves it there while a child about to exec has it too */
        close(c->fd);
        connection_drop(c);
        make_room(h);
}

static void connection_run(Connection *c) {
        Step s = STEP_ON;
        c->http->running = c;
        for (int i = 0; s == STEP_ON && i < STEPS_PER_RUN; i++)
                s = connection_step(c);
        c->http->running = NULL;
        if (s == STEP_CLOSE)
                connection_free(c);
        else if (s == STEP_ON)
                wake(c);
}

/* ---- connections come ---- */

static void turn_away(int fd, const char *why) {
        char text[256];
        int n = snprintf(text, sizeof(text),
                         "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n"
                         "Content-Length: %zu\r\n\r\n%s\n", strlen(why) + 1, why);
        ssize_t ignored _unused_ = send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
}

/* Who is calling, not yet counted or watched; NULL when it cannot be told, or for want of memory. */
static Connection *connection_new(Http *h, const Listener *l, int fd) {
        Connection *c = calloc(1, sizeof(*c));
        if (!c)
                return NULL;
        c->http = h;
        c->fd = fd;
        c->since = now_usec();
        list_init(&c->node);
        list_init(&c->ready);
        if (peer_of(fd, &c->peer) >= 0 && (c->user = users_get(h->users, &c->peer, h->config)) &&
            (!l->key || (c->key = strdup(l->key))))
                return c;
        connection_drop(c);
        return NULL;
}

/* Why not, or NULL. The limit in all is the listeners' to keep. */
static const char *take_in(Connection *c) {
        struct epoll_event event = {.events = WATCHED, .data.ptr = c};
        if (c && c->user->connections >= c->http->config->limits.connections_per_user)
                return "too many connections of this user (limits.connections_per_user)";
        if (!c || epoll_ctl(c->http->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
                return "out of memory or descriptors";
        return NULL;
}

/* At the limit in all, clients wait in the listen queue; a user at theirs is told so, since others may still come. */
bool http_accept(Listener *l, int fd, void *arg) {
        Http *h = arg;
        Connection *c = connection_new(h, l, fd);
        const char *why = take_in(c);
        if (why) {
                turn_away(fd, why);
                connection_drop(c);
                return true;
        }
        c->user->connections++;
        list_append(&h->connections, &c->node);
        if (++h->n_connections == 1) /* the sweep sleeps while there is nobody: an idle daemon wakes for nothing */
                event_timer_set(&h->sweep, SWEEP_USEC);
        h->full = h->n_connections >= h->config->limits.connections;
        return !h->full;
}

/* ---- timeouts ---- */

/* How long a connection may stay as it is: idle; receiving; with something to take that the client does not take. While
 * an answer is being made, as long as that lasts. */
static uint64_t allowed(const Connection *c, const ConfigLimits *limits) {
        const RequestImpl *q = c->request;
        if (c->lingering)
                return LINGER_USEC;
        if (!q)
                return c->in.len > 0 ? limits->request_timeout : limits->idle_timeout;
        if (q->state == RECEIVING)
                return limits->request_timeout;
        bool being_made = q->state == HANDLED || (q->state == STREAM && pending(q) == 0 && !q->ended);
        return being_made ? UINT64_MAX : limits->idle_timeout;
}

/* Who has begun to ask is told why that ends. */
static void expire(Connection *c) {
        RequestImpl *q = c->request;
        if (c->lingering || (q ? q->state != RECEIVING : c->in.len == 0)) {
                connection_free(c);
                return;
        }
        Step s = STEP_ON;
        if (q)
                refuse(q, 408, too_slow);
        else
                s = take_head(c, 0, 408, too_slow);
        if (s == STEP_CLOSE)
                connection_free(c);
        else
                wake(c);
}

/* By the whole request, not by inactivity: a byte now and then keeps nothing open. Where there are many connections it
 * takes them in parts, round and round, each once in SWEEP_USEC. */
static void on_sweep(EventSource *s, uint32_t revents _unused_) {
        Http *h = container_of(s, Http, sweep);
        uint32_t n = MIN(h->n_connections, (uint32_t)SWEEP_AT_ONCE), all = h->n_connections;
        for (uint32_t i = 0; i < n; i++) {
                Connection *c = list_first(&h->connections, Connection, node);
                list_remove(&c->node);
                list_append(&h->connections, &c->node);
                if (now_usec() - c->since > allowed(c, &h->config->limits))
                        expire(c);
        }
        users_sweep(h->users);
        if (h->n_connections > 0)
                event_timer_set(&h->sweep, (uint64_t)SWEEP_USEC * n / all);
}

/* ---- life ---- */

int http_new(EventLoop *l, Users *users, HttpHandler handler, HttpRoom room, void *arg, Http **ret, Error *e) {
        _cleanup_(http_freep) Http *h = calloc(1, sizeof(*h));
        if (!h)
                return error_set(e, -ENOMEM, "out of memory");
        *h = (Http){.loop = l, .users = users, .handler = handler, .room = room, .arg = arg,
                    .io = EVENT_SOURCE_NULL, .kick = EVENT_SOURCE_NULL, .sweep = EVENT_SOURCE_NULL};
        list_init(&h->connections);
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
        h->full = false;
        list_foreach(c, &h->connections, Connection, node)
                connection_free(c);
        event_remove(&h->io);
        event_remove(&h->kick);
        event_remove(&h->sweep);
        if (h->epoll >= 0)
                close(h->epoll);
        free(h);
}

void http_configure(Http *h, const Config *config) {
        h->config = config;
        make_room(h);
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

uint32_t http_n_expected(Http *h) {
        uint32_t n = 0;
        uint64_t now = now_usec();
        take_events(h);
        if (!list_is_empty(&h->ready))
                event_defer_set(&h->kick);
        list_foreach(c, &h->connections, Connection, node)
                n += !c->request && !c->lingering &&
                     (c->readable || c->in.len > 0 || now - c->since < (c->served ? AGAIN_USEC : SILENT_USEC));
        return n;
}
