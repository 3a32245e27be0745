/* A volume takes what its device has become larger by.
 *
 * The allocation lines are in one piece, and what lies behind them is in use. So they move, each time, into what is new: they end
 * where the second superblock begins, which is in the last block. What is written before the first superblock is lies in space that
 * the old volume does not have, and the first superblock is what says which volume there is:
 *
 *   1. the lines; fence;
 *   2. the second superblock, in the new last block; fence;
 *   3. the first superblock; fence. From here on it is the new volume;
 *   4. the old second superblock, whose block is free now, is wiped; fence.
 *
 * Until 3 the first superblock is whole and is believed, so it is the old volume. If 3 leaves it torn, a reader goes to the last
 * block of the device (geo_read), where the new second one has been since 2, and its lines since 1: the new volume. After 3 the first one
 * is believed again. The records of the journal are behind C before 1, so that none names a bit of the old lines.
 *
 * Those at the beginning of further devices stay as they are. They are there to tell the device, and nobody takes the size from them;
 * a torn one would keep the volume from being mounted.
 *
 * What an interrupted growth leaves could do harm later: a new second superblock at the end of the device, while the old volume lives on.
 * Its lines grow stale with the first change, and when the first superblock is damaged one day, a reader would come to it before the
 * old one. So whoever opens the volume to write wipes it before he stores anything (geo_settle): as long as it stands, nothing was
 * changed since it was written, and the two volumes have the same content. A reader may take either. If the first superblock was torn, and
 * the volume goes on with the new one, then what is at the end of the device is the one that counts and not wiped. A device that is
 * made larger once more in between hides it from both; it matters again only if the device is cut down to just that size, and the first
 * superblock is damaged before the next mount.
 */
#include "format/geo.h"
#include "base/error.h"

int geo_grow_to(const struct pm *pm, const struct geo *g, uint64_t *bytes)
{
	uint64_t to = pm->size - pm->size % HF_FRAME_SIZE, own = geo_lines_bytes(to / HF_FRAME_SIZE) + HF_BLOCK_SIZE;

	*bytes = 0;
	if (to <= g->bytes)
		return 0;
	if (to >> HF_BLOCK_SHIFT > 1ull << 40)
		return err_set(-EFBIG, "a volume has at most 4 PiB, the device has %llu bytes", (unsigned long long)pm->size);
	if (own >= to - g->bytes)
		return err_set(-ENOSPC, "the device has %llu KiB more than the volume, of which its own tables would take %llu KiB: make it "
			       "larger", (unsigned long long)(to - g->bytes) >> 10, (unsigned long long)own >> 10);
	*bytes = to;
	return 0;
}

static struct geo grown_geo(const struct geo *g, uint64_t bytes)
{
	struct geo n = *g;

	n.bytes = bytes;
	n.nblocks = bytes / HF_BLOCK_SIZE;
	n.nframes = bytes / HF_FRAME_SIZE;
	n.alloc_off = MOFF(bytes - HF_BLOCK_SIZE - geo_lines_bytes(n.nframes));
	n.end_data = moff_to_mblk(n.alloc_off);
	return n;
}

/* Those of [first, end) that are in word w. */
static uint64_t bits_of(uint64_t w, uint64_t first, uint64_t end)
{
	uint64_t from = max_u64(first, w * 64), to = min_u64(end, w * 64 + 64);

	if (from >= to)
		return 0;
	return (to - from == 64 ? ~0ull : (1ull << (to - from)) - 1) << from % 64;
}

/* As they are, but for what each volume has at its end. Behind the last frame's line, up to the end of the block, they are zero. */
static void grow_lines(struct pm *pm, const struct geo *g, const struct geo *n)
{
	le64_t buf[HF_BLOCK_SIZE / 8];
	uint64_t words = g->nblocks / 64, bytes = geo_lines_bytes(n->nframes);

	for (uint64_t off = 0; off < bytes; off += sizeof(buf)) {
		for (uint64_t i = 0; i < sizeof(buf) / 8; i++) {
			uint64_t w = off / 8 + i, v = w < words ? pm_load64(pm, moff_add(g->alloc_off, w * 8)) : 0;

			v &= ~bits_of(w, g->end_data.v, g->nblocks);
			buf[i] = le64_of(v | bits_of(w, n->end_data.v, n->nblocks));
		}
		pm_copy_nt(pm, moff_add(n->alloc_off, off), buf, sizeof(buf));
	}
}

/* From the first one: what is not of the size stays, as the label, and features that need not be known to write. */
static void grown_super(const struct pm *pm, const struct geo *n, struct fmt_super *s)
{
	struct fmt_device *last;

	memcpy(s, pm_at(pm, geo_super_off(n, FMT_COPY_FIRST)), sizeof(*s));
	last = &s->devices[n->ndevices - 1];
	s->bytes = le64_of(n->bytes);
	s->alloc_off = le64_of(n->alloc_off.v);
	s->incompat = le64_of(le64_get(s->incompat) | FMT_INCOMPAT_GROWN);
	last->frames = le64_of(n->nframes - n->device_first[n->ndevices - 1].v / HF_BLOCKS_PER_FRAME);
}

/* The second one has no stamp. */
static int put_super(struct pm *pm, const struct geo *n, struct fmt_super s, uint32_t copy)
{
	if (copy == FMT_COPY_LAST)
		s.stamp = le64_of(0);
	s.copy = le32_of(copy);
	s.csum = le64_of(geo_super_csum(&s));
	pm_copy_nt(pm, geo_super_off(n, copy), &s, sizeof(s));
	return pm_fence(pm);
}

int geo_grow(struct pm *pm, const struct geo *g, uint64_t bytes)
{
	struct geo n = grown_geo(g, bytes);
	struct fmt_super s;
	int err;

	grow_lines(pm, g, &n);
	err = pm_fence(pm);
	if (err)
		return err_prefix(err, "writing the allocation lines");
	grown_super(pm, &n, &s);
	err = put_super(pm, &n, s, FMT_COPY_LAST);
	if (!err)
		err = put_super(pm, &n, s, FMT_COPY_FIRST);
	if (!err) {
		pm_zero_nt(pm, geo_super_off(g, FMT_COPY_LAST), HF_BLOCK_SIZE);
		err = pm_fence(pm);
	}
	return err ? err_prefix(err, "writing the superblocks") : 0;
}

/* A second superblock of this volume, but of a larger one, at the end of the device. What cannot be read no reader takes either. */
static bool stale_end(const struct pm *pm, const struct geo *g, moff_t *at)
{
	uint64_t size = pm->size - pm->size % HF_FRAME_SIZE;
	struct fmt_super s;
	bool stale;

	*at = MOFF(size - HF_BLOCK_SIZE);
	if (size <= g->bytes || pm_guarded_read(pm, &s, *at, sizeof(s)) != 0)
		return false;
	stale = geo_verify_super(&s, pm->size, FMT_COPY_LAST) == 0 && le64_get(s.seed) == g->seed;
	err_clear();
	return stale;
}

int geo_settle(struct pm *pm, const struct geo *g)
{
	moff_t at;

	if (g->repairing || !stale_end(pm, g, &at))
		return 0;	/* before a repair began it was settled */
	pm_zero_nt(pm, at, HF_BLOCK_SIZE);
	return pm_fence(pm);
}
