/* Reads the superblock, or its copy, and decodes it. Every size and offset is checked against the
 * others before anything is computed from it, so that the layers above may trust struct geo. */
#include "format/geo.h"
#include "base/error.h"

static uint64_t super_csum(const struct fmt_super *s, uint64_t version)
{
	struct fmt_super plain = *s;

	plain.stamp = le64_of(0);
	return hash_bytes((const uint8_t *)&plain + 16, sizeof(plain) - 16, version);
}

uint64_t geo_super_csum(const struct fmt_super *s)
{
	return super_csum(s, FMT_VERSION);
}

/* Magic, version and checksum. */
static int verify_envelope(const struct fmt_super *s)
{
	uint32_t version = le32_get(s->version);

	if (memcmp(s->magic, FMT_MAGIC, sizeof(s->magic)) != 0)
		return err_set(-EINVAL, "no holdfast volume here (make one with mkfs.holdfast)");
	if (le64_get(s->csum) == geo_super_csum(s) && geo_stamp_ok(s)) {
		if (version != FMT_VERSION)
			return err_set(-EUCLEAN,
				       "superblock: version %u with the checksum of version %u",
				       version, FMT_VERSION);
		return 0;
	}
	/* Another version checksums with its own number as the seed: tell it from damage. */
	if (version != FMT_VERSION &&
	    le64_get(s->csum) == super_csum(s, version))
		return err_set(-EOPNOTSUPP,
			       "the volume has format version %u; this holdfast knows %u", version,
			       FMT_VERSION);
	return err_set(-EBADMSG, "superblock: wrong checksum (run fsck.holdfast)");
}

static int verify_features(const struct fmt_super *s)
{
	uint64_t incompat = le64_get(s->incompat) & ~FMT_INCOMPAT_KNOWN;
	uint64_t log = le64_get(s->log_incompat) & ~FMT_LOG_INCOMPAT_KNOWN;

	if (incompat != 0)
		return err_set(-EOPNOTSUPP,
			       "the volume uses incompatible feature bit %d (mask %#llx): "
			       "a newer holdfast is needed",
			       __builtin_ctzll(incompat), (unsigned long long)incompat);
	if (log != 0)
		return err_set(-EOPNOTSUPP,
			       "the volume's journal uses feature bit %d (mask %#llx): "
			       "a newer holdfast is needed",
			       __builtin_ctzll(log), (unsigned long long)log);
	return 0;
}

/* The devices make up the volume; the first one has all the tables, the last one the lines that were moved. */
static const char *devices_fault(const struct fmt_super *s, uint64_t frames, uint64_t end_data)
{
	uint64_t sum = 0, last = 0;
	uint32_t n = le32_get(s->ndevices);

	if (n < 1 || n > FMT_DEVICES_MAX)
		return "number of devices";
	for (uint32_t i = 0; i < n; i++) {
		uint64_t of = le64_get(s->devices[i].frames);

		if (of < 1 || of > frames - sum)
			return "devices";
		last = sum * HF_BLOCKS_PER_FRAME;
		sum += of;
	}
	if (sum != frames || le64_get(s->first_data) / HF_BLOCKS_PER_FRAME >= le64_get(s->devices[0].frames))
		return "devices";
	if (end_data <= last)
		return "place of the allocation lines";
	return n > 1 && !(le64_get(s->incompat) & FMT_INCOMPAT_SPREAD) ? "feature bits" : NULL;
}

/* What is wrong with the sizes; NULL: nothing. No step overflows: each bound is checked before it
 * is used. */
static const char *layout_fault(const struct fmt_super *s)
{
	uint64_t bytes = le64_get(s->bytes), frames = bytes / HF_FRAME_SIZE;
	uint64_t alloc_off = le64_get(s->alloc_off), lanes_off = le64_get(s->lanes_off);
	uint64_t lane_bytes = le64_get(s->lane_bytes), lanes = le32_get(s->lanes);
	uint64_t first_data = le64_get(s->first_data), tables = (uint64_t)FMT_BLK_ALLOC * HF_BLOCK_SIZE;
	uint64_t lines = geo_lines_bytes(frames), end = bytes - HF_BLOCK_SIZE;
	bool grown = (le64_get(s->incompat) & FMT_INCOMPAT_GROWN) != 0;
	const char *fault;

	if (bytes % HF_FRAME_SIZE != 0 || bytes < FMT_MIN_BYTES ||
	    bytes >> HF_BLOCK_SHIFT > 1ull << 40)
		return "size of the volume";
	end -= grown ? lines : 0;	/* a 512th of a frame for each: they fit */
	if (alloc_off != (grown ? end : tables) || frames * HF_LINE > bytes - alloc_off)
		return "place of the allocation lines";
	if (lanes_off % HF_BLOCK_SIZE != 0 || lanes_off < (grown ? tables : alloc_off + frames * HF_LINE) || lanes_off > bytes)
		return "place of the lanes";
	if (lanes < 1 || lanes > FMT_LANES_MAX || lane_bytes % (2ull * HF_BLOCK_SIZE) != 0 ||
	    lane_bytes < FMT_LANE_MIN || lane_bytes > FMT_LANE_MAX ||
	    lanes * lane_bytes > bytes - lanes_off)
		return "size of the lanes";
	if (first_data >= end >> HF_BLOCK_SHIFT ||
	    first_data << HF_BLOCK_SHIFT < lanes_off + lanes * lane_bytes)
		return "first block of data";
	fault = devices_fault(s, frames, end >> HF_BLOCK_SHIFT);
	if (fault)
		return fault;
	if (memchr(s->label, '\0', sizeof(s->label)) == NULL)
		return "label";
	return NULL;
}

