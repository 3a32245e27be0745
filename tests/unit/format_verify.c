/* The verifiers: what the builders make verifies; every flipped bit is found; right checksums with
 * wrong content too. */
#include "cunit_main.h"
#include "format/geo.h"

#include <sys/stat.h>

static const struct geo g = {
    .bytes = 64ull << 20,
    .nblocks = (64ull << 20) / 4096,
    .nframes = 32,
    .seed = 0x123456789abcdef0ull,
    .alloc_off = {8 * 4096},
    .lanes_off = {9 * 4096},
    .lane_bytes = 256 << 10,
    .nlanes = 4,
    .first_data = {9 + 256},
    .end_data = {(64ull << 20) / 4096 - 1},
};

static void test_entry(void)
{
	struct map_key key = fmt_map_key(&g, INUM(77), FMT_FORK_DATA);
	struct map_key other = fmt_map_key(&g, INUM(78), FMT_FORK_DATA);
	struct map_key xattr = fmt_map_key(&g, INUM(77), FMT_FORK_XATTR);
	uint64_t e = fmt_entry_make(key, 0, FBLK(12345), FMT_ENT_BLOCK, MBLK(1000), 0);
	int missed = 0;

	CU_ASSERT_EQUAL(fmt_entry_verify(&g, key, 0, FBLK(12345), e), 0);
	CU_ASSERT_EQUAL(fmt_entry_verify(&g, key, 0, FBLK(12345), 0), 0);
	CU_ASSERT_EQUAL(fmt_entry_kind_of(e), FMT_ENT_BLOCK);
	CU_ASSERT_EQUAL(fmt_entry_blk(e).v, 1000);
	CU_ASSERT_EQUAL(fmt_entry_verify(&g, other, 0, FBLK(12345), e), -EBADMSG);
	CU_ASSERT_EQUAL(fmt_entry_verify(&g, xattr, 0, FBLK(12345), e), -EBADMSG);
	CU_ASSERT_EQUAL(fmt_entry_verify(&g, key, 0, FBLK(12346), e), -EBADMSG);
	CU_ASSERT_EQUAL(fmt_entry_verify(&g, key, 1, FBLK(12345), e), -EBADMSG);
	for (int bit = 0; bit < 64; bit++)
		missed += fmt_entry_verify(&g, key, 0, FBLK(12345), e ^ 1ull << bit) == 0;
	CU_ASSERT_EQUAL(missed, 0);
}

static void test_entry_shape(void)
{
	static const struct {
		unsigned level;
		enum fmt_entry_kind kind;
		uint64_t blk, flags;
		int want;
	} t[] = {
	    {0, FMT_ENT_BLOCK, 1000, 0, 0},
	    {0, FMT_ENT_BLOCK, 5, 0, 0},	    /* a table's block */
	    {0, FMT_ENT_BLOCK, 1, 0, -EUCLEAN},	    /* C */
	    {0, FMT_ENT_BLOCK, 8, 0, -EUCLEAN},	    /* allocation lines */
	    {0, FMT_ENT_BLOCK, 100, 0, -EUCLEAN},   /* lanes */
	    {0, FMT_ENT_BLOCK, 16383, 0, -EUCLEAN}, /* second superblock */
	    {0, FMT_ENT_BLOCK, 16382, 0, 0},
	    {0, FMT_ENT_BLOCK, 1ull << 39, 0, -EUCLEAN},
	    {0, FMT_ENT_BLOCK, 1000, FMT_ENT_PUNCHED, -EUCLEAN},
	    {0, FMT_ENT_HUGE, 1024, 0, -EUCLEAN},
	    {0, FMT_ENT_NODE, 1000, 0, -EUCLEAN},
	    {1, FMT_ENT_HUGE, 1024, 0, 0},
	    {1, FMT_ENT_HUGE, 1025, 0, -EUCLEAN},
	    {1, FMT_ENT_HUGE, 0, 0, -EUCLEAN},	   /* the metadata's frame */
	    {1, FMT_ENT_HUGE, 15872, 0, -EUCLEAN}, /* holds the last block */
	    {1, FMT_ENT_HUGE, 15360, 0, 0},
	    {1, FMT_ENT_HUGE, 1024, FMT_ENT_PUNCHED, -EUCLEAN},
	    {1, FMT_ENT_NODE, 1000, FMT_ENT_PUNCHED, 0},
	    {1, FMT_ENT_NODE, 1000, 1ull << 45, -EUCLEAN},
	    {1, FMT_ENT_BLOCK, 1000, 0, -EUCLEAN},
	    {2, FMT_ENT_NODE, 1000, 0, 0},
	    {2, FMT_ENT_NODE, 1000, FMT_ENT_PUNCHED, -EUCLEAN},
	    {2, FMT_ENT_HUGE, 1024, 0, -EUCLEAN},
	    {6, FMT_ENT_NODE, 1000, 0, 0},
	    {7, FMT_ENT_NODE, 1000, 0, -EUCLEAN},
	    {1, (enum fmt_entry_kind)4, 1024, 0, -EUCLEAN},
	};
	struct map_key key = fmt_map_key(&g, INUM(5), FMT_FORK_DATA);

	for (size_t i = 0; i < HF_COUNT(t); i++) {
		uint64_t e =
		    fmt_entry_make(key, t[i].level, FBLK(0), t[i].kind, MBLK(t[i].blk), t[i].flags);
		int err = fmt_entry_verify(&g, key, t[i].level, FBLK(0), e);

		if (err != t[i].want)
			printf("\nrow %zu: %d, not %d: %s\n", i, err, t[i].want, err_msg());
		CU_ASSERT_EQUAL(err, t[i].want);
	}
}

