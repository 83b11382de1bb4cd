/* Variants of models; see variant.h. A file is what some administrator wrote, or /api/create: it is checked like a request. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/variant.h"
#include "util/buf.h"

void variant_free(Variant *v) {
        if (!v)
                return;
        list_remove(&v->node);
        json_decref(v->definition);
        free(v->name);
        free(v->path);
        free(v->opening);
        free(v->error);
        free(v);
}

bool variant_name_is_good(const char *name) {
        size_t n = strlen(name);
        bool plain = n > 0 && n <= VARIANT_NAME_MAX && name[0] != '.';
        for (size_t i = 0; i < n; i++)
                plain = plain && (unsigned char)name[i] >= 0x20 && name[i] != 0x7f && name[i] != '/';
        return plain;
}

/* ---- what it says ---- */

static int check_kind(const json_t *definition, const char *key, bool is_right, const char *what, Error *e) {
        const json_t *v = json_object_get(definition, key);
        return !v || is_right ? 0 : error_set(e, -EINVAL, "%s: must be %s", key, what);
}

static int check_messages(const json_t *messages, Error *e) {
        const json_t *m;
        size_t i;
        json_array_foreach(messages, i, m)
                if (!json_is_string(json_object_get(m, "role")) || !json_is_string(json_object_get(m, "content")))
                        return error_set(e, -EINVAL, "messages[%zu]: must have a role and a content, which are texts", i);
        return 0;
}

int variant_check(const json_t *definition, Error *e) {
        const json_t *messages = json_object_get(definition, "messages");
        if (!json_is_object(definition))
                return error_set(e, -EINVAL, "it is no JSON object");
        if (!json_is_string(json_object_get(definition, "from")))
                return error_set(e, -EINVAL, "from: must be the name of a model");
        if (check_kind(definition, "system", json_is_string(json_object_get(definition, "system")), "a text", e) < 0 ||
            check_kind(definition, "parameters", json_is_object(json_object_get(definition, "parameters")), "an object", e) < 0 ||
            check_kind(definition, "messages", json_is_array(messages), "a list", e) < 0)
                return -EINVAL;
        return check_messages(messages, e);
}

/* NULL and no error set: there are none. */
static char *make_opening(const json_t *definition, Error *e) {
        json_t *system = json_object_get(definition, "system"), *messages = json_object_get(definition, "messages");
        json_t *all = messages ? json_copy(messages) : json_array();
        int r = all ? 0 : -1;
        if (json_string_length(system) > 0)
                r |= json_array_insert_new(all, 0, json_pack("{s:s,s:O}", "role", "system", "content", system));
        char *text = r == 0 && json_array_size(all) > 0 ? json_dumps(all, JSON_COMPACT) : NULL;
        if (r < 0 || (!text && json_array_size(all) > 0))
                error_set(e, -ENOMEM, "out of memory");
        json_decref(all);
        return text;
}

/* ---- reading ---- */

static int read_text(const char *path, Buf *ret, time_t *ret_modified, Error *e) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO has no writer to wait for */
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(e, -errno, "%s", strerror(errno));
        *ret_modified = st.st_mtime;
        if (!S_ISREG(st.st_mode) || st.st_size > VARIANT_MAX_BYTES)
                return error_set(e, -EINVAL, "it is no file, or larger than %d KiB", VARIANT_MAX_BYTES / 1024);
        char block[8192];
        ssize_t n;
        while ((n = read(fd, block, sizeof(block))) > 0 && ret->len <= VARIANT_MAX_BYTES)
                buf_put(ret, block, (size_t)n);
        return ret->failed ? error_set(e, -ENOMEM, "out of memory") : n < 0 ? error_set(e, -errno, "%s", strerror(errno)) : 0;
}

static int read_definition(Variant *v, Error *e) {
        _cleanup_buf_ Buf text = BUF_NULL;
        json_error_t where;
        int r = read_text(v->path, &text, &v->modified, e);
        if (r < 0)
                return r;
        json_t *definition = json_loadb(text.len ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &where);
        if (!definition)
                return error_set(e, -EINVAL, "line %d, column %d: %s", where.line, where.column, where.text);
        r = variant_check(definition, e);
        if (r == 0 && !(v->opening = make_opening(definition, e)))
                r = e->code;
        if (r < 0) {
                json_decref(definition);
                return r;
        }
        v->definition = definition;
        v->from = json_string_value(json_object_get(definition, "from"));
        return 0;
}

Variant *variant_read(const char *name, size_t len, char *path) {
        Variant *v = calloc(1, sizeof(*v));
        Error e = ERROR_NULL;
        if (!v || !path || !(v->name = strndup(name, len))) {
                free(v);
                free(path);
                return NULL;
        }
        list_init(&v->node);
        v->path = path;
        if (read_definition(v, &e) == 0 || (v->error = strdup(e.text)))
                return v;
        variant_free(v);
        return NULL;
}
