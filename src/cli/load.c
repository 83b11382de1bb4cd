/* The load generator: non-blocking sockets on one epoll, one small HTTP reader for each. What it costs itself distorts
 * what it measures, so a request is one send(), as few recv() as the answer comes in, and no allocation.
 *
 *      closed ──connect──▶ idle ──send──▶ busy ──answer complete──▶ idle
 *        ▲                   │ EOF          │ EOF, no HTTP
 *        └───────────────────┴──────────────┘
 *
 * Idle clients are a stack. A request is sent when one is due and a client is idle; both the end of an answer and the
 * timer of the fixed rate lead to send_due(). A connection that is kept may be closed by the other side just when a
 * request is sent on it: when it was used before and not a byte of answer came, the request is sent once more on a new
 * one, as every HTTP client does. A connection that cannot be made ends the stage, since no request could follow. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

#include "cli/http-answer.h"
#include "cli/load.h"
#include "util/buf.h"

enum {
        EVENTS = 256,
        TICK_MS = 100,
        CONNECT_SECONDS = 10,
        READ_BYTES = 64 << 10,
        SPARE_FDS = 64,
};

#define NSEC UINT64_C(1000000000)

typedef struct Client {
        int fd;             /* -1: not connected */
        bool busy;
        bool used;          /* an answer came on this connection */
        bool wants_out;     /* epoll also waits for room to send */
        size_t sent;        /* bytes of the request */
        size_t sample;
        HttpAnswer answer;
} Client;

struct Load {
        struct sockaddr_storage address;
        socklen_t address_len;
        char *shown;
        Buf request;
        int epoll, timer;   /* epoll's data is the Client; NULL: the timer */
        LoadTick tick;
        void *userdata;
        uint64_t patience;
        Client **clients, **idle;
        unsigned n_clients, n_idle;
        char *bytes;        /* READ_BYTES, for every recv() */
        /* The stage that runs. */
        const LoadStage *stage;
        LoadResult *result;
        size_t samples_cap;
        uint64_t begin, heard; /* by the clock */
        int r;              /* negative: the stage ends, for the reason in `error` */
        Error *error;
};

static uint64_t now_nsec(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_nsec(void) {
        struct timespec t;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

/* ---- Making one ---- */

static int resolve_host(Load *l, const char *url, Error *e) {
        char host[256], *port;
        if (strncmp(url, "http://", 7) != 0)
                return error_set(e, -EINVAL, "%s: load can be made over Unix sockets and http:// only", url);
        snprintf(host, sizeof(host), "%s", url + 7);
        host[strcspn(host, "/")] = 0;
        port = strrchr(host, ':');
        if (port && !strchr(port, ']'))
                *port++ = 0;
        else
                port = NULL;
        char *name = host;
        if (*name == '[' && name[strlen(name) - 1] == ']') {
                name[strlen(name) - 1] = 0;
                name++;
        }
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        int r = getaddrinfo(name, port ? port : "80", &hints, &found);
        if (r != 0)
                return error_set(e, -ENOTCONN, "cannot find %s: %s", url, gai_strerror(r));
        memcpy(&l->address, found->ai_addr, found->ai_addrlen);
        l->address_len = found->ai_addrlen;
        freeaddrinfo(found);
        return 0;
}

static int resolve(Load *l, const char *address, Error *e) {
        struct sockaddr_un *un = (struct sockaddr_un *)&l->address;
        if (strstr(address, "://"))
                return resolve_host(l, address, e);
        if (strlen(address) >= sizeof(un->sun_path))
                return error_set(e, -EINVAL, "the socket path %.64s… is too long", address);
        un->sun_family = AF_UNIX;
        strcpy(un->sun_path, address);
        l->address_len = sizeof(*un);
        return 0;
}

static void write_request(Load *l, const char *address, const char *key, const char *path, const char *body) {
        bool tcp = strstr(address, "://");
        const char *host = tcp ? address + strlen("http://") : "localhost";
        buf_printf(&l->request, "POST %s HTTP/1.1\r\nHost: %.*s\r\n", path, (int)strcspn(host, "/"), host);
        if (tcp && key)
                buf_printf(&l->request, "Authorization: Bearer %s\r\n", key);
        buf_printf(&l->request, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(body));
        buf_puts(&l->request, body);
}

int load_new(const char *address, const char *key, const char *path, const char *body, Load **ret, Error *e) {
        _cleanup_(load_freep) Load *l = calloc(1, sizeof(*l));
        if (!l)
                return error_set(e, -ENOMEM, "out of memory");
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN};
        if (l->epoll < 0 || l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &event) < 0)
                return error_set(e, -errno, "cannot make an epoll: %s", strerror(errno));
        int r = resolve(l, address, e);
        if (r < 0)
                return r;
        write_request(l, address, key, path, body);
        l->shown = strdup(address);
        l->bytes = malloc(READ_BYTES);
        l->patience = 300 * NSEC;
        if (l->request.failed || !l->shown || !l->bytes)
                return error_set(e, -ENOMEM, "out of memory");
        *ret = TAKE(l);
        return 0;
}

