/* The scheduler of a model; see sched.h.
 *
 * A running sequence has `length` tokens, counting those that steps in flight will sample, and `enqueued` positions
 * whose rows were enqueued. length - enqueued is 1 while it decodes, more while its prompt is being computed. A row
 * that brings enqueued up to length is sampled, which makes length grow: so a sequence needs nothing from the host to
 * go on, until length reaches its limit. Only one with a constraint waits for each of its tokens, which decides what the
 * next may be.
 *
 * Rows of guesses come after the row of the last token, at the positions they would have, and are sampled, too: where the
 * guesses up to a row are what was sampled before it, its result is what it would have been otherwise. enqueued and length
 * count them only then; what the others wrote into the cache lies behind the end and is written again. */
#include <errno.h>
#include <stdlib.h>

#include "engine/batch.h"
#include "engine/constraint.h"
#include "engine/kv.h"
#include "engine/sampler.h"
#include "engine/sched.h"
#include "util/checked.h"
#include "util/str.h"

enum {
        SHORT_STEP_USEC = 1000, /* see is_short() */
        LONG_STEP_USEC = 50000, /* for those who wait for their next token; see chunk_room() */
        CHUNK_MIN = 32,
        GUESSES_MIN = 2,
};

typedef struct Step {
        uint32_t n, n_rows;
        uint64_t launched_usec;
        Seq **seqs;     /* [places] whose tokens were sampled; NULL where the result is not wanted any more, and of guesses */
        SampleOut *out; /* [places] */
} Step;

typedef struct Sched {
        Runner runner;
        Lane *lane; /* it computes there, as `member` while it is started */
        LaneMember member;
        Device *device;
        Stream *stream;
        Model *model;
        Workspace *workspace;
        SchedSpec spec;
        Buffer pages, tables, bias_ids, bias; /* dev; biases are [slots, SAMPLER_BIAS_MAX] */
        Buffer allowed; /* dev [slots, constraint_words()] */
        KvArena arena;
        Kv kv;
        Batch batch;
        Step steps[LANE_DEPTH]; /* a ring: n_flight from `oldest` on */
        uint32_t oldest, n_flight;
        uint64_t done_usec; /* when the last step was */
        double row_usec;    /* what it took for each row */

        Fair fair;
        List running; /* in order of getting their slot, or of going on */
        List paused;  /* those that have a slot */
        uint32_t n_running; /* slots taken */
        Seq **slots;
        uint32_t *free_slots; /* [slots - n_running] */
        uint64_t round; /* of fair_first_of_user() */
} Sched;

static Sched *sched_of(const Runner *r) {
        return container_of(r, Sched, runner);
}

/* ---- planning a step ---- */

static void leave_slot(Sched *s, Seq *q) {
        for (uint32_t i = 0; i < LANE_DEPTH; i++) {
                if (q->places[i] > 0)
                        s->steps[i].seqs[q->places[i] - 1] = NULL;
                q->places[i] = 0;
        }
        q->n_guesses = 0;
        kv_release(&s->kv, (uint32_t)q->slot);
        s->slots[q->slot] = NULL;
        s->free_slots[s->spec.slots - s->n_running--] = (uint32_t)q->slot;
        q->slot = -1;
        list_remove(&q->node);
}

static void preempt(Sched *s, Seq *q) {
        leave_slot(s, q);
        if (!q->paused)
                fair_put_back(&s->fair, &q->fair);
        s->runner.counts->preemptions++;
}

static void upload_bias(Sched *s, Seq *q) {
        const IpcJob *job = q->job;
        size_t at = (size_t)q->slot * SAMPLER_BIAS_MAX;
        int32_t *ids = (int32_t *)s->bias_ids.data + at;
        float *bias = (float *)s->bias.data + at;
        s->device->ops->upload(s->stream, ids, job->bias_ids.data, job->bias_ids.n * sizeof(*ids));
        s->device->ops->upload(s->stream, bias, job->bias.data, job->bias.n * sizeof(*bias));
        q->params.bias_ids = ids;
        q->params.bias = bias;
}

