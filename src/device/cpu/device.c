/* The CPU as a Device. Buffers are anonymous mappings: page-aligned, zeroed, without memory behind the pages nobody
 * has written yet, and given back to the system at once. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "device/cpu/cpu.h"

enum { THREADS_MAX = 256, HUGE_SIZE = 2 * 1024 * 1024 };

typedef struct Cpu {
        Device device;
        unsigned threads;
        const CpuKernels *kernels;
} Cpu;

static void cpu_free(Device *d) {
        free(container_of(d, Cpu, device));
}

static int buffer_new(Device *d, size_t size, Buffer *ret) {
        void *p = mmap(NULL, MAX(size, (size_t)1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return -errno;
        if (size >= HUGE_SIZE) /* rows of a KV cache lie far apart: fewer, bigger pages to look up */
                madvise(p, size, MADV_HUGEPAGE);
        *ret = (Buffer){.data = p, .size = size};
        return 0;
}

static void buffer_free(Device *d, Buffer *b) {
        if (b->data && !b->wrapped)
                munmap(b->data, MAX(b->size, (size_t)1));
        *b = (Buffer){0};
}

static int buffer_wrap(Device *d, const void *host, size_t size, Buffer *ret) {
        *ret = (Buffer){.data = (void *)host, .size = size, .wrapped = true};
        return 0;
}

/* The value of a "key: value" line of a /proc file, without the blanks around it; false when there is none. */
static bool proc_value(const char *path, const char *key, char *ret, size_t size) {
        char line[512];
        bool found = false;
        FILE *f = fopen(path, "re");
        if (!f)
                return false;
        while (!found && fgets(line, sizeof(line), f)) {
                char *colon = strchr(line, ':');
                if (!colon || strncmp(line, key, strlen(key)) != 0)
                        continue;
                char *value = colon + 1 + strspn(colon + 1, " \t");
                value[strcspn(value, "\n")] = 0;
                snprintf(ret, size, "%s", value);
                found = true;
        }
        fclose(f);
        return found;
}

/* What the kernel thinks a program can take without swapping. */
static size_t memory_free(Device *d) {
        char value[64];
        struct sysinfo info;
        if (proc_value("/proc/meminfo", "MemAvailable", value, sizeof(value)))
                return (size_t)strtoull(value, NULL, 10) * 1024;
        return sysinfo(&info) == 0 ? (size_t)info.freeram * info.mem_unit : 0;
}

static size_t memory_total(void) {
        struct sysinfo info;
        return sysinfo(&info) == 0 ? (size_t)info.totalram * info.mem_unit : 0;
}

static int stream_new(Device *d, StreamUse use, Stream **ret, Error *e) {
        Cpu *cpu = container_of(d, Cpu, device);
        return cpu_stream_new(cpu->threads, cpu->kernels, ret, e);
}

static size_t packed_size(const Device *d, Precision precision, uint32_t rows, uint32_t cols) {
        return cpu_packed_size(container_of(d, const Cpu, device)->kernels->gemm, precision, rows, cols);
}

static const DeviceOps cpu_ops = {
        .free = cpu_free,
        .buffer_new = buffer_new,
        .buffer_free = buffer_free,
        .buffer_wrap = buffer_wrap,
        .memory_free = memory_free,
        .stream_new = stream_new,
        .stream_free = cpu_stream_free,
        .eventfd = cpu_eventfd,
        .mark = cpu_mark,
        .poll = cpu_poll,
        .wait = cpu_wait,
        .upload = cpu_upload,
        .download = cpu_download,
        .embed = cpu_embed,
        .rmsnorm = cpu_rmsnorm,
        .matmul = cpu_matmul,
        .rope = cpu_rope,
        .attention = cpu_attention,
        .softcap = cpu_softcap,
        .route = cpu_route,
        .glu_experts = cpu_glu_experts,
        .matmul_experts = cpu_matmul_experts,
        .combine = cpu_combine,
        .glu = cpu_glu,
        .gather = cpu_gather,
        .sample = cpu_sample,
        .packed_size = packed_size,
        .pack = cpu_pack,
        .linear = cpu_linear,
        .embed_sum = cpu_embed_sum,
        .layernorm = cpu_layernorm,
        .self_attention = cpu_self_attention,
        .pool = cpu_pool,
};

/* How many processors' time a control group (cgroup v2) may use: its cpu.max is "QUOTA PERIOD" in microseconds, or
 * "max PERIOD". */
static unsigned group_processors(const char *group) {
        char path[PATH_MAX];
        unsigned long long quota, period;
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
        FILE *f = fopen(path, "re");
        bool limited = f && fscanf(f, "%llu %llu", &quota, &period) == 2 && period > 0;
        if (f)
                fclose(f);
        return limited ? (unsigned)CLAMP((quota + period - 1) / period, 1u, THREADS_MAX) : THREADS_MAX;
}

/* What our control group and those above it allow: systemd's CPUQuota=, or a container's share. */
static unsigned quota_processors(void) {
        char line[PATH_MAX / 2], *group = line + 1; /* "0::/system.slice/…": the value begins with the second colon */
        if (!proc_value("/proc/self/cgroup", "0:", line, sizeof(line)) || *line != ':')
                return THREADS_MAX;
        unsigned n = group_processors(group);
        for (char *slash; (slash = strrchr(group, '/'));) {
                *slash = 0;
                n = MIN(n, group_processors(group));
        }
        return n;
}

/* More threads than these would only get in each other's way. */
static unsigned processors(void) {
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return 1;
        unsigned allowed = quota_processors(), n = (unsigned)CPU_COUNT(&set);
        return CLAMP(n, 1u, allowed);
}

int device_cpu_new(uint32_t threads, Device **ret, Error *e) {
        char model[80] = "unknown processor";
        Cpu *cpu = calloc(1, sizeof(*cpu));
        if (!cpu)
                return error_set(e, -ENOMEM, "out of memory for the CPU device");
        cpu->threads = threads > 0 ? MIN(threads, THREADS_MAX) : processors();
        cpu->kernels = cpu_kernels();
        cpu->device.ops = &cpu_ops;
        cpu->device.memory_total = memory_total();
        cpu->device.few_rows = 8; /* by bench/decode: the second to fourth cost a twelfth of the first, more of them a sixth */
        (void)proc_value("/proc/cpuinfo", "model name", model, sizeof(model));
        snprintf(cpu->device.name, sizeof(cpu->device.name), "CPU: %s, %u thread%s, %s", model, cpu->threads,
                 cpu->threads == 1 ? "" : "s", cpu->kernels->name);
        *ret = &cpu->device;
        return 0;
}
