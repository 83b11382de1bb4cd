/* zerollama top: what the daemon is doing, again and again.
 *
 *      snapshot (status, ps, metrics) ─┐
 *      the one before ─────────────────┴→ view: one JSON object with rates → a line of JSON, plain text, or the screen
 *
 * Counters become rates by the difference of two snapshots, so the first view has none. The screen is the alternate
 * one, and the terminal is put back as it was on every way out: keys, Ctrl-C, SIGTERM, SIGHUP. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <wchar.h>

#include "cli/commands.h"
#include "cli/document.h"
#include "util/str.h"

enum { PATIENCE_MS = 5000 };

static const double *delay;
static const int64_t *count;
static bool once;

static const Option options[] = {
        {OPTION_REAL, 'd', "delay", "SECONDS", &delay, 0.1, 3600, "time between two views [1]"},
        {OPTION_INTEGER, 'n', "count", "N", &count, 1, 1e9, "end after N views"},
        {OPTION_FLAG, 0, "once", NULL, &once, .help = "one view as plain text; so it is where there is no terminal"},
        {OPTION_END},
};

/* ---- Snapshots ---- */

typedef struct Snapshot {
        json_t *status, *models;
        char *metrics;
        uint64_t usec;
} Snapshot;

static void snapshot_deinit(Snapshot *s) {
        json_decref(s->status);
        json_decref(s->models);
        free(s->metrics);
        *s = (Snapshot){0};
}

static int snapshot_take(ZlClient *client, Snapshot *ret, ZlError *e) {
        _cleanup_(snapshot_deinit) Snapshot s = {.usec = now_usec()};
        _cleanup_free_ char *status = NULL;
        ZlModels *models = NULL;
        int r = zl_status(client, &status, e);
        if (r == 0)
                r = zl_ps(client, &models, e);
        if (r == 0)
                r = zl_metrics(client, &s.metrics, e);
        if (r == 0) {
                json_auto_t *root = json_loads(models->json, JSON_ALLOW_NUL, NULL);
                s.status = json_loads(status, JSON_ALLOW_NUL, NULL);
                s.models = json_incref(json_object_get(root, "models"));
                *ret = s;
                s = (Snapshot){0};
        }
        zl_models_free(models);
        return r;
}

/* The value of a metric of one model, which is listed as "name:latest"; NAN: there is none. */
static double metric(const char *text, const char *name, const char *model) {
        _cleanup_buf_ Buf key = BUF_NULL;
        size_t n = strlen(model);
        const char *tag = strrchr(model, ':');
        if (tag && strcmp(tag, ":latest") == 0)
                n = (size_t)(tag - model);
        buf_printf(&key, "\n%s{model=\"", name);
        for (const char *p = model; p < model + n; p++) {
                if (*p == '"' || *p == '\\')
                        buf_putc(&key, '\\');
                if (*p != '\n')
                        buf_putc(&key, *p);
        }
        buf_puts(&key, "\"} ");
        const char *found = key.failed ? NULL : strstr(text, key.data);
        return found ? strtod(found + key.len, NULL) : NAN;
}

/* ---- The view ---- */

static void set_rate(json_t *object, double before, double now, double seconds) {
        bool known = isfinite(before) && isfinite(now) && now >= before && seconds > 0;
        json_object_set_new(object, "tokens_per_second", known ? json_real((now - before) / seconds) : json_null());
}

static json_t *view_models(const Snapshot *old, const Snapshot *new, double seconds) {
        static const char counter[] = "zerollama_generation_tokens_total";
        json_t *list = json_deep_copy(new->models), *m;
        size_t i;
        json_array_foreach(list, i, m) {
                const char *name = json_string_value(json_object_get(m, "name"));
                double before = name && old->metrics ? metric(old->metrics, counter, name) : NAN;
                double now = name ? metric(new->metrics, counter, name) : NAN;
                if (old->metrics && isnan(before)) /* its first tokens */
                        before = 0;
                json_object_del(m, "details");
                set_rate(m, before, now, seconds);
        }
        return list ? list : json_array();
}

static double user_tokens(const Snapshot *s, const json_t *uid) {
        const json_t *list = json_object_get(s->status, "users"), *u;
        size_t i;
        json_array_foreach(list, i, u)
                if (json_equal(json_object_get(u, "uid"), uid))
                        return json_number_value(json_object_get(u, "tokens"));
        return s->status ? 0 : NAN;
}

