#include "media/arch.h"
#include "media/guard.h"
#include "media/pm_impl.h"
#include "child.h"
#include "cunit_main.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VOLUME (2 * (uint64_t)HF_FRAME_SIZE)
#define PAGE   4096u

static struct pm *open_memfd(enum pm_gran gran)
{
	struct pm_open_args args = {.force_gran = true, .gran = gran};
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
	return pm;
}

/* Two pages, the second of which cannot be touched. */
static uint8_t *half_dead(void)
{
	uint8_t *p =
	    mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_NOT_EQUAL_FATAL((uintptr_t)p, (uintptr_t)MAP_FAILED);
	memset(p, 0x3c, 2 * PAGE);
	mprotect(p + PAGE, PAGE, PROT_NONE);
	return p;
}

/* ---- the memory side. Copies of every length up to some lines that run into the dead page at
 * every place. */

static unsigned int wrong_results(struct pm *pm, uint8_t *mem)
{
	unsigned int wrong = 0;

	for (uint32_t len = 1; len <= 300; len += len < 80 ? 1 : 13) {
		for (uint32_t alive = 0; alive <= len; alive += alive < 70 ? 1 : 11) {
			int expect = alive == len ? 0 : -EFAULT;
			uint8_t *at = mem + PAGE - alive;

			wrong += pm_guarded_read(pm, at, MOFF(alive), len) != expect;
			wrong += pm_guarded_write_nt(pm, MOFF(HF_FRAME_SIZE + alive % 64), at,
						     len) != expect;
		}
	}
	return wrong;
}

static void test_memory_side(void)
{
	uint8_t *mem = half_dead();
	const struct pm_ops *ops;

	for (int gran = PM_BYTE; gran <= PM_PAGE; gran++) {
		struct pm *pm = open_memfd((enum pm_gran)gran);

		for (unsigned int i = 0; (ops = arch_ops_nth(i)) != NULL; i++) {
			pm->ops = ops;
			CU_ASSERT_EQUAL(wrong_results(pm, mem), 0);
		}
		pm_close(&pm);
	}
	munmap(mem, 2 * PAGE);
}

static void test_memory_side_message(void)
{
	struct pm *pm = open_memfd(PM_LINE);
	uint8_t *mem = half_dead();

	CU_ASSERT_EQUAL(pm_guarded_read(pm, NULL, MOFF(0), 1), -EFAULT);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(0), NULL, 64), -EFAULT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "buffer"));
	/* not canonical: the CPU reports no address */
	CU_ASSERT_EQUAL(pm_guarded_read(pm, (void *)(uintptr_t)0x7000000000000000ull, MOFF(0), 64),
			-EFAULT);
	/* bytes before the fault may be there, bytes behind it are not touched */
	memset(pm->base, 0, 8192);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(64), mem + PAGE - 128, 256), -EFAULT);
	CU_ASSERT_TRUE(pm->base[64] == 0x3c || pm->base[64] == 0);
	CU_ASSERT_EQUAL(pm->base[64 + 128], 0);
	CU_ASSERT_EQUAL(pm->base[63], 0);
	munmap(mem, 2 * PAGE);
	pm_close(&pm);
}

/* ---- the media side: a file that somebody cut short */

static void test_media_side(void)
{
	static const uint32_t lens[] = {1, 7, 8, 63, 64, 100, 4096, 20000};
	char path[] = "./hf-media-guard-XXXXXX";
	uint8_t buf[20000] = {0};
	int fd = mkstemp(path);
	struct pm *pm, *other = open_memfd(PM_LINE);

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)VOLUME), 0);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &pm), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, HF_FRAME_SIZE), 0);
	for (size_t i = 0; i < HF_COUNT(lens); i++) {
		for (uint64_t off = HF_FRAME_SIZE; off < HF_FRAME_SIZE + 70; off += 23) {
			CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(off), lens[i]), -EIO);
			CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(off), buf, lens[i]), -EIO);
		}
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(HF_FRAME_SIZE - lens[i]), lens[i]),
				0);
		CU_ASSERT_EQUAL(
		    pm_guarded_read(pm, buf, MOFF(HF_FRAME_SIZE - lens[i]), lens[i] + 1), -EIO);
	}
	CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(HF_FRAME_SIZE + 5), 1), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "2097157"));
	/* To another volume, its map is only memory. */
	CU_ASSERT_EQUAL(pm_guarded_read(other, pm->base + HF_FRAME_SIZE, MOFF(0), 64), -EFAULT);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(other, MOFF(0), pm->base + HF_FRAME_SIZE, 64), -EFAULT);
	pm_close(&pm);
	pm_close(&other);
	close(fd);
	unlink(path);
}

