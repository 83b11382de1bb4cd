/* The batches of an encoder in a simulated world: no loop, no model, a device and a clock that go as the dice say. Jobs of
 * one to hundreds of inputs arrive, a slice of them at a time, and some are cancelled, while this is looked at after each step: every input's result is that of its own tokens and comes once, in order; no batch is above its budget;
 * nothing waits beside an idle device, nor for longer than batch_wait beside one that has room; small jobs are not
 * behind a large one. And, with a tokenizer, what inputs become when they are prepared.
 *
 * ZEROLLAMA_TEST_SEED draws another run. */
#include <errno.h>
#include <math.h>

#include "unit.h"
#include "util/str.h"

static uint64_t clock_usec = 1000;
#define now_usec() clock_usec
#include "engine/embed.c"
#undef now_usec
#define now clock_usec
#include "engine/loadtest.h"

enum { JOBS = 40, USERS = 4, INPUTS_MOST = 400, WIDTH = 3, STEPS = 200000, BATCHES = 8 };

/* ---- dice ---- */

static uint64_t dice = 1;

static uint64_t mix(uint64_t h, uint64_t v) {
        h = (h ^ v) * 0x9e3779b97f4a7c15;
        return h ^ h >> 29;
}

static uint32_t below(uint32_t n) {
        dice = mix(dice, 0x632be59bd9b4e019);
        return (uint32_t)(dice >> 32) % n;
}

/* ---- the lane and the timer, by hand; the rest other objects ask for, and nobody calls ---- */

static LaneMember *member;
static bool wants;
static uint64_t timer_at = UINT64_MAX;

void lane_join(Lane *l, LaneMember *m, const LaneOps *ops) {
        *m = (LaneMember){.ops = ops, .lane = l};
        member = m;
}

void lane_leave(LaneMember *m) {
        member = NULL;
}

void lane_wait(const LaneMember *m) {
}

void lane_want(LaneMember *m) {
        wants = true;
}

int event_add_timer(EventLoop *l, EventSource *s, int priority, const char *name, EventHandler h) {
        *s = (EventSource){.handler = h, .impl = s};
        return 0;
}

int event_add_defer(EventLoop *l, EventSource *s, const char *name, EventHandler h) {
        return -ENOSYS;
}

int event_add_io(EventLoop *l, EventSource *s, int fd, uint32_t events, int priority, const char *name, EventHandler h) {
        return -ENOSYS;
}

int event_io_set(EventSource *s, uint32_t events) {
        return -ENOSYS;
}

int event_timer_set(EventSource *s, uint64_t delay) {
        timer_at = delay == UINT64_MAX ? UINT64_MAX : now + delay;
        return 0;
}

void event_defer_set(EventSource *s) {
}

void event_remove(EventSource *s) {
        s->impl = NULL;
}

/* ---- the model and the device ---- */

struct Workspace {
        float out[TEXTS_MAX * WIDTH];
};

typedef struct Flight { /* a batch that is being computed */
        float out[TEXTS_MAX * WIDTH];
        float *to;
        size_t size;
        uint64_t done;
} Flight;

static Workspace workspace;
static EncoderInfo info = {.n_out = WIDTH, .max_tokens = 100, .usual_tokens = 60, .n_types = 2, .normalised = true};
static EmbedSpec spec;
static Flight flights[LANE_DEPTH];
static uint32_t first_flight, n_flights;
static uint64_t n_batches, n_full;
static bool is_marked; /* the last batch shows how far it is */
static EncoderBatch last;
static int32_t last_tokens[4096];
static uint32_t last_starts[TEXTS_MAX + 1];

const EncoderInfo *model_encoder(const Model *m) {
        return &info;
}

size_t workspace_size(const Model *m, uint32_t max_rows, uint32_t max_logits) {
        return 0;
}

