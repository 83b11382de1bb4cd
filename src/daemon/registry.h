/* The models this daemon serves: those the config names, and the *.gguf files and directories with a config.json found
 * in models_path and in the directory of models that came with the installation. Only names, sizes and dates are
 * looked at here, by workers: disks may be slow. What is in a file only an engine reads, but for variants' (variant.h).
 *
 * A name is looked up as clients write it: "demo", "demo:latest", an alias, or a variant's, which stands for the model it is
 * of; a model of that name goes before, unless it is that very one, whose aliases then mean the variant, too. A Model entry, once made, stays until its file is gone and nothing refers to it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "daemon/config.h"
#include "daemon/histogram.h"
#include "daemon/variant.h"
#include "event/work.h"
#include "ipc/ipc.h"
#include "util/list.h"

typedef struct Pool Pool;

typedef struct ModelEntry {
        ListNode node;
        char *name;             /* without ":latest" */
        char *path;             /* absolute */
        ConfigModel config;     /* in force; name, path, aliases unset */
        const ConfigModel *named; /* its entry in the config, or NULL: found in a directory */
        uint64_t size;
        time_t modified;
        bool missing;           /* the file is not there (any more) */
        bool builtin;           /* needs no file: a load-test model */
        bool hidden;            /* builtin and not named in the config: to be had, but not listed */
        bool embeds;            /* has the files of sentence-transformers: it makes embeddings */
        bool stale;             /* what is loaded is not what the disk has, any more: it goes as soon as nobody uses it */
        bool seen;              /* by the scan in progress */
        Pool *pool;

        /* What its pool's engine says of it. */
        uint32_t announced;     /* the engine generation that knows its definition; 0: none */
        IpcModelPhase phase;
        float progress;
        uint64_t weights, kv;
        uint32_t slots, context;
        char *details, *error;  /* JSON object, text; NULL: not known, none */
        IpcModelStats stats;    /* of the engine that runs now */

        /* What the daemon knows. */
        uint32_t running, waiting; /* jobs */
        uint32_t waiters;          /* who wait for it to be loaded or unloaded */
        uint64_t keep_alive;    /* in force; a request may change it */
        uint64_t last_used, expires; /* now_usec(); expires UINT64_MAX: stays loaded */
        double job_usec;        /* moving average of how long a job holds a slot */
        uint64_t jobs_total, prompt_tokens, generation_tokens, cached_tokens;
        uint64_t inputs; /* embedded or ranked */
        uint64_t steps, guessed, guessed_right;  /* of all engines */
        Histogram queue_time, first_token, inter_token, request_time;
} ModelEntry;

/* Or about to be. */
static inline bool is_loaded(const ModelEntry *m) {
        return m->phase == IPC_MODEL_LOADED || m->phase == IPC_MODEL_LOADING;
}

typedef struct Survey Survey;

typedef struct Registry {
        List models;   /* by name */
        List variants; /* by name; each look makes them anew */
        const Config *config;
        uint64_t generation; /* of configs */
        WorkPool *workers;
        struct timespec scanned[2]; /* dates of the two directories at the last look */
        Survey *survey;             /* that a worker has; NULL: none */
        List waiters;               /* for the next */
        List turns;                 /* of those who change what the directories hold; the first has it */
        void (*changed)(void *arg); /* after each look: the owner gives new entries their pool */
        void *arg;
} Registry;

void registry_init(Registry *r, WorkPool *workers, void (*changed)(void *arg), void *arg);
void registry_deinit(Registry *r); /* when no worker runs any more */

/* A look at the disk for a config, on any thread. NULL: no memory. */
Survey *survey_new(const Config *config);
void survey_run(Survey *s);
void survey_free(Survey *s);
/* Takes a config (kept as a pointer), and over what a survey for it found; NULL: looks itself. -ENOMEM. */
int registry_configure(Registry *r, const Config *config, Survey *s);

/* Has a worker look again, and tells the waiter, embedded in its owner, when the list is as the disk was after it asked.
 * `thorough`: whatever may have changed; else only whether models came or went. done() may come before it returns. */
typedef struct RegistryWaiter RegistryWaiter;
struct RegistryWaiter {
        ListNode node;
        bool thorough;
        void (*done)(RegistryWaiter *w);
        void (*drop)(RegistryWaiter *w); /* in its place when the registry goes; or NULL */
};
void registry_refresh(Registry *r, bool thorough, RegistryWaiter *w);

/* Who changes what lies in a directory waits for his turn, so that it stays as he has looked at it: go() when it has come, perhaps
 * before this returns. */
typedef struct RegistryTurn RegistryTurn;
struct RegistryTurn {
        ListNode node;
        void (*go)(RegistryTurn *t);
        void (*drop)(RegistryTurn *t); /* in its place when the registry goes */
};
void registry_take_turn(Registry *r, RegistryTurn *t);
void registry_end_turn(Registry *r, RegistryTurn *t);

/* By name, name:latest, alias or variant; NULL when there is none, as far as is known. */
ModelEntry *registry_find(Registry *r, const char *name, size_t len);
/* The variant of that name, also where the model it is of is not there; NULL. */
const Variant *registry_find_variant(Registry *r, const char *name, size_t len);
/* What a variant is of; NULL where that is not there, or the variant is broken. */
ModelEntry *registry_model_of(Registry *r, const Variant *v);
/* The model that has the variant's name, not as an alias; NULL: none has. */
const ModelEntry *registry_namesake(Registry *r, const Variant *v);
/* One that is known but whose file is not there, for an error message; NULL. */
const ModelEntry *registry_find_missing(Registry *r, const char *name);
/* The nearest name, for an error message; NULL. */
const char *registry_nearest(Registry *r, const char *name);
