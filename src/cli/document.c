/* A JSON object as "key: value" rows for eyes. */
#include <pwd.h>
#include <string.h>

#include "cli/document.h"

void format_value(const json_t *value, char *buf, size_t n) {
        if (json_is_string(value))
                snprintf(buf, n, "%s", json_string_value(value));
        else if (json_is_integer(value))
                snprintf(buf, n, "%lld", (long long)json_integer_value(value));
        else if (json_is_real(value))
                snprintf(buf, n, "%g", json_real_value(value));
        else if (json_is_boolean(value))
                snprintf(buf, n, "%s", json_is_true(value) ? "yes" : "no");
        else if (json_is_array(value))
                snprintf(buf, n, "%zu of them", json_array_size(value));
        else
                buf[0] = 0;
}

const char *member_text(const json_t *object, const char *key, char *buf, size_t n) {
        format_value(json_object_get(object, key), buf, n);
        return buf;
}

void add_members(Table *t, const json_t *object) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value) {
                char text[256];
                format_value(value, text, sizeof(text));
                if (*text)
                        table_add(t, (const char *[]){key, text});
        }
}

bool is_local(const ZlClient *client) {
        return zl_client_address(client)[0] == '/';
}

void name_users(json_t *users) {
        json_t *u;
        size_t i;
        json_array_foreach(users, i, u) {
                const json_t *uid = json_object_get(u, "uid");
                const struct passwd *p = NULL;
                if (!json_is_string(json_object_get(u, "name")) && json_is_integer(uid))
                        p = getpwuid((uid_t)json_integer_value(uid));
                if (p)
                        json_object_set_new(u, "name", json_string(p->pw_name));
        }
}
