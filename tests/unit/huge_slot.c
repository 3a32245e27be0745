/* Making a slot one huge leaf, and giving back holes that were kept in one: what is in the file
 * stays, whatever is pinned, whenever the power fails. */
#include "hold.h"
#include "journal_sim.h"
#include "file/resize.h"

#include <pthread.h>
#include <stdatomic.h>

#define SIM_BYTES (24 * MIB)
#define PUNCH	  (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define SLOT	  512u

static uint8_t buf[4 * MIB], back[4 * MIB];

static int collapse(hf_file *f, uint64_t slot)
{
	uint32_t ticket = gate_enter(&f->vol->gate);
	int err;

	rwl_wrlock(&f->in->content);
	err = resize_collapse_slot(f->in, FBLK(slot * SLOT));
	rwl_wrunlock(&f->in->content);
	gate_leave(&f->vol->gate, ticket);
	return err;
}

static int free_holes(hf_file *f, uint64_t slot, const uint64_t mask[8])
{
	uint32_t ticket = gate_enter(&f->vol->gate);
	int err;

	rwl_wrlock(&f->in->content);
	err = resize_free_holes(f->in, FBLK(slot * SLOT), mask);
	rwl_wrunlock(&f->in->content);
	gate_leave(&f->vol->gate, ticket);
	return err;
}

static bool is_huge(hf_file *f, uint64_t slot)
{
	struct hf_extent e = {0};
	size_t n;

	OK(hf_extents(f, slot * FRM, &e, 1, &n));
	return n == 1 && e.off == slot * FRM && e.len >= FRM && e.huge;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Two slots; the first has blocks and holes, the second ends in the middle of a block. */
static hf_file *patchy(hf_volume *vol)
{
	hf_file *f = vol_create(vol, "/f"), *o = vol_create(vol, "/o");

	vol_fill(buf, sizeof(buf), 7);
	for (unsigned i = 0; i < 600; i += 3) {
		GET(2 * BLK, hf_pwrite(f, buf + i * BLK, 2 * BLK, i * BLK));
		GET(BLK, hf_pwrite(o, buf, BLK, i * BLK));
	}
	OK(hf_ftruncate(f, 599 * BLK + 77));
	GET(77, hf_pwrite(f, buf, 77, 599 * BLK));
	OK(hf_fallocate(f, PUNCH, 515 * BLK, BLK)); /* a growing file got a frame there */
	OK(hf_close(&o));
	return f;
}

static bool patchy_is_right(hf_file *f)
{
	const ssize_t size = 599 * (ssize_t)BLK + 77;
	bool right = hf_pread(f, back, sizeof(back), 0) == size;

	for (unsigned i = 0; i < 600 && right; i += 3) {
		right = memcmp(back + i * BLK, buf + i * BLK, 2 * BLK) == 0;
		if (right && i < 597)
			right = all_zero(back + (i + 2) * BLK, BLK);
	}
	return right && memcmp(back + 599 * BLK, buf, 77) == 0;
}

static void test_collapse(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = patchy(vol), *g = vol_create(vol, "/g"), *h;
	struct hf_statfs a, b;
	struct hf_extent e;
	size_t n;

	OK(hf_statfs(vol, &a));
	OK(collapse(f, 0));
	CU_ASSERT(is_huge(f, 0) && !is_huge(f, 1));
	CU_ASSERT(patchy_is_right(f));
	OK(collapse(f, 0));
	OK(collapse(f, 1));
	CU_ASSERT(is_huge(f, 1));
	CU_ASSERT(patchy_is_right(f));
	/* Zeros behind the end of file, whatever was there. */
	OK(hf_extents(f, FRM, &e, 1, &n));
	CU_ASSERT(
	    all_zero((const uint8_t *)vol->fs.pm->base + e.media_off + 87 * BLK + 77, 100 * BLK));
	OK(hf_statfs(vol, &b));
	CU_ASSERT(b.blocks_used < a.blocks_used + 1024 - 396);
	OK(hf_fallocate(f, PUNCH, 10 * BLK, BLK));
	OK(collapse(f, 0));
	CU_ASSERT(is_huge(f, 0));
	/* Tiny files, and a hole. */
	GET(10, hf_pwrite(g, "0123456789", 10, 0));
	OK(collapse(g, 0));
	CU_ASSERT(is_huge(g, 0));
	GET(10, hf_pread(g, back, 100, 0));
	CU_ASSERT(memcmp(back, "0123456789", 10) == 0);
	OK(hf_ftruncate(g, 3 * FRM));
	OK(collapse(g, 2));
	CU_ASSERT(is_huge(g, 2));
	GET(FRM, hf_pread(g, back, FRM, 2 * FRM));
	CU_ASSERT(all_zero(back, FRM));
	/* No frame: nothing is done. */
	h = vol_create(vol, "/h");
	while (hf_append(h, buf, FRM, NULL) == (ssize_t)FRM)
		continue;
	OK(hf_fallocate(g, PUNCH, 0, BLK));
	OK(hf_statfs(vol, &a));
	CU_ASSERT_EQUAL(collapse(g, 0), -ENOSPC);
	OK(hf_statfs(vol, &b));
	CU_ASSERT_EQUAL(a.blocks_used, b.blocks_used);
	OK(hf_close(&f));
	OK(hf_close(&g));
	OK(hf_close(&h));
	OK(hf_unmount(&vol));
}

/* A pin on any of its blocks holds a slot where it is. */
static void test_collapse_pinned(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = patchy(vol);
	struct hf_statfs a, b;
	struct hold h;

	CU_ASSERT(hold_blocks(&h, f, 300, 1));
	OK(hf_statfs(vol, &a));
	CU_ASSERT_EQUAL(collapse(f, 0), -EBUSY);
	CU_ASSERT(hf_errormsg()[0] != '\0');
	OK(hf_statfs(vol, &b));
	CU_ASSERT_EQUAL(a.blocks_used, b.blocks_used);
	CU_ASSERT_EQUAL(a.blocks_free, b.blocks_free);
	OK(collapse(f, 1));
	hold_drop(&h);
	OK(collapse(f, 0));
	CU_ASSERT(patchy_is_right(f));
	/* What is pinned and has left the file is no matter. */
	CU_ASSERT(hold_blocks(&h, f, 300, 1));
	OK(hf_fallocate(f, PUNCH, 300 * BLK, BLK));
	CU_ASSERT_EQUAL(collapse(f, 0), -EBUSY);
	hold_drop(&h);
	CU_ASSERT(hold_blocks(&h, f, 301, 1));
	OK(hf_fallocate(f, PUNCH, 301 * BLK, BLK));
	OK(collapse(f, 0));
	OK(hf_statfs(vol, &b));
	CU_ASSERT_EQUAL(b.blocks_busy_pinned, 1);
	hold_drop(&h);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- a pin that comes and goes while the slot is moved loses nothing of what it stored */

struct racer {
	hf_volume *vol;
	hf_file *f;
	_Atomic bool stop;
	_Atomic uint64_t moved;
};

static void *mover(void *arg)
{
	struct racer *r = arg;
	static const uint8_t one[BLK] = {1};

	for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
		uint64_t at = (SLOT / 2 + i % (SLOT / 2)) * BLK;

		if (hf_fallocate(r->f, PUNCH, at, BLK) ||
		    hf_pwrite(r->f, one, BLK, at) != (ssize_t)BLK)
			break;
		if (collapse(r->f, 0) == 0)
			atomic_fetch_add(&r->moved, 1);
	}
	return NULL;
}

/* Counted under the layout lock alone: content would keep the mover out. */
static bool pin_and_store(struct racer *r, uint64_t block, uint64_t value)
{
	uint64_t seen = 0, skip;
	struct hold h;

	if (!hold_blocks(&h, r->f, block, 1))
		return false;
	skip = h.run[0].frames ? block * BLK : 0;
	__atomic_store_n((uint64_t *)(void *)(hold_at(&h, 0) + skip), value, __ATOMIC_RELEASE);
	hold_drop(&h);
	GET(8, hf_pread(r->f, &seen, 8, block * BLK));
	return seen == value;
}

static void test_race(void)
{
	uint64_t rounds = getenv("HF_TEST_SHORT") ? 3000 : 30000, value = 0;
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct racer r = {.vol = vol, .f = f};
	pthread_t thread;

	GET(FRM, hf_pwrite(f, buf, FRM, 0));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, mover, &r), 0);
	while (value < rounds || atomic_load(&r.moved) < 20) {
		value++;
		if (!pin_and_store(&r, value % (SLOT / 2), value))
			break;
	}
	CU_ASSERT(value >= rounds);
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- holes */

