/* Pools and their engines; see pool.h.
 *
 * State machine
 *   STOPPED  --job or waiter-->  STARTING  --HELLO-->  RUNNING  --idle, reload-->  STOPPING  --exit-->  STOPPED
 *   STARTING, RUNNING: the process ends, its connection ends, or it stalls  -->  (killed)  -->  STOPPED
 * Whatever way STOPPED is reached, jobs that are left start the next engine, at once the first time, then with a
 * growing delay. An engine that cannot even say HELLO some times in a row fails the jobs with its reason.
 *
 * The connection's end and the process's end arrive in any order, and the engine is gone with the second: no two engines
 * hold one device, and nothing that the dead one said is lost.
 *
 * A job is in one of two lists: `jobs` once it was posted to the engine that runs, else `unposted`. Where many are to be
 * posted or failed at once, after an engine's start or death, `turn` does it a part at a time, so that the loop's other
 * work is not kept waiting. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "daemon/message.h"
#include "daemon/pool.h"
#include "util/log.h"
#include "util/str.h"

enum {
        TICK_USEC = 250000,
        RESTART_MIN_USEC = 50000,
        RESTART_MAX_USEC = 5000000,
        START_FAILURES_MAX = 4,
        SILENCE_MIN_USEC = 3000000, /* several of the STATS that an engine with work sends each second */
        JOBS_PER_TURN = 64,
        PUSH_USEC = 150,
};

static void set_text(char **s, const char *data, size_t len) {
        free(*s);
        *s = len ? strndup(data, len) : NULL;
}

static void pool_error(Pool *p, const char *text) {
        set_text(&p->error, text, strlen(text));
}

/* ---- jobs and waiters when there is no engine for them ---- */

static void waiter_end(PoolWaiter *w, IpcStr json, const char *error) {
        pool_unwait(w);
        w->done(w, json, error);
}

static void fail_waiters(Pool *p, const char *why) {
        list_foreach(w, &p->waiters, PoolWaiter, node)
                waiter_end(w, (IpcStr){0}, why);
}

static Job *oldest_job(const Pool *p) {
        Job *j = list_first(&p->jobs, Job, node);
        return j ? j : list_first(&p->unposted, Job, node);
}

/* Each failure may end others of the same request, so it starts from the front each time. */
static void fail_jobs(Pool *p, const char *why, size_t most) {
        for (Job *j; most > 0 && (j = oldest_job(p)); most--)
                job_fail(j, 503, "engine_unavailable", why);
}

static void fail_all(Pool *p, const char *why) {
        fail_waiters(p, why);
        set_text(&p->failing, why, strlen(why));
        if (oldest_job(p))
                event_defer_set(&p->turn);
        else
                free(TAKE(p->failing));
}

static uint64_t restart_delay(const Pool *p) {
        if (p->failures <= 1)
                return 0;
        uint64_t usec = (uint64_t)RESTART_MIN_USEC << MIN(p->failures, 10u);
        return MIN(usec, (uint64_t)RESTART_MAX_USEC);
}

static bool pool_is_wanted(const Pool *p) {
        return oldest_job(p) || !list_is_empty(&p->waiters);
}

void pool_want(Pool *p) {
        if (p->state == POOL_STOPPED && !p->failing && pool_is_wanted(p) && !p->daemon->asleep)
                event_timer_set(&p->restart, restart_delay(p));
}

/* The engine was working on it, or loading its model. */
static bool was_at(const Job *j) {
        return j->posted && (j->got_slot || j->model->phase == IPC_MODEL_LOADING);
}

static void move_job(Job *j, List *to) {
        list_remove(&j->node);
        list_append(to, &j->node);
}

/* An engine that died did so from a job it was at; where there was none, from reading any of the prompts. A job that
 * fails may end others of its request, wherever they are. */
static void requeue_jobs(Pool *p, bool died) {
        List kept;
        bool any = false;
        list_init(&kept);
        list_foreach(j, &p->jobs, Job, node)
                any |= was_at(j);
        for (Job *j; (j = list_first(&p->jobs, Job, node));) {
                move_job(j, &kept);
                job_requeue(j, died && (!any || was_at(j)));
        }
        for (Job *j; (j = list_last(&kept, Job, node));) { /* they are older than those that were not posted yet */
                list_remove(&j->node);
                list_prepend(&p->unposted, &j->node);
        }
}

