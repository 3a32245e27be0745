/* Views: what a touch finds, and what others change under it. */
#include "view_vol.h"

#include <sys/mman.h>
#include <sys/resource.h>

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

static const struct hf_case cases[] = {
    {"arguments", test_arguments},
    {"touch", test_touch},
    {"holes", test_holes},
    {"no_space", test_no_space},
    {"beyond_end", test_beyond_end},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_ops", cases, HF_COUNT(cases));
}
