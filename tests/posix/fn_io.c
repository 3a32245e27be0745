/* Other things that only a mounted filesystem has: ways to read and write, programs, pipes and sockets by name, directories
 * that are worked in. */
#include "functions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t ret(int64_t r)
{
	return r < 0 ? -errno : r;
}

static int opened(const char *name, int flags)
{
	return open(name, flags | O_CREAT | O_CLOEXEC, 0644);
}

static bool all(const char *p, char with, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != with)
			return false;
	return true;
}

#define DIRECT 65536
static int direct_io(const struct px_backend *b)
{
	static char x[DIRECT] __attribute__((aligned(4096))), got[DIRECT] __attribute__((aligned(4096)));
	int fd = opened("f", O_RDWR | O_DIRECT), plain = opened("f", O_RDWR);

	(void)b;
	if (fd < 0 && errno == EINVAL) {
		close(plain); /* this filesystem has none */
		return 0;
	}
	memset(x, 'x', DIRECT);
	WANT(ret(pwrite(fd, x, DIRECT, 0)), DIRECT);
	WANT(ret(pread(plain, got, DIRECT, 0)), DIRECT);
	CHECK(all(got, 'x', DIRECT));
	memset(x, 'y', 4096);
	WANT(ret(pwrite(plain, x, 4096, 8192)), 4096);
	WANT(ret(pread(fd, got, DIRECT, 0)), DIRECT);
	CHECK(all(got, 'x', 8192) && all(got + 8192, 'y', 4096) && all(got + 12288, 'x', DIRECT - 12288));
	WANT(ret(pread(fd, got, DIRECT, DIRECT)), 0);
	close(fd);
	close(plain);
	return 0;
}

static int vectors(const struct px_backend *b)
{
	char one[10], two[5000], three[1];
	struct iovec iov[3] = {{one, sizeof(one)}, {two, sizeof(two)}, {three, sizeof(three)}};
	int fd = opened("f", O_RDWR);

	(void)b;
	memset(one, 'a', sizeof(one));
	memset(two, 'b', sizeof(two));
	three[0] = 'c';
	WANT(ret(pwritev(fd, iov, 3, 7)), 5011);
	memset(one, 0, sizeof(one));
	memset(two, 0, sizeof(two));
	WANT(ret(preadv(fd, iov, 3, 7)), 5011);
	CHECK(all(one, 'a', sizeof(one)) && all(two, 'b', sizeof(two)) && three[0] == 'c');
	close(fd);
	return 0;
}

static int sendfile_copies(const struct px_backend *b)
{
	static char x[300000], got[300000];
	int in = opened("in", O_RDWR), out = opened("out", O_RDWR);
	off_t off = 0;

	(void)b;
	memset(x, 'x', sizeof(x));
	WANT(ret(pwrite(in, x, sizeof(x), 0)), sizeof(x));
	while (off < (off_t)sizeof(x))
		CHECK(sendfile(out, in, &off, sizeof(x) - (size_t)off) > 0);
	WANT(ret(pread(out, got, sizeof(got), 0)), sizeof(got));
	CHECK(memcmp(x, got, sizeof(x)) == 0);
	close(in);
	close(out);
	return 0;
}

static int splice_reads(const struct px_backend *b)
{
	char x[10000], got[10000];
	int fd = opened("f", O_RDWR), pipes[2];
	off_t off = 100;
	int64_t n;

	(void)b;
	for (size_t i = 0; i < sizeof(x); i++)
		x[i] = (char)(i * 7);
	WANT(ret(pwrite(fd, x, sizeof(x), 0)), sizeof(x));
	CHECK(pipe2(pipes, O_CLOEXEC) == 0);
	n = ret(splice(fd, &off, pipes[1], NULL, 5000, 0));
	CHECK(n > 0);
	WANT(ret(read(pipes[0], got, sizeof(got))), n);
	CHECK(memcmp(got, x + 100, (size_t)n) == 0);
	off = 20000;
	CHECK(write(pipes[1], x, 3000) == 3000);
	WANT(ret(splice(pipes[0], NULL, fd, &off, 3000, 0)), 3000);
	WANT(ret(pread(fd, got, 3000, 20000)), 3000);
	CHECK(memcmp(got, x, 3000) == 0);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}

