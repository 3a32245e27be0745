/* Leases: who is told, when, how often, and who waits for whom. */
#include "file_vol.h"

#include "file/volume.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define EVENTS 8

struct holder {
	_Atomic int calls;
	struct hf_lease_event event[EVENTS]; /* what each call was told */
	_Atomic int before, after;	     /* steps of the callback */
	sem_t started, go_on;
	bool blocks, unpins, truncates;
	hf_pin_id id;
	hf_file *f;
	_Atomic int64_t truncated, unpinned; /* what the callback's calls said */
	pthread_t thread;
};

static void told(void *ctx, hf_volume *vol, const struct hf_lease_event *event)
{
	struct holder *h = ctx;
	hf_pin_id pin = event->pin;
	int call = atomic_load(&h->calls);

	if (call < EVENTS)
		h->event[call] = *event;
	atomic_fetch_add(&h->calls, 1);
	h->thread = pthread_self();
	sem_post(&h->started);
	atomic_fetch_add(&h->before, 1);
	if (h->blocks)
		sem_wait(&h->go_on);
	if (h->truncates) {
		struct hf_how how = {
		    .struct_size = sizeof(how), .pinned = HF_PINNED_WAIT, .timeout_ns = UINT64_MAX};

		atomic_store(&h->truncated, hf_ftruncate_how(h->f, 0, &how));
		hf_ftruncate(h->f, BLK / 2);
	}
	if (h->unpins)
		atomic_store(&h->unpinned, hf_unpin(vol, pin));
	atomic_fetch_add(&h->after, 1);
}

static void holder_init(struct holder *h)
{
	memset(h, 0, sizeof(*h));
	sem_init(&h->started, 0, 0);
	sem_init(&h->go_on, 0, 0);
}

static void lease(hf_volume *vol, hf_file *f, uint64_t off, uint64_t len, uint64_t deadline_ns,
		  struct holder *h)
{
	struct hf_lease_options o = {
	    .struct_size = sizeof(o), .fn = told, .ctx = h, .deadline_ns = deadline_ns};

	h->f = f;
	OK(hf_pin(f, off, len, NULL, NULL, NULL, &h->id));
	OK(hf_lease(vol, h->id, &o));
}

static hf_file *some_file(hf_volume *vol, const char *path, uint64_t blocks)
{
	hf_file *f = vol_create(vol, path);
	uint8_t b[BLK];

	memset(b, 'x', sizeof(b));
	for (uint64_t i = 0; i < blocks; i++)
		GET(BLK, hf_pwrite(f, b, BLK, i * BLK));
	return f;
}

static int truncate_how(hf_file *f, uint64_t size, enum hf_pinned mode, uint64_t timeout_ns)
{
	struct hf_how how = {.struct_size = sizeof(how), .pinned = mode, .timeout_ns = timeout_ns};

	return hf_ftruncate_how(f, size, &how);
}

#define SECOND 1000000000ull

/* The callbacks so far have run: they run in order, one after the other. */
static void settle(hf_volume *vol)
{
	hf_file *f = some_file(vol, "/settle", 1);
	struct holder h;

	holder_init(&h);
	lease(vol, f, 0, 1, 0, &h);
	OK(hf_ftruncate(f, 0));
	sem_wait(&h.started);
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unlink(vol, "/settle"));
}

