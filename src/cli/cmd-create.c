/* zerollama create: a variant of a model, which the daemon writes into its models_path. */
#include "cli/commands.h"
#include "cli/document.h"

static const char *from;

static const Option options[] = {
        {OPTION_TEXT, 0, "from", "MODEL", &from, .help = "the model that it is a variant of"},
        {OPTION_CONTENT, 0, "system", "TEXT|@FILE", &asked.system, .help = "what it is to be, unless a request says otherwise"},
        {OPTION_END},
};

/* A variant of a variant is one of that one's model. */
static int report(const char *name, const char *json) {
        if (want_json)
                return print_json(json);
        json_auto_t *said = json_loads(json, 0, NULL);
        const char *of = json_string_value(json_object_get(said, "from"));
        printf("%s is a variant of %s\n", name, of ? of : from);
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        char *json = NULL;
        ZlError e;
        if (!from) {
                complain("--from is missing: the model that %s is to be a variant of", args[0]);
                return EXIT_USAGE;
        }
        if (zl_create(client, &(ZlVariant){.name = args[0], .from = from, .system = asked.system, .options = asked.options}, &json, &e) < 0)
                return complain_model(client, from, &e);
        int r = report(args[0], json);
        free(json);
        return r;
}

const Command cmd_create = {
        .name = "create",
        .arguments = "NAME",
        .summary = "make a variant of a model",
        .description = "NAME is MODEL under another name, or its own, with words and options of its own; memory is shared. Made again, it is "
                       "replaced; without options it is the plain model, so this also copies and renames.",
        .options = {options, sampling_options},
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
