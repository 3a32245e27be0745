#include "media/poison.h"
#include "media/guard.h"
#include "media/pm_impl.h"

#include "media/dax.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Where the open volumes are mapped. The handler reads it without a lock: an entry is never freed, only used again, and is
 * itself when it says twice the same (it is, for the volume that the interrupted thread is at work on). */
struct poison_map {
	struct poison_map *next;
	_Atomic uintptr_t base;
	_Atomic uint64_t size; /* 0: unused */
	_Atomic(struct pm *) pm;
};
static _Atomic(struct poison_map *) poison_maps;
static pthread_mutex_t poison_mutex = PTHREAD_MUTEX_INITIALIZER;

static void poison_fork_prepare(void)
{
	pthread_mutex_lock(&poison_mutex);
}

static void poison_fork_done(void)
{
	pthread_mutex_unlock(&poison_mutex);
}

static void poison_at_fork(void)
{
	pthread_atfork(poison_fork_prepare, poison_fork_done, poison_fork_done);
}

static size_t poison_bits_bytes(const struct pm *pm)
{
	return round_up_u64(pm->size / HF_BLOCK_SIZE / 8 + 8, pm_priv_of(pm)->page_size);
}

static struct poison_map *poison_map_unused(void)
{
	struct poison_map *m = atomic_load(&poison_maps);

	while (m && atomic_load(&m->pm))
		m = m->next;
	if (m)
		return m;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->next = atomic_load(&poison_maps);
	atomic_store(&poison_maps, m);
	return m;
}

int poison_register(struct pm *pm)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct poison_map *m;

	pthread_once(&once, poison_at_fork);
	pthread_mutex_lock(&poison_mutex);
	m = poison_map_unused();
	if (m) {
		atomic_store(&m->base, (uintptr_t)pm->base);
		atomic_store(&m->pm, pm);
		atomic_store(&m->size, pm->size);
	}
	pthread_mutex_unlock(&poison_mutex);
	return m ? 0 : err_set(-ENOMEM, "%s: no memory", pm->path);
}

void poison_unregister(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);
	struct poison_map *m;

	pthread_mutex_lock(&poison_mutex);
	m = atomic_load(&poison_maps);
	while (m && atomic_load(&m->pm) != pm)
		m = m->next;
	if (m) {
		atomic_store(&m->size, 0);
		atomic_store(&m->pm, NULL);
	}
	pthread_mutex_unlock(&poison_mutex);
	if (priv->lost)
		munmap(priv->lost, poison_bits_bytes(pm));
}

/* In a child the parent's volumes are not mapped. */
static struct pm *poison_find(const void *addr)
{
	struct poison_map *m;

	for (m = atomic_load(&poison_maps); m; m = m->next) {
		uint64_t size = atomic_load(&m->size);
		uintptr_t base = atomic_load(&m->base);
		struct pm *pm = atomic_load(&m->pm);

		if ((uintptr_t)addr - base < size && pm && atomic_load(&m->size) == size &&
		    atomic_load(&m->base) == base && !pm_is_child(pm))
			return pm;
	}
	return NULL;
}

bool poison_knows(const void *addr)
{
	return poison_find(addr) != NULL;
}

/* ---- the note: a bit per block, made when the first is needed */

