/* The load-test models; see loadtest.h.
 *
 * The running sequences of the delay model are in a heap by when they end, with one timer for the first, so that
 * thousands of slots cost a logarithm each. Those of the null model are the first n_running of `running`, in no order,
 * each one's slot is its place there, and `turn` goes round. One callback serves a bounded number of them: the loop has
 * others to serve.
 *
 * A slot of the delay model that is waited for passes on at the moment it was due, not when the loop heard of it: on a
 * device the next step is enqueued already and begins as the last one ends. Else what each turn is late would add up
 * over all that a request waits for.
 *
 * A paused sequence of the null model leaves its slot at once: there is nothing in it to lose. One of the delay model
 * goes on: it has one token to say, and the time runs. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/loadtest.h"
#include "util/str.h"

enum {
        AT_ONCE = 128,
        CLOGGED_USEC = 1000,
        ALIVE_USEC = 1000000, /* who waits for long makes a step now and then, or would be taken for stalled */
        DURATION_LENGTH_MAX = 64,
};

/* The vocabulary: a token for each byte, what the models say, and the two that begin and end a text. */
enum { TOKEN_OK = 256, TOKEN_A, TOKEN_BOS, TOKEN_EOS, N_TOKENS };

typedef struct LoadTestRunner {
        Runner runner;
        LoadTest what;
        uint32_t slots;
        Fair fair;
        Heap due;      /* the delay model's */
        Seq **running; /* [slots], the null model's */
        uint32_t n_running, turn;
        EventSource pump, timer;
} LoadTestRunner;

static LoadTestRunner *runner_of(const Runner *r) {
        return container_of(r, LoadTestRunner, runner);
}

LoadTest loadtest_of_path(const char *path) {
        if (strcmp(path, IPC_PATH_DELAY) == 0)
                return LOADTEST_DELAY;
        return strcmp(path, IPC_PATH_NULL) == 0 ? LOADTEST_NULL : LOADTEST_NONE;
}

/* ---- what it looks like ---- */

/* Byte-level BPE writes a byte as the character of that number where that can be seen, and the others as U+0100 and up,
 * in their order. (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, and its code.) */
static TokenText byte_token(uint32_t byte, char buf[static 2], uint32_t *hidden) {
        bool seen = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        uint32_t c = seen ? byte : 0x100 + (*hidden)++;
        if (c < 0x80) {
                buf[0] = (char)c;
                return (TokenText){buf, 1};
        }
        buf[0] = (char)(0xc0 | c >> 6);
        buf[1] = (char)(0x80 | (c & 0x3f));
        return (TokenText){buf, 2};
}

/* Without merges a text is its bytes: the longer tokens are said, but never read. */
int loadtest_tokenizer_new(Tokenizer **ret, Error *e) {
        char bytes[256][2];
        TokenText tokens[N_TOKENS] = {
                [TOKEN_OK] = {"ok", 2}, [TOKEN_A] = {"a\u0120", 3}, [TOKEN_BOS] = {"<s>", 3}, [TOKEN_EOS] = {"</s>", 4},
        };
        int32_t types[N_TOKENS];
        uint32_t hidden = 0;
        for (uint32_t i = 0; i < N_TOKENS; i++)
                types[i] = i < TOKEN_BOS ? TOKEN_NORMAL : TOKEN_CONTROL;
        for (uint32_t i = 0; i < 256; i++)
                tokens[i] = byte_token(i, bytes[i], &hidden);
        TokenizerSpec spec = {
                .kind = TOKENIZER_BPE, .pre = "gpt-2", .n_tokens = N_TOKENS, .tokens = tokens, .types = types,
                .bos = TOKEN_BOS, .eos = TOKEN_EOS, .eot = -1, .unk = -1,
        };
        return tokenizer_new(&spec, ret, e);
}

json_t *loadtest_details(void) {
        return json_pack("{s:s, s:s, s:[s], s:s, s:s, s:s, s:[s]}", "format", "builtin", "family", "load-test", "families",
                         "load-test", "parameter_size", "0", "quantization_level", "none", "parent_model", "",
                         "capabilities", "completion");
}

json_t *loadtest_show(void) {
        return json_pack("{s:o, s:{s:s, s:i}, s:s, s:s}", "details", loadtest_details(), "model_info",
                         "general.architecture", "load-test", "load-test.context_length", LOADTEST_CONTEXT, "template",
                         "", "parameters", "");
}

/* ---- slots ---- */

static void put_at(LoadTestRunner *t, uint32_t i, Seq *q) {
        t->running[i] = q;
        q->slot = (int32_t)i;
}

