/* The simulated device.
 *
 * The fault model, as simulated (the numbers are those of holdfast/crash.h):
 *
 * 1. A store is a 'delta' per line: bytes and a mask of which. At a crash a delta may be torn: of
 *    its aligned words any subset is there; of a word that it covers in part, any bytes.
 * 2. A line's state at a crash is its durable bytes and, over them in their order, some of its
 *    pending deltas: of the cached ones those up to a moment, the next one torn. With any_order
 *    each word has a moment of its own.
 * 3. A flush appends (line, moment) to its thread's list, a fence takes that list: cached deltas up
 * to the moment go into the durable bytes.
 * 4. A non-temporal delta is on its thread's list from the start, and no flush takes it. Whether it
 * is there at a crash has nothing to do with any other delta's. With nt_stays_cached it is a cached
 *    one where its line has had a cached store before.
 * 5. HF_CRASH_BYTE: cached deltas over the whole device have one order, and at a crash those up to
 * a moment are there (the explorer sees to it); a fence makes all of them durable.
 * 6. HF_CRASH_PAGE: all deltas are cached ones, a flush appends all lines of its pages; a
 * non-temporal store is a cached one and a flush.
 * 7. After kill -9 all deltas are cached ones and every thread's list is empty.
 * 8. A poisoned page's memory is replaced by a mapping that gives SIGBUS; a view still shows it.
 *
 * A later durable delta takes the bytes that it covers away from earlier pending ones: the last
 * store to a byte wins, whatever becomes durable when (memory is coherent).
 *
 * A store that does not change what a load would see makes no delta. */
#include "crash/media.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

static HF_TLS uint32_t thread_id;

/* ---- sets of lines */

static int lineset_init(struct lineset *s, uint64_t nlines)
{
	s->bit = calloc(nlines / 64, sizeof(s->bit[0]));
	s->list = malloc(nlines * sizeof(s->list[0]));
	return s->bit && s->list ? 0 : -ENOMEM;
}

void lineset_add(struct lineset *s, uint64_t no)
{
	uint64_t bit = 1ull << (no % 64);

	if (s->bit[no / 64] & bit)
		return;
	s->bit[no / 64] |= bit;
	s->list[s->n++] = (uint32_t)no;
}

static void lineset_clear(struct lineset *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->bit[s->list[i] / 64] = 0;
	s->n = 0;
}

static void lineset_free(struct lineset *s)
{
	free(s->bit);
	free(s->list);
}

/* ---- pools */

static bool pool_grow(void **array, uint32_t **free_list, uint32_t *cap, size_t size)
{
	uint32_t n = *cap ? *cap * 2 : 256;
	void *a = realloc(*array, n * size);
	uint32_t *f;

	if (a)
		*array = a;
	f = realloc(*free_list, n * sizeof(*f));
	if (f)
		*free_list = f;
	if (!a || !f)
		return false;
	*cap = n;
	return true;
}

static uint32_t delta_new(struct hf_crash_media *m)
{
	if (m->deltas_nfree > 0)
		return m->deltas_free[--m->deltas_nfree];
	if (m->deltas_used == m->deltas_cap &&
	    !pool_grow((void **)&m->deltas, &m->deltas_free, &m->deltas_cap, sizeof(*m->deltas)))
		return DELTA_NONE;
	return m->deltas_used++;
}

static void delta_free(struct hf_crash_media *m, uint32_t d)
{
	m->deltas_free[m->deltas_nfree++] = d;
}

static struct pending_line *line_get(struct hf_crash_media *m, uint64_t no)
{
	uint32_t i;

	if (m->slot[no])
		return &m->lines[m->slot[no] - 1];
	if (m->lines_nfree > 0) {
		i = m->lines_free[--m->lines_nfree];
	} else {
		if (m->lines_used == m->lines_cap && !pool_grow((void **)&m->lines, &m->lines_free,
								&m->lines_cap, sizeof(*m->lines)))
			return NULL;
		i = m->lines_used++;
	}
	m->slot[no] = i + 1;
	m->lines[i] = (struct pending_line){.no = no, .first = DELTA_NONE, .last = DELTA_NONE};
	memcpy(m->lines[i].now, m->base + no * HF_LINE, HF_LINE);
	lineset_add(&m->listed, no);
	return &m->lines[i];
}

