/* Names: create, look up, rename, unlink. */
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY_NAMES 1000000u
#define BATCH      1000u

struct names {
	struct hf_id dir[2];
	uint64_t next;			/* names are numbers; an undo removes what a round made */
	char tmpfs[96];
	bool cross;
};

static void name_of(char out[32], uint64_t n)
{
	memcpy(out, "name-", 5);
	out += 5;
	for (int i = 7; i >= 0; i--, n /= 10)
		out[i] = (char)('0' + n % 10);
	out[8] = 0;
}

static void create(struct bench *b, void *ctx, unsigned ops)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct names *n = ctx;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++) {
		name_of(name, n->next + i);
		bench_must(hf_inode_create(b->vol, n->dir[0], name, &how, NULL), "create");
	}
}

static void unlink_all(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++) {
		name_of(name, n->next + i);
		bench_must(hf_inode_unlink(b->vol, n->dir[0], name), "unlink");
	}
}

/* Away from the names that exist, and back in the next round. */
static void rename_all(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char from[32], to[32];
	unsigned i;

	for (i = 0; i < ops; i++) {
		name_of(from, n->next + i);
		name_of(to, n->next + i + 50000000);
		bench_must(hf_inode_rename(b->vol, n->dir[0], from, n->dir[n->cross], to, 0), "rename");
	}
}

static void rename_back(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char from[32], to[32];
	unsigned i;

	for (i = 0; i < ops; i++) {
		name_of(to, n->next + i);
		name_of(from, n->next + i + 50000000);
		bench_must(hf_inode_rename(b->vol, n->dir[n->cross], from, n->dir[0], to, 0), "rename");
	}
	unlink_all(b, ctx, ops);
}

static void lookup_path(struct bench *b, void *ctx, unsigned ops)
{
	struct hf_stat st;

	(void)ctx;
	while (ops--)
		bench_must(hf_stat(b->vol, "/bench.a/b/c/d", &st), "stat");
}

static void tmpfs_stat(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct stat st;

	(void)b;
	while (ops--)
		bench_must(stat(n->tmpfs, &st), "tmpfs stat");
}

static void tmpfs_create(struct bench *b, void *ctx, unsigned ops)
{
	char path[128], name[32];
	unsigned i;
	int fd;

	(void)ctx;
	for (i = 0; i < ops; i++) {
		name_of(name, i);
		snprintf(path, sizeof(path), "%s/%s", b->tmpfs, name);
		fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
		bench_must(fd, "tmpfs create");
		close(fd);
	}
}

static void tmpfs_unlink(struct bench *b, void *ctx, unsigned ops)
{
	char path[128], name[32];
	unsigned i;

	(void)ctx;
	for (i = 0; i < ops; i++) {
		name_of(name, i);
		snprintf(path, sizeof(path), "%s/%s", b->tmpfs, name);
		bench_must(unlink(path), "tmpfs unlink");
	}
}

static void both_unlink(struct bench *b, void *ctx, unsigned ops)
{
	unlink_all(b, ctx, ops);
	tmpfs_unlink(b, ctx, ops);
}

static void both_create(struct bench *b, void *ctx, unsigned ops)
{
	create(b, ctx, ops);
	tmpfs_create(b, ctx, ops);
}

static struct hf_id make_dir(struct bench *b, const char *path)
{
	struct hf_stat st;

	bench_must(hf_mkdir(b->vol, path, 0755), path);
	bench_must(hf_stat(b->vol, path, &st), path);
	return st.id;
}

static void names_small(struct bench *b, struct names *n)
{
	bench_run(b, &(struct bench_row){.name = "create", .raw_name = "raw 64 B", .target = 3.2, .ops = BATCH, .ours = create,
					 .raw = bench_raw_write_64, .undo = unlink_all, .ctx = n});
	bench_run(b, &(struct bench_row){.name = "unlink", .raw_name = "raw 64 B", .target = 2.6, .ops = BATCH, .prepare = create,
					 .ours = unlink_all, .raw = bench_raw_write_64, .ctx = n});
	bench_run(b, &(struct bench_row){.name = "rename", .raw_name = "raw 64 B", .target = 3.0, .ops = BATCH, .prepare = create,
					 .ours = rename_all, .raw = bench_raw_write_64, .undo = rename_back, .ctx = n});
	n->cross = true;
	bench_run(b, &(struct bench_row){.name = "rename across directories", .raw_name = "raw 64 B", .target = 3.5, .ops = BATCH,
					 .prepare = create, .ours = rename_all, .raw = bench_raw_write_64, .undo = rename_back,
					 .ctx = n});
	n->cross = false;
}

