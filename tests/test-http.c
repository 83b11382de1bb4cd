/* HTTP on the loop, over socket pairs and with a handler that does as the path says: answers come whole, in order, and to
 * who asked, however slowly bytes go in and out; who goes away is gone once; nothing stays charged to the user.
 * What is random repeats: each round says its seed when it fails.
 *
 * A loop runs once, so it has a thread of its own, which waits while the test goes on and is let go for a turn(). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "daemon/http.h"
#include "util/str.h"

enum { KEPT_MAX = 64, PATIENCE_USEC = 30000000, SMALL_BUFFER = 2048, LIMIT = 64 * 1024 };

typedef struct Fixture {
        EventLoop *loop;
        EventSource tick;
        pthread_t thread;
        sem_t go, done;
        bool end;
        Users users;
        Config config;
        Listener listener;
        Http *http;
        Request *kept[KEPT_MAX]; /* with the handler, oldest first */
        int n_kept, handled, gone, drained, rooms;
} Fixture;

static Fixture f;

/* ---- the server ---- */

static void forget(int i) {
        memmove(f.kept + i, f.kept + i + 1, (size_t)(--f.n_kept - i) * sizeof(f.kept[0]));
}

static void on_gone(Request *r) {
        for (int i = 0; i < f.n_kept; i++)
                if (f.kept[i] == r)
                        forget(i);
        f.gone++;
}

static void on_drained(Request *r) {
        (void)r;
        f.drained++;
}

/* /echo answers with the body, /busy after a while, all else is kept. */
static void handler(Request *r, void *arg) {
        (void)arg;
        if (r->refused_with) {
                request_reply(r, r->refused_with, "text/plain", r->refused_why, strlen(r->refused_why));
                return;
        }
        f.handled++;
        if (strcmp(r->path, "/busy") == 0)
                for (uint64_t start = now_usec(); now_usec() - start < 400;)
                        ;
        else if (strcmp(r->path, "/echo") != 0) {
                if (f.n_kept == KEPT_MAX)
                        abort();
                r->gone = on_gone;
                r->drained = on_drained;
                f.kept[f.n_kept++] = r;
                return;
        }
        request_reply(r, 200, "text/plain", r->body.data, r->body.len);
}

static void on_room(void *arg) {
        (void)arg;
        f.rooms++;
}

static void on_tick(EventSource *s, uint32_t revents) {
        (void)revents;
        sem_post(&f.done);
        sem_wait(&f.go);
        if (f.end)
                event_loop_exit(s->loop, 0);
        else
                event_timer_set(s, 0);
}

static void *run_loop(void *arg) {
        event_loop_run(arg);
        return NULL;
}

static int setup(void **state) {
        (void)state;
        f = (Fixture){.tick = EVENT_SOURCE_NULL, .listener = {.fd = -1}};
        f.config.limits = (ConfigLimits){.connections = 1000, .connections_per_user = 1000, .header_size = 4096, .body_size = LIMIT,
                                         .memory_per_user = 1 << 30, .idle_timeout = PATIENCE_USEC, .request_timeout = PATIENCE_USEC};
        Error e = ERROR_NULL;
        users_init(&f.users);
        assert_int_equal(event_loop_new(&f.loop), 0);
        assert_int_equal(event_add_timer(f.loop, &f.tick, EVENT_PRIORITY_NORMAL, "tick", on_tick), 0);
        assert_int_equal(http_new(f.loop, &f.users, handler, on_room, NULL, &f.http, &e), 0);
        http_configure(f.http, &f.config);
        event_timer_set(&f.tick, 0);
        sem_init(&f.go, 0, 0);
        sem_init(&f.done, 0, 0);
        assert_int_equal(pthread_create(&f.thread, NULL, run_loop, f.loop), 0);
        sem_wait(&f.done);
        return 0;
}

