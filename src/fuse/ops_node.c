/* Looking up, attributes. */
#include "mount.h"
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

/* A server for NFS asks for "." of anything, to get at a node that the kernel has forgotten. */
static int lookup(struct mount *m, fuse_ino_t parent, const char *name, struct hf_stat *st)
{
	struct hf_id dir;
	int err;

	if (strcmp(name, ".") == 0)
		return node_stat(m, parent, st);
	err = node_id(m, parent, &dir);
	return err ? err : hf_inode_lookup(m->vol, dir, name, st);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_entry_param none = {.entry_timeout = NODE_TIMEOUT};
	struct hf_stat st;
	int err = lookup(mount_of(req), parent, name, &st);

	if (err == -ENOENT)
		(void)fuse_reply_entry(req, &none); /* the kernel remembers that it is not there */
	else
		reply_entry(req, err, &st);
}

void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct hf_stat st;

	(void)fi;
	reply_attr(req, node_stat(mount_of(req), node, &st), &st);
}

/* ---- setattr */

/* Times that nanoseconds in 64 bits cannot tell become the nearest that they can. */
static int64_t setattr_ns(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec, (int64_t)1000000000, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static void setattr_from(const struct stat *attr, int to_set, struct hf_setattr *a)
{
	static const struct {
		int fuse;
		unsigned hf;
	} bits[] = {
	    {FUSE_SET_ATTR_MODE, HF_SET_MODE},		 {FUSE_SET_ATTR_UID, HF_SET_UID},
	    {FUSE_SET_ATTR_GID, HF_SET_GID},		 {FUSE_SET_ATTR_SIZE, HF_SET_SIZE},
	    {FUSE_SET_ATTR_ATIME, HF_SET_ATIME},	 {FUSE_SET_ATTR_MTIME, HF_SET_MTIME},
	    {FUSE_SET_ATTR_ATIME_NOW, HF_SET_ATIME_NOW}, {FUSE_SET_ATTR_MTIME_NOW, HF_SET_MTIME_NOW},
	};

	*a = (struct hf_setattr){
	    .mode = attr->st_mode & 07777,
	    .uid = attr->st_uid,
	    .gid = attr->st_gid,
	    .size = (uint64_t)attr->st_size,
	    .atime_ns = setattr_ns(&attr->st_atim),
	    .mtime_ns = setattr_ns(&attr->st_mtim),
	};
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (to_set & bits[i].fuse)
			a->set |= bits[i].hf;
	if (a->set & HF_SET_ATIME_NOW)
		a->set &= ~(unsigned)HF_SET_ATIME;
	if (a->set & HF_SET_MTIME_NOW)
		a->set &= ~(unsigned)HF_SET_MTIME;
}

/* The kernel says, with an owner or a size, whether set-ID bits go. */
static int setattr_kill(struct mount *m, fuse_ino_t node, int to_set, struct hf_setattr *a)
{
	struct hf_stat st;
	int err;

	if (!m->killpriv || !(to_set & FUSE_SET_ATTR_KILL_SUID) || (a->set & HF_SET_MODE))
		return 0;
	err = node_stat(m, node, &st);
	if (err || S_ISDIR(st.mode) || node_without_setid(st.mode) == st.mode)
		return err;
	a->set |= HF_SET_MODE;
	a->mode = node_without_setid(st.mode) & 07777;
	return 0;
}

/* A size comes with the open file, if that is how it was asked for. */
void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct hf_setattr a;
	struct hf_stat st;
	struct hf_id id;
	int err;

	setattr_from(attr, to_set, &a);
	err = setattr_kill(m, node, to_set, &a);
	if (err) {
		reply_err(req, err);
		return;
	}
	if (fi && (a.set & HF_SET_SIZE)) {
		err = hf_fsetattr(file_of(fi), &a);
		if (!err)
			err = hf_fstat(file_of(fi), &st);
	} else {
		err = node_id(m, node, &id);
		if (!err)
			err = a.set ? hf_inode_setattr(m->vol, id, &a, &st) : hf_inode_stat(m->vol, id, &st);
	}
	reply_attr(req, err, &st);
}

void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	struct mount *m = mount_of(req);
	char target[4096];
	struct hf_id id;
	ssize_t len = node_id(m, node, &id);

	if (len == 0)
		len = hf_inode_readlink(m->vol, id, target, sizeof(target) - 1);
	if (len < 0) {
		reply_err(req, (int)len);
		return;
	}
	target[len] = '\0';
	(void)fuse_reply_readlink(req, target);
}

/* ---- the volume */

/* What the journal holds is free for who needs it: the allocator sees to that. Inodes are made in blocks of 16 as long as there are
 * blocks. */
void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct hf_statfs s;
	struct statvfs v = {0};
	int err = hf_statfs(mount_of(req)->vol, &s);

	(void)node;
	if (err) {
		reply_err(req, err);
		return;
	}
	v.f_bsize = v.f_frsize = s.block_bytes;
	v.f_blocks = s.blocks;
	v.f_bfree = v.f_bavail = s.blocks_free + s.blocks_busy_journal;
	v.f_ffree = v.f_favail = s.inodes_free + v.f_bfree * 16;
	v.f_files = s.inodes_used + v.f_ffree;
	v.f_namemax = s.name_max;
	(void)fuse_reply_statfs(req, &v);
}
