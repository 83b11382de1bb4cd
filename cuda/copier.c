/* Copies by several threads; see copier.h. Everybody takes the next piece until there is none; the caller, too, which
 * then waits until all have left. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cuda/copier.h"
#include "util/macro.h"

enum { PIECE = 256 * 1024, SIZE_MIN = 1024 * 1024 };

void copier_init(Copier *c) {
        *c = (Copier){0};
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->come, NULL);
        pthread_cond_init(&c->gone, NULL);
}

static void copy_pieces(Copier *c) {
        for (size_t at; (at = atomic_fetch_add(&c->next, PIECE)) < c->size;)
                memcpy(c->to + at, c->from + at, MIN(c->size - at, (size_t)PIECE));
}

static void *copier_main(void *arg) {
        Copier *c = arg;
        unsigned seen = 0;
        pthread_mutex_lock(&c->lock);
        for (;;) {
                while (c->generation == seen && !c->stopping)
                        pthread_cond_wait(&c->come, &c->lock);
                if (c->stopping)
                        break;
                seen = c->generation;
                pthread_mutex_unlock(&c->lock);
                copy_pieces(c);
                pthread_mutex_lock(&c->lock);
                if (--c->busy == 0)
                        pthread_cond_signal(&c->gone);
        }
        pthread_mutex_unlock(&c->lock);
        return NULL;
}

/* As many as there are other processors. */
static void start(Copier *c) {
        sigset_t all, before;
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        unsigned wanted = (unsigned)CLAMP(processors - 1, 0l, (long)COPIER_THREADS);
        c->started = true;
        sigfillset(&all); /* signals are for the loop's thread */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (c->n < wanted && pthread_create(&c->threads[c->n], NULL, copier_main, c) == 0)
                pthread_setname_np(c->threads[c->n++], "cuda-copy");
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void copier_copy(Copier *c, void *to, const void *from, size_t n) {
        if (n >= SIZE_MIN && !c->started)
                start(c);
        if (n < SIZE_MIN || c->n == 0) {
                memcpy(to, from, n);
                return;
        }
        pthread_mutex_lock(&c->lock);
        c->to = to;
        c->from = from;
        c->size = n;
        c->next = 0;
        c->busy = c->n;
        c->generation++;
        pthread_cond_broadcast(&c->come);
        pthread_mutex_unlock(&c->lock);
        copy_pieces(c);
        pthread_mutex_lock(&c->lock);
        while (c->busy > 0)
                pthread_cond_wait(&c->gone, &c->lock);
        pthread_mutex_unlock(&c->lock);
}

void copier_deinit(Copier *c) {
        pthread_mutex_lock(&c->lock);
        c->stopping = true;
        pthread_cond_broadcast(&c->come);
        pthread_mutex_unlock(&c->lock);
        for (unsigned i = 0; i < c->n; i++)
                pthread_join(c->threads[i], NULL);
        pthread_cond_destroy(&c->come);
        pthread_cond_destroy(&c->gone);
        pthread_mutex_destroy(&c->lock);
}
