/* The same steps on holdfast and on the kernel's DAX file systems: what a device may register, what
 *waits for it, whose data it sees afterwards, and what is left of the large pages after a long
 *life.
 *
 *	side_by_side VOLUME|DIRECTORY		a directory is that of a mounted file system; a
 *volume is overwritten
 *
 * Prints lines 'NAME<tab>VALUE<tab>DETAIL'. tests/guest/side_by_side.sh makes the table. */
#include "side.h"
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <inttypes.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define MIB	   (1u << 20)
#define FRAME	   (2 * MIB)
#define PAGE	   4096u
#define FILE_BYTES (4 * MIB)
#define HOLD_S	   2.0 /* how long the device is at work */
#define READER_S   0.5 /* when another one reads the file, after that began */

static const struct side_ops *fs;
static const char *const held = "/held", *const filler = "/filler";

void side_must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror((int)-err));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
	while (now() < when)
		usleep(1000);
}

static void make_file(const char *name, struct side_file *f, int byte, uint64_t bytes)
{
	static char chunk[MIB];

	memset(chunk, byte, sizeof(chunk));
	side_must(fs->create(name, f), name);
	side_must(fs->allocate(f, bytes), name);
	for (uint64_t off = 0; off < bytes; off += sizeof(chunk))
		side_must(fs->write(f, chunk, sizeof(chunk), off) == MIB ? 0 : -ENOSPC, name);
}

static void drop_file(const char *name, struct side_file *f)
{
	side_must(fs->close_file(f), name);
	side_must(fs->unlink(name), name);
}

/* ---- registration for as long as one likes */

static void answer(const char *what, int err)
{
	const char *name = strerrorname_np(-err);

	printf("%s\t%s%s\n", what, err ? "refused: " : "works",
	       err ? name ? name : strerror(-err) : "");
}

static void register_uring(void)
{
	struct side_file f;
	struct io_uring ring;
	struct iovec iov;
	int err;

	make_file(held, &f, 'H', FILE_BYTES);
	side_must(fs->hold(&f, 0, FRAME), "hold");
	iov = (struct iovec){f.addr, f.len};
	side_must(io_uring_queue_init(2, &ring, 0), "io_uring_queue_init");
	err = io_uring_register_buffers(&ring, &iov, 1);
	answer("io_uring registered buffer", err);
	io_uring_queue_exit(&ring);
	fs->hold_end(&f);
	drop_file(held, &f);
}

