/* Looking at a volume without owning it: at rest with the journal replayed on a private copy, or, while a process has it mounted, the
 * media as that process changes it, and the pins that it publishes. Nothing is written, nothing is trusted. */
#ifndef HF_TOOLS_LOOK_H
#define HF_TOOLS_LOOK_H

#include "check/check.h"
#include "check/image.h"
#include "media/pm_lock.h"
#include "pin/table.h"
#include "tool.h"
#include <sys/types.h>

#define LOOK_WHO_BYTES (PM_LOCK_DIR_BYTES + 64)

struct look {
	const struct pm *pm;
	struct geo geo;
	pid_t owner;			/* who has it mounted; 0: nobody; -1: somebody who cannot be seen from here */
	bool live;			/* it is mounted: what is read may change meanwhile */
	bool left_behind;		/* the owner has ended, and a child of it still holds the volume */
	char who[LOOK_WHO_BYTES];			/* ", mounted by process 17" or the like; "": nobody */
	struct check_image *img;	/* !live */
	struct pm *medium;		/* live */
};

/* 0, or a negative errno with the library's sentence. A journal that cannot be read is told on standard error, and the volume
 * is shown without it. */
int look_open(const char *path, struct look *out);
void look_close(struct look *l);
/* The allocation bits of 64 blocks. */
static inline uint64_t look_word(const struct look *l, uint64_t index)
{
	return pm_load64(l->pm, moff_add(l->geo.alloc_off, index * 8));
}

/* The part of [first, first+n) that lies in word 'index': its bits. */
static inline uint64_t look_mask(uint64_t index, uint64_t first, uint64_t n)
{
	uint64_t from = max_u64(first, index * 64), to = min_u64(first + n, index * 64 + 64);

	if (from >= to)
		return 0;
	return (to - from == 64 ? UINT64_MAX : (1ull << (to - from)) - 1) << (from % 64);
}

struct look_pin {
	uint64_t id, ino, gen, off, len, age_ns;
	uint32_t flags, thread;
	bool orphaned;
	char tag[PINS_TAG_BYTES], name[PINS_NAME_BYTES];
	uint64_t busy;			/* blocks that it holds and that are free on the media */
	struct pins_extent *ext;	/* all inside the volume */
	size_t n;
};

struct look_pins {
	bool published;
	struct pins_owner owner;
	struct look_pin *pin;
	size_t n, room;
	uint64_t *held;			/* a bit per block: pinned; NULL: none is */
	uint64_t pinned, busy;		/* blocks, each counted once */
};

/* The pins that the owner has published, or that a dead one has left. -EBADMSG: the table is damaged; -ENOMEM. That there
 * is none is no error. */
int look_pins_read(const struct look *l, struct look_pins *out);
/* The same for those who have more to show: a damaged table is told on standard error, and there are no pins. */
int look_pins_try(const char *path, const struct look *l, struct look_pins *out);
void look_pins_free(struct look_pins *p);

/* A run of blocks that are free on the media and that the pin holds. */
struct look_busy {
	const struct look_pin *pin;
	uint64_t first, n;		/* media blocks */
	uint64_t off;			/* bytes in the file that it came from */
};
/* Each busy block once, with one of its pins. Stops when fn returns non-zero, and returns that; -ENOMEM. */
int look_busy_each(const struct look *l, const struct look_pins *p, int (*fn)(void *ctx, const struct look_busy *b), void *ctx);

#endif
