/* A test's volume at a path that its caller named: a file of its own, or a device, whose node is not its own. */
#ifndef HF_TESTS_VOLUME_FILE_H
#define HF_TESTS_VOLUME_FILE_H

#include <sys/stat.h>
#include <unistd.h>

static inline void volume_file_remove(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
		unlink(path);
}

#endif
