/* A growth is cut off at each of its fences, with any of what was not fenced on the medium: the volume has the old size or the
 * new one, with all that was in it; it can be written, a superblock damaged later leads to no stale allocation lines, and it grows. */
#include "file_vol.h"
#include "check/grow.h"
#include "file/volume.h"
#include "journal_sim.h"

#define SMALL  (4 * MIB)
#define MIDDLE (8 * MIB)
#define LARGE  (12 * MIB)
#define FIRST  (4 * MIB) /* of two devices */
#define FILES  40u

static struct {
	struct sim *s;
	struct rng rng;
	uint8_t *image, *start;
	char file[2][256], path[600];
	bool two; /* devices */
	uint64_t old_bytes;
	uint64_t images, torn, olds, news;
	bool on;
} t;

static struct pm *memory(uint64_t bytes, const struct pm_hook *hook)
{
	const uint64_t of[2] = {FIRST, bytes - FIRST};
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = hook, .no_threads = true};
	struct pm *pm = NULL;

	if (t.two) {
		args.member_bytes = of;
		args.nmembers = 2;
	}
	OK(pm_open_memory(t.s->mem, bytes, &args, &pm));
	return pm;
}

static void fill(uint8_t *buf, uint64_t n, uint64_t seed)
{
	struct rng r = {seed};

	for (uint64_t i = 0; i < n; i += 8) {
		uint64_t v = rng_next(&r);

		memcpy(buf + i, &v, 8);
	}
}

static void put(hf_volume *vol, unsigned i, uint64_t bytes)
{
	uint8_t *buf = malloc(bytes);
	char name[32];
	hf_file *f;

	snprintf(name, sizeof(name), "/f%u", i);
	fill(buf, bytes, i);
	f = vol_create(vol, name);
	GET(bytes, hf_pwrite(f, buf, bytes, 0));
	OK(hf_close(&f));
	free(buf);
}

static uint64_t bytes_of(unsigned i)
{
	return (1 + i * 7919 % 29) * BLK;
}

static bool has(hf_volume *vol, unsigned i, uint64_t bytes)
{
	uint8_t *want = malloc(bytes), *buf = malloc(bytes + 8);
	char name[32];
	hf_file *f = NULL;
	bool same;

	snprintf(name, sizeof(name), "/f%u", i);
	fill(want, bytes, i);
	same = hf_open(vol, name, HF_O_RDONLY, 0, &f) == 0 && hf_pread(f, buf, bytes + 8, 0) == (ssize_t)bytes &&
	       memcmp(buf, want, bytes) == 0;
	if (f)
		OK(hf_close(&f));
	free(want);
	free(buf);
	return same;
}

/* Every third one is gone again. */
static bool has_all(hf_volume *vol)
{
	for (unsigned i = 0; i < FILES; i++)
		if (i % 3 && !has(vol, i, bytes_of(i)))
			return false;
	return true;
}

/* A volume with files and holes, and records in its journal; what lies behind it is garbage. */
static void prepare(uint64_t grown)
{
	uint64_t small = t.two ? MIDDLE : SMALL;
	struct mkfs_args mkfs = {.bytes = small, .seed = 7, .uid = getuid()};
	struct hf_mount_options o = {.struct_size = sizeof(o)};
	struct pm *pm = memory(LARGE, NULL);
	uint64_t from, to;
	hf_volume *vol;

	memset(t.s->mem, 0xa5, LARGE);
	OK(mkfs_write(pm, &mkfs));
	memset(t.s->mem + small, 0xff, LARGE - small);
	pm_close(&pm);
	t.old_bytes = small;
	if (grown) {
		pm = memory(grown, NULL);
		OK(grow_volume(pm, &from, &to));
		CU_ASSERT_EQUAL(to, grown);
		pm_close(&pm);
		t.old_bytes = grown;
	}
	OK(volume_open(memory(LARGE, NULL), &o, &vol));
	for (unsigned i = 0; i < FILES; i++)
		put(vol, i, bytes_of(i));
	for (unsigned i = 0; i < FILES; i += 3) {
		char name[32];

		snprintf(name, sizeof(name), "/f%u", i);
		OK(hf_unlink(vol, name));
	}
	memcpy(t.start, t.s->mem, LARGE);
	OK(hf_unmount(&vol));
}