static int offset_shared_by_fork(const struct px_backend *b)
{
	int fd = opened("f", O_RDWR), status;
	char got[20];
	pid_t pid;

	(void)b;
	CHECK(write(fd, "aaaaa", 5) == 5);
	pid = fork();
	if (pid == 0)
		_exit(write(fd, "bbbbb", 5) == 5 ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(write(fd, "ccccc", 5) == 5);
	WANT(ret(pread(fd, got, sizeof(got), 0)), 15);
	CHECK(memcmp(got, "aaaaabbbbbccccc", 15) == 0);
	close(fd);
	return 0;
}

static int lseek_ends(const struct px_backend *b)
{
	int fd = opened("f", O_RDWR);

	(void)b;
	CHECK(write(fd, "0123456789", 10) == 10);
	WANT(lseek(fd, 0, SEEK_CUR), 10);
	WANT(lseek(fd, -3, SEEK_END), 7);
	WANT(lseek(fd, 100, SEEK_SET), 100);
	WANT(ret(lseek(fd, -1, SEEK_SET)), -EINVAL);
	WANT(lseek(fd, 0, SEEK_CUR), 100);
	CHECK(write(fd, "x", 1) == 1);
	WANT(lseek(fd, 0, SEEK_END), 101);
	close(fd);
	return 0;
}

static int copy_program(const char *from, const char *to)
{
	static char buf[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	ssize_t n = 1;

	while (in >= 0 && out >= 0 && n > 0) {
		n = read(in, buf, sizeof(buf));
		if (n > 0 && write(out, buf, (size_t)n) != n)
			n = -1;
	}
	close(in);
	close(out);
	return n == 0 ? 0 : -1;
}

/* The exit code of the program; -errno when it cannot be begun. */
static int run_program(const char *path, uid_t uid)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (uid && setresuid(uid, uid, uid))
			_exit(126);
		execl(path, path, (char *)NULL);
		_exit(errno == EACCES ? 125 : 124);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -ECHILD;
	return WEXITSTATUS(status);
}

static int exec_runs(const struct px_backend *b)
{
	(void)b;
	CHECK(copy_program("/bin/true", "true") == 0);
	CHECK(copy_program("/bin/false", "false") == 0);
	WANT(run_program("./true", 0), 0);
	WANT(run_program("./false", 0), 1);
	return 0;
}

static int exec_needs_x(const struct px_backend *b)
{
	(void)b;
	CHECK(copy_program("/bin/true", "true") == 0 && chmod("true", 0644) == 0);
	WANT(run_program("./true", 0), 125);
	CHECK(chmod("true", 0744) == 0);
	WANT(run_program("./true", 1000), 125);
	CHECK(chmod("true", 0755) == 0);
	WANT(run_program("./true", 1000), 0);
	return 0;
}

/* 'id' of a setuid program: a mount with nosuid runs it as the caller. Either is right; that it runs is what counts. */
static int setuid_program(const struct px_backend *b)
{
	(void)b;
	CHECK(copy_program("/bin/true", "true") == 0 && chmod("true", 04755) == 0);
	WANT(run_program("./true", 1000), 0);
	return 0;
}

static int write_program_in_use(const struct px_backend *b)
{
	int fd, status, pipes[2];
	char byte;
	pid_t pid;

	(void)b;
	CHECK(copy_program("/bin/cat", "cat") == 0 && pipe(pipes) == 0);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[0], 0);
		close(pipes[1]);
		execl("./cat", "cat", "-", (char *)NULL);
		_exit(1);
	}
	close(pipes[0]);
	for (int i = 0; i < 1000; i++) {
		char link[64], exe[512];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/%d/exe", pid);
		n = readlink(link, exe, sizeof(exe) - 1);
		if (n > 4 && memcmp(exe + n - 4, "/cat", 4) == 0)
			break;
		usleep(1000);
	}
	fd = open("cat", O_WRONLY | O_CLOEXEC);
	byte = fd < 0 && errno == ETXTBSY;
	close(fd);
	close(pipes[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(byte);
	return 0;
}

static int fifo_carries(const struct px_backend *b)
{
	char got[10];
	int status, fd;
	pid_t pid;

	(void)b;
	CHECK(mkfifo("p", 0600) == 0);
	pid = fork();
	if (pid == 0) {
		fd = open("p", O_WRONLY | O_CLOEXEC);
		_exit(write(fd, "hello", 5) == 5 ? 0 : 1);
	}
	fd = open("p", O_RDONLY | O_CLOEXEC);
	WANT(ret(read(fd, got, sizeof(got))), 5);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	close(fd);
	return 0;
}

static int socket_binds(const struct px_backend *b)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	(void)b;
	TRY(ret(bind(server, (struct sockaddr *)&a, sizeof(a))));
	TRY(ret(listen(server, 1)));
	CHECK(lstat("sock", &st) == 0 && S_ISSOCK(st.st_mode));
	TRY(ret(connect(client, (struct sockaddr *)&a, sizeof(a))));
	close(client);
	close(server);
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	WANT(ret(connect(client, (struct sockaddr *)&a, sizeof(a))), -ECONNREFUSED);
	close(client);
	return 0;
}

