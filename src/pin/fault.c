/* A touch of a view (rule T7).
 *
 * The handler runs on the toucher's stack, which may be a small alternate one, and may be left by
 * siglongjmp. It uses its frame, atomics, try-locks and futexes; it allocates nothing and waits for
 * no lock. A live huge leaf it maps itself. All else it asks of the fault worker, a thread that may
 * take locks, and sleeps until that has answered. The worker never waits for a pin: the toucher
 * does, with nothing held, and asks again.
 *
 * A fault of a thread that holds locks of the library is not resolved: it might need them. */
#include "base/clock.h"
#include "media/arch.h"
#include "media/guard.h"
#include "pin/pin.h"
#include "pin/view_int.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* On the stack of who asks. */
struct fault_request {
	struct fault_request *next;
	struct view *v;
	uint64_t slot, owner;
	bool write;
	int answer;
	_Atomic uint32_t answered; /* a futex */
};

static _Atomic(struct fault_request *) fault_requests; /* newest first */
static struct waitq fault_work;
static _Atomic(view_fill_fn *) fault_fill;
static bool fault_worker_runs; /* under arena_lock */

void fault_forget(void)
{
	atomic_store(&fault_requests, NULL);
	atomic_store(&fault_work.seq, 0);
	fault_worker_runs = false;
}

/* ---- the worker */

static struct fault_request *fault_take_all(void)
{
	struct fault_request *r = atomic_exchange(&fault_requests, NULL), *oldest = NULL, *next;

	for (; r; r = next) {
		next = r->next;
		r->next = oldest;
		oldest = r;
	}
	return oldest;
}

