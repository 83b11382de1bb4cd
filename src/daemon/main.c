/* zerollamad: options, set-up, signals, reloading, and the orderly end.
 *
 * Life: read the configuration, open or adopt sockets, tell the manager READY (no model is loaded yet), run the loop.
 * SIGHUP reloads. SIGTERM drains: no new connections, what runs goes on for at most limits.drain_timeout, then the end;
 * a second SIGTERM ends at once. Exit codes: 0 ended as asked, 1 could not start or go on, 2 wrong usage. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <config.h>
#include "api/api.h"
#include "daemon/daemon.h"
#include "daemon/job.h"
#include "daemon/manager.h"
#include "daemon/pool.h"
#include "util/log.h"
#include "util/str.h"

enum { STATUS_USEC = 1000000, DRAIN_CHECK_USEC = 20000 };

typedef struct Main {
        Daemon d;
        EventSource sigterm, sigint, sighup, drain, status, watchdog;
        uint64_t drain_until, watchdog_usec;
        char status_text[256];
} Main;

typedef struct Options {
        const char *config, *log_level;
        bool check, print;
} Options;

/* ---- the daemon's view of itself ---- */

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
                if (p->state == POOL_STOPPED && p->error && p->failures > 0)
                        return p->error;
        return NULL;
}

/* ---- configuration ---- */

static bool same_listen(const Listener *l, const ConfigListen *c) {
        _cleanup_free_ char *address = listen_address(c);
        return address && strcmp(address, l->address) == 0;
}

/* Opens what is new, then closes what is no longer named; passed sockets stay. */
static int apply_listeners(Daemon *d, const Config *c, Error *e) {
        for (uint32_t i = 0; i < c->n_listen; i++) {
                bool open = false;
                list_foreach(l, &d->listeners, Listener, node)
                        open |= same_listen(l, &c->listen[i]);
                Listener *l;
                int r = open ? 0 : listener_open(d->loop, &c->listen[i], http_accept, d->http, &l, e);
                if (r < 0)
                        return r;
                if (!open)
                        list_append(&d->listeners, &l->node);
        }
        list_foreach(l, &d->listeners, Listener, node) {
                bool named = l->passed;
                for (uint32_t i = 0; i < c->n_listen; i++)
                        named |= same_listen(l, &c->listen[i]);
                if (!named)
                        listener_free(l);
        }
        return 0;
}

static void give_pools(void *arg) {
        Daemon *d = arg;
        list_foreach(m, &d->registry.models, ModelEntry, node) {
                Pool *p = m->config.pool ? pool_find(d, m->config.pool) : NULL;
                m->pool = p ? p : list_first(&d->pools, Pool, node);
        }
}

static bool same_pool(const ConfigPool *a, const ConfigPool *b) {
        return strcmp(a->device, b->device) == 0 && a->require == b->require && a->threads == b->threads &&
               a->streams == b->streams && a->memory == b->memory && a->memory_percent == b->memory_percent;
}

/* Pools by name: new ones are made, changed ones get a new engine, and those that are gone give their jobs away. */
static int apply_pools(Daemon *d, const Config *c) {
        List old;
        list_init(&old);
        list_foreach(p, &d->pools, Pool, node) {
                list_remove(&p->node);
                list_append(&old, &p->node);
        }
        for (uint32_t i = 0; i < c->n_pools; i++) {
                Pool *p = NULL;
                list_foreach(it, &old, Pool, node)
                        if (strcmp(it->name, c->pools[i].name) == 0)
                                p = it;
                if (!p && pool_new(d, &c->pools[i], &p) < 0)
                        return -ENOMEM;
                list_remove(&p->node);
                list_append(&d->pools, &p->node);
                if (same_pool(p->config, &c->pools[i]))
                        p->config = &c->pools[i];
                else
                        pool_reconfigure(p, &c->pools[i]);
        }
        int r = registry_configure(&d->registry, c);
        list_foreach(p, &d->pools, Pool, node)
                pool_move_jobs(p);
        list_foreach(p, &old, Pool, node) {
                pool_move_jobs(p);
                pool_free(p);
        }
        return r;
}

