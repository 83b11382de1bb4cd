/* How many tokens a second an encoder reads on the CPU, and what share that is of what the processor can multiply.
 *
 *      bench/encode DIRECTORY [--threads N] [--precision f32|int16|bf16|int8] [--lengths 20,120,480] [--batch TOKENS]
 *                             [--cpu-time]
 *      bench/encode DIRECTORY [--threads N] [--precision …] --vectors FILE >VECTORS
 *
 * Batches hold texts of one length, as many as fit into `--batch` tokens. "peak" is a loop of nothing but the
 * instruction that the precision is computed with, measured in the same run; the share counts the multiplications of the
 * matrices alone. Each figure is the best of at least RUNS, for a second or longer; with
 * --cpu-time (and one thread) it counts the processor's time alone, which is steadier on a machine that others use.
 *
 * With --vectors, FILE has the ids of one text on each line; the results go to standard output as float32. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "bench.h"
#include "device/cpu/cpu.h"
#include "model/model.h"

enum { RUNS = 3, TEXTS_MAX = 4096 };

typedef struct Bench {
        Device *device;
        Stream *stream;
        Model *model;
        Workspace *workspace;
        uint32_t batch;
        int32_t *tokens;
        uint32_t starts[TEXTS_MAX + 1];
} Bench;

static clockid_t clock_id = CLOCK_MONOTONIC;

static void run(Bench *b) {
        uint64_t ticket;
        if (b->device->ops->mark(b->stream, &ticket) < 0 || b->device->ops->wait(b->stream, ticket) < 0)
                give_up("out of memory");
}

/* ---- the processor's peak ---- */

/* Twelve sums that do not wait for each other, so that nothing but the multipliers is waited for. */
#define SUMS(op, reg)                                                                                                  \
        op " " reg "0, " reg "1, " reg "2\n" op " " reg "0, " reg "1, " reg "3\n" op " " reg "0, " reg "1, " reg       \
           "4\n" op " " reg "0, " reg "1, " reg "5\n" op " " reg "0, " reg "1, " reg "6\n" op " " reg "0, " reg        \
           "1, " reg "7\n" op " " reg "0, " reg "1, " reg "8\n" op " " reg "0, " reg "1, " reg "9\n" op " " reg        \
           "0, " reg "1, " reg "10\n" op " " reg "0, " reg "1, " reg "11\n" op " " reg "0, " reg "1, " reg "12\n" op   \
           " " reg "0, " reg "1, " reg "13\n"
/* Whatever the registers held might be numbers that are slow to multiply. */
#define ZERO "vxorps %%xmm0, %%xmm0, %%xmm0\nvxorps %%xmm1, %%xmm1, %%xmm1\n"
#define CLOBBERED(x)                                                                                                   \
        x "0", x "1", x "2", x "3", x "4", x "5", x "6", x "7", x "8", x "9", x "10", x "11", x "12", x "13"
#define LOOP(name, isa, op, reg, clobber)                                                                              \
        static __attribute__((target(isa))) void name(void) {                                                          \
                long n = PEAK_LOOPS;                                                                                   \
                __asm__ volatile(ZERO "1:\n" SUMS(op, reg) "dec %0\njnz 1b" : "+r"(n) : : CLOBBERED(clobber), "cc");        \
        }

enum { PEAK_LOOPS = 1000000, PEAK_SUMS = 12 };

#ifdef __x86_64__
LOOP(loop_avx2, "avx2,fma", "vfmadd231ps", "%%ymm", "ymm")
LOOP(loop_avx512, "avx512f", "vfmadd231ps", "%%zmm", "zmm")
LOOP(loop_int16, "avx512f,avx512vnni", "vpdpwssd", "%%zmm", "zmm")
LOOP(loop_int8, "avx512f,avx512vnni", "vpdpbusd", "%%zmm", "zmm")

/* Three times the four accumulators that a block of products has. */
static __attribute__((target("amx-tile,amx-bf16"))) void loop_tiles(void) {
        static const uint8_t config[64] = {1, [16] = 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, [48] = 16, 16, 16, 16, 16, 16};
        long n = PEAK_LOOPS / 16;
#define FOUR "tdpbf16ps %%tmm5, %%tmm4, %%tmm0\ntdpbf16ps %%tmm5, %%tmm4, %%tmm1\n"                                    \
             "tdpbf16ps %%tmm5, %%tmm4, %%tmm2\ntdpbf16ps %%tmm5, %%tmm4, %%tmm3\n"
        __asm__ volatile("ldtilecfg %1\n1:\n" FOUR FOUR FOUR "dec %0\njnz 1b\ntilerelease" : "+r"(n) : "m"(config) : "cc");
}
#endif

