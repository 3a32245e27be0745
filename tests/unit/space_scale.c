/* Figures: the share of whole frames after ageing, a volume of 1 TiB, the cost of the common calls.
 * The times are printed; only what does not depend on the machine is asserted. */
#include "space_vol.h"
#include "base/hash.h"
#include <time.h>
#include <unistd.h>

static uint64_t seed;

static uint64_t roll(uint64_t below)
{
	seed = hash_mix2(seed, below);
	return seed % below;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static uint64_t rss_kib(void)
{
	unsigned long long size = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%llu %llu", &size, &rss) != 2)
		rss = 0;
	if (f)
		fclose(f);
	return rss * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* ---- ageing */

/* A file: its extents, in a list of all extents. */
struct piece {
	struct mext x;
	uint32_t next;
};
#define PIECES (1u << 21)
#define FILES  (1u << 20)
struct age {
	struct vol v;
	struct piece *pieces;
	uint32_t *files; /* first piece */
	uint32_t npieces, free_piece, nfiles;
	uint64_t used, written;
};

/* As a file system would: whole frames first, the rest in runs; each piece hints behind the one
 * before. */
static uint32_t file_create(struct age *a, uint64_t blocks)
{
	uint32_t head = 0;
	mblk_t hint = MBLK_NULL;

	while (blocks > 0) {
		struct txn *t = txn_begin(a->v.j);
		uint32_t p = a->free_piece ? a->free_piece : ++a->npieces;
		struct mext x;
		int err = -ENOSPC;

		if (blocks >= 512) {
			err = space_alloc_frame(a->v.s, t, mblk_to_frame(hint), 0, &x.first);
			x.n = 512;
		}
		if (err == -ENOSPC)
			err = space_alloc(a->v.s, t, blocks < 512 ? (uint32_t)blocks : 512, hint, 0,
					  &x);
		vol_must(err, "space_alloc");
		vol_must(txn_commit(t, NULL), "txn_commit");
		if (a->free_piece == p)
			a->free_piece = a->pieces[p].next;
		a->pieces[p] = (struct piece){x, head};
		head = p;
		hint = MBLK(x.first.v + x.n);
		blocks -= x.n;
		a->used += x.n;
		a->written += x.n;
	}
	return head;
}

static void file_delete(struct age *a, uint32_t i)
{
	uint32_t next;

	for (uint32_t p = a->files[i]; p; p = next) {
		next = a->pieces[p].next;
		vol_free(&a->v, a->pieces[p].x, SPACE_DATA);
		a->used -= a->pieces[p].x.n;
		a->pieces[p].next = a->free_piece;
		a->free_piece = p;
	}
	a->files[i] = a->files[--a->nfiles];
}

static uint64_t size_mixed(void)
{
	uint64_t r = roll(100);

	if (r < 70)
		return 1 + roll(16);
	if (r < 90)
		return 1 + roll(256);
	if (r < 97)
		return 1 + roll(1024);
	return 512 * (1 + roll(16)) + roll(512);
}

static uint64_t size_small(void)
{
	return 1 + roll(12);
}

static uint64_t size_one(void)
{
	return 1;
}

static uint64_t size_middle(void)
{
	return 40 + roll(440);
}

static void age(const char *what, uint64_t bytes, uint64_t (*size)(void), uint64_t turns)
{
	struct age a = {0};
	struct space_stat st;
	uint64_t target;

	seed = 1;
	vol_open(&a.v, bytes, NULL);
	a.pieces = calloc(PIECES, sizeof(*a.pieces));
	a.files = calloc(FILES, sizeof(*a.files));
	CU_ASSERT_FATAL(a.pieces && a.files);
	target = vol_stat(&a.v).blocks * 3 / 4;
	while (a.written < turns * target) {
		if (a.used < target && a.nfiles < FILES)
			a.files[a.nfiles++] = file_create(&a, size());
		else
			file_delete(&a, (uint32_t)roll(a.nfiles));
	}
	st = vol_stat(&a.v);
	printf(" %s: %u files, %.1f blocks each, %.1f %% of the free space in whole frames;", what,
	       a.nfiles, a.nfiles ? (double)a.used / a.nfiles : 0.0,
	       100.0 * (double)(st.free_frames * 512) / (double)st.free);
	CU_ASSERT_TRUE(st.free_frames * 512 * 10 >= st.free * 9);
	free(a.pieces);
	free(a.files);
	vol_close(&a.v);
}

static bool is_short(void)
{
	return getenv("HF_TEST_SHORT") != NULL;
}

static void test_ageing(void)
{
	if (is_short()) {
		age("small", 256 * MIB, size_small, 2);
		return;
	}
	/* Few large files make the share of small ones go up and down: 'mixed' wants a volume with
	 * many files. */
	age("mixed", 16384 * MIB, size_mixed, 5);
	age("small", 1024 * MIB, size_small, 5);
	age("single blocks", 512 * MIB, size_one, 5);
	age("middle", 4096 * MIB, size_middle, 5);
}

/* ---- 1 TiB */

/* The first open finds the lines on the media, or at least not in the cache. */
static void open_repeatedly(struct vol *v)
{
	uint64_t first = 0, best = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t rss, t0, ns;

		space_close(&v->s);
		rss = rss_kib();
		t0 = now_ns();
		vol_must(space_open(v->pm, &v->geo, v->j, &v->s), "space_open");
		ns = now_ns() - t0;
		if (i == 0) {
			first = ns;
			rss = rss_kib() - rss;
			printf(" open: %llu KiB,", (unsigned long long)rss);
			/* 16 bytes per frame are there, but not touched: nothing is known of a
			 * frame but its line. */
			CU_ASSERT_TRUE(rss < v->geo.nframes * 16 / 1024 + 1024);
		}
		best = ns < best ? ns : best;
	}
	printf(" first %.2f ms, best %.2f ms;", (double)first / 1e6, (double)best / 1e6);
}

static void test_terabyte(void)
{
	struct vol v;
	uint64_t t0, t1, got, n = 0;
	struct txn *t;
	mblk_t first;

	vol_open(&v, (is_short() ? 16u : 1024u) * 1024 * MIB, NULL);
	open_repeatedly(&v);
	t = txn_begin(v.j);
	t0 = now_ns();
	vol_must(space_alloc_frames(v.s, t, 1 << 20, FRAME(0), 0, &first, &got),
		 "space_alloc_frames");
	t1 = now_ns();
	CU_ASSERT_EQUAL(vol_stat(&v).free_frames, 0);
	CU_ASSERT_TRUE(got > v.geo.nframes - 64);
	printf(" %llu frames in one run: %.0f us;", (unsigned long long)got,
	       (double)(t1 - t0) / 1e3);
	txn_abort(t);

	t0 = now_ns();
	for (; n < 20000; n++)
		vol_must(vol_alloc(&v, 1, 0).n != 1, "vol_alloc");
	t1 = now_ns();
	printf(" 1 block and its commit: %.0f ns;", (double)(t1 - t0) / (double)n);
	vol_close(&v);
}

/* ---- calls */

static void test_truncate_cost(void)
{
	struct vol v;
	struct txn *t;
	uint64_t got, best_free = UINT64_MAX, best_commit = UINT64_MAX;
	mblk_t first;

	vol_open(&v, 2560 * MIB, NULL);
	for (int i = 0; i < 50; i++) {
		uint64_t t0, t1, t2;

		t = txn_begin(v.j);
		vol_must(space_alloc_frames(v.s, t, 512, FRAME(100), 0, &first, &got),
			 "space_alloc_frames");
		CU_ASSERT_EQUAL(got, 512);
		vol_must(txn_commit(t, NULL), "txn_commit");
		t = txn_begin(v.j);
		t0 = now_ns();
		vol_must(space_free(v.s, t, first, 512 * 512, SPACE_DATA, INUM(16), FBLK(0)),
			 "space_free");
		t1 = now_ns();
		vol_must(txn_commit(t, NULL), "txn_commit");
		t2 = now_ns();
		best_free = t1 - t0 < best_free ? t1 - t0 : best_free;
		best_commit = t2 - t1 < best_commit ? t2 - t1 : best_commit;
	}
	printf(" 1 GiB of frames: space_free %llu ns, commit, apply and release %llu ns;",
	       (unsigned long long)best_free, (unsigned long long)best_commit);
	vol_close(&v);
}

static void test_alloc_cost(void)
{
	enum { N = 200 };
	struct vol v;
	uint64_t best[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

	vol_open(&v, 512 * MIB, NULL);
	vol_alloc(&v, 1, 0);
	for (int i = 0; i < 20; i++) {
		struct mext x[N];
		struct txn *t = txn_begin(v.j);
		uint64_t t0 = now_ns(), t1;

		for (int k = 0; k < N; k++)
			vol_must(space_alloc(v.s, t, 1, k ? MBLK(x[k - 1].first.v + 1) : MBLK_NULL,
					     0, &x[k]),
				 "space_alloc");
		t1 = now_ns();
		best[0] = t1 - t0 < best[0] ? t1 - t0 : best[0];
		vol_must(txn_commit(t, NULL), "txn_commit");
		best[1] = now_ns() - t1 < best[1] ? now_ns() - t1 : best[1];
		t = txn_begin(v.j);
		t0 = now_ns();
		for (int k = 0; k < N; k++)
			vol_must(
			    space_free(v.s, t, x[k].first, 1, SPACE_METADATA, INUM(16), FBLK(0)),
			    "space_free");
		t1 = now_ns();
		best[2] = t1 - t0 < best[2] ? t1 - t0 : best[2];
		vol_must(txn_commit(t, NULL), "txn_commit");
		vol_must(journal_checkpoint(v.j), "checkpoint");
		space_drain(v.s);
	}
	printf(" per block: alloc %llu ns, release at commit %llu ns, free %llu ns;",
	       (unsigned long long)best[0] / N, (unsigned long long)best[1] / N,
	       (unsigned long long)best[2] / N);
	vol_close(&v);
}

/* ---- pins and busy extents */

enum { PIN_TURNS = 20000, PIN_FRAMES = 512 };

struct pin_cost {
	uint64_t frame, block, last, alloc; /* ns per call */
};

/* Pin and unpin of a frame, of a block, of a busy block, and allocating one, beside what is held.
 */
static struct pin_cost pin_cost(struct vol *v, uint64_t at)
{
	struct pin_cost c = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	frame_t need;

	vol_must(space_pin_counts(v->s, FRAME(at / 512)), "space_pin_counts");
	for (int turn = 0; turn < 5; turn++) {
		uint64_t t0 = now_ns(), t1, last = 0, alloc = 0;

		for (int i = 0; i < PIN_TURNS; i++) {
			space_pin_frames(v->s, FRAME(at / 512), 1);
			space_unpin_frames(v->s, FRAME(at / 512), 1);
		}
		t1 = now_ns();
		c.frame = min_u64(c.frame, (t1 - t0) / PIN_TURNS);
		for (int i = 0; i < PIN_TURNS; i++) {
			CU_ASSERT_TRUE_FATAL(space_pin_blocks(v->s, MBLK(at), 1, &need));
			space_unpin_blocks(v->s, MBLK(at), 1);
		}
		c.block = min_u64(c.block, (now_ns() - t1) / PIN_TURNS);
		for (int i = 0; i < 1000; i++) {
			struct txn *t = txn_begin(v->j);
			struct mext x;

			t0 = now_ns();
			vol_must(space_alloc(v->s, t, 1, MBLK(at), 0, &x), "space_alloc");
			alloc += now_ns() - t0;
			vol_must(txn_commit(t, NULL), "txn_commit");
			while (!space_pin_blocks(v->s, x.first, 1, &need))
				vol_must(space_pin_counts(v->s, need), "space_pin_counts");
			vol_free(v, x, SPACE_DATA);
			t0 = now_ns();
			space_unpin_blocks(v->s, x.first, 1);
			last += now_ns() - t0;
		}
		c.last = min_u64(c.last, last / 1000);
		c.alloc = min_u64(c.alloc, alloc / 1000);
	}
	printf(" pin and unpin of a frame %llu ns, of a block %llu ns, last unpin of a busy block "
	       "%llu ns, alloc %llu ns;",
	       (unsigned long long)c.frame, (unsigned long long)c.block, (unsigned long long)c.last,
	       (unsigned long long)c.alloc);
	return c;
}

/* One frame for the measuring, the others full; every other block of some pinned and freed. */
static void test_pins_held(void)
{
	uint64_t pins = is_short() ? 20000 : 1000000, extents = is_short() ? 2000 : 100000;
	struct space_busy runs[256];
	uint64_t got = 0, at, n = 0, cursor = 0, listed = 0, t0;
	struct vol v;
	struct txn *t;
	mblk_t first;
	frame_t need;

	vol_open(&v, (PIN_FRAMES + 64) * 2 * MIB, NULL);
	t = txn_begin(v.j);
	vol_must(space_alloc_frames(v.s, t, PIN_FRAMES, FRAME(0), 0, &first, &got),
		 "space_alloc_frames");
	CU_ASSERT_EQUAL_FATAL(got, PIN_FRAMES);
	vol_must(txn_commit(t, NULL), "txn_commit");
	at = first.v + (PIN_FRAMES - 1) * 512;
	vol_free(&v, (struct mext){MBLK(at + 256), 256}, SPACE_DATA);
	pin_cost(&v, at);
	for (uint64_t f = 0; f < extents / 256 + 1; f++)
		vol_must(space_pin_counts(v.s, FRAME(first.v / 512 + f)), "space_pin_counts");
	for (uint64_t i = 0; i < pins; i++)
		CU_ASSERT_TRUE_FATAL(
		    space_pin_blocks(v.s, MBLK(first.v + i % extents * 2), 1, &need));
	for (uint64_t i = 0; i < extents; i++)
		vol_free(&v, (struct mext){MBLK(first.v + i * 2), 1}, SPACE_DATA);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, extents);
	printf(" with %llu pins and %llu busy extents:", (unsigned long long)pins,
	       (unsigned long long)extents);
	pin_cost(&v, at);
	t0 = now_ns();
	for (n = 0; cursor != UINT64_MAX; n++)
		listed += space_busy_list(v.s, &cursor, runs, HF_COUNT(runs));
	CU_ASSERT_EQUAL(listed, extents);
	printf(" all listed in %.1f ms;", (double)(now_ns() - t0) / 1e6);
	t0 = now_ns();
	for (uint64_t i = 0; i < pins; i++)
		space_unpin_blocks(v.s, MBLK(first.v + i % extents * 2), 1);
	printf(" unpinned, %.0f ns each;", (double)(now_ns() - t0) / (double)pins);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, 0);
	vol_close(&v);
}

