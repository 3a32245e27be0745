/* Bad media under each page of a volume, met by every public call: the process lives, what is not hit is read as it was, the rest
 * is -EIO; changes are -EIO or -ESHUTDOWN, and one that returned 0 is there after the next mount.
 *
 * A page of the volume's map is replaced by one that gives SIGBUS, before the mount or when all is open and cached. The file below
 * stays as it was: what was written while the page was bad is looked at afterwards. */
#include "file_vol.h"
#include "file/volume.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define VOLUME	(8 * MIB)
#define NAMES	150u /* some buckets */
#define WIDE	40u  /* extents of the file with a map node */
#define RESULTS 1000u

static char path[256];
static uint8_t *master;	   /* the volume's file, as each run finds it */
static uint64_t huge_page; /* of 512 that are alike */
static struct {
	uint64_t first, end;
} lanes;

/* ---- the volume */

static void make_names(hf_volume *vol, hf_file *f)
{
	char name[300];

	OK(hf_mkdir(vol, "/many", 0755));
	OK(hf_mkdir(vol, "/many/sub", 0755));
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "/many/%0*u", (int)(1 + i % 90), i);
		OK(hf_flink(f, name));
	}
}

static void make_changes_place(hf_volume *vol)
{
	static const char *const files[] = {"/c/over", "/c/hole", "/c/tail", "/c/move", "/c/gone", "/c/cut", "/c/attr", "/c/mode", "/c/link",
					    "/c/punch"};
	uint8_t buf[5 * BLK];

	vol_fill(buf, sizeof(buf), 1);
	OK(hf_mkdir(vol, "/c", 0755));
	OK(hf_mkdir(vol, "/c/empty", 0755));
	for (unsigned i = 0; i < HF_COUNT(files); i++) {
		hf_file *f = vol_create(vol, files[i]);

		GET(i == 2 ? 20 : sizeof(buf), hf_pwrite(f, buf, i == 2 ? 20 : sizeof(buf), 0));
		OK(hf_close(&f));
	}
}

static void make_master(void)
{
	hf_volume *vol = (vol_format(path, VOLUME), vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE));
	hf_file *f = vol_create(vol, "/wide");
	uint8_t buf[BLK], *big = malloc(FRM);
	struct hf_extent x = {0};
	char target[300];
	size_t n = 1;
	int fd;

	for (unsigned i = 0; i < WIDE; i++) {
		vol_fill(buf, sizeof(buf), i);
		GET(BLK, hf_pwrite(f, buf, BLK, i * 3 * BLK));
	}
	make_names(vol, f);
	OK(hf_close(&f));
	f = vol_create(vol, "/huge");
	vol_fill(big, FRM, 9);
	GET(FRM, hf_pwrite(f, big, FRM, 0));
	OK(hf_extents(f, 0, &x, n, &n));
	huge_page = x.media_off / BLK;
	OK(hf_close(&f));
	f = vol_create(vol, "/tiny");
	GET(50, hf_pwrite(f, big, 50, 0));
	OK(hf_fsetxattr(f, "user.a", big, 9000, 0));
	OK(hf_close(&f));
	memset(target, 'x', sizeof(target));
	memcpy(target, "/wide", 5);
	target[299] = '\0';
	OK(hf_symlink(vol, target, "/long"));
	OK(hf_symlink(vol, "wide", "/short"));
	make_changes_place(vol);
	lanes.first = vol->fs.geo.lanes_off.v / BLK;
	lanes.end = lanes.first + vol->fs.geo.nlanes * vol->fs.geo.lane_bytes / BLK;
	OK(hf_unmount(&vol));
	fd = open(path, O_RDWR);
	master = malloc(VOLUME);
	GET(VOLUME, pread(fd, master, VOLUME, 0));
	close(fd);
	free(big);
}

static void put_master(void)
{
	int fd = open(path, O_RDWR);

	GET(VOLUME, pwrite(fd, master, VOLUME, 0));
	close(fd);
}

/* ---- one run: a mounted volume and what is open in it */

struct run {
	hf_volume *vol;
	hf_file *wide, *huge, *tiny;
	hf_dir *many;
	hf_view *view;
	uint8_t *addr;
	int64_t result[RESULTS];
	unsigned n;
};