/* When it is answered the request may be gone at once: the wake is of an address, not of memory. */
static void fault_answer(struct fault_request *r, int answer)
{
	r->answer = answer;
	atomic_store_explicit(&r->answered, 1, memory_order_release);
	syscall(SYS_futex, &r->answered, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *fault_worker(void *arg)
{
	struct fault_request *r, *next;

	(void)arg;
	for (;;) {
		uint32_t key = waitq_key(&fault_work);

		r = fault_take_all();
		if (!r)
			waitq_wait(&fault_work, key, UINT64_MAX);
		for (; r; r = next) {
			next = r->next;
			fault_answer(r,
				     atomic_load(&fault_fill)(r->v, r->slot, r->write, r->owner));
		}
	}
	return NULL;
}

/* With all signals blocked: a handler of the program does not run on it. */
static int fault_worker_start(void)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, fault_worker, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

/* ---- the toucher */

static int fault_ask(struct view *v, uint64_t slot, bool write)
{
	struct fault_request r = {.v = v, .slot = slot, .owner = pin_thread(), .write = write};

	r.next = atomic_load(&fault_requests);
	while (!atomic_compare_exchange_weak(&fault_requests, &r.next, &r))
		;
	waitq_wake_all(&fault_work);
	while (atomic_load_explicit(&r.answered, memory_order_acquire) == 0)
		syscall(SYS_futex, &r.answered, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return r.answer;
}

/* A live huge leaf, wholly below the end of file. */
static bool fault_map_leaf(struct view *v, uint64_t slot)
{
	struct inode *in = v->in;
	uint64_t end = (v->first + slot + 1) * HF_FRAME_SIZE;
	mblk_t blk;
	bool ok;

	if (!rwl_tryrdlock(&in->layout))
		return false;
	ok = le64_get(inode_media(in)->size) >= end &&
	     map_peek_huge(in, view_slot_block(v, slot), &blk) && view_slot_try_map(v, slot, blk);
	rwl_rdunlock(&in->layout);
	return ok;
}

/* The program's signals come through while the toucher sleeps, and a handler may leave by
 * siglongjmp: nothing is held, not even the view. */
static void fault_sleep(struct waitq *q, uint32_t key, uint64_t timeout_ns, const ucontext_t *uc)
{
	sigset_t blocked;

	pthread_sigmask(SIG_SETMASK, &uc->uc_sigmask, &blocked);
	waitq_wait(q, key, timeout_ns);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

/* What a toucher may have to wait for. The keys are read before the attempt: what goes in between
 * is not missed. */
struct fault_wait {
	struct waitq *pins, *gate;
	uint32_t pins_key, gate_key;
	uint64_t pin_wait_ns;
};

static struct fault_wait fault_wait_for(const struct view *v)
{
	struct fault_wait w = {
	    .pins = pin_changed(v->in), .gate = v->gate, .pin_wait_ns = v->pin_wait_ns};

	w.pins_key = waitq_key(w.pins);
	w.gate_key = waitq_key(w.gate);
	return w;
}

/* One attempt. FAULT_CHAIN: not ours. */
enum { FAULT_CHAIN = 1 };
static int fault_attempt(const void *addr, const ucontext_t *uc, struct fault_wait *w)
{
	bool stores = arch_fault_stores(uc);
	int err = FAULT_CHAIN;
	uint64_t slot;
	struct view *v = view_enter(addr, &slot);

	if (!v)
		return err;
	*w = fault_wait_for(v);
	/* A store to a page that can only be read is the program's error. */
	if (v->writable || !stores || !(view_word(v, slot) & (VIEW_MAPPED | VIEW_ZEROS)))
		err = fault_map_leaf(v, slot) ? 0 : fault_ask(v, slot, stores && v->writable);
	view_leave(v);
	return err;
}

static int fault_resolve(const void *addr, const ucontext_t *uc)
{
	uint64_t begin = clock_mono_ns(), waited = 0;
	struct fault_wait w;
	int err;

	for (;;) {
		err = fault_attempt(addr, uc, &w);
		if (err == -EAGAIN)
			fault_sleep(w.gate, w.gate_key, UINT64_MAX, uc);
		else if (err == -EBUSY && waited < w.pin_wait_ns)
			fault_sleep(w.pins, w.pins_key, w.pin_wait_ns - waited, uc);
		else
			return err;
		waited = clock_mono_ns() - begin;
	}
}

/* SIGBUS, as the kernel would send it for a page that is not there. It is blocked until this
 * handler returns, so that it comes at the access itself. Where the program has it blocked or
 * ignored it kills, as the kernel's does. False: it cannot be sent. */
static bool fault_sigbus(void *addr, ucontext_t *uc)
{
	siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_ADRERR};
	struct sigaction act, dfl = {.sa_handler = SIG_DFL};
	sigset_t bus;

	info.si_addr = addr;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
	sigaction(SIGBUS, NULL, &act);
	if (sigismember(&uc->uc_sigmask, SIGBUS) ||
	    (!(act.sa_flags & SA_SIGINFO) && act.sa_handler == SIG_IGN)) {
		sigaction(SIGBUS, &dfl, NULL);
		sigdelset(&uc->uc_sigmask, SIGBUS);
	}
	return syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info) == 0;
}

/* True: the access may be tried again. */
static bool fault_handler(int sig, siginfo_t *info, void *ucontext)
{
	int err;

	if (sig != SIGSEGV || fork_is_child() || !view_address(info->si_addr, 1) ||
	    lock_depth() > 0 || arch_fault_fetches(ucontext, info->si_addr))
		return false; /* code is never run from a view, mapped or not */
	if (info->si_code != SEGV_ACCERR && info->si_code != SEGV_MAPERR)
		return false;
	err = fault_resolve(info->si_addr, ucontext);
	if (err < 0)
		return fault_sigbus(info->si_addr, ucontext);
	return err != FAULT_CHAIN;
}

int fault_open(view_fill_fn *fill)
{
	int err = 0;

	atomic_store(&fault_fill, fill);
	arena_lock();
	if (!fault_worker_runs)
		err = fault_worker_start();
	fault_worker_runs = !err;
	arena_unlock();
	if (!err)
		guard_set_resolver(fault_handler);
	return err;
}