/* 16 bits of check: entries of one owner moved to other places must not be taken, but for 1 in
 * 65536. */
static void test_entry_check_spreads(void)
{
	struct map_key key = fmt_map_key(&g, INUM(9), FMT_FORK_DATA);
	unsigned taken = 0;

	for (uint64_t i = 0; i < 2000000; i++) {
		uint64_t e =
		    fmt_entry_make(key, 0, FBLK(i), FMT_ENT_BLOCK, MBLK(1000 + i % 5000), 0);

		taken +=
		    (e ^ fmt_entry_check(key, 0, FBLK(i + 1), e & 0xffffffffffffull)) >> 48 == 0;
	}
	CU_ASSERT(taken < 90);
	CU_ASSERT(taken > 5);
}

static struct fmt_inode good_inode(uint64_t ino)
{
	struct fmt_inode i = {.ino = le64_of(ino),
			      .gen = le64_of(3),
			      .mode = le32_of(S_IFREG | 0644),
			      .nlink = le32_of(1)};

	i.csum = le64_of(fmt_inode_csum(&g, &i));
	return i;
}

static void test_inode(void)
{
	struct fmt_inode zero = {0}, i = good_inode(20);
	int missed = 0;

	CU_ASSERT_EQUAL(fmt_inode_verify(&g, &zero, INUM(20)), 0);
	CU_ASSERT_EQUAL(fmt_inode_verify(&g, &i, INUM(20)), 0);
	CU_ASSERT_EQUAL(fmt_inode_verify(&g, &i, INUM(21)), -EUCLEAN);
	for (unsigned bit = 0; bit < 2048; bit++) {
		uint8_t *p = (uint8_t *)&i;

		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		missed += fmt_inode_verify(&g, &i, INUM(20)) != -EBADMSG;
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_EQUAL(missed, 0);
	i.mode = le32_of(0);
	i.csum = le64_of(fmt_inode_csum(&g, &i));
	CU_ASSERT_EQUAL(fmt_inode_verify(&g, &i, INUM(20)), 0);
}

#define INODE_ROW(want, change)                                                                    \
	do {                                                                                       \
		struct fmt_inode i = good_inode(20);                                               \
		change;                                                                            \
		i.csum = le64_of(fmt_inode_csum(&g, &i));                                          \
		CU_ASSERT_EQUAL(fmt_inode_verify(&g, &i, INUM(20)), want);                         \
	} while (0)

static void test_inode_content(void)
{
	INODE_ROW(-EUCLEAN, i.mode = le32_of(0xf000 | 0644));
	INODE_ROW(-EUCLEAN, i.mode = le32_of(1u << 20 | S_IFREG));
	INODE_ROW(-EUCLEAN, i.height = 7);
	INODE_ROW(0, i.height = 6);
	INODE_ROW(-EUCLEAN, i.xheight = 7);
	INODE_ROW(-EUCLEAN, i.size = le64_of(1ull << 63));
	INODE_ROW(0, i.size = le64_of((1ull << 63) - 1));
	INODE_ROW(-EUCLEAN, i.blocks = le64_of(1ull << 40));
	INODE_ROW(-EUCLEAN, i.flags = le16_of(2));
	INODE_ROW(0, (i.flags = le16_of(FMT_FLAG_INLINE), i.size = le64_of(128)));
	INODE_ROW(-EUCLEAN, (i.flags = le16_of(FMT_FLAG_INLINE), i.size = le64_of(129)));
	INODE_ROW(-EUCLEAN, (i.flags = le16_of(FMT_FLAG_INLINE), i.root = le64_of(1)));
	INODE_ROW(-EUCLEAN, (i.flags = le16_of(FMT_FLAG_INLINE), i.mode = le32_of(S_IFDIR),
			     i.rdev = le64_of(3)));
	INODE_ROW(-EUCLEAN, i.xroot = le64_of(1));
	INODE_ROW(-EUCLEAN, i.xbytes = le32_of(FMT_XATTR_BLOB_MAX + 1));
	INODE_ROW(-EUCLEAN, i.dir_depth = 1);
	INODE_ROW(-EUCLEAN, i.mode = le32_of(S_IFDIR | 0755));
	INODE_ROW(0, (i.mode = le32_of(S_IFDIR | 0755), i.rdev = le64_of(3), i.dir_depth = 48));
	INODE_ROW(-EUCLEAN,
		  (i.mode = le32_of(S_IFDIR | 0755), i.rdev = le64_of(3), i.dir_depth = 49));
	INODE_ROW(-EUCLEAN, i.zero[1] = 1);
}

static struct fmt_bucket_head good_bucket(void)
{
	struct fmt_bucket_head h = {
	    .magic = le32_of(FMT_BUCKET_MAGIC),
	    .depth = le32_of(3),
	    .prefix = le64_of(5),
	    .owner = le64_of(40),
	    .owner_gen = le64_of(2),
	    .self = le64_of(900),
	};

	h.csum = le64_of(fmt_bucket_csum(&g, &h));
	return h;
}

static void test_bucket(void)
{
	struct fmt_bucket_head h = good_bucket();
	int missed = 0;

	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 5, MBLK(900)), 0);
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(41), 2, 3, 5, MBLK(900)), -EUCLEAN);
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 3, 3, 5, MBLK(900)), -EUCLEAN);
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 2, 5, MBLK(900)), -EUCLEAN);
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 4, MBLK(900)), -EUCLEAN);
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 5, MBLK(901)), -EUCLEAN);
	for (unsigned bit = 0; bit < 8 * offsetof(struct fmt_bucket_head, tag); bit++) {
		uint8_t *p = (uint8_t *)&h;

		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		missed += fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 5, MBLK(900)) == 0;
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_EQUAL(missed, 0);
	h.tag[0] = FMT_TAG_MORE;
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 5, MBLK(900)), -EUCLEAN);
	h.tag[0] = 0;
	for (unsigned i = 0; i < 64; i++) {
		h.tag[i] = 7;
		missed += fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 5, MBLK(900)) != -EBADMSG;
		h.tag[i] = 0;
	}
	CU_ASSERT_EQUAL(missed, 0);
	/* Right checksum, impossible place. */
	h = good_bucket();
	h.prefix = le64_of(8);
	h.csum = le64_of(fmt_bucket_csum(&g, &h));
	CU_ASSERT_EQUAL(fmt_bucket_verify(&g, &h, INUM(40), 2, 3, 8, MBLK(900)), -EUCLEAN);
}

