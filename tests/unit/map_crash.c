/* Power failures: at every fence of every operation the media holds the map as it was or as it will
 * be, whichever of the lines on their way made it, and the allocation lines agree with it. */
#include "map_rand.h"
#include <pthread.h>

#define BYTES	    (8 * MIB)
#define LINES	    (BYTES / HF_LINE)
#define MAX_PENDING 65536
#define MAX_SNAPS   8

/* What the device holds for certain, and what is on its way: lines with the bytes that they had
 * when they were flushed or stored non-temporally, per thread, until the thread's fence. */
struct pending {
	struct pending *next; /* all of them, to be freed */
	uint32_t n;
	uint32_t line[MAX_PENDING];
	uint8_t bytes[MAX_PENDING][HF_LINE];
};

static struct {
	pthread_mutex_t lock;
	struct mv *v;
	uint8_t *durable;
	bool on_way[LINES]; /* stored to since it was last known durable */
	bool snapping;
	uint8_t *snap[MAX_SNAPS];
	unsigned n_snaps;
	uint64_t rng;
	struct pending *all;
} dev;
static _Thread_local struct pending *pending;

static void take_line(uint64_t line)
{
	if (!pending) {
		pending = calloc(1, sizeof(*pending));
		HF_ASSERT(pending);
		pending->next = dev.all;
		dev.all = pending;
	}
	HF_ASSERT(pending->n < MAX_PENDING);
	pending->line[pending->n] = (uint32_t)line;
	memcpy(pending->bytes[pending->n++], dev.v->fs.pm->base + line * HF_LINE, HF_LINE);
}

static void on_store(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	(void)ctx;
	pthread_mutex_lock(&dev.lock);
	for (uint64_t l = off.v / HF_LINE; l <= (off.v + len - 1) / HF_LINE && dev.durable; l++) {
		dev.on_way[l] = true;
		if (nontemporal)
			take_line(l);
	}
	pthread_mutex_unlock(&dev.lock);
}

static int on_flush(void *ctx, moff_t off, uint64_t len)
{
	(void)ctx;
	pthread_mutex_lock(&dev.lock);
	for (uint64_t l = off.v / HF_LINE; l <= (off.v + len - 1) / HF_LINE && dev.durable; l++)
		take_line(l);
	pthread_mutex_unlock(&dev.lock);
	return 0;
}

/* The device as it would be found: of the lines on their way, none, all, or some. */
static void take_snapshot(void)
{
	unsigned how = (unsigned)(dev.rng = hash_mix(dev.rng + 1)) % 3;
	uint8_t *p;

	if (dev.n_snaps == MAX_SNAPS)
		return;
	p = aligned_alloc(HF_FRAME_SIZE, BYTES);
	HF_ASSERT(p);
	memcpy(p, dev.durable, BYTES);
	for (uint64_t l = 0; l < LINES; l++)
		if (dev.on_way[l] &&
		    (how == 1 || (how == 2 && (dev.rng = hash_mix(dev.rng + 1)) & 1)))
			memcpy(p + l * HF_LINE, dev.v->fs.pm->base + l * HF_LINE, HF_LINE);
	dev.snap[dev.n_snaps++] = p;
}

static int on_fence(void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&dev.lock);
	if (dev.durable && dev.snapping)
		take_snapshot();
	for (uint32_t i = 0; pending && i < pending->n; i++) {
		uint8_t *to = dev.durable + (uint64_t)pending->line[i] * HF_LINE;

		memcpy(to, pending->bytes[i], HF_LINE);
		dev.on_way[pending->line[i]] =
		    memcmp(to, dev.v->fs.pm->base + (uint64_t)pending->line[i] * HF_LINE,
			   HF_LINE) != 0;
	}
	if (pending)
		pending->n = 0;
	pthread_mutex_unlock(&dev.lock);
	return 0;
}

static const struct pm_hook hook = {.store = on_store, .flush = on_flush, .fence = on_fence};

/* ---- */

