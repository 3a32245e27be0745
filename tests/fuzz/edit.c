#include "edit.h"
#include "dir/bucket.h"

#include <stdlib.h>

/* ---- reading the input */

static uint64_t bytes_le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

unsigned fuzz_steps(const uint8_t *data, size_t size, uint32_t kinds, struct fuzz_step *out)
{
	unsigned n = 0, nth = (unsigned)__builtin_popcount(kinds);

	for (; size >= FUZZ_STEP_BYTES && n < FUZZ_STEPS_MAX; data += FUZZ_STEP_BYTES, size -= FUZZ_STEP_BYTES) {
		uint32_t left = kinds;
		unsigned k = data[0];

		/* A kind of another target's input keeps its meaning where this target has it. */
		if (k < FUZZ_KINDS && !(kinds >> k & 1))
			continue;
		if (k >= FUZZ_KINDS) {
			for (k %= nth; k > 0; k--)
				left &= left - 1;
			k = (unsigned)__builtin_ctz(left);
		}
		out[n++] = (struct fuzz_step){
			.kind = (enum fuzz_kind)k,
			.how = data[1],
			.object = (uint16_t)bytes_le(data + 2, 2),
			.field = (uint16_t)bytes_le(data + 4, 2),
			.aux = (uint16_t)bytes_le(data + 6, 2),
			.value = bytes_le(data + 8, 8),
		};
	}
	return n;
}

uint64_t fuzz_edge(uint64_t n)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 7, 8, 9, 15, 16, 44, 45, 63, 64, 65, 127, 128, 129, 255, 256, 510, 511, 512, 513, 1023, 1024, 2048, 2049, 4095,
		4096, 4097, 8192, 16384, 32767, 32768, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 1 << 21, FUZZ_BYTES - 4096, FUZZ_BYTES - 1,
		FUZZ_BYTES, FUZZ_BYTES + 1, INT32_MAX, 1ull << 31, UINT32_MAX, 1ull << 32, (1ull << 40) - 1, 1ull << 40, (1ull << 48) - 1,
		(1ull << 51) - 1, 1ull << 51, (1ull << 51) + 1, 1ull << 52, (1ull << 56) - 1, INT64_MAX - 4096, INT64_MAX - 1, INT64_MAX,
		1ull << 63, (1ull << 63) + 1, UINT64_MAX - 4096, UINT64_MAX - 1, UINT64_MAX,
	};

	return edges[n % (sizeof(edges) / sizeof(edges[0]))];
}

/* ---- fields */

struct field {
	uint16_t off, size;
};
#define FIELD(type, name) {offsetof(struct type, name), sizeof(((struct type *)NULL)->name)}

static const struct field super_fields[] = {
	FIELD(fmt_super, magic), FIELD(fmt_super, version), FIELD(fmt_super, copy), FIELD(fmt_super, compat), FIELD(fmt_super, incompat),
	FIELD(fmt_super, ro_compat), FIELD(fmt_super, log_incompat), FIELD(fmt_super, seed), FIELD(fmt_super, bytes),
	FIELD(fmt_super, alloc_off), FIELD(fmt_super, lanes_off), FIELD(fmt_super, lane_bytes), FIELD(fmt_super, lanes),
	FIELD(fmt_super, ndevices), FIELD(fmt_super, first_data), FIELD(fmt_super, created_ns), {232 + 16, 8}, {72, 8}, {128, 8},
};
static const struct field inode_fields[] = {
	FIELD(fmt_inode, ino), FIELD(fmt_inode, gen), FIELD(fmt_inode, mode), FIELD(fmt_inode, nlink), FIELD(fmt_inode, uid),
	FIELD(fmt_inode, size), FIELD(fmt_inode, blocks), FIELD(fmt_inode, root), FIELD(fmt_inode, xroot), FIELD(fmt_inode, xbytes),
	FIELD(fmt_inode, height), FIELD(fmt_inode, xheight), FIELD(fmt_inode, flags), FIELD(fmt_inode, mtime), FIELD(fmt_inode, rdev),
	FIELD(fmt_inode, dir_depth), {121, 1}, FIELD(fmt_inode, orphan), {128, 8}, {248, 8},
};
static const struct field bucket_fields[] = {
	FIELD(fmt_bucket_head, magic), FIELD(fmt_bucket_head, depth), FIELD(fmt_bucket_head, prefix), FIELD(fmt_bucket_head, owner),
	FIELD(fmt_bucket_head, owner_gen), FIELD(fmt_bucket_head, self), {48, 8},
};
/* The target's parts one by one: number, length, type. */
static const struct field dirent_fields[] = {
	FIELD(fmt_dirent, key), {0, 1}, {1, 1}, {7, 1}, {8, 6}, {14, 1}, {15, 1}, {20, 1}, {20, 8},
};
static const struct field orphan_fields[] = {
	FIELD(fmt_orphan, ino), FIELD(fmt_orphan, gen), FIELD(fmt_orphan, entry), FIELD(fmt_orphan, fblk), FIELD(fmt_orphan, kind),
	FIELD(fmt_orphan, fork), FIELD(fmt_orphan, level), {43, 1}, {44, 4},
};
static const struct field record_fields[] = {
	FIELD(fmt_record, seq), FIELD(fmt_record, bytes), FIELD(fmt_record, items), {24, 7}, {31, 1}, {32, 8}, {40, 7}, {47, 1}, {48, 8},
	{56, 7}, {63, 1},
};
#define PICK(table, n) (&(table)[(n) % (sizeof(table) / sizeof((table)[0]))])