static json_t *view_users(const Snapshot *old, const Snapshot *new, double seconds, bool local) {
        json_t *list = json_deep_copy(json_object_get(new->status, "users")), *u;
        size_t i;
        if (local)
                name_users(list);
        json_array_foreach(list, i, u) {
                const json_t *uid = json_object_get(u, "uid");
                set_rate(u, user_tokens(old, uid), user_tokens(new, uid), seconds);
        }
        return list ? list : json_array();
}

/* `old` is all zeros for the first view. */
static json_t *view_new(const Snapshot *old, const Snapshot *new, bool local) {
        static const char *const kept[] = {"version", "uptime_seconds", "connections", "pools", "jobs"};
        double seconds = old->usec ? (double)(new->usec - old->usec) / 1e6 : 0;
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        json_t *view = json_pack("{s:f}", "time", (double)now.tv_sec + (double)(now.tv_nsec / 1000) / 1e6);
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                if (json_object_get(new->status, kept[i]))
                        json_object_set(view, kept[i], json_object_get(new->status, kept[i]));
        json_object_set_new(view, "models", view_models(old, new, seconds));
        json_object_set_new(view, "users", view_users(old, new, seconds, local));
        return view;
}

/* ---- As text ---- */

typedef enum Sort { SORT_NAME, SORT_RUNNING, SORT_RATE, N_SORTS } Sort;

static const char *const sort_names[N_SORTS] = {"name", "running", "tokens/s"};
static Sort sort_by;

static const char *text_of(const json_t *o, const char *key) {
        const char *s = json_string_value(json_object_get(o, key));
        return s ? s : "";
}

static double value_of(const json_t *o, const char *key) {
        return json_number_value(json_object_get(o, key));
}

static int compare_rows(const void *a, const void *b) {
        const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
        const char *key = sort_by == SORT_RUNNING ? "running" : "tokens_per_second";
        double d = sort_by == SORT_NAME ? 0 : value_of(y, key) - value_of(x, key);
        return d != 0 ? (d > 0) - (d < 0) : strcmp(text_of(x, "name"), text_of(y, "name"));
}

/* Calls `add` for the array's objects in the order wanted. */
static void add_sorted(const json_t *array, Table *t, void (*add)(Table *t, const json_t *row)) {
        size_t n = json_array_size(array);
        const json_t **rows = malloc((n + 1) * sizeof(const json_t *));
        for (size_t i = 0; rows && i < n; i++)
                rows[i] = json_array_get(array, i);
        if (rows)
                qsort((void *)rows, n, sizeof(const json_t *), compare_rows);
        for (size_t i = 0; rows && i < n; i++)
                add(t, rows[i]);
        free((void *)rows);
}

static const char *format_rate(const json_t *o, char *buf, size_t n) {
        const json_t *rate = json_object_get(o, "tokens_per_second");
        snprintf(buf, n, json_is_number(rate) ? "%.1f" : "-", json_number_value(rate));
        return buf;
}

static void add_pool(Table *t, const json_t *p) {
        char pid[32], running[32], waiting[32], restarts[32];
        bool there = value_of(p, "pid") > 0;
        table_add(t, (const char *[]){text_of(p, "name"), text_of(p, "device"), text_of(p, "state"),
                                      there ? member_text(p, "pid", pid, sizeof(pid)) : "",
                                      member_text(p, "running", running, sizeof(running)),
                                      member_text(p, "waiting", waiting, sizeof(waiting)),
                                      member_text(p, "restarts", restarts, sizeof(restarts))});
}

static void add_model(Table *t, const json_t *m) {
        char state[64], running[64], waiting[32], kv[32], rate[32];
        const json_t *used = json_object_get(m, "kv_used");
        if (strcmp(text_of(m, "state"), "loading") == 0)
                snprintf(state, sizeof(state), "loading %.0f%%", value_of(m, "progress") * 100);
        else
                snprintf(state, sizeof(state), "%s", text_of(m, "state"));
        snprintf(running, sizeof(running), "%.0f/%.0f", value_of(m, "running"), value_of(m, "slots"));
        snprintf(kv, sizeof(kv), json_is_number(used) ? "%.0f%%" : "-", json_number_value(used) * 100);
        table_add(t, (const char *[]){text_of(m, "name"), text_of(m, "pool"), state, running,
                                      member_text(m, "waiting", waiting, sizeof(waiting)), kv,
                                      format_rate(m, rate, sizeof(rate))});
}

