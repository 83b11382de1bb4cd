/* The scheduler in a simulated world: no loop, no model, no device but those below, so that hundreds of thousands of
 * steps with random arrivals, cancels, pauses and crashes take seconds, and everything can be looked at after each.
 *
 * The device keeps what it is told in a queue, runs it mark by mark, and takes the time that the dice say. The "model" writes into the page of
 * each position a number made from token and position, and predicts the next token from all numbers of the positions
 * before, which it reads through the block table. So a token is right only if every page had what belongs there when
 * the step ran; the reference computes the same from the tokens alone.
 *
 * ZEROLLAMA_TEST_SEED draws another run. */

#include "unit.h"
#include "util/str.h"
#define now_usec model_usec
static uint64_t model_usec(void);
#include "engine/lane.c"
#include "engine/sched.c"
#include "engine/loadtest.h"

enum { USERS = 5, JOBS = 24, CONTEXT_MAX = 160, STEPS = 500000, EPISODE = 3000, PATIENCE = 4000 };

/* ---- dice and clock ---- */

static uint64_t dice = 1, now = 1;

static uint64_t model_usec(void) {
        return now;
}

static uint64_t mix(uint64_t h, uint64_t v) {
        h = (h ^ v) * 0x9e3779b97f4a7c15;
        return h ^ h >> 29;
}

static uint32_t below(uint32_t n) {
        dice = mix(dice, 0x632be59bd9b4e019);
        return (uint32_t)(dice >> 32) % n;
}

/* ---- the loop: two sources, called by hand ---- */

static EventSource *turns, *reached;
static bool turns_are_set;

int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h) {
        *s = (EventSource){.handler = h, .impl = s};
        turns = s;
        return 0;
}

int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name,
                 EventHandler h) {
        *s = (EventSource){.handler = h, .impl = s};
        reached = s;
        return 0;
}

void event_defer_set(EventSource *s) {
        turns_are_set = true;
}

void event_remove(EventSource *s) {
        s->impl = NULL;
}

/* What other objects of the library ask for, and nobody calls here. */
int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h) {
        return -ENOSYS;
}

int event_timer_set(EventSource *s, uint64_t delay_usec) {
        return -ENOSYS;
}

int event_io_set(EventSource *s, uint32_t events) {
        return -ENOSYS;
}

/* ---- the model ---- */

struct Workspace {
        uint64_t *states; /* [max_logits] what the next token follows from, in the place of logits */
};

static const Tokenizer *tokenizer;
static ModelInfo info = {.n_vocab = 260};

static uint64_t cell(int32_t token, uint32_t position) {
        return mix(mix(1, (uint64_t)token), position);
}

/* Of how many letters texts are: of few they repeat themselves, and can be guessed. */
static uint32_t letters = 26;

static int32_t next_token(uint64_t state) {
        uint32_t r = (uint32_t)(mix(state, 7) >> 40) % 60;
        return r == 0 ? tokenizer_eos(tokenizer) : (int32_t)('a' + r % letters);
}

const ModelInfo *model_info(const Model *m) {
        return &info;
}

Dtype model_kv_type(const Model *m) {
        return 0;
}

size_t model_kv_page_size(const Model *m, Dtype type, uint32_t page_size) {
        return page_size * sizeof(uint64_t);
}

size_t workspace_size(const Model *m, uint32_t max_rows, uint32_t max_logits) {
        return 0;
}

int workspace_new(const Model *m, Device *d, uint32_t max_rows, uint32_t max_logits, Workspace **ret, Error *e) {
        *ret = calloc(1, sizeof(Workspace));
        (*ret)->states = calloc(max_logits, sizeof(uint64_t));
        return 0;
}

void workspace_free(Workspace *w) {
        free(w->states);
        free(w);
}

static uint64_t *cell_at(const KvArena *kv, int32_t slot, uint32_t position) {
        int32_t page = kv->block_tables[(size_t)slot * kv->max_pages + position / kv->page_size];
        assert_in_range(page, 0, kv->n_pages - 1);
        return (uint64_t *)kv->data + (size_t)page * kv->page_size + position % kv->page_size;
}

