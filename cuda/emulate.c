/* Fibers that play the threads of a block; see emulate.h.
 *
 * A fiber is ready, waits at a barrier, or has ended. The scheduler goes round: every ready fiber runs until it waits.
 * A barrier that all have come to opens a new generation; who waits for an older one is ready. When a round finds
 * nobody ready and some have not ended, they wait for somebody who will not come. */
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "cuda/emulate.h"
#include "cuda/stream.h"

enum { THREADS_MAX = 1024, WARP = 32, STACK_SIZE = 128 * 1024, COPIES = 64, COPY_SIZE = 16 };

#if defined(__SANITIZE_THREAD__)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#else
static void *__tsan_get_current_fiber(void) {
        return NULL;
}
static void *__tsan_create_fiber(unsigned flags) {
        return NULL;
}
static void __tsan_switch_to_fiber(void *fiber, unsigned flags) {
}
#endif

typedef struct Barrier {
        unsigned needed, arrived, generation;
        const char *what; /* the first of those who have arrived does there */
} Barrier;

/* A lane's values of A and B: two for each register. */
typedef struct Fragments {
        float a[4][2], b[2][2];
} Fragments;

typedef union Shown {
        unsigned char value[16];
        Fragments fragments;
} Shown;

/* What lanes show each other: in turns, so that nobody overwrites what another still reads. */
typedef struct Warp {
        Barrier barrier;
        Shown shown[2][WARP];
} Warp;

/* An asynchronous copy that was not waited for. */
typedef struct Copy {
        void *to;
        const void *from;
        int group;
} Copy;

typedef struct Fiber {
        ucontext_t context;
        void *stack, *tsan;
        const Barrier *waits;
        unsigned generation; /* of it, when the fiber came */
        unsigned exchanges;  /* of values in its warp */
        Copy copies[COPIES];
        unsigned n_copies;
        int groups; /* of them, committed */
        bool ended;
} Fiber;

EmulatedIndex threadIdx, blockIdx, blockDim, gridDim;
unsigned char *shared_memory;

static pthread_mutex_t one_grid = PTHREAD_MUTEX_INITIALIZER;
static Fiber fibers[THREADS_MAX];
static Warp warps[THREADS_MAX / WARP];
static Barrier block_barrier;
static Fiber *current;
static ucontext_t scheduler;
static void *scheduler_tsan;
static EmulatedKernel *running_kernel;
static const void *running_args;

/* What on a GPU would be undefined, or an error that ends the process. */
__attribute__((format(printf, 1, 2), noreturn)) static void misuse(const char *format, ...) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "emulated kernel: thread %u of block (%u, %u, %u) ", threadIdx.x, blockIdx.x, blockIdx.y, blockIdx.z);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        abort();
}

void emulate_bound(unsigned threads) {
        if (blockDim.x > threads)
                misuse("is one of %u, and the kernel is compiled for %u", blockDim.x, threads);
}

void emulate_aligned(const void *p) {
        if ((uintptr_t)p % COPY_SIZE)
                misuse("accesses 16 bytes at %p, which is not aligned", p);
}

static void fiber_yield(void) {
        Fiber *f = current;
        __tsan_switch_to_fiber(scheduler_tsan, 0);
        swapcontext(&f->context, &scheduler);
}

static void fiber_main(void) {
        running_kernel(running_args);
        current->ended = true;
        fiber_yield();
}

static void barrier_wait(Barrier *b, const char *what) {
        current->generation = b->generation;
        if (b->arrived == 0)
                b->what = what;
        else if (strcmp(b->what, what) != 0)
                misuse("comes to a %s, where another of its warp came to a %s", what, b->what);
        if (++b->arrived == b->needed) {
                b->arrived = 0;
                b->generation++;
                return;
        }
        current->waits = b;
        fiber_yield();
        current->waits = NULL;
}

void emulate_barrier(void) {
        barrier_wait(&block_barrier, "barrier");
}

static void warp_wait(const char *what) {
        barrier_wait(&warps[threadIdx.x / WARP].barrier, what);
}

void emulate_warp_barrier(void) {
        warp_wait("barrier");
}

