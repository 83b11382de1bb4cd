/* Variants of models (daemon/variant.h): what one says for the requests that name it, and Ollama's routes by which models are
 * made, copied and deleted: a copy is a variant that changes nothing. These change files, so they are for those who could anyway.
 *
 * Who asks after an answer finds what it has told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"
#include "util/log.h"
#include "util/place.h"
#include "util/str.h"

/* ---- what one says for a request ---- */

static void read_parameters(Spec *s, json_t *parameters, ApiError *error) {
        Args a = {.object = parameters, .prefix = "parameters.", .error = error};
        ollama_read_options(s, &a);
}

ModelEntry *spec_read_model(Spec *s, Args *a, Daemon *d) {
        ModelEntry *m = arg_model(a, d);
        const Variant *v = m ? arg_variant(a, d, "model") : NULL;
        if (!v)
                return m;
        read_parameters(s, json_object_get(v->definition, "parameters"), a->error);
        s->job.opening = v->opening ? ipc_str(v->opening) : (IpcStr){0};
        return m;
}

int variant_parameters_check(json_t *parameters, Error *e) {
        _cleanup_(spec_deinit) Spec scratch;
        ApiError wrong = {0};
        const char *key, *near;
        json_t *v;
        spec_init(&scratch);
        json_object_foreach(parameters, key, v)
                if (!ollama_knows_option(key, &near))
                        return error_set(e, -EINVAL, "parameters: there is none '%.64s'%s%s%s", key, near ? "; did you mean '" : "",
                                         near ? near : "", near ? "'?" : "");
        read_parameters(&scratch, parameters, &wrong);
        return wrong.status ? error_set(e, -EINVAL, "%s", wrong.text) : 0;
}

/* ---- changes ---- */

/* One at a time: its turn -> the list is looked at -> plan() says what is to be done, or why not -> a worker does it -> the list is
 * looked at again -> the answer. */
typedef struct Change {
        RegistryTurn turn;
        RegistryWaiter waiter;
        Work work;
        Daemon *d;
        Request *r;   /* NULL: the client is gone; what was begun is done all the same */
        json_t *body;
        void (*plan)(struct Change *c, Args *a);
        char *path, *also;  /* also: another that is removed with it, or NULL */
        json_t *definition; /* what is to be there; NULL: nothing */
        int result;         /* of the worker: 0, or what place_text() or place_remove() say */
} Change;

static void change_free(Change *c) {
        list_remove(&c->turn.node);
        json_decref(c->body);
        json_decref(c->definition);
        free(c->path);
        free(c->also);
        free(c);
}

static void change_end(Change *c) {
        registry_end_turn(&c->d->registry, &c->turn);
        change_free(c);
}

static void change_gone(Request *r) {
        ((Change *)r->state)->r = NULL;
}

static void drop_turn(RegistryTurn *t) {
        change_free(container_of(t, Change, turn));
}

static void drop_waiter(RegistryWaiter *w) {
        change_free(container_of(w, Change, waiter));
}

static void drop_work(Work *w) {
        change_free(container_of(w, Change, work));
}

static void look(Change *c, void (*looked)(RegistryWaiter *w)) {
        c->waiter = (RegistryWaiter){.done = looked, .drop = drop_waiter};
        registry_refresh(&c->d->registry, true, &c->waiter);
}

/* And for whom it interests what was made, or what is gone. */
static json_t *success(const Change *c) {
        json_t *o = json_pack("{s:s}", "status", "success");
        if (c->definition)
                json_object_set(o, "from", json_object_get(c->definition, "from"));
        else
                json_object_set_new(o, "removed", c->also ? json_pack("[s,s]", c->path, c->also) : json_pack("[s]", c->path));
        return o;
}

