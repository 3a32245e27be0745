/* Threads allocate, pin, split, free and unpin at random. Outside of the allocator every block
 * carries a stamp of whose it is and the number of pins that are on it: whoever gets a block that a
 * pin is on sees it at once, and whoever holds a pin looks for its stamp until the end. */
#include "space_vol.h"
#include "base/hash.h"
#include <pthread.h>
#include <sched.h>
#include <time.h>

#define THREADS 4u
#define OBJECTS 24u
#define PINS	48u

/* What a file is here: blocks of one frame, under a layout lock. */
struct object {
	struct rwl lock;
	uint64_t stamp; /* 0: it has no blocks */
	uint64_t frame;
	uint64_t has[8];
	bool huge;
};

struct pin {
	uint64_t stamp, frame, has[8];
	bool huge;
};

struct churn {
	uint64_t me, seed, rounds, stamps, npins;
	struct pin pins[PINS];
};

static struct vol v;
static struct object objects[OBJECTS];
static _Atomic uint64_t *stamps;
static _Atomic uint32_t *live; /* pins on the block */
static _Atomic uint64_t violations, splits, detached, waits, retries;
static uint64_t base_seed;

static uint64_t roll(struct churn *c, uint64_t below)
{
	c->seed = hash_mix2(c->seed, c->me);
	return c->seed % below;
}

static void violation(const char *what, uint64_t b)
{
	if (atomic_fetch_add(&violations, 1) < 5)
		fprintf(stderr, "block %llu: %s\n", (unsigned long long)b, what);
}

static bool has(const uint64_t m[8], uint64_t b)
{
	return m[b / 64] >> b % 64 & 1;
}

/* The next run of blocks of m at or behind 'from'. */
static bool next_run(const uint64_t m[8], uint64_t from, struct mext *run)
{
	uint64_t b = from;

	while (b < 512 && !has(m, b))
		b++;
	run->first.v = b;
	while (b < 512 && has(m, b))
		b++;
	run->n = b - run->first.v;
	return run->n > 0;
}

/* Blocks of m inside of a range by chance. */
static void some(struct churn *c, const uint64_t m[8], uint64_t out[8])
{
	uint64_t first = roll(c, 512), n = roll(c, 2) ? 1 + roll(c, 512) : 1 + roll(c, 8);

	memset(out, 0, 64);
	for (uint64_t b = first; b < 512 && b < first + n; b++)
		out[b / 64] |= m[b / 64] & 1ull << b % 64;
}

/* ---- allocating */

static void object_take(struct churn *c, struct object *o, struct mext x, bool huge)
{
	o->stamp = c->me << 56 | ++c->stamps;
	o->frame = x.first.v / 512;
	o->huge = huge;
	memset(o->has, 0, sizeof(o->has));
	for (uint64_t i = x.first.v; i < x.first.v + x.n; i++) {
		o->has[i % 512 / 64] |= 1ull << i % 64;
		if (atomic_load(&live[i]))
			violation("handed out under a pin", i);
		atomic_store(&stamps[i], o->stamp);
	}
}

static void object_make(struct churn *c, struct object *o)
{
	struct txn *t = txn_begin(v.j);
	struct mext x = {MBLK_NULL, 512};
	bool huge = roll(c, 2);
	int err;

	err = huge ? space_alloc_frame(v.s, t, FRAME(roll(c, v.geo.nframes)), 0, &x.first)
		   : space_alloc(v.s, t, (uint32_t)(1 + roll(c, 400)), MBLK_NULL, 0, &x);
	if (err || roll(c, 8) == 0) {
		txn_abort(t);
		return;
	}
	object_take(c, o, x, huge);
	vol_must(txn_commit(t, NULL), "txn_commit");
}

/* ---- taking away */

static int cut_add(struct txn *t, const struct object *o, const uint64_t cut[8])
{
	struct mext run = {MBLK(0), 0};
	int err = 0;

	while (!err && next_run(cut, run.first.v + run.n, &run))
		err = space_free(v.s, t, MBLK(o->frame * 512 + run.first.v), run.n, SPACE_DATA,
				 INUM(16), FBLK(0));
	return err;
}

/* One try. The split goes before what it is for, as space_free() wants it. */
static int cut_try(struct churn *c, struct object *o, const uint64_t cut[8], bool splits_it,
		   uint32_t ticket)
{
	struct txn *t = txn_begin(v.j);
	int err = 0;

	txn_set_ticket(t, ticket);
	if (splits_it)
		err = space_split(v.s, t, FRAME(o->frame));
	if (!err)
		err = cut_add(t, o, cut);
	if (err || roll(c, 8) == 0) {
		txn_abort(t);
		return err ? err : 1;
	}
	vol_must(txn_commit(t, NULL), "txn_commit");
	return 0;
}

