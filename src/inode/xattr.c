/* Extended attributes.
 *
 * Crash: the blob is written to fresh blocks, which are fenced before the record that names them;
 * the old blocks are free when that record is applied. A file has the old set or the new one. Blobs
 * are never in a record themselves, so their blocks are freed like file data.
 */
#include "inode/itable_priv.h"
#include "inode/xattr.h"
#include "inode/xattr_blob.h"

#include <sys/xattr.h>

enum { NAME_MAX_BYTES = 255, VALUE_MAX_BYTES = 65536 };

/* ---- names */

static bool is_user(const char *name)
{
	return strncmp(name, "user.", 5) == 0;
}

static int check_name(const char *name)
{
	static const char *const prefix[] = {"user.", "trusted.", "security.", "system."};
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_BYTES)
		return err_set(-ERANGE, "attribute: a name has 1 to %d bytes", NAME_MAX_BYTES);
	for (unsigned i = 0; i < sizeof(prefix) / sizeof(prefix[0]); i++) {
		size_t n = strlen(prefix[i]);

		if (strncmp(name, prefix[i], n) == 0)
			return len > n
				   ? 0
				   : err_set(-EINVAL, "attribute '%s': a prefix and no name", name);
	}
	return err_set(-EOPNOTSUPP,
		       "attribute '%s': names begin with user., trusted., security. or system.",
		       name);
}

static bool user_allowed(const struct inode *in)
{
	return in->type == S_IFREG || in->type == S_IFDIR;
}

/* ---- the blob on the media */

/* Block by run; e NULL: as it is on the media. */
static int read_blocks(struct inode *in, struct inode_edit *e, struct xblob *b)
{
	uint32_t n = xblob_blocks(b->bytes), at = 0;

	while (at < n) {
		struct map_extent x;
		int err = e ? map_lookup_edit(e, FMT_FORK_XATTR, FBLK(at), n - at, &x)
			    : map_lookup(in, FMT_FORK_XATTR, FBLK(at), n - at, &x);

		if (err)
			return err;
		if (mblk_is_null(x.blk))
			return err_set(-EUCLEAN, "attributes: block %u is missing", at);
		err = pm_guarded_read(in->fs->pm, b->p + (size_t)at * HF_BLOCK_SIZE,
				      mblk_to_moff(x.blk), x.n * HF_BLOCK_SIZE);
		if (err)
			return err_set(err, "attributes: block %llu cannot be read",
				       (unsigned long long)x.blk.v);
		at += (uint32_t)x.n;
	}
	return 0;
}

/* b->p NULL: there are none. The caller frees b. */
static int read_blob(struct inode *in, struct inode_edit *e, struct xblob *b)
{
	uint32_t bytes = le32_get(e ? e->img.xbytes : inode_media(in)->xbytes);
	int err;

	*b = (struct xblob){0};
	if (bytes == 0)
		return 0;
	if (bytes < sizeof(struct fmt_xattr_head) || bytes > FMT_XATTR_BLOB_MAX)
		err = err_set(-EUCLEAN, "attributes of %u bytes", bytes);
	else
		err = xblob_alloc(b, bytes);
	if (err == 0)
		err = read_blocks(in, e, b);
	if (err == 0)
		err = xblob_check(&in->fs->geo, in->ino, b);
	if (err == 0)
		return 0;
	xblob_free(b);
	return err_prefix(err, "inode %llu", (unsigned long long)in->ino.v);
}

static int unmap_old(struct inode_edit *e)
{
	uint32_t bytes = le32_get(e->img.xbytes);
	int err = 0;

	if (bytes)
		err = map_remove(e, FMT_FORK_XATTR, FBLK(0), xblob_blocks(bytes));
	if (err == 0)
		e->img.xbytes = le32_of(0);
	return err;
}

/* flags: of space_alloc. */
static int write_blob(struct inode_edit *e, const struct xblob *b, unsigned flags)
{
	struct fs *fs = e->in->fs;
	uint32_t n = xblob_blocks(b->bytes), at = 0;
	struct mext x = {.first = MBLK_NULL};

	txn_fence_first(e->t);
	while (at < n) {
		mblk_t hint = at ? MBLK(x.first.v + x.n) : MBLK_NULL;
		uint32_t want = (uint32_t)min_u64(n - at, HF_BLOCKS_PER_FRAME);
		int err = space_alloc(fs->space, e->t, want, hint, flags, &x);

		if (err)
			return err;
		/* Whole lines, and no more: nobody reads what is behind the blob. */
		pm_copy_nt(fs->pm, mblk_to_moff(x.first), b->p + (size_t)at * HF_BLOCK_SIZE,
			   min_u64(x.n * HF_BLOCK_SIZE, round_up_u64(b->bytes - at * HF_BLOCK_SIZE, HF_LINE)));
		err = map_insert(e, FMT_FORK_XATTR, FBLK(at), x.first, x.n);
		if (err)
			return err;
		at += (uint32_t)x.n;
	}
	e->img.xbytes = le32_of(b->bytes);
	return 0;
}

