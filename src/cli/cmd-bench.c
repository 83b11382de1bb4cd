/* zerollama bench: what a served model does under load, in stages of more and more clients, or of higher and higher
 * rates. See load.h for the two kinds of load. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/load-summary.h"
#include "cli/load.h"
#include "cli/plot.h"
#include "util/str.h"

enum {
        STAGES_MAX = 64,
        CLIENTS_MAX = 65536,
        DEFAULT_CLIENTS = 64,      /* the largest stage */
        DEFAULT_RATE_CLIENTS = 1024,
        DEFAULT_TOKENS = 16,
        DEFAULT_SECONDS = 10,
};

static const char *clients_list, *rates_list, *prompt, *file, *hold_time, *duration, *plot_path;
static const int64_t *max_clients, *requests, *warmup, *drop, *ideal_slots;
static const double *ideal_time;

static const Option options[] = {
        {OPTION_TEXT, 'c', "clients", "N[,N…]", &clients_list,
         .help = "clients of each stage [1,2,4,… to --max-clients]"},
        {OPTION_INTEGER, 0, "max-clients", "N", &max_clients, 1, CLIENTS_MAX,
         "clients of the largest stage [64; with --rate, of every one: 1024]"},
        {OPTION_TEXT, 0, "rate", "QPS[,QPS…]", &rates_list,
         .help = "send at a fixed rate, one stage for each, whatever became of the requests before"},
        {OPTION_INTEGER, 'r', "requests", "N", &requests, 1, 1e9, "requests of each stage"},
        {OPTION_TEXT, 'd', "duration", "TIME", &duration, .help = "send requests for TIME in each stage [10s]"},
        {OPTION_INTEGER, 0, "warmup", "N", &warmup, 0, 1e9, "requests before the first stage that do not count [1]"},
        {OPTION_INTEGER, 0, "drop", "N", &drop, 0, 1e9, "the first and last N requests of each stage do not count [0]"},
        {OPTION_TEXT, 'p', "prompt", "TEXT", &prompt, .help = "what every request asks"},
        {OPTION_TEXT, 'f', "file", "FILE", &file, .help = "read the prompt from FILE; -: from stdin"},
        {OPTION_TEXT, 't', "time", "TIME", &hold_time,
         .help = "of the load-test model: how long each request holds a slot; its prompt and its ideal"},
        {OPTION_INTEGER, 'n', "max-tokens", "N", &asked.options.max_tokens, 1, INT32_MAX,
         "tokens of an answer at most [16]"},
        {OPTION_FLAG, 0, "raw", NULL, &asked.raw, .help = "the prompt as it is, without the model's template"},
        {OPTION_INTEGER, 0, "ideal-slots", "N", &ideal_slots, 1, INT32_MAX,
         "compare with a perfect daemon that answers N requests at once [the model's slots]"},
        {OPTION_REAL, 0, "ideal-time", "SECONDS", &ideal_time, 1e-9, 1e6, "and takes SECONDS for each"},
        {OPTION_TEXT, 0, "plot", "FILE", &plot_path, .help = "draw the curves into FILE, as SVG"},
        {OPTION_END},
};

typedef struct Bench {
        const char *model;
        LoadStage stages[STAGES_MAX];
        LoadSummary sums[STAGES_MAX];
        size_t n_stages, n_done;
        uint64_t requests, duration_ns, drop;
        double slots, hold;        /* of the ideal; 0: not known */
        bool warming, failed;
} Bench;

static double stage_ideal_qps(const Bench *b, const LoadStage *s) {
        return b->hold > 0 && b->slots > 0 ? ideal_qps(s->clients, s->rate, b->slots, b->hold) : NAN;
}

static double stage_ideal_latency(const Bench *b, const LoadStage *s) {
        return b->hold > 0 && b->slots > 0 ? ideal_latency(s->clients, s->rate, b->slots, b->hold) : NAN;
}

/* ---- What is asked ---- */

static bool add_stage(Bench *b, double clients, double rate) {
        if (b->n_stages == STAGES_MAX)
                return complain("a bench has at most %d stages", STAGES_MAX), false;
        b->stages[b->n_stages++] = (LoadStage){.clients = (unsigned)clients, .requests = b->requests,
                                               .duration_ns = b->duration_ns, .rate = rate};
        return true;
}

