/* How fast the CPU device multiplies, beside what the machine can read in the same run.
 *
 *      bench/cpu-ops [--json] [threads]
 *
 * "decode" is one activation row: weights stream from memory, GB/s is to be held against the ceiling, which is the
 * same stream summed without any other work. The weights of one measurement are spread over copies that together
 * exceed the caches. "batch" is 4 rows, as of so many sequences. "prefill" is 128 rows: GFLOP/s. Each figure is the best
 * of several runs. */
#include <string.h>

#include "bench.h"
#include "device/cpu/cpu.h"

enum { SPREAD = 256 * 1024 * 1024, RUNS = 5 };

typedef struct Bench {
        Device *device;
        Stream *stream;
        char *memory; /* SPREAD bytes */
        float *x, *out;
        bool json;
        int n_printed;
} Bench;

/* Time of everything recorded since the last call. */
static double run(Bench *b) {
        uint64_t ticket;
        double start = seconds();
        if (b->device->ops->mark(b->stream, &ticket) < 0 || b->device->ops->wait(b->stream, ticket) < 0)
                abort();
        return seconds() - start;
}

static void print(Bench *b, const char *what, Dtype type, uint32_t rows, uint32_t cols, double gb, double gflop) {
        if (b->json)
                printf("%s{\"op\": \"%s\", \"type\": \"%s\", \"rows\": %u, \"cols\": %u, \"GB/s\": %.1f, "
                       "\"GFLOP/s\": %.1f}",
                       b->n_printed++ ? ",\n " : "", what, dtype_name(type), rows, cols, gb, gflop);
        else
                printf("%-8s %-5s %6u x %-6u %8.1f GB/s %8.1f GFLOP/s\n", what, dtype_name(type), rows, cols, gb,
                       gflop);
}

typedef struct Sum {
        const char *memory;
} Sum;

/* Eight independent sums of 64-bit words, so that nothing but memory is waited for. */
static void sum_run(const void *args, const CpuPart *part) {
        typedef uint64_t Words __attribute__((vector_size(64)));
        const Sum *a = args;
        CpuShare mine = cpu_share(part, SPREAD, 4096);
        Words s[4] = {0};
        for (size_t i = mine.begin; i + 256 <= mine.end; i += 256)
                for (int j = 0; j < 4; j++)
                        s[j] += *(const Words *)(a->memory + i + j * 64);
        volatile uint64_t sink = (s[0] + s[1] + s[2] + s[3])[0];
        (void)sink;
}

static uint64_t sum_work(const void *args) {
        return SPREAD;
}

static void bench_ceiling(Bench *b) {
        double best = 1e9;
        for (int i = 0; i < RUNS; i++) {
                stream_record(b->stream, sum_run, sum_work, &(Sum){b->memory}, sizeof(Sum));
                double t = run(b);
                best = MIN(best, t);
        }
        print(b, "ceiling", DTYPE_F32, 1, SPREAD / 4, SPREAD / best * 1e-9, 0);
}

static void bench_matmul(Bench *b, Dtype type, uint32_t rows, uint32_t cols, uint32_t n) {
        size_t size = dtype_row_size(type, cols) * rows, copies = n < 128 ? SPREAD / size : 4;
        double best = 1e9;
        for (int i = 0; i < RUNS; i++) {
                for (size_t c = 0; c < copies; c++)
                        b->device->ops->matmul(b->stream,
                                               &(Product){{b->memory + c * size, type, rows, cols}, NULL, b->out}, 1,
                                               &(Activations){.x = b->x, .n_rows = n}, UPDATE_SET);
                double t = run(b) / (double)copies;
                best = MIN(best, t);
        }
        print(b, n == 1 ? "decode" : n < 128 ? "batch" : "prefill", type, rows, cols, (double)size / best * 1e-9,
              2.0 * rows * cols * n / best * 1e-9);
}

