/* One file, two views, all that changes it, against an array of bytes: a seeded walk. */
#include "file/volume.h"
#include "pin/view.h"
#include "view_vol.h"

#include <linux/falloc.h>

#define SLOTS	  5u
#define BYTES	  (SLOTS * FRM)
#define VIEWS	  3u
#define BEYOND	  77u /* what is stored behind the end of file, and must never be seen */
#define LONGEST	  (FRM + FRM / 2)

static uint8_t want[BYTES + LONGEST], got[BYTES + LONGEST], noise[LONGEST];
static uint64_t size, state;
static hf_volume *vol;
static hf_file *f;
static hf_view *views[VIEWS];
static uint8_t *base[VIEWS];
static unsigned bad;
static bool tight; /* a volume that is full at times */
static hf_pin_id pin;

static uint64_t rnd(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return n ? (state >> 11) % n : 0;
}

/* Mostly blocks, often bytes beside them, sometimes slots. */
static uint64_t some(uint64_t max)
{
	uint64_t x = rnd(max + 1);

	switch (rnd(5)) {
	case 0:
		return x;
	case 1:
		return x - x % FRM;
	case 2:
		x -= x % 4096;
		return x ? x - rnd(2) : x;
	default:
		return x - x % 4096;
	}
}

static void fail(const char *what, uint64_t at)
{
	if (bad++ < 8)
		printf("    %s at %llu (size %llu): %s\n", what, (unsigned long long)at,
		       (unsigned long long)size, hf_errormsg());
}

static void grow(uint64_t end)
{
	if (end > size)
		size = end;
}

static void shrink_to(uint64_t n)
{
	if (n < size)
		memset(want + n, 0, size - n);
	size = n;
}

static void do_write(void)
{
	uint64_t off = some(BYTES - 1), len = 1 + some(LONGEST - 1);
	ssize_t n;

	if (len > BYTES - off)
		len = BYTES - off;
	memset(noise, 1 + (int)rnd(70), len);
	n = hf_pwrite(f, noise, len, off);
	if (n == -ENOSPC)
		return;
	if (n != (ssize_t)len && !(tight && n > 0))
		fail("pwrite", off);
	if (n <= 0)
		return;
	memcpy(want + off, noise, (size_t)n);
	grow(off + (uint64_t)n);
}

static void do_store(void)
{
	unsigned i = (unsigned)rnd(VIEWS);
	uint64_t off = some(BYTES - 1), len = 1 + rnd(9000);
	uint8_t value = (uint8_t)(1 + rnd(70));
	int sig;

	if (!views[i] || i == 2)
		return;
	if (rnd(2) && size) /* around the end of file */
		off = size - 1 - rnd(size < 5000 ? size : 5000);
	for (uint64_t at = off; at < off + len && at < BYTES; at++) {
		bool beyond = at / FRM * FRM >= size;

		sig = touch_write(base[i] + at, at < size ? value : BEYOND);
		if (sig && !beyond && !pin && !tight)
			fail("store", at);
		if (sig)
			return;
		if (beyond)
			fail("store beyond", at);
		if (at < size)
			want[at] = value;
	}
}

static void do_truncate(void)
{
	uint64_t n = some(BYTES);

	if (hf_ftruncate(f, n))
		fail("truncate", n);
	else if (n < size)
		shrink_to(n);
	else
		size = n;
}

static void do_punch(bool zero)
{
	uint64_t off = some(BYTES - 1), len = 1 + some(LONGEST - 1), end;
	int err;

	if (len > BYTES - off)
		len = BYTES - off;
	err = hf_fallocate(f, (zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) |
				  FALLOC_FL_KEEP_SIZE, off, len);
	if (err == -ENOSPC && zero)
		err = 0; /* it has zeroed what is mapped, or not begun: both are right for what follows */
	else if (err)
		fail("punch", off);
	end = off + len < size ? off + len : size;
	if (zero) {
		if (hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len))
			fail("punch", off);
	}
	if (off < end)
		memset(want + off, 0, end - off);
}

static void do_alloc(void)
{
	uint64_t off = some(BYTES - 1), len = 1 + some(LONGEST - 1);
	int keep = rnd(2) ? FALLOC_FL_KEEP_SIZE : 0, err;

	if (len > BYTES - off)
		len = BYTES - off;
	err = hf_fallocate(f, keep, off, len);
	if (err == -ENOSPC)
		return;
	if (err)
		fail("allocate", off);
	else if (!keep)
		grow(off + len);
}

static void do_collapse(void)
{
	uint64_t off = rnd(size / 4096 + 1) * 4096, len = (1 + rnd(rnd(2) ? 3 : 600)) * 4096;
	int err;

	if (rnd(2)) {
		off -= off % FRM;
		len = FRM;
	}
	if (off + len >= size)
		return;
	err = hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, off, len);
	if (err == -ENOSPC && tight) /* new nodes for the edge */
		return;
	if (err) {
		fail("collapse", off);
		return;
	}
	memmove(want + off, want + off + len, size - off - len);
	memset(want + size - len, 0, len);
	size -= len;
}

