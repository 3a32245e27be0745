/* A volume of several devices: names and their order, what is refused, what lies across the border of two, damage to their
 * superblocks, a kill. */
#include "view_vol.h"
#include "check/image.h"
#include "file/volume.h"
#include "pin/pins.h"

#include <pthread.h>
#include <sys/mman.h>

#define DEVICES 3

static char dev[DEVICES + 1][256];
static char list[1100];

static void name_all(void)
{
	static const char *const names[] = {"a", "b", "c", "other"};

	for (int i = 0; i <= DEVICES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "devices-%s", names[i]);
		snprintf(dev[i], sizeof(dev[i]), "%s", vol_path(name));
		unlink(dev[i]);
	}
}

static void remove_all(void)
{
	for (int i = 0; i <= DEVICES; i++)
		unlink(dev[i]);
}

/* The devices of 'order' ("bca"), as a volume is named. */
static const char *named(const char *order)
{
	list[0] = '\0';
	for (const char *c = order; *c; c++) {
		int i = *c == 'x' ? DEVICES : *c - 'a';

		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", c > order ? ":" : "", dev[i]);
	}
	return list;
}

static void make(const char *order, uint64_t bytes)
{
	struct hf_format_options o = {.struct_size = sizeof(o), .bytes = bytes, .sparse = true, .force = true};

	OK(hf_format(named(order), &o));
}

static void must_say(int err, const char *order, const char *sentence)
{
	hf_volume *vol;

	FAILS(err, hf_mount(&vol, named(order), NULL));
	if (!strstr(hf_errormsg(), sentence))
		printf("(said: %s) ", hf_errormsg());
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), sentence));
}

static uint64_t findings(const char *order, unsigned flags, uint64_t *repaired)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = flags};
	struct hf_check_result r = {0};

	OK(hf_check(named(order), &o, &r));
	if (repaired)
		*repaired = r.repaired;
	return r.findings;
}

static void scribble(const char *path, off_t at, const void *bytes, size_t n)
{
	int fd = open(path, O_RDWR);

	CU_ASSERT_EQUAL(pwrite(fd, bytes, n, at), (ssize_t)n);
	close(fd);
}

static void write_seeded(hf_volume *vol, const char *path, uint64_t bytes, uint64_t seed)
{
	uint8_t *buf = malloc(bytes);
	hf_file *f = NULL;

	vol_fill(buf, bytes, seed);
	OK(hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &f));
	GET(bytes, hf_pwrite(f, buf, bytes, 0));
	OK(hf_close(&f));
	free(buf);
}

static bool reads_seeded(hf_volume *vol, const char *path, uint64_t bytes, uint64_t seed)
{
	uint8_t *want = malloc(bytes), *buf = malloc(bytes);
	hf_file *f = NULL;
	bool same;

	vol_fill(want, bytes, seed);
	OK(hf_open(vol, path, HF_O_RDONLY, 0, &f));
	GET(bytes, hf_pread(f, buf, bytes, 0));
	same = memcmp(buf, want, bytes) == 0;
	OK(hf_close(&f));
	free(buf);
	free(want);
	return same;
}

/* ---- names */

static void test_order(void)
{
	static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba"};
	struct hf_device d[8];
	struct hf_info info;
	struct hf_statfs sf;
	hf_volume *vol;

	make("abc", 8 * MIB);
	for (unsigned i = 0; i < 6; i++) {
		char path[32];

		vol = vol_mount(named(orders[i]), 0);
		snprintf(path, sizeof(path), "/%u", i);
		write_seeded(vol, path, 3 * MIB, i);
		for (unsigned k = 0; k <= i; k++) {
			snprintf(path, sizeof(path), "/%u", k);
			CU_ASSERT(reads_seeded(vol, path, 3 * MIB, k));
		}
		GET(3, hf_devices(vol, d, 8));
		for (int k = 0; k < 3; k++) {
			CU_ASSERT_STRING_EQUAL(d[k].path, dev[k]);
			CU_ASSERT(d[k].media_off == (uint64_t)k * 8 * MIB && d[k].bytes == 8 * MIB && d[k].numa_node == -1);
		}
		GET(3, hf_devices(vol, d, 1));
		OK(hf_info(vol, &info));
		CU_ASSERT_EQUAL(info.bytes, 24 * MIB);
		OK(hf_statfs(vol, &sf));
		CU_ASSERT_EQUAL(sf.blocks_free + sf.blocks_used + sf.blocks_busy_journal, sf.blocks);
		OK(hf_unmount(&vol));
	}
	CU_ASSERT_EQUAL(findings("bca", 0, NULL), 0);
}

