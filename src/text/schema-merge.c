/* Schemas that hold at once, as one: $ref with what stands beside it, the parts of an allOf, and an option of an anyOf with
 * what all options have in common. Each keyword that both have has its own way to become one; where there is none, and
 * they differ, that is a mistake. */
#include <string.h>

#include "text/schema-internal.h"

/* ---- references ---- */

/* The next part of a JSON pointer (RFC 6901), decoded; false at its end. */
static bool next_part(const char **at, char *part, size_t size) {
        size_t n = 0;
        if (**at != '/')
                return false;
        for ((*at)++; **at && **at != '/' && n + 1 < size; (*at)++) {
                bool escaped = (*at)[0] == '~' && ((*at)[1] == '0' || (*at)[1] == '1');
                part[n++] = escaped ? "~/"[(*at)[1] - '0'] : **at;
                *at += escaped;
        }
        part[n] = 0;
        return true;
}

json_t *schema_resolve(Schema *s, const char *ref) {
        const char *at = ref + 1;
        char part[256];
        json_t *found = s->root;
        if (ref[0] != '#' || (ref[1] && ref[1] != '/')) {
                schema_fail(s, "$ref", "is '%.80s'; only references within the schema, \"#/…\", are supported", ref);
                return NULL;
        }
        while (found && next_part(&at, part, sizeof(part)))
                found = json_is_array(found) ? json_array_get(found, strtoul(part, NULL, 10)) : json_object_get(found, part);
        if (!found || *at)
                schema_fail(s, "$ref", "there is no '%.80s' in the schema", ref);
        return *at ? NULL : found;
}

/* ---- what restricts ---- */

bool schema_is_remark(const char *key) {
        static const char *const remarks[] = {
                "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment",
                "$defs", "definitions", "$anchor", "contentEncoding", "contentMediaType", "nullable", "discriminator",
        };
        for (size_t i = 0; i < ARRAY_SIZE(remarks); i++)
                if (strcmp(key, remarks[i]) == 0)
                        return true;
        return strncmp(key, "x-", 2) == 0;
}

bool schema_restricts(const json_t *schema, const char *const *besides) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)schema, key, v) {
                bool listed = schema_is_remark(key);
                for (size_t i = 0; besides[i] && !listed; i++)
                        listed = strcmp(key, besides[i]) == 0;
                if (!listed)
                        return true;
        }
        return false;
}

/* ---- types ---- */

enum { TYPE_INTEGER = 1, TYPE_FRACTION = 2, TYPES = 7, ANY_TYPE = (1 << TYPES) - 1 };

static const struct {
        const char *name;
        unsigned mask;
} types[TYPES] = {
        {"integer", TYPE_INTEGER}, {"number", TYPE_INTEGER | TYPE_FRACTION}, {"string", 4}, {"boolean", 8}, {"null", 16}, {"object", 32}, {"array", 64},
};

static unsigned mask_of_type(const json_t *type) {
        for (size_t i = 0; i < TYPES; i++)
                if (json_is_string(type) && strcmp(json_string_value(type), types[i].name) == 0)
                        return types[i].mask;
        return 0;
}

static unsigned mask_of_types(const json_t *list) {
        unsigned mask = mask_of_type(list);
        const json_t *type;
        size_t i;
        json_array_foreach(list, i, type)
                mask |= mask_of_type(type);
        return list ? mask : ANY_TYPE;
}

static json_t *types_of_mask(unsigned mask) {
        json_t *list = json_array();
        for (size_t i = 0; i < TYPES; i++) {
                bool all = (mask & types[i].mask) == types[i].mask, more = i > 0 || !(mask & TYPE_FRACTION);
                if (all && more)
                        json_array_append_new(list, json_string(types[i].name));
        }
        return list;
}

/* ---- merging ---- */

typedef json_t *(*Merge)(Schema *s, const char *key, json_t *a, json_t *b); /* a new reference; NULL after a mistake */

static json_t *merge_types(Schema *s, const char *key, json_t *a, json_t *b) {
        return types_of_mask(mask_of_types(a) & mask_of_types(b));
}

static json_t *merge_enums(Schema *s, const char *key, json_t *a, json_t *b) {
        json_t *out = json_array(), *x, *y;
        size_t i, k;
        schema_spend(s, json_array_size(a) * json_array_size(b));
        for (i = 0; i < json_array_size(a) && !s->failed && (x = json_array_get(a, i)); i++)
                json_array_foreach(b, k, y)
                        if (json_equal(x, y)) {
                                json_array_append(out, x);
                                break;
                        }
        return out;
}

