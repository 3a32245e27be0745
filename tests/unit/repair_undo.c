/* Undo files of several repairs, and of a volume that went on: only that of the last repair is put back. */
#include "file_vol.h"
#include "format/format.h"

#define BYTES (16 * MIB)

static char path[256], undo[2][300];

/* A kill: the records of what it did are still in the journal. */
static void change_and_die(const char *name)
{
	pid_t pid = fork();

	if (pid == 0) {
		hf_volume *vol = vol_mount(path, HF_MOUNT_NO_MSYNC);

		OK(hf_mkdir(vol, name, 0755));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void set_bit(off_t block, unsigned bit)
{
	int fd = open(path, O_RDWR);
	off_t at = block * (off_t)BLK + bit / 8;
	uint8_t byte = 0;

	GET(1, pread(fd, &byte, 1, at));
	byte |= (uint8_t)(1u << bit % 8);
	GET(1, pwrite(fd, &byte, 1, at));
	close(fd);
}

/* Two damages whose repairs have no block in common. */
static void damage_line(void)
{
	set_bit(FMT_BLK_ALLOC, 7 * 512 + 9);
}

static void damage_inode_bit(void)
{
	set_bit(FMT_BLK_ITBITMAP, 1000);
}

static uint64_t findings(void)
{
	struct hf_check_result r = {0};

	OK(hf_check(path, NULL, &r));
	return r.findings;
}

static void repair(const char *file)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .flags = HF_CHECK_REPAIR, .undo_path = file};
	struct hf_check_result r = {0};

	if (file)
		unlink(file);
	OK(hf_check(path, &o, &r));
	CU_ASSERT(r.repaired > 0 && r.unrepaired == 0);
	CU_ASSERT_EQUAL(findings(), 0);
}

static uint8_t *snapshot(void)
{
	uint8_t *bytes = malloc(BYTES);
	int fd = open(path, O_RDONLY);

	GET(BYTES, pread(fd, bytes, BYTES, 0));
	close(fd);
	return bytes;
}

static void refused(const char *file)
{
	uint8_t *before = snapshot(), *now;

	FAILS(ESTALE, hf_check_undo(path, file));
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "nothing was put back"));
	now = snapshot();
	CU_ASSERT_EQUAL(memcmp(before, now, BYTES), 0);
	free(before);
	free(now);
}

static void begin(void)
{
	vol_format(path, BYTES);
	change_and_die("/first");
	damage_line();
	repair(undo[0]);
}

static void test_order(void)
{
	begin();
	damage_inode_bit();
	repair(undo[1]);
	refused(undo[0]);
	OK(hf_check_undo(path, undo[1]));
	CU_ASSERT_EQUAL(findings(), 1);
	OK(hf_check_undo(path, undo[0]));
	CU_ASSERT_EQUAL(findings(), 2);
	refused(undo[1]);
	OK(hf_check_undo(path, undo[0]));	/* all is as it was already */
	CU_ASSERT_EQUAL(findings(), 2);
	repair(NULL);
	refused(undo[0]);
	refused(undo[1]);
}

/* A later repair that had no undo file. */
static void test_repaired_since(void)
{
	begin();
	damage_inode_bit();
	repair(NULL);
	refused(undo[0]);
	CHECK(path);
}

/* Put back, then the volume is used, and recovered to the very state of the journal that the repair had left. */
static void test_used_since(void)
{
	begin();
	OK(hf_check_undo(path, undo[0]));
	change_and_die("/second");
	refused(undo[0]);
	repair(undo[1]);
	refused(undo[0]);
	change_and_die("/third");
	refused(undo[1]);
	CHECK(path);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"two repairs, and their undo files", test_order},
	    {"a repair without an undo file since", test_repaired_since},
	    {"put back, and used since", test_used_since},
	};
	int status;

	snprintf(path, sizeof(path), "%s", vol_path("undo"));
	for (unsigned i = 0; i < 2; i++)
		snprintf(undo[i], sizeof(undo[i]), "%.280s.undo%u", path, i);
	status = hf_run_suite("undo files", cases, HF_COUNT(cases));
	unlink(path);
	unlink(undo[0]);
	unlink(undo[1]);
	return status;
}
