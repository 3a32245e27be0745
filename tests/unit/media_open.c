#include "media/dax.h"
#include "media/place.h"
#include "media/pm_impl.h"
#include "media/probe.h"
#include "child.h"
#include "cunit_main.h"
#include "media_disk.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB    (1024 * 1024ull)
#define VOLUME (4 * MIB)

static char path[64];

static void make_file(uint64_t size)
{
	int fd;

	snprintf(path, sizeof(path), "./hf-media-open-%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

/* pm_open must fail so, and leave nothing behind. */
static void open_fails(const char *p, const struct pm_open_args *args, int err,
		       const char *sentence)
{
	struct pm *pm = (struct pm *)path;

	err_clear();
	CU_ASSERT_EQUAL(pm_open(p, args, &pm), err);
	CU_ASSERT_PTR_NULL(pm);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), sentence));
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), p));
	if (!strstr(err_msg(), sentence))
		printf("(said: %s) ", err_msg());
	pm_close(&pm); /* of nothing: nothing */
}

/* ---- kinds and sizes */

static void test_file(void)
{
	struct pm *pm;

	if (!on_disk())
		return;
	make_file(9 * MIB + 5);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &pm), 0);
	CU_ASSERT_EQUAL(pm->size, 8 * MIB);
	CU_ASSERT_EQUAL((uintptr_t)pm->base % HF_FRAME_SIZE, 0);
	CU_ASSERT_STRING_EQUAL(pm_kind_name(pm->kind), "file");
	CU_ASSERT_STRING_EQUAL(pm_gran_name(pm->gran), "page");
	CU_ASSERT_STRING_EQUAL(pm_survives_name(pm->survives), "power-fail");
	CU_ASSERT_STRING_EQUAL(pm->path, path);
	CU_ASSERT_FALSE(pm_is_child(pm));
	pm_close(&pm);
	CU_ASSERT_PTR_NULL(pm);
	unlink(path);
}

static void test_sizes(void)
{
	struct pm *pm;

	make_file(0);
	open_fails(path, NULL, -EINVAL, "too small");
	make_file(VOLUME - 1);
	open_fails(path, NULL, -EINVAL, "4 MiB");
	make_file(VOLUME);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &pm), 0);
	pm_close(&pm);
	CU_ASSERT_EQUAL(pm_open_memfd(VOLUME - 1, NULL, &pm), -EINVAL);
	CU_ASSERT_PTR_NULL(pm);
	CU_ASSERT_EQUAL(pm_open_memfd(1ull << 62, NULL, &pm), -ENOMEM);
	unlink(path);
}

static void test_not_a_volume(void)
{
	open_fails("./no-such-file", NULL, -ENOENT, "No such file");
	open_fails("/dev/null", NULL, -ENODEV, "not a dax device");
	open_fails(".", NULL, -ENODEV, "neither");
	open_fails("/dev/no-such-dax0.0", NULL, -ENOENT, place_is_device_name("/dev/x") ? "there is no such device" : "No such file");
	CU_ASSERT_FALSE(place_is_device_name("/dev/shm/x") || place_is_device_name("./x") || place_is_device_name("/no-such-dir/x"));
	if (getuid() != 0) {
		make_file(VOLUME);
		chmod(path, 0);
		open_fails(path, NULL, -EACCES, "no permission to open it (mode 0000");
		unlink(path);
	}
}

/* Who may write to it may change what was verified: nobody but owner and group. */
static void test_writable_by_others(void)
{
	struct pm_open_args look = {.read_only = true};
	struct pm *pm;

	make_file(VOLUME);
	CU_ASSERT_EQUAL(chmod(path, 0606), 0);
	open_fails(path, NULL, -EPERM, "chmod o-w");
	open_fails(path, &look, -EPERM, "chmod o-w");
	CU_ASSERT_EQUAL(chmod(path, 0664), 0);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &pm), 0);
	pm_close(&pm);
	unlink(path);
}

