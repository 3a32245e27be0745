#include "check/image.h"
#include "journal/journal.h"
#include "pin/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct pending {
	const struct pm *pm;
	const struct geo *geo;
	jseq_t c;
	uint64_t records;
	uint8_t *touched;		/* a bit per frame that replay writes to */
};

static void touch(struct pending *p, uint64_t off, uint64_t len)
{
	uint64_t f;

	if (off >= p->geo->bytes || len == 0 || len > p->geo->bytes - off)
		return;			/* recovery refuses such a record */
	for (f = off >> HF_FRAME_SHIFT; f <= (off + len - 1) >> HF_FRAME_SHIFT; f++)
		p->touched[f / 8] |= (uint8_t)(1u << (f % 8));
}

/* The frames that a record's items write to. */
static int pending_record(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r)
{
	const le64_t *w = (const le64_t *)(const void *)(r + 1), *end = (const le64_t *)(const void *)((const char *)r + le32_get(r->bytes));
	struct pending *p = ctx;
	uint32_t i;

	(void)lane;
	(void)half;
	(void)off;
	if (le64_get(r->seq) <= p->c.v)
		return 0;
	p->records++;
	for (i = 0; i < le32_get(r->items) && end - w >= 2; i++) {
		uint64_t head = le64_get(w[0]), arg = le64_get(w[1]);

		switch (FMT_ITEM_KIND(head)) {
		case FMT_ITEM_SET64:
			touch(p, FMT_ITEM_OFF(head), 8);
			w += 2;
			break;
		case FMT_ITEM_BITS_SET:
		case FMT_ITEM_BITS_CLEAR:
			if (arg && arg <= p->geo->nblocks)
				touch(p, FMT_ITEM_OFF(head) / 8, arg / 8 + 2);
			w += 2;
			break;
		case FMT_ITEM_COPY:
			touch(p, FMT_ITEM_OFF(head), arg);
			w += 2;
			w += min_u64(arg / 8, (uint64_t)(end - w));
			break;
		case FMT_ITEM_DATA:
			w += min_u64(3, (uint64_t)(end - w));
			break;
		default:
			return 0;
		}
	}
	return 0;
}

/* What is all zeros needs no memory. */
static void copy_blocks(uint8_t *to, const uint8_t *from, uint64_t len)
{
	static const uint8_t zeros[HF_BLOCK_SIZE];
	uint64_t at;

	for (at = 0; at < len; at += HF_BLOCK_SIZE)
		if (memcmp(from + at, zeros, HF_BLOCK_SIZE) != 0)
			memcpy(to + at, from + at, HF_BLOCK_SIZE);
}

/* A private copy of a frame. Device-DAX has no copy-on-write of the kernel's, and no part of what it is aligned to can be replaced in a map of it:
 * on a device aligned to 1 GiB that is the copy. */
