/* Views: what a touch finds, and what others change under it. */
#include "file/volume.h"
#include "pin/view.h"
#include "view_vol.h"

#include <sys/mman.h>
#include <ucontext.h>

/* ---- the calls */

static void test_arguments(void)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ};
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1), *r = vol_open(vol, "a", HF_O_RDONLY);
	hf_file *w = vol_open(vol, "a", HF_O_WRONLY);
	hf_view *v = NULL;
	void *p;

	FAILS(EINVAL, hf_view_map(f, 0, FRM, NULL, &p, &v));
	FAILS(EINVAL, hf_view_map(f, 4096, FRM, &o, &p, &v));
	FAILS(EINVAL, hf_view_map(f, 0, 0, &o, &p, &v));
	FAILS(EINVAL, hf_view_map(f, FRM, UINT64_MAX, &o, &p, &v));
	FAILS(EINVAL, hf_view_map(f, 0, FRM, &o, NULL, &v));
	FAILS(EINVAL, hf_view_map(f, 0, FRM, &o, &p, NULL));
	FAILS(EINVAL, hf_view_map(NULL, 0, FRM, &o, &p, &v));
	FAILS(EBADF, hf_view_map(w, 0, FRM, &o, &p, &v));
	o.prot = 4;
	FAILS(EINVAL, hf_view_map(f, 0, FRM, &o, &p, &v));
	o.prot = HF_VIEW_WRITE;
	FAILS(EBADF, hf_view_map(r, 0, FRM, &o, &p, &v));
	FAILS(ENOMEM, hf_view_map(f, 0, 1ull << 60, &o, &p, &v));
	CU_ASSERT_PTR_NULL(v);
	FAILS(EINVAL, hf_view_unmap(&v));
	FAILS(EINVAL, hf_view_unmap(NULL));
	p = view_at(r, 0, 3 * FRM, HF_VIEW_READ, WAIT_NONE, &v);
	CU_ASSERT_EQUAL((uintptr_t)p % FRM, 0);
	FAILS(EBADF, hf_view_populate(v, 0, FRM, true));
	FAILS(EINVAL, hf_view_populate(v, 2 * FRM, FRM + 1, false));
	FAILS(EINVAL, hf_view_persist(v, 3 * FRM + 1, 0));
	FAILS(ENXIO, hf_view_populate(v, 0, 2 * FRM, false));
	OK(hf_view_populate(v, 0, FRM, false));
	OK(hf_view_populate(v, 0, 0, false));
	OK(hf_view_persist(v, 0, 3 * FRM));
	OK(hf_close(&f));
	OK(hf_close(&r));
	OK(hf_close(&w));
	CU_ASSERT_EQUAL(touch_get(p), 1); /* keeps the file */
	OK(hf_unlink(vol, "a"));
	CU_ASSERT_EQUAL(touch_get((char *)p + FRM - 1), 1);
	OK(hf_view_unmap(&v));
	CU_ASSERT_PTR_NULL(v);
	OK(hf_unmount(&vol));
}

