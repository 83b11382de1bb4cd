/* What the daemon can be told, and what it does when it is not told.
 *
 * One table row per option: its key, how its text becomes a value and back (a Kind), its default and its bounds.
 * Loading, printing, the list of keys and every message follow from the rows. config-doc.c turns the file into Slots
 * of text that have the shape of the tables; here the text becomes values: a record starts from its rows' defaults
 * (an entry of `models` from model_defaults, of `users` and `groups` from user_defaults), then takes what is written.
 * Last come the checks that span options: references, repeated names, addresses. Any failure drops the whole Config.
 *
 * Names of users and groups are looked up at load, so that a typing error is found then and not when they call. */
#include <config.h> /* in brackets: "config.h" here is the daemon's */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "daemon/config-doc.h"
#include "daemon/config.h"
#include "util/map.h"
#include "util/str.h"

#define DEFAULT_FILE SYSCONFDIR "/zerollama/zerollamad.yaml"
#define FILE_MAX (1u << 20)

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define SECOND UINT64_C(1000000)
#define DAY (86400 * SECOND)
#define FOREVER UINT64_MAX
#define DURATION_MAX (3650 * DAY) /* short of forever; exact in what parse_duration() computes with */

struct ConfigPrivate {
        char **strings; /* all text the Config points to, but literals */
        size_t n_strings;
};

typedef struct Loader {
        Config *config;
        Doc doc;
        Error *error;
        bool oom;
        char phrase[96]; /* of what was expected, where it has to be composed */
} Loader;

typedef struct Kind {
        const char *type;
        /* Reads `text` into the member `row` speaks of; returns NULL, or what was expected. */
        const char *(*read)(Loader *l, const Row *row, const char *text, void *record);
        /* Writes it so that `read` understands; nothing where it has no value. */
        void (*write)(const Row *row, const void *record, Buf *out);
        /* Quantities: the number in a text, and a number as text. */
        int (*scan)(const char *text, uint64_t *ret);
        char *(*show)(char *buf, size_t n, uint64_t value);
} Kind;

static void *member(const Row *row, void *record) {
        return (char *)record + row->offset;
}

static const void *const_member(const Row *row, const void *record) {
        return (const char *)record + row->offset;
}

/* Takes over `s`, which asprintf or strdup made; NULL where they failed. */
static const char *keep(Config *c, char *s) {
        char **strings = s ? reallocarray(c->priv->strings, c->priv->n_strings + 1, sizeof(*strings)) : NULL;
        if (!strings) {
                free(s);
                return NULL;
        }
        c->priv->strings = strings;
        return strings[c->priv->n_strings++] = s;
}

static void keep_text(Loader *l, const char **ret, const char *text, size_t n) {
        *ret = keep(l->config, strndup(text, n));
        l->oom |= !*ret;
}

/* Text */

static const char *read_text(Loader *l, const Row *row, const char *text, void *record) {
        if (!*text)
                return "a path";
        keep_text(l, member(row, record), text, strlen(text));
        return NULL;
}

static void write_text(const Row *row, const void *record, Buf *out) {
        const char *text = *(const char *const *)const_member(row, record);
        buf_puts(out, text ?: "");
}

static const char *read_absolute(Loader *l, const Row *row, const char *text, void *record) {
        return *text == '/' ? read_text(l, row, text, record) : "an absolute path";
}

static const char *read_socket(Loader *l, const Row *row, const char *text, void *record) {
        if (strlen(text) >= sizeof(((struct sockaddr_un *)0)->sun_path))
                return "a path of at most 107 bytes";
        return read_absolute(l, row, text, record);
}

static const char *read_name(Loader *l, const Row *row, const char *text, void *record) {
        bool good = *text && strlen(text) <= 128;
        for (const char *p = text; *p; p++)
                good &= (unsigned char)*p > ' ' && *p != 0x7f;
        return good ? read_text(l, row, text, record) : "a name of at most 128 bytes, without spaces";
}

static const char *read_device(Loader *l, const Row *row, const char *text, void *record) {
        const char *n = strncmp(text, "cuda:", 5) == 0 ? text + 5 : "";
        bool cuda = *n && strlen(n) <= 3 && strspn(n, "0123456789") == strlen(n);
        if (!cuda && strcmp(text, "auto") != 0 && strcmp(text, "cpu") != 0)
                return "auto, cpu or cuda:N";
        return read_text(l, row, text, record);
}

static const Kind kind_path = {"path", read_text, write_text};
static const Kind kind_absolute = {"absolute path", read_absolute, write_text};
static const Kind kind_socket = {"absolute path", read_socket, write_text};
static const Kind kind_name = {"name", read_name, write_text};
static const Kind kind_device = {"device", read_device, write_text};

/* Quantities */

static int scan_count(const char *text, uint64_t *ret) {
        if (!*text || strspn(text, "0123456789") != strlen(text))
                return -EINVAL;
        errno = 0;
        *ret = strtoull(text, NULL, 10);
        return -errno;
}

static char *show_count(char *buf, size_t n, uint64_t value) {
        snprintf(buf, n, "%" PRIu64, value);
        return buf;
}

