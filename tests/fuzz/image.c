#include "image.h"
#include "file/volume.h"
#include "inode/map.h"
#include "journal/journal.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MANY = 64, LONG_NAMES = 14, EPOCH_S = 1700000000 };

const char *const fuzz_paths[] = {
	"/", "/dir", "/dir/sub", "/dir/sub/deep", "/many", "/empty",
	"/inline", "/block", "/blocks", "/sparse", "/huge", "/sticky", "/dir/hard", "/dir/sub/file", "/many/n7", "/many/n60",
	"/short", "/long", "/loop", "/fifo", "/device", "/attributes", "/large_attributes",
	"/new", "/dir/new", "/many/new", "/empty/new", "/dir/sub/deep/new", "/many/n7/not", "/dir/..", "/dir/.",
};
const unsigned fuzz_npaths = sizeof(fuzz_paths) / sizeof(fuzz_paths[0]);

void fuzz_die(const char *cond, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "does not hold: %s: ", cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

uint8_t *fuzz_memory(uint64_t bytes, int file)
{
	uint64_t reserve = bytes + 2ull * HF_FRAME_SIZE;
	uint8_t *raw = mmap(NULL, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at;
	int flags = MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	FUZZ_MUST(raw != MAP_FAILED, "no memory");
	at = (uint8_t *)(uintptr_t)round_up_u64((uintptr_t)raw + HF_BLOCK_SIZE, HF_FRAME_SIZE);
	FUZZ_MUST(mmap(at, bytes, PROT_READ | PROT_WRITE, flags, file, 0) != MAP_FAILED, "no memory");
	return at;
}

/* ---- what is in it */

#define OK(call) fuzz_ok((call), #call)
static void fuzz_ok(int64_t ret, const char *what)
{
	FUZZ_MUST(ret >= 0, "%s: %d (%s)", what, (int)ret, hf_errormsg());
}

static hf_file *create(hf_volume *v, const char *path)
{
	hf_file *f = NULL;

	OK(hf_open(v, path, HF_O_RDWR | HF_O_CREAT, 0644, &f));
	return f;
}

static void content(hf_volume *v, const char *path, size_t len, uint64_t off)
{
	static uint8_t buf[65536];
	hf_file *f = create(v, path);

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + len);
	OK(hf_pwrite(f, buf, len, off));
	OK(hf_close(&f));
}

static void fill_files(hf_volume *v)
{
	hf_file *f;

	content(v, "/inline", 100, 0);
	content(v, "/block", 4000, 0);
	content(v, "/blocks", 40000, 0);
	content(v, "/sparse", 5000, 0);
	content(v, "/sparse", 5000, 3ull << 20);
	content(v, "/sparse", 5000, 5ull << 30);
	content(v, "/sparse", 5000, 9ull << 40);
	f = create(v, "/huge");
	OK(hf_fallocate(f, 0, 0, 2 << 20));
	OK(hf_pwrite(f, "huge", 4, 12345));
	OK(hf_close(&f));
	content(v, "/dir/sub/file", 9000, 0);
	OK(hf_link(v, "/dir/sub/file", "/dir/hard"));
}

static void fill_names(hf_volume *v)
{
	char name[300], longname[220];

	OK(hf_mkdir(v, "/dir", 0755));
	OK(hf_mkdir(v, "/dir/sub", 0755));
	OK(hf_mkdir(v, "/dir/sub/deep", 0755));
	OK(hf_mkdir(v, "/many", 01777));
	OK(hf_mkdir(v, "/empty", 0700));
	memset(longname, 'l', sizeof(longname));
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "/many/n%d", i);
		OK(hf_mknod(v, name, S_IFREG | 0600, 0));
	}
	for (int i = 0; i < LONG_NAMES; i++) {
		snprintf(name, sizeof(name), "/many/%.*s%d", 40 + 11 * i, longname, i);
		OK(hf_link(v, "/many/n0", name));
	}
	memset(name, 't', 299);
	name[299] = '\0';
	OK(hf_symlink(v, "dir/sub", "/short"));
	OK(hf_symlink(v, name, "/long"));
	OK(hf_symlink(v, "loop", "/loop"));
	OK(hf_mknod(v, "/fifo", S_IFIFO | 0600, 0));
	OK(hf_mknod(v, "/device", S_IFCHR | 0600, 0x103));
}

