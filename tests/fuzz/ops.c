#include "ops.h"

#include <dirent.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUF = 1 << 17, SMALL = 4096, DIRS_MAX = 256, NAMES_MAX = 2000, EXTENTS = 8 };

static uint8_t buf[BUF];

/* Nothing is poisoned, and no failure is without a sentence. */
static int seen(int64_t ret, const char *what)
{
	FUZZ_MUST(ret != -EIO, "%s: %s", what, hf_errormsg());
	FUZZ_MUST(ret >= 0 || hf_errormsg()[0], "%s: %d without a sentence", what, (int)ret);
	return ret == -EUCLEAN || ret == -EBADMSG ? (int)ret : 0;
}
#define SEEN(call) seen((int64_t)(call), #call)

/* ---- operations */

struct op {
	hf_volume *v;
	const struct fuzz_step *s;
	const char *path, *other;
	uint64_t off, len;
};

/* Where something is in the files of the image, or nearly; a third of them anywhere. */
static uint64_t offset_of(uint64_t n)
{
	static const uint64_t base[] = {0, 4096, 40000, 3ull << 20, 5ull << 30, 9ull << 40, 2ull << 20, 1ull << 20};

	if (n % 3 == 0)
		return fuzz_edge(n / 3);
	return base[n / 3 % 8] + (n >> 8 & 0x1fff);
}

static int with_file(const struct op *o, int (*fn)(const struct op *o, hf_file *f))
{
	hf_file *f;
	int err = hf_open(o->v, o->path, HF_O_RDWR, 0, &f), bad = SEEN(err);

	if (err)
		return bad;
	bad = fn(o, f);
	err = SEEN(hf_close(&f));
	return bad ? bad : err;
}

static int do_read(const struct op *o, hf_file *f)
{
	return SEEN(hf_pread(f, buf, o->len % BUF, o->off));
}
static int do_write(const struct op *o, hf_file *f)
{
	return SEEN(hf_pwrite(f, buf, o->len % BUF, o->off));
}
static int do_append(const struct op *o, hf_file *f)
{
	return SEEN(hf_append(f, buf, o->len % SMALL, NULL));
}
static int do_truncate(const struct op *o, hf_file *f)
{
	return SEEN(hf_ftruncate(f, o->off));
}
static int do_allocate(const struct op *o, hf_file *f)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[o->s->field % 7];
	bool whole = mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE;

	return SEEN(hf_fallocate(f, mode, whole ? o->off & ~4095ull : o->off, whole ? (o->len | 1) * 4096 : o->len));
}
static int do_seek(const struct op *o, hf_file *f)
{
	int64_t ret = hf_seek(f, o->off, o->s->field % 2 ? SEEK_DATA : SEEK_HOLE);

	return SEEN(ret);
}
static int do_extents(const struct op *o, hf_file *f)
{
	struct hf_extent x[EXTENTS];
	size_t n;
	int err = hf_extents(f, o->off, x, EXTENTS, &n);

	for (size_t i = 0; i < n && !err; i++)
		FUZZ_MUST(x[i].media_off < FUZZ_BYTES && x[i].len <= FUZZ_BYTES - x[i].media_off, "an extent outside the volume");
	return SEEN(err);
}
static int do_pin(const struct op *o, hf_file *f)
{
	struct hf_pin_options po = {.struct_size = sizeof(po), .flags = o->s->field & 3, .tag = "fuzz"};
	struct iovec *iov = NULL;
	size_t n = 0;
	hf_pin_id pin;
	int64_t ret = hf_pin(f, o->off, o->len ? o->len : 1, &po, iov, &n, &pin);

	int bad = SEEN(ret), err;

	if (ret < 0)
		return bad;
	bad = SEEN(o->s->field & 4 ? hf_ftruncate(f, 0) : hf_pin_persist(o->v, pin, 0, 1));
	err = SEEN(hf_unpin(o->v, pin));
	return bad ? bad : err;
}
static int do_fsync(const struct op *o, hf_file *f)
{
	(void)o;
	return SEEN(hf_fsync(f));
}
static int do_flink(const struct op *o, hf_file *f)
{
	return SEEN(hf_flink(f, o->other));
}

