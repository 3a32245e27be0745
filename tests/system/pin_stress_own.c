/* A file of one thread: nobody else changes it, so what it has, and what pins on it show, is known.
 *
 * A block of a pin may be attached: it shows what the file has there; at and beyond the end of
 * file, which cuts the last block, anything that was the file's.
 *
 * Or maybe not: punched or cut off. It shows what it had then. But where a full volume or a live
 * view made the punch a zeroing in place it is still the file's, and shows zeros or what an
 * attached one may show, until it leaves once more.
 *
 * Or gone, with the file: it shows what it had then, for good. */
#include "pin_stress.h"

#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

static void own_name(const struct thread *t, char out[32])
{
	snprintf(out, 32, "/own%u", t->no);
}

static void open_file(struct thread *t, unsigned flags)
{
	struct own *o = &t->own;
	struct hf_stat st;
	char name[32];

	own_name(t, name);
	for (;;) {
		int err = hf_open(vol, name, HF_O_RDWR | HF_O_CREAT | flags, 0600, &o->f);

		if (err != -ENOSPC) {
			must("hf_open of the thread's own file", err);
			break;
		}
		usleep(1000);
	}
	must("hf_fstat", hf_fstat(o->f, &st));
	o->ident = stamp_ident(&st);
	if (st.size != o->size)
		die("%s has %llu bytes, not %llu", name, (unsigned long long)st.size,
		    (unsigned long long)o->size);
}

void own_open(struct thread *t)
{
	open_file(t, 0);
}

/* ---- pins on it */

static word_t *pin_block(const struct pinned *p, uint64_t block)
{
	uint64_t at = block * BLOCK;

	for (size_t i = 0; i < p->n; i++) {
		if (at < p->iov[i].iov_len)
			return (word_t *)(void *)((uint8_t *)p->iov[i].iov_base + at);
		at -= p->iov[i].iov_len;
	}
	die("block %llu is not in the pin", (unsigned long long)block);
}

static bool word_fits(const struct own *o, const struct own_pin *op, uint64_t i, uint64_t w)
{
	uint64_t at = op->p->off / 8 + i;
	bool behind = at >= o->size / 8 && stamp_fits(w, op->p->ident, ANY_BLOCK, at % WORDS);

	switch (op->state[i / WORDS]) {
	case ATTACHED:
		return behind || w == o->words[at];
	case MAYBE:
		return behind || w == op->then[i] || w == 0 || w == o->words[at];
	default:
		return w == op->then[i];
	}
}

static void word_check(const struct own *o, const struct own_pin *op, uint64_t i, uint64_t w)
{
	static const char *const names[] = {"in the file", "punched", "deleted"};

	if (word_fits(o, op, i, w))
		return;
	die("a pin on its own file %06llx (%llu bytes), block %llu, %s, word %llu shows %016llx, "
	    "file %016llx, "
	    "then %016llx",
	    (unsigned long long)op->p->ident, (unsigned long long)o->size,
	    (unsigned long long)(op->p->off / BLOCK + i / WORDS), names[op->state[i / WORDS]],
	    (unsigned long long)(i % WORDS), (unsigned long long)w,
	    (unsigned long long)o->words[op->p->off / 8 + i], (unsigned long long)op->then[i]);
}

static void pin_check(const struct own *o, const struct own_pin *op)
{
	for (uint64_t b = 0; b < op->p->len / BLOCK; b++) {
		word_t *words = pin_block(op->p, b);

		for (uint64_t i = 0; i < WORDS; i++)
			word_check(o, op, b * WORDS + i, word_get(&words[i]));
	}
}

static void pin_left(const struct own *o, struct own_pin *op, uint64_t b, enum own_state state)
{
	word_t *words = pin_block(op->p, b);

	/* Zeroed in place, and the model still has what it was; or it left. */
	for (uint64_t i = 0; i < WORDS; i++)
		if (word_get(&words[i]) != 0)
			word_check(o, op, b * WORDS + i, word_get(&words[i]));
	op->state[b] = state;
	for (uint64_t i = 0; i < WORDS; i++)
		op->then[b * WORDS + i] = word_get(&words[i]);
}

