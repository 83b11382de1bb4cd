/* Which of the compiled instruction sets is used; see kernels.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device/cpu/kernels.h"
#include "util/macro.h"

#ifdef __x86_64__
/* With FMA and F16C, which every processor with AVX2 has; compilers do not all know how to ask for the latter. */
static bool has_avx2(void) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
        return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx512vnni(void) {
        return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

/* The kernel gives a process tile registers when asked. */
static bool has_amx(void) {
        enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
        return has_avx512vnni() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("amx-tile") &&
               __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}
#endif

static bool has_generic(void) {
        return true;
}

/* Best first. */
static const struct {
        const CpuKernels *kernels;
        bool (*supported)(void);
} sets[] = {
#ifdef __x86_64__
        {&cpu_kernels_amx, has_amx},
        {&cpu_kernels_avx512vnni, has_avx512vnni},
        {&cpu_kernels_avx512, has_avx512},
        {&cpu_kernels_avx2, has_avx2},
#endif
        {&cpu_kernels_generic, has_generic},
};

const CpuKernels *cpu_kernels(void) {
        const char *wanted = getenv("ZEROLLAMA_CPU_ISA");
        const CpuKernels *best = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
                if (!sets[i].supported())
                        continue;
                if (wanted && strcmp(wanted, sets[i].kernels->name) == 0)
                        return sets[i].kernels;
                if (!best)
                        best = sets[i].kernels;
        }
        return best;
}
