/* Text from a model: a request becomes the daemon's JSON, and the stream of JSON objects that comes back, one per
 * line, becomes pieces for the caller's callback and one result.
 *
 * The network cuts the stream where it likes, so bytes gather in `line` until a newline is there. An answer is complete
 * only when an object with "done": true came; a stream that ends before it is a broken connection, however it ended.
 * An object with "error" may come at any time and ends the answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "util/buf.h"
#include "util/str.h"

enum {
        LINE_MAX_BYTES = 64 << 20,    /* of one object */
        ANSWER_MAX_BYTES = 256 << 20, /* of all text together */
        GRACE_MS = 5000,              /* for the daemon to say itself that a request's time is over */
};

typedef struct Answer {
        ZlResult result;    /* first: what the caller holds */
        const ZlRequest *request;
        uint64_t begin;     /* usec */
        Buf line, text;
        json_t *last;       /* the object that said done; owns finish_reason */
        char *last_text;
} Answer;

static void answer_free(Answer *a) {
        buf_deinit(&a->line);
        buf_deinit(&a->text);
        json_decref(a->last);
        free(a->last_text);
        free(a);
}
DEFINE_CLEANUP(Answer, answer_free)

void zl_result_free(ZlResult *result) {
        if (result)
                answer_free(container_of(result, Answer, result));
}

/* ---- The request ---- */

static const struct {
        const char *name;
        size_t offset;
} integers[] = {
        {"num_predict", offsetof(ZlOptions, max_tokens)},
        {"num_ctx", offsetof(ZlOptions, context)},
        {"seed", offsetof(ZlOptions, seed)},
        {"top_k", offsetof(ZlOptions, top_k)},
}, reals[] = {
        {"temperature", offsetof(ZlOptions, temperature)},
        {"top_p", offsetof(ZlOptions, top_p)},
        {"min_p", offsetof(ZlOptions, min_p)},
        {"repeat_penalty", offsetof(ZlOptions, repeat_penalty)},
        {"presence_penalty", offsetof(ZlOptions, presence_penalty)},
        {"frequency_penalty", offsetof(ZlOptions, frequency_penalty)},
};

#define FIELD(object, type, offset) (*(const type *const *)((const char *)(object) + (offset)))

json_t *json_options(const ZlOptions *o) {
        json_auto_t *root = json_object();
        int r = 0;
        for (size_t i = 0; i < ARRAY_SIZE(integers); i++) {
                const int64_t *v = FIELD(o, int64_t, integers[i].offset);
                r |= v ? json_object_set_new(root, integers[i].name, json_integer(*v)) : 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(reals); i++) {
                const double *v = FIELD(o, double, reals[i].offset);
                r |= v ? json_object_set_new(root, reals[i].name, json_real(*v)) : 0;
        }
        if (o->stop) {
                json_t *stop = json_array();
                for (const char *const *s = o->stop; *s; s++)
                        r |= json_array_append_new(stop, json_string(*s));
                r |= json_object_set_new(root, "stop", stop);
        }
        return r == 0 ? TAKE(root) : NULL;
}

json_t *json_messages(const ZlMessage *messages, size_t n) {
        json_auto_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
                const ZlMessage *m = &messages[i];
                if (json_array_append_new(list, json_pack("{s:s, s:s}", "role", m->role, "content", m->content)) < 0)
                        return NULL;
        }
        return TAKE(list);
}

static json_t *make_format(const char *format) {
        return strcmp(format, "json") == 0 ? json_string(format) : json_loads(format, 0, NULL);
}

/* Members of the two kinds of request, and those both have. Nonzero: out of memory or not UTF-8. */
static int fill_request(json_t *root, const ZlRequest *q, bool chat) {
        int r = json_object_set_new(root, "model", json_string(q->model));
        r |= json_object_set_new(root, "stream", json_boolean(q->piece != NULL));
        r |= json_object_set_new(root, "options", json_options(&q->options));
        if (q->keep_alive)
                r |= json_object_set_new(root, "keep_alive", json_keep_alive(q->keep_alive));
        if (q->timeout)
                r |= json_object_set_new(root, "timeout", json_real(*q->timeout));
        if (q->priority)
                r |= json_object_set_new(root, "priority", json_string(q->priority));
        if (chat)
                return r | json_object_set_new(root, "messages", json_messages(q->messages, q->n_messages));
        r |= json_object_set_new(root, "prompt", json_string(q->prompt ? q->prompt : ""));
        if (q->system)
                r |= json_object_set_new(root, "system", json_string(q->system));
        if (q->raw)
                r |= json_object_set_new(root, "raw", json_true());
        return r;
}

static int make_request(const ZlRequest *q, bool chat, char **ret, ZlError *e) {
        json_auto_t *root = json_object();
        if (!q->model || !*q->model)
                return fail(e, -EINVAL, "the request names no model");
        if (fill_request(root, q, chat) != 0)
                return fail(e, -EINVAL, "the request cannot be sent: its text is not valid UTF-8, or memory is out");
        if (q->format && json_object_set_new(root, "format", make_format(q->format)) < 0)
                return fail(e, -EINVAL, "the format is neither \"json\" nor a JSON schema");
        if (q->grammar && !*q->grammar)
                return fail(e, -EINVAL, "the grammar is empty");
        if (q->grammar && json_object_set_new(root, "grammar", json_string(q->grammar)) < 0)
                return fail(e, -EINVAL, "the grammar is not valid UTF-8");
        if (json_add_extra(root, q->extra, e) < 0)
                return -EINVAL;
        char *body = json_dumps(root, JSON_COMPACT);
        if (!body)
                return fail_memory(e);
        *ret = body;
        return 0;
}

