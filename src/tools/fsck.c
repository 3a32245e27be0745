/* fsck.holdfast: verifies and repairs a volume. Exit statuses are those of fsck(8). */
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { FSCK_OK = 0, FSCK_CORRECTED = 1, FSCK_UNCORRECTED = 4, FSCK_OPERATIONAL = 8, FSCK_USAGE = 16, FSCK_CANCELLED = 32 };

struct fsck {
	bool json;
	json_t *list;
	struct progress bar;
	char how;			/* 'n', 'p', 'y'; 0: not said, which is 'n' */
	bool conflict;			/* two of them */
	const char *undo_file, *undo;
};

static bool fsck_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct fsck *k = ctx;

	if (letter == 'z') {
		k->undo_file = arg;
	} else if (letter == 0 && !strcmp(name, "undo")) {
		k->undo = arg;
	} else {
		letter = letter == 'a' ? 'p' : letter;
		k->conflict |= k->how && k->how != letter;
		k->how = letter;
	}
	return true;
}

/* At any instant: a repair that has begun to write is finished by the next run. */
static void fsck_cancel(int sig)
{
	(void)sig;
	_exit(FSCK_CANCELLED);
}

static void fsck_finding(void *ctx, const struct hf_finding *f)
{
	struct fsck *k = ctx;
	char text[4096];		/* names in it may hold anything */

	if (k->json) {
		json_array_append_new(k->list, json_pack("{s:s,s:o,s:I,s:I,s:s?}", "structure", f->structure, "text",
							 tool_json_name(f->text), "inode", (json_int_t)f->ino, "media_offset",
							 (json_int_t)f->media_off, "repair", f->repair));
		return;
	}
	progress_end(&k->bar);
	tool_quote(f->text, text, sizeof(text));
	if (f->repair)
		printf("%s: %s: %s\n", f->structure, text, f->repair);
	else
		printf("%s: %s\n", f->structure, text);
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
	if (r->journal_records && r->repaired)
		printf("%s: %" PRIu64 " journal records were put in place\n", path, r->journal_records);
	else if (r->journal_records)
		printf("%s: %" PRIu64 " journal records wait for the next mount; checked as if they were in place\n", path,
		       r->journal_records);
	if (r->repaired)
		printf("%s: %" PRIu64 " findings, %" PRIu64 " repaired, %" PRIu64 " left alone\n", path, r->findings, r->repaired,
		       r->unrepaired);
	else if (r->findings)
		printf("%s: %" PRIu64 " findings\n", path, r->findings);
	else
		printf("%s: clean\n", path);
}

static int print_json(struct fsck *k, const char *path, const struct hf_check_result *r)
{
	return tool_json_print(json_pack("{s:o,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o}", "path", tool_json_name(path), "clean",
					 r->unrepaired == 0, "repaired", (json_int_t)r->repaired, "unrepaired",
					 (json_int_t)r->unrepaired, "inodes", (json_int_t)r->inodes, "directories",
					 (json_int_t)r->directories, "files", (json_int_t)r->files, "others", (json_int_t)r->others,
					 "names", (json_int_t)r->names, "blocks_used", (json_int_t)r->blocks_used, "orphans",
					 (json_int_t)r->orphans, "journal_records", (json_int_t)r->journal_records, "seconds",
					 r->seconds, "findings", k->list));
}

static const struct tool_option options[] = {
	{"no-changes", 'n', false, "verify only, write nothing (the default)"},
	{"preen", 'p', false, "repair, if all that there is to repair loses nothing; otherwise write nothing"},
	{"automatic", 'a', false, "the same as -p"},
	{"yes", 'y', false, "repair everything that can be"},
	{"undo-file", 'z', true, "with -p or -y: make this file, with the old bytes of all that is changed"},
	{"undo", 0, true, "put back what the repair that made this undo file changed"},
	{0},
};

/* What the options ask for; FSCK_OK or FSCK_USAGE. */
static int fsck_options(struct fsck *k, struct hf_check_options *opts)
{
	bool repair = k->how == 'p' || k->how == 'y';

	if (k->conflict)
		tool_usage("only one of -n, -p and -y");
	else if (k->undo && (k->how || k->undo_file))
		tool_usage("--undo is alone");
	else if (k->undo_file && !repair)
		tool_usage("an undo file is for -p or -y");
	else {
		if (repair)
			opts->flags = k->how == 'y' ? HF_CHECK_REPAIR : HF_CHECK_PREEN;
		opts->undo_path = k->undo_file;
		return FSCK_OK;
	}
	return FSCK_USAGE;
}

static int fsck_failed(int err, const char *path)
{
	tool_fail(err, "%s", path);
	return err == -EBADMSG || err == -EUCLEAN ? FSCK_UNCORRECTED : FSCK_OPERATIONAL;
}

static int fsck_undo(const struct fsck *k, const char *path)
{
	int err = hf_check_undo(path, k->undo);

	if (err) {
		tool_fail(err, "%s", path);
		return FSCK_OPERATIONAL;
	}
	if (k->json)
		tool_json_print(json_pack("{s:o,s:b}", "path", tool_json_name(path), "undone", 1));
	else
		printf("%s: as it was before the repair\n", path);
	return tool_finish(EXIT_OK) == EXIT_OK ? FSCK_OK : FSCK_OPERATIONAL;
}

static int fsck_run(struct fsck *k, struct hf_check_options *opts, const char *path)
{
	struct hf_check_result r;
	int err;

	if (k->json)
		k->list = json_array();
	progress_begin(&k->bar, "check", !k->json);
	err = hf_check(path, opts, &r);
	progress_end(&k->bar);
	if (err) {
		json_decref(k->list);
		return fsck_failed(err, path);
	}
	if (k->json)
		(void)print_json(k, path, &r);
	else
		print_summary(path, &r);
	if (tool_finish(EXIT_OK) != EXIT_OK)
		return FSCK_OPERATIONAL;
	return (r.repaired ? FSCK_CORRECTED : FSCK_OK) | (r.unrepaired ? FSCK_UNCORRECTED : FSCK_OK);
}

int main(int argc, char **argv)
{
	struct fsck k = {0};
	struct hf_check_options opts = {.struct_size = sizeof(opts), .ctx = &k, .progress = fsck_progress, .finding = fsck_finding};
	int status;

	tool_begin("fsck.holdfast");
	status = tool_options(argc, argv, "[-n | -p | -y] [-z FILE] [--json] VOLUME\n       fsck.holdfast --undo FILE [--json] VOLUME",
			      "Verifies every structure of a volume against every other, and repairs it if asked to.\n"
			      "Exit status, added up: 0 clean, 1 repaired, 4 something is left, 8 it could not be checked, 16 usage, 32 cancelled.",
			      options, true, fsck_option, &k, &k.json);
	if (status >= 0)
		return status == EXIT_USAGE ? FSCK_USAGE : (status ? FSCK_OPERATIONAL : FSCK_OK);
	if (argc - optind != 1) {
		tool_usage("one VOLUME is needed");
		return FSCK_USAGE;
	}
	status = fsck_options(&k, &opts);
	if (status)
		return status;
	signal(SIGINT, fsck_cancel);
	signal(SIGTERM, fsck_cancel);
	return k.undo ? fsck_undo(&k, argv[optind]) : fsck_run(&k, &opts, argv[optind]);
}
