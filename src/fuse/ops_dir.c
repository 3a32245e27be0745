/* Directory streams. An entry that did not fit into an answer waits for the next one. The kernel lets one thread at a time read an
 * open directory. */
#include "mount.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct stream {
	hf_dir *dir;
	uint64_t pos;			/* cookie of what comes next */
	bool waits;
	struct hf_dirent entry;
};

static struct stream *stream_of(const struct fuse_file_info *fi)
{
	return (struct stream *)(uintptr_t)fi->fh;
}

static int stream_close(struct stream *s)
{
	int err = hf_closedir(&s->dir);

	free(s);
	return err;
}

void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct stream *s = calloc(1, sizeof(*s));
	struct hf_id id;
	int err = s ? node_id(m, node, &id) : -ENOMEM;

	if (!err)
		err = hf_inode_opendir(m->vol, id, &s->dir);
	if (err) {
		free(s);
		reply_err(req, err);
		return;
	}
	fi->fh = (uintptr_t)s;
	if (fuse_reply_open(req, fi) == -ENOENT)
		(void)stream_close(s);
}

void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	reply_err(req, stream_close(stream_of(fi)));
}

/* 1: there is one in s->entry; 0: the end. */
static int stream_next(struct stream *s)
{
	int ret = s->waits ? 1 : hf_readdir(s->dir, &s->entry);

	s->waits = ret == 1;
	return ret;
}

static void stream_taken(struct stream *s)
{
	s->waits = false;
	s->pos = s->entry.cookie;
}

static void stream_seek(struct stream *s, uint64_t pos)
{
	if (s->pos == pos)
		return;
	hf_seekdir(s->dir, pos);
	s->pos = pos;
	s->waits = false;
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
static ssize_t listing_fill(const struct listing *l, struct stream *s, char *buf, size_t size)
{
	size_t used = 0, n;
	int ret = stream_next(s);

	for (; ret == 1; ret = stream_next(s)) {
		n = listing_add(l, &s->entry, buf + used, size - used);
		if (n > size - used)
			break;
		used += n;
		stream_taken(s);
	}
	return ret < 0 && used == 0 ? ret : (ssize_t)used;
}

static void readdir_any(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct listing l = {.req = req, .plus = plus};
	struct stream *s = stream_of(fi);
	char *buf = malloc(size);
	ssize_t n = -ENOMEM;

	stream_seek(s, (uint64_t)off);
	if (buf)
		n = plus ? node_id(mount_of(req), node, &l.dir) : 0;
	if (n == 0)
		n = listing_fill(&l, s, buf, size);
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
