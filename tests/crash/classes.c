/* The twelve classes of bugs that shipped in persistent-memory filesystems, a workload each that would show one; and more
 * workloads, for the deliberate faults of mutants/ that those leave alone.
 *
 *	crash_classes [--list] [--seconds S] [--images N] [--seed S] [--replay ID] [--quiet] [NAME...]
 */
#include "jload.h"
#include "tload.h"
#include "oload.h"
#include "steps.h"

#include <linux/falloc.h>
#include <stdlib.h>

#define STEPS(...) (const struct load_step[]){__VA_ARGS__, {0}}
#define PUT(path, at, n)    {"put " path, step_put, path, NULL, at, n, 0, false}
#define WRITE(path, at, n)  {"write " path, step_write, path, NULL, at, n, 0, true}
#define EXTEND(path, at, n)   {"extend " path, step_write, path, NULL, at, n, 0, false}
#define APPEND(path, n)	    {"append " path, step_write, path, NULL, STEP_APPEND, n, 0, false}
#define CREATE(path)	    {"create " path, step_create, path, NULL, 0, 0, 0, false}
#define MKDIR(path)	    {"mkdir " path, step_mkdir, path, NULL, 0, 0, 0, false}
#define RMDIR(path)	    {"rmdir " path, step_rmdir, path, NULL, 0, 0, 0, false}
#define UNLINK(path)	    {"unlink " path, step_unlink, path, NULL, 0, 0, 0, false}
#define LINK(from, to)	    {"link " to, step_link, from, to, 0, 0, 0, false}
#define RENAME(from, to)    {"rename " from " " to, step_rename, from, to, 0, 0, 0, false}
#define EXCHANGE(from, to)  {"exchange " from " " to, step_rename, from, to, 0, 0, HF_RENAME_EXCHANGE, false}
#define TRUNCATE(path, n)   {"truncate " path, step_truncate, path, NULL, n, 0, 0, false}
#define CHMOD(path, mode)   {"chmod " path, step_chmod, path, NULL, 0, 0, mode, false}
#define SETXATTR(path, attr, n) {"setxattr " path, step_setxattr, path, attr, 0, n, 0, false}
#define FALLOCATE(path, at, n)	{"fallocate " path, step_fallocate, path, NULL, at, n, 0, false}
#define PUNCH(path, at, n)                                                                         \
	{"punch " path, step_fallocate, path, NULL, at, n,                                         \
	 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true}
#define DIRTY	   {"dirty", step_dirty, NULL, NULL, 0, 1u << 19, 0, false}
#define CHECKPOINT {"checkpoint", step_checkpoint, NULL, NULL, 0, 0, 0, false}
#define SYNCFS	   {"syncfs", step_syncfs, NULL, NULL, 0, 0, 0, false}
#define LANE(n)	   {"lane", step_lane, NULL, NULL, 0, 0, n, false}
#define FD_OPEN(path, fd)      {"open " path, step_open, path, NULL, 0, 0, fd, false}
#define FD_WRITE(fd, at, n)    {"write by " #fd, step_open_write, NULL, NULL, at, n, fd, false}
#define FD_TRUNCATE(fd, n)     {"truncate by " #fd, step_open_truncate, NULL, NULL, n, 0, fd, false}
#define FD_ALLOCATE(fd, at, n) {"allocate by " #fd, step_open_allocate, NULL, NULL, at, n, fd, false}