struct findings {
	uint64_t super, others;
};

static void count(void *ctx, const struct hf_finding *f)
{
	struct findings *n = ctx;

	if (strcmp(f->structure, "superblock") == 0) {
		n->super++;
		return;
	}
	n->others++;
	fprintf(stderr, "%s: %s\n", f->structure, f->text);
}

static struct findings look(unsigned flags)
{
	struct findings n = {0};
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = flags, .ctx = &n, .finding = count};
	struct hf_check_result r;

	OK(hf_check(t.path, &o, &r));
	return n;
}

static void scribble_first(void)
{
	static const uint8_t zero[64];
	int fd = open(t.file[0], O_RDWR);

	GET(sizeof(zero), pwrite(fd, zero, sizeof(zero), 0));
	close(fd);
}

static uint64_t volume_bytes(hf_volume *vol)
{
	return vol->fs.geo.bytes;
}

/* Writes to it, then its first superblock is lost, then it is mended. */
static void use_and_lose_first(uint64_t bytes)
{
	hf_volume *vol = vol_mount(t.path, 0);
	struct findings n;

	CU_ASSERT_EQUAL(volume_bytes(vol), bytes);
	put(vol, FILES, 100 * BLK);
	OK(hf_unmount(&vol));
	scribble_first();
	vol = vol_mount(t.path, 0);
	CU_ASSERT_EQUAL(volume_bytes(vol), bytes);
	CU_ASSERT(has_all(vol) && has(vol, FILES, 100 * BLK));
	put(vol, FILES + 1, 50 * BLK);
	OK(hf_unmount(&vol));
	n = look(HF_CHECK_PREEN);
	CU_ASSERT(n.super > 0 && n.others == 0);
}

static void grow_again(void)
{
	uint64_t to = 0;
	struct hf_grow_options o = {.struct_size = sizeof(o), .to = &to};
	struct findings n;
	hf_volume *vol;

	OK(hf_grow(t.path, &o));
	CU_ASSERT_EQUAL(to, LARGE);
	n = look(0);
	CU_ASSERT(n.super == 0 && n.others == 0);
	vol = vol_mount(t.path, 0);
	CU_ASSERT_EQUAL(volume_bytes(vol), LARGE);
	CU_ASSERT(has_all(vol) && has(vol, FILES, 100 * BLK) && has(vol, FILES + 1, 50 * BLK));
	OK(hf_unmount(&vol));
}

/* A mount, or fsck -p: either brings in order what was left. */
static uint64_t put_in_order(struct findings n)
{
	hf_volume *vol = NULL;
	struct geo g;

	if (t.images % 2)
		look(HF_CHECK_PREEN);
	vol = vol_mount(t.path, 0);
	g = vol->fs.geo;
	CU_ASSERT(g.bytes == t.old_bytes || g.bytes == LARGE);
	CU_ASSERT(!g.used_copy || (n.super > 0 && t.images % 2 == 0));
	CU_ASSERT(has_all(vol));
	OK(hf_unmount(&vol));
	if (g.used_copy)
		look(HF_CHECK_PREEN);
	n = look(0);
	CU_ASSERT(n.super == 0 && n.others == 0);
	return g.bytes;
}

/* As a reader finds it. */
static uint64_t judge_image(struct findings n)
{
	struct pm_open_args args = {.read_only = true, .force_gran = true, .gran = PM_LINE};
	const uint64_t of[2] = {FIRST, LARGE - FIRST};
	struct geo g = {0};
	struct pm *pm;

	if (t.two) {
		args.member_bytes = of;
		args.nmembers = 2;
	}
	OK(pm_open_memory(t.image, LARGE, &args, &pm));
	OK(geo_read(pm, &g));
	pm_close(&pm);
	CU_ASSERT_EQUAL(n.others, 0);
	CU_ASSERT_EQUAL(n.super > 0, g.used_copy);
	t.torn += g.used_copy;
	t.olds += g.bytes == t.old_bytes;
	t.news += g.bytes == LARGE;
	return g.bytes;
}

