/* The daemon's configuration: one YAML file, schema-checked by libcyaml, then validated.
 *
 * A Config is immutable once loaded and complete: every default is filled in, so readers never ask "is it set". A
 * reload builds a second Config and swaps it in whole, or keeps the old one. Sizes are bytes, durations microseconds
 * (UINT64_MAX: forever). Errors name file:line:column, the key, what was expected, and for an unknown key the
 * nearest known one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/buf.h"
#include "util/error.h"
#include "util/log.h"

typedef struct ConfigListen { /* one of: a Unix socket, or TCP */
        const char *unix_path;  /* NULL: TCP */
        mode_t mode;            /* of the socket file; default 0666: the kernel tells users apart */
        const char *owner, *group; /* NULL: leave */
        const char *host;       /* "127.0.0.1", "[::1]" */
        uint16_t port;
        const char *key_file;   /* TCP: file holding the bearer key; NULL: no key (loopback only is accepted so) */
} ConfigListen;

typedef struct ConfigPool {
        const char *name;       /* "default" */
        const char *device;     /* "auto", "cpu", "cuda:N" */
        bool require;           /* never fall back to the CPU */
        uint32_t threads;       /* 0: one per processor */
        uint32_t streams;
        uint64_t memory;        /* bytes for weights and KV cache; 0: see memory_percent */
        uint32_t memory_percent; /* of the device's memory; used when memory is 0 */
        uint64_t idle_exit;     /* engine exits after so long without a job */
} ConfigPool;

typedef enum ConfigPrecision { CONFIG_FLOAT32, CONFIG_INT16, CONFIG_INT8 } ConfigPrecision; /* as in IpcModel */

typedef struct ConfigModel {
        const char *name;
        const char **aliases;
        uint32_t n_aliases;
        const char *path;       /* absolute, or relative to models_path; where not given, NAME.gguf */
        const char *pool;
        uint32_t slots;         /* sequences at once */
        uint32_t context;       /* tokens; 0: what the model was trained with */
        uint32_t batch_tokens;  /* rows per step */
        uint32_t lookup_tokens; /* that may be guessed at a time from what a text repeats; 0: none */
        uint64_t batch_wait;    /* for more inputs of an embedding model, while a batch is computed */
        ConfigPrecision precision; /* of an embedding model's products */
        uint32_t queue;         /* jobs that may wait for a slot */
        uint64_t queue_timeout; /* a job that waited so long is answered 503 */
        uint64_t deadline;      /* a job that is not done after so long is answered 504 */
        uint64_t keep_alive;    /* unloaded after so long without a job; forever: pinned */
} ConfigModel;

typedef enum ConfigPriority { PRIORITY_INTERACTIVE, PRIORITY_BATCH } ConfigPriority; /* as in IpcJob */

typedef struct ConfigUser { /* users: by user name or uid; groups: by group name or gid */
        const char *name;       /* NULL: given by id */
        uint32_t id;
        double weight;          /* share of the device among busy users; > 0 */
        uint32_t jobs;          /* running and waiting at once; 0: no limit */
        uint32_t queue;         /* of these, waiting; 0: no limit */
        uint64_t tokens_per_minute; /* 0: no limit */
        ConfigPriority priority; /* the highest that requests may have */
} ConfigUser;

typedef struct ConfigLimits {
        uint32_t connections;          /* in all */
        uint32_t connections_per_user;
        uint64_t header_size;          /* bytes of request line and headers */
        uint64_t body_size;
        uint64_t memory_per_user;      /* bytes of bodies, of what becomes of them, and of untaken answers a user may hold here */
        uint64_t idle_timeout;         /* keep-alive connection without a request */
        uint64_t request_timeout;      /* from first byte to complete request */
        uint64_t drain_timeout;        /* how long SIGTERM waits for running jobs */
        uint32_t restarts;             /* how often a job survives its engine's death before it fails */
        uint64_t stall_timeout;        /* an engine with running jobs and no progress for so long is replaced */
} ConfigLimits;

typedef struct Config {
        ConfigListen *listen;
        uint32_t n_listen;
        const char *models_path;       /* directory whose *.gguf are served */
        uint64_t idle_exit;            /* of the daemon, where its sockets were passed */
        ConfigPool *pools;             /* at least one; models without a pool use the first */
        uint32_t n_pools;
        ConfigModel *models;           /* those the file names; others found in models_path get model_defaults */
        uint32_t n_models;
        ConfigModel model_defaults;    /* name and path NULL */
        ConfigUser *users, *groups;
        uint32_t n_users, n_groups;
        ConfigUser user_defaults;
        ConfigLimits limits;
        LogLevel log_level;
        struct ConfigPrivate *priv;
} Config;

/* Loads `path`. NULL: the default file (SYSCONFDIR/zerollama/zerollamad.yaml) where it exists, else pure defaults.
 * -EINVAL: what is wrong is in `e`; else what open/read said. */
int config_load(const char *path, Config **ret, Error *e);
void config_free(Config *c);
DEFINE_CLEANUP(Config, config_free)

/* The whole configuration in force, defaults included, as YAML that config_load() reads back to the same. */
int config_print(const Config *c, Buf *out);

/* Every key there is, "pools[].streams<TAB>type<TAB>default" a line: what documentation is checked against. */
void config_keys(Buf *out);

const char *config_priority_name(ConfigPriority p);
const char *config_precision_name(ConfigPrecision p);

const ConfigPool *config_pool(const Config *c, const char *name); /* NULL when there is none */
/* Weight and limits of a caller: the user's entry, else the best of its groups (highest weight), else the defaults. */
ConfigUser config_user(const Config *c, uid_t uid, const gid_t *gids, uint32_t n_gids);