static void requeue_waiters(Pool *p, bool died) {
        list_foreach(w, &p->waiters, PoolWaiter, node) {
                if (w->sent && died)
                        w->deaths++;
                if (w->what == IPC_UNLOAD)
                        waiter_end(w, (IpcStr){0}, NULL); /* it surely is unloaded */
                else if (w->deaths > p->daemon->config->limits.restarts)
                        waiter_end(w, (IpcStr){0}, "the engine died each time it read this model; it was given up");
                else
                        w->sent = false;
        }
}

/* What an engine had of it. */
static void forget_loaded(ModelEntry *m, IpcModelPhase phase) {
        m->announced = 0;
        m->phase = phase;
        m->stale = false;
        m->weights = m->kv = 0;
        m->stats = (IpcModelStats){0};
}

/* The process has ended: forget what it knew, and start the next if there is work. */
static void engine_ended(Pool *p) {
        bool died = p->state != POOL_STOPPING, hello = p->state == POOL_RUNNING;
        event_remove(&p->child);
        ipc_conn_deinit(&p->conn);
        p->pid = 0;
        p->state = POOL_STOPPED;
        p->stats = (IpcStats){0};
        if (died) {
                p->restarts++;
                p->failures = hello ? 1 : p->failures + 1;
        }
        requeue_jobs(p, died);
        list_foreach(m, &p->daemon->registry.models, ModelEntry, node) {
                if (m->pool != p)
                        continue;
                forget_loaded(m, m->phase == IPC_MODEL_FAILED ? m->phase : IPC_MODEL_UNLOADED);
        }
        requeue_waiters(p, died);
        if (died && p->failures > START_FAILURES_MAX) {
                p->unable = now_usec();
                p->failures = 0;
                fail_all(p, p->error ? p->error : "the engine cannot be started");
        }
        pool_want(p);
}

