/* The host half of the CUDA device on a fake runtime: order, pipelining, completions, the staging ring, graphs, and
 * what happens when calls fail, memory ends, kernels go wrong or nothing goes on any more. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "cuda/cuda.h"
#include "cuda/fake.h"
#include "cuda/run.h"
#include "cuda/staging.h"
#include "unit.h"

typedef struct Rig {
        Device *device;
        Stream *stream;
        const DeviceOps *ops;
} Rig;

static Rig rig_new(void) {
        Rig r = {0};
        fake_cuda_reset();
        assert_int_equal(device_cuda_new(&fake_cuda_runtime, 0, &r.device, NULL), 0);
        r.ops = r.device->ops;
        assert_int_equal(r.ops->stream_new(r.device, STREAM_STEPS, &r.stream, NULL), 0);
        return r;
}

/* Everything was given back. */
static void rig_free(Rig *r) {
        r->ops->stream_free(r->stream);
        device_free(r->device);
        assert_int_equal(fake_cuda.objects, 0);
        assert_int_equal(fake_cuda.used, 0);
}

static Buffer buffer(Rig *r, size_t size) {
        Buffer b;
        assert_int_equal(r->ops->buffer_new(r->device, size, &b), 0);
        return b;
}

static uint64_t mark(Rig *r) {
        uint64_t ticket = 0;
        assert_int_equal(r->ops->mark(r->stream, &ticket), 0);
        return ticket;
}

static void finish(Rig *r) {
        assert_int_equal(r->ops->wait(r->stream, mark(r)), 0);
}

static bool is_readable(const Rig *r, int timeout_msec) {
        struct pollfd p = {.fd = r->ops->eventfd(r->stream), .events = POLLIN};
        return poll(&p, 1, timeout_msec) == 1;
}

static void hang(bool hangs) {
        fake_cuda.hangs = hangs;
        fake_cuda_changed();
}

/* ---- opening ---- */

static void test_refused(void **state) {
        Device *d = NULL;
        Error e = ERROR_NULL;
        fake_cuda_reset();
        fake_cuda.devices = 0;
        assert_int_equal(device_cuda_new(&fake_cuda_runtime, 0, &d, &e), -ENODEV);
        assert_non_null(strstr(e.text, "no GPU can be used"));
        fake_cuda.devices = 2;
        assert_int_equal(device_cuda_new(&fake_cuda_runtime, 2, &d, &e), -ENODEV);
        assert_non_null(strstr(e.text, "there is no GPU 2: CUDA sees 2"));
        fake_cuda.major = 7;
        assert_int_equal(device_cuda_new(&fake_cuda_runtime, 1, &d, &e), -ENODEV);
        assert_non_null(strstr(e.text, "compute capability 7.0, and 8.0 is needed"));
        fake_cuda.major = 9;
        fake_cuda.memory = 1 << 20; /* not even for a stream */
        assert_int_equal(device_cuda_new(&fake_cuda_runtime, 1, &d, &e), -ENOMEM);
        assert_null(d);
        assert_int_equal(fake_cuda.objects, 0);
}

/* Whichever call fails first, nothing is left and there is a message. */
static void test_every_call_fails(void **state) {
        static const int errors[] = {CUDA_E_MEMORY, CUDA_E_NO_KERNEL, CUDA_E_ADDRESS};
        for (size_t k = 0; k < ARRAY_SIZE(errors); k++)
                for (int i = 1;; i++) {
                        Device *d = NULL;
                        Error e = ERROR_NULL;
                        fake_cuda_reset();
                        fake_cuda.fail_with = errors[k];
                        fake_cuda.fail_in = i;
                        int r = device_cuda_new(&fake_cuda_runtime, 0, &d, &e);
                        if (r == 0)
                                device_free(d);
                        assert_int_equal(fake_cuda.objects, 0);
                        if (r == 0 && fake_cuda.fail_in > 0)
                                break; /* there are not so many calls */
                        assert_true(r == 0 || (e.code == r && e.text[0]));
                }
}

