/* A write that does not get all the blocks that it wants: what it says is written is written, and
 * nothing else has changed (I-FILE-7). The allocator gives as many as the case says. */
#include "file_vol.h"
#include "space/space.h"

#define BLOCK 4096u

int __real_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out);
int __wrap_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out);

static bool armed;
static int data_left, meta_left;

int __wrap_space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned flags,
		       struct mext *out)
{
	int *left = flags & (SPACE_META | SPACE_RESERVE) ? &meta_left : &data_left;

	*out = (struct mext){MBLK_NULL, 0};
	if (armed && (*left)-- <= 0)
		return -ENOSPC;
	return __real_space_alloc(s, t, want, hint, flags, out);
}

static hf_volume *vol;
static hf_file *f;

/* Blocks of the file from 'base' on are 'a' where the map says x, holes where it says '.'. */
static void make(const char *map, uint64_t base)
{
	uint8_t a[BLOCK];

	CU_ASSERT_EQUAL_FATAL(hf_mount_memory(&vol, 16u << 20, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT, 0600, &f), 0);
	memset(a, 'a', sizeof(a));
	for (size_t i = 0; map[i]; i++)
		if (map[i] == 'x')
			CU_ASSERT_EQUAL(hf_pwrite(f, a, BLOCK, (base + i) * BLOCK), BLOCK);
	CU_ASSERT_EQUAL(hf_ftruncate(f, (base + strlen(map)) * BLOCK), 0);
}

/* Writes 'b' over all of it. 'then': what the blocks are afterwards. */
static void check_at(uint64_t base, const char *map, int data, int meta, int64_t want,
		     const char *then)
{
	size_t n = strlen(map);
	uint8_t b[8 * BLOCK], got[8 * BLOCK];

	make(map, base);
	memset(b, 'b', sizeof(b));
	data_left = data;
	meta_left = meta;
	armed = true;
	CU_ASSERT_EQUAL(hf_pwrite(f, b, n * BLOCK, base * BLOCK), want);
	armed = false;
	CU_ASSERT_EQUAL(hf_pread(f, got, n * BLOCK, base * BLOCK), (int64_t)(n * BLOCK));
	for (size_t i = 0; i < n; i++) {
		uint8_t c = then[i] == '.' ? 0 : (uint8_t)then[i];

		CU_ASSERT_EQUAL(got[i * BLOCK], c);
		CU_ASSERT_EQUAL(got[i * BLOCK + BLOCK - 1], c);
	}
	CU_ASSERT_EQUAL(hf_close(&f), 0);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
}

static void check(const char *map, int data, int meta, int64_t want, const char *then)
{
	check_at(0, map, data, meta, want, then);
}

/* The first hole is filled, the second is not: blocks that were given back are not had again. */
static void test_second_hole(void)
{
	check(".x.", 1, 9, 2 * BLOCK, "bb.");
	check("x.x.x", 1, 9, 3 * BLOCK, "bbb.a");
}

static void test_first_hole(void)
{
	check(".x.", 0, 9, -ENOSPC, ".a.");
	check("x.x", 0, 9, BLOCK, "b.a");
}

/* The data gets blocks, and the map no node for them: the hole ends one slot, the block begins the
 * next. */
static void test_no_node(void)
{
	check_at(511, ".x", 9, 0, -ENOSPC, ".a");
}

static const struct hf_case cases[] = {
    {"second_hole", test_second_hole},
    {"first_hole", test_first_hole},
    {"no_node", test_no_node},
};

int main(void)
{
	return hf_run_suite("rw_full", cases, HF_COUNT(cases));
}
