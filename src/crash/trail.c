/* The crashes that led to one image, one after the other: the workload's, then those of the
 * recoveries. An id as text is such a trail, and going it again is a replay. After a failure the
 * lines that do not matter are put back, at every crash of the trail. */
#include "crash/explore.h"

#include <stdlib.h>

enum { REDUCE_TRIES = 400 };

/* Lines are known by their numbers: where an earlier crash of the trail leaves other lines behind,
 * a later one has others pending. */
struct left {
	uint32_t no;
	struct choice c;
	bool keep; /* to put it back alone would be no state of the model */
};

struct crash {
	const char *list; /* of the id; NULL once 'left' has it */
	struct left *left;
	size_t n;
};

struct trail {
	struct id id;
	struct crash at[CRASH_LEVELS];
	bool fits;
};

static void trail_begin(struct trail *t, const struct id *id)
{
	*t = (struct trail){.id = *id};
	for (unsigned i = 0; i < id->levels; i++)
		t->at[i].list = id->level[i].list;
}

static void trail_free(struct trail *t)
{
	for (unsigned i = 0; i < t->id.levels; i++)
		free(t->at[i].left);
}

/* ---- one crash */

/* With eADR the cached stores have one order over all lines: what was lost says when it was. */
static bool must_stay(const struct hf_crash_media *m, uint32_t no)
{
	if (m->model.granularity != HF_CRASH_BYTE)
		return false;
	for (uint32_t d = media_line(m, no)->first; d != DELTA_NONE; d = m->deltas[d].next)
		if (!m->deltas[d].nt)
			return true;
	return false;
}

/* Those lines of the builder that are not as they would be without the crash. */
static bool learn(struct crash *c, struct builder *b)
{
	c->left = calloc(b->n + 1, sizeof(c->left[0]));
	if (!c->left)
		return false;
	c->list = NULL;
	for (size_t i = 0; i < b->n; i++) {
		struct choice was = b->c[i];
		uint64_t h = b->h[i];

		builder_set(b, i, CHOICE_ALL);
		if (b->h[i] == h)
			continue; /* the same bytes */
		builder_set(b, i, was);
		c->left[c->n++] =
		    (struct left){.no = b->no[i], .c = was, .keep = must_stay(b->m, b->no[i])};
	}
	return true;
}

static void set_left(const struct crash *c, struct builder *b)
{
	size_t at = 0;

	builder_set_all(b, CHOICE_ALL);
	/* Mostly in the order of the builder. */
	for (size_t k = 0; k < c->n; k++)
		for (size_t steps = 0; steps < b->n; steps++, at++) {
			at = at < b->n ? at : 0;
			if (b->no[at] != c->left[k].no)
				continue;
			builder_set(b, at, c->left[k].c);
			break;
		}
}

/* Makes the builder's state that of the trail's crash, and adds to the id and the report. */
static bool set_crash(struct explorer *x, unsigned level, struct builder *b)
{
	struct crash *c = &x->trail->at[level];

	if (!c->list)
		set_left(c, b);
	else if (id_set_choices(c->list, b) != 0 || !learn(c, b))
		return false;
	id_add_choices(x->id, b);
	left_describe(x, b, level);
	return true;
}

void trail_at_recovery_fence(struct explorer *x, struct hf_crash_media *m)
{
	const struct id_level *l = &x->trail->id.level[x->level + 1];
	const uint32_t *list;
	char text[32];

	if (l->point != x->recovery_point) {
		media_pending(m, &list); /* at every point, as the exploration did: see ask() */
		return;
	}
	if (builder_start(&x->rb, m, 0) != 0)
		return;
	snprintf(text, sizeof(text), ".r%u", l->point);
	id_append(x->id, text);
	image_free(&x->found);
	if (set_crash(x, x->level + 1, &x->rb))
		image_take(x, &x->rb, &x->found);
}

/* ---- all of them */

static bool first_image(struct explorer *x)
{
	struct trail *t = x->trail;

	x->left_out[0] = 0;
	x->nleft_out = 0;
	id_begin(x->id, &x->o, x->point);
	if (t->id.level[0].kind == ID_KILL) {
		id_append(x->id, "kill");
		media_copy_base(x->copy, x->dev);
		media_copy_pending(x->copy, x->dev);
		return true;
	}
	if (!set_crash(x, 0, &x->b))
		return false;
	image_of_workload(x);
	return true;
}

/* Each recovery gives the image of the next crash; the last one is judged. True: it is fine.
 * trail->fits says whether it came there at all. */
