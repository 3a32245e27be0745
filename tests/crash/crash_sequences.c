/* What the explorer leaves out over many sequences, and that it is nothing. */
#include "crash/fs.h"
#include "unit/cunit_main.h"

#define OK(x) CU_ASSERT_EQUAL((x), 0)

/* ---- a workload of two stores on the bare device */

static unsigned checks;
static bool refuse; /* the check is not content */
static char failed_id[256];

static void on_failure(void *ctx, const struct hf_crash_failure *f)
{
	(void)ctx;
	snprintf(failed_id, sizeof(failed_id), "%s", f->id);
}

static int two_stores(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	for (uint64_t i = 0; i < 2; i++) {
		uint32_t op = hf_crash_op_begin(run, "store");

		hf_crash_store64(m, 4096 * i, i + 1);
		hf_crash_flush(m, 4096 * i, 8);
		hf_crash_fence(m);
		hf_crash_op_end(run, op);
	}
	return 0;
}

static int count_check(hf_crash_run *run)
{
	checks++;
	return refuse ? hf_crash_say(run, "refused") : 0;
}

static struct hf_crash_options two_options(void)
{
	const struct hf_crash_options given = {.struct_size = sizeof(given),
					       .bytes = 4 << 20,
					       .raw = true,
					       .no_kill = true,
					       .depth = -1,
					       .workload = two_stores,
					       .check = count_check,
					       .failure = on_failure};
	struct hf_crash_options o;

	checks = 0;
	refuse = false;
	failed_id[0] = 0;
	OK(crash_options(&given, &o));
	return o;
}

static uint64_t by_state(void *ctx, uint32_t begun, bool flying)
{
	(void)ctx;
	return 2ull * begun + flying;
}

static uint64_t by_nothing(void *ctx, uint32_t begun, bool flying)
{
	(void)ctx;
	(void)begun;
	(void)flying;
	return 1;
}

/* Of each store: without it and with it while it is under way, with it afterwards. What the second
 * finds without it was found when the first had finished. */
static void test_expects(void)
{
	struct hf_crash_options o = two_options();
	struct crash_arena arena = {.expects = by_state};
	struct hf_crash_result r;

	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(checks, 5);
	arena.expects = by_nothing;
	checks = 0;
	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(checks, 3);
	crash_arena_free(&arena);
	arena = (struct crash_arena){0};
	checks = 0;
	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(checks, 6);
	crash_arena_free(&arena);
}

/* The points before are counted, so that ids are the same. */
static void test_from_op(void)
{
	struct hf_crash_options o = two_options();
	struct crash_arena arena = {.from_op = 1};
	struct hf_crash_result r;
	struct id id;

	refuse = true;
	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_EQUAL(strncmp(failed_id, "s0.w0.p3", 8), 0);
	OK(id_parse(failed_id, &id));
	arena.from_op = 0;
	OK(crash_explore(&o, &arena, &id, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_EQUAL(r.images, 1);
	crash_arena_free(&arena);
}

static int no_check(hf_crash_run *run)
{
	checks += hf_crash_run_first(run);
	return 0;
}

static void test_slow(void)
{
	struct hf_crash_options o = two_options();
	struct crash_arena arena = {0};
	struct hf_crash_result r;

	o.check = no_check;
	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(checks, 4);
	arena.slow_from = 1u << 30;
	checks = 0;
	OK(crash_explore(&o, &arena, NULL, &r));
	CU_ASSERT_EQUAL(checks, 0);
	crash_arena_free(&arena);
}

/* ---- sequences */

static size_t op_of(const char *text)
{
	char buf[128];

	for (size_t i = 0; i < fs_ops_count(); i++) {
		fs_op_print(fs_op_at(i), buf, sizeof(buf));
		if (!strcmp(buf, text))
			return i;
	}
	CU_FAIL("no such operation");
	return 0;
}

static struct fs_runner *new_runner(void)
{
	const struct hf_crash_options o = {.struct_size = sizeof(o),
					   .seed = 1,
					   .all_below = 4,
					   .max_images = 4,
					   .max_recovery_images = 2};

	return fs_runner_new(&o, NULL, NULL);
}

static bool explore(struct fs_runner *r, unsigned setup, const char *a, const char *b,
		    struct hf_crash_result *res)
{
	struct fs_sequence s = {.setup = setup, .n = b ? 2 : 1, .op[0] = op_of(a)};
	bool same = false;

	if (b)
		s.op[1] = op_of(b);
	OK(fs_runner_explore(r, &s, res, &same));
	CU_ASSERT_EQUAL(res->failures, 0);
	CU_ASSERT(!same || res->states == 0);
	return same;
}

/* Of the first setup: bar is not there, nor is B. */
static void test_same(void)
{
	struct fs_runner *r = new_runner();
	struct hf_crash_result res;

	CU_ASSERT(!explore(r, 0, "unlink bar", NULL, &res));
	CU_ASSERT(explore(r, 0, "unlink bar", "create bar", &res));
	CU_ASSERT(explore(r, 0, "create bar", "rmdir B", &res));
	CU_ASSERT(explore(r, 0, "unlink bar", "rmdir B", &res));
	CU_ASSERT(explore(r, 0, "hold foo 0+8192", "rmdir B", &res));
	CU_ASSERT(!explore(r, 0, "create bar", "unlink bar", &res));
	CU_ASSERT(res.images > 0);
	/* The thread that does the second one has a lane of its own. */
	CU_ASSERT(!explore(r, FS_TWO_THREADS, "create foo", "unlink foo", &res));
	CU_ASSERT(res.images > 0);
	CU_ASSERT(explore(r, FS_TWO_THREADS, "unlink foo", "create A/bar", &res));
	/* A checkpoint, but only where there is something to take in. */
	CU_ASSERT(!explore(r, FS_LANE_FULL, "syncfs ", "rmdir B", &res));
	CU_ASSERT(res.images > 0);
	CU_ASSERT(explore(r, 1, "syncfs ", "rmdir B", &res));
	fs_runner_free(r);
}

static void test_again(void)
{
	struct fs_runner *r = new_runner();
	struct hf_crash_result a, b;

	explore(r, 1, "rename foo bar", NULL, &a);
	explore(r, 1, "rename foo bar", NULL, &b);
	CU_ASSERT(a.images > 0 && a.recovery_images > 0 && a.kills > 0);
	CU_ASSERT_EQUAL(b.images, 0);
	fs_runner_free(r);
	r = new_runner();
	fs_runner_recovery_from(r, 1u << 30);
	explore(r, 1, "rename foo bar", NULL, &b);
	CU_ASSERT_EQUAL(b.recovery_images, 0);
	CU_ASSERT_EQUAL(a.kills, b.kills);
	fs_runner_free(r);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"expects", test_expects}, {"from op", test_from_op}, {"slow", test_slow},
	    {"same", test_same},       {"again", test_again},
	};

	return hf_run_suite("sequences", cases, HF_COUNT(cases));
}