static void poison(struct pm *pm, uint64_t page)
{
	int fd = memfd_create("poison", MFD_CLOEXEC);
	uint8_t *at = pm->base + page * BLK;

	/* Not mmap(): ThreadSanitizer would take it for a store. */
	CU_ASSERT_FATAL(fd >= 0 && syscall(SYS_mmap, at, BLK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0l) == (long)(uintptr_t)at);
	close(fd);
}

/* page: bad before the mount; UINT64_MAX: none. */
static int run_mount(struct run *r, uint64_t page)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE};
	struct hf_mount_options o = {.struct_size = sizeof(o)};
	struct pm *pm;

	memset(r, 0, sizeof(*r));
	put_master();
	CU_ASSERT_EQUAL_FATAL(pm_open(path, &args, &pm), 0);
	if (page != UINT64_MAX)
		poison(pm, page);
	return volume_open(pm, &o, &r->vol);
}

static void run_open(struct run *r)
{
	hf_open(r->vol, "/wide", HF_O_RDWR, 0, &r->wide);
	hf_open(r->vol, "/huge", HF_O_RDWR, 0, &r->huge);
	hf_open(r->vol, "/tiny", HF_O_RDWR, 0, &r->tiny);
	hf_opendir(r->vol, "/many", &r->many);
}

static void run_close(struct run *r)
{
	if (r->wide)
		OK(hf_close(&r->wide));
	if (r->huge)
		OK(hf_close(&r->huge));
	if (r->tiny)
		OK(hf_close(&r->tiny));
	if (r->many)
		OK(hf_closedir(&r->many));
	OK(hf_unmount(&r->vol));
}

/* ---- reads: what each says, as a number */

static uint64_t hash(const void *p, size_t len)
{
	return hash_bytes(p, len, 1) >> 1;
}

static void say(struct run *r, int64_t ret, const void *p, size_t len)
{
	CU_ASSERT_FATAL(r->n < RESULTS);
	r->result[r->n++] = ret < 0 || !p ? ret : (int64_t)hash(p, len);
}

static void say_stat(struct run *r, int64_t ret, struct hf_stat *st)
{
	st->atime_ns = 0;
	say(r, ret, st, sizeof(*st));
}

static void read_files(struct run *r)
{
	hf_file *const files[] = {r->wide, r->huge, r->tiny};
	struct hf_extent x[4];
	static uint8_t buf[2 * MIB];
	struct iovec iov = {buf, 3 * BLK};
	struct hf_stat st;

	for (unsigned i = 0; i < HF_COUNT(files); i++) {
		hf_file *f = files[i];
		size_t n = 4;

		memset(buf, 0, 5 * BLK);
		memset(x, 0, sizeof(x));
		say(r, f ? hf_pread(f, buf, 5 * BLK, 0) : -EIO, buf, 5 * BLK);
		say(r, f ? hf_pread(f, buf, BLK, 90 * BLK) : -EIO, buf, BLK);
		say(r, f ? hf_preadv(f, &iov, 1, 100 * BLK) : -EIO, buf, BLK);
		say_stat(r, f ? hf_fstat(f, &st) : -EIO, &st);
		say(r, f ? hf_seek(f, 5, SEEK_HOLE) : -EIO, NULL, 0);
		say(r, f ? hf_seek(f, BLK, SEEK_DATA) : -EIO, NULL, 0);
		say(r, f ? hf_extents(f, 0, x, 4, &n) : -EIO, x, sizeof(x));
		say(r, f ? hf_fgetxattr(f, "user.a", buf, 10000) : -EIO, buf, 100);
		say(r, f ? hf_flistxattr(f, (char *)buf, 10000) : -EIO, NULL, 0);
	}
}

static void read_dir(struct run *r)
{
	struct hf_dirent e;
	int64_t ret = r->many ? 1 : -EIO;
	uint64_t sum = 0, count = 0;

	if (r->many)
		hf_seekdir(r->many, 0);
	while (ret == 1) {
		ret = hf_readdir(r->many, &e);
		if (ret == 1)
			sum += hash(e.name, strlen(e.name)) + e.ino;
		CU_ASSERT_FATAL(count++ < 2 * NAMES);
	}
	say(r, ret, &sum, sizeof(sum));
}