static void test_refused(void)
{
	hf_volume *vol, *second;

	make("abc", 8 * MIB);
	make("x", 8 * MIB);
	must_say(ENODEV, "a", "has 3 devices, of which 1 is named");
	must_say(ENODEV, "b", "device 2 of a volume of 3 devices");
	must_say(ENODEV, "ac", "device 2 of 3 of the volume is missing");
	must_say(ENODEV, "bc", "device 1 of 3 of the volume is missing");
	must_say(EINVAL, "abx", "belongs to another volume");
	must_say(EINVAL, "abcx", "belongs to another volume");
	must_say(EINVAL, "abb", "is named twice");
	FAILS(EINVAL, hf_mount(&vol, "/a::/b", NULL));
	FAILS(EINVAL, hf_mount(&vol, "a:b:c:d:e:f:g:h:i", NULL));
	FAILS(ENOENT, hf_mount(&vol, "/no/such:/thing", NULL));
	/* all or none are locked */
	vol = vol_mount(named("abc"), 0);
	FAILS(EBUSY, hf_mount(&second, dev[2], NULL));
	FAILS(EBUSY, hf_mount(&second, named("cba"), NULL));
	OK(hf_unmount(&vol));
	OK(hf_mount(&second, named("x"), NULL));
	must_say(EBUSY, "abcx", "in use");
	vol = vol_mount(named("cab"), 0);
	OK(hf_unmount(&vol));
	OK(hf_unmount(&second));
}

/* Who takes them out, or formats one of them, ends the volume; the others say so. */
static void test_replaced(void)
{
	uint8_t zero[BLK] = {0};
	char copy[600], both[300];

	make("abc", 8 * MIB);
	make("b", 8 * MIB);
	must_say(EINVAL, "abc", "belongs to another volume");
	make("abc", 8 * MIB);
	/* a device that was a volume of its own is none afterwards, also by its second superblock */
	scribble(dev[1], 0, zero, sizeof(zero));
	must_say(EINVAL, "b", "no holdfast volume");
	must_say(EINVAL, "abc", "no superblock of it");
	CU_ASSERT_EQUAL(hf_check(named("abc"), NULL, &(struct hf_check_result){0}), -EINVAL);
	make("abc", 8 * MIB);
	snprintf(copy, sizeof(copy), "cp %s %s", dev[1], dev[3]);
	CU_ASSERT_EQUAL(system(copy), 0);
	snprintf(both, sizeof(both), "one is a copy of the other");
	must_say(EINVAL, "abxc", both);
	/* a file that is named so is one device */
	snprintf(both, sizeof(both), "%s:b", dev[3]);
	CU_ASSERT_EQUAL(rename(dev[3], both), 0);
	must_say(ENODEV, "a", "name all");
	FAILS(ENODEV, hf_mount(&(hf_volume *){NULL}, both, NULL));
	unlink(both);
}

