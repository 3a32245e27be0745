/* Making a volume: first the looks, then the file, then what mkfs_write writes. */
#include "file/volume.h"
#include "media/pm_lock.h"
#include "media/probe.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int format_refuse(const char *path, const struct probe *p, const struct hf_format_options *o)
{
	if (p->locked)
		return pm_lock_busy(path, p->pid);
	if (p->read_only)
		return err_set(-EROFS, "%s: read-only", path);
	if (p->has_content && !o->force)
		return err_set(-EEXIST, "%s: holds %s; it would be lost (force overwrites it)",
			       path, p->what);
	return 0;
}

static int format_size(const char *path, const struct probe *p, uint64_t bytes)
{
	if (bytes == 0 && p->size == 0)
		return err_set(-EINVAL, "%s: a size is needed for a new file", path);
	if (p->is_chardev_dax && bytes > p->size)
		return err_set(-EINVAL, "%s: the device has %llu bytes", path,
			       (unsigned long long)p->size);
	if ((bytes ? bytes : p->size) < FMT_MIN_BYTES)
		return err_set(-EINVAL, "%s: a volume has at least %llu bytes", path,
			       FMT_MIN_BYTES);
	if (bytes > (uint64_t)INT64_MAX)
		return err_set(-EFBIG, "%s: too large for a file", path);
	return 0;
}

/* Makes the file or lets it grow, and takes the host's blocks, so that a full host is told now and
 * not by a SIGBUS later. */
static int format_file(const char *path, uint64_t bytes, uint64_t have, bool sparse)
{
	uint64_t size = max_u64(bytes, have);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return err_set(-errno, "%s: cannot open: %s", path, strerror(errno));
	if (size > have && ftruncate(fd, (off_t)size) != 0)
		err = err_set(-errno, "%s: cannot enlarge: %s", path, strerror(errno));
	if (!err && !sparse)
		err = -posix_fallocate(fd, 0, (off_t)(bytes ? bytes : size));
	if (err == -EOPNOTSUPP || err == -EINVAL)
		err = 0; /* a host that cannot allocate ahead */
	if (err)
		err_set(err, "%s: cannot allocate %llu bytes: %s", path, (unsigned long long)size,
			strerror(-err));
	close(fd);
	return err;
}

/* ---- bad media that the device lists */

struct format_bad {
	struct pm *pm;
	uint64_t bytes, first;
};

static void bad_clear(void *ctx, uint64_t off, uint64_t len)
{
	const struct format_bad *b = ctx;

	pm_clear_bad(b->pm, MOFF(off), len);
}

static void bad_count(void *ctx, uint64_t off, uint64_t len)
{
	struct format_bad *b = ctx;

	b->first = b->bytes ? min_u64(b->first, off) : off;
	b->bytes += len;
}

/* What is there is lost anyhow, so it may be cleared. What cannot be would be found by files, one day, or by the next mkfs_write. */
static int format_bad(struct pm *pm, bool force)
{
	struct format_bad b = {.pm = pm};

	pm_bad_blocks(pm, bad_clear, &b);
	err_clear();
	pm_bad_blocks(pm, bad_count, &b);
	if (!b.bytes || force)
		return 0;
	return err_set(-EIO,
		       "%s: the device lists bad media, %llu bytes from byte %llu on, and it cannot be cleared: what is put there cannot "
		       "be read. Have it cleared or replaced ('ndctl clear-errors'), or use another device (force makes the volume all "
		       "the same)",
		       pm->path,
		       (unsigned long long)b.bytes,
		       (unsigned long long)b.first);
}

/* With several devices the size is that of each. */
static int format_write(const char *path, const struct pm_names *names, const struct hf_format_options *o)
{
	struct mkfs_args args = {
	    .bytes = names->n == 1 ? o->bytes : 0,
	    .label = o->label,
	    .uuid = o->uuid,
	    .uid = o->uid,
	    .gid = o->gid,
	};
	uint64_t each[PM_MEMBERS_MAX];
	struct pm_open_args pa = {.member_bytes = names->n > 1 ? each : NULL, .nmembers = names->n};
	struct geo geo;
	struct pm *pm;
	int err;

	for (unsigned i = 0; i < PM_MEMBERS_MAX; i++)
		each[i] = o->bytes / HF_FRAME_SIZE * HF_FRAME_SIZE;
	err = pm_open(path, &pa, &pm);
	if (err)
		return err;
	err = format_bad(pm, o->force);
	if (!err)
		err = mkfs_write(pm, &args);
	if (!err && geo_read(pm, &geo) != 0)
		err = err_set(-EIO, "%s: what was just written there reads otherwise: the device does not keep what is stored", path);
	pm_close(&pm);
	return err;
}

/* May it be made there? Nothing is changed. */
static int format_look(const char *path, const struct hf_format_options *o, struct probe *p)
{
	int err = probe_path(path, p);

	if (!err)
		err = format_refuse(path, p, o);
	return err ? err : format_size(path, p, o->bytes);
}

static int format_devices(const char *path, const struct pm_names *names, const struct hf_format_options *o)
{
	struct probe p[PM_MEMBERS_MAX];
	unsigned made = 0;
	int err = 0;

	for (unsigned i = 0; i < names->n && !err; i++)
		err = format_look(names->name[i], o, &p[i]);
	for (; made < names->n && !err; made++)
		if (!p[made].is_chardev_dax)
			err = format_file(names->name[made], o->bytes, p[made].size, o->sparse);
	if (!err)
		err = format_write(path, names, o);
	for (unsigned i = 0; i < made && err; i++)
		if (!p[i].exists)
			unlink(names->name[i]);
	return err;
}

static int format_volume(const char *path, const struct hf_format_options *o)
{
	struct pm_names names;
	int err;

	if (o->label && strlen(o->label) > FMT_LABEL_MAX)
		return err_set(-EINVAL, "a label has at most %u bytes", FMT_LABEL_MAX);
	err = pm_names(path, &names);
	if (err)
		return err;
	err = format_devices(path, &names, o);
	pm_names_free(&names);
	return err;
}

HF_API int hf_format(const char *path, const struct hf_format_options *opts)
{
	struct hf_format_options o;
	int err;

	err_clear();
	enter_forget();
	if (!path)
		return err_set(-EINVAL, "format: the path is NULL");
	err = enter_options(&o, sizeof(o), opts);
	if (!err)
		err = format_volume(path, &o);
	return (int)enter_leave(err, "format");
}
