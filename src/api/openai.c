/* OpenAI's dialect: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models. Shapes and field names as in OpenAI's API
 * description; streams are server-sent events that end with "data: [DONE]". */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"
#include "util/str.h"

enum { CHOICES_MAX = 32, PROMPTS_MAX = 256, PENALTY_MAX = 2 };

static const SampleArg sampling[] = {
        {"temperature", ARG_FLOAT, offsetof(IpcJob, temperature), 0, 100, IPC_SAID_TEMPERATURE},
        {"top_p", ARG_FLOAT, offsetof(IpcJob, top_p), 0, 1, IPC_SAID_TOP_P},
        {"top_k", ARG_INT, offsetof(IpcJob, top_k), 0, INT32_MAX, IPC_SAID_TOP_K},
        {"min_p", ARG_FLOAT, offsetof(IpcJob, min_p), 0, 1, IPC_SAID_MIN_P},
        {"repeat_penalty", ARG_FLOAT, offsetof(IpcJob, repeat_penalty), 0.01, 100, IPC_SAID_REPEAT_PENALTY},
        {"repetition_penalty", ARG_FLOAT, offsetof(IpcJob, repeat_penalty), 0.01, 100, IPC_SAID_REPEAT_PENALTY}, /* vLLM's name for it */
        {"presence_penalty", ARG_FLOAT, offsetof(IpcJob, presence_penalty), -PENALTY_MAX, PENALTY_MAX},
        {"frequency_penalty", ARG_FLOAT, offsetof(IpcJob, frequency_penalty), -PENALTY_MAX, PENALTY_MAX},
        {"max_tokens", ARG_INT, offsetof(IpcJob, max_tokens), 1, INT32_MAX},
        {"max_completion_tokens", ARG_INT, offsetof(IpcJob, max_tokens), 1, INT32_MAX},
        {0},
};

/* ---- writing ---- */

static void put_head(const Answer *a, const char *object, Buf *out) {
        buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", a->id, object, a->created);
        json_put_string(out, a->model_name, strlen(a->model_name));
        buf_puts(out, ",\"system_fingerprint\":\"zerollama\"");
}

static void put_usage(const Answer *a, Buf *out) {
        uint64_t prompt = 0, completion = 0, cached = 0;
        for (uint32_t i = 0; i < a->n_choices; i++) {
                prompt += a->choices[i].prompt_tokens;
                completion += a->choices[i].completion_tokens;
                cached += a->choices[i].cached_tokens;
        }
        buf_printf(out,
                   ",\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64
                   ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRIu64 "}}",
                   prompt, completion, prompt + completion, cached);
}

static void put_finish(const Choice *c, IpcFinish f, Buf *out) {
        bool calls = f == IPC_FINISH_STOP && c->split.n_calls > 0;
        if (f == IPC_FINISH_NONE)
                buf_puts(out, ",\"finish_reason\":null");
        else
                buf_printf(out, ",\"finish_reason\":\"%s\"", calls ? "tool_calls" : finish_name(f));
}

/* Of a stream with the calls' numbers, by which a client puts together what comes in parts. */
static void put_calls(const Choice *c, Buf *out) {
        const SplitCall *calls;
        size_t n = split_calls(&c->split, &calls), first = c->split.n_calls - n;
        const char *text = c->split.call_text.data;
        buf_puts(out, "\"tool_calls\":[");
        for (size_t i = 0; i < n; i++) {
                buf_puts(out, i ? ",{" : "{");
                if (c->answer->stream)
                        buf_printf(out, "\"index\":%zu,", first + i);
                buf_puts(out, "\"id\":\"");
                tools_put_id(c, first + i, out);
                buf_puts(out, "\",\"type\":\"function\",\"function\":{\"name\":");
                json_put_string(out, text + calls[i].name, calls[i].name_len);
                buf_puts(out, ",\"arguments\":");
                json_put_string(out, text + calls[i].arguments, calls[i].arguments_len);
                buf_puts(out, "}}");
        }
        buf_putc(out, ']');
}

/* One token of logprobs: its text (bytes that are no UTF-8 shown as U+FFFD), its bytes, its logprob. */
static void put_token(const IpcStr *text, float logprob, Buf *out) {
        buf_puts(out, "{\"token\":");
        json_put_string(out, text->data, text->len);
        buf_printf(out, ",\"logprob\":%.9g,\"bytes\":[", (double)MAX(logprob, -9999.0f));
        for (uint32_t i = 0; i < text->len; i++)
                buf_printf(out, i ? ",%u" : "%u", (unsigned char)text->data[i]);
        buf_puts(out, "]");
}

