/* Writing.
 *
 * In place where a block is mapped: stored non-temporally, fenced, no transaction; the times follow
 * later. Into new blocks, or beyond the end: data first, then one transaction that maps and sets
 * the size (batch.c). Bytes of a mapped block at or beyond the end of file mean nothing: who raises
 * the size zeroes those that it uncovers and does not write (I-FILE-4).
 *
 * A short append goes with one fence: the record vouches for the data (txn_data; journal/data.c). Not while there are pins or
 * views, through which the bytes could change without the library's knowing; and inode_seal comes before they change
 * by its doing.
 *
 * Frames (I-FILE-6): a slot (2 MiB of the file, aligned) that one write covers gets a whole frame;
 * so does a slot that a growing file enters at its end when the slot before it is mapped up to
 * there. Other writes to holes get blocks.
 */
#include "file/write.h"
#include "file/batch.h"
#include "file/iov.h"
#include "file/user_buffer.h"
#include "file/view_fill.h"

#include <stdlib.h>

/* Up to so many bytes are copied with the layout lock held: see batch.h. */
#define WRITE_PREPARE 65536u

/* A writer that enters a new slot by skipping at most so much still appends. */
#define WRITE_APPEND_GAP 65536u

/* ---- the source */

static void src_advance(struct write_src *src, uint64_t len)
{
	while (len > 0 && len >= src->iov->iov_len - src->skip) {
		len -= src->iov->iov_len - src->skip;
		src->iov++;
		src->skip = 0;
	}
	src->skip += len;
}

/* Bad media is cleared under whole blocks, and what covers them stored again. */
static int store_over(struct pm *pm, moff_t to, const void *from, uint64_t len)
{
	int err = pm_guarded_write_nt(pm, to, from, len);

	if (err == -EIO && data_clear_bad(pm, to, len))
		err = pm_guarded_write_nt(pm, to, from, len);
	return err;
}

/* To the media. -EFAULT: the caller's buffer; -EIO: bad media. */
static int src_store(struct pm *pm, moff_t to, struct write_src *src, uint64_t len)
{
	uint64_t n;
	int err = 0;

	while (len > 0 && !err) {
		n = min_u64(len, src->iov->iov_len - src->skip);
		err = store_over(pm, to, (const char *)src->iov->iov_base + src->skip, n);
		src_advance(src, n);
		to = moff_add(to, n);
		len -= n;
	}
	return err;
}

/* To memory. Errors as src_store. */
static int src_fetch(const struct pm *pm, void *to, struct write_src *src, uint64_t len)
{
	char *p = to;
	uint64_t n;
	int err;

	while (len > 0) {
		n = min_u64(len, src->iov->iov_len - src->skip);
		err = pm_guarded_fetch(pm, p, (const char *)src->iov->iov_base + src->skip, n);
		if (err)
			return err;
		src_advance(src, n);
		p += n;
		len -= n;
	}
	return 0;
}

/* ---- tiny files: content in the inode, part of the transaction */

static bool write_fits_inline(const struct inode *in, uint64_t end)
{
	return end <= FMT_INLINE_MAX && data_size(in) <= FMT_INLINE_MAX &&
	       (data_is_inline(in) || data_is_unmapped(in));
}

