/* zerollama map: one request for each line of the input, many at once, one line of JSON for each answer.
 *
 * One thread reads the input and writes the results; the workers of a ZlMap ask. An item is in one of three places: in
 * the hand of the reader, in the map (whose window bounds how many there are), or written. Input that has nothing to
 * read does not keep results that are there from being written, nor the other way round. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/results.h"
#include "util/str.h"

enum {
        DEFAULT_JOBS = 8,
        LINE_MAX_BYTES = 64 << 20,
        READ_BYTES = 64 << 10,
        IDLE_MS = 200,        /* how late Ctrl-C may be noticed */
        INPUT_MS = 20,        /* how late input may be noticed while requests run */
        RETRIES = 1000,       /* of a daemon that is busy */
        LONGEST_PAUSE_MS = 600000,
};

static const int64_t *jobs;
static bool is_text, ordered, redo_failed;
static const char *output;

static const Option options[] = {
        {OPTION_INTEGER, 'j', "jobs", "N", &jobs, 1, 4096, "requests at once [8]"},
        {OPTION_FLAG, 0, "text", NULL, &is_text, .help = "each line of the input is a prompt, not JSON"},
        {OPTION_FLAG, 0, "ordered", NULL, &ordered, .help = "results in the order of the input, not as they finish"},
        {OPTION_TEXT, 'o', "output", "FILE", &output,
         .help = "append the results to FILE; input whose result it holds is left out"},
        {OPTION_FLAG, 0, "redo-failed", NULL, &redo_failed, .help = "but ask again where FILE holds a failure"},
        {OPTION_END},
};

/* ---- The input ---- */

typedef struct Input {
        int fd;
        const char *name;
        Buf bytes;
        size_t at, searched; /* in `bytes`: the next line's start, and where its end was not found */
        uint64_t lines, read, size; /* size 0: not known */
        bool eof;
} Input;

static int input_failed(const Input *in, int error) {
        complain("cannot read %s: %s", in->name, strerror(error));
        return -error;
}

static int input_open(Input *in, const char *path) {
        struct stat st;
        bool standard = !path || strcmp(path, "-") == 0;
        *in = (Input){.fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), .name = path};
        if (standard)
                in->name = "stdin";
        if (in->fd < 0 || fstat(in->fd, &st) < 0)
                return input_failed(in, errno);
        in->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        return 0;
}

static void input_deinit(Input *in) {
        if (in->fd > STDIN_FILENO)
                close(in->fd);
        buf_deinit(&in->bytes);
}

/* Reads more when that is possible within `ms`; negative: cannot be read. */
static int input_fill(Input *in, int ms) {
        struct pollfd p = {.fd = in->fd, .events = POLLIN};
        if (poll(&p, 1, ms) <= 0)
                return 0;
        buf_consume(&in->bytes, in->at);
        in->searched -= in->at;
        in->at = 0;
        char *room = in->bytes.len < LINE_MAX_BYTES ? buf_reserve(&in->bytes, READ_BYTES) : NULL;
        if (!room) {
                complain("line %llu of %s is too long", (unsigned long long)in->lines + 1, in->name);
                return -EMSGSIZE;
        }
        ssize_t n = read(in->fd, room, READ_BYTES);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
                return input_failed(in, errno);
        in->eof = n == 0;
        in->bytes.len += (size_t)MAX(n, 0);
        in->read += (uint64_t)MAX(n, 0);
        return 0;
}

/* 1: the next line, which the next call ends; 0: it has not come within `ms`, or there is none (eof). */
static int input_next(Input *in, int ms, const char **ret, size_t *ret_len) {
        for (;; ms = 0) {
                const char *data = in->bytes.data;
                const char *newline =
                        data ? memchr(data + in->searched, '\n', in->bytes.len - in->searched) : NULL;
                size_t end = newline ? (size_t)(newline - data) : in->bytes.len;
                if (newline || (in->eof && end > in->at)) {
                        *ret = data + in->at;
                        *ret_len = end - in->at;
                        in->at = in->searched = newline ? end + 1 : end;
                        in->lines++;
                        return 1;
                }
                in->searched = end;
                uint64_t before = in->read;
                int r = in->eof ? 0 : input_fill(in, ms);
                if (r < 0)
                        return r;
                if (in->read == before && !(in->eof && in->bytes.len > in->at))
                        return 0;
        }
}

