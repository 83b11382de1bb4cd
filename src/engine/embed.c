/* Batches of an encoder; see embed.h.
 *
 * A job's item in the fair queue waits while it has inputs that are ready and not taken, and runs otherwise: when all
 * of them are in batches, or when the next slice is still being prepared. `pending` counts the tokens of what waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/embed.h"
#include "engine/inputs.h"
#include "util/checked.h"
#include "util/str.h"

enum {
        TEXTS_MAX = 512,
        SHORT_BATCH_USEC = 1000, /* to be told that such a one is nearly done would take as long as it does */
        LONG_BATCH_USEC = 20000, BATCH_MIN = 256, /* see batch_room() */
};

typedef struct Part { /* one input in a batch */
        Seq *seq; /* NULL where its result is not wanted any more */
        uint32_t n_tokens, start; /* start: of its tokens as they were picked */
        uint32_t row;             /* of the batch, where the longest come first */
} Part;

typedef struct Batch { /* in the order of picking, in which results are handed on */
        uint32_t n, n_tokens;
        uint64_t launched_usec;
        Part *parts;   /* [max_texts] */
        float *values; /* [max_texts, n_out] */
} Batch;

typedef struct Embedder {
        Runner runner;
        Lane *lane; /* it computes there, as `member` while it is started */
        LaneMember member;
        Model *model;
        const EncoderInfo *info;
        Workspace *workspace;
        EmbedSpec spec;
        uint32_t max_texts;
        Batch batches[LANE_DEPTH]; /* a ring: n_flight from `oldest` on */
        uint32_t oldest, n_flight;
        /* The batch at hand: as picked, and as the device gets it. */
        int32_t *ids, *types, *sorted_ids, *sorted_types; /* [max_tokens_of()] */
        uint32_t *starts;                                 /* [max_texts + 1] */
        Part **by_length;                                 /* [max_texts] */

        Fair fair;
        uint64_t pending, since; /* since: now_usec(), the oldest of what is pending; 0: nothing is */
        uint32_t n_running;
        EventSource timer;
        uint64_t done_usec; /* when the last batch was */
        double token_usec;  /* what it took for each token; 0: there was none */
} Embedder;

static Embedder *embedder_of(const Runner *r) {
        return container_of(r, Embedder, runner);
}

static uint32_t max_tokens_of(const EmbedSpec *spec) {
        return MAX(spec->batch_tokens, spec->max_tokens);
}

static uint32_t max_texts_of(const EmbedSpec *spec) {
        return MIN(spec->batch_tokens, (uint32_t)TEXTS_MAX);
}

/* ---- what waits ---- */

static void add_pending(Embedder *s, uint64_t tokens) {
        if (s->pending == 0 && tokens > 0)
                s->since = now_usec();
        s->pending += tokens;
}

static void sub_pending(Embedder *s, uint64_t tokens) {
        s->pending -= tokens;
        if (s->pending == 0)
                s->since = 0;
}

static bool waits(const Seq *q) {
        return q->fair.user && q->fair.state == FAIR_WAITING;
}

/* ---- a batch ---- */

static void pick(Embedder *s, Batch *b, Seq *q, uint32_t at) {
        Inputs *in = q->inputs;
        uint32_t n = inputs_next(in);
        if (!q->started) {
                q->started = true;
                q->started_usec = now_usec();
                s->n_running++;
        }
        inputs_take(in, s->ids + at, s->info->n_types > 1 ? s->types + at : NULL);
        b->parts[b->n++] = (Part){.seq = q, .n_tokens = n, .start = at};
        s->pending -= n;
        s->runner.counts->prompt_tokens += n;
        fair_charge(&q->fair, n, 0);
        if (inputs_next(in) > 0)
                fair_pass(&q->fair);
        else
                fair_take(&s->fair, &q->fair);
}

/* No more than makes it a long batch, by the speed of the last: whoever comes meanwhile waits for it. But some: many tokens
 * cost less, each, than few. */
static uint32_t batch_room(const Embedder *s) {
        double most = s->token_usec > 0 ? LONG_BATCH_USEC / s->token_usec : 0;
        return most < s->spec.batch_tokens ? MIN(s->spec.batch_tokens, MAX((uint32_t)most, (uint32_t)BATCH_MIN))
                                           : s->spec.batch_tokens;
}

static void pick_inputs(Embedder *s, Batch *b) {
        uint32_t at = 0, room = batch_room(s);
        b->n = 0;
        for (FairItem *item; b->n < s->max_texts && (item = fair_next(&s->fair));) {
                Seq *q = container_of(item, Seq, fair);
                uint32_t n = inputs_next(q->inputs);
                if (at > 0 && n > room - MIN(at, room))
                        break;
                pick(s, b, q, at);
                at += n;
        }
        if (s->pending == 0) /* else some have waited since then, or less */
                s->since = 0;
        b->n_tokens = at;
}

