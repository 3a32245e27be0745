/* The same operations on a volume and, by system calls, on a filesystem of the kernel. */
#include "bench_rivals.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_OPS 8000u
#define NAME_OPS  1000u
#define SYNC_OPS  100u

static void durable(const struct rival *r, int fd)
{
	if (r->sync)
		bench_sys(fdatasync(fd), "fdatasync");
}

static void their_write(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	while (ops--) {
		bench_sys(pwrite(r->io.fd, b->src, r->io.bytes, (off_t)bench_place(b, &r->io, NULL)), "pwrite");
		durable(r, r->io.fd);
	}
}

static void their_read(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	while (ops--)
		bench_sys(pread(r->io.fd, b->dst, r->io.bytes, (off_t)bench_place(b, &r->io, NULL)), "pread");
}

static void append_prepare(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	(void)ops;
	bench_must(hf_open(b->vol, "/bench.append", HF_O_RDWR | HF_O_CREAT | HF_O_TRUNC, 0600, &r->appended), "append file");
	bench_sys(ftruncate(r->grow, 0), "ftruncate");
	bench_must(hf_syncfs(b->vol), "sync");
}

static void our_append(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	while (ops--)
		bench_must(hf_append(r->appended, b->src, r->io.bytes, NULL), "append");
}

static void their_append(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	while (ops--) {
		bench_sys(write(r->grow, b->src, r->io.bytes), "write");
		durable(r, r->grow);
	}
}

static void append_undo(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;

	(void)ops;
	bench_must(hf_close(&r->appended), "close");
	bench_must(hf_unlink(b->vol, "/bench.append"), "unlink");
}

/* ---- names */

static const char *name_of(char out[16], const char *prefix, unsigned i)
{
	snprintf(out, 16, "%s%u", prefix, i);
	return out;
}

static void our_create(struct bench *b, void *ctx, unsigned ops)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct rival *r = ctx;
	char name[16];

	while (ops--)
		bench_must(hf_inode_create(b->vol, r->home, name_of(name, "f", ops), &how, NULL), "create");
}