static void fill_attributes(hf_volume *v)
{
	static char value[9000];

	memset(value, 'v', sizeof(value));
	content(v, "/attributes", 10, 0);
	OK(hf_setxattr(v, "/attributes", "user.one", "1", 1, 0));
	OK(hf_setxattr(v, "/attributes", "user.two", value, 200, 0));
	OK(hf_setxattr(v, "/attributes", "trusted.three", "", 0, 0));
	OK(hf_setxattr(v, "/dir", "user.dir", "d", 1, 0));
	content(v, "/large_attributes", 5000, 0);
	OK(hf_setxattr(v, "/large_attributes", "user.large", value, sizeof(value), 0));
	OK(hf_setxattr(v, "/large_attributes", "user.small", "s", 1, 0));
}

/* What a crash leaves: names without a checkpoint behind them, files that lost their names while they were open. */
static void leave_work(hf_volume *v, hf_file **open)
{
	content(v, "/unlinked", 30000, 0);
	content(v, "/unlinked2", 100, 0);
	OK(hf_open(v, "/unlinked", HF_O_RDWR, 0, &open[0]));
	OK(hf_open(v, "/unlinked2", HF_O_RDWR, 0, &open[1]));
	OK(hf_syncfs(v));
	OK(hf_unlink(v, "/unlinked"));
	OK(hf_unlink(v, "/unlinked2"));
	OK(hf_mkdir(v, "/sticky", 01777));
	OK(hf_rename(v, "/block", "/dir/moved", 0));
	OK(hf_rename(v, "/dir/moved", "/block", 0));
	OK(hf_truncate(v, "/blocks", 20000));
	OK(hf_setxattr(v, "/dir", "user.more", "m", 1, 0));
}

static void fill(hf_volume *v)
{
	fill_names(v);
	fill_files(v);
	fill_attributes(v);
}

static void make(struct fuzz_image *im, bool crashed)
{
	const uint8_t uuid[16] = "fuzzfuzzfuzzfuz";
	struct mkfs_args mkfs = {.label = "fuzz", .uuid = uuid, .seed = 0x5eed, .now_ns = EPOCH_S * 1000000000ull};
	struct hf_mount_options o = {.struct_size = sizeof(o), .max_cached_inodes = 256, .use_ids = true};
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .no_threads = true};
	hf_file *open[2] = {NULL, NULL};
	hf_volume *v;
	struct pm *pm;

	im->bytes = fuzz_memory(FUZZ_BYTES, -1);
	OK(pm_open_memory(im->bytes, FUZZ_BYTES, &args, &pm));
	OK(mkfs_write(pm, &mkfs));
	OK(geo_read(pm, &im->geo));
	inode_set_now(EPOCH_S * 1000000000ll);
	journal_thread_number(1);
	OK(volume_open(pm, &o, &v));
	fill(v);
	if (crashed) {
		uint8_t *image = fuzz_memory(FUZZ_BYTES, -1);

		leave_work(v, open);
		memcpy(image, im->bytes, FUZZ_BYTES);
		OK(hf_close(&open[0]));
		OK(hf_close(&open[1]));
		OK(hf_unmount(&v));
		im->bytes = image;
	} else {
		OK(hf_mkdir(v, "/sticky", 01777));
		OK(hf_unmount(&v));
	}
	inode_set_now(0);
}

/* ---- where things are */

static uint64_t word(const struct fuzz_image *im, uint64_t off)
{
	le64_t x;

	memcpy(&x, im->bytes + off, sizeof(x));
	return le64_get(x);
}

static void note_block(struct fuzz_image *im, uint64_t blk)
{
	if (im->blocks < FUZZ_MAX)
		im->block[im->blocks++] = blk;
}

struct finder {
	struct fuzz_image *im;
	const struct fmt_inode *i;
	enum fmt_fork fork;
	struct fuzz_blob *blob;
	uint64_t root_off;
};

