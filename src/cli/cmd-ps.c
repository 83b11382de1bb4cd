/* zerollama ps: the models that are loaded, and what they are doing. */
#include <string.h>

#include "cli/commands.h"
#include "util/str.h"

static void add_row(Table *t, const ZlModel *m) {
        char size[32], state[64], context[32], slots[48], waiting[32], users[32], cached[16], until[64];
        format_size(size, sizeof(size), m->size);
        if (m->pinned)
                snprintf(until, sizeof(until), "never");
        else
                format_when(m->expires_at, until, sizeof(until));
        if (strcmp(m->state, "loading") == 0)
                snprintf(state, sizeof(state), "loading %.0f%%", m->progress * 100);
        else
                snprintf(state, sizeof(state), "%s", m->state);
        snprintf(context, sizeof(context), "%llu", (unsigned long long)m->context);
        snprintf(slots, sizeof(slots), "%llu/%llu", (unsigned long long)m->running, (unsigned long long)m->slots);
        snprintf(waiting, sizeof(waiting), "%llu", (unsigned long long)m->waiting);
        snprintf(users, sizeof(users), "%llu", (unsigned long long)m->users);
        snprintf(cached, sizeof(cached), m->prompt_tokens ? "%.0f%%" : "-",
                 100.0 * (double)m->cached_tokens / (double)MAX(m->prompt_tokens, (uint64_t)1));
        table_add(t, (const char *[]){m->name, state, size, m->device, context, slots, waiting, users, cached, until});
}

static int run(ZlClient *client, char **args) {
        ZlModels *list = NULL;
        ZlError e;
        if (zl_ps(client, &list, &e) < 0)
                return complain_error(&e);
        if (want_json)
                print_json(list->json);
        else {
                Table *t = table_new("llrlrrrrrl");
                table_add(t, (const char *[]){"NAME", "STATE", "SIZE", "DEVICE", "CONTEXT", "RUNNING", "WAITING",
                                              "USERS", "CACHED", "UNLOADED"});
                for (size_t i = 0; i < list->n; i++)
                        add_row(t, &list->models[i]);
                table_print(t);
        }
        zl_models_free(list);
        return EXIT_OK;
}

const Command cmd_ps = {
        .name = "ps",
        .arguments = "",
        .summary = "list the models that are loaded",
        .description =
                "RUNNING is how many requests are being answered, of how many at once; USERS is whose they are, with those "
                "that wait; CACHED is how much of all prompts did not have to be computed again; UNLOADED is when the "
                "model goes if nobody uses it until then.",
        .run = run,
};
