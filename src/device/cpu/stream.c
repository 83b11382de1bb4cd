/* A stream of the CPU device: a group of threads that executes recorded operations in order, away from the caller.
 *
 * Recording. The caller appends operations to the open batch: a list in an arena that only the caller touches.
 * mark() closes the batch, gives it the next ticket and queues it for the leader; the mutex around the queue is held
 * for a few pointer moves only, so the caller never waits on compute.
 *
 * Executing. The group is one leader and threads-1 helpers. The leader takes batches off the queue and goes through
 * their operations. One without work for two parts it does alone: nobody else hears of it. Others it shares:
 *
 *      leader:   publish · claim a part, do it · claim … · none left · wait until all claimed parts are complete
 *      helper:             claim a part, do it, complete it · claim … · none left · spin · sleep
 *
 * There are more parts than threads, so who is late does fewer. The leader waits for parts, never for threads: a
 * helper that sleeps, or that the kernel has put aside for another program, costs nothing unless it holds a part.
 *
 * `claims` is the state of the shared operation: the index of the next part in the upper half, their number in the
 * lower; all are claimed when the halves are equal. Parts are claimed by compare-and-swap. Only when all are claimed
 * and complete does the leader write `op`, `batch` and `completed` and publish again; helpers read them only between
 * claiming and completing a part. A helper that looked at `claims` during an earlier operation does no harm: its swap
 * succeeds only if the present one has that very part to give away. ENDED, with equal halves, sends helpers home.
 *
 * Memory ordering: `claims` is stored with release and swapped with acquire, so that a claimant sees the arguments
 * and all earlier results; `completed` is incremented with release and read with acquire, so that the leader sees
 * what the helpers made, and through its next publication they see each other's.
 *
 * Helpers without parts spin for some microseconds, because the next shared operation of a step is near, then sleep
 * in the kernel on `claims`: an idle stream uses no CPU. Around the sleep `claims` and `sleepers` are sequentially
 * consistent: either the leader sees the sleeper and wakes it, or the sleeper sees the new claims. Whoever spins also
 * yields now and then: it may be on the very processor that the thread it waits for is in want of.
 *
 * Finishing. The leader stores the batch's ticket in `done` and then writes the eventfd. poll() clears the eventfd
 * and then loads `done`, so a mark that it misses makes the eventfd readable again.
 *
 * Failing. Only recording can fail, for want of memory; `error` is set by the caller's thread and never cleared. What
 * was queued before is still executed. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
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
        SPINS = 1000,          /* some ten microseconds, before sleeping */
        YIELD_EVERY = 20,      /* so many spins, a microsecond or less */
        PART_WORK = 64 * 1024, /* some microseconds: much more than claiming a part costs */
        PARTS_EACH = 4,        /* the most parts for each thread */
        ALIGN = 64,
};

static const unsigned ENDED = UINT_MAX;

typedef struct Chunk {
        struct Chunk *next;
        size_t used, size;
        _Alignas(ALIGN) char data[];
} Chunk;

