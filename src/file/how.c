#include "file/how.h"
#include "base/clock.h"
#include "inode/map.h"

#include <string.h>

/* A mode that waits makes a ticket before anything else: no memory is then no harm. */
int how_open(struct how *h, struct fs *fs, const struct hf_how *from)
{
	struct hf_how o;
	int err;

	memset(h, 0, sizeof(*h));
	h->fs = fs;
	if (!from)
		return 0;
	err = enter_options(&o, sizeof(o), from);
	if (err)
		return err;
	if ((unsigned)o.pinned > HF_PINNED_FAIL)
		return err_set(-EINVAL, "there is no mode %u for pinned blocks",
			       (unsigned)o.pinned);
	h->pinned = o.pinned;
	h->timeout_ns = o.timeout_ns;
	if (o.pinned != HF_PINNED_WAIT)
		return 0;
	if (pin_on_notifier())
		return err_set(-EDEADLK,
			       "a lease's callback cannot wait for pins: others wait for it");
	h->ticket = space_ticket_get(fs->space);
	return h->ticket ? 0 : err_set(-ENOMEM, "waiting for pins: out of memory");
}

/* Blocks as the bytes that a holder is told. */
static struct hf_lease_event how_event(const struct how *h, struct how_range r, bool detached)
{
	struct hf_lease_event e = {
	    .mode = h->pinned, .detached = detached, .off = r.first.v << HF_BLOCK_SHIFT};

	e.len = r.n < FILE_BLOCKS_MAX - r.first.v ? r.n << HF_BLOCK_SHIFT : UINT64_MAX - e.off;
	return e;
}

int how_ask(struct how *h, struct inode *in, struct how_range touched)
{
	struct hf_lease_event event;
	int err;

	if (h->pinned != HF_PINNED_FAIL || atomic_load(&in->leases) == 0 || touched.n == 0)
		return 0;
	rwl_rdlock(&in->layout);
	err = pin_notice_gather(in, touched.first, touched.n, &h->notice);
	rwl_rdunlock(&in->layout);
	if (err)
		return err;
	event = how_event(h, touched, false);
	pin_notify(h->fs, &h->notice, &event);
	pin_notice_wait(h->fs, &h->notice);
	pin_notice_drop(&h->notice);
	return 0;
}

static int how_decide(struct how *h, struct inode *in, struct how_range touched)
{
	int ret;

	if (touched.n == 0)
		return 0;
	rwl_wrlock(&in->layout);
	h->holds = in;
	ret = map_pinned(in, touched.first, touched.n);
	if (ret > 0)
		ret = err_set(-EBUSY, "inode %llu: blocks of the range are pinned",
			      (unsigned long long)in->ino.v);
	return ret;
}

int how_begin(struct how *h, struct inode *in, struct how_range touched, struct how_range leaves)
{
	int ret = 0;

	if (!h)
		return 0;
	h->first = leaves.first;
	h->n = leaves.n;
	if (h->pinned == HF_PINNED_FAIL)
		return how_decide(h, in, touched);
	if (h->pinned == HF_PINNED_WAIT && leaves.n)
		ret = pin_own(in, leaves.first, leaves.n);
	if (ret > 0)
		ret = err_set(-EDEADLK,
			      "this thread owns a pin in the range, and would wait for itself");
	return ret;
}

/* A transaction that is tried again gathers again: pins may have come meanwhile. */
int how_gather(struct how *h, struct inode *in)
{
	if (!h || h->settled || h->n == 0 || atomic_load(&in->leases) == 0)
		return 0;
	pin_notice_drop(&h->notice);
	return pin_notice_gather(in, h->first, h->n, &h->notice);
}

void how_end(struct how *h)
{
	if (h->holds)
		rwl_wrunlock(&h->holds->layout);
	h->holds = NULL;
}

/* Without names and openers the map cannot change between the two. A lease that cannot be told of
 * it for lack of memory is no reason to keep the file. */
int how_reap(struct how *h, struct inode *in)
{
	h->first = FBLK(0);
	h->n = UINT64_MAX;
	h->settled = false;
	rwl_rdlock(&in->layout);
	(void)how_gather(h, in);
	rwl_rdunlock(&in->layout);
	h->settled = true;
	return inode_reap(in, h->ticket);
}

static int how_wait(struct how *h)
{
	struct space *s = h->fs->space;
	int err = space_ticket_wait(s, h->ticket, clock_deadline_ns(h->timeout_ns));

	if (err == -ETIMEDOUT)
		err_set(err, "done, but %llu blocks are still pinned",
			(unsigned long long)space_ticket_left(s, h->ticket));
	return err;
}

int how_close(struct how *h, int err)
{
	struct hf_lease_event event = how_event(h, (struct how_range){h->first, h->n}, true);

	if (h->settled)
		pin_notify(h->fs, &h->notice, &event);
	pin_notice_drop(&h->notice);
	if (h->ticket && !err)
		err = how_wait(h);
	space_ticket_put(h->fs->space, h->ticket);
	return err;
}