static void survival_of(const char *dir, bool force, enum pm_gran gran, enum pm_survives expect)
{
	struct pm_open_args args = {.force_gran = force, .gran = gran};
	struct pm *pm;

	make_file(VOLUME);
	if (strcmp(dir, ".") != 0) {
		unlink(path);
		snprintf(path, sizeof(path), "%s/hf-media-open-%d", dir, (int)getpid());
		CU_ASSERT_EQUAL_FATAL(close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)), 0);
		CU_ASSERT_EQUAL_FATAL(truncate(path, VOLUME), 0);
	}
	CU_ASSERT_EQUAL_FATAL(pm_open(path, &args, &pm), 0);
	CU_ASSERT_EQUAL(pm->gran, force ? gran : PM_PAGE);
	CU_ASSERT_EQUAL(pm->survives, expect);
	pm_close(&pm);
	unlink(path);
}

static void test_survives(void)
{
	if (!on_disk())
		return;
	survival_of(".", false, PM_BYTE, PM_POWER_FAIL);
	survival_of(".", true, PM_PAGE, PM_POWER_FAIL);
	survival_of(".", true, PM_LINE, PM_PROCESS_CRASH); /* a claim that the disk does not keep */
	survival_of("/dev/shm", false, PM_BYTE, PM_PROCESS_CRASH);
	survival_of("/dev/shm", true, PM_LINE, PM_PROCESS_CRASH);
}

static void test_memfd(void)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_BYTE};
	struct pm *pm;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(5 * MIB, &args, &pm), 0);
	CU_ASSERT_EQUAL(pm->size, 4 * MIB);
	CU_ASSERT_EQUAL(pm->kind, PM_MEMFD);
	CU_ASSERT_EQUAL(pm->gran, PM_BYTE);
	CU_ASSERT_EQUAL(pm->survives, PM_NOTHING);
	CU_ASSERT_EQUAL(fcntl(pm->member[0].fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	pm_close(&pm);
}

static void test_memory(void)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE};
	uint8_t *raw = aligned_alloc(HF_FRAME_SIZE, VOLUME);
	struct pm *pm, *again;

	CU_ASSERT_EQUAL(pm_open_memory(raw + 4096, VOLUME, &args, &pm), -EINVAL);
	CU_ASSERT_EQUAL(pm_open_memory(raw, VOLUME / 2, &args, &pm), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(pm_open_memory(raw, VOLUME, &args, &pm), 0);
	/* twice over the same bytes: who simulates crashes may look while a volume is open */
	CU_ASSERT_EQUAL_FATAL(pm_open_memory(raw, VOLUME, &args, &again), 0);
	pm_store64(pm, MOFF(8), 77);
	CU_ASSERT_EQUAL(pm_load64(again, MOFF(8)), 77);
	CU_ASSERT_EQUAL(pm->survives, PM_NOTHING);
	CU_ASSERT_EQUAL(pm->member[0].fd, -1);
	pm_close(&again);
	pm_close(&pm);
	raw[VOLUME - 1] = 1; /* still there */
	free(raw);
}

static void test_read_only(void)
{
	struct pm_open_args args = {.read_only = true};
	struct pm *pm, *second;

	make_file(VOLUME);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, &args, &pm), 0);
	CU_ASSERT_EQUAL(pm_load64(pm, MOFF(0)), 0);
	CU_ASSERT_EQUAL(pm_open(path, &args, &second), 0); /* readers share */
	open_fails(path, NULL, -EBUSY, "in use by process");
	pm_close(&second);
	pm_close(&pm);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &pm), 0);
	open_fails(path, &args, -EBUSY, "in use by process");
	args.no_lock = true;
	CU_ASSERT_EQUAL(pm_open(path, &args, &second), 0);
	pm_close(&second);
	pm_close(&pm);
	unlink(path);
}

/* Opening and closing gives everything back. */
static void test_no_leak(void)
{
	int before, after;
	struct pm *pm;

	make_file(VOLUME);
	before = dup(0);
	for (int i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &pm), 0);
		pm_close(&pm);
		CU_ASSERT_EQUAL(pm_open("/dev/null", NULL, &pm), -ENODEV);
		CU_ASSERT_EQUAL_FATAL(pm_open_memfd(64 * MIB, NULL, &pm), 0);
		pm_close(&pm);
	}
	after = dup(0);
	CU_ASSERT_EQUAL(after, before + 1);
	close(before);
	close(after);
	unlink(path);
}

