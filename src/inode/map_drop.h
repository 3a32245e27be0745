/* Taking a range out of a map and freeing it: the engine under map_remove, map_trim_some and
 * map_free_some. */
#ifndef HF_INODE_MAP_DROP_H
#define HF_INODE_MAP_DROP_H

#include "inode/map_tree.h"

enum map_drop_flags {
	MAP_DROP_SOME =
	    1, /* when the transaction is full, or after a lot of work: stop, *done false */
	MAP_DROP_KEEP_LEAF =
	    2, /* a huge leaf that cannot be split for lack of a block stays whole */
};

/* Frees [lo, hi) of m, from its end. Changes m->root and m->delta. *done: all of it is gone.
 * Without MAP_DROP_SOME: -E2BIG where the transaction is full. Any error: the transaction must be
 * aborted. */
int map_drop(struct map_tree *m, uint64_t lo, uint64_t hi, unsigned flags, bool *done);

#endif
