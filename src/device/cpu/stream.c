/* A stream of the CPU device: a group of threads that executes recorded operations in order, away from the caller.
 *
 * Recording. The caller appends operations to the open batch: a list in an arena that only the caller touches.
 * mark() closes the batch, gives it the next ticket and queues it for the leader; the mutex around the queue is held
 * for a few pointer moves only, so the caller never waits on compute.
 *
 * Executing. The group is one leader and threads-1 helpers. The leader takes batches off the queue; all walk through
 * its operations together, each doing its share of each, with a barrier after every one:
 *
 *      leader:   pop · barrier · op · barrier · op · barrier · finish · pop …
 *      helper:         barrier · op · barrier · op · barrier ·          barrier (sleeps here without work)
 *
 * `current` is written by the leader before the first barrier and read by helpers after it; the leader writes it
 * again only after the last barrier of a batch that has at least one operation, so it needs no lock. An empty batch is
 * finished by the leader alone. A helper reads op->next before the barrier that lets the leader recycle the batch.
 *
 * The barrier counts arrivals; the last to arrive starts the next phase. The others spin on `phase` for some
 * microseconds, because most operations are short, and then sleep in the kernel on it: an idle stream uses no CPU.
 * Memory ordering: `arrived` is incremented with acquire-release and `phase` stored after it and loaded with acquire,
 * so everything written before a barrier is seen after it by all. `phase` and `sleepers` are sequentially
 * consistent: either the last to arrive sees the sleeper and wakes it, or the sleeper sees the new phase.
 *
 * Finishing. The leader stores the batch's ticket in `done` and then writes the eventfd. poll() clears the eventfd
 * and then loads `done`, so a mark that it misses makes the eventfd readable again.
 *
 * Failing. Only recording can fail, for want of memory; `error` belongs to the caller's thread and is never cleared.
 * What was queued before is still executed. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "device/cpu/cpu.h"
#include "util/checked.h"

enum {
        CHUNK_SIZE = 64 * 1024,
        SPINS = 1000, /* some ten microseconds */
        ALIGN = 64,
};

typedef struct Chunk {
        struct Chunk *next;
        size_t used, size;
        _Alignas(ALIGN) char data[];
} Chunk;

typedef struct Op {
        struct Op *next;
        CpuRun *run;
        _Alignas(16) char args[];
} Op;

/* Operations between two marks. Recycled: it keeps a chunk and its scratch. */
typedef struct Batch {
        struct Batch *next;
        Chunk *chunks; /* newest first */
        Op *first, **tail;
        char *scratch;
        size_t scratch_size; /* per thread, a multiple of ALIGN */
        uint64_t ticket;
} Batch;

typedef struct Barrier {
        _Alignas(ALIGN) atomic_uint arrived;
        _Alignas(ALIGN) atomic_uint phase;
        atomic_uint sleepers;
} Barrier;

typedef struct Member {
        Stream *stream;
        pthread_t thread;
        unsigned index; /* 0: the leader */
} Member;

struct Stream {
        /* The caller's. */
        Batch *open;
        uint64_t last_ticket;
        int error;

        /* Shared. */
        int fd;
        _Atomic uint64_t done;
        pthread_mutex_t lock; /* guards the following four */
        pthread_cond_t queued, finished;
        Batch *queue, **queue_tail;
        Batch *spare;
        bool stopping;

        /* The group's. */
        Barrier barrier;
        const Batch *current; /* NULL: the end */
        const CpuKernels *kernels;
        float *panels; /* one for each thread */
        unsigned n_threads;
        Member members[];
};

/* ---- the group ---- */

