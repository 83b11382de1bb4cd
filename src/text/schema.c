/* See schema.h. Each schema becomes a node, which is reserved before its parts are looked at: so references may lead back.
 * What no value can be has a node that nothing matches, and the grammar sees to it that what needs it is not begun. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/pattern.h"
#include "text/schema-internal.h"
#include "text/schema.h"
#include "text/utf8.h"

enum { DEPTH_MAX = 256, COUNT_MAX = 1000 * 1000, WORK_MAX = 4 * 1000 * 1000, ENUM_MAX = 1000 };

/* ---- places and mistakes ---- */

void schema_fail(Schema *s, const char *key, const char *fmt, ...) {
        char text[320];
        va_list ap;
        if (s->failed)
                return;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        s->failed = true;
        error_set(s->e, -EINVAL, "%.160s%s%.40s: %s", s->place.data ? s->place.data : "", key ? "." : "", key ? key : "", text);
}

void schema_spend(Schema *s, size_t n) {
        s->spent += n;
        if (s->spent > WORK_MAX)
                schema_fail(s, NULL, "the schema's parts are combined too often");
}

bool schema_enter(Schema *s, const char *key, size_t *ret_back) {
        *ret_back = s->place.len;
        if (key)
                buf_printf(&s->place, ".%.64s", key);
        if (s->depth++ < DEPTH_MAX && !s->failed && !grammar_is_full(s->g))
                return true;
        schema_fail(s, NULL, "is nested too deeply, or refers to itself in a way that is not supported");
        return false;
}

void schema_leave(Schema *s, size_t back) {
        s->depth--;
        s->place.len = back;
        if (s->place.data)
                s->place.data[back] = 0;
}

static GrammarNode value_at(Schema *s, const char *key, json_t *schema) {
        size_t back;
        GrammarNode node = schema_enter(s, key, &back) ? schema_value(s, schema) : s->j.never;
        schema_leave(s, back);
        return node;
}

static GrammarNode value_at_index(Schema *s, const char *key, size_t i, json_t *schema) {
        char name[64];
        snprintf(name, sizeof(name), "%.32s.%zu", key, i);
        return value_at(s, name, schema);
}

/* A count that a schema gives. */
static uint32_t count_of(Schema *s, const json_t *schema, const char *key, uint32_t otherwise) {
        const json_t *v = json_object_get(schema, key);
        double d = json_number_value(v);
        if (!v)
                return otherwise;
        if (!json_is_number(v) || d < 0 || d > COUNT_MAX || d != (double)(uint32_t)d)
                schema_fail(s, key, "must be a whole number from 0 to %d", COUNT_MAX);
        return (uint32_t)CLAMP(d, 0, COUNT_MAX);
}

/* ---- fixed values ---- */

/* With as few digits as say the same. */
static char *dump(const json_t *v) {
        char *text = NULL;
        for (size_t digits = 15; digits <= 17; digits++) {
                free(text);
                text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits));
                json_t *back = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
                bool same = back && json_equal(back, v);
                json_decref(back);
                if (same)
                        break;
        }
        return text;
}

static GrammarNode fixed(Schema *s, const json_t *v) {
        _cleanup_free_ char *text = dump(v);
        if (!text)
                schema_fail(s, NULL, "not enough memory");
        return text ? json_literal(s->g, text) : s->j.never;
}

static bool is_of_type(const json_t *v, const char *type) {
        if (json_is_integer(v))
                return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
        const char *name = json_is_object(v) ? "object" : json_is_array(v) ? "array" : json_is_string(v) ? "string"
                           : json_is_boolean(v) ? "boolean" : json_is_null(v) ? "null" : "number";
        return strcmp(type, name) == 0;
}

static bool is_of_types(const json_t *v, const json_t *types) {
        const json_t *type;
        size_t i;
        if (!types)
                return true;
        if (json_is_string(types))
                return is_of_type(v, json_string_value(types));
        json_array_foreach(types, i, type)
                if (json_is_string(type) && is_of_type(v, json_string_value(type)))
                        return true;
        return false;
}

static bool is_in(const json_t *list, const json_t *value) {
        const json_t *v;
        size_t i;
        json_array_foreach(list, i, v)
                if (json_equal(v, value))
                        return true;
        return false;
}