static void line_free(struct hf_crash_media *m, struct pending_line *l)
{
	uint32_t i = (uint32_t)(l - m->lines);

	m->slot[l->no] = 0;
	m->lines_free[m->lines_nfree++] = i;
}

const struct pending_line *media_line(const struct hf_crash_media *m, uint64_t no)
{
	return m->slot[no] ? &m->lines[m->slot[no] - 1] : NULL;
}

/* ---- bytes */

static void merge(uint8_t to[HF_LINE], const uint8_t from[HF_LINE], uint64_t mask)
{
	if (mask == ~0ull) {
		memcpy(to, from, HF_LINE);
		return;
	}
	for (; mask; mask &= mask - 1)
		to[__builtin_ctzll(mask)] = from[__builtin_ctzll(mask)];
}

static bool same_bytes(const uint8_t a[HF_LINE], const uint8_t b[HF_LINE], uint64_t mask)
{
	for (; mask; mask &= mask - 1)
		if (a[__builtin_ctzll(mask)] != b[__builtin_ctzll(mask)])
			return false;
	return true;
}

/* Other threads may be storing to other words of the line. */
static void load_line(const struct hf_crash_media *m, uint64_t no, uint8_t out[HF_LINE])
{
	const uint64_t *from = (const uint64_t *)(const void *)(m->mem + no * HF_LINE);

	for (unsigned i = 0; i < HF_LINE / 8; i++) {
		uint64_t word = __atomic_load_n(from + i, __ATOMIC_RELAXED);

		memcpy(out + 8 * i, &word, 8);
	}
}

uint64_t media_line_hash(uint64_t no, const uint8_t line[HF_LINE])
{
	return hash_bytes(line, HF_LINE, hash_mix(no + 1));
}

void media_apply(const struct hf_crash_media *m, uint64_t no, struct choice c, uint8_t out[HF_LINE])
{
	const struct pending_line *l = media_line(m, no);
	uint32_t i = 0, nth_nt = 0;

	memcpy(out, m->base + no * HF_LINE, HF_LINE);
	for (uint32_t d = l ? l->first : DELTA_NONE; d != DELTA_NONE; d = m->deltas[d].next, i++) {
		const struct delta *x = &m->deltas[d];
		bool there = i < c.k, flipped = x->nt && nth_nt < 16 && c.flip >> nth_nt & 1;
		uint64_t mask = there != flipped ? x->mask : 0;

		if (!flipped && (i == c.k || (i > c.k && m->model.any_order)))
			for (unsigned w = 0; w < 8; w++) {
				uint64_t part = x->mask >> (8 * w) & 0xff;

				if (c.words >> w & 1)
					mask |= (part == 0xff ? part : part & c.bytes) << (8 * w);
			}
		merge(out, x->data, mask);
		nth_nt += x->nt;
	}
}

/* ---- becoming durable */

static void base_changed(struct hf_crash_media *m, uint64_t no)
{
	lineset_add(&m->touched, no);
	if (m->copy)
		lineset_add(&m->copy->touched, no);
}

static bool is_durable_now(const struct delta *d, const struct waiting *w)
{
	return w->nt ? d->nt && d->seq == w->seq : !d->nt && d->seq <= w->seq;
}

/* What the events say that a load sees. */
static const uint8_t *line_now(const struct hf_crash_media *m, uint64_t no)
{
	return m->slot[no] ? m->lines[m->slot[no] - 1].now : m->base + no * HF_LINE;
}

/* Bytes that a durable store wrote over are gone from the pending ones before it. */
static void cover(struct hf_crash_media *m, struct pending_line *l, uint32_t until, uint64_t mask)
{
	for (uint32_t d = l->first; d != until; d = m->deltas[d].next)
		m->deltas[d].mask &= ~mask;
}

static void settle_whole(struct hf_crash_media *m, struct pending_line *l)
{
	uint8_t *base = m->base + l->no * HF_LINE;

	m->hash ^= media_line_hash(l->no, base) ^ media_line_hash(l->no, l->now);
	memcpy(base, l->now, HF_LINE);
	base_changed(m, l->no);
	for (uint32_t d = l->first; d != DELTA_NONE; d = m->deltas[d].next)
		delta_free(m, d);
	line_free(m, l);
}

