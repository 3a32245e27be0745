/* Inode groups: the volatile shadow of one group's bitmap, and the list of groups with free
 * numbers. */
#include "inode/itable_priv.h"

#include <stdlib.h>

uint32_t igroup_numbers(uint64_t nblocks, uint64_t g)
{
	uint64_t first = g * FMT_IGROUP_BLOCKS + 1;

	if (nblocks <= first)
		return 0;
	return (uint32_t)min_u64(nblocks - first, IGROUP_BLOCKS) * FMT_INODES_PER_BLOCK;
}

/* ---- the list of groups that are known to have free numbers */

static void list_add(struct itable *it, uint64_t g)
{
	struct islot *s = &it->slots[g];

	s->prev = 0;
	s->next = it->free_list;
	if (s->next)
		it->slots[s->next - 1].prev = (uint32_t)g + 1;
	it->free_list = (uint32_t)g + 1;
}

static void list_del(struct itable *it, uint64_t g)
{
	struct islot *s = &it->slots[g];

	if (s->next)
		it->slots[s->next - 1].prev = s->prev;
	if (s->prev)
		it->slots[s->prev - 1].next = s->next;
	else
		it->free_list = s->next;
}

void igroup_add_free_locked(struct itable *it, uint64_t g, int64_t n)
{
	struct islot *s = &it->slots[g];
	uint32_t was = s->free;

	s->free = (uint32_t)(was + n);
	it->free = (uint64_t)((int64_t)it->free + n);
	HF_ASSERT(s->free <= FMT_IGROUP_INODES);
	if (was == 0 && s->free != 0)
		list_add(it, g);
	if (was != 0 && s->free == 0)
		list_del(it, g);
}

/* ---- the shadow */

static void set_kept(struct igroup *grp, uint32_t word, uint64_t kept)
{
	uint64_t mask = 1ull << word % 64;

	__atomic_store_n(&grp->kept[word], kept, __ATOMIC_RELAXED);
	if (kept == UINT64_MAX)
		grp->full[word / 64] |= mask;
	else
		grp->full[word / 64] &= ~mask;
}

struct igroup *igroup_new(mblk_t bitmap)
{
	struct igroup *grp = calloc(1, sizeof(*grp));

	if (!grp) {
		err_set(-ENOMEM, "inode table: no memory for a group's state");
		return NULL;
	}
	grp->bitmap = bitmap;
	memset(grp->kept, 0xff, sizeof(grp->kept));
	memset(grp->full, 0xff, sizeof(grp->full));
	return grp;
}

static int find_bitmap(struct itable *it, uint64_t g, mblk_t *out)
{
	struct map_extent x;
	int err = itable_map(it, FBLK(g * FMT_IGROUP_BLOCKS), 1, &x);

	if (err == 0)
		*out = x.blk;
	return err;
}

/* Word w of the bitmap on the media, with ones for numbers that do not exist. */
static uint64_t media_word(struct itable *it, mblk_t bitmap, uint32_t w, uint32_t numbers)
{
	uint64_t v = pm_load64(it->fs->pm, moff_add(mblk_to_moff(bitmap), w * 8));

	if (numbers <= w * 64)
		return UINT64_MAX;
	return numbers - w * 64 >= 64 ? v : v | UINT64_MAX << (numbers - w * 64);
}

static uint32_t media_free(struct itable *it, uint64_t g, mblk_t bitmap)
{
	uint32_t numbers = igroup_numbers(it->nblocks, g), n = 0;

	for (uint32_t w = 0; w * 64 < numbers; w++)
		n += (uint32_t)__builtin_popcountll(~media_word(it, bitmap, w, numbers));
	return n;
}

static void set_known(struct itable *it, uint64_t g, uint32_t nfree)
{
	struct islot *s = &it->slots[g];

	if (s->known)
		return;
	s->known = true;
	igroup_add_free_locked(it, g, nfree);
}

