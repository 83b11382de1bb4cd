/* The CUDA device, and what its files share. */
#pragma once

#include <stdatomic.h>

#include "cuda/runtime.h"

typedef struct Cuda {
        Device device;
        const CudaRuntime *runtime;
        int index;
        CudaInfo info;
        bool overlaps;       /* a kernel may be launched while the one before it runs: it awaits its end itself */
        void *stream;        /* for clearing buffers */
        atomic_int failed;   /* the sticky error the device was lost by */
} Cuda;

/* GPU `index`, counted as CUDA does, once it has been seen to compute: a small kernel is run and its result compared.
 * -ENODEV where there is none that can be used, with the reason. */
int device_cuda_new(const CudaRuntime *runtime, int index, Device **ret, Error *e);

/* Makes the GPU that of the calling thread. */
void cuda_use(const Cuda *c);
/* The errno of a runtime error, after the device was marked lost if it is sticky. */
int cuda_result(Cuda *c, int error);

int cuda_stream_new(Cuda *c, StreamUse use, Stream **ret, Error *e);
void cuda_stream_free(Stream *s);
int cuda_eventfd(Stream *s);
int cuda_mark(Stream *s, uint64_t *ret_ticket);
int cuda_poll(Stream *s, uint64_t *ret_ticket);
int cuda_wait(Stream *s, uint64_t ticket);
