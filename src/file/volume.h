/* What is behind the public handles. For this layer, and for tools, check and benchmarks that link
 * the internals. */
#ifndef HF_FILE_VOLUME_H
#define HF_FILE_VOLUME_H

#include "base/error.h"
#include "base/forkflag.h"
#include "dir/name.h"
#include "file/gate.h"
#include "file/pool.h"
#include "holdfast.h"
#include "inode/fs.h"
#include "inode/inode.h"

#define VOLUME_MAGIC 0x31656d756c6f7668ull
#define FILE_MAGIC   0x3130656c69666668ull
#define VIEW_MAGIC   0x3130776569766668ull
#define DIR_MAGIC    0x3130307269646668ull

/* The largest size of a file, and so many blocks has its map at most. */
#define FILE_SIZE_MAX	((uint64_t)INT64_MAX)
#define FILE_BLOCKS_MAX (1ull << 51)
/* What one call reads or writes at most, as Linux does. */
#define FILE_IO_MAX ((uint64_t)0x7ffff000)

/* hf_unmount_force: calls fail from FORCING on; who ends the last use from FORCED on takes the volume apart. */
enum volume_forced { VOLUME_NORMAL, VOLUME_FORCING, VOLUME_FORCED, VOLUME_GONE };

/* What threads count each for themselves, so that no line is everybody's: calls under way that a forced unmount has to leave the
 * volume to; files opened and closed, which may be different threads' doing. */
struct volume_slot {
	_Alignas(HF_LINE) _Atomic uint32_t inside;
	_Atomic uint64_t opened, closed;
};

struct hf_volume {
	struct pool_item item;
	_Atomic uint32_t forced; /* enum volume_forced */
	struct fs fs;
	uint64_t fork_token;
	uint32_t uid, gid; /* owner of what the path functions create */
	uint64_t replayed, orphans_finished;
	_Atomic uint32_t dirs; /* open directories */
	struct volume_slot holds[GATE_SLOTS];
	struct gate gate;
};

struct hf_file {
	struct pool_item item;
	uint64_t fork_token; /* the volume's: one line less on the way to the data */
	struct inode *in;
	struct hf_volume *vol;
	uint32_t flags; /* enum hf_open_flags */
	bool atime_old; /* more than a day old at open: the first read touches it */
	char name[64];	/* the end of the path it was opened by, cut off; "": by number */
};

struct hf_view {
	struct pool_item item;
	uint64_t fork_token;
	struct hf_volume *vol;
	struct inode *in;
	struct view *v;
	uint64_t len; /* bytes, as asked for */
};

/* ---- enter.c: each public function begins with one of these. 0, -EINVAL (NULL or not such a
 * handle), -EBADF (closed, or not opened for that), -ESTALE (a child after fork), -EROFS,
 * -ESHUTDOWN. */
int enter_volume(struct hf_volume *vol);
/* For the calls that still work after hf_unmount_force: they end a use of the volume. */
int enter_volume_to_leave(struct hf_volume *vol);
int enter_file_to_leave(struct hf_file *file);
int enter_volume_change(struct hf_volume *vol);
int enter_file(struct hf_file *file);
int enter_file_change(struct hf_file *file);  /* open for writing */
int enter_inode_change(struct hf_file *file); /* attributes: however it was opened */
int enter_view(struct hf_view *view);
int enter_view_to_leave(struct hf_view *view);
/* Gives a failure a sentence if no layer below did, and passes ret on: what every public function
 * returns. Without enter_clear() at the beginning the sentence may be an older one. */
int64_t enter_leave(int64_t ret, const char *what);
/* The same for functions that do not clear at their beginning, to be fast. bad: pm_bad() as it was then; who does not know, but has
 * asked all its sources (pm_guarded_read, inode_intact), gives what it is now. */
int64_t enter_leave_fast(const struct hf_file *file, uint32_t bad, int64_t ret, const char *what) __attribute__((cold));
/* For those that give a handle: a success stands (what led to it was verified), for the handle is there. */
static inline int64_t enter_leave_handle(int64_t ret, const char *what)
{
	return ret < 0 ? enter_leave(ret, what) : ret;
}
/* The volume may be gone before this thread's call leaves. */
void enter_forget(void);
/* An option struct of a caller who may be older or newer than the library. */
int enter_options(void *to, size_t size, const void *from);

static inline bool enter_file_ok(const struct hf_file *file)
{
	return file && __atomic_load_n(&file->item.magic, __ATOMIC_RELAXED) == FILE_MAGIC &&
	       file->fork_token == fork_token() &&
	       atomic_load_explicit(&file->vol->forced, memory_order_relaxed) == VOLUME_NORMAL;
}

