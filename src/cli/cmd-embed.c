/* zerollama embed: the vectors of texts, as lines of JSON, one document, or a file for numpy.
 *
 * Texts are asked for in requests of many, a few at a time, and written in their order: this thread reads and writes, the
 * workers of a ZlMap ask. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/npy.h"
#include "cli/texts.h"

enum { REQUEST_TEXTS = 256, REQUEST_BYTES = 256 * 1024, WORKERS = 3 };

static const char *const *files;
static const char *output;
static const int64_t *dimensions;
static bool cut;

static const Option options[] = {
        {OPTION_TEXTS, 'f', "file", "FILE", &files, .help = "each line of FILE is a text; may be repeated; -: stdin"},
        {OPTION_TEXT, 'o', "output", "FILE.npy", &output, .help = "write the vectors into a file as numpy reads it"},
        {OPTION_INTEGER, 'd', "dimensions", "N", &dimensions, 1, INT32_MAX,
         "vectors of N numbers, of models that were trained for it"},
        {OPTION_FLAG, 0, "truncate", NULL, &cut, .help = "cut texts that are too long for the model, instead of failing"},
        {OPTION_REAL, 0, "timeout", "SECONDS", &asked.timeout, 0.001, 1e9, "of each request of many texts"},
        {OPTION_TEXT, 0, "priority", "CLASS", &asked.priority,
         .help = "interactive, or batch: after everything interactive"},
        {OPTION_END},
};

typedef struct Request { /* some of the texts */
        char **texts;
        size_t n, bytes, first;
        ZlEmbeddings *answer;
        ZlError error;
} Request;

static void request_free(Request *q) {
        for (size_t i = 0; q && i < q->n; i++)
                free(q->texts[i]);
        if (q)
                free(q->texts);
        if (q)
                zl_embeddings_free(q->answer);
        free(q);
}

static void *ask(ZlClient *client, void *item, void *model) {
        Request *q = item;
        ZlEmbedRequest e = {.model = model, .inputs = (const char *const *)q->texts, .n_inputs = q->n, .truncate = cut,
                            .dimensions = dimensions ? (uint32_t)*dimensions : 0, .timeout = asked.timeout,
                            .priority = asked.priority};
        zl_embed(client, &e, &q->answer, &q->error);
        return q;
}

/* Up to as many texts as a request has. 1: *ret is a request; 0: no texts are left. */
static int read_request(Texts *t, size_t first, Request **ret) {
        Request *q = calloc(1, sizeof(*q));
        const char *text;
        int r = q && (q->texts = calloc(REQUEST_TEXTS, sizeof(char *))) ? 1 : -ENOMEM;
        while (r > 0 && q->n < REQUEST_TEXTS && q->bytes < REQUEST_BYTES && (r = texts_next(t, &text)) > 0) {
                if (!(q->texts[q->n] = strdup(text)))
                        r = -ENOMEM;
                else
                        q->bytes += strlen(q->texts[q->n++]);
        }
        if (r == -ENOMEM)
                complain("out of memory");
        if (r < 0 || q->n == 0) {
                request_free(q);
                return r < 0 ? r : 0;
        }
        q->first = first;
        *ret = q;
        return 1;
}

/* ---- writing ---- */

typedef struct Sink {
        Npy *npy;
        size_t n;
        uint64_t tokens;
        Buf line;
} Sink;

static void put_vector(Buf *b, const float *values, size_t n) {
        for (size_t i = 0; i < n; i++)
                buf_printf(b, "%c%.9g", i ? ',' : '[', (double)values[i]);
        buf_putc(b, ']');
}

/* False: nobody takes it any more. */
static bool print_line(Sink *s) {
        bool ok = !s->line.failed && fwrite(s->line.data, 1, s->line.len, stdout) == s->line.len;
        buf_clear(&s->line);
        return ok;
}

static bool print_vectors(Sink *s, const ZlEmbeddings *a) {
        for (size_t i = 0; i < a->n; i++) {
                if (want_json)
                        buf_puts(&s->line, s->n + i ? "," : "{\"embeddings\":[");
                else
                        buf_printf(&s->line, "{\"index\":%zu,\"embedding\":", s->n + i);
                put_vector(&s->line, a->values + i * a->dimensions, a->dimensions);
                buf_puts(&s->line, want_json ? "" : "}\n");
                if (!print_line(s))
                        return false;
        }
        return fflush(stdout) == 0;
}

