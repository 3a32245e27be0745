/* Opening and closing, counters, and the questions that others ask about blocks. */
#include "space/internal.h"
#include <stdlib.h>
#include <sys/mman.h>

static _Atomic uint64_t next_id = 1;

/* A few node blocks are always kept back for splits, and as many again for the other
 * metadata, so that deleting works on a full volume. */
static void space_set_reserve(struct space *s)
{
	s->reserve = min_u64(max_u64(s->blocks / 4096, 8), 64);
	s->meta = s->reserve;
}

/* Up to 64 groups of a power of two of frames. */
static void space_set_groups(struct space *s)
{
	s->group_shift = SPACE_GROUP_SHIFT_MIN;
	while ((s->geo->nframes - 1) >> s->group_shift >= SPACE_MAX_GROUPS)
		s->group_shift++;
	s->ngroups = (uint32_t)((s->geo->nframes - 1) >> s->group_shift) + 1;
}

/* The masks, counts and busy records of all groups and the tickets lie in one range of addresses,
 * of which memory is used as they grow. */
static int space_map_slabs(struct space *s)
{
	uint32_t frames = 1u << s->group_shift;
	uint32_t nmasks = 2 * frames + 2; /* one of each frame, one kept for each that has counts */
	uint32_t nrecs = (uint32_t)min_u64((uint64_t)frames * HF_BLOCKS_PER_FRAME, SPACE_RECS_MAX);
	uint64_t of_masks = slab_range(HF_LINE, nmasks),
		 of_recs = slab_range(sizeof(struct busy_rec), nrecs),
		 of_counts = slab_range(sizeof(struct pins), frames);
	uint8_t *at;

	s->slabs_bytes = (of_masks + of_recs + of_counts) * s->ngroups +
			 slab_range(SPACE_TICKET_BYTES, SPACE_TICKETS_MAX);
	at = mmap(NULL, s->slabs_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		  0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	s->slabs = at;
	for (uint32_t i = 0; i < s->ngroups; i++) {
		struct group *g = &s->groups[i];

		slab_init(&g->masks, at, HF_LINE, nmasks);
		slab_init(&g->recs, at + of_masks, sizeof(struct busy_rec), nrecs);
		slab_init(&g->counts, at + of_masks + of_recs, sizeof(struct pins), frames);
		at += of_masks + of_recs + of_counts;
	}
	slab_init(&s->tickets, at, SPACE_TICKET_BYTES, SPACE_TICKETS_MAX);
	return 0;
}

/* What mkfs allocated once and for all: anything else means that the lines are not to be trusted.
 */
static int space_check_fixed(struct space *s)
{
	unsigned int i = 0;
	mblk_t first;

	for (uint64_t n = geo_fixed(s->geo, i, &first); n > 0; n = geo_fixed(s->geo, ++i, &first))
		for (uint64_t b = first.v; b < first.v + n; b++)
			if (!space_is_allocated(s, MBLK(b)))
				return err_set(-EUCLEAN,
					       "allocation lines: block %llu holds the volume's own tables "
					       "and is marked free: "
					       "run fsck.holdfast",
					       (unsigned long long)b);
	return 0;
}

int space_open(struct pm *pm, const struct geo *geo, struct journal *j, struct space **out)
{
	struct space *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	*out = NULL;
	if (!s)
		return err_set(err, "no memory for the allocator");
	s->pm = pm;
	s->geo = geo;
	s->j = j;
	s->id = atomic_fetch_add(&next_id, 1);
	s->blocks = geo_blocks(geo);
	mtx_init(&s->low, RANK_BUSY, 0);
	mtx_init(&s->tickets_lock, RANK_LEAF, 0);
	space_set_reserve(s);
	space_set_groups(s);

	err = space_check_fixed(s);
	if (err)
		goto fail;
	err = frames_open(s);
	if (!err)
		err = space_map_slabs(s);
	if (err) {
		err_set(err, "no memory for the frame table of %llu frames",
			(unsigned long long)geo->nframes);
		goto fail;
	}
	*out = s;
	return 0;
fail:
	space_close(&s);
	return err;
}

void space_close(struct space **sp)
{
	struct space *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	if (s->slabs)
		munmap(s->slabs, s->slabs_bytes);
	frames_close(s);
	free(s);
}

void space_stat(struct space *s, struct space_stat *out)
{
	uint64_t held = 0, kept = s->reserve + s->meta;

	memset(out, 0, sizeof(*out));
	out->blocks = s->blocks;
	out->frames = s->geo->nframes;
	for (uint32_t i = 0; i < s->ngroups; i++) {
		const struct group *g = &s->groups[i];

		out->free += count_get(&g->free);
		out->busy_journal += count_get(&g->journal);
		out->busy_pinned += count_get(&g->pinned);
		out->free_frames += count_get(&g->whole_frames);
		out->full_frames += count_get(&g->full_frames);
		held += count_get(&g->held);
	}
	/* Read without the locks: while others are at work, the parts may not add up. */
	if (held > out->busy_journal + out->busy_pinned)
		out->pending = held - out->busy_journal - out->busy_pinned;
	if (out->frames > out->free_frames + out->full_frames)
		out->partial_frames = out->frames - out->free_frames - out->full_frames;
	out->reserved = min_u64(out->free, kept);
}

bool space_is_allocated(struct space *s, mblk_t b)
{
	moff_t word = moff_add(s->geo->alloc_off, b.v / 64 * 8);

	return pm_load64(s->pm, word) >> (b.v % 64) & 1;
}

void space_drain(struct space *s)
{
	uint64_t passed;

	if (!s->j)
		return;
	passed = journal_published(s->j).v;
	for (uint32_t i = 0; i < s->ngroups; i++) {
		struct group *g = &s->groups[i];
		uint64_t first = atomic_load_explicit(&g->fifo_seq, memory_order_relaxed);

		if (first == 0 || first > passed)
			continue;
		mtx_lock(&g->lock);
		busy_drain_locked(s, g, UINT32_MAX);
		mtx_unlock(&g->lock);
	}
}

struct frame *space_frame(struct space *s, frame_t f)
{
	return &s->frames[f.v];
}

const char *space_held_reason(struct space *s, mblk_t b)
{
	struct group *g = space_group_of(s, mblk_to_frame(b).v);
	const char *why;

	mtx_lock(&g->lock);
	why = busy_reason_locked(s, g, b.v);
	mtx_unlock(&g->lock);
	return why;
}