/* One row of a model of 32 query and 8 KV heads of 64 values at position 4095. GB/s of keys and values. */
static void bench_attention(Bench *b) {
        enum { POSITIONS = 4096, PAGE = 32, KV_HEADS = 8, HEADS = 32, DIM = 64 };
        int32_t tables[POSITIONS / PAGE], slot = 0, position = POSITIONS - 1;
        size_t half = (size_t)POSITIONS * KV_HEADS * DIM * 2, copies = SPREAD / half / 2;
        double best = 1e9;
        for (int i = 0; i < POSITIONS / PAGE; i++)
                tables[i] = i;
        for (int i = 0; i < RUNS; i++) {
                for (size_t c = 0; c < copies; c++) {
                        KvLayer kv = {b->memory + 2 * c * half, b->memory + (2 * c + 1) * half, DTYPE_F16, PAGE,
                                      KV_HEADS, DIM, tables, POSITIONS / PAGE};
                        b->device->ops->attention(b->stream, b->out, b->x, &kv, &(Rows){1, &slot, &position, NULL, 0},
                                                  &(Attending){.n_heads = HEADS, .scale = 0.001f});
                }
                double t = run(b) / (double)copies;
                best = MIN(best, t);
        }
        print(b, "attend", DTYPE_F16, POSITIONS, KV_HEADS * DIM, 2.0 * (double)half / best * 1e-9,
              4.0 * POSITIONS * HEADS * DIM / best * 1e-9);
}

/* Device memory, for as long as the program runs. */
static void *buffer(Device *d, size_t size) {
        Buffer b;
        if (d->ops->buffer_new(d, size, &b) < 0) {
                fprintf(stderr, "out of memory\n");
                exit(1);
        }
        return b.data;
}

static int bench_init(Bench *b, uint32_t threads) {
        Error e = ERROR_NULL;
        if (device_cpu_new(threads, &b->device, &e) < 0 ||
            b->device->ops->stream_new(b->device, STREAM_STEPS, &b->stream, &e) < 0) {
                fprintf(stderr, "%s\n", e.text);
                return -1;
        }
        b->memory = buffer(b->device, SPREAD);
        b->x = buffer(b->device, 128 * 8192 * sizeof(float));
        b->out = buffer(b->device, 128 * 8192 * sizeof(float));
        for (size_t i = 0; i < SPREAD; i++) /* small numbers in every format: no infinities, no subnormals */
                b->memory[i] = (char)(0x20 + i % 16);
        for (size_t i = 0; i < 128 * 8192; i++)
                b->x[i] = (float)(i % 31) - 15;
        return 0;
}

int main(int argc, char **argv) {
        static const Dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q5_K,
                                      DTYPE_Q6_K, DTYPE_Q5_0, DTYPE_Q4_1, DTYPE_Q5_1, DTYPE_Q3_K, DTYPE_Q2_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4};
        static const uint32_t shapes[][2] = {{2048, 2048}, {8192, 2048}, {2048, 8192}};
        Bench b = {.json = argc > 1 && strcmp(argv[1], "--json") == 0};
        if (bench_init(&b, argc > 1 + b.json ? (uint32_t)atoi(argv[1 + b.json]) : 0) < 0)
                return 1;
        printf(b.json ? "{\"device\": \"%s\", \"results\": [\n " : "%s\n", b.device->name);
        bench_ceiling(&b);
        bench_attention(&b);
        for (size_t s = 0; s < ARRAY_SIZE(shapes); s++)
                for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
                        bench_matmul(&b, types[t], shapes[s][0], shapes[s][1], 1);
                        bench_matmul(&b, types[t], shapes[s][0], shapes[s][1], 4);
                        bench_matmul(&b, types[t], shapes[s][0], shapes[s][1], 128);
                }
        if (b.json)
                printf("]}\n");
        b.device->ops->stream_free(b.stream);
        device_free(b.device);
        return 0;
}
