/* ZlMap: a bounded pool of threads that maps a function over items; see zerollama.h.
 *
 * An item lives in one of `window` cells from put to next; the cells in use are a ring of positions that only grow:
 *
 *      taken ≤ started ≤ put ≤ taken + window
 *
 *      cells [taken, started)   running, or done and waiting to be handed out
 *      cells [started, put)     waiting for a worker
 *
 * Unordered, results are handed out as they finish: a finished cell swaps places with the one at `taken`. A cell that
 * runs must stay where its worker knows it, so what is swapped is `order`, a permutation of the cells: position p of
 * the ring is cell order[p % window]. One mutex guards everything; three conditions say "an item waits", "a result is
 * there" and "there is room". */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/client.h"

typedef enum CellState { CELL_WAITING, CELL_RUNNING, CELL_DONE } CellState;

typedef struct Cell {
        ZlMapItem item;
        CellState state;
} Cell;

typedef struct Worker {
        struct ZlMap *map;
        ZlClient *client;
        pthread_t thread;
} Worker;

struct ZlMap {
        pthread_mutex_t lock;
        pthread_cond_t waiting, done, room;
        ZlMapFn function;
        void *userdata;
        bool ordered, finished, cancelled;
        uint64_t taken, started, put;
        unsigned window;
        Cell *cells;
        unsigned *order;
        unsigned n_workers; /* threads that were started */
        Worker *workers;
};
DEFINE_CLEANUP(ZlMap, zl_map_free)

static unsigned *position(ZlMap *m, uint64_t p) {
        return &m->order[p % m->window];
}

/* ---- The workers ---- */

/* The next item to run, or NULL when there will be none. Called and returns locked. */
static Cell *next_waiting(ZlMap *m) {
        while (!m->cancelled && m->started == m->put && !m->finished)
                pthread_cond_wait(&m->waiting, &m->lock);
        if (m->cancelled || m->started == m->put)
                return NULL;
        Cell *cell = &m->cells[*position(m, m->started++)];
        cell->state = CELL_RUNNING;
        return cell;
}

static void *work(void *userdata) {
        Worker *w = userdata;
        ZlMap *m = w->map;
        pthread_mutex_lock(&m->lock);
        for (Cell *cell; (cell = next_waiting(m));) {
                void *item = cell->item.item;
                pthread_mutex_unlock(&m->lock);
                void *result = m->function(w->client, item, m->userdata);
                pthread_mutex_lock(&m->lock);
                cell->item = (ZlMapItem){.item = item, .result = result, .ran = true};
                cell->state = CELL_DONE;
                pthread_cond_broadcast(&m->done);
        }
        pthread_mutex_unlock(&m->lock);
        return NULL;
}

/* Signals stay with the program's own threads. */
static int start_worker(ZlMap *m, const ZlClient *client, ZlError *e) {
        Worker *w = &m->workers[m->n_workers];
        sigset_t all, old;
        w->map = m;
        int r = zl_client_clone(client, &w->client, e);
        if (r < 0)
                return r;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&w->thread, NULL, work, w);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r != 0) {
                zl_client_free(w->client);
                return fail(e, -r, "cannot start a thread: %s", strerror(r));
        }
        m->n_workers++;
        return 0;
}

/* ---- The caller's side ---- */

