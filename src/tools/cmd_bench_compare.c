/* What a user would pick instead: the kernel's filesystems, made ready here. The libraries are in cmd_bench_rivals.c. */
#include "bench_rivals.h"
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPARE_BYTES (128ull << 20)
#define IMAGE_BYTES   (1ll << 30)

extern char **environ;

static int open_in(const char *dir, const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	bench_sys(fd, path);
	return fd;
}

static void make_deep(struct rival *r)
{
	bench_sys(mkdirat(r->dir, "a", 0755), "mkdir");
	bench_sys(mkdirat(r->dir, "a/b", 0755), "mkdir");
	bench_sys(mkdirat(r->dir, "a/b/c", 0755), "mkdir");
	bench_sys(mkdirat(r->dir, RIVAL_PATH, 0755), "mkdir");
}

/* A filesystem that is mounted at dir. */
static void rival_at(struct bench *b, const char *name, const char *durable_name, const char *dir)
{
	struct rival r = {.io = {.span = bench_bytes(b, COMPARE_BYTES)}, .name = name};
	uint64_t off;

	r.dir = open_in(dir, ".", O_RDONLY | O_DIRECTORY);
	r.io.fd = open_in(dir, "data", O_RDWR | O_CREAT | O_TRUNC);
	r.grow = open_in(dir, "grow", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
	for (off = 0; off < r.io.span; off += HF_FRAME_SIZE)
		bench_sys(pwrite(r.io.fd, b->src, HF_FRAME_SIZE, (off_t)off), "fill");
	make_deep(&r);
	bench_huge_file(b, &r.io, "/bench.data", r.io.span);
	r.home = bench_mkdir(b, "/bench.compare");
	bench_mkdir(b, "/bench.compare/a");
	bench_mkdir(b, "/bench.compare/a/b");
	bench_mkdir(b, "/bench.compare/a/b/c");
	bench_rival_rows(b, &r);
	if (durable_name) {
		r.name = durable_name;
		r.sync = true;
		bench_rival_rows(b, &r);
	}
	bench_must(hf_rmdir(b->vol, "/bench.compare/a/b/c"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.compare/a/b"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.compare/a"), "rmdir");
	bench_must(hf_rmdir(b->vol, "/bench.compare"), "rmdir");
	bench_drop_file(b, &r.io, "/bench.data");
	close(r.dir);
	close(r.io.fd);
	close(r.grow);
}

/* True if the command ended well. It says nothing. */
static bool run_it(char *const argv[])
{
	posix_spawn_file_actions_t files;
	int status = -1, err;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	return err == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* In a mount namespace of our own, which goes with us. The image lies on tmpfs: there is no slower medium in between. */
static void against_ext4(struct bench *b)
{
	char image[96], dir[96];
	char *mkfs[] = {(char[]){"mkfs.ext4"}, (char[]){"-q"}, (char[]){"-F"}, image, NULL};
	char *attach[] = {(char[]){"mount"}, (char[]){"-o"}, (char[]){"loop"}, image, dir, NULL};
	int fd;

	snprintf(image, sizeof(image), "%s/ext4.img", b->tmpfs);
	snprintf(dir, sizeof(dir), "%s/ext4", b->tmpfs);
	if (geteuid() != 0)
		return bench_note(b, "ext4 on a loop device", "not measured: only root can mount it");
	fd = open_in(b->tmpfs, "ext4.img", O_RDWR | O_CREAT);
	bench_sys(ftruncate(fd, IMAGE_BYTES), image);
	close(fd);
	if (mkdir(dir, 0700) || !run_it(mkfs))
		return bench_note(b, "ext4 on a loop device", "not measured: mkfs.ext4 does not work here");
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || !run_it(attach))
		return bench_note(b, "ext4 on a loop device", "not measured: no loop device can be mounted here");
	rival_at(b, "ext4", "ext4 + fdatasync", dir);
	bench_sys(umount2(dir, 0), dir);
	unlink(image);
}

void bench_compare(struct bench *b)
{
	char dir[96];

	if (!b->tmpfs[0])
		return bench_note(b, "other ways", BENCH_NO_TMPFS);
	snprintf(dir, sizeof(dir), "%s/tmpfs", b->tmpfs);
	bench_sys(mkdir(dir, 0700), dir);
	rival_at(b, "tmpfs", NULL, dir);
	against_ext4(b);
	bench_rivals(b);
}