static void upload_table(Sched *s, uint32_t slot) {
        int32_t *dev = (int32_t *)s->tables.data + (size_t)slot * s->kv.max_pages;
        s->device->ops->upload(s->stream, dev, kv_table(&s->kv, slot), s->kv.slots[slot].used * sizeof(*dev));
}

static void enter_slot(Sched *s, Seq *q) {
        uint32_t slot = s->free_slots[s->spec.slots - ++s->n_running];
        fair_take(&s->fair, &q->fair);
        s->slots[slot] = q;
        list_append(&s->running, &q->node);
        q->slot = (int32_t)slot;
        q->enqueued = kv_begin(&s->kv, slot, q->job->uid, q->ids, q->n_ids);
        q->length = q->n_ids;
        batch_put_tokens(&s->batch, s->stream, slot, 0, q->ids, q->n_ids);
        if (q->params.n_bias > 0)
                upload_bias(s, q);
        if (q->started)
                return;
        q->started = true;
        q->started_usec = now_usec();
        q->n_cached = MIN(q->enqueued, q->n_prompt);
        fair_charge(&q->fair, q->n_prompt - q->n_cached, 0);
        s->runner.counts->prompt_tokens += q->n_prompt;
        s->runner.counts->cached_tokens += q->n_cached;
        s->runner.handlers->started(q);
}

/* Who has the least claim to a slot: a paused one, else whom `item` embeds. */
static Seq *paused_or(const Sched *s, FairItem *item) {
        Seq *paused = list_first(&s->paused, Seq, node);
        return paused || !item ? paused : container_of(item, Seq, fair);
}

/* Whether `q` may have a slot: there must be pages for all it brings, and one for each who runs already, so that a
 * newcomer does not push anybody out soon. */
static bool has_room(const Sched *s, const Seq *q) {
        return s->n_running == 0 ||
               (s->n_running < s->spec.slots && kv_pages(&s->kv, q->n_ids) + s->n_running <= s->kv.n_free);
}

static void admit(Sched *s) {
        while (s->fair.n_waiting > 0) {
                Seq *next = container_of(fair_next(&s->fair), Seq, fair), *ousted;
                if (has_room(s, next))
                        enter_slot(s, next);
                else if ((ousted = paused_or(s, fair_ousted(&s->fair, &next->fair))))
                        preempt(s, ousted);
                else
                        return;
        }
}

/* Tokens that a step can sample. */
static uint32_t max_samples(const SchedSpec *spec) {
        return MAX(spec->slots, spec->lookup_tokens + 1);
}

/* How many guesses each sequence may have in a step, so that rows stay few and there is a place for all that are sampled. One
 * more token would hardly pay for the wait until its last one is known. */
static uint32_t guess_share(const Sched *s) {
        uint32_t each = MIN(max_samples(&s->spec), s->device->few_rows) / MAX(s->n_running, 1u);
        return each > MIN((uint32_t)GUESSES_MIN, s->spec.lookup_tokens) ? each - 1 : 0;
}

/* Whether it waits for a token that is on its way: what the next may be depends on it, or is not found yet; or more than
 * one are to be guessed from there. */
static bool is_held(const Sched *s, const Seq *q) {
        bool guesses = q->n_guesses > 0 || (lookup_guesses(&q->lookup) && guess_share(s) > 0);
        return q->constraint ? q->held || q->length > q->n_ids : guesses && q->length > q->n_ids;
}

/* Whether it has rows to compute; those of its last token are not needed. */
static bool wants_rows(const Sched *s, const Seq *q) {
        return q->length < q->limit && !is_held(s, q);
}

static uint32_t lacking_pages(const Sched *s, const Seq *q) {
        return wants_rows(s, q) ? kv_missing(&s->kv, (uint32_t)q->slot, q->length) : 0;
}