int workspace_new(const Model *m, Device *d, uint32_t max_rows, uint32_t max_logits, Workspace **ret, Error *e) {
        assert_int_equal(max_rows, MAX(spec.batch_tokens, spec.max_tokens));
        *ret = &workspace;
        return 0;
}

void workspace_free(Workspace *w) {
}

static void reference(const int32_t *ids, const int32_t *types, uint32_t n, float *out) {
        uint64_t h = 1;
        for (uint32_t i = 0; i < n; i++)
                h = mix(mix(h, (uint64_t)ids[i]), types ? (uint64_t)types[i] : 0);
        for (uint32_t i = 0; i < WIDTH; i++)
                out[i] = (float)((h >> (16 * i)) & 0xffff) / 65536;
}

void model_encode(Model *m, Workspace *w, Stream *s, const EncoderBatch *b, float **ret_out, uint64_t *ret_nearly) {
        assert_in_range(b->n_texts, 1, MIN(spec.batch_tokens, (uint32_t)TEXTS_MAX));
        if (b->n_texts > 1)
                assert_in_range(b->n_tokens, 2, spec.batch_tokens);
        assert_int_equal(b->starts[0], 0);
        assert_int_equal(b->starts[b->n_texts], b->n_tokens);
        for (uint32_t i = 0; i < b->n_texts; i++) {
                uint32_t n = b->starts[i + 1] - b->starts[i];
                assert_in_range(n, 1, info.max_tokens);
                assert_true(i == 0 || n <= b->starts[i] - b->starts[i - 1]); /* the longest first */
                reference(b->tokens + b->starts[i], b->types ? b->types + b->starts[i] : NULL, n, w->out + i * WIDTH);
        }
        n_full += b->n_tokens + info.max_tokens >= spec.batch_tokens;
        n_batches++;
        is_marked = ret_nearly;
        last = *b;
        memcpy(last_tokens, b->tokens, b->n_tokens * sizeof(*last_tokens));
        memcpy(last_starts, b->starts, (b->n_texts + 1) * sizeof(*last_starts));
        *ret_out = w->out;
}

static uint64_t token_takes; /* 0: it does not depend on them how long a batch takes */

/* The result is there when the batch is computed; what the host has in that place until then is of no worth. */
static void fake_download(Stream *s, void *host, const void *dev, size_t n) {
        assert_true(n_flights < LANE_DEPTH);
        Flight *f = &flights[(first_flight + n_flights++) % LANE_DEPTH];
        memcpy(f->out, dev, n);
        memset(host, 0xff, n);
        f->to = host;
        f->size = n;
        uint64_t begin = n_flights > 1 ? flights[first_flight].done : now;
        f->done = begin + (token_takes ? last.n_tokens * token_takes : 500 + below(3000));
}

static const DeviceOps device_ops = {.download = fake_download};
static Device device = {.ops = &device_ops};
static Lane lane = {.device = &device};

/* ---- jobs ---- */

typedef struct SimJob {
        bool live, added;
        IpcJob ask;
        Seq seq;
        Inputs inputs;
        uint32_t n, n_put, n_seen, starts;
        float expected[INPUTS_MOST * WIDTH];
        uint8_t tokens[INPUTS_MOST];
} SimJob;

static SimJob jobs[JOBS];
static Runner *runner;
static RunCounts counts;
static uint64_t ended, cancelled, results, waiting_since;

static Embedder *embedder(void) {
        return embedder_of(runner);
}

static void forget(SimJob *j) {
        runner->ops->remove(runner, &j->seq);
        runner->ops->remove(runner, &j->seq); /* which does nothing */
        inputs_deinit(&j->inputs);
        j->live = false;
}

static void on_started(Seq *q) {
        SimJob *j = container_of(q, SimJob, seq);
        assert_true(j->live && j->starts++ == 0);
}

