/* Views and everybody else at once. */
#include "file/volume.h"
#include "pin/view.h"
#include "view_vol.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define SLOTS 8u

static unsigned rounds_of(unsigned full)
{
	return getenv("HF_TEST_SHORT") ? full / 10 : full;
}

/* ---- slot i of the file holds 0 or 0x10 + i and nothing else; a second file, which comes and goes
 * on the same frames, holds 0xff. Whoever sees another byte sees a page that is not his. */

struct world {
	hf_volume *vol;
	hf_file *f;
	uint8_t *p;
	unsigned rounds;
	_Atomic unsigned wrong, segv, bus, seen;
};

struct actor {
	struct world *w;
	struct vol_rand r;
};

static uint8_t stamp(uint64_t slot)
{
	return (uint8_t)(0x10 + slot);
}

static void judge(struct world *w, uint64_t slot, int sig, uint8_t b)
{
	if (sig == SIGSEGV)
		atomic_fetch_add(&w->segv, 1);
	else if (sig == SIGBUS)
		atomic_fetch_add(&w->bus, 1);
	else if (b != 0 && b != stamp(slot))
		atomic_fetch_add(&w->wrong, 1);
	else
		atomic_fetch_add(&w->seen, 1);
}

static void touch_one(struct actor *a, uint8_t *view)
{
	uint64_t slot = vol_below(&a->r, SLOTS), off = vol_below(&a->r, FRM);
	uint8_t b = 0;

	if (vol_below(&a->r, 2))
		judge(a->w, slot, touch_write(SLOT(view, slot) + off, stamp(slot)), 0);
	else
		judge(a->w, slot, touch_read(SLOT(view, slot) + off, &b), b);
}

static void *toucher(void *arg)
{
	struct actor *a = arg;

	for (unsigned i = 0; i < a->w->rounds * 20; i++)
		touch_one(a, a->w->p);
	return NULL;
}

/* Views come and go. */
static void *mapper(void *arg)
{
	struct actor *a = arg;
	hf_view *v;
	uint8_t *p;

	for (unsigned i = 0; i < a->w->rounds; i++) {
		p = view_at(a->w->f, 0, SLOTS * FRM, VIEW_RW, WAIT_NONE, &v);
		for (unsigned k = 0; k < 8; k++)
			touch_one(a, p);
		if (hf_view_unmap(&v))
			atomic_fetch_add(&a->w->wrong, 1);
	}
	return NULL;
}

static bool may_be(int64_t ret)
{
	return ret >= 0 || ret == -ENOSPC || ret == -EFAULT;
}

/* Cuts, punches, allocates. */
static void *cutter(void *arg)
{
	struct actor *a = arg;
	struct world *w = a->w;
	int64_t ret = 0;

	for (unsigned i = 0; i < w->rounds; i++) {
		uint64_t off = vol_below(&a->r, SLOTS * FRM), len = 1 + vol_below(&a->r, FRM);

		switch (vol_below(&a->r, 5)) {
		case 0:
			ret = hf_ftruncate(w->f, off);
			break;
		case 1:
			ret = hf_ftruncate(w->f, SLOTS * FRM);
			break;
		case 2:
			ret = hf_fallocate(w->f, 0, off, len);
			break;
		default:
			ret = hf_fallocate(w->f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
					   len);
		}
		if (!may_be(ret) || (i % 16 == 0 && hf_fsync(w->f)))
			atomic_fetch_add(&w->wrong, 1);
	}
	return NULL;
}

