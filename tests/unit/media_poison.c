/* Plain loads and stores of bad media: a page of ones, the note, fences that fail; what is the program's stays its own. */
#include "media/guard.h"
#include "media/pm_impl.h"
#include "child.h"
#include "cunit_main.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define VOLUME (2 * (uint64_t)HF_FRAME_SIZE)
#define PAGE   4096u

static struct pm *open_memfd(enum pm_gran gran)
{
	struct pm_open_args args = {.force_gran = true, .gran = gran};
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
	memset(pm->base, 0x11, VOLUME);
	return pm;
}

/* SIGBUS from now on, as of a file that was cut short. */
static void poison(struct pm *pm, uint64_t off, uint64_t len)
{
	int fd = memfd_create("poison", MFD_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0 && mmap(pm->base + off, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	close(fd);
}

static void test_load(void)
{
	uint8_t buf[PAGE];

	for (int gran = PM_BYTE; gran <= PM_PAGE; gran++) {
		struct pm *pm = open_memfd((enum pm_gran)gran), *other = open_memfd(PM_LINE);

		poison(pm, 3 * PAGE, PAGE);
		CU_ASSERT_EQUAL(pm_bad(pm), 0);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(3 * PAGE), 8), -EIO);
		CU_ASSERT_EQUAL(pm_bad(pm), 0); /* file bytes are no reason to stop */
		CU_ASSERT_EQUAL(pm_fence(pm), 0);
		CU_ASSERT_EQUAL(pm_load64(pm, MOFF(3 * PAGE + 64)), UINT64_MAX);
		CU_ASSERT_EQUAL(pm_bad(pm), 1);
		CU_ASSERT_EQUAL(pm_bad_first(pm), 3 * PAGE);
		CU_ASSERT_TRUE(pm_lost(pm, MOFF(4 * PAGE - 1), 1) && pm_lost(pm, MOFF(0), VOLUME));
		CU_ASSERT_FALSE(pm_lost(pm, MOFF(4 * PAGE), PAGE) || pm_lost(pm, MOFF(0), 3 * PAGE));
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(3 * PAGE), 8), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(3 * PAGE - 8), 9), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(3 * PAGE + 10), buf, 100), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(2 * PAGE), PAGE), 0);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(4 * PAGE), PAGE), 0);
		CU_ASSERT_EQUAL(buf[100], 0x11);
		CU_ASSERT_EQUAL(pm_fence(pm), -EIO);
		CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "12288"));
		CU_ASSERT_EQUAL(pm_fence(other), 0);
		pm_close(&pm);
		pm_close(&other);
	}
}

/* Each kind of store to a bad page is taken for no change. */
static void test_store(void)
{
	static const uint8_t bytes[2 * PAGE] = {1};

	for (int kind = 0; kind < 8; kind++) {
		struct pm *pm = open_memfd(kind % 2 ? PM_LINE : PM_PAGE);

		poison(pm, 5 * PAGE, PAGE);
		switch (kind / 2) {
		case 0:
			pm_store(pm, MOFF(5 * PAGE + 8), bytes, 300);
			break;
		case 1:
			pm_copy_nt(pm, MOFF(5 * PAGE - 128), bytes, 256);
			break;
		case 2:
			pm_copy_nt(pm, MOFF(4 * PAGE), bytes, 2 * PAGE);
			break;
		default:
			pm_zero_nt(pm, MOFF(5 * PAGE + 3), 1000);
			break;
		}
		CU_ASSERT_EQUAL(pm_persist(pm, MOFF(5 * PAGE), PAGE), -EIO);
		CU_ASSERT_TRUE(pm_lost(pm, MOFF(5 * PAGE), 1));
		CU_ASSERT_FALSE(pm_lost(pm, MOFF(4 * PAGE), PAGE));
		pm_close(&pm);
	}
}

/* ---- more than a page at once, as on device-DAX; and the program's blocks */

struct mine {
	uint64_t block;
	uint8_t *at; /* where the program has it */
};

static void *lent(const void *ctx, moff_t off)
{
	const struct mine *m = ctx;

	return off.v / PAGE == m->block ? m->at + off.v % PAGE : NULL;
}