static void settle(struct hf_crash_media *m, const struct waiting *w)
{
	struct pending_line *l = m->slot[w->line] ? &m->lines[m->slot[w->line] - 1] : NULL;
	uint8_t *base = m->base + w->line * HF_LINE;
	bool whole = true;
	uint32_t *link;

	if (!l)
		return;
	for (uint32_t d = l->first; d != DELTA_NONE && whole; d = m->deltas[d].next)
		whole = is_durable_now(&m->deltas[d], w);
	if (whole) {
		settle_whole(m, l);
		return;
	}
	m->hash ^= media_line_hash(w->line, base);
	for (uint32_t d = l->first; d != DELTA_NONE; d = m->deltas[d].next) {
		if (!is_durable_now(&m->deltas[d], w))
			continue;
		merge(base, m->deltas[d].data, m->deltas[d].mask);
		cover(m, l, d, m->deltas[d].mask);
		m->deltas[d].mask = 0;
	}
	m->hash ^= media_line_hash(w->line, base);
	base_changed(m, w->line);
	l->last = DELTA_NONE;
	for (link = &l->first; *link != DELTA_NONE;) {
		uint32_t d = *link;

		if (m->deltas[d].mask) {
			l->last = d;
			link = &m->deltas[d].next;
			continue;
		}
		*link = m->deltas[d].next;
		delta_free(m, d);
		l->n--;
	}
	if (l->n == 0)
		line_free(m, l);
}

/* ---- threads */

static struct media_thread *this_thread(struct hf_crash_media *m)
{
	static _Atomic uint32_t last;
	struct media_thread *t;

	if (thread_id == 0)
		thread_id = ++last;
	for (size_t i = 0; i < m->nthreads; i++) {
		if (m->threads[i].id == 0)
			m->threads[i].id = thread_id;
		if (m->threads[i].id == thread_id)
			return &m->threads[i];
	}
	t = realloc(m->threads, (m->nthreads + 1) * sizeof(*t));
	if (!t)
		return NULL;
	m->threads = t;
	m->threads[m->nthreads] = (struct media_thread){.id = thread_id};
	return &m->threads[m->nthreads++];
}

static void wait_for_fence(struct hf_crash_media *m, uint64_t line, uint64_t seq, bool nt)
{
	struct media_thread *t = this_thread(m);

	if (t && t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		struct waiting *w = realloc(t->w, cap * sizeof(*w));

		if (w) {
			t->w = w;
			t->cap = cap;
		}
	}
	if (!t || t->n == t->cap) {
		m->out_of_memory = true;
		return;
	}
	t->w[t->n++] = (struct waiting){line, seq, nt};
}

static void threads_forget(struct hf_crash_media *m)
{
	for (size_t i = 0; i < m->nthreads; i++)
		m->threads[i].n = m->threads[i].id = 0;
}

/* ---- events */

static bool add_delta(struct hf_crash_media *m, uint64_t no, const struct delta *from)
{
	struct pending_line *l = line_get(m, no);
	uint32_t d = l ? delta_new(m) : DELTA_NONE;

	if (d == DELTA_NONE) {
		m->out_of_memory = true;
		return false;
	}
	m->deltas[d] = *from;
	m->deltas[d].next = DELTA_NONE;
	if (l->last == DELTA_NONE)
		l->first = d;
	else
		m->deltas[l->last].next = d;
	l->last = d;
	l->n++;
	merge(l->now, from->data, from->mask);
	lineset_add(&m->touched, no);
	return true;
}

static void store_line(struct hf_crash_media *m, uint64_t no, uint64_t mask, bool nt)
{
	struct delta d = {.seq = m->seq, .mask = mask, .nt = nt};

	load_line(m, no, d.data);
	if (same_bytes(line_now(m, no), d.data, mask))
		return;
	if (m->model.granularity == HF_CRASH_PAGE)
		d.nt = false;
	if (m->model.nt_stays_cached && lineset_has(&m->cached, no))
		d.nt = false;
	if (!d.nt)
		lineset_add(&m->cached, no);
	if (add_delta(m, no, &d) && d.nt)
		wait_for_fence(m, no, d.seq, true);
}

/* The bytes of line 'no' that lie in [off, off+len). */
static uint64_t line_mask(uint64_t no, uint64_t off, uint64_t len)
{
	uint64_t from = off > no * HF_LINE ? off - no * HF_LINE : 0;
	uint64_t to = min_u64(off + len - no * HF_LINE, HF_LINE);

	return (to - from == 64 ? ~0ull : (1ull << (to - from)) - 1) << from;
}