static int longer_first(const void *a, const void *b) {
        const Part *x = *(Part *const *)a, *y = *(Part *const *)b;
        if (x->n_tokens != y->n_tokens)
                return x->n_tokens > y->n_tokens ? -1 : 1;
        return x->start < y->start ? -1 : 1;
}

static void sort_by_length(Embedder *s, Batch *b) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < b->n; i++)
                s->by_length[i] = &b->parts[i];
        qsort(s->by_length, b->n, sizeof(*s->by_length), longer_first);
        for (uint32_t i = 0; i < b->n; i++) {
                Part *p = s->by_length[i];
                p->row = i;
                s->starts[i] = at;
                memcpy(s->sorted_ids + at, s->ids + p->start, p->n_tokens * sizeof(*s->ids));
                memcpy(s->sorted_types + at, s->types + p->start, p->n_tokens * sizeof(*s->types));
                at += p->n_tokens;
        }
        s->starts[b->n] = at;
}

static void launch(Embedder *s, Batch *b, uint64_t *ret_nearly) {
        float *values;
        bool is_short = s->token_usec > 0 && b->n_tokens * s->token_usec < SHORT_BATCH_USEC;
        EncoderBatch batch = {
                .n_tokens = b->n_tokens, .n_texts = b->n, .tokens = s->sorted_ids,
                .types = s->info->n_types > 1 ? s->sorted_types : NULL, .starts = s->starts,
        };
        model_encode(s->model, s->workspace, s->lane->stream, &batch, &values, is_short ? NULL : ret_nearly);
        s->lane->device->ops->download(s->lane->stream, b->values, values, (size_t)b->n * s->info->n_out * sizeof(float));
}

/* Who has been taken for the first time is told so when the batch is on its way. */
static void tell_started(Embedder *s, const Batch *b) {
        for (uint32_t i = 0; i < b->n; i++) {
                Seq *q = b->parts[i].seq;
                if (!q || q->first_usec > 0)
                        continue;
                q->first_usec = now_usec();
                s->runner.handlers->started(q);
        }
}

/* More may come, and the device has something to do meanwhile. */
static bool had_better_wait(Embedder *s) {
        if (s->n_flight == 0 || s->pending >= batch_room(s) || s->fair.n_waiting >= s->max_texts)
                return false;
        uint64_t now = now_usec(), until = usec_after(s->since, s->spec.batch_wait);
        if (now >= until)
                return false;
        event_timer_set(&s->timer, until - now);
        return true;
}

static bool on_turn(LaneMember *m, uint64_t *ret_nearly) {
        Embedder *s = container_of(m, Embedder, member);
        if (s->fair.n_waiting == 0 || had_better_wait(s))
                return false;
        Batch *b = &s->batches[(s->oldest + s->n_flight) % LANE_DEPTH];
        pick_inputs(s, b);
        sort_by_length(s, b);
        launch(s, b, ret_nearly);
        b->launched_usec = now_usec();
        s->n_flight++;
        s->runner.counts->rows += b->n_tokens;
        tell_started(s, b);
        return true;
}

static void on_timer(EventSource *t, uint32_t revents) {
        lane_want(&container_of(t, Embedder, timer)->member);
}

static void take_results(Embedder *s, const Batch *b) {
        for (uint32_t i = 0; i < b->n; i++) {
                const Part *p = &b->parts[i];
                const float *result = b->values + (size_t)p->row * s->info->n_out;
                if (!p->seq || p->seq->inputs->error)
                        continue;
                p->seq->inputs->error = inputs_done(p->seq->inputs, result, s->info->n_out, s->info->normalised, p->n_tokens);
        }
}

/* Each once. It may end, and is then in no batch any more. */
static void tell_progress(Embedder *s, Batch *b) {
        for (uint32_t i = 0; i < b->n; i++) {
                Seq *q = b->parts[i].seq;
                for (uint32_t k = i; k < b->n && q; k++)
                        if (b->parts[k].seq == q)
                                b->parts[k].seq = NULL;
                if (q)
                        s->runner.handlers->progress(q);
        }
}

static void time_batch(Embedder *s, const Batch *b) {
        uint64_t from = MAX(b->launched_usec, s->done_usec);
        s->done_usec = now_usec();
        s->token_usec = (double)(s->done_usec - from) / b->n_tokens;
}

static void on_done(LaneMember *m) {
        Embedder *s = container_of(m, Embedder, member);
        Batch *b = &s->batches[s->oldest];
        time_batch(s, b);
        take_results(s, b);
        tell_progress(s, b);
        b->n = 0;
        s->oldest = (s->oldest + 1) % LANE_DEPTH;
        s->n_flight--;
        s->runner.counts->steps++;
}

static void on_failed(LaneMember *m, int error) {
        const Runner *r = &container_of(m, Embedder, member)->runner;
        r->handlers->failed(r->owner, error);
}

/* ---- coming and going ---- */

