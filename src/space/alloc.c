/* The search.
 *
 * Whole free frames are the scarce good. Small allocations fill frames that are partly used, the
 * fullest first, and open a whole one only if no partial one that is looked at has a run of the
 * wanted length *and* little of the free space is in partial frames; otherwise they take a shorter
 * run. That bounds the part of the free space that is not in whole frames, whatever the lengths of
 * the holes.
 *
 * Each search is one in a window of frames: first in those that are preferred, then in all. A window
 * may begin and end inside a group. */
#include "space/internal.h"

#define ALLOC_LARGE	 64u /* from here on a frame of its own is no waste */
#define ALLOC_LOOKS	 6u  /* partial frames looked at per allocation */
#define ALLOC_RUNS	 64u /* runs of whole frames looked at per group */
#define ALLOC_LOOSE_PART 64u /* so small a part of the free space may be in partial frames, */
#define ALLOC_LOOSE_MOST 32u /* and from here on the shortest run is welcome */
#define ALLOC_SHORTEST	 8u  /* ALLOC_SHORT takes no run below this part of the wanted one */
#define ALLOC_NEAR	 8u

/* Which group this thread allocated from last, for the last few spaces that it used. */
static HF_TLS struct {
	uint64_t id;
	uint32_t group;
} alloc_near[ALLOC_NEAR];

enum alloc_how {
	ALLOC_GOOD,  /* a run of the wanted length in a partial frame */
	ALLOC_SHORT, /* the longest of a few runs in partial frames, unless it is very short */
	ALLOC_FRESH, /* the start of a whole frame */
	ALLOC_ANY,   /* whatever there is, the longest of a few runs */
};

struct alloc_req {
	uint64_t want; /* blocks, or frames */
	unsigned int flags;
	uint64_t hint; /* block, or frame; 0: none. In the window */
	struct window in;
};

struct alloc_run {
	uint64_t f;
	unsigned int pos, len;
	unsigned int avail; /* of the frame */
};

static uint32_t alloc_near_get(struct space *s)
{
	unsigned int i = s->id % ALLOC_NEAR;

	if (alloc_near[i].id != s->id) {
		uint32_t nth = atomic_fetch_add(&s->threads, 1);

		/* Far apart: 5/8 of the way round is prime to it for a power of two. */
		alloc_near[i].group =
		    (uint32_t)((uint64_t)nth * (s->ngroups * 5 / 8 | 1) % s->ngroups);
		alloc_near[i].id = s->id;
	}
	return alloc_near[i].group;
}

static void alloc_near_set(struct space *s, uint32_t group)
{
	alloc_near[s->id % ALLOC_NEAR].group = group;
}

/* ---- windows */

static struct window alloc_window(const struct space *s, uint64_t first, uint64_t end)
{
	uint32_t group = (uint32_t)(first >> s->group_shift);

	return (struct window){first, end, group,
			       (uint32_t)((end - 1) >> s->group_shift) + 1 - group};
}

static struct window alloc_everywhere(const struct space *s)
{
	return (struct window){0, s->geo->nframes, 0, s->ngroups};
}

void space_prefer(struct space *s, frame_t first, uint64_t n)
{
	HF_ASSERT(n > 0 && first.v + n <= s->geo->nframes && s->nprefer < PM_MEMBERS_MAX);
	s->prefer[s->nprefer++] = alloc_window(s, first.v, first.v + n);
}

/* The first frame with a bit at or behind 'rel' that is in the window; counted from the group's. */
static uint64_t alloc_next(const struct bits *b, const struct group *g, const struct window *in,
			   uint64_t rel)
{
	if (g->first + rel < in->first)
		rel = in->first - g->first;
	rel = bits_next(b, rel);
	return rel != BITS_NONE && g->first + rel < in->end ? rel : BITS_NONE;
}

/* The group to begin with, and the i-th behind it. */
static uint32_t alloc_nth_group(const struct window *in, uint32_t from, uint32_t i)
{
	return in->group + (from - in->group + i) % in->ngroups;
}

