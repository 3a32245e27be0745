/* Mounting: what is opened is closed in the reverse order, also when something fails half-way. */
#include "file/volume.h"
#include "dir/name_cache.h"
#include "inode/orphan.h"
#include "pin/pin.h"
#include "pin/view.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pool volume_pool = {
    POOL_SHARDS_INIT,
    .nshards = 1,
    .item_bytes = sizeof(struct hf_volume),
    .magic = VOLUME_MAGIC,
};

#define MOUNT_KNOWN                                                                                \
	((unsigned)(HF_MOUNT_RDONLY | HF_MOUNT_NO_MSYNC | HF_MOUNT_FORCE_CACHE_LINE | HF_MOUNT_NOATIME |      \
		    HF_MOUNT_NUMA_NODE))

static int volume_options(struct hf_mount_options *to, const struct hf_mount_options *from)
{
	int err = enter_options(to, sizeof(*to), from);

	if (err)
		return err;
	if (to->flags & ~MOUNT_KNOWN)
		return err_set(-EINVAL, "mount: unknown flags %#x", to->flags & ~MOUNT_KNOWN);
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(to->reserved[0]); i++)
		if (to->reserved[i])
			return err_set(-EINVAL, "mount: a reserved field is not zero");
	return 0;
}

static void volume_pm_args(struct pm_open_args *args, const struct hf_mount_options *opts)
{
	memset(args, 0, sizeof(*args));
	args->read_only = (opts->flags & HF_MOUNT_RDONLY) != 0;
	args->no_msync = (opts->flags & HF_MOUNT_NO_MSYNC) != 0;
	if (opts->flags & HF_MOUNT_FORCE_CACHE_LINE) {
		args->force_gran = true;
		args->gran = PM_LINE;
	}
}

/* A pin's holder has the address of its blocks, who mapped a view that of its pages: his touch of a bad one is his own (poison.h). */
static void *volume_lent(const void *ctx, moff_t off)
{
	struct fs *fs = (struct fs *)(uintptr_t)ctx;

	return space_pinned(fs->space, moff_to_mblk(off), 1) ? pm_at_mut(fs->pm, off) : view_address_of(fs, off);
}

static bool volume_lent_at(const void *ctx, const void *addr, moff_t *off)
{
	return view_media_at(ctx, addr, off);
}

/* Bad media that was met on the way: what it stood for is missing in what was read. To read the rest, allocation lines
 * are not needed. */
static int volume_open_bad(const struct hf_volume *vol, int err)
{
	const struct pm *pm = vol->fs.pm;

	if (pm_bad(pm) == 0 || (!err && vol->fs.read_only))
		return err;
	return err_set(-EIO,
		       "bad media at byte %llu, where metadata is. Mounted read-only, what can be read can be copied off; fsck.holdfast "
		       "names the files that are hit",
		       (unsigned long long)pm_bad_first(pm));
}

/* ---- the node that is preferred */

static bool volume_on_node(const struct pm *pm, int node)
{
	for (unsigned int i = 0; i < pm->nmembers; i++)
		if (node >= 0 && pm->member[i].numa_node == node)
			return true;
	return false;
}

static int volume_check_node(const struct pm *pm, const struct hf_mount_options *opts)
{
	char list[16 * PM_MEMBERS_MAX] = "";
	size_t len = 0;

	if (!(opts->flags & HF_MOUNT_NUMA_NODE) || volume_on_node(pm, opts->numa_node))
		return 0;
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		int node = pm->member[i].numa_node;
		bool new = node >= 0;

		for (unsigned int k = 0; k < i; k++)
			new = new && pm->member[k].numa_node != node;
		if (new)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%d", len ? ", " : "", node);
	}
	return err_set(-EINVAL, "%s: no device of the volume is on NUMA node %d: %s%s", pm->path, (int)opts->numa_node,
		       len ? "they are on " : "of none of them a node is known; mount it without the option", list);
}

