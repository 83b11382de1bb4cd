/* A picture of curves, in SVG 1.1 with nothing but lines, circles and text, so that every viewer shows it.
 *
 * The x axis is logarithmic, as load doubles from stage to stage. A y axis begins at 0 and is linear, unless its values
 * span more than a factor of LOG_FROM: then it is logarithmic too, or the small half of the curve would lie on the
 * axis. Ticks are 1, 2 or 5 times a power of ten. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/plot.h"
#include "util/str.h"

enum {
        WIDTH = 800,
        LEFT_EDGE = 90,
        RIGHT_EDGE = WIDTH - 30,
        TOP = 86,
        PANEL_HEIGHT = 260,
        PANEL_GAP = 56,
        BOTTOM = 64,
        LOG_FROM = 40,
};

/* Distinct also to eyes that tell red and green apart badly. */
static const char *const colours[PLOT_SERIES] = {"#0060a8", "#d55e00", "#777777"};

typedef struct Axis {
        double min, max;   /* values at its ends */
        double from, to;   /* where those are in the picture */
        bool log;
} Axis;

static double place(const Axis *a, double v) {
        double f = a->log ? log(v / a->min) / log(a->max / a->min) : (v - a->min) / (a->max - a->min);
        return a->from + f * (a->to - a->from);
}

/* Text as XML wants it: no markup, no control characters, whole characters. */
static void put_text(Buf *out, const char *s) {
        size_t n = strlen(s);
        bool bad, valid = utf8_valid_prefix(s, n, &bad) == n;
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                if (c == '<' || c == '>' || c == '&' || c == '"')
                        buf_printf(out, "&#%d;", c);
                else
                        buf_putc(out, c < 0x20 || c == 0x7f || (c >= 0x80 && !valid) ? '?' : *s);
        }
}

static void put_label(Buf *out, double x, double y, const char *attributes, const char *text) {
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
        put_text(out, text);
        buf_puts(out, "</text>\n");
}

static void put_line(Buf *out, double x1, double y1, double x2, double y2, const char *attributes) {
        buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, attributes);
}

/* "0.25", "1,500" as people read it: "1.5k" */
static void format_tick(char *buf, size_t n, double v) {
        if (v >= 1e6)
                snprintf(buf, n, "%gM", v / 1e6);
        else if (v >= 1e4)
                snprintf(buf, n, "%gk", v / 1e3);
        else
                snprintf(buf, n, "%.4g", v);
}

/* ---- Axes ---- */

/* 1, 2 or 5 times a power of ten: the largest that is not above `v`, or the smallest that is not below. */
static double round_tick(double v, bool up) {
        static const double steps[] = {1, 2, 5, 10};
        double decade = pow(10, floor(log10(v)));
        double best = up ? 10 : 1;
        for (int i = 0; i < 4; i++) {
                double s = up ? steps[3 - i] : steps[i];
                if (up ? s * decade >= v * (1 - 1e-9) : s * decade <= v * (1 + 1e-9))
                        best = s;
        }
        return best * decade;
}

static Axis y_axis(const Plot *p, const PlotPanel *panel, double top) {
        double least = INFINITY, most = 0;
        for (size_t s = 0; s < PLOT_SERIES; s++)
                for (size_t i = 0; panel->series[s].name && i < p->n; i++) {
                        double v = panel->series[s].y[i];
                        if (v > 0) {
                                least = fmin(least, v);
                                most = fmax(most, v);
                        }
                }
        if (most == 0)
                least = most = 1;
        Axis a = {.from = top + PANEL_HEIGHT, .to = top, .log = most / least > LOG_FROM};
        double step = round_tick(most / 6, true);
        a.min = a.log ? round_tick(least, false) : 0;
        a.max = a.log ? round_tick(most, true) : step * ceil(most / step - 1e-9);
        return a;
}

static Axis x_axis(const Plot *p) {
        Axis a = {.min = p->x[0], .max = p->x[p->n - 1], .from = LEFT_EDGE + 12, .to = RIGHT_EDGE - 12, .log = true};
        if (a.min == a.max) {
                a.min /= 2;
                a.max *= 2;
        }
        return a;
}

static void put_y_tick(Buf *out, const Axis *a, double v) {
        char text[32];
        double y = place(a, v);
        format_tick(text, sizeof(text), v);
        put_line(out, LEFT_EDGE, y, RIGHT_EDGE, y, "stroke=\"#dddddd\"");
        put_label(out, LEFT_EDGE - 8, y + 4, "text-anchor=\"end\"", text);
}