/* Blocks [first, end) are about to leave the file, or have left it: what a pin has of them does not
 * change by that. */
static void pins_left(struct own *o, uint64_t first, uint64_t end, enum own_state state)
{
	for (unsigned k = 0; k < OWN_PINS; k++) {
		struct own_pin *op = &o->pins[k];

		for (uint64_t b = 0; op->p && b < op->p->len / BLOCK; b++) {
			uint64_t at = op->p->off / BLOCK + b;

			if (at >= first && at < end && op->state[b] <= state)
				pin_left(o, op, b, state);
		}
	}
}

static bool any_pins(const struct own *o)
{
	for (unsigned k = 0; k < OWN_PINS; k++)
		if (o->pins[k].p)
			return true;
	return false;
}

static void own_drop_pin(struct own *o, struct own_pin *op)
{
	if (!op->p)
		return;
	pin_check(o, op);
	pins_drop(op->p);
	op->p = NULL;
}

static void own_pin(struct thread *t)
{
	struct own_pin *op = &t->own.pins[rng_below(&t->rng, OWN_PINS)];
	struct own *o = &t->own;
	uint64_t blocks = o->size / BLOCK, first, n;

	if (op->p || blocks == 0) {
		own_drop_pin(o, op);
		return;
	}
	first = rng_below(&t->rng, blocks);
	n = 1 + rng_below(&t->rng, OWN_PIN_MAX);
	n = first + n > blocks ? blocks - first : n;
	op->p = pins_make(t, o->f, first * BLOCK, n * BLOCK, (unsigned)rng_below(&t->rng, 4));
	if (!op->p)
		return;
	op->p->ident = o->ident;
	op->p->shift = true;
	memset(op->state, 0, sizeof(op->state));
	pin_check(o, op);
}

/* Through the pin to the file, where the block is the file's for certain. */
static void own_store(struct thread *t)
{
	struct own_pin *op = &t->own.pins[rng_below(&t->rng, OWN_PINS)];
	struct own *o = &t->own;
	uint64_t gen = rng_next(&t->rng);

	if (!op->p || !op->p->write)
		return;
	for (uint64_t b = 0; b < op->p->len / BLOCK; b++) {
		uint64_t at = op->p->off / 8 + b * WORDS;

		if (op->state[b] != ATTACHED || at + WORDS > o->size / 8)
			continue;
		stamp_fill(pin_block(op->p, b), BLOCK, at * 8, o->ident, gen);
		memcpy(o->words + at, pin_block(op->p, b), BLOCK);
	}
	must("hf_pin_persist", hf_pin_persist(vol, op->p->id, 0, op->p->len));
}

/* ---- the file */

/* For the message: what pins show of the word at this offset, and whose it is. */
static void tell_pins(const struct own *o, uint64_t at)
{
	for (unsigned k = 0; k < OWN_PINS; k++) {
		const struct pinned *p = o->pins[k].p;
		uint64_t b;

		if (!p || at < p->off || at >= p->off + p->len)
			continue;
		b = (at - p->off) / BLOCK;
		fprintf(stderr, "pin_stress: pin %u, state %d, write %d, shows %016llx\n", k,
			(int)o->pins[k].state[b], p->write,
			(unsigned long long)word_get(pin_block(p, b) + at % BLOCK / 8));
	}
}

static void compare(const struct own *o, const uint64_t *got, uint64_t off, uint64_t bytes,
		    const char *how)
{
	for (uint64_t i = 0; i < bytes / 8; i++)
		if (got[i] != o->words[off / 8 + i]) {
			tell_pins(o, off + i * 8);
			die("a thread's own file %06llx (%llu bytes) has by %s %016llx at %llu, "
			    "not %016llx",
			    (unsigned long long)o->ident, (unsigned long long)o->size, how,
			    (unsigned long long)got[i], (unsigned long long)(off + i * 8),
			    (unsigned long long)o->words[off / 8 + i]);
		}
}

