/* Texts of a grammar for test-schema.py and test-gbnf.py, which know nothing of grammars. For each line of input, {"schema":…,
 * "seed":…, "count":…, "texts":[…]}, a line of output: {"error":…}, or {"walks":[…], "accepted":[…]} with so many texts found by going
 * any way that the grammar allows (null: it led nowhere near an end), and whether the grammar has the texts given.
 * "kind": "json" instead of a schema is any JSON object, "value" any JSON; "gbnf" or "regex" is what `text` says. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/gbnf.h"
#include "text/json-grammar.h"
#include "text/matcher.h"
#include "text/pattern.h"
#include "text/schema.h"
#include "util/buf.h"

enum { LENGTH_MAX = 3000 };

static uint64_t seed;

static uint32_t random_below(uint32_t n) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(seed >> 33) % n;
}

static uint32_t step(Matcher *m, uint32_t state, char byte) {
        return matcher_step(m, &state, 1, (uint8_t)byte);
}

/* Of the bytes that are possible any; those that end things more often. */
static json_t *walk(Matcher *m) {
        _cleanup_buf_ Buf text = BUF_NULL;
        uint32_t state = matcher_start(m);
        while (text.len < LENGTH_MAX) {
                char options[1024];
                uint32_t n = 0;
                if (matcher_is_final(m, state) || (matcher_accepts(m, state) && random_below(3) == 0))
                        return json_stringn(text.data ? text.data : "", text.len);
                for (int b = 0; b < 256; b++)
                        if (matcher_step(m, &state, 1, (uint8_t)b) != MATCHER_DEAD)
                                for (int k = strchr("\"]}", b) && b ? 3 : 1; k > 0; k--)
                                        options[n++] = (char)b;
                if (n == 0)
                        return json_string("a dead end");
                char byte = options[random_below(n)];
                buf_putc(&text, byte);
                state = step(m, state, byte);
        }
        return json_null();
}

static json_t *accepts(Matcher *m, const json_t *text) {
        uint32_t state = matcher_start(m);
        for (size_t i = 0; i < json_string_length(text); i++)
                state = step(m, state, json_string_value(text)[i]);
        return json_boolean(state != MATCHER_DEAD && matcher_accepts(m, state));
}

static int compile(const json_t *ask, Grammar *g, Error *e) {
        const char *kind = json_string_value(json_object_get(ask, "kind"));
        const json_t *text = json_object_get(ask, "text");
        if (kind && strcmp(kind, "gbnf") == 0)
                return gbnf_compile("grammar", json_string_value(text), json_string_length(text), g, e);
        if (kind && strcmp(kind, "regex") == 0)
                return pattern_compile_plain("regex", json_string_value(text), json_string_length(text), g, e);
        if (kind) {
                JsonGrammar j = json_grammar(g);
                return grammar_finish(g, strcmp(kind, "json") == 0 ? j.object : j.value, e);
        }
        _cleanup_free_ char *schema = json_dumps(json_object_get(ask, "schema"), JSON_ENCODE_ANY);
        return schema ? schema_compile("schema", schema, strlen(schema), g, e) : -ENOMEM;
}

static json_t *answer(const json_t *ask) {
        _cleanup_(grammar_freep) Grammar *g = NULL;
        _cleanup_(matcher_freep) Matcher *m = NULL;
        Error e = ERROR_NULL;
        json_t *walks = json_array(), *accepted = json_array(), *text;
        size_t i;
        seed = (uint64_t)json_integer_value(json_object_get(ask, "seed"));
        if (grammar_new(&g) < 0 || compile(ask, g, &e) < 0 || matcher_new(g, &m) < 0)
                return json_pack("{s:s, s:o, s:o}", "error", e.text, "walks", walks, "accepted", accepted);
        for (json_int_t n = json_integer_value(json_object_get(ask, "count")); n > 0; n--)
                json_array_append_new(walks, walk(m));
        json_array_foreach(json_object_get(ask, "texts"), i, text)
                json_array_append_new(accepted, accepts(m, text));
        return json_pack("{s:o, s:o}", "walks", walks, "accepted", accepted);
}

int main(void) {
        _cleanup_free_ char *line = NULL;
        size_t cap = 0;
        while (getline(&line, &cap, stdin) > 0) {
                json_t *ask = json_loads(line, JSON_ALLOW_NUL, NULL), *told = answer(ask);
                _cleanup_free_ char *text = json_dumps(told, JSON_COMPACT);
                printf("%s\n", text ? text : "{}");
                fflush(stdout);
                json_decref(ask);
                json_decref(told);
        }
        return 0;
}