static int write_inline(struct inode *in, struct write_src *src, uint64_t off, uint64_t len)
{
	uint8_t bytes[FMT_INLINE_MAX];
	struct inode_edit e;
	struct txn *t;
	int err = src_fetch(in->fs->pm, bytes, src, len);

	if (err)
		return err;
	t = txn_begin(in->fs->journal);
	if (!t)
		return -ENOMEM;
	rwl_wrlock(&in->layout);
	err = view_revoke(in, 0, HF_FRAME_SIZE); /* it may have shown a hole (rule T4) */
	if (err) {
		txn_abort(t);
		rwl_wrunlock(&in->layout);
		return err;
	}
	inode_edit_begin(&e, in, t);
	e.img.flags = le16_of(le16_get(e.img.flags) | FMT_FLAG_INLINE);
	memcpy(e.img.inline_data + off, bytes, len);
	if (off + len > le64_get(e.img.size))
		e.img.size = le64_of(off + len);
	inode_edit_times(&e, INODE_MTIME | INODE_CTIME, inode_now_ns());
	inode_edit_end(&e);
	err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

/* ---- one batch. What can fail for want of space comes before what everybody sees (I-FILE-7):
 *
 *	1. holes get blocks and the blocks their bytes: nothing points to them
 *	2. the transaction is gathered, which may need blocks for map nodes
 *	3. what has blocks already is stored in place
 *	4. fence, commit */

struct write {
	struct batch b;
	struct inode *in;
	struct write_src src;
	uint64_t size; /* of the file before the batch */
	uint64_t pos, end;
	bool little, in_place; /* in_place: a part has blocks already */
	bool vouched;	       /* the record vouches for the data: one fence */
	uint64_t known_at;     /* where step 1 met the first run that has blocks, for step 3: most writes have one */
	struct data_run known;
};

enum write_way {
	WRITE_USUAL,
	WRITE_FEW_RUNS, /* after -E2BIG */
	WRITE_FENCED,	/* after -EIO: bad media under data that a record vouches for is not cleared */
};

/* Where a fence costs about as much as hashing so many bytes. One of pages is a system call. */
static uint64_t write_vouch_max(const struct pm *pm)
{
	return pm->gran == PM_PAGE ? TXN_DATA_BYTES : 1024;
}

/* Content and layout exclusive, the transaction begun. Behind the end of file nobody has been promised anything. */
static bool write_may_vouch(const struct write *w, uint64_t off)
{
	struct inode *in = w->in;

	return w->b.layout_held && off == w->size && w->end - off <= write_vouch_max(in->fs->pm) && !data_is_inline(in) &&
	       atomic_load_explicit(&in->nviews, memory_order_relaxed) == 0 &&
	       atomic_load_explicit(&in->pins, memory_order_relaxed) == 0 &&
	       journal_may_open(in->fs->journal, atomic_load_explicit(&in->open, memory_order_relaxed));
}

/* The next bytes, to the media: by the commit, or now. */
static int write_store(struct write *w, moff_t to, uint64_t len)
{
	void *bytes;

	if (!w->vouched)
		return src_store(w->in->fs->pm, to, &w->src, len);
	bytes = txn_data(w->b.t, to, (uint32_t)len, &w->in->open);
	return bytes ? src_fetch(w->in->fs->pm, bytes, &w->src, len) : txn_error(w->b.t);
}

/* A slot that a growing file enters: see the head of this file. Not one of which this batch has
 * blocks already, for the map does not tell of those. */
static bool write_enters_slot(struct write *w, fblk_t slot)
{
	const struct batch_run *last = w->b.nruns ? &w->b.runs[w->b.nruns - 1] : NULL;
	uint64_t slot_off = slot.v << HF_BLOCK_SHIFT;
	struct map_extent x;

	if (last && last->at.v + last->n > slot.v)
		return false;
	if (slot.v == 0 || w->size > slot_off || w->pos - slot_off > WRITE_APPEND_GAP)
		return false;
	if (!batch_last(&w->b, FBLK(slot.v - 1)) &&
	    (map_lookup(w->in, FMT_FORK_DATA, FBLK(slot.v - 1), 1, &x) || mblk_is_null(x.blk)))
		return false;
	return map_lookup(w->in, FMT_FORK_DATA, slot, HF_BLOCKS_PER_FRAME, &x) == 0 &&
	       mblk_is_null(x.blk) && x.n == HF_BLOCKS_PER_FRAME;
}

/* Blocks for the hole at pos, of which n blocks are asked for. */
static int write_alloc(struct write *w, uint64_t n, struct batch_run *run)
{
	fblk_t at = data_block(w->pos);
	fblk_t slot = FBLK(at.v - at.v % HF_BLOCKS_PER_FRAME);
	int ret;

	if ((n < HF_BLOCKS_PER_FRAME || slot.v != at.v) && write_enters_slot(w, slot)) {
		ret = batch_alloc_frame(&w->b, slot, run);
		if (ret != -ENOSPC)
			return ret;
	}
	return batch_alloc(&w->b, at, n, run);
}

/* Fills a new run: zeros before pos, the data, and zeros behind it up to the end of file, if that
 *is in the run.
 *
 *	run    |....|....|....|....|        z  zeros: below the end of file once this commits
 *	bytes   zzdddddddddzz               d  data
 *	            old size ^
 */
static int write_fill(struct write *w, const struct batch_run *run)
{
	struct pm *pm = w->in->fs->pm;
	uint64_t first = run->at.v << HF_BLOCK_SHIFT, last = first + (run->n << HF_BLOCK_SHIFT);
	uint64_t end = min_u64(w->end, last), visible = min_u64(w->size, last);
	moff_t media = mblk_to_moff(run->blk);
	int err = 0;

	if (w->pos > first)
		err = data_fresh_usable(pm, media);
	if (!err && end % HF_BLOCK_SIZE)
		err = data_fresh_usable(pm, moff_add(media, end - first));
	if (!err && w->pos > first) {
		w->b.fence = true;
		err = pm_guarded_zero_nt(pm, media, w->pos - first);
	}
	if (!err)
		err = write_store(w, moff_add(media, w->pos - first), end - w->pos);
	if (!err && visible > end) {
		w->b.fence = true;
		err = pm_guarded_zero_nt(pm, moff_add(media, end - first), visible - end);
	}
	if (!err)
		w->pos = end;
	return err;
}

static int write_hole(struct write *w, uint64_t bytes)
{
	struct batch_run run;
	uint64_t n = data_block_up(w->pos + bytes).v - data_block(w->pos).v;
	int ret = write_alloc(w, n, &run);

	if (!ret && w->little)
		ret = batch_prepare(&w->b);
	return ret ? ret : write_fill(w, &run);
}

/* What a view kept as zeros to be punched is written: it is a hole no more (rule T3). */
static void write_lives(struct inode *in, uint64_t off, uint64_t len)
{
	view_hole_forget(in, data_block(off), data_block_up(off + len).v - data_block(off).v);
}

/* Into blocks that this batch has already: inline content that was just taken to a block. */
static int write_own(struct write *w, const struct batch_run *own)
{
	uint64_t first = own->at.v << HF_BLOCK_SHIFT;
	uint64_t n = min_u64(w->end, first + (own->n << HF_BLOCK_SHIFT)) - w->pos;
	int err = write_store(w, moff_add(mblk_to_moff(own->blk), w->pos - first), n);

	if (!err)
		w->pos += n;
	return err;
}

/* Step 1, one run of the map. BATCH_FULL: nothing done. */
static int write_new(struct write *w)
{
	const struct batch_run *own = batch_last(&w->b, data_block(w->pos));
	struct data_run run;
	int err;

	if (own)
		return write_own(w, own);
	err = data_run(w->in, w->pos, w->end, &run);
	if (err)
		return err;
	if (run.hole)
		return write_hole(w, run.bytes);
	if (!w->in_place) {
		w->known_at = w->pos;
		w->known = run;
	}
	src_advance(&w->src, run.bytes);
	w->pos += run.bytes;
	w->in_place = true;
	return 0;
}

/* Step 1. A volume that gets full on the way makes the write shorter. */
static int write_new_all(struct write *w, uint64_t off)
{
	int ret = 0;

	while (ret == 0 && w->pos < w->end)
		ret = write_new(w);
	if (ret == BATCH_FULL || (ret == -ENOSPC && w->pos > off)) {
		w->end = w->pos;
		ret = 0;
	}
	return ret;
}

static int write_run(const struct write *w, struct data_run *run)
{
	if (w->pos != w->known_at)
		return data_run(w->in, w->pos, w->end, run);
	*run = w->known;
	run->bytes = min_u64(run->bytes, w->end - w->pos); /* the write may have become shorter */
	return 0;
}

/* Step 3. w->pos: how far it got. */
static int write_old_all(struct write *w)
{
	struct data_run run;
	int err = 0;

	for (; w->pos < w->end && !err; w->pos += err ? 0 : run.bytes) {
		err = write_run(w, &run);
		if (err)
			break;
		if (run.hole) {
			src_advance(&w->src, run.bytes);
			continue;
		}
		write_lives(w->in, w->pos, run.bytes);
		err = write_store(w, run.at, run.bytes);
	}
	return err;
}

/* Steps 2 to 4, from off to w->end. */
static int write_finish(struct write *w, const struct write_src *src, uint64_t off)
{
	bool journalled = w->b.t || w->end > w->size;
	int err = journalled ? batch_gather(&w->b, w->end) : 0;

	if (!err && w->in_place) {
		w->src = *src;
		w->pos = off;
		err = write_old_all(w);
	}
	if (journalled)
		return err ? err : batch_commit_gathered(&w->b);
	if (!err)
		err = data_fence(w->in);
	if (!err)
		inode_touch(w->in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	return err;
}

/* From off on as much as one transaction takes: the bytes, or an error and nothing of it is mapped
 * or counted; then *got (fewer than len) is how much the buffer had. */
static int64_t write_batch(struct inode *in, const struct write_src *src, uint64_t off,
			   uint64_t len, enum write_way way, uint64_t *got)
{
	struct write w; /* not all of it: the batch's runs are many */
	int ret = 0;

	*got = 0;
	w.in = in;
	w.src = *src;
	w.size = data_size(in);
	w.pos = off;
	w.end = off + len;
	w.little = len <= WRITE_PREPARE;
	w.in_place = false;
	w.known_at = UINT64_MAX;
	batch_begin(&w.b, in, way == WRITE_FEW_RUNS ? BATCH_RUNS_RETRY : BATCH_RUNS);
	if (off < w.size)
		ret = inode_seal(in);
	if (!ret && w.little && w.end > w.size)
		ret = batch_prepare(&w.b);
	if (ret)
		return ret;
	w.vouched = way == WRITE_USUAL && write_may_vouch(&w, off);
	w.b.fence = !w.vouched;
	if (data_is_inline(in) && off == 0 && len >= w.size)
		w.b.outgrow_inline = true; /* all of it is overwritten */
	else if (data_is_inline(in))
		ret = batch_outgrow_inline(&w.b);
	else if (off > w.size)
		ret = data_zero(in, w.size, off, NULL);
	if (!ret)
		ret = write_new_all(&w, off);
	if (!ret) {
		HF_ASSERT(w.end > off);
		ret = write_finish(&w, src, off);
	}
	if (!ret)
		return (int64_t)(w.end - off);
	*got = ret == -EFAULT ? w.pos - off : 0;
	batch_abort(&w.b);
	return ret;
}

/* As write_batch. Where the buffer ends on the way, what comes before is written once more, as a
 * write of its own: parts of it may be in place already, where everybody sees them. It gets shorter
 * with each turn. */
static int64_t write_some(struct inode *in, const struct write_src *src, uint64_t off, uint64_t len)
{
	uint64_t got;
	int64_t n;

	do {
		n = write_batch(in, src, off, len, WRITE_USUAL, &got);
		if (n == -E2BIG)
			n = write_batch(in, src, off, len, WRITE_FEW_RUNS, &got);
		else if (n == -EIO && len <= TXN_DATA_BYTES && journal_state(in->fs->journal) == 0)
			n = write_batch(in, src, off, len, WRITE_FENCED, &got);
		if (n != -EFAULT || src->whole || got >= len)
			break;
		len = got;
	} while (len > 0);
	return n;
}

int64_t write_locked(struct inode *in, const struct write_src *src, uint64_t off, uint64_t len)
{
	struct write_src s = *src;
	uint64_t done = 0;
	int64_t n;

	if (write_fits_inline(in, off + len)) {
		n = write_inline(in, &s, off, len);
		return n ? n : (int64_t)len;
	}
	while (done < len) {
		n = write_some(in, &s, off + done, len - done);
		if (n < 0)
			return done ? (int64_t)done : n;
		src_advance(&s, (uint64_t)n);
		done += (uint64_t)n;
	}
	return (int64_t)done;
}

/* ---- overwriting: the way of most writes, and the shortest */

/* Content exclusive. True: *ret is the result. False: nothing was done; it takes more than storing
 * in place. */
static bool write_in_place(struct inode *in, const struct iovec *iov, uint64_t off, uint64_t len,
			   int64_t *ret)
{
	struct map_extent x;
	moff_t at;
	int err;

	if (off + len > data_size(in) || data_is_inline(in))
		return false;
	err = map_lookup(in, FMT_FORK_DATA, data_block(off),
			 data_block_up(off + len).v - data_block(off).v, &x);
	if (err || mblk_is_null(x.blk) || (x.n << HF_BLOCK_SHIFT) - off % HF_BLOCK_SIZE < len)
		return false;
	at = moff_add(mblk_to_moff(x.blk), off % HF_BLOCK_SIZE);
	write_lives(in, off, len);
	err = inode_seal(in);
	if (!err)
		err = store_over(in->fs->pm, at, iov->iov_base, len);
	if (!err)
		err = data_fence(in);
	if (!err)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	*ret = err ? err : (int64_t)len;
	return true;
}

/* ---- the calls */

struct write_call {
	struct hf_file *file;
	struct write_src src;
	uint64_t len, off;
	bool append;
};

static bool write_range_ok(struct write_call *c)
{
	if (c->off >= FILE_SIZE_MAX)
		return false;
	c->len = min_u64(c->len, FILE_SIZE_MAX - c->off);
	return true;
}

static int64_t write_slow(struct write_call *c)
{
	struct inode *in = c->file->in;
	struct gate *g = &c->file->vol->gate;
	uint32_t ticket = gate_enter(g);
	int64_t ret = -EFBIG;

	rwl_wrlock(&in->content);
	if (c->append)
		c->off = data_size(in);
	if (write_range_ok(c))
		ret = write_locked(in, &c->src, c->off, c->len);
	rwl_wrunlock(&in->content);
	gate_leave(g, ticket);
	return ret;
}

/* ---- from a view: see user_buffer.h */

static struct user_buffer write_user(const struct write_call *c)
{
	return (struct user_buffer){.iov = c->src.iov, .skip = c->src.skip, .len = c->len};
}

static int64_t write_private(struct write_call *c)
{
	const struct user_buffer user = write_user(c);
	struct iovec own = {.iov_base = malloc(c->len)};
	struct write_call p = *c;
	int64_t ret = -EFAULT;

	if (!own.iov_base)
		return -ENOMEM;
	own.iov_len = user_buffer_fetch(&user, own.iov_base);
	p.src = (struct write_src){.iov = &own};
	p.len = own.iov_len;
	if (p.len > 0)
		ret = write_slow(&p);
	c->off = p.off;
	free(own.iov_base);
	return ret;
}

/* Adding at the end cannot be done twice, so that is done from private memory at once. */
static int64_t write_some_of_view(struct write_call *c)
{
	const struct user_buffer user = write_user(c);
	int64_t ret = -EFAULT;

	for (int i = 0; i <= USER_BUFFER_ROUNDS && ret == -EFAULT && !c->append; i++) {
		if (i > 0 && user_buffer_populate(&user, false))
			break;
		ret = write_slow(c);
	}
	return ret == -EFAULT ? write_private(c) : ret;
}

/* All of it: a page that somebody took away is no reason for a short count. */
static __attribute__((noinline, cold)) int64_t write_from_view(struct write_call *c)
{
	struct write_call rest = *c;
	int64_t n, done = 0;

	rest.src.whole = true;
	do {
		n = write_some_of_view(&rest);
		if (done == 0)
			c->off = rest.off;
		if (n <= 0)
			break;
		done += n;
		rest.off += (uint64_t)n;
		rest.len -= (uint64_t)n;
		src_advance(&rest.src, (uint64_t)n);
	} while (rest.len > 0 && !c->append);
	return done ? done : n;
}

/* Overwrites do not pass the gate: they commit nothing. A look without locks says whether it is
 * worth trying. */
static inline int64_t write_try(struct write_call *c, bool one_buffer)
{
	struct inode *in = c->file->in;
	const struct user_buffer user = write_user(c);
	int64_t ret = 0;
	bool done;

	if (user_buffer_in_view(&user))
		return write_from_view(c);
	if (one_buffer && !c->append && c->off < FILE_SIZE_MAX &&
	    c->len <= FILE_SIZE_MAX - c->off && c->off + c->len <= data_size(in)) {
		rwl_wrlock(&in->content);
		done = write_in_place(in, c->src.iov, c->off, c->len, &ret);
		rwl_wrunlock(&in->content);
		if (done)
			return ret;
	}
	return write_slow(c);
}

/* When nothing is free, holes that views keep are given back first (rule T3). */
static int64_t write_call(struct write_call *c, bool one_buffer)
{
	int64_t ret = write_try(c, one_buffer);

	if (ret == -ENOSPC && view_holes_reclaim(&c->file->vol->fs))
		ret = write_try(c, one_buffer);
	return ret;
}

static inline bool write_enter_ok(const struct hf_file *file)
{
	return enter_file_ok(file) && (file->flags & (HF_O_WRONLY | HF_O_RDWR)) != 0 &&
	       journal_state(file->vol->fs.journal) == 0;
}

static ssize_t write_one(hf_file *file, const void *buf, size_t len, uint64_t off, bool append,
			 uint64_t *off_out)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf,
			    .iov_len = min_u64(len, FILE_IO_MAX)};
	struct write_call c = {.file = file, .src.iov = &iov, .len = iov.iov_len, .off = off};
	int64_t ret;

	if (!write_enter_ok(file)) {
		ret = enter_file_change(file);
		return enter_leave(ret, "write");
	}
	c.append = append || (file->flags & HF_O_APPEND) != 0;
	if (len == 0)
		ret = 0;
	else if (!buf)
		ret = -EINVAL;
	else
		ret = write_call(&c, true);
	if (ret < 0)
		return enter_leave_fast(file, 0, ret, "write"); /* it entered, so there was none */
	if (off_out)
		*off_out = len ? c.off : data_size(file->in);
	return ret;
}

HF_API ssize_t hf_pwrite(hf_file *file, const void *buf, size_t len, uint64_t off)
{
	return write_one(file, buf, len, off, false, NULL);
}

HF_API ssize_t hf_append(hf_file *file, const void *buf, size_t len, uint64_t *off_out)
{
	if (off_out)
		*off_out = 0;
	return write_one(file, buf, len, 0, true, off_out);
}

HF_API ssize_t hf_pwritev(hf_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct write_call c = {.file = file, .off = off};
	struct iov_copy copy;
	int64_t ret = enter_file_change(file);

	if (ret)
		return ret;
	ret = iov_copy_in(&copy, iov, iovcnt);
	if (ret)
		return enter_leave(ret, "pwritev");
	c.src.iov = copy.iov;
	c.len = copy.bytes;
	c.append = (file->flags & HF_O_APPEND) != 0;
	if (c.len > 0)
		ret = write_call(&c, iovcnt == 1);
	iov_copy_free(&copy);
	return enter_leave(ret, "pwritev");
}