/* ---- the calls */

int64_t xattr_get(struct inode *in, const char *name, void *value, size_t size)
{
	struct xattr_view v;
	struct xblob b;
	int64_t rc = check_name(name);

	if (rc == 0)
		rc = read_blob(in, NULL, &b);
	if (rc)
		return rc;
	if ((is_user(name) && !user_allowed(in)) ||
	    !xblob_find(&b, name, (uint32_t)strlen(name), &v)) {
		rc = err_set(-ENODATA, "no attribute '%s'", name);
	} else if (size != 0 && size < v.value_len) {
		rc = err_set(-ERANGE, "attribute '%s' has %u bytes", name, v.value_len);
	} else {
		rc = v.value_len;
		if (size != 0 && v.value_len != 0)
			memcpy(value, v.value, v.value_len);
	}
	xblob_free(&b);
	return rc;
}

int64_t xattr_list(struct inode *in, char *list, size_t size)
{
	struct xattr_view v;
	uint32_t pos = 0;
	size_t used = 0;
	struct xblob b;
	int err;

	err = read_blob(in, NULL, &b);
	if (err)
		return err;
	while (xblob_next(&b, &pos, &v)) {
		if (size != 0 && size - used < v.name_len + 1) {
			err = err_set(
			    -ERANGE, "the names of the attributes do not fit into %zu bytes", size);
			break;
		}
		if (size != 0) {
			memcpy(list + used, v.name, v.name_len);
			list[used + v.name_len] = '\0';
		}
		used += v.name_len + 1;
	}
	xblob_free(&b);
	return err ? err : (int64_t)used;
}

static int check_set(const struct inode *in, const char *name, const void *value, size_t size,
		     int flags)
{
	int err = check_name(name);

	if (err)
		return err;
	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return err_set(-EINVAL, "attribute '%s': unknown flags %#x", name, (unsigned)flags);
	if (value && size > VALUE_MAX_BYTES)
		return err_set(-E2BIG, "attribute '%s': a value has at most %d bytes", name,
			       VALUE_MAX_BYTES);
	if (is_user(name) && !user_allowed(in))
		return err_set(-EPERM,
			       "attribute '%s': only files and directories have user attributes",
			       name);
	return 0;
}

/* The new set, of which nothing is on the media yet. */
static int change_blob(struct inode_edit *e, const struct xblob *old, const char *name,
		       const void *value, size_t size, int flags, struct xblob *out)
{
	struct xattr_view add = {
	    .name = name,
	    .name_len = (uint32_t)strlen(name),
	    .value = value,
	    .value_len = (uint32_t)size,
	};
	struct xattr_view was;
	bool found = xblob_find(old, name, add.name_len, &was);

	if (found && (flags & XATTR_CREATE))
		return err_set(-EEXIST, "attribute '%s': is there already", name);
	if (!found && (!value || (flags & XATTR_REPLACE)))
		return err_set(-ENODATA, "no attribute '%s'", name);
	return xblob_build(&e->in->fs->geo, e->in->ino, old, found ? &was : NULL,
			   value ? &add : NULL, out);
}

int xattr_set(struct inode_edit *e, const char *name, const void *value, size_t size, int flags)
{
	struct xblob old, new = {0};
	int err;

	err = check_set(e->in, name, value, size, flags);
	if (err == 0)
		err = read_blob(e->in, e, &old);
	if (err)
		return err;
	err = change_blob(e, &old, name, value, size, flags, &new);
	if (err == 0)
		err = unmap_old(e);
	/* Removing one must work on a full volume: what is written replaces more than it takes. */
	if (err == 0 && new.p)
		err = write_blob(e, &new, value ? 0 : SPACE_META);
	if (err == 0)
		inode_edit_times(e, INODE_CTIME, inode_now_ns());
	xblob_free(&old);
	xblob_free(&new);
	return err;
}

int xattr_remove_all(struct inode_edit *e)
{
	return unmap_old(e);
}
