/* The attributes' blob: a head, then records of name and value. */
#include "inode/xattr_blob.h"
#include "base/error.h"

#include <stdlib.h>

#define HEAD_BYTES ((uint32_t)sizeof(struct fmt_xattr_head))
#define REC_BYTES  ((uint32_t)sizeof(struct fmt_xattr))
#define VALUE_MAX  65536u

static uint32_t record_bytes(uint32_t name_len, uint32_t value_len)
{
	return (uint32_t)round_up_u64(REC_BYTES + name_len + value_len, 8);
}

int xblob_alloc(struct xblob *b, uint32_t bytes)
{
	b->bytes = bytes;
	b->p = calloc(xblob_blocks(bytes), HF_BLOCK_SIZE);
	return b->p ? 0 : err_set(-ENOMEM, "attributes: no memory for %u bytes", bytes);
}

void xblob_free(struct xblob *b)
{
	free(b->p);
	b->p = NULL;
	b->bytes = 0;
}

/* ---- reading */

/* The record at 'at', if it lies within the blob. */
static bool read_record(const struct xblob *b, uint32_t at, struct xattr_view *out)
{
	struct fmt_xattr rec;

	if (b->bytes - at < REC_BYTES)
		return false;
	memcpy(&rec, b->p + at, sizeof(rec));
	out->name_len = rec.name_bytes;
	out->value_len = le32_get(rec.value_bytes);
	if (out->name_len == 0 || out->value_len > VALUE_MAX)
		return false;
	out->at = at;
	out->len = record_bytes(out->name_len, out->value_len);
	if (out->len > b->bytes - at)
		return false;
	out->name = (const char *)b->p + at + REC_BYTES;
	out->value = b->p + at + REC_BYTES + out->name_len;
	return true;
}

bool xblob_next(const struct xblob *b, uint32_t *pos, struct xattr_view *out)
{
	uint32_t at = *pos ? *pos : HEAD_BYTES;

	if (!b->p || at >= b->bytes || !read_record(b, at, out))
		return false;
	*pos = at + out->len;
	return true;
}

bool xblob_find(const struct xblob *b, const char *name, uint32_t len, struct xattr_view *out)
{
	uint32_t pos = 0;

	while (xblob_next(b, &pos, out))
		if (out->name_len == len && memcmp(out->name, name, len) == 0)
			return true;
	return false;
}

int xblob_check(const struct geo *g, inum_t owner, const struct xblob *b)
{
	struct fmt_xattr_head h;
	struct xattr_view v;
	uint32_t pos = 0, n = 0, end = HEAD_BYTES;

	memcpy(&h, b->p, sizeof(h));
	if (le32_get(h.magic) != FMT_XATTR_MAGIC)
		return err_set(-EUCLEAN, "no attributes where they should be");
	if (le32_get(h.bytes) != b->bytes)
		return err_set(-EUCLEAN, "attributes of %u bytes instead of %u", le32_get(h.bytes),
			       b->bytes);
	if (le64_get(h.csum) != fmt_xattr_csum(g, owner, b->p, b->bytes))
		return err_set(-EBADMSG, "attributes: wrong checksum");
	if (le64_get(h.owner) != owner.v)
		return err_set(-EUCLEAN, "attributes of inode %llu",
			       (unsigned long long)le64_get(h.owner));
	while (xblob_next(b, &pos, &v)) {
		n++;
		end = pos;
	}
	if (end != b->bytes || n != le32_get(h.count) || n == 0)
		return err_set(-EUCLEAN, "attributes: the records do not fill their space");
	return 0;
}

/* ---- building */

static void put_record(uint8_t *p, const struct xattr_view *v)
{
	struct fmt_xattr rec = {.value_bytes = le32_of(v->value_len),
				.name_bytes = (uint8_t)v->name_len};

	memcpy(p, &rec, sizeof(rec));
	memcpy(p + REC_BYTES, v->name, v->name_len);
	if (v->value_len)
		memcpy(p + REC_BYTES + v->name_len, v->value, v->value_len);
}

int xblob_build(const struct geo *g, inum_t owner, const struct xblob *old,
		const struct xattr_view *gone, const struct xattr_view *add, struct xblob *out)
{
	struct fmt_xattr_head h = {.magic = le32_of(FMT_XATTR_MAGIC), .owner = le64_of(owner.v)};
	uint32_t bytes = old->p ? old->bytes : HEAD_BYTES, at = HEAD_BYTES, pos = 0, n = 0;
	struct xattr_view v;
	int err;

	*out = (struct xblob){0};
	bytes -= gone ? gone->len : 0;
	bytes += add ? record_bytes(add->name_len, add->value_len) : 0;
	if (bytes > FMT_XATTR_BLOB_MAX)
		return err_set(-ENOSPC, "a file has at most %u bytes of attributes",
			       FMT_XATTR_BLOB_MAX);
	if (bytes == HEAD_BYTES)
		return 0;
	err = xblob_alloc(out, bytes);
	if (err)
		return err;
	while (xblob_next(old, &pos, &v)) {
		if (gone && v.at == gone->at)
			continue;
		memcpy(out->p + at, old->p + v.at, v.len);
		at += v.len;
		n++;
	}
	if (add) {
		put_record(out->p + at, add);
		n++;
	}
	h.bytes = le32_of(bytes);
	h.count = le32_of(n);
	memcpy(out->p, &h, sizeof(h));
	h.csum = le64_of(fmt_xattr_csum(g, owner, out->p, bytes));
	memcpy(out->p, &h, sizeof(h));
	return 0;
}