static void run_forward(uint64_t *states, const Rows *rows, const KvArena *kv, const int32_t *index, uint32_t n) {
        for (uint32_t i = 0; i < rows->n; i++) {
                uint32_t at = (uint32_t)rows->position[i];
                assert_true(at < rows->context);
                *cell_at(kv, rows->slot[i], at) = cell(rows->tokens[(uint32_t)rows->slot[i] * rows->context + at], at);
        }
        for (uint32_t k = 0; k < n; k++) {
                states[k] = 1;
                for (uint32_t p = 0; p <= (uint32_t)rows->position[index[k]]; p++)
                        states[k] = mix(states[k], *cell_at(kv, rows->slot[index[k]], p));
        }
}

static void run_sample(SampleOut *out, const uint64_t *states, uint32_t n, const int32_t *index, const Rows *rows) {
        for (uint32_t k = 0; k < n; k++) {
                uint32_t at = (uint32_t)rows->position[index[k]] + 1;
                out[k].id = next_token(states[k]);
                if (at < rows->context)
                        rows->tokens[(uint32_t)rows->slot[index[k]] * rows->context + at] = out[k].id;
        }
}

/* ---- the device ---- */

typedef struct Op {
        enum { OP_COPY, OP_FORWARD, OP_SAMPLE, OP_MARK } type;
        void *to;
        const void *from;
        void *own; /* what an upload copied */
        size_t n;
        Rows rows;
        KvArena kv;
        const int32_t *index;
} Op;

struct Stream {
        Op ops[1024]; /* a ring */
        uint32_t first, n;
        uint64_t marked, reached;
};

static Stream *stream; /* the lane's */

static Op *put_op(Stream *s, Op op) {
        assert_true(s->n < ARRAY_SIZE(s->ops));
        Op *o = &s->ops[(s->first + s->n++) % ARRAY_SIZE(s->ops)];
        *o = op;
        return o;
}

static int mark_error;

static int fake_mark(Stream *s, uint64_t *ret) {
        if (mark_error < 0)
                return mark_error;
        put_op(s, (Op){.type = OP_MARK});
        *ret = ++s->marked;
        return 0;
}

static uint32_t most_rows; /* of a step */

/* Nearly done is when nothing is: who decides then knows least. */
void model_forward(Model *m, Workspace *w, Stream *s, const Rows *rows, const KvArena *kv, const int32_t *index,
                   uint32_t n, float **ret_logits, uint64_t *ret_nearly) {
        most_rows = MAX(most_rows, rows->n);
        if (ret_nearly && fake_mark(s, ret_nearly) < 0)
                *ret_nearly = 0;
        put_op(s, (Op){.type = OP_FORWARD, .to = w->states, .n = n, .rows = *rows, .kv = *kv, .index = index});
        *ret_logits = (float *)(void *)w->states;
}

static void fake_sample(Stream *s, SampleOut *out, float *logits, uint32_t n, uint32_t n_vocab, const int32_t *index,
                        const Rows *rows, const SampleParams *params) {
        put_op(s, (Op){.type = OP_SAMPLE, .to = out, .from = logits, .n = n, .rows = *rows, .index = index});
}

static void fake_upload(Stream *s, void *dev, const void *host, size_t n) {
        void *own = malloc(n + 1);
        memcpy(own, host, n);
        put_op(s, (Op){.type = OP_COPY, .to = dev, .from = own, .own = own, .n = n});
}

static void fake_download(Stream *s, void *host, const void *dev, size_t n) {
        put_op(s, (Op){.type = OP_COPY, .to = host, .from = dev, .n = n});
}

static int fake_poll(Stream *s, uint64_t *ret) {
        *ret = s->reached;
        return 0;
}

static int fake_eventfd(Stream *s) {
        return -1;
}

static int fake_stream_new(Device *d, StreamUse use, Stream **ret, Error *e) {
        *ret = stream = calloc(1, sizeof(Stream));
        return 0;
}