static void test_touch(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 4, 10);
	hf_view *v, *v2;
	uint8_t *p = view_at(f, 0, 4 * FRM, VIEW_RW, WAIT_NONE, &v), b;
	const uint8_t *q = view_at(f, FRM, 2 * FRM, HF_VIEW_READ, WAIT_NONE, &v2);

	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(touch_get(SLOT(p, i) + 100), 10 + i);
	CU_ASSERT_EQUAL(touch_get(q), 11);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 1) + 5, 99), 0);
	CU_ASSERT_EQUAL(touch_get(q + 5), 99);
	GET(1, hf_pread(f, &b, 1, FRM + 5));
	CU_ASSERT_EQUAL(b, 99);
	b = 98;
	GET(1, hf_pwrite(f, &b, 1, FRM + 5));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1) + 5), 98);
	CU_ASSERT_EQUAL(touch_write((void *)(uintptr_t)(q + FRM), 1), SIGSEGV);
	CU_ASSERT_EQUAL(touch_write((void *)(uintptr_t)(q + FRM), 1), SIGSEGV);
	CU_ASSERT_EQUAL(touch_get(q + FRM), 12);
	OK(hf_view_unmap(&v2));
	CU_ASSERT_EQUAL(touch_get(q), -SIGSEGV); /* nobody's address any more */
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_holes(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "a");
	hf_view *v;
	uint8_t *p, b = 7;
	uint64_t used;

	OK(hf_ftruncate(f, 4 * FRM));
	used = vol_used(vol);
	p = view_at(f, 0, 4 * FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(p), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3) + FRM - 1), 0);
	CU_ASSERT_EQUAL(vol_used(vol), used);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 1) + 3, 5), 0);
	CU_ASSERT_TRUE(view_is_huge(f, FRM));
	CU_ASSERT(vol_used(vol) >= used + 512);
	GET(1, hf_pread(f, &b, 1, FRM + 3));
	CU_ASSERT_EQUAL(b, 5);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1) + 2), 0);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 2), 6), 0); /* not read before */
	CU_ASSERT_EQUAL(touch_get(p), 0);
	OK(hf_view_populate(v, 0, FRM, false));
	OK(hf_view_populate(v, 0, FRM, true));
	CU_ASSERT_TRUE(view_is_huge(f, 0));
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_no_space(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "a"), *g = vol_create(vol, "b");
	uint8_t *buf = calloc(1, FRM), *p;
	hf_view *v;

	while (hf_append(g, buf, FRM, NULL) == (ssize_t)FRM)
		;
	OK(hf_ftruncate(f, FRM));
	p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(p), 0);
	CU_ASSERT_EQUAL(touch_write(p, 1), SIGBUS);
	CU_ASSERT_EQUAL(touch_write(p, 1), SIGBUS);
	CU_ASSERT_EQUAL(touch_get(p), 0);
	FAILS(ENOSPC, hf_view_populate(v, 0, 1, true));
	OK(hf_ftruncate(g, 0));
	CU_ASSERT_EQUAL(touch_write(p, 1), 0);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
	free(buf);
}

/* ---- beyond the end of file */

static void test_beyond_end(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 3 * FRM, VIEW_RW, WAIT_NONE, &v);

	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGBUS);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 2), 1), SIGBUS);
	OK(hf_ftruncate(f, FRM + 1));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 2), 1), SIGBUS);
	OK(hf_ftruncate(f, 2 * FRM + 1));
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 2), 1), 0);
	OK(hf_ftruncate(f, FRM));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGBUS);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 2)), -SIGBUS);
	CU_ASSERT_EQUAL(touch_get(p), 1);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static bool is_hole(hf_file *f, uint64_t off)
{
	return hf_seek(f, off, SEEK_HOLE) == (int64_t)off;
}

static void punch(hf_file *f, uint64_t off, uint64_t len)
{
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

/* The rest of a frame that an append entered holds what an earlier file left there. */
static void rule_T2_tail_of_slot_is_zero(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "junk"), *g;
	uint8_t *buf = malloc(FRM), *p;
	uint64_t wrong = 0;
	hf_view *v;

	memset(buf, 0xee, FRM);
	while (hf_append(f, buf, FRM, NULL) == (ssize_t)FRM)
		;
	OK(hf_ftruncate(f, 0));
	OK(hf_syncfs(vol));
	g = vol_create(vol, "a");
	GET(FRM, hf_append(g, buf, FRM, NULL));
	GET(10, hf_append(g, buf, 10, NULL));
	CU_ASSERT_TRUE(view_is_huge(g, FRM));
	p = view_at(g, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1) + 9), 0xee);
	for (uint64_t i = 10; i < FRM; i++)
		wrong += SLOT(p, 1)[i] != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	/* what is stored there means nothing, also for who raises the size */
	SLOT(p, 1)[100] = 1;
	OK(hf_ftruncate(g, FRM + 4096));
	GET(4096, hf_pread(g, buf, FRM, FRM));
	CU_ASSERT_EQUAL(buf[9], 0xee);
	for (uint64_t i = 10; i < 4096; i++)
		wrong += buf[i] != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
	free(buf);
}

