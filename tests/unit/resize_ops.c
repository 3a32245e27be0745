/* Truncation, holes and shifts: sizes of files whose blocks do not go into one transaction, full
 * volumes, refusals. */
#include "file_vol.h"
#include "file/volume.h"

static uint8_t buf[4 * MIB], back[8 * MIB];

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static uint64_t blocks_of(hf_file *f)
{
	struct hf_stat st;

	OK(hf_fstat(f, &st));
	return st.blocks_512 / 8;
}

/* Every second block: one run per block, none adjacent to another. */
static void write_scattered(hf_file *f, uint64_t n)
{
	vol_fill(buf, BLK, 1);
	for (uint64_t i = 0; i < n; i++) {
		buf[0] = (uint8_t)(1 + i % 255);
		GET(BLK, hf_pwrite(f, buf, BLK, 2 * i * BLK));
	}
}

/* A neighbour's block between each two, so that they are not adjacent on the media either. */
static hf_file *fragment(hf_volume *vol, hf_file *f, uint64_t n)
{
	hf_file *other = vol_create(vol, "/other");

	vol_fill(buf, BLK, 1);
	for (uint64_t i = 0; i < n; i++) {
		buf[0] = (uint8_t)(1 + i % 255);
		GET(BLK, hf_pwrite(f, buf, BLK, 2 * i * BLK));
		GET(BLK, hf_pwrite(other, buf, BLK, 2 * i * BLK));
	}
	return other;
}

static void test_many_blocks(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *other;
	const uint64_t n = 3000;
	uint64_t used;

	OK(hf_close(&(hf_file *){vol_create(vol, "/other")}));
	used = vol_used(vol);
	/* truncate */
	other = fragment(vol, f, n);
	OK(hf_ftruncate(f, 100));
	GET(100, hf_pread(f, back, sizeof(back), 0));
	CU_ASSERT(back[0] == 1);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(blocks_of(f), 0);
	OK(hf_ftruncate(other, 0));
	OK(hf_close(&other));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	/* punch: all but the edges */
	other = fragment(vol, f, n);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5, 2 * n * BLK - 5000));
	GET(5, hf_seek(f, 5, SEEK_DATA));
	GET(BLK, hf_seek(f, 0, SEEK_HOLE));
	GET(8 * MIB, hf_pread(f, back, 8 * MIB, 0));
	CU_ASSERT(back[0] == 1 && all_zero(back + 5, 8 * MIB - 5));
	/* unlink, while it is not one transaction */
	OK(hf_unlink(vol, "/other"));
	OK(hf_close(&other));
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	/* collapse: of 3000 runs 2000 go and 1000 move */
	other = fragment(vol, f, n);
	OK(hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 2 * BLK, 4000 * BLK));
	GET((2 * n - 4001) * BLK, vol_size(f));
	for (uint64_t i = 0; i < 999; i++) {
		uint64_t from = i == 0 ? 0 : 2000 + i;

		GET(1, hf_pread(f, back, 1, 2 * i * BLK));
		CU_ASSERT_EQUAL(back[0], 1 + from % 255);
	}
	OK(hf_close(&other));
	OK(hf_close(&f));
	OK(hf_unlink(vol, "/f"));
	OK(hf_unlink(vol, "/other"));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	OK(hf_unmount(&vol));
}