static void their_create(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char name[16];
	int fd;

	(void)b;
	while (ops--) {
		fd = openat(r->dir, name_of(name, "f", ops), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
		bench_sys(fd, "creat");
		durable(r, fd);
		close(fd);
	}
}

static void our_unlink(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char name[16];

	while (ops--)
		bench_must(hf_inode_unlink(b->vol, r->home, name_of(name, "f", ops)), "unlink");
}

static void their_unlink(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char name[16];

	(void)b;
	while (ops--) {
		bench_sys(unlinkat(r->dir, name_of(name, "f", ops), 0), "unlink");
		durable(r, r->dir);
	}
}

static void our_rename(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char at[16], to[16];

	while (ops--)
		bench_must(hf_inode_rename(b->vol, r->home, name_of(at, "f", ops), r->home, name_of(to, "g", ops), 0), "rename");
}

static void their_rename(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char at[16], to[16];

	(void)b;
	while (ops--) {
		bench_sys(renameat(r->dir, name_of(at, "f", ops), r->dir, name_of(to, "g", ops)), "rename");
		durable(r, r->dir);
	}
}

/* Both have the same names before and after; what is not timed need not be durable. */
static void both_create(struct bench *b, void *ctx, unsigned ops)
{
	struct rival quick = *(struct rival *)ctx;

	quick.sync = false;
	our_create(b, &quick, ops);
	their_create(b, &quick, ops);
}

static void both_unlink(struct bench *b, void *ctx, unsigned ops)
{
	struct rival quick = *(struct rival *)ctx;

	quick.sync = false;
	our_unlink(b, &quick, ops);
	their_unlink(b, &quick, ops);
}

static void both_unlink_renamed(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	char name[16];

	while (ops--) {
		name_of(name, "g", ops);
		bench_must(hf_inode_unlink(b->vol, r->home, name), "unlink");
		bench_sys(unlinkat(r->dir, name, 0), "unlink");
	}
}

static void our_stat(struct bench *b, void *ctx, unsigned ops)
{
	struct hf_stat st;

	(void)ctx;
	while (ops--)
		bench_must(hf_stat(b->vol, "/bench.compare/a/b/c", &st), "stat");
}

static void their_stat(struct bench *b, void *ctx, unsigned ops)
{
	struct rival *r = ctx;
	struct stat st;

	(void)b;
	while (ops--)
		bench_sys(fstatat(r->dir, RIVAL_PATH, &st, 0), "stat");
}

static const struct {
	const char *name;
	size_t bytes;
	unsigned ops;
	bool changes;			/* worth to be made durable */
	double target;			/* times faster than tmpfs: at least */
	bench_fn *prepare, *ours, *theirs, *undo;
	const char *plot;
} rows[] = {
	{"overwrite", 64, BATCH_OPS, true, 0, NULL, bench_write, their_write, NULL, "overwrite"},
	{"overwrite", 4096, 4096, true, 2.2, NULL, bench_write, their_write, NULL, "overwrite"},
	{"overwrite", 65536, 256, true, 0, NULL, bench_write, their_write, NULL, "overwrite"},
	{"overwrite", 2 << 20, 16, true, 0, NULL, bench_write, their_write, NULL, "overwrite"},
	{"read", 64, BATCH_OPS, false, 0, NULL, bench_read, their_read, NULL, "read"},
	{"read", 4096, BATCH_OPS, false, 2.3, NULL, bench_read, their_read, NULL, "read"},
	{"read", 65536, 256, false, 0, NULL, bench_read, their_read, NULL, "read"},
	{"read", 2 << 20, 16, false, 0, NULL, bench_read, their_read, NULL, "read"},
	{"append", 64, BATCH_OPS, true, 0, append_prepare, our_append, their_append, append_undo, "append"},
	{"append", 4096, 8000, true, 1.4, append_prepare, our_append, their_append, append_undo, "append"},
	{"append", 65536, 256, true, 0, append_prepare, our_append, their_append, append_undo, "append"},
	{"append", 2 << 20, 16, true, 0, append_prepare, our_append, their_append, append_undo, "append"},
	{"create", 0, NAME_OPS, true, 12, NULL, our_create, their_create, both_unlink, NULL},
	{"unlink", 0, NAME_OPS, true, 12, both_create, our_unlink, their_unlink, NULL, NULL},
	{"rename", 0, NAME_OPS, true, 0, both_create, our_rename, their_rename, both_unlink_renamed, NULL},
	{"stat of 4 components", 0, BATCH_OPS, false, 8, NULL, our_stat, their_stat, NULL, NULL},
};

void bench_rival_rows(struct bench *b, struct rival *r)
{
	bool tmpfs = !strcmp(r->name, "tmpfs");
	char name[96], size[16];
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bench_result res;

		if (r->sync && !rows[i].changes)
			continue;
		r->io.bytes = rows[i].bytes ? rows[i].bytes : 1;
		snprintf(name, sizeof(name), "%s%s%s, times faster", rows[i].name, rows[i].bytes ? " " : "",
			 rows[i].bytes ? bench_size(rows[i].bytes, size) : "");
		res = bench_run(b, &(struct bench_row){.name = name, .raw_name = r->name, .target = tmpfs ? rows[i].target : 0, .faster = true,
						       .ops = (unsigned)min_u64(rows[i].ops, r->sync ? SYNC_OPS : BATCH_OPS),
						       .rounds = r->sync ? 5 : 0, .prepare = rows[i].prepare, .ours = rows[i].ours,
						       .raw = rows[i].theirs, .undo = rows[i].undo, .ctx = r});
		if (rows[i].plot)
			bench_point(b, rows[i].plot, r->name, (double)rows[i].bytes, res.raw_ns);
	}
}

