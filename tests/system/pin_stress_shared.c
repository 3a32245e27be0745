/* Files that all threads use at once: what any of them shows is a stamp of it, or zeros. */
#include "pin_stress.h"

#include <linux/falloc.h>

struct hf_how how_random(struct thread *t)
{
	struct hf_how h = {.struct_size = sizeof(h)};

	h.pinned = (enum hf_pinned)rng_below(&t->rng, 3);
	h.timeout_ns = rng_below(&t->rng, 3) * 500000;
	return h;
}

static void name_of(uint64_t i, char out[32])
{
	snprintf(out, 32, "/n%u", (unsigned)(i % NAMES));
}

/* False: there is none by that name. */
static bool open_name(struct thread *t, uint64_t i, struct shared *out, unsigned flags)
{
	struct hf_stat st;
	char name[32];

	name_of(i, name);
	if (may(t, "hf_open", hf_open(vol, name, flags, 0644, &out->f)))
		return false;
	must("hf_fstat", hf_fstat(out->f, &st));
	out->ident = stamp_ident(&st);
	out->shift = i % 2;
	out->size = st.size;
	return true;
}

bool shared_open(struct thread *t, struct shared *out, unsigned flags)
{
	return open_name(t, rng_below(&t->rng, NAMES), out, flags);
}

void shared_close(struct shared *s)
{
	must("hf_close", hf_close(&s->f));
}

static void pick_range(struct thread *t, uint64_t *off, uint64_t *len)
{
	static const unsigned sizes[] = {1, 1, 2, 8, 32, 150, 512, 700};

	*len = BLOCK * (1 + rng_below(&t->rng, sizes[rng_below(&t->rng, 8)]));
	*off = rng_one_in(&t->rng, 4) ? FRAME * rng_below(&t->rng, 3)
				      : BLOCK * rng_below(&t->rng, SHARED_MAX / BLOCK);
	if (*off + *len > SHARED_MAX)
		*off = SHARED_MAX - *len;
}

/* Not always whole blocks: the edges then are somebody else's, or new. */
static void do_write(struct thread *t, struct shared *s)
{
	uint64_t off, len;

	pick_range(t, &off, &len);
	if (rng_one_in(&t->rng, 3)) {
		off += 8 * rng_below(&t->rng, WORDS);
		len -= 8 * rng_below(&t->rng, WORDS);
		if (off + len > SHARED_MAX)
			len = SHARED_MAX - off;
	}
	stamp_fill(t->buf, len, off, s->ident, rng_next(&t->rng));
	may(t, "hf_pwrite", hf_pwrite(s->f, t->buf, len, off));
}

static void do_read(struct thread *t, struct shared *s)
{
	uint64_t off, len;
	ssize_t got;

	pick_range(t, &off, &len);
	got = may(t, "hf_pread", hf_pread(s->f, t->buf, len, off));
	if (got > 0)
		stamp_check("hf_pread", t->buf, (uint64_t)got, off, s->ident, s->shift);
}

static void do_truncate(struct thread *t, struct shared *s)
{
	struct hf_how how = how_random(t);
	uint64_t size = rng_one_in(&t->rng, 4) ? 0 : 8 * rng_below(&t->rng, SHARED_MAX / 8);

	may(t, "hf_ftruncate_how", hf_ftruncate_how(s->f, size, &how));
}

/* A file that is shifted may not grow beyond what a stamp can name. */
static void do_fallocate(struct thread *t, struct shared *s)
{
	static const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				    0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_COLLAPSE_RANGE,
				    FALLOC_FL_INSERT_RANGE};
	int mode = modes[rng_below(&t->rng, s->shift ? 8 : 6)];
	struct hf_how how = how_random(t);
	uint64_t off, len;

	pick_range(t, &off, &len);
	if (mode == FALLOC_FL_INSERT_RANGE && s->size + len > SHARED_MAX)
		return;
	if (mode != FALLOC_FL_COLLAPSE_RANGE && mode != FALLOC_FL_INSERT_RANGE) {
		off += rng_one_in(&t->rng, 4) ? 8 * rng_below(&t->rng, WORDS) : 0;
		len -= rng_one_in(&t->rng, 4) ? 8 * rng_below(&t->rng, WORDS) : 0;
		len = off + len > SHARED_MAX ? SHARED_MAX - off : len;
	}
	may(t, "hf_fallocate_how", hf_fallocate_how(s->f, mode, off, len, &how));
}