static uint64_t get(const uint8_t *p, unsigned size)
{
	return bytes_le(p, size > 8 ? 8 : size);
}

static void put(uint8_t *p, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < size && i < 8; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

uint64_t fuzz_value(const struct fuzz_image *im, const struct fuzz_step *s, uint64_t old, uint64_t other)
{
	switch ((enum fuzz_value)(s->how & 7)) {
	case FUZZ_SET:
		return s->value;
	case FUZZ_XOR:
		return old ^ s->value;
	case FUZZ_ADD:
		return old + (uint64_t)(int64_t)(int8_t)s->value;
	case FUZZ_BLOCK:
		return im->block[s->aux % im->blocks];
	case FUZZ_INO:
		return im->inode[s->aux % im->inodes].id;
	case FUZZ_EDGE:
		return fuzz_edge(s->aux);
	case FUZZ_OTHER:
		return other;
	default:
		return s->value & 0xff;
	}
}

static void edit_field(const struct fuzz_image *im, const struct fuzz_step *s, uint8_t *at, const uint8_t *other, const struct field *f)
{
	put(at + f->off, f->size, fuzz_value(im, s, get(at + f->off, f->size), get(other + f->off, f->size)));
}

/* ---- one function per structure */

/* Both copies, one of them, or both alike with the second at the end of what it says. */
static void edit_super(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *at = bytes + (copy ? FUZZ_BYTES - HF_BLOCK_SIZE : 0);
		struct fmt_super *sb = (struct fmt_super *)(void *)at;

		if (s->object % 3 != 2 && s->object % 3 != copy)
			continue;
		edit_field(im, s, at, im->bytes, PICK(super_fields, s->field));
		if (fuzz_sealed(s))
			sb->csum = le64_of(geo_super_csum(sb));
	}
}

static void edit_ckpt(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	uint8_t *at = bytes + (uint64_t)(s->object % 2 ? FMT_BLK_CKPT1 : FMT_BLK_CKPT0) * HF_BLOCK_SIZE;
	uint64_t old = get(at, 8), v = fuzz_value(im, s, old & ~(0xffull << 56), im->last_seq);

	put(at, 8, fuzz_sealed(s) ? fmt_ckpt_encode(&im->geo, JSEQ(v & ~(0xffull << 56))) : v);
}

static void seal_record(const struct fuzz_image *im, uint8_t *at, uint64_t id, uint64_t in_half)
{
	struct fmt_record *r = (struct fmt_record *)(void *)at;
	uint64_t n = le32_get(r->bytes);

	if (n < HF_LINE || n > im->geo.lane_bytes / 2 - in_half)
		return;
	r->csum = le64_of(hash_bytes(at + 8, n - 8, fmt_record_seed(&im->geo, (uint32_t)(id >> 1), (uint32_t)(id & 1), in_half)));
}

static void edit_record(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct fuzz_place *p = &im->record[im->records - 1 - s->object % im->records];

	edit_field(im, s, bytes + p->off, im->bytes + im->record[s->aux % im->records].off, PICK(record_fields, s->field));
	if (fuzz_sealed(s))
		seal_record(im, bytes + p->off, p->id, p->in_half);
}

