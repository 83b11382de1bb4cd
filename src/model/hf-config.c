/* Typed access to config.json; see hf-config.h. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "model/hf-config.h"

const json_t *config_get(const json_t *object, const char *key) {
        const json_t *v = json_object_get(object, key);
        return json_is_null(v) ? NULL : v;
}

int config_count(const Model *m, const json_t *object, const char *key, bool required, uint32_t *value, Error *e) {
        const json_t *v = config_get(object, key);
        json_int_t n = json_integer_value(v);
        if (!v && required)
                return BAD_VALUE(m, e, -EINVAL, key, "is missing");
        if (!v)
                return 0;
        if (!json_is_integer(v) || n < 1 || n > INT32_MAX)
                return BAD_VALUE(m, e, -EINVAL, key, "should be a whole number from 1 to %d", INT32_MAX);
        *value = (uint32_t)n;
        return 0;
}

int config_positive(const Model *m, const json_t *object, const char *key, bool required, float *value, Error *e) {
        const json_t *v = config_get(object, key);
        float x = (float)json_number_value(v);
        if (!v && required)
                return BAD_VALUE(m, e, -EINVAL, key, "is missing");
        if (!v)
                return 0;
        if (!json_is_number(v) || !isfinite(x) || x <= 0)
                return BAD_VALUE(m, e, -EINVAL, key, "should be a positive number");
        *value = x;
        return 0;
}

int config_flag(const Model *m, const char *key, bool *value, Error *e) {
        const json_t *v = config_get(hf_text_config(m->hf), key);
        *value = json_is_true(v);
        return v && !json_is_boolean(v) ? BAD_VALUE(m, e, -EINVAL, key, "should be true or false") : 0;
}

int config_refuse_true(const Model *m, const char *const *keys, size_t n, Error *e) {
        bool flag;
        for (size_t i = 0; i < n; i++) {
                int k = config_flag(m, keys[i], &flag, e);
                if (k < 0)
                        return k;
                if (flag)
                        return BAD_VALUE(m, e, -EOPNOTSUPP, keys[i], "is true, which is not supported");
        }
        return 0;
}

int config_class(const Model *m, const char **ret, Error *e) {
        const json_t *classes = config_get(hf_config(m->hf), "architectures");
        const char *name = json_string_value(json_array_get(classes, 0));
        *ret = name ? name : "";
        if (name || !classes || (json_is_array(classes) && json_array_size(classes) == 0))
                return 0;
        return BAD_VALUE(m, e, -EINVAL, "architectures", "should be a list of names");
}

bool ends_with(const char *name, const char *end) {
        size_t len = strlen(name), n = strlen(end);
        return len >= n && strcmp(name + len - n, end) == 0;
}