/* ---- One item ---- */

typedef struct Item {
        uint64_t index, size;  /* size: of its line */
        json_t *id;            /* or NULL */
        json_t *request;       /* members of the request */
        char *error;           /* why there is no request */
        enum { ITEM_GENERATE, ITEM_CHAT, ITEM_EMBED, ITEM_RERANK } kind;
        char *result;          /* the line to write; NULL: it did not come to that */
        bool failed, unreachable;
} Item;

static void item_free(Item *i) {
        if (!i)
                return;
        json_decref(i->id);
        json_decref(i->request);
        free(i->error);
        free(i->result);
        free(i);
}

/* Names that other APIs have beside the prompt, and that belong to the options here. */
static const char *const option_names[][2] = {
        {"max_tokens", "num_predict"}, {"num_predict", "num_predict"}, {"num_ctx", "num_ctx"}, {"seed", "seed"},
        {"temperature", "temperature"}, {"top_k", "top_k"}, {"top_p", "top_p"}, {"min_p", "min_p"}, {"stop", "stop"},
        {"repeat_penalty", "repeat_penalty"}, {"presence_penalty", "presence_penalty"},
        {"frequency_penalty", "frequency_penalty"},
};

static void move_options(json_t *request) {
        for (size_t i = 0; i < ARRAY_SIZE(option_names); i++) {
                json_t *value = json_object_get(request, option_names[i][0]);
                if (!value)
                        continue;
                if (!json_object_get(request, "options"))
                        json_object_set_new(request, "options", json_object());
                json_object_set(json_object_get(request, "options"), option_names[i][1], value);
                json_object_del(request, option_names[i][0]);
        }
}

static void parse_item(Item *i, const char *line, size_t n) {
        json_error_t where;
        i->request = is_text ? json_pack("{s:s%}", "prompt", line, n) : json_loadb(line, n, JSON_ALLOW_NUL, &where);
        if (!json_is_object(i->request)) {
                const char *why = is_text ? "it is not valid UTF-8" : i->request ? "it is no object" : where.text;
                if (asprintf(&i->error, "the line cannot be read: %s", why) < 0)
                        i->error = NULL;
                return;
        }
        i->id = json_incref(json_object_get(i->request, "id"));
        json_object_del(i->request, "id");
        json_object_del(i->request, "stream");
        json_object_del(i->request, "encoding_format"); /* the library's choice */
        i->kind = json_object_get(i->request, "messages") ? ITEM_CHAT : json_object_get(i->request, "documents") ? ITEM_RERANK
                  : json_object_get(i->request, "input") ? ITEM_EMBED : ITEM_GENERATE;
        if (i->kind == ITEM_GENERATE && !json_is_string(json_object_get(i->request, "prompt")))
                i->error = strdup("the line has neither \"prompt\" nor \"messages\" nor \"input\" nor \"documents\"");
        if (i->kind == ITEM_GENERATE || i->kind == ITEM_CHAT)
                move_options(i->request);
}

static json_t *begin_result(const Item *i) {
        json_t *root = json_pack("{s:I}", "index", (json_int_t)i->index);
        if (i->id)
                json_object_set(root, "id", i->id);
        return root;
}

static void *end_result(Item *i, json_t *root) {
        i->result = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)); /* nine digits tell floats apart */
        json_decref(root);
        return i;
}