static uint32_t alloc_from(struct space *s, const struct alloc_req *req, uint64_t near)
{
	uint32_t from = req->hint ? (uint32_t)(near >> s->group_shift) : alloc_near_get(s);
	const struct window *in = &req->in;

	return from >= in->group && from - in->group < in->ngroups
		   ? from
		   : in->group + from % in->ngroups;
}

/* ---- how much may be taken */

static uint64_t alloc_kept_back(const struct space *s, unsigned int flags)
{
	if (flags & SPACE_RESERVE)
		return 0;
	return flags & SPACE_META ? s->reserve : s->reserve + s->meta;
}

/* How many of 'want' blocks g may give; *low: s->low is locked, until the blocks are counted as
 * taken.
 *
 * While g alone keeps more than is kept back, nothing else matters. Else the groups are added up,
 * by one thread at a time; whoever takes without adding up leaves enough in his own group, so the
 * sum stays right while it is used. */
static uint64_t alloc_room(struct space *s, struct group *g, uint64_t want, unsigned int flags,
			   bool *low)
{
	uint64_t keep = alloc_kept_back(s, flags), sum = 0;

	*low = false;
	if (keep == 0 || count_get(&g->free) >= keep + want)
		return want;
	*low = true;
	mtx_lock(&s->low);
	for (uint32_t i = 0; i < s->ngroups; i++)
		sum += count_get(&s->groups[i].free);
	return sum > keep ? min_u64(want, sum - keep) : 0;
}

static void alloc_room_end(struct space *s, bool low)
{
	if (low)
		mtx_unlock(&s->low);
}

/* ---- in one group */

/* The first run of 'want' in 'avail', else the longest one. */
static void alloc_find_run(const uint64_t avail[LINE_WORDS], unsigned int want,
			   struct alloc_run *out)
{
	unsigned int pos = 0, start = 0, len = 0;

	out->len = 0;
	while (pos < HF_BLOCKS_PER_FRAME && out->len < want) {
		uint64_t word = avail[pos / 64] >> (pos % 64);
		unsigned int left = 64 - pos % 64, step;

		if (len == 0) { /* outside of a run: to the next free block */
			step = word ? (unsigned int)__builtin_ctzll(word) : left;
			pos += step;
			start = pos;
			if (!word)
				continue;
			word = avail[pos / 64] >> (pos % 64);
			left = 64 - pos % 64;
		}
		step = ~word ? (unsigned int)__builtin_ctzll(~word) : 64;
		step = step < left ? step : left;
		len += step;
		pos += step;
		if (len > out->len) {
			out->pos = start;
			out->len = len;
		}
		if (step < left)
			len = 0; /* the run ended inside the word */
	}
	if (out->len > want)
		out->len = want;
}

/* Looks into partial frame f; keeps the longer run. */
static void alloc_look(const struct space *s, const struct group *g, uint64_t f, unsigned int want,
		       struct alloc_run *best)
{
	uint64_t avail[LINE_WORDS];
	struct alloc_run r = {.f = f};

	r.avail = frames_avail_locked(s, g, f, avail);
	if (r.avail == 0 || r.avail == HF_BLOCKS_PER_FRAME || r.avail <= best->len)
		return;
	alloc_find_run(avail, want, &r);
	if (r.len > best->len)
		*best = r;
}

/* The i-th class to look at: from the fullest frames that may have a run of 'want' to the emptiest,
 * and then those that are too full for it, the emptiest first. */
static unsigned int alloc_nth_class(unsigned int i, unsigned int fit)
{
	return fit + i < FRAMES_CLASSES ? fit + i : FRAMES_CLASSES - 1 - i;
}

