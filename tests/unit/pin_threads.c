/* Threads that pin, unpin, hand on, truncate, list and wait. What a pin shows is never overwritten
 * by anybody else while it is held, and in the end nothing is counted. */
#include "file_vol.h"

#include "file/volume.h"
#include "pin/pin.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define FILES  4u
#define BLOCKS 24u
#define BOX    32u

struct shared {
	hf_volume *vol;
	hf_file *f[FILES];
	uint64_t steps;
	_Atomic uint32_t seeds, bad, workers;
	_Atomic uint64_t box[BOX]; /* pins on their way from thread to thread */
	_Atomic uint64_t seen; /* pins that a list showed */
	_Atomic uint32_t told;
};

static void spoiled(struct shared *s, const char *why)
{
	if (atomic_fetch_add(&s->bad, 1) < 5)
		fprintf(stderr, "%s (%s)\n", why, hf_errormsg());
}

static struct vol_rand my_rand(struct shared *s)
{
	return (struct vol_rand){vol_env("HF_SEED", 5) * 1000 + atomic_fetch_add(&s->seeds, 1)};
}

static void told(void *ctx, hf_volume *vol, const struct hf_lease_event *event)
{
	struct shared *s = ctx;

	(void)vol;
	if (event->pin == 0 || event->len == 0 || event->off + event->len < event->off)
		spoiled(s, "a lease was told nonsense");
	atomic_fetch_add(&s->told, 1);
}

static void drop(struct shared *s, hf_pin_id id)
{
	if (id && hf_unpin(s->vol, id) != 0)
		spoiled(s, "a live pin could not be dropped");
	if (id && hf_unpin(s->vol, id) != -EINVAL)
		spoiled(s, "a pin was dropped twice");
}

static void take(struct shared *s, struct vol_rand *r)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .tag = "thread"};
	struct hf_lease_options lo = {.struct_size = sizeof(lo), .fn = told, .ctx = s};
	hf_file *f = s->f[vol_below(r, FILES)];
	uint64_t first = vol_below(r, BLOCKS), n = 1 + vol_below(r, 4);
	struct iovec iov[8];
	size_t niov = 8;
	hf_pin_id id;
	int err;

	o.flags = vol_below(r, 3) ? 0 : HF_PIN_ALLOC;
	err = hf_pin(f, first * BLK, n * BLK, &o, iov, &niov, &id);
	if (err == -ENODATA || err == -EINVAL)
		return; /* truncated or punched */
	if (err) {
		spoiled(s, "no pin");
		return;
	}
	if (vol_below(r, 8) == 0 && hf_lease(s->vol, id, &lo) != 0)
		spoiled(s, "no lease");
	if (hf_pin_persist(s->vol, id, 0, n * BLK) != 0)
		spoiled(s, "a pin could not be flushed");
	drop(s, atomic_exchange(&s->box[vol_below(r, BOX)], id));
}

/* Gives somebody's pin to somebody else, and makes it its own. */
static void pass(struct shared *s, struct vol_rand *r)
{
	hf_pin_id id = atomic_exchange(&s->box[vol_below(r, BOX)], 0);

	if (id && hf_pin_take(s->vol, id) != 0)
		spoiled(s, "a live pin could not be taken over");
	drop(s, atomic_exchange(&s->box[vol_below(r, BOX)], id));
}

static void work(struct shared *s, struct vol_rand *r)
{
	static const char text[] = "other bytes";
	hf_file *f = s->f[vol_below(r, FILES)];
	int64_t ret = 0;

	switch (vol_below(r, 10)) {
	case 0:
		ret = hf_ftruncate(f, vol_below(r, BLOCKS + 4) * BLK);
		break;
	case 1:
		ret = hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   vol_below(r, BLOCKS) * BLK, BLK * (1 + vol_below(r, 6)));
		break;
	case 2:
	case 3:
		ret = hf_pwrite(f, text, sizeof(text), vol_below(r, BLOCKS * BLK));
		break;
	case 4:
		ret = hf_fsync(f);
		break;
	case 5:
		pass(s, r);
		break;
	default:
		take(s, r);
	}
	if (ret < 0 && ret != -ENOSPC)
		spoiled(s, "an operation failed");
}

static void *run_worker(void *arg)
{
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);

	for (uint64_t i = 0; i < s->steps; i++)
		work(s, &r);
	atomic_fetch_sub(&s->workers, 1);
	return NULL;
}

