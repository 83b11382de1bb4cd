/* The contract between the daemon and an engine: the messages on their socketpair.
 *
 * A frame is an 8-byte head (u32 length of the body, u16 type, u16 zero) and a body, in native byte order: both ends
 * run on one machine and come from one build (HELLO carries IPC_VERSION). The body is the fields of the message's
 * struct in the order of its table in ipc.c. Decoding checks every length against the frame; a frame that does not
 * decode, is longer than IPC_FRAME_MAX or has a type unknown is -EPROTO, and the connection's owner drops the peer.
 *
 * Strings and arrays of a decoded message are views into the frame: they live until the handler returns. Strings are
 * not terminated in the frame, but may hold any byte.
 *
 * Daemon to engine                          Engine to daemon
 *   SETUP   once, first: the pool             HELLO     once, first: the device, or why there is none
 *   MODEL   a model's definition: before      MODEL_STATE  a model was loaded, unloaded, failed; load progress
 *           its first job, and when changed
 *   LOAD, UNLOAD a model                      START     a job has a slot; its prompt is so long
 *   JOB     post, or re-post, a job           PIECE     tokens and text of a job; the last one says why it ended
 *   CANCEL  a job                             VECTORS   results of a job's next inputs
 *                                             FAIL      a job ended with an error
 *   SHOW    a model's metadata                SHOWN     the answer to SHOW
 *   PAUSE, RESUME  a job whose client does    STATS     every second, and when the engine falls idle
 *           not take what it was sent
 *   QUIT    exit now; no jobs are left
 *
 * A job's life: JOB -> (START PIECE* PIECE(finish) | FAIL), or, of one that has inputs,
 * JOB -> (START VECTORS* VECTORS(last) | START VECTORS* FAIL | FAIL). After CANCEL the engine sends nothing more of the
 * job.
 * One with `tokens_only` wants no answer, but the tokens of its prompt: the PIECEs hold their ids; of a prompt that came as ids
 * the text, special tokens as they are written; and with n_top 0 in top_text what each token stands for. The last one has
 * prompt_tokens, how many there are. Each other one is followed by the next when the daemon says RESUME.
 * A paused job gets no rows, and keeps its slot and pages until another job needs them; pieces of steps in flight may
 * still come. One that has inputs goes on: the daemon keeps its results, charged to its user.
 * A daemon whose engine died posts each job again to the next one with `produced` holding the tokens it got so far
 * and `text_sent` the bytes of text; the engine replays them without sending them again. Results of inputs come in the
 * order of the inputs, so `results_sent`, their number, says which are left to compute; with tokens_only it is the number
 * of tokens. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"
#include "util/buf.h"

enum { IPC_VERSION = 8, IPC_FRAME_MAX = 256 * 1024 * 1024 };

typedef enum IpcType {
        IPC_SETUP = 1, IPC_MODEL, IPC_LOAD, IPC_UNLOAD, IPC_JOB, IPC_CANCEL, IPC_SHOW, IPC_QUIT, IPC_PAUSE, IPC_RESUME,
        IPC_HELLO = 32, IPC_MODEL_STATE, IPC_START, IPC_PIECE, IPC_FAIL, IPC_SHOWN, IPC_STATS, IPC_MODEL_STATS,
        IPC_VECTORS,
} IpcType;

typedef struct IpcStr {
        const char *data;
        uint32_t len;
} IpcStr;

typedef struct IpcInts {
        const int32_t *data;
        uint32_t n;
} IpcInts;

typedef struct IpcFloats {
        const float *data;
        uint32_t n;
} IpcFloats;

typedef struct IpcStrs { /* a list of strings: their lengths, and their bytes one after another */
        IpcInts lens;
        IpcStr bytes;
} IpcStrs;

/* ---- daemon to engine ---- */

typedef struct IpcSetup {
        IpcStr device; /* "auto", "cpu", "cuda:0" */
        bool require;
        uint32_t threads, streams;
        uint64_t memory; /* 0: memory_percent of the device's */
        uint32_t memory_percent;
        uint32_t log_level;
} IpcSetup;