static const struct load loads[] = {
    {.name = "class_01_inode_flush",
     .what = "an inode's flush is missing",
     .setup = STEPS(MKDIR("A"), PUT("A/x", 0, 5000)),
     .steps = STEPS(CREATE("A/f"), CHMOD("A/x", 0600), CHECKPOINT, CHMOD("A/f", 0640), CHECKPOINT)},
    {.name = "class_02_data_fence",
     .what = "the fence after a copy of data is missing",
     .setup = STEPS(DIRTY, PUT("x", 0, 9000)),
     .steps = STEPS(WRITE("x", 4096, 4096), APPEND("x", 100), APPEND("x", 6000), CREATE("y"), EXTEND("y", 0, 4096),
		    WRITE("x", 0, 64), EXTEND("x", 30000, 512))},
    {.name = "class_03_unaligned_edges",
     .what = "the edge lines of an unaligned non-temporal copy are not flushed",
     .setup = STEPS(DIRTY, PUT("x", 0, 9000)),
     .steps = STEPS(WRITE("x", 1001, 777), WRITE("x", 4090, 13), WRITE("x", 8, 56), APPEND("x", 3),
		    EXTEND("x", 12345, 6), PUNCH("x", 70, 900))},
    {.name = "class_04_rename_old_name",
     .what = "rename takes the old name away before the new one is durable",
     .setup = STEPS(MKDIR("A"), MKDIR("B"), PUT("A/x", 0, 500), PUT("B/y", 0, 5000), MKDIR("A/D")),
     .steps = STEPS(RENAME("A/x", "A/z"), RENAME("A/z", "B/x"), RENAME("B/x", "B/y"),
		    EXCHANGE("B/y", "A"), RENAME("B/y", "C"))},
    {.name = "class_05_rename_parents",
     .what = "rename's record leaves a changed parent out",
     .setup = STEPS(MKDIR("A"), MKDIR("B"), MKDIR("A/D"), MKDIR("B/E"), PUT("A/D/x", 0, 10)),
     .steps = STEPS(RENAME("A/D", "B/D"), RENAME("B/D", "D"), EXCHANGE("D", "B/E"),
		    RENAME("D", "B/D"), RENAME("B/D", "A/D"))},
    {.name = "class_06_recovery_state",
     .what = "recovery uses volatile state that is not there yet",
     .setup = STEPS(DIRTY, MKDIR("A"), PUT("A/x", 0, 9000),
		    {"scatter", step_scatter, "big", NULL, 0, 0, 40, false}),
     .steps = STEPS({"tmpfile", step_tmpfile, "/", NULL, 0, 9000, 0, false}, UNLINK("big"),
		    TRUNCATE("A/x", 10), {"flink", step_tmpfile, "/", "A/t", 0, 6000, 0, false},
		    UNLINK("A/t"), CREATE("A/y"), EXTEND("A/y", 0, 9000))},
    {.name = "class_07_recovery_bounds",
     .what = "recovery's arrays are left on one of its sides",
     .own = jload_run_on,
     .lists = {"sssssssssssss"}},
    {.name = "class_08_journal_misread",
     .what = "recovery reads the journal wrongly",
     .own = jload_run,
     .lists = {"sbsbmbosbbsbsbmb"}},
    {.name = "class_09_double_free",
     .what = "blocks are freed twice",
     .setup = STEPS(PUT("x", 0, 9000), PUT("y", 0, 9000), PUT("z", 0, 9000)),
     .steps = STEPS(TRUNCATE("x", 4096), PUNCH("y", 0, 8192), UNLINK("z"), CREATE("w"), EXTEND("w", 0, 13000),
		    UNLINK("x"), CREATE("v"), EXTEND("v", 0, 13000))},
    {.name = "class_10_two_heads",
     .what = "two copies of a head are written, and not as one",
     .own = jload_run_on,
     .lists = {"ssbcbbscbbcs"}},
    {.name = "class_11_link_counts",
     .what = "a link count is wrong after an update in place",
     .setup = STEPS(MKDIR("A"), MKDIR("B"), PUT("x", 0, 50), PUT("y", 0, 5000)),
     .steps = STEPS(LINK("x", "A/x"), LINK("x", "B/x"), UNLINK("x"), RENAME("y", "A/x"), MKDIR("A/D"),
		    RMDIR("A/D"), RENAME("A/x", "B/x"), RMDIR("A"))},
    {.name = "class_12_two_descriptors",
     .what = "size or block is wrong when two descriptors write, truncate and allocate",
     .setup = STEPS(DIRTY, PUT("x", 0, 5000)),
     .steps = STEPS(FD_OPEN("x", 0), FD_OPEN("x", 1), FD_WRITE(0, 5000, 3000), FD_ALLOCATE(1, 6000, 20000),
		    FD_TRUNCATE(0, 2000), FD_WRITE(1, STEP_APPEND, 100), FD_TRUNCATE(1, 9000),
		    FD_WRITE(0, 12000, 10), FD_TRUNCATE(0, 0), FD_WRITE(1, 100, 5000))},

    {.name = "journal_blocks",
     .what = "fresh blocks and data, and the pointers to them",
     .own = jload_run,
     .lists = {"fdsfdcfd"}},
    {.name = "journal_halves",
     .what = "halves are filled and begun again",
     .own = jload_run,
     .lists = {"bbbsbbbsbbbsbbb"}},
    {.name = "journal_reopen",
     .what = "the journal is opened on what it left before",
     .own = jload_run_on,
     .lists = {"ssbcosmbosbbcos"}},
    {.name = "journal_format",
     .what = "a volume where one was",
     .own = jload_run,
     .lists = {"ssmbsFsms"}},
    {.name = "journal_page",
     .what = "the same on a medium of pages",
     .own = jload_run,
     .granularity = HF_CRASH_PAGE,
     .lists = {"sbcfdbsbcms"}},
    {.name = "journal_two_commits",
     .what = "two threads commit",
     .own = jload_run_two,
     .lists = {"sm", "ms"}},
    {.name = "journal_two_bits",
     .what = "two threads set bits of one word",
     .own = jload_run_two,
     .lists = {"m", "m"}},
    {.name = "journal_two_checkpoint",
     .what = "a thread commits while another makes a checkpoint",
     .own = jload_run_two,
     .lists = {"ss", "c"}},
    {.name = "journal_checkpoint_two",
     .what = "a checkpoint while another thread commits",
     .own = jload_run_two,
     .lists = {"ss|c", "s"}},
    {.name = "journal_two_halves",
     .what = "a thread begins a half again while another makes a checkpoint",
     .own = jload_run_two,
     .lists = {"lslsbbbbbb|c", "bs"}},
    {.name = "journal_byte",
     .what = "the same where caches are durable",
     .own = jload_run,
     .granularity = HF_CRASH_BYTE,
     .lists = {"sbcfdbsbcms"}},
    {.name = "journal_two_lock",
     .what = "two threads change one word under its lock",
     .own = jload_run_two,
     .lists = {"ww", "w"}},
    {.name = "journal_lanes",
     .what = "one after the other, in two lanes",
     .own = jload_run,
     .lists = {"slsllmslscslsslmlslb"}},

    {.name = "metadata_reused",
     .what = "blocks of metadata become data",
     .setup = STEPS(DIRTY, {"scatter", step_scatter, "big", NULL, 0, 0, 12, false}, MKDIR("A"), CREATE("x"),
		    CREATE("y"), CREATE("z"), CREATE("u"), CREATE("v"),
		    {"fill", step_fill_dir, "A", NULL, 0, 0, 20, false}),
     .steps = STEPS(EXTEND("big", 4096, 4096), SETXATTR("big", "user.a", 3000), TRUNCATE("big", 0),
		    EXTEND("x", 0, 4096), EXTEND("y", 0, 4096), EXTEND("z", 0, 4096), EXTEND("u", 0, 4096),
		    EXTEND("v", 0, 4096), SETXATTR("big", "user.a", 2000), EXTEND("v", 8192, 20000))},
    {.name = "attributes",
     .what = "attributes in a block of their own",
     .setup = STEPS(DIRTY, MKDIR("A"), CREATE("A/e"), PUT("x", 0, 100)),
     .steps = STEPS(SETXATTR("x", "user.a", 20), SETXATTR("x", "user.b", 3000),
		    SETXATTR("A", "user.c", 5000), SETXATTR("x", "user.a", 100),
		    {"removexattr", step_removexattr, "x", "user.b", 0, 0, 0, false},
		    {"symlink", step_long_symlink, NULL, "A/l", 0, 0, 0, false})},
    {.name = "directory_grows",
     .what = "buckets are split, the inode table grows",
     .setup = STEPS(DIRTY, MKDIR("A"), {"fill", step_fill_dir, "A", NULL, 0, 0, 44, false}),
     .steps = STEPS(CREATE("A/a"), CREATE("A/b"), CREATE("A/c"), CREATE("A/d"), CREATE("A/e"), CREATE("A/f"),
		    CREATE("A/g"), UNLINK("A/b"), MKDIR("A/h"))},
    {.name = "extension",
     .what = "a file grows over what its last block had",
     .setup = STEPS(DIRTY, PUT("x", 0, 9000), PUT("y", 0, 100), PUT("s", 0, 4096)),
     .steps = STEPS(TRUNCATE("x", 4500), TRUNCATE("x", 6000), TRUNCATE("x", 5000), EXTEND("x", 7000, 100),
		    TRUNCATE("x", 5000), FALLOCATE("x", 5000, 4000), TRUNCATE("y", 50), TRUNCATE("y", 120),
		    TRUNCATE("s", 100), EXTEND("s", 300, 8))},
    {.name = "holes",
     .what = "fallocate, punch, collapse, insert",
     .setup = STEPS(DIRTY, PUT("x", 0, 30000), CREATE("y")),
     .steps = STEPS(FALLOCATE("y", 0, 20000), PUNCH("x", 5000, 12000), FALLOCATE("x", 5000, 12000),
		    {"collapse", step_fallocate, "x", NULL, 4096, 4096, FALLOC_FL_COLLAPSE_RANGE, false},
		    {"insert", step_fallocate, "x", NULL, 8192, 8192, FALLOC_FL_INSERT_RANGE, false},
		    {"zero", step_fallocate, "x", NULL, 100, 6000, FALLOC_FL_ZERO_RANGE, true}, SYNCFS)},
    {.name = "two_reuse",
     .what = "a thread frees a file's blocks while another needs some",
     .setup = STEPS(MKDIR("A"), PUT("A/x", 0, 8192), PUT("y", 0, 4096)),
     .steps = STEPS(TRUNCATE("A/x", 0)),
     .second = STEPS(APPEND("y", 8192))},
    {.name = "two_take",
     .what = "two threads need blocks",
     .setup = STEPS(PUT("x", 0, 4096), PUT("y", 0, 4096)),
     .steps = STEPS(APPEND("x", 4096)),
     .second = STEPS(APPEND("y", 4096))},
    {.name = "threads_trees",
     .what = "two threads, each in a tree of its own, interleaved at every event",
     .own = tload_trees},
    {.name = "threads_orders",
     .what = "two threads on the same files, interleaved at every event",
     .own = tload_orders},
    {.name = "two_inode",
     .what = "two threads change one inode",
     .setup = STEPS(PUT("x", 0, 100)),
     .steps = STEPS(CHMOD("x", 0600)),
     .second = STEPS(TRUNCATE("x", 5000))},
    {.name = "two_next",
     .what = "a file grows into the blocks that another thread frees",
     .setup = STEPS(PUT("y", 0, 4096), PUT("x", 0, 8192)),
     .steps = STEPS(APPEND("y", 4096)),
     .second = STEPS(TRUNCATE("x", 0))},
    {.name = "edges_rewritten",
     .what = "the edges of a hole are written again",
     .setup = STEPS(DIRTY, PUT("x", 0, 20000)),
     .steps = STEPS(PUNCH("x", 1000, 10000), WRITE("x", 1000, 3000), WRITE("x", 8192, 4096), PUNCH("x", 13000, 50),
		    WRITE("x", 12990, 80))},
    {.name = "pins",
     .what = "bytes stored through pins",
     .own = oload_run,
     .lists = {"pin", "01"}},
    {.name = "pins_held",
     .what = "bytes stored through pins that outlive what they pin",
     .own = oload_run,
     .lists = {"hold", "01"}},
    {.name = "views",
     .what = "bytes stored through views",
     .own = oload_run,
     .lists = {"view", "2"}},
    {.name = "bad_media",
     .what = "a page that cannot be read, of those that a mount or a call looks at",
     .own = oload_run_bad,
     .lists = {"write", "015"}},
    {.name = "appends_one_fence",
     .what = "short appends, for which the record vouches, and what happens to the bytes then",
     .setup = STEPS(LANE(2), DIRTY, PUT("x", 0, 5000), PUT("y", 0, 9000)),
     .steps = STEPS(LANE(2), APPEND("x", 100), APPEND("x", 300), WRITE("x", 5050, 200), APPEND("y", 70), LANE(3),
		    PUNCH("y", 8192, 8192), APPEND("x", 500), LANE(2), WRITE("x", 5500, 64), TRUNCATE("x", 5100), APPEND("x", 40))},
    {.name = "appends_and_others",
     .what = "the same, and other files get the blocks",
     .setup = STEPS(LANE(2), PUT("x", 0, 4096), PUT("y", 0, 4096)),
     .steps = STEPS(LANE(2), APPEND("x", 100), LANE(3), TRUNCATE("x", 4096), EXTEND("y", 4096, 4096), LANE(2),
		    APPEND("x", 200), LANE(3), APPEND("x", 10), WRITE("x", 4100, 50), UNLINK("x"), EXTEND("y", 8192, 4096))},
    {.name = "appends_page",
     .what = "short appends on a medium of pages",
     .granularity = HF_CRASH_PAGE,
     .setup = STEPS(LANE(2), PUT("x", 0, 5000)),
     .steps = STEPS(LANE(2), APPEND("x", 100), WRITE("x", 5050, 40), APPEND("x", 3000))},
    {.name = "large_removal",
     .what = "more than one transaction can free",
     .setup = STEPS({"scatter", step_scatter, "big", NULL, 0, 0, 300, false},
		    {"scatter", step_scatter, "huge", NULL, 0, 0, 300, false}),
     .steps = STEPS(TRUNCATE("big", 8192), UNLINK("huge"))},
};