static void put_chat_logprobs(const IpcPiece *p, Buf *out) {
        uint32_t per = p->ids.n ? p->logprobs.n / p->ids.n : 0, pos = 0, offset = 0;
        IpcStr text = {0};
        for (uint32_t i = 0; per > 0 && i < p->ids.n; i++) {
                buf_puts(out, i ? "," : "");
                ipc_strs_next(&p->top_text, &pos, &offset, &text);
                put_token(&text, p->logprobs.data[i * per], out);
                buf_puts(out, ",\"top_logprobs\":[");
                for (uint32_t k = 1; k < per; k++) {
                        buf_puts(out, k > 1 ? "," : "");
                        ipc_strs_next(&p->top_text, &pos, &offset, &text);
                        put_token(&text, p->logprobs.data[i * per + k], out);
                        buf_putc(out, '}');
                }
                buf_puts(out, "]}");
        }
}

/* Completions' older form: four parallel lists, each growing as the inside of a JSON list. */
enum { LIST_TOKENS, LIST_LOGPROBS, LIST_TOP, LIST_OFFSETS };

static void text_logprobs_read(const IpcPiece *p, size_t at, Buf lists[LOGPROB_LISTS]) {
        uint32_t per = p->ids.n ? p->logprobs.n / p->ids.n : 0, pos = 0, offset = 0;
        IpcStr text = {0};
        for (uint32_t i = 0; per > 0 && i < p->ids.n; i++) {
                const char *comma = lists[LIST_TOKENS].len > 0 ? "," : "";
                ipc_strs_next(&p->top_text, &pos, &offset, &text);
                buf_printf(&lists[LIST_LOGPROBS], "%s%.9g", comma, (double)MAX(p->logprobs.data[i * per], -9999.0f));
                buf_printf(&lists[LIST_OFFSETS], "%s%zu", comma, at);
                buf_printf(&lists[LIST_TOP], "%s{", comma);
                buf_puts(&lists[LIST_TOKENS], comma);
                json_put_string(&lists[LIST_TOKENS], text.data, text.len);
                at += text.len;
                for (uint32_t k = 1; k < per; k++) {
                        buf_puts(&lists[LIST_TOP], k > 1 ? "," : "");
                        ipc_strs_next(&p->top_text, &pos, &offset, &text);
                        json_put_string(&lists[LIST_TOP], text.data, text.len);
                        buf_printf(&lists[LIST_TOP], ":%.9g", (double)MAX(p->logprobs.data[i * per + k], -9999.0f));
                }
                buf_putc(&lists[LIST_TOP], '}');
        }
}

static void put_text_logprobs(const Buf lists[LOGPROB_LISTS], Buf *out) {
        static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
        for (size_t i = 0; i < LOGPROB_LISTS; i++)
                buf_printf(out, "%c\"%s\":[%s]", i ? ',' : '{', names[i], lists[i].len ? lists[i].data : "");
        buf_putc(out, '}');
}

static void chat_logprobs(Choice *c, const IpcPiece *p) {
        if (c->logprobs[0].len > 0)
                buf_putc(&c->logprobs[0], ',');
        put_chat_logprobs(p, &c->logprobs[0]);
}

static void completion_logprobs(Choice *c, const IpcPiece *p) {
        text_logprobs_read(p, c->text_len, c->logprobs);
}

static void chunk_begin(const Choice *c, Buf *out) {
        buf_puts(out, "data: ");
        put_head(c->answer, c->answer->chat ? "chat.completion.chunk" : "text_completion", out);
        buf_printf(out, ",\"choices\":[{\"index\":%u", c->index);
}

static void chunk_end(const Choice *c, IpcFinish f, Buf *out) {
        put_finish(c, f, out);
        buf_puts(out, c->answer->include_usage ? "}],\"usage\":null}\n\n" : "}]}\n\n");
}

