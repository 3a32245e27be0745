/*
 * holdfast: a persistent-memory filesystem that a program links in.
 *
 * A volume is a device-DAX node (/dev/daxX.Y), a file, or a memfd. One process owns it at a time. Two levels:
 *
 *   - paths and open files (hf_open, hf_pread, hf_rename ...), named after the POSIX calls they follow;
 *   - inodes by number and generation (hf_inode_*), for FUSE and NFS servers.
 *
 * Errors: every function that can fail returns 0 (or a count) or a negative errno value; results come back through
 * out-parameters, which are NULL or zero after a failure. hf_errormsg() gives the sentence for this thread's last failure.
 *
 * Durability: when a function that changes the volume has returned 0, its change survives what the volume survives
 * (hf_info: 'power-fail', 'process-crash' or 'nothing'), data and metadata alike; there is nothing to fsync, except that
 * time stamps of reads and overwrites may lag until hf_fsync, hf_syncfs or hf_unmount. A change that has not returned is
 * there wholly or not at all, except for plain data writes: there each aligned 8 bytes are old or new.
 * After -EIO from a change, the volume refuses further changes (-ESHUTDOWN) until it is mounted again, and the change may then
 * be found done.
 *
 * Bad (poisoned) media: file bytes on it are -EIO, for their range only; a write of whole blocks clears it, where the medium can and
 * nobody has them pinned. Metadata on it: the call that meets it is -EIO, the volume refuses
 * changes as above, and reads of what is not hit go on. The process gets no SIGBUS, but for its own touch of a pin's or view's page.
 *
 * Threads: every function may be called from any thread at any time, except that a handle must not be used while or after
 * it is closed. No function is async-signal-safe. No function waits for the network or for another process (except that hf_mount
 * and hf_check give a mount.holdfast that has been unmounted up to 2 s to let the volume go); each may block on internal locks,
 * and where it changes something, on the medium.
 *
 * After fork() the child's calls return -ESTALE; the parent goes on.
 *
 * Names are 1 to 255 bytes, any byte but '/' and NUL. Paths are up to 4095 bytes; a relative path begins at the root.
 * Permissions are stored, not enforced: the program that owns the volume is trusted (the FUSE mount lets the kernel check).
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_PATCH 0

#if defined(__GNUC__)
#define HF_API __attribute__((visibility("default")))
#else
#define HF_API
#endif

typedef struct hf_volume hf_volume;	/* a mounted volume */
typedef struct hf_file hf_file;		/* an open file (regular file; not a directory) */
typedef struct hf_dir hf_dir;		/* an open directory stream */

/* An inode, for good: when the number is handed out again the generation differs, and the old pair gives -ESTALE. */
struct hf_id {
	uint64_t ino;
	uint64_t gen;
};

/* Times: nanoseconds since 1970, signed, UTC. */
struct hf_stat {
	struct hf_id id;
	uint32_t mode;			/* type and permission bits, as st_mode */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t rdev;			/* of device nodes, as makedev() */
	uint64_t size;			/* bytes; directories: of the blocks they own */
	uint64_t blocks_512;		/* as st_blocks */
	uint32_t blksize;		/* 4096 */
	uint32_t zero;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
};

/* ------------------------------------------------------------------------------------------------ library */

/* The sentence for the last failure in this thread, "" if there was none; valid until this thread's next call. */
HF_API const char *hf_errormsg(void);
/* "0.1.0" */
HF_API const char *hf_version(void);

/* ------------------------------------------------------------------------------------------------ volumes */

struct hf_format_options {
	size_t struct_size;		/* sizeof(struct hf_format_options) */
	uint64_t bytes;			/* size; 0: all of the device or file. A file is created or enlarged to it */
	const char *label;		/* up to 63 bytes; NULL: none */
	const uint8_t *uuid;		/* 16 bytes; NULL: random */
	bool force;			/* format although the place holds something */
	bool sparse;			/* do not allocate the file's blocks (a full host then means SIGBUS or -EIO later) */
	uint32_t uid, gid;		/* owner of the root directory */
};
/* Makes an empty volume at path. opts may be NULL. Here and wherever else the path of a volume is asked for, several devices or files
 * with ':' between them (A:B:C, up to 8) are one volume; a path that exists as it stands is taken as it is. They follow each other in the
 * order in which they are named here, the tables being on the first; 'bytes' is the size of each. Afterwards all of them are named, in
 * any order. Refuses (-EEXIST, the sentence says what was seen) a place that holds
 * a known signature, or anything but zeros in its first or last MiB, unless force; so too (-EIO) a device that lists bad media which it
 * cannot clear. -EBUSY if it is in use, force or not; -ENOENT: a device that is not there; -ENODEV: one that is in system-ram mode, a
 * block device; -EROFS: its region is read-only; -EINVAL for a size below 4 MiB. A regular file's blocks are allocated unless sparse. */
HF_API int hf_format(const char *path, const struct hf_format_options *opts);