static void spin_pause(void) {
#ifdef __x86_64__
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static void phase_wait(Barrier *b, unsigned phase) {
        for (int i = 0; i < SPINS; i++) {
                if (atomic_load_explicit(&b->phase, memory_order_acquire) != phase)
                        return;
                spin_pause();
        }
        atomic_fetch_add(&b->sleepers, 1);
        while (atomic_load(&b->phase) == phase)
                syscall(SYS_futex, &b->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
        atomic_fetch_sub(&b->sleepers, 1);
}

static void barrier_wait(Barrier *b, unsigned n_threads) {
        if (n_threads == 1)
                return;
        unsigned phase = atomic_load_explicit(&b->phase, memory_order_relaxed);
        if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) < n_threads - 1) {
                phase_wait(b, phase);
                return;
        }
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        atomic_store(&b->phase, phase + 1);
        if (atomic_load(&b->sleepers) > 0)
                syscall(SYS_futex, &b->phase, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void batch_run(const Batch *b, const Member *m) {
        Stream *s = m->stream;
        CpuThread self = {
                .index = m->index,
                .n_threads = s->n_threads,
                .kernels = s->kernels,
                .panel = s->panels + (size_t)m->index * PANEL_ROWS * PANEL_COLS,
                .scratch = b->scratch ? b->scratch + m->index * b->scratch_size : NULL,
        };
        for (const Op *op = b->first, *next; op; op = next) {
                next = op->next;
                op->run(op->args, &self);
                barrier_wait(&s->barrier, s->n_threads);
        }
}

/* stream_start() holds the lock until it is settled how many threads there are. */
static void wait_for_start(Stream *s) {
        pthread_mutex_lock(&s->lock);
        pthread_mutex_unlock(&s->lock);
}

static void *helper_main(void *arg) {
        Member *m = arg;
        Stream *s = m->stream;
        wait_for_start(s);
        for (;;) {
                barrier_wait(&s->barrier, s->n_threads);
                if (!s->current)
                        return NULL;
                batch_run(s->current, m);
        }
}

/* The next batch; NULL when the stream stops and nothing is left. */
static Batch *queue_pop(Stream *s) {
        pthread_mutex_lock(&s->lock);
        while (!s->queue && !s->stopping)
                pthread_cond_wait(&s->queued, &s->lock);
        Batch *b = s->queue;
        if (b) {
                s->queue = b->next;
                if (!s->queue)
                        s->queue_tail = &s->queue;
        }
        pthread_mutex_unlock(&s->lock);
        return b;
}

/* Empties the batch; one chunk of the common size stays. */
static void batch_clear(Batch *b) {
        Chunk *keep = NULL;
        for (Chunk *c = b->chunks, *next; c; c = next) {
                next = c->next;
                if (!keep && c->size == CHUNK_SIZE)
                        keep = c;
                else
                        free(c);
        }
        if (keep)
                *keep = (Chunk){.size = CHUNK_SIZE};
        b->chunks = keep;
        b->first = NULL;
        b->tail = &b->first;
        b->next = NULL;
}

static void batch_free(Batch *b) {
        if (!b)
                return;
        batch_clear(b);
        free(b->chunks);
        free(b->scratch);
        free(b);
}

static void batch_finish(Stream *s, Batch *b) {
        uint64_t ticket = b->ticket;
        batch_clear(b);
        pthread_mutex_lock(&s->lock);
        b->next = s->spare;
        s->spare = b;
        atomic_store_explicit(&s->done, ticket, memory_order_release);
        pthread_cond_broadcast(&s->finished);
        pthread_mutex_unlock(&s->lock);
        eventfd_write(s->fd, 1);
}

static void *leader_main(void *arg) {
        Member *m = arg;
        Stream *s = m->stream;
        wait_for_start(s);
        for (;;) {
                Batch *b = queue_pop(s);
                if (!b || b->first) {
                        s->current = b;
                        barrier_wait(&s->barrier, s->n_threads);
                }
                if (!b)
                        return NULL;
                batch_run(b, m);
                batch_finish(s, b);
        }
}

/* ---- making and ending ---- */

static int thread_start(Member *m) {
        char name[16];
        int r = pthread_create(&m->thread, NULL, m->index == 0 ? leader_main : helper_main, m);
        if (r != 0)
                return -r;
        snprintf(name, sizeof(name), "cpu-%u", m->index);
        pthread_setname_np(m->thread, name);
        return 0;
}

/* Starts the group; on failure n_threads is the number that did start, so that stream_stop() ends those. Signals are
 * for the loop's thread: ours block them all. */
static int stream_start(Stream *s, unsigned threads) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pthread_mutex_lock(&s->lock);
        int r = 0;
        while (s->n_threads < threads && (r = thread_start(&s->members[s->n_threads])) == 0)
                s->n_threads++;
        pthread_mutex_unlock(&s->lock);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

static void stream_stop(Stream *s) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->queued);
        pthread_mutex_unlock(&s->lock);
        for (unsigned i = 0; i < s->n_threads; i++)
                pthread_join(s->members[i].thread, NULL);
}

