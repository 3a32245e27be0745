/* holdfast scrub: reads all that is in use. What it finds is told as fsck.holdfast tells it. */
#include "tool.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

enum { SCRUB_FOUND = 4 };

struct scrub {
	bool json;
	json_t *list;
	struct progress bar;
};

static void scrub_finding(void *ctx, const struct hf_finding *f)
{
	struct scrub *s = ctx;
	char text[4096]; /* names in it may hold anything */

	if (s->json) {
		json_array_append_new(s->list, json_pack("{s:s,s:o,s:I,s:I}", "structure", f->structure, "text",
							 tool_json_name(f->text), "inode", (json_int_t)f->ino, "media_offset",
							 (json_int_t)f->media_off));
		return;
	}
	progress_end(&s->bar);
	printf("%s: %s\n", f->structure, tool_quote(f->text, text, sizeof(text)));
}

static void scrub_progress(void *ctx, const struct hf_check_progress *p)
{
	struct scrub *s = ctx;

	s->bar.what = p->phase;
	progress_update(&s->bar, p->done, p->total, "");
}

static void scrub_print(const char *path, const struct hf_check_result *r)
{
	char human[32];

	printf("%s: read %s in %.2f s; %" PRIu64 " inodes\n", path, tool_human(r->blocks_read * 4096, human), r->seconds, r->inodes);
	if (r->findings)
		printf("%s: %" PRIu64 " findings, %" PRIu64 " blocks cannot be read\n", path, r->findings, r->blocks_bad);
	else
		printf("%s: clean\n", path);
}

static int scrub_json(struct scrub *s, const char *path, const struct hf_check_result *r)
{
	return tool_json_print(json_pack("{s:o,s:b,s:I,s:I,s:I,s:f,s:o}", "path", tool_json_name(path), "clean", r->findings == 0,
					 "inodes", (json_int_t)r->inodes, "blocks_read", (json_int_t)r->blocks_read, "blocks_bad",
					 (json_int_t)r->blocks_bad, "seconds", r->seconds, "findings", s->list));
}

int cmd_scrub(int argc, char **argv)
{
	struct scrub s = {0};
	struct hf_check_options opts = {.struct_size = sizeof(opts),
					.flags = HF_CHECK_MEDIA,
					.ctx = &s,
					.progress = scrub_progress,
					.finding = scrub_finding};
	struct hf_check_result r;
	int status, err;

	status = tool_options(argc, argv, "[--json] VOLUME",
			      "Reads every block in use and verifies every structure. Writes nothing.\n"
			      "Exit status: 0 nothing was found, 1 it could not be looked at, 4 something was found.",
			      NULL, true, NULL, NULL, &s.json);
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return tool_usage("one VOLUME is needed");
	if (s.json)
		s.list = json_array();
	progress_begin(&s.bar, "scrub", !s.json);
	err = hf_check(argv[optind], &opts, &r);
	progress_end(&s.bar);
	if (err) {
		json_decref(s.list);
		return tool_fail(err, "%s", argv[optind]);
	}
	if (s.json)
		status = scrub_json(&s, argv[optind], &r);
	else
		scrub_print(argv[optind], &r);
	return status > 0 ? status : r.findings ? SCRUB_FOUND : EXIT_OK;
}
