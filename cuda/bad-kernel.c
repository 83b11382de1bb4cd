/* Breaks a GPU under a running engine, for gpu-checks: preloaded into the engine, it waits for the file that
 * $BAD_KERNEL names, takes it away, and launches, in the context that the engine computes in, a kernel that writes where
 * there is no memory. The error that follows is sticky. Without the variable, in any other program, or without a driver
 * it does nothing. */
#include <cuda.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ptx[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                          ".visible .entry bad()\n{\n.reg .b64 %a;\n.reg .b32 %v;\n"
                          "mov.u64 %a, 8;\nmov.u32 %v, 1;\nst.global.u32 [%a], %v;\nret;\n}\n";

static void *driver;

/* A function of the driver's, which must be there. */
static void *find(const char *name) {
        void *f = dlsym(driver, name);
        if (!f) {
                fprintf(stderr, "bad-kernel: the driver has no %s\n", name);
                exit(1);
        }
        return f;
}

static void check(const char *what, CUresult r) {
        if (r != CUDA_SUCCESS)
                fprintf(stderr, "bad-kernel: %s: error %d\n", what, (int)r);
}

static void launch(void) {
        CUcontext context;
        CUmodule module;
        CUfunction f;
        CUresult (*retain)(CUcontext *, CUdevice) = find("cuDevicePrimaryCtxRetain");
        CUresult (*use)(CUcontext) = find("cuCtxSetCurrent");
        CUresult (*load)(CUmodule *, const void *) = find("cuModuleLoadData");
        CUresult (*get)(CUfunction *, CUmodule, const char *) = find("cuModuleGetFunction");
        CUresult (*start)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,
                          void **) = find("cuLaunchKernel");
        check("context", retain(&context, 0));
        check("use", use(context));
        check("load", load(&module, ptx));
        check("find", get(&f, module, "bad"));
        check("launch", start(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
}

static void *wait_for_file(void *path) {
        while (unlink(path) < 0)
                usleep(10000);
        driver = dlopen("libcuda.so.1", RTLD_NOW);
        if (driver)
                launch();
        return NULL;
}

__attribute__((constructor)) static void set_up(void) {
        char *path = getenv("BAD_KERNEL");
        pthread_t thread;
        sigset_t all, before;
        if (!path || strcmp(program_invocation_short_name, "zerollama-engine") != 0)
                return;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (pthread_create(&thread, NULL, wait_for_file, path) != 0)
                fprintf(stderr, "bad-kernel: no thread\n");
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}
