/* Messages as tables of fields, one encoder and one decoder for all; and the connection that carries them.
 *
 * Wire form of a field, each starting at a multiple of 8 in the body so that arrays can be used in place: scalars as
 * 8 bytes; strings and arrays as u32 count, then the elements. Alignment costs some bytes and saves all copies. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/ipc.h"
#include "util/checked.h"

typedef enum FieldKind { F_END, F_BOOL, F_U32, F_I32, F_U64, F_F32, F_STR, F_INTS, F_FLOATS } FieldKind;

typedef struct Field {
        FieldKind kind;
        size_t offset;
} Field;

typedef struct Layout {
        size_t size;
        Field fields[48];
} Layout;

#define B(m) {F_BOOL, offsetof(T, m)}
#define U(m) {F_U32, offsetof(T, m)}
#define I(m) {F_I32, offsetof(T, m)}
#define U64(m) {F_U64, offsetof(T, m)}
#define F(m) {F_F32, offsetof(T, m)}
#define S(m) {F_STR, offsetof(T, m)}
#define IS(m) {F_INTS, offsetof(T, m)}
#define FS(m) {F_FLOATS, offsetof(T, m)}
#define SS(m) {F_INTS, offsetof(T, m.lens)}, {F_STR, offsetof(T, m.bytes)}

#define T IpcSetup
static const Layout setup_layout = {sizeof(T), {S(device), B(require), U(threads), U(streams), U64(memory), U(memory_percent), U(log_level)}};
#undef T
#define T IpcModel
static const Layout model_layout = {sizeof(T), {S(name), S(path), U(slots), U(context), U(batch_tokens), U(precision), U(lookup_tokens), U64(batch_wait)}};
#undef T
#define T IpcName
static const Layout name_layout = {sizeof(T), {S(name)}};
#undef T
#define T IpcJob
static const Layout job_layout = {sizeof(T), {
        U64(id), U(uid), F(weight), U(priority), S(model), U(kind), S(prompt), S(suffix), S(opening), IS(prompt_ids), B(add_special),
        B(parse_special), B(tokens_only), I(max_tokens), B(ignore_eos), B(must_think), B(truncate), SS(stop), F(temperature), F(top_p), F(min_p),
        I(top_k), F(repeat_penalty), F(presence_penalty), F(frequency_penalty), I(penalty_last), U(said), U64(seed),
        IS(bias_ids), FS(bias), I(n_top), U(grammar_kind), S(grammar), S(grammar_name), IS(produced), U64(text_sent), SS(inputs), IS(input_counts), U(dimensions),
        U(results_sent)}};
#undef T
#define T IpcId
static const Layout id_layout = {sizeof(T), {U64(id)}};
#undef T
#define T IpcShow
static const Layout show_layout = {sizeof(T), {U64(id), S(path)}};
#undef T
#define T IpcHello
static const Layout hello_layout = {sizeof(T), {U(version), S(device), S(note), U64(memory), S(error)}};
#undef T
#define T IpcModelState
static const Layout model_state_layout = {sizeof(T), {S(name), U(phase), F(progress), U64(weights), U64(kv), U(slots), U(context), S(details), S(error)}};
#undef T
#define T IpcStart
static const Layout start_layout = {sizeof(T), {U64(id), U(prompt_tokens), U(cached_tokens), U(forms)}};
#undef T
#define T IpcPiece
static const Layout piece_layout = {sizeof(T), {
        U64(id), IS(ids), S(text), U(finish), FS(logprobs), IS(top_ids), SS(top_text), S(stop), U64(queue_usec),
        U64(prefill_usec), U64(decode_usec), U(prompt_tokens), U(completion_tokens), U(cached_tokens)}};
#undef T
#define T IpcVectors
static const Layout vectors_layout = {sizeof(T), {U64(id), U(width), U(precision), FS(values), U64(tokens), B(last), U64(queue_usec), U64(compute_usec)}};
#undef T
#define T IpcFail
static const Layout fail_layout = {sizeof(T), {U64(id), U(code), S(text)}};
#undef T
#define T IpcShown
static const Layout shown_layout = {sizeof(T), {U64(id), S(json), S(error)}};
#undef T
#define T IpcStats
static const Layout stats_layout = {sizeof(T), {U64(progress), U64(rows), U64(longest_usec), U64(longest_cpu_usec), U64(memory_used), U(running), U(waiting)}};
#undef T
#define T IpcModelStats
static const Layout model_stats_layout = {sizeof(T), {
        S(name), U(running), U(waiting), U(kv_pages_used), U(kv_pages), U64(steps), U64(prompt_tokens), U64(generation_tokens),
        U64(cached_tokens), U64(guessed), U64(guessed_right)}};
#undef T
static const Layout empty_layout = {sizeof(IpcEmpty), {{F_END, 0}}};

static const Layout *const layouts[] = {
        [IPC_SETUP] = &setup_layout, [IPC_MODEL] = &model_layout, [IPC_LOAD] = &name_layout, [IPC_UNLOAD] = &name_layout, [IPC_JOB] = &job_layout,
        [IPC_CANCEL] = &id_layout, [IPC_SHOW] = &show_layout, [IPC_QUIT] = &empty_layout, [IPC_PAUSE] = &id_layout, [IPC_RESUME] = &id_layout, [IPC_HELLO] = &hello_layout,
        [IPC_MODEL_STATE] = &model_state_layout, [IPC_START] = &start_layout, [IPC_PIECE] = &piece_layout, [IPC_FAIL] = &fail_layout,
        [IPC_SHOWN] = &shown_layout, [IPC_STATS] = &stats_layout, [IPC_MODEL_STATS] = &model_stats_layout,
        [IPC_VECTORS] = &vectors_layout,
};

typedef struct Head {
        uint32_t len;
        uint16_t type, zero;
} Head;

static void pad8(Buf *b, size_t start) {
        static const char zeros[8];
        buf_put(b, zeros, -(b->len - start) & 7);
}

static void put_counted(Buf *b, size_t start, const void *data, uint32_t n, size_t size) {
        uint64_t count = n;
        buf_put(b, &count, sizeof(count));
        buf_put(b, data, n * size);
        pad8(b, start);
}

static void put_field(Buf *b, size_t start, const Field *f, const void *message) {
        const void *p = (const char *)message + f->offset;
        uint64_t v = 0;
        switch (f->kind) {
        case F_BOOL:
                v = *(const bool *)p;
                break;
        case F_U64:
                v = *(const uint64_t *)p;
                break;
        case F_STR:
                put_counted(b, start, ((const IpcStr *)p)->data, ((const IpcStr *)p)->len, 1);
                return;
        case F_INTS:
        case F_FLOATS:
                put_counted(b, start, ((const IpcInts *)p)->data, ((const IpcInts *)p)->n, 4);
                return;
        default:
                memcpy(&v, p, 4);
        }
        buf_put(b, &v, sizeof(v));
}

int ipc_encode(Buf *out, IpcType type, const void *message) {
        size_t head_at = out->len;
        Head head = {.type = (uint16_t)type};
        buf_put(out, &head, sizeof(head));
        size_t start = out->len;
        for (const Field *f = layouts[type]->fields; f->kind != F_END; f++)
                put_field(out, start, f, message);
        if (out->failed)
                return -ENOMEM;
        size_t len = out->len - start;
        if (len > IPC_FRAME_MAX) {
                out->len = head_at;
                return -EMSGSIZE;
        }
        head.len = (uint32_t)len;
        memcpy(out->data + head_at, &head, sizeof(head));
        return 0;
}

typedef struct Reader {
        const char *p, *end;
} Reader;

static bool get_u64(Reader *r, uint64_t *ret) {
        if (r->end - r->p < 8)
                return false;
        memcpy(ret, r->p, 8);
        r->p += 8;
        return true;
}

static bool get_counted(Reader *r, size_t size, const void **ret, uint32_t *ret_n) {
        uint64_t n;
        if (!get_u64(r, &n) || n > (uint64_t)(r->end - r->p) / size)
                return false;
        size_t bytes = (n * size + 7) & ~(size_t)7;
        if (bytes > (size_t)(r->end - r->p))
                return false;
        *ret = r->p;
        *ret_n = (uint32_t)n;
        r->p += bytes;
        return true;
}

static bool get_field(Reader *r, const Field *f, void *message) {
        void *p = (char *)message + f->offset;
        uint64_t v;
        switch (f->kind) {
        case F_STR:
                return get_counted(r, 1, (const void **)&((IpcStr *)p)->data, &((IpcStr *)p)->len);
        case F_INTS:
        case F_FLOATS:
                return get_counted(r, 4, (const void **)&((IpcInts *)p)->data, &((IpcInts *)p)->n);
        default:
                if (!get_u64(r, &v))
                        return false;
        }
        if (f->kind == F_BOOL)
                *(bool *)p = v != 0;
        else
                memcpy(p, &v, f->kind == F_U64 ? 8 : 4);
        return true;
}

int ipc_decode(IpcType type, const void *body, size_t len, void *ret_message) {
        if (type >= ARRAY_SIZE(layouts) || !layouts[type])
                return -EPROTO;
        Reader r = {body, (const char *)body + len};
        memset(ret_message, 0, layouts[type]->size);
        for (const Field *f = layouts[type]->fields; f->kind != F_END; f++)
                if (!get_field(&r, f, ret_message))
                        return -EPROTO;
        return r.p == r.end ? 0 : -EPROTO;
}

bool ipc_strs_next(const IpcStrs *l, uint32_t *pos, uint32_t *offset, IpcStr *ret) {
        if (*pos >= l->lens.n)
                return false;
        int32_t len = l->lens.data[*pos];
        if (len < 0 || (uint32_t)len > l->bytes.len - *offset)
                return false;
        *ret = (IpcStr){l->bytes.data + *offset, (uint32_t)len};
        *offset += (uint32_t)len;
        (*pos)++;
        return true;
}

void ipc_strs_put(Buf *lens, Buf *bytes, const char *data, size_t len) {
        int32_t n = (int32_t)len;
        buf_put(lens, &n, sizeof(n));
        buf_put(bytes, data, len);
}

IpcStrs ipc_strs(const Buf *lens, const Buf *bytes) {
        return (IpcStrs){{(const int32_t *)(const void *)lens->data, (uint32_t)(lens->len / 4)},
                         {bytes->data, (uint32_t)bytes->len}};
}

/* ---- the connection ---- */

