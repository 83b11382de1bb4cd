/* The daemon's one object: what main.c builds, what the API dialects look into. Everything here belongs to the loop
 * thread. */
#pragma once

#include "daemon/config.h"
#include "daemon/deadline.h"
#include "daemon/http.h"
#include "daemon/program.h"
#include "daemon/registry.h"
#include "daemon/state.h"
#include "daemon/user.h"
#include "event/event.h"
#include "event/work.h"
#include "util/list.h"

struct Daemon {
        EventLoop *loop;
        WorkPool *workers; /* for what waits or takes long: reading configurations and directories, parsing large bodies */
        const char *config_path; /* NULL: the default place */
        Config *config;
        Registry registry;
        Users users;
        Deadlines deadlines; /* of the jobs */
        Http *http;
        List listeners; /* Listener */
        Programs programs;
        List pools;     /* Pool, in the config's order */
        List retired;   /* Pool: no longer in the config, its engine is ending */
        State state;
        bool draining, reloading;
        bool asleep; /* the machine is about to sleep: no engine may run */
        char *reload_error; /* why the last reload failed; NULL: it did not */
        bool log_level_given; /* on the command line: a reload does not change it */
        uint64_t started;
        uint64_t next_job;
        uint64_t counts; /* by pool_users() */
        struct {
                uint64_t completed, failed, cancelled, refused, restarted;
        } jobs; /* how they ended; restarted: re-posted to a new engine */
};

/* Reads and checks a configuration, with the key files it names; from any thread. *ret is written only on success. */
int daemon_load_config(const char *path, Config **ret, Error *e);

/* Takes `config` over, also when it fails; adopts the sockets the service manager passed, else opens those of the
 * configuration. `handler` gets the requests, with the Daemon as its argument. daemon_stop() either way. */
int daemon_start(Daemon *d, EventLoop *loop, const char *config_path, Config *config, HttpHandler handler, Error *e);
/* Ends what is left: requests, jobs, engines. */
void daemon_stop(Daemon *d);
/* No new connections; what is there goes on. */
void daemon_drain(Daemon *d);
/* Before the machine sleeps engines leave their devices, after it jobs go on in new ones. */
void daemon_sleep(Daemon *d, bool asleep);
bool daemon_has_engines(const Daemon *d);

/* Number of jobs now. */
uint32_t daemon_running(const Daemon *d);
uint32_t daemon_waiting(const Daemon *d);
/* Somebody is connected, or something is being done. */
bool daemon_is_busy(const Daemon *d);
/* Whether ending now would cost nobody anything: the service manager holds the sockets and starts us again; no engine has
 * a model loaded; no budget is spent. */
bool daemon_may_exit(Daemon *d);
/* Whether jobs have made no progress for so long that a stalled engine would have been replaced long ago: the fault is
 * the daemon's own. */
bool daemon_is_stuck(const Daemon *d);
/* NULL: jobs can be taken. Else why not, for /ready. */
const char *daemon_unready(const Daemon *d);

/* Reads the configuration again on a worker and puts it in force, or with `check` only says whether it could be.
 * done() runs on the loop; `error` is NULL when all is well. */
typedef void (*DaemonReloaded)(void *arg, const char *error);
void daemon_reload(Daemon *d, bool check, DaemonReloaded done, void *arg);
