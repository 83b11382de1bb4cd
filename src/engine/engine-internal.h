/* What the parts of the engine share: engine.c (the conversation with the daemon), engine-model.c (models coming and
 * going), engine-job.c (jobs). All of it is touched by the loop's thread alone. */
#pragma once

#include "engine/engine.h"
#include "engine/inputs.h"
#include "engine/loaded.h"
#include "engine/tokens.h"
#include "event/work.h"
#include "ipc/ipc.h"

typedef struct EngineModel EngineModel;
typedef struct Job Job;

enum { ENGINE_JOB_BUCKETS = 4096 };

struct Engine {
        EventLoop *loop;
        IpcConn ipc;
        Device *device; /* NULL before SETUP */
        Lane lanes[LANES_MAX];
        uint32_t n_lanes;
        WorkPool *workers;
        size_t budget; /* bytes of the device's memory that models may take */
        List models, jobs, shows;
        List jobs_by_id[ENGINE_JOB_BUCKETS]; /* of those ids that leave the same rest */
        EventSource settle; /* engine_settle(): after what happened, what now? */
        EventSource tick;   /* every second while there is something to do */
        bool ticking;
};

/* Where a model is:
 *
 *   UNLOADED -> OPENING -> PLANNING -> LOADING -> LOADED -> CLOSING -> UNLOADED
 *                  '----------'----------'-- failed --------^
 * OPENING, LOADING and CLOSING are on a worker. PLANNING waits for memory that a closing model gives back. */
typedef enum EngineModelPhase {
        PHASE_UNLOADED, PHASE_OPENING, PHASE_PLANNING, PHASE_LOADING, PHASE_LOADED, PHASE_CLOSING,
} EngineModelPhase;

struct EngineModel {
        ListNode node;
        Engine *engine;
        char *name, *path; /* as the daemon defines it */
        uint32_t slots, context, batch_tokens, precision, lookup_tokens;
        uint64_t batch_wait;

        EngineModelPhase phase;
        bool wanted; /* the daemon said LOAD */
        bool unload; /* it said UNLOAD: close it when its jobs have ended; those posted since load it again */
        bool stale;  /* it was defined anew: the same */
        bool failed; /* it is closing because it failed, which was said already */
        Work work;
        int result; /* of the work */
        Error error;
        Loaded *loaded;  /* the worker's while one has it */
        size_t memory;   /* it takes of the budget */
        Lane *lane;      /* it is bound to from LOADING until it is closed; NULL for a load test */
        List pending;    /* jobs that wait for it to be loaded */
        uint32_t n_jobs; /* jobs that use it */
        uint32_t n_posted; /* and those that will */
        uint64_t last_used;
        RunCounts counts;
};

typedef enum JobState { JOB_PENDING, JOB_PREPARING, JOB_SCHEDULED } JobState;

struct Job {
        ListNode node, by_id; /* of the engine */
        ListNode pending; /* of its model */
        EngineModel *model;
        void *frame; /* the message it came in: `ask` points into it */
        IpcJob ask;
        JobState state;
        bool at_worker;
        bool cancelled; /* it ends when the worker gives it back */
        bool paused;    /* from PAUSE to RESUME; the runner is told when it has it */
        Seq seq;
        Work work;
        IpcFailCode code; /* of the work */
        char *why;        /* with a code; NULL: there was no memory for it */
        size_t dropped;
        int updated; /* of the work: constraint_update()'s result */
        Inputs inputs;  /* of a job that has some: `seq` refers to them */
        Slice *slice;   /* of the work */
        Tokens tokens;  /* of a job that wants no more */
};

/* engine.c */
void engine_settle_later(Engine *e); /* also keeps the ticks going while there is something to tell */

/* engine-model.c */
EngineModel *engine_model_find(Engine *e, IpcStr name);
int engine_model_define(Engine *e, const IpcModel *def);
void engine_model_wish(EngineModel *m, bool load); /* LOAD, UNLOAD */
void engine_model_settle(EngineModel *m);
void engine_model_tell(const EngineModel *m, IpcModelPhase phase, const char *error);
void engine_model_free(EngineModel *m);
static inline bool engine_model_is_ready(const EngineModel *m) {
        return m->phase == PHASE_LOADED && !m->stale && !m->unload;
}

static inline RunLoad engine_model_load(const EngineModel *m) { /* it is loaded */
        return m->loaded->runner->ops->load(m->loaded->runner);
}

/* engine-job.c */
int engine_job_post(Engine *e, const void *body, size_t len);
void engine_job_cancel(Engine *e, uint64_t id);
void engine_job_pause(Engine *e, uint64_t id, bool paused);
void engine_job_start(Job *j); /* its model is ready */
void engine_job_fail(Job *j, IpcFailCode code, const char *text);
void engine_job_free(Job *j);
extern const RunHandlers engine_job_handlers;
