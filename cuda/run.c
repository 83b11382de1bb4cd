/* Runs of kernels and their graphs; see run.h. */
#include <stdlib.h>
#include <string.h>

#include "cuda/run.h"

enum { ALIGN = 16 };

typedef struct Kernel {
        StreamLaunch launch;
        size_t size;
        _Alignas(ALIGN) char args[STREAM_ARGS_MAX]; /* `size` of them are there, and padding */
} Kernel;

static size_t kernel_size(size_t args) {
        return offsetof(Kernel, args) + (args + ALIGN - 1) / ALIGN * ALIGN;
}

int run_init(Run *r, const CudaRuntime *runtime, void *stream, bool urgent, bool overlaps) {
        *r = (Run){.runtime = runtime, .overlaps = overlaps, .stream = stream, .kernels = BUF_NULL};
        return runtime->stream_new(&r->capture, urgent);
}

static void graph_forget(const Run *r, RunGraph *g) {
        if (g->graph)
                r->runtime->graph_free(g->graph);
        free(g->content);
        *g = (RunGraph){0};
}

void run_deinit(Run *r) {
        for (size_t i = 0; i < RUN_GRAPHS; i++)
                graph_forget(r, &r->graphs[i]);
        if (r->capture)
                r->runtime->stream_free(r->capture);
        buf_deinit(&r->kernels);
}

bool run_append(Run *r, const StreamLaunch *l, const void *args, size_t size) {
        Kernel k;
        memset(&k, 0, sizeof(k)); /* padding is compared, too */
        k.launch.kernel = l->kernel;
        memcpy(k.launch.grid, l->grid, sizeof(k.launch.grid));
        k.launch.block = l->block;
        k.launch.shared = l->shared;
        k.size = size;
        memcpy(k.args, args, size);
        buf_put(&r->kernels, &k, kernel_size(size));
        r->n++;
        return !r->kernels.failed;
}

static int launch_all(const Run *r, void *stream) {
        int error = 0;
        Kernel k;
        for (size_t at = 0; at < r->kernels.len && error == 0; at += kernel_size(k.size)) {
                memcpy(&k, r->kernels.data + at, offsetof(Kernel, args));
                memcpy(k.args, r->kernels.data + at + offsetof(Kernel, args), k.size);
                error = r->runtime->launch(stream, &k.launch, k.args, r->overlaps && at > 0);
        }
        return error;
}

/* FNV-1a over words. */
static uint64_t hash_of(const Run *r) {
        uint64_t hash = 0xcbf29ce484222325, word;
        for (size_t i = 0; i + sizeof(word) <= r->kernels.len; i += sizeof(word)) {
                memcpy(&word, r->kernels.data + i, sizeof(word));
                hash = (hash ^ word) * 0x100000001b3;
                hash ^= hash >> 32;
        }
        return hash;
}

static RunGraph *find_graph(Run *r, uint64_t hash) {
        for (RunGraph *g = r->graphs; g < r->graphs + RUN_GRAPHS; g++)
                if (g->content && g->hash == hash && g->size == r->kernels.len &&
                    memcmp(g->content, r->kernels.data, g->size) == 0)
                        return g;
        return NULL;
}

/* Remembers the run, in the place of the one that was not used for longest. */
static void remember(Run *r, uint64_t hash, uint64_t ticket, uint64_t done) {
        RunGraph *oldest = r->graphs;
        for (RunGraph *g = r->graphs; g < r->graphs + RUN_GRAPHS; g++)
                if (!g->content || (oldest->content && g->last < oldest->last))
                        oldest = g;
        if (oldest->content && oldest->last > done)
                return;
        graph_forget(r, oldest);
        char *content = malloc(r->kernels.len);
        if (!content)
                return;
        memcpy(content, r->kernels.data, r->kernels.len);
        *oldest = (RunGraph){.hash = hash, .content = content, .size = r->kernels.len, .last = ticket};
}

/* A graph of the run; NULL where there can be none, which is tried once only. */
static void *capture(Run *r) {
        void *graph = NULL;
        int error = r->runtime->capture_begin(r->capture);
        if (error == 0) {
                error = launch_all(r, r->capture);
                int ended = r->runtime->capture_end(r->capture, &graph);
                error = error ? error : ended;
        }
        if (error == 0)
                return graph;
        if (graph)
                r->runtime->graph_free(graph);
        r->runtime->stream_free(r->capture);
        r->capture = NULL;
        return NULL;
}

static int launch_run(Run *r, uint64_t ticket, uint64_t done) {
        if (r->n < RUN_GRAPH_MIN || !r->capture)
                return launch_all(r, r->stream);
        uint64_t hash = hash_of(r);
        RunGraph *g = find_graph(r, hash);
        if (!g)
                remember(r, hash, ticket, done);
        else {
                g->last = ticket;
                if (!g->graph)
                        g->graph = capture(r);
        }
        if (g && g->graph) {
                int error = r->runtime->graph_launch(r->stream, g->graph);
                if (error != CUDA_E_MEMORY) /* it takes some of the GPU's; there is another way */
                        return error;
        }
        return launch_all(r, r->stream);
}

int run_flush(Run *r, uint64_t ticket, uint64_t done) {
        if (r->n == 0)
                return 0;
        int error = launch_run(r, ticket, done);
        r->n = 0;
        r->kernels.len = 0;
        return error;
}
