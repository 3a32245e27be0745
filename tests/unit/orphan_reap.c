/* Freeing inodes: at once, in pieces, and after a power failure or a kill at any fence, recovery crashed again. */
#include "itable_vol.h"

static unsigned scale(unsigned n)
{
	return getenv("HF_TEST_SHORT") ? (n + 19) / 20 : n;
}

static int set_xattr(struct inode *in, const char *name, size_t size)
{
	struct txn *t = txn_begin(in->fs->journal);
	uint8_t *value = calloc(1, size + 1);
	struct inode_edit e;
	int err;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	err = xattr_set(&e, name, value, size, 0);
	inode_edit_end(&e);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	free(value);
	return err;
}

/* n blocks, each in a map node that it shares with no or few others: at least n items to free. */
static void fill_scattered(struct inode *in, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		ivol_fill(in, 1 + i * 260, 1);
}

/* As an unlink does it. */
static int unlink_at_once(struct inode *in)
{
	struct txn *t = txn_begin(in->fs->journal);
	struct inode_edit e;
	int err;

	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	err = inode_reap_in(&e);
	if (err)
		txn_abort(t);
	else
		err = txn_commit(t, NULL);
	rwl_wrunlock(&in->layout);
	return err;
}

static bool fits(struct inode *in)
{
	bool ok;

	rwl_rdlock(&in->layout);
	ok = inode_reap_fits(in);
	rwl_rdunlock(&in->layout);
	return ok;
}

/* What fits goes in exactly one transaction. */
static void test_at_once(void)
{
	struct ivol v;
	struct inode *in;
	struct space_stat s0, s;
	uint64_t before;

	ivol_open(&v, 64 * MIB, 0);
	ivol_create(&v.fs, S_IFREG, 1);		/* the table's first growth */
	space_stat(v.fs.space, &s0);
	for (int kind = 0; kind < 6; kind++) {
		in = ivol_new(&v.fs, kind == 5 ? S_IFDIR : S_IFREG, 1);
		if (kind == 1)
			ivol_fill(in, 0, 1);
		if (kind == 2)
			ivol_fill(in, 0, 10 * 512);	/* huge leaves */
		if (kind == 3)
			for (uint64_t i = 0; i < 60; i++)
				ivol_fill(in, i * 3, 1);
		if (kind == 4) {
			ivol_fill(in, 7, 100);
			CU_ASSERT_EQUAL(set_xattr(in, "user.a", 20000), 0);
			CU_ASSERT_EQUAL(set_xattr(in, "user.b", 2), 0);
		}
		if (kind == 5)
			ivol_fill(in, 0, 3);
		CU_ASSERT(fits(in));
		before = ivol_commits(&v.fs);
		CU_ASSERT_EQUAL(unlink_at_once(in), 0);
		CU_ASSERT_EQUAL(ivol_commits(&v.fs), before + 1);
		CU_ASSERT(in->dead);
		inode_put(in);
		IVOL_ASSERT_SOUND(&v.fs);
	}
	ivol_must(journal_checkpoint(v.fs.journal), "checkpoint");
	space_drain(v.fs.space);
	space_stat(v.fs.space, &s);
	CU_ASSERT_EQUAL(s.free, s0.free);
	ivol_close(&v);
}

