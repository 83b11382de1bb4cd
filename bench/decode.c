/* How many tokens a second a model reads and writes on the CPU, with 1 to N threads.
 *
 *      bench/decode FILE [--threads N] [--batch SEQUENCES]
 *
 * "prefill" is PROMPT positions of one sequence in one step. "decode" is what the engine does: every step samples one
 * token of each sequence, greedily, and the next step is enqueued before its predecessor's result is read. Each figure
 * is the best of at least RUNS, for a second or longer, so that what else the machine does counts less; the mean
 * shows how much that is. */
#include <getopt.h>
#include <string.h>

#include "bench.h"
#include "model/model.h"

enum { PROMPT = 128, STEPS = 128, CONTEXT = PROMPT + STEPS, PAGE = 16, RUNS = 3, BATCH_MAX = 64 };

typedef struct Bench {
        Device *device;
        Stream *stream;
        Model *model;
        Workspace *workspace;
        uint32_t batch;
        int32_t *tokens, *arrays; /* [batch, CONTEXT]; slot, position and index of each row */
        SampleOut *out;
        KvArena kv;
} Bench;

/* Device memory, for as long as the program runs. */
static void *buffer(Device *d, size_t size) {
        Buffer b;
        if (d->ops->buffer_new(d, size, &b) < 0)
                give_up("out of memory");
        return b.data;
}

/* Enqueues a step: n positions of every one of n_slots sequences from `first` on, the last of which is sampled. */
static uint64_t step(Bench *b, uint32_t n_slots, uint32_t first, uint32_t n) {
        SampleParams greedy[BATCH_MAX];
        static int32_t arrays[3 * (BATCH_MAX + PROMPT)];
        const DeviceOps *ops = b->device->ops;
        uint32_t n_rows = n_slots * n;
        uint64_t ticket;
        float *logits;
        for (uint32_t i = 0; i < n_rows; i++) {
                arrays[i] = (int32_t)(i / n);
                arrays[n_rows + i] = (int32_t)(first + i % n);
        }
        for (uint32_t i = 0; i < n_slots; i++) {
                greedy[i] = (SampleParams){.n_top = -1};
                arrays[2 * n_rows + i] = (int32_t)(i * n + n - 1);
        }
        Rows rows = {n_rows, b->arrays, b->arrays + n_rows, b->tokens, CONTEXT};
        const int32_t *index = b->arrays + 2 * n_rows;
        ops->upload(b->stream, b->arrays, arrays, (2 * n_rows + n_slots) * sizeof(*arrays));
        model_forward(b->model, b->workspace, b->stream, &rows, &b->kv, index, n_slots, &logits, NULL);
        ops->sample(b->stream, b->out, logits, n_slots, model_info(b->model)->n_vocab, index, &rows, greedy);
        if (ops->mark(b->stream, &ticket) < 0)
                give_up("out of memory");
        return ticket;
}

static double prefill(Bench *b) {
        double start = seconds();
        b->device->ops->wait(b->stream, step(b, 1, 0, PROMPT));
        return PROMPT / (seconds() - start);
}

static double decode(Bench *b) {
        double start = seconds();
        uint64_t before = 0;
        for (uint32_t i = 0; i < STEPS; i++) {
                uint64_t ticket = step(b, b->batch, PROMPT + i, 1);
                b->device->ops->wait(b->stream, before);
                before = ticket;
        }
        b->device->ops->wait(b->stream, before);
        return STEPS * b->batch / (seconds() - start);
}

static void measure(Bench *b, const char *what, double (*run)(Bench *b)) {
        double best = 0, sum = 0, start = seconds();
        int n = 0;
        for (; n < RUNS || seconds() - start < 1; n++) {
                double rate = run(b);
                best = MAX(best, rate);
                sum += rate;
        }
        printf("  %s %8.1f tok/s (mean %8.1f)", what, best, sum / n);
}

static void make_sequences(Bench *b) {
        uint32_t pages = CONTEXT / PAGE, max_rows = BATCH_MAX + PROMPT;
        Device *d = b->device;
        Dtype type = model_kv_type(b->model);
        int32_t *tables = buffer(d, b->batch * pages * sizeof(*tables));
        for (uint32_t i = 0; i < b->batch * pages; i++)
                tables[i] = (int32_t)i;
        b->tokens = buffer(d, b->batch * CONTEXT * sizeof(*b->tokens));
        for (uint32_t i = 0; i < b->batch * CONTEXT; i++)
                b->tokens[i] = (int32_t)(i * 7919 % model_info(b->model)->n_vocab);
        b->arrays = buffer(d, 3 * max_rows * sizeof(*b->arrays));
        b->out = buffer(d, b->batch * sizeof(*b->out));
        b->kv = (KvArena){buffer(d, b->batch * pages * model_kv_page_size(b->model, type, PAGE)), type, PAGE,
                          b->batch * pages, tables, pages};
}

static void bench(const char *path, uint32_t threads, uint32_t batch) {
        Error e = ERROR_NULL;
        Bench b = {.batch = batch};
        if (device_cpu_new(threads, &b.device, &e) < 0 || model_open(path, &b.model, &e) < 0 ||
            model_load(b.model, b.device, NULL, NULL, &e) < 0 ||
            b.device->ops->stream_new(b.device, STREAM_STEPS, &b.stream, &e) < 0 ||
            workspace_new(b.model, b.device, BATCH_MAX + PROMPT, BATCH_MAX, &b.workspace, &e) < 0)
                give_up(e.text);
        make_sequences(&b);
        printf("%s", b.device->name);
        measure(&b, "prefill", prefill);
        measure(&b, "decode", decode);
        printf("\n");
        b.device->ops->stream_free(b.stream);
        workspace_free(b.workspace);
        model_free(b.model);
        device_free(b.device);
}

int main(int argc, char **argv) {
        static const struct option options[] = {{"threads", required_argument, NULL, 't'},
                                                {"batch", required_argument, NULL, 'b'},
                                                {NULL, 0, NULL, 0}};
        uint32_t threads = 2, batch = 1;
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (c == 't')
                        threads = (uint32_t)atoi(optarg);
                else if (c == 'b')
                        batch = (uint32_t)atoi(optarg);
                else
                        return 2;
        }
        if (optind + 1 != argc || threads == 0 || batch == 0 || batch > BATCH_MAX)
                give_up("usage: decode FILE [--threads N] [--batch SEQUENCES (1 to 64)]");
        for (uint32_t n = 1; n <= threads; n++)
                bench(argv[optind], n, batch);
        return 0;
}
