/* One sequence of operations under the explorer, and the questions to each image. */
#include "crash/fs.h"

#include <stdlib.h>

/* NUMBER_BASE: more than there will be operations, so that numbers stay what they are. */
enum { NUMBER_BASE = 512, OTHER_THREAD = 3 };
/* Hashes of images that are kept: 256 MiB. Then they are forgotten. */
enum { VISITED_MAX = 8 << 20 };
/* See slow_from. */
enum { SLOW_FROM_ONE = 2, SLOW_FROM = 8 };

/* The stores with their bytes, the flushes and the fences of a step, in their order. */
struct trace {
	uint64_t events, hash;
};

/* The volume after a setup. */
struct origin {
	uint8_t *bytes; /* NULL: not yet made */
	uint64_t hash;
};

struct fs_runner {
	struct hf_crash_options opts;
	struct crash_arena arena;
	struct hf_crash_media *stage; /* for the rehearsal */
	void (*failure)(void *ctx, const struct hf_crash_failure *f, const char *sequence);
	void *ctx;
	struct fs_sequence seq;
	struct fs_step step[FS_STEPS_MAX];
	unsigned nsteps;
	struct snap *snap[FS_STEPS_MAX + 1]; /* before the first, after each */
	uint64_t hash[FS_STEPS_MAX + 1];     /* of these */
	/* The same without what was stored and need not be durable; NULL: there is none. */
	struct snap *idle[FS_STEPS_MAX + 1];
	struct trace trace[FS_STEPS_MAX]; /* of each */
	struct trace *tracing;
	bool left_out[FS_SEQUENCE_MAX]; /* operations, in the rehearsal of the others */
	uint64_t others;		/* what these do: their traces */
	struct origin origin[FS_SETUPS_USED];
};

/* ---- sequences as numbers: setup, then the operations plus one, the first lowest */

uint32_t fs_sequence_number(const struct fs_sequence *s)
{
	uint64_t v = 0;

	for (unsigned i = s->n; i > 0; i--)
		v = v * NUMBER_BASE + s->op[i - 1] + 1;
	return (uint32_t)(v * FS_SETUPS + s->setup);
}

bool fs_sequence_of(uint32_t number, struct fs_sequence *out)
{
	uint32_t v = number / FS_SETUPS;

	*out = (struct fs_sequence){.setup = number % FS_SETUPS};
	for (; v; v /= NUMBER_BASE) {
		if (out->n == FS_SEQUENCE_MAX || v % NUMBER_BASE == 0 ||
		    v % NUMBER_BASE > fs_ops_count())
			return false;
		out->op[out->n++] = v % NUMBER_BASE - 1;
	}
	return out->n > 0 && out->setup < FS_SETUPS_USED;
}

void fs_sequence_print(const struct fs_sequence *s, char *buf, size_t size)
{
	size_t at = (size_t)snprintf(buf, size, "setup %u", s->setup);

	for (unsigned i = 0; i < s->n; i++) {
		char op[96];

		fs_op_print(fs_op_at(s->op[i]), op, sizeof(op));
		if (at < size)
			at += (size_t)snprintf(buf + at, size - at, "; %s", op);
	}
}

/* Each operation's steps, and at the end the pins that are still held. */
static void steps_of(struct fs_runner *r)
{
	r->nsteps = 0;
	for (unsigned i = 0; i < r->seq.n; i++) {
		const struct fs_op *op = fs_op_at(r->seq.op[i]);

		for (unsigned k = 0; k < fs_op_steps(op); k++)
			r->step[r->nsteps++] = (struct fs_step){.op = op, .nth = i, .step = k};
	}
	for (unsigned i = 0; i < r->seq.n; i++) {
		const struct fs_op *op = fs_op_at(r->seq.op[i]);

		if (op->kind == FS_HOLD)
			r->step[r->nsteps++] = (struct fs_step){.op = op, .nth = i, .drop = true};
	}
}

/* ---- the workload */

/* An operation on a thread of its own, which has a lane, flushes and fences of its own. */
struct errand {
	struct fs_world *w;
	const struct fs_step *step;
	unsigned n;
	int64_t ret;
};

