/* The sequence of stores, flushes and fences of each operation, by the structures that they touch. A fence that is lost, or one
 * more than before, shows as a difference to golden/NAME.txt.
 *
 *	crash_golden DIR [--update] [NAME...]
 */
#include "steps.h"

#include <linux/falloc.h>
#include <stdlib.h>

enum { VOLUME = 8 << 20, TEXT_MAX = 1 << 16, CLASSES = VOLUME / HF_BLOCK_SIZE };

/* What a block is, before the operation or after it. */
enum class { NODE, DATA, BUCKET, ATTRIBUTES, TARGET, INODES };
static const char *const class_names[] = {"map node", "data", "bucket", "attributes", "target",
					  "inodes"};

struct golden {
	const char *name;
	const struct load_step *setup, *steps;
	bool mount; /* instead of steps: the mount, after an unmount; crash: without one */
	bool crash;
};

struct trace {
	struct geo geo;
	uint8_t class[CLASSES];
	struct event {
		enum media_event what;
		uint64_t off, len;
	} *ev;
	size_t n, cap;
	char text[TEXT_MAX];
	size_t used;
};

#define STEPS(...) (const struct load_step[]){__VA_ARGS__, {0}}
#define DO(fn, a, b, off, len, flags) {#fn, fn, a, b, off, len, flags, false}
#define FILE_OF(path, len) DO(step_put, path, NULL, 0, len, 0)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static const struct golden table[] = {
    {.name = "create", .setup = STEPS(DO(step_create, "x", NULL, 0, 0, 0)), .steps = STEPS(DO(step_create, "f", NULL, 0, 0, 0))},
    {.name = "create_first", .steps = STEPS(DO(step_create, "f", NULL, 0, 0, 0))},
    {.name = "mkdir", .setup = STEPS(DO(step_create, "x", NULL, 0, 0, 0)), .steps = STEPS(DO(step_mkdir, "A", NULL, 0, 0, 0))},
    {.name = "write_in_place", .setup = STEPS(FILE_OF("f", 8192)), .steps = STEPS(DO(step_write, "f", NULL, 4096, 4096, 0))},
    {.name = "write_unaligned", .setup = STEPS(FILE_OF("f", 9000)), .steps = STEPS(DO(step_write, "f", NULL, 4001, 777, 0))},
    {.name = "write_inline", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_write, "f", NULL, 5, 50, 0))},
    {.name = "append_in_block", .setup = STEPS(FILE_OF("f", 5000)), .steps = STEPS(DO(step_write, "f", NULL, STEP_APPEND, 128, 0))},
    {.name = "append_overwritten", .setup = STEPS(FILE_OF("f", 5000)),
     .steps = STEPS(DO(step_write, "f", NULL, STEP_APPEND, 128, 0), DO(step_write, "f", NULL, 5056, 64, 0))},
    {.name = "append_block", .setup = STEPS(FILE_OF("f", 8192)), .steps = STEPS(DO(step_write, "f", NULL, STEP_APPEND, 4096, 0))},
    {.name = "append_frame", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_write, "f", NULL, 0, 2 << 20, 0))},
    {.name = "truncate_down", .setup = STEPS(FILE_OF("f", 20000)), .steps = STEPS(DO(step_truncate, "f", NULL, 5000, 0, 0))},
    {.name = "truncate_up", .setup = STEPS(FILE_OF("f", 5000)), .steps = STEPS(DO(step_truncate, "f", NULL, 20000, 0, 0))},
    {.name = "truncate_frame", .setup = STEPS(FILE_OF("f", 2 << 20)), .steps = STEPS(DO(step_truncate, "f", NULL, 4096, 0, 0))},
    {.name = "punch", .setup = STEPS(FILE_OF("f", 30000)), .steps = STEPS(DO(step_fallocate, "f", NULL, 5000, 10000, PUNCH))},
    {.name = "fallocate", .setup = STEPS(FILE_OF("f", 200)), .steps = STEPS(DO(step_fallocate, "f", NULL, 0, 12288, 0))},
    {.name = "collapse", .setup = STEPS(FILE_OF("f", 30000)), .steps = STEPS(DO(step_fallocate, "f", NULL, 4096, 4096, FALLOC_FL_COLLAPSE_RANGE))},
    {.name = "insert", .setup = STEPS(FILE_OF("f", 30000)), .steps = STEPS(DO(step_fallocate, "f", NULL, 4096, 4096, FALLOC_FL_INSERT_RANGE))},
    {.name = "rename", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_rename, "f", "g", 0, 0, 0))},
    {.name = "rename_over", .setup = STEPS(FILE_OF("f", 10), FILE_OF("g", 5000)), .steps = STEPS(DO(step_rename, "f", "g", 0, 0, 0))},
    {.name = "rename_directory", .setup = STEPS(DO(step_mkdir, "A", NULL, 0, 0, 0), DO(step_mkdir, "A/D", NULL, 0, 0, 0)),
     .steps = STEPS(DO(step_rename, "A/D", "D", 0, 0, 0))},
    {.name = "rename_exchange", .setup = STEPS(FILE_OF("f", 10), FILE_OF("g", 5000)),
     .steps = STEPS(DO(step_rename, "f", "g", 0, 0, HF_RENAME_EXCHANGE))},
    {.name = "link", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_link, "f", "g", 0, 0, 0))},
    {.name = "unlink", .setup = STEPS(FILE_OF("f", 9000)), .steps = STEPS(DO(step_unlink, "f", NULL, 0, 0, 0))},
    {.name = "unlink_large", .setup = STEPS(DO(step_scatter, "f", NULL, 0, 0, 300)), .steps = STEPS(DO(step_unlink, "f", NULL, 0, 0, 0))},
    {.name = "symlink", .setup = STEPS(DO(step_create, "x", NULL, 0, 0, 0)), .steps = STEPS(DO(step_symlink, "x", "f", 0, 0, 0))},
    {.name = "symlink_long", .setup = STEPS(DO(step_create, "x", NULL, 0, 0, 0)), .steps = STEPS(DO(step_long_symlink, NULL, "f", 0, 0, 0))},
    {.name = "rmdir", .setup = STEPS(DO(step_mkdir, "A", NULL, 0, 0, 0)), .steps = STEPS(DO(step_rmdir, "A", NULL, 0, 0, 0))},
    {.name = "setxattr", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_setxattr, "f", "user.a", 0, 20, 0))},
    {.name = "setxattr_large", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_setxattr, "f", "user.a", 0, 9000, 0))},
    {.name = "removexattr", .setup = STEPS(FILE_OF("f", 10), DO(step_setxattr, "f", "user.a", 0, 20, 0)),
     .steps = STEPS(DO(step_removexattr, "f", "user.a", 0, 0, 0))},
    {.name = "fsync", .setup = STEPS(FILE_OF("f", 5000)), .steps = STEPS(DO(step_write, "f", NULL, 0, 64, 0), DO(step_fsync, "f", NULL, 0, 0, 0))},
    {.name = "tmpfile_flink", .setup = STEPS(FILE_OF("x", 10)), .steps = STEPS(DO(step_tmpfile, "/", "f", 0, 5000, 0))},
    {.name = "checkpoint", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_chmod, "f", NULL, 0, 0, 0600), DO(step_checkpoint, NULL, NULL, 0, 0, 0))},
    {.name = "mount_clean", .setup = STEPS(FILE_OF("f", 10)), .mount = true},
    {.name = "recovery_of_one", .setup = STEPS(FILE_OF("f", 10)), .steps = STEPS(DO(step_chmod, "f", NULL, 0, 0, 0600)), .mount = true, .crash = true},
};

