/* The worker pool; see work.h. Two lists under one mutex: waiting and finished. Workers sleep on a condition variable;
 * the loop is woken by an eventfd, once for any number of finished works. */
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "event/work.h"

enum { AT_ONCE = 256 };

struct WorkPool {
        pthread_mutex_t lock;
        pthread_cond_t wake;
        List waiting, finished; /* under the lock */
        bool stop;
        EventSource source; /* of the eventfd */
        int fd;
        uint32_t n_threads;
        pthread_t threads[];
};

static void *worker(void *arg) {
        WorkPool *p = arg;
        pthread_mutex_lock(&p->lock);
        for (;;) {
                Work *w = list_first(&p->waiting, Work, node);
                if (p->stop)
                        break;
                if (!w) {
                        pthread_cond_wait(&p->wake, &p->lock);
                        continue;
                }
                list_remove(&w->node);
                w->waiting = false;
                pthread_mutex_unlock(&p->lock);
                w->run(w);
                pthread_mutex_lock(&p->lock);
                bool first = list_is_empty(&p->finished);
                list_append(&p->finished, &w->node);
                if (first)
                        eventfd_write(p->fd, 1);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

static void on_finished(EventSource *s, uint32_t revents _unused_) {
        WorkPool *p = container_of(s, WorkPool, source);
        eventfd_t count;
        eventfd_read(p->fd, &count);
        /* One list at a time: done() may submit, and even free what embeds other works of this batch only after
         * its own done(). So many at a time: the loop has others to serve. */
        for (int n = 0; n < AT_ONCE; n++) {
                pthread_mutex_lock(&p->lock);
                Work *w = list_first(&p->finished, Work, node);
                if (w)
                        list_remove(&w->node);
                pthread_mutex_unlock(&p->lock);
                if (!w)
                        return;
                w->done(w);
        }
        eventfd_write(p->fd, 1);
}

static int start_threads(WorkPool *p, uint32_t n) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
        int r = 0;
        for (; p->n_threads < n && r == 0; p->n_threads += r == 0)
                r = -pthread_create(&p->threads[p->n_threads], NULL, worker, p);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

int work_pool_new(EventLoop *l, uint32_t threads, WorkPool **ret) {
        WorkPool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));
        if (!p)
                return -ENOMEM;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->wake, NULL);
        list_init(&p->waiting);
        list_init(&p->finished);
        p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int r = p->fd < 0 ? -errno : event_add_io(l, &p->source, p->fd, EPOLLIN, EVENT_PRIORITY_NORMAL, "work", on_finished);
        if (r >= 0)
                r = start_threads(p, threads);
        if (r < 0) {
                work_pool_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

static void drop_all(List *l) {
        for (Work *w; (w = list_first(l, Work, node));) {
                list_remove(&w->node);
                if (w->drop)
                        w->drop(w);
        }
}

void work_pool_free(WorkPool *p) {
        if (!p)
                return;
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (uint32_t i = 0; i < p->n_threads; i++)
                pthread_join(p->threads[i], NULL);
        drop_all(&p->waiting);
        drop_all(&p->finished);
        event_remove(&p->source);
        if (p->fd >= 0)
                close(p->fd);
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->wake);
        free(p);
}

void work_submit(WorkPool *p, Work *w) {
        pthread_mutex_lock(&p->lock);
        w->waiting = true;
        (w->urgent ? list_prepend : list_append)(&p->waiting, &w->node);
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
}

bool work_withdraw(WorkPool *p, Work *w) {
        pthread_mutex_lock(&p->lock);
        bool withdrawn = w->waiting;
        if (withdrawn)
                list_remove(&w->node);
        w->waiting = false;
        pthread_mutex_unlock(&p->lock);
        return withdrawn;
}
