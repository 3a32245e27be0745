#include "check/check.h"
#include "base/clock.h"
#include "file/volume.h"
#include <stdarg.h>
#include <stdlib.h>

#define FINDING_TEXT 512u

void check_find(struct check *c, const char *structure, uint64_t ino, uint64_t where, const char *fmt, ...)
{
	char text[FINDING_TEXT];
	struct hf_finding f = {.structure = structure, .text = text, .ino = ino, .media_off = where};
	va_list ap;

	if (c->stop)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->res->findings++;
	if (c->opts->finding)
		c->opts->finding(c->opts->ctx, &f);
	c->stop = c->opts->max_findings && c->res->findings >= c->opts->max_findings;
}

void check_progress(struct check *c, const char *phase, uint64_t done, uint64_t total)
{
	struct hf_check_progress p = {.phase = phase, .done = done, .total = total};

	if (c->opts->progress)
		c->opts->progress(c->opts->ctx, &p);
}

static bool own_one(struct check *c, uint64_t b)
{
	uint64_t bit = 1ull << (b & 63);

	if (c->seen[b >> 6] & bit)
		return false;
	c->seen[b >> 6] |= bit;
	return true;
}

uint64_t check_own(struct check *c, const char *structure, uint64_t ino, mblk_t first, uint64_t n)
{
	uint64_t b, end, twice = 0, first_twice = 0, marked = 0;

	if (first.v < FMT_BLK_ITNODE || first.v >= c->geo.nblocks - 1 || n > c->geo.nblocks - 1 - first.v) {
		check_find(c, structure, ino, 0, "inode %llu: blocks %llu..%llu lie outside the volume", (unsigned long long)ino,
			   (unsigned long long)first.v, (unsigned long long)(first.v + n - 1));
		return 0;
	}
	end = first.v + n;
	for (b = first.v; b < end;) {
		if ((b & 63) == 0 && end - b >= 64 && c->seen[b >> 6] == 0) {
			c->seen[b >> 6] = ~0ull;
			b += 64;
			marked += 64;
			continue;
		}
		if (own_one(c, b))
			marked++;
		else if (twice++ == 0)
			first_twice = b;
		b++;
	}
	if (twice)
		check_find(c, structure, ino, first_twice << HF_BLOCK_SHIFT,
			   "inode %llu: %llu blocks from block %llu on belong to something else too", (unsigned long long)ino,
			   (unsigned long long)twice, (unsigned long long)first_twice);
	return marked;
}

const struct fmt_inode *check_inode_at(const struct check *c, inum_t ino)
{
	uint64_t i = ino.v / FMT_INODES_PER_BLOCK;

	if (i >= c->iblocks || mblk_is_null(c->iblock[i]))
		return NULL;
	return (const struct fmt_inode *)pm_at(
		c->pm, moff_add(mblk_to_moff(c->iblock[i]), ino.v % FMT_INODES_PER_BLOCK * FMT_INODE_SIZE));
}

/* Blocks that no inode owns: those below the table, the allocation lines and the lanes, the second superblock. */
static void own_fixed(struct check *c)
{
	uint64_t b;

	for (b = 0; b < c->geo.first_data.v; b++)
		if (b < FMT_BLK_ITNODE || b >= FMT_BLK_ALLOC)
			own_one(c, b);
	own_one(c, c->geo.nblocks - 1);
}

int check_phases(struct check *c)
{
	static void (*const phases[])(struct check *) = {check_super,	check_itable,	   check_inodes, check_orphans,
							 check_link_counts, check_space};
	size_t i;

	c->seen = calloc((size_t)(c->geo.nblocks + 63) / 64, sizeof(uint64_t));
	if (!c->seen)
		return err_set(-ENOMEM, "check: no memory for a bit per block");
	own_fixed(c);
	for (i = 0; i < sizeof(phases) / sizeof(phases[0]) && !c->stop && !c->err; i++)
		phases[i](c);
	free(c->seen);
	free(c->iblock);
	free(c->ibitmap);
	free(c->links);
	return c->err;
}

static int run_phases(struct check *c, const struct pm *medium)
{
	struct check_media *m;
	int err = check_media_begin(c, medium, &m);

	if (!err)
		err = check_phases(c);
	return check_media_end(c, medium, m, err);
}

/* opts, or all zero; -EINVAL where the caller's cannot be understood. */
static int check_options(const struct hf_check_options *opts, struct hf_check_options *copy)
{
	int err = enter_options(copy, sizeof(*copy), opts);

	if (!err && copy->flags & ~(unsigned)HF_CHECK_MEDIA)
		err = err_set(-EINVAL, "check: unknown flags %#x", copy->flags);
	return err;
}

HF_API int hf_check(const char *path, const struct hf_check_options *opts, struct hf_check_result *out)
{
	struct hf_check_result res = {0};
	struct hf_check_options o;
	struct check c = {.opts = &o, .res = &res};
	struct check_image *img = NULL;
	double t0 = (double)clock_mono_ns() / 1e9;
	int err;

	err_clear();
	if (out)
		memset(out, 0, sizeof(*out));
	if (!path || !out)
		return err_set(-EINVAL, "check: a path and a place for the result are needed");
	err = check_options(opts, &o);
	if (!err)
		err = check_image_open(path, &img, &res.journal_records);
	if (err)
		return err;
	c.pm = check_image_pm(img);
	c.geo = *check_image_geo(img);
	if (check_image_journal_error(img))
		check_find(&c, "journal", 0, c.geo.lanes_off.v, "%s", check_image_journal_error(img));
	err = run_phases(&c, check_image_medium(img));
	check_image_close(&img);
	res.seconds = (double)clock_mono_ns() / 1e9 - t0;
	*out = res;
	return err;
}

HF_API int hf_check_mounted(hf_volume *vol, const struct hf_check_options *opts, struct hf_check_result *out)
{
	VOLUME_CALL(vol);
	struct hf_check_result res = {0};
	struct hf_check_options o;
	struct check c = {.opts = &o, .res = &res};
	struct check_media *m;
	double t0 = (double)clock_mono_ns() / 1e9;
	int err;

	if (out)
		memset(out, 0, sizeof(*out));
	if (!out)
		return err_set(-EINVAL, "check: a place for the result is needed");
	err = enter_volume(vol);
	if (!err)
		err = check_options(opts, &o);
	if (err)
		return err;
	c.pm = vol->fs.pm;
	c.geo = vol->fs.geo;
	err = check_media_begin(&c, c.pm, &m);
	if (!err) {
		volume_freeze(vol);	/* nothing that is verified changes */
		err = check_phases(&c);
		err = check_media_end(&c, c.pm, m, err);
		volume_thaw(vol);
	} else {
		check_media_end(&c, c.pm, m, err);
	}
	res.seconds = (double)clock_mono_ns() / 1e9 - t0;
	*out = res;
	return err;
}
