/* Locks on files: flock, and those of fcntl of a process and of an open file. */
#include "functions.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int opened(int flags)
{
	return open("f", flags | O_CREAT | O_CLOEXEC, 0644);
}

static int ret(int r)
{
	return r < 0 ? -errno : r;
}

static int lock_cmd(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return ret(fcntl(fd, cmd, &l));
}

/* What another process gets for the lock. */
static int in_child(short type, off_t start, off_t len)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = opened(O_RDWR);

		_exit(-lock_cmd(fd, F_SETLK, type, start, len));
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -ECHILD;
	return -WEXITSTATUS(status);
}
#define REFUSED(r) ((r) == -EAGAIN || (r) == -EACCES)

static int flock_exclusive(const struct px_backend *b)
{
	int one = opened(O_RDWR), two = opened(O_RDWR);

	(void)b;
	TRY(ret(flock(one, LOCK_EX | LOCK_NB)));
	WANT(ret(flock(two, LOCK_EX | LOCK_NB)), -EAGAIN);
	WANT(ret(flock(two, LOCK_SH | LOCK_NB)), -EAGAIN);
	TRY(ret(flock(one, LOCK_UN)));
	TRY(ret(flock(two, LOCK_EX | LOCK_NB)));
	close(one);
	close(two);
	return 0;
}

static int flock_shared(const struct px_backend *b)
{
	int one = opened(O_RDONLY), two = opened(O_RDONLY), three = opened(O_RDONLY);

	(void)b;
	TRY(ret(flock(one, LOCK_SH | LOCK_NB)));
	TRY(ret(flock(two, LOCK_SH | LOCK_NB)));
	WANT(ret(flock(three, LOCK_EX | LOCK_NB)), -EAGAIN);
	WANT(ret(flock(two, LOCK_EX | LOCK_NB)), -EAGAIN);
	close(one);
	close(two);
	TRY(ret(flock(three, LOCK_EX | LOCK_NB)));
	close(three);
	return 0;
}

static int flock_of_dup(const struct px_backend *b)
{
	int one = opened(O_RDWR), same = dup(one), two = opened(O_RDWR);

	(void)b;
	TRY(ret(flock(one, LOCK_EX | LOCK_NB)));
	TRY(ret(flock(same, LOCK_EX | LOCK_NB)));
	close(one);
	WANT(ret(flock(two, LOCK_EX | LOCK_NB)), -EAGAIN);
	TRY(ret(flock(same, LOCK_UN)));
	TRY(ret(flock(two, LOCK_EX | LOCK_NB)));
	close(same);
	close(two);
	return 0;
}

static int flock_ends_with_close(const struct px_backend *b)
{
	int one = opened(O_RDWR), two = opened(O_RDWR);

	(void)b;
	TRY(ret(flock(one, LOCK_EX | LOCK_NB)));
	close(one);
	TRY(ret(flock(two, LOCK_EX | LOCK_NB)));
	close(two);
	return 0;
}

/* A child that waits for the lock, and how long it takes it after 'end' was called. */
static int waits(int fd, int (*take)(int fd), int (*give)(int fd))
{
	const struct timespec pause = {.tv_nsec = 100000000};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int own = open("f", O_RDWR | O_CLOEXEC);

		alarm(20);
		_exit(take(own) ? 1 : 0);
	}
	nanosleep(&pause, NULL);
	if (waitpid(pid, &status, WNOHANG) != 0)
		return px_fail("it did not wait");
	if (give(fd))
		return px_fail("the lock cannot be given back");
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return px_fail("it did not get the lock");
	return 0;
}

static int flock_take(int fd)
{
	return flock(fd, LOCK_EX);
}
static int flock_give(int fd)
{
	return flock(fd, LOCK_UN);
}

static int flock_waits(const struct px_backend *b)
{
	int fd = opened(O_RDWR), err;

	(void)b;
	TRY(ret(flock(fd, LOCK_EX | LOCK_NB)));
	err = waits(fd, flock_take, flock_give);
	close(fd);
	return err;
}