/* This thread's next fence covers what the lines (or pages) of the range have had. */
static void flush_range(struct hf_crash_media *m, uint64_t off, uint64_t len)
{
	uint64_t unit = m->model.granularity == HF_CRASH_PAGE ? PAGE : HF_LINE;
	uint64_t no = off / unit * (unit / HF_LINE);
	uint64_t end = (off + len + unit - 1) / unit * (unit / HF_LINE);

	for (; no < end && m->model.granularity != HF_CRASH_BYTE; no++)
		if (m->slot[no])
			wait_for_fence(m, no, m->seq, false);
}

static void on_store(void *ctx, moff_t off, uint64_t len, bool nt)
{
	struct hf_crash_media *m = ctx;
	uint64_t last = (off.v + len - 1) / HF_LINE;

	pthread_mutex_lock(&m->mutex);
	m->seq++;
	m->stores++;
	for (uint64_t no = off.v / HF_LINE; no <= last; no++) {
		if (m->light)
			lineset_add(&m->touched, no);
		else
			store_line(m, no, line_mask(no, off.v, len), nt);
	}
	if (nt && !m->light && m->model.granularity == HF_CRASH_PAGE)
		flush_range(m, off.v, len);
	if (m->on_event)
		m->on_event(m->ctx, nt ? MEDIA_STORE_NT : MEDIA_STORE, off.v, len);
	pthread_mutex_unlock(&m->mutex);
}

/* What differs from the last event's bytes, in lines from .. to-1, is a cached store of now. Of
 * aligned 8 bytes in which one differs, all: that is what an atomic store of a program may be. */
static void capture(struct hf_crash_media *m, uint64_t from, uint64_t to)
{
	for (uint64_t no = from; no < to; no++) {
		const uint8_t *want = line_now(m, no);
		uint8_t have[HF_LINE];
		uint64_t mask = 0;

		load_line(m, no, have);
		for (unsigned i = 0; i < HF_LINE; i++)
			if (want[i] != have[i])
				mask |= 0xffull << (i & ~7u);
		if (!mask)
			continue;
		m->seq++;
		store_line(m, no, mask, false);
	}
}

void media_capture(struct hf_crash_media *m)
{
	for (size_t i = 0; i < m->ndirects; i++)
		capture(m, m->directs[i].off / HF_LINE,
			(m->directs[i].off + m->directs[i].len + HF_LINE - 1) / HF_LINE);
}

static int on_flush(void *ctx, moff_t off, uint64_t len)
{
	struct hf_crash_media *m = ctx;

	if (m->light && !m->on_event)
		return 0;
	pthread_mutex_lock(&m->mutex);
	if (m->on_event)
		m->on_event(m->ctx, MEDIA_FLUSH, off.v, len);
	if (m->light)
		goto out;
	m->flushes++;
	media_capture(m);
	flush_range(m, off.v, len);
out:
	pthread_mutex_unlock(&m->mutex);
	return 0;
}

/* eADR: what was executed is durable. */
static void settle_caches(struct hf_crash_media *m)
{
	const uint32_t *list;
	size_t n = media_pending(m, &list);

	for (size_t i = 0; i < n; i++)
		settle(m, &(struct waiting){list[i], m->seq, false});
}

static int on_fence(void *ctx)
{
	struct hf_crash_media *m = ctx;
	struct media_thread *t;

	if (m->light && !m->on_event)
		return 0;
	pthread_mutex_lock(&m->mutex);
	if (m->on_event)
		m->on_event(m->ctx, MEDIA_FENCE, 0, 0);
	if (m->light)
		goto out;
	m->fences++;
	media_capture(m);
	if (m->on_fence)
		m->on_fence(m->ctx, m);
	t = this_thread(m);
	for (size_t i = 0; t && i < t->n; i++)
		settle(m, &t->w[i]);
	if (t)
		t->n = 0;
	if (m->model.granularity == HF_CRASH_BYTE)
		settle_caches(m);
out:
	pthread_mutex_unlock(&m->mutex);
	return 0;
}

/* ---- asking */

size_t media_pending(struct hf_crash_media *m, const uint32_t **list)
{
	struct lineset *s = &m->listed;
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		uint32_t no = s->list[i];

		if (m->slot[no])
			s->list[kept++] = no;
		else
			s->bit[no / 64] &= ~(1ull << (no % 64));
	}
	s->n = kept;
	*list = s->list;
	return kept;
}

