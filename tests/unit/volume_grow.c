/* A volume whose file became larger takes it: contents, space to the last block, what is refused. */
#include "file_vol.h"
#include "file/volume.h"
#include "space/space.h"

#define GIB (1024 * MIB)

static char path[256], second[256], both[600];

static uint64_t grow(const char *what, uint64_t *from)
{
	uint64_t to = 0;
	struct hf_grow_options o = {.struct_size = sizeof(o), .from = from, .to = &to};

	OK(hf_grow(what, &o));
	return to;
}

/* Until nothing fits. Returns how many bytes it took. */
static uint64_t fill_up(hf_volume *vol, const char *name, uint64_t seed)
{
	uint64_t n = 0, step = 4 * MIB;
	uint8_t *buf = malloc(step);
	hf_file *f = vol_create(vol, name);

	while (step >= BLK) {
		ssize_t got;

		vol_fill(buf, step, seed + n);
		got = hf_pwrite(f, buf, step, n);
		n += got > 0 ? (uint64_t)got : 0;
		if (got != (ssize_t)step)
			step = got > 0 || step == 4 * MIB ? BLK : 0;
	}
	OK(hf_ftruncate(f, n / BLK * BLK));
	OK(hf_close(&f));
	free(buf);
	return n / BLK * BLK;
}

static uint64_t sum(hf_volume *vol, const char *name)
{
	uint8_t *buf = malloc(MIB);
	hf_file *f = vol_open(vol, name, HF_O_RDONLY);
	uint64_t h = vol_size(f), at = 0;
	ssize_t n;

	for (n = hf_pread(f, buf, MIB, 0); n > 0; n = hf_pread(f, buf, MIB, at)) {
		h = hash_bytes(buf, (size_t)n, h);
		at += (uint64_t)n;
	}
	CU_ASSERT(n == 0);
	OK(hf_close(&f));
	free(buf);
	return h;
}

/* Of a volume that is full: what is left are no blocks that anybody could have. */
static void must_be_full(hf_volume *vol)
{
	struct space_stat st;
	struct hf_statfs s;

	OK(hf_syncfs(vol));
	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(s.blocks, geo_blocks(&vol->fs.geo));
	space_stat(vol->fs.space, &st);
	CU_ASSERT(st.free <= st.reserved + 8);
}

/* Filled at each size; all that was written before is there at each later one. */
static void test_steps(void)
{
	static const uint64_t sizes[] = {64 * MIB, 66 * MIB, 96 * MIB, 130 * MIB, 384 * MIB};
	uint64_t sums[HF_COUNT(sizes)], from, bytes;
	hf_volume *vol;

	vol_format(path, sizes[0]);
	for (unsigned i = 0; i < HF_COUNT(sizes); i++) {
		char name[32];

		if (i > 0) {
			OK(truncate(path, (off_t)sizes[i]));
			CU_ASSERT_EQUAL(grow(path, &from), sizes[i]);
			CU_ASSERT_EQUAL(from, sizes[i - 1]);
			CHECK(path);
		}
		vol = vol_mount(path, 0);
		CU_ASSERT_EQUAL(vol->fs.geo.bytes, sizes[i]);
		for (unsigned k = 0; k < i; k++) {
			snprintf(name, sizeof(name), "/at%u", k);
			CU_ASSERT_EQUAL(sum(vol, name), sums[k]);
		}
		snprintf(name, sizeof(name), "/at%u", i);
		bytes = fill_up(vol, name, i);
		CU_ASSERT(i == 0 || bytes >= (sizes[i] - sizes[i - 1]) / 100 * 90);
		sums[i] = sum(vol, name);
		must_be_full(vol);
		OK(hf_unmount(&vol));
		CHECK(path);
	}
	CU_ASSERT_EQUAL(grow(path, &from), from);
	unlink(path);
}

/* Lines of many blocks, and all is freed again: nothing of the old lines, or of the old end, is lost. */
static void test_far(void)
{
	struct hf_statfs s;
	hf_volume *vol;
	uint64_t from, used;
	hf_file *f;

	vol_format(path, 64 * MIB);
	OK(truncate(path, (off_t)GIB));
	CU_ASSERT_EQUAL(grow(path, &from), GIB);
	OK(truncate(path, (off_t)(8 * GIB)));
	CU_ASSERT_EQUAL(grow(path, &from), 8 * GIB);
	CHECK(path);
	vol = vol_mount(path, 0);
	used = vol_used(vol);
	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(s.blocks, vol->fs.geo.end_data.v - vol->fs.geo.first_data.v);
	CU_ASSERT_EQUAL(s.frames, 4096);
	CU_ASSERT(s.frames_free >= 4096 - 4);
	f = vol_create(vol, "/wide");
	OK(hf_fallocate(f, 0, 0, 200 * MIB));
	CU_ASSERT(vol_used(vol) >= used + 200 * MIB / BLK);
	OK(hf_ftruncate(f, 64 * MIB));
	OK(hf_ftruncate(f, 0));
	OK(hf_close(&f));
	OK(hf_unlink(vol, "/wide"));
	OK(hf_unmount(&vol));
	CHECK(path);
	vol = vol_mount(path, 0);
	CU_ASSERT(vol_used(vol) <= used + 8);
	OK(hf_unmount(&vol));
	unlink(path);
}

