/* The engine as the daemon meets it: over its socketpair, with both ends on one loop in this process. A Plan says what
 * a run is to do, run() does it and collects what came of each job. */
#pragma once

#include <errno.h>
#include <sys/socket.h>

#include "unit.h"
#include "engine/engine-internal.h"
#include "util/log.h"

enum { JOBS_MAX = 100000 };

typedef struct Result {
        Buf text, ids, logprobs, top_ids, top_text, sent_after; /* sent_after: u64 bytes of text after each id */
        uint32_t starts, ends, prompt_tokens, completion_tokens, cached_tokens;
        IpcFinish finish;
        uint32_t code; /* of FAIL */
        char error[512];
        bool cancelled, cancel_seen;
        size_t order; /* how many ended before it */
        uint64_t queue_usec, prefill_usec;
} Result;

typedef struct Client Client;

typedef struct Plan { /* what a run is to do */
        const char *model;
        bool twice; /* it is there as "n", too */
        uint32_t slots, context, batch_tokens, threads, streams, lookup_tokens;
        uint64_t memory;
        size_t n;
        const IpcJob *jobs; /* [n]; ids, uid, model and defaults are filled in */
        int cancel, cancel_after; /* which job, after how many tokens; -1: none */
        bool one_by_one;
        void (*piece)(Client *c, size_t i); /* job i said something and is not at its end */
        void (*end)(Client *c, size_t i);
        uint64_t preemptions, memory_used, kv, steps, guessed, guessed_right;
        uint32_t pages;
} Plan;

struct Client {
        IpcConn ipc;
        EventLoop *loop;
        Plan *plan;
        Result *results;
        size_t n_posted, n_ended;
        IpcModelStats stats;
};

static const IpcJob plain = {.weight = 1, .model = {"m", 1}, .add_special = true, .max_tokens = -1, .top_p = 1,
                             .repeat_penalty = 1, .n_top = -1, .prompt = {"Once upon a time", 16}};

static inline IpcJob ask(const char *prompt, int32_t max_tokens) {
        IpcJob j = plain;
        j.prompt = ipc_str(prompt);
        j.max_tokens = max_tokens;
        return j;
}

/* PAUSE, RESUME or CANCEL. The engine takes messages in order: when it answers a SHOW that was sent after a CANCEL, all that
 * it had said of the job was on its way. */
static inline void tell_job(Client *c, IpcType type, size_t i) {
        IpcId id = {i + 1};
        ipc_send(&c->ipc, type, &id);
        if (type == IPC_CANCEL)
                ipc_send(&c->ipc, IPC_SHOW, &(IpcShow){.id = id.id, .path = ipc_str(IPC_PATH_NULL)});
}

static inline void post(Client *c, size_t i) {
        IpcJob j = c->plan->jobs[i];
        j.id = i + 1;
        ipc_send(&c->ipc, IPC_JOB, &j);
        c->n_posted++;
}

static inline void ended(Client *c, size_t i) {
        c->results[i].order = c->n_ended++;
        if (c->plan->end)
                c->plan->end(c, i);
        if (c->plan->one_by_one && c->n_posted < c->plan->n)
                post(c, c->n_posted);
}

static inline void on_piece(Client *c, const IpcPiece *p) {
        assert_in_range(p->id, 1, c->plan->n);
        Result *r = &c->results[p->id - 1];
        assert_int_equal(r->starts, 1);
        assert_int_equal(r->ends, 0);
        assert_false(r->cancel_seen);
        if (r->cancelled) /* it was on its way when CANCEL was sent */
                return;
        buf_put(&r->ids, p->ids.data, p->ids.n * sizeof(int32_t));
        buf_put(&r->text, p->text.data, p->text.len);
        buf_put(&r->logprobs, p->logprobs.data, p->logprobs.n * sizeof(float));
        buf_put(&r->top_ids, p->top_ids.data, p->top_ids.n * sizeof(int32_t));
        buf_put(&r->top_text, p->top_text.bytes.data, p->top_text.bytes.len);
        uint64_t sent = r->text.len;
        for (uint32_t i = 0; i < p->ids.n; i++)
                buf_put(&r->sent_after, &sent, sizeof(sent));
        if (p->finish != IPC_FINISH_NONE) {
                r->finish = (IpcFinish)p->finish;
                r->prompt_tokens = p->prompt_tokens;
                r->completion_tokens = p->completion_tokens;
                r->cached_tokens = p->cached_tokens;
                r->queue_usec = p->queue_usec;
                r->prefill_usec = p->prefill_usec;
                r->ends++;
                ended(c, p->id - 1);
        } else if ((int)p->id - 1 == c->plan->cancel && (int)(r->ids.len / 4) >= c->plan->cancel_after) {
                tell_job(c, IPC_CANCEL, p->id - 1);
                r->cancelled = true;
                ended(c, p->id - 1);
        } else if (c->plan->piece)
                c->plan->piece(c, p->id - 1);
}

static inline void on_fail(Client *c, const IpcFail *f) {
        assert_in_range(f->id, 1, c->plan->n);
        Result *r = &c->results[f->id - 1];
        assert_int_equal(r->ends, 0);
        r->ends++;
        r->code = f->code;
        snprintf(r->error, sizeof(r->error), "%.*s", (int)f->text.len, f->text.data);
        ended(c, f->id - 1);
}