static void take_slot(LoadTestRunner *t, Seq *q, uint64_t at) {
        if (t->what == LOADTEST_DELAY) {
                heap_add(&t->due, &q->due, usec_after(at, q->due.at));
                q->slot = 0; /* which one does not matter */
                t->n_running++;
        } else
                put_at(t, t->n_running++, q);
}

static void leave_slot(LoadTestRunner *t, Seq *q) {
        uint32_t hole = (uint32_t)q->slot, last = --t->n_running;
        q->slot = -1;
        if (t->what == LOADTEST_DELAY)
                heap_remove(&t->due, &q->due);
        else if (hole != last)
                put_at(t, hole, t->running[last]);
}

/* ---- running ---- */

/* The next in turn, into a slot that is free since `at`. */
static void enter_slot(LoadTestRunner *t, uint64_t at) {
        Seq *q = container_of(fair_next(&t->fair), Seq, fair);
        RunCounts *counts = t->runner.counts;
        fair_take(&t->fair, &q->fair);
        at = MAX(at, q->queued_usec);
        take_slot(t, q, at);
        if (q->started)
                return;
        q->started = true;
        q->started_usec = at;
        fair_charge(&q->fair, q->n_prompt, 0);
        counts->prompt_tokens += q->n_prompt;
        t->runner.handlers->started(q);
}

static bool can_admit(const LoadTestRunner *t) {
        return t->n_running < t->slots && t->fair.n_waiting > 0;
}

static void admit(LoadTestRunner *t) {
        for (uint32_t n = 0; n < AT_ONCE && can_admit(t); n++)
                enter_slot(t, now_usec());
}

static void say(LoadTestRunner *t, Seq *q, int32_t id) {
        SampleOut out = {.id = id};
        memset(out.top_ids, -1, sizeof(out.top_ids));
        seq_accept(q, &out);
        if (q->first_usec == 0)
                q->first_usec = now_usec();
        fair_charge(&q->fair, 0, 1);
        t->runner.counts->generation_tokens++;
        t->runner.counts->rows++;
}

static void set_timer(LoadTestRunner *t) {
        if (t->n_running == 0) {
                event_timer_set(&t->timer, UINT64_MAX);
                return;
        }
        uint64_t due = heap_first(&t->due)->at, now = now_usec();
        event_timer_set(&t->timer, MIN(due > now ? due - now : 0, (uint64_t)ALIVE_USEC));
}

static void serve_due(LoadTestRunner *t) {
        uint64_t now = now_usec();
        HeapItem *first;
        for (uint32_t n = 0; n < AT_ONCE && (first = heap_first(&t->due)) && first->at <= now; n++) {
                Seq *q = container_of(first, Seq, due);
                uint64_t due = first->at;
                if (q->n_ids == q->n_prompt)
                        say(t, q, TOKEN_OK);
                seq_end(q);
                t->runner.handlers->progress(q);
                if (can_admit(t))
                        enter_slot(t, due);
        }
}

/* Who ends gives its place to the last one. */
static void serve_in_turn(LoadTestRunner *t) {
        for (uint32_t n = MIN(t->n_running, (uint32_t)AT_ONCE); n > 0 && t->n_running > 0; n--) {
                if (t->turn >= t->n_running)
                        t->turn = 0;
                Seq *q = t->running[t->turn];
                say(t, q, TOKEN_A);
                t->turn += q->finish == IPC_FINISH_NONE;
                t->runner.handlers->progress(q);
        }
}

static bool is_clogged(const LoadTestRunner *t) {
        const RunHandlers *h = t->runner.handlers;
        return h->clogged && h->clogged(t->runner.owner);
}

static void go_on(LoadTestRunner *t) {
        admit(t);
        if (t->what == LOADTEST_DELAY)
                set_timer(t);
        else if (t->n_running > 0 && is_clogged(t))
                event_timer_set(&t->timer, CLOGGED_USEC);
        else if (t->n_running > 0)
                event_defer_set(&t->pump);
        if (can_admit(t))
                event_defer_set(&t->pump);
}

static void serve(LoadTestRunner *t) {
        if (t->what == LOADTEST_DELAY)
                serve_due(t);
        else if (!is_clogged(t))
                serve_in_turn(t);
        t->runner.counts->steps++;
        go_on(t);
}

static void on_pump(EventSource *s, uint32_t revents) {
        serve(container_of(s, LoadTestRunner, pump));
}

static void on_timer(EventSource *s, uint32_t revents) {
        serve(container_of(s, LoadTestRunner, timer));
}

/* ---- coming and going ---- */

