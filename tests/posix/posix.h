/* Conformance: one table of cases, run on the library and on a mounted directory.
 *
 * A case is a name and a script of short statements, separated by ';' (script.c lists them):
 *
 *	create f; mkdir d; rename f d = EISDIR
 *
 * A statement without '=' has to succeed. Each case begins in an empty directory, which relative paths start from. What needs a
 * loop or threads is a C function of the backend's calls, that a statement names ('fn').
 *
 * The facts are those of POSIX.1-2017 and of the Linux manual pages; where the two differ, Linux.
 */
#ifndef HF_TESTS_POSIX_H
#define HF_TESTS_POSIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PX_SLOTS    64
#define PX_NAME_MAX 255
#define PX_PATH_MAX 4095 /* without the NUL */

struct px_stat {
	uint64_t ino, size, blocks, rdev;
	uint32_t mode, nlink, uid, gid;
	int64_t atime, mtime, ctime; /* ns */
};

struct px_dirent {
	uint64_t cookie;
	uint8_t type;
	char name[256];
};

struct px_statfs {
	uint64_t bsize, blocks, bfree, files, ffree, namemax;
};

/* How a name is taken: a path, a path whose last symlink is not followed, or an open file. */
enum px_how { PX_FOLLOW, PX_NOFOLLOW, PX_SLOT };
struct px_at {
	enum px_how how;
	const char *path;
	int slot;
};

/* All return a negative errno, or 0 or what the call counts. A file is a number below PX_SLOTS that open and opendir fill. */
struct px_backend {
	const char *name;
	int (*begin)(void); /* an empty directory to work in */
	int (*end)(void);   /* all closed, all gone; < 0: the case left something wrong behind */
	int64_t (*open)(int slot, const char *path, int flags, uint32_t mode);
	int64_t (*close)(int slot);
	int64_t (*pread)(int slot, void *buf, size_t len, uint64_t off);
	int64_t (*pwrite)(int slot, const void *buf, size_t len, uint64_t off);
	int64_t (*append)(int slot, const void *buf, size_t len);
	int64_t (*truncate)(const struct px_at *at, uint64_t size);
	int64_t (*fallocate)(int slot, int mode, uint64_t off, uint64_t len);
	int64_t (*seek)(int slot, uint64_t off, int whence);
	int64_t (*fsync)(int slot);
	int64_t (*copy)(int in, uint64_t off_in, int out, uint64_t off_out, size_t len);
	int64_t (*flink)(int slot, const char *path);
	int64_t (*stat)(const struct px_at *at, struct px_stat *st);
	int64_t (*chmod)(const struct px_at *at, uint32_t mode);
	int64_t (*chown)(const struct px_at *at, int64_t uid, int64_t gid);
	int64_t (*utimens)(const struct px_at *at, const int64_t ns[2]); /* or PX_NOW, PX_OMIT */
	int64_t (*mkdir)(const char *path, uint32_t mode);
	int64_t (*rmdir)(const char *path);
	int64_t (*unlink)(const char *path);
	int64_t (*mknod)(const char *path, uint32_t mode, uint64_t rdev);
	int64_t (*symlink)(const char *target, const char *path);
	int64_t (*readlink)(const char *path, char *buf, size_t size);
	int64_t (*link)(const char *old, const char *new);
	int64_t (*rename)(const char *old, const char *new, unsigned flags);
	int64_t (*setxattr)(const struct px_at *at, const char *name, const void *v, size_t n, int flags);
	int64_t (*getxattr)(const struct px_at *at, const char *name, void *v, size_t n);
	int64_t (*listxattr)(const struct px_at *at, char *list, size_t n);
	int64_t (*removexattr)(const struct px_at *at, const char *name);
	int64_t (*opendir)(int slot, const char *path);
	int64_t (*readdir)(int slot, struct px_dirent *out); /* 1, 0 at the end */
	int64_t (*seekdir)(int slot, uint64_t cookie);
	int64_t (*telldir)(int slot);
	int64_t (*statfs)(struct px_statfs *out);
	/* the kernel's only; NULL in the library */
	int (*fd)(int slot);
	int64_t (*become)(int64_t uid, int64_t gid); /* -1: root again */
};
#define PX_NOW	INT64_MAX
#define PX_OMIT (INT64_MAX - 1)

enum px_where {
	PX_KERNEL = 1,	   /* has no meaning without a kernel: locks, memory maps, other users, several filesystems */
	PX_NOT_TMPFS = 2,  /* tmpfs has no such operation, or does it otherwise */
	PX_NOT_EXT4 = 4,   /* nor ext4 */
	PX_RDONLY = 8,	   /* on the read-only tree that main.c prepares */
};

struct px_case {
	const char *name;
	const char *script;
	unsigned where;
	/* Deliberate: why the library, or the mount, does it otherwise. The case is then run and has to fail there. */
	const char *lib, *mount;
};

/* Most cases have a name and a script, and nothing else. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

struct px_group {
	const char *name;
	const struct px_case *cases;
	size_t n;
};
#define PX_GROUP(group)                                                                            \
	const struct px_group px_##group = {#group, group, sizeof(group) / sizeof((group)[0])}

extern const struct px_group px_paths, px_names, px_links, px_rename, px_open, px_attr, px_times,
	px_data, px_sparse, px_dirs, px_xattr, px_perm, px_kernel, px_readonly;

extern const struct px_backend px_library, px_system;

/* Where the backends work: a directory of the mount; for the library, a volume file for the read-only tree. */
int px_system_open(const char *dir, const char *other);
int px_library_rdonly(const char *volume);
const char *px_system_other(void); /* a directory on another filesystem */

/* Why the case that runs failed; the first reason stays. Returns -1. */
int px_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *px_failure(void);
void px_failure_clear(void);

/* 0, or -1 and px_failure() says which statement. */
int px_script(const struct px_backend *b, const char *script);

/* C functions that 'fn NAME' calls. */
typedef int px_fn(const struct px_backend *b);
px_fn *px_function(const char *name);

#endif
