/* Views at the limit of mappings (vm.max_map_count), which the test reaches for its own process. */
#include "view_vol.h"
#include "base/sanitize.h"

#include <sys/mman.h>

/* The sanitizers need mappings of their own. */
#define LIMIT_NOT_HERE (HF_TSAN || HF_ASAN)

static void limit_punch(hf_file *f, uint64_t off, uint64_t len)
{
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

#define LIMIT_PAGES 200000u

/* Takes all mappings that the process may have: every second page of an area gets another
 * protection. */
static uint8_t *limit_take(void)
{
#if LIMIT_NOT_HERE
	return NULL;
#else
	uint8_t *area =
	    mmap(NULL, LIMIT_PAGES * BLK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned i = 0;

	while (i < LIMIT_PAGES && mprotect(area + i * BLK, BLK, PROT_NONE) == 0)
		i += 2;
	if (i < LIMIT_PAGES)
		return area;
	munmap(area, LIMIT_PAGES * BLK);
	printf("(the limit of mappings is too high to be reached) ");
	return NULL;
#endif
}

static void limit_give(uint8_t *area)
{
	munmap(area, LIMIT_PAGES * BLK);
}

static void rule_T5_revoke_at_map_limit(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = view_file(vol, "a", 8, 1);
	uint8_t *p, *area, b = 3;
	hf_view *v;

	p = view_at(f, 0, 12 * FRM, VIEW_RW, WAIT_NONE, &v);
	OK(hf_view_populate(v, 0, 8 * FRM, true)); /* neighbours on the media: one mapping */
	area = limit_take();
	if (area) {
		CU_ASSERT_NOT_EQUAL(mprotect(SLOT(p, 3), FRM, PROT_NONE), 0);
		limit_punch(f, 3 * FRM, FRM);
		GET(1, hf_pread(f, &b, 1, 3 * FRM));
		CU_ASSERT_EQUAL(b, 0);
		limit_give(area);
		for (int i = 0; i < 8; i++)
			CU_ASSERT_EQUAL(touch_get(SLOT(p, i)), i == 3 ? 0 : 1 + i);
		area = limit_take();
		OK(hf_ftruncate(f, 6 * FRM));
		limit_give(area);
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 5)), 6);
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 6)), -SIGBUS);
	}
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_map_limit_is_told(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = view_file(vol, "a", 8, 1);
	uint8_t *p, *area;
	hf_view *v;

	/* Every second slot, from the second on: each is a mapping of its own. */
	p = view_at(f, 0, 8 * FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
	area = limit_take();
	if (area) {
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 3)), -SIGBUS);
		FAILS(ENOMEM, hf_view_populate(v, 5 * FRM, FRM, true));
		CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "vm.max_map_count"));
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), 2);
		OK(hf_view_unmap(&v)); /* at the limit, too */
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGSEGV);
		limit_give(area);
		p = view_at(f, 0, 8 * FRM, VIEW_RW, WAIT_NONE, &v);
		CU_ASSERT_EQUAL(touch_get(SLOT(p, 3)), 4);
	}
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* What could not be unmapped at the limit is unmapped later. */
static void test_nothing_stays_mapped(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = view_file(vol, "a", 8, 1);
	hf_view *v, *v2;
	uint8_t *p, *area;

	CU_ASSERT_EQUAL(vol_mappings(), 1);
	p = view_at(f, 0, 8 * FRM, VIEW_RW, WAIT_NONE, &v);
	OK(hf_view_populate(v, FRM, 6 * FRM, true));
	view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v2);
	area = limit_take();
	OK(hf_view_unmap(&v));
	CU_ASSERT_EQUAL(touch_get(SLOT(p, 1)), -SIGSEGV);
	if (area)
		limit_give(area);
	OK(hf_view_unmap(&v2));
	CU_ASSERT_EQUAL(vol_mappings(), 1);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"rule_T5_revoke_at_map_limit", rule_T5_revoke_at_map_limit},
    {"map_limit_is_told", test_map_limit_is_told},
    {"nothing_stays_mapped", test_nothing_stays_mapped},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_limit", cases, HF_COUNT(cases));
}
