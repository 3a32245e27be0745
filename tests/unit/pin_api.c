/* Pins through the public header: addresses, what outlives what, holes, sizes, owners, unmount. */
#include "file_vol.h"

#include "file/volume.h"
#include "pin/pins.h"

#include <pthread.h>
#include <sys/uio.h>

#define IOVS 64u

struct held {
	hf_pin_id id;
	struct iovec iov[IOVS];
	size_t n;
};

static int64_t try_pin(hf_file *f, uint64_t off, uint64_t len, unsigned flags, struct held *h)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = flags, .tag = "a test"};

	h->n = IOVS;
	return hf_pin(f, off, len, &o, h->iov, &h->n, &h->id);
}

static struct held pin(hf_file *f, uint64_t off, uint64_t len, unsigned flags)
{
	struct held h = {0};

	OK(try_pin(f, off, len, flags, &h));
	return h;
}

static void write_at(hf_file *f, uint64_t off, uint64_t len, uint64_t seed)
{
	uint8_t *buf = malloc(len);

	vol_fill(buf, len, seed);
	GET(len, hf_pwrite(f, buf, len, off));
	free(buf);
}

/* What the pin shows is what vol_fill() made. */
static bool shows(const struct held *h, uint64_t len, uint64_t seed)
{
	uint8_t *want = malloc(len);
	uint64_t at = 0;
	bool same = true;

	vol_fill(want, len, seed);
	for (size_t i = 0; i < h->n && same; i++) {
		same = at + h->iov[i].iov_len <= len &&
		       memcmp(want + at, h->iov[i].iov_base, h->iov[i].iov_len) == 0;
		at += h->iov[i].iov_len;
	}
	free(want);
	return same && at == len;
}

static uint64_t busy(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	return s.blocks_busy_pinned;
}

/* ---- */

static void test_addresses(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h;
	size_t none = 0;

	write_at(f, 0, 3 * FRM, 1);
	h = pin(f, 0, 3 * FRM, 0);
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT(shows(&h, 3 * FRM, 1));
	GET(0, hf_unpin(vol, h.id));
	FAILS(EINVAL, hf_unpin(vol, h.id));
	FAILS(EINVAL, hf_pin_iov(vol, h.id, h.iov, &h.n));

	/* a part of a block; a part over a frame's border */
	h = pin(f, FRM - 10, 20, HF_PIN_WRITE);
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 20);
	memset(h.iov[0].iov_base, 'x', 20);
	OK(hf_pin_persist(vol, h.id, 5, 15));
	FAILS(EINVAL, hf_pin_persist(vol, h.id, 5, 16));
	{
		char got[20];

		GET(20, hf_pread(f, got, 20, FRM - 10));
		CU_ASSERT(memcmp(got, "xxxxxxxxxxxxxxxxxxxx", 20) == 0);
	}
	memset(&h.iov, 0, sizeof(h.iov));
	h.n = IOVS;
	OK(hf_pin_iov(vol, h.id, h.iov, &h.n));
	CU_ASSERT_EQUAL(h.n, 1);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 20);
	FAILS(E2BIG, hf_pin_iov(vol, h.id, NULL, &none));
	CU_ASSERT_EQUAL(none, 1);
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_arguments(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f"), *r;
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = 64};
	struct held h;
	hf_pin_id id;

	write_at(f, 0, 10 * BLK, 1);
	FAILS(EINVAL, hf_pin(f, 0, 0, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 10 * BLK + 1, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, UINT64_MAX - 5, 10, NULL, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 1, &o, NULL, NULL, &id));
	FAILS(EINVAL, hf_pin(f, 0, 1, NULL, NULL, NULL, NULL));
	FAILS(EINVAL, hf_pin(f, 0, 1, NULL, h.iov, NULL, &id));
	CU_ASSERT_EQUAL(id, 0);
	FAILS(EINVAL, hf_unpin(vol, 0));
	FAILS(EINVAL, hf_unpin(vol, UINT64_MAX));
	FAILS(EINVAL, hf_pin_take(vol, 12345));
	r = vol_open(vol, "/f", HF_O_RDONLY);
	FAILS(EBADF, try_pin(r, 0, 1, HF_PIN_WRITE, &h));
	FAILS(EBADF, try_pin(r, 0, 1, HF_PIN_ALLOC, &h));
	OK(hf_pin(r, 0, 1, NULL, NULL, NULL, &id));
	OK(hf_unpin(vol, id));
	hf_close(&r);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* Pieces that do not lie side by side on the media. */
