/* A real device (or an emulated one, in a guest): HF_TEST_DAX=/dev/dax0.0 names it. What is on it
 * is overwritten. Without it: skipped. */
#include "media/pm_impl.h"
#include "media/probe.h"
#include "cunit_main.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *device;

static void test_open(void)
{
	struct pm_open_args page = {.force_gran = true, .gran = PM_PAGE};
	struct pm *pm;

	CU_ASSERT_EQUAL(pm_open(device, &page, &pm), -EINVAL);
	CU_ASSERT_EQUAL(pm_open(device, NULL, &pm), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pm);
	CU_ASSERT_EQUAL(pm->kind, PM_DEVDAX);
	CU_ASSERT_NOT_EQUAL(pm->gran, PM_PAGE);
	CU_ASSERT_EQUAL(pm->survives, PM_POWER_FAIL);
	CU_ASSERT_EQUAL(pm->size % HF_FRAME_SIZE, 0);
	CU_ASSERT_EQUAL((uintptr_t)pm->base % HF_FRAME_SIZE, 0);
	pm_close(&pm);
}

static void test_store(void)
{
	static uint8_t src[100000], got[100000];
	struct pm *pm;

	for (size_t i = 0; i < sizeof(src); i++)
		src[i] = (uint8_t)(i * 7 + (i >> 8));
	CU_ASSERT_EQUAL_FATAL(pm_open(device, NULL, &pm), 0);
	pm_copy_nt(pm, MOFF(64), src, sizeof(src));
	pm_copy_nt(pm, MOFF(300001), src, 77);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	pm_store64(pm, MOFF(pm->size - 8), 0x1122334455667788ull);
	CU_ASSERT_EQUAL(pm_persist(pm, MOFF(pm->size - 8), 8), 0);
	pm_close(&pm);
	CU_ASSERT_EQUAL_FATAL(pm_open(device, &(struct pm_open_args){.read_only = true}, &pm), 0);
	CU_ASSERT_EQUAL(pm_guarded_read(pm, got, MOFF(64), sizeof(got)), 0);
	CU_ASSERT_EQUAL(memcmp(got, src, sizeof(src)), 0);
	CU_ASSERT_EQUAL(memcmp(pm_at(pm, MOFF(300001)), src, 77), 0);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(pm->size - 8)), 0x1122334455667788ull);
	pm_close(&pm);
}

static int child_result(void)
{
	struct pm *pm;

	return pm_open(device, NULL, &pm) == -EBUSY && strstr(err_msg(), "in use by process") ? 0
											      : 1;
}

static void test_lock(void)
{
	struct probe probe;
	struct pm *pm;
	int status;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pm_open(device, NULL, &pm), 0);
	CU_ASSERT_EQUAL(probe_path(device, &probe), 0);
	CU_ASSERT_TRUE(probe.is_chardev_dax && probe.locked && probe.pid == getpid());
	pid = fork();
	if (pid == 0)
		_exit(child_result());
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	pm_close(&pm);
	CU_ASSERT_EQUAL(probe_path(device, &probe), 0);
	CU_ASSERT_FALSE(probe.locked);
}

static void test_probe(void)
{
	struct probe probe;
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open(device, NULL, &pm), 0);
	pm_zero_nt(pm, MOFF(0), HF_FRAME_SIZE);
	pm_zero_nt(pm, MOFF(pm->size - HF_FRAME_SIZE), HF_FRAME_SIZE);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	CU_ASSERT_EQUAL(probe_path(device, &probe), 0);
	CU_ASSERT_FALSE(probe.has_content);
	CU_ASSERT_TRUE(probe.size >= pm->size && probe.align >= HF_FRAME_SIZE);
	pm_store(pm, MOFF(0), "HOLDFAST", 8);
	CU_ASSERT_EQUAL(probe_path(device, &probe), 0);
	CU_ASSERT_TRUE(probe.has_content);
	CU_ASSERT_STRING_EQUAL(probe.what, "a holdfast volume");
	pm_zero_nt(pm, MOFF(0), 8);
	pm_store(pm, MOFF(pm->size - 1), "x", 1);
	CU_ASSERT_EQUAL(probe_path(device, &probe), 0);
	CU_ASSERT_TRUE(probe.has_content);
	pm_zero_nt(pm, MOFF(pm->size - 1), 1);
	CU_ASSERT_EQUAL(pm_fence(pm), 0);
	printf("(%s, %s, domain '%s', node %d, %llu bad blocks) ", pm_gran_name(pm->gran),
	       pm->ops->name, probe.domain, probe.numa_node, (unsigned long long)probe.bad_blocks);
	pm_close(&pm);
}

static const struct hf_case cases[] = {
    {"open", test_open},
    {"store and read again", test_store},
    {"lock", test_lock},
    {"probe", test_probe},
};

int main(void)
{
	device = getenv("HF_TEST_DAX");
	if (!device)
		return HF_TEST_SKIP;
	return hf_run_suite("media: a device", cases, HF_COUNT(cases));
}
