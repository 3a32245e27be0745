/* The targets that have an image: edits, a mount, operations, a walk, fsck. What must hold: no crash and no failure of the media; each
 * failure has a sentence; and of an image that fsck calls clean, no operation says that it is damaged, and fsck calls it clean
 * afterwards. */
#include "ops.h"
#include "target.h"
#include "file/volume.h"
#include "journal/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BIT(k) (1u << FUZZ_##k)

static const struct volume_target {
	const char *name;
	uint32_t kinds;
	bool crashed;		/* the image was not unmounted */
	bool repair;		/* fsck first, and what it says must be so */
} targets[] = {
	{"journal", BIT(SUPER) | BIT(CKPT) | BIT(RECORD) | BIT(NEW_RECORD) | BIT(RAW) | BIT(OP), true, false},
	{"inode", BIT(INODE) | BIT(INODE_BITS) | BIT(COPY_INODE) | BIT(ORPHAN) | BIT(ALLOC) | BIT(OP), true, false},
	{"map", BIT(ENTRY) | BIT(INODE) | BIT(ALLOC) | BIT(ORPHAN) | BIT(COPY_BLOCK) | BIT(OP), false, false},
	{"directory", BIT(BUCKET) | BIT(TAGS) | BIT(DIRENT) | BIT(INODE) | BIT(COPY_BLOCK) | BIT(OP), false, false},
	{"xattr", BIT(XATTR) | BIT(INODE) | BIT(ENTRY) | BIT(OP), false, false},
	{"image", (1u << FUZZ_REDO) - 1, true, false},
	{"repair", (1u << FUZZ_REDO) - 1, true, true},
	{"redo", BIT(REDO) | BIT(UNDO) | BIT(SUPER) | BIT(ALLOC) | BIT(INODE) | BIT(OP), true, true},
};

static const struct volume_target *target(void)
{
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		if (!strcmp(targets[i].name, FUZZ_TARGET))
			return &targets[i];
	abort();
}

/* ---- a copy of the image per input: one file and one map of it for all of them, of which the blocks that the last one changed are put
 * back. Mapping it anew, with two thousand page faults, took ten times as long as what is tested. */

static int file = -1;
static char file_path[64];
static uint8_t *file_mem;

static uint8_t *work(const struct fuzz_image *im)
{
	if (file < 0) {
		file = memfd_create("image", MFD_CLOEXEC);
		FUZZ_MUST(file >= 0 && ftruncate(file, FUZZ_BYTES) == 0, "no memory");
		snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file);
		file_mem = fuzz_memory(FUZZ_BYTES, file);
	}
	for (uint64_t at = 0; at < FUZZ_BYTES; at += HF_BLOCK_SIZE)
		if (memcmp(file_mem + at, im->bytes + at, HF_BLOCK_SIZE) != 0)
			memcpy(file_mem + at, im->bytes + at, HF_BLOCK_SIZE);
	return file_mem;
}

/* fsck opens it by its path. It gets the same map: libpmem2 is left out, which loses memory with each map. */
int __wrap_pm_open(const char *path, const struct pm_open_args *args, struct pm **out);
int __real_pm_open(const char *path, const struct pm_open_args *args, struct pm **out);
int __wrap_pm_open(const char *path, const struct pm_open_args *args, struct pm **out)
{
	int err;

	if (strcmp(path, file_path) != 0)
		return __real_pm_open(path, args, out);
	err = pm_open_memory(file_mem, FUZZ_BYTES, args, out);
	if (!err)
		(*out)->member[0].fd = dup(file);
	return err;
}

static int mount(uint8_t *mem, hf_volume **v)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .max_cached_inodes = 256, .use_ids = true};
	struct pm_open_args args = {.no_threads = true};	/* byte granularity: flushes cost nothing */
	struct pm *pm;
	int err = pm_open_memory(mem, FUZZ_BYTES, &args, &pm);

	err_clear();
	if (!err)
		err = volume_open(pm, &o, v);
	FUZZ_MUST(!err || err_msg()[0], "mount: %d without a sentence", err);
	FUZZ_MUST(err != -EIO && err != -EROFS, "mount: %s", err_msg());
	return err;
}

static uint64_t findings(hf_volume *v, const struct hf_check_options *o)
{
	struct hf_check_result res;
	int err = hf_check_mounted(v, o, &res);

	FUZZ_MUST(!err, "check: %s", hf_errormsg());
	return res.findings;
}

static void print_finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	fprintf(stderr, "%s: %s\n", f->structure, f->text);
}

/* fsck: what it says is told to 'o'. */
static int check_file(const struct hf_check_options *o, struct hf_check_result *res)
{
	int err = hf_check(file_path, o, res);

	FUZZ_MUST(!err || hf_errormsg()[0], "check: %d without a sentence", err);
	FUZZ_MUST(err != -EIO && err != -ENOMEM, "check: %s", hf_errormsg());
	return err;
}

/* What cannot be mounted is not clean. */
static void refused(int why)
{
	struct hf_check_options o = {.struct_size = sizeof(o)};
	struct hf_check_result res;
	char text[512];
	int err;

	if (why == -EOPNOTSUPP)
		return;			/* a feature, no damage */
	snprintf(text, sizeof(text), "%s", err_msg());
	err = check_file(&o, &res);
	FUZZ_MUST(err || res.findings, "mount: %s; and fsck finds nothing", text);
}

