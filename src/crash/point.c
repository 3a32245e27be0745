/* One point of the workload: every image of it, and the images of crashes of the recoveries from
 * those. */
#include "crash/explore.h"

#include <stdlib.h>

static uint32_t max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static bool stop(const struct explorer *x)
{
	return x->res.failures >= x->o.max_failures;
}

static uint64_t point_seed(const struct explorer *x, uint64_t more)
{
	return hash_mix2(hash_mix2(x->o.seed, x->o.number), (uint64_t)x->point << 24 | more);
}

/* Whether an image was checked already where as much was expected of it, and its recovery crashed
 * as deep. */
static bool is_new(struct explorer *x, uint64_t hash, unsigned level)
{
	for (unsigned l = 0; l < level; l++)
		if (visited_has(x->visited, hash_mix2(hash ^ x->context, l)))
			return false;
	for (unsigned l = 0; l <= level && x->stricter != x->context; l++)
		if (visited_has(x->visited, hash_mix2(hash ^ x->stricter, l)))
			return false;
	return visited_add(x->visited, hash_mix2(hash ^ x->context, level));
}

/* ---- saying */

static const char *last_op(const struct explorer *x)
{
	for (uint32_t i = x->nops; i > 0; i--)
		if (x->ops[i - 1].state == HF_CRASH_OP_IN_FLIGHT)
			return x->ops[i - 1].name;
	return x->nops ? x->ops[x->nops - 1].name : "";
}

static bool in_flight(const struct explorer *x)
{
	for (uint32_t i = 0; i < x->nops; i++)
		if (x->ops[i].state == HF_CRASH_OP_IN_FLIGHT)
			return true;
	return false;
}

static void say_where(struct explorer *x, enum point_kind kind)
{
	const char *op = last_op(x);

	if (kind == POINT_FENCE && in_flight(x))
		snprintf(x->where, sizeof(x->where), "at fence %u of %s", x->fence, op);
	else if (kind == POINT_FENCE)
		snprintf(x->where, sizeof(x->where), "at fence %u after %s", x->fence,
			 *op ? op : "the beginning");
	else if (kind == POINT_OP_END)
		snprintf(x->where, sizeof(x->where), "after %s", op);
	else
		snprintf(x->where, sizeof(x->where), "at the end");
}

static void report(struct explorer *x)
{
	struct hf_crash_failure f = {.id = x->id,
				     .text = x->text,
				     .op = last_op(x),
				     .where = x->where,
				     .left_out = x->left_out,
				     .lines_left_out = x->nleft_out};

	x->res.failures++;
	if (x->o.failure)
		x->o.failure(x->o.ctx, &f);
}

/* Of x->id. */
static void failed(struct explorer *x)
{
	char where[sizeof(x->where)];

	memcpy(where, x->where, sizeof(where));
	trail_reduce(x);
	report(x);
	memcpy(x->where, where, sizeof(where));
}

/* ---- the first image: from the workload's pending lines */

void image_of_workload(struct explorer *x)
{
	const struct builder *b = &x->b;

	media_copy_base(x->copy, x->dev);
	for (size_t i = 0; i < b->n; i++) {
		uint8_t line[HF_LINE];

		if (b->h[i] == 0)
			continue;
		media_apply(x->dev, b->no[i], b->c[i], line);
		media_copy_line(x->copy, b->no[i], line);
	}
}

/* ---- images from crashes of recovery */

void image_free(struct image *im)
{
	free(im->d);
	free(im->id);
	*im = (struct image){0};
}

bool image_take(struct explorer *x, const struct builder *b, struct image *im)
{
	const struct lineset *t = &x->copy->touched;
	size_t next = 0;

	*im = (struct image){.level = x->level + 1, .d = malloc((t->n + 1) * sizeof(im->d[0]))};
	if (!im->d)
		return false;
	for (size_t i = 0; i < b->n; i++) {
		im->d[next].no = b->no[i];
		media_apply(x->copy, b->no[i], b->c[i], im->d[next++].line);
	}
	for (size_t i = 0; i < t->n; i++) {
		uint64_t off = t->list[i] * (uint64_t)HF_LINE;

		if (x->copy->slot[t->list[i]] ||
		    memcmp(x->copy->base + off, x->dev->base + off, HF_LINE) == 0)
			continue;
		im->d[next].no = t->list[i];
		memcpy(im->d[next++].line, x->copy->base + off, HF_LINE);
	}
	im->n = next;
	return true;
}

void image_load(struct explorer *x, const struct image *im)
{
	media_copy_base(x->copy, x->dev);
	for (size_t i = 0; i < im->n; i++)
		media_copy_line(x->copy, im->d[i].no, im->d[i].line);
}

/* NULL where it is too long to be one. */
static char *id_of_recovery(struct explorer *x, const struct builder *b)
{
	int n = snprintf(x->next_id, sizeof(x->next_id), "%s.r%u", x->id, x->recovery_point);

	if (n < 0 || (size_t)n >= sizeof(x->next_id))
		return NULL;
	id_add_choices(x->next_id, b);
	return strdup(x->next_id);
}

static bool push(void *ctx, struct builder *b)
{
	struct explorer *x = ctx;
	struct image im;

	x->res.states++;
	if (!is_new(x, b->hash, x->level + 1))
		return true;
	if (x->nqueue == x->queue_cap) {
		size_t cap = x->queue_cap ? 2 * x->queue_cap : 64;
		struct image *q = realloc(x->queue, cap * sizeof(*q));

		if (!q)
			return false;
		x->queue = q;
		x->queue_cap = cap;
	}
	if (!image_take(x, b, &im))
		return false;
	im.id = id_of_recovery(x, b);
	x->queue[x->nqueue++] = im;
	return true;
}