static void test_sizes(void)
{
	struct hf_format_options o = {.struct_size = sizeof(o), .bytes = 2 * MIB, .sparse = true, .force = true};
	hf_volume *vol;

	remove_all();
	FAILS(EINVAL, hf_format(named("ab"), &o)); /* nothing is left of what failed */
	CU_ASSERT_EQUAL(access(dev[0], F_OK), -1);
	CU_ASSERT_EQUAL(access(dev[1], F_OK), -1);
	make("ab", 4 * MIB);
	CU_ASSERT_EQUAL(truncate(dev[0], 2 * MIB), 0);
	must_say(EUCLEAN, "ab", "was it truncated");
	make("ab", 4 * MIB);
	CU_ASSERT_EQUAL(truncate(dev[1], 2 * MIB), 0);
	must_say(EUCLEAN, "ba", "was it truncated");
	/* larger is taken, as with one device */
	make("ab", 4 * MIB);
	CU_ASSERT_EQUAL(truncate(dev[0], 6 * MIB), 0);
	CU_ASSERT_EQUAL(truncate(dev[1], 8 * MIB), 0);
	vol = vol_mount(named("ba"), 0);
	write_seeded(vol, "/f", 4 * MIB, 1);
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(findings("ab", 0, NULL), 0);
}

/* ---- damage */

static void test_heads(void)
{
	uint8_t junk[64];
	hf_volume *vol;
	uint64_t repaired;

	memset(junk, 0x5a, sizeof(junk));
	make("abc", 8 * MIB);
	vol = vol_mount(named("abc"), 0);
	write_seeded(vol, "/f", 9 * MIB, 5);
	OK(hf_unmount(&vol));
	scribble(dev[1], 2000, junk, sizeof(junk));
	must_say(EBADMSG, "cab", "fsck.holdfast -p");
	CU_ASSERT_EQUAL(findings("cab", 0, NULL), 1);
	CU_ASSERT_EQUAL(findings("cab", HF_CHECK_PREEN, &repaired), 1);
	CU_ASSERT_EQUAL(repaired, 1);
	CU_ASSERT_EQUAL(findings("cab", 0, NULL), 0);
	/* the first: its second copy counts, and the others still say which is which */
	scribble(dev[0], 2000, junk, sizeof(junk));
	vol = vol_mount(named("bca"), HF_MOUNT_RDONLY);
	CU_ASSERT(reads_seeded(vol, "/f", 9 * MIB, 5));
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(findings("bca", HF_CHECK_PREEN, &repaired), 1);
	CU_ASSERT_EQUAL(repaired, 1);
	/* two at once: nothing says which is which */
	scribble(dev[1], 2000, junk, sizeof(junk));
	scribble(dev[2], 2000, junk, sizeof(junk));
	must_say(EINVAL, "abc", "no superblock of it");
	CU_ASSERT_EQUAL(hf_check(named("abc"), NULL, &(struct hf_check_result){0}), -EINVAL);
}

/* Every byte of a further device's superblock matters to who mounts, and is mended. */
static void test_every_byte(void)
{
	hf_volume *vol;
	uint8_t byte;
	int fd;

	make("ab", 4 * MIB);
	fd = open(dev[1], O_RDWR);
	for (off_t at = 0; at < (off_t)BLK; at += at < 300 ? 7 : 97) {
		CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
		CU_ASSERT(hf_mount(&vol, named("ab"), NULL) < 0);
		CU_ASSERT_EQUAL(findings("ba", HF_CHECK_PREEN, NULL), 1);
		vol = vol_mount(named("ab"), 0);
		OK(hf_unmount(&vol));
	}
	close(fd);
}

/* ---- one of another day */

static void read_head(int i, uint8_t head[BLK])
{
	int fd = open(dev[i], O_RDONLY);

	CU_ASSERT_EQUAL(pread(fd, head, BLK, 0), (ssize_t)BLK);
	close(fd);
}