static void fake_stream_free(Stream *s) {
        for (; s->n > 0; s->n--, s->first++)
                free(s->ops[s->first % ARRAY_SIZE(s->ops)].own);
        free(s);
        stream = NULL;
}

static int fake_buffer_new(Device *d, size_t size, Buffer *ret) {
        *ret = (Buffer){.data = calloc(1, size), .size = size};
        return ret->data ? 0 : -ENOMEM;
}

static void fake_buffer_free(Device *d, Buffer *b) {
        free(b->data);
}

static void run_op(Op *o) {
        if (o->type == OP_COPY)
                memcpy(o->to, o->from, o->n);
        else if (o->type == OP_FORWARD)
                run_forward(o->to, &o->rows, &o->kv, o->index, (uint32_t)o->n);
        else if (o->type == OP_SAMPLE)
                run_sample(o->to, o->from, (uint32_t)o->n, o->index, &o->rows);
        free(o->own);
        o->own = NULL;
}

/* Runs what is queued up to the next mark. */
static void run_to_mark(Stream *s) {
        for (bool marked = false; s->n > 0 && !marked; s->n--, s->first++) {
                Op *o = &s->ops[s->first % ARRAY_SIZE(s->ops)];
                marked = o->type == OP_MARK;
                run_op(o);
        }
        s->reached++;
}

static int fake_wait(Stream *s, uint64_t ticket) {
        assert_true(ticket <= s->marked);
        while (s->reached < ticket)
                run_to_mark(s);
        return 0;
}

static const DeviceOps device_ops = {
        .buffer_new = fake_buffer_new, .buffer_free = fake_buffer_free, .stream_new = fake_stream_new,
        .stream_free = fake_stream_free, .eventfd = fake_eventfd, .mark = fake_mark, .poll = fake_poll,
        .wait = fake_wait, .upload = fake_upload, .download = fake_download, .sample = fake_sample,
};
static Device device = {.ops = &device_ops, .name = "simulated", .few_rows = 16};

static Lane lane;

static int start_lane(void **state) {
        Error e = ERROR_NULL;
        turns_are_set = false;
        return lane_init(&lane, &device, NULL, &e);
}

static int end_lane(void **state) {
        lane_deinit(&lane);
        return 0;
}

/* 0: steps are of all kinds, so that the scheduler takes some for short, and some for long. */
static uint64_t pace;

static void run_device(void) {
        static const uint64_t paces[] = {SHORT_STEP_USEC / 20, 3 * SHORT_STEP_USEC, LONG_STEP_USEC};
        now += pace ? pace : paces[below(ARRAY_SIZE(paces))];
        if (stream->reached < stream->marked)
                run_to_mark(stream);
        reached->handler(reached, 0);
}

/* ---- jobs ---- */

typedef struct World World;

typedef struct SimJob {
        World *world;
        bool live, paused;
        IpcJob ask;
        Seq seq;
        int32_t prompt[CONTEXT_MAX];
        uint32_t n_prompt;
        Buf ids, text; /* what came of it */
        uint64_t state; /* the reference's */
        uint64_t since; /* step at which it last had a token, arrived, or went on */
        uint64_t first_step; /* of its first token */
} SimJob;

/* A model that is loaded, and its jobs. Several share the lane; `world` is the one at hand. */
struct World {
        bool loaded;
        Runner *runner;
        SchedSpec spec;
        RunCounts counts;
        SimJob jobs[JOBS];
        uint64_t ids, ended, cancelled, crashes, pauses, longest_wait;
        uint64_t tokens[USERS];
        void (*on_token)(SimJob *j);
};

static World worlds[3], *world = worlds;

static Sched *sched(void) {
        return sched_of(world->runner);
}

static void forget_job(SimJob *j) {
        seq_deinit(&j->seq);
        buf_deinit(&j->ids);
        buf_deinit(&j->text);
        *j = (SimJob){0};
}