/* ---- locks */

/* A child that runs 'fn' and then waits to be killed; returns when fn is done. */
static pid_t start_child(int (*fn)(void))
{
	int fds[2];
	char c;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		if (fn() != 0 || write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	CU_ASSERT_EQUAL(read(fds[0], &c, 1), 1);
	close(fds[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int child_opens(void)
{
	struct pm *pm;

	return pm_open(path, NULL, &pm);
}

static void test_lock_other_process(void)
{
	char sentence[64];
	struct probe probe;
	struct pm *pm;
	pid_t pid;

	make_file(VOLUME);
	pid = start_child(child_opens);
	snprintf(sentence, sizeof(sentence), "in use by process %d", (int)pid);
	open_fails(path, NULL, -EBUSY, sentence);
	CU_ASSERT_EQUAL(probe_path(path, &probe), 0);
	CU_ASSERT_TRUE(probe.locked);
	CU_ASSERT_EQUAL(probe.pid, pid);
	end_child(pid);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &pm), 0);
	pm_close(&pm);
	CU_ASSERT_EQUAL(probe_path(path, &probe), 0);
	CU_ASSERT_FALSE(probe.locked);
	unlink(path);
}

static struct pm *inherited;

static int child_uses_nothing(void)
{
	return pm_is_child(inherited) ? 0 : 1;
}

/* Who inherited the descriptor may have inherited pins: the volume stays locked when the owner is
 * gone. */
static void test_lock_inherited(void)
{
	struct pm *pm;
	pid_t pid;

	make_file(VOLUME);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &inherited), 0);
	pid = start_child(child_uses_nothing);
	pm_close(&inherited);
	open_fails(path, NULL, -EBUSY, "in use");
	end_child(pid);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &pm), 0);
	pm_close(&pm);
	unlink(path);
}

static int grandchild_fd[2];

/* Opens, leaves a child behind, ends. */
static int open_and_orphan(void)
{
	struct pm *pm;

	if (pm_open(path, NULL, &pm) != 0)
		return 1;
	if (fork() == 0) {
		char c;

		close(grandchild_fd[1]);
		_exit(read(grandchild_fd[0], &c, 1) == 0 ? 0
							 : 1); /* until the test closes its end */
	}
	return 0;
}

static void test_lock_orphaned(void)
{
	struct pm *pm;
	int tries = 0;
	pid_t pid;

	make_file(VOLUME);
	CU_ASSERT_EQUAL_FATAL(pipe(grandchild_fd), 0);
	pid = start_child(open_and_orphan);
	end_child(pid);
	open_fails(path, NULL, -EBUSY, "a child that it left behind");
	close(grandchild_fd[1]);
	close(grandchild_fd[0]);
	while (pm_open(path, NULL, &pm) == -EBUSY && tries++ < 500)
		usleep(10000);
	CU_ASSERT_PTR_NOT_NULL(pm);
	pm_close(&pm);
	unlink(path);
}

/* A program that is executed does not hold the lock. */
static void test_lock_cloexec(void)
{
	struct pm *pm, *again;
	int fds[2];
	char c;
	pid_t pid;

	make_file(VOLUME);
	CU_ASSERT_EQUAL_FATAL(pm_open(path, NULL, &pm), 0);
	CU_ASSERT_EQUAL(fcntl(pm->member[0].fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execlp("sh", "sh", "-c", "echo x; exec sleep 60", (char *)NULL);
		_exit(1);
	}
	CU_ASSERT_EQUAL(read(fds[0], &c, 1), 1);
	pm_close(&pm);
	CU_ASSERT_EQUAL(pm_open(path, NULL, &again), 0);
	pm_close(&again);
	end_child(pid);
	close(fds[0]);
	close(fds[1]);
	unlink(path);
}

/* ---- fork: the child has no map; its own volumes work */

static int child_own_volume(void)
{
	struct pm *pm;

	if (!pm_is_child(inherited))
		return 1;
	if (pm_open_memfd(VOLUME, NULL, &pm) != 0)
		return 2;
	pm_store64(pm, MOFF(0), 5);
	if (pm_is_child(pm) || !pm_is_child(inherited) || pm_load64(pm, MOFF(0)) != 5)
		return 3;
	pm_close(&pm);
	pm_close(&inherited); /* harms neither the parent nor what lies there now */
	return 0;
}

/* Is the volume mapped in the child? Something else may lie at its address. */
static int child_looks(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int found = 0;

	while (f && fgets(line, sizeof(line), f))
		found += strstr(line, "memfd:holdfast") != NULL;
	return f ? found : 99;
}

static void test_fork(void)
{
	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(VOLUME, NULL, &inherited), 0);
	CU_ASSERT_EQUAL(run_child(child_own_volume), 0);
	CU_ASSERT_EQUAL(child_looks(), 1);
	CU_ASSERT_EQUAL(run_child(child_looks), 0);
	CU_ASSERT_FALSE(pm_is_child(inherited));
	pm_store64(inherited, MOFF(0), 1);
	pm_close(&inherited);
}