static void copy_device(const char *from, const char *to)
{
	char command[4 * sizeof(dev[0])];

	snprintf(command, sizeof(command), "cp --sparse=always %.300s %.300s", from, to);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void use(const char *order, const char *path, uint64_t seed)
{
	hf_volume *vol = vol_mount(named(order), 0);

	write_seeded(vol, path, 9 * MIB, seed);
	OK(hf_unmount(&vol));
}

/* A backup of one device beside the others of now: refused, whichever it is, by who reads too; a cautious repair does not touch it. */
static void test_older(void)
{
	char old[sizeof(dev[0]) + 8];
	hf_volume *vol;
	uint64_t repaired;

	snprintf(old, sizeof(old), "%.*s.old", (int)sizeof(dev[0]) - 1, dev[0]);
	for (int i = 0; i < 3; i++) {
		make("abc", 16 * MIB);
		if (i != 1)		/* the second: as mkfs made it */
			use("abc", "/f", 1);
		copy_device(dev[i], old);
		use("cab", "/g", 2);
		copy_device(old, dev[i]);
		must_say(EINVAL, "bca", "is an older state of this device");
		CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), dev[i]));
		FAILS(EINVAL, hf_mount(&vol, named("abc"), &(struct hf_mount_options){.struct_size = sizeof(struct hf_mount_options),
										     .flags = HF_MOUNT_RDONLY}));
		CU_ASSERT(findings("abc", 0, NULL) > 0);
		(void)findings("abc", HF_CHECK_PREEN, &repaired);
		must_say(EINVAL, "abc", "is an older state of this device");
		CU_ASSERT(findings("abc", HF_CHECK_REPAIR, &repaired) > 0 && repaired > 0);
		use("abc", "/h", 3);
		CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
	}
	/* All of one backup are together. */
	use("abc", "/f", 1);
	for (int i = 0; i < 3; i++) {
		snprintf(old, sizeof(old), "%.*s.old", (int)sizeof(dev[0]) - 1, dev[i]);
		copy_device(dev[i], old);
	}
	use("abc", "/f", 4);
	for (int i = 0; i < 3; i++) {
		snprintf(old, sizeof(old), "%.*s.old", (int)sizeof(dev[0]) - 1, dev[i]);
		copy_device(old, dev[i]);
		unlink(old);
	}
	vol = vol_mount(named("abc"), 0);
	CU_ASSERT(reads_seeded(vol, "/f", 9 * MIB, 1));
	OK(hf_unmount(&vol));
}

/* The heads as they were when the fence before the one that fails was passed. */
struct cut {
	int fence, fails;
	uint8_t head[3][BLK];
};

static void cut_look(struct cut *c)
{
	for (int i = 0; i < 3; i++)
		read_head(i, c->head[i]);
}

static int cut_fence(void *ctx)
{
	struct cut *c = ctx;

	if (++c->fence == c->fails)
		return -EIO;
	cut_look(c);
	return 0;
}

/* A crash before fence 1, 2 or 3 of stamping; what came after the fence before it is there, but for that of the devices 'lost'. */
static void stamp_interrupted(int fence, unsigned lost)
{
	struct cut c = {.fails = fence};
	struct pm_hook hook = {.fence = cut_fence, .ctx = &c};
	struct pm_open_args args = {.hook = &hook};
	struct geo g;
	struct pm *pm;

	cut_look(&c);
	OK(geo_open(named("abc"), &args, false, &pm));
	OK(geo_read(pm, &g));
	FAILS(EIO, geo_stamp(pm, &g));
	CU_ASSERT_EQUAL(c.fence, fence);
	pm_close(&pm);
	for (int i = 0; i < 3; i++)
		if (lost & 1u << i)
			scribble(dev[i], 0, c.head[i], BLK);
}

/* They are together after it, and after a second one. */
static void test_stamp_crash(void)
{
	make("abc", 8 * MIB);
	for (int second = 0; second < 4; second++)
		for (int fence = 1; fence <= 3; fence++)
			for (unsigned lost = 0; lost < 8; lost++) {
				if (second)
					stamp_interrupted(second, lost >> 1 | lost << 2);
				stamp_interrupted(fence, lost);
				CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
				if (fence == 1)
					use("abc", "/f", 1);
			}
}

/* ---- a repair of superblocks that is interrupted, and what else writes */

static struct cut *armed;
static bool bad_first;

