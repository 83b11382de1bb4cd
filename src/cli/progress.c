/* One line on stderr, when that is a terminal, while a model makes one wait: it is being loaded, or others are served
 * first. The first 300 ms say nothing. What the daemon is doing is asked over a second connection, with a short
 * timeout, since the first one is busy waiting for the answer. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { INTERVAL_MS = 300, PATIENCE_MS = 1000 };

struct Progress {
        ZlClient *client, *asking; /* asking: NULL until it is needed */
        const char *model;
        bool shown;
};

static void describe(const ZlModel *m, const char *model, uint64_t waited_ms, Buf *out) {
        double seconds = (double)waited_ms / 1000;
        if (m && strcmp(m->state, "loading") == 0 && m->progress > 0)
                buf_printf(out, "loading %s: %.0f%%", model, m->progress * 100);
        else if (m && strcmp(m->state, "loading") == 0)
                buf_printf(out, "loading %s: %.1f s", model, seconds);
        else if (m && m->waiting > 0)
                buf_printf(out, "%s is busy (%llu running, %llu waiting): %.1f s", model,
                           (unsigned long long)m->running, (unsigned long long)m->waiting, seconds);
        else
                buf_printf(out, "waiting for %s: %.1f s", model, seconds);
}

static void show(Progress *p, uint64_t waited_ms) {
        ZlModels *list = NULL;
        const ZlModel *found = NULL;
        _cleanup_buf_ Buf line = BUF_NULL;
        if (p->asking && zl_ps(p->asking, &list, NULL) == 0)
                for (size_t i = 0; i < list->n; i++)
                        if (model_is(list->models[i].name, p->model))
                                found = &list->models[i];
        describe(found, p->model, waited_ms, &line);
        if (!line.failed)
                fprintf(stderr, "\r\033[K%s%s%s", style_dim(stderr), line.data, style_off(stderr));
        p->shown = true;
        zl_models_free(list);
}

static int on_wait(void *userdata, uint64_t waited_ms) {
        Progress *p = userdata;
        if (!p->asking && zl_client_clone(p->client, &p->asking, NULL) == 0) {
                zl_client_set_timeout(p->asking, PATIENCE_MS);
                zl_client_set_retries(p->asking, 0, 0);
        }
        show(p, waited_ms);
        return interrupted;
}

Progress *progress_new(ZlClient *client, const char *model) {
        if (!isatty(STDERR_FILENO))
                return NULL;
        Progress *p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        *p = (Progress){.client = client, .model = model};
        zl_client_set_wait(client, on_wait, INTERVAL_MS, p);
        return p;
}

void progress_clear(Progress *p) {
        if (!p || !p->shown)
                return;
        fputs("\r\033[K", stderr);
        p->shown = false;
}

void progress_free(Progress *p) {
        if (!p)
                return;
        progress_clear(p);
        zl_client_set_wait(p->client, NULL, 1, NULL);
        zl_client_free(p->asking);
        free(p);
}