static bool lent_at(const void *ctx, const void *addr, moff_t *off)
{
	const struct mine *m = ctx;
	uintptr_t in = (uintptr_t)addr - (uintptr_t)m->at;

	*off = MOFF(m->block * PAGE + in);
	return in < PAGE;
}

static void test_granule(void)
{
	struct pm *pm = open_memfd(PM_LINE);
	struct mine mine = {.block = 20, .at = pm->base + 20 * PAGE};
	uint8_t buf[8];

	pm->member[0].granule = HF_FRAME_SIZE;
	pm->lent = lent;
	pm->lent_ctx = &mine;
	poison(pm, 3 * PAGE, PAGE);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(3 * PAGE)), UINT64_MAX);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(100 * PAGE)), UINT64_MAX);
	CU_ASSERT_TRUE(pm_lost(pm, MOFF(0), 1) && pm_lost(pm, MOFF(HF_FRAME_SIZE - 1), 1));
	CU_ASSERT_FALSE(pm_lost(pm, MOFF(HF_FRAME_SIZE), HF_FRAME_SIZE));
	CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(100 * PAGE), 8), -EIO);
	CU_ASSERT_EQUAL(pm->base[20 * PAGE], 0x11); /* the program sees its bytes, */
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(20 * PAGE), 8), -EIO); /* and hears that they are on the media no more */
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(HF_FRAME_SIZE)), 0x1111111111111111);
	pm_close(&pm);
}

static sigjmp_buf jump;
static void *volatile seen;

static void on_bus(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig;
	(void)ucontext;
	seen = info->si_addr;
	siglongjmp(jump, 1);
}

static uint8_t elsewhere[PAGE];

static int child_lent(void)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct mine mine = {.block = 7};
	struct pm *pm;

	/* Before the library's, which chain to it. */
	sigaction(SIGBUS, &sa, NULL);
	if (pm_open_memfd(VOLUME, NULL, &pm))
		return 1;
	pm->lent = lent;
	pm->lent_ctx = &mine;
	mine.at = pm->base + 7 * PAGE;
	poison(pm, 7 * PAGE, PAGE);
	poison(pm, 9 * PAGE, PAGE);
	if (sigsetjmp(jump, 1) == 0)
		return *(volatile uint8_t *)(pm->base + 7 * PAGE) ? 2 : 3;
	if (seen != pm->base + 7 * PAGE || pm_bad(pm) != 0)
		return 4;
	/* Of two addresses the kernel told the map's; the program hears its own. */
	mine.at = elsewhere;
	if (sigsetjmp(jump, 1) == 0)
		return *(volatile uint8_t *)(pm->base + 7 * PAGE + 5) ? 2 : 3;
	if (seen != elsewhere + 5 || pm_bad(pm) != 0)
		return 6;
	if (*(volatile uint8_t *)(pm->base + 9 * PAGE) != 0xff || pm_bad(pm) != 1)
		return 5;
	pm_close(&pm);
	return 0;
}

/* A guarded copy whose bad media is told by the address of a view (SIGBUS: here, an empty file's page). A page that was taken away is SIGSEGV. */
static void test_lent_at(void)
{
	int empty = memfd_create("empty", MFD_CLOEXEC);
	struct pm *pm = open_memfd(PM_LINE);
	uint8_t *view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);
	struct mine mine = {.block = 33, .at = view};

	CU_ASSERT_FATAL(view != MAP_FAILED);
	close(empty);
	CU_ASSERT_EQUAL(pm_guarded_read(pm, view + 8, MOFF(33 * PAGE + 8), 8), -EFAULT);
	pm->lent_ctx = &mine;
	pm->lent_at = lent_at;
	CU_ASSERT_EQUAL(pm_guarded_read(pm, view + 8, MOFF(33 * PAGE + 8), 8), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "135176"));
	CU_ASSERT_EQUAL(mprotect(view, PAGE, PROT_NONE), 0);
	CU_ASSERT_EQUAL(pm_guarded_read(pm, view + 8, MOFF(33 * PAGE + 8), 8), -EFAULT);
	munmap(view, PAGE);
	pm_close(&pm);
}

