/* A file of JSON that a test cannot do without. */
#pragma once

#include <jansson.h>

#include "unit.h"

/* `path` NULL: there is none, and the test fails. The caller's. */
static inline json_t *load_json(const char *path) {
        json_error_t e = {.text = "not found"};
        json_t *j = path ? json_load_file(path, JSON_ALLOW_NUL, &e) : NULL;
        if (!j)
                fail_msg("%s: %s", path ? path : "a file", e.text);
        return j;
}
