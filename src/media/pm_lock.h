/* Who has a volume, as /proc/locks tells it. */
#ifndef HF_MEDIA_PM_LOCK_H
#define HF_MEDIA_PM_LOCK_H

#include <sys/types.h>

/* The pid of a process that holds a flock on the file, 0 none found, -1 held by one in another pid
 * namespace. */
pid_t pm_lock_owner(dev_t dev, ino_t ino);

#endif
