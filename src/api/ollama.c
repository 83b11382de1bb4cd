/* Ollama's dialect: /api/generate, /api/chat, /api/embed, /api/embeddings, /api/tags, /api/ps, /api/show, /api/version, /api/pull;
 * variants.c has those that change files. Streams are lines of JSON, and streaming is the default. Durations are nanoseconds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <config.h>
#include "api/api-private.h"
#include "util/map.h"
#include "util/str.h"

static const SampleArg sampling[] = {
        {"temperature", ARG_FLOAT, offsetof(IpcJob, temperature), 0, 100, IPC_SAID_TEMPERATURE},
        {"top_p", ARG_FLOAT, offsetof(IpcJob, top_p), 0, 1, IPC_SAID_TOP_P},
        {"top_k", ARG_INT, offsetof(IpcJob, top_k), 0, INT32_MAX, IPC_SAID_TOP_K},
        {"min_p", ARG_FLOAT, offsetof(IpcJob, min_p), 0, 1, IPC_SAID_MIN_P},
        {"repeat_penalty", ARG_FLOAT, offsetof(IpcJob, repeat_penalty), 0.01, 100, IPC_SAID_REPEAT_PENALTY},
        {"presence_penalty", ARG_FLOAT, offsetof(IpcJob, presence_penalty), -100, 100},
        {"frequency_penalty", ARG_FLOAT, offsetof(IpcJob, frequency_penalty), -100, 100},
        {"repeat_last_n", ARG_INT, offsetof(IpcJob, penalty_last), -1, INT32_MAX, IPC_SAID_PENALTY_LAST},
        {"num_predict", ARG_INT, offsetof(IpcJob, max_tokens), -2, INT32_MAX},
        {0},
};

/* ---- writing ---- */

static void put_head(const Answer *a, Buf *out) {
        char now[64];
        format_time(now, sizeof(now), wall_usec());
        buf_puts(out, "{\"model\":");
        json_put_string(out, a->model_name, strlen(a->model_name));
        buf_puts(out, ",\"created_at\":\"");
        buf_puts(out, now);
        buf_puts(out, "\",");
}

static void put_calls(const Split *s, Buf *out) {
        const SplitCall *calls;
        size_t n = split_calls(s, &calls);
        buf_puts(out, ",\"tool_calls\":[");
        for (size_t i = 0; i < n; i++) {
                buf_puts(out, i ? ",{\"function\":{\"index\":" : "{\"function\":{\"index\":");
                buf_putu(out, s->n_calls - n + i);
                buf_puts(out, ",\"name\":");
                json_put_string(out, s->call_text.data + calls[i].name, calls[i].name_len);
                buf_puts(out, ",\"arguments\":");
                buf_put(out, s->call_text.data + calls[i].arguments, calls[i].arguments_len); /* is JSON, on one line */
                buf_puts(out, "}}");
        }
        buf_putc(out, ']');
}

