/* Who owns a volume: flock on the descriptor that is kept open. The kernel gives no exclusivity on
 * a dax device, so this is all there is. The descriptor is CLOEXEC, and no atfork handler closes
 * it: a child that inherited rings or registrations into the pages has inherited the lock with
 * them, and keeps the next owner out. */
#include "media/pm_impl.h"

#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* One line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 08:02:131 0 EOF". The device is the file
 * system's, which on some (btrfs, overlay) is not st_dev, but without a disk's number like it: then
 * the inode number has to do. 2 exact, 1 by inode only, 0 no. */
static int lock_line_matches(const char *line, dev_t dev, ino_t ino, long *pid)
{
	unsigned int line_major, line_minor;
	unsigned long line_ino;

	if (sscanf(line, "%*u: FLOCK %*s %*s %ld %x:%x:%lu", pid, &line_major, &line_minor,
		   &line_ino) != 4)
		return 0;
	if (line_ino != ino)
		return 0;
	if (line_major == major(dev) && line_minor == minor(dev))
		return 2;
	return line_major == 0 && major(dev) == 0 ? 1 : 0;
}

pid_t pm_lock_owner(dev_t dev, ino_t ino)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	long pid, found = 0;
	int best = 0;

	if (!f)
		return 0;
	while (best < 2 && fgets(line, sizeof(line), f)) {
		int match = lock_line_matches(line, dev, ino, &pid);

		if (match > best) {
			best = match;
			found = pid > 0 ? pid : -1;
		}
	}
	fclose(f);
	return (pid_t)found;
}

static int lock_busy(int fd, const char *path)
{
	struct stat st;
	pid_t pid = 0;

	if (fstat(fd, &st) == 0)
		pid = pm_lock_owner(st.st_dev, st.st_ino);
	if (pid <= 0)
		return err_set(
		    -EBUSY, "%s: in use by another process, which cannot be seen from here", path);
	if (kill(pid, 0) != 0 && errno == ESRCH)
		return err_set(-EBUSY,
			       "%s: in use: it was opened by process %ld, which has ended, but a "
			       "child that it "
			       "left behind still holds the file",
			       path, (long)pid);
	return err_set(-EBUSY, "%s: in use by process %ld", path, (long)pid);
}

int pm_lock_fd(int fd, const char *path, bool shared)
{
	int rc;

	do {
		rc = flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
	} while (rc != 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return lock_busy(fd, path);
	return err_set(-errno, "%s: cannot be locked: %s", path, strerror(errno));
}
