/* A CUDA runtime without CUDA or a GPU, for tests: threads play streams, memory is the host's, kernels are run by
 * emulate.h. Everything can be made to go wrong. */
#pragma once

#include <stdatomic.h>

#include "cuda/runtime.h"

typedef struct FakeCuda {
        /* What tests set. */
        atomic_int devices;        /* how many GPUs there are */
        atomic_int major;          /* compute capability */
        atomic_int driver;         /* the version of CUDA it is for */
        atomic_size_t memory;      /* bytes of the GPU; more is out of memory */
        atomic_int fail_in;        /* that many calls from now, one fails; 0: none does */
        atomic_int fail_with;      /* the error; a sticky one stays */
        atomic_int kernels_to_bad; /* that many kernels from now, one accesses a wrong address; 0: none does */
        atomic_bool hangs;         /* nothing on any stream goes on */
        atomic_bool no_graphs;     /* capturing fails */
        /* What they look at. */
        atomic_int sticky;
        atomic_size_t used; /* bytes of the GPU */
        atomic_int objects; /* streams, events, graphs, allocations that were not given back */
        atomic_int kernels, graphs; /* launched one by one, as graphs */
        atomic_int urgent, overlapping; /* kernels executed with the higher priority; that could overlap with the one before */
        atomic_int waits;   /* calls that block */
} FakeCuda;

extern FakeCuda fake_cuda;
extern const CudaRuntime fake_cuda_runtime;

/* As in the beginning: one GPU of 1 GiB, and nothing goes wrong. */
void fake_cuda_reset(void);
/* To be called when `hangs` was changed. */
void fake_cuda_changed(void);