static void put_said(bool chat, const Split *s, Buf *out) {
        buf_puts(out, chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
        json_put_string(out, s->content.data, s->content.len);
        if (s->thinking.len > 0) {
                buf_puts(out, ",\"thinking\":");
                json_put_string(out, s->thinking.data, s->thinking.len);
        }
        if (s->calls.len > 0)
                put_calls(s, out);
        buf_puts(out, chat ? "}" : "");
}

static void put_count(Buf *out, const char *key, uint64_t n) {
        buf_puts(out, key);
        buf_putu(out, n);
}

static void put_done(const Choice *c, Buf *out) {
        uint64_t total = now_usec() - c->answer->began, work = c->queue_usec + c->prefill_usec + c->decode_usec;
        buf_puts(out, ",\"done\":true,\"done_reason\":\"");
        buf_puts(out, finish_name(c->finish));
        put_count(out, "\",\"total_duration\":", total * 1000);
        put_count(out, ",\"load_duration\":", (total > work ? total - work : 0) * 1000);
        put_count(out, ",\"prompt_eval_count\":", c->prompt_tokens);
        put_count(out, ",\"prompt_eval_duration\":", c->prefill_usec * 1000);
        put_count(out, ",\"eval_count\":", c->completion_tokens);
        put_count(out, ",\"eval_duration\":", c->decode_usec * 1000);
        put_count(out, ",\"prompt_cached_count\":", c->cached_tokens);
        buf_puts(out, "}\n");
}

static void put_logprobs(const IpcPiece *p, Buf *out) {
        uint32_t per = p->ids.n ? p->logprobs.n / p->ids.n : 0, pos = 0, offset = 0;
        IpcStr text = {0};
        for (uint32_t i = 0; i < p->ids.n * per; i++) {
                uint32_t k = i % per;
                ipc_strs_next(&p->top_text, &pos, &offset, &text);
                buf_puts(out, k == 0 ? (i ? ",{" : "{") : k == 1 ? ",\"top_logprobs\":[{" : ",{");
                buf_puts(out, "\"token\":");
                json_put_string(out, text.data, text.len);
                buf_printf(out, ",\"logprob\":%.9g", (double)MAX(p->logprobs.data[i], -9999.0f));
                buf_puts(out, k > 0 ? "}" : "");
                buf_puts(out, k == per - 1 ? (per > 1 ? "]}" : "}") : "");
        }
}

static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        static const Split nothing;
        const Split *s = &c->split;
        if (split_has_news(s) || p->logprobs.n > 0) {
                put_head(c->answer, out);
                put_said(c->answer->chat, s, out);
                if (p->logprobs.n > 0) {
                        buf_puts(out, ",\"logprobs\":[");
                        put_logprobs(p, out);
                        buf_putc(out, ']');
                }
                buf_puts(out, ",\"done\":false}\n");
        }
        if (p->finish == IPC_FINISH_NONE)
                return;
        put_head(c->answer, out);
        put_said(c->answer->chat, &nothing, out);
        put_done(c, out);
}

static void result(Answer *a, Buf *out) {
        const Choice *c = &a->choices[0];
        put_head(a, out);
        put_said(a->chat, &c->split, out);
        if (a->want_logprobs)
                buf_printf(out, ",\"logprobs\":[%s]", c->logprobs[0].len ? c->logprobs[0].data : "");
        put_done(c, out);
}

static void stream_error(Answer *a, unsigned status, const char *code, const char *text, Buf *out) {
        api_error_body(a->r, status, code, NULL, text, out);
        buf_putc(out, '\n');
}

static void logprobs(Choice *c, const IpcPiece *p) {
        if (c->logprobs[0].len > 0)
                buf_putc(&c->logprobs[0], ',');
        put_logprobs(p, &c->logprobs[0]);
}

static const Dialect dialect = {"application/x-ndjson", piece, NULL, result, stream_error, logprobs};

/* ---- keep_alive, loading and unloading ---- */

/* A number of seconds or a duration; negative: for ever. */
static void read_keep_alive(Args *a, Spec *spec) {
        const json_t *v = arg_get(a, "keep_alive");
        const char *s = json_string_value(v);
        uint64_t usec;
        if (!v)
                return;
        if (json_is_number(v))
                usec = json_number_value(v) < 0 ? UINT64_MAX : (uint64_t)(MIN(json_number_value(v), 1e12) * 1e6);
        else if (s && s[0] == '-')
                usec = UINT64_MAX;
        else if (!s || parse_duration(s, &usec) < 0) {
                arg_fail(a, "keep_alive", "must be a duration such as \"10m\", or a number of seconds");
                return;
        }
        spec->keep_alive_given = true;
        spec->keep_alive = usec;
}

typedef struct Loading Loading;
struct Loading {
        PoolWaiter waiter;
        Request *r;
        ModelEntry *m;
        char *model_name;
        const char *reason; /* "load", "unload" */
        void (*reply)(const Loading *l, Buf *out);
};