typedef struct Peak {
        const char *isa;
        Precision precision;
        void (*loop)(void);
        double operations; /* of one instruction */
} Peak;

static const Peak peaks[] = {
#ifdef __x86_64__
        {"avx2", PRECISION_F32, loop_avx2, 16},          {"avx512", PRECISION_F32, loop_avx512, 32},
        {"avx512vnni", PRECISION_F32, loop_avx512, 32},  {"avx512vnni", PRECISION_INT16, loop_int16, 64},
        {"avx512vnni", PRECISION_INT8, loop_int8, 128},
        /* a sixteenth of the loops; six, three or one product of bfloat16 */
        {"amx", PRECISION_F32, loop_tiles, 16384 / 16 / 6.0}, {"amx", PRECISION_INT16, loop_tiles, 16384 / 16 / 3.0},
        {"amx", PRECISION_BF16, loop_tiles, 16384 / 16},     {"amx", PRECISION_INT8, loop_tiles, 16384 / 16},
#else
        {"", PRECISION_F32, NULL, 0},
#endif
};

typedef struct PeakRun {
        void (*loop)(void);
        unsigned *ret_parts;
} PeakRun;

static void peak_run(const void *args, const CpuPart *part) {
        const PeakRun *a = args;
        if (part->index == 0)
                *a->ret_parts = part->n;
        a->loop();
}

static uint64_t peak_work(const void *args) {
        (void)args;
        return UINT64_MAX;
}

/* Operations a second of all threads; 0 where no loop is known. */
static double peak(Bench *b, Precision p) {
        const char *isa = strrchr(b->device->name, ' ') + 1;
        double best = 0;
        for (size_t i = 0; i < ARRAY_SIZE(peaks); i++) {
                if (strcmp(peaks[i].isa, isa) != 0 || peaks[i].precision != p)
                        continue;
                for (int k = 0; k < RUNS; k++) {
                        unsigned parts = 0;
                        double start = seconds_of(clock_id);
                        stream_record(b->stream, peak_run, peak_work, &(PeakRun){peaks[i].loop, &parts}, sizeof(PeakRun));
                        run(b);
                        double rate = parts * peaks[i].operations * PEAK_SUMS * PEAK_LOOPS / (seconds_of(clock_id) - start);
                        best = MAX(best, rate);
                }
        }
        return best;
}

/* ---- batches ---- */

static float *encode(Bench *b, uint32_t n_texts) {
        float *out;
        model_encode(b->model, b->workspace, b->stream,
                     &(EncoderBatch){b->starts[n_texts], n_texts, b->tokens, NULL, b->starts}, &out, NULL);
        return out;
}

/* Operations of all matrices for one token; a reranker's head, which is for each text, is not counted. */
static double token_operations(const ModelInfo *i, bool gated) {
        double q = (double)i->n_heads * i->head_dim, kv = (double)i->n_kv_heads * i->head_dim;
        return 2.0 * i->n_layers * i->n_embd * (2 * q + 2 * kv + (gated ? 3 : 2) * (double)i->n_ff);
}

static void measure(Bench *b, uint32_t length, double peak_rate) {
        uint32_t n = MAX(b->batch / length, 1u);
        double best = 0, begin = seconds_of(clock_id);
        for (uint32_t t = 0; t <= n; t++)
                b->starts[t] = t * length;
        for (int k = 0; k < RUNS || seconds_of(clock_id) - begin < 1; k++) {
                double start = seconds_of(clock_id);
                encode(b, n);
                run(b);
                double rate = n * length / (seconds_of(clock_id) - start);
                best = MAX(best, rate);
        }
        printf("%5u tokens x %-4u %9.0f tokens/s %9.1f texts/s", length, n, best, best / length);
        if (peak_rate > 0)
                printf("  %5.1f %% of the peak", 100 * best * token_operations(model_info(b->model), model_encoder(b->model)->causal) / peak_rate);
        printf("\n");
}

/* ---- vectors ---- */

/* The ids of one line; 0 at the end of the file. */
static uint32_t read_ids(FILE *f, int32_t *ids, uint32_t max) {
        char *line = NULL, *at, *end;
        size_t size = 0;
        uint32_t n = 0;
        if (getline(&line, &size, f) > 0)
                for (at = line; n < max && (ids[n] = (int32_t)strtol(at, &end, 10), end != at); at = end)
                        n++;
        free(line);
        return n;
}

