/* Reading and making the few shapes of JSON the daemon's API uses; a field that is absent or of another type is
 * never an error, so that daemons and libraries of different versions understand each other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

const char *json_text(const json_t *object, const char *key) {
        const char *s = json_string_value(json_object_get(object, key));
        return s ? s : "";
}

uint64_t json_count(const json_t *object, const char *key) {
        const json_t *v = json_object_get(object, key);
        double d = json_number_value(v);
        if (json_is_integer(v))
                return (uint64_t)MAX(json_integer_value(v), 0);
        return d > 0 && d < 0x1p63 ? (uint64_t)d : 0;
}

const char *json_error_text(const json_t *root) {
        const json_t *error = json_object_get(root, "error");
        const char *s = json_string_value(error);
        return s ? s : json_string_value(json_object_get(error, "message"));
}

json_t *json_keep_alive(const char *text) {
        char *end;
        errno = 0;
        long long n = strtoll(text, &end, 10);
        return *text && !*end && errno == 0 ? json_integer(n) : json_string(text);
}

int json_add_extra(json_t *root, const char *extra, ZlError *e) {
        json_auto_t *more = extra ? json_loads(extra, 0, NULL) : json_object();
        if (json_object_update_recursive(root, more) < 0)
                return fail(e, -EINVAL, "the extra members of the request are not a JSON object");
        return 0;
}