static void loading_free(Loading *l) {
        pool_unwait(&l->waiter);
        free(l->model_name);
        free(l);
}

static void loading_gone(Request *r) {
        loading_free(r->state);
}

static void loading_done(PoolWaiter *w, IpcStr json _unused_, const char *error) {
        Loading *l = container_of(w, Loading, waiter);
        _cleanup_buf_ Buf out = BUF_NULL;
        if (error)
                api_error(l->r, 500, "model_load_failed", "model", "%s", error);
        else {
                l->reply(l, &out);
                api_reply_text(l->r, "application/json", &out);
        }
        loading_free(l);
}

static void put_loaded(const Loading *l, bool chat, Buf *out) {
        put_head(&(Answer){.model_name = l->model_name}, out);
        put_said(chat, &(Split){0}, out);
        buf_printf(out, ",\"done\":true,\"done_reason\":\"%s\"}\n", l->reason);
}

static void loaded_to_generate(const Loading *l, Buf *out) {
        put_loaded(l, false, out);
}

static void loaded_to_chat(const Loading *l, Buf *out) {
        put_loaded(l, true, out);
}

/* An empty prompt asks for the model itself: loaded, or, with keep_alive 0, unloaded. */
static void load_or_unload(Api *api, Args *a, Spec *s, ModelEntry *m, void (*reply)(const Loading *l, Buf *out)) {
        read_keep_alive(a, s);
        if (arg_failed(a))
                return;
        bool unload = s->keep_alive_given && s->keep_alive == 0;
        Loading *l = calloc(1, sizeof(*l));
        if (!l || !(l->model_name = strdup(arg_string(a, "model", "")))) {
                free(l);
                api_refuse(api->r, &api_no_memory);
                return;
        }
        m->keep_alive = s->keep_alive_given && !unload ? s->keep_alive : m->config.keep_alive;
        l->waiter.done = loading_done;
        l->r = api->r;
        l->m = m;
        l->reason = unload ? "unload" : "load";
        l->reply = reply;
        api->r->state = l;
        api->r->gone = loading_gone;
        pool_wait(m->pool, m, unload ? IPC_UNLOAD : IPC_LOAD, &l->waiter);
}

/* ---- generate and chat ---- */

void ollama_read_options(Spec *s, Args *o) {
        spec_read(s, o, sampling);
        spec_read_seed(s, o);
        spec_read_stop(s, o, "stop");
        arg_unsupported(o, "mirostat", "mirostat is not supported");
        if (arg_number(o, "typical_p", 0, 1, 1) < 1)
                arg_fail(o, "typical_p", "typical sampling is not supported");
        s->job.max_tokens = MAX(s->job.max_tokens, -1); /* -2, fill the context, is what -1 means here */
}

