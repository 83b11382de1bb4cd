/* Dispatch: key, route, JSON body; and the two shapes of error.
 *
 * A body large enough to take the loop noticeable time is parsed on a worker, which also makes the text of the prompt, or
 * the list of inputs, from it; the request waits, and a client that leaves meanwhile only marks the errand as nobody's. So
 * it is where models are listed, or one is named that is not known: a worker looks at the disk first. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/api-private.h"
#include "util/str.h"

enum { PARSE_INLINE_MAX = 64 * 1024 };

static const Route *const tables[] = {openai_routes, responses_routes, ollama_routes, variants_routes, messages_routes, rerank_routes, tokens_routes,
                                      status_routes, NULL};

/* ---- errors ---- */

typedef enum ErrorShape { ERROR_OPENAI, ERROR_OLLAMA, ERROR_ANTHROPIC } ErrorShape;

static ErrorShape shape_of(const Request *r) {
        const char *path = r->path ? r->path : "";
        return strncmp(path, "/api/", 5) == 0 ? ERROR_OLLAMA : strncmp(path, "/v1/messages", 12) == 0 ? ERROR_ANTHROPIC : ERROR_OPENAI;
}

static const char *openai_type(unsigned status) {
        return status == 401 ? "authentication_error" : status == 429 ? "rate_limit_error"
               : status >= 500 ? "server_error" : "invalid_request_error";
}

