/* A page of a view is one page of the hardware, where the medium allows it: on a tmpfs with
 * huge=always, mounted in a mount namespace of the test's own. Skipped where that is not allowed.
 */
#include "view_vol.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define VOLUME (64 * MIB)

static char dir[] = "/tmp/hf-view-huge-XXXXXX", path[64];

static bool huge_tmpfs(void)
{
	if (!mkdtemp(dir) || unshare(CLONE_NEWNS) != 0)
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", dir, "tmpfs", 0, "huge=always,size=80m") == 0;
}

/* KiB of [p, p+len) that are mapped by page-table entries of 2 MiB. */
static uint64_t pmd_mapped(const void *p, uint64_t len)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	uintptr_t from, to;
	uint64_t kib = 0, n;
	bool inside = false;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from >= (uintptr_t)p && to <= (uintptr_t)p + len;
		else if (inside && sscanf(line, "ShmemPmdMapped: %lu kB", &n) == 1)
			kib += n;
	}
	if (smaps)
		fclose(smaps);
	return kib;
}

static hf_volume *huge_volume(void)
{
	vol_format(path, VOLUME);
	return vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
}

static void test_pages_are_huge(void)
{
	hf_volume *vol = huge_volume();
	hf_file *f = view_file(vol, "a", 4, 1);
	hf_view *v;
	uint8_t *p = view_at(f, 0, 6 * FRM, VIEW_RW, WAIT_NONE, &v);

	OK(hf_ftruncate(f, 6 * FRM));
	CU_ASSERT_EQUAL(pmd_mapped(p, 6 * FRM), 0);
	CU_ASSERT_EQUAL(touch_get(p), 1);
	CU_ASSERT_EQUAL(pmd_mapped(p, 6 * FRM), 2048);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(touch_get(SLOT(p, i) + 5), 1 + i);
	CU_ASSERT_EQUAL(pmd_mapped(p, 6 * FRM), 4 * 2048);
	CU_ASSERT_EQUAL(touch_write(SLOT(p, 5), 9), 0); /* a new frame */
	CU_ASSERT_EQUAL(pmd_mapped(p, 6 * FRM), 5 * 2048);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static void test_collapsed_pages_are_huge(void)
{
	hf_volume *vol = huge_volume();
	hf_file *f = vol_create(vol, "b");
	uint8_t block[4096] = {7};
	hf_view *v;
	uint8_t *p;

	for (uint64_t i = 0; i < 512; i += 2)
		GET(4096, hf_pwrite(f, block, 4096, i * BLK));
	p = view_at(f, 0, FRM, VIEW_RW, WAIT_NONE, &v);
	CU_ASSERT_EQUAL(touch_get(p + 510 * BLK), 7);
	CU_ASSERT_EQUAL(pmd_mapped(p, FRM), 2048);
	OK(hf_view_unmap(&v));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

static const struct hf_case cases[] = {
    {"pages_are_huge", test_pages_are_huge},
    {"collapsed_pages_are_huge", test_collapsed_pages_are_huge},
};

/* Does the kernel give such pages here at all? */
static bool kernel_gives_them(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t *area, *p;
	bool gives = false;

	if (fd < 0 || ftruncate(fd, 2 * FRM) != 0)
		return false;
	area = mmap(NULL, 4 * FRM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = (uint8_t *)(((uintptr_t)area + FRM - 1) & ~(uintptr_t)(FRM - 1));
	if (mmap(p, 2 * FRM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED) {
		p[0] = 1;
		gives = pmd_mapped(p, 2 * FRM) >= 2048;
	}
	munmap(area, 4 * FRM);
	close(fd);
	unlink(path);
	return gives;
}

int main(void)
{
	int rc = HF_TEST_SKIP;

	touch_install();
	if (huge_tmpfs()) {
		snprintf(path, sizeof(path), "%s/vol", dir);
		if (kernel_gives_them())
			rc = hf_run_suite("view_huge", cases, HF_COUNT(cases));
		unlink(path);
		umount(dir);
	}
	rmdir(dir);
	return rc;
}