static void *errand_main(void *arg)
{
	struct errand *e = arg;

	journal_thread_number(OTHER_THREAD + 1);
	inode_set_now(CRASH_EPOCH_NS + (e->n + 1) * 1000000000ll);
	e->ret = fs_step_do(e->w, e->step);
	return NULL;
}

static int64_t do_step(struct fs_runner *r, struct fs_world *w, unsigned i)
{
	struct errand e = {.w = w, .step = &r->step[i], .n = i};
	pthread_t t;
	int err;

	if (r->seq.setup != FS_TWO_THREADS || e.step->drop || e.step->nth % 2 == 0)
		return fs_step_do(w, e.step);
	err = pthread_create(&t, NULL, errand_main, &e);
	if (err)
		return -ENOMEM;
	pthread_join(t, NULL);
	return e.ret;
}

static int run_workload(hf_crash_run *run)
{
	struct fs_runner *r = hf_crash_ctx(run);
	struct fs_world w = {.vol = hf_crash_run_volume(run), .media = hf_crash_run_media(run)};
	int err = r->seq.setup == FS_LANE_FULL ? fs_fill_lane(&w, "A") : 0;

	for (unsigned i = 0; i < r->nsteps && !err; i++) {
		char name[160];
		uint32_t n;

		fs_step_print(&r->step[i], name, sizeof(name));
		n = hf_crash_op_begin(run, name);
		err = fs_fatal(do_step(r, &w, i));
		hf_crash_op_end(run, n);
	}
	fs_world_end(&w);
	return err;
}

/* ---- without crashes */

static void on_stage_event(void *ctx, enum media_event what, uint64_t off, uint64_t len)
{
	struct fs_runner *r = ctx;

	if (!r->tracing)
		return;
	r->tracing->events++;
	r->tracing->hash = hash_mix2(hash_mix2(r->tracing->hash ^ off, len), what);
	if (what == MEDIA_STORE || what == MEDIA_STORE_NT)
		r->tracing->hash = hash_bytes(r->stage->mem + off, len, r->tracing->hash);
}

static int stage_with(struct fs_runner *r, const struct origin *from)
{
	int err = 0;

	if (r->stage && r->stage->model.granularity != r->opts.model.granularity)
		media_delete(&r->stage);
	if (!r->stage)
		err = media_new(&r->stage, r->opts.bytes, &r->opts.model);
	if (err)
		return err;
	media_set_origin(r->stage, from->bytes, from->hash);
	r->stage->light = true;
	r->stage->ctx = r;
	r->stage->on_event = on_stage_event;
	return 0;
}

static int set_up(struct fs_runner *r, unsigned setup)
{
	hf_volume *vol;
	int err = hf_crash_media_format(r->stage, r->opts.seed), closed;

	if (!err)
		err = hf_crash_media_mount(r->stage, &vol);
	if (err)
		return err;
	err = fs_setup(vol, setup);
	closed = volume_close(vol);
	return err ? err : closed;
}

/* Each setup is done once, and unmounted: sequences begin with a mount. */
static int origin_make(struct fs_runner *r, unsigned setup)
{
	struct origin *o = &r->origin[setup];
	int err;

	if (o->bytes)
		return 0;
	err = stage_with(r, &(struct origin){0});
	if (!err) {
		inode_set_now(CRASH_EPOCH_NS);
		err = set_up(r, setup);
		inode_set_now(0);
	}
	if (err)
		return err;
	o->bytes = malloc(r->stage->bytes);
	if (!o->bytes)
		return err_set(-ENOMEM, "crash: no memory for what a setup makes");
	memcpy(o->bytes, r->stage->mem, r->stage->bytes);
	o->hash = media_bytes_hash(o->bytes, r->stage->bytes);
	return 0;
}

static void origins_free(struct fs_runner *r)
{
	for (unsigned i = 0; i < FS_SETUPS_USED; i++) {
		free(r->origin[i].bytes);
		r->origin[i].bytes = NULL;
	}
}

static int take_snap(struct fs_runner *r, hf_volume *vol, unsigned i)
{
	int err;

	snap_free(r->snap[i]);
	r->snap[i] = NULL;
	err = snap_take(vol, &r->snap[i]);
	if (!err)
		r->hash[i] = snap_hash(r->snap[i]);
	return err;
}

