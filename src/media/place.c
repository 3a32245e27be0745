#include "media/place.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

bool place_is_device_name(const char *path)
{
	char copy[PATH_MAX];
	struct stat dir, dev, root;
	const char *parent;

	if (strlen(path) >= sizeof(copy))
		return false;
	snprintf(copy, sizeof(copy), "%s", path);
	parent = dirname(copy);
	/* Where /dev is no filesystem of its own, it is a directory like others. */
	return stat(parent, &dir) == 0 && stat("/dev", &dev) == 0 && stat("/", &root) == 0 && dev.st_dev != root.st_dev &&
	       dir.st_dev == dev.st_dev && dir.st_ino == dev.st_ino;
}

static int place_missing(const char *path)
{
	if (place_is_device_name(path))
		return err_set(-ENOENT,
			       "%s: there is no such device: 'daxctl list' shows the dax devices, 'ndctl list -N -i' namespaces that "
			       "are disabled or in another mode than devdax",
			       path);
	return err_set(-ENOENT, "%s: %s", path, strerror(ENOENT));
}

int place_stat(const char *path, struct stat *st)
{
	if (stat(path, st) != 0)
		return errno == ENOENT ? place_missing(path) : err_set(-errno, "%s: %s", path, strerror(errno));
	if (S_ISBLK(st->st_mode))
		return err_set(-ENODEV,
			       "%s: a block device, as a namespace in fsdax, sector or raw mode is ('ndctl list' shows it): 'ndctl "
			       "create-namespace -f -e <namespace> --mode=devdax' makes a dax device of it, and erases it; or make a DAX "
			       "filesystem on it (fsdax), and the volume in a file there",
			       path);
	if (!S_ISCHR(st->st_mode) && !S_ISREG(st->st_mode))
		return err_set(-ENODEV, "%s: neither a dax device nor a regular file", path);
	return 0;
}

int place_trusted(const char *path, const struct stat *st)
{
	if (!(st->st_mode & S_IWOTH) || st->st_nlink == 0)
		return 0;
	return err_set(-EPERM, "%s: everybody may write to it, and so do harm to who mounts it: chmod o-w", path);
}

int place_open_failed(const char *path, int err)
{
	struct stat st;

	if (err == -ENXIO)
		return err_set(-ENODEV,
			       "%s: the device has no driver that can be opened; 'daxctl reconfigure-device --mode=devdax' gives it one",
			       path);
	if ((err == -EACCES || err == -EPERM) && stat(path, &st) == 0)
		return err_set(err,
			       "%s: no permission to open it (mode %04o, owner %u:%u, this is user %u): be root, or have it given to "
			       "your user or group (chown, a udev rule for a device)",
			       path,
			       (unsigned int)(st.st_mode & 07777u),
			       (unsigned int)st.st_uid,
			       (unsigned int)st.st_gid,
			       (unsigned int)geteuid());
	return err_set(err, "%s: cannot be opened: %s", path, strerror(-err));
}
