/* What is stored through views and pins is durable when hf_fsync, hf_syncfs, hf_view_persist or
 * hf_unmount say so: the medium is watched through its hooks. Stores through a page of a view are
 * not seen by a hook, so the test says where it stores: those lines are dirty until a flush covers
 * them, and on their way until the next fence of the same thread. */
#include "file/volume.h"
#include "pin/view.h"
#include "view_vol.h"

#include <sys/uio.h>
#include <unistd.h>

#define VOLUME_BYTES (32 * MIB)
#define LINES	     (VOLUME_BYTES / 64)

enum line { CLEAN, ON_ITS_WAY, DIRTY };
static _Atomic uint8_t lines[LINES];
static _Atomic unsigned flushes;

/* A fence makes durable what its own thread flushed. */
static __thread uint32_t own[1u << 20];
static __thread unsigned nown;

static void (*after_flush)(void); /* once */

static void mark_flushed(moff_t off, uint64_t len)
{
	flushes++;
	for (uint64_t i = off.v / 64; len && i <= (off.v + len - 1) / 64; i++)
		if (lines[i] == DIRTY) {
			lines[i] = ON_ITS_WAY;
			own[nown++] = (uint32_t)i;
		}
}

static int hook_flush(void *ctx, moff_t off, uint64_t len)
{
	void (*then)(void) = after_flush;

	(void)ctx;
	mark_flushed(off, len);
	after_flush = NULL;
	if (then)
		then();
	return 0;
}

static int hook_fence(void *ctx)
{
	(void)ctx;
	while (nown > 0) {
		uint8_t on_its_way = ON_ITS_WAY;

		atomic_compare_exchange_strong(&lines[own[--nown]], &on_its_way, CLEAN);
	}
	return 0;
}

static hf_volume *vol;
static hf_file *f;
static hf_view *v;
static uint8_t *p;
static uint64_t media[8]; /* where the frames of the file's slots are, as it was made */

/* A file of four frames. */
static void begin(void)
{
	static const struct pm_hook hook = {.flush = hook_flush, .fence = hook_fence};
	const struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = &hook};
	const struct hf_mount_options o = {.struct_size = sizeof(o)};
	struct hf_extent e;
	struct pm *pm = NULL;
	size_t n;

	OK(pm_open_memfd(VOLUME_BYTES, &args, &pm));
	OK(mkfs_write(pm, &(struct mkfs_args){.bytes = 0}));
	OK(volume_open(pm, &o, &vol));
	f = view_file(vol, "a", 4, 1);
	for (unsigned i = 0; i < 4; i++) {
		OK(hf_extents(f, i * FRM, &e, 1, &n));
		media[i] = e.media_off + i * FRM - e.off;
	}
	p = view_at(f, 0, 8 * FRM, VIEW_RW, WAIT_NONE, &v);
}

static void end(void)
{
	if (v)
		OK(hf_view_unmap(&v));
	if (f)
		OK(hf_close(&f));
	if (vol)
		OK(hf_unmount(&vol));
}

/* Stores to the slot as it is mapped now; 'slot_media' is the frame that it shows. */
static void store(unsigned slot, uint64_t slot_media, uint64_t off)
{
	SLOT(p, slot)[off] = 0xab;
	lines[(slot_media + off) / 64] = DIRTY;
}

static unsigned lost(void)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < LINES; i++)
		n += lines[i] != CLEAN;
	return n;
}

static void take_away(uint64_t from, uint64_t to)
{
	rwl_wrlock(&f->in->layout);
	OK(view_revoke(f->in, from, to));
	rwl_wrunlock(&f->in->layout);
}