/* ---- The answer ---- */

static void fill_result(Answer *a) {
        ZlResult *r = &a->result;
        r->finish_reason = json_text(a->last, "done_reason");
        r->prompt_tokens = json_count(a->last, "prompt_eval_count");
        r->cached_tokens = json_count(a->last, "prompt_cached_count");
        r->completion_tokens = json_count(a->last, "eval_count");
        r->total_ns = json_count(a->last, "total_duration");
        r->load_ns = json_count(a->last, "load_duration");
        r->prompt_ns = json_count(a->last, "prompt_eval_duration");
        r->completion_ns = json_count(a->last, "eval_duration");
        r->json = a->last_text;
}

static int hand_out_piece(Answer *a, const json_t *root, const json_t *text, const char *json) {
        const ZlRequest *q = a->request;
        const json_t *message = json_object_get(root, "message");
        const char *thinking = json_text(message ? message : root, "thinking");
        ZlPiece piece = {
                .text = text ? json_string_value(text) : "",
                .len = json_string_length(text),
                .thinking = *thinking ? thinking : NULL,
                .json = json,
                .done = json_is_true(json_object_get(root, "done")),
        };
        if (a->result.first_ns == 0 && (piece.len > 0 || piece.thinking))
                a->result.first_ns = (now_usec() - a->begin) * 1000;
        return q->piece ? q->piece(q->userdata, &piece) : 0;
}

static int keep_last(Answer *a, json_t *root, const char *json, ZlError *e) {
        json_decref(a->last);
        free(a->last_text);
        a->last = json_incref(root);
        a->last_text = strdup(json);
        return a->last_text ? 0 : fail_memory(e);
}

/* One object of the stream: `n` bytes and a 0. */
static int take_object(Answer *a, const char *json, size_t n, ZlError *e) {
        if (strspn(json, " \t\r\n") == n)
                return 0;
        json_error_t where;
        json_auto_t *root = json_loadb(json, n, JSON_ALLOW_NUL, &where);
        if (!json_is_object(root))
                return fail(e, -EPROTO, "the daemon's answer is not JSON (%s)", root ? "no object" : where.text);
        const char *said = json_error_text(root);
        if (said)
                return fail(e, -EREMOTEIO, "%s", said);
        const json_t *message = json_object_get(root, "message");
        const json_t *text = message ? json_object_get(message, "content") : json_object_get(root, "response");
        if (json_string_length(text) > ANSWER_MAX_BYTES - a->text.len)
                return fail(e, -EMSGSIZE, "the answer is longer than %d MiB", ANSWER_MAX_BYTES >> 20);
        if (json_is_string(text))
                buf_put(&a->text, json_string_value(text), json_string_length(text));
        if (json_is_true(json_object_get(root, "done")) && keep_last(a, root, json, e) < 0)
                return -ENOMEM;
        return hand_out_piece(a, root, text, json) == 0 ? 0 : fail(e, -ECANCELED, "cancelled");
}

static int on_data(void *userdata, const char *data, size_t n, ZlError *e) {
        Answer *a = userdata;
        while (n > 0) {
                const char *newline = memchr(data, '\n', n);
                size_t part = newline ? (size_t)(newline - data) : n;
                if (part > LINE_MAX_BYTES - a->line.len)
                        return fail(e, -EMSGSIZE, "one object of the answer is longer than %d MiB",
                                    LINE_MAX_BYTES >> 20);
                buf_put(&a->line, data, part);
                if (a->line.failed)
                        return fail_memory(e);
                if (!newline)
                        return 0;
                int r = take_object(a, a->line.data, a->line.len, e);
                if (r < 0)
                        return r;
                buf_clear(&a->line);
                data += part + 1;
                n -= part + 1;
        }
        return 0;
}

uint64_t limit_of(const double *timeout) {
        return timeout ? (uint64_t)CLAMP(*timeout * 1000, 0.0, 1e15) + GRACE_MS : 0;
}

static int ask(ZlClient *c, const ZlRequest *q, bool chat, ZlResult **ret, ZlError *e) {
        ZlError unused;
        if (!e)
                e = &unused;
        *e = (ZlError){.retry_after_ms = -1};
        _cleanup_free_ char *body = NULL;
        int r = make_request(q, chat, &body, e);
        if (r < 0)
                return r;
        _cleanup_(answer_freep) Answer *a = calloc(1, sizeof(*a));
        if (!a)
                return fail_memory(e);
        a->request = q;
        a->begin = now_usec();
        buf_puts(&a->text, "");
        r = http_request(c, "POST", chat ? "/api/chat" : "/api/generate", body, limit_of(q->timeout), on_data, a, e);
        if (r == 0 && a->line.len > 0) /* the last line may lack its newline */
                r = take_object(a, a->line.data, a->line.len, e);
        if (r < 0)
                return r;
        if (!a->last)
                return fail(e, -ECONNRESET, "the connection to %s ended before the answer did", c->address.shown);
        if (a->text.failed)
                return fail_memory(e);
        fill_result(a);
        a->result.text = a->text.data;
        a->result.len = a->text.len;
        *ret = &TAKE(a)->result;
        return 0;
}

int zl_chat(ZlClient *c, const ZlRequest *request, ZlResult **ret, ZlError *e) {
        return ask(c, request, true, ret, e);
}

int zl_generate(ZlClient *c, const ZlRequest *request, ZlResult **ret, ZlError *e) {
        return ask(c, request, false, ret, e);
}
