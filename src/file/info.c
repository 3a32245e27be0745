/* What a volume is and how full it is. */
#include "file/volume.h"

#include <stdio.h>
#include <string.h>

HF_API int hf_statfs(hf_volume *vol, struct hf_statfs *out)
{
	VOLUME_CALL(vol);
	struct hf_statfs st = {0};
	struct space_stat s;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "statfs: the out-parameter is NULL");
	space_drain(vol->fs.space);
	space_stat(vol->fs.space, &s);
	st.block_bytes = HF_BLOCK_SIZE;
	st.blocks = s.blocks;
	st.blocks_free = s.free;
	st.blocks_busy_journal = s.busy_journal + s.pending;
	st.blocks_busy_pinned = s.busy_pinned;
	st.blocks_used = s.blocks - s.free - s.busy_journal - s.pending - s.busy_pinned;
	st.frames = s.frames;
	st.frames_free = s.free_frames;
	st.frames_full = s.full_frames;
	st.frames_split = s.partial_frames;
	st.inodes_used = itable_in_use(&vol->fs);
	st.inodes_free = itable_free(&vol->fs);
	st.name_max = FMT_NAME_MAX;
	/* The counters do not know which of the lines and bitmaps they were read from is bad. */
	err = pm_bad(vol->fs.pm) == 0 ? 0 : pm_bad_error(vol->fs.pm);
	if (!err)
		*out = st;
	return (int)enter_leave(err, "statfs");
}

static void info_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static void info_device(const struct pm_member *m, struct hf_device *d)
{
	memset(d, 0, sizeof(*d));
	info_text(d->path, sizeof(d->path), m->path);
	info_text(d->kind, sizeof(d->kind), pm_kind_name(m->kind));
	info_text(d->granularity, sizeof(d->granularity), pm_gran_name(m->gran));
	d->media_off = m->base.v;
	d->bytes = m->bytes;
	d->numa_node = m->numa_node;
}

HF_API int hf_devices(hf_volume *vol, struct hf_device *out, size_t n)
{
	VOLUME_CALL(vol);
	const struct pm *pm;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out && n > 0)
		return err_set(-EINVAL, "devices: the out-parameter is NULL");
	pm = vol->fs.pm;
	for (unsigned i = 0; i < pm->nmembers && i < n; i++) {
		info_device(&pm->member[i], &out[i]);
		out[i].bytes = min_u64(out[i].bytes, vol->fs.geo.bytes - out[i].media_off);
	}
	return (int)pm->nmembers;
}

HF_API int hf_info(hf_volume *vol, struct hf_info *out)
{
	VOLUME_CALL(vol);
	const struct pm *pm;
	struct journal_stat js;
	struct hf_info i;
	int err = enter_volume(vol);

	if (err)
		return err;
	if (!out)
		return err_set(-EINVAL, "info: the out-parameter is NULL");
	memset(&i, 0, sizeof(i));
	pm = vol->fs.pm;
	journal_stat(vol->fs.journal, &js);
	info_text(i.path, sizeof(i.path), pm->path);
	info_text(i.kind, sizeof(i.kind), pm_kind_name(pm->kind));
	info_text(i.granularity, sizeof(i.granularity), pm_gran_name(pm->gran));
	info_text(i.survives, sizeof(i.survives), pm_survives_name(pm->survives));
	info_text(i.label, sizeof(i.label), vol->fs.geo.label);
	memcpy(i.uuid, vol->fs.geo.uuid, sizeof(i.uuid));
	i.bytes = vol->fs.geo.bytes;
	i.created_ns = (int64_t)vol->fs.geo.created_ns;
	i.lanes = vol->fs.geo.nlanes;
	i.lane_bytes = vol->fs.geo.lane_bytes;
	i.commits = js.commits;
	i.checkpoints = js.checkpoints;
	i.replayed = vol->replayed;
	i.orphans_finished = vol->orphans_finished;
	i.read_only = vol->fs.read_only;
	i.shutdown = js.shutdown;
	i.used_second_superblock = vol->fs.geo.used_copy;
	*out = i;
	return 0;
}
