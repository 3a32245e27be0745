#include "check/check.h"
#include <stdlib.h>
#include <sys/mman.h>

struct check_image {
	struct pm *medium;		/* as it is, read-only */
	struct pm *replayed;		/* private copy with the journal replayed; NULL: there was nothing to replay */
	void *reserved;
	size_t reserved_bytes;
	struct geo geo;
	char journal_error[256];
};

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
		default:
			return 0;
		}
	}
	return 0;
}

/* A private image: the kernel's copy-on-write for files; device-DAX has none, so there the frames that will change are copied. */
static int image_map(struct check_image *img, const struct pending *p)
{
	uint64_t size = img->medium->size, f;
	bool dax = img->medium->kind == PM_DEVDAX;
	uint8_t *base;

	img->reserved_bytes = (size_t)size + HF_FRAME_SIZE;
	img->reserved = mmap(NULL, img->reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (img->reserved == MAP_FAILED) {
		img->reserved = NULL;
		return err_set(-ENOMEM, "check: no address space for a private image of %llu bytes", (unsigned long long)size);
	}
	base = (uint8_t *)(uintptr_t)round_up_u64((uint64_t)(uintptr_t)img->reserved, HF_FRAME_SIZE);
	if (mmap(base, (size_t)size, dax ? PROT_READ : PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE | (dax ? MAP_SHARED : MAP_PRIVATE),
		 img->medium->fd, 0) == MAP_FAILED)
		return err_set(-errno, "check: cannot map a private image of the volume");
	for (f = 0; dax && f < img->geo.nframes; f++) {
		uint8_t *at = base + (f << HF_FRAME_SHIFT);

		if (!(p->touched[f / 8] >> (f % 8) & 1))
			continue;
		if (mmap(at, HF_FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			return err_set(-ENOMEM, "check: no memory for a private copy of frame %llu", (unsigned long long)f);
		memcpy(at, pm_at(img->medium, MOFF(f << HF_FRAME_SHIFT)), HF_FRAME_SIZE);
	}
	return pm_open_memory(base, size, NULL, &img->replayed);
}

static int image_replay(struct check_image *img, uint64_t *records)
{
	struct pending p = {.pm = img->medium, .geo = &img->geo};
	struct journal *j = NULL;
	int err;

	p.touched = calloc(1, (size_t)(img->geo.nframes + 7) / 8);
	if (!p.touched)
		return err_set(-ENOMEM, "check: out of memory");
	touch(&p, 0, HF_BLOCK_SIZE * FMT_BLK_ALLOC);
	err = journal_read_c(img->medium, &img->geo, &p.c);
	if (!err)
		err = journal_walk(img->medium, &img->geo, pending_record, &p);
	*records = p.records;
	if (!err && p.records)
		err = image_map(img, &p);
	free(p.touched);
	if (err == -ENOMEM)
		return err;
	if (!err && p.records) {
		err = journal_open(img->replayed, &img->geo, &j);
		journal_close(&j);
		if (err == -ENOMEM)
			return err;
	}
	if (err) {		/* damaged: what is in place is verified as it stands */
		snprintf(img->journal_error, sizeof(img->journal_error), "%s", err_msg());
		pm_close(&img->replayed);
	}
	return 0;
}

int check_image_open(const char *path, struct check_image **out, uint64_t *records)
{
	struct pm_open_args args = {.read_only = true};
	struct check_image *img = calloc(1, sizeof(*img));
	int err;

	*out = NULL;
	if (!img)
		return err_set(-ENOMEM, "check: out of memory");
	err = pm_open(path, &args, &img->medium);
	if (!err)
		err = geo_read(img->medium, &img->geo);
	if (!err)
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
	free(img);
}

const struct pm *check_image_pm(const struct check_image *img)
{
	return img->replayed ? img->replayed : img->medium;
}

const struct geo *check_image_geo(const struct check_image *img)
{
	return &img->geo;
}

const char *check_image_journal_error(const struct check_image *img)
{
	return *img->journal_error ? img->journal_error : NULL;
}

const struct pm *check_image_medium(const struct check_image *img)
{
	return img->medium;
}