static uint64_t soon(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec + 1000000;
}

/* Takes blocks away from an object, whose lock is held on entry and not after. */
static void object_cut(struct churn *c, struct object *o, bool all)
{
	uint32_t ticket = roll(c, 4) ? 0 : space_ticket_get(v.s);
	uint64_t cut[8], left = 0, gone = 0;
	bool splits_it;
	int err;

	memcpy(cut, o->has, sizeof(cut));
	if (!all)
		some(c, o->has, cut);
	for (int i = 0; i < 8; i++) {
		left |= o->has[i] & ~cut[i];
		gone |= cut[i];
	}
	splits_it = o->huge && left && gone;
	err = cut_try(c, o, cut, splits_it, ticket);
	for (int i = 0; i < 8 && !err; i++)
		o->has[i] &= ~cut[i];
	if (!err && splits_it) {
		o->huge = false;
		atomic_fetch_add(&splits, 1);
	}
	if (!err && !left)
		o->stamp = 0;
	if (err == -EAGAIN) {
		uint64_t f = o->frame;

		rwl_wrunlock(&o->lock);
		atomic_fetch_add(&retries, 1);
		vol_must(space_pin_counts(v.s, FRAME(f)), "space_pin_counts");
	} else {
		rwl_wrunlock(&o->lock);
		if (err < 0)
			violation(err_msg(), o->frame * 512);
	}
	atomic_fetch_add(&detached, space_ticket_left(v.s, ticket));
	if (ticket && space_ticket_wait(v.s, ticket, soon()) == 0)
		atomic_fetch_add(&waits, 1);
	space_ticket_put(v.s, ticket);
}

static void churn_change(struct churn *c)
{
	struct object *o = &objects[roll(c, OBJECTS)];

	rwl_wrlock(&o->lock);
	if (o->stamp) {
		object_cut(c, o, roll(c, 4) == 0);
		return;
	}
	object_make(c, o);
	rwl_wrunlock(&o->lock);
}

/* ---- pins */

static void pin_live(const struct pin *p, uint32_t by)
{
	for (uint64_t b = 0; b < 512; b++) {
		if (has(p->has, b))
			atomic_fetch_add(&live[p->frame * 512 + b], by);
	}
}

static void pin_check(const struct pin *p)
{
	for (uint64_t b = 0; b < 512; b++) {
		if (has(p->has, b) && atomic_load(&stamps[p->frame * 512 + b]) != p->stamp)
			violation("somebody else's under a pin", p->frame * 512 + b);
	}
}

static void pin_drop(struct churn *c, uint64_t i)
{
	struct pin *p = &c->pins[i];
	struct mext run = {MBLK(0), 0};

	pin_check(p);
	pin_live(p, UINT32_MAX);
	if (p->huge)
		space_unpin_frames(v.s, FRAME(p->frame), 1);
	while (!p->huge && next_run(p->has, run.first.v + run.n, &run))
		space_unpin_blocks(v.s, MBLK(p->frame * 512 + run.first.v), run.n);
	*p = c->pins[--c->npins];
}

/* All runs, or the counts are to be made. */
static bool pin_count(const struct pin *p)
{
	struct mext run = {MBLK(0), 0};
	frame_t need;

	if (p->huge)
		space_pin_frames(v.s, FRAME(p->frame), 1);
	while (!p->huge && next_run(p->has, run.first.v + run.n, &run)) {
		if (!space_pin_blocks(v.s, MBLK(p->frame * 512 + run.first.v), run.n, &need))
			return false; /* the first run: the others are of the same frame */
	}
	pin_live(p, 1);
	return true;
}

static void churn_pin(struct churn *c)
{
	struct object *o = &objects[roll(c, OBJECTS)];
	struct pin *p = &c->pins[c->npins];
	uint64_t f;
	bool ok = true;

	rwl_rdlock(&o->lock);
	if (o->stamp) {
		*p = (struct pin){.stamp = o->stamp, .frame = o->frame, .huge = o->huge};
		memcpy(p->has, o->has, sizeof(p->has));
		if (!o->huge)
			some(c, o->has, p->has);
		ok = pin_count(p);
		c->npins += ok;
	}
	f = o->frame;
	rwl_rdunlock(&o->lock);
	if (!ok)
		vol_must(space_pin_counts(v.s, FRAME(f)), "space_pin_counts");
}

