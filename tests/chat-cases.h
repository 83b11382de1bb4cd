/* Cases of chat templates for test-jinja and test-chat: reading them, rendering, and comparing. */
#pragma once

#include <errno.h>

#include "json-file.h"
#include "text/chat.h"

/* The cases that Python rendered, tests/data/chat-cases.json. */
static inline json_t *load_cases(void) {
        return load_json(recorded("chat-cases.json"));
}

/* Compiles and renders; the result, also of a failure, is the caller's to free. */
static inline int render(const char *source, size_t len, const json_t *context, Buf *out, Error *e) {
        ChatTemplate *t = NULL;
        *e = ERROR_NULL;
        int r = chat_template_new(source, len, e, &t);
        if (r == 0)
                r = chat_template_render(t, context, out, e);
        chat_template_free(t);
        return r;
}

/* Whether a render came out as Python's did; tells the difference. `source` is for the message. */
static inline bool same_outcome(const char *name, const char *source, int r, const Buf *out, const Error *e,
                                const json_t *expected) {
        const char *raised = json_string_value(json_object_get(expected, "raise"));
        bool same;
        if (json_is_string(expected))
                same = r == 0 && out->len == json_string_length(expected) &&
                       (out->len == 0 || memcmp(out->data, json_string_value(expected), out->len) == 0);
        else if (raised)
                same = r == -EINVAL && strstr(e->text, raised);
        else if (json_object_get(expected, "undefined"))
                same = r == -EINVAL && strstr(e->text, "undefined");
        else
                same = r == 0 || *e->text; /* Python's other errors: an answer of our own, or a message */
        if (!same)
                print_error("%s: %s\n--- expected\n%s\n--- got (%d %s)\n%s\n", name, source,
                            json_is_string(expected) ? json_string_value(expected)
                            : raised                 ? raised
                                                     : "an error",
                            r, e->text, out->data ? out->data : "");
        return same;
}