static void names_tmpfs(struct bench *b, struct names *n)
{
	char path[128];

	make_dir(b, "/bench.a");
	make_dir(b, "/bench.a/b");
	make_dir(b, "/bench.a/b/c");
	make_dir(b, "/bench.a/b/c/d");
	if (!b->tmpfs[0])
		return bench_note(b, "names against tmpfs", "no /dev/shm: not measured");
	snprintf(n->tmpfs, sizeof(n->tmpfs), "%s/b/c/d", b->tmpfs);
	snprintf(path, sizeof(path), "%s/b", b->tmpfs);
	bench_must(mkdir(path, 0755), "tmpfs mkdir");
	snprintf(path, sizeof(path), "%s/b/c", b->tmpfs);
	bench_must(mkdir(path, 0755), "tmpfs mkdir");
	bench_must(mkdir(n->tmpfs, 0755), "tmpfs mkdir");
	bench_run(b, &(struct bench_row){.name = "look up 4 components, warm, times faster", .raw_name = "tmpfs stat", .target = 8,
					 .faster = true, .ops = 20000, .ours = lookup_path, .raw = tmpfs_stat, .ctx = n});
	bench_run(b, &(struct bench_row){.name = "create, times faster", .raw_name = "tmpfs creat+close", .target = 12, .faster = true,
					 .ops = BATCH, .ours = create, .raw = tmpfs_create, .undo = both_unlink, .ctx = n});
	bench_run(b, &(struct bench_row){.name = "unlink, times faster", .raw_name = "tmpfs unlink", .target = 12, .faster = true,
					 .ops = BATCH, .prepare = both_create, .ours = unlink_all, .raw = tmpfs_unlink, .ctx = n});
}

static void fill(struct bench *b, struct names *n, unsigned count)
{
	struct progress bar;
	unsigned done;

	progress_begin(&bar, "a million names", !b->json);
	for (done = 0; done < count; done += 10000) {
		n->next = 1000000 + done;
		create(b, n, 10000);
		progress_update(&bar, done, count, "names");
	}
	progress_end(&bar);
	n->next = 0;
}

/* Cold: names at random places of a directory that is larger than the caches. */
static void lookup_random(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct hf_stat st;
	char name[32];

	while (ops--) {
		name_of(name, 1000000 + bench_random(b) % MANY_NAMES);
		bench_must(hf_inode_lookup(b->vol, n->dir[0], name, &st), "lookup");
	}
}

static void iterate(struct bench *b, struct names *n, unsigned count, const char *name)
{
	struct hf_dirent e;
	hf_dir *dir;
	double t0 = bench_now_ns();
	unsigned seen = 0;

	bench_must(hf_inode_opendir(b->vol, n->dir[0], &dir), "opendir");
	while (hf_readdir(dir, &e) == 1)
		seen++;
	hf_closedir(&dir);
	bench_print(b, name, (bench_now_ns() - t0) / seen, 0, "per name", 0, false);
	if (seen != count + 2)
		bench_must(-EUCLEAN, "the number of names read");
}

/* The same operations among a thousand and among a million names. */
static void names_many(struct bench *b)
{
	struct names n = {.dir = {make_dir(b, "/bench.many")}};
	double t0;

	fill(b, &n, MANY_NAMES);
	bench_run(b, &(struct bench_row){.name = "create among a million names, cold", .raw_name = "raw 64 B", .target = 6, .ops = BATCH,
					 .ours = create, .raw = bench_raw_write_64, .undo = unlink_all, .ctx = &n});
	bench_run(b, &(struct bench_row){.name = "look up among a million names, cold", .raw_name = "raw 64 B", .ops = BATCH,
					 .ours = lookup_random, .raw = bench_raw_write_64, .ctx = &n});
	iterate(b, &n, MANY_NAMES, "readdir of a million names");
	t0 = bench_now_ns();
	n.next = 1000000;
	unlink_all(b, &n, MANY_NAMES);
	bench_print(b, "unlink of a million names", (bench_now_ns() - t0) / MANY_NAMES, 0, "per name", 0, false);
	bench_must(hf_rmdir(b->vol, "/bench.many"), "rmdir");
}

void bench_names(struct bench *b)
{
	struct names n = {.dir = {make_dir(b, "/bench.d0"), make_dir(b, "/bench.d1")}};

	n.next = 1000000;
	create(b, &n, 1000);		/* a thousand names are there already */
	n.next = 0;
	names_small(b, &n);
	names_tmpfs(b, &n);
	iterate(b, &n, 1000, "readdir of a thousand names");
	n.next = 1000000;
	unlink_all(b, &n, 1000);
	bench_must(hf_rmdir(b->vol, "/bench.d0"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.d1"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.a/b/c/d"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.a/b/c"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.a/b"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.a"), "rmdir");
	names_many(b);
}
