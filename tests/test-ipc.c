/* Frames: what is encoded decodes to the same; anything else (cut short at every byte, lengths too large, noise) is
 * -EPROTO and reads nothing outside the frame; a connection carries many frames both ways, large ones too. */
#include <errno.h>
#include <sys/socket.h>

#include "unit.h"
#include "ipc/ipc.h"

static const int32_t some_ids[] = {1, 2, 3};
static const float some_bias[] = {-1.5f, 2.5f, 0};

static void make_job(Buf *out) {
        Buf lens = BUF_NULL, bytes = BUF_NULL;
        ipc_strs_put(&lens, &bytes, "stop", 4);
        ipc_strs_put(&lens, &bytes, "", 0);
        ipc_strs_put(&lens, &bytes, "\0x", 2);
        IpcJob j = {
                .id = 1ull << 40, .uid = 1000, .weight = 2.5f, .model = ipc_str("demo"), .kind = IPC_PROMPT_TEXT,
                .prompt = ipc_str("Hello"), .prompt_ids = {some_ids, 3}, .add_special = true, .max_tokens = -1,
                .stop = ipc_strs(&lens, &bytes), .temperature = 0.5f, .top_k = 40, .seed = UINT64_MAX,
                .bias_ids = {some_ids, 3}, .bias = {some_bias, 3}, .n_top = -1, .text_sent = 7,
                .inputs = ipc_strs(&lens, &bytes), .input_counts = {some_ids, 3}, .dimensions = 64, .results_sent = 2,
        };
        assert_int_equal(ipc_encode(out, IPC_JOB, &j), 0);
        buf_deinit(&lens);
        buf_deinit(&bytes);
}

static void test_round_trip(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        IpcJob j;
        IpcStr s;
        uint32_t pos = 0, off = 0;
        make_job(&b);
        assert_int_equal(b.len % 8, 0);
        assert_int_equal(ipc_decode(IPC_JOB, b.data + 8, b.len - 8, &j), 0);
        assert_true(j.id == 1ull << 40 && j.uid == 1000 && j.weight == 2.5f && j.seed == UINT64_MAX && j.n_top == -1);
        assert_true(j.add_special && !j.parse_special && j.max_tokens == -1 && j.text_sent == 7);
        assert_int_equal(j.prompt.len, 5);
        assert_memory_equal(j.prompt.data, "Hello", 5);
        assert_int_equal(j.prompt_ids.n, 3);
        assert_int_equal(j.prompt_ids.data[2], 3);
        assert_true(j.bias.data[1] == 2.5f);
        assert_true(ipc_strs_next(&j.stop, &pos, &off, &s) && s.len == 4);
        assert_true(ipc_strs_next(&j.stop, &pos, &off, &s) && s.len == 0);
        assert_true(ipc_strs_next(&j.stop, &pos, &off, &s) && s.len == 2 && s.data[1] == 'x');
        assert_false(ipc_strs_next(&j.stop, &pos, &off, &s));
        pos = off = 0;
        for (int i = 0; i < 3; i++)
                assert_true(ipc_strs_next(&j.inputs, &pos, &off, &s));
        assert_true(s.len == 2 && s.data[1] == 'x' && !ipc_strs_next(&j.inputs, &pos, &off, &s));
        assert_true(j.input_counts.n == 3 && j.input_counts.data[2] == 3 && j.dimensions == 64 && j.results_sent == 2);
        buf_deinit(&b);
}

static void test_vectors(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        IpcVectors v = {.id = 9, .width = 1, .values = {some_bias, 3}, .tokens = 40, .last = true, .queue_usec = 5, .compute_usec = 6}, w;
        assert_int_equal(ipc_encode(&b, IPC_VECTORS, &v), 0);
        assert_int_equal(ipc_decode(IPC_VECTORS, b.data + 8, b.len - 8, &w), 0);
        assert_true(w.id == 9 && w.width == 1 && w.tokens == 40 && w.last && w.queue_usec == 5 && w.compute_usec == 6);
        assert_int_equal(w.values.n, 3);
        assert_memory_equal(w.values.data, some_bias, sizeof(some_bias));
        for (size_t n = 0; n < b.len - 8; n += 8)
                assert_int_equal(ipc_decode(IPC_VECTORS, b.data + 8, n, &w), -EPROTO);
        buf_deinit(&b);
}

