/* How fast the CUDA device is, beside what the GPU can do in the same run.
 *
 *      cuda-bench device                           what the GPU is, when it was seen to compute
 *      cuda-bench latency                          from the end of work on the GPU to a thread that waits for it
 *      cuda-bench ops                              each operation, as a fraction of its ceiling
 *      cuda-bench step FILE BATCH CONTEXT          decoding steps, as a fraction of reading weights and cache once; with kernels
 *                                                  one by one, then overlapping where they can
 *      cuda-bench encode DIRECTORY LENGTH [int16]  batches of an encoder's texts of so many tokens
 *      cuda-bench load FILE                        a model into the GPU, from the page cache
 *
 * There are two ceilings, measured in the same run: a copy within the GPU of 1 GiB, bytes read and written per second, and
 * tensor cores that do nothing but multiply (ceiling.cu). Times are the host's, over many repetitions that are enqueued
 * ahead, so that only the GPU is measured; figures are the best of several runs. Exit status 77: there is no GPU,
 * or it has not the memory that this would take. */
#include <cuda_runtime_api.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/cuda/ceiling.h"
#include "cuda/cuda.h"
#include "model/model.h"

enum { RUNS = 5, COPY = 1 << 30, PAGE = 32, SAMPLES = 1000, NOT_RUN = 77 };

typedef struct Bench {
        Device *device;
        Stream *stream;
        const DeviceOps *ops;
        double ceiling;   /* bytes per second */
        double multiplies; /* additions and multiplications per second */
} Bench;

static void check(cudaError_t error) {
        if (error != cudaSuccess)
                give_up(cudaGetErrorString(error));
}

static Buffer new_buffer(Bench *b, size_t size) {
        Buffer r;
        if (b->ops->buffer_new(b->device, size, &r) == 0)
                return r;
        fprintf(stderr, "cuda-bench: the GPU has no memory for this\n");
        exit(NOT_RUN);
}

/* Device memory, for as long as the program runs. */
static void *buffer(Bench *b, size_t size) {
        return new_buffer(b, size).data;
}

static void *put(Bench *b, const void *host, size_t size) {
        void *dev = buffer(b, size);
        b->ops->upload(b->stream, dev, host, size);
        return dev;
}

static uint64_t mark(Bench *b) {
        uint64_t ticket;
        if (b->ops->mark(b->stream, &ticket) < 0)
                give_up("the stream has failed");
        return ticket;
}

static void wait(Bench *b, uint64_t ticket) {
        if (b->ops->wait(b->stream, ticket) < 0)
                give_up("the device has failed");
}

static void measure_multiplies(Bench *b) {
        Buffer out = new_buffer(b, CEILING_OUT * sizeof(float));
        for (int i = 0; i < RUNS; i++) {
                double start = seconds(), n = ceiling_launch(b->stream, out.data, 100000);
                wait(b, mark(b));
                double rate = n / (seconds() - start);
                b->multiplies = MAX(b->multiplies, rate);
        }
        b->ops->buffer_free(b->device, &out);
}

static void measure_ceiling(Bench *b) {
        Buffer from = new_buffer(b, COPY), to = new_buffer(b, COPY);
        double best = 1e9;
        measure_multiplies(b);
        for (int i = 0; i < RUNS; i++) {
                double start = seconds();
                for (int k = 0; k < 10; k++)
                        b->ops->download(b->stream, to.data, from.data, COPY); /* both are on the GPU */
                wait(b, mark(b));
                double t = (seconds() - start) / 10;
                best = MIN(best, t);
        }
        b->ceiling = 2.0 * COPY / best;
        b->ops->buffer_free(b->device, &from);
        b->ops->buffer_free(b->device, &to);
        printf("%s\nceilings: copy within the GPU %.0f GB/s, mma.sync in bfloat16 %.0f TFLOP/s\n", b->device->name,
               b->ceiling * 1e-9, b->multiplies * 1e-12);
}

/* ---- latency ---- */