/* ---- volume.c */
static inline struct hf_volume *volume_of(struct fs *fs)
{
	return (struct hf_volume *)((char *)fs - offsetof(struct hf_volume, fs));
}
/* No transaction commits between the two, and none is under way; reads and overwrites in place go
 * on. The caller holds no lock of an object. */
void volume_freeze(struct hf_volume *vol);
void volume_thaw(struct hf_volume *vol);
/* Mounts a medium that is open already; pm is closed on failure. For the crash explorer: a
 * simulated device. */
int volume_open(struct pm *pm, const struct hf_mount_options *opts, struct hf_volume **out);
/* hf_unmount without its checks of the pointer. */
int volume_close(struct hf_volume *vol);
/* Every call that ends a use (file, directory, pin, view, hold) calls this as its last step: the last one of a volume that was
 * unmounted by force takes it apart. */
void volume_let_go(struct hf_volume *vol);
/* A call that has no handle of its own, or that still works on the volume after its handle is gone: a forced unmount leaves the volume
 * to it. Counted before it looks at 'forced'. On lines that threads on other CPUs do not use. The thread that holds lets go. */
static inline void volume_hold(struct hf_volume *vol)
{
	atomic_fetch_add(&vol->holds[gate_my_slot()].inside, 1);
}
static inline void volume_unhold(struct hf_volume *vol)
{
	atomic_fetch_sub(&vol->holds[gate_my_slot()].inside, 1);
	volume_let_go(vol);
}
static inline void volume_opened(struct hf_volume *vol)
{
	atomic_fetch_add(&vol->holds[gate_my_slot()].opened, 1);
}
static inline void volume_closed(struct hf_volume *vol)
{
	atomic_fetch_add(&vol->holds[gate_my_slot()].closed, 1);
}
/* Begins each public function that has no more than a volume, which need not be one. */
struct hf_volume *volume_call_begin(struct hf_volume *vol);
static inline void volume_call_end(struct hf_volume **vol)
{
	if (*vol)
		volume_unhold(*vol);
}
#define VOLUME_CALL(vol)                                                                           \
	struct hf_volume *volume_call __attribute__((cleanup(volume_call_end), unused)) =          \
	    volume_call_begin(vol)

/* ---- stat.c */
/* Takes the layout lock, shared. -ESTALE: freed meanwhile. */
int stat_inode(struct inode *in, struct hf_stat *out);

/* ---- open.c */
/* Counts an opener: from now on the inode outlives its last name. -ESTALE when it is already going.
 */
int open_count(struct inode *in);
/* No name and no opener: whoever took the last of them frees it, or has. */
bool open_is_gone(struct inode *in);
/* The reverse, and drops the reference; the last one of an inode without names frees it. */
int open_uncount(struct hf_volume *vol, struct inode *in);
/* A handle for an inode that is already counted; the reference goes into it. */
int open_handle(struct hf_volume *vol, struct inode *in, unsigned flags, struct hf_file **out);

/* ---- path.c */
/* A path copied in: the caller's memory is not touched under locks. Too large for deep stacks: 4
 * KiB. */
struct path {
	char s[4096];
};
int path_copy(struct path *p, const char *from);
/* The directory and the last component; a trailing slash is told in *is_dir. */
int path_parent(struct hf_volume *vol, const char *path, struct inode **dir, char last[256],
		bool *is_dir);
/* The error where something that is no directory is to be made by a name with a slash behind it. */
int path_new_slash(struct inode *dir, const char *name);
int path_inode(struct hf_volume *vol, const char *path, bool follow, struct inode **out);
int path_name_copy(char to[256], const char *from);
/* What a path named was freed before it was locked. A rename over the name may have done that, and
 * the name was never gone: so the path is looked up again. Each turn takes another's unlink or
 * rename; an entry for an inode without links, which is damage, would never come to an end. */
enum { PATH_TURNS = 10000 };
static inline bool path_again(int64_t ret, unsigned *turns)
{
	return ret == -ESTALE && ++*turns < PATH_TURNS;
}
/* At last: for the caller the name is not there. */
static inline int64_t path_gone(int64_t ret)
{
	return ret == -ESTALE ? -ENOENT : ret;
}

/* ---- setattr.c */
int setattr_check(struct inode *in, const struct hf_setattr *attr);
/* Writes all but the size into the image. Layout exclusive, between inode_edit_begin and
 * inode_edit_end. */
void setattr_apply(struct inode_edit *e, const struct hf_setattr *attr);
/* All of it. No lock held; passes the gate. how: for a size; NULL: HF_PINNED_DELAY. */
int setattr_inode(struct inode *in, const struct hf_setattr *attr, const struct hf_how *how);

#endif
