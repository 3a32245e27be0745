/* Pins through the public header: addresses, what outlives what, holes, sizes, owners, unmount. */
#include "file_vol.h"

#include "file/volume.h"

#include <pthread.h>
#include <sys/uio.h>

#define IOVS 64u

struct held {
	hf_pin_id id;
	struct iovec iov[IOVS];
	size_t n;
};

static int64_t try_pin(hf_file *f, uint64_t off, uint64_t len, unsigned flags, struct held *h)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = flags, .tag = "a test"};

	h->n = IOVS;
	return hf_pin(f, off, len, &o, h->iov, &h->n, &h->id);
}

static struct held pin(hf_file *f, uint64_t off, uint64_t len, unsigned flags)
{
	struct held h = {0};

	OK(try_pin(f, off, len, flags, &h));
	return h;
}

static void write_at(hf_file *f, uint64_t off, uint64_t len, uint64_t seed)
{
	uint8_t *buf = malloc(len);

	vol_fill(buf, len, seed);
	GET(len, hf_pwrite(f, buf, len, off));
	free(buf);
}

/* What the pin shows is what vol_fill() made. */
static bool shows(const struct held *h, uint64_t len, uint64_t seed)
{
	uint8_t *want = malloc(len);
	uint64_t at = 0;
	bool same = true;

	vol_fill(want, len, seed);
	for (size_t i = 0; i < h->n && same; i++) {
		same = at + h->iov[i].iov_len <= len &&
		       memcmp(want + at, h->iov[i].iov_base, h->iov[i].iov_len) == 0;
		at += h->iov[i].iov_len;
	}
	free(want);
	return same && at == len;
}

static uint64_t busy(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	return s.blocks_busy_pinned;
}

/* ---- */

static void test_addresses(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h;
	size_t none = 0;

	write_at(f, 0, 3 * FRM, 1);
	h = pin(f, 0, 3 * FRM, 0);
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT(shows(&h, 3 * FRM, 1));
	GET(0, hf_unpin(vol, h.id));
	FAILS(EINVAL, hf_unpin(vol, h.id));
	FAILS(EINVAL, hf_pin_iov(vol, h.id, h.iov, &h.n));

	/* a part of a block; a part over a frame's border */
	h = pin(f, FRM - 10, 20, HF_PIN_WRITE);
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 20);
	memset(h.iov[0].iov_base, 'x', 20);
	OK(hf_pin_persist(vol, h.id, 5, 15));
	FAILS(EINVAL, hf_pin_persist(vol, h.id, 5, 16));
	{
		char got[20];

		GET(20, hf_pread(f, got, 20, FRM - 10));
		CU_ASSERT(memcmp(got, "xxxxxxxxxxxxxxxxxxxx", 20) == 0);
	}
	memset(&h.iov, 0, sizeof(h.iov));
	h.n = IOVS;
	OK(hf_pin_iov(vol, h.id, h.iov, &h.n));
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 20);
	FAILS(E2BIG, hf_pin_iov(vol, h.id, NULL, &none));
	CU_ASSERT_EQUAL(none, 1);
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_arguments(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *r;
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = 64};
	struct held h;
	hf_pin_id id;

	write_at(f, 0, 10 * BLK, 1);
	FAILS(EINVAL, hf_pin(f, 0, 0, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 10 * BLK + 1, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, UINT64_MAX - 5, 10, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 1, &o, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 1, NULL, NULL, NULL, NULL));
	FAILS(EINVAL, hf_pin(f, 0, 1, NULL, h.iov, NULL, &id));
	CU_ASSERT_EQUAL(id, 0);
	FAILS(EINVAL, hf_unpin(vol, 0));
	FAILS(EINVAL, hf_unpin(vol, UINT64_MAX));
	FAILS(EINVAL, hf_pin_take(vol, 12345));
	r = vol_open(vol, "/f", HF_O_RDONLY);
	FAILS(EBADF, try_pin(r, 0, 1, HF_PIN_WRITE, &h));
	FAILS(EBADF, try_pin(r, 0, 1, HF_PIN_ALLOC, &h));
	OK(hf_pin(r, 0, 1, NULL, NULL, NULL, &id));
	OK(hf_unpin(vol, id));
	hf_close(&r);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* Pieces that do not lie side by side on the media. */
static void make_scattered(hf_volume *vol, hf_file *f, uint64_t pieces)
{
	hf_file *other = vol_create(vol, "/other");

	for (uint64_t i = 0; i < pieces; i++) {
		write_at(f, i * BLK, BLK, i);
		write_at(other, i * BLK, BLK, i + 1000);
	}
	hf_close(&other);
}

