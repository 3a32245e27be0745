/*
 * libholdfast-crash: simulated persistent memory, and every state in which a crash may leave it.
 *
 * Link with libholdfast-crash in the place of libholdfast: it has all of that library too.
 *
 * A program gives a workload and a check. hf_crash_explore() runs the workload once on a simulated device. At each fence, and
 * after each operation, it stops the workload, and for each content that the device could have after a power failure (or a
 * kill -9) there, it recovers that content and calls the check. Two kinds:
 *
 *   - with a volume (the default): the device is formatted and mounted, the workload uses it through holdfast.h, recovery is
 *     the mount, the check gets the mounted volume. Recovery is crashed too, at each of its own fences.
 *   - raw: the workload stores to the bare device through hf_crash_store() and the like, the program recovers and checks.
 *
 * examples/crash_your_own.c shows the second in a hundred lines.
 *
 * The fault model (docs/CRASH.md argues for it):
 *   1. An aligned 8-byte store is atomic. Of a longer or unaligned store, each aligned 8 bytes that it covers wholly are old or
 *      new, and of the others each byte that it covers.
 *   2. After a power failure each line of 64 bytes holds what was last known durable there, or anything later that was stored
 *      there: cached stores to one line appear in their order (not so with any_order: then the order holds within each aligned
 *      8 bytes only); between lines there is no order.
 *   3. A flush remembers, for its thread, the cached stores that the line has had until then, of all threads; that thread's next
 *      fence makes them durable. A flush by another thread, a fence by another thread, or a flush without a fence: nothing.
 *   4. A non-temporal store is durable after a fence of the storing thread. No flush reaches it. Until then it may reach the media
 *      before or after any other store, its aligned 8 bytes one by one.
 *   5. HF_CRASH_BYTE (eADR): an executed cached store is durable; a flush does nothing; 4 holds.
 *   6. HF_CRASH_PAGE (msync): a flush covers whole pages of 4096 bytes, all stores to them of all threads; a non-temporal store
 *      is a cached one, flushed.
 *   7. kill -9: the next process sees every store that was executed; what was not durable still is not, and nobody's fence will
 *      make it so; only a new flush does.
 *   8. A poisoned line cannot be read: the access gives SIGBUS (the simulation: the page that has the line).
 */
#ifndef HOLDFAST_CRASH_H
#define HOLDFAST_CRASH_H

#include <holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_crash_media hf_crash_media;	/* a simulated device */
typedef struct hf_crash_run hf_crash_run;	/* one exploration, as the callbacks see it */

/* ------------------------------------------------------------------------------------------------ simulated media */

enum hf_crash_granularity {
	HF_CRASH_LINE = 0,		/* a store is durable after flush and fence */
	HF_CRASH_BYTE = 1,		/* eADR: the caches are durable */
	HF_CRASH_PAGE = 2,		/* msync of whole pages */
};
struct hf_crash_model {			/* all zero: x86-64 with clwb */
	enum hf_crash_granularity granularity;
	bool any_order;			/* the stores to one line have no order, but in each aligned 8 bytes (aarch64) */
	bool nt_stays_cached;		/* a non-temporal store to a line that has had a cached one is a cached store */
};
/* A device of zeros, all durable. bytes: rounded up to 2 MiB, at least 4 MiB. model may be NULL. -EINVAL -ENOMEM */
HF_API int hf_crash_media_new(hf_crash_media **out, uint64_t bytes, const struct hf_crash_model *model);
/* Nothing may be mounted on it. *media is set to NULL. */
HF_API void hf_crash_media_delete(hf_crash_media **media);
/* The device's bytes, for reading; stores go through the functions below. */
HF_API void *hf_crash_media_addr(hf_crash_media *media);
HF_API uint64_t hf_crash_media_bytes(const hf_crash_media *media);

/* Cached stores: visible at once, durable after a flush and a fence by one thread. hf_crash_store64: one atomic store, off a
 * multiple of 8, native byte order. Ranges outside the device end the program. */
HF_API void hf_crash_store(hf_crash_media *media, uint64_t off, const void *src, size_t len);
HF_API void hf_crash_store64(hf_crash_media *media, uint64_t off, uint64_t value);
/* Non-temporal: durable after a fence by the same thread. */
HF_API void hf_crash_store_nt(hf_crash_media *media, uint64_t off, const void *src, size_t len);
HF_API void hf_crash_flush(hf_crash_media *media, uint64_t off, size_t len);
HF_API void hf_crash_fence(hf_crash_media *media);
/* From now on the program itself stores in the range (through pins or views, or plain pointers): what differs there at a
 * flush or a fence counts as a cached store of that moment, aligned 8 bytes as one. on = false ends it. Anywhere else, bytes
 * that changed without a call of this page are a failure that the explorer reports. */
HF_API void hf_crash_direct(hf_crash_media *media, uint64_t off, size_t len, bool on);
/* Makes the pages of the range unreadable, or readable again with their content. -ENOMEM */
HF_API int hf_crash_poison(hf_crash_media *media, uint64_t off, size_t len, bool on);
/* The power fails, and comes back: the device has one of the contents that it could have, chosen by the seed, all durable. */
HF_API void hf_crash_power_fail(hf_crash_media *media, uint64_t seed);
/* A new process after kill -9: see 7 above. */
HF_API void hf_crash_kill(hf_crash_media *media);
/* A volume on it. mkfs with a given seed, so that two runs write the same bytes. */
HF_API int hf_crash_media_format(hf_crash_media *media, uint64_t seed);
HF_API int hf_crash_media_mount(hf_crash_media *media, hf_volume **out);

/* ------------------------------------------------------------------------------------------------ crash explorer */