static uint64_t *poison_bits(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);
	uint64_t *none = NULL, *bits = __atomic_load_n(&priv->lost, __ATOMIC_ACQUIRE);
	size_t len = poison_bits_bytes(pm);

	if (bits)
		return bits;
	bits = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bits == MAP_FAILED)
		return NULL;
	if (__atomic_compare_exchange_n(&priv->lost, &none, bits, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return bits;
	munmap(bits, len); /* another thread's was first */
	return none;
}

static bool poison_note(struct pm *pm, uint64_t off, uint64_t len)
{
	struct pm_priv *priv = pm_priv_of(pm);
	uint64_t *bits = poison_bits(pm), none = UINT64_MAX;

	if (!bits)
		return false;
	for (uint64_t b = off / HF_BLOCK_SIZE; b < (off + len) / HF_BLOCK_SIZE; b++)
		__atomic_fetch_or(&bits[b / 64], 1ull << b % 64, __ATOMIC_RELAXED);
	__atomic_compare_exchange_n(&priv->lost_first, &none, off, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	__atomic_fetch_add(&pm->bad, 1, __ATOMIC_SEQ_CST);
	return true;
}

bool pm_lost_any(const struct pm *pm, moff_t off, uint64_t len)
{
	const uint64_t *bits = __atomic_load_n(&pm_priv_of(pm)->lost, __ATOMIC_ACQUIRE);
	uint64_t b = off.v / HF_BLOCK_SIZE, end = (off.v + len + HF_BLOCK_SIZE - 1) / HF_BLOCK_SIZE;

	for (; bits && b < end; b++) {
		uint64_t word = __atomic_load_n(&bits[b / 64], __ATOMIC_RELAXED);

		if (word == 0)
			b |= 63;
		else if (word >> b % 64 & 1)
			return true;
	}
	return false;
}

uint64_t pm_bad_first(const struct pm *pm)
{
	return __atomic_load_n(&pm_priv_of(pm)->lost_first, __ATOMIC_RELAXED);
}

int pm_gone_error(const struct pm *pm)
{
	if (!__atomic_load_n(&pm_priv_of(pm)->gone, __ATOMIC_RELAXED))
		return 0;
	return err_set(-EIO,
		       "%s: the device was taken away while it was mounted (reconfigured to system-ram, or its namespace disabled): "
		       "nothing there can be read or written. Unmount, give it back ('daxctl reconfigure-device --mode=devdax', 'ndctl "
		       "enable-namespace') and run fsck.holdfast",
		       pm->path);
}

int pm_bad_error(const struct pm *pm)
{
	int err = pm_gone_error(pm);

	if (err)
		return err;
	return err_set(-EIO,
		       "%s: bad media at byte %llu, where metadata is: the volume takes no more changes. Copy off what can be read, "
		       "unmount, and run fsck.holdfast, which names the files that are hit",
		       pm->path,
		       (unsigned long long)pm_bad_first(pm));
}

/* ---- the page */

/* The blocks of a granule that the program has addresses of keep their bytes as far as they can be read: a replacement of more
 * than a page (device-DAX) is not to show it ones. */
static void poison_fill(const struct pm *pm, uint8_t *page, uint64_t off, uint64_t len)
{
	memset(page, 0xff, len);
	for (uint64_t at = 0; at < len && pm->lent; at += HF_BLOCK_SIZE)
		if (pm->lent(pm->lent_ctx, MOFF(off + at)))
			pm->ops->copy(page + at, pm->base + off + at, HF_BLOCK_SIZE);
}

/* Puts the page there at once: nobody sees anything in between. */
static bool poison_replace(struct pm *pm, uint64_t off, uint64_t len)
{
	uint8_t *page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return false;
	poison_fill(pm, page, off, len);
	if (madvise(page, len, MADV_DONTFORK) == 0 &&
	    mremap(page, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, pm->base + off) != MAP_FAILED)
		return true;
	munmap(page, len);
	return false;
}

/* How much the kernel took away, and can be replaced: a page, more after a machine check in a huge page, and on device-DAX as much as
 * the device's alignment. */
static uint64_t poison_granule(const struct pm *pm, const struct pm_member *m, const siginfo_t *info)
{
	uint64_t len = max_u64(m->granule, pm_priv_of(pm)->page_size);

	if (info->si_code == BUS_MCEERR_AR && info->si_addr_lsb > 0 && info->si_addr_lsb < 31)
		len = max_u64(len, 1ull << info->si_addr_lsb);
	return len;
}

/* A page of a dax device that is bad is told as such (BUS_MCEERR_AR): that there is no page at all means that there is no device. */
void poison_look(const siginfo_t *info)
{
	struct pm *pm = info->si_code == BUS_ADRERR ? poison_find(info->si_addr) : NULL;

	if (pm && pm_member_at(pm, MOFF((uintptr_t)info->si_addr - (uintptr_t)pm->base))->kind == PM_DEVDAX)
		__atomic_store_n(&pm_priv_of(pm)->gone, true, __ATOMIC_RELAXED);
}

/* Of bad memory that a process has mapped twice the kernel tells one address, whichever was used: the program's touch of a view may
 * come as one of the map, and is then told as what it was. */
bool poison_fault(siginfo_t *info)
{
	struct pm *pm = poison_find(info->si_addr);
	const struct pm_member *m;
	uint64_t at, len, off;
	void *own;

	if (!pm)
		return false;
	at = (uintptr_t)info->si_addr - (uintptr_t)pm->base;
	own = pm->lent ? pm->lent(pm->lent_ctx, MOFF(at)) : NULL;
	if (own) {
		info->si_addr = own;
		return false;
	}
	m = pm_member_at(pm, MOFF(at));
	len = poison_granule(pm, m, info);
	off = (at - m->base.v) / len * len + m->base.v;
	len = min_u64(len, m->base.v + m->bytes - off);
	return poison_note(pm, off, len) && poison_replace(pm, off, len);
}

/* ---- clearing: file bytes that will be written as whole blocks */

static bool poison_lent(const struct pm *pm, uint64_t off, uint64_t len)
{
	for (uint64_t at = 0; at < len && pm->lent; at += HF_BLOCK_SIZE)
		if (pm->lent(pm->lent_ctx, MOFF(off + at)))
			return true;
	return false;
}

/* Other memory for a part of the file: a hole is made and filled, and mapped where the old was. */
static bool clear_file(struct pm *pm, const struct pm_member *m, uint64_t off, uint64_t len)
{
	off_t at = (off_t)(off - m->base.v);

	return fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)len) == 0 &&
	       fallocate(m->fd, FALLOC_FL_KEEP_SIZE, at, (off_t)len) == 0 &&
	       pm_map_at(pm, pm->base + off, MOFF(off), len, PROT_READ | PROT_WRITE, true) == 0;
}

