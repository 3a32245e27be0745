/* Page granularity: a thread's flushes remember the pages, its fence calls msync for them. A
 * handful of ranges: a transaction touches few places, and one msync for two near places costs less
 * than two, because each commits the backing file system's journal. A range may so cover pages that
 * other threads dirtied; they become durable early, as they may at any time. */
#include "base/lock.h"
#include "media/pm_impl.h"

#include <pthread.h>
#include <sys/mman.h>

#define PENDING_MAX  8u
#define PENDING_NEAR 65536u /* ranges that are closer are joined */

struct pending {
	uint64_t pm_id; /* 0: free slot */
	uintptr_t start, end;
};
static HF_TLS struct pending pending[PENDING_MAX];

/* The open ones: a thread may still hold ranges of a pm that another thread closed. */
static pthread_mutex_t page_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pm_priv *page_open_list;

static void page_fork_prepare(void)
{
	pthread_mutex_lock(&page_mutex);
}

static void page_fork_done(void)
{
	pthread_mutex_unlock(&page_mutex);
}

static void page_at_fork(void)
{
	pthread_atfork(page_fork_prepare, page_fork_done, page_fork_done);
}

void page_register(struct pm_priv *priv)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static uint64_t last_id;

	pthread_once(&once, page_at_fork);
	pthread_mutex_lock(&page_mutex);
	priv->id = ++last_id;
	priv->next = page_open_list;
	page_open_list = priv;
	pthread_mutex_unlock(&page_mutex);
}

void page_unregister(struct pm_priv *priv)
{
	struct pm_priv **at = &page_open_list;

	pthread_mutex_lock(&page_mutex);
	while (*at && *at != priv)
		at = &(*at)->next;
	if (*at)
		*at = priv->next;
	pthread_mutex_unlock(&page_mutex);
}

static void pending_drop_closed(void)
{
	pthread_mutex_lock(&page_mutex);
	for (unsigned int i = 0; i < PENDING_MAX; i++) {
		const struct pm_priv *p = page_open_list;

		while (p && p->id != pending[i].pm_id)
			p = p->next;
		if (!p)
			pending[i].pm_id = 0;
	}
	pthread_mutex_unlock(&page_mutex);
}

static uintptr_t pending_gap(const struct pending *p, uintptr_t start, uintptr_t end)
{
	if (end < p->start)
		return p->start - end;
	return start > p->end ? start - p->end : 0;
}

/* The slot of this id that is nearest to the range, and how far it is; NULL when there is none. */
static struct pending *pending_nearest(uint64_t id, uintptr_t start, uintptr_t end, uintptr_t *gap)
{
	struct pending *best = NULL;

	for (unsigned int i = 0; i < PENDING_MAX; i++) {
		struct pending *p = &pending[i];

		if (p->pm_id != id || (best && pending_gap(p, start, end) >= *gap))
			continue;
		best = p;
		*gap = pending_gap(p, start, end);
	}
	return best;
}

static struct pending *pending_free_slot(void)
{
	for (unsigned int i = 0; i < PENDING_MAX; i++) {
		if (pending[i].pm_id == 0)
			return &pending[i];
	}
	return NULL;
}

static int page_failed(const struct pm *pm)
{
	return err_set(
	    -EIO,
	    "%s: writing back to the file failed (msync): what is on the disk is not known; "
	    "unmount, look at the disk, and mount again",
	    pm->path);
}

static int page_msync(struct pm *pm, uintptr_t start, uintptr_t end)
{
	struct pm_priv *priv = pm_priv_of(pm);
	bool failed;

	/* One at a time: the kernel reports a failed write-back to one caller only. Whoever comes after that caller must find
	 * the failure noted, or it would believe that its own pages had arrived (I-JNL-10). */
	lock_depth_tls++; /* a touch of a view, by a handler of the program in between, must not wait for this */
	pthread_mutex_lock(&priv->sync_mutex);
	failed = __atomic_load_n(&priv->sync_failed, __ATOMIC_ACQUIRE) ||
		 msync((void *)start, end - start, MS_SYNC) != 0;
	if (failed)
		__atomic_store_n(&priv->sync_failed, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&priv->sync_mutex);
	lock_depth_tls--;
	return failed ? page_failed(pm) : 0;
}

int page_add(struct pm *pm, const void *p, uint64_t len)
{
	struct pm_priv *priv = pm_priv_of(pm);
	uintptr_t mask = priv->page_size - 1, gap = 0;
	uintptr_t start = (uintptr_t)p & ~mask, end = ((uintptr_t)p + len + mask) & ~mask;
	struct pending *near, *slot;

	if (!priv->sync || len == 0)
		return 0;
	near = pending_nearest(priv->id, start, end, &gap);
	if (!near || gap > PENDING_NEAR) {
		slot = pending_free_slot();
		if (!slot && !near) {
			pending_drop_closed();
			slot = pending_free_slot();
			if (!slot) /* all of other volumes: rare, and not worth more */
				return page_msync(pm, start, end);
		}
		if (slot) {
			*slot = (struct pending){.pm_id = priv->id, .start = start, .end = end};
			return 0;
		}
	}
	near->start = start < near->start ? start : near->start;
	near->end = end > near->end ? end : near->end;
	return 0;
}

int page_sync(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);
	int err = 0;

	for (unsigned int i = 0; i < PENDING_MAX; i++) {
		struct pending *p = &pending[i];

		if (p->pm_id != priv->id)
			continue;
		p->pm_id = 0;
		if (page_msync(pm, p->start, p->end))
			err = -EIO;
	}
	/* After a failed msync the kernel may call the pages clean: a later success proves nothing.
	 */
	if (!err && __atomic_load_n(&priv->sync_failed, __ATOMIC_ACQUIRE))
		err = page_failed(pm);
	return err;
}