/* A list of ascending numbers, each a stage. */
static bool read_list(Bench *b, const char *name, const char *list, bool rates) {
        double clients = max_clients ? (double)*max_clients : DEFAULT_RATE_CLIENTS, last = 0;
        for (const char *s = list;; s++) {
                char *end;
                double v = strtod(s, &end);
                bool good = end != s && (!*end || *end == ',') && v > last && isfinite(v);
                if (!good || (!rates && (v > CLIENTS_MAX || v != floor(v)))) {
                        complain("--%s takes ascending numbers with commas between them, such as 1,2,4; not '%s'", name,
                                 list);
                        return false;
                }
                if (!(rates ? add_stage(b, clients, v) : add_stage(b, v, 0)))
                        return false;
                last = v;
                if (!*end)
                        return true;
                s = end;
        }
}

/* 1, 2, 4, … and `most` itself. */
static bool double_up(Bench *b, unsigned most) {
        for (unsigned n = 1; n < most; n *= 2)
                if (!add_stage(b, n, 0))
                        return false;
        return add_stage(b, most, 0);
}

/* Keeps *usec where the option is not given. */
static bool read_time(const char *name, const char *text, uint64_t *usec) {
        if (!text || (parse_duration(text, usec) == 0 && *usec > 0 && *usec <= UINT64_MAX / 1000))
                return true;
        complain("--%s takes a time such as 500ms, 10s or 1m30s, not '%s'", name, text);
        return false;
}

static bool plan(Bench *b) {
        uint64_t usec = DEFAULT_SECONDS * UINT64_C(1000000), hold = 0;
        if (!read_time("duration", duration, &usec) || !read_time("time", hold_time, &hold))
                return false;
        if (!!prompt + !!file + !!hold_time > 1)
                return complain("--prompt, --file and --time all say what is asked; one of them is enough"), false;
        b->hold = ideal_time ? *ideal_time : (double)hold / 1e6;
        b->requests = requests ? (uint64_t)*requests : 0;
        b->duration_ns = duration || !requests ? usec * 1000 : 0;
        b->drop = drop ? (uint64_t)*drop : 0;
        if (requests && b->requests < 3 * b->drop)
                return complain("--drop %llu leaves too little of %llu requests; it must be a third at most",
                                (unsigned long long)b->drop, (unsigned long long)b->requests),
                       false;
        if (clients_list && rates_list)
                return complain("--clients and --rate are two kinds of stages; with --rate, --max-clients says how "
                                "many clients there are"),
                       false;
        if (rates_list)
                return read_list(b, "rate", rates_list, true);
        if (clients_list)
                return read_list(b, "clients", clients_list, false);
        return double_up(b, max_clients ? (unsigned)*max_clients : DEFAULT_CLIENTS);
}

static char *make_prompt(void) {
        if (file)
                return strcmp(file, "-") == 0 ? read_prompt((char *[]){NULL}) : read_text_file(file);
        if (hold_time)
                return strdup(hold_time);
        return strdup(prompt ? prompt : "Once upon a time");
}

/* NULL: said why. */
static char *make_body(const char *model) {
        _cleanup_free_ char *text = make_prompt();
        if (!text)
                return NULL;
        int64_t tokens = asked.options.max_tokens ? *asked.options.max_tokens : DEFAULT_TOKENS;
        json_auto_t *root = json_pack("{s:s, s:s, s:b, s:b, s:{s:I}}", "model", model, "prompt", text, "stream", 1,
                                      "raw", asked.raw, "options", "num_predict", (json_int_t)tokens);
        char *body = root && *text ? json_dumps(root, JSON_COMPACT) : NULL;
        if (!body)
                complain(*text ? "the prompt is not valid UTF-8" : "the prompt is empty");
        return body;
}

/* ---- The daemon ---- */