static void tell_result(const Change *c) {
        const char *done = c->definition ? "written" : "removed", *why = strerror(abs(c->result));
        if (c->result == 0)
                api_reply(c->r, 200, success(c));
        else if (c->result == -E2BIG)
                api_error(c->r, 413, "request_too_large", NULL, "a variant's file may have %d KiB", VARIANT_MAX_BYTES / 1024);
        else if (c->result < 0)
                api_error(c->r, 500, "not_changed", NULL, "%s cannot be %s: %s%s", c->path, done, why,
                          c->result == -EACCES ? "; whose it is can do it by hand" : "");
        else
                api_error(c->r, 500, "not_changed", NULL, "%s is removed, but some of its files lie hidden beside it: %s", c->path, why);
}

/* A reload that began before the change may have put an older look in force: then there will be another. */
static void looked_after(RegistryWaiter *w) {
        Change *c = container_of(w, Change, waiter);
        if (c->d->reloading) {
                look(c, looked_after);
                return;
        }
        if (c->r)
                tell_result(c);
        change_end(c);
}

static int write_definition(const Change *c) {
        _cleanup_free_ char *json = json_dumps(c->definition, JSON_INDENT(2) | JSON_REAL_PRECISION(9)), *text = NULL;
        if (!json || asprintf(&text, "%s\n", json) < 0)
                return -ENOMEM;
        size_t n = strlen(text);
        return n > VARIANT_MAX_BYTES ? -E2BIG : place_text(c->path, text, n);
}

static void run_change(Work *w) {
        Change *c = container_of(w, Change, work);
        c->result = c->definition ? write_definition(c) : place_remove(c->path);
        if (c->result >= 0 && c->also && place_remove(c->also) < 0)
                free(TAKE(c->also)); /* is not told as gone; without the other it says nothing any more */
}

static void change_done(Work *w) {
        look(container_of(w, Change, work), looked_after);
}

static void looked_before(RegistryWaiter *w) {
        Change *c = container_of(w, Change, waiter);
        ApiError error = {0};
        Args a = {.object = c->body, .prefix = "", .error = &error};
        if (c->r)
                c->plan(c, &a);
        if (c->r && !arg_failed(&a) && !c->path)
                arg_no_memory(&a);
        if (c->r && arg_failed(&a))
                api_error(c->r, error.status, error.code, *error.param ? error.param : NULL, "%s", error.text);
        if (!c->r || arg_failed(&a)) {
                change_end(c);
                return;
        }
        log_info("user %u %s %s", (unsigned)c->r->peer->uid, c->definition ? "writes" : "removes", c->path);
        c->work = (Work){.run = run_change, .done = change_done, .drop = drop_work};
        work_submit(c->d->workers, &c->work);
}

static void on_turn(RegistryTurn *t) {
        look(container_of(t, Change, turn), looked_before);
}

static void change(Api *api, void (*plan)(Change *c, Args *a)) {
        if (!api_may_control(api->r))
                return;
        Change *c = calloc(1, sizeof(*c));
        if (!c) {
                api_refuse(api->r, &api_no_memory);
                return;
        }
        ollama_take_older_name(api);
        *c = (Change){.turn = {.go = on_turn, .drop = drop_turn}, .d = api->d, .r = api->r, .body = json_incref(api->body), .plan = plan};
        api->r->state = c;
        api->r->gone = change_gone;
        registry_take_turn(&api->d->registry, &c->turn);
}

/* ---- making ---- */

static void plan_create(Change *c, Args *a);

/* A model may be given words of its own, but only by create. */
static void check_name(const Change *c, Args *a, const char *key, const char *name) {
        Registry *r = &c->d->registry;
        const char *from = json_string_value(json_object_get(c->definition, "from"));
        const Variant *v = registry_find_variant(r, name, strlen(name));
        const ModelEntry *m = v ? registry_namesake(r, v) : registry_find(r, name, strlen(name));
        bool own = m && from && strcmp(m->name, name) == 0 && registry_find(r, from, strlen(from)) == m && c->plan == plan_create;
        if (m && !own)
                arg_fail_with(a, 409, "model_exists", key, "'%s' is there already, and no variant of another model: %s", name, m->path);
}

