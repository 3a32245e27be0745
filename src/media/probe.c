#include "media/probe.h"
#include <sys/file.h>
#include "media/dax.h"
#include "media/guard.h"
#include "media/place.h"
#include "media/pm_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_LEN (1024u * 1024u) /* how much is looked at, at the start and at the end */

/* ---- signatures. Those at the start, by offset; a table and not libblkid, which does not read
 * character devices. */

struct signature {
	const char *what;
	uint32_t off;
	uint32_t len;
	const char *bytes;
};

static const struct signature signatures[] = {
    {"a holdfast volume", 0, 8, "HOLDFAST"},
    {"an ext2, ext3 or ext4 file system", 0x438, 2, "\x53\xef"},
    {"an XFS file system", 0, 4, "XFSB"},
    {"a btrfs file system", 0x10040, 8, "_BHRfS_M"},
    {"an F2FS file system", 0x400, 4, "\x10\x20\xf5\xf2"},
    {"an EROFS file system", 0x400, 4, "\xe2\xe1\xf5\xe0"},
    {"a squashfs file system", 0, 4, "hsqs"},
    {"an NTFS file system", 3, 8, "NTFS    "},
    {"a FAT file system", 0x36, 4, "FAT1"},
    {"a FAT file system", 0x52, 5, "FAT32"},
    {"an ISO 9660 file system", 0x8001, 5, "CD001"},
    {"a ZFS pool", 0x20000, 8, "\x0c\xb1\xba\0\0\0\0\0"},
    {"swap space", 4086, 10, "SWAPSPACE2"},
    {"swap space", 65526, 10, "SWAPSPACE2"},
    {"a LUKS container", 0, 6, "LUKS\xba\xbe"},
    {"an LVM physical volume", 0x218, 8, "LVM2 001"},
    {"a software RAID member", 4096, 4, "\xfc\x4e\x2b\xa9"},
    {"a software RAID member", 0, 4, "\xfc\x4e\x2b\xa9"},
    {"a GUID partition table", 512, 8, "EFI PART"},
    {"a GUID partition table", 4096, 8, "EFI PART"},
    {"a libpmemobj pool", 0, 7, "PMEMOBJ"},
    {"a libpmemblk pool", 0, 7, "PMEMBLK"},
    {"a libpmemlog pool", 0, 7, "PMEMLOG"},
    {"an SQLite database", 0, 16, "SQLite format 3"},
    {"a QCOW2 image", 0, 4, "QFI\xfb"},
    {"an ELF file", 0, 4,
     "\x7f"
     "ELF"},
    {"a gzip file", 0, 3, "\x1f\x8b\x08"},
    {"a zstd file", 0, 4, "\x28\xb5\x2f\xfd"},
    {"an xz file", 0, 6,
     "\xfd"
     "7zXZ\0"},
    {"a zip file", 0, 4, "PK\x03\x04"},
    {"a PDF file", 0, 5, "%PDF-"},
    {"a tar archive", 257, 5, "ustar"},
    /* The last two bytes of a boot sector say little: only when nothing else is known. */
    {"a boot sector or partition table", 510, 2, "\x55\xaa"},
};

/* The signature in the first bytes; NULL none. */
static const char *find_signature(const uint8_t *head, uint64_t len)
{
	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		const struct signature *s = &signatures[i];

		if (s->off + s->len <= len && memcmp(head + s->off, s->bytes, s->len) == 0)
			return s->what;
	}
	return NULL;
}

/* The first byte that is not zero; len when there is none. */
static uint64_t find_nonzero(const uint8_t *p, uint64_t len)
{
	uint64_t i = 0;

	while (i < len && p[i] == 0)
		i++;
	return i;
}

/* Judges 'len' bytes that were read at 'at' of a source of 'size' bytes. */
static void judge_content(const uint8_t *buf, uint64_t len, uint64_t at, struct probe *out)
{
	const char *what = at == 0 ? find_signature(buf, len) : NULL;
	uint64_t nonzero = find_nonzero(buf, len);

	if (out->has_content || (!what && nonzero == len))
		return;
	out->has_content = true;
	if (!what && at + len == out->size && len >= 512 &&
	    memcmp(buf + len - 512, "EFI PART", 8) == 0)
		what = "the second copy of a GUID partition table";
	if (what)
		snprintf(out->what, sizeof(out->what), "%s", what);
	else
		snprintf(out->what, sizeof(out->what), "non-zero content at byte %llu",
			 (unsigned long long)(at + nonzero));
}

/* ---- files */

/* Reads [at, at+len) into buf, holes as zeros. 0, a negative errno, or -ENODATA: all of it is a
 * hole. */