/* A record of one line behind what a half has: one change of the volume, to a place of an object. */
static void new_record(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct geo *g = &im->geo;
	uint64_t id = s->object % (2ull * g->nlanes), off = im->lane_end[id >> 1][id & 1] + (s->object >> 8) % 4 * HF_LINE, target;
	uint8_t *at = bytes + g->lanes_off.v + (id >> 1) * g->lane_bytes + (id & 1) * (g->lane_bytes / 2) + off;
	struct fmt_record *r = (struct fmt_record *)(void *)at;
	unsigned kind = 1 + s->field % 4;

	if (off + HF_LINE > g->lane_bytes / 2)
		return;
	memset(at, 0, HF_LINE);
	target = s->field & 0x100 ? fuzz_edge(s->aux) : im->block[s->aux % im->blocks] << HF_BLOCK_SHIFT;
	if (kind == FMT_ITEM_BITS_SET || kind == FMT_ITEM_BITS_CLEAR)
		target = geo_alloc_bit(g, MBLK(target >> HF_BLOCK_SHIFT));
	r->seq = le64_of(im->last_seq + 1 + (s->field >> 12));
	r->bytes = le32_of(HF_LINE);
	r->items = le32_of(1 + (s->field >> 9 & 1));
	put(at + 24, 8, FMT_ITEM(kind, (target + (s->field >> 2 & 0x38)) & ~(0xffull << 56)));
	put(at + 32, 8, fuzz_value(im, s, 16, 8));
	put(at + 40, 8, s->value);
	if (fuzz_sealed(s))
		seal_record(im, at, id, off);
}

static void edit_word(const struct fuzz_image *im, uint8_t *at, const struct fuzz_step *s)
{
	put(at, 8, fuzz_value(im, s, get(at, 8), 0));
}

static void seal_inode(const struct fuzz_image *im, uint8_t *at)
{
	struct fmt_inode *i = (struct fmt_inode *)(void *)at;

	i->csum = le64_of(fmt_inode_csum(&im->geo, i));
}

static void edit_inode(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	uint8_t *at = bytes + im->inode[s->object % im->inodes].off;

	edit_field(im, s, at, bytes + im->inode[s->aux % im->inodes].off, PICK(inode_fields, s->field));
	if (fuzz_sealed(s))
		seal_inode(im, at);
}

static uint64_t entry_value(const struct fuzz_image *im, const uint8_t *bytes, const struct fuzz_step *s, uint64_t old)
{
	uint64_t other = get(bytes + im->entry[s->aux % im->entries].off, 8);

	switch (s->field % 4) {
	case 0:
		return (old & ~0xffffffffffull) | (fuzz_value(im, s, old, other) & 0xffffffffffull);
	case 1:
		return (old & ~(0xfull << 40)) | (s->value & 0xf) << 40;
	case 2:
		return (old & ~(0xfull << 44)) | (s->value & 0xf) << 44;
	default:
		return fuzz_value(im, s, old, other);
	}
}

/* The entry itself, or one beside it in its node, which was a hole as a rule. */
static void edit_entry(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct fuzz_entry *e = &im->entry[s->object % im->entries];
	uint64_t old = get(bytes + e->off, 8), off = e->off, fblk = e->fblk, v;
	struct map_key key = fmt_map_key(&im->geo, INUM(e->owner), e->fork);
	unsigned to = s->field >> 4 & 511;

	if (!e->inode_off && s->field & 8) {
		off = off / HF_BLOCK_SIZE * HF_BLOCK_SIZE + 8ull * to;
		fblk = e->fblk / fmt_level_blocks(e->level + 1) * fmt_level_blocks(e->level + 1) + to * fmt_level_blocks(e->level);
	}
	v = entry_value(im, bytes, s, old);
	if (fuzz_sealed(s) && v) {
		v &= 0x0000ffffffffffffull;
		v |= fmt_entry_check(key, e->level, FBLK(fblk), v);
	}
	put(bytes + off, 8, v);
	if (e->inode_off && fuzz_sealed(s))
		seal_inode(im, bytes + e->inode_off);
}