static void register_verbs(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = list && list[0] ? ibv_open_device(list[0]) : NULL;
	struct ibv_pd *pd = ctx ? ibv_alloc_pd(ctx) : NULL;
	struct side_file f;
	struct ibv_mr *mr;

	if (!pd) {
		printf("ibv_reg_mr\tno device\n");
		return;
	}
	make_file(held, &f, 'H', FILE_BYTES);
	side_must(fs->hold(&f, 0, FRAME), "hold");
	mr = ibv_reg_mr(pd, f.addr, f.len, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	answer("ibv_reg_mr", mr ? 0 : -errno);
	if (mr)
		ibv_dereg_mr(mr);
	fs->hold_end(&f);
	drop_file(held, &f);
	ibv_dealloc_pd(pd);
	ibv_close_device(ctx);
	ibv_free_device_list(list);
}

/* ---- a device at work: a pipe has the pages */

struct device {
	int fd[2];
	size_t bytes;
	unsigned char *got;
};

static void device_ready(struct device *d, size_t len)
{
	side_must(pipe(d->fd) ? -errno : 0, "pipe");
	side_must(fcntl(d->fd[1], F_SETPIPE_SZ, (int)len) < 0 ? -errno : 0, "F_SETPIPE_SZ");
	d->bytes = 0;
	d->got = malloc(len);
	side_must(d->got ? 0 : -ENOMEM, "malloc");
}

static void device_take(struct device *d, void *addr, size_t len)
{
	struct iovec iov = {addr, len};

	side_must(vmsplice(d->fd[1], &iov, 1, SPLICE_F_NONBLOCK) == (ssize_t)len ? 0 : -EAGAIN,
		  "vmsplice");
	d->bytes += len;
}

/* It is done: what did it see? */
static void device_done(struct device *d)
{
	size_t got = 0;
	ssize_t n;

	do {
		n = read(d->fd[0], d->got + got, d->bytes - got);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 && got < d->bytes);
	side_must(got == d->bytes ? 0 : -EIO, "the pipe");
	close(d->fd[0]);
	close(d->fd[1]);
}

struct cut {
	struct side_file f;
	struct device dev;
	double began;
	atomic_bool done;
	bool reader_waited;
	double reader_s; /* how long the other reader's read took */
};

static void *holder(void *arg)
{
	struct cut *c = arg;

	sleep_until(c->began + HOLD_S);
	c->done = true;
	device_done(&c->dev);
	fs->hold_end(&c->f);
	return NULL;
}

static void *reader(void *arg)
{
	struct cut *c = arg;
	char page[PAGE];

	sleep_until(c->began + READER_S);
	side_must(fs->read(&c->f, page, PAGE, 0), "read");
	c->reader_waited = c->done;
	c->reader_s = now() - c->began - READER_S;
	return NULL;
}

static int cut_truncate(struct side_file *f)
{
	return fs->truncate(f, FRAME);
}

static int cut_punch(struct side_file *f)
{
	return fs->punch(f, FRAME, FRAME);
}

static void tell_wait(const char *what, bool waited, double share)
{
	printf("%s\t%s\t%.0f %% of the hold\n", what,
	       waited ? "sleeps until the holder is done" : "does not wait", share * 100);
}

/* The second half of the file is taken away while one of its pages is held; somebody reads the
 * first half meanwhile. */
static void cut_under_hold(const char *what, int (*op)(struct side_file *))
{
	struct cut c = {0};
	pthread_t thread[2];
	char line[128];
	double took;
	bool waited;

	make_file(held, &c.f, 'H', FILE_BYTES);
	side_must(fs->hold(&c.f, FRAME, FRAME), "hold");
	device_ready(&c.dev, PAGE);
	device_take(&c.dev, c.f.addr, PAGE);
	c.began = now();
	side_must(-pthread_create(&thread[0], NULL, holder, &c), "pthread_create");
	side_must(-pthread_create(&thread[1], NULL, reader, &c), "pthread_create");
	side_must(op(&c.f), what);
	waited = c.done;
	took = now() - c.began;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	tell_wait(what, waited, took / HOLD_S);
	snprintf(line, sizeof(line), "%s, another reader of the file meanwhile", what);
	tell_wait(line, c.reader_waited, c.reader_s / (HOLD_S - READER_S));
	free(c.dev.got);
	drop_file(held, &c.f);
}

/* ---- pin, unlink, close, and other files take the room */

/* Pieces all over a file that is larger than what a file system keeps for itself when it is full:
 * some of it will be used again. */
#define HELD_BYTES  (64 * MIB)
#define HELD_STRIDE (4 * MIB)
#define HELD_PIECE  65536u

static int kernel_warnings(void)
{
	static char log[MIB];
	int n = klogctl(3, log, sizeof(log) - 1), count = 0;

	log[n > 0 ? n : 0] = 0;
	for (char *p = strstr(log, "WARNING:"); p; p = strstr(p + 1, "WARNING:"))
		count++;
	return count;
}

static void fill(void)
{
	static char chunk[MIB];
	struct side_file f;
	uint64_t off = 0;
	ssize_t n;

	memset(chunk, 'F', sizeof(chunk));
	side_must(fs->create(filler, &f), filler);
	for (int again = 0; again < 2; again++) {
		do {
			n = fs->write(&f, chunk, sizeof(chunk), off);
			off += n > 0 ? (uint64_t)n : 0;
		} while (n > 0);
		fs->free_bytes(); /* what was deleted is committed now */
	}
	side_must(n == -ENOSPC ? 0 : n, "the filler");
	side_must(fs->close_file(&f), filler);
}

/* The file is cut to nothing, or unlinked and closed, when nobody has it mapped any more: the hold
 * is all there is. */
static void blocks_go(struct side_file *f, bool cut)
{
	double began = now();

	if (cut)
		side_must(fs->truncate(f, 0), "truncate");
	else
		drop_file(held, f);
	printf("pages held, not mapped any more: %s\treturns\tafter %.0f ms\n",
	       cut ? "truncate" : "unlink and close", (now() - began) * 1e3);
}

static void refill_under_hold(bool cut)
{
	struct side_file f;
	struct device d;
	size_t own = 0, others = 0;
	const char *sees;

	make_file(held, &f, 'H', HELD_BYTES);
	side_must(fs->hold(&f, 0, HELD_BYTES), "hold");
	device_ready(&d, HELD_BYTES / HELD_STRIDE * HELD_PIECE);
	for (size_t off = 0; off < HELD_BYTES; off += HELD_STRIDE)
		device_take(&d, (char *)f.addr + off, HELD_PIECE);
	if (!fs->knows_holds)
		fs->hold_end(&f);
	blocks_go(&f, cut);
	fill();
	device_done(&d);
	if (fs->knows_holds)
		fs->hold_end(&f);
	for (size_t i = 0; i < d.bytes; i++) {
		own += d.got[i] == 'H';
		others += d.got[i] == 'F';
	}
	sees = own == d.bytes ? "its own data" : others ? "another file's data" : "neither";
	printf("and what the holder sees when others have filled the volume, after %s\t%s\t%zu %% "
	       "its own, %zu %% another file's\n",
	       cut ? "truncate" : "unlink", sees, own * 100 / d.bytes, others * 100 / d.bytes);
	free(d.got);
	if (cut)
		drop_file(held, &f);
	side_must(fs->unlink(filler), filler);
}

/* ---- large pages */

struct share {
	unsigned slots, laid, mapped, refused;
};

static bool slot_laid_out(const struct side_extent *e, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		if (off >= e[i].off && off + FRAME <= e[i].off + e[i].len)
			return (e[i].media_off + off - e[i].off) % FRAME == 0;
	return false;
}

static long faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_minflt;
}

