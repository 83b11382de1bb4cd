/* A conversation on a terminal: lines are edited with libedit and kept in a history file, the messages so far go with
 * every question. Ctrl-C ends an answer early (what came of it stays in the conversation) or empties the line;
 * Ctrl-D, or /bye, ends the program. Text between two """ may span lines. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wchar.h>

#include "cli/cli.h"
#include "util/str.h"

enum { HISTORY_LINES = 1000 };

typedef struct Chat {
        ZlClient *client;
        const char *model;
        EditLine *edit;
        History *history;
        char *history_path;  /* NULL: not kept */
        Buf system;          /* text set with /set system */
        bool has_system;
        ZlMessage *messages; /* [0] is the system's place; all texts after it are ours */
        size_t n_messages;   /* without [0] */
        bool continued;      /* inside """ */
        sigset_t signals;    /* mask outside of read_line() */
} Chat;

/* ---- The conversation ---- */

static void forget_last(Chat *c) {
        free((char *)c->messages[c->n_messages--].content);
}

static void forget_all(Chat *c) {
        while (c->n_messages > 0)
                forget_last(c);
}

static bool remember(Chat *c, const char *role, char *text) {
        ZlMessage *more = realloc(c->messages, (c->n_messages + 2) * sizeof(*more));
        if (!more || !text) {
                free(text);
                c->messages = more ? more : c->messages;
                complain("out of memory");
                return false;
        }
        c->messages = more;
        c->messages[++c->n_messages] = (ZlMessage){role, text};
        return true;
}

/* The first message is the system's, when there is one. */
static ZlRequest make_request(Chat *c) {
        ZlRequest q = asked;
        bool system = c->has_system || asked.system;
        c->messages[0] = (ZlMessage){"system", c->has_system ? c->system.data : asked.system};
        q.model = c->model;
        q.system = NULL;
        q.messages = c->messages + !system;
        q.n_messages = c->n_messages + system;
        return q;
}

static int say(Chat *c, char *text) {
        Buf said = BUF_NULL;
        if (!remember(c, "user", text))
                return EXIT_FAILED;
        interrupted = 0;
        zl_client_resume(c->client);
        ZlRequest q = make_request(c);
        int r = answer(c->client, &q, &said);
        if (said.len > 0)
                remember(c, "assistant", buf_take(&said));
        else
                forget_last(c); /* a question without an answer would only confuse the next one */
        buf_deinit(&said);
        return r;
}

/* ---- Commands that begin with / ---- */

typedef struct Slash {
        const char *name, *arguments, *help;
        void (*run)(Chat *c, char *rest);
} Slash;

static const Option *const settable[] = {sampling_options, request_options, answer_options, NULL};

static void list_settings(void) {
        puts("/set NAME VALUE changes one of these for the answers to come:");
        for (const Option *const *t = settable; *t; t++)
                for (const Option *o = *t; o->kind != OPTION_END; o++)
                        if (o->kind != OPTION_FLAG)
                                printf("  %-18s %s\n", o->name, o->help);
}

static void slash_set(Chat *c, char *rest) {
        char *value = rest + strcspn(rest, " ");
        if (*value)
                *value++ = 0;
        if (!*rest) {
                list_settings();
                return;
        }
        const Option *o = option_find(settable, rest);
        if (!o)
                return;
        if (strcmp(rest, "system") == 0) {
                buf_clear(&c->system);
                buf_puts(&c->system, value);
                c->has_system = *value;
        } else if (o->kind == OPTION_INTEGER || o->kind == OPTION_REAL)
                option_set(o, value);
        else
                complain("%s can be set on the command line only: --%s", rest, rest);
}

static void slash_clear(Chat *c, char *rest) {
        forget_all(c);
        puts("The conversation so far is forgotten.");
}

static void slash_show(Chat *c, char *rest) {
        printf("%s at %s, %zu messages\n", c->model, zl_client_address(c->client), c->n_messages);
        if (c->has_system || asked.system)
                printf("system: %s\n", c->has_system ? c->system.data : asked.system);
        for (const Option *const *t = settable; *t; t++)
                for (const Option *o = *t; o->kind != OPTION_END; o++) {
                        if (o->kind == OPTION_INTEGER && *(const int64_t **)o->value)
                                printf("%s: %lld\n", o->name, (long long)**(const int64_t **)o->value);
                        if (o->kind == OPTION_REAL && *(const double **)o->value)
                                printf("%s: %g\n", o->name, **(const double **)o->value);
                }
}

