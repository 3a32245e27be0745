/* Making, mounting, unmounting; what remains; handles and processes that are not what they should
 * be. */
#include "file_vol.h"

#include <signal.h>

static char path[256];

static void place(const char *name)
{
	snprintf(path, sizeof(path), "%s", vol_path(name));
	unlink(path);
}

static uint64_t file_size(const char *p)
{
	struct stat st;

	return stat(p, &st) ? 0 : (uint64_t)st.st_size;
}

static void file_write(const char *p, off_t off, const void *bytes, size_t len)
{
	int fd = open(p, O_RDWR);

	CU_ASSERT(fd >= 0 && pwrite(fd, bytes, len, off) == (ssize_t)len);
	close(fd);
}

/* ---- hf_format */

static void test_format(void)
{
	struct hf_format_options o = {
	    .struct_size = sizeof(o), .bytes = 16 * MIB, .label = "fig", .uid = 7, .gid = 8};
	static const uint8_t uuid[16] = "0123456789abcdef";
	struct hf_info info;
	struct hf_stat st;
	hf_volume *vol, *second;

	place("format");
	o.uuid = uuid;
	OK(hf_format(path, &o));
	CU_ASSERT_EQUAL(file_size(path), 16 * MIB);
	FAILS(EEXIST, hf_format(path, &o));
	vol = vol_mount(path, 0);
	FAILS(EBUSY, hf_format(path, &o));
	o.force = true;
	FAILS(EBUSY, hf_format(path, &o));
	FAILS(EBUSY, hf_mount(&second, path, NULL));
	CU_ASSERT_PTR_NULL(second);
	OK(hf_info(vol, &info));
	CU_ASSERT(strcmp(info.label, "fig") == 0 && memcmp(info.uuid, uuid, 16) == 0 &&
		  info.bytes == 16 * MIB);
	CU_ASSERT(strcmp(info.kind, "file") == 0 && strcmp(info.granularity, "page") == 0 &&
		  info.lanes > 0);
	CU_ASSERT(strcmp(info.path, path) == 0 && !info.read_only && !info.shutdown &&
		  info.created_ns > 0);
	OK(hf_stat(vol, "/", &st));
	CU_ASSERT(st.uid == 7 && st.gid == 8 && S_ISDIR(st.mode) && st.nlink == 2);
	OK(hf_unmount(&vol));
	CU_ASSERT_PTR_NULL(vol);
	OK(hf_format(path, &o));
	o.bytes = 24 * MIB;
	OK(hf_format(path, &o));
	CU_ASSERT_EQUAL(file_size(path), 24 * MIB);
	unlink(path);
}

static void test_format_refuses(void)
{
	struct hf_format_options o = {.struct_size = sizeof(o), .bytes = 16 * MIB};
	char big_label[70];

	place("refuse");
	FAILS(EINVAL, hf_format(NULL, &o));
	FAILS(EINVAL, hf_format(path, NULL));
	o.bytes = MIB;
	FAILS(EINVAL, hf_format(path, &o));
	o.bytes = 16 * MIB;
	memset(big_label, 'x', 69);
	big_label[69] = '\0';
	o.label = big_label;
	FAILS(EINVAL, hf_format(path, &o));
	CU_ASSERT_EQUAL(file_size(path), 0);
	CU_ASSERT(access(path, F_OK) != 0);
	o.label = NULL;
	o.struct_size = 3;
	FAILS(EINVAL, hf_format(path, &o));
	o.struct_size = sizeof(o);
	FAILS(ENOENT, hf_format("/no/such/place", &o));
	FAILS(ENODEV, hf_format("/dev", &o));
	CU_ASSERT(hf_format("/dev/null", &o) < 0);
	close(open(path, O_CREAT | O_RDWR, 0600));
	CU_ASSERT_EQUAL(truncate(path, 16 * MIB), 0);
	file_write(path, 3, "not zero", 8);
	FAILS(EEXIST, hf_format(path, &o));
	o.force = true;
	OK(hf_format(path, &o));
	unlink(path);
}

/* ---- hf_mount */

