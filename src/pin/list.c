/* All pins of a volume, for people. No lock: each record is read as a whole or passed over. */
#include "pin/pins.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static bool list_shown(uint64_t state)
{
	return pins_state_of(state) == PINS_LIVE || pins_state_of(state) == PINS_ORPHAN;
}

static void list_fill(struct pin_info *to, const struct pins_rec *r, uint32_t index)
{
	*to = (struct pin_info){
	    .id = pins_id(r->state, index),
	    .ino = INUM(r->ino),
	    .gen = r->gen,
	    .off = r->off,
	    .len = r->len,
	    .since_ns = r->since_ns,
	    .flags = r->flags & (PINS_WRITE | PINS_ALLOC),
	    .thread = r->thread,
	    .leased = (r->flags & PINS_LEASED) != 0,
	    .orphaned = pins_state_of(r->state) == PINS_ORPHAN,
	};
	memcpy(to->tag, r->tag, sizeof(to->tag));
	memcpy(to->name, r->name, sizeof(to->name));
}

/* 1: *out is the pin; 0: there is none (any more). */
static int list_one(struct pins *p, uint32_t index, struct pin_info *out,
		    const struct pin_info_fn *each)
{
	uint64_t state = pins_state(p, index);
	struct pins_extent few[16], *x;
	union pins_any rec;
	int err;

	if (!list_shown(state) || !pins_read(p, index, state, &rec))
		return 0;
	list_fill(out, &rec.rec, index);
	if (!each)
		return 1;
	err = pins_extents(p, index, &rec, few, 16, &x);
	if (err)
		return err == -EAGAIN ? 0 : err;
	for (size_t i = 0; i < rec.rec.nextents; i++)
		each->fn(each->ctx, out, MBLK(x[i].first), pins_blocks(&x[i]));
	if (x != few)
		free(x);
	return 1;
}

int pin_list(struct fs *fs, uint64_t *cursor, struct pin_info *out, size_t max, size_t *n,
	     const struct pin_info_fn *each)
{
	struct pins *p = fs->pins;
	uint64_t used = atomic_load_explicit(&p->used, memory_order_acquire), i = *cursor + 1;
	int ret;

	*n = 0;
	for (; i <= used && *cursor != UINT64_MAX && *n < max; i++) {
		ret = list_one(p, (uint32_t)i, &out[*n], each);
		if (ret < 0)
			return ret;
		*n += (size_t)ret;
	}
	*cursor = i > used ? UINT64_MAX : i - 1;
	return 0;
}

int pin_stat(struct fs *fs, uint64_t id, struct pin_info *out, const struct pin_info_fn *each)
{
	int ret = 0;

	if (pins_id_ok(fs->pins, id))
		ret = list_one(fs->pins, pins_index(id), out, each);
	if (ret < 0)
		return ret;
	if (ret == 0 || out->id != id)
		return err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	return 0;
}