/* Truncate inside a mapped page: zeros behind the new end, in the page and in the file. */
static void rule_T2_truncate_under_view(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 2, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v), b = 9;

	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	OK(hf_ftruncate(f, 5000));
	CU_ASSERT_EQUAL(touch_get(p + 4999), 1);
	CU_ASSERT_EQUAL(touch_get(p + 5000), 0);
	CU_ASSERT_EQUAL(touch_get(p + FRM - 1), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGBUS);
	OK(hf_ftruncate(f, 2 * FRM));
	GET(1, hf_pread(f, &b, 1, 5000));
	CU_ASSERT_EQUAL(b, 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- rule T3 */

static void rule_T3_queued_hole_not_punched_after_write(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1);
	uint8_t block[4096] = {0}, b;
	hf_view *v, *v2;
	uint8_t *p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	uint8_t *q = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v2);
	uint64_t used = vol_used(vol);

	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get(q), 1);
	punch(f, 10 * BLK, 20 * BLK);
	CU_ASSERT_TRUE(view_is_huge(f, 0));
	CU_ASSERT_EQUAL(p[10 * BLK], 0);
	CU_ASSERT_EQUAL(p[30 * BLK - 1], 0);
	CU_ASSERT_EQUAL(p[10 * BLK - 1], 1);
	CU_ASSERT_EQUAL(p[30 * BLK], 1);
	GET(4096, hf_pwrite(f, block, 4096, 11 * BLK)); /* zeros, but written */
	p[12 * BLK + 5] = 77;				/* nobody is told of it */
	OK(hf_fallocate(f, 0, 13 * BLK, BLK));
	block[0] = 78;
	GET(4096, hf_pwrite(f, block, 4096, 14 * BLK));
	OK(hf_view_unmap(&v));
	CU_ASSERT_TRUE(view_is_huge(f, 0)); /* the other view has it */
	OK(hf_view_unmap(&v2));
	CU_ASSERT_FALSE(view_is_huge(f, 0));
	CU_ASSERT_TRUE(is_hole(f, 10 * BLK));
	for (uint64_t i = 11; i < 15; i++)
		CU_ASSERT_FALSE(is_hole(f, i * BLK));
	for (uint64_t i = 15; i < 30; i++)
		CU_ASSERT_TRUE(is_hole(f, i * BLK));
	GET(1, hf_pread(f, &b, 1, 12 * BLK + 5));
	CU_ASSERT_EQUAL(b, 77);
	GET(1, hf_pread(f, &b, 1, 14 * BLK));
	CU_ASSERT_EQUAL(b, 78);
	CU_ASSERT_EQUAL(vol_used(vol), used - 16 + 1); /* a map node */
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* Holes that a view keeps are given back before a write fails for want of space. */
static void rule_T3_given_back_before_enospc(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 2, 1), *g = vol_create(vol, "b");
	static uint8_t buf[64 * 1024];
	hf_view *v;
	uint8_t *p = view_at(f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v);
	ssize_t n;

	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	for (size_t len = sizeof(buf); len >= BLK; len /= 2)
		do
			n = hf_append(g, buf, len, NULL);
		while (n == (ssize_t)len);
	FAILS(ENOSPC, hf_append(g, buf, BLK, NULL));
	punch(f, 10 * BLK, 100 * BLK);
	CU_ASSERT_TRUE(view_is_huge(f, 0));
	GET(16 * BLK, hf_append(g, buf, 16 * BLK, NULL));
	CU_ASSERT_FALSE(view_is_huge(f, 0));
	punch(f, FRM + 10 * BLK, 100 * BLK);
	while (hf_append(g, buf, BLK, NULL) == (ssize_t)BLK && view_is_huge(f, FRM))
		;
	CU_ASSERT_FALSE(view_is_huge(f, FRM));
	while (hf_append(g, buf, BLK, NULL) == (ssize_t)BLK)
		;
	/* a touch needs a frame now, and there is none */
	CU_ASSERT_EQUAL(touch_get(p + 10 * BLK), -SIGBUS);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGBUS);
	OK(hf_ftruncate(g, 0));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	CU_ASSERT_EQUAL(touch_get(p + 10 * BLK), 0);
	CU_ASSERT_EQUAL(touch_get(p + 110 * BLK), 1);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

