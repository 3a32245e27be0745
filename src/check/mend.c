/* Changing the private image. */
#include "check/check.h"
#include "check/image.h"
#include "base/clock.h"

void check_put(struct check *c, moff_t off, const void *src, uint64_t len)
{
	int err = check_image_put(c->img, off, src, len);

	if (err && !c->err)
		c->err = err;
}

void check_put64(struct check *c, moff_t off, uint64_t host_value)
{
	le64_t w = le64_of(host_value);

	check_put(c, off, &w, sizeof(w));
}

void check_put_inode(struct check *c, uint64_t ino, const struct fmt_inode *i)
{
	const struct fmt_inode *at = check_inode_at(c, INUM(ino));
	struct fmt_inode sealed = *i;

	sealed.csum = le64_of(fmt_inode_csum(&c->geo, &sealed));
	check_put(c, MOFF((uint64_t)((const uint8_t *)at - c->pm->base)), &sealed, sizeof(sealed));
}

/* The old generation may be what is damaged. Generations count up from small or 48-bit random numbers: a clock in ns is above. */
void check_clear_inode(struct check *c, uint64_t ino)
{
	struct fmt_inode i = {.ino = le64_of(ino), .gen = le64_of(clock_ns(CLOCK_REALTIME))};

	check_put_inode(c, ino, &i);
}

static bool is_free(const struct check *c, uint64_t b)
{
	uint64_t line = pm_load64(c->pm, moff_add(c->geo.alloc_off, b / 64 * 8));

	return !((line | c->owned[b >> 6] | c->img->held[b >> 6]) >> (b & 63) & 1);
}

static void set_taken(struct check *c, uint64_t b, bool taken)
{
	moff_t word = moff_add(c->geo.alloc_off, b / 64 * 8);
	uint64_t bit = 1ull << (b & 63), line = pm_load64(c->pm, word);

	c->owned[b >> 6] = taken ? c->owned[b >> 6] | bit : c->owned[b >> 6] & ~bit;
	check_put64(c, word, taken ? line | bit : line & ~bit);
}

mblk_t check_alloc(struct check *c, uint64_t n)
{
	uint64_t b = round_up_u64(max_u64(c->alloc_at, c->geo.first_data.v), n), k;

	for (; b + n <= c->geo.end_data.v; b += n) {
		for (k = 0; k < n && is_free(c, b + k); k++)
			;
		if (k < n)
			continue;
		for (k = 0; k < n; k++)
			set_taken(c, b + k, true);
		if (n == 1)
			c->alloc_at = b + 1;
		return MBLK(b);
	}
	return MBLK_NULL;
}

void check_unalloc(struct check *c, mblk_t b)
{
	set_taken(c, b.v, false);
	c->alloc_at = 0;
}
