/* The engine's conversation with the daemon; see engine.h and, for the messages, ipc/ipc.h. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine-internal.h"
#include "engine/show.h"
#include "util/log.h"
#include "util/str.h"

enum { WORKERS = 2, TICK_USEC = 250000, MEMORY_PERCENT_DEFAULT = 80 };

/* ---- telling how it goes ---- */

static bool is_busy(const Engine *e) {
        if (!list_is_empty(&e->jobs))
                return true;
        list_foreach(m, &e->models, EngineModel, node)
                if (m->phase != PHASE_UNLOADED && m->phase != PHASE_LOADED)
                        return true;
        return false;
}

static void send_model_stats(Engine *e, const EngineModel *m, RunLoad load, uint32_t waiting) {
        IpcModelStats stats = {
                .name = ipc_str(m->name),
                .running = load.running,
                .waiting = waiting,
                .kv_pages_used = load.pages_used,
                .kv_pages = load.pages,
                .steps = m->counts.steps,
                .prompt_tokens = m->counts.prompt_tokens,
                .generation_tokens = m->counts.generation_tokens,
                .cached_tokens = m->counts.cached_tokens,
                .guessed = m->counts.guessed,
                .guessed_right = m->counts.guessed_right,
        };
        ipc_send(&e->ipc, IPC_MODEL_STATS, &stats);
}

static void send_stats(Engine *e) {
        const EventLongest *longest = event_loop_longest(e->loop);
        IpcStats stats = {.longest_usec = longest->clock_usec, .longest_cpu_usec = longest->cpu_usec};
        for (uint32_t i = 0; i < e->n_lanes; i++)
                stats.progress += e->lanes[i].ticket;
        list_foreach(m, &e->models, EngineModel, node) {
                RunLoad load = m->phase == PHASE_LOADED ? engine_model_load(m) : (RunLoad){0};
                uint32_t waiting = m->n_posted - load.running;
                stats.progress += m->counts.steps;
                stats.rows += m->counts.rows;
                stats.memory_used += m->memory;
                stats.running += load.running;
                stats.waiting += waiting;
                if (m->phase == PHASE_LOADED)
                        send_model_stats(e, m, load, waiting);
                else if (m->phase == PHASE_LOADING)
                        engine_model_tell(m, IPC_MODEL_LOADING, NULL); /* progress */
        }
        ipc_send(&e->ipc, IPC_STATS, &stats);
}

static void on_tick(EventSource *s, uint32_t revents) {
        Engine *e = container_of(s, Engine, tick);
        send_stats(e);
        event_timer_set(s, TICK_USEC);
}

/* ---- after each change ---- */

void engine_settle_later(Engine *e) {
        event_defer_set(&e->settle);
}

/* The ticks run while there is something to tell; falling idle is told at once. */
static void settle_ticks(Engine *e) {
        bool busy = is_busy(e);
        if (busy == e->ticking)
                return;
        e->ticking = busy;
        if (!busy)
                send_stats(e);
        event_timer_set(&e->tick, busy ? TICK_USEC : UINT64_MAX);
}

static void on_settle(EventSource *s, uint32_t revents) {
        Engine *e = container_of(s, Engine, settle);
        if (!e->device) {
                if (ipc_conn_pending(&e->ipc) > 0)
                        engine_settle_later(e); /* HELLO is still to leave */
                else
                        event_loop_exit(e->loop, 1);
                return;
        }
        list_foreach(m, &e->models, EngineModel, node)
                engine_model_settle(m);
        settle_ticks(e);
}

/* ---- SETUP ---- */

static char *copy_str(IpcStr s) {
        return strndup(s.data ? s.data : "", s.len);
}