static void conn_close(IpcConn *c, int error) {
        if (c->closed)
                return;
        c->closed = true;
        event_remove(&c->io);
        event_remove(&c->flush);
        c->gone(c, error); /* may free c */
}

enum { KEEP = 1024 * 1024 }; /* a larger buffer is given back when it is empty */

static void consume(Buf *b, size_t n) {
        buf_consume(b, n);
        if (b->len == 0 && b->cap > KEEP)
                buf_deinit(b);
}

/* Handles every whole frame of `in`. Frames are multiples of 8 long, so bodies stay aligned. */
static int consume_frames(IpcConn *c) {
        size_t at = 0;
        int r = 0;
        while (r >= 0 && c->in.len - at >= sizeof(Head)) {
                Head h;
                memcpy(&h, c->in.data + at, sizeof(h));
                if (h.len > IPC_FRAME_MAX || h.len % 8 || h.zero)
                        return -EPROTO;
                if (c->in.len - at - sizeof(h) < h.len) {
                        if (!buf_reserve(&c->in, h.len)) /* one growth for a large frame */
                                return -ENOMEM;
                        break;
                }
                r = c->handler(c, (IpcType)h.type, c->in.data + at + sizeof(h), h.len);
                at += sizeof(h) + h.len;
        }
        consume(&c->in, at);
        return r;
}

