/* What a record says, done in place.
 *
 * I-JNL-6: cached stores only: the checkpointer's flush of these lines then covers them. Replaying
 * a record twice, or a run of records from any one that is not in place yet, gives the same words
 * and bits. */
#include "journal/internal.h"

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Where a transaction may store: not the superblocks, not C, not the lanes, nothing outside the
 * volume. */
bool apply_range_ok(const struct geo *g, uint64_t off, uint64_t len)
{
	uint64_t lanes_end = g->lanes_off.v + g->nlanes * g->lane_bytes;

	if (off < (uint64_t)FMT_BLK_ITNODE * HF_BLOCK_SIZE || off > g->bytes - HF_BLOCK_SIZE ||
	    len > g->bytes - HF_BLOCK_SIZE - off)
		return false;
	for (uint32_t i = 1; g->spread && i < g->ndevices; i++) {
		uint64_t head = mblk_to_moff(g->device_first[i]).v;

		if (off < head + HF_BLOCK_SIZE && off + len > head)
			return false;
	}
	return off + len <= g->lanes_off.v || off >= lanes_end;
}

/* One item at p, with 'left' bytes of the record behind p. Its size in the record, or 0: malformed
 * or out of range. */
static uint64_t check_item(const struct geo *g, const uint8_t *p, uint64_t left, uint64_t *entries)
{
	uint64_t head, off, arg, bytes;

	if (left < 16)
		return 0;
	head = get64(p);
	arg = get64(p + 8);
	off = FMT_ITEM_OFF(head);
	switch (FMT_ITEM_KIND(head)) {
	case FMT_ITEM_SET64:
		*entries += 1;
		return off % 8 == 0 && apply_range_ok(g, off, 8) ? 16 : 0;
	case FMT_ITEM_BITS_SET:
	case FMT_ITEM_BITS_CLEAR:
		if (arg == 0 || arg > g->nblocks)
			return 0;
		bytes = (off % 64 + arg + 63) / 64 * 8;
		*entries += dirty_need(bytes);
		return apply_range_ok(g, off / 64 * 8, bytes) ? 16 : 0;
	case FMT_ITEM_COPY:
		if (arg == 0 || arg % 8 != 0 || arg > left - 16)
			return 0;
		*entries += dirty_need(arg);
		return off % 8 == 0 && apply_range_ok(g, off, arg) ? 16 + arg : 0;
	case FMT_ITEM_DATA:
		if (arg == 0 || arg > FMT_ITEM_DATA_MAX || left < 24)
			return 0;
		return apply_range_ok(g, off, arg) ? 24 : 0;
	default:
		return 0;
	}
}

int apply_check(const struct geo *g, const struct fmt_record *r, uint64_t *entries)
{
	const uint8_t *p = (const uint8_t *)r + RECORD_HEAD;
	uint64_t left = le32_get(r->bytes) - RECORD_HEAD;

	*entries = 0;
	for (uint32_t i = 0; i < le32_get(r->items); i++) {
		uint64_t n = check_item(g, p, left, entries);

		if (n == 0)
			return err_set(
			    -EUCLEAN,
			    "journal: record %llu, change %u of %u: not a change of this volume",
			    (unsigned long long)le64_get(r->seq), i, le32_get(r->items));
		p += n;
		left -= n;
	}
	return 0;
}

static void bits_in_word(struct pm *pm, uint64_t off, uint64_t mask, bool set)
{
	/* I-JNL-3: atomic: the word's other bits belong to other transactions, which hold other
	 * locks. */
	if (set)
		pm_or64(pm, MOFF(off), mask);
	else
		pm_and64(pm, MOFF(off), ~mask);
}

/* Words of which all 64 bits are this transaction's: nobody else stores to them. */
static void bits_whole_words(struct pm *pm, uint64_t off, uint64_t len, bool set)
{
	static const uint64_t ones[64] = {
#define ONES8 ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull
	    ONES8, ONES8, ONES8, ONES8, ONES8,
	    ONES8, ONES8, ONES8
#undef ONES8
	};

	if (!set) {
		pm_zero(pm, MOFF(off), len);
		return;
	}
	while (len > 0) {
		uint64_t n = min_u64(len, sizeof(ones));

		pm_store(pm, MOFF(off), ones, n);
		off += n;
		len -= n;
	}
}

void apply_bits(struct pm *pm, uint64_t bit, uint64_t count, bool set)
{
	uint64_t word = bit / 64 * 8, in_word = bit % 64, n;

	if (!set && count == HF_LINE * 8 && bit % count == 0) { /* a frame that is freed */
		pm_zero_line(pm, MOFF(word));
		return;
	}
	if (in_word != 0 || count < 64) {
		n = min_u64(64 - in_word, count);
		bits_in_word(pm, word, (n == 64 ? ~0ull : (1ull << n) - 1) << in_word, set);
		count -= n;
		word += 8;
	}
	if (count >= 64) {
		bits_whole_words(pm, word, count / 64 * 8, set);
		word += count / 64 * 8;
		count %= 64;
	}
	if (count > 0)
		bits_in_word(pm, word, (1ull << count) - 1, set);
}

/* An inode's words, a directory's tags: each word at once, for who reads one of them under another
 * lock than the one its neighbours change under (a file's size and root are read with its content
 * lock held, its link count changes under the layout lock). */
static void copy_words(struct pm *pm, uint64_t off, const uint8_t *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8)
		pm_store64(pm, MOFF(off + i), get64(p + i));
}

void apply_prefetch(struct pm *pm, const uint8_t *items, uint32_t n)
{
	for (const uint8_t *p = items; n-- > 0; p += apply_item_bytes(p)) {
		uint64_t head = get64(p), off = FMT_ITEM_OFF(head);

		if (FMT_ITEM_KIND(head) == FMT_ITEM_DATA)
			continue;
		if (FMT_ITEM_KIND(head) == FMT_ITEM_BITS_SET || FMT_ITEM_KIND(head) == FMT_ITEM_BITS_CLEAR)
			off /= 8;
		__builtin_prefetch(pm_at(pm, MOFF(off)), 1);
	}
}

void apply_items(struct pm *pm, struct dirty *d, uint64_t *pos, const uint8_t *items, uint32_t n)
{
	for (const uint8_t *p = items; n-- > 0; p += apply_item_bytes(p)) {
		uint64_t head = get64(p), arg = get64(p + 8), off = FMT_ITEM_OFF(head);
		unsigned kind = FMT_ITEM_KIND(head);

		if (kind == FMT_ITEM_DATA)
			continue;
		if (kind == FMT_ITEM_SET64) {
			pm_store64(pm, MOFF(off), arg);
			dirty_add(d, pos, off, 8);
		} else if (kind == FMT_ITEM_COPY) {
			if (arg <= FMT_INODE_SIZE)
				copy_words(pm, off, p + 16, arg);
			else
				pm_store(pm, MOFF(off), p + 16, arg);
			dirty_add(d, pos, off, arg);
		} else {
			apply_bits(pm, off, arg, kind == FMT_ITEM_BITS_SET);
			dirty_add(d, pos, off / 64 * 8, (off % 64 + arg + 63) / 64 * 8);
		}
	}
}
