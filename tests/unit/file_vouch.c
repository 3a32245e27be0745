/* A short append goes with one fence, and its record counts after a crash if the bytes are there. So whatever changes those bytes,
 * or gives their blocks away, seals it first. Here each way of doing so is done from another lane than the append's, the power
 * fails with nothing on the media that was not made durable, and the volume must be as it was. */
#include "file_vol.h"
#include "journal_sim.h"

#include "file/volume.h"

#include <sys/uio.h>

#define VOLUME_BYTES (16 * MIB)
#define TAIL	     300u

struct world {
	struct sim *sim;
	hf_volume *vol;
	hf_file *f;
	hf_pin_id pin;
};

static hf_volume *open_sim(struct sim *s, uint32_t max_cached)
{
	const struct hf_mount_options o = {.struct_size = sizeof(o), .max_cached_inodes = max_cached};
	hf_volume *vol = NULL;

	s->pm->no_threads = true;
	OK(volume_open(s->pm, &o, &vol));
	s->pm = NULL; /* the volume's now */
	if (!vol)
		exit(1);
	return vol;
}

static void fill(uint8_t *p, size_t n, uint8_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed + i * 7);
}

static void put(hf_volume *vol, const char *path, size_t n, uint8_t seed)
{
	hf_file *f = vol_create(vol, path);
	uint8_t *p = malloc(n);

	fill(p, n, seed);
	GET(n, hf_pwrite(f, p, n, 0));
	OK(hf_close(&f));
	free(p);
}

/* The blocks that are free, written: whoever was given a block that another file had has spoilt it. */
static void write_everywhere(hf_volume *vol)
{
	put(vol, "/everywhere", 5 * MIB, 0x55);
	OK(hf_unlink(vol, "/everywhere"));
	for (int i = 0; i < 40; i++) {
		char path[16];

		snprintf(path, sizeof(path), "/e%d", i);
		put(vol, path, 20 * KIB, 0x66);
	}
}

/* The same, but no inode is made, and there are so few transactions that no checkpoint comes in between. */
static void grow_everywhere(hf_volume *vol)
{
	static uint8_t bytes[VOLUME_BYTES];
	hf_file *g = vol_open(vol, "/g", HF_O_WRONLY);

	fill(bytes, sizeof(bytes), 0x77);
	while (hf_append(g, bytes, sizeof(bytes), NULL) > 0)
		continue;
	OK(hf_close(&g));
}

static void lane(unsigned n)
{
	journal_thread_number(n + 4);
}

/* /f has 5000 bytes that were there long before, and TAIL that are the lane's last record's. */
static struct world world_new(uint32_t max_cached)
{
	struct world w = {.sim = sim_new(VOLUME_BYTES)};
	uint8_t tail[TAIL];

	lane(0);
	OK(mkfs_write(w.sim->pm, &(struct mkfs_args){.bytes = 0}));
	w.vol = open_sim(w.sim, max_cached);
	put(w.vol, "/f", 5000, 1);
	put(w.vol, "/g", 9000, 2);
	OK(hf_syncfs(w.vol));
	w.f = vol_open(w.vol, "/f", HF_O_RDWR);
	fill(tail, sizeof(tail), 3);
	GET(TAIL, hf_append(w.f, tail, sizeof(tail), NULL));
	CU_ASSERT_TRUE(journal_is_open(w.vol->fs.journal, w.f->in->open));
	lane(1);
	return w;
}

static void world_free(struct world *w)
{
	if (w->pin)
		OK(hf_unpin(w->vol, w->pin));
	if (w->f)
		OK(hf_close(&w->f));
	OK(hf_unmount(&w->vol));
	sim_free(w->sim);
	journal_thread_number(0);
}

/* A file's bytes; its size, or a negative errno. */
static int64_t content(hf_volume *vol, const char *path, uint8_t *buf, size_t max)
{
	hf_file *f;
	int64_t n = hf_open(vol, path, HF_O_RDONLY, 0, &f);

	if (n)
		return n;
	n = hf_pread(f, buf, max, 0);
	OK(hf_close(&f));
	return n;
}

static void same(hf_volume *a, hf_volume *b, const char *path)
{
	static uint8_t x[64 * KIB], y[64 * KIB];
	int64_t n = content(a, path, x, sizeof(x)), m = content(b, path, y, sizeof(y));

	GET(n, m);
	CU_ASSERT(n <= 0 || memcmp(x, y, (size_t)n) == 0);
}

static void crash(struct world *w)
{
	const struct hf_check_options o = {.struct_size = sizeof(o)};
	struct sim *after = sim_new(VOLUME_BYTES);
	struct hf_check_result r;
	hf_volume *vol;

	sim_load(after, w->sim->shadow);
	vol = open_sim(after, 0);
	same(w->vol, vol, "/f");
	same(w->vol, vol, "/g");
	same(w->vol, vol, "/h");
	OK(hf_check_mounted(vol, &o, &r));
	CU_ASSERT_EQUAL(r.findings, 0);
	OK(hf_unmount(&vol));
	sim_free(after);
}