static void test_error_numbers(void **state) {
        assert_int_equal(cuda_errno(0), 0);
        assert_int_equal(cuda_errno(2), -ENOMEM);
        assert_int_equal(cuda_errno(35), -ENODEV);
        assert_int_equal(cuda_errno(100), -ENODEV);
        assert_int_equal(cuda_errno(1), -EIO);
        assert_int_equal(cuda_errno(700), -EIO);
        static const int sticky[] = {226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 214, 220, 999};
        for (size_t i = 0; i < ARRAY_SIZE(sticky); i++)
                assert_true(cuda_is_sticky(sticky[i]));
        static const int passing[] = {0, 1, 2, 35, 100, 209, 600, 701, 713, 720, 900};
        for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
                assert_false(cuda_is_sticky(passing[i]));
}

/* ---- memory ---- */

static void test_buffers(void **state) {
        Rig r = rig_new();
        char zero[1000] = {0}, got[1000];
        Buffer b = buffer(&r, sizeof(got)), huge, none = buffer(&r, 0);
        r.ops->download(r.stream, got, b.data, sizeof(got));
        finish(&r);
        assert_memory_equal(got, zero, sizeof(got));
        size_t before = r.ops->memory_free(r.device);
        assert_int_equal(r.ops->buffer_new(r.device, (size_t)2 << 30, &huge), -ENOMEM);
        assert_int_equal(r.ops->memory_free(r.device), before);
        Buffer after = buffer(&r, 100); /* it goes on */
        assert_int_equal(r.ops->memory_free(r.device), before - 100);
        r.ops->buffer_free(r.device, &b);
        r.ops->buffer_free(r.device, &none);
        r.ops->buffer_free(r.device, &after);
        assert_null(after.data);
        r.ops->buffer_free(r.device, &after);
        rig_free(&r);
}

/* ---- completions ---- */

static void test_marks(void **state) {
        Rig r = rig_new();
        uint64_t ticket;
        assert_false(is_readable(&r, 0));
        hang(true);
        uint64_t first = mark(&r), second = mark(&r);
        assert_int_equal(second, first + 1);
        assert_false(is_readable(&r, 50));
        assert_int_equal(r.ops->poll(r.stream, &ticket), 0);
        assert_true(ticket < first);
        hang(false);
        assert_int_equal(r.ops->wait(r.stream, second), 0);
        assert_true(is_readable(&r, 5000));
        assert_int_equal(r.ops->poll(r.stream, &ticket), 0);
        assert_int_equal(ticket, second);
        assert_int_equal(r.ops->wait(r.stream, second + 1), -EINVAL);
        rig_free(&r);
}

/* All of a step is enqueued while the one before it has not begun, and nothing waits. */
static void test_pipelined(void **state) {
        enum { STEPS = 5, N = 300 };
        Rig r = rig_new();
        Buffer b = buffer(&r, N * sizeof(float)), out_dev = buffer(&r, N * sizeof(float)), index = buffer(&r, 4);
        float x[N], out[STEPS][N];
        const int32_t zero = 0;
        int waits = fake_cuda.waits;
        hang(true);
        uint64_t last = 0;
        for (int step = 0; step < STEPS; step++) {
                for (int i = 0; i < N; i++)
                        x[i] = (float)(step * 1000 + i);
                r.ops->upload(r.stream, b.data, x, sizeof(x));
                r.ops->upload(r.stream, index.data, &zero, sizeof(zero));
                memset(x, 0xff, sizeof(x)); /* it was copied */
                r.ops->gather(r.stream, out_dev.data, b.data, index.data, 1, N);
                r.ops->download(r.stream, out[step], out_dev.data, sizeof(x));
                last = mark(&r);
        }
        assert_int_equal(fake_cuda.waits, waits);
        hang(false);
        assert_int_equal(r.ops->wait(r.stream, last), 0);
        for (int step = 0; step < STEPS; step++)
                for (int i = 0; i < N; i++)
                        assert_true(out[step][i] == (float)(step * 1000 + i));
        r.ops->buffer_free(r.device, &b);
        r.ops->buffer_free(r.device, &out_dev);
        r.ops->buffer_free(r.device, &index);
        rig_free(&r);
}

typedef struct Waiter {
        Rig *rig;
        uint64_t ticket;
        int result;
} Waiter;

static void *wait_main(void *arg) {
        Waiter *w = arg;
        w->result = w->rig->ops->wait(w->rig->stream, w->ticket);
        return NULL;
}