void own_check(struct thread *t)
{
	struct own *o = &t->own;
	ssize_t got = hf_pread(o->f, t->buf, OWN_MAX, 0);

	must("hf_pread", got);
	if ((uint64_t)got != o->size)
		die("a thread's own file has %lld bytes, not %llu", (long long)got,
		    (unsigned long long)o->size);
	compare(o, t->buf, 0, o->size, "hf_pread");
	for (unsigned k = 0; k < OWN_PINS; k++)
		if (o->pins[k].p)
			pin_check(o, &o->pins[k]);
}

static void range(struct thread *t, uint64_t *off, uint64_t *len)
{
	static const unsigned sizes[] = {1, 2, 8, 40, 200, 512};

	*len = BLOCK * (1 + rng_below(&t->rng, sizes[rng_below(&t->rng, 6)]));
	*off = rng_one_in(&t->rng, 6) ? 0 : BLOCK * rng_below(&t->rng, OWN_MAX / BLOCK);
	*off = *off + *len > OWN_MAX ? OWN_MAX - *len : *off;
	if (rng_one_in(&t->rng, 3)) {
		uint64_t cut = 8 * rng_below(&t->rng, WORDS / 2);

		*off += cut;
		*len -= 2 * cut;
	}
	if (*len == 0)
		*len = 8;
	if (*off + *len > OWN_MAX)
		*off = OWN_MAX - *len;
}

static void own_write(struct thread *t)
{
	struct own *o = &t->own;
	uint64_t off, len;
	int64_t got;

	range(t, &off, &len);
	if (rng_one_in(&t->rng, 12)) {
		off = 0;
		len = FRAME;
	}
	stamp_fill(t->buf, len, off, o->ident, rng_next(&t->rng));
	got = may(t, "hf_pwrite", hf_pwrite(o->f, t->buf, len, off));
	if (got <= 0)
		return;
	if (got % 8)
		die("hf_pwrite wrote %lld of %llu bytes", (long long)got, (unsigned long long)len);
	memcpy(o->words + off / 8, t->buf, (size_t)got);
	if (off + (uint64_t)got > o->size)
		o->size = off + (uint64_t)got;
}

/* Did it happen? -ETIMEDOUT: done, but somebody still holds it. */
static bool done(int64_t ret)
{
	return ret >= 0 || ret == -ETIMEDOUT;
}

static void own_truncate(struct thread *t)
{
	struct own *o = &t->own;
	struct hf_how how = how_random(t);
	uint64_t size = rng_one_in(&t->rng, 6) ? 0 : 8 * rng_below(&t->rng, OWN_MAX / 8);
	int64_t ret = may(t, "hf_ftruncate_how", hf_ftruncate_how(o->f, size, &how));

	if (!done(ret))
		return;
	if (size < o->size) {
		pins_left(o, (size + BLOCK - 1) / BLOCK, UINT64_MAX, MAYBE);
		memset(o->words + size / 8, 0, o->size - size);
	}
	o->size = size;
}

static void own_punch(struct thread *t)
{
	struct own *o = &t->own;
	struct hf_how how = how_random(t);
	uint64_t off, len, end;
	int64_t ret;

	range(t, &off, &len);
	ret =
	    may(t, "punch",
		hf_fallocate_how(o->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len, &how));
	if (!done(ret))
		return;
	end = off + len >= o->size ? OWN_MAX / BLOCK : (off + len) / BLOCK;
	pins_left(o, (off + BLOCK - 1) / BLOCK, end, MAYBE);
	memset(o->words + off / 8, 0, len);
}

/* What failed half-way has zeros or what was there. */
static void resync(struct thread *t, uint64_t off, uint64_t len)
{
	struct own *o = &t->own;
	uint64_t *got = t->buf;
	ssize_t n = hf_pread(o->f, got, len, off);

	must("hf_pread", n);
	for (uint64_t i = 0; i < (uint64_t)n / 8; i++) {
		if (got[i] && got[i] != o->words[off / 8 + i])
			die("zeroing failed, and left %016llx", (unsigned long long)got[i]);
		o->words[off / 8 + i] = got[i];
	}
}

static void own_zero(struct thread *t)
{
	struct own *o = &t->own;
	struct hf_how how = how_random(t);
	uint64_t off, len;
	int64_t ret;

	range(t, &off, &len);
	ret =
	    may(t, "zero range",
		hf_fallocate_how(o->f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len, &how));
	if (done(ret))
		memset(o->words + off / 8, 0, len);
	else if (ret == -ENOSPC)
		resync(t, off, len);
}