static bool is_space(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What the delay model is to wait for, as text. */
static IpcFailCode read_duration(const Seq *q, char text[static DURATION_LENGTH_MAX], Error *e) {
        _cleanup_buf_ Buf prompt = BUF_NULL;
        if (tokenizer_decode(q->tokenizer, q->ids, q->n_prompt, false, false, &prompt) < 0 || prompt.failed) {
                error_set(e, -ENOMEM, "not enough memory to read the prompt");
                return IPC_E_INTERNAL;
        }
        size_t from = 0, to = prompt.len;
        while (from < to && is_space(prompt.data[from]))
                from++;
        while (from < to && is_space(prompt.data[to - 1]))
                to--;
        snprintf(text, DURATION_LENGTH_MAX, "%.*s", (int)MIN(to - from, (size_t)DURATION_LENGTH_MAX),
                 from < to ? prompt.data + from : "");
        return 0;
}

static IpcFailCode loadtest_check(const Runner *r, Seq *q, Error *e) {
        char text[DURATION_LENGTH_MAX];
        if (runner_of(r)->what != LOADTEST_DELAY)
                return 0;
        IpcFailCode code = read_duration(q, text, e);
        if (code)
                return code;
        if (!text[0] || parse_duration(text, &q->due.at) < 0) {
                error_set(e, -EINVAL,
                          "the prompt of the delay model must be the time to wait, such as \"100ms\"%s%.40s%s",
                          text[0] ? ", not \"" : "; it is empty", text, text[0] ? "\"" : "");
                return IPC_E_INVALID;
        }
        q->limit = MAX(q->limit, q->n_ids + 2); /* it ends by itself, whatever max_tokens is */
        return 0;
}

static int loadtest_start(Runner *r, EventLoop *l) {
        LoadTestRunner *t = runner_of(r);
        int error = event_add_defer(l, &t->pump, "load test", on_pump);
        return error < 0 ? error : event_add_timer(l, &t->timer, EVENT_PRIORITY_NORMAL, "load test timer", on_timer);
}

static void loadtest_stop(Runner *r) {
        LoadTestRunner *t = runner_of(r);
        event_remove(&t->pump);
        event_remove(&t->timer);
}

static int loadtest_add(Runner *r, Seq *q) {
        LoadTestRunner *t = runner_of(r);
        int error = fair_put(&t->fair, &q->fair, q->job->uid, (double)q->job->weight, seq_class(q));
        if (error < 0)
                return error;
        if (can_admit(t)) /* now, not when all that has come with it is read */
                enter_slot(t, now_usec());
        event_defer_set(&t->pump);
        return 0;
}

static void loadtest_remove(Runner *r, Seq *q) {
        LoadTestRunner *t = runner_of(r);
        if (q->slot >= 0)
                leave_slot(t, q);
        fair_remove(&t->fair, &q->fair);
        if (t->fair.n_waiting > 0)
                event_defer_set(&t->pump);
}

static void loadtest_pause(Runner *r, Seq *q, bool paused) {
        LoadTestRunner *t = runner_of(r);
        if (t->what == LOADTEST_DELAY || q->paused == paused)
                return;
        q->paused = paused;
        if (paused) {
                if (q->slot >= 0)
                        leave_slot(t, q);
                fair_pause(&t->fair, &q->fair);
        } else {
                fair_resume(&t->fair, &q->fair);
                fair_put_back(&t->fair, &q->fair);
        }
        event_defer_set(&t->pump);
}

static RunLoad loadtest_load(const Runner *r) {
        const LoadTestRunner *t = runner_of(r);
        return (RunLoad){.running = t->n_running, .waiting = t->fair.n_waiting};
}

static void loadtest_free(Runner *r) {
        LoadTestRunner *t = runner_of(r);
        fair_deinit(&t->fair);
        heap_deinit(&t->due);
        free(t->running);
        free(t);
}

int loadtest_new(LoadTest what, uint32_t slots, Runner **ret, Error *e) {
        static const RunnerOps ops = {
                .check = loadtest_check, .start = loadtest_start, .stop = loadtest_stop, .add = loadtest_add,
                .remove = loadtest_remove, .pause = loadtest_pause, .load = loadtest_load, .free = loadtest_free,
        };
        LoadTestRunner *t = calloc(1, sizeof(*t));
        if (!t)
                return error_set(e, -ENOMEM, "not enough memory for a load test");
        t->runner.ops = &ops;
        t->what = what;
        t->slots = slots;
        t->pump = t->timer = EVENT_SOURCE_NULL;
        fair_init(&t->fair);
        bool ok = what == LOADTEST_DELAY ? heap_reserve(&t->due, slots) == 0
                                         : (t->running = calloc(slots, sizeof(Seq *))) != NULL;
        if (!ok) {
                loadtest_free(&t->runner);
                return error_set(e, -ENOMEM, "not enough memory for %u slots", slots);
        }
        *ret = &t->runner;
        return 0;
}
