/* The media: the one place that stores to it.
 *
 * The whole volume is mapped once (the linear map). Reads are plain loads through pm_at(); every store goes through
 * a function of this file, so that a simulated device, a trace or a fault injector can stand behind it (struct
 * pm_hook).
 *
 * Durability: what pm_flush() covered, and what pm_copy_nt()/pm_zero_nt() stored, is durable after the next
 * pm_fence() *of the same thread*. With byte granularity (eADR) the flush does nothing. With page granularity the
 * flush remembers the pages (per thread) and the fence calls msync for them; its failure is an error, never an abort.
 */
#ifndef HF_MEDIA_PM_H
#define HF_MEDIA_PM_H

#include "base/types.h"
#include "base/error.h"
#include "base/forkflag.h"
#include "media/insn.h"
#include <string.h>

enum pm_gran { PM_BYTE, PM_LINE, PM_PAGE };
enum pm_kind { PM_DEVDAX, PM_FSDAX, PM_FILE, PM_MEMFD };
/* What survives: nothing (memfd, or a file on tmpfs survives only the process), ... */
enum pm_survives { PM_NOTHING, PM_PROCESS_CRASH, PM_POWER_FAIL };

struct pm;

/* Stands behind every store. Any member may be NULL. 'store' runs after the bytes are in the map; flush and fence run
 * instead of the instruction and may return a negative errno, which the caller gets. They run whatever the granularity
 * is. One call of this file is one event, but a non-temporal copy is up to three stores and two flushes: an edge that has to go
 * through the cache is a cached store (not nontemporal) and its flush, as it is done, and what remains is one non-temporal
 * store. Events of no bytes do not happen. */
struct pm_hook {
	void *ctx;
	void (*store)(void *ctx, moff_t off, uint64_t len, bool nontemporal);
	int (*flush)(void *ctx, moff_t off, uint64_t len);
	int (*fence)(void *ctx);
};

/* Did a copy fault, and where. */
struct pm_fault {
	uint64_t faulted;
	uint64_t addr;
};

/* Instructions, chosen once at run time. The copies return early on a fault inside them when the guard's signal
 * handler is in place (guard.c). */
struct pm_ops {
	const char *name;
	/* every line that [p, p+len) touches; weakly ordered: complete at the next fence */
	void (*flush)(const void *p, size_t len);
	/* cached */
	struct pm_fault (*copy)(void *dst, const void *src, size_t len);
	/* dst line-aligned, len whole lines */
	struct pm_fault (*nt_lines)(void *dst, const void *src, size_t len);
	void (*nt_zero_lines)(void *dst, size_t len);
	/* any alignment, edges flushed, no fence; faults as a plain store does. NULL: none (libpmem2's, where it is) */
	void *(*nt_bulk)(void *dst, const void *src, size_t len, unsigned int flags);
};

/* A device or file. A volume is one of them, or several that follow each other in one map; each begins at a frame. */
#define PM_MEMBERS_MAX 8u
struct pm_member {
	const char *path;
	int fd;				/* holds the lock; CLOEXEC; -1 for memory */
	enum pm_kind kind;
	enum pm_gran gran;		/* what the medium needs */
	int numa_node;			/* -1: unknown, or a file */
	moff_t base;			/* where it begins in the volume */
	uint64_t bytes;			/* that the volume has of it, whole frames */
	uint64_t size;			/* as found */
	uint64_t align;			/* of addresses and lengths */
	uint64_t granule;		/* what can be replaced at once; 0: a page */
	bool disk_sync;			/* msync makes things durable (not: on tmpfs, where it does nothing) */
	bool volatile_memory;
};

