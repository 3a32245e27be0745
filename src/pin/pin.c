/* What a pin is: taken, dropped, handed on, flushed.
 *
 * A pin goes through PINS_RESERVED, TAKING, LIVE, DROPPING, FREE; LIVE to DROPPING is a
 * compare-and-swap, so that one of two unpins of the same number wins (I-PIN-7). */
#include "pin/pins.h"
#include "pin/view.h"
#include "base/error.h"
#include "base/forkflag.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIN_FEW 16u /* extents that are handled without memory of their own */

/* ---- threads: numbers that are not used again, as the kernel's are */

struct pin_thread {
	uint64_t number, fork_token;
	uint32_t tid;
};
static HF_TLS struct pin_thread thread_tls;
static _Atomic uint64_t thread_numbers = 1;

static const struct pin_thread *pin_self(void)
{
	struct pin_thread *t = &thread_tls;

	if (t->number == 0 || t->fork_token != fork_token()) {
		t->number = atomic_fetch_add(&thread_numbers, 1);
		t->fork_token = fork_token();
		t->tid = (uint32_t)gettid();
	}
	return t;
}

uint64_t pin_thread(void)
{
	return pin_self()->number;
}

/* ---- sleeping: who drops changes what they wait for, lets go of a mutex (an exchange: what came
 * before it is seen before what follows is looked at) and then looks at 'waiters'; who waits counts
 * itself before it looks. So one sees the other. */

int pins_sleep(struct pins *p, struct waitq *q, bool (*idle)(void *ctx), void *ctx,
	       uint64_t deadline_ns)
{
	int err = 0;

	atomic_fetch_add(&p->waiters, 1);
	while (!err) {
		uint32_t key = waitq_key(q);
		uint64_t now = clock_mono_ns();

		if (idle(ctx))
			break;
		if (now >= deadline_ns)
			err = -ETIMEDOUT;
		else
			waitq_wait(q, key,
				   deadline_ns == UINT64_MAX ? UINT64_MAX : deadline_ns - now);
	}
	atomic_fetch_sub(&p->waiters, 1);
	return err;
}

/* ---- chunks: linked by 'next' while they are spare, too */

static uint32_t chunk_next(const struct pins *p, uint32_t index)
{
	return atomic_load_explicit(pins_u32(p, index, offsetof(struct pins_chunk, next)),
				    memory_order_relaxed);
}

static void chunk_link(const struct pins *p, uint32_t index, uint32_t next)
{
	atomic_store_explicit(pins_u32(p, index, offsetof(struct pins_chunk, next)), next,
			      memory_order_release);
}

/* ---- taking */

struct build {
	struct fs *fs;
	const struct pin_req *req;
	struct pins *p;
	union pins_any rec;
	uint32_t index;
	uint32_t chunks, nchunks; /* reserved ones, linked by their 'next' in the table */
	struct pins_extent *ext;  /* few, or memory of its own */
	size_t n, room;
	struct pins_extent *few; /* of the caller's frame: not worth to be cleared each time */
	frame_t need;
	struct lease *lease; /* NULL: none */
};

/* What a step of taking says beside 0, PIN_HOLE and errors: let go of the lock first. */
enum { BUILD_ROOM = 2, BUILD_COUNTS };

static int build_extent(struct build *b, uint64_t first, uint64_t n, bool frames)
{
	struct pins_extent *last = b->n ? &b->ext[b->n - 1] : NULL;

	if (last && last->first + pins_blocks(last) == first &&
	    (last->n & PINS_FRAMES) == (frames ? PINS_FRAMES : 0)) {
		last->n += n;
		return 0;
	}
	if (b->n == b->room)
		return BUILD_ROOM;
	b->ext[b->n++] = (struct pins_extent){first, n | (frames ? PINS_FRAMES : 0)};
	return 0;
}

