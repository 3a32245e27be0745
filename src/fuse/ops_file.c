/* Open files: the kernel keeps the handle of the library. */
#include "mount.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define DAY_NS (24ll * 3600 * 1000000000ll)

/* Not O_APPEND: the kernel gives each such write the end as its offset, and writes pages of a mapping back by whatever handle the file
 * has, to where they belong. */
static unsigned open_flags(const struct fuse_file_info *fi)
{
	unsigned flags = (unsigned)fi->flags & O_ACCMODE;

	return fi->flags & O_NOATIME ? flags | HF_O_NOATIME : flags;
}

/* What the page cache has of the file stays, unless the next read has to be seen here because it is one that moves the access time:
 * the library's rule (relatime), foreseen. */
static bool open_keeps_cache(const struct mount *m, const struct hf_stat *st)
{
	struct timespec now;

	if (m->opt.read_only || m->opt.noatime)
		return true;
	clock_gettime(CLOCK_REALTIME, &now);
	return st->atime_ns > st->mtime_ns && st->atime_ns > st->ctime_ns &&
	       now.tv_sec * 1000000000ll - st->atime_ns <= DAY_NS;
}

static int file_handle(struct mount *m, hf_file *file, const struct hf_stat *st, struct fuse_file_info *fi)
{
	fi->direct_io = m->opt.direct_io;
	fi->keep_cache = !fi->direct_io && open_keeps_cache(m, st);
	return handle_new(m, file, NULL, fi);
}

static int file_open(struct mount *m, const struct hf_stat *st, struct fuse_file_info *fi)
{
	hf_file *file;
	int err = hf_inode_open(m->vol, st->id, open_flags(fi), &file);

	return err ? err : file_handle(m, file, st, fi);
}

void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct hf_stat st;
	int err = node_stat(m, node, &st);

	if (!err)
		err = file_open(m, &st, fi);
	if (err)
		reply_err(req, err);
	else if (fuse_reply_open(req, fi) == -ENOENT)
		(void)handle_close(m, handle_of(fi)); /* the caller was killed: the kernel will not release it */
}

/* The kernel keeps others out of the directory meanwhile. That the name is there although the kernel did not know it is possible
 * only if it forgot it. A file that was made and cannot be opened is removed: the kernel remembers that there is none. */
static int create(struct mount *m, struct hf_id dir, const char *name, const struct hf_create *how, struct hf_stat *st,
		  struct fuse_file_info *fi)
{
	int err = hf_inode_create(m->vol, dir, name, how, st);
	bool made = !err;

	if (err == -EEXIST && !(fi->flags & O_EXCL))
		err = hf_inode_lookup(m->vol, dir, name, st);
	if (!err)
		err = file_open(m, st, fi);
	if (err && made && hf_inode_unlink(m->vol, dir, name))
		syslog(LOG_ERR, "%s: '%s' could not be opened, and stays: %s", m->opt.volume, name, hf_errormsg());
	return err;
}

/* A file without a name; its group as if it had one in that directory. */
static int create_unnamed(struct mount *m, struct hf_id dir, struct hf_create how, struct hf_stat *st, struct fuse_file_info *fi)
{
	hf_file *file;
	int err = hf_inode_stat(m->vol, dir, st);

	if (err)
		return err;
	if (st->mode & S_ISGID)
		how.gid = st->gid;
	err = hf_inode_tmpfile(m->vol, &how, open_flags(fi), &file);
	if (err)
		return err;
	err = hf_fstat(file, st);
	if (err) {
		(void)hf_close(&file);
		return err;
	}
	return file_handle(m, file, st, fi);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	const struct hf_create how = {.mode = S_IFREG | (mode & 07777), .uid = ctx->uid, .gid = ctx->gid};
	struct mount *m = mount_of(req);
	struct fuse_entry_param e;
	struct hf_stat st;
	struct hf_id dir;
	int err = node_id(m, parent, &dir);

	if (!err && strcmp(name, WIRE_TMPFILE) == 0) {
		err = create_unnamed(m, dir, how, &st, fi);
	} else if (!err) {
		err = create(m, dir, name, &how, &st, fi);
	}
	if (!err) {
		err = node_entry(m, &st, &e);
		if (err)
			(void)handle_close(m, handle_of(fi));
	}
	if (err)
		reply_err(req, err);
	else if (fuse_reply_create(req, &e, fi) == -ENOENT)
		(void)handle_close(m, handle_of(fi));
}

void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	reply_err(req, handle_close(mount_of(req), handle_of(fi)));
}

/* Data and size are durable already; what may wait are times. */
void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	(void)node;
	(void)datasync;
	reply_err(req, hf_fsync(file_of(fi)));
}
