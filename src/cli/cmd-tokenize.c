/* zerollama tokenize: how many tokens a text is for a model, and which. */
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/document.h"

static bool pieces;

static const Option options[] = {
        {OPTION_FLAG, 0, "pieces", NULL, &pieces, .help = "print each token: its id and the text it stands for, or its bytes"},
        {OPTION_END},
};

/* As JSON writes it, so that nothing in it is taken for a line or for a terminal's control sequence. */
static int print_token(const json_t *token) {
        char *text = json_dumps(json_object_get(token, "piece"), JSON_ENCODE_ANY | JSON_COMPACT);
        int r = printf("%7lld  %s\n", (long long)json_integer_value(json_object_get(token, "id")), text ? text : "");
        free(text);
        return r;
}

static int print_tokens(const char *json) {
        json_auto_t *root = json_loads(json, JSON_ALLOW_NUL, NULL);
        const json_t *tokens = json_object_get(root, "tokens"), *token;
        size_t i;
        if (!pieces)
                printf("%lld\n", (long long)json_integer_value(json_object_get(root, "count")));
        else
                json_array_foreach(tokens, i, token)
                        if (print_token(token) < 0)
                                break;
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        char *text = read_prompt(args + 1), *json = NULL;
        ZlError e;
        if (!text)
                return interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
        Progress *p = progress_new(client, args[0]);
        int r = zl_tokenize(client, args[0], text, pieces, &json, &e);
        progress_free(p);
        free(text);
        if (r < 0)
                return complain_model(client, args[0], &e);
        r = want_json ? print_json(json) : print_tokens(json);
        free(json);
        return r;
}

const Command cmd_tokenize = {
        .name = "tokenize",
        .arguments = "MODEL [TEXT…|-]",
        .summary = "count the tokens of a text",
        .description = "Those of the text itself, without what the model's template puts around. Without TEXT, and for the word -, "
                       "what is piped in is read. With --json also their ids.",
        .options = {options},
        .min_args = 1,
        .max_args = -1,
        .run = run,
};
