/* Reading: a read sees all of a write or nothing of it. Without the content lock where nobody writes, else under it, shared. */
#include "file/data.h"
#include "file/iov.h"
#include "file/user_buffer.h"
#include "media/guard.h"
#include "base/sanitize.h"

#include <stdlib.h>

/* More is worth a lock: a writer would have it read twice. ThreadSanitizer would tell of the races that are meant. */
#if HF_TSAN
#define READ_FREE_MAX 0u
#else
#define READ_FREE_MAX (64u << 10)
#endif

static int read_zeros(char *to, uint64_t len)
{
	for (uint64_t n; len > 0; len -= n, to += n) {
		n = min_u64(len, sizeof(data_zeros));
		if (guard_copy(to, data_zeros, n, NULL))
			return err_set(-EFAULT, "a read: the buffer cannot be written");
	}
	return 0;
}

static int read_mapped(struct inode *in, char *to, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	struct data_run run;
	int err = 0;

	for (; off < end && !err; off += run.bytes, to += run.bytes) {
		err = data_run(in, off, end, &run);
		if (!err && run.hole)
			err = read_zeros(to, run.bytes);
		else if (!err)
			err = pm_guarded_read(in->fs->pm, to, run.at, run.bytes);
	}
	return err;
}

/* [off, off+len) lies below the end of file. Content shared. */
static int read_range(struct inode *in, void *to, uint64_t off, uint64_t len)
{
	if (data_is_inline(in))
		return pm_guarded_read(in->fs->pm, to, moff_add(data_inline_off(in), off), len);
	return read_mapped(in, to, off, len);
}

static int64_t read_locked(struct inode *in, const struct iovec *iov, uint64_t off, uint64_t len)
{
	uint64_t size = data_size(in), done = 0, n;
	int err;

	if (off >= size)
		return 0;
	len = min_u64(len, size - off);
	if (data_is_inline(in) && size > FMT_INLINE_MAX)
		return err_set(-EUCLEAN,
			       "inode %llu: %llu bytes cannot be in the inode: run fsck.holdfast",
			       (unsigned long long)in->ino.v, (unsigned long long)size);
	for (; done < len; done += n, iov++) {
		n = min_u64(len - done, iov->iov_len);
		err = read_range(in, iov->iov_base, off + done, n);
		if (err)
			return err;
	}
	return (int64_t)len;
}

/* Access times as Linux keeps them with 'relatime': when older than the last change, or (looked at
 * by open) than a day. */
static void read_touch(struct hf_file *file)
{
	struct inode *in = file->in;
	int64_t atime;

	if (file->vol->fs.keeps_atime || (file->flags & HF_O_NOATIME))
		return;
	atime = data_time(in, &in->pend_atime, offsetof(struct fmt_inode, atime));
	if (atime > data_time(in, &in->pend_mtime, offsetof(struct fmt_inode, mtime)) &&
	    atime > data_time(in, &in->pend_ctime, offsetof(struct fmt_inode, ctime)) &&
	    !__atomic_load_n(&file->atime_old, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&file->atime_old, false, __ATOMIC_RELAXED);
	inode_touch(in, INODE_ATIME, inode_now_ns());
}

/* Mostly nobody writes, and a lock costs more than the copy. Whatever was read while somebody wrote (bytes of two writes, of a block
 * that went to another file, damage that is none) is read anew, with the lock. */
static inline int64_t read_once(struct inode *in, const struct iovec *iov, uint64_t off,
				uint64_t len)
{
	uint32_t seq;
	int64_t ret;

	if (len <= READ_FREE_MAX && rwl_watch(&in->content, &seq)) {
		ret = read_locked(in, iov, off, len);
		if (ret >= 0 && rwl_watched(&in->content, seq))
			return ret;
	}
	rwl_rdlock(&in->content);
	ret = read_locked(in, iov, off, len);
	rwl_rdunlock(&in->content);
	return ret;
}

/* ---- into a view: see user_buffer.h */

static int64_t read_private(struct inode *in, const struct iovec *iov, uint64_t off, uint64_t len)
{
	struct user_buffer user = {.iov = iov};
	struct iovec own = {.iov_base = malloc(len), .iov_len = len};
	int64_t ret;

	if (!own.iov_base)
		return -ENOMEM;
	ret = read_once(in, &own, off, len);
	if (ret > 0) {
		user.len = (uint64_t)ret;
		if (user_buffer_store(&user, own.iov_base) < user.len)
			ret = -EFAULT;
	}
	free(own.iov_base);
	return ret;
}

static __attribute__((noinline, cold)) int64_t
read_to_view(struct inode *in, const struct iovec *iov, uint64_t off, uint64_t len)
{
	const struct user_buffer user = {.iov = iov, .len = len};
	int64_t ret = -EFAULT;

	if (!user_buffer_in_view(&user))
		return ret;
	for (int i = 0; i < USER_BUFFER_ROUNDS && ret == -EFAULT; i++) {
		if (user_buffer_populate(&user, true))
			break; /* perhaps where the file has no bytes for it */
		ret = read_once(in, iov, off, len);
	}
	return ret == -EFAULT ? read_private(in, iov, off, len) : ret;
}

static int64_t read_call(struct hf_file *file, const struct iovec *iov, uint64_t off, uint64_t len)
{
	int64_t ret = read_once(file->in, iov, off, len);

	if (ret == -EFAULT)
		ret = read_to_view(file->in, iov, off, len);
	if (ret > 0)
		read_touch(file);
	return ret;
}

static int read_enter(struct hf_file *file)
{
	int err = enter_file(file);

	if (!err && (file->flags & HF_O_WRONLY))
		return err_set(-EBADF, "the file is not open for reading");
	return err;
}

HF_API ssize_t hf_pread(hf_file *file, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = min_u64(len, FILE_IO_MAX)};
	int64_t ret;

	if (!enter_file_ok(file) || (file->flags & HF_O_WRONLY))
		return read_enter(file);
	if (len == 0)
		return 0;
	ret = buf ? read_call(file, &iov, off, iov.iov_len) : -EINVAL;
	if (ret < 0 || __builtin_expect(pm_bad(file->vol->fs.pm) != 0, 0))
		return enter_leave_fast(file, pm_bad(file->vol->fs.pm), ret, "read");
	return ret;
}

HF_API ssize_t hf_preadv(hf_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct iov_copy copy;
	int64_t ret = read_enter(file);

	if (ret)
		return ret;
	ret = iov_copy_in(&copy, iov, iovcnt);
	if (ret)
		return enter_leave(ret, "preadv");
	if (copy.bytes > 0)
		ret = read_call(file, copy.iov, off, copy.bytes);
	iov_copy_free(&copy);
	return enter_leave(ret, "preadv");
}