enum hf_mount_flags {
	HF_MOUNT_RDONLY = 1,		/* changes give -EROFS; a volume that needs recovery is refused (-EROFS) */
	HF_MOUNT_NO_MSYNC = 2,		/* files that are not on DAX: no msync; survives a process crash, not a power failure */
	HF_MOUNT_FORCE_CACHE_LINE = 4,	/* claim cache-line granularity whatever the medium says (benchmarks on tmpfs) */
	HF_MOUNT_NOATIME = 8,		/* reading changes no access times */
	HF_MOUNT_NUMA_NODE = 16,	/* numa_node counts */
};
struct hf_mount_options {
	size_t struct_size;
	unsigned flags;			/* enum hf_mount_flags; unknown bits: -EINVAL */
	uint32_t max_cached_inodes;	/* 0: 65536 */
	uint32_t uid, gid;		/* owner of what the path functions create; set use_ids, else the process's */
	bool use_ids;
	int32_t numa_node;		/* with HF_MOUNT_NUMA_NODE: what this mount allocates is taken from the volume's devices on this node
					 * (hf_devices) as long as they have room, then from the others. Where data is already, it stays */
	const uint8_t *uuid;		/* 16 bytes: mount this volume and no other; NULL: whichever is there */
	void *reserved[3];
};
/* Opens the volume at path, recovers it if needed, takes the exclusive lock. opts may be NULL. -EBUSY: another process has
 * it (its pid is in the sentence); -EPERM: others than owner and group may write to it (so too hf_format, hf_check: it is verified where it
 * lies, and whoever can change it meanwhile could do harm); -EINVAL: no holdfast volume, or numa_node is one that no device of it is on (the
 * sentence lists those there are; files are on none); -ENXIO: another one than uuid says (two devices swapped); -EBADMSG, -EUCLEAN: damaged (fsck.holdfast); -EIO: bad media where
 * metadata is (read-only, it may still do); -EOPNOTSUPP:
 * unknown feature (its name is in the sentence). Time does not grow with the data. */
HF_API int hf_mount(hf_volume **out, const char *path, const struct hf_mount_options *opts);
/* A new, empty, volatile volume in a memfd. */
HF_API int hf_mount_memory(hf_volume **out, uint64_t bytes, const struct hf_mount_options *opts);
/* Everything in place and durable, lock dropped; *vol is set to NULL. -EBUSY with open files, directories, pins or views (the
 * sentence counts them), or while another thread is in a call: nothing happened; see hf_unmount_force. After a shutdown: writes
 * nothing, returns 0. */
HF_API int hf_unmount(hf_volume **vol);
/* All that has returned before is in place on the media, times included. */
HF_API int hf_syncfs(hf_volume *vol);

struct hf_statfs {
	uint64_t block_bytes;		/* 4096 */
	uint64_t blocks;		/* that can hold files */
	uint64_t blocks_free;		/* can be handed out now */
	uint64_t blocks_busy_journal;	/* free, held until the next checkpoint */
	uint64_t blocks_busy_pinned;	/* free, held by pins */
	uint64_t blocks_used;		/* files, directories, inodes; free + busy + used = blocks when nothing is under way */
	uint64_t frames, frames_free;	/* of 2 MiB; wholly free ones */
	uint64_t frames_full, frames_split;
	uint64_t inodes_used, inodes_free;	/* free: in inode blocks that exist; more are made while there is space */
	uint32_t name_max;		/* 255 */
};
HF_API int hf_statfs(hf_volume *vol, struct hf_statfs *out);

struct hf_info {
	char path[256];
	char kind[16];			/* "device-dax", "dax-file", "file", "memfd" */
	char granularity[16];		/* "byte", "cache-line", "page" */
	char survives[16];		/* "power-fail", "process-crash", "nothing" */
	char label[64];
	uint8_t uuid[16];
	uint64_t bytes;
	int64_t created_ns;
	uint32_t lanes;
	uint64_t lane_bytes;
	uint64_t commits, checkpoints;	/* since mount */
	uint64_t replayed;		/* transactions that recovery applied at mount */
	uint64_t orphans_finished;	/* unfinished deletions and truncations that mount ended */
	bool read_only, shutdown, used_second_superblock;
};
HF_API int hf_info(hf_volume *vol, struct hf_info *out);

struct hf_device {			/* one of the devices or files that a volume is made of */
	char path[256];
	char kind[16], granularity[16];	/* as in struct hf_info; the volume's granularity is the coarsest of its devices' */
	uint64_t media_off, bytes;	/* where it begins in the volume, and how much of it is the volume's */
	int32_t numa_node;		/* of a device-DAX node; -1: not known, or a file */
};
/* The first n of the volume's devices, in their order. How many there are, or a negative errno. Blocks: no. */
HF_API int hf_devices(hf_volume *vol, struct hf_device *out, size_t n);

/* ------------------------------------------------------------------------------------------------ open files */