static void on_started(Seq *q) {
        assert_true(q->slot >= 0);
}

/* A token must be the one that the reference says comes next. */
static void check_token(SimJob *j, int32_t id) {
        uint32_t position = j->n_prompt + (uint32_t)(j->ids.len / sizeof(int32_t));
        assert_int_equal(id, next_token(j->state));
        j->state = mix(j->state, cell(id, position));
        buf_put(&j->ids, &id, sizeof(id));
        world->tokens[j->ask.uid]++;
        if (j->first_step == 0)
                j->first_step = world->counts.steps + 1;
}

static void check_end(SimJob *j, IpcFinish finish) {
        size_t n = j->ids.len / sizeof(int32_t), n_letters = 0;
        uint32_t room = world->spec.context - j->n_prompt;
        if (finish == IPC_FINISH_LENGTH)
                assert_int_equal(n, j->ask.max_tokens < 0 ? room : MIN(room, (uint32_t)j->ask.max_tokens));
        else {
                assert_false(j->ask.ignore_eos);
                assert_int_equal(next_token(j->state), tokenizer_eos(tokenizer));
        }
        for (size_t i = 0; i < n; i++) {
                int32_t id = ((int32_t *)(void *)j->ids.data)[i];
                if (id < 256)
                        assert_int_equal(j->text.data[n_letters++], id);
        }
        assert_int_equal(j->text.len, n_letters);
}

static void on_progress(Seq *q) {
        SimJob *j = container_of(q, SimJob, seq);
        IpcPiece piece;
        world = j->world;
        assert_true(j->live);
        assert_int_equal(q->length - q->enqueued, 1); /* nothing that was computed is computed again */
        seq_piece(q, &piece);
        for (uint32_t i = 0; i < piece.ids.n; i++)
                check_token(j, piece.ids.data[i]);
        buf_put(&j->text, piece.text.data, piece.text.len);
        j->since = world->counts.steps;
        if (world->on_token)
                world->on_token(j);
        if (q->finish == IPC_FINISH_NONE) {
                seq_sent(q);
                return;
        }
        check_end(j, q->finish);
        world->runner->ops->remove(world->runner, q);
        world->ended++;
        forget_job(j);
}

static void on_device_failed(void *owner, int error) {
        assert_int_equal(error, mark_error);
        (*(int *)owner)++;
}

/* As a new engine gets it: with what it produced for the one before. */
static void post(SimJob *j) {
        Error e = ERROR_NULL;
        size_t dropped;
        int32_t *ids = malloc(MAX(j->n_prompt, 1u) * sizeof(int32_t));
        memcpy(ids, j->prompt, j->n_prompt * sizeof(int32_t));
        j->ask.produced = (IpcInts){(const int32_t *)(const void *)j->ids.data,
                                    (uint32_t)(j->ids.len / sizeof(int32_t))};
        j->ask.text_sent = j->text.len;
        seq_init(&j->seq, &j->ask, tokenizer);
        j->seq.params.n_top = -1;
        assert_int_equal(seq_set_prompt(&j->seq, ids, j->n_prompt, world->spec.context, &dropped, &e), 0);
        assert_int_equal(j->seq.finish, IPC_FINISH_NONE);
        lookup_init(&j->seq.lookup, world->spec.lookup_tokens, j->seq.limit);
        lookup_learn(&j->seq.lookup, j->seq.ids, j->seq.n_ids);
        assert_int_equal(world->runner->ops->add(world->runner, &j->seq), 0);
        world->runner->ops->pause(world->runner, &j->seq, j->paused);
        j->since = world->counts.steps;
}

static const float weights[USERS] = {1, 3, 1, 0.5f, 2};

