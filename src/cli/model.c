/* Names of models: the one meant when none is given, and the nearest to a mistyped one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/str.h"

bool model_is(const char *name, const char *wanted) {
        size_t n = strlen(wanted);
        return strncmp(name, wanted, n) == 0 && (!name[n] || strcmp(name + n, ":latest") == 0);
}

/* The only one, or the one named demo. */
static const char *obvious_model(const ZlModels *list) {
        if (list->n == 1)
                return list->models[0].name;
        for (size_t i = 0; i < list->n; i++)
                if (model_is(list->models[i].name, "demo"))
                        return list->models[i].name;
        return NULL;
}

char *default_model(ZlClient *client, int *ret_exit) {
        ZlModels *list = NULL;
        ZlError e;
        if (zl_models(client, &list, &e) < 0) {
                *ret_exit = complain_error(&e);
                return NULL;
        }
        const char *name = obvious_model(list);
        char *copy = name ? strdup(name) : NULL;
        if (!name && list->n == 0)
                complain("the daemon has no model; 'zerollama pull' fetches one, or put a .gguf file or a Hugging Face directory into its models directory");
        else if (!name)
                complain("there are %zu models: name one of those 'zerollama list' shows", list->n);
        zl_models_free(list);
        *ret_exit = EXIT_USAGE;
        return copy;
}

/* Prints the nearest name, without its tag when that is the usual one. */
static void suggest(const ZlModels *list, const char *model) {
        _cleanup_free_ const char **names = calloc(list->n + 1, sizeof(*names));
        for (size_t i = 0; names && i < list->n; i++) {
                const char *name = list->models[i].name, *tag = strstr(name, ":latest");
                names[i] = strndup(name, tag ? (size_t)(tag - name) : strlen(name));
                if (!names[i])
                        break;
        }
        const char *near = names ? nearest_word(model, names) : NULL;
        if (near)
                complain("did you mean '%s'?", near);
        else
                complain("'zerollama list' shows the models there are, 'zerollama pull' fetches one");
        for (size_t i = 0; names && names[i]; i++)
                free((char *)names[i]);
}

int complain_model(ZlClient *client, const char *model, const ZlError *e) {
        ZlModels *list = NULL;
        int r = complain_error(e);
        if (e->status == 404 && !strstr(e->message, "cannot be used") && !strstr(e->message, "did you mean") && zl_models(client, &list, NULL) == 0)
                suggest(list, model);
        zl_models_free(list);
        return r;
}
