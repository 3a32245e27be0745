/* What truncate, punch, zero-range, collapse, insert, unlink and rename-over do about pinned
 * blocks, in each mode. */
#include "hold.h"
#include "file/resize.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define FOREVER UINT64_MAX

static uint8_t buf[4 * MIB], back[4 * MIB];

static struct hf_how how(enum hf_pinned mode, uint64_t timeout_ns)
{
	return (struct hf_how){sizeof(struct hf_how), mode, timeout_ns};
}
static const struct hf_how fail = {sizeof(fail), HF_PINNED_FAIL, 0};
static const struct hf_how look = {sizeof(look), HF_PINNED_WAIT, 0};
static const struct hf_how delay = {sizeof(delay), HF_PINNED_DELAY, 0};

static hf_file *frames(hf_volume *vol, const char *path, unsigned n)
{
	hf_file *f = vol_create(vol, path);

	vol_fill(buf, FRM, 3);
	for (unsigned i = 0; i < n; i++)
		GET(FRM, hf_append(f, buf, FRM, NULL));
	return f;
}

static hf_file *blocks(hf_volume *vol, const char *path, unsigned n)
{
	hf_file *f = vol_create(vol, path);

	vol_fill(buf, FRM, 3);
	for (unsigned i = 0; i < n; i++)
		GET(BLK, hf_append(f, buf + i * BLK, BLK, NULL));
	return f;
}

static uint64_t busy(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(
	    s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used, s.blocks);
	return s.blocks_busy_pinned;
}

static struct hf_extent extent_at(hf_file *f, uint64_t off)
{
	struct hf_extent e = {0};
	size_t n;

	OK(hf_extents(f, off, &e, 1, &n));
	return n ? e : (struct hf_extent){0};
}

/* ---- all that can be seen of a file, to compare */

struct seen {
	struct hf_stat st;
	struct hf_extent e[64];
	size_t n;
	uint64_t hash;
};

static struct seen seen(hf_file *f)
{
	struct seen s;
	ssize_t got;

	memset(&s, 0, sizeof(s));
	OK(hf_fstat(f, &s.st));
	s.st.atime_ns = 0;
	OK(hf_extents(f, 0, s.e, 64, &s.n));
	for (uint64_t off = 0; off < s.st.size; off += (uint64_t)got) {
		got = hf_pread(f, back, sizeof(back), off);
		CU_ASSERT_FATAL(got > 0);
		for (ssize_t i = 0; i < got; i++)
			s.hash = s.hash * 1000003 + back[i];
	}
	return s;
}

static bool same(const struct seen *a, const struct seen *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- a holder in another thread, that lets go when it has seen the operation sleep */

struct letter {
	struct hold *h;
	hf_volume *vol;
	_Atomic bool let_go;
	uint64_t expect; /* blocks that are busy before it lets go */
	pthread_t thread;
};

/* What is detached is counted before anybody sleeps. */
static void *letting_go(void *arg)
{
	struct letter *l = arg;
	struct hf_statfs s;

	do {
		nanosleep(&(struct timespec){0, 1000000}, NULL);
		hf_statfs(l->vol, &s);
	} while (s.blocks_busy_pinned < l->expect);
	nanosleep(&(struct timespec){0, 5000000}, NULL);
	atomic_store(&l->let_go, true);
	hold_drop(l->h);
	return NULL;
}

static void let_go_when(struct letter *l, hf_volume *vol, struct hold *h, uint64_t expect)
{
	*l = (struct letter){.h = h, .vol = vol, .expect = expect};
	CU_ASSERT_EQUAL_FATAL(pthread_create(&l->thread, NULL, letting_go, l), 0);
}

static void let_gone(struct letter *l)
{
	CU_ASSERT(atomic_load(&l->let_go)); /* the operation did not return before */
	pthread_join(l->thread, NULL);
}

/* ---- the split of a pinned huge leaf */

static struct frame *frame_of(hf_file *f, uint64_t off)
{
	struct fs *fs = f->in->fs;

	return space_frame(fs->space,
			   mblk_to_frame(moff_to_mblk(MOFF(extent_at(f, off).media_off))));
}

/* The per-block counts are made on demand: the operation meets a pinned huge leaf without any, lets
 * go, makes them, and tries again. */
static void test_counts_on_demand(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = frames(vol, "/f", 1);
	struct hf_extent e = extent_at(f, 0), part;
	struct frame *fr = frame_of(f, 0);
	struct hold h;

	CU_ASSERT(e.huge && e.len == FRM);
	CU_ASSERT(hold_blocks(&h, f, 7, 1));
	CU_ASSERT(h.n == 1 && h.run[0].frames);
	CU_ASSERT_EQUAL(atomic_load(&fr->blocks), 0);
	OK(hf_fallocate(f, PUNCH, 100 * BLK, 50 * BLK));
	CU_ASSERT(atomic_load(&fr->blocks) != 0);
	CU_ASSERT((atomic_load(&fr->word) & FRAME_SPLIT) != 0);
	/* It is split, and nothing moved. */
	part = extent_at(f, 0);
	CU_ASSERT(!part.huge && part.len == 100 * BLK && part.media_off == e.media_off);
	part = extent_at(f, 150 * BLK);
	CU_ASSERT(part.len == 362 * BLK && part.media_off == e.media_off + 150 * BLK);
	/* Who holds it sees all of it, the hole is busy, and a write to the hole goes elsewhere. */
	CU_ASSERT(memcmp(hold_at(&h, 0), buf, FRM) == 0);
	CU_ASSERT_EQUAL(busy(vol), 50);
	memset(back, 0xee, (size_t)(50 * BLK));
	GET(50 * BLK, hf_pwrite(f, back, 50 * BLK, 100 * BLK));
	part = extent_at(f, 120 * BLK);
	CU_ASSERT(part.media_off < e.media_off || part.media_off >= e.media_off + FRM);
	CU_ASSERT(memcmp(hold_at(&h, 0), buf, FRM) == 0);
	/* The rest is the file's as before. */
	GET(BLK, hf_pwrite(f, back, BLK, 200 * BLK));
	CU_ASSERT(memcmp(hold_at(&h, 0) + 200 * BLK, back, BLK) == 0);
	CU_ASSERT_EQUAL(busy(vol), 50);
	hold_drop(&h);
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_close(&f));
	OK(hf_unlink(vol, "/f"));
	OK(hf_unmount(&vol));
}