/* A file of its own that is taken apart under its pin, again and again; its bytes stay. */
static void *run_stamper(void *arg)
{
	struct shared *s = arg;
	uint32_t me = atomic_fetch_add(&s->seeds, 1);
	uint8_t b[BLK];
	char path[32];

	snprintf(path, sizeof(path), "/stamp%u", me);
	for (uint64_t i = 0; i < s->steps / 8; i++) {
		hf_file *f = vol_create(s->vol, path);
		struct iovec iov[1];
		size_t n = 1;
		hf_pin_id id = 0;

		memset(b, (int)(1 + (me + i) % 200), sizeof(b));
		if (hf_pwrite(f, b, BLK, 0) != (ssize_t)BLK ||
		    hf_pin(f, 0, BLK, NULL, iov, &n, &id) != 0 || hf_unlink(s->vol, path) != 0)
			spoiled(s, "no stamp");
		hf_close(&f);
		for (int k = 0; id && k < 20; k++) {
			if (memcmp(iov[0].iov_base, b, BLK) != 0)
				spoiled(s, "a held page was reused");
			sched_yield();
		}
		drop(s, id);
	}
	atomic_fetch_sub(&s->workers, 1);
	return NULL;
}

static void *run_lister(void *arg)
{
	struct shared *s = arg;
	struct hf_pin_info p[16];
	struct hf_busy b[16];
	struct hf_statfs sf;
	uint64_t cursor;
	size_t n;

	while (atomic_load(&s->workers)) {
		for (cursor = 0; cursor != UINT64_MAX;) {
			if (hf_pin_list(s->vol, &cursor, p, 16, &n) != 0)
				spoiled(s, "no list of pins");
			for (size_t i = 0; i < n; i++)
				if (p[i].len == 0 || p[i].pin == 0 || p[i].off % BLK)
					spoiled(s, "half a pin was listed");
		}
		for (cursor = 0; cursor != UINT64_MAX;)
			if (hf_busy_list(s->vol, &cursor, b, 16, &n) != 0)
				spoiled(s, "no busy list");
		if (hf_statfs(s->vol, &sf) != 0)
			spoiled(s, "no statfs");
		if (hf_syncfs(s->vol) != 0)
			spoiled(s, "no sync");
	}
	return NULL;
}

static void *run_waiter(void *arg)
{
	struct shared *s = arg;
	struct vol_rand r = my_rand(s);

	while (atomic_load(&s->workers)) {
		int err = vol_below(&r, 2) ? hf_wait_idle(s->f[vol_below(&r, FILES)], 100000)
					   : hf_wait_idle_volume(s->vol, 100000);

		if (err != 0 && err != -ETIMEDOUT)
			spoiled(s, "a wait failed");
	}
	return NULL;
}

static void test_mix(void)
{
	static void *(*const run[])(void *) = {run_worker,  run_worker, run_worker, run_stamper,
					       run_stamper, run_lister, run_waiter};
	struct shared *s = calloc(1, sizeof(*s));
	pthread_t t[HF_COUNT(run)];
	struct hf_statfs sf;
	uint64_t used;

	s->vol = vol_memory(48 * MIB);
	s->steps = getenv("HF_TEST_SHORT") ? 300 : 6000;
	s->workers = 5;
	used = vol_used(s->vol);
	for (unsigned i = 0; i < FILES; i++) {
		char path[8];

		snprintf(path, sizeof(path), "/%u", i);
		s->f[i] = vol_create(s->vol, path);
	}
	for (size_t i = 0; i < HF_COUNT(run); i++)
		pthread_create(&t[i], NULL, run[i], s);
	for (size_t i = 0; i < HF_COUNT(run); i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < BOX; i++)
		drop(s, s->box[i]);
	CU_ASSERT_EQUAL(s->bad, 0);
	CU_ASSERT_EQUAL(pin_count(&s->vol->fs), 0);
	OK(hf_wait_idle_volume(s->vol, 0));
	for (unsigned i = 0; i < FILES; i++) {
		OK(hf_ftruncate(s->f[i], 0));
		hf_close(&s->f[i]);
	}
	OK(hf_syncfs(s->vol));
	OK(hf_statfs(s->vol, &sf));
	CU_ASSERT_EQUAL(sf.blocks_busy_pinned, 0);
	CU_ASSERT(sf.blocks_used <= used + 64);
	OK(hf_unmount(&s->vol));
	free(s);
}

/* ---- one pin, two who drop it: one of them does */

struct race {
	hf_volume *vol;
	_Atomic uint64_t id; /* UINT64_MAX: the end */
	_Atomic uint32_t won, done;
};

static void drop_once(struct race *r, uint64_t id)
{
	if (hf_unpin(r->vol, id) == 0)
		atomic_fetch_add(&r->won, 1);
	atomic_fetch_add(&r->done, 1);
}