bool ollama_knows_option(const char *name, const char **ret_near) {
        static const char *const others[] = {
                "seed", "stop", "num_ctx", "num_keep", "num_batch", "num_gpu", "num_thread", "main_gpu", "low_vram", "f16_kv", "logits_all",
                "vocab_only", "use_mmap", "use_mlock", "numa", "tfs_z", "typical_p", "mirostat", "mirostat_eta", "mirostat_tau",
                "penalize_newline",
        };
        const char *names[ARRAY_SIZE(sampling) + ARRAY_SIZE(others)];
        size_t n = 0;
        for (const SampleArg *row = sampling; row->key; row++)
                names[n++] = row->key;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                names[n++] = others[i];
        names[n] = NULL;
        for (size_t i = 0; i < n; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        *ret_near = nearest_word(name, names);
        return false;
}

static void read_options(Spec *s, Args *a) {
        Args o = {.object = arg_get(a, "options"), .prefix = "options.", .error = a->error};
        if (o.object && !json_is_object(o.object))
                arg_fail(a, "options", "must be an object");
        else
                ollama_read_options(s, &o);
}

/* With Ollama's defaults, and what a variant has in their place. */
static ModelEntry *read_model(Spec *s, Args *a, Daemon *d) {
        s->job.temperature = 0.8f;
        s->job.top_k = 40;
        s->job.top_p = 0.9f;
        s->job.repeat_penalty = 1.1f;
        return spec_read_model(s, a, d);
}

static void read_logprobs(Spec *s, Args *a) {
        int64_t top = arg_int(a, "top_logprobs", 0, 20, 0);
        if (arg_bool(a, "logprobs", false))
                s->job.n_top = (int32_t)top;
}

/* "json" or a schema; clients send an empty text for neither. Or a grammar, which is our own. */
static void read_format(Spec *s, Args *a) {
        const json_t *v = arg_get(a, "format");
        const char *word = json_string_value(v);
        if (word && strcmp(word, "json") == 0)
                spec_constrain(s, a, "format", IPC_GRAMMAR_JSON);
        else if (word && *word)
                arg_fail(a, "format", "must be \"json\" or a JSON schema, not '%.32s'", word);
        else if (v && !word)
                spec_read_schema(s, a, "format", v);
        spec_read_grammar(s, a, "grammar", IPC_GRAMMAR_GBNF);
        arg_unsupported(a, "structured_outputs", "is not supported here; format and grammar are");
}

static void read_unsupported(Args *a) {
        arg_unsupported(a, "images", "only text is supported");
        arg_unsupported(a, "template", "the model's own template is used; it cannot be replaced per request");
        arg_unsupported(a, "context", "send the conversation as messages to /api/chat instead");
}

/* Yes, no, or how much. */
static bool read_think(Args *a, const char **ret_level) {
        const json_t *v = arg_get(a, "think");
        *ret_level = json_string_value(v);
        if (v && !json_is_boolean(v) && !*ret_level)
                arg_fail(a, "think", "must be true, false, or a level such as \"high\"");
        return json_is_true(v) || *ret_level;
}

/* The template's variables besides the messages. */
static json_t *variables(Args *a) {
        json_t *v = json_object();
        const char *level;
        bool think = read_think(a, &level);
        if (arg_get(a, "think"))
                thinking_set(v, think, level);
        return v;
}

static void *chat_context(Args *a) {
        json_t *v = variables(a);
        tools_read(a, "tools", v);
        return arg_context(a, v, arg_messages(a, "messages"));
}

static void *generate_context(Args *a) {
        static const char one[] = "[{s:s,s:O}]", two[] = "[{s:s,s:O},{s:s,s:O}]";
        json_t *prompt = arg_get(a, "prompt"), *system = arg_get(a, "system");
        const char *text = arg_string(a, "system", "");
        if (arg_bool(a, "raw", false) || arg_bytes(a, "suffix").len > 0 || !json_is_string(prompt))
                return NULL;
        json_t *messages = *text ? json_pack(two, "role", "system", "content", system, "role", "user", "content", prompt)
                                 : json_pack(one, "role", "user", "content", prompt);
        return arg_context(a, variables(a), messages);
}

/* What a model fills in is no answer to anybody: its template is not used. */
static void check_suffix(Args *a, bool raw) {
        if (raw || *arg_string(a, "system", "") || arg_bool(a, "truncate", false) || read_think(a, &(const char *){NULL}))
                arg_fail(a, "suffix", "cannot be combined with raw, system, think or truncate");
}

static void run(Api *api, Args *a, Spec *s, ModelEntry *m, bool chat) {
        bool stream = arg_bool(a, "stream", true);
        s->job.truncate = arg_bool(a, "truncate", false);
        read_options(s, a);
        read_logprobs(s, a);
        s->job.must_think = read_think(a, &(const char *){NULL});
        read_format(s, a);
        read_unsupported(a);
        read_keep_alive(a, s);
        spec_read_service(s, a);
        if (arg_failed(a))
                return;
        Answer *answer = answer_new(api, m, &dialect, 1);
        if (!answer)
                return;
        answer->chat = chat;
        answer->stream = stream;
        answer->want_logprobs = s->job.n_top >= 0;
        answer_post(answer, s, 0, 1);
}

static void generate(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = read_model(&s, &a, api->d);
        const char *prompt = m ? arg_string(&a, "prompt", "") : NULL;
        bool raw = arg_bool(&a, "raw", false);
        if (arg_failed(&a))
                return;
        s.job.suffix = arg_bytes(&a, "suffix");
        if (!*prompt && s.job.suffix.len == 0) {
                load_or_unload(api, &a, &s, m, loaded_to_generate);
                return;
        }
        _cleanup_free_ char *context = api_context(api, &a, generate_context);
        s.job.kind = context ? IPC_PROMPT_PLAIN_CHAT : IPC_PROMPT_TEXT;
        s.job.prompt = context ? ipc_str(context) : arg_bytes(&a, "prompt");
        s.job.parse_special = raw; /* a raw prompt is a template's output, made by the client */
        if (s.job.suffix.len > 0)
                check_suffix(&a, raw);
        run(api, &a, &s, m, false);
}

static void chat(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = read_model(&s, &a, api->d);
        if (!m)
                return;
        if (json_array_size(arg_get(&a, "messages")) == 0 && (!arg_get(&a, "messages") || json_is_array(arg_get(&a, "messages")))) {
                load_or_unload(api, &a, &s, m, loaded_to_chat);
                return;
        }
        arg_unsupported(&a, "suffix", "is for /api/generate");
        _cleanup_free_ char *context = api_context(api, &a, chat_context);
        s.job.kind = IPC_PROMPT_CHAT;
        s.job.prompt = ipc_str(context);
        run(api, &a, &s, m, true);
}

/* ---- embeddings ---- */

static void put_embedding(const Vectors *v, uint32_t i, Buf *out) {
        json_put_floats(out, v->values + (size_t)i * v->width, v->width);
}

static void embed_begin(const Vectors *v, Buf *out) {
        buf_puts(out, "{\"model\":");
        json_put_string(out, v->model_name, strlen(v->model_name));
        buf_puts(out, ",\"embeddings\":[");
}

static void embed_end(const Vectors *v, Buf *out) {
        uint64_t total = now_usec() - v->began, work = v->queue_usec + v->compute_usec;
        put_count(out, "],\"total_duration\":", total * 1000);
        put_count(out, ",\"load_duration\":", (total > work ? total - work : 0) * 1000);
        put_count(out, ",\"prompt_eval_count\":", v->tokens);
        buf_puts(out, "}\n");
}

static const VectorDialect embed_dialect = {embed_begin, put_embedding, embed_end};

static void embedding_begin(const Vectors *v _unused_, Buf *out) {
        buf_puts(out, "{\"embedding\":");
}

static void embedding_end(const Vectors *v, Buf *out) {
        buf_puts(out, v->n_items > 0 ? "}\n" : "[]}\n");
}

static const VectorDialect embedding_dialect = {embedding_begin, put_embedding, embedding_end};

static void unloaded_to_embed(const Loading *l, Buf *out) {
        buf_puts(out, "{\"model\":");
        json_put_string(out, l->model_name, strlen(l->model_name));
        buf_puts(out, ",\"embeddings\":[]}\n");
}

static void unloaded_to_embedding(const Loading *l _unused_, Buf *out) {
        buf_puts(out, "{\"embedding\":[]}\n");
}

/* NULL without a mistake: there is none, and the model is to be loaded, or unloaded. An empty text says so only when it is not in a
 * list, which has an embedding for each. */
static void *inputs_or_none(Args *a, const char *key) {
        const json_t *v = arg_get(a, key);
        bool none = !v || (json_is_string(v) && json_string_length(v) == 0) || (json_is_array(v) && json_array_size(v) == 0);
        return none ? NULL : arg_inputs(a, key, false);
}

static void *embed_inputs(Args *a) {
        return inputs_or_none(a, "input");
}

static void *embedding_inputs(Args *a) {
        const json_t *v = arg_get(a, "prompt");
        if (v && !json_is_string(v))
                arg_fail(a, "prompt", "must be a text; /api/embed takes many");
        return arg_failed(a) ? NULL : inputs_or_none(a, "prompt");
}

static void embed_with(Api *api, ApiContext read, const VectorDialect *to, void (*unloaded)(const Loading *l, Buf *out)) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = arg_model(&a, api->d);
        if (!m)
                return;
        _cleanup_free_ InputList *inputs = api_context(api, &a, read);
        s.job.kind = IPC_PROMPT_EMBED;
        s.job.truncate = arg_bool(&a, "truncate", true);
        s.job.dimensions = (uint32_t)arg_int(&a, "dimensions", 0, INT32_MAX, 0);
        if (arg_get(&a, "options") && !json_is_object(arg_get(&a, "options")))
                arg_fail(&a, "options", "must be an object");
        read_keep_alive(&a, &s);
        spec_read_service(&s, &a);
        if (arg_failed(&a))
                return;
        if (!inputs && s.keep_alive_given && s.keep_alive == 0)
                load_or_unload(api, &a, &s, m, unloaded);
        else
                vectors_post(api, &s, m, inputs ? inputs : &(InputList){0}, to, (VectorOptions){0});
}