/* The steps on a mounted volume. */
static void run(hf_volume *v, const struct fuzz_step *s, unsigned n)
{
	struct hf_check_options o = {.struct_size = sizeof(o)};
	bool clean = findings(v, &o) == 0;
	char text[FUZZ_TEXT];
	int bad = 0, err;

	for (unsigned i = 0; i < n; i++) {
		if (s[i].kind != FUZZ_OP)
			continue;
		err = fuzz_op(v, &s[i]);
		bad = bad ? bad : err;
		FUZZ_MUST(!clean || !bad, "operation %u of %u on a clean volume: %s", i, n, hf_errormsg());
	}
	bad = fuzz_walk(v, text);
	FUZZ_MUST(!clean || !bad, "reading a clean volume: %s", text);
	if (clean) {
		o.finding = print_finding;
		FUZZ_MUST(findings(v, &o) == 0, "a clean volume is no longer clean after operations that returned");
	}
}

/* Both superblocks, as they are: nothing but mkfs and fsck writes there. */
struct supers {
	uint8_t bytes[2][HF_BLOCK_SIZE];
};

static void take_supers(const uint8_t *mem, struct supers *s)
{
	memcpy(s->bytes[0], mem, HF_BLOCK_SIZE);
	memcpy(s->bytes[1], mem + FUZZ_BYTES - HF_BLOCK_SIZE, HF_BLOCK_SIZE);
}

static unsigned edit(const uint8_t *data, size_t size, struct fuzz_step *s, uint8_t **mem)
{
	const struct fuzz_image *im = fuzz_image(target()->crashed);
	unsigned n = fuzz_steps(data, size, target()->kinds, s);

	*mem = work(im);
	for (unsigned i = 0; i < n; i++)
		fuzz_edit(im, *mem, &s[i]);
	return n;
}

/* fsck repairs. When it says that nothing is left, a second run finds nothing. */
static void repair(void)
{
	struct hf_check_options say = {.struct_size = sizeof(say), .finding = print_finding}, look = {.struct_size = sizeof(look)};
	struct hf_check_options mend = {.struct_size = sizeof(mend), .flags = HF_CHECK_REPAIR};
	struct hf_check_result first, again;
	int err = check_file(&mend, &first);

	if (err)
		return;
	err = check_file(&look, &again);
	FUZZ_MUST(!err, "after a repair: %s", hf_errormsg());
	if (again.findings && !first.unrepaired)
		(void)check_file(&say, &again);
	FUZZ_MUST(!again.findings || first.unrepaired, "a repair of %llu findings leaves %llu", (unsigned long long)first.findings,
		  (unsigned long long)again.findings);
}

/* What the steps' undo file says is put back. 1: there is none. */
static int undo(uint8_t *mem, const struct fuzz_step *s, unsigned n)
{
	static int fd = -1;
	char path[64];
	int err;

	if (fd < 0)
		fd = memfd_create("undo", MFD_CLOEXEC);
	FUZZ_MUST(fd >= 0, "no memory");
	if (!fuzz_undo_file(fuzz_image(target()->crashed), mem, s, n, fd))
		return 1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = hf_check_undo(file_path, path);
	FUZZ_MUST(!err || hf_errormsg()[0], "undo: %d without a sentence", err);
	FUZZ_MUST(err != -EIO && err != -ENOMEM, "undo: %s", hf_errormsg());
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_step s[FUZZ_STEPS_MAX];
	static struct supers before, after;
	uint8_t *mem;
	unsigned n = edit(data, size, s, &mem);
	hf_volume *v;
	int err;

	journal_thread_number(1);
	(void)undo(mem, s, n);
	if (target()->repair)
		repair();
	take_supers(mem, &before);
	err = mount(mem, &v);
	if (err) {
		refused(err);
		return 0;
	}
	run(v, s, n);
	err = hf_unmount(&v);
	FUZZ_MUST(err != -EBUSY && err != -EIO, "unmount: %s", hf_errormsg());
	if (mount(mem, &v) == 0)
		(void)hf_unmount(&v);
	take_supers(mem, &after);
	FUZZ_MUST(!memcmp(&before, &after, sizeof(before)), "a superblock was written over");
	return 0;
}

/* ---- for the driver */

static void add_structure(void *ctx, const struct hf_finding *f)
{
	char *out = ctx;

	if (!strstr(out, f->structure))
		strcat(strcat(out, " "), f->structure);
}

int target_write(const uint8_t *data, size_t size, FILE *to)
{
	struct fuzz_step s[FUZZ_STEPS_MAX];
	uint8_t *mem;

	(void)edit(data, size, s, &mem);
	return fwrite(mem, FUZZ_BYTES, 1, to) == 1 ? 0 : -1;
}

void target_verdict(const uint8_t *data, size_t size, char *out, size_t room)
{
	char structures[256] = "";
	struct hf_check_options o = {.struct_size = sizeof(o), .ctx = structures, .finding = add_structure};
	struct hf_check_result res;
	struct fuzz_step s[FUZZ_STEPS_MAX];
	uint8_t *mem;
	unsigned n = edit(data, size, s, &mem);
	hf_volume *v;
	int err = undo(mem, s, n), len = 0;

	if (err <= 0)
		len = snprintf(out, room, "undo: %s; ", err ? strerrorname_np(-err) : "ok");
	err = check_file(&o, &res);
	if (err)
		snprintf(structures, sizeof(structures), " %s", strerrorname_np(-err));
	err = mount(mem, &v);
	if (!err)
		(void)hf_unmount(&v);
	snprintf(out + len, room - (size_t)len, "mount: %s; fsck:%s", err ? strerrorname_np(-err) : "ok", structures[0] ? structures : " clean");
}
