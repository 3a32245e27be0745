/* Growing a volume to the size of its device; format/grow.c has the order of the writes. */
#ifndef HF_CHECK_GROW_H
#define HF_CHECK_GROW_H

#include "media/pm.h"

/* Of an open medium that nobody has mounted: recovers the journal, then grows. *from, *to: its sizes in bytes; equal: there was
 * nothing to do. The errors are hf_grow()'s. */
int grow_volume(struct pm *pm, uint64_t *from, uint64_t *to);

#endif