static void add_user(Table *t, const json_t *u) {
        char uid[32], connections[32], running[32], waiting[32], rate[32];
        const char *name = text_of(u, "name");
        member_text(u, "uid", uid, sizeof(uid));
        table_add(t, (const char *[]){*name ? name : uid,
                                      member_text(u, "connections", connections, sizeof(connections)),
                                      member_text(u, "running", running, sizeof(running)),
                                      member_text(u, "waiting", waiting, sizeof(waiting)),
                                      format_rate(u, rate, sizeof(rate))});
}

static void write_table(FILE *f, const char *align, const char *const *titles, const json_t *rows,
                        void (*add)(Table *t, const json_t *row)) {
        Table *t = table_new(align);
        table_add(t, titles);
        add_sorted(rows, t, add);
        fputc('\n', f);
        table_write(t, f);
}

/* Each table's header follows an empty line; draw() relies on it. */
static void write_view(const json_t *view, FILE *f) {
        const json_t *jobs = json_object_get(view, "jobs");
        char up[64];
        fprintf(f, "zerollamad %s, up %s, %.0f connections, %.0f running, %.0f waiting, %.0f answered, %.0f failed\n",
                text_of(view, "version"),
                format_duration(up, sizeof(up), (uint64_t)fmax(value_of(view, "uptime_seconds"), 0) * 1000000),
                value_of(view, "connections"), value_of(jobs, "running"), value_of(jobs, "waiting"),
                value_of(jobs, "completed"), value_of(jobs, "failed"));
        write_table(f, "lllrrrr",
                    (const char *[]){"POOL", "DEVICE", "STATE", "ENGINE", "RUNNING", "WAITING", "RESTARTS"},
                    json_object_get(view, "pools"), add_pool);
        write_table(f, "lllrrrr", (const char *[]){"MODEL", "POOL", "STATE", "RUNNING", "WAITING", "KV", "TOKENS/s"},
                    json_object_get(view, "models"), add_model);
        write_table(f, "lrrrr", (const char *[]){"USER", "CONNECTIONS", "RUNNING", "WAITING", "TOKENS/s"},
                    json_object_get(view, "users"), add_user);
}

/* ---- The screen ---- */

static struct termios saved;
static volatile sig_atomic_t ended; /* the signal that ends us */

static void on_end(int sig) {
        ended = sig;
}

static void on_resize(int sig) {
        (void)sig; /* poll() returns, that is all */
}

static void screen_begin(void) {
        struct sigaction end = {.sa_handler = on_end}, resize = {.sa_handler = on_resize};
        sigaction(SIGTERM, &end, NULL);
        sigaction(SIGHUP, &end, NULL);
        sigaction(SIGQUIT, &end, NULL);
        sigaction(SIGWINCH, &resize, NULL);
        tcgetattr(STDIN_FILENO, &saved);
        struct termios raw = saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* the shell would be left on our screen */
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        fputs("\033[?1049h\033[?25l", stdout);
}

/* Dies of the signal that ended us, so that who sent it sees that it did. */
static void screen_end(void) {
        fputs("\033[?25h\033[?1049l", stdout);
        fflush(stdout);
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
        if (ended) {
                signal(ended, SIG_DFL);
                raise(ended);
        }
}

/* As much of a line as fits into `columns`. */
static void put_clipped(const char *line, size_t n, int columns) {
        mbstate_t state = {0};
        while (n > 0) {
                wchar_t wide;
                size_t k = mbrtowc(&wide, line, n, &state);
                bool good = k != 0 && k <= n;
                int width = good ? MAX(wcwidth(wide), 0) : 1;
                if (columns < width)
                        return;
                columns -= width;
                if (good)
                        fwrite(line, 1, k, stdout);
                else {
                        putchar('?');
                        state = (mbstate_t){0};
                        k = 1;
                }
                line += k;
                n -= k;
        }
}

static void draw(const char *text, const char *note, bool paused) {
        struct winsize size;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
                size = (struct winsize){.ws_row = 24, .ws_col = 80};
        bool header = false;
        fputs("\033[H", stdout);
        for (int row = 1; *text && row < size.ws_row; row++) {
                size_t n = strcspn(text, "\n");
                fputs(header ? "\033[1m" : "", stdout);
                put_clipped(text, n, size.ws_col);
                fputs(header ? "\033[0m\033[K\n" : "\033[K\n", stdout);
                header = n == 0;
                text += n + (text[n] == '\n');
        }
        char keys[256];
        snprintf(keys, sizeof(keys), "q quit  p %s  s sort (%s)%s%s", paused ? "go on" : "pause", sort_names[sort_by],
                 *note ? "  " : "", note);
        fprintf(stdout, "\033[J\033[%d;1H\033[2m", size.ws_row);
        put_clipped(keys, strlen(keys), size.ws_col);
        fputs("\033[0m", stdout);
        fflush(stdout);
}