static void batches_free(Batch *b) {
        while (b) {
                Batch *next = b->next;
                batch_free(b);
                b = next;
        }
}

DEFINE_CLEANUP(Stream, cpu_stream_free)

/* What is queued is executed; what was not marked is dropped. */
void cpu_stream_free(Stream *s) {
        if (!s)
                return;
        stream_stop(s);
        batch_free(s->open);
        batches_free(s->spare);
        pthread_cond_destroy(&s->finished);
        pthread_cond_destroy(&s->queued);
        pthread_mutex_destroy(&s->lock);
        closep(&s->fd);
        free(s->panels);
        free(s);
}

int cpu_stream_new(unsigned threads, const CpuKernels *kernels, Stream **ret, Error *e) {
        size_t panel = sizeof(float) * PANEL_ROWS * PANEL_COLS;
        _cleanup_(cpu_stream_freep) Stream *s = NULL;
        if (posix_memalign((void **)&s, ALIGN, sizeof(Stream) + threads * sizeof(Member)) != 0)
                return error_set(e, -ENOMEM, "out of memory for a stream of %u threads", threads);
        memset(s, 0, sizeof(Stream) + threads * sizeof(Member));
        s->kernels = kernels;
        s->queue_tail = &s->queue;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->queued, NULL);
        pthread_cond_init(&s->finished, NULL);
        for (unsigned i = 0; i < threads; i++)
                s->members[i] = (Member){.stream = s, .index = i};
        s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->fd < 0)
                return error_set(e, -errno, "cannot make an eventfd for a stream: %m");
        if (posix_memalign((void **)&s->panels, ALIGN, threads * panel) != 0)
                return error_set(e, -ENOMEM, "out of memory for a stream of %u threads", threads);
        int r = stream_start(s, threads);
        if (r < 0)
                return error_set(e, r, "cannot start compute thread %u of %u: %s", s->n_threads + 1, threads,
                                 strerror(-r));
        *ret = TAKE(s);
        return 0;
}

/* ---- recording ---- */

static void *stream_fail(Stream *s) {
        s->error = -ENOMEM;
        return NULL;
}

/* The batch being recorded: a recycled one, or new. */
static Batch *stream_batch(Stream *s) {
        if (s->open)
                return s->open;
        pthread_mutex_lock(&s->lock);
        Batch *b = s->spare;
        if (b)
                s->spare = b->next;
        pthread_mutex_unlock(&s->lock);
        if (!b && !(b = calloc(1, sizeof(*b))))
                return stream_fail(s);
        b->next = NULL;
        b->tail = &b->first;
        return s->open = b;
}

/* Big pieces get a chunk of their own, behind the first one so that what is left in that is still used. */
static Chunk *chunk_new(Batch *b, size_t need) {
        size_t total, size = MAX(need, (size_t)CHUNK_SIZE);
        Chunk *c;
        if (!checked_add(size, sizeof(Chunk), &total) || posix_memalign((void **)&c, ALIGN, total) != 0)
                return NULL;
        c->used = 0;
        c->size = size;
        if (b->chunks && need > CHUNK_SIZE / 4) {
                c->next = b->chunks->next;
                b->chunks->next = c;
        } else {
                c->next = b->chunks;
                b->chunks = c;
        }
        return c;
}