static bool clear_device(const struct pm_member *m, uint64_t off, uint64_t len)
{
	struct stat st;

	return fstat(m->fd, &st) == 0 && dax_clear_bad(st.st_rdev, off - m->base.v, len);
}

int pm_clear_bad(struct pm *pm, moff_t off, uint64_t len)
{
	const struct pm_priv *priv = pm_priv_of(pm);
	bool ok = priv->map && !pm->read_only && !pm->hook && !pm_lost(pm, off, len) && !poison_lent(pm, off.v, len);
	uint64_t n;

	for (uint64_t at = off.v; ok && at < off.v + len; at += n) {
		const struct pm_member *m = pm_member_at(pm, MOFF(at));

		n = min_u64(off.v + len, m->base.v + m->bytes) - at;
		ok = m->kind == PM_DEVDAX ? clear_device(m, at, n) : clear_file(pm, m, at, n);
	}
	return ok ? 0 : err_set(-EIO, "%s: bad media at byte %llu, which cannot be cleared", pm->path, (unsigned long long)off.v);
}

/* ---- what the devices list */

struct bad_blocks {
	const struct pm_member *m;
	pm_range_fn *fn;
	void *ctx;
};

static void bad_blocks_of(void *ctx, uint64_t off, uint64_t len)
{
	const struct bad_blocks *b = ctx;

	if (off < b->m->bytes)
		b->fn(b->ctx, b->m->base.v + off, min_u64(len, b->m->bytes - off));
}

void pm_bad_blocks(const struct pm *pm, pm_range_fn *fn, void *ctx)
{
	struct stat st;

	for (unsigned int i = 0; i < pm->nmembers; i++) {
		struct bad_blocks b = {.m = &pm->member[i], .fn = fn, .ctx = ctx};

		if (b.m->kind == PM_DEVDAX && fstat(b.m->fd, &st) == 0)
			dax_bad_blocks("/sys", st.st_rdev, bad_blocks_of, &b);
	}
}