static int removed_cwd(const struct px_backend *b)
{
	char cwd[4096];
	int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	(void)b;
	CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0 && rmdir("../d") == 0);
	err = mkdir("x", 0755) ? errno : 0;
	if (err == ENOENT && open("f", O_RDWR | O_CREAT, 0644) >= 0)
		err = 0;
	if (err == ENOENT && getcwd(cwd, sizeof(cwd)))
		err = 0;
	CHECK(fchdir(back) == 0);
	close(back);
	WANT(err, ENOENT);
	return 0;
}

static int removed_cwd_stat(const struct px_backend *b)
{
	struct stat st = {0};
	int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	(void)b;
	CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0 && rmdir("../d") == 0);
	err = stat(".", &st) ? errno : 0;
	CHECK(fchdir(back) == 0);
	close(back);
	WANT(err, 0);
	CHECK(st.st_nlink == 0);
	return 0;
}

static int create_in_removed_dir(const struct px_backend *b)
{
	int dir;

	(void)b;
	CHECK(mkdir("d", 0755) == 0);
	dir = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0 && rmdir("d") == 0);
	WANT(ret(openat(dir, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644)), -ENOENT);
	WANT(ret(mkdirat(dir, "e", 0755)), -ENOENT);
	WANT(ret(symlinkat("x", dir, "l")), -ENOENT);
	close(dir);
	return 0;
}

static int fsync_dir(const struct px_backend *b)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)b;
	TRY(ret(fsync(dir)));
	TRY(ret(fdatasync(dir)));
	close(dir);
	return 0;
}

static int openat_of_dir(const struct px_backend *b)
{
	int dir, fd;

	(void)b;
	CHECK(mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0);
	dir = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	CHECK(fd >= 0);
	CHECK(rename("d", "e/g") == 0);
	WANT(ret(unlinkat(dir, "f", 0)), 0);
	WANT(ret(openat(fd, "x", O_RDONLY | O_CLOEXEC)), -ENOTDIR);
	WANT(ret(openat(-1, "x", O_RDONLY | O_CLOEXEC)), -EBADF);
	close(fd);
	close(dir);
	return 0;
}

static int syncfs_works(const struct px_backend *b)
{
	int fd = opened("f", O_RDWR);

	(void)b;
	CHECK(write(fd, "x", 1) == 1);
	TRY(ret(syncfs(fd)));
	TRY(ret(fdatasync(fd)));
	close(fd);
	return 0;
}