static void test_frames(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_statfs a, b;
	struct hf_extent e[8];
	size_t n;

	OK(hf_statfs(vol, &a));
	vol_fill(buf, sizeof(buf), 3);
	for (int i = 0; i < 4; i++)
		GET(sizeof(buf), hf_append(f, buf, sizeof(buf), NULL));
	/* A hole in the middle of a frame splits it: nothing moves. */
	OK(hf_extents(f, 0, e, 8, &n));
	CU_ASSERT(n == 1 && e[0].huge);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * MIB, 8 * BLK));
	GET(sizeof(back), hf_pread(f, back, sizeof(back), 0));
	CU_ASSERT(memcmp(back, buf, 3 * MIB) == 0 && all_zero(back + 3 * MIB, 8 * BLK));
	CU_ASSERT(memcmp(back + 3 * MIB + 8 * BLK, buf + 3 * MIB + 8 * BLK, MIB - 8 * BLK) == 0);
	CU_ASSERT_EQUAL(blocks_of(f), 4 * 1024 - 8 + 2);
	/* A shift by whole frames keeps huge leaves; by less makes blocks of them. */
	OK(hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 0, FRM));
	OK(hf_extents(f, 0, e, 8, &n));
	CU_ASSERT(n > 1 && e[0].huge && e[0].off == FRM);
	OK(hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, FRM - BLK));
	OK(hf_extents(f, 0, e, 8, &n));
	CU_ASSERT(!e[0].huge && e[0].off == BLK);
	GET(FRM, hf_pread(f, back, FRM, BLK));
	CU_ASSERT(memcmp(back, buf, FRM) == 0);
	/* Truncation in the middle of a frame. */
	OK(hf_ftruncate(f, 5 * MIB + 100));
	CU_ASSERT(blocks_of(f) <= 5 * 256 + 8);
	OK(hf_ftruncate(f, 0));
	OK(hf_syncfs(vol));
	OK(hf_statfs(vol, &b));
	CU_ASSERT_EQUAL(a.frames_free, b.frames_free);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_modes(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f"), *r = vol_open(vol, "/f", HF_O_RDONLY);

	GET(4 * BLK, hf_pwrite(f, buf, 4 * BLK, 0));
	FAILS(EINVAL, hf_fallocate(f, 0, 0, 0));
	FAILS(EOPNOTSUPP, hf_fallocate(f, FALLOC_FL_PUNCH_HOLE, 0, BLK));
	FAILS(EOPNOTSUPP, hf_fallocate(f, FALLOC_FL_UNSHARE_RANGE, 0, BLK));
	FAILS(EOPNOTSUPP,
	      hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
			   BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 1, BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, BLK + 1));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, 4 * BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 8 * BLK, BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 4 * BLK, BLK));
	FAILS(EINVAL, hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 1, BLK));
	FAILS(EBADF, hf_fallocate(r, 0, 0, BLK));
	FAILS(EINVAL, hf_seek(f, 0, SEEK_SET));
	FAILS(ENXIO, hf_seek(f, 4 * BLK, SEEK_DATA));
	FAILS(ENXIO, hf_seek(f, 4 * BLK, SEEK_HOLE));
	GET(4 * BLK, hf_seek(f, 5, SEEK_HOLE));
	GET(5, hf_seek(f, 5, SEEK_DATA));
	FAILS(EINVAL, hf_extents(f, 0, NULL, 1, NULL));
	OK(hf_close(&f));
	OK(hf_close(&r));
	OK(hf_unmount(&vol));
}

/* ---- full volumes: takes all that there is, down to the last block */
static void fill(hf_volume *vol, hf_file *f)
{
	uint64_t at = vol_size(f), len = MIB;

	while (len >= 1) {
		ssize_t got = hf_pwrite(f, buf, len, at);

		if (got > 0)
			at += (uint64_t)got;
		else if (got == -ENOSPC)
			len /= 2;
		else
			vol_ok(got, "filling", __FILE__, __LINE__);
		if (got == 0 || (got < 0 && got != -ENOSPC))
			return;
		CU_ASSERT_EQUAL(vol_size(f), at);
	}
	(void)vol;
}

static void test_full(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f"), *g = vol_create(vol, "/g");
	uint64_t used = vol_used(vol), size;

	vol_fill(buf, sizeof(buf), 5);
	fill(vol, f);
	size = vol_size(f);
	CU_ASSERT(size > 24 * MIB);
	FAILS(ENOSPC, hf_pwrite(g, buf, 5000, 0));
	GET(0, vol_size(g));
	FAILS(ENOSPC, hf_pwrite(g, buf, 4 * MIB, 0));
	FAILS(ENOSPC, hf_fallocate(g, 0, 0, 8 * MIB));
	FAILS(ENOSPC, hf_fallocate(g, FALLOC_FL_KEEP_SIZE, 0, BLK));
	FAILS(ENOSPC, hf_fallocate(g, FALLOC_FL_ZERO_RANGE, 0, BLK));
	FAILS(ENOSPC, hf_copy_file_range(f, 0, g, 0, 100 * MIB));
	CU_ASSERT_EQUAL(blocks_of(g), 0);
	/* Overwriting needs nothing; tiny files live in their inodes; a hole is a size. */
	GET(MIB, hf_pwrite(f, buf, MIB, 77));
	GET(100, hf_pwrite(g, buf, 100, 0));
	FAILS(ENOSPC, hf_pwrite(g, buf, 100, 100));
	GET(100, hf_pread(g, back, 4096, 0));
	FAILS(ENOSPC, hf_ftruncate(g, MIB));
	GET(100, vol_size(g));
	/* A hole in a frame: splits with what is kept back for it, then zeroes in place. */
	for (uint64_t at = 3 * BLK; at < 20 * MIB; at += FRM) {
		OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 100));
		GET(200, hf_pread(f, back, 200, at));
		CU_ASSERT(all_zero(back, 100) && !all_zero(back + 100, 100));
	}
	fill(vol, g);
	OK(hf_ftruncate(f, size / 2 + 5));
	GET(size / 2 + 5, vol_size(f));
	fill(vol, g);
	OK(hf_ftruncate(f, 0));
	fill(vol, g);
	OK(hf_close(&f));
	OK(hf_unlink(vol, "/f"));
	OK(hf_unlink(vol, "/g"));
	OK(hf_close(&g));
	CU_ASSERT(vol_used(vol) <= used + 1);
	OK(hf_unmount(&vol));
}

