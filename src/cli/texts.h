/* The texts that a command is given: its words, or else the lines of files, or of what is piped in. */
#pragma once

#include <stdio.h>

typedef struct Texts {
        char **words;             /* NULL-terminated; left over */
        const char *const *files; /* NULL-terminated, or NULL; left over */
        FILE *file;               /* being read */
        const char *name;
        char *line;
        size_t cap;
        bool piped;               /* stdin is still to be read */
} Texts;

/* With neither words nor files stdin is read; "-" as a file is stdin, too. Both must outlive it. */
void texts_init(Texts *t, char **words, const char *const *files);
void texts_deinit(Texts *t);
/* 1: *ret is the next one, until the next call; empty lines are none. 0: there are no more. Negative: said why not. */
int texts_next(Texts *t, const char **ret);
