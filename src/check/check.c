#include "check/check.h"
#include "check/image.h"
#include "base/clock.h"
#include "file/volume.h"
#include <stdarg.h>
#include <stdlib.h>

#define FINDING_TEXT 512u
#define ROUNDS_MAX   64u	/* each repairs something; damage that takes more is left for another run */
#define REPAIR_FLAGS ((unsigned)(HF_CHECK_PREEN | HF_CHECK_REPAIR))
#define CHECK_KNOWN  ((unsigned)HF_CHECK_MEDIA | REPAIR_FLAGS)

static void tell(struct check *c, const char *repair, const char *structure, uint64_t ino, uint64_t where, const char *fmt, va_list ap)
	__attribute__((format(printf, 6, 0)));
static void tell(struct check *c, const char *repair, const char *structure, uint64_t ino, uint64_t where, const char *fmt, va_list ap)
{
	char text[FINDING_TEXT];
	struct hf_finding f = {.structure = structure, .text = text, .ino = ino, .media_off = where, .repair = repair};

	if (c->silent)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	c->res->findings++;
	if (repair)
		c->res->repaired++;
	else
		c->res->unrepaired++;
	if (c->opts->finding)
		c->opts->finding(c->opts->ctx, &f);
	c->stop = c->opts->max_findings && c->res->findings >= c->opts->max_findings;
}

/* What a repairing round leaves alone is told by the pass behind the last round. */
void check_find(struct check *c, const char *structure, uint64_t ino, uint64_t where, const char *fmt, ...)
{
	va_list ap;

	if (c->stop)
		return;
	c->left++;
	if (c->mend != CHECK_MEND_NONE)
		return;
	va_start(ap, fmt);
	tell(c, NULL, structure, ino, where, fmt, ap);
	va_end(ap);
}

bool check_mend(struct check *c, enum check_mend how, const char *repair, const char *structure, uint64_t ino, uint64_t where,
		const char *fmt, ...)
{
	bool now = c->mend >= how;
	va_list ap;

	if (c->stop)
		return false;
	if (now)
		c->mended++;
	else
		c->left++;
	if (!now && c->mend != CHECK_MEND_NONE)
		return false;
	va_start(ap, fmt);
	tell(c, now ? repair : NULL, structure, ino, where, fmt, ap);
	va_end(ap);
	return now;
}