struct pm {
	uint8_t *base;			/* 2 MiB-aligned */
	uint64_t size;			/* bytes, whole frames */
	uint64_t align;			/* of what can be mapped: more than a frame only on a device; 0: a frame */
	enum pm_gran gran;		/* of several members the one that needs most */
	enum pm_kind kind;		/* of several the least */
	enum pm_survives survives;
	const struct pm_ops *ops;
	const struct pm_hook *hook;	/* NULL: none */
	struct pm_member member[PM_MEMBERS_MAX];
	unsigned int nmembers;
	uint64_t fork_token;		/* see pm_is_child */
	bool read_only;
	bool no_threads;		/* the layers above start no thread for it */
	uint32_t bad;			/* atomic: how often plain code met bad media; never goes down: poison.h */
	/* The address by which the program has this byte, NULL if it was given none; the byte that it has at an address outside of
	 * the map, false if none of this volume. Async-signal-safe, wait for nothing. NULL: nothing is lent */
	void *(*lent)(const void *ctx, moff_t off);
	bool (*lent_at)(const void *ctx, const void *addr, moff_t *off);
	const void *lent_ctx;
	char path[256];
	void *priv;
};

struct pm_open_args {
	bool read_only;			/* maps PROT_READ; still takes the lock (shared) */
	bool no_lock;			/* for tools that only look at the first bytes */
	bool force_gran;		/* claim .gran instead of what the medium says (tests, benchmarks) */
	enum pm_gran gran;
	bool no_msync;			/* PM_PAGE sources: do not msync; survives a process crash only */
	const struct pm_hook *hook;
	bool no_threads;		/* for simulations, which want the same run each time */
	/* Of several members: brings them into their order, and says in 'bytes' how much of each is the volume's (0: all, rounded
	 * down). head[i]: the first block of member[i], NULL: it cannot be read. NULL: as they are named, all of each */
	int (*arrange)(struct pm_member *member, unsigned int n, const void *const *head);
	const uint64_t *member_bytes;	/* so much of each, 0: all. pm_open_memory: as if it were several; NULL: one, all of it */
	unsigned int nmembers;
};

/* Opens and maps a device-DAX node or a file, or several, named 'A:B:C' (a path that exists as it stands is one, colons and all), and
 * takes the exclusive lock of each. Errors, each with its sentence: -ENOENT, -EACCES, -EBUSY (owned by another process: the
 * sentence has its pid), -ENODEV (system-ram mode, not a dax device), -EINVAL (size below 4 MiB, one named twice...), -ENOTSUP.
 * Blocks: no. */
int pm_open(const char *path, const struct pm_open_args *args, struct pm **out);
/* The names in such a list, to be freed by pm_names_free(). -EINVAL: an empty one, or more than PM_MEMBERS_MAX. */
struct pm_names {
	char *text;
	const char *name[PM_MEMBERS_MAX];
	unsigned int n;
};
int pm_names(const char *path, struct pm_names *out);
void pm_names_free(struct pm_names *names);
/* A memfd of 'size' bytes (rounded down to whole frames): volatile. args may be NULL. */
int pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out);
/* Wraps memory that the caller owns and keeps mapped (2 MiB-aligned): simulated devices. */
int pm_open_memory(void *base, uint64_t size, const struct pm_open_args *args, struct pm **out);
void pm_close(struct pm **pm);
const char *pm_kind_name(enum pm_kind k);		/* "device-dax", "dax-file", "file", "memfd" */
const char *pm_survives_name(enum pm_survives s);	/* "power-fail", "process-crash", "nothing" */
const char *pm_gran_name(enum pm_gran g);		/* "byte", "cache-line", "page" */

static inline const void *pm_at(const struct pm *pm, moff_t off) { return pm->base + off.v; }
static inline void *pm_at_mut(struct pm *pm, moff_t off) { return pm->base + off.v; }	/* for pins and views only */
/* The member that byte 'off' of the volume lies on. */
static inline const struct pm_member *pm_member_at(const struct pm *pm, moff_t off)
{
	unsigned int i = pm->nmembers - 1;

	while (i > 0 && off.v < pm->member[i].base.v)
		i--;
	return &pm->member[i];
}
/* Maps a part of the volume at addr, in place of what is there: shared, as the volume itself is mapped, or a private copy. A child
 * does not inherit it. A negative errno without a sentence: a part of it may be mapped. */