/* A few of the partial frames of g. */
static void alloc_look_partial(const struct space *s, struct group *g, const struct window *in,
			       unsigned int want, bool short_too, struct alloc_run *best)
{
	unsigned int fit = frames_class(min_u64(want, HF_BLOCKS_PER_FRAME - 1)), looks = 0;
	unsigned int classes = short_too ? FRAMES_CLASSES : FRAMES_CLASSES - fit;

	for (unsigned int i = 0; i < classes && looks < ALLOC_LOOKS; i++) {
		unsigned int class = alloc_nth_class(i, fit);
		uint64_t rel = 0;

		for (unsigned int k = 0; k < 2; k++, rel++) {
			rel = alloc_next(&g->part[class], g, in, rel);
			if (rel == BITS_NONE)
				break;
			alloc_look(s, g, g->first + rel, want, best);
			looks++;
			if (best->len >= want)
				return;
		}
	}
}

/* A whole frame at or behind 'near', else any. */
static bool alloc_look_fresh(const struct space *s, struct group *g, const struct window *in,
			     uint64_t near, unsigned int want, struct alloc_run *best)
{
	uint64_t rel = BITS_NONE;

	if (near >= g->first && near < g->first + g->nframes)
		rel = alloc_next(&g->whole, g, in, near - g->first);
	if (rel == BITS_NONE)
		rel = alloc_next(&g->whole, g, in, 0);
	if (rel == BITS_NONE || frames_zero_lines_locked(s, g, g->first + rel, 1) == 0)
		return false;
	*best = (struct alloc_run){.f = g->first + rel, .len = want, .avail = HF_BLOCKS_PER_FRAME};
	return true;
}

static void alloc_search_locked(struct space *s, struct group *g, const struct alloc_req *req,
				unsigned int want, enum alloc_how how, struct alloc_run *best)
{
	uint64_t near = req->hint / HF_BLOCKS_PER_FRAME;

	best->len = 0;
	if (how == ALLOC_FRESH) {
		alloc_look_fresh(s, g, &req->in, near, want, best);
		return;
	}
	if (req->hint && space_group_of(s, near) == g)
		alloc_look(s, g, near, want, best);
	if (best->len < want && g->cur >= req->in.first && g->cur < req->in.end &&
	    want < ALLOC_LARGE)
		alloc_look(s, g, g->cur, want, best);
	if (best->len < want)
		alloc_look_partial(s, g, &req->in, want, how != ALLOC_GOOD, best);
	if (how == ALLOC_ANY && best->len == 0)
		alloc_look_fresh(s, g, &req->in, near, want, best);
	if ((how == ALLOC_GOOD && best->len < want) ||
	    (how == ALLOC_SHORT && best->len < want / ALLOC_SHORTEST))
		best->len = 0;
}

static void alloc_take_locked(struct space *s, struct group *g, const struct alloc_run *r)
{
	if (r->len == HF_BLOCKS_PER_FRAME) {
		frames_take_whole_locked(s, g, r->f, 1);
		return;
	}
	frames_take_blocks_locked(s, g, r->f, r->pos, r->len, r->avail);
	if (r->len < ALLOC_LARGE && r->len < r->avail)
		g->cur = r->f;
}

/* Takes one run in g. 0, -ENOSPC, -ENOMEM. */
static int alloc_in_group(struct space *s, struct group *g, const struct alloc_req *req,
			  enum alloc_how how, struct mext *out)
{
	struct alloc_run best = {0};
	int err = -ENOSPC;
	uint64_t want;
	bool low;

	if (count_get(how == ALLOC_FRESH ? &g->whole_frames : &g->free) == 0)
		return -ENOSPC;
	mtx_lock(&g->lock);
	busy_drain_locked(s, g, 8);
	want = alloc_room(s, g, req->want, req->flags, &low);
	if (want > 0)
		alloc_search_locked(s, g, req, (unsigned int)want, how, &best);
	if (best.len > 0)
		err = frames_reserve_locked(g);
	if (!err)
		alloc_take_locked(s, g, &best);
	alloc_room_end(s, low);
	mtx_unlock(&g->lock);
	*out = (struct mext){MBLK(best.f * HF_BLOCKS_PER_FRAME + best.pos), best.len};
	return err;
}