enum hf_open_flags {			/* how to open; unknown bits give -EINVAL */
	HF_O_RDONLY = 0,
	HF_O_WRONLY = 1,
	HF_O_RDWR = 2,
	HF_O_CREAT = 0x40,
	HF_O_EXCL = 0x80,
	HF_O_TRUNC = 0x200,		/* with HF_O_WRONLY or HF_O_RDWR */
	HF_O_APPEND = 0x400,		/* hf_pwrite and hf_writev add at the end, whatever their offset, atomically */
	HF_O_NOFOLLOW = 0x20000,
	HF_O_NOATIME = 0x40000,		/* reads through this handle change no access time */
	HF_O_TMPFILE = 0x400000,	/* an unnamed file in the volume of the directory 'path'; see hf_flink */
};
/* -ENOENT -EEXIST -EISDIR -ENOTDIR -ELOOP -ENAMETOOLONG -ENOSPC -EROFS -ENXIO (FIFO, socket, device: stored, not opened) */
HF_API int hf_open(hf_volume *vol, const char *path, unsigned flags, uint32_t mode, hf_file **out);
/* *file is set to NULL. -EBADF: it is closed already (told for a while after). The last close of an unlinked file frees it; a failure
 * there is reported, the handle is gone. */
HF_API int hf_close(hf_file **file);

/* Bytes read: fewer than len only at end of file. Holes read as zeros. -EIO: the range is poisoned (nothing is returned).
 * -EBADF: not open for reading. -EFAULT: the buffer cannot be written. */
HF_API ssize_t hf_pread(hf_file *file, void *buf, size_t len, uint64_t off);
/* len; or fewer, when the volume got full or the buffer could not be read part-way: what is counted is written, durable and
 * in the size, and nothing behind it is. Or an error, and nothing durable promised for the range (-ENOSPC, of a full volume:
 * nothing happened). Atomic against other reads and writes of the file. Durable on return. At most 2^31 - 4096 bytes are taken
 * by one call (as Linux does), and nothing beyond 2^63 - 1 (-EFBIG): a count smaller than len then. A write of more than
 * 64 MiB, or into very scattered free space, is several transactions, in order: after a failure that is not in the first, or a
 * crash, a beginning of it is there, and the count tells how much. -EBADF: not open for writing. -EFAULT: the buffer cannot be
 * read; nothing happened but, where the range has blocks already, to its bytes. */
HF_API ssize_t hf_pwrite(hf_file *file, const void *buf, size_t len, uint64_t off);
struct iovec;
HF_API ssize_t hf_preadv(hf_file *file, const struct iovec *iov, int iovcnt, uint64_t off);
HF_API ssize_t hf_pwritev(hf_file *file, const struct iovec *iov, int iovcnt, uint64_t off);
/* Adds at the end; *off_out (may be NULL) is where. */
HF_API ssize_t hf_append(hf_file *file, const void *buf, size_t len, uint64_t *off_out);
HF_API int hf_ftruncate(hf_file *file, uint64_t size);
/* mode: 0 or FALLOC_FL_KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE], COLLAPSE_RANGE, INSERT_RANGE, as
 * fallocate(2); others -EOPNOTSUPP. COLLAPSE and INSERT: multiples of 4096, one transaction each (-EFBIG: so scattered a
 * file that one does not do). Allocation zeroes the blocks. Large ranges are given whole 2 MiB frames; what was allocated
 * before a failure stays. A punched range leaves the file by one transaction, its edges inside blocks are zeroed in place
 * before the return; on a volume so full that not even a map node is left, piece by piece, or zeroed in place. */
HF_API int hf_fallocate(hf_file *file, int mode, uint64_t off, uint64_t len);
/* whence: SEEK_DATA or SEEK_HOLE, as lseek(2): the offset, or -ENXIO. */
HF_API int64_t hf_seek(hf_file *file, uint64_t off, int whence);
/* Times durable (data and size already are), and what was stored through views and through pins with HF_PIN_WRITE. */
HF_API int hf_fsync(hf_file *file);
HF_API int hf_fstat(hf_file *file, struct hf_stat *out);
/* Bytes copied: fewer than len only at the end of 'in'. Holes stay holes. The ranges may not overlap in one file (-EINVAL). */
HF_API ssize_t hf_copy_file_range(hf_file *in, uint64_t off_in, hf_file *out, uint64_t off_out, size_t len);

struct hf_extent {
	uint64_t off, len;		/* bytes in the file, multiples of 4096 */
	uint64_t media_off;		/* bytes on the media */
	bool huge;			/* whole 2 MiB frames */
};
/* The mapped extents at or after off, up to max; *n is how many. Holes are what lies between. */
HF_API int hf_extents(hf_file *file, uint64_t off, struct hf_extent *out, size_t max, size_t *n);
/* Gives an open file (unnamed, or any with links left) a name. -EEXIST */
HF_API int hf_flink(hf_file *file, const char *path);

/* ------------------------------------------------------------------------------------------------ pins */

/* A pin is a promise: the bytes of a file range keep their addresses and are not reused for anything else until hf_unpin,
 * whatever happens to the file: truncated, punched, unlinked, closed. None of these waits for a pin unless it is asked to. Blocks
 * that left the file while pinned are *busy*: free on the media, not handed out, counted by hf_statfs, listed by hf_busy_list;
 * the last unpin gives them back. A crash drops all pins; so does power failure, and nothing is left busy.
 *
 * The library cannot see a reference that it was not told of. Whoever hands an address to a device (RDMA, io_uring registered
 * buffers, O_DIRECT in another thread, a GPU) pins it before and unpins it after deregistering. Address ranges of views are not
 * pinned by being mapped.
 *
 * A pin outlives its hf_file. It counts blocks, not offsets: after a truncate and an extension the file has other blocks, and
 * the pin still has the old ones. On a file whose 2 MiB are one page a pin of a part holds the whole page.
 *
 * A pin belongs to the thread that took it, until another one calls hf_pin_take; when its thread ends, to nobody. Any thread
 * may unpin. The address of a pin is valid until hf_unpin returns; not in a child after fork. Not from a signal handler. */