/* One slot of the map at a time: a run may begin in a huge leaf and end in blocks. */
static int build_slot(struct build *b, fblk_t at, uint64_t max, uint64_t *n)
{
	uint64_t in_slot = at.v % HF_BLOCKS_PER_FRAME;
	struct map_extent x;
	int err = map_lookup(b->req->in, FMT_FORK_DATA, at,
			     min_u64(max, HF_BLOCKS_PER_FRAME - in_slot), &x);

	if (err)
		return err;
	if (mblk_is_null(x.blk))
		return PIN_HOLE;
	*n = x.n;
	/* Pins of a frame that was split count blocks. */
	if (x.huge && space_frame(b->fs->space, mblk_to_frame(x.blk))->word & FRAME_SPLIT)
		return err_set(-EUCLEAN,
			       "inode %llu: the 2 MiB at file block %llu are also in another "
			       "place: run fsck.holdfast",
			       (unsigned long long)b->req->in->ino.v,
			       (unsigned long long)(at.v - in_slot));
	if (x.huge)
		return build_extent(b, x.blk.v - in_slot, HF_BLOCKS_PER_FRAME, true);
	return build_extent(b, x.blk.v, x.n, false);
}

static int build_collect(struct build *b, uint64_t *hole)
{
	const struct pin_req *q = b->req;
	uint64_t at = q->off >> HF_BLOCK_SHIFT, end = (q->off + q->len - 1) / HF_BLOCK_SIZE + 1, n;
	int ret = 0;

	b->n = 0;
	if (atomic_load_explicit(&q->in->dead, memory_order_relaxed))
		return -ESTALE;
	if (q->off + q->len > le64_get(inode_media(q->in)->size))
		return err_set(-EINVAL, "pin: the range reaches beyond the end of file");
	for (; at < end && ret == 0; at += n) {
		n = 0;
		ret = build_slot(b, FBLK(at), end - at, &n);
		if (ret == PIN_HOLE)
			*hole = max_u64(at << HF_BLOCK_SHIFT, q->off);
	}
	return ret;
}

/* Twice as much room for extents. No lock held. */
static int build_room(struct build *b)
{
	size_t room = b->room * 2;
	struct pins_extent *x;

	if (room > PINS_EXTENTS_MAX)
		return err_set(-ENOMEM, "pin: the range is in more than %u pieces",
			       PINS_EXTENTS_MAX);
	x = malloc(room * sizeof(*x));
	if (!x)
		return err_set(-ENOMEM, "pin: out of memory");
	if (b->ext != b->few)
		free(b->ext);
	b->ext = x;
	b->room = room;
	return 0;
}

static void build_drop_chunks(struct build *b)
{
	while (b->chunks) {
		uint32_t index = b->chunks;

		b->chunks = chunk_next(b->p, index);
		pins_put(b->p, index, false);
	}
	b->nchunks = 0;
}

/* Enough chunks for b->n extents, BUILD_ROOM: their number has to grow, which needs memory. */
static bool build_has_chunks(const struct build *b)
{
	return b->n <= 1 + (size_t)b->nchunks * PINS_CHUNK_MAX;
}

static int build_get_chunks(struct build *b)
{
	while (!build_has_chunks(b)) {
		uint32_t index = pins_get(b->p, false);

		if (!index)
			return -ENOMEM;
		chunk_link(b->p, index, b->chunks);
		b->chunks = index;
		b->nchunks++;
	}
	return 0;
}

/* Fills the chunks, the last part first; the record links to the first of them. */
static void build_chain(struct build *b)
{
	uint32_t next = 0, rest = 0, index, after;
	size_t left = b->n - 1;
	union pins_any c;

	for (index = b->chunks; index; index = after) {
		size_t k = left ? (left - 1) % PINS_CHUNK_MAX + 1 : 0;
		uint64_t generation = pins_generation(pins_state(b->p, index));

		after = chunk_next(b->p, index);
		if (k == 0) {
			chunk_link(b->p, index, rest);
			rest = index;
			continue;
		}
		memset(&c, 0, sizeof(c));
		memcpy(c.chunk.ext, &b->ext[1 + left - k], k * sizeof(c.chunk.ext[0]));
		c.chunk.head = b->index;
		c.chunk.next = next;
		pins_write(b->p, index, &c);
		pins_publish(b->p, index, pins_state_make(generation, PINS_CHUNK));
		left -= k;
		next = index;
	}
	b->rec.rec.next = next;
	b->rec.rec.nextents = (uint32_t)b->n;
	b->rec.rec.ext = b->ext[0];
	b->chunks = rest;
}

