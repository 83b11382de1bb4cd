/* zerollama rm: variants and models, with their files, go. */
#include "cli/commands.h"

static int run(ZlClient *client, char **args) {
        ZlError e;
        for (; *args; args++) {
                if (zl_delete(client, *args, &e) < 0)
                        return complain_model(client, *args, &e);
                if (want_json)
                        print_json("{\"status\":\"success\"}");
                else
                        printf("%s is removed\n", *args);
        }
        return EXIT_OK;
}

const Command cmd_rm = {
        .name = "rm",
        .arguments = "MODEL…",
        .summary = "remove models",
        .description = "A model goes with its file or directory; what runs on it is finished.",
        .min_args = 1,
        .max_args = -1,
        .run = run,
};
