/* Files in their place; see place.h.
 *
 * A directory is not removed in one step. That nothing of it is lost when a part may not be removed, it is looked for that first;
 * that nobody meets it half gone, it is renamed before its files go, to a hidden name beside it, ".NAME.removed.XXXXXX". One that
 * lies there was left by somebody who did not come to the end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/macro.h"
#include "util/place.h"

enum { DEPTH_MAX = 32 };

static const char removed[] = ".removed.";

int place_directory(const char *path) {
        _cleanup_free_ char *s = strdup(path);
        if (!s)
                return -ENOMEM;
        for (char *slash = s + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = 0;
                if (mkdir(s, 0755) < 0 && errno != EEXIST)
                        return -errno;
        }
        return mkdir(s, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* The directory that `path` lies in; "." where it has no slash. NULL: no memory. */
static char *parent_of(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

static int sync_parent(const char *path) {
        _cleanup_free_ char *parent = parent_of(path);
        _cleanup_close_ int dir = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (!parent)
                return -ENOMEM;
        return dir < 0 || fsync(dir) < 0 ? -errno : 0;
}

int place_file(int fd, const char *from, const char *to) {
        if (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || rename(from, to) < 0)
                return -errno;
        return sync_parent(to);
}

/* "DIR/.NAME", what it is for, and XXXXXX, beside `path`, for mkostemp() and mkdtemp(); NULL: no memory. */
static char *beside(const char *path, const char *what) {
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        char *s;
        return asprintf(&s, "%.*s.%s%sXXXXXX", (int)(name - path), path, name, what) < 0 ? NULL : s;
}

static int write_all(int fd, const char *text, size_t n) {
        for (size_t done = 0; done < n;) {
                ssize_t r = write(fd, text + done, n - done);
                if (r < 0 && errno != EINTR)
                        return -errno;
                done += r > 0 ? (size_t)r : 0;
        }
        return 0;
}

int place_text(const char *path, const char *text, size_t n) {
        _cleanup_free_ char *part = beside(path, "."), *parent = parent_of(path);
        if (!part || !parent)
                return -ENOMEM;
        int r = place_directory(parent);
        _cleanup_close_ int fd = r == 0 ? mkostemp(part, O_CLOEXEC) : -1;
        if (fd < 0)
                return r < 0 ? r : -errno;
        if ((r = write_all(fd, text, n)) == 0)
                r = place_file(fd, part, path);
        if (r < 0)
                unlink(part); /* not there any more where it is in its place */
        return r;
}

/* ---- removing ---- */

static bool is_dot(const char *name) {
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_directory(int dir, const char *name) {
        struct stat st;
        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* All that is in the directory `name` of `dir`, and then itself; or, `only_look`, whether that is possible. */
static int remove_tree(int dir, const char *name, bool only_look, int depth) {
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        if (!d) {
                r = -errno;
                if (fd >= 0)
                        close(fd);
                return r;
        }
        if (depth > DEPTH_MAX)
                r = -ELOOP;
        else if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
                r = -errno;
        for (struct dirent *e; r == 0 && (e = readdir(d));) {
                if (is_dot(e->d_name))
                        continue;
                if (is_directory(fd, e->d_name))
                        r = remove_tree(fd, e->d_name, only_look, depth + 1);
                else if (!only_look && unlinkat(fd, e->d_name, 0) < 0)
                        r = -errno;
        }
        closedir(d);
        if (r == 0 && !only_look && unlinkat(dir, name, AT_REMOVEDIR) < 0)
                r = -errno;
        return r;
}

/* The new directory that it takes the place of is empty. */
static int remove_directory(const char *path) {
        _cleanup_free_ char *hidden = beside(path, removed);
        int r = remove_tree(AT_FDCWD, path, true, 0);
        if (r < 0)
                return r;
        if (!hidden || !mkdtemp(hidden))
                return hidden ? -errno : -ENOMEM;
        if (rename(path, hidden) < 0) {
                r = -errno;
                rmdir(hidden);
                return r;
        }
        r = sync_parent(path);
        if (r == 0)
                r = remove_tree(AT_FDCWD, hidden, false, 0);
        return -r;
}

/* What others have left there. */
static void remove_leftovers(const char *parent) {
        DIR *d = opendir(parent);
        for (struct dirent *e; d && (e = readdir(d));)
                if (e->d_name[0] == '.' && strstr(e->d_name, removed))
                        (void)!remove_tree(dirfd(d), e->d_name, false, 0);
        if (d)
                closedir(d);
}

int place_remove(const char *path) {
        _cleanup_free_ char *parent = parent_of(path);
        if (!parent)
                return -ENOMEM;
        remove_leftovers(parent);
        if (is_directory(AT_FDCWD, path))
                return remove_directory(path);
        return unlink(path) < 0 ? -errno : sync_parent(path);
}
