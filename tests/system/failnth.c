/* The n-th allocation fails, then the n-th flush or fence, for each operation and for mounting: for
 *n from 1 until none is left.
 *
 *	no memory:  -ENOMEM, nothing happened, nothing leaked, the same call works when it is called
 *again no medium:  -EIO; from then on every change gives -ESHUTDOWN and reads go on; mounted again,
 *the check finds nothing and the operation is there wholly or not at all
 *
 * malloc and its kin are caught by the linker (--wrap), flushes and fences by a struct pm_hook.
 */
#include "opset.h"
#include "file/volume.h"
#include "unit/cunit_main.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define VOLUME ((size_t)(12u << 20))

/* ---- allocations */

static _Atomic long countdown; /* 0: not armed */
static _Atomic long live;
static _Atomic bool fired;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
char *__real_strdup(const char *s);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);

static bool fails_now(void)
{
	if (atomic_load(&countdown) == 0 || atomic_fetch_sub(&countdown, 1) != 1)
		return false;
	atomic_store(&fired, true);
	return true;
}

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add(&live, 1);
	return p;
}

void *__wrap_malloc(size_t n)
{
	return fails_now() ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails_now() ? NULL : counted(__real_aligned_alloc(align, n));
}

void *__wrap_realloc(void *p, size_t n)
{
	void *q;

	if (fails_now())
		return NULL;
	q = __real_realloc(p, n);
	if (!p)
		counted(q);
	return q;
}

char *__wrap_strdup(const char *s)
{
	return counted(__real_strdup(s));
}

void __wrap_free(void *p)
{
	if (p)
		atomic_fetch_sub(&live, 1);
	__real_free(p);
}

static void arm(_Atomic long *what, long n)
{
	atomic_store(&fired, false);
	atomic_store(what, n);
}

/* True: it has failed meanwhile. */
static bool disarm(_Atomic long *what)
{
	atomic_store(what, 0);
	return atomic_load(&fired);
}

/* ---- flushes and fences */

static _Atomic long media_countdown;
static bool fail_flushes; /* or fences */

static int media_event(void)
{
	if (atomic_load(&media_countdown) == 0 || atomic_fetch_sub(&media_countdown, 1) != 1)
		return 0;
	atomic_store(&fired, true);
	return -EIO;
}

static int hook_flush(void *ctx, moff_t off, uint64_t len)
{
	(void)ctx;
	(void)off;
	(void)len;
	return fail_flushes ? media_event() : 0;
}

static int hook_fence(void *ctx)
{
	(void)ctx;
	return fail_flushes ? 0 : media_event();
}

static const struct pm_hook hook = {.flush = hook_flush, .fence = hook_fence};

/* ---- volumes in memory */

static uint8_t *work, *pristine, *crashed;

static uint8_t *area(void)
{
	uint8_t *p = aligned_alloc(2u << 20, VOLUME);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static int open_pm(const struct pm_hook *h, struct pm **pm)
{
	const struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .hook = h};

	return pm_open_memory(work, VOLUME, &args, pm);
}

static int open_work(const struct pm_hook *h, hf_volume **vol)
{
	const struct hf_mount_options o = {.struct_size = sizeof(o), .use_ids = true};
	struct pm *pm;
	int err = open_pm(h, &pm);

	*vol = NULL;
	return err ? err : volume_open(pm, &o, vol);
}

/* An unmounted volume with the tree, and one that a process died on: with records in the journal
 * and an open file that has no name. */
static void images_make(void)
{
	const struct mkfs_args args = {.uid = 0};
	hf_volume *vol;
	struct pm *pm;
	hf_file *f;

	work = area();
	pristine = area();
	crashed = area();
	memset(work, 0, VOLUME);
	CU_ASSERT_EQUAL_FATAL(open_pm(NULL, &pm), 0);
	CU_ASSERT_EQUAL_FATAL(mkfs_write(pm, &args), 0);
	pm_close(&pm);
	CU_ASSERT_EQUAL_FATAL(open_work(NULL, &vol), 0);
	CU_ASSERT_EQUAL_FATAL(opset_tree(vol), 0);
	CU_ASSERT_EQUAL_FATAL(hf_unmount(&vol), 0);
	memcpy(pristine, work, VOLUME);
	CU_ASSERT_EQUAL_FATAL(open_work(NULL, &vol), 0);
	CU_ASSERT_EQUAL(hf_rename(vol, "/small", "/renamed", 0), 0);
	CU_ASSERT_EQUAL(hf_open(vol, "/blocks", HF_O_RDWR, 0, &f), 0);
	CU_ASSERT_EQUAL(hf_unlink(vol, "/blocks"), 0);
	memcpy(crashed, work, VOLUME);
	hf_close(&f);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
}

