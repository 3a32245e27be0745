/* Runs the table.
 *
 *	posix [--only TEXT] [--list] [--verbose] library [VOLUME]
 *	posix [...] [--kernel-fs] [--other DIR] mount DIR [RDONLY-COMMAND]
 *
 * library: each case in a volume in memory; the read-only cases in VOLUME, a file that is overwritten.
 * mount: in DIR, which has to be writable for root. The read-only cases run in DIR after it was made read-only: by
 * RDONLY-COMMAND, or, without one, by a bind mount in a mount namespace of the program's own.
 * --kernel-fs: DIR is one of the kernel's own filesystems, so that the table is on trial: nothing may differ deliberately.
 */
#include "posix.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>

#define EXIT_SKIP 77

static const struct px_group *const groups[] = {
    &px_paths, &px_names,  &px_links, &px_rename, &px_open, &px_attr,	&px_times,
    &px_data,  &px_sparse, &px_dirs,  &px_xattr,  &px_perm, &px_kernel, &px_readonly,
};
#define GROUPS (sizeof(groups) / sizeof(groups[0]))

static struct {
	const struct px_backend *b;
	const char *only, *dir, *rdonly_command, *volume, *other;
	unsigned not_here; /* enum px_where: cases to leave out */
	bool kernel_fs, verbose, list;
	unsigned cases, passed, failed, differ, left_out;
} run;

static const char *reason_to_differ(const struct px_case *c)
{
	if (run.b == &px_library)
		return c->lib;
	return run.kernel_fs ? NULL : c->mount;
}