/* Shows a value to the other lanes and returns what all of them have shown. */
static const Shown *exchange(const void *value, size_t size, const char *what) {
        Warp *w = &warps[threadIdx.x / WARP];
        unsigned turn = current->exchanges++ % 2;
        if (size > sizeof(Shown))
                misuse("shows %zu bytes", size);
        memcpy(&w->shown[turn][threadIdx.x % WARP], value, size);
        warp_wait(what);
        return w->shown[turn];
}

void emulate_shuffle(void *value, size_t size, unsigned lane) {
        memcpy(value, &exchange(value, size, "shuffle")[lane], size);
}

void copy_async(void *shared, const void *global) {
        copy_async_or_zero(shared, global, true);
}

void copy_async_or_zero(void *shared, const void *global, bool there) {
        static const char zeros[COPY_SIZE];
        Fiber *f = current;
        emulate_aligned(shared);
        emulate_aligned(global);
        if (f->n_copies == COPIES)
                misuse("has %d copies under way", COPIES);
        f->copies[f->n_copies++] = (Copy){shared, there ? global : zeros, f->groups};
}

void copy_commit(void) {
        current->groups++;
}

void copy_wait(int n) {
        Fiber *f = current;
        unsigned kept = 0;
        for (unsigned i = 0; i < f->n_copies; i++)
                if (f->copies[i].group < f->groups - n)
                        memcpy(f->copies[i].to, f->copies[i].from, COPY_SIZE);
                else
                        f->copies[kept++] = f->copies[i];
        f->n_copies = kept;
}

static float value_of(uint32_t pair, unsigned which, bool halves) {
        if (halves)
                return half_to_float((uint16_t)(which ? pair >> 16 : pair));
        return float_from_bits(which ? pair & 0xffff0000 : pair << 16);
}

/* Value k % 2 of register 2 * (k / 8) + row / 8 of lane 4 * (row % 8) + k % 8 / 2 is A[row, k]. */
static float a_at(const Shown *lanes, unsigned row, unsigned k) {
        return lanes[row % 8 * 4 + k % 8 / 2].fragments.a[k / 8 * 2 + row / 8][k % 2];
}

static float b_at(const Shown *lanes, unsigned k, unsigned col) {
        return lanes[col * 4 + k % 8 / 2].fragments.b[k / 8][k % 2];
}

enum { DEPTH = 16, NO_EXPONENT = -1000, EXPONENT_MAX = 128 /* of what is not finite */, KEPT = 25 /* bits */ };

static int exponent(float x) {
        return x == 0 ? NO_EXPONENT : (int)(float_bits(x) >> 23 & 255) - 127;
}

static float cut_off(double x) {
        float nearest = (float)x;
        return fabs((double)nearest) > fabs(x) ? nextafterf(nearest, 0) : nearest;
}

/* sum + a b as Hopper's tensor cores make it (Khattak and Mikaitis 2025, "Accurate Models of NVIDIA Tensor Cores"): all
 * that is added is cut off so many bits below the greatest exponent, and the sum of it to a float32. */
static float tensor_sum(float sum, const float a[DEPTH], const float b[DEPTH]) {
        int most = exponent(sum), not_finite = most == EXPONENT_MAX;
        double plain = (double)sum, all = 0;
        for (int k = 0; k < DEPTH; k++) {
                int e = exponent(a[k]), f = exponent(b[k]);
                most = e + f > most ? e + f : most;
                not_finite |= e == EXPONENT_MAX || f == EXPONENT_MAX;
                plain += (double)a[k] * (double)b[k];
        }
        if (not_finite || most < NO_EXPONENT / 2) /* or nothing but zeros */
                return (float)plain;
        double scale = ldexp(1, KEPT - most);
        all = trunc((double)sum * scale);
        for (int k = 0; k < DEPTH; k++)
                all += trunc((double)a[k] * (double)b[k] * scale);
        return cut_off(all / scale);
}

void emulate_mma(float d[4], const uint32_t a[4], const uint32_t b[2], bool halves) {
        unsigned lane = threadIdx.x % WARP;
        Fragments mine;
        for (unsigned i = 0; i < 8; i++)
                mine.a[i / 2][i % 2] = value_of(a[i / 2], i % 2, halves);
        for (unsigned i = 0; i < 4; i++)
                mine.b[i / 2][i % 2] = value_of(b[i / 2], i % 2, halves);
        const Shown *lanes = exchange(&mine, sizeof(mine), "product");
        for (unsigned i = 0; i < 4; i++) {
                float row[DEPTH], col[DEPTH];
                for (unsigned k = 0; k < DEPTH; k++) {
                        row[k] = a_at(lanes, lane / 4 + i / 2 * 8, k);
                        col[k] = b_at(lanes, k, lane % 4 * 2 + i % 2);
                }
                d[i] = tensor_sum(d[i], row, col);
        }
}

