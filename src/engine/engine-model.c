/* Models: defined by the daemon, loaded for their first job or on request, closed when unwanted or when another needs
 * the memory. Every change is made in engine_model_settle(), which looks at where a model is and what is wanted of
 * it; everybody else only changes what is wanted and calls engine_settle_later(). */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine-internal.h"
#include "util/log.h"
#include "util/str.h"

EngineModel *engine_model_find(Engine *e, IpcStr name) {
        list_foreach(m, &e->models, EngineModel, node)
                if (strlen(m->name) == name.len && memcmp(m->name, name.data, name.len) == 0)
                        return m;
        return NULL;
}

void engine_model_tell(const EngineModel *m, IpcModelPhase phase, const char *error) {
        IpcModelState state = {.name = ipc_str(m->name), .phase = phase, .error = ipc_str(error)};
        const Loaded *l = m->loaded;
        if (l && phase != IPC_MODEL_UNLOADED) {
                state.weights = l->weights;
                state.kv = l->kv;
                state.slots = l->spec.slots;
                state.context = l->spec.context;
                state.details = ipc_str(l->details);
                state.progress = phase == IPC_MODEL_LOADED ? 1 : (float)atomic_load(&l->progress) / 1000;
        }
        ipc_send(&m->engine->ipc, IPC_MODEL_STATE, &state);
}

/* ---- definitions ---- */

static bool same_definition(const EngineModel *m, const IpcModel *def) {
        return strlen(m->path) == def->path.len && memcmp(m->path, def->path.data, def->path.len) == 0 &&
               m->slots == def->slots && m->context == def->context && m->batch_tokens == def->batch_tokens &&
               m->precision == def->precision && m->lookup_tokens == def->lookup_tokens && m->batch_wait == def->batch_wait;
}

static EngineModel *add_model(Engine *e, IpcStr name) {
        EngineModel *m = calloc(1, sizeof(*m));
        char *copy = strndup(name.data, name.len);
        if (!m || !copy) {
                free(m);
                free(copy);
                return NULL;
        }
        m->engine = e;
        m->name = copy;
        list_init(&m->pending);
        list_append(&e->models, &m->node);
        return m;
}

int engine_model_define(Engine *e, const IpcModel *def) {
        EngineModel *m = engine_model_find(e, def->name);
        if (m && m->path && same_definition(m, def))
                return 0;
        char *path = strndup(def->path.data, def->path.len);
        if (!m)
                m = add_model(e, def->name);
        if (!m || !path) {
                free(path);
                return -ENOMEM;
        }
        free(m->path);
        m->path = path;
        m->slots = def->slots;
        m->context = def->context;
        m->batch_tokens = def->batch_tokens;
        m->precision = def->precision;
        m->lookup_tokens = def->lookup_tokens;
        m->batch_wait = def->batch_wait;
        m->stale = m->phase != PHASE_UNLOADED;
        engine_settle_later(e);
        return 0;
}

/* Whoever asks waits for a MODEL_STATE: when nothing needs to be done, it comes at once. */
void engine_model_wish(EngineModel *m, bool load) {
        m->wanted = load;
        m->unload = !load && m->phase != PHASE_UNLOADED;
        if (load && engine_model_is_ready(m))
                engine_model_tell(m, IPC_MODEL_LOADED, NULL);
        else if (!load && (m->phase == PHASE_UNLOADED || (m->phase == PHASE_CLOSING && m->failed)))
                engine_model_tell(m, IPC_MODEL_UNLOADED, NULL);
        engine_settle_later(m->engine);
}

/* ---- works ---- */

static void start_work(EngineModel *m, EngineModelPhase phase, void (*run)(Work *), void (*done)(Work *)) {
        m->phase = phase;
        m->error = ERROR_NULL;
        m->work = (Work){.run = run, .done = done};
        work_submit(m->engine->workers, &m->work);
}

static Lane *least_used_lane(Engine *e) {
        Lane *least = &e->lanes[0];
        for (Lane *l = e->lanes; l < e->lanes + e->n_lanes; l++)
                if (l->n_bound < least->n_bound)
                        least = l;
        return least;
}

static void bind_lane(EngineModel *m, Lane *l) {
        if (m->lane)
                m->lane->n_bound--;
        if (l)
                l->n_bound++;
        m->lane = l;
}

static void run_close(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        loaded_free(TAKE(m->loaded));
        malloc_trim(0);
}

static void close_done(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        m->phase = PHASE_UNLOADED;
        m->memory = 0;
        bind_lane(m, NULL);
        if (!m->failed)
                engine_model_tell(m, IPC_MODEL_UNLOADED, NULL);
        engine_settle_later(m->engine);
}

static void stop_runner(EngineModel *m) {
        Runner *r = m->loaded ? m->loaded->runner : NULL;
        if (r)
                r->ops->stop(r);
}

static void start_close(EngineModel *m, bool failed) {
        if (m->phase == PHASE_LOADED && !failed)
                log_info("unloading model %s", m->name);
        m->failed = failed;
        stop_runner(m);
        start_work(m, PHASE_CLOSING, run_close, close_done);
}

