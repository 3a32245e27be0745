/* Workloads of filesystem operations for the explorer: sequences over a few names, and what must be
 * true after a crash. */
#ifndef HF_CRASH_FS_H
#define HF_CRASH_FS_H

#include "crash/explore.h"

#define FS_SEQUENCE_MAX 3
#define FS_SETUPS	8 /* room for them in the numbers of sequences */

/* ---- fs_ops.c: the operations */
enum fs_kind {
	FS_CREATE,
	FS_MKDIR,
	FS_WRITE,
	FS_FALLOCATE,
	FS_PUNCH,
	FS_TRUNCATE,
	FS_RENAME,
	FS_LINK,
	FS_UNLINK,
	FS_SYMLINK,
	FS_RMDIR,
	FS_SETXATTR,
	FS_REMOVEXATTR,
	FS_CHMOD,
	FS_FSYNC,
	FS_SYNCFS,
	FS_KINDS,
};
struct fs_op {
	enum fs_kind kind;
	const char *a, *b; /* paths; of an attribute: its name */
	uint64_t off, len;
	int flags;
};
size_t fs_ops_count(void);
const struct fs_op *fs_op_at(size_t i);
const char *fs_kind_name(enum fs_kind k);
/* "write foo 3000+5000" */
void fs_op_print(const struct fs_op *op, char *buf, size_t size);
/* The operation's own result; it may well fail (-ENOENT ...): then nothing may have changed. */
int64_t fs_op_do(hf_volume *vol, const struct fs_op *op, unsigned nth);
/* Its data may be there in part. */
bool fs_op_is_plain_data(const struct fs_op *op);
/* What is there before a sequence: 0 a few files; 1 more of them, with a hole, a hard link, an
 * empty directory; 2 a file with a whole frame, no free inode; 3 a volume with three free blocks; 4
 * as 1, and every second operation is another thread's. In 1, 2 and 4 all free blocks have old
 * bytes. */
enum { FS_SETUPS_USED = 5, FS_TWO_THREADS = 4 };
#define FS_FULL "full"
int fs_setup(hf_volume *vol, unsigned which);

/* ---- fs_snap.c: all that a volume shows but times */
struct snap;
int snap_take(hf_volume *vol, struct snap **out);
void snap_free(struct snap *s);
bool snap_same(const struct snap *a, const struct snap *b, bool blocks);
/* As before or as after, but that the content of a file may be in part the one, in part the other
 * where they differ: aligned 8 bytes wholly in [off, off+len) are of one of them, other bytes each.
 * With a new size it is all as after. */
bool snap_mixed(const struct snap *s, const struct snap *before, const struct snap *after,
		uint64_t off, uint64_t len);
/* The first difference, one sentence. */
void snap_difference(const struct snap *have, const struct snap *want, char *buf, size_t size);
/* Removes all of it. */
int snap_remove_all(hf_volume *vol, const struct snap *s);

/* ---- fs_run.c */
struct fs_sequence {
	unsigned setup, n;
	size_t op[FS_SEQUENCE_MAX]; /* of the table */
};
/* A sequence's number in ids, and back (false: none has it). */
uint32_t fs_sequence_number(const struct fs_sequence *s);
bool fs_sequence_of(uint32_t number, struct fs_sequence *out);
void fs_sequence_print(const struct fs_sequence *s, char *buf, size_t size);

struct fs_runner;
/* opts: of the explorer; workload, setup, check, ctx and number are filled in. */
struct fs_runner *fs_runner_new(const struct hf_crash_options *opts,
				void (*failure)(void *ctx, const struct hf_crash_failure *f,
						const char *sequence),
				void *ctx);
void fs_runner_free(struct fs_runner *r);
int fs_runner_explore(struct fs_runner *r, const struct fs_sequence *s,
		      struct hf_crash_result *out);
/* The explorations from now on stop after so long; 0: no limit. */
void fs_runner_limit(struct fs_runner *r, double seconds);
int fs_runner_replay(struct fs_runner *r, const char *id, struct hf_crash_result *out);

#endif
