/* The undo file of a repair: the old bytes of every block that it writes. It is whole and synced before the repair begins.
 *
 * It is put back only where nothing else happened since: the superblock has the id of the last repair's file, and each block must be
 * as that repair left it. The superblocks and the checkpoint words are always in it, and a mount that could change anything writes the
 * latter. Another file is taken only if all is as it was before already: nothing is left to do. After an interrupted repair nothing was
 * mounted, and the blocks may be torn: then only the id is looked at. */
#include "check/undo.h"
#include "check/image.h"
#include <holdfast.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int put(FILE *f, const void *p, size_t n)
{
	errno = 0;
	if (fwrite(p, n, 1, f) == 1)
		return 0;
	return errno ? -errno : -EIO;
}

static int put_block(FILE *f, const struct check_image *img, uint64_t block)
{
	moff_t at = mblk_to_moff(MBLK(block));
	struct undo_block b = {.block = le64_of(block),
			       .repaired = le64_of(hash_bytes(pm_at(img->replayed, at), HF_BLOCK_SIZE, block))};

	memcpy(b.old, pm_at(img->medium, at), sizeof(b.old));
	b.csum = le64_of(undo_block_csum(&b));
	return put(f, &b, sizeof(b));
}

static int put_all(FILE *f, const struct check_image *img, const uint64_t *blocks, uint64_t n, uint64_t id)
{
	struct undo_head h = {.bytes = le64_of(img->geo.bytes), .id = le64_of(id)};
	bool c0 = false, c1 = false;
	uint64_t i;
	int err;

	for (i = 0; i < n; i++) {
		c0 |= blocks[i] == FMT_BLK_CKPT0;
		c1 |= blocks[i] == FMT_BLK_CKPT1;
	}
	memcpy(h.magic, UNDO_MAGIC, sizeof(h.magic));
	memcpy(h.uuid, img->geo.uuid, sizeof(h.uuid));
	h.count = le64_of(n + !c0 + !c1);
	h.csum = le64_of(undo_head_csum(&h));
	err = put(f, &h, sizeof(h));
	for (i = 0; i < n && !err; i++)
		err = put_block(f, img, blocks[i]);
	if (!err && !c0)
		err = put_block(f, img, FMT_BLK_CKPT0);
	if (!err && !c1)
		err = put_block(f, img, FMT_BLK_CKPT1);
	return err;
}

/* The name of the file too is durable: its directory is synced. */
static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, err = 0;

	free(dir);
	if (fd < 0 || fsync(fd) != 0)
		err = -EIO;
	if (fd >= 0)
		close(fd);
	return err;
}

int check_undo_write(const struct check_image *img, const char *path, const uint64_t *blocks, uint64_t n, uint64_t id)
{
	int fd, err;
	FILE *f;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(-errno, "undo file %s: %s", path,
			       errno == EEXIST ? "it exists already: name another one" : "cannot be made");
	f = fdopen(fd, "w");
	if (!f) {
		close(fd);
		return err_set(-ENOMEM, "undo file %s: out of memory", path);
	}
	err = put_all(f, img, blocks, n, id);
	if (!err && (fflush(f) != 0 || fsync(fd) != 0))
		err = errno ? -errno : -EIO;
	if (fclose(f) != 0 && !err)
		err = errno ? -errno : -EIO;
	if (!err)
		err = sync_parent(path);
	if (err) {
		unlink(path);
		return err_set(err, "undo file %s: cannot be written: %s; the volume was not changed", path, strerror(-err));
	}
	return 0;
}

/* ---- putting it back */

static int read_head(FILE *f, const char *path, const struct geo *g, uint64_t *count, uint64_t *id)
{
	struct undo_head h;

	if (fread(&h, sizeof(h), 1, f) != 1 || memcmp(h.magic, UNDO_MAGIC, sizeof(h.magic)) != 0 ||
	    le64_get(h.csum) != undo_head_csum(&h))
		return err_set(-EBADMSG, "%s: is no undo file, or is damaged", path);
	if (memcmp(h.uuid, g->uuid, sizeof(h.uuid)) != 0 || le64_get(h.bytes) != g->bytes)
		return err_set(-EINVAL, "%s: belongs to another volume", path);
	if (g->repairing && le64_get(h.id) != g->repair_undo)
		return err_set(-ESTALE, "%s: is not of the repair that was interrupted%s; nothing was put back", path,
			       g->repair_undo ? "" : ", which had no undo file (fsck.holdfast -y finishes it)");
	*count = le64_get(h.count);
	*id = le64_get(h.id);
	return 0;
}

/* A superblock that a repair was writing when it was interrupted. */
static bool is_torn_super(const struct check_image *img, uint64_t block, const void *now)
{
	if (block != FMT_BLK_SUPER && block != img->geo.nblocks - 1)
		return false;
	return geo_verify_super(now, img->medium->size, block != FMT_BLK_SUPER) != 0;
}

/* May what stands there now be replaced by what was there before the repair? last: it was the volume's last one. */
static bool may_put_back(const struct check_image *img, const struct undo_block *b, bool last)
{
	uint64_t block = le64_get(b->block);
	const void *now = pm_at(img->medium, mblk_to_moff(MBLK(block)));

	return (last && img->geo.repairing) || memcmp(now, b->old, HF_BLOCK_SIZE) == 0 || is_torn_super(img, block, now) ||
	       (last && hash_bytes(now, HF_BLOCK_SIZE, block) == le64_get(b->repaired));
}

static int read_block(FILE *f, const char *path, const struct check_image *img, bool last, struct undo_block *b)
{
	uint64_t block;

	if (fread(b, sizeof(*b), 1, f) != 1)
		return err_set(-EBADMSG, "%s: is cut off", path);
	block = le64_get(b->block);
	if (block >= img->geo.nblocks || le64_get(b->csum) != undo_block_csum(b))
		return err_set(-EBADMSG, "%s: is damaged", path);
	if (may_put_back(img, b, last))
		return 0;
	if (!last)
		return err_set(-ESTALE, "%s: is not of the volume's last repair; nothing was put back", path);
	return err_set(-ESTALE, "%s: block %llu of the volume was changed after the repair; nothing was put back", path,
		       (unsigned long long)block);
}

/* All is read and looked at before anything is written. */
static int load(FILE *f, const char *path, struct check_image *img, uint64_t *id)
{
	struct undo_block *b = malloc(sizeof(*b));
	uint64_t count = 0, i;
	int err = b ? read_head(f, path, &img->geo, &count, id) : err_set(-ENOMEM, "undo: out of memory");

	for (i = 0; i < count && !err; i++) {
		err = read_block(f, path, img, *id == img->geo.repair_undo, b);
		if (!err)
			err = check_image_put(img, mblk_to_moff(MBLK(le64_get(b->block))), b->old, HF_BLOCK_SIZE);
	}
	free(b);
	return err;
}

HF_API int hf_check_undo(const char *path, const char *undo_path)
{
	struct check_image *img = NULL;
	uint64_t records, id = 0;
	FILE *f;
	int err;

	err_clear();
	if (!path || !undo_path)
		return err_set(-EINVAL, "undo: a volume and an undo file are needed");
	f = fopen(undo_path, "re");
	if (!f)
		return err_set(-errno, "undo file %s: cannot be opened", undo_path);
	err = check_image_open_how(path, CHECK_IMAGE_RAW, &img, &records);
	if (!err)
		err = load(f, undo_path, img, &id);
	if (!err)
		err = check_image_commit_undo(img, id);
	check_image_close(&img);
	fclose(f);
	return err;
}
