/* Jobs: posted by the daemon, waiting for their model, prepared (most on a worker), run by the model's scheduler, ended.
 *
 *   PENDING --model ready--> PREPARING --prepared--> SCHEDULED
 * From each it may end: with a FAIL, with the last PIECE, or, cancelled, without a word. All ends meet in job_end(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine-internal.h"
#include "util/log.h"
#include "util/str.h"

enum { CLOGGED_BYTES = 4 * 1024 * 1024 }; /* of messages the daemon has not taken */

void engine_job_free(Job *j) {
        seq_deinit(&j->seq);
        free(j->frame);
        free(j->why);
        free(j);
}

static Runner *runner_of(const Job *j) {
        return j->model->loaded->runner;
}

static void job_end(Job *j) {
        EngineModel *m = j->model;
        if (j->state == JOB_SCHEDULED)
                runner_of(j)->ops->remove(runner_of(j), &j->seq);
        if (j->state != JOB_PENDING) {
                m->n_jobs--;
                m->last_used = now_usec();
        }
        m->n_posted--;
        list_remove(&j->pending);
        list_remove(&j->by_id);
        list_remove(&j->node);
        Engine *e = m->engine;
        engine_job_free(j);
        engine_settle_later(e);
}

void engine_job_fail(Job *j, IpcFailCode code, const char *text) {
        IpcFail fail = {.id = j->ask.id, .code = code, .text = ipc_str(text)};
        ipc_send(&j->model->engine->ipc, IPC_FAIL, &fail);
        job_end(j);
}

/* ---- running ---- */

static void on_started(Seq *q) {
        Job *j = container_of(q, Job, seq);
        IpcStart start = {.id = j->ask.id, .prompt_tokens = q->n_prompt, .cached_tokens = q->n_cached};
        ipc_send(&j->model->engine->ipc, IPC_START, &start);
}

static uint64_t span(uint64_t from, uint64_t to) {
        return from > 0 && to > from ? to - from : 0;
}

static void send_piece(Job *j) {
        const Seq *q = &j->seq;
        IpcPiece piece;
        seq_piece(q, &piece);
        if (q->finish != IPC_FINISH_NONE) {
                piece.queue_usec = span(q->queued_usec, q->started_usec);
                piece.prefill_usec = span(q->started_usec, q->first_usec);
                piece.decode_usec = span(q->first_usec, now_usec());
                piece.prompt_tokens = q->n_prompt;
                piece.cached_tokens = q->n_cached;
                piece.completion_tokens = q->n_ids - q->n_prompt;
        }
        ipc_send(&j->model->engine->ipc, IPC_PIECE, &piece);
}

static void job_finish(Job *j) {
        send_piece(j);
        job_end(j);
}

static void on_progress(Seq *q) {
        Job *j = container_of(q, Job, seq);
        if (seq_failed(q))
                engine_job_fail(j, IPC_E_INTERNAL, "not enough memory for the text of the answer");
        else if (q->finish != IPC_FINISH_NONE)
                job_finish(j);
        else {
                send_piece(j);
                seq_sent(q);
        }
}

/* The daemon sees us end, starts another engine and posts the jobs again. */
static void on_device_failed(void *owner, int error) {
        Engine *e = owner;
        log_error("the device %s has failed: %s", e->device->name, strerror(-error));
        event_loop_exit(e->loop, 1);
}

static bool is_clogged(void *owner) {
        const Engine *e = owner;
        return ipc_conn_pending(&e->ipc) > CLOGGED_BYTES;
}

const RunHandlers engine_job_handlers = {on_started, on_progress, on_device_failed, is_clogged};

/* ---- preparing ---- */

static void run_prep(Work *w) {
        Job *j = container_of(w, Job, work);
        const Runner *r = runner_of(j);
        Error e = ERROR_NULL;
        j->code = prep(&j->model->loaded->prep, &j->ask, &j->seq, &j->dropped, &e);
        if (!j->code && r->ops->check)
                j->code = r->ops->check(r, &j->seq, &e);
        if (j->code)
                j->why = strdup(e.text);
}

