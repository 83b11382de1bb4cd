/* An answer: the life between a request and its jobs.
 *
 * States: posting (answer_post() for each choice) -> running (pieces arrive; a stream begins with the first text) ->
 * ended, in exactly one of three ways: every choice has its last piece (finish), a job or memory failed (answer_fail), or the
 * client is gone (on_gone). Each of the three frees the Answer, which first cancels what jobs are left. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#include "api/api-private.h"
#include "util/str.h"

enum { OUT_ROOM = 511 }; /* for a short answer, or a piece of a long one */

int64_t wall_usec(void) {
        struct timeval tv;
        gettimeofday(&tv, NULL);
        return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

/* Asked for with every token of every stream, so the second at hand is kept as text. */
void format_time(char *buf, size_t n, int64_t usec) {
        static char second[32];
        static time_t is = -1;
        time_t t = (time_t)(usec / 1000000);
        if (t != is) {
                struct tm tm;
                gmtime_r(&t, &tm);
                strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &tm);
                is = t;
        }
        snprintf(buf, n, "%s.%06d+00:00", second, (int)(usec % 1000000));
}

const char *finish_name(IpcFinish f) {
        return f == IPC_FINISH_LENGTH ? "length" : "stop";
}

static void answer_free(Answer *a) {
        for (uint32_t i = 0; i < a->n_choices; i++) {
                Choice *c = &a->choices[i];
                if (c->job)
                        job_cancel(TAKE(c->job));
                split_deinit(&c->split);
                buf_deinit(&c->again);
                buf_deinit(&c->stopped_by);
                for (size_t k = 0; k < LOGPROB_LISTS; k++)
                        buf_deinit(&c->logprobs[k]);
                a->user->held -= c->charged;
        }
        a->user->held -= a->kept_size;
        free(a->kept);
        buf_deinit(&a->out);
        free(a->model_name);
        free(a);
}

static void on_gone(Request *r) {
        answer_free(r->state);
}

static void pause_jobs(Answer *a, bool pause) {
        a->paused = pause;
        for (uint32_t i = 0; i < a->n_choices; i++)
                if (a->choices[i].job)
                        job_pause(a->choices[i].job, pause);
}

static void on_drained(Request *r) {
        Answer *a = r->state;
        if (a->paused)
                pause_jobs(a, false);
}

Answer *answer_new(Api *api, ModelEntry *m, const Dialect *dialect, uint32_t n) {
        Answer *a = calloc(1, sizeof(*a) + n * sizeof(a->choices[0]));
        const char *name = json_string_value(json_object_get(api->body, "model"));
        if (!a || !(a->model_name = strdup(name ? name : m->name))) {
                free(a);
                api_refuse(api->r, &api_no_memory);
                return NULL;
        }
        a->d = api->d;
        a->r = api->r;
        a->user = api->r->user;
        a->model = m;
        a->dialect = dialect;
        a->n_choices = n;
        a->began = api->r->started;
        a->created = wall_usec() / 1000000;
        for (uint32_t i = 0; i < n; i++) {
                a->choices[i].answer = a;
                a->choices[i].index = i;
        }
        a->r->state = a;
        a->r->gone = on_gone;
        a->r->drained = on_drained;
        buf_reserve(&a->out, OUT_ROOM);
        return a;
}

void answer_make_id(Answer *a, const char *prefix) {
        uint64_t x = a->began ^ (uintptr_t)a;
        if (getrandom(&x, sizeof(x), GRND_NONBLOCK) < 0)
                x ^= (uint64_t)wall_usec() * 0x9e3779b97f4a7c15u;
        snprintf(a->id, sizeof(a->id), "%s%016" PRIx64, prefix, x);
}

void sse_event(Buf *out, const char *type) {
        buf_puts(out, "event: ");
        buf_puts(out, type);
        buf_puts(out, "\ndata: {\"type\":\"");
        buf_puts(out, type);
        buf_putc(out, '"');
}

static void stream_begin(Answer *a) {
        a->begun = true;
        request_stream_begin(a->r, 200, a->dialect->stream_type);
}

/* A client that reads slowly holds its own jobs back. */
static void write_out(Answer *a) {
        if (!a->begun)
                stream_begin(a);
        request_write(a->r, a->out.data, a->out.len);
        buf_clear(&a->out);
        if (!a->paused && request_is_full(a->r))
                pause_jobs(a, true);
}

/* Why the answer cannot go on: memory ran out on the way, so that what was gathered is not whole, or its user may hold no more. */
static const JobRefusal *check_memory(Choice *c) {
        uint64_t most = c->answer->d->config->limits.memory_per_user, gathered = split_size(&c->split) + c->again.len;
        bool failed = c->answer->out.failed || split_failed(&c->split) || c->again.failed || c->stopped_by.failed;
        for (size_t k = 0; k < LOGPROB_LISTS; k++) {
                failed |= c->logprobs[k].failed;
                gathered += c->logprobs[k].len;
        }
        if (failed)
                return &api_no_memory;
        if (gathered < c->charged) { /* what was held back is said */
                c->answer->user->held -= c->charged - gathered;
                c->charged = gathered;
        }
        if (gathered == c->charged)
                return NULL;
        if (!user_charge(c->answer->user, gathered - c->charged, most))
                return job_memory_refusal(gathered, most);
        c->charged = gathered;
        return NULL;
}

