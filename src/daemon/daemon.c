/* The daemon: its parts put together, a configuration put in force over them, and what it says of itself.
 *
 * A configuration comes into force whole or not at all: first what can fail for an outside reason (sockets), then the
 * rest, which only memory can stop. Until then, and if it fails, the old one stays. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/job.h"
#include "daemon/manager.h"
#include "daemon/message.h"
#include "daemon/pool.h"
#include "util/log.h"
#include "util/str.h"

enum {
        WORKERS = 2,            /* for a large body and whatever comes beside it */
        STUCK_MARGIN = 10000000,
        UNABLE_USEC = 10000000, /* so long /ready says no after an engine was given up: then somebody must try */
};

/* ---- the daemon's view of itself ---- */

static bool sockets_were_passed(const Daemon *d) {
        return !list_is_empty(&d->listeners) && list_first(&d->listeners, Listener, node)->passed;
}

uint32_t daemon_running(const Daemon *d) {
        uint32_t n = 0;
        list_foreach(m, &d->registry.models, ModelEntry, node)
                n += m->running;
        return n;
}

uint32_t daemon_waiting(const Daemon *d) {
        uint32_t n = 0;
        list_foreach(m, &d->registry.models, ModelEntry, node)
                n += m->waiting;
        return n;
}

const char *daemon_unready(const Daemon *d) {
        if (d->draining)
                return "draining";
        list_foreach(p, &d->pools, Pool, node)
                if (p->unable && p->error && now_usec() - p->unable < UNABLE_USEC)
                        return p->error;
        return NULL;
}

bool daemon_is_busy(const Daemon *d) {
        return http_n_connections(d->http) > 0 || daemon_running(d) + daemon_waiting(d) > 0 || d->reloading;
}

bool daemon_has_engines(const Daemon *d) {
        list_foreach(p, &d->pools, Pool, node)
                if (p->state != POOL_STOPPED)
                        return true;
        return !list_is_empty(&d->retired);
}

bool daemon_may_exit(Daemon *d) {
        return !daemon_is_busy(d) && !daemon_has_engines(d) && sockets_were_passed(d) && users_owe_nothing(&d->users);
}

bool daemon_is_stuck(const Daemon *d) {
        uint64_t now = now_usec(), patience = 2 * d->config->limits.stall_timeout + STUCK_MARGIN;
        list_foreach(p, &d->pools, Pool, node)
                if (pool_has_running(p) && now - p->last_progress > patience)
                        return true;
        return false;
}

/* ---- configuration ---- */

static const ConfigListen *config_of(const Config *c, const Listener *l) {
        for (uint32_t i = 0; i < c->n_listen; i++) {
                _cleanup_free_ char *address = listen_address(&c->listen[i]);
                if (address && strcmp(address, l->address) == 0)
                        return &c->listen[i];
        }
        return NULL;
}

/* Opens into `fresh` what the configuration names and is not open. */
static int open_missing(Daemon *d, const Config *c, List *fresh, Error *e) {
        for (uint32_t i = 0; i < c->n_listen; i++) {
                bool open = false;
                list_foreach(l, &d->listeners, Listener, node)
                        open |= config_of(c, l) == &c->listen[i];
                Listener *l;
                int r = open ? 0 : listener_open(d->loop, &c->listen[i], http_accept, d->http, &l, e);
                if (r < 0)
                        return r;
                if (!open)
                        list_append(fresh, &l->node);
        }
        return 0;
}

/* Sockets that were passed stand in for those of the configuration, whose entries then only tell their keys. */
static int apply_listeners(Daemon *d, const Config *c, Error *e) {
        List fresh;
        list_init(&fresh);
        int r = sockets_were_passed(d) ? 0 : open_missing(d, c, &fresh, e);
        list_foreach(l, &d->listeners, Listener, node)
                if (r >= 0 && (l->passed || config_of(c, l)))
                        r = listener_prepare(l, config_of(c, l), e);
        if (r < 0) {
                list_foreach(l, &fresh, Listener, node)
                        listener_free(l);
                return r;
        }
        list_foreach(l, &d->listeners, Listener, node)
                if (l->passed || config_of(c, l))
                        listener_commit(l, config_of(c, l));
                else
                        listener_free(l);
        list_foreach(l, &fresh, Listener, node) {
                list_remove(&l->node);
                list_append(&d->listeners, &l->node);
        }
        return 0;
}

static void give_pools(void *arg) {
        Daemon *d = arg;
        list_foreach(m, &d->registry.models, ModelEntry, node) {
                Pool *p = m->config.pool ? pool_find(d, m->config.pool) : NULL, *old = m->pool;
                m->pool = p ? p : list_first(&d->pools, Pool, node);
                if (old && old != m->pool)
                        pool_drop_model(old, m);
        }
}