/* An open file that was unlinked has a slot; its last close, when it is small, is one transaction too. */
static void test_with_slot(void)
{
	struct ivol v;
	struct inode *in;
	uint64_t before;
	struct fmt_orphan o;

	ivol_open(&v, 16 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	ivol_fill(in, 0, 5);
	ivol_drop_name(in, true);
	in->opens = 1;
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	CU_ASSERT(!in->dead);
	in->opens = 0;
	before = ivol_commits(&v.fs);
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	CU_ASSERT_EQUAL(ivol_commits(&v.fs), before + 1);
	CU_ASSERT(in->dead);
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	inode_put(in);
	CU_ASSERT_EQUAL(orphan_read(&v.fs, 0, &o), 0);
	CU_ASSERT_EQUAL(o.kind, 0);
	/* One with a name is left alone. */
	in = ivol_new(&v.fs, S_IFREG, 1);
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	CU_ASSERT(!in->dead);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

static void test_in_pieces(void)
{
	struct ivol v;
	struct inode *in;
	uint64_t before;

	ivol_open(&v, 32 * MIB, 0);
	for (int slot = 0; slot < 2; slot++) {
		in = ivol_new(&v.fs, S_IFREG, 1);
		fill_scattered(in, 1500);
		CU_ASSERT_EQUAL(set_xattr(in, "user.a", 60000), 0);
		CU_ASSERT(!fits(in));
		CU_ASSERT_EQUAL(unlink_at_once(in), -E2BIG);
		CU_ASSERT(!in->dead);
		IVOL_ASSERT_SOUND(&v.fs);
		ivol_drop_name(in, slot);
		before = ivol_commits(&v.fs);
		CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
		CU_ASSERT(ivol_commits(&v.fs) - before >= 2);
		printf(" (%u transactions)", (unsigned)(ivol_commits(&v.fs) - before));
		CU_ASSERT(in->dead);
		inode_put(in);
		IVOL_ASSERT_SOUND(&v.fs);
	}
	CU_ASSERT_EQUAL(itable_in_use(&v.fs), 1);
	ivol_close(&v);
}

/* A truncation whose first transaction set the size. */
static void shrink(struct inode *in, uint64_t size)
{
	struct txn *t;
	struct inode_edit e;
	uint32_t slot;

	ivol_must(orphan_reserve(in->fs, &slot), "reserve");
	t = txn_begin(in->fs->journal);
	rwl_wrlock(&in->layout);
	inode_edit_begin(&e, in, t);
	e.img.size = le64_of(size);
	e.img.orphan = le32_of(slot + 1);
	orphan_set_inode(in->fs, t, slot, in->ino, in->gen);
	inode_edit_end(&e);
	ivol_must(txn_commit(t, NULL), "shrink");
	rwl_wrunlock(&in->layout);
}

static void test_recover_truncate(void)
{
	struct ivol v;
	struct inode *in;
	uint64_t count, before;
	struct map_extent x;
	inum_t ino;

	ivol_open(&v, 32 * MIB, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	ino = in->ino;
	fill_scattered(in, 1500);
	shrink(in, 260 * HF_BLOCK_SIZE + 4097);
	inode_put(in);
	ivol_remount(&v, 0);
	before = ivol_commits(&v.fs);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), 0);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT(ivol_commits(&v.fs) - before >= 2);
	in = ivol_get(&v.fs, ino);
	CU_ASSERT_EQUAL(le32_get(inode_media(in)->orphan), 0);
	CU_ASSERT_EQUAL(map_lookup(in, FMT_FORK_DATA, FBLK(261), 1, &x), 0);
	CU_ASSERT(!mblk_is_null(x.blk));
	CU_ASSERT_EQUAL(map_lookup(in, FMT_FORK_DATA, FBLK(262), 1u << 20, &x), 0);
	CU_ASSERT(mblk_is_null(x.blk));
	CU_ASSERT_EQUAL(x.n, 1u << 20);
	inode_put(in);
	CU_ASSERT_EQUAL(inode_recover_orphans(&v.fs, &count), 0);
	CU_ASSERT_EQUAL(count, 0);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_close(&v);
}

/* ---- crashes */

enum { CRASH_BYTES = 8 * MIB };

struct crash {
	struct sim *a, *b, *c;
	uint8_t *image;
	struct rng r;
	struct geo geo;
	unsigned every, images, bad;
	uint64_t at, stop;		/* of the second crash: the fence in b */
	bool kill, lanes;		/* how it crashes: killed; always with the journal's lines alone */
	uint64_t in_use_min, in_use_max;
};

struct recovery {
	struct crash *c;
	struct pm *pm;
	const char *what;
	bool ok;
};

static bool recover_here(struct crash *c, struct pm *pm, const char *what)
{
	uint64_t count, in_use;
	const char *why = NULL;
	struct ivol v;
	int err = ivol_try_mount(&v, pm, 64);

	if (err == 0) {
		err = inode_recover_orphans(&v.fs, &count);
		if (err == 0)
			why = ivol_check(&v.fs);
		in_use = itable_in_use(&v.fs);
		if (err == 0 && !why && (in_use < c->in_use_min || in_use > c->in_use_max))
			why = "an inode is lost or was not freed";
		if (err == 0 && !why)
			err = inode_recover_orphans(&v.fs, &count);
		if (err == 0 && !why && count != 0)
			why = "orphans after recovery";
		ivol_unmount(&v);
	}
	if (err || why)
		printf("  %s, image %u: %s\n", what, c->images, why ? why : err_msg());
	return err == 0 && !why;
}

static void *recover_run(void *arg)
{
	struct recovery *r = arg;

	r->ok = recover_here(r->c, r->pm, r->what);
	return NULL;
}

/* Mount, finish the orphans, check, once more. In a thread of its own: the one that crashed holds locks. */
static bool recover_and_check(struct crash *c, struct pm *pm, const char *what)
{
	struct recovery r = { c, pm, what, false };
	pthread_t t;

	pthread_create(&t, NULL, recover_run, &r);
	pthread_join(t, NULL);
	return r.ok;
}

static int second_fence(struct sim *s, void *ctx)
{
	struct crash *c = ctx;

	if (++c->at == c->stop)
		sim_crash_image(s, &c->r, c->image);
	return 0;
}

/* Image of a's media in c->image: mounted in b, which loses power at a fence of its own; then in c. */
static void crash_twice(struct crash *c)
{
	bool ok;

	sim_load(c->b, c->image);
	c->at = 0;
	c->stop = 1 + rng_below(&c->r, 12);
	c->b->ctx = c;
	c->b->on_fence = second_fence;
	ok = recover_and_check(c, c->b->pm, "first recovery");
	if (ok && c->at >= c->stop) {
		sim_load(c->c, c->image);
		ok = recover_and_check(c, c->c->pm, "second recovery");
	}
	c->images++;
	c->bad += !ok;
}

static int first_fence(struct sim *s, void *ctx)
{
	struct crash *c = ctx;

	if (rng_below(&c->r, c->every) != 0)
		return 0;
	if (c->kill) {
		/* All stores visible, what was not durable may still be lost later. */
		sim_kill(c->b, s);
		c->images++;
		c->bad += !recover_and_check(c, c->b->pm, "after a kill");
		return 0;
	}
	if (c->lanes || rng_below(&c->r, 3) == 0)
		ivol_lanes_image(s, &c->geo, c->image);
	else
		sim_crash_image(s, &c->r, c->image);
	crash_twice(c);
	return 0;
}

static void crash_new(struct crash *c, uint64_t seed)
{
	memset(c, 0, sizeof(*c));
	c->a = sim_new(CRASH_BYTES);
	c->b = sim_new(CRASH_BYTES);
	c->c = sim_new(CRASH_BYTES);
	c->image = malloc(CRASH_BYTES);
	c->r.s = seed;
	c->every = 1;
	ivol_mkfs(c->a->pm);
	ivol_must(geo_read(c->a->pm, &c->geo), "geo_read");
}

static void crash_free(struct crash *c)
{
	sim_free(c->a);
	sim_free(c->b);
	sim_free(c->c);
	free(c->image);
}

/* The journal's own thread may fence too while the hook runs: one at a time, the simulator's mutex sees to it. */
static void arm(struct crash *c)
{
	pthread_mutex_lock(&c->a->mtx);
	c->a->ctx = c;
	c->a->on_fence = first_fence;
	pthread_mutex_unlock(&c->a->mtx);
}

/* How many inodes may be in use after a recovery from now on. */
static void expect(struct crash *c, uint64_t min, uint64_t max)
{
	pthread_mutex_lock(&c->a->mtx);
	c->in_use_min = min;
	c->in_use_max = max;
	pthread_mutex_unlock(&c->a->mtx);
}

static void disarm(struct crash *c)
{
	pthread_mutex_lock(&c->a->mtx);
	c->a->on_fence = NULL;
	pthread_mutex_unlock(&c->a->mtx);
}

static unsigned run_reap(uint64_t seed, bool do_kill)
{
	struct crash c;
	struct ivol v;
	struct inode *in;

	crash_new(&c, seed);
	c.kill = do_kill;
	ivol_mount(&v, c.a->pm, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	fill_scattered(in, 700);
	CU_ASSERT_EQUAL(set_xattr(in, "user.a", 30000), 0);
	expect(&c, 1, 2);
	arm(&c);
	ivol_drop_name(in, true);
	expect(&c, 1, 1);		/* from here on the name is gone */
	CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
	disarm(&c);
	inode_put(in);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_unmount(&v);
	CU_ASSERT(c.images >= 3);
	CU_ASSERT_EQUAL(c.bad, 0);
	crash_free(&c);
	return c.images;
}

static void test_crash_reap(void)
{
	unsigned images = 0;

	for (unsigned i = 0; i < scale(20); i++)
		images += run_reap(i, false);
	printf(" (%u images)", images);
}

static void test_kill_reap(void)
{
	unsigned images = 0;

	for (unsigned i = 0; i < scale(6) + 1; i++)
		images += run_reap(i, true);
	printf(" (%u images)", images);
}

static void run_truncate(uint64_t seed)
{
	struct crash c;
	struct ivol v;
	struct inode *in;

	crash_new(&c, seed);
	ivol_mount(&v, c.a->pm, 0);
	in = ivol_new(&v.fs, S_IFREG, 1);
	fill_scattered(in, 700);
	expect(&c, 2, 2);
	arm(&c);
	shrink(in, 3 * HF_BLOCK_SIZE);
	disarm(&c);
	inode_put(in);
	ivol_unmount(&v);
	CU_ASSERT(c.images >= 1);
	CU_ASSERT_EQUAL(c.bad, 0);
	crash_free(&c);
}

static void test_crash_truncate(void)
{
	for (unsigned i = 0; i < scale(20); i++)
		run_truncate(i);
}

/* Creates, attributes, unlinks of open files, last closes, growth of both tables: all transactions of this layer. */
struct churn {
	struct crash c;
	struct ivol v;
	struct rng r;
	struct inode *in[160];
	bool unnamed[160];
	unsigned named, nunnamed;
};

static void churn_step(struct churn *s, uint64_t k, bool closing)
{
	struct inode *in = s->in[k];

	/* Recovery leaves the root and those with names, or one more or less. */
	expect(&s->c, s->named, s->named + 2);
	if (!in) {
		s->in[k] = ivol_new(&s->v.fs, S_IFREG, 1);
		s->named++;
	} else if (s->unnamed[k]) {
		if (!closing)
			return;
		CU_ASSERT_EQUAL(inode_reap(in, 0), 0);
		CU_ASSERT(in->dead);
		inode_put(in);
		s->in[k] = NULL;
		s->unnamed[k] = false;
		s->nunnamed--;
	} else if (rng_below(&s->r, 3) == 0) {
		ivol_drop_name(in, true);
		s->unnamed[k] = true;
		s->nunnamed++;
		s->named--;
	} else if (rng_below(&s->r, 2) == 0) {
		CU_ASSERT_EQUAL(set_xattr(in, "user.x", rng_below(&s->r, 9000)), 0);
	} else {
		ivol_try_fill(in, rng_below(&s->r, 3000), 1, false);
	}
}

static unsigned run_churn(uint64_t seed)
{
	struct churn *s = calloc(1, sizeof(*s));
	unsigned images, most = 0;

	crash_new(&s->c, seed);
	s->c.every = 30;
	s->r.s = seed;
	ivol_mount(&s->v, s->c.a->pm, 0);
	ivol_litter(&s->v.fs);
	arm(&s->c);
	for (unsigned i = 0; i < 900; i++) {
		churn_step(s, rng_below(&s->r, HF_COUNT(s->in)), i > 600);
		most = s->nunnamed > most ? s->nunnamed : most;
	}
	disarm(&s->c);
	CU_ASSERT(most > FMT_ORPHANS_PER_BLOCK);
	for (size_t i = 0; i < HF_COUNT(s->in); i++)
		inode_put(s->in[i]);
	IVOL_ASSERT_SOUND(&s->v.fs);
	ivol_unmount(&s->v);
	CU_ASSERT_EQUAL(s->c.bad, 0);
	images = s->c.images;
	crash_free(&s->c);
	free(s);
	return images;
}

static void test_crash_churn(void)
{
	unsigned images = 0;

	for (unsigned i = 0; i < scale(8); i++)
		images += run_churn(1000 + i);
	printf(" (%u images)", images);
}

/* Growth of both tables into blocks that are full of junk. */
static void test_crash_growth(void)
{
	struct crash c;
	struct ivol v;
	uint32_t slot;

	crash_new(&c, 9);
	c.lanes = true;
	ivol_mount(&v, c.a->pm, 0);
	ivol_litter(&v.fs);
	ivol_must(journal_checkpoint(v.fs.journal), "checkpoint");
	for (unsigned i = 0; i < 17; i++) {
		expect(&c, i + 1, i + 2);
		c.every = i == 0 || i == 16 ? 1 : 1000;	/* those two grow the table */
		arm(&c);
		ivol_create(&v.fs, S_IFREG, 1);
		disarm(&c);
	}
	for (unsigned i = 0; i < FMT_ORPHANS_PER_BLOCK; i++)
		ivol_must(orphan_reserve(&v.fs, &slot), "orphan_reserve");
	expect(&c, 18, 18);
	c.every = 1;
	for (unsigned i = 0; i < 8; i++) {
		arm(&c);
		ivol_must(orphan_reserve(&v.fs, &slot), "orphan_reserve");
		disarm(&c);
		for (unsigned k = 1; k < FMT_ORPHANS_PER_BLOCK; k++)
			ivol_must(orphan_reserve(&v.fs, &slot), "orphan_reserve");
	}
	CU_ASSERT(orphan_count(&v.fs) > FMT_ORPHANS_PER_BLOCK);
	IVOL_ASSERT_SOUND(&v.fs);
	ivol_unmount(&v);
	printf(" (%u images)", c.images);
	CU_ASSERT_EQUAL(c.bad, 0);
	crash_free(&c);
}

static const struct hf_case cases[] = {
	{ "at once", test_at_once },
	{ "with a slot", test_with_slot },
	{ "in pieces", test_in_pieces },
	{ "recover a truncation", test_recover_truncate },
	{ "reap, power fails at each fence", test_crash_reap },
	{ "reap, killed at each fence", test_kill_reap },
	{ "truncation, power fails", test_crash_truncate },
	{ "growth, power fails", test_crash_growth },
	{ "churn, power fails", test_crash_churn },
};

int main(void)
{
	return hf_run_suite("orphan_reap", cases, HF_COUNT(cases));
}