static int embed_add(Runner *r, Seq *q) {
        Embedder *s = embedder_of(r);
        q->inputs->width = q->job->dimensions ? MIN(q->job->dimensions, s->info->n_out) : s->info->n_out;
        int error = fair_put(&s->fair, &q->fair, q->job->uid, (double)q->job->weight, seq_class(q));
        if (error < 0)
                return error;
        add_pending(s, q->inputs->tokens_ready);
        lane_want(&s->member);
        return 0;
}

static void embed_more(Runner *r, Seq *q, uint32_t tokens) {
        Embedder *s = embedder_of(r);
        add_pending(s, tokens);
        if (!waits(q))
                fair_put_back(&s->fair, &q->fair);
        lane_want(&s->member);
}

static void embed_remove(Runner *r, Seq *q) {
        Embedder *s = embedder_of(r);
        if (!q->fair.user)
                return;
        if (waits(q))
                sub_pending(s, q->inputs->tokens_ready);
        s->n_running -= q->started;
        for (uint32_t i = 0; i < LANE_DEPTH; i++)
                for (uint32_t k = 0; k < s->batches[i].n; k++)
                        if (s->batches[i].parts[k].seq == q)
                                s->batches[i].parts[k].seq = NULL;
        fair_remove(&s->fair, &q->fair);
}

static RunLoad embed_load(const Runner *r) {
        const Embedder *s = embedder_of(r);
        return (RunLoad){.running = s->n_running, .waiting = s->fair.n_waiting};
}

static int embed_start(Runner *r, EventLoop *l) {
        static const LaneOps ops = {on_turn, on_done, on_failed};
        Embedder *s = embedder_of(r);
        lane_join(s->lane, &s->member, &ops);
        return event_add_timer(l, &s->timer, EVENT_PRIORITY_NORMAL, "batch wait", on_timer);
}

static void embed_stop(Runner *r) {
        event_remove(&embedder_of(r)->timer);
        lane_leave(&embedder_of(r)->member);
}

/* ---- memory ---- */

size_t embed_size(const Model *m, const EmbedSpec *spec) {
        return workspace_size(m, max_tokens_of(spec), max_texts_of(spec));
}

static void embed_free(Runner *r) {
        Embedder *s = embedder_of(r);
        lane_wait(&s->member); /* first: the stream may still write to the rest */
        if (s->workspace)
                workspace_free(s->workspace);
        for (uint32_t i = 0; i < LANE_DEPTH; i++) {
                free(s->batches[i].parts);
                free(s->batches[i].values);
        }
        free(s->ids);
        free(s->types);
        free(s->sorted_ids);
        free(s->sorted_types);
        free(s->starts);
        free(s->by_length);
        fair_deinit(&s->fair);
        free(s);
}

static bool make_room(Embedder *s) {
        size_t tokens = max_tokens_of(&s->spec), texts = s->max_texts, values;
        bool ok = checked_mul(texts * sizeof(float), s->info->n_out, &values);
        for (uint32_t i = 0; i < LANE_DEPTH; i++) {
                s->batches[i].parts = calloc(texts, sizeof(Part));
                s->batches[i].values = ok ? malloc(values) : NULL;
                ok = ok && s->batches[i].parts && s->batches[i].values;
        }
        s->ids = calloc(tokens, sizeof(*s->ids));
        s->types = calloc(tokens, sizeof(*s->types));
        s->sorted_ids = calloc(tokens, sizeof(*s->ids));
        s->sorted_types = calloc(tokens, sizeof(*s->types));
        s->starts = calloc(texts + 1, sizeof(*s->starts));
        s->by_length = calloc(texts, sizeof(*s->by_length));
        return ok && s->ids && s->types && s->sorted_ids && s->sorted_types && s->starts && s->by_length;
}

int embed_new(Lane *lane, Model *m, const EmbedSpec *spec, Runner **ret, Error *e) {
        static const RunnerOps ops = {
                .start = embed_start, .stop = embed_stop, .add = embed_add, .more = embed_more, .remove = embed_remove,
                .load = embed_load, .free = embed_free,
        };
        Embedder *s = calloc(1, sizeof(*s));
        if (!s)
                return error_set(e, -ENOMEM, "not enough memory for an encoder's batches");
        s->runner.ops = &ops;
        s->lane = lane;
        s->model = m;
        s->info = model_encoder(m);
        s->spec = *spec;
        s->max_texts = max_texts_of(spec);
        s->timer = EVENT_SOURCE_NULL;
        fair_init(&s->fair);
        int r = make_room(s) ? 0 : error_set(e, -ENOMEM, "not enough memory for an encoder's batches");
        if (r >= 0)
                r = workspace_new(m, lane->device, max_tokens_of(spec), s->max_texts, &s->workspace, e);
        if (r < 0)
                embed_free(&s->runner);
        else
                *ret = &s->runner;
        return r;
}