static int statx_btime(const struct px_backend *b)
{
	struct statx st;
	int fd = opened("f", O_RDWR);

	(void)b;
	TRY(ret(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st)));
	CHECK((st.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	if (st.stx_mask & STATX_BTIME)
		CHECK(st.stx_btime.tv_sec >= st.stx_mtime.tv_sec - 60 && st.stx_btime.tv_sec <= st.stx_mtime.tv_sec);
	close(fd);
	return 0;
}

#define LARGE (24u << 20)
static int large_write(const struct px_backend *b)
{
	char *x = malloc(LARGE), *got = malloc(LARGE);
	int fd = opened("f", O_RDWR);
	int64_t wrote, seen;
	bool same;

	(void)b;
	for (size_t i = 0; i < LARGE; i++)
		x[i] = (char)(i >> 8);
	wrote = ret(pwrite(fd, x, LARGE, 12345));
	seen = ret(pread(fd, got, LARGE, 12345));
	same = memcmp(x, got, LARGE) == 0;
	free(x);
	free(got);
	close(fd);
	WANT(wrote, LARGE);
	WANT(seen, LARGE);
	CHECK(same);
	return 0;
}

/* stat, fstat and readdir agree on them. */
static int inode_numbers(const struct px_backend *b)
{
	struct stat st[3];
	int fd = opened("f", O_RDWR);

	(void)b;
	CHECK(mkdir("d", 0755) == 0);
	CHECK(fstat(fd, &st[0]) == 0 && stat("f", &st[1]) == 0 && stat("d", &st[2]) == 0);
	CHECK(st[0].st_ino == st[1].st_ino && st[0].st_ino != st[2].st_ino);
	CHECK(st[0].st_dev == st[2].st_dev);
	CHECK(rename("f", "d/g") == 0 && stat("d/g", &st[1]) == 0);
	CHECK(st[0].st_ino == st[1].st_ino);
	close(fd);
	return 0;
}

/* As a server for NFS does it: the file's own handle goes on, also over a rename, and is stale when the file is gone, also when
 * its number is another one's by then. */
static int handles(const struct px_backend *b)
{
	struct {
		struct file_handle h;
		char rest[MAX_HANDLE_SZ];
	} handle = {.h.handle_bytes = MAX_HANDLE_SZ};
	int id, root = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = opened("f", O_RDWR);
	char name[32];

	(void)b;
	CHECK(write(fd, "hello", 5) == 5 && close(fd) == 0);
	TRY(ret(name_to_handle_at(AT_FDCWD, "f", &handle.h, &id, 0)));
	CHECK(rename("f", "g") == 0);
	fd = open_by_handle_at(root, &handle.h, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, name, sizeof(name)) == 5 && close(fd) == 0);
	CHECK(unlink("g") == 0);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		CHECK(close(opened(name, O_RDWR)) == 0);
	}
	WANT(ret(open_by_handle_at(root, &handle.h, O_RDONLY | O_CLOEXEC)), -ESTALE);
	close(root);
	return 0;
}

static int bad_buffer(const struct px_backend *b)
{
	int fd = opened("f", O_RDWR);
	char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)b;
	CHECK(nowhere != MAP_FAILED);
	WANT(ret(pwrite(fd, nowhere, 100, 0)), -EFAULT);
	CHECK(write(fd, "hello", 5) == 5);
	WANT(ret(pread(fd, nowhere, 5, 0)), -EFAULT);
	WANT(ret(open(nowhere, O_RDONLY)), -EFAULT);
	munmap(nowhere, 4096);
	close(fd);
	return 0;
}

static int chdir_needs_search(const struct px_backend *b)
{
	int err, back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(mkdir("d", 0744) == 0 && mkdir("e", 0711) == 0 && mknod("f", S_IFREG | 0644, 0) == 0);
	TRY(b->become(1000, 1000));
	WANT(ret(chdir("d")), -EACCES);
	WANT(ret(chdir("f")), -ENOTDIR);
	err = chdir("e") ? errno : 0;
	b->become(-1, -1);
	CHECK(fchdir(back) == 0);
	close(back);
	WANT(err, 0);
	return 0;
}

const struct px_function px_functions_io[] = {
    {"direct_io", direct_io},
    {"vectors", vectors},
    {"sendfile_copies", sendfile_copies},
    {"splice_reads", splice_reads},
    {"offset_shared_by_fork", offset_shared_by_fork},
    {"lseek_ends", lseek_ends},
    {"exec_runs", exec_runs},
    {"exec_needs_x", exec_needs_x},
    {"setuid_program", setuid_program},
    {"write_program_in_use", write_program_in_use},
    {"fifo_carries", fifo_carries},
    {"socket_binds", socket_binds},
    {"removed_cwd", removed_cwd},
    {"removed_cwd_stat", removed_cwd_stat},
    {"create_in_removed_dir", create_in_removed_dir},
    {"fsync_dir", fsync_dir},
    {"openat_of_dir", openat_of_dir},
    {"syncfs_works", syncfs_works},
    {"statx_btime", statx_btime},
    {"large_write", large_write},
    {"inode_numbers", inode_numbers},
    {"bad_buffer", bad_buffer},
    {"handles", handles},
    {"chdir_needs_search", chdir_needs_search},
    {NULL, NULL},
};
