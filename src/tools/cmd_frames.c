/* holdfast frames: the volume as a map of frames. */
#include "frames.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_MIN  40u
#define WIDTH_MAX  1024u
#define ROWS_MAX   40u			/* more, and a cell stands for more frames */
#define LABEL_COLS 12u

struct frames_args {
	bool json, runs;
	enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color;
	uint64_t width;
	const char *svg;
};

/* Each state is a letter and a colour (of the 256), so that neither is needed to read the other. */
static const struct {
	char letter;
	const char *on;
	const char *help;
} look_of[FR_STATES] = {
	[FR_FREE] = {'.', "\033[38;5;244m", "free"},
	[FR_METADATA] = {'M', "\033[48;5;25;38;5;231m", "metadata, more than half: tables, map nodes, directories, journal"},
	[FR_SPLIT] = {0, NULL, "split: block by block, eighths in use"},
	[FR_HUGE] = {'H', "\033[48;5;28;38;5;231m", "huge: one 2 MiB page of one file"},
	[FR_PINNED] = {'P', "\033[48;5;127;38;5;231m", "pinned: some of it, by a program or a device"},
	[FR_BUSY] = {'B', "\033[48;5;160;38;5;231m", "busy: some of it left its file while pinned"},
};
static const char *const split_on[9] = {"",
					"\033[48;5;230;38;5;16m", "\033[48;5;229;38;5;16m", "\033[48;5;228;38;5;16m", "\033[48;5;227;38;5;16m",
					"\033[48;5;220;38;5;16m", "\033[48;5;214;38;5;16m", "\033[48;5;208;38;5;16m", "\033[48;5;202;38;5;16m"};

/* Colours are switched only where they change; *now is the one that is on. */
static void put_color(const char **now, const char *next)
{
	if (*now && *now != next)
		printf("\033[0m");
	if (next && *now != next)
		printf("%s", next);
	*now = next;
}

static void put_cell(const struct frame_run *r, bool color, const char **now)
{
	char letter = look_of[r->state].letter;

	if (r->state == FR_SPLIT)
		letter = (char)('0' + r->eighths);
	else if (r->state == FR_FREE && r->eighths)
		letter = ':';
	if (color)
		put_color(now, r->state == FR_SPLIT ? split_on[r->eighths] : look_of[r->state].on);
	putchar(letter);
}

static unsigned terminal_width(const struct frames_args *a)
{
	const char *columns = getenv("COLUMNS");
	struct winsize w;
	uint64_t n = 80;

	if (a->width)
		n = a->width;
	else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col)
		n = w.ws_col;
	else if (columns)
		(void)tool_parse_number(columns, 10, WIDTH_MAX, &n);
	return (unsigned)(n < WIDTH_MIN ? WIDTH_MIN : min_u64(n, WIDTH_MAX));
}

static bool use_color(const struct frames_args *a)
{
	const char *no = getenv("NO_COLOR");

	if (a->color != COLOR_AUTO)
		return a->color == COLOR_ALWAYS;
	return isatty(STDOUT_FILENO) && !(no && *no);
}

static void print_map(const struct frame_map *m, unsigned cols, uint64_t per_cell, bool color)
{
	const char *now = NULL;
	uint64_t f = 0;
	char at[32];
	unsigned c;

	while (f < m->n) {
		printf("%*s  ", (int)LABEL_COLS - 2, tool_human(f * HF_FRAME_SIZE, at));
		for (c = 0; c < cols && f < m->n; c++, f += per_cell) {
			struct frame_run r = frames_cell(m, f, per_cell);

			put_cell(&r, color, &now);
		}
		put_color(&now, NULL);
		putchar('\n');
	}
}

/* The legend is the summary: of each state how much there is, in how many runs. */
static void print_sums(const struct frame_map *m, bool color)
{
	struct frame_sum sum[FR_STATES];
	struct frame_run sample = {0};
	const char *now = NULL;
	char bytes[32];
	unsigned s;

	frames_sum(m, sum);
	for (s = 0; s < FR_STATES; s++) {
		sample.state = s;
		sample.eighths = s == FR_SPLIT;
		put_cell(&sample, color, &now);
		if (s == FR_SPLIT) {
			put_color(&now, NULL);
			putchar('-');
			sample.eighths = 8;
			put_cell(&sample, color, &now);
		}
		put_color(&now, NULL);
		printf("%s %7" PRIu64 " frames %10s", s == FR_SPLIT ? "" : "  ", sum[s].frames,
		       tool_human(sum[s].frames * HF_FRAME_SIZE, bytes));
		if (sum[s].frames)
			printf(" in %" PRIu64 " run%s, longest %" PRIu64, sum[s].runs, sum[s].runs == 1 ? "" : "s", sum[s].longest);
		printf("  %s\n", look_of[s].help);
	}
}

static void print_blocks(const struct frame_map *m)
{
	uint64_t used = 0, data = 0, pinned = 0, busy = 0, loose = 0, f;
	char a[32], b[32], c[32];

	for (f = 0; f < m->n; f++) {
		used += m->f[f].used;
		data += m->f[f].data;
		pinned += m->f[f].pinned;
		busy += m->f[f].busy;
		if (m->f[f].used && !m->f[f].huge)
			loose += HF_BLOCKS_PER_FRAME - m->f[f].used - m->f[f].busy;
	}
	printf("\nin use %s, of it content of files %s; free inside frames in use %s\n", tool_human(used * HF_BLOCK_SIZE, a),
	       tool_human(data * HF_BLOCK_SIZE, b), tool_human(loose * HF_BLOCK_SIZE, c));
	if (pinned)
		printf("%zu pin%s %s, of it busy %s: 'holdfast busy' says whose\n", m->pins.n, m->pins.n == 1 ? " holds" : "s hold", tool_human(pinned * HF_BLOCK_SIZE, a),
		       tool_human(busy * HF_BLOCK_SIZE, b));
}

