/* A file system in memory, as simple as it can be: what the library's answers are compared with.
 *
 * It follows POSIX and the public header, and was written from those. It does not know where blocks
 * lie; of holes it knows only where there cannot be one (a page of a file that was written or
 * allocated).
 *
 * Times are intervals: the library's clock is read somewhere between the call and its return. 'May'
 * changes (access times, an fallocate that finds everything there) only widen the interval.
 */
#ifndef HF_TESTS_MODEL_FS_H
#define HF_TESTS_MODEL_FS_H

#include <holdfast.h>
#include <sys/stat.h>

#define M_PAGE	  4096u
#define M_HANDLES 12
#define M_STREAMS 3
/* Up to here a file's bytes may be in its inode, and no page is sure to be allocated. */
#define M_INLINE   256u
#define M_SIZE_MAX ((uint64_t)INT64_MAX)

struct m_time {
	int64_t lo, hi;
};
struct m_page {
	uint64_t no;
	uint8_t *bytes; /* NULL: allocated, zeros */
};
struct m_xattr {
	char name[256];
	uint8_t *value;
	size_t len;
};
struct m_entry {
	char name[256];
	struct m_inode *in;
};
struct m_inode {
	uint32_t mode, uid, gid, nlink;
	uint64_t rdev, size;
	struct hf_id id; /* the library's; ino 0: not seen yet */
	unsigned opens;
	struct m_page *pages; /* by number; nothing at or beyond 'size' is other than 0 */
	size_t npages, pages_cap;
	struct m_xattr *xattrs;
	size_t nxattrs;
	struct m_entry *entries;
	size_t nentries, entries_cap;
	struct m_inode *parent; /* of directories */
	char *target;
	struct m_time atime, mtime, ctime, btime;
	size_t index; /* in model.inodes */
};
struct m_handle {
	struct m_inode *in; /* NULL: closed */
	unsigned flags;
};
struct m_seen {
	char name[256];
	unsigned seen;
	bool required; /* was there all the time */
};
struct m_stream {
	struct m_inode *in; /* NULL: closed */
	struct m_seen *names;
	size_t n;
};
struct model {
	struct m_inode *root;
	struct m_inode **inodes;
	size_t n, cap;
	struct m_handle handles[M_HANDLES];
	struct m_stream streams[M_STREAMS];
	uint32_t uid, gid; /* of what is made by path */
	struct m_time now; /* of the operation under way */
	bool times;	   /* are compared */
	uint64_t npages;
};

struct model *m_new(uint32_t uid, uint32_t gid);
void m_free(struct model *m);
/* What a crash leaves: no open files, nothing without a name. */
void m_crash(struct model *m);
/* -EINVAL: no such; else the path of an inode's first name, "/" for the root. */
int m_path_of(const struct model *m, const struct m_inode *in, char *out, size_t size);

/* ---- names */
struct m_walk {
	struct m_inode *in;  /* what the path names; NULL: only the last component is missing */
	struct m_inode *dir; /* where the last component is, unless special */
	char last[256];
	bool special; /* the last component is ".", ".." or there is none */
	bool slash;   /* slashes come after it */
};
/* The last component, if it is a symlink: as it stands (what makes and removes names), not followed
 * unless slashes come after it (lstat), followed. */
enum m_follow { M_NAME, M_LINK, M_FOLLOW };
/* 0 also when the last component is missing (w->in NULL). */
int m_walk(struct model *m, const char *path, enum m_follow follow, struct m_walk *w);
/* What most calls begin with: the inode, or the error. */
int m_lookup(struct model *m, const char *path, bool follow, struct m_inode **in);
struct m_inode *m_entry_get(const struct m_inode *dir, const char *name);
bool m_is_above(const struct m_inode *in, const struct m_inode *at);

struct m_new {
	uint32_t mode, uid, gid;
	uint64_t rdev;
	const char *target;
};
int m_create(struct model *m, const char *path, const struct m_new *n);
int m_link(struct model *m, const char *oldpath, const char *newpath);
int m_unlink(struct model *m, const char *path);
int m_rmdir(struct model *m, const char *path);
/* *unclear: several errors apply, any will do. */
int m_rename(struct model *m, const char *oldpath, const char *newpath, unsigned flags,
	     bool *unclear);
int m_open(struct model *m, const char *path, unsigned flags, uint32_t mode, int slot);
void m_close(struct model *m, int slot);
int m_flink(struct model *m, int slot, const char *path);
int m_setattr(struct model *m, struct m_inode *in, const struct hf_setattr *a);
void m_open_inode(struct model *m, struct m_inode *in, unsigned flags, int slot);

/* ---- content (model_data.c) */
void m_read(const struct m_inode *in, void *buf, size_t len, uint64_t off);
void m_write(struct model *m, struct m_inode *in, const void *buf, size_t len, uint64_t off);
void m_resize(struct model *m, struct m_inode *in, uint64_t size);
int m_fallocate(struct model *m, struct m_inode *in, int mode, uint64_t off, uint64_t len);
int64_t m_copy(struct model *m, struct m_inode *in, uint64_t from, struct m_inode *out, uint64_t to,
	       uint64_t len);
/* The index of the first page at or after block 'no'. */
size_t m_page_at(const struct m_inode *in, uint64_t no);
/* How many blocks of [off, end) have no page: what an allocation may need. */
uint64_t m_missing(const struct m_inode *in, uint64_t off, uint64_t end);
void m_drop_pages(struct model *m, struct m_inode *in, uint64_t first, uint64_t end);

/* ---- attributes */
struct m_xattr *m_xattr_get(const struct m_inode *in, const char *name);
int64_t m_getxattr(const struct m_inode *in, const char *name, void *value, size_t size);
int m_setxattr(struct model *m, struct m_inode *in, const char *name, const void *value,
	       size_t size, int flags);
int m_removexattr(struct model *m, struct m_inode *in, const char *name);
uint64_t m_xattr_bytes(const struct m_inode *in);

/* ---- times */
enum { M_ATIME = 1, M_MTIME = 2, M_CTIME = 4 };
void m_touch(struct model *m, struct m_inode *in, unsigned which);
void m_may_touch(struct model *m, struct m_inode *in, unsigned which);
int64_t m_clock(void);

/* ---- directory streams: each name that was there all the time comes exactly once */
void m_stream_open(struct model *m, int slot, struct m_inode *dir);
void m_stream_close(struct model *m, int slot);
/* A name came; a sentence if it may not. */
const char *m_stream_name(struct model *m, int slot, const char *name);
const char *m_stream_end(const struct model *m, int slot);

#endif
