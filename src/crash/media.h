/* The simulated device, as the explorer sees it. The fault model stands at the top of media.c. */
#ifndef HF_CRASH_MEDIA_H
#define HF_CRASH_MEDIA_H

#include "base/hash.h"
#include "media/pm.h"
#include <holdfast/crash.h>
#include <pthread.h>

#define DELTA_NONE UINT32_MAX

/* One store's effect on one line. */
struct delta {
	uint64_t seq;  /* of the store, over the whole device */
	uint64_t mask; /* bytes that it stored and that no later durable store covers */
	uint32_t next; /* of the line, in the order of the stores; DELTA_NONE: the last */
	bool nt;
	uint8_t data[HF_LINE];
};

/* A line that has stores which are not known durable. */
struct pending_line {
	uint64_t no;
	uint32_t first, last; /* deltas */
	uint32_t n;
	uint8_t now[HF_LINE]; /* with all of them, as media_apply(CHOICE_ALL) */
};

/* What a thread's next fence makes durable: of a line either one non-temporal store, or the cached
 * ones up to a moment. */
struct waiting {
	uint64_t line, seq;
	bool nt;
};
struct media_thread {
	uint32_t id;
	struct waiting *w;
	size_t n, cap;
};

/* Which of a line's pending stores reached the media. Stores 0 .. k-1 did, and of store k (with
 * any_order: of all from k on) the aligned words that 'words' says; of a word that a store covers
 * in part, the bytes that 'bytes' says. 'flip' says which of its non-temporal stores (bit 0 is the
 * first) did the opposite of that. */
struct choice {
	uint32_t k;
	uint8_t words, bytes;
	uint16_t flip;
};
#define CHOICE_NONE ((struct choice){0, 0, 0xff, 0})
#define CHOICE_ALL  ((struct choice){UINT32_MAX, 0, 0xff, 0})
static inline bool choice_same(struct choice a, struct choice b)
{
	return a.k == b.k && a.words == b.words && a.bytes == b.bytes && a.flip == b.flip;
}

/* A set of line numbers. */
struct lineset {
	uint64_t *bit;
	uint32_t *list;
	size_t n;
};

struct direct {
	uint64_t off, len;
};

enum media_event { MEDIA_STORE, MEDIA_STORE_NT, MEDIA_FLUSH, MEDIA_FENCE };

struct hf_crash_media {
	struct pm *pm; /* for raw use */
	struct pm_hook hook;
	struct hf_crash_model model;
	pthread_mutex_t mutex;
	uint8_t *mem;  /* what loads see */
	int mem_fd;    /* the memory behind mem, for views */
	uint8_t *base; /* what is known durable */
	uint64_t bytes, nlines;
	uint64_t hash; /* of base: exclusive or of its lines' */
	uint64_t seq;
	bool light; /* stores are durable at once; only 'touched' is kept */
	bool out_of_memory;

	uint32_t *slot; /* line number -> 1 + index in lines */
	struct pending_line *lines;
	uint32_t lines_cap, lines_used, *lines_free, lines_nfree;
	struct delta *deltas;
	uint32_t deltas_cap, deltas_used, *deltas_free, deltas_nfree;
	struct lineset listed;	/* pending lines in the order in which they became so, and some that
				   are not any more */
	struct lineset touched; /* lines whose bytes may differ from the origin's: zeros, or the
				   base of the device that this one is a copy of */
	struct lineset cached;	/* had a cached store: for nt_stays_cached */
	const uint8_t *origin;	/* the caller's; NULL: zeros */
	uint64_t origin_hash;
	struct media_thread *threads;
	size_t nthreads;
	struct direct *directs;
	size_t ndirects;
	uint64_t *poisoned; /* a bit per page */
	size_t npoisoned;
	int poison_fd;

	struct hf_crash_media *copy; /* is told which lines of our base change */
	/* Before a fence takes effect, with the mutex held. */
	void (*on_fence)(void *ctx, struct hf_crash_media *m);
	/* Each event of the workload, for traces. May be NULL. */
	void (*on_event)(void *ctx, enum media_event what, uint64_t off, uint64_t len);
	void *ctx;
	uint64_t stores, flushes, fences;
};

int media_new(struct hf_crash_media **out, uint64_t bytes, const struct hf_crash_model *model);
void media_delete(struct hf_crash_media **m);
/* Its origin's bytes, all durable, and as new. */
void media_reset(struct hf_crash_media *m);
/* The same with another origin; the bytes (NULL: zeros) stay the caller's, hash is theirs. */
void media_set_origin(struct hf_crash_media *m, const uint8_t *bytes, uint64_t hash);
/* The hash of a whole device, as m->hash. */
uint64_t media_bytes_hash(const uint8_t *bytes, uint64_t len);
/* Of what a kill leaves: the durable bytes and all pending stores. */
uint64_t media_kill_hash(struct hf_crash_media *m);
/* A pm on it, for a volume that will close it. */
int media_open_pm(struct hf_crash_media *m, struct pm **out);
/* The pending lines, in the order in which they became so; their count. Lines of the array are the
 * media's until the next event. */
size_t media_pending(struct hf_crash_media *m, const uint32_t **list);
const struct pending_line *media_line(const struct hf_crash_media *m, uint64_t no);
/* The line's bytes under a choice. */
void media_apply(const struct hf_crash_media *m, uint64_t no, struct choice c,
		 uint8_t out[HF_LINE]);
/* Choices of a line: first the whole versions, oldest first (what is durable, ..., everything),
 * then torn stores and non-temporal ones out of order. *whole is how many of the first kind. Up to
 * max. */
size_t media_choices(const struct hf_crash_media *m, uint64_t no, struct choice *out, size_t max,
		     size_t *whole);
/* A choice by chance, any that the model has. */
struct choice media_choose(const struct hf_crash_media *m, uint64_t no, uint64_t random);
/* The choice with exactly the stores up to the one with number seq, but without those non-temporal
 * ones among them that 'drop' has a bit for. */
struct choice media_choose_until(const struct hf_crash_media *m, uint64_t no, uint64_t seq,
				 uint16_t drop);
uint64_t media_line_hash(uint64_t no, const uint8_t line[HF_LINE]);
/* A difference between the bytes and what the events say; false: none. Not within direct ranges.
 * everywhere: else only in lines that were stored to. */
bool media_stray(struct hf_crash_media *m, bool everywhere, uint64_t *off);
/* What differs in direct ranges becomes cached stores. */
void media_capture(struct hf_crash_media *m);

/* Everything becomes durable. */
void media_settle_all(struct hf_crash_media *m);
/* Until the second call every store is durable at once, and cheap. */
void media_light_begin(struct hf_crash_media *m);
void media_light_end(struct hf_crash_media *m);
/* The crash happens to the device itself: one of its contents, or a new process. Mutex held. */
void media_fail_in_place(struct hf_crash_media *m, uint64_t seed);
void media_kill_in_place(struct hf_crash_media *m);

/* ---- a device that is a copy: from->copy = to */
/* to becomes what 'from' has durable; no pending stores, no poison. */
void media_copy_base(struct hf_crash_media *to, const struct hf_crash_media *from);
/* One line differs from that, durably. */
void media_copy_line(struct hf_crash_media *to, uint64_t no, const uint8_t line[HF_LINE]);
/* All pending stores of 'from', executed and not durable, as after kill -9. */
void media_copy_pending(struct hf_crash_media *to, struct hf_crash_media *from);

void lineset_add(struct lineset *s, uint64_t no);
static inline bool lineset_has(const struct lineset *s, uint64_t no)
{
	return s->bit[no / 64] >> (no % 64) & 1;
}

#endif
