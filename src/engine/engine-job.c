/* Jobs: posted by the daemon, waiting for their model, prepared (most on a worker), run by the model's runner, ended.
 *
 *   PENDING --model ready--> PREPARING --prepared--> SCHEDULED
 * A job that has inputs is SCHEDULED when the first slice of them is prepared; workers prepare the others meanwhile. One that
 * wants but the tokens of its prompt stays PREPARING: a worker makes piece after piece of them, and no runner hears of it. From
 * each state a job may end: with a FAIL, with the last PIECE or VECTORS, or, cancelled, without a word. All ends meet in
 * job_end(); a job that a worker has at that moment is forgotten only when the worker gives it back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/constraint.h"
#include "engine/engine-internal.h"
#include "util/log.h"
#include "util/str.h"

enum { CLOGGED_BYTES = 4 * 1024 * 1024 }; /* of messages the daemon has not taken */

void engine_job_free(Job *j) {
        seq_deinit(&j->seq);
        if (j->seq.inputs)
                inputs_deinit(&j->inputs);
        if (j->slice)
                slice_free(j->slice);
        tokens_deinit(&j->tokens);
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
        if (j->at_worker && !work_withdraw(m->engine->workers, &j->work)) {
                j->cancelled = true; /* prep_done() ends it */
                return;
        }
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
        IpcStart start = {.id = j->ask.id, .prompt_tokens = q->n_prompt, .cached_tokens = q->n_cached, .forms = q->forms};
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

/* ---- results of inputs ---- */

static void prepare_more(Job *j);
static void submit(Job *j);

/* In frames of bounded size; the last of all says so. */
static void send_vectors(Job *j) {
        Inputs *in = &j->inputs;
        const float *values = (const float *)(const void *)in->values.data;
        size_t left = in->values.len / sizeof(float), most = MAX(IPC_VECTORS_MAX / in->width, 1u) * (size_t)in->width;
        while (left > 0) {
                size_t n = MIN(left, most);
                IpcVectors v = {.id = j->ask.id, .width = in->width, .precision = j->model->loaded->precision,
                                .values = {values, (uint32_t)n}};
                left -= n;
                values += n;
                if (left == 0) {
                        v.tokens = in->tokens_done;
                        v.last = inputs_are_done(in);
                        v.queue_usec = span(j->seq.queued_usec, j->seq.started_usec);
                        v.compute_usec = span(j->seq.started_usec, now_usec());
                }
                ipc_send(&j->model->engine->ipc, IPC_VECTORS, &v);
        }
        in->tokens_done = 0;
        buf_clear(&in->values);
}

static void fail_input(Job *j) {
        char text[160];
        if (j->inputs.error == -EDOM)
                snprintf(text, sizeof(text), "the model's result for input %u is not a number", j->inputs.n_done);
        else
                snprintf(text, sizeof(text), "not enough memory for the results");
        engine_job_fail(j, IPC_E_INTERNAL, text);
}

static void on_results(Job *j) {
        if (j->inputs.error) {
                fail_input(j);
                return;
        }
        send_vectors(j);
        if (inputs_are_done(&j->inputs))
                job_end(j);
        else
                prepare_more(j);
}

/* ---- what may come next ---- */

static void fail_constraint(Job *j, int error) {
        engine_job_fail(j, constraint_fail_code(error), constraint_why(error));
}

static void run_update(Work *w) {
        Job *j = container_of(w, Job, work);
        j->updated = constraint_update(j->seq.constraint, CONSTRAINT_ALL);
}

static void update_done(Work *w) {
        Job *j = container_of(w, Job, work);
        j->at_worker = false;
        j->seq.held = false;
        if (j->cancelled)
                job_end(j);
        else if (j->updated < 0)
                fail_constraint(j, j->updated);
        else
                runner_of(j)->ops->more(runner_of(j), &j->seq, 0);
}

static void update_constraint(Job *j) {
        int r = constraint_update(j->seq.constraint, CONSTRAINT_LITTLE);
        if (r < 0)
                fail_constraint(j, r);
        if (r != 0)
                return;
        j->seq.held = true;
        j->work = (Work){.run = run_update, .done = update_done, .urgent = true};
        submit(j);
}

static void on_progress(Seq *q) {
        Job *j = container_of(q, Job, seq);
        if (q->inputs)
                on_results(j);
        else if (seq_failed(q))
                engine_job_fail(j, IPC_E_INTERNAL, "not enough memory for the text of the answer");
        else if (q->finish != IPC_FINISH_NONE)
                job_finish(j);
        else {
                send_piece(j);
                seq_sent(q);
                if (q->constraint)
                        update_constraint(j);
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
        if (j->ask.tokens_only)
                j->code = tokens_prepare(&j->model->loaded->prep, &j->ask, &j->tokens, &e);
        else if (j->seq.inputs)
                j->code = inputs_prepare(&j->model->loaded->prep, &j->ask, &j->inputs.cursor, &j->slice, &e);
        else
                j->code = prep(&j->model->loaded->prep, &j->ask, &j->seq, &j->dropped, &e);
        if (!j->code && !j->ask.tokens_only && r->ops->check)
                j->code = r->ops->check(r, &j->seq, &e);
        if (j->code)
                j->why = strdup(e.text);
}

static void submit(Job *j) {
        j->at_worker = true;
        work_submit(j->model->engine->workers, &j->work);
}

static void prepare_more(Job *j) {
        if (!j->at_worker && inputs_want_more(&j->inputs))
                submit(j);
}

static void apply_pause(Job *j) {
        Runner *r = runner_of(j);
        if (r->ops->pause)
                r->ops->pause(r, &j->seq, j->paused);
}

static void schedule(Job *j) {
        Runner *r = runner_of(j);
        if (r->ops->add(r, &j->seq) < 0) {
                engine_job_fail(j, IPC_E_INTERNAL, "not enough memory to queue the job");
                return;
        }
        j->state = JOB_SCHEDULED;
        apply_pause(j);
}

/* None was given, or all results were sent by an engine before: the job was checked, and that was all. */
static void finish_empty(Job *j) {
        on_started(&j->seq);
        ipc_send(&j->model->engine->ipc, IPC_VECTORS, &(IpcVectors){.id = j->ask.id, .last = true});
        job_end(j);
}

static void slice_done(Job *j) {
        Runner *r = runner_of(j);
        uint32_t tokens = (uint32_t)j->slice->types.len;
        inputs_put(&j->inputs, TAKE(j->slice));
        if (inputs_are_done(&j->inputs)) {
                finish_empty(j);
                return;
        }
        prepare_more(j);
        if (j->state == JOB_SCHEDULED)
                r->ops->more(r, &j->seq, tokens);
        else
                schedule(j);
}

static void tokens_done(Job *j) {
        IpcPiece piece;
        tokens_piece(&j->tokens, &j->ask, &piece);
        if (j->tokens.from == j->ask.results_sent) {
                IpcStart start = {.id = j->ask.id, .prompt_tokens = (uint32_t)j->tokens.n};
                ipc_send(&j->model->engine->ipc, IPC_START, &start);
        }
        ipc_send(&j->model->engine->ipc, IPC_PIECE, &piece);
        if (piece.finish != IPC_FINISH_NONE)
                job_end(j);
}

static void prep_done(Work *w) {
        Job *j = container_of(w, Job, work);
        j->at_worker = false;
        if (j->cancelled) {
                job_end(j);
                return;
        }
        if (j->code) {
                engine_job_fail(j, j->code, j->why ? j->why : "not enough memory to prepare the prompt");
                return;
        }
        if (j->ask.tokens_only) {
                tokens_done(j);
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
        if (j->seq.inputs)
                slice_done(j);
        else
                schedule(j);
}

static void begin_prep(Job *j) {
        uint64_t queued = j->seq.queued_usec;
        if (j->ask.max_tokens < 0)
                j->ask.max_tokens = j->model->loaded->max_tokens;
        list_remove(&j->pending);
        seq_init(&j->seq, &j->ask, j->model->loaded->tokenizer);
        j->seq.queued_usec = queued;
        if (inputs_are_asked(&j->ask)) {
                inputs_init(&j->inputs, &j->ask);
                j->seq.inputs = &j->inputs;
        }
        j->state = JOB_PREPARING;
        j->model->n_jobs++;
        j->work = (Work){.run = run_prep, .done = prep_done};
}

void engine_job_start(Job *j) {
        begin_prep(j);
        submit(j);
}

/* One that has just come, and whose prompt takes less to prepare than a worker to wake, is prepared at once. */
static void start_new(Job *j) {
        bool is_short = inputs_are_asked(&j->ask) ? inputs_are_short(&j->ask)
                                                  : prep_is_short(&j->model->loaded->prep, &j->ask);
        if (!is_short) {
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
        job_end(j);
}

void engine_job_pause(Engine *e, uint64_t id, bool paused) {
        Job *j = find_job(e, id);
        if (!j) /* it has ended meanwhile */
                return;
        j->paused = paused;
        if (j->state == JOB_SCHEDULED)
                apply_pause(j);
        else if (j->state == JOB_PREPARING && j->ask.tokens_only && !paused && !j->at_worker)
                submit(j); /* the next piece */
}
