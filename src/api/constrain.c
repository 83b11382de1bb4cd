/* What an answer must be: JSON, a schema's, a grammar's or a regular expression's text, in the ways of OpenAI, llama-server and
 * vLLM. A request says it once; the engine compiles it, and its complaints begin with the field's name. */
#include <string.h>

#include "api/api-private.h"

enum { TEXTS_MAX = 1000 };

void spec_constrain(Spec *s, Args *a, const char *key, IpcGrammarKind kind) {
        if (s->job.grammar_kind != IPC_GRAMMAR_NONE) {
                arg_fail(a, key, "cannot be combined with %.*s, which says what else the answer is to be", (int)s->job.grammar_name.len,
                         s->job.grammar_name.data);
                return;
        }
        buf_puts(&s->grammar_name, a->prefix);
        buf_puts(&s->grammar_name, key);
        if (s->grammar.len > IPC_GRAMMAR_MAX)
                arg_fail(a, key, "is too large: more than %d bytes", IPC_GRAMMAR_MAX);
        else if (s->grammar.failed || s->grammar_name.failed)
                arg_no_memory(a);
        s->job.grammar_kind = kind;
        s->job.grammar = (IpcStr){s->grammar.data, (uint32_t)s->grammar.len};
        s->job.grammar_name = (IpcStr){s->grammar_name.data, (uint32_t)s->grammar_name.len};
}

static int put_some(const char *text, size_t n, void *grammar) {
        Buf *to = grammar;
        buf_put(to, text, n);
        return to->failed || to->len > IPC_GRAMMAR_MAX ? -1 : 0;
}

void spec_put_grammar(Spec *s, Args *a, const char *key, const json_t *grammar, IpcGrammarKind kind) {
        json_dump_callback(grammar, put_some, &s->grammar, JSON_COMPACT); /* where it ended early, the length says so */
        spec_constrain(s, a, key, kind);
}

void spec_read_schema(Spec *s, Args *a, const char *key, const json_t *schema) {
        if (json_is_object(schema))
                spec_put_grammar(s, a, key, schema, IPC_GRAMMAR_SCHEMA);
        else
                arg_fail(a, key, schema ? "must be a JSON schema, an object" : "is missing");
}

/* ---- OpenAI's ---- */

static void read_response_format(Spec *s, Args *a) {
        Args f = {.object = arg_get(a, "response_format"), .prefix = "response_format.", .error = a->error};
        const char *type = f.object ? arg_string(&f, "type", "") : "text";
        if (f.object && !json_is_object(f.object))
                arg_fail(a, "response_format", "must be an object with a type");
        const json_t *schema = json_object_get(arg_get(&f, "json_schema"), "schema");
        if (strcmp(type, "json_object") == 0 && arg_get(&f, "schema")) /* as llama-server has it */
                spec_read_schema(s, &f, "schema", arg_get(&f, "schema"));
        else if (strcmp(type, "json_object") == 0)
                spec_constrain(s, a, "response_format", IPC_GRAMMAR_JSON);
        else if (strcmp(type, "json_schema") == 0)
                spec_read_schema(s, &f, "json_schema.schema", schema);
        else if (strcmp(type, "text") != 0)
                arg_fail(&f, "type", "must be text, json_object or json_schema, not '%.32s'", type);
}

/* ---- llama-server's, and vLLM's structured_outputs ---- */

void spec_read_grammar(Spec *s, Args *a, const char *key, IpcGrammarKind kind) {
        const char *text = arg_string(a, key, "");
        size_t n = json_string_length(arg_get(a, key));
        if (n == 0)
                return;
        buf_put(&s->grammar, text, n);
        spec_constrain(s, a, key, kind);
}

/* As GBNF writes a text. */
static void put_quoted(Buf *b, const char *text) {
        buf_putc(b, '"');
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        buf_putc(b, '\\');
                if (*text == '\n')
                        buf_puts(b, "\\n");
                else
                        buf_putc(b, *text);
        }
        buf_putc(b, '"');
}

static void read_choice(Spec *s, Args *a, const char *key) {
        const json_t *choices = arg_get(a, key), *one;
        size_t i;
        if (!choices)
                return;
        buf_puts(&s->grammar, "root ::= ");
        json_array_foreach(choices, i, one) {
                if (!json_is_string(one) || strlen(json_string_value(one)) != json_string_length(one))
                        break;
                buf_puts(&s->grammar, i > 0 ? " | " : "");
                put_quoted(&s->grammar, json_string_value(one));
        }
        if (json_array_size(choices) == 0 || i < json_array_size(choices))
                arg_fail(a, key, "must be a list of texts, without NUL bytes");
        else if (i > TEXTS_MAX)
                arg_fail(a, key, "has %zu texts; at most %d are possible", i, TEXTS_MAX);
        spec_constrain(s, a, key, IPC_GRAMMAR_GBNF);
}

static void read_structured_outputs(Spec *s, Args *a) {
        Args f = {.object = arg_get(a, "structured_outputs"), .prefix = "structured_outputs.", .error = a->error};
        if (!f.object)
                return;
        if (!json_is_object(f.object)) {
                arg_fail(a, "structured_outputs", "must be an object");
                return;
        }
        arg_unsupported(&f, "structural_tag", "is not supported; json, json_object, regex, choice and grammar are");
        const json_t *schema = arg_get(&f, "json");
        if (json_is_string(schema))
                spec_read_grammar(s, &f, "json", IPC_GRAMMAR_SCHEMA);
        else if (schema)
                spec_read_schema(s, &f, "json", schema);
        if (arg_bool(&f, "json_object", false))
                spec_constrain(s, &f, "json_object", IPC_GRAMMAR_JSON);
        spec_read_grammar(s, &f, "regex", IPC_GRAMMAR_PATTERN);
        spec_read_grammar(s, &f, "grammar", IPC_GRAMMAR_GBNF);
        read_choice(s, &f, "choice");
        if (s->job.grammar_kind == IPC_GRAMMAR_NONE)
                arg_fail(a, "structured_outputs", "needs one of json, json_object, regex, choice and grammar that is not empty");
}

void spec_refuse_constraints(Args *a, const char *instead) {
        static const char *const names[] = {"json_schema", "grammar", "structured_outputs"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                arg_unsupported(a, names[i], instead);
}

void spec_read_constraints(Spec *s, Args *a) {
        static const char *const older[] = {"guided_json", "guided_regex", "guided_choice", "guided_grammar"};
        for (size_t i = 0; i < ARRAY_SIZE(older); i++)
                arg_unsupported(a, older[i], "is vLLM's older form; send structured_outputs");
        arg_unsupported(a, "grammar_lazy", "is not supported; a grammar is of the whole answer");
        read_response_format(s, a);
        if (arg_get(a, "json_schema"))
                spec_read_schema(s, a, "json_schema", arg_get(a, "json_schema"));
        spec_read_grammar(s, a, "grammar", IPC_GRAMMAR_GBNF);
        read_structured_outputs(s, a);
}