/* ---- blocks ---- */

static void fiber_start(Fiber *f) {
        if (!f->stack) {
                f->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (f->stack == MAP_FAILED)
                        abort();
                f->tsan = __tsan_create_fiber(0);
        }
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack;
        f->context.uc_stack.ss_size = STACK_SIZE;
        f->context.uc_link = NULL;
        makecontext(&f->context, fiber_main, 0);
        f->waits = NULL;
        f->exchanges = 0;
        f->n_copies = 0;
        f->groups = 0;
        f->ended = false;
}

static bool fiber_is_ready(const Fiber *f) {
        return !f->ended && (!f->waits || f->waits->generation != f->generation);
}

static void fiber_run(Fiber *f, unsigned index) {
        current = f;
        threadIdx.x = index;
        __tsan_switch_to_fiber(f->tsan, 0);
        swapcontext(&scheduler, &f->context);
}

/* Runs all who are ready once; how many there were. */
static unsigned block_round(unsigned n, bool descending) {
        unsigned ran = 0;
        for (unsigned i = 0; i < n; i++) {
                unsigned index = descending ? n - 1 - i : i;
                if (!fiber_is_ready(&fibers[index]))
                        continue;
                fiber_run(&fibers[index], index);
                ran++;
        }
        return ran;
}

static void block_run(unsigned n, bool descending) {
        block_barrier = (Barrier){.needed = n};
        for (unsigned i = 0; i < n; i++)
                fiber_start(&fibers[i]);
        for (unsigned w = 0; w * WARP < n; w++)
                warps[w].barrier = (Barrier){.needed = n - w * WARP < WARP ? n - w * WARP : WARP};
        while (block_round(n, descending) > 0)
                ;
        for (unsigned i = 0; i < n; i++)
                if (!fibers[i].ended) {
                        fprintf(stderr, "emulated kernel: thread %u of block (%u, %u, %u) waits at a barrier that not "
                                        "all come to\n", i, blockIdx.x, blockIdx.y, blockIdx.z);
                        abort();
                }
}

/* Ascending, or from the last on. */
static void set_block(uint64_t i, bool descending, const uint32_t grid[static 3]) {
        uint64_t n = (uint64_t)grid[0] * grid[1] * grid[2];
        i = descending ? n - 1 - i : i;
        blockIdx = (EmulatedIndex){(unsigned)(i % grid[0]), (unsigned)(i / grid[0] % grid[1]),
                                   (unsigned)(i / grid[0] / grid[1])};
}

void emulate_launch(EmulatedKernel *kernel, const uint32_t grid[static 3], uint32_t block, size_t shared,
                    const void *args) {
        static unsigned launches;
        pthread_mutex_lock(&one_grid);
        bool descending = launches++ % 2;
        blockDim = (EmulatedIndex){block, 1, 1};
        gridDim = (EmulatedIndex){grid[0], grid[1], grid[2]};
        if (block == 0 || block > THREADS_MAX || shared > STREAM_SHARED_MAX || grid[0] > INT_MAX || grid[1] > 65535 ||
            grid[2] > 65535)
                misuse("cannot be: a grid of (%u, %u, %u) blocks of %u threads and %zu bytes", grid[0], grid[1], grid[2],
                       block, shared);
        scheduler_tsan = __tsan_get_current_fiber();
        running_kernel = kernel;
        running_args = args;
        shared_memory = shared ? malloc(shared) : NULL;
        for (uint64_t i = 0; i < (uint64_t)grid[0] * grid[1] * grid[2]; i++) {
                set_block(i, descending, grid);
                if (shared)
                        memset(shared_memory, 0xff, shared);
                block_run(block, (blockIdx.x + blockIdx.y + blockIdx.z) % 2);
        }
        free(shared_memory);
        pthread_mutex_unlock(&one_grid);
}