static void embed(Api *api) {
        embed_with(api, embed_inputs, &embed_dialect, unloaded_to_embed);
}

static void embeddings(Api *api) {
        embed_with(api, embedding_inputs, &embedding_dialect, unloaded_to_embedding);
}

/* ---- what there is ---- */

/* What a model is that was not loaded yet, as far as its name tells. */
static const char *format_of(const char *path) {
        const char *dot = strrchr(path, '.');
        return dot && strcmp(dot, ".gguf") == 0 ? "gguf" : strncmp(path, "builtin:", 8) == 0 ? "builtin" : "safetensors";
}

/* The engine says so with the details; of a directory that has the files of sentence-transformers one knows before. */
json_t *model_capabilities(const ModelEntry *m) {
        json_t *details = m->details ? json_loads(m->details, 0, NULL) : NULL;
        json_t *known = json_incref(json_object_get(details, "capabilities"));
        json_decref(details);
        return known || !m->embeds ? known : json_pack("[s]", "embedding");
}

/* `v`: the variant it is of `m`, or NULL. */
static void set_common(json_t *o, const ModelEntry *m, const Variant *v) {
        char name[512], digest[65], *d = digest;
        const char *own = v ? v->name : m->name, *path = v ? v->path : m->path;
        time_t modified = v ? v->modified : m->modified;
        snprintf(name, sizeof(name), "%s%s", own, strchr(own, ':') ? "" : ":latest");
        /* Changes when the file does; not a hash of the contents, which would mean reading them all. */
        for (uint64_t i = 0; i < 4; i++)
                d += sprintf(d, "%016" PRIx64, hash_bytes(path, strlen(path), m->size * 31 + (uint64_t)modified * 4 + i));
        json_t *details = m->details ? json_loads(m->details, 0, NULL) : NULL;
        if (!details)
                details = json_pack("{s:s,s:s,s:s,s:[s],s:s,s:s}", "parent_model", "", "format", format_of(m->path), "family", "", "families", "",
                                    "parameter_size", "", "quantization_level", "");
        json_t *capabilities = model_capabilities(m);
        if (capabilities)
                json_object_set_new(o, "capabilities", capabilities);
        json_object_del(details, "capabilities");
        if (v)
                json_object_set_new(details, "parent_model", json_string(m->name));
        json_object_set_new(o, "name", json_string(name));
        json_object_set_new(o, "model", json_string(name));
        json_object_set_new(o, "size", json_integer((json_int_t)m->size));
        json_object_set_new(o, "digest", json_string(digest));
        json_object_set_new(o, "details", details);
}