static void test_fsync_covers_views(void)
{
	begin();
	store(0, media[0], 0);
	store(1, media[1], FRM - 1);
	store(3, media[3], 12345);
	CU_ASSERT_EQUAL(lost(), 3);
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	store(3, media[3], 12345); /* mapped all the time: dirty again */
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	store(2, media[2], 64);
	OK(hf_syncfs(vol));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

static void test_persist_covers_its_range(void)
{
	begin();
	store(0, media[0], 100);
	store(0, media[0], 5000);
	store(1, media[1], 0);
	OK(hf_view_persist(v, 0, 200));
	CU_ASSERT_EQUAL(lost(), 2);
	OK(hf_view_persist(v, 5000, FRM - 5000));
	CU_ASSERT_EQUAL(lost(), 1);
	OK(hf_view_persist(v, FRM - 1, 2));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

/* A page that was taken away is still the file's where the frame is. */
static void test_fsync_covers_revoked_pages(void)
{
	begin();
	store(0, media[0], 64);
	store(1, media[1], 64);
	take_away(0, UINT64_MAX);
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	store(1, media[1], 64);
	take_away(0, UINT64_MAX);
	OK(hf_view_persist(v, FRM, FRM));
	CU_ASSERT_EQUAL(lost(), 0);
	/* and is not flushed for ever */
	flushes = 0;
	OK(hf_view_persist(v, 0, 4 * FRM));
	CU_ASSERT_EQUAL(flushes, 0);
	end();
}

/* While a page that was taken away is flushed it comes back, is stored to, and is taken away again: it looks as before, and is not
 * clean. Another thread does it; where the page cannot come back before the flush is done it does that later. */
static void *comes_and_goes(void *arg)
{
	(void)arg;
	store(0, media[0], 128);
	take_away(0, FRM);
	return NULL;
}

static pthread_t visitor;

static void begin_visit(void)
{
	CU_ASSERT_EQUAL(pthread_create(&visitor, NULL, comes_and_goes, NULL), 0);
	usleep(100000);
}

static void test_flush_of_a_page_that_comes_back(void)
{
	begin();
	store(0, media[0], 64);
	take_away(0, FRM);
	after_flush = begin_visit;
	OK(hf_fsync(f));
	pthread_join(visitor, NULL);
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

/* A shift brings another frame to the slot; the first one is behind it now. */
static void test_fsync_covers_shifted_pages(void)
{
	begin();
	store(0, media[0], 640);
	OK(hf_fallocate(f, FALLOC_FL_INSERT_RANGE, 0, FRM));
	SLOT(p, 0)[0] = 1; /* a new frame */
	CU_ASSERT_EQUAL(SLOT(p, 1)[640], 0xab);
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

/* A split leaves the bytes where they are. */
static void test_fsync_covers_punched_pages(void)
{
	begin();
	store(0, media[0], 640);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK, 8 * BLK));
	store(0, media[0], 20 * BLK);
	OK(hf_view_unmap(&v)); /* splits */
	CU_ASSERT_FALSE(view_is_huge(f, 0));
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

static void test_fsync_covers_closed_views(void)
{
	begin();
	store(0, media[0], 64);
	store(2, media[2], 64);
	take_away(0, FRM);
	OK(hf_view_unmap(&v));
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

static void *other_thread(void *arg)
{
	(void)arg;
	store(0, media[0], 64);
	store(1, media[1], 64);
	return NULL;
}

static void test_fsync_covers_other_threads(void)
{
	pthread_t t;

	begin();
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, other_thread, NULL), 0);
	pthread_join(t, NULL);
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	end();
}

/* A slot that only ever was read in a view for reading is not flushed. */
static void test_reading_costs_no_flush(void)
{
	hf_view *r;
	uint8_t *q;

	begin();
	OK(hf_view_unmap(&v));
	q = view_at(f, 0, 4 * FRM, HF_VIEW_READ, WAIT_NONE, &r);
	CU_ASSERT_EQUAL(q[0], 1);
	OK(hf_fsync(f));
	flushes = 0;
	OK(hf_fsync(f));
	OK(hf_view_persist(r, 0, 4 * FRM));
	OK(hf_view_unmap(&r));
	CU_ASSERT_EQUAL(flushes, 0);
	end();
}

/* ---- pins for writing */

static void test_fsync_covers_write_pins(void)
{
	struct hf_pin_options w = {.struct_size = sizeof(w), .flags = HF_PIN_WRITE};
	struct iovec iov[8];
	size_t n = HF_COUNT(iov);
	hf_pin_id pin;

	begin();
	OK(hf_view_unmap(&v));
	OK(hf_pin(f, FRM + 4096, FRM, &w, iov, &n, &pin));
	((uint8_t *)iov[0].iov_base)[70] = 0xab;
	lines[(media[1] + 4096 + 70) / 64] = DIRTY;
	OK(hf_fsync(f));
	CU_ASSERT_EQUAL(lost(), 0);
	((uint8_t *)iov[0].iov_base)[0] = 0xab;
	lines[(media[1] + 4096) / 64] = DIRTY;
	OK(hf_syncfs(vol));
	CU_ASSERT_EQUAL(lost(), 0);
	lines[(media[1] + 4096) / 64] = DIRTY;
	OK(hf_pin_persist(vol, pin, 0, 64));
	CU_ASSERT_EQUAL(lost(), 0);
	OK(hf_unpin(vol, pin));
	end();
}

static int64_t mtime(hf_file *file)
{
	struct hf_stat st;

	OK(hf_fstat(file, &st));
	return st.mtime_ns;
}

/* What was stored changes the times of the file, whoever makes it durable; what was not does not.
 */
static void test_syncfs_changes_times(void)
{
	const struct hf_setattr past = {.set = HF_SET_MTIME, .mtime_ns = 5};
	const struct hf_pin_options po = {.struct_size = sizeof(po), .flags = HF_PIN_WRITE};
	hf_file *g;
	hf_pin_id id;

	begin();
	OK(hf_syncfs(vol));
	g = view_file(vol, "b", 1, 1);
	OK(hf_fsetattr(f, &past));
	OK(hf_fsetattr(g, &past));
	OK(hf_syncfs(vol));
	CU_ASSERT(mtime(f) == 5 && mtime(g) == 5);
	store(0, media[0], 0);
	OK(hf_syncfs(vol));
	CU_ASSERT(mtime(f) > 5 && mtime(g) == 5);
	OK(hf_pin(g, 0, 1, &po, NULL, NULL, &id));
	OK(hf_syncfs(vol));
	CU_ASSERT(mtime(g) > 5);
	OK(hf_unpin(vol, id));
	OK(hf_close(&g));
	end();
}

/* So does the end of a pin or of a view: nobody can ask later. */
static void test_end_changes_times(void)
{
	const struct hf_setattr past = {.set = HF_SET_MTIME, .mtime_ns = 5};
	const struct hf_pin_options po = {.struct_size = sizeof(po), .flags = HF_PIN_WRITE};
	hf_pin_id id;

	begin();
	OK(hf_pin(f, 0, 1, &po, NULL, NULL, &id));
	OK(hf_fsetattr(f, &past));
	OK(hf_unpin(vol, id));
	CU_ASSERT(mtime(f) > 5);
	OK(hf_fsetattr(f, &past));
	OK(hf_pin(f, 0, 1, NULL, NULL, NULL, &id));
	OK(hf_unpin(vol, id));
	CU_ASSERT_EQUAL(mtime(f), 5);
	store(0, media[0], 0);
	OK(hf_view_unmap(&v));
	CU_ASSERT(mtime(f) > 5);
	end();
}

static const struct hf_case cases[] = {
    {"fsync_covers_views", test_fsync_covers_views},
    {"persist_covers_its_range", test_persist_covers_its_range},
    {"fsync_covers_revoked_pages", test_fsync_covers_revoked_pages},
    {"flush_of_a_page_that_comes_back", test_flush_of_a_page_that_comes_back},
    {"fsync_covers_shifted_pages", test_fsync_covers_shifted_pages},
    {"fsync_covers_punched_pages", test_fsync_covers_punched_pages},
    {"fsync_covers_closed_views", test_fsync_covers_closed_views},
    {"fsync_covers_other_threads", test_fsync_covers_other_threads},
    {"reading_costs_no_flush", test_reading_costs_no_flush},
    {"fsync_covers_write_pins", test_fsync_covers_write_pins},
    {"syncfs_changes_times", test_syncfs_changes_times},
    {"end_changes_times", test_end_changes_times},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_flush", cases, HF_COUNT(cases));
}