/* The device and its lanes. */
static int open_device(Engine *e, const IpcSetup *setup, char *note, size_t note_size, Error *error) {
        _cleanup_free_ char *name = copy_str(setup->device);
        if (!name)
                return error_set(error, -ENOMEM, "not enough memory to open a device");
        int r = engine_open_device(name, setup->require, setup->threads, &e->device, note, note_size, error);
        uint32_t n = CLAMP(setup->streams, 1u, (uint32_t)LANES_MAX);
        while (r >= 0 && e->n_lanes < n) {
                r = lane_init(&e->lanes[e->n_lanes], e->device, e->loop, error);
                e->n_lanes += r >= 0;
        }
        return r;
}

static void close_device(Engine *e) {
        while (e->n_lanes > 0)
                lane_deinit(&e->lanes[--e->n_lanes]);
        if (e->device)
                device_free(TAKE(e->device));
}

static size_t find_budget(const Device *d, const IpcSetup *setup) {
        if (setup->memory > 0)
                return setup->memory;
        uint32_t percent = setup->memory_percent ? MIN(setup->memory_percent, 100u) : MEMORY_PERCENT_DEFAULT;
        return d->ops->memory_free((Device *)d) / 100 * percent;
}

static int on_setup(Engine *e, const void *body, size_t len) {
        IpcSetup setup;
        Error error = ERROR_NULL;
        char note[512] = "";
        int r = ipc_decode(IPC_SETUP, body, len, &setup);
        if (r < 0 || e->device)
                return -EPROTO;
        if (setup.log_level >= LOG_LEVEL_ERROR && setup.log_level <= LOG_LEVEL_DEBUG)
                log_set_level((LogLevel)setup.log_level);
        r = open_device(e, &setup, note, sizeof(note), &error);
        IpcHello hello = {.version = IPC_VERSION, .note = ipc_str(note), .error = ipc_str(error.text)};
        if (r >= 0) {
                e->budget = find_budget(e->device, &setup);
                hello = (IpcHello){.version = IPC_VERSION, .device = ipc_str(e->device->name), .note = ipc_str(note),
                                   .memory = e->budget};
        }
        ipc_send(&e->ipc, IPC_HELLO, &hello);
        if (r < 0) {
                log_error("%s", error.text);
                close_device(e);
                engine_settle_later(e); /* ends us */
                return 0;
        }
        char memory[32];
        log_info("computing on %s, with up to %s", e->device->name, format_size(memory, sizeof(memory), e->budget));
        return 0;
}

/* ---- SHOW ---- */

typedef struct Show {
        ListNode node;
        Engine *engine;
        uint64_t id;
        char *path;
        Work work;
        json_t *json;
        char *text; /* of it */
        Error error;
} Show;

static void show_free(Show *s) {
        list_remove(&s->node);
        json_decref(s->json);
        free(s->text);
        free(s->path);
        free(s);
}

static void run_show(Work *w) {
        Show *s = container_of(w, Show, work);
        if (show_file(s->path, &s->json, &s->error) < 0)
                return;
        s->error = ERROR_NULL; /* what optional keys were missing is no error */
        s->text = json_dumps(s->json, JSON_COMPACT);
}

static void show_done(Work *w) {
        Show *s = container_of(w, Show, work);
        IpcShown shown = {.id = s->id, .json = ipc_str(s->text), .error = ipc_str(s->error.text)};
        if (!s->text && !s->error.code)
                shown.error = ipc_str("not enough memory to show the model");
        ipc_send(&s->engine->ipc, IPC_SHOWN, &shown);
        show_free(s);
}

static int on_show(Engine *e, const void *body, size_t len) {
        IpcShow ask;
        int r = ipc_decode(IPC_SHOW, body, len, &ask);
        if (r < 0)
                return r;
        Show *s = calloc(1, sizeof(*s));
        if (!s || !(s->path = copy_str(ask.path))) {
                free(s);
                return -ENOMEM;
        }
        s->engine = e;
        s->id = ask.id;
        s->work = (Work){.run = run_show, .done = show_done};
        list_append(&e->shows, &s->node);
        work_submit(e->workers, &s->work);
        return 0;
}

/* ---- the other messages ---- */