/* Whatever of the three there is. */
static void put_delta(const Choice *c, Buf *out) {
        const Split *s = &c->split;
        if (s->thinking.len > 0) {
                buf_puts(out, "\"reasoning_content\":");
                json_put_string(out, s->thinking.data, s->thinking.len);
        }
        if (s->content.len > 0) {
                buf_puts(out, s->thinking.len > 0 ? ",\"content\":" : "\"content\":");
                json_put_string(out, s->content.data, s->content.len);
        }
        if (s->calls.len > 0) {
                buf_puts(out, s->thinking.len > 0 || s->content.len > 0 ? "," : "");
                put_calls(c, out);
        }
}

static void put_logprobs(const IpcPiece *p, Buf *out) {
        buf_puts(out, ",\"logprobs\":");
        if (p->logprobs.n > 0) {
                buf_puts(out, "{\"content\":[");
                put_chat_logprobs(p, out);
                buf_puts(out, "]}");
        } else
                buf_puts(out, "null");
}

static void chat_chunk(const Choice *c, const char *role, const IpcPiece *p, IpcFinish f, Buf *out) {
        chunk_begin(c, out);
        buf_puts(out, ",\"delta\":{");
        if (role)
                buf_printf(out, "\"role\":\"%s\",\"content\":\"\"", role);
        else if (f == IPC_FINISH_NONE)
                put_delta(c, out);
        buf_putc(out, '}');
        put_logprobs(p, out);
        chunk_end(c, f, out);
}

static void chat_piece(Choice *c, const IpcPiece *p, Buf *out) {
        static const IpcPiece none;
        const Split *s = &c->split;
        if (!c->first_sent)
                chat_chunk(c, "assistant", &none, IPC_FINISH_NONE, out);
        c->first_sent = true;
        if (split_has_news(s) || p->logprobs.n > 0)
                chat_chunk(c, NULL, p, IPC_FINISH_NONE, out);
        if (p->finish != IPC_FINISH_NONE)
                chat_chunk(c, NULL, &none, (IpcFinish)p->finish, out);
}

static void completion_chunk(const Choice *c, const char *text, size_t len, const IpcPiece *p, Buf *out) {
        chunk_begin(c, out);
        buf_puts(out, ",\"text\":");
        json_put_string(out, text, len);
        buf_puts(out, ",\"logprobs\":");
        if (p->logprobs.n > 0) {
                Buf lists[LOGPROB_LISTS] = {0};
                text_logprobs_read(p, c->text_len, lists);
                put_text_logprobs(lists, out);
                for (size_t i = 0; i < LOGPROB_LISTS; i++) {
                        out->failed |= lists[i].failed;
                        buf_deinit(&lists[i]);
                }
        } else
                buf_puts(out, "null");
        chunk_end(c, (IpcFinish)p->finish, out);
}

static void completion_piece(Choice *c, const IpcPiece *p, Buf *out) {
        if (!c->first_sent && c->echo.len > 0)
                completion_chunk(c, c->echo.data, c->echo.len, &(IpcPiece){0}, out);
        c->first_sent = true;
        if (c->split.content.len > 0 || p->logprobs.n > 0 || p->finish != IPC_FINISH_NONE)
                completion_chunk(c, c->split.content.data, c->split.content.len, p, out);
}

static void sse_end(Answer *a, Buf *out) {
        if (a->include_usage) {
                buf_puts(out, "data: ");
                put_head(a, a->chat ? "chat.completion.chunk" : "text_completion", out);
                buf_puts(out, ",\"choices\":[]");
                put_usage(a, out);
                buf_puts(out, "}\n\n");
        }
        buf_puts(out, "data: [DONE]\n\n");
}

static void sse_error(Answer *a, unsigned status, const char *code, const char *text, Buf *out) {
        buf_puts(out, "data: ");
        api_error_body(a->r, status, code, NULL, text, out);
        buf_puts(out, "\n\ndata: [DONE]\n\n");
}