void pins_unpin_extents(struct space *s, const struct pins_extent *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (x[i].n & PINS_FRAMES)
			space_unpin_frames(s, mblk_to_frame(MBLK(x[i].first)),
					   pins_blocks(&x[i]) / HF_BLOCKS_PER_FRAME);
		else
			space_unpin_blocks(s, MBLK(x[i].first), x[i].n);
	}
}

/* Counts all of it or nothing. */
static int build_count(struct build *b)
{
	struct space *s = b->fs->space;

	for (size_t i = 0; i < b->n; i++) {
		const struct pins_extent *x = &b->ext[i];

		if (x->n & PINS_FRAMES) {
			space_pin_frames(s, mblk_to_frame(MBLK(x->first)),
					 pins_blocks(x) / HF_BLOCKS_PER_FRAME);
		} else if (!space_pin_blocks(s, MBLK(x->first), x->n, &b->need)) {
			pins_unpin_extents(s, b->ext, i);
			return BUILD_COUNTS;
		}
	}
	return 0;
}

/* Of an inode, under its pins_lock: one writer at a time. Returns what it was. */
static uint32_t pin_counter_add(_Atomic uint32_t *counter, uint32_t change)
{
	uint32_t was = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, was + change, memory_order_release);
	return was;
}

static void build_link(struct build *b)
{
	struct inode *in = b->req->in;
	struct pins_priv *v = &b->p->priv[b->index];

	v->in = in;
	v->prev = 0;
	mtx_lock(&in->pins_lock);
	v->next = in->pins_head;
	if (v->next)
		b->p->priv[v->next].prev = b->index;
	in->pins_head = b->index;
	if (pin_counter_add(&in->pins, 1) == 0)
		inode_ref(in); /* one for all of them */
	if (b->req->flags & PIN_WRITE)
		pin_counter_add(&in->write_pins, 1);
	mtx_unlock(&in->pins_lock);
}

/* Layout shared. The chunks are filled once only: after this has failed they are linked anew. */
static int build_take(struct build *b, uint64_t *hole)
{
	const struct pin_req *q = b->req;
	uint64_t generation = pins_generation(pins_state(b->p, b->index));
	fblk_t first = FBLK(q->off >> HF_BLOCK_SHIFT);
	int ret = build_collect(b, hole);

	if (ret)
		return ret;
	if (!build_has_chunks(b))
		return BUILD_ROOM;
	build_chain(b);
	pins_write(b->p, b->index, &b->rec);
	pins_publish(b->p, b->index, pins_state_make(generation, PINS_TAKING));
	ret = build_count(b);
	if (ret) {
		pins_publish(b->p, b->index, pins_state_make(generation, PINS_RESERVED));
		return ret;
	}
	if (b->lease)
		pins_lease_first(b->p, q->in, generation << PINS_INDEX_BITS | b->index, b->lease);
	build_link(b);
	view_hole_forget(q->in, first, (q->off + q->len - 1) / HF_BLOCK_SIZE + 1 - first.v);
	pins_publish(b->p, b->index, pins_state_make(generation, PINS_LIVE));
	return 0;
}

/* The chunks that hold this pin's extents are spare again: nothing is counted. */
static void build_unchain(struct build *b)
{
	uint32_t index = b->rec.rec.next;

	while (index) {
		uint32_t next = chunk_next(b->p, index);
		uint64_t generation = pins_generation(pins_state(b->p, index));

		pins_publish(b->p, index, pins_state_make(generation, PINS_RESERVED));
		chunk_link(b->p, index, b->chunks);
		b->chunks = index;
		index = next;
	}
	b->rec.rec.next = 0;
}

static int build_retry(struct build *b, int ret)
{
	if (ret == BUILD_COUNTS) {
		build_unchain(b);
		return space_pin_counts(b->fs->space, b->need);
	}
	return b->n == b->room ? build_room(b) : build_get_chunks(b);
}