static void read_paths(struct run *r)
{
	static const char *const paths[] = {"/", "/many", "/many/sub", "/wide", "/huge", "/tiny", "/long", "/short", "/not", "/c/over"};
	static char buf[10000];
	char name[300];
	struct hf_stat st;

	for (unsigned i = 0; i < HF_COUNT(paths); i++) {
		struct hf_id id = {0};
		int err = hf_lstat(r->vol, paths[i], &st);

		say_stat(r, err, &st);
		if (!err)
			id = st.id;
		say_stat(r, hf_stat(r->vol, paths[i], &st), &st);
		memset(buf, 0, sizeof(buf));
		say(r, hf_readlink(r->vol, paths[i], buf, 400), buf, 400);
		say(r, hf_getxattr(r->vol, paths[i], "user.a", buf, sizeof(buf)), buf, sizeof(buf));
		say(r, hf_llistxattr(r->vol, paths[i], buf, sizeof(buf)), NULL, 0);
		say_stat(r, id.ino ? hf_inode_stat(r->vol, id, &st) : -EIO, &st);
	}
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "/many/%0*u", (int)(1 + i % 90), i);
		say_stat(r, hf_stat(r->vol, name, &st), &st);
	}
}

static void read_all(struct run *r)
{
	struct hf_statfs fs;
	struct hf_id root = {0};
	struct hf_stat st;

	memset(&fs, 0, sizeof(fs)); /* what is compared has padding */
	r->n = 0;
	read_files(r);
	read_dir(r);
	read_paths(r);
	say(r, hf_inode_root(r->vol, &root), &root, sizeof(root));
	say_stat(r, root.ino ? hf_inode_lookup(r->vol, root, "wide", &st) : -EIO, &st);
	say(r, hf_statfs(r->vol, &fs), &fs, sizeof(fs));
}

/* ---- changes: each does one thing; 'seen' says whether it is there (1), not (0), or cannot be (-1) */

#define CHANGES 20u

static int on_file(hf_volume *vol, const char *name, unsigned what)
{
	hf_file *f;
	uint8_t buf[2 * BLK];
	int64_t ret = hf_open(vol, name, HF_O_RDWR, 0, &f);

	if (ret)
		return (int)ret;
	vol_fill(buf, sizeof(buf), 77);
	switch (what) {
	case 2:
		ret = hf_pwrite(f, buf, 2 * BLK, BLK);
		break;
	case 3:
		ret = hf_pwrite(f, buf, 2 * BLK, 20 * BLK);
		break;
	case 4:
		ret = hf_append(f, buf, 30, NULL);
		break;
	case 7:
		ret = hf_ftruncate(f, 100);
		break;
	case 8:
		ret = hf_fsetxattr(f, "user.b", buf, 6000, 0);
		break;
	default:
		ret = hf_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK, 2 * BLK);
		break;
	}
	OK(hf_close(&f));
	return ret > 0 ? 0 : (int)ret;
}

static int change(hf_volume *vol, unsigned what)
{
	hf_file *f;
	int ret;

	switch (what) {
	case 0:
		ret = hf_open(vol, "/c/new", HF_O_CREAT | HF_O_EXCL | HF_O_WRONLY, 0600, &f);
		if (!ret)
			OK(hf_close(&f));
		return ret;
	case 1:
		return hf_mkdir(vol, "/c/newdir", 0700);
	case 2:
		return on_file(vol, "/c/over", what);
	case 3:
		return on_file(vol, "/c/hole", what);
	case 4:
		return on_file(vol, "/c/tail", what);
	case 5:
		return hf_rename(vol, "/c/move", "/many/moved", 0);
	case 6:
		return hf_unlink(vol, "/c/gone");
	case 7:
		return on_file(vol, "/c/cut", what);
	case 8:
		return on_file(vol, "/c/attr", what);
	case 9:
		return hf_chmod(vol, "/c/mode", 0604);
	case 10:
		return hf_link(vol, "/c/link", "/many/linked");
	case 11:
		return hf_symlink(vol, "target", "/c/symlink");
	case 12:
		return on_file(vol, "/c/punch", what);
	case 13:
		return hf_rmdir(vol, "/c/empty");
	case 14:
		return hf_rename(vol, "/many/sub", "/c/sub", 0);
	case 15:
		return hf_removexattr(vol, "/tiny", "user.a");
	case 16:
		return hf_unlink(vol, "/wide");
	case 17:
		return hf_syncfs(vol);
	case 18:
		return hf_truncate(vol, "/huge", 3 * BLK);
	default:
		return hf_mknod(vol, "/c/fifo", S_IFIFO | 0600, 0);
	}
}