/* Whatever it is: it must come through. */
static void churn_list(void)
{
	struct space_busy run[7];
	uint64_t cursor = 0;

	while (cursor != UINT64_MAX) {
		size_t n = space_busy_list(v.s, &cursor, run, HF_COUNT(run));

		for (size_t i = 0; i < n; i++) {
			if (run[i].n == 0 || run[i].first.v + run[i].n > v.geo.nblocks)
				violation("no such run", run[i].first.v);
		}
	}
}

static void *churn_main(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; i < c->rounds; i++) {
		uint64_t what = roll(c, 100);

		if (what < 40)
			churn_change(c);
		else if (what < 70 && c->npins < PINS)
			churn_pin(c);
		else if (c->npins > 0)
			pin_drop(c, roll(c, c->npins));
		if (i % 512 == 0)
			churn_list();
	}
	while (c->npins > 0)
		pin_drop(c, c->npins - 1);
	return NULL;
}

/* ---- */

static void check_end(void)
{
	struct space_stat st = vol_stat(&v);
	struct churn c = {.me = THREADS + 1};
	uint64_t used = 0, wrong = 0, cursor = 0;
	struct space_busy run;

	for (unsigned int i = 0; i < OBJECTS; i++) {
		for (int k = 0; objects[i].stamp && k < 8; k++)
			used += (uint64_t)__builtin_popcountll(objects[i].has[k]);
	}
	CU_ASSERT_EQUAL(vol_allocated(&v), used);
	CU_ASSERT_EQUAL(st.pending + st.busy_pinned + st.busy_journal, 0);
	CU_ASSERT_EQUAL(st.free + used, st.blocks);
	CU_ASSERT_EQUAL(space_busy_list(v.s, &cursor, &run, 1), 0);
	CU_ASSERT_FALSE(space_pinned(v.s, v.geo.first_data, st.blocks));
	for (uint64_t f = 0; f < v.geo.nframes; f++)
		wrong += (atomic_load(&space_frame(v.s, FRAME(f))->word) & ~FRAME_SPLIT) != 0;
	CU_ASSERT_EQUAL(wrong, 0);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		while (objects[i].stamp) {
			rwl_wrlock(&objects[i].lock);
			object_cut(&c, &objects[i], true);
		}
	}
	st = vol_stat(&v);
	CU_ASSERT_EQUAL(st.free, st.blocks);
}

static void churn(uint64_t bytes, unsigned int threads, uint64_t rounds)
{
	static struct churn all[THREADS];
	pthread_t th[THREADS];

	vol_open(&v, bytes, NULL);
	stamps = calloc(v.geo.nblocks, sizeof(*stamps));
	live = calloc(v.geo.nblocks, sizeof(*live));
	CU_ASSERT_FATAL(stamps && live);
	violations = splits = detached = waits = retries = 0;
	memset(objects, 0, sizeof(objects));
	for (unsigned int i = 0; i < OBJECTS; i++)
		rwl_init(&objects[i].lock, RANK_LAYOUT, i);
	for (unsigned int i = 0; i < threads; i++) {
		all[i] = (struct churn){.me = i + 1, .seed = base_seed + i, .rounds = rounds};
		CU_ASSERT_EQUAL_FATAL(pthread_create(&th[i], NULL, churn_main, &all[i]), 0);
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(th[i], NULL);
	CU_ASSERT_EQUAL(violations, 0);
	CU_ASSERT_TRUE(splits > 0);
	CU_ASSERT_TRUE(retries > 0);
	CU_ASSERT_TRUE(detached > 0);
	check_end();
	printf(" %llu splits, %llu retries, %llu blocks seen busy, %llu waits;",
	       (unsigned long long)splits, (unsigned long long)retries,
	       (unsigned long long)detached, (unsigned long long)waits);
	free(stamps);
	free(live);
	vol_close(&v);
}

static uint64_t rounds(uint64_t n)
{
	return getenv("HF_TEST_SHORT") ? n / 20 : n;
}

static void test_one_thread(void)
{
	churn(64 * MIB, 1, rounds(200000));
}

/* So few frames that each is soon somebody else's. */
static void test_threads(void)
{
	churn(48 * MIB, THREADS, rounds(200000));
}

static void test_threads_groups(void)
{
	churn(600 * MIB, THREADS, rounds(100000));
}

static const struct hf_case cases[] = {
    {"one_thread", test_one_thread},
    {"threads", test_threads},
    {"threads_groups", test_threads_groups},
};

int main(void)
{
	base_seed = getenv("HF_TEST_SEED") ? strtoull(getenv("HF_TEST_SEED"), NULL, 0) : 1;
	printf("HF_TEST_SEED=%llu\n", (unsigned long long)base_seed);
	return hf_run_suite("space_pins_churn", cases, HF_COUNT(cases));
}
