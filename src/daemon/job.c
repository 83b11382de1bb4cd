/* Jobs: admission, the record that survives engines, and the one place where a job ends. See job.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/job.h"
#include "daemon/pool.h"
#include "util/log.h"
#include "util/str.h"

enum { FRAME_HEAD = 8, RETRY_MIN_USEC = 100000, RETRY_MAX_USEC = 60000000 };

static void job_free(Job *j) {
        job_spec_unref(j->spec);
        buf_deinit(&j->produced);
        free(j);
}

static uint32_t *counter(Job *j, uint32_t *waiting, uint32_t *running) {
        return j->got_slot ? running : waiting;
}

static void charge(Job *j, int by) {
        *counter(j, &j->user->waiting, &j->user->running) += (uint32_t)by;
        *counter(j, &j->model->waiting, &j->model->running) += (uint32_t)by;
}

static double average(double so_far, uint64_t usec) {
        return so_far > 0 ? 0.9 * so_far + 0.1 * (double)usec : (double)usec;
}

/* When a slot will be free, as far as one can tell: the queue ahead, at the pace of late. */
static uint64_t expected_wait(const ModelEntry *m) {
        uint32_t slots = MAX(m->slots ? m->slots : m->config.slots, 1u);
        double usec = m->job_usec * (double)(m->waiting + 1) / slots;
        return (uint64_t)CLAMP(usec, (double)RETRY_MIN_USEC, (double)RETRY_MAX_USEC);
}

static bool admit(User *u, ModelEntry *m, JobRefusal *ret) {
        const char *why = NULL;
        uint32_t slots = m->slots ? m->slots : m->config.slots, held = m->running + m->waiting;
        uint64_t retry = user_refusal(u, held >= slots, &why);
        if (retry) {
                *ret = (JobRefusal){429, "rate_limit_exceeded", why, retry};
                return false;
        }
        if (m->waiting >= m->config.queue && held >= slots + m->config.queue) {
                *ret = (JobRefusal){503, "queue_full", "the model's queue is full", expected_wait(m)};
                return false;
        }
        return true;
}

/* From the kernel, many at a time. */
static uint64_t draw_seed(void) {
        static uint64_t seeds[32];
        static size_t left;
        if (left == 0) {
                if (getrandom(seeds, sizeof(seeds), GRND_NONBLOCK) != sizeof(seeds))
                        return now_usec() | 1;
                left = ARRAY_SIZE(seeds);
        }
        uint64_t seed = seeds[--left];
        return seed ? seed : 1;
}

static uint64_t expiry(const Job *j) {
        return j->got_slot ? j->spec->deadline : MIN(usec_after(j->waiting, j->queue_timeout), j->spec->deadline);
}

static const JobRefusal no_memory = {503, "out_of_memory", "out of memory", RETRY_MIN_USEC * 10};

const JobRefusal *job_memory_refusal(uint64_t n, uint64_t most) {
        static const JobRefusal too_large = {413, "request_too_large", "the request and its answer would take more memory than a user's requests may "
                                             "hold (limits.memory_per_user); send less in a request", 0},
                                too_much_held = {429, "rate_limit_exceeded", "this user's requests hold too much memory at once "
                                                 "(limits.memory_per_user)", RETRY_MIN_USEC * 10};
        return n > most ? &too_large : &too_much_held;
}

/* What its frame will take, or little less. */
static size_t job_size(const IpcJob *j) {
        size_t numbers = (size_t)j->prompt_ids.n + j->stop.lens.n + j->bias_ids.n + j->bias.n + j->inputs.lens.n +
                         j->input_counts.n;
        return sizeof(*j) + j->prompt.len + j->suffix.len + j->opening.len + j->stop.bytes.len + j->inputs.bytes.len + j->grammar.len +
               sizeof(int32_t) * numbers;
}