static uint64_t held(void) {
        uint64_t n = 0;
        list_foreach(u, &f.users.list, User, node)
                n += u->held + u->connections;
        return n;
}

static int teardown(void **state) {
        (void)state;
        f.end = true;
        sem_post(&f.go);
        pthread_join(f.thread, NULL);
        http_free(f.http);
        uint64_t left = held();
        users_deinit(&f.users);
        event_remove(&f.tick);
        event_loop_free(f.loop);
        return left > 0;
}

static void turn(void) {
        sem_post(&f.go);
        sem_wait(&f.done);
}

/* Enough for all that can happen without the client's doing. */
static void settle(void) {
        for (int i = 0; i < 40; i++)
                turn();
}

#define turn_until(condition)                                                                   \
        do {                                                                                    \
                for (uint64_t end = now_usec() + PATIENCE_USEC; !(condition); turn())           \
                        assert_true(now_usec() < end);                                          \
        } while (0)

/* ---- a client ---- */

typedef struct Client {
        int fd;
        Buf in;
        bool closed; /* by the server */
} Client;

static Client connect_client(bool small, int *ret_server) {
        int fds[2], size = SMALL_BUFFER;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        if (small) {
                setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
                setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        }
        if (ret_server)
                *ret_server = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        http_accept(&f.listener, fds[0], f.http);
        return (Client){.fd = fds[1]};
}

static Client client_new(void) {
        return connect_client(false, NULL);
}

static void hang_up(Client *c) {
        close(c->fd);
        buf_deinit(&c->in);
}

/* Takes at most `most` bytes; whether any came. */
static bool hear(Client *c, size_t most) {
        char *p = buf_reserve(&c->in, most);
        ssize_t n = recv(c->fd, p, most, 0);
        c->closed |= n == 0;
        if (n > 0)
                p[n] = 0;
        c->in.len += n > 0 ? (size_t)n : 0;
        return n > 0;
}

/* All of it, unless the server has closed. */
static void say_bytes(Client *c, const char *data, size_t n) {
        for (size_t done = 0; done < n;) {
                ssize_t m = send(c->fd, data + done, n - done, MSG_NOSIGNAL);
                if (m < 0 && errno != EAGAIN)
                        return;
                if (m < 0)
                        turn();
                done += m < 0 ? 0 : (size_t)m;
        }
}

static void say(Client *c, const char *text) {
        say_bytes(c, text, strlen(text));
}

/* Takes a chunked body's chunks together, in place; its length in the stream, 0 when it is not complete. */
static size_t unchunk(char *data, size_t n, Buf *body) {
        char *p = data, *end = data + n;
        for (;;) {
                char *lf = memchr(p, '\n', (size_t)(end - p)), *after;
                if (!lf)
                        return 0;
                size_t size = strtoul(p, &after, 16);
                assert_true(after > p && after == lf - 1 && *after == '\r');
                p = lf + 1;
                if ((size_t)(end - p) < size + 2)
                        return 0;
                assert_memory_equal(p + size, "\r\n", 2);
                buf_put(body, p, size);
                p += size + 2;
                if (size == 0)
                        return (size_t)(p - data);
        }
}

typedef struct Answer {
        unsigned status;
        bool close;
        Buf body;
} Answer;

/* The next of what has been heard, if it is complete. */
static bool next_answer(Client *c, bool head_only, Answer *ret) {
        char *blank = c->in.len ? strstr(c->in.data, "\r\n\r\n") : NULL, *length;
        if (!blank)
                return false;
        *blank = 0;
        size_t n = (size_t)(blank + 4 - c->in.data), rest = c->in.len - n, body = 0;
        *ret = (Answer){.close = strstr(c->in.data, "\r\nConnection: close") != NULL};
        assert_int_equal(sscanf(c->in.data, "HTTP/1.1 %u ", &ret->status), 1);
        bool complete = true;
        if (strstr(c->in.data, "\r\nTransfer-Encoding: chunked"))
                complete = head_only || (body = unchunk(blank + 4, rest, &ret->body)) > 0;
        else {
                assert_non_null(length = strstr(c->in.data, "\r\nContent-Length: "));
                body = head_only ? 0 : strtoul(length + 18, NULL, 10);
                if ((complete = body <= rest))
                        buf_put(&ret->body, blank + 4, body);
        }
        *blank = '\r';
        if (complete)
                buf_consume(&c->in, n + body);
        else
                buf_deinit(&ret->body);
        return complete;
}