bool check_wait(struct check *c)
{
	if (c->mend == CHECK_MEND_NONE || c->owned)
		return false;
	c->waiting++;
	return true;
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

uint64_t check_own(struct check *c, mblk_t first, uint64_t n, mblk_t *first_twice)
{
	uint64_t b, end = first.v + n, twice = 0;

	for (b = first.v; b < end;) {
		if ((b & 63) == 0 && end - b >= 64 && c->seen[b >> 6] == 0) {
			c->seen[b >> 6] = ~0ull;
			b += 64;
			continue;
		}
		if (!own_one(c, b) && twice++ == 0)
			*first_twice = MBLK(b);
		b++;
	}
	return twice;
}

const struct fmt_inode *check_inode_at(const struct check *c, inum_t ino)
{
	uint64_t i = ino.v / FMT_INODES_PER_BLOCK;
	mblk_t b = MBLK(FMT_BLK_INODES0);	/* the first ones are where they always are */

	if (i > 0 && (i >= c->iblocks || mblk_is_null(c->iblock[i])))
		return NULL;
	if (i > 0)
		b = c->iblock[i];
	return (const struct fmt_inode *)pm_at(c->pm, moff_add(mblk_to_moff(b), ino.v % FMT_INODES_PER_BLOCK * FMT_INODE_SIZE));
}

/* Blocks that no inode owns: those below the table, the allocation lines and the lanes, superblocks. */
static void own_fixed(struct check *c)
{
	unsigned i = 0;
	mblk_t first;
	uint64_t n, b;

	for (n = geo_fixed(&c->geo, i, &first); n > 0; n = geo_fixed(&c->geo, ++i, &first))
		for (b = first.v; b < first.v + n; b++)
			if (b < FMT_BLK_ITNODE || b >= FMT_BLK_ALLOC)
				own_one(c, b);
}

void check_phases_free(struct check *c)
{
	free(c->seen);
	free(c->iblock);
	free(c->ibitmap);
	free(c->links);
	c->seen = NULL;
	c->iblock = c->ibitmap = NULL;
	c->links = NULL;
	c->iblocks = c->iblocks_cap = c->igroups = c->igroups_cap = 0;
}

int check_phases(struct check *c)
{
	static void (*const phases[])(struct check *) = {check_super,	    check_journal, check_itable,  check_inodes,
							 check_bitmaps,	    check_directories, check_orphans, check_link_counts,
							 check_space};
	struct hf_check_result *r = c->res;
	size_t i;

	check_phases_free(c);
	r->inodes = r->directories = r->files = r->others = r->names = r->blocks_used = r->orphans = 0;
	c->mended = c->left = c->waiting = c->nnameless = 0;
	c->seen = calloc((size_t)(c->geo.nblocks + 63) / 64, sizeof(uint64_t));
	if (!c->seen)
		return err_set(-ENOMEM, "check: no memory for a bit per block");
	own_fixed(c);
	for (i = 0; i < sizeof(phases) / sizeof(phases[0]) && !c->stop && !c->err && !c->mended && !c->waiting; i++)
		phases[i](c);
	return c->err;
}

/* ---- repairing */

/* Who owns what, for those that need free blocks. */
static int learn_owners(struct check *c)
{
	enum check_mend mend = c->mend;
	bool silent = c->silent;
	int err;

	c->mend = CHECK_MEND_NONE;
	c->silent = true;
	err = check_phases(c);
	c->mend = mend;
	c->silent = silent;
	c->owned = c->seen;
	c->seen = NULL;
	c->alloc_at = 0;
	return err;
}

/* Rounds until one finds nothing that it can repair. */
static int repair_rounds(struct check *c)
{
	unsigned round;
	int err = 0;

	for (round = 0; round < ROUNDS_MAX && !err; round++) {
		err = check_phases(c);
		if (err || (!c->mended && !c->waiting))
			break;
		free(c->owned);
		c->owned = NULL;
		if (!c->mended)
			err = learn_owners(c);
	}
	if (round == ROUNDS_MAX)
		c->left++;
	free(c->owned);
	c->owned = NULL;
	return err;
}

/* An image that is repaired; nothing is written. *left: what could not be, or may not by what was asked for. */
static int repair_image(struct check *c, bool silent, uint64_t *left)
{
	int err;

	c->mend = c->opts->flags & HF_CHECK_REPAIR ? CHECK_MEND_ALL : CHECK_MEND_SAFE;
	c->silent = silent;
	if (c->finished)
		(void)check_mend(c, CHECK_MEND_SAFE, "it was finished", "superblock", 0, 0, "a repair had been interrupted");
	err = repair_rounds(c);
	if (!err && (pm_bad(c->pm) || pm_bad(c->img->medium)))
		err = err_set(-EIO, "repair: bad media where metadata is: nothing was written, for what a repair would give up may still be "
				    "read. Copy the files off (mounted read-only); fsck.holdfast -n names those that are hit");
	*left = c->left;
	c->mend = CHECK_MEND_NONE;
	if (!err && *left)
		err = check_phases(c);		/* tells what is left */
	return err;
}

static int open_image(const char *path, enum check_image_how how, struct check *c)
{
	int err = check_image_open_how(path, how, &c->img, &c->res->journal_records);

	if (err)
		return err;
	c->pm = check_image_pm(c->img);
	c->finished |= c->img->finished;
	c->geo = *check_image_geo(c->img);
	return 0;
}

static void close_image(struct check *c)
{
	check_phases_free(c);
	free(c->owned);
	free(c->cut);
	free(c->nameless);
	c->owned = c->cut = c->nameless = NULL;
	c->cut_bits = c->nnameless = c->nameless_cap = 0;
	c->left = 0;
	c->stop = false;
	check_image_close(&c->img);
}

static int run_phases(struct check *c, const struct pm *medium)
{
	struct check_media *m;
	int err = check_media_begin(c, medium, &m);

	if (!err)
		err = check_phases(c);
	return check_media_end(c, medium, m, err);
}

static int verify_path(const char *path, struct check *c)
{
	int err = open_image(path, CHECK_IMAGE_READ, c);

	if (!err)
		err = run_phases(c, check_image_medium(c->img));
	if (!err && c->finished)
		check_find(c, "superblock", 0, 0, "a repair was interrupted; this is how it would end");
	close_image(c);
	return err;
}

/* Files that are hit cannot be repaired, and are not damaged otherwise: it is told at the end. */
static int tell_media(struct check *c)
{
	const struct pm *medium = check_image_medium(c->img);
	struct check_media *m;
	int err = check_media_begin(c, medium, &m);

	return check_media_end(c, medium, m, err);
}

static int repair_path(const char *path, struct check *c)
{
	uint64_t left;
	int err = open_image(path, CHECK_IMAGE_WRITE, c);

	if (!err)
		err = repair_image(c, false, &left);
	if (!err && c->res->repaired > c->finished) {
		check_stamp_repair(c);
		err = c->err ? c->err : check_image_commit(c->img, c->opts->undo_path);
	}
	if (!err)
		err = tell_media(c);
	close_image(c);
	return err;
}

/* Only what loses nothing, and only if that is all there is to do: so nothing is written that a later decision depends on. */
static int preen_path(const char *path, struct check *c)
{
	uint64_t left = 0;
	int err = open_image(path, CHECK_IMAGE_WRITE, c);

	if (!err)
		err = repair_image(c, true, &left);
	close_image(c);
	if (err)
		return err;
	c->silent = false;
	c->res->repaired = c->res->findings = c->res->unrepaired = 0;
	return left ? verify_path(path, c) : repair_path(path, c);
}

/* opts, or all zero; -EINVAL where the caller's cannot be understood. */
static int check_options(const struct hf_check_options *opts, unsigned known, struct hf_check_options *copy)
{
	int err = enter_options(copy, sizeof(*copy), opts);

	if (err)
		return err;
	if (copy->flags & ~known)
		return err_set(-EINVAL, "check: unknown flags %#x", copy->flags & ~known);
	if (copy->undo_path && !(copy->flags & REPAIR_FLAGS))
		return err_set(-EINVAL, "check: an undo file is for a repair");
	if (copy->max_findings && copy->flags & REPAIR_FLAGS)
		return err_set(-EINVAL, "check: a repair cannot stop half-way: no max_findings with it");
	return 0;
}

HF_API int hf_check(const char *path, const struct hf_check_options *opts, struct hf_check_result *out)
{
	struct hf_check_result res = {0};
	struct hf_check_options o;
	struct check c = {.opts = &o, .res = &res};
	double t0 = (double)clock_mono_ns() / 1e9;
	int err;

	err_clear();
	if (out)
		memset(out, 0, sizeof(*out));
	if (!path || !out)
		return err_set(-EINVAL, "check: a path and a place for the result are needed");
	err = check_options(opts, CHECK_KNOWN, &o);
	if (err)
		return err;
	if (o.flags & HF_CHECK_REPAIR)
		err = repair_path(path, &c);
	else if (o.flags & HF_CHECK_PREEN)
		err = preen_path(path, &c);
	else
		err = verify_path(path, &c);
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
		err = check_options(opts, HF_CHECK_MEDIA, &o);
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
	check_phases_free(&c);
	res.seconds = (double)clock_mono_ns() / 1e9 - t0;
	*out = res;
	return err;
}
