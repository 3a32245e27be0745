/* Many operations of two threads, each in a tree of its own: P and Q. What a sequence calls foo,
 * bar and B lies in a directory that both have, S; A is in the tree. Each thread's operations are
 * chosen and done alone first; under the explorer its part of the volume must be as it was then. */
#include "crash/fs_threads.h"

#include <stdlib.h>

enum {
	KINDS_RANDOM = 100, /* uses of the seed */
	HOLD_OPS = 4,	    /* a pin is held for so many operations */
	CROWD = 30,	    /* names in S, of every other run: its buckets are split */
	TRIES = 4,
	OTHERS = 2,
};

/* ---- names */

static void in_tree(unsigned t, const char *path, char buf[16])
{
	char tree = (char)('P' + t), mark = (char)('p' + t);

	if (path[0] == 'A')
		snprintf(buf, 16, "%c/%s", tree, path);
	else
		snprintf(buf, 16, "S/%c%s", mark, path);
}

/* Of side 'which'; OTHERS: nobody's. S itself changes with both. */
static bool mine(const char *path, unsigned which)
{
	unsigned owner = OTHERS;

	for (unsigned t = 0; t < 2; t++)
		if (path[0] == (char)('P' + t) ||
		    (strncmp(path, "S/", 2) == 0 && path[2] == (char)('p' + t)))
			owner = t;
	return owner == which && strcmp(path, "S") != 0;
}

int trees_setup(const struct fs_pair *p, hf_volume *vol)
{
	unsigned crowd = fs_pair_random(p, 10, 2) ? CROWD : 0;
	char path[64];
	int err = fs_soil(vol);

	if (!err)
		err = hf_mkdir(vol, "S", 0755);
	for (unsigned t = 0; t < 2 && !err; t++) {
		snprintf(path, sizeof(path), "%c", 'P' + t);
		err = hf_mkdir(vol, path, 0755);
		snprintf(path, sizeof(path), "%c/A", 'P' + t);
		if (!err)
			err = hf_mkdir(vol, path, 0755);
		snprintf(path, sizeof(path), "S/%cfoo", 'p' + t);
		if (!err)
			err = fs_make_file(vol, path, 0, 9000 + t);
		snprintf(path, sizeof(path), "%c/A/bar", 'P' + t);
		if (!err)
			err = fs_make_file(vol, path, 0, 100 + t);
	}
	if (crowd && !err)
		err = fs_make_file(vol, "S/n", 0, 10);
	for (unsigned i = 0; i < crowd && !err; i++) {
		snprintf(path, sizeof(path), "S/n%050u", i);
		err = hf_link(vol, "S/n", path);
	}
	return err;
}

/* ---- choosing */

static bool usable(const struct fs_pair *p, const struct fs_op *op)
{
	(void)p;
	return op->kind != FS_VIEW && !(op->kind == FS_HOLD && op->flags == FS_BY_NOTHING) &&
	       op->off < HF_FRAME_SIZE / 2 && op->len < HF_FRAME_SIZE;
}

static bool is_there(hf_volume *vol, const char *path)
{
	struct hf_stat st;

	return hf_lstat(vol, path, &st) == 0;
}

static const char *put_path(struct fs_side *s, unsigned t, unsigned i, unsigned k, const char *path)
{
	if (!path || !*path)
		return path;
	in_tree(t, path, s->path[i][k]);
	return s->path[i][k];
}

static bool has_two_paths(enum fs_kind k)
{
	return k == FS_RENAME || k == FS_LINK || k == FS_SYMLINK;
}

/* Operation i as of the table, with this side's names. */
static void put_op(struct fs_side *s, unsigned t, unsigned i, const struct fs_op *from)
{
	struct fs_op *op = &s->op[i];

	*op = *from;
	if (from->kind != FS_SYMLINK)
		op->a = put_path(s, t, i, 0, from->a);
	if (has_two_paths(from->kind))
		op->b = put_path(s, t, i, 1, from->b);
	if (!from->then)
		return;
	s->then[i] = *from->then;
	s->then[i].a = put_path(s, t, i, 2, from->then->a);
	if (has_two_paths(from->then->kind))
		s->then[i].b = put_path(s, t, i, 3, from->then->b);
	op->then = &s->then[i];
}

/* What it works on is there; most of what is not only fails. */
static bool makes_sense(hf_volume *vol, const struct fs_op *op)
{
	switch (op->kind) {
	case FS_CREATE:
	case FS_MKDIR:
		return !is_there(vol, op->a);
	case FS_SYMLINK:
		return !is_there(vol, op->b);
	case FS_LINK:
		return is_there(vol, op->a) && !is_there(vol, op->b);
	default:
		return is_there(vol, op->a);
	}
}

static void choose(struct fs_pair *p, hf_volume *vol, unsigned t, unsigned i)
{
	struct fs_side *s = &p->side[t];
	uint64_t use = KINDS_RANDOM + ((uint64_t)t << 32 | i << 8);

	for (unsigned k = 0; k < TRIES; k++) {
		put_op(s, t, i, fs_pair_pick(p, use + k, usable));
		if (makes_sense(vol, &s->op[i]))
			return;
	}
}

/* ---- the rehearsal */

