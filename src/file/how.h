/* What an operation that takes blocks from a file does about pins in its range (struct hf_how), and whom
 * it tells (leases). One struct how per call:
 *
 *	how_open	no lock; the options, and the ticket of HF_PINNED_WAIT
 *	how_ask		no lock; HF_PINNED_FAIL lets leases go first
 *	how_begin	content exclusive, before anything changes; HF_PINNED_FAIL decides, and holds the layout lock
 *			from then on, for content alone does not keep pins out
 *	how_gather	layout exclusive, in each transaction before its commit
 *	how_end		content exclusive
 *	how_close	tells the leases; HF_PINNED_WAIT: no lock, waits */
#ifndef HF_FILE_HOW_H
#define HF_FILE_HOW_H

#include "file/volume.h"
#include "pin/pin.h"

struct how {
	struct fs *fs;
	enum hf_pinned pinned;
	uint64_t timeout_ns;
	uint32_t ticket;	/* HF_PINNED_WAIT: of what the call detaches */
	struct inode *holds;	/* HF_PINNED_FAIL, between how_begin and how_end: whose layout lock is held */
	bool settled;		/* a transaction was committed: who is to be told is known */
	fblk_t first;		/* blocks that leave */
	uint64_t n;
	struct pin_notice notice;
};

/* Blocks [first, first + n) of a file. */
struct how_range {
	fblk_t first;
	uint64_t n;
};

/* from: the caller's; NULL: HF_PINNED_DELAY. On failure there is nothing to close. */
int how_open(struct how *h, struct fs *fs, const struct hf_how *from);
/* touched: what HF_PINNED_FAIL looks at. As good as it is known without locks. */
int how_ask(struct how *h, struct inode *in, struct how_range touched);
/* leaves: what is detached. -EBUSY, -EDEADLK, -ENOMEM. */
int how_begin(struct how *h, struct inode *in, struct how_range touched, struct how_range leaves);
/* The leases on what leaves, as long as nothing has. -ENOMEM. */
int how_gather(struct how *h, struct inode *in);
void how_end(struct how *h);
/* Frees an inode that has lost its last name and that nobody has open, as inode_reap. The gate passed, no lock. */
int how_reap(struct how *h, struct inode *in);
/* err: how the call ended. What it returns. */
int how_close(struct how *h, int err);

static inline bool how_holds(const struct how *h)
{
	return h && h->holds;
}

#endif
