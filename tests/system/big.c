/* What grows and what does not.
 *
 *	big dir [--files N]	names in one directory: a thousand against many; a mount after a
 *kill with as many files big vol [--gib N]	a sparse volume of that size: time of a mount, and
 *memory
 *
 * Times are printed, and only orders of magnitude are asserted: machines differ. Memory is
 *asserted.
 */
#include <holdfast.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GIB (1ull << 30)

static char path[256];

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void must(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "big: %s gave %lld: %s\n", what, (long long)ret, hf_errormsg());
	unlink(path);
	exit(1);
}

static void assert_that(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "big: not so: %s\n", what);
	unlink(path);
	exit(1);
}

static void make(uint64_t bytes)
{
	const struct hf_format_options o = {
	    .struct_size = sizeof(o), .bytes = bytes, .sparse = true, .force = true};

	unlink(path);
	must(hf_format(path, &o), "format");
}

static hf_volume *mount_it(void)
{
	const struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_NO_MSYNC};
	hf_volume *vol;

	must(hf_mount(&vol, path, &o), "mount");
	return vol;
}

/* Resident memory that is this process's own, in KiB: the volume's pages are the medium. */
static long own_memory_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtol(line + 8, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

/* ---- many names */

static void name_of(char name[64], const char *dir, uint64_t i)
{
	snprintf(name, 64, "%s/file-%llu", dir, (unsigned long long)i);
}

static double per_op(int64_t since, uint64_t n)
{
	return (double)(now_ns() - since) / (double)n;
}

struct times {
	double create, stat, readdir, unlink;
};

static uint64_t count_names(hf_volume *vol, const char *dir)
{
	struct hf_dirent e;
	uint64_t n = 0;
	hf_dir *d;

	must(hf_opendir(vol, dir, &d), "opendir");
	while (hf_readdir(d, &e) == 1)
		n++;
	hf_closedir(&d);
	return n;
}

static struct times fill_dir(hf_volume *vol, const char *dir, uint64_t files)
{
	struct times t;
	struct hf_stat st;
	char name[64];
	int64_t t0;

	must(hf_mkdir(vol, dir, 0755), "mkdir");
	t0 = now_ns();
	for (uint64_t i = 0; i < files; i++) {
		name_of(name, dir, i);
		must(hf_mknod(vol, name, S_IFREG | 0644, 0), "mknod");
	}
	t.create = per_op(t0, files);
	t0 = now_ns();
	for (uint64_t i = 0; i < files; i++) {
		name_of(name, dir, i * 7919 % files);
		must(hf_stat(vol, name, &st), "stat");
	}
	t.stat = per_op(t0, files);
	t0 = now_ns();
	assert_that(count_names(vol, dir) == files + 2, "readdir gives every name once");
	t.readdir = per_op(t0, files);
	/* one in ten goes */
	t0 = now_ns();
	for (uint64_t i = 0; i < files; i += 10) {
		name_of(name, dir, i);
		must(hf_unlink(vol, name), "unlink");
	}
	t.unlink = per_op(t0, (files + 9) / 10);
	assert_that(count_names(vol, dir) == files + 2 - (files + 9) / 10, "readdir after unlink");
	return t;
}

static void print_times(uint64_t files, const struct times *t)
{
	printf("%8llu names: create %.0f ns, stat %.0f ns, readdir %.0f ns, unlink %.0f ns\n",
	       (unsigned long long)files, t->create, t->stat, t->readdir, t->unlink);
}

/* A process makes the files and dies with the volume mounted. */
static void die_with_files(uint64_t files)
{
	hf_volume *vol;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct times small, many;

		vol = mount_it();
		small = fill_dir(vol, "/thousand", 1000);
		print_times(1000, &small);
		many = fill_dir(vol, "/many", files);
		print_times(files, &many);
		fflush(stdout);
		/* caches are smaller than a million inodes; a scan would be worse by a hundred
		 * times */
		assert_that(many.create < 40 * small.create + 20000 &&
				many.stat < 40 * small.stat + 20000,
			    "an operation among many names costs about what it costs among few");
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	assert_that(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child got to its end");
}

static int big_dir(uint64_t files)
{
	struct hf_check_result res;
	struct hf_info info;
	hf_volume *vol;
	int64_t t0;

	make(64 * (1ull << 20) + files * 600);
	die_with_files(files);
	t0 = now_ns();
	vol = mount_it();
	must(hf_info(vol, &info), "info");
	printf("mount after a kill: %.1f ms, %llu transactions replayed, %ld KiB of memory\n",
	       (double)(now_ns() - t0) / 1e6, (unsigned long long)info.replayed, own_memory_kib());
	assert_that(own_memory_kib() < 64 * 1024, "a mount takes less than 64 MiB");
	assert_that(count_names(vol, "/many") == files + 2 - (files + 9) / 10,
		    "every name that was made is there");
	must(hf_unmount(&vol), "unmount");
	t0 = now_ns();
	must(hf_check(path, NULL, &res), "check");
	printf("check: %.2f s, %llu inodes\n", (double)(now_ns() - t0) / 1e9,
	       (unsigned long long)res.inodes);
	assert_that(res.findings == 0, "the check finds nothing");
	unlink(path);
	return 0;
}

/* ---- a large volume */

static int big_vol(uint64_t gib)
{
	int64_t t0 = now_ns();
	hf_volume *vol;
	hf_file *f;
	double s;

	make(gib * GIB);
	printf("%llu GiB: format %.2f s", (unsigned long long)gib, (double)(now_ns() - t0) / 1e9);
	for (int i = 0; i < 2; i++) {
		t0 = now_ns();
		vol = mount_it();
		s = (double)(now_ns() - t0) / 1e9;
		printf(", mount %.3f s and %ld KiB", s, own_memory_kib());
		assert_that(own_memory_kib() < 64 * 1024, "a mount takes less than 64 MiB");
		assert_that(s < 20, "a mount takes seconds at most");
		must(hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT, 0600, &f), "open");
		must(hf_pwrite(f, "x", 1, gib * GIB * 2), "a write far out");
		must(hf_close(&f), "close");
		t0 = now_ns();
		must(hf_unmount(&vol), "unmount");
		printf(", unmount %.3f s", (double)(now_ns() - t0) / 1e9);
	}
	printf("\n");
	unlink(path);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"files", required_argument, NULL, 'f'},
	    {"gib", required_argument, NULL, 'g'},
	    {0},
	};
	uint64_t files = 1000000, gib = 1024;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (c = getopt_long(argc, argv, "", longs, NULL); c != -1;
	     c = getopt_long(argc, argv, "", longs, NULL)) {
		if (c == 'f')
			files = strtoull(optarg, NULL, 0);
		else if (c == 'g')
			gib = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	snprintf(path, sizeof(path), "big.%d.vol", (int)getpid());
	if (optind < argc && strcmp(argv[optind], "dir") == 0)
		return big_dir(files);
	if (optind < argc && strcmp(argv[optind], "vol") == 0)
		return big_vol(gib);
	fprintf(stderr, "usage: big dir [--files N] | big vol [--gib N]\n");
	return 2;
}
