/* Reading a request's fields: types and bounds are checked where the field is read, and the first mistake is the answer.
 * What is common to the dialects of generation (sampling, stop strings, biases, messages) is here too. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"
#include "util/str.h"

enum { STOPS_MAX = 16, BIAS_MAX = 1024, MESSAGES_MAX = 65536 };

void arg_fail(Args *a, const char *key, const char *fmt, ...) {
        ApiError *e = a->error;
        if (e->status)
                return;
        *e = (ApiError){.status = 400, .code = "invalid_value"};
        snprintf(e->param, sizeof(e->param), "%s%s", a->prefix, key);
        size_t n = (size_t)snprintf(e->text, sizeof(e->text), "%s: ", e->param);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text + n, sizeof(e->text) - n, fmt, ap);
        va_end(ap);
}

void arg_fail_with(Args *a, unsigned status, const char *code, const char *param, const char *fmt, ...) {
        ApiError *e = a->error;
        if (e->status)
                return;
        *e = (ApiError){.status = status, .code = code};
        snprintf(e->param, sizeof(e->param), "%s", param);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
}

void arg_no_memory(Args *a) {
        if (!a->error->status)
                *a->error = (ApiError){.status = 503, .code = "out_of_memory", .text = "out of memory for this request"};
}

void *api_context(Api *api, Args *a, ApiContext make) {
        if (!api->has_context)
                return make(a);
        if (!arg_failed(a))
                api->error = api->context_error;
        return TAKE(api->context);
}

json_t *arg_get(const Args *a, const char *key) {
        json_t *v = json_object_get(a->object, key);
        return json_is_null(v) ? NULL : v;
}

static const char *type_name(const json_t *v) {
        static const char *const names[] = {"an object", "an array", "a string", "an integer", "a number", "true", "false", "null"};
        return names[json_typeof(v)];
}

bool arg_bool(Args *a, const char *key, bool otherwise) {
        const json_t *v = arg_get(a, key);
        if (!v)
                return otherwise;
        if (!json_is_boolean(v)) {
                arg_fail(a, key, "must be true or false, not %s", type_name(v));
                return otherwise;
        }
        return json_is_true(v);
}

double arg_number(Args *a, const char *key, double min, double max, double otherwise) {
        const json_t *v = arg_get(a, key);
        if (!v)
                return otherwise;
        if (!json_is_number(v))
                arg_fail(a, key, "must be a number, not %s", type_name(v));
        else if (!(json_number_value(v) >= min && json_number_value(v) <= max))
                arg_fail(a, key, "must be from %g to %g, not %g", min, max, json_number_value(v));
        else
                return json_number_value(v);
        return otherwise;
}

int64_t arg_int(Args *a, const char *key, int64_t min, int64_t max, int64_t otherwise) {
        const json_t *v = arg_get(a, key);
        if (!v)
                return otherwise;
        double d = json_number_value(v);
        bool whole = json_is_integer(v) || (json_is_real(v) && d == floor(d) && fabs(d) < 0x1p53);
        int64_t i = json_is_integer(v) ? json_integer_value(v) : whole ? (int64_t)d : 0;
        if (!whole)
                arg_fail(a, key, "must be an integer, not %s", json_is_real(v) ? "a fraction" : type_name(v));
        else if (i < min || i > max)
                arg_fail(a, key, "must be from %" PRId64 " to %" PRId64 ", not %" PRId64, min, max, i);
        else
                return i;
        return otherwise;
}

const char *arg_string(Args *a, const char *key, const char *otherwise) {
        const json_t *v = arg_get(a, key);
        if (!v)
                return otherwise;
        if (!json_is_string(v)) {
                arg_fail(a, key, "must be a string, not %s", type_name(v));
                return otherwise;
        }
        return json_string_value(v);
}

IpcStr arg_bytes(Args *a, const char *key) {
        const char *text = arg_string(a, key, "");
        return (IpcStr){text, (uint32_t)json_string_length(arg_get(a, key))};
}

/* Empty things, false, 0 and "none" ask for nothing. */
static bool asks_for_nothing(const json_t *v) {
        return json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0) ||
               (json_is_string(v) && (json_string_length(v) == 0 || strcmp(json_string_value(v), "none") == 0)) ||
               (json_is_number(v) && json_number_value(v) == 0);
}

void arg_unsupported(Args *a, const char *key, const char *why) {
        const json_t *v = arg_get(a, key);
        if (v && !asks_for_nothing(v))
                arg_fail(a, key, "%s", why);
}

const Variant *arg_variant(Args *a, Daemon *d, const char *key) {
        const char *name = arg_string(a, key, "");
        return registry_find_variant(&d->registry, name, strlen(name));
}