typedef struct Op {
        struct Op *next;
        CpuRun *run;
        CpuWork *work;
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

typedef struct Member {
        Stream *stream;
        pthread_t thread;
        unsigned index; /* 0: the leader */
} Member;

struct Stream {
        /* The caller's. */
        Batch *open;
        const void *kept; /* see stream_kept() */
        /* Shared. */
        int fd;
        _Atomic uint64_t done;
        atomic_int error;
        pthread_mutex_t lock; /* guards the following five */
        pthread_cond_t queued, finished;
        Batch *queue, **queue_tail;
        Batch *spare;
        uint64_t last_ticket;
        bool stopping;

        /* The group's. */
        const CpuKernels *kernels;
        float *panels; /* one for each thread */
        unsigned n_threads;
        uint64_t part_work; /* the least work of a part */
        const Batch *batch; /* of `op` */
        const Op *op;       /* the shared one */
        _Alignas(ALIGN) atomic_uint claims;
        atomic_uint sleepers;
        _Alignas(ALIGN) atomic_uint completed; /* parts, by helpers */
        _Alignas(ALIGN) Member members[];
};

/* ---- the group ---- */

/* Waits for a moment, the i-th in a row. */
static void spin(unsigned i) {
        if (i % YIELD_EVERY == YIELD_EVERY - 1) {
                sched_yield();
                return;
        }
#ifdef __x86_64__
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static bool any_left(unsigned claims) {
        return claims >> 16 < (claims & 0xffff);
}

/* False when there is nothing to claim. */
static bool claim(Stream *s, CpuPart *part) {
        unsigned claims = atomic_load_explicit(&s->claims, memory_order_relaxed);
        do {
                if (!any_left(claims))
                        return false;
        } while (!atomic_compare_exchange_weak_explicit(&s->claims, &claims, claims + (1 << 16), memory_order_acquire,
                                                        memory_order_relaxed));
        part->index = claims >> 16;
        part->n = claims & 0xffff;
        return true;
}

static CpuPart member_part(const Member *m) {
        const Stream *s = m->stream;
        return (CpuPart){.n = 1,
                         .kernels = s->kernels,
                         .panel = s->panels + (size_t)m->index * PANEL_ROWS * PANEL_COLS};
}

static char *member_scratch(const Member *m, const Batch *b) {
        return b->scratch ? b->scratch + m->index * b->scratch_size : NULL;
}

/* Results too small for a normal number become 0 on this thread: an exponential often is, and processors are slow to multiply
 * with what is not normal. */
static void flush_to_zero(void) {
#ifdef __x86_64__
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8000);
#endif
}

/* Until there is something to claim; false at the end. */
static bool parts_wait(Stream *s) {
        unsigned claims = atomic_load_explicit(&s->claims, memory_order_relaxed);
        for (unsigned i = 0; i < SPINS && claims != ENDED && !any_left(claims); i++) {
                spin(i);
                claims = atomic_load_explicit(&s->claims, memory_order_relaxed);
        }
        if (claims != ENDED && !any_left(claims)) {
                atomic_fetch_add(&s->sleepers, 1);
                while ((claims = atomic_load(&s->claims)) != ENDED && !any_left(claims))
                        syscall(SYS_futex, &s->claims, FUTEX_WAIT_PRIVATE, claims, NULL, NULL, 0);
                atomic_fetch_sub(&s->sleepers, 1);
        }
        return claims != ENDED;
}

static void *helper_main(void *arg) {
        Member *m = arg;
        Stream *s = m->stream;
        CpuPart part = member_part(m);
        flush_to_zero();
        while (parts_wait(s))
                while (claim(s, &part)) {
                        part.scratch = member_scratch(m, s->batch);
                        s->op->run(s->op->args, &part);
                        atomic_fetch_add_explicit(&s->completed, 1, memory_order_release);
                }
        return NULL;
}

static void publish(Stream *s, unsigned claims, unsigned helpers) {
        atomic_store(&s->claims, claims);
        if (atomic_load(&s->sleepers) > 0)
                syscall(SYS_futex, &s->claims, FUTEX_WAKE_PRIVATE, helpers, NULL, NULL, 0);
}

static void completed_wait(Stream *s, unsigned n) {
        for (unsigned i = 0; atomic_load_explicit(&s->completed, memory_order_acquire) < n; i++)
                spin(i);
}

static void op_share(Stream *s, const Op *op, unsigned n, CpuPart *part) {
        unsigned by_others = n;
        s->op = op;
        atomic_store_explicit(&s->completed, 0, memory_order_relaxed);
        publish(s, n, n - 1);
        for (; claim(s, part); by_others--)
                op->run(op->args, part);
        completed_wait(s, by_others);
}

static unsigned op_parts(const Stream *s, const Op *op) {
        if (s->n_threads == 1)
                return 1;
        uint64_t parts = op->work(op->args) / s->part_work;
        return (unsigned)CLAMP(parts, 1u, s->n_threads * PARTS_EACH);
}

static void batch_run(Stream *s, const Batch *b) {
        CpuPart alone = member_part(&s->members[0]);
        alone.scratch = member_scratch(&s->members[0], b);
        CpuPart shared = alone;
        s->batch = b;
        for (const Op *op = b->first; op; op = op->next) {
                unsigned n = op_parts(s, op);
                if (n == 1)
                        op->run(op->args, &alone);
                else
                        op_share(s, op, n, &shared);
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
        Stream *s = ((Member *)arg)->stream;
        flush_to_zero();
        for (Batch *b; (b = queue_pop(s));) {
                batch_run(s, b);
                batch_finish(s, b);
        }
        publish(s, ENDED, INT_MAX);
        return NULL;
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

/* Starts the group, holding the lock until it is settled how many there are: the leader takes it before it works. On
 * failure n_threads is the number that did start, so that stream_stop() ends those. Signals are
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
        s->part_work = PART_WORK;
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

void cpu_stream_set_part_work(Stream *s, uint64_t work) {
        s->part_work = work;
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

void *stream_op(Stream *s, CpuRun *run, CpuWork *work, size_t size, size_t scratch) {
        size_t total;
        Batch *b = s->error < 0 ? NULL : stream_batch(s);
        if (!b)
                return NULL;
        Op *op = checked_add(size, sizeof(Op), &total) ? batch_alloc(b, total) : NULL;
        if (!op || !batch_need_scratch(b, scratch, s->n_threads))
                return stream_fail(s);
        op->next = NULL;
        op->run = run;
        op->work = work;
        *b->tail = op;
        b->tail = &op->next;
        return op->args;
}

void stream_record(Stream *s, CpuRun *run, CpuWork *work, const void *args, size_t size) {
        void *p = stream_op(s, run, work, size, 0);
        if (p)
                memcpy(p, args, size);
}

void *stream_last(const Stream *s, CpuRun *run) {
        Batch *b = s->open;
        if (!b || b->tail == &b->first)
                return NULL;
        Op *op = container_of(b->tail, Op, next);
        return op->run == run ? op->args : NULL;
}

const CpuKernels *stream_kernels(const Stream *s) {
        return s->kernels;
}

const void *stream_kept(const Stream *s) {
        return s->kept;
}

void stream_keep(Stream *s, const void *p) {
        s->kept = p;
}

/* ---- copies ---- */

typedef struct Copy {
        void *to;
        const void *from; /* NULL: the bytes follow */
        size_t n;
        char bytes[];
} Copy;

static void copy_run(const void *args, const CpuPart *part) {
        const Copy *c = args;
        CpuShare mine = cpu_share(part, c->n, 64 * 1024);
        if (mine.begin < mine.end)
                memcpy((char *)c->to + mine.begin, (const char *)(c->from ? c->from : c->bytes) + mine.begin,
                       mine.end - mine.begin);
}

static uint64_t copy_work(const void *args) {
        return ((const Copy *)args)->n;
}

void cpu_upload(Stream *s, void *dev, const void *host, size_t n) {
        size_t total;
        s->kept = NULL;
        if (!checked_add(n, sizeof(Copy), &total)) {
                stream_fail(s);
                return;
        }
        Copy *c = stream_op(s, copy_run, copy_work, total, 0);
        if (!c)
                return;
        *c = (Copy){.to = dev, .n = n};
        if (n > 0)
                memcpy(c->bytes, host, n);
}

void cpu_download(Stream *s, void *host, const void *dev, size_t n) {
        stream_record(s, copy_run, copy_work, &(Copy){.to = host, .from = dev, .n = n}, sizeof(Copy));
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
        s->kept = NULL;
        pthread_mutex_lock(&s->lock);
        *ret_ticket = b->ticket = ++s->last_ticket;
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
        pthread_mutex_lock(&s->lock);
        bool known = ticket <= s->last_ticket;
        while (known && s->done < ticket)
                pthread_cond_wait(&s->finished, &s->lock);
        pthread_mutex_unlock(&s->lock);
        return s->error < 0 || known ? s->error : -EINVAL;
}
