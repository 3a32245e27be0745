/* Making slots of views mappable, and what views leave behind. All without locks held, and outside
 * the gate. */
#ifndef HF_FILE_VIEW_FILL_H
#define HF_FILE_VIEW_FILL_H

#include "file/data.h"
#include "pin/view.h"

/* See view_fill_fn. */
int view_fill(struct view *v, uint64_t slot, bool write, uint64_t owner);
/* view_fill for the calling thread, waiting for pins as long as the view says. -EBUSY: pinned. */
int view_fill_wait(struct view *v, uint64_t slot, bool write);
/* Punches what was queued (rule T3): of slots that no view maps, or (force) of all. */
void view_holes_run(struct inode *in, bool force);
/* The same for every inode of the volume that has views, when there is no space. True: something
 * was queued, and what failed may be tried again. */
bool view_holes_reclaim(struct fs *fs);

#endif
