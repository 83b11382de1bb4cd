/* Preparing a job; see prep.h. Everything of the job is the daemon's client's: checked here before it counts. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/constraint.h"
#include "engine/prep.h"
#include "engine/sampler.h"
#include "engine/stop.h"
#include "text/call-schema.h"
#include "text/fill.h"
#include "text/split.h"

enum { SHORT_BYTES = 512 };

typedef struct Ids {
        int32_t *data;
        size_t n;
        unsigned forms; /* SPLIT_…, of what a chat's answer may have in it */
} Ids;

static IpcFailCode no_memory(Error *e) {
        error_set(e, -ENOMEM, "not enough memory to prepare the prompt");
        return IPC_E_INTERNAL;
}

static IpcFailCode check_ids(const PrepModel *m, const char *what, const IpcInts *ids, Error *e) {
        for (uint32_t i = 0; i < ids->n; i++)
                if (ids->data[i] < 0 || (uint32_t)ids->data[i] >= m->n_vocab) {
                        error_set(e, -EINVAL, "%s %u is %d, but the vocabulary of model %s has %u tokens", what, i,
                                  ids->data[i], m->name, m->n_vocab);
                        return IPC_E_INVALID;
                }
        return 0;
}

/* Puts the token `id` in front; none when the model has none. */
static IpcFailCode prepend(Ids *ids, int32_t id, Error *e) {
        if (id < 0)
                return 0;
        int32_t *p = realloc(ids->data, (ids->n + 1) * sizeof(*p));
        if (!p)
                return no_memory(e);
        memmove(p + 1, p, ids->n * sizeof(*p));
        p[0] = id;
        ids->data = p;
        ids->n++;
        return 0;
}

IpcFailCode prep_encode_failed(const PrepModel *m, int error, Error *e) {
        if (error != -E2BIG)
                return no_memory(e);
        error_set(e, error, "a text is too long for the tokenizer of model %s, or grows out of proportion when it is "
                  "normalised; send less at once", m->name);
        return IPC_E_INVALID;
}

static IpcFailCode encode(const PrepModel *m, const char *text, size_t n, unsigned flags, Ids *ret, Error *e) {
        int r = tokenizer_encode(m->tokenizer, text, n, flags, &ret->data, &ret->n);
        return r < 0 ? prep_encode_failed(m, r, e) : 0;
}

/* Templates of chats differ in whether they write BOS: the model's wish decides, and it comes once. */
static IpcFailCode add_bos(const PrepModel *m, Ids *ids, Error *e) {
        _cleanup_free_ int32_t *added = NULL;
        size_t n = 0;
        int32_t bos = tokenizer_bos(m->tokenizer);
        if (tokenizer_encode(m->tokenizer, "", 0, TOKENIZE_ADD_SPECIAL, &added, &n) < 0)
                return no_memory(e);
        bool wanted = n > 0 && added[0] == bos, there = ids->n > 0 && ids->data[0] == bos;
        return wanted && !there ? prepend(ids, bos, e) : 0;
}

/* Of a text and what follows on it, between which the answer is. */
static IpcFailCode prompt_from_ends(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        if (!fill_is_possible(m->tokenizer)) {
                error_set(e, -EOPNOTSUPP, "suffix: model %s cannot fill in the middle: its vocabulary has no tokens for it", m->name);
                return IPC_E_INVALID;
        }
        int r = fill_encode(m->tokenizer, (TokenText){j->prompt.data, j->prompt.len}, (TokenText){j->suffix.data, j->suffix.len},
                            &ret->data, &ret->n);
        return r < 0 ? prep_encode_failed(m, r, e) : add_bos(m, ret, e);
}

static IpcFailCode prompt_from_text(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        if (j->suffix.len > 0)
                return prompt_from_ends(m, j, ret, e);
        unsigned flags = (j->add_special ? TOKENIZE_ADD_SPECIAL : 0) | (j->parse_special ? TOKENIZE_PARSE_SPECIAL : 0);
        return encode(m, j->prompt.data, j->prompt.len, flags, ret, e);
}

static IpcFailCode prompt_from_ids(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        IpcFailCode code = check_ids(m, "token", &j->prompt_ids, e);
        if (code)
                return code;
        ret->data = malloc(MAX(j->prompt_ids.n, 1u) * sizeof(int32_t));
        if (!ret->data)
                return no_memory(e);
        memcpy(ret->data, j->prompt_ids.data, j->prompt_ids.n * sizeof(int32_t));
        ret->n = j->prompt_ids.n;
        return 0;
}

/* ---- chat ---- */

static bool has_tools(const json_t *context) {
        return json_array_size(json_object_get(context, "tools")) > 0;
}