/* ---- device facts */

struct dax_case {
	const char *name;
	struct dax_facts facts;
	bool want_write;
	int err;
	const char *sentence;
	enum pm_gran gran;
};

#define GOOD                                                                                       \
	.subsystem_dax = true, .enabled = true, .driver = "device_dax", .size = 1022 * MIB,        \
	.devname = "dax0.0"

static const struct dax_case dax_cases[] = {
    {"good", {GOOD, .align = 2 * MIB}, true, 0, "", PM_LINE},
    {"1 GiB pages", {GOOD, .align = 1024 * MIB}, true, 0, "", PM_LINE},
    {"alignment unknown", {GOOD}, true, 0, "", PM_LINE},
    {"eADR", {GOOD, .domain = "cpu_cache"}, true, 0, "", PM_BYTE},
    {"ADR", {GOOD, .domain = "memory_controller"}, true, 0, "", PM_LINE},
    {"bad blocks are for the reader to meet", {GOOD, .bad_blocks = 8}, true, 0, "", PM_LINE},
    {"4 KiB pages", {GOOD, .align = 4096}, true, -EINVAL, "--align=2M", PM_LINE},
    {"no dax", {.driver = "mem"}, true, -ENODEV, "not a dax device", PM_LINE},
    {"kmem",
     {.subsystem_dax = true, .enabled = true, .driver = "kmem", .size = MIB, .devname = "dax1.0"},
     true,
     -ENODEV,
     "--mode=devdax --force dax1.0",
     PM_LINE},
    {"memory, says libdaxctl", {GOOD, .system_ram = true}, false, -ENODEV, "system-ram", PM_LINE},
    {"fsdev_dax",
     {.subsystem_dax = true, .enabled = true, .driver = "fsdev_dax", .size = MIB},
     true,
     -ENODEV,
     "fsdev_dax",
     PM_LINE},
    {"no driver",
     {.subsystem_dax = true, .size = MIB, .devname = "dax2.1"},
     true,
     -ENODEV,
     "daxctl enable-device dax2.1",
     PM_LINE},
    {"another driver",
     {.subsystem_dax = true, .enabled = true, .driver = "vfio_dax", .size = MIB},
     true,
     -ENODEV,
     "vfio_dax",
     PM_LINE},
    {"no size",
     {.subsystem_dax = true, .enabled = true, .driver = "device_dax"},
     true,
     -EINVAL,
     "size is 0",
     PM_LINE},
    {"read-only", {GOOD, .read_only = true}, true, -EROFS, "read-only", PM_LINE},
    {"read-only, to read", {GOOD, .read_only = true}, false, 0, "", PM_LINE},
};

static void test_dax_judge(void)
{
	for (size_t i = 0; i < HF_COUNT(dax_cases); i++) {
		const struct dax_case *c = &dax_cases[i];
		int err;

		err_clear();
		err = dax_judge("/dev/daxX", &c->facts, c->want_write);
		CU_ASSERT_EQUAL(err, c->err);
		CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), c->sentence));
		CU_ASSERT_EQUAL(dax_gran(&c->facts), c->gran);
		if (err != c->err || !strstr(err_msg(), c->sentence))
			printf("(%s: %d %s) ", c->name, err, err_msg());
	}
}

/* ---- gathering, from a copy of what sysfs looks like */

static char sysfs[64];