static int own_frame(struct check_image *img, uint64_t f)
{
	uint64_t g = img->granule ? (f << HF_FRAME_SHIFT) / img->granule : 0, off = g * img->granule;
	uint8_t *at = img->replayed_base + off;

	if (!img->own || img->own[g / 8] >> (g % 8) & 1)
		return 0;
	if (mmap(at, img->granule, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return err_set(-ENOMEM, "check: no memory for a private copy of %llu bytes at %llu", (unsigned long long)img->granule,
			       (unsigned long long)off);
	copy_blocks(at, pm_at(img->medium, MOFF(off)), min_u64(img->granule, img->medium->size - off));
	img->own[g / 8] |= (uint8_t)(1u << (g % 8));
	return 0;
}

static void image_stored(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	struct check_image *img = ctx;
	uint64_t b;

	(void)nontemporal;
	for (b = off.v >> HF_BLOCK_SHIFT; len && b <= (off.v + len - 1) >> HF_BLOCK_SHIFT; b++)
		img->changed[b >> 6] |= 1ull << (b & 63);
}

int check_image_put(struct check_image *img, moff_t off, const void *src, uint64_t len)
{
	uint64_t f;
	int err;

	for (f = off.v >> HF_FRAME_SHIFT; f <= (off.v + len - 1) >> HF_FRAME_SHIFT; f++) {
		err = own_frame(img, f);
		if (err)
			return err;
	}
	pm_store(img->replayed, off, src, len);
	return 0;
}

/* A private image: the kernel's copy-on-write for files; on device-DAX the frames that will change are copied. */
static int image_map(struct check_image *img)
{
	struct pm_open_args args = {.hook = img->changed ? &img->hook : NULL, .no_threads = true};
	uint64_t size = img->medium->size, granule = max_u64(img->medium->align, HF_FRAME_SIZE);
	bool dax = img->medium->member[0].kind == PM_DEVDAX;
	int err;

	img->reserved_bytes = (size_t)(round_up_u64(size, granule) + granule);
	img->reserved = mmap(NULL, img->reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (img->reserved == MAP_FAILED) {
		img->reserved = NULL;
		return err_set(-ENOMEM, "check: no address space for a private image of %llu bytes", (unsigned long long)size);
	}
	img->replayed_base = (uint8_t *)(uintptr_t)round_up_u64((uint64_t)(uintptr_t)img->reserved, granule);
	for (unsigned int i = 1; i < img->medium->nmembers; i++)
		dax |= img->medium->member[i].kind == PM_DEVDAX;
	err = pm_map_at(img->medium, img->replayed_base, MOFF(0), size, dax ? PROT_READ : PROT_READ | PROT_WRITE, dax);
	if (err)
		return err_set(err, "check: cannot map a private image of the volume");
	if (dax) {
		img->granule = granule;
		img->own = calloc(1, (size_t)(size / granule) / 8 + 1);
		if (!img->own)
			return err_set(-ENOMEM, "check: out of memory");
	}
	return pm_open_memory(img->replayed_base, size, &args, &img->replayed);
}

/* The records that wait, and what they write to. */
static int image_pending(struct check_image *img, struct pending *p)
{
	int err;

	touch(p, 0, HF_BLOCK_SIZE * FMT_BLK_ALLOC);
	err = journal_read_c(img->medium, &img->geo, &p->c);
	return err ? err : journal_walk(img->medium, &img->geo, pending_record, p);
}

static int image_apply(struct check_image *img, const struct pending *p)
{
	struct journal *j = NULL;
	uint64_t f;
	int err = 0;

	for (f = 0; f < img->geo.nframes && !err; f++)
		if (p->touched[f / 8] >> (f % 8) & 1)
			err = own_frame(img, f);
	if (!err)
		err = journal_open(img->replayed, &img->geo, &j);
	journal_close(&j);
	return err;
}

static int image_replay(struct check_image *img, uint64_t *records)
{
	struct pending p = {.pm = img->medium, .geo = &img->geo};
	int err;

	p.touched = calloc(1, (size_t)(img->geo.nframes + 7) / 8);
	if (!p.touched)
		return err_set(-ENOMEM, "check: out of memory");
	err = image_pending(img, &p);
	*records = p.records;
	if (!err && p.records && !img->replayed)
		err = image_map(img);
	if (!err && p.records)
		err = image_apply(img, &p);
	free(p.touched);
	if (err == -ENOMEM)
		return err;
	if (err) {		/* damaged: what is in place is verified as it stands */
		snprintf(img->journal_error, sizeof(img->journal_error), "%s", err_msg());
		if (!img->changed)
			pm_close(&img->replayed);
	}
	return 0;
}

/* What a repair needs, and who looks at a volume whose repair was interrupted: an image that can be changed. */
static int image_writable(struct check_image *img)
{
	img->changed = calloc((size_t)(img->medium->size >> HF_BLOCK_SHIFT) / 64 + 1, sizeof(uint64_t));
	img->hook = (struct pm_hook){.ctx = img, .store = image_stored};
	return img->changed ? image_map(img) : err_set(-ENOMEM, "check: no memory for a bit per block");
}

static int hold_pinned(void *ctx, const struct pins_entry *e)
{
	struct check_image *img = ctx;
	uint64_t b, end = img->medium->size >> HF_BLOCK_SHIFT;
	size_t i;

	for (i = 0; i < e->n; i++)
		for (b = e->ext[i].first; b < end && b - e->ext[i].first < pins_blocks(&e->ext[i]); b++)
			img->held[b >> 6] |= 1ull << (b & 63);
	return 0;
}

/* What a dead owner had pinned is not used for anything, as by a mount (rule B4). */
static int image_hold(struct check_image *img)
{
	struct pins_owner owner;
	int err;

	img->held = calloc((size_t)(img->medium->size >> HF_BLOCK_SHIFT) / 64 + 1, sizeof(uint64_t));
	if (!img->held)
		return err_set(-ENOMEM, "check: no memory for a bit per block");
	err = pins_table_read(img->medium->member[0].path, img->geo.uuid, &owner, hold_pinned, img);
	if (err == -ENOENT)
		err_clear();
	return err == -ENOENT ? 0 : err;
}

/* A repair that was interrupted is finished: on the medium, or in the image for who only looks. A list that is damaged is left
 * alone: the mark stays, and is told. */
static int image_finish(struct check_image *img, enum check_image_how how)
{
	int err;

	if (!img->geo.repairing || how == CHECK_IMAGE_RAW)
		return 0;
	err = how == CHECK_IMAGE_WRITE ? check_redo_finish(img->medium, &img->geo) : check_redo_image(img);
	if (err == -EBADMSG || err == -EUCLEAN)
		return 0;
	if (err)
		return err;
	img->finished = true;
	return how == CHECK_IMAGE_WRITE ? geo_read(img->medium, &img->geo) : 0;
}

int check_image_open_how(const char *path, enum check_image_how how, struct check_image **out, uint64_t *records)
{
	struct pm_open_args args = {.read_only = how == CHECK_IMAGE_READ};
	struct check_image *img = calloc(1, sizeof(*img));
	int err;

	*out = NULL;
	*records = 0;
	if (!img)
		return err_set(-ENOMEM, "check: out of memory");
	err = geo_open(path, &args, true, &img->medium);
	if (!err)
		err = geo_read(img->medium, &img->geo);
	if (!err && how != CHECK_IMAGE_READ)
		err = geo_settle(img->medium, &img->geo);
	if (!err && (how != CHECK_IMAGE_READ || img->geo.repairing))
		err = image_writable(img);
	if (!err && how != CHECK_IMAGE_READ)
		err = image_hold(img);
	if (!err)
		err = image_finish(img, how);
	if (!err && how != CHECK_IMAGE_RAW)
		err = image_replay(img, records);
	if (err) {
		check_image_close(&img);
		return err;
	}
	*out = img;
	return 0;
}

void check_image_close(struct check_image **imgp)
{
	struct check_image *img = *imgp;

	*imgp = NULL;
	if (!img)
		return;
	pm_close(&img->replayed);
	if (img->reserved)
		munmap(img->reserved, img->reserved_bytes);
	pm_close(&img->medium);
	free(img->changed);
	free(img->held);
	free(img->own);
	free(img);
}
