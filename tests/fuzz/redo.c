/* What an interrupted repair leaves, and an undo file, as somebody would forge them: a list in free space that both superblocks name,
 * entry by entry, and a file of blocks that are to be put back. */
#include "edit.h"
#include "check/undo.h"
#include "format/geo.h"

#include <unistd.h>

#define UNDO_ID 0x756e646full

static void put_word(uint8_t *at, uint64_t v)
{
	le64_t w = le64_of(v);

	memcpy(at, &w, sizeof(w));
}

static uint64_t get_word(const uint8_t *at)
{
	le64_t w;

	memcpy(&w, at, sizeof(w));
	return le64_get(w);
}

static bool is_super(const struct fuzz_image *im, uint64_t blk)
{
	return blk == FMT_BLK_SUPER || blk == im->geo.nblocks - 1;
}

static void seal_super(uint8_t *at)
{
	struct fmt_super *s = (struct fmt_super *)(void *)at;

	s->csum = le64_of(geo_super_csum(s));
}

/* The n-th block that was free in the image. */
static uint64_t free_block(const struct fuzz_image *im, unsigned n)
{
	uint64_t span = im->geo.nblocks - im->geo.first_data.v - 1, at = im->geo.first_data.v + n % span, i;

	for (i = 0; i < span; i++, at = at + 1 < im->geo.nblocks - 1 ? at + 1 : im->geo.first_data.v)
		if (!(im->bytes[im->geo.alloc_off.v + at / 8] >> (at % 8) & 1))
			break;
	return at;
}

static uint64_t some_block(const struct fuzz_image *im, const struct fuzz_step *s, unsigned n)
{
	return s->how & 8 ? free_block(im, n) : im->block[n % im->blocks];
}

/* object % 3: only one of the superblocks. */
static void mark(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s, uint64_t head)
{
	for (unsigned copy = 0; copy < 2; copy++) {
		struct fmt_super *sb = (struct fmt_super *)(void *)(bytes + (copy ? FUZZ_BYTES - HF_BLOCK_SIZE : 0));

		if (s->object % 3 == copy + 1)
			continue;
		sb->incompat = le64_of(FMT_INCOMPAT_REPAIR);
		sb->repair = le64_of(head);
		sb->repair_undo = le64_of(s->how & 16 ? s->value : UNDO_ID);
		sb->csum = le64_of(geo_super_csum(sb));
	}
	(void)im;
}

/* The first block of the list, as the first superblock has it. */
static struct fmt_redo *list(const struct fuzz_image *im, uint8_t *bytes)
{
	const struct fmt_super *s = (const struct fmt_super *)(const void *)bytes;
	uint64_t at = le64_get(s->repair);

	if (!(le64_get(s->incompat) & FMT_INCOMPAT_REPAIR) || at < im->geo.first_data.v || at >= im->geo.nblocks - 1)
		return NULL;
	return (struct fmt_redo *)(void *)(bytes + (at << HF_BLOCK_SHIFT));
}

static void seal_list(const struct fuzz_image *im, struct fmt_redo *r)
{
	r->csum = le64_of(hash_bytes((const uint8_t *)r + 8, sizeof(*r) - 8, hash_mix2(im->geo.seed, le64_get(r->self))));
}

/* Another block of it, before those that are there: as the first, or leading to itself or anywhere. */
static void add_block(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	uint64_t at = s->how & 32 ? some_block(im, s, s->aux) : free_block(im, s->aux), next = 0;
	const struct fmt_redo *old = list(im, bytes);
	struct fmt_redo *r;

	if (at >= im->geo.nblocks)
		return;
	if (old)
		next = le64_get(old->self);
	if (s->value % 8 == 1)
		next = at;
	if (s->value % 8 == 2)
		next = some_block(im, s, (unsigned)(s->value >> 8));
	r = (struct fmt_redo *)(void *)(bytes + (at << HF_BLOCK_SHIFT));
	memset(r, 0, sizeof(*r));
	r->magic = le32_of(FMT_REDO_MAGIC);
	r->self = le64_of(at);
	r->next = le64_of(next);
	seal_list(im, r);
	mark(im, bytes, s, at);
}

static void seal_entry(const struct fuzz_image *im, const uint8_t *bytes, struct fmt_redo_entry *e)
{
	uint64_t to = le64_get(e->to), from = le64_get(e->from);

	if (from < im->geo.nblocks)
		e->csum = le64_of(hash_bytes(bytes + (from << HF_BLOCK_SHIFT), HF_BLOCK_SIZE, hash_mix2(im->geo.seed, to)));
}

/* New content of a block: the image's, or another block's, and one word of it anything. */
static void content(const struct fuzz_image *im, const struct fuzz_step *s, uint64_t to, uint8_t *at)
{
	uint64_t from = s->how & 64 || to >= im->geo.nblocks ? im->block[s->value % im->blocks] % im->geo.nblocks : to;
	unsigned word = s->field >> 4 & 511;

	memcpy(at, im->bytes + (from << HF_BLOCK_SHIFT), HF_BLOCK_SIZE);
	if (s->field & 8)
		put_word(at + 8 * word, fuzz_value(im, s, get_word(at + 8 * word), s->value));
	if (is_super(im, to) && fuzz_sealed(s))
		seal_super(at);
}

static void add_entry(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s, struct fmt_redo *r)
{
	uint64_t to = im->block[s->aux % im->blocks], from = free_block(im, s->object);
	uint32_t n = le32_get(r->count);

	if (n >= FMT_REDO_ENTRIES)
		return;
	content(im, s, to, bytes + (from << HF_BLOCK_SHIFT));
	r->entry[n] = (struct fmt_redo_entry){.to = le64_of(to), .from = le64_of(from)};
	seal_entry(im, bytes, &r->entry[n]);
	r->count = le32_of(n + 1);
	seal_list(im, r);
}

