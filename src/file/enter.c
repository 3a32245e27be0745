/* The door: handles are checked here, and each failure leaves with a sentence. */
#include "file/volume.h"

#include <string.h>

/* What the call under way has entered, and how much bad media had been met there. */
static HF_TLS struct pm *enter_pm;
static HF_TLS uint32_t enter_bad;

void enter_forget(void)
{
	enter_pm = NULL;
}

static int enter_magic(const void *handle, uint64_t magic, const char *what)
{
	const struct pool_item *it = handle;

	if (!it)
		return err_set(-EINVAL, "the %s is NULL", what);
	if (__atomic_load_n(&it->magic, __ATOMIC_RELAXED) == magic)
		return 0;
	if (__atomic_load_n(&it->magic, __ATOMIC_RELAXED) == POOL_DEAD)
		return err_set(-EBADF, "the %s is closed", what);
	return err_set(-EINVAL, "this is no %s", what);
}

static int enter_fork(uint64_t token)
{
	if (token == fork_token())
		return 0;
	return err_set(
	    -ESTALE,
	    "this process is a child of the one that mounted the volume: mount it here after "
	    "the parent has unmounted it");
}

static int enter_writable(struct hf_volume *vol)
{
	if (vol->fs.read_only)
		return err_set(-EROFS, "the volume is mounted read-only");
	return journal_state(vol->fs.journal) == 0 ? 0 : journal_refuse(vol->fs.journal);
}

static int enter_forced(struct hf_volume *vol)
{
	if (atomic_load_explicit(&vol->forced, memory_order_relaxed) != VOLUME_NORMAL)
		return err_set(-ESHUTDOWN, "the volume was unmounted by force");
	enter_pm = vol->fs.pm;
	enter_bad = pm_bad(vol->fs.pm);
	return 0;
}

int enter_volume_to_leave(struct hf_volume *vol)
{
	int err;

	err_clear();
	enter_forget();
	err = enter_magic(vol, VOLUME_MAGIC, "volume");
	return err ? err : enter_fork(vol->fork_token);
}

int enter_volume(struct hf_volume *vol)
{
	int err = enter_volume_to_leave(vol);

	return err ? err : enter_forced(vol);
}

int enter_volume_change(struct hf_volume *vol)
{
	int err = enter_volume(vol);

	return err ? err : enter_writable(vol);
}

int enter_file_to_leave(struct hf_file *file)
{
	int err;

	err_clear();
	enter_forget();
	err = enter_magic(file, FILE_MAGIC, "file");
	return err ? err : enter_fork(file->fork_token);
}

int enter_file(struct hf_file *file)
{
	int err = enter_file_to_leave(file);

	if (!err)
		err = enter_forced(file->vol);
	return err ? err : inode_intact(file->in);
}

int enter_view_to_leave(struct hf_view *view)
{
	int err;

	err_clear();
	enter_forget();
	err = enter_magic(view, VIEW_MAGIC, "view");
	return err ? err : enter_fork(view->fork_token);
}

int enter_view(struct hf_view *view)
{
	int err = enter_view_to_leave(view);

	if (!err)
		err = enter_forced(view->vol);
	return err ? err : inode_intact(view->in);
}

int enter_inode_change(struct hf_file *file)
{
	int err = enter_file(file);

	return err ? err : enter_writable(file->vol);
}

int enter_file_change(struct hf_file *file)
{
	int err = enter_file(file);

	if (err)
		return err;
	if (!(file->flags & (HF_O_WRONLY | HF_O_RDWR)))
		return err_set(-EBADF, "the file is not open for writing");
	return enter_writable(file->vol);
}

/* Bad media was met since the call entered, by whatever thread: what it found may come from there. A structure that was
 * replaced before and fails its verifier now is bad media too, and no damage. */
static int64_t enter_leave_bad(const struct pm *pm, int64_t ret, uint32_t bad)
{
	if (pm_bad(pm) != bad || ret == -EUCLEAN || ret == -EBADMSG)
		return pm_bad_error(pm);
	return ret;
}

int64_t enter_leave(int64_t ret, const char *what)
{
	if (enter_pm && pm_bad(enter_pm) != 0)
		ret = enter_leave_bad(enter_pm, ret, enter_bad);
	if (ret < 0 && err_msg()[0] == '\0')
		err_set((int)ret, "%s: %s", what, strerrordesc_np((int)-ret));
	return ret;
}

/* Damage and bad buffers are always told by the layer that found it, with what and where; of the
 * rest the code says enough. */
int64_t enter_leave_fast(const struct hf_file *file, uint32_t bad, int64_t ret, const char *what)
{
	const struct pm *pm = file->vol->fs.pm;

	if (pm_bad(pm) != 0)
		ret = inode_intact(file->in) ? -EIO : enter_leave_bad(pm, ret, bad);
	enter_forget();
	if (ret == -EIO || ret == -EUCLEAN || ret == -EBADMSG || ret == -EFAULT || ret == -ENOSPC)
		return enter_leave(ret, what);
	if (ret < 0)
		err_set((int)ret, "%s: %s", what, strerrordesc_np((int)-ret));
	return ret;
}

int enter_options(void *to, size_t size, const void *from)
{
	const uint8_t *bytes = from;
	size_t given = 0;

	memset(to, 0, size);
	memcpy(to, &size, sizeof(size));
	if (!from)
		return 0;
	memcpy(&given, from, sizeof(given));
	if (given < sizeof(size_t) || given > 4096)
		return err_set(-EINVAL, "the option struct's struct_size is not set to its size");
	for (size_t i = size; i < given; i++)
		if (bytes[i])
			return err_set(
			    -EINVAL,
			    "the option struct asks for something that this version does not know");
	memcpy(to, from, given < size ? given : size);
	memcpy(to, &size, sizeof(size));
	return 0;
}