/* Writes and reads, with buffers of his own and in the view. */
static void *writer(void *arg)
{
	struct actor *a = arg;
	struct world *w = a->w;
	uint8_t *own = malloc(FRM);
	int64_t ret;

	for (unsigned i = 0; i < w->rounds; i++) {
		uint64_t slot = vol_below(&a->r, SLOTS), off = vol_below(&a->r, FRM);
		uint64_t len = 1 + vol_below(&a->r, FRM - off),
			 from = vol_below(&a->r, FRM - len + 1);

		memset(own, stamp(slot), len);
		switch (vol_below(&a->r, 4)) {
		case 0:
			ret = hf_pwrite(w->f, own, len, slot * FRM + off);
			break;
		case 1: /* of the same slot, so that the stamps are right */
			ret = hf_pwrite(w->f, SLOT(w->p, slot) + from, len, slot * FRM + off);
			break;
		case 2:
			ret = hf_pread(w->f, SLOT(w->p, slot) + from, len, slot * FRM + off);
			break;
		default:
			ret = hf_pread(w->f, own, len, slot * FRM + off);
			for (int64_t k = 0; k < ret; k += 997)
				judge(w, slot, 0, own[k]);
		}
		if (!may_be(ret))
			atomic_fetch_add(&w->wrong, 1);
	}
	free(own);
	return NULL;
}

/* What is pinned is nobody else's, in the file or not. */
static void pin_look(struct world *w, const struct iovec *iov, size_t n, uint64_t off, bool store)
{
	for (size_t i = 0; i < n; off += iov[i++].iov_len)
		for (size_t k = 0; k < iov[i].iov_len; k += 1021) {
			uint8_t *b = (uint8_t *)iov[i].iov_base + k;

			judge(w, (off + k) / FRM, 0, __atomic_load_n(b, __ATOMIC_RELAXED));
			if (store)
				__atomic_store_n(b, stamp((off + k) / FRM), __ATOMIC_RELAXED);
		}
}

static void *pinner(void *arg)
{
	struct hf_pin_options o = {.struct_size = sizeof(o)};
	struct actor *a = arg;
	struct world *w = a->w;
	struct iovec iov[64];
	hf_pin_id pin;

	for (unsigned i = 0; i < w->rounds; i++) {
		uint64_t off = vol_below(&a->r, SLOTS * FRM), len = 1 + vol_below(&a->r, 100000);
		size_t n = HF_COUNT(iov);

		o.flags = vol_below(&a->r, 2) ? HF_PIN_WRITE | HF_PIN_ALLOC : 0;
		if (hf_pin(w->f, off, len, &o, iov, &n, &pin))
			continue; /* holes, the end of file, no space */
		pin_look(w, iov, n, off, o.flags != 0);
		sched_yield();
		pin_look(w, iov, n, off, o.flags != 0);
		if (hf_unpin(w->vol, pin))
			atomic_fetch_add(&w->wrong, 1);
	}
	return NULL;
}

static void *stranger(void *arg)
{
	struct actor *a = arg;
	uint8_t *buf = malloc(FRM);
	hf_file *g = NULL;

	memset(buf, 0xff, FRM);
	for (unsigned i = 0; i < a->w->rounds; i++) {
		if (!g)
			OK(hf_open(a->w->vol, "stranger", HF_O_RDWR | HF_O_CREAT, 0600, &g));
		if (!may_be(hf_append(g, buf, FRM - vol_below(&a->r, 5) * BLK, NULL)) ||
		    vol_below(&a->r, 5) == 0) {
			OK(hf_unlink(a->w->vol, "stranger"));
			OK(hf_close(&g));
		}
	}
	if (g)
		OK(hf_close(&g));
	free(buf);
	return NULL;
}

static void test_everybody(void)
{
	static void *(*const what[])(void *) = {toucher, toucher, mapper,  cutter,
						writer,	 pinner,  stranger};
	struct world w = {.rounds = rounds_of(1500)};
	struct actor actors[HF_COUNT(what)];
	pthread_t t[HF_COUNT(what)];
	struct hf_check_options co = {.struct_size = sizeof(co), .finding = vol_print_finding};
	struct hf_check_result cr;
	hf_view *v;

	w.vol = vol_memory(48 * MIB);
	w.f = vol_create(w.vol, "a");
	OK(hf_ftruncate(w.f, SLOTS * FRM));
	w.p = view_at(w.f, 0, SLOTS * FRM, VIEW_RW, WAIT_NONE, &v);
	for (size_t i = 0; i < HF_COUNT(what); i++) {
		actors[i] = (struct actor){.w = &w, .r = {.s = 1000 + i}};
		CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, what[i], &actors[i]), 0);
	}
	for (size_t i = 0; i < HF_COUNT(what); i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(w.wrong, 0);
	CU_ASSERT_EQUAL(w.segv, 0);
	CU_ASSERT(w.seen > 0);
	OK(hf_view_unmap(&v));
	OK(hf_close(&w.f));
	vol_used(w.vol);
	OK(hf_check_mounted(w.vol, &co, &cr));
	CU_ASSERT_EQUAL(cr.findings, 0);
	OK(hf_unmount(&w.vol));
}

