/* What the files of this room share: routes, arguments, answers. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "daemon/daemon.h"
#include "daemon/http.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "text/split.h"

typedef struct ApiError { /* the answer to a request that cannot be served as it is; status 0: none */
        unsigned status;
        const char *code;
        char param[128], text[512];
} ApiError;

typedef struct Args Args;

typedef struct Api {
        Daemon *d;
        Request *r;
        json_t *body; /* the parsed object of a POST, borrowed; NULL for other methods */
        const char *rest; /* what the "*" of the route matched */
        ApiError error; /* of the fields that were read: sent when the handler, which then does nothing, has returned */
        bool looked;      /* the list of models is as the disk was when the request came */
        bool has_context; /* the body is large, so a worker has made this already; see api_context() */
        void *context;
        ApiError context_error;
} Api;

/* ---- memory that becomes of a body; see charge.c ---- */

typedef struct Charge {
        User *user;
        uint64_t most;       /* the user may hold */
        uint64_t held;       /* what is charged, */
        int64_t left;        /* and of that not taken; a little below 0 where malloc() rounds up */
        const JobRefusal *refused; /* why there was no more; NULL: there was */
} Charge;

/* Makes jansson ask; before all else it does. */
void charge_init(void);
Charge charge_of(const Request *r, const Daemon *d);
/* From then on what this thread allocates for JSON, or with charged_malloc(), is charged. */
void charge_enter(Charge *c);
void charge_leave(Charge *c);
/* malloc(), within a charge where there is one. */
void *charged_malloc(size_t n);
/* Takes over what is charged already, gives a part back, gives all back. */
void charge_adopt(Charge *c, uint64_t n);
void charge_return(Charge *c, uint64_t n);
void charge_end(Charge *c);

typedef void (*ApiRoute)(Api *a);
/* Makes the text of a prompt, or a list of inputs, from the body's fields, which it may change, and from nothing else: it may
 * run on a worker. One block of memory; NULL: there is none, or a->error says why it cannot be. */
typedef void *(*ApiContext)(Args *a);

typedef struct Route {
        const char *method; /* "GET" serves HEAD too */
        const char *path;   /* exact, or ending in "*" */
        ApiRoute handler;
        const char *unsupported; /* instead of a handler: why this is answered 501 */
        ApiContext context; /* may be NULL */
        bool fresh;         /* of a GET: it lists models, so a worker looks which there are */
} Route;

/* One table per dialect, ended by a row without a path. */
extern const Route openai_routes[], responses_routes[], ollama_routes[], variants_routes[], messages_routes[], rerank_routes[], tokens_routes[],
        status_routes[];

/* What a model can do, as a list of Ollama's words, where that is known: after it was loaded or shown. Else NULL. */
json_t *model_capabilities(const ModelEntry *m);
/* The model of a variant that is to be listed beside the models; NULL: it is not. */
const ModelEntry *model_of_variant(Daemon *d, const Variant *v);

/* ---- errors: {"error":"text"} below /api/, Anthropic's object below /v1/messages, else OpenAI's. `code`, `param` may be NULL ---- */

void api_error(Request *r, unsigned status, const char *code, const char *param, const char *fmt, ...) _printf_(5, 6);
/* The JSON text of an error in the request's dialect, for errors in mid-stream. */
void api_error_body(const Request *r, unsigned status, const char *code, const char *param, const char *text, Buf *out);
void api_refuse(Request *r, const JobRefusal *why);
/* Whether the caller is root or the daemon's own user; else an error was sent. */
bool api_may_control(Request *r);
extern const JobRefusal api_no_memory;
/* Sends a JSON object and drops the reference. */
void api_reply(Request *r, unsigned status, json_t *object);
/* Sends a text that was written without looking whether there was memory for it. */
void api_reply_text(Request *r, const char *content_type, const Buf *text);

/* ---- JSON on the hot path: text straight into a buffer ---- */

/* Appends `data` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void json_put_string(Buf *out, const char *data, size_t len);
void json_put_text(Buf *out, const char *data, size_t len); /* what is between the quotes */
/* Appends a number that reads back to the same float, or a list of them; what is not finite becomes null. */
void json_put_float(Buf *out, float x);
void json_put_floats(Buf *out, const float *values, size_t n);
/* Appends bytes as a string in base64. */
void json_put_base64(Buf *out, const void *data, size_t n);

/* ---- arguments: typed, bounded fields of an object. The first mistake is kept in `error`, and is the answer; readers then
 * return their default. null counts as absent ---- */