static void put_file(const char *path, const uint8_t *from, uint64_t n)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	GET(n, pwrite(fd, from, n, 0));
	close(fd);
}

static void judge(void)
{
	uint64_t first = t.two ? FIRST : LARGE, bytes;
	struct findings n;

	put_file(t.file[0], t.image, first);
	if (t.two)
		put_file(t.file[1], t.image + first, LARGE - first);
	t.images++;
	n = look(0);
	bytes = judge_image(n);
	CU_ASSERT_EQUAL(put_in_order(n), bytes);
	use_and_lose_first(bytes);
	grow_again();
}

static int at_fence(struct sim *s, void *ctx)
{
	uint64_t n = vol_env("HF_TEST_ROUNDS", 10);

	(void)ctx;
	/* While the first superblock is on its way, until one is torn. */
	for (uint64_t i = 0; t.on && (i < n || (s->line[0].n && !t.torn && i < 200)) && CU_get_number_of_failures() == 0; i++) {
		sim_crash_image(s, &t.rng, t.image);
		judge();
	}
	return 0;
}

static void cut_off(uint64_t grown, bool two)
{
	uint64_t from = 0, to = 0;
	struct pm *pm;

	t.two = two;
	snprintf(t.path, sizeof(t.path), "%s%s%s", t.file[0], two ? ":" : "", two ? t.file[1] : "");
	t.images = t.torn = t.olds = t.news = 0;
	prepare(grown);
	sim_load(t.s, t.start);
	pm = memory(LARGE, &t.s->hook);
	sim_watch_fences(t.s, at_fence, NULL);
	t.on = true;
	OK(grow_volume(pm, &from, &to));
	at_fence(t.s, NULL);
	t.on = false;
	CU_ASSERT_EQUAL(from, t.old_bytes);
	CU_ASSERT_EQUAL(to, LARGE);
	pm_close(&pm);
	printf("(%llu images: %llu old, %llu new, %llu with a torn first superblock) ", (unsigned long long)t.images,
	       (unsigned long long)t.olds, (unsigned long long)t.news, (unsigned long long)t.torn);
	CU_ASSERT(t.olds > 0 && t.news > 0 && t.torn > 0);
}

static void test_first(void)
{
	cut_off(0, false);
}

static void test_second(void)
{
	cut_off(MIDDLE, false);
}

static void test_devices(void)
{
	cut_off(0, true);
	t.two = false;
	snprintf(t.path, sizeof(t.path), "%s", t.file[0]);
}

/* No fence that fails leaves less. */
static void test_failing_fence(void)
{
	uint64_t from, to, n = 1;
	int err = -EIO;

	for (prepare(MIDDLE); err && CU_get_number_of_failures() == 0; n++) {
		struct pm *pm;

		sim_load(t.s, t.start);
		t.s->fail_fence = n;
		pm = memory(LARGE, &t.s->hook);
		err = grow_volume(pm, &from, &to);
		pm_close(&pm);
		sim_crash_image(t.s, &t.rng, t.image);
		judge();
	}
	CU_ASSERT(n > 6);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"from mkfs's size", test_first},
	    {"from a size that it has grown to", test_second},
	    {"two devices", test_devices},
	    {"a fence that fails", test_failing_fence},
	};
	int status;

	snprintf(t.file[0], sizeof(t.file[0]), "%s", vol_path("grow-crash"));
	snprintf(t.file[1], sizeof(t.file[1]), "%s", vol_path("grow-crash-second"));
	t.rng.s = vol_env("HF_TEST_SEED", 1);
	t.s = sim_new(LARGE);
	t.image = aligned_alloc(HF_FRAME_SIZE, LARGE);
	t.start = malloc(LARGE);
	status = hf_run_suite("a growth that is cut off", cases, HF_COUNT(cases));
	unlink(t.file[0]);
	unlink(t.file[1]);
	sim_free(t.s);
	free(t.image);
	free(t.start);
	return status;
}
