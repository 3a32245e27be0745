/* What the files of this layer share about a struct pm. */
#ifndef HF_MEDIA_PM_IMPL_H
#define HF_MEDIA_PM_IMPL_H

#include "media/pm.h"
#include "media/pm_lock.h"
#include <libpmem2.h>
#include <pthread.h>
#include <sys/types.h>

struct pm_priv {
	struct pm_priv *next; /* list of the open ones */
	uint64_t id;	      /* never reused */
	void *map;	      /* NULL: the caller's memory */
	size_t map_len;
	char *names; /* the members' paths lie in it */
	struct pmem2_source *source[PM_MEMBERS_MAX];
	struct pmem2_map *pmem2[PM_MEMBERS_MAX];
	struct pm_ops ops;
	size_t page_size;
	bool sync;	  /* fence calls msync */
	pthread_mutex_t sync_mutex; /* zeroed is initialised */
	bool sync_failed; /* atomic */
	uint64_t *lost;	  /* atomic: a bit per block that was replaced, NULL: none */
	uint64_t lost_first; /* atomic: the first one's offset, UINT64_MAX: none */
	bool gone;	  /* atomic: a device's driver let it go, nothing is there any more */
	bool edge_failed; /* a hook's flush of an edge failed; the next fence says so. Atomic */
};

static inline struct pm_priv *pm_priv_of(const struct pm *pm)
{
	return pm->priv;
}

/* pm_page.c: the pages that this thread has flushed and not fenced */
int page_add(struct pm *pm, const void *p, uint64_t len);
int page_sync(struct pm *pm);
void page_register(struct pm_priv *priv); /* gives it its id */
void page_unregister(struct pm_priv *priv);

/* pm_lock.c. 0 or -EBUSY with the owner's pid in the sentence. */
int pm_lock_fd(int fd, const char *path, bool shared);

/* members.c */
int members_lock(struct pm *pm, bool shared); /* also: none of them is another one */
int members_arrange(struct pm *pm, const struct pm_open_args *args);
/* Where each begins. *align: of the map's first byte. */
int members_place(struct pm *pm, uint64_t *align);

/* guard.c: puts the handlers in place, once; again after the program replaced them. */
int guard_install(void);
/* SIGSEGV or SIGBUS: which one ended this thread's last guarded copy that faulted. */
int guard_last_signal(void);

#endif