static int do_copy(const struct op *o, hf_file *f)
{
	hf_file *to;
	int err = hf_open(o->v, o->other, HF_O_RDWR, 0, &to), bad = SEEN(err);

	if (err)
		return bad;
	bad = SEEN(hf_copy_file_range(f, o->off, to, offset_of(o->s->field), o->len % (4 * BUF)));
	err = SEEN(hf_close(&to));
	return bad ? bad : err;
}

static int do_create(const struct op *o)
{
	hf_file *f;
	int err = hf_open(o->v, o->path, HF_O_RDWR | HF_O_CREAT, 0644, &f), bad = SEEN(err);

	if (err)
		return bad;
	err = SEEN(hf_pwrite(f, buf, o->len % SMALL, 0));
	(void)hf_close(&f);
	return bad ? bad : err;
}

static int do_tmpfile(const struct op *o)
{
	hf_file *f;
	int err = hf_open(o->v, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &f), bad = SEEN(err);

	if (err)
		return bad;
	bad = SEEN(hf_pwrite(f, buf, o->len % SMALL, 0));
	err = o->s->field & 1 ? SEEN(hf_flink(f, o->path)) : 0;
	(void)hf_close(&f);
	return bad ? bad : err;
}

/* An open file loses its name and goes on. */
static int do_unlink_open(const struct op *o)
{
	hf_file *f;
	int err = hf_open(o->v, o->path, HF_O_RDWR, 0, &f), bad = SEEN(err);

	if (err)
		return bad;
	bad = SEEN(hf_unlink(o->v, o->path));
	err = SEEN(hf_pwrite(f, buf, o->len % SMALL, o->off));
	bad = bad ? bad : err;
	err = SEEN(hf_close(&f));
	return bad ? bad : err;
}

static int do_attribute(const struct op *o, bool set)
{
	static const char *const names[] = {"user.one", "user.large", "user.small", "trusted.three", "user.new", "security.x", "user.dir"};
	const char *name = names[o->s->field % 7];
	int64_t ret;

	if (set)
		ret = hf_lsetxattr(o->v, o->path, name, buf, o->len % 20000, 0);
	else
		ret = o->s->field & 0x100 ? hf_lremovexattr(o->v, o->path, name) : hf_lgetxattr(o->v, o->path, name, buf, 20000);
	return seen(ret, "an attribute");
}

static int do_setattr(const struct op *o)
{
	struct hf_setattr a = {.set = o->s->field & 511, .mode = (uint32_t)o->len & 07777, .uid = 1, .gid = 2, .size = o->off,
			       .mtime_ns = (int64_t)o->s->value};

	return SEEN(hf_setattr(o->v, o->path, &a, o->s->field >> 15));
}

/* What a server of handles does: any two inodes, whatever leads to them. */
static int do_by_number(const struct op *o)
{
	const char *name = o->len & 8 ? "sub" : "n1";
	struct hf_create how = {.mode = (o->len & 16 ? S_IFDIR : S_IFREG) | 0700};
	struct hf_id id = {.ino = o->s->field & 127}, other = {.ino = o->s->aux & 127};
	struct hf_stat st;
	char target[SMALL];
	int err = hf_inode_stat(o->v, id, &st), bad = SEEN(err);

	if (err)
		return bad;
	id = st.id;
	err = hf_inode_stat(o->v, other, &st);
	bad = SEEN(err);
	if (err)
		return bad;
	other = st.id;
	switch (o->len & 7) {
	case 0: return SEEN(hf_inode_lookup(o->v, id, o->len & 8 ? ".." : "sub", &st));
	case 1: return SEEN(hf_inode_readlink(o->v, id, target, sizeof(target)));
	case 2: return SEEN(hf_inode_rename(o->v, id, name, other, "new", 0));
	case 3: return SEEN(hf_inode_rename(o->v, id, name, other, "sub", HF_RENAME_EXCHANGE));
	case 4: return SEEN(hf_inode_link(o->v, id, other, "new", &st));
	case 5: return SEEN(hf_inode_create(o->v, id, "new", &how, &st));
	case 6: return SEEN(hf_inode_unlink(o->v, id, name));
	default: return SEEN(hf_inode_rmdir(o->v, id, name));
	}
}