static void describe_end(Pool *p) {
        char text[160];
        int status = p->exit_status;
        if (WIFSIGNALED(status))
                snprintf(text, sizeof(text), "the engine of pool '%s' was ended by signal %d (%s)", p->name, WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
        else
                snprintf(text, sizeof(text), "the engine of pool '%s' exited with status %d", p->name, WEXITSTATUS(status));
        if (p->state == POOL_STOPPING) {
                log_debug("%s, as asked", text);
                return;
        }
        log_write(LOG_LEVEL_WARNING, &(LogFields){.message_id = MESSAGE_ENGINE_DIED}, "%s; %s", text,
                  pool_is_wanted(p) ? "starting another, its jobs go on" : "it had no jobs");
        if (!p->error)
                pool_error(p, text);
}

/* The process has ended, and all that it said was read. */
static void bury(Pool *p) {
        describe_end(p);
        engine_ended(p);
        if (p->retired)
                pool_free(p);
}

static void on_child(EventSource *s, uint32_t revents) {
        Pool *p = container_of(s, Pool, child);
        p->pid = 0; /* reaped: the number may be somebody else's any time */
        p->exit_status = (int)revents;
        if (p->conn.closed)
                bury(p);
}

static void kill_engine(Pool *p) {
        if (p->pid > 0)
                kill(p->pid, SIGKILL);
}

static void on_gone(IpcConn *c, int error) {
        Pool *p = container_of(c, Pool, conn);
        if (error && error != -EPIPE && p->state != POOL_STOPPING)
                log_warning("the connection to the engine of pool '%s' failed: %s", p->name, strerror(-error));
        if (p->pid > 0)
                kill_engine(p);
        else
                bury(p);
}

/* ---- what the engine says ---- */

static ModelEntry *model_of(Pool *p, IpcStr name) {
        list_foreach(m, &p->daemon->registry.models, ModelEntry, node)
                if (m->pool == p && strlen(m->name) == name.len && memcmp(m->name, name.data, name.len) == 0)
                        return m;
        return NULL;
}

static Job *job_of(Pool *p, uint64_t id) {
        list_foreach(j, &p->by_id[id % POOL_BUCKETS], Job, by_id)
                if (j->id == id)
                        return j;
        return NULL;
}

static void announce(Pool *p, ModelEntry *m) {
        if (m->announced == p->generation)
                return;
        IpcModel def = {.name = ipc_str(m->name), .path = ipc_str(m->path), .slots = m->config.slots,
                        .context = m->config.context, .batch_tokens = m->config.batch_tokens,
                        .precision = m->config.precision, .lookup_tokens = m->config.lookup_tokens,
                        .batch_wait = m->config.batch_wait};
        ipc_send(&p->conn, IPC_MODEL, &def);
        m->announced = p->generation;
}

/* So that the engine begins while the daemon still reads the next requests; and not for each of them, because each push
 * may have to wake it. */
static void push_now_and_then(Pool *p) {
        uint64_t now = now_usec();
        if (now - p->pushed < PUSH_USEC)
                return;
        p->pushed = now;
        ipc_push(&p->conn);
}

static void post_job(Pool *p, Job *j) {
        announce(p, j->model);
        job_post(j, &p->conn);
        move_job(j, &p->jobs);
        push_now_and_then(p);
}

static void post_jobs(Pool *p, size_t most) {
        for (Job *j; most > 0 && (j = list_first(&p->unposted, Job, node)); most--)
                post_job(p, j);
}

static void on_turn(EventSource *s, uint32_t revents _unused_) {
        Pool *p = container_of(s, Pool, turn);
        if (p->failing) {
                fail_jobs(p, p->failing, JOBS_PER_TURN);
                if (!oldest_job(p))
                        free(TAKE(p->failing));
        } else if (p->state == POOL_RUNNING)
                post_jobs(p, JOBS_PER_TURN);
        if (p->failing || (p->state == POOL_RUNNING && !list_is_empty(&p->unposted)))
                event_defer_set(s);
        pool_want(p); /* something may have come while all failed */
}

static void send_waiter(Pool *p, PoolWaiter *w) {
        if (w->sent)
                return;
        w->sent = true;
        if (w->what == IPC_SHOW) {
                ipc_send(&p->conn, IPC_SHOW, &(IpcShow){w->id, ipc_str(w->model->path)});
                return;
        }
        announce(p, w->model);
        ipc_send(&p->conn, w->what, &(IpcName){ipc_str(w->model->name)});
}

static int on_hello(Pool *p, const IpcHello *h) {
        if (p->state != POOL_STARTING)
                return -EPROTO;
        if (h->version != IPC_VERSION) {
                pool_error(p, "the engine is of another version than the daemon; install both from one build");
                log_error("pool '%s': %s", p->name, p->error);
                return -EPROTO;
        }
        if (h->error.len) {
                set_text(&p->error, h->error.data, h->error.len);
                log_error("pool '%s': %s", p->name, p->error);
                p->state = POOL_STOPPING; /* it exits by itself, and another would say the same */
                p->unable = now_usec();
                fail_all(p, p->error);
                return 0;
        }
        p->state = POOL_RUNNING;
        p->unable = 0;
        p->failures = 0;
        p->memory = h->memory;
        set_text(&p->device, h->device.data, h->device.len);
        set_text(&p->note, h->note.data, h->note.len);
        set_text(&p->error, "", 0);
        log_info("pool '%s': engine %d on %s%s%s", p->name, (int)p->pid, p->device ? p->device : "?", p->note ? "; " : "",
                 p->note ? p->note : "");
        list_foreach(w, &p->waiters, PoolWaiter, node)
                send_waiter(p, w);
        event_defer_set(&p->turn);
        return 0;
}

static void touch_model(Pool *p, ModelEntry *m) {
        m->last_used = now_usec();
        m->expires = m->keep_alive == UINT64_MAX ? UINT64_MAX : m->last_used + m->keep_alive;
        if ((m->keep_alive == 0 || m->stale) && m->running + m->waiting == 0 && m->phase == IPC_MODEL_LOADED)
                pool_send(p, IPC_UNLOAD, &(IpcName){ipc_str(m->name)});
}

static void on_model_state(Pool *p, const IpcModelState *s) {
        ModelEntry *m = model_of(p, s->name);
        if (!m)
                return;
        bool failed = s->phase == IPC_MODEL_FAILED;
        if (s->phase != m->phase && s->phase != IPC_MODEL_LOADING)
                log_write(failed ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
                          &(LogFields){.message_id = failed ? MESSAGE_MODEL_FAILED : NULL, .model = m->name}, "model '%s': %s%s%.*s",
                          m->name, failed ? "cannot be loaded" : s->phase == IPC_MODEL_LOADED ? "loaded" : "unloaded",
                          s->error.len ? ": " : "", (int)s->error.len, s->error.len ? s->error.data : "");
        m->phase = (IpcModelPhase)s->phase;
        m->stale = m->stale && is_loaded(m);
        m->progress = s->progress;
        m->weights = s->weights;
        m->kv = s->kv;
        m->slots = s->slots ? s->slots : m->slots;
        m->context = s->context ? s->context : m->context;
        if (s->details.len)
                set_text(&m->details, s->details.data, s->details.len);
        set_text(&m->error, s->error.data, s->error.len);
        if (m->phase == IPC_MODEL_LOADING)
                return;
        if (m->phase == IPC_MODEL_LOADED)
                touch_model(p, m);
        list_foreach(w, &p->waiters, PoolWaiter, node) {
                bool ends = (w->what == IPC_LOAD && m->phase != IPC_MODEL_UNLOADED) || (w->what == IPC_UNLOAD && m->phase != IPC_MODEL_LOADED);
                if (w->model == m && w->sent && ends)
                        waiter_end(w, (IpcStr){0}, w->what == IPC_LOAD ? m->error : NULL);
                else if (w->model == m && !w->sent && m->phase == IPC_MODEL_UNLOADED)
                        send_waiter(p, w);
        }
}

static const struct {
        unsigned status;
        const char *code;
} fail_codes[] = {
        [IPC_E_INVALID] = {400, "invalid_request"}, [IPC_E_CONTEXT] = {400, "context_length_exceeded"},
        [IPC_E_MODEL] = {500, "model_load_failed"}, [IPC_E_BUSY] = {503, "out_of_memory"},
        [IPC_E_INTERNAL] = {500, "internal_error"},
};

static void on_fail(Pool *p, const IpcFail *f) {
        Job *j = job_of(p, f->id);
        if (!j)
                return;
        uint32_t code = f->code < ARRAY_SIZE(fail_codes) && fail_codes[f->code].status ? f->code : (uint32_t)IPC_E_INTERNAL;
        _cleanup_free_ char *text = strndup(f->text.data, f->text.len);
        job_fail(j, fail_codes[code].status, fail_codes[code].code, text ? text : "out of memory");
}

static void on_shown(Pool *p, const IpcShown *s) {
        list_foreach(w, &p->waiters, PoolWaiter, node)
                if (w->what == IPC_SHOW && w->id == s->id) {
                        _cleanup_free_ char *error = s->error.len ? strndup(s->error.data, s->error.len) : NULL;
                        waiter_end(w, s->json, error);
                        return;
                }
}

static void on_stats(Pool *p, const IpcStats *s) {
        if (s->progress != p->stats.progress || s->running == 0)
                p->last_progress = now_usec();
        p->stats = *s;
}

typedef union Message {
        IpcHello hello;
        IpcModelState state;
        IpcStart start;
        IpcPiece piece;
        IpcVectors vectors;
        IpcFail fail;
        IpcShown shown;
        IpcStats stats;
        IpcModelStats model_stats;
} Message;

/* What an engine has counted since it said so before. */
static void add_news(uint64_t *total, uint64_t now, uint64_t before) {
        *total += now - MIN(now, before);
}

static void dispatch(Pool *p, IpcType type, const Message *m) {
        Job *j;
        ModelEntry *model;
        switch (type) {
        case IPC_MODEL_STATE:
                on_model_state(p, &m->state);
                break;
        case IPC_START:
                if ((j = job_of(p, m->start.id)))
                        job_started(j, &m->start);
                break;
        case IPC_PIECE:
                if ((j = job_of(p, m->piece.id)))
                        job_piece(j, &m->piece);
                break;
        case IPC_VECTORS:
                if ((j = job_of(p, m->vectors.id)))
                        job_vectors(j, &m->vectors);
                break;
        case IPC_FAIL:
                on_fail(p, &m->fail);
                break;
        case IPC_SHOWN:
                on_shown(p, &m->shown);
                break;
        case IPC_STATS:
                on_stats(p, &m->stats);
                return; /* is no progress by itself */
        case IPC_MODEL_STATS:
                if ((model = model_of(p, m->model_stats.name))) {
                        add_news(&model->steps, m->model_stats.steps, model->stats.steps);
                        add_news(&model->guessed, m->model_stats.guessed, model->stats.guessed);
                        add_news(&model->guessed_right, m->model_stats.guessed_right, model->stats.guessed_right);
                        model->stats = m->model_stats;
                        model->stats.name = (IpcStr){0}; /* a view into the frame */
                }
                return;
        default:
                return;
        }
        p->last_progress = now_usec();
}

static int on_frame(IpcConn *c, IpcType type, const void *body, size_t len) {
        Pool *p = container_of(c, Pool, conn);
        Message m;
        p->last_heard = now_usec();
        if (type < IPC_HELLO)
                return -EPROTO;
        int r = ipc_decode(type, body, len, &m);
        if (r < 0)
                return r;
        if (type == IPC_HELLO)
                return on_hello(p, &m.hello);
        if (p->state == POOL_STARTING)
                return -EPROTO;
        dispatch(p, type, &m);
        return 0;
}

/* ---- starting and stopping ---- */

static int start_engine(Pool *p) {
        int fds[2];
        Error e = ERROR_NULL;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        int r = programs_spawn(&p->daemon->programs, p->config->device, fds[1], &p->pid, &e);
        close(fds[1]);
        if (r < 0) {
                close(fds[0]);
                pool_error(p, e.text);
                return r;
        }
        r = ipc_conn_init(&p->conn, p->daemon->loop, fds[0], on_frame, on_gone);
        if (r >= 0)
                r = event_add_child(p->daemon->loop, &p->child, p->pid, "engine", on_child);
        return r;
}

static void pool_start(Pool *p) {
        const ConfigPool *c = p->config;
        int r = start_engine(p);
        if (r < 0) {
                log_error("pool '%s': %s", p->name, p->error ? p->error : strerror(-r));
                if (p->pid > 0 && !p->child.impl) { /* spawned, but it cannot be watched */
                        kill_engine(p);
                        waitpid(p->pid, NULL, 0);
                }
                if (r == -ENOENT || r == -EACCES) /* trying again would not help */
                        p->failures = START_FAILURES_MAX;
                p->state = POOL_STARTING;
                engine_ended(p);
                return;
        }
        p->state = POOL_STARTING;
        p->generation++;
        p->last_progress = p->last_heard = p->last_job = now_usec();
        IpcSetup setup = {.device = ipc_str(c->device), .require = c->require, .threads = c->threads, .streams = c->streams,
                          .memory = c->memory, .memory_percent = c->memory_percent, .log_level = log_get_level()};
        ipc_send(&p->conn, IPC_SETUP, &setup);
        event_timer_set(&p->tick, TICK_USEC);
}

static void pool_stop(Pool *p) {
        log_debug("pool '%s' is idle: its engine goes", p->name);
        p->state = POOL_STOPPING;
        ipc_send(&p->conn, IPC_QUIT, &(IpcEmpty){0});
}

static void on_restart(EventSource *s, uint32_t revents _unused_) {
        Pool *p = container_of(s, Pool, restart);
        if (p->state == POOL_STOPPED && !p->failing && pool_is_wanted(p) && !p->daemon->asleep)
                pool_start(p);
}

/* ---- time passes ---- */

static bool unload_expired(Pool *p, uint64_t now) {
        bool any_loaded = false;
        list_foreach(m, &p->daemon->registry.models, ModelEntry, node) {
                if (m->pool != p || !is_loaded(m))
                        continue;
                any_loaded = true;
                if (m->running + m->waiting > 0)
                        touch_model(p, m);
                else if (m->phase == IPC_MODEL_LOADED && (now >= m->expires || m->stale))
                        pool_send(p, IPC_UNLOAD, &(IpcName){ipc_str(m->name)});
        }
        return any_loaded;
}

bool pool_has_running(const Pool *p) {
        uint32_t running = 0;
        list_foreach(m, &p->daemon->registry.models, ModelEntry, node)
                running += m->pool == p ? m->running : 0;
        return running > p->n_paused;
}

/* Jobs hold slots and no step is made; or the engine is to do something and is not heard of at all. */
static bool is_stalled(const Pool *p, uint64_t now) {
        uint64_t patience = p->daemon->config->limits.stall_timeout;
        bool silent = now - p->last_heard > MAX(patience, (uint64_t)SILENCE_MIN_USEC);
        return silent || ((pool_has_running(p) || p->state != POOL_RUNNING) && now - p->last_progress > patience);
}

static void on_tick(EventSource *s, uint32_t revents _unused_) {
        Pool *p = container_of(s, Pool, tick);
        uint64_t now = now_usec();
        if (p->state == POOL_STOPPED && !pool_is_wanted(p))
                return;
        event_timer_set(&p->tick, TICK_USEC);
        if (pool_is_wanted(p))
                p->last_job = now;
        if (p->state == POOL_STOPPED)
                return;
        if (!pool_is_wanted(p) && p->state == POOL_RUNNING)
                p->last_progress = p->last_heard = now;
        if (is_stalled(p, now)) {
                pool_error(p, "the engine made no progress (limits.stall_timeout) and was ended");
                log_warning("pool '%s': the engine makes no progress; ending it", p->name);
                kill_engine(p);
                p->last_progress = p->last_heard = now;
                return;
        }
        if (p->state == POOL_RUNNING && !unload_expired(p, now) && !pool_is_wanted(p) && now - p->last_job >= p->config->idle_exit)
                pool_stop(p);
}

/* ---- the interface ---- */

static void take_job(Pool *p, Job *j) {
        j->pool = p;
        list_append(&p->unposted, &j->node);
        list_append(&p->by_id[j->id % POOL_BUCKETS], &j->by_id);
        p->n_paused += j->paused;
}

void pool_post_again(Pool *p, Job *j) {
        if (j->posted)
                pool_send(p, IPC_CANCEL, &(IpcId){j->id});
        pool_remove_job(p, j);
        job_rewind(j);
        j->id = ++p->daemon->next_job;
        take_job(p, j);
        event_defer_set(&p->turn);
}

void pool_add_job(Pool *p, Job *j) {
        bool first = list_is_empty(&p->unposted);
        take_job(p, j);
        if (p->state == POOL_RUNNING && first && !p->failing)
                post_job(p, j);
        else
                pool_want(p);
}

void pool_remove_job(Pool *p, Job *j) {
        list_remove(&j->node);
        list_remove(&j->by_id);
        p->n_paused -= j->paused;
        p->last_job = now_usec();
        if (j->model->phase == IPC_MODEL_LOADED)
                touch_model(p, j->model);
}

uint32_t pool_users(const Pool *p, const ModelEntry *m) {
        const List *lists[] = {&p->jobs, &p->unposted};
        uint64_t mark = ++p->daemon->counts;
        uint32_t n = 0;
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
                list_foreach(j, lists[i], Job, node) {
                        n += j->model == m && j->user->counted != mark;
                        if (j->model == m)
                                j->user->counted = mark;
                }
        return n;
}

void pool_send(Pool *p, IpcType type, const void *message) {
        if (p->state == POOL_RUNNING)
                ipc_send(&p->conn, type, message);
}

void pool_drop_model(Pool *p, ModelEntry *m) {
        if (m->announced == p->generation)
                pool_send(p, IPC_UNLOAD, &(IpcName){ipc_str(m->name)});
        forget_loaded(m, IPC_MODEL_UNLOADED);
}

void pool_retire(Pool *p) {
        list_remove(&p->node);
        list_append(&p->daemon->retired, &p->node);
        p->retired = true;
        p->state = POOL_STOPPING;
        if (p->pid > 0)
                kill_engine(p);
        else
                pool_free(p);
}

static void move_waiters(Pool *p) {
        list_foreach(w, &p->waiters, PoolWaiter, node) {
                Pool *to = w->model->pool;
                if (to == p)
                        continue;
                list_remove(&w->node);
                list_append(&to->waiters, &w->node);
                w->sent = false;
                if (to->state == POOL_RUNNING)
                        send_waiter(to, w);
                else
                        pool_want(to);
        }
}

static void move_list(Pool *p, List *jobs) {
        list_foreach(j, jobs, Job, node) {
                Pool *to = j->model->pool;
                if (to == p)
                        continue;
                if (j->posted)
                        pool_send(p, IPC_CANCEL, &(IpcId){j->id});
                pool_remove_job(p, j);
                job_rewind(j);
                bool first = list_is_empty(&to->unposted);
                take_job(to, j);
                if (first) {
                        event_defer_set(&to->turn);
                        pool_want(to);
                }
        }
}

void pool_move_jobs(Pool *p) {
        move_waiters(p);
        move_list(p, &p->jobs);
        move_list(p, &p->unposted);
}

void pool_wait(Pool *p, ModelEntry *m, IpcType what, PoolWaiter *w) {
        w->model = m;
        w->what = what;
        w->sent = false;
        w->deaths = 0;
        w->id = ++p->daemon->next_job;
        m->waiters++;
        list_append(&p->waiters, &w->node);
        bool again = what == IPC_LOAD && m->stale && m->phase == IPC_MODEL_LOADED && m->running + m->waiting == 0;
        bool already = (what == IPC_LOAD && m->phase == IPC_MODEL_LOADED && !again) ||
                       (what == IPC_UNLOAD && !is_loaded(m));
        if (already) {
                if (what == IPC_LOAD)
                        touch_model(p, m);
                waiter_end(w, (IpcStr){0}, NULL);
        } else if (again) /* then it is sent */
                pool_send(p, IPC_UNLOAD, &(IpcName){ipc_str(m->name)});
        else if (p->state == POOL_RUNNING)
                send_waiter(p, w);
        else
                pool_want(p);
}

void pool_unwait(PoolWaiter *w) {
        if (!list_is_linked(&w->node))
                return;
        list_remove(&w->node);
        w->model->waiters--;
}

const char *pool_state_name(const Pool *p) {
        static const char *const names[] = {"stopped", "starting", "running", "stopping"};
        return names[p->state];
}

Pool *pool_find(Daemon *d, const char *name) {
        list_foreach(p, &d->pools, Pool, node)
                if (strcmp(p->name, name) == 0)
                        return p;
        return NULL;
}

void pool_halt(Pool *p) {
        if (p->state == POOL_STOPPED)
                return;
        p->state = POOL_STOPPING; /* so that its end counts as asked for */
        kill_engine(p);
}

void pool_reconfigure(Pool *p, const ConfigPool *config) {
        p->config = config;
        if (p->state != POOL_STOPPED)
                log_info("pool '%s': settings changed, its engine is replaced", p->name);
        pool_halt(p);
}

int pool_new(Daemon *d, const ConfigPool *config, Pool **ret) {
        _cleanup_(pool_freep) Pool *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->daemon = d;
        p->config = config;
        p->conn.fd = -1;
        p->child = p->tick = p->restart = p->turn = EVENT_SOURCE_NULL;
        list_init(&p->node);
        list_init(&p->jobs);
        list_init(&p->unposted);
        list_init(&p->waiters);
        for (size_t i = 0; i < POOL_BUCKETS; i++)
                list_init(&p->by_id[i]);
        p->name = strdup(config->name);
        int r = p->name ? event_add_timer(d->loop, &p->tick, EVENT_PRIORITY_NORMAL, "pool tick", on_tick) : -ENOMEM;
        if (r >= 0)
                r = event_add_timer(d->loop, &p->restart, EVENT_PRIORITY_NORMAL, "pool start", on_restart);
        if (r >= 0)
                r = event_add_defer(d->loop, &p->turn, "pool turn", on_turn);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

void pool_free(Pool *p) {
        if (!p)
                return;
        fail_waiters(p, "the daemon is going down");
        fail_jobs(p, "the daemon is going down", SIZE_MAX);
        event_remove(&p->child);
        event_remove(&p->tick);
        event_remove(&p->restart);
        event_remove(&p->turn);
        if (p->pid > 0) {
                kill_engine(p);
                waitpid(p->pid, NULL, 0);
        }
        ipc_conn_deinit(&p->conn);
        list_remove(&p->node);
        free(p->name);
        free(p->device);
        free(p->note);
        free(p->error);
        free(p->failing);
        free(p);
}