static void chat_choice(const Choice *c, Buf *out) {
        const Split *s = &c->split;
        buf_puts(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
        if (s->content.len > 0 || s->n_calls == 0)
                json_put_string(out, s->content.data, s->content.len);
        else
                buf_puts(out, "null");
        if (s->thinking.len > 0) {
                buf_puts(out, ",\"reasoning_content\":");
                json_put_string(out, s->thinking.data, s->thinking.len);
        }
        if (s->n_calls > 0) {
                buf_putc(out, ',');
                put_calls(c, out);
        }
        buf_puts(out, ",\"refusal\":null},\"logprobs\":");
        if (c->answer->want_logprobs)
                buf_printf(out, "{\"content\":[%s]}", c->logprobs[0].len ? c->logprobs[0].data : "");
        else
                buf_puts(out, "null");
}

static void completion_choice(const Choice *c, Buf *out) {
        _cleanup_buf_ Buf text = BUF_NULL;
        buf_put(&text, c->echo.data, c->echo.len);
        buf_put(&text, c->split.content.data, c->split.content.len);
        buf_puts(out, ",\"text\":");
        json_put_string(out, text.data, text.len);
        out->failed |= text.failed;
        buf_puts(out, ",\"logprobs\":");
        if (c->answer->want_logprobs)
                put_text_logprobs(c->logprobs, out);
        else
                buf_puts(out, "null");
}

static void result(Answer *a, Buf *out) {
        put_head(a, a->chat ? "chat.completion" : "text_completion", out);
        buf_puts(out, ",\"choices\":[");
        for (uint32_t i = 0; i < a->n_choices; i++) {
                const Choice *c = &a->choices[i];
                buf_printf(out, "%s{\"index\":%u", i ? "," : "", i);
                (a->chat ? chat_choice : completion_choice)(c, out);
                put_finish(c, c->finish, out);
                buf_putc(out, '}');
        }
        buf_putc(out, ']');
        put_usage(a, out);
        buf_puts(out, "}\n");
}

static const Dialect chat_dialect = {"text/event-stream", chat_piece, sse_end, result, sse_error, chat_logprobs};
static const Dialect completion_dialect = {"text/event-stream", completion_piece, sse_end, result, sse_error, completion_logprobs};

/* ---- reading ---- */

/* OpenAI's word for work that can wait is the tier "flex"; it knows other tiers, none of which is less than ours. */
void openai_read_service(Spec *s, Args *a) {
        spec_read_service(s, a);
        const char *tier = arg_string(a, "service_tier", "auto");
        if (strcmp(tier, "flex") == 0 && !arg_get(a, "priority"))
                s->job.priority = 1;
}

static void read_common(Spec *s, Args *a) {
        spec_read(s, a, sampling);
        spec_read_seed(s, a);
        spec_read_stop(s, a, "stop");
        spec_read_bias(s, a);
        s->job.ignore_eos = arg_bool(a, "ignore_eos", false);
        openai_read_service(s, a);
}

/* The answer to a request that was read without a mistake; NULL after an error was sent. */
static Answer *start_answer(Api *api, Args *a, const Spec *s, ModelEntry *m, bool chat, uint32_t n) {
        bool stream = arg_bool(a, "stream", false);
        const json_t *options = arg_get(a, "stream_options");
        Answer *answer = arg_failed(a) ? NULL : answer_new(api, m, chat ? &chat_dialect : &completion_dialect, n);
        if (!answer)
                return NULL;
        answer_make_id(answer, chat ? "chatcmpl-" : "cmpl-");
        answer->chat = chat;
        answer->stream = stream;
        answer->include_usage = json_is_true(json_object_get(options, "include_usage"));
        answer->want_logprobs = s->job.n_top >= 0;
        return answer;
}

static void read_chat_logprobs(Spec *s, Args *a) {
        int64_t top = arg_int(a, "top_logprobs", 0, 20, 0);
        if (arg_bool(a, "logprobs", false))
                s->job.n_top = (int32_t)top;
        else if (top > 0)
                arg_fail(a, "top_logprobs", "needs logprobs to be true");
}

static void read_unsupported(Args *a) {
        arg_unsupported(a, "functions", "is the form before tools; send the functions as tools");
        arg_unsupported(a, "modalities", "only text is supported; leave modalities out");
        arg_unsupported(a, "audio", "only text is supported");
        arg_unsupported(a, "suffix", "is for /v1/completions");
}

/* With "none" the model does not hear of its tools. */
void openai_read_tools(Args *a, json_t *variables) {
        const char *word = json_string_value(arg_get(a, "tool_choice"));
        if (!word || strcmp(word, "none") != 0)
                tools_read(a, "tools", variables);
}

void openai_read_choice(Spec *s, Args *a, const char *name) {
        const json_t *choice = arg_get(a, "tool_choice");
        const char *word = json_string_value(choice);
        bool required = name || (word && strcmp(word, "required") == 0);
        if (choice && !required && (!word || (strcmp(word, "auto") != 0 && strcmp(word, "none") != 0)))
                arg_fail(a, "tool_choice", "must be auto, none, required, or an object that names a function");
        else if (required)
                tools_require(s, a, "tools", "tool_choice", name);
}

/* The template's variables, as JSON text. */
void *openai_chat_context(Args *a) {
        json_t *messages = arg_messages(a, "messages"), *kwargs = arg_get(a, "chat_template_kwargs");
        if (kwargs && !json_is_object(kwargs))
                arg_fail(a, "chat_template_kwargs", "must be an object");
        json_t *variables = json_is_object(kwargs) ? json_copy(kwargs) : json_object();
        openai_read_tools(a, variables);
        thinking_set_effort(variables, arg_string(a, "reasoning_effort", NULL));
        return arg_context(a, variables, messages);
}

static void chat_completions(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = spec_read_model(&s, &a, api->d);
        if (!m)
                return;
        read_common(&s, &a);
        read_chat_logprobs(&s, &a);
        spec_read_constraints(&s, &a);
        openai_read_choice(&s, &a, json_string_value(json_object_get(json_object_get(arg_get(&a, "tool_choice"), "function"), "name")));
        read_unsupported(&a);
        bool parallel = arg_bool(&a, "parallel_tool_calls", true);
        uint32_t n = (uint32_t)arg_int(&a, "n", 1, CHOICES_MAX, 1);
        _cleanup_free_ char *context = arg_failed(&a) ? NULL : api_context(api, &a, openai_chat_context);
        Answer *answer = context ? start_answer(api, &a, &s, m, true, n) : NULL;
        if (!answer)
                return;
        answer->most_calls = parallel ? 0 : 1;
        s.job.kind = IPC_PROMPT_CHAT;
        s.job.prompt = ipc_str(context);
        answer_post(answer, &s, 0, n);
}

/* ---- completions: one prompt or many, text or token ids ---- */

static void *completion_prompts(Args *a) {
        InputList *l = arg_inputs(a, "prompt", false);
        if (l && l->n > PROMPTS_MAX)
                arg_fail(a, "prompt", "has too many prompts; at most %d are possible", PROMPTS_MAX);
        return l;
}

/* An empty list is one prompt without tokens. */
static uint32_t n_prompts(const InputList *l) {
        return MAX(l->n, 1u);
}

static void post_prompts(Answer *answer, Spec *s, const InputList *l, uint32_t n, bool echo) {
        const char *at = input_contents(l);
        s->job.kind = l->is_ids ? IPC_PROMPT_IDS : IPC_PROMPT_TEXT;
        for (uint32_t i = 0; i < n_prompts(l); i++) {
                uint32_t count = l->n > 0 ? (uint32_t)l->counts[i] : 0;
                if (l->is_ids)
                        s->job.prompt_ids = (IpcInts){(const int32_t *)(const void *)at, count};
                else
                        s->job.prompt = (IpcStr){at, count};
                for (uint32_t k = 0; echo && k < n; k++)
                        answer->choices[i * n + k].echo = s->job.prompt;
                at += l->is_ids ? count * sizeof(int32_t) : count;
                if (!answer_post(answer, s, i * n, n))
                        return;
        }
}

static void completions(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        s.job.max_tokens = 16; /* OpenAI's default here */
        ModelEntry *m = spec_read_model(&s, &a, api->d);
        if (!m)
                return;
        read_common(&s, &a);
        spec_read_constraints(&s, &a);
        s.job.n_top = (int32_t)arg_int(&a, "logprobs", 0, 20, -1);
        uint32_t n = (uint32_t)arg_int(&a, "n", 1, CHOICES_MAX, 1);
        bool echo = arg_bool(&a, "echo", false);
        s.job.suffix = arg_bytes(&a, "suffix");
        if (arg_int(&a, "best_of", 1, CHOICES_MAX, n) != n)
                arg_fail(&a, "best_of", "is not supported other than equal to n");
        if (echo && s.job.n_top >= 0)
                arg_fail(&a, "echo", "cannot be combined with logprobs");
        _cleanup_free_ InputList *prompts = arg_failed(&a) ? NULL : api_context(api, &a, completion_prompts);
        if (echo && prompts && prompts->is_ids)
                arg_fail(&a, "echo", "needs the prompt as text, not as token ids");
        if (s.job.suffix.len > 0 && prompts && prompts->is_ids)
                arg_fail(&a, "suffix", "needs the prompt as text, not as token ids");
        Answer *answer = prompts ? start_answer(api, &a, &s, m, false, n_prompts(prompts) * n) : NULL;
        if (!answer)
                return;
        const InputList *list = prompts;
        if (!echo || answer_keep(answer, TAKE(prompts), input_size(list)))
                post_prompts(answer, &s, list, n, echo);
}

/* ---- embeddings ---- */

static void embeddings_begin(const Vectors *v _unused_, Buf *out) {
        buf_puts(out, "{\"object\":\"list\",\"data\":[");
}

static void embeddings_item(const Vectors *v, uint32_t i, Buf *out) {
        const float *values = v->values + (size_t)i * v->width;
        buf_puts(out, "{\"object\":\"embedding\",\"index\":");
        buf_putu(out, i);
        buf_puts(out, ",\"embedding\":");
        if (v->options.base64) /* of little-endian floats, as they are in memory */
                json_put_base64(out, values, v->width * sizeof(*values));
        else
                json_put_floats(out, values, v->width);
        buf_putc(out, '}');
}

static void embeddings_end(const Vectors *v, Buf *out) {
        buf_puts(out, "],\"model\":");
        json_put_string(out, v->model_name, strlen(v->model_name));
        buf_printf(out, ",\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64 "}}\n", v->tokens, v->tokens);
}

