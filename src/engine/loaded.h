/* A model on its way into memory and in use: file, text side, weights, KV cache, and who runs its sequences. An
 * encoder has no cache; a load-test model has neither file nor weights nor cache.
 *
 *   loaded_new()   loop: keeps what was asked for
 *   loaded_open()  worker: reads and checks the file, its vocabulary and its template
 *   loaded_plan()  loop: decides what it will take of the memory there is
 *   loaded_load()  worker: weights to the device, KV arena, scheduler
 *   loaded_free()  worker, after the runner was stopped */
#pragma once

#include <stdatomic.h>

#include "engine/embed.h"
#include "engine/loadtest.h"
#include "engine/prep.h"
#include "engine/sched.h"
#include "model/model.h"

typedef struct LoadedSpec { /* what was asked for */
        const char *name, *path;
        uint32_t slots, context /* 0: trained */, batch_tokens;
        uint32_t precision; /* IpcPrecision */
        uint32_t lookup_tokens;
        uint64_t batch_wait;
} LoadedSpec;

typedef struct Loaded {
        char *name, *path;
        LoadTest test; /* NONE: a model file */
        SchedSpec spec; /* wished for, and after loaded_plan() in force */
        uint32_t precision;
        uint64_t batch_wait;
        Model *model;
        Tokenizer *tokenizer;
        ChatTemplate *chat, *tool_chat;
        Error chat_error;
        LazyTokenTree tree;
        SamplerDefaults sampling;
        char *details; /* JSON object */
        PrepModel prep;
        size_t weights, kv, other; /* bytes it takes on the device, known after loaded_plan() */
        Runner *runner; /* NULL before loaded_load() */
        int32_t max_tokens; /* where a job does not say; -1: until the context is full */
        _Atomic uint32_t progress; /* per mille of loaded_load() */
} Loaded;

int loaded_new(const LoadedSpec *spec, Loaded **ret); /* -ENOMEM */
int loaded_open(Loaded *l, Error *e);
/* Settles context and pages within `available` bytes: as many pages as the slots can use, if need be fewer. With
 * `shrink` the context may become smaller than what was asked for; otherwise that is -ENOMEM, as is, always, memory
 * for no useful context. */
int loaded_plan(Loaded *l, const Device *d, size_t available, bool shrink, Error *e);
/* `lane`: where it will compute; a load test has no need of it. */
int loaded_load(Loaded *l, Lane *lane, Error *e);
void loaded_free(Loaded *l);
/* The chat template of a model's files, or the one they have for chats with tools. -ENOENT: there is none. */
int loaded_template(const Model *m, bool for_tools, FileText *ret, Error *e);
DEFINE_CLEANUP(Loaded, loaded_free)

static inline size_t loaded_memory(const Loaded *l) {
        return l->weights + l->kv + l->other;
}
