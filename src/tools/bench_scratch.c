/* The directory on tmpfs: what is in it is memory, and nobody would miss it, so it must not stay. */
#include "bench.h"
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SCRATCH_BYTES (1ull << 30)	/* what is put there at a time, at most */

static char scratch[64];
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

/* At a signal the other thread goes on in there, until we are gone. */
static void remove_scratch(void)
{
	unsigned i;

	for (i = 0; getpid() == owner && i < 100 && access(scratch, F_OK) == 0; i++)
		nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The other threads do not see these signals. */
static void *wait_for_signal(void *arg)
{
	int sig = 0;

	sigwait(arg, &sig);
	remove_scratch();
	_exit(128 + sig);
}

/* Nobody reads what is told any more: as if we had been asked to end, which is waited for. */
static void pipe_broke(int sig)
{
	if (getpid() != owner)
		_exit(128 + sig);
	kill(owner, SIGTERM);
	for (;;)
		pause();
}

void bench_scratch(char dir[64])
{
	static sigset_t set;
	struct statvfs fs;
	pthread_t thread;

	dir[0] = 0;
	if (statvfs("/dev/shm", &fs) || fs.f_bavail * fs.f_frsize < SCRATCH_BYTES)
		return;
	snprintf(scratch, sizeof(scratch), "/dev/shm/holdfast-bench.XXXXXX");
	if (!mkdtemp(scratch))
		return;
	owner = getpid();
	atexit(remove_scratch);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, wait_for_signal, &set))
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	else
		signal(SIGPIPE, pipe_broke);
	snprintf(dir, 64, "%s", scratch);
}