int zl_map_new(const ZlClient *client, unsigned n_workers, unsigned window, unsigned flags, ZlMapFn function,
               void *userdata, ZlMap **ret, ZlError *e) {
        enum { WORKERS_MAX = 4096, WINDOW_MAX = 1 << 24 };
        if (e)
                *e = (ZlError){.retry_after_ms = -1};
        if (n_workers == 0 || n_workers > WORKERS_MAX || window > WINDOW_MAX)
                return fail(e, -EINVAL, "a map has 1 to %d workers and a window of at most %d items", WORKERS_MAX,
                            WINDOW_MAX);
        _cleanup_(zl_map_freep) ZlMap *m = calloc(1, sizeof(*m));
        if (!m)
                return fail_memory(e);
        pthread_mutex_init(&m->lock, NULL);
        pthread_cond_init(&m->waiting, NULL);
        pthread_condattr_t monotonic; /* that one is also waited for with a timeout */
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&m->done, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_cond_init(&m->room, NULL);
        m->function = function;
        m->userdata = userdata;
        m->ordered = flags & ZL_MAP_ORDERED;
        m->window = window ? window : 2 * n_workers;
        m->cells = calloc(m->window, sizeof(*m->cells));
        m->order = calloc(m->window, sizeof(*m->order));
        m->workers = calloc(n_workers, sizeof(*m->workers));
        if (!m->cells || !m->order || !m->workers)
                return fail_memory(e);
        for (unsigned i = 0; i < m->window; i++)
                m->order[i] = i;
        while (m->n_workers < n_workers) {
                int r = start_worker(m, client, e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(m);
        return 0;
}

static int put(ZlMap *m, void *item, bool block) {
        int r = 0;
        pthread_mutex_lock(&m->lock);
        while (block && m->put - m->taken == m->window && !m->cancelled && !m->finished)
                pthread_cond_wait(&m->room, &m->lock);
        if (m->cancelled)
                r = -ECANCELED;
        else if (m->finished)
                r = -EPIPE;
        else if (m->put - m->taken == m->window)
                r = -EAGAIN;
        else {
                m->cells[*position(m, m->put++)] = (Cell){.item.item = item};
                pthread_cond_signal(&m->waiting);
        }
        pthread_mutex_unlock(&m->lock);
        return r;
}

int zl_map_put(ZlMap *m, void *item) {
        return put(m, item, true);
}

int zl_map_try_put(ZlMap *m, void *item) {
        return put(m, item, false);
}

void zl_map_finish(ZlMap *m) {
        pthread_mutex_lock(&m->lock);
        m->finished = true;
        pthread_cond_broadcast(&m->waiting);
        pthread_cond_broadcast(&m->done);
        pthread_cond_broadcast(&m->room);
        pthread_mutex_unlock(&m->lock);
}

void zl_map_cancel(ZlMap *m) {
        pthread_mutex_lock(&m->lock);
        m->cancelled = true;
        for (unsigned i = 0; i < m->n_workers; i++)
                zl_client_cancel(m->workers[i].client);
        pthread_cond_broadcast(&m->waiting);
        pthread_cond_broadcast(&m->done);
        pthread_cond_broadcast(&m->room);
        pthread_mutex_unlock(&m->lock);
}

static bool can_be_taken(const ZlMap *m, const Cell *cell) {
        return cell->state == CELL_DONE || (cell->state == CELL_WAITING && m->cancelled);
}

/* Brings a cell that can be handed out to position `taken`; NULL when there is none yet. */
static Cell *find_done(ZlMap *m) {
        uint64_t end = m->ordered ? MIN(m->taken + 1, m->put) : m->cancelled ? m->put : m->started;
        for (uint64_t p = m->taken; p < end; p++) {
                unsigned *here = position(m, p), *first = position(m, m->taken), cell = *here;
                if (!can_be_taken(m, &m->cells[cell]))
                        continue;
                *here = *first;
                *first = cell;
                return &m->cells[cell];
        }
        return NULL;
}

static bool at_end(const ZlMap *m) {
        return m->taken == m->put && (m->finished || m->cancelled);
}

/* `until` NULL: for ever. */
static int next(ZlMap *m, const struct timespec *until, ZlMapItem *ret) {
        Cell *cell;
        int r = 0;
        pthread_mutex_lock(&m->lock);
        while (!(cell = find_done(m)) && !at_end(m) && r != ETIMEDOUT)
                r = until ? pthread_cond_timedwait(&m->done, &m->lock, until) : pthread_cond_wait(&m->done, &m->lock);
        if (cell) {
                *ret = cell->item;
                m->taken++;
                m->started = MAX(m->started, m->taken);
                pthread_cond_signal(&m->room);
                if (at_end(m)) /* other takers wait for what will not come */
                        pthread_cond_broadcast(&m->done);
        }
        r = cell ? 1 : at_end(m) ? 0 : -EAGAIN;
        pthread_mutex_unlock(&m->lock);
        return r;
}

int zl_map_next(ZlMap *m, ZlMapItem *ret) {
        return next(m, NULL, ret);
}

int zl_map_try_next(ZlMap *m, unsigned timeout_ms, ZlMapItem *ret) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }
        return next(m, &until, ret);
}

void zl_map_free(ZlMap *m) {
        if (!m)
                return;
        zl_map_cancel(m);
        for (unsigned i = 0; i < m->n_workers; i++) {
                pthread_join(m->workers[i].thread, NULL);
                zl_client_free(m->workers[i].client);
        }
        pthread_mutex_destroy(&m->lock);
        pthread_cond_destroy(&m->waiting);
        pthread_cond_destroy(&m->done);
        pthread_cond_destroy(&m->room);
        free(m->cells);
        free(m->order);
        free(m->workers);
        free(m);
}
