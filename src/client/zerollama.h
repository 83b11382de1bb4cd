/* libzerollama: the client library of zerollama, the model-serving daemon of a machine.
 *
 * Blocking calls over a Unix socket or HTTP. Functions return 0 (or a documented positive number) for success and a
 * negative errno for failure; those that take a `ZlError *` (which may be NULL) explain the failure there:
 *
 *   -ENOTCONN    no connection: the daemon is not running, or may not be reached by this user
 *   -EREMOTEIO   the daemon refused or failed: `status` is the HTTP status, `message` what it said
 *   -ECONNRESET  the connection ended before the answer did
 *   -ECANCELED   a callback asked for it, or zl_client_cancel() was called
 *   -ETIMEDOUT   no connection within 10 s, or no answer within the time that is allowed: by zl_client_set_timeout(),
 *                or 5 s more than a request's own timeout, or 60 s for questions about models and the daemon
 *   -EPROTO      the answer is not what the daemon's API promises
 *   -EINVAL      the arguments make no request; -ENOMEM, -EMSGSIZE: no room
 *
 * Threads: a ZlClient is one connection and is used by one thread at a time; give each thread its own
 * (zl_client_clone()). zl_client_cancel() is the exception: any thread and any signal handler may call it. All
 * functions of a ZlMap may be called by any thread. The library starts threads only for a ZlMap, writes to no
 * file descriptor but its connections, raises no SIGPIPE, and installs no signal handler.
 *
 * Memory: a ret_ parameter is written only on success and is then the caller's, to be freed as its function says.
 * Strings are UTF-8. A structure that is all zeros is a valid start for every structure the caller fills. */
#ifndef ZEROLLAMA_H
#define ZEROLLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZEROLLAMA_API __attribute__((visibility("default")))

/* Version of the library, "0.1.0". */
ZEROLLAMA_API const char *zl_library_version(void);

typedef struct ZlError {
        int code;                /* the negative errno that was returned; 0: no error */
        int status;              /* HTTP status; 0 when no answer came */
        int64_t retry_after_ms;  /* how long the daemon asked to wait; -1 when it did not say */
        char message[512];       /* one sentence for a person */
} ZlError;

/* ---- The client ------------------------------------------------------------------------------------------------ */

typedef struct ZlClient ZlClient;

/* `address`: "/path/of/socket", "unix:/path", "http://host:port", "host:port". NULL: $ZEROLLAMA_HOST when it is set,
 * else the daemon's socket: the system's, or that of the user's own daemon in $XDG_RUNTIME_DIR/zerollama/api.sock
 * when only that one exists. Nothing is connected before the first request.
 * On TCP the key in $ZEROLLAMA_API_KEY is sent; on the Unix socket the kernel says who is calling. */
ZEROLLAMA_API int zl_client_new(const char *address, ZlClient **ret, ZlError *error);
/* Another client with the same address, key and settings, and a connection of its own. */
ZEROLLAMA_API int zl_client_clone(const ZlClient *client, ZlClient **ret, ZlError *error);
/* NULL is fine. */
ZEROLLAMA_API void zl_client_free(ZlClient *client);
/* Where requests go: a path or a URL. Valid as long as the client. */
ZEROLLAMA_API const char *zl_client_address(const ZlClient *client);

/* Replaces the key from the environment; NULL: none. */
ZEROLLAMA_API int zl_client_set_key(ZlClient *client, const char *key);
/* An answer 429 or 503 is retried up to `retries` times, after the time the daemon asks for (Retry-After,
 * retry-after-ms) or, when it does not say, 0.5 s, 1 s, 2 s, …; but not when that is longer than `max_wait_ms`.
 * The start: 4 retries, 30 s. */
ZEROLLAMA_API void zl_client_set_retries(ZlClient *client, unsigned retries, uint64_t max_wait_ms);
/* The longest silence of the daemon before -ETIMEDOUT; 0, the start: any. */
ZEROLLAMA_API void zl_client_set_timeout(ZlClient *client, uint64_t timeout_ms);
/* `wait` is called in the calling thread every `interval_ms` as long as nothing of an answer has come, with the time
 * since the request began; nonzero cancels. It must not use this client. NULL: none. */
typedef int (*ZlWaitFn)(void *userdata, uint64_t waited_ms);
ZEROLLAMA_API void zl_client_set_wait(ZlClient *client, ZlWaitFn wait, unsigned interval_ms, void *userdata);

