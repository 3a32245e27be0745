#include "crash/fs_threads.h"

#include "journal/journal.h"

#include <stdlib.h>

/* NUMBER_KIND: a setup that no sequence has. */
enum { WORK = 1, SECOND = 3, NUMBER_KIND = FS_SETUPS - 1, NOPS_BITS = 6, SECOND_NS = 1000000000 };

/* ---- runs as numbers: kind, operations, which run */

uint32_t fs_threads_number(const struct fs_threads *t)
{
	uint32_t v = t->run << (NOPS_BITS + 1) | t->nops << 1 | t->orders;

	return v * FS_SETUPS + NUMBER_KIND;
}

bool fs_threads_of(uint32_t number, struct fs_threads *out)
{
	uint32_t v = number / FS_SETUPS;

	*out = (struct fs_threads){
	    .orders = v & 1, .nops = v >> 1 & ((1u << NOPS_BITS) - 1), .run = v >> (NOPS_BITS + 1)};
	return number % FS_SETUPS == NUMBER_KIND && out->nops > 0 &&
	       out->nops <= (out->orders ? (unsigned)FS_ORDERS_STEPS : (unsigned)FS_THREADS_OPS);
}

uint64_t fs_pair_random(const struct fs_pair *p, uint64_t what, uint64_t n)
{
	return hash_mix2(p->seed, what) % n;
}

const struct fs_op *fs_pair_pick(const struct fs_pair *p, uint64_t what,
				 bool (*usable)(const struct fs_pair *p, const struct fs_op *op))
{
	bool checkpoint = fs_pair_random(p, what, 5) == 0;

	for (uint64_t k = 1;; k++) {
		const struct fs_op *op =
		    fs_op_at(fs_pair_random(p, hash_mix2(what, k), fs_ops_count()));

		if (checkpoint ? op->kind == FS_SYNCFS : usable(p, op))
			return op;
	}
}

/* ---- sides */

void fs_side_add(struct fs_side *s, const struct fs_op *op, unsigned nth)
{
	for (unsigned k = 0; k < fs_op_steps(op) && s->nsteps < FS_THREADS_STEPS; k++)
		s->step[s->nsteps++] = (struct fs_step){.op = op, .nth = nth, .step = k};
}

bool fs_side_flying(const struct fs_side *s)
{
	return s->begun > s->done;
}

int64_t fs_pair_try(struct fs_pair *p, hf_volume *vol, unsigned t, unsigned i)
{
	struct fs_side *s = &p->side[t];

	s->world.vol = vol;
	s->world.media = p->stage;
	inode_set_now(CRASH_EPOCH_NS + (i + 1) * (int64_t)SECOND_NS);
	return fs_step_do(&s->world, &s->step[i]);
}

/* ---- the stage, where things are tried without crashes */

int fs_pair_stage(struct fs_pair *p, hf_volume **out)
{
	int err = 0;

	*out = NULL;
	if (p->stage && p->stage->model.granularity != p->opts.model.granularity)
		media_delete(&p->stage);
	if (!p->stage)
		err = media_new(&p->stage, p->opts.bytes, &p->opts.model);
	else
		media_reset(p->stage);
	if (err)
		return err;
	p->stage->light = true;
	inode_set_now(CRASH_EPOCH_NS);
	err = hf_crash_media_format(p->stage, p->opts.seed);
	return err ? err : hf_crash_media_mount(p->stage, out);
}

int fs_pair_unstage(hf_volume *vol, int err)
{
	int closed = volume_close(vol);

	inode_set_now(0);
	return err ? err : closed;
}

/* ---- the workload */

static int setup(const struct fs_pair *p, hf_volume *vol)
{
	return p->what.orders ? orders_setup(p, vol) : trees_setup(p, vol);
}

static int run_setup(hf_crash_run *run)
{
	return setup(hf_crash_ctx(run), hf_crash_run_volume(run));
}

/* Ends the run; the check will find that this was not to be returned. */
static void damaged(struct fs_pair *p, int err)
{
	p->err = err;
	snprintf(p->err_text, sizeof(p->err_text), "%s", hf_errormsg());
}

static void side_run(struct fs_pair *p, unsigned t)
{
	struct fs_side *s = &p->side[t];

	for (unsigned i = 0; i < s->nsteps && !p->err; i++) {
		char name[176];
		uint32_t op;
		size_t n = (size_t)snprintf(name, sizeof(name), "%u: ", t + 1);

		fs_step_print(&s->step[i], name + n, sizeof(name) - n);
		s->begun = i + 1;
		s->began_at[i] = ++p->clock;
		op = hf_crash_op_begin(p->run, name);
		inode_set_now(CRASH_EPOCH_NS + (i + 1) * (int64_t)SECOND_NS);
		s->ret[i] = fs_step_do(&s->world, &s->step[i]);
		if (fs_fatal(s->ret[i]))
			damaged(p, fs_fatal(s->ret[i]));
		s->done = i + 1;
		s->ended_at[i] = ++p->clock;
		hf_crash_op_end(p->run, op);
	}
	fs_world_end(&s->world);
}

static void first(void *ctx)
{
	side_run(ctx, 0);
}

static void second(void *ctx)
{
	side_run(ctx, 1);
}

/* Of every fourth run both threads begin with a lane that is full; in every fourth they share one.
 */