/* Prompts of a user begin alike, in a few ways, so that they find each other's pages. */
static SimJob *arrive(uint32_t uid, uint32_t n_prompt, int32_t max_tokens, uint32_t priority) {
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++) {
                if (j->live)
                        continue;
                uint32_t kind = below(2), same = below(n_prompt + 1);
                j->world = world;
                j->live = true;
                j->ask = (IpcJob){.id = ++world->ids, .uid = uid, .weight = weights[uid], .priority = priority,
                                  .max_tokens = max_tokens, .ignore_eos = below(2)};
                j->n_prompt = n_prompt;
                j->state = 1;
                for (uint32_t i = 0; i < n_prompt; i++) {
                        j->prompt[i] = i < same ? (int32_t)(kind + 'A') : (int32_t)('a' + below(26));
                        j->state = mix(j->state, cell(j->prompt[i], i));
                }
                post(j);
                return j;
        }
        return NULL;
}

static int failures;

static void start_world(const SchedSpec *spec) {
        static const RunHandlers handlers = {on_started, on_progress, on_device_failed, NULL};
        Error e = ERROR_NULL;
        world->spec = *spec;
        assert_int_equal(sched_new(&lane, NULL, spec, &world->runner, &e), 0);
        assert_int_equal(runner_start(world->runner, NULL, &handlers, &failures, &world->counts), 0);
        world->loaded = true;
}

static void stop_world(void) {
        world->runner->ops->stop(world->runner);
        world->loaded = false;
}

static void end_world(void) {
        stop_world();
        world->runner->ops->free(world->runner);
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                forget_job(j);
        *world = (World){0};
}

/* ---- what must always be so ---- */

static void check_pages(const Sched *s) {
        const Kv *kv = &s->kv;
        uint32_t held[64] = {0}, n = 0;
        assert_true(kv->n_pages <= ARRAY_SIZE(held));
        for (uint32_t slot = 0; slot < kv->n_slots; slot++) {
                const KvSlot *k = &kv->slots[slot];
                assert_true(k->used <= kv->max_pages && k->known <= k->used);
                if (!s->slots[slot])
                        assert_int_equal(k->used, 0);
                else
                        assert_true(k->used * kv->page_size >= s->slots[slot]->enqueued);
                for (uint32_t i = 0; i < k->used; i++)
                        held[kv_table(kv, slot)[i]]++;
        }
        for (uint32_t slot = 0; slot < kv->n_slots; slot++) /* what is shared is complete and known */
                for (uint32_t i = kv->slots[slot].known; i < kv->slots[slot].used; i++)
                        assert_int_equal(held[kv_table(kv, slot)[i]], 1);
        for (int32_t p = kv->pages[kv->n_pages].next; p != (int32_t)kv->n_pages; p = kv->pages[p].next, n++) {
                assert_int_equal(held[p], 0);
                assert_true(n < kv->n_pages);
        }
        assert_int_equal(n, kv->n_free);
        for (uint32_t p = 0; p < kv->n_pages; p++) {
                assert_int_equal(kv->pages[p].refs, held[p]);
                n += held[p] > 0;
        }
        assert_int_equal(n, kv->n_pages);
}

static void check_jobs(const Sched *s) {
        uint32_t running = 0, waiting = 0;
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++) {
                const Seq *q = &j->seq;
                if (!j->live)
                        continue;
                assert_int_equal(q->paused, j->paused);
                assert_int_equal(q->fair.state == FAIR_PAUSED, j->paused);
                running += q->slot >= 0;
                waiting += q->fair.state == FAIR_WAITING;
                assert_int_equal((q->slot >= 0) + (q->fair.state == FAIR_WAITING) + (j->paused && q->slot < 0), 1);
                if (q->slot >= 0)
                        assert_ptr_equal(s->slots[q->slot], q);
                if (!j->paused && q->fair.class == FAIR_INTERACTIVE) {
                        world->longest_wait = MAX(world->longest_wait, world->counts.steps - j->since);
                        assert_true(world->counts.steps - j->since < PATIENCE);
                }
        }
        assert_int_equal(running, s->n_running);
        assert_int_equal(waiting, s->fair.n_waiting);
        for (uint32_t i = 0; i < LANE_DEPTH; i++)
                for (uint32_t k = 0; k < s->steps[i].n; k++)
                        assert_true(!s->steps[i].seqs[k] || s->steps[i].seqs[k]->slot >= 0);
}