/* Every way to split, on frames that are pinned as a whole. */
static void test_splits(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 6);
	struct hold h, part;
	uint64_t used = vol_used(vol);

	CU_ASSERT(hold_blocks(&h, f, 0, 6 * 512));
	CU_ASSERT_EQUAL(h.n, 6);
	/* Both edges cut a leaf, whole ones between. */
	OK(hf_fallocate(f, PUNCH, 10 * BLK, 3 * FRM));
	CU_ASSERT_EQUAL(busy(vol), 3 * 512);
	/* A shift that is no multiple of a frame: all behind it is split. */
	OK(hf_fallocate(f, FALLOC_FL_INSERT_RANGE, FRM, BLK));
	OK(hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, BLK, 2 * BLK));
	CU_ASSERT_EQUAL(busy(vol), 3 * 512 + 2);
	/* New pins are exact. */
	CU_ASSERT(hold_blocks(&part, f, 0, 1));
	CU_ASSERT(part.n == 1 && !part.run[0].frames && part.run[0].n == 1);
	hold_drop(&h);
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 1);
	hold_drop(&part);
	CU_ASSERT_EQUAL(busy(vol), 0);
	CU_ASSERT(vol_used(vol) <= used - 6 * 512);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* Too many runs for one transaction: the range is cut off as a subtree, and its blocks are detached
 * by later transactions, on the same ticket. */
static void test_cut(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *other = vol_create(vol, "/o");
	struct hold h, first;
	struct letter l;
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);

	vol_fill(buf, BLK, 3);
	for (unsigned i = 0; i < 3000; i++) {
		GET(BLK, hf_append(f, buf, BLK, NULL));
		GET(BLK, hf_append(other, buf, BLK, NULL));
	}
	CU_ASSERT(hold_blocks(&h, f, 2900, 40));
	CU_ASSERT(hold_blocks(&first, f, 100, 4));
	FAILS(EBUSY, hf_fallocate_how(f, PUNCH, 2 * BLK, 2990 * BLK, &fail));
	CU_ASSERT_EQUAL(busy(vol), 0);
	hold_drop(&first);
	let_go_when(&l, vol, &h, 40);
	OK(hf_fallocate_how(f, PUNCH, 2 * BLK, 2990 * BLK, &wait));
	let_gone(&l);
	CU_ASSERT_EQUAL(busy(vol), 0);
	GET(2 * BLK, hf_seek(f, 0, SEEK_HOLE));
	OK(hf_close(&f));
	OK(hf_close(&other));
	OK(hf_unmount(&vol));
}

/* ---- modes */

enum op { TRUNCATE, TRUNCATE_PATH, PUNCH_HOLE, ZERO, COLLAPSE, INSERT, OPS };

/* On blocks [8, 16) of a file of 24, or on what is behind block 8. */
static int do_op(hf_volume *vol, hf_file *f, enum op op, const struct hf_how *h)
{
	switch (op) {
	case TRUNCATE:
		return hf_ftruncate_how(f, 8 * BLK, h);
	case TRUNCATE_PATH:
		return hf_truncate_how(vol, "/f", 8 * BLK, h);
	case PUNCH_HOLE:
		return hf_fallocate_how(f, PUNCH, 8 * BLK, 8 * BLK, h);
	case ZERO:
		return hf_fallocate_how(f, FALLOC_FL_ZERO_RANGE, 8 * BLK, 8 * BLK, h);
	case COLLAPSE:
		return hf_fallocate_how(f, FALLOC_FL_COLLAPSE_RANGE, 8 * BLK, 8 * BLK, h);
	default:
		return hf_fallocate_how(f, FALLOC_FL_INSERT_RANGE, 8 * BLK, 8 * BLK, h);
	}
}

static bool op_detaches(enum op op)
{
	return op != ZERO && op != INSERT;
}
/* Does it mind a pin behind its range? */
static bool op_reaches(enum op op)
{
	return op != ZERO && op != PUNCH_HOLE;
}

static bool op_is_done(hf_file *f, enum op op)
{
	uint64_t size = vol_size(f);

	switch (op) {
	case TRUNCATE:
	case TRUNCATE_PATH:
		return size == 8 * BLK;
	case PUNCH_HOLE:
		return size == 24 * BLK && hf_seek(f, 0, SEEK_HOLE) == 8 * BLK;
	case ZERO:
		return size == 24 * BLK && hf_pread(f, back, 1, 9 * BLK) == 1 && back[0] == 0;
	case COLLAPSE:
		return size == 16 * BLK;
	default:
		return size == 32 * BLK;
	}
}