/* ---- The loop ---- */

typedef struct Top {
        ZlClient *client;
        Snapshot old;
        json_t *view;        /* the last one; NULL: none yet */
        char note[160];      /* what went wrong last */
        bool local, paused;
} Top;

static int refresh(Top *t, ZlError *e) {
        Snapshot new = {0};
        int r = snapshot_take(t->client, &new, e);
        t->note[0] = 0;
        if (r < 0) {
                snprintf(t->note, sizeof(t->note), "%.150s", e->message);
                return r;
        }
        json_decref(t->view);
        t->view = view_new(&t->old, &new, t->local);
        snapshot_deinit(&t->old);
        t->old = new;
        return 0;
}

static void show(const Top *t) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        if (!f)
                return;
        if (t->view)
                write_view(t->view, f);
        fclose(f);
        if (text)
                draw(text, t->note, t->paused);
        free(text);
}

/* False: quit. */
static bool on_key(Top *t, char key) {
        if (key == 'p')
                t->paused = !t->paused;
        else if (key == 's')
                sort_by = (sort_by + 1) % N_SORTS;
        return key != 'q';
}

/* Shows the view until the next one is due; false: quit. */
static bool watch(Top *t, double seconds) {
        uint64_t end = now_usec() + (uint64_t)(seconds * 1e6), now;
        for (;;) {
                show(t);
                if (interrupted || ended)
                        return false;
                now = now_usec();
                if (now >= end && !t->paused)
                        return true;
                struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
                char key;
                /* At most a second: a signal that came just before poll() would else wait for all of the interval. */
                int wait_ms = now >= end ? 1000 : (int)MIN((end - now) / 1000 + 1, (uint64_t)1000);
                if (poll(&p, 1, wait_ms) <= 0)
                        continue;
                if (read(STDIN_FILENO, &key, 1) != 1 || !on_key(t, key))
                        return false;
        }
}

static int run_screen(Top *t, double seconds) {
        ZlError e;
        int r = refresh(t, &e); /* without a daemon there is nothing to watch; one that goes may come back */
        if (r < 0)
                return complain_error(&e);
        screen_begin();
        for (int64_t n = 1; watch(t, seconds) && (!count || n < *count); n++)
                refresh(t, &e);
        screen_end();
        return interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

static void print_view(const json_t *view) {
        if (!want_json)
                write_view(view, stdout);
        else {
                json_dumpf(view, stdout, JSON_COMPACT);
                putchar('\n');
        }
}

/* `n` views one after the other; 0: until something goes wrong. */
static int run_plain(Top *t, double seconds, int64_t n) {
        ZlError e;
        for (int64_t i = 1;; i++) {
                if (refresh(t, &e) < 0)
                        return complain_error(&e);
                print_view(t->view);
                if (fflush(stdout) != 0 || i == n)
                        return EXIT_OK;
                if (!want_json)
                        putchar('\n');
                if (poll(NULL, 0, (int)(seconds * 1000)) < 0 && interrupted)
                        return EXIT_INTERRUPTED;
        }
}

static int run(ZlClient *client, char **args) {
        Top t = {.client = client, .local = is_local(client)};
        double seconds = delay ? *delay : 1;
        bool screen = !once && !want_json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
        zl_client_set_timeout(client, PATIENCE_MS);
        zl_client_set_retries(client, 0, 0);
        int r = screen ? run_screen(&t, seconds)
                       : run_plain(&t, seconds, once ? 1 : count ? *count : want_json ? 0 : 1);
        json_decref(t.view);
        snapshot_deinit(&t.old);
        return r;
}

const Command cmd_top = {
        .name = "top",
        .arguments = "",
        .summary = "watch engines, models and users",
        .description =
                "On a terminal the keys are q (quit), p (pause) and s (sort). RUNNING of a model is how many requests "
                "are being answered, of how many at once; KV is how much of its cache is used. Tokens count when their "
                "request ends. With --json, one object for each view.",
        .options = {options},
        .run = run,
};