/* For what is there before and after each operation. */
static int rehearse_ops(struct fs_runner *r, hf_volume *vol)
{
	struct fs_world w = {.vol = vol, .media = r->stage};
	int err = take_snap(r, vol, 0);

	for (unsigned i = 0; i < r->nsteps && !err; i++) {
		inode_set_now(CRASH_EPOCH_NS + (i + 1) * 1000000000ll);
		r->trace[i] = (struct trace){0};
		r->tracing = &r->trace[i];
		err = fs_fatal(do_step(r, &w, i));
		r->tracing = NULL;
		if (!err)
			err = take_snap(r, vol, i + 1);
	}
	fs_world_end(&w);
	return err;
}

/* Without the stores that nothing makes durable. From one of them to the end of what makes it so it
 * may be there or not. */
static int rehearse_idle(struct fs_runner *r, hf_volume *vol)
{
	struct fs_world w = {.vol = vol, .media = r->stage, .idle = true};
	unsigned left = 0;
	int err = 0;

	for (unsigned i = 0; i < r->nsteps && !err; i++) {
		inode_set_now(CRASH_EPOCH_NS + (i + 1) * 1000000000ll);
		err = fs_fatal(do_step(r, &w, i));
		left += fs_step_leaves(&r->step[i]);
		left -= fs_step_settles(&r->step[i]);
		if (!err && left)
			err = snap_take(vol, &r->idle[i + 1]);
	}
	fs_world_end(&w);
	return err;
}

/* The full lane of a run; and as before, the stage only keeps what was touched. */
static int rehearse_fill(struct fs_runner *r, hf_volume *vol)
{
	struct fs_world w = {.vol = vol, .media = r->stage};
	int err = r->seq.setup == FS_LANE_FULL ? fs_fill_lane(&w, "A") : 0;

	r->stage->light = true;
	return err;
}

static int rehearse_once(struct fs_runner *r, int (*ops)(struct fs_runner *r, hf_volume *vol))
{
	hf_volume *vol;
	int err = stage_with(r, &r->origin[r->seq.setup]), closed;

	if (err)
		return err;
	inode_set_now(CRASH_EPOCH_NS);
	err = hf_crash_media_mount(r->stage, &vol);
	if (!err) {
		err = rehearse_fill(r, vol);
		if (!err)
			err = ops(r, vol);
		closed = volume_close(vol);
		err = err ? err : closed;
	}
	inode_set_now(0);
	return err;
}

static void forget_idle(struct fs_runner *r)
{
	for (unsigned i = 0; i <= FS_STEPS_MAX; i++) {
		snap_free(r->idle[i]);
		r->idle[i] = NULL;
	}
}

static int rehearse(struct fs_runner *r, const struct fs_sequence *s)
{
	int err = origin_make(r, s->setup);
	bool leaves = false;

	r->seq = *s;
	steps_of(r);
	forget_idle(r);
	if (!err)
		err = rehearse_once(r, rehearse_ops);
	for (unsigned i = 0; i < r->nsteps; i++)
		leaves = leaves || fs_step_leaves(&r->step[i]);
	return !err && leaves ? rehearse_once(r, rehearse_idle) : err;
}

/* ---- sequences that are shorter than they look */

/* It changes nothing, and does nothing to the media. */
static bool is_idle(const struct fs_runner *r, unsigned nth)
{
	for (unsigned i = 0; i < r->nsteps; i++)
		if (r->step[i].nth == nth && (r->trace[i].events || r->hash[i] != r->hash[i + 1]))
			return false;
	return true;
}

static uint64_t add_trace(uint64_t h, const struct trace *t)
{
	return t->events ? hash_mix2(h ^ t->hash, t->events) : h;
}

static uint64_t whole_trace(const struct fs_runner *r)
{
	uint64_t h = 0;

	for (unsigned i = 0; i < r->nsteps; i++)
		h = add_trace(h, &r->trace[i]);
	return h;
}

static int look_at_all(hf_volume *vol)
{
	struct snap *s;
	int err = snap_take(vol, &s);

	snap_free(s);
	return err;
}

/* As rehearse_ops(), but that some operations are left out: the others store the same patterns at
 * the same times. What is read in between sets times, too. */