static int by_bytes(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Any of sorted texts that have `at` bytes in common: what they have in common besides, then one of those that begin alike. */
static GrammarNode any_of(Schema *s, const char **texts, size_t n, size_t at) {
        size_t same = 0, k = 0;
        const char *first = texts[0] + at, *last = texts[n - 1] + at;
        while (first[same] && first[same] == last[same])
                same++;
        GrammarNode options[257], common = grammar_text(s->g, first, same);
        at += same;
        for (size_t i = 0, to; i < n; i = to) {
                for (to = i + 1; to < n && texts[to][at] == texts[i][at];)
                        to++;
                options[k++] = texts[i][at] ? any_of(s, texts + i, to - i, at) : GRAMMAR_EMPTY;
        }
        return k == 1 ? common : grammar_sequence_of(s->g, common, grammar_choice(s->g, options, k));
}

static GrammarNode any_text(Schema *s, const json_t *list) {
        size_t n = json_array_size(list);
        _cleanup_free_ const char **texts = calloc(n + 1, sizeof(*texts));
        if (n == 0 || !texts)
                return s->j.never;
        for (size_t i = 0; i < n; i++)
                texts[i] = json_string_value(json_array_get(list, i));
        qsort(texts, n, sizeof(*texts), by_bytes);
        return any_of(s, texts, n, 0);
}

static GrammarNode fixed_values(Schema *s, const json_t *schema) {
        static const char *const beside[] = {"enum", "const", "type", NULL};
        const json_t *only = json_object_get(schema, "const"), *list = json_object_get(schema, "enum"), *v;
        const json_t *types = json_object_get(schema, "type");
        GrammarNode node = s->j.never;
        size_t i;
        if (schema_restricts(schema, beside))
                schema_fail(s, NULL, "has %s and other keywords besides type, which is not supported", only ? "const" : "enum");
        if (list && !json_is_array(list))
                schema_fail(s, "enum", "must be an array");
        if (json_array_size(list) > ENUM_MAX)
                schema_fail(s, "enum", "has %zu values; at most %d are possible", json_array_size(list), ENUM_MAX);
        if (only)
                return is_of_types(only, types) && (!list || is_in(list, only)) ? fixed(s, only) : node;
        json_t *texts = json_array();
        json_array_foreach(list, i, v) {
                _cleanup_free_ char *text = is_of_types(v, types) ? dump(v) : NULL;
                if (text)
                        json_array_append_new(texts, json_string(text));
        }
        node = any_text(s, texts);
        json_decref(texts);
        return s->failed ? s->j.never : node;
}

/* ---- objects ---- */

typedef struct Members {
        json_t *names; /* of those that are known, and what they are: in order */
        json_t *required; /* a set */
        json_t *others; /* what others are; NULL: there are none */
} Members;

static GrammarNode member(Schema *s, const char *name, json_t *value) {
        json_t *key = json_string(name);
        GrammarNode node = grammar_sequence_of(s->g, fixed(s, key), s->j.colon, value_at(s, name, value));
        json_decref(key);
        return node;
}

/* From the last to the first: what may come when no member was there, and what when one was. */
static GrammarNode members(Schema *s, const Members *m) {
        GrammarNode other = m->others ? grammar_sequence_of(s->g, schema_other_key(s, m->names), s->j.colon,
                                                            value_at(s, "additionalProperties", m->others)) : s->j.never;
        GrammarNode others = grammar_repeat(s->g, grammar_sequence_of(s->g, s->j.comma, other), 0, GRAMMAR_EVER);
        GrammarNode after = grammar_sequence_of(s->g, others, s->j.space);
        GrammarNode first = grammar_optional(s->g, json_list_of(&s->j, other));
        size_t n = json_object_size(m->names), back;
        _cleanup_free_ const char **names = calloc(n + 1, sizeof(*names));
        const char *name;
        json_t *value;
        size_t i = 0;
        schema_enter(s, "properties", &back);
        json_object_foreach(m->names, name, value)
                if (names)
                        names[i++] = name;
        while (i > 0) {
                name = names[--i];
                GrammarNode it = member(s, name, json_object_get(m->names, name));
                GrammarNode begins = grammar_sequence_of(s->g, it, after), goes_on = grammar_sequence_of(s->g, s->j.comma, it, after);
                bool required = json_object_get(m->required, name) != NULL;
                first = required ? begins : grammar_choice_of(s->g, begins, first);
                after = required ? goes_on : grammar_choice_of(s->g, goes_on, after);
        }
        schema_leave(s, back);
        return first;
}

/* Those that are required and not named may be what others are. */
static void read_required(Schema *s, const json_t *required, json_t *others, Members *m) {
        const json_t *v;
        size_t i;
        bool are_names = !required || json_is_array(required);
        json_array_foreach(required, i, v) {
                const char *name = json_string_value(v);
                are_names = are_names && name;
                json_object_set_new(m->required, name ? name : "", json_true());
                if (name && !json_object_get(m->names, name))
                        json_object_set_new(m->names, name, others ? json_incref(others) : json_true());
        }
        if (!are_names)
                schema_fail(s, "required", "must be an array of names");
}

static GrammarNode object(Schema *s, const json_t *schema) {
        json_t *properties = json_object_get(schema, "properties");
        json_t *others = json_object_get(schema, "additionalProperties");
        Members m = {.names = json_object(), .required = json_object()};
        if (properties && (!json_is_object(properties) || json_object_update(m.names, properties) < 0))
                schema_fail(s, "properties", "must be an object");
        read_required(s, json_object_get(schema, "required"), others, &m);
        if (!json_is_false(others))
                m.others = others ? others : json_object_size(m.names) == 0 ? json_true() : NULL;
        GrammarNode node = s->failed ? s->j.never : json_enclosed(&s->j, "{", members(s, &m), "}");
        json_decref(m.names);
        json_decref(m.required);
        return node;
}

/* ---- arrays ---- */

/* `firsts` are the schemas of the first places; `more`, and white space, is what follows them. */
static GrammarNode items_from(Schema *s, json_t *firsts, GrammarNode more, uint32_t least, uint32_t most) {
        GrammarNode after = grammar_sequence_of(s->g, more, s->j.space);
        for (size_t i = json_array_size(firsts); i > 0; i--) {
                if (i > most) {
                        after = i == 1 ? GRAMMAR_EMPTY : s->j.space;
                        continue;
                }
                GrammarNode it = value_at_index(s, "prefixItems", i - 1, json_array_get(firsts, i - 1));
                GrammarNode with = i == 1 ? grammar_sequence_of(s->g, it, after) : grammar_sequence_of(s->g, s->j.comma, it, after);
                after = i <= least ? with : grammar_choice_of(s->g, with, i == 1 ? GRAMMAR_EMPTY : s->j.space);
        }
        return after;
}

static GrammarNode array(Schema *s, const json_t *schema) {
        json_t *firsts = json_object_get(schema, "prefixItems"), *rest = json_object_get(schema, "items");
        uint32_t least = count_of(s, schema, "minItems", 0), most = count_of(s, schema, "maxItems", GRAMMAR_EVER);
        uint32_t n = (uint32_t)json_array_size(firsts), more = least > n ? least - n : 0;
        if (firsts && !json_is_array(firsts))
                schema_fail(s, "prefixItems", "must be an array of schemas");
        if (json_is_array(rest))
                schema_fail(s, "items", "must be a schema; for one schema for each place use prefixItems");
        if (least > most)
                return s->j.never;
        uint32_t room = most == GRAMMAR_EVER ? GRAMMAR_EVER : most > n ? most - n : 0;
        bool open = !json_is_false(rest) && room > 0 && (rest || n == 0 || more > 0);
        if (!open && more > 0)
                return s->j.never;
        GrammarNode item = open ? value_at(s, "items", rest ? rest : json_true()) : s->j.never;
        GrammarNode next = grammar_sequence_of(s->g, s->j.comma, item), inside;
        if (n > 0)
                inside = items_from(s, firsts, open ? grammar_repeat(s->g, next, more, room) : GRAMMAR_EMPTY, least, most);
        else if (!open)
                inside = GRAMMAR_EMPTY;
        else {
                GrammarNode others = grammar_repeat(s->g, next, more > 0 ? more - 1 : 0, room == GRAMMAR_EVER ? room : room - 1);
                inside = grammar_sequence_of(s->g, item, others, s->j.space);
                inside = more > 0 ? inside : grammar_optional(s->g, inside);
        }
        return json_enclosed(&s->j, "[", inside, "]");
}

/* ---- strings ---- */

static const char *pattern_of_format(const char *format) {
        static const char *const patterns[][2] = {
#define DATE "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
                {"date", "^" DATE "$"},
                {"time", "^" TIME "$"},
                {"date-time", "^" DATE "T" TIME "$"},
                {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
                {"ipv4", "^" OCTET "(\\." OCTET "){3}$"},
        };
        for (size_t i = 0; format && i < ARRAY_SIZE(patterns); i++)
                if (strcmp(format, patterns[i][0]) == 0)
                        return patterns[i][1];
        return NULL;
}

static GrammarNode string(Schema *s, const json_t *schema) {
        const json_t *given = json_object_get(schema, "pattern");
        const char *pattern = json_string_value(given), *key = pattern ? "pattern" : "format";
        Error why = ERROR_NULL;
        GrammarNode node;
        if (given && !pattern)
                schema_fail(s, "pattern", "must be a string");
        const char *formatted = pattern_of_format(json_string_value(json_object_get(schema, "format")));
        bool counted = json_object_get(schema, "minLength") || json_object_get(schema, "maxLength");
        uint32_t least = count_of(s, schema, "minLength", 0), most = count_of(s, schema, "maxLength", GRAMMAR_EVER);
        if (!pattern && !formatted)
                return least > most ? s->j.never : json_string_of(&s->j, least, most);
        if (counted || (pattern && formatted))
                schema_fail(s, key, "cannot be combined with %s", counted ? "minLength or maxLength" : "format");
        if (pattern_compile(&s->j, pattern ? pattern : formatted, &node, &why) == 0)
                return node;
        schema_fail(s, key, "%s", why.text);
        return s->j.never;
}

/* ---- values ---- */

typedef GrammarNode (*Compiler)(Schema *s, const json_t *schema);

static GrammarNode number(Schema *s, const json_t *schema) {
        return schema_number(s, schema, false);
}

static GrammarNode integer(Schema *s, const json_t *schema) {
        return schema_number(s, schema, true);
}

static GrammarNode boolean(Schema *s, const json_t *schema) {
        return s->j.boolean;
}

static GrammarNode null(Schema *s, const json_t *schema) {
        return s->j.null;
}

static GrammarNode of_type(Schema *s, const char *type, const json_t *schema) {
        static const struct {
                const char *name;
                Compiler compile;
        } types[] = {{"object", object}, {"array", array}, {"string", string}, {"number", number}, {"integer", integer}, {"boolean", boolean}, {"null", null}};
        for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
                if (strcmp(type, types[i].name) == 0)
                        return types[i].compile(s, schema);
        schema_fail(s, "type", "must be a type's name, or an array of them: object, array, string, number, integer, boolean, null");
        return s->j.never;
}

/* What a schema without a type is about, by its keywords; NULL: anything. */
static const char *type_meant(const json_t *schema) {
        static const char *const keys[][2] = {
                {"properties", "object"}, {"required", "object"}, {"additionalProperties", "object"}, {"items", "array"},
                {"prefixItems", "array"}, {"minItems", "array"}, {"maxItems", "array"}, {"pattern", "string"}, {"minLength", "string"},
                {"maxLength", "string"}, {"format", "string"}, {"minimum", "number"}, {"maximum", "number"}, {"exclusiveMinimum", "number"},
                {"exclusiveMaximum", "number"},
        };
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (json_object_get(schema, keys[i][0]))
                        return keys[i][1];
        return NULL;
}

static GrammarNode of_types(Schema *s, const json_t *schema) {
        const json_t *types = json_object_get(schema, "type"), *type;
        const char *meant = type_meant(schema);
        size_t i, n = 0;
        if (!types)
                return meant ? of_type(s, meant, schema) : s->j.value;
        if (!json_is_array(types))
                return of_type(s, json_string_value(types), schema);
        _cleanup_free_ GrammarNode *options = calloc(json_array_size(types) + 1, sizeof(*options));
        json_array_foreach(types, i, type)
                if (options)
                        options[n++] = of_type(s, json_string_value(type), schema);
        return options ? grammar_choice(s->g, options, n) : s->j.never;
}

static void check_disjoint(Schema *s, const json_t *options) {
        for (size_t i = 0; i < json_array_size(options) && !s->failed; i++)
                for (size_t k = 0; k < i && !s->failed; k++)
                        if (!schema_are_disjoint(s, json_array_get(options, k), json_array_get(options, i)))
                                schema_fail(s, "oneOf", "a value could be both option %zu and option %zu; use anyOf, or tell them apart by their "
                                            "types or by a required property that is a const", k, i);
}

/* Each option holds together with what the schema says besides. */
static GrammarNode options(Schema *s, json_t *schema, const char *key) {
        const char *const beside[] = {key, NULL};
        json_t *list = json_object_get(schema, key), *option, *rest = NULL;
        size_t i, n = 0;
        if (!json_is_array(list) || json_array_size(list) == 0) {
                schema_fail(s, key, "must be an array of schemas");
                return s->j.never;
        }
        if (strcmp(key, "oneOf") == 0)
                check_disjoint(s, list);
        _cleanup_free_ GrammarNode *nodes = calloc(json_array_size(list), sizeof(*nodes));
        if (schema_restricts(schema, beside) && (rest = json_copy(schema))) {
                json_object_del(rest, key);
                json_array_append_new(s->made, rest);
        }
        json_array_foreach(list, i, option) {
                json_t *both = rest && !s->failed ? schema_merge(s, rest, option) : option;
                if (nodes && !s->failed)
                        nodes[n++] = value_at_index(s, key, i, both);
        }
        return nodes ? grammar_choice(s->g, nodes, n) : s->j.never;
}

static void check_keywords(Schema *s, const json_t *schema) {
        static const char *const refused[] = {
                "not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies", "patternProperties", "propertyNames",
                "minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains",
                "uniqueItems", "multipleOf", "additionalItems", "$dynamicRef", "$recursiveRef",
        };
        for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
                const json_t *v = json_object_get(schema, refused[i]);
                if (v && !json_is_false(v))
                        schema_fail(s, refused[i], "is not supported");
        }
}

static GrammarNode compile(Schema *s, json_t *schema) {
        check_keywords(s, schema);
        if (s->failed)
                return s->j.never;
        if (json_object_get(schema, "$ref") || json_object_get(schema, "allOf")) {
                json_t *flat = schema_flatten(s, schema);
                return flat ? schema_value(s, flat) : s->j.never;
        }
        if (json_object_get(schema, "anyOf"))
                return options(s, schema, "anyOf");
        if (json_object_get(schema, "oneOf"))
                return options(s, schema, "oneOf");
        if (json_object_get(schema, "enum") || json_object_get(schema, "const"))
                return fixed_values(s, schema);
        return of_types(s, schema);
}

GrammarNode schema_value(Schema *s, json_t *schema) {
        char address[32];
        size_t back;
        if (json_is_boolean(schema))
                return json_is_true(schema) ? s->j.value : s->j.never;
        if (!json_is_object(schema)) {
                schema_fail(s, NULL, "must be a schema: an object, true or false");
                return s->j.never;
        }
        snprintf(address, sizeof(address), "%p", (void *)schema);
        const json_t *known = json_object_get(s->nodes, address);
        if (known)
                return (GrammarNode)json_integer_value(known);
        GrammarNode node = grammar_reserve(s->g);
        json_object_set_new(s->nodes, address, json_integer(node));
        if (schema_enter(s, NULL, &back))
                grammar_define(s->g, node, compile(s, schema));
        schema_leave(s, back);
        return node;
}

/* ---- all ---- */

static int compile_all(Schema *s, const char *name) {
        GrammarNode node = schema_value(s, s->root);
        if (s->failed)
                return s->e ? s->e->code : -EINVAL;
        int r = s->place.failed || !s->nodes || !s->made ? error_set(s->e, -ENOMEM, "not enough memory for it") : grammar_finish(s->g, node, s->e);
        return r < 0 ? error_prefix(s->e, "%s", name) : 0;
}

int schema_compile(const char *name, const char *text, size_t len, Grammar *g, Error *e) {
        json_error_t why;
        Schema s = {.g = g, .j = json_grammar(g), .root = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why),
                    .nodes = json_object(), .made = json_array(), .e = e};
        buf_puts(&s.place, name);
        int r = s.root ? compile_all(&s, name) : error_set(e, -EINVAL, "%s: is no JSON: %s", name, why.text);
        json_decref(s.root);
        json_decref(s.nodes);
        json_decref(s.made);
        buf_deinit(&s.place);
        return r;
}