static void *take_failure(Item *i, const char *message, int status) {
        json_t *root = begin_result(i);
        i->failed = true;
        json_object_set_new(root, "error", json_string(message));
        if (status != 0)
                json_object_set_new(root, "status", json_integer(status));
        return end_result(i, root);
}

static void *take_answer(Item *i, const ZlResult *a) {
        json_t *root = begin_result(i);
        json_object_set_new(root, "text", json_stringn(a->text, a->len));
        json_object_set_new(root, "finish", json_string(a->finish_reason));
        json_object_set_new(root, "usage",
                            json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)a->prompt_tokens,
                                      "cached_tokens", (json_int_t)a->cached_tokens, "completion_tokens",
                                      (json_int_t)a->completion_tokens));
        return end_result(i, root);
}

static int ask_text(ZlClient *client, const ZlRequest *q, Item *i, ZlError *e) {
        ZlResult *answer = NULL;
        int r = i->kind == ITEM_CHAT ? zl_chat(client, q, &answer, e) : zl_generate(client, q, &answer, e);
        if (r == 0)
                take_answer(i, answer);
        zl_result_free(answer);
        return r;
}

static json_t *make_vector(const float *values, size_t n) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(list, json_real((double)values[i]));
        return list;
}

static void set_tokens(json_t *root, uint64_t tokens) {
        json_object_set_new(root, "usage", json_pack("{s:I}", "prompt_tokens", (json_int_t)tokens));
}

/* One text has an embedding, a list of them embeddings. */
static int ask_embeddings(ZlClient *client, const ZlRequest *q, Item *i, ZlError *e) {
        ZlEmbedRequest request = {.model = q->model, .extra = q->extra, .timeout = q->timeout, .priority = q->priority};
        ZlEmbeddings *answer = NULL;
        int r = zl_embed(client, &request, &answer, e);
        if (r < 0)
                return r;
        json_t *root = begin_result(i), *list = json_array();
        for (size_t k = 0; k < answer->n; k++)
                json_array_append_new(list, make_vector(answer->values + k * answer->dimensions, answer->dimensions));
        if (json_is_string(json_object_get(i->request, "input")))
                json_object_set(root, "embedding", json_array_get(list, 0));
        else
                json_object_set(root, "embeddings", list);
        json_decref(list);
        set_tokens(root, answer->tokens);
        end_result(i, root);
        zl_embeddings_free(answer);
        return 0;
}

static int ask_ranking(ZlClient *client, const ZlRequest *q, Item *i, ZlError *e) {
        ZlRerankRequest request = {.model = q->model, .extra = q->extra, .timeout = q->timeout, .priority = q->priority};
        ZlRanking *answer = NULL;
        int r = zl_rerank(client, &request, &answer, e);
        if (r < 0)
                return r;
        json_t *root = begin_result(i), *list = json_array();
        for (size_t k = 0; k < answer->n; k++)
                json_array_append_new(list, json_pack("{s:I, s:f}", "index", (json_int_t)answer->ranks[k].index,
                                                      "relevance_score", answer->ranks[k].score));
        json_object_set_new(root, "results", list);
        set_tokens(root, answer->tokens);
        end_result(i, root);
        zl_ranking_free(answer);
        return 0;
}

/* Runs in a worker. What was cancelled, or met no daemon, has no result: another run asks again. A connection that
 * broke may be a daemon that was restarted, so that is tried once more. */
static void *ask(ZlClient *client, void *item, void *userdata) {
        Item *i = item;
        static int (*const ways[])(ZlClient *, const ZlRequest *, Item *, ZlError *) = {ask_text, ask_text, ask_embeddings, ask_ranking};
        ZlRequest q = *(const ZlRequest *)userdata;
        ZlError e;
        if (i->error)
                return take_failure(i, i->error, 0);
        _cleanup_free_ char *extra = json_dumps(i->request, JSON_COMPACT);
        q.extra = extra;
        int r = -ECONNRESET;
        for (int tries = 0; r == -ECONNRESET && tries < 2; tries++)
                r = ways[i->kind](client, &q, i, &e);
        if (r == -ENOTCONN)
                i->unreachable = true;
        else if (r < 0 && r != -ECANCELED)
                take_failure(i, e.message, e.status);
        return i;
}