/* Spins: it has to be awake when the pin comes. */
static void *run_dropper(void *arg)
{
	struct race *r = arg;
	uint64_t id, last = 0;

	for (uint64_t spins = 0;; spins++) {
		id = atomic_load(&r->id);
		if (id == UINT64_MAX)
			return NULL;
		if (id != last)
			drop_once(r, id);
		else if (spins % 4096 == 0)
			sched_yield();
		last = id;
	}
}

static void test_dropped_once(void)
{
	uint64_t rounds = getenv("HF_TEST_SHORT") ? 200 : 20000;
	struct race r = {.vol = vol_memory(32 * MIB)};
	hf_file *f = vol_create(r.vol, "/f");
	pthread_t t;
	hf_pin_id id;

	GET(3, hf_pwrite(f, "abc", 3, BLK));
	pthread_create(&t, NULL, run_dropper, &r);
	for (uint64_t i = 0; i < rounds && r.won == i; i++) {
		OK(hf_pin(f, BLK, 3, NULL, NULL, NULL, &id));
		atomic_store(&r.id, id);
		for (uint64_t k = i % 64; k; k--) /* it takes the other a while to see it */
			atomic_load(&r.done);
		drop_once(&r, id);
		while (atomic_load(&r.done) != 2 * (i + 1))
			sched_yield();
	}
	CU_ASSERT_EQUAL(r.won, rounds);
	atomic_store(&r.id, UINT64_MAX);
	pthread_join(t, NULL);
	hf_close(&f);
	OK(hf_unmount(&r.vol));
}

/* ---- a pin is listed as it is, or not at all */

static void *run_two_faces(void *arg)
{
	struct shared *s = arg;
	struct hf_pin_options o = {.struct_size = sizeof(o)};
	hf_pin_id id;

	/* On a busy machine the other thread may not have had its turn by then. */
	for (uint64_t i = 0; i < s->steps || (!atomic_load(&s->seen) && i < s->steps * 1000); i++) {
		o.tag = i % 2 ? "odd" : "even";
		if (hf_pin(s->f[0], i % 2, 2 + i % 2, &o, NULL, NULL, &id) != 0 ||
		    hf_unpin(s->vol, id) != 0)
			spoiled(s, "no pin");
	}
	atomic_fetch_sub(&s->workers, 1);
	return NULL;
}

static void test_listed_whole(void)
{
	struct shared *s = calloc(1, sizeof(*s));
	struct hf_pin_info p[4];
	pthread_t t;

	s->vol = vol_memory(32 * MIB);
	s->steps = getenv("HF_TEST_SHORT") ? 2000 : 300000;
	s->workers = 1;
	s->f[0] = vol_create(s->vol, "/f");
	GET(8, hf_pwrite(s->f[0], "12345678", 8, 0));
	pthread_create(&t, NULL, run_two_faces, s);
	while (atomic_load(&s->workers)) {
		uint64_t cursor = 0;
		size_t n;

		OK(hf_pin_list(s->vol, &cursor, p, 4, &n));
		atomic_fetch_add(&s->seen, n);
		for (size_t i = 0; i < n; i++)
			if (p[i].len != 2 + p[i].off ||
			    strcmp(p[i].tag, p[i].off ? "odd" : "even") != 0)
				spoiled(s, "half a pin was listed");
	}
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(s->bad, 0);
	CU_ASSERT(s->seen > 0);
	hf_close(&s->f[0]);
	OK(hf_unmount(&s->vol));
	free(s);
}

/* ---- the last pin wakes who waits for the file and for the volume, without a limit */

static void *run_wait_file(void *arg)
{
	return (void *)(intptr_t)hf_wait_idle(arg, UINT64_MAX);
}

static void *run_wait_volume(void *arg)
{
	return (void *)(intptr_t)hf_wait_idle_volume(arg, UINT64_MAX);
}