static void on_progress(Seq *q) {
        SimJob *j = container_of(q, SimJob, seq);
        const float *values = (const float *)(const void *)j->inputs.values.data;
        size_t n = j->inputs.values.len / sizeof(float) / WIDTH;
        uint64_t tokens = 0;
        assert_true(j->live && j->starts == 1 && n > 0 && j->inputs.error == 0);
        assert_memory_equal(values, j->expected + (size_t)j->n_seen * WIDTH, n * WIDTH * sizeof(float));
        for (size_t i = 0; i < n; i++)
                tokens += j->tokens[j->n_seen++];
        assert_int_equal(j->inputs.tokens_done, tokens);
        j->inputs.tokens_done = 0;
        buf_clear(&j->inputs.values);
        results += n;
        assert_int_equal(inputs_are_done(&j->inputs), j->n_seen == j->n);
        if (j->n_seen == j->n) {
                forget(j);
                ended++;
        }
}

static void on_lost(void *owner, int error) {
        fail();
}

static const RunHandlers handlers = {on_started, on_progress, on_lost, NULL};

/* Makes the next `n` inputs of a job ready. */
static void put_slice(SimJob *j, uint32_t n) {
        Slice *s = calloc(1, sizeof(*s));
        uint32_t sum = 0;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t count = 1 + below(below(4) ? 12 : info.max_tokens);
                int32_t ids[100], types[100];
                for (uint32_t k = 0; k < count; k++) {
                        ids[k] = (int32_t)below(30000);
                        types[k] = (int32_t)below(2);
                        buf_put(&s->types, &(uint8_t){(uint8_t)types[k]}, 1);
                }
                buf_put(&s->counts, &count, sizeof(count));
                buf_put(&s->ids, ids, count * sizeof(*ids));
                reference(ids, types, count, j->expected + (size_t)j->n_put * WIDTH);
                j->tokens[j->n_put++] = (uint8_t)count;
                sum += count;
        }
        inputs_put(&j->inputs, s);
        if (j->added) {
                runner->ops->more(runner, &j->seq, sum);
                return;
        }
        assert_int_equal(runner->ops->add(runner, &j->seq), 0);
        j->added = true;
}

static SimJob *new_job(uint32_t uid, uint32_t n, uint32_t priority) {
        SimJob *j = jobs;
        while (j < jobs + JOBS && j->live)
                j++;
        if (j == jobs + JOBS)
                return NULL;
        *j = (SimJob){.live = true, .n = n, .ask = {.uid = uid, .weight = 1, .priority = priority}};
        seq_init(&j->seq, &j->ask, NULL);
        j->seq.inputs = &j->inputs;
        inputs_init(&j->inputs, &j->ask);
        j->inputs.n = n;
        return j;
}

/* ---- what must hold at any time ---- */

static void check(void) {
        Embedder *s = embedder();
        uint64_t pending = 0;
        uint32_t n_waiting = 0, n_started = 0;
        for (SimJob *j = jobs; j < jobs + JOBS; j++) {
                if (!j->live || !j->added)
                        continue;
                bool waiting = inputs_next(&j->inputs) > 0;
                assert_int_equal(waits(&j->seq), waiting);
                pending += waiting ? j->inputs.tokens_ready : 0;
                n_waiting += waiting;
                n_started += j->seq.started;
        }
        assert_int_equal(s->pending, pending);
        assert_int_equal(runner->ops->load(runner).waiting, n_waiting);
        assert_int_equal(runner->ops->load(runner).running, n_started);
        assert_int_equal(s->n_flight, n_flights);
        if (n_waiting == 0)
                waiting_since = 0;
        else if (waiting_since == 0)
                waiting_since = now;
        if (n_waiting > 0) {
                assert_true(n_flights > 0);
                if (n_flights < LANE_DEPTH) { /* there is a reason to wait */
                        assert_true(now < waiting_since + spec.batch_wait);
                        assert_true(pending < batch_room(s));
                        assert_true(timer_at <= waiting_since + spec.batch_wait);
                }
        }
}

