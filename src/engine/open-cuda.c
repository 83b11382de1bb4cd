/* The device of the engine that is built with CUDA: a GPU that works, or, where none is required, the CPU. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "engine/engine.h"

enum { GPU_ANY = -1, GPU_NONE = -2, GPUS_MAX = 64 };

/* Of "auto", "cpu" and "cuda:N", which the daemon has checked. */
static int gpu_of_name(const char *name) {
        int index;
        if (strcmp(name, "auto") == 0)
                return GPU_ANY;
        return sscanf(name, "cuda:%d", &index) == 1 ? index : GPU_NONE;
}

/* The first that works; where none does, the message is about the first. */
static int open_any(Device **ret, Error *e) {
        int r = device_cuda_new(&cuda_runtime, 0, ret, e), n;
        if (r >= 0 || cuda_runtime.count(&n) != 0)
                return r;
        for (int i = 1; i < MIN(n, (int)GPUS_MAX) && r < 0; i++)
                r = device_cuda_new(&cuda_runtime, i, ret, NULL);
        return r;
}

int engine_open_device(const char *name, bool require, uint32_t threads, Device **ret, char *note, size_t note_size,
                       Error *e) {
        Error why = ERROR_NULL;
        int gpu = gpu_of_name(name);
        if (gpu == GPU_NONE)
                return device_cpu_new(threads, ret, e);
        setenv("CUDA_MODULE_LOADING", "EAGER", 0); /* kernels are loaded now, not in the first steps or without memory */
        int r = gpu == GPU_ANY ? open_any(ret, &why) : device_cuda_new(&cuda_runtime, gpu, ret, &why);
        if (r >= 0)
                return r;
        if (require)
                return error_set(e, r, "device %s is required, but %s", name, why.text);
        if (gpu == GPU_ANY)
                snprintf(note, note_size, "computing on the CPU: %s", why.text);
        else
                snprintf(note, note_size, "device %s was asked for, but computing on the CPU: %s", name, why.text);
        return device_cpu_new(threads, ret, e);
}
