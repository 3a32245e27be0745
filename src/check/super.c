#include "check/check.h"

static const struct fmt_super *super_at(const struct check *c, uint32_t copy)
{
	mblk_t b = copy ? MBLK(c->geo.nblocks - 1) : MBLK(FMT_BLK_SUPER);

	return (const struct fmt_super *)pm_at(c->pm, mblk_to_moff(b));
}

void check_super(struct check *c)
{
	const struct fmt_super *s[2] = {super_at(c, 0), super_at(c, 1)};
	const size_t same_from = offsetof(struct fmt_super, compat);
	jseq_t seq[2];
	bool ok[2];
	uint32_t i;

	check_progress(c, "superblock", 0, 1);
	for (i = 0; i < 2; i++) {
		ok[i] = geo_verify_super(s[i], c->pm->size, i) == 0;
		if (!ok[i])
			check_find(c, "superblock", 0, i ? (c->geo.nblocks - 1) << HF_BLOCK_SHIFT : 0, "superblock %u: %s", i, err_msg());
	}
	if (ok[0] && ok[1] &&
	    memcmp((const char *)s[0] + same_from, (const char *)s[1] + same_from, sizeof(*s[0]) - same_from) != 0)
		check_find(c, "superblock", 0, (c->geo.nblocks - 1) << HF_BLOCK_SHIFT, "the two superblocks differ");
	for (i = 0; i < 2; i++) {
		moff_t off = mblk_to_moff(MBLK(i ? FMT_BLK_CKPT1 : FMT_BLK_CKPT0));

		if (!fmt_ckpt_decode(&c->geo, pm_load64(c->pm, off), &seq[i]))
			check_find(c, "journal", 0, off.v, "checkpoint word %u is damaged", i);
	}
	check_progress(c, "superblock", 1, 1);
}