static void on_recovery_fence(void *ctx, struct hf_crash_media *m)
{
	struct explorer *x = ctx;
	uint32_t most = max_u32(x->o.max_recovery_images >> x->level, 4);
	struct budget budget = {.all_below = most, .max_images = most};

	x->recovery_point++;
	if (!x->look)
		return;
	if (x->trail) {
		trail_at_recovery_fence(x, m);
		return;
	}
	if (builder_start(&x->rb, m, point_seed(x, x->recovery_point)) != 0)
		return;
	x->res.points++;
	budget.seed = point_seed(x, x->recovery_point);
	builder_enumerate(&x->rb, &budget, push, x);
}

static void judge_next(struct explorer *x, const struct image *im)
{
	x->res.images++;
	x->res.recovery_images++;
	x->level = im->level;
	x->look = (int)x->level < x->o.depth;
	snprintf(x->id, sizeof(x->id), "%s", im->id ? im->id : "");
	image_load(x, im);
	if (!judge(x))
		failed(x);
}

static void judge_queue(struct explorer *x)
{
	while (x->nqueue > 0) {
		struct image im = x->queue[--x->nqueue];

		if (!stop(x))
			judge_next(x, &im);
		image_free(&im);
	}
}

/* ---- the point */

static bool looks_at_recovery(const struct explorer *x, uint64_t hash)
{
	uint32_t from = x->arena->recovery_from;

	return from == 0 || hash_mix(hash) % from == 0;
}

static bool try_image(void *ctx, struct builder *b)
{
	struct explorer *x = ctx;

	x->res.states++;
	if (!is_new(x, b->hash, 0))
		return true;
	x->res.images++;
	x->level = 0;
	x->look = x->o.depth > 0 && looks_at_recovery(x, b->hash);
	id_begin(x->id, &x->o, x->point);
	if (x->look)
		id_add_choices(x->id, b);
	image_of_workload(x);
	if (!judge(x)) {
		id_begin(x->id, &x->o, x->point);
		id_add_choices(x->id, b);
		failed(x);
	}
	x->first = false;
	judge_queue(x);
	return !stop(x);
}

static void try_kill(struct explorer *x)
{
	const uint32_t *list;
	uint64_t hash;

	if (x->o.no_kill || stop(x) || media_pending(x->dev, &list) == 0)
		return;
	x->res.states++;
	hash = hash_mix(media_kill_hash(x->dev));
	if (!is_new(x, hash, 0))
		return;
	x->res.images++;
	x->res.kills++;
	x->level = 0;
	x->look = looks_at_recovery(x, hash);
	id_begin(x->id, &x->o, x->point);
	id_append(x->id, "kill");
	media_copy_base(x->copy, x->dev);
	media_copy_pending(x->copy, x->dev);
	if (!judge(x))
		failed(x);
	judge_queue(x);
}

static void try_bad(struct explorer *x)
{
	for (uint32_t i = 0; i < x->o.bad_pages && x->geo.nlanes > 0 && !stop(x); i++)
		if (!bad_try(x, bad_choose(x, i)))
			report(x);
}

static void try_stray(struct explorer *x, bool everywhere)
{
	uint64_t off;

	if (!media_stray(x->dev, everywhere, &off))
		return;
	x->text[0] = x->left_out[0] = 0;
	x->nleft_out = 0;
	judge_say(x, "byte %llu was stored to without a call of the media's functions",
		  (unsigned long long)off);
	id_begin(x->id, &x->o, x->point);
	id_append(x->id, "stray");
	report(x);
}

/* The check and recovery store through the media as well; else the next image would not be what it
 * is said to be. */
static void try_stray_copy(struct explorer *x)
{
	media_copy_base(x->copy, x->dev);
	if (memcmp(x->copy->mem, x->dev->base, x->dev->bytes) == 0)
		return;
	x->text[0] = x->left_out[0] = 0;
	x->nleft_out = 0;
	judge_say(x, "recovery or the check stored to the device without a call of the media's "
		     "functions");
	id_begin(x->id, &x->o, x->point);
	id_append(x->id, "stray");
	report(x);
}

/* ---- one image again */

static void replay_point(struct explorer *x)
{
	const struct id *id = x->replay;

	x->replayed = true;
	x->first = true;
	if (id->level[0].kind == ID_STRAY) {
		try_stray(x, true);
		return;
	}
	if (id->level[0].kind == ID_BAD) {
		if (!bad_page_ok(x, id->level[0].page)) {
			x->err = -EINVAL;
			snprintf(x->err_text, sizeof(x->err_text), "the id does not fit: there is no such page");
		} else if (!bad_try(x, id->level[0].page)) {
			report(x);
		}
		return;
	}
	x->res.images++;
	x->res.states++;
	if (!trail_replay(x, id))
		report(x);
}

void point_explore(struct explorer *x, enum point_kind kind)
{
	/* Before the unmount there is an end, too. */
	bool last = kind == POINT_END && !x->work.vol;
	bool slow = x->arena->slow_from == 0 || point_seed(x, 1) % x->arena->slow_from == 0;
	struct budget budget = {.all_below = x->o.all_below, .max_images = x->o.max_images};

	if (builder_start(&x->b, x->dev, point_seed(x, 0)) != 0)
		return;
	x->copy->on_fence = on_recovery_fence;
	say_where(x, kind);
	if (x->replay) {
		replay_point(x);
		return;
	}
	x->res.points++;
	x->first = slow;
	if (kind != POINT_FENCE)
		try_stray(x, slow);
	budget.seed = point_seed(x, 0);
	if (!stop(x))
		builder_enumerate(&x->b, &budget, try_image, x);
	try_kill(x);
	try_bad(x);
	if (last && slow && !stop(x))
		try_stray_copy(x);
}