static void test_fail(void)
{
	for (enum op op = 0; op < OPS; op++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24);
		struct seen a = seen(f), b;
		struct hold h;

		CU_ASSERT(hold_blocks(&h, f, 15, 1));
		FAILS(EBUSY, do_op(vol, f, op, &fail));
		b = seen(f);
		CU_ASSERT(same(&a, &b));
		hold_drop(&h);
		/* Behind the range. */
		CU_ASSERT(hold_blocks(&h, f, 20, 1));
		if (op_reaches(op)) {
			FAILS(EBUSY, do_op(vol, f, op, &fail));
			b = seen(f);
			CU_ASSERT(same(&a, &b));
			hold_drop(&h);
		}
		CU_ASSERT(!op_is_done(f, op));
		/* In front of it; and its own block alone. */
		if (h.n == 0)
			CU_ASSERT(hold_blocks(&h, f, 7, 1));
		OK(do_op(vol, f, op, &fail));
		CU_ASSERT(op_is_done(f, op));
		CU_ASSERT_EQUAL(busy(vol), 0);
		hold_drop(&h);
		OK(hf_close(&f));
		OK(hf_unmount(&vol));
	}
}

static void test_delay(void)
{
	for (enum op op = 0; op < OPS; op++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24);
		struct hold h;

		CU_ASSERT(hold_blocks(&h, f, 12, 3));
		OK(do_op(vol, f, op, op % 2 ? &delay : NULL));
		CU_ASSERT(op_is_done(f, op));
		CU_ASSERT_EQUAL(busy(vol), op_detaches(op) ? 3 : 0);
		if (op != ZERO)
			CU_ASSERT(memcmp(hold_at(&h, 0), buf + 12 * BLK, 3 * BLK) == 0);
		hold_drop(&h);
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_close(&f));
		OK(hf_unmount(&vol));
	}
}

static void test_wait(void)
{
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER), brief = how(HF_PINNED_WAIT, 2000000);

	for (enum op op = 0; op < OPS; op++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24);
		struct letter l;
		struct hold h;

		CU_ASSERT(hold_blocks(&h, f, 12, 3));
		if (op_detaches(op)) {
			let_go_when(&l, vol, &h, 3);
			OK(do_op(vol, f, op, &wait));
			let_gone(&l);
		} else {
			OK(do_op(vol, f, op, &wait));
			hold_drop(&h);
		}
		CU_ASSERT(op_is_done(f, op));
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_close(&f));
		OK(hf_unlink(vol, "/f"));
		/* Done, but still held. */
		f = blocks(vol, "/f", 24);
		CU_ASSERT(hold_blocks(&h, f, 12, 3));
		GET(op_detaches(op) ? -ETIMEDOUT : 0, do_op(vol, f, op, op % 2 ? &look : &brief));
		CU_ASSERT(op_is_done(f, op));
		hold_drop(&h);
		CU_ASSERT_EQUAL(busy(vol), 0);
		/* Nothing to wait for. */
		OK(hf_ftruncate_how(f, 0, &look));
		OK(hf_close(&f));
		OK(hf_unmount(&vol));
	}
}