static void prep_done(Work *w) {
        Job *j = container_of(w, Job, work);
        if (j->cancelled) {
                job_end(j);
                return;
        }
        if (j->code) {
                engine_job_fail(j, j->code, j->why ? j->why : "not enough memory to prepare the prompt");
                return;
        }
        if (j->dropped > 0)
                log_info("job %llu: the prompt was cut by its oldest %zu tokens to fit the context of model %s",
                         (unsigned long long)j->ask.id, j->dropped, j->model->name);
        if (j->seq.finish != IPC_FINISH_NONE) { /* what was produced before it was posted again was all */
                on_started(&j->seq);
                job_finish(j);
                return;
        }
        Runner *r = runner_of(j);
        if (r->ops->add(r, &j->seq) < 0) {
                engine_job_fail(j, IPC_E_INTERNAL, "not enough memory to queue the job");
                return;
        }
        j->state = JOB_SCHEDULED;
        r->ops->pause(r, &j->seq, j->paused);
}

static void begin_prep(Job *j) {
        uint64_t queued = j->seq.queued_usec;
        if (j->ask.max_tokens < 0)
                j->ask.max_tokens = j->model->loaded->max_tokens;
        list_remove(&j->pending);
        seq_init(&j->seq, &j->ask, j->model->loaded->tokenizer);
        j->seq.queued_usec = queued;
        j->state = JOB_PREPARING;
        j->model->n_jobs++;
        j->work = (Work){.run = run_prep, .done = prep_done};
}

void engine_job_start(Job *j) {
        begin_prep(j);
        work_submit(j->model->engine->workers, &j->work);
}

/* One that has just come, and whose prompt takes less to prepare than a worker to wake, is prepared at once. */
static void start_new(Job *j) {
        if (!prep_is_short(&j->model->loaded->prep, &j->ask)) {
                engine_job_start(j);
                return;
        }
        begin_prep(j);
        run_prep(&j->work);
        prep_done(&j->work);
}

/* ---- coming and going ---- */

static List *bucket_of(Engine *e, uint64_t id) {
        return &e->jobs_by_id[id % ENGINE_JOB_BUCKETS];
}

static Job *find_job(Engine *e, uint64_t id) {
        list_foreach(j, bucket_of(e, id), Job, by_id)
                if (j->ask.id == id && !j->cancelled)
                        return j;
        return NULL;
}

static void refuse(Engine *e, const IpcJob *ask, const char *text) {
        IpcFail fail = {.id = ask->id, .code = IPC_E_INVALID, .text = ipc_str(text)};
        ipc_send(&e->ipc, IPC_FAIL, &fail);
}

/* Keeps a copy of the message for the job's life: everything the job asks points into it. */
static int new_job(EngineModel *m, const void *body, size_t len, Job **ret) {
        Job *j = calloc(1, sizeof(*j));
        void *frame = malloc(len);
        if (!j || !frame) {
                free(j);
                free(frame);
                return -ENOMEM;
        }
        memcpy(frame, body, len);
        j->frame = frame;
        j->model = m;
        list_init(&j->pending);
        int r = ipc_decode(IPC_JOB, frame, len, &j->ask); /* it did before */
        list_append(&m->engine->jobs, &j->node);
        list_append(bucket_of(m->engine, j->ask.id), &j->by_id);
        m->n_posted++;
        *ret = j;
        return r;
}

int engine_job_post(Engine *e, const void *body, size_t len) {
        IpcJob ask;
        Job *j = NULL;
        int r = ipc_decode(IPC_JOB, body, len, &ask);
        if (r < 0)
                return r;
        EngineModel *m = engine_model_find(e, ask.model);
        if (!m || find_job(e, ask.id)) {
                refuse(e, &ask, m ? "a job with this id is running" : "the model is not known to the engine");
                return 0;
        }
        r = new_job(m, body, len, &j);
        if (r < 0)
                return r;
        j->seq.queued_usec = now_usec();
        if (engine_model_is_ready(m) && list_is_empty(&m->pending))
                start_new(j);
        else
                list_append(&m->pending, &j->pending);
        engine_settle_later(e);
        return 0;
}

void engine_job_cancel(Engine *e, uint64_t id) {
        Job *j = find_job(e, id);
        if (!j) /* it has ended meanwhile */
                return;
        if (j->state == JOB_PREPARING && !work_withdraw(e->workers, &j->work))
                j->cancelled = true; /* prep_done() ends it */
        else
                job_end(j);
}

void engine_job_pause(Engine *e, uint64_t id, bool paused) {
        Job *j = find_job(e, id);
        if (!j) /* it has ended meanwhile */
                return;
        j->paused = paused;
        if (j->state == JOB_SCHEDULED)
                runner_of(j)->ops->pause(runner_of(j), &j->seq, paused);
}
