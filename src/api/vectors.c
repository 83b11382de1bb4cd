/* The life of a request whose answer is numbers: embeddings and rerankings.
 *
 * Running: results of the job come in the order of its inputs and are kept, charged to the user. Nothing is written
 * before all are there, so whatever goes wrong has a status of its own.
 * Writing: a small answer is written at once. A large one is a stream, of which a worker makes one piece after another,
 * each when the client has taken most of those before; while a worker has it, nobody else touches it.
 * Ended: written, failed, or the client is gone. Each frees the Vectors, the last when its worker is done. */
#include <string.h>

#include "api/api-private.h"
#include "util/checked.h"
#include "util/str.h"

enum {
        SMALL = 8192,            /* numbers that the loop writes itself: a millisecond */
        PIECE_BYTES = 128 * 1024,
};

static const JobRefusal malformed = {500, "internal_error", "the engine's answer is not what was asked for", 0};

static void vectors_free(Vectors *v) {
        if (v->job)
                job_cancel(TAKE(v->job));
        v->user->held -= v->charged;
        job_spec_unref(v->spec);
        free(v->values);
        free(v->order);
        free(v->documents);
        buf_deinit(&v->out);
        free(v->model_name);
        free(v);
}

static void on_gone(Request *r) {
        Vectors *v = r->state;
        v->r = NULL;
        if (!v->at_worker)
                vectors_free(v);
}

static void refuse(Vectors *v, const JobRefusal *why) {
        api_refuse(v->r, why);
        vectors_free(v);
}

/* ---- writing ---- */

static int by_score(const void *a, const void *b, void *arg) {
        const float *scores = arg;
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
        if (scores[x] != scores[y])
                return scores[x] > scores[y] ? -1 : 1;
        return x < y ? -1 : 1;
}

static void sort_ranking(Vectors *v) {
        for (uint32_t i = 0; i < v->n_inputs; i++)
                v->order[i] = i;
        qsort_r(v->order, v->n_inputs, sizeof(*v->order), by_score, v->values);
}

static void find_documents(Vectors *v) {
        IpcJob job;
        uint32_t pos = 0, offset = 0;
        if (job_spec_read(v->spec, &job) == 0)
                while (pos < v->n_inputs && ipc_strs_next(&job.inputs, &pos, &offset, &v->documents[pos]))
                        ;
}

/* The next piece of the text, or with `bytes` SIZE_MAX all of it. */
static void make(Vectors *v, size_t bytes) {
        if (v->next == 0) {
                if (v->order)
                        sort_ranking(v);
                if (v->documents)
                        find_documents(v);
                v->dialect->begin(v, &v->out);
        }
        while (v->next < v->n_items && v->out.len < bytes) {
                if (v->next > 0)
                        buf_putc(&v->out, ',');
                v->dialect->item(v, v->next++, &v->out);
        }
        v->ended = v->next == v->n_items;
        if (v->ended)
                v->dialect->end(v, &v->out);
}

static void write_small(Vectors *v) {
        make(v, SIZE_MAX);
        api_reply_text(v->r, "application/json", &v->out);
        vectors_free(v);
}

static void run_make(Work *w) {
        make(container_of(w, Vectors, work), PIECE_BYTES);
}

static void write_on(Vectors *v) {
        v->at_worker = true;
        work_submit(v->d->workers, &v->work);
}

static void make_done(Work *w) {
        Vectors *v = container_of(w, Vectors, work);
        v->at_worker = false;
        if (!v->r) {
                vectors_free(v);
                return;
        }
        if (v->out.failed && !v->begun) {
                refuse(v, &api_no_memory);
                return;
        }
        if (v->out.failed) { /* what follows would be no JSON */
                request_abort(v->r);
                vectors_free(v);
                return;
        }
        if (!v->begun)
                request_stream_begin(v->r, 200, "application/json");
        v->begun = true;
        request_write(v->r, v->out.data, v->out.len);
        buf_deinit(&v->out); /* a client that does not read holds no more than what it was sent */
        if (v->ended) {
                request_end(v->r);
                vectors_free(v);
        } else if (!request_is_full(v->r))
                write_on(v);
}

/* The daemon ends; the request is gone. */
static void make_drop(Work *w) {
        vectors_free(container_of(w, Vectors, work));
}

static void on_drained(Request *r) {
        Vectors *v = r->state;
        if (v->begun && !v->at_worker)
                write_on(v);
}

static void write_answer(Vectors *v) {
        size_t texts = v->documents ? v->spec->frame.len : 0; /* little less than that */
        if (v->n_values <= SMALL && texts <= PIECE_BYTES) {
                write_small(v);
                return;
        }
        v->work = (Work){.run = run_make, .done = make_done, .drop = make_drop};
        write_on(v);
}

/* ---- the job ---- */

static void on_started(Job *j, const IpcStart *s _unused_) {
        Vectors *v = j->owner;
        if (v->n_values == 0)
                histogram_add(&j->model->queue_time, now_usec() - j->submitted);
}

