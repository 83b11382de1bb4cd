/* Who runs the prepared sequences of a loaded model: the scheduler (sched.h), of an encoder the batches of inputs (embed.h),
 * or the load-test models' stand-in (loadtest.h). A runner has the model's slots and the queue before them. All of it is called on the loop's thread,
 * but for check(), which is called where the sequence is prepared, and free(), which belongs on a worker. */
#pragma once

#include "engine/seq.h"
#include "event/event.h"
#include "util/error.h"

typedef struct Runner Runner;

/* Counted since the engine started: kept by the owner, who outlives the runner. */
typedef struct RunCounts {
        uint64_t steps, rows, prompt_tokens, cached_tokens, generation_tokens, preemptions;
        uint64_t guessed, guessed_right; /* tokens */
} RunCounts;

typedef struct RunLoad {
        uint32_t running, waiting, pages_used, pages;
} RunLoad;

typedef struct RunHandlers { /* each of the first two may end its sequence, with remove() */
        void (*started)(Seq *q);  /* it has its first slot */
        void (*progress)(Seq *q); /* it has a new token or new results, or is finished */
        void (*failed)(void *owner, int error); /* the device is lost */
        /* (optional) What was said lies there untaken: better say nothing for a millisecond. */
        bool (*clogged)(void *owner);
} RunHandlers;

typedef struct RunnerOps {
        /* (optional) The end of preparing `q`: 0, or the IpcFailCode whose text is in `e`. */
        IpcFailCode (*check)(const Runner *r, Seq *q, Error *e);
        /* Between the two it runs. */
        int (*start)(Runner *r, EventLoop *l);
        void (*stop)(Runner *r);
        /* Queues a prepared sequence for its user. -ENOMEM. */
        int (*add)(Runner *r, Seq *q);
        /* (optional) So many tokens more of its inputs are ready; one that was held may go on. */
        void (*more)(Runner *r, Seq *q, uint32_t tokens);
        /* Takes it out, waiting, running or paused: its slot and pages are free at once. Does nothing when it is not
         * in. */
        void (*remove)(Runner *r, Seq *q);
        /* (optional) While paused it gets no tokens, except those that are on their way. It keeps its slot and pages until
         * somebody else waits for them, and waits in turn when it goes on. Repeating it does nothing. */
        void (*pause)(Runner *r, Seq *q, bool paused);
        RunLoad (*load)(const Runner *r);
        void (*free)(Runner *r); /* waits for what is in flight */
} RunnerOps;

struct Runner {
        const RunnerOps *ops;
        const RunHandlers *handlers;
        void *owner;
        RunCounts *counts;
};

static inline int runner_start(Runner *r, EventLoop *l, const RunHandlers *h, void *owner, RunCounts *counts) {
        r->handlers = h;
        r->owner = owner;
        r->counts = counts;
        return r->ops->start(r, l);
}