static int case_run(const struct px_case *c)
{
	int err;

	px_failure_clear();
	err = run.b->begin();
	if (err)
		return px_fail("begin: %s", strerror(-err));
	err = px_script(run.b, c->script);
	if (run.b->end())
		err = -1;
	return err;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void case_do(const struct px_group *g, const struct px_case *c)
{
	const char *differs = reason_to_differ(c);
	char name[128];
	double begin;
	int err;

	snprintf(name, sizeof(name), "%s/%s", g->name, c->name);
	if (run.only && !strstr(name, run.only))
		return;
	run.cases++;
	if (run.list) {
		printf("%s\t%s\n", name, c->script);
		return;
	}
	if (c->where & run.not_here) {
		run.left_out++;
		return;
	}
	begin = seconds();
	err = case_run(c);
	if (err && !differs) {
		run.failed++;
		printf("FAIL %s: %s\n", name, px_failure());
	} else if (err) {
		run.differ++;
		printf("differs %s: %s (%s)\n", name, differs, px_failure());
	} else if (differs) {
		run.failed++;
		printf("FAIL %s: is said to differ, and does not: %s\n", name, differs);
	} else {
		run.passed++;
		if (run.verbose)
			printf("ok %s %.3f s\n", name, seconds() - begin);
	}
}

static void group_run(const struct px_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		case_do(g, &g->cases[i]);
}

/* ---- the read-only tree */

static int rdonly_bind(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(run.dir, run.dir, NULL, MS_BIND, NULL) ||
	    mount(NULL, run.dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
		return -errno;
	return 0;
}

/* What all the read-only cases find. */
static const char tree[] =
	"create f; open A f w; write A 0 100 x; close A; mkdir d; create d/g; mkdir e; symlink f l; mknod p p;"
	"setx f user.a 1";

static int rdonly_prepare(const struct px_backend *b)
{
	px_failure_clear();
	if (px_script(b, tree)) {
		printf("FAIL readonly: the tree cannot be made: %s\n", px_failure());
		run.failed++;
		return -1;
	}
	return 0;
}

static void rdonly_cases(void)
{
	for (size_t i = 0; i < px_readonly.n; i++)
		case_do(&px_readonly, &px_readonly.cases[i]);
}

static int rdonly_in_place(void)
{
	return chdir(run.dir) || chdir("readonly") ? -errno : 0;
}
static int rdonly_end(void)
{
	for (int i = 0; i < PX_SLOTS; i++)
		px_system.close(i);
	return 0;
}

static void rdonly_system(void)
{
	static struct px_backend b;
	int err;

	b = px_system;
	b.begin = rdonly_in_place;
	b.end = rdonly_end;
	if (chdir(run.dir) || b.mkdir("readonly", 0755) || chdir("readonly") || rdonly_prepare(&b))
		return;
	px_system_open("/", run.other); /* lets go of the mount */
	err = chdir("/");
	if (!err)
		err = run.rdonly_command ? system(run.rdonly_command) : rdonly_bind();
	if (err) {
		printf("FAIL readonly: '%s' cannot be made read-only (%d)\n", run.dir, err);
		run.failed++;
		return;
	}
	run.b = &b;
	rdonly_cases();
}

static void rdonly_library(void)
{
	int err = px_library_rdonly(run.volume);

	if (!err)
		err = px_library.begin();
	if (err) {
		printf("FAIL readonly: the volume '%s': %s\n", run.volume, strerror(-err));
		run.failed++;
		return;
	}
	err = rdonly_prepare(&px_library);
	px_library.end();
	if (!err)
		rdonly_cases();
}

static void rdonly(void)
{
	if (run.list)
		rdonly_cases();
	else if (run.b == &px_library && run.volume)
		rdonly_library();
	else if (run.b == &px_system)
		rdonly_system();
	else
		run.left_out += (unsigned)px_readonly.n;
}

/* ---- */

static int usage(void)
{
	fprintf(stderr, "usage: posix [--only TEXT] [--list] [--verbose] [--kernel-fs] [--other DIR]\n"
			"             library [VOLUME] | mount DIR [RDONLY-COMMAND]\n");
	return 2;
}

static int mount_prepare(void)
{
	struct statfs st;

	if (geteuid() != 0) {
		printf("skipped: other users and read-only mounts need root\n");
		return EXIT_SKIP;
	}
	if (statfs(run.dir, &st) || px_system_open(run.dir, run.other)) {
		fprintf(stderr, "posix: '%s': %s\n", run.dir, strerror(errno));
		return 1;
	}
	if (run.kernel_fs)
		run.not_here = st.f_type == TMPFS_MAGIC	      ? PX_NOT_TMPFS
			       : st.f_type == EXT4_SUPER_MAGIC ? PX_NOT_EXT4
							       : 0;
	return 0;
}

static int arguments(int argc, char **argv)
{
	int i = 1;

	run.other = "/dev/shm";
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--verbose") == 0)
			run.verbose = true;
		else if (strcmp(argv[i], "--list") == 0)
			run.list = true;
		else if (strcmp(argv[i], "--kernel-fs") == 0)
			run.kernel_fs = true;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			run.only = argv[++i];
		else if (strcmp(argv[i], "--other") == 0 && i + 1 < argc)
			run.other = argv[++i];
		else
			return usage();
	}
	if (i < argc && strcmp(argv[i], "library") == 0) {
		run.b = &px_library;
		run.volume = i + 1 < argc ? argv[i + 1] : NULL;
		run.not_here = PX_KERNEL;
		return 0;
	}
	if (i + 1 >= argc || strcmp(argv[i], "mount") != 0)
		return usage();
	run.b = &px_system;
	run.dir = argv[i + 1];
	run.rdonly_command = i + 2 < argc ? argv[i + 2] : NULL;
	return mount_prepare();
}

int main(int argc, char **argv)
{
	int err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	err = arguments(argc, argv);
	if (err)
		return err;
	for (size_t i = 0; i < GROUPS; i++)
		if (groups[i] != &px_readonly)
			group_run(groups[i]);
	rdonly();
	if (run.list)
		return 0;
	printf("%s: %u cases, %u passed, %u failed, %u differ deliberately, %u do not apply\n",
	       run.dir ? run.dir : run.b->name, run.cases, run.passed, run.failed, run.differ,
	       run.left_out);
	return run.failed ? 1 : 0;
}
