/* Work that computes or waits, for a loop that never does: a sized pool of worker threads.
 *
 * work_submit() queues a Work, embedded in its owner. A worker calls run(); then the loop's thread calls done().
 * Between the two the work's data belongs to the worker alone. A Work that has not started can be withdrawn. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "event/event.h"
#include "util/list.h"

typedef struct WorkPool WorkPool;
typedef struct Work Work;

struct Work {
        ListNode node;
        bool waiting; /* the pool's: no worker has it yet */
        bool urgent;  /* goes before all that wait: short, or gives memory back */
        void (*run)(Work *w);  /* on a worker */
        void (*done)(Work *w); /* on the loop; the work is the owner's again */
        void (*drop)(Work *w); /* in its place when the pool goes, for one that nobody else would free; or NULL */
};

int work_pool_new(EventLoop *l, uint32_t threads, WorkPool **ret);
/* Waits for the running ones; queued and finished ones are dropped, without done(). */
void work_pool_free(WorkPool *p);
DEFINE_CLEANUP(WorkPool, work_pool_free)

void work_submit(WorkPool *p, Work *w);
/* True when it was still waiting and now will never run; false when it runs or is done (done() will come). */
bool work_withdraw(WorkPool *p, Work *w);