static int read_file(int fd, uint8_t *buf, uint64_t len, uint64_t at)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	uint64_t done = 0;

	if ((data < 0 && errno == ENXIO) || (data >= 0 && (uint64_t)data >= at + len))
		return -ENODATA;
	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break; /* cut short meanwhile */
		done += (uint64_t)n;
	}
	memset(buf + done, 0, len - done);
	return 0;
}

static int look_at_file(int fd, const char *path, uint8_t *buf, struct probe *out)
{
	uint64_t len = min_u64(out->size, LOOK_LEN);
	const uint64_t places[] = {0, out->size - len};

	for (int i = 0; i < 2 && len > 0; i++) {
		int err = read_file(fd, buf, len, places[i]);

		if (err == -ENODATA)
			continue;
		if (err)
			return err_set(err, "%s: cannot be read: %s", path, strerror(-err));
		judge_content(buf, len, places[i], out);
	}
	return 0;
}

/* ---- devices: no read(2), and a bad line must not kill the one who looks */

static int look_at_mapping(int fd, const char *path, uint8_t *buf, uint64_t at, uint64_t look_at,
			   uint64_t map_len, struct probe *out)
{
	uint8_t *map = mmap(NULL, map_len, PROT_READ, MAP_SHARED, fd, (off_t)at);
	uint64_t fault = 0;
	int err;

	if (map == MAP_FAILED)
		return err_set(-errno, "%s: cannot be mapped: %s", path, strerror(errno));
	err = guard_copy(buf, map + (look_at - at), LOOK_LEN, &fault);
	if (!err) {
		judge_content(buf, LOOK_LEN, look_at, out);
	} else if (!out->has_content) {
		/* What cannot be read may be somebody's data. */
		out->has_content = true;
		snprintf(out->what, sizeof(out->what), "media that cannot be read at byte %llu",
			 (unsigned long long)(fault - (uintptr_t)map + at));
	}
	munmap(map, map_len);
	return 0;
}

static int look_at_device(int fd, const char *path, uint8_t *buf, struct probe *out)
{
	uint64_t align = max_u64(out->align, HF_FRAME_SIZE);
	uint64_t end = out->size / align * align;
	int err;

	if (end < align)
		return 0;
	err = look_at_mapping(fd, path, buf, 0, 0, align, out);
	if (!err)
		err = look_at_mapping(fd, path, buf, end - align, end - LOOK_LEN, align, out);
	return err;
}

static int probe_device(const char *path, dev_t rdev, struct probe *out)
{
	struct dax_facts facts;

	if (dax_gather("/sys", rdev, &facts) != 0)
		return err_set(-ENODEV, "%s: not a dax device", path);
	out->is_chardev_dax = true;
	out->size = facts.size;
	out->align = facts.align;
	out->numa_node = facts.numa_node;
	out->bad_blocks = facts.bad_blocks;
	memcpy(out->domain, facts.domain, sizeof(out->domain));
	return dax_judge(path, &facts, true);
}

static void probe_lock(const char *path, const struct stat *st, struct probe *out)
{
	pid_t pid = pm_lock_owner(st->st_dev, st->st_ino);
	int fd;

	if (pid == 0)
		return;
	/* On file systems without a device of their own /proc/locks may mean a file of the same number on another one: what counts
	 * is whether the lock can be had. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
		close(fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	out->locked = true;
	out->pid = pid > 0 ? pid : 0;
}

/* Opens for reading and looks. */
static int probe_content(const char *path, struct probe *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	uint8_t *buf = malloc(LOOK_LEN);
	int err;

	if (fd < 0)
		err = place_open_failed(path, -errno);
	else if (!buf)
		err = err_set(-ENOMEM, "%s: no memory", path);
	else if (out->is_chardev_dax)
		err = look_at_device(fd, path, buf, out);
	else
		err = look_at_file(fd, path, buf, out);
	if (fd >= 0)
		close(fd);
	free(buf);
	return err;
}

int probe_path(const char *path, struct probe *out)
{
	struct stat st;
	int err = place_stat(path, &st);

	*out = (struct probe){.numa_node = -1};
	if (err == -ENOENT && !place_is_device_name(path)) {
		err_clear();
		return 0;
	}
	if (err)
		return err;
	out->exists = true;
	if (S_ISCHR(st.st_mode)) {
		err = probe_device(path, st.st_rdev, out);
	} else {
		out->is_regular = true;
		out->size = (uint64_t)st.st_size;
		out->align = HF_FRAME_SIZE;
		out->read_only = access(path, W_OK) != 0;
	}
	if (!err)
		err = place_trusted(path, &st);
	if (err)
		return err;
	probe_lock(path, &st, out);
	return probe_content(path, out);
}
