/* zerollama load and unload: what the daemon otherwise does when somebody asks, and when nobody has for a while. */
#include <errno.h>

#include "cli/commands.h"

static const Option options[] = {
        {OPTION_TEXT, 0, "keep-alive", "TIME", &asked.keep_alive,
         .help = "keep it loaded for TIME after its last use (10m, -1: forever)"},
        {OPTION_END},
};

static int report(ZlClient *client, const char *model, int r, const ZlError *e, const char *done) {
        if (r < 0)
                return complain_model(client, model, e);
        if (want_json)
                printf("{\"status\":\"%s\"}\n", done);
        else
                printf("%s is %s\n", model, done);
        return EXIT_OK;
}

static int load(ZlClient *client, char **args) {
        ZlError e;
        Progress *p = progress_new(client, args[0]);
        int r = zl_load(client, args[0], asked.keep_alive, &e);
        progress_free(p);
        return report(client, args[0], r, &e, "loaded");
}

static int unload(ZlClient *client, char **args) {
        ZlError e;
        int r = zl_unload(client, args[0], &e);
        return report(client, args[0], r, &e, "unloaded");
}

const Command cmd_load = {
        .name = "load",
        .arguments = "MODEL",
        .summary = "load a model before it is needed",
        .options = {options},
        .min_args = 1,
        .max_args = 1,
        .run = load,
};

const Command cmd_unload = {
        .name = "unload",
        .arguments = "MODEL",
        .summary = "unload a model and free its memory",
        .min_args = 1,
        .max_args = 1,
        .run = unload,
};