/* ---- ways to change the bytes */

static void overwrite(struct world *w)
{
	GET(10, hf_pwrite(w->f, "0123456789", 10, 5100));
}

static void overwrite_vector(struct world *w)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)"abc", 3}, {(void *)(uintptr_t)"def", 3}};

	GET(6, hf_pwritev(w->f, iov, 2, 5100));
}

/* From before the append's bytes to behind them: blocks and size change, and what is there is overwritten. */
static void overwrite_and_grow(struct world *w)
{
	static uint8_t bytes[20000];

	fill(bytes, sizeof(bytes), 9);
	GET(sizeof(bytes), hf_pwrite(w->f, bytes, sizeof(bytes), 4990));
}

static void cut_and_append(struct world *w)
{
	OK(hf_ftruncate(w->f, 5010));
	GET(20, hf_append(w->f, "in place of the rest", 20, NULL));
}

static void truncate_away(struct world *w)
{
	OK(hf_ftruncate(w->f, 100));
	grow_everywhere(w->vol);
}

static void truncate_open(struct world *w)
{
	OK(hf_close(&w->f));
	w->f = vol_open(w->vol, "/f", HF_O_RDWR | HF_O_TRUNC);
	write_everywhere(w->vol);
}

static void punch(struct world *w)
{
	OK(hf_fallocate(w->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
	write_everywhere(w->vol);
}

static void punch_edge(struct world *w)
{
	OK(hf_fallocate(w->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 1000));
}

static void zero(struct world *w)
{
	OK(hf_fallocate(w->f, FALLOC_FL_ZERO_RANGE, 5050, 100));
}

static void collapse(struct world *w)
{
	OK(hf_fallocate(w->f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
	GET(5, hf_pwrite(w->f, "moved", 5, 1000));
}

static void insert(struct world *w)
{
	OK(hf_fallocate(w->f, FALLOC_FL_INSERT_RANGE, 4096, 4096));
	GET(5, hf_pwrite(w->f, "moved", 5, 9200));
}

static void unlink_it(struct world *w)
{
	OK(hf_close(&w->f));
	OK(hf_unlink(w->vol, "/f"));
	write_everywhere(w->vol);
}

static void unlink_and_grow(struct world *w)
{
	OK(hf_close(&w->f));
	OK(hf_unlink(w->vol, "/f"));
	grow_everywhere(w->vol);
}

static void unlink_open(struct world *w)
{
	OK(hf_unlink(w->vol, "/f"));
	OK(hf_close(&w->f));
	grow_everywhere(w->vol);
}

static void rename_over(struct world *w)
{
	OK(hf_close(&w->f));
	put(w->vol, "/h", 3000, 8);
	OK(hf_rename(w->vol, "/h", "/f", 0));
	grow_everywhere(w->vol);
}

static void rename_away(struct world *w)
{
	OK(hf_rename(w->vol, "/f", "/h", 0));
	GET(10, hf_pwrite(w->f, "0123456789", 10, 5100));
}

static void copy_into(struct world *w)
{
	hf_file *g = vol_open(w->vol, "/g", HF_O_RDONLY);

	GET(200, hf_copy_file_range(g, 0, w->f, 5050, 200));
	OK(hf_close(&g));
}

static void copy_hole_into(struct world *w)
{
	hf_file *h = vol_create(w->vol, "/h");

	OK(hf_ftruncate(h, 8192));
	GET(200, hf_copy_file_range(h, 0, w->f, 5050, 200));
	OK(hf_close(&h));
}

static void pin_and_store(struct world *w)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE};
	struct iovec iov[2];
	size_t n = 2;

	OK(hf_pin(w->f, 5050, 100, &o, iov, &n, &w->pin));
	pm_copy_nt(w->vol->fs.pm, MOFF((uint64_t)((char *)iov[0].iov_base - (char *)w->sim->mem)), "from a device", 13);
	OK(hf_pin_persist(w->vol, w->pin, 0, 100));
}

/* Then while it is pinned: what is appended behind the pin's bytes may lie in its block. */
static void append_while_pinned(struct world *w)
{
	pin_and_store(w);
	lane(2);
	GET(30, hf_append(w->f, "appended beside a pinned block", 30, NULL));
	CU_ASSERT_FALSE(journal_is_open(w->vol->fs.journal, w->f->in->open));
	OK(hf_pin_persist(w->vol, w->pin, 0, 100));
}

static void close_and_overwrite(struct world *w)
{
	OK(hf_close(&w->f));
	w->f = vol_open(w->vol, "/f", HF_O_RDWR);
	overwrite(w);
}

static void test_ways(void)
{
	static const struct {
		const char *name;
		void (*fn)(struct world *w);
	} ways[] = {
	    {"overwrite", overwrite},
	    {"overwrite from two buffers", overwrite_vector},
	    {"overwrite and grow", overwrite_and_grow},
	    {"cut and append", cut_and_append},
	    {"truncate", truncate_away},
	    {"open with O_TRUNC", truncate_open},
	    {"punch", punch},
	    {"punch a part of a block", punch_edge},
	    {"zero", zero},
	    {"collapse", collapse},
	    {"insert", insert},
	    {"unlink", unlink_it},
	    {"unlink, and make nothing", unlink_and_grow},
	    {"unlink while open", unlink_open},
	    {"rename over it", rename_over},
	    {"rename it", rename_away},
	    {"copy into it", copy_into},
	    {"copy a hole into it", copy_hole_into},
	    {"pin", pin_and_store},
	    {"append while pinned", append_while_pinned},
	    {"close", close_and_overwrite},
	};

	for (size_t i = 0; i < HF_COUNT(ways); i++) {
		unsigned failures = CU_get_number_of_failures();
		struct world w = world_new(0);

		ways[i].fn(&w);
		crash(&w);
		if (CU_get_number_of_failures() != failures)
			fprintf(stderr, "    way: %s\n", ways[i].name);
		lane(0); /* with HF_DEBUG_LOCKS the lane's next record looks at the bytes, if it is still open */
		(void)hf_chmod(w.vol, "/g", 0600);
		world_free(&w);
	}
}

/* The cache keeps what has to be sealed, or seals it before it forgets it. */
static void test_evicted(void)
{
	struct world w = world_new(8);
	struct hf_stat st;
	char path[16];

	OK(hf_close(&w.f));
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "/n%d", i);
		OK(hf_mknod(w.vol, path, 0600, 0));
	}
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof(path), "/n%d", i);
		OK(hf_stat(w.vol, path, &st));
	}
	w.f = vol_open(w.vol, "/f", HF_O_RDWR);
	overwrite(&w);
	crash(&w);
	world_free(&w);
}

