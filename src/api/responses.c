/* OpenAI's newer dialect: /v1/responses, of which nothing is kept, so that a conversation comes as a whole with each request.
 * Streams are server-sent events with names and numbers, from response.created to response.completed (or .incomplete,
 * .failed). An answer is one message with one part; what the request said is not repeated in it. */
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

/* In all of these `text` is the whole answer, or NULL as long as it is in progress. */

static const char *status_of(const Choice *c, const Buf *text) {
        return !text ? "in_progress" : c->finish == IPC_FINISH_LENGTH ? "incomplete" : "completed";
}

static void put_part(const Buf *text, Buf *out) {
        buf_puts(out, "{\"type\":\"output_text\",\"text\":");
        json_put_string(out, text ? text->data : "", text ? text->len : 0);
        buf_puts(out, ",\"annotations\":[],\"logprobs\":[]}");
}

static void put_item(const Choice *c, const Buf *text, Buf *out) {
        buf_printf(out, "{\"id\":\"msg_%s\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
                   c->answer->id + ID_PREFIX, status_of(c, text));
        if (text)
                put_part(text, out);
        buf_puts(out, "]}");
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

/* `error`: why it failed, else NULL. */
static void put_response(const Choice *c, const char *error, const Buf *text, Buf *out) {
        const Answer *a = c->answer;
        const char *status = error ? "failed" : status_of(c, text);
        buf_printf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%" PRId64 ",\"status\":\"%s\",\"model\":", a->id, a->created, status);
        json_put_string(out, a->model_name, strlen(a->model_name));
        put_error(error, out);
        buf_puts(out, ",\"incomplete_details\":");
        buf_puts(out, strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}" : "null");
        buf_puts(out, ",\"previous_response_id\":null,\"store\":false,\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],"
                      "\"output\":[");
        if (text)
                put_item(c, text, out);
        buf_puts(out, "],\"usage\":");
        if (text)
                put_usage(c, out);
        else
                buf_puts(out, "null");
        buf_putc(out, '}');
}

static void begin_event(Answer *a, const char *type, Buf *out) {
        sse_event(out, type);
        buf_puts(out, ",\"sequence_number\":");
        buf_putu(out, a->n_events++);
}

static void put_response_event(Choice *c, const char *type, const char *error, const Buf *text, Buf *out) {
        begin_event(c->answer, type, out);
        buf_puts(out, ",\"response\":");
        put_response(c, error, text, out);
        buf_puts(out, "}\n\n");
}

static void put_item_event(Choice *c, const char *type, const Buf *text, Buf *out) {
        begin_event(c->answer, type, out);
        buf_puts(out, ",\"output_index\":0,\"item\":");
        put_item(c, text, out);
        buf_puts(out, "}\n\n");
}

/* Of the message's part; what it says of it follows. */
static void begin_part_event(Choice *c, const char *type, Buf *out) {
        begin_event(c->answer, type, out);
        buf_puts(out, ",\"item_id\":\"msg_");
        buf_puts(out, c->answer->id + ID_PREFIX);
        buf_puts(out, "\",\"output_index\":0,\"content_index\":0,");
}

static void put_part_event(Choice *c, const char *type, const Buf *text, Buf *out) {
        begin_part_event(c, type, out);
        buf_puts(out, "\"part\":");
        put_part(text, out);
        buf_puts(out, "}\n\n");
}

static void put_text_event(Choice *c, const char *type, const char *key, const Buf *text, Buf *out) {
        begin_part_event(c, type, out);
        buf_puts(out, key);
        json_put_string(out, text->data, text->len);
        buf_puts(out, ",\"logprobs\":[]}\n\n");
}

static void begin(Choice *c, Buf *out) {
        put_response_event(c, "response.created", NULL, NULL, out);
        put_response_event(c, "response.in_progress", NULL, NULL, out);
        put_item_event(c, "response.output_item.added", NULL, out);
        put_part_event(c, "response.content_part.added", NULL, out);
}

static void end(Choice *c, Buf *out) {
        const Buf *text = &c->again;
        put_text_event(c, "response.output_text.done", "\"text\":", text, out);
        put_part_event(c, "response.content_part.done", text, out);
        put_item_event(c, "response.output_item.done", text, out);
        put_response_event(c, c->finish == IPC_FINISH_LENGTH ? "response.incomplete" : "response.completed", NULL, text, out);
}