static void set_time(json_t *o, const char *key, int64_t usec) {
        char text[64];
        format_time(text, sizeof(text), usec);
        json_object_set_new(o, key, json_string(text));
}

static json_t *listed_model(const ModelEntry *m, const Variant *v) {
        json_t *o = json_object();
        set_common(o, m, v);
        set_time(o, "modified_at", (int64_t)(v ? v->modified : m->modified) * 1000000);
        return o;
}

static void tags(Api *a) {
        json_t *list = json_array();
        list_foreach(m, &a->d->registry.models, ModelEntry, node)
                if (!m->missing && !m->hidden)
                        json_array_append_new(list, listed_model(m, NULL));
        list_foreach(v, &a->d->registry.variants, Variant, node) {
                const ModelEntry *m = model_of_variant(a->d, v);
                if (m)
                        json_array_append_new(list, listed_model(m, v));
        }
        api_reply(a->r, 200, json_pack("{s:o}", "models", list));
}

static bool on_gpu(const Pool *p) {
        return p->device && strncmp(p->device, "CPU", 3) != 0;
}

static json_t *running_model(const ModelEntry *m) {
        static const char *const phases[] = {"unloaded", "loading", "loaded", "failed"};
        json_t *o = json_object();
        set_common(o, m, NULL);
        /* A model that stays for ever expires in a time far off, which every client can parse. */
        bool pinned = m->expires == UINT64_MAX;
        uint64_t now = now_usec(), left = pinned ? 100ull * 365 * 86400 * 1000000 : m->expires > now ? m->expires - now : 0;
        set_time(o, "expires_at", wall_usec() + (int64_t)left);
        json_object_set_new(o, "size", json_integer((json_int_t)(m->weights + m->kv)));
        json_object_set_new(o, "size_vram", json_integer(on_gpu(m->pool) ? (json_int_t)(m->weights + m->kv) : 0));
        json_object_set_new(o, "context_length", json_integer(m->context));
        json_object_set_new(o, "context", json_integer(m->context));
        json_object_set_new(o, "state", json_string(phases[m->phase]));
        json_object_set_new(o, "progress", json_real(m->phase == IPC_MODEL_LOADED ? 1 : (double)m->progress));
        json_object_set_new(o, "pinned", json_boolean(pinned));
        json_object_set_new(o, "slots", json_integer(m->slots));
        json_object_set_new(o, "running", json_integer(m->running));
        json_object_set_new(o, "waiting", json_integer(m->waiting));
        json_object_set_new(o, "users", json_integer(pool_users(m->pool, m)));
        json_object_set_new(o, "requests", json_integer((json_int_t)m->jobs_total));
        json_object_set_new(o, "prompt_tokens", json_integer((json_int_t)m->prompt_tokens));
        json_object_set_new(o, "cached_tokens", json_integer((json_int_t)m->cached_tokens));
        json_object_set_new(o, "kv_used", json_real(m->stats.kv_pages ? (double)m->stats.kv_pages_used / m->stats.kv_pages : 0));
        json_object_set_new(o, "pool", json_string(m->pool->name));
        json_object_set_new(o, "device", json_string(m->pool->device ? m->pool->device : ""));
        json_object_set_new(o, "engine_pid", json_integer(m->pool->pid));
        if (m->error)
                json_object_set_new(o, "error", json_string(m->error));
        return o;
}

