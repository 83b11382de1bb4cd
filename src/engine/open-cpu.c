/* The device of the engine that is built without CUDA: there is the CPU alone. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"

int engine_open_device(const char *name, bool require, uint32_t threads, Device **ret, char *note, size_t note_size,
                       Error *e) {
        bool cpu = strcmp(name, "auto") == 0 || strcmp(name, "cpu") == 0;
        if (!cpu && require)
                return error_set(e, -ENODEV, "device %s is required, but this engine computes on the CPU only", name);
        int r = device_cpu_new(threads, ret, e);
        if (r >= 0 && !cpu)
                snprintf(note, note_size, "device %s was asked for, but this engine computes on the CPU only", name);
        return r;
}