static void build_text(char *to, size_t size, const char *from)
{
	if (from)
		memcpy(to, from, strnlen(from, size - 1));
}

static void build_fill(struct build *b)
{
	const struct pin_req *q = b->req;
	struct pins_rec *r = &b->rec.rec;

	static_assert((int)PIN_WRITE == (int)PINS_WRITE && (int)PIN_ALLOC == (int)PINS_ALLOC, "");
	static_assert(PIN_TAG_MAX == PINS_TAG_BYTES && PIN_NAME_MAX == PINS_NAME_BYTES, "");
	r->ino = q->in->ino.v; /* the rest is zero */
	r->gen = q->in->gen;
	r->off = q->off;
	r->len = q->len;
	r->since_ns = clock_coarse_ns();
	r->flags = q->flags | (q->lease ? PINS_LEASED : 0);
	r->thread = pin_self()->tid;
	build_text(r->tag, sizeof(r->tag), q->tag);
	build_text(r->name, sizeof(r->name), q->name);
}

static int build_run(struct build *b, uint64_t *hole)
{
	int ret, err = 0;

	do {
		rwl_rdlock(&b->req->in->layout);
		ret = b->req->flags & PIN_WRITE ? inode_seal(b->req->in) : 0;
		if (!ret)
			ret = build_take(b, hole);
		rwl_rdunlock(&b->req->in->layout);
		if (ret == BUILD_ROOM || ret == BUILD_COUNTS)
			err = build_retry(b, ret);
	} while (!err && (ret == BUILD_ROOM || ret == BUILD_COUNTS));
	return err ? err : ret;
}

int pin_add(struct fs *fs, const struct pin_req *req, uint64_t *id, uint64_t *hole)
{
	struct pins_extent few[PIN_FEW];
	struct build b = {
	    .fs = fs, .req = req, .p = fs->pins, .few = few, .ext = few, .room = PIN_FEW};
	uint64_t is;
	int ret = 0;

	*id = 0;
	if (req->lease)
		ret = pins_lease_new(b.p, req->lease, &b.lease);
	if (ret)
		return ret;
	b.index = pins_get(b.p, true);
	if (!b.index) {
		free(b.lease);
		return -ENOMEM;
	}
	build_fill(&b);
	/* Now: a lease's callback may have unpinned it, and the record be another's, before it is known. */
	is = pins_id(pins_state(b.p, b.index), b.index);
	atomic_store_explicit(&b.p->priv[b.index].owner, pin_thread(), memory_order_relaxed);
	ret = build_run(&b, hole);
	if (ret == 0)
		*id = is;
	build_drop_chunks(&b);
	if (ret) {
		pins_put(b.p, b.index, true);
		free(b.lease);
	}
	if (b.ext != b.few)
		free(b.ext);
	return ret;
}

/* An extent of frames begins where its leaf does, which may be before the pin. */
bool pins_walk(struct pins_walk *w, struct pin_run *out)
{
	const struct pins_extent *x;
	uint64_t skip;

	if (w->pos >= w->end || w->i == w->n)
		return false;
	x = &w->x[w->i++];
	skip = w->pos % (x->n & PINS_FRAMES ? HF_FRAME_SIZE : HF_BLOCK_SIZE);
	out->at = MOFF((x->first << HF_BLOCK_SHIFT) + skip);
	out->bytes = min_u64((pins_blocks(x) << HF_BLOCK_SHIFT) - skip, w->end - w->pos);
	w->pos += out->bytes;
	return true;
}

/* The end of flushing: what is on its way to the media cannot be trusted any more if it failed. */
static int pin_flushed(struct fs *fs, int err)
{
	if (!err)
		err = pm_fence(fs->pm);
	if (!err)
		return 0;
	journal_shutdown(fs->journal, err);
	return err_set(-EIO, "flushing what a pin covers failed; the volume takes no more changes "
			     "until it is mounted again");
}