static void take_turns(void) {
        while (wants && n_flights < LANE_DEPTH)
                wants = member->ops->step(member, &(uint64_t){0});
}

/* The clock goes to what comes next: a batch that is done, the timer, or something new. */
static void pass_time(uint64_t most) {
        uint64_t done = n_flights > 0 ? flights[first_flight].done : UINT64_MAX, until = now + most;
        if (timer_at < done && timer_at <= until) {
                now = timer_at;
                timer_at = UINT64_MAX;
                embedder()->timer.handler(&embedder()->timer, 0);
        } else if (done <= until) {
                Flight *f = &flights[first_flight];
                now = done;
                memcpy(f->to, f->out, f->size);
                first_flight = (first_flight + 1) % LANE_DEPTH;
                n_flights--;
                wants = true;
                member->ops->done(member);
        } else
                now = until;
}

static void setup(EmbedSpec s) {
        Error e = ERROR_NULL;
        spec = s;
        now = 1000;
        timer_at = UINT64_MAX;
        first_flight = n_flights = 0;
        wants = false;
        waiting_since = 0;
        counts = (RunCounts){0};
        assert_int_equal(embed_new(&lane, NULL, &spec, &runner, &e), 0);
        assert_int_equal(runner_start(runner, NULL, &handlers, NULL, &counts), 0);
}

static void teardown(void) {
        for (SimJob *j = jobs; j < jobs + JOBS; j++)
                if (j->live)
                        forget(j);
        runner->ops->stop(runner);
        runner->ops->free(runner);
}

static void run_dry(void) {
        for (int i = 0; i < 1000000 && (n_flights > 0 || embedder()->pending > 0); i++) {
                take_turns();
                check();
                pass_time(10000);
        }
        assert_int_equal(n_flights, 0);
        assert_int_equal(embedder()->pending, 0);
}

/* ---- at random ---- */

static void throw(void) {
        SimJob *j = &jobs[below(JOBS)];
        uint32_t die = below(100);
        if (die < 12) {
                uint32_t n = below(5) ? 1 + below(3) : 1 + below(INPUTS_MOST);
                SimJob *fresh = new_job(below(USERS), n, below(4) == 0);
                if (fresh)
                        put_slice(fresh, 1 + below(fresh->n));
        } else if (die < 30 && j->live && j->n_put < j->n)
                put_slice(j, 1 + below(j->n - j->n_put));
        else if (die < 32 && j->live) {
                forget(j);
                cancelled++;
        }
}

static void episode(uint64_t steps) {
        setup((EmbedSpec){.batch_tokens = 1 + below(below(2) ? 40 : 600), .max_tokens = info.max_tokens, .batch_wait = below(3) * 1500});
        for (uint64_t i = 0; i < steps; i++) {
                throw();
                take_turns();
                check();
                if (below(2))
                        pass_time(below(2000));
                take_turns();
                check();
        }
        for (SimJob *j = jobs; j < jobs + JOBS; j++) /* whoever is left comes to their end */
                if (j->live && j->n_put < j->n)
                        put_slice(j, j->n - j->n_put);
        run_dry();
        for (SimJob *j = jobs; j < jobs + JOBS; j++)
                assert_false(j->live);
        teardown();
}

static void test_random(void **state) {
        dice = test_seed();
        for (uint64_t done = 0; done < STEPS; done += 4000)
                episode(4000);
        print_message("%llu jobs ended, %llu cancelled, %llu results, %llu batches, %llu full\n",
                      (unsigned long long)ended, (unsigned long long)cancelled, (unsigned long long)results,
                      (unsigned long long)n_batches, (unsigned long long)n_full);
        assert_true(ended > 1000 && cancelled > 100 && n_full > 1000);
}

/* ---- one by one ---- */

static bool is_in_last(const SimJob *j) {
        return j->seq.started;
}

