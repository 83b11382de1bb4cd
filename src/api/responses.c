/* OpenAI's newer dialect: /v1/responses, of which nothing is kept, so that a conversation comes as a whole with each request.
 * Streams are server-sent events with names and numbers, from response.created to response.completed (or .incomplete,
 * .failed). An answer is made of items, a message with one part and calls of functions, without its thoughts; what the request said
 * is not repeated in it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"

static const SampleArg sampling[] = {
        {"temperature", ARG_FLOAT, offsetof(IpcJob, temperature), 0, 100, IPC_SAID_TEMPERATURE},
        {"top_p", ARG_FLOAT, offsetof(IpcJob, top_p), 0, 1, IPC_SAID_TOP_P},
        {"max_output_tokens", ARG_INT, offsetof(IpcJob, max_tokens), 1, INT32_MAX},
        {0},
};

/* ---- writing ---- */

enum { ID_PREFIX = 5 }; /* "resp_" */

static const char *end_status(const Choice *c) {
        return c->finish == IPC_FINISH_LENGTH ? "incomplete" : "completed";
}

static void put_id(const Choice *c, const char *prefix, uint32_t index, Buf *out) {
        buf_printf(out, "\"%s%s%u\"", prefix, c->answer->id + ID_PREFIX, index);
}

static void put_part(const Buf *text, Buf *out) {
        buf_puts(out, "{\"type\":\"output_text\",\"text\":");
        json_put_string(out, text->data, text->len);
        buf_puts(out, ",\"annotations\":[],\"logprobs\":[]}");
}

/* `text`: NULL as long as it is in progress. */
static void put_message(const Choice *c, uint32_t index, const Buf *text, Buf *out) {
        buf_puts(out, "{\"id\":");
        put_id(c, "msg_", index, out);
        buf_printf(out, ",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[", text ? end_status(c) : "in_progress");
        if (text)
                put_part(text, out);
        buf_puts(out, "]}");
}

static const char *name_of(const Choice *c, const SplitCall *call) {
        return c->split.call_text.data + call->name;
}

static const char *arguments_of(const Choice *c, const SplitCall *call) {
        return c->split.call_text.data + call->arguments;
}

/* The `i`-th call of the answer; its arguments are there when it is done. */
static void put_call(const Choice *c, uint32_t index, size_t i, const SplitCall *call, bool done, Buf *out) {
        buf_puts(out, "{\"id\":");
        put_id(c, "fc_", index, out);
        buf_printf(out, ",\"type\":\"function_call\",\"status\":\"%s\",\"call_id\":\"", done ? "completed" : "in_progress");
        tools_put_id(c, i, out);
        buf_puts(out, "\",\"name\":");
        json_put_string(out, name_of(c, call), call->name_len);
        buf_puts(out, ",\"arguments\":");
        json_put_string(out, arguments_of(c, call), done ? call->arguments_len : 0);
        buf_putc(out, '}');
}

static void put_usage(const Choice *c, Buf *out) {
        buf_printf(out,
                   "{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u},\"output_tokens\":%u,"
                   "\"output_tokens_details\":{\"reasoning_tokens\":%u},\"total_tokens\":%" PRIu64 "}",
                   c->prompt_tokens, c->cached_tokens, c->completion_tokens, c->thought_tokens,
                   (uint64_t)c->prompt_tokens + c->completion_tokens);
}

static void put_error(const char *error, Buf *out) {
        buf_puts(out, ",\"error\":");
        if (error) {
                buf_puts(out, "{\"code\":\"server_error\",\"message\":");
                json_put_string(out, error, strlen(error));
                buf_putc(out, '}');
        } else
                buf_puts(out, "null");
}

/* `error`: why it failed, else NULL. `items`: the insides of the list of them, or NULL as long as it is in progress. */
static void put_response(const Choice *c, const char *error, const Buf *items, Buf *out) {
        const Answer *a = c->answer;
        const char *status = error ? "failed" : items ? end_status(c) : "in_progress";
        buf_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%" PRId64 ",\"status\":\"%s\"", a->id, a->created, status);
        buf_puts(out, ",\"model\":");
        json_put_string(out, a->model_name, strlen(a->model_name));
        put_error(error, out);
        buf_puts(out, ",\"incomplete_details\":");
        buf_puts(out, strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}" : "null");
        buf_puts(out, ",\"previous_response_id\":null,\"store\":false,\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],"
                      "\"output\":[");
        if (items)
                buf_put(out, items->data, items->len);
        buf_puts(out, "],\"usage\":");
        if (items)
                put_usage(c, out);
        else
                buf_puts(out, "null");
        buf_putc(out, '}');
}

