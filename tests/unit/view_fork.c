/* Views and fork (rule T6). */
#include "file/volume.h"
#include "pin/view.h"
#include "view_vol.h"
#include "base/sanitize.h"

/* The exit code of fn in a child; 200 + signal if it was killed. */
static int in_child(int (*fn)(void *arg), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(arg));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

struct all {
	hf_volume *vol;
	hf_file *f;
	hf_view *v;
	uint8_t *p;
};

static void begin(struct all *a)
{
	a->vol = vol_memory(64 * MIB);
	a->f = view_file(a->vol, "a", 6, 1);
	OK(hf_ftruncate(a->f, 8 * FRM));
	a->p = view_at(a->f, 0, 10 * FRM, VIEW_RW, WAIT_NONE, &a->v);
}

static void end(struct all *a)
{
	OK(hf_view_unmap(&a->v));
	OK(hf_close(&a->f));
	OK(hf_unmount(&a->vol));
}

static int child_touches(void *arg)
{
	struct all *a = arg;
	char c;

	if (vol_mappings())
		return 1;
	if (touch_get(SLOT(a->p, 1)) != -SIGSEGV || touch_get(SLOT(a->p, 2)) != -SIGSEGV ||
	    touch_get(SLOT(a->p, 6)) != -SIGSEGV || touch_get(SLOT(a->p, 9)) != -SIGSEGV)
		return 2;
	if (touch_write(SLOT(a->p, 1), 99) != SIGSEGV)
		return 3;
	if (hf_view_populate(a->v, 0, FRM, true) != -ESTALE ||
	    hf_view_persist(a->v, 0, FRM) != -ESTALE || hf_pread(a->f, &c, 1, 0) != -ESTALE)
		return 4;
	if (hf_view_unmap(&a->v) != -ESTALE || !a->v)
		return 5;
	return 0;
}

static void rule_T6_fork(void)
{
	struct all a;

	begin(&a);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 6)), 0);
	CU_ASSERT_EQUAL(in_child(child_touches, &a), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	CU_ASSERT_EQUAL(touch_write(SLOT(a.p, 2), 7), 0);
	CU_ASSERT_EQUAL(touch_write(SLOT(a.p, 7), 7), 0);
	end(&a);
}

/* No handler of the program: the child dies of it, the parent does not. */
static int child_dies(void *arg)
{
	struct all *a = arg;
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	sigaction(SIGSEGV, &dfl, NULL);
	*(volatile uint8_t *)SLOT(a->p, 1) = 1;
	return 0;
}

static void rule_T6_child_is_killed(void)
{
	struct all a;

	begin(&a);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	CU_ASSERT_EQUAL(in_child(child_dies, &a), 200 + SIGSEGV);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	end(&a);
}

/* ---- a child may have a volume of its own, whatever the parent's threads were doing */

/* gcc 12's AddressSanitizer does not take its allocator's locks at a fork: a child that is born while other threads
 * allocate waits for one of them, now and then. */
#define ALLOCATOR_FORKS_BADLY (HF_ASAN != 0)

struct opener {
	struct all *a;
	_Atomic bool stop;
};

static void *open_and_close(void *arg)
{
	struct opener *m = arg;
	hf_volume *own;
	hf_view *v;
	hf_file *f;

	while (!atomic_load(&m->stop)) {
		own = vol_memory(8 * MIB);
		OK(hf_unmount(&own));
		for (int i = 0; i < 100; i++) {
			OK(hf_open(m->a->vol, "a", HF_O_RDWR, 0, &f));
			view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
			OK(hf_view_unmap(&v));
			OK(hf_close(&f));
		}
	}
	return NULL;
}

static int child_mounts(void *arg)
{
	hf_volume *vol;
	hf_view *v;
	hf_file *f;
	uint8_t *p;

	(void)arg;
	alarm(20);
	vol = vol_memory(8 * MIB);
	f = view_file(vol, "x", 1, 1);
	p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	if (touch_get(p) != 1 || touch_write(p, 2) != 0)
		return 1;
	return hf_view_unmap(&v) || hf_close(&f) || hf_unmount(&vol);
}

