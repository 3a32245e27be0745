/* The exploration of one workload: its thread runs until it comes to a point and waits there, while
 * the caller's thread builds the images of that point and checks them. Two threads, because
 * recovery and check must not find the locks, the lane and the clock of the workload's thread. */
#include "crash/explore.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdlib.h>

enum { WORK_THREAD = 1, CHECK_THREAD = 2 };

static _Atomic bool busy;

/* ---- the workload's side */

/* Whether the point just counted is one that is looked at. */
static bool wanted(const struct explorer *x)
{
	if (x->replay)
		return x->replay->level[0].point == x->point;
	return x->nops > x->arena->from_op || x->arena->from_op == 0;
}

/* dev->mutex is held: one asks at a time, and no other thread of the workload stores or announces
 * meanwhile. */
static void ask(struct explorer *x, enum point_kind kind)
{
	if (!x->begun || x->quiet)
		return;
	x->point++;
	if (!wanted(x)) {
		const uint32_t *list;

		/* An id names lines by their place in this list, which forgets those that arrived when it is asked for: so it is
		 * asked for at every point, whether that is looked at or not. */
		media_pending(x->dev, &list);
		return;
	}
	pthread_mutex_lock(&x->mutex);
	x->want = kind;
	pthread_cond_signal(&x->asked);
	while (x->want != POINT_NONE)
		pthread_cond_wait(&x->answered, &x->mutex);
	pthread_mutex_unlock(&x->mutex);
}

static void on_work_fence(void *ctx, struct hf_crash_media *m)
{
	struct explorer *x = ctx;

	(void)m;
	x->fence++;
	ask(x, POINT_FENCE);
}

static void announce(struct explorer *x, const char *name, uint32_t n, bool flying)
{
	const struct crash_arena *a = x->arena;

	if (a->expects) {
		x->context = a->expects(x->o.ctx, n + 1, flying);
		x->stricter = flying ? a->expects(x->o.ctx, n, false) : x->context;
		return;
	}
	x->context = hash_mix2(x->context ^ hash_bytes(name, strlen(name), 0), 2ull * n + !flying);
	x->stricter = x->context;
}

HF_API uint32_t hf_crash_op_begin(hf_crash_run *run, const char *name)
{
	struct explorer *x = run->x;
	uint32_t n;

	pthread_mutex_lock(&x->dev->mutex);
	if (x->nops == x->ops_cap) {
		uint32_t cap = x->ops_cap ? 2 * x->ops_cap : 16;
		struct op *ops = realloc(x->ops, cap * sizeof(*ops));

		HF_ASSERT(ops != NULL);
		x->ops = ops;
		x->ops_cap = cap;
	}
	n = x->nops++;
	x->ops[n] = (struct op){.name = strdup(name), .state = HF_CRASH_OP_IN_FLIGHT};
	HF_ASSERT(x->ops[n].name != NULL);
	announce(x, name, n, true);
	x->fence = 0;
	pthread_mutex_unlock(&x->dev->mutex);
	inode_set_now(CRASH_EPOCH_NS + (n + 1) * 1000000000ll);
	return n;
}

HF_API void hf_crash_op_end(hf_crash_run *run, uint32_t op)
{
	struct explorer *x = run->x;
	bool begun_and_not_ended;

	pthread_mutex_lock(&x->dev->mutex);
	begun_and_not_ended = op < x->nops && x->ops[op].state == HF_CRASH_OP_IN_FLIGHT;
	HF_ASSERT(begun_and_not_ended);
	x->ops[op].state = HF_CRASH_OP_FINISHED;
	announce(x, x->ops[op].name, op, false);
	x->fence = 0;
	media_capture(x->dev);
	ask(x, POINT_OP_END);
	pthread_mutex_unlock(&x->dev->mutex);
}

static void ask_end(struct explorer *x)
{
	pthread_mutex_lock(&x->dev->mutex);
	media_capture(x->dev);
	ask(x, POINT_END);
	pthread_mutex_unlock(&x->dev->mutex);
}

static int work_setup(struct explorer *x)
{
	int err;

	media_light_begin(x->dev);
	err = x->o.setup(&x->work);
	if (!err && x->work.vol)
		err = hf_syncfs(x->work.vol);
	media_light_end(x->dev);
	return err;
}

static int work_begin(struct explorer *x)
{
	int err = 0;

	if (!x->o.raw) {
		if (!x->arena->origin)
			err = hf_crash_media_format(x->dev, x->o.seed);
		if (!err)
			err = hf_crash_media_mount(x->dev, &x->work.vol);
		if (!err)
			x->geo = x->work.vol->fs.geo;
	}
	return !err && x->o.setup ? work_setup(x) : err;
}