static int rehearse_others(struct fs_runner *r, hf_volume *vol)
{
	struct fs_world w = {.vol = vol, .media = r->stage};
	int err = look_at_all(vol);

	r->others = 0;
	for (unsigned i = 0; i < r->nsteps && !err; i++) {
		struct trace t = {0};

		inode_set_now(CRASH_EPOCH_NS + (i + 1) * 1000000000ll);
		r->tracing = &t;
		if (!r->left_out[r->step[i].nth])
			err = fs_fatal(do_step(r, &w, i));
		r->tracing = NULL;
		r->others = add_trace(r->others, &t);
		if (!err)
			err = look_at_all(vol);
	}
	fs_world_end(&w);
	return err;
}

/* Without its idle operations the sequence has the same stores of the same bytes, the same flushes
 * and fences in the same order, and so the same crash states; and that is the shorter sequence, but
 * for times and for the bytes of the patterns. Had an idle one left something in memory that makes
 * a difference, it would show in them. Not so where another thread would do what is left. */
static int find_shorter(struct fs_runner *r, bool *same)
{
	unsigned left = 0;
	int err;

	for (unsigned i = 0; i < r->seq.n; i++) {
		r->left_out[i] = is_idle(r, i);
		if (r->left_out[i])
			continue;
		if (r->seq.setup == FS_TWO_THREADS && (i - left) % 2)
			return 0;
		left++;
	}
	*same = left == 0 && r->seq.n > 1;
	if (left == 0 || left == r->seq.n)
		return 0;
	err = rehearse_once(r, rehearse_others);
	*same = !err && r->others == whole_trace(r);
	return err;
}

/* ---- the questions */

/* What else may be there, after so many steps. */
static uint64_t idle_hash(const struct fs_runner *r, uint32_t steps)
{
	uint64_t h = 0;

	if (!r->idle[steps])
		return 0;
	for (uint32_t i = 0; i <= steps; i++)
		h = hash_mix2(h, r->hash[i]);
	return hash_mix2(h, snap_hash(r->idle[steps]));
}

/* What tree_ok() goes by. */
static uint64_t run_expects(void *ctx, uint32_t begun, bool flying)
{
	const struct fs_runner *r = ctx;
	uint64_t off = 0, len = 0, h = hash_mix2(r->hash[begun] ^ idle_hash(r, begun), flying);

	if (!flying)
		return h;
	if (!fs_step_data(&r->step[begun - 1], &off, &len))
		off = UINT64_MAX;
	h = hash_mix2(h, r->hash[begun - 1] ^ idle_hash(r, begun - 1));
	return hash_mix2(h, hash_mix2(off, len));
}

static bool tree_ok(hf_crash_run *run, struct fs_runner *r, struct snap *have)
{
	uint32_t begun = hf_crash_ops(run);
	bool flying = begun > 0 && hf_crash_op_state(run, begun - 1) == HF_CRASH_OP_IN_FLIGHT;
	const struct snap *after = r->snap[begun], *before = flying ? r->snap[begun - 1] : after;
	uint64_t off, len;
	char text[512];

	if (flying && r->idle[begun - 1])
		snap_lift(have, r->idle[begun - 1], before, r->snap, begun - 1);
	if (r->idle[begun])
		snap_lift(have, r->idle[begun], after, r->snap, begun);
	if (snap_same(have, after, !flying) || snap_same(have, before, !flying))
		return true;
	/* An append's offset is not known here: for it each byte may be old or new. */
	if (flying && fs_step_data(&r->step[begun - 1], &off, &len) &&
	    snap_mixed(have, before, after, off, len))
		return true;
	snap_difference(have, after, text, sizeof(text));
	hf_crash_say(run, "%s: %s", flying ? "not as after the operation" : "not as it was", text);
	if (flying) {
		snap_difference(have, before, text, sizeof(text));
		hf_crash_say(run, "nor as before: %s", text);
	}
	return false;
}

/* A call on a volume with bad media: it may fail for that, and for nothing else that it would not have failed for. */
static bool bad_says(int ret)
{
	return ret == -EIO || ret == -ESHUTDOWN;
}

