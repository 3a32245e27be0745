/* Both superblocks, the checkpoint words, the journal. */
#include "check/check.h"
#include "check/image.h"

static moff_t super_off(const struct check *c, uint32_t copy)
{
	return geo_super_off(&c->geo, copy);
}

static const struct fmt_super *super_at(const struct check *c, uint32_t copy)
{
	return (const struct fmt_super *)pm_at(c->pm, super_off(c, copy));
}

/* Of device i: the superblock at its beginning. */
static bool head_sound(const struct check *c, uint32_t i)
{
	uint32_t copy = geo_head_copy(i);

	if (geo_verify_super(super_at(c, copy), c->pm->size, copy) == 0)
		return true;
	err_clear();
	return false;
}

static void super_unmark(struct fmt_super *s, uint32_t copy)
{
	s->copy = le32_of(copy);
	if (copy > FMT_COPY_LAST || le64_get(s->incompat) & FMT_INCOMPAT_REPAIR)
		s->repair_undo = le64_of(0);
	s->incompat = le64_of(le64_get(s->incompat) & ~FMT_INCOMPAT_REPAIR);
	s->repair = le64_of(0);
	s->csum = le64_of(geo_super_csum(s));
}

/* From the other one, without the mark of an interrupted repair. */
static void super_put(struct check *c, uint32_t copy, uint32_t from)
{
	struct fmt_super s = *super_at(c, from);

	super_unmark(&s, copy);
	if (copy != from)
		s.stamp = copy == FMT_COPY_FIRST ? geo_stamp_first(c->pm, &c->geo) : le64_of(0);
	check_put(c, super_off(c, copy), &s, sizeof(s));
}

/* The first one, as it is at the beginning of device i; but that says the size that the volume had when it was written. */
static bool device_told(const struct check *c, uint32_t i, const struct fmt_super *want)
{
	const struct fmt_super *now = super_at(c, FMT_COPY_OF(i));
	struct fmt_super s = *now;
	uint32_t last = c->geo.ndevices - 1;

	if (!head_sound(c, i))
		return false;
	s.stamp = want->stamp;
	if (memcmp(want, &s, sizeof(*want)) == 0)
		return true;
	s.bytes = want->bytes;
	s.alloc_off = want->alloc_off;
	s.incompat = le64_of(le64_get(s.incompat) | (le64_get(want->incompat) & FMT_INCOMPAT_GROWN));
	s.devices[last].frames = want->devices[last].frames;
	s.csum = le64_of(geo_super_csum(&s));
	return memcmp(want, &s, sizeof(s)) == 0;
}

/* The other devices': as the one that counts, which is the first from here on. */
static void check_devices(struct check *c)
{
	struct fmt_super want;
	uint32_t i;

	for (i = 1; i < c->geo.ndevices; i++) {
		want = *super_at(c, FMT_COPY_FIRST);
		super_unmark(&want, FMT_COPY_OF(i));
		if (!device_told(c, i, &want) &&
		    check_mend(c, CHECK_MEND_SAFE, "it was written from the first", "superblock", 0, super_off(c, FMT_COPY_OF(i)).v,
			       "the superblock of device %u is damaged", i + 1))
			check_put(c, super_off(c, FMT_COPY_OF(i)), &want, sizeof(want));
	}
}

/* Of device i's superblock against device ref's, which is the first one's or, if that is damaged, another: as geo_stamp_compare(). */
static int stamp_age(const struct check *c, uint32_t ref, uint32_t i)
{
	return geo_stamp_compare(super_at(c, geo_head_copy(ref)), super_at(c, geo_head_copy(i)));
}

static void put_stamps(struct check *c, uint64_t newer)
{
	uint64_t stamp = geo_stamp_settled(c->pm, &c->geo, newer);
	uint32_t i;

	for (i = 0; i < c->geo.ndevices; i++)
		check_put64(c, moff_add(super_off(c, geo_head_copy(i)), offsetof(struct fmt_super, stamp)), stamp);
}

/* A superblock that is damaged (and was not mended) says nothing. */
static void check_stamps(struct check *c)
{
	uint32_t ref = 0, i;
	bool mend = false;

	while (ref < c->geo.ndevices && !head_sound(c, ref))
		ref++;
	for (i = ref + 1; i < c->geo.ndevices && !mend; i++) {
		int age = head_sound(c, i) ? stamp_age(c, ref, i) : 0;

		if (age != 0)
			mend = check_mend(c, CHECK_MEND_ALL, "it was taken as it is", "superblock", 0, super_off(c, FMT_COPY_OF(i)).v,
					  "device %u is an older state than device %u: the volume was mounted without it since",
					  age < 0 ? i + 1 : ref + 1, age < 0 ? ref + 1 : i + 1);
	}
	if (mend)
		put_stamps(c, 0);
}