/* Puts a configuration in force and takes it over. Listeners come first: only they can fail for an outside reason, and
 * then the old configuration stays. */
static int apply_config(Daemon *d, Config *c, Error *e) {
        bool passed = !list_is_empty(&d->listeners) && list_first(&d->listeners, Listener, node)->passed;
        int r = http_configure(d->http, d->config ? d->config : c, e);
        if (r >= 0 && !passed)
                r = apply_listeners(d, c, e);
        if (r < 0)
                return r;
        http_configure(d->http, c, NULL);
        users_reconfigure(&d->users, c);
        if (apply_pools(d, c) < 0)
                return error_set(e, -ENOMEM, "out of memory");
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
        Error error;
        DaemonReloaded done;
        void *arg;
} Reload;

static void reload_run(Work *w) {
        Reload *r = container_of(w, Reload, work);
        if (config_load(r->d->config_path, &r->config, &r->error) < 0 && !r->error.text[0])
                error_set(&r->error, -ENOMEM, "out of memory");
}

static void reload_done(Work *w) {
        Reload *r = container_of(w, Reload, work);
        Daemon *d = r->d;
        if (r->config && !r->check && apply_config(d, r->config, &r->error) >= 0) {
                r->config = NULL;
                log_set_level(d->config->log_level);
                log_info("configuration reloaded");
        }
        config_free(r->config);
        if (!r->check) {
                d->reloading = false;
                manager_notify("READY=1");
                if (r->error.text[0])
                        log_error("the configuration was not reloaded, the old one stays: %s", r->error.text);
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

static void on_sighup(EventSource *s, uint32_t revents _unused_) {
        daemon_reload(&container_of(s, Main, sighup)->d, false, NULL, NULL);
}

/* ---- the end ---- */

static void on_drain(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, drain);
        uint32_t left = http_n_requests(m->d.http);
        if (left > 0 && now_usec() < m->drain_until) {
                event_timer_set(&m->drain, DRAIN_CHECK_USEC);
                return;
        }
        if (left > 0)
                log_warning("ending with %u requests unfinished (limits.drain_timeout)", left);
        event_loop_exit(m->d.loop, 0);
}

static void on_terminate(EventSource *s, uint32_t signo) {
        Main *m = signo == SIGTERM ? container_of(s, Main, sigterm) : container_of(s, Main, sigint);
        if (m->d.draining) {
                log_notice("second signal: ending at once");
                event_loop_exit(m->d.loop, 0);
                return;
        }
        m->d.draining = true;
        manager_notify("STOPPING=1\nSTATUS=draining");
        log_notice("ending: %u running, %u waiting", daemon_running(&m->d), daemon_waiting(&m->d));
        /* Sockets that were passed keep their queue for the next instance; our own close, so that clients see it. */
        list_foreach(l, &m->d.listeners, Listener, node)
                if (l->passed)
                        listener_pause(l);
                else
                        listener_free(l);
        http_drain(m->d.http);
        m->drain_until = now_usec() + m->d.config->limits.drain_timeout;
        on_drain(&m->drain, 0);
}

/* ---- telling the manager ---- */

static void on_status(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, status);
        char text[sizeof(m->status_text)];
        int n = snprintf(text, sizeof(text), "%u running, %u waiting", daemon_running(&m->d), daemon_waiting(&m->d));
        list_foreach(e, &m->d.registry.models, ModelEntry, node)
                if (e->phase != IPC_MODEL_UNLOADED && n < (int)sizeof(text))
                        n += snprintf(text + n, sizeof(text) - (size_t)n, "; %s %s", e->name,
                                      e->phase == IPC_MODEL_LOADED ? "loaded" : e->phase == IPC_MODEL_LOADING ? "loading" : "failed");
        if (strcmp(text, m->status_text) != 0 && !m->d.draining)
                manager_notify("STATUS=%s", text);
        memcpy(m->status_text, text, sizeof(text));
        event_timer_set(&m->status, STATUS_USEC);
}