static void mark(uint64_t mask[8], unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		mask[i / 64] |= 1ull << i % 64;
}

static void test_free_holes(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	uint64_t mask[8] = {0}, used;
	struct hold h;

	vol_fill(buf, FRM, 1);
	for (int i = 0; i < 3; i++)
		GET(FRM, hf_append(f, buf, FRM, NULL));
	OK(hf_close(&(hf_file *){vol_create(vol, "/o")}));
	used = vol_used(vol);
	/* Only what is zeros, and marked. */
	memset(back, 0, sizeof(back));
	GET(20 * BLK, hf_pwrite(f, back, 20 * BLK, 100 * BLK));
	GET(1, hf_pwrite(f, "x", 1, 110 * BLK + 4095));
	mark(mask, 90, 115);
	/* Not while it is pinned; then there is nothing marked any more. */
	CU_ASSERT(hold_blocks(&h, f, 500, 1));
	OK(free_holes(f, 0, mask));
	CU_ASSERT(is_huge(f, 0));
	hold_drop(&h);
	OK(free_holes(f, 0, mask));
	GET(100 * BLK, hf_seek(f, 0, SEEK_HOLE));
	GET(110 * BLK, hf_seek(f, 100 * BLK, SEEK_DATA));
	GET(111 * BLK, hf_seek(f, 110 * BLK, SEEK_HOLE));
	GET(115 * BLK, hf_seek(f, 111 * BLK, SEEK_DATA));
	CU_ASSERT_EQUAL(vol_used(vol), used - 14 + 1);
	GET(FRM, hf_pread(f, back, FRM, 0));
	CU_ASSERT(memcmp(back, buf, 100 * BLK) == 0 && all_zero(back + 100 * BLK, 10 * BLK));
	CU_ASSERT(back[110 * BLK + 4095] == 'x');
	/* A frame that is all zeros goes back whole. */
	memset(back, 0, FRM);
	GET(FRM, hf_pwrite(f, back, FRM, FRM));
	mark(mask, 0, SLOT);
	OK(free_holes(f, 1, mask));
	GET(2 * FRM, hf_seek(f, FRM, SEEK_DATA));
	CU_ASSERT(is_huge(f, 2));
	CU_ASSERT_EQUAL(vol_used(vol), used - 13 - 512);
	/* A slot that has changed since: blocks, a hole, beyond the end. */
	OK(free_holes(f, 1, mask));
	OK(free_holes(f, 0, mask));
	OK(hf_ftruncate(f, 2 * FRM));
	OK(free_holes(f, 2, mask));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- power failures */

#define IMAGES 24u

struct crash {
	struct rng rng;
	uint8_t *image[IMAGES];
	unsigned n, fences;
};

static int crash_at_fence(struct sim *s, void *ctx)
{
	struct crash *c = ctx;

	c->fences++;
	for (unsigned i = 0; i < 4 && c->n < IMAGES; i++) {
		c->image[c->n] = malloc(SIM_BYTES);
		sim_crash_image(s, &c->rng, c->image[c->n++]);
	}
	return 0;
}

/* The image is a volume without a fault, and the file is what it was. */
static void crash_verify(const uint8_t *image, const char *path)
{
	hf_volume *vol;
	FILE *out = fopen(path, "wb");
	hf_file *f;

	CU_ASSERT_FATAL(out != NULL);
	CU_ASSERT_EQUAL(fwrite(image, 1, SIM_BYTES, out), SIM_BYTES);
	fclose(out);
	CHECK(path);
	vol = vol_mount(path, 0);
	f = vol_open(vol, "/f", HF_O_RDWR);
	CU_ASSERT(patchy_is_right(f));
	vol_used(vol);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	CHECK(path);
}

/* What is on its way and what is evicted is chosen at random; the seed is printed on failure. */
static void crash_rounds(int (*op)(hf_file *f), uint64_t seed)
{
	const struct hf_mount_options o = {.struct_size = sizeof(o)};
	const char *path = vol_path("huge");
	struct crash c = {.rng = {seed}};
	struct sim *s = sim_new(SIM_BYTES);
	hf_volume *vol = NULL;
	hf_file *f;
	unsigned failures = CU_get_number_of_failures();

	OK(mkfs_write(s->pm, &(struct mkfs_args){.bytes = 0}));
	OK(volume_open(s->pm, &o, &vol));
	f = patchy(vol);
	OK(hf_syncfs(vol));
	sim_watch_fences(s, crash_at_fence, &c);
	OK(op(f));
	sim_watch_fences(s, NULL, NULL);
	CU_ASSERT(c.fences >= 2);
	CU_ASSERT(patchy_is_right(f));
	c.n = c.n < IMAGES ? c.n : IMAGES - 1; /* and one when it has returned */
	if (!c.image[c.n])
		c.image[c.n] = malloc(SIM_BYTES);
	sim_crash_image(s, &c.rng, c.image[c.n++]);
	for (unsigned i = 0; i < c.n; i++) {
		crash_verify(c.image[i], path);
		free(c.image[i]);
	}
	if (CU_get_number_of_failures() != failures)
		fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	OK(hf_close(&f));
	/* Closes s->pm, too. */
	OK(hf_unmount(&vol));
	s->pm = NULL;
	sim_free(s);
	unlink(path);
}

static int both_slots(hf_file *f)
{
	int err = collapse(f, 0);

	return err ? err : collapse(f, 1);
}

/* Each hole becomes zeros in a huge leaf, and a hole again. */
static int there_and_back(hf_file *f)
{
	uint64_t mask[8];
	int err = both_slots(f);

	memset(mask, 0xff, sizeof(mask));
	if (!err)
		err = free_holes(f, 0, mask);
	return err ? err : free_holes(f, 1, mask);
}

static void test_crash(void)
{
	uint64_t rounds = getenv("HF_TEST_SHORT") ? 1 : 4, seed = vol_env("HF_TEST_SEED", 1);

	for (uint64_t i = 0; i < rounds; i++)
		crash_rounds(both_slots, seed + i);
	crash_rounds(there_and_back, seed);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"collapse", test_collapse},    {"collapse, pinned", test_collapse_pinned},
	    {"a pin meanwhile", test_race}, {"holes", test_free_holes},
	    {"power failures", test_crash},
	};

	return hf_run_suite("huge leaves", cases, HF_COUNT(cases));
}
