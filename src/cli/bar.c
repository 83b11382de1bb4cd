/* A bar of progress: one line on stderr, when that is a terminal, drawn over itself at most ten times a second. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "util/str.h"

enum { BAR_WIDTH = 24, INTERVAL_USEC = 100000 };

static bool shown;
static uint64_t next_usec;

bool bar_is_due(void) {
        return isatty(STDERR_FILENO) && now_usec() >= next_usec;
}

static int terminal_width(void) {
        struct winsize size;
        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

void bar_show(double fraction, const char *fmt, ...) {
        static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
        char text[256];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        fputs("\r\033[K", stderr);
        int room = terminal_width() - 1;
        if (isfinite(fraction)) {
                int eighths = (int)(fmin(fmax(fraction, 0), 1) * BAR_WIDTH * 8), cells = 0;
                for (; cells < eighths / 8; cells++)
                        fputs("█", stderr);
                if (eighths % 8)
                        cells += fprintf(stderr, "%s", parts[eighths % 8]) > 0;
                fprintf(stderr, "%*s ", BAR_WIDTH - cells, "");
                room -= BAR_WIDTH + 1;
        }
        fprintf(stderr, "%s%.*s%s", style_dim(stderr), MAX(room, 0), text, style_off(stderr));
        shown = true;
        next_usec = now_usec() + INTERVAL_USEC;
}

void bar_clear(void) {
        if (shown)
                fputs("\r\033[K", stderr);
        shown = false;
        next_usec = 0;
}
