/* Are all devices of a volume of the same age? A backup of one of them, put back beside the others of today, has a superblock that fits;
 * what it holds does not. So who mounts a volume of several devices to write gives it a new number, the stamp, at the beginning of each
 * of its devices; devices that do not have the same one were not together at the last mount. The idea is that of a volume manager's
 * event counter.
 *
 * A stamp is one word, outside the superblock's checksum, with a check of its own: it is stored in one piece. 0: there was no mount yet.
 * A superblock with a damaged one is damaged. The second copy has none.
 * Even: settled. The first device says what the others must have:
 *
 *   1. the first device's: odd, one more than it was; fence. From here on the others may have one less or one more;
 *   2. the others': one more; fence;
 *   3. the first device's: the same; fence.
 *
 * It comes before recovery, and before anything is changed: until 3 nothing was, so that those that have one less are not older.
 * A growth does the same. A repair numbers all of them in one with what it writes.
 */
#include "format/geo.h"
#include "base/error.h"

static uint64_t stamp_check(uint64_t seed, uint64_t v)
{
	return 1 + hash_mix2(seed ^ 0x7374616d70ull, v) % 255;
}

static uint64_t stamp_encode(uint64_t seed, uint64_t v)
{
	return v | stamp_check(seed, v) << 56;
}

/* False: damaged. */
static bool stamp_decode(uint64_t seed, uint64_t raw, uint64_t *v)
{
	*v = raw & 0x00ffffffffffffffull;
	return raw == 0 || raw >> 56 == stamp_check(seed, *v);
}

bool geo_stamp_ok(const struct fmt_super *s)
{
	uint64_t raw = le64_get(s->stamp), v;

	if (le32_get(s->ndevices) < 2 || le32_get(s->copy) == FMT_COPY_LAST)
		return raw == 0;
	return stamp_decode(le64_get(s->seed), raw, &v);
}

int geo_stamp_compare(const struct fmt_super *first, const struct fmt_super *s)
{
	uint64_t seed = le64_get(first->seed), want, is;

	(void)stamp_decode(seed, le64_get(first->stamp), &want);
	(void)stamp_decode(seed, le64_get(s->stamp), &is);
	if (is == want || (want & 1 && (is + 1 == want || is == want + 1)))
		return 0;
	return is < want ? -1 : 1;
}

static moff_t super_off(const struct geo *g, uint32_t i)
{
	return geo_super_off(g, geo_head_copy(i));
}

/* False: it cannot be read. */
static bool super_read(const struct pm *pm, const struct geo *g, uint32_t i, struct fmt_super *s)
{
	int err = pm_guarded_read(pm, s, super_off(g, i), sizeof(*s));

	if (err)
		err_clear();
	return err == 0;
}

/* What device i says; one that is damaged says nothing. */
static bool stamp_of(const struct pm *pm, const struct geo *g, uint32_t i, uint64_t *v)
{
	struct fmt_super s;

	if (!super_read(pm, g, i, &s))
		return false;
	if (geo_verify_super(&s, pm->size, geo_head_copy(i)) != 0) {
		err_clear();
		return false;
	}
	return stamp_decode(g->seed, le64_get(s.stamp), v);
}

/* The first device's or, if its superblock is damaged, the others' largest: unless the word that is left there fits them all, as it
 * does if a stamping was interrupted. */
static uint64_t stamp_first(const struct pm *pm, const struct geo *g)
{
	uint64_t v, low = UINT64_MAX, high = 0;
	struct fmt_super s;

	if (stamp_of(pm, g, 0, &v))
		return v;
	for (uint32_t i = 1; i < g->ndevices; i++) {
		if (!stamp_of(pm, g, i, &v))
			continue;
		low = min_u64(low, v);
		high = max_u64(high, v);
	}
	if (low != UINT64_MAX && super_read(pm, g, 0, &s) && stamp_decode(g->seed, le64_get(s.stamp), &v) && v & 1 &&
	    low + 1 >= v && high <= v + 1)
		return v;
	return high;
}

le64_t geo_stamp_first(const struct pm *pm, const struct geo *g)
{
	return le64_of(g->ndevices > 1 ? stamp_encode(g->seed, stamp_first(pm, g)) : 0);
}

/* Flushed, not fenced. */
static int stamp_put(struct pm *pm, const struct geo *g, uint32_t i, uint64_t v)
{
	moff_t at = moff_add(super_off(g, i), offsetof(struct fmt_super, stamp));

	pm_store64(pm, at, stamp_encode(g->seed, v));
	return pm_flush(pm, at, 8);
}

/* Where bad media is nothing can be put, and nobody will read it. */
static int stamp_put_first(struct pm *pm, const struct geo *g, uint64_t v)
{
	struct fmt_super s;
	int err = super_read(pm, g, 0, &s) ? stamp_put(pm, g, 0, v) : 0;

	return err ? err : pm_fence(pm);
}

int geo_stamp(struct pm *pm, const struct geo *g)
{
	uint64_t v;
	int err;

	if (g->ndevices < 2)
		return 0;
	/* What an interrupted one began is ended: the first device's stays odd, for some of the others may have one less. */
	v = stamp_first(pm, g) | 1;
	err = stamp_put_first(pm, g, v);
	for (uint32_t i = 1; i < g->ndevices && !err; i++)
		err = stamp_put(pm, g, i, v + 1);
	if (!err)
		err = pm_fence(pm);
	if (!err)
		err = stamp_put_first(pm, g, v + 1);
	return err ? err_prefix(err, "writing which devices are together") : 0;
}

uint64_t geo_stamp_settled(const struct pm *pm, const struct geo *g, uint64_t newer)
{
	uint64_t v, largest = 0;

	for (uint32_t i = 0; i < g->ndevices; i++)
		if (stamp_of(pm, g, i, &v))
			largest = max_u64(largest, v);
	return stamp_encode(g->seed, ((largest + 1) & ~1ull) + 2 * newer);
}