/* Flushes [off, off+len) of the pin, and fences. */
static int pin_flush_range(struct fs *fs, const struct pins_rec *r, const struct pins_extent *x,
			   uint64_t off, uint64_t len)
{
	struct pins_walk w = {.x = x, .n = r->nextents, .pos = r->off, .end = r->off + off + len};
	uint64_t from = r->off + off;
	struct pin_run run;
	int err = 0;

	while (!err && pins_walk(&w, &run)) {
		uint64_t begin = w.pos - run.bytes, skip = from > begin ? from - begin : 0;

		if (skip < run.bytes)
			err = pm_flush(fs->pm, moff_add(run.at, skip), run.bytes - skip);
	}
	return pin_flushed(fs, err);
}

/* ---- dropping */

static void drop_chunks(struct pins *p, uint32_t index)
{
	while (index) {
		uint32_t next = chunk_next(p, index);

		pins_put(p, index, false);
		index = next;
	}
}

static int drop_some(struct fs *fs, struct pins_walk *w, const struct pins_extent *x, size_t n,
		     bool flush)
{
	struct pin_run run;
	int err = 0;

	w->x = x;
	w->n = n;
	w->i = 0;
	while (flush && !err && pins_walk(w, &run))
		err = pm_flush(fs->pm, run.at, run.bytes);
	pins_unpin_extents(fs->space, x, n);
	return err;
}

/* Nothing remembers what was stored through a pin that is gone, and a later fsync promises it: so
 * it is flushed here. The blocks are dropped whether that works or not. */
static int drop_extents(struct fs *fs, const struct pins_rec *r)
{
	bool flush = (r->flags & PINS_WRITE) && !fs->read_only;
	struct pins_walk w = {.pos = r->off, .end = r->off + r->len};
	int err = drop_some(fs, &w, &r->ext, 1, flush);
	uint32_t next = r->next;
	size_t left = r->nextents - 1;
	union pins_any c;

	while (left) {
		size_t n = left < PINS_CHUNK_MAX ? left : PINS_CHUNK_MAX;

		pins_read(fs->pins, next, 0, &c);
		err = drop_some(fs, &w, c.chunk.ext, n, flush && !err) ? -EIO : err;
		left -= n;
		next = c.chunk.next;
	}
	return flush ? pin_flushed(fs, err) : 0;
}

/* Returns true if it was the inode's last. */
static bool drop_unlink(struct pins *p, uint32_t index, unsigned flags)
{
	struct pins_priv *v = &p->priv[index];
	struct inode *in = v->in;
	bool last;

	mtx_lock(&in->pins_lock);
	if (v->prev)
		p->priv[v->prev].next = v->next;
	else
		in->pins_head = v->next;
	if (v->next)
		p->priv[v->next].prev = v->prev;
	if (flags & PINS_WRITE)
		pin_counter_add(&in->write_pins, (uint32_t)-1);
	last = pin_counter_add(&in->pins, (uint32_t)-1) == 1;
	mtx_unlock(&in->pins_lock);
	/* What was stored changed the file; nobody can say when, and nobody will ask again. */
	if (flags & PINS_WRITE && !in->fs->read_only && journal_state(in->fs->journal) == 0)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	v->in = NULL;
	return last;
}

struct waitq *pin_changed(struct inode *in)
{
	return pins_queue(in->fs->pins, (uintptr_t)in);
}

/* A touch of a view waits for any of them to go, and does not count itself. */
static void pins_wake_inode(struct pins *p, struct inode *in, bool last)
{
	if ((last && atomic_load(&p->waiters)) || atomic_load(&in->nviews))
		waitq_wake_all(pin_changed(in));
}

int pin_drop(struct fs *fs, uint64_t id)
{
	struct pins *p = fs->pins;
	uint32_t index = pins_index(id);
	uint64_t live = pins_state_for(id, PINS_LIVE);
	struct inode *in;
	union pins_any rec;
	bool last;
	int err;

	if (!pins_id_ok(p, id) ||
	    !atomic_compare_exchange_strong(pins_words(p, index), &live,
					    pins_state_for(id, PINS_DROPPING)))
		return err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	pins_lease_end(p, index);
	pins_read(p, index, 0, &rec);
	err = drop_extents(fs, &rec.rec);
	in = p->priv[index].in;
	last = drop_unlink(p, index, rec.rec.flags);
	drop_chunks(p, rec.rec.next);
	pins_wake_inode(p, in, last);
	if (last)
		inode_put(in);
	pins_put(p, index, true);
	/* From here on the volume may be gone; p's own memory is not. */
	if (atomic_load(&p->waiters)) {
		waitq_wake_all(pins_queue(p, index));
		waitq_wake_all(pins_queue(p, 0));
	}
	return err;
}