static void mount_pristine(const struct pm_hook *h, hf_volume **vol)
{
	memcpy(work, pristine, VOLUME);
	CU_ASSERT_EQUAL_FATAL(open_work(h, vol), 0);
}

/* So that the pools of handles, which keep some, have them already. */
static void warm_up(void)
{
	hf_volume *vol;
	hf_file *f[3];
	hf_dir *d[3];

	for (int i = 0; i < 70; i++) {
		mount_pristine(NULL, &vol);
		for (int k = 0; k < 3; k++) {
			hf_open(vol, "/small", HF_O_RDONLY, 0, &f[k]);
			hf_opendir(vol, "/", &d[k]);
		}
		for (int k = 0; k < 3; k++) {
			hf_close(&f[k]);
			hf_closedir(&d[k]);
		}
		hf_unmount(&vol);
	}
}

/* ---- no memory */

static bool said(const char *what, long n, int64_t ret, const char *wrong)
{
	printf("\n'%s', the %ld. fails, gave %lld: %s (%s)", what, n, (long long)ret, wrong,
	       hf_errormsg());
	CU_FAIL("see above");
	return false;
}

/* One operation, the n-th allocation fails. False: there were fewer. */
static bool memory_once(const struct opset_op *op, long n)
{
	uint64_t before, after;
	hf_volume *vol;
	int64_t ret;
	bool hit;

	mount_pristine(NULL, &vol);
	before = opset_snapshot(vol);
	arm(&countdown, n);
	ret = op->fn(vol);
	hit = disarm(&countdown);
	after = opset_snapshot(vol);
	if (hit && ret < 0 && ret != -ENOMEM)
		said(op->name, n, ret, "is not -ENOMEM");
	if (hit && ret < 0 && !(op->flags & OPSET_DATA) && before != after)
		said(op->name, n, ret, "and something has changed");
	if (opset_findings(vol))
		said(op->name, n, ret, "and the check finds something");
	if (hit && ret < 0) {
		ret = op->fn(vol);
		if (ret < 0)
			said(op->name, n, ret, "when it was called again");
	}
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
	return hit;
}

static void test_memory(void)
{
	unsigned hits = 0;
	long base;

	warm_up();
	base = atomic_load(&live);
	for (unsigned i = 0; i < opset_count; i++) {
		for (long n = 1; memory_once(&opset_ops[i], n); n++) {
			hits++;
			if (atomic_load(&live) != base)
				said(opset_ops[i].name, n, atomic_load(&live) - base,
				     "leaked so many");
			base = atomic_load(&live);
		}
	}
	printf("%u allocations failed ", hits);
	CU_ASSERT(hits > 20);
}

/* The image in a memfd, for what wants a path. */
static void image_to_fd(int fd, const uint8_t *image)
{
	CU_ASSERT_EQUAL_FATAL(pwrite(fd, image, VOLUME, 0), (ssize_t)VOLUME);
}

static void test_memory_mount(void)
{
	struct hf_check_result res;
	hf_volume *vol;
	char path[64];
	unsigned hits = 0;
	long base;
	bool hit = true;
	int fd = memfd_create("failnth", MFD_CLOEXEC), err;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	warm_up();
	image_to_fd(fd, crashed);
	hf_check(path, NULL, &res); /* has two media open at a time: the list for the SIGBUS handler only grows */
	base = atomic_load(&live);
	for (long n = 1; hit; n++) {
		image_to_fd(fd, crashed);
		arm(&countdown, n);
		err = hf_mount(&vol, path, NULL);
		hit = disarm(&countdown);
		hits += hit;
		if (err && (!hit || err != -ENOMEM))
			said("mount", n, err, "is not -ENOMEM");
		if (!err)
			CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
		if (atomic_load(&live) != base)
			said("mount", n, atomic_load(&live) - base, "leaked so many");
		base = atomic_load(&live);
		CU_ASSERT_EQUAL_FATAL(hf_mount(&vol, path, NULL), 0);
		CU_ASSERT_EQUAL(opset_findings(vol), 0);
		CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
	}
	hit = true;
	for (long n = 1; hit; n++) {
		image_to_fd(fd, crashed);
		arm(&countdown, n);
		err = hf_check(path, NULL, &res);
		hit = disarm(&countdown);
		hits += hit;
		if (err && (!hit || err != -ENOMEM))
			said("check", n, err, "is not -ENOMEM");
		if (!err && res.findings)
			said("check", n, (int64_t)res.findings, "findings");
		if (atomic_load(&live) != base)
			said("check", n, atomic_load(&live) - base, "leaked so many");
		base = atomic_load(&live);
	}
	close(fd);
	printf("%u allocations failed ", hits);
}

