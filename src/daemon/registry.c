/* Models by name; see registry.h. The list is short, so it is searched. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/registry.h"
#include "util/log.h"
#include "util/str.h"

static const char suffix[] = ".gguf", latest[] = ":latest", system_models[] = PKGDATADIR "/models";

void registry_init(Registry *r, void (*changed)(void *arg), void *arg) {
        *r = (Registry){.changed = changed, .arg = arg};
        list_init(&r->models);
}

static void entry_free(ModelEntry *m) {
        list_remove(&m->node);
        free(m->name);
        free(m->path);
        free(m->details);
        free(m->error);
        free(m);
}

void registry_deinit(Registry *r) {
        list_foreach(m, &r->models, ModelEntry, node)
                entry_free(m);
}

static ModelEntry *find_exact(Registry *r, const char *name, size_t len) {
        list_foreach(m, &r->models, ModelEntry, node)
                if (strlen(m->name) == len && memcmp(m->name, name, len) == 0)
                        return m;
        return NULL;
}

static ModelEntry *entry_new(Registry *r, const char *name, size_t len) {
        ModelEntry *m = calloc(1, sizeof(*m));
        if (!m || !(m->name = strndup(name, len))) {
                free(m);
                return NULL;
        }
        ListNode *at = &r->models;
        list_foreach(it, &r->models, ModelEntry, node)
                if (strcmp(it->name, m->name) < 0)
                        at = &it->node;
        list_insert(at, &m->node);
        return m;
}

static bool is_builtin(const char *path) {
        return strcmp(path, IPC_PATH_DELAY) == 0 || strcmp(path, IPC_PATH_NULL) == 0;
}

/* Adds or updates one model; takes `path` over. */
static int put(Registry *r, const char *name, size_t len, char *path, const ConfigModel *named) {
        ModelEntry *m = path ? find_exact(r, name, len) : NULL;
        bool fresh = !m || r->configuring;
        if (path && !m)
                m = entry_new(r, name, len);
        if (!m) {
                free(path);
                return -ENOMEM;
        }
        if (m->seen) { /* the config comes before directories, the user's directory before the system's */
                free(path);
                return 0;
        }
        if (!m->path || strcmp(m->path, path) != 0)
                m->announced = 0;
        free(m->path);
        m->path = path;
        m->named = named;
        m->builtin = is_builtin(path);
        m->hidden = m->builtin && !named;
        m->config = named ? *named : r->config->model_defaults;
        m->seen = true;
        if (fresh) {
                m->keep_alive = m->config.keep_alive;
                m->announced = 0; /* its definition may have changed */
        }
        return 0;
}

static char *join(const char *dir, const char *file) {
        char *s;
        if (file[0] == '/' || is_builtin(file))
                return strdup(file);
        return asprintf(&s, "%s/%s", dir, file) < 0 ? NULL : s;
}