static bool is_poisoned(const struct hf_crash_media *m, uint64_t off)
{
	return m->npoisoned > 0 && (m->poisoned[off / PAGE / 64] >> (off / PAGE % 64) & 1);
}

static bool line_stray(const struct hf_crash_media *m, uint64_t no, uint64_t *off)
{
	const uint8_t *want = line_now(m, no), *have = m->mem + no * HF_LINE;

	if (is_poisoned(m, no * HF_LINE))
		return false;
	for (unsigned i = 0; i < HF_LINE; i++)
		if (want[i] != have[i]) {
			*off = no * HF_LINE + i;
			return true;
		}
	return false;
}

bool media_stray(struct hf_crash_media *m, bool everywhere, uint64_t *off)
{
	media_capture(m);
	for (size_t i = 0; i < m->touched.n && !everywhere; i++)
		if (line_stray(m, m->touched.list[i], off))
			return true;
	if (!everywhere)
		return false;
	for (uint64_t at = 0; at < m->bytes; at += PAGE) {
		if (m->poisoned[at / PAGE / 64] >> (at / PAGE % 64) & 1)
			continue;
		if (memcmp(m->mem + at, m->base + at, PAGE) == 0)
			continue;
		for (uint64_t no = at / HF_LINE; no < (at + PAGE) / HF_LINE; no++)
			if (line_stray(m, no, off))
				return true;
	}
	return false;
}

/* ---- copies */

static void set_mem(struct hf_crash_media *m, uint64_t no, const uint8_t line[HF_LINE])
{
	if (!is_poisoned(m, no * HF_LINE))
		memcpy(m->mem + no * HF_LINE, line, HF_LINE);
}

static void drop_pending(struct hf_crash_media *m)
{
	for (size_t i = 0; i < m->listed.n; i++)
		m->slot[m->listed.list[i]] = 0;
	lineset_clear(&m->listed);
	lineset_clear(&m->cached);
	m->lines_used = m->lines_nfree = m->deltas_used = m->deltas_nfree = 0;
	threads_forget(m);
}

void media_copy_base(struct hf_crash_media *to, const struct hf_crash_media *from)
{
	drop_pending(to);
	for (size_t i = 0; i < to->touched.n; i++) {
		uint64_t no = to->touched.list[i];

		memcpy(to->base + no * HF_LINE, from->base + no * HF_LINE, HF_LINE);
		set_mem(to, no, from->base + no * HF_LINE);
	}
	lineset_clear(&to->touched);
	to->hash = from->hash;
}

void media_copy_line(struct hf_crash_media *to, uint64_t no, const uint8_t line[HF_LINE])
{
	uint8_t *base = to->base + no * HF_LINE;

	to->hash ^= media_line_hash(no, base) ^ media_line_hash(no, line);
	memcpy(base, line, HF_LINE);
	set_mem(to, no, line);
	lineset_add(&to->touched, no);
}

void media_copy_pending(struct hf_crash_media *to, struct hf_crash_media *from)
{
	const uint32_t *list;
	size_t n = media_pending(from, &list);

	to->seq = from->seq;
	for (size_t i = 0; i < n; i++) {
		const struct pending_line *l = media_line(from, list[i]);
		uint8_t all[HF_LINE];

		for (uint32_t d = l->first; d != DELTA_NONE; d = from->deltas[d].next) {
			struct delta x = from->deltas[d];

			x.nt = false;
			add_delta(to, list[i], &x);
		}
		media_apply(from, list[i], CHOICE_ALL, all);
		set_mem(to, list[i], all);
	}
}

/* With eADR the cached stores of all lines have one order. */
struct choice media_choose_until(const struct hf_crash_media *m, uint64_t no, uint64_t seq,
				 uint16_t drop)
{
	const struct pending_line *l = media_line(m, no);
	struct choice c = CHOICE_NONE;
	unsigned nth_nt = 0;

	for (uint32_t d = l ? l->first : DELTA_NONE; d != DELTA_NONE; d = m->deltas[d].next) {
		if (m->deltas[d].seq > seq)
			break;
		c.k++;
		if (m->deltas[d].nt && nth_nt < 16)
			c.flip |= (uint16_t)(drop & 1u << nth_nt++);
	}
	if (l && c.k == l->n)
		c.k = UINT32_MAX;
	return c;
}