/* A ticket counts one operation's blocks: what others detached before is not waited for. */
static void test_wait_own_blocks_only(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = blocks(vol, "/f", 24);
	struct hold h;

	CU_ASSERT(hold_blocks(&h, f, 12, 3));
	OK(hf_fallocate(f, PUNCH, 12 * BLK, 3 * BLK));
	OK(hf_fallocate_how(f, PUNCH, 8 * BLK, 8 * BLK, &look));
	OK(hf_ftruncate_how(f, 0, &look));
	CU_ASSERT_EQUAL(busy(vol), 3);
	hold_drop(&h);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* Edges: a pin beside the range, in the block that is cut, in the rest of a huge leaf. */
static void test_edges(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = blocks(vol, "/f", 8), *g;
	struct seen a;
	struct hold h;

	CU_ASSERT(hold_blocks(&h, f, 4, 1));
	FAILS(EBUSY, hf_ftruncate_how(f, 5 * BLK - 10, &fail));
	FAILS(EBUSY, hf_fallocate_how(f, PUNCH, 4 * BLK + 10, 10, &fail));
	FAILS(EBUSY, hf_fallocate_how(f, PUNCH, 3 * BLK + 10, BLK, &fail));
	FAILS(EBUSY, hf_fallocate_how(f, FALLOC_FL_ZERO_RANGE, 5 * BLK - 1, BLK, &fail));
	OK(hf_fallocate_how(f, PUNCH, 5 * BLK, BLK, &fail));
	OK(hf_fallocate_how(f, PUNCH, 3 * BLK + 10, BLK - 10, &fail));
	OK(hf_fallocate_how(f, 0, 0, 10 * BLK, &fail)); /* takes nothing */
	OK(hf_ftruncate_how(f, 12 * BLK, &fail));	/* grows */
	OK(hf_ftruncate_how(f, 5 * BLK, &fail));
	OK(hf_ftruncate_how(f, 5 * BLK, &fail));
	/* The block that is cut stays: there is nothing to wait for. */
	OK(hf_ftruncate_how(f, 5 * BLK - 10, &look));
	OK(hf_fallocate_how(f, PUNCH, 4 * BLK + 10, 10, &look));
	hold_drop(&h);
	/* A pin on a part of a huge leaf holds all of it. */
	g = frames(vol, "/g", 2);
	a = seen(g);
	CU_ASSERT(hold_blocks(&h, g, 0, 1));
	FAILS(EBUSY, hf_fallocate_how(g, PUNCH, 500 * BLK, BLK, &fail));
	FAILS(EBUSY, hf_ftruncate_how(g, FRM - BLK, &fail));
	FAILS(EBUSY, hf_fallocate_how(g, FALLOC_FL_INSERT_RANGE, 100 * BLK, BLK, &fail));
	CU_ASSERT(same(&a, &(struct seen[]){seen(g)}[0]));
	OK(hf_ftruncate_how(g, FRM, &fail));
	hold_drop(&h);
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

static void test_bad_options(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = blocks(vol, "/f", 8);
	struct seen a = seen(f), b;
	struct hf_how bad = how(HF_PINNED_FAIL, 0);

	bad.pinned = (enum hf_pinned)3;
	FAILS(EINVAL, hf_ftruncate_how(f, 0, &bad));
	FAILS(EINVAL, hf_truncate_how(vol, "/f", 0, &bad));
	FAILS(EINVAL, hf_fallocate_how(f, PUNCH, 0, BLK, &bad));
	FAILS(EINVAL, hf_unlink_how(vol, "/f", &bad));
	FAILS(EINVAL, hf_rename_how(vol, "/f", "/g", 0, &bad));
	bad = how(HF_PINNED_DELAY, 0);
	bad.struct_size = 0;
	FAILS(EINVAL, hf_ftruncate_how(f, 0, &bad));
	FAILS(EINVAL, hf_unlink_how(vol, "/f", &bad));
	b = seen(f);
	CU_ASSERT(same(&a, &b));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- names */

static struct hf_id id_of(hf_volume *vol, const char *path)
{
	struct hf_stat st;

	OK(hf_stat(vol, path, &st));
	return st.id;
}

/* Unlinks /f, or renames /new over it, by path or by number. */
static int take_name(hf_volume *vol, unsigned which, const struct hf_how *h)
{
	struct hf_id root;

	OK(hf_inode_root(vol, &root));
	switch (which) {
	case 0:
		return hf_unlink_how(vol, "/f", h);
	case 1:
		return hf_rename_how(vol, "/new", "/f", 0, h);
	case 2:
		return hf_inode_unlink_how(vol, root, "f", h);
	default:
		return hf_inode_rename_how(vol, root, "new", root, "f", 0, h);
	}
}

static void test_names_fail(void)
{
	for (unsigned which = 0; which < 4; which++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24), *n = blocks(vol, "/new", 1);
		struct hf_id id = id_of(vol, "/f"), new = id_of(vol, "/new");
		struct hf_stat st;
		struct hold h;

		CU_ASSERT(hold_blocks(&h, f, 23, 1));
		/* It is open: its blocks would go at the close. */
		FAILS(EBUSY, take_name(vol, which, &fail));
		OK(hf_close(&f));
		FAILS(EBUSY, take_name(vol, which, &fail));
		CU_ASSERT(id_of(vol, "/f").ino == id.ino && id_of(vol, "/new").ino == new.ino);
		OK(hf_stat(vol, "/f", &st));
		CU_ASSERT(st.nlink == 1 && st.size == 24 * BLK && busy(vol) == 0);
		/* With another name it loses nothing. */
		OK(hf_link(vol, "/f", "/second"));
		OK(take_name(vol, which, &fail));
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_stat(vol, "/second", &st));
		CU_ASSERT(st.nlink == 1 && st.size == 24 * BLK);
		FAILS(EBUSY, hf_unlink_how(vol, "/second", &fail));
		hold_drop(&h);
		OK(hf_unlink_how(vol, "/second", &fail));
		FAILS(ENOENT, hf_stat(vol, "/second", &st));
		OK(hf_close(&n));
		OK(hf_unmount(&vol));
	}
}

/* small: the file goes in the transaction that takes its name; else through an orphan slot. */
static hf_file *victim(hf_volume *vol, bool small)
{
	hf_file *f = vol_create(vol, "/f"), *o;

	if (small) {
		OK(hf_close(&f));
		return blocks(vol, "/f", 24);
	}
	o = vol_create(vol, "/between");
	vol_fill(buf, FRM, 3);
	for (unsigned i = 0; i < 700; i++) {
		GET(BLK, hf_append(f, buf + i % 24 * BLK, BLK, NULL));
		GET(BLK, hf_append(o, buf, BLK, NULL));
	}
	OK(hf_close(&o));
	return f;
}

static void test_names_wait(void)
{
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);

	for (unsigned which = 0; which < 8; which++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = victim(vol, which & 4), *n = blocks(vol, "/new", 1);
		struct letter l;
		struct hold h;

		CU_ASSERT(hold_blocks(&h, f, 20, 3));
		OK(hf_close(&f));
		let_go_when(&l, vol, &h, 3);
		OK(take_name(vol, which & 3, &wait));
		let_gone(&l);
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_close(&n));
		/* Done, but still held; the name is free at once. */
		OK(which & 1 ? hf_unlink(vol, "/f") : 0);
		f = victim(vol, which & 4);
		OK(hf_close(&(hf_file *){vol_create(vol, "/new")}));
		CU_ASSERT(hold_blocks(&h, f, 20, 3));
		OK(hf_close(&f));
		FAILS(ETIMEDOUT, take_name(vol, which & 3, &look));
		CU_ASSERT_EQUAL(busy(vol), 3);
		CU_ASSERT(memcmp(hold_at(&h, 0), buf + 20 * BLK, BLK) == 0);
		hold_drop(&h);
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_unmount(&vol));
	}
}

