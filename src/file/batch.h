/* New blocks for a file, gathered and mapped by one transaction.
 *
 * A batch allocates blocks for holes, its user fills them through the linear map (nothing points to
 * them yet), and the commit maps them and sets the size. A write is cut into batches that each
 * leave a consistent file.
 *
 * Locking: content exclusive and the gate passed from batch_begin to the end. The layout lock is
 * taken by batch_commit, so that nobody waits on it while much data is copied; for little data by
 * batch_prepare, before the copy: a locked instruction waits for the non-temporal stores before it,
 * which otherwise drain while the map is changed.
 *
 * Durability: what was stored non-temporally before batch_commit is fenced before the record; what was given to txn_data comes
 * with it.
 *
 * Crash: before the record is durable the blocks are free. */
#ifndef HF_FILE_BATCH_H
#define HF_FILE_BATCH_H

#include "file/data.h"

#define BATCH_RUNS	 32u	       /* runs of blocks in one batch */
#define BATCH_RUNS_RETRY 2u	       /* so few always fit into a record */
#define BATCH_BYTES	 (64ull << 20) /* new blocks of one batch */

struct batch_run {
	fblk_t at;
	mblk_t blk;
	uint64_t n;
};

struct batch {
	struct inode *in;
	struct txn *t; /* NULL: nothing to journal yet */
	unsigned nruns, max_runs;
	uint32_t map_bytes; /* of the record, that mapping the runs may take */
	uint64_t blocks;    /* in all runs */
	bool fence;	  /* before the record. False: nothing was stored but by txn_data */
	bool layout_held;
	bool outgrow_inline; /* the inline content was copied to a run: clear it */
	struct batch_run runs[BATCH_RUNS];
};

enum batch_result {
	BATCH_OK = 0,
	BATCH_FULL = 1, /* commit first */
};

/* max_runs: BATCH_RUNS, or BATCH_RUNS_RETRY after a commit gave -E2BIG. */
void batch_begin(struct batch *b, struct inode *in, unsigned max_runs);
/* 1 to n blocks for the hole at 'at', of which n blocks are known to be a hole: whole frames where
 * whole slots are asked for and there are any, otherwise blocks up to the slot's end. BATCH_OK,
 * BATCH_FULL, -ENOSPC, -ENOMEM. */
int batch_alloc(struct batch *b, fblk_t at, uint64_t n, struct batch_run *out);
/* A frame for the slot that begins at 'at', though not all of it is asked for. -ENOSPC: there is
 * none. */
int batch_alloc_frame(struct batch *b, fblk_t at, struct batch_run *out);
/* Begins the transaction and takes the layout lock now. No -errno but -ENOMEM. */
int batch_prepare(struct batch *b);
/* The run of this batch that holds 'at'; NULL: none. Only the last one is looked at. */
const struct batch_run *batch_last(const struct batch *b, fblk_t at);
/* Takes the inline content to a block of its own, zeroed to its end. */
int batch_outgrow_inline(struct batch *b);
/* Maps the runs and sets the size if it is larger (smaller never). Ends the batch in any case.
 * -E2BIG: the record was too small after all, nothing happened; once more with BATCH_RUNS_RETRY. */
int batch_commit(struct batch *b, uint64_t size);
/* batch_commit in two steps, for what may only be done when nothing but the medium can fail any more. After a failure of
 * the first, or instead of the second: batch_abort. */
int batch_gather(struct batch *b, uint64_t size);
int batch_commit_gathered(struct batch *b);
/* Also of a batch that has ended. */
void batch_abort(struct batch *b);

#endif