/* ---- The whole ---- */

typedef struct Job {
        Input input;
        Results *results;
        ZlMap *map;
        Item *next;            /* read, and not yet in the map */
        uint64_t running, done, failed, skipped, bytes; /* bytes: of the input that is done with */
        uint64_t begin;        /* usec */
        uint64_t old_bytes;    /* of `bytes`, those that were skipped */
        bool stopping;         /* the map was cancelled */
        bool hole;             /* --ordered: a result is missing, so that none may follow */
        int code;              /* exit code so far */
} Job;

static void stop(Job *j, int code) {
        if (j->code == EXIT_OK)
                j->code = code;
        if (!j->stopping)
                zl_map_cancel(j->map);
        j->stopping = true;
}

static bool is_blank(const char *line, size_t n) {
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
                n--;
        return n == 0;
}

/* Sets j->next to the next item that has no result yet, unless none comes within `ms`. */
static void read_item(Job *j, int ms) {
        const char *line;
        size_t n;
        int r;
        while (!j->next && (r = input_next(&j->input, ms, &line, &n)) != 0) {
                Item *i = r > 0 ? calloc(1, sizeof(*i)) : NULL;
                if (!i) {
                        stop(j, EXIT_FAILED);
                        return;
                }
                *i = (Item){.index = j->input.lines - 1, .size = n + 1};
                if (n > 0 && line[n - 1] == '\r')
                        n--;
                parse_item(i, line, n);
                bool blank = is_blank(line, n);
                if (!blank && !results_have(j->results, i->index, i->id)) {
                        j->next = i;
                        return;
                }
                j->skipped += !blank;
                j->bytes += i->size;
                j->old_bytes += i->size;
                item_free(i);
        }
}

static void take_result(Job *j, Item *i) {
        Error e = ERROR_NULL;
        j->running--;
        if (i->unreachable && !j->stopping) {
                complain("the daemon cannot be reached any more; what is done is kept");
                stop(j, EXIT_UNREACHABLE);
        }
        j->hole |= ordered && !i->result;
        if (i->result && !j->hole) {
                if (results_add(j->results, i->result, &e) < 0) {
                        if (e.code != -EPIPE)
                                complain("%s", e.text);
                        j->hole = true;
                        stop(j, EXIT_FAILED);
                } else {
                        j->done += !i->failed;
                        j->failed += i->failed;
                        j->bytes += i->size;
                }
        }
        item_free(i);
}

static void show_bar(const Job *j) {
        if (!bar_is_due())
                return;
        double seconds = (double)(now_usec() - j->begin) / 1e6, fraction = NAN;
        uint64_t fresh = j->bytes - j->old_bytes, left = j->input.size > j->bytes ? j->input.size - j->bytes : 0;
        char eta[64] = "", failed[48] = "", text[48];
        if (j->input.size > 0)
                fraction = (double)j->bytes / (double)j->input.size;
        if (j->input.size > 0 && fresh > 0)
                snprintf(eta, sizeof(eta), ", %s left",
                         format_duration(text, sizeof(text),
                                         (uint64_t)ceil(seconds * (double)left / (double)fresh) * 1000000));
        if (j->failed > 0)
                snprintf(failed, sizeof(failed), ", %llu failed", (unsigned long long)j->failed);
        bar_show(fraction, "%llu done%s, %.1f/s%s", (unsigned long long)j->done, failed,
                 (double)(j->done + j->failed) / fmax(seconds, 1e-3), eta);
}