/* Ends the running request with -ECANCELED and closes its connection, which makes the daemon stop working on it. Later
 * requests end so at once, until zl_client_resume(). Any thread, any signal handler. */
ZEROLLAMA_API void zl_client_cancel(ZlClient *client);
ZEROLLAMA_API void zl_client_resume(ZlClient *client);

/* ---- Text from a model ------------------------------------------------------------------------------------------ */

typedef struct ZlMessage {
        const char *role;    /* "system", "user", "assistant", "tool" */
        const char *content;
} ZlMessage;

/* How tokens are chosen. Each pointer may be NULL: what the model's defaults say. */
typedef struct ZlOptions {
        const int64_t *max_tokens;  /* of the answer */
        const int64_t *context;     /* tokens of prompt and answer together */
        const int64_t *seed;
        const int64_t *top_k;
        const double *temperature;  /* 0: always the most probable token */
        const double *top_p;
        const double *min_p;
        const double *repeat_penalty;
        const double *presence_penalty;
        const double *frequency_penalty;
        const char *const *stop;    /* NULL-terminated: texts that end the answer */
        const void *reserved[8];
} ZlOptions;

typedef struct ZlPiece {
        const char *text;      /* `len` bytes of the answer, and a 0; whole characters */
        size_t len;
        const char *thinking;  /* text of a model that thinks aloud first, or NULL */
        const char *json;      /* the object as the daemon sent it, on one line */
        bool done;             /* the last one; its `json` carries the counts */
} ZlPiece;

/* Nonzero cancels: the connection is closed and the call returns -ECANCELED. */
typedef int (*ZlPieceFn)(void *userdata, const ZlPiece *piece);

typedef struct ZlRequest {
        const char *model;
        const ZlMessage *messages;  /* zl_chat() */
        size_t n_messages;
        const char *prompt;         /* zl_generate() */
        const char *system;         /* zl_generate(): in place of the model's own, or NULL */
        bool raw;                   /* zl_generate(): the prompt as it is, without the model's template */
        const char *format;         /* NULL, "json", or the text of a JSON schema */
        const char *keep_alive;     /* how long the model stays loaded: "10m", "0", "-1" (forever), or NULL */
        const char *extra;          /* NULL, or a JSON object whose members are added to the request, into its own
                                     * objects where they have the same name */
        ZlOptions options;
        ZlPieceFn piece;            /* NULL: the answer comes as a whole */
        void *userdata;             /* for `piece` */
        const double *timeout;      /* seconds after which the daemon ends the request with status 504; NULL: any time */
        const char *priority;       /* "interactive", "batch": after all that is interactive, or NULL */
        const char *grammar;        /* NULL, or a grammar in GBNF that the answer is to be of */
        const void *reserved[5];
} ZlRequest;

/* Counts are tokens, times nanoseconds; 0 where the daemon did not say. */
typedef struct ZlResult {
        const char *text;           /* `len` bytes and a 0 */
        size_t len;
        const char *finish_reason;  /* "stop", "length", "load", "unload"; "" when not said */
        uint64_t prompt_tokens, completion_tokens;
        uint64_t cached_tokens;     /* of the prompt's: those that did not have to be computed */
        uint64_t total_ns, load_ns, prompt_ns, completion_ns; /* by the daemon's clock */
        uint64_t first_ns;          /* by ours: from the call to the first piece of the answer */
        const char *json;           /* the last object of the answer as the daemon sent it */
} ZlResult;

/* The answer to a conversation, or the continuation of a prompt. */
ZEROLLAMA_API int zl_chat(ZlClient *client, const ZlRequest *request, ZlResult **ret, ZlError *error);
ZEROLLAMA_API int zl_generate(ZlClient *client, const ZlRequest *request, ZlResult **ret, ZlError *error);
/* NULL is fine. */
ZEROLLAMA_API void zl_result_free(ZlResult *result);

/* ---- Numbers from a model -------------------------------------------------------------------------------------- */

typedef struct ZlEmbedRequest {
        const char *model;
        const char *const *inputs;  /* [n_inputs] texts; where there are none, `extra` has the member "input" */
        size_t n_inputs;
        uint32_t dimensions;        /* of each vector; 0: all the model makes */
        bool truncate;              /* cut a text that is too long for the model, instead of failing */
        const char *extra;          /* as in ZlRequest */
        const double *timeout;      /* as in ZlRequest */
        const char *priority;       /* as in ZlRequest */
        const void *reserved[6];
} ZlEmbedRequest;

