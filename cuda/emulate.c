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

#include "cuda/context.h"
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

enum { ROWS = 16, COLS = 8, DEPTH = 16 }; /* of a product: A is ROWS x DEPTH, B is DEPTH x COLS */

/* A value of A or B: of every row, or column, the values one after another. */
typedef struct Values {
        double value[DEPTH];
        int16_t exponent[DEPTH];
} Values;

typedef union Shown {
        unsigned char value[WARP][16];
        struct {
                Values a[ROWS], b[COLS];
        };
} Shown;

/* What lanes show each other: in turns, so that nobody overwrites what another still reads. */
typedef struct Warp {
        Barrier barrier;
        Shown shown[2];
} Warp;

/* An asynchronous copy that was not waited for. */
typedef struct Copy {
        void *to;
        const void *from;
        int group;
} Copy;

typedef struct Fiber {
        Context context;
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
static Context scheduler;
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
        context_switch(&f->context, &scheduler);
}

static void fiber_main(void) {
        for (;;) {
                running_kernel(running_args);
                current->ended = true;
                fiber_yield();
        }
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

/* Where a lane shows something, before it waits for the other lanes of its warp, and finds what they have shown. */
static Shown *next_turn(void) {
        return &warps[threadIdx.x / WARP].shown[current->exchanges++ % 2];
}

void emulate_shuffle(void *value, size_t size, unsigned lane) {
        Shown *lanes = next_turn();
        if (size > sizeof(lanes->value[0]))
                misuse("shows %zu bytes", size);
        memcpy(lanes->value[threadIdx.x % WARP], value, size);
        warp_wait("shuffle");
        memcpy(value, lanes->value[lane], size);
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

/* Exponents of zero and of what is not finite, such that they show in a sum of two. */
enum { NO_EXPONENT = -1000, NOT_FINITE = 10000, KEPT = 25 /* bits */ };

static int16_t exponent(float x) {
        int e = (int)(float_bits(x) >> 23 & 255);
        return (int16_t)(x == 0 ? NO_EXPONENT : e == 255 ? NOT_FINITE : e - 127);
}

/* The two values of a register, which follow each other in a row of A or a column of B. */
static void show_pair(Values *v, unsigned k, uint32_t pair, bool halves) {
        for (unsigned i = 0; i < 2; i++, k++) {
                uint16_t bits = (uint16_t)(pair >> 16 * i);
                float x = halves ? half_to_float(bits) : float_from_bits((uint32_t)bits << 16);
                v->value[k] = x;
                v->exponent[k] = exponent(x);
        }
}

static float cut_off(double x) {
        float nearest = (float)x;
        return fabs((double)nearest) > fabs(x) ? nextafterf(nearest, 0) : nearest;
}

/* 2^e, of what doubles have. */
static double power_of_two(int e) {
        uint64_t bits = (uint64_t)(e + 1023) << 52;
        double x;
        memcpy(&x, &bits, sizeof(x));
        return x;
}

static float plain_sum(double sum, const Values *a, const Values *b) {
        for (unsigned k = 0; k < DEPTH; k++)
                sum += a->value[k] * b->value[k];
        return (float)sum;
}

/* sum + a b as Hopper's tensor cores make it (Khattak and Mikaitis 2025, "Accurate Models of NVIDIA Tensor Cores"): all
 * that is added is cut off so many bits below the greatest exponent, and the sum of it to a float32. */
static float tensor_sum(float sum, const Values *a, const Values *b) {
        int16_t most = exponent(sum);
        for (unsigned k = 0; k < DEPTH; k++) {
                int16_t e = (int16_t)(a->exponent[k] + b->exponent[k]);
                most = e > most ? e : most;
        }
        if (most > NOT_FINITE / 2 || most < NO_EXPONENT / 2) /* or nothing but zeros */
                return plain_sum((double)sum, a, b);
        double scale = power_of_two(KEPT - most);
        int64_t all = (int32_t)((double)sum * scale); /* of KEPT bits and two at most */
        for (unsigned k = 0; k < DEPTH; k++)
                all += (int32_t)(a->value[k] * b->value[k] * scale);
        return cut_off((double)all / scale);
}

void emulate_mma(float d[4], const uint32_t a[4], const uint32_t b[2], bool halves) {
        unsigned row = threadIdx.x % WARP / 4, pair = threadIdx.x % 4 * 2;
        Shown *tile = next_turn();
        for (unsigned i = 0; i < 4; i++)
                show_pair(&tile->a[row + i % 2 * 8], pair + i / 2 * 8, a[i], halves);
        for (unsigned i = 0; i < 2; i++)
                show_pair(&tile->b[row], pair + i * 8, b[i], halves);
        warp_wait("product");
        for (unsigned i = 0; i < 4; i++)
                d[i] = tensor_sum(d[i], &tile->a[row + i / 2 * 8], &tile->b[pair + i % 2]);
}

/* ---- blocks ---- */

static void fiber_start(Fiber *f) {
        if (!f->stack) {
                f->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (f->stack == MAP_FAILED)
                        abort();
                f->tsan = __tsan_create_fiber(0);
                context_make(&f->context, f->stack, STACK_SIZE, fiber_main);
        }
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
        context_switch(&scheduler, &f->context);
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