static void volume_prefer_node(struct fs *fs, const struct hf_mount_options *opts)
{
	for (unsigned int i = 0; i < fs->pm->nmembers && opts->flags & HF_MOUNT_NUMA_NODE; i++) {
		const struct pm_member *m = &fs->pm->member[i];
		uint64_t first = m->base.v / HF_FRAME_SIZE, end = first + m->bytes / HF_FRAME_SIZE;

		end = min_u64(end, fs->geo.nframes);
		if (m->numa_node == opts->numa_node && first < end)
			space_prefer(fs->space, FRAME(first), end - first);
	}
}

/* Journal, space, inodes, orphans: each needs those before it. On failure what was opened is
 * closed. */
static int volume_open_layers(struct hf_volume *vol, const struct hf_mount_options *opts)
{
	struct fs *fs = &vol->fs;
	struct journal_stat js;
	int err;

	err = journal_open(fs->pm, &fs->geo, &fs->journal);
	if (err)
		return volume_open_bad(vol, err);
	journal_stat(fs->journal, &js);
	vol->replayed = js.replayed;
	err = space_open(fs->pm, &fs->geo, fs->journal, &fs->space);
	if (err)
		goto out_journal;
	volume_prefer_node(fs, opts);
	err = itable_open(fs, opts->max_cached_inodes);
	if (err)
		goto out_space;
	err = name_cache_open(fs, opts->max_cached_inodes);
	if (err)
		goto out_itable;
	err = orphans_open(fs);
	if (err)
		goto out_names;
	/* A dead owner's pins count before anything is freed or handed out. */
	err = pins_open(fs, fs->pm->kind != PM_MEMFD && !fs->read_only);
	if (err)
		goto out_orphans;
	if (!fs->read_only)
		err = inode_recover_orphans(fs, &vol->orphans_finished);
	err = volume_open_bad(vol, err);
	if (!err) {
		fs->pm->lent_ctx = fs;
		fs->pm->lent_at = volume_lent_at;
		fs->pm->lent = volume_lent;
		return 0;
	}
	pins_close(fs);
out_orphans:
	orphans_close(fs);
out_names:
	name_cache_close(fs);
out_itable:
	itable_close(fs);
out_space:
	space_close(&fs->space);
out_journal:
	/* What recovery has committed so far is in the journal; the next mount goes on from there.
	 */
	journal_close(&fs->journal);
	return volume_open_bad(vol, err);
}

