/* Mapping a model's file; see file.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "model/file.h"
#include "util/str.h"

enum { LABEL_MAX = 200 }; /* bytes of the path in messages */

/* Says which component of the path stood in the way. */
static int explain_open(const ModelFile *f, int err, Error *e) {
        struct stat st;
        _cleanup_free_ char *dir = strdup(f->path);
        char *s = dir ? dir + strspn(dir, "/") : NULL;
        while (s && (s = strchr(s, '/'))) {
                *s = 0;
                int failed = stat(dir, &st) < 0                               ? errno
                             : !S_ISDIR(st.st_mode)                           ? ENOTDIR
                             : faccessat(AT_FDCWD, dir, X_OK, AT_EACCESS) < 0 ? errno
                                                                              : 0;
                if (failed)
                        return FILE_REFUSE(f, e, -failed, "cannot enter '%.200s': %s", dir, strerror(failed));
                *s++ = '/';
        }
        return FILE_REFUSE(f, e, -err, "cannot open it: %s", strerror(err));
}

/* What git leaves in a file's place when it is cloned without its large files. */
static int refuse_pointer(const ModelFile *f, Error *e) {
        static const char lfs[] = "version https://git-lfs";
        if (f->size >= sizeof(lfs) && memcmp(f->data, lfs, sizeof(lfs) - 1) == 0)
                return FILE_REFUSE(f, e, -EINVAL, "is a Git LFS pointer, not the file: fetch it with 'git lfs pull'");
        return 0;
}

/* O_NONBLOCK: so that a FIFO in the model's place is refused instead of waited for. */
static int map_file(ModelFile *f, Error *e) {
        struct stat st;
        _cleanup_close_ int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return explain_open(f, errno, e);
        if (fstat(fd, &st) < 0)
                return FILE_REFUSE(f, e, -errno, "cannot look at it: %s", strerror(errno));
        if (S_ISDIR(st.st_mode))
                return FILE_REFUSE(f, e, -EISDIR, "is a directory, should be a file");
        if (!S_ISREG(st.st_mode))
                return FILE_REFUSE(f, e, -EINVAL, "is not a regular file");
        if (st.st_size == 0)
                return FILE_REFUSE(f, e, -EINVAL, "is empty");
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return FILE_REFUSE(f, e, -errno, "cannot map it: %s", strerror(errno));
        f->data = map;
        f->size = (size_t)st.st_size;
        return refuse_pointer(f, e);
}

int model_file_open(const char *path, ModelFile *ret, Error *e) {
        ModelFile f = {.path = strdup(path)};
        if (!f.path)
                return error_set(e, -ENOMEM, "%s: no memory to open it", path);
        size_t len = strlen(path);
        f.label = f.path + (len > LABEL_MAX ? len - LABEL_MAX : 0);
        int k = map_file(&f, e);
        if (k < 0)
                model_file_close(&f);
        *ret = f;
        return k;
}

void model_file_close(ModelFile *f) {
        if (f->data)
                munmap((void *)f->data, f->size);
        free(f->path);
        *f = (ModelFile){0};
}

char *file_text(char *buf, size_t size, FileText s) {
        bool bad;
        size_t n = utf8_valid_prefix(s.data, MIN(s.len, size - 1), &bad);
        for (size_t i = 0; i < n; i++)
                buf[i] = (unsigned char)s.data[i] < ' ' || s.data[i] == 0x7f ? '?' : s.data[i];
        buf[n] = 0;
        return buf;
}

FileText file_base_name(const char *path) {
        size_t len = strlen(path);
        while (len > 1 && path[len - 1] == '/')
                len--;
        size_t start = len;
        while (start > 0 && path[start - 1] != '/')
                start--;
        return (FileText){.data = path + start, .len = len - start};
}