/* More frames of one group are told apart by their blocks than one step of memory has masks for. */
static void test_masks_kept(void)
{
	enum { FRAMES = 2000 };
	uint64_t got = 0;
	struct vol v;
	struct txn *t;
	mblk_t first;
	frame_t need;

	vol_open(&v, 160 * 1024 * MIB, NULL);
	t = txn_begin(v.j);
	vol_must(space_alloc_frames(v.s, t, FRAMES, FRAME(2048), 0, &first, &got),
		 "space_alloc_frames");
	CU_ASSERT_EQUAL_FATAL(got, FRAMES);
	vol_must(txn_commit(t, NULL), "txn_commit");
	for (uint64_t f = 0; f < FRAMES; f++) {
		vol_must(space_pin_counts(v.s, FRAME(first.v / 512 + f)), "space_pin_counts");
		CU_ASSERT_TRUE(space_pin_blocks(v.s, MBLK(first.v + f * 512), 1, &need));
	}
	vol_free(&v, (struct mext){first, FRAMES * 512}, SPACE_DATA);
	CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, FRAMES);
	for (uint64_t f = 0; f < FRAMES; f++)
		space_unpin_blocks(v.s, MBLK(first.v + f * 512), 1);
	CU_ASSERT_EQUAL(vol_stat(&v).free, vol_stat(&v).blocks);
	vol_close(&v);
}