JobSpec *job_spec_new(const Daemon *d, User *u, ModelEntry *m, IpcJob *job, uint64_t keep_alive, uint64_t deadline,
                      JobRefusal *ret_refusal) {
        uint64_t most = d->config->limits.memory_per_user, size = job_size(job);
        if (!user_charge(u, size, most)) {
                *ret_refusal = *job_memory_refusal(size, most);
                return NULL;
        }
        JobSpec *s = calloc(1, sizeof(*s));
        *ret_refusal = no_memory;
        job->model = ipc_str(m->name);
        if (!s || ipc_encode(&s->frame, IPC_JOB, job) < 0) {
                if (s)
                        buf_deinit(&s->frame);
                free(s);
                u->held -= size;
                return NULL;
        }
        s->refs = 1;
        s->user = u;
        s->model = m;
        s->keep_alive = keep_alive;
        s->tokens_only = job->tokens_only;
        s->deadline = MIN(deadline, usec_after(now_usec(), m->config.deadline));
        u->held += s->frame.len - size;
        return s;
}

int job_spec_read(const JobSpec *s, IpcJob *ret) {
        return ipc_decode(IPC_JOB, s->frame.data + FRAME_HEAD, s->frame.len - FRAME_HEAD, ret);
}

void job_spec_unref(JobSpec *s) {
        if (!s || --s->refs > 0)
                return;
        s->user->held -= s->frame.len;
        buf_deinit(&s->frame);
        free(s);
}

int job_submit(Daemon *d, JobSpec *spec, uint64_t seed, const JobEvents *events, void *owner, Job **ret, JobRefusal *ret_refusal) {
        User *u = spec->user;
        ModelEntry *m = spec->model;
        if (!admit(u, m, ret_refusal)) {
                d->jobs.refused++;
                return -EBUSY;
        }
        Job *j = calloc(1, sizeof(*j));
        uint64_t now = now_usec();
        if (j)
                *j = (Job){.id = ++d->next_job, .daemon = d, .model = m, .user = u, .events = events, .owner = owner,
                           .spec = spec, .seed = seed ? seed : draw_seed(), .submitted = now, .waiting = now,
                           .queue_timeout = m->config.queue_timeout};
        if (!j || deadlines_add(&d->deadlines, &j->expiry, expiry(j)) < 0) {
                free(j);
                *ret_refusal = no_memory;
                return -EBUSY;
        }
        spec->refs++;
        charge(j, 1);
        u->requests_total++;
        m->jobs_total++;
        pool_add_job(m->pool, j);
        *ret = j;
        return 0;
}

static void count_work(const Job *j, size_t produced, uint64_t now) {
        user_spend_tokens(j->user, j->prompt_tokens + produced);
        j->model->prompt_tokens += j->prompt_tokens;
        j->model->cached_tokens += j->cached_tokens;
        j->model->generation_tokens += produced;
        j->model->inputs += j->results;
        if (j->got_slot) {
                j->model->job_usec = average(j->model->job_usec, now - j->got_slot);
                j->user->job_usec = average(j->user->job_usec, now - j->submitted);
        }
}

/* The one place: every way a job can end leads here, and all it held is given back. */
static void job_end(Job *j, const char *how) {
        uint64_t now = now_usec();
        size_t produced = j->produced.len / sizeof(int32_t);
        charge(j, -1);
        deadlines_remove(&j->daemon->deadlines, &j->expiry);
        if (!j->spec->tokens_only)
                count_work(j, produced, now);
        j->model->last_used = now;
        j->model->keep_alive = j->spec->keep_alive;
        if (log_get_level() >= LOG_LEVEL_DEBUG)
                log_write(LOG_LEVEL_DEBUG, &(LogFields){.request_id = j->id, .model = j->model->name, .uid = &j->user->uid},
                          "job %" PRIu64 " %s: %s, %u + %zu tokens, %.3f s", j->id, j->model->name, how, j->prompt_tokens, produced,
                          (double)(now - j->submitted) / 1e6);
        pool_remove_job(j->pool, j);
        job_free(j);
}

void job_cancel(Job *j) {
        j->daemon->jobs.cancelled++;
        if (j->posted)
                pool_send(j->pool, IPC_CANCEL, &(IpcId){j->id});
        job_end(j, "cancelled");
}

void job_pause(Job *j, bool pause) {
        if (j->paused == pause)
                return;
        j->paused = pause;
        j->pool->n_paused += pause ? 1u : -1u;
        if (j->posted)
                pool_send(j->pool, pause ? IPC_PAUSE : IPC_RESUME, &(IpcId){j->id});
}

void job_fail(Job *j, unsigned status, const char *code, const char *text) {
        const JobEvents *events = j->events;
        j->daemon->jobs.failed++;
        events->failed(j, status, code, text);
        job_end(j, "failed");
}