static void print_runs(const struct frame_map *m)
{
	struct frame_run r;
	char text[768];
	uint64_t f;

	for (f = 0; f < m->n; f += r.n) {
		r = frames_run(m, f);
		printf("%s\n", frame_run_text(m, &r, text, sizeof(text)));
	}
}

static void print_text(const struct frame_map *m, const struct frames_args *a)
{
	unsigned cols = terminal_width(a) - LABEL_COLS;
	uint64_t per_cell = 1;
	bool color = use_color(a);
	char size[32], quoted[4 * 4096];

	printf("%s: %s, %" PRIu64 " frames of 2 MiB%s\n", tool_quote(m->path, quoted, sizeof(quoted)), tool_human(m->n * HF_FRAME_SIZE, size),
	       m->n, *m->who || !m->pins.n ? m->who : ", with the pins of a dead process");
	if (a->runs)
		return print_runs(m);
	while (m->n > per_cell * cols * ROWS_MAX)
		per_cell *= 2;
	if (per_cell > 1)
		printf("each character is %" PRIu64 " frames (%s): pinned or busy if any of them is, else what most of them are; ':' mostly free\n",
		       per_cell, tool_human(per_cell * HF_FRAME_SIZE, size));
	putchar('\n');
	print_map(m, cols, per_cell, color);
	putchar('\n');
	print_sums(m, color);
	print_blocks(m);
}

static json_t *run_json(const struct frame_map *m, const struct frame_run *r)
{
	json_t *o = json_pack("{s:I,s:I,s:s,s:I,s:I,s:I,s:I}", "first", (json_int_t)r->first, "frames", (json_int_t)r->n, "state",
			      frame_state_name[r->state], "blocks_used", (json_int_t)r->used, "blocks_content", (json_int_t)r->data,
			      "blocks_pinned", (json_int_t)r->pinned, "blocks_busy", (json_int_t)r->busy);

	if (r->state == FR_SPLIT)
		json_object_set_new(o, "eighths", json_integer(r->eighths));
	if (r->pin)
		json_object_set_new(o, "pin_tag", tool_json_name(m->pins.pin[r->pin - 1].tag));
	return o;
}

static json_t *map_json(const struct frame_map *m)
{
	json_t *runs = json_array(), *sums = json_object();
	struct frame_sum sum[FR_STATES];
	struct frame_run r;
	uint64_t f;
	unsigned s;

	for (f = 0; f < m->n; f += r.n) {
		r = frames_run(m, f);
		json_array_append_new(runs, run_json(m, &r));
	}
	frames_sum(m, sum);
	for (s = 0; s < FR_STATES; s++)
		json_object_set_new(sums, frame_state_name[s],
				    json_pack("{s:I,s:I,s:I}", "frames", (json_int_t)sum[s].frames, "runs", (json_int_t)sum[s].runs,
					      "longest", (json_int_t)sum[s].longest));
	return json_pack("{s:o,s:b,s:o,s:I,s:I,s:I,s:o,s:o}", "path", tool_json_name(m->path), "mounted", m->live, "owner",
			 m->owner > 0 ? json_integer(m->owner) : json_null(), "frame_bytes", (json_int_t)HF_FRAME_SIZE, "frames",
			 (json_int_t)m->n, "damaged", (json_int_t)m->damaged, "states", sums, "runs", runs);
}

static bool frames_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct frames_args *a = ctx;

	(void)letter;
	if (!strcmp(name, "runs"))
		a->runs = true;
	else if (!strcmp(name, "svg"))
		a->svg = arg;
	else if (!strcmp(name, "width"))
		return tool_parse_number(arg, 10, WIDTH_MAX, &a->width) && a->width >= WIDTH_MIN;
	else if (!strcmp(arg, "always"))
		a->color = COLOR_ALWAYS;
	else if (!strcmp(arg, "never"))
		a->color = COLOR_NEVER;
	else
		return !strcmp(arg, "auto");
	return true;
}

int cmd_frames(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"color", 0, true, "auto (on a terminal, and NO_COLOR is not set), always or never"},
		{"width", 0, true, "columns, instead of the terminal's"},
		{"runs", 0, false, "list the runs of frames instead of drawing them"},
		{"svg", 0, true, "write a picture to this file instead"},
		{0}};
	struct frames_args a = {0};
	struct frame_map m;
	int err, status = tool_options(argc, argv, "[--color=WHEN] [--width N] [--runs] [--svg FILE] [--json] VOLUME",
				       "Shows what each frame of 2 MiB is: free, huge, split, metadata, pinned, busy. Changes nothing, and may look\n"
				       "at a volume that a process has mounted: then at what it is doing to it just now.",
				       options, true, frames_option, &a, &a.json);

	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return tool_usage("one VOLUME is needed");
	if (a.svg && (a.json || a.runs))
		return tool_usage("--svg goes with neither --json nor --runs");
	err = frames_read(argv[optind], !a.json, &m);
	if (err)
		return tool_fail(err, "%s", argv[optind]);
	status = EXIT_OK;
	if (a.svg)
		status = frames_svg(&m, a.svg);
	else if (a.json)
		status = tool_json_print(map_json(&m));
	else
		print_text(&m, &a);
	if (m.damaged && status == EXIT_OK) {
		fflush(stdout);
		tool_error("%s: %" PRIu64 " structures are damaged and were left out: run fsck.holdfast", argv[optind], m.damaged);
		status = EXIT_FAILED;
	}
	frames_free(&m);
	return status;
}