typedef uint64_t hf_pin_id;		/* of one volume; never 0; not used again for as good as ever */

enum hf_pin_flags {
	HF_PIN_WRITE = 1,		/* the holder stores into it: hf_fsync, hf_syncfs, hf_unmount flush it. -EBADF: not open for that */
	HF_PIN_ALLOC = 2,		/* holes are filled with zeroed blocks. -EBADF as above, -ENOSPC */
};
struct hf_lease_options;
struct hf_pin_options {
	size_t struct_size;
	unsigned flags;			/* enum hf_pin_flags; unknown bits: -EINVAL */
	const char *tag;		/* who it is, for people: up to 31 bytes, cut off beyond; NULL: none */
	/* Not NULL: it is a lease (below) from its first instant. Its fn may run before hf_pin has returned, also when that then fails
	 * with -E2BIG; if fn has unpinned it by then, hf_pin gives -ECANCELED,
	 * or, without iov, a number that is no pin any more. -EAGAIN: no thread to call it. */
	const struct hf_lease_options *lease;
};
/* Pins [off, off+len). opts NULL: for reading, no tag. iov (may be NULL if iovcnt is) gets the addresses, adjacent ones joined, exact to
 * the byte (who does O_DIRECT aligns off and len); *iovcnt says how many entries it has and then how many were used, never more than the
 * range has blocks; -E2BIG: it takes more, *iovcnt says how many, nothing is pinned: again, in a loop, for the file may change between.
 * A view of the range has other addresses for the same bytes. What the kernel may hold for long depends on the medium: device-DAX
 * (io_uring: from Linux 6.12), tmpfs and memfd may be registered, files on a disk or DAX filesystem may not (EFAULT or EOPNOTSUPP at the
 * registration). -EINVAL: len is 0, or the range reaches beyond the end of file. -ENODATA: a hole, without HF_PIN_ALLOC. -ENOMEM. Tiny
 * files that live in their inode are given a block first (-EROFS, -EBADF if that is not possible). Never waits for another pin. */
HF_API int hf_pin(hf_file *file, uint64_t off, uint64_t len, const struct hf_pin_options *opts, struct iovec *iov, size_t *iovcnt,
		  hf_pin_id *out);
/* -EINVAL: no such pin, or unpinned already. The last pin of busy blocks gives them to the allocator (no transaction, nothing is
 * stored on the media) and wakes who waits. A pin with HF_PIN_WRITE is flushed first, as hf_pin_persist does, for nothing remembers
 * later what it covered, and the file's mtime is now; -EIO: that failed, and the pin is gone all the same: do not try again. */
HF_API int hf_unpin(hf_volume *vol, hf_pin_id pin);
/* What was stored to [off, off+len), counted from the beginning of the pin, is durable. Works on blocks that left the file, too.
 * -EINVAL: not in the pin. */
HF_API int hf_pin_persist(hf_volume *vol, hf_pin_id pin, uint64_t off, uint64_t len);
/* The calling thread is the owner from now on. */
HF_API int hf_pin_take(hf_volume *vol, hf_pin_id pin);
/* The addresses again, as hf_pin gave them. */
HF_API int hf_pin_iov(hf_volume *vol, hf_pin_id pin, struct iovec *iov, size_t *iovcnt);

struct hf_pin_info {
	hf_pin_id pin;
	struct hf_id id;		/* the file; its number may belong to another one by now: compare gen */
	uint64_t off, len;		/* of the file, as asked for */
	uint64_t age_ns;
	uint64_t busy;			/* bytes of it that are in no file any more */
	unsigned flags;			/* enum hf_pin_flags */
	uint32_t thread;		/* gettid() of the owner; 0: nobody */
	bool leased;
	bool orphaned;			/* of a process that died: see hf_release_orphaned */
	char tag[32];
	char name[64];			/* the last component of the path that the file was opened by; "": opened by number */
};
/* All pins, from *cursor (0: the first) on, up to max; *n is how many. *cursor is UINT64_MAX after the last. */
HF_API int hf_pin_list(hf_volume *vol, uint64_t *cursor, struct hf_pin_info *out, size_t max, size_t *n);
/* One of them. -EINVAL: no such pin, or unpinned already. */
HF_API int hf_pin_stat(hf_volume *vol, hf_pin_id pin, struct hf_pin_info *out);

struct hf_busy {
	uint64_t media_off, len;	/* bytes; a run of busy blocks */
	struct hf_id id;		/* the file that it came from (gen 0: unknown) */
	uint64_t off;			/* and where in it it was */
	uint64_t age_ns;		/* since it left the file; 0 for the journal's */
	bool journal;			/* held until the next checkpoint, not by pins */
	hf_pin_id pin;			/* one of the pins that hold it; 0: journal */
	char tag[32];			/* of that pin */
	char name[64];
};
/* All busy extents, as above. While others work, what comes and goes may or may not be in the list. */
HF_API int hf_busy_list(hf_volume *vol, uint64_t *cursor, struct hf_busy *out, size_t max, size_t *n);