static void make_scattered(hf_volume *vol, hf_file *f, uint64_t pieces)
{
	hf_file *other = vol_create(vol, "/other");

	for (uint64_t i = 0; i < pieces; i++) {
		write_at(f, i * BLK, BLK, i);
		write_at(other, i * BLK, BLK, i + 1000);
	}
	hf_close(&other);
}

static void test_too_many_pieces(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct iovec *iov = calloc(300, sizeof(*iov));
	size_t n = 3, all;
	hf_pin_id id, second;

	make_scattered(vol, f, 300);
	FAILS(E2BIG, hf_pin(f, 0, 300 * BLK, NULL, iov, &n, &id));
	CU_ASSERT(n > 3);
	CU_ASSERT_EQUAL(id, 0);
	all = n;
	OK(hf_pin(f, 0, 300 * BLK, NULL, iov, &n, &id));
	CU_ASSERT_EQUAL(n, all);
	for (size_t i = 0, at = 0; i < n; i++) {
		CU_ASSERT_EQUAL(((uint8_t *)iov[i].iov_base)[0], (uint8_t)(1 + at * 131 % 255));
		at += iov[i].iov_len / BLK;
	}
	/* Many pins of many pieces: chunks come and go. */
	for (int round = 0; round < 20; round++) {
		OK(hf_pin(f, 0, 300 * BLK, NULL, NULL, NULL, &second));
		OK(hf_unpin(vol, second));
	}
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 300);
	OK(hf_unpin(vol, id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	free(iov);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_holes(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	uint64_t used;
	struct held h;

	OK(hf_ftruncate(f, 4 * FRM + 100));
	FAILS(ENODATA, try_pin(f, 0, 1, 0, &h));
	used = vol_used(vol);
	h = pin(f, FRM, 2 * FRM, HF_PIN_ALLOC);
	CU_ASSERT(vol_used(vol) >= used + 1024);
	CU_ASSERT_EQUAL(h.n, 1);
	for (size_t i = 0; i < 2 * FRM; i += 4096 - 8)
		CU_ASSERT_EQUAL(((uint8_t *)h.iov[0].iov_base)[i], 0);
	CU_ASSERT_EQUAL(vol_size(f), 4 * FRM + 100);
	OK(hf_unpin(vol, h.id));
	FAILS(ENODATA, try_pin(f, 0, 2 * FRM, 0, &h));
	h = pin(f, 4 * FRM + 99, 1, HF_PIN_ALLOC | HF_PIN_WRITE);
	CU_ASSERT_EQUAL(vol_size(f), 4 * FRM + 100);
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_full_volume(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h;

	OK(hf_ftruncate(f, 64 * MIB));
	FAILS(ENOSPC, try_pin(f, 0, 64 * MIB, HF_PIN_ALLOC, &h));
	CU_ASSERT_EQUAL(h.id, 0);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* A tiny file lives in its inode and is given a block. */
static void test_tiny(void)
{
	const char *path = vol_path("pin-tiny");
	hf_volume *vol;
	hf_file *f, *r;
	struct held h;
	char got[5];

	vol_format(path, 32 * MIB);
	vol = vol_mount(path, 0);
	f = vol_create(vol, "/tiny");
	GET(5, hf_pwrite(f, "hello", 5, 0));
	r = vol_open(vol, "/tiny", HF_O_RDONLY);
	FAILS(EBADF, try_pin(r, 0, 5, 0, &h));
	h = pin(f, 1, 3, HF_PIN_WRITE);
	CU_ASSERT_EQUAL(h.iov[0].iov_len, 3);
	CU_ASSERT(memcmp(h.iov[0].iov_base, "ell", 3) == 0);
	memcpy(h.iov[0].iov_base, "ELL", 3);
	OK(hf_fsync(f));
	GET(5, hf_pread(r, got, 5, 0));
	CU_ASSERT(memcmp(got, "hELLo", 5) == 0);
	OK(hf_unpin(vol, h.id));
	h = pin(r, 0, 5, 0); /* it has a block now */
	OK(hf_unpin(vol, h.id));
	hf_close(&r);
	hf_close(&f);
	f = vol_create(vol, "/small");
	GET(5, hf_pwrite(f, "world", 5, 0));
	hf_close(&f);
	OK(hf_unmount(&vol));
	vol = vol_mount(path, HF_MOUNT_RDONLY);
	r = vol_open(vol, "/small", HF_O_RDONLY);
	CU_ASSERT(try_pin(r, 0, 5, 0, &h) < 0);
	hf_close(&r);
	r = vol_open(vol, "/tiny", HF_O_RDONLY);
	h = pin(r, 0, 5, 0);
	CU_ASSERT(memcmp(h.iov[0].iov_base, "hELLo", 5) == 0);
	OK(hf_unpin(vol, h.id));
	hf_close(&r);
	OK(hf_unmount(&vol));
	unlink(path);
}

/* The scenario that fails elsewhere: pin, unlink, close, fill the volume with other data. */
static void test_outlives_name_and_file(void)
{
	hf_volume *vol = vol_memory(32 * MIB);
	hf_file *f = vol_create(vol, "/held"), *g;
	uint8_t *junk = malloc(FRM);
	uint64_t before = vol_used(vol), at = 0, held;
	struct held h;
	ssize_t wrote;

	write_at(f, 0, FRM + 5 * BLK, 7);
	h = pin(f, 0, FRM + 5 * BLK, 0);
	OK(hf_unlink(vol, "/held"));
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_close(&f));
	held = busy(vol); /* a growing file has a whole frame at its end, too */
	CU_ASSERT_EQUAL(held, 1024);
	CU_ASSERT(vol_used(vol) <= before);
	g = vol_create(vol, "/filler");
	memset(junk, 0xee, FRM);
	do {
		wrote = hf_pwrite(g, junk, FRM, at);
		at += wrote > 0 ? (uint64_t)wrote : 0;
	} while (wrote > 0);
	CU_ASSERT_EQUAL(wrote, -ENOSPC);
	CU_ASSERT(at > 20 * MIB);
	CU_ASSERT(shows(&h, FRM + 5 * BLK, 7));
	CU_ASSERT_EQUAL(busy(vol), held);
	OK(hf_unpin(vol, h.id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	CU_ASSERT(hf_pwrite(g, junk, FRM, at) > 0);
	free(junk);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

static void test_nested(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held a, b, c;

	write_at(f, 0, 2 * FRM, 3);
	a = pin(f, 0, 2 * FRM, 0);
	b = pin(f, BLK, BLK, 0);
	c = pin(f, BLK, BLK, 0);
	CU_ASSERT_NOT_EQUAL(b.id, c.id);
	CU_ASSERT_PTR_EQUAL(b.iov[0].iov_base, (uint8_t *)a.iov[0].iov_base + BLK);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), 1024);
	OK(hf_unpin(vol, a.id));
	CU_ASSERT_EQUAL(busy(vol), 512); /* a pin of a part of a huge page holds all of it */
	OK(hf_unpin(vol, b.id));
	CU_ASSERT_EQUAL(busy(vol), 512);
	OK(hf_unpin(vol, c.id));
	CU_ASSERT_EQUAL(busy(vol), 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* After a truncate and an extension the file has other blocks, the pin the old ones. */
static void rule_T12_truncated_and_extended(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held h, g;

	write_at(f, 0, 20 * BLK, 1);
	h = pin(f, 0, 20 * BLK, HF_PIN_WRITE);
	write_at(f, 0, BLK, 2); /* in place: seen through the pin */
	CU_ASSERT_NOT_EQUAL(((uint8_t *)h.iov[0].iov_base)[0], (uint8_t)(1 + 131 % 255));
	OK(hf_ftruncate(f, 0));
	write_at(f, 0, 20 * BLK, 5);
	g = pin(f, 0, 20 * BLK, 0);
	CU_ASSERT(shows(&g, 20 * BLK, 5));
	memset(h.iov[0].iov_base, 0xaa, h.iov[0].iov_len); /* a late writer harms nobody */
	CU_ASSERT(shows(&g, 20 * BLK, 5));
	OK(hf_unpin(vol, h.id));
	OK(hf_unpin(vol, g.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

static void test_unmount_busy(void)
{
	hf_volume *vol = vol_memory(64 * MIB), *same = vol;
	hf_file *f = vol_create(vol, "/f");
	struct held h;

	write_at(f, 0, BLK, 1);
	h = pin(f, 0, BLK, 0);
	hf_close(&f);
	FAILS(EBUSY, hf_unmount(&vol));
	CU_ASSERT(strstr(hf_errormsg(), "1 pins") != NULL);
	CU_ASSERT_PTR_EQUAL(vol, same);
	OK(hf_unpin(vol, h.id));
	OK(hf_unmount(&vol));
}

/* ---- lists */

static size_t list_pins(hf_volume *vol, struct hf_pin_info *out, size_t max, size_t step)
{
	uint64_t cursor = 0;
	size_t n, all = 0;

	while (cursor != UINT64_MAX && all < max) {
		OK(hf_pin_list(vol, &cursor, out + all, step < max - all ? step : max - all, &n));
		all += n;
	}
	return all;
}

/* Those that wait for pins. */
static size_t list_busy(hf_volume *vol, struct hf_busy *out, size_t max, size_t step)
{
	struct hf_busy some[16];
	uint64_t cursor = 0;
	size_t n, all = 0;

	while (cursor != UINT64_MAX && all < max) {
		OK(hf_busy_list(vol, &cursor, some, step, &n));
		for (size_t i = 0; i < n; i++)
			if (!some[i].journal && all < max)
				out[all++] = some[i];
	}
	return all;
}

static void test_lists(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	hf_file *f, *g;
	struct hf_pin_info p[8];
	struct hf_busy b[16];
	struct hf_stat st;
	struct held h, k;
	uint64_t cursor = 0;
	size_t n;

	OK(hf_mkdir(vol, "/d", 0755));
	f = vol_create(vol, "/d/one");
	g = vol_create(vol, "two");
	write_at(f, 0, 3 * BLK, 1);
	write_at(g, 0, FRM, 2);
	OK(hf_fstat(f, &st));
	h = pin(f, BLK + 1, BLK, HF_PIN_WRITE);
	k = pin(g, 5, 10, 0);
	for (size_t step = 1; step <= 8; step += 7) {
		CU_ASSERT_EQUAL_FATAL(list_pins(vol, p, 8, step), 2);
		n = p[0].pin == h.id ? 0 : 1;
		CU_ASSERT_EQUAL(p[n].pin, h.id);
		CU_ASSERT_EQUAL(p[n].id.ino, st.id.ino);
		CU_ASSERT_EQUAL(p[n].id.gen, st.id.gen);
		CU_ASSERT_EQUAL(p[n].off, BLK + 1);
		CU_ASSERT_EQUAL(p[n].len, BLK);
		CU_ASSERT_EQUAL(p[n].busy, 0);
		CU_ASSERT_EQUAL(p[n].flags, HF_PIN_WRITE);
		CU_ASSERT_EQUAL(p[n].thread, (uint32_t)gettid());
		CU_ASSERT(!p[n].leased && !p[n].orphaned);
		CU_ASSERT_STRING_EQUAL(p[n].tag, "a test");
		CU_ASSERT_STRING_EQUAL(p[n].name, "one");
		CU_ASSERT_EQUAL(p[1 - n].pin, k.id);
		CU_ASSERT_STRING_EQUAL(p[1 - n].name, "two");
	}
	CU_ASSERT_EQUAL(list_busy(vol, b, 16, 16), 0);
	OK(hf_ftruncate(f, 0));
	OK(hf_ftruncate(g, 0));
	for (size_t step = 1; step <= 16; step += 15) {
		CU_ASSERT_EQUAL_FATAL(list_busy(vol, b, 16, step), 2);
		n = b[0].pin == h.id ? 0 : 1;
		CU_ASSERT_EQUAL(b[n].pin, h.id);
		CU_ASSERT_EQUAL(b[n].len, 2 * BLK);
		CU_ASSERT_EQUAL(b[n].off, BLK);
		CU_ASSERT_EQUAL(b[n].id.ino, st.id.ino);
		CU_ASSERT_EQUAL(b[n].id.gen, st.id.gen);
		CU_ASSERT_STRING_EQUAL(b[n].tag, "a test");
		CU_ASSERT_STRING_EQUAL(b[n].name, "one");
		CU_ASSERT_EQUAL(b[1 - n].pin, k.id);
		CU_ASSERT_EQUAL(b[1 - n].len, FRM);
	}
	CU_ASSERT_EQUAL_FATAL(list_pins(vol, p, 8, 8), 2);
	n = p[0].pin == h.id ? 0 : 1;
	CU_ASSERT_EQUAL(p[n].busy, 2 * BLK);
	CU_ASSERT_EQUAL(p[1 - n].busy, FRM);
	OK(hf_pin_stat(vol, h.id, &p[2]));
	CU_ASSERT(p[2].pin == h.id && p[2].busy == 2 * BLK && p[2].id.ino == st.id.ino);
	CU_ASSERT(p[2].off == BLK + 1 && p[2].thread == (uint32_t)gettid());
	CU_ASSERT_STRING_EQUAL(p[2].name, "one");
	OK(hf_pin_stat(vol, k.id, &p[2]));
	CU_ASSERT(p[2].pin == k.id && p[2].busy == FRM);
	FAILS(EINVAL, hf_pin_stat(vol, k.id, NULL));
	FAILS(EINVAL, hf_pin_stat(vol, 0, &p[2]));
	FAILS(EINVAL, hf_pin_stat(vol, 999999, &p[2]));
	FAILS(EINVAL, hf_pin_list(vol, &cursor, p, 0, &n));
	FAILS(EINVAL, hf_busy_list(vol, NULL, b, 1, &n));
	OK(hf_unpin(vol, h.id));
	OK(hf_unpin(vol, k.id));
	FAILS(EINVAL, hf_pin_stat(vol, k.id, &p[2]));
	CU_ASSERT_EQUAL(list_pins(vol, p, 8, 3), 0);
	CU_ASSERT_EQUAL(list_busy(vol, b, 16, 3), 0);
	hf_close(&f);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

/* ---- owners */

struct handed {
	hf_volume *vol;
	hf_file *f;
	struct held h;
	int64_t waited;
	pid_t tid;
};

static void *run_pin(void *arg)
{
	struct handed *a = arg;

	a->h = pin(a->f, 0, BLK, 0);
	a->waited = hf_wait_idle(a->f, 0);
	a->tid = gettid();
	return NULL;
}

static void *run_wait(void *arg)
{
	struct handed *a = arg;

	a->waited = hf_wait_idle(a->f, 0);
	a->tid = gettid();
	return NULL;
}

/* The next thread gets this number, where one may ask for that. */
static void ask_for_tid(pid_t tid)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);

	if (fd < 0)
		return;
	if (dprintf(fd, "%d", (int)tid - 1) < 0)
		fprintf(stderr, "thread numbers cannot be chosen here\n");
	close(fd);
}

/* The kernel gives a thread's number to another one; ours are never given again. */
static void rule_T10_owner_thread_ended(void)
{
	struct handed a = {.vol = vol_memory(64 * MIB)};
	struct hf_pin_info p;
	pthread_t t;

	a.f = vol_create(a.vol, "/f");
	write_at(a.f, 0, 4 * BLK, 1);
	for (int i = 0; i < 50; i++) {
		pthread_create(&t, NULL, run_pin, &a);
		pthread_join(t, NULL);
		CU_ASSERT_EQUAL(a.waited, -EDEADLK);
		/* the stack, and perhaps the number, of the one that ended */
		ask_for_tid(a.tid);
		pthread_create(&t, NULL, run_wait, &a);
		pthread_join(t, NULL);
		CU_ASSERT_EQUAL(a.waited, -ETIMEDOUT);
		GET(-ETIMEDOUT, hf_wait_idle(a.f, 0)); /* nobody's */
		GET(-ETIMEDOUT, hf_wait_idle_volume(a.vol, 1000));
		CU_ASSERT_EQUAL(list_pins(a.vol, &p, 1, 1), 1);
		/* joined is not yet gone: the kernel says so a little later */
		for (int k = 0; k < 1000 && p.thread; k++) {
			usleep(1000);
			list_pins(a.vol, &p, 1, 1);
		}
		CU_ASSERT_EQUAL(p.thread, 0);
		OK(hf_pin_take(a.vol, a.h.id));
		CU_ASSERT_EQUAL(list_pins(a.vol, &p, 1, 1), 1);
		CU_ASSERT_EQUAL(p.thread, (uint32_t)gettid());
		FAILS(EDEADLK, hf_wait_idle(a.f, UINT64_MAX));
		FAILS(EDEADLK, hf_wait_idle_volume(a.vol, UINT64_MAX));
		OK(hf_unpin(a.vol, a.h.id));
		OK(hf_wait_idle(a.f, UINT64_MAX));
		OK(hf_wait_idle_volume(a.vol, UINT64_MAX));
	}
	hf_close(&a.f);
	OK(hf_unmount(&a.vol));
}

/* ---- by force */

static bool is_mounted(const char *path)
{
	hf_volume *vol = NULL;
	int err = hf_mount(&vol, path, NULL);

	CU_ASSERT(err == 0 || err == -EBUSY);
	if (vol) {
		OK(hf_unmount(&vol));
	}
	return err != 0;
}

static void rule_B3_forced_unmount_keeps_lock(void)
{
	const char *path = vol_path("pin-force");
	hf_volume *vol;
	hf_file *f, *g;
	hf_dir *d;
	struct hf_dirent e;
	struct hf_statfs sf;
	struct held h;
	char c;

	vol_format(path, 32 * MIB);
	vol = vol_mount(path, 0);
	f = vol_create(vol, "/f");
	g = vol_create(vol, "/g");
	write_at(f, 0, 4 * BLK, 9);
	h = pin(f, 0, 4 * BLK, HF_PIN_WRITE);
	OK(hf_opendir(vol, "/", &d));
	OK(hf_unlink(vol, "/g"));
	GET(4, hf_unmount_force(vol));
	FAILS(ESHUTDOWN, hf_unmount_force(vol));
	FAILS(ESHUTDOWN, hf_unmount(&vol));
	FAILS(ESHUTDOWN, hf_statfs(vol, &sf));
	FAILS(ESHUTDOWN, hf_pread(f, &c, 1, 0));
	FAILS(ESHUTDOWN, hf_pwrite(f, "x", 1, 0));
	FAILS(ESHUTDOWN, try_pin(f, 0, 1, 0, &(struct held){0}));
	FAILS(ESHUTDOWN, hf_pin_take(vol, h.id));
	FAILS(ESHUTDOWN, hf_readdir(d, &e));
	FAILS(ESHUTDOWN, hf_unlink(vol, "/f"));
	CU_ASSERT(is_mounted(path));
	OK(hf_close(&f));
	OK(hf_close(&g)); /* without a name: freed by the next mount */
	CU_ASSERT(is_mounted(path));
	OK(hf_closedir(&d));
	CU_ASSERT(is_mounted(path));
	CU_ASSERT(shows(&h, 4 * BLK, 9));
	OK(hf_unpin(vol, h.id));
	FAILS(EBADF, hf_unpin(vol, h.id));
	CU_ASSERT(!is_mounted(path));
	vol = vol_mount(path, 0);
	f = vol_open(vol, "/f", HF_O_RDONLY);
	h = pin(f, 0, 4 * BLK, 0);
	CU_ASSERT(shows(&h, 4 * BLK, 9));
	OK(hf_unpin(vol, h.id));
	hf_close(&f);
	OK(hf_unmount(&vol));
	CHECK(path);
	vol = vol_mount(path, 0);
	GET(0, hf_unmount_force(vol));
	CU_ASSERT(!is_mounted(path));
	unlink(path);
}

static void *run_unpin_all(void *arg)
{
	struct handed *a = arg;

	a->waited = hf_unpin(a->vol, a->h.id);
	return NULL;
}

/* Who sleeps until the volume is idle is let out before it is taken apart. */
static void test_force_with_waiter(void)
{
	for (int i = 0; i < 20; i++) {
		struct handed a = {.vol = vol_memory(32 * MIB)};
		struct hf_pin_info p;
		pthread_t t;

		a.f = vol_create(a.vol, "/f");
		write_at(a.f, 0, BLK, 1);
		pthread_create(&t, NULL, run_pin, &a);
		pthread_join(t, NULL);
		hf_close(&a.f);
		CU_ASSERT_EQUAL(list_pins(a.vol, &p, 1, 1), 1);
		volume_hold(a.vol);
		GET(1, hf_unmount_force(a.vol));
		pthread_create(&t, NULL, run_unpin_all, &a);
		pthread_join(t, NULL);
		CU_ASSERT_EQUAL(a.waited, 0);
		CU_ASSERT_EQUAL(a.vol->item.magic, VOLUME_MAGIC);
		volume_unhold(a.vol);
		CU_ASSERT_EQUAL(a.vol->item.magic, POOL_DEAD);
	}
}

struct closer {
	hf_volume *vol;
	hf_file *f;
	hf_pin_id id;
	int ret;
};

static void *run_closer(void *arg)
{
	struct closer *c = arg;

	c->ret = c->f ? hf_close(&c->f) : hf_unpin(c->vol, c->id);
	return NULL;
}

/* Whatever the last is, one of them takes the volume apart, once. */
static void test_force_race(void)
{
	int rounds = getenv("HF_TEST_SHORT") ? 10 : 100;

	for (int i = 0; i < rounds; i++) {
		hf_volume *vol = vol_memory(32 * MIB);
		struct closer c[4] = {{0}};
		pthread_t t[4];

		for (int k = 0; k < 4; k++) {
			hf_file *f = vol_create(vol, k % 2 ? "/a" : "/b");

			write_at(f, 0, BLK, 1);
			c[k] = (struct closer){.vol = vol, .id = pin(f, 0, BLK, 0).id};
			if (k == 3) {
				OK(hf_unpin(vol, c[k].id));
				c[k].f = f;
			} else {
				hf_close(&f);
			}
		}
		if (i % 2)
			GET(4, hf_unmount_force(vol));
		for (int k = 0; k < 4; k++)
			pthread_create(&t[k], NULL, run_closer, &c[k]);
		if (i % 2 == 0)
			CU_ASSERT(hf_unmount_force(vol) <= 4);
		for (int k = 0; k < 4; k++) {
			pthread_join(t[k], NULL);
			CU_ASSERT_EQUAL(c[k].ret, 0);
		}
		CU_ASSERT_EQUAL(vol->item.magic, POOL_DEAD);
	}
}

/* Who stored, and then calls fsync, is not told 'durable' while another thread is on its way to flush it in an unpin. */
static void test_fsync_while_dropped(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct held w, r;
	struct pins *p;
	uint64_t live;
	uint32_t index;
	bool any = false;

	write_at(f, 0, 4 * BLK, 1);
	w = pin(f, 0, 4 * BLK, HF_PIN_WRITE);
	r = pin(f, 0, 4 * BLK, 0);
	p = f->in->fs->pins;
	index = pins_index(w.id);
	live = pins_state(p, index);
	/* As hf_unpin does first. */
	pins_publish(p, index, pins_state_for(w.id, PINS_DROPPING));
	OK(pin_flush(f->in->fs, f->in, &any));
	CU_ASSERT_TRUE(any);
	any = false;
	OK(pin_flush(f->in->fs, NULL, &any));
	CU_ASSERT_TRUE(any);
	pins_publish(p, index, live);
	OK(hf_unpin(vol, w.id));
	any = false;
	OK(pin_flush(f->in->fs, f->in, &any));
	CU_ASSERT_FALSE(any);
	OK(hf_unpin(vol, r.id));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"fsync while a pin is dropped", test_fsync_while_dropped},
    {"addresses", test_addresses},
    {"arguments", test_arguments},
    {"more pieces than room", test_too_many_pieces},
    {"holes", test_holes},
    {"a hole on a full volume", test_full_volume},
    {"tiny files", test_tiny},
    {"a pin outlives name and file", test_outlives_name_and_file},
    {"nested pins", test_nested},
    {"rule_T12_truncated_and_extended", rule_T12_truncated_and_extended},
    {"unmount with a pin", test_unmount_busy},
    {"lists", test_lists},
    {"rule_T10_owner_thread_ended", rule_T10_owner_thread_ended},
    {"rule_B3_forced_unmount_keeps_lock", rule_B3_forced_unmount_keeps_lock},
    {"a forced unmount with a call under way", test_force_with_waiter},
    {"the last of several ends a forced unmount", test_force_race},
};

int main(void)
{
	return hf_run_suite("pin_api", cases, HF_COUNT(cases));
}