/* What a model says by its own name begins with nothing when it is made anew from that: so it can be taken away again. */
static void forget_own(Change *c, Args *a, const char *name) {
        const Variant *v = arg_variant(a, c->d, "from");
        if (v && strcmp(v->name, name) == 0 && registry_namesake(&c->d->registry, v)) {
                json_decref(c->definition);
                c->definition = json_pack("{s:s}", "from", name);
        }
}

/* The path of what is to have the name that is given, less the tag that may stand for none. Else an error. */
static void set_path(Change *c, Args *a, const char *key) {
        static const char latest[] = ":latest";
        const char *given = arg_string(a, key, NULL);
        if (!given && !arg_failed(a))
                arg_fail(a, key, "is missing: the name that it is to have");
        given = given ? given : "";
        bool whole = strlen(given) == json_string_length(arg_get(a, key));
        size_t n = whole ? strlen(given) : 0, tag = sizeof(latest) - 1;
        char name[VARIANT_NAME_MAX + 2]; /* one that is too long stays so */
        if (n > tag && strcmp(given + n - tag, latest) == 0)
                n -= tag;
        snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), given);
        if (!variant_name_is_good(name))
                arg_fail(a, key, "must be a name of at most %d bytes, without '/', '\\\\' and control characters, that does not begin with '.' or "
                         "builtin:, nor end in .gguf or .json, nor begin or end with ':' or a space", VARIANT_NAME_MAX);
        check_name(c, a, key, name);
        if (!arg_failed(a))
                forget_own(c, a, name);
        if (!arg_failed(a) && asprintf(&c->path, "%s/%s.json", c->d->config->models_path, name) < 0)
                c->path = NULL;
}

/* Begins with a copy of what the model named by `key` is: of a variant what that says. */
static void set_definition(Change *c, Args *a, const char *key) {
        const ModelEntry *m = arg_failed(a) ? NULL : arg_model_at(a, c->d, key);
        const Variant *v = m ? arg_variant(a, c->d, key) : NULL;
        c->definition = !m ? NULL : v ? json_deep_copy(v->definition) : json_pack("{s:s}", "from", m->name);
        if (m && !c->definition)
                arg_no_memory(a);
}