void job_expired(Deadline *d) {
        Job *j = container_of(d, Job, expiry);
        bool late = d->at == j->spec->deadline;
        if (j->posted)
                pool_send(j->pool, IPC_CANCEL, &(IpcId){j->id});
        if (!late)
                job_fail(j, 503, "queue_timeout", "the request waited too long for a free slot (queue_timeout)");
        else if (j->got_slot)
                job_fail(j, 504, "deadline_exceeded",
                         "time ran out before the answer was complete (the request's timeout, or the model's deadline)");
        else
                job_fail(j, 504, "deadline_exceeded",
                         "time ran out while the request waited for a free slot (its timeout, or the model's deadline)");
}

static void set_slot(Job *j, uint64_t got_slot) {
        charge(j, -1);
        j->got_slot = got_slot;
        charge(j, 1);
        deadlines_move(&j->daemon->deadlines, &j->expiry, expiry(j));
}

static void leave_queue(Job *j) {
        if (!j->got_slot)
                set_slot(j, now_usec());
}

void job_started(Job *j, const IpcStart *s) {
        leave_queue(j);
        j->prompt_tokens = MAX(j->prompt_tokens, s->prompt_tokens); /* those of inputs come with their results */
        j->cached_tokens = s->cached_tokens;
        if (j->events->started)
                j->events->started(j, s);
}

void job_piece(Job *j, const IpcPiece *p) {
        if (!j->events->piece)
                return;
        leave_queue(j);
        bool last = p->finish != IPC_FINISH_NONE;
        if (j->spec->tokens_only) {
                j->results += p->ids.n;
                if (!last && !j->paused)
                        pool_send(j->pool, IPC_RESUME, &(IpcId){j->id});
        } else
                buf_put(&j->produced, p->ids.data, p->ids.n * sizeof(int32_t));
        j->text_sent += p->text.len;
        if (last)
                j->daemon->jobs.completed++;
        j->events->piece(j, p); /* may cancel the job only when this was not the last piece */
        if (last)
                job_end(j, "completed");
}

/* A reload has changed the model's precision, and the engine that knew the old one is gone. */
static void start_over(Job *j) {
        j->results = 0;
        j->prompt_tokens = 0;
        j->events->restarted(j);
        pool_post_again(j->pool, j);
}

void job_vectors(Job *j, const IpcVectors *v) {
        if (!j->events->vectors)
                return;
        if (j->results > 0 && v->precision != j->precision) {
                start_over(j);
                return;
        }
        leave_queue(j);
        j->precision = v->precision;
        j->results += v->width ? v->values.n / v->width : 0;
        j->prompt_tokens += (uint32_t)v->tokens;
        if (v->last)
                j->daemon->jobs.completed++;
        j->events->vectors(j, v); /* may cancel the job only when these were not the last */
        if (v->last)
                job_end(j, "completed");
}

void job_post(Job *j, IpcConn *c) {
        IpcJob spec;
        if (job_spec_read(j->spec, &spec) < 0)
                return; /* cannot be: we encoded it */
        spec.id = j->id;
        spec.uid = j->user->uid;
        spec.weight = (float)j->user->limits.weight;
        spec.priority = MAX(spec.priority, (uint32_t)j->user->limits.priority);
        spec.seed = j->seed;
        spec.produced = (IpcInts){(const int32_t *)(const void *)j->produced.data, (uint32_t)(j->produced.len / 4)};
        spec.text_sent = j->text_sent;
        spec.results_sent = j->results;
        ipc_send(c, IPC_JOB, &spec);
        if (j->paused)
                ipc_send(c, IPC_PAUSE, &(IpcId){j->id});
        j->posted = true;
}

void job_rewind(Job *j) {
        j->posted = false;
        if (!j->got_slot)
                return;
        j->waiting = now_usec(); /* what it waited before its first slot is long forgotten */
        set_slot(j, 0);
}

void job_requeue(Job *j, bool suspect) {
        job_rewind(j);
        if (!suspect)
                return;
        if (++j->restarts > j->daemon->config->limits.restarts)
                job_fail(j, 503, "engine_died", "the engine died each time it worked on this request; it was given up");
        else
                j->daemon->jobs.restarted++;
}
