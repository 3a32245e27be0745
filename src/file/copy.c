/* hf_copy_file_range: data is copied from media to media, holes are made holes.
 *
 * Locking: content of the source shared (or exclusive, when it is the same file), of the target
 * exclusive, by inode number. */
#include "file/resize.h"
#include "file/write.h"

#include <limits.h>
#include <string.h>

struct copy {
	struct inode *in, *out;
	uint64_t from, to; /* where in each */
};

static void copy_lock(struct inode *in, struct inode *out)
{
	if (in->ino.v < out->ino.v)
		rwl_rdlock(&in->content);
	rwl_wrlock(&out->content);
	if (in->ino.v > out->ino.v)
		rwl_rdlock(&in->content);
}

static void copy_unlock(struct inode *in, struct inode *out)
{
	rwl_wrunlock(&out->content);
	if (in != out)
		rwl_rdunlock(&in->content);
}

/* The source's hole becomes one of the target, as far as there was something; beyond its end the
 * size grows at last. Leases are told of each hole; nobody waits for them. */
static int copy_hole(struct copy *c, uint64_t bytes)
{
	struct resize_rest rest = {0};
	uint64_t end = min_u64(c->to + bytes, data_size(c->out));
	struct how h;
	int err;

	if (c->to >= end)
		return 0;
	err = how_open(&h, c->out->fs, NULL);
	if (err)
		return err;
	err = resize_punch(c->out, c->to, end, &h, &rest);
	how_end(&h);
	resize_finish(c->out->fs, &rest, &h);
	return how_close(&h, err);
}

static int64_t copy_data(struct copy *c, const void *from, uint64_t bytes)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = bytes};
	struct write_src src = {.iov = &iov};

	return write_locked(c->out, &src, c->to, bytes);
}

/* One run of the source's map: the bytes that were copied. */
static int64_t copy_step(struct copy *c, uint64_t end)
{
	uint8_t inline_bytes[FMT_INLINE_MAX];
	struct data_run run;
	int err;

	if (data_is_inline(c->in)) {
		memcpy(inline_bytes, pm_at(c->in->fs->pm, data_inline_off(c->in)),
		       sizeof(inline_bytes));
		return copy_data(c, inline_bytes + c->from, end - c->from);
	}
	err = data_run(c->in, c->from, end, &run);
	if (err)
		return err;
	if (!run.hole)
		return copy_data(c, pm_at(c->in->fs->pm, run.at), run.bytes);
	err = copy_hole(c, run.bytes);
	return err ? err : (int64_t)run.bytes;
}

static int64_t copy_run(struct copy *c, uint64_t len)
{
	uint64_t begin = c->from, end = begin + len;
	int64_t n = 0;
	int err = 0;

	while (c->from < end && n >= 0) {
		n = copy_step(c, end);
		if (n > 0) {
			c->from += (uint64_t)n;
			c->to += (uint64_t)n;
		}
	}
	if (c->to > data_size(c->out) && c->from > begin)
		err = resize_grow(c->out, c->to, NULL);
	if (err)
		return err;
	return c->from > begin ? (int64_t)(c->from - begin) : n;
}

static int64_t copy_locked(struct copy *c, uint64_t len)
{
	uint64_t size = data_size(c->in);

	if (c->from >= size)
		return 0;
	len = min_u64(len, size - c->from);
	if (c->to > FILE_SIZE_MAX || len > FILE_SIZE_MAX - c->to)
		return -EFBIG;
	if (c->in == c->out && c->from < c->to + len && c->to < c->from + len)
		return err_set(-EINVAL, "copy: the ranges overlap in one file");
	return copy_run(c, len);
}

HF_API ssize_t hf_copy_file_range(hf_file *in, uint64_t off_in, hf_file *out, uint64_t off_out,
				  size_t len)
{
	struct copy c = {.from = off_in, .to = off_out};
	uint32_t ticket;
	int64_t ret = enter_file(in);

	if (ret)
		return ret;
	ret = enter_file_change(out);
	if (ret)
		return ret;
	if (in->flags & HF_O_WRONLY)
		return err_set(-EBADF, "copy: the source is not open for reading");
	if (out->flags & HF_O_APPEND)
		return err_set(-EBADF, "copy: the target is open for appending");
	if (in->vol != out->vol)
		return err_set(-EXDEV, "copy: the files are on two volumes");
	if (len > (uint64_t)SSIZE_MAX)
		len = (size_t)SSIZE_MAX;
	c.in = in->in;
	c.out = out->in;
	ticket = gate_enter(&out->vol->gate);
	copy_lock(c.in, c.out);
	ret = len ? copy_locked(&c, len) : 0;
	copy_unlock(c.in, c.out);
	gate_leave(&out->vol->gate, ticket);
	return enter_leave(ret, "copy");
}