static void own_allocate(struct thread *t)
{
	uint64_t off, len;

	range(t, &off, &len);
	may(t, "hf_fallocate", hf_fallocate(t->own.f, FALLOC_FL_KEEP_SIZE, off, len));
}

/* Pins would show other places of the file: not with pins. */
static void own_shift(struct thread *t)
{
	struct own *o = &t->own;
	uint64_t at = BLOCK * rng_below(&t->rng, o->size / BLOCK + 1),
		 n = BLOCK * (1 + rng_below(&t->rng, 20)),
		 tail = o->size - (at < o->size ? at : o->size);
	uint8_t *bytes = (uint8_t *)o->words;

	if (any_pins(o) || tail <= n)
		return;
	if (rng_one_in(&t->rng, 2)) {
		if (may(t, "collapse", hf_fallocate(o->f, FALLOC_FL_COLLAPSE_RANGE, at, n)))
			return;
		memmove(bytes + at, bytes + at + n, tail - n);
		memset(bytes + o->size - n, 0, n);
		o->size -= n;
	} else if (o->size + n <= OWN_MAX) {
		if (may(t, "insert", hf_fallocate(o->f, FALLOC_FL_INSERT_RANGE, at, n)))
			return;
		memmove(bytes + at + n, bytes + at, tail);
		memset(bytes + at, 0, n);
		o->size += n;
	}
}

static void drop_view(struct own *o)
{
	if (o->view)
		must("hf_view_unmap", hf_view_unmap(&o->view));
	o->at = NULL;
}

/* Another file by the same name; with luck by the same number. */
static void own_replace(struct thread *t)
{
	struct own *o = &t->own;
	char name[32];

	own_name(t, name);
	drop_view(o);
	own_check(t);
	pins_left(o, 0, UINT64_MAX, GONE);
	must("hf_unlink", hf_unlink(vol, name));
	must("hf_close", hf_close(&o->f));
	memset(o->words, 0, OWN_MAX);
	o->size = 0;
	open_file(t, HF_O_EXCL);
}

static void own_view(struct thread *t)
{
	struct hf_view_options v = {.struct_size = sizeof(v), .prot = HF_VIEW_READ | HF_VIEW_WRITE};
	struct own *o = &t->own;
	uint64_t off, len, got;
	void *at;

	if (!o->view) {
		must("hf_view_map", hf_view_map(o->f, 0, OWN_MAX, &v, &at, &o->view));
		o->at = at;
		return;
	}
	if (rng_one_in(&t->rng, 8)) {
		drop_view(o);
		return;
	}
	range(t, &off, &len);
	if (off >= o->size)
		return;
	len = off + len > o->size ? o->size - off : len;
	if (rng_one_in(&t->rng, 2)) {
		got = touch_load(o->at + off / 8, t->buf, len);
		compare(o, t->buf, off, got, "a view");
	} else {
		stamp_fill(t->buf, len, off, o->ident, rng_next(&t->rng));
		got = touch_store(o->at + off / 8, t->buf, len);
		memcpy(o->words + off / 8, t->buf, got);
	}
	t->refused += got < len;
	t->ops++;
}

void own_random(struct thread *t)
{
	static void (*const ops[])(struct thread *) = {
	    own_write, own_write, own_write, own_write,	  own_truncate, own_truncate,
	    own_punch, own_punch, own_zero,  own_shift,	  own_view,	own_view,
	    own_view,  own_view,  own_pin,   own_pin,	  own_pin,	own_pin,
	    own_store, own_store, own_check, own_allocate};

	if (rng_one_in(&t->rng, 60))
		own_replace(t);
	else
		ops[rng_below(&t->rng, sizeof(ops) / sizeof(ops[0]))](t);
}

void own_close(struct thread *t)
{
	struct own *o = &t->own;

	drop_view(o);
	for (unsigned k = 0; k < OWN_PINS; k++)
		own_drop_pin(o, &o->pins[k]);
	must("hf_close", hf_close(&o->f));
}