ModelEntry *arg_model_at(Args *a, Daemon *d, const char *key) {
        const char *name = arg_string(a, key, NULL);
        if (arg_failed(a))
                return NULL;
        if (!name) {
                arg_fail(a, key, "is missing; say which model to use (GET /v1/models lists them)");
                return NULL;
        }
        ModelEntry *m = registry_find(&d->registry, name, strlen(name));
        if (m)
                return m;
        const char *near = registry_nearest(&d->registry, name);
        const ModelEntry *missing = registry_find_missing(&d->registry, name);
        const Variant *v = arg_variant(a, d, key);
        const char *code = "model_not_found";
        if (v && v->error)
                arg_fail_with(a, 404, code, key, "model '%s' cannot be used: %s: %.250s", v->name, v->path, v->error);
        else if (v && strcmp(v->from, v->name) != 0)
                arg_fail_with(a, 404, code, key, "model '%s' is a variant of '%.200s', which is %s: %.200s", v->name, v->from,
                              registry_find_variant(&d->registry, v->from, strlen(v->from)) ? "a variant itself" : "not there", v->path);
        else if (missing)
                arg_fail_with(a, 404, code, key, "model '%s' is not there any more: %s", name, missing->path);
        else
                arg_fail_with(a, 404, code, key, "there is no model '%.200s'%s%s%s", name, near ? "; did you mean '" : "",
                              near ? near : "", near ? "'?" : "");
        return NULL;
}

ModelEntry *arg_model(Args *a, Daemon *d) {
        return arg_model_at(a, d, "model");
}

/* ---- sampling ---- */

void spec_init(Spec *s) {
        *s = (Spec){.job = {.max_tokens = -1, .temperature = 1, .top_p = 1, .repeat_penalty = 1, .penalty_last = 64, .n_top = -1,
                            .add_special = true},
                   .timeout = UINT64_MAX};
}

void spec_deinit(Spec *s) {
        buf_deinit(&s->stop_lens);
        buf_deinit(&s->stop_bytes);
        buf_deinit(&s->bias_ids);
        buf_deinit(&s->bias);
        buf_deinit(&s->grammar);
        buf_deinit(&s->grammar_name);
}

void spec_read(Spec *s, Args *a, const SampleArg *rows) {
        for (; rows->key; rows++) {
                char *field = (char *)&s->job + rows->offset;
                if (!arg_get(a, rows->key))
                        continue;
                s->job.said |= rows->said;
                if (rows->kind == ARG_FLOAT) {
                        float v = (float)arg_number(a, rows->key, rows->min, rows->max, 0);
                        memcpy(field, &v, sizeof(v));
                } else {
                        int32_t v = (int32_t)arg_int(a, rows->key, (int64_t)rows->min, (int64_t)rows->max, 0);
                        memcpy(field, &v, sizeof(v));
                }
        }
}

void spec_read_seed(Spec *s, Args *a) {
        int64_t seed = arg_int(a, "seed", INT64_MIN, INT64_MAX, -1);
        if (!arg_get(a, "seed"))
                return;
        bool any = seed == -1; /* as Ollama writes it */
        s->job.seed = any ? 0 : seed ? (uint64_t)seed : 0x9e3779b97f4a7c15u; /* 0 means: draw one */
}

static void put_stop(Spec *s, Args *a, const char *key, const json_t *v) {
        if (!json_is_string(v))
                arg_fail(a, key, "must be a string or a list of strings");
        else if (json_string_length(v) > 0) /* an empty one would stop everything; clients send it for "none" */
                ipc_strs_put(&s->stop_lens, &s->stop_bytes, json_string_value(v), json_string_length(v));
}

void spec_read_stop(Spec *s, Args *a, const char *key) {
        const json_t *v = arg_get(a, key), *it;
        size_t i;
        if (v) { /* a variant's go */
                buf_clear(&s->stop_lens);
                buf_clear(&s->stop_bytes);
        }
        if (json_is_array(v) && json_array_size(v) > STOPS_MAX)
                arg_fail(a, key, "has %zu strings; at most %d are possible", json_array_size(v), STOPS_MAX);
        else if (json_is_array(v))
                json_array_foreach(v, i, it)
                        put_stop(s, a, key, it);
        else if (v)
                put_stop(s, a, key, v);
        s->job.stop = ipc_strs(&s->stop_lens, &s->stop_bytes);
}

void spec_read_bias(Spec *s, Args *a) {
        json_t *v = arg_get(a, "logit_bias"), *it;
        const char *key;
        if (v && !json_is_object(v)) {
                arg_fail(a, "logit_bias", "must be an object of token ids and numbers");
                return;
        }
        if (json_object_size(v) > BIAS_MAX) {
                arg_fail(a, "logit_bias", "has %zu entries; at most %d are possible", json_object_size(v), BIAS_MAX);
                return;
        }
        json_object_foreach(v, key, it) {
                char *end;
                long id = strtol(key, &end, 10);
                double bias = json_number_value(it);
                if (!*key || *end || id < 0 || id > INT32_MAX)
                        arg_fail(a, "logit_bias", "'%.32s' is no token id", key);
                else if (!json_is_number(it) || bias < -100 || bias > 100)
                        arg_fail(a, "logit_bias", "the bias of token %ld must be a number from -100 to 100", id);
                int32_t token = (int32_t)id;
                float f = bias <= -100 ? -INFINITY : (float)bias; /* -100 forbids, as OpenAI documents */
                buf_put(&s->bias_ids, &token, sizeof(token));
                buf_put(&s->bias, &f, sizeof(f));
        }
        s->job.bias_ids = (IpcInts){(const int32_t *)(const void *)s->bias_ids.data, (uint32_t)(s->bias_ids.len / 4)};
        s->job.bias = (IpcFloats){(const float *)(const void *)s->bias.data, (uint32_t)(s->bias.len / 4)};
}

