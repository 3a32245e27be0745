/* Writes an empty volume. */
#include "format/geo.h"
#include "base/clock.h"
#include "base/error.h"

#include <sys/stat.h>

#define SALT_DEVICE 0x64657669ull

struct mkfs {
	struct pm *pm;
	struct geo geo;
	const struct mkfs_args *args;
	uint64_t now_ns;
};

/* Lanes by size: large enough that a checkpoint in the background keeps up, small enough to be read
 * at mount. */
static void choose_lanes(uint64_t bytes, struct geo *g)
{
	if (bytes >= 1ull << 30) {
		g->nlanes = 8;
		g->lane_bytes = 1u << 20;
	} else if (bytes >= 64ull << 20) {
		g->nlanes = 4;
		g->lane_bytes = 256u << 10;
	} else {
		g->nlanes = 2;
		g->lane_bytes = 64u << 10;
	}
}

/* All of each but the last. The tables lie on the first. */
static int plan_devices(struct mkfs *m)
{
	const struct pm_member *last = &m->pm->member[m->pm->nmembers - 1];
	struct geo *g = &m->geo;

	g->ndevices = m->pm->nmembers;
	g->spread = g->ndevices > 1;
	if (g->bytes <= last->base.v)
		return err_set(-EINVAL, "mkfs: %llu bytes asked for, for which the last device is not needed: leave it out",
			       (unsigned long long)g->bytes);
	for (uint32_t i = 0; i < g->ndevices; i++)
		g->device_first[i] = moff_to_mblk(m->pm->member[i].base);
	if (g->ndevices > 1 && g->first_data.v >= g->device_first[1].v)
		return err_set(-EINVAL, "mkfs: the first device has no room for the volume's tables (%llu KiB): name a larger one first",
			       (unsigned long long)g->first_data.v * (HF_BLOCK_SIZE / 1024));
	return 0;
}

/* The first one's is the volume's; those of the others are random, for the seed is. */
static void plan_uuids(struct geo *g)
{
	memcpy(g->device_uuid[0], g->uuid, sizeof(g->uuid));
	for (uint32_t i = 1; i < g->ndevices; i++)
		for (unsigned half = 0; half < 2; half++) {
			uint64_t word = hash_mix2(g->seed ^ SALT_DEVICE, 2 * i + half);

			memcpy(&g->device_uuid[i][8 * half], &word, sizeof(word));
		}
}

static int plan(struct mkfs *m)
{
	struct geo *g = &m->geo;
	uint64_t bytes = m->args->bytes ? m->args->bytes : m->pm->size;
	int err;

	bytes -= bytes % HF_FRAME_SIZE;
	if (bytes > m->pm->size)
		return err_set(-EINVAL, "mkfs: %llu bytes asked for, the device has %llu",
			       (unsigned long long)bytes, (unsigned long long)m->pm->size);
	if (bytes < FMT_MIN_BYTES)
		return err_set(-EINVAL, "mkfs: a volume has at least %llu bytes",
			       (unsigned long long)FMT_MIN_BYTES);
	if (m->args->label && strlen(m->args->label) > FMT_LABEL_MAX)
		return err_set(-EINVAL, "mkfs: a label has at most %u bytes", FMT_LABEL_MAX);
	g->bytes = bytes;
	g->nblocks = bytes / HF_BLOCK_SIZE;
	g->nframes = bytes / HF_FRAME_SIZE;
	g->end_data = MBLK(g->nblocks - 1);
	g->alloc_off = mblk_to_moff(MBLK(FMT_BLK_ALLOC));
	g->lanes_off = MOFF(g->alloc_off.v + geo_lines_bytes(g->nframes));
	choose_lanes(bytes, g);
	g->first_data = moff_to_mblk(MOFF(g->lanes_off.v + g->nlanes * g->lane_bytes));
	err = plan_devices(m);
	if (err)
		return err;
	g->seed = m->args->seed;
	err = g->seed ? 0 : hash_random(&g->seed, sizeof(g->seed));
	if (err)
		return err;
	if (m->args->uuid) {
		memcpy(g->uuid, m->args->uuid, sizeof(g->uuid));
	} else {
		err = hash_random(g->uuid, sizeof(g->uuid));
		if (err)
			return err;
		g->uuid[6] = (uint8_t)((g->uuid[6] & 0x0f) | 0x40);
		g->uuid[8] = (uint8_t)((g->uuid[8] & 0x3f) | 0x80);
	}
	plan_uuids(g);
	m->now_ns = m->args->now_ns ? m->args->now_ns : clock_ns(CLOCK_REALTIME);
	g->created_ns = m->now_ns;
	return 0;
}

