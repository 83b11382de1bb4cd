/* The `zerollama` command: what its files share. A subcommand is one file, cmd-X.c, with one Command; commands.h and
 * main.c list them. Options are rows of tables: parsing, help, and the check of the manual page all read them. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/zerollama.h"
#include "util/buf.h"

/* Exit codes, also in zerollama(1). */
enum {
        EXIT_OK = 0,
        EXIT_FAILED = 1,       /* the daemon refused, or the request failed */
        EXIT_USAGE = 2,
        EXIT_UNREACHABLE = 3,  /* no daemon there */
        EXIT_INTERRUPTED = 130,
};

typedef enum OptionKind {
        OPTION_END,
        OPTION_FLAG,    /* bool * */
        OPTION_TEXT,    /* const char ** */
        OPTION_CONTENT, /* const char **: a text, or, after @, what a file of that name holds, or stdin after @- */
        OPTION_TEXTS,   /* const char *const **: NULL-terminated; may be given several times */
        OPTION_INTEGER, /* const int64_t **: NULL while not given */
        OPTION_REAL,    /* const double ** */
} OptionKind;

typedef struct Option {
        OptionKind kind;
        char letter;          /* 0: none */
        const char *name;
        const char *argument; /* what help calls it; NULL for flags */
        void *value;          /* where it goes; see the kinds */
        double min, max;      /* of numbers */
        const char *help;
} Option;

typedef struct Command {
        const char *name;
        const char *arguments;   /* "MODEL [PROMPT…]"; "" for none */
        const char *summary;     /* one line */
        const char *description; /* more, or NULL */
        const Option *options[5]; /* tables, NULL-terminated; every command has common_options as well */
        int min_args, max_args;  /* max -1: any number */
        bool offline;            /* works without a daemon: `client` is NULL */
        /* Returns the exit code. `args` is NULL-terminated. */
        int (*run)(ZlClient *client, char **args);
} Command;

/* main.c */
extern const Command *const commands[]; /* NULL-terminated */
extern const Option common_options[];
extern bool want_json;
extern volatile sig_atomic_t interrupted; /* by Ctrl-C, which also cancels the client's request */
const Command *find_command(const char *name);

/* option.c: rows to values. Complaints go to stderr; the functions return false then. */
bool option_set(const Option *o, const char *value);
const Option *option_find(const Option *const *tables, const char *name);
/* Reads the options of `argv` into their values and moves what is left to the front of it, NULL-terminated; stops at
 * the first argument that is no option when `leading`. Returns the number of arguments left, or -1. */
int options_parse(const Option *const *tables, char **argv, bool leading);
/* What a file holds, as a text; NULL: complained. */
char *read_text_file(const char *path);
/* "-h, --help" or "--seed N". */
void option_usage(const Option *o, char *buf, size_t n);

/* cmd-help.c */
int print_command_help(const Command *c);
void print_overview(FILE *f);

/* output.c: for eyes */
enum { LEFT, RIGHT };
typedef struct Table Table;
/* `align` of each column: "lr" and so on. Cells are copied; control characters are not. */
Table *table_new(const char *align);
void table_add(Table *t, const char *const *cells);
/* The first row is the header. Frees the table. */
void table_write(Table *t, FILE *f);
void table_print(Table *t); /* to stdout */
const char *style_bold(FILE *f); /* "" where there is no colour */
const char *style_dim(FILE *f);
const char *style_off(FILE *f);
/* Model text: as it is to a file, without control sequences to a terminal. False: nobody reads any more. */
bool print_text(const char *text, size_t n);
/* A document: as the daemon sent it, on one line. */
int print_json(const char *json);
/* "3 hours ago", "in 5 minutes", from ISO 8601. */
void format_when(const char *iso, char *buf, size_t n);
void complain(const char *fmt, ...) _printf_(1, 2);
/* Says what went wrong; returns the exit code. */
int complain_error(const ZlError *e);

/* progress.c: one line on a terminal while a model makes one wait */
typedef struct Progress Progress;
Progress *progress_new(ZlClient *client, const char *model);
void progress_clear(Progress *p);
void progress_free(Progress *p);

/* bar.c: one line on a terminal that says how far something is */
bool bar_is_due(void); /* there is a terminal, and the last bar was drawn long enough ago */
/* `fraction` NAN: not known, only the text. */
void bar_show(double fraction, const char *fmt, ...) _printf_(2, 3);
void bar_clear(void);

/* model.c */
bool model_is(const char *name, const char *wanted); /* "demo" is "demo:latest" */
/* The model to use when none was named, to be freed; NULL: said why. */
char *default_model(ZlClient *client, int *ret_exit);
/* complain_error(), and the nearest model when it was not found. */
int complain_model(ZlClient *client, const char *model, const ZlError *e);

/* answer.c: one request for text, shown as it comes */
extern ZlRequest asked;                /* what the options of requests say */
extern const Option sampling_options[]; /* how tokens are chosen */
extern const Option request_options[]; /* how else an answer is made */
extern const Option answer_options[];  /* how it is shown */
/* With NULL messages a completion of `prompt`. `ret_text` (may be NULL) gets the answer, also a cancelled one. */
int answer(ZlClient *client, const ZlRequest *request, Buf *ret_text);
/* The words joined; a word "-", and no word at all, is what stdin holds. NULL: cannot be read. */
char *read_prompt(char **words);

/* chat.c: a conversation on a terminal */
int chat(ZlClient *client, const char *model);