/* A single input is in the first batch made after it came, whoever has ten thousand before it: the same user or another. */
static void test_small_beside_large(void **state) {
        setup((EmbedSpec){.batch_tokens = 1000, .max_tokens = info.max_tokens, .batch_wait = 2000});
        SimJob *large[] = {new_job(1, INPUTS_MOST, 0), new_job(1, INPUTS_MOST, 0), new_job(2, INPUTS_MOST, 0)};
        for (size_t i = 0; i < ARRAY_SIZE(large); i++)
                put_slice(large[i], INPUTS_MOST);
        take_turns();
        assert_int_equal(n_flights, LANE_DEPTH);
        for (uint32_t uid = 1; uid <= 3; uid++) {
                SimJob *small = new_job(uid, 1, 0);
                put_slice(small, 1);
                take_turns();
                assert_false(is_in_last(small));
                pass_time(UINT32_MAX);
                take_turns();
                assert_true(is_in_last(small));
        }
        run_dry();
        teardown();
}

/* A batch is as large as makes it take 20 ms, at least 256 tokens and at most batch_tokens; the first tells the speed. */
static void test_long_batches(void **state) {
        static const struct {
                uint64_t token_takes;
                uint32_t most;
        } cases[] = {{5, 3000}, {40, 500}, {1000, 256}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                setup((EmbedSpec){.batch_tokens = 3000, .max_tokens = info.max_tokens});
                token_takes = cases[i].token_takes;
                for (int k = 0; k < 3; k++)
                        put_slice(new_job(1, INPUTS_MOST, 0), INPUTS_MOST);
                take_turns();
                assert_in_range(last.n_tokens, 256 - info.max_tokens, 256);
                for (int k = 0; k < 2; k++) {
                        pass_time(UINT32_MAX);
                        take_turns();
                        assert_in_range(last.n_tokens, cases[i].most - info.max_tokens, cases[i].most);
                }
                run_dry();
                teardown();
        }
        token_takes = 0;
}

/* Unless it is known to be short, a batch shows how far it is: the first, whose speed nobody knows, may take long. */
static void test_marks(void **state) {
        static const struct {
                uint64_t token_takes;
                bool is_marked;
        } cases[] = {{1, false}, {40, true}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                setup((EmbedSpec){.batch_tokens = 200, .max_tokens = info.max_tokens});
                token_takes = cases[i].token_takes;
                put_slice(new_job(1, INPUTS_MOST, 0), INPUTS_MOST);
                take_turns();
                assert_true(is_marked);
                pass_time(UINT32_MAX);
                take_turns();
                assert_int_equal(is_marked, cases[i].is_marked);
                run_dry();
                teardown();
        }
        token_takes = 0;
}

/* What is of the class batch waits for all that is interactive. */
static void test_classes(void **state) {
        setup((EmbedSpec){.batch_tokens = 200, .max_tokens = info.max_tokens});
        SimJob *batch = new_job(1, INPUTS_MOST, 1), *interactive = new_job(2, INPUTS_MOST, 0);
        put_slice(interactive, INPUTS_MOST);
        put_slice(batch, INPUTS_MOST);
        while (interactive->live && interactive->inputs.n_taken < INPUTS_MOST) {
                assert_int_equal(batch->inputs.n_taken, 0);
                take_turns();
                pass_time(UINT32_MAX);
        }
        run_dry();
        assert_false(batch->live);
        teardown();
}

