#include "media/pm_impl.h"

#include <signal.h>

/* The C library's memcpy and memset go non-temporal above some MiB. A flush by another thread would
 * not cover such stores, so long ones go in pieces. */
#define CACHED_PIECE 65536u

static void store_cached(uint8_t *dst, const uint8_t *src, uint64_t len)
{
	while (len > 0) {
		size_t n = len < CACHED_PIECE ? len : CACHED_PIECE;

		memcpy(dst, src, n);
		dst += n;
		src += n;
		len -= n;
	}
}

static void zero_cached(uint8_t *dst, uint64_t len)
{
	while (len > 0) {
		size_t n = len < CACHED_PIECE ? len : CACHED_PIECE;

		memset(dst, 0, n);
		dst += n;
		len -= n;
	}
}

static void store_event(const struct pm *pm, moff_t off, uint64_t len, bool nontemporal)
{
	if (pm->hook && pm->hook->store && len > 0)
		pm->hook->store(pm->hook->ctx, off, len, nontemporal);
}

/* What a simulated fence will never msync need not be remembered. */
static bool remember_pages(const struct pm *pm)
{
	return pm->gran == PM_PAGE && !(pm->hook && pm->hook->fence);
}

/* A line of a non-temporal copy that went through the cache. It is an event like another, so that who stands behind the
 * media sees whether it is there, and may have it fail: the fence says so. The instruction itself cannot fail. */
static void flush_edge(struct pm *pm, uint8_t *dst, uint64_t len)
{
	if (!pm->hook || !pm->hook->flush)
		pm->ops->flush(dst, len);
	else if (pm->hook->flush(pm->hook->ctx, MOFF((uint64_t)(dst - pm->base)), len))
		__atomic_store_n(&pm_priv_of(pm)->edge_failed, true, __ATOMIC_RELEASE);
}

static void event_at(const struct pm *pm, const uint8_t *dst, uint64_t len, bool nontemporal)
{
	store_event(pm, MOFF((uint64_t)(dst - pm->base)), len, nontemporal);
}

/* Part of one line, at an edge of a longer copy or all of a short one. Whole words need no cached
 * store, and so no flush and no read of a line that is not in the cache. */
static void store_edge_nt(struct pm *pm, uint8_t *dst, const uint8_t *src, uint64_t len)
{
	bool words = ((uintptr_t)dst | len) % 8 == 0;

	for (uint64_t i = 0; i < len && words; i += 8) {
		uint64_t raw;

		memcpy(&raw, src + i, 8);
		insn_nt64(dst + i, raw);
	}
	if (!words)
		memcpy(dst, src, len);
	event_at(pm, dst, len, words);
	if (pm->gran == PM_LINE && (!words || INSN_NT_NEEDS_FLUSH))
		flush_edge(pm, dst, len);
}

static void zero_edge_nt(struct pm *pm, uint8_t *dst, uint64_t len)
{
	static const uint8_t zeros[HF_LINE];

	store_edge_nt(pm, dst, zeros, len);
}

/* [dst, dst+len) is an edge up to the first line border, whole lines, an edge:
 *
 *	|      hhhh|LLLLLLLLLL|LLLLLLLLLL|ttt       |
 */
struct parts {
	uint64_t head, lines, tail;
};

static struct parts parts_of(const uint8_t *dst, uint64_t len)
{
	struct parts p;

	p.head = min_u64(-(uintptr_t)dst % HF_LINE, len);
	p.lines = (len - p.head) & ~(uint64_t)(HF_LINE - 1);
	p.tail = len - p.head - p.lines;
	return p;
}