/* The slots of the ideal are the model's own when nobody says otherwise. */
static void learn_ideal(Bench *b, ZlClient *client) {
        ZlModels *list = NULL;
        b->slots = ideal_slots ? (double)*ideal_slots : 0;
        if (b->hold > 0 && b->slots == 0 && zl_ps(client, &list, NULL) == 0)
                for (size_t i = 0; i < list->n; i++)
                        if (model_is(list->models[i].name, b->model))
                                b->slots = (double)list->models[i].slots;
        zl_models_free(list);
}

/* A daemon that keeps clients out would make the figures meaningless. */
static void warn_of_limits(const Bench *b, ZlClient *client) {
        static const char *const names[] = {"connections", "connections_per_user"};
        _cleanup_free_ char *text = NULL;
        unsigned most = 0;
        if (zl_status(client, &text, NULL) < 0)
                return;
        json_auto_t *root = json_loads(text, JSON_ALLOW_NUL, NULL);
        for (size_t i = 0; i < b->n_stages; i++)
                most = MAX(most, b->stages[i].clients);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                const json_t *limit = json_object_get(json_object_get(root, "limits"), names[i]);
                if (json_is_integer(limit) && json_integer_value(limit) < (json_int_t)most + 1)
                        complain("the daemon's limits.%s is %lld: %u clients will not all be served", names[i],
                                 (long long)json_integer_value(limit), most);
        }
}

/* ---- What comes of it ---- */

/* Three or four digits of a time, in ms. */
static const char *format_ms(char *buf, size_t n, double seconds) {
        double ms = seconds * 1000;
        if (!isfinite(ms))
                snprintf(buf, n, "-");
        else
                snprintf(buf, n, ms < 10 ? "%.3f" : ms < 1000 ? "%.1f" : "%.0f", ms);
        return buf;
}

static const char *format_rate(char *buf, size_t n, double v) {
        if (!isfinite(v))
                snprintf(buf, n, "-");
        else
                snprintf(buf, n, v < 100 ? "%.2f" : v < 1000 ? "%.1f" : "%.0f", v);
        return buf;
}

/* Rows appear while the bench runs, so the columns are as wide as what they may have to hold. */
static void print_header(const Bench *b) {
        printf("%s%8s %9s", style_bold(stdout), b->stages[0].rate > 0 ? "RATE" : "CLIENTS", "QPS");
        if (isfinite(stage_ideal_qps(b, &b->stages[0])))
                printf(" %9s", "IDEAL");
        printf(" %9s %9s %9s %9s %9s %9s %10s %7s%s\n", "MEAN ms", "P50 ms", "P99 ms", "MAX ms", "FIRST p50",
               "FIRST p99", "TOKENS/s", "ERRORS", style_off(stdout));
}

static void print_row(const Bench *b, const LoadStage *stage, const LoadSummary *s) {
        const double times[] = {s->mean, s->p50, s->p99, s->max, s->first_p50, s->first_p99};
        double ideal = stage_ideal_qps(b, stage);
        char text[32];
        if (b->n_done == 0)
                print_header(b);
        if (stage->rate > 0)
                printf("%8g ", stage->rate);
        else
                printf("%8u ", stage->clients);
        printf("%9s", format_rate(text, sizeof(text), s->qps));
        if (isfinite(ideal))
                printf(" %9s", format_rate(text, sizeof(text), ideal));
        for (size_t i = 0; i < ARRAY_SIZE(times); i++)
                printf(" %9s", format_ms(text, sizeof(text), times[i]));
        printf(" %10s %7zu\n", format_rate(text, sizeof(text), s->tokens_per_second), s->errors);
        fflush(stdout);
}

static json_t *number(double v) {
        return isfinite(v) ? json_real(v) : json_null();
}

static void print_object(const Bench *b, const LoadStage *stage, const LoadSummary *s, const LoadResult *r) {
        json_auto_t *root = json_pack(
                "{s:i, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o}, s:{s:o, s:o}, s:o, s:o}",
                "clients", (int)stage->clients, "rate", stage->rate > 0 ? json_real(stage->rate) : json_null(),
                "requests", (json_int_t)s->requests, "dropped", (json_int_t)s->dropped, "errors", (json_int_t)s->errors,
                "seconds", number(s->seconds), "qps", number(s->qps), "ideal_qps", number(stage_ideal_qps(b, stage)),
                "ideal_latency", number(stage_ideal_latency(b, stage)), "latency", "mean", number(s->mean), "p50",
                number(s->p50), "p99", number(s->p99), "max", number(s->max), "first", "p50", number(s->first_p50),
                "p99", number(s->first_p99), "tokens_per_second", number(s->tokens_per_second), "client_cpu",
                number(s->cpu));
        if (*r->error)
                json_object_set_new(root, "error", json_string(r->error));
        char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
        print_json(text ? text : "{}");
        fflush(stdout);
        free(text);
}