static uint64_t allocated_bits(const struct pm *pm, const struct geo *geo)
{
	const uint64_t *w = pm_at(pm, geo->alloc_off);
	uint64_t n = 0;

	for (uint64_t i = 0; i < geo->nframes * 8; i++)
		n += (uint64_t)__builtin_popcountll(w[i]);
	return n;
}

struct state {
	struct mv_model model;
	uint64_t bits, blocks;
};

/* A part of a truncation is done: whatever is left is a map, and all that is allocated is in it. */
static bool consistent(const struct pm *pm, const struct geo *geo, moff_t inode,
		       const struct state *a)
{
	const struct fmt_inode *img = pm_at(pm, inode);

	return !mv_compare(pm, geo, inode, NULL, NULL) &&
	       allocated_bits(pm, geo) - le64_get(img->blocks) == a->bits - a->blocks;
}

/* Mounts what a crash left. 0: it is state a, 1: state b, 2: between them. */
static int recover(uint8_t *image, moff_t inode, const struct state *a, const struct state *b,
		   bool may_be_between)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE};
	struct journal *j = NULL;
	struct geo geo;
	struct pm *pm;
	int is = -1;

	mv_must(pm_open_memory(image, BYTES, &args, &pm), "pm_open_memory");
	mv_must(geo_read(pm, &geo), "geo_read");
	mv_must(journal_open(pm, &geo, &j), "recovery");
	if (!mv_compare(pm, &geo, inode, &a->model, NULL) && allocated_bits(pm, &geo) == a->bits)
		is = 0;
	else if (!mv_compare(pm, &geo, inode, &b->model, NULL) &&
		 allocated_bits(pm, &geo) == b->bits)
		is = 1;
	else if (may_be_between && consistent(pm, &geo, inode, a))
		is = 2;
	if (is < 0)
		fprintf(stderr, "after: %s, %llu bits of %llu\n",
			mv_compare(pm, &geo, inode, &b->model, NULL),
			(unsigned long long)allocated_bits(pm, &geo), (unsigned long long)b->bits);
	journal_close(&j);
	pm_close(&pm);
	return is;
}

static struct state state_of(struct mv *v)
{
	return (struct state){mv_model_copy(&v->model), allocated_bits(v->fs.pm, &v->fs.geo),
			      le64_get(inode_media(&v->in)->blocks)};
}

/* Snapshots at each fence from here on; the checkpoint's thread has fences too. */
static void snapshots(bool on)
{
	pthread_mutex_lock(&dev.lock);
	if (on)
		dev.n_snaps = 0;
	dev.snapping = on;
	pthread_mutex_unlock(&dev.lock);
}

static void snapshot_now(void)
{
	pthread_mutex_lock(&dev.lock);
	take_snapshot();
	pthread_mutex_unlock(&dev.lock);
}

/* One operation with a crash at each of its fences, and one when it has returned. */
static void crash_op(struct mv *v, struct mr *r, unsigned seen[3])
{
	struct state before = state_of(v), after;
	int err, is;

	snapshots(true);
	err = mr_do(v, r);
	snapshots(false);
	if (!err)
		mr_model(&v->model, r);
	after = state_of(v);
	for (unsigned i = 0; i < dev.n_snaps; i++) {
		is = recover(dev.snap[i], v->in.off, &before, &after, r->op == MR_TRIM);
		CU_ASSERT_FATAL(is >= 0);
		seen[is]++;
		free(dev.snap[i]);
	}
	dev.n_snaps = 0;
	if (!err)
		mv_must(mr_finish(v, r), "the rest");
	free(before.model.p);
	free(after.model.p);
	before = state_of(v);
	/* What has returned is on the media. */
	snapshot_now();
	CU_ASSERT_EQUAL_FATAL(recover(dev.snap[0], v->in.off, &before, &before, false), 0);
	free(dev.snap[0]);
	dev.n_snaps = 0;
	free(before.model.p);
}