struct Args {
        json_t *object;
        const char *prefix; /* of the parameter's name in messages: "options." */
        ApiError *error;
};

static inline Args api_args(Api *a) {
        return (Args){.object = a->body, .prefix = "", .error = &a->error};
}

static inline bool arg_failed(const Args *a) {
        return a->error->status != 0;
}

json_t *arg_get(const Args *a, const char *key);
bool arg_bool(Args *a, const char *key, bool otherwise);
double arg_number(Args *a, const char *key, double min, double max, double otherwise);
int64_t arg_int(Args *a, const char *key, int64_t min, int64_t max, int64_t otherwise);
const char *arg_string(Args *a, const char *key, const char *otherwise);
/* The same, which may hold NUL; empty: none. It lives as long as the request. */
IpcStr arg_bytes(Args *a, const char *key);
void arg_fail(Args *a, const char *key, const char *fmt, ...) _printf_(3, 4);
/* The same with another status than 400, and with the words alone, of `param`. */
void arg_fail_with(Args *a, unsigned status, const char *code, const char *param, const char *fmt, ...) _printf_(5, 6);
void arg_no_memory(Args *a);
/* A mistake when the field is there and is not what its absence means. */
void arg_unsupported(Args *a, const char *key, const char *why);
/* The model named by the request's field `key`, or "model"; of a variant's name the one it is of. NULL and an error. */
ModelEntry *arg_model_at(Args *a, Daemon *d, const char *key);
ModelEntry *arg_model(Args *a, Daemon *d);
/* The variant named there, or NULL. It lives until the loop turns. */
const Variant *arg_variant(Args *a, Daemon *d, const char *key);

/* ---- what to generate ---- */

typedef struct Spec { /* an IpcJob under construction and the memory it views */
        IpcJob job;           /* seed 0: each job draws its own */
        Buf stop_lens, stop_bytes, bias_ids, bias, grammar, grammar_name;
        bool keep_alive_given; /* else the model's */
        uint64_t keep_alive;
        uint64_t timeout;      /* for the request to be done in, microseconds; UINT64_MAX: for ever */
} Spec;

void spec_init(Spec *s);
void spec_deinit(Spec *s);
/* As arg_model(); and what a variant that was named has to say goes into `s`: before the fields of the request, which go before
 * it, are read. (variants.c) */
ModelEntry *spec_read_model(Spec *s, Args *a, Daemon *d);
typedef enum ArgKind { ARG_FLOAT, ARG_INT } ArgKind;
typedef struct SampleArg { /* a sampling field as a table row */
        const char *key;
        ArgKind kind;
        size_t offset; /* in IpcJob */
        double min, max;
        uint32_t said; /* IPC_SAID_…, or 0 */
} SampleArg;
void spec_read(Spec *s, Args *a, const SampleArg *rows);
void spec_read_seed(Spec *s, Args *a);
/* What an answer must be, by the field `key`: something of a kind that s->grammar describes, or a JSON text. A mistake where
 * another field has said it. (constrain.c) */
void spec_constrain(Spec *s, Args *a, const char *key, IpcGrammarKind kind);
void spec_put_grammar(Spec *s, Args *a, const char *key, const json_t *grammar, IpcGrammarKind kind);
void spec_read_schema(Spec *s, Args *a, const char *key, const json_t *schema);
void spec_read_grammar(Spec *s, Args *a, const char *key, IpcGrammarKind kind); /* of text; an empty one is none */
void spec_read_constraints(Spec *s, Args *a); /* response_format, and what other servers have for it */
void spec_refuse_constraints(Args *a, const char *instead); /* the latter, in dialects that have a way of their own */
void spec_read_stop(Spec *s, Args *a, const char *key);
void spec_read_bias(Spec *s, Args *a);
/* How urgent it is (priority) and how long it may take (timeout). */
void spec_read_service(Spec *s, Args *a);
/* Checks a chat's messages and normalises them in place: parts become text, arguments of tool calls objects. New
 * reference, or NULL and an error. */