static void test_told_once(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 20), *g = some_file(vol, "/g", 4);
	struct hf_lease_options o = {.struct_size = sizeof(o), .fn = told};
	struct holder in, out, part;
	struct hf_pin_info p[4];
	uint64_t cursor = 0;
	size_t n;

	holder_init(&in);
	holder_init(&out);
	holder_init(&part);
	lease(vol, f, 8 * BLK, 4 * BLK, 0, &in);
	lease(vol, f, 0, 2 * BLK, 0, &out);
	lease(vol, f, 2 * BLK, 8 * BLK, 0, &part);
	o.ctx = &in;
	FAILS(EALREADY, hf_lease(vol, in.id, &o));
	FAILS(EINVAL, hf_lease(vol, 999999, &o));
	o.fn = NULL;
	FAILS(EINVAL, hf_lease(vol, in.id, &o));
	OK(hf_pin_list(vol, &cursor, p, 4, &n));
	CU_ASSERT(n == 3 && p[0].leased && p[1].leased && p[2].leased);
	OK(hf_ftruncate(g, 0)); /* another file's */
	OK(hf_ftruncate(f, 40 * BLK));
	settle(vol);
	CU_ASSERT_EQUAL(in.calls + out.calls + part.calls, 0);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * BLK, BLK));
	settle(vol);
	CU_ASSERT_EQUAL(in.calls, 1);
	CU_ASSERT_EQUAL(part.calls, 1);
	CU_ASSERT_EQUAL(out.calls, 0);
	CU_ASSERT(!pthread_equal(in.thread, pthread_self()));
	/* its blocks 8, 10, 11 are in the file still */
	OK(hf_ftruncate(f, 11 * BLK));
	settle(vol);
	CU_ASSERT_EQUAL(in.calls, 2);
	CU_ASSERT_EQUAL(part.calls, 1);
	OK(hf_ftruncate(f, 0));
	settle(vol);
	CU_ASSERT_EQUAL(in.calls, 3);
	CU_ASSERT_EQUAL(part.calls, 2);
	CU_ASSERT_EQUAL(out.calls, 1);
	/* They hold nothing that is in the file: nobody is told. */
	GET(BLK, hf_pwrite(f, "y", 1, 0) * (int64_t)BLK);
	OK(hf_ftruncate(f, 0));
	settle(vol);
	CU_ASSERT_EQUAL(in.calls + out.calls + part.calls, 6);
	OK(hf_unpin(vol, in.id));
	OK(hf_unpin(vol, out.id));
	OK(hf_unpin(vol, part.id));
	hf_close(&f);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

/* What the callbacks are told: each operation's own, although they come late. */
static void test_event(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 20);
	struct hf_lease_event *e;
	struct holder h, front;

	holder_init(&front);
	holder_init(&h);
	front.blocks = true;
	lease(vol, f, 18 * BLK, BLK, 0, &front);
	lease(vol, f, 2 * BLK, 10 * BLK, 1000, &h);
	OK(hf_ftruncate(f, 17 * BLK + 5)); /* the notifier is stuck from here on */
	sem_wait(&front.started);
	OK(hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * BLK, 2 * BLK + 5));
	FAILS(EBUSY, truncate_how(f, 6 * BLK + 5, HF_PINNED_FAIL, 0));
	OK(hf_ftruncate(f, 10 * BLK));
	hf_close(&f);
	OK(hf_unlink(vol, "/f"));
	CU_ASSERT_EQUAL(h.calls, 0);
	sem_post(&front.go_on);
	settle(vol);
	CU_ASSERT_EQUAL_FATAL(h.calls, 4);
	e = h.event;
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(e[i].pin, h.id);
	CU_ASSERT(e[0].detached && e[0].mode == HF_PINNED_DELAY);
	CU_ASSERT(e[0].off == 2 * BLK && e[0].len == 2 * BLK);
	CU_ASSERT(!e[1].detached && e[1].mode == HF_PINNED_FAIL);
	CU_ASSERT(e[1].off == 6 * BLK && e[1].off + e[1].len == UINT64_MAX);
	CU_ASSERT(e[2].detached && e[2].mode == HF_PINNED_DELAY);
	CU_ASSERT(e[2].off == 10 * BLK && e[2].off + e[2].len == UINT64_MAX);
	CU_ASSERT(e[3].detached && e[3].off == 0 && e[3].len == UINT64_MAX);
	OK(hf_unpin(vol, h.id));
	OK(hf_unpin(vol, front.id));
	OK(hf_unmount(&vol));
}

struct puncher {
	hf_file *f;
	_Atomic bool stop;
};

static void *run_punches(void *arg)
{
	struct puncher *p = arg;

	while (!atomic_load(&p->stop)) {
		uint8_t b[BLK] = {1};

		if (hf_pwrite(p->f, b, BLK, 0) != (ssize_t)BLK ||
		    hf_fallocate(p->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLK) != 0)
			abort();
	}
	return NULL;
}