/* ---- A writes from a page of B while B writes from a page of A, and a third takes the pages away:
 * the deadlock of rule T8, and no count is ever short. */

struct cross {
	hf_file *f[2];
	uint8_t *p[2];
	unsigned rounds;
	_Atomic unsigned done, wrong;
};

struct cross_arg {
	struct cross *c;
	unsigned me;
};

static void *cross_write(void *arg)
{
	struct cross_arg *a = arg;
	struct cross *c = a->c;

	for (unsigned i = 0; i < c->rounds; i++) {
		uint64_t off = i % 3 * (FRM / 2), len = FRM + i % 5 * 1000;

		ssize_t put = hf_pwrite(c->f[a->me], c->p[!a->me] + off, len, off);
		ssize_t got = put == (ssize_t)len ? hf_pread(c->f[a->me], c->p[!a->me] + off, len, off) : (ssize_t)len;

		if (put == (ssize_t)len && got == (ssize_t)len)
			continue;
		atomic_fetch_add(&c->wrong, 1);
		fprintf(stderr, "%llu bytes at %llu: written %zd, read %zd (%s)\n", (unsigned long long)len, (unsigned long long)off, put, got,
			hf_errormsg());
	}
	atomic_fetch_add(&c->done, 1);
	return NULL;
}

static void rule_T8_two_files_two_threads(void)
{
	struct cross c = {.rounds = rounds_of(600)};
	struct cross_arg arg[2] = {{&c, 0}, {&c, 1}};
	hf_volume *vol = vol_memory(48 * MIB);
	uint8_t *buf = malloc(3 * FRM);
	pthread_t t[2];
	hf_view *v[2];

	c.f[0] = view_file(vol, "a", 3, 7);
	c.f[1] = view_file(vol, "b", 3, 7);
	memset(buf, 9, 3 * FRM);
	for (unsigned i = 0; i < 2; i++) {
		GET(3 * FRM, hf_pwrite(c.f[i], buf, 3 * FRM, 0));
		c.p[i] = view_at(c.f[i], 0, 3 * FRM, VIEW_RW, WAIT_NONE, &v[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, cross_write, &arg[i]), 0);
	for (unsigned i = 0; atomic_load(&c.done) < 2; i++) {
		struct inode *in = c.f[i % 2]->in;

		rwl_wrlock(&in->layout);
		OK(view_revoke(in, i % 3 * FRM, (i % 3 + 1) * FRM));
		rwl_wrunlock(&in->layout);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(c.wrong, 0);
	for (unsigned i = 0; i < 2; i++) {
		GET(3 * FRM, hf_pread(c.f[i], buf, 3 * FRM, 0));
		CU_ASSERT_EQUAL(buf[0], 9);
		CU_ASSERT_EQUAL(buf[3 * FRM - 1], 9);
		OK(hf_view_unmap(&v[i]));
		OK(hf_close(&c.f[i]));
	}
	OK(hf_unmount(&vol));
	free(buf);
}

/* A page that is taken away and comes back before the copy asks whose address that was: the buffer faulted, not the media. */
static void rule_T8_revoked_is_not_bad_media(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = view_file(vol, "a", 1, 7);
	hf_view *v;
	uint8_t *p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);

	CU_ASSERT_EQUAL(touch_get(p), 7);
	CU_ASSERT_EQUAL(mprotect(p, FRM, PROT_NONE), 0); /* the view believes that it is mapped */
	CU_ASSERT_EQUAL(pm_guarded_write_nt(vol->fs.pm, MOFF(8 * FRM), p, 64), -EFAULT);
	CU_ASSERT_EQUAL(mprotect(p, FRM, PROT_READ | PROT_WRITE), 0);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(vol->fs.pm, MOFF(8 * FRM), p, 64), 0);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* ---- pins: a touch that has to collapse */

struct pinned {
	hf_volume *vol;
	hf_file *f;
	hf_view *v;
	uint8_t *p;
	hf_pin_id pin;
	_Atomic int sig;
	_Atomic bool touching;
};

/* Slot 0: one block, pinned. */
static void pinned_begin(struct pinned *x, uint64_t wait_ns)
{
	uint8_t block[4096];

	memset(x, 0, sizeof(*x));
	x->sig = -1;
	memset(block, 5, sizeof(block));
	x->vol = vol_memory(16 * MIB);
	x->f = vol_create(x->vol, "a");
	GET(4096, hf_pwrite(x->f, block, 4096, 0));
	OK(hf_ftruncate(x->f, FRM));
	OK(hf_pin(x->f, 0, 4096, NULL, NULL, NULL, &x->pin));
	x->p = view_at(x->f, 0, FRM, VIEW_RW, wait_ns, &x->v);
}

static void pinned_end(struct pinned *x)
{
	OK(hf_view_unmap(&x->v));
	OK(hf_close(&x->f));
	OK(hf_unmount(&x->vol));
}

static void *pinned_touch(void *arg)
{
	struct pinned *x = arg;
	uint8_t b = 0;
	int sig;

	atomic_store(&x->touching, true);
	sig = touch_read(x->p, &b);
	atomic_store(&x->sig, sig ? sig : b);
	return NULL;
}

static void rule_T7_touch_waits_for_a_strangers_pin(void)
{
	struct pinned x;
	pthread_t t;

	pinned_begin(&x, 1000 * SECOND);
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, pinned_touch, &x), 0);
	while (!atomic_load(&x.touching))
		usleep(1000);
	usleep(50 * 1000);
	CU_ASSERT_EQUAL(x.sig, -1);
	/* Nothing is held meanwhile: the holder gets at the rest of the file. */
	OK(hf_ftruncate(x.f, 3 * FRM));
	CU_ASSERT_EQUAL(touch_write(x.p + FRM - 1, 1), SIGBUS); /* his own pin: not waited for */
	FAILS(EBUSY, hf_view_populate(x.v, 0, 1, false));
	OK(hf_unpin(x.vol, x.pin));
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(x.sig, 5);
	CU_ASSERT_TRUE(view_is_huge(x.f, 0));
	pinned_end(&x);
}