static bool same_pool(const ConfigPool *a, const ConfigPool *b) {
        return strcmp(a->device, b->device) == 0 && a->require == b->require && a->threads == b->threads &&
               a->streams == b->streams && a->memory == b->memory && a->memory_percent == b->memory_percent;
}

static int make_pools(Daemon *d, const Config *c, List *fresh) {
        for (uint32_t i = 0; i < c->n_pools; i++) {
                Pool *p;
                if (pool_find(d, c->pools[i].name))
                        continue;
                if (pool_new(d, &c->pools[i], &p) < 0)
                        return -ENOMEM;
                list_append(fresh, &p->node);
        }
        return 0;
}

static Pool *find_in(List *l, const char *name) {
        list_foreach(p, l, Pool, node)
                if (strcmp(p->name, name) == 0)
                        return p;
        return NULL;
}

/* Pools by name: those that stay keep their engine unless their settings changed; those that are gone give their jobs
 * to the pools their models have now. `fresh` are those that are new. */
static void apply_pools(Daemon *d, const Config *c, Survey *survey, List *fresh) {
        List old;
        list_init(&old);
        list_foreach(p, &d->pools, Pool, node) {
                list_remove(&p->node);
                list_append(&old, &p->node);
        }
        for (uint32_t i = 0; i < c->n_pools; i++) {
                Pool *p = find_in(&old, c->pools[i].name);
                if (!p)
                        p = find_in(fresh, c->pools[i].name);
                list_remove(&p->node);
                list_append(&d->pools, &p->node);
                if (same_pool(p->config, &c->pools[i]))
                        p->config = &c->pools[i];
                else
                        pool_reconfigure(p, &c->pools[i]);
        }
        if (registry_configure(&d->registry, c, survey) < 0)
                log_error("out of memory for the list of models; it is not complete");
        list_foreach(p, &d->pools, Pool, node)
                pool_move_jobs(p);
        list_foreach(p, &old, Pool, node) {
                pool_move_jobs(p);
                pool_retire(p);
        }
}

/* Puts a configuration in force and takes it over. What can fail comes first; then the old configuration stays. Takes over the
 * survey of its models in any case; NULL: none was made. */
static int apply_config(Daemon *d, Config *c, Survey *survey, Error *e) {
        List fresh;
        list_init(&fresh);
        int r = make_pools(d, c, &fresh);
        if (r < 0)
                error_set(e, r, "out of memory");
        if (r >= 0)
                r = apply_listeners(d, c, e);
        if (r < 0) {
                list_foreach(p, &fresh, Pool, node)
                        pool_free(p);
                survey_free(survey);
                return r;
        }
        http_configure(d->http, c);
        apply_pools(d, c, survey, &fresh);
        users_reconfigure(&d->users, c);
        config_free(d->config);
        d->config = c;
        return 0;
}

/* ---- reloading ---- */

typedef struct Reload {
        Work work;
        Daemon *d;
        bool check;
        Config *config;
        Survey *survey; /* of its models */
        Error error;
        DaemonReloaded done;
        void *arg;
} Reload;

int daemon_load_config(const char *path, Config **ret, Error *e) {
        Config *c;
        int r = config_load(path, &c, e);
        if (r < 0)
                return r;
        for (uint32_t i = 0; r >= 0 && i < c->n_listen; i++)
                r = listen_check(&c->listen[i], e);
        if (r < 0)
                config_free(c);
        else
                *ret = c;
        return r;
}

static void reload_run(Work *w) {
        Reload *r = container_of(w, Reload, work);
        if (daemon_load_config(r->d->config_path, &r->config, &r->error) < 0) {
                if (!r->error.text[0])
                        error_set(&r->error, -ENOMEM, "out of memory");
        } else if (!r->check && (r->survey = survey_new(r->config)))
                survey_run(r->survey);
}

static void reload_done(Work *w) {
        Reload *r = container_of(w, Reload, work);
        Daemon *d = r->d;
        if (!r->error.text[0] && !r->check && apply_config(d, r->config, TAKE(r->survey), &r->error) >= 0) {
                r->config = NULL;
                if (!d->log_level_given)
                        log_set_level(d->config->log_level);
                log_write(LOG_LEVEL_INFO, &(LogFields){.message_id = MESSAGE_RELOADED}, "configuration reloaded");
        }
        config_free(r->config);
        survey_free(r->survey);
        if (!r->check) {
                d->reloading = false;
                free(d->reload_error);
                d->reload_error = r->error.text[0] ? strdup(r->error.text) : NULL;
                if (r->error.text[0])
                        log_write(LOG_LEVEL_ERROR, &(LogFields){.message_id = MESSAGE_RELOAD_FAILED},
                                  "the configuration was not reloaded, the old one stays: %s", r->error.text);
                manager_notify("READY=1");
        }
        if (r->done)
                r->done(r->arg, r->error.text[0] ? r->error.text : NULL);
        free(r);
}