static void test_names(void)
{
	char longest[255];
	uint64_t h = fmt_name_hash(&g, "hello", 5);

	memset(longest, 'x', sizeof(longest));
	CU_ASSERT_EQUAL(h & 0xff, 0);
	CU_ASSERT_NOT_EQUAL(h, fmt_name_hash(&g, "hellp", 5));
	CU_ASSERT_NOT_EQUAL(fmt_dirent_check(&g, INUM(3), h, 20, "hello", 5),
			    fmt_dirent_check(&g, INUM(4), h, 20, "hello", 5));
	CU_ASSERT_NOT_EQUAL(fmt_dirent_check(&g, INUM(3), h, 20, "hello", 5),
			    fmt_dirent_check(&g, INUM(3), h, 21, "hello", 5));
	CU_ASSERT_NOT_EQUAL(fmt_dirent_check(&g, INUM(3), h, 20, longest, 255),
			    fmt_dirent_check(&g, INUM(3), h, 20, longest, 254));
}

static void test_orphan(void)
{
	struct fmt_orphan zero = {0},
			  o = {.ino = le64_of(30), .gen = le64_of(1), .kind = FMT_ORPHAN_INODE};
	int missed = 0;

	o.csum = le64_of(fmt_orphan_csum(&g, 7, &o));
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 7, &zero), 0);
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 7, &o), 0);
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 8, &o), -EBADMSG);
	for (unsigned bit = 0; bit < 512; bit++) {
		uint8_t *p = (uint8_t *)&o;

		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		missed += fmt_orphan_verify(&g, 7, &o) != -EBADMSG;
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_EQUAL(missed, 0);
	o.kind = FMT_ORPHAN_SUBTREE;
	o.csum = le64_of(fmt_orphan_csum(&g, 7, &o));
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 7, &o), -EUCLEAN);
	o.entry = le64_of(1);
	o.level = 7;
	o.csum = le64_of(fmt_orphan_csum(&g, 7, &o));
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 7, &o), -EUCLEAN);
	o.level = 6;
	o.csum = le64_of(fmt_orphan_csum(&g, 7, &o));
	CU_ASSERT_EQUAL(fmt_orphan_verify(&g, 7, &o), 0);
}

