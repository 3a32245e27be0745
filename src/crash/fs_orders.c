/* Few operations of two threads on the same files: every order of them is done alone first, and
 * what a crash leaves must be as after one of those that fit. An order is a bit per step, the first
 * highest: whose it is; before it a 1. */
#include "crash/fs_threads.h"

#include <stdlib.h>

enum { SETUPS_RANDOM = 200, THEME_RANDOM = 210, OPS_RANDOM = 300, ONE = 1, LARGE_FILE = 2 };

int orders_setup(const struct fs_pair *p, hf_volume *vol)
{
	return fs_setup(vol, p->setup);
}

/* ---- choosing */

/* What the two have in common. */
enum { THEME_NONE, THEME_FILE, THEME_DATA, THEME_NAMES, THEMES };

static bool of_theme(const struct fs_pair *p, const struct fs_op *op)
{
	bool of_hot = strcmp(op->a, p->hot) == 0 || (op->b && strcmp(op->b, p->hot) == 0);
	bool data = op->kind == FS_WRITE || op->kind == FS_FALLOCATE || op->kind == FS_PUNCH ||
		    op->kind == FS_TRUNCATE || op->kind == FS_PIN;
	bool names = op->kind == FS_CREATE || op->kind == FS_MKDIR || op->kind == FS_RENAME ||
		     op->kind == FS_LINK || op->kind == FS_UNLINK || op->kind == FS_SYMLINK ||
		     op->kind == FS_RMDIR;

	return p->theme == THEME_NONE || (p->theme == THEME_NAMES && names) ||
	       (p->theme == THEME_FILE && of_hot) || (p->theme == THEME_DATA && of_hot && data);
}

static bool usable(const struct fs_pair *p, const struct fs_op *op)
{
	bool large = op->off + op->len >= HF_FRAME_SIZE / 2;

	/* A view's fault may wait for the other thread, which a schedule cannot see. Two
	 * descriptors are two lookups: no order of whole operations has what is between. */
	return op->kind != FS_VIEW && op->kind != FS_HOLD && op->kind != FS_TWO_FD &&
	       of_theme(p, op) && (!large || p->setup == LARGE_FILE);
}

static void choose_theme(struct fs_pair *p)
{
	static const char *const hot[] = {"foo", "foo", "A/bar", "bar", "A/foo"};
	/* The last two are there in setup 1 only. */
	uint64_t n = p->setup == 1 ? 5 : 3;

	p->theme = (unsigned)fs_pair_random(p, THEME_RANDOM, THEMES);
	p->hot = hot[fs_pair_random(p, THEME_RANDOM + 1, n)];
}

static void choose(struct fs_pair *p, unsigned t)
{
	struct fs_side *s = &p->side[t];
	uint64_t use = OPS_RANDOM + ((uint64_t)t << 32);

	while (s->nops < p->what.nops) {
		const struct fs_op *op = fs_pair_pick(p, use++, usable);
		unsigned i = s->nops;

		if (s->nsteps + fs_op_steps(op) > FS_ORDERS_STEPS)
			return;
		s->op[i] = *op;
		s->nops++;
		fs_side_add(s, &s->op[i], t * FS_THREADS_NTH + i);
	}
}

/* ---- the rehearsal */

static int keep(struct fs_pair *p, hf_volume *vol, unsigned order, int64_t ret)
{
	struct fs_order *o = &p->order[order];
	int err;

	o->ret = ret;
	if (o->snap)
		return 0;
	err = snap_take(vol, &o->whole);
	if (err)
		return err;
	o->snap = snap_part(o->whole, NULL, 0);
	return o->snap ? 0 : err_set(-ENOMEM, "no memory for a snapshot");
}

static int try_order(struct fs_pair *p, unsigned full, unsigned n)
{
	unsigned at[2] = {0, 0}, order = ONE;
	hf_volume *vol;
	int err = fs_pair_stage(p, &vol);

	if (err)
		return err;
	err = orders_setup(p, vol);
	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = keep(p, vol, order, 0);
	for (unsigned i = n; i > 0 && !err; i--) {
		unsigned t = full >> (i - 1) & 1;
		int64_t ret = fs_pair_try(p, vol, t, at[t]++);

		order = order << 1 | t;
		err = fs_fatal(ret);
		if (!err)
			err = keep(p, vol, order, ret);
	}
	for (unsigned t = 0; t < 2; t++)
		fs_world_end(&p->side[t].world);
	return fs_pair_unstage(vol, err);
}

