/* A private image of the volume on which the journal was replayed, so that what is verified is what a mount would see; and for a
 * repair, on which everything is changed first, before the medium is (commit.c). */
#ifndef HF_CHECK_IMAGE_H
#define HF_CHECK_IMAGE_H

#include "format/geo.h"

enum check_image_how {
	CHECK_IMAGE_READ,		/* the medium is opened for reading, and shared with other readers */
	CHECK_IMAGE_WRITE,		/* for a repair: exclusively; an interrupted repair is finished first */
	CHECK_IMAGE_RAW,		/* as WRITE, but as the bytes stand: no replay, nothing is finished */
};

struct check_image {
	struct pm *medium;		/* as it is */
	struct pm *replayed;		/* private copy with the journal replayed; NULL: there was nothing to replay */
	uint8_t *replayed_base;
	void *reserved;
	size_t reserved_bytes;
	struct geo geo;
	uint64_t granule;		/* device-DAX: what is copied at once */
	uint8_t *own;			/* device-DAX: a bit per granule that has a private copy already */
	uint64_t *changed;		/* WRITE, RAW: a bit per block that was stored to in the image */
	struct pm_hook hook;		/* sets them */
	uint64_t *held;			/* WRITE, RAW: a bit per block that a dead process has pinned: a device may still write there */
	bool finished;			/* an interrupted repair was finished at the opening; READ: in the image */
	char journal_error[256];
};

int check_image_open_how(const char *path, enum check_image_how how, struct check_image **out, uint64_t *records);
static inline int check_image_open(const char *path, struct check_image **out, uint64_t *records)
{
	return check_image_open_how(path, CHECK_IMAGE_READ, out, records);
}
void check_image_close(struct check_image **img);
static inline const struct pm *check_image_pm(const struct check_image *img)
{
	return img->replayed ? img->replayed : img->medium;
}
/* The volume as it is, before replay. */
static inline const struct pm *check_image_medium(const struct check_image *img) { return img->medium; }
static inline const struct geo *check_image_geo(const struct check_image *img) { return &img->geo; }
/* The journal could not be read; its sentence. NULL: it could. */
static inline const char *check_image_journal_error(const struct check_image *img)
{
	return *img->journal_error ? img->journal_error : NULL;
}
/* Stores into the private image, never the medium. -ENOMEM. */
int check_image_put(struct check_image *img, moff_t off, const void *src, uint64_t len);

/* commit.c: what was changed in the image goes to the medium, wholly or not at all. undo_path (may be NULL): gets the old bytes
 * first. -ENOSPC: no free space for the redo list and no undo file. */
int check_image_commit(struct check_image *img, const char *undo_path);
/* The same for what the undo file of this id has. Interrupted, it is to be done again. */
int check_image_commit_undo(struct check_image *img, uint64_t id);
/* Writes what the redo list of an interrupted repair says, and takes the mark away. -EBADMSG, -EUCLEAN: the list is damaged,
 * nothing was written. */
int check_redo_finish(struct pm *medium, const struct geo *geo);
/* The same into a private image. */
int check_redo_image(struct check_image *img);

/* undo.c. id: the file's, not 0. */
int check_undo_write(const struct check_image *img, const char *path, const uint64_t *blocks, uint64_t n, uint64_t id);

#endif
