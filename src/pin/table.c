/* The memory of the table: it grows in place, records never move. */
#include "pin/pins.h"
#include "base/error.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TABLE_BYTES pins_offset(PINS_INDEX_MAX + 1)
#define TABLE_REST  16384u /* the file, and the first step, end at a multiple of it */
#define TABLE_TAKE  32u	   /* records that a shard takes at a time */

#define PRIV_BYTES round_up_u64(((uint64_t)PINS_INDEX_MAX + 1) * sizeof(struct pins_priv), 65536)

static struct mtx table_lock = {.rank = RANK_LEAF};
static struct pins *table_free;

/* ---- memory */

static uint64_t table_end(uint32_t used)
{
	return min_u64(round_up_u64(pins_offset(used + 1), TABLE_REST), TABLE_BYTES);
}

static uint32_t table_fits(uint64_t bytes)
{
	return (uint32_t)((bytes - PINS_HEAD_BYTES) / sizeof(struct pins_rec));
}

static int table_map(struct pins *p, uint64_t from, uint64_t to)
{
	void *at;

	if (p->fd < 0)
		return mprotect(p->base + from, to - from, PROT_READ | PROT_WRITE) < 0 ? -ENOMEM
										       : 0;
	/* Allocated before it is mapped: a full filesystem is an error then, and not a SIGBUS. */
	if (posix_fallocate(p->fd, (off_t)from, (off_t)(to - from)) != 0)
		return -ENOMEM;
	at = mmap(p->base + from, to - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->fd,
		  (off_t)from);
	if (at == MAP_FAILED)
		return -ENOMEM;
	return madvise(at, to - from, MADV_DONTFORK) < 0 ? -ENOMEM : 0;
}

static int table_map_priv(struct pins *p, uint32_t ready)
{
	uint64_t from = round_up_u64((uint64_t)(p->ready + 1) * sizeof(struct pins_priv), 4096),
		 to = round_up_u64((uint64_t)(ready + 1) * sizeof(struct pins_priv), 4096);

	if (p->ready == 0)
		from = 0;
	if (to <= from)
		return 0;
	return mprotect((uint8_t *)p->priv + from, to - from, PROT_READ | PROT_WRITE) < 0 ? -ENOMEM
											  : 0;
}

/* Memory up to the record 'upto'. 'grow' is held, or nobody else knows the table. */
static int table_grow(struct pins *p, uint32_t upto)
{
	uint64_t from = p->ready ? pins_offset(p->ready + 1) : 0, to;
	uint32_t ready;
	int err;

	if (upto <= p->ready)
		return 0;
	if (upto > PINS_INDEX_MAX)
		return err_set(-ENOMEM, "more than %u pins", PINS_INDEX_MAX);
	/* By an eighth at a time: a million pins take few steps, a few pins little memory. */
	to = table_end(upto + p->ready / 8);
	from = round_up_u64(from, TABLE_REST);
	ready = table_fits(to);
	err = from < to ? table_map(p, from, to) : 0;
	if (!err)
		err = table_map_priv(p, ready);
	if (err)
		return err_set(err, "no memory for another pin");
	p->ready = ready;
	return 0;
}

/* Another thread of the parent may have held the lock. */
static void table_fork_child(void)
{
	atomic_store(&table_lock.word, MTX_FREE);
	table_free = NULL;
}

static void table_at_fork(void)
{
	pthread_atfork(NULL, NULL, table_fork_child);
}

static struct pins *table_struct(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct pins *p;

	pthread_once(&once, table_at_fork);
	mtx_lock(&table_lock);
	p = table_free;
	if (p)
		table_free = p->next_free;
	mtx_unlock(&table_lock);
	if (!p)
		p = aligned_alloc(HF_LINE, round_up_u64(sizeof(*p), HF_LINE));
	return p;
}

static void *table_reserve(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* A child has no pins, and must not pay for a copy of them. */
	madvise(p, bytes, MADV_DONTFORK);
	return p;
}

static void table_init(struct pins *p, int fd)
{
	memset(p, 0, sizeof(*p));
	p->fd = fd;
	p->fresh = 1;
	mtx_init(&p->grow, RANK_LEAF, 0);
	mtx_init(&p->lease_lock, RANK_LEAF, 0);
	for (unsigned i = 0; i < PINS_SHARDS; i++)
		mtx_init(&p->shards[i].lock, RANK_LEAF, 0);
}

struct pins *pins_new(int fd, uint32_t used)
{
	struct pins *p = table_struct();

	if (!p)
		return NULL;
	table_init(p, fd);
	p->base = table_reserve(TABLE_BYTES);
	p->priv = table_reserve(PRIV_BYTES);
	if (!p->base || !p->priv || table_grow(p, used ? used : 1) != 0) {
		p->fd = -1;
		pins_free(p);
		return NULL;
	}
	p->fresh = used + 1;
	atomic_store(&p->used, used);
	return p;
}

void pins_free(struct pins *p)
{
	if (p->base)
		munmap(p->base, TABLE_BYTES);
	if (p->priv)
		munmap(p->priv, PRIV_BYTES);
	/* Who put the last pin may be about to let go of its shard. */
	for (unsigned i = 0; i < PINS_SHARDS; i++) {
		mtx_lock(&p->shards[i].lock);
		mtx_unlock(&p->shards[i].lock);
	}
	mtx_lock(&table_lock);
	p->next_free = table_free;
	table_free = p;
	mtx_unlock(&table_lock);
}

/* ---- free records */

/* One writer at a time: cheaper than an atomic addition. */
static void shard_count_locked(struct pins_shard *sh, uint64_t change)
{
	uint64_t live = atomic_load_explicit(&sh->live, memory_order_relaxed);

	atomic_store_explicit(&sh->live, live + change, memory_order_release);
}

