/* mount.holdfast: a volume behind the kernel's FUSE, by libfuse's low-level interface. It uses nothing of the library but
 * holdfast.h.
 *
 * Nodes. The kernel names an inode by 64 bits of ours; it tells when it forgets one, but an inode that lost its last name may be
 * gone, and its number with another file, before that. So a node holds the number and the low bits of the generation, and is looked
 * up at each use: nothing is kept per node, and one that is gone is -ESTALE, upon which the kernel looks the path up again. */
#ifndef HF_FUSE_MOUNT_H
#define HF_FUSE_MOUNT_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <holdfast.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

struct mount_options {
	char *volume, *dir;		/* absolute */
	bool read_only, direct_io, no_msync, allow_other, auto_unmount;
	bool nosuid, nodev, noexec, noatime, sync, dirsync;
	bool foreground, debug;
	unsigned max_threads, max_inodes;	/* 0: the default */
	bool on_node;
	unsigned numa_node;
	bool this_uuid;
	uint8_t uuid[16];
};

/* An open file or directory: what the kernel keeps of it is the address. */
struct handle {
	struct handle *next, *prev;	/* of all */
	hf_file *file;			/* or, with what ops_dir.c keeps: */
	hf_dir *dir;
	uint64_t pos;			/* cookie of what comes next */
	bool waits;
	struct hf_dirent entry;		/* if it waits */
};

struct mount {
	struct mount_options opt;
	hf_volume *vol;
	struct hf_id root;
	struct fuse_session *se;
	pthread_mutex_t lock;		/* of the list */
	struct handle *handles;
	bool killpriv;			/* wire.c: writes tell whether they take set-ID bits */
	uint64_t init_unique;
	_Atomic time_t logged;		/* when the last line went to the log */
};

/* ---- wire.c */
#define WIRE_KILL 0x40000000		/* in the open flags of a write, which have no such bit */
#define WIRE_TMPFILE "/"		/* the name of a create without a name */
/* After the session is mounted. 0 or a negative errno. */
int wire_start(struct mount *m);

/* ---- handle.c */
/* Closes what is given when it fails: -ENOMEM. */
int handle_new(struct mount *m, hf_file *file, hf_dir *dir, struct fuse_file_info *fi);
int handle_close(struct mount *m, struct handle *h);
/* What the kernel will not release any more. */
void handle_close_all(struct mount *m);
static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}
static inline hf_file *file_of(const struct fuse_file_info *fi)
{
	return handle_of(fi)->file;
}

/* ---- options.c: -1: go on; otherwise the exit status, all is told. */
int options_parse(int argc, char **argv, struct mount_options *out);
void options_free(struct mount_options *o);
/* What libfuse and the kernel are told. 0 or -ENOMEM. */
int options_fuse_args(const struct mount_options *o, struct fuse_args *args);

/* ---- daemon.c: mount.holdfast returns when the volume is mounted; the serving process goes on. */
struct daemon {
	int report;			/* the pipe to the waiting parent; -1: foreground */
};
/* Returns in the process that is to serve. The other one waits for daemon_ready() and exits. */
int daemon_fork(struct daemon *d, bool foreground);
/* The one that waits exits with status; after EXIT_OK standard input, output and error are closed. */
void daemon_ready(struct daemon *d, int status);

/* ---- node.c */
static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
/* 0 or a negative errno: -ESTALE, the inode is gone. */
int node_id(const struct mount *m, fuse_ino_t node, struct hf_id *id);
/* The same and its attributes. */
int node_stat(const struct mount *m, fuse_ino_t node, struct hf_stat *st);
void node_attr(const struct hf_stat *st, struct stat *out);
/* Set-group-ID without the group's right to execute means something else. */
static inline uint32_t node_without_setid(uint32_t mode)
{
	return mode & ~(uint32_t)(mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
}
/* -EOVERFLOW: its number does not fit. */
int node_entry(const struct mount *m, const struct hf_stat *st, struct fuse_entry_param *e);
/* One of them answers: err if it is one, else with the entry or the attributes. */
void reply_entry(fuse_req_t req, int err, const struct hf_stat *st);
void reply_attr(fuse_req_t req, int err, const struct hf_stat *st);
void reply_err(fuse_req_t req, int err);	/* negative or 0 */
#define NODE_TIMEOUT 86400.0	/* seconds; the kernel sees every change of names and attributes, for it asked for it */

/* ---- ops.c */
extern const struct fuse_lowlevel_ops mount_ops;
/* ops_node.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *attr, int to_set, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t node);
void op_statfs(fuse_req_t req, fuse_ino_t node);
/* ops_name.c */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t newparent, const char *newname);
/* ops_file.c */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);
/* ops_data.c */
void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags);
/* ops_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
/* ops_xattr.c */
void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name);

#endif