json_t *arg_messages(Args *a, const char *key);
bool arg_message(Args *a, const char *where, json_t *m); /* one of them, by its name; it may be done again */
/* A text, or a list of parts that are texts, as one; `where` is its name. NULL and an error. */
json_t *arg_text(Args *a, const char *where, json_t *v);
/* What an assistant's message says of calls becomes what templates expect, or is an error at `where`. */
void tools_normalise(Args *a, const char *where, json_t *message);
/* Gives calls without an id one, and their results what they lack of the calls' ids and names. */
void tools_link(json_t *messages);
/* Puts the functions that the model may call into a template's variables. */
void tools_read(Args *a, const char *key, json_t *variables);
/* Makes the answer a call, of the function `name` or, NULL, of any of them; `choice`: the field that says so. */
void tools_require(Spec *s, Args *a, const char *key, const char *choice, const char *name);
/* Puts into a template's variables, under the names that families have for it, whether the model is to think; `level`, how
 * much, may be NULL. What is there already stays. */
void thinking_set(json_t *variables, bool think, const char *level);
/* The same by OpenAI's word for how much, which may be "none"; NULL: nothing is said. */
void thinking_set_effort(json_t *variables, const char *effort);
/* The text of a field, where there is one, becomes the system's message, before the others. */
void arg_system(Args *a, const char *key, json_t *messages);
/* A chat template's variables as JSON text: an object, and the messages to be put into it, whose references are taken and
 * which may be NULL. NULL and an error. */
char *arg_context(Args *a, json_t *variables, json_t *messages);
/* Sampling, of an object as Ollama's "options" are. */
void ollama_read_options(Spec *s, Args *options);
/* Whether Ollama has an option of that name, be it one that means nothing here; else the nearest, or NULL. */
bool ollama_knows_option(const char *name, const char **ret_near);
/* variant_check_parameters() is this. */
int variant_parameters_check(json_t *parameters, Error *e);
/* Older clients of Ollama's call a model its name. */
void ollama_take_older_name(Api *api);
/* What a variant changes in what is shown of its model. */
void variant_show(const json_t *definition, bool same_name, json_t *shown);
/* spec_read_service() by OpenAI's name for it, too. */
void openai_read_service(Spec *s, Args *a);
/* The tools, unless none is to be chosen, into a template's variables. */
void openai_read_tools(Args *a, json_t *variables);
/* tool_choice, a word or an object that names the function `name`. Tools are in the form that tools_read() takes. */
void openai_read_choice(Spec *s, Args *a, const char *name);
/* An ApiContext: the variables of /v1/chat/completions. */
void *openai_chat_context(Args *a);
/* What the route's `make` makes of the body: now, or on the worker that had it. */
void *api_context(Api *api, Args *a, ApiContext make);

/* ---- an answer: one request, one or more jobs, and a dialect that writes ---- */

typedef struct Answer Answer;
typedef struct Choice Choice;

typedef struct Dialect {
        const char *stream_type; /* content type of its streams */
        /* One piece of a stream: what is new is in `c->split`; `p` may carry logprobs, the finish, or nothing worth a chunk. */
        void (*piece)(Choice *c, const IpcPiece *p, Buf *out);
        void (*stream_end)(Answer *a, Buf *out);  /* (optional) after the last piece of the last choice */
        void (*result)(Answer *a, Buf *out);      /* the whole answer of a request that does not stream */
        /* (optional) Else a stream that cannot go on is broken off. */
        void (*stream_error)(Answer *a, unsigned status, const char *code, const char *text, Buf *out);
        /* The logprobs of a piece, appended to `c->logprobs` for result(). What the lists hold is the dialect's. */
        void (*logprobs)(Choice *c, const IpcPiece *p);
} Dialect;

enum { LOGPROB_LISTS = 4 };

struct Choice {
        Answer *answer;
        Job *job; /* NULL: done */
        uint32_t index;
        Split split;                 /* its text; and when the answer does not stream, all that came of it, */
        Buf logprobs[LOGPROB_LISTS]; /* and these; what a dialect has to say twice; */
        Buf again;
        uint64_t charged;            /* to the user */
        IpcFinish finish;
        Buf stopped_by; /* the stop string, where one ended it */
        bool first_sent;
        uint32_t n_blocks; /* of a stream whose answers are made of blocks: begun so far, */
        const char *block; /* and which is not ended; NULL: none */
        uint32_t prompt_tokens, completion_tokens, cached_tokens;
        uint32_t thought_tokens; /* of the completion's, so far */
        uint64_t queue_usec, prefill_usec, decode_usec;
        uint64_t last_piece; /* now_usec(); 0: none yet */
        size_t text_len;     /* so far, for text offsets */
        IpcStr echo;         /* the prompt, to come before the text */
};