static void rule_T7_touch_gives_up_at_the_deadline(void)
{
	struct pinned x;
	pthread_t t;

	pinned_begin(&x, SECOND / 20);
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, pinned_touch, &x), 0);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(x.sig, SIGBUS);
	CU_ASSERT_FALSE(view_is_huge(x.f, 0));
	OK(hf_unpin(x.vol, x.pin));
	CU_ASSERT_EQUAL(touch_get(x.p), 5);
	pinned_end(&x);
}

static void rule_T4_pin_fills_a_hole(void)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE | HF_PIN_ALLOC};
	struct pinned x;
	struct iovec iov;
	hf_pin_id pin;
	size_t n = 1;

	pinned_begin(&x, WAIT_NONE);
	OK(hf_unpin(x.vol, x.pin));
	OK(hf_ftruncate(x.f, 2 * FRM));
	OK(hf_view_unmap(&x.v));
	x.p = view_at(x.f, 0, 2 * FRM, VIEW_RW, WAIT_NONE, &x.v);
	CU_ASSERT_EQUAL(touch_get(SLOT(x.p, 1)), 0);
	OK(hf_pin(x.f, FRM, FRM, &o, &iov, &n, &pin));
	CU_ASSERT_EQUAL(n, 1);
	memset(iov.iov_base, 8, FRM);
	CU_ASSERT_EQUAL(touch_get(SLOT(x.p, 1)), 8); /* a huge leaf: pinned or not */
	OK(hf_unpin(x.vol, pin));
	pinned_end(&x);
}

/* ---- a volume that is checked holds up the touches of its own views only */

struct frozen {
	uint8_t *p;
	_Atomic bool touching, done;
	int sig;
};