/* The run that begins at the hint. Small wants do not open a whole frame this way, unless they
 * must. */
static int alloc_at_hint(struct space *s, const struct alloc_req *req, struct mext *out)
{
	uint64_t f = req->hint / HF_BLOCKS_PER_FRAME;
	struct group *g = space_group_of(s, f);
	struct alloc_run r = {.f = f, .pos = (unsigned int)(req->hint % HF_BLOCKS_PER_FRAME)};
	bool part = req->want < HF_BLOCKS_PER_FRAME && !(req->flags & SPACE_EXACT);
	uint64_t avail[LINE_WORDS], want;
	int err = -ENOSPC;
	bool low;

	mtx_lock(&g->lock);
	want = alloc_room(s, g, req->want, req->flags, &low);
	r.avail = frames_avail_locked(s, g, f, avail);
	if (part && r.avail == HF_BLOCKS_PER_FRAME)
		want = 0;
	while (r.len < want && r.pos + r.len < HF_BLOCKS_PER_FRAME &&
	       avail[(r.pos + r.len) / 64] >> ((r.pos + r.len) % 64) & 1)
		r.len++;
	if (r.len > 0)
		err = frames_reserve_locked(g);
	if (!err)
		alloc_take_locked(s, g, &r);
	alloc_room_end(s, low);
	mtx_unlock(&g->lock);
	*out = (struct mext){MBLK(req->hint), r.len};
	return err;
}

/* ---- over the groups */

/* How to go on where no partial frame had a run of the wanted length; *most: the group that has
 * most of the free blocks that are not in whole frames. */
static enum alloc_how alloc_loose(const struct space *s, const struct window *in, uint32_t *most)
{
	uint64_t free_sum = 0, loose_sum = 0, best = 0;

	for (uint32_t i = in->group; i < in->group + in->ngroups; i++) {
		uint64_t n = count_get(&s->groups[i].free);
		uint64_t whole = count_get(&s->groups[i].whole_frames) * HF_BLOCKS_PER_FRAME;
		uint64_t loose = n > whole ? n - whole : 0;

		free_sum += n;
		loose_sum += loose;
		if (loose > best) {
			best = loose;
			*most = i;
		}
	}
	if (loose_sum > free_sum / ALLOC_LOOSE_MOST)
		return ALLOC_ANY;
	return loose_sum > free_sum / ALLOC_LOOSE_PART ? ALLOC_SHORT : ALLOC_FRESH;
}

static int alloc_rotate(struct space *s, uint32_t from, const struct alloc_req *req,
			enum alloc_how how, struct mext *out)
{
	for (uint32_t i = 0; i < req->in.ngroups; i++) {
		uint32_t at = alloc_nth_group(&req->in, from, i);
		int err = alloc_in_group(s, &s->groups[at], req, how, out);

		if (!err && !req->hint)
			alloc_near_set(s, at);
		if (err != -ENOSPC)
			return err;
	}
	return -ENOSPC;
}

static int alloc_blocks_in(struct space *s, const struct alloc_req *req, struct mext *out)
{
	uint32_t from = alloc_from(s, req, req->hint / HF_BLOCKS_PER_FRAME);
	uint32_t most = from;
	int err = -ENOSPC;

	if (req->hint) {
		err = alloc_at_hint(s, req, out);
		if (err != -ENOSPC || req->flags & SPACE_EXACT)
			return err;
	}
	if (req->want < HF_BLOCKS_PER_FRAME) {
		enum alloc_how how = ALLOC_FRESH;

		err = alloc_in_group(s, &s->groups[from], req, ALLOC_GOOD, out);
		if (err == -ENOSPC)
			how = alloc_loose(s, &req->in, &most);
		if (how != ALLOC_FRESH)
			err = alloc_in_group(s, &s->groups[most], req, how, out);
		if (!err && !req->hint)
			alloc_near_set(s, most);
	}
	if (err == -ENOSPC)
		err = alloc_rotate(s, from, req, ALLOC_FRESH, out);
	if (err == -ENOSPC)
		err = alloc_rotate(s, from, req, ALLOC_ANY, out);
	return err;
}