static void shard_push_locked(struct pins *p, struct pins_shard *sh, uint32_t index)
{
	p->priv[index].free_next = 0;
	if (sh->head == 0)
		sh->head = index;
	else
		p->priv[sh->tail].free_next = index;
	sh->tail = index;
}

/* Never used ones: the first of up to TABLE_TAKE, 0: no memory. */
static uint32_t table_take_fresh(struct pins *p, uint32_t *n)
{
	uint32_t first = 0;

	mtx_lock(&p->grow);
	if (table_grow(p, p->fresh) == 0) {
		first = p->fresh;
		*n = p->ready - first + 1 < TABLE_TAKE ? p->ready - first + 1 : TABLE_TAKE;
		p->fresh += *n;
		atomic_store_explicit(&p->used, p->fresh - 1, memory_order_release);
		atomic_store_explicit(&((struct pins_head *)(void *)p->base)->used, p->fresh - 1,
				      memory_order_release);
	}
	mtx_unlock(&p->grow);
	return first;
}

static bool shard_refill(struct pins *p, unsigned shard)
{
	struct pins_shard *sh = &p->shards[shard];
	uint32_t n, first = table_take_fresh(p, &n);

	if (first == 0)
		return false;
	for (uint32_t i = 0; i < n; i++)
		p->priv[first + i].shard = (uint8_t)shard;
	mtx_lock(&sh->lock);
	for (uint32_t i = 0; i < n; i++)
		shard_push_locked(p, sh, first + i);
	mtx_unlock(&sh->lock);
	return true;
}

static uint32_t shard_pop(struct pins *p, unsigned shard, bool pin)
{
	struct pins_shard *sh = &p->shards[shard];
	uint32_t index;

	mtx_lock(&sh->lock);
	index = sh->head;
	if (index) {
		sh->head = p->priv[index].free_next;
		if (pin)
			shard_count_locked(sh, 1);
	}
	mtx_unlock(&sh->lock);
	return index;
}

uint32_t pins_get(struct pins *p, bool pin)
{
	unsigned mine = (unsigned)(pin_thread() % PINS_SHARDS);
	uint32_t index = shard_pop(p, mine, pin);
	uint64_t generation;

	while (!index && shard_refill(p, mine))
		index = shard_pop(p, mine, pin);
	/* The last ones may lie in others' shards. */
	for (unsigned i = 0; !index && i < PINS_SHARDS; i++)
		index = shard_pop(p, i, pin);
	if (!index)
		return 0;
	generation = pins_generation(pins_state(p, index));
	pins_publish(p, index, pins_state_make(generation, PINS_RESERVED));
	return index;
}

void pins_put(struct pins *p, uint32_t index, bool pin)
{
	struct pins_shard *sh = &p->shards[p->priv[index].shard];
	uint64_t generation = pins_generation(pins_state(p, index));

	pins_publish(p, index, pins_state_make(generation + 1, PINS_FREE));
	mtx_lock(&sh->lock);
	shard_push_locked(p, sh, index);
	if (pin)
		shard_count_locked(sh, (uint64_t)-1);
	mtx_unlock(&sh->lock);
}

void pins_put_unused(struct pins *p, uint32_t index)
{
	p->priv[index].shard = (uint8_t)(index / TABLE_TAKE % PINS_SHARDS);
	pins_put(p, index, false);
}

uint64_t pin_count(const struct fs *fs)
{
	uint64_t n = 0;

	for (unsigned i = 0; fs->pins && i < PINS_SHARDS; i++)
		n += atomic_load(&fs->pins->shards[i].live);
	return n;
}

/* ---- words */

void pins_write(struct pins *p, uint32_t index, const union pins_any *from)
{
	_Atomic uint64_t *to = pins_words(p, index);

	/* Release: nobody sees a new word with an old state (I-PIN-6). */
	for (unsigned i = 1; i < PINS_WORDS; i++)
		atomic_store_explicit(&to[i], from->w[i], memory_order_release);
}

bool pins_read(const struct pins *p, uint32_t index, uint64_t state, union pins_any *to)
{
	_Atomic uint64_t *from = pins_words(p, index);

	for (unsigned i = 0; i < PINS_WORDS; i++)
		to->w[i] = atomic_load_explicit(&from[i], memory_order_acquire);
	return to->rec.state == state &&
	       atomic_load_explicit(&from[0], memory_order_acquire) == state;
}

int pins_extents(const struct pins *p, uint32_t index, const union pins_any *rec,
		 struct pins_extent *buf, size_t nbuf, struct pins_extent **out)
{
	size_t n = rec->rec.nextents, at = 1;
	uint32_t used = atomic_load_explicit(&p->used, memory_order_acquire), next = rec->rec.next;
	struct pins_extent *x = buf;
	union pins_any c;

	*out = NULL;
	if (n > nbuf)
		x = malloc(n * sizeof(*x));
	if (!x)
		return err_set(-ENOMEM, "out of memory");
	x[0] = rec->rec.ext;
	while (at < n && next != 0 && next <= used) {
		uint64_t state = pins_state(p, next);

		if (pins_state_of(state) != PINS_CHUNK || !pins_read(p, next, state, &c) ||
		    c.chunk.head != index)
			break;
		for (unsigned k = 0; k < PINS_CHUNK_MAX && at < n; k++)
			x[at++] = c.chunk.ext[k];
		next = c.chunk.next;
	}
	/* The chunks belong to the record as long as it is what it was. */
	if (at == n && pins_state(p, index) == rec->rec.state) {
		*out = x;
		return 0;
	}
	if (x != buf)
		free(x);
	return -EAGAIN;
}
