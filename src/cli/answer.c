/* One request for text and its answer on the screen: what run and generate have in common.
 *
 *   plain      pieces as they come, each flushed; a line of progress before the first one
 *   --json     each object of the stream on a line of its own, or, with --no-stream, the one object of the answer
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

ZlRequest asked;
static bool no_stream, verbose;

const Option sampling_options[] = {
        {OPTION_INTEGER, 'n', "max-tokens", "N", &asked.options.max_tokens, -2, INT32_MAX,
         "tokens of the answer at most; -1: no limit"},
        {OPTION_REAL, 't', "temperature", "X", &asked.options.temperature, 0, 100,
         "0: the most probable token always; more: more variety"},
        {OPTION_INTEGER, 0, "top-k", "N", &asked.options.top_k, 0, INT32_MAX,
         "choose among the N most probable; 0: all"},
        {OPTION_REAL, 0, "top-p", "X", &asked.options.top_p, 0, 1,
         "choose among the most probable that make up X together"},
        {OPTION_REAL, 0, "min-p", "X", &asked.options.min_p, 0, 1,
         "none below X times the most probable one's probability"},
        {OPTION_INTEGER, 's', "seed", "N", &asked.options.seed, -0x1p53, 0x1p53, "the same seed gives the same answer"},
        {OPTION_TEXTS, 0, "stop", "TEXT", &asked.options.stop, .help = "end the answer before TEXT; may be repeated"},
        {OPTION_REAL, 0, "repeat-penalty", "X", &asked.options.repeat_penalty, 0.01, 100, "above 1: repeat less"},
        {OPTION_REAL, 0, "presence-penalty", "X", &asked.options.presence_penalty, -100, 100,
         "subtracted for tokens that are there already"},
        {OPTION_REAL, 0, "frequency-penalty", "X", &asked.options.frequency_penalty, -100, 100,
         "subtracted as often as a token is there already"},
        {OPTION_END},
};

const Option request_options[] = {
        {OPTION_CONTENT, 0, "system", "TEXT|@FILE", &asked.system, .help = "what the model is to be, in place of its own"},
        {OPTION_CONTENT, 0, "format", "json|SCHEMA|@FILE", &asked.format,
         .help = "the answer is to be JSON, or JSON of a JSON schema"},
        {OPTION_CONTENT, 0, "grammar", "GBNF|@FILE", &asked.grammar, .help = "the answer is to be of a grammar"},
        {OPTION_REAL, 0, "timeout", "SECONDS", &asked.timeout, 0.001, 1e9,
         "give up, waiting and answering together, after SECONDS"},
        {OPTION_TEXT, 0, "priority", "CLASS", &asked.priority,
         .help = "interactive, or batch: after everything interactive"},
        {OPTION_TEXT, 0, "keep-alive", "TIME", &asked.keep_alive,
         .help = "keep the model loaded for TIME after it (10m, 0, -1: forever)"},
        {OPTION_END},
};

const Option answer_options[] = {
        {OPTION_FLAG, 0, "no-stream", NULL, &no_stream, .help = "print the answer when it is complete"},
        {OPTION_FLAG, 0, "verbose", NULL, &verbose, .help = "print counts and times after it, on stderr"},
        {OPTION_END},
};

typedef struct Screen {
        Progress *progress;
        Buf *text;          /* the answer so far, or NULL */
        bool thinking;      /* dim text is on the line */
        char last;          /* character printed */
} Screen;

/* What a model thinks before it answers is for eyes only. */
static void print_thinking(Screen *s, const char *text) {
        if (!isatty(STDOUT_FILENO))
                return;
        fputs(s->thinking ? "" : style_dim(stdout), stdout);
        s->thinking = true;
        print_text(text, strlen(text));
}

static bool print_answer(Screen *s, const char *text, size_t n) {
        if (s->thinking && n > 0) {
                printf("%s\n\n", style_off(stdout));
                s->thinking = false;
        }
        if (n > 0)
                s->last = text[n - 1];
        return print_text(text, n);
}