/* ---- poison */

#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1ull << 14)
#define _UFFDIO_POISON	    0x08
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif

/* Poisons one page of the map; false where the kernel does not let. The descriptor keeps it so. */
static bool poison_page(uint8_t *at, int *uffd)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_POISON};
	struct uffdio_register reg = {.range = {(uintptr_t)at, PAGE},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_poison poison = {.range = {(uintptr_t)at, PAGE}};

	*uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return *uffd >= 0 && ioctl(*uffd, UFFDIO_API, &api) == 0 &&
	       ioctl(*uffd, UFFDIO_REGISTER, &reg) == 0 &&
	       ioctl(*uffd, UFFDIO_POISON, &poison) == 0;
}

static void test_poison(void)
{
	struct pm *pm = open_memfd(PM_LINE);
	uint8_t buf[PAGE * 2];
	int uffd;

	memset(pm->base, 1, PAGE);
	if (!poison_page(pm->base + 8 * PAGE, &uffd)) {
		printf("(no UFFDIO_POISON here) ");
	} else {
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(8 * PAGE), 64), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(8 * PAGE - 10), 64), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(8 * PAGE + 4000), 5000), -EIO);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(9 * PAGE), 64), 0);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, buf, MOFF(0), PAGE), 0);
		CU_ASSERT_EQUAL(buf[PAGE - 1], 1);
	}
	if (uffd >= 0)
		close(uffd);
	pm_close(&pm);
}

/* ---- guard_copy */

static void test_guard_copy(void)
{
	uint8_t *mem = half_dead(), buf[64];
	uint64_t at = 0;

	CU_ASSERT_EQUAL(guard_copy(buf, mem, sizeof(buf), NULL), 0);
	CU_ASSERT_EQUAL(buf[63], 0x3c);
	CU_ASSERT_EQUAL(guard_copy(buf, mem + PAGE + 100, 8, &at), -EFAULT);
	CU_ASSERT_EQUAL(at, (uintptr_t)mem + PAGE + 100);
	CU_ASSERT_EQUAL(guard_copy(mem + PAGE - 8, buf, 64, &at), -EFAULT);
	CU_ASSERT_EQUAL(guard_copy(buf, mem, 0, NULL), 0);
	munmap(mem, 2 * PAGE);
}

/* ---- threads: faults at the same time, on alternate stacks */

static struct pm *shared_pm;

static void *fault_often(void *arg)
{
	uint8_t *mem = half_dead(), *alt = malloc(65536), buf[128];
	stack_t ss = {.ss_sp = alt, .ss_size = 65536};
	uintptr_t bad = 0;

	(void)arg;
	sigaltstack(&ss, NULL);
	for (int i = 0; i < 3000; i++) {
		uint32_t off = (uint32_t)i % 128;

		bad += pm_guarded_read(shared_pm, mem + PAGE - off, MOFF(0), 128) != -EFAULT;
		bad += pm_guarded_read(shared_pm, buf, MOFF(off), 128) != 0;
		bad += pm_guarded_write_nt(shared_pm, MOFF(off), mem + PAGE - 64, 65) != -EFAULT;
	}
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
	free(alt);
	munmap(mem, 2 * PAGE);
	return (void *)bad;
}

static void test_threads(void)
{
	pthread_t t[4];
	void *bad;

	shared_pm = open_memfd(PM_LINE);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, fault_often, NULL);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		CU_ASSERT_PTR_NULL(bad);
	}
	pm_close(&shared_pm);
}

/* ---- what is not ours goes on: in children, because the handlers are installed once per process
 */

static uint8_t *dead;
static sigjmp_buf jump;
static volatile sig_atomic_t seen_sig, seen_info, seen_mask;