size_t load_count(void)
{
	return sizeof(loads) / sizeof(loads[0]);
}

const struct load *load_find(const char *name)
{
	for (size_t i = 0; i < load_count(); i++)
		if (strcmp(loads[i].name, name) == 0)
			return &loads[i];
	return NULL;
}

/* 0 passed, 1 failed, 2 could not be done. */
static int run_one(const struct load *l, struct load_limits *limits)
{
	struct hf_crash_result sum;
	int err = load_run(l, limits, &sum);

	if (err) {
		printf("%-26s could not be done: %s\n", l->name, err_msg());
		return 2;
	}
	printf("%-26s %s: %llu points, %llu states, %llu images (%llu of recovery, %llu kills), %.2f s%s\n",
	       l->name, sum.failures ? "FAILED" : "passed", (unsigned long long)sum.points,
	       (unsigned long long)sum.states, (unsigned long long)sum.images,
	       (unsigned long long)sum.recovery_images, (unsigned long long)sum.kills, sum.seconds,
	       sum.stopped && !sum.failures ? " (time is up)" : "");
	fflush(stdout);
	return sum.failures ? 1 : 0;
}

static int list(void)
{
	for (size_t i = 0; i < load_count(); i++)
		printf("%-26s %s\n", loads[i].name, loads[i].what);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: crash_classes [--list] [--seconds S] [--images N] [--seed S] [--replay ID] "
			"[--quiet] [NAME...]\n");
	return 2;
}

static int option(struct load_limits *limits, const char *opt, const char *arg)
{
	if (strcmp(opt, "--seconds") == 0)
		limits->seconds = atof(arg);
	else if (strcmp(opt, "--images") == 0)
		limits->max_images = (uint32_t)atoi(arg);
	else if (strcmp(opt, "--seed") == 0)
		limits->seed = strtoull(arg, NULL, 0);
	else if (strcmp(opt, "--replay") == 0)
		limits->replay = arg;
	else
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct load_limits limits = {.seed = 1, .max_images = 128};
	int i = 1, worst = 0;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--list") == 0)
			return list();
		if (strcmp(argv[i], "--quiet") == 0)
			limits.quiet = true;
		else if (i + 1 == argc || option(&limits, argv[i], argv[i + 1]) != 0)
			return usage();
		else
			i++;
	}
	if (i == argc)
		for (size_t n = 0; n < load_count(); n++) {
			int ret = run_one(&loads[n], &limits);

			worst = ret > worst ? ret : worst;
		}
	for (; i < argc; i++) {
		const struct load *l = load_find(argv[i]);
		int ret = l ? run_one(l, &limits) : usage();

		worst = ret > worst ? ret : worst;
	}
	return worst;
}