void check_stamp_repair(struct check *c)
{
	uint32_t i;

	for (i = 0; i < c->geo.ndevices; i++)
		if (!head_sound(c, i) || (i && stamp_age(c, 0, i) != 0))
			return;
	if (c->geo.ndevices > 1)
		put_stamps(c, 1);
}

/* The volume is known, so at least one of them verifies. */
static void check_supers(struct check *c)
{
	const size_t same_from = offsetof(struct fmt_super, compat), unlike = offsetof(struct fmt_super, stamp);
	const struct fmt_super *s[2] = {super_at(c, 0), super_at(c, 1)};
	const char *b[2] = {(const char *)s[0], (const char *)s[1]};
	bool ok[2];
	uint32_t i;

	for (i = 0; i < 2; i++)
		ok[i] = geo_verify_super(s[i], c->pm->size, i) == 0;
	for (i = 0; i < 2; i++) {
		if (ok[i])
			continue;
		(void)geo_verify_super(s[i], c->pm->size, i);
		if (check_mend(c, CHECK_MEND_SAFE, i ? "it was written from the first" : "it was written from the second",
			       "superblock", 0, super_off(c, i).v, "superblock %u: %s", i, err_msg()))
			super_put(c, i, !i);
	}
	if (!ok[0] || !ok[1])
		return;
	if ((le64_get(s[0]->incompat) & FMT_INCOMPAT_REPAIR) &&
	    check_mend(c, CHECK_MEND_ALL, "what stands there was verified and repaired as it is", "superblock", 0, 0,
		       "a repair was interrupted, and what it wrote is not known in full")) {
		super_put(c, 0, 0);
		super_put(c, 1, 0);
		return;
	}
	if ((memcmp(b[0] + same_from, b[1] + same_from, unlike - same_from) != 0 ||
	     memcmp(b[0] + unlike + 8, b[1] + unlike + 8, sizeof(*s[0]) - unlike - 8) != 0) &&
	    check_mend(c, CHECK_MEND_SAFE, "the second was written from the first", "superblock", 0, super_off(c, 1).v,
		       "the two superblocks differ"))
		super_put(c, 1, 0);
}

void check_super(struct check *c)
{
	moff_t off[2] = {mblk_to_moff(MBLK(FMT_BLK_CKPT0)), mblk_to_moff(MBLK(FMT_BLK_CKPT1))};
	jseq_t seq[2];
	bool ok[2];
	uint32_t i;

	check_progress(c, "superblock", 0, 1);
	check_supers(c);
	if (head_sound(c, 0))
		check_devices(c);
	check_stamps(c);
	for (i = 0; i < 2; i++)
		ok[i] = fmt_ckpt_decode(&c->geo, pm_load64(c->pm, off[i]), &seq[i]);
	for (i = 0; i < 2; i++) {
		if (ok[i])
			continue;
		if (!ok[!i])
			check_find(c, "journal", 0, off[i].v, "checkpoint word %u is damaged", i);
		else if (check_mend(c, CHECK_MEND_SAFE, "it was written from the other one", "journal", 0, off[i].v,
				    "checkpoint word %u is damaged", i))
			check_put64(c, off[i], pm_load64(c->pm, off[!i]));
	}
	check_progress(c, "superblock", 1, 1);
}

/* The lanes are emptied: no record of theirs will ever be read, so any number will do for C; the larger one that there is. */
static void journal_discard(struct check *c)
{
	static const uint8_t zero[HF_BLOCK_SIZE];
	uint64_t off, end = c->geo.lanes_off.v + c->geo.nlanes * c->geo.lane_bytes;
	jseq_t seq = JSEQ(0);
	uint64_t raw;

	(void)journal_read_c(c->pm, &c->geo, &seq);
	raw = fmt_ckpt_encode(&c->geo, seq);
	for (off = c->geo.lanes_off.v; off < end; off += HF_BLOCK_SIZE)
		if (memcmp(pm_at(c->pm, MOFF(off)), zero, sizeof(zero)) != 0)
			check_put(c, MOFF(off), zero, sizeof(zero));
	check_put64(c, mblk_to_moff(MBLK(FMT_BLK_CKPT0)), raw);
	check_put64(c, mblk_to_moff(MBLK(FMT_BLK_CKPT1)), raw);
	*c->img->journal_error = '\0';
}

/* Records that cannot be replayed as they were committed are not replayed at all: with one missing in the middle, those behind it
 * could do more harm than the loss of all. What was in place is verified and repaired. */
void check_journal(struct check *c)
{
	const char *error = c->img ? check_image_journal_error(c->img) : NULL;

	if (!error)
		return;
	if (check_mend(c, CHECK_MEND_ALL, "its records were discarded: the last changes before the crash may be lost", "journal", 0,
		       c->geo.lanes_off.v, "%s", error))
		journal_discard(c);
}
