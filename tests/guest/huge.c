/* What a device or a DAX file is mapped with: whole huge pages, in the linear map and in views.
 *
 *	huge DEVICE|FILE
 *
 * Formats it. smaps says which pages a device is mapped with. For a file it says 4 KiB whatever happens, so faults are counted: all 512 pages of
 * a slot are there after one. A view on a device of larger alignment is refused with its sentence.
 */
#include "unit/file_vol.h"

#include <sys/resource.h>
#include <sys/sysmacros.h>

#define SLOTS 4u

static bool is_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

/* A field of the mapping that p lies in; 0: not found. */
static uint64_t smaps_kib(const void *p, const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long long lo, hi, value = 0;
	size_t len = strlen(field);
	bool inside = false;
	char line[512];

	if (!f)
		return 0;
	while (value == 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &lo, &hi) == 2)
			inside = (uintptr_t)p >= lo && (uintptr_t)p < hi;
		else if (inside && strncmp(line, field, len) == 0 && line[len] == ':')
			sscanf(line + len + 1, "%llu", &value);
	}
	fclose(f);
	return value;
}

static long faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_minflt + ru.ru_majflt;
}

/* How many faults it takes to write to each of a slot's pages. */
static long touch_all(uint8_t *slot)
{
	long before = faults();

	for (uint64_t i = 0; i < FRM; i += BLK)
		((volatile uint8_t *)slot)[i] = (uint8_t)i;
	return faults() - before;
}

static void file_make(hf_file *file)
{
	struct hf_extent e;
	size_t n;

	OK(hf_fallocate(file, 0, 0, SLOTS * FRM));
	for (uint64_t off = 0; off < SLOTS * FRM; off += FRM) {
		OK(hf_extents(file, off, &e, 1, &n));
		CU_ASSERT(n == 1 && e.huge);
	}
}

static void linear_look(hf_volume *vol, hf_file *file, const char *path, uint64_t want_kib)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = HF_PIN_WRITE, .tag = "huge"};
	struct iovec iov[SLOTS];
	size_t count = SLOTS;
	hf_pin_id pin = 0;
	uint64_t kib;
	long n;

	OK(hf_pin(file, 0, SLOTS * FRM, &o, iov, &count, &pin));
	n = touch_all(iov[0].iov_base);
	kib = smaps_kib(iov[0].iov_base, "KernelPageSize");
	printf("linear map: KernelPageSize %llu kB, %ld faults for 512 pages\n", (unsigned long long)kib, n);
	CU_ASSERT(n <= 2);
	if (is_device(path))
		CU_ASSERT_EQUAL(kib, want_kib);
	OK(hf_unpin(vol, pin));
}

/* The handler's own pages may be faulted in meanwhile. */
static void view_look(hf_file *file, const char *path)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ | HF_VIEW_WRITE};
	hf_view *view = NULL;
	void *addr = NULL;
	uint64_t kib;
	long n;

	OK(hf_view_map(file, 0, SLOTS * FRM, &o, &addr, &view));
	for (unsigned i = 0; i < SLOTS && addr; i++) {
		uint8_t *slot = (uint8_t *)addr + i * FRM;

		n = touch_all(slot);
		kib = smaps_kib(slot, "KernelPageSize");
		printf("view, slot %u: KernelPageSize %llu kB, %ld faults for 512 pages\n", i, (unsigned long long)kib, n);
		CU_ASSERT(n <= (i == 0 ? 32 : 4));
		if (is_device(path))
			CU_ASSERT_EQUAL(kib, FRM / KIB);
	}
	OK(hf_view_unmap(&view));
}

static void view_refused(hf_file *file)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ};
	hf_view *view = NULL;
	void *addr = NULL;

	FAILS(ENOTSUP, hf_view_map(file, 0, FRM, &o, &addr, &view));
	printf("view: %s\n", hf_errormsg());
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "--align=2M"));
}

static uint64_t device_align(const char *path)
{
	unsigned long long align = FRM;
	char file[128];
	struct stat st;
	FILE *f;

	OK(stat(path, &st));
	snprintf(file, sizeof(file), "/sys/dev/char/%u:%u/align", major(st.st_rdev), minor(st.st_rdev));
	f = fopen(file, "re");
	if (f && fscanf(f, "%llu", &align) != 1)
		align = FRM;
	if (f)
		fclose(f);
	return align;
}

static const char *device;

static void test_huge(void)
{
	uint64_t align = is_device(device) ? device_align(device) : FRM;
	hf_volume *vol;
	hf_file *file;

	vol_format(device, 0);
	vol = vol_mount(device, 0);
	file = vol_create(vol, "/huge");
	file_make(file);
	linear_look(vol, file, device, align / KIB);
	if (align > FRM)
		view_refused(file);
	else
		view_look(file, device);
	OK(hf_close(&file));
	OK(hf_unmount(&vol));
	CHECK(device);
}

int main(int argc, char **argv)
{
	static const struct hf_case cases[] = {{"whole huge pages", test_huge}};

	if (argc != 2) {
		fprintf(stderr, "usage: huge DEVICE|FILE\n");
		return 2;
	}
	device = argv[1];
	return hf_run_suite("huge", cases, HF_COUNT(cases));
}
