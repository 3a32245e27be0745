/* The NUMA node that a mount prefers. The nodes are made up: the test says them to the opened devices, as sysfs would. */
#include "file_vol.h"
#include "file/volume.h"
#include "format/geo.h"

#define DEVICES 4

static char dev[DEVICES][256];
static char list[1100];
static unsigned int ndevices;

static void remove_all(void)
{
	for (int i = 0; i < DEVICES; i++)
		unlink(dev[i]);
}

/* Devices of these sizes in MiB, 0: no more. */
static void make(const uint64_t size[DEVICES])
{
	struct hf_format_options o = {.struct_size = sizeof(o), .sparse = true, .force = true};

	remove_all();
	list[0] = '\0';
	for (ndevices = 0; ndevices < DEVICES && size[ndevices]; ndevices++) {
		int fd = open(dev[ndevices], O_RDWR | O_CREAT, 0600);

		CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)(size[ndevices] * MIB)), 0);
		close(fd);
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", ndevices ? ":" : "", dev[ndevices]);
	}
	OK(hf_format(list, &o));
}

static int mount_on(const int node[DEVICES], unsigned int flags, int prefer, hf_volume **out)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = flags, .numa_node = prefer, .max_cached_inodes = 1024};
	struct pm_open_args args = {0};
	struct pm *pm;
	int err = geo_open(list, &args, false, &pm);

	CU_ASSERT_EQUAL_FATAL(err, 0);
	for (unsigned int i = 0; i < ndevices; i++)
		pm->member[i].numa_node = node[i];
	return volume_open(pm, &o, out);
}

static unsigned int device_at(hf_volume *vol, uint64_t media_off)
{
	return (unsigned int)(pm_member_at(vol->fs.pm, MOFF(media_off)) - vol->fs.pm->member);
}

/* How many bytes of the file lie on each device. */
static void lies_on(hf_volume *vol, hf_file *f, uint64_t bytes[DEVICES])
{
	static struct hf_extent e[4096];
	size_t n = 0;

	OK(hf_extents(f, 0, e, HF_COUNT(e), &n));
	CU_ASSERT(n < HF_COUNT(e));
	memset(bytes, 0, DEVICES * sizeof(bytes[0]));
	for (size_t i = 0; i < n; i++)
		for (uint64_t at = 0; at < e[i].len; at += BLK)
			bytes[device_at(vol, e[i].media_off + at)] += BLK;
}

/* Blocks of a device that could have been had instead. */
static uint64_t left_on(hf_volume *vol, unsigned int device)
{
	const struct pm_member *m = &vol->fs.pm->member[device];
	uint64_t first = m->base.v / BLK, n = 0;

	for (uint64_t b = first; b < first + m->bytes / BLK; b++)
		n += !space_is_allocated(vol->fs.space, MBLK(b)) && !space_held_reason(vol->fs.space, MBLK(b));
	return n;
}

static void append(hf_file *f, uint64_t *at, uint64_t bytes, int64_t *got)
{
	static uint8_t buf[4 * MIB];

	*got = hf_pwrite(f, buf, bytes, *at);
	if (*got > 0)
		*at += (uint64_t)*got;
}

/* ---- small files: to the last block of the device, then the other one; all of both can be had */

/* 90 blocks, three at a time. False: none of it was to be had. */
static bool small_file(hf_volume *vol, unsigned int nth, uint64_t bytes[DEVICES])
{
	uint64_t at = 0;
	char path[32];
	int64_t got;
	hf_file *f;

	snprintf(path, sizeof(path), "/%u", nth);
	if (hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &f))
		return false;
	do
		append(f, &at, 3 * BLK, &got);
	while (got > 0 && at < 90 * BLK);
	if (got < 0)
		CU_ASSERT_EQUAL(got, -ENOSPC);
	lies_on(vol, f, bytes);
	OK(hf_close(&f));
	return at > 0;
}

static void fill(const uint64_t size[DEVICES], const int node[DEVICES], int prefer)
{
	unsigned int on = node[0] == prefer ? 0 : 1, nth = 0;
	uint64_t bytes[DEVICES], sum = 0;
	struct hf_check_result found = {0};
	struct hf_statfs sf;
	hf_volume *vol;

	make(size);
	OK(mount_on(node, HF_MOUNT_NUMA_NODE, prefer, &vol));
	while (small_file(vol, nth++, bytes) && bytes[!on] == 0)
		sum += bytes[on];
	CU_ASSERT(sum > (size[on] - 3) * MIB && bytes[!on] > 0 && left_on(vol, on) == 0);
	while (small_file(vol, nth++, bytes))
		CU_ASSERT_EQUAL(bytes[on], 0);
	OK(hf_statfs(vol, &sf));
	CU_ASSERT(sf.blocks_free <= 16);
	OK(hf_unlink(vol, "/0"));
	CU_ASSERT(small_file(vol, 0, bytes) && bytes[on] == 90 * BLK);
	OK(hf_unmount(&vol));
	OK(hf_check(list, NULL, &found));
	CU_ASSERT_EQUAL(found.findings, 0);
}

static void test_small(void)
{
	static const uint64_t size[DEVICES] = {8, 8};
	static const int node[DEVICES] = {0, 1};

	fill(size, node, 0);
	fill(size, node, 1);
}