int pm_map_at(const struct pm *pm, void *addr, moff_t off, uint64_t len, int prot, bool shared);
/* True if [off, off+len) lies inside the volume. */
static inline bool pm_in_range(const struct pm *pm, moff_t off, uint64_t len)
{
	return off.v <= pm->size && len <= pm->size - off.v;
}
static inline uint64_t pm_load64(const struct pm *pm, moff_t off)	/* atomic, acquire; little-endian to host */
{
	return le64toh(__atomic_load_n((const uint64_t *)(const void *)(pm->base + off.v), __ATOMIC_ACQUIRE));
}

/* True in a child of the process that opened pm: the map is not there, the lock is only inherited. -ESTALE, and take no
 * lock. Async-signal-safe, two cached loads. */
static inline bool pm_is_child(const struct pm *pm) { return fork_token() != pm->fork_token; }

/* ---- bad media that plain loads and stores met: poison.h says what happens then */
static inline uint32_t pm_bad(const struct pm *pm) { return __atomic_load_n(&pm->bad, __ATOMIC_ACQUIRE); }
/* Is any of [off, off+len) replaced by ones? Asked after it was read. */
bool pm_lost_any(const struct pm *pm, moff_t off, uint64_t len);
static inline bool pm_lost(const struct pm *pm, moff_t off, uint64_t len)
{
	return __builtin_expect(pm_bad(pm) != 0, 0) && pm_lost_any(pm, off, len);
}
/* What the device lists as bad, in bytes of the volume; nothing for files. */
typedef void pm_range_fn(void *ctx, uint64_t off, uint64_t len);
void pm_bad_blocks(const struct pm *pm, pm_range_fn *fn, void *ctx);
uint64_t pm_bad_first(const struct pm *pm); /* the offset of the first that was met */
/* Sets the sentence; -EIO. */
int pm_bad_error(const struct pm *pm) __attribute__((cold));
/* A device was taken from under the map: it sets that sentence, and is -EIO. Else 0. */
int pm_gone_error(const struct pm *pm) __attribute__((cold));

/* ---- what is behind the inline paths below: hooks, pages, edges (pm_store.c) */
#define PM_NT_BULK 4096u	/* from here on libpmem2's copy */
void pm_store_any(struct pm *pm, moff_t off, const void *src, uint64_t len);
void pm_copy_nt_any(struct pm *pm, moff_t off, const void *src, uint64_t len);
void pm_copy_again(struct pm *pm, moff_t off, const void *src, uint64_t len);
int pm_flush_any(struct pm *pm, moff_t off, uint64_t len);
int pm_fence_any(struct pm *pm);

/* ---- cached stores: visible at once, durable after pm_flush + pm_fence. off is 8-byte aligned for the 64s.
 * Never non-temporal, however long: another thread's flush covers them once it sees them. */
static inline void pm_store64(struct pm *pm, moff_t off, uint64_t host_value)
{
	__atomic_store_n((uint64_t *)(void *)(pm->base + off.v), htole64(host_value), __ATOMIC_RELEASE);
	if (__builtin_expect(pm->hook != NULL, 0) && pm->hook->store)
		pm->hook->store(pm->hook->ctx, off, 8, false);
}

static inline void pm_or64(struct pm *pm, moff_t off, uint64_t host_bits)	/* atomic read-modify-write */
{
	__atomic_fetch_or((uint64_t *)(void *)(pm->base + off.v), htole64(host_bits), __ATOMIC_ACQ_REL);
	if (__builtin_expect(pm->hook != NULL, 0) && pm->hook->store)
		pm->hook->store(pm->hook->ctx, off, 8, false);
}

static inline void pm_and64(struct pm *pm, moff_t off, uint64_t host_bits)
{
	__atomic_fetch_and((uint64_t *)(void *)(pm->base + off.v), htole64(host_bits), __ATOMIC_ACQ_REL);
	if (__builtin_expect(pm->hook != NULL, 0) && pm->hook->store)
		pm->hook->store(pm->hook->ctx, off, 8, false);
}