static void sys_mkdir(const char *name)
{
	char p[512];

	snprintf(p, sizeof(p), "mkdir -p '%s/%s'", sysfs, name);
	CU_ASSERT_EQUAL(system(p), 0);
}

static void sys_write(const char *name, const char *text)
{
	char p[512];
	FILE *f;

	snprintf(p, sizeof(p), "%s/%s", sysfs, name);
	f = fopen(p, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void sys_unlink(const char *name)
{
	char p[512];

	snprintf(p, sizeof(p), "%s/%s", sysfs, name);
	CU_ASSERT_EQUAL(unlink(p), 0);
}

static void sys_link(const char *name, const char *to)
{
	char p[512];

	snprintf(p, sizeof(p), "%s/%s", sysfs, name);
	CU_ASSERT_EQUAL(symlink(to, p), 0);
}

#define REGION "devices/LNXSYSTM:00/ndbus0/region0"
#define DAX    REGION "/dax0.1/dax0.0"
#define HMEM   "devices/platform/hmem.0/dax1.0"
#define E820   "devices/platform/e820_pmem/ndbus1/region7"
#define CXL    "devices/platform/ACPI0017:00/root0/decoder0.0/region9"

static void make_sysfs(void)
{
	snprintf(sysfs, sizeof(sysfs), "./hf-sysfs-%d", (int)getpid());
	sys_mkdir("dev/char");
	sys_mkdir("dev/block");
	sys_mkdir("bus/dax/drivers/device_dax");
	sys_mkdir("bus/dax/drivers/kmem");
	sys_mkdir("class/mem");
	sys_mkdir(DAX);
	sys_write(REGION "/persistence_domain", "memory_controller\n");
	sys_write(REGION "/read_only", "0\n");
	sys_write(REGION "/resource", "0x100000000\n");
	sys_write(REGION "/numa_node", "0\n");
	/* before the device, 4 across its start, 8 inside, across its end, behind it */
	sys_write(REGION "/badblocks", "0 8\n4092 8\n9000 8\n2097148 100\n3000000 5\n");
	sys_write(DAX "/size", "1071644672\n");
	sys_write(DAX "/align", "2097152\n");
	sys_write(DAX "/resource", "0x100200000\n");
	sys_write(DAX "/numa_node", "1\n");
	sys_link(DAX "/subsystem", "../../../../../../bus/dax");
	sys_link(DAX "/driver", "../../../../../../bus/dax/drivers/device_dax");
	sys_link("dev/char/252:0", "../../" DAX);
	sys_mkdir(HMEM);
	sys_write(HMEM "/size", "4194304\n");
	sys_link(HMEM "/subsystem", "../../../../bus/dax");
	sys_link(HMEM "/driver", "../../../../bus/dax/drivers/kmem");
	sys_link("dev/char/252:1", "../../" HMEM);
	sys_mkdir(CXL "/dax_region9/dax9.0");
	sys_write(CXL "/mode", "pmem\n");
	sys_write(CXL "/dax_region9/dax9.0/size", "4194304\n");
	sys_link(CXL "/dax_region9/dax9.0/subsystem", "../../../../../../../../bus/dax");
	sys_link("dev/char/252:2", "../../" CXL "/dax_region9/dax9.0");
	sys_mkdir(E820 "/dax7.0");
	sys_write(E820 "/read_only", "1\n");
	sys_write(E820 "/resource", "0x40000000\n");
	sys_write(E820 "/badblocks", "4096 8\n");
	sys_write(E820 "/dax7.0/size", "4194304\n");
	sys_write(E820 "/dax7.0/resource", "0x40200000\n");
	sys_link(E820 "/dax7.0/subsystem", "../../../../../../bus/dax");
	sys_link(E820 "/dax7.0/driver", "../../../../../../bus/dax/drivers/device_dax");
	sys_link("dev/char/252:3", "../../" E820 "/dax7.0");
	sys_mkdir("devices/virtual/mem/null");
	sys_link("devices/virtual/mem/null/subsystem", "../../../../class/mem");
	sys_link("dev/char/1:3", "../../devices/virtual/mem/null");
	sys_mkdir(REGION "/namespace0.0/block/pmem0");
	sys_link("dev/block/259:0", "../../" REGION "/namespace0.0/block/pmem0");
}

struct listed {
	uint64_t bytes, min, max;
};

static void list_bad(void *ctx, uint64_t off, uint64_t len)
{
	struct listed *l = ctx;

	l->bytes += len;
	l->min = min_u64(l->min, off);
	l->max = max_u64(l->max, off + len);
}

static void test_dax_gather(void)
{
	struct listed listed;
	char command[128], domain[32];
	struct dax_facts f;

	make_sysfs();
	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(252, 0), &f), 0);
	CU_ASSERT_TRUE(f.subsystem_dax && f.enabled && !f.system_ram && !f.read_only &&
		       !f.volatile_memory);
	CU_ASSERT_STRING_EQUAL(f.driver, "device_dax");
	CU_ASSERT_STRING_EQUAL(f.devname, "dax0.0");
	CU_ASSERT_STRING_EQUAL(f.domain, "memory_controller");
	CU_ASSERT_STRING_EQUAL(f.region, "region0");
	CU_ASSERT_EQUAL(f.size, 1022 * MIB);
	CU_ASSERT_EQUAL(f.align, 2 * MIB);
	CU_ASSERT_EQUAL(f.numa_node, 1);
	CU_ASSERT_EQUAL(f.bad_blocks, 4 + 8 + 4);
	CU_ASSERT_EQUAL(dax_judge("x", &f, true), 0);
	listed = (struct listed){.min = UINT64_MAX};
	dax_bad_blocks(sysfs, makedev(252, 0), list_bad, &listed);
	CU_ASSERT_EQUAL(listed.bytes, (4 + 8 + 4) * 512);
	CU_ASSERT_TRUE(listed.min == 0 && listed.max == 1022 * MIB);
	dax_bad_blocks(sysfs, makedev(77, 7), list_bad, &listed);
	CU_ASSERT_EQUAL(listed.bytes, (4 + 8 + 4) * 512);

	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(252, 1), &f), 0);
	CU_ASSERT_TRUE(f.volatile_memory);
	CU_ASSERT_STRING_EQUAL(f.driver, "kmem");
	CU_ASSERT_STRING_EQUAL(f.domain, "");
	CU_ASSERT_EQUAL(f.numa_node, -1);
	CU_ASSERT_EQUAL(dax_judge("x", &f, true), -ENODEV);

	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(252, 2), &f), 0);
	CU_ASSERT_FALSE(f.volatile_memory);
	CU_ASSERT_FALSE(f.enabled);

	/* memmap= and virtio-pmem: a region that promises nothing, but may be read-only and have bad blocks */
	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(252, 3), &f), 0);
	CU_ASSERT_TRUE(f.volatile_memory && f.read_only);
	CU_ASSERT_EQUAL(f.bad_blocks, 8);
	CU_ASSERT_EQUAL(dax_judge("x", &f, true), -EROFS);
	CU_ASSERT_PTR_NOT_NULL(strstr(err_msg(), "/region7/read_only"));
	CU_ASSERT_EQUAL(dax_judge("x", &f, false), 0);
	/* addresses that are not shown: the list cannot be read as this device's */
	sys_unlink(E820 "/dax7.0/resource");
	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(252, 3), &f), 0);
	CU_ASSERT_EQUAL(f.bad_blocks, 0);
	CU_ASSERT_EQUAL(f.size, 4 * MIB);

	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(1, 3), &f), -ENODEV);
	CU_ASSERT_EQUAL(dax_gather(sysfs, makedev(77, 7), &f), -ENODEV);
	CU_ASSERT_EQUAL(dax_gather("/sys", makedev(1, 3), &f), -ENODEV);
	dax_block_domain(sysfs, makedev(259, 0), domain);
	CU_ASSERT_STRING_EQUAL(domain, "memory_controller");
	dax_block_domain(sysfs, makedev(259, 9), domain);
	CU_ASSERT_STRING_EQUAL(domain, "");
	snprintf(command, sizeof(command), "rm -rf '%s'", sysfs);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* ---- probe */