/* Each of the 512 pages is touched: one large page is one fault (and a few of the library's own),
 * small ones are a fault each. */
static bool slot_mapped(char *p)
{
	long before = faults();

	for (size_t off = 0; off < FRAME; off += PAGE)
		((volatile char *)p)[off] = 'T';
	return faults() - before < 64;
}

/* New files, preallocated, then written, together 15 % of what the empty volume had:
 * how many of their 2 MiB are where a large page can map them, and how many are mapped by one. */
static void new_files(const char *when, uint64_t bytes)
{
	static struct side_extent e[4096];
	struct share s = {0};
	struct side_file f;
	char name[32];
	size_t n;

	for (unsigned i = 0; i < bytes / (8 * MIB); i++) {
		snprintf(name, sizeof(name), "/new%u", i);
		make_file(name, &f, 'N', 8 * MIB);
		side_must(fs->extents(&f, e, 4096, &n), "extents");
		side_must(fs->map(&f, 8 * MIB), "map");
		for (uint64_t off = 0; off < 8 * MIB; off += FRAME) {
			s.slots++;
			s.laid += slot_laid_out(e, n, off);
			if (fs->populate(&f, off, FRAME))
				s.refused++;
			else
				s.mapped += slot_mapped((char *)f.addr + off);
		}
		fs->unmap(&f);
		side_must(fs->close_file(&f), name);
	}
	for (unsigned i = 0; i < bytes / (8 * MIB); i++) {
		snprintf(name, sizeof(name), "/new%u", i);
		side_must(fs->unlink(name), name);
	}
	printf("new files: 2 MiB slots laid out for a large page, %s\t%.0f %%\tof %u\n", when,
	       s.laid * 100.0 / s.slots, s.slots);
	printf(
	    "new files: 2 MiB slots mapped by one page fault, %s\t%.0f %%\tof %u, %u not at all\n",
	    when, s.mapped * 100.0 / s.slots, s.slots, s.refused);
}

