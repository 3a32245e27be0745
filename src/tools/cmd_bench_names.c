/* Operations on names, among those that are there. */
#include "bench_names.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NEW_NAMES   50000000u	/* numbers of those that rows make; below are those that stay */
#define MOVED_NAMES 60000000u
#define READ_OPS    20000u

const char *names_name(char out[32], uint64_t n)
{
	int i;

	memcpy(out, "name-", 5);
	for (i = 12; i >= 5; i--, n /= 10)
		out[i] = (char)('0' + n % 10);
	out[13] = 0;
	return out;
}

struct hf_id names_make(struct bench *b, struct names *n, unsigned dir, uint64_t number)
{
	struct hf_create how = {.mode = S_IFREG | 0644};
	struct hf_stat st;
	char name[32];

	bench_must(hf_inode_create(b->vol, n->dir[dir % n->ndirs], names_name(name, number), &how, &st), "create");
	return st.id;
}

static void make_all(struct bench *b, struct names *n, uint32_t type, unsigned ops)
{
	struct hf_create how = {.mode = type | 0755};
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_create(b->vol, n->dir[i % n->ndirs], names_name(name, NEW_NAMES + i), &how, NULL), "create");
}

static void create(struct bench *b, void *ctx, unsigned ops)
{
	make_all(b, ctx, S_IFREG, ops);
}

static void make_dirs(struct bench *b, void *ctx, unsigned ops)
{
	make_all(b, ctx, S_IFDIR, ops);
}

/* Whose numbers are wanted. */
static void create_known(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	unsigned i;

	for (i = 0; i < ops; i++)
		n->fresh[i] = names_make(b, n, i, NEW_NAMES + i);
}

static void link_one(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_link(b->vol, n->id[0], n->dir[i % n->ndirs], names_name(name, NEW_NAMES + i), NULL), "link");
}

static void unlink_new(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_unlink(b->vol, n->dir[i % n->ndirs], names_name(name, NEW_NAMES + i)), "unlink");
}

static void remove_dirs(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_rmdir(b->vol, n->dir[i % n->ndirs], names_name(name, NEW_NAMES + i)), "rmdir");
}

static void move(struct bench *b, struct names *n, unsigned ops, bool across, bool back)
{
	char at[32], to[32];
	unsigned i;

	for (i = 0; i < ops; i++) {
		struct hf_id home = n->dir[i % n->ndirs], away = across ? n->other : home;

		names_name(at, NEW_NAMES + i);
		names_name(to, MOVED_NAMES + i);
		bench_must(back ? hf_inode_rename(b->vol, away, to, home, at, 0) : hf_inode_rename(b->vol, home, at, away, to, 0), "rename");
	}
}

static void rename_new(struct bench *b, void *ctx, unsigned ops)
{
	move(b, ctx, ops, false, false);
}

static void rename_back(struct bench *b, void *ctx, unsigned ops)
{
	move(b, ctx, ops, false, true);
	unlink_new(b, ctx, ops);
}

static void rename_across(struct bench *b, void *ctx, unsigned ops)
{
	move(b, ctx, ops, true, false);
}

static void rename_across_back(struct bench *b, void *ctx, unsigned ops)
{
	move(b, ctx, ops, true, true);
	unlink_new(b, ctx, ops);
}

static void lookup(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct hf_stat st;
	char name[32];

	while (ops--) {
		uint64_t r = bench_random(b);

		bench_must(hf_inode_lookup(b->vol, n->dir[r % n->ndirs], names_name(name, (r >> 8) % n->size), &st), "look-up");
	}
}

static void lookup_missing(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct hf_stat st;
	char name[32];
	unsigned i;

	for (i = 0; i < ops; i++)	/* among those that rows make and remove */
		if (hf_inode_lookup(b->vol, n->dir[i % n->ndirs], names_name(name, NEW_NAMES + i), &st) != -ENOENT)
			bench_must(-EEXIST, "look-up of what is not there");
}

static void stat_one(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct hf_stat st;

	while (ops--)
		bench_must(hf_inode_stat(b->vol, n->id[bench_random(b) % ((uint64_t)n->size * n->ndirs)], &st), "stat");
}

static void set_xattr(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_setxattr(b->vol, n->fresh[i], "user.bench", b->src, 32, 0), "setxattr");
}

static void get_xattr(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	unsigned i;

	for (i = 0; i < ops; i++)
		bench_must(hf_inode_getxattr(b->vol, n->fresh[i], "user.bench", b->dst, 32), "getxattr");
}

static void create_with_xattr(struct bench *b, void *ctx, unsigned ops)
{
	create_known(b, ctx, ops);
	set_xattr(b, ctx, ops);
}

/* 'ops' names, from the beginning of a directory to its end, then of the next. */
static void read_names(struct bench *b, void *ctx, unsigned ops)
{
	struct names *n = ctx;
	struct hf_dirent e;
	unsigned d = 0;
	hf_dir *dir;
	int ret;

	while (ops) {
		bench_must(hf_inode_opendir(b->vol, n->dir[d++ % n->ndirs], &dir), "opendir");
		do {
			ret = hf_readdir(dir, &e);
			bench_must(ret, "readdir");
		} while (ret == 1 && --ops);
		bench_must(hf_closedir(&dir), "closedir");
	}
}

static const struct {
	const char *name;
	bench_fn *prepare, *ours, *undo, *raw;
	double target[NAMES_SIZES];		/* at most */
	bool plot;
} rows[] = {
	{"create", NULL, create, unlink_new, bench_raw_write_64, {0, 3.2, 6}, true},
	{"unlink", create, unlink_new, NULL, bench_raw_write_64, {0, 2.6, 0}, true},
	{"rename", create, rename_new, rename_back, bench_raw_write_64, {0, 3.0, 0}, true},
	{"rename across directories", create, rename_across, rename_across_back, bench_raw_write_64, {0, 3.5, 0}, false},
	{"link", NULL, link_one, unlink_new, bench_raw_write_64, {0}, false},
	{"mkdir", NULL, make_dirs, remove_dirs, bench_raw_write_64, {0}, false},
	{"rmdir", make_dirs, remove_dirs, NULL, bench_raw_write_64, {0}, false},
	{"setxattr of 32 bytes", create_known, set_xattr, unlink_new, bench_raw_write_64, {0}, false},
	{"getxattr of 32 bytes", create_with_xattr, get_xattr, unlink_new, bench_raw_read_64, {0}, false},
	{"look up, at random", NULL, lookup, NULL, bench_raw_read_64, {0}, true},
	{"look up what is not there", NULL, lookup_missing, NULL, bench_raw_read_64, {0}, false},
	{"stat by number, at random", NULL, stat_one, NULL, bench_raw_read_64, {0}, true},
	{"readdir, per name", NULL, read_names, NULL, NULL, {0}, true},
};

void names_rows(struct bench *b, struct names *n)
{
	char name[96];
	struct bench_result r;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned ops = rows[i].prepare || rows[i].undo ? n->batch : READ_OPS;

		snprintf(name, sizeof(name), "%s, among %s", rows[i].name, n->text);
		r = bench_run(b, &(struct bench_row){.name = name, .raw_name = rows[i].raw == bench_raw_read_64 ? "a cold line" : "64 B + fence",
						      .target = rows[i].target[n->which], .ops = ops, .prepare = rows[i].prepare,
						      .ours = rows[i].ours, .raw = rows[i].raw, .undo = rows[i].undo, .ctx = n});
		if (rows[i].plot)
			bench_point(b, "names", rows[i].name, n->size, r.ns);
	}
}