/* ---- whole frames, over several devices of the node, and groups of frames that begin on one device and end on another */

static uint64_t frames_left_on(hf_volume *vol, unsigned int device)
{
	const struct pm_member *m = &vol->fs.pm->member[device];
	uint64_t n = 0;

	for (uint64_t f = m->base.v / FRM; f < (m->base.v + m->bytes) / FRM; f++) {
		unsigned int used = 0;

		for (uint64_t b = f * 512; b < f * 512 + 512 && !used; b++)
			used += space_is_allocated(vol->fs.space, MBLK(b)) || space_held_reason(vol->fs.space, MBLK(b));
		n += !used;
	}
	return n;
}

static void test_frames(void)
{
	static const uint64_t size[DEVICES] = {96, 40, 40, 6};
	static const int node[DEVICES] = {7, 0, 7, -1};
	uint64_t bytes[DEVICES], at;
	hf_volume *vol;
	hf_file *f;

	make(size);
	for (int prefer = 0; prefer <= 7; prefer += 7) {
		uint64_t others = 0;

		OK(mount_on(node, HF_MOUNT_NUMA_NODE, prefer, &vol));
		f = vol_create(vol, "/large");
		for (at = 0; others == 0 && at < 160 * MIB; at += 6 * MIB) {
			OK(hf_fallocate(f, 0, at, 6 * MIB));
			lies_on(vol, f, bytes);
			others = bytes[3] + (prefer ? bytes[1] : bytes[0] + bytes[2]);
		}
		CU_ASSERT(others > 0 && others <= 6 * MIB);
		for (unsigned int i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(frames_left_on(vol, i) > 0, node[i] != prefer);
		OK(hf_close(&f));
		OK(hf_unlink(vol, "/large"));
		OK(hf_unmount(&vol));
	}
}

/* ---- a file that began elsewhere goes on where it is preferred; without the option it is as if there were no nodes */

static void grows(const int node[DEVICES], unsigned int flags, int prefer, uint64_t bytes[DEVICES])
{
	struct hf_stat st;
	hf_volume *vol;
	int64_t got;
	hf_file *f;

	OK(mount_on(node, flags, prefer, &vol));
	OK(hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT, 0600, &f));
	OK(hf_fstat(f, &st));
	append(f, &st.size, BLK, &got);
	append(f, &st.size, 2 * MIB - BLK, &got);
	CU_ASSERT(got > 0);
	lies_on(vol, f, bytes);
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_goes_on(void)
{
	static const uint64_t size[DEVICES] = {16, 16};
	static const int node[DEVICES] = {0, 1}, none[DEVICES] = {-1, -1};
	uint64_t bytes[DEVICES], as_before[DEVICES];

	make(size);
	grows(node, HF_MOUNT_NUMA_NODE, 1, bytes);
	CU_ASSERT(bytes[0] == 0 && bytes[1] == 2 * MIB);
	grows(node, HF_MOUNT_NUMA_NODE, 0, bytes);
	CU_ASSERT(bytes[0] == 2 * MIB && bytes[1] == 2 * MIB);
	grows(node, HF_MOUNT_NUMA_NODE, 1, bytes);
	CU_ASSERT(bytes[0] == 2 * MIB && bytes[1] == 4 * MIB);
	/* behind its last block, as a file does */
	grows(node, 0, 0, bytes);
	CU_ASSERT(bytes[0] == 2 * MIB && bytes[1] == 6 * MIB);
	make(size);
	grows(none, 0, 0, as_before);
	make(size);
	grows(node, 0, 1, bytes);
	CU_ASSERT(bytes[0] == as_before[0] && bytes[1] == as_before[1] && bytes[0] > 0);
}

/* ---- a node that there is not */

static void refused(const int node[DEVICES], int prefer, const char *sentence)
{
	hf_volume *vol;

	FAILS(EINVAL, mount_on(node, HF_MOUNT_NUMA_NODE, prefer, &vol));
	if (!strstr(hf_errormsg(), sentence))
		printf("(said: %s) ", hf_errormsg());
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), sentence));
}

static void test_refused(void)
{
	static const uint64_t size[DEVICES] = {4, 4, 4, 4};
	static const int node[DEVICES] = {3, 0, 3, -1}, none[DEVICES] = {-1, -1, -1, -1};
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_NUMA_NODE};
	hf_volume *vol;

	make(size);
	refused(node, 1, "no device of the volume is on NUMA node 1: they are on 3, 0");
	refused(node, -1, "they are on 3, 0");
	refused(none, -1, "of none of them a node is known");
	FAILS(EINVAL, hf_mount(&vol, list, &o));
	FAILS(EINVAL, hf_mount_memory(&vol, 16 * MIB, &o));
	o.flags = 0;
	o.numa_node = 5;
	OK(hf_mount(&vol, list, &o));
	OK(hf_unmount(&vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"small writes until all is full", test_small},
	    {"whole frames", test_frames},
	    {"files go on where it is preferred", test_goes_on},
	    {"no such node", test_refused},
	};
	int failed;

	for (int i = 0; i < DEVICES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "node-%d", i);
		snprintf(dev[i], sizeof(dev[i]), "%s", vol_path(name));
	}
	failed = hf_run_suite("a NUMA node is preferred", cases, HF_COUNT(cases));
	remove_all();
	return failed;
}
