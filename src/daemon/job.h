/* A job: one prompt, or the inputs of one embedding or reranking, on its way to an engine and back. It is admitted or refused at once; once admitted it ends exactly
 * once, by its last piece or vectors, by a failure, or by
 * job_cancel(), and every charge is returned there (job_end() in job.c).
 *
 * The daemon keeps what a new engine needs to go on where a dead one stopped: the job's frame as it was posted, the
 * tokens produced since, and how much of their text was delivered, or how many results. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/daemon.h"
#include "ipc/ipc.h"
#include "util/list.h"

typedef struct Job Job;

/* Where a job reports to: piece(), or, of one with inputs, vectors(). After either with the last of it, or failed(), the
 * job is gone. */
typedef struct JobEvents {
        void (*started)(Job *j, const IpcStart *s); /* it has a slot; may come again after an engine's death. May be NULL */
        void (*piece)(Job *j, const IpcPiece *p);
        void (*vectors)(Job *j, const IpcVectors *v); /* results of its next inputs */
        void (*restarted)(Job *j); /* the results there were are void: they come again, from the first. For who has vectors() */
        void (*failed)(Job *j, unsigned status, const char *code, const char *text); /* status as in HTTP */
} JobEvents;

/* What is posted, encoded once and shared by the jobs of a request that differ only in their seed. Charged to its user. */
typedef struct JobSpec {
        uint32_t refs;
        User *user;
        ModelEntry *model;
        uint64_t keep_alive; /* of the model, when a job of it has ended */
        uint64_t deadline;   /* now_usec() by which its jobs must have ended; UINT64_MAX: none */
        bool tokens_only;    /* of the prompt are wanted, and nothing of the model: it counts as none of the model's work */
        Buf frame;           /* IPC_JOB */
} JobSpec;

struct Job {
        ListNode node, by_id; /* in its pool */
        uint64_t id;
        Daemon *daemon;
        Pool *pool;
        ModelEntry *model;
        User *user;
        const JobEvents *events;
        void *owner;
        JobSpec *spec;
        uint64_t seed;
        Buf produced; /* int32_t ids */
        uint64_t text_sent;
        uint32_t results;    /* of its inputs, or tokens where nothing else is wanted */
        uint32_t precision;  /* IpcPrecision of them */
        uint64_t submitted;
        uint64_t waiting;  /* now_usec(): since when it waits for a slot, or waited last */
        uint64_t got_slot; /* now_usec(); 0: still waiting */
        uint64_t queue_timeout;
        Deadline expiry;   /* while it waits of queue_timeout, always of its spec */
        uint32_t prompt_tokens, cached_tokens;
        uint32_t restarts;
        bool posted; /* the running engine knows it */
        bool paused;
};

/* Why a job was not admitted: for the answer to the client. */
typedef struct JobRefusal {
        unsigned status; /* 413, 429, 503, 504, 500 */
        const char *code, *text;
        uint64_t retry_usec; /* for Retry-After; 0: none */
} JobRefusal;

/* Why a request that holds `n` bytes may not: they are more than its user may hold in all, or than they may now. */
const JobRefusal *job_memory_refusal(uint64_t n, uint64_t most);

/* Copies `job`, whose id, uid, weight, model and seed are filled in later. `deadline` is the request's own; the model's
 * bound may come before it. NULL with *ret_refusal filled when the user holds too much memory, or there is none. */
JobSpec *job_spec_new(const Daemon *d, User *u, ModelEntry *m, IpcJob *job, uint64_t keep_alive, uint64_t deadline,
                      JobRefusal *ret_refusal);
void job_spec_unref(JobSpec *s);
/* What is posted, as views that live as long as the spec. */
int job_spec_read(const JobSpec *s, IpcJob *ret);
DEFINE_CLEANUP(JobSpec, job_spec_unref)

/* Admits and posts a job. seed 0: one is drawn. 0, or -EBUSY with *ret_refusal filled. */
int job_submit(Daemon *d, JobSpec *spec, uint64_t seed, const JobEvents *events, void *owner, Job **ret, JobRefusal *ret_refusal);
/* The client is gone, or has seen enough: no more events. */
void job_cancel(Job *j);

/* Its time is over (a DeadlinePassed). */
void job_expired(Deadline *d);

/* Its client does not take what it was sent: no more of it until resumed. It keeps its slot. */
void job_pause(Job *j, bool pause);

/* For pool.c: what the engine said of it, and re-posting. */
void job_started(Job *j, const IpcStart *s);
void job_piece(Job *j, const IpcPiece *p);
void job_vectors(Job *j, const IpcVectors *v);
void job_fail(Job *j, unsigned status, const char *code, const char *text);
void job_post(Job *j, IpcConn *c);
/* Waits again, for another engine. */
void job_rewind(Job *j);
/* Its engine died: as job_rewind(). When it is suspected of that for too many times, it fails. */
void job_requeue(Job *j, bool suspect);
