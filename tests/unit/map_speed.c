/* What the map costs, printed beside a raw 64-byte store and fence; nothing is asserted about time.
 * HF_TEST_ROUNDS=<n>. */
#include "map_vol.h"
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned rounds(unsigned usual)
{
	const char *s = getenv("HF_TEST_ROUNDS");

	return s ? (unsigned)strtoul(s, NULL, 0) : usual;
}

/* The best of some rounds of 1000 64-byte non-temporal stores, each with a fence, to lines not read
 * before. */
static double raw_64(struct mv *v)
{
	uint64_t best = UINT64_MAX, at = v->fs.geo.nblocks / 2 * HF_BLOCK_SIZE;
	uint8_t line[HF_LINE] = {1};

	/* The pages are there, and not in the cache. */
	pm_zero_nt(v->fs.pm, MOFF(at), (uint64_t)rounds(20) * 1000 * HF_LINE);
	mv_must(pm_fence(v->fs.pm), "fence");
	for (unsigned r = 0; r < rounds(20); r++) {
		uint64_t t = now_ns();

		for (unsigned i = 0; i < 1000; i++, at += HF_LINE) {
			pm_copy_nt(v->fs.pm, MOFF(at), line, sizeof(line));
			mv_must(pm_fence(v->fs.pm), "fence");
		}
		best = min_u64(best, now_ns() - t);
	}
	return (double)best / 1000;
}

static void fill_gib(struct mv *v, bool scattered)
{
	uint64_t done = 0;

	if (!scattered) {
		CU_ASSERT_EQUAL_FATAL(mv_insert(v, 0, 512 * 512), 512 * 512);
		return;
	}
	/* Every frame is adjacent to frames that are elsewhere in the file. */
	for (uint64_t i = 0; i < 512; i++)
		done += mv_insert(v, i * 199 % 512 * 512, 512);
	CU_ASSERT_EQUAL_FATAL(done, 512 * 512);
}

struct cost {
	uint64_t all, commit, txns; /* ns */
};

static struct cost truncate_all(struct mv *v)
{
	uint64_t t = now_ns(), c;
	struct cost cost = {0};
	struct inode_edit e;
	bool done = false;

	for (; !done; cost.txns++) {
		mv_begin(v, &e);
		mv_must(map_truncate_some(&e, FMT_FORK_DATA, &done), "truncate");
		c = now_ns();
		mv_must(mv_end(&e), "commit");
		cost.commit += now_ns() - c;
	}
	cost.all = now_ns() - t;
	v->model.n = 0;
	return cost;
}

static void truncate_gib(bool scattered)
{
	struct cost best = {.all = UINT64_MAX}, cost;
	struct mv v;
	double raw;

	mv_open(&v, 2048 * MIB);
	raw = raw_64(&v);
	for (unsigned r = 0; r < rounds(scattered ? 8 : 20); r++) {
		fill_gib(&v, scattered);
		cost = truncate_all(&v);
		if (cost.all < best.all)
			best = cost;
	}
	MV_OK(&v);
	printf(
	    "\n    truncate 1 GiB of %s huge leaves: %.2f us in %llu transactions (commit %.2f), "
	    "%.1f ns per frame; raw 64 B %.1f ns: %.1f x\n",
	    scattered ? "scattered" : "contiguous", (double)best.all / 1000,
	    (unsigned long long)best.txns, (double)best.commit / 1000, (double)best.all / 512, raw,
	    (double)best.all / raw);
	mv_close(&v);
}

static void test_truncate(void)
{
	truncate_gib(false);
}

static void test_truncate_scattered(void)
{
	truncate_gib(true);
}

static void time_lookup(struct mv *v, const char *what, uint64_t span, uint64_t n)
{
	uint64_t t, best = UINT64_MAX, sum = 0, f[1024];
	struct map_extent x;

	for (unsigned i = 0; i < 1024; i++)
		f[i] = mv_below(v, span);
	for (unsigned r = 0; r < rounds(20); r++) {
		t = now_ns();
		for (unsigned i = 0; i < 10240; i++) {
			map_lookup(&v->in, FMT_FORK_DATA, FBLK(f[i % 1024]), n, &x);
			sum += x.blk.v;
		}
		best = min_u64(best, now_ns() - t);
	}
	CU_ASSERT(sum != 0);
	printf("\n    lookup, %s: %.1f ns\n", what, (double)best / 10240);
}

static void test_lookup(void)
{
	struct mv v;

	mv_open(&v, 256 * MIB);
	mv_insert(&v, 0, 512 * 16);
	time_lookup(&v, "huge leaf, 2 levels, 1 block", 512 * 16, 1);
	time_lookup(&v, "huge leaf, 2 levels, up to 512 blocks", 512 * 16, 512);
	mv_close(&v);
	mv_open(&v, 64 * MIB);
	for (uint64_t i = 0; i < 500; i++)
		mv_insert(&v, i, 1);
	time_lookup(&v, "blocks, 2 levels, 1 block", 500, 1);
	mv_insert(&v, 1ull << 18, 1);
	time_lookup(&v, "blocks, 4 levels, 1 block", 500, 1);
	time_lookup(&v, "blocks, 4 levels, up to 16 blocks", 484, 16);
	mv_close(&v);
}

/* One block more, with its allocation and commit; and map_insert alone. */
static void test_append(void)
{
	uint64_t t = 0, t0 = now_ns(), n = 4000, a;
	struct inode_edit e;
	struct mext x;
	struct mv v;
	double raw;

	mv_open(&v, 128 * MIB);
	raw = raw_64(&v);
	t0 = now_ns();
	for (uint64_t i = 0; i < n; i++) {
		mv_begin(&v, &e);
		mv_must(space_alloc(v.fs.space, e.t, 1, MBLK_NULL, 0, &x), "alloc");
		a = now_ns();
		mv_must(map_insert(&e, FMT_FORK_DATA, FBLK(i), x.first, 1), "insert");
		t += now_ns() - a;
		mv_must(mv_end(&e), "commit");
	}
	t0 = now_ns() - t0;
	printf("\n    append of a block without its data: %.0f ns, of which map_insert %.0f (with "
	       "two clock reads); raw %.1f\n",
	       (double)t0 / (double)n, (double)t / (double)n, raw);
	mv_close(&v);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"truncate contiguous", test_truncate},
	    {"truncate scattered", test_truncate_scattered},
	    {"lookup", test_lookup},
	    {"append", test_append},
	};

	return hf_run_suite("map speed", cases, HF_COUNT(cases));
}