/* ---- whole frames */

/* Takes up to n free frames from f on, all of one group. Returns how many, or a negative errno. */
static int64_t alloc_take_frames_locked(struct space *s, struct group *g,
					const struct alloc_req *req, uint64_t f, uint64_t n)
{
	uint64_t room;
	bool low;
	int err = frames_reserve_locked(g);

	if (err)
		return err;
	n = min_u64(n, req->in.end - f);
	room = alloc_room(s, g, n * HF_BLOCKS_PER_FRAME, req->flags, &low) / HF_BLOCKS_PER_FRAME;
	n = min_u64(n, bits_run(&g->whole, f - g->first, min_u64(n, room)));
	n = frames_zero_lines_locked(s, g, f, n);
	if (n > 0)
		frames_take_whole_locked(s, g, f, n);
	alloc_room_end(s, low);
	return (int64_t)n;
}

/* How many frames right behind g are free, by groups that are free as a whole. */
static uint64_t alloc_free_behind(const struct space *s, const struct group *g, uint64_t enough)
{
	uint64_t n = 0;

	for (const struct group *b = g + 1; b < s->groups + s->ngroups && n < enough; b++) {
		if (count_get(&b->whole_frames) != b->nframes)
			break;
		n += b->nframes;
	}
	return n;
}

/* The first run of at least 'want' frames in g, else the longest of those looked at. Returns its
 * length. */
static uint64_t alloc_find_frames_locked(const struct space *s, const struct group *g,
					 const struct alloc_req *req, uint64_t *at)
{
	uint64_t rel, best = 0, near = req->hint, want = req->want;
	unsigned int runs = 0;

	rel = near >= g->first && near < g->first + g->nframes
		  ? alloc_next(&g->whole, g, &req->in, near - g->first)
		  : BITS_NONE;
	if (rel == BITS_NONE)
		rel = alloc_next(&g->whole, g, &req->in, 0);
	for (; rel != BITS_NONE && runs < ALLOC_RUNS; runs++) {
		uint64_t n = bits_run(&g->whole, rel, want), whole = n;

		if (n < want && rel + n == g->nframes)
			whole += alloc_free_behind(s, g, want - n);
		whole = min_u64(whole, req->in.end - g->first - rel);
		if (whole > best) {
			best = whole;
			*at = g->first + rel;
		}
		if (best >= want)
			break;
		rel = alloc_next(&g->whole, g, &req->in, rel + n);
	}
	return best;
}

/* The best place for 'want' frames: takes the first part of it. Returns how many frames, or a
 * negative errno. */
static int64_t alloc_frames_somewhere(struct space *s, const struct alloc_req *req, uint64_t *first)
{
	uint32_t from = alloc_from(s, req, req->hint);
	uint64_t best = 0, want = req->want;

	for (uint32_t i = 0; i < req->in.ngroups && best < want; i++) {
		struct group *g = &s->groups[alloc_nth_group(&req->in, from, i)];
		uint64_t at = 0, n;

		if (count_get(&g->whole_frames) == 0)
			continue;
		mtx_lock(&g->lock);
		n = alloc_find_frames_locked(s, g, req, &at);
		if (n > best) {
			best = n;
			*first = at;
		}
		if (n >= want) {
			int64_t got = alloc_take_frames_locked(s, g, req, at, want);

			mtx_unlock(&g->lock);
			return got;
		}
		mtx_unlock(&g->lock);
	}
	if (best > 0) {
		struct group *g = space_group_of(s, *first);
		int64_t got;

		mtx_lock(&g->lock);
		got = alloc_take_frames_locked(s, g, req, *first, want);
		mtx_unlock(&g->lock);
		return got;
	}
	return 0;
}

