/* See call-schema.h. A function's parameters become a part of a larger schema, so that the references within them, which begin at
 * their own root, get the way to it in front. */
#include <stdio.h>
#include <string.h>

#include "text/call-schema.h"
#include "text/split.h"
#include "util/macro.h"

static json_t *moved(const json_t *schema, const char *to);

static json_t *moved_reference(const char *ref, const char *to) {
        return ref[0] == '#' ? json_sprintf("%s%s", to, ref + 1) : json_string(ref);
}

static json_t *moved_object(const json_t *object, const char *to) {
        json_t *copy = json_object(), *value;
        const char *key;
        json_object_foreach((json_t *)object, key, value) {
                bool is_data = strcmp(key, "const") == 0 || strcmp(key, "enum") == 0;
                bool is_reference = strcmp(key, "$ref") == 0 && json_is_string(value);
                json_object_set_new(copy, key, is_reference ? moved_reference(json_string_value(value), to)
                                               : is_data    ? json_incref(value)
                                                            : moved(value, to));
        }
        return copy;
}

/* The same schema at another place. */
static json_t *moved(const json_t *schema, const char *to) {
        json_t *copy, *value;
        size_t i;
        if (json_is_object(schema))
                return moved_object(schema, to);
        if (!json_is_array(schema))
                return json_incref((json_t *)schema);
        copy = json_array();
        json_array_foreach(schema, i, value)
                json_array_append_new(copy, moved(value, to));
        return copy;
}

/* At `to`. */
static json_t *schema_of(const json_t *function, const char *key, const char *to) {
        char place[96];
        const json_t *parameters = json_object_get(function, "parameters");
        snprintf(place, sizeof(place), "%s/properties/%s", to, key);
        return json_pack("{s:s, s:{s:{s:O}, s:o}, s:[s, s], s:b}", "type", "object", "properties", "name", "const",
                         json_object_get(function, "name"), key,
                         json_is_object(parameters) ? moved(parameters, place) : json_pack("{s:s}", "type", "object"), "required",
                         "name", key, "additionalProperties", 0);
}

json_t *call_schema(unsigned forms, const json_t *functions) {
        const char *key = forms & SPLIT_CALL_BARE ? "parameters" : "arguments";
        bool in_list = forms & (SPLIT_CALL_LIST_TAGS | SPLIT_CALL_LIST | SPLIT_CALL_BRACKETS);
        json_t *one = json_array(), *function;
        size_t i;
        json_array_foreach(functions, i, function) {
                char to[48];
                snprintf(to, sizeof(to), "#%s/anyOf/%zu", in_list ? "/items" : "", i);
                json_array_append_new(one, schema_of(function, key, to));
        }
        bool whole = json_array_size(one) > 0 && json_array_size(one) == json_array_size(functions);
        if (!whole) {
                json_decref(one);
                return NULL;
        }
        json_t *call = json_pack("{s:o}", "anyOf", one);
        return in_list ? json_pack("{s:s, s:o, s:i, s:i}", "type", "array", "items", call, "minItems", 1, "maxItems", 1) : call;
}