void media_fail_in_place(struct hf_crash_media *m, uint64_t seed)
{
	const uint32_t *list;
	size_t n = media_pending(m, &list);
	uint64_t until = m->seq;

	/* Numbers of stores only rise; the pending ones are the last few. */
	for (size_t i = 0; i < n; i++)
		until = min_u64(until, m->deltas[media_line(m, list[i])->first].seq);
	until += hash_mix2(seed, 1) % (m->seq - until + 2) - 1;
	for (size_t i = 0; i < n; i++) {
		uint64_t no = list[i];
		struct choice c = media_choose(m, no, hash_mix2(seed, no + 2));
		uint8_t line[HF_LINE];

		if (m->model.granularity == HF_CRASH_BYTE)
			c = media_choose_until(m, no, until, (uint16_t)hash_mix2(seed, ~no));
		media_apply(m, no, c, line);
		media_copy_line(m, no, line);
		if (m->copy)
			lineset_add(&m->copy->touched, no);
	}
	drop_pending(m);
}

void media_kill_in_place(struct hf_crash_media *m)
{
	for (uint32_t d = 0; d < m->deltas_used; d++)
		m->deltas[d].nt = false;
	threads_forget(m);
}

void media_settle_all(struct hf_crash_media *m)
{
	const uint32_t *list;
	size_t n = media_pending(m, &list);

	media_kill_in_place(m);
	for (size_t i = 0; i < n; i++)
		settle(m, &(struct waiting){list[i], UINT64_MAX, false});
}

void media_light_begin(struct hf_crash_media *m)
{
	media_settle_all(m);
	m->light = true;
}

void media_light_end(struct hf_crash_media *m)
{
	m->light = false;
	for (size_t i = 0; i < m->touched.n; i++) {
		uint64_t no = m->touched.list[i];
		uint8_t *base = m->base + no * HF_LINE;

		if (memcmp(base, m->mem + no * HF_LINE, HF_LINE) == 0)
			continue;
		m->hash ^= media_line_hash(no, base);
		memcpy(base, m->mem + no * HF_LINE, HF_LINE);
		m->hash ^= media_line_hash(no, base);
		if (m->copy)
			lineset_add(&m->copy->touched, no);
	}
}

/* ---- life */