/* The volume that is meant, or none: two devices may have changed places. */
static void test_mount_uuid(void)
{
	static const uint8_t mine[16] = "0123456789abcdef", other[16] = "0123456789abcdeF";
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .uuid = mine};
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = 0, .uuid = other};
	hf_volume *vol;

	OK(hf_format(path, &fmt));
	FAILS(ENXIO, hf_mount(&vol, path, &o));
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "and not 30313233-3435-3637-3839-616263646546, which was asked for"));
	CU_ASSERT_PTR_NULL(vol);
	o.uuid = mine;
	OK(hf_mount(&vol, path, &o));
	OK(hf_unmount(&vol));
	unlink(path);
	close(open(path, O_CREAT | O_RDWR, 0600));
	CU_ASSERT_EQUAL(truncate(path, 16 * MIB), 0);
}

static void test_mount_refuses(void)
{
	struct hf_mount_options o = {.struct_size = sizeof(o)};
	hf_volume *vol = (hf_volume *)&o;

	place("mount");
	FAILS(EINVAL, hf_mount(NULL, path, NULL));
	FAILS(EINVAL, hf_mount(&vol, NULL, NULL));
	CU_ASSERT_PTR_NULL(vol);
	FAILS(ENOENT, hf_mount(&vol, path, NULL));
	o.flags = 1u << 20;
	FAILS(EINVAL, hf_mount(&vol, path, &o));
	o.flags = 0;
	o.struct_size = 0;
	FAILS(EINVAL, hf_mount(&vol, path, &o));
	o.struct_size = sizeof(o);
	o.reserved[1] = &o;
	FAILS(EINVAL, hf_mount(&vol, path, &o));
	o.reserved[1] = NULL;
	FAILS(EINVAL, hf_mount_memory(&vol, MIB, &o));
	o.flags = HF_MOUNT_RDONLY;
	FAILS(EINVAL, hf_mount_memory(&vol, 16 * MIB, &o));
	close(open(path, O_CREAT | O_RDWR, 0600));
	CU_ASSERT_EQUAL(truncate(path, 16 * MIB), 0);
	FAILS(EINVAL, hf_mount(&vol, path, NULL));
	CU_ASSERT_PTR_NULL(vol);
	test_mount_uuid();
	unlink(path);
}

/* Every page of the metadata of an empty volume is damaged in turn: refused with a sentence, or
 * mounted; never worse. */
static void test_mount_damaged(void)
{
	unsigned refused = 0;
	hf_volume *vol;

	place("damaged");
	vol_format(path, 8 * MIB);
	for (uint64_t blk = 0; blk < 48; blk++) {
		uint8_t good[BLK], bad[BLK];
		int fd = open(path, O_RDWR), err;

		CU_ASSERT_EQUAL(pread(fd, good, BLK, (off_t)(blk * BLK)), (ssize_t)BLK);
		for (size_t i = 0; i < BLK; i++)
			bad[i] = (uint8_t)(good[i] ^ (i * 37 + 1));
		CU_ASSERT_EQUAL(pwrite(fd, bad, BLK, (off_t)(blk * BLK)), (ssize_t)BLK);
		err = hf_mount(&vol, path, NULL);
		if (err) {
			refused++;
			CU_ASSERT(err == -EBADMSG || err == -EUCLEAN || err == -EIO ||
				  err == -EINVAL);
			CU_ASSERT(strlen(hf_errormsg()) > 10);
			CU_ASSERT_PTR_NULL(vol);
		} else {
			err = hf_mkdir(vol, "/d", 0755);
			CU_ASSERT(err == 0 || err == -EBADMSG || err == -EUCLEAN);
			OK(hf_unmount(&vol));
		}
		close(fd);
		vol_format(path, 8 * MIB);
	}
	CU_ASSERT(refused >= 3);
	unlink(path);
}

static void test_second_superblock(void)
{
	uint8_t zero[BLK] = {0};
	struct hf_info info;
	hf_volume *vol;

	place("second");
	vol_format(path, 8 * MIB);
	file_write(path, 0, zero, sizeof(zero));
	vol = vol_mount(path, 0);
	OK(hf_info(vol, &info));
	CU_ASSERT(info.used_second_superblock);
	OK(hf_unmount(&vol));
	unlink(path);
}

/* ---- what remains */