/* The same for fallocate and for pins that fill holes. */
static void rule_T3_given_back_to_fallocate_and_pin(void)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE | HF_PIN_ALLOC};
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 2, 1), *g = vol_create(vol, "b"),
		*h = vol_create(vol, "c");
	static uint8_t buf[64 * 1024];
	hf_pin_id pin = 0;
	hf_view *v;
	uint8_t *p = view_at(f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v);
	ssize_t n;

	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	OK(hf_ftruncate(h, FRM));
	for (size_t len = sizeof(buf); len >= BLK; len /= 2)
		do
			n = hf_append(g, buf, len, NULL);
		while (n == (ssize_t)len);
	FAILS(ENOSPC, hf_pin(h, 0, BLK, &o, NULL, NULL, &pin));
	FAILS(ENOSPC, hf_fallocate(h, 0, 0, 20 * BLK));
	punch(f, 10 * BLK, 30 * BLK);
	OK(hf_fallocate(h, 0, 0, 20 * BLK));
	CU_ASSERT_FALSE(view_is_huge(f, 0));
	while (hf_append(g, buf, BLK, NULL) == (ssize_t)BLK)
		;
	punch(f, FRM + 10 * BLK, 30 * BLK);
	CU_ASSERT_TRUE(view_is_huge(f, FRM));
	OK(hf_pin(h, 20 * BLK, 10 * BLK, &o, NULL, NULL, &pin));
	CU_ASSERT_FALSE(view_is_huge(f, FRM));
	if (pin)
		OK(hf_unpin(vol, pin));
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_close(&h));
	OK(hf_unmount(&vol));
}

/* ---- rule T4 */

static void rule_T4_hole_filled_is_seen(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "a");
	hf_view *v, *v2;
	uint8_t *p, *q, block[4096];

	memset(block, 5, sizeof(block));
	OK(hf_ftruncate(f, 8 * FRM));
	p = view_at(f, 0, 8 * FRM, HF_VIEW_READ, WAIT_NONE, &v);
	q = view_at(f, 0, 8 * FRM, VIEW_RW, WAIT_NONE, &v2);
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(touch_get(SLOT(p, i)), 0);
		CU_ASSERT_EQUAL(touch_get(SLOT(q, i)), 0);
	}
	GET(4096, hf_pwrite(f, block, 4096, 0)); /* a block: collapsed by the next touch */
	CU_ASSERT_FALSE(view_is_huge(f, 0));
	CU_ASSERT_EQUAL(touch_get(p), 5);
	CU_ASSERT_TRUE(view_is_huge(f, 0));
	CU_ASSERT_EQUAL(touch_get(q + 4095), 5);
	CU_ASSERT_EQUAL(touch_get(q + 4096), 0);
	CU_ASSERT_EQUAL(touch_write(SLOT(q, 1), 6), 0); /* another view */
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 6);
	OK(hf_fallocate(f, 0, 2 * FRM, FRM));
	CU_ASSERT_EQUAL(touch_write(SLOT(q, 2), 7), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 2)), 7);
	OK(hf_view_populate(v2, 3 * FRM, FRM, true));
	SLOT(q, 3)[1] = 8;
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3) + 1), 8);
	OK(hf_view_unmap(&v));
	OK(hf_view_unmap(&v2));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void rule_T4_tiny_file(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "a");
	hf_view *v;
	uint8_t *p, b;

	OK(hf_ftruncate(f, 10));
	p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(p), 0);
	GET(3, hf_pwrite(f, "abc", 3, 0)); /* into the inode */
	CU_ASSERT_EQUAL(touch_get(p + 2), 'c');
	CU_ASSERT_EQUAL(touch_get(p + 3), 0);
	CU_ASSERT_EQUAL(touch_write(p + 9, 'z'), 0);
	GET(1, hf_pread(f, &b, 1, 9));
	CU_ASSERT_EQUAL(b, 'z');
	CU_ASSERT_EQUAL(vol_size(f), 10);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void rule_T4_shift_is_seen(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 4, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 5 * FRM, VIEW_RW, WAIT_NONE, &v);

	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(touch_get(SLOT(p, i)), 1 + i);
	SLOT(p, 1)[7] = 70;
	OK(hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, FRM));
	CU_ASSERT_EQUAL(touch_get(p + 7), 70);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 2)), 4);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3)), -SIGBUS);
	OK(hf_fallocate(f, FALLOC_FL_INSERT_RANGE, FRM, 2 * FRM));
	CU_ASSERT_EQUAL(touch_get(p + 7), 70);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3)), 3);
	OK(hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, FRM, 4096)); /* no slot is aligned any more */
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3) - 4096), 3);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 4) - 4096), 4);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_punch_whole_slots(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 4, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 4 * FRM, VIEW_RW, WAIT_NONE, &v);
	uint64_t used = vol_used(vol);

	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(touch_get(SLOT(p, i)), 1 + i);
	punch(f, FRM, 2 * FRM);
	CU_ASSERT_EQUAL(vol_used(vol), used - 1024);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 2), 9), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 3)), 4);
	CU_ASSERT_EQUAL(vol_used(vol), used - 512);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- collapse */