static void write_batch(Bench *b, uint32_t n_texts) {
        size_t n = (size_t)n_texts * model_encoder(b->model)->n_out;
        float *host = calloc(n, sizeof(*host));
        if (!host)
                give_up("out of memory");
        b->device->ops->download(b->stream, host, encode(b, n_texts), n * sizeof(*host));
        run(b);
        if (fwrite(host, sizeof(*host), n, stdout) != n)
                give_up("cannot write");
        free(host);
}

static void write_vectors(Bench *b, const char *path) {
        uint32_t n_texts = 0, most = model_encoder(b->model)->max_tokens, n;
        FILE *f = fopen(path, "re");
        if (!f)
                give_up("cannot open the file of ids");
        while ((n = read_ids(f, b->tokens + b->starts[n_texts], most)) > 0) {
                b->starts[n_texts + 1] = b->starts[n_texts] + n;
                n_texts++;
                if (b->starts[n_texts] + most > b->batch || n_texts == TEXTS_MAX) {
                        write_batch(b, n_texts);
                        n_texts = 0;
                }
        }
        if (n_texts > 0)
                write_batch(b, n_texts);
        fclose(f);
}

/* ---- all of it ---- */

static void start(Bench *b, const char *path, uint32_t threads, Precision p) {
        Error e = ERROR_NULL;
        if (device_cpu_new(threads, &b->device, &e) < 0 || model_open(path, &b->model, &e) < 0)
                give_up(e.text);
        if (!model_encoder(b->model))
                give_up("this model generates text; see bench/decode");
        b->batch = MAX(b->batch, model_encoder(b->model)->max_tokens);
        b->tokens = calloc(b->batch, sizeof(*b->tokens));
        model_set_precision(b->model, p);
        if (!b->tokens || model_load(b->model, b->device, NULL, NULL, &e) < 0 ||
            b->device->ops->stream_new(b->device, STREAM_STEPS, &b->stream, &e) < 0 ||
            workspace_new(b->model, b->device, b->batch, TEXTS_MAX, &b->workspace, &e) < 0)
                give_up(e.code ? e.text : "out of memory");
        for (uint32_t i = 0; i < b->batch; i++)
                b->tokens[i] = (int32_t)((uint64_t)i * 7919 % model_info(b->model)->n_vocab);
}

static Precision precision_named(const char *name) {
        static const char *const names[] = {"f32", "int16", "bf16", "int8"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return (Precision)i;
        give_up("--precision is f32, int16, bf16 or int8");
}

int main(int argc, char **argv) {
        static const struct option options[] = {{"threads", required_argument, NULL, 't'},
                                                {"precision", required_argument, NULL, 'p'},
                                                {"lengths", required_argument, NULL, 'l'},
                                                {"batch", required_argument, NULL, 'b'},
                                                {"cpu-time", no_argument, NULL, 'c'},
                                                {"vectors", required_argument, NULL, 'v'},
                                                {NULL, 0, NULL, 0}};
        static Bench b = {.batch = 2048};
        const char *lengths = "20,120,480", *vectors = NULL;
        uint32_t threads = 2;
        Precision p = PRECISION_F32;
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (c == 't')
                        threads = (uint32_t)atoi(optarg);
                else if (c == 'p')
                        p = precision_named(optarg);
                else if (c == 'l')
                        lengths = optarg;
                else if (c == 'b')
                        b.batch = (uint32_t)atoi(optarg);
                else if (c == 'c')
                        clock_id = CLOCK_PROCESS_CPUTIME_ID;
                else if (c == 'v')
                        vectors = optarg;
                else
                        return 2;
        }
        if (optind + 1 != argc || threads == 0)
                give_up("usage: encode DIRECTORY [--threads N] [--precision f32|int16|bf16|int8] [--lengths N,…] [--batch N] "
                        "[--cpu-time] [--vectors FILE]");
        start(&b, argv[optind], threads, p);
        if (vectors) {
                write_vectors(&b, vectors);
                return 0;
        }
        double rate = peak(&b, p);
        printf("%s, peak %.0f GOP/s\n", b.device->name, rate * 1e-9);
        for (char *end; *lengths; lengths = *end ? end + 1 : end) {
                uint32_t n = (uint32_t)strtoul(lengths, &end, 10);
                if (n == 0 || n > model_encoder(b.model)->max_tokens)
                        give_up("--lengths: what the model takes, separated by commas");
                measure(&b, n, rate);
        }
        return 0;
}