/* Gives those who compute the pages they lack, pushing out whom it takes; that may be the one at hand. */
static void reserve_pages(Sched *s) {
        for (ListNode *n = s->running.next; n != &s->running;) {
                Seq *q = container_of(n, Seq, node), *least = NULL;
                uint32_t missing = lacking_pages(s, q);
                if (missing > s->kv.n_free)
                        least = paused_or(s, fair_least(&s->fair));
                else if (missing > 0) {
                        kv_extend(&s->kv, (uint32_t)q->slot, q->length);
                        upload_table(s, (uint32_t)q->slot);
                }
                if (!least || least == q)
                        n = n->next;
                if (least)
                        preempt(s, least);
        }
}

static void upload_allowed(Sched *s, Seq *q) {
        uint32_t words = constraint_words(model_info(s->model)->n_vocab);
        uint32_t *dev = (uint32_t *)s->allowed.data + (size_t)q->slot * words;
        s->device->ops->upload(s->stream, dev, constraint_allowed(q->constraint), words * sizeof(*dev));
        q->params.allowed = dev;
}

static void put_rows(Sched *s, Step *step, Seq *q, uint32_t n) {
        batch_add(&s->batch, (uint32_t)q->slot, q->enqueued, n);
        q->enqueued += n;
        if (q->enqueued < q->length)
                return;
        if (q->constraint)
                upload_allowed(s, q);
        step->seqs[s->batch.n_samples] = q;
        q->places[step - s->steps] = s->batch.n_samples + 1;
        batch_sample_last(&s->batch, &q->params);
        q->length++;
}

/* Those after its last token, whose row was put. */
static void put_guesses(Sched *s, Seq *q, uint32_t n) {
        batch_put_tokens(&s->batch, s->stream, (uint32_t)q->slot, q->n_ids, q->guesses, n);
        for (uint32_t i = 0; i < n; i++) {
                batch_add(&s->batch, (uint32_t)q->slot, q->enqueued + i, 1);
                batch_sample_last(&s->batch, &q->params);
        }
        q->n_guesses = n;
}

/* Its last token's row, and those of guesses, of which none needs a page more. That it was not held says that, where it has guesses,
 * all its tokens are known. */
static void put_decode(Sched *s, Step *step, Seq *q) {
        uint32_t room = MIN(kv_room(&s->kv, (uint32_t)q->slot, q->length), q->limit - q->length - 1);
        uint32_t n = lookup_guess(&q->lookup, q->ids, MIN(room, guess_share(s)), q->guesses);
        put_rows(s, step, q, 1);
        if (n > 0)
                put_guesses(s, q, n);
}

static bool prefills(const Sched *s, const Seq *q) {
        return wants_rows(s, q) && q->length - q->enqueued > 1;
}

/* How many rows of prompts the step takes. Where others decode, no more than make it a long one, by the speed of the last;
 * but some: many rows cost little more than one, and a prompt must come to its end. */
static uint32_t chunk_room(const Sched *s) {
        uint32_t room = s->batch.max_rows - s->batch.n_rows;
        if (s->batch.n_rows == 0 || room * s->row_usec <= LONG_STEP_USEC)
                return room;
        return MIN(room, MAX((uint32_t)(LONG_STEP_USEC / s->row_usec), (uint32_t)CHUNK_MIN));
}

/* Shares `room` rows out among the prompts that are being computed: to one of each user an equal part, so that nobody
 * waits for another's long prompt, and what is left in the order of getting their slots. */
static void plan_chunks(Sched *s, uint32_t room) {
        uint32_t n_users = 0, share;
        s->round++;
        list_foreach(q, &s->running, Seq, node)
                n_users += prefills(s, q) && fair_first_of_user(&q->fair, s->round);
        share = room / MAX(n_users, 1u);
        s->round++;
        list_foreach(q, &s->running, Seq, node) {
                bool first = prefills(s, q) && fair_first_of_user(&q->fair, s->round);
                q->chunk = first ? MIN(q->length - q->enqueued, share) : 0;
                room -= q->chunk;
        }
        list_foreach(q, &s->running, Seq, node) {
                uint32_t more = prefills(s, q) ? MIN(q->length - q->enqueued - q->chunk, room) : 0;
                q->chunk += more;
                room -= more;
        }
}