static int ascending(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

static void print_latency(const char *what, double *t) {
        qsort(t, SAMPLES, sizeof(*t), ascending);
        printf("%-52s p50 %6.1f us  p99 %6.1f us\n", what, t[SAMPLES / 2] * 1e6, t[SAMPLES * 99 / 100] * 1e6);
}

/* As the engine does: an event, a second stream, a host function, an eventfd, poll(). */
static void latency_mark(Bench *b, void *dev) {
        double t[SAMPLES];
        struct pollfd fd = {.fd = b->ops->eventfd(b->stream), .events = POLLIN};
        char byte = 0;
        uint64_t done, ticket;
        for (int i = 0; i < SAMPLES; i++) {
                double start = seconds();
                b->ops->upload(b->stream, dev, &byte, 1);
                ticket = mark(b);
                do {
                        poll(&fd, 1, -1);
                        if (b->ops->poll(b->stream, &done) < 0)
                                give_up("the device has failed");
                } while (done < ticket);
                t[i] = seconds() - start;
        }
        print_latency("copy, mark, host function writes an eventfd, poll()", t);
}

static void latency_event(void *dev) {
        double t[SAMPLES];
        cudaStream_t stream;
        cudaEvent_t event;
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync));
        for (int i = 0; i < SAMPLES; i++) {
                double start = seconds();
                check(cudaMemsetAsync(dev, 0, 1, stream));
                check(cudaEventRecord(event, stream));
                check(cudaEventSynchronize(event));
                t[i] = seconds() - start;
        }
        print_latency("clear a byte, blocking event", t);
}

static void latency_flag(void) {
        double t[SAMPLES];
        volatile unsigned char *flag;
        void *dev;
        cudaStream_t stream;
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        check(cudaHostAlloc((void **)&flag, 64, cudaHostAllocMapped));
        check(cudaHostGetDevicePointer(&dev, (void *)flag, 0));
        for (int i = 0; i < SAMPLES; i++) {
                double start = seconds();
                *flag = 0;
                check(cudaMemsetAsync(dev, 1, 1, stream));
                while (*flag == 0)
                        ;
                t[i] = seconds() - start;
        }
        print_latency("set a mapped flag, which a thread spins on", t);
}

static void latency(Bench *b) {
        void *dev = buffer(b, 64);
        latency_mark(b, dev);
        latency_event(dev);
        latency_flag();
}

/* ---- operations ---- */

typedef void Enqueue(Bench *b, void *arg);

/* Enqueued so often that it takes some milliseconds; after the second time it is a graph. */
static double time_of(Bench *b, Enqueue *enqueue, void *arg) {
        enum { TIMES = 40 };
        double best = 1e9;
        for (int i = 0; i < RUNS + 2; i++) {
                double start = seconds();
                for (int k = 0; k < TIMES; k++)
                        enqueue(b, arg);
                wait(b, mark(b));
                double t = (seconds() - start) / TIMES;
                best = MIN(best, t);
        }
        return best;
}

typedef struct Multiply {
        Matrix w[8]; /* in turn, so that they come from memory and not from the cache */
        float *x, *out, *norm;
        uint32_t n, turn;
} Multiply;

static void enqueue_product(Bench *b, void *arg) {
        Multiply *m = arg;
        b->ops->matmul(b->stream, &(Product){m->w[m->turn++ % 8], NULL, m->out}, 1,
                       &(Activations){.x = m->x, .n_rows = m->n}, UPDATE_SET);
}

/* Of normed rows: a gate of half of the matrix, and the other half. */
static void enqueue_glu(Bench *b, void *arg) {
        Multiply *m = arg;
        Matrix gate = m->w[m->turn++ % 8], up = gate;
        gate.rows = up.rows = gate.rows / 2;
        up.data = (const char *)gate.data + gate.rows * dtype_row_size(gate.type, gate.cols);
        b->ops->glu(b->stream, m->out, &gate, &up, &(Activations){m->x, m->n, m->norm, 1e-5f, NULL}, GATE_SILU);
}

static void bench_product(Bench *b, Multiply *m, const char *name, Enqueue *enqueue) {
        double time = time_of(b, enqueue, m), rows = m->w->rows, cols = m->w->cols, flops = 2 * rows * cols * m->n / time;
        double bytes = rows * (double)dtype_row_size(m->w->type, m->w->cols) / time;
        printf("%s %-5s %5.0f x %-5.0f %3u rows %8.1f us %7.0f GB/s (%3.0f %%) %7.1f TFLOP/s (%3.0f %%)\n", name,
               dtype_name(m->w->type), rows, cols, m->n, time * 1e6, bytes * 1e-9, 100 * bytes / b->ceiling, flops * 1e-12,
               100 * flops / b->multiplies);
}