static int run_check_bad(hf_crash_run *run)
{
	struct fs_runner *r = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	struct snap *have;
	int err = snap_take(vol, &have);

	if (err && !bad_says(err))
		return hf_crash_say(run, "with a bad page it cannot be read, and not for -EIO: %s", hf_errormsg());
	if (!err) {
		err = tree_ok(run, r, have) ? 0 : -EUCLEAN;
		snap_free(have);
		if (err)
			return err;
	}
	err = hf_mkdir(vol, "/bad", 0755);
	if (err && !bad_says(err) && err != -ENOSPC && err != -EEXIST)
		return hf_crash_say(run, "with a bad page no directory can be made, and not for -EIO: %s", hf_errormsg());
	return 0;
}

static int run_check(hf_crash_run *run)
{
	struct fs_runner *r = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	struct snap *have;
	int err;

	if (hf_crash_run_bad(run))
		return run_check_bad(run);
	err = snap_take(vol, &have);
	if (err)
		return hf_crash_say(run, "it cannot be read: %s", hf_errormsg());
	err = tree_ok(run, r, have) ? 0 : -EUCLEAN;
	if (!err)
		err = fs_ask_space(run, vol, "as it was found");
	if (!err)
		err = fs_use_it(run, vol, have);
	snap_free(have);
	return err;
}

static void run_failure(void *ctx, const struct hf_crash_failure *f)
{
	struct fs_runner *r = ctx;
	char text[512];

	fs_sequence_print(&r->seq, text, sizeof(text));
	if (r->failure)
		r->failure(r->ctx, f, text);
}

/* ---- the runner */

void fs_runner_free(struct fs_runner *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i <= FS_STEPS_MAX; i++)
		snap_free(r->snap[i]);
	forget_idle(r);
	crash_arena_free(&r->arena);
	origins_free(r);
	media_delete(&r->stage);
	free(r);
}

struct fs_runner *fs_runner_new(const struct hf_crash_options *opts,
				void (*failure)(void *ctx, const struct hf_crash_failure *f,
						const char *sequence),
				void *ctx)
{
	struct fs_runner *r = calloc(1, sizeof(*r));
	struct hf_crash_options o = *opts;

	if (!r)
		return NULL;
	o.workload = run_workload;
	o.check = run_check;
	o.failure = run_failure;
	o.ctx = r;
	r->failure = failure;
	r->ctx = ctx;
	/* Sequences have images in common. */
	r->arena.keep_visited = true;
	r->arena.expects = run_expects;
	if (crash_options(&o, &r->opts) != 0) {
		fs_runner_free(r);
		return NULL;
	}
	return r;
}

static int runner_start(struct fs_runner *r, const struct fs_sequence *s)
{
	int err;

	if (r->arena.visited.n > VISITED_MAX)
		visited_clear(&r->arena.visited);
	r->opts.number = fs_sequence_number(s);
	err = rehearse(r, s);
	r->arena.origin = r->origin[s->setup].bytes;
	r->arena.origin_hash = r->origin[s->setup].hash;
	r->arena.slow_from = s->n == 1 ? SLOW_FROM_ONE : SLOW_FROM;
	r->arena.from_op = 0;
	for (unsigned i = 0; i + 1 < s->n; i++)
		r->arena.from_op += fs_op_steps(fs_op_at(s->op[i]));
	return err;
}

int fs_runner_explore(struct fs_runner *r, const struct fs_sequence *s, struct hf_crash_result *out,
		      bool *same)
{
	int err = runner_start(r, s);

	memset(out, 0, sizeof(*out));
	*same = false;
	if (!err)
		err = find_shorter(r, same);
	return err || *same ? err : crash_explore(&r->opts, &r->arena, NULL, out);
}

void fs_runner_recovery_from(struct fs_runner *r, uint32_t one_in)
{
	r->arena.recovery_from = one_in;
}

void fs_runner_limit(struct fs_runner *r, double seconds)
{
	r->opts.seconds = seconds;
}

int fs_runner_replay(struct fs_runner *r, const char *id, struct hf_crash_result *out)
{
	struct fs_sequence s;
	struct id parsed;
	int err = id_parse(id, &parsed);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	if (!fs_sequence_of(parsed.number, &s))
		return err_set(-EINVAL, "crash: no sequence of operations has the number %u",
			       parsed.number);
	r->opts.seed = parsed.seed;
	r->opts.model = parsed.model;
	origins_free(r);
	err = runner_start(r, &s);
	return err ? err : crash_explore(&r->opts, &r->arena, &parsed, out);
}