static const char *const paths[] = {"/", "A", "A/D", "D", "x", "f", "g"};

/* ---- events */

static void on_event(void *ctx, enum media_event what, uint64_t off, uint64_t len)
{
	struct trace *t = ctx;

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 256;
		t->ev = realloc(t->ev, t->cap * sizeof(*t->ev));
		HF_ASSERT(t->ev != NULL);
	}
	t->ev[t->n++] = (struct event){what, off, len};
}

static void classify_fork(struct trace *t, struct inode *in, enum fmt_fork fork, enum class class)
{
	struct map_extent x;

	for (uint64_t at = 0; at < VOLUME / HF_BLOCK_SIZE; at += x.n) {
		if (map_lookup(in, fork, FBLK(at), VOLUME / HF_BLOCK_SIZE - at, &x) != 0)
			return;
		for (uint64_t i = 0; i < x.n && !mblk_is_null(x.blk); i++)
			t->class[x.blk.v + i] = (uint8_t)class;
	}
}

static void classify(struct trace *t, hf_volume *vol)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct inode *in;

		if (path_inode(vol, paths[i], false, &in) != 0)
			continue;
		t->class[in->off.v / HF_BLOCK_SIZE] = INODES;
		classify_fork(t, in, FMT_FORK_DATA,
			      in->type == S_IFDIR   ? BUCKET
			      : in->type == S_IFLNK ? TARGET
						    : DATA);
		classify_fork(t, in, FMT_FORK_XATTR, ATTRIBUTES);
		inode_put(in);
	}
}