static void bench_products(Bench *b) {
        static const uint32_t shapes[][2] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {14336, 4096}, {4096, 14336}};
        static const Dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
        static const uint32_t n[] = {1, 8, 32, 64, 512};
        char *memory = buffer(b, (size_t)8 * 14336 * 4096 * 2);
        Multiply m = {.x = buffer(b, (size_t)512 * 14336 * 4), .out = buffer(b, (size_t)512 * 14336 * 4),
                      .norm = buffer(b, 14336 * 4)};
        for (size_t s = 0; s < ARRAY_SIZE(shapes); s++)
                for (size_t t = 0; t < ARRAY_SIZE(types); t++)
                        for (size_t k = 0; k < ARRAY_SIZE(n); k++) {
                                size_t size = dtype_row_size(types[t], shapes[s][1]) * shapes[s][0];
                                for (int i = 0; i < 8; i++)
                                        m.w[i] = (Matrix){memory + (size_t)i * size, types[t], shapes[s][0],
                                                          shapes[s][1]};
                                m.n = n[k];
                                bench_product(b, &m, "matmul", enqueue_product);
                                bench_product(b, &m, "glu", enqueue_glu);
                        }
}

typedef struct Attend {
        float *q, *out;
        KvLayer kv;
        Rows rows;
} Attend;

static void enqueue_attention(Bench *b, void *arg) {
        Attend *a = arg;
        b->ops->attention(b->stream, a->out, a->q, &a->kv, &a->rows, &(Attending){.n_heads = 32, .scale = 0.1f});
}

/* 32 query and 8 KV heads of 128 values; a sequence for each row. */
static void bench_attention(Bench *b, uint32_t n, uint32_t context) {
        uint32_t pages = context / PAGE;
        size_t half = (size_t)n * context * 8 * 128 * 2;
        int32_t *tables = malloc((size_t)n * pages * 4), *slot = malloc(n * 4), *position = malloc(n * 4);
        for (uint32_t i = 0; i < n * pages; i++)
                tables[i] = (int32_t)i;
        for (uint32_t i = 0; i < n; i++) {
                slot[i] = (int32_t)i;
                position[i] = (int32_t)context - 1;
        }
        Attend a = {buffer(b, (size_t)n * 32 * 128 * 4), buffer(b, (size_t)n * 32 * 128 * 4),
                    {buffer(b, half), buffer(b, half), DTYPE_F16, PAGE, 8, 128, put(b, tables, (size_t)n * pages * 4),
                     pages},
                    {n, put(b, slot, n * 4), put(b, position, n * 4), NULL, 0}};
        double time = time_of(b, enqueue_attention, &a);
        printf("attention, %3u rows, context %5u %20.1f us %7.0f GB/s (%3.0f %%)\n", n, context, time * 1e6,
               2.0 * (double)half / time * 1e-9, 100 * 2.0 * (double)half / time / b->ceiling);
        free(tables), free(slot), free(position);
}

/* ---- what is bound by memory ---- */

/* Enough of everything for 4096 rows of 4096 values. */
typedef struct Small {
        float *x, *y, *z; /* dev [n, cols] */
        float *weight;
        Rows rows;
        Texts texts;
        KvLayer kv;
        SampleOut *out;
        SampleParams *params;
        uint32_t n, cols;
} Small;

enum { SMALL_ROWS = 4096, SMALL_COLS = 4096, SMALL_VOCAB = 131072, SMALL_TEXT = 128 };

static void small_rmsnorm(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->rmsnorm(b->stream, s->y, s->x, s->weight, s->n, s->cols, 1e-5f, UPDATE_SET);
}

static void small_layernorm(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->layernorm(b->stream, s->y, s->x, s->weight, s->weight, s->n, s->cols, 1e-5f);
}

/* Queries are rotated, keys are, too, and stored with values. */
static void small_rope(Bench *b, void *arg) {
        Small *s = arg;
        Qkv qkv = {.q = s->x, .k = s->y, .v = s->z, .n_heads = s->cols / 128, .n_kv_heads = s->cols / 128, .head_dim = 128};
        b->ops->rope(b->stream, &qkv, &s->rows, &(Rope){ROPE_NEOX, 128, 10000, 1, NULL}, &s->kv);
}

static void small_gather(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->gather(b->stream, s->y, s->x, s->rows.position, s->n, s->cols);
}

static void small_embed(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->embed(b->stream, s->y, &(Matrix){s->x, DTYPE_F32, SMALL_ROWS, s->cols}, &s->rows, 1);
}