typedef struct ZlEmbeddings {
        const float *values;        /* [n, dimensions]: one vector after another, in the order of the inputs */
        size_t n, dimensions;
        uint64_t tokens;            /* of all inputs */
} ZlEmbeddings;

/* What texts mean, as vectors: those of like meaning are near each other. */
ZEROLLAMA_API int zl_embed(ZlClient *client, const ZlEmbedRequest *request, ZlEmbeddings **ret, ZlError *error);
/* NULL is fine. */
ZEROLLAMA_API void zl_embeddings_free(ZlEmbeddings *embeddings);

typedef struct ZlRerankRequest {
        const char *model;
        const char *query;
        const char *const *documents; /* [n_documents]; where there are none, `extra` has the member "documents" */
        size_t n_documents;
        uint32_t top_n;             /* only so many, the best; 0: all */
        bool raw_scores;            /* scores as the model gives them; else between 0 and 1 */
        bool truncate;              /* cut documents that are too long for the model, instead of failing */
        const char *extra;          /* as in ZlRequest */
        const double *timeout;      /* as in ZlRequest */
        const char *priority;       /* as in ZlRequest */
        const void *reserved[6];
} ZlRerankRequest;

typedef struct ZlRank {
        size_t index;               /* of the document */
        double score;
} ZlRank;

typedef struct ZlRanking {
        const ZlRank *ranks;        /* [n], best first */
        size_t n;
        uint64_t tokens;            /* of the query with each document */
        const char *json;           /* the answer as the daemon sent it */
} ZlRanking;

/* How well each document answers a query. */
ZEROLLAMA_API int zl_rerank(ZlClient *client, const ZlRerankRequest *request, ZlRanking **ret, ZlError *error);
/* NULL is fine. */
ZEROLLAMA_API void zl_ranking_free(ZlRanking *ranking);

/* ---- Models and the daemon -------------------------------------------------------------------------------------- */

/* Strings are "" and numbers 0 where the daemon did not say. */
typedef struct ZlModel {
        const char *name;
        const char *family, *parameter_size, *quantization; /* "llama", "1.2B", "Q4_K_M" */
        const char *modified_at, *expires_at; /* ISO 8601; the second for loaded models only */
        uint64_t size;               /* bytes: of the file; for loaded models in memory */
        /* What follows is for loaded models only: zl_ps(). */
        uint64_t size_vram;          /* bytes on a GPU */
        const char *state;           /* "loading", "ready", … */
        const char *pool, *device;
        bool pinned;                 /* stays loaded whatever expires_at says */
        double progress;             /* of loading: 0 … 1 */
        uint64_t context, slots, running, waiting;
        uint64_t users;              /* who have requests running or waiting */
        uint64_t prompt_tokens, cached_tokens; /* of all requests so far; cached: those not computed again */
        const char *from;            /* of all: the model that it is a variant of; "": it is none */
} ZlModel;

typedef struct ZlModels {
        const ZlModel *models;
        size_t n;
        const char *json;            /* the whole answer as the daemon sent it */
} ZlModels;

/* All models that can be used. */
ZEROLLAMA_API int zl_models(ZlClient *client, ZlModels **ret, ZlError *error);
/* Those that are loaded or loading. */
ZEROLLAMA_API int zl_ps(ZlClient *client, ZlModels **ret, ZlError *error);
/* NULL is fine. */
ZEROLLAMA_API void zl_models_free(ZlModels *models);

/* Open-ended documents are handed out as JSON text, to be freed with free(). */
ZEROLLAMA_API int zl_show(ZlClient *client, const char *model, char **ret_json, ZlError *error);
/* The tokens of a text itself, without what a template puts around; with `pieces` each with the text it stands for. */
ZEROLLAMA_API int zl_tokenize(ZlClient *client, const char *model, const char *text, int pieces, char **ret_json, ZlError *error);
ZEROLLAMA_API int zl_status(ZlClient *client, char **ret_json, ZlError *error);
/* The daemon's figures, in the text format of Prometheus; free(). */
ZEROLLAMA_API int zl_metrics(ZlClient *client, char **ret_text, ZlError *error);

/* Loads without asking anything; returns when the model is ready. `keep_alive` as in ZlRequest. */
ZEROLLAMA_API int zl_load(ZlClient *client, const char *model, const char *keep_alive, ZlError *error);
ZEROLLAMA_API int zl_unload(ZlClient *client, const char *model, ZlError *error);