static json_t *merge_required(Schema *s, const char *key, json_t *a, json_t *b) {
        json_t *out = json_array();
        json_array_extend(out, a);
        json_array_extend(out, b);
        return out;
}

static json_t *merge_least(Schema *s, const char *key, json_t *a, json_t *b) {
        return json_incref(json_number_value(a) > json_number_value(b) ? a : b);
}

static json_t *merge_most(Schema *s, const char *key, json_t *a, json_t *b) {
        return json_incref(json_number_value(a) < json_number_value(b) ? a : b);
}

static json_t *merge_schemas(Schema *s, const char *key, json_t *a, json_t *b) {
        return json_is_boolean(a) && json_is_boolean(b) ? json_incref(json_is_false(a) ? a : b) : json_pack("{s:[O,O]}", "allOf", a, b);
}

static json_t *merge_properties(Schema *s, const char *key, json_t *a, json_t *b) {
        json_t *out = json_object(), *value;
        const char *name;
        json_object_update(out, a);
        json_object_foreach(b, name, value) {
                json_t *other = json_object_get(a, name);
                json_object_set_new(out, name, other ? merge_schemas(s, name, other, value) : json_incref(value));
        }
        return out;
}

static json_t *merge_equal(Schema *s, const char *key, json_t *a, json_t *b) {
        if (json_equal(a, b))
                return json_incref(a);
        schema_fail(s, key, "is said twice of the same value (by allOf, anyOf, oneOf or $ref), and differs; that is not supported");
        return NULL;
}

static Merge merge_of(const char *key) {
        static const struct {
                const char *key;
                Merge merge;
        } ways[] = {
                {"type", merge_types}, {"enum", merge_enums}, {"required", merge_required}, {"properties", merge_properties},
                {"items", merge_schemas}, {"additionalProperties", merge_schemas}, {"minimum", merge_least}, {"exclusiveMinimum", merge_least},
                {"minLength", merge_least}, {"minItems", merge_least}, {"maximum", merge_most}, {"exclusiveMaximum", merge_most},
                {"maxLength", merge_most}, {"maxItems", merge_most},
        };
        for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
                if (strcmp(key, ways[i].key) == 0)
                        return ways[i].merge;
        return merge_equal;
}

/* additionalProperties is about the names of its own schema, not of the merged one. */
static void check_additional(Schema *s, const json_t *a, const json_t *b) {
        const json_t *others = json_object_get(a, "additionalProperties"), *value;
        const char *name;
        if (!others || json_is_true(others))
                return;
        json_object_foreach(json_object_get(b, "properties"), name, value)
                if (!json_object_get(json_object_get(a, "properties"), name))
                        schema_fail(s, "additionalProperties", "does not allow the property '%.64s' of a schema that holds at once; such a combination "
                                    "is not supported", name);
}

static json_t *merge_flat(Schema *s, json_t *a, json_t *b) {
        if (json_is_boolean(a) || json_is_boolean(b))
                return json_incref(json_is_false(a) ? a : json_is_false(b) ? b : json_is_true(a) ? b : a);
        json_t *out = json_copy(a), *value;
        const char *key;
        check_additional(s, a, b);
        check_additional(s, b, a);
        json_object_foreach(b, key, value) {
                json_t *other = json_object_get(a, key);
                json_t *both = other && !schema_is_remark(key) ? merge_of(key)(s, key, other, value) : json_incref(other ? other : value);
                if (both)
                        json_object_set_new(out, key, both);
        }
        return out;
}

/* Keeps a schema that was made until all is compiled. */
static json_t *keep(Schema *s, json_t *made) {
        schema_spend(s, 64 + json_object_size(made) + json_object_size(json_object_get(made, "properties")) +
                                json_array_size(json_object_get(made, "required")) + json_array_size(json_object_get(made, "enum")));
        if (made && json_array_append_new(s->made, made) == 0)
                return made;
        schema_fail(s, NULL, "not enough memory");
        return NULL;
}

json_t *schema_merge(Schema *s, json_t *a, json_t *b) {
        json_t *x = schema_flatten(s, a), *y = x ? schema_flatten(s, b) : NULL;
        return y ? keep(s, merge_flat(s, x, y)) : NULL;
}

