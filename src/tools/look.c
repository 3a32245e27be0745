#include "look.h"
#include "media/pm_impl.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define TABLE_TRIES    20u
#define TABLE_PAUSE_NS 5000000

static void look_who(struct look *l, const char *path)
{
	char dir[PM_LOCK_DIR_BYTES];
	long pid = (long)l->owner;

	if (pid < 0)
		snprintf(l->who, sizeof(l->who), ", mounted by a process that cannot be seen from here");
	else if (l->left_behind)
		snprintf(l->who, sizeof(l->who), ", held by a child that process %ld left behind", pid);
	else if (pm_lock_mounted_on(path, dir, sizeof(dir)))
		snprintf(l->who, sizeof(l->who), ", mounted by process %ld on %s", pid, dir);
	else
		snprintf(l->who, sizeof(l->who), ", mounted by process %ld", pid);
}

static pid_t look_owner(const struct pm *pm)
{
	struct stat st;

	return fstat(pm->member[0].fd, &st) == 0 ? pm_lock_owner(st.st_dev, st.st_ino) : 0;
}

/* It is mounted: no lock can be had, and none is needed to read what the owner has put in place. */
static int open_live(const char *path, struct look *l)
{
	struct pm_open_args args = {.read_only = true, .no_lock = true};
	int err = geo_open(path, &args, true, &l->medium);

	if (err)
		return err;
	l->pm = l->medium;
	l->live = true;
	l->owner = look_owner(l->medium);
	if (l->owner <= 0)
		l->owner = -1;
	l->left_behind = l->owner > 0 && kill(l->owner, 0) != 0 && errno == ESRCH;
	look_who(l, path);
	return geo_read(l->pm, &l->geo);
}

int look_open(const char *path, struct look *l)
{
	uint64_t records;
	int err;

	*l = (struct look){0};
	err = check_image_open(path, &l->img, &records);
	if (err == -EBUSY) {
		err = open_live(path, l);
		if (err)
			look_close(l);
		return err;
	}
	if (err)
		return err;
	l->pm = check_image_pm(l->img);
	l->geo = *check_image_geo(l->img);
	if (check_image_journal_error(l->img))
		tool_error("%s: %s; shown without the journal", path, check_image_journal_error(l->img));
	return 0;
}

void look_close(struct look *l)
{
	if (l->img)
		check_image_close(&l->img);
	pm_close(&l->medium);
	l->pm = NULL;
}

/* ---- pins */

struct collect {
	const struct look *l;
	struct look_pins *p;
};

static bool extent_ok(const struct geo *g, const struct pins_extent *x)
{
	uint64_t n = pins_blocks(x);

	return n > 0 && x->first >= g->first_data.v && x->first < g->end_data.v && n <= g->end_data.v - x->first;
}

/* Counts and marks what one extent holds. */
static uint64_t mark_extent(struct collect *c, const struct pins_extent *x)
{
	uint64_t n = pins_blocks(x), w, busy = 0;

	for (w = x->first / 64; w * 64 < x->first + n; w++) {
		uint64_t mask = look_mask(w, x->first, n), fresh = mask & ~c->p->held[w], unused = ~look_word(c->l, w);

		busy += (uint64_t)__builtin_popcountll(mask & unused);
		c->p->pinned += (uint64_t)__builtin_popcountll(fresh);
		c->p->busy += (uint64_t)__builtin_popcountll(fresh & unused);
		c->p->held[w] |= mask;
	}
	return busy;
}

static struct look_pin *pin_room(struct look_pins *p)
{
	size_t room = p->room ? p->room * 2 : 64;
	struct look_pin *more;

	if (p->n == p->room) {
		more = realloc(p->pin, room * sizeof(*more));
		if (!more)
			return NULL;
		p->pin = more;
		p->room = room;
	}
	return &p->pin[p->n];
}