/* The width is known with the first results: then room for all is charged and made. NULL, or why it cannot be. */
static const JobRefusal *make_room(Vectors *v, uint32_t width) {
        uint64_t most = v->d->config->limits.memory_per_user;
        size_t numbers, bytes, list;
        if (v->width > 0)
                return v->width == width ? NULL : &malformed;
        if (!checked_mul((size_t)v->n_inputs, (size_t)width, &numbers) || !checked_mul(numbers, sizeof(float), &bytes))
                return job_memory_refusal(UINT64_MAX, most);
        list = v->ranked ? v->n_inputs * (sizeof(*v->order) + (v->options.with_documents ? sizeof(*v->documents) : 0)) : 0;
        if (!user_charge(v->user, bytes + list, most))
                return job_memory_refusal(v->spec->frame.len + bytes + list, most);
        v->charged = bytes + list;
        v->values = malloc(MAX(bytes, (size_t)1));
        v->order = v->ranked ? malloc(v->n_inputs * sizeof(*v->order)) : NULL;
        v->documents = v->options.with_documents ? calloc(v->n_inputs, sizeof(*v->documents)) : NULL;
        if (!v->values || (v->ranked && !v->order) || (v->options.with_documents && !v->documents))
                return &api_no_memory;
        v->width = width;
        return NULL;
}

static const JobRefusal *take(Vectors *v, const IpcVectors *p) {
        const JobRefusal *why = p->values.n > 0 ? make_room(v, p->width) : NULL;
        if (why)
                return why;
        if (p->values.n > (size_t)v->n_inputs * v->width - v->n_values || (p->values.n > 0 && p->values.n % v->width))
                return &malformed;
        if (p->values.n > 0)
                memcpy(v->values + v->n_values, p->values.data, p->values.n * sizeof(float));
        v->n_values += p->values.n;
        v->tokens += p->tokens;
        return p->last && v->n_values / MAX(v->width, 1u) < v->n_inputs ? &malformed : NULL;
}

static void on_vectors(Job *j, const IpcVectors *p) {
        Vectors *v = j->owner;
        const JobRefusal *why = take(v, p);
        if (p->last)
                v->job = NULL;
        if (why) {
                refuse(v, why);
                return;
        }
        if (!p->last)
                return;
        v->queue_usec = p->queue_usec;
        v->compute_usec = p->compute_usec;
        histogram_add(&v->model->request_time, now_usec() - v->began);
        write_answer(v);
}

static void on_restarted(Job *j) {
        Vectors *v = j->owner;
        v->n_values = 0;
        v->tokens = 0;
}

static void on_failed(Job *j, unsigned status, const char *code, const char *text) {
        Vectors *v = j->owner;
        v->job = NULL;
        refuse(v, &(JobRefusal){status, code, text, status == 503 ? 1000000 : 0});
}

static const JobEvents events = {.started = on_started, .vectors = on_vectors, .restarted = on_restarted, .failed = on_failed};

/* ---- coming ---- */

static void set_inputs(IpcJob *job, const InputList *l) {
        const void *contents = input_contents(l);
        IpcInts counts = {l->counts, l->n};
        if (l->is_ids) {
                job->input_counts = counts;
                job->prompt_ids = (IpcInts){contents, (uint32_t)l->size};
        } else
                job->inputs = (IpcStrs){counts, {contents, (uint32_t)l->size}};
}

static Vectors *vectors_new(Api *api, ModelEntry *m, const VectorDialect *dialect, VectorOptions options) {
        Vectors *v = calloc(1, sizeof(*v));
        const char *name = json_string_value(json_object_get(api->body, "model"));
        if (!v || !(v->model_name = strdup(name ? name : m->name))) {
                free(v);
                api_refuse(api->r, &api_no_memory);
                return NULL;
        }
        v->d = api->d;
        v->r = api->r;
        v->user = api->r->user;
        v->model = m;
        v->dialect = dialect;
        v->options = options;
        v->began = api->r->started;
        v->r->state = v;
        v->r->gone = on_gone;
        v->r->drained = on_drained;
        return v;
}

void vectors_post(Api *api, Spec *s, ModelEntry *m, const InputList *inputs, const VectorDialect *dialect, VectorOptions options) {
        JobRefusal why;
        Vectors *v = vectors_new(api, m, dialect, options);
        if (!v)
                return;
        v->ranked = s->job.kind == IPC_PROMPT_RANK;
        v->n_inputs = inputs->n;
        v->n_items = options.top_n ? MIN(options.top_n, inputs->n) : inputs->n;
        set_inputs(&s->job, inputs);
        uint64_t keep_alive = s->keep_alive_given ? s->keep_alive : m->config.keep_alive;
        v->spec = job_spec_new(v->d, v->user, m, &s->job, keep_alive, usec_after(v->began, s->timeout), &why);
        if (!v->spec || job_submit(v->d, v->spec, 1, &events, v, &v->job, &why) < 0)
                refuse(v, &why);
}
