/* Open, close, state. */
#include "journal/internal.h"

#include <stdlib.h>

static void journal_free(struct journal *j)
{
	if (j->lanes)
		for (uint32_t i = 0; i < j->geo.nlanes; i++)
			dirty_free(&j->lanes[i].dirty);
	free(j->lanes);
	free(j->filter);
	free(j);
}

/* The ring of a lane holds what one lane's worth of usual records dirties; a committer that finds
 * it full checkpoints. */
static int lanes_init(struct journal *j)
{
	j->lanes = aligned_alloc(HF_LINE, j->geo.nlanes * sizeof(j->lanes[0]));
	if (!j->lanes)
		return err_set(-ENOMEM, "journal: out of memory");
	memset(j->lanes, 0, j->geo.nlanes * sizeof(j->lanes[0]));
	for (uint32_t i = 0; i < j->geo.nlanes; i++) {
		int err = dirty_init(&j->lanes[i].dirty, j->geo.lane_bytes / 32);

		if (err)
			return err;
		j->lanes[i].index = i;
	}
	return 0;
}

int journal_open(struct pm *pm, const struct geo *geo, struct journal **out)
{
	struct journal *j = aligned_alloc(HF_LINE, round_up_u64(sizeof(*j), HF_LINE));
	int err;

	*out = NULL;
	if (!j)
		return err_set(-ENOMEM, "journal: out of memory");
	memset(j, 0, sizeof(*j));
	j->pm = pm;
	j->geo = *geo;
	j->half_bytes = geo->lane_bytes / 2;
	j->read_only = pm->read_only || geo->read_only_features;
	mtx_init(&j->ckpt_mtx, RANK_CHECKPOINT, 0);
	j->filter = calloc(1, sizeof(*j->filter));
	err = j->filter ? lanes_init(j) : err_set(-ENOMEM, "journal: out of memory");
	if (!err)
		err = recover_run(j);
	if (!err && !j->read_only && !pm->no_threads)
		err = ckpt_start(j);
	if (err) {
		journal_free(j);
		return err;
	}
	*out = j;
	return 0;
}

int journal_close(struct journal **jp)
{
	struct journal *j = *jp;
	int err = 0;

	if (!j)
		return 0;
	*jp = NULL;
	ckpt_stop(j);
	if (!j->read_only)
		err = journal_checkpoint(j);
	journal_free(j);
	return err;
}

jseq_t journal_published(const struct journal *j)
{
	return JSEQ(atomic_load_explicit(&j->published, memory_order_acquire));
}

void journal_shutdown(struct journal *j, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&j->shutdown_err, &none, err ? err : -EIO);
}

int journal_state(const struct journal *j)
{
	return atomic_load(&j->shutdown_err) == 0 && pm_bad(j->pm) == 0 ? 0 : -ESHUTDOWN;
}

int journal_refuse(const struct journal *j)
{
	if (pm_bad(j->pm) != 0) {
		pm_bad_error(j->pm);
		return -ESHUTDOWN;
	}
	return err_set(-ESHUTDOWN, "the volume takes no changes since a failed commit: mount it again");
}

void journal_stat(const struct journal *j, struct journal_stat *out)
{
	*out = (struct journal_stat){
	    .checkpoints = atomic_load_explicit(&j->checkpoints, memory_order_relaxed),
	    .inline_checkpoints =
		atomic_load_explicit(&j->inline_checkpoints, memory_order_relaxed),
	    .lines_flushed = atomic_load_explicit(&j->lines_flushed, memory_order_relaxed),
	    .replayed = j->replayed,
	    .next = JSEQ(atomic_load(&j->next)),
	    .published = journal_published(j),
	    .shutdown_err = atomic_load(&j->shutdown_err),
	};
	out->shutdown = journal_state(j) != 0;
	for (uint32_t i = 0; i < j->geo.nlanes; i++)
		out->commits += atomic_load_explicit(&j->lanes[i].commits, memory_order_relaxed);
}
