/* Every operation on a full volume: done, or -ENOSPC and nothing has happened; what takes away
 * always works; and afterwards the volume can be emptied and used as before. */
#include "opset.h"
#include "unit/cunit_main.h"

#include <errno.h>
#include <linux/falloc.h>

#define VOLUME (12u << 20)

static unsigned done, refused;

static hf_volume *volume_new(void)
{
	hf_volume *vol;

	CU_ASSERT_EQUAL_FATAL(hf_mount_memory(&vol, VOLUME, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(opset_tree(vol), 0);
	return vol;
}

/* Takes what there is: large pieces, single blocks, then inodes. */
static void fill(hf_volume *vol)
{
	static const uint64_t pieces[] = {2u << 20, 64u << 10, 4096};
	uint64_t at = 0;
	char name[64];
	hf_file *f;
	int err = hf_open(vol, "/fill/data", HF_O_RDWR | HF_O_CREAT, 0600, &f);

	CU_ASSERT_EQUAL_FATAL(err, 0);
	for (int i = 0; i < 3; i++) {
		for (err = 0; !err; at += pieces[i])
			err = hf_fallocate(f, 0, at, pieces[i]);
		at -= pieces[i];
		CU_ASSERT_EQUAL(err, -ENOSPC);
	}
	hf_close(&f);
	err = 0;
	for (int i = 0; !err; i++) {
		snprintf(name, sizeof(name), "/fill/n%d", i);
		err = hf_mknod(vol, name, 0600, 0);
	}
	CU_ASSERT_EQUAL(err, -ENOSPC);
}

/* Gives some blocks back, from the filler's end. */
static void release(hf_volume *vol, unsigned blocks)
{
	struct hf_stat st;

	CU_ASSERT_EQUAL_FATAL(hf_stat(vol, "/fill/data", &st), 0);
	if (blocks)
		CU_ASSERT_EQUAL(hf_truncate(vol, "/fill/data", st.size - blocks * 4096ull), 0);
	CU_ASSERT_EQUAL(hf_syncfs(vol), 0);
}

static void check_clean(hf_volume *vol, const char *what, unsigned left)
{
	int n = opset_findings(vol);

	if (n)
		printf("after '%s' with %u blocks left: %d findings\n", what, left, n);
	CU_ASSERT_EQUAL(n, 0);
}

/* Emptied, it has nearly the room of a new one (the inode table keeps its blocks), and it can be
 * used. */
static void check_usable(hf_volume *vol, const char *what, unsigned left)
{
	hf_file *f;
	uint64_t room;
	int err = opset_empty(vol);

	if (err)
		printf("after '%s' with %u blocks left: emptying gave %d: %s\n", what, left, err,
		       hf_errormsg());
	CU_ASSERT_EQUAL(err, 0);
	check_clean(vol, what, left);
	CU_ASSERT_EQUAL(hf_syncfs(vol), 0);
	room = opset_room(vol);
	CU_ASSERT_EQUAL_FATAL(hf_open(vol, "/again", HF_O_RDWR | HF_O_CREAT, 0600, &f), 0);
	err = hf_fallocate(f, 0, 0, (room - room / 8) * 4096);
	if (err)
		printf(
		    "after '%s' with %u blocks left: %llu blocks of room, but fallocate gave %d\n",
		    what, left, (unsigned long long)room, err);
	CU_ASSERT_EQUAL(err, 0);
	hf_close(&f);
}

static void try_one(const struct opset_op *op, unsigned left)
{
	hf_volume *vol = volume_new();
	uint64_t before, after;
	int64_t ret;

	fill(vol);
	release(vol, left);
	before = opset_snapshot(vol);
	CU_ASSERT_NOT_EQUAL(before, 0);
	ret = op->fn(vol);
	after = opset_snapshot(vol);
	if (ret < 0)
		refused++;
	else
		done++;
	if (ret < 0 && (ret != -ENOSPC || op->flags & (OPSET_FREES | OPSET_READS))) {
		printf("'%s' with %u blocks left gave %lld: %s\n", op->name, left, (long long)ret,
		       hf_errormsg());
		CU_FAIL("refused");
	}
	if (ret < 0 && !(op->flags & OPSET_DATA) && before != after) {
		printf("'%s' with %u blocks left gave %lld and changed something\n", op->name, left,
		       (long long)ret);
		CU_FAIL("half done");
	}
	check_clean(vol, op->name, left);
	check_usable(vol, op->name, left);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
}

static void test_all(void)
{
	static const unsigned left[] = {0, 3, 1, 2, 5, 8};
#ifdef __SANITIZE_ADDRESS__
	size_t n = 2;
#else
	size_t n = getenv("HF_TEST_SHORT") ? 2 : sizeof(left) / sizeof(left[0]);
#endif

	for (unsigned i = 0; i < opset_count; i++)
		for (size_t k = 0; k < n; k++)
			try_one(&opset_ops[i], left[k]);
	printf("enospc: %u operations done, %u refused ", done, refused);
	CU_ASSERT(done > 0 && refused > 0);
}

/* Room, and what the inode table holds back: it does not shrink. */
static uint64_t room_and_table(hf_volume *vol)
{
	struct hf_statfs s = {0};

	hf_statfs(vol, &s);
	return opset_room(vol) + (s.inodes_used + s.inodes_free) / 16;
}

/* Filled and emptied again and again, nothing is lost. */
static void test_again(void)
{
	uint64_t first, now = 0;
	hf_volume *vol;

	CU_ASSERT_EQUAL_FATAL(hf_mount_memory(&vol, VOLUME, NULL), 0);
	first = room_and_table(vol);
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL_FATAL(opset_tree(vol), 0);
		fill(vol);
		CU_ASSERT_EQUAL(opset_empty(vol), 0);
		CU_ASSERT_EQUAL(hf_syncfs(vol), 0);
		now = room_and_table(vol);
		/* map nodes of the table, a block of orphan slots */
		CU_ASSERT(now <= first && first - now <= 4);
	}
	printf("%llu blocks of room and inodes at first, %llu at last ", (unsigned long long)first,
	       (unsigned long long)now);
	CU_ASSERT_EQUAL(opset_findings(vol), 0);
	CU_ASSERT_EQUAL(hf_unmount(&vol), 0);
}

static const struct hf_case cases[] = {
    {"every operation on a full volume", test_all},
    {"filled and emptied", test_again},
};

int main(void)
{
	return hf_run_suite("enospc", cases, HF_COUNT(cases));
}
