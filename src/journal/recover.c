/* Recovery: what is committed and not yet known to be in place is applied again, in the order of
 * the numbers. */
#include "journal/internal.h"

#include <stdlib.h>

struct found {
	uint64_t seq;
	uint32_t lane, half;
	uint64_t off; /* in its half */
	size_t at;    /* in the scan's bytes */
};

struct scan {
	const struct pm *pm;
	struct pm *settle; /* the same, if what is believed has to be made durable first; else NULL */
	const struct geo *geo;
	uint64_t above; /* records up to this number are not kept */
	uint64_t c;
	uint8_t *half_buf;
	uint8_t *bytes; /* the records, each at an 8-aligned place */
	size_t nbytes, bytes_cap;
	struct found *rec;
	size_t nrec, rec_cap;
};

static void scan_free(struct scan *s)
{
	free(s->half_buf);
	free(s->bytes);
	free(s->rec);
}

static int grow(void **array, size_t *cap, size_t want, size_t size)
{
	size_t n = *cap ? *cap : 64;
	void *p;

	if (want <= *cap)
		return 0;
	while (n < want)
		n *= 2;
	p = realloc(*array, n * size);
	if (!p)
		return err_set(-ENOMEM, "journal: out of memory while reading the lanes");
	*array = p;
	*cap = n;
	return 0;
}

static int scan_keep(struct scan *s, const struct fmt_record *r, uint32_t lane, uint32_t half,
		     uint64_t off)
{
	uint32_t bytes = le32_get(r->bytes);
	int err = grow((void **)&s->bytes, &s->bytes_cap, s->nbytes + bytes, 1);

	if (!err)
		err = grow((void **)&s->rec, &s->rec_cap, s->nrec + 1, sizeof(s->rec[0]));
	if (err)
		return err;
	memcpy(s->bytes + s->nbytes, r, bytes);
	s->rec[s->nrec++] = (struct found){le64_get(r->seq), lane, half, off, s->nbytes};
	s->nbytes += bytes;
	return 0;
}

static const struct fmt_record *scan_record(const struct scan *s, const struct found *f)
{
	return (const struct fmt_record *)(const void *)(s->bytes + f->at);
}

/* The record at 'off' of the half in half_buf, or NULL. The checksum's seed has the place and the
 * volume's secret: bytes of a user inside another record (I-JNL-7), or of an older format
 * (I-JNL-14), are none. */
static const struct fmt_record *record_at(const struct scan *s, uint32_t lane, uint32_t half,
					  uint64_t off)
{
	uint64_t room = s->geo->lane_bytes / 2 - off;
	const struct fmt_record *r = (const struct fmt_record *)(const void *)(s->half_buf + off);
	uint64_t bytes = le32_get(r->bytes), seq = le64_get(r->seq);

	if (bytes < HF_LINE || bytes % HF_LINE != 0 || bytes > FMT_RECORD_MAX || bytes > room)
		return NULL;
	if (seq == 0 || seq >> 56 != 0 || le32_get(r->items) > (bytes - RECORD_HEAD) / 16)
		return NULL;
	if (le64_get(r->csum) !=
	    hash_bytes((const uint8_t *)r + 8, bytes - 8, fmt_record_seed(s->geo, lane, half, off)))
		return NULL;
	return r;
}

/* Walks a half from its start while records are valid and their numbers rise. What follows is the
 * remains of an older lap and at most one torn record, all below C or invalid: a valid one above C
 * there means that one before it was damaged, and committed changes would be lost in the middle
 * (I-JNL-7). */