int igroup_count_locked(struct itable *it, uint64_t g)
{
	mblk_t bitmap;
	int err;

	if (it->slots[g].known)
		return 0;
	err = find_bitmap(it, g, &bitmap);
	if (err)
		return err;
	set_known(it, g, media_free(it, g, bitmap));
	return 0;
}

int igroup_load_locked(struct itable *it, uint64_t g, struct igroup **out)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_relaxed);
	uint32_t numbers = igroup_numbers(it->nblocks, g);
	mblk_t bitmap;
	int err;

	*out = grp;
	if (grp)
		return 0;
	err = find_bitmap(it, g, &bitmap);
	if (err)
		return err;
	grp = igroup_new(bitmap);
	if (!grp)
		return -ENOMEM;
	for (uint32_t w = 0; w < IGROUP_WORDS; w++)
		set_kept(grp, w, media_word(it, bitmap, w, numbers));
	set_known(it, g, media_free(it, g, bitmap));
	atomic_store_explicit(&it->slots[g].group, grp, memory_order_release);
	*out = grp;
	return 0;
}

/* A clear bit of the word, the block of inodes of bit 'near' first. */
static uint32_t bit_near(uint64_t kept, uint32_t near)
{
	uint32_t block = near / FMT_INODES_PER_BLOCK * FMT_INODES_PER_BLOCK;
	uint64_t same = ~kept >> block & ((1u << FMT_INODES_PER_BLOCK) - 1);

	if (same)
		return block + (uint32_t)__builtin_ctzll(same);
	return (uint32_t)__builtin_ctzll(~kept);
}

/* The next word from 'word' on, around the end, that has a clear bit; there is one. */
static uint32_t word_near(const struct igroup *grp, uint32_t word)
{
	uint64_t avail = ~grp->full[word / 64] & UINT64_MAX << word % 64;
	uint32_t i = word / 64;

	for (uint32_t n = 0; avail == 0 && n <= IGROUP_WORDS / 64; n++) {
		i = (i + 1) % (IGROUP_WORDS / 64);
		avail = ~grp->full[i];
	}
	HF_ASSERT(avail != 0);
	return i * 64 + (uint32_t)__builtin_ctzll(avail);
}

uint32_t igroup_keep_locked(struct itable *it, uint64_t g, uint32_t near)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_relaxed);
	uint32_t word = word_near(grp, near / 64);
	uint32_t bit = bit_near(grp->kept[word], word == near / 64 ? near % 64 : 0);

	set_kept(grp, word, grp->kept[word] | 1ull << bit);
	igroup_add_free_locked(it, g, -1);
	return word * 64 + bit;
}

bool igroup_block_has(struct itable *it, uint64_t g, uint32_t i)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_acquire);
	uint32_t first = i / FMT_INODES_PER_BLOCK * FMT_INODES_PER_BLOCK;

	return grp && (uint16_t)(~__atomic_load_n(&grp->kept[first / 64], __ATOMIC_RELAXED) >> first % 64) != 0;
}

uint16_t igroup_keep_block_locked(struct itable *it, uint64_t g, uint32_t i)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_relaxed);
	uint32_t first = i / FMT_INODES_PER_BLOCK * FMT_INODES_PER_BLOCK;
	uint16_t avail = (uint16_t)(~grp->kept[first / 64] >> first % 64);

	if (avail == 0)
		return 0;
	set_kept(grp, first / 64, grp->kept[first / 64] | (uint64_t)avail << first % 64);
	igroup_add_free_locked(it, g, -__builtin_popcount(avail));
	return avail;
}

void igroup_release_locked(struct itable *it, uint64_t g, uint32_t i)
{
	struct igroup *grp = atomic_load_explicit(&it->slots[g].group, memory_order_relaxed);
	bool was_kept = grp && (grp->kept[i / 64] >> i % 64 & 1);

	HF_ASSERT(was_kept);
	set_kept(grp, i / 64, grp->kept[i / 64] & ~(1ull << i % 64));
	igroup_add_free_locked(it, g, 1);
}
