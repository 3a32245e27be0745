/* The suites on a device. With HF_TEST_DEVICE=/dev/dax0.0[:/dev/dax1.0...] (or files on a DAX file system) what a test makes in memory is
 * made there: the test programs are linked with this in place of pm_open_memfd. A volume that is larger than the device, or for which
 * none is left, is made in memory all the same; what happened is printed at the end, so that a suite that ran in memory does not
 * pass for one that ran on the device. A medium with hooks or of pages does not become a device; but the explorer's, which it names 'holdfast-crash',
 * keeps its images there, one at a time: crash states are recovered on the device's own pages (where it can be mapped in pages of 2 MiB).
 *
 * A device says itself what its caches need: what else a test claims is not claimed. */
#include "media/pm.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int __real_pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out);
int __wrap_pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out);

static struct {
	_Atomic unsigned on_device, unlike, too_large, none_left;
	_Atomic pid_t pid;
} seen;

static void report(void)
{
	if (getpid() != seen.pid)
		return;
	fprintf(stderr, "device: %u volumes on %s, in memory: %u that a device cannot be, %u too large, %u with none left\n", seen.on_device,
		getenv("HF_TEST_DEVICE"), seen.unlike, seen.too_large, seen.none_left);
}

static void report_later(void)
{
	pid_t none = 0;

	if (atomic_compare_exchange_strong(&seen.pid, &none, getpid()))
		atexit(report);
}

/* As a memfd is: of this size, and zeros. */
static int device_open(const char *path, uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	struct pm_open_args own = args ? *args : (struct pm_open_args){0};
	int err;

	own.force_gran = false;
	err = pm_open(path, &own, out);
	if (err)
		return err;
	size = size / HF_FRAME_SIZE * HF_FRAME_SIZE;
	if ((*out)->size < size) {
		pm_close(out);
		return -EFBIG;
	}
	(*out)->size = (*out)->member[0].size = (*out)->member[0].bytes = size;
	memset((*out)->base, 0, size);
	return 0;
}

int __wrap_pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	const char *list = getenv("HF_TEST_DEVICE");
	char paths[512], *save = NULL;
	int err = -EBUSY;

	if (!list || !*list || size < 2 * (uint64_t)HF_FRAME_SIZE || size > INT64_MAX)
		return __real_pm_open_memfd(size, args, out);
	report_later();
	if (args && (args->hook || (args->force_gran && args->gran == PM_PAGE))) {
		seen.unlike++;
		return __real_pm_open_memfd(size, args, out);
	}
	snprintf(paths, sizeof(paths), "%s", list);
	for (char *p = strtok_r(paths, ":", &save); p && (err == -EBUSY || err == -EFBIG); p = strtok_r(NULL, ":", &save))
		err = device_open(p, size, args, out);
	if (!err)
		seen.on_device++;
	if (err != -EBUSY && err != -EFBIG)
		return err;
	if (err == -EBUSY)
		seen.none_left++;
	else
		seen.too_large++;
	return __real_pm_open_memfd(size, args, out);
}

/* ---- the explorer's images */

int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __real_ftruncate(int fd, off_t len);
int __wrap_ftruncate(int fd, off_t len);

static _Atomic int image_fd = -1; /* the lock lets one be there */

/* Images are a few MiB: not on a device that can only be mapped by the GiB. */
static bool maps_frames(int fd)
{
	void *p = mmap(NULL, HF_FRAME_SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, HF_FRAME_SIZE);
	return true;
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	const char *device = getenv("HF_TEST_DEVICE");
	int fd;

	if (!device || !*device || strcmp(name, "holdfast-crash") != 0)
		return __real_memfd_create(name, flags);
	report_later();
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && !maps_frames(fd)) {
		seen.unlike++;
	} else if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		image_fd = fd;
		return fd;
	} else {
		seen.none_left++;
	}
	if (fd >= 0)
		close(fd);
	return __real_memfd_create(name, flags);
}

static bool is_the_image(int fd)
{
	const char *device = getenv("HF_TEST_DEVICE");
	struct stat a, b;

	return fd == image_fd && device && fstat(fd, &a) == 0 && stat(device, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A device has its size: what a new memfd has of it is zeros. */
int __wrap_ftruncate(int fd, off_t len)
{
	void *p;

	if (!is_the_image(fd))
		return __real_ftruncate(fd, len);
	p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -1;
	memset(p, 0, (size_t)len);
	munmap(p, (size_t)len);
	seen.on_device++;
	return 0;
}
