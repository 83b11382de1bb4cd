/* A pool: one device, and the life of the engine process that owns it.
 *
 * The engine is spawned for the first job and told to go when nothing has been loaded or asked for a while, which is
 * what gives all device memory back. If it dies, or makes no progress with jobs running, another is started and the
 * jobs are posted again: their streams go on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/job.h"
#include "ipc/ipc.h"

typedef enum PoolState {
        POOL_STOPPED,  /* no process */
        POOL_STARTING, /* spawned, has not said HELLO */
        POOL_RUNNING,
        POOL_STOPPING, /* told to quit, or killed; waiting for its end */
} PoolState;

enum { POOL_BUCKETS = 512 };

struct Pool {
        ListNode node;
        Daemon *daemon;
        char *name;
        const ConfigPool *config;
        PoolState state;
        pid_t pid;
        int exit_status; /* as waitpid() tells it, once pid is 0 */
        uint32_t generation; /* of engines; 0: none yet */
        uint32_t restarts;   /* engines that died on us */
        uint32_t failures;   /* in a row, before HELLO */
        uint64_t unable;     /* now_usec() when the last attempt to have an engine was given up; 0: it was not */
        IpcConn conn;
        EventSource child, tick, restart, turn;
        uint32_t n_paused;      /* of the jobs */
        bool retired;           /* by a reload */
        List jobs, unposted;    /* those the engine knows, those it is yet to be told; oldest first */
        List waiters;
        List by_id[POOL_BUCKETS]; /* all jobs, hashed by id */
        char *failing;          /* why all that is here fails, a part per turn of the loop; NULL: it does not */
        char *device, *note, *error; /* as the engine said; error: why the last one did not work */
        uint64_t memory;
        IpcStats stats;
        uint64_t pushed; /* now_usec(): when a job was last sent at once */
        uint64_t last_progress, last_heard, last_job;
};

int pool_new(Daemon *d, const ConfigPool *config, Pool **ret);
void pool_free(Pool *p); /* kills its engine, and waits for its end */
/* It is no longer in the config and its jobs have moved: freed when its engine has ended. */
void pool_retire(Pool *p);
DEFINE_CLEANUP(Pool, pool_free)
Pool *pool_find(Daemon *d, const char *name);
/* Whether steps are to be expected: some job has a slot and a client that takes its text. */
bool pool_has_running(const Pool *p);
const char *pool_state_name(const Pool *p);
/* A reload changed its settings: the engine is replaced, its jobs go on in the next. */
void pool_reconfigure(Pool *p, const ConfigPool *config);
/* Ends its engine, if it has one; its jobs go on in the next, which pool_want() starts where jobs wait for one, unless
 * the machine is about to sleep. */
void pool_halt(Pool *p);
void pool_want(Pool *p);

void pool_add_job(Pool *p, Job *j);
void pool_remove_job(Pool *p, Job *j);
/* As another job, so that what the engine still says of it is nobody's. */
void pool_post_again(Pool *p, Job *j);
void pool_send(Pool *p, IpcType type, const void *message);
/* How many users have jobs of a model here. */
uint32_t pool_users(const Pool *p, const ModelEntry *m);
/* A reload gave the model to another pool: its engine here lets go of it. */
void pool_drop_model(Pool *p, ModelEntry *m);
/* Hands the jobs and waiters of models that are other pools' now over to those; their streams go on. */
void pool_move_jobs(Pool *p);

/* Waiting for something an engine does: a model loaded or unloaded, or a file shown. Embedded in its owner; done() may
 * come before pool_wait() returns. */
typedef struct PoolWaiter PoolWaiter;
struct PoolWaiter {
        ListNode node;
        ModelEntry *model;
        IpcType what; /* IPC_LOAD, IPC_UNLOAD, IPC_SHOW */
        uint64_t id;
        uint32_t deaths; /* of engines that were at it */
        bool sent;
        /* Once. `error` NULL: done; `json` is the answer to IPC_SHOW. */
        void (*done)(PoolWaiter *w, IpcStr json, const char *error);
};
void pool_wait(Pool *p, ModelEntry *m, IpcType what, PoolWaiter *w);
void pool_unwait(PoolWaiter *w);
