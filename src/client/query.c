/* Requests whose answer is one JSON document, read whole: about models and the daemon. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "util/buf.h"

enum {
        DOCUMENT_MAX_BYTES = 512 << 20,
        ANSWER_MS = 60000, /* for what the daemon knows by itself; nothing else has a limit */
};

typedef struct Listing {
        ZlModels models; /* first: what the caller holds; its strings are in `root` */
        json_t *root;
        char *text;
} Listing;

static void listing_free(Listing *l) {
        free((ZlModel *)l->models.models);
        json_decref(l->root);
        free(l->text);
        free(l);
}
DEFINE_CLEANUP(Listing, listing_free)

void zl_models_free(ZlModels *models) {
        if (models)
                listing_free(container_of(models, Listing, models));
}

static int on_data(void *userdata, const char *data, size_t n, ZlError *e) {
        Buf *b = userdata;
        if (n > DOCUMENT_MAX_BYTES - b->len)
                return fail(e, -EMSGSIZE, "the daemon's answer is longer than %d MiB", DOCUMENT_MAX_BYTES >> 20);
        buf_put(b, data, n);
        return b->failed ? fail_memory(e) : 0;
}

int fetch(ZlClient *c, const char *method, const char *path, json_t *body, uint64_t limit_ms, json_t **ret_root,
          char **ret_text, ZlError *e) {
        ZlError unused;
        json_auto_t *body_json = body, *root = NULL;
        _cleanup_free_ char *body_text = body ? json_dumps(body, JSON_COMPACT) : NULL;
        _cleanup_buf_ Buf answer = BUF_NULL;
        if (body && !body_text)
                return fail_memory(e);
        if (!e)
                e = &unused;
        int r = http_request(c, method, path, body_text, limit_ms, on_data, &answer, e);
        if (r < 0)
                return r;
        json_error_t where = {.text = "nothing"};
        root = answer.data ? json_loadb(answer.data, answer.len, JSON_ALLOW_NUL, &where) : NULL;
        if (!json_is_object(root))
                return fail(e, -EPROTO, "the answer to %s is not a JSON object (%s)", path,
                            root ? "another type" : where.text);
        while (answer.len > 0 && strchr("\r\n ", answer.data[answer.len - 1]))
                answer.data[--answer.len] = 0;
        char *text = ret_text ? buf_take(&answer) : NULL;
        if (ret_text && !text)
                return fail_memory(e);
        if (ret_text)
                *ret_text = text;
        if (ret_root)
                *ret_root = TAKE(root);
        return 0;
}


static void read_model(const json_t *item, ZlModel *m) {
        const json_t *details = json_object_get(item, "details");
        const char *name = json_text(item, "name");
        *m = (ZlModel){
                .name = *name ? name : json_text(item, "model"),
                .family = json_text(details, "family"),
                .parameter_size = json_text(details, "parameter_size"),
                .quantization = json_text(details, "quantization_level"),
                .modified_at = json_text(item, "modified_at"),
                .expires_at = json_text(item, "expires_at"),
                .size = json_count(item, "size"),
                .from = json_text(details, "parent_model"),
                .size_vram = json_count(item, "size_vram"),
                .state = json_text(item, "state"),
                .pool = json_text(item, "pool"),
                .device = json_text(item, "device"),
                .pinned = json_is_true(json_object_get(item, "pinned")),
                .progress = json_number_value(json_object_get(item, "progress")),
                .context = json_count(item, "context"),
                .slots = json_count(item, "slots"),
                .running = json_count(item, "running"),
                .waiting = json_count(item, "waiting"),
                .users = json_count(item, "users"),
                .prompt_tokens = json_count(item, "prompt_tokens"),
                .cached_tokens = json_count(item, "cached_tokens"),
        };
        if (m->context == 0) /* what other servers of this API call it */
                m->context = json_count(item, "context_length");
}

static int list(ZlClient *c, const char *path, ZlModels **ret, ZlError *e) {
        _cleanup_(listing_freep) Listing *l = calloc(1, sizeof(*l));
        if (!l)
                return fail_memory(e);
        int r = fetch(c, "GET", path, NULL, ANSWER_MS, &l->root, &l->text, e);
        if (r < 0)
                return r;
        const json_t *array = json_object_get(l->root, "models"), *item;
        ZlModel *models = calloc(json_array_size(array) + 1, sizeof(*models));
        if (!models)
                return fail_memory(e);
        size_t i;
        json_array_foreach(array, i, item)
                read_model(item, &models[i]);
        l->models = (ZlModels){.models = models, .n = json_array_size(array), .json = l->text};
        *ret = &TAKE(l)->models;
        return 0;
}

