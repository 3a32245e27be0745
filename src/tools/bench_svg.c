/* The pictures: an SVG file for each plot, for light and dark pages. */
#include "bench_plot.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define WIDTH  720
#define LEFT   84
#define RIGHT  24
#define TOP    52
#define INNER  300			/* height of the plot's area */
#define BOTTOM 58			/* ticks and the label of x */
#define ROW    20			/* of the legend */
#define COLOURS 8u

static const struct plot plots[] = {
	{"latency_create", "create of an empty file: how long a call takes", "time of a call", "share of calls that take at most so long", AXIS_NS, AXIS_NINES},
	{"latency_overwrite", "overwrite of 4 KiB at random: how long a call takes", "time of a call", "share of calls that take at most so long", AXIS_NS, AXIS_NINES},
	{"latency_read", "read of 4 KiB at random: how long a call takes", "time of a call", "share of calls that take at most so long", AXIS_NS, AXIS_NINES},
	{"latency_pin", "pin and unpin of a 2 MiB frame: how long a pair takes", "time of a pair", "share of pairs that take at most so long", AXIS_NS, AXIS_NINES},
	{"read", "read at random, by size", "bytes of a call", "time of a call", AXIS_BYTES, AXIS_NS},
	{"overwrite", "overwrite at random, by size", "bytes of a call", "time of a call", AXIS_BYTES, AXIS_NS},
	{"append", "append, by size", "bytes of a call", "time of a call", AXIS_BYTES, AXIS_NS},
	{"names", "operations on names, by the size of the directory", "names in the directory", "time of a call", AXIS_COUNT, AXIS_NS},
	{"threads", "throughput of several threads, against one", "threads", "times the throughput of one", AXIS_COUNT, AXIS_LINEAR},
	{"threads_pins", "throughput of several threads that pin, against one", "threads", "times the throughput of one", AXIS_COUNT, AXIS_LINEAR},
	{"mount_files", "mount and fsck, by the number of files (1 TiB, sparse)", "files", "time", AXIS_COUNT, AXIS_NS},
	{"mount_size", "mount and fsck, by the size of the volume (1,000 files, sparse)", "size of the volume", "time", AXIS_BYTES, AXIS_NS},
};

/* Two sets of colours that differ in lightness too; a dash pattern each, for who sees no colours. */
static const char *const light[COLOURS] = {"#0b57d0", "#c4460a", "#1b7a3d", "#8a2be2", "#8d6a00", "#c2185b", "#00707f", "#5f6368"};
static const char *const dark[COLOURS] = {"#7cacf8", "#ff9a5c", "#6dd58c", "#c58af9", "#e6c229", "#ff8bb5", "#5cd6e6", "#bdc1c6"};
static const char *const dash[COLOURS] = {"none", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4", "6 2 1 2"};

static void put_text(FILE *to, const char *s)
{
	for (; *s; s++) {
		if (*s == '<')
			fputs("&lt;", to);
		else if (*s == '&')
			fputs("&amp;", to);
		else
			fputc(*s < 32 || *s > 126 ? '?' : *s, to);
	}
}

static void put_style(FILE *to)
{
	unsigned i;

	fputs("<style>.bg{fill:#ffffff}text{fill:#202124}.grid{stroke:#dadce0}.frame{stroke:#5f6368;fill:none}", to);
	for (i = 0; i < COLOURS; i++)
		fprintf(to, ".l%u{stroke:%s;fill:none}.p%u{fill:%s}", i, light[i], i, light[i]);
	fputs("\n@media(prefers-color-scheme:dark){.bg{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}.frame{stroke:#8b949e}", to);
	for (i = 0; i < COLOURS; i++)
		fprintf(to, ".l%u{stroke:%s}.p%u{fill:%s}", i, dark[i], i, dark[i]);
	fputs("}</style>\n", to);
}

static double x_of(const struct axis *a, double v)
{
	return LEFT + plot_place(a, v) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct axis *a, double v)
{
	return TOP + (1 - plot_place(a, v)) * INNER;
}

static void put_axes(FILE *to, const struct plot *p, const struct axis *x, const struct axis *y)
{
	char text[32];
	unsigned i;

	for (i = 0; i < x->ticks; i++) {
		double at = x_of(x, x->tick[i]);

		fprintf(to, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at, at,
			TOP, TOP + INNER, at, TOP + INNER + 18, plot_text(x->kind, x->tick[i], text));
	}
	for (i = 0; i < y->ticks; i++) {
		double at = y_of(y, y->tick[i]);

		fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT,
			WIDTH - RIGHT, at, at, LEFT - 6, at + 4, plot_text(y->kind, y->tick[i], text));
	}
	fprintf(to, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", LEFT, TOP, WIDTH - LEFT - RIGHT, INNER);
	fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2, TOP + INNER + 40, p->x_label);
	fprintf(to, "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", TOP + INNER / 2, p->y_label);
}

static void put_mark(FILE *to, unsigned colour, double x, double y, const char *what, const char *line)
{
	fprintf(to, "<circle class=\"p%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>", colour, x, y);
	put_text(to, line);
	fprintf(to, ": %s</title></circle>\n", what);
}

/* The first point at or above a share. */
static double at_share(json_t *points, double share)
{
	json_t *point;
	size_t i;

	json_array_foreach (points, i, point)
		if (json_number_value(json_array_get(point, 1)) >= share - 1e-9)
			return json_number_value(json_array_get(point, 0));
	return NAN;
}