/* No operation comes between the pin and its lease: a pin whose blocks have left was told so. */
static void test_from_the_first_instant(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4);
	struct hf_lease_options lo = {.struct_size = sizeof(lo), .fn = told};
	struct hf_pin_options po = {.struct_size = sizeof(po), .lease = &lo};
	unsigned enough = getenv("HF_TEST_SHORT") ? 50 : 2000, busy = 0;
	struct puncher p = {.f = f};
	struct hf_pin_info info;
	hf_pin_id id;
	pthread_t t;

	pthread_create(&t, NULL, run_punches, &p);
	while (busy < enough) {
		struct holder h;
		int err;

		holder_init(&h);
		lo.ctx = &h;
		err = hf_pin(f, 0, BLK, &po, NULL, NULL, &id);
		if (err == -ENODATA)
			continue;
		CU_ASSERT_EQUAL_FATAL(err, 0);
		do
			if (hf_pin_stat(vol, id, &info) != 0 || !info.leased || info.pin != id)
				abort();
		while (info.busy == 0);
		sem_wait(&h.started); /* for ever, if nobody tells */
		busy++;
		OK(hf_unpin(vol, id));
		CU_ASSERT_EQUAL(h.calls, 1);
	}
	atomic_store(&p.stop, true);
	pthread_join(t, NULL);
	lo.fn = NULL;
	FAILS(EINVAL, hf_pin(f, BLK, BLK, &po, NULL, NULL, &id));
	lo = (struct hf_lease_options){.fn = told};
	FAILS(EINVAL, hf_pin(f, BLK, BLK, &po, NULL, NULL, &id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* A lease that is not to be: nothing of it is left. */
static void test_pin_fails(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4);
	struct holder h;
	struct hf_lease_options lo = {.struct_size = sizeof(lo), .fn = told, .ctx = &h};
	struct hf_pin_options po = {.struct_size = sizeof(po), .lease = &lo};
	struct iovec iov[1];
	size_t n = 0;
	hf_pin_id id;

	holder_init(&h);
	FAILS(E2BIG, hf_pin(f, 0, BLK, &po, iov, &n, &id));
	FAILS(EINVAL, hf_pin(f, 0, 9 * BLK, &po, NULL, NULL, &id));
	OK(hf_ftruncate(f, 9 * BLK));
	FAILS(ENODATA, hf_pin(f, 0, 9 * BLK, &po, NULL, NULL, &id));
	OK(hf_ftruncate(f, 0));
	settle(vol);
	CU_ASSERT_EQUAL(h.calls, 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* A hole that a copy makes takes blocks away, as a punch does. */
static void test_copy_tells(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 12), *from = vol_create(vol, "/from");
	struct holder h;

	holder_init(&h);
	OK(hf_ftruncate(from, 12 * BLK));
	GET(1, hf_pwrite(from, "a", 1, 0));
	GET(1, hf_pwrite(from, "b", 1, 6 * BLK));
	lease(vol, f, 0, 9 * BLK, 0, &h);
	GET(9 * BLK, hf_copy_file_range(from, 0, f, 0, 9 * BLK));
	settle(vol);
	CU_ASSERT_EQUAL_FATAL(h.calls, 2);
	CU_ASSERT(h.event[0].detached && h.event[0].mode == HF_PINNED_DELAY);
	CU_ASSERT(h.event[0].off == BLK && h.event[0].len == 5 * BLK);
	CU_ASSERT(h.event[1].off == 7 * BLK && h.event[1].len == 2 * BLK);
	GET(3 * BLK, hf_copy_file_range(from, 9 * BLK, f, 9 * BLK, 3 * BLK));
	settle(vol);
	CU_ASSERT_EQUAL(h.calls, 2); /* none of its blocks */
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	hf_close(&from);
	OK(hf_unmount(&vol));
}

/* FAIL tells, waits for the holder, and then decides. */
static void test_fail_gives_way(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4);
	struct holder h;

	holder_init(&h);
	h.unpins = true;
	lease(vol, f, 0, BLK, 600 * SECOND, &h);
	OK(truncate_how(f, 0, HF_PINNED_FAIL, 0));
	CU_ASSERT_EQUAL(h.calls, 1);
	CU_ASSERT_EQUAL(vol_size(f), 0);
	settle(vol);
	CU_ASSERT_EQUAL(h.unpinned, 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* The deadline holds although the callback never returns; the others go on, too. */
static void rule_T11_callback_never_returns(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4), *g = some_file(vol, "/g", 4);
	struct holder h, other;

	holder_init(&h);
	holder_init(&other);
	h.blocks = true;
	lease(vol, f, 0, BLK, 1000, &h);
	lease(vol, g, 0, BLK, 1000, &other);
	FAILS(EBUSY, truncate_how(f, 0, HF_PINNED_FAIL, 0));
	CU_ASSERT_EQUAL(vol_size(f), 4 * BLK);
	sem_wait(&h.started);
	FAILS(EBUSY, truncate_how(g, 0, HF_PINNED_FAIL, 0)); /* waits its own deadline only */
	OK(hf_ftruncate(f, 0));
	OK(hf_ftruncate(g, 0));
	FAILS(EDEADLK, hf_wait_idle(f, UINT64_MAX));
	CU_ASSERT_EQUAL(h.after, 0);
	CU_ASSERT_EQUAL(other.calls, 0);
	OK(hf_unpin(vol, other.id)); /* not told yet: never told */
	sem_post(&h.go_on);
	sem_wait(&h.started); /* of the truncate */
	sem_post(&h.go_on);
	OK(hf_unpin(vol, h.id));
	settle(vol);
	CU_ASSERT_EQUAL(h.calls, 2);
	CU_ASSERT_EQUAL(h.after, 2);
	CU_ASSERT_EQUAL(other.calls, 0);
	hf_close(&f);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

/* A callback that takes blocks of the same file away does not recurse and cannot wait. */
static void rule_T11_callback_truncates(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4);
	struct holder h;

	holder_init(&h);
	h.truncates = true;
	h.unpins = true;
	lease(vol, f, 0, 2 * BLK, 0, &h);
	OK(hf_ftruncate(f, BLK));
	settle(vol);
	CU_ASSERT_EQUAL(h.truncated, -EDEADLK);
	CU_ASSERT_EQUAL(h.unpinned, 0);
	CU_ASSERT_EQUAL(h.calls, 1);
	CU_ASSERT_EQUAL(vol_size(f), BLK / 2);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

struct unpinner {
	hf_volume *vol;
	hf_pin_id id;
	_Atomic int done;
	int ret;
};

static void *run_unpin(void *arg)
{
	struct unpinner *u = arg;

	u->ret = hf_unpin(u->vol, u->id);
	atomic_store(&u->done, 1);
	return NULL;
}

/* hf_unpin from another thread waits for the callback that runs. */
static void test_unpin_waits(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = some_file(vol, "/f", 4);
	struct unpinner u = {.vol = vol};
	struct holder h;
	pthread_t t;

	holder_init(&h);
	h.blocks = true;
	lease(vol, f, 0, BLK, 0, &h);
	OK(hf_ftruncate(f, 0));
	sem_wait(&h.started);
	u.id = h.id;
	pthread_create(&t, NULL, run_unpin, &u);
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		CU_ASSERT_EQUAL(u.done, 0);
	}
	FAILS(EINVAL, hf_unpin(vol, h.id));
	sem_post(&h.go_on);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(u.ret, 0);
	CU_ASSERT_EQUAL(h.after, 1);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* The callback that drops the last use of a volume that was unmounted by force. */
static void test_last_in_callback(void)
{
	for (int i = 0; i < 20; i++) {
		hf_volume *vol = vol_memory(32 * MIB);
		hf_file *f = some_file(vol, "/f", 4);
		struct holder h;

		holder_init(&h);
		h.blocks = true;
		h.unpins = true;
		lease(vol, f, 0, BLK, 0, &h);
		OK(hf_ftruncate(f, 0));
		sem_wait(&h.started);
		hf_close(&f);
		GET(1, hf_unmount_force(vol));
		sem_post(&h.go_on);
		while (atomic_load(&h.after) == 0)
			usleep(100);
		CU_ASSERT_EQUAL(h.unpinned, 0);
		CU_ASSERT_EQUAL(__atomic_load_n(&vol->item.magic, __ATOMIC_ACQUIRE), POOL_DEAD);
	}
}

static const struct hf_case cases[] = {
    {"who is told, once per operation", test_told_once},
    {"what a callback is told", test_event},
    {"a lease from its first instant", test_from_the_first_instant},
    {"a lease that is not to be", test_pin_fails},
    {"a copy's holes are told of", test_copy_tells},
    {"FAIL gives the holder time", test_fail_gives_way},
    {"rule_T11_callback_never_returns", rule_T11_callback_never_returns},
    {"rule_T11_callback_truncates", rule_T11_callback_truncates},
    {"unpin waits for the callback", test_unpin_waits},
    {"the last use ends in a callback", test_last_in_callback},
};

int main(void)
{
	return hf_run_suite("pin_lease", cases, HF_COUNT(cases));
}
