/* What is at a path, judged once for who makes a volume, opens one and checks one: the same mistake gets the same sentence. */
#ifndef HF_MEDIA_PLACE_H
#define HF_MEDIA_PLACE_H

#include "media/pm.h"
#include <sys/stat.h>

/* A character device or a regular file, or a negative errno with its sentence. -ENOENT: nothing is there; err_msg() says so where
 * it should be a device, for nobody means to make a file among the devices. */
int place_stat(const char *path, struct stat *st);
/* What is on the media is verified where it lies, and then used: whoever can change it in between has this process in his hand. 0, or
 * -EPERM. A file without a name is a memfd, which others can reach only if they are given it. */
int place_trusted(const char *path, const struct stat *st);
/* True if the path, which is not there, would be an entry of /dev itself: a device that is missing. */
bool place_is_device_name(const char *path);
/* The sentence for an open(2) that failed with err (negative), which is returned; -ENXIO becomes -ENODEV. */
int place_open_failed(const char *path, int err);

#endif