static void populate(hf_volume *vol, unsigned flags)
{
	static uint8_t buf[3 * MIB];
	hf_file *f;

	(void)flags;
	vol_fill(buf, sizeof(buf), 11);
	OK(hf_mkdir(vol, "/d", 0755));
	OK(hf_symlink(vol, "d/big", "/link"));
	OK(hf_mknod(vol, "/d/fifo", S_IFIFO | 0600, 0));
	f = vol_create(vol, "/d/big");
	GET(sizeof(buf), hf_pwrite(f, buf, sizeof(buf), 0));
	OK(hf_fsetxattr(f, "user.k", "value", 5, 0));
	OK(hf_close(&f));
	f = vol_create(vol, "/d/small");
	GET(5, hf_pwrite(f, "small", 5, 0));
	OK(hf_close(&f));
	OK(hf_link(vol, "/d/small", "/d/other"));
}

static void verify(hf_volume *vol)
{
	static uint8_t want[3 * MIB], got[3 * MIB];
	hf_file *f = vol_open(vol, "/link", HF_O_RDONLY);
	struct hf_stat st;
	char text[64];

	vol_fill(want, sizeof(want), 11);
	GET(sizeof(got), hf_pread(f, got, sizeof(got), 0));
	CU_ASSERT(memcmp(want, got, sizeof(got)) == 0);
	OK(hf_close(&f));
	GET(5, hf_getxattr(vol, "/link", "user.k", text, sizeof(text)));
	CU_ASSERT(memcmp(text, "value", 5) == 0);
	GET(5, hf_readlink(vol, "/link", text, sizeof(text)));
	OK(hf_stat(vol, "/d/other", &st));
	CU_ASSERT(st.nlink == 2 && st.size == 5);
	OK(hf_stat(vol, "/d/fifo", &st));
	CU_ASSERT(S_ISFIFO(st.mode));
}

static void test_remount(void)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_RDONLY};
	struct hf_info info;
	hf_volume *vol;
	hf_file *f;

	place("remount");
	vol_format(path, 16 * MIB);
	vol = vol_mount(path, 0);
	populate(vol, 0);
	OK(hf_unmount(&vol));
	for (int i = 0; i < 3; i++) {
		vol = vol_mount(path, 0);
		verify(vol);
		OK(hf_info(vol, &info));
		CU_ASSERT_EQUAL(info.replayed, 0);
		OK(hf_unmount(&vol));
	}
	OK(hf_mount(&vol, path, &o));
	verify(vol);
	OK(hf_info(vol, &info));
	CU_ASSERT(info.read_only);
	FAILS(EROFS, hf_mkdir(vol, "/x", 0755));
	FAILS(EROFS, hf_open(vol, "/link", HF_O_RDWR, 0, &f));
	FAILS(EROFS, hf_open(vol, "/new", HF_O_RDONLY | HF_O_CREAT, 0, &f));
	FAILS(EROFS, hf_open(vol, "/new", HF_O_RDONLY | HF_O_CREAT | HF_O_EXCL, 0, &f));
	FAILS(EEXIST, hf_open(vol, "/link", HF_O_RDONLY | HF_O_CREAT | HF_O_EXCL, 0, &f));
	OK(hf_open(vol, "/link", HF_O_RDONLY | HF_O_CREAT, 0, &f));
	FAILS(EBADF, hf_pwrite(f, "x", 1, 0));
	FAILS(EROFS, hf_fsetxattr(f, "user.k", "v", 1, 0));
	OK(hf_fsync(f));
	OK(hf_syncfs(vol));
	OK(hf_close(&f));
	FAILS(EROFS, hf_unlink(vol, "/link"));
	FAILS(EROFS, hf_truncate(vol, "/link", 0));
	FAILS(EROFS, hf_setxattr(vol, "/link", "user.k", "v", 1, 0));
	OK(hf_unmount(&vol));
	unlink(path);
}

