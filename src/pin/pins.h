/* What the files of this layer share about the table of pins. */
#ifndef HF_PIN_PINS_H
#define HF_PIN_PINS_H

#include "base/lock.h"
#include "base/clock.h"
#include "pin/pin.h"
#include "pin/table.h"

#define PINS_SHARDS 16u
#define PINS_QUEUES 64u

struct lease;
struct notifier;

/* What only this process needs of a record, beside it in an array of its own. */
struct pins_priv {
	struct inode *in;	/* has a reference */
	_Atomic uint64_t owner; /* number of a thread, 0: nobody */
	struct lease *_Atomic lease;
	uint32_t next, prev; /* in the inode's list, under its pins_lock */
	uint32_t free_next;
	uint8_t shard;
};

/* Free records are used first in, first out, so that a number is not used again for long. */
struct pins_shard {
	_Alignas(HF_LINE) struct mtx lock;
	uint32_t head, tail;
	_Atomic uint64_t live; /* records of pins in use; stored under the lock */
};

/* The memory of this struct is never given back (the records' is): who unpins last has still to
 * wake others when another thread sees that nothing is left. */
struct pins {
	struct pins_shard shards[PINS_SHARDS];
	struct waitq queues[PINS_QUEUES];
	_Atomic uint32_t waiters; /* who sleeps on any of them */
	uint8_t *base;		  /* header and records */
	struct pins_priv *priv;
	struct mtx grow;
	uint32_t fresh, ready; /* the next that was never used; how many have memory. Under grow */
	_Atomic uint32_t used; /* all records in use are below or at it */
	_Atomic uint64_t orphans;
	int fd; /* -1: not published */
	char file[64];
	struct mtx lease_lock; /* who starts the notifier */
	struct notifier *_Atomic notifier;
	struct pins *next_free;
};

union pins_any {
	struct pins_rec rec;
	struct pins_chunk chunk;
	uint64_t w[PINS_WORDS];
};

/* ---- table.c */
static inline _Atomic uint64_t *pins_words(const struct pins *p, uint32_t index)
{
	return (_Atomic uint64_t *)(void *)(p->base + pins_offset(index));
}
static inline uint64_t pins_state(const struct pins *p, uint32_t index)
{
	return atomic_load_explicit(pins_words(p, index), memory_order_acquire);
}
static inline uint64_t pins_id(uint64_t state, uint32_t index)
{
	return pins_generation(state) << PINS_INDEX_BITS | index;
}
static inline uint32_t pins_index(uint64_t id)
{
	return (uint32_t)(id & ((1u << PINS_INDEX_BITS) - 1));
}
/* The state of the pin 'id' if it were s. */
static inline uint64_t pins_state_for(uint64_t id, enum pins_state s)
{
	return pins_state_make(id >> PINS_INDEX_BITS, s);
}
/* Can 'id' be looked at? */
static inline bool pins_id_ok(const struct pins *p, uint64_t id)
{
	uint32_t index = pins_index(id);

	return index != 0 && index <= atomic_load_explicit(&p->used, memory_order_acquire);
}
static inline _Atomic uint32_t *pins_u32(const struct pins *p, uint32_t index, size_t field)
{
	return (_Atomic uint32_t *)(void *)(p->base + pins_offset(index) + field);
}

/* Memory for the header and 'used' records, which are in fd already (-1: none, private memory). */
struct pins *pins_new(int fd, uint32_t used);
void pins_free(struct pins *p);
/* A record, reserved; pin: it counts as a pin of this process. 0: no memory. */
uint32_t pins_get(struct pins *p, bool pin);
/* The record is free, with the next generation. */
void pins_put(struct pins *p, uint32_t index, bool pin);
/* At open: a record that is not in use goes to the free ones. */
void pins_put_unused(struct pins *p, uint32_t index);
/* All words but the state; and the state (release). */
void pins_write(struct pins *p, uint32_t index, const union pins_any *from);
static inline void pins_publish(struct pins *p, uint32_t index, uint64_t state)
{
	atomic_store_explicit(pins_words(p, index), state, memory_order_release);
}
/* The words; false: they changed while they were read, or the state is not 'state'. */
bool pins_read(const struct pins *p, uint32_t index, uint64_t state, union pins_any *to);
/* All extents of the record 'rec', which was read when its state was 'state'; *out is to be freed;
 * 'buf' is used instead where 'nbuf' is enough. -EAGAIN: it is going; -ENOMEM. */
int pins_extents(const struct pins *p, uint32_t index, const union pins_any *rec,
		 struct pins_extent *buf, size_t nbuf, struct pins_extent **out);

/* ---- pin.c */
void pins_unpin_extents(struct space *s, const struct pins_extent *x, size_t n);
/* Sleeps until idle(ctx) or the deadline (CLOCK_MONOTONIC, UINT64_MAX: none). */
int pins_sleep(struct pins *p, struct waitq *q, bool (*idle)(void *ctx), void *ctx,
	       uint64_t deadline_ns);
static inline struct waitq *pins_queue(struct pins *p, uint64_t key)
{
	return &p->queues[(key * 0x9e3779b97f4a7c15ull) >> 58];
}
/* Where a pinned byte is: see pin_runs(). */
struct pins_walk {
	const struct pins_extent *x;
	size_t n, i;
	uint64_t pos, end; /* bytes of the file */
};
bool pins_walk(struct pins_walk *w, struct pin_run *out);

/* ---- lease.c */
/* Of a pin that is being taken: memory and the thread for it, no lock held; *out may be freed with free(). Then, layout shared,
 * before the pin is live. */
int pins_lease_new(struct pins *p, const struct pin_lease *how, struct lease **out);
void pins_lease_first(struct pins *p, struct inode *in, uint64_t id, struct lease *l);
/* Memory to tell each of them. -ENOMEM. */
int pins_notice_calls(struct pin_notice *what);
void pins_lease_end(struct pins *p, uint32_t index);
void pins_notifier_stop(struct pins *p);
uint64_t pins_lease_deadline(struct pins *p, const uint64_t *ids, size_t n);

/* ---- orphan.c */
/* The file of a dead owner, opened and not yet mapped. *used: how many records it has; 0: nothing
 * that this mount is to know of. */
int pins_old_open(const struct fs *fs, int fd, uint32_t *used);
/* The records of p, whose memory is the file's: adopts the live ones. */
int pins_adopt(struct fs *fs, struct pins *p, uint32_t used);

#endif
