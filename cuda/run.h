/* Kernels between two copies, launched together: a run.
 *
 * Operations append kernels; a copy or a mark launches what there is. A decoding step is the same run as the one before
 * it, argument by argument, as long as the same number of rows is computed: what differs from step to step lies in
 * device memory. So a long run that was seen before is captured in a CUDA graph, and replayed with one call from then
 * on. There is a graph for each number of rows that comes up again, captured when it does; a run that never comes again
 * (a prompt's) is launched kernel by kernel. In either way a kernel may overlap with the one before it, but the first, which
 * follows a copy. The least recently used graph makes way for a new one, if the device is
 * done with it. */
#pragma once

#include "cuda/runtime.h"
#include "util/buf.h"

enum { RUN_GRAPHS = 64, RUN_GRAPH_MIN = 8 /* kernels */ };

typedef struct RunGraph {
        uint64_t hash;
        char *content; /* the run it was made of; NULL: none */
        size_t size;
        void *graph;   /* NULL before it was seen a second time */
        uint64_t last; /* the ticket of its last use */
} RunGraph;

typedef struct Run {
        const CudaRuntime *runtime;
        bool overlaps;          /* see Cuda.overlaps */
        void *stream, *capture; /* where it is launched, and where graphs are captured; the latter NULL: no graphs */
        Buf kernels;            /* headers and arguments, one after another */
        uint32_t n;
        RunGraph graphs[RUN_GRAPHS];
} Run;

/* Its graphs are as urgent as the stream: a kernel takes its priority from where it was captured. The runtime's error. */
int run_init(Run *r, const CudaRuntime *runtime, void *stream, bool urgent, bool overlaps);
void run_deinit(Run *r);                                          /* nothing of it is executed any more */
/* False without memory. */
bool run_append(Run *r, const StreamLaunch *l, const void *args, size_t size);
/* Launches what was appended; the next mark has number `ticket`, all before `done` are reached. The runtime's error. */
int run_flush(Run *r, uint64_t ticket, uint64_t done);