static json_t *flatten(Schema *s, json_t *schema) {
        json_t *ref = json_object_get(schema, "$ref"), *all = json_object_get(schema, "allOf"), *flat, *part;
        size_t i;
        if (ref && !json_is_string(ref))
                schema_fail(s, "$ref", "must be a string");
        if (all && !json_is_array(all))
                schema_fail(s, "allOf", "must be an array of schemas");
        if (s->failed || (!ref && !all))
                return s->failed ? NULL : schema;
        if (ref && json_object_size(schema) == 1)
                return schema_resolve(s, json_string_value(ref));
        flat = keep(s, json_copy(schema));
        json_object_del(flat, "$ref");
        json_object_del(flat, "allOf");
        if (flat && ref) {
                json_t *target = schema_resolve(s, json_string_value(ref));
                flat = !target ? NULL : schema_restricts(flat, (const char *const[]){NULL}) ? schema_merge(s, flat, target) : target;
        }
        json_array_foreach(all, i, part)
                flat = flat ? schema_merge(s, flat, part) : NULL;
        return flat;
}

/* A mere reference leads to its target itself, which may be one of its own parts. */
json_t *schema_flatten(Schema *s, json_t *schema) {
        size_t back;
        json_t *flat = NULL;
        if (json_is_boolean(schema))
                return schema;
        if (!json_is_object(schema))
                schema_fail(s, NULL, "must be a schema: an object, true or false");
        else if (schema_enter(s, NULL, &back)) {
                flat = flatten(s, schema);
                schema_leave(s, back);
        } else
                schema_leave(s, back);
        return flat;
}

/* ---- disjointness ---- */

static unsigned mask_of_values(const json_t *list) {
        unsigned mask = 0;
        const json_t *v;
        size_t i;
        json_array_foreach(list, i, v)
                mask |= json_is_number(v) ? TYPE_INTEGER | TYPE_FRACTION : json_is_string(v) ? 4 : json_is_boolean(v) ? 8 : json_is_null(v) ? 16
                        : json_is_object(v) ? 32 : 64;
        return mask;
}

/* The values a schema lists, a new reference; NULL: it lists none. */
static json_t *values_of(json_t *schema) {
        json_t *only = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
        return only ? json_pack("[O]", only) : json_is_array(list) ? json_incref(list) : NULL;
}

static bool have_common(Schema *s, json_t *a, json_t *b) {
        json_t *both = merge_enums(s, NULL, a, b);
        bool common = json_array_size(both) > 0;
        json_decref(both);
        return common;
}

static bool is_named(const json_t *list, const char *name) {
        const json_t *v;
        size_t i;
        json_array_foreach(list, i, v)
                if (json_is_string(v) && strcmp(json_string_value(v), name) == 0)
                        return true;
        return false;
}

/* By a member that both must have. */
static bool objects_are_disjoint(Schema *s, json_t *a, json_t *b) {
        json_t *value;
        const char *name;
        json_object_foreach(json_object_get(a, "properties"), name, value) {
                json_t *other = json_object_get(json_object_get(b, "properties"), name);
                schema_spend(s, 1 + json_array_size(json_object_get(a, "required")) + json_array_size(json_object_get(b, "required")));
                bool both = other && !s->failed && is_named(json_object_get(a, "required"), name) && is_named(json_object_get(b, "required"), name);
                if (both && schema_are_disjoint(s, value, other))
                        return true;
        }
        return false;
}

static bool are_disjoint(Schema *s, json_t *a, json_t *b) {
        if (!a || !b || !json_is_object(a) || !json_is_object(b))
                return json_is_false(a) || json_is_false(b);
        json_t *x = values_of(a), *y = values_of(b);
        unsigned mask_a = mask_of_types(json_object_get(a, "type")), mask_b = mask_of_types(json_object_get(b, "type"));
        mask_a &= x ? mask_of_values(x) : ANY_TYPE;
        mask_b &= y ? mask_of_values(y) : ANY_TYPE;
        unsigned common = mask_a & mask_b;
        bool disjoint = common == 0 || (x && y && !have_common(s, x, y)) || (common == 32 && objects_are_disjoint(s, a, b));
        json_decref(x);
        json_decref(y);
        return disjoint;
}

bool schema_are_disjoint(Schema *s, json_t *a, json_t *b) {
        size_t back;
        bool disjoint = schema_enter(s, NULL, &back) && are_disjoint(s, schema_flatten(s, a), schema_flatten(s, b));
        schema_leave(s, back);
        return disjoint;
}