static void test_ckpt(void)
{
	static const uint64_t c[] = {0, 1, 2, 255, 1ull << 32, (1ull << 56) - 1};
	struct geo other = g;
	jseq_t out;
	int taken = 0;

	other.seed++;
	for (size_t i = 0; i < HF_COUNT(c); i++) {
		uint64_t raw = fmt_ckpt_encode(&g, JSEQ(c[i]));

		CU_ASSERT_NOT_EQUAL(raw, 0);
		CU_ASSERT_TRUE(fmt_ckpt_decode(&g, raw, &out));
		CU_ASSERT_EQUAL(out.v, c[i]);
		/* 8 bits of check find 254 in 255. */
		for (int bit = 0; bit < 64; bit++)
			taken += fmt_ckpt_decode(&g, raw ^ 1ull << bit, &out);
	}
	CU_ASSERT(taken <= 6);
	for (uint64_t seed = 0; seed < 2000; seed++) {
		other.seed = seed;
		CU_ASSERT_FALSE(fmt_ckpt_decode(&other, 0, &out));
	}
}

static void test_record_seed(void)
{
	uint64_t s = fmt_record_seed(&g, 1, 0, 64);

	CU_ASSERT_NOT_EQUAL(s, fmt_record_seed(&g, 1, 0, 128));
	CU_ASSERT_NOT_EQUAL(s, fmt_record_seed(&g, 1, 1, 64));
	CU_ASSERT_NOT_EQUAL(s, fmt_record_seed(&g, 0, 1, 64));
	CU_ASSERT_NOT_EQUAL(s, fmt_record_seed(&g, 2, 0, 64));
}

static void test_ino_place(void)
{
	CU_ASSERT_EQUAL(fmt_ino_bitmap_fblk(INUM(3)).v, 0);
	CU_ASSERT_EQUAL(fmt_ino_fblk(INUM(3)).v, 1);
	CU_ASSERT_EQUAL(fmt_ino_fblk(INUM(16)).v, 2);
	CU_ASSERT_EQUAL(fmt_ino_fblk(INUM(32767)).v, 2048);
	CU_ASSERT_EQUAL(fmt_ino_bitmap_fblk(INUM(32768)).v, 2049);
	CU_ASSERT_EQUAL(fmt_ino_fblk(INUM(32768)).v, 2050);
}

static const struct hf_case cases[] = {
    {"entry", test_entry},
    {"entry_shape", test_entry_shape},
    {"entry_check_spreads", test_entry_check_spreads},
    {"inode", test_inode},
    {"inode_content", test_inode_content},
    {"bucket", test_bucket},
    {"names", test_names},
    {"orphan", test_orphan},
    {"ckpt", test_ckpt},
    {"record_seed", test_record_seed},
    {"ino_place", test_ino_place},
};

int main(void)
{
	return hf_run_suite("format_verify", cases, HF_COUNT(cases));
}
