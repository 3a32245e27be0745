/* Mount, mount after a kill, fsck: over the number of files, over the size of the volume. */
#include "bench.h"
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB	      (1ull << 30)
#define PER_DIR	      10000u
#define MOUNT_ROUNDS  6u
#define MOUNT_TRIES   2u
#define CHANGED_FILES 20000u		/* since the last mount, when it is killed */

static const unsigned files[] = {1000, 10000, 100000, 1000000};
static const uint64_t sizes[] = {GIB, 32 * GIB, 1024 * GIB};
#define FILES (sizeof(files) / sizeof(files[0]))
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct volume {
	uint64_t bytes;
	unsigned files;
	char path[96], what[64];
	hf_volume *vol;
};

static int mount_it(struct volume *v)
{
	const struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE};

	return hf_mount(&v->vol, v->path, &opts);
}

static void make_files(struct volume *v, const char *prefix, unsigned n)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct hf_stat st;
	char name[48];
	unsigned i;

	for (i = 0; i < n; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof(name), "/%s%u", prefix, i / PER_DIR);
			bench_must(hf_mkdir(v->vol, name, 0755), "mkdir");
			bench_must(hf_stat(v->vol, name, &st), "stat");
		}
		snprintf(name, sizeof(name), "file-%u", i);
		bench_must(hf_inode_create(v->vol, st.id, name, &how, NULL), "create");
	}
}

static void remove_files(struct volume *v, const char *prefix, unsigned n)
{
	struct hf_stat st;
	char name[48];
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "/%s%u", prefix, i / PER_DIR);
		if (i % PER_DIR == 0)
			bench_must(hf_stat(v->vol, name, &st), "stat");
		snprintf(name, sizeof(name), "file-%u", i);
		bench_must(hf_inode_unlink(v->vol, st.id, name), "unlink");
		snprintf(name, sizeof(name), "/%s%u", prefix, i / PER_DIR);
		if (i % PER_DIR == PER_DIR - 1 || i + 1 == n)
			bench_must(hf_rmdir(v->vol, name), "rmdir");
	}
}

static void volume_make(struct bench *b, struct volume *v)
{
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .bytes = v->bytes, .sparse = true};
	char size[16];

	snprintf(v->path, sizeof(v->path), "%s/volume", b->tmpfs);
	snprintf(v->what, sizeof(v->what), "%u files, %s", v->files, bench_size(v->bytes, size));
	bench_must(hf_format(v->path, &fmt), "format");
	bench_must(mount_it(v), "mount");
	make_files(v, "d", v->files);
	bench_must(hf_unmount(&v->vol), "unmount");
}

/* Changes the volume, and is killed: names that an earlier one made are removed, or made again. */
static void kill_one(struct bench *b, struct volume *v, bool make)
{
	unsigned n = bench_count(b, CHANGED_FILES);
	pid_t pid = fork();
	int status;

	bench_must(pid, "fork");
	if (pid == 0) {
		bench_must(mount_it(v), "mount");
		if (make)
			make_files(v, "changed", n);
		else
			remove_files(v, "changed", n);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status))
		bench_must(-EIO, "the process that was to be killed");
}

static void volume_point(struct bench *b, const struct volume *v, const char *line, double ns)
{
	if (v->bytes == sizes[SIZES - 1])
		bench_point(b, "mount_files", line, v->files, ns);
	if (v->files == files[0])
		bench_point(b, "mount_size", line, (double)v->bytes, ns);
}

/* True: nobody else got the processor meanwhile. */
static bool mount_once(struct volume *v, double *ns)
{
	long before = bench_preemptions(), after;
	double t0 = bench_now_ns();

	bench_must(mount_it(v), v->what);
	*ns = bench_now_ns() - t0;
	after = bench_preemptions();
	bench_must(hf_unmount(&v->vol), "unmount");
	return after == before;
}

static void mount_row(struct bench *b, struct volume *v, bool killed)
{
	char name[128];
	struct bench_result r = {.name = name, .raw_name = "-"};
	unsigned i, tries, turn = 0, n = bench_rounds(b, MOUNT_ROUNDS);
	double ns[MOUNT_ROUNDS];
	bool quiet;

	for (i = 0; i < n; i++) {
		quiet = false;
		for (tries = 0; tries < MOUNT_TRIES && !quiet; tries++) {
			if (killed)
				kill_one(b, v, turn++ % 2 == 0);
			quiet = mount_once(v, &ns[i]);
		}
	}
	if (turn % 2) {		/* what the last kill left goes */
		kill_one(b, v, false);
		mount_once(v, &(double){0});
	}
	snprintf(name, sizeof(name), "mount %s, %s", killed ? "after a kill" : "clean", v->what);
	bench_pairs(&r, ns, NULL, n);
	bench_report(b, &r);
	volume_point(b, v, killed ? "mount after a kill" : "mount, clean", r.ns);
}

static uint64_t anonymous_bytes(void)
{
	FILE *from = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[128];

	while (from && fgets(line, sizeof(line), from))
		if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
			break;
	if (from)
		fclose(from);
	return kib * 1024;
}

/* What a mount needs of the process's own memory; the volume itself is not counted. */
static void memory_row(struct bench *b, struct volume *v)
{
	uint64_t before, after;
	char name[128], text[32];

	malloc_trim(0);
	before = anonymous_bytes();
	bench_must(mount_it(v), v->what);
	after = anonymous_bytes();
	bench_must(hf_unmount(&v->vol), "unmount");
	after = after > before ? after - before : 0;
	snprintf(name, sizeof(name), "memory of a mount, %s", v->what);
	bench_add(b, json_pack("{s:s,s:s,s:I}", "group", b->group, "name", name, "bytes", (json_int_t)after));
	if (!b->json)
		printf("%-50s %11s\n", name, tool_human(after, text));
}

static void fsck_row(struct bench *b, struct volume *v)
{
	struct hf_check_options check = {.struct_size = sizeof(check)};
	char name[128];
	struct bench_result r = {.name = name, .raw_name = "-"};
	struct hf_check_result res;
	unsigned i, n = bench_rounds(b, 3);
	double ns[3];

	for (i = 0; i < n; i++) {
		bench_must(hf_check(v->path, &check, &res), "check");
		if (res.findings)
			bench_must(-EUCLEAN, "fsck found damage");
		ns[i] = res.seconds * 1e9;
	}
	snprintf(name, sizeof(name), "fsck, %s", v->what);
	bench_pairs(&r, ns, NULL, n);
	bench_report(b, &r);
	volume_point(b, v, "fsck", r.ns);
}

static void volume_rows(struct bench *b, uint64_t bytes, unsigned n)
{
	struct volume v = {.bytes = bytes, .files = b->quick ? (unsigned)min_u64(n, 2000) : n};

	volume_make(b, &v);
	mount_row(b, &v, true);
	mount_row(b, &v, false);
	memory_row(b, &v);
	fsck_row(b, &v);
	unlink(v.path);
}

/* All pairs; or the largest volume with each number of files, and the fewest files in each size. */
void bench_volume(struct bench *b)
{
	size_t i, k;

	if (!b->tmpfs[0])
		return bench_note(b, "mount", BENCH_NO_TMPFS);
	/* what one mount gave back is not taken from the heap by the next, and zeroed: most processes mount once */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	for (i = 0; i < SIZES; i++)
		for (k = 0; k < FILES; k++)
			if (b->full || i == SIZES - 1 || k == 0)
				volume_rows(b, sizes[i], files[k]);
}
