#include "base/cpu.h"
#include "base/error.h"
#include "base/forkflag.h"
#include "base/hash.h"
#include "base/types.h"
#include "cunit_main.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- errors */

static void test_error_text(void)
{
	char longer[700];

	err_clear();
	CU_ASSERT_STRING_EQUAL(err_msg(), "");
	CU_ASSERT_EQUAL(err_set(-EIO, "block %d", 7), -EIO);
	CU_ASSERT_STRING_EQUAL(err_msg(), "block 7");
	CU_ASSERT_EQUAL(err_prefix(-EUCLEAN, "inode %d", 3), -EUCLEAN);
	CU_ASSERT_STRING_EQUAL(err_msg(), "inode 3: block 7");
	err_set(-EIO, "again: %s", err_msg());
	CU_ASSERT_STRING_EQUAL(err_msg(), "again: inode 3: block 7");
	err_clear();
	err_prefix(-EIO, "alone");
	CU_ASSERT_STRING_EQUAL(err_msg(), "alone");

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(-EIO, "%s", longer);
	CU_ASSERT_EQUAL(strlen(err_msg()), 511);
	err_prefix(-EIO, "front");
	CU_ASSERT_EQUAL(strlen(err_msg()), 511);
	CU_ASSERT_EQUAL(strncmp(err_msg(), "front: xxx", 10), 0);
	err_prefix(-EIO, "%s", longer);
	CU_ASSERT_EQUAL(strlen(err_msg()), 511);
}

static void *set_other(void *arg)
{
	*(int *)arg = err_msg()[0] == '\0';
	err_set(-EIO, "theirs");
	return NULL;
}

static void test_error_per_thread(void)
{
	pthread_t t;
	int was_empty = 0;

	err_set(-EIO, "mine");
	pthread_create(&t, NULL, set_other, &was_empty);
	pthread_join(t, NULL);
	CU_ASSERT_TRUE(was_empty);
	CU_ASSERT_STRING_EQUAL(err_msg(), "mine");
}

static void test_assert_aborts(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		HF_ASSERT(1 + 1 == 2);
		HF_ASSERT(1 + 1 == 3);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- hashes: these values are on the media of every volume */

static void test_hash_known(void)
{
	static const struct {
		uint32_t len;
		uint64_t seed, hash;
	} known[] = {
	    {0, 0, 0x2d06800538d394c2},	   {0, 0x123456789abcdef, 0xcc1ca35a1b089c5c},
	    {1, 0, 0xc44bdff4074eecdb},	   {1, 0x123456789abcdef, 0xd5dd68911c7f195d},
	    {3, 0, 0x6811538b444fc6dc},	   {3, 0x123456789abcdef, 0x343dbd4b9b572b8e},
	    {8, 0, 0xe5b43ab074c9c13b},	   {8, 0x123456789abcdef, 0x4f99ee67ff93e698},
	    {16, 0, 0x0a0ec5ae8679cb7f},   {16, 0x123456789abcdef, 0x2eb982afb5716ba9},
	    {17, 0, 0x57c52d21ce492c1e},   {17, 0x123456789abcdef, 0x0cd78a4269e05cfc},
	    {64, 0, 0x7714914b0d794113},   {64, 0x123456789abcdef, 0x5a54475d2f2f4d6e},
	    {128, 0, 0x696069c4f1e6a91a},  {128, 0x123456789abcdef, 0xb03707457c59dc50},
	    {129, 0, 0xb1ada52285757beb},  {129, 0x123456789abcdef, 0x642fc6ae6a6706fd},
	    {192, 0, 0xcf9fed8941ed886c},  {192, 0x123456789abcdef, 0xcd6e6df73d33e3e7},
	    {240, 0, 0xb80284837259eee4},  {240, 0x123456789abcdef, 0x4133dbedc32fbb41},
	    {241, 0, 0x44dbd3180a664e27},  {241, 0x123456789abcdef, 0x461de164de799bf3},
	    {256, 0, 0x266a2c816cbb31c5},  {256, 0x123456789abcdef, 0x64a902e443707ffe},
	    {1024, 0, 0xc6c700c409d40c4b}, {1024, 0x123456789abcdef, 0x6b04f44d2f4a4d36},
	    {4096, 0, 0x1e0a232f4ec7fa9e}, {4096, 0x123456789abcdef, 0x313c87d29e5d3d1f},
	    {5000, 0, 0x01f8ab17e509b9d1}, {5000, 0x123456789abcdef, 0x4355b8935308152d},
	};
	uint8_t buf[5000];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 131 + (i >> 8));
	/* Up to 240 bytes XXH3's own seeded value; above, its unseeded one, mixed with the seed. */
	for (size_t i = 0; i < HF_COUNT(known); i++) {
		uint64_t want = known[i].len <= 240 ? known[i].hash
						    : hash_mix2(known[i & ~(size_t)1].hash, known[i].seed);

		CU_ASSERT_EQUAL(hash_bytes(buf, known[i].len, known[i].seed), want);
	}
	CU_ASSERT_EQUAL(hash_mix(1), 0x5692161d100b05e5ull);
	CU_ASSERT_NOT_EQUAL(hash_mix2(1, 2), hash_mix2(2, 1));
}

