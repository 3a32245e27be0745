#include "dir/bucket.h"

#include <dirent.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

uint64_t bucket_hash_mask = ~0ull;

/* ---- tags */

void bucket_tags_load(const struct fmt_bucket_head *h, struct bucket_tags *out)
{
	le64_t w[8];

	static_assert(sizeof(w) == sizeof(h->tag), "");
	memcpy(w, h->tag, sizeof(w));
	for (unsigned i = 0; i < 8; i++)
		out->w[i] = le64_get(w[i]);
}

#ifdef __SSE2__
uint64_t bucket_tags_match(const struct bucket_tags *t, uint8_t tag)
{
	const __m128i want = _mm_set1_epi8((char)tag);
	uint64_t mask = 0;

	for (unsigned i = 0; i < 4; i++) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)&t->w[2 * i]);
		uint32_t m = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, want));

		mask |= (uint64_t)m << (16 * i);
	}
	return mask & BUCKET_SLOT_MASK;
}
#else
uint64_t bucket_tags_match(const struct bucket_tags *t, uint8_t tag)
{
	const uint64_t low7 = 0x7f7f7f7f7f7f7f7full;
	uint64_t mask = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t x = t->w[i] ^ tag * 0x0101010101010101ull;
		uint64_t zero = ~(((x & low7) + low7) | x | low7);	/* 0x80 where the byte is zero */

		/* The multiplication moves bit 8k of (zero >> 7) to bit 56 + k, without carries. */
		mask |= ((zero >> 7) * 0x0102040810204080ull >> 56) << (8 * i);
	}
	return mask & BUCKET_SLOT_MASK;
}
#endif

void bucket_tags_seal(struct bucket_tags *t)
{
	t->w[7] = (t->w[7] & 0x0000ffffffffffffull) | (uint64_t)fmt_bucket_tags_check(t->w) << 48;
}

int bucket_tags_verify(const struct bucket_id *id, const struct bucket_tags *t)
{
	if (t->w[7] >> 48 != fmt_bucket_tags_check(t->w))
		return err_set(-EBADMSG, "directory %llu, bucket in block %llu: the tags do not match their check",
			       (unsigned long long)id->dir.v, (unsigned long long)id->blk.v);
	return 0;
}

int bucket_tags_verify_runs(const struct bucket_id *id, const struct bucket_tags *t)
{
	if (bucket_tags_match(t, FMT_TAG_MORE) & ~(bucket_tags_used(t) << 1))
		return err_set(-EUCLEAN, "directory %llu, bucket in block %llu: a slot continues no name",
			       (unsigned long long)id->dir.v, (unsigned long long)id->blk.v);
	return 0;
}

void bucket_tags_set(struct bucket_tags *t, unsigned slot, unsigned nslots, uint8_t tag)
{
	bucket_tag_put(t, slot, tag);
	for (unsigned i = 1; i < nslots; i++)
		bucket_tag_put(t, slot + i, FMT_TAG_MORE);
}

void bucket_tags_clear(struct bucket_tags *t, unsigned slot, unsigned nslots)
{
	for (unsigned i = 0; i < nslots; i++)
		bucket_tag_put(t, slot + i, FMT_TAG_FREE);
}

int bucket_free_run(uint64_t used, unsigned n)
{
	uint64_t run = ~used & BUCKET_SLOT_MASK;

	for (unsigned i = 1; i < n; i++)
		run &= run >> 1;
	return run ? __builtin_ctzll(run) : -1;
}

/* ---- verifying */

/* Everything in a header is known to its reader, so comparing says more than its checksum, and costs less. The checksum is
 * for those who do not know (and for the sentence). */
static bool bucket_head_is(const struct bucket_id *id, const struct fmt_bucket_head *h)
{
	return le32_get(h->magic) == FMT_BUCKET_MAGIC && le32_get(h->depth) == id->depth &&
	       le64_get(h->prefix) == id->prefix && le64_get(h->owner) == id->dir.v &&
	       le64_get(h->owner_gen) == id->gen && le64_get(h->self) == id->blk.v;
}

int bucket_head_verify(const struct geo *g, const struct bucket_id *id, const struct fmt_bucket_head *h)
{
	int err;

	if (bucket_head_is(id, h))
		return 0;
	err = fmt_bucket_verify(g, h, id->dir, id->gen, id->depth, id->prefix, id->blk);
	return err ? err : err_set(-EUCLEAN, "directory %llu, bucket in block %llu: damaged",
				   (unsigned long long)id->dir.v, (unsigned long long)id->blk.v);
}

