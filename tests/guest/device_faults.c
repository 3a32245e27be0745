/* What happens to a volume on a device that fails: its driver takes it away, or memory of it goes bad. Run in a guest, see modes.sh
 * and poison.sh; what is on the device is overwritten.
 *
 *	device_faults sum DEV			a number for its first and last 4 MiB
 *	device_faults store DEV OFFSET TEXT	stores TEXT there
 *	device_faults copy FILE DEV		its first 4 MiB, over the device's
 *	device_faults taken DEV COMMAND		COMMAND takes the device away under the open volume
 *	device_faults unmount DEV COMMAND	the same, and nothing but the unmount follows
 *	device_faults bad DEV			pages go bad (MADV_HWPOISON): the program's through a pin and a view, and metadata
 *	device_faults read DEV INJECT		INJECT OFFSET makes bad what is being read by hf_pread; with a view of it, and a pin elsewhere
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MIB	 (1024 * 1024ul)
#define FRAME	 (2 * MIB)
#define FILE_LEN (8 * MIB)
#define LOOK	 (4 * MIB)

static int failed;
static char buf[FILE_LEN], want[FILE_LEN];

#define CHECK(cond)                                                                                                             \
	do {                                                                                                                    \
		if (!(cond)) {                                                                                                  \
			printf("device_faults: line %d: %s is not so; last sentence: %s\n", __LINE__, #cond, hf_errormsg());    \
			failed = 1;                                                                                             \
		}                                                                                                               \
	} while (0)

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	printf("device_faults: %s: %s\n", what, *hf_errormsg() ? hf_errormsg() : strerror(errno));
	exit(1);
}

static bool says(const char *text)
{
	return strstr(hf_errormsg(), text) != NULL;
}

/* ---- raw */

static uint8_t *map_file(const char *path, off_t at, int prot)
{
	int fd = open(path, prot & PROT_WRITE ? O_RDWR : O_RDONLY);
	void *p;

	must(fd >= 0, path);
	p = mmap(NULL, LOOK, prot, MAP_SHARED, fd, at);
	must(p != MAP_FAILED, path);
	close(fd);
	return p;
}

static uint64_t dax_size(const char *dev)
{
	char path[128];
	unsigned long long size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/dax/devices/%s/size", strrchr(dev, '/') + 1);
	f = fopen(path, "re");
	must(f && fscanf(f, "%llu", &size) == 1, path);
	fclose(f);
	return size;
}

static uint64_t sum_words(uint64_t sum, const uint8_t *p)
{
	for (size_t i = 0; i < LOOK; i += sizeof(uint64_t))
		sum = (sum ^ *(const uint64_t *)(const void *)(p + i)) * 0x9e3779b97f4a7c15ull + (sum >> 32);
	return sum;
}

static void sum(const char *dev)
{
	uint64_t end = dax_size(dev) / FRAME * FRAME, s = sum_words(1, map_file(dev, 0, PROT_READ));

	printf("%016llx\n", (unsigned long long)sum_words(s, map_file(dev, (off_t)(end - LOOK), PROT_READ)));
}

static void store(const char *dev, const char *offset, const char *text)
{
	uint8_t *p = map_file(dev, 0, PROT_READ | PROT_WRITE);
	size_t off = strtoul(offset, NULL, 0);

	must(off + strlen(text) <= LOOK, "store: too far");
	memcpy(p + off, text, strlen(text));
}

/* ---- a volume with two files */

struct volume {
	hf_volume *vol;
	hf_file *a, *b;
	uint64_t a_at, b_at; /* on the media */
};

static hf_file *make_file(hf_volume *vol, const char *name, uint64_t *media)
{
	struct hf_extent e;
	hf_file *f;
	size_t n;

	must(hf_open(vol, name, HF_O_RDWR | HF_O_CREAT | HF_O_TRUNC, 0644, &f) == 0, name);
	must(hf_fallocate(f, 0, 0, FILE_LEN) == 0 && hf_pwrite(f, want, FILE_LEN, 0) == (ssize_t)FILE_LEN, name);
	must(hf_extents(f, 0, &e, 1, &n) == 0 && n == 1 && e.huge, "the file is not of whole frames");
	*media = e.media_off;
	return f;
}