/* ---- streams ---- */

static void begin_event(Answer *a, const char *type, Buf *out) {
        sse_event(out, type);
        buf_puts(out, ",\"sequence_number\":");
        buf_putu(out, a->n_events++);
}

static void put_response_event(Choice *c, const char *type, const char *error, const Buf *items, Buf *out) {
        begin_event(c->answer, type, out);
        buf_puts(out, ",\"response\":");
        put_response(c, error, items, out);
        buf_puts(out, "}\n\n");
}

/* These are of the item that was begun last. */

static void begin_item_event(Choice *c, const char *type, Buf *out) {
        begin_event(c->answer, type, out);
        buf_puts(out, ",\"output_index\":");
        buf_putu(out, c->n_blocks - 1);
}

static void begin_part_event(Choice *c, const char *type, Buf *out) {
        begin_item_event(c, type, out);
        buf_puts(out, ",\"content_index\":0,\"item_id\":");
        put_id(c, "msg_", c->n_blocks - 1, out);
}

static void put_part_event(Choice *c, const char *type, const Buf *text, Buf *out) {
        begin_part_event(c, type, out);
        buf_puts(out, ",\"part\":");
        put_part(text, out);
        buf_puts(out, "}\n\n");
}

static void put_text_event(Choice *c, const char *type, const char *key, const Buf *text, Buf *out) {
        begin_part_event(c, type, out);
        buf_puts(out, key);
        json_put_string(out, text->data, text->len);
        buf_puts(out, ",\"logprobs\":[]}\n\n");
}

static void put_arguments_event(Choice *c, const char *type, const char *key, const SplitCall *call, Buf *out) {
        begin_item_event(c, type, out);
        buf_puts(out, ",\"item_id\":");
        put_id(c, "fc_", c->n_blocks - 1, out);
        buf_puts(out, key);
        json_put_string(out, arguments_of(c, call), call->arguments_len);
        buf_puts(out, "}\n\n");
}

/* Items that are done are said again in the response that ends the stream: they are kept in the first list. Where the next
 * begins there: */
static size_t next_item(Choice *c) {
        if (c->logprobs[0].len > 0)
                buf_putc(&c->logprobs[0], ',');
        return c->logprobs[0].len;
}

static void put_item_done(Choice *c, size_t at, Buf *out) {
        begin_item_event(c, "response.output_item.done", out);
        buf_puts(out, ",\"item\":");
        buf_put(out, c->logprobs[0].data + at, c->logprobs[0].len - at);
        buf_puts(out, "}\n\n");
}

static void begin_message(Choice *c, Buf *out) {
        c->block = "message";
        c->n_blocks++;
        begin_item_event(c, "response.output_item.added", out);
        buf_puts(out, ",\"item\":");
        put_message(c, c->n_blocks - 1, NULL, out);
        buf_puts(out, "}\n\n");
        put_part_event(c, "response.content_part.added", &c->again, out);
}

/* Its text is said again as a whole. */
static void end_message(Choice *c, Buf *out) {
        if (!c->block)
                return;
        put_text_event(c, "response.output_text.done", ",\"text\":", &c->again, out);
        put_part_event(c, "response.content_part.done", &c->again, out);
        size_t at = next_item(c);
        put_message(c, c->n_blocks - 1, &c->again, &c->logprobs[0]);
        put_item_done(c, at, out);
        buf_clear(&c->again);
        c->block = NULL;
}

static void put_text(Choice *c, const Buf *text, Buf *out) {
        if (text->len == 0)
                return;
        if (!c->block)
                begin_message(c, out);
        put_text_event(c, "response.output_text.delta", ",\"delta\":", text, out);
        buf_put(&c->again, text->data, text->len);
}

static void put_whole_call(Choice *c, size_t i, const SplitCall *call, Buf *out) {
        end_message(c, out);
        c->n_blocks++;
        begin_item_event(c, "response.output_item.added", out);
        buf_puts(out, ",\"item\":");
        put_call(c, c->n_blocks - 1, i, call, false, out);
        buf_puts(out, "}\n\n");
        put_arguments_event(c, "response.function_call_arguments.delta", ",\"delta\":", call, out);
        put_arguments_event(c, "response.function_call_arguments.done", ",\"arguments\":", call, out);
        size_t at = next_item(c);
        put_call(c, c->n_blocks - 1, i, call, true, &c->logprobs[0]);
        put_item_done(c, at, out);
}

static void begin(Choice *c, Buf *out) {
        put_response_event(c, "response.created", NULL, NULL, out);
        put_response_event(c, "response.in_progress", NULL, NULL, out);
        c->first_sent = true;
}