static uint64_t size_of(hf_volume *vol, const char *name)
{
	struct hf_stat st = {0};

	hf_lstat(vol, name, &st);
	return st.size;
}

static bool there(hf_volume *vol, const char *name)
{
	struct hf_stat st;

	return hf_lstat(vol, name, &st) == 0;
}

static bool has(hf_volume *vol, const char *name, uint64_t off)
{
	uint8_t buf[2 * BLK], want[2 * BLK];
	hf_file *f = vol_open(vol, name, HF_O_RDONLY);
	bool same = hf_pread(f, buf, sizeof(buf), off) == sizeof(buf);

	vol_fill(want, sizeof(want), 77);
	same = same && memcmp(buf, want, sizeof(buf)) == 0;
	OK(hf_close(&f));
	return same;
}

static bool changed(hf_volume *vol, unsigned what)
{
	struct hf_stat st = {0};
	hf_file *f;

	switch (what) {
	case 0:
		return there(vol, "/c/new");
	case 1:
		return there(vol, "/c/newdir");
	case 2:
		return has(vol, "/c/over", BLK);
	case 3:
		return has(vol, "/c/hole", 20 * BLK);
	case 4:
		return size_of(vol, "/c/tail") == 50;
	case 5:
		return there(vol, "/many/moved") && !there(vol, "/c/move");
	case 6:
		return !there(vol, "/c/gone");
	case 7:
		return size_of(vol, "/c/cut") == 100;
	case 8:
		return hf_getxattr(vol, "/c/attr", "user.b", NULL, 0) == 6000;
	case 9:
		hf_stat(vol, "/c/mode", &st);
		return (st.mode & 07777) == 0604;
	case 10:
		return there(vol, "/many/linked");
	case 11:
		return there(vol, "/c/symlink");
	case 12:
		f = vol_open(vol, "/c/punch", HF_O_RDONLY);
		what = hf_seek(f, 0, SEEK_HOLE) == BLK;
		OK(hf_close(&f));
		return what;
	case 13:
		return !there(vol, "/c/empty");
	case 14:
		return there(vol, "/c/sub");
	case 15:
		return hf_getxattr(vol, "/tiny", "user.a", NULL, 0) == -ENODATA;
	case 16:
		return !there(vol, "/wide");
	case 17:
		return true;
	case 18:
		return size_of(vol, "/huge") == 3 * BLK;
	default:
		return there(vol, "/c/fifo");
	}
}

/* ---- the test */

struct tally {
	uint64_t runs, refused, reads_eio, reads_same, changes_ok, changes_eio, changes_shut, wrong;
};

static void wrong(struct tally *t, uint64_t page, const char *what, unsigned i, int64_t got)
{
	t->wrong++;
	CU_ASSERT(false);
	fprintf(stderr, "page %llu: %s %u: %lld (%s)\n", (unsigned long long)page, what, i, (long long)got, hf_errormsg());
}

static void compare(struct tally *t, struct run *r, const struct run *want, uint64_t page)
{
	CU_ASSERT_EQUAL_FATAL(r->n, want->n);
	for (unsigned i = 0; i < r->n; i++) {
		if (r->result[i] == -EIO)
			t->reads_eio++;
		else if (r->result[i] == want->result[i])
			t->reads_same++;
		else
			wrong(t, page, "read", i, r->result[i]);
	}
}

static void change_all(struct tally *t, struct run *r, uint64_t page, int ret[CHANGES])
{
	for (unsigned i = 0; i < CHANGES; i++) {
		ret[i] = change(r->vol, i);
		t->changes_ok += ret[i] == 0;
		t->changes_eio += ret[i] == -EIO;
		t->changes_shut += ret[i] == -ESHUTDOWN;
		if (ret[i] && ret[i] != -EIO && ret[i] != -ESHUTDOWN)
			wrong(t, page, "change", i, ret[i]);
	}
}

/* The page is as it was when it went bad: what was told to be done is there, and nothing is damaged. */
static void look_afterwards(struct tally *t, uint64_t page, const int ret[CHANGES])
{
	hf_volume *vol = vol_mount(path, 0);

	for (unsigned i = 0; i < CHANGES; i++)
		if (ret[i] == 0 && !changed(vol, i))
			wrong(t, page, "lost change", i, 0);
	OK(hf_unmount(&vol));
	CHECK(path);
}

enum when { BEFORE_MOUNT = 1, READS_FIRST = 2 };