/* Waits for an answer and checks it; `body` NULL: any. */
static void expect_answer(Client *c, unsigned status, const char *body) {
        Answer a;
        turn_until(hear(c, 4096) || next_answer(c, false, &a) || c->closed);
        turn_until(next_answer(c, false, &a) || (hear(c, 4096), false));
        if (a.status != status)
                fail_msg("%u, not %u: %s", a.status, status, a.body.data);
        if (body)
                assert_string_equal(a.body.data, body);
        buf_deinit(&a.body);
}

static void expect_close(Client *c) {
        turn_until((hear(c, 4096), c->closed));
        assert_int_equal(c->in.len, 0);
}

#define HEAD(line) line " HTTP/1.1\r\nHost: localhost\r\n"

static void test_plain(void **state) {
        (void)state;
        Client c = client_new();
        say(&c, HEAD("POST /echo") "Content-Length: 5\r\n\r\nhello");
        expect_answer(&c, 200, "hello");
        say(&c, HEAD("POST /echo") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        turn_until(hear(&c, 100));
        assert_string_equal(c.in.data, "HTTP/1.1 100 Continue\r\n\r\n");
        buf_clear(&c.in);
        say(&c, "hi");
        expect_answer(&c, 200, "hi");
        assert_int_equal(held(), 1);
        say(&c, HEAD("POST /echo") "Connection: close\r\n\r\n");
        expect_answer(&c, 200, NULL);
        expect_close(&c);
        assert_int_equal(held(), 0);
        hang_up(&c);
}

/* ---- at random ---- */

static unsigned seed;

static size_t random_below(size_t n) {
        return (size_t)rand_r(&seed) % n;
}

/* At most `most`, and mostly few. */
static size_t random_piece(size_t most) {
        size_t few = random_below(2) ? 20 : 20000;
        return random_below(MIN(most, few) + 1);
}

typedef struct Expected {
        bool head_only;
        Buf body;
} Expected;

static void put_body(Buf *out, const char *data, size_t n) {
        if (random_below(2)) {
                buf_printf(out, "Content-Length: %zu\r\n\r\n", n);
                buf_put(out, data, n);
                return;
        }
        buf_puts(out, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < n;) {
                size_t size = 1 + random_piece(n - i - 1);
                buf_printf(out, random_below(2) ? "%zx\r\n" : "%04zX;a=\"b\"\r\n", size);
                buf_put(out, data + i, size);
                buf_puts(out, "\r\n");
                i += size;
        }
        buf_puts(out, random_below(2) ? "0\r\n\r\n" : "000\r\nX-Trailer: x\r\n\r\n");
}

static void put_request(Buf *out, Expected *e) {
        static const char *const paths[] = {"/echo", "/keep", "/stream", "/busy"};
        size_t n = random_below(4) ? random_below(100) : random_below(LIMIT);
        e->body = BUF_NULL;
        e->head_only = random_below(5) == 0;
        for (size_t i = 0; i < n; i++)
                buf_putc(&e->body, (char)('a' + random_below(26)));
        buf_put(&e->body, "", 0);
        if (random_below(4) == 0)
                buf_puts(out, "\r\n");
        buf_printf(out, "%s %s HTTP/1.1\r\nHost: localhost\r\n", e->head_only ? "HEAD" : "POST", paths[random_below(ARRAY_SIZE(paths))]);
        put_body(out, e->body.data, n);
}

typedef struct Stream {
        Buf body;
        size_t written;
        bool begun;
} Stream;

static void write_some(int i) {
        Request *r = f.kept[i];
        Stream *s = r->state;
        if (!s) {
                r->state = s = calloc(1, sizeof(*s));
                buf_put(&s->body, r->body.data, r->body.len);
        }
        if (!s->begun) {
                request_stream_begin(r, 200, "text/plain");
                s->begun = true;
        }
        size_t n = random_piece(s->body.len - s->written);
        if (n > 0)
                request_write(r, s->body.data + s->written, n);
        s->written += n;
        if (s->written < s->body.len)
                return;
        request_end(r);
        buf_deinit(&s->body);
        free(s);
        forget(i);
}

static void answer_some(void) {
        if (f.n_kept == 0 || random_below(3))
                return;
        int i = (int)random_below((size_t)f.n_kept);
        Request *r = f.kept[i];
        if (strcmp(r->path, "/stream") == 0) {
                write_some(i);
                return;
        }
        request_reply(r, 200, "text/plain", r->body.data, r->body.len);
        forget(i);
}

typedef struct Talk {
        Client c;
        Buf out;
        size_t said;
        Expected expected[8];
        int n, heard;
} Talk;

static void talk_begin(Talk *t) {
        *t = (Talk){.c = connect_client(random_below(3) > 0, NULL), .n = 1 + (int)random_below(ARRAY_SIZE(t->expected))};
        for (int i = 0; i < t->n; i++)
                put_request(&t->out, &t->expected[i]);
}

static void talk_some(Talk *t) {
        size_t n = random_piece(t->out.len - t->said);
        ssize_t m = n > 0 ? send(t->c.fd, t->out.data + t->said, n, MSG_NOSIGNAL) : 0;
        t->said += m > 0 ? (size_t)m : 0;
        if (random_below(2))
                hear(&t->c, 1 + random_piece(SIZE_MAX - 1));
        assert_false(t->c.closed);
        Answer a;
        while (t->heard < t->n && next_answer(&t->c, t->expected[t->heard].head_only, &a)) {
                Expected *e = &t->expected[t->heard++];
                assert_int_equal(a.status, 200);
                if (!e->head_only)
                        assert_string_equal(a.body.data ? a.body.data : "", e->body.data);
                buf_deinit(&a.body);
                buf_deinit(&e->body);
        }
}

static void talk_end(Talk *t) {
        assert_int_equal(t->c.in.len, 0);
        buf_deinit(&t->out);
        hang_up(&t->c);
}

/* Some clients at once, each with some requests ahead, in pieces of any size. */
static void test_random_talks(void **state) {
        (void)state;
        Talk talks[3];
        for (unsigned round = 0; round < 60; round++) {
                print_message(round ? "" : "seeds 20261125…\n");
                seed = 20261125 + round;
                bool going = true;
                for (size_t i = 0; i < ARRAY_SIZE(talks); i++)
                        talk_begin(&talks[i]);
                for (uint64_t end = now_usec() + PATIENCE_USEC; going; turn()) {
                        going = f.n_kept > 0;
                        answer_some();
                        for (size_t i = 0; i < ARRAY_SIZE(talks); i++) {
                                talk_some(&talks[i]);
                                going |= talks[i].heard < talks[i].n;
                        }
                        if (now_usec() > end)
                                fail_msg("seed %u: it hangs", 20261125 + round);
                }
                assert_int_equal(held(), ARRAY_SIZE(talks));
                for (size_t i = 0; i < ARRAY_SIZE(talks); i++)
                        talk_end(&talks[i]);
                turn_until(http_n_connections(f.http) == 0);
                assert_int_equal(http_n_requests(f.http), 0);
                assert_int_equal(held(), 0);
        }
        assert_int_equal(f.gone, 0);
}

/* ---- who goes away, who is slow ---- */

#define POST(path, length) HEAD("POST " path) "Content-Length: " #length "\r\n\r\n"

/* Lets the client go when `n` bytes were said, and the handler has done nothing, begun a stream, or written to it. */
static void leave_after(const char *text, size_t n, int done) {
        Client c = client_new();
        say_bytes(&c, text, n);
        settle();
        if (f.n_kept > 0 && done > 0)
                request_stream_begin(f.kept[0], 200, "text/plain");
        if (f.n_kept > 0 && done > 1)
                request_write(f.kept[0], "some text", 9);
        bool was_kept = f.n_kept > 0;
        f.gone = 0;
        hang_up(&c);
        turn_until(http_n_connections(f.http) == 0);
        assert_int_equal(f.gone, was_kept);
        assert_int_equal(held(), 0);
}

static void test_leaving(void **state) {
        (void)state;
        static const char text[] = HEAD("POST /keep") "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /echo";
        for (size_t n = 0; n < sizeof(text); n++)
                for (int done = 0; done < 3; done++)
                        leave_after(text, n, n + 20 < sizeof(text) ? 0 : done);
        assert_true(f.handled > 0);
}

/* A stream is full and held back while it is not taken; then it goes on, and nothing is lost. */
static void test_slow_reader(void **state) {
        (void)state;
        static char piece[1000];
        Client c = connect_client(true, NULL);
        size_t written = 0;
        say(&c, POST("/keep", 0));
        turn_until(f.n_kept == 1);
        Request *r = f.kept[0];
        request_stream_begin(r, 200, "text/plain");
        memset(piece, 'x', sizeof(piece));
        for (int round = 0; round < 3; round++) {
                for (; !request_is_full(r); written += sizeof(piece)) {
                        request_write(r, piece, sizeof(piece));
                        turn();
                }
                assert_true(held() > 1);
                assert_int_equal(f.drained, round);
                turn_until((hear(&c, 5000), f.drained > round));
                assert_false(request_is_full(r));
        }
        request_end(r);
        forget(0);
        Answer a;
        turn_until((hear(&c, 100000), next_answer(&c, false, &a)));
        assert_int_equal(a.body.len, written);
        assert_int_equal(held(), 1);
        buf_deinit(&a.body);
        hang_up(&c);
}

/* One that takes nothing, and says that it will send nothing, waits for nothing. */
static void test_half_closed_while_blocked(void **state) {
        (void)state;
        static char piece[100000];
        Client c = connect_client(true, NULL);
        say(&c, POST("/keep", 0));
        turn_until(f.n_kept == 1);
        request_stream_begin(f.kept[0], 200, "text/plain");
        request_write(f.kept[0], piece, sizeof(piece));
        settle();
        shutdown(c.fd, SHUT_WR);
        turn_until(f.gone == 1);
        hang_up(&c);
}

/* What a whole answer and a client that has said all are to each other: it still gets it. */
static void test_half_closed_before_the_answer_is_taken(void **state) {
        (void)state;
        static char body[200000];
        Client c = connect_client(true, NULL);
        say(&c, POST("/keep", 0));
        turn_until(f.n_kept == 1);
        memset(body, 'x', sizeof(body) - 1);
        request_reply(f.kept[0], 200, "text/plain", body, sizeof(body) - 1);
        forget(0);
        settle();
        shutdown(c.fd, SHUT_WR);
        settle();
        expect_answer(&c, 200, body);
        expect_close(&c);
        hang_up(&c);
}

/* A child that has just been forked still has our descriptors: the connection is gone all the same. */
static void test_descriptor_elsewhere(void **state) {
        (void)state;
        for (int refused = 0; refused < 2; refused++) {
                int server;
                f.config.limits.connections_per_user = refused ? 0 : 1000;
                Client c = connect_client(false, &server);
                if (!refused)
                        say(&c, HEAD("POST /echo") "Connection: close\r\n\r\n");
                expect_answer(&c, refused ? 503 : 200, NULL);
                turn_until(http_n_connections(f.http) == 0);
                say(&c, "still there?");
                settle();
                close(server);
                hang_up(&c);
        }
}

/* ---- limits ---- */

/* A body of `n` chunks of `size`. */
static void put_chunks(Buf *out, size_t n, size_t size) {
        static char data[LIMIT + 1];
        memset(data, 'x', sizeof(data));
        buf_puts(out, HEAD("POST /echo") "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < n; i++) {
                buf_printf(out, "%zx\r\n", size);
                buf_put(out, data, size);
                buf_puts(out, "\r\n");
        }
        buf_puts(out, "0\r\n\r\n");
}

/* Whatever is too large is said to be, also to a client that reads only when it has sent all. */
static void expect_refusal(const Buf *request, unsigned status) {
        Client c = client_new();
        say_bytes(&c, request->data, request->len);
        expect_answer(&c, status, NULL);
        assert_in_range(held(), 0, 1);
        shutdown(c.fd, SHUT_WR);
        expect_close(&c);
        hang_up(&c);
        turn_until(http_n_connections(f.http) == 0);
        assert_int_equal(held(), 0);
}

static void test_limits(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        static const struct {
                size_t chunks, size;
        } cases[] = {{1, LIMIT + 1}, {3, LIMIT - 1}, {20, LIMIT - 1}, {LIMIT - 1, 1}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                put_chunks(&b, cases[i].chunks, cases[i].size);
                expect_refusal(&b, 413);
                buf_clear(&b);
        }
        buf_printf(&b, HEAD("POST /echo") "Content-Length: %d\r\n\r\n", LIMIT + 1);
        for (int i = 0; i <= LIMIT; i++)
                buf_putc(&b, 'x');
        expect_refusal(&b, 413);
        buf_clear(&b);
        buf_puts(&b, HEAD("POST /echo") "Content-Length: 1000000000000\r\n\r\nx");
        expect_refusal(&b, 413);
        buf_clear(&b);
        buf_puts(&b, HEAD("POST /echo") "X: ");
        for (int i = 0; i < 5000; i++)
                buf_putc(&b, 'x');
        expect_refusal(&b, 431);
        f.config.limits.memory_per_user = 1000;
        buf_clear(&b);
        put_chunks(&b, 10, 200);
        expect_refusal(&b, 429);
        buf_deinit(&b);
}

static Request *keep_one(Client *c) {
        say(c, HEAD("POST /keep") "\r\n");
        turn_until(f.n_kept == 1);
        return f.kept[0];
}

/* More than there can be: an answer of which nothing has left is a 503, another breaks off. */
static void test_no_memory(void **state) {
        (void)state;
        enum { REPLY, STREAM, ABORT, N };
        for (int how = 0; how < N; how++) {
                Client c = client_new();
                Request *r = keep_one(&c);
                int gone = f.gone;
                if (how == REPLY)
                        request_reply(r, 200, "text/plain", "", SIZE_MAX);
                else {
                        request_stream_begin(r, 200, "text/plain");
                        request_write(r, "hello", 5);
                        if (how == ABORT)
                                request_abort(r);
                        else
                                request_write(r, "", SIZE_MAX);
                }
                f.n_kept -= how != STREAM;
                expect_answer(&c, 503, "out of memory for this request");
                expect_close(&c);
                assert_int_equal(f.gone, gone + (how == STREAM)); /* its writer is told to stop */
                assert_int_equal(f.n_kept, 0);
                hang_up(&c);
        }
        for (int how = STREAM; how < N; how++) {
                Client c = client_new();
                Request *r = keep_one(&c);
                request_stream_begin(r, 200, "text/plain");
                request_write(r, "hello", 5);
                turn_until((hear(&c, 1000), c.in.len > 0 && strstr(c.in.data, "hello\r\n")));
                if (how == ABORT) {
                        f.n_kept--;
                        request_abort(r);
                } else
                        request_write(r, "", SIZE_MAX);
                turn_until((hear(&c, 1000), c.closed));
                assert_null(strstr(c.in.data, "\r\n0\r\n"));
                assert_int_equal(f.n_kept, 0);
                hang_up(&c);
        }
        assert_int_equal(held(), 0);
}

static void test_room(void **state) {
        (void)state;
        f.config.limits.connections = 2;
        Client a = client_new(), b = client_new();
        f.config.limits.connections = 1; /* a reload */
        http_configure(f.http, &f.config);
        hang_up(&a);
        turn_until(http_n_connections(f.http) == 1);
        assert_int_equal(f.rooms, 0);
        f.config.limits.connections = 3;
        http_configure(f.http, &f.config);
        assert_int_equal(f.rooms, 1);
        hang_up(&b);
        turn_until(http_n_connections(f.http) == 0);
        assert_int_equal(f.rooms, 1);
}

/* Somebody who says a little again and again has their turn among others who keep us busy. */
static void test_turns(void **state) {
        (void)state;
        Client busy[8], c = client_new();
        for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
                busy[i] = client_new();
                for (int k = 0; k < 200; k++)
                        say(&busy[i], HEAD("GET /busy") "\r\n");
        }
        settle();
        say(&c, HEAD("POST /keep"));
        for (int i = 0; f.n_kept == 0; i++) {
                assert_in_range(i, 0, 100);
                say(&c, i == 40 ? "\r\n" : i < 40 ? "X: y\r\n" : "GET");
                turn();
        }
        for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
                hang_up(&busy[i]);
        hang_up(&c);
}