/* What truncate, punch, zero-range, collapse, insert, unlink and rename-over of the last link do about pins in the range. */
enum hf_pinned {
	HF_PINNED_DELAY = 0,		/* returns at once; pinned blocks are freed on their last unpin. What the plain calls do */
	HF_PINNED_WAIT = 1,		/* the same, then sleeps until all that it detached is idle. -ETIMEDOUT: done, but still held */
	HF_PINNED_FAIL = 2,		/* -EBUSY and nothing changed, if anything in the range is pinned */
};
struct hf_how {
	size_t struct_size;
	enum hf_pinned pinned;
	uint64_t timeout_ns;		/* of HF_PINNED_WAIT; UINT64_MAX: none; 0: looks once */
};
/* The plain calls with a mode; how NULL: HF_PINNED_DELAY. No lock is held while waiting, so who holds a pin gets at the rest of the
 * file. -EDEADLK and nothing done: WAIT, and the calling thread owns a pin on what would leave the file (or is in a lease's callback).
 * FAIL minds pins on what would change, the block that a new end of file cuts among them. Collapse and insert move everything behind
 * their range: FAIL looks at all of that. Zero-range overwrites pinned blocks in place (FAIL: does not); it detaches nothing. An unlink
 * takes the blocks only if nobody has the file open. */
HF_API int hf_ftruncate_how(hf_file *file, uint64_t size, const struct hf_how *how);
HF_API int hf_fallocate_how(hf_file *file, int mode, uint64_t off, uint64_t len, const struct hf_how *how);
HF_API int hf_truncate_how(hf_volume *vol, const char *path, uint64_t size, const struct hf_how *how);
HF_API int hf_unlink_how(hf_volume *vol, const char *path, const struct hf_how *how);
HF_API int hf_rename_how(hf_volume *vol, const char *oldpath, const char *newpath, unsigned flags, const struct hf_how *how);
HF_API int hf_inode_unlink_how(hf_volume *vol, struct hf_id dir, const char *name, const struct hf_how *how);
HF_API int hf_inode_rename_how(hf_volume *vol, struct hf_id olddir, const char *oldname, struct hf_id newdir, const char *newname,
			       unsigned flags, const struct hf_how *how);

/* A lease is a pin whose holder is told when an operation wants its range. fn runs on the library's notifier thread, with no lock
 * held, once per operation, after the operation has detached the range (FAIL: before it decides); deadline_ns is how long FAIL
 * waits for the pin to go. DELAY does not wait, WAIT waits as long as its caller said. fn may unpin; WAIT in fn gives -EDEADLK.
 * hf_copy_file_range tells of each hole that it makes. A lease ends with its pin; fn does not run after hf_unpin has returned,
 * unless it is running then (hf_unpin from another thread waits for it, from fn itself not). */
struct hf_lease_event {
	hf_pin_id pin;
	enum hf_pinned mode;		/* the operation's: WAIT sleeps until the pin goes, FAIL up to the deadline */
	bool detached;			/* the blocks have left the file already; false: FAIL asks first */
	uint64_t off, len;		/* of the file, in whole blocks: what the operation takes; off + len UINT64_MAX: to the end */
};
/* *event is the library's, until fn returns. */
typedef void hf_lease_fn(void *ctx, hf_volume *vol, const struct hf_lease_event *event);
struct hf_lease_options {
	size_t struct_size;
	hf_lease_fn *fn;
	void *ctx;
	uint64_t deadline_ns;
};
/* Makes a lease of a pin that there is already. An operation that came before is not told: to see whether one did, look at 'busy'
 * of hf_pin_stat afterwards. -EALREADY: it is a lease already. -EINVAL, -ENOMEM, -EAGAIN: no thread to call it. */
HF_API int hf_lease(hf_volume *vol, hf_pin_id pin, const struct hf_lease_options *opts);

/* Sleeps until no pin that was taken on this file, or on the volume, is left. -ETIMEDOUT; -EDEADLK: one is the caller's own. */
HF_API int hf_wait_idle(hf_file *file, uint64_t timeout_ns);
HF_API int hf_wait_idle_volume(hf_volume *vol, uint64_t timeout_ns);

/* Unmount although there are pins, views or open files: everything is made durable, views are revoked (a touch is SIGBUS), and
 * every later call fails with -ESHUTDOWN, but for hf_unpin, hf_view_unmap, hf_close and hf_closedir. The map of the media and the
 * volume's lock stay until the last of those is done, so that nobody gets a block that a device may still write to. Returns how
 * many are left: 0: it is gone, as after hf_unmount. The pointer stays usable for hf_unpin until the last one. -EIO: not everything could
 * be made durable; it is unmounted by force all the same. Calls that are under way in other threads may end as they would have or fail
 * with -ESHUTDOWN; those that wait (hf_wait_idle_volume, HF_PINNED_WAIT) go on waiting. The volume is there until they are out. */
HF_API int hf_unmount_force(hf_volume *vol);