static void do_insert(void)
{
	uint64_t off = rnd(size / 4096 + 1) * 4096, len = (1 + rnd(rnd(2) ? 3 : 600)) * 4096;
	int err;

	if (rnd(2)) {
		off -= off % FRM;
		len = FRM;
	}
	if (off >= size || size + len > BYTES)
		return;
	err = hf_fallocate(f, FALLOC_FL_INSERT_RANGE, off, len);
	if (err == -ENOSPC || err == -EFBIG)
		return;
	if (err) {
		fail("insert", off);
		return;
	}
	memmove(want + off + len, want + off, size - off);
	memset(want + off, 0, len);
	size += len;
}

static void do_view(void)
{
	unsigned i = (unsigned)rnd(VIEWS);

	if (views[i]) {
		OK(hf_view_unmap(&views[i]));
		return;
	}
	base[i] = view_at(f, 0, BYTES, i == 2 ? HF_VIEW_READ : VIEW_RW, WAIT_NONE, &views[i]);
}

static void do_pin(void)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE};
	uint64_t off = some(BYTES - 1), len = 1 + rnd(20000);

	if (pin) {
		OK(hf_unpin(vol, pin));
		pin = 0;
	} else if (off < size) {
		if (len > size - off)
			len = size - off;
		if (hf_pin(f, off, len, &o, NULL, NULL, &pin))
			pin = 0;
	}
}

static void do_populate(void)
{
	unsigned i = (unsigned)rnd(VIEWS);
	uint64_t slot = rnd(SLOTS);
	int err;

	if (!views[i])
		return;
	err = hf_view_populate(views[i], slot * FRM, FRM, i < 2 && rnd(2));
	if (err == -ENXIO ? slot * FRM < size : err && err != -ENOSPC && !(pin && err == -EBUSY))
		fail("populate", slot * FRM);
}

static void compare(const uint8_t *p, uint64_t from, uint64_t to, const char *what)
{
	if (memcmp(p, want + from, to - from) == 0)
		return;
	while (from < to && *p == want[from]) {
		p++;
		from++;
	}
	if (bad < 8)
		printf("    %u instead of %u\n", *p, want[from]);
	fail(what, from);
}

static void look(void)
{
	struct hf_stat st;

	OK(hf_fstat(f, &st));
	if (st.size != size)
		fail("size", st.size);
	if (hf_pread(f, got, size, 0) != (ssize_t)size)
		fail("pread", 0);
	compare(got, 0, size, "pread");
	for (unsigned i = 0; i < VIEWS; i++)
		for (uint64_t at = 0; at < BYTES && views[i]; at += FRM) {
			uint8_t b;
			int sig = touch_read(base[i] + at, &b);

			if (at >= size && sig != SIGBUS)
				fail("read beyond", at);
			if (at < size && sig == 0)
				compare(base[i] + at, at, at + FRM < size ? at + FRM : size, "view");
		}
}

static void step(void)
{
	switch (rnd(16)) {
	case 0:
	case 1:
	case 2:
		do_write();
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		do_store();
		break;
	case 7:
		do_truncate();
		break;
	case 8:
	case 9:
		do_punch(rnd(3) == 0);
		break;
	case 10:
		do_alloc();
		break;
	case 11:
		do_collapse();
		break;
	case 12:
		do_insert();
		break;
	case 13:
		do_view();
		break;
	case 14:
		do_populate();
		break;
	default:
		do_pin();
	}
}

/* All but some MiB belongs to somebody else. */
static void fill_volume(void)
{
	hf_file *g = vol_create(vol, "other");
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	OK(hf_fallocate(g, 0, 0, (s.blocks_free - 512 * (1 + rnd(5)) - rnd(512)) * 4096));
	OK(hf_close(&g));
}

static void walk(uint64_t seed, unsigned steps)
{
	unsigned before = bad;
	struct hf_check_result res;

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	memset(want, 0, sizeof(want));
	size = 0;
	vol = vol_memory(seed % 2 ? 64 * MIB : 32 * MIB);
	f = vol_create(vol, "a");
	tight = seed % 3 == 0;
	if (tight)
		fill_volume();
	for (unsigned i = 0; i < steps && bad == before; i++) {
		step();
		if (rnd(3) == 0)
			look();
	}
	if (pin)
		OK(hf_unpin(vol, pin));
	pin = 0;
	if (bad == before)
		look();
	for (unsigned i = 0; i < VIEWS; i++)
		if (views[i])
			OK(hf_view_unmap(&views[i]));
	CU_ASSERT_EQUAL(atomic_load(&f->in->nviews), 0);
	CU_ASSERT_EQUAL(atomic_load(&f->in->nholes), 0);
	if (bad == before)
		look();
	OK(hf_check_mounted(vol, NULL, &res));
	CU_ASSERT_EQUAL(res.findings, 0);
	if (bad > before)
		printf("    seed %llu\n", (unsigned long long)seed);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void random_changes(void)
{
	const char *s = getenv("HF_TEST_SEED");
	uint64_t first = s ? strtoull(s, NULL, 0) : 1, n = s ? 1 : getenv("HF_TEST_SHORT") ? 8 : 60;

	for (uint64_t seed = first; seed < first + n && !bad; seed++)
		walk(seed, 400);
	CU_ASSERT_EQUAL(bad, 0);
}

static const struct hf_case cases[] = {{"random_changes", random_changes}};

int main(void)
{
	touch_install();
	return hf_run_suite("view_model", cases, HF_COUNT(cases));
}
