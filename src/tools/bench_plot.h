/* Plots of the points that rows left: one self-contained SVG file each. */
#ifndef HF_TOOLS_BENCH_PLOT_H
#define HF_TOOLS_BENCH_PLOT_H

#include "bench.h"
#include <stdio.h>

enum axis_kind {
	AXIS_NS,			/* logarithmic; "2 us" */
	AXIS_BYTES,			/* logarithmic, a tick at each x that is there; "4 KiB" */
	AXIS_COUNT,			/* the same; "1 M" */
	AXIS_LINEAR,			/* from 0 */
	AXIS_NINES,			/* of a share: how many nines it has; "p99.9" */
};

struct plot {
	const char *name;		/* of its points, and its file */
	const char *title, *x_label, *y_label;
	enum axis_kind x, y;
};

struct axis {
	enum axis_kind kind;
	double low, high;		/* on the scale: logarithms, nines */
	double tick[24];
	unsigned ticks;
};
/* Of what all lines have at index 'which' of their points: 0: x, 1: y. */
void plot_axis(struct axis *a, enum axis_kind kind, json_t *lines, size_t which);
double plot_place(const struct axis *a, double v);	/* 0 to 1 */
const char *plot_text(enum axis_kind kind, double v, char buf[32]);
void plot_write(FILE *to, const struct plot *p, json_t *lines, const char *who);

/* DIR exists, or was made, and files can be made in it: EXIT_OK, or EXIT_FAILED and it was said. */
int bench_svg_ready(const char *dir);
/* Every plot that has points. */
int bench_svg(const struct bench *b, const char *dir, const char *volume);

#endif
