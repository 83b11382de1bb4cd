/* Anthropic's dialect: /v1/messages and /v1/messages/count_tokens. Nothing is kept between requests. Streams are server-sent
 * events with names, from message_start to message_stop; an answer is made of blocks: its thoughts, where they were asked for,
 * its text, and its calls of tools. */
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"

static const SampleArg sampling[] = {
        {"temperature", ARG_FLOAT, offsetof(IpcJob, temperature), 0, 100, IPC_SAID_TEMPERATURE},
        {"top_p", ARG_FLOAT, offsetof(IpcJob, top_p), 0, 1, IPC_SAID_TOP_P},
        {"top_k", ARG_INT, offsetof(IpcJob, top_k), 0, INT32_MAX, IPC_SAID_TOP_K},
        {"max_tokens", ARG_INT, offsetof(IpcJob, max_tokens), 1, INT32_MAX},
        {0},
};

/* ---- writing ---- */

static void put_head(const Answer *a, Buf *out) {
        buf_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", a->id);
        json_put_string(out, a->model_name, strlen(a->model_name));
}

static void put_stop(const Choice *c, Buf *out) {
        const char *reason = c->finish == IPC_FINISH_LENGTH ? "max_tokens" : c->stopped_by.len > 0 ? "stop_sequence"
                             : c->split.n_calls > 0 ? "tool_use" : "end_turn";
        buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
        if (c->stopped_by.len > 0)
                json_put_string(out, c->stopped_by.data, c->stopped_by.len);
        else
                buf_puts(out, "null");
}

static void put_usage(const Choice *c, Buf *out) {
        buf_printf(out,
                   ",\"usage\":{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%u,\"output_tokens\":%u}",
                   c->prompt_tokens - c->cached_tokens, c->cached_tokens, c->completion_tokens);
}

static void begin_message(const Choice *c, Buf *out) {
        sse_event(out, "message_start");
        buf_puts(out, ",\"message\":");
        put_head(c->answer, out);
        buf_puts(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
        put_usage(c, out);
        buf_puts(out, "}}\n\n");
}

static void end_message(const Choice *c, Buf *out) {
        sse_event(out, "message_delta");
        buf_puts(out, ",\"delta\":{");
        put_stop(c, out);
        buf_putc(out, '}');
        put_usage(c, out);
        buf_puts(out, "}\n\n");
        sse_event(out, "message_stop");
        buf_puts(out, "}\n\n");
}

/* Of the block that was begun last. */
static void begin_event(const Choice *c, const char *type, Buf *out) {
        sse_event(out, type);
        buf_puts(out, ",\"index\":");
        buf_putu(out, c->n_blocks - 1);
}

static void end_block(Choice *c, Buf *out) {
        if (!c->block)
                return;
        begin_event(c, "content_block_stop", out);
        buf_puts(out, "}\n\n");
        c->block = NULL;
}

/* Its object, and the brace that ends the event's, are still to be said. */
static void begin_block(Choice *c, const char *block, Buf *out) {
        end_block(c, out);
        c->block = block;
        c->n_blocks++;
        begin_event(c, "content_block_start", out);
        buf_puts(out, ",\"content_block\":");
}

static void put_delta(const Choice *c, const char *head, const char *text, size_t len, Buf *out) {
        begin_event(c, "content_block_delta", out);
        buf_puts(out, ",\"delta\":");
        buf_puts(out, head);
        json_put_string(out, text, len);
        buf_puts(out, "}}\n\n");
}

static const char text_block[] = "{\"type\":\"text\",\"text\":\"\"}",
                  thinking_block[] = "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}";

/* A text or a thought goes on as long as nothing else comes. `block`: one of the two, as it begins. */
static void put_text(Choice *c, const char *block, const char *head, const Buf *text, Buf *out) {
        if (text->len == 0)
                return;
        if (c->block != block) {
                begin_block(c, block, out);
                buf_puts(out, block);
                buf_puts(out, "}\n\n");
        }
        put_delta(c, head, text->data, text->len, out);
}

/* `i`: of all the answer's. */
static void put_call_head(const Choice *c, size_t i, const SplitCall *call, Buf *out) {
        buf_puts(out, "{\"type\":\"tool_use\",\"id\":\"");
        tools_put_id(c, i, out);
        buf_puts(out, "\",\"name\":");
        json_put_string(out, c->split.call_text.data + call->name, call->name_len);
        buf_puts(out, ",\"input\":");
}

static void put_call_block(Choice *c, size_t i, const SplitCall *call, Buf *out) {
        begin_block(c, "tool_use", out);
        put_call_head(c, i, call, out);
        buf_puts(out, "{}}}\n\n");
        put_delta(c, "{\"type\":\"input_json_delta\",\"partial_json\":", c->split.call_text.data + call->arguments, call->arguments_len, out);
        end_block(c, out);
}

static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        const SplitCall *calls;
        size_t n = split_calls(&c->split, &calls);
        if (!c->first_sent)
                begin_message(c, out);
        c->first_sent = true;
        if (c->answer->want_thoughts)
                put_text(c, thinking_block, "{\"type\":\"thinking_delta\",\"thinking\":", &c->split.thinking, out);
        put_text(c, text_block, "{\"type\":\"text_delta\",\"text\":", &c->split.content, out);
        for (size_t i = 0; i < n; i++)
                put_call_block(c, c->split.n_calls - n + i, &calls[i], out);
        if (p->finish == IPC_FINISH_NONE)
                return;
        end_block(c, out);
        end_message(c, out);
}