/* Returns the exit code. */
static int write_answer(Sink *s, const ZlEmbeddings *a) {
        Error e = ERROR_NULL;
        if (s->npy && npy_add(s->npy, a->values, a->n, a->dimensions, &e) < 0) {
                complain("%s", e.text);
                return EXIT_FAILED;
        }
        if (!s->npy && !print_vectors(s, a))
                return EXIT_FAILED;
        s->n += a->n;
        s->tokens += a->tokens;
        return EXIT_OK;
}

static int end_output(Sink *s) {
        Error e = ERROR_NULL;
        if (want_json && !s->npy)
                printf("%s],\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}\n", s->n ? "" : "{\"embeddings\":[",
                       (unsigned long long)s->tokens, (unsigned long long)s->tokens);
        if (s->npy && npy_finish(s->npy, &e) < 0) {
                complain("%s", e.text);
                return EXIT_FAILED;
        }
        return EXIT_OK;
}

/* ---- the whole ---- */

static int take_result(ZlClient *client, const char *model, Sink *s, Request *q) {
        int r = q->answer ? write_answer(s, q->answer) : complain_model(client, model, &q->error);
        request_free(q);
        return r;
}

/* Whatever is in the map when something fails is thrown away. */
static int embed_all(ZlClient *client, const char *model, ZlMap *map, Texts *texts, Sink *s) {
        Request *next = NULL;
        ZlMapItem item;
        size_t first = 0;
        int r = EXIT_OK, more = 1;
        while (r == EXIT_OK && !interrupted && (more = read_request(texts, first, &next)) > 0) {
                first += next->n;
                int full;
                while ((full = zl_map_try_put(map, next)) == -EAGAIN && r == EXIT_OK && zl_map_next(map, &item) > 0)
                        r = take_result(client, model, s, item.item);
                if (full < 0)
                        request_free(next);
        }
        zl_map_finish(map);
        if (r != EXIT_OK || more < 0 || interrupted)
                zl_map_cancel(map);
        while (zl_map_next(map, &item) > 0) {
                Request *q = item.item;
                if (r == EXIT_OK && item.ran && !interrupted)
                        r = take_result(client, model, s, q);
                else
                        request_free(q);
        }
        return interrupted ? EXIT_INTERRUPTED : more < 0 ? EXIT_FAILED : r;
}

static int embed(ZlClient *client, char **args, Sink *s) {
        ZlError e;
        ZlMap *map;
        Texts texts;
        texts_init(&texts, args + 1, files);
        if (zl_map_new(client, WORKERS, 0, ZL_MAP_ORDERED, ask, args[0], &map, &e) < 0)
                return complain_error(&e);
        int r = embed_all(client, args[0], map, &texts, s);
        zl_map_free(map);
        texts_deinit(&texts);
        return r == EXIT_OK ? end_output(s) : r;
}

static int run(ZlClient *client, char **args) {
        _cleanup_(npy_freep) Npy *npy = NULL;
        Error e = ERROR_NULL;
        size_t n = output ? strlen(output) : 0;
        if (output && (n < 4 || strcmp(output + n - 4, ".npy") != 0)) {
                complain("--output takes a file that ends in .npy; for lines of JSON redirect the output: > %s", output);
                return EXIT_USAGE;
        }
        if (output && npy_open(output, &npy, &e) < 0) {
                complain("%s", e.text);
                return EXIT_FAILED;
        }
        Sink s = {.npy = npy};
        int r = embed(client, args, &s);
        buf_deinit(&s.line);
        return r;
}

const Command cmd_embed = {
        .name = "embed",
        .arguments = "MODEL [TEXT…]",
        .summary = "turn texts into vectors",
        .description = "Each TEXT, each line of the files, or without either each line piped in, becomes a line of JSON with "
                       "its index and embedding; with --json, all of it is one document.",
        .options = {options},
        .min_args = 1,
        .max_args = -1,
        .run = run,
};
