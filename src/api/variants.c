/* Variants of models (daemon/variant.h): what one says for the requests that name it, and Ollama's routes by which models are
 * made, copied and deleted: a copy is a variant that changes nothing. These change files, so they are for those who could anyway.
 *
 * A worker changes the file, then the list of models is looked at again, and then the answer goes: who asks next finds what was
 * told. A client that leaves meanwhile changes nothing of that. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"
#include "util/log.h"
#include "util/place.h"
#include "util/str.h"

static void fail_with(Args *a, unsigned status, const char *code, const char *param, const char *fmt, ...) _printf_(5, 6);

static void fail_with(Args *a, unsigned status, const char *code, const char *param, const char *fmt, ...) {
        ApiError *e = a->error;
        va_list ap;
        if (e->status)
                return;
        *e = (ApiError){.status = status, .code = code};
        snprintf(e->param, sizeof(e->param), "%s", param);
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
}

/* ---- what one says for a request ---- */

static void read_parameters(Spec *s, json_t *definition, ApiError *error) {
        Args a = {.object = json_object_get(definition, "parameters"), .prefix = "parameters.", .error = error};
        ollama_read_options(s, &a);
}

ModelEntry *spec_read_model(Spec *s, Args *a, Daemon *d) {
        ModelEntry *m = arg_model(a, d);
        const Variant *v = m ? arg_variant(a, d, "model") : NULL;
        ApiError wrong = {0};
        if (!v)
                return m;
        read_parameters(s, v->definition, &wrong);
        s->job.opening = v->opening ? ipc_str(v->opening) : (IpcStr){0};
        if (wrong.status)
                fail_with(a, 500, "model_unreadable", "model", "model '%s' cannot be used: %s: %.300s", v->name, v->path, wrong.text);
        return wrong.status ? NULL : m;
}

/* ---- changes ---- */

typedef struct Change {
        Work work;
        RegistryWaiter waiter;
        Daemon *d;
        Request *r; /* NULL: the client is gone */
        char *path;
        char *text; /* what is to be there; NULL: nothing */
        int result;
} Change;

static void change_free(Change *c) {
        free(c->path);
        free(c->text);
        free(c);
}

static void change_gone(Request *r) {
        ((Change *)r->state)->r = NULL;
}

static void run_change(Work *w) {
        Change *c = container_of(w, Change, work);
        c->result = c->text ? place_text(c->path, c->text, strlen(c->text)) : place_remove(c->path);
}

static void tell_failure(const Change *c) {
        bool others = !c->text && (c->result == -EACCES || c->result == -EPERM);
        api_error(c->r, 500, "not_changed", NULL, "%s cannot be %s: %s%s", c->path, c->text ? "written" : "removed", strerror(-c->result),
                  others ? "; it is another user's, who can remove it by hand (rm -r)" : "");
}

static void looked(RegistryWaiter *w) {
        Change *c = container_of(w, Change, waiter);
        if (c->r && c->result < 0)
                tell_failure(c);
        else if (c->r)
                api_reply(c->r, 200, json_pack("{s:s}", "status", "success"));
        change_free(c);
}

static void drop_waiter(RegistryWaiter *w) {
        change_free(container_of(w, Change, waiter));
}

static void change_done(Work *w) {
        Change *c = container_of(w, Change, work);
        c->waiter = (RegistryWaiter){.done = looked, .drop = drop_waiter};
        registry_refresh(&c->d->registry, true, &c->waiter);
}

static void drop_work(Work *w) {
        change_free(container_of(w, Change, work));
}

/* `path` and `text` are taken over. */
static void change(Api *api, char *path, char *text) {
        Change *c = path ? calloc(1, sizeof(*c)) : NULL;
        if (!c) {
                free(path);
                free(text);
                api_refuse(api->r, &api_no_memory);
                return;
        }
        *c = (Change){.d = api->d, .r = api->r, .path = path, .text = text};
        log_info("user %u %s %s", (unsigned)api->r->peer->uid, text ? "writes" : "removes", path);
        api->r->state = c;
        api->r->gone = change_gone;
        c->work = (Work){.run = run_change, .done = change_done, .drop = drop_work};
        work_submit(api->d->workers, &c->work);
}

/* ---- making ---- */