static void fill_batch(Sched *s, Step *step) {
        batch_clear(&s->batch);
        list_foreach(q, &s->running, Seq, node)
                if (wants_rows(s, q) && !prefills(s, q))
                        put_decode(s, step, q);
        plan_chunks(s, chunk_room(s));
        list_foreach(q, &s->running, Seq, node)
                if (q->chunk > 0)
                        put_rows(s, step, q, q->chunk);
        step->n = s->batch.n_samples;
}

/* ---- running it ---- */

/* A guess from the last step. Then who comes now may as well wait for two: to be told that such a step is nearly done
 * takes about as long as is left of it. */
static bool is_short(const Sched *s) {
        return s->batch.n_rows * s->row_usec < SHORT_STEP_USEC;
}

static void launch(Sched *s, Step *step, uint64_t *ret_nearly) {
        const DeviceOps *ops = s->device->ops;
        const int32_t *index;
        float *logits;
        Rows rows;
        batch_upload(&s->batch, s->stream, &rows, &index);
        model_forward(s->model, s->workspace, s->stream, &rows, &s->arena, index, step->n, &logits,
                      is_short(s) ? NULL : ret_nearly);
        if (step->n == 0)
                return;
        SampleOut *out = s->batch.out.data;
        ops->sample(s->stream, out, logits, step->n, model_info(s->model)->n_vocab, index, &rows, s->batch.params);
        ops->download(s->stream, step->out, out, step->n * sizeof(*out));
}

static bool on_turn(LaneMember *m, uint64_t *ret_nearly) {
        Sched *s = container_of(m, Sched, member);
        Step *step = &s->steps[(s->oldest + s->n_flight) % LANE_DEPTH];
        admit(s);
        reserve_pages(s);
        fill_batch(s, step);
        if (s->batch.n_rows == 0)
                return false;
        launch(s, step, ret_nearly);
        step->n_rows = s->batch.n_rows;
        step->launched_usec = now_usec();
        s->runner.counts->rows += step->n_rows;
        s->n_flight++;
        return true;
}

/* How many of the guesses, from the first on, were right: their rows count. */
static uint32_t judge_guesses(Sched *s, Seq *q, const SampleOut *out) {
        uint32_t n = q->n_guesses, right = 0;
        while (right < n && out[right].id == q->guesses[right])
                right++;
        if (n > 0)
                lookup_outcome(&q->lookup, n, right);
        s->runner.counts->guessed += n;
        s->runner.counts->guessed_right += right;
        q->n_guesses = 0;
        q->enqueued += right;
        q->length += right;
        return right;
}

/* The token sampled at its place, and those at the places after it that follow on guesses that were right. */
static void take_tokens(Sched *s, Seq *q, const SampleOut *out) {
        uint32_t before = q->n_ids, n = 1 + judge_guesses(s, q, out);
        for (uint32_t i = 0; i < n && q->finish == IPC_FINISH_NONE; i++)
                seq_accept(q, &out[i]);
        if (q->first_usec == 0)
                q->first_usec = now_usec();
        fair_charge(&q->fair, 0, n);
        s->runner.counts->generation_tokens += q->n_ids - before;
        kv_remember(&s->kv, (uint32_t)q->slot, q->ids, MIN(q->enqueued, q->n_ids));
        lookup_learn(&q->lookup, q->ids, q->n_ids);
        s->runner.handlers->progress(q);
}

static void time_step(Sched *s, const Step *step) {
        uint64_t from = MAX(step->launched_usec, s->done_usec);
        s->done_usec = now_usec();
        s->row_usec = (double)(s->done_usec - from) / step->n_rows;
}

static void on_done(LaneMember *m) {
        Sched *s = container_of(m, Sched, member);
        Step *step = &s->steps[s->oldest];
        time_step(s, step);
        for (uint32_t i = 0; i < step->n; i++) {
                Seq *q = step->seqs[i];
                if (!q)
                        continue;
                step->seqs[i] = NULL;
                q->places[step - s->steps] = 0;
                take_tokens(s, q, &step->out[i]);
        }
        step->n = 0;
        s->oldest = (s->oldest + 1) % LANE_DEPTH;
        s->n_flight--;
        s->runner.counts->steps++;
}

