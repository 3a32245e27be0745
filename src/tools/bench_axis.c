/* Axes: what lies where, and what is written at it. */
#include "bench_plot.h"
#include <math.h>
#include <stdlib.h>

#define TICKS_MAX (sizeof(((struct axis *)NULL)->tick) / sizeof(double))

static double scale(enum axis_kind kind, double v)
{
	if (kind == AXIS_LINEAR)
		return v;
	if (kind == AXIS_NINES)
		return v < 1 ? -log10(1 - v) : 5;
	return log10(v > 0 ? v : 1);
}

double plot_place(const struct axis *a, double v)
{
	return (scale(a->kind, v) - a->low) / (a->high - a->low);
}

const char *plot_text(enum axis_kind kind, double v, char buf[32])
{
	static const char *const time[] = {"ns", "us", "ms", "s"};
	unsigned i = 0;

	switch (kind) {
	case AXIS_NS:
		for (; i < 3 && v >= 999.5; i++)
			v /= 1000;
		snprintf(buf, 32, v < 10 ? "%.2g %s" : "%.0f %s", v, time[i]);
		break;
	case AXIS_BYTES:
		bench_size((uint64_t)v, buf);
		break;
	case AXIS_COUNT:
		snprintf(buf, 32, v >= 1e6 ? "%.0f M" : v >= 1e3 ? "%.0f k" : "%.0f", v >= 1e6 ? v / 1e6 : v >= 1e3 ? v / 1e3 : v);
		break;
	case AXIS_NINES:
		snprintf(buf, 32, "p%.6g", v * 100);
		break;
	default:
		snprintf(buf, 32, "%.3g", v);
	}
	return buf;
}

static void add_tick(struct axis *a, double v)
{
	unsigned i;

	for (i = 0; i < a->ticks; i++)
		if (fabs(scale(a->kind, a->tick[i]) - scale(a->kind, v)) < 1e-9)
			return;
	if (a->ticks < TICKS_MAX)
		a->tick[a->ticks++] = v;
}

/* 1, 2, 5 of each decade; where there are many decades, only 1. */
static void decade_ticks(struct axis *a)
{
	static const double part[] = {1, 2, 5};
	int decade, first = (int)floor(a->low), last = (int)ceil(a->high);
	unsigned i;

	for (decade = first; decade <= last; decade++) {
		for (i = 0; i < (a->high - a->low > 2.5 ? 1u : 3u); i++) {
			double v = part[i] * pow(10, decade);

			if (log10(v) >= a->low && log10(v) <= a->high)
				add_tick(a, v);
		}
	}
}

static void even_ticks(struct axis *a)
{
	double step = 0.5;
	unsigned i;

	while (a->high / step > 10)
		step *= 2;
	for (i = 0; i * step <= a->high; i++)
		add_tick(a, i * step);
}

/* A tick at each of the data's own places. */
static void range_of(struct axis *a, json_t *lines, size_t which, bool ticks)
{
	json_t *points, *point;
	const char *name;
	size_t i;

	a->low = INFINITY;
	a->high = -INFINITY;
	json_object_foreach (lines, name, points) {
		json_array_foreach (points, i, point) {
			double v = json_number_value(json_array_get(point, which));

			a->low = fmin(a->low, scale(a->kind, v));
			a->high = fmax(a->high, scale(a->kind, v));
			if (ticks)
				add_tick(a, v);
		}
	}
}

void plot_axis(struct axis *a, enum axis_kind kind, json_t *lines, size_t which)
{
	static const double nines[] = {0, 0.5, 0.9, 0.99, 0.999, 0.9999};
	unsigned i;

	*a = (struct axis){.kind = kind};
	range_of(a, lines, which, kind == AXIS_BYTES || kind == AXIS_COUNT);
	if (kind == AXIS_LINEAR) {
		a->low = 0;
		a->high *= 1.1;
		even_ticks(a);
	} else if (kind == AXIS_NINES) {
		a->low = 0;
		a->high = 4.1;
		for (i = 0; i < sizeof(nines) / sizeof(nines[0]); i++)
			add_tick(a, nines[i]);
	} else {
		a->low -= 0.06 * (a->high - a->low) + 0.02;
		a->high += 0.06 * (a->high - a->low) + 0.02;
		if (kind == AXIS_NS)
			decade_ticks(a);
	}
}