/* Seconds, or a duration; from when the request's headers were complete. */
static void read_timeout(Spec *s, Args *a) {
        const json_t *v = arg_get(a, "timeout");
        double seconds = json_number_value(v);
        uint64_t usec = seconds > 0 ? (uint64_t)(MIN(seconds, 1e12) * 1e6) : 0;
        if (!v)
                return;
        if (json_is_string(v) && parse_duration(json_string_value(v), &usec) < 0)
                usec = 0;
        if (usec == 0)
                arg_fail(a, "timeout", "must be a number of seconds above 0, or a duration such as \"30s\"");
        else
                s->timeout = usec;
}

void spec_read_service(Spec *s, Args *a) {
        const char *priority = arg_string(a, "priority", "interactive");
        if (strcmp(priority, "batch") != 0 && strcmp(priority, "interactive") != 0)
                arg_fail(a, "priority", "must be interactive or batch, not '%.32s'", priority);
        s->job.priority = strcmp(priority, "batch") == 0;
        read_timeout(s, a);
}

/* ---- messages ---- */

/* The dialects' names for one. */
static bool is_text_part(const char *type) {
        return type && (strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0);
}

/* A list of parts as one text: templates of text models expect a string. NULL after an error was sent. */
static json_t *join_parts(Args *a, const char *where, const json_t *parts) {
        _cleanup_buf_ Buf text = BUF_NULL;
        const json_t *part;
        size_t i;
        json_array_foreach(parts, i, part) {
                const char *type = json_string_value(json_object_get(part, "type"));
                const json_t *t = json_object_get(part, "text");
                if (!is_text_part(type) || !json_is_string(t)) {
                        arg_fail(a, where, "part %zu is %s%s%s; only parts of type text are supported", i, type ? "of type '" : "no text part",
                                 type ? type : "", type ? "'" : "");
                        return NULL;
                }
                buf_put(&text, json_string_value(t), json_string_length(t));
        }
        return json_stringn(text.len ? text.data : "", text.len);
}

json_t *arg_text(Args *a, const char *where, json_t *v) {
        if (!v || json_is_null(v))
                return json_string("");
        if (json_is_string(v))
                return json_incref(v);
        if (json_is_array(v))
                return join_parts(a, where, v);
        arg_fail(a, where, "must be a string or a list of parts, not %s", type_name(v));
        return NULL;
}

bool arg_message(Args *a, const char *where, json_t *m) {
        static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!json_is_object(m) || !role) {
                arg_fail(a, where, "must be an object with a role and a content");
                return false;
        }
        bool known = false;
        for (size_t k = 0; k < ARRAY_SIZE(roles); k++)
                known |= strcmp(role, roles[k]) == 0;
        if (!known)
                arg_fail(a, where, "has the role '%.32s'; roles are system, developer, user, assistant and tool", role);
        if (json_array_size(json_object_get(m, "images")) > 0)
                arg_fail(a, where, "has images; only text is supported");
        json_t *content = arg_failed(a) ? NULL : arg_text(a, where, json_object_get(m, "content"));
        if (!content || json_object_set_new(m, "content", content) < 0) {
                arg_no_memory(a);
                return false;
        }
        if (strcmp(role, "developer") == 0) /* OpenAI's newer word; templates know "system" */
                json_object_set_new(m, "role", json_string("system"));
        tools_normalise(a, where, m);
        return !arg_failed(a);
}

void arg_system(Args *a, const char *key, json_t *messages) {
        json_t *v = arg_get(a, key), *text = v ? arg_text(a, key, v) : NULL;
        if (json_string_length(text) > 0 && json_array_insert_new(messages, 0, json_pack("{s:s,s:O}", "role", "system", "content", text)) < 0)
                arg_no_memory(a);
        json_decref(text);
}

char *arg_context(Args *a, json_t *variables, json_t *messages) {
        bool complete = json_object_set_new(variables, "messages", messages) == 0;
        char *text = complete && !arg_failed(a) ? json_dumps(variables, JSON_COMPACT) : NULL;
        json_decref(variables);
        if (!text)
                arg_no_memory(a);
        return text;
}

json_t *arg_messages(Args *a, const char *key) {
        json_t *messages = arg_get(a, key), *it;
        size_t i;
        if (!json_is_array(messages) || json_array_size(messages) == 0 || json_array_size(messages) > MESSAGES_MAX) {
                arg_fail(a, key, messages ? "must be a list of at least one message" : "is missing");
                return NULL;
        }
        json_array_foreach(messages, i, it) {
                char where[64];
                snprintf(where, sizeof(where), "%s[%zu]", key, i);
                if (!arg_message(a, where, it))
                        return NULL;
        }
        tools_link(messages);
        return json_incref(messages);
}