static void on_failed(LaneMember *m, int error) {
        const Runner *r = &container_of(m, Sched, member)->runner;
        r->handlers->failed(r->owner, error);
}

/* ---- coming and going ---- */

static int sched_add(Runner *r, Seq *q) {
        Sched *s = sched_of(r);
        int error = fair_put(&s->fair, &q->fair, q->job->uid, (double)q->job->weight, seq_class(q));
        if (error >= 0)
                lane_want(&s->member);
        return error;
}

static void sched_more(Runner *r, Seq *q, uint32_t tokens) {
        lane_want(&sched_of(r)->member);
}

static void sched_remove(Runner *r, Seq *q) {
        Sched *s = sched_of(r);
        if (q->slot >= 0)
                leave_slot(s, q);
        fair_remove(&s->fair, &q->fair);
        lane_want(&s->member); /* who waited for its place may go on */
}

static void sched_pause(Runner *r, Seq *q, bool paused) {
        Sched *s = sched_of(r);
        if (q->paused == paused)
                return;
        q->paused = paused;
        if (paused)
                fair_pause(&s->fair, &q->fair);
        else
                fair_resume(&s->fair, &q->fair);
        if (q->slot >= 0) {
                list_remove(&q->node);
                list_append(paused ? &s->paused : &s->running, &q->node);
        } else if (!paused)
                fair_put_back(&s->fair, &q->fair);
        lane_want(&s->member);
}

static RunLoad sched_load(const Runner *r) {
        const Sched *s = sched_of(r);
        return (RunLoad){
                .running = s->n_running,
                .waiting = s->fair.n_waiting,
                .pages_used = s->kv.n_pages - s->kv.n_free,
                .pages = s->kv.n_pages,
        };
}

static int sched_start(Runner *r, EventLoop *l) {
        static const LaneOps ops = {on_turn, on_done, on_failed};
        Sched *s = sched_of(r);
        lane_join(s->lane, &s->member, &ops);
        return 0;
}

static void sched_stop(Runner *r) {
        lane_leave(&sched_of(r)->member);
}

/* ---- memory ---- */

static uint32_t max_pages(const SchedSpec *spec) {
        return spec->context / SCHED_PAGE_SIZE + (spec->context % SCHED_PAGE_SIZE > 0);
}

static uint32_t max_rows(const SchedSpec *spec) {
        return MAX(spec->batch_tokens, max_samples(spec));
}

size_t sched_size(const Model *m, const SchedSpec *spec) {
        size_t workspace = workspace_size(m, max_rows(spec), max_samples(spec));
        size_t batch = batch_size(spec->slots, spec->context, max_rows(spec), max_samples(spec));
        size_t tables = (size_t)spec->slots * max_pages(spec) * sizeof(int32_t);
        size_t biases = (size_t)spec->slots * SAMPLER_BIAS_MAX * (sizeof(int32_t) + sizeof(float)), total;
        size_t allowed = (size_t)spec->slots * constraint_words(model_info(m)->n_vocab) * sizeof(uint32_t);
        if (!checked_add(workspace, batch, &total) || !checked_add(total, tables + biases + allowed, &total))
                return SIZE_MAX;
        return total;
}

static int new_buffer(Sched *s, const char *what, size_t n, size_t size, Buffer *ret, Error *e) {
        size_t bytes;
        if (checked_mul(n, size, &bytes) && s->device->ops->buffer_new(s->device, bytes, ret) >= 0)
                return 0;
        return error_set(e, -ENOMEM, "not enough memory on %s for %s (%zu times %zu bytes)", s->device->name, what, n,
                         size);
}

