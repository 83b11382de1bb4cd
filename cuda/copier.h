/* Copies of megabytes by several threads: one alone fills pinned memory at a fraction of what the bus to the GPU takes,
 * and, where the source is a mapped file, waits for each page by itself.
 *
 * Threads are started by the first large copy, which a stream of steps never makes, and end with the copier. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { COPIER_THREADS = 7 };

typedef struct Copier {
        pthread_t threads[COPIER_THREADS];
        unsigned n;      /* of them */
        bool started;    /* or tried to: without threads the caller copies alone */
        pthread_mutex_t lock; /* around the following */
        pthread_cond_t come, gone;
        unsigned generation; /* of copies */
        unsigned busy;       /* threads that have not left the copy at hand */
        bool stopping;
        /* Of the copy at hand. */
        char *to;
        const char *from;
        size_t size;
        atomic_size_t next; /* byte that nobody has taken */
} Copier;

void copier_init(Copier *c);
void copier_deinit(Copier *c);
/* memcpy(); one at a time. */
void copier_copy(Copier *c, void *to, const void *from, size_t n);