/* A process that dies may leave devices or children at work on what it had pinned. Its pins are published in a file below
 * $HOLDFAST_RUNTIME_DIR, else /run/holdfast, else /dev/shm/holdfast-UID ('holdfast busy' shows them), and the next mount in the same
 * boot keeps their blocks busy as 'orphaned' pins. When nothing can reach them any more: releases them all; *n (may be NULL) is how
 * many. */
HF_API int hf_release_orphaned(hf_volume *vol, uint64_t *n);

/* ------------------------------------------------------------------------------------------------ views */

/* A view is one contiguous address range for a range of a file, made of 2 MiB pages of the media. A page is mapped when it is
 * first touched, by the library's SIGSEGV handler (which chains to the program's for all other addresses; a handler that is
 * installed later must chain to it). Reading a hole sees zeros, writing it allocates; touching a page wholly beyond the end of
 * file raises SIGBUS, as does a page that cannot be had (no space, bad media). Truncate and punch revoke pages; the next touch
 * sees the file as it is then. A page whose file range is not one huge frame is made so first ('collapse': the blocks are copied
 * to a new frame), which waits while any of them is pinned.
 *
 * A system call on an address that is not mapped yet gives EFAULT: hf_view_populate first. Being mapped is no pin. A child after
 * fork has no view: touching is SIGSEGV. A view keeps its file alive, as an open file does. */
typedef struct hf_view hf_view;

enum hf_view_prot { HF_VIEW_READ = 1, HF_VIEW_WRITE = 2 };	/* WRITE implies READ */
struct hf_view_options {
	size_t struct_size;
	unsigned prot;			/* enum hf_view_prot */
	/* How long a touch waits for pins when it has to collapse; 0: not at all, so that a pin of somebody else in a page that is
	 * not one frame yet makes the touch a SIGBUS. Never for the toucher's own. Files that are given their space by whole 2 MiB
	 * (hf_fallocate) and are populated need no collapse. */
	uint64_t pin_wait_ns;
	bool handler_chains;		/* the handler that took SIGSEGV after the library's calls it for what is not its own */
};
/* off: a multiple of 2 MiB. len > 0; may reach beyond the end of file. *addr is aligned to 2 MiB. -EINVAL; -EBADF: the file is
 * not open for that; -ENOMEM (address space, or vm.max_map_count: the sentence says which); -ENOTSUP: the medium cannot be
 * mapped piecewise (memory without a descriptor, or a device that is aligned to 1 GiB). -EBUSY: SIGSEGV has another handler by now (some libraries take it when they are loaded),
 * and the first touch would end the process: load that library before the first mount, tell it not to, or, if it chains, say so. */
HF_API int hf_view_map(hf_file *file, uint64_t off, uint64_t len, const struct hf_view_options *opts, void **addr, hf_view **out);
/* *view is set to NULL. Nobody may touch it any more. What was stored through it is flushed, for a later hf_fsync could not. */
HF_API int hf_view_unmap(hf_view **view);
/* Maps the pages of [off, off+len) of the view now, for reading or for writing. -ENXIO: beyond the end of file; -EBUSY: has to
 * collapse and is pinned (after the view's pin_wait_ns); -ENOSPC; -ENOMEM: the limit of mappings (vm.max_map_count). */
HF_API int hf_view_populate(hf_view *view, uint64_t off, uint64_t len, bool write);
/* What was stored through the view to [off, off+len), counted from its beginning, is durable. */
HF_API int hf_view_persist(hf_view *view, uint64_t off, uint64_t len);

/* ------------------------------------------------------------------------------------------------ paths */

HF_API int hf_stat(hf_volume *vol, const char *path, struct hf_stat *out);
HF_API int hf_lstat(hf_volume *vol, const char *path, struct hf_stat *out);
HF_API int hf_mkdir(hf_volume *vol, const char *path, uint32_t mode);
/* FIFO, socket, character or block device, or an empty regular file: mode has the type. */
HF_API int hf_mknod(hf_volume *vol, const char *path, uint32_t mode, uint64_t rdev);
HF_API int hf_symlink(hf_volume *vol, const char *target, const char *path);	/* target: 1 to 4095 bytes */
/* The target's length; as many bytes as fit are copied, no NUL is added. */
HF_API ssize_t hf_readlink(hf_volume *vol, const char *path, char *buf, size_t size);
HF_API int hf_link(hf_volume *vol, const char *oldpath, const char *newpath);	/* a final symlink is not followed */
HF_API int hf_unlink(hf_volume *vol, const char *path);
HF_API int hf_rmdir(hf_volume *vol, const char *path);
enum hf_rename_flags { HF_RENAME_NOREPLACE = 1, HF_RENAME_EXCHANGE = 2 };
HF_API int hf_rename(hf_volume *vol, const char *oldpath, const char *newpath, unsigned flags);
HF_API int hf_truncate(hf_volume *vol, const char *path, uint64_t size);

enum hf_set {				/* what hf_setattr sets */
	HF_SET_MODE = 1,
	HF_SET_UID = 2,
	HF_SET_GID = 4,
	HF_SET_SIZE = 8,
	HF_SET_ATIME = 16,
	HF_SET_MTIME = 32,
	HF_SET_ATIME_NOW = 64,
	HF_SET_MTIME_NOW = 128,
	HF_SET_CTIME = 256,		/* for restoring backups; otherwise ctime is now */
};
struct hf_setattr {
	unsigned set;			/* enum hf_set */
	uint32_t mode;			/* permission bits only */
	uint32_t uid, gid;
	uint64_t size;
	int64_t atime_ns, mtime_ns, ctime_ns;
};
/* follow: a final symlink is followed. All of it in one transaction (a size that frees much is finished in the background
 * of the call). */