static void do_names(struct thread *t)
{
	struct hf_how how = how_random(t);
	uint64_t i = rng_below(&t->rng, NAMES);
	char a[32], b[32];
	struct shared s;

	name_of(i, a);
	name_of(i + 2 * rng_below(&t->rng, NAMES / 2), b); /* of the same kind */
	switch (rng_below(&t->rng, 6)) {
	case 0:
		may(t, "hf_unlink_how", hf_unlink_how(vol, a, &how));
		break;
	case 1:
		may(t, "hf_rename_how",
		    hf_rename_how(vol, a, b, rng_one_in(&t->rng, 3) ? HF_RENAME_EXCHANGE : 0,
				  &how));
		break;
	case 2:
		may(t, "hf_link", hf_link(vol, a, b));
		break;
	case 3:
		may(t, "hf_truncate_how", hf_truncate_how(vol, a, 0, &how));
		break;
	default:
		if (open_name(t, i, &s, HF_O_RDWR | HF_O_CREAT)) {
			do_write(t, &s);
			shared_close(&s);
		}
	}
}

void shared_random(struct thread *t)
{
	struct shared s;

	if (rng_one_in(&t->rng, 4)) {
		do_names(t);
		return;
	}
	if (!shared_open(t, &s, HF_O_RDWR))
		return;
	switch (rng_below(&t->rng, 12)) {
	case 0 ... 3:
		do_write(t, &s);
		break;
	case 4 ... 5:
		do_read(t, &s);
		break;
	case 6 ... 7:
		do_truncate(t, &s);
		break;
	case 8:
		may(t, "hf_fsync", hf_fsync(s.f));
		break;
	default:
		do_fallocate(t, &s);
	}
	shared_close(&s);
}

/* ---- views of them: one at a time for each thread, over several steps. The file may be unlinked
 * meanwhile. */

void seen_drop(struct thread *t)
{
	struct seen *v = &t->seen;

	if (!v->view)
		return;
	must("hf_view_unmap", hf_view_unmap(&v->view));
	shared_close(&v->s);
}

static void seen_open(struct thread *t)
{
	struct seen *v = &t->seen;
	struct hf_view_options o = {.struct_size = sizeof(o)};
	void *at;

	if (!shared_open(t, &v->s, HF_O_RDWR))
		return;
	v->write = rng_one_in(&t->rng, 2);
	v->off = FRAME * rng_below(&t->rng, 2);
	v->len = FRAME * 2;
	o.prot = v->write ? HF_VIEW_READ | HF_VIEW_WRITE : HF_VIEW_READ;
	o.pin_wait_ns = rng_below(&t->rng, 2) * 300000;
	must("hf_view_map", hf_view_map(v->s.f, v->off, v->len, &o, &at, &v->view));
	v->at = at;
}

/* The rest of a page beyond the end of file shows zeros, or what the file once had there. */
static void seen_load(struct thread *t, uint64_t at, uint64_t len)
{
	struct seen *v = &t->seen;
	uint64_t got = touch_load((const word_t *)(const void *)(v->at + at), t->buf, len);

	t->refused += got < len;
	stamp_check("a view", t->buf, got, v->off + at, v->s.ident, v->s.shift);
}

static void seen_store(struct thread *t, uint64_t at, uint64_t len)
{
	struct seen *v = &t->seen;

	if (!v->write)
		return;
	stamp_fill(t->buf, len, v->off + at, v->s.ident, rng_next(&t->rng));
	t->refused += touch_store((word_t *)(void *)(v->at + at), t->buf, len) < len;
}

/* A buffer of the library's own calls that lies in the view: read into where the bytes belong, or
 * written from there. */
static void seen_buffer(struct thread *t, uint64_t at, uint64_t len)
{
	struct seen *v = &t->seen;

	if (v->write && rng_one_in(&t->rng, 2))
		may(t, "hf_pread into a view", hf_pread(v->s.f, v->at + at, len, v->off + at));
	else if (!v->s.shift)
		may(t, "hf_pwrite from a view", hf_pwrite(v->s.f, v->at + at, len, v->off + at));
}

void seen_random(struct thread *t)
{
	struct seen *v = &t->seen;
	uint64_t at = BLOCK * rng_below(&t->rng, 2 * FRAME / BLOCK - 16),
		 len = BLOCK * (1 + rng_below(&t->rng, 16));

	if (!v->view) {
		seen_open(t);
		return;
	}
	t->ops++;
	switch (rng_below(&t->rng, 12)) {
	case 0:
		seen_drop(t);
		break;
	case 1:
		may(t, "hf_view_populate", hf_view_populate(v->view, at, len, v->write));
		break;
	case 2:
		must("hf_view_persist", hf_view_persist(v->view, at, len));
		break;
	case 3:
		seen_buffer(t, at, len);
		break;
	case 4 ... 6:
		seen_store(t, at, len);
		break;
	default:
		seen_load(t, at, len);
	}
}
