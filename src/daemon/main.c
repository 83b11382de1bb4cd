/* zerollamad: options, set-up, signals, what the service manager is told, and the orderly end.
 *
 * Life: read the configuration, open or adopt sockets, tell the manager READY (no model is loaded yet), run the loop.
 * SIGHUP reloads. SIGTERM drains: no new connections, what runs goes on for at most limits.drain_timeout, then the end;
 * a second SIGTERM ends at once. Where the manager holds the sockets, the daemon also ends when nobody has wanted
 * anything for idle_exit: who comes meanwhile waits in the socket and starts the next. Exit codes: 0 ended as asked,
 * 1 could not start or go on, 2 wrong usage. */
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
#include "daemon/message.h"
#include "daemon/sleep.h"
#include "util/log.h"
#include "util/str.h"

enum {
        LARGE_ALLOCATION = 256 * 1024,
        STATUS_USEC = 1000000,
        STATUS_IDLE_USEC = 2000000,
        DRAIN_CHECK_USEC = 20000,
        DRAIN_MARGIN_USEC = 5000000, /* beyond limits.drain_timeout, for what comes after it */
        SLEEP_CHECK_USEC = 20000,
};

typedef struct Main {
        Daemon d;
        EventSource sigterm, sigint, sighup, drain, status, watchdog, sleep;
        SleepWatch *sleep_watch;
        uint64_t drain_until, watchdog_usec;
        uint64_t busy_at;   /* when somebody was last seen to want something */
        uint64_t tokens, tokens_at; /* as of the last status, for the rate */
        char status_text[1024];
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
        if (left == 0)
                left = http_n_expected(m->d.http);
        if (left > 0 && now_usec() < m->drain_until) {
                event_timer_set(&m->drain, DRAIN_CHECK_USEC);
                return;
        }
        if (left > 0)
                log_write(LOG_LEVEL_WARNING, &(LogFields){.message_id = MESSAGE_UNFINISHED},
                          "ending with %u requests unfinished (limits.drain_timeout)", left);
        event_loop_exit(m->d.loop, 0);
}

static void end_at_once(Main *m) {
        uint32_t left = http_n_requests(m->d.http);
        log_write(LOG_LEVEL_NOTICE, &(LogFields){.message_id = left ? MESSAGE_UNFINISHED : NULL},
                  "second signal: ending at once, with %u requests unfinished", left);
        event_loop_exit(m->d.loop, 0);
}

static void on_terminate(EventSource *s, uint32_t signo) {
        Main *m = signo == SIGTERM ? container_of(s, Main, sigterm) : container_of(s, Main, sigint);
        if (m->d.draining) {
                end_at_once(m);
                return;
        }
        uint64_t patience = m->d.config->limits.drain_timeout;
        manager_notify("STOPPING=1\nSTATUS=ending: %u running, %u waiting\nEXTEND_TIMEOUT_USEC=%" PRIu64, daemon_running(&m->d),
                       daemon_waiting(&m->d), patience + DRAIN_MARGIN_USEC);
        log_notice("ending: %u running, %u waiting", daemon_running(&m->d), daemon_waiting(&m->d));
        daemon_drain(&m->d);
        m->drain_until = now_usec() + patience;
        on_drain(&m->drain, 0);
}

/* Nobody is connected, and nobody can be before we are gone: listening ends here. */
static void end_idle(Main *m) {
        char limit[32];
        log_info("nobody has asked for anything for %s: ending until somebody does",
                 format_duration(limit, sizeof(limit), m->d.config->idle_exit));
        manager_notify("STOPPING=1\nSTATUS=idle");
        daemon_drain(&m->d);
        manager_barrier();
        event_loop_exit(m->d.loop, 0);
}

/* How long until idle_exit has passed. */
static uint64_t idle_left(Main *m) {
        uint64_t now = now_usec(), limit = m->d.config->idle_exit;
        if (daemon_is_busy(&m->d))
                m->busy_at = now;
        uint64_t idle = now - MAX(m->busy_at, users_last_seen(&m->d.users));
        return idle >= limit ? 0 : limit - idle;
}

/* ---- telling the manager ---- */

static uint64_t tokens_per_second(Main *m) {
        uint64_t now = now_usec(), tokens = 0, rate = 0;
        list_foreach(e, &m->d.registry.models, ModelEntry, node)
                tokens += e->stats.generation_tokens;
        if (m->tokens_at && tokens > m->tokens) /* fewer: an engine has ended meanwhile */
                rate = (tokens - m->tokens) * 1000000 / MAX(now - m->tokens_at, UINT64_C(1));
        m->tokens = tokens;
        m->tokens_at = now;
        return rate;
}