/* Every frame gets holes until no block is left to split one: then punching zeroes in place, and
 * emptying still works. */
static void test_full_punch(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *small = vol_create(vol, "/small");
	uint64_t frames, used = vol_used(vol);

	vol_fill(buf, sizeof(buf), 5);
	while (hf_append(f, buf, FRM, NULL) == (ssize_t)FRM)
		continue;
	frames = vol_size(f) / FRM;
	CU_ASSERT(frames > 20);
	fill(vol, small);
	for (uint64_t i = 0; i < frames; i++) {
		uint64_t at = i * FRM + 100;

		OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 2 * BLK));
		GET(3 * BLK, hf_pread(f, back, 3 * BLK, at));
		CU_ASSERT(all_zero(back, 2 * BLK) && !all_zero(back + 2 * BLK, BLK));
		/* What a split gave back is taken again. */
		fill(vol, small);
	}
	OK(hf_ftruncate(f, 5 * FRM + 5000));
	GET(5000, hf_pread(f, back, BLK * 4, 5 * FRM));
	OK(hf_ftruncate(f, 6 * FRM));
	GET(FRM - 5000, hf_pread(f, back, FRM, 5 * FRM + 5000));
	CU_ASSERT(all_zero(back, FRM - 5000));
	OK(hf_ftruncate(f, 0));
	OK(hf_ftruncate(small, 0));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	OK(hf_close(&f));
	OK(hf_close(&small));
	OK(hf_unmount(&vol));
}

static void test_full_names(void)
{
	hf_volume *vol = vol_memory(8 * MIB);
	hf_file *f = vol_create(vol, "/f"), *g;
	static char value[60000];
	char name[32];
	int n = 0, err = 0;

	fill(vol, f);
	while (err == 0) {
		snprintf(name, sizeof(name), "/n%d", n++);
		err = hf_open(vol, name, HF_O_RDWR | HF_O_CREAT, 0644, &g);
		if (!err)
			OK(hf_close(&g));
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT(hf_errormsg()[0] != '\0');
	n--;
	/* Which bucket is full depends on the hash: what still fits may succeed, nothing may break.
	 */
	err = hf_mkdir(vol, "/directory", 0755);
	CU_ASSERT(err == 0 || err == -ENOSPC);
	err = hf_symlink(vol, "x", "/symlink");
	CU_ASSERT(err == 0 || err == -ENOSPC);
	FAILS(ENOSPC, hf_setxattr(vol, "/f", "user.big", value, sizeof(value), 0));
	err = hf_open(vol, "/", HF_O_RDWR | HF_O_TMPFILE, 0600, &g);
	CU_ASSERT(err == 0 || err == -ENOSPC);
	if (!err)
		OK(hf_close(&g));
	while (--n >= 0) {
		snprintf(name, sizeof(name), "/n%d", n);
		OK(hf_unlink(vol, name));
	}
	OK(hf_unlink(vol, "/f"));
	OK(hf_close(&f));
	OK(hf_mkdir(vol, "/another", 0755));
	OK(hf_unmount(&vol));
}

/* Not even the blocks that are kept back for splits: they are taken through the allocator, and
 * lost. */
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

static void test_no_node_left(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *s = vol_create(vol, "/s"), *other, *a, *b;
	uint64_t blocks;

	vol_fill(buf, sizeof(buf), 9);
	for (int i = 0; i < 4; i++)
		GET(FRM, hf_append(f, buf, FRM, NULL));
	other = fragment(vol, s, 2000);
	/* A slot whose 512 blocks are 512 runs: the most that one record has to name. */
	a = vol_create(vol, "/a");
	b = vol_create(vol, "/b");
	for (int i = 0; i < 512; i++) {
		GET(BLK, hf_append(a, buf, BLK, NULL));
		GET(BLK, hf_append(b, buf, BLK, NULL));
	}
	vol_fill(buf, sizeof(buf), 9);
	eat_all(vol);
	OK(hf_ftruncate(a, BLK));
	CU_ASSERT(blocks_of(a) <= 2);
	eat_all(vol);
	blocks = blocks_of(f);
	/* A hole in a frame is zeroed in place. */
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100 + BLK, 5 * BLK));
	GET(8 * BLK, hf_pread(f, back, 8 * BLK, 0));
	CU_ASSERT(memcmp(back, buf, 100 + BLK) == 0 && all_zero(back + 100 + BLK, 5 * BLK));
	CU_ASSERT(memcmp(back + 100 + 6 * BLK, buf + 100 + 6 * BLK, BLK) == 0);
	CU_ASSERT_EQUAL(blocks_of(f), blocks);
	/* Truncation leaves the leaf that it cuts, and takes those behind it. */
	OK(hf_ftruncate(f, 3 * FRM - 5000));
	GET(3 * FRM - 5000, vol_size(f));
	CU_ASSERT_EQUAL(blocks_of(f), blocks - 512);
	eat_all(vol);
	OK(hf_ftruncate(f, 3 * FRM));
	GET(5000, hf_pread(f, back, BLK * 2, 3 * FRM - 5000));
	CU_ASSERT(all_zero(back, 5000));
	/* More runs than a record names, and no node to cut them off. */
	OK(hf_ftruncate(s, 5 * BLK));
	GET(5 * BLK, vol_size(s));
	CU_ASSERT(blocks_of(s) < 10);
	eat_all(vol);
	OK(hf_fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK + 1, 3990 * BLK));
	GET(1, hf_seek(other, 1, SEEK_DATA));
	GET(2 * BLK, hf_pread(other, back, 2 * BLK, 0));
	CU_ASSERT(back[0] == 1 && all_zero(back + BLK + 1, BLK - 1));
	CU_ASSERT(blocks_of(other) < 30);
	eat_all(vol);
	FAILS(ENOSPC, hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, BLK));
	FAILS(ENOSPC, hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 0, BLK));
	GET(3 * FRM, vol_size(f));
	OK(hf_ftruncate(f, 0));
	OK(hf_close(&f));
	OK(hf_close(&s));
	OK(hf_close(&other));
	OK(hf_close(&a));
	OK(hf_close(&b));
	OK(hf_unmount(&vol));
}