static void work_failed(struct explorer *x, int err)
{
	x->err = err;
	snprintf(x->err_text, sizeof(x->err_text), "%s", *err_msg() ? err_msg() : strerror(-err));
}

static void *work_main(void *arg)
{
	struct explorer *x = arg;
	int err;

	journal_thread_number(WORK_THREAD);
	inode_set_now(CRASH_EPOCH_NS);
	err_clear();
	err = work_begin(x);
	if (!err) {
		x->begun = true;
		err = x->o.workload(&x->work);
	}
	if (err)
		work_failed(x, err);
	else
		ask_end(x);
	if (x->work.vol) {
		x->begun = x->begun && !err;
		err = volume_close(x->work.vol);
		x->work.vol = NULL;
		if (err && !x->err)
			work_failed(x, err);
		ask_end(x);
	}
	pthread_mutex_lock(&x->mutex);
	x->done = true;
	pthread_cond_signal(&x->asked);
	pthread_mutex_unlock(&x->mutex);
	return NULL;
}

/* ---- the caller's side */

static void explore_time(struct explorer *x)
{
	x->res.seconds = (double)((int64_t)clock_mono_ns() - x->start_ns) / 1e9;
	if ((x->o.seconds > 0 && x->res.seconds >= x->o.seconds) ||
	    x->res.failures >= x->o.max_failures) {
		x->res.stopped = true;
		x->quiet = true;
	}
	if (x->replayed)
		x->quiet = true;
	if (x->o.progress)
		x->o.progress(x->o.ctx, &x->res);
}

static void answer_all(struct explorer *x)
{
	for (;;) {
		enum point_kind kind;

		pthread_mutex_lock(&x->mutex);
		while (x->want == POINT_NONE && !x->done)
			pthread_cond_wait(&x->asked, &x->mutex);
		kind = x->want;
		pthread_mutex_unlock(&x->mutex);
		if (kind == POINT_NONE)
			return;
		point_explore(x, kind);
		explore_time(x);
		pthread_mutex_lock(&x->mutex);
		x->want = POINT_NONE;
		pthread_cond_signal(&x->answered);
		pthread_mutex_unlock(&x->mutex);
	}
}

static int explore_run(struct explorer *x)
{
	int err;

	x->dev->on_fence = on_work_fence;
	x->dev->ctx = x->copy->ctx = x;
	journal_thread_number(CHECK_THREAD);
	inode_set_now(CRASH_EPOCH_NS + 3600 * 1000000000ll);
	err = pthread_create(&x->thread, NULL, work_main, x);
	if (err) {
		err = err_set(-err, "crash: no thread for the workload: %s", strerror(err));
	} else {
		answer_all(x);
		pthread_join(x->thread, NULL);
		if (x->err)
			err = err_set(x->err, "crash: the workload failed: %s", x->err_text);
		else if (x->dev->out_of_memory || x->copy->out_of_memory)
			err = err_set(-ENOMEM, "crash: the simulated device ran out of memory");
	}
	inode_set_now(0);
	journal_thread_number(0);
	x->dev->on_fence = x->copy->on_fence = NULL;
	return err;
}

static void explore_free(struct explorer *x)
{
	for (uint32_t i = 0; i < x->nops; i++)
		free(x->ops[i].name);
	free(x->ops);
	free(x->queue);
	builder_free(&x->b);
	builder_free(&x->rb);
	pthread_mutex_destroy(&x->mutex);
	pthread_cond_destroy(&x->asked);
	pthread_cond_destroy(&x->answered);
	free(x);
}

/* As new, or new where size or model differ. */
static int arena_media(struct crash_arena *a, const struct hf_crash_options *o)
{
	uint64_t bytes = round_up_u64(o->bytes, HF_FRAME_SIZE);
	int err = 0;

	if (a->dev &&
	    (a->dev->bytes != bytes || memcmp(&a->dev->model, &o->model, sizeof(o->model)) != 0))
		crash_arena_free(a);
	if (!a->dev)
		err = media_new(&a->dev, bytes, &o->model);
	if (!err && !a->copy)
		err = media_new(&a->copy, bytes, &o->model);
	if (!err) {
		a->dev->copy = a->copy;
		media_set_origin(a->dev, a->origin, a->origin_hash);
	}
	if (!a->keep_visited)
		visited_clear(&a->visited);
	return err;
}

void crash_arena_free(struct crash_arena *a)
{
	media_delete(&a->dev);
	media_delete(&a->copy);
	visited_free(&a->visited);
}