static void store_nt(struct pm *pm, moff_t off, const uint8_t *src, uint64_t len)
{
	uint8_t *dst = pm->base + off.v;
	struct parts p = parts_of(dst, len);

	if (len >= PM_NT_BULK && pm->ops->nt_bulk) {
		pm->ops->nt_bulk(dst, src, len, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		store_event(pm, off, len, true);
		return;
	}
	if (p.head)
		store_edge_nt(pm, dst, src, p.head);
	if (p.lines) {
		if (pm->ops->nt_lines(dst + p.head, src + p.head, p.lines).faulted)
			pm_copy_again(pm, moff_add(off, p.head), src + p.head, p.lines);
		else if (INSN_NT_NEEDS_FLUSH && pm->gran == PM_LINE)
			pm->ops->flush(dst + p.head, p.lines);
		event_at(pm, dst + p.head, p.lines, true);
	}
	if (p.tail)
		store_edge_nt(pm, dst + p.head + p.lines, src + p.head + p.lines, p.tail);
}

/* A copy that was not a guarded one faulted inside a guarded routine. Touch the place again in
 * plain code: whoever handles faults of this process decides, and the default is to die there. If
 * the fault went away, all is well. */
void pm_copy_again(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	store_cached(pm->base + off.v, src, len);
	if (pm->gran == PM_LINE)
		pm->ops->flush(pm->base + off.v, len);
}

void pm_store_any(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	store_cached(pm->base + off.v, src, len);
	store_event(pm, off, len, false);
}

void pm_zero(struct pm *pm, moff_t off, uint64_t len)
{
	zero_cached(pm->base + off.v, len);
	store_event(pm, off, len, false);
}

void pm_copy_nt_any(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	if (pm->gran != PM_PAGE) {
		store_nt(pm, off, src, len);
		return;
	}
	store_cached(pm->base + off.v, src, len);
	/* A failed msync in here is kept and returned by the fence. */
	if (remember_pages(pm))
		page_add(pm, pm->base + off.v, len);
	store_event(pm, off, len, true);
}

static void zero_nt(struct pm *pm, uint8_t *dst, uint64_t len)
{
	struct parts p = parts_of(dst, len);

	if (p.head)
		zero_edge_nt(pm, dst, p.head);
	if (p.lines) {
		pm->ops->nt_zero_lines(dst + p.head, p.lines);
		if (INSN_NT_NEEDS_FLUSH && pm->gran == PM_LINE)
			pm->ops->flush(dst + p.head, p.lines);
		event_at(pm, dst + p.head, p.lines, true);
	}
	if (p.tail)
		zero_edge_nt(pm, dst + p.head + p.lines, p.tail);
}

void pm_zero_nt(struct pm *pm, moff_t off, uint64_t len)
{
	uint8_t *dst = pm->base + off.v;

	if (pm->gran != PM_PAGE) {
		zero_nt(pm, dst, len);
		return;
	}
	zero_cached(dst, len);
	if (remember_pages(pm))
		page_add(pm, dst, len);
	store_event(pm, off, len, true);
}

int pm_flush_any(struct pm *pm, moff_t off, uint64_t len)
{
	if (len == 0)
		return 0;
	if (pm->hook && pm->hook->flush)
		return pm->hook->flush(pm->hook->ctx, off, len);
	if (pm->gran == PM_LINE)
		pm->ops->flush(pm->base + off.v, len);
	if (remember_pages(pm))
		return page_add(pm, pm->base + off.v, len);
	return 0;
}

int pm_fence_any(struct pm *pm)
{
	bool *edge = &pm_priv_of(pm)->edge_failed;
	int err = 0;

	if (pm->hook && pm->hook->fence)
		err = pm->hook->fence(pm->hook->ctx);
	else if (pm->gran == PM_PAGE)
		err = page_sync(pm);
	else
		insn_fence();
	if (__atomic_load_n(edge, __ATOMIC_ACQUIRE) && __atomic_exchange_n(edge, false, __ATOMIC_ACQ_REL) && !err)
		err = err_set(-EIO, "%s: a flush failed: what is on the media is not known", pm->path);
	if (!err && pm_bad(pm) != 0)
		err = pm_bad_error(pm);
	return err;
}

/* ---- guarded */

/* Which side was it? An address that both could mean (a buffer inside the linear map) is media. */
static int guarded_error(const struct pm *pm, struct pm_fault f, const char *what)
{
	uint64_t at = f.addr - (uintptr_t)pm->base;
	moff_t shown;

	/* The kernel may tell bad memory by a view's address. A page that was revoked, and may be mapped again by now, is SIGSEGV. */
	if (at >= pm->size && guard_last_signal() == SIGBUS && pm->lent_at && pm->lent_at(pm->lent_ctx, (const void *)(uintptr_t)f.addr, &shown))
		at = shown.v;
	if (at < pm->size && pm_gone_error(pm))
		return -EIO;
	if (at < pm->size)
		return err_set(-EIO,
			       "%s: %s failed at byte %llu of the volume: bad media, or the file "
			       "was cut short",
			       pm->path, what, (unsigned long long)at);
	return err_set(-EFAULT, "%s: the buffer at %#llx cannot be accessed", what,
		       (unsigned long long)f.addr);
}

/* The copy took the ones that stand for a bad page. */
static int guarded_lost(const struct pm *pm, moff_t off, const char *what)
{
	if (pm_gone_error(pm))
		return -EIO;
	return err_set(-EIO, "%s: %s failed at byte %llu of the volume: bad media", pm->path, what, (unsigned long long)off.v);
}

int pm_guarded_read(const struct pm *pm, void *dst, moff_t off, uint64_t len)
{
	struct pm_fault f = pm->ops->copy(dst, pm->base + off.v, len);

	if (__builtin_expect(f.faulted != 0, 0))
		return guarded_error(pm, f, "a read");
	return pm_lost(pm, off, len) ? guarded_lost(pm, off, "a read") : 0;
}

int pm_guarded_fetch(const struct pm *pm, void *dst, const void *src, uint64_t len)
{
	struct pm_fault f = pm->ops->copy(dst, src, len);

	return f.faulted ? guarded_error(pm, f, "a write") : 0;
}

/* An edge goes through a line of our own: its two sides then fault in routines that are guarded. */
static struct pm_fault guarded_edge(struct pm *pm, uint8_t *dst, const uint8_t *src, uint64_t len)
{
	uint8_t line[HF_LINE];
	struct pm_fault f = pm->ops->copy(line, src, len);

	if (f.faulted)
		return f;
	f = pm->ops->copy(dst, line, len);
	event_at(pm, dst, len, false); /* also after a fault: part of it may be in the map */
	if (!f.faulted && pm->gran == PM_LINE)
		flush_edge(pm, dst, len);
	return f;
}

static struct pm_fault guarded_nt(struct pm *pm, uint8_t *dst, const uint8_t *src, uint64_t len)
{
	struct parts p = parts_of(dst, len);
	struct pm_fault f = {0, 0};

	if (p.head)
		f = guarded_edge(pm, dst, src, p.head);
	if (p.lines && !f.faulted) {
		f = pm->ops->nt_lines(dst + p.head, src + p.head, p.lines);
		event_at(pm, dst + p.head, p.lines, true);
		if (INSN_NT_NEEDS_FLUSH && !f.faulted && pm->gran == PM_LINE)
			pm->ops->flush(dst + p.head, p.lines);
	}
	if (p.tail && !f.faulted)
		f = guarded_edge(pm, dst + p.head + p.lines, src + p.head + p.lines, p.tail);
	return f;
}

/* Durability: all of it after pm_fence when it returned 0; any part of it may be when it did not.
 */
int pm_guarded_write_nt(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	struct pm_fault f;

	/* No arithmetic on a null pointer below. Other wild ones fault in the copy. */
	if (!src && len > 0)
		return guarded_error(pm, (struct pm_fault){.faulted = 1, .addr = 0}, "a write");
	if (pm->gran == PM_PAGE) {
		f = pm->ops->copy(pm->base + off.v, src, len);
		if (remember_pages(pm))
			page_add(pm, pm->base + off.v, len);
		store_event(pm, off, len, true);
	} else {
		f = guarded_nt(pm, pm->base + off.v, src, len);
	}
	if (f.faulted)
		return guarded_error(pm, f, "a write");
	return pm_lost(pm, off, len) ? guarded_lost(pm, off, "a write") : 0;
}

/* Zeroing is plain code. What the kernel took away, it took by the page; and an edge reads its line. */
static int zero_look(const struct pm *pm, moff_t off, uint64_t len)
{
	uint64_t step, at = off.v, end = off.v + len;
	uint8_t byte;
	int err = 0;

	for (; at < end && !err; at = at / step * step + step) {
		step = max_u64(pm_priv_of(pm)->page_size, pm_member_at(pm, MOFF(at))->granule);
		err = pm_guarded_read(pm, &byte, MOFF(at), 1);
	}
	return err || len == 0 ? err : pm_guarded_read(pm, &byte, MOFF(end - 1), 1);
}

int pm_guarded_zero_nt(struct pm *pm, moff_t off, uint64_t len)
{
	int err = zero_look(pm, off, len);

	if (!err)
		pm_zero_nt(pm, off, len);
	return err;
}
