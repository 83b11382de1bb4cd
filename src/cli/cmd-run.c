/* zerollama run: chat with a model. On a terminal a conversation, otherwise one question and its answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

/* One answer to `prompt`, which is freed. */
static int answer_once(ZlClient *client, const char *model, char *prompt) {
        if (!prompt)
                return interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
        size_t n = strlen(prompt);
        if (n > 0 && prompt[n - 1] == '\n') /* echo's, not the question's */
                prompt[n - 1] = 0;
        ZlMessage messages[2] = {{"system", asked.system}, {"user", prompt}};
        ZlRequest q = asked;
        q.model = model;
        q.system = NULL;
        q.messages = asked.system ? messages : messages + 1;
        q.n_messages = asked.system ? 2 : 1;
        int r = answer(client, &q, NULL);
        free(prompt);
        return r;
}

/* A first word with spaces in it is a prompt: models have no such names. */
static bool is_model_name(const char *word) {
        return word && strcmp(word, "-") != 0 && !strpbrk(word, " \t\n");
}

static int run(ZlClient *client, char **args) {
        int r = EXIT_OK;
        char *model = is_model_name(args[0]) ? strdup(*args++) : default_model(client, &r);
        if (!model)
                return r;
        if (!args[0] && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !want_json)
                r = chat(client, model);
        else
                r = answer_once(client, model, read_prompt(args));
        free(model);
        return r;
}

const Command cmd_run = {
        .name = "run",
        .arguments = "[MODEL] [PROMPT…]",
        .summary = "chat with a model",
        .description =
                "With a PROMPT, or one piped in, prints one answer; on a terminal without one, a conversation begins. "
                "The word - stands for what is piped in. Without MODEL the only one is used, or the one named demo; "
                "a PROMPT is then one quoted argument with a space in it.",
        .options = {sampling_options, request_options, answer_options},
        .max_args = -1,
        .run = run,
};