HF_API int hf_setattr(hf_volume *vol, const char *path, const struct hf_setattr *attr, bool follow);
HF_API int hf_fsetattr(hf_file *file, const struct hf_setattr *attr);
HF_API int hf_chmod(hf_volume *vol, const char *path, uint32_t mode);

/* Extended attributes: names begin with "user.", "trusted.", "security." or "system."; values up to 65536 bytes. Semantics and
 * flags (XATTR_CREATE, XATTR_REPLACE) of setxattr(2). size 0: the length only. A final symlink is not followed by the l ones. */
HF_API ssize_t hf_getxattr(hf_volume *vol, const char *path, const char *name, void *value, size_t size);
HF_API ssize_t hf_lgetxattr(hf_volume *vol, const char *path, const char *name, void *value, size_t size);
HF_API int hf_setxattr(hf_volume *vol, const char *path, const char *name, const void *value, size_t size, int flags);
HF_API int hf_lsetxattr(hf_volume *vol, const char *path, const char *name, const void *value, size_t size, int flags);
HF_API ssize_t hf_listxattr(hf_volume *vol, const char *path, char *list, size_t size);
HF_API ssize_t hf_llistxattr(hf_volume *vol, const char *path, char *list, size_t size);
HF_API int hf_removexattr(hf_volume *vol, const char *path, const char *name);
HF_API int hf_lremovexattr(hf_volume *vol, const char *path, const char *name);
HF_API ssize_t hf_fgetxattr(hf_file *file, const char *name, void *value, size_t size);
HF_API int hf_fsetxattr(hf_file *file, const char *name, const void *value, size_t size, int flags);
HF_API ssize_t hf_flistxattr(hf_file *file, char *list, size_t size);
HF_API int hf_fremovexattr(hf_file *file, const char *name);

/* Directory streams. A cookie names a position that stays valid while entries come and go: an entry that exists all through an
 * iteration is seen exactly once. Cookie 0 is the beginning; "." and ".." come first. Cookies are no larger than INT64_MAX. */
struct hf_dirent {
	uint64_t ino;
	uint64_t cookie;		/* continue after this entry with hf_seekdir */
	uint8_t type;			/* DT_REG, DT_DIR ... of dirent.h */
	char name[256];
};
HF_API int hf_opendir(hf_volume *vol, const char *path, hf_dir **out);
/* 1: *out is the next entry; 0: the end; or an error. One stream is not for two threads at a time. */
HF_API int hf_readdir(hf_dir *dir, struct hf_dirent *out);
HF_API void hf_seekdir(hf_dir *dir, uint64_t cookie);
HF_API uint64_t hf_telldir(const hf_dir *dir);
HF_API int hf_closedir(hf_dir **dir);

/* ------------------------------------------------------------------------------------------------ inodes by number */

/* All take the pair; -ESTALE when it is gone. st may be NULL where it is an out-parameter. 'dir' must be a directory. */
HF_API int hf_inode_root(hf_volume *vol, struct hf_id *out);
HF_API int hf_inode_stat(hf_volume *vol, struct hf_id id, struct hf_stat *st);		/* gen 0: any generation */
HF_API int hf_inode_lookup(hf_volume *vol, struct hf_id dir, const char *name, struct hf_stat *st);	/* "." and ".." too */
HF_API int hf_inode_setattr(hf_volume *vol, struct hf_id id, const struct hf_setattr *attr, struct hf_stat *st);
struct hf_create {
	uint32_t mode;			/* type and permission bits: regular, directory, FIFO, socket, device, symlink */
	uint32_t uid, gid;
	uint64_t rdev;
	const char *symlink;		/* the target when mode says symlink */
};
HF_API int hf_inode_create(hf_volume *vol, struct hf_id dir, const char *name, const struct hf_create *how, struct hf_stat *st);
HF_API int hf_inode_tmpfile(hf_volume *vol, const struct hf_create *how, unsigned open_flags, hf_file **out);
HF_API int hf_inode_link(hf_volume *vol, struct hf_id id, struct hf_id dir, const char *name, struct hf_stat *st);
HF_API int hf_inode_unlink(hf_volume *vol, struct hf_id dir, const char *name);
HF_API int hf_inode_rmdir(hf_volume *vol, struct hf_id dir, const char *name);
HF_API int hf_inode_rename(hf_volume *vol, struct hf_id olddir, const char *oldname, struct hf_id newdir, const char *newname,
			   unsigned flags);
HF_API ssize_t hf_inode_readlink(hf_volume *vol, struct hf_id id, char *buf, size_t size);
HF_API int hf_inode_open(hf_volume *vol, struct hf_id id, unsigned flags, hf_file **out);	/* no CREAT, EXCL, TMPFILE */
HF_API int hf_inode_opendir(hf_volume *vol, struct hf_id id, hf_dir **out);
HF_API ssize_t hf_inode_getxattr(hf_volume *vol, struct hf_id id, const char *name, void *value, size_t size);
HF_API int hf_inode_setxattr(hf_volume *vol, struct hf_id id, const char *name, const void *value, size_t size, int flags);
HF_API ssize_t hf_inode_listxattr(hf_volume *vol, struct hf_id id, char *list, size_t size);
HF_API int hf_inode_removexattr(hf_volume *vol, struct hf_id id, const char *name);

