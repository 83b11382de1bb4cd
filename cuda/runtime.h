/* The calls of the CUDA runtime that the device makes, as a table: filled with CUDA's own (runtime.c), or with a fake
 * that has neither CUDA nor a GPU (fake.c), on which the rest of this folder is tested.
 *
 * Results are the runtime's error numbers, 0 for success. Streams, events and graphs are the runtime's own, unseen. */
#pragma once

#include "cuda/stream.h"

typedef struct CudaInfo {
        char name[64];
        size_t memory;
        uint32_t processors;
        int major, minor; /* of the compute capability */
        int driver;       /* the CUDA version it is for: 1000 * major + 10 * minor */
} CudaInfo;

/* Of driver_types.h. */
enum {
        CUDA_E_MEMORY = 2,
        CUDA_E_DRIVER = 35, /* too old, or none */
        CUDA_E_NO_DEVICE = 100,
        CUDA_E_BAD_DEVICE = 101,
        CUDA_E_NO_KERNEL = 209, /* for this GPU in the program */
        CUDA_E_NOT_READY = 600,
        CUDA_E_ADDRESS = 700,
};

typedef struct CudaRuntime {
        const char *(*error_text)(int error);
        int (*count)(int *ret);
        int (*use)(int index); /* the GPU of the calling thread */
        int (*describe)(int index, CudaInfo *ret);
        int (*memory)(size_t *ret_free);

        int (*alloc)(void **ret, size_t n);
        int (*release)(void *p);
        int (*alloc_host)(void **ret, size_t n); /* pinned */
        int (*release_host)(void *p);

        int (*stream_new)(void **ret, bool urgent);
        int (*stream_free)(void *stream);
        int (*stream_query)(void *stream); /* 0, CUDA_E_NOT_READY, or what went wrong */
        int (*stream_wait)(void *stream);  /* blocks */
        int (*event_new)(void **ret);
        int (*event_free)(void *event);
        int (*event_record)(void *event, void *stream);
        int (*event_await)(void *event, void *stream); /* what comes on the stream is after what was recorded */

        int (*copy)(void *stream, void *to, const void *from, size_t n);
        int (*clear)(void *stream, void *p, size_t n);
        /* `overlaps`: it may begin while the kernel before it on the stream runs. */
        int (*launch)(void *stream, const StreamLaunch *l, const void *args, bool overlaps);
        /* Calls back in stream order, on a thread of the runtime's, unless the device has failed by then. */
        int (*call)(void *stream, void (*f)(void *), void *arg);

        /* What is put on the stream between the two becomes a graph instead of being executed. */
        int (*capture_begin)(void *stream);
        int (*capture_end)(void *stream, void **ret_graph);
        int (*graph_launch)(void *stream, void *graph);
        int (*graph_free)(void *graph);
} CudaRuntime;

extern const CudaRuntime cuda_runtime;

/* -ENOMEM for what is short of memory; -ENODEV where no GPU can be used; else -EIO. 0 for success. */
int cuda_errno(int error);
/* Whether the process can do no more on the GPU, whatever it calls ("must be terminated and relaunched"). */
bool cuda_is_sticky(int error);