static void disconnect(Client *c) {
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
        c->wants_out = false;
}

void load_free(Load *l) {
        if (!l)
                return;
        for (unsigned i = 0; i < l->n_clients; i++) {
                disconnect(l->clients[i]);
                http_answer_deinit(&l->clients[i]->answer);
                free(l->clients[i]);
        }
        free(l->clients);
        free(l->idle);
        if (l->epoll >= 0)
                close(l->epoll);
        if (l->timer >= 0)
                close(l->timer);
        buf_deinit(&l->request);
        free(l->bytes);
        free(l->shown);
        free(l);
}

void load_set_tick(Load *l, LoadTick tick, void *userdata) {
        l->tick = tick;
        l->userdata = userdata;
}

void load_set_patience(Load *l, uint64_t ns) {
        l->patience = ns;
}

void load_result_deinit(LoadResult *r) {
        free(r->samples);
        *r = (LoadResult){0};
}

/* ---- Connections ---- */

/* A listener whose backlog is full lets connect() wait, so this blocks, but not for ever. */
static int connect_client(Load *l, Client *c) {
        struct timeval patience = {.tv_sec = CONNECT_SECONDS};
        int one = 1, fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_set(l->error, -errno, "cannot make a socket: %s", strerror(errno));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (l->address.ss_family != AF_UNIX)
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (connect(fd, (struct sockaddr *)&l->address, l->address_len) < 0 ||
            epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
                int r = errno;
                close(fd);
                if (r == EINTR)
                        return error_set(l->error, -ECANCELED, "interrupted");
                if (r == EAGAIN || r == EINPROGRESS)
                        return error_set(l->error, -ENOTCONN,
                                         "%s does not accept more than %u connections; see limits.connections of the "
                                         "daemon's configuration",
                                         l->shown, l->n_clients);
                return error_set(l->error, -ENOTCONN, "cannot connect to %s: %s", l->shown, strerror(r));
        }
        c->fd = fd;
        c->used = false;
        return 0;
}

static int allow_descriptors(unsigned n, Error *e) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= n)
                return 0;
        rlim_t had = limit.rlim_max;
        limit.rlim_cur = n;
        limit.rlim_max = MAX(had, (rlim_t)n); /* more than was allowed needs privileges, which we may have */
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
                return 0;
        return error_set(e, -EMFILE, "%u clients need as many open files, but only %llu are allowed here (ulimit -Hn)",
                         n - SPARE_FDS, (unsigned long long)had);
}

/* Clients are pointers so that epoll may keep them while the array grows. */
static int add_client(Load *l) {
        Client **clients = realloc(l->clients, (l->n_clients + 1) * sizeof(Client *));
        if (clients)
                l->clients = clients;
        Client **idle = realloc(l->idle, (l->n_clients + 1) * sizeof(Client *));
        if (idle)
                l->idle = idle;
        Client *c = clients && idle ? calloc(1, sizeof(*c)) : NULL;
        if (!c)
                return error_set(l->error, -ENOMEM, "out of memory");
        c->fd = -1;
        l->clients[l->n_clients++] = c;
        return 0;
}

/* Exactly the stage's clients are idle and connected afterwards. */
static int prepare_clients(Load *l, unsigned n) {
        int r = allow_descriptors(n + SPARE_FDS, l->error);
        while (r == 0 && l->n_clients < n)
                r = add_client(l);
        l->n_idle = 0;
        for (unsigned i = 0; r == 0 && i < n; i++) {
                Client *c = l->clients[i];
                if (c->fd < 0)
                        r = connect_client(l, c);
                l->idle[l->n_idle++] = c;
        }
        for (unsigned i = n; i < l->n_clients; i++)
                disconnect(l->clients[i]);
        return r;
}