static void seal_tags(struct fmt_bucket_head *h)
{
	struct bucket_tags t;

	bucket_tags_load(h, &t);
	bucket_tags_seal(&t);
	put(h->tag + 56, 8, t.w[7]);
}

static void edit_bucket(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	uint8_t *at = bytes + im->bucket[s->object % im->buckets].off;
	struct fmt_bucket_head *h = (struct fmt_bucket_head *)(void *)at;

	if (s->kind == FUZZ_TAGS) {
		put(at + 64 + s->field % FMT_DIR_SLOTS, 1, fuzz_value(im, s, at[64 + s->field % FMT_DIR_SLOTS], FMT_TAG_MORE));
		if (fuzz_sealed(s))
			seal_tags(h);
		return;
	}
	edit_field(im, s, at, bytes + im->bucket[s->aux % im->buckets].off, PICK(bucket_fields, s->field));
	if (fuzz_sealed(s))
		h->csum = le64_of(fmt_bucket_csum(&im->geo, h));
}

/* One of the entries that the bucket has, by its tags. field >> 8: also give its tag what its key says, and more. */
static void edit_dirent(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct fuzz_place *p = &im->bucket[s->object % im->buckets];
	struct fmt_bucket *b = (struct fmt_bucket *)(void *)(bytes + p->off);
	unsigned slot = s->object / im->buckets % FMT_DIR_SLOTS, tries = 0;
	struct fmt_dirent *d;
	uint64_t key, target;

	while (b->head.tag[slot] < 2 && tries++ < FMT_DIR_SLOTS)
		slot = (slot + 1) % FMT_DIR_SLOTS;
	d = &b->slot[slot];
	edit_field(im, s, (uint8_t *)d, (const uint8_t *)&b->slot[s->aux % FMT_DIR_SLOTS], PICK(dirent_fields, s->field & 0xff));
	target = le64_get(d->target);
	if (slot * FMT_DIR_SLOT + BUCKET_HEAD_BYTES + FMT_DIRENT_LEN(target) > FMT_DIR_SLOTS * FMT_DIR_SLOT)
		return;
	if (s->field & 0x100)		/* the key of the name that is there now */
		d->key = le64_of(fmt_name_hash(&im->geo, d->name, FMT_DIRENT_LEN(target)) | (le64_get(d->key) & 0xff));
	key = le64_get(d->key);
	if (!fuzz_sealed(s))
		return;
	d->check = le32_of(fmt_dirent_check(&im->geo, INUM(p->id), key, target, d->name, FMT_DIRENT_LEN(target)));
	if (s->field & 0x200) {
		b->head.tag[slot] = bucket_tag_of(key);
		seal_tags(&b->head);
	}
}

static void edit_orphan(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	unsigned slot = s->object % 8;
	struct fmt_orphan *o = (struct fmt_orphan *)(void *)(bytes + FMT_BLK_ORPHANS0 * HF_BLOCK_SIZE + slot * sizeof(*o));
	const struct fuzz_entry *e = &im->entry[s->aux % im->entries];

	if (s->field & 0x100) {		/* a subtree: what an entry of the image says */
		o->kind = FMT_ORPHAN_SUBTREE;
		o->ino = le64_of(e->owner);
		o->entry = le64_of(get(bytes + e->off, 8));
		o->fblk = le64_of(e->fblk);
		o->fork = (uint8_t)e->fork;
		o->level = (uint8_t)e->level;
	}
	if (s->field & 0x200) {		/* an inode, which knows of it */
		const struct fuzz_place *p = &im->inode[s->aux % im->inodes];
		struct fmt_inode *i = (struct fmt_inode *)(void *)(bytes + p->off);

		o->kind = FMT_ORPHAN_INODE;
		o->ino = i->ino;
		o->gen = i->gen;
		i->orphan = le32_of(slot + 1);
		seal_inode(im, bytes + p->off);
	}
	if (!(s->field & 0x400))
		edit_field(im, s, (uint8_t *)o, (const uint8_t *)o + sizeof(*o), PICK(orphan_fields, s->field & 0xff));
	if (fuzz_sealed(s))
		o->csum = le64_of(fmt_orphan_csum(&im->geo, slot, o));
}