static void one_page(struct tally *t, uint64_t page, unsigned when, const struct run *want)
{
	static struct run r;
	int ret[CHANGES], err = run_mount(&r, when & BEFORE_MOUNT ? page : UINT64_MAX);

	t->runs++;
	if (err) {
		t->refused++;
		if (err != -EIO)
			wrong(t, page, "mount", 0, err);
		return;
	}
	run_open(&r);
	if (!(when & BEFORE_MOUNT)) {
		read_all(&r);
		poison(r.vol->fs.pm, page);
	}
	if (when & READS_FIRST) {
		read_all(&r);
		compare(t, &r, want, page);
	}
	change_all(t, &r, page, ret);
	run_close(&r);
	look_afterwards(t, page, ret);
}

/* ---- fsck names what is hit */

static uint64_t next_page = UINT64_MAX; /* of what is opened next */

int __real_pm_open(const char *p, const struct pm_open_args *args, struct pm **out);
int __wrap_pm_open(const char *p, const struct pm_open_args *args, struct pm **out);
int __wrap_pm_open(const char *p, const struct pm_open_args *args, struct pm **out)
{
	int err = __real_pm_open(p, args, out);

	if (!err && next_page != UINT64_MAX)
		poison(*out, next_page);
	return err;
}

struct seen {
	uint64_t page, here;
	bool data, inode, name;
};

static void on_finding(void *ctx, const struct hf_finding *f)
{
	struct seen *s = ctx;

	if (strcmp(f->structure, "media"))
		return;
	CU_ASSERT(f->media_off == s->page * BLK);
	s->here++;
	s->data |= f->ino >= FMT_INO_FIRST && strstr(f->text, ": bytes ") && strstr(f->text, "('");
	s->inode |= f->ino >= FMT_INO_FIRST && strstr(f->text, "('wide' in directory 3)") && strstr(f->text, "the inode itself");
	s->name |= strstr(f->text, "names of the directory") != NULL;
}

static void check_page(struct seen *s, uint64_t page, unsigned flags, bool mounted)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .ctx = s, .finding = on_finding, .flags = flags};
	struct hf_check_result res;
	static struct run r;

	s->page = page;
	s->here = 0;
	if (mounted) {
		GET(0, run_mount(&r, UINT64_MAX));
		poison(r.vol->fs.pm, page);
		GET(0, hf_check_mounted(r.vol, &o, &res));
		OK(hf_unmount(&r.vol));
	} else {
		put_master();
		next_page = page;
		GET(0, hf_check(path, &o, &res));
		next_page = UINT64_MAX;
	}
	CU_ASSERT(res.blocks_bad == (s->here > 0));
	CU_ASSERT(res.findings >= s->here && (s->here > 0 || !(flags & HF_CHECK_MEDIA)));
}

static bool allocated(uint64_t page)
{
	return master[FMT_BLK_ALLOC * BLK + page / 8] >> page % 8 & 1;
}

static void test_pages(void)
{
	static struct run want;
	struct tally t = {0};
	bool in_short = vol_env("HF_TEST_SHORT", 0) != 0;

	make_master();
	GET(0, run_mount(&want, UINT64_MAX));
	run_open(&want);
	read_all(&want);
	run_close(&want);
	for (uint64_t page = 0; page < VOLUME / BLK; page++) {
		bool lane = page >= lanes.first && page < lanes.end, huge = page > huge_page && page < huge_page + 512;

		if (!allocated(page) || (huge && page % 64) || (in_short && page % 7))
			continue;
		for (unsigned when = 0; when < (lane ? 1 : 4); when++)
			one_page(&t, page, when, &want);
	}
	printf("(%llu runs, %llu mounts refused; reads: %llu as ever, %llu -EIO; changes: %llu done, %llu -EIO, %llu -ESHUTDOWN) ",
	       (unsigned long long)t.runs, (unsigned long long)t.refused, (unsigned long long)t.reads_same,
	       (unsigned long long)t.reads_eio, (unsigned long long)t.changes_ok, (unsigned long long)t.changes_eio,
	       (unsigned long long)t.changes_shut);
	CU_ASSERT(t.refused > 0 && t.reads_eio > 0 && t.changes_eio > 0 && t.changes_shut > 0 && t.changes_ok > 0);
	unlink(path);
	free(master);
}

