/* From a job as it was posted to a sequence that can be scheduled: the chat template, the tokenizer and all checks
 * that need the model; on a worker, or on the loop where that is shorter. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/sampler.h"
#include "engine/seq.h"
#include "ipc/ipc.h"
#include "model/model.h"
#include "text/chat.h"
#include "text/token-tree.h"
#include "text/tokenizer.h"
#include "util/error.h"

typedef struct PrepChat {
        const ChatTemplate *template;
        unsigned forms; /* SPLIT_… that it speaks of */
} PrepChat;

/* The text side of a loaded model: immutable, read by any number of workers at once. */
typedef struct PrepModel {
        const char *name;
        const Tokenizer *tokenizer;
        PrepChat chat;             /* no template: none that could be used */
        PrepChat tool_chat;        /* for a chat with tools, where there is one for that */
        const char *chat_error;    /* then: why, or NULL when the model brings none */
        bool takes_last;           /* a chat's prompt is the content of its last message, without a template */
        uint32_t n_vocab, context;
        uint32_t lookup_tokens; /* that are guessed at a time */
        SamplerDefaults sampling;
        LazyTokenTree *tree;
        const EncoderInfo *encoder; /* NULL: it generates text */
        /* Of an embedder: whether its vectors may be cut, and to which sizes, where its files name some. */
        bool matryoshka;
        uint32_t matryoshka_dimensions[16], n_matryoshka;
} PrepModel;

/* Says why a text could not be made tokens; `error` is the tokenizer's. */
IpcFailCode prep_encode_failed(const PrepModel *m, int error, Error *e);
/* Whether prep() takes microseconds only, so that the loop may do it. A template may take any time. */
bool prep_is_short(const PrepModel *m, const IpcJob *job);

/* The tokens of the job's prompt, malloc'd, whatever they are wanted for. 0 or the IpcFailCode whose text is in `e`. */
IpcFailCode prep_prompt(const PrepModel *m, const IpcJob *job, int32_t **ret, size_t *ret_n, Error *e);
/* Sets up `s`, which seq_init() made from `job`. Returns 0 or the IpcFailCode whose text is in `e`. *ret_dropped:
 * tokens of the prompt that were cut. */
IpcFailCode prep(const PrepModel *m, const IpcJob *job, Seq *s, size_t *ret_dropped, Error *e);