static int scan_half(struct scan *s, uint32_t lane, uint32_t half)
{
	uint64_t half_bytes = s->geo->lane_bytes / 2, off = 0, last = 0;
	const struct fmt_record *r;
	int err;

	if (pm_guarded_read(s->pm, s->half_buf, lane_off(s->geo, lane, half), half_bytes) != 0)
		return err_set(
		    -EIO, "journal: lane %u cannot be read (poisoned media): run fsck.holdfast",
		    lane);
	for (; off < half_bytes; off += le32_get(r->bytes)) {
		r = record_at(s, lane, half, off);
		if (!r || le64_get(r->seq) <= last)
			break;
		last = le64_get(r->seq);
		if (last <= s->above)
			continue;
		err = scan_keep(s, r, lane, half, off);
		if (err)
			return err;
	}
	for (; off < half_bytes; off += HF_LINE) {
		r = record_at(s, lane, half, off);
		if (r && le64_get(r->seq) > s->c)
			return err_set(
			    -EBADMSG,
			    "journal: lane %u, half %u: record %llu at %llu stands behind a "
			    "damaged one (run fsck.holdfast)",
			    lane, half, (unsigned long long)le64_get(r->seq),
			    (unsigned long long)off);
	}
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* The last record of a lane counts if its data are there (I-JNL-16): else it is the one that the crash cut off. */
static int drop_unfenced(struct scan *s, uint32_t lane)
{
	size_t last = s->nrec;
	int there;

	for (size_t i = s->nrec; i-- > 0 && s->rec[i].lane == lane;)
		if (last == s->nrec || s->rec[i].seq > s->rec[last].seq)
			last = i;
	if (last == s->nrec || s->rec[last].seq <= s->c)
		return 0; /* its data may have changed since, or be bad media */
	there = data_is_there(s->pm, s->geo, scan_record(s, &s->rec[last]), s->settle);
	if (there == 0)
		s->rec[last] = s->rec[--s->nrec];
	return there < 0 ? there : 0;
}

/* Reads all lanes; keeps, in the order of their numbers, the records above 'above'. On -EBADMSG
 * what was found before the damage is kept. */
static int scan_lanes(struct scan *s)
{
	int err = 0;

	s->half_buf = malloc(s->geo->lane_bytes / 2);
	if (!s->half_buf)
		return err_set(-ENOMEM, "journal: out of memory while reading the lanes");
	for (uint32_t lane = 0; lane < s->geo->nlanes; lane++) {
		for (uint32_t half = 0; half < 2; half++) {
			int e = scan_half(s, lane, half);

			if (e && e != -EBADMSG)
				return e;
			if (e)
				err = e;
		}
		if (!err)
			err = drop_unfenced(s, lane);
		if (err && err != -EBADMSG)
			return err;
	}
	if (s->nrec > 0)
		qsort(s->rec, s->nrec, sizeof(s->rec[0]), by_seq);
	return err;
}

/* Above C each number was taken once, and at a crash at most one per lane had no record yet. */
static int check_numbers(const struct scan *s)
{
	uint64_t max, missing, prev = s->c;

	for (size_t i = 0; i < s->nrec; i++) {
		if (s->rec[i].seq == prev && prev > s->c)
			return err_set(
			    -EBADMSG,
			    "journal: two records have the number %llu (run fsck.holdfast)",
			    (unsigned long long)prev);
		prev = s->rec[i].seq;
	}
	if (s->nrec == 0)
		return 0;
	max = s->rec[s->nrec - 1].seq;
	missing = max - s->c - s->nrec;
	if (missing > s->geo->nlanes)
		return err_set(-EBADMSG,
			       "journal: %llu of the numbers %llu to %llu are missing, %u lanes "
			       "cannot explain "
			       "that (run fsck.holdfast)",
			       (unsigned long long)missing, (unsigned long long)(s->c + 1),
			       (unsigned long long)max, s->geo->nlanes);
	return 0;
}

/* Durability: all lines of d are on the media. */
static int flush_applied(struct journal *j, struct dirty *d, uint64_t head)
{
	uint64_t lines = 0;
	int err;

	dirty_new_round(j->filter);
	err = dirty_flush(j->pm, d, head, j->filter, &lines);
	if (err)
		return err;
	atomic_store_explicit(&d->tail, head, memory_order_relaxed);
	atomic_store_explicit(&d->head, head, memory_order_relaxed);
	return pm_fence(j->pm);
}

/* All items of all records were checked before: either all of it is applied or none. */
static int apply_all(struct journal *j, const struct scan *s, uint64_t max_entries)
{
	struct dirty d;
	uint64_t pos = 0;
	int err = dirty_init(&d, max_entries);

	if (err)
		return err;
	for (size_t i = 0; i < s->nrec && !err; i++) {
		const struct fmt_record *r = scan_record(s, &s->rec[i]);

		if (dirty_room(&d) < max_entries)
			err = flush_applied(j, &d, pos);
		if (err)
			break;
		apply_items(j->pm, &d, &pos, (const uint8_t *)r + RECORD_HEAD, le32_get(r->items));
		atomic_store_explicit(&d.head, pos, memory_order_relaxed);
	}
	if (!err)
		err = flush_applied(j, &d, pos);
	dirty_free(&d);
	return err;
}

/* A flush of a page that the kernel took away (poison, a file cut short) faults like a load, and no
 * guard is around it: so each page is looked at first. */
static int look_at_pages(const struct pm *pm, moff_t off, uint64_t len)
{
	uint64_t word;

	for (uint64_t i = 0; i < len; i += HF_BLOCK_SIZE) {
		int err = pm_guarded_read(pm, &word, moff_add(off, i), sizeof(word));

		if (err)
			return err_prefix(err, "journal (run fsck.holdfast)");
	}
	return 0;
}

static int settle(struct pm *pm, moff_t off, uint64_t len)
{
	int err = look_at_pages(pm, off, len);

	return err ? err : pm_flush(pm, off, len);
}

/* I-JNL-4: what a killed process left may be in the caches only. It is made durable before it is
 * believed: else half of a record could be applied, reach the media by eviction, and the record
 * itself be lost with the power. */
static int settle_journal(struct journal *j)
{
	const struct geo *g = &j->geo;
	int err = settle(j->pm, g->lanes_off, g->nlanes * g->lane_bytes);

	if (!err)
		err = settle(j->pm, mblk_to_moff(MBLK(FMT_BLK_CKPT0)), 2ull * HF_BLOCK_SIZE);
	return err ? err : pm_fence(j->pm);
}

static int check_items(const struct scan *s, uint64_t *max_entries)
{
	for (size_t i = 0; i < s->nrec; i++) {
		uint64_t entries;
		int err = apply_check(s->geo, scan_record(s, &s->rec[i]), &entries);

		if (err)
			return err;
		*max_entries = max_u64(*max_entries, entries);
	}
	return 0;
}

static int recover_scanned(struct journal *j, struct scan *s)
{
	uint64_t max_entries = 1, c;
	int err = scan_lanes(s);

	if (!err)
		err = check_numbers(s);
	if (!err)
		err = check_items(s, &max_entries);
	if (err)
		return err;
	/* I-JNL-13: above every number that was taken, also by the transactions that the crash cut off, one per lane at
	 * most. What is there of their records could become whole: by a later record in their place that has the same
	 * bytes in the lines that are missing, and is itself cut off. Then their numbers must be none that count. */
	c = (s->nrec ? s->rec[s->nrec - 1].seq : s->c) + s->geo->nlanes;
	if (j->read_only && s->nrec > 0)
		return err_set(-EROFS,
			       "the journal has %zu transactions to replay: mount read-write once",
			       s->nrec);
	if (!j->read_only) {
		if (s->nrec > 0)
			err = apply_all(j, s, max_entries);
		/* I-JNL-4: also when nothing was replayed: the C that was read may have been in the
		 * cache only. */
		if (!err)
			err = ckpt_write_c(j->pm, &j->geo, JSEQ(c));
		if (err == -ENOMEM)
			return err_set(err, "journal: out of memory during recovery");
		if (err)
			return err_set(-EIO, "journal: flushing failed during recovery");
	}
	j->replayed = s->nrec;
	atomic_store(&j->published, c);
	atomic_store(&j->next, c + 1);
	return 0;
}

/* Durability: every committed transaction is in place, C says so, and no record will be replayed
 * again. Crash: anywhere: the records above the C on the media are all still there, and applying
 * them again gives the same. */
int recover_run(struct journal *j)
{
	struct scan s = {.pm = j->pm, .geo = &j->geo};
	jseq_t c;
	int err = 0;

	if (!j->read_only)
		err = settle_journal(j);
	if (err)
		return err_prefix(err, "journal: the lanes cannot be made durable");
	err = ckpt_read_c(j->pm, &j->geo, &c);
	if (err)
		return err;
	s.c = s.above = c.v;
	s.settle = j->read_only ? NULL : j->pm;
	err = recover_scanned(j, &s);
	scan_free(&s);
	return err;
}

int journal_walk(const struct pm *pm, const struct geo *geo,
		 int (*fn)(void *ctx, uint32_t lane, uint32_t half, uint64_t off,
			   const struct fmt_record *r),
		 void *ctx)
{
	struct scan s = {.pm = pm, .geo = geo};
	jseq_t c = JSEQ(0);
	int err = ckpt_read_c(pm, geo, &c), stopped = 0, damage;

	s.c = c.v;
	damage = scan_lanes(&s);
	if (damage == -EBADMSG || damage == 0) {
		for (size_t i = 0; i < s.nrec && !stopped; i++)
			stopped = fn(ctx, s.rec[i].lane, s.rec[i].half, s.rec[i].off,
				     scan_record(&s, &s.rec[i]));
	}
	scan_free(&s);
	if (stopped)
		return stopped;
	return err ? err : damage;
}

int journal_read_c(const struct pm *pm, const struct geo *geo, jseq_t *out)
{
	return ckpt_read_c(pm, geo, out);
}