/* A process that is killed: what had returned is there, what it had unlinked and open is freed. */
static void test_killed(void)
{
	struct hf_info info;
	struct hf_stat st;
	hf_volume *vol;
	uint64_t used;
	int status;
	pid_t pid;

	place("killed");
	vol_format(path, 16 * MIB);
	vol = vol_mount(path, 0);
	used = vol_used(vol);
	OK(hf_unmount(&vol));
	pid = fork();
	if (pid == 0) {
		static uint8_t buf[5 * MIB];
		hf_file *f;

		vol = vol_mount(path, 0);
		f = vol_create(vol, "/gone");
		if (hf_pwrite(f, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf) ||
		    hf_unlink(vol, "/gone"))
			_exit(1);
		populate(vol, 0);
		kill(getpid(), SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFSIGNALED(status));
	FAILS(EROFS,
	      hf_mount(&vol, path,
		       &(struct hf_mount_options){.struct_size = sizeof(struct hf_mount_options),
						  .flags = HF_MOUNT_RDONLY}));
	vol = vol_mount(path, 0);
	verify(vol);
	OK(hf_info(vol, &info));
	CU_ASSERT(info.replayed > 0 && info.orphans_finished >= 1);
	FAILS(ENOENT, hf_stat(vol, "/gone", &st));
	OK(hf_unlink(vol, "/d/big"));
	OK(hf_unlink(vol, "/d/small"));
	OK(hf_unlink(vol, "/d/other"));
	OK(hf_unlink(vol, "/d/fifo"));
	OK(hf_unlink(vol, "/link"));
	OK(hf_rmdir(vol, "/d"));
	CU_ASSERT(vol_used(vol) <= used + 8);
	OK(hf_unmount(&vol));
	unlink(path);
}

/* ---- numbers */

static void test_statfs(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	struct hf_statfs a, b;
	hf_file *f;

	OK(hf_statfs(vol, &a));
	CU_ASSERT(a.block_bytes == 4096 && a.name_max == 255 && a.frames == 32 &&
		  a.frames_free > 20);
	CU_ASSERT_EQUAL(
	    a.blocks_free + a.blocks_busy_journal + a.blocks_busy_pinned + a.blocks_used, a.blocks);
	f = vol_create(vol, "/f");
	OK(hf_fallocate(f, 0, 0, 8 * MIB));
	OK(hf_statfs(vol, &b));
	CU_ASSERT(b.frames_free == a.frames_free - 4 && b.blocks_used >= a.blocks_used + 2048);
	CU_ASSERT(b.inodes_used == a.inodes_used + 1);
	OK(hf_close(&f));
	OK(hf_unlink(vol, "/f"));
	OK(hf_syncfs(vol));
	OK(hf_statfs(vol, &b));
	CU_ASSERT(b.frames_free == a.frames_free && b.blocks_busy_journal == 0 &&
		  b.inodes_used == a.inodes_used);
	FAILS(EINVAL, hf_statfs(vol, NULL));
	FAILS(EINVAL, hf_statfs(NULL, &a));
	FAILS(EINVAL, hf_info(vol, NULL));
	OK(hf_unmount(&vol));
	CU_ASSERT(strcmp(hf_version(), "0.1.0") == 0);
}

static void test_newer_options(void)
{
	struct {
		struct hf_mount_options o;
		uint64_t more[2];
	} big = {.o = {.struct_size = sizeof(big), .use_ids = true, .uid = 42, .gid = 43}};
	struct hf_stat st;
	hf_volume *vol;

	big.more[1] = 1;
	FAILS(EINVAL, hf_mount_memory(&vol, 16 * MIB, &big.o));
	big.more[1] = 0;
	OK(hf_mount_memory(&vol, 16 * MIB, &big.o));
	OK(hf_mkdir(vol, "/d", 0755));
	OK(hf_stat(vol, "/d", &st));
	CU_ASSERT(st.uid == 42 && st.gid == 43);
	OK(hf_unmount(&vol));
}

/* ---- handles */

static void test_unmount_busy(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	hf_dir *d;

	OK(hf_opendir(vol, "/", &d));
	FAILS(EBUSY, hf_unmount(&vol));
	CU_ASSERT(vol != NULL && strstr(hf_errormsg(), "1 open files, 1 open directories"));
	OK(hf_close(&f));
	FAILS(EBUSY, hf_unmount(&vol));
	OK(hf_closedir(&d));
	OK(hf_unmount(&vol));
	FAILS(EINVAL, hf_unmount(&vol));
	FAILS(EINVAL, hf_unmount(NULL));
}

static void test_stale_handles(void)
{
	hf_volume *vol = vol_memory(16 * MIB), *old = vol;
	hf_file *f = vol_create(vol, "/f"), *closed = f, *again;
	hf_dir *d, *closed_dir;
	struct hf_dirent e;
	char b[10];

	OK(hf_opendir(vol, "/", &d));
	closed_dir = d;
	FAILS(EINVAL, hf_pread((hf_file *)(void *)vol, b, 1, 0));
	FAILS(EINVAL, hf_readdir((hf_dir *)(void *)f, &e));
	FAILS(EINVAL, hf_mkdir((hf_volume *)(void *)d, "/x", 0755));
	OK(hf_close(&f));
	CU_ASSERT_PTR_NULL(f);
	again = closed;
	FAILS(EBADF, hf_close(&again));
	FAILS(EINVAL, hf_close(&f));
	FAILS(EINVAL, hf_close(NULL));
	FAILS(EBADF, hf_pread(closed, b, 1, 0));
	FAILS(EBADF, hf_pwrite(closed, b, 1, 0));
	FAILS(EBADF, hf_ftruncate(closed, 0));
	OK(hf_closedir(&d));
	FAILS(EBADF, hf_readdir(closed_dir, &e));
	FAILS(EBADF, hf_closedir(&closed_dir));
	CU_ASSERT_EQUAL(hf_telldir(closed_dir), 0);
	OK(hf_unmount(&vol));
	FAILS(EBADF, hf_mkdir(old, "/x", 0755));
	FAILS(EBADF, hf_unmount(&old));
}

static int child_fails(int64_t want, int64_t got, int line)
{
	if (got == want)
		return 0;
	fprintf(stderr, "child, line %d: %lld, not %lld (%s)\n", line, (long long)got,
		(long long)want, hf_errormsg());
	return 1;
}

static void test_fork(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f");
	struct hf_statfs sf;
	struct hf_stat st;
	hf_dir *d;
	char b[10];
	int status;
	pid_t pid;

	GET(5, hf_pwrite(f, "hello", 5, 0));
	OK(hf_opendir(vol, "/", &d));
	pid = fork();
	if (pid == 0) {
		struct hf_dirent e;
		hf_volume *own = NULL;
		hf_file *g = NULL;
		int bad = 0;

		bad |= child_fails(-ESTALE, hf_pread(f, b, 5, 0), __LINE__);
		bad |= child_fails(-ESTALE, hf_pwrite(f, b, 5, 0), __LINE__);
		bad |= child_fails(-ESTALE, hf_stat(vol, "/f", &st), __LINE__);
		bad |= child_fails(-ESTALE, hf_statfs(vol, &sf), __LINE__);
		bad |= child_fails(-ESTALE, hf_mkdir(vol, "/d", 0755), __LINE__);
		bad |= child_fails(-ESTALE, hf_readdir(d, &e), __LINE__);
		bad |= child_fails(-ESTALE, hf_close(&f), __LINE__);
		bad |= child_fails(-ESTALE, hf_unmount(&vol), __LINE__);
		/* A volume of its own works, and the parent's stays closed to it. */
		bad |= child_fails(0, hf_mount_memory(&own, 16 * MIB, NULL), __LINE__);
		bad |= !bad && child_fails(0, hf_open(own, "/g", HF_O_RDWR | HF_O_CREAT, 0644, &g),
					   __LINE__);
		bad |= !bad && child_fails(5, hf_pwrite(g, "child", 5, 0), __LINE__);
		bad |= child_fails(-ESTALE, hf_pread(f, b, 5, 0), __LINE__);
		_exit(bad);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	GET(5, hf_pread(f, b, 10, 0));
	OK(hf_closedir(&d));
	OK(hf_close(&f));
	OK(hf_unmount(&vol));
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"format", test_format},
	    {"format refuses", test_format_refuses},
	    {"mount refuses", test_mount_refuses},
	    {"mount damaged", test_mount_damaged},
	    {"second superblock", test_second_superblock},
	    {"remount", test_remount},
	    {"killed", test_killed},
	    {"statfs", test_statfs},
	    {"newer options", test_newer_options},
	    {"unmount busy", test_unmount_busy},
	    {"stale handles", test_stale_handles},
	    {"fork", test_fork},
	};

	return hf_run_suite("mounting", cases, HF_COUNT(cases));
}
