/* Files in memory maps, through the kernel's page cache. */
#include "functions.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BYTES 20000

static int make(const char *name, char with, size_t len)
{
	char buf[BYTES];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	memset(buf, with, sizeof(buf));
	if (fd >= 0 && len && write(fd, buf, len) != (ssize_t)len) {
		close(fd);
		return -1;
	}
	return fd;
}

static char *map(int fd, size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool all(const char *p, char with, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != with)
			return false;
	return true;
}

static int map_reads_file(const struct px_backend *b)
{
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	CHECK(all(p, 'x', BYTES));
	munmap(p, BYTES);
	close(fd);
	return 0;
}

static int map_writes_file(const struct px_backend *b)
{
	char buf[BYTES];
	int fd = make("f", 'x', BYTES), other;
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	memset(p + 5000, 'y', 5000);
	CHECK(pread(fd, buf, BYTES, 0) == BYTES);
	CHECK(all(buf, 'x', 5000) && all(buf + 5000, 'y', 5000) && all(buf + 10000, 'x', 10000));
	CHECK(msync(p, BYTES, MS_SYNC) == 0);
	munmap(p, BYTES);
	close(fd);
	other = open("f", O_RDONLY | O_CLOEXEC);
	CHECK(pread(other, buf, BYTES, 0) == BYTES && all(buf + 5000, 'y', 5000));
	close(other);
	return 0;
}

static int map_sees_write(const struct px_backend *b)
{
	char y[5000];
	int fd = make("f", 'x', BYTES);
	int other = open("f", O_RDWR | O_CLOEXEC);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && other >= 0 && p);
	CHECK(all(p, 'x', BYTES));
	memset(y, 'y', sizeof(y));
	CHECK(pwrite(other, y, sizeof(y), 3000) == (ssize_t)sizeof(y));
	CHECK(all(p, 'x', 3000) && all(p + 3000, 'y', 5000) && all(p + 8000, 'x', BYTES - 8000));
	p[3001] = 'z';
	CHECK(pwrite(other, y, 10, 100) == 10);
	CHECK(p[100] == 'y' && p[3001] == 'z');
	munmap(p, BYTES);
	close(fd);
	close(other);
	return 0;
}

