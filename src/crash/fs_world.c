/* Operations that hold something over others: pins, views, a second descriptor. What a program
 * stores through an address is announced to the device, which takes it at the next flush or fence.
 */
#include "crash/fs.h"

#include <sys/uio.h>

enum { STORE_MAX = 8192, IOVS = 8 };

/* Bytes that no other place of the sequence writes, and none of them zero. */
void fs_pattern(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(hash_mix2(seed, i / 8) >> (i % 8 * 8)) | 1;
}

/* ---- stores through addresses */

static void announce(struct fs_world *w, uint64_t off, size_t len, bool on)
{
	if (!w->media->light) {
		hf_crash_direct(w->media, off, len, on);
		return;
	}
	for (uint64_t no = off / HF_LINE; no <= (off + len - 1) / HF_LINE; no++)
		lineset_add(&w->media->touched, no);
}

struct stored {
	struct iovec iov[IOVS];
	size_t n;
};

static void announce_all(struct fs_world *w, const struct stored *s, bool on)
{
	for (size_t i = 0; i < s->n; i++)
		announce(w, (uint64_t)((uint8_t *)s->iov[i].iov_base - w->media->mem),
			 s->iov[i].iov_len, on);
}

/* Cached stores to the whole of a pin. They are the device's until unstore(). */
static int store(struct fs_world *w, hf_pin_id pin, uint64_t seed, bool idle, struct stored *s)
{
	uint8_t buf[STORE_MAX];
	size_t at = 0;
	int err;

	s->n = IOVS;
	err = hf_pin_iov(w->vol, pin, s->iov, &s->n);
	if (err)
		s->n = 0;
	announce_all(w, s, true);
	fs_pattern(buf, sizeof(buf), seed);
	for (size_t i = 0; i < s->n && !idle; at += s->iov[i++].iov_len)
		memcpy(s->iov[i].iov_base, buf + at, s->iov[i].iov_len);
	return err;
}

static void unstore(struct fs_world *w, struct stored *s)
{
	announce_all(w, s, false);
	s->n = 0;
}

static int take_pin(hf_file *f, const struct fs_op *op, hf_pin_id *pin)
{
	struct hf_pin_options o = {
	    .struct_size = sizeof(o), .flags = HF_PIN_WRITE | HF_PIN_ALLOC, .tag = "crash"};
	struct iovec iov[IOVS];
	size_t n = IOVS;

	return hf_pin(f, op->off, op->len, &o, iov, &n, pin);
}

/* ---- a pin for the time of one operation */

int fs_let_go(struct fs_world *w, unsigned nth)
{
	hf_pin_id pin = w->pin[nth % FS_WORLD_PINS];

	w->pin[nth % FS_WORLD_PINS] = 0;
	return pin ? hf_unpin(w->vol, pin) : 0;
}

static int pin_persist_by(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth)
{
	hf_pin_id pin = w->pin[nth % FS_WORLD_PINS];

	switch (op->flags) {
	case FS_BY_PERSIST:
		return hf_pin_persist(w->vol, pin, 0, op->len);
	case FS_BY_FSYNC:
		return hf_fsync(f);
	case FS_BY_SYNCFS:
		return hf_syncfs(w->vol);
	case FS_BY_NOTHING:
		return 0;
	default:
		return fs_let_go(w, nth);
	}
}

/* The pin is w->pin[nth]. */
static int pin_store(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth,
		     uint64_t seed)
{
	struct stored s = {.n = 0};
	hf_pin_id pin;
	int err = take_pin(f, op, &pin);

	if (err)
		return err;
	w->pin[nth % FS_WORLD_PINS] = pin;
	w->pin_len[nth % FS_WORLD_PINS] = op->len;
	err = store(w, pin, seed, w->idle && op->flags == FS_BY_NOTHING, &s);
	if (!err)
		err = pin_persist_by(w, f, op, nth);
	unstore(w, &s);
	return err;
}

int fs_pin_store(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth)
{
	return pin_store(w, f, op, nth, nth + 300);
}

/* ---- a pin that is held until the end of the sequence */

int fs_hold(struct fs_world *w, hf_file *f, const struct fs_op *op, unsigned nth)
{
	return pin_store(w, f, op, nth, nth + 400);
}

/* Stores once more, wherever the blocks are by now, and lets go of them. */
int fs_drop(struct fs_world *w, unsigned nth)
{
	struct stored s = {.n = 0};
	hf_pin_id pin = w->pin[nth % FS_WORLD_PINS];
	int err, gone;

	if (!pin)
		return 0;
	w->pin[nth % FS_WORLD_PINS] = 0;
	err = store(w, pin, nth + 500, false, &s);
	if (!err)
		err = hf_pin_persist(w->vol, pin, 0, w->pin_len[nth % FS_WORLD_PINS]);
	gone = hf_unpin(w->vol, pin);
	unstore(w, &s);
	return err ? err : gone;
}