static void set_messages(Args *a, json_t *definition) {
        size_t n = json_array_size(arg_get(a, "messages"));
        if (n > VARIANT_MESSAGES_MAX)
                arg_fail(a, "messages", "must be at most %d", VARIANT_MESSAGES_MAX);
        else if (n > 0)
                json_object_set_new(definition, "messages", arg_messages(a, "messages"));
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

static void check_definition(Change *c, Args *a) {
        Error e = ERROR_NULL;
        json_t *checked = arg_failed(a) ? NULL : variant_definition(c->definition, &e);
        if (e.code)
                arg_fail_with(a, e.code == -ENOMEM ? 503 : 400, "invalid_value", "", "%s", e.text);
        json_decref(c->definition);
        c->definition = checked;
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
        for (size_t i = 0; i < ARRAY_SIZE(rows) && !arg_failed(a); i++) {
                arg_unsupported(a, rows[i].key, rows[i].why);
                if (arg_failed(a))
                        a->error->status = 501;
        }
}

static void plan_create(Change *c, Args *a) {
        static const char *const same[] = {"system", "license"};
        refuse_files(a);
        if (!arg_get(a, "from"))
                arg_fail(a, "from", "is missing: the model that this is to be a variant of");
        set_definition(c, a, "from");
        set_path(c, a, "model");
        if (arg_failed(a))
                return;
        for (size_t i = 0; i < ARRAY_SIZE(same); i++)
                if (arg_get(a, same[i]))
                        json_object_set(c->definition, same[i], arg_get(a, same[i]));
        set_messages(a, c->definition);
        set_parameters(a, c->definition);
        check_definition(c, a);
}

static void plan_copy(Change *c, Args *a) {
        set_definition(c, a, "source");
        set_path(c, a, "destination");
}

static void create(Api *api) {
        change(api, plan_create);
}

static void copy(Api *api) {
        change(api, plan_copy);
}

/* ---- deleting ---- */

static bool is_in_models_path(const Daemon *d, const char *path) {
        size_t n = strlen(d->config->models_path);
        return strncmp(path, d->config->models_path, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

/* What else would be gone with its file: names that the configuration gives it, and variants. */
static void check_unneeded(const Change *c, Args *a, const ModelEntry *m) {
        enum { SHOWN = 300 };
        Registry *r = &c->d->registry;
        _cleanup_buf_ Buf names = BUF_NULL;
        list_foreach(o, &r->models, ModelEntry, node) {
                if (strcmp(o->path, m->path) != 0)
                        continue;
                if (o->named)
                        arg_fail_with(a, 409, "model_in_use", "model", "the file of '%s' is that of '%s', which the configuration names; take that "
                                  "out first", m->name, o->name);
                list_foreach(v, &r->variants, Variant, node)
                        if (registry_model_of(r, v) == o && registry_namesake(r, v) != m)
                                buf_printf(&names, "%s'%s'", names.len ? ", " : "", v->name);
        }
        if (names.len > 0)
                arg_fail_with(a, 409, "model_in_use", "model", "'%.100s' has variants, which are to be deleted first: %.*s%s", m->name,
                          (int)MIN(names.len, (size_t)SHOWN), names.data, names.len > SHOWN ? "..." : "");
}

/* A model goes with the variant that has its name. */
static void plan_delete(Change *c, Args *a) {
        const Variant *v = arg_variant(a, c->d, "model");
        const ModelEntry *m = v ? registry_namesake(&c->d->registry, v) : arg_model(a, c->d);
        const char *path = m ? m->path : v ? v->path : NULL;
        if (m && m->builtin)
                arg_fail_with(a, 409, "model_in_use", "model", "'%s' has no file", m->name);
        else if (m)
                check_unneeded(c, a, m);
        if (path && !is_in_models_path(c->d, path))
                arg_fail_with(a, 409, "model_in_use", "model", "it is not in models_path, but came with the installation: %s", path);
        if (arg_failed(a))
                return;
        c->path = strdup(path);
        list_foreach(own, &c->d->registry.variants, Variant, node) /* be it one that cannot be used */
                if (m && strcmp(own->name, m->name) == 0 && is_in_models_path(c->d, own->path))
                        c->also = strdup(own->path);
}

static void delete(Api *api) {
        change(api, plan_delete);
}

const Route variants_routes[] = {
        {"POST", "/api/create", create, NULL},
        {"POST", "/api/copy", copy, NULL},
        {"DELETE", "/api/delete", delete, NULL},
        {0},
};

/* ---- telling ---- */

const ModelEntry *model_of_variant(Daemon *d, const Variant *v) {
        return v->apart ? registry_model_of(&d->registry, v) : NULL;
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

/* Of several a text, which is what clients expect. */
static void show_license(const json_t *license, json_t *shown) {
        _cleanup_buf_ Buf text = BUF_NULL;
        const json_t *one;
        size_t i;
        if (json_is_string(license))
                buf_puts(&text, json_string_value(license));
        json_array_foreach(license, i, one)
                buf_printf(&text, "%s%s", i ? "\n" : "", json_string_value(one));
        if (license && !text.failed)
                json_object_set_new(shown, "license", json_string(text.data ? text.data : ""));
}

void variant_show(const json_t *definition, bool same_name, json_t *shown) {
        static const char *const same[] = {"system", "messages"};
        for (size_t i = 0; i < ARRAY_SIZE(same); i++)
                if (json_object_get(definition, same[i]))
                        json_object_set(shown, same[i], json_object_get(definition, same[i]));
        json_object_set(shown, "from", json_object_get(definition, "from"));
        if (!same_name)
                json_object_set(json_object_get(shown, "details"), "parent_model", json_object_get(definition, "from"));
        show_parameters(definition, shown);
        show_license(json_object_get(definition, "license"), shown);
}
