/* Loaded into mount.holdfast: there is no memory for the handle of an open file while the file $HF_NO_HANDLES is there. */
#include "fuse/mount.h"
#include <stdlib.h>
#include <unistd.h>

void *__libc_calloc(size_t n, size_t size);

void *calloc(size_t n, size_t size)
{
	const char *when = n == 1 && size == sizeof(struct handle) ? getenv("HF_NO_HANDLES") : NULL;

	return when && access(when, F_OK) == 0 ? NULL : __libc_calloc(n, size);
}