/* Free blocks, but no free frame: whole slots are written and allocated as blocks. */
static void test_no_frame_left(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f"), *g = vol_create(vol, "/g");
	struct hf_statfs st;
	struct hf_extent e[64];
	size_t n;

	fill(vol, f);
	for (uint64_t at = 0; at < 15 * FRM; at += FRM)
		OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at + 100 * BLK,
				300 * BLK));
	OK(hf_syncfs(vol));
	OK(hf_statfs(vol, &st));
	CU_ASSERT(st.frames_free == 0 && st.blocks_free > 2000);
	vol_fill(buf, sizeof(buf), 2);
	GET(sizeof(buf), hf_pwrite(g, buf, sizeof(buf), 0));
	GET(sizeof(buf), hf_pread(g, back, sizeof(buf), 0));
	CU_ASSERT(memcmp(buf, back, sizeof(buf)) == 0);
	OK(hf_fallocate(g, 0, sizeof(buf), FRM));
	GET(100, hf_append(g, buf, 100, NULL));
	OK(hf_extents(g, 0, e, 64, &n));
	for (size_t i = 0; i < n; i++)
		CU_ASSERT(!e[i].huge);
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

static void test_sparse_scattered(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");

	write_scattered(f, 600);
	for (uint64_t i = 0; i < 600; i++) {
		GET(2 * i * BLK, hf_seek(f, 2 * i * BLK, SEEK_DATA));
		GET((2 * i + 1) * BLK, hf_seek(f, 2 * i * BLK, SEEK_HOLE));
	}
	OK(hf_fallocate(f, FALLOC_FL_ZERO_RANGE, 100, 1000 * BLK));
	GET(1199 * BLK - (1000 * BLK + 100), (int64_t)(vol_size(f) - (1000 * BLK + 100)));
	GET(1000 * BLK, hf_pread(f, back, 1000 * BLK, 100));
	CU_ASSERT(all_zero(back, 1000 * BLK));
	GET(1001 * BLK, hf_seek(f, 0, SEEK_HOLE));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"many blocks", test_many_blocks},
	    {"frames", test_frames},
	    {"modes", test_modes},
	    {"full", test_full},
	    {"full, punching", test_full_punch},
	    {"full, names", test_full_names},
	    {"no node left", test_no_node_left},
	    {"no frame left", test_no_frame_left},
	    {"sparse", test_sparse_scattered},
	};

	return hf_run_suite("resizing", cases, HF_COUNT(cases));
}
