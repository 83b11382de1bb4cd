/* zerollama rerank: documents sorted by how well they answer a query. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/texts.h"
#include "util/str.h"

enum { SHOWN_BYTES = 100 };

static const char *const *files;
static const int64_t *top;
static bool cut, raw_scores;

static const Option options[] = {
        {OPTION_TEXTS, 'f', "file", "FILE", &files, .help = "each line of FILE is a document; may be repeated; -: stdin"},
        {OPTION_INTEGER, 'n', "top", "N", &top, 1, INT32_MAX, "only the N best"},
        {OPTION_FLAG, 0, "raw-scores", NULL, &raw_scores, .help = "scores as the model gives them, not from 0 to 1"},
        {OPTION_FLAG, 0, "truncate", NULL, &cut,
         .help = "cut documents that are too long for the model, instead of failing"},
        {OPTION_REAL, 0, "timeout", "SECONDS", &asked.timeout, 0.001, 1e9, "give up after SECONDS"},
        {OPTION_TEXT, 0, "priority", "CLASS", &asked.priority,
         .help = "interactive, or batch: after everything interactive"},
        {OPTION_END},
};

typedef struct Documents {
        char **texts;
        size_t n, cap;
} Documents;

static void documents_deinit(Documents *d) {
        for (size_t i = 0; i < d->n; i++)
                free(d->texts[i]);
        free(d->texts);
}

static bool add(Documents *d, const char *text) {
        if (d->n == d->cap) {
                size_t cap = d->cap ? 2 * d->cap : 64;
                char **more = realloc(d->texts, cap * sizeof(*more));
                if (!more)
                        return false;
                d->texts = more;
                d->cap = cap;
        }
        d->texts[d->n] = strdup(text);
        return d->texts[d->n] && ++d->n;
}

static bool read_all(Texts *t, Documents *d) {
        const char *text;
        int r;
        while ((r = texts_next(t, &text)) > 0)
                if (!add(d, text)) {
                        complain("out of memory");
                        return false;
                }
        return r == 0;
}

/* The beginning of a long one, to a terminal. */
static void print_ranking(const ZlRanking *r, const Documents *d) {
        Table *t = table_new("rrl");
        bool whole = !isatty(STDOUT_FILENO), bad;
        table_add(t, (const char *const[]){"SCORE", "INDEX", "DOCUMENT"});
        for (size_t i = 0; i < r->n && r->ranks[i].index < d->n; i++) {
                const char *text = d->texts[r->ranks[i].index];
                char score[32], index[32], begin[SHOWN_BYTES + 8];
                size_t n = utf8_valid_prefix(text, MIN(strlen(text), (size_t)SHOWN_BYTES), &bad);
                snprintf(score, sizeof(score), "%.4f", r->ranks[i].score);
                snprintf(index, sizeof(index), "%zu", r->ranks[i].index);
                snprintf(begin, sizeof(begin), "%.*s%s", (int)n, text, text[n] ? "…" : "");
                table_add(t, (const char *const[]){score, index, whole ? text : begin});
        }
        table_print(t);
}

static int rerank(ZlClient *client, char **args, const Documents *d) {
        ZlError e;
        ZlRanking *ranking;
        ZlRerankRequest q = {
                .model = args[0], .query = args[1], .documents = (const char *const *)d->texts, .n_documents = d->n,
                .top_n = top ? (uint32_t)*top : 0, .raw_scores = raw_scores, .truncate = cut, .timeout = asked.timeout,
                .priority = asked.priority, .extra = d->n ? NULL : "{\"documents\":[]}",
        };
        Progress *p = progress_new(client, q.model);
        int r = zl_rerank(client, &q, &ranking, &e);
        progress_free(p);
        if (r < 0)
                return complain_model(client, q.model, &e);
        if (want_json)
                puts(ranking->json);
        else
                print_ranking(ranking, d);
        zl_ranking_free(ranking);
        return EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        Texts texts;
        Documents d = {0};
        texts_init(&texts, args + 2, files);
        int r = read_all(&texts, &d) ? rerank(client, args, &d) : interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
        texts_deinit(&texts);
        documents_deinit(&d);
        return r;
}

const Command cmd_rerank = {
        .name = "rerank",
        .arguments = "MODEL QUERY [DOCUMENT…]",
        .summary = "sort documents by how well they answer a query",
        .description = "Without DOCUMENT and --file each line piped in is one.",
        .options = {options},
        .min_args = 2,
        .max_args = -1,
        .run = run,
};