static const VectorDialect embeddings_dialect = {embeddings_begin, embeddings_item, embeddings_end};

static void *embeddings_inputs(Args *a) {
        InputList *l = arg_inputs(a, "input", false);
        if (l && l->n == 0)
                arg_fail(a, "input", "is empty");
        return l;
}

static bool read_encoding(Args *a) {
        const char *format = arg_string(a, "encoding_format", "float");
        if (strcmp(format, "float") != 0 && strcmp(format, "base64") != 0)
                arg_fail(a, "encoding_format", "must be float or base64, not '%.32s'", format);
        return strcmp(format, "base64") == 0;
}

static void embeddings(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = arg_model(&a, api->d);
        if (!m)
                return;
        s.job.kind = IPC_PROMPT_EMBED;
        s.job.truncate = arg_bool(&a, "truncate", false);
        s.job.dimensions = (uint32_t)arg_int(&a, "dimensions", 1, INT32_MAX, 0);
        VectorOptions options = {.base64 = read_encoding(&a)};
        openai_read_service(&s, &a);
        _cleanup_free_ InputList *inputs = arg_failed(&a) ? NULL : api_context(api, &a, embeddings_inputs);
        if (inputs && !arg_failed(&a))
                vectors_post(api, &s, m, inputs, &embeddings_dialect, options);
}

