#include "media/guard.h"
#include "media/arch.h"
#include "media/pm_impl.h"
#include "media/poison.h"

#include <pthread.h>
#include <stdatomic.h>
#include <ucontext.h>

static const int guard_signals[] = {SIGSEGV, SIGBUS};
#define GUARD_SIGNALS 2

static pthread_mutex_t guard_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction guard_previous[GUARD_SIGNALS];
static guard_resolver guard_resolve; /* atomic */

static const struct sigaction *guard_previous_of(int sig)
{
	return &guard_previous[sig == guard_signals[0] ? 0 : 1];
}

/* The default action, from inside the handler. A fault comes again when the handler returns; a
 * signal that somebody sent does not, so it is raised. */
static void guard_default(int sig, bool is_fault)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	sigaction(sig, &dfl, NULL);
	if (!is_fault)
		raise(sig);
}

/* As the kernel would have called the previous handler: the interrupted code's mask and the
 * handler's own, and the signal itself blocked unless SA_NODEFER. The return from our handler puts
 * the old mask back. */
static void guard_chain(int sig, siginfo_t *info, void *ucontext, bool is_fault)
{
	const struct sigaction *prev = guard_previous_of(sig);
	const ucontext_t *uc = ucontext;
	sigset_t mask;

	if (!(prev->sa_flags & SA_SIGINFO)) {
		if (prev->sa_handler == SIG_IGN && !is_fault)
			return;
		if (prev->sa_handler == SIG_DFL || prev->sa_handler == SIG_IGN) {
			guard_default(sig, is_fault);
			return;
		}
	}
	sigorset(&mask, &uc->uc_sigmask, &prev->sa_mask);
	if (!(prev->sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (prev->sa_flags & SA_SIGINFO)
		prev->sa_sigaction(sig, info, ucontext);
	else
		prev->sa_handler(sig);
}

/* Of this thread's last fault in a guarded copy. initial-exec: a handler must not make the library's block of it first. */
static __thread int guard_signal __attribute__((tls_model("initial-exec")));

int guard_last_signal(void)
{
	return guard_signal;
}

/* Async-signal-safe; errno is the interrupted code's. */
static void guard_handler(int sig, siginfo_t *info, void *ucontext)
{
	/* si_code <= 0: sent by a process. BUS_MCEERR_AO: bad memory was found somewhere, not
	 * touched here. */
	bool is_fault = info->si_code > 0 && !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);
	guard_resolver resolve = __atomic_load_n(&guard_resolve, __ATOMIC_ACQUIRE);
	int saved_errno = errno;

	if (is_fault && sig == SIGBUS)
		poison_look(info);
	if (is_fault && arch_fixup(ucontext, (uintptr_t)info->si_addr)) {
		guard_signal = sig;
		return;
	}
	if (is_fault && sig == SIGBUS && poison_fault(info))
		goto out;
	/* Bad memory of a volume that nobody has touched yet: who touches it hears of it. */
	if (sig == SIGBUS && info->si_code == BUS_MCEERR_AO && poison_knows(info->si_addr))
		goto out;
	if (!is_fault || !resolve || !resolve(sig, info, ucontext))
		guard_chain(sig, info, ucontext, is_fault);
out:
	errno = saved_errno;
}

/* A child that opens something of its own takes the mutex too. */
static void guard_fork_prepare(void)
{
	pthread_mutex_lock(&guard_mutex);
}

static void guard_fork_done(void)
{
	pthread_mutex_unlock(&guard_mutex);
}

static void guard_at_fork(void)
{
	pthread_atfork(guard_fork_prepare, guard_fork_done, guard_fork_done);
}

/* When the program put its own handlers over ours it may chain to us, and then we must not chain to
 * it: so ours are put in place once and never again.
 *
 * Other signals wait while ours run: a handler of the program that leaves by siglongjmp would leave
 * the resolver in the middle. Not so faults, which cannot wait. */
int guard_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static _Atomic bool installed;
	struct sigaction sa = {.sa_sigaction = guard_handler,
			       .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART};
	int err = 0;

	if (atomic_load_explicit(&installed, memory_order_acquire))
		return 0;
	sigfillset(&sa.sa_mask);
	for (int i = 0; i < GUARD_SIGNALS; i++)
		sigdelset(&sa.sa_mask, guard_signals[i]);
	pthread_once(&once, guard_at_fork);
	pthread_mutex_lock(&guard_mutex);
	for (int i = 0; i < GUARD_SIGNALS && !installed && !err; i++) {
		/* Known before ours can run. */
		if (sigaction(guard_signals[i], NULL, &guard_previous[i]) != 0 ||
		    sigaction(guard_signals[i], &sa, NULL) != 0)
			err = err_set(-errno, "cannot install the fault handler: errno %d", errno);
	}
	if (!err)
		atomic_store_explicit(&installed, true, memory_order_release);
	pthread_mutex_unlock(&guard_mutex);
	return err;
}

bool guard_is_first(void)
{
	struct sigaction now;

	return sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
	       now.sa_sigaction == guard_handler;
}

void guard_set_resolver(guard_resolver resolve)
{
	__atomic_store_n(&guard_resolve, resolve, __ATOMIC_RELEASE);
}

int guard_copy(void *dst, const void *src, size_t len, uint64_t *fault_addr)
{
	int err = guard_install();
	struct pm_fault f;

	if (err)
		return err;
	f = arch_ops()->copy(dst, src, len);
	if (f.faulted && fault_addr)
		*fault_addr = f.addr;
	return f.faulted ? -EFAULT : 0;
}