/* ------------------------------------------------------------------------------------------------ check */

enum hf_check_flags {
	HF_CHECK_DATA_MAPS = 0,		/* all structures are always verified */
	HF_CHECK_MEDIA = 1,		/* every block in use is read, to find bad media ('holdfast scrub') */
	HF_CHECK_PREEN = 2,		/* repair, if all that there is to repair loses nothing; otherwise nothing is written */
	HF_CHECK_REPAIR = 4,		/* repair everything that can be */
};
struct hf_check_progress {
	const char *phase;		/* "media", "superblock", "inodes", "directories", "links", "space" */
	uint64_t done, total;		/* in units of the phase; total 0: unknown */
};
struct hf_finding {
	const char *structure;		/* "superblock", "inode", "map", "directory", "bitmap", "links", "orphan", "journal", "xattr",
					 * "media": what the bad block holds, and whose it is */
	const char *text;		/* one sentence: what is wrong and where */
	uint64_t ino;			/* 0: none */
	uint64_t media_off;		/* 0: none */
	const char *repair;		/* what was done about it; NULL: nothing. It is on the medium when hf_check has returned 0 */
};
struct hf_check_options {
	size_t struct_size;
	unsigned flags;
	void *ctx;
	void (*progress)(void *ctx, const struct hf_check_progress *p);	/* may be NULL */
	void (*finding)(void *ctx, const struct hf_finding *f);		/* may be NULL */
	uint64_t max_findings;		/* stop after so many; 0: no limit. Not with a repair (-EINVAL) */
	const char *undo_path;		/* with a repair: a file to make, for hf_check_undo; NULL: none */
};
struct hf_check_result {
	uint64_t findings;
	uint64_t inodes, directories, files, others, names, blocks_used, orphans;
	uint64_t journal_records;	/* not yet in place: a mount replays them, and so does a repair that writes anything */
	uint64_t blocks_read;		/* with HF_CHECK_MEDIA */
	uint64_t blocks_bad;		/* that cannot be read, as far as they are known: met, listed by the device, or read */
	double seconds;
	uint64_t repaired, unrepaired;	/* of the findings */
};
/* Verifies every structure of the volume at path against every other; the volume must not be mounted (-EBUSY). Writes nothing:
 * where the journal holds records, they are applied to a private copy in memory of the lines they touch, and what is verified
 * is what a mount would see. Returns 0 also when there are findings; an error when the check itself could not be done.
 *
 * With HF_CHECK_PREEN or HF_CHECK_REPAIR what is found is repaired: on a private copy first, which is verified again, then on the
 * medium, wholly or not at all (a repair that was interrupted is finished by the next one; until then the volume does not mount).
 * What cannot be repaired is told (unrepaired) and left alone; -EIO: bad media where metadata is. Files that lost their name are in /lost+found as '#' and their
 * number. Free space as large as what is to be written is needed, or an undo file: -ENOSPC. -EEXIST: there is such an undo file. */
HF_API int hf_check(const char *path, const struct hf_check_options *opts, struct hf_check_result *out);
/* Puts back what a repair changed, from its undo file. -EINVAL: it is of another volume; -ESTALE: something else has changed the
 * volume since, a mount for instance or another repair (whose own undo file is to be put back first), or another one was interrupted than
 * the one that made it; -EBADMSG: the file is damaged. Then nothing was put back. What was put back already is so again: 0. */
HF_API int hf_check_undo(const char *path, const char *undo_path);

struct hf_grow_options {
	size_t struct_size;
	uint64_t *from, *to;		/* where to write the size in bytes before and after, on success; may be NULL */
};
/* The volume at path takes all of its device or file, whole frames, which became larger ('truncate -s', 'ndctl'); of several
 * devices of the last one. opts may be NULL. The volume must not be mounted (-EBUSY), and is verified first: -EUCLEAN if anything is wrong, or a
 * repair was interrupted. Nothing to take is success. -ENOSPC: what is new has no room for the allocation lines of the whole, 64 bytes a
 * frame. A device that became smaller is refused (-EUCLEAN), as by a mount: volumes do not shrink. The errors of hf_mount().
 * Interrupted at any moment, the volume has its old size or the new one, with all that is in it; durable on return. On an error of the
 * media (-EIO) it has the one or the other. Blocks: as long as hf_check() takes. */
HF_API int hf_grow(const char *path, const struct hf_grow_options *opts);
/* hf_check() for a volume that this process has mounted (HF_CHECK_MEDIA: first the reading, while changes go on): changes wait while it runs, so the callbacks must not make any (they
 * would wait for themselves), nor touch pages of views that are not mapped (SIGSEGV). Repairs nothing: those flags are -EINVAL. */
HF_API int hf_check_mounted(hf_volume *vol, const struct hf_check_options *opts, struct hf_check_result *out);

#ifdef __cplusplus
}
#endif

#endif
