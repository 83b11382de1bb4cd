/* zerollama version: ours, and the daemon's when one answers. */
#include <errno.h>
#include <stdlib.h>

#include "cli/commands.h"

static int run(ZlClient *client, char **args) {
        char *daemon = NULL;
        ZlError e;
        int r = zl_version(client, &daemon, &e);
        if (want_json && daemon)
                printf("{\"client\":\"%s\",\"daemon\":\"%s\"}\n", zl_library_version(), daemon);
        else if (want_json)
                printf("{\"client\":\"%s\",\"daemon\":null}\n", zl_library_version());
        else
                printf("zerollama %s\nzerollamad %s\n", zl_library_version(), daemon ? daemon : "does not answer");
        free(daemon);
        return r < 0 ? complain_error(&e) : EXIT_OK;
}

const Command cmd_version = {
        .name = "version",
        .arguments = "",
        .summary = "print the versions of this command and of the daemon",
        .run = run,
};