static void stream_error(Answer *a, unsigned status, const char *code, const char *text, Buf *out) {
        buf_puts(out, "event: error\ndata: ");
        api_error_body(a->r, status, code, NULL, text, out);
        buf_puts(out, "\n\n");
}

static void put_block(const char *head, const Buf *text, const char *rest, const char **comma, Buf *out) {
        if (text->len == 0)
                return;
        buf_puts(out, *comma);
        buf_puts(out, head);
        json_put_string(out, text->data, text->len);
        buf_puts(out, rest);
        *comma = ",";
}

static void result(Answer *a, Buf *out) {
        const Choice *c = &a->choices[0];
        const SplitCall *calls;
        size_t n = split_calls(&c->split, &calls);
        const char *comma = "";
        put_head(a, out);
        buf_puts(out, ",\"content\":[");
        if (a->want_thoughts)
                put_block("{\"type\":\"thinking\",\"thinking\":", &c->split.thinking, ",\"signature\":\"\"}", &comma, out);
        put_block("{\"type\":\"text\",\"text\":", &c->split.content, "}", &comma, out);
        for (size_t i = 0; i < n; i++, comma = ",") {
                buf_puts(out, comma);
                put_call_head(c, i, &calls[i], out);
                buf_put(out, c->split.call_text.data + calls[i].arguments, calls[i].arguments_len);
                buf_putc(out, '}');
        }
        buf_puts(out, "],");
        put_stop(c, out);
        put_usage(c, out);
        buf_puts(out, "}\n");
}

static const Dialect dialect = {"text/event-stream", piece, NULL, result, stream_error, NULL};

static void put_nothing(Choice *c _unused_, const IpcPiece *p _unused_, Buf *out _unused_) {
        /* only their number is wanted */
}

static void put_count(Answer *a, Buf *out) {
        buf_printf(out, "{\"input_tokens\":%u}\n", a->choices[0].prompt_tokens);
}

static const Dialect count_dialect = {.stream_type = "application/json", .piece = put_nothing, .stream_end = put_count};

/* ---- reading: messages made of blocks become what templates expect ---- */

typedef struct Turn {
        Args *a;
        char where[64];
        const char *role;
        json_t *messages; /* so far */
        json_t *message;  /* the last of them, if blocks of this turn may still go into it; borrowed */
} Turn;

static json_t *message_of(Turn *t) {
        if (!t->message && json_array_append_new(t->messages, json_pack("{s:s,s:[]}", "role", t->role, "content")) == 0)
                t->message = json_array_get(t->messages, json_array_size(t->messages) - 1);
        return t->message;
}

/* Its input is an object, as a call's arguments are in templates. */
static void read_call(Turn *t, json_t *block) {
        json_t *m = message_of(t), *calls = json_object_get(m, "tool_calls");
        json_t *id = json_object_get(block, "id"), *name = json_object_get(block, "name"), *input = json_object_get(block, "input");
        if (!json_is_string(id) || !json_is_string(name) || !json_is_object(input))
                arg_fail(t->a, t->where, "a tool_use must have an id, a name and an input that is an object");
        if (m && !calls && json_object_set_new(m, "tool_calls", json_array()) == 0)
                calls = json_object_get(m, "tool_calls");
        json_array_append_new(calls, json_pack("{s:O?,s:s,s:{s:O?,s:O?}}", "id", id, "type", "function", "function", "name", name,
                                               "arguments", input));
}

