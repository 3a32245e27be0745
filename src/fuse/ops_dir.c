/* Directory streams. An entry that did not fit into an answer waits for the next one. The kernel lets one thread at a time read an
 * open directory. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct hf_id id;
	hf_dir *dir;
	int err = node_id(m, node, &id);

	if (!err)
		err = hf_inode_opendir(m->vol, id, &dir);
	if (!err)
		err = handle_new(m, NULL, dir, fi);
	if (err)
		reply_err(req, err);
	else if (fuse_reply_open(req, fi) == -ENOENT)
		(void)handle_close(m, handle_of(fi));
}

void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	reply_err(req, handle_close(mount_of(req), handle_of(fi)));
}

/* 1: there is one in h->entry; 0: the end. */
static int stream_next(struct handle *h)
{
	int ret = h->waits ? 1 : hf_readdir(h->dir, &h->entry);

	h->waits = ret == 1;
	return ret;
}

static void stream_taken(struct handle *h)
{
	h->waits = false;
	h->pos = h->entry.cookie;
}

static void stream_seek(struct handle *h, uint64_t pos)
{
	if (h->pos == pos)
		return;
	hf_seekdir(h->dir, pos);
	h->pos = pos;
	h->waits = false;
}

/* ---- one entry into the answer: how much it takes; more than 'left': it did not fit; 0: not to be told */

struct listing {
	fuse_req_t req;
	struct hf_id dir;
	bool plus;
};

static void entry_alone(const struct hf_dirent *d, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->attr.st_ino = d->ino;
	e->attr.st_mode = (mode_t)d->type << 12;
}

/* By name: the number in the entry may be another file's by now. The kernel keeps names from changing while it waits for this answer,
 * so the one that is not there any more was read ahead of an earlier one. "." and ".." are not looked up: it knows them. */
static bool entry_with_attributes(const struct listing *l, const struct hf_dirent *d, struct fuse_entry_param *e)
{
	struct mount *m = mount_of(l->req);
	struct hf_stat st;
	int err;

	entry_alone(d, e);
	if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
		return true;
	err = hf_inode_lookup(m->vol, l->dir, d->name, &st);
	if (err == -ENOENT)
		return false;
	if (err || node_entry(m, &st, e))
		entry_alone(d, e);
	return true;
}

static size_t listing_add(const struct listing *l, const struct hf_dirent *d, char *to, size_t left)
{
	struct fuse_entry_param e;

	if (l->plus)
		return entry_with_attributes(l, d, &e)
			   ? fuse_add_direntry_plus(l->req, to, left, d->name, &e, (off_t)d->cookie)
			   : 0;
	entry_alone(d, &e);
	return fuse_add_direntry(l->req, to, left, d->name, &e.attr, (off_t)d->cookie);
}

/* Bytes, or an error if there is not even one entry. */
static ssize_t listing_fill(const struct listing *l, struct handle *h, char *buf, size_t size)
{
	size_t used = 0, n;
	int ret = stream_next(h);

	for (; ret == 1; ret = stream_next(h)) {
		n = listing_add(l, &h->entry, buf + used, size - used);
		if (n > size - used)
			break;
		used += n;
		stream_taken(h);
	}
	return ret < 0 && used == 0 ? ret : (ssize_t)used;
}

static void readdir_any(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct listing l = {.req = req, .plus = plus};
	struct handle *h = handle_of(fi);
	char *buf = malloc(size);
	ssize_t n = -ENOMEM;

	stream_seek(h, (uint64_t)off);
	if (buf)
		n = plus ? node_id(mount_of(req), node, &l.dir) : 0;
	if (n == 0)
		n = listing_fill(&l, h, buf, size);
	if (n < 0)
		reply_err(req, (int)n);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, node, size, off, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, node, size, off, fi, true);
}