/* Without any items there is an empty message. */
static void end(Choice *c, Buf *out) {
        if (c->n_blocks == 0)
                begin_message(c, out);
        end_message(c, out);
        bool cut = c->finish == IPC_FINISH_LENGTH;
        put_response_event(c, cut ? "response.incomplete" : "response.completed", NULL, &c->logprobs[0], out);
}

static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        const SplitCall *calls;
        size_t n = split_calls(&c->split, &calls);
        if (!c->first_sent)
                begin(c, out);
        put_text(c, &c->split.content, out);
        for (size_t i = 0; i < n; i++)
                put_whole_call(c, c->split.n_calls - n + i, &calls[i], out);
        if (p->finish != IPC_FINISH_NONE)
                end(c, out);
}

static void stream_error(Answer *a, unsigned status _unused_, const char *code _unused_, const char *text, Buf *out) {
        put_response_event(&a->choices[0], "response.failed", text, NULL, out);
}

static void result(Answer *a, Buf *out) {
        const Choice *c = &a->choices[0];
        _cleanup_buf_ Buf items = BUF_NULL;
        const SplitCall *calls;
        size_t n = split_calls(&c->split, &calls);
        uint32_t index = 0;
        if (c->split.content.len > 0 || n == 0)
                put_message(c, index++, &c->split.content, &items);
        for (size_t i = 0; i < n; i++) {
                buf_puts(&items, index > 0 ? "," : "");
                put_call(c, index++, i, &calls[i], true, &items);
        }
        put_response(c, NULL, &items, out);
        out->failed |= items.failed;
        buf_putc(out, '\n');
}

static const Dialect dialect = {"text/event-stream", piece, NULL, result, stream_error, NULL};

/* ---- reading ---- */

/* A call is part of the assistant's message before it, or of one without text. */
static void read_call(Args *a, const char *where, json_t *item, json_t *messages) {
        json_t *name = json_object_get(item, "name"), *id = json_object_get(item, "call_id"), *arguments = json_object_get(item, "arguments");
        json_t *m = json_array_get(messages, json_array_size(messages) - 1);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!json_is_string(name) || !json_is_string(id) || !json_is_string(arguments)) {
                arg_fail(a, where, "a function_call must have a name, a call_id and arguments, which are JSON text");
                return;
        }
        if (!role || strcmp(role, "assistant") != 0) {
                json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "assistant", "content", ""));
                m = json_array_get(messages, json_array_size(messages) - 1);
        }
        if (!json_object_get(m, "tool_calls"))
                json_object_set_new(m, "tool_calls", json_array());
        json_array_append_new(json_object_get(m, "tool_calls"), json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", id, "type", "function", "function",
                                                                          "name", name, "arguments", arguments));
}

static void read_call_output(Args *a, const char *where, json_t *item, json_t *messages) {
        json_t *id = json_object_get(item, "call_id"), *output = json_object_get(item, "output");
        json_t *text = output ? arg_text(a, where, output) : NULL;
        if (!json_is_string(id) || !output)
                arg_fail(a, where, "a function_call_output must have a call_id and an output");
        json_array_append_new(messages, json_pack("{s:s,s:O?,s:o?}", "role", "tool", "tool_call_id", id, "content", text));
}

static void read_item(Args *a, size_t i, json_t *item, json_t *messages) {
        const char *type = json_string_value(json_object_get(item, "type"));
        char where[64];
        snprintf(where, sizeof(where), "input[%zu]", i);
        if (!type || strcmp(type, "message") == 0) {
                if (arg_message(a, where, item))
                        json_array_append(messages, item);
        } else if (strcmp(type, "function_call") == 0)
                read_call(a, where, item, messages);
        else if (strcmp(type, "function_call_output") == 0)
                read_call_output(a, where, item, messages);
        else
                arg_fail(a, where, "is of type '%.32s'; only messages, function calls and their outputs are supported", type);
}

/* A text is the user's only message. */
static void read_input(Args *a) {
        json_t *input = arg_get(a, "input"), *messages = json_is_string(input) || json_is_array(input) ? json_array() : NULL, *item;
        size_t i;
        if (json_is_string(input))
                json_array_append_new(messages, json_pack("{s:s,s:O}", "role", "user", "content", input));
        json_array_foreach(input, i, item)
                if (!arg_failed(a))
                        read_item(a, i, item, messages);
        if (messages && json_object_set_new(a->object, "input", messages) < 0)
                arg_no_memory(a);
}