/* From somewhere, which need not be a place that the directory has. */
static int do_readdir(const struct op *o)
{
	struct hf_dirent e;
	hf_dir *d;
	int err = hf_opendir(o->v, o->path, &d), bad = SEEN(err);

	if (err)
		return bad;
	if (o->s->field & 1)
		hf_seekdir(d, o->s->value);
	for (unsigned n = 0; err >= 0 && n < NAMES_MAX; n++) {
		uint64_t was = hf_telldir(d);

		err = hf_readdir(d, &e);
		bad = SEEN(err);
		if (err <= 0)
			break;
		FUZZ_MUST(hf_telldir(d) > was || was == 0 || hf_telldir(d) == UINT64_MAX, "a directory does not go on");
		FUZZ_MUST(memchr(e.name, 0, sizeof(e.name)), "a name without an end");
	}
	(void)hf_closedir(&d);
	return bad;
}

static int do_lists(const struct op *o)
{
	struct hf_busy b[EXTENTS];
	uint64_t cursor = 0;
	struct hf_statfs st;
	size_t n;
	int err = SEEN(hf_statfs(o->v, &st));

	while (cursor != UINT64_MAX && hf_busy_list(o->v, &cursor, b, EXTENTS, &n) == 0)
		;
	return err;
}

int fuzz_op(hf_volume *v, const struct fuzz_step *s)
{
	const struct op o = {.v = v, .s = s, .path = fuzz_paths[s->object % fuzz_npaths], .other = fuzz_paths[s->aux % fuzz_npaths],
			     .off = offset_of(s->value), .len = s->value >> 32 & 0x7fffff};
	struct hf_stat st;
	char target[SMALL];

	switch (s->how % FUZZ_OPS) {
	case 0: return SEEN(hf_stat(v, o.path, &st));
	case 1: return with_file(&o, do_read);
	case 2: return with_file(&o, do_write);
	case 3: return with_file(&o, do_append);
	case 4: return with_file(&o, do_truncate);
	case 5: case 6: case 7: return with_file(&o, do_allocate);
	case 8: return with_file(&o, do_seek);
	case 9: return with_file(&o, do_extents);
	case 10: return with_file(&o, do_pin);
	case 11: return with_file(&o, do_fsync);
	case 12: return with_file(&o, do_copy);
	case 13: return with_file(&o, do_flink);
	case 14: return do_create(&o);
	case 15: return do_tmpfile(&o);
	case 16: return do_unlink_open(&o);
	case 17: return do_attribute(&o, true);
	case 18: return do_attribute(&o, false);
	case 19: return SEEN(hf_llistxattr(v, o.path, (char *)buf, SMALL));
	case 20: return do_setattr(&o);
	case 21: return do_by_number(&o);
	case 22: return do_readdir(&o);
	case 23: return do_lists(&o);
	case 24: return SEEN(hf_mkdir(v, o.path, 0755));
	case 25: case 26: return SEEN(hf_unlink(v, o.path));
	case 27: return SEEN(hf_rmdir(v, o.path));
	case 28: case 29: return SEEN(hf_rename(v, o.path, o.other, s->field % 3));
	case 30: return SEEN(hf_link(v, o.path, o.other));
	case 31: return SEEN(hf_symlink(v, s->field & 1 ? "short" : o.other, o.path));
	case 32: return SEEN(hf_readlink(v, o.path, target, sizeof(target)));
	case 33: return SEEN(hf_mknod(v, o.path, S_IFREG | 0600, 0));
	case 34: return SEEN(hf_syncfs(v));
	default: return SEEN(hf_truncate(v, o.path, o.off));
	}
}

/* ---- the walk */

struct walk {
	hf_volume *v;
	struct hf_id dir[DIRS_MAX];
	unsigned dirs, names;
	int bad;
	char *text;
};