/* In the largest unit that leaves a whole number: format_size() rounds. */
static char *show_size(char *buf, size_t n, uint64_t bytes) {
        static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
        size_t u = 0;
        for (; bytes && bytes % 1024 == 0 && u + 1 < ARRAY_SIZE(units); u++)
                bytes /= 1024;
        snprintf(buf, n, "%" PRIu64 "%s", bytes, units[u]);
        return buf;
}

static const char *expected_quantity(Loader *l, const Row *row) {
        char min[32], max[32];
        row->kind->show(min, sizeof(min), row->min);
        row->kind->show(max, sizeof(max), row->max);
        snprintf(l->phrase, sizeof(l->phrase), "a %s from %s%s %s", row->kind->type, min,
                 row->max == FOREVER ? ", or" : " to", max);
        return l->phrase;
}

static const char *read_quantity(Loader *l, const Row *row, const char *text, void *record) {
        uint64_t v;
        if (row->kind->scan(text, &v) < 0 || v < row->min || v > row->max ||
            (row->max == FOREVER && v > DURATION_MAX && v != FOREVER))
                return expected_quantity(l, row);
        if (row->width == sizeof(uint32_t))
                *(uint32_t *)member(row, record) = (uint32_t)v;
        else
                *(uint64_t *)member(row, record) = v;
        return NULL;
}

static void write_quantity(const Row *row, const void *record, Buf *out) {
        const void *m = const_member(row, record);
        uint64_t v = row->width == sizeof(uint32_t) ? *(const uint32_t *)m : *(const uint64_t *)m;
        char text[64];
        buf_puts(out, row->kind->show(text, sizeof(text), v));
}

static const Kind kind_count = {"whole number", read_quantity, write_quantity, scan_count, show_count};
static const Kind kind_size = {"size", read_quantity, write_quantity, parse_size, show_size};
static const Kind kind_duration = {"duration", read_quantity, write_quantity, parse_duration, format_duration};

/* Values of one option each */