static void test_hash_random(void)
{
	uint64_t a[4] = {0}, b[4] = {0};

	CU_ASSERT_EQUAL(hash_random(a, sizeof(a)), 0);
	CU_ASSERT_EQUAL(hash_random(b, sizeof(b)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof(a)), 0);
	CU_ASSERT_EQUAL(hash_random(a, 0), 0);
}

/* ---- types */

static void test_types(void)
{
	mblk_t b = MBLK(3 * 512 + 17);
	le32_t x = le32_of(0x01020304);

	CU_ASSERT_EQUAL(mblk_to_moff(b).v, (3 * 512 + 17) * 4096);
	CU_ASSERT_EQUAL(moff_to_mblk(mblk_to_moff(b)).v, b.v);
	CU_ASSERT_EQUAL(mblk_to_frame(b).v, 3);
	CU_ASSERT_EQUAL(mblk_in_frame(b), 17);
	CU_ASSERT_EQUAL(frame_to_mblk(FRAME(3)).v, 3 * 512);
	CU_ASSERT_TRUE(mblk_is_null(MBLK_NULL));
	CU_ASSERT_EQUAL(((uint8_t *)&x)[0], 4);
	CU_ASSERT_EQUAL(le32_get(x), 0x01020304);
	CU_ASSERT_EQUAL(le64_get(le64_of(UINT64_MAX - 1)), UINT64_MAX - 1);
	CU_ASSERT_EQUAL(round_up_u64(1, 4096), 4096);
	CU_ASSERT_EQUAL(round_up_u64(4096, 4096), 4096);
}

/* ---- fork */

static int in_child(uint64_t parent_token)
{
	uint64_t mine;

	if (!fork_is_child() || fork_token() == parent_token)
		return 1;
	mine = fork_arm();
	if (fork_is_child() || mine == 0 || mine == parent_token || fork_token() != mine)
		return 2;
	return 0;
}

static void test_fork(void)
{
	uint64_t token;
	int status;
	pid_t pid;

	CU_ASSERT_FALSE(fork_is_child());
	token = fork_arm();
	CU_ASSERT_NOT_EQUAL(token, 0);
	CU_ASSERT_EQUAL(fork_arm(), token);
	CU_ASSERT_EQUAL(fork_token(), token);
	CU_ASSERT_FALSE(fork_is_child());
	pid = fork();
	if (pid == 0)
		_exit(in_child(token));
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(fork_token(), token);
}

static void test_cpu(void)
{
	const struct cpu *cpu = cpu_get();

	CU_ASSERT_PTR_EQUAL(cpu, cpu_get());
	printf("(clwb %d clflushopt %d avx2 %d avx512f %d fast_movsb %d dcpop %d) ", cpu->clwb,
	       cpu->clflushopt, cpu->avx2, cpu->avx512f, cpu->fast_movsb, cpu->dcpop);
}

static const struct hf_case cases[] = {
    {"error: text, prefix, truncation", test_error_text},
    {"error: one per thread", test_error_per_thread},
    {"error: assertion aborts", test_assert_aborts},
    {"hash: known values", test_hash_known},
    {"hash: random", test_hash_random},
    {"types", test_types},
    {"fork token", test_fork},
    {"cpu features", test_cpu},
};

int main(void)
{
	return hf_run_suite("base", cases, HF_COUNT(cases));
}