/* After the scheduler had its say: it does something if there is anything to do, and nobody who is paused is in the way
 * of one who waits. */
static void check_plan(const Sched *s) {
        bool wants = false;
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                wants |= j->live && !j->paused;
        assert_true(s->n_flight > 0 || !wants);
        assert_true(s->fair.n_waiting == 0 || list_is_empty(&s->paused));
}

static void check(void) {
        World *at_hand = world;
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++)
                if (world->loaded) {
                        check_pages(sched());
                        check_jobs(sched());
                }
        world = at_hand;
}

static void run_turns(void) {
        bool was_time = is_time(&lane), alone = lane.members.next == lane.members.prev;
        World *at_hand = world;
        turns_are_set = false;
        turns->handler(turns, 0);
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++)
                if (world->loaded && (is_time(&lane) || (was_time && alone))) /* it was asked */
                        check_plan(sched());
        world = at_hand;
        check();
}

static void step(void) {
        World *at_hand = world;
        if (turns_are_set)
                run_turns();
        if (lane.n_flight > 0)
                run_device();
        world = at_hand;
        check();
        if (turns_are_set)
                run_turns();
}

/* The engine is another; or the model was closed, which takes its time, and is loaded again. */
static void crash(void) {
        stop_world();
        for (uint32_t n = below(4); n > 0; n--)
                step();
        world->runner->ops->free(world->runner);
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                seq_deinit(&j->seq);
        start_world(&world->spec);
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                if (j->live)
                        post(j);
        world->crashes++;
}

/* ---- the tests ---- */

static SimJob *any_job(void) {
        SimJob *j = &world->jobs[below(JOBS)];
        return j->live ? j : NULL;
}

static void toggle_pause(SimJob *j) {
        j->paused = !j->paused;
        j->since = world->counts.steps;
        world->pauses++;
        world->runner->ops->pause(world->runner, &j->seq, j->paused);
}

static void something_happens(void) {
        uint32_t what = below(1000);
        SimJob *j = any_job();
        if (what < 300)
                arrive(below(USERS), 1 + below(world->spec.context - 1), below(9) ? (int32_t)below(70) + 1 : -1,
                       below(8) == 0);
        else if (what < 330 && j) {
                world->runner->ops->remove(world->runner, &j->seq);
                world->cancelled++;
                forget_job(j);
        } else if (what < 400 && j)
                toggle_pause(j);
        else if (what < 401)
                crash();
        check();
}

static bool anybody(void) {
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                if (j->live)
                        return true;
        return false;
}

/* Nothing new comes and everybody goes on: all must come to their ends, and leave nothing behind. */
static void finish_all(void) {
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                if (j->live && j->paused)
                        toggle_pause(j);
        uint64_t limit = world->counts.steps + PATIENCE;
        while (anybody()) {
                step();
                assert_true(world->counts.steps < limit);
        }
        RunLoad load = world->runner->ops->load(world->runner);
        assert_int_equal(load.running + load.waiting + load.pages_used, 0);
        assert_int_equal(world->ended + world->cancelled, world->ids);
}

static SchedSpec any_spec(void) {
        uint32_t context = 2 + below(CONTEXT_MAX - 2), slots = 1 + below(6), full = (context + 31) / 32;
        return (SchedSpec){.slots = slots, .context = context, .batch_tokens = 1 + below(40),
                           .n_pages = full + below(full * 2), .lookup_tokens = below(3) ? below(LOOKUP_MAX + 1) : 0};
}

typedef struct Sum {
        uint64_t steps, ended, cancelled, crashes, pauses, longest, preemptions, cached, guessed, right;
} Sum;

static void add_up(Sum *sum) {
        sum->steps += world->counts.steps;
        sum->cached += world->counts.cached_tokens;
        sum->preemptions += world->counts.preemptions;
        sum->guessed += world->counts.guessed;
        sum->right += world->counts.guessed_right;
        sum->ended += world->ended;
        sum->cancelled += world->cancelled;
        sum->crashes += world->crashes;
        sum->pauses += world->pauses;
        sum->longest = MAX(sum->longest, world->longest_wait);
}

