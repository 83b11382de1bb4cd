/* The tokens of a text and back: /tokenize and /detokenize, in the shapes of llama-server and of vLLM at once, whose fields
 * have different names. The answer is written as it comes, so that a long text's takes no memory; its job computes nothing. */
#include <string.h>

#include "api/api-private.h"
#include "util/str.h"

/* ---- writing ---- */

static void put_piece(const IpcStr *piece, Buf *out) {
        bool bad;
        if (utf8_valid_prefix(piece->data, piece->len, &bad) == piece->len) {
                json_put_string(out, piece->data, piece->len);
                return;
        }
        for (uint32_t i = 0; i < piece->len; i++) { /* part of a character: its bytes */
                buf_putc(out, i ? ',' : '[');
                buf_putu(out, (unsigned char)piece->data[i]);
        }
        buf_putc(out, ']');
}

static void put_tokens(Choice *c, const IpcPiece *p, Buf *out) {
        uint32_t pos = 0, offset = 0;
        IpcStr text;
        for (uint32_t i = 0; i < p->ids.n; i++) {
                bool with_piece = ipc_strs_next(&p->top_text, &pos, &offset, &text);
                buf_puts(out, c->first_sent ? "," : "{\"tokens\":[");
                buf_puts(out, with_piece ? "{\"id\":" : "");
                buf_putu(out, (uint32_t)p->ids.data[i]);
                c->first_sent = true;
                if (!with_piece)
                        continue;
                buf_puts(out, ",\"piece\":");
                put_piece(&text, out);
                buf_putc(out, '}');
        }
}

static void end_tokens(Answer *a, Buf *out) {
        const Choice *c = &a->choices[0];
        buf_puts(out, c->first_sent ? "],\"count\":" : "{\"tokens\":[],\"count\":");
        buf_putu(out, c->prompt_tokens);
        buf_puts(out, ",\"max_model_len\":");
        buf_putu(out, a->model->context);
        buf_puts(out, "}\n");
}

static const Dialect tokens_dialect = {.stream_type = "application/json", .piece = put_tokens, .stream_end = end_tokens};

/* Twice, by the names that it has for the one's clients and the other's. */
static void put_text(Choice *c, const IpcPiece *p, Buf *out) {
        size_t before = c->again.len;
        json_put_text(&c->again, p->text.data, p->text.len);
        buf_puts(out, c->first_sent ? "" : "{\"content\":\"");
        buf_put(out, c->again.data + before, c->again.len - before);
        c->first_sent = true;
}

static void end_text(Answer *a, Buf *out) {
        const Buf *text = &a->choices[0].again;
        buf_puts(out, "\",\"prompt\":\"");
        buf_put(out, text->data, text->len);
        buf_puts(out, "\"}\n");
}

static const Dialect text_dialect = {.stream_type = "application/json", .piece = put_text, .stream_end = end_text};

/* ---- reading ---- */

void tokens_post(Api *api, Spec *s, ModelEntry *m, const Dialect *dialect) {
        s->job.tokens_only = true;
        Answer *answer = answer_new(api, m, dialect, 1);
        if (!answer)
                return;
        answer->stream = answer->unmeasured = true;
        answer_post(answer, s, 0, 1);
}

static void *messages_or_none(Args *a) {
        return arg_get(a, "messages") ? openai_chat_context(a) : NULL;
}

/* vLLM's of the messages, which say how they become a prompt other than /v1/chat/completions would make it. */
static void read_template(Args *a) {
        if (!arg_bool(a, "add_generation_prompt", true))
                arg_fail(a, "add_generation_prompt", "only true is supported: it is what the model is given");
        arg_unsupported(a, "continue_final_message", "is not supported");
        arg_unsupported(a, "chat_template", "the model's own template is used; it cannot be replaced per request");
}

static void tokenize(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = spec_read_model(&s, &a, api->d);
        if (!m)
                return;
        const char *key = arg_get(&a, "prompt") ? "prompt" : "content", *text = arg_string(&a, key, NULL);
        bool is_content = arg_get(&a, "content"), is_chat = arg_get(&a, "messages");
        if (!text + !is_chat != 1 || (is_content && strcmp(key, "content") != 0))
                arg_fail(&a, key, "give one of prompt, content and messages");
        s.job.add_special = arg_bool(&a, "add_special", arg_bool(&a, "add_special_tokens", !is_content));
        s.job.parse_special = arg_bool(&a, "parse_special", true);
        s.job.n_top = arg_bool(&a, "with_pieces", false) ? 0 : -1;
        arg_unsupported(&a, "return_token_strs", "is not supported; with_pieces tells what each token stands for");
        read_template(&a);
        spec_read_service(&s, &a);
        _cleanup_free_ char *context = arg_failed(&a) ? NULL : api_context(api, &a, messages_or_none);
        s.job.kind = is_chat ? IPC_PROMPT_CHAT : IPC_PROMPT_TEXT;
        s.job.prompt = is_chat ? ipc_str(context) : arg_bytes(&a, key);
        if (!arg_failed(&a))
                tokens_post(api, &s, m, &tokens_dialect);
}

static void *token_ids(Args *a) {
        InputList *l = arg_inputs(a, "tokens", false);
        if (l && l->n > 0 && (l->n > 1 || !l->is_ids))
                arg_fail(a, "tokens", "must be a list of token ids");
        return l;
}

static void detokenize(Api *api) {
        Args a = api_args(api);
        _cleanup_(spec_deinit) Spec s;
        spec_init(&s);
        ModelEntry *m = arg_model(&a, api->d);
        if (!m)
                return;
        spec_read_service(&s, &a);
        _cleanup_free_ InputList *ids = arg_failed(&a) ? NULL : api_context(api, &a, token_ids);
        if (!ids || arg_failed(&a))
                return;
        s.job.kind = IPC_PROMPT_IDS;
        s.job.prompt_ids = (IpcInts){input_contents(ids), (uint32_t)ids->size};
        tokens_post(api, &s, m, &text_dialect);
}

const Route tokens_routes[] = {
        {"POST", "/tokenize", tokenize, NULL, messages_or_none},
        {"POST", "/detokenize", detokenize, NULL, token_ids},
        {0},
};