/* Everybody who waits for the model is told why they wait in vain. The next job tries again: files get repaired. */
static void fail(EngineModel *m, IpcFailCode code, const char *text) {
        _cleanup_free_ char *why = strdup(text); /* it may be in what is freed */
        log_warning("model %s: %s", m->name, text);
        engine_model_tell(m, IPC_MODEL_FAILED, why);
        m->wanted = false;
        while (!list_is_empty(&m->pending))
                engine_job_fail(list_first(&m->pending, Job, pending), code, why);
        start_close(m, true);
}

static void start_pending(EngineModel *m) {
        while (!list_is_empty(&m->pending))
                engine_job_start(list_first(&m->pending, Job, pending));
}

static void run_load(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        m->result = loaded_load(m->loaded, m->lane, &m->error);
}

static void load_done(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        Loaded *l = m->loaded;
        int r = m->result;
        if (r >= 0) {
                r = runner_start(l->runner, m->engine->loop, &engine_job_handlers, m->engine, &m->counts);
                if (r < 0)
                        error_set(&m->error, r, "the event loop takes no more sources");
        }
        if (r < 0) {
                fail(m, IPC_E_MODEL, m->error.text);
                return;
        }
        m->phase = PHASE_LOADED;
        m->wanted = false;
        m->last_used = now_usec();
        if (!m->stale)
                start_pending(m); /* also when it is to be unloaded: they were there before that was said */
        char weights[32], kv[32];
        log_info("model %s: loaded, %s of weights, %s of KV cache, %u slots, context %u", m->name,
                 format_size(weights, sizeof(weights), l->weights), format_size(kv, sizeof(kv), l->kv), l->spec.slots,
                 l->spec.context);
        engine_model_tell(m, IPC_MODEL_LOADED, NULL);
        engine_settle_later(m->engine);
}

static void run_open(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        m->result = loaded_open(m->loaded, &m->error);
}

static void open_done(Work *w) {
        EngineModel *m = container_of(w, EngineModel, work);
        m->phase = PHASE_PLANNING;
        if (m->result < 0)
                fail(m, IPC_E_MODEL, m->error.text);
        engine_settle_later(m->engine);
}

/* ---- memory ---- */

static size_t memory_of_others(const EngineModel *m) {
        size_t sum = 0;
        list_foreach(o, &m->engine->models, EngineModel, node)
                if (o != m)
                        sum += o->memory;
        return sum;
}

static EngineModel *find_in_phase(const EngineModel *m, EngineModelPhase phase) {
        list_foreach(o, &m->engine->models, EngineModel, node)
                if (o != m && o->phase == phase)
                        return o;
        return NULL;
}

static EngineModel *least_recently_used_idle(const EngineModel *m) {
        EngineModel *least = NULL;
        list_foreach(o, &m->engine->models, EngineModel, node)
                if (o != m && o->phase == PHASE_LOADED && o->n_jobs == 0 && (!least || o->last_used < least->last_used))
                        least = o;
        return least;
}

/* Finds memory for an opened model: idle models make way; one that has jobs is not disturbed. */
static void settle_memory(EngineModel *m) {
        size_t others = memory_of_others(m), budget = m->engine->budget;
        size_t available = others < budget ? budget - others : 0;
        int r = loaded_plan(m->loaded, m->engine->device, available, false, &m->error);
        if (r < 0) {
                if (find_in_phase(m, PHASE_CLOSING))
                        return; /* its end settles us again */
                EngineModel *idle = least_recently_used_idle(m);
                if (idle) {
                        start_close(idle, false);
                        return;
                }
                if (others > 0) {
                        error_prefix(&m->error, "no memory now, other models are in use");
                        fail(m, IPC_E_BUSY, m->error.text);
                        return;
                }
                r = loaded_plan(m->loaded, m->engine->device, available, true, &m->error);
        }
        if (r < 0) {
                fail(m, IPC_E_MODEL, m->error.text);
                return;
        }
        m->memory = loaded_memory(m->loaded);
        if (!m->loaded->test)
                bind_lane(m, least_used_lane(m->engine));
        start_work(m, PHASE_LOADING, run_load, load_done);
}

/* ---- what now? ---- */

static void settle_unloaded(EngineModel *m) {
        if (!m->wanted && list_is_empty(&m->pending))
                return;
        m->unload = m->stale = m->failed = false;
        engine_model_tell(m, IPC_MODEL_LOADING, NULL);
        LoadedSpec spec = {m->name, m->path, m->slots, m->context, m->batch_tokens, m->precision, m->lookup_tokens, m->batch_wait};
        if (loaded_new(&spec, &m->loaded) < 0)
                fail(m, IPC_E_INTERNAL, "not enough memory to load it");
        else
                start_work(m, PHASE_OPENING, run_open, open_done);
}

static void settle_loaded(EngineModel *m) {
        if (engine_model_is_ready(m))
                start_pending(m);
        else if (m->n_jobs == 0)
                start_close(m, false);
}

void engine_model_settle(EngineModel *m) {
        switch (m->phase) {
        case PHASE_UNLOADED:
                settle_unloaded(m);
                break;
        case PHASE_PLANNING:
                settle_memory(m);
                break;
        case PHASE_LOADED:
                settle_loaded(m);
                break;
        case PHASE_OPENING:
        case PHASE_LOADING:
        case PHASE_CLOSING:
                break; /* a worker has it */
        }
}

void engine_model_free(EngineModel *m) {
        stop_runner(m);
        loaded_free(m->loaded);
        free(m->name);
        free(m->path);
        free(m);
}
