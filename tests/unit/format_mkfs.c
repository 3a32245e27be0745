/* mkfs and back: the layout of an empty volume of several sizes, damaged superblocks, truncated
 * devices, crashes of mkfs. */
#include "cunit_main.h"
#include "format/geo.h"

#include <sys/stat.h>

static struct pm *new_pm(uint64_t bytes)
{
	struct pm *pm = NULL;

	if (pm_open_memfd(bytes, NULL, &pm) != 0)
		printf("\n%s\n", err_msg());
	return pm;
}

static const struct fmt_inode *inode_at(const struct pm *pm, unsigned ino)
{
	return (const struct fmt_inode *)pm_at(pm, MOFF(6 * 4096 + ino * 256));
}

static bool bit_at(const struct pm *pm, uint64_t bit)
{
	return (pm_load64(pm, MOFF(bit / 64 * 8)) >> bit % 64 & 1) != 0;
}

static void check_layout(const struct pm *pm, const struct geo *g)
{
	struct map_key it = fmt_map_key(g, INUM(FMT_INO_ITABLE), FMT_FORK_DATA);
	struct map_key or = fmt_map_key(g, INUM(FMT_INO_ORPHANS), FMT_FORK_DATA);
	const struct fmt_inode *i;
	uint64_t set = 0, e;
	jseq_t c;

	for (uint64_t b = 0; b < g->nblocks; b += 64)
		set += (uint64_t)__builtin_popcountll(
		    pm_load64(pm, MOFF(geo_alloc_bit(g, MBLK(b)) / 8)));
	CU_ASSERT_EQUAL(set, g->first_data.v + 1);
	CU_ASSERT_TRUE(bit_at(pm, geo_alloc_bit(g, MBLK(0))));
	CU_ASSERT_TRUE(bit_at(pm, geo_alloc_bit(g, MBLK(g->first_data.v - 1))));
	CU_ASSERT_FALSE(bit_at(pm, geo_alloc_bit(g, g->first_data)));
	CU_ASSERT_TRUE(bit_at(pm, geo_alloc_bit(g, MBLK(g->nblocks - 1))));

	for (unsigned n = 0; n < 16; n++)
		CU_ASSERT_EQUAL(fmt_inode_verify(g, inode_at(pm, n), INUM(n)), 0);
	i = inode_at(pm, FMT_INO_ITABLE);
	CU_ASSERT_EQUAL(i->height, 1);
	e = le64_get(i->root);
	CU_ASSERT_EQUAL(fmt_entry_verify(g, it, 1, FBLK(0), e), 0);
	CU_ASSERT_EQUAL(fmt_entry_kind_of(e), FMT_ENT_NODE);
	CU_ASSERT_EQUAL(fmt_entry_blk(e).v, 4);
	CU_ASSERT_EQUAL(le64_get(i->blocks), 3);
	for (uint64_t n = 0; n < 512; n++) {
		e = pm_load64(pm, MOFF(4 * 4096 + n * 8));
		CU_ASSERT_EQUAL(fmt_entry_verify(g, it, 0, FBLK(n), e), 0);
		CU_ASSERT_EQUAL(fmt_entry_blk(e).v, n < 2 ? 5 + n : 0);
	}
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(5 * 4096)), 0xffff);

	i = inode_at(pm, FMT_INO_ORPHANS);
	CU_ASSERT_EQUAL(i->height, 0);
	CU_ASSERT_EQUAL(le64_get(i->size), 4096);
	CU_ASSERT_EQUAL(fmt_entry_verify(g, or, 0, FBLK(0), le64_get(i->root)), 0);
	CU_ASSERT_EQUAL(fmt_entry_blk(le64_get(i->root)).v, 7);

	i = inode_at(pm, FMT_INO_ROOT);
	CU_ASSERT_EQUAL(le32_get(i->mode), S_IFDIR | 0755);
	CU_ASSERT_EQUAL(le32_get(i->nlink), 2);
	CU_ASSERT_EQUAL(le64_get(i->rdev), 3);
	CU_ASSERT_EQUAL(le64_get(i->root), 0);
	CU_ASSERT_EQUAL(le64_get(i->size), 0);

	CU_ASSERT_TRUE(fmt_ckpt_decode(g, pm_load64(pm, MOFF(4096)), &c) && c.v == 0);
	CU_ASSERT_TRUE(fmt_ckpt_decode(g, pm_load64(pm, MOFF(8192)), &c) && c.v == 0);
}