static void reset_handlers(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

static int touch_dead(void)
{
	reset_handlers();
	if (guard_copy(&(char){0}, dead, 1, NULL) != -EFAULT)
		return 1;
	return *(volatile uint8_t *)dead;
}

static int send_segv(void)
{
	reset_handlers();
	guard_install();
	raise(SIGSEGV);
	return 0;
}

static int send_bus_ignored(void)
{
	reset_handlers();
	signal(SIGBUS, SIG_IGN);
	guard_install();
	raise(SIGBUS); /* was ignored, stays ignored */
	return 7;
}

static void old_style(int sig)
{
	seen_sig = sig;
	siglongjmp(jump, 1);
}

static int chain_to_handler(void)
{
	struct sigaction sa = {.sa_handler = old_style};

	sigaction(SIGSEGV, &sa, NULL);
	guard_install();
	if (sigsetjmp(jump, 1) == 0)
		return *(volatile uint8_t *)dead;
	if (seen_sig != SIGSEGV)
		return 1;
	/* Twice: the mask was put back. */
	seen_sig = 0;
	if (sigsetjmp(jump, 1) == 0)
		return *(volatile uint8_t *)dead;
	if (seen_sig != SIGSEGV || guard_copy(&(char){0}, dead, 1, NULL) != -EFAULT)
		return 2;
	return 0;
}

static void new_style(int sig, siginfo_t *info, void *ucontext)
{
	sigset_t mask;

	(void)ucontext;
	seen_sig = sig;
	seen_info = info->si_addr == dead;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	seen_mask = sigismember(&mask, SIGSEGV) == 1 && sigismember(&mask, SIGUSR1) == 1;
	mprotect(dead, PAGE, PROT_READ); /* repairs it */
	errno = 99;
}

static int chain_to_siginfo(void)
{
	struct sigaction sa = {.sa_sigaction = new_style, .sa_flags = SA_SIGINFO};

	volatile int *err = &errno; /* the compiler sees no call that could change it */
	sigset_t mask;

	sigaddset(&sa.sa_mask, SIGUSR1);
	sigaction(SIGSEGV, &sa, NULL);
	guard_install();
	*err = 1234;
	if (*(volatile uint8_t *)dead != 0x3c || *err != 1234)
		return 1;
	/* In the handler its own mask, after it the program's. */
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	if (!seen_mask || sigismember(&mask, SIGSEGV) != 0 || sigismember(&mask, SIGUSR1) != 0)
		return 3;
	return seen_sig == SIGSEGV && seen_info ? 0 : 2;
}

static bool resolve_dead(int sig, siginfo_t *info, void *ucontext)
{
	(void)ucontext;
	if (sig != SIGSEGV || info->si_addr != dead)
		return false;
	seen_sig++;
	return mprotect(dead, PAGE, PROT_READ) == 0;
}

static int resolver(void)
{
	reset_handlers();
	guard_install();
	guard_set_resolver(resolve_dead);
	if (guard_copy(&(char){0}, dead, 1, NULL) != -EFAULT || seen_sig != 0)
		return 1; /* a guarded copy resolves nothing */
	if (*(volatile uint8_t *)dead != 0x3c || seen_sig != 1)
		return 2;
	mprotect(dead - PAGE, PAGE, PROT_NONE);
	return *(volatile uint8_t *)(dead - 1); /* not its own: dies */
}

/* A plain non-temporal copy runs through the same routines, but its faults are faults. */
static int plain_copy_dies(void)
{
	static uint8_t src[128];
	struct pm *pm;

	reset_handlers();
	if (pm_open_memfd(VOLUME, NULL, &pm) != 0)
		return 1;
	pm->gran = PM_LINE;
	memcpy(src, "x", 1);
	pm_copy_nt(pm, MOFF(0), src, 128);
	pm_copy_nt(pm, MOFF(0), dead, 64);
	return 2;
}

static void test_chain(void)
{
	uint8_t *mem = half_dead();

	dead = mem + PAGE;
	CU_ASSERT_EQUAL(run_child(touch_dead), 128 + SIGSEGV);
	CU_ASSERT_EQUAL(run_child(send_segv), 128 + SIGSEGV);
	CU_ASSERT_EQUAL(run_child(send_bus_ignored), 7);
	CU_ASSERT_EQUAL(run_child(chain_to_handler), 0);
	CU_ASSERT_EQUAL(run_child(chain_to_siginfo), 0);
	CU_ASSERT_EQUAL(run_child(resolver), 128 + SIGSEGV);
	CU_ASSERT_EQUAL(run_child(plain_copy_dies), 128 + SIGSEGV);
	munmap(mem, 2 * PAGE);
}

static const struct hf_case cases[] = {
    /* first: its children must find the handlers not installed yet */
    {"other faults go on", test_chain},
    {"memory side", test_memory_side},
    {"memory side: messages, bytes", test_memory_side_message},
    {"media side: a file cut short", test_media_side},
    {"media side: poison", test_poison},
    {"guard_copy", test_guard_copy},
    {"threads", test_threads},
};

int main(void)
{
	return hf_run_suite("media: guarded copies", cases, HF_COUNT(cases));
}