static void test_too_many_pieces(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct iovec *iov = calloc(300, sizeof(*iov));
	size_t n = 3, all;
	hf_pin_id id, second;

	make_scattered(vol, f, 300);
	FAILS(E2BIG, hf_pin(f, 0, 300 * BLK, NULL, iov, &n, &id));
	CU_ASSERT(n > 3);
	CU_ASSERT_EQUAL(id, 0);
	all = n;
	OK(hf_pin(f, 0, 300 * BLK, NULL, iov, &n, &id));
	CU_ASSERT_EQUAL(n, all);
	for (size_t i = 0, at = 0; i < n; i++) {
		CU_ASSERT_EQUAL(((uint8_t *)iov[i].iov_base)[0], (uint8_t)(1 + at * 131 % 255));
		at += iov[i].iov_len / BLK;
	}
	/* Many pins of many pieces: chunks come and go. */
	for (int round = 0; round < 20; round++) {
		OK(hf_pin(f, 0, 300 * BLK, NULL, NULL, NULL, &second));
		OK(hf_unpin(vol, second));
	}
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 300);
	OK(hf_unpin(vol, id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	free(iov);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_holes(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	uint64_t used;
	struct held h;

	OK(hf_ftruncate(f, 4 * FRM + 100));
	FAILS(ENODATA, try_pin(f, 0, 1, 0, &h));
	used = vol_used(vol);
	h = pin(f, FRM, 2 * FRM, HF_PIN_ALLOC);
	CU_ASSERT(vol_used(vol) >= used + 1024);
	CU_ASSERT_EQUAL(h.n, 1);
	for (size_t i = 0; i < 2 * FRM; i += 4096 - 8)
		CU_ASSERT_EQUAL(((uint8_t *)h.iov[0].iov_base)[i], 0);
	CU_ASSERT_EQUAL(vol_size(f), 4 * FRM + 100);
	OK(hf_unpin(vol, h.id));
	FAILS(ENODATA, try_pin(f, 0, 2 * FRM, 0, &h));
	h = pin(f, 4 * FRM + 99, 1, HF_PIN_ALLOC | HF_PIN_WRITE);
	CU_ASSERT_EQUAL(vol_size(f), 4 * FRM + 100);
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_full_volume(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h;

	OK(hf_ftruncate(f, 64 * MIB));
	FAILS(ENOSPC, try_pin(f, 0, 64 * MIB, HF_PIN_ALLOC, &h));
	CU_ASSERT_EQUAL(h.id, 0);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* A tiny file lives in its inode and is given a block. */
static void test_tiny(void)
{
	const char *path = vol_path("pin-tiny");
	hf_volume *vol;
	hf_file *f, *r;
	struct held h;
	char got[5];

	vol_format(path, 32 * MIB);
	vol = vol_mount(path, 0);
	f = vol_create(vol, "/tiny");
	GET(5, hf_pwrite(f, "hello", 5, 0));
	r = vol_open(vol, "/tiny", HF_O_RDONLY);
	FAILS(EBADF, try_pin(r, 0, 5, 0, &h));
	h = pin(f, 1, 3, HF_PIN_WRITE);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 3);
	CU_ASSERT(memcmp(h.iov[0].iov_base, "ell", 3) == 0);
	memcpy(h.iov[0].iov_base, "ELL", 3);
	OK(hf_fsync(f));
	GET(5, hf_pread(r, got, 5, 0));
	CU_ASSERT(memcmp(got, "hELLo", 5) == 0);
	OK(hf_unpin(vol, h.id));
	h = pin(r, 0, 5, 0); /* it has a block now */
	OK(hf_unpin(vol, h.id));
	hf_close(&r);
	hf_close(&f);
	f = vol_create(vol, "/small");
	GET(5, hf_pwrite(f, "world", 5, 0));
	hf_close(&f);
	OK(hf_unmount(&vol));
	vol = vol_mount(path, HF_MOUNT_RDONLY);
	r = vol_open(vol, "/small", HF_O_RDONLY);
	CU_ASSERT(try_pin(r, 0, 5, 0, &h) < 0);
	hf_close(&r);
	r = vol_open(vol, "/tiny", HF_O_RDONLY);
	h = pin(r, 0, 5, 0);
	CU_ASSERT(memcmp(h.iov[0].iov_base, "hELLo", 5) == 0);
	OK(hf_unpin(vol, h.id));
	hf_close(&r);
	OK(hf_unmount(&vol));
	unlink(path);
}

/* The scenario that fails elsewhere: pin, unlink, close, fill the volume with other data. */
static void test_outlives_name_and_file(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/held"), *g;
	uint8_t *junk = malloc(FRM);
	uint64_t before = vol_used(vol), at = 0, held;
	struct held h;
	ssize_t wrote;

	write_at(f, 0, FRM + 5 * BLK, 7);
	h = pin(f, 0, FRM + 5 * BLK, 0);
	OK(hf_unlink(vol, "/held"));
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_close(&f));
	held = busy(vol); /* a growing file has a whole frame at its end, too */
	CU_ASSERT_EQUAL(held, 1024);
	CU_ASSERT(vol_used(vol) <= before);
	g = vol_create(vol, "/filler");
	memset(junk, 0xee, FRM);
	do {
		wrote = hf_pwrite(g, junk, FRM, at);
		at += wrote > 0 ? (uint64_t)wrote : 0;
	} while (wrote > 0);
	CU_ASSERT_EQUAL(wrote, -ENOSPC);
	CU_ASSERT(at > 20 * MIB);
	CU_ASSERT(shows(&h, FRM + 5 * BLK, 7));
	CU_ASSERT_EQUAL(busy(vol), held);
	OK(hf_unpin(vol, h.id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	CU_ASSERT(hf_pwrite(g, junk, FRM, at) > 0);
	free(junk);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

static void test_nested(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held a, b, c;

	write_at(f, 0, 2 * FRM, 3);
	a = pin(f, 0, 2 * FRM, 0);
	b = pin(f, BLK, BLK, 0);
	c = pin(f, BLK, BLK, 0);
	CU_ASSERT_NOT_EQUAL(b.id, c.id);
	CU_ASSERT_PTR_EQUAL(b.iov[0].iov_base, (uint8_t *)a.iov[0].iov_base + BLK);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 1024);
	OK(hf_unpin(vol, a.id));
	CU_ASSERT_EQUAL(busy(vol), 512); /* a pin of a part of a huge page holds all of it */
	OK(hf_unpin(vol, b.id));
	CU_ASSERT_EQUAL(busy(vol), 512);
	OK(hf_unpin(vol, c.id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* After a truncate and an extension the file has other blocks, the pin the old ones. */
static void rule_T12_truncated_and_extended(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h, g;

	write_at(f, 0, 20 * BLK, 1);
	h = pin(f, 0, 20 * BLK, HF_PIN_WRITE);
	write_at(f, 0, BLK, 2); /* in place: seen through the pin */
	CU_ASSERT_NOT_EQUAL(((uint8_t *)h.iov[0].iov_base)[0], (uint8_t)(1 + 131 % 255));
	OK(hf_ftruncate(f, 0));
	write_at(f, 0, 20 * BLK, 5);
	g = pin(f, 0, 20 * BLK, 0);
	CU_ASSERT(shows(&g, 20 * BLK, 5));
	memset(h.iov[0].iov_base, 0xaa, h.iov[0].iov_len); /* a late writer harms nobody */
	CU_ASSERT(shows(&g, 20 * BLK, 5));
	OK(hf_unpin(vol, h.id));
	OK(hf_unpin(vol, g.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_unmount_busy(void)
{
	hf_volume *vol = vol_memory(64 * MIB), *same = vol;
	hf_file *f = vol_create(vol, "/f");
	struct held h;

	write_at(f, 0, BLK, 1);
	h = pin(f, 0, BLK, 0);
	hf_close(&f);
	FAILS(EBUSY, hf_unmount(&vol));
	CU_ASSERT(strstr(hf_errormsg(), "1 pins") != NULL);
	CU_ASSERT_PTR_EQUAL(vol, same);
	OK(hf_unpin(vol, h.id));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"addresses", test_addresses},
    {"arguments", test_arguments},
    {"more pieces than room", test_too_many_pieces},
    {"holes", test_holes},
    {"a hole on a full volume", test_full_volume},
    {"tiny files", test_tiny},
    {"a pin outlives name and file", test_outlives_name_and_file},
    {"nested pins", test_nested},
    {"rule_T12_truncated_and_extended", rule_T12_truncated_and_extended},
    {"unmount with a pin", test_unmount_busy},
};

int main(void)
{
	return hf_run_suite("pin_api", cases, HF_COUNT(cases));
}