/* With a status of its own, or else as the last word of the stream. */
static void answer_fail(Answer *a, const JobRefusal *why) {
        if (a->begun && !a->dialect->stream_error)
                request_abort(a->r);
        else if (a->begun) {
                buf_clear(&a->out);
                a->dialect->stream_error(a, why->status, why->code, why->text, &a->out);
                write_out(a);
                request_end(a->r);
        } else
                api_refuse(a->r, why);
        answer_free(a);
}

static void finish(Answer *a) {
        if (a->stream) {
                write_out(a);
                request_end(a->r);
        } else
                api_reply_text(a->r, "application/json", &a->out);
        answer_free(a);
}

static void on_started(Job *j, const IpcStart *s) {
        Choice *c = j->owner;
        c->prompt_tokens = s->prompt_tokens;
        c->cached_tokens = s->cached_tokens;
        if (c->last_piece) /* another engine goes on with it */
                return;
        if (!c->answer->unmeasured)
                histogram_add(&j->model->queue_time, now_usec() - j->submitted);
        split_init(&c->split, s->forms);
        c->split.most = c->answer->most_calls;
}

static void measure(Choice *c, const IpcPiece *p, ModelEntry *m) {
        uint64_t now = now_usec();
        if (p->finish != IPC_FINISH_NONE)
                histogram_add(&m->request_time, now - c->answer->began);
        if (p->ids.n == 0)
                return;
        if (c->last_piece)
                histogram_add(&m->inter_token, (now - c->last_piece) / p->ids.n);
        else
                histogram_add(&m->first_token, now - c->answer->began);
        c->last_piece = now;
}

static void take_last(Choice *c, const IpcPiece *p) {
        c->job = NULL;
        c->finish = (IpcFinish)p->finish;
        buf_put(&c->stopped_by, p->stop.data, p->stop.len);
        c->prompt_tokens = p->prompt_tokens;
        c->completion_tokens = p->completion_tokens;
        c->cached_tokens = p->cached_tokens;
        c->queue_usec = p->queue_usec;
        c->prefill_usec = p->prefill_usec;
        c->decode_usec = p->decode_usec;
        c->answer->n_done++;
}

static void on_piece(Job *j, const IpcPiece *p) {
        Choice *c = j->owner;
        Answer *a = c->answer;
        if (!a->unmeasured)
                measure(c, p, a->model);
        if (p->finish != IPC_FINISH_NONE)
                take_last(c, p);
        if (split_is_in_thoughts(&c->split))
                c->thought_tokens += p->ids.n;
        split_put(&c->split, p->text.data, p->text.len, p->finish != IPC_FINISH_NONE);
        if (a->stream) {
                a->dialect->piece(c, p, &a->out);
                split_clear(&c->split);
        } else if (p->logprobs.n > 0)
                a->dialect->logprobs(c, p);
        c->text_len += p->text.len;
        bool done = a->n_done == a->n_choices;
        void (*last)(Answer *, Buf *) = a->stream ? a->dialect->stream_end : a->dialect->result;
        if (done && last)
                last(a, &a->out);
        const JobRefusal *why = check_memory(c);
        if (why)
                answer_fail(a, why);
        else if (done)
                finish(a);
        else if (a->out.len > 0)
                write_out(a);
}

static void on_failed(Job *j, unsigned status, const char *code, const char *text) {
        Choice *c = j->owner;
        c->job = NULL;
        answer_fail(c->answer, &(JobRefusal){status, code, text, status == 503 ? 1000000 : 0});
}

static const JobEvents events = {.started = on_started, .piece = on_piece, .failed = on_failed};

bool answer_keep(Answer *a, void *block, size_t size) {
        uint64_t most = a->d->config->limits.memory_per_user;
        a->kept = block;
        if (user_charge(a->user, size, most)) {
                a->kept_size = size;
                return true;
        }
        answer_fail(a, job_memory_refusal(size, most));
        return false;
}

bool answer_post(Answer *a, Spec *s, uint32_t first, uint32_t n) {
        JobRefusal why;
        uint64_t keep_alive = s->keep_alive_given ? s->keep_alive : a->model->config.keep_alive;
        _cleanup_(job_spec_unrefp) JobSpec *spec =
                job_spec_new(a->d, a->r->user, a->model, &s->job, keep_alive, usec_after(a->began, s->timeout), &why);
        bool ok = spec != NULL;
        for (uint32_t i = 0; ok && i < n; i++) {
                Choice *c = &a->choices[first + i];
                ok = job_submit(a->d, spec, s->job.seed ? s->job.seed + i : 0, &events, c, &c->job, &why) == 0;
        }
        if (ok)
                return true;
        api_refuse(a->r, &why);
        answer_free(a);
        return false;
}