/* plain memcpy, any alignment */
static inline void pm_store(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	if (__builtin_expect(pm->hook != NULL || len > HF_BLOCK_SIZE, 0))
		pm_store_any(pm, off, src, len);
	else
		memcpy(pm->base + off.v, src, len);
}
void pm_zero(struct pm *pm, moff_t off, uint64_t len);
static inline void pm_zero_line(struct pm *pm, moff_t off)
{
	if (__builtin_expect(pm->hook != NULL, 0))
		pm_zero(pm, off, HF_LINE);
	else
		memset(pm->base + off.v, 0, HF_LINE);
}

/* ---- non-temporal stores: durable after pm_fence. Any alignment and length: edge lines that an NT store cannot cover
 * are stored and flushed, never merged with bytes outside [off, off+len). src may not fault: that kills the process
 * as a plain load would (see pm_guarded_write_nt). With page granularity they are cached stores, remembered. */
static inline void pm_copy_nt(struct pm *pm, moff_t off, const void *src, uint64_t len)
{
	bool simple = !pm->hook && pm->gran != PM_PAGE && (off.v | len) % HF_LINE == 0 && len < PM_NT_BULK;

	if (!__builtin_expect(simple && !INSN_NT_NEEDS_FLUSH, 1))
		pm_copy_nt_any(pm, off, src, len);
	else if (__builtin_expect(pm->ops->nt_lines(pm->base + off.v, src, len).faulted != 0, 0))
		pm_copy_again(pm, off, src, len);
}
void pm_zero_nt(struct pm *pm, moff_t off, uint64_t len);

/* every line that [off, off+len) touches */
static inline int pm_flush(struct pm *pm, moff_t off, uint64_t len)
{
	if (__builtin_expect(pm->hook != NULL || pm->gran != PM_LINE || len == 0, 0))
		return pm_flush_any(pm, off, len);
	pm->ops->flush(pm->base + off.v, len);
	return 0;
}

/* Everything this thread flushed or stored non-temporally is durable when it returns 0. -EIO: msync failed, or a bad page was met;
 * what is durable is unknown, and every later fence of this pm fails too, in any thread. */
static inline int pm_fence(struct pm *pm)
{
	if (__builtin_expect(pm->hook != NULL || pm->gran == PM_PAGE, 0))
		return pm_fence_any(pm);
	insn_fence();
	return __builtin_expect(pm_bad(pm) != 0, 0) ? pm_bad_error(pm) : 0;
}

static inline int pm_persist(struct pm *pm, moff_t off, uint64_t len)
{
	int err = pm_flush(pm, off, len);
	return err ? err : pm_fence(pm);
}

/* ---- guarded copies (guard.c): addresses that may fault. Return 0, or -EIO when the media side is poisoned,
 * or -EFAULT when the memory side faults. Bytes already copied stay copied. They never resolve a fault and take no
 * lock; nothing is set up before the copy, so they cost what a copy costs. */
int pm_guarded_read(const struct pm *pm, void *dst, moff_t off, uint64_t len);
int pm_guarded_write_nt(struct pm *pm, moff_t off, const void *src, uint64_t len);
/* To private memory from the caller's, which may be the volume's own: a copy from file to file, a pinned block. */
int pm_guarded_fetch(const struct pm *pm, void *dst, const void *src, uint64_t len);
/* As pm_zero_nt, of file bytes. -EIO: bad media; any part of it may be zeroed. */
int pm_guarded_zero_nt(struct pm *pm, moff_t off, uint64_t len);
/* Makes what cannot be read of whole blocks usable again, as zeros, whose content is lost anyhow and is written next: a device clears
 * it (libndctl), a file gives other memory for it. Not under plain code's replaced pages, nor what the program has the address of. 0, or
 * -EIO: it stays as it is. Blocks: a system call or a few. */
int pm_clear_bad(struct pm *pm, moff_t off, uint64_t len);

#endif
