/* Which pins lie on what a range of a file maps now. By media blocks: a pin keeps its blocks when
 * the file gets others, and a shift moves them to other offsets. */
#include "pin/pins.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct own_extent {
	uint64_t first, end; /* media blocks */
	uint64_t reach;	     /* the largest 'end' up to here */
	uint64_t id;
	bool hit;
};

struct own {
	struct pins *p;
	struct own_extent *x; /* sorted by first */
	size_t n, room;
	uint64_t hits;
};

/* ---- some of the pins of an inode */

/* owner 0: the leases */
static bool own_wants(const struct pins *p, uint32_t index, uint64_t owner)
{
	if (owner)
		return atomic_load(&p->priv[index].owner) == owner;
	return atomic_load(&p->priv[index].lease) != NULL;
}

static int own_add(struct own *o, uint64_t id, const struct pins_extent *x, size_t n)
{
	if (o->n + n > o->room) {
		size_t room = (o->n + n) * 2;
		struct own_extent *more = realloc(o->x, room * sizeof(*more));

		if (!more)
			return err_set(-ENOMEM, "out of memory");
		o->x = more;
		o->room = room;
	}
	for (size_t i = 0; i < n; i++)
		o->x[o->n++] = (struct own_extent){
		    .first = x[i].first, .end = x[i].first + pins_blocks(&x[i]), .id = id};
	return 0;
}

static int own_add_pin(struct own *o, uint32_t index)
{
	uint64_t state = pins_state(o->p, index);
	struct pins_extent few[16], *x;
	union pins_any rec;
	int err;

	if (pins_state_of(state) != PINS_LIVE || !pins_read(o->p, index, state, &rec))
		return 0;
	err = pins_extents(o->p, index, &rec, few, 16, &x);
	if (err)
		return err == -EAGAIN ? 0 : err; /* it is going */
	err = own_add(o, pins_id(state, index), x, rec.rec.nextents);
	if (x != few)
		free(x);
	return err;
}

static int own_gather(struct own *o, struct inode *in, uint64_t owner)
{
	int err = 0;

	mtx_lock(&in->pins_lock);
	for (uint32_t i = in->pins_head; i && !err; i = o->p->priv[i].next)
		if (own_wants(o->p, i, owner))
			err = own_add_pin(o, i);
	mtx_unlock(&in->pins_lock);
	return err;
}

/* ---- against the map */

static int own_compare(const void *a, const void *b)
{
	const struct own_extent *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static void own_sort(struct own *o)
{
	uint64_t reach = 0;

	qsort(o->x, o->n, sizeof(*o->x), own_compare);
	for (size_t i = 0; i < o->n; i++) {
		reach = max_u64(reach, o->x[i].end);
		o->x[i].reach = reach;
	}
}

/* Marks those that [first, end) touches. */
static void own_mark(struct own *o, uint64_t first, uint64_t end)
{
	size_t low = 0, high = o->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->x[mid].first < end)
			low = mid + 1;
		else
			high = mid;
	}
	while (low > 0 && o->x[low - 1].reach > first) {
		struct own_extent *x = &o->x[--low];

		if (x->end > first && !x->hit) {
			x->hit = true;
			o->hits++;
		}
	}
}

/* Layout held. enough: stops after so many. */
static int own_match(struct own *o, struct inode *in, fblk_t first, uint64_t n, uint64_t enough)
{
	uint64_t at = first.v, end = n > UINT64_MAX - at ? UINT64_MAX : at + n;
	struct map_extent x;
	fblk_t data;
	int err = 0;

	own_sort(o);
	while (!err && at < end && o->hits < enough) {
		err = map_seek(in, FMT_FORK_DATA, FBLK(at), FBLK(end), true, &data);
		if (err || data.v == end)
			break;
		/* By slots: a part of a huge leaf stands for all of it. */
		at = data.v;
		err = map_lookup(in, FMT_FORK_DATA, data,
				 min_u64(end - at, HF_BLOCKS_PER_FRAME - at % HF_BLOCKS_PER_FRAME),
				 &x);
		if (err)
			break;
		if (x.huge)
			own_mark(o, x.blk.v - at % HF_BLOCKS_PER_FRAME,
				 x.blk.v - at % HF_BLOCKS_PER_FRAME + HF_BLOCKS_PER_FRAME);
		else
			own_mark(o, x.blk.v, x.blk.v + x.n);
		at += x.n;
	}
	return err;
}

int pin_owned_by(struct inode *in, fblk_t first, uint64_t n, uint64_t owner)
{
	struct own o = {.p = in->fs->pins};
	int ret;

	if (atomic_load(&in->pins) == 0)
		return 0;
	rwl_rdlock(&in->layout);
	ret = own_gather(&o, in, owner);
	if (!ret && o.n)
		ret = own_match(&o, in, first, n, 1);
	rwl_rdunlock(&in->layout);
	free(o.x);
	return ret ? ret : o.hits != 0;
}

int pin_own(struct inode *in, fblk_t first, uint64_t n)
{
	return pin_owned_by(in, first, n, pin_thread());
}

static int notice_collect(const struct own *o, struct pin_notice *out)
{
	out->ids = malloc(o->hits * sizeof(*out->ids));
	if (!out->ids)
		return err_set(-ENOMEM, "out of memory");
	for (size_t i = 0; i < o->n; i++)
		if (o->x[i].hit)
			out->ids[out->n++] = o->x[i].id;
	return 0;
}

static int notice_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* A pin of several extents is told once. */
static void notice_unique(struct pin_notice *what)
{
	size_t n = 0;

	qsort(what->ids, what->n, sizeof(*what->ids), notice_compare);
	for (size_t i = 0; i < what->n; i++)
		if (n == 0 || what->ids[n - 1] != what->ids[i])
			what->ids[n++] = what->ids[i];
	what->n = n;
}

int pin_notice_gather(struct inode *in, fblk_t first, uint64_t n, struct pin_notice *out)
{
	struct own o = {.p = in->fs->pins};
	int err;

	*out = (struct pin_notice){0};
	if (atomic_load(&in->leases) == 0)
		return 0;
	err = own_gather(&o, in, 0);
	if (!err && o.n)
		err = own_match(&o, in, first, n, UINT64_MAX);
	if (!err && o.hits)
		err = notice_collect(&o, out);
	if (!err && out->n) {
		notice_unique(out);
		out->deadline_ns = pins_lease_deadline(o.p, out->ids, out->n);
		err = pins_notice_calls(out);
	}
	if (err)
		pin_notice_drop(out);
	free(o.x);
	return err;
}