static int snap_both(hf_volume *vol, unsigned which, struct snap **whole, struct snap **part)
{
	int err = snap_take(vol, whole);

	if (err)
		return err;
	*part = snap_part(*whole, mine, which);
	return *part ? 0 : err_set(-ENOMEM, "no memory for a snapshot");
}

static int try_steps(struct fs_pair *p, hf_volume *vol, unsigned t, unsigned from)
{
	struct fs_side *s = &p->side[t];
	int err = 0;

	for (unsigned i = from; i < s->nsteps && !err; i++) {
		s->want[i] = fs_pair_try(p, vol, t, i);
		err = fs_fatal(s->want[i]);
		if (!err)
			err = snap_both(vol, t, &s->whole[i + 1], &s->snap[i + 1]);
	}
	return err;
}

static void add_drop(struct fs_side *s, unsigned i, unsigned nth)
{
	if (s->op[i].kind == FS_HOLD && s->nsteps < FS_THREADS_STEPS)
		s->step[s->nsteps++] =
		    (struct fs_step){.op = &s->op[i], .nth = nth + i, .drop = true};
}

static int rehearse_side(struct fs_pair *p, hf_volume *vol, unsigned t)
{
	struct fs_side *s = &p->side[t];
	unsigned n = p->what.nops, nth = t * FS_THREADS_NTH;
	int err = snap_both(vol, t, &s->whole[0], &s->snap[0]);

	for (unsigned i = 0; i < n + HOLD_OPS && !err; i++) {
		unsigned from = s->nsteps;

		if (i >= HOLD_OPS)
			add_drop(s, i - HOLD_OPS, nth);
		err = try_steps(p, vol, t, from);
		from = s->nsteps;
		if (i >= n || err)
			continue;
		choose(p, vol, t, i);
		s->nops = i + 1;
		fs_side_add(s, &s->op[i], nth + i);
		err = try_steps(p, vol, t, from);
	}
	fs_world_end(&s->world);
	return err;
}

int trees_rehearse(struct fs_pair *p)
{
	int err = 0;

	for (unsigned t = 0; t < 2 && !err; t++) {
		hf_volume *vol;

		err = fs_pair_stage(p, &vol);
		if (err)
			break;
		err = trees_setup(p, vol);
		if (!err && t == 0)
			err = snap_both(vol, OTHERS, &p->common_whole, &p->common);
		if (!err)
			err = rehearse_side(p, vol, t);
		err = fs_pair_unstage(vol, err);
	}
	return err;
}

void trees_free(struct fs_pair *p)
{
	for (unsigned t = 0; t < 2; t++) {
		struct fs_side *s = &p->side[t];

		for (unsigned i = 0; i <= FS_THREADS_STEPS; i++) {
			snap_free(s->snap[i]);
			snap_free(s->whole[i]);
			s->snap[i] = s->whole[i] = NULL;
		}
	}
	snap_free(p->common);
	snap_free(p->common_whole);
	p->common = p->common_whole = NULL;
}

/* ---- the questions */

static bool returned_ok(hf_crash_run *run, const struct fs_side *s, unsigned t)
{
	for (unsigned i = 0; i < s->done; i++)
		if (s->ret[i] != s->want[i]) {
			char step[160];

			fs_step_print(&s->step[i], step, sizeof(step));
			hf_crash_say(run, "thread %u: %s returned %lld, alone %lld", t + 1, step,
				     (long long)s->ret[i], (long long)s->want[i]);
			return false;
		}
	return true;
}

static bool side_ok(hf_crash_run *run, const struct fs_side *s, unsigned t, const struct snap *have)
{
	bool flying = fs_side_flying(s);
	const struct snap *after = s->snap[s->begun], *before = s->snap[s->done];
	uint64_t off, len;
	char text[512];

	if (snap_same(have, after, !flying) || snap_same(have, before, !flying))
		return true;
	if (flying && fs_step_data(&s->step[s->done], &off, &len) &&
	    snap_mixed(have, before, after, off, len))
		return true;
	snap_difference(have, after, text, sizeof(text));
	hf_crash_say(run, "thread %u: %s: %s", t + 1,
		     flying ? "not as after the operation" : "not as it was", text);
	if (flying) {
		snap_difference(have, before, text, sizeof(text));
		hf_crash_say(run, "nor as before: %s", text);
	}
	return false;
}

static bool common_ok(hf_crash_run *run, const struct snap *have, const struct snap *want)
{
	char text[512];

	if (snap_same(have, want, true))
		return true;
	snap_difference(have, want, text, sizeof(text));
	hf_crash_say(run, "what nobody touched: %s", text);
	return false;
}

bool trees_ok(struct fs_pair *p, hf_crash_run *run, const struct snap *have)
{
	bool ok = true;

	for (unsigned which = 0; which <= OTHERS && ok; which++) {
		struct snap *part = snap_part(have, mine, which);

		if (!part)
			return hf_crash_say(run, "no memory for a snapshot") == 0;
		if (which == OTHERS)
			ok = common_ok(run, part, p->common);
		else
			ok = returned_ok(run, &p->side[which], which) &&
			     side_ok(run, &p->side[which], which, part);
		snap_free(part);
	}
	return ok;
}