static void test_woken(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/f");
	int rounds = getenv("HF_TEST_SHORT") ? 50 : 1000;

	GET(3, hf_pwrite(f, "abc", 3, BLK));
	for (int i = 0; i < rounds; i++) {
		pthread_t t[2];
		void *ret[2];
		hf_pin_id id;

		OK(hf_pin(f, BLK, 3, NULL, NULL, NULL, &id));
		pthread_create(&t[0], NULL, run_wait_file, f);
		pthread_create(&t[1], NULL, run_wait_volume, vol);
		if (i % 3 == 0)
			usleep(200);
		OK(hf_unpin(vol, id));
		pthread_join(t[0], &ret[0]);
		pthread_join(t[1], &ret[1]);
		CU_ASSERT(ret[0] == NULL && ret[1] == NULL);
	}
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* ---- a forced unmount while others are in calls that have no handle (rule B3) */

static int call_any(hf_volume *vol, unsigned what, unsigned round)
{
	struct hf_how wait = {.struct_size = sizeof(wait), .pinned = HF_PINNED_WAIT};
	struct hf_pin_info pin;
	struct hf_busy busy;
	struct hf_statfs sf;
	struct hf_stat st;
	uint64_t cursor = 0;
	hf_file *f = NULL;
	char path[32];
	size_t n;
	int err;

	snprintf(path, sizeof(path), "/%u-%u", what, round);
	switch (what) {
	case 0:
		return hf_mkdir(vol, path, 0755);
	case 1:
		return hf_stat(vol, "/d", &st);
	case 2:
		return hf_statfs(vol, &sf);
	case 3:
		err = hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f);
		return err ? err : hf_close(&f);
	case 4:
		return hf_pin_list(vol, &cursor, &pin, 1, &n);
	case 5:
		return hf_busy_list(vol, &cursor, &busy, 1, &n);
	case 6:
		return hf_wait_idle_volume(vol, 0);
	default:
		err = hf_unlink_how(vol, path, &wait);
		return err == -ENOENT ? 0 : err;
	}
}

#define CALLS 8u

struct caller {
	hf_volume *vol;
	unsigned what;
	_Atomic unsigned round;
	int err;
	pthread_t thread;
};

static void *calling(void *arg)
{
	struct caller *c = arg;

	while (c->err == 0)
		c->err = call_any(c->vol, c->what, atomic_fetch_add(&c->round, 1));
	return NULL;
}

static void test_force_under_calls(void)
{
	for (int round = 0; round < (getenv("HF_TEST_SHORT") ? 3 : 30); round++) {
		hf_volume *vol = vol_memory(16 * MIB);
		struct caller c[CALLS] = {0};

		OK(hf_mkdir(vol, "/d", 0755));
		for (unsigned i = 0; i < CALLS; i++) {
			c[i].vol = vol;
			c[i].what = i;
			CU_ASSERT_EQUAL_FATAL(pthread_create(&c[i].thread, NULL, calling, &c[i]), 0);
		}
		for (unsigned i = 0; i < CALLS; i++)
			while (atomic_load(&c[i].round) < 3)
				sched_yield();
		OK(hf_unmount_force(vol));
		for (unsigned i = 0; i < CALLS; i++) {
			pthread_join(c[i].thread, NULL);
			/* It was told, or came when it was gone. */
			CU_ASSERT(c[i].err == -ESHUTDOWN || c[i].err == -EBADF ||
				  c[i].err == -ENOSPC);
		}
	}
}

/* ---- unmount right after the last unpin, while who waited for it is on its way out */

static void *unlinking(void *arg)
{
	struct hf_how wait = {
	    .struct_size = sizeof(wait), .pinned = HF_PINNED_WAIT, .timeout_ns = UINT64_MAX};
	struct caller *c = arg;

	c->err = hf_unlink_how(c->vol, "/f", &wait);
	return NULL;
}

static uint64_t busy_blocks(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	return s.blocks_busy_pinned;
}

static void test_unmount_after_unpin(void)
{
	for (int round = 0; round < (getenv("HF_TEST_SHORT") ? 10 : 300); round++) {
		struct caller c = {.vol = vol_memory(16 * MIB)};
		hf_file *f = vol_create(c.vol, "/f");
		hf_volume *vol = c.vol;
		uint8_t buf[BLK] = {1};
		hf_pin_id pin;
		int err;

		GET(BLK, hf_pwrite(f, buf, BLK, 0));
		OK(hf_pin(f, 0, BLK, NULL, NULL, NULL, &pin));
		OK(hf_close(&f));
		CU_ASSERT_EQUAL_FATAL(pthread_create(&c.thread, NULL, unlinking, &c), 0);
		while (busy_blocks(vol) == 0)
			sched_yield();
		OK(hf_unpin(vol, pin));
		do {
			err = hf_unmount(&vol);
		} while (err == -EBUSY);
		OK(err);
		pthread_join(c.thread, NULL);
		OK(c.err);
	}
}

static const struct hf_case cases[] = {
    {"everybody at once", test_mix},
    {"a pin is dropped once", test_dropped_once},
    {"a pin is listed whole", test_listed_whole},
    {"the last pin wakes who waits", test_woken},
    {"a forced unmount under calls", test_force_under_calls},
    {"unmount after the last unpin", test_unmount_after_unpin},
};

int main(void)
{
	return hf_run_suite("pin_threads", cases, HF_COUNT(cases));
}