static void put_line(FILE *to, const struct axis *x, const struct axis *y, const char *name, json_t *points, unsigned colour)
{
	static const double shares[] = {0.5, 0.99, 0.999};
	char text[32], what[80];
	json_t *point;
	size_t i;

	fprintf(to, "<polyline class=\"l%u\" stroke-width=\"2\" stroke-dasharray=\"%s\" points=\"", colour, dash[colour]);
	json_array_foreach (points, i, point)
		fprintf(to, "%.1f,%.1f ", x_of(x, json_number_value(json_array_get(point, 0))), y_of(y, json_number_value(json_array_get(point, 1))));
	fputs("\"/>\n", to);
	for (i = 0; y->kind == AXIS_NINES && i < 3; i++) {
		double v = at_share(points, shares[i]);

		snprintf(what, sizeof(what), "p%g %s", shares[i] * 100, plot_text(AXIS_NS, v, text));
		put_mark(to, colour, x_of(x, v), y_of(y, shares[i]), what, name);
	}
	if (y->kind == AXIS_NINES)
		return;
	json_array_foreach (points, i, point) {
		double px = json_number_value(json_array_get(point, 0)), py = json_number_value(json_array_get(point, 1));

		snprintf(what, sizeof(what), "%s", plot_text(x->kind, px, text));
		snprintf(what + strlen(what), sizeof(what) - strlen(what), ", %s", plot_text(y->kind, py, text));
		put_mark(to, colour, x_of(x, px), y_of(y, py), what, name);
	}
}

/* Beneath; of a distribution with its figures. */
static void put_legend(FILE *to, const struct axis *y, const char *name, json_t *points, unsigned colour, int at)
{
	char p50[32], p99[32], p999[32];

	fprintf(to, "<line class=\"l%u\" stroke-width=\"2\" stroke-dasharray=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", colour, dash[colour], LEFT,
		LEFT + 36, at - 4, at - 4);
	fprintf(to, "<text x=\"%d\" y=\"%d\">", LEFT + 44, at);
	put_text(to, name);
	if (y->kind == AXIS_NINES)
		fprintf(to, ": p50 %s, p99 %s, p99.9 %s", plot_text(AXIS_NS, at_share(points, 0.5), p50), plot_text(AXIS_NS, at_share(points, 0.99), p99),
			plot_text(AXIS_NS, at_share(points, 0.999), p999));
	fputs("</text>\n", to);
}

void plot_write(FILE *to, const struct plot *p, json_t *lines, const char *who)
{
	int height = TOP + INNER + BOTTOM + (int)json_object_size(lines) * ROW + 12, at = TOP + INNER + BOTTOM + 14;
	struct axis x, y;
	const char *name;
	unsigned colour = 0;
	json_t *points;

	plot_axis(&x, p->x, lines, 0);
	plot_axis(&y, p->y, lines, 1);
	fprintf(to,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n"
		"<title>%s</title>\n",
		WIDTH, height, WIDTH, height, p->title);
	put_style(to);
	fprintf(to, "<rect class=\"bg\" width=\"100%%\" height=\"100%%\"/>\n<text x=\"%d\" y=\"22\" font-size=\"16\">%s</text>\n", LEFT, p->title);
	fprintf(to, "<text x=\"%d\" y=\"40\" font-size=\"11\">", LEFT);
	put_text(to, who);
	fprintf(to, "%s</text>\n", p->y == AXIS_NINES ? "; the time of the timer itself is taken off" : "; medians");
	put_axes(to, p, &x, &y);
	json_object_foreach (lines, name, points) {
		put_line(to, &x, &y, name, points, colour % COLOURS);
		put_legend(to, &y, name, points, colour % COLOURS, at);
		colour++;
		at += ROW;
	}
	fputs("</svg>\n", to);
}

static int plot_file(const struct plot *p, json_t *lines, const char *dir, const char *who)
{
	char path[4096];
	bool bad;
	FILE *to;

	snprintf(path, sizeof(path), "%s/%s.svg", dir, p->name);
	to = fopen(path, "we");
	if (to)
		plot_write(to, p, lines, who);
	bad = !to || ferror(to);
	bad = (to && fclose(to) != 0) || bad;
	if (bad)
		tool_error("%s: cannot be written: %s", path, strerror(errno));
	return bad ? EXIT_FAILED : EXIT_OK;
}

int bench_svg(const struct bench *b, const char *dir, const char *volume)
{
	char who[512], day[16];
	int status = EXIT_OK;
	time_t now = time(NULL);
	struct tm tm;
	json_t *lines;
	size_t i;

	strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&now, &tm));
	snprintf(who, sizeof(who), "holdfast bench%s, %s, %d processors, %.300s", b->quick ? " --quick (means nothing)" : "", day, get_nprocs(),
		 volume ? volume : "a volume in memory");
	for (i = 0; i < sizeof(plots) / sizeof(plots[0]) && status == EXIT_OK; i++) {
		lines = json_object_get(b->plots, plots[i].name);
		if (lines)
			status = plot_file(&plots[i], lines, dir, who);
	}
	return status;
}

int bench_svg_ready(const char *dir)
{
	struct stat st;

	if ((mkdir(dir, 0777) && errno != EEXIST) || stat(dir, &st) || access(dir, W_OK | X_OK)) {
		tool_error("%s: plots cannot be written there: %s", dir, strerror(errno));
		return EXIT_FAILED;
	}
	if (!S_ISDIR(st.st_mode)) {
		tool_error("%s is no directory", dir);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}
