#include "check/grow.h"
#include "base/error.h"
#include "file/volume.h"
#include "format/geo.h"
#include "journal/journal.h"

/* What refuses a mount refuses this; and a first superblock that is damaged, for it is what the step from old to new hangs on. */
static int grow_may(const struct geo *g)
{
	if (g->repairing)
		return err_set(-EUCLEAN, "a repair of the volume was interrupted: run fsck.holdfast -y to finish it");
	if (g->read_only_features)
		return err_set(-EOPNOTSUPP, "the volume has features that this version can only read");
	if (g->used_copy)
		return err_set(-EUCLEAN, "the first superblock is damaged: run fsck.holdfast -p");
	return 0;
}

/* Afterwards no record is read again: those that there are name bits of the old lines. */
static int grow_recover(struct pm *pm, const struct geo *g)
{
	struct journal *j;
	int err = journal_open(pm, g, &j), closed;

	if (err)
		return err;
	err = journal_checkpoint(j);
	closed = journal_close(&j);
	return err ? err : closed;
}

int grow_volume(struct pm *pm, uint64_t *from, uint64_t *to)
{
	struct geo g;
	int err = geo_read(pm, &g);

	if (!err)
		err = grow_may(&g);
	if (err)
		return err;
	*from = *to = g.bytes;
	err = geo_settle(pm, &g);
	if (!err)
		err = geo_grow_to(pm, &g, to);
	if (err || *to == 0) {
		*to = g.bytes;
		return err;
	}
	err = geo_stamp(pm, &g);
	if (!err)
		err = grow_recover(pm, &g);
	return err ? err : geo_grow(pm, &g, *to);
}

/* Lines that are wrong would be carried over, and what is free by them be handed out. */
static int grow_verify(const char *path)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .max_findings = 1};
	struct hf_check_result r;
	int err = hf_check(path, &o, &r);

	if (err || r.findings == 0)
		return err;
	return err_set(-EUCLEAN, "%s: the volume is damaged: run fsck.holdfast first", path);
}

HF_API int hf_grow(const char *path, const struct hf_grow_options *opts)
{
	struct pm_open_args args = {0};
	struct hf_grow_options o;
	uint64_t from = 0, to = 0;
	struct pm *pm;
	int err;

	err_clear();
	if (!path)
		return err_set(-EINVAL, "grow: the path is NULL");
	err = enter_options(&o, sizeof(o), opts);
	if (!err)
		err = grow_verify(path);
	if (!err)
		err = geo_open(path, &args, false, &pm);
	if (err)
		return err;
	err = grow_volume(pm, &from, &to);
	if (err)
		err_prefix(err, "%s", path);
	pm_close(&pm);
	if (!err && o.from)
		*o.from = from;
	if (!err && o.to)
		*o.to = to;
	return err;
}