void daemon_reload(Daemon *d, bool check, DaemonReloaded done, void *arg) {
        Reload *r = calloc(1, sizeof(*r));
        if (!r || (!check && (d->reloading || d->draining))) {
                const char *why = !r ? "out of memory" : d->draining ? "the daemon is going down" : "a reload is in progress";
                free(r);
                if (done)
                        done(arg, why);
                return;
        }
        *r = (Reload){.work = {.run = reload_run, .done = reload_done}, .d = d, .check = check, .done = done, .arg = arg};
        if (!check) {
                d->reloading = true;
                manager_notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_usec());
        }
        work_submit(d->workers, &r->work);
}

/* ---- life ---- */

static void on_room(void *arg) {
        Daemon *d = arg;
        list_foreach(l, &d->listeners, Listener, node)
                if (!d->draining)
                        listener_resume(l);
}

static int adopt_passed(Daemon *d, Error *e) {
        _cleanup_free_ char *names = NULL;
        int n = manager_listen_fds(&names);
        if (n < 0)
                return error_set(e, n, "$LISTEN_FDS from the service manager makes no sense");
        char *rest = names;
        for (int fd = 3; fd < 3 + n; fd++) {
                Listener *l;
                const char *name = strsep(&rest, ":");
                if (name && strcmp(name, STATE_NAME) == 0) {
                        state_adopt(&d->state, fd);
                        continue;
                }
                int r = listener_adopt(d->loop, fd, http_accept, d->http, &l, e);
                if (r < 0)
                        return r;
                list_append(&d->listeners, &l->node);
        }
        return 0;
}

int daemon_start(Daemon *d, EventLoop *loop, const char *config_path, Config *config, HttpHandler handler, Error *e) {
        *d = (Daemon){.loop = loop, .config_path = config_path, .started = now_usec(), .state = STATE_NULL,
                      .programs = PROGRAMS_NULL, .deadlines.timer = EVENT_SOURCE_NULL};
        programs_open(&d->programs);
        list_init(&d->listeners);
        list_init(&d->pools);
        list_init(&d->retired);
        users_init(&d->users);
        int r = work_pool_new(loop, WORKERS, &d->workers);
        registry_init(&d->registry, d->workers, give_pools, d);
        if (r < 0)
                error_set(e, r, "cannot start a worker: %s", strerror(-r));
        if (r >= 0 && (r = deadlines_init(&d->deadlines, loop, job_expired)) < 0)
                error_set(e, r, "cannot make a timer: %s", strerror(-r));
        if (r >= 0)
                r = http_new(loop, &d->users, handler, on_room, d, &d->http, e);
        if (r >= 0)
                r = adopt_passed(d, e);
        if (r >= 0)
                r = apply_config(d, config, NULL, e);
        if (r >= 0)
                state_restore(&d->state, d);
        if (r < 0 && d->config != config)
                config_free(config);
        return r;
}

void daemon_stop(Daemon *d) {
        list_foreach(l, &d->listeners, Listener, node)
                listener_free(l);
        http_free(d->http);
        list_foreach(p, &d->pools, Pool, node)
                pool_free(p);
        list_foreach(p, &d->retired, Pool, node)
                pool_free(p);
        programs_close(&d->programs);
        deadlines_deinit(&d->deadlines);
        if (d->config) /* after the last job's end, which is charged to somebody */
                state_save(&d->state, d);
        state_deinit(&d->state);
        free(d->reload_error);
        work_pool_free(d->workers); /* who charges users */
        registry_deinit(&d->registry);
        users_deinit(&d->users);
        config_free(d->config);
}

void daemon_drain(Daemon *d) {
        d->draining = true;
        /* Sockets that were passed keep their queue for the next instance; our own close, so that clients see it. */
        list_foreach(l, &d->listeners, Listener, node)
                if (l->passed)
                        listener_pause(l);
                else
                        listener_free(l);
        http_drain(d->http);
}

void daemon_sleep(Daemon *d, bool asleep) {
        d->asleep = asleep;
        list_foreach(p, &d->pools, Pool, node)
                if (asleep)
                        pool_halt(p);
                else
                        pool_want(p);
}
