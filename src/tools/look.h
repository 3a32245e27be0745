/* Looking at a volume without owning it: at rest with the journal replayed on a private copy, or, while a process has it mounted, the
 * media as that process changes it. Nothing is written, nothing is trusted. */
#ifndef HF_TOOLS_LOOK_H
#define HF_TOOLS_LOOK_H

#include "check/check.h"
#include "tool.h"
#include <sys/types.h>

struct look {
	const struct pm *pm;
	struct geo geo;
	pid_t owner;			/* who has it mounted; 0: nobody; -1: somebody who cannot be seen from here */
	bool live;			/* it is mounted: what is read may change meanwhile */
	struct check_image *img;	/* !live */
	struct pm *medium;		/* live */
};

/* 0, or a negative errno with the library's sentence. A journal that cannot be read is told on standard error, and the volume
 * is shown without it. */
int look_open(const char *path, struct look *out);
void look_close(struct look *l);
/* The allocation bits of 64 blocks; bits that lie beyond the volume are not asked for. */
static inline uint64_t look_word(const struct look *l, uint64_t index)
{
	return pm_load64(l->pm, moff_add(l->geo.alloc_off, index * 8));
}
static inline bool look_allocated(const struct look *l, uint64_t block)
{
	return look_word(l, block / 64) >> (block % 64) & 1;
}

#endif