static void start(struct mv *v)
{
	pthread_mutex_init(&dev.lock, NULL);
	dev.v = v;
	mv_open_hooked(v, BYTES, S_IFREG, &hook);
	dev.rng = v->rng;
	mv_must(journal_checkpoint(v->fs.journal), "checkpoint");
	dev.durable = malloc(BYTES);
	HF_ASSERT(dev.durable);
	memcpy(dev.durable, v->fs.pm->base, BYTES);
}

static void stop(struct mv *v)
{
	mv_close(v);
	free(dev.durable);
	dev.durable = NULL;
	while (dev.all) {
		pending = dev.all->next;
		free(dev.all);
		dev.all = pending;
	}
}

static void test_crashes(void)
{
	unsigned seen[3] = {0};
	struct mr r;
	struct mv v;

	start(&v);
	for (uint64_t i = 0; i < mr_ops(400); i++) {
		mr_choose(&v, &r);
		crash_op(&v, &r, seen);
	}
	printf("\n    found before the operation: %u, after it: %u, in the middle: %u\n", seen[0],
	       seen[1], seen[2]);
	CU_ASSERT(seen[0] > 0 && seen[1] > 0);
	MV_OK(&v);
	stop(&v);
}

/* Mounts what a crash in the middle of a truncation left, and goes on with it. */
static void truncate_rest(uint8_t *image, const struct mv *was, uint64_t bits_empty)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE};
	struct mr r = {.op = MR_TRIM};
	struct mv v = *was;

	mv_must(pm_open_memory(image, BYTES, &args, &v.fs.pm), "pm_open_memory");
	mv_attach(&v);
	mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, NULL, NULL), __LINE__);
	CU_ASSERT_EQUAL(allocated_bits(v.fs.pm, &v.fs.geo),
			bits_empty + le64_get(inode_media(&v.in)->blocks));
	mv_must(mr_finish(&v, &r), "the rest");
	CU_ASSERT_EQUAL(le64_get(inode_media(&v.in)->blocks), 0);
	CU_ASSERT_EQUAL(allocated_bits(v.fs.pm, &v.fs.geo), bits_empty);
	mv_detach(&v);
	pm_close(&v.fs.pm);
}

/* A scattered file takes several transactions; a crash at every fence of all of them. */
static void test_truncate(void)
{
	struct mr r = {.op = MR_TRIM};
	unsigned steps = 0;
	uint64_t empty;
	struct mv v;

	start(&v);
	empty = allocated_bits(v.fs.pm, &v.fs.geo);
	for (uint64_t i = 0; i < 1500; i++)
		mv_insert(&v, i * 1999 % 1500 * 400, 1);
	for (; !r.done; steps++) {
		snapshots(true);
		mv_must(mr_do(&v, &r), "truncate");
		snapshots(false);
		snapshot_now();
		for (unsigned i = 0; i < dev.n_snaps; i++) {
			truncate_rest(dev.snap[i], &v, empty);
			free(dev.snap[i]);
		}
		dev.n_snaps = 0;
	}
	printf("\n    %u transactions\n", steps);
	CU_ASSERT(steps > 2);
	v.model.n = 0;
	MV_OK(&v);
	stop(&v);
}

/* Clean unmount and mount. */
static void test_reopen(void)
{
	struct mr r;
	struct mv v;

	mv_open(&v, 16 * MIB);
	for (unsigned i = 0; i < 200; i++) {
		mr_choose(&v, &r);
		if (mr_do(&v, &r) == 0) {
			mr_model(&v.model, &r);
			mv_must(mr_finish(&v, &r), "the rest");
		}
		if (i % 20 == 0) {
			mv_detach(&v);
			mv_attach(&v);
			MV_OK(&v);
		}
	}
	mv_close(&v);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"a crash at every fence", test_crashes},
	    {"a truncation cut short", test_truncate},
	    {"unmount and mount", test_reopen},
	};

	return hf_run_suite("map and crashes", cases, HF_COUNT(cases));
}