static void put_y_ticks(Buf *out, const Axis *a) {
        if (a->log) {
                bool few = a->max / a->min <= 1e4;
                for (double v = a->min; v <= a->max * 1.0001; v = round_tick(v * 1.5, true))
                        if (few || fabs(log10(v) - round(log10(v))) < 1e-6)
                                put_y_tick(out, a, v);
                return;
        }
        double step = round_tick(a->max / 6, true);
        for (int i = 0; step * i <= a->max * 1.0001; i++)
                put_y_tick(out, a, step * i);
}

/* A tick at each x, labelled where there is room. */
static void put_x_ticks(const Plot *p, const Axis *a, double bottom, bool labels, Buf *out) {
        double last = -INFINITY;
        for (size_t i = 0; i < p->n; i++) {
                char text[32];
                double x = place(a, p->x[i]);
                put_line(out, x, bottom, x, bottom + 5, "stroke=\"#333333\"");
                format_tick(text, sizeof(text), p->x[i]);
                if (!labels || x - last < 36)
                        continue;
                put_label(out, x, bottom + 20, "text-anchor=\"middle\"", text);
                last = x;
        }
}

/* ---- Curves ---- */

static void put_series(const Plot *p, const PlotSeries *s, const char *colour, const Axis *x, const Axis *y, Buf *out) {
        bool down = false;
        buf_printf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s d=\"", colour,
                   s->dashed ? " stroke-dasharray=\"7 5\"" : "");
        for (size_t i = 0; i < p->n; i++) {
                bool there = isfinite(s->y[i]) && (s->y[i] > 0 || !y->log);
                if (there)
                        buf_printf(out, "%c%.1f %.1f", down ? 'L' : 'M', place(x, p->x[i]), place(y, s->y[i]));
                down = there;
        }
        buf_puts(out, "\"/>\n");
        for (size_t i = 0; !s->dashed && i < p->n; i++)
                if (isfinite(s->y[i]) && (s->y[i] > 0 || !y->log))
                        buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n",
                                   place(x, p->x[i]), place(y, s->y[i]), colour);
}

/* One row above the panel. */
static void put_legend(const PlotPanel *panel, double top, Buf *out) {
        double x = RIGHT_EDGE;
        for (int s = PLOT_SERIES - 1; s >= 0; s--) {
                const PlotSeries *series = &panel->series[s];
                char attributes[96];
                if (!series->name)
                        continue;
                x -= 8.0 * (double)strlen(series->name);
                put_label(out, x, top - 8, "", series->name);
                snprintf(attributes, sizeof(attributes), "stroke=\"%s\" stroke-width=\"2\"%s", colours[s],
                         series->dashed ? " stroke-dasharray=\"7 5\"" : "");
                put_line(out, x - 34, top - 12, x - 6, top - 12, attributes);
                x -= 50;
        }
}

static void put_panel(const Plot *p, const PlotPanel *panel, double top, bool last, Buf *out) {
        Axis x = x_axis(p), y = y_axis(p, panel, top);
        double bottom = top + PANEL_HEIGHT;
        put_label(out, LEFT_EDGE, top - 8, "font-weight=\"bold\"", panel->label);
        put_legend(panel, top, out);
        put_y_ticks(out, &y);
        put_x_ticks(p, &x, bottom, last, out);
        put_line(out, LEFT_EDGE, top, LEFT_EDGE, bottom, "stroke=\"#333333\"");
        put_line(out, LEFT_EDGE, bottom, RIGHT_EDGE, bottom, "stroke=\"#333333\"");
        for (size_t s = PLOT_SERIES; s-- > 0;) /* the first one on top */
                if (panel->series[s].name)
                        put_series(p, &panel->series[s], colours[s], &x, &y, out);
        if (last)
                put_label(out, (LEFT_EDGE + RIGHT_EDGE) / 2.0, bottom + 46, "text-anchor=\"middle\"", p->x_label);
}

void plot_svg(const Plot *p, Buf *out) {
        int n = 0;
        while (n < PLOT_PANELS && p->panels[n].label)
                n++;
        int height = TOP + n * PANEL_HEIGHT + (n - 1) * PANEL_GAP + BOTTOM;
        buf_printf(out,
                   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n"
                   "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                   WIDTH, height, WIDTH, height);
        put_label(out, LEFT_EDGE, 28, "font-size=\"18\" font-weight=\"bold\"", p->title);
        put_label(out, LEFT_EDGE, 48, "fill=\"#555555\"", p->subtitle);
        for (int i = 0; p->n > 0 && i < n; i++)
                put_panel(p, &p->panels[i], TOP + i * (PANEL_HEIGHT + PANEL_GAP), i + 1 == n, out);
        buf_puts(out, "</svg>\n");
}
