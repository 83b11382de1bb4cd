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
#include "daemon/manager.h"
#include "util/log.h"
#include "util/str.h"

enum { LARGE_ALLOCATION = 256 * 1024, STATUS_USEC = 1000000, STATUS_IDLE_USEC = 5000000, DRAIN_CHECK_USEC = 20000 };

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
        manager_notify("STOPPING=1\nSTATUS=draining");
        log_notice("ending: %u running, %u waiting", daemon_running(&m->d), daemon_waiting(&m->d));
        daemon_drain(&m->d);
        m->drain_until = now_usec() + m->d.config->limits.drain_timeout;
        on_drain(&m->drain, 0);
}

/* ---- telling the manager ---- */

static void on_status(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, status);
        char text[sizeof(m->status_text)];
        uint32_t running = daemon_running(&m->d), waiting = daemon_waiting(&m->d);
        bool busy = running + waiting > 0;
        int n = snprintf(text, sizeof(text), "%u running, %u waiting", running, waiting);
        list_foreach(e, &m->d.registry.models, ModelEntry, node)
                if (e->phase != IPC_MODEL_UNLOADED && n < (int)sizeof(text))
                        n += snprintf(text + n, sizeof(text) - (size_t)n, "; %s %s", e->name,
                                      e->phase == IPC_MODEL_LOADED ? "loaded" : e->phase == IPC_MODEL_LOADING ? "loading" : "failed");
        if (strcmp(text, m->status_text) != 0 && !m->d.draining)
                manager_notify("STATUS=%s", text);
        memcpy(m->status_text, text, sizeof(text));
        event_timer_set(&m->status, busy ? STATUS_USEC : STATUS_IDLE_USEC);
}

static void on_watchdog(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, watchdog);
        manager_notify("WATCHDOG=1");
        event_timer_set(&m->watchdog, m->watchdog_usec / 2);
}

/* ---- set-up ---- */

static int add_sources(Main *m, EventLoop *l) {
        int r = event_add_signal(l, &m->sigterm, SIGTERM, "SIGTERM", on_terminate);
        if (r >= 0)
                r = event_add_signal(l, &m->sigint, SIGINT, "SIGINT", on_terminate);
        if (r >= 0)
                r = event_add_signal(l, &m->sighup, SIGHUP, "SIGHUP", on_sighup);
        if (r >= 0)
                r = event_add_timer(l, &m->drain, EVENT_PRIORITY_NORMAL, "drain", on_drain);
        if (r >= 0)
                r = event_add_timer(l, &m->status, EVENT_PRIORITY_NORMAL, "status", on_status);
        if (r >= 0)
                r = event_add_timer(l, &m->watchdog, EVENT_PRIORITY_HIGH, "watchdog", on_watchdog);
        return r;
}

static void started(Main *m) {
        list_foreach(l, &m->d.listeners, Listener, node)
                log_info("listening on %s", l->address);
        m->watchdog_usec = manager_watchdog_usec();
        if (m->watchdog_usec)
                on_watchdog(&m->watchdog, 0);
        malloc_trim(0); /* what reading the configuration took */
        manager_notify("READY=1");
        on_status(&m->status, 0);
}

static int run(const Options *o, Config *config) {
        _cleanup_free_ Main *m = calloc(1, sizeof(*m));
        _cleanup_(event_loop_freep) EventLoop *loop = NULL;
        Error e = ERROR_NULL;
        int r = m ? event_loop_new(&loop) : -ENOMEM;
        if (r >= 0)
                r = add_sources(m, loop);
        if (r < 0) {
                log_error("cannot set up the event loop: %s", strerror(-r));
                config_free(config);
                return 1;
        }
        r = daemon_start(&m->d, loop, o->config, config, api_handle, &e);
        if (r < 0)
                log_error("%s", e.text);
        else {
                m->d.log_level_given = o->log_level != NULL;
                started(m);
                r = event_loop_run(loop);
        }
        daemon_stop(&m->d);
        EventSource *sources[] = {&m->sigterm, &m->sigint, &m->sighup, &m->drain, &m->status, &m->watchdog};
        for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
                event_remove(sources[i]);
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
        signal(SIGCHLD, SIG_DFL); /* ignored by who started us, the ends of engines would have no status */
        mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION); /* large bodies go back to the system when they are freed */
        raise_fd_limit();
        return run(&o, config);
}