static void test_drain(void **state) {
        (void)state;
        Client c = client_new(), idle = client_new();
        bool both = false;
        for (int i = 0; i < 1000 && !both; i++) { /* who was just answered may ask again: seen where we are quick enough */
                say(&idle, POST("/echo", 0));
                expect_answer(&idle, 200, "");
                both = http_n_expected(f.http) == 2;
        }
        assert_true(both);
        turn_until(http_n_expected(f.http) == 1); /* c, which has not spoken yet */
        http_drain(f.http);
        say(&c, POST("/echo", 2) "hi");
        Answer a;
        turn_until((hear(&c, 1000), next_answer(&c, false, &a)));
        assert_true(a.close);
        buf_deinit(&a.body);
        expect_close(&c);
        assert_int_equal(http_n_expected(f.http), 0);
        say(&idle, "GET");
        assert_int_equal(http_n_expected(f.http), 1);
        hang_up(&idle);
        hang_up(&c);
}

/* HTTP/1.0 knows neither chunks nor 100 (Continue): a stream ends with its connection. */
static void test_http10(void **state) {
        (void)state;
        Client c = client_new();
        say(&c, "POST /keep HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        settle();
        assert_false(hear(&c, 100));
        say(&c, "x");
        turn_until(f.n_kept == 1);
        request_stream_begin(f.kept[0], 200, "text/plain");
        request_write(f.kept[0], "one ", 4);
        settle();
        request_write(f.kept[0], "two", 3);
        settle();
        request_end(f.kept[0]);
        forget(0);
        turn_until((hear(&c, 4096), c.closed));
        assert_non_null(strstr(c.in.data, "\r\nConnection: close\r\n"));
        assert_null(strstr(c.in.data, "Transfer-Encoding"));
        assert_string_equal(strstr(c.in.data, "\r\n\r\n"), "\r\n\r\none two");
        hang_up(&c);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_plain, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random_talks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leaving, setup, teardown),
                cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(test_half_closed_while_blocked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_half_closed_before_the_answer_is_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_descriptor_elsewhere, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_room, setup, teardown),
                cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
                cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
                cmocka_unit_test_setup_teardown(test_http10, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