/* Goes on from f at the start of a group. */
static uint64_t alloc_frames_behind(struct space *s, const struct alloc_req *req, uint64_t f,
				    uint64_t want)
{
	uint64_t n = 0;

	while (n < want && f + n < req->in.end &&
	       ((f + n) & ((1ull << s->group_shift) - 1)) == 0) {
		struct group *g = space_group_of(s, f + n);
		int64_t got;

		mtx_lock(&g->lock);
		got = alloc_take_frames_locked(s, g, req, f + n, want - n);
		mtx_unlock(&g->lock);
		if (got <= 0)
			break;
		n += (uint64_t)got;
	}
	return n;
}

static int alloc_frames_in(struct space *s, const struct alloc_req *req, struct mext *out)
{
	uint64_t near = req->hint, first = near;
	int64_t got = 0;

	if (near) {
		struct group *g = space_group_of(s, near);

		mtx_lock(&g->lock);
		got = alloc_take_frames_locked(s, g, req, near, req->want);
		mtx_unlock(&g->lock);
	}
	if (got == 0 && !(req->flags & SPACE_EXACT))
		got = alloc_frames_somewhere(s, req, &first);
	if (got < 0)
		return (int)got;
	if (got == 0)
		return -ENOSPC;
	if (!near)
		alloc_near_set(s, (uint32_t)(first >> s->group_shift));
	got += (int64_t)alloc_frames_behind(s, req, first + (uint64_t)got,
					    req->want - (uint64_t)got);
	*out =
	    (struct mext){MBLK(first * HF_BLOCKS_PER_FRAME), (uint64_t)got * HF_BLOCKS_PER_FRAME};
	return 0;
}

/* ---- in the windows that are preferred, then everywhere */

/* hint_frame: of the hint. A hint outside of a window is none there: who prefers a place does not
 * want his file to go on at another one. */
static int alloc_windows(struct space *s, struct alloc_req *req, uint64_t hint_frame,
			 int (*search)(struct space *, const struct alloc_req *, struct mext *),
			 struct mext *out)
{
	uint64_t hint = req->hint;
	unsigned int n = req->flags & SPACE_EXACT ? 0 : s->nprefer;
	int err;

	for (unsigned int i = 0; i < n; i++) {
		req->in = s->prefer[i];
		req->hint = hint_frame >= req->in.first && hint_frame < req->in.end ? hint : 0;
		err = search(s, req, out);
		if (err != -ENOSPC)
			return err;
	}
	req->in = alloc_everywhere(s);
	req->hint = hint;
	return search(s, req, out);
}

static int alloc_blocks(struct space *s, struct alloc_req *req, struct mext *out)
{
	return alloc_windows(s, req, req->hint / HF_BLOCKS_PER_FRAME, alloc_blocks_in, out);
}

static int alloc_frames(struct space *s, struct alloc_req *req, struct mext *out)
{
	return alloc_windows(s, req, req->hint, alloc_frames_in, out);
}

/* ---- with a transaction */

static void alloc_done(void *ctx, uint64_t a, uint64_t b, jseq_t seq, enum txn_outcome outcome)
{
	struct space *s = ctx;

	(void)seq;
	if (outcome == TXN_FAILED)
		return; /* the record may be found by the next mount: nobody may have the blocks
			   before */
	for (uint64_t n; b > 0; a += n, b -= n) {
		struct group *g = space_group_of(s, a / HF_BLOCKS_PER_FRAME);

		n = min_u64(b, group_end_block(g) - a);
		mtx_lock(&g->lock);
		if (outcome == TXN_COMMITTED)
			frames_unhold_locked(s, g, a, n);
		else
			frames_release_locked(s, g, a, n);
		mtx_unlock(&g->lock);
	}
}

