/* Truncate, checkpoint, mount, fsck. */
#include "bench.h"
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB (1ull << 30)
#define MOUNT_FILES 1000000u

struct cut {
	hf_file *file;
	bool scattered;
};

/* 512 huge leaves; scattered: every other frame belongs to another file that is then removed. */
static void cut_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;
	hf_file *other;
	uint64_t off;

	(void)ops;
	bench_must(hf_syncfs(b->vol), "sync");
	bench_must(hf_open(b->vol, "/bench.cut", HF_O_RDWR | HF_O_CREAT, 0600, &c->file), "file");
	if (!c->scattered) {
		bench_must(hf_fallocate(c->file, 0, 0, GIB), "fallocate");
		return;
	}
	bench_must(hf_open(b->vol, "/bench.other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "file");
	for (off = 0; off < GIB; off += 2 << 20) {
		bench_must(hf_fallocate(c->file, 0, off, 2 << 20), "fallocate");
		if (off < GIB / 2)
			bench_must(hf_fallocate(other, 0, off, 2 << 20), "fallocate");
	}
	hf_close(&other);
	bench_must(hf_unlink(b->vol, "/bench.other"), "unlink");
}

static void cut(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;

	(void)b;
	(void)ops;
	bench_must(hf_ftruncate(c->file, 0), "truncate");
}

static void cut_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct cut *c = ctx;

	(void)ops;
	hf_close(&c->file);
	bench_must(hf_unlink(b->vol, "/bench.cut"), "unlink");
}

/* One truncate is too short to pair with one raw write: each is timed by itself, the raw write over many. */
static void bench_truncate(struct bench *b, bool scattered, const char *name, double target)
{
	double ours[7], raw[7], t0;
	struct cut c = {.scattered = scattered};
	unsigned i;

	for (i = 0; i < 7; i++) {
		cut_prepare(b, &c, 1);
		raw[i] = bench_raw_64_ns(b);
		t0 = bench_now_ns();
		cut(b, &c, 1);
		ours[i] = bench_now_ns() - t0;
		cut_undo(b, &c, 1);
	}
	qsort(ours, 7, sizeof(ours[0]), bench_compare_double);
	qsort(raw, 7, sizeof(raw[0]), bench_compare_double);
	bench_print(b, name, ours[3], raw[3], "raw 64 B", target, false);
}

/* What a checkpoint costs for each operation that came before it. */
static void bench_checkpoint(struct bench *b)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	double per_op[7], t0;
	struct hf_stat st;
	char name[32];
	unsigned i, k;

	bench_must(hf_mkdir(b->vol, "/bench.ckpt", 0755), "mkdir");
	bench_must(hf_stat(b->vol, "/bench.ckpt", &st), "stat");
	for (i = 0; i < 7; i++) {
		bench_must(hf_syncfs(b->vol), "sync");
		for (k = 0; k < 500; k++) {
			snprintf(name, sizeof(name), "%u-%u", i, k);
			bench_must(hf_inode_create(b->vol, st.id, name, &how, NULL), "create");
		}
		t0 = bench_now_ns();
		bench_must(hf_syncfs(b->vol), "sync");
		per_op[i] = (bench_now_ns() - t0) / 500;
		for (k = 0; k < 500; k++) {
			snprintf(name, sizeof(name), "%u-%u", i, k);
			bench_must(hf_inode_unlink(b->vol, st.id, name), "unlink");
		}
	}
	bench_must(hf_rmdir(b->vol, "/bench.ckpt"), "rmdir");
	qsort(per_op, 7, sizeof(per_op[0]), bench_compare_double);
	bench_print(b, "checkpoint, per operation (target: 35 ns)", per_op[3], 0, "-", 0, false);
}

/* A child fills the volume and is killed; what is left is mounted. */
static void kill_filler(const char *path, unsigned files)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct hf_stat st;
	hf_volume *vol;
	char name[32];
	unsigned i;
	pid_t pid = fork();

	if (pid == 0) {
		bench_must(hf_mount(&vol, path, &opts), "mount");
		for (i = 0; i < files; i++) {
			if (i % 10000 == 0) {
				snprintf(name, sizeof(name), "/d%u", i / 10000);
				bench_must(hf_mkdir(vol, name, 0755), "mkdir");
				bench_must(hf_stat(vol, name, &st), "stat");
			}
			snprintf(name, sizeof(name), "file-%u", i);
			bench_must(hf_inode_create(vol, st.id, name, &how, NULL), "create");
		}
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
}

static void time_mount(struct bench *b, const char *path, const char *name, const char *target)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	double t0 = bench_now_ns(), ns;
	hf_volume *vol;

	bench_must(hf_mount(&vol, path, &opts), name);
	ns = bench_now_ns() - t0;
	bench_must(hf_unmount(&vol), "unmount");
	bench_print(b, name, ns, 0, target, 0, false);
}

static void bench_mount(struct bench *b)
{
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .bytes = 1ull << 40, .sparse = true};
	struct hf_check_options check = {.struct_size = sizeof(check)};
	struct hf_check_result res;
	char path[96];

	if (!b->tmpfs[0])
		return bench_note(b, "mount", "no /dev/shm: not measured");
	snprintf(path, sizeof(path), "%s/volume", b->tmpfs);
	bench_must(hf_format(path, &fmt), "format");
	time_mount(b, path, "mount, empty, 1 TiB, sparse", "-");
	kill_filler(path, MOUNT_FILES);
	time_mount(b, path, "mount after a kill, 1 M files, 1 TiB", "target: 15 ms");
	time_mount(b, path, "mount, clean, 1 M files, 1 TiB", "-");
	bench_must(hf_check(path, &check, &res), "check");
	bench_print(b, "fsck, 1 M files, 1 TiB", res.seconds * 1e9, 0, "target: 0.5 s", 0, false);
	if (res.findings)
		bench_must(-EUCLEAN, "fsck");
	unlink(path);
}

void bench_volume(struct bench *b)
{
	bench_truncate(b, false, "truncate 1 GiB of adjacent huge leaves", 45);
	bench_truncate(b, true, "truncate 1 GiB of scattered huge leaves", 120);
	bench_checkpoint(b);
	bench_mount(b);
}