/* Models that need no file: `delay` holds a slot for the time its prompt says ("100ms") and answers one token; `null`
 * produces its max_tokens at full speed without computing. For measuring everything but the model. */
#define IPC_PATH_DELAY "builtin:delay"
#define IPC_PATH_NULL "builtin:null"

typedef enum IpcPrecision { IPC_FLOAT32, IPC_INT16, IPC_INT8 } IpcPrecision;

typedef struct IpcModel {
        IpcStr name; /* key of the model in all further messages */
        IpcStr path; /* absolute, or one of the load-test models: IPC_PATH_DELAY, IPC_PATH_NULL */
        uint32_t slots, context /* 0: trained */, batch_tokens;
        uint32_t precision;  /* IpcPrecision: in which numbers an encoder's products are computed */
        uint32_t lookup_tokens; /* that may be guessed at a time */
        uint64_t batch_wait; /* microseconds that an encoder's batch may wait for more inputs while another is computed */
} IpcModel;

typedef struct IpcName { /* LOAD, UNLOAD */
        IpcStr name;
} IpcName;

typedef enum IpcPromptKind {
        IPC_PROMPT_TEXT, /* `prompt` is text; special tokens in it count only with parse_special */
        IPC_PROMPT_IDS,  /* `prompt_ids` */
        IPC_PROMPT_CHAT, /* `prompt` is the JSON context for the model's chat template: {"messages":…, "tools":…, …};
                            the engine adds bos_token, eos_token and add_generation_prompt */
        IPC_PROMPT_PLAIN_CHAT, /* as CHAT where the model has a template; else the contents of the messages, a blank line
                                  between them, as TEXT */
        IPC_PROMPT_EMBED, /* not text is wanted, but the embedding of each input */
        IPC_PROMPT_RANK,  /* not text is wanted, but how well each input answers `prompt`: one number, a logit */
} IpcPromptKind;

typedef enum IpcGrammarKind { /* what an answer must be, every one that ends by itself */
        IPC_GRAMMAR_NONE, /* anything */
        IPC_GRAMMAR_JSON, /* a JSON object */
        IPC_GRAMMAR_SCHEMA, /* JSON that `grammar`, a JSON Schema, describes */
        IPC_GRAMMAR_CALL, /* of a CHAT: a call of one of the functions in `grammar`, a JSON list, as the model writes calls */
        IPC_GRAMMAR_GBNF, /* what `grammar`, of llama.cpp's kind, has */
        IPC_GRAMMAR_PATTERN, /* what `grammar`, a regular expression, matches as a whole */
} IpcGrammarKind;

enum { IPC_GRAMMAR_MAX = 128 * 1024 }; /* bytes */

enum { /* sampling fields that a request names; for the others a model may have defaults of its own */
        IPC_SAID_TEMPERATURE = 1, IPC_SAID_TOP_P = 2, IPC_SAID_MIN_P = 4, IPC_SAID_TOP_K = 8, IPC_SAID_REPEAT_PENALTY = 16,
        IPC_SAID_PENALTY_LAST = 32,
};