/* A device may have been a volume of its own, or a part of another one. */
static void wipe_device(struct mkfs *m, const struct pm_member *d)
{
	uint64_t base = d->base.v, here = m->geo.bytes - base, end;
	struct fmt_super old;

	if (pm_guarded_read(m->pm, &old, d->base, sizeof(old)) == 0 &&
	    memcmp(old.magic, FMT_MAGIC, sizeof(old.magic)) == 0) {
		end = le64_get(old.bytes);
		if (end % HF_FRAME_SIZE == 0 && end >= HF_FRAME_SIZE && end <= d->bytes)
			pm_zero_nt(m->pm, MOFF(base + end - HF_BLOCK_SIZE), HF_BLOCK_SIZE);
	}
	pm_zero_nt(m->pm, MOFF(base + d->bytes - HF_BLOCK_SIZE), HF_BLOCK_SIZE);
	if (here < d->bytes)
		pm_zero_nt(m->pm, MOFF(base + here - HF_BLOCK_SIZE), HF_BLOCK_SIZE);
	pm_zero_nt(m->pm, d->base, HF_BLOCK_SIZE);
}

/* Durability: after this no superblock of an older volume can be found, at any place where
 * geo_read() looks. Crash: the device holds no volume. Without this order an older superblock could
 * stand beside new lanes, and old records beside a new superblock (I-JNL-14). */
static int wipe_old(struct mkfs *m)
{
	for (unsigned i = 0; i < m->pm->nmembers; i++)
		wipe_device(m, &m->pm->member[i]);
	return pm_fence(m->pm);
}

/* One line per frame; set: what the allocator never hands out. The bits behind the last frame's
 * line, up to the end of the block, are zero. */
static void write_alloc_lines(struct mkfs *m)
{
	const struct geo *g = &m->geo;
	uint64_t used = g->first_data.v, last = g->nblocks - 1;
	le64_t word;

	pm_zero_nt(m->pm, g->alloc_off, g->lanes_off.v - g->alloc_off.v);
	for (uint64_t w = 0; w * 64 < used; w++) {
		uint64_t n = min_u64(used - w * 64, 64);

		word = le64_of(n == 64 ? ~0ull : (1ull << n) - 1);
		pm_copy_nt(m->pm, moff_add(g->alloc_off, w * 8), &word, sizeof(word));
	}
	/* The last block is in another word: a volume has two frames and more. */
	word = le64_of(1ull << last % 64);
	pm_copy_nt(m->pm, moff_add(g->alloc_off, last / 64 * 8), &word, sizeof(word));
	/* Each begins at a frame, so its word is its own. */
	word = le64_of(1);
	for (uint32_t i = 1; i < g->ndevices; i++)
		pm_copy_nt(m->pm, moff_add(g->alloc_off, g->device_first[i].v / 64 * 8), &word, sizeof(word));
}

static void inode_init(struct mkfs *m, struct fmt_inode *i, uint32_t ino, uint32_t mode)
{
	i->ino = le64_of(ino);
	/* From the seed, so that a handle of an older volume here does not fit. */
	i->gen = le64_of(hash_mix2(m->geo.seed, ino) >> 16 | 1);
	i->mode = le32_of(mode);
	i->nlink = le32_of(1);
	i->atime = i->mtime = i->ctime = i->btime = le64_of(m->now_ns);
}

static void write_inodes(struct mkfs *m)
{
	const struct geo *g = &m->geo;
	struct fmt_inode block[FMT_INODES_PER_BLOCK] = {0};
	struct fmt_inode *itable = &block[FMT_INO_ITABLE], *orphans = &block[FMT_INO_ORPHANS];
	struct fmt_inode *root = &block[FMT_INO_ROOT];
	struct map_key key;

	key = fmt_map_key(g, INUM(FMT_INO_ITABLE), FMT_FORK_DATA);
	inode_init(m, itable, FMT_INO_ITABLE, S_IFREG | 0600);
	itable->size = le64_of(2 * HF_BLOCK_SIZE);
	itable->blocks = le64_of(3);
	itable->height = 1;
	itable->root =
	    le64_of(fmt_entry_make(key, 1, FBLK(0), FMT_ENT_NODE, MBLK(FMT_BLK_ITNODE), 0));

	key = fmt_map_key(g, INUM(FMT_INO_ORPHANS), FMT_FORK_DATA);
	inode_init(m, orphans, FMT_INO_ORPHANS, S_IFREG | 0600);
	orphans->size = le64_of(HF_BLOCK_SIZE);
	orphans->blocks = le64_of(1);
	orphans->root =
	    le64_of(fmt_entry_make(key, 0, FBLK(0), FMT_ENT_BLOCK, MBLK(FMT_BLK_ORPHANS0), 0));

	inode_init(m, root, FMT_INO_ROOT,
		   S_IFDIR | ((m->args->root_mode ? m->args->root_mode : 0755u) & 07777u));
	root->uid = le32_of(m->args->uid);
	root->gid = le32_of(m->args->gid);
	root->nlink = le32_of(2);
	root->rdev = le64_of(FMT_INO_ROOT);

	for (unsigned i = FMT_INO_ITABLE; i <= FMT_INO_ROOT; i++)
		block[i].csum = le64_of(fmt_inode_csum(g, &block[i]));
	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_INODES0)), block, sizeof(block));
}