static void put(uint64_t at, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	CU_ASSERT_EQUAL(pwrite(fd, bytes, len, (off_t)at), (ssize_t)len);
	close(fd);
}

static void probe_sees(bool has_content, const char *what)
{
	struct probe p;

	CU_ASSERT_EQUAL(probe_path(path, &p), 0);
	CU_ASSERT_TRUE(p.exists && p.is_regular && !p.is_chardev_dax);
	CU_ASSERT_EQUAL(p.has_content, has_content);
	CU_ASSERT_PTR_NOT_NULL(strstr(p.what, what));
	if (!strstr(p.what, what))
		printf("(saw: %s) ", p.what);
}

static void probe_signature(uint64_t at, const void *bytes, size_t len, const char *what)
{
	make_file(64 * MIB);
	put(at, bytes, len);
	probe_sees(true, what);
}

static void test_probe_content(void)
{
	uint8_t zeros[8192] = {0};

	make_file(0);
	probe_sees(false, "");
	make_file(64 * MIB);
	probe_sees(false, "");
	put(12345, zeros, sizeof(zeros)); /* allocated zeros */
	put(63 * MIB, zeros, sizeof(zeros));
	probe_sees(false, "");
	put(30 * MIB, "far inside: not looked at", 20);
	probe_sees(false, "");
	put(64 * MIB - 1, "x", 1);
	probe_sees(true, "non-zero content at byte 67108863");
	put(700000, "x", 1);
	probe_sees(true, "non-zero content at byte 700000");
	make_file(100);
	put(99, "x", 1);
	probe_sees(true, "non-zero content at byte 99");
	probe_signature(0, "HOLDFAST", 8, "a holdfast volume");
	probe_signature(0x438, "\x53\xef", 2, "ext4");
	probe_signature(0, "XFSB", 4, "XFS");
	probe_signature(0x10040, "_BHRfS_M", 8, "btrfs");
	probe_signature(512, "EFI PART", 8, "GUID");
	probe_signature(64 * MIB - 512, "EFI PART", 8, "second copy");
	probe_signature(510, "\x55\xaa", 2, "boot sector");
	probe_signature(4086, "SWAPSPACE2", 10, "swap");
	probe_signature(0, "LUKS\xba\xbe", 6, "LUKS");
	probe_signature(0, "SQLite format 3", 16, "SQLite");
	probe_signature(0, "\x1f\x8b\x08", 3, "gzip");
	unlink(path);
}

