#include "media/arch.h"
#include "media/pm_impl.h"
#include "cunit_main.h"
#include "media_disk.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VOLUME (2 * (uint64_t)HF_FRAME_SIZE)

/* ---- msync of this program: counted, and made to fail on demand. The linker takes it before the C
 * library's. */

struct synced {
	uintptr_t start, end;
};
static struct synced synced[64];
static unsigned int synced_count;
static int sync_errno;

int msync(void *p, size_t len, int flags)
{
	if (synced_count < HF_COUNT(synced))
		synced[synced_count] = (struct synced){(uintptr_t)p, (uintptr_t)p + len};
	synced_count++;
	if (sync_errno) {
		errno = sync_errno;
		return -1;
	}
	return (int)syscall(SYS_msync, p, len, flags);
}

/* True if one of the calls covered [off, off+len). */
static bool was_synced(const struct pm *pm, uint64_t off, uint64_t len)
{
	uintptr_t start = (uintptr_t)pm->base + off, end = start + len;

	for (unsigned int i = 0; i < synced_count && i < HF_COUNT(synced); i++) {
		if (synced[i].start <= start && synced[i].end >= end)
			return true;
	}
	return false;
}

static void sync_reset(void)
{
	synced_count = 0;
	sync_errno = 0;
}

/* ---- sources: a memfd, a file on a disk, a file on tmpfs */

static char path_buf[128];

static const char *make_file(const char *dir, uint64_t size)
{
	int fd;

	snprintf(path_buf, sizeof(path_buf), "%s/hf-media-store-%d", dir, (int)getpid());
	fd = open(path_buf, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	if (posix_fallocate(fd, 0, (off_t)size) != 0) {
		close(fd);
		unlink(path_buf);
		return NULL;
	}
	close(fd);
	return path_buf;
}

static struct pm *open_memfd(enum pm_gran gran)
{
	struct pm_open_args args = {.force_gran = true, .gran = gran};
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
	return pm;
}

static struct pm *open_file(const char *dir, const struct pm_open_args *args)
{
	struct pm *pm;
	const char *path = make_file(dir, VOLUME);

	CU_ASSERT_PTR_NOT_NULL_FATAL(path);
	CU_ASSERT_EQUAL(pm_open(path, args, &pm), 0);
	unlink(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pm);
	return pm;
}

/* ---- copies: every alignment and length, with guard bytes on both sides */

#define AREA	512u
#define LEN_MAX 300u

static const uint32_t src_shifts[] = {0, 1, 8, 17};

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 6));
}

enum copy_kind {
	COPY_NT,
	COPY_GUARDED_NT,
	COPY_CACHED,
	COPY_ZERO_NT,
	COPY_ZERO,
	COPY_GUARDED_READ,
	COPY_KINDS
};

static void do_copy(enum copy_kind kind, struct pm *pm, uint8_t *area, uint32_t off,
		    const uint8_t *src, uint32_t len)
{
	moff_t at = MOFF((uint64_t)(area - pm->base) + off);

	switch (kind) {
	case COPY_NT:
		pm_copy_nt(pm, at, src, len);
		break;
	case COPY_GUARDED_NT:
		CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, at, src, len), 0);
		break;
	case COPY_CACHED:
		pm_store(pm, at, src, len);
		break;
	case COPY_ZERO_NT:
		pm_zero_nt(pm, at, len);
		break;
	case COPY_ZERO:
		pm_zero(pm, at, len);
		break;
	default:
		/* the other way: the source is media, too */
		memcpy(pm->base + 4096, src, len);
		CU_ASSERT_EQUAL(pm_guarded_read(pm, area + off, MOFF(4096), len), 0);
	}
}

