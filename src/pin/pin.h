/* Pins: handles, their list per inode, the published table, leases, orphans of a dead owner.
 *
 * What a pin counts is in src/space; what it is, for people and for fsync, is here: a record of fixed size in a table that is a
 * shared file where others may look ('holdfast busy'), and that the next mount reads when this process died (RULES B4). A record
 * names its blocks by number, so the table means something in any process. An index is in use from before the blocks are counted
 * until after they are dropped.
 *
 * Locking: pin_add and pin_drop take the inode's pins_lock (a leaf) and, pin_drop of the last pin of busy blocks, group locks, one
 * after the other. Waiting and callbacks: without any lock. */
#ifndef HF_PIN_PIN_H
#define HF_PIN_PIN_H

#include "inode/inode.h"
#include "inode/map.h"

#define PIN_TAG_MAX  32u
#define PIN_NAME_MAX 64u

enum pin_flags { PIN_WRITE = 1, PIN_ALLOC = 2 };	/* as HF_PIN_* */

/* publish: where the table is a file; else it is private memory (memfd volumes). Adopts a dead owner's pins. Sets fs->pins.
 * A table that cannot be made is no failure of the mount: pins are then not published, and pins_published() says so. */
int pins_open(struct fs *fs, bool publish);
void pins_close(struct fs *fs);			/* no pins of this process are left; removes the file unless orphans are in it */
bool pins_published(const struct fs *fs);

struct pin_req {
	struct inode *in;
	uint64_t off, len;			/* bytes, below the end of file */
	unsigned flags;
	const char *tag, *name;			/* the library's own memory; NULL: none */
	const struct pin_lease *lease;		/* a lease from its first instant; NULL: none */
};
/* Takes layout, shared, itself. PIN_HOLE (1): there is a hole at *hole (bytes), nothing is pinned. *id on 0. -ENOMEM, map damage;
 * -EAGAIN (no thread for leases). */
enum { PIN_HOLE = 1 };
int pin_add(struct fs *fs, const struct pin_req *req, uint64_t *id, uint64_t *hole);
int pin_drop(struct fs *fs, uint64_t id);	/* -EINVAL: not live */
int pin_take(struct fs *fs, uint64_t id);
/* Media extents of a live pin, adjacent ones joined, byte offsets on the media: up to max; *n is how many there are. */
struct pin_run { moff_t at; uint64_t bytes; };
int pin_runs(struct fs *fs, uint64_t id, struct pin_run *out, size_t max, size_t *n);
int pin_persist(struct fs *fs, uint64_t id, uint64_t off, uint64_t len);
uint64_t pin_count(const struct fs *fs);	/* live pins of this process, without orphans */

/* All pins, orphans too, from *cursor (0) on, up to max; returns how many. *cursor is UINT64_MAX after the last. Each is whole, but
 * what comes and goes meanwhile may or may not be there. fn for each extent (media blocks) of a pin, before the pin is complete. */
struct pin_info {
	uint64_t id;
	inum_t ino;
	uint64_t gen, off, len, since_ns;
	unsigned flags;
	uint32_t thread;			/* it may have ended */
	bool leased, orphaned;
	char tag[PIN_TAG_MAX], name[PIN_NAME_MAX];
};
struct pin_info_fn {
	void (*fn)(void *ctx, const struct pin_info *pin, mblk_t first, uint64_t n);
	void *ctx;
};
/* -ENOMEM. fn may be NULL. */
int pin_list(struct fs *fs, uint64_t *cursor, struct pin_info *out, size_t max, size_t *n, const struct pin_info_fn *each);
/* One of them, as above. -EINVAL: there is none. */
int pin_stat(struct fs *fs, uint64_t id, struct pin_info *out, const struct pin_info_fn *each);
/* Lets go of all orphans; returns how many there were. */
uint64_t pin_release_orphans(struct fs *fs);

/* Flushes (no fence) what is pinned for writing: of one inode, of all (NULL; their times change). *any: there was something. */
int pin_flush(struct fs *fs, struct inode *in, bool *any);

/* Makes it a lease: fn runs on the notifier thread, as hf_lease says. -EALREADY, -EINVAL (not live), -ENOMEM, -EAGAIN (no thread). */
struct hf_volume;
struct hf_lease_event;
struct pin_lease {
	void (*fn)(void *ctx, struct hf_volume *vol, const struct hf_lease_event *event);
	void *ctx;
	struct hf_volume *vol;
	uint64_t deadline_ns;
};
int pin_lease(struct fs *fs, uint64_t id, const struct pin_lease *how);

/* ---- for operations that take blocks away (src/file/resize.c, names) */
/* Does the calling thread own a pin on a block that [first, first+n) of the file maps now (a pin of a part of a huge leaf stands
 * for all of it)? 1, 0, or a map error. Layout, shared, is taken inside. Costs nothing when the inode has no pins. */
int pin_own(struct inode *in, fblk_t first, uint64_t n);
/* The same, asked for another thread: pin_thread() is who the calling thread is (never 0, safe in a signal handler). */
int pin_owned_by(struct inode *in, fblk_t first, uint64_t n, uint64_t owner);
uint64_t pin_thread(void);
/* Woken after a pin of this inode went, and perhaps at other times. Taking the key and sleeping are safe in a signal handler. */
struct waitq *pin_changed(struct inode *in);
bool pin_on_notifier(void);			/* the calling thread runs a lease's callback */
/* The leases on blocks that [first, first+n) maps now, each once. Gather while the range is still mapped, with the layout lock
 * held (either way); notify without any lock; drop frees. An empty one is all zeros. */
struct lease_call;
struct pin_notice {
	uint64_t *ids;
	size_t n;
	uint64_t deadline_ns;			/* the longest of them, relative */
	struct lease_call *calls;		/* memory for what they will be told */
};
int pin_notice_gather(struct inode *in, fblk_t first, uint64_t n, struct pin_notice *out);	/* -ENOMEM: it is empty */
/* Queues the callbacks, once for each notice; does not wait. event->pin is filled in for each. */
void pin_notify(struct fs *fs, struct pin_notice *what, const struct hf_lease_event *event);
/* Sleeps until the pins of the notice are gone or its deadline has passed. */
void pin_notice_wait(struct fs *fs, const struct pin_notice *what);
void pin_notice_drop(struct pin_notice *what);

/* Sleeps until the inode (NULL: the volume) has no pins. -ETIMEDOUT, -EDEADLK (one is the caller's own). */
int pin_wait_idle(struct fs *fs, struct inode *in, uint64_t timeout_ns);

#endif