/* The name that something new is to have, in `ret`, without the tag that may stand for none. */
static bool read_new_name(Api *api, Args *a, const char *key, char ret[VARIANT_NAME_MAX + 1]) {
        static const char latest[] = ":latest";
        const char *name = arg_string(a, key, "");
        size_t n = strlen(name), tag = sizeof(latest) - 1;
        if (n > tag && strcmp(name + n - tag, latest) == 0)
                n -= tag;
        snprintf(ret, VARIANT_NAME_MAX + 1, "%.*s", (int)MIN(n, (size_t)VARIANT_NAME_MAX), name);
        if (n > VARIANT_NAME_MAX || !variant_name_is_good(ret))
                arg_fail(a, key, "must be a name of at most %d bytes, without '/', and not begin with '.'", VARIANT_NAME_MAX);
        const ModelEntry *m = registry_find(&api->d->registry, ret, strlen(ret));
        if (m && !registry_find_variant(&api->d->registry, ret, strlen(ret)))
                fail_with(a, 409, "model_exists", key, "'%s' is there already, and no variant of a model: %s", ret, m->path);
        return !arg_failed(a);
}

/* A copy of what the model named by `key` is: of a variant what that says. NULL and an error. */
static json_t *definition_of(Api *api, Args *a, const char *key) {
        const ModelEntry *m = arg_model_at(a, api->d, key);
        const Variant *v = m ? arg_variant(a, api->d, key) : NULL;
        json_t *definition = !m ? NULL : v ? json_deep_copy(v->definition) : json_pack("{s:s}", "from", m->name);
        if (m && !definition)
                arg_no_memory(a);
        return definition;
}

