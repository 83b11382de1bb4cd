/* Options, from their rows to their values: --name value, --name=value, -n value, flags, and -- which ends them. They
 * may stand anywhere after the command. A value that is out of bounds is refused, never bent. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/str.h"

static bool complain_value(const Option *o, const char *value, const char *expected) {
        complain("--%s takes %s, not '%s'", o->name, expected, value);
        return false;
}

static bool set_integer(const Option *o, const char *value) {
        const int64_t **slot = o->value;
        char *end, expected[96];
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (!*value || *end || errno || (double)v < o->min || (double)v > o->max) {
                snprintf(expected, sizeof(expected), "a whole number from %.0f to %.0f", o->min, o->max);
                return complain_value(o, value, expected);
        }
        int64_t *copy = malloc(sizeof(*copy));
        if (!copy)
                return complain("out of memory"), false;
        *copy = v;
        free((void *)*slot);
        *slot = copy;
        return true;
}

static bool set_real(const Option *o, const char *value) {
        const double **slot = o->value;
        char *end, expected[96];
        double v = strtod(value, &end);
        if (!*value || *end || !(v >= o->min && v <= o->max)) {
                snprintf(expected, sizeof(expected), "a number from %g to %g", o->min, o->max);
                return complain_value(o, value, expected);
        }
        double *copy = malloc(sizeof(*copy));
        if (!copy)
                return complain("out of memory"), false;
        *copy = v;
        free((void *)*slot);
        *slot = copy;
        return true;
}

/* The list is the option's own; the texts are the caller's. */
static bool add_text(const Option *o, const char *value) {
        const char ***slot = o->value;
        size_t n = 0;
        while (*slot && (*slot)[n])
                n++;
        const char **list = realloc((void *)*slot, (n + 2) * sizeof(*list));
        if (!list)
                return complain("out of memory"), false;
        list[n] = value;
        list[n + 1] = NULL;
        *slot = list;
        return true;
}

char *read_text_file(const char *path) {
        _cleanup_buf_ Buf b = BUF_NULL;
        FILE *f = strcmp(path, "-") == 0 ? fdopen(dup(STDIN_FILENO), "r") : fopen(path, "re");
        char part[4096];
        size_t n;
        while (f && (n = fread(part, 1, sizeof(part), f)) > 0)
                buf_put(&b, part, n);
        bool bad = !f || ferror(f);
        if (bad || b.failed)
                complain("cannot read %s: %s", path, bad ? strerror(errno) : "out of memory");
        if (f)
                fclose(f);
        if (b.len > 0 && memchr(b.data, 0, b.len)) {
                complain("%s is no text: it has a NUL byte", path);
                return NULL;
        }
        return bad ? NULL : buf_take(&b);
}

static bool set_content(const Option *o, const char *value) {
        const char **slot = o->value;
        *slot = *value == '@' ? read_text_file(value + 1) : value;
        return *slot;
}

bool option_set(const Option *o, const char *value) {
        switch (o->kind) {
        case OPTION_FLAG:
                *(bool *)o->value = true;
                return true;
        case OPTION_TEXT:
                *(const char **)o->value = value;
                return true;
        case OPTION_CONTENT:
                return set_content(o, value);
        case OPTION_TEXTS:
                return add_text(o, value);
        case OPTION_INTEGER:
                return set_integer(o, value);
        case OPTION_REAL:
                return set_real(o, value);
        case OPTION_END:
                break;
        }
        return false;
}

static const Option *find(const Option *const *tables, const char *name, size_t n, char letter) {
        for (; *tables; tables++)
                for (const Option *o = *tables; o->kind != OPTION_END; o++)
                        if (letter ? o->letter == letter : strlen(o->name) == n && strncmp(o->name, name, n) == 0)
                                return o;
        return NULL;
}

static void complain_unknown(const Option *const *tables, const char *name) {
        enum { MANY = 64 };
        const char *names[MANY + 1] = {NULL};
        size_t n = 0;
        for (; *tables; tables++)
                for (const Option *o = *tables; o->kind != OPTION_END && n < MANY; o++)
                        names[n++] = o->name;
        const char *near = nearest_word(name, names);
        if (near)
                complain("there is no option --%s; did you mean --%s?", name, near);
        else
                complain("there is no option --%s; --help lists them", name);
}

const Option *option_find(const Option *const *tables, const char *name) {
        const Option *o = find(tables, name, strlen(name), 0);
        if (!o)
                complain_unknown(tables, name);
        return o;
}

/* The option that `arg` names, and its value when it is in the same argument. */
static const Option *match(const Option *const *tables, const char *arg, const char **ret_value) {
        const Option *o;
        *ret_value = NULL;
        if (arg[1] != '-') {
                o = find(tables, NULL, 0, arg[1]);
                if (!o)
                        complain("there is no option -%c; --help lists them (write -- before text that begins with -)",
                                 arg[1]);
                if (arg[2])
                        *ret_value = arg + 2;
                return o;
        }
        size_t n = strcspn(arg + 2, "=");
        o = find(tables, arg + 2, n, 0);
        if (!o) {
                char name[64];
                snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), arg + 2);
                complain_unknown(tables, name);
        }
        if (arg[2 + n])
                *ret_value = arg + 2 + n + 1;
        return o;
}

int options_parse(const Option *const *tables, char **argv, bool leading) {
        char **in = argv, **out = argv;
        while (*in) {
                if (strcmp(*in, "--") == 0) {
                        in++;
                        break;
                }
                if ((*in)[0] != '-' || !(*in)[1]) {
                        if (leading)
                                break;
                        *out++ = *in++;
                        continue;
                }
                const char *value;
                const Option *o = match(tables, *in++, &value);
                if (!o)
                        return -1;
                if (o->kind == OPTION_FLAG && value) {
                        complain("--%s takes no value", o->name);
                        return -1;
                }
                if (o->kind != OPTION_FLAG && !value && !(value = *in++)) {
                        complain("--%s needs a value: %s", o->name, o->argument);
                        return -1;
                }
                if (!option_set(o, value))
                        return -1;
        }
        while (*in)
                *out++ = *in++;
        *out = NULL;
        return (int)(out - argv);
}

void option_usage(const Option *o, char *buf, size_t n) {
        int k = o->letter ? snprintf(buf, n, "-%c, ", o->letter) : 0;
        snprintf(buf + k, n - (size_t)k, "--%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
}