/* Each access to the first superblock is a SIGBUS. */
static void lose_first(struct pm *pm)
{
	int fd = memfd_create("lost", MFD_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0 && mmap(pm->base, BLK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == pm->base);
	close(fd);
}

int __real_pm_open(const char *path, const struct pm_open_args *args, struct pm **out);
int __wrap_pm_open(const char *path, const struct pm_open_args *args, struct pm **out);

int __wrap_pm_open(const char *path, const struct pm_open_args *args, struct pm **out)
{
	static struct pm_hook hook;
	struct pm_open_args a = *args;
	int err;

	hook = (struct pm_hook){.fence = cut_fence, .ctx = armed};
	if (armed)
		a.hook = &hook;
	err = __real_pm_open(path, &a, out);
	if (!err && bad_first)
		lose_first(*out);
	return err;
}

static void damage_super(bool first)
{
	uint8_t junk[64];
	struct stat st;

	memset(junk, 0x5a, sizeof(junk));
	CU_ASSERT_EQUAL(stat(dev[2], &st), 0);
	if (first)
		scribble(dev[0], 300, junk, sizeof(junk));
	else
		scribble(dev[2], st.st_size - (off_t)BLK + 300, junk, sizeof(junk));
}

/* A cautious repair is stopped before fence 'fails', and what it stored of the first superblock since the one before is torn.
 * False: it has fewer fences. */
static bool repair_cut(int fails)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_PREEN};
	struct hf_check_result r = {0};
	struct cut c = {.fails = fails};
	uint8_t now[BLK];
	int err;

	cut_look(&c);
	armed = &c;
	err = hf_check(named("abc"), &o, &r);
	armed = NULL;
	read_head(0, now);
	if (err && memcmp(now, c.head[0], BLK) != 0)
		scribble(dev[0], 0, c.head[0], 64);
	return err != 0;
}

static void test_repair_crash(void)
{
	hf_volume *vol;

	for (int first = 0; first < 2; first++) {
		bool cut = true;

		for (int fails = 1; cut; fails++) {
			remove_all();
			make("abc", 8 * MIB);
			use("abc", "/f", 1);
			damage_super(first);
			cut = repair_cut(fails);
			CU_ASSERT(cut || fails > 4);
			if (hf_mount(&vol, named("abc"), NULL) != 0)
				CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "interrupted"));
			hf_unmount(&vol);
			(void)findings("abc", HF_CHECK_PREEN, NULL);
			CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
			use("abc", "/g", 2);
		}
	}
}

/* One that is older is refused, although the first superblock is damaged and does not say so; a cautious repair leaves it. */
static void test_older_and_damage(void)
{
	char old[sizeof(dev[0]) + 8];

	snprintf(old, sizeof(old), "%.*s.old", (int)sizeof(dev[0]) - 1, dev[1]);
	remove_all();
	make("abc", 16 * MIB);
	use("abc", "/f", 1);
	copy_device(dev[1], old);
	use("abc", "/g", 2);
	copy_device(old, dev[1]);
	unlink(old);
	damage_super(true);
	must_say(EINVAL, "cab", "is an older state of this device");
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), dev[1]));
	CU_ASSERT_EQUAL(findings("abc", 0, NULL), 2);
	(void)findings("abc", HF_CHECK_PREEN, NULL);
	must_say(EINVAL, "cab", "is an older state of this device");
	CU_ASSERT(findings("abc", HF_CHECK_REPAIR, NULL) > 0);
	use("abc", "/h", 3);
}

/* A stamp that is damaged is damage of one superblock, and no word on anybody's age. */
static void test_stamp_damaged(void)
{
	const uint64_t junk = 0x1122334455667788;

	remove_all();
	make("abc", 8 * MIB);
	use("abc", "/f", 1);
	for (int i = 0; i < 3; i++) {
		scribble(dev[i], (off_t)offsetof(struct fmt_super, stamp), &junk, sizeof(junk));
		CU_ASSERT_EQUAL(findings("abc", 0, NULL), 1);
		CU_ASSERT_EQUAL(findings("abc", HF_CHECK_PREEN, NULL), 1);
		CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
	}
	use("abc", "/g", 2);
}