/* The blocks are held; t takes them over. */
static int alloc_hand_over(struct space *s, struct txn *t, const struct mext *x)
{
	int err = txn_defer(t, alloc_done, s, x->first.v, x->n);

	if (err) {
		alloc_done(s, x->first.v, x->n, JSEQ(0), TXN_ABORTED);
		return err;
	}
	txn_bits_set(t, geo_alloc_bit(s->geo, x->first), x->n);
	return txn_error(t);
}

static int alloc_no_space(struct space *s)
{
	struct space_stat st;

	space_stat(s, &st);
	return err_set(-ENOSPC,
		       "no space: of %llu blocks %llu are free, %llu of those kept back for "
		       "metadata; %llu are busy, %llu of those pinned",
		       (unsigned long long)st.blocks, (unsigned long long)st.free,
		       (unsigned long long)st.reserved,
		       (unsigned long long)(st.busy_journal + st.busy_pinned),
		       (unsigned long long)st.busy_pinned);
}

/* After -ENOSPC: true if it is worth trying again. First what a checkpoint has passed already;
 * then, once, a checkpoint, if at least 'worth' blocks wait for one. *round counts from 0.
 *
 * Locking: no group, no lane. */
static bool alloc_regain(struct space *s, int *round, uint64_t worth)
{
	struct space_stat before, after;

	if (*round == 0) {
		*round = 1;
		space_stat(s, &before);
		space_drain(s);
		space_stat(s, &after);
		if (after.busy_journal < before.busy_journal)
			return true;
	}
	if (*round == 2)
		return false;
	*round = 2;
	space_stat(s, &after);
	if (after.busy_journal < worth || journal_checkpoint(s->j))
		return false;
	space_drain(s);
	return true;
}

int space_alloc(struct space *s, struct txn *t, uint32_t want, mblk_t hint, unsigned int flags,
		struct mext *out)
{
	struct alloc_req req = {.want = want, .flags = flags, .hint = hint.v};
	int round = 0, err;

	HF_ASSERT(want > 0 && want <= HF_BLOCKS_PER_FRAME);
	if (hint.v >= s->geo->nblocks)
		req.hint = 0;
	err = alloc_blocks(s, &req, out);
	while (err == -ENOSPC && !(flags & SPACE_EXACT) && alloc_regain(s, &round, 1))
		err = alloc_blocks(s, &req, out);
	if (!err)
		err = alloc_hand_over(s, t, out);
	else if (err == -ENOSPC && !(flags & SPACE_EXACT))
		alloc_no_space(s);
	if (err)
		*out = (struct mext){MBLK_NULL, 0};
	return err;
}

int space_alloc_frames(struct space *s, struct txn *t, uint64_t want, frame_t hint,
		       unsigned int flags, mblk_t *first, uint64_t *got)
{
	struct alloc_req req = {.want = want, .flags = flags, .hint = hint.v};
	struct mext x = {MBLK_NULL, 0};
	int round = 0, err;

	HF_ASSERT(want > 0);
	if (hint.v >= s->geo->nframes)
		req.hint = 0;
	*first = MBLK_NULL;
	*got = 0;
	err = alloc_frames(s, &req, &x);
	/* A frame may be waiting whole for the checkpoint, if that many blocks are. */
	while (err == -ENOSPC && !(flags & SPACE_EXACT) &&
	       alloc_regain(s, &round, HF_BLOCKS_PER_FRAME))
		err = alloc_frames(s, &req, &x);
	if (!err)
		err = alloc_hand_over(s, t, &x);
	else if (err == -ENOSPC && !(flags & SPACE_EXACT))
		err_set(err, "no free frame of 2 MiB is left");
	if (err)
		return err;
	*first = x.first;
	*got = x.n / HF_BLOCKS_PER_FRAME;
	return 0;
}

int space_alloc_frame(struct space *s, struct txn *t, frame_t hint, unsigned int flags, mblk_t *out)
{
	uint64_t got;

	return space_alloc_frames(s, t, 1, hint, flags, out, &got);
}
