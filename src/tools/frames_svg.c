/* The map of frames as a picture: one self-contained SVG file. */
#include "frames.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CELL      10u			/* pixels */
#define COLS_MAX  96u
#define ROWS_MAX  96u
#define LEFT      80u
#define TOP       64u
#define LEGEND    18u

static const struct {
	const char *fill, *text;
} paint[FR_STATES] = {
	[FR_FREE] = {"#eceff1", "free"},
	[FR_METADATA] = {"#1565c0", "metadata, more than half"},
	[FR_SPLIT] = {"#ffb300", "split: the fuller, the darker"},
	[FR_HUGE] = {"#2e7d32", "huge: one 2 MiB page of one file"},
	[FR_PINNED] = {"#8e24aa", "pinned, some of it"},
	[FR_BUSY] = {"#d50000", "busy: left its file while pinned"},
};
static const char *const split_fill[9] = {"",	     "#fff3c4", "#ffe69a", "#ffd970", "#ffcc46",
					  "#ffbf1c", "#f5a800", "#db9000", "#b87400"};

static const char *fill_of(const struct frame_run *r)
{
	if (r->state == FR_FREE && r->eighths)
		return "#b0bec5";
	return r->state == FR_SPLIT ? split_fill[r->eighths] : paint[r->state].fill;
}

/* For text and attributes. Bytes that XML cannot hold become '?'. */
static void put_escaped(FILE *to, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '<')
			fputs("&lt;", to);
		else if (c == '&')
			fputs("&amp;", to);
		else if (c == '"')
			fputs("&quot;", to);
		else
			fputc(c < 32 || c > 126 ? '?' : c, to);
	}
}

static void put_rect(FILE *to, const struct frame_map *m, unsigned x, unsigned y, unsigned w, const struct frame_run *r)
{
	char text[768];

	fprintf(to, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\"><title>", x, y, w, CELL - 1, fill_of(r));
	put_escaped(to, frame_run_text(m, r, text, sizeof(text)));
	fputs("</title></rect>\n", to);
}

/* One rectangle for each run of cells that look alike, and its sums as the tooltip. */
static void put_row(FILE *to, const struct frame_map *m, uint64_t first, uint64_t per_cell, unsigned y)
{
	struct frame_run run, next;
	unsigned c = 0, width;
	uint64_t f = first;
	char at[32];

	fprintf(to, "<text x=\"%u\" y=\"%u\" text-anchor=\"end\">%s</text>\n", LEFT - 8, y + CELL - 1, tool_human(f * HF_FRAME_SIZE, at));
	while (c < COLS_MAX && f < m->n) {
		run = frames_cell(m, f, per_cell);
		for (width = 1, f += per_cell; c + width < COLS_MAX && f < m->n; width++, f += per_cell) {
			next = frames_cell(m, f, per_cell);
			if (!frame_run_alike(&run, &next))
				break;
			frame_run_add(&run, &next);
		}
		put_rect(to, m, LEFT + c * CELL, y, width * CELL - 1, &run);
		c += width;
	}
}

static void put_legend(FILE *to, const struct frame_map *m, unsigned y)
{
	struct frame_sum sum[FR_STATES];
	char bytes[32];
	unsigned s, k;

	frames_sum(m, sum);
	for (s = 0; s < FR_STATES; s++, y += LEGEND) {
		for (k = 0; k < (s == FR_SPLIT ? 8u : 1u); k++)
			fprintf(to, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\"/>\n", LEFT + k * CELL, y, CELL - 1,
				CELL - 1, s == FR_SPLIT ? split_fill[k + 1] : paint[s].fill);
		fprintf(to, "<text x=\"%u\" y=\"%u\">%s: %" PRIu64 " frames, %s", LEFT + 9 * CELL, y + CELL - 1, paint[s].text, sum[s].frames,
			tool_human(sum[s].frames * HF_FRAME_SIZE, bytes));
		if (sum[s].frames)
			fprintf(to, ", in %" PRIu64 " run%s, longest %" PRIu64, sum[s].runs, sum[s].runs == 1 ? "" : "s", sum[s].longest);
		fputs("</text>\n", to);
	}
}

static void put_head(FILE *to, const struct frame_map *m, uint64_t per_cell, unsigned height)
{
	char size[32], cell[32];

	fprintf(to,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\" role=\"img\" "
		"font-family=\"sans-serif\" font-size=\"10\" fill=\"#263238\">\n<title>",
		LEFT + COLS_MAX * CELL + 16, height, LEFT + COLS_MAX * CELL + 16, height);
	put_escaped(to, m->path);
	fputs(": frames</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n", to);
	fprintf(to, "<text x=\"%u\" y=\"26\" font-size=\"16\">", LEFT);
	put_escaped(to, m->path);
	fprintf(to, "</text>\n<text x=\"%u\" y=\"46\">%s, %" PRIu64 " frames of 2 MiB", LEFT, tool_human(m->n * HF_FRAME_SIZE, size), m->n);
	if (per_cell > 1)
		fprintf(to, "; a square is %" PRIu64 " frames (%s): pinned or busy if any of them is, else what most of them are; mostly free: grey", per_cell,
			tool_human(per_cell * HF_FRAME_SIZE, cell));
	fprintf(to, "%s</text>\n", m->who);
}

static void put_picture(FILE *to, const struct frame_map *m)
{
	uint64_t per_cell = 1, cells, f;
	unsigned rows, y = TOP;

	while (m->n > per_cell * COLS_MAX * ROWS_MAX)
		per_cell *= 2;
	cells = (m->n + per_cell - 1) / per_cell;
	rows = (unsigned)((cells + COLS_MAX - 1) / COLS_MAX);
	put_head(to, m, per_cell, TOP + rows * CELL + 16 + FR_STATES * LEGEND + 8);
	for (f = 0; f < m->n; f += per_cell * COLS_MAX, y += CELL)
		put_row(to, m, f, per_cell, y);
	put_legend(to, m, y + 16);
	fputs("</svg>\n", to);
}

/* A slip of the hand must not overwrite the volume with its own picture. */
static bool is_volume(const struct frame_map *m, const char *file)
{
	struct stat a, b;

	return stat(m->path, &a) == 0 && stat(file, &b) == 0 &&
	       ((a.st_dev == b.st_dev && a.st_ino == b.st_ino) || (S_ISCHR(a.st_mode) && S_ISCHR(b.st_mode) && a.st_rdev == b.st_rdev));
}

int frames_svg(const struct frame_map *m, const char *file)
{
	FILE *to;
	bool bad;

	if (is_volume(m, file)) {
		tool_error("%s is the volume", file);
		return EXIT_FAILED;
	}
	to = fopen(file, "we");
	if (!to) {
		tool_error("%s: cannot be written: %s", file, strerror(errno));
		return EXIT_FAILED;
	}
	put_picture(to, m);
	bad = ferror(to) != 0;
	bad = fclose(to) != 0 || bad;
	if (bad)
		tool_error("%s: cannot be written: %s", file, strerror(errno));
	return bad ? EXIT_FAILED : EXIT_OK;
}
