/* Who has a volume, as /proc/locks tells it. */
#ifndef HF_MEDIA_PM_LOCK_H
#define HF_MEDIA_PM_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PM_LOCK_DIR_BYTES 256 /* of a directory in a sentence */

/* The pid of a process that holds a flock on the file, 0 none found, -1 held by one in another pid
 * namespace. */
pid_t pm_lock_owner(dev_t dev, ino_t ino);
/* -EBUSY and the sentence: who it is, and where it is mounted. pid as above. */
int pm_lock_busy(const char *path, pid_t pid);
/* mounted.c: the directory on which mount.holdfast shows the volume; false, and "": none that can be seen from here. */
bool pm_lock_mounted_on(const char *path, char *out, size_t size);

#endif