/* Beside a batch that is computed, inputs gather until one of three things happens. */
static void test_waiting(void **state) {
        setup((EmbedSpec){.batch_tokens = 300, .max_tokens = info.max_tokens, .batch_wait = 400});
        put_slice(new_job(1, 1, 0), 1);
        take_turns();
        assert_int_equal(n_flights, 1); /* at once: it was idle */
        put_slice(new_job(1, 1, 0), 1);
        put_slice(new_job(2, 1, 0), 1);
        take_turns();
        assert_int_equal(n_flights, 1);
        assert_int_equal(timer_at, now + 400);
        pass_time(UINT32_MAX); /* the timer: a batch takes 500 at least */
        take_turns();
        assert_int_equal(n_flights, 2);
        assert_int_equal(last.n_texts, 2);
        run_dry();
        put_slice(new_job(1, 1, 0), 1);
        take_turns();
        put_slice(new_job(1, INPUTS_MOST, 0), INPUTS_MOST); /* more than enough for a batch */
        take_turns();
        assert_int_equal(n_flights, 2);
        run_dry();
        teardown();
}

/* ---- a result that is no number, and vectors that are cut ---- */

static void test_results(void **state) {
        static const float good[] = {3, 4, 12}, bad[] = {1, NAN, 2}, endless[] = {1, 2, INFINITY};
        Inputs in = {.n = 4, .width = WIDTH};
        list_init(&in.slices);
        assert_int_equal(inputs_done(&in, good, WIDTH, true, 7), 0);
        assert_int_equal(inputs_done(&in, bad, WIDTH, true, 7), -EDOM);
        assert_int_equal(inputs_done(&in, endless, WIDTH, false, 7), -EDOM);
        assert_memory_equal(in.values.data, good, sizeof(good)); /* as the model made it */
        in.width = 2;
        assert_int_equal(inputs_done(&in, good, WIDTH, true, 7), 0);
        assert_int_equal(inputs_done(&in, good, WIDTH, false, 7), 0);
        const float *v = (const float *)(const void *)in.values.data;
        assert_float_equal(v[3], 0.6f, 1e-6);
        assert_float_equal(v[4], 0.8f, 1e-6);
        assert_true(v[5] == 3 && v[6] == 4);
        assert_true(in.n_done == 3 && in.tokens_done == 21);
        static const float tiny[] = {3e-44f, 4e-44f, 1}; /* what a float would have to multiply them with is none */
        assert_int_equal(inputs_done(&in, tiny, WIDTH, true, 7), 0);
        v = (const float *)(const void *)in.values.data + 7;
        assert_true(fabsf(v[0] - 0.6f) < 0.02f && fabsf(v[1] - 0.8f) < 0.02f); /* cmocka holds infinity to be near them */
        inputs_deinit(&in);
}

/* ---- preparing ---- */

static PrepModel prep_model(const Tokenizer *t) {
        return (PrepModel){.name = "m", .tokenizer = t, .encoder = &info, .n_vocab = 260, .context = 100};
}

typedef struct Asked {
        Buf lens, bytes;
        IpcJob job;
} Asked;

static IpcJob *ask(Asked *t, uint32_t kind, const char *const *texts) {
        buf_clear(&t->lens);
        buf_clear(&t->bytes);
        for (; *texts; texts++)
                ipc_strs_put(&t->lens, &t->bytes, *texts, strlen(*texts));
        t->job = (IpcJob){.kind = kind, .inputs = ipc_strs(&t->lens, &t->bytes)};
        return &t->job;
}

static void assert_refused(const PrepModel *m, const IpcJob *job, IpcFailCode code, const char *part) {
        Inputs in;
        Slice *s = NULL;
        Error e = ERROR_NULL;
        inputs_init(&in, job);
        assert_int_equal(inputs_prepare(m, job, &in.cursor, &s, &e), code);
        assert_null(s);
        if (!strstr(e.text, part))
                fail_msg("%s: not in \"%s\"", part, e.text);
        inputs_deinit(&in);
}