static void roundtrip(uint64_t bytes, unsigned lanes, uint64_t lane_bytes)
{
	struct pm *pm = new_pm(bytes);
	struct mkfs_args args = {.label = "trial", .uid = 7, .gid = 8};
	struct geo g;

	CU_ASSERT_PTR_NOT_NULL_FATAL(pm);
	CU_ASSERT_EQUAL_FATAL(mkfs_write(pm, &args), 0);
	CU_ASSERT_EQUAL_FATAL(geo_read(pm, &g), 0);
	CU_ASSERT_EQUAL(g.bytes, bytes);
	CU_ASSERT_EQUAL(g.nlanes, lanes);
	CU_ASSERT_EQUAL(g.lane_bytes, lane_bytes);
	CU_ASSERT_EQUAL(g.lanes_off.v % 4096, 0);
	CU_ASSERT_EQUAL(g.first_data.v * 4096, g.lanes_off.v + lanes * lane_bytes);
	CU_ASSERT_STRING_EQUAL(g.label, "trial");
	CU_ASSERT_FALSE(g.used_copy);
	check_layout(pm, &g);
	pm_close(&pm);
}

static void test_sizes(void)
{
	roundtrip(4ull << 20, 2, 64 << 10);
	roundtrip(6ull << 20, 2, 64 << 10);
	roundtrip(62ull << 20, 2, 64 << 10);
	roundtrip(64ull << 20, 4, 256 << 10);
	roundtrip(130ull << 20, 4, 256 << 10);
	roundtrip(1ull << 30, 8, 1 << 20);
}

static void test_tebibyte(void)
{
	struct pm *pm = NULL;

	if (pm_open_memfd(1ull << 40, NULL, &pm) != 0) {
		printf("\nskipped: %s\n", err_msg());
		return;
	}
	pm_close(&pm);
	roundtrip(1ull << 40, 8, 1 << 20);
}

static void test_arguments(void)
{
	struct pm *pm = new_pm(8ull << 20);
	struct mkfs_args args = {.bytes = 4ull << 20};
	char label[80];
	struct geo g;

	memset(label, 'l', sizeof(label));
	CU_ASSERT_EQUAL(geo_read(pm, &g), -EINVAL);
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_EQUAL(g.bytes, 4ull << 20);
	args.bytes = 2ull << 20;
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), -EINVAL);
	args.bytes = 16ull << 20;
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), -EINVAL);
	args.bytes = 0;
	label[63] = 0;
	args.label = label;
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_STRING_EQUAL(g.label, label);
	CU_ASSERT_EQUAL(g.bytes, 8ull << 20);
	label[63] = 'l';
	label[64] = 0;
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), -EINVAL);
	pm_close(&pm);
}

/* Either superblock may be lost; both may not. */
static void test_copies(void)
{
	struct pm *pm = new_pm(8ull << 20);
	struct mkfs_args args = {0};
	struct geo g;

	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	pm->base[100] ^= 1;
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_TRUE(g.used_copy);
	CU_ASSERT_EQUAL(g.bytes, 8ull << 20);
	memset(pm->base, 0, 4096);
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_TRUE(g.used_copy);
	/* Another file system's blocks where C was: the copy is a left-over. */
	memset(pm->base + 4096, 0x55, 8192);
	CU_ASSERT_EQUAL(geo_read(pm, &g), -EINVAL);
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	pm->base[pm->size - 4096 + 100] ^= 1;
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_FALSE(g.used_copy);
	pm->base[200] ^= 1;
	CU_ASSERT_EQUAL(geo_read(pm, &g), -EBADMSG);
	/* The volume ends before the device; the first superblock says where. */
	args.bytes = 4ull << 20;
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	pm->base[100] ^= 1;
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_EQUAL(g.bytes, 4ull << 20);
	pm_close(&pm);
}

static void test_truncated(void)
{
	struct pm *big = new_pm(8ull << 20), *small = new_pm(6ull << 20);
	struct mkfs_args args = {0};
	struct geo g;

	CU_ASSERT_EQUAL(mkfs_write(big, &args), 0);
	memcpy(small->base, big->base, 6ull << 20);
	CU_ASSERT_EQUAL(geo_read(small, &g), -EUCLEAN);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(err_msg(), "volume says 8388608 bytes, the device has 6291456"));
	pm_close(&big);
	pm_close(&small);
}