static void check_sum(const Sum *sum) {
        print_message("%llu steps, %llu jobs ended, %llu cancelled, %llu pauses, %llu crashes, %llu preemptions, "
                      "%llu tokens from the cache, %llu of %llu guesses right, longest wait %llu steps\n",
                      (unsigned long long)sum->steps, (unsigned long long)sum->ended,
                      (unsigned long long)sum->cancelled, (unsigned long long)sum->pauses,
                      (unsigned long long)sum->crashes, (unsigned long long)sum->preemptions,
                      (unsigned long long)sum->cached, (unsigned long long)sum->right, (unsigned long long)sum->guessed,
                      (unsigned long long)sum->longest);
        assert_true(sum->ended > 1000 && sum->cancelled > 100 && sum->crashes > 10);
        assert_true(sum->preemptions > 1000 && sum->cached > 1000);
        assert_true(sum->right > 5000 && sum->guessed - sum->right > 5000);
}

static void test_anything(void **state) {
        Sum sum = {0};
        dice = test_seed();
        while (sum.steps < STEPS) {
                SchedSpec spec = any_spec();
                letters = below(3) ? 2 : 26;
                start_world(&spec);
                while (world->counts.steps < EPISODE) {
                        something_happens();
                        if (below(4))
                                step();
                }
                finish_all();
                add_up(&sum);
                end_world();
        }
        check_sum(&sum);
}

static World *any_world(void) {
        return &worlds[below(ARRAY_SIZE(worlds))];
}

/* The same with three models on one stream. */
static void test_shared(void **state) {
        Sum sum = {0};
        dice = test_seed();
        while (sum.steps < STEPS / 2) {
                letters = below(3) ? 2 : 26;
                for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++) {
                        SchedSpec spec = any_spec();
                        start_world(&spec);
                }
                world = worlds;
                while (worlds[0].counts.steps < EPISODE) {
                        world = any_world();
                        something_happens();
                        if (below(3))
                                step();
                }
                for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++)
                        finish_all();
                for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++) {
                        add_up(&sum);
                        end_world();
                }
                world = worlds;
        }
        check_sum(&sum);
}

/* A stream that fails fails all its models. */
static void test_failure(void **state) {
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++) {
                SchedSpec spec = any_spec();
                start_world(&spec);
        }
        world = worlds;
        arrive(0, 1, 10, 0);
        mark_error = -EIO;
        turns->handler(turns, 0);
        assert_int_equal(failures, ARRAY_SIZE(worlds));
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++)
                end_world();
        world = worlds;
        mark_error = 0;
}

/* Whatever their steps cost, all models with something to do have as many. */
static void test_turns(void **state) {
        dice = test_seed();
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++) {
                uint32_t n = (uint32_t)(world - worlds) + 1;
                SchedSpec spec = {.slots = n, .context = CONTEXT_MAX, .batch_tokens = 8 * n, .n_pages = 5 * n};
                start_world(&spec);
                while (n-- > 0)
                        arrive(0, 10 * n + 1, CONTEXT_MAX - 40, 0)->ask.ignore_eos = true;
        }
        for (int i = 0; i < 300; i++) {
                uint64_t least = UINT64_MAX, most = 0;
                step();
                for (World *w = worlds; w < worlds + ARRAY_SIZE(worlds); w++) {
                        least = MIN(least, w->counts.steps);
                        most = MAX(most, w->counts.steps);
                }
                assert_true(most - least <= 1);
        }
        for (world = worlds; world < worlds + ARRAY_SIZE(worlds); world++)
                end_world();
        world = worlds;
}

static uint32_t live_of(uint32_t uid) {
        uint32_t n = 0;
        for (SimJob *j = world->jobs; j < world->jobs + JOBS; j++)
                n += j->live && j->ask.uid == uid;
        return n;
}