static int new_arena(Sched *s, Error *e) {
        const SchedSpec *p = &s->spec;
        Dtype type = model_kv_type(s->model);
        size_t n_biases = (size_t)p->slots * SAMPLER_BIAS_MAX;
        int r = new_buffer(s, "the KV cache", p->n_pages, model_kv_page_size(s->model, type, SCHED_PAGE_SIZE),
                           &s->pages, e);
        if (r >= 0)
                r = new_buffer(s, "block tables", (size_t)p->slots * max_pages(p), sizeof(int32_t), &s->tables, e);
        if (r >= 0)
                r = new_buffer(s, "biases", n_biases, sizeof(int32_t), &s->bias_ids, e);
        if (r >= 0)
                r = new_buffer(s, "biases", n_biases, sizeof(float), &s->bias, e);
        if (r >= 0)
                r = new_buffer(s, "the tokens that are allowed", p->slots, constraint_words(model_info(s->model)->n_vocab) * sizeof(uint32_t),
                               &s->allowed, e);
        s->arena = (KvArena){
                .data = s->pages.data, .type = type, .page_size = SCHED_PAGE_SIZE, .n_pages = p->n_pages,
                .block_tables = s->tables.data, .max_pages = max_pages(p),
        };
        return r;
}

static int new_host_state(Sched *s, Error *e) {
        uint32_t slots = s->spec.slots;
        s->slots = calloc(slots, sizeof(*s->slots));
        s->free_slots = calloc(slots, sizeof(*s->free_slots));
        for (uint32_t i = 0; s->free_slots && i < slots; i++)
                s->free_slots[i] = i;
        bool ok = s->slots && s->free_slots &&
                  kv_init(&s->kv, slots, max_pages(&s->spec), s->spec.n_pages, SCHED_PAGE_SIZE) >= 0;
        for (uint32_t i = 0; i < LANE_DEPTH; i++) {
                s->steps[i].seqs = calloc(max_samples(&s->spec), sizeof(Seq *));
                s->steps[i].out = calloc(max_samples(&s->spec), sizeof(SampleOut));
                ok = ok && s->steps[i].seqs && s->steps[i].out;
        }
        return ok ? 0 : error_set(e, -ENOMEM, "not enough memory to schedule %u sequences", slots);
}

static void free_buffer(Device *d, Buffer *b) {
        if (b->data)
                d->ops->buffer_free(d, b);
}

static void sched_free(Runner *r) {
        Sched *s = sched_of(r);
        lane_wait(&s->member); /* first: the stream may still write to the rest */
        if (s->workspace)
                workspace_free(s->workspace);
        batch_deinit(&s->batch);
        free_buffer(s->device, &s->pages);
        free_buffer(s->device, &s->tables);
        free_buffer(s->device, &s->bias_ids);
        free_buffer(s->device, &s->bias);
        free_buffer(s->device, &s->allowed);
        for (uint32_t i = 0; i < LANE_DEPTH; i++) {
                free(s->steps[i].seqs);
                free(s->steps[i].out);
        }
        free(s->slots);
        free(s->free_slots);
        kv_deinit(&s->kv);
        fair_deinit(&s->fair);
        free(s);
}

int sched_new(Lane *lane, Model *m, const SchedSpec *spec, Runner **ret, Error *e) {
        static const RunnerOps ops = {
                .start = sched_start, .stop = sched_stop, .add = sched_add, .more = sched_more, .remove = sched_remove,
                .pause = sched_pause, .load = sched_load, .free = sched_free,
        };
        Sched *s = calloc(1, sizeof(*s));
        if (!s)
                return error_set(e, -ENOMEM, "not enough memory for a scheduler");
        s->runner.ops = &ops;
        s->lane = lane;
        s->device = lane->device;
        s->stream = lane->stream;
        s->model = m;
        s->spec = *spec;
        list_init(&s->running);
        list_init(&s->paused);
        fair_init(&s->fair);
        int r = new_host_state(s, e);
        if (r >= 0)
                r = new_arena(s, e);
        if (r >= 0)
                r = batch_init(&s->batch, s->device, spec->slots, spec->context, max_rows(spec), max_samples(spec), e);
        if (r >= 0)
                r = workspace_new(m, s->device, max_rows(spec), max_samples(spec), &s->workspace, e);
        if (r < 0)
                sched_free(&s->runner);
        else
                *ret = &s->runner;
        return r;
}