typedef struct IpcJob {
        uint64_t id;
        uint32_t uid;    /* whose share it takes */
        float weight;    /* of that user */
        uint32_t priority; /* 0 interactive, 1 batch */
        IpcStr model;
        uint32_t kind; /* IpcPromptKind */
        IpcStr prompt;
        IpcStr suffix; /* TEXT: what follows on the answer, which is to fill the middle; empty: nothing */
        IpcStr opening; /* CHAT and PLAIN_CHAT: a JSON list of messages that come first; its system's message, if any, is the first
                           and counts only where the prompt has none; empty: no messages */
        IpcInts prompt_ids;
        bool add_special, parse_special;
        bool tokens_only;   /* no answer is wanted; for the kinds above EMBED, of any model */
        int32_t max_tokens; /* -1: until the context is full */
        bool ignore_eos;
        bool must_think; /* CHAT and PLAIN_CHAT: the model must be one that can */
        bool truncate; /* a prompt that does not fit loses its oldest tokens; else it is IPC_E_CONTEXT */
        IpcStrs stop;
        float temperature, top_p, min_p;
        int32_t top_k;
        float repeat_penalty, presence_penalty, frequency_penalty;
        int32_t penalty_last;
        uint32_t said; /* IPC_SAID_… */
        uint64_t seed; /* the daemon draws one where the client gave none, so that a re-post gives the same text */
        IpcInts bias_ids;
        IpcFloats bias;
        int32_t n_top; /* logprobs: -1 none, else number of alternatives (0…20) */
        uint32_t grammar_kind; /* IpcGrammarKind */
        IpcStr grammar, grammar_name; /* `name`: what the client calls it, for messages */
        IpcInts produced; /* tokens of an earlier engine, with text_sent bytes of their text delivered */
        uint64_t text_sent;
        /* EMBED and RANK. An input that does not fit the context loses its end where `truncate` allows it. */
        IpcStrs inputs;       /* texts, or */
        IpcInts input_counts; /* how many of prompt_ids belong to each input: special tokens are the client's affair */
        uint32_t dimensions;  /* of an embedding; 0: all there are */
        uint32_t results_sent;
} IpcJob;

typedef struct IpcId { /* CANCEL, PAUSE, RESUME */
        uint64_t id;
} IpcId;

typedef struct IpcShow {
        uint64_t id;
        IpcStr path;
} IpcShow;

typedef struct IpcEmpty { /* QUIT */
        char none;
} IpcEmpty;

/* ---- engine to daemon ---- */

typedef struct IpcHello {
        uint32_t version;
        IpcStr device;  /* "CPU: …" as people read it */
        IpcStr note;    /* why it is not the device asked for, or empty */
        uint64_t memory; /* what the engine may use, bytes */
        IpcStr error;   /* not empty: no usable device; the engine exits */
} IpcHello;

typedef enum IpcModelPhase { IPC_MODEL_UNLOADED, IPC_MODEL_LOADING, IPC_MODEL_LOADED, IPC_MODEL_FAILED } IpcModelPhase;

typedef struct IpcModelState {
        IpcStr name;
        uint32_t phase;   /* IpcModelPhase */
        float progress;   /* 0…1 while loading */
        uint64_t weights, kv; /* bytes held on the device */
        uint32_t slots, context; /* in force */
        IpcStr details;   /* JSON object once it is known: format, family, parameter_size, quantization_level, … */
        IpcStr error;     /* why it failed */
} IpcModelState;

typedef struct IpcStart {
        uint64_t id;
        uint32_t prompt_tokens, cached_tokens;
        uint32_t forms; /* SPLIT_… of text/split.h: how thoughts, and calls where there are tools, are marked in the text */
} IpcStart;

typedef enum IpcFinish { IPC_FINISH_NONE, IPC_FINISH_STOP, IPC_FINISH_LENGTH } IpcFinish;

typedef struct IpcPiece {
        uint64_t id;
        IpcInts ids;      /* new tokens; their text may come later, when a character or a possible stop string is whole */
        IpcStr text;      /* whole UTF-8 */
        uint32_t finish;  /* IpcFinish; not NONE: the last piece of the job */
        /* Logprobs, when asked for: for each id its own, then n_top alternatives, flattened. `top_text` holds the
         * bytes of each, in the same order: 1 + n_top strings per id. */
        IpcFloats logprobs;
        IpcInts top_ids;
        IpcStrs top_text;
        /* With the last piece. */
        IpcStr stop; /* the stop string that ended it, where one did */
        uint64_t queue_usec, prefill_usec, decode_usec; /* microseconds */
        uint32_t prompt_tokens, completion_tokens, cached_tokens;
} IpcPiece;

enum { IPC_VECTORS_MAX = 16 * 1024 }; /* numbers in a frame, or one vector where that is longer */