/* A dax device has its pages, good or bad, for as long as its driver has the device. */
static void test_gone(void)
{
	struct pm *pm = open_memfd(PM_LINE), *file = open_memfd(PM_LINE);
	uint8_t buf[8];

	pm->member[0].kind = PM_DEVDAX;
	poison(pm, 0, VOLUME);
	poison(file, 0, PAGE);
	CU_ASSERT_EQUAL(pm_gone_error(pm), 0);
	CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(3 * PAGE), 8), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "was taken away while it was mounted"));
	CU_ASSERT_EQUAL(pm_fence(pm), 0); /* nothing was lost by plain code */
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(0)), UINT64_MAX);
	CU_ASSERT_EQUAL(pm_fence(pm), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "was taken away while it was mounted"));
	CU_ASSERT_EQUAL(pm_guarded_read(file, buf, MOFF(0), 8), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "bad media"));
	pm_close(&pm);
	pm_close(&file);
}

static int child_closed(void)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	int fd = memfd_create("poison", MFD_CLOEXEC);
	struct pm *pm;
	uint8_t *base;

	sigaction(SIGBUS, &sa, NULL);
	if (pm_open_memfd(VOLUME, NULL, &pm))
		return 1;
	base = pm->base;
	pm_close(&pm);
	/* Where a volume was is somebody else's now. */
	if (mmap(base, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return 2;
	if (sigsetjmp(jump, 1) == 0)
		return *(volatile uint8_t *)base ? 3 : 4;
	return seen == base ? 0 : 5;
}

static struct pm *parents;

static int child_forked(void)
{
	int fd = memfd_create("poison", MFD_CLOEXEC);

	/* The handler in place is the library's, the parent's volume is not mapped here. */
	if (mmap(parents->base, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return 2;
	return *(volatile uint8_t *)parents->base ? 3 : 4;
}

static void test_not_ours(void)
{
	int code;

	CU_ASSERT_EQUAL(run_child(child_lent), 0);
	CU_ASSERT_EQUAL(run_child(child_closed), 0);
	parents = open_memfd(PM_LINE);
	code = run_child(child_forked); /* a sanitizer makes an exit code of the signal */
	CU_ASSERT_TRUE(code == 128 + SIGBUS || code == 1 || code == 66);
	pm_close(&parents);
}

/* ---- all threads at the same page, while others open and close */

#define THREADS 4
#define ROUNDS	200u

static struct pm *shared;
static pthread_barrier_t barrier;

static void *load_it(void *arg)
{
	uintptr_t wrong = 0;

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct pm *own;

		pthread_barrier_wait(&barrier); /* the page is bad */
		for (uint64_t w = 0; w < PAGE / 8; w += 64)
			wrong += pm_load64(shared, MOFF(i * PAGE + w * 8)) != UINT64_MAX;
		wrong += !pm_lost(shared, MOFF(i * PAGE), PAGE) || pm_fence(shared) != -EIO;
		wrong += pm_open_memfd(VOLUME, NULL, &own) != 0;
		pm_close(&own);
		pthread_barrier_wait(&barrier);
	}
	return (void *)wrong;
}

static void test_threads(void)
{
	pthread_t t[THREADS];
	void *wrong;

	shared = open_memfd(PM_LINE);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, load_it, NULL);
	for (unsigned i = 0; i < ROUNDS; i++) {
		poison(shared, i * PAGE, PAGE);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], &wrong);
		CU_ASSERT_PTR_NULL(wrong);
	}
	CU_ASSERT_TRUE(pm_bad(shared) >= ROUNDS);
	CU_ASSERT_FALSE(pm_lost(shared, MOFF(ROUNDS * PAGE), PAGE));
	pthread_barrier_destroy(&barrier);
	pm_close(&shared);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"not ours", test_not_ours}, /* first: the handlers are installed once per process */
	    {"load", test_load},
	    {"store", test_store},
	    {"more than a page", test_granule},
	    {"told by a view's address", test_lent_at},
	    {"the device is gone", test_gone},
	    {"threads", test_threads},
	};

	return hf_run_suite("bad media under plain code", cases, HF_COUNT(cases));
}