enum hf_crash_op_state {
	HF_CRASH_OP_NONE = 0,		/* not begun: none of it may be there */
	HF_CRASH_OP_IN_FLIGHT = 1,	/* begun: wholly there or not at all, or whatever the program promises */
	HF_CRASH_OP_FINISHED = 2,	/* its end was announced: all of it must be there */
};

struct hf_crash_failure {
	const char *id;			/* replays this one */
	const char *text;		/* what is wrong, a sentence or several lines */
	const char *op;			/* the operation in flight, or the last one that finished; "" before the first */
	const char *where;		/* "at fence 3 of create", "after rename, in fence 2 of recovery", ... */
	const char *left_out;		/* the lines that did not (or not wholly) reach the media, one per line of text; "" none */
	uint64_t lines_left_out;
};

struct hf_crash_result {
	uint64_t points;		/* fences and ends of operations at which it was stopped */
	uint64_t states;		/* crash states that were built */
	uint64_t images;		/* different ones among them: recovered and checked */
	uint64_t kills;			/* of these, by kill -9 */
	uint64_t recovery_images;	/* of these, from crashes of recovery */
	uint64_t failures;
	double seconds;
	bool stopped;			/* by the time limit, or by max_failures */
};

struct hf_crash_options {
	size_t struct_size;		/* sizeof(struct hf_crash_options) */
	uint64_t bytes;			/* of the device; 0: 8 MiB */
	struct hf_crash_model model;
	bool raw;			/* no volume */
	bool no_kill;			/* power failures only */
	int depth;			/* so many times in a row is recovery crashed; 0: two; -1: never */
	uint64_t seed;			/* of what is sampled */
	uint32_t number;		/* the caller's, for the workload; goes into the ids */
	uint32_t all_below;		/* up to so many combinations at one point: all of them; 0: 256 */
	uint32_t max_images;		/* else at most so many; 0: 512 */
	uint32_t max_recovery_images;	/* of one fence in a recovery; half of it in the recovery from that; 0: 16 */
	uint64_t max_failures;		/* stop after so many; 0: 1 */
	double seconds;			/* stop after; 0: no limit */
	void *ctx;			/* hf_crash_ctx() */
	/* Before the first crash point; what it did is made durable (with a volume: hf_syncfs). May be NULL. On the workload's
	 * thread, as 'workload'. 0, or a negative errno, which the exploration returns. */
	int (*setup)(hf_crash_run *run);
	int (*workload)(hf_crash_run *run);
	/* Raw: brings the device from what the crash left to a state that 'check' can look at. It is crashed at its fences. May
	 * be NULL. On the caller's thread, as 'check'. Not 0: a failure. With a volume: the mount is it. */
	int (*recover)(hf_crash_run *run);
	/* Is what is there what may be there? 0, or not 0: a failure, said with hf_crash_say(). It may change what it checks. */
	int (*check)(hf_crash_run *run);
	void (*failure)(void *ctx, const struct hf_crash_failure *f);	/* may be NULL */
	void (*progress)(void *ctx, const struct hf_crash_result *r);	/* now and then; may be NULL */
	void *reserved[4];
	/* With a volume: at each point so many images with a page of 4 KiB of bad media, which gives -EIO where it is met: those that a mount
	 * reads, and those stored to. The mount fails with -EIO, or 'check' is asked: see hf_crash_run_bad. 0: none. */
	uint32_t bad_pages;
};
/* Runs the workload once and checks every crash state. 0, also with failures (see *out); or a negative errno: it could not be
 * done (the sentence: hf_errormsg()). Everything is a function of the options alone: a second run does the same. One at a time
 * in a process. */
HF_API int hf_crash_explore(const struct hf_crash_options *opts, struct hf_crash_result *out);
/* Runs the workload up to the crash that the id names and checks that image alone. The options must be those of the run that
 * printed it (seed and model are the id's). -EINVAL: no such id, or of another workload; -ENOENT: the run did not come to that point. */
HF_API int hf_crash_replay(const struct hf_crash_options *opts, const char *id, struct hf_crash_result *out);
/* The seed and the number of the workload in an id. -EINVAL */
HF_API int hf_crash_id_parse(const char *id, uint64_t *seed, uint32_t *number);

/* ---- crash callbacks */
HF_API void *hf_crash_ctx(hf_crash_run *run);
/* The device: of the workload in the workload, of the crash image in recover and check. */
HF_API hf_crash_media *hf_crash_run_media(hf_crash_run *run);
/* The volume on it; NULL when raw. */
HF_API hf_volume *hf_crash_run_volume(hf_crash_run *run);
/* Announces an operation (any thread) and gives its number: 0, 1, 2 ... The name is copied. */
HF_API uint32_t hf_crash_op_begin(hf_crash_run *run, const char *name);
HF_API void hf_crash_op_end(hf_crash_run *run, uint32_t op);
/* For the check: how far the workload was when it crashed. */
HF_API uint32_t hf_crash_ops(hf_crash_run *run);	/* begun */
HF_API enum hf_crash_op_state hf_crash_op_state(hf_crash_run *run, uint32_t op);
/* Why the callback will return something that is not 0. Returns -EUCLEAN, so that 'return hf_crash_say(...)' does. */
HF_API int hf_crash_say(hf_crash_run *run, const char *fmt, ...)
#if defined(__GNUC__)
	__attribute__((format(printf, 2, 3)))
#endif
	;
/* True once per crash point: for checks that are too slow for every image (filling the volume). */
HF_API bool hf_crash_run_first(hf_crash_run *run);
/* For the check: the image has bad media. Calls may fail with -EIO or -ESHUTDOWN; what they say otherwise is right. */
HF_API bool hf_crash_run_bad(hf_crash_run *run);

#ifdef __cplusplus
}
#endif

#endif