static void assert_prepared(const PrepModel *m, const IpcJob *job, const char *const *texts) {
        Inputs in;
        Error e = ERROR_NULL;
        int32_t ids[256];
        inputs_init(&in, job);
        while (in.n_ready < in.n) {
                Slice *s;
                assert_int_equal(inputs_prepare(m, job, &in.cursor, &s, &e), 0);
                inputs_put(&in, s);
        }
        for (size_t i = 0; texts[i]; i++) {
                assert_int_equal(inputs_next(&in), strlen(texts[i]));
                inputs_take(&in, ids, NULL);
                for (size_t k = 0; texts[i][k]; k++)
                        assert_int_equal(ids[k], (unsigned char)texts[i][k]);
        }
        assert_int_equal(inputs_next(&in), 0);
        assert_true(in.n_taken == in.n && in.tokens_ready == 0 && list_is_empty(&in.slices));
        inputs_deinit(&in);
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN
#define HUNDRED FIFTY FIFTY

static void test_preparing(void **state) {
        Tokenizer *tokenizer; /* a token is a byte */
        Error e = ERROR_NULL;
        Asked t = {0};
        assert_int_equal(loadtest_tokenizer_new(&tokenizer, &e), 0);
        PrepModel m = prep_model(tokenizer);
        assert_prepared(&m, ask(&t, IPC_PROMPT_EMBED, TEXTS("a", "bcd", HUNDRED)), TEXTS("a", "bcd", HUNDRED));
        t.job.results_sent = 1;
        assert_prepared(&m, &t.job, TEXTS("bcd", HUNDRED));
        assert_refused(&m, ask(&t, IPC_PROMPT_EMBED, TEXTS("a", HUNDRED "x")), IPC_E_CONTEXT, "input 1 has 101 tokens, but model m takes at most 100");
        t.job.truncate = true;
        assert_prepared(&m, &t.job, TEXTS("a", HUNDRED));
        assert_refused(&m, ask(&t, IPC_PROMPT_EMBED, TEXTS("a", "")), IPC_E_INVALID, "input 1 has no tokens");
        assert_refused(&m, ask(&t, IPC_PROMPT_RANK, TEXTS("a")), IPC_E_INVALID, "no reranker");
        m.encoder = NULL;
        assert_refused(&m, ask(&t, IPC_PROMPT_EMBED, TEXTS("a")), IPC_E_INVALID, "generates text and makes no embeddings");
        buf_deinit(&t.lens);
        buf_deinit(&t.bytes);
        tokenizer_free(tokenizer);
}

/* [CLS] query [SEP] document [SEP], where "a" and "b" are all words. */
static void new_pairs(Tokenizer **ret) {
        static const TokenText tokens[] = {{"[UNK]", 5}, {"[CLS]", 5}, {"[SEP]", 5}, {"a", 1}, {"b", 1}};
        Error e = ERROR_NULL;
        TokenizerSpec wordpiece = {
                .kind = TOKENIZER_WORDPIECE, .n_tokens = ARRAY_SIZE(tokens), .tokens = tokens, .bos = -1, .eos = -1, .eot = -1,
                .unk = 0, .words = WORDS_BERT, .subword = {"##", 2}, .max_word = 100,
                .pair = {{{1, 0}, {TEMPLATE_FIRST, 0}, {2, 0}, {TEMPLATE_SECOND, 1}, {2, 1}}, 5},
        };
        if (tokenizer_new(&wordpiece, ret, &e) < 0)
                fail_msg("%s", e.text);
}

/* A query of megabytes, which has to be cut, is not tokenized as a whole for each document. */
static void test_long_query(void **state) {
        enum { LONG = 1 << 20 };
        EncoderInfo scores = {.n_out = 1, .scores = true};
        Tokenizer *tokenizer;
        Slice *s = NULL;
        Asked t = {0};
        Inputs in;
        Error e = ERROR_NULL;
        char *query = malloc(LONG);
        int32_t ids[100], expected[] = {1, 3, 2, 4, 2};
        new_pairs(&tokenizer);
        PrepModel m = {.name = "m", .tokenizer = tokenizer, .n_vocab = 5, .context = 100, .encoder = &scores};
        for (size_t i = 0; i < LONG; i++)
                query[i] = i % 2 ? ' ' : 'a';
        ask(&t, IPC_PROMPT_RANK, TEXTS("b", "b", "b"));
        t.job.prompt = (IpcStr){query, LONG};
        assert_refused(&m, &t.job, IPC_E_CONTEXT, "has 524292 tokens");
        t.job.truncate = true;
        inputs_init(&in, &t.job);
        assert_int_equal(inputs_prepare(&m, &t.job, &in.cursor, &s, &e), 0);
        inputs_put(&in, s);
        assert_int_equal(in.n_ready, 3); /* its bytes are those of a slice of a few */
        for (int i = 0; i < 3; i++) {
                assert_int_equal(inputs_next(&in), 100);
                inputs_take(&in, ids, NULL);
                for (int k = 0; k < 100; k++)
                        assert_int_equal(ids[k], k == 0 ? 1 : k < 97 ? 3 : expected[k - 95]);
        }
        inputs_deinit(&in);
        buf_deinit(&t.lens);
        buf_deinit(&t.bytes);
        tokenizer_free(tokenizer);
        free(query);
}

static void test_preparing_ids(void **state) {
        static const int32_t ids[] = {'a', 'b', 'c', 'd', 260, -1}, lengths[] = {1, 3}, wrong[][2] = {{1, 4}, {5, -1}, {5, 1}, {7, 1}};
        static const char *const why[] = {"token 3 of input 1 is 260", "token 4 of input 0 is 260", "token 4 of input 0 is 260", "malformed"};
        Tokenizer *tokenizer;
        Error e = ERROR_NULL;
        assert_int_equal(loadtest_tokenizer_new(&tokenizer, &e), 0);
        PrepModel m = prep_model(tokenizer);
        IpcJob job = {.kind = IPC_PROMPT_EMBED, .prompt_ids = {ids, 6}, .input_counts = {lengths, 2}};
        assert_prepared(&m, &job, TEXTS("a", "bcd"));
        job.results_sent = 1;
        assert_prepared(&m, &job, TEXTS("bcd"));
        job.results_sent = 0;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                job.input_counts = (IpcInts){wrong[i], 2};
                assert_refused(&m, &job, IPC_E_INVALID, why[i]);
        }
        tokenizer_free(tokenizer);
}

