/* The engine's program: started by the daemon with one end of a socketpair, or by a person to look at a model file. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "config.h"
#include "engine/engine.h"
#include "engine/show.h"
#include "util/log.h"

static const char help_text[] =
        "Usage: zerollama-engine --ipc-fd=FD\n"
        "       zerollama-engine show FILE [--json]\n"
        "\n"
        "Computes for zerollamad, which starts it; or shows what a model file is understood as.\n"
        "\n"
        "  --ipc-fd=FD  the daemon's socket\n"
        "  --json       show everything, as JSON\n"
        "  --help       show this\n"
        "  --version    show the version\n"
        "\n"
        "See zerollama-engine(8).\n";

/* ---- show ---- */

static void print_json(const json_t *shown) {
        char *text = json_dumps(shown, JSON_INDENT(2));
        puts(text ? text : "");
        free(text);
}

static void print_value(const char *key, const json_t *v) {
        if (json_is_null(v))
                return;
        char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
        printf("  %-44s %.200s\n", key, text ? text : json_string_value(v));
        free(text);
}

static void print_summary(json_t *shown) {
        const char *key;
        json_t *value;
        puts("details");
        json_object_foreach(json_object_get(shown, "details"), key, value)
                print_value(key, value);
        puts("metadata");
        json_object_foreach(json_object_get(shown, "model_info"), key, value)
                if (strcmp(key, "tokenizer.chat_template") != 0)
                        print_value(key, value);
        const char *template = json_string_value(json_object_get(shown, "template"));
        printf("chat template\n  %zu bytes\n", template ? strlen(template) : 0);
}

static int show(const char *path, bool json) {
        json_t *shown;
        Error e = ERROR_NULL;
        if (show_file(path, &shown, &e) < 0) {
                fprintf(stderr, "%s\n", e.text);
                return 1;
        }
        if (json)
                print_json(shown);
        else
                print_summary(shown);
        json_decref(shown);
        return 0;
}

/* ---- serving ---- */

static void on_terminate(EventSource *s, uint32_t signo) {
        event_loop_exit(s->loop, 0);
}

static int serve(int fd) {
        EventLoop *loop = NULL;
        Engine *engine = NULL;
        EventSource terminate = EVENT_SOURCE_NULL;
        log_init(program_invocation_short_name);
        prctl(PR_SET_NAME, program_invocation_short_name); /* the daemon executes a descriptor, which names us by its number */
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* without a daemon there is nobody to compute for */
        signal(SIGPIPE, SIG_IGN); /* of a log nobody reads any more */
        signal(SIGINT, SIG_IGN); /* ^C in a terminal is for the daemon, which ends us in order */
        int r = event_loop_new(&loop);
        if (r >= 0)
                r = event_add_signal(loop, &terminate, SIGTERM, "terminate", on_terminate);
        if (r >= 0)
                r = engine_new(loop, fd, &engine);
        if (r >= 0)
                r = event_loop_run(loop);
        if (r < 0)
                log_error("cannot go on: %s", strerror(-r));
        fflush(stderr);
        _exit(r < 0 ? 1 : r); /* at once: workers may be in the middle of something, and all memory goes with us */
}

/* An open descriptor, or -1. */
static int parse_fd(const char *s) {
        char *end;
        long n = strtol(s, &end, 10);
        return *s && !*end && n >= 0 && n <= INT_MAX && fcntl((int)n, F_SETFD, FD_CLOEXEC) == 0 ? (int)n : -1;
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                {"ipc-fd", required_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'},
                {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'v'}, {0},
        };
        int fd = -1;
        bool json = false;
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'f':
                        fd = parse_fd(optarg);
                        break;
                case 'j':
                        json = true;
                        break;
                case 'h':
                        fputs(help_text, stdout);
                        return 0;
                case 'v':
                        puts("zerollama-engine " PACKAGE_VERSION);
                        return 0;
                default:
                        return 2;
                }
        }
        if (fd >= 0 && optind == argc)
                return serve(fd);
        if (argc - optind == 2 && strcmp(argv[optind], "show") == 0)
                return show(argv[optind + 1], json);
        fputs(help_text, stderr);
        return 2;
}