typedef struct IpcVectors {
        uint64_t id;
        uint32_t width;   /* numbers of a result */
        uint32_t precision; /* IpcPrecision they were computed in: one answer is of one */
        IpcFloats values; /* of the next results, one after another */
        uint64_t tokens;  /* of the inputs they are for */
        bool last;        /* of the job */
        uint64_t queue_usec, compute_usec; /* with the last ones */
} IpcVectors;

typedef enum IpcFailCode {
        IPC_E_INVALID = 1, /* 400: the request cannot be served as it is (bad template, ids out of range) */
        IPC_E_CONTEXT,     /* 400: the prompt does not fit the context */
        IPC_E_MODEL,       /* 500: the model cannot be loaded; the text says why */
        IPC_E_BUSY,        /* 503: no memory for it now */
        IPC_E_INTERNAL,    /* 500 */
} IpcFailCode;

typedef struct IpcFail {
        uint64_t id;
        uint32_t code; /* IpcFailCode */
        IpcStr text;
} IpcFail;

typedef struct IpcShown {
        uint64_t id;
        IpcStr json;  /* {"details":{…,"capabilities":[…]},"model_info":{…},"template":…,"parameters":…} */
        IpcStr error; /* not empty: the file cannot be shown, and why */
} IpcShown;

typedef struct IpcStats {
        uint64_t progress;        /* another number than before: something was computed */
        uint64_t rows;            /* since the engine started */
        uint64_t longest_usec, longest_cpu_usec; /* longest callback of its loop, by the clock and in processor time */
        uint64_t memory_used;     /* bytes on the device */
        uint32_t running, waiting;
} IpcStats;

typedef struct IpcModelStats {
        IpcStr name;
        uint32_t running, waiting;
        uint32_t kv_pages_used, kv_pages;
        uint64_t steps, prompt_tokens, generation_tokens, cached_tokens; /* since the engine started */
        uint64_t guessed, guessed_right; /* tokens, likewise */
} IpcModelStats;

/* ---- encoding ---- */

/* Appends the frame of `message`, the struct that belongs to `type`, to `out`. -ENOMEM, -EMSGSIZE. */
int ipc_encode(Buf *out, IpcType type, const void *message);
/* Fills the struct of `type` from a frame's body; views point into `body`, which must be 8-byte aligned. -EPROTO. */
int ipc_decode(IpcType type, const void *body, size_t len, void *ret_message);

/* Steps through a list of strings. Start with *pos = *offset = 0; false at the end. */
bool ipc_strs_next(const IpcStrs *l, uint32_t *pos, uint32_t *offset, IpcStr *ret);
/* Appends one string to a list under construction (two buffers the caller owns). */
void ipc_strs_put(Buf *lens, Buf *bytes, const char *data, size_t len);
IpcStrs ipc_strs(const Buf *lens, const Buf *bytes);

static inline IpcStr ipc_str(const char *s) {
        return (IpcStr){s, s ? (uint32_t)__builtin_strlen(s) : 0};
}

/* ---- a connection on the loop ---- */

typedef struct IpcConn IpcConn;

/* A frame arrived: decode it with ipc_decode(). A negative return closes the connection with that error. */
typedef int (*IpcHandler)(IpcConn *c, IpcType type, const void *body, size_t len);
/* The peer is gone or broke the contract (`error`: 0 for a clean end). Called once; the owner then deinits. */
typedef void (*IpcGone)(IpcConn *c, int error);

struct IpcConn { /* embedded in its owner */
        int fd;
        EventSource io, flush;
        IpcHandler handler;
        IpcGone gone;
        Buf in, out;
        size_t sent; /* bytes of `out` that the kernel has taken */
        bool closed;
};

/* Takes `fd` over. */
int ipc_conn_init(IpcConn *c, EventLoop *l, int fd, IpcHandler handler, IpcGone gone);
void ipc_conn_deinit(IpcConn *c);
/* Queues a frame; all that one loop iteration queues leaves in one write. Errors come through gone(). */
void ipc_send(IpcConn *c, IpcType type, const void *message);
/* What is queued leaves now. */
void ipc_push(IpcConn *c);
/* Bytes queued and not yet taken by the kernel. */
size_t ipc_conn_pending(const IpcConn *c);