/* ---- Requests ---- */

static void want_out(Load *l, Client *c, bool want) {
        if (c->wants_out == want)
                return;
        struct epoll_event event = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->wants_out = want;
}

/* Sends what is left of the request: 0, or the errno the connection died of. */
static int send_more(Load *l, Client *c) {
        while (c->sent < l->request.len) {
                ssize_t k = send(c->fd, l->request.data + c->sent, l->request.len - c->sent,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno != EAGAIN)
                        return errno;
                if (k < 0)
                        break;
                c->sent += (size_t)k;
        }
        want_out(l, c, c->sent < l->request.len);
        return 0;
}

/* Sends the client's request from its beginning, on a new connection when there is none or the old one is dead. */
static int send_request(Load *l, Client *c) {
        bool fresh = c->fd < 0;
        int r = fresh ? connect_client(l, c) : 0;
        if (r < 0)
                return r;
        http_answer_reset(&c->answer);
        c->sent = 0;
        int died = send_more(l, c);
        if (died == 0)
                return 0;
        disconnect(c);
        return fresh ? error_set(l->error, -ENOTCONN, "%s closed a new connection: %s", l->shown, strerror(died))
                     : send_request(l, c);
}

static int new_sample(Load *l, uint64_t due, uint64_t now, size_t *ret) {
        LoadResult *result = l->result;
        if (result->n == l->samples_cap) {
                size_t cap = l->samples_cap ? l->samples_cap * 2 : 4096;
                LoadSample *more = realloc(result->samples, cap * sizeof(*more));
                if (!more)
                        return error_set(l->error, -ENOMEM, "out of memory");
                result->samples = more;
                l->samples_cap = cap;
        }
        result->samples[result->n] = (LoadSample){.due = due, .sent = now};
        *ret = result->n++;
        return 0;
}

/* When the next request is due, since the stage began; UINT64_MAX: there is none. */
static uint64_t next_due(const Load *l, uint64_t now) {
        const LoadStage *s = l->stage;
        size_t n = l->result->n;
        uint64_t due = s->rate > 0 ? (uint64_t)((double)n * 1e9 / s->rate) : now;
        bool over = (s->requests > 0 && n >= s->requests) || (s->duration_ns > 0 && due >= s->duration_ns);
        return over || l->r < 0 ? UINT64_MAX : due;
}

/* Hands requests that are due to clients that are idle. */
static void send_due(Load *l, uint64_t now) {
        while (l->n_idle > 0) {
                uint64_t due = next_due(l, now);
                if (due > now)
                        return;
                Client *c = l->idle[--l->n_idle];
                l->r = new_sample(l, due, now, &c->sample);
                if (l->r == 0)
                        l->r = send_request(l, c);
                c->busy = l->r == 0;
        }
}

/* The one place where a request ends. */
static void end_request(Load *l, Client *c, const char *failure) {
        LoadSample *s = &l->result->samples[c->sample];
        const HttpAnswer *a = &c->answer;
        if (!failure && *a->error)
                failure = a->error;
        else if (!failure && a->status != 200)
                failure = "an HTTP status that is not 200";
        else if (!failure && !a->done)
                failure = "the answer ended before it was done";
        s->end = l->heard - l->begin;
        s->status = (uint16_t)a->status;
        s->tokens = a->tokens;
        s->good = !failure;
        if (failure && l->result->failed++ == 0) {
                if (a->status != 0 && a->status != 200)
                        snprintf(l->result->error, sizeof(l->result->error), "%d: %s", a->status, failure);
                else
                        snprintf(l->result->error, sizeof(l->result->error), "%s", failure);
        }
        l->result->ended++;
        if (a->closes || a->part != HTTP_COMPLETE)
                disconnect(c);
        c->used = true;
        c->busy = false;
        l->idle[l->n_idle++] = c;
        send_due(l, s->end);
}