int geo_verify_super(const struct fmt_super *s, uint64_t pm_bytes, uint32_t want_copy)
{
	const char *fault;
	int err = verify_envelope(s);

	if (err)
		return err;
	err = verify_features(s);
	if (err)
		return err;
	if (le32_get(s->copy) != want_copy)
		return err_set(-EUCLEAN, "superblock: says that it is copy %u, found as copy %u",
			       le32_get(s->copy), want_copy);
	fault = layout_fault(s);
	if (fault)
		return err_set(-EUCLEAN, "superblock: %s is wrong", fault);
	if (le64_get(s->bytes) > pm_bytes)
		return err_set(
		    -EUCLEAN, "the volume says %llu bytes, the device has %llu: was it truncated, or "
		    "its namespace made anew and smaller? Give it back its size, or restore a copy",
		    (unsigned long long)le64_get(s->bytes), (unsigned long long)pm_bytes);
	return 0;
}

static void geo_decode(const struct fmt_super *s, struct geo *g)
{
	*g = (struct geo){
	    .bytes = le64_get(s->bytes),
	    .nblocks = le64_get(s->bytes) / HF_BLOCK_SIZE,
	    .nframes = le64_get(s->bytes) / HF_FRAME_SIZE,
	    .seed = le64_get(s->seed),
	    .alloc_off = MOFF(le64_get(s->alloc_off)),
	    .lanes_off = MOFF(le64_get(s->lanes_off)),
	    .lane_bytes = le64_get(s->lane_bytes),
	    .nlanes = le32_get(s->lanes),
	    .first_data = MBLK(le64_get(s->first_data)),
	    .end_data = MBLK(le64_get(s->bytes) / HF_BLOCK_SIZE - 1),
	    .created_ns = le64_get(s->created_ns),
	    .read_only_features = (le64_get(s->ro_compat) & ~FMT_RO_COMPAT_KNOWN) != 0,
	    .repairing = (le64_get(s->incompat) & FMT_INCOMPAT_REPAIR) != 0,
	    .redo = MBLK(le64_get(s->repair)),
	    .repair_undo = le64_get(s->repair_undo),
	    .used_copy = le32_get(s->copy) != 0,
	    .spread = (le64_get(s->incompat) & FMT_INCOMPAT_SPREAD) != 0,
	    .ndevices = le32_get(s->ndevices),
	};
	uint64_t at = 0;

	if (le64_get(s->incompat) & FMT_INCOMPAT_GROWN)
		g->end_data = moff_to_mblk(g->alloc_off);
	for (uint32_t i = 0; i < g->ndevices; i++) {
		g->device_first[i] = MBLK(at * HF_BLOCKS_PER_FRAME);
		at += le64_get(s->devices[i].frames);
		memcpy(g->device_uuid[i], s->devices[i].uuid, sizeof(g->device_uuid[i]));
	}
	memcpy(g->uuid, s->uuid, sizeof(g->uuid));
	memcpy(g->label, s->label, sizeof(g->label));
}

uint64_t geo_fixed(const struct geo *g, unsigned i, mblk_t *first)
{
	*first = MBLK(0);
	if (i == 0)
		return g->first_data.v;
	*first = g->end_data;
	if (i == 1)
		return g->nblocks - g->end_data.v;
	i -= GEO_FIXED_SPREAD - 1;
	if (i >= g->ndevices)
		return 0;
	*first = g->device_first[i];
	return 1;
}

bool geo_spread_ok(const struct geo *g, mblk_t first, uint64_t n)
{
	unsigned i = GEO_FIXED_SPREAD;
	mblk_t at;

	for (uint64_t of = geo_fixed(g, i, &at); of > 0; of = geo_fixed(g, ++i, &at))
		if (first.v < at.v + of && at.v < first.v + n)
			return false;
	return true;
}

