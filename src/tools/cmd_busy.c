/* holdfast busy: who holds what of a volume; giving back what a dead process held. */
#include "look.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RELEASE_LIST 256u

struct busy {
	const char *path;
	struct look look;
	struct look_pins pins;
	json_t *list;
};

static const char *age_text(uint64_t ns, char buf[32])
{
	double s = (double)ns / 1e9;

	if (s < 1)
		snprintf(buf, 32, "%.0f ms", s * 1e3);
	else if (s < 120)
		snprintf(buf, 32, "%.1f s", s);
	else if (s < 7200)
		snprintf(buf, 32, "%.0f min", s / 60);
	else if (s < 172800)
		snprintf(buf, 32, "%.1f h", s / 3600);
	else
		snprintf(buf, 32, "%.1f d", s / 86400);
	return buf;
}

/* One sentence: who, and whether what follows is of now. */
static void print_owner(const struct busy *b)
{
	char quoted[4 * 4096];

	printf("%s: %s", tool_quote(b->path, quoted, sizeof(quoted)), *b->look.who ? b->look.who + strlen(", ") : "not mounted");
	if (!b->pins.published)
		puts(b->look.live ? "; it publishes no pins" : "; nothing is pinned");
	else if (b->pins.owner.state == PINS_OWNER_STALE)
		puts("; a list of pins from before the last start of the machine, or of another volume, means nothing");
	else if (b->pins.owner.state == PINS_OWNER_DEAD)
		printf("; process %ld died with these pins: the next mount keeps their blocks busy\n", (long)b->pins.owner.pid);
	else if (b->pins.owner.state == PINS_OWNER_NONE && b->pins.n)
		puts("; what a dead process held is still busy: see --release");
	else
		puts("");
}

static void print_pin(const struct look_pin *p)
{
	char off[32], len[32], age[32], busy[32], text[4 * PINS_NAME_BYTES];

	printf("%18" PRIu64 "  %-20s", p->id, tool_quote(*p->tag ? p->tag : "-", text, sizeof(text)));
	printf("  %-24s", tool_quote(*p->name ? p->name : "-", text, sizeof(text)));
	printf("  %8" PRIu64 "  %10s  %10s  %9s  %7u  %c%c%c  %10s\n", p->ino, tool_human(p->off, off), tool_human(p->len, len),
	       age_text(p->age_ns, age), p->thread, p->flags & PINS_WRITE ? 'w' : '-', p->flags & PINS_LEASED ? 'l' : '-',
	       p->orphaned ? 'o' : '-', p->busy ? tool_human(p->busy * HF_BLOCK_SIZE, busy) : "-");
}

static int print_busy_run(void *ctx, const struct look_busy *r)
{
	char at[32], len[32], off[32], text[4 * PINS_NAME_BYTES];

	(void)ctx;
	printf("%12s  %10s  of %s, inode %" PRIu64, tool_human(r->first * HF_BLOCK_SIZE, at), tool_human(r->n * HF_BLOCK_SIZE, len),
	       tool_quote(*r->pin->name ? r->pin->name : "?", text, sizeof(text)), r->pin->ino);
	printf(", from %s on; pin %" PRIu64 " '%s'\n", tool_human(r->off, off), r->pin->id, tool_quote(r->pin->tag, text, sizeof(text)));
	return 0;
}

static int print_text(struct busy *b)
{
	char pinned[32], busy[32];
	size_t i;

	print_owner(b);
	if (!b->pins.n)
		return 0;
	printf("\n%zu pin%s, %s pinned, %s of it busy: in no file any more\n", b->pins.n, b->pins.n == 1 ? "" : "s",
	       tool_human(b->pins.pinned * HF_BLOCK_SIZE, pinned), tool_human(b->pins.busy * HF_BLOCK_SIZE, busy));
	printf("w: to be written; l: leased; o: orphaned, of a process that died\n\n");
	printf("%18s  %-20s  %-24s  %8s  %10s  %10s  %9s  %7s  %3s  %10s\n", "pin", "tag", "file", "inode", "offset", "length", "age",
	       "thread", "wlo", "busy");
	for (i = 0; i < b->pins.n; i++)
		print_pin(&b->pins.pin[i]);
	if (!b->pins.busy)
		return 0;
	printf("\nbusy extents on the media:\n");
	return look_busy_each(&b->look, &b->pins, print_busy_run, NULL);
}

static json_t *pin_json(const struct look_pin *p)
{
	json_t *ext = json_array();
	size_t i;

	for (i = 0; i < p->n; i++)
		json_array_append_new(ext, json_pack("{s:I,s:I,s:b}", "media_offset", (json_int_t)(p->ext[i].first * HF_BLOCK_SIZE), "length",
						     (json_int_t)(pins_blocks(&p->ext[i]) * HF_BLOCK_SIZE), "huge",
						     (p->ext[i].n & PINS_FRAMES) != 0));
	return json_pack("{s:I,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:b,s:I,s:o}", "pin", (json_int_t)p->id, "tag",
			 tool_json_name(p->tag), "name", tool_json_name(p->name), "inode", (json_int_t)p->ino, "generation",
			 (json_int_t)p->gen, "offset", (json_int_t)p->off, "length", (json_int_t)p->len, "age_ns", (json_int_t)p->age_ns,
			 "thread", (json_int_t)p->thread, "write", (p->flags & PINS_WRITE) != 0, "leased", (p->flags & PINS_LEASED) != 0,
			 "orphaned", p->orphaned, "busy_bytes", (json_int_t)(p->busy * HF_BLOCK_SIZE), "extents", ext);
}