static void test_child_has_its_own(void)
{
	unsigned forks = getenv("HF_TEST_SHORT") ? 50 : 300, bad = 0;
	struct all a;
	struct opener m = {.a = &a};
	pthread_t t[3];

	if (ALLOCATOR_FORKS_BADLY)
		return;
	begin(&a);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(pthread_create(&t[i], NULL, open_and_close, &m), 0);
	for (unsigned i = 0; i < forks && bad == 0; i++)
		bad += in_child(child_mounts, NULL) != 0;
	CU_ASSERT_EQUAL(bad, 0);
	atomic_store(&m.stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	end(&a);
}

/* ---- a child that is born while slots are mapped inherits none of them */

struct mapper {
	struct all *a;
	_Atomic bool stop;
	unsigned rounds;
};

static void *map_and_revoke(void *arg)
{
	struct mapper *m = arg;
	struct inode *in = m->a->f->in;

	while (!atomic_load(&m->stop)) {
		for (int i = 0; i < 8; i++) {
			uint8_t b;

			if (touch_read(SLOT(m->a->p, i), &b) != 0)
				return NULL;
		}
		rwl_wrlock(&in->layout);
		view_revoke(in, 0, UINT64_MAX);
		rwl_wrunlock(&in->layout);
		m->rounds++;
	}
	return NULL;
}

static int child_looks(void *arg)
{
	(void)arg;
	return (int)vol_mappings();
}

static void rule_T6_fork_while_mapping(void)
{
	unsigned forks = getenv("HF_TEST_SHORT") ? 30 : 300, bad = 0;
	struct mapper m = {0};
	struct all a;
	pthread_t t;

	begin(&a);
	m.a = &a;
	CU_ASSERT_EQUAL(pthread_create(&t, NULL, map_and_revoke, &m), 0);
	for (unsigned i = 0; i < forks; i++)
		bad += in_child(child_looks, NULL) != 0;
	atomic_store(&m.stop, true);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT(m.rounds > 0);
	end(&a);
}

/* ---- a child with a volume of its own has an arena and a worker of its own */

static int child_own_volume(void *arg)
{
	struct all *a = arg, own;

	begin(&own);
	if (touch_get(SLOT(own.p, 1)) != 2 || touch_get(SLOT(own.p, 7)) != 0 ||
	    touch_write(SLOT(own.p, 7), 1) != 0 || touch_get(SLOT(own.p, 8)) != -SIGBUS)
		return 1;
	if (hf_view_populate(a->v, 0, FRM, true) != -ESTALE)
		return 2;
	end(&own);
	return CU_get_number_of_failures() ? 3 : 0;
}

static void rule_T6_child_with_own_views(void)
{
	struct all a;

	begin(&a);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	CU_ASSERT_EQUAL(in_child(child_own_volume, &a), 0);
	CU_ASSERT_EQUAL(touch_get(SLOT(a.p, 1)), 2);
	end(&a);
}

/* ---- SIGBUS that is blocked or ignored kills, as the kernel's own does */

static int child_sigbus_blocked(void *arg)
{
	struct all own;
	sigset_t bus;

	(void)arg;
	begin(&own);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	sigprocmask(SIG_BLOCK, &bus, NULL);
	return *(volatile uint8_t *)SLOT(own.p, 9);
}

static int child_sigbus_ignored(void *arg)
{
	struct sigaction ign = {.sa_handler = SIG_IGN};
	struct all own;

	(void)arg;
	begin(&own);
	sigaction(SIGBUS, &ign, NULL);
	return *(volatile uint8_t *)SLOT(own.p, 9);
}

static void test_sigbus(void)
{
	CU_ASSERT_EQUAL(in_child(child_sigbus_blocked, NULL), 200 + SIGBUS);
	CU_ASSERT_EQUAL(in_child(child_sigbus_ignored, NULL), 200 + SIGBUS);
}

/* A handler that was installed after the library's is the one that is called. */
static int child_late_sigbus_only(void *arg)
{
	struct sigaction sa = {.sa_sigaction = touch_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
	struct all own;

	(void)arg;
	begin(&own);
	sigaction(SIGBUS, &sa, NULL);
	return touch_get(SLOT(own.p, 9)) == -SIGBUS && touch_get(own.p) == 1 ? 0 : 1;
}

static void test_sigbus_handler(void)
{
	CU_ASSERT_EQUAL(in_child(child_late_sigbus_only, NULL), 0);
}

/* A handler that was installed over the library's. */
static struct sigaction chained;
static volatile int chains;

static void chain(int sig, siginfo_t *info, void *uc)
{
	chains++;
	chained.sa_sigaction(sig, info, uc);
}

static int child_late_sigsegv(void *arg)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = VIEW_RW};
	struct sigaction sa = {.sa_sigaction = chain, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;
	struct all own;
	hf_view *v = NULL;
	void *p = NULL;

	(void)arg;
	begin(&own);
	sigaction(SIGSEGV, &sa, &chained);
	if (hf_view_map(own.f, 0, FRM, &o, &p, &v) != -EBUSY || v || p)
		return 1;
	if (!strstr(hf_errormsg(), "SIGSEGV"))
		return 2;
	o.handler_chains = true;
	if (hf_view_map(own.f, 0, FRM, &o, &p, &v) != 0 || touch_get(p) != 1 || chains == 0)
		return 3;
	sigaction(SIGSEGV, NULL, &now);
	if (now.sa_sigaction != chain) /* it was not taken back */
		return 4;
	sigaction(SIGSEGV, &chained, NULL);
	o.handler_chains = false;
	return hf_view_unmap(&v) == 0 && hf_view_map(own.f, 0, FRM, &o, &p, &v) == 0 ? 0 : 5;
}

static void test_sigsegv_handler(void)
{
	CU_ASSERT_EQUAL(in_child(child_late_sigsegv, NULL), 0);
}

static const struct hf_case cases[] = {
    {"rule_T6_fork", rule_T6_fork},
    {"rule_T6_child_is_killed", rule_T6_child_is_killed},
    {"child_has_its_own", test_child_has_its_own},
    {"rule_T6_fork_while_mapping", rule_T6_fork_while_mapping},
    {"rule_T6_child_with_own_views", rule_T6_child_with_own_views},
    {"sigbus", test_sigbus},
    {"sigbus_handler", test_sigbus_handler},
    {"sigsegv_handler", test_sigsegv_handler},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_fork", cases, HF_COUNT(cases));
}