static void test_collapse(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "a"), *g = vol_create(vol, "b");
	uint8_t block[4096], *p;
	hf_view *v;

	for (uint64_t i = 0; i < 512; i += 3) { /* scattered, with holes */
		memset(block, (int)(1 + i % 200), sizeof(block));
		GET(4096, hf_pwrite(f, block, 4096, FRM + i * BLK));
		GET(4096, hf_append(g, block, 4096, NULL));
	}
	p = view_at(f, FRM, FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_FALSE(view_is_huge(f, FRM));
	CU_ASSERT_EQUAL(touch_get(p + 3), 1);
	CU_ASSERT_TRUE(view_is_huge(f, FRM));
	for (uint64_t i = 0; i < 510; i++)
		CU_ASSERT_EQUAL(p[i * BLK + 4095], i % 3 ? 0 : 1 + i % 200);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_unmount(&vol));
}

/* ---- rule T7 */

static void rule_T7_fault_with_lock_held_chains(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	struct mtx m;

	mtx_init(&m, RANK_LEAF, 0);
	mtx_lock(&m);
	CU_ASSERT_EQUAL(touch_get(p), -SIGSEGV);
	mtx_unlock(&m);
	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get((void *)16), -SIGSEGV); /* not ours at all */
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* The smallest alternate stack that the kernel takes, and a bit. */
static void *small_stack_touch(void *arg)
{
	size_t len = round_up_u64((uint64_t)sysconf(_SC_MINSIGSTKSZ) + 3 * 4096, 4096);
	uint8_t *mem =
	    mmap(NULL, len + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = {.ss_sp = mem + 4096, .ss_size = len}, off = {.ss_flags = SS_DISABLE};
	int *sum = arg;
	uint8_t *p = *(uint8_t **)(void *)(sum + 2);

	mprotect(mem, 4096, PROT_NONE);
	sigaltstack(&ss, NULL);
	for (int i = 0; i < 4; i++)
		*sum += touch_get(SLOT(p, i));
	*sum += touch_write(SLOT(p, 3), 1);
	*sum += touch_get(SLOT(p, 4)) == -SIGBUS ? 1000 : 0;
	sigaltstack(&off, NULL);
	munmap(mem, len + 4096);
	return NULL;
}

static void rule_T7_small_alternate_stack(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 3, 1);
	struct {
		int sum, pad;
		uint8_t *p;
	} arg = {0};
	pthread_t t;
	hf_view *v;

	OK(hf_ftruncate(f, 4 * FRM));
	arg.p = view_at(f, 0, 5 * FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, small_stack_touch, &arg), 0);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(arg.sum, 1 + 2 + 3 + 0 + 0 + 1000);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- the program's handler sees what it would see after the kernel's SIGBUS: address, code, and
 * the context of the access. It may mend the cause and return. */