static void small_embed_sum(Bench *b, void *arg) {
        Small *s = arg;
        Matrix tables[] = {{s->x, DTYPE_F32, SMALL_ROWS, s->cols}, {s->z, DTYPE_F32, SMALL_ROWS, s->cols}};
        b->ops->embed_sum(b->stream, s->y, tables, (const int32_t *[]){s->rows.position, s->rows.position}, 2, s->n);
}

static void small_pool(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->pool(b->stream, s->y, s->x, &s->texts, s->cols, POOLING_MEAN, true);
}

static void small_sample(Bench *b, void *arg) {
        Small *s = arg;
        b->ops->sample(b->stream, s->out, s->x, s->n, SMALL_VOCAB, s->rows.position, &s->rows, s->params);
}

static void print_small(Bench *b, const char *name, Enqueue *enqueue, Small *s, double bytes) {
        double time = time_of(b, enqueue, s);
        printf("%-44s %8.1f us %7.0f GB/s (%3.0f %%)\n", name, time * 1e6, bytes / time * 1e-9,
               100 * bytes / time / b->ceiling);
}

/* The first 4096 rows, each a sequence and a page of its own. */
static Small small_new(Bench *b) {
        size_t size = (size_t)SMALL_ROWS * SMALL_COLS * sizeof(float);
        int32_t *count = malloc(SMALL_ROWS * sizeof(*count)), *zero = calloc(SMALL_ROWS, sizeof(*zero));
        uint32_t starts[SMALL_ROWS / SMALL_TEXT + 1];
        for (int i = 0; i < SMALL_ROWS; i++)
                count[i] = i;
        for (uint32_t i = 0; i < ARRAY_SIZE(starts); i++)
                starts[i] = i * SMALL_TEXT;
        Small s = {.x = buffer(b, size), .y = buffer(b, size), .z = buffer(b, size), .n = SMALL_ROWS, .cols = SMALL_COLS,
                   .weight = buffer(b, SMALL_COLS * sizeof(float)),
                   .rows = {SMALL_ROWS, put(b, zero, SMALL_ROWS * 4), put(b, count, SMALL_ROWS * 4),
                            put(b, count, SMALL_ROWS * 4), SMALL_ROWS},
                   .texts = {SMALL_ROWS, SMALL_ROWS / SMALL_TEXT, SMALL_TEXT, put(b, starts, sizeof(starts))},
                   .kv = {buffer(b, size / 2), buffer(b, size / 2), DTYPE_F16, PAGE, 32, 128,
                          put(b, count, SMALL_ROWS / PAGE * 4), SMALL_ROWS / PAGE},
                   .out = buffer(b, SMALL_ROWS * sizeof(SampleOut)),
                   .params = calloc(SMALL_ROWS, sizeof(SampleParams))};
        free(count), free(zero);
        return s;
}

static void bench_small(Bench *b) {
        Small s = small_new(b);
        double all = (double)SMALL_ROWS * SMALL_COLS * sizeof(float);
        print_small(b, "rmsnorm, 4096 rows of 4096", small_rmsnorm, &s, 2 * all);
        print_small(b, "layernorm, 4096 rows of 4096", small_layernorm, &s, 2 * all);
        print_small(b, "rope, and storing in F16, 4096 rows of 4096", small_rope, &s, 5 * all);
        print_small(b, "gather, 4096 rows of 4096", small_gather, &s, 2 * all);
        print_small(b, "embed from F32, 4096 rows of 4096", small_embed, &s, 2 * all);
        print_small(b, "embed_sum of 2 tables, 4096 rows of 4096", small_embed_sum, &s, 3 * all);
        print_small(b, "pool, 32 texts of 128 rows of 4096", small_pool, &s, all);
        s.n = 64; /* of the logits once, for as many of 131072 tokens */
        all = 64.0 * SMALL_VOCAB * sizeof(float);
        for (int i = 0; i < 64; i++)
                s.params[i] = (SampleParams){.top_p = 1, .repeat_penalty = 1, .n_top = -1};
        print_small(b, "sample greedily, 64 rows of 131072", small_sample, &s, all);
        for (int i = 0; i < 64; i++)
                s.params[i] = (SampleParams){.temperature = 0.8f, .top_p = 0.95f, .top_k = 40, .repeat_penalty = 1, .n_top = -1};
        print_small(b, "sample with top_k and top_p, the same", small_sample, &s, all);
        free(s.params);
}

