/* What an independent reader of the code broke: records that get full at the wrong place, caches that are full at the wrong
 * moment, two inodes of one number. */
#include "file_vol.h"
#include "file/volume.h"

#define NFILES 200

static hf_volume *small_cache(void)
{
	struct hf_mount_options o = {
	    .struct_size = sizeof(o), .flags = HF_MOUNT_FORCE_CACHE_LINE, .max_cached_inodes = 32};
	hf_volume *vol = NULL;
	char name[32];
	hf_file *f;

	OK(hf_mount_memory(&vol, 64 * MIB, &o));
	for (int i = 0; i < NFILES; i++) {
		snprintf(name, sizeof(name), "/f%d", i);
		OK(hf_open(vol, name, HF_O_RDWR | HF_O_CREAT, 0644, &f));
		GET(8, hf_pwrite(f, "12345678", 8, 0));
		OK(hf_close(&f));
	}
	return vol;
}

/* About 800 single blocks and then one long run, which begins where the freeing transaction is nearly full. */
static void fragmented(hf_volume *vol, unsigned singles, hf_file **out)
{
	static char buf[FRM];
	unsigned run = 512 - singles;
	hf_file *other;

	OK(hf_open(vol, "/a", HF_O_RDWR | HF_O_CREAT, 0644, out));
	OK(hf_open(vol, "/b", HF_O_RDWR | HF_O_CREAT, 0644, &other));
	for (unsigned b = 1024; b-- > run;) {
		GET(BLK, hf_pwrite(*out, buf, BLK, b * BLK));
		GET(BLK, hf_pwrite(other, buf, BLK, b * BLK));
	}
	GET(run * BLK, hf_pwrite(*out, buf, run * BLK, 0));
	OK(hf_close(&other));
}

static void test_full_record(void)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	struct hf_format_options fmt = {
	    .struct_size = sizeof(fmt), .bytes = 64 * MIB, .force = true, .sparse = true};
	const char *path = vol_path("limits");
	hf_volume *vol = NULL;
	hf_file *f = NULL;

	for (unsigned singles = 262; singles < 294; singles += 3)
		for (int truncate = 0; truncate < 2; truncate++) {
			OK(hf_format(path, &fmt));
			OK(hf_mount(&vol, path, &o));
			fragmented(vol, singles, &f);
			if (truncate)
				OK(hf_ftruncate(f, 0));
			OK(hf_unlink(vol, "/a"));
			OK(hf_close(&f));
			OK(hf_unmount(&vol));
			OK(hf_mount(&vol, path, &o));
			OK(hf_unmount(&vol));
		}
	unlink(path);
}

/* After a shutdown reads go on, however many files they touch. */
static void test_reads_after_shutdown(void)
{
	hf_volume *vol = small_cache();
	char name[32], back[8];
	hf_file *f;

	OK(hf_syncfs(vol));
	usleep(20000); /* the clock is coarse: the reads below are later than the writes */
	journal_shutdown(vol->fs.journal, -EIO);
	for (int i = 0; i < NFILES; i++) {
		snprintf(name, sizeof(name), "/f%d", i);
		OK(hf_open(vol, name, HF_O_RDONLY, 0, &f));
		GET(8, hf_pread(f, back, 8, 0));
		OK(hf_close(&f));
	}
	OK(hf_unmount(&vol));
}

/* While the volume is frozen, a reader that needs a place in a cache full of unwritten times commits none. */
static void test_frozen(void)
{
	hf_volume *vol = small_cache();
	struct hf_info before, after;
	struct hf_stat st;
	char name[32], back[8];
	hf_file *f;

	usleep(20000);
	for (int i = 0; i < 31; i++) {
		snprintf(name, sizeof(name), "/f%d", i);
		OK(hf_open(vol, name, HF_O_RDONLY, 0, &f));
		GET(8, hf_pread(f, back, 8, 0));
		OK(hf_close(&f));
	}
	volume_freeze(vol);
	OK(hf_info(vol, &before));
	for (int i = 0; i < NFILES; i++) {
		snprintf(name, sizeof(name), "/f%d", i);
		hf_stat(vol, name, &st);	/* -ENFILE is legal now */
	}
	OK(hf_info(vol, &after));
	volume_thaw(vol);
	CU_ASSERT_EQUAL(before.commits, after.commits);
	for (int i = 0; i < NFILES; i++) {
		snprintf(name, sizeof(name), "/f%d", i);
		OK(hf_stat(vol, name, &st));
	}
	OK(hf_unmount(&vol));
}

/* A removed directory that somebody still has, and the next owner of its number: both are locked, in one order. */
static void test_same_number(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	struct inode *root, *d, *e;

	OK(hf_mkdir(vol, "/d", 0755));
	OK(inode_get(&vol->fs, INUM(FMT_INO_ROOT), 0, &root));
	OK(name_lookup(root, "d", &d));
	OK(hf_rmdir(vol, "/d"));
	OK(hf_mkdir(vol, "/e", 0755));
	OK(name_lookup(root, "e", &e));
	CU_ASSERT_EQUAL(d->ino.v, e->ino.v);
	CU_ASSERT(inode_lock_order(d->ino, d->gen) < inode_lock_order(e->ino, e->gen));
	FAILS(ENOENT, name_rename(d, "x", e, "y", 0, NULL));
	FAILS(ENOENT, name_rename(e, "x", d, "y", 0, NULL));
	inode_put(d);
	inode_put(e);
	inode_put(root);
	OK(hf_unmount(&vol));
}

/* The image says that the inode owns a slot: one that does not exist, one that is free. */
static void test_damaged_orphan(void)
{
	hf_volume *vol = vol_memory(64 * MIB);
	const uint32_t fields[] = {500000, 1};
	struct fmt_inode img;
	struct inode *root, *in;
	hf_file *f;

	OK(hf_open(vol, "/f", HF_O_RDWR | HF_O_CREAT, 0644, &f));
	OK(hf_close(&f));
	OK(inode_get(&vol->fs, INUM(FMT_INO_ROOT), 0, &root));
	OK(name_lookup(root, "f", &in));
	for (size_t i = 0; i < HF_COUNT(fields); i++) {
		img = *inode_media(in);
		img.orphan = le32_of(fields[i]);
		img.csum = le64_of(fmt_inode_csum(&vol->fs.geo, &img));
		pm_store(vol->fs.pm, in->off, &img, sizeof(img));
		FAILS(EUCLEAN, hf_unlink(vol, "/f"));
	}
	inode_put(in);
	inode_put(root);
	OK(hf_unmount(&vol));
}

/* A program without standard streams must not print into its volume. */
static void test_standard_streams(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct hf_mount_options o = {.struct_size = sizeof(o)};
		hf_volume *vol = NULL;

		close(0);
		close(1);
		close(2);
		_exit(hf_mount_memory(&vol, 64 * MIB, &o) == 0 && vol->fs.pm->member[0].fd > 2 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"full record", test_full_record},
	    {"reads after a shutdown", test_reads_after_shutdown},
	    {"frozen", test_frozen},
	    {"two inodes of one number", test_same_number},
	    {"damaged orphan field", test_damaged_orphan},
	    {"standard streams", test_standard_streams},
	};

	return hf_run_suite("limits of a volume", cases, HF_COUNT(cases));
}