unsigned bucket_entry_run(const struct bucket_tags *t, unsigned slot)
{
	unsigned n = 1;

	while (n < BUCKET_RUN_MAX && slot + n < FMT_DIR_SLOTS && bucket_tag(t, slot + n) == FMT_TAG_MORE)
		n++;
	return n;
}

static bool bucket_type_ok(unsigned type)
{
	const unsigned known = 1u << DT_FIFO | 1u << DT_CHR | 1u << DT_DIR | 1u << DT_BLK | 1u << DT_REG |
			       1u << DT_LNK | 1u << DT_SOCK;

	return type < 32 && (known >> type & 1);
}

static int bucket_entry_bad(const struct bucket_id *id, unsigned slot, int err, const char *what)
{
	return err_set(err, "directory %llu, bucket in block %llu, slot %u: %s", (unsigned long long)id->dir.v,
		       (unsigned long long)id->blk.v, slot, what);
}

/* The shape first: the name is looked at only when its length fits the slots that the tags give it. */
int bucket_entry_read(const struct geo *g, const struct bucket_id *id, const struct bucket_tags *t, unsigned slot,
		      const void *raw, struct bucket_entry *out)
{
	const struct fmt_dirent *d = raw;
	const uint8_t *name = (const uint8_t *)raw + BUCKET_HEAD_BYTES;
	uint64_t key = le64_get(d->key), target = le64_get(d->target);
	unsigned len = FMT_DIRENT_LEN(target), nslots = bucket_nslots(len);
	unsigned end = slot + nslots;

	if (len == 0 || nslots != bucket_entry_run(t, slot) || end > FMT_DIR_SLOTS ||
	    (end < FMT_DIR_SLOTS && bucket_tag(t, end) == FMT_TAG_MORE))
		return bucket_entry_bad(id, slot, -EUCLEAN, "the name's length and its slots differ");
	if (le32_get(d->check) != fmt_dirent_check(g, id->dir, key, target, name, len))
		return bucket_entry_bad(id, slot, -EBADMSG, "the entry does not match its check");
	if (bucket_prefix(key, id->depth) != id->prefix || (key & 0xff) >= BUCKET_TIES ||
	    bucket_tag(t, slot) != bucket_tag_of(key))
		return bucket_entry_bad(id, slot, -EUCLEAN, "the entry's key does not belong here");
	if (FMT_DIRENT_INO(target) < FMT_INO_FIRST || !bucket_type_ok(FMT_DIRENT_TYPE(target)))
		return bucket_entry_bad(id, slot, -EUCLEAN, "the entry names no file");
	out->key = key;
	out->target = target;
	out->name = name;
	out->len = (uint8_t)len;
	out->slot = (uint8_t)slot;
	out->nslots = (uint8_t)nslots;
	return 0;
}

/* ---- composing */

/* raw: bucket_entry_bytes() of room. */
void bucket_entry_write(const struct geo *g, inum_t dir, uint64_t key, uint64_t target, const char *name, void *raw)
{
	unsigned len = FMT_DIRENT_LEN(target);
	struct fmt_dirent *d = raw;
	uint8_t *to = (uint8_t *)raw + BUCKET_HEAD_BYTES;

	d->key = le64_of(key);
	d->target = le64_of(target);
	d->check = le32_of(fmt_dirent_check(g, dir, key, target, name, len));
	memcpy(to, name, len);
	memset(to + len, 0, bucket_entry_bytes(len) - BUCKET_HEAD_BYTES - len);
}

void bucket_head_write(const struct geo *g, const struct bucket_id *id, const struct bucket_tags *t,
		       struct fmt_bucket_head *h)
{
	memset(h, 0, sizeof(*h));
	h->magic = le32_of(FMT_BUCKET_MAGIC);
	h->depth = le32_of(id->depth);
	h->prefix = le64_of(id->prefix);
	h->owner = le64_of(id->dir.v);
	h->owner_gen = le64_of(id->gen);
	h->self = le64_of(id->blk.v);
	for (unsigned i = 0; i < 8; i++) {
		le64_t w = le64_of(t->w[i]);

		memcpy(&h->tag[8 * i], &w, 8);
	}
	h->csum = le64_of(fmt_bucket_csum(g, h));
}
