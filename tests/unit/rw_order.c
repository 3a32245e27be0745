/* What is on the media when. The medium is watched through its hooks: each 64-byte line is clean,
 * dirty (stored, not flushed) or on its way (flushed or stored non-temporally, not fenced).
 *
 * Rules: when a call has returned, the file's data is clean; when a record is stored into a lane,
 * no line of file data is not clean, but for a short append's, for which the record vouches. And the number of fences of each operation is what it should
 * be: one more is time, one less is luck. */
#include "file_vol.h"
#include "file/volume.h"

#include <sys/mman.h>

#define VOLUME_BYTES (32 * MIB)
#define LINES	     (VOLUME_BYTES / 64)

enum line { CLEAN, ON_ITS_WAY, DIRTY };

static struct {
	uint8_t line[LINES];
	uint64_t lanes, lanes_end; /* bytes */
	uint64_t data, data_end;   /* where the test's file has its blocks */
	unsigned fences, early;
	bool watch;
	void *base;
} media;

static bool data_clean(void)
{
	for (uint64_t i = media.data / 64; i < media.data_end / 64; i++)
		if (media.line[i] != CLEAN)
			return false;
	return true;
}

static void hook_store(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	(void)ctx;
	if (media.watch && off.v >= media.lanes && off.v < media.lanes_end && !data_clean())
		media.early++;
	/* Lines that a non-temporal store covers only in part are flushed by it. */
	for (uint64_t i = off.v / 64; len && i <= (off.v + len - 1) / 64; i++)
		media.line[i] = nontemporal ? ON_ITS_WAY : DIRTY;
}

static int hook_flush(void *ctx, moff_t off, uint64_t len)
{
	(void)ctx;
	for (uint64_t i = off.v / 64; len && i <= (off.v + len - 1) / 64; i++)
		if (media.line[i] == DIRTY)
			media.line[i] = ON_ITS_WAY;
	return 0;
}

static int hook_fence(void *ctx)
{
	(void)ctx;
	media.fences++;
	for (uint64_t i = 0; i < LINES; i++)
		if (media.line[i] == ON_ITS_WAY)
			media.line[i] = CLEAN;
	return 0;
}

static hf_volume *watched_volume(void)
{
	static const struct pm_hook hook = {
	    .store = hook_store, .flush = hook_flush, .fence = hook_fence};
	const struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = &hook};
	const struct hf_mount_options o = {.struct_size = sizeof(o)};
	void *base = aligned_alloc(FRM, VOLUME_BYTES);
	struct pm *pm = NULL;
	hf_volume *vol = NULL;

	memset(base, 0, VOLUME_BYTES);
	memset(&media, 0, sizeof(media));
	media.base = base;
	OK(pm_open_memory(base, VOLUME_BYTES, &args, &pm));
	OK(mkfs_write(pm, &(struct mkfs_args){.bytes = 0}));
	OK(volume_open(pm, &o, &vol));
	media.lanes = vol->fs.geo.lanes_off.v;
	media.lanes_end = media.lanes + vol->fs.geo.nlanes * vol->fs.geo.lane_bytes;
	return vol;
}

static void watch(hf_file *f)
{
	struct hf_extent e[64];
	size_t n = 0;

	OK(hf_extents(f, 0, e, 64, &n));
	/* Everything behind the lanes that no metadata is in: the frames from the file's first on.
	 */
	media.data = n ? e[0].media_off : 0;
	media.data_end = n ? e[0].media_off + e[0].len : 0;
	media.watch = true;
}

static void expect(unsigned fences, const char *what, int64_t ret, hf_file *f)
{
	if (ret < 0 || media.fences != fences || media.early || !data_clean())
		fprintf(stderr,
			"%s: %lld, %u fences (%u expected), %u records before the data, data %s\n",
			what, (long long)ret, media.fences, fences, media.early,
			data_clean() ? "clean" : "not clean");
	CU_ASSERT(ret >= 0);
	CU_ASSERT_EQUAL(media.fences, fences);
	CU_ASSERT_EQUAL(media.early, 0);
	watch(f);
	CU_ASSERT(data_clean());
	media.fences = media.early = 0;
}