/* The first superblock is damaged, too: the others' stamps say what it must have. */
static void test_stamp_lost(void)
{
	for (int fence = 1; fence <= 3; fence++)
		for (unsigned lost = 0; lost < 8; lost += 3) {
			remove_all();
			make("abc", 8 * MIB);
			use("abc", "/f", 1);
			stamp_interrupted(fence, lost);
			damage_super(true);
			(void)findings("abc", HF_CHECK_PREEN, NULL);
			CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
			use("abc", "/g", 2);
		}
}

/* It is mounted, and the others numbered. */
static void test_first_unreadable(void)
{
	hf_volume *vol;

	remove_all();
	make("abc", 8 * MIB);
	use("abc", "/f", 1);
	bad_first = true;
	vol = vol_mount(named("cab"), 0);
	bad_first = false;
	CU_ASSERT(reads_seeded(vol, "/f", 9 * MIB, 1));
	write_seeded(vol, "/g", BLK, 2);
	OK(hf_unmount(&vol));
	damage_super(true);
	(void)findings("abc", HF_CHECK_PREEN, NULL);
	CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
	use("abc", "/f", 3);
}

/* A repair and a growth tell the devices apart from what they were before, as a mount does. */
static void test_older_than_repair(void)
{
	char old[sizeof(dev[0]) + 8];

	snprintf(old, sizeof(old), "%.*s.old", (int)sizeof(dev[0]) - 1, dev[1]);
	for (int grown = 0; grown < 2; grown++) {
		remove_all();
		make("abc", 8 * MIB);
		use("abc", "/f", 1);
		copy_device(dev[1], old);
		if (grown) {
			CU_ASSERT_EQUAL(truncate(dev[2], 16 * MIB), 0);
			OK(hf_grow(named("abc"), NULL));
		} else {
			damage_super(false);
			CU_ASSERT_EQUAL(findings("abc", HF_CHECK_PREEN, NULL), 1);
		}
		CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
		copy_device(old, dev[1]);
		must_say(EINVAL, "abc", "is an older state of this device");
		unlink(old);
	}
	remove_all();
}

/* ---- across the border */

static uint8_t *slot_of(hf_file *f, uint64_t slot, hf_view **view)
{
	return (uint8_t *)view_at(f, 0, 10 * FRM, VIEW_RW, 0, view) + slot * FRM;
}