static void test_names_open(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = blocks(vol, "/f", 24);
	struct hold h;

	CU_ASSERT(hold_blocks(&h, f, 20, 3));
	OK(hf_unlink_how(vol, "/f", &look)); /* takes no block */
	CU_ASSERT_EQUAL(busy(vol), 0);
	GET(BLK, hf_pread(f, back, BLK, 20 * BLK));
	OK(hf_close(&f));
	CU_ASSERT_EQUAL(busy(vol), 3);
	CU_ASSERT(memcmp(hold_at(&h, 0), buf + 20 * BLK, 3 * BLK) == 0);
	hold_drop(&h);
	CU_ASSERT_EQUAL(busy(vol), 0);
	/* What has no victim takes no mode amiss. */
	FAILS(ENOENT, hf_unlink_how(vol, "/f", &fail));
	FAILS(ENOENT, hf_unlink_how(vol, "/f", &look));
	f = blocks(vol, "/f", 2);
	OK(hf_mkdir(vol, "/d", 0755));
	CU_ASSERT(hold_blocks(&h, f, 0, 2));
	OK(hf_rename_how(vol, "/f", "/d/f", 0, &fail));
	OK(hf_rename_how(vol, "/d/f", "/f", 0, &look));
	OK(hf_close(&(hf_file *){blocks(vol, "/g", 1)}));
	OK(hf_rename_how(vol, "/g", "/f", HF_RENAME_EXCHANGE, &fail));
	OK(hf_rename_how(vol, "/g", "/f", HF_RENAME_EXCHANGE, &look));
	FAILS(EISDIR, hf_unlink_how(vol, "/d", &look));
	FAILS(EISDIR, hf_rename_how(vol, "/f", "/d", 0, &look));
	hold_drop(&h);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* A file with leases on it goes through an orphan slot, so that they can be asked for; nothing is
 * left of that. */
static void test_names_handed_back(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	uint64_t used;

	OK(hf_close(&(hf_file *){blocks(vol, "/keep", 1)}));
	used = vol_used(vol);
	for (unsigned i = 0; i < 200; i++) {
		hf_file *f = blocks(vol, "/f", 3);
		struct inode *in = f->in;

		inode_ref(in);
		atomic_store(&in->leases, 1);
		OK(hf_close(&f));
		OK(i % 2 ? hf_unlink(vol, "/f") : hf_rename(vol, "/keep", "/f", 0));
		atomic_store(&in->leases, 0);
		CU_ASSERT(atomic_load(&in->dead));
		inode_put(in);
		OK(i % 2 ? 0 : hf_rename(vol, "/f", "/keep", 0));
	}
	CU_ASSERT_EQUAL(vol_used(vol), used);
	OK(hf_unmount(&vol));
}

/* ---- one's own pins (rule T10) and leases (rule T11) */

static hf_pin_id pin(hf_file *f, uint64_t off, uint64_t len)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE, .tag = "test"};
	hf_pin_id id = 0;

	OK(hf_pin(f, off, len, &o, NULL, NULL, &id));
	return id;
}

/* Nothing is done, and at once. In the range of zero-range and insert nothing is detached. */
static void test_T10_own_pin(void)
{
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);

	for (enum op op = 0; op < OPS; op++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24);
		struct seen a = seen(f), b;
		hf_pin_id own = pin(f, 12 * BLK, BLK), beside = pin(f, 0, BLK);

		GET(op_detaches(op) ? -EDEADLK : 0, do_op(vol, f, op, &wait));
		b = seen(f);
		CU_ASSERT_EQUAL(same(&a, &b), op_detaches(op));
		OK(hf_unpin(vol, own));
		if (op_detaches(op)) {
			OK(do_op(vol, f, op, &wait));
			CU_ASSERT(op_is_done(f, op));
		}
		OK(hf_unpin(vol, beside));
		OK(hf_close(&f));
		OK(hf_unmount(&vol));
	}
}

static void test_T10_names(void)
{
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);

	for (unsigned which = 0; which < 4; which++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24), *n = blocks(vol, "/new", 1);
		hf_pin_id own = pin(f, 3 * BLK, BLK);
		struct hf_id id = id_of(vol, "/f");

		OK(hf_close(&f));
		FAILS(EDEADLK, take_name(vol, which, &wait));
		CU_ASSERT_EQUAL(id_of(vol, "/f").ino, id.ino);
		OK(hf_link(vol, "/f", "/second"));
		OK(take_name(vol, which, &wait)); /* not the last */
		FAILS(EDEADLK, hf_unlink_how(vol, "/second", &wait));
		OK(hf_unpin(vol, own));
		OK(hf_unlink_how(vol, "/second", &wait));
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_close(&n));
		OK(hf_unmount(&vol));
	}
}