/* The text is said as it comes, and again as a whole at the end. */
static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        const Buf *text = &c->split.content;
        if (!c->first_sent)
                begin(c, out);
        c->first_sent = true;
        if (text->len > 0) {
                put_text_event(c, "response.output_text.delta", "\"delta\":", text, out);
                buf_put(&c->again, text->data, text->len);
        }
        if (p->finish != IPC_FINISH_NONE)
                end(c, out);
}

static void stream_end(Answer *a _unused_, Buf *out _unused_) {
        /* the last piece said it all */
}

static void stream_error(Answer *a, unsigned status _unused_, const char *code _unused_, const char *text, Buf *out) {
        put_response_event(&a->choices[0], "response.failed", text, NULL, out);
}

static void result(Answer *a, Buf *out) {
        put_response(&a->choices[0], NULL, &a->choices[0].split.content, out);
        buf_putc(out, '\n');
}

static const Dialect dialect = {"text/event-stream", piece, stream_end, result, stream_error, NULL};

/* ---- reading ---- */

/* A text is the user's only message. */
static void check_input(Args *a) {
        json_t *input = arg_get(a, "input"), *item;
        size_t i;
        if (json_is_string(input))
                json_object_set_new(a->object, "input", json_pack("[{s:s,s:O}]", "role", "user", "content", input));
        json_array_foreach(input, i, item) {
                const char *type = json_string_value(json_object_get(item, "type"));
                if (type && strcmp(type, "message") != 0)
                        arg_fail(a, "input", "element %zu is of type '%.32s'; only messages are supported", i, type);
        }
}

/* How much the model is to think; of its thoughts only the answer is handed out. */
static void read_reasoning(Args *a, json_t *variables) {
        Args r = {.object = arg_get(a, "reasoning"), .prefix = "reasoning.", .error = a->error};
        const char *effort = arg_string(&r, "effort", NULL);
        arg_unsupported(&r, "summary", "thoughts are not handed out here; /v1/chat/completions does it");
        if (effort)
                thinking_set(variables, strcmp(effort, "none") != 0, strcmp(effort, "none") != 0 ? effort : NULL);
}

static void *context(Args *a) {
        json_t *variables = json_object(), *messages;
        check_input(a);
        read_reasoning(a, variables);
        messages = arg_failed(a) ? NULL : arg_messages(a, "input");
        if (messages)
                arg_system(a, "instructions", messages);
        return arg_context(a, variables, messages);
}

static void read_unsupported(Args *a) {
        Args text = {.object = arg_get(a, "text"), .prefix = "text.", .error = a->error};
        const json_t *format = arg_get(&text, "format");
        const char *type = json_string_value(json_object_get(format, "type"));
        if (format && (!type || strcmp(type, "text") != 0))
                arg_fail(&text, "format", "only the type text is supported here");
        arg_unsupported(a, "previous_response_id", "responses are not kept; send the whole conversation as input");
        arg_unsupported(a, "conversation", "conversations are not kept; send the whole conversation as input");
        arg_unsupported(a, "store", "responses are not kept; send store: false, or leave it out");
        arg_unsupported(a, "background", "responses are not kept, so that none could be fetched later");
        arg_unsupported(a, "prompt", "there are no stored prompts; send input and instructions");
        arg_unsupported(a, "tools", "tool calls are not supported here; /v1/chat/completions or /api/chat may do it");
        arg_unsupported(a, "include", "there is nothing more to be included");
        arg_unsupported(a, "top_logprobs", "logprobs are not supported here");
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
        ModelEntry *m = arg_model(&a, api->d);
        if (!m)
                return;
        spec_read(&s, &a, sampling);
        openai_read_service(&s, &a);
        read_truncation(&s, &a);
        read_unsupported(&a);
        bool stream = arg_bool(&a, "stream", false);
        _cleanup_free_ char *text = arg_failed(&a) ? NULL : api_context(api, &a, context);
        Answer *answer = text ? answer_new(api, m, &dialect, 1) : NULL;
        if (!answer)
                return;
        answer_make_id(answer, "resp_");
        answer->stream = stream;
        s.job.kind = IPC_PROMPT_CHAT;
        s.job.prompt = ipc_str(text);
        answer_post(answer, &s, 0, 1);
}

const Route responses_routes[] = {
        {"POST", "/v1/responses", responses, NULL, context},
        {0},
};