static hf_file *mend_file;
static siginfo_t mend_info;
static bool mend_at_access;

static __attribute__((noinline)) uint8_t mend_load(const uint8_t *p)
{
	return *(volatile const uint8_t *)p;
}

static void mend(int sig, siginfo_t *info, void *uc)
{
	(void)sig;
	mend_info = *info;
#if defined(__x86_64__)
	uintptr_t pc = (uintptr_t)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];

	mend_at_access = pc >= (uintptr_t)mend_load && pc < (uintptr_t)mend_load + 256;
#else
	(void)uc;
	mend_at_access = true;
#endif
	hf_ftruncate(mend_file, 2 * FRM); /* no lock is held here, nor by whom it interrupted */
}

static void test_sigbus_is_as_the_kernels(void)
{
	struct sigaction sa = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO}, old;
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v);

	mend_file = f;
	sigaction(SIGBUS, &sa, &old);
	CU_ASSERT_EQUAL(mend_load(SLOT(p, 1) + 33), 0);
	sigaction(SIGBUS, &old, NULL);
	CU_ASSERT_EQUAL(mend_info.si_signo, SIGBUS);
	CU_ASSERT_EQUAL(mend_info.si_code, BUS_ADRERR);
	CU_ASSERT_PTR_EQUAL(mend_info.si_addr, SLOT(p, 1) + 33);
	CU_ASSERT_TRUE(mend_at_access);
	CU_ASSERT_EQUAL(vol_size(f), 2 * FRM);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- forced unmount, seen from the views */

static void test_kill_all(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 3, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 3 * FRM, VIEW_RW, WAIT_NONE, &v);

	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(view_count(&vol->fs), 1);
	view_kill_all(&vol->fs);
	CU_ASSERT_EQUAL(touch_get(p), -SIGBUS);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGBUS);
	FAILS(ESHUTDOWN, hf_view_populate(v, 0, FRM, false));
	OK(hf_view_unmap(&v));
	CU_ASSERT_EQUAL(view_count(&vol->fs), 0);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_unmount(void)
{
	hf_volume *vol = vol_memory(32 * MIB), *same = vol;
	hf_file *f = view_file(vol, "a", 2, 1);
	hf_view *v, *v2;
	uint8_t *p = view_at(f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &v);

	view_at(f, 0, FRM, HF_VIEW_READ, WAIT_NONE, &v2);
	OK(hf_close(&f));
	CU_ASSERT_EQUAL(touch_get(p), 1);
	FAILS(EBUSY, hf_unmount(&vol));
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "2 views"));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	GET(2, hf_unmount_force(vol));
	CU_ASSERT_EQUAL(touch_get(p), -SIGBUS);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 1), 1), SIGBUS);
	FAILS(ESHUTDOWN, hf_view_populate(v, 0, FRM, false));
	FAILS(ESHUTDOWN, hf_view_persist(v, 0, FRM));
	OK(hf_view_unmap(&v2));
	CU_ASSERT_EQUAL(touch_get(p), -SIGBUS);
	CU_ASSERT_PTR_EQUAL(vol, same);
	OK(hf_view_unmap(&v)); /* the last one: the volume is gone */
	CU_ASSERT_EQUAL(touch_get(p), -SIGSEGV);
}

