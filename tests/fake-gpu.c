/* Makes zerollama-engine-cuda, linked with the fake CUDA runtime and emulated kernels, an engine whose GPU a test can
 * size and break:
 *
 *   FAKE_GPUS      how many there are; default 1
 *   FAKE_GPU_MIB   the memory of one; default 1024
 *   FAKE_GPU_TROUBLE  a file: when it is there, the engine that takes it away has the trouble named in it, "bad kernel" or
 *                  "hang" */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/fake.h"

static void *wait_for_trouble(void *path) {
        char what[16];
        for (;; usleep(5000)) {
                FILE *f = fopen(path, "re");
                if (!f)
                        continue;
                char *read = fgets(what, sizeof(what), f);
                fclose(f);
                if (!read || unlink(path) < 0) /* not written yet, or another engine's */
                        continue;
                if (strcmp(what, "hang") == 0)
                        fake_cuda.hangs = true;
                else
                        fake_cuda.kernels_to_bad = 1;
                fake_cuda_changed();
        }
        return NULL;
}

static long number(const char *name, long otherwise) {
        const char *text = getenv(name);
        return text ? strtol(text, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void set_up(void) {
        pthread_t thread;
        sigset_t all, before;
        char *path = getenv("FAKE_GPU_TROUBLE");
        fake_cuda_reset();
        fake_cuda.devices = (int)number("FAKE_GPUS", 1);
        fake_cuda.memory = (size_t)number("FAKE_GPU_MIB", 1024) << 20;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (path && pthread_create(&thread, NULL, wait_for_trouble, path) != 0)
                abort();
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}
