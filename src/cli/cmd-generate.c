/* zerollama generate: the continuation of a prompt. */
#include <stdlib.h>

#include "cli/commands.h"

static const Option options[] = {
        {OPTION_FLAG, 0, "raw", NULL, &asked.raw, .help = "the prompt as it is, without the model's template"},
        {OPTION_END},
};

static int run(ZlClient *client, char **args) {
        char *prompt = read_prompt(args + 1);
        if (!prompt)
                return interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
        ZlRequest q = asked;
        q.model = args[0];
        q.prompt = prompt;
        int r = answer(client, &q, NULL);
        free(prompt);
        return r;
}

const Command cmd_generate = {
        .name = "generate",
        .arguments = "MODEL [PROMPT…|-]",
        .summary = "continue a prompt",
        .description = "Without PROMPT, and for the word -, what is piped in is read.",
        .options = {options, sampling_options, request_options, answer_options},
        .min_args = 1,
        .max_args = -1,
        .run = run,
};