static void must_say(int err, const char *what, const char *sentence)
{
	FAILS(err, hf_grow(what, NULL));
	if (!strstr(hf_errormsg(), sentence))
		printf("(said: %s) ", hf_errormsg());
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), sentence));
}

static void scribble(off_t at, uint64_t n)
{
	uint8_t *bytes = malloc(n);
	int fd = open(path, O_RDWR);

	memset(bytes, 0x5a, n);
	GET(n, pwrite(fd, bytes, n, at));
	close(fd);
	free(bytes);
}

static void test_refused(void)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_PREEN};
	struct hf_check_result r;
	hf_volume *vol;
	uint64_t from;

	FAILS(EINVAL, hf_grow(NULL, NULL));
	FAILS(ENOENT, hf_grow("/dev/shm/hf-not-there", NULL));
	vol_format(path, 16 * MIB);
	OK(truncate(path, (off_t)(32 * MIB)));
	vol = vol_mount(path, 0);
	must_say(EBUSY, path, "in use");
	OK(hf_unmount(&vol));
	if (geteuid() != 0) {
		OK(chmod(path, 0400));
		FAILS(EACCES, hf_grow(path, NULL));
		OK(chmod(path, 0600));
	}
	scribble(0, 64);
	must_say(EUCLEAN, path, "fsck.holdfast");
	OK(hf_check(path, &o, &r));
	scribble((off_t)(FMT_BLK_ALLOC * BLK), 64);
	must_say(EUCLEAN, path, "fsck.holdfast");
	o.flags = HF_CHECK_REPAIR;
	OK(hf_check(path, &o, &r));
	CU_ASSERT_EQUAL(grow(path, &from), 32 * MIB);
	CHECK(path);
	OK(truncate(path, (off_t)(16 * MIB)));
	must_say(EUCLEAN, path, "truncated");
	unlink(path);
}

/* The tables take 32 KiB for each GiB: a frame more is not enough for all. */
static void test_no_room(void)
{
	uint64_t from;

	vol_format(path, 64 * GIB);
	OK(truncate(path, (off_t)(64 * GIB + FRM)));
	must_say(ENOSPC, path, "make it larger");
	OK(truncate(path, (off_t)(64 * GIB + 2 * FRM)));
	CU_ASSERT_EQUAL(grow(path, &from), 64 * GIB + 2 * FRM);
	CHECK(path);
	OK(truncate(path, (off_t)(64 * GIB + 2 * FRM + BLK)));
	CU_ASSERT_EQUAL(grow(path, &from), from);
	unlink(path);
}

/* Of several devices the last one, whose number the others' superblocks say. */
static void test_devices(void)
{
	uint64_t from, first, before;
	hf_volume *vol;

	unlink(second);
	vol_format(both, 16 * MIB);
	vol = vol_mount(both, 0);
	first = fill_up(vol, "/first", 1);
	before = sum(vol, "/first");
	OK(hf_unmount(&vol));
	OK(truncate(second, (off_t)(48 * MIB)));
	CU_ASSERT_EQUAL(grow(both, &from), 64 * MIB);
	CHECK(both);
	vol = vol_mount(both, 0);
	CU_ASSERT_EQUAL(sum(vol, "/first"), before);
	CU_ASSERT(fill_up(vol, "/next", 2) > first);
	must_be_full(vol);
	OK(hf_unmount(&vol));
	CHECK(both);
	OK(truncate(path, (off_t)(48 * MIB)));
	CU_ASSERT_EQUAL(grow(both, &from), 64 * MIB);
	unlink(path);
	unlink(second);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"filled at each size", test_steps}, {"far", test_far},
	    {"refused", test_refused},		 {"no room for the lines", test_no_room},
	    {"several devices", test_devices},
	};
	int status;

	snprintf(path, sizeof(path), "%s", vol_path("grow"));
	snprintf(second, sizeof(second), "%s", vol_path("grow-second"));
	snprintf(both, sizeof(both), "%s:%s", path, second);
	status = hf_run_suite("growing", cases, HF_COUNT(cases));
	unlink(path);
	unlink(second);
	return status;
}