/* Hidden files are none of ours, and a control character in a name would forge lines of logs and status texts. */
static bool is_plain(const char *name) {
        for (const char *c = name; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        return name[0] != '.';
}

/* A directory is a model as Hugging Face publishes it once it has a config.json, which look_at() sees: it comes after
 * the directory. A model file of that name goes before. */
static bool may_be_model(int dir, const char *name) {
        char file[NAME_MAX + sizeof(suffix)];
        struct stat st;
        snprintf(file, sizeof(file), "%s%s", name, suffix);
        return fstatat(dir, name, &st, 0) == 0 && S_ISDIR(st.st_mode) && fstatat(dir, file, &st, 0) < 0;
}

/* The length of the name that a directory's entry is served by, or 0. */
static size_t served_name(int dir, const char *entry) {
        size_t n = strlen(entry), end = sizeof(suffix) - 1;
        if (!is_plain(entry))
                return 0;
        if (n > end && strcmp(entry + n - end, suffix) == 0)
                return n - end;
        return may_be_model(dir, entry) ? n : 0;
}

static int scan_directory(Registry *r, const char *path, struct timespec *ret_mtime) {
        struct stat st;
        *ret_mtime = stat(path, &st) == 0 ? st.st_mtim : (struct timespec){0};
        DIR *d = opendir(path);
        int result = 0;
        for (struct dirent *e; d && result == 0 && (e = readdir(d));) {
                size_t n = served_name(dirfd(d), e->d_name);
                if (n > 0)
                        result = put(r, e->d_name, n, join(path, e->d_name), NULL);
        }
        if (d)
                closedir(d);
        return result;
}

/* "model.safetensors", "model-00001-of-00002.safetensors"; not "consolidated.safetensors", which are the same again. */
static bool has_weights(const char *file) {
        static const char start[] = "model", end[] = ".safetensors";
        size_t n = strlen(file), n_end = sizeof(end) - 1;
        return strncmp(file, start, sizeof(start) - 1) == 0 && n > n_end && strcmp(file + n - n_end, end) == 0;
}

/* Adds what is in a model's directory: the sizes of its weights, and the date of its newest file that counts. */
static bool look_into(ModelEntry *m) {
        bool is_model = false;
        m->embeds = false;
        DIR *d = opendir(m->path);
        for (struct dirent *e; d && (e = readdir(d));) {
                bool is_weights = has_weights(e->d_name);
                bool is_config = strcmp(e->d_name, "config.json") == 0;
                struct stat st;
                m->embeds |= strcmp(e->d_name, "modules.json") == 0;
                if ((!is_weights && !is_config) || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
                        continue;
                is_model = is_model || is_config;
                m->size += is_weights ? (uint64_t)st.st_size : 0;
                m->modified = MAX(m->modified, st.st_mtime);
        }
        if (d)
                closedir(d);
        return is_model;
}

/* Brings size and date up to date; false where there is no model. */
static bool look_at(ModelEntry *m) {
        struct stat st;
        if (stat(m->path, &st) < 0)
                return false;
        m->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        m->modified = st.st_mtime;
        return S_ISREG(st.st_mode) || (S_ISDIR(st.st_mode) && look_into(m));
}

static void update(ModelEntry *m) {
        m->missing = !m->seen || (!m->builtin && !look_at(m)); /* not seen: no longer named, still in use */
}

static void update_all(Registry *r) {
        list_foreach(m, &r->models, ModelEntry, node)
                update(m);
}

static int scan(Registry *r) {
        int result = 0;
        list_foreach(m, &r->models, ModelEntry, node)
                m->seen = false;
        for (uint32_t i = 0; i < r->config->n_models && result == 0; i++) {
                const ConfigModel *c = &r->config->models[i];
                result = put(r, c->name, strlen(c->name), join(r->config->models_path, c->path), c);
        }
        if (result == 0)
                result = scan_directory(r, r->config->models_path, &r->scanned[0]);
        if (result == 0)
                result = scan_directory(r, system_models, &r->scanned[1]);
        if (result == 0)
                result = put(r, "delay", 5, strdup(IPC_PATH_DELAY), NULL);
        if (result == 0)
                result = put(r, "null", 4, strdup(IPC_PATH_NULL), NULL);
        list_foreach(m, &r->models, ModelEntry, node) {
                if (m->seen)
                        continue;
                m->named = NULL; /* an old config's */
                m->config = r->config->model_defaults;
                if (m->running + m->waiting + m->waiters == 0 && m->phase == IPC_MODEL_UNLOADED)
                        entry_free(m);
        }
        update_all(r);
        r->changed(r->arg);
        return result;
}

int registry_configure(Registry *r, const Config *config) {
        r->config = config;
        r->configuring = true;
        int result = scan(r);
        r->configuring = false;
        if (access(config->models_path, R_OK | X_OK) < 0)
                log_warning("models_path '%s' cannot be read: %s", config->models_path, strerror(errno));
        list_foreach(m, &r->models, ModelEntry, node)
                if (m->missing && m->named)
                        log_warning("model '%s': there is no model %s", m->name, m->path);
        return result;
}

static bool directories_changed(const Registry *r) {
        const char *dirs[] = {r->config->models_path, system_models};
        for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
                struct stat st;
                struct timespec t = stat(dirs[i], &st) == 0 ? st.st_mtim : (struct timespec){0};
                if (t.tv_sec != r->scanned[i].tv_sec || t.tv_nsec != r->scanned[i].tv_nsec)
                        return true;
        }
        return false;
}

void registry_refresh(Registry *r) {
        if (directories_changed(r))
                scan(r);
        else
                update_all(r);
}

static ModelEntry *find_alias(Registry *r, const char *name, size_t len) {
        list_foreach(m, &r->models, ModelEntry, node)
                for (uint32_t i = 0; m->named && i < m->named->n_aliases; i++)
                        if (strlen(m->named->aliases[i]) == len && memcmp(m->named->aliases[i], name, len) == 0)
                                return m;
        return NULL;
}

/* Whether it is there or not. */
static ModelEntry *find_known(Registry *r, const char *name, size_t len) {
        ModelEntry *m = find_exact(r, name, len);
        if (!m)
                m = find_alias(r, name, len);
        size_t tag = sizeof(latest) - 1;
        if (!m && len > tag && memcmp(name + len - tag, latest, tag) == 0)
                return find_known(r, name, len - tag);
        return m;
}

/* It may have been put there a moment ago. Nothing else is looked at: who asks for what is not there costs little. */
ModelEntry *registry_find(Registry *r, const char *name, size_t len) {
        ModelEntry *m = find_known(r, name, len);
        if (m && !m->missing)
                return m;
        if (directories_changed(r)) {
                scan(r);
                m = find_known(r, name, len);
        } else if (m)
                update(m);
        return m && !m->missing ? m : NULL;
}

const ModelEntry *registry_find_missing(Registry *r, const char *name) {
        const ModelEntry *m = find_exact(r, name, strlen(name));
        return m && m->missing ? m : NULL;
}

const char *registry_nearest(Registry *r, const char *name) {
        const char *best = NULL;
        list_foreach(m, &r->models, ModelEntry, node) {
                const char *pair[] = {m->name, best, NULL};
                if (!m->missing)
                        best = nearest_word(name, pair);
        }
        return best;
}