static void slash_help(Chat *c, char *rest);
static void slash_bye(Chat *c, char *rest) {
}

static const Slash slashes[] = {
        {"/help", "", "this list", slash_help},
        {"/clear", "", "forget the conversation so far", slash_clear},
        {"/set", "NAME VALUE", "change a setting; /set alone lists them", slash_set},
        {"/show", "", "show the model and the settings", slash_show},
        {"/bye", "", "end; so does Ctrl-D", slash_bye},
};

static void slash_help(Chat *c, char *rest) {
        for (size_t i = 0; i < ARRAY_SIZE(slashes); i++)
                printf("  %s %-*s  %s\n", slashes[i].name, 17 - (int)strlen(slashes[i].name), slashes[i].arguments,
                       slashes[i].help);
        puts("  \"\"\"                 begin and end text of several lines");
        puts("  Ctrl-C              end an answer early");
}

/* Returns false to end the program. */
static bool run_slash(Chat *c, char *line) {
        const char *names[ARRAY_SIZE(slashes) + 1] = {NULL};
        char *rest = line + strcspn(line, " ");
        while (*rest == ' ')
                *rest++ = 0;
        for (size_t i = 0; i < ARRAY_SIZE(slashes); i++) {
                names[i] = slashes[i].name;
                if (strcmp(line, slashes[i].name) != 0)
                        continue;
                slashes[i].run(c, rest);
                return slashes[i].run != slash_bye;
        }
        const char *near = nearest_word(line, names);
        complain("there is no %s; %s%s", line, near ? "did you mean " : "/help lists what there is", near ? near : "");
        return true;
}

/* ---- Lines ---- */

static char *get_prompt(EditLine *edit) {
        static char first[] = ">>> ", more[] = "... ";
        Chat *c = NULL;
        el_get(edit, EL_CLIENTDATA, &c);
        return c->continued ? more : first;
}

/* One character of the terminal. Ctrl-C is let in only while this waits, so that none is missed between a look at
 * `interrupted` and the wait. */
static int get_character(EditLine *edit, wchar_t *ret) {
        Chat *c = NULL;
        mbstate_t state = {0};
        size_t n = (size_t)-2;
        el_get(edit, EL_CLIENTDATA, &c);
        while (n == (size_t)-2) {
                struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
                char byte;
                if (ppoll(&in, 1, NULL, &c->signals) < 0 && errno == EINTR && !interrupted)
                        continue; /* the window changed its size */
                if (interrupted || read(STDIN_FILENO, &byte, 1) <= 0)
                        return interrupted ? -1 : 0;
                n = mbrtowc(ret, &byte, 1, &state);
        }
        if (n == (size_t)-1)
                *ret = L'?';
        return 1;
}