/* The inode table's node, its first bitmap (0..15 in use: 1 to 3, and the numbers that are never
 * handed out), its first 16 inodes; the empty orphan table. */
static void write_tables(struct mkfs *m)
{
	struct map_key key = fmt_map_key(&m->geo, INUM(FMT_INO_ITABLE), FMT_FORK_DATA);
	le64_t node[FMT_NODE_ENTRIES] = {0}, bitmap[FMT_NODE_ENTRIES] = {0};

	node[0] =
	    le64_of(fmt_entry_make(key, 0, FBLK(0), FMT_ENT_BLOCK, MBLK(FMT_BLK_ITBITMAP), 0));
	node[1] = le64_of(fmt_entry_make(key, 0, FBLK(1), FMT_ENT_BLOCK, MBLK(FMT_BLK_INODES0), 0));
	bitmap[0] = le64_of((1ull << FMT_INO_FIRST) - 1);
	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_ITNODE)), node, sizeof(node));
	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_ITBITMAP)), bitmap, sizeof(bitmap));
	write_inodes(m);
	pm_zero_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_ORPHANS0)), HF_BLOCK_SIZE);
}

static void write_ckpts(struct mkfs *m)
{
	struct fmt_ckpt page = {.c = le64_of(fmt_ckpt_encode(&m->geo, JSEQ(0)))};
	static const uint8_t zero[HF_BLOCK_SIZE];

	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_CKPT0)), &page, sizeof(page));
	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_CKPT1)), &page, sizeof(page));
	pm_copy_nt(m->pm, mblk_to_moff(MBLK(FMT_BLK_CKPT1 + 1)), zero, sizeof(zero));
}

static void super_init(const struct mkfs *m, uint32_t copy, struct fmt_super *s)
{
	const struct geo *g = &m->geo;

	memset(s, 0, sizeof(*s));
	memcpy(s->magic, FMT_MAGIC, sizeof(s->magic));
	s->version = le32_of(FMT_VERSION);
	s->copy = le32_of(copy);
	memcpy(s->uuid, g->uuid, sizeof(s->uuid));
	if (m->args->label)
		memcpy(s->label, m->args->label, strlen(m->args->label));
	s->seed = le64_of(g->seed);
	s->bytes = le64_of(g->bytes);
	s->alloc_off = le64_of(g->alloc_off.v);
	s->lanes_off = le64_of(g->lanes_off.v);
	s->lane_bytes = le64_of(g->lane_bytes);
	s->lanes = le32_of(g->nlanes);
	s->ndevices = le32_of(g->ndevices);
	s->incompat = le64_of(g->spread ? FMT_INCOMPAT_SPREAD : 0);
	s->first_data = le64_of(g->first_data.v);
	s->created_ns = le64_of(g->created_ns);
	for (uint32_t i = 0; i < g->ndevices; i++) {
		uint64_t end = i + 1 < g->ndevices ? g->device_first[i + 1].v : g->nblocks;

		memcpy(s->devices[i].uuid, g->device_uuid[i], sizeof(g->device_uuid[i]));
		s->devices[i].frames = le64_of((end - g->device_first[i].v) / HF_BLOCKS_PER_FRAME);
	}
	s->csum = le64_of(geo_super_csum(s));
}

/* Durability: superblock 'copy' is on the media at the next fence. */
static void write_super(struct mkfs *m, uint32_t copy)
{
	struct fmt_super s;

	super_init(m, copy, &s);
	pm_copy_nt(m->pm, geo_super_off(&m->geo, copy), &s, sizeof(s));
}

/* Durability: all but the first one are on the media, then it is. */
static int write_supers(struct mkfs *m)
{
	int err;

	for (uint32_t i = 1; i < m->geo.ndevices; i++)
		write_super(m, FMT_COPY_OF(i));
	write_super(m, FMT_COPY_LAST);
	err = pm_fence(m->pm);
	if (err)
		return err;
	write_super(m, FMT_COPY_FIRST);
	return pm_fence(m->pm);
}

/* Crash: up to the fence after the other superblocks there is no volume; from then on there is a whole one,
 * which may use its second superblock until the first is there. */
int mkfs_write(struct pm *pm, const struct mkfs_args *args)
{
	struct mkfs m = {.pm = pm, .args = args};
	int err;

	if (pm->read_only)
		return err_set(-EROFS, "mkfs: the device is open for reading only");
	err = plan(&m);
	if (err)
		return err;
	err = wipe_old(&m);
	if (err)
		return err_prefix(err, "mkfs: wiping the old superblocks");
	/* Zeroed lanes: nothing in them can be read as a record of this format, whatever its seed.
	 */
	pm_zero_nt(pm, m.geo.lanes_off, m.geo.nlanes * m.geo.lane_bytes);
	write_alloc_lines(&m);
	write_tables(&m);
	write_ckpts(&m);
	err = pm_fence(pm);
	if (err)
		return err_prefix(err, "mkfs: writing the tables");
	err = write_supers(&m);
	return err ? err_prefix(err, "mkfs: writing the superblocks") : 0;
}
