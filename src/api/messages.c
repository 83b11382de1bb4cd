/* Anthropic's dialect: /v1/messages and /v1/messages/count_tokens. Nothing is kept between requests. Streams are server-sent
 * events with names, from message_start to message_stop; an answer is one block of text,
 * without thoughts. */
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
        const char *reason = c->finish == IPC_FINISH_LENGTH ? "max_tokens" : c->stopped_by.len > 0 ? "stop_sequence" : "end_turn";
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
        sse_event(out, "content_block_start");
        buf_puts(out, ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
}

static void end_message(const Choice *c, Buf *out) {
        sse_event(out, "content_block_stop");
        buf_puts(out, ",\"index\":0}\n\n");
        sse_event(out, "message_delta");
        buf_puts(out, ",\"delta\":{");
        put_stop(c, out);
        buf_putc(out, '}');
        put_usage(c, out);
        buf_puts(out, "}\n\n");
        sse_event(out, "message_stop");
        buf_puts(out, "}\n\n");
}

static void piece(Choice *c, const IpcPiece *p, Buf *out) {
        if (!c->first_sent)
                begin_message(c, out);
        c->first_sent = true;
        if (c->split.content.len > 0) {
                sse_event(out, "content_block_delta");
                buf_puts(out, ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":");
                json_put_string(out, c->split.content.data, c->split.content.len);
                buf_puts(out, "}}\n\n");
        }
        if (p->finish != IPC_FINISH_NONE)
                end_message(c, out);
}

static void stream_end(Answer *a _unused_, Buf *out _unused_) {
        /* the last piece said it all */
}

static void stream_error(Answer *a, unsigned status, const char *code, const char *text, Buf *out) {
        buf_puts(out, "event: error\ndata: ");
        api_error_body(a->r, status, code, NULL, text, out);
        buf_puts(out, "\n\n");
}

static void result(Answer *a, Buf *out) {
        const Choice *c = &a->choices[0];
        put_head(a, out);
        buf_puts(out, ",\"content\":[{\"type\":\"text\",\"text\":");
        json_put_string(out, c->split.content.data, c->split.content.len);
        buf_puts(out, "}],");
        put_stop(c, out);
        put_usage(c, out);
        buf_puts(out, "}\n");
}

static const Dialect dialect = {"text/event-stream", piece, stream_end, result, stream_error, NULL};

static void put_nothing(Choice *c _unused_, const IpcPiece *p _unused_, Buf *out _unused_) {
        /* only their number is wanted */
}

static void put_count(Answer *a, Buf *out) {
        buf_printf(out, "{\"input_tokens\":%u}\n", a->choices[0].prompt_tokens);
}

static const Dialect count_dialect = {.stream_type = "application/json", .piece = put_nothing, .stream_end = put_count};

/* ---- reading ---- */

/* Who asks for no thinking gets none, from templates that ask. */
static void *context(Args *a) {
        json_t *messages = arg_messages(a, "messages");
        const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
        if (messages && strcmp(json_string_value(json_object_get(last, "role")), "assistant") == 0)
                arg_fail(a, "messages", "the last is the assistant's; to go on from there is not supported, end with the user's");
        if (messages)
                arg_system(a, "system", messages);
        json_t *variables = json_object();
        thinking_set(variables, false, NULL);
        return arg_context(a, variables, messages);
}

static void read_unsupported(Args *a) {
        const json_t *thinking = arg_get(a, "thinking");
        const char *type = json_string_value(json_object_get(thinking, "type"));
        if (thinking && (!type || strcmp(type, "disabled") != 0))
                arg_fail(a, "thinking", "is not supported here; leave it out, or send the type disabled");
        arg_unsupported(a, "tools", "tool calls are not supported here; /v1/chat/completions or /api/chat may do it");
        arg_unsupported(a, "output_format", "structured output is not supported here");
        arg_unsupported(a, "output_config", "structured output and effort are not supported here");
        arg_unsupported(a, "mcp_servers", "no servers are asked here");
        arg_unsupported(a, "container", "there are no containers here");
}

/* The model, and the prompt in `s`; NULL: a mistake was found. */
static ModelEntry *read_prompt(Api *api, Args *a, Spec *s, char **ret_context) {
        ModelEntry *m = arg_model(a, api->d);
        if (!m)
                return NULL;
        read_unsupported(a);
        spec_read_service(s, a);
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
        spec_read(&s, &a, sampling);
        spec_read_stop(&s, &a, "stop_sequences");
        bool stream = arg_bool(&a, "stream", false);
        ModelEntry *m = read_prompt(api, &a, &s, &text);
        if (m && s.job.max_tokens < 0)
                arg_fail(&a, "max_tokens", "is missing");
        Answer *answer = m && !arg_failed(&a) ? answer_new(api, m, &dialect, 1) : NULL;
        if (!answer)
                return;
        answer_make_id(answer, "msg_");
        answer->stream = stream;
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