static void on_watchdog(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, watchdog);
        manager_notify("WATCHDOG=1");
        event_timer_set(&m->watchdog, m->watchdog_usec / 2);
}

/* ---- set-up ---- */

static void on_room(void *arg) {
        Daemon *d = arg;
        list_foreach(l, &d->listeners, Listener, node)
                if (!d->draining)
                        listener_resume(l);
}

static int add_sources(Main *m) {
        EventLoop *l = m->d.loop;
        int r = event_add_signal(l, &m->sigterm, SIGTERM, "SIGTERM", on_terminate);
        if (r >= 0)
                r = event_add_signal(l, &m->sigint, SIGINT, "SIGINT", on_terminate);
        if (r >= 0)
                r = event_add_signal(l, &m->sighup, SIGHUP, "SIGHUP", on_sighup);
        if (r >= 0)
                r = event_add_timer(l, &m->drain, EVENT_PRIORITY_NORMAL, "drain", on_drain);
        if (r >= 0)
                r = event_add_timer(l, &m->status, EVENT_PRIORITY_LOW, "status", on_status);
        if (r >= 0)
                r = event_add_timer(l, &m->watchdog, EVENT_PRIORITY_HIGH, "watchdog", on_watchdog);
        return r;
}

static int adopt_listeners(Daemon *d, Error *e) {
        int n = manager_listen_fds();
        if (n < 0)
                return error_set(e, n, "$LISTEN_FDS from the service manager makes no sense");
        for (int fd = 3; fd < 3 + n; fd++) {
                Listener *l;
                int r = listener_adopt(d->loop, fd, http_accept, d->http, &l, e);
                if (r < 0)
                        return r;
                list_append(&d->listeners, &l->node);
        }
        return 0;
}

static int daemon_start(Main *m, Config *config, Error *e) {
        Daemon *d = &m->d;
        d->started = now_usec();
        list_init(&d->listeners);
        list_init(&d->pools);
        users_init(&d->users);
        registry_init(&d->registry, give_pools, d);
        int r = event_loop_new(&d->loop);
        if (r >= 0)
                r = add_sources(m);
        if (r >= 0)
                r = work_pool_new(d->loop, 1, &d->workers);
        if (r < 0)
                return error_set(e, r, "cannot set up the event loop: %s", strerror(-r));
        r = http_new(d->loop, &d->users, api_handle, on_room, d, &d->http, e);
        if (r >= 0)
                r = adopt_listeners(d, e);
        return r >= 0 ? apply_config(d, config, e) : r;
}

static void daemon_stop(Main *m) {
        Daemon *d = &m->d;
        list_foreach(l, &d->listeners, Listener, node)
                listener_free(l);
        http_free(d->http);
        list_foreach(p, &d->pools, Pool, node)
                pool_free(p);
        registry_deinit(&d->registry);
        users_deinit(&d->users);
        work_pool_free(d->workers);
        EventSource *sources[] = {&m->sigterm, &m->sigint, &m->sighup, &m->drain, &m->status, &m->watchdog};
        for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
                event_remove(sources[i]);
        event_loop_free(d->loop);
        config_free(d->config);
}

static int run(const Options *o, Config *config) {
        _cleanup_free_ Main *m = calloc(1, sizeof(*m));
        Error e = ERROR_NULL;
        if (!m)
                return 1;
        m->d.config_path = (char *)o->config;
        int r = daemon_start(m, config, &e);
        if (r < 0) {
                log_error("%s", e.text);
                if (!m->d.config)
                        config_free(config);
                daemon_stop(m);
                return 1;
        }
        list_foreach(l, &m->d.listeners, Listener, node)
                log_info("listening on %s", l->address);
        m->watchdog_usec = manager_watchdog_usec();
        if (m->watchdog_usec)
                on_watchdog(&m->watchdog, 0);
        malloc_trim(0); /* what reading the configuration took */
        manager_notify("READY=1");
        on_status(&m->status, 0);
        r = event_loop_run(m->d.loop);
        daemon_stop(m);
        return r < 0 ? 1 : r;
}