static const char *anthropic_type(unsigned status) {
        static const struct {
                unsigned status;
                const char *type;
        } types[] = {{401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"}, {413, "request_too_large"},
                     {429, "rate_limit_error"},     {503, "overloaded_error"}, {504, "timeout_error"}};
        for (size_t i = 0; i < ARRAY_SIZE(types); i++)
                if (types[i].status == status)
                        return types[i].type;
        return status >= 500 ? "api_error" : "invalid_request_error";
}

static void put_nullable(Buf *out, const char *key, const char *value) {
        buf_printf(out, ",\"%s\":", key);
        if (value)
                json_put_string(out, value, strlen(value));
        else
                buf_puts(out, "null");
}

void api_error_body(const Request *r, unsigned status, const char *code, const char *param, const char *text, Buf *out) {
        ErrorShape shape = shape_of(r);
        if (shape == ERROR_ANTHROPIC)
                buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", anthropic_type(status));
        else
                buf_puts(out, shape == ERROR_OLLAMA ? "{\"error\":" : "{\"error\":{\"message\":");
        json_put_string(out, text, strlen(text));
        if (shape == ERROR_OPENAI) {
                put_nullable(out, "type", openai_type(status));
                put_nullable(out, "param", param);
                put_nullable(out, "code", code);
        }
        buf_puts(out, shape == ERROR_OLLAMA ? "}" : "}}");
}

void api_error(Request *r, unsigned status, const char *code, const char *param, const char *fmt, ...) {
        char text[1024];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        _cleanup_buf_ Buf out = BUF_NULL;
        api_error_body(r, status, code, param, text, &out);
        buf_putc(&out, '\n');
        request_reply(r, status, "application/json", out.data, out.len);
}

void api_refuse(Request *r, const JobRefusal *why) {
        char value[32];
        if (why->retry_usec) {
                snprintf(value, sizeof(value), "%llu", (unsigned long long)(why->retry_usec + 999999) / 1000000);
                request_add_header(r, "Retry-After", value);
                snprintf(value, sizeof(value), "%llu", (unsigned long long)(why->retry_usec + 999) / 1000);
                request_add_header(r, "Retry-After-Ms", value);
        }
        if (why->status == 504) /* OpenAI's clients would ask again, with the same time to run out of */
                request_add_header(r, "X-Should-Retry", "false");
        api_error(r, why->status, why->code, NULL, "%s", why->text);
}

const JobRefusal api_no_memory = {503, "out_of_memory", "out of memory for this request", 1000000};

void api_reply(Request *r, unsigned status, json_t *object) {
        _cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
        json_decref(object);
        if (text)
                request_reply(r, status, "application/json", text, strlen(text));
        else
                api_refuse(r, &api_no_memory);
}

void api_reply_text(Request *r, const char *content_type, const Buf *text) {
        if (text->failed)
                api_refuse(r, &api_no_memory);
        else
                request_reply(r, 200, content_type, text->data, text->len);
}

static size_t utf8_or_replacement(const char *data, size_t len, Buf *out) {
        bool bad;
        size_t n = utf8_valid_prefix(data, MIN(len, (size_t)4), &bad);
        if (n > 0) {
                /* one character of the valid prefix: up to the next that is no continuation byte */
                size_t k = 1;
                while (k < n && ((unsigned char)data[k] & 0xc0) == 0x80)
                        k++;
                buf_put(out, data, k);
                return k;
        }
        buf_puts(out, "\xef\xbf\xbd");
        return 1;
}

void json_put_text(Buf *out, const char *data, size_t len) {
        for (size_t i = 0; i < len;) {
                size_t start = i;
                while (i < len && (unsigned char)data[i] >= 0x20 && (unsigned char)data[i] < 0x7f && data[i] != '"' && data[i] != '\\')
                        i++;
                buf_put(out, data + start, i - start);
                if (i == len)
                        break;
                unsigned char c = (unsigned char)data[i];
                if (c >= 0x80)
                        i += utf8_or_replacement(data + i, len - i, out);
                else {
                        if (c == '"' || c == '\\')
                                buf_printf(out, "\\%c", c);
                        else if (c == '\n')
                                buf_puts(out, "\\n");
                        else
                                buf_printf(out, "\\u%04x", c);
                        i++;
                }
        }
}

void json_put_string(Buf *out, const char *data, size_t len) {
        buf_putc(out, '"');
        json_put_text(out, data, len);
        buf_putc(out, '"');
}

/* ---- routing ---- */

static bool path_matches(const Route *route, const char *path, const char **ret_rest) {
        size_t n = strlen(route->path);
        if (route->path[n - 1] != '*')
                return strcmp(route->path, path) == 0;
        if (strncmp(route->path, path, n - 1) != 0 || !path[n - 1])
                return false;
        *ret_rest = path + n - 1;
        return true;
}

static bool method_matches(const Route *route, const char *method) {
        return strcmp(route->method, method) == 0 || (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* NULL after an error was sent. */
static const Route *find_route(Request *r, const char **ret_rest) {
        const Route *other = NULL;
        for (size_t t = 0; tables[t]; t++)
                for (const Route *route = tables[t]; route->path; route++)
                        if (path_matches(route, r->path, ret_rest)) {
                                if (method_matches(route, r->method))
                                        return route;
                                other = route;
                        }
        if (other) {
                request_add_header(r, "Allow", other->method);
                api_error(r, 405, "method_not_allowed", NULL, "%s takes %s, not %.16s", other->path, other->method, r->method);
        } else
                api_error(r, 404, "not_found", NULL, "there is no %.200s here; zerollama-api(7) lists what is", r->path);
        return NULL;
}

/* Anthropic's clients have a header of their own for it. */
static const char *key_of(const Request *r) {
        const char *given = request_header(r, "Authorization"), bearer[] = "Bearer ";
        if (!given)
                return request_header(r, "X-Api-Key");
        return strncasecmp(given, bearer, sizeof(bearer) - 1) == 0 ? given + sizeof(bearer) - 1 : NULL;
}

/* Compares in a time that does not tell how much was right. */
static bool key_is_right(const Request *r) {
        const char *given = key_of(r);
        if (!r->key || strcmp(r->path, "/health") == 0)
                return true;
        if (!given)
                return false;
        size_t n = strlen(r->key);
        unsigned char diff = strlen(given) != n;
        for (size_t i = 0; i < n && given[i]; i++)
                diff |= (unsigned char)(given[i] ^ r->key[i]);
        return diff == 0;
}

/* Who could change the configuration and the models anyway. */
bool api_may_control(Request *r) {
        if (!r->peer->tcp && (r->peer->uid == 0 || r->peer->uid == geteuid()))
                return true;
        api_error(r, 403, "forbidden", NULL, "only root and the daemon's own user, on a Unix socket, may do this");
        return false;
}

/* False, and no answer: the model is not there, as far as is known. */
static bool run(const Route *route, Api *a, const json_error_t *error) {
        bool has_body = strcmp(route->method, "GET") != 0;
        if (has_body && error)
                api_error(a->r, 400, "invalid_json", NULL, "the body is not valid JSON: line %d, column %d: %s", error->line,
                          error->column, error->text);
        else if (has_body && !json_is_object(a->body))
                api_error(a->r, 400, "invalid_json", NULL, "the body must be a JSON object");
        else
                route->handler(a);
        if (a->error.status == 404 && !a->looked)
                return false;
        if (a->error.status)
                api_error(a->r, a->error.status, a->error.code, *a->error.param ? a->error.param : NULL, "%s", a->error.text);
        return true;
}

/* A request that waits for a worker: to parse its body, or to look which models there are. Its client may leave meanwhile. */
typedef struct Errand {
        Work work;
        RegistryWaiter waiter;
        Api api;
        Charge charge;
        const Route *route;
        Buf text;
        json_t *body;
        json_error_t error;
} Errand;

static void errand_gone(Request *r) {
        ((Errand *)r->state)->api.r = NULL;
}

static void hold(Errand *e) {
        e->api.r->state = e;
        e->api.r->gone = errand_gone;
}

/* NULL after an error was sent. */
static Errand *errand_new(const Route *route, const Api *a) {
        Errand *e = calloc(1, sizeof(*e));
        if (!e) {
                api_refuse(a->r, &api_no_memory);
                return NULL;
        }
        *e = (Errand){.api = *a, .route = route, .charge = charge_of(a->r, a->d)};
        hold(e);
        return e;
}

static void run_clear(Work *w) {
        Errand *e = container_of(w, Errand, work);
        json_decref(TAKE(e->body));
        free(TAKE(e->api.context));
}

static void clear_done(Work *w) {
        Errand *e = container_of(w, Errand, work);
        charge_end(&e->charge);
        free(e);
}

/* The daemon ends. */
static void errand_drop(Errand *e) {
        run_clear(&e->work);
        buf_deinit(&e->text);
        clear_done(&e->work);
}

static void work_drop(Work *w) {
        errand_drop(container_of(w, Errand, work));
}

static void wait_drop(RegistryWaiter *w) {
        errand_drop(container_of(w, Errand, waiter));
}

static void look_again(Errand *e);

/* Taking a large tree down is as much work as building it: back to the worker. */
static void errand_done(Errand *e) {
        Request *r = e->api.r;
        if (r && e->charge.refused)
                api_refuse(r, e->charge.refused);
        else if (r) { /* still somebody's */
                r->gone = NULL;
                r->state = NULL;
                e->api.body = e->body;
                if (!run(e->route, &e->api, e->body ? NULL : &e->error)) {
                        look_again(e);
                        return;
                }
        }
        e->work = (Work){.urgent = true, .run = run_clear, .done = clear_done, .drop = work_drop};
        work_submit(e->api.d->workers, &e->work);
}

/* ---- models that may have come a moment ago ---- */

static void looked(RegistryWaiter *w) {
        errand_done(container_of(w, Errand, waiter));
}

/* Who asks for one that is not there costs little: only whether models came or went is looked at. */
static void look_again(Errand *e) {
        Registry *registry = &e->api.d->registry;
        const char *name = json_string_value(json_object_get(e->body, "model"));
        bool is_list = !e->body, was_known = name && (registry_find_missing(registry, name) ||
                                                      registry_find_variant(registry, name, strlen(name)));
        hold(e);
        e->api.looked = true;
        e->api.error = (ApiError){0};
        e->waiter.done = looked;
        e->waiter.drop = wait_drop;
        registry_refresh(registry, is_list || was_known, &e->waiter);
}

static void run_get(const Route *route, Api *a) {
        Errand *e;
        if (!route->fresh && run(route, a, NULL))
                return;
        if ((e = errand_new(route, a)))
                look_again(e);
}

/* ---- bodies ---- */

static json_t *parse(const Buf *text, json_error_t *ret_error) {
        return json_loadb(text->len ? text->data : "", text->len, JSON_ALLOW_NUL, ret_error);
}

static void run_parse(Work *w) {
        Errand *e = container_of(w, Errand, work);
        charge_enter(&e->charge);
        e->body = parse(&e->text, &e->error);
        charge_return(&e->charge, e->text.len);
        buf_deinit(&e->text);
        e->api.has_context = e->route->context && json_is_object(e->body);
        if (e->api.has_context)
                e->api.context = e->route->context(&(Args){.object = e->body, .prefix = "", .error = &e->api.context_error});
        charge_leave(&e->charge);
}

static void parse_done(Work *w) {
        errand_done(container_of(w, Errand, work));
}

static void parse_elsewhere(const Route *route, const Api *a) {
        Errand *e = errand_new(route, a);
        if (!e)
                return;
        e->text = a->r->body;
        charge_adopt(&e->charge, e->text.len);
        a->r->body = BUF_NULL;
        request_drop_body(a->r);
        e->work = (Work){.run = run_parse, .done = parse_done, .drop = work_drop};
        work_submit(a->d->workers, &e->work);
}

static void parse_here(const Route *route, Api *a) {
        Charge charge = charge_of(a->r, a->d);
        json_error_t error;
        Errand *e;
        charge_enter(&charge);
        a->body = a->r->body.len > 0 ? parse(&a->r->body, &error) : json_object(); /* our own routes need none */
        charge_leave(&charge);
        request_drop_body(a->r);
        if (charge.refused)
                api_refuse(a->r, charge.refused);
        else if (!run(route, a, a->body ? NULL : &error) && (e = errand_new(route, a))) {
                e->body = a->body;
                e->charge = charge;
                look_again(e);
                return;
        }
        json_decref(a->body);
        charge_end(&charge);
}

/* A page in a browser may be led to this machine's loopback by a name of its own (DNS rebinding); who means us writes
 * localhost or an address. With a key, or on a Unix socket, any name will do. */
static bool host_is_right(const Request *r) {
        const char *host = request_header(r, "Host");
        if (!r->peer->tcp || r->key || !host)
                return true;
        size_t n = strcspn(host, ":");
        return host[0] == '[' || (n == 9 && strncasecmp(host, "localhost", n) == 0) || strspn(host, "0123456789.") == n;
}

void api_handle(Request *r, void *arg) {
        Api a = {.d = arg, .r = r};
        if (r->refused_with) {
                api_error(r, r->refused_with, NULL, NULL, "%s", r->refused_why);
                return;
        }
        if (!host_is_right(r)) {
                api_error(r, 403, "forbidden", NULL, "without a key this address answers to localhost and numeric hosts only");
                return;
        }
        if (!key_is_right(r)) {
                request_add_header(r, "WWW-Authenticate", "Bearer");
                api_error(r, 401, "invalid_api_key", NULL, "this address asks for a key: send Authorization: Bearer KEY, or X-Api-Key: KEY");
                return;
        }
        const Route *route = find_route(r, &a.rest);
        if (!route)
                return;
        if (route->unsupported) {
                api_error(r, 501, "not_supported", NULL, "%s", route->unsupported);
                return;
        }
        if (strcmp(route->method, "GET") == 0)
                run_get(route, &a);
        else if (r->body.len > PARSE_INLINE_MAX)
                parse_elsewhere(route, &a);
        else
                parse_here(route, &a);
}

void api_init(void) {
        charge_init();
        variant_check_parameters = variant_parameters_check;
}