static int fcntl_conflict(const struct px_backend *b)
{
	int fd = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 100));
	CHECK(REFUSED(in_child(F_WRLCK, 0, 100)));
	CHECK(REFUSED(in_child(F_RDLCK, 50, 1)));
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 100)); /* one's own is no conflict */
	TRY(lock_cmd(fd, F_SETLK, F_UNLCK, 0, 100));
	TRY(in_child(F_WRLCK, 0, 100));
	close(fd);
	return 0;
}

static int fcntl_ranges(const struct px_backend *b)
{
	int fd = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 100, 100));
	TRY(in_child(F_WRLCK, 0, 100));
	TRY(in_child(F_WRLCK, 200, 0));
	CHECK(REFUSED(in_child(F_WRLCK, 0, 101)));
	CHECK(REFUSED(in_child(F_WRLCK, 199, 1)));
	CHECK(REFUSED(in_child(F_WRLCK, 0, 0)));
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 1000, 0)); /* to the end, wherever that will be */
	CHECK(REFUSED(in_child(F_WRLCK, 1000000000000, 1)));
	close(fd);
	return 0;
}

static int fcntl_shared(const struct px_backend *b)
{
	int fd = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_RDLCK, 0, 0));
	TRY(in_child(F_RDLCK, 0, 0));
	CHECK(REFUSED(in_child(F_WRLCK, 0, 0)));
	close(fd);
	return 0;
}

static int fcntl_getlk(const struct px_backend *b)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = opened(O_RDWR), status;
	pid_t parent = getpid(), pid;

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 10, 20));
	pid = fork();
	if (pid == 0) {
		int own = opened(O_RDWR);

		if (fcntl(own, F_GETLK, &l))
			_exit(1);
		_exit(l.l_type == F_WRLCK && l.l_start == 10 && l.l_len == 20 && l.l_pid == parent ? 0 : 2);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	WANT(WEXITSTATUS(status), 0);
	l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	TRY(ret(fcntl(fd, F_GETLK, &l)));
	CHECK(l.l_type == F_UNLCK);
	close(fd);
	return 0;
}

static int fcntl_split(const struct px_backend *b)
{
	int fd = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 300));
	TRY(lock_cmd(fd, F_SETLK, F_UNLCK, 100, 100));
	TRY(lock_cmd(fd, F_SETLK, F_RDLCK, 200, 100));
	CHECK(REFUSED(in_child(F_RDLCK, 0, 100)));
	TRY(in_child(F_WRLCK, 100, 100));
	TRY(in_child(F_RDLCK, 200, 100));
	CHECK(REFUSED(in_child(F_WRLCK, 200, 100)));
	close(fd);
	return 0;
}

static int fcntl_ends_with_process(const struct px_backend *b)
{
	int fd = opened(O_RDWR);

	(void)b;
	TRY(in_child(F_WRLCK, 0, 0));
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 0));
	close(fd);
	return 0;
}

static int fcntl_ends_with_any_close(const struct px_backend *b)
{
	int fd = opened(O_RDWR), other = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 0));
	close(other);
	TRY(in_child(F_WRLCK, 0, 0));
	close(fd);
	return 0;
}

static int fcntl_take(int fd)
{
	return lock_cmd(fd, F_SETLKW, F_WRLCK, 0, 10);
}
static int fcntl_give(int fd)
{
	return lock_cmd(fd, F_SETLK, F_UNLCK, 0, 10);
}

static int fcntl_waits(const struct px_backend *b)
{
	int fd = opened(O_RDWR), err;

	(void)b;
	TRY(fcntl_take(fd));
	err = waits(fd, fcntl_take, fcntl_give);
	close(fd);
	return err;
}

