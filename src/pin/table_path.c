/* Where the tables of pins are, and what tells a file of today from one of yesterday. */
#include "pin/table.h"
#include "base/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DIR_FLAGS (O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC)

/* Somebody else who can write there could make us adopt what he likes, or nothing. */
static int dir_check(int fd, const char *path, uid_t owner)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	if (st.st_uid != 0 && st.st_uid != owner)
		return err_set(-EPERM, "%s: belongs to another user", path);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(-EPERM, "%s: others may write there", path);
	return 0;
}

static int dir_open(const char *path, uid_t owner, bool make)
{
	int fd, err;

	if (make && mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	fd = open(path, DIR_FLAGS);
	if (fd < 0)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	err = dir_check(fd, path, owner);
	if (!err && make && faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
		err = err_set(-errno, "%s: %s", path, strerror(errno));
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* false: there is no such place. */
static bool dir_name(unsigned which, uid_t owner, char out[256])
{
	const char *env = getenv("HOLDFAST_RUNTIME_DIR");

	if (which == 0 && (!env || env[0] == '\0' || strlen(env) > 255))
		return false;
	if (which == 0)
		snprintf(out, 256, "%s", env);
	else if (which == 1)
		snprintf(out, 256, "/run/holdfast");
	else
		snprintf(out, 256, "/dev/shm/holdfast-%lu", (unsigned long)owner);
	return true;
}

int pins_dir_open(void)
{
	char path[256];
	int fd = -ENOENT;

	for (unsigned which = 0; which < PINS_DIRS; which++) {
		if (!dir_name(which, geteuid(), path))
			continue;
		fd = dir_open(path, geteuid(), true);
		/* Who names a directory means that one. */
		if (fd >= 0 || which == 0)
			return fd;
	}
	return fd;
}

int pins_dir_look(unsigned which, uid_t owner)
{
	char path[256];

	if (which >= PINS_DIRS || !dir_name(which, owner, path))
		return -ENOENT;
	return dir_open(path, owner, false);
}

void pins_file_name(const struct stat *volume, struct pins_file_name *out)
{
	if (S_ISCHR(volume->st_mode))
		snprintf(out->s, sizeof(out->s), "d-%x-%x.pins", major(volume->st_rdev),
			 minor(volume->st_rdev));
	else
		snprintf(out->s, sizeof(out->s), "f-%x-%x-%lx.pins", major(volume->st_dev),
			 minor(volume->st_dev), (unsigned long)volume->st_ino);
}

void pins_boot_id(char out[40])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(out, 0, 40);
	if (!f)
		return;
	if (!fgets(out, 40, f))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

uint64_t pins_start_of(uint64_t pid)
{
	char path[64], line[1024];
	unsigned long long start = 0;
	const char *after;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* The name of the program may hold anything; what follows it does not hold ')'. */
	after = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	if (after && sscanf(after,
			    ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			    "%*d %*d %llu",
			    &start) != 1)
		start = 0;
	fclose(f);
	return start;
}