int orders_rehearse(struct fs_pair *p)
{
	static const unsigned setups[] = {0, 0, 0, 1, 1, 1, 1, LARGE_FILE};
	unsigned n;
	int err = 0;

	p->setup = setups[fs_pair_random(p, SETUPS_RANDOM, 8)];
	choose_theme(p);
	choose(p, 0);
	choose(p, 1);
	n = p->side[0].nsteps + p->side[1].nsteps;
	for (unsigned full = 0; full < 1u << n && !err; full++)
		if ((unsigned)__builtin_popcount(full) == p->side[1].nsteps)
			err = try_order(p, full, n);
	return err;
}

void orders_free(struct fs_pair *p)
{
	for (unsigned i = 0; i < FS_ORDERS_NODES; i++) {
		snap_free(p->order[i].snap);
		snap_free(p->order[i].whole);
		p->order[i] = (struct fs_order){0};
	}
}

/* ---- the questions */

/* All that returned is in it, nothing that did not begin, what returned did so with this result,
 * and nothing comes before what had returned when it began. */
static bool fits(const struct fs_pair *p, unsigned order)
{
	unsigned at[2] = {0, 0}, n = 31 - (unsigned)__builtin_clz(order);
	uint64_t latest = 0; /* begin of those so far */

	for (unsigned i = n; i > 0; i--) {
		unsigned t = order >> (i - 1) & 1, k = at[t]++;
		const struct fs_side *s = &p->side[t];

		if (k >= s->begun)
			return false;
		if (k < s->done &&
		    (s->ended_at[k] < latest || s->ret[k] != p->order[order >> (i - 1)].ret))
			return false;
		if (s->began_at[k] > latest)
			latest = s->began_at[k];
	}
	return at[0] >= p->side[0].done && at[1] >= p->side[1].done;
}

/* The range of data under way. False: none. */
static bool data_of(const struct fs_pair *p, uint64_t *off, uint64_t *len)
{
	uint64_t from = UINT64_MAX, to = 0;

	for (unsigned t = 0; t < 2; t++) {
		const struct fs_side *s = &p->side[t];
		uint64_t o, l;

		if (!fs_side_flying(s) || !fs_step_data(&s->step[s->done], &o, &l))
			continue;
		from = min_u64(from, o);
		to = max_u64(to, l > UINT64_MAX - o ? UINT64_MAX : o + l);
	}
	*off = from;
	*len = to - from;
	return to > 0;
}

static void say_returned(const struct fs_pair *p, hf_crash_run *run)
{
	for (unsigned t = 0; t < 2; t++)
		for (unsigned i = 0; i < p->side[t].begun; i++) {
			const struct fs_side *s = &p->side[t];
			char step[160];

			fs_step_print(&s->step[i], step, sizeof(step));
			if (i < s->done)
				hf_crash_say(run, "  %u: %s returned %lld", t + 1, step,
					     (long long)s->ret[i]);
			else
				hf_crash_say(run, "  %u: %s was under way", t + 1, step);
		}
}

static void say_no(const struct fs_pair *p, hf_crash_run *run, const struct snap *have,
		   struct snap *const *of, size_t n)
{
	char text[512];

	hf_crash_say(run, n ? "not as after any order of these that fits:"
			    : "these returned what they return in no order:");
	say_returned(p, run);
	for (size_t i = 0; i < n && i < 4; i++) {
		snap_difference(have, of[i], text, sizeof(text));
		hf_crash_say(run, "not one: %s", text);
	}
}

bool orders_ok(struct fs_pair *p, hf_crash_run *run, const struct snap *have)
{
	bool flying = fs_side_flying(&p->side[0]) || fs_side_flying(&p->side[1]), ok = false;
	struct snap *of[FS_ORDERS_NODES], *part = snap_part(have, NULL, 0);
	uint64_t off, len;
	size_t n = 0;

	if (!part)
		return hf_crash_say(run, "no memory for a snapshot") == 0;
	for (unsigned i = ONE; i < FS_ORDERS_NODES; i++)
		if (p->order[i].snap && fits(p, i))
			of[n++] = p->order[i].snap;
	for (size_t i = 0; i < n && !ok; i++)
		ok = snap_same(part, of[i], !flying);
	if (!ok && data_of(p, &off, &len))
		ok = snap_mixed_of(part, of, n, off, len);
	if (!ok)
		say_no(p, run, part, of, n);
	snap_free(part);
	return ok;
}
