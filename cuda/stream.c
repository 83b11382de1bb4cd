/* A stream of the CUDA device.
 *
 * Enqueueing. Operations append kernels to a run (run.h). Copies and marks launch it and put themselves behind it.
 * Uploads go through a ring of pinned memory, so the caller's memory is free at once; downloads come through another,
 * `landing`, and are taken from there to where they are wanted when the mark after them is reached. All of this only
 * enqueues, with one exception: a copy for which a ring has no room waits for the device. A loader may come to that; a
 * step's copies, some kilobytes, do not.
 *
 * Finishing. A mark records an event on the stream; a second stream waits for the event and then calls on_reached(), a
 * host function, which delivers the downloads, adds 1 to `done` and writes the eventfd. Marks are reached in order, so
 * the count is the ticket. The detour by a second stream keeps the host function out of the way of the next step, which may begin
 * at once. The host function makes no CUDA call. poll() clears the eventfd before it reads `done`, so that a mark it misses makes
 * the eventfd readable again.
 *
 * Failing. `error` is set by whoever sees a failure first and never cleared. After a sticky error the runtime calls no
 * host function any more; so while marks are outstanding a watcher thread asks every WATCH_USEC how the stream is. It
 * makes the eventfd readable when something went wrong, and wakes who waits. A device that hangs has no error: the
 * daemon sees that no step ends, and ends the engine. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "cuda/cuda.h"
#include "cuda/copier.h"
#include "cuda/run.h"
#include "cuda/staging.h"

enum { WATCH_USEC = 20000, STAGING_SIZE = 16 << 20, LANDING_SIZE = 4 << 20, DOWNLOADS = 64 };

typedef struct Download {
        void *to;
        const void *place; /* in the landing ring */
        size_t n;
        uint64_t ticket; /* of the mark after it */
} Download;

struct Stream {
        /* The caller's. */
        Cuda *cuda;
        void *queue, *side, *event; /* the runtime's */
        Run run;
        Staging staging, landing;
        Copier copier; /* to staging */
        void *scratch_memory; /* dev */
        StreamScratch scratch;
        StreamTurns turns;
        uint64_t last_ticket; /* read under the lock by others */
        /* Shared. */
        int fd;
        _Atomic uint64_t done;
        atomic_int error;
        pthread_mutex_t lock; /* around the conditions, last_ticket, stopping and the following two */
        Download downloads[DOWNLOADS]; /* a ring: number i, from n_delivered to n_downloads, is at i % DOWNLOADS */
        uint64_t n_downloads, n_delivered;
        pthread_cond_t reached, watched;
        pthread_t watcher;
        bool watching, stopping;
};

/* ---- failing ---- */

static void wake_all(Stream *s) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->reached);
        pthread_mutex_unlock(&s->lock);
        eventfd_write(s->fd, 1);
}

void stream_fail(Stream *s, int error) {
        int none = 0;
        if (atomic_compare_exchange_strong(&s->error, &none, error))
                wake_all(s);
}

/* Whether it went well. */
static bool check(Stream *s, int error) {
        if (error)
                stream_fail(s, cuda_result(s->cuda, error));
        return error == 0;
}

static struct timespec in_usec(uint64_t usec) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        uint64_t nsec = (uint64_t)t.tv_nsec + usec * 1000;
        return (struct timespec){t.tv_sec + (time_t)(nsec / 1000000000), (long)(nsec % 1000000000)};
}

static bool is_outstanding(const Stream *s) {
        return s->error == 0 && s->done < s->last_ticket;
}

/* Of both streams: the host function is on the second. */
static void look(Stream *s) {
        const CudaRuntime *rt = s->cuda->runtime;
        int error = rt->stream_query(s->queue);
        if (error == 0 || error == CUDA_E_NOT_READY)
                error = rt->stream_query(s->side);
        if (error != CUDA_E_NOT_READY)
                check(s, error);
}

