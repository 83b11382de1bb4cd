/* Variants of models; see variant.h. A file is what some administrator wrote, or /api/create: it is checked like a request. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/variant.h"
#include "util/buf.h"
#include "util/str.h"

int (*variant_check_parameters)(json_t *parameters, Error *e);

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

/* Names of files, and of what needs none, mean these. */
bool variant_name_is_good(const char *name) {
        size_t n = strlen(name);
        bool plain = n > 0 && n <= VARIANT_NAME_MAX && !strchr(".: ", name[0]) && !strchr(": ", name[n - 1]);
        for (size_t i = 0; i < n; i++)
                plain = plain && (unsigned char)name[i] >= 0x20 && name[i] != 0x7f && name[i] != '/' && name[i] != '\\';
        return plain && strncmp(name, "builtin:", 8) != 0 && !ends_with(name, ".gguf") && !ends_with(name, ".json");
}

/* ---- what it says ---- */

static bool is_text(const json_t *v) {
        return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

static bool is_text_or_texts(const json_t *v) {
        bool texts = json_is_array(v);
        const json_t *one;
        size_t i;
        json_array_foreach(v, i, one)
                texts = texts && is_text(one);
        return texts || is_text(v);
}

static bool are_parameters(const json_t *v) {
        bool right = json_is_object(v);
        const char *key;
        json_t *one;
        json_object_foreach((json_t *)v, key, one)
                right = right && (json_is_number(one) || json_is_boolean(one) || is_text_or_texts(one));
        return right;
}

static const char *const members[] = {"from", "system", "parameters", "license", "messages", NULL};

static int check_members(const json_t *said, Error *e) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)said, key, v) {
                size_t i = 0;
                while (members[i] && strcmp(members[i], key) != 0)
                        i++;
                const char *near = members[i] ? NULL : nearest_word(key, members);
                if (!members[i])
                        return error_set(e, -EINVAL, "'%.64s' is nothing that a variant has%s%s%s", key, near ? "; did you mean '" : "",
                                         near ? near : "", near ? "'?" : "");
        }
        return 0;
}

/* The system's only where it stands first, and there is no other. */
static bool is_message(const json_t *m, bool may_be_system) {
        static const char *const roles[] = {"user", "assistant", "tool"};
        const json_t *role = json_object_get(m, "role");
        bool known = is_text(role) && may_be_system && strcmp(json_string_value(role), "system") == 0;
        for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
                known = known || (is_text(role) && strcmp(json_string_value(role), roles[i]) == 0);
        return known && is_text(json_object_get(m, "content"));
}

static json_t *messages_of(const json_t *said, bool has_system, Error *e) {
        json_t *list = json_array(), *m;
        size_t i;
        if (!json_is_array(said) || json_array_size(said) > VARIANT_MESSAGES_MAX)
                error_set(e, -EINVAL, "messages: must be a list of at most %d", VARIANT_MESSAGES_MAX);
        json_array_foreach(said, i, m) {
                if (e->code)
                        break;
                if (!is_message(m, i == 0 && !has_system))
                        error_set(e, -EINVAL, "messages[%zu]: must have the role user, assistant or tool, and a text as its content", i);
                else if (json_array_append_new(list, json_pack("{s:O,s:O}", "role", json_object_get(m, "role"), "content",
                                                               json_object_get(m, "content"))) < 0)
                        error_set(e, -ENOMEM, "out of memory");
        }
        return list;
}

json_t *variant_definition(const json_t *said, Error *e) {
        static const struct {
                const char *key, *what;
                bool (*is_right)(const json_t *v);
        } rows[] = {
                {"from", "the name of a model", is_text},
                {"system", "a text", is_text},
                {"parameters", "an object of numbers, texts and lists of texts", are_parameters},
                {"license", "a text, or a list of texts", is_text_or_texts},
        };
        json_t *messages = json_object_get(said, "messages"), *ret = json_object();
        Error wrong = ERROR_NULL;
        if (!json_is_object(said))
                error_set(&wrong, -EINVAL, "it is no JSON object");
        else
                check_members(said, &wrong);
        for (size_t i = 0; i < ARRAY_SIZE(rows) && !wrong.code; i++) {
                json_t *v = json_object_get(said, rows[i].key);
                if (v ? !rows[i].is_right(v) : i == 0)
                        error_set(&wrong, -EINVAL, "%s: must be %s, without NUL", rows[i].key, rows[i].what);
                else if (v && json_object_set(ret, rows[i].key, v) < 0)
                        error_set(&wrong, -ENOMEM, "out of memory");
        }
        json_t *parameters = json_object_get(ret, "parameters");
        if (parameters && !wrong.code && variant_check_parameters)
                variant_check_parameters(parameters, &wrong);
        if (json_object_size(parameters) == 0)
                json_object_del(ret, "parameters");
        if (messages && !wrong.code)
                json_object_set_new(ret, "messages", messages_of(messages, json_string_length(json_object_get(said, "system")) > 0, &wrong));
        if (!ret)
                error_set(&wrong, -ENOMEM, "out of memory");
        if (!wrong.code)
                return ret;
        json_decref(ret);
        *e = wrong;
        return NULL;
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
        if (!S_ISREG(st.st_mode))
                return error_set(e, -EINVAL, "it is no regular file");
        if (st.st_size > VARIANT_MAX_BYTES)
                return error_set(e, -EINVAL, "it is larger than %d KiB", VARIANT_MAX_BYTES / 1024);
        char block[8192];
        ssize_t n;
        while ((n = read(fd, block, sizeof(block))) > 0 && ret->len <= VARIANT_MAX_BYTES)
                buf_put(ret, block, (size_t)n);
        return ret->failed ? error_set(e, -ENOMEM, "out of memory") : n < 0 ? error_set(e, -errno, "%s", strerror(errno)) : 0;
}

/* Of what is no JSON only the place is told: the file may be anything, and callers anybody. */
static int read_definition(Variant *v, Error *e) {
        _cleanup_buf_ Buf text = BUF_NULL;
        json_error_t where;
        int r = read_text(v->path, &text, &v->modified, e);
        if (r < 0)
                return r;
        json_t *said = json_loadb(text.len ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &where);
        if (!said)
                return error_set(e, -EINVAL, "line %d, column %d: %s", where.line, where.column,
                                 json_error_code(&where) == json_error_duplicate_key ? "a member is there twice" : "that is no JSON");
        v->definition = variant_definition(said, e);
        json_decref(said);
        if (!v->definition)
                return e->code;
        v->opening = make_opening(v->definition, e);
        v->from = json_string_value(json_object_get(v->definition, "from"));
        return e->code;
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
        if (read_definition(v, &e) == 0)
                return v;
        json_decref(v->definition);
        v->definition = NULL;
        v->from = NULL;
        if ((v->error = strdup(e.text)))
                return v;
        variant_free(v);
        return NULL;
}