static void run_job(Job *j) {
        for (;;) {
                ZlMapItem taken;
                if (interrupted)
                        stop(j, EXIT_INTERRUPTED);
                if (!j->stopping)
                        read_item(j, j->running > 0 ? 0 : IDLE_MS);
                if (!j->stopping && j->next && zl_map_try_put(j->map, j->next) == 0) {
                        j->next = NULL;
                        j->running++;
                        continue;
                }
                show_bar(j);
                bool reading = !j->stopping && !j->next && !j->input.eof;
                if (j->running > 0 && zl_map_try_next(j->map, reading ? INPUT_MS : IDLE_MS, &taken) > 0)
                        take_result(j, taken.item);
                else if (j->running == 0 && (j->stopping || (!j->next && !reading)))
                        return;
        }
}

static void print_sums(const Job *j) {
        char text[48];
        if (j->failed > 0)
                complain("%llu of %llu requests failed", (unsigned long long)j->failed,
                         (unsigned long long)(j->done + j->failed));
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "%s%llu done, %llu failed, %llu there before, in %s%s\n", style_dim(stderr),
                        (unsigned long long)j->done, (unsigned long long)j->failed, (unsigned long long)j->skipped,
                        format_duration(text, sizeof(text), (now_usec() - j->begin) / 1000000 * 1000000),
                        style_off(stderr));
}

static int finish(Job *j) {
        Error e = ERROR_NULL;
        bar_clear();
        print_sums(j);
        if (results_sync(j->results, &e) < 0) {
                complain("%s", e.text);
                return EXIT_FAILED;
        }
        return j->code == EXIT_OK && j->failed > 0 ? EXIT_FAILED : j->code;
}

/* A model that is not there would fail on every line. */
static int check_model(ZlClient *client, const char *model) {
        ZlError e;
        Progress *p = progress_new(client, model);
        int r = zl_load(client, model, NULL, &e);
        progress_free(p);
        return r < 0 ? complain_model(client, model, &e) : EXIT_OK;
}

static int map_all(ZlClient *client, Job *j, ZlRequest *q) {
        ZlError e;
        unsigned n = jobs ? (unsigned)*jobs : DEFAULT_JOBS;
        int r = check_model(client, q->model);
        if (r != EXIT_OK)
                return r;
        zl_client_set_retries(client, RETRIES, LONGEST_PAUSE_MS);
        if (zl_map_new(client, n, 0, ordered ? ZL_MAP_ORDERED : 0, ask, q, &j->map, &e) < 0)
                return complain_error(&e);
        j->begin = now_usec();
        run_job(j);
        r = finish(j);
        zl_map_free(j->map);
        item_free(j->next);
        return r;
}

static int run(ZlClient *client, char **args) {
        ZlRequest q = asked;
        Job j = {0};
        Error e = ERROR_NULL;
        q.model = args[0];
        q.prompt = "";
        if (!q.priority) /* nobody waits for the next line of a file as they do for an answer */
                q.priority = "batch";
        if (redo_failed && !output) {
                complain("--redo-failed needs the file of an earlier run: --output FILE");
                return EXIT_USAGE;
        }
        if (results_open(output, redo_failed, &j.results, &e) < 0) {
                complain("%s", e.text);
                return EXIT_FAILED;
        }
        int r = input_open(&j.input, args[1]) < 0 ? EXIT_FAILED : map_all(client, &j, &q);
        input_deinit(&j.input);
        results_free(j.results);
        return r;
}

const Command cmd_map = {
        .name = "map",
        .arguments = "MODEL [FILE|-]",
        .summary = "ask a model for each line of a file",
        .description =
                "A line is a JSON object with \"prompt\" or \"messages\", \"input\" to embed, or \"query\" and \"documents\" to "
                "rerank, an \"id\" if wanted, and any other member of a request. For each one a line with its index and id, "
                "and text and finish, embedding or results, and usage, or error, is printed as it comes. With --output, a command that was stopped goes on where it was when it is given again.",
        .options = {options, sampling_options, request_options},
        .min_args = 1,
        .max_args = 2,
        .run = run,
};
