/* The public functions of views. */
#include "file/view_fill.h"
#include "media/guard.h"

#include <string.h>

static struct pool view_pool = {
    POOL_SHARDS_INIT,
    .nshards = 1,
    .item_bytes = sizeof(struct hf_view),
    .magic = VIEW_MAGIC,
};

/* ---- mapping */

static int view_options(struct hf_file *file, struct hf_view_options *o)
{
	if (o->prot & ~(unsigned)(HF_VIEW_READ | HF_VIEW_WRITE))
		return err_set(-EINVAL, "view: unknown protection %#x", o->prot);
	if (o->prot == 0)
		return err_set(-EINVAL,
			       "view: neither HF_VIEW_READ nor HF_VIEW_WRITE is asked for");
	if (file->flags & HF_O_WRONLY)
		return err_set(-EBADF, "view: the file is not open for reading");
	return o->prot & HF_VIEW_WRITE ? enter_file_change(file) : 0;
}

/* A view whose touches do not come to the library's handler ends the process at its first. Ours is
 * not put over the other one, which may chain to it: each would call the other for ever. */
static int view_check_handler(const struct hf_view_options *o)
{
	if (o->handler_chains || guard_is_first())
		return 0;
	return err_set(-EBUSY,
		       "view: SIGSEGV has another handler since the first mount, and a touch would "
		       "end the process: load the library that took it before, or keep it from "
		       "that; if it calls the handler before it, say so by handler_chains");
}

static int view_check_range(const struct hf_file *file, uint64_t off, uint64_t len)
{
	if (off % HF_FRAME_SIZE)
		return err_set(-EINVAL, "view: the offset is no multiple of 2 MiB");
	if (len == 0 || off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return err_set(-EINVAL, "view: a range of %llu bytes at %llu",
			       (unsigned long long)len, (unsigned long long)off);
	if (file->vol->fs.pm->member[0].fd < 0)
		return err_set(-ENOTSUP,
			       "view: the medium is memory that cannot be mapped once more");
	if (file->vol->fs.pm->align > HF_FRAME_SIZE)
		return err_set(-ENOTSUP,
			       "view: %s is aligned to %llu MiB and cannot be mapped in pages of 2 MiB; 'ndctl create-namespace -f -e <namespace> "
			       "--mode=devdax --align=2M' (this erases it)",
			       file->vol->fs.pm->path, (unsigned long long)(file->vol->fs.pm->align >> 20));
	return 0;
}

static int view_open(struct hf_file *file, uint64_t off, uint64_t len,
		     const struct hf_view_options *o, struct hf_view *view)
{
	struct inode *in = file->in;
	const struct view_req req = {
	    .in = in,
	    .first = off / HF_FRAME_SIZE,
	    .slots = len / HF_FRAME_SIZE + (len % HF_FRAME_SIZE != 0),
	    .writable = (o->prot & HF_VIEW_WRITE) != 0,
	    .pin_wait_ns = o->pin_wait_ns,
	    .fill = view_fill,
	    .gate = &file->vol->gate.opened,
	};
	int err = open_count(in);

	if (err)
		return err;
	inode_ref(in);
	view->vol = file->vol;
	view->fork_token = file->fork_token;
	view->in = in;
	view->len = len;
	err = view_create(&req, &view->v);
	/* Listed first and looked after: either this sees the forced unmount, or that sees the
	 * view. */
	if (!err && atomic_load(&file->vol->forced) != VOLUME_NORMAL) {
		view_destroy(view->v);
		err = err_set(-ESHUTDOWN, "view: the volume was unmounted by force");
	}
	if (err)
		open_uncount(file->vol, in);
	return err;
}

HF_API int hf_view_map(hf_file *file, uint64_t off, uint64_t len,
		       const struct hf_view_options *opts, void **addr, hf_view **out)
{
	struct hf_view_options o;
	struct hf_view *view;
	int err;

	if (out)
		*out = NULL;
	if (addr)
		*addr = NULL;
	err = enter_file(file);
	if (err)
		return err;
	if (!out || !addr)
		return err_set(-EINVAL, "view: an out-parameter is NULL");
	err = enter_options(&o, sizeof(o), opts);
	if (!err)
		err = view_options(file, &o);
	if (!err)
		err = view_check_range(file, off, len);
	if (!err)
		err = view_check_handler(&o);
	if (err)
		return (int)enter_leave(err, "view");
	view = pool_get(&view_pool);
	if (!view)
		return err_set(-ENOMEM, "view: out of memory");
	err = view_open(file, off, len, &o, view);
	if (err) {
		pool_put(&view_pool, view);
		return (int)enter_leave(err, "view");
	}
	*addr = view_base(view->v);
	*out = view;
	return 0;
}

HF_API int hf_view_unmap(hf_view **view)
{
	struct hf_volume *vol;
	struct inode *in;
	bool any = false;
	struct view *v;
	int err, err2;

	err_clear();
	if (!view)
		return err_set(-EINVAL, "view: the view is NULL");
	err = enter_view_to_leave(*view);
	if (err)
		return err;
	vol = (*view)->vol;
	volume_hold(vol);
	in = (*view)->in;
	v = (*view)->v;
	pool_put(&view_pool, *view);
	*view = NULL;
	/* Nothing remembers what was stored through a view that is gone, and a later hf_fsync of
	 * the file promises it. */
	err = view_flush_range(v, 0, v->slots * HF_FRAME_SIZE, &any);
	if (!err && any)
		err = data_fence(in);
	if (any && journal_state(in->fs->journal) == 0)
		inode_touch(in, INODE_MTIME | INODE_CTIME, inode_now_ns());
	view_destroy(v);
	view_holes_run(in, false);
	err2 = open_uncount(vol, in);
	volume_unhold(vol);
	return (int)enter_leave(err ? err : err2, "view");
}

/* ---- the other calls */

static int view_range(struct hf_view *view, uint64_t off, uint64_t len)
{
	if (off > view->len || len > view->len - off)
		return err_set(-EINVAL,
			       "view: %llu bytes at %llu are not in the view of %llu bytes",
			       (unsigned long long)len, (unsigned long long)off,
			       (unsigned long long)view->len);
	return 0;
}

HF_API int hf_view_populate(hf_view *view, uint64_t off, uint64_t len, bool write)
{
	int err = enter_view(view);

	if (!err)
		err = view_range(view, off, len);
	if (!err && write && !view->v->writable)
		err = err_set(-EBADF, "view: it is not mapped for writing");
	if (err || len == 0)
		return err;
	for (uint64_t s = off / HF_FRAME_SIZE; s <= (off + len - 1) / HF_FRAME_SIZE && !err; s++)
		err = view_fill_wait(view->v, s, write);
	return (int)enter_leave(err, "view");
}

HF_API int hf_view_persist(hf_view *view, uint64_t off, uint64_t len)
{
	bool any = false;
	int err = enter_view(view);

	if (!err)
		err = view_range(view, off, len);
	if (!err)
		err = view_flush_range(view->v, off, off + len, &any);
	if (!err && any)
		err = data_fence(view->in);
	return (int)enter_leave(err, "view");
}
