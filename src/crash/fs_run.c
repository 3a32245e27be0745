/* One sequence of operations under the explorer, and the questions to each image. */
#include "crash/fs.h"

#include <stdlib.h>

/* NUMBER_BASE: more than there will be operations, so that numbers stay what they are. */
enum { NUMBER_BASE = 512, OTHER_THREAD = 3, VISITED_MAX = 8 << 20 };

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

static int run_setup(hf_crash_run *run)
{
	struct fs_runner *r = hf_crash_ctx(run);

	return fs_setup(hf_crash_run_volume(run), r->seq.setup);
}

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

/* The same without crashes, for what is there before and after each operation. */
static int rehearse_ops(struct fs_runner *r, hf_volume *vol)
{
	struct fs_world w = {.vol = vol, .media = r->stage};
	int err = fs_setup(vol, r->seq.setup);

	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = snap_take(vol, &r->snap[0]);
	for (unsigned i = 0; i < r->nsteps && !err; i++) {
		inode_set_now(CRASH_EPOCH_NS + (i + 1) * 1000000000ll);
		err = fs_fatal(do_step(r, &w, i));
		if (!err)
			err = snap_take(vol, &r->snap[i + 1]);
	}
	fs_world_end(&w);
	return err;
}

static int rehearse(struct fs_runner *r)
{
	hf_volume *vol;
	int err = 0, closed;

	steps_of(r);
	for (unsigned i = 0; i <= FS_STEPS_MAX; i++) {
		snap_free(r->snap[i]);
		r->snap[i] = NULL;
	}
	if (r->stage && r->stage->model.granularity != r->opts.model.granularity)
		media_delete(&r->stage);
	if (!r->stage)
		err = media_new(&r->stage, r->opts.bytes, &r->opts.model);
	else
		media_reset(r->stage);
	if (err)
		return err;
	r->stage->light = true;
	inode_set_now(CRASH_EPOCH_NS);
	err = hf_crash_media_format(r->stage, r->opts.seed);
	if (!err)
		err = hf_crash_media_mount(r->stage, &vol);
	if (!err) {
		err = rehearse_ops(r, vol);
		closed = volume_close(vol);
		err = err ? err : closed;
	}
	inode_set_now(0);
	return err;
}

/* ---- the questions */

static bool tree_ok(hf_crash_run *run, struct fs_runner *r, const struct snap *have)
{
	uint32_t begun = hf_crash_ops(run);
	bool flying = begun > 0 && hf_crash_op_state(run, begun - 1) == HF_CRASH_OP_IN_FLIGHT;
	const struct snap *after = r->snap[begun], *before = flying ? r->snap[begun - 1] : after;
	uint64_t off, len;
	char text[512];

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

static int run_check(hf_crash_run *run)
{
	struct fs_runner *r = hf_crash_ctx(run);
	hf_volume *vol = hf_crash_run_volume(run);
	struct snap *have;
	int err = snap_take(vol, &have);

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
	crash_arena_free(&r->arena);
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
	o.setup = run_setup;
	o.workload = run_workload;
	o.check = run_check;
	o.failure = run_failure;
	o.ctx = r;
	r->failure = failure;
	r->ctx = ctx;
	/* The beginning of a sequence gives the images of the shorter one: they are checked once.
	 */
	r->arena.keep_visited = true;
	if (crash_options(&o, &r->opts) != 0) {
		fs_runner_free(r);
		return NULL;
	}
	return r;
}

static int runner_start(struct fs_runner *r, const struct fs_sequence *s)
{
	if (r->arena.visited.n > VISITED_MAX)
		visited_clear(&r->arena.visited);
	r->arena.context = hash_mix(s->setup);
	r->seq = *s;
	r->opts.number = fs_sequence_number(s);
	return rehearse(r);
}

int fs_runner_explore(struct fs_runner *r, const struct fs_sequence *s, struct hf_crash_result *out)
{
	int err = runner_start(r, s);

	memset(out, 0, sizeof(*out));
	return err ? err : crash_explore(&r->opts, &r->arena, NULL, out);
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
	err = runner_start(r, &s);
	return err ? err : crash_explore(&r->opts, &r->arena, &parsed, out);
}