struct Answer {
        Daemon *d;
        Request *r;
        User *user;
        ModelEntry *model;
        const Dialect *dialect;
        char *model_name; /* as the client wrote it */
        char id[40];
        int64_t created;  /* seconds since the epoch */
        uint64_t began;   /* now_usec() */
        bool stream, begun, paused, chat, include_usage, want_logprobs, want_thoughts;
        bool unmeasured; /* its times are not those of the model's work */
        uint32_t most_calls; /* of tools, in each choice; 0: any number */
        uint32_t n_choices, n_done;
        uint32_t n_events; /* of a stream that numbers them */
        Buf out; /* scratch */
        void *kept; /* answer_keep() */
        size_t kept_size;
        Choice choices[];
};

/* For `n` choices; NULL after an error was sent. */
Answer *answer_new(Api *a, ModelEntry *m, const Dialect *dialect, uint32_t n);
/* Draws its id. */
void answer_make_id(Answer *a, const char *prefix);
/* Begins an event of a stream that names them, and its object: "type" is in it. */
void sse_event(Buf *out, const char *type);
/* Posts the jobs of choices first…first+n-1, which differ in their seeds, counted up from a given one so that they can be
 * had again. False: the request was refused and answered, the Answer is gone. */
bool answer_post(Answer *a, Spec *s, uint32_t first, uint32_t n);
/* Takes over a block of memory for the answer's life, and charges it to the user. False: as answer_post(). */
bool answer_keep(Answer *a, void *block, size_t size);
/* Posts a job for the tokens of a prompt; `dialect` writes a stream. Whatever happens, the request is answered. */
void tokens_post(Api *api, Spec *s, ModelEntry *m, const Dialect *dialect);
/* Appends the id of the answer's call of a tool, the i-th of all. */
void tools_put_id(const Choice *c, size_t i, Buf *out);
const char *finish_name(IpcFinish f); /* "stop", "length" */

/* ---- prompts and inputs ---- */

typedef struct InputList { /* one block of memory */
        uint32_t n;
        bool is_ids;
        size_t size;      /* token ids, or bytes of text, of all inputs */
        int32_t counts[]; /* [n] of each input; then the ids, or the bytes */
} InputList;

static inline const void *input_contents(const InputList *l) {
        return l->counts + l->n;
}

static inline size_t input_size(const InputList *l) { /* of the block */
        return sizeof(*l) + l->n * sizeof(l->counts[0]) + l->size * (l->is_ids ? sizeof(int32_t) : 1);
}

/* A text, a list of texts, a list of token ids or a list of such lists; NULL and an error where it is none of these. With
 * `documents` a list of texts or of objects with a text. */
InputList *arg_inputs(Args *a, const char *key, bool documents);

/* ---- embeddings and rerankings: many inputs, one job, an answer made of numbers ---- */

typedef struct Vectors Vectors;

typedef struct VectorDialect { /* the text of the answer; may run on a worker, which then has the Vectors for itself */
        void (*begin)(const Vectors *v, Buf *out);
        void (*item)(const Vectors *v, uint32_t i, Buf *out);
        void (*end)(const Vectors *v, Buf *out);
} VectorDialect;

typedef struct VectorOptions {
        bool base64;         /* embeddings */
        bool with_documents; /* of a ranking: the texts, too */
        bool raw_scores;     /* logits instead of numbers from 0 to 1 */
        uint32_t top_n;      /* of a ranking; 0: all */
} VectorOptions;

struct Vectors {
        Daemon *d;
        Request *r; /* NULL: the client is gone */
        ModelEntry *model;
        User *user;
        Job *job; /* NULL: done */
        JobSpec *spec;
        const VectorDialect *dialect;
        char *model_name; /* as the client wrote it */
        VectorOptions options;
        bool ranked;
        uint64_t began, queue_usec, compute_usec, tokens;
        uint32_t n_inputs, n_items; /* n_items: of the answer */
        uint32_t width;
        float *values; /* [n_inputs, width] */
        size_t n_values, charged;
        uint32_t *order;    /* of a ranking: the inputs, best first */
        IpcStr *documents;  /* [n_inputs] with_documents: views into the spec */
        Work work;
        bool at_worker, begun, ended;
        uint32_t next; /* item to be written */
        Buf out;
};

/* Posts the job of a request that was read without a mistake. Whatever happens, the request is answered. */
void vectors_post(Api *api, Spec *s, ModelEntry *m, const InputList *inputs, const VectorDialect *dialect, VectorOptions options);

/* "2026-11-23T07:18:18.123456+00:00" */
void format_time(char *buf, size_t n, int64_t usec_since_epoch);
int64_t wall_usec(void);
