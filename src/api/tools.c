/* Tools and thoughts, from requests to a template's variables.
 *
 * Clients and templates agree on OpenAI's shape, and differ in what they leave out. Arguments come as JSON text (OpenAI) or as
 * an object (Ollama); templates expect the object. Calls without an id, and results that name either the call or the
 * function (Ollama) or only the call (OpenAI), get what templates ask for: of the results of a turn without ids the first is
 * that of the first call. */
#include <stdio.h>
#include <string.h>

#include "api/api-private.h"
#include "util/map.h"

enum { TOOLS_MAX = 1024, ID_LENGTH = 9 };

static void set_missing(json_t *object, const char *key, json_t *value) {
        json_t *there = json_object_get(object, key);
        if (!there || json_is_null(there))
                json_object_set(object, key, value);
        json_decref(value);
}

/* ---- messages ---- */

static json_t *parsed(const json_t *arguments) {
        const char *text = json_string_value(arguments);
        return *text ? json_loadb(text, json_string_length(arguments), JSON_ALLOW_NUL, NULL) : json_object();
}

static void normalise_call(Args *a, const char *where, size_t i, json_t *call) {
        json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments"), *object;
        if (json_string_length(json_object_get(function, "name")) == 0)
                arg_fail(a, where, "tool_calls[%zu] must be an object with a function that has a name", i);
        else if (json_is_string(arguments) && (object = parsed(arguments)))
                json_object_set_new(function, "arguments", object);
        set_missing(function, "arguments", json_object());
        set_missing(call, "type", json_string("function"));
}

void tools_normalise(Args *a, const char *where, json_t *message) {
        json_t *calls = json_object_get(message, "tool_calls"), *call, *thinking = json_object_get(message, "thinking"),
               *reasoning = json_object_get(message, "reasoning_content");
        size_t i;
        if (json_is_string(thinking)) /* Ollama's name for it */
                set_missing(message, "reasoning_content", json_incref(thinking));
        if (json_is_string(reasoning) && json_string_length(json_object_get(message, "content")) == 0)
                set_missing(message, "thinking", json_incref(reasoning)); /* gpt-oss's name for it */
        if (!calls)
                return;
        if (!json_is_array(calls) && !json_is_null(calls))
                arg_fail(a, where, "tool_calls must be a list");
        json_array_foreach(calls, i, call)
                normalise_call(a, where, i, call);
        if (json_array_size(calls) > 0 && json_string_length(json_object_get(message, "content")) > 0)
                json_object_del(message, "thinking"); /* gpt-oss's template takes one of the two only */
        if (json_array_size(calls) == 0) /* templates ask whether it is there */
                json_object_del(message, "tool_calls");
}

static json_t *find_call(const json_t *calls, const json_t *id) {
        json_t *call;
        size_t i;
        json_array_foreach(calls, i, call)
                if (json_equal(json_object_get(call, "id"), id))
                        return call;
        return NULL;
}

/* `calls`: those of the turn; `n`: how many results of it came before. */
static void link_result(json_t *message, const json_t *calls, size_t n) {
        json_t *id = json_object_get(message, "tool_call_id"), *name = json_object_get(message, "tool_name");
        const json_t *call = json_is_string(id) ? find_call(calls, id) : json_array_get(calls, n);
        if (json_is_string(name))
                set_missing(message, "name", json_incref(name));
        if (!call)
                return;
        set_missing(message, "tool_call_id", json_incref(json_object_get(call, "id")));
        set_missing(message, "name", json_incref(json_object_get(json_object_get(call, "function"), "name")));
}

/* Ids that come out the same each time, so that a conversation's beginning stays what is in the cache. */
static void name_calls(json_t *calls, size_t *n) {
        char id[32];
        json_t *call;
        size_t i;
        json_array_foreach(calls, i, call) {
                snprintf(id, sizeof(id), "call%0*zu", ID_LENGTH - 4, (*n)++);
                set_missing(call, "id", json_string(id));
        }
}

void tools_link(json_t *messages) {
        json_t *message, *calls = NULL;
        size_t i, n_calls = 0, n_results = 0;
        json_array_foreach(messages, i, message) {
                const char *role = json_string_value(json_object_get(message, "role"));
                json_t *own = json_object_get(message, "tool_calls");
                if (own) {
                        calls = own;
                        n_results = 0;
                        name_calls(calls, &n_calls);
                } else if (strcmp(role, "tool") == 0)
                        link_result(message, calls, n_results++);
        }
}

/* ---- variables ---- */

static bool is_function(const json_t *tool) {
        const char *type = json_string_value(json_object_get(tool, "type"));
        return json_string_length(json_object_get(json_object_get(tool, "function"), "name")) > 0 && (!type || strcmp(type, "function") == 0);
}

void tools_read(Args *a, const char *key, json_t *variables) {
        json_t *tools = arg_get(a, key), *tool;
        size_t i;
        if (!tools)
                return;
        if (!json_is_array(tools) || json_array_size(tools) > TOOLS_MAX) {
                arg_fail(a, key, json_is_array(tools) ? "has too many elements; at most %d are possible" : "must be a list of functions", TOOLS_MAX);
                return;
        }
        json_array_foreach(tools, i, tool) {
                if (is_function(tool))
                        set_missing(tool, "type", json_string("function"));
                else
                        arg_fail(a, key, "element %zu must be {\"type\": \"function\", \"function\": {\"name\": …}}", i);
        }
        if (json_array_size(tools) > 0)
                json_object_set(variables, "tools", tools);
}

/* What the engine needs of them: what is said of a function is not for it. */
static json_t *choose(const json_t *tools, const char *name) {
        json_t *chosen = json_array(), *tool;
        size_t i;
        json_array_foreach(tools, i, tool) {
                json_t *function = json_object_get(tool, "function"), *own = json_object_get(function, "name");
                if (json_is_string(own) && (!name || strcmp(json_string_value(own), name) == 0))
                        json_array_append_new(chosen, json_pack("{s:O, s:O*}", "name", own, "parameters", json_object_get(function, "parameters")));
        }
        return chosen;
}

void tools_require(Spec *s, Args *a, const char *key, const char *choice, const char *name) {
        json_t *chosen = choose(arg_get(a, key), name);
        if (json_array_size(chosen) == 0)
                arg_fail(a, choice, name ? "there is no function '%.64s' in tools" : "needs tools", name);
        else
                spec_put_grammar(s, a, choice, chosen, IPC_GRAMMAR_CALL);
        json_decref(chosen);
}

void thinking_set(json_t *variables, bool think, const char *level) {
        set_missing(variables, "enable_thinking", json_boolean(think)); /* Qwen, GLM, Gemma, … */
        set_missing(variables, "thinking", json_boolean(think));        /* Granite, DeepSeek */
        if (level)
                set_missing(variables, "reasoning_effort", json_string(level));
}

void thinking_set_effort(json_t *variables, const char *effort) {
        bool think = effort && strcmp(effort, "none") != 0;
        if (effort)
                thinking_set(variables, think, think ? effort : NULL);
}

/* ---- answers ---- */

/* Nine letters and digits, because Mistral's templates take no other. */
void tools_put_id(const Choice *c, size_t i, Buf *out) {
        uint64_t x = hash_bytes(c->answer->id, strlen(c->answer->id), (uint64_t)c->index << 32 | i);
        for (int k = 0; k < 9; k++, x /= 36)
                buf_putc(out, "0123456789abcdefghijklmnopqrstuvwxyz"[x % 36]);
}
