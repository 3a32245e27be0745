/* The medium fails under operations that take pinned blocks away: after that nothing is handed out,
 * every pin still shows what it showed, is dropped once, and the volume can be left. */
#include "file_vol.h"
#include "file/volume.h"

#include <sys/uio.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define PINS  6u

static int64_t fences_left; /* that work; < 0: all */
static uint8_t buf[3 * FRM], back[FRM];

static int fence(void *ctx)
{
	(void)ctx;
	if (fences_left > 0)
		fences_left--;
	return fences_left == 0 ? -EIO : 0;
}

static hf_volume *volume(void)
{
	static const struct pm_hook hook = {.fence = fence};
	const struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = &hook};
	const struct hf_mount_options o = {.struct_size = sizeof(o)};
	const struct mkfs_args mkfs = {0};
	hf_volume *vol = NULL;
	struct pm *pm;

	fences_left = -1;
	OK(pm_open_memfd(32 * MIB, &args, &pm));
	OK(mkfs_write(pm, &mkfs));
	OK(volume_open(pm, &o, &vol));
	return vol;
}

struct held {
	hf_pin_id id;
	struct iovec iov;
};

static struct held pin(hf_file *f, uint64_t off, uint64_t len, unsigned flags)
{
	const struct hf_pin_options o = {.struct_size = sizeof(o), .flags = flags};
	struct held h = {0};
	size_t n = 1;

	OK(hf_pin(f, off, len, &o, &h.iov, &n, &h.id));
	return h;
}

static int operation(hf_volume *vol, hf_file *f, unsigned which)
{
	const struct hf_how fail = {sizeof(fail), HF_PINNED_FAIL, 0};
	const struct hf_how wait = {sizeof(wait), HF_PINNED_WAIT, 0};

	switch (which) {
	case 0:
		return hf_ftruncate(f, 5 * BLK);
	case 1:
		return hf_fallocate(f, PUNCH, 3 * BLK, FRM);
	case 2:
		return hf_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, BLK, BLK);
	case 3:
		return hf_fallocate(f, FALLOC_FL_INSERT_RANGE, BLK, BLK);
	case 4:
		return hf_unlink(vol, "/f");
	case 5:
		return hf_ftruncate_how(f, 0, &fail) == -EBUSY ? 0 : -EINVAL;
	default:
		return hf_fallocate_how(f, PUNCH, 2 * FRM, FRM, &wait);
	}
}

#define OPERATIONS 7u

/* True: all fences were good. */
static bool round_of(unsigned which, int64_t fences, bool force)
{
	hf_volume *vol = volume();
	hf_file *f = vol_create(vol, "/f"), *g = vol_create(vol, "/g");
	struct held h[PINS];
	bool good;

	GET(sizeof(buf), hf_pwrite(f, buf, sizeof(buf), 0));
	GET(BLK, hf_pwrite(g, buf, BLK, 0));
	h[0] = pin(f, 0, FRM, 0);
	h[1] = pin(f, 4 * BLK, 2 * BLK, HF_PIN_WRITE);
	h[2] = pin(f, FRM, FRM, 0);
	h[3] = pin(g, 0, BLK, 0);
	h[4] = pin(f, FRM + 7 * BLK, BLK, 0);
	h[5] = pin(f, 2 * BLK, 3 * BLK, HF_PIN_WRITE);
	fences_left = fences;
	(void)operation(vol, f, which);
	good = fences_left > 0;
	(void)hf_pwrite(g, back, sizeof(back), 0);
	for (unsigned i = 0; i < PINS; i++)
		if (i != 3)
			CU_ASSERT_EQUAL(memcmp(h[i].iov.iov_base,
					       buf + (i == 0   ? 0
						      : i == 1 ? 4 * BLK
						      : i == 2 ? FRM
						      : i == 4 ? FRM + 7 * BLK
							       : 2 * BLK),
					       h[i].iov.iov_len),
					0);
	OK(hf_close(&f));
	OK(hf_close(&g));
	if (force)
		GET(PINS, hf_unmount_force(vol));
	for (unsigned i = 0; i < PINS; i++) {
		int err = hf_unpin(vol, h[i].id);

		CU_ASSERT(err == 0 || (err == -EIO && (i == 1 || i == 5)));
	}
	if (!force)
		(void)hf_unmount(&vol);
	return good;
}

static void rounds(bool force)
{
	vol_fill(buf, sizeof(buf), 9);
	memset(back, 0xee, sizeof(back));
	for (unsigned which = 0; which < OPERATIONS; which++) {
		int64_t fences = 0;

		while (!round_of(which, fences, force) && fences < 100)
			fences++;
		CU_ASSERT(fences > 0 && fences < 100);
	}
}

static void test_unmounted(void)
{
	rounds(false);
}

static void test_forced(void)
{
	rounds(true);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"then unmounted", test_unmounted},
	    {"then unmounted by force", test_forced},
	};

	return hf_run_suite("a medium that fails under pins", cases, HF_COUNT(cases));
}