static inline int on_message(IpcConn *conn, IpcType type, const void *body, size_t len) {
        Client *c = container_of(conn, Client, ipc);
        union {
                IpcHello hello;
                IpcModelState state;
                IpcModelStats model_stats;
                IpcStart start;
                IpcPiece piece;
                IpcFail fail;
                IpcStats stats;
                IpcShown shown;
        } m;
        assert_int_equal(ipc_decode(type, body, len, &m), 0);
        if (type == IPC_HELLO)
                assert_int_equal(m.hello.error.len, 0);
        else if (type == IPC_MODEL_STATE)
                c->plan->kv = MAX(c->plan->kv, m.state.kv);
        else if (type == IPC_MODEL_STATS)
                c->stats = m.model_stats;
        else if (type == IPC_START)
                c->results[m.start.id - 1].starts++;
        else if (type == IPC_PIECE)
                on_piece(c, &m.piece);
        else if (type == IPC_FAIL)
                on_fail(c, &m.fail);
        else if (type == IPC_SHOWN)
                c->results[m.shown.id - 1].cancel_seen = true;
        else if (type == IPC_STATS && c->n_ended == c->plan->n && m.stats.running + m.stats.waiting == 0) {
                assert_int_equal(c->stats.kv_pages_used, 0);
                c->plan->memory_used = m.stats.memory_used;
                c->plan->pages = c->stats.kv_pages;
                c->plan->steps = c->stats.steps;
                c->plan->guessed = c->stats.guessed;
                c->plan->guessed_right = c->stats.guessed_right;
                event_loop_exit(c->loop, 7);
        }
        return 0;
}

static inline void on_gone(IpcConn *conn, int error) {
        fail_msg("the engine closed the connection: %s", strerror(-error));
}

static inline void connect_engine(Client *c, Engine **ret) {
        int fds[2];
        assert_int_equal(event_loop_new(&c->loop), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        assert_int_equal(ipc_conn_init(&c->ipc, c->loop, fds[0], on_message, on_gone), 0);
        assert_int_equal(engine_new(c->loop, fds[1], ret), 0);
}

static inline void disconnect_engine(Client *c, Engine *e) {
        engine_free(e);
        ipc_conn_deinit(&c->ipc);
        event_loop_free(c->loop);
}

static inline void set_up(Client *c, const Plan *p) {
        IpcSetup setup = {.device = ipc_str("cpu"), .threads = p->threads ? p->threads : 1, .streams = p->streams,
                          .memory = p->memory ? p->memory : 1 << 30, .log_level = LOG_LEVEL_WARNING};
        IpcModel model = {.name = ipc_str("m"), .path = ipc_str(p->model), .slots = p->slots ? p->slots : 4,
                          .context = p->context, .batch_tokens = p->batch_tokens ? p->batch_tokens : 64,
                          .lookup_tokens = p->lookup_tokens};
        ipc_send(&c->ipc, IPC_SETUP, &setup);
        ipc_send(&c->ipc, IPC_MODEL, &model);
        if (!p->twice)
                return;
        model.name = ipc_str("n");
        ipc_send(&c->ipc, IPC_MODEL, &model);
}

/* Runs all jobs of the plan to their ends. */
static inline void run(Plan *p, Result *results) {
        Client c = {.plan = p, .results = results};
        Engine *e;
        assert_true(p->n <= JOBS_MAX);
        connect_engine(&c, &e);
        set_up(&c, p);
        for (size_t i = 0; i < (p->one_by_one ? 1 : p->n); i++)
                post(&c, i);
        assert_int_equal(event_loop_run(c.loop), 7);
        list_foreach(m, &e->models, EngineModel, node)
                p->preemptions += m->counts.preemptions;
        for (size_t i = 0; i < p->n; i++)
                assert_int_equal(results[i].ends, results[i].cancelled ? 0 : 1);
        disconnect_engine(&c, e);
}

static inline void result_deinit(Result *r) {
        buf_deinit(&r->text);
        buf_deinit(&r->ids);
        buf_deinit(&r->logprobs);
        buf_deinit(&r->top_ids);
        buf_deinit(&r->top_text);
        buf_deinit(&r->sent_after);
        *r = (Result){0};
}

static inline void results_deinit(Result *r, size_t n) {
        for (size_t i = 0; i < n; i++)
                result_deinit(&r[i]);
}

static inline size_t n_ids(const Result *r) {
        return r->ids.len / sizeof(int32_t);
}

static const int32_t *ids_of(const Result *r) {
        return (const int32_t *)(const void *)r->ids.data;
}

static inline void assert_same(const Result *a, const Result *b) {
        assert_int_equal(a->finish, b->finish);
        assert_int_equal(a->ids.len, b->ids.len);
        assert_memory_equal(a->ids.data, b->ids.data, a->ids.len);
        assert_string_equal(a->text.data, b->text.data);
        assert_int_equal(a->logprobs.len, b->logprobs.len);
        assert_true(a->logprobs.len == 0 || memcmp(a->logprobs.data, b->logprobs.data, a->logprobs.len) == 0);
}
