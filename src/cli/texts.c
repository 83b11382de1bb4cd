/* Texts, one at a time; see texts.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/texts.h"

void texts_init(Texts *t, char **words, const char *const *files) {
        *t = (Texts){.words = words, .files = files, .piped = !*words && !files};
}

static void close_file(Texts *t) {
        if (t->file && t->file != stdin)
                fclose(t->file);
        t->file = NULL;
}

void texts_deinit(Texts *t) {
        close_file(t);
        free(t->line);
}

static int failed(const Texts *t, int error) {
        if (!interrupted)
                complain("cannot read %s: %s", t->name, strerror(error));
        return -error;
}

/* 1: there is a file to read from; 0: there is none left. */
static int next_file(Texts *t) {
        bool named = t->files && *t->files;
        if (!named && !t->piped)
                return 0;
        t->name = named ? *t->files++ : "-";
        t->piped = false;
        if (strcmp(t->name, "-") == 0) {
                t->name = "stdin";
                t->file = stdin;
        } else if (!(t->file = fopen(t->name, "re")))
                return failed(t, errno);
        return 1;
}

static int next_line(Texts *t, const char **ret) {
        errno = 0;
        ssize_t n = getline(&t->line, &t->cap, t->file);
        if (n < 0)
                return ferror(t->file) || errno == ENOMEM ? failed(t, errno) : 0;
        while (n > 0 && (t->line[n - 1] == '\n' || t->line[n - 1] == '\r'))
                t->line[--n] = 0;
        if (memchr(t->line, 0, (size_t)n)) {
                complain("%s is no text: it has a NUL byte", t->name);
                return -EINVAL;
        }
        *ret = t->line;
        return 1;
}

int texts_next(Texts *t, const char **ret) {
        if (*t->words) {
                *ret = *t->words++;
                return 1;
        }
        int r = 1;
        while (r > 0) {
                if (!t->file && (r = next_file(t)) <= 0)
                        return r;
                r = next_line(t, ret);
                if (r > 0 && **ret)
                        return 1;
                if (r == 0) {
                        close_file(t);
                        r = 1;
                }
        }
        return r;
}