static void note(struct walk *w, int bad)
{
	if (bad && !w->bad)
		snprintf(w->text, FUZZ_TEXT, "%s", hf_errormsg());
	w->bad = bad ? bad : w->bad;
}

/* Beginning, end, and what lies where data begins. */
static void walk_file(struct walk *w, struct hf_id id)
{
	struct hf_extent x[EXTENTS];
	int64_t at = 0;
	struct hf_stat st;
	hf_file *f;
	size_t n = 0;
	int err = hf_inode_open(w->v, id, HF_O_RDONLY, &f);

	note(w, SEEN(err));
	if (err)
		return;
	note(w, SEEN(hf_fstat(f, &st)));
	note(w, SEEN(hf_pread(f, buf, BUF, 0)));
	note(w, SEEN(hf_pread(f, buf, SMALL, st.size > 100 ? st.size - 100 : 0)));
	note(w, SEEN(hf_extents(f, 0, x, EXTENTS, &n)));
	for (unsigned i = 0; i < EXTENTS && at >= 0; i++) {
		at = hf_seek(f, (uint64_t)at, SEEK_DATA);
		if (at < 0)
			break;
		note(w, SEEN(hf_pread(f, buf, SMALL, (uint64_t)at)));
		at = hf_seek(f, (uint64_t)at, SEEK_HOLE);
	}
	if (at != -ENXIO)
		note(w, SEEN(at));
	note(w, SEEN(hf_close(&f)));
}

static void walk_attributes(struct walk *w, struct hf_id id)
{
	static char list[BUF];
	int64_t n = hf_inode_listxattr(w->v, id, NULL, 0);

	note(w, SEEN(n));
	if (n <= 0)
		return;			/* most have none; and the library takes memory for as much as is asked for */
	n = hf_inode_listxattr(w->v, id, list, sizeof(list));
	for (int64_t at = 0; at < n; at += (int64_t)strlen(list + at) + 1) {
		int64_t size = hf_inode_getxattr(w->v, id, list + at, NULL, 0);

		if (size > 0)
			size = hf_inode_getxattr(w->v, id, list + at, buf, (size_t)size);
		note(w, SEEN(size));
	}
}

static void walk_inode(struct walk *w, const struct hf_stat *st)
{
	char target[SMALL];

	walk_attributes(w, st->id);
	if (S_ISREG(st->mode))
		walk_file(w, st->id);
	if (S_ISLNK(st->mode))
		note(w, SEEN(hf_inode_readlink(w->v, st->id, target, sizeof(target))));
	if (!S_ISDIR(st->mode))
		return;
	for (unsigned i = 0; i < w->dirs; i++)
		if (w->dir[i].ino == st->id.ino)
			return;
	if (w->dirs < DIRS_MAX)
		w->dir[w->dirs++] = st->id;
}

static void walk_directory(struct walk *w, struct hf_id id)
{
	struct hf_dirent e;
	struct hf_stat st;
	hf_dir *d;
	int err = hf_inode_opendir(w->v, id, &d);

	note(w, SEEN(err));
	if (err)
		return;
	while (w->names++ < NAMES_MAX) {
		err = hf_readdir(d, &e);
		note(w, SEEN(err));
		if (err <= 0)
			break;
		if (!strcmp(e.name, ".") || !strcmp(e.name, ".."))
			continue;
		err = hf_inode_lookup(w->v, id, e.name, &st);
		note(w, SEEN(err));
		if (!err)
			walk_inode(w, &st);
	}
	(void)hf_closedir(&d);
}

int fuzz_walk(hf_volume *v, char text[FUZZ_TEXT])
{
	static struct walk w;
	struct hf_stat st;

	memset(&w, 0, sizeof(w));
	w.v = v;
	w.text = text;
	note(&w, SEEN(hf_stat(v, "/", &st)));
	if (w.bad)
		return w.bad;
	walk_inode(&w, &st);
	for (unsigned i = 0; i < w.dirs; i++)
		walk_directory(&w, w.dir[i]);
	return w.bad;
}