/* A file of 1 GiB goes with so many of its frames pinned. */
static void test_truncate_pinned_cost(void)
{
	static const uint64_t pinned[] = {0, 1, 512};
	struct vol v;

	vol_open(&v, 2560 * MIB, NULL);
	for (unsigned int k = 0; k < HF_COUNT(pinned); k++) {
		uint64_t best = UINT64_MAX;

		for (int i = 0; i < 20; i++) {
			struct txn *t = txn_begin(v.j);
			uint64_t got, t0;
			mblk_t first;

			vol_must(space_alloc_frames(v.s, t, 512, FRAME(100), 0, &first, &got),
				 "space_alloc_frames");
			CU_ASSERT_EQUAL(got, 512);
			vol_must(txn_commit(t, NULL), "txn_commit");
			space_pin_frames(v.s, mblk_to_frame(first), pinned[k]);
			t0 = now_ns();
			vol_free(&v, (struct mext){first, 512 * 512}, SPACE_DATA);
			best = min_u64(best, now_ns() - t0);
			space_unpin_frames(v.s, mblk_to_frame(first), pinned[k]);
		}
		printf(" 1 GiB with %llu pinned frames: free and commit %llu ns;",
		       (unsigned long long)pinned[k], (unsigned long long)best);
	}
	CU_ASSERT_EQUAL(vol_stat(&v).busy_pinned, 0);
	vol_close(&v);
}

static const struct hf_case cases[] = {
    {"ageing", test_ageing},
    {"terabyte", test_terabyte},
    {"truncate_cost", test_truncate_cost},
    {"alloc_cost", test_alloc_cost},
    {"pins_held", test_pins_held},
    {"masks_kept", test_masks_kept},
    {"truncate_pinned_cost", test_truncate_pinned_cost},
};

int main(void)
{
	return hf_run_suite("space_scale", cases, HF_COUNT(cases));
}