static void test_fsck(void)
{
	bool in_short = vol_env("HF_TEST_SHORT", 0) != 0;
	uint64_t metadata = 0;
	struct seen s = {0};

	make_master();
	for (uint64_t page = 0; page < VOLUME / BLK; page++) {
		bool lane = page >= lanes.first && page < lanes.end, huge = page > huge_page && page < huge_page + 512;

		if (!allocated(page) || ((huge || lane) && page % 64) || (in_short && page % 7))
			continue;
		check_page(&s, page, HF_CHECK_MEDIA, page % 2);
		check_page(&s, page, 0, page % 2 == 0);
		metadata += s.here;
	}
	CU_ASSERT(metadata > 0);
	CU_ASSERT(in_short || (s.data && s.inode && s.name));
	unlink(path);
	free(master);
}

/* ---- file bytes: only what is bad fails, and whole blocks can be written anew */

static uint64_t page_of(hf_file *f, uint64_t off)
{
	struct hf_extent x = {0};
	size_t n = 1;

	OK(hf_extents(f, off, &x, n, &n));
	return x.media_off / BLK;
}

static void test_data(void)
{
	static uint8_t buf[4 * BLK], want[4 * BLK];
	uint64_t at = 60 * BLK; /* blocks 0, 3, 6 ... have bytes */
	hf_pin_id pin;
	struct run r;

	make_master();
	GET(0, run_mount(&r, UINT64_MAX));
	run_open(&r);
	poison(r.vol->fs.pm, page_of(r.wide, at));
	FAILS(EIO, hf_pread(r.wide, buf, 10, at));
	FAILS(EIO, hf_pread(r.wide, buf, 3 * BLK, at - BLK));
	GET(BLK, hf_pread(r.wide, buf, BLK, at + 3 * BLK));
	FAILS(EIO, hf_pwrite(r.wide, buf, 100, at + 5));
	/* An append whose bytes are fetched to memory first. */
	FAILS(EIO, hf_copy_file_range(r.wide, at, r.huge, FRM, 100));
	GET(FRM, vol_size(r.huge));
	FAILS(EIO, hf_fallocate(r.wide, FALLOC_FL_ZERO_RANGE, at + 9, 50));
	OK(hf_mkdir(r.vol, "/goes_on", 0755));
	vol_fill(want, sizeof(want), 5);
	/* Who has its address would be left with another page. */
	OK(hf_pin(r.wide, at, BLK, NULL, NULL, NULL, &pin));
	FAILS(EIO, hf_pwrite(r.wide, want, BLK, at));
	OK(hf_unpin(r.vol, pin));
	GET(2 * BLK, hf_pwrite(r.wide, want, 2 * BLK, at - BLK));
	GET(2 * BLK, hf_pread(r.wide, buf, 2 * BLK, at - BLK));
	CU_ASSERT(memcmp(buf, want, 2 * BLK) == 0);
	poison(r.vol->fs.pm, page_of(r.huge, 7 * BLK));
	OK(hf_ftruncate(r.huge, 7 * BLK + 100));
	FAILS(EIO, hf_ftruncate(r.huge, 8 * BLK)); /* has to zero what it uncovers */
	run_close(&r);
	CHECK(path);
	r.vol = vol_mount(path, 0);
	r.wide = vol_open(r.vol, "/wide", HF_O_RDONLY);
	GET(2 * BLK, hf_pread(r.wide, buf, 2 * BLK, at - BLK));
	CU_ASSERT(memcmp(buf, want, 2 * BLK) == 0);
	CU_ASSERT(there(r.vol, "/goes_on"));
	OK(hf_close(&r.wide));
	OK(hf_unmount(&r.vol));
	unlink(path);
	free(master);
}

/* ---- a page that goes bad in the middle of a call: when memcpy() begins to read from it */

static struct {
	struct pm *pm;
	uint64_t page;
} going_bad;

void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	struct pm *pm = going_bad.pm;

	if (pm && ((uintptr_t)from - (uintptr_t)pm->base) / BLK == going_bad.page) {
		going_bad.pm = NULL;
		poison(pm, going_bad.page);
	}
	return __real_memcpy(to, from, n);
}

