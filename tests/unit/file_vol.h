/* Volumes for the tests of layer file, through the public header only. */
#ifndef HF_TESTS_FILE_VOL_H
#define HF_TESTS_FILE_VOL_H

#include "cunit_main.h"
#include "holdfast.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define BLK 4096ull
#define FRM (2 * MIB)

/* What a call that should have worked says when it did not. */
static inline int64_t vol_ok(int64_t ret, const char *expr, const char *file, int line)
{
	if (ret < 0)
		fprintf(stderr, "%s:%d: %s: %s (%s)\n", file, line, expr, strerror((int)-ret),
			hf_errormsg());
	return ret;
}
static inline bool vol_is(int64_t want, int64_t ret, const char *expr, const char *file, int line)
{
	if (ret != want)
		fprintf(stderr, "%s:%d: %s: %lld, not %lld (%s)\n", file, line, expr,
			(long long)ret, (long long)want, hf_errormsg());
	return ret == want;
}
#define OK(call) CU_ASSERT(vol_ok((call), #call, __FILE__, __LINE__) >= 0)
#define GET(want, call)                                                                            \
	CU_ASSERT(vol_is((int64_t)(want), (int64_t)(call), #call, __FILE__, __LINE__))
#define FAILS(err, call)                                                                           \
	do {                                                                                       \
		CU_ASSERT(vol_is(-(int64_t)(err), (int64_t)(call), #call, __FILE__, __LINE__));    \
		CU_ASSERT(hf_errormsg()[0] != '\0');                                               \
	} while (0)

static inline hf_volume *vol_memory(uint64_t bytes)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = HF_MOUNT_FORCE_CACHE_LINE};
	hf_volume *vol = NULL;

	OK(hf_mount_memory(&vol, bytes, &o));
	if (!vol)
		exit(1);
	return vol;
}

/* A place for a volume file, in memory where there is one: what is tested is not the host's disk.
 */
static inline const char *vol_path(const char *name)
{
	static char path[256];
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	snprintf(path, sizeof(path), "%s/hf-%s-%d", dir, name, (int)getpid());
	return path;
}

/* A line of /proc/self/maps: is it of a volume that is in memory, or, with HF_TEST_DEVICE, on the device in its place? */
static inline bool vol_is_mapping(const char *line)
{
	const char *device = getenv("HF_TEST_DEVICE");

	return strstr(line, "memfd:holdfast") || (device && strstr(line, device));
}

/* Mappings of the medium in this process. */
static inline unsigned vol_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned n = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		n += vol_is_mapping(line);
	if (maps)
		fclose(maps);
	return n;
}

static inline void vol_format(const char *path, uint64_t bytes)
{
	struct hf_format_options o = {
	    .struct_size = sizeof(o), .bytes = bytes, .force = true, .sparse = true};

	OK(hf_format(path, &o));
}

static inline hf_volume *vol_mount(const char *path, unsigned flags)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .flags = flags};
	hf_volume *vol = NULL;

	OK(hf_mount(&vol, path, &o));
	if (!vol)
		exit(1);
	return vol;
}

static inline hf_file *vol_open(hf_volume *vol, const char *path, unsigned flags)
{
	hf_file *f = NULL;

	OK(hf_open(vol, path, flags, 0644, &f));
	if (!f)
		exit(1);
	return f;
}
static inline hf_file *vol_create(hf_volume *vol, const char *path)
{
	return vol_open(vol, path, HF_O_RDWR | HF_O_CREAT);
}

static inline uint64_t vol_size(hf_file *f)
{
	struct hf_stat st;

	OK(hf_fstat(f, &st));
	return st.size;
}

static inline uint64_t vol_used(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(
	    s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used, s.blocks);
	return s.blocks_used;
}

static inline void vol_print_finding(void *ctx, const struct hf_finding *f)
{
	(void)ctx;
	fprintf(stderr, "%s: %s\n", f->structure, f->text);
}

/* For tests that link the check layer. */
#define CHECK(path)                                                                                \
	do {                                                                                       \
		struct hf_check_options vol_co = {.struct_size = sizeof(vol_co),                   \
						  .finding = vol_print_finding};                   \
		struct hf_check_result vol_cr = {0};                                               \
		OK(hf_check(path, &vol_co, &vol_cr));                                              \
		CU_ASSERT_EQUAL(vol_cr.findings, 0);                                               \
	} while (0)

struct vol_rand {
	uint64_t s;
};
static inline uint64_t vol_rand(struct vol_rand *r)
{
	uint64_t x;

	r->s += 0x9e3779b97f4a7c15ull;
	x = r->s;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}
static inline uint64_t vol_below(struct vol_rand *r, uint64_t n)
{
	return n ? vol_rand(r) % n : 0;
}

static inline uint64_t vol_env(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

/* Bytes that tell where they come from. */
static inline void vol_fill(void *p, size_t len, uint64_t seed)
{
	uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(1 + (seed * 131 + i * 7 + i / 4096) % 255);
}

#endif
