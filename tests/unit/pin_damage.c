/* A damaged map in which two places name the same blocks, and pins on them: calls may fail and
 * blocks may be lost, but nothing asserts, nothing goes on for ever, and what is counted is dropped
 * again. */
#include "hold.h"
#include "inode/map_tree.h"
#include "pin/pin.h"

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static uint8_t buf[FRM];

static hf_file *frames(hf_volume *vol, const char *path, unsigned n)
{
	hf_file *f = vol_create(vol, path);

	for (unsigned i = 0; i < n; i++)
		GET(FRM, hf_append(f, buf, FRM, NULL));
	return f;
}

/* The entry that holds the byte 'off', of the level where the leaf is. */
static void slot_at(hf_file *f, uint64_t off, struct map_tree *m, struct map_slot *s)
{
	OK(map_tree_of_inode(m, f->in, FMT_FORK_DATA));
	OK(map_tree_find(m, off / BLK, 0, s));
	CU_ASSERT_FATAL(s->entry != 0 && s->off.v != 0);
}

static mblk_t block_at(hf_file *f, uint64_t off)
{
	struct map_tree m;
	struct map_slot s;

	slot_at(f, off, &m, &s);
	return MBLK(fmt_entry_blk(s.entry).v + (off / BLK - s.base));
}

/* From now on the leaf at 'off' names 'blk', with check bits that are right. */
static void name_block(hf_file *f, uint64_t off, mblk_t blk)
{
	struct map_tree m;
	struct map_slot s;

	slot_at(f, off, &m, &s);
	pm_store64(f->in->fs->pm, s.off,
		   map_entry(&m, s.level, s.base, fmt_entry_kind_of(s.entry), blk.v, 0));
}

static hf_pin_id pin(hf_file *f, uint64_t off, uint64_t len, int want)
{
	hf_pin_id id = 0;

	GET(want, hf_pin(f, off, len, NULL, NULL, NULL, &id));
	return id;
}

static void unpin(hf_volume *vol, hf_pin_id id)
{
	if (id)
		OK(hf_unpin(vol, id));
}

static void done(hf_volume *vol, hf_file *f, hf_file *g)
{
	OK(hf_close(&f));
	if (g)
		OK(hf_close(&g));
	GET(0, hf_unmount_force(vol));
}

/* Two huge leaves name one frame; a part of the one is punched, which splits the frame. */
static void test_huge_twice_split(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 3);
	hf_pin_id id;

	name_block(f, FRM, block_at(f, 0));
	OK(hf_fallocate(f, PUNCH, 8 * BLK, BLK));
	id = pin(f, FRM, FRM, -EUCLEAN);
	unpin(vol, id);
	done(vol, f, NULL);
}

/* The same, with a pin that is there before the split. */
static void test_huge_twice_pinned(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 3);
	hf_pin_id id;

	name_block(f, FRM, block_at(f, 0));
	id = pin(f, FRM, FRM, 0);
	OK(hf_fallocate(f, PUNCH, 8 * BLK, BLK));
	unpin(vol, id);
	done(vol, f, NULL);
}

/* A block of another file lies in a frame that is pinned as a whole. */
static void test_block_in_frame(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 2), *g = vol_create(vol, "/g");
	uint64_t free_before;
	struct space_stat st;
	hf_pin_id id;

	for (unsigned i = 0; i < 8; i++)
		GET(BLK, hf_append(g, buf, BLK, NULL));
	name_block(g, 2 * BLK, MBLK(block_at(f, 0).v + 17));
	id = pin(f, 0, FRM, 0);
	FAILS(EUCLEAN, hf_fallocate(g, PUNCH, 2 * BLK, BLK));
	/* Nor when the frame has counts. */
	OK(space_pin_counts(f->in->fs->space, mblk_to_frame(block_at(f, 0))));
	space_stat(f->in->fs->space, &st);
	free_before = st.free;
	FAILS(EUCLEAN, hf_fallocate(g, PUNCH, 2 * BLK, BLK));
	FAILS(EUCLEAN, hf_ftruncate(g, 0));
	space_stat(f->in->fs->space, &st);
	CU_ASSERT_EQUAL(st.free, free_before);
	unpin(vol, id);
	done(vol, f, g);
}

/* Both files are truncated while both are pinned; the second finds the blocks gone. */
static void test_frames_twice(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 2), *g = frames(vol, "/g", 2);
	hf_pin_id a, b;

	name_block(g, 0, block_at(f, 0));
	a = pin(f, 0, 2 * FRM, 0);
	b = pin(g, 0, 2 * FRM, 0);
	OK(hf_ftruncate(f, 0));
	FAILS(EUCLEAN, hf_ftruncate(g, 0));
	unpin(vol, a);
	unpin(vol, b);
	b = pin(g, 0, FRM, 0);
	unpin(vol, b);
	done(vol, f, g);
}

/* The leaf of f is huge, g has it block by block and punches one; then both are unpinned. */
static void test_split_under_other(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = frames(vol, "/f", 2), *g = frames(vol, "/g", 2);
	hf_pin_id a, b;

	name_block(g, 0, block_at(f, 0));
	a = pin(f, 0, FRM, 0);
	b = pin(g, 0, FRM, 0);
	OK(hf_fallocate(g, PUNCH, BLK, BLK));
	OK(hf_fallocate(f, PUNCH, 5 * BLK, BLK));
	unpin(vol, a);
	unpin(vol, b);
	b = pin(g, 8 * BLK, BLK, 0);
	unpin(vol, b);
	done(vol, f, g);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"two huge leaves, split", test_huge_twice_split},
	    {"two huge leaves, split under a pin", test_huge_twice_pinned},
	    {"a block in another's pinned frame", test_block_in_frame},
	    {"two files, one pinned frame", test_frames_twice},
	    {"two files split a pinned frame", test_split_under_other},
	};

	return hf_run_suite("pins on blocks that are named twice", cases, HF_COUNT(cases));
}
