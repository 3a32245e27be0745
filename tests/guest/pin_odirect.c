/* O_DIRECT: a disk stores into the pinned pages by itself. The read is held up, with the pages in
 * its hands, by a suspended device-mapper device over the disk $HF_TEST_DISK (which is
 * overwritten). Wants root, dmsetup, and the module dm-mod. */
#include "pinner.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct pin_target *target;
static char name[32];
static int disk; /* the mapped device */
static pthread_t reader;
static int reader_tid;
static ssize_t reader_got;

static int dmsetup(const char *what, const char *rest)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "dmsetup --noudevsync %s %s %s >&2", what, name, rest);
	return system(cmd) ? -EIO : 0;
}

static void remove_device(void)
{
	dmsetup("resume", "");
	close(disk);
	dmsetup("remove", "--retry");
}

static int make_device(const char *path, uint64_t *bytes)
{
	char table[160];
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	err = fd < 0 || ioctl(fd, BLKGETSIZE64, bytes) ? -errno : 0;
	close(fd);
	if (err)
		return err;
	snprintf(name, sizeof(name), "hf-test-%d", (int)getpid());
	snprintf(table, sizeof(table), "--table '0 %" PRIu64 " linear %s 0'", *bytes / 512, path);
	return dmsetup("create", table);
}

/* The node that the kernel makes: there may be no udev to make the one with the name. */
static int open_device(void)
{
	char cmd[128], node[64] = "/dev/", *dev = node + strlen(node);
	FILE *f;

	snprintf(cmd, sizeof(cmd), "dmsetup info -c --noheadings -o blkdevname %s", name);
	f = popen(cmd, "r");
	if (f && fgets(dev, (int)sizeof(node) - 8, f))
		dev[strcspn(dev, "\n")] = 0;
	if (f)
		pclose(f);
	return open(node, O_RDWR | O_DIRECT | O_CLOEXEC);
}

static int prepare(const char **why)
{
	const char *path = getenv("HF_TEST_DISK");
	uint64_t bytes;
	int err;

	*why = "a device-mapper device over $HF_TEST_DISK";
	if (!path)
		return -ENOENT;
	err = make_device(path, &bytes);
	if (err)
		return err;
	atexit(remove_device);
	disk = open_device();
	return disk < 0 ? -errno : bytes < PIN_BYTES ? -ENOSPC : 0;
}

static void fill_disk(unsigned round)
{
	void *buf = aligned_alloc(4096, PIN_BYTES);

	pin_must(buf ? 0 : -ENOMEM, "aligned_alloc");
	memcpy(buf, pin_bytes(round), PIN_BYTES);
	pin_must(pwrite(disk, buf, PIN_BYTES, 0) == PIN_BYTES ? 0 : -errno, "the disk");
	free(buf);
}

static int attach(const struct pin_target *t)
{
	ssize_t n;

	target = t;
	n = preadv(disk, t->iov, (int)t->parts, 0);
	if (n < 0)
		return -errno;
	return n == PIN_BYTES ? 0 : -EFAULT;
}

static void *read_disk(void *arg)
{
	(void)arg;
	__atomic_store_n(&reader_tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
	reader_got = preadv(disk, target->iov, (int)target->parts, 0);
	return NULL;
}

/* In the kernel, waiting for the disk. */
static bool reader_waits(void)
{
	char path[64], line[256], *p = NULL;
	int tid = __atomic_load_n(&reader_tid, __ATOMIC_ACQUIRE);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = tid ? fopen(path, "r") : NULL;
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	return p && p[1] == ' ' && p[2] == 'D';
}

static void start(unsigned round)
{
	struct timespec ms = {.tv_nsec = 1000000};
	int tries = 0;

	fill_disk(round);
	pin_must(dmsetup("suspend", "--nolockfs"), "dmsetup suspend");
	__atomic_store_n(&reader_tid, 0, __ATOMIC_RELEASE);
	pin_must(-pthread_create(&reader, NULL, read_disk, NULL), "pthread_create");
	while (!reader_waits() && tries++ < 20000)
		nanosleep(&ms, NULL);
	pin_must(tries < 20000 ? 0 : -ETIMEDOUT, "the read does not wait for the disk");
}

static bool finish(unsigned round)
{
	(void)round;
	pin_must(dmsetup("resume", ""), "dmsetup resume");
	pthread_join(reader, NULL);
	return reader_got == PIN_BYTES;
}

static void detach(void)
{
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "odirect",
					.call = "preadv, O_DIRECT",
					.prepare = prepare,
					.attach = attach,
					.start = start,
					.finish = finish,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