static void volume_open(struct volume *v, const char *dev)
{
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .force = true};

	for (size_t i = 0; i < FILE_LEN; i++)
		want[i] = (char)(i * 7 + (i >> 12));
	must(hf_format(dev, &fmt) == 0, "mkfs");
	must(hf_mount(&v->vol, dev, NULL) == 0, "mount");
	v->a = make_file(v->vol, "/a", &v->a_at);
	v->b = make_file(v->vol, "/b", &v->b_at);
	must(hf_mkdir(v->vol, "/dir", 0755) == 0, "mkdir");
}

/* Changes are refused from the first that met it on; nothing hangs, and the end is an end. */
static void volume_is_stopped(struct volume *v)
{
	struct hf_info info;
	int err = hf_mkdir(v->vol, "/new", 0755);

	CHECK(err == -EIO || err == -ESHUTDOWN);
	CHECK(hf_mkdir(v->vol, "/new", 0755) == -ESHUTDOWN);
	err = (int)hf_pwrite(v->a, want, 4096, 0);
	CHECK(err == -EIO || err == -ESHUTDOWN);
	CHECK(*hf_errormsg() != '\0');
	printf("then: %s\n", hf_errormsg());
	CHECK(hf_info(v->vol, &info) == 0 && info.shutdown);
}

static void volume_close(struct volume *v, int want_err)
{
	CHECK(hf_close(&v->a) == 0);
	CHECK(hf_close(&v->b) == 0);
	CHECK(hf_unmount(&v->vol) == want_err);
	CHECK(v->vol == NULL);
}

/* ---- the device is taken away */

static void taken(const char *dev, const char *command)
{
	struct volume v;
	struct hf_stat st;

	volume_open(&v, dev);
	must(system(command) == 0, command);
	CHECK(hf_pread(v.a, buf, 4096, 0) == -EIO && says("was taken away while it was mounted"));
	printf("hf_pread: %s\n", hf_errormsg());
	CHECK(hf_pwrite(v.b, want, 4096, 4096) == -EIO);
	CHECK(hf_stat(v.vol, "/dir", &st) == -EIO && says("was taken away"));
	volume_is_stopped(&v);
	volume_close(&v, 0);
}

/* What waits to be put in place cannot be, and this is told, if nothing (a close, the checkpoint in the background) has stopped the
 * volume before. */
static void taken_unmount(const char *dev, const char *command)
{
	struct hf_info info;
	struct volume v;

	volume_open(&v, dev);
	must(system(command) == 0, command);
	CHECK(hf_close(&v.a) == 0);
	CHECK(hf_close(&v.b) == 0);
	must(hf_info(v.vol, &info) == 0, "info");
	CHECK(hf_unmount(&v.vol) == (info.shutdown ? 0 : -EIO));
	CHECK(v.vol == NULL);
}

/* ---- memory goes bad */

static struct {
	volatile sig_atomic_t n;
	siginfo_t info;
} bus;

static void on_bus(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig;
	(void)ucontext;
	bus.info = *info;
	bus.n++;
}

/* The signal is the program's, and its address is of the 2 MiB that the program has there. */
static bool bus_at(const void *addr)
{
	bool ok = bus.n == 1 && bus.info.si_code == BUS_MCEERR_AR && (uintptr_t)bus.info.si_addr / FRAME == (uintptr_t)addr / FRAME;

	if (!ok)
		printf("%d signals, the last of code %d at %p\n", (int)bus.n, bus.info.si_code, bus.info.si_addr);
	bus.n = 0;
	return ok;
}

static void bad_pin(struct volume *v, char **map)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE};
	struct iovec iov;
	size_t n = 1;
	hf_pin_id pin;

	must(hf_pin(v->a, 0, FRAME, &o, &iov, &n, &pin) == 0, "pin");
	*map = (char *)iov.iov_base - v->a_at;
	must(madvise((char *)iov.iov_base + 8192, 4096, MADV_HWPOISON) == 0, "MADV_HWPOISON");
	CHECK(bus_at(iov.iov_base));
	CHECK(hf_mkdir(v->vol, "/after-pin", 0755) == 0);
	CHECK(hf_unpin(v->vol, pin) == 0);
}