/* A model under another name, with words and options of its own, but with another's weights, which are in memory once. */
typedef struct ZlVariant {
        const char *name;
        const char *from;            /* the model that it is a variant of, or the variant that it is to be like */
        const char *system;          /* what it is to be, unless a request says otherwise; or NULL */
        const ZlMessage *messages;   /* [n_messages], what was said before every conversation */
        size_t n_messages;
        ZlOptions options;           /* unless a request says otherwise */
        const char *extra;           /* as in ZlRequest */
        const void *reserved[6];
} ZlVariant;

/* Only root and the daemon's own user, on its Unix socket, may make and delete. A variant of that name is replaced. */
ZEROLLAMA_API int zl_create(ZlClient *client, const ZlVariant *variant, char **ret_json, ZlError *error);
/* Removes a variant, or a model with its file or directory. `ret_json` of both (may be NULL): what the daemon said, such as "from",
 * the model that it is of, and "removed", a list of paths; free(). */
ZEROLLAMA_API int zl_delete(ZlClient *client, const char *model, char **ret_json, ZlError *error);

/* Version of the daemon; free(). */
ZEROLLAMA_API int zl_version(ZlClient *client, char **ret, ZlError *error);

typedef enum ZlCtl {
        ZL_CTL_RELOAD, /* read the configuration again and use it when it is valid */
        ZL_CTL_CHECK,  /* only say whether it is valid */
} ZlCtl;

/* `ret_json` (may be NULL): what the daemon said; free(). A configuration that is not valid is -EREMOTEIO, and the
 * error's message names file, line and column. */
ZEROLLAMA_API int zl_ctl(ZlClient *client, ZlCtl action, char **ret_json, ZlError *error);

/* ---- Many requests at once -------------------------------------------------------------------------------------- */

/* A ZlMap calls a function for many items in several threads, and hands the results out as they finish. At most
 * `window` items are inside at a time, so memory stays bounded however many there are. Every item that was put comes
 * back once, from zl_map_next().
 *
 *      for (char *line; (line = read_line());)
 *              while (zl_map_try_put(map, line) == -EAGAIN && zl_map_next(map, &item) > 0)
 *                      use(&item);
 *      zl_map_finish(map);
 *      while (zl_map_next(map, &item) > 0)
 *              use(&item);
 */
typedef struct ZlMap ZlMap;

/* Runs in a thread of the map, with that thread's client; returns the result. */
typedef void *(*ZlMapFn)(ZlClient *client, void *item, void *userdata);

enum {
        ZL_MAP_ORDERED = 1, /* results come in the order of their items, not as they finish */
};

typedef struct ZlMapItem {
        void *item;
        void *result; /* what the function returned; NULL when it did not run */
        bool ran;     /* false: the map was cancelled before this item's turn */
} ZlMapItem;

/* `window` 0: twice the number of workers. The client is only copied. */
ZEROLLAMA_API int zl_map_new(const ZlClient *client, unsigned n_workers, unsigned window, unsigned flags,
                             ZlMapFn function, void *userdata, ZlMap **ret, ZlError *error);
/* Adds an item; blocks while the window is full, so that another thread must be taking results. -ECANCELED after
 * zl_map_cancel(), -EPIPE after zl_map_finish(). */
ZEROLLAMA_API int zl_map_put(ZlMap *map, void *item);
/* The same, but -EAGAIN when the window is full: for programs that put and take in one thread. */
ZEROLLAMA_API int zl_map_try_put(ZlMap *map, void *item);
/* No more items will come. */
ZEROLLAMA_API void zl_map_finish(ZlMap *map);
/* Blocks for the next result. 1: *ret is filled; 0: finished or cancelled, and nothing is left. */
ZEROLLAMA_API int zl_map_next(ZlMap *map, ZlMapItem *ret);
/* The same, but -EAGAIN when none came within `timeout_ms`. */
ZEROLLAMA_API int zl_map_try_next(ZlMap *map, unsigned timeout_ms, ZlMapItem *ret);
/* Items that wait will not run; requests that run end with -ECANCELED. zl_map_next() then hands out what is left. */
ZEROLLAMA_API void zl_map_cancel(ZlMap *map);
/* Cancels, waits for the functions that run, and frees; items and results not taken are forgotten. NULL is fine. */
ZEROLLAMA_API void zl_map_free(ZlMap *map);

#ifdef __cplusplus
}
#endif
#endif