static int run_workload(hf_crash_run *run)
{
	struct fs_pair *p = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	bool share = hash_mix2(p->schedule, 1) % 4 == 0, full = hash_mix2(p->schedule, 2) % 4 == 0;
	uint32_t number = share ? WORK + vol->fs.geo.nlanes : SECOND;
	struct schedule how = {.seed = hash_mix2(p->schedule, 3) | 1, .number = number};
	int err = 0;

	for (unsigned t = 0; t < 2; t++)
		p->side[t].world = (struct fs_world){.vol = vol, .media = hf_crash_run_media(run)};
	for (unsigned t = 0; t < 2 && full && !err; t++) {
		journal_thread_number(t ? number : WORK);
		err = fs_fill_lane(&p->side[t].world, p->what.orders ? "A" : "S");
	}
	journal_thread_number(WORK);
	if (err)
		return err;
	p->run = run;
	p->clock = 0;
	p->err = 0;
	sched_run(&p->sched, vol->fs.pm, first, second, p, &how);
	return 0;
}

/* ---- the check */

static int run_check(hf_crash_run *run)
{
	struct fs_pair *p = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	struct snap *have;
	bool ok;
	int err = snap_take(vol, &have);

	if (err)
		return hf_crash_say(run, "it cannot be read: %s", hf_errormsg());
	ok = p->what.orders ? orders_ok(p, run, have) : trees_ok(p, run, have);
	if (!ok && p->err)
		hf_crash_say(run, "it was said: %s", p->err_text);
	err = ok ? fs_ask_space(run, vol, "as it was found") : -EUCLEAN;
	if (!err)
		err = fs_use_it(run, vol, have);
	snap_free(have);
	return err;
}

static void side_print(const struct fs_side *s, char *buf, size_t size)
{
	char step[160] = "nothing";

	if (s->begun)
		fs_step_print(&s->step[s->begun - 1], step, sizeof(step));
	snprintf(buf, size, "%s %s (%u of %u)", fs_side_flying(s) ? "in" : "after", step, s->begun,
		 s->nsteps);
}

static void run_failure(void *ctx, const struct hf_crash_failure *f)
{
	struct fs_pair *p = ctx;
	char text[640], now[2][256];

	for (unsigned t = 0; t < 2; t++)
		side_print(&p->side[t], now[t], sizeof(now[t]));
	snprintf(text, sizeof(text), "run %u of two threads, %s; 1 is %s, 2 is %s", p->what.run,
		 p->what.orders ? "on the same files" : "each in a tree of its own", now[0],
		 now[1]);
	if (p->failure)
		p->failure(p->ctx, f, text);
}

/* ---- the runner */

static void forget(struct fs_pair *p)
{
	trees_free(p);
	orders_free(p);
	for (unsigned t = 0; t < 2; t++) {
		p->side[t].nops = p->side[t].nsteps = 0;
		p->side[t].begun = p->side[t].done = 0;
	}
}

void fs_pair_free(struct fs_pair *p)
{
	if (!p)
		return;
	forget(p);
	crash_arena_free(&p->arena);
	media_delete(&p->stage);
	free(p);
}

struct fs_pair *fs_pair_new(const struct hf_crash_options *opts,
			    void (*failure)(void *ctx, const struct hf_crash_failure *f,
					    const char *what),
			    void *ctx)
{
	struct fs_pair *p = calloc(1, sizeof(*p));
	struct hf_crash_options o = *opts;

	if (!p)
		return NULL;
	o.max_recovery_images = o.max_recovery_images ? o.max_recovery_images : 4;
	o.setup = run_setup;
	o.workload = run_workload;
	o.check = run_check;
	o.failure = run_failure;
	o.ctx = p;
	p->failure = failure;
	p->ctx = ctx;
	if (crash_options(&o, &p->opts) != 0) {
		fs_pair_free(p);
		return NULL;
	}
	return p;
}

/* The run of this number, and first what its operations do alone: unless the run before had the
 * same. */
static int pair_start(struct fs_pair *p, const struct fs_threads *t)
{
	struct fs_threads ops = *t;
	uint64_t seed;
	int err = 0;

	if (t->orders)
		ops.run -= ops.run % FS_SCHEDULES;
	seed = hash_mix2(p->opts.seed, fs_threads_number(&ops));
	p->what = *t;
	p->opts.number = fs_threads_number(t);
	p->schedule = hash_mix2(p->opts.seed, p->opts.number);
	/* The sequences crash recovery enough; here it costs more than it shows. */
	p->opts.depth = hash_mix2(p->schedule, 4) % 4 == 0;
	if (p->seed != seed) {
		forget(p);
		p->seed = seed;
		err = t->orders ? orders_rehearse(p) : trees_rehearse(p);
		if (err)
			p->seed = 0;
	}
	for (unsigned i = 0; i < 2; i++)
		p->side[i].begun = p->side[i].done = 0;
	return err;
}

int fs_pair_explore(struct fs_pair *p, const struct fs_threads *t, struct hf_crash_result *out)
{
	int err = pair_start(p, t);

	memset(out, 0, sizeof(*out));
	return err ? err : crash_explore(&p->opts, &p->arena, NULL, out);
}

void fs_pair_limit(struct fs_pair *p, double seconds)
{
	p->opts.seconds = seconds;
}

int fs_pair_replay(struct fs_pair *p, const char *id, struct hf_crash_result *out)
{
	struct fs_threads t;
	struct id parsed;
	int err = id_parse(id, &parsed);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	if (!fs_threads_of(parsed.number, &t))
		return err_set(-EINVAL, "crash: no run of two threads has the number %u",
			       parsed.number);
	p->seed = 0;
	p->opts.seed = parsed.seed;
	p->opts.model = parsed.model;
	err = pair_start(p, &t);
	return err ? err : crash_explore(&p->opts, &p->arena, &parsed, out);
}
