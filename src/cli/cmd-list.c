/* zerollama list: the models that can be used. */
#include "cli/commands.h"
#include "util/str.h"

static int run(ZlClient *client, char **args) {
        ZlModels *list = NULL;
        ZlError e;
        if (zl_models(client, &list, &e) < 0)
                return complain_error(&e);
        if (want_json)
                print_json(list->json);
        else {
                bool any = false; /* variants: a column for them */
                for (size_t i = 0; i < list->n; i++)
                        any |= *list->models[i].from;
                Table *t = table_new(any ? "lrllll" : "lrlll");
                table_add(t, (const char *[]){"NAME", "SIZE", "FAMILY", "QUANTIZATION", "MODIFIED", "VARIANT OF"});
                for (size_t i = 0; i < list->n; i++) {
                        const ZlModel *m = &list->models[i];
                        char size[32], when[64];
                        format_when(m->modified_at, when, sizeof(when));
                        format_size(size, sizeof(size), m->size);
                        table_add(t, (const char *[]){m->name, *m->from ? "" : size, m->family, m->quantization, when, m->from});
                }
                table_print(t);
        }
        zl_models_free(list);
        return EXIT_OK;
}

const Command cmd_list = {.name = "list", .arguments = "", .summary = "list the models", .run = run};