/* Pins and views of a file that lies on two devices: the same bytes by all ways. */
static void test_views(void)
{
	struct hf_pin_options po = {.struct_size = sizeof(po), .tag = "border"};
	struct iovec iov[16];
	uint64_t bytes = 0, other = 0;
	size_t n = 16, nex;
	struct hf_extent e[64];
	hf_volume *vol;
	hf_view *view;
	hf_pin_id id;
	hf_file *f;
	uint8_t *at, back;

	make("ab", 16 * MIB);
	vol = vol_mount(named("ab"), 0);
	f = view_file(vol, "/f", 10, 1);
	OK(hf_extents(f, 0, e, 64, &nex));
	for (size_t i = 0; i < nex; i++)
		other += e[i].media_off + e[i].len > 16 * MIB && e[i].huge;
	CU_ASSERT(other > 0 && e[0].media_off < 16 * MIB);
	OK(hf_pin(f, 0, 10 * FRM, &po, iov, &n, &id));
	for (size_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < iov[i].iov_len; k += BLK, bytes += BLK)
			CU_ASSERT_EQUAL(((uint8_t *)iov[i].iov_base)[k], 1 + bytes / FRM);
	CU_ASSERT_EQUAL(bytes, 10 * FRM);
	for (uint64_t slot = 0; slot < 10; slot++) {
		at = slot_of(f, slot, &view);
		CU_ASSERT_EQUAL(at[5], 1 + slot);
		at[6] = (uint8_t)(100 + slot);
		OK(hf_view_unmap(&view));
		GET(1, hf_pread(f, &back, 1, slot * FRM + 6));
		CU_ASSERT_EQUAL(back, 100 + slot);
	}
	OK(hf_unpin(vol, id));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(findings("ba", 0, NULL), 0);
	vol = vol_mount(named("ba"), HF_MOUNT_RDONLY);
	OK(hf_open(vol, "/f", HF_O_RDONLY, 0, &f));
	for (uint64_t slot = 0; slot < 10; slot++) {
		GET(1, hf_pread(f, &back, 1, slot * FRM + 6));
		CU_ASSERT_EQUAL(back, 100 + slot);
	}
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* All of the space of all devices can be had, but for their superblocks. */
static void test_full(void)
{
	uint8_t *buf = calloc(1, MIB);
	struct hf_statfs sf;
	hf_volume *vol;
	hf_file *f;
	uint64_t at = 0;
	int64_t n;

	make("abc", 4 * MIB);
	vol = vol_mount(named("abc"), 0);
	f = vol_create(vol, "/fill");
	for (n = (int64_t)MIB; n > 0; at += n > 0 ? (uint64_t)n : 0) {
		n = hf_pwrite(f, buf, MIB, at);
		if (n < 0)
			n = hf_pwrite(f, buf, BLK, at);
	}
	CU_ASSERT_EQUAL(n, -ENOSPC);
	OK(hf_statfs(vol, &sf));
	CU_ASSERT(sf.blocks_free <= 16 && at > 11 * MIB);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(findings("abc", 0, NULL), 0);
	free(buf);
}

/* ---- a kill: what has returned is there, on whichever device, and pins of the dead are held */

static void child_works(int told)
{
	struct hf_pin_options po = {.struct_size = sizeof(po), .tag = "of the dead"};
	hf_volume *vol = vol_mount(named("abc"), 0);
	struct iovec iov[4];
	hf_pin_id id;
	hf_file *f;

	write_seeded(vol, "/pinned", 5 * MIB, 77);
	OK(hf_open(vol, "/pinned", HF_O_RDWR, 0, &f));
	OK(hf_pin(f, 4 * MIB, BLK, &po, iov, &(size_t){4}, &id));
	for (uint32_t i = 0;; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/%u", i % 40);
		write_seeded(vol, path, (i * 37 % 90 + 1) * BLK, i);
		if (write(told, &i, sizeof(i)) != (ssize_t)sizeof(i))
			_exit(1);
	}
}

static void test_kill(void)
{
	uint32_t i = 0, last = 0;
	struct hf_statfs sf;
	char path[32];
	hf_volume *vol;
	int told[2];
	pid_t pid;

	for (int round = 0; round < (getenv("HF_TEST_SHORT") ? 1 : 4); round++) {
		make("abc", 8 * MIB);
		CU_ASSERT_EQUAL_FATAL(pipe(told), 0);
		pid = fork();
		if (pid == 0) {
			close(told[0]);
			child_works(told[1]);
		}
		close(told[1]);
		while (i < 60 + 23 * (uint32_t)round && read(told[0], &i, sizeof(i)) == (ssize_t)sizeof(i))
			;
		kill(pid, SIGKILL);
		while (read(told[0], &last, sizeof(last)) == (ssize_t)sizeof(last))
			i = last;
		close(told[0]);
		waitpid(pid, NULL, 0);
		CU_ASSERT_EQUAL(findings("cab", 0, NULL), 0);
		vol = vol_mount(named("cba"), 0);
		snprintf(path, sizeof(path), "/%u", i % 40);
		CU_ASSERT(reads_seeded(vol, path, (i * 37 % 90 + 1) * BLK, i));
		OK(hf_unlink(vol, "/pinned"));
		OK(hf_statfs(vol, &sf));
		CU_ASSERT(sf.blocks_busy_pinned > 0);
		OK(hf_unmount(&vol));
		i = 0;
	}
}

/* Pins a file of the volume, and dies. */
static void dies_with_a_pin(const char *order)
{
	struct hf_pin_options po = {.struct_size = sizeof(po), .tag = "of the dead"};
	struct iovec iov;
	hf_volume *vol;
	hf_pin_id id;
	hf_file *f;
	pid_t pid = fork();

	if (pid == 0) {
		vol = vol_mount(named(order), 0);
		write_seeded(vol, "/pinned", BLK, 1);
		OK(hf_open(vol, "/pinned", HF_O_RDWR, 0, &f));
		OK(hf_pin(f, 0, BLK, &po, &iov, &(size_t){1}, &id));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* Of a device that was a volume of its own the list of pins of those days is still there: it is not this volume's, whose is found
 * however the devices are named. */
static void test_pins_of_before(void)
{
	static const char *const orders[] = {"ab", "ba"};
	struct check_image *img;
	uint64_t records, held;

	make("b", 8 * MIB);
	dies_with_a_pin("b");
	make("ab", 8 * MIB);
	dies_with_a_pin("ab");
	for (int i = 0; i < 2; i++) {
		held = 0;
		OK(check_image_open_how(named(orders[i]), CHECK_IMAGE_WRITE, &img, &records));
		for (uint64_t w = 0; w < 16 * MIB / BLK / 64; w++)
			held += (uint64_t)__builtin_popcountll(img->held[w]);
		check_image_close(&img);
		CU_ASSERT_EQUAL(held, 1);
	}
}

/* ---- two who want the same devices in different order: one gets them */

static void *want(void *arg)
{
	const char *name = arg;
	uint64_t got = 0;
	hf_volume *vol;

	for (int i = 0; i < 60; i++) {
		int err = hf_mount(&vol, name, NULL);

		if (err == 0) {
			got++;
			hf_unmount(&vol);
		} else if (err != -EBUSY) {
			fprintf(stderr, "%s: %s\n", name, hf_errormsg());
			got += 1000000;
		}
	}
	return (void *)(uintptr_t)got;
}

static void test_race(void)
{
	char ab[1100], ba[1100];
	pthread_t t[2];
	void *got[2];

	make("ab", 4 * MIB);
	snprintf(ab, sizeof(ab), "%s", named("ab"));
	snprintf(ba, sizeof(ba), "%s", named("ba"));
	pthread_create(&t[0], NULL, want, ab);
	pthread_create(&t[1], NULL, want, ba);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &got[i]);
	CU_ASSERT((uintptr_t)got[0] + (uintptr_t)got[1] > 0 && (uintptr_t)got[0] + (uintptr_t)got[1] < 1000000);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"named in any order", test_order},
	    {"missing, foreign, doubled, taken", test_refused},
	    {"one that was replaced, copied or formatted", test_replaced},
	    {"sizes", test_sizes},
	    {"damaged superblocks of the devices", test_heads},
	    {"each byte of one", test_every_byte},
	    {"one of another day", test_older},
	    {"a crash while their stamps are written", test_stamp_crash},
	    {"a crash while their superblocks are repaired", test_repair_crash},
	    {"a crash while stamps are written, and the first superblock lost", test_stamp_lost},
	    {"one of another day, and the first superblock damaged", test_older_and_damage},
	    {"a stamp that is damaged", test_stamp_damaged},
	    {"bad media where the first superblock is", test_first_unreadable},
	    {"older than a repair or a growth", test_older_than_repair},
	    {"views and pins across the border", test_views},
	    {"filled up", test_full},
	    {"a kill", test_kill},
	    {"pins of the dead, and of the dead before", test_pins_of_before},
	    {"two who want the same", test_race},
	};
	int failed;

	name_all();
	failed = hf_run_suite("a volume of several devices", cases, HF_COUNT(cases));
	remove_all();
	return failed;
}
