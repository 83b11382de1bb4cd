/* zerollama show: what a model is. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/document.h"

/* "completion, tools" */
static void add_list(Table *t, const json_t *root, const char *key) {
        const json_t *array = json_object_get(root, key), *item;
        _cleanup_buf_ Buf b = BUF_NULL;
        size_t i;
        json_array_foreach(array, i, item) {
                char text[128];
                format_value(item, text, sizeof(text));
                buf_printf(&b, "%s%s", i ? ", " : "", text);
        }
        if (b.len > 0 && !b.failed)
                table_add(t, (const char *[]){key, b.data});
}

/* What is said in its name. */
static void add_variant(Table *t, const json_t *root) {
        static const char *const texts[] = {"from", "system", "parameters"};
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                const char *text = json_string_value(json_object_get(root, texts[i]));
                for (size_t n; text && *text; text += n + (text[n] == '\n')) {
                        n = strcspn(text, "\n");
                        _cleanup_free_ char *line = strndup(text, n);
                        table_add(t, (const char *[]){texts[i], line ? line : ""});
                }
        }
        char count[32];
        snprintf(count, sizeof(count), "%zu of them", json_array_size(json_object_get(root, "messages")));
        if (json_object_get(root, "messages"))
                table_add(t, (const char *[]){"messages", count});
}

static int print_model(const char *model, const char *json) {
        json_auto_t *root = json_loads(json, JSON_ALLOW_NUL, NULL);
        Table *t = table_new("ll");
        table_add(t, (const char *[]){"model", model});
        json_object_del(json_object_get(root, "details"), "families"); /* the family again */
        add_members(t, json_object_get(root, "details"));
        add_list(t, root, "capabilities");
        if (json_object_get(root, "from"))
                add_variant(t, root);
        add_members(t, json_object_get(root, "understood"));
        add_members(t, json_object_get(root, "model_info"));
        table_print(t);
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        char *json = NULL;
        ZlError e;
        if (zl_show(client, args[0], &json, &e) < 0)
                return complain_model(client, args[0], &e);
        int r = want_json ? print_json(json) : print_model(args[0], json);
        free(json);
        return r;
}

const Command cmd_show = {
        .name = "show",
        .arguments = "MODEL",
        .summary = "show what a model is",
        .description = "With --json also its license, template and parameters.",
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
