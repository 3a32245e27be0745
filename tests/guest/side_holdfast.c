#include "side.h"
#include <holdfast.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/uio.h>

static hf_volume *vol;
static hf_view *view; /* one at a time */

static int open_volume(const char *where)
{
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .force = true};
	int err = hf_format(where, &fmt);

	return err ? err : hf_mount(&vol, where, NULL);
}

static void close_volume(void)
{
	side_must(hf_unmount(&vol), "hf_unmount");
}

static uint64_t free_bytes(void)
{
	struct hf_statfs st;

	side_must(hf_statfs(vol, &st), "hf_statfs");
	return st.blocks_free * st.block_bytes;
}

static int create(const char *name, struct side_file *f)
{
	return hf_open(vol, name, HF_O_RDWR | HF_O_CREAT, 0600, (hf_file **)&f->handle);
}

static int close_file(struct side_file *f)
{
	return hf_close((hf_file **)&f->handle);
}

static ssize_t write_file(struct side_file *f, const void *buf, size_t len, uint64_t off)
{
	return hf_pwrite(f->handle, buf, len, off);
}

static ssize_t read_file(struct side_file *f, void *buf, size_t len, uint64_t off)
{
	return hf_pread(f->handle, buf, len, off);
}

static uint64_t allocated(const char *name)
{
	struct hf_stat st;

	side_must(hf_stat(vol, name, &st), name);
	return st.blocks_512 * 512;
}

static int allocate(struct side_file *f, uint64_t len)
{
	return hf_fallocate(f->handle, 0, 0, len);
}

static int truncate_file(struct side_file *f, uint64_t size)
{
	return hf_ftruncate(f->handle, size);
}

static int punch(struct side_file *f, uint64_t off, uint64_t len)
{
	return hf_fallocate(f->handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static int unlink_name(const char *name)
{
	return hf_unlink(vol, name);
}

static int hold(struct side_file *f, uint64_t off, size_t len)
{
	struct hf_pin_options how = {
	    .struct_size = sizeof(how), .flags = HF_PIN_WRITE, .tag = "side by side"};
	struct iovec iov;
	size_t n = 1;
	int err = hf_pin(f->handle, off, len, &how, &iov, &n, &f->pin);

	f->addr = err ? NULL : iov.iov_base;
	f->len = len;
	return err;
}

static void hold_end(struct side_file *f)
{
	side_must(hf_unpin(vol, f->pin), "hf_unpin");
}

static int map(struct side_file *f, size_t len)
{
	struct hf_view_options how = {.struct_size = sizeof(how),
				      .prot = HF_VIEW_READ | HF_VIEW_WRITE};

	f->len = len;
	return hf_view_map(f->handle, 0, len, &how, &f->addr, &view);
}

static int populate(struct side_file *f, uint64_t off, size_t len)
{
	(void)f;
	return hf_view_populate(view, off, len, true);
}

static void unmap(struct side_file *f)
{
	(void)f;
	side_must(hf_view_unmap(&view), "hf_view_unmap");
}

static int extents(struct side_file *f, struct side_extent *e, size_t max, size_t *n)
{
	struct hf_extent list[64];
	uint64_t off = 0;
	size_t got;
	int err;

	*n = 0;
	do {
		err = hf_extents(f->handle, off, list, 64, &got);
		for (size_t i = 0; !err && i < got && *n < max; i++) {
			e[(*n)++] =
			    (struct side_extent){list[i].off, list[i].len, list[i].media_off};
			off = list[i].off + list[i].len;
		}
	} while (!err && got && *n < max);
	return err;
}

const struct side_ops side_holdfast = {
    .open = open_volume,
    .close = close_volume,
    .free_bytes = free_bytes,
    .create = create,
    .close_file = close_file,
    .write = write_file,
    .read = read_file,
    .allocated = allocated,
    .allocate = allocate,
    .truncate = truncate_file,
    .punch = punch,
    .unlink = unlink_name,
    .hold = hold,
    .hold_end = hold_end,
    .map = map,
    .populate = populate,
    .unmap = unmap,
    .extents = extents,
    .knows_holds = true,
};