/* The child has byte 1 and waits for byte 0, which this process has and which asks for byte 1. */
static int fcntl_deadlock(const struct px_backend *b)
{
	const struct timespec pause = {.tv_nsec = 150000000};
	int fd = opened(O_RDWR), status, got, ready[2];
	char byte;
	pid_t pid;

	(void)b;
	CHECK(pipe2(ready, O_CLOEXEC) == 0);
	TRY(lock_cmd(fd, F_SETLK, F_WRLCK, 0, 1));
	pid = fork();
	if (pid == 0) {
		int own = opened(O_RDWR);

		alarm(20);
		if (lock_cmd(own, F_SETLK, F_WRLCK, 1, 1) || write(ready[1], "x", 1) != 1)
			_exit(1);
		_exit(lock_cmd(own, F_SETLKW, F_WRLCK, 0, 1) ? 2 : 0);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	nanosleep(&pause, NULL);
	alarm(20);
	got = lock_cmd(fd, F_SETLKW, F_WRLCK, 1, 1);
	alarm(0);
	close(fd);
	close(ready[0]);
	close(ready[1]);
	CHECK(waitpid(pid, &status, 0) == pid);
	WANT(got, -EDEADLK);
	WANT(status, 0);
	return 0;
}

static int fcntl_needs_mode(const struct px_backend *b)
{
	int ro = opened(O_RDONLY), wo = opened(O_WRONLY);

	(void)b;
	WANT(lock_cmd(ro, F_SETLK, F_WRLCK, 0, 0), -EBADF);
	WANT(lock_cmd(wo, F_SETLK, F_RDLCK, 0, 0), -EBADF);
	TRY(lock_cmd(ro, F_SETLK, F_RDLCK, 0, 0));
	TRY(lock_cmd(wo, F_SETLK, F_WRLCK, 0, 0));
	WANT(lock_cmd(wo, F_SETLK, F_WRLCK, -5, 0), -EINVAL);
	close(ro);
	close(wo);
	return 0;
}

static int ofd_conflict(const struct px_backend *b)
{
	int one = opened(O_RDWR), two = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(one, F_OFD_SETLK, F_WRLCK, 0, 100));
	WANT(lock_cmd(two, F_OFD_SETLK, F_RDLCK, 50, 10), -EAGAIN);
	TRY(lock_cmd(two, F_OFD_SETLK, F_WRLCK, 100, 100));
	CHECK(REFUSED(in_child(F_WRLCK, 0, 1)));
	close(one);
	TRY(lock_cmd(two, F_OFD_SETLK, F_WRLCK, 0, 100));
	close(two);
	return 0;
}

static int ofd_of_dup(const struct px_backend *b)
{
	int one = opened(O_RDWR), same = dup(one), other = opened(O_RDWR);

	(void)b;
	TRY(lock_cmd(one, F_OFD_SETLK, F_WRLCK, 0, 0));
	TRY(lock_cmd(same, F_OFD_SETLK, F_RDLCK, 0, 0));
	close(other); /* of another open file: nothing ends */
	CHECK(REFUSED(in_child(F_WRLCK, 0, 1)));
	close(one);
	CHECK(REFUSED(in_child(F_WRLCK, 0, 1)));
	close(same);
	TRY(in_child(F_WRLCK, 0, 1));
	return 0;
}

const struct px_function px_functions_lock[] = {
    {"flock_exclusive", flock_exclusive},
    {"flock_shared", flock_shared},
    {"flock_of_dup", flock_of_dup},
    {"flock_ends_with_close", flock_ends_with_close},
    {"flock_waits", flock_waits},
    {"fcntl_conflict", fcntl_conflict},
    {"fcntl_ranges", fcntl_ranges},
    {"fcntl_shared", fcntl_shared},
    {"fcntl_getlk", fcntl_getlk},
    {"fcntl_split", fcntl_split},
    {"fcntl_ends_with_process", fcntl_ends_with_process},
    {"fcntl_ends_with_any_close", fcntl_ends_with_any_close},
    {"fcntl_waits", fcntl_waits},
    {"fcntl_deadlock", fcntl_deadlock},
    {"fcntl_needs_mode", fcntl_needs_mode},
    {"ofd_conflict", ofd_conflict},
    {"ofd_of_dup", ofd_of_dup},
    {NULL, NULL},
};