static void ps(Api *a) {
        json_t *list = json_array();
        list_foreach(m, &a->d->registry.models, ModelEntry, node)
                if (is_loaded(m))
                        json_array_append_new(list, running_model(m));
        api_reply(a->r, 200, json_pack("{s:o}", "models", list));
}

static void version(Api *a) {
        api_reply(a->r, 200, json_pack("{s:s}", "version", PACKAGE_VERSION));
}

/* ---- show ---- */

typedef struct Showing {
        PoolWaiter waiter;
        Request *r;
        ModelEntry *m;
        time_t modified;
        json_t *variant; /* its definition; NULL: the model itself */
        bool same_name;  /* as its model */
} Showing;

static void showing_free(Showing *s) {
        json_decref(s->variant);
        free(s);
}

static void showing_gone(Request *r) {
        Showing *s = r->state;
        pool_unwait(&s->waiter);
        showing_free(s);
}

static void showing_done(PoolWaiter *w, IpcStr json, const char *error) {
        Showing *s = container_of(w, Showing, waiter);
        json_t *o = error ? NULL : json_loadb(json.data, json.len, JSON_ALLOW_NUL, NULL);
        if (!o)
                api_error(s->r, 500, "model_unreadable", "model", "%s", error ? error : "the engine's description cannot be read");
        else {
                json_t *understood = json_object_get(o, "understood");
                json_object_set_new(o, "modelfile", json_string(""));
                if (json_object_get(understood, "pooling")) /* only what encodes has a choice */
                        json_object_set_new(understood, "precision", json_string(config_precision_name(s->m->config.precision)));
                set_time(o, "modified_at", (int64_t)s->modified * 1000000);
                json_t *details = json_object_get(o, "details");
                free(s->m->details);
                s->m->details = details ? json_dumps(details, JSON_COMPACT) : NULL;
                json_object_set(o, "capabilities", json_object_get(details, "capabilities"));
                json_object_del(details, "capabilities");
                if (s->variant)
                        variant_show(s->variant, s->same_name, o);
                api_reply(s->r, 200, o);
        }
        showing_free(s);
}