/* wait() on a worker while the loop's thread goes on enqueueing. */
static void test_wait_elsewhere(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 64);
        char x[64] = {0};
        for (int i = 0; i < 50; i++) {
                pthread_t thread;
                r.ops->upload(r.stream, b.data, x, sizeof(x));
                Waiter w = {&r, mark(&r), 1};
                assert_int_equal(pthread_create(&thread, NULL, wait_main, &w), 0);
                r.ops->upload(r.stream, b.data, x, sizeof(x));
                mark(&r);
                pthread_join(thread, NULL);
                assert_int_equal(w.result, 0);
        }
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* What was marked is done before the stream is gone. */
static void test_free_waits(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 8);
        char out[8] = "";
        r.ops->upload(r.stream, b.data, "1234567", 8);
        r.ops->download(r.stream, out, b.data, 8);
        mark(&r);
        r.ops->buffer_free(r.device, &(Buffer){0});
        Stream *s = r.stream;
        r.ops->stream_free(s);
        assert_string_equal(out, "1234567");
        assert_int_equal(r.ops->stream_new(r.device, STREAM_STEPS, &r.stream, NULL), 0);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* ---- staging ---- */

static void test_ring(void **state) {
        enum { STAGING_SIZE = 1 << 20 };
        Staging s = {.data = (char *)4096, .size = STAGING_SIZE};
        size_t n = STAGING_SIZE - 100;
        assert_ptr_equal(staging_take(&s, &n), s.data);
        assert_int_equal(n, STAGING_SIZE - 100);
        staging_mark(&s, 1);
        n = 1000;
        staging_take(&s, &n);
        assert_true(n > 0 && n <= 100); /* up to the end */
        n = 1000;
        staging_take(&s, &n);
        assert_int_equal(n, 0);
        staging_mark(&s, 2);
        staging_reached(&s, 0);
        n = 1;
        staging_take(&s, &n);
        assert_int_equal(n, 0);
        staging_reached(&s, 1);
        n = STAGING_SIZE;
        assert_ptr_equal(staging_take(&s, &n), s.data);
        assert_true(n <= STAGING_SIZE - 96 && n >= STAGING_SIZE - 128);
        staging_reached(&s, 2);
        for (uint64_t ticket = 3; ticket < 100; ticket++)
                staging_mark(&s, ticket); /* more than there is place for */
        assert_int_equal(s.n_marks, STAGING_MARKS);
        staging_reached(&s, 98);
        assert_int_equal(s.n_marks, 1);
        staging_reached(&s, 99);
        assert_int_equal(s.head, s.tail);
}

static char byte_at(size_t i) {
        return (char)(i * 7 + i / 1000 + i / 1000000);
}