uint64_t geo_blocks(const struct geo *g)
{
	uint64_t n = g->nblocks;
	unsigned i = 0;
	mblk_t at;

	for (uint64_t of = geo_fixed(g, i, &at); of > 0; of = geo_fixed(g, ++i, &at))
		n -= of;
	return n;
}

/* Reads the superblock at 'off' into s and verifies it as copy 'copy'. */
static int read_one(const struct pm *pm, moff_t off, uint32_t copy, struct fmt_super *s)
{
	int err = pm_guarded_read(pm, s, off, sizeof(*s));

	if (err) {
		memset(s, 0, sizeof(*s));
		return err_set(err, "superblock copy %u: the media is poisoned there", copy);
	}
	return geo_verify_super(s, pm->size, copy);
}

/* The second copy is the last block of the volume; which that is, only a superblock says. 'hint' is
 * what the damaged first one says. A copy that is valid but not at the end of what it describes
 * belongs to an older volume. */
static int read_copy(const struct pm *pm, uint64_t hint, struct fmt_super *s)
{
	uint64_t ends[2] = {pm->size, hint};
	int err = -EINVAL;

	for (unsigned i = 0; i < 2; i++) {
		if (ends[i] % HF_FRAME_SIZE != 0 || ends[i] < FMT_MIN_BYTES || ends[i] > pm->size)
			continue;
		err = read_one(pm, MOFF(ends[i] - HF_BLOCK_SIZE), 1, s);
		if (err == 0 && le64_get(s->bytes) != ends[i])
			err = err_set(-EUCLEAN, "second superblock: not at the end of its volume");
		if (err == 0)
			return 0;
	}
	return err;
}

/* Is the volume that the copy describes still there? After somebody else's mkfs the copy often
 * survives: C, which this volume keeps alone on its page with its own check, then does not. */
static bool ckpt_page_there(const struct pm *pm, const struct geo *g, uint64_t blk)
{
	static const struct fmt_ckpt blank;
	struct fmt_ckpt page;
	jseq_t c;

	if (pm_guarded_read(pm, &page, mblk_to_moff(MBLK(blk)), sizeof(page)) != 0)
		return false;
	return fmt_ckpt_decode(g, le64_get(page.c), &c) &&
	       memcmp(page.zero, blank.zero, sizeof(page.zero)) == 0;
}

/* A sound superblock of a volume of which not all devices are here. */
static int missing_devices(const struct pm *pm, const struct fmt_super *s)
{
	uint32_t copy = le32_get(s->copy), n = le32_get(s->ndevices);

	if (verify_envelope(s) != 0 || verify_features(s) != 0 || layout_fault(s) != NULL ||
	    (n == pm->nmembers && copy <= FMT_COPY_LAST))
		return 0;
	if (copy > FMT_COPY_LAST)
		return err_set(-ENODEV, "this is device %u of a volume of %u devices: name all of them, as A:B", copy, n);
	return err_set(-ENODEV, "the volume has %u devices, of which %u %s named here: name all of them, as A:B", n, pm->nmembers,
		       pm->nmembers == 1 ? "is" : "are");
}

int geo_read(const struct pm *pm, struct geo *out)
{
	struct fmt_super first, second;
	int err;

	if (pm->size < FMT_MIN_BYTES)
		return err_set(
		    -EINVAL,
		    "no holdfast volume here: the device has %llu bytes, the least is %llu",
		    (unsigned long long)pm->size, (unsigned long long)FMT_MIN_BYTES);
	err = read_one(pm, MOFF(0), FMT_COPY_FIRST, &first);
	if (missing_devices(pm, &first) != 0)
		return -ENODEV;
	if (err == 0) {
		geo_decode(&first, out);
		return 0;
	}
	/* Damage only: a valid superblock that asks for more than we know, or more than the device
	 * has, stands. */
	if (err == -EOPNOTSUPP || (err == -EUCLEAN && le64_get(first.bytes) > pm->size &&
				   le64_get(first.csum) == geo_super_csum(&first)))
		return err;
	if (read_copy(pm, le64_get(first.bytes), &second) == 0 && le32_get(second.ndevices) == pm->nmembers) {
		struct geo g;

		geo_decode(&second, &g);
		if (ckpt_page_there(pm, &g, FMT_BLK_CKPT0) ||
		    ckpt_page_there(pm, &g, FMT_BLK_CKPT1)) {
			err_clear();
			*out = g;
			return 0;
		}
	}
	/* Say what is wrong with the first. */
	return read_one(pm, MOFF(0), 0, &first);
}