/* fd -1: anonymous memory. */
static uint8_t *map_memory(int fd, uint64_t bytes)
{
	int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	uint8_t *raw = mmap(NULL, bytes + HF_FRAME_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t head;

	if (raw == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)raw % HF_FRAME_SIZE;
	if (head)
		munmap(raw, head);
	if (head < HF_FRAME_SIZE)
		munmap(raw + head + bytes, HF_FRAME_SIZE - head);
	if (mmap(raw + head, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		munmap(raw + head, bytes);
		return NULL;
	}
	madvise(raw + head, bytes, MADV_HUGEPAGE);
	return raw + head;
}

/* Views map the memory once more. */
static int map_mem(struct hf_crash_media *m)
{
	m->mem_fd = memfd_create("holdfast-crash", MFD_CLOEXEC);
	if (m->mem_fd < 0 || ftruncate(m->mem_fd, (off_t)m->bytes) != 0)
		return -ENOMEM;
	m->mem = map_memory(m->mem_fd, m->bytes);
	m->base = map_memory(-1, m->bytes);
	return m->mem && m->base ? 0 : -ENOMEM;
}

int media_open_pm(struct hf_crash_media *m, struct pm **out)
{
	static const enum pm_gran gran[] = {PM_LINE, PM_BYTE, PM_PAGE};
	struct pm_open_args args = {.force_gran = true,
				    .gran = gran[m->model.granularity],
				    .hook = &m->hook,
				    .no_threads = true};

	int err = pm_open_memory(m->mem, m->bytes, &args, out);

	if (err)
		return err;
	(*out)->member[0].fd = fcntl(m->mem_fd, F_DUPFD_CLOEXEC, 3);
	if ((*out)->member[0].fd >= 0)
		return 0;
	pm_close(out);
	return err_set(-EMFILE, "crash: no descriptor for a simulated device");
}

static int media_init(struct hf_crash_media *m)
{
	int err;

	err = map_mem(m);
	m->slot = calloc(m->nlines, sizeof(m->slot[0]));
	m->poisoned = calloc(m->bytes / PAGE / 64, sizeof(m->poisoned[0]));
	if (!m->slot || !m->poisoned)
		err = -ENOMEM;
	if (!err)
		err = lineset_init(&m->listed, m->nlines);
	if (!err)
		err = lineset_init(&m->touched, m->nlines);
	if (!err)
		err = lineset_init(&m->cached, m->nlines);
	if (err)
		return err_set(err, "no memory for a simulated device of %llu bytes",
			       (unsigned long long)m->bytes);
	m->hook =
	    (struct pm_hook){.ctx = m, .store = on_store, .flush = on_flush, .fence = on_fence};
	return media_open_pm(m, &m->pm);
}

int media_new(struct hf_crash_media **out, uint64_t bytes, const struct hf_crash_model *model)
{
	struct hf_crash_media *m = calloc(1, sizeof(*m));
	int err;

	*out = NULL;
	if (!m)
		return err_set(-ENOMEM, "no memory for a simulated device");
	m->bytes = max_u64(round_up_u64(bytes, HF_FRAME_SIZE), 2ull * HF_FRAME_SIZE);
	m->nlines = m->bytes / HF_LINE;
	m->mem_fd = m->poison_fd = -1;
	if (model)
		m->model = *model;
	pthread_mutex_init(&m->mutex, NULL);
	err = media_init(m);
	if (err)
		media_delete(&m);
	*out = m;
	return err;
}

void media_delete(struct hf_crash_media **mp)
{
	struct hf_crash_media *m = *mp;

	*mp = NULL;
	if (!m)
		return;
	pm_close(&m->pm);
	if (m->mem)
		munmap(m->mem, m->bytes);
	if (m->base)
		munmap(m->base, m->bytes);
	if (m->mem_fd >= 0)
		close(m->mem_fd);
	if (m->poison_fd >= 0)
		close(m->poison_fd);
	for (size_t i = 0; i < m->nthreads; i++)
		free(m->threads[i].w);
	free(m->threads);
	free(m->directs);
	free(m->poisoned);
	free(m->slot);
	free(m->lines);
	free(m->lines_free);
	free(m->deltas);
	free(m->deltas_free);
	lineset_free(&m->listed);
	lineset_free(&m->touched);
	lineset_free(&m->cached);
	pthread_mutex_destroy(&m->mutex);
	free(m);
}

uint64_t media_bytes_hash(const uint8_t *bytes, uint64_t len)
{
	static const uint8_t zeros[HF_LINE];
	uint64_t hash = 0;

	for (uint64_t no = 0; no < len / HF_LINE; no++)
		if (memcmp(bytes + no * HF_LINE, zeros, HF_LINE) != 0)
			hash ^=
			    media_line_hash(no, bytes + no * HF_LINE) ^ media_line_hash(no, zeros);
	return hash;
}

uint64_t media_kill_hash(struct hf_crash_media *m)
{
	const uint32_t *list;
	size_t n = media_pending(m, &list);
	uint64_t hash = m->hash;

	for (size_t i = 0; i < n; i++) {
		uint64_t of_line = list[i];

		for (uint32_t d = media_line(m, list[i])->first; d != DELTA_NONE;
		     d = m->deltas[d].next)
			of_line = hash_bytes(m->deltas[d].data, HF_LINE,
					     hash_mix2(of_line, m->deltas[d].mask));
		hash ^= hash_mix(of_line);
	}
	return hash;
}

void media_reset(struct hf_crash_media *m)
{
	static const uint8_t zeros[HF_LINE];

	if (m->npoisoned)
		hf_crash_poison(m, 0, m->bytes, false);
	drop_pending(m);
	for (size_t i = 0; i < m->touched.n; i++) {
		uint64_t no = m->touched.list[i];
		const uint8_t *line = m->origin ? m->origin + no * HF_LINE : zeros;

		memcpy(m->base + no * HF_LINE, line, HF_LINE);
		set_mem(m, no, line);
		if (m->copy)
			lineset_add(&m->copy->touched, no);
	}
	lineset_clear(&m->touched);
	m->ndirects = 0;
	m->hash = m->origin_hash;
	m->seq = m->stores = m->flushes = m->fences = 0;
	m->light = m->out_of_memory = false;
}

void media_set_origin(struct hf_crash_media *m, const uint8_t *bytes, uint64_t hash)
{
	if (m->origin != bytes)
		for (uint64_t no = 0; no < m->nlines; no++)
			lineset_add(&m->touched, no);
	m->origin = bytes;
	m->origin_hash = hash;
	media_reset(m);
}