static void edit_list(const struct fuzz_image *im, const uint8_t *bytes, const struct fuzz_step *s, struct fmt_redo *r)
{
	unsigned n = s->object % FMT_REDO_ENTRIES, off = 8 * (1u + s->field / 4u % 4);
	uint8_t *at = (uint8_t *)r + off;

	if (s->field & 0x100)		/* an entry of those that it has, or behind them */
		at = (uint8_t *)&r->entry[n % (le32_get(r->count) + 1) % FMT_REDO_ENTRIES] + 8 * (s->field / 4u % 3);
	put_word(at, fuzz_value(im, s, get_word(at), s->value));
	if (!fuzz_sealed(s))
		return;
	if (s->field & 0x200)
		seal_entry(im, bytes, &r->entry[n % (le32_get(r->count) % FMT_REDO_ENTRIES + 1) % FMT_REDO_ENTRIES]);
	seal_list(im, r);
}

/* A word of what the last entry is to write. */
static void edit_content(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s, struct fmt_redo *r)
{
	uint32_t n = le32_get(r->count);
	uint64_t from = n && n <= FMT_REDO_ENTRIES ? le64_get(r->entry[n - 1].from) : 0;
	uint8_t *at = bytes + (from << HF_BLOCK_SHIFT) + 8 * (s->field >> 4 & 511);

	if (from < im->geo.first_data.v || from >= im->geo.nblocks - 1)
		return;
	put_word(at, fuzz_value(im, s, get_word(at), s->value));
	if (is_super(im, le64_get(r->entry[n - 1].to)))
		seal_super(bytes + (from << HF_BLOCK_SHIFT));
	if (!fuzz_sealed(s))
		return;
	seal_entry(im, bytes, &r->entry[n - 1]);
	seal_list(im, r);
}

void fuzz_edit_redo(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s)
{
	struct fmt_redo *r = list(im, bytes);

	if (s->field % 4 == 0 || !r)
		return add_block(im, bytes, s);
	if (s->field % 4 == 1)
		return add_entry(im, bytes, s, r);
	if (s->field % 4 == 2)
		return edit_list(im, bytes, s, r);
	edit_content(im, bytes, s, r);
}

/* ---- the undo file */

static void undo_head(const struct fuzz_image *im, const struct fuzz_step *s, unsigned count, struct undo_head *h)
{
	static const uint8_t fields[] = {0, offsetof(struct undo_head, uuid), offsetof(struct undo_head, bytes),
					 offsetof(struct undo_head, count), offsetof(struct undo_head, id)};
	uint8_t *at = (uint8_t *)h + fields[s->aux % sizeof(fields)];

	*h = (struct undo_head){.bytes = le64_of(im->geo.bytes), .count = le64_of(count), .id = le64_of(UNDO_ID)};
	memcpy(h->magic, UNDO_MAGIC, sizeof(h->magic));
	memcpy(h->uuid, im->geo.uuid, sizeof(h->uuid));
	if (s->field & 1)
		put_word(at, fuzz_value(im, s, get_word(at), s->value));
	h->csum = le64_of(undo_head_csum(h));
}

static void undo_block(const struct fuzz_image *im, const uint8_t *bytes, const struct fuzz_step *s, struct undo_block *b)
{
	uint64_t to = some_block(im, s, s->object);

	b->block = le64_of(s->field & 2 ? fuzz_value(im, s, to, s->value) : to);
	content(im, s, to, b->old);
	b->repaired = le64_of(hash_bytes(bytes + (to % im->geo.nblocks << HF_BLOCK_SHIFT), HF_BLOCK_SIZE, to));
	b->csum = le64_of(undo_block_csum(b));
	if (!fuzz_sealed(s))
		put_word((uint8_t *)b + 8 * (s->aux % 3), s->value);
}

/* The last repair's file is this one, says a superblock that is sound and not marked. */
static void sign_super(uint8_t *at)
{
	struct fmt_super *s = (struct fmt_super *)(void *)at;

	if (le64_get(s->csum) != geo_super_csum(s) || le64_get(s->incompat) & FMT_INCOMPAT_REPAIR)
		return;
	s->repair_undo = le64_of(UNDO_ID);
	seal_super(at);
}

bool fuzz_undo_file(const struct fuzz_image *im, uint8_t *bytes, const struct fuzz_step *s, unsigned n, int to)
{
	static struct undo_block b;
	const struct fuzz_step *first = NULL;
	struct undo_head h;
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		if (s[i].kind != FUZZ_UNDO)
			continue;
		first = first ? first : &s[i];
		count++;
	}
	if (!first)
		return false;
	sign_super(bytes);
	sign_super(bytes + FUZZ_BYTES - HF_BLOCK_SIZE);
	undo_head(im, first, count, &h);
	FUZZ_MUST(ftruncate(to, 0) == 0 && pwrite(to, &h, sizeof(h), 0) == (ssize_t)sizeof(h), "no memory");
	FUZZ_MUST(lseek(to, sizeof(h), SEEK_SET) == (off_t)sizeof(h), "no memory");
	for (unsigned i = 0; i < n; i++) {
		if (s[i].kind != FUZZ_UNDO)
			continue;
		undo_block(im, bytes, &s[i], &b);
		FUZZ_MUST(write(to, &b, sizeof(b)) == (ssize_t)sizeof(b), "no memory");
	}
	return true;
}