/* ---- asking */

static bool pin_is_live(const struct pins *p, uint64_t id)
{
	return pins_id_ok(p, id) && pins_state(p, pins_index(id)) == pins_state_for(id, PINS_LIVE);
}

int pin_take(struct fs *fs, uint64_t id)
{
	struct pins *p = fs->pins;
	uint32_t index = pins_index(id);

	if (!pin_is_live(p, id))
		return err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	atomic_store(&p->priv[index].owner, pin_thread());
	atomic_store(pins_u32(p, index, offsetof(struct pins_rec, thread)), pin_self()->tid);
	return 0;
}

/* The extents of a live pin, by number. */
static int pin_extents(struct fs *fs, uint64_t id, union pins_any *rec, struct pins_extent *few,
		       struct pins_extent **out)
{
	int err = -EAGAIN;

	*out = NULL;
	if (pins_id_ok(fs->pins, id) &&
	    pins_read(fs->pins, pins_index(id), pins_state_for(id, PINS_LIVE), rec))
		err = pins_extents(fs->pins, pins_index(id), rec, few, PIN_FEW, out);
	if (err == -EAGAIN)
		return err_set(-EINVAL, "there is no such pin, or it is unpinned already");
	return err;
}

int pin_runs(struct fs *fs, uint64_t id, struct pin_run *out, size_t max, size_t *n)
{
	struct pins_extent few[PIN_FEW], *x;
	struct pins_walk w = {0};
	struct pin_run run, last = {0};
	union pins_any rec;
	int err = pin_extents(fs, id, &rec, few, &x);

	*n = 0;
	if (err)
		return err;
	w = (struct pins_walk){
	    .x = x, .n = rec.rec.nextents, .pos = rec.rec.off, .end = rec.rec.off + rec.rec.len};
	while (pins_walk(&w, &run)) {
		if (*n && last.at.v + last.bytes == run.at.v) {
			last.bytes += run.bytes;
		} else {
			last = run;
			++*n;
		}
		if (*n <= max)
			out[*n - 1] = last;
	}
	if (x != few)
		free(x);
	return 0;
}

int pin_persist(struct fs *fs, uint64_t id, uint64_t off, uint64_t len)
{
	struct pins_extent few[PIN_FEW], *x;
	union pins_any rec;
	int err = pin_extents(fs, id, &rec, few, &x);

	if (err)
		return err;
	if (off > rec.rec.len || len > rec.rec.len - off)
		err = err_set(-EINVAL, "the range is not in the pin");
	else
		err = pin_flush_range(fs, &rec.rec, x, off, len);
	if (x != few)
		free(x);
	return err;
}

/* ---- fsync */

/* A record that may cover what has to be flushed: one that is being dropped is there until its
 * dropper has flushed it. False: it is free, or only read. */
static bool flush_read(struct pins *p, uint32_t index, union pins_any *rec)
{
	uint64_t state;

	do {
		state = pins_state(p, index);
		if (pins_state_of(state) != PINS_LIVE && pins_state_of(state) != PINS_DROPPING)
			return false;
	} while (!pins_read(p, index, state, rec));
	return (rec->rec.flags & PINS_WRITE) != 0;
}

/* Of the whole volume's: the inode may be gone from under the pin's record meanwhile. */
static void flush_touch(struct fs *fs, const struct pins_rec *r)
{
	struct inode *in;

	if (inode_get(fs, INUM(r->ino), r->gen, &in) != 0)
		return;
	inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	inode_put(in);
}

