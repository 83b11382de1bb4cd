/* The `zerollama` command: finds the subcommand, reads its options, runs it, and turns what happened into an exit
 * code. Ctrl-C cancels the request that runs, by closing its connection; what follows is up to the subcommand. */
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "util/str.h"

const Command *const commands[] = {
        &cmd_run, &cmd_generate, &cmd_embed, &cmd_rerank, &cmd_tokenize, &cmd_pull, &cmd_create, &cmd_rm, &cmd_list,
        &cmd_ps, &cmd_show, &cmd_load, &cmd_unload, &cmd_status, &cmd_top, &cmd_map, &cmd_bench, &cmd_ctl, &cmd_version, &cmd_help, NULL,
};

bool want_json;
volatile sig_atomic_t interrupted;
static const char *address;
static bool want_help, want_version;
static ZlClient *running_client;

const Option common_options[] = {
        {OPTION_FLAG, 0, "json", NULL, &want_json, .help = "print JSON, for programs"},
        {OPTION_TEXT, 0, "socket", "PATH|URL", &address,
         .help = "where the daemon is [$ZEROLLAMA_HOST, or its socket]"},
        {OPTION_FLAG, 'h', "help", NULL, &want_help, .help = "say what this does and which options it has"},
        {OPTION_END},
};

static const Option leading_options[] = {
        {OPTION_FLAG, 'v', "version", NULL, &want_version, .help = "print the version of this command"},
        {OPTION_END},
};

const Command *find_command(const char *name) {
        for (const Command *const *c = commands; *c; c++)
                if (strcmp((*c)->name, name) == 0)
                        return *c;
        const char *names[ARRAY_SIZE(commands)] = {NULL};
        for (size_t i = 0; commands[i]; i++)
                names[i] = commands[i]->name;
        const char *near = nearest_word(name, names);
        if (near)
                complain("there is no command '%s'; did you mean '%s'?", name, near);
        else
                complain("there is no command '%s'; 'zerollama help' lists them", name);
        return NULL;
}

static void on_interrupt(int sig) {
        interrupted = 1;
        if (running_client)
                zl_client_cancel(running_client);
}

/* SIGPIPE would end us without a word; a failing write is noticed where it happens. */
static void catch_signals(void) {
        struct sigaction interrupt = {.sa_handler = on_interrupt}, ignore = {.sa_handler = SIG_IGN};
        sigaction(SIGINT, &interrupt, NULL);
        sigaction(SIGPIPE, &ignore, NULL);
}

static int run_command(const Command *c, char **argv) {
        const Option *tables[ARRAY_SIZE(c->options) + 1] = {common_options};
        memcpy(tables + 1, c->options, sizeof(c->options));
        int n = options_parse(tables, argv, false);
        if (n < 0)
                return EXIT_USAGE;
        if (want_help)
                return print_command_help(c);
        if (n < c->min_args || (c->max_args >= 0 && n > c->max_args)) {
                complain("usage: zerollama %s [OPTIONS]%s%s", c->name, *c->arguments ? " " : "", c->arguments);
                return EXIT_USAGE;
        }
        if (c->offline)
                return c->run(NULL, argv);
        ZlError e;
        if (zl_client_new(address, &running_client, &e) < 0) {
                complain("%s", e.message);
                return EXIT_USAGE;
        }
        int r = c->run(running_client, argv);
        zl_client_free(TAKE(running_client));
        return r;
}

/* What could not be written is an error, unless the reader simply had enough. */
static int check_output(int r) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return r;
        if (errno != EPIPE)
                complain("cannot write the output: %s", strerror(errno));
        return r == EXIT_OK ? EXIT_FAILED : r;
}

static int dispatch(char **argv) {
        int n = options_parse((const Option *const[]){common_options, leading_options, NULL}, argv, true);
        if (n < 0)
                return EXIT_USAGE;
        if (want_version) {
                printf("zerollama %s\n", zl_library_version());
                return EXIT_OK;
        }
        if (n == 0) {
                print_overview(want_help ? stdout : stderr);
                return want_help ? EXIT_OK : EXIT_USAGE;
        }
        const Command *c = find_command(argv[0]);
        return c ? run_command(c, argv + 1) : EXIT_USAGE;
}

int main(int argc, char **argv) {
        setlocale(LC_CTYPE, "");
        catch_signals();
        return check_output(argc > 0 ? dispatch(argv + 1) : EXIT_USAGE);
}