/* ---- encoders' operations ---- */

typedef struct Encoding {
        Packed w;
        float *x, *out;
        SelfAttention a;
        uint32_t n;
} Encoding;

static void enqueue_linear(Bench *b, void *arg) {
        Encoding *e = arg;
        b->ops->linear(b->stream, e->out, &e->w, e->x, e->n, NULL, ACTIVATION_GELU, UPDATE_SET);
}

static void enqueue_self_attention(Bench *b, void *arg) {
        Encoding *e = arg;
        b->ops->self_attention(b->stream, e->out, &e->a);
}

static void bench_linear(Bench *b, Encoding *e) {
        static const uint32_t shapes[][2] = {{384, 384}, {1536, 384}, {1024, 1024}, {4096, 1024}, {1024, 4096}};
        static const uint32_t n[] = {20, 512, 8192};
        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
                for (Precision p = PRECISION_F32; p <= PRECISION_INT16; p++)
                        for (size_t k = 0; k < ARRAY_SIZE(n); k++) {
                                size_t size = b->ops->packed_size(b->device, p, shapes[i][0], shapes[i][1]);
                                Buffer w = new_buffer(b, size);
                                e->w = (Packed){w.data, p, shapes[i][0], shapes[i][1]};
                                e->n = n[k];
                                double time = time_of(b, enqueue_linear, e);
                                double flops = 2.0 * shapes[i][0] * shapes[i][1] * n[k] / time;
                                printf("linear %-6s %4u x %-4u %5u rows %14.1f us %7.1f TFLOP/s (%3.0f %% of the ceiling%s)\n",
                                       p ? "f16" : "f32", shapes[i][0], shapes[i][1], n[k], time * 1e6, flops * 1e-12,
                                       100 * flops * (p ? 1 : 6) / b->multiplies, p ? "" : ", six products");
                                b->ops->buffer_free(b->device, &w);
                        }
}

/* 12 heads of 64 values. */
static void bench_self_attention(Bench *b, Encoding *e, uint32_t length) {
        enum { WIDTH = 768, TOKENS = 8192, TEXTS_MAX = TOKENS };
        static uint32_t starts[TEXTS_MAX + 1];
        uint32_t texts = TOKENS / length;
        for (uint32_t i = 0; i <= texts; i++)
                starts[i] = i * length;
        e->a = (SelfAttention){.texts = {texts * length, texts, length, put(b, starts, (texts + 1) * 4)},
                               .q = e->x, .k = e->x, .v = e->x,
                               .q_stride = WIDTH, .k_stride = WIDTH, .v_stride = WIDTH, .out_stride = WIDTH,
                               .n_heads = 12, .n_kv_heads = 12, .head_dim = 64, .scale = 0.125f};
        double time = time_of(b, enqueue_self_attention, e), flops = 4.0 * texts * length * length * WIDTH / time;
        printf("self_attention, %3u texts of %3u, 12 heads of 64 %7.1f us %7.1f TFLOP/s (%3.0f %% of the ceiling, six "
               "products)\n", texts, length, time * 1e6, flops * 1e-12, 600 * flops / b->multiplies);
}

static void bench_encoders(Bench *b) {
        Encoding e = {.x = buffer(b, (size_t)8192 * 4096 * 4), .out = buffer(b, (size_t)8192 * 4096 * 4)};
        bench_linear(b, &e);
        bench_self_attention(b, &e, 20);
        bench_self_attention(b, &e, 120);
        bench_self_attention(b, &e, 480);
}

static void bench_ops(Bench *b) {
        bench_small(b);
        bench_encoders(b);
        bench_products(b);
        bench_attention(b, 1, 1024);
        bench_attention(b, 1, 8192);
        bench_attention(b, 8, 8192);
        bench_attention(b, 64, 1024);
        bench_attention(b, 256, 1024);
}

/* ---- steps ---- */

typedef struct Steps {
        Model *model;
        Workspace *workspace;
        uint32_t batch, context;
        int32_t *tokens, *arrays; /* dev */
        SampleOut *out;
        KvArena kv;
        SampleParams *greedy;
} Steps;

