/* One directory bucket: its tags, its entries, and how a fresh one is composed. Pure: no locks, no transactions, no stores
 * to media. What is read here may be damaged; whatever does not fit gives -EBADMSG or -EUCLEAN, never a loop.
 *
 * Terms: an entry lies in 1 to 5 slots that follow each other, and its bytes (key, target, check, name) lie in them without
 * a gap. 'Head' is its first slot. */
#ifndef HF_DIR_BUCKET_H
#define HF_DIR_BUCKET_H

#include "format/geo.h"

#define BUCKET_SLOT_MASK  ((1ull << FMT_DIR_SLOTS) - 1)
#define BUCKET_HEAD_BYTES offsetof(struct fmt_dirent, name)	/* of an entry, before its name: 20 */
#define BUCKET_RUN_MAX    5u					/* slots of the longest name */
#define BUCKET_TIES       64u	/* a key's low byte is below it, so that a position a little behind a key never wraps (I-DIR-4) */

/* The 64 tag bytes as 8 host words: tag i is bits 8*(i%8).. of word i/8. */
struct bucket_tags {
	uint64_t w[8];
};

/* Where a bucket belongs; what a damaged or misplaced one is told by. */
struct bucket_id {
	inum_t dir;
	uint64_t gen;
	mblk_t blk;
	uint64_t prefix;
	unsigned depth;
};

struct bucket_entry {
	uint64_t key;
	uint64_t target;
	const uint8_t *name;	/* in the bytes that were given */
	uint8_t len, slot, nslots;
};

/* Tests let different names have one hash: the bits that are kept. All of them otherwise. */
extern uint64_t bucket_hash_mask;
static inline uint64_t bucket_hash(const struct geo *g, const void *name, unsigned len)
{
	return fmt_name_hash(g, name, len) & bucket_hash_mask;
}

static inline unsigned bucket_nslots(unsigned len)
{
	return len <= FMT_DIR_NAME0 ? 1 : 1 + (len - FMT_DIR_NAME0 + FMT_DIR_SLOT - 1) / FMT_DIR_SLOT;
}
static inline uint64_t bucket_prefix(uint64_t key, unsigned depth)
{
	return depth ? key >> (64 - depth) : 0;
}
static inline uint8_t bucket_tag_of(uint64_t key)
{
	return (uint8_t)(2 + (key >> 8) % 254);
}
static inline uint64_t bucket_target(inum_t ino, unsigned len, uint8_t type)
{
	return ino.v | (uint64_t)len << 48 | (uint64_t)type << 56;
}
static inline uint64_t bucket_run_mask(unsigned slot, unsigned nslots)
{
	return ((1ull << nslots) - 1) << slot;
}
static inline moff_t bucket_tag_off(mblk_t blk, unsigned word)
{
	return moff_add(mblk_to_moff(blk), offsetof(struct fmt_bucket_head, tag) + 8 * word);
}
static inline moff_t bucket_slot_off(mblk_t blk, unsigned slot)
{
	return moff_add(mblk_to_moff(blk), offsetof(struct fmt_bucket, slot) + (uint64_t)slot * FMT_DIR_SLOT);
}
static inline uint8_t bucket_tag(const struct bucket_tags *t, unsigned slot)
{
	return (uint8_t)(t->w[slot / 8] >> (8 * (slot % 8)));
}
static inline void bucket_tag_put(struct bucket_tags *t, unsigned slot, uint8_t tag)
{
	unsigned shift = 8 * (slot % 8);

	t->w[slot / 8] = (t->w[slot / 8] & ~(0xffull << shift)) | (uint64_t)tag << shift;
}

/* ---- tags */
void bucket_tags_load(const struct fmt_bucket_head *h, struct bucket_tags *out);
uint64_t bucket_tags_match(const struct bucket_tags *t, uint8_t tag);	/* a bit per slot */
static inline uint64_t bucket_tags_used(const struct bucket_tags *t)
{
	return ~bucket_tags_match(t, FMT_TAG_FREE) & BUCKET_SLOT_MASK;
}
/* The tags' own check in tags 62 and 63: the header's checksum leaves the tags out, because they change in place. */
void bucket_tags_seal(struct bucket_tags *t);
int bucket_tags_verify(const struct bucket_id *id, const struct bucket_tags *t);
/* A slot that continues no name: readers do not meet it (they go from heads), so it is for check. */
int bucket_tags_verify_runs(const struct bucket_id *id, const struct bucket_tags *t);
/* An entry's tags: its fingerprint and its continuations. Neither seals. */
void bucket_tags_set(struct bucket_tags *t, unsigned slot, unsigned nslots, uint8_t tag);
void bucket_tags_clear(struct bucket_tags *t, unsigned slot, unsigned nslots);
/* The first slot of n free ones in a row; -1: there are none. */
int bucket_free_run(uint64_t used, unsigned n);

/* ---- verifying what is on the media */
int bucket_head_verify(const struct geo *g, const struct bucket_id *id, const struct fmt_bucket_head *h);
/* How many slots the entry at 'slot' has by its tags. */
unsigned bucket_entry_run(const struct bucket_tags *t, unsigned slot);
/* Verifies the entry whose head is 'slot'. raw: its bytes, as many slots as its tags say. */
int bucket_entry_read(const struct geo *g, const struct bucket_id *id, const struct bucket_tags *t, unsigned slot,
		      const void *raw, struct bucket_entry *out);

/* ---- composing */
void bucket_entry_write(const struct geo *g, inum_t dir, uint64_t key, uint64_t target, const char *name, void *raw);
/* An entry's bytes, rounded up to whole words: what is journalled. */
static inline uint32_t bucket_entry_bytes(unsigned len)
{
	return (uint32_t)(BUCKET_HEAD_BYTES + len + 7) & ~7u;
}
void bucket_head_write(const struct geo *g, const struct bucket_id *id, const struct bucket_tags *t,
		       struct fmt_bucket_head *h);

#endif