static int flush_one(struct fs *fs, uint32_t index, bool touch, bool *any)
{
	struct pins_extent few[PIN_FEW], *x;
	union pins_any rec;
	int err;

	do {
		if (!flush_read(fs->pins, index, &rec))
			return 0;
		err = pins_extents(fs->pins, index, &rec, few, PIN_FEW, &x);
		/* -EAGAIN: it is going. When its chunks are, it is flushed. */
	} while (err == -EAGAIN && pins_state(fs->pins, index) != rec.rec.state);
	if (err)
		return err == -EAGAIN ? 0 : err;
	for (size_t i = 0; i < rec.rec.nextents && !err; i++)
		err = pm_flush(fs->pm, mblk_to_moff(MBLK(x[i].first)),
			       pins_blocks(&x[i]) << HF_BLOCK_SHIFT);
	*any = true;
	if (touch)
		flush_touch(fs, &rec.rec);
	if (x != few)
		free(x);
	return err;
}

/* The numbers of the inode's pins, to be freed. */
static int flush_list(struct pins *p, struct inode *in, uint32_t **out, size_t *n)
{
	size_t room;
	uint32_t *list;

	for (;;) {
		room = atomic_load(&in->pins) + 16;
		list = malloc(room * sizeof(*list));
		if (!list)
			return err_set(-ENOMEM, "out of memory");
		*n = 0;
		mtx_lock(&in->pins_lock);
		for (uint32_t i = in->pins_head; i && *n < room; i = p->priv[i].next)
			list[(*n)++] = i;
		mtx_unlock(&in->pins_lock);
		if (*n < room)
			break;
		free(list);
	}
	*out = list;
	return 0;
}

static int flush_inode(struct fs *fs, struct inode *in, bool *any)
{
	uint32_t *list = NULL;
	size_t n = 0;
	int err = flush_list(fs->pins, in, &list, &n);

	if (err)
		return err;
	for (size_t i = 0; i < n && !err; i++)
		err = flush_one(fs, list[i], false, any);
	free(list);
	return err;
}

int pin_flush(struct fs *fs, struct inode *in, bool *any)
{
	uint32_t used;
	int err = 0;

	if (!fs->pins || (in && atomic_load(&in->write_pins) == 0))
		return 0;
	if (in)
		return flush_inode(fs, in, any);
	used = atomic_load_explicit(&fs->pins->used, memory_order_acquire);
	for (uint32_t i = 1; i <= used && !err; i++)
		err = flush_one(fs, i, true, any);
	return err;
}

/* ---- waiting for all of them */

static bool idle_inode(void *ctx)
{
	struct inode *in = ctx;

	return atomic_load(&in->pins) == 0;
}

static bool idle_volume(void *ctx)
{
	return pin_count(ctx) == 0;
}

static bool idle_mine(struct pins *p, uint32_t index)
{
	return pins_state_of(pins_state(p, index)) == PINS_LIVE &&
	       atomic_load(&p->priv[index].owner) == pin_thread();
}

static bool idle_own(struct pins *p, struct inode *in)
{
	uint32_t used = atomic_load_explicit(&p->used, memory_order_acquire);
	bool own = false;

	if (!in) {
		for (uint32_t i = 1; i <= used && !own; i++)
			own = idle_mine(p, i);
		return own;
	}
	mtx_lock(&in->pins_lock);
	for (uint32_t i = in->pins_head; i && !own; i = p->priv[i].next)
		own = idle_mine(p, i);
	mtx_unlock(&in->pins_lock);
	return own;
}

int pin_wait_idle(struct fs *fs, struct inode *in, uint64_t timeout_ns)
{
	struct pins *p = fs->pins;
	struct waitq *q = in ? pins_queue(p, (uintptr_t)in) : pins_queue(p, 0);
	bool (*idle)(void *) = in ? idle_inode : idle_volume;
	void *ctx = in ? (void *)in : (void *)fs;

	if (idle(ctx))
		return 0;
	if (pin_on_notifier())
		return err_set(-EDEADLK, "waiting in a lease's callback would hold up the others");
	if (idle_own(p, in))
		return err_set(-EDEADLK, "one of the pins is the calling thread's own");
	return pins_sleep(p, q, idle, ctx, clock_deadline_ns(timeout_ns));
}
