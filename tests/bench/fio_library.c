/* fio on the library: loaded into fio (LD_PRELOAD), the files that fio opens below $HF_FIO_DIR become files of the same name in the volume
 * $HF_FIO_VOLUME, as far as their bytes go. fio sees the empty file of that name and size in the folder, and its psync engine calls
 * pread and pwrite of it: these are hf_pread and hf_pwrite. So the same jobs run on the library, on a mount and on any filesystem.
 *
 * Jobs have to be threads (--thread): a volume has one owner. Blocks are there before fio begins: jobs overwrite. */
#include <holdfast.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 4096			/* descriptors */
#define O_CREAT_ 0100			/* fcntl.h declares what is defined here */

int open64(const char *path, int flags, ...);
int close(int fd);
ssize_t pread64(int fd, void *buf, size_t n, off_t off);
ssize_t pwrite64(int fd, const void *buf, size_t n, off_t off);
int fsync(int fd);
int fdatasync(int fd);

static hf_file *_Atomic files[FILES];
static hf_volume *vol;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX: dlsym's result is the function. */
#define REAL(name, ...)                                                                                    \
	__extension__({                                                                                    \
		static __typeof__(name) *fn;                                                               \
		if (!fn)                                                                                   \
			*(void **)&fn = dlsym(RTLD_NEXT, #name);                                           \
		fn(__VA_ARGS__);                                                                           \
	})

static __attribute__((noreturn)) void stop(const char *what)
{
	fprintf(stderr, "fio_library: %s: %s\n", what, hf_errormsg());
	_exit(1);
}

static void unmount(void)
{
	if (vol && hf_unmount(&vol))
		fprintf(stderr, "fio_library: unmount: %s\n", hf_errormsg());
}

static void mount_volume(void)
{
	const char *path = getenv("HF_FIO_VOLUME");

	if (!path || hf_mount(&vol, path, NULL))
		stop(path ? path : "HF_FIO_VOLUME is not set");
	atexit(unmount);
}

/* Its name in the volume, or NULL: it is none of ours. */
static const char *ours(const char *path)
{
	const char *dir = getenv("HF_FIO_DIR");
	size_t n = dir ? strlen(dir) : 0;

	return n && !strncmp(path, dir, n) && path[n] == '/' ? path + n : NULL;
}

/* And looked at once: this process has only just mapped the volume, a mount has it since long. */
static void fill(hf_file *f, uint64_t size)
{
	static const char zeros[1 << 20];
	static char seen[1 << 20];
	struct hf_stat st;
	uint64_t at;

	if (hf_fstat(f, &st))
		stop("stat");
	for (at = st.size; at < size; at += sizeof(zeros))
		if (hf_pwrite(f, zeros, size - at < sizeof(zeros) ? size - at : sizeof(zeros), at) < 0)
			stop("filling a file");
	for (at = 0; at < size; at += sizeof(seen))
		if (hf_pread(f, seen, sizeof(seen), at) < 0)
			stop("reading a file");
}

static void take(int fd, const char *name)
{
	struct stat st;
	hf_file *f = NULL;

	pthread_once(&once, mount_volume);
	if (fd >= FILES || fstat(fd, &st) || hf_open(vol, name, HF_O_RDWR | HF_O_CREAT, 0600, &f))
		stop(name);
	fill(f, (uint64_t)st.st_size);
	atomic_store(&files[fd], f);
}

int open64(const char *path, int flags, ...)
{
	const char *name = ours(path);
	va_list ap;
	unsigned mode;
	int fd;

	va_start(ap, flags);
	mode = flags & O_CREAT_ ? va_arg(ap, unsigned) : 0;
	va_end(ap);
	fd = REAL(open64, path, flags, mode);
	if (fd >= 0 && name)
		take(fd, name);
	return fd;
}

static hf_file *file_of(int fd)
{
	return fd >= 0 && fd < FILES ? atomic_load_explicit(&files[fd], memory_order_relaxed) : NULL;
}

int close(int fd)
{
	hf_file *f = file_of(fd);

	if (f) {
		atomic_store(&files[fd], NULL);
		(void)hf_close(&f);
	}
	return REAL(close, fd);
}

static ssize_t result(int64_t ret)
{
	if (ret >= 0)
		return (ssize_t)ret;
	errno = (int)-ret;
	return -1;
}

ssize_t pread64(int fd, void *buf, size_t n, off_t off)
{
	hf_file *f = file_of(fd);

	return f ? result(hf_pread(f, buf, n, (uint64_t)off)) : REAL(pread64, fd, buf, n, off);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t off)
{
	hf_file *f = file_of(fd);

	return f ? result(hf_pwrite(f, buf, n, (uint64_t)off)) : REAL(pwrite64, fd, buf, n, off);
}

int fsync(int fd)
{
	hf_file *f = file_of(fd);

	return f ? (int)result(hf_fsync(f)) : REAL(fsync, fd);
}

int fdatasync(int fd)
{
	hf_file *f = file_of(fd);

	return f ? (int)result(hf_fsync(f)) : REAL(fdatasync, fd);
}