static void write_definition(Api *api, Args *a, const char *name, const json_t *definition) {
        char *path = NULL, *text = arg_failed(a) ? NULL : json_dumps(definition, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        if (arg_failed(a))
                return;
        if (text && strlen(text) > VARIANT_MAX_BYTES) {
                fail_with(a, 413, "request_too_large", "", "what is to be written is longer than %d KiB", VARIANT_MAX_BYTES / 1024);
                free(text);
        } else if (!text || asprintf(&path, "%s/%s.json", api->d->config->models_path, name) < 0) {
                arg_no_memory(a);
                free(text);
        } else
                change(api, path, text);
}

static void set_messages(Args *a, json_t *definition) {
        json_t *messages = json_array_size(arg_get(a, "messages")) > 0 ? arg_messages(a, "messages") : NULL;
        if (messages)
                json_object_set_new(definition, "messages", messages);
}

static void set_parameters(Args *a, json_t *definition) {
        json_t *given = arg_get(a, "parameters"), *there = json_object_get(definition, "parameters");
        if (given && !json_is_object(given))
                arg_fail(a, "parameters", "must be an object");
        else if (there && given)
                json_object_update(there, given);
        else if (given)
                json_object_set(definition, "parameters", given);
}

/* What the request says beyond what the model it is made from does. */
static void set_members(Args *a, json_t *definition) {
        Error e = ERROR_NULL;
        _cleanup_(spec_deinit) Spec scratch;
        spec_init(&scratch);
        if (*arg_string(a, "system", ""))
                json_object_set(definition, "system", arg_get(a, "system"));
        if (arg_get(a, "license"))
                json_object_set(definition, "license", arg_get(a, "license"));
        set_messages(a, definition);
        set_parameters(a, definition);
        if (!arg_failed(a))
                read_parameters(&scratch, definition, a->error);
        if (!arg_failed(a) && variant_check(definition, &e) < 0)
                fail_with(a, 400, "invalid_value", "", "%s", e.text);
}

/* What would be another model's file. */
static void refuse_files(Args *a) {
        static const struct {
                const char *key, *why;
        } rows[] = {
                {"files", "a model's file is put into models_path, and is a model then"},
                {"adapters", "adapters are not supported"},
                {"quantize", "files are used as they are"},
                {"template", "the model's own template is used"},
                {"modelfile", "is not read; its parts are fields: from, system, parameters, messages, license"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                arg_unsupported(a, rows[i].key, rows[i].why);
                if (arg_failed(a)) {
                        a->error->status = 501;
                        return;
                }
        }
}

void ollama_take_older_name(Api *api) {
        if (!json_object_get(api->body, "model") && json_object_get(api->body, "name"))
                json_object_set(api->body, "model", json_object_get(api->body, "name"));
}

static void create(Api *api) {
        Args a = api_args(api);
        char name[VARIANT_NAME_MAX + 1];
        if (!api_may_control(api->r))
                return;
        ollama_take_older_name(api);
        refuse_files(&a);
        if (!arg_get(&a, "from"))
                arg_fail(&a, "from", "is missing: the model that this is to be a variant of");
        if (!read_new_name(api, &a, "model", name))
                return;
        json_t *definition = definition_of(api, &a, "from");
        if (definition) {
                set_members(&a, definition);
                write_definition(api, &a, name, definition);
        }
        json_decref(definition);
}

static void copy(Api *api) {
        Args a = api_args(api);
        char name[VARIANT_NAME_MAX + 1];
        if (!api_may_control(api->r) || !read_new_name(api, &a, "destination", name))
                return;
        json_t *definition = definition_of(api, &a, "source");
        write_definition(api, &a, name, definition);
        json_decref(definition);
}

/* ---- deleting ---- */

static bool is_in_models_path(const Daemon *d, const char *path) {
        size_t n = strlen(d->config->models_path);
        return strncmp(path, d->config->models_path, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

/* Those that would be of nothing then. */
static void check_variants(Api *api, Args *a, const ModelEntry *m) {
        list_foreach(v, &api->d->registry.variants, Variant, node)
                if (model_of_variant(api->d, v) == m)
                        fail_with(a, 409, "model_in_use", "model", "'%s' is a variant of this model; delete it first", v->name);
}

/* NULL and an error: it is there, but not to be removed by this. */
static const char *path_of_model(Api *api, Args *a) {
        ModelEntry *m = arg_model(a, api->d);
        if (!m)
                return NULL;
        if (m->named || m->builtin)
                fail_with(a, 409, "model_in_use", "model", "'%s' %s", m->name,
                          m->builtin ? "has no file" : "is named in the configuration; take it out there first");
        else if (!is_in_models_path(api->d, m->path))
                fail_with(a, 409, "model_in_use", "model", "'%s' came with the installation: %s", m->name, m->path);
        check_variants(api, a, m);
        if (arg_failed(a))
                return NULL;
        m->keep_alive = 0; /* its memory, and with it its place on the disk, is free when it is not used */
        m->expires = 0;
        return m->path;
}

static void delete(Api *api) {
        Args a = api_args(api);
        if (!api_may_control(api->r))
                return;
        ollama_take_older_name(api);
        const Variant *v = arg_variant(&a, api->d, "model");
        const char *path = v ? v->path : path_of_model(api, &a);
        if (v && !is_in_models_path(api->d, path))
                fail_with(&a, 409, "model_in_use", "model", "'%s' came with the installation: %s", v->name, path);
        if (!arg_failed(&a))
                change(api, strdup(path), NULL);
}

const Route variants_routes[] = {
        {"POST", "/api/create", create, NULL},
        {"POST", "/api/copy", copy, NULL},
        {"DELETE", "/api/delete", delete, NULL},
        {0},
};

/* ---- telling ---- */

const ModelEntry *model_of_variant(Daemon *d, const Variant *v) {
        bool shadowed = registry_find_variant(&d->registry, v->name, strlen(v->name)) != v;
        return shadowed ? NULL : registry_find(&d->registry, v->name, strlen(v->name));
}

/* As Ollama writes them: a line each. */
static void put_parameter(const char *key, const json_t *value, Buf *out) {
        _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        buf_printf(out, "%-30s %s\n", key, text ? text : "");
}

/* Of the model's own, those that the variant does not say. */
static void put_other_lines(const char *lines, const json_t *parameters, Buf *out) {
        for (size_t n; lines && *lines; lines += n) {
                n = strcspn(lines, "\n");
                if (!json_object_getn(parameters, lines, MIN(strcspn(lines, " "), n)))
                        buf_printf(out, "%.*s\n", (int)n, lines);
                n += lines[n] ? 1 : 0;
        }
}

static void show_parameters(const json_t *definition, json_t *shown) {
        json_t *parameters = json_object_get(definition, "parameters"), *value, *one;
        _cleanup_buf_ Buf lines = BUF_NULL;
        const char *key;
        size_t i;
        put_other_lines(json_string_value(json_object_get(shown, "parameters")), parameters, &lines);
        json_object_foreach(parameters, key, value)
                if (json_is_array(value))
                        json_array_foreach(value, i, one)
                                put_parameter(key, one, &lines);
                else
                        put_parameter(key, value, &lines);
        if (!lines.failed)
                json_object_set_new(shown, "parameters", json_string(lines.data ? lines.data : ""));
}

void variant_show(const json_t *definition, json_t *shown) {
        static const char *const keys[] = {"system", "messages", "license"};
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (json_object_get(definition, keys[i]))
                        json_object_set(shown, keys[i], json_object_get(definition, keys[i]));
        json_object_set(json_object_get(shown, "details"), "parent_model", json_object_get(definition, "from"));
        show_parameters(definition, shown);
}
