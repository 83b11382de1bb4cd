/* Models by name; see registry.h. The list is short, so it is searched.
 *
 * A Survey is a look at the disk: what the configuration names and what is in the directories, each with its size and date.
 * It has all it needs for itself, so that a worker can do it. One runs at a time; who asks meanwhile waits for the next, for
 * what they mean may have come after this one had passed by. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/registry.h"
#include "util/log.h"
#include "util/str.h"

enum { DIRECTORIES = 2, FRESH_SECONDS = 2 }; /* a change may follow in the same tick of the clock that dates directories */

typedef struct Found {
        ListNode node;
        char *name, *path;
        int64_t named; /* index in the config's models; -1: found in a directory */
        bool builtin, missing, embeds;
        uint64_t size;
        time_t modified;
} Found;

struct Survey {
        Work work;
        Registry *registry;
        uint64_t generation; /* of the config it is for */
        char *models_path;
        bool thorough;       /* else only where a directory has changed */
        struct timespec known[DIRECTORIES], scanned[DIRECTORIES];
        bool unchanged;
        int unreadable, error; /* errno of models_path; negative errno: it is not whole */
        List found;            /* Found; of equal names the first counts, */
        List variants;         /* as of these */
        List waiters;
};

static const char suffix[] = ".gguf", variant_suffix[] = ".json", latest[] = ":latest", system_models[] = PKGDATADIR "/models";

void registry_init(Registry *r, WorkPool *workers, void (*changed)(void *arg), void *arg) {
        *r = (Registry){.workers = workers, .changed = changed, .arg = arg};
        list_init(&r->models);
        list_init(&r->variants);
        list_init(&r->waiters);
        list_init(&r->turns);
}

static void entry_free(ModelEntry *m) {
        list_remove(&m->node);
        free(m->name);
        free(m->path);
        free(m->details);
        free(m->error);
        free(m);
}

static void drop_waiters(List *waiters) {
        for (RegistryWaiter *w; (w = list_first(waiters, RegistryWaiter, node));) {
                list_remove(&w->node);
                if (w->drop)
                        w->drop(w);
        }
}

static void free_variants(List *variants) {
        list_foreach(v, variants, Variant, node)
                variant_free(v);
}

void registry_deinit(Registry *r) {
        if (r->survey)
                drop_waiters(&r->survey->waiters);
        drop_waiters(&r->waiters);
        survey_free(TAKE(r->survey));
        list_foreach(t, &r->turns, RegistryTurn, node)
                t->drop(t);
        list_foreach(m, &r->models, ModelEntry, node)
                entry_free(m);
        free_variants(&r->variants);
}