static int on_piece(void *userdata, const ZlPiece *piece) {
        Screen *s = userdata;
        bool read = true;
        if (piece->len > 0 || piece->thinking || piece->done)
                progress_clear(s->progress);
        if (s->text)
                buf_put(s->text, piece->text, piece->len);
        if (want_json) {
                puts(piece->json);
                return fflush(stdout) != 0 || interrupted;
        }
        if (piece->thinking)
                print_thinking(s, piece->thinking);
        if (piece->len > 0)
                read = print_answer(s, piece->text, piece->len);
        return !read || interrupted;
}

static double per_second(uint64_t tokens, uint64_t ns) {
        return ns > 0 ? (double)tokens * 1e9 / (double)ns : 0;
}

static void print_counts(const ZlResult *r) {
        fprintf(stderr, "%sprompt: %llu tokens (%llu cached) in %.3f s, %.1f/s\n", style_dim(stderr),
                (unsigned long long)r->prompt_tokens, (unsigned long long)r->cached_tokens, (double)r->prompt_ns / 1e9,
                per_second(r->prompt_tokens - MIN(r->cached_tokens, r->prompt_tokens), r->prompt_ns));
        fprintf(stderr, "answer: %llu tokens in %.3f s, %.1f/s; ended by: %s\n",
                (unsigned long long)r->completion_tokens, (double)r->completion_ns / 1e9,
                per_second(r->completion_tokens, r->completion_ns), *r->finish_reason ? r->finish_reason : "unknown");
        fprintf(stderr, "in all: %.3f s, load %.3f s, first token after %.3f s%s\n", (double)r->total_ns / 1e9,
                (double)r->load_ns / 1e9, (double)r->first_ns / 1e9, style_off(stderr));
}

static void print_whole(Screen *s, const ZlResult *r) {
        if (want_json)
                puts(r->json);
        else
                print_answer(s, r->text, r->len);
        if (s->text)
                buf_put(s->text, r->text, r->len);
}

int answer(ZlClient *client, const ZlRequest *request, Buf *ret_text) {
        ZlRequest q = *request;
        ZlResult *result = NULL;
        ZlError e;
        Screen s = {.progress = progress_new(client, q.model), .text = ret_text, .last = '\n'};
        q.piece = no_stream ? NULL : on_piece;
        q.userdata = &s;
        int r = q.messages ? zl_chat(client, &q, &result, &e) : zl_generate(client, &q, &result, &e);
        progress_free(s.progress);
        if (r == 0 && no_stream)
                print_whole(&s, result);
        fputs(s.thinking ? style_off(stdout) : "", stdout);
        if (!want_json && (s.last != '\n' || s.thinking || (isatty(STDOUT_FILENO) && r == -ECANCELED)))
                putchar('\n');
        if (fflush(stdout) != 0 && r == 0)
                r = -EPIPE;
        else if (r < 0)
                r = complain_model(client, q.model, &e);
        else if (verbose)
                print_counts(result);
        zl_result_free(result);
        return r < 0 ? EXIT_FAILED : r;
}

static bool read_stdin(Buf *b) {
        char part[65536];
        ssize_t n;
        while ((n = read(STDIN_FILENO, part, sizeof(part))) > 0)
                buf_put(b, part, (size_t)n);
        if (n < 0 && !interrupted)
                complain("cannot read the prompt from stdin: %s", strerror(errno));
        if (n == 0 && b->len > 0 && memchr(b->data, 0, b->len)) {
                complain("the prompt on stdin is no text: it has a NUL byte");
                return false;
        }
        return n == 0 && !b->failed;
}

char *read_prompt(char **words) {
        _cleanup_buf_ Buf b = BUF_NULL;
        if (!*words && !read_stdin(&b))
                return NULL;
        for (char **w = words; *w; w++) {
                if (w != words)
                        buf_putc(&b, ' ');
                if (strcmp(*w, "-") != 0)
                        buf_puts(&b, *w);
                else if (!read_stdin(&b))
                        return NULL;
        }
        return buf_take(&b);
}