static unsigned int compare_copies(struct pm *pm, enum copy_kind kind)
{
	uint8_t *area = pm->base + HF_FRAME_SIZE + 64;
	static uint8_t src[AREA], expect[AREA];
	bool zeros = kind == COPY_ZERO || kind == COPY_ZERO_NT;
	unsigned int bad = 0;

	fill(src, sizeof(src), 3);
	for (uint32_t s = 0; s < HF_COUNT(src_shifts); s++) {
		for (uint32_t off = 0; off < 64; off++) {
			for (uint32_t len = 0; len <= LEN_MAX; len++) {
				memset(area, 0xa5, AREA);
				memset(expect, 0xa5, AREA);
				memcpy(expect + off, src + src_shifts[s], len);
				if (zeros)
					memset(expect + off, 0, len);
				do_copy(kind, pm, area, off, src + src_shifts[s], len);
				pm_fence(pm);
				bad += memcmp(area, expect, AREA) != 0;
			}
		}
	}
	return bad;
}

static void copies_of(struct pm *pm)
{
	for (int kind = 0; kind < COPY_KINDS; kind++)
		CU_ASSERT_EQUAL(compare_copies(pm, (enum copy_kind)kind), 0);
	pm_close(&pm);
}

static void test_copy_byte(void)
{
	copies_of(open_memfd(PM_BYTE));
}

static void test_copy_line(void)
{
	copies_of(open_memfd(PM_LINE));
}

static void test_copy_page(void)
{
	copies_of(open_memfd(PM_PAGE));
}

/* Each set of instructions that this CPU has, also for lengths beyond the unrolled loops. */
static void test_copy_instructions(void)
{
	static uint8_t src[20000], got[20000];
	const struct pm_ops *ops;

	fill(src, sizeof(src), 9);
	for (unsigned int i = 0; (ops = arch_ops_nth(i)) != NULL; i++) {
		struct pm *pm = open_memfd(PM_LINE);
		uint8_t *at = pm->base + HF_FRAME_SIZE;

		pm->ops = ops;
		CU_ASSERT_EQUAL(compare_copies(pm, COPY_NT), 0);
		CU_ASSERT_EQUAL(compare_copies(pm, COPY_GUARDED_READ), 0);
		for (uint32_t len = 0; len < sizeof(src) - 64; len += len < 700 ? 1 : 613) {
			uint64_t lines = len / 64 * 64;

			memset(at, 0xa5, lines + 64);
			CU_ASSERT_EQUAL(ops->nt_lines(at, src + 1, lines).faulted, 0);
			CU_ASSERT_EQUAL(memcmp(at, src + 1, lines), 0);
			CU_ASSERT_EQUAL(at[lines], 0xa5);
			memset(got, 0x5a, sizeof(got));
			CU_ASSERT_EQUAL(ops->copy(got + 3, src + 5, len).faulted, 0);
			CU_ASSERT_EQUAL(memcmp(got + 3, src + 5, len), 0);
			CU_ASSERT_TRUE(got[2] == 0x5a && got[3 + len] == 0x5a);
			ops->nt_zero_lines(at, lines);
			CU_ASSERT_TRUE(lines == 0 ||
				       (at[0] == 0 && memcmp(at, at + 1, lines - 1) == 0));
			ops->flush(at, lines);
		}
		pm_close(&pm);
	}
}

static void test_copy_bulk(void)
{
	static const uint64_t lens[] = {4095, 4096, 4097, 65536, 1000003};
	uint8_t *src = malloc(1 << 20);
	struct pm *pm = open_memfd(PM_LINE);

	fill(src, 1 << 20, 5);
	for (size_t i = 0; i < HF_COUNT(lens); i++) {
		for (uint64_t off = 4095; off < 4100; off++) {
			memset(pm->base, 0xa5, VOLUME);
			pm_copy_nt(pm, MOFF(off), src, lens[i]);
			CU_ASSERT_EQUAL(memcmp(pm->base + off, src, lens[i]), 0);
			CU_ASSERT_TRUE(pm->base[off - 1] == 0xa5 &&
				       pm->base[off + lens[i]] == 0xa5);
			memset(pm->base, 0xa5, VOLUME);
			pm_store(pm, MOFF(off), src, lens[i]);
			CU_ASSERT_EQUAL(memcmp(pm->base + off, src, lens[i]), 0);
			CU_ASSERT_TRUE(pm->base[off - 1] == 0xa5 &&
				       pm->base[off + lens[i]] == 0xa5);
		}
	}
	pm_close(&pm);
	free(src);
}