/* A short target lies in the inode and has no checksum of its own: what stands for a bad page must not pass for one. */
static void test_symlink(void)
{
	char buf[400];
	struct hf_stat st;
	struct run r;

	make_master();
	for (unsigned by_path = 0; by_path < 2; by_path++) {
		GET(0, run_mount(&r, UINT64_MAX));
		OK(hf_lstat(r.vol, "/short", &st));
		going_bad.page = 0;
		for (uint64_t at = 0; at < VOLUME && !going_bad.page; at += FMT_INODE_SIZE) {
			const struct fmt_inode *i = (const struct fmt_inode *)(const void *)(master + at);

			if (le64_get(i->ino) == st.id.ino && memcmp(i->inline_data, "wide", 4) == 0)
				going_bad.page = at / BLK;
		}
		CU_ASSERT_FATAL(going_bad.page != 0);
		going_bad.pm = r.vol->fs.pm;
		if (by_path)
			FAILS(EIO, hf_readlink(r.vol, "/short", buf, sizeof(buf)));
		else
			FAILS(EIO, hf_inode_readlink(r.vol, st.id, buf, sizeof(buf)));
		CU_ASSERT_PTR_NULL(going_bad.pm);
		OK(hf_unmount(&r.vol));
	}
	unlink(path);
	free(master);
}

/* Free blocks that turn out bad when they are taken for file bytes. */
static void test_free(void)
{
	static uint8_t buf[2 * BLK], want[2 * BLK], zeros[BLK];
	struct run r;

	make_master();
	GET(0, run_mount(&r, UINT64_MAX));
	run_open(&r);
	for (uint64_t page = 0; page < VOLUME / BLK; page++)
		if (!allocated(page))
			poison(r.vol->fs.pm, page);
	vol_fill(want, sizeof(want), 6);
	GET(2 * BLK, hf_pwrite(r.wide, want, 2 * BLK, BLK));
	GET(2 * BLK, hf_pread(r.wide, buf, 2 * BLK, BLK));
	CU_ASSERT(memcmp(buf, want, 2 * BLK) == 0);
	GET(100, hf_pwrite(r.wide, want, 100, 4 * BLK + 1000));
	GET(BLK, hf_pread(r.wide, buf, BLK, 4 * BLK));
	CU_ASSERT(memcmp(buf, zeros, 1000) == 0 && memcmp(buf + 1000, want, 100) == 0 && memcmp(buf + 1100, zeros, BLK - 1100) == 0);
	OK(hf_fallocate(r.wide, 0, 8 * BLK, BLK));
	GET(BLK, hf_pread(r.wide, buf, BLK, 8 * BLK));
	CU_ASSERT(memcmp(buf, zeros, BLK) == 0);
	CU_ASSERT_EQUAL(pm_bad(r.vol->fs.pm), 0);
	run_close(&r);
	CHECK(path);
	unlink(path);
	free(master);
}

/* ---- threads in the middle of their calls when a page goes bad */

#define READERS 3

static struct run shared;
static _Atomic uint32_t stop_now;
static _Atomic uint64_t read_rounds, wrong_reads;

static void *read_names(void *arg)
{
	const struct run *want = arg;
	static const unsigned first = 28 + 10 * 6; /* of read_paths: behind a dir and ten paths, the names */
	char name[300];
	struct hf_stat st;

	while (!atomic_load(&stop_now)) {
		for (unsigned i = 0; i < NAMES; i++) {
			int err;

			snprintf(name, sizeof(name), "/many/%0*u", (int)(1 + i % 90), i);
			err = hf_stat(shared.vol, name, &st);
			st.atime_ns = 0;
			if (err ? err != -EIO : (int64_t)hash(&st, sizeof(st)) != want->result[first + i])
				atomic_fetch_add(&wrong_reads, 1);
		}
		atomic_fetch_add(&read_rounds, 1);
	}
	return NULL;
}

static void *change_things(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop_now)) {
		int err = hf_mkdir(shared.vol, "/c/again", 0700);

		if (!err)
			err = hf_rmdir(shared.vol, "/c/again");
		if (err && err != -EIO && err != -ESHUTDOWN)
			atomic_fetch_add(&wrong_reads, 1);
	}
	return NULL;
}

static void threads_page(uint64_t page, struct run *want)
{
	pthread_t t[READERS + 1];

	GET(0, run_mount(&shared, UINT64_MAX));
	atomic_store(&stop_now, 0);
	atomic_store(&read_rounds, 0);
	for (unsigned i = 0; i < READERS; i++)
		pthread_create(&t[i], NULL, read_names, want);
	pthread_create(&t[READERS], NULL, change_things, NULL);
	while (atomic_load(&read_rounds) < READERS)
		sched_yield();
	poison(shared.vol->fs.pm, page);
	while (atomic_load(&read_rounds) < 4 * READERS)
		sched_yield();
	atomic_store(&stop_now, 1);
	for (unsigned i = 0; i <= READERS; i++)
		pthread_join(t[i], NULL);
	OK(hf_unmount(&shared.vol));
	CHECK(path);
}

