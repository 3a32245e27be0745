/* The tests of page granularity need a file system that keeps things: the directory that the test
 * runs in, or /var/tmp. */
#ifndef HF_TESTS_MEDIA_DISK_H
#define HF_TESTS_MEDIA_DISK_H

#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

static inline bool is_disk(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
}

/* Goes there; call it once, first. */
static inline void go_to_disk(void)
{
	if (!is_disk(".") && is_disk("/var/tmp") && chdir("/var/tmp") != 0)
		perror("/var/tmp");
}

/* Says so if there is none. */
static inline bool on_disk(void)
{
	if (!is_disk("."))
		printf("(no disk here) ");
	return is_disk(".");
}

#endif
