/* Replaced by pin.c, table.c and lease.c. */
#include "pin/pin.h"

#include <unistd.h>

int pin_owned_by(struct inode *in, fblk_t first, uint64_t n, uint64_t owner)
{
	(void)in;
	(void)first;
	(void)n;
	(void)owner;
	return 0;
}

uint64_t pin_thread(void)
{
	return (uint64_t)gettid();
}

struct waitq *pin_changed(struct inode *in)
{
	static struct waitq q;

	(void)in;
	return &q;
}

int pin_own(struct inode *in, fblk_t first, uint64_t n)
{
	(void)in;
	(void)first;
	(void)n;
	return 0;
}

bool pin_on_notifier(void)
{
	return false;
}

int pin_notice_gather(struct inode *in, fblk_t first, uint64_t n, struct pin_notice *out)
{
	(void)in;
	(void)first;
	(void)n;
	*out = (struct pin_notice){0};
	return 0;
}

void pin_notify(struct fs *fs, const struct pin_notice *what)
{
	(void)fs;
	(void)what;
}

void pin_notice_wait(struct fs *fs, const struct pin_notice *what)
{
	(void)fs;
	(void)what;
}

void pin_notice_drop(struct pin_notice *what)
{
	*what = (struct pin_notice){0};
}

int pin_flush(struct fs *fs, struct inode *in, bool *any)
{
	(void)fs;
	(void)in;
	(void)any;
	return 0;
}