void ollama_take_older_name(Api *api) {
        if (!json_object_get(api->body, "model") && json_object_get(api->body, "name"))
                json_object_set(api->body, "model", json_object_get(api->body, "name"));
}

/* Clients pull what they are going to use, there or not. Nothing is fetched: the daemon sees no network. */
static void pull(Api *api) {
        Args a = api_args(api);
        ollama_take_older_name(api);
        if (arg_model(&a, api->d))
                api_reply(api->r, 200, json_pack("{s:s}", "status", "success"));
        else if (api->looked && a.error->status == 404)
                *a.error = (ApiError){.status = 501, .code = "not_supported", .param = "model",
                                      .text = "that model is not here, and the daemon fetches none: the command `zerollama pull` does"};
}

static void show(Api *api) {
        Args a = api_args(api);
        ollama_take_older_name(api);
        ModelEntry *m = arg_model(&a, api->d);
        if (!m)
                return;
        const Variant *v = arg_variant(&a, api->d, "model");
        Showing *s = calloc(1, sizeof(*s));
        if (!s) {
                api_refuse(api->r, &api_no_memory);
                return;
        }
        *s = (Showing){.waiter.done = showing_done, .r = api->r, .m = m, .modified = v ? v->modified : m->modified,
                       .variant = v ? json_incref(v->definition) : NULL, .same_name = v && registry_namesake(&api->d->registry, v)};
        api->r->state = s;
        api->r->gone = showing_gone;
        pool_wait(m->pool, m, IPC_SHOW, &s->waiter);
}

const Route ollama_routes[] = {
        {"POST", "/api/generate", generate, NULL, generate_context},
        {"POST", "/api/chat", chat, NULL, chat_context},
        {"POST", "/api/embed", embed, NULL, embed_inputs},
        {"POST", "/api/embeddings", embeddings, NULL, embedding_inputs},
        {"GET", "/api/tags", tags, .fresh = true},
        {"GET", "/api/ps", ps, NULL},
        {"POST", "/api/show", show, NULL},
        {"GET", "/api/version", version, NULL},
        {"POST", "/api/pull", pull, NULL},
        {"POST", "/api/push", NULL, "the daemon sees no network; models are files in models_path"},
        {0},
};
