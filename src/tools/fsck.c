/* fsck.holdfast: verifies a volume. Exit statuses are those of fsck(8). */
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

enum { FSCK_OK = 0, FSCK_UNCORRECTED = 4, FSCK_OPERATIONAL = 8, FSCK_USAGE = 16 };

struct fsck {
	bool json;
	json_t *list;
	struct progress bar;
};

static bool fsck_option(void *ctx, char letter, const char *name, const char *arg)
{
	(void)ctx;
	(void)letter;
	(void)name;
	(void)arg;
	return true;		/* -n: nothing is ever written */
}

static void fsck_finding(void *ctx, const struct hf_finding *f)
{
	struct fsck *k = ctx;
	char text[4096];		/* names in it may hold anything */

	if (k->json) {
		json_array_append_new(k->list, json_pack("{s:s,s:o,s:I,s:I}", "structure", f->structure, "text",
							 tool_json_name(f->text), "inode", (json_int_t)f->ino, "media_offset",
							 (json_int_t)f->media_off));
		return;
	}
	progress_end(&k->bar);
	printf("%s: %s\n", f->structure, tool_quote(f->text, text, sizeof(text)));
}

static void fsck_progress(void *ctx, const struct hf_check_progress *p)
{
	struct fsck *k = ctx;

	k->bar.what = p->phase;
	progress_update(&k->bar, p->done, p->total, "");
}

static void print_summary(const char *path, const struct hf_check_result *r)
{
	printf("%s: %" PRIu64 " inodes (%" PRIu64 " directories, %" PRIu64 " files, %" PRIu64 " others), %" PRIu64 " names, %" PRIu64
	       " blocks, %" PRIu64 " orphans; %.2f s\n",
	       path, r->inodes, r->directories, r->files, r->others, r->names, r->blocks_used, r->orphans, r->seconds);
	if (r->journal_records)
		printf("%s: %" PRIu64 " journal records wait for the next mount; checked as if they were in place\n", path,
		       r->journal_records);
	if (r->findings)
		printf("%s: %" PRIu64 " findings\n", path, r->findings);
	else
		printf("%s: clean\n", path);
}

static int print_json(struct fsck *k, const char *path, const struct hf_check_result *r)
{
	return tool_json_print(json_pack("{s:o,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o}", "path", tool_json_name(path), "clean",
					 r->findings == 0, "inodes", (json_int_t)r->inodes, "directories",
					 (json_int_t)r->directories, "files", (json_int_t)r->files, "others", (json_int_t)r->others,
					 "names", (json_int_t)r->names, "blocks_used", (json_int_t)r->blocks_used, "orphans",
					 (json_int_t)r->orphans, "journal_records", (json_int_t)r->journal_records, "seconds",
					 r->seconds, "findings", k->list));
}

int main(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"no-changes", 'n', false, "verify only (the default: this version repairs nothing)"},
		{0},
	};
	struct fsck k = {0};
	struct hf_check_options opts = {.struct_size = sizeof(opts), .ctx = &k, .progress = fsck_progress, .finding = fsck_finding};
	struct hf_check_result r;
	int status, err;

	tool_begin("fsck.holdfast");
	status = tool_options(argc, argv, "[-n] [--json] VOLUME",
			      "Verifies every structure of a volume against every other. Writes nothing.\n"
			      "Exit status: 0 clean, 4 something was found, 8 it could not be checked, 16 usage.",
			      options, true, fsck_option, &k, &k.json);
	if (status >= 0)
		return status == EXIT_USAGE ? FSCK_USAGE : (status ? FSCK_OPERATIONAL : FSCK_OK);
	if (argc - optind != 1) {
		tool_usage("one VOLUME is needed");
		return FSCK_USAGE;
	}
	if (k.json)
		k.list = json_array();
	progress_begin(&k.bar, "check", !k.json);
	err = hf_check(argv[optind], &opts, &r);
	progress_end(&k.bar);
	if (err) {
		json_decref(k.list);
		tool_fail(err, "%s", argv[optind]);
		return err == -EBADMSG || err == -EUCLEAN ? FSCK_UNCORRECTED : FSCK_OPERATIONAL;
	}
	if (k.json)
		status = print_json(&k, argv[optind], &r);
	else
		print_summary(argv[optind], &r);
	if (tool_finish(EXIT_OK) != EXIT_OK)
		return FSCK_OPERATIONAL;
	return r.findings ? FSCK_UNCORRECTED : FSCK_OK;
}