static void test_threads(void)
{
	static struct run want;
	unsigned step = vol_env("HF_TEST_SHORT", 0) ? 9 : 3;

	make_master();
	GET(0, run_mount(&want, UINT64_MAX));
	run_open(&want);
	read_all(&want);
	run_close(&want);
	for (uint64_t page = 4; page < VOLUME / BLK; page += step) {
		bool lane = page >= lanes.first && page < lanes.end, huge = page >= huge_page && page < huge_page + 512;

		if (allocated(page) && !lane && !huge)
			threads_page(page, &want);
	}
	CU_ASSERT_EQUAL(atomic_load(&wrong_reads), 0);
	unlink(path);
	free(master);
}

/* What a view shows is the program's, at the view's address; when it is taken away, it is not. */
static void test_view(void)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_WRITE};
	struct hf_extent e;
	hf_volume *vol;
	hf_view *view;
	hf_file *f;
	uint8_t *addr;
	void *p;
	struct pm *pm;
	moff_t off;
	size_t n;

	OK(hf_mount_memory(&vol, 16 * MIB, NULL));
	pm = vol->fs.pm;
	f = vol_create(vol, "/f");
	OK(hf_fallocate(f, 0, 0, 4 * MIB));
	OK(hf_view_map(f, 0, 4 * MIB, &o, &p, &view));
	addr = p;
	CU_ASSERT_FALSE(pm->lent_at(pm->lent_ctx, addr + 5, &off));
	OK(hf_view_populate(view, 2 * MIB, 2 * MIB, true));
	OK(hf_extents(f, 2 * MIB, &e, 1, &n));
	CU_ASSERT(n == 1 && e.huge);
	CU_ASSERT_PTR_EQUAL(pm->lent(pm->lent_ctx, MOFF(e.media_off + 70000)), addr + 2 * MIB + 70000);
	CU_ASSERT_PTR_NULL(pm->lent(pm->lent_ctx, MOFF(0)));
	CU_ASSERT_TRUE(pm->lent_at(pm->lent_ctx, addr + 2 * MIB + 5, &off) && off.v == e.media_off + 5);
	CU_ASSERT_FALSE(pm->lent_at(pm->lent_ctx, addr + 5, &off) || pm->lent_at(pm->lent_ctx, &off, &off));
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_PTR_NULL(pm->lent(pm->lent_ctx, MOFF(e.media_off)));
	CU_ASSERT_FALSE(pm->lent_at(pm->lent_ctx, addr + 2 * MIB, &off));
	OK(hf_view_unmap(&view));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

/* What waits to be put in place cannot be: who meets that first is told, and if it is the unmount. */
static void test_unmount(void)
{
	int fd = memfd_create("gone", MFD_CLOEXEC), err;
	static const uint8_t buf[BLK];
	struct hf_info info;
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	hf_volume *vol;
	hf_file *f;

	OK(hf_mount_memory(&vol, 16 * MIB, &o));
	f = vol_create(vol, "/f");
	for (int i = 0; i < 2; i++) /* the second leaves a time that waits */
		GET(BLK, hf_pwrite(f, buf, BLK, 0));
	OK(hf_close(&f));
	CU_ASSERT_FATAL(fd >= 0 && mmap(vol->fs.pm->base, vol->fs.pm->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
					MAP_FAILED);
	close(fd);
	OK(hf_info(vol, &info));
	err = hf_unmount(&vol);
	CU_ASSERT_PTR_NULL(vol);
	CU_ASSERT_EQUAL(err, info.shutdown ? 0 : -EIO);
}

int main(void)
{
	static const struct hf_case cases[] = {{"calls", test_pages}, {"fsck", test_fsck}, {"data", test_data}, {"symlink", test_symlink}, {"free", test_free}, {"view", test_view}, {"unmount", test_unmount}, {"threads", test_threads}};

	snprintf(path, sizeof(path), "%s", vol_path("poison"));
	return hf_run_suite("bad media under each call", cases, HF_COUNT(cases));
}