int zl_models(ZlClient *c, ZlModels **ret, ZlError *e) {
        return list(c, "/api/tags", ret, e);
}

int zl_ps(ZlClient *c, ZlModels **ret, ZlError *e) {
        return list(c, "/api/ps", ret, e);
}

int zl_show(ZlClient *c, const char *model, char **ret_json, ZlError *e) {
        json_t *body = json_pack("{s:s}", "model", model);
        if (!body)
                return fail(e, -EINVAL, "the name of the model is not valid UTF-8");
        return fetch(c, "POST", "/api/show", body, 0, NULL, ret_json, e);
}

int zl_tokenize(ZlClient *c, const char *model, const char *text, int pieces, char **ret_json, ZlError *e) {
        json_t *body = json_pack("{s:s, s:s, s:b}", "model", model, "content", text, "with_pieces", pieces);
        if (!body)
                return fail(e, -EINVAL, "the text, or the name of the model, is not valid UTF-8");
        return fetch(c, "POST", "/tokenize", body, 0, NULL, ret_json, e);
}

static json_t *make_variant(const ZlVariant *v) {
        json_auto_t *root = json_pack("{s:s, s:s, s:b, s:o}", "model", v->name, "from", v->from, "stream", 0, "parameters",
                                      json_options(&v->options));
        int r = root ? 0 : -1;
        if (v->system)
                r |= json_object_set_new(root, "system", json_string(v->system));
        if (v->n_messages > 0)
                r |= json_object_set_new(root, "messages", json_messages(v->messages, v->n_messages));
        return r == 0 ? TAKE(root) : NULL;
}

int zl_create(ZlClient *c, const ZlVariant *v, char **ret_json, ZlError *e) {
        if (!v->name || !v->from)
                return fail(e, -EINVAL, "the variant has no name, or is of no model");
        json_t *body = make_variant(v);
        if (!body)
                return fail(e, -EINVAL, "the variant cannot be sent: its text is not valid UTF-8, or memory is out");
        if (json_add_extra(body, v->extra, e) < 0) {
                json_decref(body);
                return -EINVAL;
        }
        return fetch(c, "POST", "/api/create", body, 0, NULL, ret_json, e);
}

int zl_delete(ZlClient *c, const char *model, char **ret_json, ZlError *e) {
        json_t *body = json_pack("{s:s}", "model", model);
        if (!body)
                return fail(e, -EINVAL, "the name of the model is not valid UTF-8");
        return fetch(c, "DELETE", "/api/delete", body, 0, NULL, ret_json, e);
}

int zl_status(ZlClient *c, char **ret_json, ZlError *e) {
        return fetch(c, "GET", "/zerollama/status", NULL, ANSWER_MS, NULL, ret_json, e);
}

int zl_metrics(ZlClient *c, char **ret_text, ZlError *e) {
        ZlError unused;
        _cleanup_buf_ Buf text = BUF_NULL;
        buf_puts(&text, "");
        int r = http_request(c, "GET", "/metrics", NULL, ANSWER_MS, on_data, &text, e ? e : &unused);
        if (r < 0)
                return r;
        char *taken = buf_take(&text);
        if (!taken)
                return fail_memory(e);
        *ret_text = taken;
        return 0;
}

int zl_version(ZlClient *c, char **ret, ZlError *e) {
        json_auto_t *root = NULL;
        int r = fetch(c, "GET", "/api/version", NULL, ANSWER_MS, &root, NULL, e);
        if (r < 0)
                return r;
        char *version = strdup(json_text(root, "version"));
        if (!version)
                return fail_memory(e);
        *ret = version;
        return 0;
}

int zl_ctl(ZlClient *c, ZlCtl action, char **ret_json, ZlError *e) {
        return fetch(c, "POST", action == ZL_CTL_CHECK ? "/zerollama/check" : "/zerollama/reload", json_object(),
                     ANSWER_MS, NULL, ret_json, e);
}

/* A request for no text is how the API loads a model, and with a life of 0 unloads it. */
static int keep(ZlClient *c, const char *model, const char *keep_alive, ZlError *e) {
        ZlResult *result = NULL;
        int r = zl_generate(c, &(ZlRequest){.model = model, .prompt = "", .keep_alive = keep_alive}, &result, e);
        zl_result_free(result);
        return r;
}

int zl_load(ZlClient *c, const char *model, const char *keep_alive, ZlError *e) {
        return keep(c, model, keep_alive, e);
}

int zl_unload(ZlClient *c, const char *model, ZlError *e) {
        return keep(c, model, "0", e);
}
