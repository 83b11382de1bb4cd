/* What every unit test includes: cmocka with its required headers, in its required order. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Sanitizers look at every access. What takes long takes fewer cases there. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* Where a random test begins: always at the same place, so that a commit passes for everybody or for nobody, unless
 * ZEROLLAMA_TEST_SEED says another number. */
static inline uint64_t test_seed(void) {
        const char *seed = getenv("ZEROLLAMA_TEST_SEED");
        return seed ? strtoull(seed, NULL, 0) : 1;
}

/* A file of the real test data, or NULL when there is none here (the test then skips, visibly). */
static inline const char *test_data(const char *name) {
        static char path[4096];
        const char *dir = getenv("ZEROLLAMA_TEST_DATA");
        if (!dir)
                return NULL;
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        FILE *f = fopen(path, "re");
        if (!f)
                return NULL;
        fclose(f);
        return path;
}

/* A file of tests/data. The path is good until the call after the next. */
static inline const char *recorded(const char *name) {
        static char paths[2][4096];
        static unsigned turn;
        const char *dir = getenv("top_srcdir");
        char *path = paths[turn++ % 2];
        snprintf(path, sizeof(paths[0]), "%s/tests/data/%s", dir ? dir : ".", name);
        return path;
}

#define skip_without(data)                                                     \
        do {                                                                   \
                if (!test_data(data)) {                                        \
                        print_message("no test data %s: skipped\n", (data));   \
                        skip();                                                \
                }                                                              \
        } while (0)