/* ---- a view: mapped, stored to, perhaps something done to the file, unmapped */

static int view_map(struct fs_world *w, const struct fs_op *op)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ | HF_VIEW_WRITE};
	void *addr;
	int err = hf_open(w->vol, op->a, HF_O_RDWR, 0, &w->file[0]);

	if (!err)
		err = hf_view_map(w->file[0], 0, HF_FRAME_SIZE, &o, &addr, &w->view);
	if (!err)
		err = hf_view_populate(w->view, 0, HF_FRAME_SIZE, true);
	if (!err) {
		w->view_addr = addr;
		return 0;
	}
	fs_world_end(w);
	return err;
}

static int view_persist(struct fs_world *w, const struct fs_op *op)
{
	if (op->flags == FS_BY_PERSIST)
		return hf_view_persist(w->view, op->off, op->len);
	if (op->flags == FS_BY_FSYNC)
		return hf_fsync(w->file[0]);
	if (op->flags == FS_BY_NOTHING)
		return 0;
	return op->flags == FS_BY_SYNCFS ? hf_syncfs(w->vol) : hf_view_unmap(&w->view);
}

static int view_store(struct fs_world *w, const struct fs_op *op, unsigned nth)
{
	uint8_t buf[STORE_MAX];
	struct hf_extent e;
	struct hf_stat st;
	uint64_t off;
	size_t n;
	int err;

	if (!w->view)
		return -EBADF;
	err = hf_fstat(w->file[0], &st);
	if (!err)
		err = hf_extents(w->file[0], 0, &e, 1, &n);
	if (err)
		return err;
	if (n != 1 || !e.huge || e.off != 0 || op->off + op->len > st.size)
		return -EINVAL;
	off = e.media_off + op->off;
	announce(w, off, op->len, true);
	fs_pattern(buf, sizeof(buf), nth + 600);
	if (!w->idle || op->flags != FS_BY_NOTHING)
		memcpy(w->view_addr + op->off, buf, op->len);
	err = view_persist(w, op);
	announce(w, off, op->len, false);
	return err;
}

static int view_unmap(struct fs_world *w)
{
	int err = w->view ? hf_view_unmap(&w->view) : 0;
	int closed = w->file[0] ? hf_close(&w->file[0]) : 0;

	return err ? err : closed;
}

int64_t fs_view_step(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth)
{
	if (step == 0)
		return view_map(w, op);
	if (step == 1)
		return view_store(w, op, nth);
	if (step == 2 && op->then)
		return fs_do_one(w, op->then, nth);
	return view_unmap(w);
}

/* ---- two descriptors: a write through the first, something through the second, a write */

static int64_t two_write(struct fs_world *w, const struct fs_op *op, uint64_t seed)
{
	uint8_t buf[STORE_MAX];

	if (!w->file[0])
		return -EBADF;
	fs_pattern(buf, op->len, seed);
	return hf_pwrite(w->file[0], buf, op->len, op->off);
}

static int64_t two_begin(struct fs_world *w, const struct fs_op *op, unsigned nth)
{
	int err = hf_open(w->vol, op->a, HF_O_RDWR, 0, &w->file[0]);

	if (!err)
		err = hf_open(w->vol, op->a, HF_O_RDWR, 0, &w->file[1]);
	if (err) {
		fs_world_end(w);
		return err;
	}
	return two_write(w, op, nth + 700);
}

static int64_t two_end(struct fs_world *w, const struct fs_op *op, unsigned nth)
{
	int64_t ret = two_write(w, op, nth + 800);

	for (unsigned i = 0; i < 2; i++) {
		int closed = w->file[i] ? hf_close(&w->file[i]) : 0;

		ret = ret < 0 ? ret : closed;
	}
	return ret;
}

int64_t fs_two_step(struct fs_world *w, const struct fs_op *op, unsigned step, unsigned nth)
{
	if (step == 0)
		return two_begin(w, op, nth);
	if (step == 2)
		return two_end(w, op, nth);
	if (op->then->kind == FS_UNLINK || op->then->kind == FS_RENAME)
		return fs_do_one(w, op->then, nth + 900);
	return w->file[1] ? fs_on_file(w, w->file[1], op->then, nth + 900) : -EBADF;
}

void fs_world_end(struct fs_world *w)
{
	for (unsigned i = 0; i < FS_WORLD_PINS; i++) {
		if (w->pin[i])
			hf_unpin(w->vol, w->pin[i]);
		w->pin[i] = 0;
	}
	if (w->view)
		hf_view_unmap(&w->view);
	for (unsigned i = 0; i < 2; i++)
		if (w->file[i])
			hf_close(&w->file[i]);
}
