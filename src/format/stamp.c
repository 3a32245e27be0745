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

static const struct fmt_super *super_of(const struct pm *pm, const struct geo *g, uint32_t i)
{
	return (const struct fmt_super *)pm_at(pm, geo_super_off(g, i ? FMT_COPY_OF(i) : FMT_COPY_FIRST));
}

/* One that is damaged says nothing. */
static uint64_t stamp_largest(const struct pm *pm, const struct geo *g)
{
	uint64_t v, largest = 0;

	for (uint32_t i = 0; i < g->ndevices; i++)
		if (stamp_decode(g->seed, le64_get(super_of(pm, g, i)->stamp), &v))
			largest = max_u64(largest, v);
	return largest;
}

/* Flushed, not fenced. */
static int stamp_put(struct pm *pm, const struct geo *g, uint32_t i, uint64_t v)
{
	moff_t at = moff_add(geo_super_off(g, i ? FMT_COPY_OF(i) : FMT_COPY_FIRST), offsetof(struct fmt_super, stamp));

	pm_store64(pm, at, stamp_encode(g->seed, v));
	return pm_flush(pm, at, 8);
}

static int stamp_put_first(struct pm *pm, const struct geo *g, uint64_t v)
{
	int err = stamp_put(pm, g, 0, v);

	return err ? err : pm_fence(pm);
}

int geo_stamp(struct pm *pm, const struct geo *g)
{
	uint64_t v;
	int err;

	if (g->ndevices < 2)
		return 0;
	/* What an interrupted one began is ended: the first device's stays odd, for some of the others may have one less. */
	if (!stamp_decode(g->seed, le64_get(super_of(pm, g, 0)->stamp), &v))
		v = stamp_largest(pm, g);
	v |= 1;
	err = stamp_put_first(pm, g, v);
	for (uint32_t i = 1; i < g->ndevices && !err; i++)
		err = stamp_put(pm, g, i, v + 1);
	if (!err)
		err = pm_fence(pm);
	if (!err)
		err = stamp_put_first(pm, g, v + 1);
	return err ? err_prefix(err, "writing which devices are together") : 0;
}

uint64_t geo_stamp_settled(const struct pm *pm, const struct geo *g)
{
	return stamp_encode(g->seed, (stamp_largest(pm, g) + 1) & ~1ull);
}