/* A message of its own. */
static void read_call_result(Turn *t, json_t *block) {
        json_t *id = json_object_get(block, "tool_use_id"), *v = json_object_get(block, "content");
        json_t *content = v && !json_is_null(v) ? arg_text(t->a, t->where, v) : json_string("");
        t->message = NULL;
        if (!json_is_string(id))
                arg_fail(t->a, t->where, "a tool_result must have a tool_use_id");
        json_array_append_new(t->messages, json_pack("{s:s,s:O?,s:o?}", "role", "tool", "tool_call_id", id, "content", content));
}

static void read_block(Turn *t, size_t i, json_t *block) {
        const char *type = json_string_value(json_object_get(block, "type"));
        bool answer = strcmp(t->role, "assistant") == 0;
        if (type && strcmp(type, "text") == 0 && json_is_string(json_object_get(block, "text")))
                json_array_append(json_object_get(message_of(t), "content"), block);
        else if (type && answer && strcmp(type, "thinking") == 0)
                json_object_set(message_of(t), "reasoning_content", json_object_get(block, "thinking"));
        else if (type && answer && strcmp(type, "tool_use") == 0)
                read_call(t, block);
        else if (type && !answer && strcmp(type, "tool_result") == 0)
                read_call_result(t, block);
        else
                arg_fail(t->a, t->where, "block %zu must be text, with a text, %s, not '%.32s'", i, answer ? "thinking or tool_use" : "or tool_result",
                         type ? type : "");
}

static void read_turn(Args *a, size_t i, json_t *m, json_t *messages) {
        Turn t = {.a = a, .role = json_string_value(json_object_get(m, "role")), .messages = messages};
        json_t *content = json_object_get(m, "content"), *block;
        size_t k;
        snprintf(t.where, sizeof(t.where), "messages[%zu]", i);
        if (!t.role || (strcmp(t.role, "user") != 0 && strcmp(t.role, "assistant") != 0))
                arg_fail(a, t.where, "must be an object with the role user or assistant");
        else if (json_is_string(content))
                json_array_append(messages, m);
        else if (json_is_array(content))
                json_array_foreach(content, k, block)
                        read_block(&t, k, block);
        else
                arg_fail(a, t.where, "must have a content that is a string or a list of blocks");
}

static void read_turns(Args *a) {
        json_t *given = arg_get(a, "messages"), *messages = json_array(), *m;
        const json_t *last = json_array_get(given, json_array_size(given) - 1);
        const char *role = json_string_value(json_object_get(last, "role"));
        size_t i;
        if (role && strcmp(role, "assistant") == 0)
                arg_fail(a, "messages", "the last is the assistant's; to go on from there is not supported, end with the user's");
        json_array_foreach(given, i, m)
                if (!arg_failed(a))
                        read_turn(a, i, m, messages);
        if (json_is_array(given) && json_object_set(a->object, "messages", messages) < 0)
                arg_no_memory(a);
        json_decref(messages);
}

/* Anthropic's form of a function becomes OpenAI's. */
static json_t *function_of(Args *a, size_t i, json_t *tool) {
        const char *type = json_string_value(json_object_get(tool, "type"));
        if (type && strcmp(type, "custom") != 0)
                arg_fail(a, "tools", "element %zu is of type '%.32s'; tools that the server runs are not supported", i, type);
        else if (!json_is_string(json_object_get(tool, "name")))
                arg_fail(a, "tools", "element %zu must be an object with a name and an input_schema", i);
        return json_pack("{s:s,s:{s:O?,s:O*,s:O*}}", "type", "function", "function", "name", json_object_get(tool, "name"), "description",
                         json_object_get(tool, "description"), "parameters", json_object_get(tool, "input_schema"));
}

/* With the choice "none" the model does not hear of its tools. */
static void read_tools(Args *a, json_t *variables) {
        Args choice = {.object = arg_get(a, "tool_choice"), .prefix = "tool_choice.", .error = a->error};
        const char *type = arg_string(&choice, "type", "auto");
        json_t *tools = arg_get(a, "tools"), *tool;
        size_t i;
        if (choice.object && !json_is_object(choice.object))
                arg_fail(a, "tool_choice", "must be an object with a type");
        json_array_foreach(tools, i, tool)
                json_array_set_new(tools, i, function_of(a, i, tool));
        if (strcmp(type, "none") != 0)
                tools_read(a, "tools", variables);
}