struct told {
	hf_file *f;
	_Atomic unsigned calls;
	_Atomic int wait_ret, unpin_ret;
	_Atomic uint64_t busy;
	struct hf_lease_event last;
	bool lets_go;
};

static void be_told(void *ctx, hf_volume *vol, const struct hf_lease_event *event)
{
	struct told *t = ctx;
	struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);
	struct hf_statfs s;

	hf_statfs(vol, &s);
	atomic_store(&t->busy, s.blocks_busy_pinned);
	if (t->f)
		atomic_store(&t->wait_ret, hf_ftruncate_how(t->f, 0, &wait));
	if (t->lets_go)
		atomic_store(&t->unpin_ret, hf_unpin(vol, event->pin));
	t->last = *event;
	atomic_fetch_add(&t->calls, 1);
}

static hf_pin_id lease(hf_volume *vol, hf_file *f, struct told *t, uint64_t deadline_ns)
{
	struct hf_lease_options o = {sizeof(o), be_told, t, deadline_ns};
	hf_pin_id id = pin(f, 12 * BLK, 3 * BLK);

	OK(hf_lease(vol, id, &o));
	return id;
}

static void await_call(struct told *t, unsigned calls)
{
	while (atomic_load(&t->calls) < calls)
		nanosleep(&(struct timespec){0, 100000}, NULL);
}

static void *take_over(void *arg)
{
	struct told *t = arg;

	/* Pins belong to their thread, which would wait for itself. */
	return (void *)(intptr_t)hf_ftruncate_how(
	    t->f, 8 * BLK, &(struct hf_how){sizeof(struct hf_how), HF_PINNED_WAIT, FOREVER});
}

static void test_T11_leases(void)
{
	for (enum op op = 0; op < OPS; op++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24);
		struct told t = {.lets_go = true}, stays = {.lets_go = false};
		hf_pin_id id;

		/* FAIL asks before it decides; a holder that does not let go has until its
		 * deadline. */
		id = lease(vol, f, &stays, 1000000);
		FAILS(EBUSY, do_op(vol, f, op, &fail));
		await_call(&stays, 1);
		CU_ASSERT_EQUAL(atomic_load(&stays.busy), 0);
		CU_ASSERT(stays.last.pin == id && stays.last.mode == HF_PINNED_FAIL);
		CU_ASSERT(!stays.last.detached && stays.last.off < 15 * BLK &&
			  stays.last.off + stays.last.len > 12 * BLK);
		OK(hf_unpin(vol, id));
		lease(vol, f, &t, FOREVER);
		OK(do_op(vol, f, op, &fail));
		await_call(&t, 1);
		CU_ASSERT(op_is_done(f, op));
		OK(hf_close(&f));
		OK(hf_unlink(vol, "/f"));
		/* DELAY tells when it has detached, once. */
		f = blocks(vol, "/f", 24);
		id = lease(vol, f, &stays, 0);
		OK(do_op(vol, f, op, &delay));
		if (op_detaches(op)) {
			await_call(&stays, 2);
			CU_ASSERT_EQUAL(atomic_load(&stays.busy), 3);
			CU_ASSERT(stays.last.pin == id && stays.last.mode == HF_PINNED_DELAY);
			CU_ASSERT(stays.last.detached && stays.last.off < 15 * BLK &&
				  stays.last.off + stays.last.len > 12 * BLK);
		}
		OK(hf_unpin(vol, id));
		CU_ASSERT_EQUAL(atomic_load(&stays.calls), op_detaches(op) ? 2 : 1);
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_close(&f));
		OK(hf_unmount(&vol));
	}
}

static void test_T11_wait(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = blocks(vol, "/f", 24), *g = blocks(vol, "/g", 2);
	struct told t = {.lets_go = true, .f = g}, who = {.f = f};
	pthread_t thread;
	void *ret;

	/* WAIT sleeps until the holder, asked, has let go. In the callback nobody waits. */
	lease(vol, f, &t, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, take_over, &who), 0);
	pthread_join(thread, &ret);
	CU_ASSERT_EQUAL((intptr_t)ret, 0);
	CU_ASSERT(atomic_load(&t.calls) <= 1 && atomic_load(&t.unpin_ret) == 0);
	await_call(&t, 1);
	CU_ASSERT_EQUAL(atomic_load(&t.wait_ret), -EDEADLK);
	GET(2 * BLK, (int64_t)vol_size(g));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

static void test_T11_names(void)
{
	for (unsigned which = 0; which < 5; which++) {
		hf_volume *vol = vol_memory(16 * MIB);
		hf_file *f = blocks(vol, "/f", 24), *n = blocks(vol, "/new", 1);
		struct told stays = {.lets_go = false}, t = {.lets_go = true};
		hf_pin_id id = lease(vol, f, &stays, 1000000);

		if (which == 4) { /* the last close frees it */
			OK(hf_unlink(vol, "/f"));
			CU_ASSERT_EQUAL(atomic_load(&stays.calls), 0);
			OK(hf_close(&f));
			await_call(&stays, 1);
			CU_ASSERT_EQUAL(atomic_load(&stays.busy), 3);
		} else {
			OK(hf_close(&f));
			FAILS(EBUSY, take_name(vol, which, &fail));
			OK(take_name(vol, which, NULL));
			await_call(&stays, 2);
			CU_ASSERT_EQUAL(atomic_load(&stays.busy), 3);
		}
		OK(hf_unpin(vol, id));
		CU_ASSERT_EQUAL(busy(vol), 0);
		if (which < 4) {
			OK(hf_close(&n));
			OK(hf_unlink(vol, which & 1 ? "/f" : "/new"));
			f = blocks(vol, "/f", 24);
			n = blocks(vol, "/new", 1);
			lease(vol, f, &t, FOREVER);
			OK(hf_close(&f));
			OK(take_name(vol, which, &fail));
			await_call(&t, 1);
			CU_ASSERT_EQUAL(busy(vol), 0);
		}
		OK(hf_close(&n));
		OK(hf_unmount(&vol));
	}
}

