/* What people see: aligned tables, colours where there is a terminal, times as "3 hours ago", errors on stderr. Text
 * from elsewhere must not command the terminal, so control characters do not reach one. */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "cli/cli.h"
#include "util/str.h"

void complain(const char *fmt, ...) {
        va_list ap;
        fflush(stdout);
        fputs("zerollama: ", stderr);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fputc('\n', stderr);
}

int complain_error(const ZlError *e) {
        if (e->code == -ECANCELED)
                return interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
        if (e->retry_after_ms > 0)
                complain("%s (try again in %.1f s)", e->message, (double)e->retry_after_ms / 1000);
        else
                complain("%s", e->message);
        return e->code == -ENOTCONN ? EXIT_UNREACHABLE : EXIT_FAILED;
}

static bool has_colour(FILE *f) {
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
        return isatty(fileno(f)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

const char *style_bold(FILE *f) {
        return has_colour(f) ? "\033[1m" : "";
}

const char *style_dim(FILE *f) {
        return has_colour(f) ? "\033[2m" : "";
}

const char *style_off(FILE *f) {
        return has_colour(f) ? "\033[0m" : "";
}

/* C0 controls except tab and newline, and DEL. The C1 controls of UTF-8 are two bytes that terminals ignore. */
static bool is_control(char c) {
        return ((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
}

bool print_text(const char *text, size_t n) {
        if (!isatty(STDOUT_FILENO))
                fwrite(text, 1, n, stdout);
        else
                for (size_t i = 0; i < n; i++)
                        if (!is_control(text[i]))
                                putchar(text[i]);
        return fflush(stdout) == 0;
}

int print_json(const char *json) {
        puts(json);
        return EXIT_OK;
}

/* ---- Tables ---- */

struct Table {
        const char *align;
        size_t columns, rows;
        char **cells;
};

Table *table_new(const char *align) {
        Table *t = calloc(1, sizeof(*t));
        if (!t)
                abort();
        t->align = align;
        t->columns = strlen(align);
        return t;
}

void table_add(Table *t, const char *const *cells) {
        char **more = realloc(t->cells, (t->rows + 1) * t->columns * sizeof(*more));
        if (!more)
                abort();
        t->cells = more;
        for (size_t i = 0; i < t->columns; i++) {
                char *copy = strdup(cells[i] && *cells[i] ? cells[i] : "-");
                if (!copy)
                        abort();
                for (char *p = copy; *p; p++)
                        if (is_control(*p) || *p == '\n' || *p == '\t')
                                *p = '?';
                t->cells[t->rows * t->columns + i] = copy;
        }
        t->rows++;
}

/* Columns on the screen. */
static size_t display_width(const char *s) {
        wchar_t wide[512];
        size_t n = mbstowcs(wide, s, ARRAY_SIZE(wide));
        int w = n == (size_t)-1 || n >= ARRAY_SIZE(wide) ? -1 : wcswidth(wide, n);
        return w < 0 ? strlen(s) : (size_t)w;
}

static size_t column_width(const Table *t, size_t column) {
        size_t widest = 0;
        for (size_t r = 0; r < t->rows; r++)
                widest = MAX(widest, display_width(t->cells[r * t->columns + column]));
        return widest;
}

void table_write(Table *t, FILE *f) {
        for (size_t r = 0; r < t->rows; r++) {
                fputs(r == 0 ? style_bold(f) : "", f);
                for (size_t c = 0; c < t->columns; c++) {
                        const char *cell = t->cells[r * t->columns + c];
                        int pad = (int)(column_width(t, c) - display_width(cell));
                        bool last = c + 1 == t->columns;
                        if (t->align[c] == 'r')
                                fprintf(f, "%*s%s", pad, "", cell);
                        else
                                fprintf(f, "%s%*s", cell, last ? 0 : pad, "");
                        fputs(last ? "" : "  ", f);
                }
                fprintf(f, "%s\n", r == 0 ? style_off(f) : "");
        }
        for (size_t i = 0; i < t->rows * t->columns; i++)
                free(t->cells[i]);
        free(t->cells);
        free(t);
}

void table_print(Table *t) {
        table_write(t, stdout);
}

/* ---- Times ---- */

/* Seconds since 1970 of "2026-01-02T03:04:05[.678][Z|+01:00]"; false when it is none. */
static bool parse_iso(const char *s, time_t *ret) {
        struct tm tm = {0};
        int hours = 0, minutes = 0;
        const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!p)
                return false;
        if (*p == '.')
                p += 1 + strspn(p + 1, "0123456789");
        if ((*p == '+' || *p == '-') && sscanf(p + 1, "%2d:%2d", &hours, &minutes) < 1)
                return false;
        *ret = timegm(&tm) - (*p == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
        return true;
}

void format_when(const char *iso, char *buf, size_t n) {
        static const struct {
                long seconds;
                const char *name;
        } units[] = {{365 * 86400, "year"}, {30 * 86400, "month"}, {7 * 86400, "week"}, {86400, "day"},
                     {3600, "hour"}, {60, "minute"}, {1, "second"}};
        time_t t;
        if (!parse_iso(iso, &t)) {
                snprintf(buf, n, "%s", iso);
                return;
        }
        long d = (long)(t - time(NULL)), a = labs(d);
        size_t u = 0;
        while (u + 1 < ARRAY_SIZE(units) && a < units[u].seconds)
                u++;
        long count = a / units[u].seconds;
        if (d > 100L * 365 * 86400)
                snprintf(buf, n, "never");
        else
                snprintf(buf, n, "%s%ld %s%s%s", d > 0 ? "in " : "", count, units[u].name, count == 1 ? "" : "s",
                         d > 0 ? "" : " ago");
}
