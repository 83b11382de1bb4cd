/* Curves as an SVG picture: panels one below the other over the same x axis. */
#pragma once

#include <stddef.h>

#include "util/buf.h"

enum { PLOT_SERIES = 3, PLOT_PANELS = 2 };

typedef struct PlotSeries {
        const char *name;  /* NULL: none */
        const double *y;   /* as many as the plot has x; NAN: no point */
        bool dashed;
} PlotSeries;

typedef struct PlotPanel {
        const char *label; /* of the y axis; NULL: no panel */
        PlotSeries series[PLOT_SERIES];
} PlotPanel;

typedef struct Plot {
        const char *title, *subtitle, *x_label;
        const double *x;   /* positive, ascending; its axis is logarithmic, base 2 */
        size_t n;
        PlotPanel panels[PLOT_PANELS];
} Plot;

void plot_svg(const Plot *p, Buf *out);