static void *frozen_touch(void *arg)
{
	struct frozen *x = arg;

	atomic_store(&x->touching, true);
	x->sig = touch_write(x->p, 1);
	atomic_store(&x->done, true);
	return NULL;
}

static void rule_T7_frozen_volume_holds_up_nobody_else(void)
{
	hf_volume *vol[2] = {vol_memory(16 * MIB), vol_memory(16 * MIB)};
	struct frozen x[2] = {0};
	hf_file *f[2];
	hf_view *v[2];
	pthread_t t[2];

	for (int i = 0; i < 2; i++) {
		f[i] = vol_create(vol[i], "a");
		OK(hf_ftruncate(f[i], FRM));
		x[i].p = view_at(f[i], 0, FRM, VIEW_RW, WAIT_NONE, &v[i]);
	}
	volume_freeze(vol[0]);
	CU_ASSERT_EQUAL(touch_get(x[1].p),
			-SIGSEGV); /* who froze one is not made to wait for himself */
	CU_ASSERT_EQUAL(pthread_create(&t[0], NULL, frozen_touch, &x[0]), 0);
	while (!atomic_load(&x[0].touching))
		usleep(1000);
	usleep(20 * 1000);
	CU_ASSERT_EQUAL(pthread_create(&t[1], NULL, frozen_touch, &x[1]), 0);
	pthread_join(t[1], NULL);
	CU_ASSERT_EQUAL(x[1].sig, 0);
	CU_ASSERT_FALSE(x[0].done);
	volume_thaw(vol[0]);
	pthread_join(t[0], NULL);
	CU_ASSERT_EQUAL(x[0].sig, 0);
	for (int i = 0; i < 2; i++) {
		OK(hf_view_unmap(&v[i]));
		OK(hf_close(&f[i]));
		OK(hf_unmount(&vol[i]));
	}
}

/* ---- a handler of the program interrupts a touch that waits, and does not come back */

static sigjmp_buf leave_env;

static void leave(int sig)
{
	siglongjmp(leave_env, sig);
}

static void *pin_from_elsewhere(void *arg)
{
	struct pinned *x = arg;

	OK(hf_pin(x->f, 0, 4096, NULL, NULL, NULL, &x->pin));
	return NULL;
}

static void rule_T7_handler_may_leave_by_siglongjmp(void)
{
	struct sigaction sa = {.sa_handler = leave}, old;
	struct pinned x;
	pthread_t t;

	pinned_begin(&x, UINT64_MAX);
	OK(hf_unpin(x.vol, x.pin));
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, pin_from_elsewhere, &x), 0);
	pthread_join(t, NULL);
	sigaction(SIGALRM, &sa, &old);
	if (sigsetjmp(leave_env, 1) == 0) {
		ualarm(50 * 1000, 0);
		CU_ASSERT_EQUAL(*(volatile uint8_t *)x.p, 0); /* waits for the pin for ever */
		CU_FAIL("the touch came back");
	}
	sigaction(SIGALRM, &old, NULL);
	CU_ASSERT_EQUAL(lock_depth(), 0);
	OK(hf_unpin(x.vol, x.pin));
	CU_ASSERT_EQUAL(touch_get(x.p), 5);
	pinned_end(&x); /* does not wait for a touch that is gone */
}

static const struct hf_case cases[] = {
    {"everybody", test_everybody},
    {"rule_T8_two_files_two_threads", rule_T8_two_files_two_threads},
    {"rule_T8_revoked_is_not_bad_media", rule_T8_revoked_is_not_bad_media},
    {"rule_T7_touch_waits_for_a_strangers_pin", rule_T7_touch_waits_for_a_strangers_pin},
    {"rule_T7_touch_gives_up_at_the_deadline", rule_T7_touch_gives_up_at_the_deadline},
    {"rule_T4_pin_fills_a_hole", rule_T4_pin_fills_a_hole},
    {"rule_T7_frozen_volume_holds_up_nobody_else", rule_T7_frozen_volume_holds_up_nobody_else},
    {"rule_T7_handler_may_leave_by_siglongjmp", rule_T7_handler_may_leave_by_siglongjmp},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_threads", cases, HF_COUNT(cases));
}
