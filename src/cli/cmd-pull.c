/* zerollama pull: fetches a model into the directory that the daemon serves from, which finds it there by itself. The daemon has no
 * part in it: it sees no network.
 *
 * A registry, Ollama's or Hugging Face's, is asked for the model's manifest, a list of layers, each a file with its size and digest
 * (the protocol of container images). One of them is the GGUF file; others, which may be there, say how to sample and what the system's
 * message is. The file is written into a hidden file beside its place, whose name
 * has the digest, and moved there once it is whole and right; what an interrupted run leaves is where the next one goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/document.h"
#include "cli/fetch.h"
#include "cli/reference.h"
#include "util/place.h"
#include "util/str.h"

#define LAYER "application/vnd.ollama.image."
#define MANIFESTS "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"

static const char *directory, *name;
static bool replace;

static const Option options[] = {
        {OPTION_TEXT, 0, "name", "NAME", &name, .help = "what it is to be called here [its own name and tag]"},
        {OPTION_TEXT, 0, "directory", "DIR", &directory, .help = "where it is to be put [the daemon's models_path]"},
        {OPTION_FLAG, 0, "replace", NULL, &replace, .help = "another model of that name, or an older one, makes room"},
        {OPTION_END},
};

typedef struct Pull { /* strings are its own */
        Reference from;
        char *name, *directory, *path, *part;
        char digest[DIGEST_MAX];
        char params[DIGEST_MAX], system[DIGEST_MAX]; /* of what a registry says besides; "": nothing */
        uint64_t size;
        char *defaults; /* where that is now; NULL: nowhere */
        bool sees; /* there is a part for images, which is left there */
        bool fetched;
        int fd;
} Pull;

static void pull_deinit(Pull *p) {
        reference_deinit(&p->from);
        free(p->name);
        free(p->directory);
        free(p->path);
        free(p->part);
        free(p->defaults);
        if (p->fd >= 0)
                close(p->fd);
}

static int no_memory(Error *e) {
        return error_set(e, -ENOMEM, "not enough memory");
}

/* ---- what and where ---- */

static int read_digest(const json_t *layer, char ret[DIGEST_MAX]) {
        const char *text = json_string_value(json_object_get(layer, "digest"));
        if (!text || strncmp(text, "sha256:", 7) != 0 || strlen(text + 7) != DIGEST_MAX - 1 ||
            strspn(text + 7, "0123456789abcdef") != DIGEST_MAX - 1)
                return -EINVAL;
        memcpy(ret, text + 7, DIGEST_MAX);
        return 0;
}

static bool is_layer(const json_t *layer, const char *kind) {
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        return type && strncmp(type, LAYER, sizeof(LAYER) - 1) == 0 && strcmp(type + sizeof(LAYER) - 1, kind) == 0;
}

static int read_layers(Pull *p, const json_t *layers, Error *e) {
        unsigned n = 0;
        size_t i;
        json_t *layer;
        json_array_foreach(layers, i, layer) {
                json_int_t size = json_integer_value(json_object_get(layer, "size"));
                p->sees |= is_layer(layer, "projector");
                if (is_layer(layer, "adapter"))
                        return error_set(e, -EOPNOTSUPP, "it is an adapter of another model, which is not supported");
                if ((is_layer(layer, "params") && read_digest(layer, p->params) < 0) ||
                    (is_layer(layer, "system") && read_digest(layer, p->system) < 0))
                        return error_set(e, -EINVAL, "its manifest names no SHA-256 of its parameters");
                if (!is_layer(layer, "model"))
                        continue;
                if (read_digest(layer, p->digest) < 0 || size <= 0)
                        return error_set(e, -EINVAL, "its manifest names no SHA-256, or no size");
                p->size = (uint64_t)size;
                n++;
        }
        return n == 1 ? 0 : error_set(e, -EOPNOTSUPP, n == 0 ? "it has no GGUF file" : "it is in several files, which is not supported");
}

