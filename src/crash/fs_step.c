/* A workload is steps, one after the other or those of two threads in turns. */
#include "crash/fs.h"
#include "journal/internal.h"

void fs_step_print(const struct fs_step *s, char *buf, size_t size)
{
	size_t n;

	fs_op_print(s->op, buf, size);
	n = strlen(buf);
	if (s->drop)
		snprintf(buf + n, size - n, " (unpin)");
	else if (fs_op_steps(s->op) > 1)
		snprintf(buf + n, size - n, " (%u of %u)", s->step + 1, fs_op_steps(s->op));
}

static bool leaves(const struct fs_op *op)
{
	return (op->kind == FS_HOLD || op->kind == FS_VIEW) && op->flags == FS_BY_NOTHING;
}

bool fs_step_leaves(const struct fs_step *s)
{
	return leaves(s->op) && !s->drop && s->step == (s->op->kind == FS_VIEW);
}

bool fs_step_settles(const struct fs_step *s)
{
	bool last = s->op->kind == FS_HOLD ? s->drop : s->step + 1 == fs_op_steps(s->op);

	return leaves(s->op) && last;
}

int64_t fs_step_do(struct fs_world *w, const struct fs_step *s)
{
	if (s->drop)
		return leaves(s->op) ? fs_let_go(w, s->nth) : fs_drop(w, s->nth);
	return fs_op_do(w, s->op, s->step, s->nth);
}

/* The operation's own failure is a result like another; but not one that says that the volume is
 * damaged. */
int fs_fatal(int64_t ret)
{
	return ret == -EIO || ret == -EUCLEAN || ret == -EBADMSG || ret == -ESHUTDOWN ||
		       ret == -ENOMEM
		   ? (int)ret
		   : 0;
}

/* Pairs of records, until the thread's lane has no room for another pair without a checkpoint. */
int fs_fill_lane(struct fs_world *w, const char *dir)
{
	const struct journal *j = w->vol->fs.journal;
	const struct lane *l = &j->lanes[journal_my_number() % j->geo.nlanes];
	uint64_t bytes = 0;
	int err = 0;

	media_light_begin(w->media);
	while (!err && (l->half == 0 || l->off + bytes <= j->half_bytes)) {
		uint64_t off = l->off;

		err = hf_chmod(w->vol, dir, 0700);
		if (!err)
			err = hf_chmod(w->vol, dir, 0755);
		if (!err && l->off == off)
			err = err_set(-EINVAL, "crash: the lane does not fill");
		bytes = l->off > off ? l->off - off : bytes;
	}
	media_light_end(w->media);
	return err;
}

/* What is stored through a pin that was held: the file may have other offsets by then. */
bool fs_step_data(const struct fs_step *s, uint64_t *off, uint64_t *len)
{
	if (!s->drop)
		return fs_op_data(s->op, s->step, off, len);
	*off = 0;
	*len = UINT64_MAX;
	return !leaves(s->op);
}