/* A freeze commits nothing, not even what an overwrite needs. */
static void test_frozen(void)
{
	struct world w = world_new(0);
	struct hf_info a, b;

	volume_freeze(w.vol);
	OK(hf_info(w.vol, &a));
	overwrite(&w);
	OK(hf_info(w.vol, &b));
	volume_thaw(w.vol);
	CU_ASSERT_EQUAL(a.commits, b.commits);
	crash(&w);
	world_free(&w);
}

/* Two lanes append to one file in turn: each append is there after a crash, and each lane's last. */
static void test_two_lanes(void)
{
	struct world w = world_new(0);

	for (unsigned i = 0; i < 12; i++) {
		lane(i % 3);
		GET(50, hf_append(w.f, "01234567890123456789012345678901234567890123456789", 50, NULL));
		crash(&w);
	}
	world_free(&w);
}

/* What is appended from a buffer that changes meanwhile is some of its bytes, and there after a crash. */
static void test_sizes(void)
{
	static uint8_t bytes[3000];
	struct world w = world_new(0);

	fill(bytes, sizeof(bytes), 77);
	for (size_t n = 1; n < sizeof(bytes); n = n * 3 / 2 + 1) {
		lane((unsigned)n % 3);
		GET(n, hf_append(w.f, bytes, n, NULL));
		crash(&w);
	}
	world_free(&w);
}

/* Who stores through a view is not asked, and one that only reads may have its page moved, which frees the blocks. */
static void test_views(void)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_WRITE};
	hf_volume *vol = vol_memory(32 * MIB);
	struct journal *j = vol->fs.journal;
	hf_view *view;
	hf_file *f;
	void *addr;

	lane(0);
	put(vol, "/f", 5000, 1);
	f = vol_open(vol, "/f", HF_O_RDWR);
	GET(5, hf_append(f, "first", 5, NULL));
	CU_ASSERT_TRUE(journal_is_open(j, f->in->open));
	lane(1);
	o.prot = HF_VIEW_READ;
	OK(hf_view_map(f, 0, FRM, &o, &addr, &view));
	OK(hf_view_populate(view, 0, 1, false));
	CU_ASSERT_FALSE(journal_is_open(j, f->in->open));
	GET(5, hf_append(f, "while", 5, NULL));
	CU_ASSERT_FALSE(journal_is_open(j, f->in->open));
	OK(hf_view_unmap(&view));
	GET(4, hf_append(f, "then", 4, NULL));
	CU_ASSERT_TRUE(journal_is_open(j, f->in->open));
	o.prot = HF_VIEW_WRITE;
	OK(hf_view_map(f, 0, FRM, &o, &addr, &view));
	CU_ASSERT_FALSE(journal_is_open(j, f->in->open));
	OK(hf_view_unmap(&view));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	journal_thread_number(0);
}

static const struct hf_case cases[] = {
    {"ways to change it", test_ways}, {"evicted", test_evicted}, {"frozen", test_frozen},
    {"two lanes", test_two_lanes},    {"sizes", test_sizes}, {"views", test_views},
};

int main(void)
{
	return hf_run_suite("appends with one fence", cases, HF_COUNT(cases));
}