static int read_manifest(Pull *p, Error *e) {
        _cleanup_free_ char *url = NULL;
        _cleanup_buf_ Buf text = BUF_NULL;
        if (asprintf(&url, "%s/v2/%s/manifests/%s", p->from.registry, p->from.repository, p->from.tag) < 0)
                return no_memory(e);
        int r = fetch_document(url, MANIFESTS, &text, e);
        if (r == -ENOENT)
                return error_set(e, r, "%s has no model %s:%s", p->from.registry, p->from.repository, p->from.tag);
        if (r < 0)
                return r;
        json_auto_t *manifest = json_loadb(text.data ? text.data : "", text.len, 0, NULL);
        if (!json_is_object(manifest))
                return error_set(e, -EINVAL, "%s: that is no manifest", url);
        r = read_layers(p, json_object_get(manifest, "layers"), e);
        if (r < 0)
                error_prefix(e, "%s:%s", p->from.repository, p->from.tag);
        return r;
}

/* Where the daemon looks. */
static int ask_directory(ZlClient *client, char **ret, Error *e) {
        char *json = NULL;
        ZlError ze;
        if (!is_local(client))
                return error_set(e, -EINVAL, "the daemon is on another machine; run this there, or say --directory");
        if (zl_status(client, &json, &ze) < 0)
                return error_set(e, -ENOTCONN, "%s; where its models are it cannot say: --directory can", ze.message);
        json_auto_t *status = json_loads(json, 0, NULL);
        const char *path = json_string_value(json_object_get(status, "models_path"));
        free(json);
        if (!path)
                return error_set(e, -EINVAL, "the daemon does not say where its models are; say --directory");
        *ret = strdup(path);
        return *ret ? 0 : no_memory(e);
}

static int find_place(Pull *p, ZlClient *client, Error *e) {
        int r = 0;
        if (!directory)
                r = ask_directory(client, &p->directory, e);
        else if (!(p->directory = strdup(directory)))
                return no_memory(e);
        if (r < 0)
                return r;
        /* A daemon of one's own has none at first. */
        if ((r = place_directory(p->directory)) < 0 || (access(p->directory, W_OK | X_OK) < 0 && (r = -errno) < 0))
                return error_set(e, r, "cannot write to %s: %s%s", p->directory, strerror(-r),
                                 r == -EACCES || r == -EPERM ? "; run this as root, or say --directory" : "");
        return 0;
}

/* ---- fetching ---- */