static Model *load(Bench *b, const char *path, Precision p) {
        Error e = ERROR_NULL;
        Model *m;
        int r = model_open(path, &m, &e);
        if (r == 0) {
                model_set_precision(m, p);
                r = model_load(m, b->device, NULL, NULL, &e);
        }
        if (r == 0)
                return m;
        fprintf(stderr, "cuda-bench: %s\n", e.text);
        exit(r == -ENOMEM ? NOT_RUN : 1);
}

static void steps_init(Bench *b, Steps *s, Model *m, uint32_t batch, uint32_t context) {
        Error e = ERROR_NULL;
        uint32_t pages = context / PAGE;
        int32_t *tables = malloc((size_t)batch * pages * 4), *arrays = malloc((size_t)3 * batch * 4);
        Dtype type = model_kv_type(m);
        *s = (Steps){.model = m, .batch = batch, .context = context};
        for (uint32_t i = 0; i < batch * pages; i++)
                tables[i] = (int32_t)i;
        for (uint32_t i = 0; i < batch; i++) {
                arrays[i] = arrays[2 * batch + i] = (int32_t)i;
                arrays[batch + i] = (int32_t)context - 1;
        }
        s->tokens = buffer(b, (size_t)batch * context * 4);
        s->arrays = put(b, arrays, (size_t)3 * batch * 4);
        s->out = buffer(b, batch * sizeof(SampleOut));
        s->greedy = calloc(batch, sizeof(SampleParams));
        for (uint32_t i = 0; i < batch; i++)
                s->greedy[i].n_top = -1;
        s->kv = (KvArena){buffer(b, (size_t)batch * pages * model_kv_page_size(m, type, PAGE)), type, PAGE,
                          batch * pages, put(b, tables, (size_t)batch * pages * 4), pages};
        if (workspace_new(m, b->device, batch, batch, &s->workspace, &e) < 0) {
                fprintf(stderr, "cuda-bench: %s\n", e.text);
                exit(NOT_RUN);
        }
        free(tables), free(arrays);
}

static uint64_t step(Bench *b, Steps *s) {
        Rows rows = {s->batch, s->arrays, s->arrays + s->batch, s->tokens, s->context};
        const int32_t *index = s->arrays + 2 * s->batch;
        float *logits;
        model_forward(s->model, s->workspace, b->stream, &rows, &s->kv, index, s->batch, &logits, NULL);
        b->ops->sample(b->stream, s->out, logits, s->batch, model_info(s->model)->n_vocab, index, &rows, s->greedy);
        return mark(b);
}

/* Two steps are in flight, as in the engine. */
static double time_of_step(Bench *b, Steps *s) {
        enum { STEPS = 50 };
        double best = 1e9;
        for (int i = 0; i < RUNS; i++) {
                uint64_t before = step(b, s);
                double start = seconds();
                for (int k = 0; k < STEPS; k++) {
                        uint64_t ticket = step(b, s);
                        wait(b, before);
                        before = ticket;
                }
                wait(b, before);
                double t = (seconds() - start) / STEPS;
                best = MIN(best, t);
        }
        return best;
}

/* On a stream of its own. */
static void bench_step(Bench *b, Steps *s, bool overlaps) {
        Error e = ERROR_NULL;
        b->ops->stream_free(b->stream);
        container_of(b->device, Cuda, device)->overlaps = overlaps;
        if (b->ops->stream_new(b->device, STREAM_STEPS, &b->stream, &e) < 0)
                give_up(e.text);
        const ModelInfo *info = model_info(s->model);
        size_t kv = (size_t)s->batch * (s->context / PAGE) * model_kv_page_size(s->model, s->kv.type, PAGE);
        double best = time_of_step(b, s), bound = (double)(info->weights_size + kv) / b->ceiling;
        printf("step of %s, batch %u, context %u, kernels %s: %.3f ms, bound %.3f ms (%.0f %%), %.0f tokens/s\n", info->name,
               s->batch, s->context, overlaps ? "overlapping" : "one by one", best * 1e3, bound * 1e3, 100 * bound / best,
               s->batch / best);
}

static void bench_steps(Bench *b, Model *m, uint32_t batch, uint32_t context) {
        bool overlaps = container_of(b->device, Cuda, device)->overlaps;
        Steps s;
        steps_init(b, &s, m, batch, context);
        wait(b, mark(b));
        bench_step(b, &s, false);
        if (overlaps)
                bench_step(b, &s, true);
        workspace_free(s.workspace);
        free(s.greedy);
}

/* ---- encoding ---- */