int crash_explore(const struct hf_crash_options *opts, struct crash_arena *arena,
		  const struct id *replay, struct hf_crash_result *out)
{
	struct explorer *x = calloc(1, sizeof(*x));
	int err;

	if (!x)
		return err_set(-ENOMEM, "crash: no memory");
	x->o = *opts;
	x->replay = replay;
	x->start_ns = (int64_t)clock_mono_ns();
	pthread_mutex_init(&x->mutex, NULL);
	pthread_cond_init(&x->asked, NULL);
	pthread_cond_init(&x->answered, NULL);
	err = arena_media(arena, opts);
	if (!err) {
		x->dev = arena->dev;
		x->copy = arena->copy;
		x->arena = arena;
		x->visited = &arena->visited;
		if (arena->expects)
			x->context = x->stricter = arena->expects(x->o.ctx, 0, false);
		x->work = (struct hf_crash_run){.x = x, .media = x->dev};
		x->check = (struct hf_crash_run){.x = x, .media = x->copy};
		err = explore_run(x);
	}
	x->res.seconds = (double)((int64_t)clock_mono_ns() - x->start_ns) / 1e9;
	if (!err && replay && !x->replayed)
		err = err_set(-ENOENT, "crash: the run did not come to the point of the id");
	*out = x->res;
	explore_free(x);
	return err;
}

int crash_options(const struct hf_crash_options *from, struct hf_crash_options *to)
{
	int err = enter_options(to, sizeof(*to), from);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(to->reserved[0]); i++)
		if (to->reserved[i])
			return err_set(-EINVAL, "crash: a reserved field is not zero");
	if (!to->workload)
		return err_set(-EINVAL, "crash: no workload");
	if ((unsigned)to->model.granularity > HF_CRASH_PAGE)
		return err_set(-EINVAL, "crash: unknown granularity %d",
			       (int)to->model.granularity);
	if (to->depth < -1 || to->depth > CRASH_LEVELS - 2)
		return err_set(-EINVAL, "crash: a depth of %d", to->depth);
	to->bytes = to->bytes ? max_u64(to->bytes, 2ull * HF_FRAME_SIZE) : 8ull << 20;
	to->depth = to->depth == 0 ? 2 : to->depth == -1 ? 0 : to->depth;
	to->all_below = to->all_below ? to->all_below : 256;
	to->max_images = to->max_images ? to->max_images : 512;
	to->max_recovery_images = to->max_recovery_images ? to->max_recovery_images : 16;
	to->max_failures = to->max_failures ? to->max_failures : 1;
	return 0;
}

static int explore_alone(const struct hf_crash_options *opts, const struct id *replay,
			 struct hf_crash_result *out)
{
	struct crash_arena arena = {0};
	struct hf_crash_options o;
	int err = crash_options(opts, &o);

	if (err)
		return err;
	if (replay && replay->number != o.number)
		return err_set(-EINVAL, "crash: the id is of workload %u, this is %u",
			       replay->number, o.number);
	if (replay) {
		o.seed = replay->seed;
		o.model = replay->model;
	}
	if (atomic_exchange(&busy, true))
		return err_set(-EBUSY, "crash: an exploration is under way in this process");
	err = crash_explore(&o, &arena, replay, out);
	crash_arena_free(&arena);
	atomic_store(&busy, false);
	return err;
}

HF_API int hf_crash_explore(const struct hf_crash_options *opts, struct hf_crash_result *out)
{
	err_clear();
	if (!out)
		return err_set(-EINVAL, "crash: the place for the result is NULL");
	memset(out, 0, sizeof(*out));
	return explore_alone(opts, NULL, out);
}

HF_API int hf_crash_replay(const struct hf_crash_options *opts, const char *id,
			   struct hf_crash_result *out)
{
	struct id parsed;
	int err;

	err_clear();
	if (!out || !id)
		return err_set(-EINVAL, "crash: an id and a place for the result are needed");
	memset(out, 0, sizeof(*out));
	err = id_parse(id, &parsed);
	return err ? err : explore_alone(opts, &parsed, out);
}

/* ---- what the callbacks ask */

HF_API void *hf_crash_ctx(hf_crash_run *run)
{
	return run->x->o.ctx;
}

HF_API hf_crash_media *hf_crash_run_media(hf_crash_run *run)
{
	return run->media;
}

HF_API hf_volume *hf_crash_run_volume(hf_crash_run *run)
{
	return run->vol;
}

HF_API uint32_t hf_crash_ops(hf_crash_run *run)
{
	return run->x->nops;
}

HF_API enum hf_crash_op_state hf_crash_op_state(hf_crash_run *run, uint32_t op)
{
	return op < run->x->nops ? run->x->ops[op].state : HF_CRASH_OP_NONE;
}

HF_API bool hf_crash_run_first(hf_crash_run *run)
{
	return run->x->first;
}

HF_API int hf_crash_say(hf_crash_run *run, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	judge_say(run->x, "%s", text);
	return -EUCLEAN;
}

HF_API bool hf_crash_run_bad(hf_crash_run *run)
{
	return run->x->bad;
}