/* A line without its newline; *ret_interrupted when Ctrl-C emptied it; NULL then and at the end. */
static char *read_line(Chat *c, bool *ret_interrupted) {
        int n = 0;
        sigset_t block;
        sigemptyset(&block);
        sigaddset(&block, SIGINT);
        sigprocmask(SIG_BLOCK, &block, &c->signals);
        interrupted = 0;
        el_set(c->edit, EL_PREP_TERM, 1); /* before the prompt: a Ctrl-D typed on seeing it would else be the terminal's */
        const char *line = el_gets(c->edit, &n);
        sigprocmask(SIG_SETMASK, &c->signals, NULL);
        *ret_interrupted = interrupted;
        if (interrupted || !line || n <= 0) {
                putchar('\n');
                el_reset(c->edit);
                return NULL;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                n--;
        return strndup(line, (size_t)n);
}

/* Lines up to the one that ends in """; `first` comes after the opening one, and is freed. */
static char *read_block(Chat *c, char *first, bool *ret_interrupted) {
        _cleanup_buf_ Buf b = BUF_NULL;
        for (char *line = first; line; line = read_line(c, ret_interrupted)) {
                size_t n = strlen(line);
                bool end = n >= 3 && strcmp(line + n - 3, "\"\"\"") == 0;
                buf_put(&b, line, end ? n - 3 : n);
                free(line);
                if (end) {
                        c->continued = false;
                        return buf_take(&b);
                }
                if (n > 0 || c->continued) /* nothing after the opening one is no line */
                        buf_putc(&b, '\n');
                c->continued = true;
        }
        c->continued = false;
        return NULL;
}

static void add_to_history(Chat *c, const char *line) {
        HistEvent event;
        if (*line)
                history(c->history, &event, H_ENTER, line);
}

/* One line or block; returns false at the end. */
static bool take_turn(Chat *c) {
        bool stopped = false;
        char *line = read_line(c, &stopped);
        if (!line)
                return stopped;
        if (strncmp(line, "\"\"\"", 3) == 0) {
                char *first = strdup(line + 3);
                free(line);
                line = read_block(c, first, &stopped);
                if (!line)
                        return stopped;
        }
        add_to_history(c, line);
        bool more = true;
        if (line[0] == '/')
                more = run_slash(c, line);
        else if (line[strspn(line, " \t\n")]) {
                say(c, line);
                return true;
        }
        free(line);
        return more;
}

/* ---- The history file: $XDG_STATE_HOME/zerollama/history ---- */

static void make_directories(char *path) {
        for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = 0;
                mkdir(path, 0700);
                *p = '/';
        }
}

static bool open_history(Chat *c) {
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        HistEvent event;
        c->history = history_init();
        if (!c->history)
                return false;
        history(c->history, &event, H_SETSIZE, HISTORY_LINES);
        history(c->history, &event, H_SETUNIQUE, 1);
        int n = state && *state ? asprintf(&c->history_path, "%s/zerollama/history", state)
                : home          ? asprintf(&c->history_path, "%s/.local/state/zerollama/history", home)
                                : -1;
        if (n < 0)
                c->history_path = NULL;
        else
                history(c->history, &event, H_LOAD, c->history_path);
        return true;
}

/* What people ask is nobody else's business: 0600. */
static void save_history(Chat *c) {
        HistEvent event;
        if (!c->history_path)
                return;
        make_directories(c->history_path);
        int fd = open(c->history_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
                close(fd);
        history(c->history, &event, H_SAVE, c->history_path);
}

static bool open_editor(Chat *c) {
        c->edit = el_init("zerollama", stdin, stdout, stderr);
        if (!c->edit || !open_history(c))
                return false;
        el_set(c->edit, EL_CLIENTDATA, c);
        el_set(c->edit, EL_PROMPT, get_prompt);
        el_set(c->edit, EL_GETCFN, get_character);
        el_set(c->edit, EL_EDITOR, "emacs");
        el_set(c->edit, EL_HIST, history, c->history);
        el_source(c->edit, NULL);
        return true;
}

static void chat_deinit(Chat *c) {
        if (c->edit)
                el_end(c->edit);
        if (c->history)
                history_end(c->history);
        forget_all(c);
        free(c->messages);
        free(c->history_path);
        buf_deinit(&c->system);
}

/* The model is loaded before the first question is typed: a wrong name shows at once, and the answer comes sooner. */
static int load_first(ZlClient *client, const char *model) {
        ZlError e;
        Progress *p = progress_new(client, model);
        int r = zl_load(client, model, asked.keep_alive, &e);
        progress_free(p);
        return r < 0 ? complain_model(client, model, &e) : EXIT_OK;
}

int chat(ZlClient *client, const char *model) {
        int r = load_first(client, model);
        if (r != EXIT_OK)
                return r;
        Chat c = {.client = client, .model = model, .messages = calloc(1, sizeof(ZlMessage))};
        if (!c.messages || !open_editor(&c)) {
                complain("this terminal cannot be used to edit lines; pipe the prompt in instead");
                chat_deinit(&c);
                return EXIT_FAILED;
        }
        fprintf(stderr, "%s%s; /help shows what else can be typed, Ctrl-D ends%s\n", style_dim(stderr), model,
                style_off(stderr));
        while (take_turn(&c))
                ;
        save_history(&c);
        chat_deinit(&c);
        return EXIT_OK;
}