/* ---- models ---- */

/* `v`: the variant it is of `m`, or NULL. */
static json_t *model_object(const ModelEntry *m, const Variant *v) {
        json_t *o = json_pack("{s:s,s:s,s:I,s:s}", "id", v ? v->name : m->name, "object", "model", "created",
                              (json_int_t)(v ? v->modified : m->modified), "owned_by", "zerollama");
        json_t *capabilities = model_capabilities(m);
        if (capabilities)
                json_object_set_new(o, "capabilities", capabilities);
        return o;
}

static void models(Api *a) {
        json_t *list = json_array();
        list_foreach(m, &a->d->registry.models, ModelEntry, node)
                if (!m->missing && !m->hidden)
                        json_array_append_new(list, model_object(m, NULL));
        list_foreach(v, &a->d->registry.variants, Variant, node) {
                const ModelEntry *m = model_of_variant(a->d, v);
                if (m)
                        json_array_append_new(list, model_object(m, v));
        }
        api_reply(a->r, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

static void model(Api *a) {
        const ModelEntry *m = registry_find(&a->d->registry, a->rest, strlen(a->rest));
        if (m)
                api_reply(a->r, 200, model_object(m, registry_find_variant(&a->d->registry, a->rest, strlen(a->rest))));
        else
                api_error(a->r, 404, "model_not_found", "model", "there is no model '%.200s'", a->rest);
}

const Route openai_routes[] = {
        {"POST", "/v1/chat/completions", chat_completions, NULL, openai_chat_context},
        {"POST", "/v1/completions", completions, NULL, completion_prompts},
        {"POST", "/v1/embeddings", embeddings, NULL, embeddings_inputs},
        {"GET", "/v1/models", models, .fresh = true},
        {"GET", "/v1/models/*", model, .fresh = true},
        {0},
};