static void bad_view(struct volume *v)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_WRITE};
	hf_view *view;
	void *addr;

	must(hf_view_map(v->b, 0, FILE_LEN, &o, &addr, &view) == 0 && hf_view_populate(view, 0, FILE_LEN, true) == 0, "view");
	must(madvise((char *)addr + FRAME + 4096, 4096, MADV_HWPOISON) == 0, "MADV_HWPOISON");
	CHECK(bus_at((char *)addr + FRAME));
	CHECK(hf_mkdir(v->vol, "/after-view", 0755) == 0);
	CHECK(hf_view_unmap(&view) == 0);
	CHECK(hf_pread(v->b, buf, FILE_LEN, 0) == (ssize_t)FILE_LEN && memcmp(buf, want, FILE_LEN) == 0);
}

/* As bad_metadata, but the page that nobody has been given: the library's own. */
static void bad_metadata(struct volume *v, char *map)
{
	struct hf_stat st;

	must(madvise(map + 4 * 4096, 4096, MADV_HWPOISON) == 0, "MADV_HWPOISON");
	CHECK(bus.n == 0);
	CHECK(hf_stat(v->vol, "/dir", &st) == -EIO && says("bad media"));
	printf("hf_stat: %s\n", hf_errormsg());
	volume_is_stopped(v);
}

static void bad(const char *dev)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct volume v;
	char *map;

	sigaction(SIGBUS, &sa, NULL); /* before the library's, which chain to it */
	volume_open(&v, dev);
	bad_pin(&v, &map);
	bad_view(&v);
	bad_metadata(&v, map);
	volume_close(&v, 0);
}

/* On CPU 0, which the machine check is given to. */
static ssize_t read_until_bad(struct volume *v)
{
	time_t end = time(NULL) + 30;
	ssize_t n;

	do
		n = hf_pread(v->a, buf, FRAME, 0);
	while (n == (ssize_t)FRAME && time(NULL) < end);
	return n;
}

static void read_bad(const char *dev, const char *inject)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ};
	struct volume v;
	char command[256];
	cpu_set_t one;
	hf_view *view;
	void *addr;

	sigaction(SIGBUS, &sa, NULL);
	volume_open(&v, dev);
	must(hf_view_map(v.a, 0, FILE_LEN, &o, &addr, &view) == 0 && hf_view_populate(view, 0, FILE_LEN, false) == 0, "view");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity");
	snprintf(command, sizeof(command), "%s %llu &", inject, (unsigned long long)v.a_at + 3 * 4096 + 64);
	must(system(command) == 0, command);
	CHECK(read_until_bad(&v) == -EIO && says("bad media"));
	printf("hf_pread: %s\n", hf_errormsg());
	CHECK(bus.n == 0);
	/* The rest is as it was, and can be changed. */
	CHECK(hf_pread(v.b, buf, FILE_LEN, 0) == (ssize_t)FILE_LEN && memcmp(buf, want, FILE_LEN) == 0);
	CHECK(hf_pread(v.a, buf, FRAME, FRAME) == (ssize_t)FRAME && memcmp(buf, want + FRAME, FRAME) == 0);
	CHECK(hf_mkdir(v.vol, "/after", 0755) == 0);
	CHECK(hf_view_unmap(&view) == 0);
	volume_close(&v, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "sum") == 0)
		sum(argv[2]);
	else if (strcmp(what, "store") == 0 && argc == 5)
		store(argv[2], argv[3], argv[4]);
	else if (strcmp(what, "copy") == 0 && argc == 4)
		memcpy(map_file(argv[3], 0, PROT_READ | PROT_WRITE), map_file(argv[2], 0, PROT_READ), LOOK);
	else if (strcmp(what, "taken") == 0 && argc == 4)
		taken(argv[2], argv[3]);
	else if (strcmp(what, "unmount") == 0 && argc == 4)
		taken_unmount(argv[2], argv[3]);
	else if (strcmp(what, "bad") == 0)
		bad(argv[2]);
	else if (strcmp(what, "read") == 0 && argc == 4)
		read_bad(argv[2], argv[3]);
	else
		must(false, "see the head of device_faults.c");
	return failed;
}