/* ---- no line of a non-temporal copy stays in the cache: each is non-temporal, or flushed, or made
 * of whole words */

static uint8_t line_done[AREA / 64];
static const uint8_t *line_base;
static const struct pm_ops *real_ops;

static void note_lines(const void *p, size_t len)
{
	for (size_t i = 0; i < AREA / 64; i++) {
		const uint8_t *line = line_base + i * 64;

		if (line < (const uint8_t *)p + len && line + 64 > (const uint8_t *)p)
			line_done[i] = 1;
	}
}

static void noting_flush(const void *p, size_t len)
{
	note_lines(p, len);
}

static struct pm_fault noting_nt_lines(void *dst, const void *src, size_t len)
{
	CU_ASSERT_EQUAL((uintptr_t)dst % 64, 0);
	CU_ASSERT_EQUAL(len % 64, 0);
	note_lines(dst, len);
	return real_ops->nt_lines(dst, src, len);
}

static void noting_zero_lines(void *dst, size_t len)
{
	note_lines(dst, len);
	real_ops->nt_zero_lines(dst, len);
}

static unsigned int lines_left(uint32_t off, uint32_t len)
{
	unsigned int left = 0;

	for (uint32_t i = 0; i < AREA / 64; i++) {
		uint32_t from = off > i * 64 ? off : i * 64;
		uint32_t to = off + len < (i + 1) * 64 ? off + len : (i + 1) * 64;

		if (from < to && !line_done[i] && (from % 8 || to % 8))
			left++;
	}
	return left;
}

static void test_copy_edges_flushed(void)
{
	static uint8_t src[AREA];
	struct pm *pm = open_memfd(PM_LINE);
	struct pm_ops noting = *pm->ops;
	unsigned int left = 0;

	real_ops = arch_ops();
	noting.flush = noting_flush;
	noting.nt_lines = noting_nt_lines;
	noting.nt_zero_lines = noting_zero_lines;
	noting.nt_bulk = NULL;
	pm->gran = PM_LINE;	/* also on an eADR device, which says that it needs no flushes */
	pm->ops = &noting;
	line_base = pm->base;
	for (uint32_t off = 0; off < 64; off++) {
		for (uint32_t len = 1; len <= LEN_MAX; len++) {
			memset(line_done, 0, sizeof(line_done));
			pm_copy_nt(pm, MOFF(off), src, len);
			left += lines_left(off, len);
			memset(line_done, 0, sizeof(line_done));
			pm_zero_nt(pm, MOFF(off), len);
			left += lines_left(off, len);
			memset(line_done, 0, sizeof(line_done));
			pm_guarded_write_nt(pm, MOFF(off), src, len);
			left += lines_left(off, len);
		}
	}
	CU_ASSERT_EQUAL(left, 0);
	/* whole lines do go out non-temporally, as records must */
	memset(line_done, 0, sizeof(line_done));
	pm_copy_nt(pm, MOFF(64), src, 192);
	CU_ASSERT_TRUE(!line_done[0] && line_done[1] && line_done[2] && line_done[3] &&
		       !line_done[4]);
	pm_close(&pm);
}

/* Two threads write neighbouring bytes of one line: a merged edge would undo the other's. */
static struct pm *neighbour_pm;

static void *write_neighbour(void *arg)
{
	uint64_t parity = *(uint64_t *)arg;

	for (uint32_t i = 0; i < 20000; i++) {
		uint8_t v = (uint8_t)(i + parity);

		pm_copy_nt(neighbour_pm, MOFF(64 + parity), &v, 1);
		pm_fence(neighbour_pm);
		if (*(const volatile uint8_t *)pm_at(neighbour_pm, MOFF(64 + parity)) != v)
			return arg;
	}
	return NULL;
}