static const PrepChat *chat_of(const PrepModel *m, bool tools) {
        return tools && m->tool_chat.template ? &m->tool_chat : &m->chat;
}

/* What the text may have in it besides text, or why that is not possible. Without tools nothing is a call. Where an answer is told
 * what to be, it is that from its first character to its last. */
static IpcFailCode choose_forms(const PrepModel *m, const IpcJob *j, const json_t *context, unsigned *ret, Error *e) {
        bool tools = has_tools(context);
        unsigned forms = chat_of(m, tools)->forms;
        if (tools && !(forms & SPLIT_CALLS)) {
                error_set(e, -EINVAL, "model %s does not support tools: %s", m->name,
                          forms & SPLIT_CALL_UNKNOWN ? "it writes calls in a way that is not understood here"
                                                        : "its chat template does not take any");
                return IPC_E_INVALID;
        }
        bool constrained = j->grammar_kind != IPC_GRAMMAR_NONE, calls = j->grammar_kind == IPC_GRAMMAR_CALL;
        if (constrained && ((tools && !calls) || j->must_think)) {
                error_set(e, -EINVAL, "%.*s: cannot be combined with %s", (int)j->grammar_name.len, j->grammar_name.data,
                          tools ? "tools; leave them out, or send tool_choice none" : "thinking");
                return IPC_E_INVALID;
        }
        if (j->must_think && !(forms & SPLIT_THINKS)) {
                error_set(e, -EINVAL, "model %s does not support thinking: its chat template does not speak of it", m->name);
                return IPC_E_INVALID;
        }
        if (calls && (forms & SPLIT_CHANNELS)) {
                error_set(e, -EOPNOTSUPP, "%.*s: model %s cannot be made to call; auto and none are possible",
                          (int)j->grammar_name.len, j->grammar_name.data, m->name);
                return IPC_E_INVALID;
        }
        if (calls)
                *ret = (forms & SPLIT_CALLS) | SPLIT_CALLING;
        else
                *ret = constrained ? 0 : forms & (SPLIT_THINKS | (tools ? SPLIT_CALLS : 0));
        return 0;
}

static void set_token_text(const PrepModel *m, json_t *context, const char *name, int32_t id) {
        TokenText text = tokenizer_piece(m->tokenizer, id, true);
        json_t *value = id >= 0 ? json_stringn(text.data, text.len) : NULL;
        json_object_set_new(context, name, value ? value : json_string(""));
}

static bool is_system(const json_t *message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        return role && strcmp(role, "system") == 0;
}

/* Puts the messages of `opening` before the others, but the system's of the chat itself, which also takes the place of the opening's.
 * False: no memory. */
static bool open_chat(json_t *chat, const IpcStr *opening) {
        json_t *first = json_loadb(opening->data, opening->len, JSON_ALLOW_NUL, NULL), *rest = json_object_get(chat, "messages");
        json_t *system = json_array_get(rest, 0);
        int r = json_is_array(first) ? 0 : -1;
        if (is_system(system)) {
                if (is_system(json_array_get(first, 0)))
                        r |= json_array_remove(first, 0);
                r |= json_array_insert(first, 0, system);
                r |= json_array_remove(rest, 0);
        }
        if (rest)
                r |= json_array_extend(first, rest);
        r |= json_object_set_new(chat, "messages", first);
        return r == 0;
}

static IpcFailCode parse_chat(const IpcJob *j, json_t **ret, Error *e) {
        json_error_t je;
        json_t *chat = json_loadb(j->prompt.data, j->prompt.len, JSON_ALLOW_NUL, &je);
        if (json_is_object(chat)) {
                *ret = chat;
                return j->opening.len == 0 || open_chat(chat, &j->opening) ? 0 : no_memory(e);
        }
        error_set(e, -EINVAL, "the chat is not a JSON object: %s", chat ? "it is an array" : je.text);
        json_decref(chat);
        return IPC_E_INVALID;
}

static IpcFailCode chat_context(const PrepModel *m, const IpcJob *j, json_t **ret, Error *e) {
        IpcFailCode code = parse_chat(j, ret, e);
        if (code)
                return code;
        set_token_text(m, *ret, "bos_token", tokenizer_bos(m->tokenizer));
        set_token_text(m, *ret, "eos_token", tokenizer_eos(m->tokenizer));
        if (!json_object_get(*ret, "add_generation_prompt"))
                json_object_set_new(*ret, "add_generation_prompt", json_true());
        if (j->grammar_kind != IPC_GRAMMAR_NONE && !json_object_get(*ret, "enable_thinking"))
                json_object_set_new(*ret, "enable_thinking", json_false());
        return 0;
}

