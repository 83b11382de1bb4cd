/* A directory of files that a test writes, and removes. */
#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

typedef struct Folder {
        char path[64];
} Folder;

static inline void folder_init(Folder *f) {
        snprintf(f->path, sizeof(f->path), "/tmp/zerollama-test-XXXXXX");
        assert_non_null(mkdtemp(f->path));
}

/* Writes a file, perhaps "FOLDER/FILE"; `data` NULL removes it. */
static inline void folder_put(const Folder *f, const char *name, const void *data, size_t n) {
        char path[512];
        const char *slash = strchr(name, '/');
        if (slash) {
                snprintf(path, sizeof(path), "%s/%.*s", f->path, (int)(slash - name), name);
                mkdir(path, 0700);
        }
        snprintf(path, sizeof(path), "%s/%s", f->path, name);
        if (!data) {
                remove(path);
                return;
        }
        FILE *out = fopen(path, "we");
        assert_non_null(out);
        assert_int_equal(fwrite(data, 1, n, out), n);
        assert_int_equal(fclose(out), 0);
}

static inline void folder_put_text(const Folder *f, const char *name, const char *text) {
        folder_put(f, name, text, text ? strlen(text) : 0);
}

/* A folder and all that is in it. */
static inline void folder_remove(const char *path) {
        char *inner;
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
                if (e->d_name[0] == '.')
                        continue;
                assert_true(asprintf(&inner, "%s/%s", path, e->d_name) > 0);
                if (remove(inner) < 0)
                        folder_remove(inner);
                free(inner);
        }
        if (d)
                closedir(d);
        rmdir(path);
}

static inline void folder_deinit(Folder *f) {
        folder_remove(f->path);
}

/* A fresh folder for each test, as *state. */
static inline int folder_setup(void **state) {
        static Folder f;
        folder_init(&f);
        *state = &f;
        return 0;
}

static inline int folder_teardown(void **state) {
        folder_deinit(*state);
        return 0;
}

/* All of a file, terminated, and how much. The caller frees. */
static inline char *read_file(const char *path, size_t *ret_n) {
        struct stat st;
        FILE *f = fopen(path, "re");
        if (!f || fstat(fileno(f), &st) < 0)
                fail_msg("%s: cannot read it", path);
        char *data = calloc(1, (size_t)st.st_size + 1);
        assert_non_null(data);
        assert_int_equal(fread(data, 1, (size_t)st.st_size, f), st.st_size);
        fclose(f);
        if (ret_n)
                *ret_n = (size_t)st.st_size;
        return data;
}