static int map_of_two_processes(const struct px_backend *b)
{
	int fd = make("f", 'x', BYTES), status;
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);
	pid_t pid;

	(void)b;
	CHECK(fd >= 0 && p);
	pid = fork();
	if (pid == 0) {
		int own = open("f", O_RDWR | O_CLOEXEC);
		char *q = map(own, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

		if (q)
			memset(q + 4096, 'c', 4096);
		_exit(q ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(all(p + 4096, 'c', 4096) && p[4095] == 'x' && p[8192] == 'x');
	munmap(p, BYTES);
	close(fd);
	return 0;
}

static int map_private(const struct px_backend *b)
{
	char buf[100];
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	(void)b;
	CHECK(fd >= 0 && p);
	memset(p, 'y', 100);
	CHECK(pread(fd, buf, 100, 0) == 100 && all(buf, 'x', 100));
	munmap(p, BYTES);
	close(fd);
	return 0;
}

static sigjmp_buf bus;
static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

/* 0: the byte is there; SIGBUS: it is not. */
static int touch(const volatile char *p)
{
	struct sigaction sa = {.sa_handler = on_bus}, old;
	int sig;

	sigaction(SIGBUS, &sa, &old);
	sig = sigsetjmp(bus, 1);
	if (sig == 0)
		(void)*p;
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

static int map_behind_end(const struct px_backend *b)
{
	int fd = make("f", 'x', 5000);
	char *p = map(fd, 16384, PROT_READ, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	CHECK(touch(p + 4999) == 0 && touch(p + 8191) == 0);
	CHECK(touch(p + 8192) == SIGBUS);
	munmap(p, 16384);
	close(fd);
	return 0;
}

static int map_tail_is_zero(const struct px_backend *b)
{
	char buf[8192];
	int fd = make("f", 'x', 5000);
	char *p = map(fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	CHECK(all(p, 'x', 5000) && all(p + 5000, 0, 3192));
	memset(p + 5000, 'y', 3192);
	CHECK(msync(p, 8192, MS_SYNC) == 0);
	munmap(p, 8192);
	CHECK(ftruncate(fd, 8192) == 0);
	CHECK(pread(fd, buf, 8192, 0) == 8192);
	CHECK(all(buf, 'x', 5000) && all(buf + 5000, 0, 3192));
	close(fd);
	return 0;
}

static int map_after_truncate(const struct px_backend *b)
{
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	p[10000] = 'y';
	CHECK(ftruncate(fd, 4096) == 0);
	CHECK(touch(p + 4095) == 0 && touch(p + 4096) == SIGBUS);
	CHECK(ftruncate(fd, BYTES) == 0);
	CHECK(all(p, 'x', 4096) && all(p + 4096, 0, BYTES - 4096));
	munmap(p, BYTES);
	close(fd);
	return 0;
}

static int map_unlinked(const struct px_backend *b)
{
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	CHECK(unlink("f") == 0);
	close(fd);
	CHECK(all(p, 'x', BYTES));
	memset(p, 'y', BYTES);
	CHECK(msync(p, BYTES, MS_SYNC) == 0 && all(p, 'y', BYTES));
	munmap(p, BYTES);
	return 0;
}

static int map_fills_hole(const struct px_backend *b)
{
	char buf[100];
	struct stat st;
	int fd = make("f", 'x', 0);
	char *p;

	(void)b;
	CHECK(fd >= 0 && ftruncate(fd, 1000000) == 0);
	p = map(fd, 1000000, PROT_READ | PROT_WRITE, MAP_SHARED);
	CHECK(p && all(p, 0, 1000000));
	p[500000] = 'y';
	CHECK(msync(p, 1000000, MS_SYNC) == 0);
	CHECK(pread(fd, buf, 100, 499950) == 100 && buf[50] == 'y' && all(buf, 0, 50));
	CHECK(fstat(fd, &st) == 0 && st.st_size == 1000000 && st.st_blocks > 0 && st.st_blocks < 1000);
	munmap(p, 1000000);
	close(fd);
	return 0;
}

static int map_closed(const struct px_backend *b)
{
	char buf[100];
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p);
	close(fd);
	memset(p, 'y', 100);
	munmap(p, BYTES);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	CHECK(pread(fd, buf, 100, 0) == 100 && all(buf, 'y', 100));
	close(fd);
	return 0;
}

/* mtime and ctime are those of a moment between the first store and the end of msync. */
static int map_times(const struct px_backend *b)
{
	const struct timespec pause = {.tv_nsec = 30000000};
	struct stat before, after;
	int fd = make("f", 'x', BYTES);
	char *p = map(fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)b;
	CHECK(fd >= 0 && p && fstat(fd, &before) == 0);
	nanosleep(&pause, NULL);
	p[0] = 'y';
	CHECK(msync(p, BYTES, MS_SYNC) == 0 && fstat(fd, &after) == 0);
	munmap(p, BYTES);
	close(fd);
	CHECK(after.st_mtim.tv_sec > before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
	CHECK(after.st_ctim.tv_sec > before.st_ctim.tv_sec || after.st_ctim.tv_nsec != before.st_ctim.tv_nsec);
	return 0;
}

static int map_of_read_only(const struct px_backend *b)
{
	int fd = make("f", 'x', BYTES), ro = open("f", O_RDONLY | O_CLOEXEC), wo = open("f", O_WRONLY | O_CLOEXEC);
	char *p;

	(void)b;
	CHECK(fd >= 0 && ro >= 0 && wo >= 0);
	CHECK(!map(ro, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED) && errno == EACCES);
	CHECK(!map(wo, BYTES, PROT_READ, MAP_SHARED) && errno == EACCES);
	p = map(ro, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	CHECK(p);
	munmap(p, BYTES);
	close(fd);
	close(ro);
	close(wo);
	return 0;
}

const struct px_function px_functions_map[] = {
    {"map_reads_file", map_reads_file},
    {"map_writes_file", map_writes_file},
    {"map_sees_write", map_sees_write},
    {"map_of_two_processes", map_of_two_processes},
    {"map_private", map_private},
    {"map_behind_end", map_behind_end},
    {"map_tail_is_zero", map_tail_is_zero},
    {"map_after_truncate", map_after_truncate},
    {"map_unlinked", map_unlinked},
    {"map_fills_hole", map_fills_hole},
    {"map_closed", map_closed},
    {"map_times", map_times},
    {"map_of_read_only", map_of_read_only},
    {NULL, NULL},
};