static const char *phase_name(IpcModelPhase phase) {
        return phase == IPC_MODEL_LOADED ? "loaded" : phase == IPC_MODEL_LOADING ? "loading" : "failed";
}

static void tell_status(Main *m) {
        _cleanup_buf_ Buf text = BUF_NULL;
        buf_printf(&text, "%u running, %u waiting, %" PRIu64 " tokens/s", daemon_running(&m->d), daemon_waiting(&m->d),
                   tokens_per_second(m));
        list_foreach(e, &m->d.registry.models, ModelEntry, node)
                if (e->phase != IPC_MODEL_UNLOADED)
                        buf_printf(&text, "; %s %s", e->name, phase_name(e->phase));
        if (m->d.reload_error)
                buf_printf(&text, "; the configuration in force is not that of the file: %s", m->d.reload_error);
        if (text.failed || strncmp(text.data, m->status_text, sizeof(m->status_text) - 1) == 0)
                return;
        snprintf(m->status_text, sizeof(m->status_text), "%s", text.data);
        for (char *c = m->status_text; *c; c++)
                if ((unsigned char)*c < ' ')
                        *c = ' '; /* a new line would be another assignment */
        manager_notify("STATUS=%s", m->status_text);
}

static void on_status(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, status);
        if (m->d.draining)
                return;
        state_save(&m->d.state, &m->d);
        uint64_t left = idle_left(m), next = STATUS_IDLE_USEC;
        if (daemon_is_busy(&m->d) || daemon_has_engines(&m->d))
                next = STATUS_USEC;
        if (left == 0 && daemon_may_exit(&m->d)) {
                end_idle(m);
                return;
        }
        tell_status(m);
        event_timer_set(&m->status, left ? MIN(next, left) : next);
}

static void on_watchdog(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, watchdog);
        if (!daemon_is_stuck(&m->d))
                manager_notify("WATCHDOG=1");
        event_timer_set(&m->watchdog, m->watchdog_usec / 2);
}

/* ---- the machine's sleep ---- */

static void on_sleep(EventSource *s, uint32_t revents _unused_) {
        Main *m = container_of(s, Main, sleep);
        if (!m->d.asleep) /* awake again meanwhile: the inhibitor is that of the next time */
                return;
        if (daemon_has_engines(&m->d))
                event_timer_set(&m->sleep, SLEEP_CHECK_USEC);
        else
                sleep_allow(m->sleep_watch);
}

static void on_prepare_for_sleep(bool asleep, void *arg) {
        Main *m = arg;
        log_info(asleep ? "the machine goes to sleep: engines leave their devices" : "the machine is awake: jobs go on");
        daemon_sleep(&m->d, asleep);
        if (asleep)
                on_sleep(&m->sleep, 0);
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
                r = event_add_timer(l, &m->sleep, EVENT_PRIORITY_NORMAL, "sleep check", on_sleep);
        if (r >= 0)
                r = event_add_timer(l, &m->watchdog, EVENT_PRIORITY_HIGH, "watchdog", on_watchdog);
        return r;
}

static void started(Main *m) {
        _cleanup_buf_ Buf addresses = BUF_NULL;
        list_foreach(l, &m->d.listeners, Listener, node)
                buf_printf(&addresses, "%s%s", addresses.len ? ", " : "", l->address);
        log_write(LOG_LEVEL_INFO, &(LogFields){.message_id = MESSAGE_STARTED}, "listening on %s", addresses.data);
        m->busy_at = now_usec();
        m->sleep_watch = sleep_watch(m->d.loop, on_prepare_for_sleep, m);
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
        api_init();
        r = daemon_start(&m->d, loop, o->config, config, api_handle, &e);
        if (r < 0)
                log_error("%s", e.text);
        else {
                m->d.log_level_given = o->log_level != NULL;
                started(m);
                r = event_loop_run(loop);
        }
        sleep_free(m->sleep_watch);
        daemon_stop(&m->d);
        EventSource *sources[] = {&m->sigterm, &m->sigint, &m->sighup, &m->drain, &m->status, &m->watchdog, &m->sleep};
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
                default: /* getopt has said what is wrong */
                        fputs("See zerollamad --help.\n", stderr);
                        return 2;
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
        if (daemon_load_config(o.config, &config, &e) < 0) {
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