typedef void super_change(struct fmt_super *s);
static void c_version(struct fmt_super *s)
{
	s->version = le32_of(2);
}
static void c_incompat(struct fmt_super *s)
{
	s->incompat = le64_of(1ull << 37);
}
static void c_log(struct fmt_super *s)
{
	s->log_incompat = le64_of(2);
}
static void c_ro(struct fmt_super *s)
{
	s->ro_compat = le64_of(1);
}
static void c_compat(struct fmt_super *s)
{
	s->compat = le64_of(1);
}
static void c_copy(struct fmt_super *s)
{
	s->copy = le32_of(1);
}
static void c_bytes(struct fmt_super *s)
{
	s->bytes = le64_of((8ull << 20) + 4096);
}
static void c_bytes_max(struct fmt_super *s)
{
	s->bytes = le64_of(~0ull << 21);
}
static void c_bytes_small(struct fmt_super *s)
{
	s->bytes = le64_of(2ull << 20);
}
static void c_alloc(struct fmt_super *s)
{
	s->alloc_off = le64_of(~4095ull);
}
static void c_alloc0(struct fmt_super *s)
{
	s->alloc_off = le64_of(0);
}
static void c_lanes_off(struct fmt_super *s)
{
	s->lanes_off = le64_of(8 * 4096);
}
static void c_lanes_off_max(struct fmt_super *s)
{
	s->lanes_off = le64_of(~4095ull);
}
static void c_lanes(struct fmt_super *s)
{
	s->lanes = le32_of(0);
}
static void c_lanes_max(struct fmt_super *s)
{
	s->lanes = le32_of(0xffffffff);
}
static void c_lane_bytes(struct fmt_super *s)
{
	s->lane_bytes = le64_of(1ull << 63);
}
static void c_lane_odd(struct fmt_super *s)
{
	s->lane_bytes = le64_of(65536 + 4096);
}
static void c_first(struct fmt_super *s)
{
	s->first_data = le64_of(9);
}
static void c_first_max(struct fmt_super *s)
{
	s->first_data = le64_of(1ull << 52);
}
static void c_label(struct fmt_super *s)
{
	memset(s->label, 'x', 64);
}
static void c_devices(struct fmt_super *s)
{
	s->ndevices = le32_of(2);
}
static void c_frames(struct fmt_super *s)
{
	s->devices[0].frames = le64_of(3);
}

static void test_super_content(void)
{
	static const struct {
		super_change *change;
		int want;
	} t[] = {
	    {c_version, -EUCLEAN},
	    {c_incompat, -EOPNOTSUPP},
	    {c_log, -EOPNOTSUPP},
	    {c_ro, 0},
	    {c_compat, 0},
	    {c_copy, -EUCLEAN},
	    {c_bytes, -EUCLEAN},
	    {c_bytes_max, -EUCLEAN},
	    {c_bytes_small, -EUCLEAN},
	    {c_alloc, -EUCLEAN},
	    {c_alloc0, -EUCLEAN},
	    {c_lanes_off, -EUCLEAN},
	    {c_lanes_off_max, -EUCLEAN},
	    {c_lanes, -EUCLEAN},
	    {c_lanes_max, -EUCLEAN},
	    {c_lane_bytes, -EUCLEAN},
	    {c_lane_odd, -EUCLEAN},
	    {c_first, -EUCLEAN},
	    {c_first_max, -EUCLEAN},
	    {c_label, -EUCLEAN},
	    {c_devices, -EUCLEAN},
	    {c_frames, -EUCLEAN},
	};
	struct pm *pm = new_pm(8ull << 20);
	struct mkfs_args args = {0};
	struct fmt_super good, s;
	int missed = 0;

	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	memcpy(&good, pm->base, sizeof(good));
	for (size_t i = 0; i < HF_COUNT(t); i++) {
		int err;

		s = good;
		t[i].change(&s);
		s.csum = le64_of(geo_super_csum(&s));
		err = geo_verify_super(&s, pm->size, 0);
		if (err != t[i].want)
			printf("\nrow %zu: %d, not %d: %s\n", i, err, t[i].want, err_msg());
		CU_ASSERT_EQUAL(err, t[i].want);
	}
	for (unsigned bit = 0; bit < 8 * 4096; bit++) {
		uint8_t *p = (uint8_t *)&s;

		s = good;
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		missed += geo_verify_super(&s, pm->size, 0) == 0;
	}
	CU_ASSERT_EQUAL(missed, 0);
	/* A later version's superblock, with its own checksum seed, is not damage. */
	s = good;
	s.version = le32_of(9);
	s.csum = le64_of(hash_bytes((const uint8_t *)&s + 16, sizeof(s) - 16, 9));
	CU_ASSERT_EQUAL(geo_verify_super(&s, pm->size, 0), -EOPNOTSUPP);
	pm_close(&pm);
}