static void where(const struct trace *t, uint64_t off, char *buf, size_t size)
{
	const struct geo *g = &t->geo;
	uint64_t blk = off / HF_BLOCK_SIZE, lane = off - g->lanes_off.v;

	if (off >= g->lanes_off.v && lane < g->nlanes * g->lane_bytes)
		snprintf(buf, size, "lane %llu.%llu+%llu", (unsigned long long)(lane / g->lane_bytes),
			 (unsigned long long)(lane % g->lane_bytes / (g->lane_bytes / 2)),
			 (unsigned long long)(lane % (g->lane_bytes / 2)));
	else if (blk == FMT_BLK_CKPT0 || blk == FMT_BLK_CKPT1)
		snprintf(buf, size, "C copy %u", (unsigned)(blk - FMT_BLK_CKPT0));
	else if (blk == FMT_BLK_INODES0)
		snprintf(buf, size, "inode %u+%u", (unsigned)(off % HF_BLOCK_SIZE / FMT_INODE_SIZE),
			 (unsigned)(off % FMT_INODE_SIZE));
	else if (blk == FMT_BLK_ITBITMAP)
		snprintf(buf, size, "inode bits");
	else if (blk == FMT_BLK_ITNODE)
		snprintf(buf, size, "inode table's map");
	else if (blk == FMT_BLK_ORPHANS0)
		snprintf(buf, size, "orphan slot %u", (unsigned)(off % HF_BLOCK_SIZE / sizeof(struct fmt_orphan)));
	else if (off >= g->alloc_off.v && off < g->lanes_off.v)
		snprintf(buf, size, "bits");
	else if (blk == 0 || blk == g->nblocks - 1)
		snprintf(buf, size, "superblock");
	else if (t->class[blk] == INODES)
		snprintf(buf, size, "inode %u of its block+%u",
			 (unsigned)(off % HF_BLOCK_SIZE / FMT_INODE_SIZE), (unsigned)(off % FMT_INODE_SIZE));
	else
		snprintf(buf, size, "%s+%u", class_names[t->class[blk]], (unsigned)(off % HF_BLOCK_SIZE));
}

static void print(struct trace *t)
{
	static const char *const what[] = {"store", "store_nt", "flush", "fence"};

	for (size_t i = 0; i < t->n && t->used < TEXT_MAX - 128; i++) {
		const struct event *e = &t->ev[i];
		char at[96];

		where(t, e->off, at, sizeof(at));
		if (e->what == MEDIA_FENCE)
			t->used += (size_t)snprintf(t->text + t->used, 128, "fence\n");
		else
			t->used += (size_t)snprintf(t->text + t->used, 128, "%-8s  %-28s %llu\n",
						    what[e->what], at, (unsigned long long)e->len);
	}
}

/* ---- one operation */

static int run_list(hf_volume *vol, const struct load_step *s)
{
	struct load_world w = {.vol = vol};
	int64_t ret = 0;

	for (; s && s->name && ret >= 0; s++)
		ret = s->fn(&w, s);
	return ret < 0 ? (int)ret : 0;
}

