/* The journal: redo records in per-lane rings; docs/CRASH.md has the argument, I-JNL-* the invariants.
 *
 * A transaction is gathered in memory and commits with one fence. Use:
 *
 *	struct txn *t = txn_begin(j);
 *	txn_set64(t, off, value); txn_bits_set(t, bit, n); ...		(errors are kept; commit returns them)
 *	err = txn_commit(t);						(or txn_abort(t))
 *
 * The caller holds the locks of everything the transaction touches from before it read the old values until
 * txn_commit() has returned (RULES of docs/LOCKING.md). txn_commit() and txn_abort() free t.
 */
#ifndef HF_JOURNAL_JOURNAL_H
#define HF_JOURNAL_JOURNAL_H

#include "base/types.h"
#include "base/lock.h"
#include "format/geo.h"

struct journal;
struct txn;

#define TXN_MAX_BYTES (16u * 1024u)	/* of one record; larger work is cut by the caller, see txn_room() */

struct journal_stat {
	uint64_t commits, checkpoints, inline_checkpoints, replayed, lines_flushed;
	jseq_t next, published;
	bool shutdown;
	int shutdown_err;
};

/* Recovers (unless the volume is read-only and clean), publishes C, starts the checkpoint thread. -EBADMSG/-EIO: the
 * journal is damaged and fsck must decide. read_only: -EROFS if there is something to replay. */
int journal_open(struct pm *pm, const struct geo *geo, struct journal **out);
/* Checkpoints (unless shut down) and frees. No transaction may be open. */
int journal_close(struct journal **j);
/* All that is committed before the call is in place and durable, C published. Takes the checkpoint mutex only; the
 * caller holds no lane, group or busy lock. 0, -EIO, -ESHUTDOWN. */
int journal_checkpoint(struct journal *j);
jseq_t journal_published(const struct journal *j);	/* a record with seq <= this is never replayed again */
/* Sticky: every later commit returns -ESHUTDOWN. Keeps the first reason. */
void journal_shutdown(struct journal *j, int err);
/* 0 or -ESHUTDOWN: shut down, or the medium is bad where metadata is (poison.h). */
int journal_state(const struct journal *j);
int journal_refuse(const struct journal *j);		/* the sentence for that; -ESHUTDOWN */
/* This thread's number (from 1), which says the lane it takes first: simulations want the same one in each run. 0: the next. */
void journal_thread_number(uint32_t n);
uint32_t journal_my_number(void);	/* it */
void journal_stat(const struct journal *j, struct journal_stat *out);
/* The valid records, oldest first, for 'holdfast dump journal' and hf_check; reads the media only, needs no journal.
 * items are the raw items behind the header. Stops when fn returns non-zero and returns that. */
int journal_walk(const struct pm *pm, const struct geo *geo,
		 int (*fn)(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r), void *ctx);

/* The checkpoint number on the media, the larger of the two copies; needs no journal. -EBADMSG: neither is valid. */
int journal_read_c(const struct pm *pm, const struct geo *geo, jseq_t *out);

/* ---- a lane is open when its last record has data (txn_data). A mark says which record in which lane that is; 0: none. */
typedef uint64_t jopen_t;
/* May the next data be vouched for by a record of this thread? No: that would leave two lanes open for one mark. */
bool journal_may_open(const struct journal *j, jopen_t mark);
bool journal_is_open(const struct journal *j, jopen_t mark);
/* On return 0 the record is not its lane's last any more, or C has passed it: whatever becomes of its data, it counts.
 * Durability: one fence at most, a record without changes. Takes a lane: the caller holds no group, busy or checkpoint
 * lock. 0, -ESHUTDOWN, -EIO. */
int journal_seal(struct journal *j, jopen_t mark);
int journal_seal_all(struct journal *j);

/* ---- transactions */
struct txn *txn_begin(struct journal *j);		/* NULL only on -ENOMEM */
void txn_set64(struct txn *t, moff_t off, uint64_t host_value);
void txn_bits_set(struct txn *t, uint64_t media_bit, uint64_t count);
void txn_bits_clear(struct txn *t, uint64_t media_bit, uint64_t count);
void txn_copy(struct txn *t, moff_t off, const void *src, uint32_t len);	/* off and len multiples of 8 */
/* The word as it will be after this transaction: its own pending set64/copy, else the media. */
uint64_t txn_load64(struct txn *t, moff_t off);
/* May something in [off, off+len) be pending? No: txn_load64 of each of its words is the media's. */
bool txn_may_have(const struct txn *t, moff_t off, uint64_t len);
/* Block b was allocated by this transaction and nothing points to it yet: it is zeroed now, txn_set64/txn_copy to it store
 * straight to the media (not journalled), and commit flushes and fences it before the record. */
void txn_fresh(struct txn *t, mblk_t b);
bool txn_is_fresh(const struct txn *t, mblk_t b);
/* The caller has stored file data non-temporally (or flushed it): commit fences before the record. */
void txn_fence_first(struct txn *t);
/* Bytes of a file that commit stores and makes durable with the record, by the same fence: the record has their hash, and
 * counts after a crash only if they are all there (I-JNL-16). The caller fills the returned buffer. At [off, off+len) there
 * must be nothing that anybody may have been promised; before it changes once more, or is given away, journal_seal(*mark).
 * The commit sets *mark, under the caller's locks. NULL: no room (kept as error). The commit gives -EIO, and nothing
 * happened, if the place is bad media (and journal_state() is then 0). */
void *txn_data(struct txn *t, moff_t off, uint32_t len, _Atomic jopen_t *mark);
#define TXN_DATA_BYTES 4096u	/* in one transaction */
/* Bytes of items that still fit. Callers cut long work when it gets low. */
uint32_t txn_room(const struct txn *t);
bool txn_is_empty(const struct txn *t);			/* nothing was gathered: commit is then a no-op (but runs the deferred) */
int txn_error(const struct txn *t);
void txn_fail(struct txn *t, int err);			/* keeps the first error; commit will return it, like abort */

/* A number that the transaction carries for the layers above (space: whose blocks it frees); 0: none. */
void txn_set_ticket(struct txn *t, uint32_t ticket);
uint32_t txn_ticket(const struct txn *t);

enum txn_outcome {
	TXN_COMMITTED,		/* durable and applied in place */
	TXN_ABORTED,		/* nothing happened; nothing may ever be replayed */
	TXN_FAILED,		/* the commit fence failed: the record may or may not be found; the volume is shut down */
};
/* fn runs in txn_commit (after the apply, no lane held, object locks still held) or txn_abort. In order of the calls. */
typedef void txn_fn(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome);
int txn_defer(struct txn *t, txn_fn *fn, void *ctx, uint64_t a, uint64_t b);	/* 0 or -ENOMEM (kept as error) */

/* 0: durable and applied. The first gather error: nothing happened. -ESHUTDOWN, -EIO. May checkpoint inline (blocks on the
 * medium only). 'seq_out' may be NULL. */
int txn_commit(struct txn *t, jseq_t *seq_out);
void txn_abort(struct txn *t);

#endif