static void test_features(void)
{
	struct pm *pm = new_pm(8ull << 20);
	struct fmt_super *s = (struct fmt_super *)pm_at_mut(pm, MOFF(0));
	struct mkfs_args args = {0};
	struct geo g;

	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	s->ro_compat = le64_of(4);
	s->csum = le64_of(geo_super_csum(s));
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_TRUE(g.read_only_features);
	s->incompat = le64_of(1ull << 9);
	s->csum = le64_of(geo_super_csum(s));
	/* Not a reason to take the copy. */
	CU_ASSERT_EQUAL(geo_read(pm, &g), -EOPNOTSUPP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "bit 9"));
	pm_close(&pm);
}

/* ---- mkfs that crashes: stores reach 'durable' at fences only, and the power fails at fence
 * number 'stop'. */
struct crash {
	struct pm *pm;
	uint8_t *durable;
	unsigned fences, stop;
	struct {
		moff_t off;
		uint64_t len;
	} pending[4096];
	unsigned n;
};

static void crash_store(void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct crash *c = ctx;

	(void)nt;
	if (c->n < HF_COUNT(c->pending)) {
		c->pending[c->n].off = off;
		c->pending[c->n++].len = len;
	}
}

static int crash_fence(void *ctx)
{
	struct crash *c = ctx;

	c->fences++;
	if (c->fences == c->stop)
		return -EIO;
	for (unsigned i = 0; i < c->n; i++)
		memcpy(c->durable + c->pending[i].off.v, c->pm->base + c->pending[i].off.v,
		       c->pending[i].len);
	c->n = 0;
	return 0;
}

/* Every store between two fences alone reaches the media, or all do, or none: never a volume until
 * all is there, and never the old one with new lanes. */
static void test_crash(void)
{
	static struct crash c;
	struct pm_hook hook = {.ctx = &c, .store = crash_store, .fence = crash_fence};
	struct mkfs_args args = {0};
	unsigned total = 0, states = 0;

	for (unsigned stop = 1; stop < 10; stop++) {
		struct pm *pm = new_pm(4ull << 20), *seen = new_pm(4ull << 20);
		struct geo old, g;
		unsigned npending;
		int err;

		CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
		CU_ASSERT_EQUAL(geo_read(pm, &old), 0);
		c = (struct crash){.pm = pm, .stop = stop, .durable = malloc(4ull << 20)};
		memcpy(c.durable, pm->base, pm->size);
		pm->hook = &hook;
		err = mkfs_write(pm, &args);
		pm->hook = NULL;
		npending = err ? c.n : 0;
		CU_ASSERT(npending < HF_COUNT(c.pending));
		for (unsigned pick = 0; pick <= npending + 1; pick++) {
			memcpy(seen->base, c.durable, seen->size);
			for (unsigned i = 0; i < npending; i++)
				if (pick == npending + 1 || i == pick)
					memcpy(seen->base + c.pending[i].off.v,
					       pm->base + c.pending[i].off.v, c.pending[i].len);
			states++;
			if (geo_read(seen, &g) != 0)
				continue;
			/* The old volume, untouched but for superblocks; or the new one, whole. */
			if (g.seed == old.seed)
				CU_ASSERT_EQUAL(stop, 1);
			check_layout(seen, &g);
		}
		free(c.durable);
		pm_close(&pm);
		pm_close(&seen);
		total = c.fences;
		if (!err)
			break;
	}
	CU_ASSERT_EQUAL(total, 4);
	CU_ASSERT(states > 12);
}

static const struct hf_case cases[] = {
    {"sizes", test_sizes},	   {"tebibyte", test_tebibyte},
    {"arguments", test_arguments}, {"copies", test_copies},
    {"truncated", test_truncated}, {"super_content", test_super_content},
    {"features", test_features},   {"crash", test_crash},
};

int main(void)
{
	return hf_run_suite("format_mkfs", cases, HF_COUNT(cases));
}