/* ---- no medium */

static void check_shut(hf_volume *vol, const struct opset_op *op, long n, int64_t ret)
{
	struct hf_info info;
	int err = hf_mkdir(vol, "/after", 0755);

	if (err != -ESHUTDOWN)
		said(op->name, n, err, "was the next change, which is not -ESHUTDOWN");
	if (hf_info(vol, &info) || !info.shutdown)
		said(op->name, n, ret, "and hf_info does not say that it is shut down");
	if (opset_snapshot(vol) == 0)
		said(op->name, n, ret, "and something cannot be read");
}

/* What it looks like before and after, when nothing fails. */
static void expect(const struct opset_op *op, uint64_t *before, uint64_t *after)
{
	hf_volume *vol;

	mount_pristine(NULL, &vol);
	*before = opset_snapshot(vol);
	CU_ASSERT(op->fn(vol) >= 0);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
	CU_ASSERT_EQUAL_FATAL(open_work(NULL, &vol), 0);
	*after = opset_snapshot(vol);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
}

static bool media_once(const struct opset_op *op, long n, uint64_t before, uint64_t after)
{
	hf_volume *vol;
	uint64_t now;
	int64_t ret;
	bool hit;

	mount_pristine(&hook, &vol);
	arm(&media_countdown, n);
	ret = op->fn(vol);
	hit = disarm(&media_countdown);
	if (hit && ret < 0 && ret != -EIO && ret != -ESHUTDOWN)
		said(op->name, n, ret, "is not -EIO");
	if (hit)
		check_shut(vol, op, n, ret);
	if (hf_unmount(&vol))
		said(op->name, n, ret, "and it cannot be unmounted");
	if (!hit)
		return false;
	CU_ASSERT_EQUAL_FATAL(open_work(NULL, &vol), 0);
	if (opset_findings(vol))
		said(op->name, n, ret, "and the check finds something");
	now = opset_snapshot(vol);
	if (ret >= 0 && now != after)
		said(op->name, n, ret, "but it is not there");
	if (ret < 0 && now != before && now != after && !(op->flags & OPSET_DATA))
		said(op->name, n, ret, "and it is there in part");
	CU_ASSERT_EQUAL(hf_mkdir(vol, "/after", 0755), 0);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
	return true;
}

static void media_all(void)
{
	unsigned hits = 0;
	uint64_t before, after;

	for (unsigned i = 0; i < opset_count; i++) {
		expect(&opset_ops[i], &before, &after);
		for (long n = 1; media_once(&opset_ops[i], n, before, after); n++)
			hits++;
	}
	printf("%u failed ", hits);
	CU_ASSERT(hits > 2);
}

static void test_fences(void)
{
	fail_flushes = false;
	media_all();
}

static void test_flushes(void)
{
	fail_flushes = true;
	media_all();
}

/* A mount that cannot make its recovery durable fails; the next one does it. */
static void media_mount(void)
{
	unsigned hits = 0;
	hf_volume *vol;
	bool hit = true;
	int err;

	for (long n = 1; hit; n++) {
		memcpy(work, crashed, VOLUME);
		arm(&media_countdown, n);
		err = open_work(&hook, &vol);
		hit = disarm(&media_countdown);
		hits += hit;
		if (err && (!hit || (err != -EIO && err != -ESHUTDOWN)))
			said("mount", n, err, "is not -EIO");
		if (!err)
			CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
		CU_ASSERT_EQUAL_FATAL(open_work(NULL, &vol), 0);
		CU_ASSERT_EQUAL(opset_findings(vol), 0);
		CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
	}
	printf("%u failed ", hits);
	CU_ASSERT(hits > 2);
}

static void test_media_mount(void)
{
	fail_flushes = false;
	media_mount();
	fail_flushes = true;
	media_mount();
}

static void test_setup(void)
{
	images_make();
}

static const struct hf_case cases[] = {
    {"volumes for each", test_setup},
    {"each allocation of each operation", test_memory},
    {"each allocation of mount and check", test_memory_mount},
    {"each fence of each operation", test_fences},
    {"each flush of each operation", test_flushes},
    {"each flush and fence of mount", test_media_mount},
};

int main(void)
{
	return hf_run_suite("failnth", cases, HF_COUNT(cases));
}