static const char *read_bool(Loader *l, const Row *row, const char *text, void *record) {
        bool yes = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
        if (!yes && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
                return "true or false";
        *(bool *)member(row, record) = yes;
        return NULL;
}

static void write_bool(const Row *row, const void *record, Buf *out) {
        buf_puts(out, *(const bool *)const_member(row, record) ? "true" : "false");
}

static const char *read_mode(Loader *l, const Row *row, const char *text, void *record) {
        char *end;
        unsigned long mode = strtoul(text, &end, 8);
        if (!*text || strspn(text, "01234567") != strlen(text) || *end || mode > 0777)
                return "an octal mode such as 0660";
        *(mode_t *)member(row, record) = (mode_t)mode;
        return NULL;
}

static void write_mode(const Row *row, const void *record, Buf *out) {
        const ConfigListen *listen = record;
        if (listen->unix_path)
                buf_printf(out, "%04o", listen->mode);
}

/* "127.0.0.1:80", "[::1]:80"; addresses only: a name may resolve to anything by the time it is bound. */
static const char *read_tcp(Loader *l, const Row *row, const char *text, void *record) {
        static const char *const expected = "an address and port such as 127.0.0.1:11434 or [::1]:11434";
        ConfigListen *listen = record;
        const char *colon = strrchr(text, ':');
        uint64_t port;
        char host[64];
        struct in6_addr addr;
        size_t n = colon ? (size_t)(colon - text) : sizeof(host);
        if (n >= sizeof(host) || scan_count(colon + 1, &port) < 0 || port < 1 || port > 65535)
                return expected;
        bool v6 = n > 2 && text[0] == '[' && text[n - 1] == ']';
        snprintf(host, sizeof(host), "%.*s", (int)(v6 ? n - 2 : n), text + v6);
        if (inet_pton(v6 ? AF_INET6 : AF_INET, host, &addr) != 1)
                return expected;
        listen->port = (uint16_t)port;
        keep_text(l, &listen->host, text, n);
        return NULL;
}

static void write_tcp(const Row *row, const void *record, Buf *out) {
        const ConfigListen *listen = record;
        if (listen->host)
                buf_printf(out, "%s:%u", listen->host, listen->port);
}

static const char *read_memory(Loader *l, const Row *row, const char *text, void *record) {
        static const char *const expected = "a size of at least 1MiB, or a percentage from 1% to 100%";
        ConfigPool *pool = record;
        size_t n = strlen(text);
        uint64_t v;
        if (n > 1 && text[n - 1] == '%') {
                char digits[8];
                snprintf(digits, sizeof(digits), "%.*s", (int)(n - 1), text);
                if (n > 4 || scan_count(digits, &v) < 0 || v < 1 || v > 100)
                        return expected;
                pool->memory = 0;
                pool->memory_percent = (uint32_t)v;
                return NULL;
        }
        if (parse_size(text, &v) < 0 || v < MIB)
                return expected;
        pool->memory = v;
        pool->memory_percent = 0;
        return NULL;
}

static void write_memory(const Row *row, const void *record, Buf *out) {
        const ConfigPool *pool = record;
        char text[64];
        if (pool->memory)
                buf_puts(out, show_size(text, sizeof(text), pool->memory));
        else
                buf_printf(out, "%u%%", pool->memory_percent);
}

static const char *read_weight(Loader *l, const Row *row, const char *text, void *record) {
        char *end;
        double v = strtod(text, &end);
        if (!*text || strspn(text, "0123456789.") != strlen(text) || *end || v < 0.001 || v > 1000)
                return "a number from 0.001 to 1000";
        *(double *)member(row, record) = v;
        return NULL;
}

static void write_weight(const Row *row, const void *record, Buf *out) {
        double v = *(const double *)const_member(row, record);
        char text[32];
        for (int digits = 6; digits <= 17; digits++) { /* the fewest that read back to the same */
                snprintf(text, sizeof(text), "%.*g", digits, v);
                if (strtod(text, NULL) == v)
                        break;
        }
        buf_puts(out, text);
}

static const char *read_level(Loader *l, const Row *row, const char *text, void *record) {
        LogLevel level;
        if (log_level_from_string(text, &level) < 0)
                return "error, warning, notice, info or debug";
        *(LogLevel *)member(row, record) = level;
        return NULL;
}

static void write_level(const Row *row, const void *record, Buf *out) {
        buf_puts(out, log_level_to_string(*(const LogLevel *)const_member(row, record)));
}

static const char *const priorities[] = {"interactive", "batch"};

const char *config_priority_name(ConfigPriority p) {
        return priorities[p];
}

static const char *read_priority(Loader *l, const Row *row, const char *text, void *record) {
        for (size_t i = 0; i < ARRAY_SIZE(priorities); i++)
                if (strcmp(text, priorities[i]) == 0) {
                        *(ConfigPriority *)member(row, record) = (ConfigPriority)i;
                        return NULL;
                }
        return "interactive or batch";
}

static void write_priority(const Row *row, const void *record, Buf *out) {
        buf_puts(out, config_priority_name(*(const ConfigPriority *)const_member(row, record)));
}

static const char *const precisions[] = {[CONFIG_FLOAT32] = "float32", [CONFIG_INT16] = "int16", [CONFIG_INT8] = "int8"};

const char *config_precision_name(ConfigPrecision p) {
        return precisions[p];
}

static const char *read_precision(Loader *l, const Row *row, const char *text, void *record) {
        for (size_t i = 0; i < ARRAY_SIZE(precisions); i++)
                if (strcmp(text, precisions[i]) == 0) {
                        *(ConfigPrecision *)member(row, record) = (ConfigPrecision)i;
                        return NULL;
                }
        return "float32, int16 or int8";
}

static void write_precision(const Row *row, const void *record, Buf *out) {
        buf_puts(out, config_precision_name(*(const ConfigPrecision *)const_member(row, record)));
}

static const Kind kind_bool = {"true or false", read_bool, write_bool};
static const Kind kind_mode = {"octal mode", read_mode, write_mode};
static const Kind kind_tcp = {"address:port", read_tcp, write_tcp};
static const Kind kind_memory = {"size or percentage", read_memory, write_memory};
static const Kind kind_weight = {"number", read_weight, write_weight};
static const Kind kind_level = {"level", read_level, write_level};
static const Kind kind_priority = {"priority", read_priority, write_priority};
static const Kind kind_precision = {"precision", read_precision, write_precision};

/* Users and groups */

/* The _r functions, since a reload runs beside a loop that may look up others. What they need room for, above all a
 * group's members, has no bound they would tell. */
static bool find_user(const char *name, uint32_t *ret_uid) {
        for (size_t n = 1 << 12; n <= 1 << 24; n *= 4) {
                _cleanup_free_ char *room = malloc(n);
                struct passwd pw, *found = NULL;
                if (room && getpwnam_r(name, &pw, room, n, &found) == ERANGE)
                        continue;
                if (found)
                        *ret_uid = pw.pw_uid;
                return found;
        }
        return false;
}

static bool find_group(const char *name, uint32_t *ret_gid) {
        for (size_t n = 1 << 12; n <= 1 << 24; n *= 4) {
                _cleanup_free_ char *room = malloc(n);
                struct group gr, *found = NULL;
                if (room && getgrnam_r(name, &gr, room, n, &found) == ERANGE)
                        continue;
                if (found)
                        *ret_gid = gr.gr_gid;
                return found;
        }
        return false;
}

static const char *read_owner(Loader *l, const Row *row, const char *text, void *record) {
        return find_user(text, &(uint32_t){0}) ? read_text(l, row, text, record) : "a user of this machine";
}

static const char *read_owning_group(Loader *l, const Row *row, const char *text, void *record) {
        return find_group(text, &(uint32_t){0}) ? read_text(l, row, text, record) : "a group of this machine";
}

static const char *read_user(Loader *l, const Row *row, const char *text, void *record) {
        ConfigUser *user = record;
        return find_user(text, &user->id) ? read_text(l, row, text, record) : "a user of this machine";
}

static const char *read_group(Loader *l, const Row *row, const char *text, void *record) {
        ConfigUser *group = record;
        return find_group(text, &group->id) ? read_text(l, row, text, record) : "a group of this machine";
}

static void write_id(const Row *row, const void *record, Buf *out) {
        if (!((const ConfigUser *)record)->name)
                write_quantity(row, record, out);
}

static const Kind kind_owner = {"user", read_owner, write_text};
static const Kind kind_owning_group = {"group", read_owning_group, write_text};
static const Kind kind_user = {"user", read_user, write_text};
static const Kind kind_group = {"group", read_group, write_text};
static const Kind kind_id = {"whole number", read_quantity, write_id, scan_count, show_count};

/* The options: key, kind, member, default, least, most */

#define AT(type, m) offsetof(type, m), sizeof(((type *)0)->m)
#define MAPPING(type, m) .offset = offsetof(type, m)
#define LIST(type, m, count) .offset = offsetof(type, m), .list = true, .count_offset = offsetof(type, count)

static int check_listen(Loader *l, const Path *at, const Slot *slots, void *record);
static int check_user(Loader *l, const Path *at, const Slot *slots, void *record);

static const Row listen_rows[] = {
        {"unix", &kind_socket, AT(ConfigListen, unix_path)},
        {"mode", &kind_mode, AT(ConfigListen, mode), "0666"},
        {"owner", &kind_owner, AT(ConfigListen, owner)},
        {"group", &kind_owning_group, AT(ConfigListen, group)},
        {"tcp", &kind_tcp, AT(ConfigListen, host)},
        {"key_file", &kind_absolute, AT(ConfigListen, key_file)},
};

static const Row pool_rows[] = {
        {"name", &kind_name, AT(ConfigPool, name), "default", .required = true},
        {"device", &kind_device, AT(ConfigPool, device), "auto"},
        {"require", &kind_bool, AT(ConfigPool, require), "false"},
        {"threads", &kind_count, AT(ConfigPool, threads), "0", 0, 4096},
        {"streams", &kind_count, AT(ConfigPool, streams), "1", 1, 16},
        {"memory", &kind_memory, AT(ConfigPool, memory), "90%"},
        {"idle_exit", &kind_duration, AT(ConfigPool, idle_exit), "5m", SECOND, FOREVER},
};

#define MODEL_KNOBS                                                                                \
        {"pool", &kind_name, AT(ConfigModel, pool)},                                               \
        {"slots", &kind_count, AT(ConfigModel, slots), "16", 1, 4096},                             \
        {"context", &kind_count, AT(ConfigModel, context), "0", 0, 1 << 24},                       \
        {"batch_tokens", &kind_count, AT(ConfigModel, batch_tokens), "512", 1, 1 << 16},           \
        {"lookup_tokens", &kind_count, AT(ConfigModel, lookup_tokens), "7", 0, 15},                \
        {"batch_wait", &kind_duration, AT(ConfigModel, batch_wait), "2ms", 0, SECOND},             \
        {"precision", &kind_precision, AT(ConfigModel, precision), "float32"},                    \
        {"queue", &kind_count, AT(ConfigModel, queue), "1024", 0, 1 << 20},                        \
        {"queue_timeout", &kind_duration, AT(ConfigModel, queue_timeout), "5m", SECOND, FOREVER},  \
        {"deadline", &kind_duration, AT(ConfigModel, deadline), "forever", SECOND, FOREVER},       \
        {"keep_alive", &kind_duration, AT(ConfigModel, keep_alive), "5m", 0, FOREVER}

static const Row model_rows[] = {
        {"name", &kind_name, AT(ConfigModel, name), .required = true},
        {"aliases", &kind_name, LIST(ConfigModel, aliases, n_aliases), .max = 64},
        {"path", &kind_path, AT(ConfigModel, path)},
        MODEL_KNOBS,
};

static const Row model_default_rows[] = {MODEL_KNOBS};

#define USER_KNOBS                                                                                 \
        {"weight", &kind_weight, AT(ConfigUser, weight), "1"},                                     \
        {"jobs", &kind_count, AT(ConfigUser, jobs), "0", 0, 1 << 20},                              \
        {"queue", &kind_count, AT(ConfigUser, queue), "0", 0, 1 << 20},                            \
        {"tokens_per_minute", &kind_count, AT(ConfigUser, tokens_per_minute), "0", 0, 1000000000}, \
        {"priority", &kind_priority, AT(ConfigUser, priority), "interactive"}

static const Row user_rows[] = {
        {"name", &kind_user, AT(ConfigUser, name)},
        {"id", &kind_id, AT(ConfigUser, id), .max = UINT32_MAX - 1},
        USER_KNOBS,
};

static const Row group_rows[] = {
        {"name", &kind_group, AT(ConfigUser, name)},
        {"id", &kind_id, AT(ConfigUser, id), .max = UINT32_MAX - 1},
        USER_KNOBS,
};

static const Row user_default_rows[] = {USER_KNOBS};

static const Row limit_rows[] = {
        {"connections", &kind_count, AT(ConfigLimits, connections), "16384", 1, 1 << 20},
        {"connections_per_user", &kind_count, AT(ConfigLimits, connections_per_user), "4096", 1, 1 << 20},
        {"header_size", &kind_size, AT(ConfigLimits, header_size), "8KiB", KIB, MIB},
        {"body_size", &kind_size, AT(ConfigLimits, body_size), "16MiB", KIB, 128 * MIB},
        {"memory_per_user", &kind_size, AT(ConfigLimits, memory_per_user), "512MiB", MIB, 1024 * GIB},
        {"idle_timeout", &kind_duration, AT(ConfigLimits, idle_timeout), "10m", SECOND, DAY},
        {"request_timeout", &kind_duration, AT(ConfigLimits, request_timeout), "30s", SECOND, DAY},
        {"drain_timeout", &kind_duration, AT(ConfigLimits, drain_timeout), "25s", 0, DAY},
        {"restarts", &kind_count, AT(ConfigLimits, restarts), "3", 0, 100},
        {"stall_timeout", &kind_duration, AT(ConfigLimits, stall_timeout), "30s", SECOND, DAY},
};

static const Row log_rows[] = {
        {"level", &kind_level, AT(Config, log_level), "info"},
};

#define ROWS(r) .rows = (r), .n_rows = ARRAY_SIZE(r)
static const Table listen_table = {ROWS(listen_rows), sizeof(ConfigListen), .check = check_listen};
static const Table pool_table = {ROWS(pool_rows), sizeof(ConfigPool)};
static const Table model_table = {ROWS(model_rows), sizeof(ConfigModel), offsetof(Config, model_defaults)};
static const Table model_default_table = {ROWS(model_default_rows), sizeof(ConfigModel)};
static const Table user_table = {ROWS(user_rows), sizeof(ConfigUser), offsetof(Config, user_defaults), check_user};
static const Table group_table = {ROWS(group_rows), sizeof(ConfigUser), offsetof(Config, user_defaults), check_user};
static const Table user_default_table = {ROWS(user_default_rows), sizeof(ConfigUser)};
static const Table limit_table = {ROWS(limit_rows), sizeof(ConfigLimits)};
static const Table log_table = {ROWS(log_rows), sizeof(Config)};

/* Defaults stand before the lists whose entries start from them. */
static const Row config_rows[] = {
        {"listen", .table = &listen_table, LIST(Config, listen, n_listen), .min = 1, .max = 64},
        {"models_path", &kind_absolute, AT(Config, models_path)},
        {"idle_exit", &kind_duration, AT(Config, idle_exit), "10m", SECOND, FOREVER},
        {"pools", .table = &pool_table, LIST(Config, pools, n_pools), .min = 1, .max = 64},
        {"model_defaults", .table = &model_default_table, MAPPING(Config, model_defaults)},
        {"models", .table = &model_table, LIST(Config, models, n_models), .max = 4096},
        {"user_defaults", .table = &user_default_table, MAPPING(Config, user_defaults)},
        {"users", .table = &user_table, LIST(Config, users, n_users), .max = 4096},
        {"groups", .table = &group_table, LIST(Config, groups, n_groups), .max = 4096},
        {"limits", .table = &limit_table, MAPPING(Config, limits)},
        {"log", .table = &log_table}, /* its member lies in Config itself */
};

static const Table config_table = {ROWS(config_rows), sizeof(Config)};

/* Slots to records */

static int out_of_memory(Loader *l) {
        return error_set(l->error, -ENOMEM, "%s: out of memory", l->doc.file);
}

static int value_load(Loader *l, const Path *at, const Row *row, const char *text, void *record) {
        char got[48];
        const char *expected = row->kind->read(l, row, text, record);
        if (l->oom)
                return out_of_memory(l);
        if (!expected)
                return 0;
        if (!*text)
                return doc_error(&l->doc, at, l->error, "expected %s (got nothing)", expected);
        return doc_error(&l->doc, at, l->error, "expected %s (got '%s')", expected, quotable(text, got, sizeof(got)));
}

static int record_load(Loader *l, const Path *at, const Table *table, const Slot *slots, void *record);

/* The count grows with the entries, so that a list cut short by an error is freed right. */
static int list_load(Loader *l, const Path *at, const Row *row, const Slot *slot, void *record) {
        size_t size = row->table ? row->table->size : sizeof(char *);
        uint32_t *count = (uint32_t *)((char *)record + row->count_offset);
        Row value = *row;
        value.offset = 0;
        char *entries = calloc(slot->n, size);
        if (!entries)
                return out_of_memory(l);
        *(char **)member(row, record) = entries;
        for (int r; *count < slot->n;) {
                const Path entry = {at, NULL, *count};
                uint32_t i = (*count)++;
                char *to = entries + i * size;
                if (row->table)
                        r = record_load(l, &entry, row->table, slot->slots + i * row->table->n_rows, to);
                else
                        r = value_load(l, &entry, &value, slot->texts[i], to);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int row_load(Loader *l, const Path *at, const Row *row, const Slot *slot, void *record) {
        if (row->list)
                return slot && slot->n ? list_load(l, at, row, slot, record) : 0;
        if (row->table)
                return record_load(l, at, row->table, slot ? slot->slots : NULL, member(row, record));
        return slot && slot->text ? value_load(l, at, row, slot->text, record) : 0;
}

/* `slots`: NULL when the file does not have this mapping. `record` is all zeroes before. */
static int record_load(Loader *l, const Path *at, const Table *table, const Slot *slots, void *record) {
        if (table->base)
                memcpy(record, (char *)l->config + table->base, table->size);
        int r = 0;
        for (size_t i = 0; !r && i < table->n_rows; i++) {
                const Row *row = &table->rows[i];
                const Path place = {at, row->key, 0};
                if (!table->base && row->def)
                        r = value_load(l, &place, row, row->def, record);
                r = r ?: row_load(l, &place, row, slots ? &slots[i] : NULL, record);
        }
        return r || !table->check ? r : table->check(l, at, slots, record);
}

/* Checks that span options */

static bool given(const Table *table, const Slot *slots, const char *key) {
        for (size_t i = 0; i < table->n_rows; i++)
                if (strcmp(table->rows[i].key, key) == 0)
                        return slots && slots[i].text;
        return false;
}

static bool is_loopback(const char *host) {
        return strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

static int check_listen(Loader *l, const Path *at, const Slot *slots, void *record) {
        const ConfigListen *listen = record;
        if (!listen->unix_path == !listen->host)
                return doc_error(&l->doc, at, l->error, "expected either 'unix' or 'tcp'");
        static const char *const unix_only[] = {"mode", "owner", "group"};
        for (size_t i = 0; listen->host && i < ARRAY_SIZE(unix_only); i++)
                if (given(&listen_table, slots, unix_only[i])) {
                        const Path key = {at, unix_only[i], 0};
                        return doc_error(&l->doc, &key, l->error, "expected only with 'unix'");
                }
        const Path tcp = {at, "tcp", 0}, key_file = {at, "key_file", 0};
        if (listen->unix_path && listen->key_file)
                return doc_error(&l->doc, &key_file, l->error, "expected only with 'tcp'");
        if (listen->host && !listen->key_file && !is_loopback(listen->host))
                return doc_error(&l->doc, &tcp, l->error,
                                 "expected a 'key_file' beside an address others can reach (got '%s:%u')", listen->host,
                                 listen->port);
        return 0;
}

/* Of groups too: both tables begin with the same rows. */
static int check_user(Loader *l, const Path *at, const Slot *slots, void *record) {
        if (given(&user_table, slots, "name") == given(&user_table, slots, "id"))
                return doc_error(&l->doc, at, l->error, "expected either 'name' or 'id'");
        return 0;
}

/* Notes that `key` is taken by `at`; it must be new. */
static int claim(Loader *l, Map *taken, const Path *at, const char *what, const void *key, size_t len) {
        int r = map_set(taken, key, len, 0);
        if (r < 0)
                return out_of_memory(l);
        return r > 0 ? doc_error(&l->doc, at, l->error, "this %s was given before", what) : 0;
}

static bool same_address(const ConfigListen *a, const ConfigListen *b) {
        if (a->unix_path || b->unix_path)
                return a->unix_path && b->unix_path && strcmp(a->unix_path, b->unix_path) == 0;
        return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static int check_addresses(Loader *l, const Config *c) {
        const Path list = {NULL, "listen", 0};
        for (uint32_t i = 0; i < c->n_listen; i++)
                for (uint32_t j = 0; j < i; j++) {
                        const Path at = {&list, NULL, i};
                        if (same_address(&c->listen[i], &c->listen[j]))
                                return doc_error(&l->doc, &at, l->error, "this address was given before");
                }
        return 0;
}

static int check_pools(Loader *l, const Config *c) {
        const Path list = {NULL, "pools", 0};
        _cleanup_(map_deinit) Map taken = {0};
        int r = map_init(&taken, c->n_pools) < 0 ? out_of_memory(l) : 0;
        for (uint32_t i = 0; !r && i < c->n_pools; i++) {
                const Path entry = {&list, NULL, i}, at = {&entry, "name", 0};
                r = claim(l, &taken, &at, "name", c->pools[i].name, strlen(c->pools[i].name));
        }
        return r;
}

static int check_pool_of(Loader *l, const Path *model, const ConfigModel *m) {
        const Path at = {model, "pool", 0};
        char got[48];
        if (config_pool(l->config, m->pool))
                return 0;
        quotable(m->pool, got, sizeof(got));
        return doc_error(&l->doc, &at, l->error, "expected the name of a pool (got '%s')", got);
}

/* Names and aliases are one name space: a request may use either. */
static int check_model(Loader *l, const Path *at, const ConfigModel *m, Map *taken) {
        const Path name = {at, "name", 0}, aliases = {at, "aliases", 0};
        int r = check_pool_of(l, at, m) ?: claim(l, taken, &name, "name", m->name, strlen(m->name));
        for (uint32_t i = 0; !r && i < m->n_aliases; i++) {
                const Path alias = {&aliases, NULL, i};
                r = claim(l, taken, &alias, "name", m->aliases[i], strlen(m->aliases[i]));
        }
        return r;
}

static int check_models(Loader *l, const Config *c) {
        const Path defaults = {NULL, "model_defaults", 0}, list = {NULL, "models", 0};
        _cleanup_(map_deinit) Map taken = {0};
        int r = map_init(&taken, c->n_models) < 0 ? out_of_memory(l) : check_pool_of(l, &defaults, &c->model_defaults);
        for (uint32_t i = 0; !r && i < c->n_models; i++) {
                const Path at = {&list, NULL, i};
                r = check_model(l, &at, &c->models[i], &taken);
        }
        return r;
}

static int check_ids(Loader *l, const char *key, const char *what, const ConfigUser *users, uint32_t n) {
        const Path list = {NULL, key, 0};
        _cleanup_(map_deinit) Map taken = {0};
        int r = map_init(&taken, n) < 0 ? out_of_memory(l) : 0;
        for (uint32_t i = 0; !r && i < n; i++) {
                const Path at = {&list, NULL, i};
                r = claim(l, &taken, &at, what, &users[i].id, sizeof(users[i].id));
        }
        return r;
}

static int config_check(Loader *l) {
        const Config *c = l->config;
        return check_addresses(l, c) ?: check_pools(l, c) ?: check_models(l, c)
                ?: check_ids(l, "users", "user", c->users, c->n_users)
                ?: check_ids(l, "groups", "group", c->groups, c->n_groups);
}

/* Defaults that depend on who runs us */

/* `rest` below the directory that environment variable `name` holds, up to one of `ends`. */
static char *below_env(const char *name, const char *ends, const char *rest) {
        const char *dir = getenv(name);
        char *path;
        if (!dir || *dir != '/' || asprintf(&path, "%.*s/%s", (int)strcspn(dir, ends), dir, rest) < 0)
                return NULL;
        return path;
}

/* What systemd hands out in RUNTIME_DIRECTORY and STATE_DIRECTORY may be a list separated by colons. */
static char *default_socket(void) {
        char *path = below_env("RUNTIME_DIRECTORY", ":", "api.sock");
        if (!path && geteuid() == 0)
                return strdup(RUNSTATEDIR "/zerollama/api.sock");
        if (!path)
                path = below_env("XDG_RUNTIME_DIR", "", "zerollama/api.sock");
        if (!path && asprintf(&path, "/run/user/%u/zerollama/api.sock", geteuid()) < 0)
                return NULL;
        return path;
}

static char *default_models_path(void) {
        char *path = below_env("STATE_DIRECTORY", ":", "models");
        if (!path && geteuid() != 0)
                path = below_env("HOME", "", ".local/share/zerollama/models");
        return path ?: strdup(LOCALSTATEDIR "/lib/zerollama/models");
}

static int fill_listen(Loader *l) {
        Config *c = l->config;
        if (c->n_listen)
                return 0;
        c->listen = calloc(1, sizeof(*c->listen));
        if (!c->listen || !(c->listen->unix_path = keep(c, default_socket())))
                return out_of_memory(l);
        c->n_listen = 1;
        return record_load(l, NULL, &listen_table, NULL, c->listen);
}

static int fill_pools(Loader *l) {
        Config *c = l->config;
        if (c->n_pools)
                return 0;
        c->pools = calloc(1, sizeof(*c->pools));
        if (!c->pools)
                return out_of_memory(l);
        c->n_pools = 1;
        return record_load(l, NULL, &pool_table, NULL, c->pools);
}

static int fill_model(Loader *l, ConfigModel *m) {
        char *path = NULL;
        if (!m->pool)
                m->pool = l->config->pools[0].name;
        if (m->name && !m->path && (asprintf(&path, "%s.gguf", m->name) < 0 || !(m->path = keep(l->config, path))))
                return out_of_memory(l);
        return 0;
}

static int config_fill(Loader *l) {
        Config *c = l->config;
        if (!c->models_path && !(c->models_path = keep(c, default_models_path())))
                return out_of_memory(l);
        int r = fill_listen(l) ?: fill_pools(l) ?: fill_model(l, &c->model_defaults);
        for (uint32_t i = 0; !r && i < c->n_models; i++)
                r = fill_model(l, &c->models[i]);
        return r;
}

/* Loading */

static int read_file(const char *path, Buf *out, Error *e) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_set(e, -errno, "%s: cannot be opened: %s", path, strerror(errno));
        for (;;) {
                char *to = buf_reserve(out, 1 << 16);
                if (!to)
                        return error_set(e, -ENOMEM, "%s: out of memory", path);
                ssize_t n = read(fd, to, 1 << 16);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_set(e, -errno, "%s: cannot be read: %s", path, strerror(errno));
                if (n == 0)
                        return 0;
                out->len += (size_t)n;
                if (out->len > FILE_MAX)
                        return error_set(e, -EINVAL, "%s: larger than 1 MiB, which no configuration is", path);
        }
}

static int load_text(Loader *l, const char *file, const Buf *text) {
        return doc_load(&l->doc, file, text->len ? text->data : "", text->len, &config_table, l->error)
                ?: record_load(l, NULL, &config_table, l->doc.slots, l->config) ?: config_fill(l) ?: config_check(l);
}

int config_load(const char *path, Config **ret, Error *e) {
        const char *file = path ?: DEFAULT_FILE;
        _cleanup_buf_ Buf text = BUF_NULL;
        bool absent = !path && access(file, F_OK) < 0 && errno == ENOENT;
        int r = absent ? 0 : read_file(file, &text, e);
        if (r < 0)
                return r;
        _cleanup_(config_freep) Config *c = calloc(1, sizeof(*c));
        if (!c || !(c->priv = calloc(1, sizeof(*c->priv))))
                return error_set(e, -ENOMEM, "%s: out of memory", file);
        Loader l = {.config = c, .error = e};
        r = load_text(&l, file, &text);
        doc_deinit(&l.doc);
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

void config_free(Config *c) {
        if (!c)
                return;
        for (uint32_t i = 0; i < c->n_models; i++)
                free(c->models[i].aliases);
        free(c->listen);
        free(c->pools);
        free(c->models);
        free(c->users);
        free(c->groups);
        for (size_t i = 0; c->priv && i < c->priv->n_strings; i++)
                free(c->priv->strings[i]);
        if (c->priv)
                free(c->priv->strings);
        free(c->priv);
        free(c);
}

/* Records to slots: record_load() the other way. -ENOMEM leaves slots that can be freed. */

static int record_save(const Table *table, const void *record, Slot *slots);

static int value_save(const Row *row, const void *record, char **ret) {
        _cleanup_buf_ Buf text = BUF_NULL;
        row->kind->write(row, record, &text);
        if (text.failed)
                return -ENOMEM;
        if (!text.len)
                return 0;
        *ret = buf_take(&text);
        return 0;
}

static int list_save(const Row *row, const void *record, Slot *slot) {
        uint32_t n = *(const uint32_t *)((const char *)record + row->count_offset);
        const char *entries = *(const char *const *)const_member(row, record);
        size_t size = row->table ? row->table->size : sizeof(char *), rows = row->table ? row->table->n_rows : 0;
        Row value = *row;
        value.offset = 0;
        if (!n)
                return 0;
        slot->slots = calloc(n, row->table ? rows * sizeof(Slot) : sizeof(char *));
        if (!slot->slots)
                return -ENOMEM;
        slot->n = n;
        int r = 0;
        for (uint32_t i = 0; !r && i < n; i++)
                r = row->table ? record_save(row->table, entries + i * size, slot->slots + i * rows)
                               : value_save(&value, entries + i * size, &slot->texts[i]);
        return r;
}

static int mapping_save(const Row *row, const void *record, Slot *slot) {
        slot->slots = calloc(row->table->n_rows, sizeof(Slot));
        return slot->slots ? record_save(row->table, const_member(row, record), slot->slots) : -ENOMEM;
}

static int record_save(const Table *table, const void *record, Slot *slots) {
        int r = 0;
        for (size_t i = 0; !r && i < table->n_rows; i++) {
                const Row *row = &table->rows[i];
                r = row->list ? list_save(row, record, &slots[i])
                  : row->table ? mapping_save(row, record, &slots[i])
                               : value_save(row, record, &slots[i].text);
        }
        return r;
}

int config_print(const Config *c, Buf *out) {
        Slot *slots = calloc(config_table.n_rows, sizeof(Slot));
        if (!slots)
                return -ENOMEM;
        int r = record_save(&config_table, c, slots) ?: slots_print(&config_table, slots, out);
        slots_free(&config_table, slots);
        return r;
}

static void keys_print(const Table *table, const char *prefix, Buf *out) {
        for (size_t i = 0; i < table->n_rows; i++) {
                const Row *row = &table->rows[i];
                char path[64];
                snprintf(path, sizeof(path), "%s%s%s", prefix, row->key, row->list ? "[]" : "");
                const char *type = row->kind ? row->kind->type : row->list ? "list" : "mapping";
                buf_printf(out, "%s\t%s\t%s\n", path, type, row->def ?: "");
                strcat(path, ".");
                if (row->table)
                        keys_print(row->table, path, out);
        }
}

void config_keys(Buf *out) {
        keys_print(&config_table, "", out);
}

/* Looking things up */

const ConfigPool *config_pool(const Config *c, const char *name) {
        for (uint32_t i = 0; i < c->n_pools; i++)
                if (strcmp(c->pools[i].name, name) == 0)
                        return &c->pools[i];
        return NULL;
}

static bool is_member(gid_t gid, const gid_t *gids, uint32_t n_gids) {
        for (uint32_t i = 0; i < n_gids; i++)
                if (gids[i] == gid)
                        return true;
        return false;
}

ConfigUser config_user(const Config *c, uid_t uid, const gid_t *gids, uint32_t n_gids) {
        const ConfigUser *best = NULL;
        for (uint32_t i = 0; i < c->n_users; i++)
                if (c->users[i].id == uid)
                        return c->users[i];
        for (uint32_t i = 0; i < c->n_groups; i++)
                if ((!best || c->groups[i].weight > best->weight) && is_member(c->groups[i].id, gids, n_gids))
                        best = &c->groups[i];
        return best ? *best : c->user_defaults;
}