static int draw(const Bench *b) {
        double x[STAGES_MAX], ys[5][STAGES_MAX];
        bool rates = b->stages[0].rate > 0;
        char title[256], subtitle[256];
        for (size_t i = 0; i < b->n_done; i++) {
                const LoadStage *s = &b->stages[i];
                x[i] = rates ? s->rate : s->clients;
                ys[0][i] = b->sums[i].qps;
                ys[1][i] = stage_ideal_qps(b, s);
                ys[2][i] = b->sums[i].mean * 1000;
                ys[3][i] = stage_ideal_latency(b, s) * 1000;
                ys[4][i] = b->sums[i].p99 * 1000;
        }
        bool ideal = isfinite(ys[1][0]);
        snprintf(title, sizeof(title), "%s under load", b->model);
        if (ideal)
                snprintf(subtitle, sizeof(subtitle), "ideal: %g slots, each held for %g s", b->slots, b->hold);
        else
                snprintf(subtitle, sizeof(subtitle), "%s", rates ? "requests at a fixed rate" : "closed loop");
        Plot p = {.title = title, .subtitle = subtitle, .x_label = rates ? "requests per second, sent" : "clients",
                  .x = x, .n = b->n_done,
                  .panels = {{"requests per second", {{"measured", ys[0], false},
                                                      {ideal ? "ideal" : NULL, ys[1], true}}},
                             {"latency, ms", {{"mean", ys[2], false}, {ideal ? "ideal mean" : NULL, ys[3], true},
                                              {"99th percentile", ys[4], false}}}}};
        _cleanup_buf_ Buf svg = BUF_NULL;
        plot_svg(&p, &svg);
        FILE *f = svg.failed ? NULL : fopen(plot_path, "we");
        bool good = f && fwrite(svg.data, 1, svg.len, f) == svg.len;
        if (f && fclose(f) != 0)
                good = false;
        if (!good)
                complain("cannot write %s: %s", plot_path, strerror(errno));
        return good ? EXIT_OK : EXIT_FAILED;
}

/* ---- Running it ---- */

static int on_tick(void *userdata, const LoadStage *stage, const LoadResult *r) {
        const Bench *b = userdata;
        if (bar_is_due()) {
                double seconds = (double)r->elapsed_ns / 1e9, fraction = NAN;
                if (stage->requests > 0)
                        fraction = (double)r->ended / (double)stage->requests;
                if (stage->duration_ns > 0)
                        fraction = fmax(isfinite(fraction) ? fraction : 0,
                                        (double)r->elapsed_ns / (double)stage->duration_ns);
                char what[64];
                if (b->warming)
                        snprintf(what, sizeof(what), "warming up");
                else if (stage->rate > 0)
                        snprintf(what, sizeof(what), "stage %zu of %zu: rate %g", b->n_done + 1, b->n_stages,
                                 stage->rate);
                else
                        snprintf(what, sizeof(what), "stage %zu of %zu: %u clients", b->n_done + 1, b->n_stages,
                                 stage->clients);
                bar_show(fraction, "%s, %zu answers, %.0f/s", what, r->ended, (double)r->ended / fmax(seconds, 1e-3));
        }
        return interrupted;
}

/* 0, or an exit code. */
static int explain(int r, const Error *e) {
        if (r == 0)
                return EXIT_OK;
        if (r == -ECANCELED && interrupted)
                return EXIT_INTERRUPTED;
        complain("%s", e->text);
        return r == -ENOTCONN ? EXIT_UNREACHABLE : EXIT_FAILED;
}