static ModelEntry *find_exact(Registry *r, const char *name, size_t len) {
        list_foreach(m, &r->models, ModelEntry, node)
                if (bytes_are(name, len, m->name))
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

/* ---- models by name ---- */

static ModelEntry *find_alias(Registry *r, const char *name, size_t len) {
        list_foreach(m, &r->models, ModelEntry, node)
                for (uint32_t i = 0; m->named && i < m->named->n_aliases; i++)
                        if (bytes_are(name, len, m->named->aliases[i]))
                                return m;
        return NULL;
}

/* The length of a name without the tag that may stand for none; 0: it has another, or none. */
static size_t untagged(const char *name, size_t len) {
        size_t tag = sizeof(latest) - 1;
        return len > tag && memcmp(name + len - tag, latest, tag) == 0 ? len - tag : 0;
}

/* Whether it is there or not. */
static ModelEntry *find_known(Registry *r, const char *name, size_t len) {
        ModelEntry *m = find_exact(r, name, len);
        if (!m)
                m = find_alias(r, name, len);
        size_t shorter = untagged(name, len);
        return !m && shorter > 0 ? find_known(r, name, shorter) : m;
}

/* Those that are there. */
static ModelEntry *find_present(Registry *r, const char *name, size_t len) {
        ModelEntry *m = find_known(r, name, len);
        return m && !m->missing ? m : NULL;
}

/* ---- looking: on any thread ---- */

static void found_free(Found *f) {
        list_remove(&f->node);
        free(f->name);
        free(f->path);
        free(f);
}

void survey_free(Survey *s) {
        if (!s)
                return;
        list_foreach(f, &s->found, Found, node)
                found_free(f);
        free_variants(&s->variants);
        free(s->models_path);
        free(s);
}

/* Takes `path` over. */
static void find_more(Survey *s, const char *name, size_t len, char *path, int64_t named) {
        Found *f = path ? calloc(1, sizeof(*f)) : NULL;
        if (!f || !(f->name = strndup(name, len))) {
                free(f);
                free(path);
                s->error = -ENOMEM;
                return;
        }
        f->path = path;
        f->named = named;
        f->builtin = is_builtin(path);
        list_append(&s->found, &f->node);
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

/* The length of the name before an end, or 0. */
static size_t name_before(const char *entry, const char *end) {
        return ends_with(entry, end) ? strlen(entry) - strlen(end) : 0;
}

/* The length of the name that a directory's entry is served by, or 0. */
static size_t served_name(int dir, const char *entry) {
        size_t n = name_before(entry, suffix);
        return n > 0 ? n : may_be_model(dir, entry) ? strlen(entry) : 0;
}

static const Variant *find_in(const List *variants, const char *name, size_t len) {
        list_foreach(v, variants, Variant, node)
                if (bytes_are(name, len, v->name))
                        return v;
        return NULL;
}

/* Takes `path` over. */
static void find_variant(Survey *s, const char *name, size_t len, char *path) {
        Variant *v = variant_read(name, len, path);
        if (!v)
                s->error = -ENOMEM;
        else if (find_in(&s->variants, name, len)) /* in the user's directory, which comes before the system's */
                variant_free(v);
        else {
                ListNode *at = &s->variants;
                list_foreach(it, &s->variants, Variant, node)
                        if (strcmp(it->name, v->name) < 0)
                                at = &it->node;
                list_insert(at, &v->node);
        }
}

static void scan_directory(Survey *s, const char *path) {
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
                if (!is_plain(e->d_name))
                        continue;
                size_t n = served_name(dirfd(d), e->d_name), n_variant = name_before(e->d_name, variant_suffix);
                if (n > 0)
                        find_more(s, e->d_name, n, join(path, e->d_name), -1);
                else if (n_variant > 0)
                        find_variant(s, e->d_name, n_variant, join(path, e->d_name));
        }
        if (d)
                closedir(d);
}

/* "model.safetensors", "model-00001-of-00002.safetensors"; not "consolidated.safetensors", which are the same again. */
static bool has_weights(const char *file) {
        return strncmp(file, "model", 5) == 0 && ends_with(file, ".safetensors");
}

/* Adds what is in a model's directory: the sizes of its weights, and the date of its newest file that counts. */
static bool look_into(Found *f) {
        bool is_model = false;
        DIR *d = opendir(f->path);
        for (struct dirent *e; d && (e = readdir(d));) {
                bool is_weights = has_weights(e->d_name);
                bool is_config = strcmp(e->d_name, "config.json") == 0;
                struct stat st;
                f->embeds |= strcmp(e->d_name, "modules.json") == 0;
                if ((!is_weights && !is_config) || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
                        continue;
                is_model = is_model || is_config;
                f->size += is_weights ? (uint64_t)st.st_size : 0;
                f->modified = MAX(f->modified, st.st_mtime);
        }
        if (d)
                closedir(d);
        return is_model;
}

/* Its size and date; false where there is no model. */
static bool look_at(Found *f) {
        struct stat st;
        if (stat(f->path, &st) < 0)
                return false;
        f->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        f->modified = st.st_mtime;
        return S_ISREG(st.st_mode) || (S_ISDIR(st.st_mode) && look_into(f));
}

Survey *survey_new(const Config *config) {
        Survey *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        list_init(&s->found);
        list_init(&s->variants);
        list_init(&s->waiters);
        s->thorough = true;
        s->models_path = strdup(config->models_path);
        if (!s->models_path)
                s->error = -ENOMEM;
        for (uint32_t i = 0; i < config->n_models && s->error == 0; i++) {
                const ConfigModel *c = &config->models[i];
                find_more(s, c->name, strlen(c->name), join(config->models_path, c->path), i);
        }
        if (s->error == 0)
                return s;
        survey_free(s);
        return NULL;
}

static struct timespec date_of(const char *path) {
        struct stat st;
        return stat(path, &st) == 0 ? st.st_mtim : (struct timespec){0};
}

void survey_run(Survey *s) {
        const char *dirs[DIRECTORIES] = {s->models_path, system_models};
        bool same = true;
        for (size_t i = 0; i < DIRECTORIES; i++) { /* before they are read: what comes later changes the date once more */
                s->scanned[i] = date_of(dirs[i]);
                same &= s->scanned[i].tv_sec == s->known[i].tv_sec && s->scanned[i].tv_nsec == s->known[i].tv_nsec;
                if (time(NULL) - s->scanned[i].tv_sec <= FRESH_SECONDS)
                        s->scanned[i] = (struct timespec){.tv_nsec = -1};
        }
        s->unchanged = same && !s->thorough;
        if (s->unchanged)
                return;
        s->unreadable = access(s->models_path, R_OK | X_OK) < 0 ? errno : 0;
        for (size_t i = 0; i < DIRECTORIES; i++)
                scan_directory(s, dirs[i]);
        find_more(s, "delay", 5, strdup(IPC_PATH_DELAY), -1);
        find_more(s, "null", 4, strdup(IPC_PATH_NULL), -1);
        list_foreach(f, &s->found, Found, node)
                f->missing = !f->builtin && !look_at(f);
}

/* ---- what was found ---- */

/* Adds or updates one model. */
static int put(Registry *r, Found *f, bool configuring) {
        const ConfigModel *named = f->named >= 0 ? &r->config->models[f->named] : NULL;
        ModelEntry *m = find_exact(r, f->name, strlen(f->name));
        bool fresh = !m || configuring;
        if (!m && !(m = entry_new(r, f->name, strlen(f->name))))
                return -ENOMEM;
        if (m->seen) /* the config comes before directories, the user's directory before the system's */
                return 0;
        if (!m->path || strcmp(m->path, f->path) != 0)
                m->announced = 0;
        free(m->path);
        m->path = TAKE(f->path);
        bool same = !m->missing && !f->missing && m->size == f->size && m->modified == f->modified;
        m->stale |= !same && is_loaded(m);
        m->named = named;
        m->builtin = f->builtin;
        m->hidden = m->builtin && !named;
        m->missing = f->missing;
        m->embeds = f->embeds;
        m->size = f->size;
        m->modified = f->modified;
        m->config = named ? *named : r->config->model_defaults;
        m->seen = true;
        if (fresh) {
                m->keep_alive = m->config.keep_alive;
                m->announced = 0; /* its definition may have changed */
        }
        return 0;
}

static void move_variants(List *from, List *to) {
        list_foreach(v, from, Variant, node) {
                list_remove(&v->node);
                list_append(to, &v->node);
        }
}

/* A mistake is told when it is met for the first time. */
static void put_variants(Registry *r, Survey *s) {
        list_foreach(v, &s->variants, Variant, node) {
                v->apart = !find_present(r, v->name, strlen(v->name));
                v->dangling = v->from && !find_present(r, v->from, strlen(v->from));
                if (!v->error && !v->dangling)
                        continue;
                const Variant *before = find_in(&r->variants, v->name, strlen(v->name));
                if (v->error && (!before || !before->error || strcmp(before->error, v->error) != 0))
                        log_warning("model '%s': %s: %s", v->name, v->path, v->error);
                if (v->dangling && !(before && before->dangling))
                        log_warning("model '%s': %s: there is no model '%s' that it could be a variant of", v->name, v->path, v->from);
        }
        free_variants(&r->variants);
        move_variants(&s->variants, &r->variants);
}

static int apply(Registry *r, Survey *s, bool configuring) {
        int result = s->error;
        list_foreach(m, &r->models, ModelEntry, node)
                m->seen = false;
        list_foreach(f, &s->found, Found, node)
                if (result == 0)
                        result = put(r, f, configuring);
        list_foreach(m, &r->models, ModelEntry, node) {
                if (m->seen)
                        continue;
                m->missing = true; /* no longer named or there, but perhaps in use */
                m->stale = is_loaded(m);
                m->named = NULL;   /* an old config's */
                m->config = r->config->model_defaults;
                if (m->running + m->waiting + m->waiters == 0 && m->phase == IPC_MODEL_UNLOADED)
                        entry_free(m);
        }
        put_variants(r, s);
        memcpy(r->scanned, s->scanned, sizeof(r->scanned));
        r->changed(r->arg);
        return result;
}

int registry_configure(Registry *r, const Config *config, Survey *s) {
        r->config = config;
        r->generation++;
        if (!s && (s = survey_new(config)))
                survey_run(s);
        if (!s)
                return -ENOMEM;
        int result = apply(r, s, true);
        if (s->unreadable)
                log_warning("models_path '%s' cannot be read: %s", config->models_path, strerror(s->unreadable));
        list_foreach(m, &r->models, ModelEntry, node)
                if (m->missing && m->named)
                        log_warning("model '%s': there is no model %s", m->name, m->path);
        survey_free(s);
        return result;
}

/* ---- looking again ---- */

static void move_waiters(List *from, List *to) {
        list_foreach(w, from, RegistryWaiter, node) {
                list_remove(&w->node);
                list_append(to, &w->node);
        }
}

static void run_survey(Work *w) {
        survey_run(container_of(w, Survey, work));
}

static void survey_done(Work *w);

static void start_survey(Registry *r) {
        Survey *s = survey_new(r->config);
        if (!s) { /* then the list is as it was */
                List waiters;
                list_init(&waiters);
                move_waiters(&r->waiters, &waiters);
                for (RegistryWaiter *w; (w = list_first(&waiters, RegistryWaiter, node));) {
                        list_remove(&w->node);
                        w->done(w);
                }
                return;
        }
        s->registry = r;
        s->generation = r->generation;
        s->thorough = false;
        list_foreach(w, &r->waiters, RegistryWaiter, node)
                s->thorough |= w->thorough;
        memcpy(s->known, r->scanned, sizeof(s->known));
        move_waiters(&r->waiters, &s->waiters);
        s->work = (Work){.urgent = true, .run = run_survey, .done = survey_done};
        r->survey = s;
        work_submit(r->workers, &s->work);
}

static void survey_done(Work *w) {
        Survey *s = container_of(w, Survey, work);
        Registry *r = s->registry;
        r->survey = NULL;
        if (s->generation != r->generation) { /* of another config: again, first for those who wait for it */
                move_waiters(&r->waiters, &s->waiters);
                move_waiters(&s->waiters, &r->waiters);
        } else if (!s->unchanged && apply(r, s, false) < 0)
                log_error("out of memory for the list of models; it is not complete");
        for (RegistryWaiter *o; (o = list_first(&s->waiters, RegistryWaiter, node));) {
                list_remove(&o->node);
                o->done(o);
        }
        survey_free(s);
        if (!r->survey && !list_is_empty(&r->waiters))
                start_survey(r);
}

void registry_refresh(Registry *r, bool thorough, RegistryWaiter *w) {
        w->thorough = thorough;
        list_append(&r->waiters, &w->node);
        if (!r->survey)
                start_survey(r);
}

void registry_take_turn(Registry *r, RegistryTurn *t) {
        list_append(&r->turns, &t->node);
        if (list_is_single(&r->turns))
                t->go(t);
}

void registry_end_turn(Registry *r, RegistryTurn *t) {
        list_remove(&t->node);
        RegistryTurn *next = list_first(&r->turns, RegistryTurn, node);
        if (next)
                next->go(next);
}

/* ---- what is asked for ---- */

const ModelEntry *registry_namesake(Registry *r, const Variant *v) {
        const ModelEntry *m = find_exact(r, v->name, strlen(v->name));
        return m && !m->missing ? m : NULL;
}

ModelEntry *registry_model_of(Registry *r, const Variant *v) {
        return v->from ? find_present(r, v->from, strlen(v->from)) : NULL;
}

const Variant *registry_find_variant(Registry *r, const char *name, size_t len) {
        if (list_is_empty(&r->variants))
                return NULL;
        const ModelEntry *m = find_present(r, name, len);
        const Variant *v = m ? find_in(&r->variants, m->name, strlen(m->name)) : find_in(&r->variants, name, len);
        size_t shorter = untagged(name, len);
        if (!v && !m && shorter > 0)
                v = find_in(&r->variants, name, shorter);
        return v && m && registry_model_of(r, v) != m ? NULL : v;
}

ModelEntry *registry_find(Registry *r, const char *name, size_t len) {
        ModelEntry *m = find_present(r, name, len);
        const Variant *v = m ? NULL : registry_find_variant(r, name, len);
        return v ? registry_model_of(r, v) : m;
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
        list_foreach(v, &r->variants, Variant, node) {
                const char *pair[] = {v->name, best, NULL};
                best = nearest_word(name, pair);
        }
        return best;
}
