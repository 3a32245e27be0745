/* Replaced by huge.c and resize.c. */
#include "file/resize.h"

int resize_free_holes(struct inode *in, fblk_t slot_first, const uint64_t mask[8])
{
	(void)in;
	(void)slot_first;
	(void)mask;
	return 0;
}

int resize_collapse_slot(struct inode *in, fblk_t slot_first)
{
	(void)in;
	return err_set(-EOPNOTSUPP, "block %llu is not a huge leaf", (unsigned long long)slot_first.v);
}