static void test_probe_others(void)
{
	struct probe p;

	CU_ASSERT_EQUAL(probe_path("/dev/no-such-dax0.0", &p), place_is_device_name("/dev/x") ? -ENOENT : 0);
	CU_ASSERT_FALSE(p.exists);
	CU_ASSERT_EQUAL(probe_path("./no-such-file", &p), 0);
	CU_ASSERT_FALSE(p.exists);
	CU_ASSERT_EQUAL(probe_path(".", &p), -ENODEV);
	CU_ASSERT_EQUAL(probe_path("/dev/null", &p), -ENODEV);
	make_file(5 * MIB);
	CU_ASSERT_EQUAL(probe_path(path, &p), 0);
	CU_ASSERT_EQUAL(p.size, 5 * MIB);
	CU_ASSERT_EQUAL(p.numa_node, -1);
	CU_ASSERT_FALSE(p.locked);
	unlink(path);
}

static const struct hf_case cases[] = {
    {"a file", test_file},
    {"sizes", test_sizes},
    {"what is no volume", test_not_a_volume},
    {"writable by others", test_writable_by_others},
    {"what survives", test_survives},
    {"memfd", test_memfd},
    {"memory", test_memory},
    {"read-only", test_read_only},
    {"nothing is left open", test_no_leak},
    {"lock: another process has it", test_lock_other_process},
    {"lock: inherited", test_lock_inherited},
    {"lock: inherited, the owner ended", test_lock_orphaned},
    {"lock: not by exec", test_lock_cloexec},
    {"fork", test_fork},
    {"dax: judging", test_dax_judge},
    {"dax: gathering", test_dax_gather},
    {"probe: content", test_probe_content},
    {"probe: other things", test_probe_others},
};

int main(void)
{
	go_to_disk();
	return hf_run_suite("media: open, locks, probe", cases, HF_COUNT(cases));
}
