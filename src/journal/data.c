/* Records that vouch for data: an append with one fence.
 *
 * Where a record must not count before the data that it speaks of are on the media, a fence comes first (txn_fence_first). A
 * record with FMT_ITEM_DATA has the data's hash instead, and both are made durable by the record's fence. After a crash the
 * last record of a lane counts only if its data are there; every other one was fenced before the lane's next one was
 * written. So before data change for which a lane's last record vouches, the lane gets a record without changes: it is
 * sealed (I-JNL-16).
 *
 * What seals must hold the locks under which the data would be changed, from before: then nobody opens another lane. */
#include "journal/internal.h"

#define OPEN_LANE_SHIFT 56

static struct lane *open_lane(const struct journal *j, jopen_t mark)
{
	return &j->lanes[mark >> OPEN_LANE_SHIFT];
}

static uint64_t open_seq(jopen_t mark)
{
	return mark & ((1ull << OPEN_LANE_SHIFT) - 1);
}

jopen_t lane_open_mark(const struct lane *l, uint64_t seq)
{
	static_assert(FMT_LANES_MAX <= 1u << (64 - OPEN_LANE_SHIFT), "");
	return (uint64_t)l->index << OPEN_LANE_SHIFT | seq;
}

bool journal_is_open(const struct journal *j, jopen_t mark)
{
	return mark != 0 &&
	       atomic_load_explicit(&open_lane(j, mark)->open, memory_order_acquire) == open_seq(mark) &&
	       atomic_load_explicit(&j->published, memory_order_acquire) < open_seq(mark);
}

bool journal_may_open(const struct journal *j, jopen_t mark)
{
	return !journal_is_open(j, mark) || open_lane(j, mark) == lane_mine(j);
}

/* The lane, claimed, with room for an empty record; NULL: it is not open any more. Whoever has it now may be about to write
 * its next record: nothing counts as sealed before that is durable. */
static int seal_claim(struct journal *j, jopen_t mark, struct lane **out, bool *kick)
{
	struct lane *l = open_lane(j, mark);

	*out = NULL;
	while (journal_is_open(j, mark)) {
		int err = 0;

		/* A lane whose fence failed stays claimed for good. */
		if (atomic_load_explicit(&j->shutdown_err, memory_order_relaxed) != 0)
			return journal_refuse(j);
		if (!lane_try(l)) {
			lock_yield();
			continue;
		}
		if (journal_is_open(j, mark) && lane_make_room(j, l, HF_LINE, 0, kick)) {
			*out = l;
			return 0;
		}
		lane_release(l);
		if (journal_is_open(j, mark))
			err = ckpt_make_room(j);
		if (err)
			return err;
	}
	return 0;
}

/* Durability: on return 0 a record follows in the lane, or C is as far.
 * Crash: before that the one with data is the last, and its data are as they were. */
int journal_seal(struct journal *j, jopen_t mark)
{
	_Alignas(HF_LINE) uint8_t empty[HF_LINE] = {0};
	bool kick = false;
	struct lane *l;
	int err = seal_claim(j, mark, &l, &kick);

	if (err || !l)
		return err;
	err = lane_write(j, l, lane_take_number(j, l), empty, sizeof(empty));
	if (err) {
		journal_shutdown(j, err); /* I-JNL-10, as for any record */
		return err_set(-EIO, "a record could not be flushed; the volume takes no more changes until it is mounted again");
	}
	lane_done(l, sizeof(empty), 0);
	if (kick)
		ckpt_kick(j);
	return 0;
}

int journal_seal_all(struct journal *j)
{
	int err = 0;

	for (uint32_t i = 0; i < j->geo.nlanes && !err; i++) {
		struct lane *l = &j->lanes[i];
		uint64_t seq = atomic_load_explicit(&l->open, memory_order_acquire);

		if (seq)
			err = journal_seal(j, lane_open_mark(l, seq));
	}
	return err;
}

#ifdef HF_DEBUG_LOCKS
void data_remember(struct lane *l, const uint8_t *p, uint32_t n)
{
	l->ndata = 0;
	for (; n-- > 0; p += apply_item_bytes(p)) {
		le64_t w[3];

		memcpy(w, p, 16);
		if (FMT_ITEM_KIND(le64_get(w[0])) != FMT_ITEM_DATA)
			continue;
		memcpy(w, p, sizeof(w));
		HF_ASSERT(l->ndata < sizeof(l->data) / sizeof(l->data[0]));
		l->data[l->ndata].off = MOFF(FMT_ITEM_OFF(le64_get(w[0])));
		l->data[l->ndata].len = (uint32_t)le64_get(w[1]);
		l->data[l->ndata++].hash = le64_get(w[2]);
	}
}

void data_unchanged(const struct journal *j, const struct lane *l)
{
	jopen_t mark = lane_open_mark(l, atomic_load(&l->open));
	uint8_t bytes[FMT_ITEM_DATA_MAX];

	for (uint32_t i = 0; i < l->ndata && atomic_load(&l->open); i++) {
		const struct data_at *d = &l->data[i];
		bool same = pm_guarded_read(j->pm, bytes, d->off, d->len) != 0 || data_hash(&j->geo, bytes, d->len) == d->hash;

		HF_ASSERT(same || !journal_is_open(j, mark));
	}
}
#endif

/* ---- after a crash */

static int piece_is_there(const struct pm *pm, const struct geo *g, const uint8_t *item, struct pm *settle)
{
	uint8_t bytes[FMT_ITEM_DATA_MAX];
	le64_t w[3];
	uint64_t len;
	moff_t off;
	int err;

	memcpy(w, item, sizeof(w));
	off = MOFF(FMT_ITEM_OFF(le64_get(w[0])));
	len = le64_get(w[1]);
	/* Bad media: to drop the record could be to drop what has returned. Reading it is -EIO. */
	if (pm_guarded_read(pm, bytes, off, len) != 0) {
		err_clear();
		return 1;
	}
	err = settle ? pm_flush(settle, off, len) : 0;
	if (!err && settle)
		err = pm_fence(settle);
	if (err)
		return err_set(-EIO, "journal: the data of the last change cannot be made durable");
	return data_hash(g, bytes, (uint32_t)len) == le64_get(w[2]);
}

int data_is_there(const struct pm *pm, const struct geo *g, const struct fmt_record *r, struct pm *settle)
{
	const uint8_t *p = (const uint8_t *)r + RECORD_HEAD;
	uint64_t entries;
	int there = 1;

	if (apply_check(g, r, &entries) != 0)
		return 1; /* a damaged one is refused as such */
	for (uint32_t n = le32_get(r->items); n-- > 0 && there == 1; p += apply_item_bytes(p)) {
		le64_t head;

		memcpy(&head, p, sizeof(head));
		if (FMT_ITEM_KIND(le64_get(head)) == FMT_ITEM_DATA)
			there = piece_is_there(pm, g, p, settle);
	}
	return there;
}