static void test_copy_neighbours(void)
{
	uint64_t parity[2] = {0, 1};
	pthread_t t[2];
	void *lost;

	neighbour_pm = open_memfd(PM_LINE);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, write_neighbour, &parity[i]);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &lost);
		CU_ASSERT_PTR_NULL(lost);
	}
	pm_close(&neighbour_pm);
}

/* ---- words */

static void test_words(void)
{
	struct pm *pm = open_memfd(PM_LINE);

	pm_store64(pm, MOFF(16), 0x0102030405060708ull);
	CU_ASSERT_EQUAL(pm->base[16], 8); /* little-endian */
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(16)), 0x0102030405060708ull);
	pm_or64(pm, MOFF(16), 0xf0ull);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(16)), 0x01020304050607f8ull);
	pm_and64(pm, MOFF(16), ~0xffull);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(16)), 0x0102030405060700ull);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(16), 8), 0);
	CU_ASSERT_TRUE(pm_in_range(pm, MOFF(pm->size), 0));
	CU_ASSERT_FALSE(pm_in_range(pm, MOFF(pm->size), 1));
	CU_ASSERT_FALSE(pm_in_range(pm, MOFF(8), UINT64_MAX));
	pm_close(&pm);
}

static struct pm *bits_pm;

static void *set_bits(void *arg)
{
	uint64_t mine = *(uint64_t *)arg;

	for (int i = 0; i < 20000; i++) {
		pm_or64(bits_pm, MOFF(0), mine);
		pm_and64(bits_pm, MOFF(0), ~mine);
	}
	pm_or64(bits_pm, MOFF(0), mine);
	return NULL;
}

static void test_words_atomic(void)
{
	uint64_t masks[2] = {0x5555555555555555ull, 0xaaaaaaaaaaaaaaaaull};
	pthread_t t[2];

	bits_pm = open_memfd(PM_LINE);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, set_bits, &masks[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(pm_load64(bits_pm, MOFF(0)), UINT64_MAX);
	pm_close(&bits_pm);
}

/* ---- hooks */

static char events[1024];
static int flush_error, fence_error;
static const struct pm *hooked;

static void on_store(void *ctx, moff_t off, uint64_t len, bool nontemporal)
{
	size_t at = strlen(events);

	CU_ASSERT_PTR_EQUAL(ctx, &events);
	/* The bytes are in the map already. */
	snprintf(events + at, sizeof(events) - at, "%s%llu+%llu=%02x ", nontemporal ? "N" : "S",
		 (unsigned long long)off.v, (unsigned long long)len, hooked->base[off.v]);
}

static int on_flush(void *ctx, moff_t off, uint64_t len)
{
	size_t at = strlen(events);

	(void)ctx;
	snprintf(events + at, sizeof(events) - at, "F%llu+%llu ", (unsigned long long)off.v,
		 (unsigned long long)len);
	return flush_error;
}

static int on_fence(void *ctx)
{
	size_t at = strlen(events);

	(void)ctx;
	snprintf(events + at, sizeof(events) - at, "| ");
	return fence_error;
}

static const struct pm_hook recorder = {
    .ctx = events, .store = on_store, .flush = on_flush, .fence = on_fence};

static void hook_events_of(enum pm_gran gran)
{
	struct pm_open_args args = {.force_gran = true, .gran = gran, .hook = &recorder};
	uint8_t buf[5000];
	char want[512], bulk[64];
	bool line;
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
	hooked = pm;
	memset(buf, 0x77, sizeof(buf));
	events[0] = '\0';
	pm_store64(pm, MOFF(8), 0x11);
	pm_or64(pm, MOFF(8), 0x100000000000022ull);
	pm_and64(pm, MOFF(8), 0x3);
	pm_store(pm, MOFF(3), buf, 5);
	pm_store(pm, MOFF(3), buf, 5000);
	pm_zero(pm, MOFF(4), 7);
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(3), 5000), 0);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	pm_copy_nt(pm, MOFF(64), buf, 128);
	pm_copy_nt(pm, MOFF(61), buf, 4999);
	pm_zero_nt(pm, MOFF(61), 130);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(1), buf, 70), 0);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 1), 0);
	/* nothing of no bytes */
	pm_store(pm, MOFF(3), buf, 0);
	pm_copy_nt(pm, MOFF(3), buf, 0);
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(3), 0), 0);
	line = gran == PM_LINE;
	if (gran == PM_PAGE || pm->ops->nt_bulk)
		snprintf(bulk, sizeof(bulk), "N61+4999=77");
	else
		snprintf(bulk, sizeof(bulk), "S61+3=77 %sN64+4992=77 S5056+4=77%s", line ? "F61+3 " : "",
			 line ? " F5056+4" : "");
	/* an edge that goes through the cache is an event, and so is its flush */
	snprintf(want, sizeof(want),
		 "S8+8=11 S8+8=33 S8+8=03 S3+5=77 S3+5000=77 S4+7=00 F3+5000 | N64+128=77 %s %s", bulk,
		 gran == PM_PAGE ? "N61+130=00 N1+70=77 F0+1 | "
		 : line		 ? "S61+3=00 F61+3 N64+64=00 S128+63=00 F128+63 S1+63=77 F1+63 S64+7=77 F64+7 F0+1 | "
				 : "S61+3=00 N64+64=00 S128+63=00 S1+63=77 S64+7=77 F0+1 | ");
	CU_ASSERT_STRING_EQUAL(events, want);
	pm_close(&pm);
}

