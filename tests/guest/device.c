/* The suites on a device. With HF_TEST_DEVICE=/dev/dax0.0[:/dev/dax1.0...] (or files on a DAX file system) what a test makes in memory is
 * made there: the test programs are linked with this in place of pm_open_memfd. A volume that is larger than the device, or for which
 * none is left, is made in memory all the same; what happened is printed at the end, so that a suite that ran in memory does not
 * pass for one that ran on the device. Nor does a simulated medium (hooks) or one of pages become a device.
 *
 * A device says itself what its caches need: what else a test claims is not claimed. */
#include "media/pm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
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
	fprintf(stderr, "device: %u volumes on %s, in memory: %u with hooks or pages, %u too large, %u with none left\n", seen.on_device,
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
	(*out)->size = size;
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
