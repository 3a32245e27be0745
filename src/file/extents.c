/* Where data is: hf_seek and hf_extents. */
#include "file/data.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t seek_locked(struct inode *in, uint64_t off, bool data)
{
	uint64_t size = data_size(in);
	fblk_t found;
	int err;

	if (off >= size)
		return -ENXIO;
	if (data_is_inline(in))
		return (int64_t)(data ? off : size);
	err = map_seek(in, FMT_FORK_DATA, data_block(off), data_block_up(size), data, &found);
	if (err)
		return err;
	if (found.v == data_block_up(size).v)
		return data ? -ENXIO : (int64_t)size;
	return (int64_t)max_u64(off, found.v << HF_BLOCK_SHIFT);
}

HF_API int64_t hf_seek(hf_file *file, uint64_t off, int whence)
{
	int64_t ret = enter_file(file);

	if (ret)
		return ret;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return err_set(-EINVAL, "seek: whence is neither SEEK_DATA nor SEEK_HOLE");
	rwl_rdlock(&file->in->content);
	ret = seek_locked(file->in, off, whence == SEEK_DATA);
	rwl_rdunlock(&file->in->content);
	return enter_leave(ret, "seek");
}

struct extents {
	struct hf_extent *e; /* gathered here and copied out when no lock is held */
	size_t n, cap, max;
};

static int extents_grow(struct extents *x)
{
	size_t cap = x->cap ? 2 * x->cap : 64;
	struct hf_extent *e = realloc(x->e, cap * sizeof(*e));

	if (!e)
		return -ENOMEM;
	x->e = e;
	x->cap = cap;
	return 0;
}

/* False: there is no more room. Neighbours on the media and in the file become one. */
static bool extents_add(struct extents *x, const struct map_extent *m)
{
	struct hf_extent *last = x->n ? &x->e[x->n - 1] : NULL;
	struct hf_extent e;

	memset(&e, 0, sizeof(e)); /* the caller gets its unused bytes as well */
	e.off = m->fblk.v << HF_BLOCK_SHIFT;
	e.len = m->n << HF_BLOCK_SHIFT;
	e.media_off = mblk_to_moff(m->blk).v;
	e.huge = m->huge;
	if (last && last->huge == e.huge && last->off + last->len == e.off &&
	    last->media_off + last->len == e.media_off) {
		last->len += e.len;
		return true;
	}
	if (x->n == x->max)
		return false;
	memcpy(&x->e[x->n++], &e, sizeof(e));
	return true;
}

static int extents_locked(struct inode *in, uint64_t off, struct extents *x)
{
	fblk_t at = data_block(off);
	struct map_extent m;
	int err;

	while (at.v < FILE_BLOCKS_MAX) {
		/* A slot at a time: a run may change from huge leaf to blocks. */
		err = map_lookup(in, FMT_FORK_DATA, at,
				 HF_BLOCKS_PER_FRAME - at.v % HF_BLOCKS_PER_FRAME, &m);
		if (!err && mblk_is_null(m.blk)) {
			err = map_seek(in, FMT_FORK_DATA, at, FBLK(FILE_BLOCKS_MAX), true, &at);
			if (err)
				return err;
			continue;
		}
		if (!err && x->n == x->cap)
			err = extents_grow(x);
		if (err)
			return err;
		if (!extents_add(x, &m))
			return 0;
		at.v += m.n;
	}
	return 0;
}

HF_API int hf_extents(hf_file *file, uint64_t off, struct hf_extent *out, size_t max, size_t *n)
{
	struct extents x = {.max = max};
	int err = enter_file(file);

	if (err)
		return err;
	if (!n || (max && !out))
		return err_set(-EINVAL, "extents: an out-parameter is NULL");
	*n = 0;
	rwl_rdlock(&file->in->content);
	err = extents_locked(file->in, off, &x);
	rwl_rdunlock(&file->in->content);
	if (!err && x.n) {
		memcpy(out, x.e, x.n * sizeof(*out));
		*n = x.n;
	}
	free(x.e);
	return (int)enter_leave(err, "extents");
}