static void test_hostile(void **state) {
        (void)state;
        Buf b = BUF_NULL;
        IpcJob j;
        make_job(&b);
        for (size_t n = 0; n < b.len - 8; n++) {
                char *copy = malloc(MAX(n, 1)); /* exact size, so that a sanitizer sees any overrun */
                memcpy(copy, b.data + 8, n);
                assert_int_equal(ipc_decode(IPC_JOB, copy, n, &j), -EPROTO);
                free(copy);
        }
        assert_int_equal(ipc_decode((IpcType)9999, b.data + 8, b.len - 8, &j), -EPROTO);
        srand(1);
        for (int i = 0; i < 20000; i++) {
                size_t at = 8 + (size_t)rand() % (b.len - 8);
                char old = b.data[at];
                b.data[at] = (char)rand();
                if (ipc_decode(IPC_JOB, b.data + 8, b.len - 8, &j) == 0) {
                        IpcStr s;
                        uint32_t pos = 0, off = 0;
                        volatile char sum = 0;
                        while (ipc_strs_next(&j.stop, &pos, &off, &s))
                                for (uint32_t k = 0; k < s.len; k++)
                                        sum = (char)(sum + s.data[k]);
                        for (uint32_t k = 0; k < j.produced.n; k++)
                                sum = (char)(sum + j.produced.data[k]);
                }
                b.data[at] = old;
        }
        buf_deinit(&b);
}

enum { FRAMES = 2000, BIG = 3 * 1024 * 1024 };

typedef struct Peer {
        IpcConn conn;
        int frames, gone;
} Peer;

static EventLoop *loop;
static Peer left, right;

static int on_left(IpcConn *c, IpcType type, const void *body, size_t len) {
        IpcPiece p;
        assert_int_equal(type, IPC_PIECE);
        assert_int_equal(ipc_decode(type, body, len, &p), 0);
        assert_int_equal(p.id, left.frames);
        assert_int_equal(p.text.len, left.frames == FRAMES - 1 ? BIG : left.frames % 50);
        if (++left.frames == FRAMES) /* a frame that is none: the other side must drop us */
                assert_int_equal(send(c->fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, MSG_NOSIGNAL), 8);
        return 0;
}

static int on_right(IpcConn *c, IpcType type, const void *body, size_t len) {
        (void)c;
        (void)type;
        (void)body;
        (void)len;
        fail();
        return 0;
}

static void on_gone(IpcConn *c, int error) {
        Peer *p = container_of(c, Peer, conn);
        p->gone++;
        assert_int_equal(error, p == &right ? -EPROTO : 0);
        ipc_conn_deinit(c);
        if (left.gone && right.gone)
                event_loop_exit(loop, 0);
}

static void test_connection(void **state) {
        (void)state;
        int fds[2];
        char *text = calloc(1, BIG);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(event_loop_new(&loop), 0);
        assert_int_equal(ipc_conn_init(&left.conn, loop, fds[0], on_left, on_gone), 0);
        assert_int_equal(ipc_conn_init(&right.conn, loop, fds[1], on_right, on_gone), 0);
        for (int i = 0; i < FRAMES; i++) {
                IpcPiece p = {.id = (uint64_t)i, .text = {text, i == FRAMES - 1 ? BIG : (uint32_t)i % 50}};
                ipc_send(&right.conn, IPC_PIECE, &p);
        }
        assert_true(ipc_conn_pending(&right.conn) > BIG);
        event_loop_run(loop);
        assert_int_equal(left.frames, FRAMES);
        assert_int_equal(left.gone, 1);
        assert_int_equal(right.gone, 1);
        event_loop_free(loop);
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_hostile),
                                           cmocka_unit_test(test_vectors),
                                           cmocka_unit_test(test_connection)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