static int receive(IpcConn *c) {
        enum { CHUNK = 4 * 1024 }; /* some thirty small frames: what follows from them begins before all are read */
        size_t room = c->in.len > CHUNK ? c->in.cap - c->in.len - 1 : CHUNK; /* amid a large one: the rest of it */
        char *p = buf_reserve(&c->in, room);
        if (!p)
                return -ENOMEM;
        ssize_t n = recv(c->fd, p, room, MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -ECONNRESET;
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = 0;
        return consume_frames(c);
}

/* What was sent goes when it is most of `out`, not each time: a long frame would be moved over and over. */
static int flush(IpcConn *c) {
        int r = 0;
        while (c->sent < c->out.len) {
                ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        r = errno == EAGAIN ? 0 : -errno;
                        break;
                }
                c->sent += (size_t)n;
        }
        if (c->sent >= c->out.len / 2) {
                consume(&c->out, c->sent);
                c->sent = 0;
        }
        if (r == 0)
                r = event_io_set(&c->io, c->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
        return r;
}

static void on_io(EventSource *s, uint32_t revents) {
        IpcConn *c = container_of(s, IpcConn, io);
        int r = 0;
        if (revents & EPOLLOUT)
                r = flush(c);
        if (r >= 0 && revents & ~(uint32_t)EPOLLOUT)
                r = receive(c);
        if (r < 0)
                conn_close(c, r == -ECONNRESET ? 0 : r);
}

static void on_flush(EventSource *s, uint32_t revents _unused_) {
        IpcConn *c = container_of(s, IpcConn, flush);
        int r = flush(c);
        if (r < 0)
                conn_close(c, r);
}

/* Errors wait for on_flush(), so that nobody is gone in the middle of a caller's work. */
void ipc_push(IpcConn *c) {
        if (!c->closed && flush(c) < 0)
                event_defer_set(&c->flush);
}

int ipc_conn_init(IpcConn *c, EventLoop *l, int fd, IpcHandler handler, IpcGone gone) {
        *c = (IpcConn){.fd = fd, .io = EVENT_SOURCE_NULL, .flush = EVENT_SOURCE_NULL, .handler = handler, .gone = gone};
        int r = event_add_io(l, &c->io, fd, EPOLLIN, EVENT_PRIORITY_NORMAL, "ipc", on_io);
        if (r >= 0)
                r = event_add_defer(l, &c->flush, "ipc flush", on_flush);
        if (r < 0)
                ipc_conn_deinit(c);
        return r;
}

void ipc_conn_deinit(IpcConn *c) {
        event_remove(&c->io);
        event_remove(&c->flush);
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
        c->closed = true;
        buf_deinit(&c->in);
        buf_deinit(&c->out);
}

void ipc_send(IpcConn *c, IpcType type, const void *message) {
        if (c->closed)
                return;
        bool idle = c->out.len == 0;
        if (ipc_encode(&c->out, type, message) < 0) {
                /* A lost frame would break a job's story: end the connection, its owner recovers from that. */
                shutdown(c->fd, SHUT_RDWR);
                return;
        }
        if (idle)
                event_defer_set(&c->flush);
}

size_t ipc_conn_pending(const IpcConn *c) {
        return c->out.len - c->sent;
}