static int busy_run_json(void *ctx, const struct look_busy *r)
{
	json_array_append_new(ctx, json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "media_offset", (json_int_t)(r->first * HF_BLOCK_SIZE), "length",
					     (json_int_t)(r->n * HF_BLOCK_SIZE), "inode", (json_int_t)r->pin->ino, "generation",
					     (json_int_t)r->pin->gen, "offset", (json_int_t)r->off, "pin", (json_int_t)r->pin->id));
	return 0;
}

static const char *publisher_name(const struct look_pins *p)
{
	static const char *const name[] = {
		[PINS_OWNER_ALIVE] = "alive", [PINS_OWNER_DEAD] = "dead", [PINS_OWNER_NONE] = "unmounted", [PINS_OWNER_STALE] = "stale"};

	return p->published ? name[p->owner.state] : "none";
}

static int print_json(struct busy *b, int *status)
{
	json_t *pins = json_array(), *runs = json_array();
	size_t i;
	int err;

	for (i = 0; i < b->pins.n; i++)
		json_array_append_new(pins, pin_json(&b->pins.pin[i]));
	err = look_busy_each(&b->look, &b->pins, busy_run_json, runs);
	*status = tool_json_print(json_pack(
		"{s:o,s:b,s:o,s:b,s:s,s:o,s:I,s:I,s:o,s:o}", "path", tool_json_name(b->path), "mounted", b->look.live, "owner",
		b->look.owner > 0 ? json_integer(b->look.owner) : json_null(), "left_behind", b->look.left_behind, "publisher", publisher_name(&b->pins), "publisher_pid",
		b->pins.owner.pid ? json_integer((json_int_t)b->pins.owner.pid) : json_null(), "pinned_bytes",
		(json_int_t)(b->pins.pinned * HF_BLOCK_SIZE), "busy_bytes", (json_int_t)(b->pins.busy * HF_BLOCK_SIZE), "pins", pins, "busy",
		runs));
	return err;
}

static int show(const char *path, bool json)
{
	struct busy b = {.path = path};
	int status = EXIT_OK, err = look_open(path, &b.look);

	if (err)
		return tool_fail(err, "%s", path);
	err = look_pins_read(&b.look, &b.pins);
	if (!err)
		err = json ? print_json(&b, &status) : print_text(&b);
	if (err)
		status = tool_fail(err, "%s", path);
	look_pins_free(&b.pins);
	look_close(&b.look);
	return status;
}

/* ---- --release */

static json_t *released_json(const struct hf_pin_info *p)
{
	return json_pack("{s:I,s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "pin", (json_int_t)p->pin, "tag", tool_json_name(p->tag), "name",
			 tool_json_name(p->name), "inode", (json_int_t)p->id.ino, "generation", (json_int_t)p->id.gen, "offset",
			 (json_int_t)p->off, "length", (json_int_t)p->len, "busy_bytes", (json_int_t)p->busy);
}

static void print_released(const struct hf_pin_info *p)
{
	char off[32], len[32], busy[32], text[4 * sizeof(p->name)];

	printf("released: pin %" PRIu64 " '%s'", p->pin, tool_quote(p->tag, text, sizeof(text)));
	printf(" of %s, inode %" PRIu64 ", %s from %s on, %s of it busy\n", tool_quote(*p->name ? p->name : "?", text, sizeof(text)), p->id.ino,
	       tool_human(p->len, len), tool_human(p->off, off), tool_human(p->busy, busy));
}

/* Tells the orphaned pins before they are gone. */
static int list_orphaned(hf_volume *vol, json_t *list)
{
	struct hf_pin_info *info = calloc(RELEASE_LIST, sizeof(*info));
	uint64_t cursor = 0;
	size_t n, i;
	int err = info ? 0 : -ENOMEM;

	while (!err && cursor != UINT64_MAX) {
		err = hf_pin_list(vol, &cursor, info, RELEASE_LIST, &n);
		for (i = 0; !err && i < n; i++) {
			if (info[i].orphaned && list)
				json_array_append_new(list, released_json(&info[i]));
			else if (info[i].orphaned)
				print_released(&info[i]);
		}
	}
	free(info);
	return err;
}

static int release(const char *path, bool json)
{
	json_t *list = json ? json_array() : NULL;
	hf_volume *vol = tool_mount(path, 0);
	int status = EXIT_OK, err;
	uint64_t n = 0;

	if (!vol) {
		json_decref(list);
		return EXIT_FAILED;
	}
	err = list_orphaned(vol, list);
	if (!err)
		err = hf_release_orphaned(vol, &n);
	if (err)
		status = tool_fail(err, "%s", path);
	status = tool_unmount(&vol, status);
	if (status != EXIT_OK)
		json_decref(list);
	else if (json)
		status = tool_json_print(json_pack("{s:o,s:I,s:o}", "path", tool_json_name(path), "released", (json_int_t)n, "pins", list));
	else
		printf("%" PRIu64 " orphaned pin%s released\n", n, n == 1 ? "" : "s");
	return status;
}

static bool busy_option(void *ctx, char letter, const char *name, const char *arg)
{
	(void)letter;
	(void)name;
	(void)arg;
	*(bool *)ctx = true;
	return true;
}

int cmd_busy(int argc, char **argv)
{
	static const struct tool_option options[] = {{"release", 0, false, "give back what a dead process held; the volume must not be mounted"},
						     {0}};
	bool json = false, let_go = false;
	int status = tool_options(argc, argv, "[--release] [--json] VOLUME",
				  "Shows the pins of the process that has the volume mounted, as it publishes them, and the busy extents: what is\n"
				  "in no file any more, but pinned. Pins of a process that died are kept busy as 'orphaned' by the next mount,\n"
				  "because a device or a child of that process may still write there, until --release.",
				  options, true, busy_option, &let_go, &json);

	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return tool_usage("one VOLUME is needed");
	return let_go ? release(argv[optind], json) : show(argv[optind], json);
}