/* `r` is what the answer's reader returned. */
static void after_bytes(Load *l, Client *c, int r) {
        LoadSample *s = &l->result->samples[c->sample];
        l->heard = now_nsec();
        if (s->first == 0 && c->answer.has_text)
                s->first = l->heard - l->begin;
        if (r == -EPROTO)
                end_request(l, c, "the answer is no HTTP");
        else if (r < 0)
                end_request(l, c, "the connection ended before the answer did");
        else if (r > 0)
                end_request(l, c, NULL);
}

static void on_eof(Load *l, Client *c) {
        if (!c->busy)
                disconnect(c);
        else if (c->used && c->answer.part == HTTP_STATUS) {
                disconnect(c);
                l->r = send_request(l, c);
        } else
                after_bytes(l, c, http_answer_eof(&c->answer));
}

static void on_event(Load *l, Client *c, uint32_t events) {
        if (c->fd < 0)
                return;
        if (events & EPOLLOUT)
                send_more(l, c); /* a dead connection is seen by recv() */
        if (!(events & ~(uint32_t)EPOLLOUT))
                return;
        ssize_t n = recv(c->fd, l->bytes, READ_BYTES, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                on_eof(l, c);
        else if (c->busy)
                after_bytes(l, c, http_answer_feed(&c->answer, l->bytes, (size_t)n));
        else
                disconnect(c); /* words nobody asked for */
}

/* ---- The stage ---- */

/* Wakes the loop when the next request is due and a client could send it. */
static void set_timer(Load *l, uint64_t now) {
        uint64_t due = l->stage->rate > 0 && l->n_idle > 0 ? next_due(l, now) : UINT64_MAX, at = l->begin + due;
        struct itimerspec when = {0};
        if (due != UINT64_MAX)
                when.it_value = (struct timespec){.tv_sec = (time_t)(at / NSEC), .tv_nsec = (long)(at % NSEC)};
        timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* That it woke us is all. */
static void on_timer(Load *l) {
        uint64_t count;
        (void)!read(l->timer, &count, sizeof(count));
}

static int check_progress(Load *l, uint64_t *next_tick) {
        uint64_t now = now_nsec();
        l->result->elapsed_ns = now - l->begin;
        if (now - l->heard > l->patience && l->result->n > l->result->ended)
                return error_set(l->error, -ETIMEDOUT, "%s sent nothing for %.0f seconds while %zu requests ran",
                                 l->shown, (double)l->patience / 1e9, l->result->n - l->result->ended);
        if (!l->tick || now < *next_tick)
                return 0;
        *next_tick = now + TICK_MS * UINT64_C(1000000);
        return l->tick(l->userdata, l->stage, l->result) ? error_set(l->error, -ECANCELED, "interrupted") : 0;
}

static void run_loop(Load *l) {
        struct epoll_event events[EVENTS];
        uint64_t next_tick = 0;
        for (;;) {
                uint64_t now = now_nsec() - l->begin;
                send_due(l, now);
                if (l->r < 0 || (l->result->ended == l->result->n && next_due(l, now) == UINT64_MAX))
                        return;
                if (l->stage->rate > 0)
                        set_timer(l, now);
                int n = epoll_wait(l->epoll, events, EVENTS, TICK_MS);
                for (int i = 0; i < n && l->r == 0; i++)
                        if (events[i].data.ptr)
                                on_event(l, events[i].data.ptr, events[i].events);
                        else
                                on_timer(l);
                if (l->r == 0)
                        l->r = check_progress(l, &next_tick);
        }
}

/* What still runs is given up, by closing its connection. */
static void give_up(Load *l) {
        for (unsigned i = 0; i < l->n_clients; i++)
                if (l->clients[i]->busy) {
                        disconnect(l->clients[i]);
                        l->clients[i]->busy = false;
                }
}

int load_run(Load *l, const LoadStage *stage, LoadResult *ret, Error *e) {
        Error unused;
        *ret = (LoadResult){0};
        l->stage = stage;
        l->result = ret;
        l->samples_cap = 0;
        l->error = e ? e : &unused;
        l->r = prepare_clients(l, stage->clients);
        if (l->r < 0)
                return l->r;
        uint64_t cpu = cpu_nsec();
        l->begin = l->heard = now_nsec();
        run_loop(l);
        ret->elapsed_ns = now_nsec() - l->begin;
        ret->cpu_ns = cpu_nsec() - cpu;
        give_up(l);
        return l->r;
}