/* Batches of about 8192 tokens, two in flight, as in the engine. */
static void bench_encode(Bench *b, Model *m, uint32_t length) {
        enum { TOKENS = 8192, BATCHES = 20 };
        Error e = ERROR_NULL;
        Workspace *w;
        double best = 1e9;
        if (!model_encoder(m) || length == 0 || length > model_encoder(m)->max_tokens)
                give_up("the model is no encoder, or takes no text of this length");
        uint32_t texts = MAX(TOKENS / length, 1u), n = texts * length, *starts = malloc((texts + 1) * sizeof(*starts));
        int32_t *tokens = malloc(n * sizeof(*tokens));
        for (uint32_t i = 0; i < n; i++)
                tokens[i] = (int32_t)(i * 7919 % model_info(m)->n_vocab);
        for (uint32_t i = 0; i <= texts; i++)
                starts[i] = i * length;
        if (workspace_new(m, b->device, n, texts, &w, &e) < 0)
                give_up(e.text);
        for (int i = 0; i < RUNS; i++) {
                double start = seconds();
                uint64_t before = 0;
                for (int k = 0; k < BATCHES; k++) {
                        float *out;
                        model_encode(m, w, b->stream, &(EncoderBatch){n, texts, tokens, NULL, starts}, &out, NULL);
                        uint64_t ticket = mark(b);
                        wait(b, before);
                        before = ticket;
                }
                wait(b, before);
                double t = (seconds() - start) / BATCHES;
                best = MIN(best, t);
        }
        printf("encode by %s, texts of %u tokens: %.3f ms for %u, %.0f texts/s, %.0f tokens/s\n", model_info(m)->name, length,
               best * 1e3, texts, texts / best, n / best);
        workspace_free(w);
        free(tokens), free(starts);
}

/* ---- loading ---- */

static void bench_load(Bench *b, const char *path) {
        for (int i = 0; i < RUNS; i++) {
                double start = seconds();
                Model *m = load(b, path, PRECISION_F32);
                double t = seconds() - start;
                printf("load %s: %.2f s, %.1f GB/s\n", path, t, (double)model_info(m)->weights_size / t * 1e-9);
                model_free(m);
        }
}

static void print_device(Bench *b) {
        const Cuda *c = container_of(b->device, Cuda, device);
        printf("%s: compute capability %d.%d, %u multiprocessors, %.1f GB of memory, driver for CUDA %d.%d, kernels %s\n",
               b->device->name, c->info.major, c->info.minor, c->info.processors, (double)c->info.memory * 1e-9,
               c->info.driver / 1000, c->info.driver % 1000 / 10, c->overlaps ? "overlap" : "do not overlap");
}

int main(int argc, char **argv) {
        Bench b = {0};
        Error e = ERROR_NULL;
        const char *what = argc > 1 ? argv[1] : "";
        setvbuf(stdout, NULL, _IOLBF, 0); /* figures are seen as they come, whatever comes after them */
        int r = device_cuda_new(&cuda_runtime, 0, &b.device, &e);
        if (r < 0) {
                fprintf(stderr, "cuda-bench: %s\n", e.text);
                return r == -ENODEV ? NOT_RUN : 1;
        }
        b.ops = b.device->ops;
        if (b.ops->stream_new(b.device, STREAM_STEPS, &b.stream, &e) < 0)
                give_up(e.text);
        if (strcmp(what, "device") == 0)
                print_device(&b);
        else if (strcmp(what, "latency") == 0)
                latency(&b);
        else if (strcmp(what, "load") == 0 && argc == 3)
                bench_load(&b, argv[2]);
        else if (strcmp(what, "ops") == 0) {
                measure_ceiling(&b);
                bench_ops(&b);
        } else if (strcmp(what, "step") == 0 && argc == 5) {
                measure_ceiling(&b);
                bench_steps(&b, load(&b, argv[2], PRECISION_F32), (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
        } else if (strcmp(what, "encode") == 0 && argc >= 4) {
                bool int16 = argc == 5 && strcmp(argv[4], "int16") == 0;
                bench_encode(&b, load(&b, argv[2], int16 ? PRECISION_INT16 : PRECISION_F32), (uint32_t)atoi(argv[3]));
        } else
                give_up("device, latency, ops, step FILE BATCH CONTEXT, encode DIRECTORY LENGTH [int16] or load FILE");
        return 0;
}