static IpcFailCode prompt_from_chat(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        if (!m->chat.template && m->chat_error) {
                error_set(e, -EINVAL, "the chat template of model %s cannot be used: %s", m->name, m->chat_error);
                return IPC_E_INVALID;
        }
        if (!m->chat.template) {
                error_set(e, -EINVAL,
                          "model %s has no chat template; use /v1/completions or /api/generate with raw: true",
                          m->name);
                return IPC_E_INVALID;
        }
        json_t *context = NULL;
        _cleanup_buf_ Buf text = BUF_NULL;
        IpcFailCode code = chat_context(m, j, &context, e);
        if (!code)
                code = choose_forms(m, j, context, &ret->forms, e);
        const PrepChat *chat = chat_of(m, has_tools(context));
        int r = code ? 0 : chat_template_render(chat->template, context, &text, e);
        json_decref(context);
        if (code)
                return code;
        if (r < 0 || text.failed)
                return r == -ENOMEM || text.failed ? no_memory(e) : IPC_E_INVALID;
        if (ret->forms & SPLIT_CALLING)
                split_begin_call(chat->forms, &text);
        else if (j->grammar_kind != IPC_GRAMMAR_NONE)
                split_begin_answer(chat->forms, &text);
        else if (split_is_thinking(ret->forms, text.data, text.len))
                ret->forms |= SPLIT_THINKING;
        if (text.failed)
                return no_memory(e);
        code = encode(m, text.data, text.len, TOKENIZE_PARSE_SPECIAL, ret, e);
        return code ? code : add_bos(m, ret, e);
}

/* What a model without a template continues: the messages' contents, a blank line between them; or the last one's. */
static IpcFailCode prompt_from_contents(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        json_t *chat = NULL;
        _cleanup_buf_ Buf text = BUF_NULL;
        IpcFailCode code = parse_chat(j, &chat, e);
        if (!code)
                code = choose_forms(m, j, chat, &ret->forms, e);
        const json_t *messages = json_object_get(chat, "messages");
        size_t n = json_array_size(messages), first = m->takes_last && n > 0 ? n - 1 : 0;
        for (size_t i = first; i < n; i++) {
                const json_t *content = json_object_get(json_array_get(messages, i), "content");
                buf_puts(&text, i > first ? "\n\n" : "");
                buf_put(&text, json_string_value(content), json_string_length(content));
        }
        json_decref(chat);
        if (code || text.failed)
                return code ? code : no_memory(e);
        return encode(m, text.len ? text.data : "", text.len, TOKENIZE_ADD_SPECIAL, ret, e);
}

static IpcFailCode make_prompt(const PrepModel *m, const IpcJob *j, Ids *ret, Error *e) {
        switch (j->kind) {
        case IPC_PROMPT_TEXT:
                return prompt_from_text(m, j, ret, e);
        case IPC_PROMPT_IDS:
                return prompt_from_ids(m, j, ret, e);
        case IPC_PROMPT_CHAT:
                return m->takes_last ? prompt_from_contents(m, j, ret, e) : prompt_from_chat(m, j, ret, e);
        case IPC_PROMPT_PLAIN_CHAT:
                return m->chat.template ? prompt_from_chat(m, j, ret, e) : prompt_from_contents(m, j, ret, e);
        }
        error_set(e, -EINVAL, "prompts of kind %u are not known", j->kind);
        return IPC_E_INVALID;
}

IpcFailCode prep_prompt(const PrepModel *m, const IpcJob *j, int32_t **ret, size_t *ret_n, Error *e) {
        Ids ids = {0};
        IpcFailCode code = make_prompt(m, j, &ids, e);
        if (code)
                free(ids.data);
        else {
                *ret = ids.data;
                *ret_n = ids.n;
        }
        return code;
}

static IpcFailCode check_options(const PrepModel *m, const IpcJob *j, SampleParams *ret, Error *e) {
        IpcJob job = *j;
        sampler_defaults_apply(&m->sampling, &job);
        if (stop_check(&j->stop, e) < 0 || sampler_params(&job, m->n_vocab, ret, e) < 0)
                return IPC_E_INVALID;
        return check_ids(m, "produced token", &j->produced, e);
}

static IpcFailCode prompt_of_job(const PrepModel *m, const IpcJob *j, Ids *ids, Error *e) {
        IpcFailCode code = make_prompt(m, j, ids, e);
        if (!code && ids->n == 0) /* generation needs something to go on from */
                code = prepend(ids, tokenizer_bos(m->tokenizer), e);
        if (!code && ids->n == 0) {
                error_set(e, -EINVAL, "the prompt is empty, and model %s has no token to begin a text with", m->name);
                code = IPC_E_INVALID;
        }
        return code;
}

