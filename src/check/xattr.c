/* The attribute blob: put together from its blocks, then verified as one. */
#include "check/check.h"
#include <stdlib.h>

struct blob {
	const struct pm *pm;
	uint8_t *bytes;
	uint64_t size, have;
};

static int blob_leaf(void *ctx, const struct map_visit *v)
{
	struct blob *b = ctx;
	uint64_t off = v->fblk.v << HF_BLOCK_SHIFT, len = HF_BLOCK_SIZE;

	if (v->verify_err || fmt_entry_kind_of(v->entry) != FMT_ENT_BLOCK)
		return 0;
	if (v->fblk.v >= FMT_XATTR_BLOB_MAX >> HF_BLOCK_SHIFT || off >= b->size)
		return 0;
	len = min_u64(len, b->size - off);
	memcpy(b->bytes + off, pm_at(b->pm, mblk_to_moff(fmt_entry_blk(v->entry))), len);
	b->have += len;
	return 0;
}

/* What is wrong with the blob, or NULL. */
static const char *blob_verify(const struct check *c, inum_t ino, const uint8_t *blob, uint32_t size)
{
	const struct fmt_xattr_head *h = (const struct fmt_xattr_head *)(const void *)blob;
	uint32_t at = sizeof(*h), n = 0;

	if (size < sizeof(*h) || le32_get(h->magic) != FMT_XATTR_MAGIC || le32_get(h->bytes) != size)
		return "its head is damaged";
	if (le64_get(h->csum) != fmt_xattr_csum(&c->geo, ino, blob, size))
		return "its checksum is wrong";
	if (le64_get(h->owner) != ino.v)
		return "it belongs to another inode";
	while (at < size) {
		const struct fmt_xattr *x = (const struct fmt_xattr *)(const void *)(blob + at);
		uint64_t len;

		if (size - at < sizeof(*x))
			return "an attribute is cut off";
		len = sizeof(*x) + (uint64_t)x->name_bytes + le32_get(x->value_bytes);
		len = round_up_u64(len, 8);
		if (x->name_bytes == 0 || len > size - at)
			return "an attribute's lengths are impossible";
		at += (uint32_t)len;
		n++;
	}
	return n == le32_get(h->count) ? NULL : "its count is wrong";
}

void check_xattr(struct check *c, inum_t ino, const struct fmt_inode *i)
{
	struct blob b = {.pm = c->pm, .size = le32_get(i->xbytes)};
	const char *wrong;

	b.bytes = calloc(1, (size_t)round_up_u64(b.size, 8));
	if (!b.bytes) {
		c->err = err_set(-ENOMEM, "check: no memory for an attribute blob");
		return;
	}
	map_walk(c->pm, &c->geo, ino, FMT_FORK_XATTR, le64_get(i->xroot), i->xheight, blob_leaf, &b);
	wrong = b.have == b.size ? blob_verify(c, ino, b.bytes, (uint32_t)b.size) : "blocks are missing";
	if (wrong && !c->mended &&
	    check_mend(c, CHECK_MEND_ALL, "the inode has no attributes any more", "xattr", ino.v, 0, "inode %llu: attributes: %s",
		       (unsigned long long)ino.v, wrong))
		check_put_entry(c, ino, FMT_FORK_XATTR, MOFF(0), 0);
	free(b.bytes);
}