static int warm_up(Bench *b, Load *load) {
        LoadResult result;
        Error e = ERROR_NULL;
        LoadStage stage = {.clients = 1, .requests = warmup ? (uint64_t)*warmup : 1};
        if (stage.requests == 0)
                return EXIT_OK;
        b->warming = true;
        int r = load_run(load, &stage, &result, &e);
        b->warming = false;
        bar_clear();
        if (r == 0 && result.failed == result.ended) {
                complain("no request is answered: %s", result.error);
                load_result_deinit(&result);
                return EXIT_FAILED;
        }
        load_result_deinit(&result);
        return explain(r, &e);
}

/* A stage that was cut short says nothing that could be compared, so it is not shown. */
static int run_stage(Bench *b, Load *load, const LoadStage *stage) {
        LoadResult result;
        LoadSummary *sum = &b->sums[b->n_done];
        Error e = ERROR_NULL;
        int r = load_run(load, stage, &result, &e);
        bar_clear();
        if (r == 0 && load_summarize(&result, b->drop, sum) < 0)
                r = error_set(&e, -ENOMEM, "out of memory");
        if (r == 0) {
                if (want_json)
                        print_object(b, stage, sum, &result);
                else
                        print_row(b, stage, sum);
                if (result.failed > 0 && !b->failed)
                        complain("%zu of %zu requests failed; the first one: %s", result.failed, result.ended,
                                 result.error);
                b->failed |= result.failed > 0;
                b->n_done++;
        }
        load_result_deinit(&result);
        return explain(r, &e);
}

static double mean_cpu(const Bench *b) {
        double sum = 0, n = 0;
        for (size_t i = 0; i < b->n_done; i++) {
                double weight = (double)(b->sums[i].requests + b->sums[i].dropped + b->sums[i].errors);
                sum += isfinite(b->sums[i].cpu) ? b->sums[i].cpu * weight : 0;
                n += weight;
        }
        return n > 0 ? sum / n : 0;
}

static int run_stages(Bench *b, Load *load) {
        load_set_tick(load, on_tick, b);
        int r = warm_up(b, load);
        for (size_t i = 0; r == EXIT_OK && i < b->n_stages; i++)
                r = run_stage(b, load, &b->stages[i]);
        if (b->n_done > 0 && !want_json && isatty(STDOUT_FILENO))
                fprintf(stderr, "%sThis command itself took %.0f µs of CPU for each request.%s\n", style_dim(stderr),
                        mean_cpu(b) * 1e6, style_off(stderr));
        if (b->n_done > 0 && plot_path && draw(b) != EXIT_OK && r == EXIT_OK)
                r = EXIT_FAILED;
        return r == EXIT_OK && b->failed ? EXIT_FAILED : r;
}

/* A model that is loaded, or an exit code. */
static int load_model(ZlClient *client, const char *model) {
        ZlError e;
        Progress *p = progress_new(client, model);
        int r = zl_load(client, model, NULL, &e);
        progress_free(p);
        return r < 0 ? complain_model(client, model, &e) : EXIT_OK;
}

static int run(ZlClient *client, char **args) {
        Bench b = {.model = args[0]};
        Error e = ERROR_NULL;
        if (!plan(&b))
                return EXIT_USAGE;
        _cleanup_free_ char *body = make_body(b.model);
        if (!body)
                return interrupted ? EXIT_INTERRUPTED : EXIT_USAGE;
        int r = load_model(client, b.model);
        if (r != EXIT_OK)
                return r;
        learn_ideal(&b, client);
        warn_of_limits(&b, client);
        _cleanup_(load_freep) Load *load = NULL;
        r = load_new(zl_client_address(client), getenv("ZEROLLAMA_API_KEY"), "/api/generate", body, &load, &e);
        return r < 0 ? explain(r, &e) : run_stages(&b, load);
}

const Command cmd_bench = {
        .name = "bench",
        .arguments = "MODEL",
        .summary = "measure how a model does under load",
        .description =
                "Each stage keeps a number of clients busy, or sends requests at a fixed rate, and prints one row: how "
                "many requests per second were answered, how long they took (from when they were due), when the first "
                "text came, and how many tokens per second came in all.",
        .options = {options},
        .min_args = 1,
        .max_args = 1,
        .run = run,
};