static int collect_one(void *ctx, const struct pins_entry *e)
{
	struct collect *c = ctx;
	struct look_pin *pin = pin_room(c->p);
	size_t i;

	if (!pin)
		return -ENOMEM;
	*pin = (struct look_pin){.id = e->id, .ino = e->ino, .gen = e->gen, .off = e->off, .len = e->len, .age_ns = e->age_ns,
				 .flags = e->flags, .thread = e->thread, .orphaned = e->orphaned};
	memcpy(pin->tag, e->tag, sizeof(pin->tag) - 1);
	memcpy(pin->name, e->name, sizeof(pin->name) - 1);
	pin->ext = calloc(e->n ? e->n : 1, sizeof(*pin->ext));
	if (!c->p->held)
		c->p->held = calloc((size_t)(c->l->geo.nblocks + 63) / 64, sizeof(uint64_t));
	if (!pin->ext || !c->p->held) {
		free(pin->ext);
		return -ENOMEM;
	}
	for (i = 0; i < e->n; i++) {
		if (!extent_ok(&c->l->geo, &e->ext[i]))
			continue;
		pin->ext[pin->n++] = e->ext[i];
		pin->busy += mark_extent(c, &e->ext[i]);
	}
	c->p->n++;
	return 0;
}

int look_pins_read(const struct look *l, struct look_pins *out)
{
	static const struct timespec pause = {.tv_nsec = TABLE_PAUSE_NS};
	const struct pm *medium = l->img ? check_image_medium(l->img) : l->medium;
	struct collect c = {.l = l, .p = out};
	unsigned tries;
	int err = -EBADMSG;

	*out = (struct look_pins){0};
	/* a table that its owner is just making looks damaged */
	for (tries = 0; err == -EBADMSG && tries < TABLE_TRIES; tries++) {
		if (tries)
			nanosleep(&pause, NULL);
		look_pins_free(out);
		out->published = true;
		err = pins_table_read(medium->member[0].path, l->geo.uuid, &out->owner, collect_one, &c);
	}
	if (!err)
		return 0;
	look_pins_free(out);
	if (err == -ENOMEM)
		return err_set(err, "no memory for the list of pins");
	return err == -ENOENT ? 0 : err;
}

int look_pins_try(const char *path, const struct look *l, struct look_pins *out)
{
	int err = look_pins_read(l, out);

	if (err != -EBADMSG)
		return err;
	tool_error("%s: %s; shown without pins", path, hf_errormsg());
	return 0;
}

void look_pins_free(struct look_pins *p)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		free(p->pin[i].ext);
	free(p->pin);
	free(p->held);
	*p = (struct look_pins){0};
}

struct busy_walk {
	const struct look *l;
	const struct look_pins *p;
	uint64_t *told;			/* a bit per block: was in a run already */
	int (*fn)(void *ctx, const struct look_busy *b);
	void *ctx;
};

/* at: where in the file the extent begins. */
static int busy_extent(const struct busy_walk *b, const struct look_pin *pin, const struct pins_extent *x, uint64_t at)
{
	struct look_busy run = {.pin = pin};
	uint64_t end = x->first + pins_blocks(x), blk, word = 0;
	int ret = 0;

	for (blk = x->first; blk < end && !ret; blk++) {
		if (blk == x->first || blk % 64 == 0) {
			word = look_mask(blk / 64, x->first, end - x->first) & ~look_word(b->l, blk / 64) & ~b->told[blk / 64];
			b->told[blk / 64] |= word;
		}
		if (word >> (blk % 64) & 1) {
			if (!run.n) {
				run.first = blk;
				run.off = at + (blk - x->first) * HF_BLOCK_SIZE;
			}
			run.n++;
		} else if (run.n) {
			ret = b->fn(b->ctx, &run);
			run.n = 0;
		}
	}
	return run.n && !ret ? b->fn(b->ctx, &run) : ret;
}

int look_busy_each(const struct look *l, const struct look_pins *p, int (*fn)(void *ctx, const struct look_busy *b), void *ctx)
{
	struct busy_walk b = {.l = l, .p = p, .fn = fn, .ctx = ctx};
	uint64_t at;
	size_t i, k;
	int ret = 0;

	if (!p->n)
		return 0;
	b.told = calloc((size_t)(l->geo.nblocks + 63) / 64, sizeof(uint64_t));
	if (!b.told)
		return err_set(-ENOMEM, "no memory for the list of busy extents");
	for (i = 0; i < p->n && !ret; i++) {
		const struct look_pin *pin = &p->pin[i];

		if (!pin->busy)
			continue;
		/* a pin of a part of a huge leaf holds all of it */
		at = pin->n && pin->ext[0].n & PINS_FRAMES ? HF_FRAME_SIZE : HF_BLOCK_SIZE;
		at = pin->off / at * at;
		for (k = 0; k < pin->n && !ret; k++) {
			ret = busy_extent(&b, pin, &pin->ext[k], at);
			at += pins_blocks(&pin->ext[k]) * HF_BLOCK_SIZE;
		}
	}
	free(b.told);
	return ret;
}