static void uuid_text(const uint8_t u[16], char out[37])
{
	char *at = out;

	for (unsigned int i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

/* Devices are numbered anew at each boot: what was at this path may be at another one. */
static int volume_expected(const struct hf_volume *vol, const uint8_t *uuid)
{
	char is[37], wanted[37];

	if (!uuid || memcmp(uuid, vol->fs.geo.uuid, sizeof(vol->fs.geo.uuid)) == 0)
		return 0;
	uuid_text(vol->fs.geo.uuid, is);
	uuid_text(uuid, wanted);
	return err_set(-ENXIO,
		       "%s: holds the volume %s, and not %s, which was asked for: devices may have been swapped or numbered anew; 'holdfast "
		       "info' says which volume a device holds",
		       vol->fs.pm->path,
		       is,
		       wanted);
}

int volume_open(struct pm *pm, const struct hf_mount_options *opts, struct hf_volume **out)
{
	struct hf_volume *vol = pool_get(&volume_pool);
	int err = -ENOMEM;

	*out = NULL;
	if (!vol)
		goto out_pm;
	vol->fs.pm = pm;
	vol->fs.read_only = pm->read_only;
	vol->fs.keeps_atime = pm->read_only || (opts->flags & HF_MOUNT_NOATIME) != 0;
	vol->fork_token = fork_arm();
	vol->uid = opts->use_ids ? opts->uid : (uint32_t)getuid();
	vol->gid = opts->use_ids ? opts->gid : (uint32_t)getgid();
	mtx_init(&vol->fs.rename_lock, RANK_RENAME, 0);
	atomic_store(&vol->fs.quiet, QUIET_NO);
	err = geo_read(pm, &vol->fs.geo);
	if (err) {
		err_prefix(err, "%s", pm->path);
		goto out_vol;
	}
	err = volume_expected(vol, opts->uuid);
	if (!err)
		err = volume_check_node(pm, opts);
	if (err)
		goto out_vol;
	if (vol->fs.geo.repairing) {
		err = err_set(-EUCLEAN, "%s: a repair of the volume was interrupted: run fsck.holdfast -y to finish it",
			      pm->path);
		goto out_vol;
	}
	if (vol->fs.geo.read_only_features && !pm->read_only) {
		err =
		    err_set(-EOPNOTSUPP,
			    "%s: the volume has features that this version can only read: mount it "
			    "read-only",
			    pm->path);
		goto out_vol;
	}
	err = pm->read_only ? 0 : geo_settle(pm, &vol->fs.geo);
	if (!err && !pm->read_only)
		err = geo_stamp(pm, &vol->fs.geo);
	if (!err)
		err = volume_open_layers(vol, opts);
	if (err) {
		err_prefix(err, "%s", pm->path);
		goto out_vol;
	}
	*out = vol;
	return 0;
out_vol:
	pool_put(&volume_pool, vol);
out_pm:
	pm_close(&pm);
	return err;
}

HF_API int hf_mount(hf_volume **out, const char *path, const struct hf_mount_options *opts)
{
	struct hf_mount_options o;
	struct pm_open_args args;
	struct pm *pm;
	int err;

	err_clear();
	enter_forget();
	if (!out)
		return err_set(-EINVAL, "mount: the out-parameter is NULL");
	*out = NULL;
	if (!path)
		return err_set(-EINVAL, "mount: the path is NULL");
	err = volume_options(&o, opts);
	if (err)
		return err;
	volume_pm_args(&args, &o);
	err = geo_open(path, &args, false, &pm);
	if (!err)
		err = volume_open(pm, &o, out);
	return (int)enter_leave(err, "mount");
}

HF_API int hf_mount_memory(hf_volume **out, uint64_t bytes, const struct hf_mount_options *opts)
{
	struct mkfs_args mkfs = {0};
	struct hf_mount_options o;
	struct pm_open_args args;
	struct pm *pm;
	int err;

	err_clear();
	enter_forget();
	if (!out)
		return err_set(-EINVAL, "mount: the out-parameter is NULL");
	*out = NULL;
	err = volume_options(&o, opts);
	if (err)
		return err;
	if (o.flags & HF_MOUNT_RDONLY)
		return err_set(-EINVAL, "mount: a new volume in memory cannot be read-only");
	if (bytes < FMT_MIN_BYTES)
		return err_set(-EINVAL, "mount: a volume has at least %llu bytes", FMT_MIN_BYTES);
	volume_pm_args(&args, &o);
	err = pm_open_memfd(bytes, &args, &pm);
	if (err)
		return (int)enter_leave(err, "mount");
	mkfs.uid = o.use_ids ? o.uid : (uint32_t)getuid();
	mkfs.gid = o.use_ids ? o.gid : (uint32_t)getgid();
	err = mkfs_write(pm, &mkfs);
	if (err)
		pm_close(&pm);
	else
		err = volume_open(pm, &o, out);
	return (int)enter_leave(err, "mount");
}

/* What was stored without the library's knowledge: through pins and views. */
static int volume_flush_stored(struct hf_volume *vol)
{
	struct fs *fs = &vol->fs;
	bool any = false;
	int err = pin_flush(fs, NULL, &any);

	if (!err)
		err = view_flush(fs, NULL, &any);
	if (!err && any)
		err = pm_fence(fs->pm);
	if (!err || err == -ENOMEM)
		return err;
	journal_shutdown(fs->journal, err);
	return err_set(-EIO, "flushing file data failed; the volume takes no more changes until it "
			     "is mounted again");
}

/* The gate is passed, or shut by the caller. */
static int volume_write_back(struct hf_volume *vol)
{
	int err = itable_flush_times(&vol->fs);

	if (!err)
		err = journal_checkpoint(vol->fs.journal);
	if (!err)
		space_drain(vol->fs.space);
	return err;
}

/* Writing what is pending. A volume that is shut down or read-only has nothing that may be written.
 */
static int volume_sync(struct hf_volume *vol)
{
	uint32_t ticket;
	int err;

	if (vol->fs.read_only)
		return 0;
	err = journal_state(vol->fs.journal);
	if (err)
		return journal_refuse(vol->fs.journal);
	err = volume_flush_stored(vol);
	if (err)
		return err;
	ticket = gate_enter(&vol->gate);
	err = volume_write_back(vol);
	gate_leave(&vol->gate, ticket);
	return err;
}

static int volume_take_apart(struct hf_volume *vol)
{
	struct fs *fs = &vol->fs;
	int err;

	enter_forget();
	fs->pm->lent = NULL;
	fs->pm->lent_at = NULL;
	pins_close(fs);
	orphans_close(fs);
	name_cache_close(fs);
	itable_close(fs);
	space_close(&fs->space);
	err = journal_close(&fs->journal);
	pm_close(&fs->pm);
	pool_put(&volume_pool, vol);
	return err;
}

/* Looked at before the users are counted and after: a call that is under way may still leave an open file behind, and one that has
 * counted its use down, or waited for the last pin, may not be out yet. */
static bool volume_held(struct hf_volume *vol)
{
	for (uint32_t i = 0; i < GATE_SLOTS; i++)
		if (atomic_load(&vol->holds[i].inside))
			return true;
	return false;
}

/* Open files. What is closed is counted first: none is, whatever happens meanwhile, only if there was a moment without one. */
static uint64_t volume_files(struct hf_volume *vol)
{
	uint64_t opened = 0, closed = 0;

	for (uint32_t i = 0; i < GATE_SLOTS; i++)
		closed += atomic_load(&vol->holds[i].closed);
	for (uint32_t i = 0; i < GATE_SLOTS; i++)
		opened += atomic_load(&vol->holds[i].opened);
	return opened - closed;
}

int volume_close(struct hf_volume *vol)
{
	bool held = volume_held(vol);
	uint64_t files = volume_files(vol);
	uint32_t dirs = atomic_load(&vol->dirs);
	struct fs *fs = &vol->fs;
	uint64_t pins = pin_count(fs), views = view_count(fs);
	int err, closed, before = fs->read_only ? 0 : journal_state(fs->journal);

	if (files || dirs || pins || views)
		return err_set(-EBUSY,
			       "%s: in use: %llu open files, %u open directories, %llu pins, %llu "
			       "views",
			       fs->pm->path, (unsigned long long)files, dirs, (unsigned long long)pins,
			       (unsigned long long)views);
	if (held || volume_held(vol))
		return err_set(-EBUSY, "%s: in use: calls are under way in other threads",
			       fs->pm->path);
	/* Of a volume that had stopped before, the call that stopped it has been told. */
	err = volume_sync(vol);
	if (err == -ESHUTDOWN)
		err = before ? 0 : -EIO;
	closed = volume_take_apart(vol);
	return err || closed == -ESHUTDOWN ? err : closed;
}

/* ---- by force (B3, I-PIN-10). Nothing that a call under way or a pin's holder may touch goes before the last
 * of them: the handles and calls are counted in memory that is never given back, and the one that
 * counts down to nothing, after it has touched all it touches, takes the volume apart. */

static uint64_t volume_users(struct hf_volume *vol)
{
	return volume_files(vol) + atomic_load(&vol->dirs) + pin_count(&vol->fs) + view_count(&vol->fs);
}

struct hf_volume *volume_call_begin(struct hf_volume *vol)
{
	bool ours = vol && __atomic_load_n(&vol->item.magic, __ATOMIC_RELAXED) == VOLUME_MAGIC &&
		    vol->fork_token == fork_token();

	if (!ours)
		return NULL;
	volume_hold(vol);
	return vol;
}

void volume_let_go(struct hf_volume *vol)
{
	uint32_t forced = VOLUME_FORCED;

	if (atomic_load(&vol->forced) != VOLUME_FORCED || volume_held(vol) || volume_users(vol) || volume_held(vol))
		return;
	if (atomic_compare_exchange_strong(&vol->forced, &forced, VOLUME_GONE))
		volume_take_apart(vol);
}

/* The last that is written to the media. Calls that got in before are let out first; afterwards
 * nothing commits: an unlinked file that is closed then stays on its orphan slot. */
static int volume_settle(struct hf_volume *vol)
{
	struct journal *j = vol->fs.journal;
	int err = 0;

	view_kill_all(&vol->fs);
	if (vol->fs.read_only)
		return 0;
	gate_shut(&vol->gate);
	if (journal_state(j) == 0) {
		err = volume_flush_stored(vol);
		if (!err)
			err = volume_write_back(vol);
	}
	journal_shutdown(j, -ESHUTDOWN);
	gate_open(&vol->gate);
	return err;
}

HF_API int hf_unmount_force(hf_volume *vol)
{
	uint32_t normal = VOLUME_NORMAL;
	uint64_t left;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!atomic_compare_exchange_strong(&vol->forced, &normal, VOLUME_FORCING))
		return err_set(-ESHUTDOWN, "the volume was unmounted by force");
	err = volume_settle(vol);
	enter_forget();
	volume_hold(vol);
	atomic_store(&vol->forced, VOLUME_FORCED);
	left = volume_users(vol);
	volume_unhold(vol);
	if (err)
		return (int)enter_leave(err, "unmount_force");
	return left > INT_MAX ? INT_MAX : (int)left;
}

HF_API int hf_unmount(hf_volume **vol)
{
	int err;

	err_clear();
	if (!vol)
		return err_set(-EINVAL, "unmount: the volume is NULL");
	err = enter_volume(*vol);
	if (err)
		return err;
	err = volume_close(*vol);
	if (err != -EBUSY)
		*vol = NULL;
	return (int)enter_leave(err, "unmount");
}

HF_API int hf_syncfs(hf_volume *vol)
{
	VOLUME_CALL(vol);
	int err = enter_volume(vol);

	return err ? err : (int)enter_leave(volume_sync(vol), "syncfs");
}

void volume_freeze(struct hf_volume *vol)
{
	uint32_t was = QUIET_NO;

	gate_shut(&vol->gate);
	/* A page of a view that this thread touches now cannot be had: it is told so instead of waiting
	 * for itself. */
	lock_depth_tls++;
	/* Readers do not pass the gate, and the cache may commit times for them. */
	while (!atomic_compare_exchange_weak(&vol->fs.quiet, &was, QUIET_FROZEN)) {
		was = QUIET_NO;
		lock_yield();
	}
	/* An overwrite, which does not pass the gate, is not to need a commit. If it fails the volume takes no changes. */
	(void)journal_seal_all(vol->fs.journal);
}

void volume_thaw(struct hf_volume *vol)
{
	atomic_store(&vol->fs.quiet, QUIET_NO);
	lock_depth_tls--;
	gate_open(&vol->gate);
}

HF_API const char *hf_errormsg(void)
{
	return err_msg();
}

#define TEXT_OF(x) #x
#define TEXT(x)	   TEXT_OF(x)

HF_API const char *hf_version(void)
{
	return TEXT(HF_VERSION_MAJOR) "." TEXT(HF_VERSION_MINOR) "." TEXT(HF_VERSION_PATCH);
}