/* A short append: one fence for data and record. */
static void expect_vouched(const char *what, int64_t ret, hf_file *f)
{
	CU_ASSERT_EQUAL(media.early, 1);
	media.early = 0;
	expect(1, what, ret, f);
}

static void test_order(void)
{
	hf_volume *vol = watched_volume();
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	static uint8_t buf[3 * FRM];
	struct hf_extent e[4];
	hf_file *f;
	size_t n;

	vol_fill(buf, sizeof(buf), 1);
	f = vol_create(vol, "/f");
	media.fences = 0;
	expect(1, "write inline", hf_pwrite(f, buf, 100, 0), f);
	expect(2, "outgrow", hf_pwrite(f, buf, 5000, 3), f);
	expect(0, "read", hf_pread(f, buf + FRM, 5000, 0), f);
	expect(1, "truncate to nothing", hf_ftruncate(f, 0), f);
	expect(2, "write two frames and a bit", hf_pwrite(f, buf, 2 * FRM + 10, 0), f);
	OK(hf_extents(f, 0, e, 4, &n));
	CU_ASSERT(n == 1 && e[0].huge);
	expect(1, "overwrite 4096", hf_pwrite(f, buf, 4096, 8192), f);
	expect(1, "overwrite 64", hf_pwrite(f, buf, 64, 640), f);
	expect(1, "overwrite unaligned", hf_pwrite(f, buf, 1001, 777), f);
	expect(1, "overwrite over a frame's edge", hf_pwrite(f, buf, 9999, FRM - 5000), f);
	expect(2, "append 4096", hf_append(f, buf, 4096, NULL), f);
	expect_vouched("append 64", hf_append(f, buf, 64, NULL), f);
	expect(2, "overwrite behind it", hf_pwrite(f, buf, 64, 640), f);
	expect(1, "once more", hf_pwrite(f, buf, 64, 640), f);
	expect_vouched("append unaligned", hf_append(f, buf, 333, NULL), f);
	expect(2, "append more", hf_append(f, buf, 1025, NULL), f);
	expect_vouched("append 1024", hf_append(f, buf, 1024, NULL), f);
	expect(2, "write behind the end", hf_pwrite(f, buf, 100, 2 * FRM + 20000), f);
	expect(2, "extend", hf_ftruncate(f, 2 * FRM + 30000), f);
	expect(1, "truncate", hf_ftruncate(f, 2 * FRM), f);
	expect(0, "seek", hf_seek(f, 0, SEEK_HOLE), f);
	usleep(20000); /* the clock is coarse */
	expect(1, "overwrite", hf_pwrite(f, buf, 1, 0), f);
	expect(1, "fsync with times pending", hf_fsync(f), f);
	expect(0, "fsync", hf_fsync(f), f);
	expect(1, "punch a frame", hf_fallocate(f, punch, FRM, FRM), f);
	expect(2, "fill the hole", hf_pwrite(f, buf, 5 * BLK, FRM + 100), f);
	expect(1, "punch inside a block", hf_fallocate(f, punch, 100, 100), f);
	expect(3, "punch inside a frame, with edges", hf_fallocate(f, punch, 5000, 50000), f);
	expect(1, "zero in place", hf_fallocate(f, FALLOC_FL_ZERO_RANGE, 100000, 50000), f);
	expect(2, "allocate", hf_fallocate(f, 0, 3 * FRM, FRM), f);
	expect(1, "chmod", hf_chmod(vol, "/f", 0600), f);
	expect(1, "create", hf_mknod(vol, "/new", 0600, 0), f);
	expect(1, "link", hf_link(vol, "/new", "/new2"), f);
	expect(1, "rename", hf_rename(vol, "/new2", "/new3", 0), f);
	expect(1, "unlink", hf_unlink(vol, "/new3"), f);
	expect(1, "last unlink", hf_unlink(vol, "/new"), f);
	media.watch = false;
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	free(media.base);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"order", test_order},
	};

	return hf_run_suite("order on the media", cases, HF_COUNT(cases));
}