/* ---- the deadlock that the design is about: who holds page A asks for page B of the same file
 * while a punch waits for A */

struct pair {
	hf_volume *vol;
	hf_file *f;
	uint64_t rounds;
	_Atomic uint64_t pinned, asked; /* rounds that have come so far */
};

/* Lets go of A when the punch has detached it, and not before it has got B. */
static void *holder(void *arg)
{
	struct pair *p = arg;
	hf_pin_id a, b;

	for (uint64_t i = 1; i <= p->rounds; i++) {
		a = pin(p->f, 0, BLK);
		atomic_store(&p->pinned, i);
		while (hf_seek(p->f, 0, SEEK_HOLE) != 0)
			sched_yield();
		b = pin(p->f, BLK, BLK);
		GET(BLK, hf_pwrite(p->f, buf, BLK, BLK));
		OK(hf_unpin(p->vol, a));
		OK(hf_unpin(p->vol, b));
		while (atomic_load(&p->asked) < i)
			sched_yield();
	}
	return NULL;
}

static void test_holder_asks_for_more(void)
{
	const struct hf_how wait = how(HF_PINNED_WAIT, FOREVER);
	struct pair p = {.rounds = getenv("HF_TEST_SHORT") ? 500 : 10000};
	pthread_t thread;

	p.vol = vol_memory(16 * MIB);
	p.f = blocks(p.vol, "/f", 2);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, holder, &p), 0);
	for (uint64_t i = 1; i <= p.rounds; i++) {
		while (atomic_load(&p.pinned) < i)
			sched_yield();
		OK(hf_fallocate_how(p.f, PUNCH, 0, BLK, &wait));
		CU_ASSERT_EQUAL(busy(p.vol), 0);
		GET(BLK, hf_pwrite(p.f, buf, BLK, 0));
		atomic_store(&p.asked, i);
	}
	pthread_join(thread, NULL);
	OK(hf_close(&p.f));
	OK(hf_unmount(&p.vol));
}

/* ---- full volumes */

static void fill(hf_file *f)
{
	uint64_t at = vol_size(f), len = MIB;

	memset(back, 0xbb, MIB);
	while (len >= 1) {
		ssize_t got = hf_pwrite(f, back, len, at);

		if (got > 0)
			at += (uint64_t)got;
		else if (got == -ENOSPC)
			len /= 2;
		else
			break;
	}
	CU_ASSERT_EQUAL(len, 0);
}

/* Is a byte of the file inside [media, media + len)? */
static bool overlaps(hf_file *f, uint64_t media, uint64_t len)
{
	struct hf_extent e[32];
	uint64_t off = 0;
	size_t n;

	do {
		OK(hf_extents(f, off, e, 32, &n));
		for (size_t i = 0; i < n; i++)
			if (e[i].media_off < media + len && media < e[i].media_off + e[i].len)
				return true;
		if (n)
			off = e[n - 1].off + e[n - 1].len;
	} while (n == 32);
	return false;
}

/* Pin, unlink, close, fill the volume with another file's data: who pinned still sees its own
 * bytes. */
