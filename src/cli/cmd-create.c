/* zerollama create: a variant of a model, which the daemon writes into its models_path. */
#include "cli/commands.h"

static const char *from;

static const Option options[] = {
        {OPTION_TEXT, 0, "from", "MODEL", &from, .help = "the model that it is a variant of"},
        {OPTION_CONTENT, 0, "system", "TEXT|@FILE", &asked.system, .help = "what it is to be, unless a request says otherwise"},
        {OPTION_END},
};

static int run(ZlClient *client, char **args) {
        ZlError e;
        if (!from) {
                complain("--from is missing: the model that %s is to be a variant of", args[0]);
                return EXIT_USAGE;
        }
        if (zl_create(client, &(ZlVariant){.name = args[0], .from = from, .system = asked.system, .options = asked.options}, &e) < 0)
                return complain_model(client, from, &e);
        if (want_json)
                return print_json("{\"status\":\"success\"}");
        printf("%s is a variant of %s\n", args[0], from);
        return EXIT_OK;
}

const Command cmd_create = {
        .name = "create",
        .arguments = "NAME",
        .summary = "make a variant of a model",
        .description = "NAME is the other model, in memory once for both, with words and options of its own. Made again, it is replaced.",
        .options = {options, sampling_options},
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