/* Users 0 and 1, with weights 1 and 3, always have work waiting: their tokens are as their weights. */
static void test_weights(void **state) {
        dice = test_seed();
        for (uint32_t slots = 1; slots <= 8; slots *= 2) {
                SchedSpec spec = {.slots = slots, .context = 128, .batch_tokens = 32, .n_pages = 4 * slots};
                start_world(&spec);
                while (world->tokens[0] + world->tokens[1] < 60000) {
                        for (uint32_t uid = 0; uid < 2; uid++)
                                while (live_of(uid) < JOBS / 2)
                                        arrive(uid, 4, (int32_t)(10 + below(40)), 0)->ask.ignore_eos = true;
                        step();
                }
                double ratio = (double)world->tokens[1] / (double)world->tokens[0];
                print_message("%u slots: 1 to %.3f\n", slots, ratio);
                assert_true(ratio > 3 * 0.95 && ratio < 3 * 1.05);
                end_world();
        }
}

/* User 0 has every slot and a long queue; user 2 comes now and then with something short. Alone, the first token comes
 * with the first step. In the flood it comes with the next step: the second from now, or the third where the next is
 * enqueued already. */
static uint64_t came, first_after;

static void note_first(SimJob *j) {
        if (j->ask.uid == 2 && j->ids.len == sizeof(int32_t))
                first_after = world->counts.steps + 1 - came;
}

static void test_flood(void **state) {
        dice = test_seed();
        SchedSpec spec = {.slots = 8, .context = CONTEXT_MAX, .batch_tokens = 64, .n_pages = 40};
        start_world(&spec);
        world->on_token = note_first;
        uint64_t n_early = 0;
        for (int round = 0; round < 1000; round++) {
                while (live_of(0) < JOBS - 1)
                        arrive(0, 1 + below(100), 50, 0);
                for (uint32_t n = below(20); n > 0; n--)
                        step();
                bool early = lane.n_flight < LANE_DEPTH;
                came = world->counts.steps;
                first_after = 0;
                arrive(2, 16, 5, 0)->ask.ignore_eos = true;
                while (live_of(2) > 0)
                        step();
                assert_in_range(first_after, 1, early ? 2 : 3);
                n_early += early;
        }
        print_message("the next step was still open for %llu of 1000\n", (unsigned long long)n_early);
        assert_true(n_early > 200);
        end_world();
}

/* A long prompt is computed in large steps while nobody else is there, in small ones while somebody decodes, if steps are
 * slow. */
static void test_chunks(void **state) {
        dice = test_seed();
        for (int slow = 0; slow < 2; slow++) {
                pace = slow ? LONG_STEP_USEC : SHORT_STEP_USEC / 20;
                SchedSpec spec = {.slots = 2, .context = CONTEXT_MAX, .batch_tokens = 120, .n_pages = 10};
                start_world(&spec);
                most_rows = 0;
                arrive(0, 120, 30, 0)->ask.ignore_eos = true;
                while (world->tokens[0] == 0)
                        step();
                assert_int_equal(most_rows, 120);
                most_rows = 0;
                arrive(1, 120, 1, 0)->ask.ignore_eos = true;
                while (world->tokens[1] == 0)
                        step();
                assert_int_equal(most_rows, slow ? CHUNK_MIN + 1 : 120);
                end_world();
        }
        pace = 0;
}

static int make_tokenizer(void **state) {
        Error e = ERROR_NULL;
        Tokenizer *t = NULL;
        int r = loadtest_tokenizer_new(&t, &e);
        tokenizer = t;
        return r;
}

static int free_tokenizer(void **state) {
        tokenizer_free((Tokenizer *)tokenizer);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_anything, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_shared, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_failure, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_turns, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_weights, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_flood, start_lane, end_lane),
                cmocka_unit_test_setup_teardown(test_chunks, start_lane, end_lane),
        };
        return cmocka_run_group_tests(tests, make_tokenizer, free_tokenizer);
}