/* What a mount finds that comes now; or, after a crash that lost nothing, before the unmount. */
static int trace_mount(struct trace *t, hf_crash_media *from)
{
	hf_crash_media *m;
	hf_volume *vol;
	int err = hf_crash_media_new(&m, VOLUME, NULL);

	if (err)
		return err;
	hf_crash_store(m, 0, hf_crash_media_addr(from), VOLUME);
	media_settle_all(m);
	t->n = 0;
	m->ctx = t;
	m->on_event = on_event;
	err = hf_crash_media_mount(m, &vol);
	m->on_event = NULL;
	if (!err)
		err = volume_close(vol);
	hf_crash_media_delete(&m);
	return err;
}

static int trace_steps(const struct golden *g, struct trace *t, hf_crash_media *m, hf_volume *vol)
{
	int err = run_list(vol, g->setup);

	if (!err)
		err = hf_syncfs(vol);
	if (err)
		return err;
	classify(t, vol);
	m->ctx = t;
	m->on_event = on_event;
	inode_set_now(CRASH_EPOCH_NS + 1000000000);
	err = run_list(vol, g->steps);
	m->on_event = NULL;
	classify(t, vol);
	return !err && g->crash ? trace_mount(t, m) : err;
}

static int trace(const struct golden *g, struct trace *t)
{
	hf_crash_media *m;
	hf_volume *vol;
	int err = hf_crash_media_new(&m, VOLUME, NULL), closed;

	if (err)
		return err;
	journal_thread_number(1);
	inode_set_now(CRASH_EPOCH_NS);
	err = hf_crash_media_format(m, 1);
	if (!err)
		err = hf_crash_media_mount(m, &vol);
	if (!err) {
		t->geo = vol->fs.geo;
		err = trace_steps(g, t, m, vol);
		closed = volume_close(vol);
		err = err ? err : closed;
	}
	if (!err && g->mount && !g->crash)
		err = trace_mount(t, m);
	hf_crash_media_delete(&m);
	if (!err)
		print(t);
	return err;
}

/* ---- files */

static char *read_all(const char *path)
{
	char *text = calloc(1, TEXT_MAX);
	FILE *f = fopen(path, "r");

	if (f && text && fread(text, 1, TEXT_MAX - 1, f) == 0)
		text[0] = 0;
	if (f)
		fclose(f);
	return text;
}

static bool write_all(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	bool ok = f && fputs(text, f) >= 0;

	return f && fclose(f) == 0 && ok;
}

static void first_difference(const char *name, const char *want, const char *have)
{
	unsigned line = 1;

	while (*want && *want == *have) {
		line += *want == '\n';
		want++;
		have++;
	}
	printf("%s: line %u differs, from here on\n  was: %.*s\n  is:  %.*s\n", name, line,
	       (int)strcspn(want, "\n"), want, (int)strcspn(have, "\n"), have);
}

static bool one(const struct golden *g, const char *dir, bool update)
{
	struct trace *t = calloc(1, sizeof(*t));
	char path[512], *want = NULL;
	bool ok = t && trace(g, t) == 0;

	snprintf(path, sizeof(path), "%s/%s.txt", dir, g->name);
	if (!ok) {
		printf("%s: %s\n", g->name, err_msg());
	} else if (update) {
		ok = write_all(path, t->text);
	} else {
		want = read_all(path);
		ok = want && strcmp(want, t->text) == 0;
		if (want && !ok)
			first_difference(g->name, want, t->text);
	}
	free(want);
	if (t)
		free(t->ev);
	free(t);
	return ok;
}

int main(int argc, char **argv)
{
	bool update = argc > 2 && strcmp(argv[2], "--update") == 0;
	unsigned bad = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: crash_golden DIR [--update] [NAME...]\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool asked = argc == 2 + update;

		for (int a = 2 + update; a < argc; a++)
			asked = asked || strcmp(argv[a], table[i].name) == 0;
		if (asked)
			bad += !one(&table[i], argv[1], update);
	}
	if (bad)
		printf("%u traces differ; if that is meant: crash_golden DIR --update, and look at the change\n", bad);
	return bad != 0;
}