static void test_dimensions(void **state) {
        Tokenizer *tokenizer;
        Error e = ERROR_NULL;
        Asked t = {0};
        assert_int_equal(loadtest_tokenizer_new(&tokenizer, &e), 0);
        PrepModel m = prep_model(tokenizer);
        IpcJob *job = ask(&t, IPC_PROMPT_EMBED, TEXTS("a"));
        job->dimensions = WIDTH;
        assert_prepared(&m, job, TEXTS("a"));
        job->dimensions = WIDTH + 1;
        assert_refused(&m, job, IPC_E_INVALID, "makes 3, not 4");
        job->dimensions = 2;
        assert_refused(&m, job, IPC_E_INVALID, "was not trained to be cut to 2");
        m.matryoshka = true;
        assert_prepared(&m, job, TEXTS("a"));
        m.n_matryoshka = 1;
        m.matryoshka_dimensions[0] = 1;
        assert_refused(&m, job, IPC_E_INVALID, "2 is none of them");
        job->dimensions = 1;
        assert_prepared(&m, job, TEXTS("a"));
        buf_deinit(&t.lens);
        buf_deinit(&t.bytes);
        tokenizer_free(tokenizer);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),     cmocka_unit_test(test_small_beside_large),
                cmocka_unit_test(test_long_batches), cmocka_unit_test(test_marks),   cmocka_unit_test(test_classes),
                cmocka_unit_test(test_waiting),    cmocka_unit_test(test_results),            cmocka_unit_test(test_preparing),
                cmocka_unit_test(test_long_query),  cmocka_unit_test(test_preparing_ids), cmocka_unit_test(test_dimensions),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