static void test_no_reuse(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = frames(vol, "/f", 2), *s = blocks(vol, "/s", 5), *g;
	struct hold h, small;
	uint64_t size;

	CU_ASSERT(hold_blocks(&h, f, 512, 100));
	CU_ASSERT(hold_blocks(&small, s, 2, 2));
	OK(hf_unlink(vol, "/f"));
	OK(hf_unlink(vol, "/s"));
	OK(hf_close(&f));
	OK(hf_close(&s));
	CU_ASSERT_EQUAL(busy(vol), 514);
	g = vol_create(vol, "/g");
	fill(g);
	FAILS(ENOSPC, hf_append(g, back, BLK, NULL));
	CU_ASSERT(memcmp(hold_at(&h, 0), buf, FRM) == 0);
	CU_ASSERT(memcmp(hold_at(&small, 0), buf + 2 * BLK, 2 * BLK) == 0);
	CU_ASSERT(!overlaps(g, mblk_to_moff(h.run[0].first).v, FRM));
	CU_ASSERT(!overlaps(g, mblk_to_moff(small.run[0].first).v, 2 * BLK));
	CU_ASSERT_EQUAL(busy(vol), 514);
	size = vol_size(g);
	hold_drop(&h);
	hold_drop(&small);
	CU_ASSERT_EQUAL(busy(vol), 0);
	fill(g);
	CU_ASSERT(vol_size(g) >= size + 508 * BLK);
	CU_ASSERT(overlaps(g, mblk_to_moff(h.run[0].first).v, FRM));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

/* Down to the last block, also of those that are kept back. */
static void eat_all(hf_volume *vol)
{
	struct fs *fs = &vol->fs;
	struct mext x;

	for (;;) {
		struct txn *t = txn_begin(fs->journal);

		if (space_alloc(fs->space, t, 64, MBLK_NULL, SPACE_META | SPACE_RESERVE, &x)) {
			txn_abort(t);
			return;
		}
		OK(txn_commit(t, NULL));
	}
}

/* Rule B5: blocks are kept back for splits. Without one a punch zeroes in place and a truncation
 * leaves the leaf whole. */
static void test_B5_full(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 8), *g = vol_create(vol, "/g");
	struct hold h;

	fill(g);
	CU_ASSERT(hold_blocks(&h, f, 0, 8 * 512));
	OK(hf_fallocate(f, PUNCH, 100 * BLK, BLK));
	OK(hf_ftruncate(f, 8 * FRM - BLK));
	CU_ASSERT_EQUAL(busy(vol), 2);
	eat_all(vol);
	/* FAIL decides before the first piece; the others detach the whole leaf and zero the cut
	 * ones. */
	FAILS(EBUSY, hf_fallocate_how(f, PUNCH, 2 * FRM + 5 * BLK, 2 * FRM, &fail));
	GET(7 * FRM - BLK, (int64_t)(vol_size(f) - FRM));
	OK(hf_fallocate(f, PUNCH, 2 * FRM + 5 * BLK, 2 * FRM));
	CU_ASSERT_EQUAL(busy(vol), 2 + 512);
	GET(8 * BLK, hf_pread(f, back, 8 * BLK, 2 * FRM));
	CU_ASSERT(memcmp(back, buf, 5 * BLK) == 0 && back[5 * BLK] == 0 && back[8 * BLK - 1] == 0);
	/* Zeroed in place is a write to what is pinned. */
	CU_ASSERT_EQUAL(hold_at(&h, 2)[5 * BLK], 0);
	CU_ASSERT_EQUAL(hold_at(&h, 4)[5 * BLK - 1], 0);
	CU_ASSERT_EQUAL(hold_at(&h, 4)[5 * BLK], buf[5 * BLK]);
	CU_ASSERT(memcmp(hold_at(&h, 3), buf, FRM) == 0);
	eat_all(vol);
	OK(hf_ftruncate(f, 5 * FRM + 5 * BLK));
	CU_ASSERT(memcmp(hold_at(&h, 5), buf, FRM) == 0);
	CU_ASSERT_EQUAL(busy(vol), 2 + 512 + 512 + 511);
	hold_drop(&h);
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

/* FAIL on a volume where pieces are all that can be done: the layout lock is held over all of them.
 */
static void test_fail_in_pieces(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 8);
	struct hold h;

	CU_ASSERT(hold_blocks(&h, f, 7 * 512, 1));
	eat_all(vol);
	FAILS(EBUSY, hf_ftruncate_how(f, 3 * FRM + 5 * BLK, &fail));
	GET(8 * FRM, (int64_t)vol_size(f));
	OK(hf_fallocate_how(f, PUNCH, FRM + 5 * BLK, 2 * FRM, &fail));
	GET(BLK, hf_pread(f, back, BLK, 3 * FRM));
	CU_ASSERT_EQUAL(back[0], 0);
	hold_drop(&h);
	eat_all(vol);
	OK(hf_ftruncate_how(f, 3 * FRM + 5 * BLK, &fail));
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* The block that the end of the largest file cuts is one that is looked at, too. */
static void test_fail_at_the_end(void)
{
	const struct hf_pin_options alloc = {.struct_size = sizeof(alloc), .flags = HF_PIN_ALLOC};
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f");
	hf_pin_id pin;

	OK(hf_ftruncate(f, INT64_MAX));
	OK(hf_pin(f, INT64_MAX - 1, 1, &alloc, NULL, NULL, &pin));
	FAILS(EBUSY, hf_ftruncate_how(f, INT64_MAX - 1, &fail));
	GET(INT64_MAX, vol_size(f));
	OK(hf_ftruncate_how(f, INT64_MAX, &fail));
	OK(hf_unpin(vol, pin));
	OK(hf_ftruncate_how(f, INT64_MAX - 1, &fail));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"counts on demand", test_counts_on_demand},
	    {"splits", test_splits},
	    {"cut", test_cut},
	    {"fail", test_fail},
	    {"delay", test_delay},
	    {"wait", test_wait},
	    {"wait for one's own blocks", test_wait_own_blocks_only},
	    {"edges", test_edges},
	    {"bad options", test_bad_options},
	    {"names, fail", test_names_fail},
	    {"names, wait", test_names_wait},
	    {"names, open", test_names_open},
	    {"names, handed back", test_names_handed_back},
	    {"T10: one's own pin", test_T10_own_pin},
	    {"T10: names", test_T10_names},
	    {"T11: leases", test_T11_leases},
	    {"T11: wait", test_T11_wait},
	    {"T11: names", test_T11_names},
	    {"a holder asks for more", test_holder_asks_for_more},
	    {"no reuse", test_no_reuse},
	    {"B5: full", test_B5_full},
	    {"fail, in pieces", test_fail_in_pieces},
	    {"fail, at the end", test_fail_at_the_end},
	};

	return hf_run_suite("resizing under pins", cases, HF_COUNT(cases));
}
