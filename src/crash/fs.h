/* Workloads of filesystem operations for the explorer: sequences over a few names, and what must be
 * true after a crash. */
#ifndef HF_CRASH_FS_H
#define HF_CRASH_FS_H

#include "crash/explore.h"

#define FS_SEQUENCE_MAX 3
#define FS_WORLD_PINS	64
#define FS_STEPS_MAX	(FS_SEQUENCE_MAX * 5)
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
	FS_PIN,	   /* store through a pin and make it durable, unpin */
	FS_HOLD,   /* the same, but the pin stays until the end of the sequence */
	FS_VIEW,   /* map, store and make it durable, unmap */
	FS_TWO_FD, /* write through one descriptor, use another one, write */
	FS_KINDS,
};
struct fs_op {
	enum fs_kind kind;
	const char *a, *b; /* paths; of an attribute: its name */
	uint64_t off, len;
	int flags;
	/* What happens to the file while the pin, the view, the descriptor is there; may be NULL.
	 */
	const struct fs_op *then;
};
/* 'flags' of pins and views: what makes durable. FS_BY_NOTHING: what was stored may be there or not
 * until the pin or the view is let go of. */
enum fs_by { FS_BY_PERSIST, FS_BY_FSYNC, FS_BY_SYNCFS, FS_BY_LETTING_GO, FS_BY_NOTHING };
struct snap;
/* Where operations happen, and what they hold. */
struct fs_world {
	hf_volume *vol;
	hf_crash_media *media;
	hf_pin_id pin[FS_WORLD_PINS]; /* of the nth operation, modulo that; 0: none */
	uint64_t pin_len[FS_WORLD_PINS];
	hf_file *file[2];
	hf_view *view;
	uint8_t *view_addr;
	bool idle; /* leaves out the stores that nothing makes durable */
};
size_t fs_ops_count(void);
const struct fs_op *fs_op_at(size_t i);
const char *fs_kind_name(enum fs_kind k);
/* "write foo 3000+5000" */
void fs_op_print(const struct fs_op *op, char *buf, size_t size);
/* An operation is one step or a few, each of which happens wholly or not at all; the last of one
 * that holds a pin (fs_drop) comes at the end of the sequence. */
unsigned fs_op_steps(const struct fs_op *op);
/* The step's own result; it may well fail (-ENOENT ...): then nothing may have changed. */
int64_t fs_op_do(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth);
/* Its data may be there in part: which. False: none. */
bool fs_op_data(const struct fs_op *op, unsigned step, uint64_t *off, uint64_t *len);
int64_t fs_do_one(struct fs_world *w, const struct fs_op *op, unsigned nth);
int64_t fs_on_file(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth);
/* What is there before a sequence: 0 a few files; 1 more of them, with a hole, a hard link, an
 * empty directory; 2 a file with a whole frame, no free inode; 3 a volume with three free blocks; 4
 * as 1, and every second operation is another thread's; 5 as 1, and the lane is full: the first
 * or second record needs a checkpoint. In 1, 2, 4 and 5 all free blocks have old bytes. */
enum { FS_SETUPS_USED = 6, FS_TWO_THREADS = 4, FS_LANE_FULL = 5 };
#define FS_FULL "full"
int fs_setup(hf_volume *vol, unsigned which);
int fs_make_file(hf_volume *vol, const char *path, uint64_t off, size_t len);
/* Every free block has had somebody's bytes: what is not zeroed shows. */
int fs_soil(hf_volume *vol);

/* ---- fs_step.c: one step of a workload; 'drop': the last of an operation that holds a pin */
struct fs_step {
	const struct fs_op *op;
	unsigned nth, step;
	bool drop;
};
void fs_step_print(const struct fs_step *s, char *buf, size_t size);
int64_t fs_step_do(struct fs_world *w, const struct fs_step *s);
/* This step stores what nothing makes durable; this one makes it so. */
bool fs_step_leaves(const struct fs_step *s);
bool fs_step_settles(const struct fs_step *s);
/* Its data may be there in part: which. False: none. */
bool fs_step_data(const struct fs_step *s, uint64_t *off, uint64_t *len);
/* The operation's own failure is a result like another (0); but not one that says that the volume
 * is damaged. */
int fs_fatal(int64_t ret);
/* Pairs of records, until the thread's lane has no room for another pair without a checkpoint. The
 * directory's mode changes, and is 0755 at the end. */
int fs_fill_lane(struct fs_world *w, const char *dir);

/* ---- fs_ask.c: to a volume that came out of a crash; not 0: said. 'when': "as it was found" */
int fs_ask_space(hf_crash_run *run, hf_volume *vol, const char *when);
/* It can be emptied, and once per point filled and emptied again. */
int fs_use_it(hf_crash_run *run, hf_volume *vol, const struct snap *have);

/* ---- fs_world.c: what is held */
void fs_pattern(uint8_t *p, size_t len, uint64_t seed);
int fs_pin_store(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth);
int fs_let_go(struct fs_world *w, unsigned nth);
int fs_hold(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth);
int fs_drop(struct fs_world *w, unsigned nth);
int64_t fs_view_step(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth);
int64_t fs_two_step(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth);
/* Lets go of everything. */
void fs_world_end(struct fs_world *w);

/* ---- fs_snap.c: all that a volume shows but times */
int snap_take(hf_volume *vol, struct snap **out);
void snap_free(struct snap *s);
/* Those names that 'mine' says (NULL: all), without inode numbers: only which of them are one
 * inode. It is the other snapshot's content. NULL: no memory. */
struct snap *snap_part(const struct snap *s, bool (*mine)(const char *path, unsigned which),
		       unsigned which);
bool snap_same(const struct snap *a, const struct snap *b, bool blocks);
/* Of all that snap_same() compares, blocks too. */
uint64_t snap_hash(const struct snap *s);
/* As before or as after, but that the content of a file may be in part the one, in part the other
 * where they differ: aligned 8 bytes wholly in [off, off+len) are of one of them, other bytes each.
 * With a new size it is all as after. */
bool snap_mixed(const struct snap *s, const struct snap *before, const struct snap *after,
		uint64_t off, uint64_t len);
/* As one of n, but that each aligned 8 bytes wholly in [off, off+len) of a file may be as in
 * another one where it is as long or longer, and other bytes each. */
bool snap_mixed_of(const struct snap *s, struct snap *const *of, size_t n, uint64_t off,
		   uint64_t len);
/* What was stored and need not be durable counts as stored. Where 'without' differs from 'with',
 * the aligned 8 bytes that are as in it, or as in one of the states before, become as in 'with'. */
void snap_lift(struct snap *s, const struct snap *without, const struct snap *with,
	       struct snap *const *old, size_t nold);
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
/* The crash points of its last operation, and the unpins and the unmount after it: those before are
 * points of the sequence without its last operation. *same: one of its operations does nothing at
 * all, and the others do what they do in the sequence of them alone: nothing was explored. */
int fs_runner_explore(struct fs_runner *r, const struct fs_sequence *s, struct hf_crash_result *out,
		      bool *same);
/* From now on recovery is crashed from one in so many images (and the first ones of a point). */
void fs_runner_recovery_from(struct fs_runner *r, uint32_t one_in);
/* The explorations from now on stop after so long; 0: no limit. */
void fs_runner_limit(struct fs_runner *r, double seconds);
int fs_runner_replay(struct fs_runner *r, const char *id, struct hf_crash_result *out);

#endif
