/* Reading and writing, one rule at a time. */
#include "file_vol.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static uint8_t buf[8 * MIB], back[8 * MIB];

static size_t extents(hf_file *f, struct hf_extent *e, size_t max)
{
	size_t n = 0;

	OK(hf_extents(f, 0, e, max, &n));
	return n;
}

static uint64_t blocks_of(hf_file *f)
{
	struct hf_stat st;

	OK(hf_fstat(f, &st));
	return st.blocks_512 / 8;
}

static uint64_t vol_free(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_syncfs(vol));
	OK(hf_statfs(vol, &s));
	return s.blocks_free;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- tiny files */

static void test_inline(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");

	vol_fill(buf, 4096, 1);
	GET(100, hf_pwrite(f, buf, 100, 0));
	CU_ASSERT_EQUAL(blocks_of(f), 0);
	GET(128, vol_size(f) + 28);
	GET(28, hf_pwrite(f, buf + 100, 28, 100));
	CU_ASSERT_EQUAL(blocks_of(f), 0);
	GET(128, hf_pread(f, back, 4096, 0));
	CU_ASSERT(memcmp(buf, back, 128) == 0);
	/* holes inside: zeros */
	OK(hf_ftruncate(f, 10));
	OK(hf_ftruncate(f, 128));
	GET(128, hf_pread(f, back, 128, 0));
	CU_ASSERT(memcmp(buf, back, 10) == 0 && all_zero(back + 10, 118));
	GET(1, hf_pwrite(f, buf, 1, 128));
	CU_ASSERT(blocks_of(f) > 0);
	GET(129, hf_pread(f, back, 4096, 0));
	CU_ASSERT(memcmp(buf, back, 10) == 0 && all_zero(back + 10, 118) && back[128] == buf[0]);
	/* back to inline: not needed; the content stays right */
	OK(hf_ftruncate(f, 5));
	GET(5, hf_pread(f, back, 4096, 0));
	OK(hf_ftruncate(f, 0));
	GET(3, hf_pwrite(f, "abc", 3, 0));
	CU_ASSERT_EQUAL(blocks_of(f), 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_inline_outgrow(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	static const uint64_t at[] = {0, 50, 100, 129, 4095, 4096, 5000, 3 * MIB};

	vol_fill(buf, MIB, 3);
	for (size_t i = 0; i < HF_COUNT(at); i++) {
		hf_file *f = vol_create(vol, "/f");

		GET(100,
		    hf_pwrite(
			f,
			"0123456789012345678901234567890123456789012345678901234567890123456789"
			"012345678901234567890123456789",
			100, 0));
		GET(5000, hf_pwrite(f, buf, 5000, at[i]));
		GET(at[i] + 5000, vol_size(f));
		GET(at[i] + 5000, hf_pread(f, back, sizeof(back), 0));
		CU_ASSERT(memcmp(back + at[i], buf, 5000) == 0);
		CU_ASSERT(memcmp(back, "0123456789", at[i] < 10 ? at[i] : 10) == 0);
		if (at[i] > 100)
			CU_ASSERT(all_zero(back + 100, at[i] - 100));
		OK(hf_close(&f));
		OK(hf_unlink(vol, "/f"));
	}
	OK(hf_unmount(&vol));
}

/* ---- frames */

static void test_frames_one_write(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_extent e[8];

	vol_fill(buf, 6 * MIB, 2);
	GET(6 * MIB, hf_pwrite(f, buf, 6 * MIB, 0));
	CU_ASSERT_EQUAL(extents(f, e, 8), 1);
	CU_ASSERT(e[0].huge && e[0].len == 6 * MIB && e[0].media_off % FRM == 0);
	GET(6 * MIB, hf_pread(f, back, 6 * MIB, 0));
	CU_ASSERT(memcmp(buf, back, 6 * MIB) == 0);
	OK(hf_close(&f));
	/* not aligned: only the slot that it covers wholly, and the one it enters at the end */
	f = vol_create(vol, "/g");
	GET(4 * MIB, hf_pwrite(f, buf, 4 * MIB, MIB));
	CU_ASSERT_EQUAL(extents(f, e, 8), 2);
	CU_ASSERT(!e[0].huge && e[0].off == MIB && e[0].len == MIB);
	CU_ASSERT(e[1].huge && e[1].off == FRM && e[1].len == 2 * FRM);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_frames_appending(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_extent e[600];
	size_t n;

	vol_fill(buf, 5 * MIB, 5);
	for (uint64_t at = 0; at < 5 * MIB; at += 10000) {
		uint64_t len = at + 10000 > 5 * MIB ? 5 * MIB - at : 10000;

		GET(len, hf_append(f, buf + at, len, NULL));
	}
	n = extents(f, e, 600);
	CU_ASSERT(n >= 2 && e[n - 1].huge && e[n - 1].off + e[n - 1].len == 3 * FRM);
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(e[i].huge, e[i].off >= FRM);
	/* Bytes of the last frame beyond the end mean nothing: what uncovers them sees zeros. */
	OK(hf_ftruncate(f, 5 * MIB - 5000));
	OK(hf_ftruncate(f, 6 * MIB));
	GET(MIB + 5000, hf_pread(f, back, 2 * MIB, 5 * MIB - 5000));
	CU_ASSERT(all_zero(back, MIB + 5000));
	OK(hf_close(&f));
	/* Sparse writes get blocks. */
	f = vol_create(vol, "/g");
	for (uint64_t i = 0; i < 4; i++)
		GET(10, hf_pwrite(f, buf, 10, i * FRM + 3 * BLK));
	n = extents(f, e, 600);
	CU_ASSERT_EQUAL(n, 4);
	for (size_t i = 0; i < n; i++)
		CU_ASSERT(!e[i].huge && e[i].len == BLK);
	OK(hf_close(&f));
	/* Nor does a write into a hole below the end of file, though the slot before is mapped. */
	f = vol_create(vol, "/h");
	GET(FRM, hf_pwrite(f, buf, FRM, 0));
	OK(hf_ftruncate(f, 3 * FRM));
	GET(10, hf_pwrite(f, buf, 10, FRM));
	n = extents(f, e, 600);
	CU_ASSERT(n == 2 && e[0].huge && !e[1].huge && e[1].len == BLK);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_frames_fallocate(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_extent e[8];

	OK(hf_fallocate(f, 0, MIB, 5 * MIB));
	GET(6 * MIB, vol_size(f));
	CU_ASSERT_EQUAL(extents(f, e, 8), 2);
	CU_ASSERT(!e[0].huge && e[1].huge && e[1].off == FRM && e[1].len == 2 * FRM);
	GET(6 * MIB, hf_pread(f, back, 8 * MIB, 0));
	CU_ASSERT(all_zero(back, 6 * MIB));
	/* Beyond the end, invisible; a later write uncovers zeros. */
	OK(hf_fallocate(f, FALLOC_FL_KEEP_SIZE, 6 * MIB, 2 * MIB));
	GET(6 * MIB, vol_size(f));
	GET(1, hf_pwrite(f, "x", 1, 7 * MIB));
	GET(MIB + 1, hf_pread(f, back, 8 * MIB, 6 * MIB));
	CU_ASSERT(all_zero(back, MIB) && back[MIB] == 'x');
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- the end of file */

static void test_end_of_file(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");

	vol_fill(buf, 10000, 7);
	GET(10000, hf_pwrite(f, buf, 10000, 0));
	GET(0, hf_pread(f, back, 10, 10000));
	GET(0, hf_pread(f, back, 10, 1ull << 62));
	GET(0, hf_pread(f, back, 10, UINT64_MAX));
	GET(1, hf_pread(f, back, 10, 9999));
	GET(0, hf_pread(f, NULL, 0, 0));
	GET(0, hf_pwrite(f, NULL, 0, 0));
	GET(0, hf_pwrite(f, NULL, 0, 20000));
	GET(10000, vol_size(f));
	/* What a truncation left in the last block does not come back. */
	OK(hf_ftruncate(f, 9000));
	GET(10, hf_pwrite(f, buf, 10, 9500));
	GET(510, hf_pread(f, back, 600, 9000));
	CU_ASSERT(all_zero(back, 500) && memcmp(back + 500, buf, 10) == 0);
	OK(hf_ftruncate(f, 8500));
	OK(hf_ftruncate(f, 8500 + 1000));
	GET(1000, hf_pread(f, back, 4096, 8500));
	CU_ASSERT(all_zero(back, 1000));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_largest_file(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	const uint64_t max = INT64_MAX;

	GET(10, hf_pwrite(f, "0123456789", 10, max - 10));
	GET(max, vol_size(f));
	GET(10, hf_pread(f, back, 100, max - 10));
	CU_ASSERT(memcmp(back, "0123456789", 10) == 0);
	GET(5, hf_pwrite(f, "01234567", 8, max - 5));
	FAILS(EFBIG, hf_pwrite(f, "x", 1, max));
	FAILS(EFBIG, hf_pwrite(f, "x", 1, UINT64_MAX));
	FAILS(EFBIG, hf_append(f, "x", 1, NULL));
	FAILS(EFBIG, hf_ftruncate(f, max + 1));
	FAILS(EFBIG, hf_fallocate(f, 0, max, 1));
	FAILS(EFBIG, hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 0, BLK));
	FAILS(EFBIG, hf_copy_file_range(f, 0, f, max, 1));
	GET((int64_t)((max - 10) / BLK * BLK), hf_seek(f, 0, SEEK_DATA));
	GET(max, hf_seek(f, max - 1, SEEK_HOLE));
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, max));
	GET(10, hf_pread(f, back, 100, max - 10));
	CU_ASSERT(all_zero(back, 10));
	FAILS(ENXIO, hf_seek(f, 0, SEEK_DATA));
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(blocks_of(f), 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- vectors, appending */

static void test_vectors(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct iovec iov[40], too_long[2] = {{buf, SIZE_MAX}, {buf, 1}}, no_buffer = {NULL, 5};
	uint64_t total = 0;

	vol_fill(buf, 200000, 9);
	for (int i = 0; i < 40; i++) {
		iov[i] = (struct iovec){buf + total, i % 3 == 1 ? 0 : (size_t)(i * 131 + 1)};
		total += iov[i].iov_len;
	}
	GET(total, hf_pwritev(f, iov, 40, 77));
	for (int i = 0; i < 40; i++)
		iov[i].iov_base = back + ((uint8_t *)iov[i].iov_base - buf);
	GET(total, hf_preadv(f, iov, 40, 77));
	CU_ASSERT(memcmp(buf, back, total) == 0);
	GET(0, hf_preadv(f, iov, 40, 77 + total));
	GET(100, hf_preadv(f, iov, 40, 77 + total - 100));
	GET(0, hf_pwritev(f, iov, 0, 0));
	GET(0, hf_preadv(f, NULL, 0, 0));
	FAILS(EINVAL, hf_pwritev(f, iov, -1, 0));
	FAILS(EINVAL, hf_pwritev(f, iov, 1025, 0));
	FAILS(EINVAL, hf_preadv(f, NULL, 1, 0));
	FAILS(EINVAL, hf_pwritev(f, too_long, 2, 0));
	FAILS(EINVAL, hf_pwritev(f, &no_buffer, 1, 0));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_append(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *a = vol_open(vol, "/f", HF_O_RDWR | HF_O_CREAT | HF_O_APPEND),
		*b = vol_open(vol, "/f", HF_O_RDWR);
	uint64_t at;

	GET(4, hf_pwrite(a, "one ", 4, 1000));
	GET(4, hf_append(b, "two ", 4, &at));
	CU_ASSERT_EQUAL(at, 4);
	GET(4, hf_pwrite(b, "ONE ", 4, 0));
	GET(5, hf_pwritev(a, &(struct iovec){(char *)(uintptr_t) "three", 5}, 1, 0));
	GET(13, hf_pread(a, back, 100, 0));
	CU_ASSERT(memcmp(back, "ONE two three", 13) == 0);
	OK(hf_close(&a));
	OK(hf_close(&b));
	OK(hf_unmount(&vol));
}

/* ---- bad buffers */

static void test_fault(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f");
	uint8_t *bad = mmap(NULL, 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t used, free;

	GET(100, hf_pwrite(f, buf, 100, 0));
	FAILS(EFAULT, hf_pread(f, bad, 100, 0));
	FAILS(EFAULT, hf_pwrite(f, bad, 100, 0));
	FAILS(EFAULT, hf_pwrite(f, bad, 100, 20));
	GET(10000, hf_pwrite(f, buf, 10000, 0));
	OK(hf_ftruncate(f, MIB));
	used = vol_used(vol);
	free = vol_free(vol);
	FAILS(EFAULT, hf_pwrite(f, bad, 100, 0));
	FAILS(EFAULT, hf_pwrite(f, bad, 10000, 100 * BLK));
	FAILS(EFAULT, hf_append(f, bad, 2 * MIB, NULL));
	FAILS(EFAULT, hf_pread(f, bad, 100, 0));
	FAILS(EFAULT, hf_pread(f, bad, 100, 200 * BLK));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	GET(MIB, vol_size(f));
	/* The second half only: nothing of a write that needs new blocks is there. */
	CU_ASSERT_EQUAL(mprotect(bad, MIB, PROT_READ | PROT_WRITE), 0);
	FAILS(EFAULT, hf_append(f, bad + MIB - BLK, 2 * BLK, NULL));
	GET(MIB, vol_size(f));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	CU_ASSERT_EQUAL(vol_free(vol), free);
	/* What is in place before the new blocks counts. */
	vol_fill(bad, MIB, 11);
	GET(3 * BLK, hf_pwrite(f, bad + MIB - 3 * BLK, 10 * BLK, 0));
	GET(3 * BLK, hf_pread(f, back, 3 * BLK, 0));
	CU_ASSERT(memcmp(back, bad + MIB - 3 * BLK, 3 * BLK) == 0);
	CU_ASSERT_EQUAL(vol_used(vol), used);
	munmap(bad, 2 * MIB);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- a full volume */

static void fill_volume(hf_volume *vol)
{
	hf_file *f = vol_create(vol, "/fill");
	uint64_t off = 0;
	ssize_t n;

	for (size_t len = 2 * MIB; len >= BLK;) {
		n = hf_pwrite(f, buf, len, off);
		if (n > 0)
			off += (uint64_t)n;
		else
			len /= 2;
	}
	OK(hf_close(&f));
}

/* Over blocks and holes: what is in the file is counted, and the time is told. */
static void test_full(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_stat before, after;

	vol_fill(buf, 16 * BLK, 12);
	GET(8 * BLK, hf_pwrite(f, buf, 8 * BLK, 0));
	fill_volume(vol);
	OK(hf_fstat(f, &before));
	usleep(20000); /* the clock is coarse */
	vol_fill(buf, 16 * BLK, 13);
	GET(8 * BLK, hf_pwrite(f, buf, 16 * BLK, 0));
	OK(hf_fstat(f, &after));
	CU_ASSERT(before.mtime_ns < after.mtime_ns);
	GET(8 * BLK, hf_pread(f, back, 16 * BLK, 0));
	CU_ASSERT(memcmp(buf, back, 8 * BLK) == 0);
	FAILS(ENOSPC, hf_pwrite(f, buf, BLK, 8 * BLK));
	/* With the end in the midst, and the size with it. */
	OK(hf_ftruncate(f, 6 * BLK + 5));
	OK(hf_syncfs(vol));
	fill_volume(vol);
	CU_ASSERT(hf_pwrite(f, buf, 16 * BLK, 2 * BLK) >= (ssize_t)(5 * BLK));
	CU_ASSERT(vol_size(f) >= 7 * BLK && vol_size(f) <= 8 * BLK);
	OK(hf_unlink(vol, "/fill"));
	GET(16 * BLK, hf_pwrite(f, buf, 16 * BLK, 0));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- two handles, unlinked files */

static void test_two_handles(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *a = vol_create(vol, "/f"), *b = vol_open(vol, "/f", HF_O_RDWR);
	uint64_t used = vol_used(vol);

	vol_fill(buf, MIB, 4);
	GET(MIB, hf_pwrite(a, buf, MIB, 0));
	GET(MIB, vol_size(b));
	OK(hf_ftruncate(b, 100));
	GET(1, hf_pwrite(a, "z", 1, 5000));
	GET(5001, hf_pread(b, back, MIB, 0));
	CU_ASSERT(all_zero(back + 100, 4900) && back[5000] == 'z' && memcmp(back, buf, 100) == 0);
	OK(hf_unlink(vol, "/f"));
	OK(hf_close(&a));
	GET(5001, hf_pread(b, back, MIB, 0));
	GET(MIB, hf_append(b, buf, MIB, NULL));
	CU_ASSERT(vol_used(vol) > used);
	OK(hf_close(&b));
	CU_ASSERT_EQUAL(vol_used(vol), used);
	OK(hf_unmount(&vol));
}

/* ---- times */

static void test_times(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_setattr old = {.set = HF_SET_ATIME | HF_SET_MTIME | HF_SET_CTIME};
	struct hf_stat st;

	GET(10000, hf_pwrite(f, buf, 10000, 0));
	OK(hf_fsetattr(f, &old));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.atime_ns == 0 && st.mtime_ns == 0 && st.ctime_ns == 0);
	GET(10, hf_pread(f, back, 10, 0));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.atime_ns != 0 && st.mtime_ns == 0 && st.ctime_ns == 0);
	GET(10, hf_pwrite(f, buf, 10, 0));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.mtime_ns != 0 && st.ctime_ns != 0);
	OK(hf_fsync(f));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.mtime_ns != 0 && st.ctime_ns != 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* An access time of long ago moves once, not with each opening, although it is in memory alone. */
static void test_old_atime(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_setattr old = {.set = HF_SET_ATIME | HF_SET_MTIME | HF_SET_CTIME, .atime_ns = 1};
	struct hf_stat first, st;

	GET(10000, hf_pwrite(f, buf, 10000, 0));
	OK(hf_fsetattr(f, &old));
	OK(hf_close(&f));
	for (int i = 0; i < 2; i++) {
		OK(hf_open(vol, "/f", HF_O_RDONLY, 0, &f));
		GET(10, hf_pread(f, back, 10, 0));
		OK(hf_fstat(f, &st));
		OK(hf_close(&f));
		CU_ASSERT(st.atime_ns > 1);
		if (i == 0)
			first = st;
		usleep(20000); /* the clock has ticks */
	}
	CU_ASSERT_EQUAL(first.atime_ns, st.atime_ns);
	OK(hf_unmount(&vol));
}

static void test_open_noatime(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f"), *quiet;
	struct hf_setattr old = {.set = HF_SET_ATIME | HF_SET_MTIME | HF_SET_CTIME};
	struct hf_stat st;

	GET(10000, hf_pwrite(f, buf, 10000, 0));
	OK(hf_fsetattr(f, &old));
	OK(hf_open(vol, "/f", HF_O_RDONLY | HF_O_NOATIME, 0, &quiet));
	GET(10, hf_pread(quiet, back, 10, 0));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.atime_ns == 0);
	GET(10, hf_pread(f, back, 10, 0));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.atime_ns != 0);
	OK(hf_close(&quiet));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* Neither reading a file nor following a symlink. */
static void test_no_atime(void)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_NOATIME};
	struct hf_setattr old = {.set = HF_SET_ATIME | HF_SET_MTIME | HF_SET_CTIME};
	struct hf_stat st;
	hf_volume *vol;
	hf_file *f;

	OK(hf_mount_memory(&vol, 16 * MIB, &o));
	f = vol_create(vol, "/f");
	GET(10000, hf_pwrite(f, buf, 10000, 0));
	OK(hf_fsetattr(f, &old));
	GET(10, hf_pread(f, back, 10, 0));
	OK(hf_fstat(f, &st));
	CU_ASSERT(st.atime_ns == 0);
	OK(hf_symlink(vol, "f", "/l"));
	OK(hf_setattr(vol, "/l", &old, false));
	GET(1, hf_readlink(vol, "/l", (char *)back, 10));
	OK(hf_lstat(vol, "/l", &st));
	CU_ASSERT(st.atime_ns == 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- copying */

static void test_copy(void)
{
	hf_volume *vol = vol_memory(64 * MIB), *other = vol_memory(16 * MIB);
	hf_file *a = vol_create(vol, "/a"), *b = vol_create(vol, "/b"),
		*c = vol_create(other, "/c"), *w;
	struct hf_extent e[16];

	vol_fill(buf, 5 * MIB, 6);
	GET(5 * MIB, hf_pwrite(a, buf, 5 * MIB, 0));
	OK(hf_fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, MIB));
	memset(buf + MIB, 0, MIB);
	GET(5 * MIB, hf_copy_file_range(a, 0, b, 0, 100 * MIB));
	GET(5 * MIB, hf_pread(b, back, 8 * MIB, 0));
	CU_ASSERT(memcmp(buf, back, 5 * MIB) == 0);
	CU_ASSERT(extents(b, e, 16) >= 2 && e[0].len == MIB);
	/* A hole at the end counts as well (up to 6 MiB there is a frame), and one that falls on
	 * data makes a hole. */
	OK(hf_ftruncate(a, 7 * MIB));
	GET(3 * MIB, hf_copy_file_range(a, 4 * MIB, b, 0, 3 * MIB));
	GET(2 * MIB, hf_seek(b, 0, SEEK_HOLE));
	GET(3 * MIB, hf_seek(b, 2 * MIB, SEEK_DATA));
	GET(0, hf_copy_file_range(a, 7 * MIB, b, 0, 1));
	GET(0, hf_copy_file_range(a, 0, b, 0, 0));
	FAILS(EINVAL, hf_copy_file_range(a, 0, a, 100, 200));
	GET(100, hf_copy_file_range(a, 0, a, 100, 100));
	FAILS(EXDEV, hf_copy_file_range(a, 0, c, 0, 1));
	w = vol_open(vol, "/a", HF_O_WRONLY);
	FAILS(EBADF, hf_copy_file_range(w, 0, b, 0, 1));
	OK(hf_close(&w));
	w = vol_open(vol, "/a", HF_O_RDONLY);
	FAILS(EBADF, hf_copy_file_range(b, 0, w, 0, 1));
	OK(hf_close(&w));
	w = vol_open(vol, "/a", HF_O_RDWR | HF_O_APPEND);
	FAILS(EBADF, hf_copy_file_range(b, 0, w, 0, 1));
	OK(hf_close(&w));
	/* inline */
	OK(hf_ftruncate(a, 0));
	OK(hf_ftruncate(b, 0));
	GET(5, hf_pwrite(a, "hello", 5, 0));
	GET(4, hf_copy_file_range(a, 1, b, 10, 100));
	GET(14, hf_pread(b, back, 100, 0));
	CU_ASSERT(all_zero(back, 10) && memcmp(back + 10, "ello", 4) == 0);
	OK(hf_close(&a));
	OK(hf_close(&b));
	OK(hf_close(&c));
	OK(hf_unmount(&vol));
	OK(hf_unmount(&other));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"inline", test_inline},
	    {"inline outgrow", test_inline_outgrow},
	    {"frames, one write", test_frames_one_write},
	    {"frames, appending", test_frames_appending},
	    {"frames, fallocate", test_frames_fallocate},
	    {"end of file", test_end_of_file},
	    {"largest file", test_largest_file},
	    {"vectors", test_vectors},
	    {"append", test_append},
	    {"fault", test_fault},
	    {"full", test_full},
	    {"two handles", test_two_handles},
	    {"times", test_times},
	    {"old access time", test_old_atime},
	    {"opened without access times", test_open_noatime},
	    {"no access times", test_no_atime},
	    {"copy", test_copy},
	};

	return hf_run_suite("reading and writing", cases, HF_COUNT(cases));
}