static void test_hook_events(void)
{
	hook_events_of(PM_BYTE);
	hook_events_of(PM_LINE);
	hook_events_of(PM_PAGE);
}

static void test_hook_errors(void)
{
	struct pm_open_args args = {.hook = &recorder};
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
	hooked = pm;
	events[0] = '\0';
	flush_error = -EIO;
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(0), 1), -EIO);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 1), -EIO);
	CU_ASSERT_STRING_EQUAL(events, "F0+1 F0+1 "); /* no fence after a failed flush */
	flush_error = 0;
	fence_error = -ENOSPC;
	CU_ASSERT_EQUAL(pm_fence(pm), -ENOSPC);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 1), -ENOSPC);
	fence_error = 0;
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	pm_close(&pm);
}

/* Members may be missing: then the real thing happens. */
static void test_hook_partial(void)
{
	static const struct pm_hook nothing = {.ctx = events};
	static const struct pm_hook stores_only = {.ctx = events, .store = on_store};
	const struct pm_hook *const hooks[] = {&nothing, &stores_only};

	for (int gran = PM_BYTE; gran <= PM_PAGE; gran++) {
		for (size_t i = 0; i < HF_COUNT(hooks); i++) {
			struct pm_open_args args = {.force_gran = true, .gran = (enum pm_gran)gran};
			struct pm *pm;

			CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, &args, &pm), 0);
			pm->hook = hooks[i]; /* also later than the open */
			hooked = pm;
			events[0] = '\0';
			pm_store64(pm, MOFF(0), 1);
			pm_copy_nt(pm, MOFF(64), "abcdefgh", 8);
			CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 8), 0);
			CU_ASSERT_STRING_EQUAL(events, i ? "S0+8=01 N64+8=61 " : "");
			pm_close(&pm);
		}
	}
}

/* ---- page granularity */

