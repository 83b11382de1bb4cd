/* What makes a map restartable: its results know their input, by id where the input has one and else by index, and a
 * line is in the file entirely or not at all.
 *
 * A line is one write() to a file opened for appending, and only complete lines count: what follows the last newline
 * is the rest of a run that was killed, or of a disk that was full, and is cut off. Done indices are bits, so a run
 * over millions of lines needs little memory; done ids are kept as text, in a Map whose keys they are. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/results.h"
#include "util/buf.h"
#include "util/map.h"

struct Results {
        int fd;
        char *path;          /* as complaints call it */
        bool regular;        /* a file that keeps what it is given */
        uint64_t found;
        uint8_t *bits;       /* done indices */
        uint64_t n_bits;
        Map ids;
        char **keys;         /* of `ids`, to be freed */
        size_t n_keys, keys_cap;
        Buf line;
};

enum { INDEX_MAX = INT32_MAX };

void results_free(Results *r) {
        if (!r)
                return;
        if (r->fd >= 0 && r->fd != STDOUT_FILENO)
                close(r->fd);
        for (size_t i = 0; i < r->n_keys; i++)
                free(r->keys[i]);
        free(r->keys);
        map_deinit(&r->ids);
        free(r->bits);
        free(r->path);
        buf_deinit(&r->line);
        free(r);
}

/* ---- What is done ---- */

static int mark_index(Results *r, uint64_t index) {
        if (index >= r->n_bits) {
                uint64_t n = MAX(r->n_bits * 2, (index | 1023) + 1);
                uint8_t *more = realloc(r->bits, n / 8);
                if (!more)
                        return -ENOMEM;
                memset(more + r->n_bits / 8, 0, (n - r->n_bits) / 8);
                r->bits = more;
                r->n_bits = n;
        }
        r->bits[index / 8] |= (uint8_t)(1 << index % 8);
        return 0;
}

static int mark_id(Results *r, const json_t *id) {
        if (r->n_keys == r->keys_cap) {
                size_t cap = r->keys_cap ? r->keys_cap * 2 : 256;
                char **more = realloc(r->keys, cap * sizeof(*more));
                if (!more)
                        return -ENOMEM;
                r->keys = more;
                r->keys_cap = cap;
        }
        char *key = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
        if (!key)
                return -ENOMEM;
        r->keys[r->n_keys++] = key;
        return MIN(map_set(&r->ids, key, strlen(key), 1), 0);
}

bool results_have(const Results *r, uint64_t index, const json_t *id) {
        int32_t value;
        if (!id)
                return index < r->n_bits && r->bits[index / 8] >> index % 8 & 1;
        if (r->n_keys == 0)
                return false;
        char *key = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
        bool have = key && map_get(&r->ids, key, strlen(key), &value);
        free(key);
        return have;
}

uint64_t results_found(const Results *r) {
        return r->found;
}

/* ---- Reading the file ---- */

static int take_line(Results *r, const char *line, size_t n, bool redo_failed, Error *e) {
        json_auto_t *root = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        const json_t *index = json_object_get(root, "index"), *id = json_object_get(root, "id");
        if (!json_is_integer(index) || json_integer_value(index) < 0 || json_integer_value(index) > INDEX_MAX)
                return error_set(e, -EINVAL, "line %llu of %s is no result of this command; name another file",
                                 (unsigned long long)r->found + 1, r->path);
        r->found++;
        if (redo_failed && json_object_get(root, "error"))
                return 0;
        int result = id ? mark_id(r, id) : mark_index(r, (uint64_t)json_integer_value(index));
        return result < 0 ? error_set(e, result, "out of memory") : 0;
}

/* Reads the file to its end; *ret_whole is where its last complete line ends. */
static int scan(Results *r, FILE *f, bool redo_failed, off_t *ret_whole, Error *e) {
        _cleanup_free_ char *line = NULL;
        size_t cap = 0;
        off_t whole = 0;
        for (ssize_t n; (n = getline(&line, &cap, f)) > 0 && line[n - 1] == '\n'; whole += n) {
                int result = take_line(r, line, (size_t)n - 1, redo_failed, e);
                if (result < 0)
                        return result;
        }
        if (ferror(f))
                return error_set(e, -EIO, "cannot read %s: %s", r->path, strerror(errno));
        *ret_whole = whole;
        return 0;
}

static int resume(Results *r, bool redo_failed, Error *e) {
        off_t whole = 0;
        FILE *f = fopen(r->path, "re");
        if (!f)
                return error_set(e, -errno, "cannot read %s: %s", r->path, strerror(errno));
        int result = scan(r, f, redo_failed, &whole, e);
        fclose(f);
        if (result == 0 && ftruncate(r->fd, whole) < 0)
                result = error_set(e, -errno, "cannot cut the torn last line off %s: %s", r->path, strerror(errno));
        return result;
}

static int open_file(Results *r, const char *path, bool redo_failed, Error *e) {
        struct stat st;
        r->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (r->fd < 0 || fstat(r->fd, &st) < 0)
                return error_set(e, -errno, "cannot write %s: %s", path, strerror(errno));
        r->regular = S_ISREG(st.st_mode);
        if (!r->regular)
                return 0;
        if (flock(r->fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(e, -EBUSY, "another process writes to %s", path);
        return resume(r, redo_failed, e);
}

int results_open(const char *path, bool redo_failed, Results **ret, Error *e) {
        _cleanup_(results_freep) Results *r = calloc(1, sizeof(*r));
        if (!r)
                return error_set(e, -ENOMEM, "out of memory");
        r->fd = STDOUT_FILENO;
        r->path = strdup(path ? path : "the output");
        if (!r->path || map_init(&r->ids, 16) < 0)
                return error_set(e, -ENOMEM, "out of memory");
        int result = path ? open_file(r, path, redo_failed, e) : 0;
        if (result < 0)
                return result;
        *ret = TAKE(r);
        return 0;
}

/* ---- Writing it ---- */

int results_add(Results *r, const char *line, Error *e) {
        buf_clear(&r->line);
        buf_puts(&r->line, line);
        buf_putc(&r->line, '\n');
        if (r->line.failed)
                return error_set(e, -ENOMEM, "out of memory");
        for (size_t at = 0; at < r->line.len;) {
                ssize_t n = write(r->fd, r->line.data + at, r->line.len - at);
                if (n < 0 && errno != EINTR)
                        return error_set(e, -errno, "cannot write %s: %s", r->path, strerror(errno));
                at += (size_t)MAX(n, 0);
        }
        return 0;
}

int results_sync(Results *r, Error *e) {
        if (r->regular && fsync(r->fd) < 0)
                return error_set(e, -errno, "cannot write %s: %s", r->path, strerror(errno));
        return 0;
}