static int find_entry(void *ctx, const struct map_visit *v)
{
	struct finder *f = ctx;
	struct fuzz_image *im = f->im;
	uint64_t blk = fmt_entry_blk(v->entry).v, ino = le64_get(f->i->ino), inode_off = (uint64_t)((const uint8_t *)f->i - im->bytes);
	bool leaf = fmt_entry_kind_of(v->entry) == FMT_ENT_BLOCK;

	if (im->entries < FUZZ_MAX && (!leaf || v->fblk.v < 4 || v->fblk.v % 16 == 0))
		im->entry[im->entries++] = (struct fuzz_entry){
			.off = v->where.v ? v->where.v : f->root_off, .owner = ino, .fblk = v->fblk.v,
			.inode_off = v->where.v ? 0 : inode_off, .fork = f->fork, .level = v->level};
	if (!leaf || v->fblk.v < 2)
		note_block(im, blk);
	if (leaf && f->fork == FMT_FORK_DATA && S_ISDIR(le32_get(f->i->mode)) && im->buckets < FUZZ_MAX)
		im->bucket[im->buckets++] = (struct fuzz_place){.off = blk << HF_BLOCK_SHIFT, .id = ino};
	if (leaf && f->fork == FMT_FORK_DATA && ino == FMT_INO_ITABLE && v->fblk.v > 0)
		for (unsigned k = 0; k < FMT_INODES_PER_BLOCK && im->inodes < FUZZ_MAX; k++)
			im->inode[im->inodes++] = (struct fuzz_place){.off = (blk << HF_BLOCK_SHIFT) + k * FMT_INODE_SIZE,
								      .id = (v->fblk.v - 1) * FMT_INODES_PER_BLOCK + k};
	if (leaf && f->blob && v->fblk.v < 8)
		f->blob->blk[v->fblk.v] = blk;
	return 0;
}

static void find_fork(struct fuzz_image *im, const struct pm *pm, const struct fmt_inode *i, enum fmt_fork fork)
{
	uint64_t at = (uint64_t)((const uint8_t *)i - im->bytes);
	struct finder f = {.im = im, .i = i, .fork = fork};

	f.root_off = at + (fork == FMT_FORK_DATA ? offsetof(struct fmt_inode, root) : offsetof(struct fmt_inode, xroot));
	if (word(im, f.root_off) == 0)
		return;
	if (fork == FMT_FORK_XATTR && im->blobs < 16) {
		f.blob = &im->blob[im->blobs++];
		*f.blob = (struct fuzz_blob){.owner = le64_get(i->ino), .bytes = le32_get(i->xbytes)};
	}
	OK(map_walk(pm, &im->geo, INUM(le64_get(i->ino)), fork, word(im, f.root_off),
		    fork == FMT_FORK_DATA ? i->height : i->xheight, find_entry, &f));
}

static int find_record(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r)
{
	struct fuzz_image *im = ctx;
	uint64_t end = off + le32_get(r->bytes);

	if (im->records < FUZZ_MAX)
		im->record[im->records++] = (struct fuzz_place){
			.off = im->geo.lanes_off.v + lane * im->geo.lane_bytes + half * (im->geo.lane_bytes / 2) + off,
			.id = (uint64_t)lane << 1 | half, .in_half = off, .bytes = le32_get(r->bytes)};
	if (lane < 4)
		im->lane_end[lane][half] = max_u64(im->lane_end[lane][half], end);
	im->last_seq = max_u64(im->last_seq, le64_get(r->seq));
	return 0;
}

static void find_all(struct fuzz_image *im)
{
	const struct geo *g = &im->geo;
	const uint64_t edges[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, g->lanes_off.v >> HF_BLOCK_SHIFT, g->first_data.v - 1, g->first_data.v,
				  g->nblocks - 2, g->nblocks - 1, g->nblocks, HF_BLOCKS_PER_FRAME, 2 * HF_BLOCKS_PER_FRAME, (1ull << 40) - 1};
	struct pm_open_args args = {.read_only = true};
	const struct fmt_inode *i;
	struct pm *pm;

	OK(pm_open_memory(im->bytes, FUZZ_BYTES, &args, &pm));
	for (size_t k = 0; k < sizeof(edges) / sizeof(edges[0]); k++)
		note_block(im, edges[k]);
	/* the table first: it names the others, and they are added while it is walked */
	i = (const struct fmt_inode *)(const void *)(im->bytes + FMT_BLK_INODES0 * HF_BLOCK_SIZE + FMT_INO_ITABLE * FMT_INODE_SIZE);
	find_fork(im, pm, i, FMT_FORK_DATA);
	for (unsigned k = 0; k < im->inodes; k++) {
		i = (const struct fmt_inode *)(const void *)(im->bytes + im->inode[k].off);
		if (im->inode[k].id <= FMT_INO_ITABLE || le32_get(i->mode) == 0)
			continue;
		find_fork(im, pm, i, FMT_FORK_DATA);
		find_fork(im, pm, i, FMT_FORK_XATTR);
	}
	OK(journal_walk(pm, &im->geo, find_record, im));
	pm_close(&pm);
}

const struct fuzz_image *fuzz_image(bool crashed)
{
	static struct fuzz_image *made[2];

	if (!made[crashed]) {
		made[crashed] = calloc(1, sizeof(*made[0]));
		FUZZ_MUST(made[crashed], "no memory");
		make(made[crashed], crashed);
		find_all(made[crashed]);
	}
	return made[crashed];
}
