/* A folder that becomes a model directory: those of tests/data whose names begin with MODELS, changed a little. */
#pragma once

#include <jansson.h>

#include "folder.h"
#include "model/arch.h"

static const char *source(const char *name, const char *file) {
        static char path[4096];
        const char *dir = getenv("top_srcdir");
        snprintf(path, sizeof(path), "%s/tests/data/" MODELS "%s/%s", dir ? dir : ".", name, file);
        return path;
}

/* A JSON file of the model with some members set; a member set to null is left out. */
static void put_changed(const Folder *f, const char *name, const char *file, const char *members) {
        json_t *config = json_load_file(source(name, file), 0, NULL), *changes = json_loads(members, 0, NULL);
        assert_true(config && changes);
        json_object_update(config, changes);
        char *text = json_dumps(config, 0);
        folder_put_text(f, file, text);
        free(text);
        json_decref(config);
        json_decref(changes);
}

static Model *open_model(const Folder *f) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        if (model_open(f->path, &m, &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

static inline void refused(const Folder *f, int code, const char *message) {
        Model *m = NULL;
        Error e = ERROR_NULL;
        int r = model_open(f->path, &m, &e);
        if (r != code || !strstr(e.text, message))
                fail_msg("wanted %d '%s', got %d '%s'", code, message, r, e.text);
        assert_non_null(strstr(e.text, f->path)); /* says where */
}