static bool trail_go(struct explorer *x)
{
	struct trail *t = x->trail;

	t->fits = first_image(x);
	for (x->level = 0; t->fits && x->level + 1 < t->id.levels; x->level++) {
		x->look = true;
		judge(x);
		t->fits = x->found.d != NULL;
		if (!t->fits)
			break;
		image_load(x, &x->found);
		image_free(&x->found);
	}
	x->look = false;
	return !t->fits || judge(x);
}

static void say_crashes(struct explorer *x, const struct id *id)
{
	if (id->level[0].kind == ID_KILL)
		strncat(x->where, ", killed", sizeof(x->where) - strlen(x->where) - 1);
	for (unsigned i = 1; i < id->levels; i++) {
		size_t n = strlen(x->where);

		snprintf(x->where + n, sizeof(x->where) - n, ", then at point %u of recovery",
			 id->level[i].point);
	}
}

bool trail_replay(struct explorer *x, const struct id *id)
{
	struct trail t;
	bool ok;

	trail_begin(&t, id);
	x->trail = &t;
	ok = trail_go(x);
	x->trail = NULL;
	if (!t.fits) {
		x->err = -EINVAL;
		snprintf(x->err_text, sizeof(x->err_text),
			 "the id does not fit: its points have other lines, or recovery has fewer");
	}
	/* As it was given, not as we would write it. */
	snprintf(x->id, sizeof(x->id), "%s", id->text);
	say_crashes(x, id);
	trail_free(&t);
	return ok;
}

/* ---- fewer lines */

/* Puts back those of 'part' lines from 'from' on that may be; the rest of the trail's crashes stays
 * as it is. False: that changes nothing. */
static bool put_back(struct crash *c, size_t from, size_t part)
{
	bool changed = false;

	for (size_t i = from; i < c->n && i < from + part; i++) {
		if (c->left[i].keep || choice_same(c->left[i].c, CHOICE_ALL))
			continue;
		c->left[i].c = CHOICE_ALL;
		changed = true;
	}
	return changed;
}

/* Many at a time, then one by one. */
static void reduce_crash(struct explorer *x, struct crash *c, unsigned *tries)
{
	struct left *was = malloc((c->n + 1) * sizeof(*was));

	for (size_t part = c->n; was && part > 0; part /= 2)
		for (size_t from = 0; from < c->n && *tries < REDUCE_TRIES; from += part) {
			memcpy(was, c->left, c->n * sizeof(*was));
			if (!put_back(c, from, part))
				continue;
			++*tries;
			if (trail_go(x) || !x->trail->fits)
				memcpy(c->left, was, c->n * sizeof(*was));
		}
	free(was);
}

/* A recovery whose crash does not matter. */
static void reduce_levels(struct explorer *x)
{
	struct trail *t = x->trail;

	for (unsigned i = t->id.levels - 1; i > 0; i--) {
		struct trail was = *t;

		t->id.levels--;
		for (unsigned k = i; k < t->id.levels; k++) {
			t->id.level[k] = t->id.level[k + 1];
			t->at[k] = t->at[k + 1];
		}
		if (trail_go(x) || !t->fits)
			*t = was;
		else
			free(was.at[i].left);
	}
}

static void reduce(struct explorer *x, const char *id_text, const char *text)
{
	unsigned tries = 0;
	struct trail t;
	struct id id;

	if (id_parse(id_text, &id) != 0)
		return;
	trail_begin(&t, &id);
	x->trail = &t;
	if (!trail_go(x) && t.fits) {
		reduce_levels(x);
		for (unsigned i = 0; i < t.id.levels; i++)
			reduce_crash(x, &t.at[i], &tries);
		trail_go(x);
	} else {
		snprintf(x->id, sizeof(x->id), "%s", id_text);
		snprintf(x->text, sizeof(x->text), "%s", text);
		judge_say(x, "(it was fine when tried once more)");
	}
	x->trail = NULL;
	say_crashes(x, &t.id);
	trail_free(&t);
}

void trail_reduce(struct explorer *x)
{
	char *text = strdup(x->text), *id = strdup(x->id);
	struct builder *b = &x->b;
	struct choice *was = malloc((b->n + 1) * sizeof(*was));

	if (text && id && was) {
		/* The enumeration goes on from there. */
		memcpy(was, b->c, b->n * sizeof(*was));
		reduce(x, id, text);
		for (size_t i = 0; i < b->n; i++)
			builder_set(b, i, was[i]);
	}
	free(text);
	free(id);
	free(was);
}