static void test_page_syncs(void)
{
	struct pm *pm = open_file(".", NULL);
	struct pm *pm2 = open_file(".", NULL);

	if (!on_disk())
		return;
	CU_ASSERT_EQUAL(pm->gran, PM_PAGE);
	CU_ASSERT_EQUAL(pm->survives, PM_POWER_FAIL);
	sync_reset();
	pm_store64(pm, MOFF(0), 1);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	CU_ASSERT_EQUAL(synced_count, 0); /* stored, but not flushed */
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(0), 8), 0);
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(4090), 8), 0); /* two pages */
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(1 << 20), 1), 0);
	pm_copy_nt(pm, MOFF(3000000), "x", 1);
	pm_zero_nt(pm, MOFF(3500000), 100);
	CU_ASSERT_EQUAL(pm_guarded_write_nt(pm, MOFF(4000000), "y", 1), 0);
	CU_ASSERT_EQUAL(pm_flush(pm2, MOFF(0), 8), 0);
	CU_ASSERT_EQUAL(synced_count, 0);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	CU_ASSERT_EQUAL(synced_count, 5);
	CU_ASSERT_TRUE(was_synced(pm, 0, 8192));
	CU_ASSERT_TRUE(was_synced(pm, 1 << 20, 1));
	CU_ASSERT_TRUE(was_synced(pm, 3000000, 1));
	CU_ASSERT_TRUE(was_synced(pm, 3500000, 100));
	CU_ASSERT_TRUE(was_synced(pm, 4000000, 1));
	CU_ASSERT_FALSE(was_synced(pm2, 0, 8));
	sync_reset();
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	CU_ASSERT_EQUAL(synced_count, 0);
	CU_ASSERT_EQUAL(pm_fence(pm2), 0);
	CU_ASSERT_EQUAL(synced_count, 1);
	CU_ASSERT_TRUE(was_synced(pm2, 0, 8));
	pm_close(&pm);
	pm_close(&pm2);
}

/* More places than are remembered one by one. */
static void test_page_overflow(void)
{
	struct pm *pm = open_file(".", NULL);
	bool all = true;

	if (!on_disk())
		return;
	sync_reset();
	for (uint64_t i = 0; i < 40; i++)
		CU_ASSERT_EQUAL(pm_flush(pm, MOFF(((i * 7) % 40) * 100000), 8), 0);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	for (uint64_t i = 0; i < 40; i++)
		all = all && was_synced(pm, i * 100000, 8);
	CU_ASSERT_TRUE(all);
	CU_ASSERT_TRUE(synced_count <= 8);
	pm_close(&pm);
}

/* A pm that is closed with ranges pending does not use up the thread's memory of them, nor touch
 * what comes after. */
static void test_page_closed(void)
{
	struct pm *pm;

	if (!on_disk())
		return;
	for (int i = 0; i < 20; i++) {
		pm = open_file(".", NULL);
		CU_ASSERT_EQUAL(pm_flush(pm, MOFF(0), 8), 0);
		sync_reset();
		if (i == 19) {
			CU_ASSERT_EQUAL(pm_fence(pm), 0);
			CU_ASSERT_EQUAL(synced_count, 1);
			CU_ASSERT_TRUE(was_synced(pm, 0, 8));
		}
		pm_close(&pm);
	}
}

/* All slots taken by volumes that are open: the flush syncs at once. */
static void test_page_many_volumes(void)
{
	struct pm *pm[9];

	if (!on_disk())
		return;
	for (int i = 0; i < 9; i++)
		pm[i] = open_file(".", NULL);
	sync_reset();
	for (int i = 0; i < 9; i++)
		CU_ASSERT_EQUAL(pm_flush(pm[i], MOFF(0), 8), 0);
	CU_ASSERT_EQUAL(synced_count, 1);
	for (int i = 0; i < 9; i++) {
		CU_ASSERT_EQUAL(pm_fence(pm[i]), 0);
		CU_ASSERT_TRUE(was_synced(pm[i], 0, 8));
	}
	CU_ASSERT_EQUAL(synced_count, 9);
	for (int i = 0; i < 9; i++)
		pm_close(&pm[i]);
}

static void *fence_alone(void *arg)
{
	return pm_fence(arg) == 0 ? NULL : arg;
}