/* "any", or "tool" with its name: the answer is a call. */
static void read_choice(Spec *s, Args *a) {
        Args choice = {.object = arg_get(a, "tool_choice"), .prefix = "tool_choice.", .error = a->error};
        const char *type = arg_string(&choice, "type", "auto"), *name = arg_string(&choice, "name", NULL);
        bool named = strcmp(type, "tool") == 0;
        if (strcmp(type, "any") == 0 || (named && name))
                tools_require(s, a, "tools", "tool_choice", named ? name : NULL);
        else if (named)
                arg_fail(&choice, "name", "is missing");
        else if (strcmp(type, "auto") != 0 && strcmp(type, "none") != 0)
                arg_fail(&choice, "type", "must be auto, any, tool or none, not '%.32s'", type);
}

/* Who asks for no thinking gets none, from templates that ask. */
static bool asks_to_think(const Args *a) {
        const char *type = json_string_value(json_object_get(arg_get(a, "thinking"), "type"));
        return type && (strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0);
}

static void *context(Args *a) {
        const char *effort = json_string_value(json_object_get(arg_get(a, "output_config"), "effort"));
        json_t *variables = json_object();
        read_turns(a);
        read_tools(a, variables);
        thinking_set(variables, asks_to_think(a), asks_to_think(a) ? effort : NULL);
        json_t *messages = arg_failed(a) ? NULL : arg_messages(a, "messages");
        if (messages)
                arg_system(a, "system", messages);
        return arg_context(a, variables, messages);
}

static void read_unsupported(Args *a) {
        Args thinking = {.object = arg_get(a, "thinking"), .prefix = "thinking.", .error = a->error};
        if (thinking.object && !asks_to_think(a) && strcmp(arg_string(&thinking, "type", ""), "disabled") != 0)
                arg_fail(&thinking, "type", "must be enabled, adaptive or disabled");
        arg_unsupported(a, "output_format", "is the older name; send output_config.format");
        arg_unsupported(a, "mcp_servers", "no servers are asked here");
        arg_unsupported(a, "container", "there are no containers here");
}

static void read_format(Spec *s, Args *a) {
        Args f = {.object = json_object_get(arg_get(a, "output_config"), "format"), .prefix = "output_config.format.", .error = a->error};
        spec_refuse_constraints(a, "is not supported here; output_config.format and /v1/chat/completions are");
        if (!f.object || json_is_null(f.object))
                return;
        if (strcmp(arg_string(&f, "type", ""), "json_schema") != 0)
                arg_fail(&f, "type", "must be json_schema");
        spec_read_schema(s, &f, "schema", arg_get(&f, "schema"));
}

/* The model, and the prompt in `s`; NULL: a mistake was found. */
static ModelEntry *read_prompt(Api *api, Args *a, Spec *s, char **ret_context) {
        ModelEntry *m = spec_read_model(s, a, api->d);
        if (!m)
                return NULL;
        read_unsupported(a);
        spec_read_service(s, a);
        s->job.must_think = asks_to_think(a);
        char *text = arg_failed(a) ? NULL : api_context(api, a, context);
        s->job.kind = IPC_PROMPT_CHAT;
        s->job.prompt = ipc_str(text);
        *ret_context = text;
        return arg_failed(a) ? NULL : m;
}

static void messages(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        _cleanup_free_ char *text = NULL;
        spec_init(&s);
        ModelEntry *m = read_prompt(api, &a, &s, &text);
        spec_read(&s, &a, sampling);
        spec_read_stop(&s, &a, "stop_sequences");
        read_format(&s, &a);
        bool stream = arg_bool(&a, "stream", false);
        bool one_call = json_is_true(json_object_get(arg_get(&a, "tool_choice"), "disable_parallel_tool_use"));
        if (m)
                read_choice(&s, &a);
        if (m && s.job.max_tokens < 0)
                arg_fail(&a, "max_tokens", "is missing");
        Answer *answer = m && !arg_failed(&a) ? answer_new(api, m, &dialect, 1) : NULL;
        if (!answer)
                return;
        answer_make_id(answer, "msg_");
        answer->stream = stream;
        answer->want_thoughts = s.job.must_think;
        answer->most_calls = one_call ? 1 : 0;
        answer_post(answer, &s, 0, 1);
}

static void count_tokens(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        _cleanup_free_ char *text = NULL;
        spec_init(&s);
        ModelEntry *m = read_prompt(api, &a, &s, &text);
        if (m)
                tokens_post(api, &s, m, &count_dialect);
}

const Route messages_routes[] = {
        {"POST", "/v1/messages", messages, NULL, context},
        {"POST", "/v1/messages/count_tokens", count_tokens, NULL, context},
        {0},
};
