/* Nodes: the number of an inode, and of its generation what fits. The root is the number that FUSE wants. */
#include "mount.h"
#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#define NODE_INO_BITS 44u
#define NODE_INO_MAX  ((1ull << NODE_INO_BITS) - 1)

static fuse_ino_t node_of(const struct mount *m, const struct hf_id *id)
{
	return id->ino == m->root.ino ? FUSE_ROOT_ID : id->ino | id->gen << NODE_INO_BITS;
}

int node_stat(const struct mount *m, fuse_ino_t node, struct hf_stat *st)
{
	struct hf_id id = {.ino = node & NODE_INO_MAX};
	int err;

	if (node == FUSE_ROOT_ID)
		return hf_inode_stat(m->vol, m->root, st);
	err = hf_inode_stat(m->vol, id, st);
	if (!err && node_of(m, &st->id) != node)
		err = -ESTALE;
	return err;
}

int node_id(const struct mount *m, fuse_ino_t node, struct hf_id *id)
{
	struct hf_stat st;
	int err;

	if (node == FUSE_ROOT_ID) {
		*id = m->root;
		return 0;
	}
	err = node_stat(m, node, &st);
	*id = st.id;
	return err;
}

/* ---- attributes */

/* Before 1970 too: the nanoseconds of a struct timespec are never negative. */
static struct timespec node_time(int64_t ns)
{
	int64_t rest = ns % 1000000000, down = rest < 0 ? 1 : 0;

	return (struct timespec){.tv_sec = ns / 1000000000 - down, .tv_nsec = rest + down * 1000000000};
}

void node_attr(const struct hf_stat *st, struct stat *out)
{
	*out = (struct stat){
	    .st_ino = st->id.ino,
	    .st_mode = st->mode,
	    .st_nlink = st->nlink,
	    .st_uid = st->uid,
	    .st_gid = st->gid,
	    .st_rdev = st->rdev,
	    .st_size = (off_t)st->size,
	    .st_blocks = (blkcnt_t)st->blocks_512,
	    .st_blksize = (blksize_t)st->blksize,
	    .st_atim = node_time(st->atime_ns),
	    .st_mtim = node_time(st->mtime_ns),
	    .st_ctim = node_time(st->ctime_ns),
	};
}

int node_entry(const struct mount *m, const struct hf_stat *st, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	if (st->id.ino > NODE_INO_MAX)
		return -EOVERFLOW;
	e->ino = node_of(m, &st->id);
	e->generation = st->id.gen;
	e->attr_timeout = NODE_TIMEOUT;
	e->entry_timeout = NODE_TIMEOUT;
	node_attr(st, &e->attr);
	return 0;
}

/* ---- answers. One that the kernel does not take any more (the caller was killed, the mount is gone) is no failure of the
 * operation. */

/* Damage and bad media are for the log, too: the caller gets no more than a number. Not more than once a second. */
static void reply_log(struct mount *m, int err)
{
	time_t now = time(NULL);

	if (err != -EIO && err != -EUCLEAN && err != -EBADMSG && err != -ESHUTDOWN)
		return;
	if (atomic_exchange(&m->logged, now) != now)
		syslog(LOG_ERR, "%s: %s", m->opt.volume, hf_errormsg());
}

void reply_err(fuse_req_t req, int err)
{
	reply_log(mount_of(req), err);
	(void)fuse_reply_err(req, -err);
}

void reply_entry(fuse_req_t req, int err, const struct hf_stat *st)
{
	struct fuse_entry_param e;

	if (!err)
		err = node_entry(mount_of(req), st, &e);
	if (err)
		reply_err(req, err);
	else
		(void)fuse_reply_entry(req, &e);
}

void reply_attr(fuse_req_t req, int err, const struct hf_stat *st)
{
	struct stat attr;

	if (err) {
		reply_err(req, err);
		return;
	}
	node_attr(st, &attr);
	(void)fuse_reply_attr(req, &attr, NODE_TIMEOUT);
}