/* A fence covers its own thread's flushes only. */
static void test_page_per_thread(void)
{
	struct pm *pm = open_file(".", NULL);
	pthread_t t;
	void *failed;

	if (!on_disk())
		return;
	sync_reset();
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(0), 8), 0);
	pthread_create(&t, NULL, fence_alone, pm);
	pthread_join(t, &failed);
	CU_ASSERT_PTR_NULL(failed);
	CU_ASSERT_EQUAL(synced_count, 0);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	CU_ASSERT_EQUAL(synced_count, 1);
	pm_close(&pm);
}

static void test_page_failure(void)
{
	struct pm *pm = open_file(".", NULL);

	if (!on_disk())
		return;
	sync_reset();
	sync_errno = EIO;
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 8), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "msync"));
	/* The kernel may have marked the pages clean: a later success would prove nothing. */
	sync_errno = 0;
	CU_ASSERT_EQUAL(pm_fence(pm), -EIO);
	pm_close(&pm);
}

/* The kernel itself says no: the pages are not mapped any more. */
static void test_page_real_failure(void)
{
	struct pm *pm = open_file(".", NULL);

	if (!on_disk())
		return;
	sync_reset();
	CU_ASSERT_EQUAL(pm_flush(pm, MOFF(8192), 8), 0);
	munmap(pm->base, 65536);
	CU_ASSERT_EQUAL(pm_fence(pm), -EIO);
	pm_close(&pm);
}

static void no_sync_of(struct pm *pm, enum pm_survives survives)
{
	sync_reset();
	CU_ASSERT_EQUAL(pm->gran, PM_PAGE);
	CU_ASSERT_EQUAL(pm->survives, survives);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(0), 8), 0);
	CU_ASSERT_EQUAL(synced_count, 0);
	pm_close(&pm);
}

static void test_page_no_msync(void)
{
	struct pm_open_args args = {.no_msync = true};
	struct pm *pm;

	if (!on_disk())
		return;
	no_sync_of(open_file(".", &args), PM_PROCESS_CRASH);
	no_sync_of(open_file("/dev/shm", NULL), PM_PROCESS_CRASH);
	if (getenv("HF_TEST_DEVICE")) /* it would not be in memory */
		return;
	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, NULL, &pm), 0);
	no_sync_of(pm, PM_NOTHING);
}

/* What reached the file is what was stored. */
static void test_page_content(void)
{
	const char *path = make_file(".", VOLUME);
	struct pm *pm;
	char got[8];
	int fd;

	CU_ASSERT_PTR_NOT_NULL_FATAL(path);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &pm), 0);
	pm_copy_nt(pm, MOFF(123456), "content", 8);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	pm_close(&pm);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(pread(fd, got, 8, 123456), 8);
	CU_ASSERT_STRING_EQUAL(got, "content");
	close(fd);
	unlink(path);
}

static const struct hf_case cases[] = {
    {"copies, byte granularity", test_copy_byte},
    {"copies, cache-line granularity", test_copy_line},
    {"copies, page granularity", test_copy_page},
    {"copies, each set of instructions", test_copy_instructions},
    {"copies, long ones", test_copy_bulk},
    {"copies: no line is left in the cache", test_copy_edges_flushed},
    {"copies: neighbours' bytes stay", test_copy_neighbours},
    {"words", test_words},
    {"words: atomic bits", test_words_atomic},
    {"hooks: events in order", test_hook_events},
    {"hooks: errors", test_hook_errors},
    {"hooks: members missing", test_hook_partial},
    {"pages: fence syncs what was flushed", test_page_syncs},
    {"pages: many places", test_page_overflow},
    {"pages: closed with some pending", test_page_closed},
    {"pages: many volumes", test_page_many_volumes},
    {"pages: per thread", test_page_per_thread},
    {"pages: msync fails", test_page_failure},
    {"pages: msync really fails", test_page_real_failure},
    {"pages: nothing to sync", test_page_no_msync},
    {"pages: content", test_page_content},
};

int main(void)
{
	go_to_disk();
	return hf_run_suite("media: stores", cases, HF_COUNT(cases));
}