#define AGED_FILES 16384u
#define GROWING	   8u

static uint64_t random_state = 1;

static uint64_t rnd(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

struct ageing {
	struct {
		struct side_file f;
		unsigned number;
		uint64_t size, goal;
		bool open;
	} growing[GROWING];
	struct {
		unsigned number;
		uint64_t size;
	} done[AGED_FILES];
	size_t dones;
	unsigned next;
	uint64_t live, written;
};

static void aged_name(char name[32], unsigned number)
{
	snprintf(name, 32, "/a%u", number);
}

/* One of the files that grow gets up to 64 KiB more; their sizes are 4 KiB to 8 MiB, as many of
 * each order. */
static void age_grow(struct ageing *a)
{
	static char chunk[65536];
	size_t i = rnd(GROWING), len = PAGE * (1 + rnd(sizeof(chunk) / PAGE));
	char name[32];

	if (!a->growing[i].open) {
		a->growing[i].number = a->next++;
		a->growing[i].size = 0;
		a->growing[i].goal = PAGE + rnd((uint64_t)PAGE << (1 + rnd(11)));
		aged_name(name, a->growing[i].number);
		side_must(fs->create(name, &a->growing[i].f), name);
		a->growing[i].open = true;
	}
	side_must(fs->write(&a->growing[i].f, chunk, len, a->growing[i].size), "ageing");
	a->growing[i].size += len;
	a->live += len;
	a->written += len;
	if (a->growing[i].size < a->growing[i].goal || a->dones == AGED_FILES)
		return;
	side_must(fs->close_file(&a->growing[i].f), "close");
	a->growing[i].open = false;
	a->done[a->dones].number = a->growing[i].number;
	aged_name(name, a->growing[i].number);
	a->done[a->dones].size = fs->allocated(name);
	a->live += a->done[a->dones++].size - a->growing[i].size;
}

static void age_delete(struct ageing *a)
{
	size_t i = rnd(a->dones);
	char name[32];

	aged_name(name, a->done[i].number);
	side_must(fs->unlink(name), name);
	a->live -= a->done[i].size;
	a->done[i] = a->done[--a->dones];
}

/* 75 % full, by what each file system says that a file takes, and four times what the volume holds
 * was written. */
static void age(uint64_t bytes)
{
	static struct ageing a;

	while (a.written < 4 * bytes) {
		age_grow(&a);
		while (a.live > bytes / 4 * 3 && a.dones)
			age_delete(&a);
	}
	for (size_t i = 0; i < GROWING; i++)
		if (a.growing[i].open)
			side_must(fs->close_file(&a.growing[i].f), "close");
}

int main(int argc, char **argv)
{
	struct utsname u;
	struct stat st;
	uint64_t bytes;

	if (argc != 2) {
		fprintf(stderr, "usage: side_by_side VOLUME|DIRECTORY\n");
		return 2;
	}
	uname(&u);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fs = stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode) ? &side_kernel : &side_holdfast;
	side_must(fs->open(argv[1]), argv[1]);
	printf("kernel\t%s\n", u.release);
	bytes = fs->free_bytes();
	register_uring();
	register_verbs();
	cut_under_hold("truncate of a held page", cut_truncate);
	cut_under_hold("punch of a held page", cut_punch);
	refill_under_hold(true);
	refill_under_hold(false);
	printf("the kernel warns in its log\t%s\n", kernel_warnings() ? "yes" : "no");
	new_files("empty volume", bytes / 100 * 15);
	age(bytes);
	new_files("aged to 75 %", bytes / 100 * 15);
	fs->close();
	return 0;
}