/* ---- what the answer must be ---- */

static IpcFailCode check_constraint(const PrepModel *m, const IpcJob *j, Error *e) {
        if (m->takes_last)
                error_set(e, -EINVAL, "%.*s: model %s is for load tests, its answers cannot be told what to be",
                          (int)j->grammar_name.len, j->grammar_name.data, m->name);
        else if (j->ignore_eos)
                error_set(e, -EINVAL, "%.*s: cannot be combined with ignore_eos", (int)j->grammar_name.len, j->grammar_name.data);
        else
                return 0;
        return IPC_E_INVALID;
}

/* A call becomes the schema of what this model writes for it; NULL: there is no memory. */
static char *schema_of_call(const PrepModel *m, IpcJob *j) {
        json_t *functions = json_loadb(j->grammar.data, j->grammar.len, JSON_ALLOW_NUL, NULL), *schema = call_schema(chat_of(m, true)->forms, functions);
        char *text = schema ? json_dumps(schema, JSON_COMPACT) : NULL;
        json_decref(functions);
        json_decref(schema);
        j->grammar_kind = IPC_GRAMMAR_SCHEMA;
        j->grammar = ipc_str(text);
        return text;
}

static IpcFailCode constrain(const PrepModel *m, const IpcJob *asked, Seq *s, Error *e) {
        _cleanup_free_ char *schema = NULL;
        const TokenTree *tree;
        Constraint *c = NULL;
        IpcJob job = *asked;
        if (job.grammar_kind == IPC_GRAMMAR_NONE)
                return 0;
        IpcFailCode code = check_constraint(m, &job, e);
        if (code)
                return code;
        if (job.grammar_kind == IPC_GRAMMAR_CALL && !(schema = schema_of_call(m, &job)))
                return no_memory(e);
        int r = lazy_token_tree_get(m->tree, m->tokenizer, &tree);
        if (r < 0)
                return no_memory(e);
        r = constraint_new(&job, tree, m->n_vocab, &c, e);
        if (r < 0)
                return r == -ENOMEM ? IPC_E_INTERNAL : IPC_E_INVALID;
        seq_constrain(s, c);
        return 0;
}

/* For its first token. */
static IpcFailCode update_constraint(Seq *s, Error *e) {
        int r = s->constraint && s->finish == IPC_FINISH_NONE ? constraint_update(s->constraint, CONSTRAINT_ALL) : 1;
        if (r > 0)
                return 0;
        error_set(e, r, "%s", constraint_why(r));
        return constraint_fail_code(r);
}

bool prep_is_short(const PrepModel *m, const IpcJob *j) {
        bool any_time = m->chat.template && (j->kind == IPC_PROMPT_CHAT || j->kind == IPC_PROMPT_PLAIN_CHAT);
        return !any_time && j->prompt.len + j->suffix.len + j->opening.len <= SHORT_BYTES && j->prompt_ids.n <= SHORT_BYTES && j->produced.n == 0 &&
               j->grammar_kind == IPC_GRAMMAR_NONE;
}

static IpcFailCode check_model(const PrepModel *m, Error *e) {
        if (!m->encoder)
                return 0;
        error_set(e, -EINVAL, "model %s %s and generates no text; send its texts to %s", m->name,
                  m->encoder->scores ? "is a reranker" : "makes embeddings",
                  m->encoder->scores ? "/v1/rerank" : "/v1/embeddings or /api/embed");
        return IPC_E_INVALID;
}

IpcFailCode prep(const PrepModel *m, const IpcJob *job, Seq *s, size_t *ret_dropped, Error *e) {
        Ids ids = {0};
        IpcFailCode code = check_model(m, e);
        if (!code)
                code = check_options(m, job, &s->params, e);
        if (!code)
                code = constrain(m, job, s, e);
        if (!code)
                code = prompt_of_job(m, job, &ids, e);
        if (code) {
                free(ids.data);
                return code;
        }
        s->forms = ids.forms;
        int r = seq_set_prompt(s, ids.data, ids.n, m->context, ret_dropped, e);
        if (r == -E2BIG && job->opening.len > 0)
                error_prefix(e, "with what the model's variant says first");
        if (r < 0)
                return r == -E2BIG ? IPC_E_CONTEXT : IPC_E_INTERNAL;
        bool one_by_one = s->constraint || s->params.n_top >= 0; /* logprobs are told with the text of their token */
        lookup_init(&s->lookup, one_by_one ? 0 : m->lookup_tokens, s->limit);
        lookup_learn(&s->lookup, s->ids, s->n_ids);
        return update_constraint(s, e);
}