/* ---- options ---- */

static const char usage[] =
        "zerollamad serves language models to the users and programs of this machine.\n"
        "\n"
        "Usage: zerollamad [OPTION...]\n"
        "\n"
        "  -c, --config=FILE      read FILE [" SYSCONFDIR "/zerollama/zerollamad.yaml where it exists]\n"
        "      --check            read the configuration, say whether it is valid, and exit\n"
        "      --print-config     print the whole configuration in force, defaults included, and exit\n"
        "  -l, --log-level=LEVEL  error, warning, notice, info or debug\n"
        "  -V, --version          print the version and exit\n"
        "  -h, --help             print this and exit\n"
        "\n"
        "See zerollamad(8), zerollamad.yaml(5).\n";

static int parse_options(int argc, char **argv, Options *ret) {
        static const struct option options[] = {
                {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'C'},
                {"print-config", no_argument, NULL, 'P'}, {"log-level", required_argument, NULL, 'l'},
                {"version", no_argument, NULL, 'V'},      {"help", no_argument, NULL, 'h'},
                {0},
        };
        LogLevel level;
        *ret = (Options){0};
        for (int c; (c = getopt_long(argc, argv, "c:l:Vh", options, NULL)) != -1;)
                switch (c) {
                case 'c':
                        ret->config = optarg;
                        break;
                case 'C':
                        ret->check = true;
                        break;
                case 'P':
                        ret->print = true;
                        break;
                case 'l':
                        ret->log_level = optarg;
                        break;
                case 'V':
                        printf("zerollamad %s\n", PACKAGE_VERSION);
                        exit(0);
                case 'h':
                        fputs(usage, stdout);
                        exit(0);
                default:
                        return 2; /* getopt has said what is wrong */
                }
        if (optind < argc) {
                fprintf(stderr, "zerollamad: unexpected argument '%s'; see zerollamad --help\n", argv[optind]);
                return 2;
        }
        if (ret->log_level && log_level_from_string(ret->log_level, &level) < 0) {
                fprintf(stderr, "zerollamad: --log-level takes error, warning, notice, info or debug, not '%s'\n", ret->log_level);
                return 2;
        }
        return 0;
}

static int print_config(const Config *c) {
        _cleanup_buf_ Buf out = BUF_NULL;
        if (config_print(c, &out) < 0)
                return 1;
        fputs(out.data, stdout);
        return 0;
}

/* As many descriptors as we may have: clients are many, and the soft limit is made for programs that use select(). */
static void raise_fd_limit(void) {
        struct rlimit l;
        if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
                l.rlim_cur = l.rlim_max;
                setrlimit(RLIMIT_NOFILE, &l);
        }
}

int main(int argc, char **argv) {
        Options o;
        Config *config = NULL;
        Error e = ERROR_NULL;
        log_init("zerollamad");
        int r = parse_options(argc, argv, &o);
        if (r != 0)
                return r;
        if (config_load(o.config, &config, &e) < 0) {
                fprintf(stderr, "zerollamad: %s\n", e.text[0] ? e.text : "out of memory");
                return 1;
        }
        if (o.check || o.print) {
                if (o.print)
                        r = print_config(config);
                else
                        printf("The configuration is valid.\n");
                config_free(config);
                return r;
        }
        LogLevel level = config->log_level;
        if (o.log_level)
                log_level_from_string(o.log_level, &level);
        log_set_level(level);
        signal(SIGPIPE, SIG_IGN);
        raise_fd_limit();
        return run(&o, config);
}
