/* zerollama rm: variants and models, with their files, go. */
#include "cli/commands.h"
#include "cli/document.h"

static int report(const char *name, const char *json) {
        if (want_json)
                return print_json(json);
        json_auto_t *said = json_loads(json, 0, NULL);
        const json_t *removed = json_object_get(said, "removed"), *path;
        size_t i;
        printf("%s is removed", name);
        json_array_foreach(removed, i, path)
                printf("%s %s", i ? " and" : ":", json_string_value(path));
        puts("");
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        ZlError e;
        for (; *args; args++) {
                char *json = NULL;
                if (zl_delete(client, *args, &json, &e) < 0)
                        return complain_model(client, *args, &e);
                report(*args, json);
                free(json);
        }
        return EXIT_OK;
}

const Command cmd_rm = {
        .name = "rm",
        .arguments = "MODEL…",
        .summary = "remove models",
        .description = "A model goes with its file or directory, and with the variant that has its own name; what runs on it is finished.",
        .min_args = 1,
        .max_args = -1,
        .run = run,
};