/* Memory of a simulated device has no descriptor that could be mapped again. */
static void test_simulated_device(void)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ};
	const struct hf_mount_options mo = {.struct_size = sizeof(mo)};
	void *base = aligned_alloc(FRM, 8 * MIB), *addr;
	struct pm *pm = NULL;
	hf_volume *vol;
	hf_file *f;
	hf_view *v;

	memset(base, 0, 8 * MIB);
	OK(pm_open_memory(base, 8 * MIB, NULL, &pm));
	OK(mkfs_write(pm, &(struct mkfs_args){.bytes = 0}));
	OK(volume_open(pm, &mo, &vol));
	f = vol_create(vol, "a");
	FAILS(ENOTSUP, hf_view_map(f, 0, FRM, &o, &addr, &v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	free(base);
}

/* ---- a read-only volume */

static void test_read_only(void)
{
	const char *path = vol_path("view-ro");
	hf_volume *vol;
	hf_file *f;
	hf_view *v;
	uint8_t *p, block[4096] = {3};

	vol_format(path, 32 * MIB);
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
	f = view_file(vol, "a", 1, 1);
	OK(hf_ftruncate(f, 3 * FRM));
	GET(4096, hf_pwrite(f, block, 4096, 2 * FRM));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE | HF_MOUNT_RDONLY);
	f = vol_open(vol, "a", HF_O_RDONLY);
	p = view_at(f, 0, 4 * FRM, HF_VIEW_READ, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 2)), -SIGBUS);
	FAILS(EROFS, hf_view_populate(v, 2 * FRM, 1, false));
	CU_ASSERT_EQUAL(touch_write(p, 1), SIGSEGV);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	unlink(path);
}

/* ---- many views; addresses are given back */

static void test_many(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 2, 1);
	hf_view *v[100];
	uint8_t *p[100], *first = NULL;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++)
			p[i] = view_at(f, (unsigned)(i % 2) * FRM, FRM, VIEW_RW, WAIT_NONE, &v[i]);
		if (!first)
			first = p[0];
		CU_ASSERT_PTR_EQUAL(p[0], first);
		for (int i = 0; i < 100; i++)
			CU_ASSERT_EQUAL(touch_get(p[i]), 1 + i % 2);
		punch(f, 0, FRM);
		for (int i = 0; i < 100; i++)
			CU_ASSERT_EQUAL(touch_get(p[i]), i % 2 ? 2 : 0);
		p[0][0] = 1;
		for (int i = 99; i >= 0; i--)
			OK(hf_view_unmap(&v[(i * 37) % 100]));
	}
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* A page of a view is no code: a jump into it ends, mapped or not. */
static int touch_run(const void *p)
{
	int sig = sigsetjmp(touch_env, 1);
	void (*code)(void);

	memcpy(&code, &p, sizeof(code));
	if (sig == 0) {
		touch_armed = 1;
		alarm(20);
		code();
	}
	alarm(0);
	touch_armed = 0;
	return sig;
}

static void test_no_code(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = view_file(vol, "a", 1, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);

	CU_ASSERT_EQUAL(touch_run(p), SIGSEGV);
	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(touch_run(p), SIGSEGV);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"arguments", test_arguments},
    {"touch", test_touch},
    {"holes", test_holes},
    {"no_space", test_no_space},
    {"beyond_end", test_beyond_end},
    {"rule_T2_tail_of_slot_is_zero", rule_T2_tail_of_slot_is_zero},
    {"rule_T2_truncate_under_view", rule_T2_truncate_under_view},
    {"rule_T3_queued_hole_not_punched_after_write", rule_T3_queued_hole_not_punched_after_write},
    {"rule_T3_given_back_before_enospc", rule_T3_given_back_before_enospc},
    {"rule_T3_given_back_to_fallocate_and_pin", rule_T3_given_back_to_fallocate_and_pin},
    {"rule_T4_hole_filled_is_seen", rule_T4_hole_filled_is_seen},
    {"rule_T4_tiny_file", rule_T4_tiny_file},
    {"rule_T4_shift_is_seen", rule_T4_shift_is_seen},
    {"punch_whole_slots", test_punch_whole_slots},
    {"collapse", test_collapse},
    {"rule_T7_fault_with_lock_held_chains", rule_T7_fault_with_lock_held_chains},
    {"rule_T7_small_alternate_stack", rule_T7_small_alternate_stack},
    {"sigbus_is_as_the_kernels", test_sigbus_is_as_the_kernels},
    {"kill_all", test_kill_all},
    {"unmount", test_unmount},
    {"simulated_device", test_simulated_device},
    {"read_only", test_read_only},
    {"many", test_many},
    {"no_code", test_no_code},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_ops", cases, HF_COUNT(cases));
}