/* The newer form of a function, which has one level less, becomes the older one. */
static void read_tools(Args *a, json_t *variables) {
        json_t *tools = arg_get(a, "tools"), *tool;
        size_t i;
        json_array_foreach(tools, i, tool) {
                const char *type = json_string_value(json_object_get(tool, "type"));
                if (!type || strcmp(type, "function") != 0)
                        arg_fail(a, "tools", "element %zu is of type '%.32s'; only functions are supported", i, type ? type : "");
                json_array_set_new(tools, i, json_pack("{s:s,s:{s:O?,s:O*,s:O*}}", "type", "function", "function", "name",
                                                       json_object_get(tool, "name"), "description", json_object_get(tool, "description"),
                                                       "parameters", json_object_get(tool, "parameters")));
        }
        openai_read_tools(a, variables);
}

/* How much the model is to think; of its thoughts only the answer is handed out. */
static void read_reasoning(Args *a, json_t *variables) {
        Args r = {.object = arg_get(a, "reasoning"), .prefix = "reasoning.", .error = a->error};
        arg_unsupported(&r, "summary", "thoughts are not handed out here; /v1/chat/completions does it");
        thinking_set_effort(variables, arg_string(&r, "effort", NULL));
}

static void *context(Args *a) {
        json_t *variables = json_object(), *messages;
        read_input(a);
        read_tools(a, variables);
        read_reasoning(a, variables);
        messages = arg_failed(a) ? NULL : arg_messages(a, "input");
        if (messages)
                arg_system(a, "instructions", messages);
        return arg_context(a, variables, messages);
}

static void read_unsupported(Args *a) {
        arg_unsupported(a, "previous_response_id", "responses are not kept; send the whole conversation as input");
        arg_unsupported(a, "conversation", "conversations are not kept; send the whole conversation as input");
        arg_unsupported(a, "store", "responses are not kept; send store: false, or leave it out");
        arg_unsupported(a, "background", "responses are not kept, so that none could be fetched later");
        arg_unsupported(a, "prompt", "there are no stored prompts; send input and instructions");
        arg_unsupported(a, "include", "there is nothing more to be included");
        arg_unsupported(a, "top_logprobs", "logprobs are not supported here");
}

/* As response_format, but for one level less. */
static void read_format(Spec *s, Args *a) {
        Args f = {.object = json_object_get(arg_get(a, "text"), "format"), .prefix = "text.format.", .error = a->error};
        const char *type = arg_string(&f, "type", "text");
        if (f.object && !json_is_object(f.object) && !json_is_null(f.object))
                arg_fail(a, "text.format", "must be an object with a type");
        else if (strcmp(type, "json_object") == 0)
                spec_constrain(s, a, "text.format", IPC_GRAMMAR_JSON);
        else if (strcmp(type, "json_schema") == 0)
                spec_read_schema(s, &f, "schema", arg_get(&f, "schema"));
        else if (strcmp(type, "text") != 0)
                arg_fail(&f, "type", "must be text, json_object or json_schema, not '%.32s'", type);
        spec_refuse_constraints(a, "is not supported here; text.format and /v1/chat/completions are");
}

static void read_truncation(Spec *s, Args *a) {
        const char *truncation = arg_string(a, "truncation", "disabled");
        if (strcmp(truncation, "auto") != 0 && strcmp(truncation, "disabled") != 0)
                arg_fail(a, "truncation", "must be auto or disabled, not '%.32s'", truncation);
        s->job.truncate = strcmp(truncation, "auto") == 0;
}

static void responses(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = spec_read_model(&s, &a, api->d);
        if (!m)
                return;
        spec_read(&s, &a, sampling);
        openai_read_service(&s, &a);
        read_truncation(&s, &a);
        read_format(&s, &a);
        read_unsupported(&a);
        bool stream = arg_bool(&a, "stream", false), parallel = arg_bool(&a, "parallel_tool_calls", true);
        _cleanup_free_ char *text = arg_failed(&a) ? NULL : api_context(api, &a, context);
        openai_read_choice(&s, &a, json_string_value(json_object_get(arg_get(&a, "tool_choice"), "name")));
        Answer *answer = text && !arg_failed(&a) ? answer_new(api, m, &dialect, 1) : NULL;
        if (!answer)
                return;
        answer_make_id(answer, "resp_");
        answer->stream = stream;
        answer->most_calls = parallel ? 0 : 1;
        s.job.kind = IPC_PROMPT_CHAT;
        s.job.prompt = ipc_str(text);
        answer_post(answer, &s, 0, 1);
}

const Route responses_routes[] = {
        {"POST", "/v1/responses", responses, NULL, context},
        {0},
};