static void *watcher_main(void *arg) {
        Stream *s = arg;
        cuda_use(s->cuda);
        pthread_mutex_lock(&s->lock);
        while (!s->stopping) {
                if (!is_outstanding(s)) {
                        pthread_cond_wait(&s->watched, &s->lock);
                        continue;
                }
                struct timespec until = in_usec(WATCH_USEC);
                uint64_t before = s->done;
                pthread_cond_timedwait(&s->watched, &s->lock, &until);
                if (s->stopping || !is_outstanding(s) || s->done != before)
                        continue;
                pthread_mutex_unlock(&s->lock);
                look(s);
                pthread_mutex_lock(&s->lock);
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

/* ---- launching and copying ---- */

static const CudaRuntime *enter(Stream *s) {
        cuda_use(s->cuda);
        return s->cuda->runtime;
}

static bool flush(Stream *s) {
        return s->error == 0 && check(s, run_flush(&s->run, s->last_ticket + 1, s->done));
}

void stream_append(Stream *s, const StreamLaunch *l, const void *args, size_t size) {
        if (l->grid[0] == 0 || l->grid[1] == 0 || l->grid[2] == 0 || s->error < 0)
                return;
        if (size > STREAM_ARGS_MAX || !run_append(&s->run, l, args, size))
                stream_fail(s, -ENOMEM);
}

const StreamScratch *stream_scratch(const Stream *s) {
        return &s->scratch;
}

StreamTurns *stream_turns(Stream *s) {
        return &s->turns;
}

uint32_t stream_processors(const Stream *s) {
        return s->cuda->info.processors;
}

void cuda_upload(Stream *s, void *dev, const void *host, size_t n) {
        const CudaRuntime *rt = enter(s);
        s->turns.position = NULL;
        if (!flush(s))
                return;
        for (size_t at = 0; at < n;) {
                size_t some = n - at;
                staging_reached(&s->staging, s->done);
                void *place = staging_take(&s->staging, &some);
                if (some == 0) { /* see above */
                        if (!check(s, rt->stream_wait(s->queue)))
                                return;
                        staging_clear(&s->staging);
                        continue;
                }
                copier_copy(&s->copier, place, (const char *)host + at, some);
                if (!check(s, rt->copy(s->queue, (char *)dev + at, place, some)))
                        return;
                at += some;
        }
}

/* As much as there is room for; 0: none. */
static size_t download_some(Stream *s, void *host, const void *dev, size_t n) {
        staging_reached(&s->landing, s->done);
        pthread_mutex_lock(&s->lock);
        bool full = s->n_downloads - s->n_delivered == DOWNLOADS;
        pthread_mutex_unlock(&s->lock);
        if (full)
                return 0;
        void *place = staging_take(&s->landing, &n);
        if (n == 0 || !check(s, s->cuda->runtime->copy(s->queue, place, dev, n)))
                return 0;
        pthread_mutex_lock(&s->lock);
        s->downloads[s->n_downloads++ % DOWNLOADS] = (Download){host, place, n, s->last_ticket + 1};
        pthread_mutex_unlock(&s->lock);
        return n;
}

/* A large one takes the direct way: it would not fit, and nobody who is in a hurry asks for it. */
void cuda_download(Stream *s, void *host, const void *dev, size_t n) {
        enter(s);
        if (!flush(s))
                return;
        size_t some = 1;
        for (; n > 0 && n <= LANDING_SIZE / 2 && some > 0; n -= some) {
                some = download_some(s, host, dev, n);
                host = (char *)host + some;
                dev = (const char *)dev + some;
        }
        if (n > 0 && s->error == 0)
                check(s, s->cuda->runtime->copy(s->queue, host, dev, n));
}

/* ---- marks ---- */

int cuda_eventfd(Stream *s) {
        return s->fd;
}

static void on_reached(void *arg) {
        Stream *s = arg;
        pthread_mutex_lock(&s->lock);
        uint64_t ticket = s->done + 1;
        while (s->n_delivered < s->n_downloads && s->downloads[s->n_delivered % DOWNLOADS].ticket <= ticket) {
                const Download *d = &s->downloads[s->n_delivered++ % DOWNLOADS];
                memcpy(d->to, d->place, d->n);
        }
        s->done = ticket;
        pthread_mutex_unlock(&s->lock);
        wake_all(s);
}

int cuda_mark(Stream *s, uint64_t *ret_ticket) {
        const CudaRuntime *rt = enter(s);
        s->turns.position = NULL;
        if (!flush(s) || !check(s, rt->event_record(s->event, s->queue)) ||
            !check(s, rt->event_await(s->event, s->side)))
                return s->error;
        pthread_mutex_lock(&s->lock);
        uint64_t ticket = ++s->last_ticket;
        pthread_cond_signal(&s->watched);
        pthread_mutex_unlock(&s->lock);
        staging_mark(&s->staging, ticket);
        staging_mark(&s->landing, ticket);
        if (!check(s, rt->call(s->side, on_reached, s)))
                return s->error;
        *ret_ticket = ticket;
        return 0;
}

int cuda_poll(Stream *s, uint64_t *ret_ticket) {
        eventfd_t n;
        (void)!eventfd_read(s->fd, &n);
        if (s->error < 0)
                return s->error;
        *ret_ticket = s->done;
        return 0;
}

int cuda_wait(Stream *s, uint64_t ticket) {
        pthread_mutex_lock(&s->lock);
        bool known = ticket <= s->last_ticket;
        while (known && s->done < ticket && s->error == 0)
                pthread_cond_wait(&s->reached, &s->lock);
        pthread_mutex_unlock(&s->lock);
        return s->error < 0 || known ? s->error : -EINVAL;
}

/* ---- life ---- */

static int start_watcher(Stream *s, Error *e) {
        sigset_t all, before;
        sigfillset(&all); /* signals are for the loop's thread */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = -pthread_create(&s->watcher, NULL, watcher_main, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                return error_set(e, r, "cannot start the thread that watches a stream: %s", strerror(-r));
        pthread_setname_np(s->watcher, "cuda-watch");
        s->watching = true;
        return 0;
}

static void stop_watcher(Stream *s) {
        if (!s->watching)
                return;
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->watched);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->watcher, NULL);
}

/* The runtime's error. */
static int open_streams(Stream *s, bool urgent) {
        const CudaRuntime *rt = s->cuda->runtime;
        size_t params = STREAM_SAMPLES * sizeof(SampleParams), arrived = STREAM_TILES * sizeof(uint32_t);
        int error;
        if ((error = rt->stream_new(&s->queue, urgent)) || (error = rt->stream_new(&s->side, true)) ||
            (error = rt->event_new(&s->event)) || (error = run_init(&s->run, rt, s->queue, urgent, s->cuda->overlaps)) ||
            (error = rt->alloc_host((void **)&s->staging.data, STAGING_SIZE)) ||
            (error = rt->alloc_host((void **)&s->landing.data, LANDING_SIZE)) ||
            (error = rt->alloc(&s->scratch_memory, STREAM_SCRATCH + STREAM_TURNS + params + arrived)))
                return error;
        s->staging.size = STAGING_SIZE;
        s->landing.size = LANDING_SIZE;
        char *at = s->scratch_memory;
        s->scratch = (StreamScratch){at, (float *)(at + STREAM_SCRATCH),
                                     (SampleParams *)(at + STREAM_SCRATCH + STREAM_TURNS),
                                     (uint32_t *)(at + STREAM_SCRATCH + STREAM_TURNS + params)};
        return rt->clear(s->queue, s->scratch.arrived, arrived);
}

DEFINE_CLEANUP(Stream, cuda_stream_free)

/* What was enqueued is waited for, marked or not; a failed device has nothing to wait for. */
void cuda_stream_free(Stream *s) {
        if (!s)
                return;
        const CudaRuntime *rt = enter(s);
        if (s->queue)
                rt->stream_wait(s->queue);
        if (s->side)
                rt->stream_wait(s->side);
        stop_watcher(s);
        copier_deinit(&s->copier);
        run_deinit(&s->run);
        if (s->event)
                rt->event_free(s->event);
        if (s->side)
                rt->stream_free(s->side);
        if (s->queue)
                rt->stream_free(s->queue);
        if (s->staging.data)
                rt->release_host(s->staging.data);
        if (s->landing.data)
                rt->release_host(s->landing.data);
        if (s->scratch_memory)
                rt->release(s->scratch_memory);
        pthread_cond_destroy(&s->reached);
        pthread_cond_destroy(&s->watched);
        pthread_mutex_destroy(&s->lock);
        closep(&s->fd);
        free(s);
}

static void init_locks(Stream *s) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->reached, NULL);
        pthread_cond_init(&s->watched, &monotonic);
        pthread_condattr_destroy(&monotonic);
}

int cuda_stream_new(Cuda *c, StreamUse use, Stream **ret, Error *e) {
        _cleanup_(cuda_stream_freep) Stream *s = calloc(1, sizeof(*s));
        if (!s)
                return error_set(e, -ENOMEM, "out of memory for a stream");
        s->cuda = c;
        init_locks(s);
        copier_init(&s->copier);
        s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->fd < 0)
                return error_set(e, -errno, "cannot make an eventfd for a stream: %m");
        enter(s);
        s->run.runtime = c->runtime; /* so that it can be freed however far this gets */
        int error = open_streams(s, use == STREAM_STEPS);
        if (error)
                return error_set(e, cuda_result(c, error), "cannot make a stream on %s: %s", c->device.name,
                                 c->runtime->error_text(error));
        int r = start_watcher(s, e);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}
