/* The inputs of a request, or its prompts, gathered from JSON into one block of memory: first their sizes, then their contents. All of it
 * may run on a worker. */
#include <string.h>

#include "api/api-private.h"
#include "util/checked.h"

enum { INPUTS_MAX = 65536 };

typedef enum InputKind { INPUT_TEXT, INPUT_IDS, INPUT_DOCUMENT } InputKind;

static json_t *text_of(json_t *v, InputKind kind) {
        json_t *text = kind == INPUT_DOCUMENT && json_is_object(v) ? json_object_get(v, "text") : v;
        return json_is_string(text) ? text : NULL;
}

static bool check_ids(Args *a, const char *key, const json_t *list, size_t at) {
        const json_t *v;
        size_t i;
        json_array_foreach(list, i, v)
                if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX) {
                        arg_fail(a, key, "element %zu of input %zu is no token id", i, at);
                        return false;
                }
        return true;
}

/* Its size in token ids or bytes; false after an error. */
static bool measure(Args *a, const char *key, json_t *v, size_t at, InputKind kind, size_t *ret) {
        static const char *const wanted[] = {[INPUT_TEXT] = "a text", [INPUT_IDS] = "a list of token ids",
                                             [INPUT_DOCUMENT] = "a text, or an object with a text"};
        const json_t *text = text_of(v, kind);
        if (kind == INPUT_IDS ? !json_is_array(v) : !text) {
                arg_fail(a, key, "element %zu must be %s%s", at, wanted[kind], at > 0 ? ", as the first is" : "");
                return false;
        }
        *ret = kind == INPUT_IDS ? json_array_size(v) : json_string_length(text);
        return kind != INPUT_IDS || check_ids(a, key, v, at);
}

static void *copy(void *to, json_t *v, InputKind kind) {
        int32_t *id = to;
        const json_t *it;
        size_t i;
        if (kind != INPUT_IDS)
                return mempcpy(to, json_string_value(text_of(v, kind)), json_string_length(text_of(v, kind)));
        json_array_foreach(v, i, it)
                *id++ = (int32_t)json_integer_value(it);
        return id;
}

static json_t *element(json_t *list, json_t *single, size_t i) {
        return single ? single : json_array_get(list, i);
}

static InputList *gather(Args *a, const char *key, json_t *list, json_t *single, InputKind kind) {
        size_t n = single ? 1 : json_array_size(list), size = 0, one, block;
        for (size_t i = 0; i < n; i++) {
                if (!measure(a, key, element(list, single, i), i, kind, &one))
                        return NULL;
                size += one; /* of what is in memory */
        }
        size_t unit = kind == INPUT_IDS ? sizeof(int32_t) : 1;
        InputList *l = NULL;
        if (size <= UINT32_MAX && checked_mul(size, unit, &block) && checked_add(block, sizeof(*l) + n * sizeof(int32_t), &block))
                l = charged_malloc(block);
        if (!l) {
                arg_no_memory(a);
                return NULL;
        }
        *l = (InputList){.n = (uint32_t)n, .is_ids = kind == INPUT_IDS, .size = size};
        void *to = l->counts + n;
        for (size_t i = 0; i < n; i++) {
                void *from = to;
                to = copy(to, element(list, single, i), kind);
                l->counts[i] = (int32_t)((size_t)((char *)to - (char *)from) / unit);
        }
        return l;
}

InputList *arg_inputs(Args *a, const char *key, bool documents) {
        json_t *v = arg_get(a, key), *first = json_array_get(v, 0);
        if (!v)
                arg_fail(a, key, "is missing");
        else if (!json_is_array(v) && (documents || !json_is_string(v)))
                arg_fail(a, key, documents ? "must be a list of texts" : "must be a text, a list of texts, or token ids");
        else if (json_array_size(v) > INPUTS_MAX && !json_is_integer(first))
                arg_fail(a, key, "has %zu elements; at most %d are possible", json_array_size(v), INPUTS_MAX);
        if (arg_failed(a))
                return NULL;
        if (documents)
                return gather(a, key, v, NULL, INPUT_DOCUMENT);
        if (json_is_string(v))
                return gather(a, key, NULL, v, INPUT_TEXT);
        if (json_is_integer(first))
                return gather(a, key, NULL, v, INPUT_IDS);
        return gather(a, key, v, NULL, json_is_array(first) ? INPUT_IDS : INPUT_TEXT);
}