static int on_model(Engine *e, const void *body, size_t len) {
        IpcModel def;
        int r = ipc_decode(IPC_MODEL, body, len, &def);
        return r < 0 ? r : engine_model_define(e, &def);
}

/* LOAD and UNLOAD; of a model that is not known there is nothing to do. */
static int on_wish(Engine *e, bool load, const void *body, size_t len) {
        IpcName ask;
        int r = ipc_decode(IPC_LOAD, body, len, &ask);
        if (r < 0)
                return r;
        EngineModel *m = engine_model_find(e, ask.name);
        if (m)
                engine_model_wish(m, load);
        return 0;
}

/* CANCEL, PAUSE and RESUME. */
static int on_job_id(Engine *e, IpcType type, const void *body, size_t len) {
        IpcId ask;
        int r = ipc_decode(type, body, len, &ask);
        if (r < 0)
                return r;
        if (type == IPC_CANCEL)
                engine_job_cancel(e, ask.id);
        else
                engine_job_pause(e, ask.id, type == IPC_PAUSE);
        return 0;
}

static int on_message(IpcConn *c, IpcType type, const void *body, size_t len) {
        Engine *e = container_of(c, Engine, ipc);
        if (!e->device && type != IPC_SETUP && type != IPC_QUIT)
                return -EPROTO;
        switch (type) {
        case IPC_SETUP:
                return on_setup(e, body, len);
        case IPC_MODEL:
                return on_model(e, body, len);
        case IPC_LOAD:
        case IPC_UNLOAD:
                return on_wish(e, type == IPC_LOAD, body, len);
        case IPC_JOB:
                return engine_job_post(e, body, len);
        case IPC_CANCEL:
        case IPC_PAUSE:
        case IPC_RESUME:
                return on_job_id(e, type, body, len);
        case IPC_SHOW:
                return on_show(e, body, len);
        case IPC_QUIT:
                event_loop_exit(e->loop, 0);
                return 0;
        default:
                return -EPROTO;
        }
}

static void on_gone(IpcConn *c, int error) {
        Engine *e = container_of(c, Engine, ipc);
        bool broken = error < 0 && error != -EPIPE; /* that is the daemon gone, too */
        if (broken)
                log_error("the connection to the daemon broke: %s", strerror(-error));
        event_loop_exit(e->loop, broken ? 1 : 0);
}

/* ---- life ---- */

int engine_new(EventLoop *l, int fd, Engine **ret) {
        _cleanup_(engine_freep) Engine *e = calloc(1, sizeof(*e));
        if (!e) {
                close(fd);
                return -ENOMEM;
        }
        *e = (Engine){.loop = l, .settle = EVENT_SOURCE_NULL, .tick = EVENT_SOURCE_NULL};
        list_init(&e->models);
        list_init(&e->jobs);
        list_init(&e->shows);
        for (size_t i = 0; i < ENGINE_JOB_BUCKETS; i++)
                list_init(&e->jobs_by_id[i]);
        int r = ipc_conn_init(&e->ipc, l, fd, on_message, on_gone);
        if (r >= 0)
                r = event_add_defer(l, &e->settle, "settle", on_settle);
        if (r >= 0)
                r = event_add_timer(l, &e->tick, EVENT_PRIORITY_NORMAL, "tick", on_tick);
        if (r >= 0)
                r = work_pool_new(l, WORKERS, &e->workers);
        if (r < 0)
                return r;
        *ret = TAKE(e);
        return 0;
}

void engine_free(Engine *e) {
        if (!e)
                return;
        work_pool_free(e->workers); /* first: what workers have may then be freed */
        list_foreach(s, &e->shows, Show, node)
                show_free(s);
        list_foreach(j, &e->jobs, Job, node)
                engine_job_free(j);
        list_foreach(m, &e->models, EngineModel, node)
                engine_model_free(m);
        close_device(e);
        event_remove(&e->settle);
        event_remove(&e->tick);
        ipc_conn_deinit(&e->ipc);
        free(e);
}