static void *batch_alloc(Batch *b, size_t size) {
        size_t need;
        if (!checked_align(size, 16, &need))
                return NULL;
        Chunk *c = b->chunks;
        if ((!c || c->size - c->used < need) && !(c = chunk_new(b, need)))
                return NULL;
        void *p = c->data + c->used;
        c->used += need;
        return p;
}

static bool batch_need_scratch(Batch *b, size_t size, unsigned n_threads) {
        size_t total;
        if (size <= b->scratch_size)
                return true;
        free(b->scratch);
        b->scratch = NULL;
        b->scratch_size = 0;
        if (!checked_align(size, ALIGN, &size) || !checked_mul(size, n_threads, &total) ||
            posix_memalign((void **)&b->scratch, ALIGN, total) != 0)
                return false;
        b->scratch_size = size;
        return true;
}

void *stream_op(Stream *s, CpuRun *run, size_t size, size_t scratch) {
        size_t total;
        Batch *b = s->error < 0 ? NULL : stream_batch(s);
        if (!b)
                return NULL;
        Op *op = checked_add(size, sizeof(Op), &total) ? batch_alloc(b, total) : NULL;
        if (!op || !batch_need_scratch(b, scratch, s->n_threads))
                return stream_fail(s);
        op->next = NULL;
        op->run = run;
        *b->tail = op;
        b->tail = &op->next;
        return op->args;
}

void stream_record(Stream *s, CpuRun *run, const void *args, size_t size) {
        void *p = stream_op(s, run, size, 0);
        if (p)
                memcpy(p, args, size);
}

/* ---- copies ---- */

typedef struct Copy {
        void *to;
        const void *from; /* NULL: the bytes follow */
        size_t n;
        char bytes[];
} Copy;

static void copy_run(const void *args, const CpuThread *t) {
        const Copy *c = args;
        CpuShare mine = cpu_share(t, c->n, 64 * 1024);
        if (mine.begin < mine.end)
                memcpy((char *)c->to + mine.begin, (const char *)(c->from ? c->from : c->bytes) + mine.begin,
                       mine.end - mine.begin);
}

void cpu_upload(Stream *s, void *dev, const void *host, size_t n) {
        size_t total;
        if (!checked_add(n, sizeof(Copy), &total)) {
                stream_fail(s);
                return;
        }
        Copy *c = stream_op(s, copy_run, total, 0);
        if (!c)
                return;
        *c = (Copy){.to = dev, .n = n};
        if (n > 0)
                memcpy(c->bytes, host, n);
}

void cpu_download(Stream *s, void *host, const void *dev, size_t n) {
        stream_record(s, copy_run, &(Copy){.to = host, .from = dev, .n = n}, sizeof(Copy));
}

/* ---- marks ---- */

int cpu_eventfd(Stream *s) {
        return s->fd;
}

int cpu_mark(Stream *s, uint64_t *ret_ticket) {
        Batch *b = s->error < 0 ? NULL : stream_batch(s);
        if (!b)
                return s->error;
        s->open = NULL;
        *ret_ticket = b->ticket = ++s->last_ticket;
        pthread_mutex_lock(&s->lock);
        *s->queue_tail = b;
        s->queue_tail = &b->next;
        pthread_cond_signal(&s->queued);
        pthread_mutex_unlock(&s->lock);
        return 0;
}

int cpu_poll(Stream *s, uint64_t *ret_ticket) {
        eventfd_t n;
        (void)!eventfd_read(s->fd, &n);
        if (s->error < 0)
                return s->error;
        *ret_ticket = atomic_load_explicit(&s->done, memory_order_acquire);
        return 0;
}

int cpu_wait(Stream *s, uint64_t ticket) {
        if (ticket > s->last_ticket)
                return s->error < 0 ? s->error : -EINVAL;
        pthread_mutex_lock(&s->lock);
        while (s->done < ticket)
                pthread_cond_wait(&s->finished, &s->lock);
        pthread_mutex_unlock(&s->lock);
        return s->error;
}
