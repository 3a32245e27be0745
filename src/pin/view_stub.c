/* Replaced by arena.c, view.c and fault.c. */
#include "pin/view.h"

bool view_address(const void *p, uint64_t len)
{
	(void)p;
	(void)len;
	return false;
}

int view_revoke(struct inode *in, uint64_t from, uint64_t to)
{
	(void)in;
	(void)from;
	(void)to;
	return 0;
}

bool view_maps(struct inode *in, fblk_t at)
{
	(void)in;
	(void)at;
	return false;
}

int view_hole_queue(struct inode *in, fblk_t first, uint64_t n)
{
	(void)in;
	(void)first;
	(void)n;
	return 0;
}

void view_hole_forget(struct inode *in, fblk_t first, uint64_t n)
{
	(void)in;
	(void)first;
	(void)n;
}

int view_flush(struct fs *fs, struct inode *in, bool *any)
{
	(void)fs;
	(void)in;
	(void)any;
	return 0;
}

uint64_t view_count(const struct fs *fs)
{
	(void)fs;
	return 0;
}
