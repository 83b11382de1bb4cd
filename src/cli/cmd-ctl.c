/* zerollama ctl: tell the daemon something. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "util/str.h"

static const struct {
        const char *name;
        ZlCtl action;
        const char *done;
} actions[] = {
        {"reload", ZL_CTL_RELOAD, "the daemon uses the new configuration"},
        {"check", ZL_CTL_CHECK, "the configuration is valid"},
};

static int act(ZlClient *client, ZlCtl action, const char *done) {
        char *json = NULL;
        ZlError e;
        if (zl_ctl(client, action, &json, &e) < 0)
                return complain_error(&e);
        if (want_json)
                print_json(json);
        else
                puts(done);
        free(json);
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        const char *names[ARRAY_SIZE(actions) + 1] = {NULL};
        for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
                if (strcmp(args[0], actions[i].name) == 0)
                        return act(client, actions[i].action, actions[i].done);
                names[i] = actions[i].name;
        }
        const char *near = nearest_word(args[0], names);
        complain("ctl cannot '%s'; %s%s", args[0], near ? "did you mean " : "it can reload and check",
                 near ? near : "");
        return EXIT_USAGE;
}

const Command cmd_ctl = {
        .name = "ctl",
        .arguments = "reload|check",
        .summary = "make the daemon read its configuration again",
        .description =
                "reload: use the configuration file as it is now, if it is valid. check: only say whether it is. "
                "The daemon keeps what it has when the file is not valid.",
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
