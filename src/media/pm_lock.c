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
#include <time.h>

/* How long one waits for a mount that is going: 2 s. */
#define LOCK_TURNS	  100
#define LOCK_TURNS_UNSEEN 3
#define LOCK_PAUSE_NS	  20000000

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

int pm_lock_busy(const char *path, pid_t pid)
{
	char dir[PM_LOCK_DIR_BYTES];

	if (pid <= 0)
		return err_set(
		    -EBUSY, "%s: in use by another process, which cannot be seen from here", path);
	if (kill(pid, 0) != 0 && errno == ESRCH)
		return err_set(-EBUSY,
			       "%s: in use: it was opened by process %ld, which has ended, but a "
			       "child that it "
			       "left behind still holds the file",
			       path, (long)pid);
	if (pm_lock_mounted_on(path, dir, sizeof(dir)))
		return err_set(-EBUSY, "%s: in use by process %ld, mounted on %s", path, (long)pid, dir);
	return err_set(-EBUSY, "%s: in use by process %ld", path, (long)pid);
}

/* umount(8) returns when the kernel has let the mount go, which is before the process behind it has let the volume go. */
static bool lock_owner_leaves(pid_t pid, const char *path)
{
	char file[64], comm[32] = "", dir[PM_LOCK_DIR_BYTES];
	FILE *f;

	snprintf(file, sizeof(file), "/proc/%ld/comm", (long)pid);
	f = fopen(file, "re");
	if (!f)
		return false;
	if (!fgets(comm, sizeof(comm), f))
		comm[0] = '\0';
	fclose(f);
	return strcmp(comm, "mount.holdfast\n") == 0 && !pm_lock_mounted_on(path, dir, sizeof(dir));
}

/* Whether it is worth trying again. That nobody has it is a matter of the instant, or cannot be seen. */
static bool lock_will_be_free(pid_t pid, const char *path, int turn)
{
	if (pid <= 0)
		return turn < LOCK_TURNS_UNSEEN;
	return turn < LOCK_TURNS && lock_owner_leaves(pid, path);
}

static pid_t lock_owner_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? pm_lock_owner(st.st_dev, st.st_ino) : 0;
}

static int lock_try(int fd, bool shared)
{
	int rc;

	do {
		rc = flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
	} while (rc != 0 && errno == EINTR);
	return rc ? -errno : 0;
}

int pm_lock_fd(int fd, const char *path, bool shared)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
	int err = lock_try(fd, shared);
	pid_t pid;

	for (int turn = 0; err == -EWOULDBLOCK; turn++) {
		pid = lock_owner_of(fd);
		if (!lock_will_be_free(pid, path, turn))
			return pm_lock_busy(path, pid);
		nanosleep(&pause, NULL);
		err = lock_try(fd, shared);
	}
	if (err)
		return err_set(err, "%s: cannot be locked: %s", path, strerror(-err));
	return 0;
}