/* 1: it is there; 0: nothing is there, or what may be replaced. */
static int look_at_place(const Pull *p, Error *e) {
        char digest[DIGEST_MAX];
        struct stat st;
        int fd = open(p->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : error_set(e, -errno, "%s: %s", p->path, strerror(errno));
        bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
        bool same = is_file && (uint64_t)st.st_size == p->size && file_digest(fd, p->size, p->name, digest, e) == 0 &&
                    strcmp(digest, p->digest) == 0;
        close(fd);
        bar_clear();
        if (interrupted)
                return error_set(e, -EINTR, "interrupted");
        if (!same && !(is_file && replace))
                return error_set(e, -EEXIST, "%s is there already, and is %s; say --name%s", p->path,
                                 is_file ? "another model or an older one" : "no file", is_file ? ", or --replace" : "");
        return same;
}

static int open_part(Pull *p, Error *e) {
        p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (p->fd < 0)
                return error_set(e, -errno, "%s: %s", p->part, strerror(errno));
        if (flock(p->fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(e, -EBUSY, "%s is being fetched already", p->name);
        return 0;
}

static int check_room(const Pull *p, Error *e) {
        struct statvfs fs;
        struct stat st;
        char room[32], size[32];
        if (fstatvfs(p->fd, &fs) < 0 || fstat(p->fd, &st) < 0)
                return error_set(e, -errno, "%s: %s", p->part, strerror(errno));
        uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_size;
        if (free_bytes >= p->size)
                return 0;
        return error_set(e, -ENOSPC, "%s has room for %s, and the model is %s", p->directory, format_size(room, sizeof(room), free_bytes),
                         format_size(size, sizeof(size), p->size));
}

static int check_magic(const Pull *p, Error *e) {
        char magic[4];
        if (pread(p->fd, magic, sizeof(magic), 0) == sizeof(magic) && memcmp(magic, "GGUF", sizeof(magic)) == 0)
                return 0;
        return error_set(e, -EBADMSG, "%s: what came is no GGUF file", p->name);
}

static int put_in_place(const Pull *p, Error *e) {
        int r = place_file(p->fd, p->part, p->path);
        return r < 0 ? error_set(e, r, "%s: %s", p->path, strerror(-r)) : 0;
}

static char *blob_url(const Pull *p, const char *digest) {
        char *url;
        return asprintf(&url, "%s/v2/%s/blobs/sha256:%s", p->from.registry, p->from.repository, digest) < 0 ? NULL : url;
}

static int fetch(Pull *p, Error *e) {
        _cleanup_free_ char *url = blob_url(p, p->digest);
        if (!url)
                return no_memory(e);
        int r = open_part(p, e);
        if (r == 0)
                r = check_room(p, e);
        if (r == 0)
                r = fetch_file(&(FetchFile){url, p->fd, p->size, p->digest, p->name}, e);
        if (r == 0)
                r = check_magic(p, e);
        if (r == 0)
                r = put_in_place(p, e);
        if (r == -EBADMSG)
                unlink(p->part);
        p->fetched = r == 0;
        return r;
}

/* ---- what a registry says of it besides ---- */

static int fetch_text(const Pull *p, const char *digest, Buf *ret, Error *e) {
        _cleanup_free_ char *url = *digest ? blob_url(p, digest) : NULL;
        if (!*digest)
                return 0;
        return url ? fetch_blob(url, digest, ret, e) : no_memory(e);
}

/* What counts here: the others are for programs of the registry's own. */
static void set_parameters(json_t *definition, const Buf *text) {
        static const char *const known[] = {"temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty",
                                            "frequency_penalty", "repeat_last_n", "num_predict", "seed", "stop"};
        json_auto_t *said = text->len ? json_loadb(text->data, text->len, 0, NULL) : NULL, *kept = json_object();
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
                if (json_object_get(said, known[i]) && !json_is_null(json_object_get(said, known[i])))
                        json_object_set(kept, known[i], json_object_get(said, known[i]));
        if (json_object_size(kept) > 0)
                json_object_set(definition, "parameters", kept);
}

/* A new object; it says only whose it is where there is no more to say. */
static int make_defaults(const Pull *p, json_t **ret, Error *e) {
        _cleanup_buf_ Buf params = BUF_NULL, system = BUF_NULL;
        int r = fetch_text(p, p->params, &params, e);
        if (r == 0)
                r = fetch_text(p, p->system, &system, e);
        if (r < 0)
                return r;
        json_t *definition = json_pack("{s:s}", "from", p->name);
        set_parameters(definition, &params);
        if (system.len > 0)
                json_object_set_new(definition, "system", json_stringn(system.data, system.len));
        *ret = definition;
        return definition ? 0 : no_memory(e);
}

/* As a variant that has the model's own name (zerollama-api(7)), so that it counts when the model is asked for. One that is there may
 * be somebody's work: it stays, unless it is to be replaced. */
static int put_defaults(Pull *p, const json_t *definition, Error *e) {
        _cleanup_free_ char *path = NULL;
        _cleanup_free_ char *text = json_dumps(definition, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        if (!text || asprintf(&path, "%s/%s.json", p->directory, p->name) < 0)
                return no_memory(e);
        bool is_there = access(path, F_OK) == 0, says_nothing = json_object_size(definition) < 2;
        if (is_there && !replace)
                complain("%s is there already, and stays", path);
        if (says_nothing ? !is_there || !replace : is_there && !replace)
                return 0;
        int r = says_nothing ? place_remove(path) : place_text(path, text, strlen(text));
        if (r < 0)
                return error_set(e, r, "%s: %s", path, strerror(-r));
        p->defaults = says_nothing ? NULL : TAKE(path);
        return 0;
}

static int pull(Pull *p, ZlClient *client, Error *e) {
        int r = find_place(p, client, e);
        if (r == 0)
                r = read_manifest(p, e);
        if (r < 0)
                return r;
        if (asprintf(&p->path, "%s/%s.gguf", p->directory, p->name) < 0 ||
            asprintf(&p->part, "%s/.%s-%.12s.part", p->directory, p->name, p->digest) < 0)
                return no_memory(e);
        r = look_at_place(p, e);
        if (r != 0)
                return MIN(r, 0);
        json_auto_t *defaults = NULL; /* first, so that the model is not there without them */
        r = make_defaults(p, &defaults, e);
        if (r == 0)
                r = fetch(p, e);
        return r == 0 ? put_defaults(p, defaults, e) : r;
}

/* ---- what came of it ---- */

static int report(const Pull *p) {
        char size[32];
        if (want_json) {
                json_auto_t *o = json_pack("{s:s, s:s, s:I, s:s+, s:b}", "model", p->name, "path", p->path, "size", (json_int_t)p->size,
                                           "digest", "sha256:", p->digest, "fetched", p->fetched);
                if (p->defaults)
                        json_object_set_new(o, "defaults", json_string(p->defaults));
                char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
                int r = text ? print_json(text) : EXIT_FAILED;
                free(text);
                return r;
        }
        printf("%s: %s, %s %s\n", p->name, format_size(size, sizeof(size), p->size), p->fetched ? "is now" : "was already", p->path);
        if (p->defaults)
                printf("%s: what its registry says of how to use it is now %s\n", p->name, p->defaults);
        return EXIT_OK;
}

/* Whether this version can use it the engine knows. Who is asked for a list looks at the disk first, and so notices that another
 * file has the place of one that is loaded. */
static int check_use(const Pull *p, ZlClient *client) {
        char *json = NULL;
        ZlError e;
        ZlModels *list = NULL;
        if (!directory && zl_models(client, &list, &e) == 0)
                zl_models_free(list);
        if (p->sees)
                complain("%s can see images elsewhere; here it reads text only", p->name);
        if (directory || zl_show(client, p->name, &json, &e) == 0) {
                json_auto_t *shown = json ? json_loads(json, JSON_ALLOW_NUL, NULL) : NULL;
                if (p->defaults && shown && !json_object_get(shown, "from"))
                        complain("%s cannot be used; the daemon's log says why", p->defaults);
                free(json);
                return EXIT_OK;
        }
        complain("it is there, but cannot be used:");
        return complain_error(&e);
}

static int run(ZlClient *client, char **args) {
        _cleanup_(pull_deinit) Pull p = {.fd = -1};
        const char *why;
        Error e = ERROR_NULL;
        if (!reference_parse(args[0], &p.from, &why)) {
                complain("'%s': %s", args[0], why);
                return EXIT_USAGE;
        }
        if (name && !reference_is_name(name)) {
                complain("--name: '%s' is no name: letters, digits, and '.', '-', '+', ':', ' ' within", name);
                return EXIT_USAGE;
        }
        if (directory && !*directory) {
                complain("--directory: is empty");
                return EXIT_USAGE;
        }
        p.name = strdup(name ? name : p.from.name);
        int r = p.name ? pull(&p, client, &e) : no_memory(&e);
        if (r < 0) {
                complain("%s", r == -EINTR ? "interrupted; run again, it goes on from here" : e.text);
                return r == -EINTR ? EXIT_INTERRUPTED : r == -ENOTCONN ? EXIT_UNREACHABLE : EXIT_FAILED;
        }
        r = report(&p);
        return r == EXIT_OK ? check_use(&p, client) : r;
}

const Command cmd_pull = {
        .name = "pull",
        .arguments = "MODEL",
        .summary = "fetch a model",
        .description = "MODEL is [HOST/][NAMESPACE/]MODEL[:TAG], such as llama3.2:1b, from registry.ollama.ai, or "
                       "hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0. Interrupted, it goes on when it is run again.",
        .options = {options},
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