/* More than the ring holds, in odd pieces, from memory that changes at once. */
static void test_large_uploads(void **state) {
        enum { SIZE = 8 * 1024 * 1024 + 12345, TIMES = 5 };
        Rig r = rig_new();
        Buffer b = buffer(&r, (size_t)SIZE * TIMES);
        char *host = malloc(SIZE), *out = malloc((size_t)SIZE * TIMES);
        for (int i = 0; i < TIMES; i++) {
                for (size_t k = 0; k < SIZE; k++)
                        host[k] = byte_at((size_t)i * SIZE + k);
                r.ops->upload(r.stream, (char *)b.data + (size_t)i * SIZE, host, SIZE);
                if (i % 2)
                        mark(&r);
        }
        r.ops->download(r.stream, out, b.data, (size_t)SIZE * TIMES);
        finish(&r);
        for (size_t i = 0; i < (size_t)SIZE * TIMES; i++)
                if (out[i] != byte_at(i))
                        fail_msg("byte %zu is %d", i, out[i]);
        free(host), free(out);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* Downloads of all sizes, more than there is room for at once; each is there when its mark was reached. */
static void test_downloads(void **state) {
        enum { SIZE = 1 << 20, TIMES = 300 };
        Rig r = rig_new();
        Buffer b = buffer(&r, SIZE);
        char *host = malloc(SIZE), *out[TIMES];
        for (int i = 0; i < SIZE; i++)
                host[i] = (char)(i * 7 + i / 1000);
        r.ops->upload(r.stream, b.data, host, SIZE);
        for (int i = 0; i < TIMES; i++) {
                size_t n = (size_t)SIZE - (size_t)i * 3000;
                out[i] = malloc(n);
                r.ops->download(r.stream, out[i], b.data, n);
                if (i % 5 == 4)
                        mark(&r);
        }
        finish(&r);
        for (int i = 0; i < TIMES; i++) {
                assert_memory_equal(out[i], host, (size_t)SIZE - (size_t)i * 3000);
                free(out[i]);
        }
        free(host);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* ---- runs and graphs ---- */

enum { KERNELS = RUN_GRAPH_MIN + 2 };

/* n values, each by as many kernels. */
static void run_step(Rig *r, Buffer *b, float from, uint32_t n) {
        float x[16], *at = b->data;
        const int32_t *zero = (int32_t *)b->data + 16 * (KERNELS + 1);
        for (int i = 0; i < 16; i++)
                x[i] = from + (float)i;
        r->ops->upload(r->stream, at, x, sizeof(x));
        for (int k = 0; k < KERNELS; k++, at += 16)
                r->ops->gather(r->stream, at + 16, at, zero, 1, n);
}

static void check_step(Rig *r, Buffer *b, float from, uint32_t n) {
        float x[16], want[16] = {0};
        for (uint32_t i = 0; i < n; i++)
                want[i] = from + (float)i;
        r->ops->download(r->stream, x, (float *)b->data + 16 * KERNELS, sizeof(x));
        finish(r);
        assert_memory_equal(x, want, n * sizeof(float));
}

/* The first time kernel by kernel, the second time captured, then replayed: each time with what memory holds then. */
static void test_graphs(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        for (int i = 0; i < 4; i++) {
                int kernels = fake_cuda.kernels, graphs = fake_cuda.graphs;
                run_step(&r, &b, (float)i * 100, 5);
                check_step(&r, &b, (float)i * 100, 5);
                assert_int_equal(fake_cuda.kernels - kernels, i == 0 ? KERNELS : 0);
                assert_int_equal(fake_cuda.graphs - graphs, i == 0 ? 0 : 1);
        }
        int graphs = fake_cuda.graphs;
        run_step(&r, &b, 7, 6); /* another number of rows */
        check_step(&r, &b, 7, 6);
        assert_int_equal(fake_cuda.graphs, graphs);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* What lies between the members of a structure is not part of a run. */
static void test_padding(void **state) {
        Rig r = rig_new();
        Buffer out = buffer(&r, sizeof(float)), zero = buffer(&r, 64);
        for (int i = 0; i < 3; i++) {
                int graphs = fake_cuda.graphs;
                for (int k = 0; k < KERNELS; k++) {
                        Matrix table;
                        Rows rows;
                        memset(&table, i * 7 + k, sizeof(table));
                        memset(&rows, i * 5 + k, sizeof(rows));
                        table.data = zero.data, table.type = DTYPE_F32, table.rows = 1, table.cols = 1;
                        rows.n = rows.context = 1, rows.slot = rows.position = rows.tokens = zero.data;
                        r.ops->embed(r.stream, out.data, &table, &rows, 1);
                }
                finish(&r);
                assert_int_equal(fake_cuda.graphs - graphs, i > 0);
        }
        r.ops->buffer_free(r.device, &out);
        r.ops->buffer_free(r.device, &zero);
        rig_free(&r);
}

/* All kernels of a run but the first may begin before their predecessor's end, launched one by one and in a graph. Older
 * drivers capture no such graphs. */
static void test_overlap(void **state) {
        for (int old = 0; old < 2; old++) {
                Rig r = {0};
                fake_cuda_reset();
                fake_cuda.driver = old ? 12020 : 12030;
                assert_int_equal(device_cuda_new(&fake_cuda_runtime, 0, &r.device, NULL), 0);
                r.ops = r.device->ops;
                assert_int_equal(r.ops->stream_new(r.device, STREAM_STEPS, &r.stream, NULL), 0);
                Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
                for (int i = 0; i < 3; i++) {
                        int overlapping = fake_cuda.overlapping;
                        run_step(&r, &b, 1, 3);
                        check_step(&r, &b, 1, 3);
                        assert_int_equal(fake_cuda.overlapping - overlapping, old ? 0 : KERNELS - 1);
                }
                r.ops->buffer_free(r.device, &b);
                rig_free(&r);
        }
}

/* What is loaded has less priority than steps, and so have the graphs of either. */
static void test_priorities(void **state) {
        static const StreamUse uses[] = {STREAM_STEPS, STREAM_LOADING};
        Rig r = rig_new();
        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        Stream *first = r.stream;
        for (int k = 0; k < 2; k++) {
                assert_int_equal(r.ops->stream_new(r.device, uses[k], &r.stream, NULL), 0);
                for (int i = 0; i < 3; i++) {
                        int urgent = fake_cuda.urgent, graphs = fake_cuda.graphs;
                        run_step(&r, &b, 1, 3);
                        check_step(&r, &b, 1, 3);
                        assert_int_equal(fake_cuda.urgent - urgent, uses[k] == STREAM_STEPS ? KERNELS : 0);
                        assert_int_equal(fake_cuda.graphs - graphs, i > 0);
                }
                r.ops->stream_free(r.stream);
        }
        r.stream = first;
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* More kinds of runs than there are graphs; those that are used stay. */
static void test_many_graphs(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        Buffer others[RUN_GRAPHS * 2];
        for (int i = 0; i < 2 * RUN_GRAPHS; i++) {
                others[i] = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
                run_step(&r, &others[i], (float)i, 3);
                check_step(&r, &others[i], (float)i, 3);
                run_step(&r, &b, 1, 4);
                check_step(&r, &b, 1, 4);
        }
        int graphs = fake_cuda.graphs;
        assert_int_equal(graphs, 2 * RUN_GRAPHS - 1);
        run_step(&r, &others[2 * RUN_GRAPHS - 1], 9, 3); /* a recent one */
        check_step(&r, &others[2 * RUN_GRAPHS - 1], 9, 3);
        assert_int_equal(fake_cuda.graphs, graphs + 1);
        run_step(&r, &others[0], 9, 3); /* one that had to go */
        check_step(&r, &others[0], 9, 3);
        assert_int_equal(fake_cuda.graphs, graphs + 1);
        for (int i = 0; i < 2 * RUN_GRAPHS; i++)
                r.ops->buffer_free(r.device, &others[i]);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* While the device hangs no graph is thrown away that it has still to execute. */
static void test_graphs_in_use(void **state) {
        Rig r = rig_new();
        Buffer all[RUN_GRAPHS + 5];
        for (int i = 0; i < RUN_GRAPHS + 5; i++)
                all[i] = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        hang(true);
        for (int times = 0; times < 3; times++) {
                for (int i = 0; i < RUN_GRAPHS + 5; i++)
                        run_step(&r, &all[i], (float)i, 3);
                mark(&r);
        }
        hang(false);
        for (int i = 0; i < RUN_GRAPHS + 5; i++) {
                check_step(&r, &all[i], (float)i, 3);
                r.ops->buffer_free(r.device, &all[i]);
        }
        rig_free(&r);
}

static void test_no_graphs(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        fake_cuda.no_graphs = true;
        for (int i = 0; i < 4; i++) {
                run_step(&r, &b, (float)i, 5);
                check_step(&r, &b, (float)i, 5);
        }
        assert_int_equal(fake_cuda.graphs, 0);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* Memory is gone when a graph is launched: its kernels are, one by one. */
static void test_graph_without_memory(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
        for (int i = 0; i < 3; i++) {
                run_step(&r, &b, (float)i, 5);
                int kernels = fake_cuda.kernels;
                fake_cuda.fail_with = CUDA_E_MEMORY;
                fake_cuda.fail_in = i == 2;
                check_step(&r, &b, (float)i, 5);
                assert_int_equal(fake_cuda.fail_in, 0);
                assert_int_equal(fake_cuda.kernels - kernels, i == 1 ? 0 : KERNELS);
        }
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* ---- failing ---- */

/* Nobody calls anything after the kernel went wrong, and still the loop hears of it. */
static void test_bad_kernel(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 64), more;
        uint64_t ticket;
        fake_cuda.kernels_to_bad = 1;
        hang(true); /* until all is enqueued */
        r.ops->gather(r.stream, b.data, b.data, b.data, 1, 16);
        uint64_t last = mark(&r);
        hang(false);
        assert_true(is_readable(&r, 5000));
        assert_int_equal(r.ops->poll(r.stream, &ticket), -EIO);
        assert_int_equal(r.ops->wait(r.stream, last), -EIO);
        assert_int_equal(r.ops->mark(r.stream, &ticket), -EIO);
        assert_int_equal(r.ops->buffer_new(r.device, 64, &more), -EIO);
        r.ops->gather(r.stream, b.data, b.data, b.data, 1, 16); /* does no harm */
        r.ops->upload(r.stream, b.data, "x", 1);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* A worker that waits is woken by the failure. */
static void test_waiter_is_woken(void **state) {
        Rig r = rig_new();
        Buffer b = buffer(&r, 64);
        pthread_t thread;
        hang(true);
        r.ops->gather(r.stream, b.data, b.data, b.data, 1, 16);
        Waiter w = {&r, mark(&r), 1};
        assert_int_equal(pthread_create(&thread, NULL, wait_main, &w), 0);
        fake_cuda.kernels_to_bad = 1;
        hang(false);
        pthread_join(thread, NULL);
        assert_int_equal(w.result, -EIO);
        r.ops->buffer_free(r.device, &b);
        rig_free(&r);
}

/* Each call of a step fails in turn: the stream says so, at the mark or later, and stays failed. */
static void test_calls_of_a_step(void **state) {
        static const struct {
                int cuda, want;
        } errors[] = {{CUDA_E_MEMORY, -ENOMEM}, {1, -EIO}, {CUDA_E_ADDRESS, -EIO}};
        for (size_t k = 0; k < ARRAY_SIZE(errors); k++)
                for (int i = 1, failed = 1; failed; i++) {
                        Rig r = rig_new();
                        Buffer b = buffer(&r, 16 * (KERNELS + 2) * sizeof(float));
                        uint64_t ticket;
                        run_step(&r, &b, 1, 3);
                        check_step(&r, &b, 1, 3);
                        fake_cuda.fail_with = errors[k].cuda;
                        fake_cuda.fail_in = i;
                        run_step(&r, &b, 2, 3);
                        int error = r.ops->mark(r.stream, &ticket);
                        failed = fake_cuda.fail_in == 0;
                        fake_cuda.fail_in = 0;
                        if (error == 0) /* capturing a graph may fail: then there is none */
                                error = r.ops->wait(r.stream, ticket);
                        assert_true(error == 0 || error == errors[k].want);
                        assert_true(!failed || error < 0 || errors[k].cuda != CUDA_E_ADDRESS);
                        if (error < 0) {
                                assert_int_equal(r.ops->mark(r.stream, &ticket), error);
                                assert_int_equal(r.ops->poll(r.stream, &ticket), error);
                        }
                        r.ops->buffer_free(r.device, &b);
                        rig_free(&r);
                }
}

/* A hanging device has no error; the daemon's patience is what ends it. */
static void test_hang(void **state) {
        Rig r = rig_new();
        uint64_t ticket;
        hang(true);
        uint64_t first = mark(&r);
        assert_false(is_readable(&r, 100));
        assert_int_equal(r.ops->poll(r.stream, &ticket), 0);
        assert_true(ticket < first);
        hang(false);
        assert_int_equal(r.ops->wait(r.stream, first), 0);
        rig_free(&r);
}

/* What no kernel can do ends the stream, not the program. */
static void test_too_wide(void **state) {
        Rig r = rig_new();
        uint64_t ticket;
        KvLayer kv = {.type = DTYPE_F16, .page_size = 32, .n_kv_heads = 1, .head_dim = 512, .max_pages = 1};
        r.ops->attention(r.stream, NULL, NULL, &kv, &(Rows){.n = 1}, &(Attending){.n_heads = 1, .scale = 1});
        assert_int_equal(r.ops->mark(r.stream, &ticket), -ENOTSUP);
        rig_free(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused),        cmocka_unit_test(test_every_call_fails),
                cmocka_unit_test(test_error_numbers),  cmocka_unit_test(test_buffers),
                cmocka_unit_test(test_marks),          cmocka_unit_test(test_pipelined),
                cmocka_unit_test(test_wait_elsewhere), cmocka_unit_test(test_free_waits),
                cmocka_unit_test(test_ring),           cmocka_unit_test(test_large_uploads),
                cmocka_unit_test(test_downloads),
                cmocka_unit_test(test_graphs),         cmocka_unit_test(test_many_graphs),
                cmocka_unit_test(test_priorities),     cmocka_unit_test(test_overlap),
                cmocka_unit_test(test_padding),
                cmocka_unit_test(test_graphs_in_use),  cmocka_unit_test(test_no_graphs),
                cmocka_unit_test(test_graph_without_memory),
                cmocka_unit_test(test_bad_kernel),     cmocka_unit_test(test_waiter_is_woken),
                cmocka_unit_test(test_calls_of_a_step), cmocka_unit_test(test_hang),
                cmocka_unit_test(test_too_wide),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