static void edit_xattr(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct fuzz_blob *b = &im->blob[s->object % im->blobs];
	static const struct field head[] = {{8, 4}, {12, 4}, {16, 8}, {24, 4}, {28, 4}, {32, 4}, {36, 1}, {37, 1}, {40, 8}};
	static uint8_t blob[8 * HF_BLOCK_SIZE + 64];
	struct fmt_xattr_head *h = (struct fmt_xattr_head *)(void *)blob;
	uint32_t nblk = (b->bytes + HF_BLOCK_SIZE - 1) / HF_BLOCK_SIZE, n = b->bytes;
	struct field f = {(uint16_t)(s->field % b->bytes), 1};

	for (uint32_t i = 0; i < nblk; i++)
		memcpy(blob + i * HF_BLOCK_SIZE, bytes + (b->blk[i] << HF_BLOCK_SHIFT), HF_BLOCK_SIZE);
	if (s->field < 0x8000)
		f = *PICK(head, s->field);
	edit_field(im, s, blob, im->bytes, &f);
	if (le32_get(h->bytes) <= nblk * HF_BLOCK_SIZE && s->how & 8)
		n = le32_get(h->bytes);
	if (fuzz_sealed(s))
		h->csum = le64_of(fmt_xattr_csum(&im->geo, INUM(b->owner), blob, n));
	for (uint32_t i = 0; i < nblk; i++)
		memcpy(bytes + (b->blk[i] << HF_BLOCK_SHIFT), blob + i * HF_BLOCK_SIZE, HF_BLOCK_SIZE);
}

/* The image of one inode in the place of another; how & 8: with the number of the place. */
static void copy_inode(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	const struct fuzz_place *to = &im->inode[s->object % im->inodes];
	struct fmt_inode *i = (struct fmt_inode *)(void *)(bytes + to->off);

	memcpy(i, im->bytes + im->inode[s->aux % im->inodes].off, sizeof(*i));
	if (s->how & 8)
		i->ino = le64_of(to->id);
	if (fuzz_sealed(s))
		seal_inode(im, bytes + to->off);
}

/* Lost or misdirected: a block of zeros, of ones, or another's content. */
static void copy_block(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	uint64_t to = im->block[s->object % im->blocks], from = im->block[s->aux % im->blocks];

	if (to >= im->geo.nblocks || from >= im->geo.nblocks)
		return;
	if (s->how % 3 == 0)
		memcpy(bytes + (to << HF_BLOCK_SHIFT), im->bytes + (from << HF_BLOCK_SHIFT), HF_BLOCK_SIZE);
	else
		memset(bytes + (to << HF_BLOCK_SHIFT), s->how % 3 == 1 ? 0 : 0xff, HF_BLOCK_SIZE);
}

void fuzz_edit(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	switch (s->kind) {
	case FUZZ_SUPER:
		return edit_super(im, bytes, s);
	case FUZZ_CKPT:
		return edit_ckpt(im, bytes, s);
	case FUZZ_RECORD:
		return edit_record(im, bytes, s);
	case FUZZ_NEW_RECORD:
		return new_record(im, bytes, s);
	case FUZZ_ALLOC:
		return edit_word(im, bytes + im->geo.alloc_off.v + 8 * (s->field % (im->geo.nframes * 8)), s);
	case FUZZ_INODE_BITS:
		return edit_word(im, bytes + FMT_BLK_ITBITMAP * HF_BLOCK_SIZE + 8 * (s->field % 16), s);
	case FUZZ_INODE:
		return edit_inode(im, bytes, s);
	case FUZZ_ENTRY:
		return edit_entry(im, bytes, s);
	case FUZZ_BUCKET:
	case FUZZ_TAGS:
		return edit_bucket(im, bytes, s);
	case FUZZ_DIRENT:
		return edit_dirent(im, bytes, s);
	case FUZZ_ORPHAN:
		return edit_orphan(im, bytes, s);
	case FUZZ_XATTR:
		return edit_xattr(im, bytes, s);
	case FUZZ_RAW:
		return edit_word(im, bytes + (((uint64_t)s->object << 16 | s->field) * 8) % FUZZ_BYTES, s);
	case FUZZ_COPY_INODE:
		return copy_inode(im, bytes, s);
	case FUZZ_COPY_BLOCK:
		return copy_block(im, bytes, s);
	case FUZZ_REDO:
		return fuzz_edit_redo(im, bytes, s);
	default:
		return;
	}
}
