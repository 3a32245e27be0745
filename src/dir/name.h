/* Names: the operations on entries and inodes together, each one transaction, and the path walk.
 *
 * All take references (struct inode *), lock what they need themselves in the order of docs/LOCKING.md, and are called with no
 * lock held. Names are NUL-terminated, 1..255 bytes, no '/', not "." or ".." where an entry is made or removed; they and paths
 * are the library's own memory, not the caller's (which may fault): whoever takes them from outside copies them first.
 *
 * Durability: what has returned 0 is on the media. Crash: each is there wholly or not at all.
 *
 * Errors of all: -ENOTDIR (dir is none), -ENOENT (dir was removed), -ENAMETOOLONG, -EINVAL (a name with '/'), -EROFS, -ESHUTDOWN,
 * -EIO, -ENOMEM, -ENFILE, -EBADMSG and -EUCLEAN (damaged). An empty name stands for "/", as name_walk gives it. */
#ifndef HF_DIR_NAME_H
#define HF_DIR_NAME_H

#include "dir/dir.h"

#define NAME_LINKS_MAX 0x7fffffffu	/* of one inode: -EMLINK */
#define NAME_PATH_MAX  4095u		/* bytes of a path, also of one that a symlink's target was put into */
#define NAME_LOOPS_MAX 40u		/* symlinks followed in one walk */

struct name_new {
	uint32_t mode, uid, gid;	/* type and permission bits */
	uint64_t rdev;
	const char *symlink;		/* target, 1..4095 bytes */
	bool setgid_inherit;		/* the directory's setgid bit decides the group (and is passed to a directory) */
};
/* *out (may be NULL) has a reference. -EEXIST, -ENOSPC, -EMLINK; -EINVAL: a mode that is no type; symlinks: -ENOENT (empty
 * target), -ENAMETOOLONG. -ENFILE with out: there is no cached inode left to hand it out, and it was not made. */
int name_create(struct inode *dir, const char *name, const struct name_new *n, struct inode **out);
/* A regular file with nlink 0 on an orphan slot; its opens is 1 already. */
int name_tmpfile(struct fs *fs, const struct name_new *n, struct inode **out);
int name_lookup(struct inode *dir, const char *name, struct inode **out);	/* -ENOENT. "." and ".." too */
/* -EPERM for directories; -EEXIST, -EMLINK, -ENOSPC. A file without a name gets one while somebody has it open, else -ENOENT. */
int name_link(struct inode *in, struct inode *dir, const char *name);
/* What unlink and rename do about pins in a file that loses its last name. NULL: nothing, and its blocks go at once. */
struct name_how {
	bool fail_if_pinned;		/* -EBUSY, nothing changed, if any of its blocks is pinned */
	bool fail_if_last;		/* -EDEADLK, nothing changed: the caller owns a pin in it */
	bool only_expected;		/* NAME_MOVED, nothing changed, if it is not the inode 'expected' (NULL: no such name) */
	struct inode *expected;
	uint32_t ticket;		/* of the transactions that free its blocks; 0: none */
	struct inode *left;		/* out: a file with leases on it that lost its last name and is open nowhere is not
					 * freed; it is handed back, with a reference, for inode_reap() */
};
enum { NAME_MOVED = 2 };
/* -ENOENT, -EISDIR; -ENOSPC when it needs an orphan slot. */
int name_unlink(struct inode *dir, const char *name, struct name_how *how);
int name_rmdir(struct inode *dir, const char *name);	/* -ENOENT -ENOTDIR -ENOTEMPTY (also "..") -EINVAL (".") -EBUSY (root) */
enum name_rename_flags {	/* the values of RENAME_* and HF_RENAME_* */
	NAME_NOREPLACE = 1,
	NAME_EXCHANGE = 2,
};
/* As renameat2(2) and POSIX say. -ENOENT, -EEXIST (NOREPLACE), -EISDIR, -ENOTDIR, -ENOTEMPTY, -EMLINK, -ENOSPC; -EINVAL: flags,
 * or a directory would come to lie below itself; -EBUSY: "." or "..". Two names of one inode: 0, nothing done. */
int name_rename(struct inode *olddir, const char *oldname, struct inode *newdir, const char *newname, unsigned flags,
		struct name_how *how);
int name_readlink(struct inode *in, char *buf, size_t size, size_t *len);	/* not NUL-terminated; -EINVAL: no symlink */

enum name_walk_flags {
	WALK_NOFOLLOW = 1,		/* the last component, if a symlink, is not followed (unless slashes come after it) */
	WALK_PARENT = 2,		/* stop before the last component: *out is its directory, *last the component */
};
/* From 'start' (NULL: the root; a path that begins with '/' begins there anyway). -ENOENT (also for an empty path), -ENOTDIR,
 * -ELOOP, -ENAMETOOLONG. With WALK_PARENT, last is a buffer of 256 bytes, "" for a path of slashes only (then *out is the
 * root). *is_dir (may be NULL): slashes come after the last component; without WALK_PARENT it then has to be a directory.
 * *out is NULL on failure. */
int name_walk(struct fs *fs, struct inode *start, const char *path, unsigned flags, struct inode **out, char *last, bool *is_dir);

#endif
