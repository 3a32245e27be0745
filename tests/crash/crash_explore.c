/* The explorer on workloads of a few stores, of which all crash states are known. */
#include "unit/cunit_main.h"
#include <holdfast/crash.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define OK(x) CU_ASSERT_EQUAL((x), 0)

struct seen {
	unsigned failures;
	char id[256], text[256], where[256], left_out[1024];
	uint64_t lines_left_out;
};
static struct seen seen;

static void on_failure(void *ctx, const struct hf_crash_failure *f)
{
	(void)ctx;
	seen.failures++;
	snprintf(seen.id, sizeof(seen.id), "%s", f->id);
	snprintf(seen.text, sizeof(seen.text), "%s", f->text);
	snprintf(seen.where, sizeof(seen.where), "%s", f->where);
	snprintf(seen.left_out, sizeof(seen.left_out), "%s", f->left_out);
	seen.lines_left_out = f->lines_left_out;
}

static struct hf_crash_options raw_options(int (*workload)(hf_crash_run *),
					   int (*check)(hf_crash_run *))
{
	memset(&seen, 0, sizeof(seen));
	return (struct hf_crash_options){.struct_size = sizeof(struct hf_crash_options),
					 .bytes = 4 << 20,
					 .raw = true,
					 .no_kill = true,
					 .depth = -1,
					 .seed = 7,
					 .number = 3,
					 .workload = workload,
					 .check = check,
					 .failure = on_failure};
}

static uint64_t load(hf_crash_run *run, uint64_t off)
{
	uint64_t v;

	memcpy(&v, (char *)hf_crash_media_addr(hf_crash_run_media(run)) + off, sizeof(v));
	return v;
}

static void persist(hf_crash_media *m, uint64_t off, uint64_t v)
{
	hf_crash_store64(m, off, v);
	hf_crash_flush(m, off, 8);
	hf_crash_fence(m);
}

/* ---- how many images */

static unsigned nlines;
static bool one_line;

static int store_lines(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);
	uint32_t op = hf_crash_op_begin(run, "stores");

	for (unsigned i = 0; i < nlines; i++)
		hf_crash_store64(m, one_line ? 8 * i : 64 * i, 1);
	hf_crash_flush(m, 0, 4096);
	hf_crash_fence(m);
	hf_crash_op_end(run, op);
	return 0;
}

static uint64_t images_of(unsigned n, bool in_one_line, struct hf_crash_model model)
{
	struct hf_crash_options o = raw_options(store_lines, NULL);
	struct hf_crash_result r;

	nlines = n;
	one_line = in_one_line;
	o.model = model;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0);
	CU_ASSERT_EQUAL(r.points, 3); /* the fence, the end of the operation, the end */
	return r.images;
}

/* Each combination at the fence, and the one that is left after it. */
static void test_counts(void)
{
	struct hf_crash_model x86 = {0}, any = {.any_order = true},
			      eadr = {.granularity = HF_CRASH_BYTE};

	for (unsigned n = 1; n <= 7; n++) {
		CU_ASSERT_EQUAL(images_of(n, false, x86), (1u << n) + 1);
		CU_ASSERT_EQUAL(images_of(n, true, x86), n + 1 + 1);
		CU_ASSERT_EQUAL(images_of(n, false, eadr), n + 1 + 1);
	}
	CU_ASSERT_EQUAL(images_of(2, true, any), 4 + 1);
	/* Too many for all of them: none, all, one, all but one, pairs and some. */
	CU_ASSERT(images_of(40, false, x86) > 2 + 2 * 40);
}

static void test_same_again(void)
{
	struct hf_crash_options o = raw_options(store_lines, NULL);
	struct hf_crash_result a, b;

	nlines = 30;
	one_line = false;
	OK(hf_crash_explore(&o, &a));
	OK(hf_crash_explore(&o, &b));
	CU_ASSERT(a.images == b.images && a.states == b.states && a.points == b.points);
	o.seed++;
	OK(hf_crash_explore(&o, &b));
	CU_ASSERT_EQUAL(a.states, b.states);
}

/* ---- what the check is told */

static int two_ops(hf_crash_run *run)
{
	for (uint64_t i = 0; i < 2; i++) {
		uint32_t op = hf_crash_op_begin(run, i ? "second" : "first");

		persist(hf_crash_run_media(run), 64 * i, 1);
		hf_crash_op_end(run, op);
	}
	return 0;
}

static int check_two_ops(hf_crash_run *run)
{
	for (uint32_t i = 0; i < 2; i++) {
		enum hf_crash_op_state s = hf_crash_op_state(run, i);
		uint64_t v = load(run, 64 * i);

		if ((s == HF_CRASH_OP_NONE && v != 0) || (s == HF_CRASH_OP_FINISHED && v != 1))
			return hf_crash_say(run, "operation %u: state %d, value %d", i, (int)s,
					    (int)v);
	}
	return 0;
}

static int two_ops_late(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);
	uint32_t op = hf_crash_op_begin(run, "first");

	hf_crash_store64(m, 0, 1); /* never flushed */
	hf_crash_op_end(run, op);
	return 0;
}

static void test_operations(void)
{
	struct hf_crash_options o = raw_options(two_ops, check_two_ops);
	struct hf_crash_result r;

	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0);
	o = raw_options(two_ops_late, check_two_ops);
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_STRING_EQUAL(seen.where, "after first");
	CU_ASSERT_STRING_EQUAL(seen.text, "operation 0: state 2, value 0");
	CU_ASSERT_EQUAL(seen.lines_left_out, 1);
}

/* ---- a failure among many lines is told by the lines that matter, and replayed */

static bool repaired;

static int many_lines(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	if (repaired)
		persist(m, 64 * 7, 1);
	for (unsigned i = 0; i < 30; i++)
		hf_crash_store64(m, 64 * i, 1);
	hf_crash_flush(m, 0, 4096);
	hf_crash_fence(m);
	return 0;
}

/* Line 20 without line 7. */
static int check_many_lines(hf_crash_run *run)
{
	return load(run, 64 * 20) && !load(run, 64 * 7) ? hf_crash_say(run, "20 without 7") : 0;
}

static void test_replay(void)
{
	struct hf_crash_options o = raw_options(many_lines, check_many_lines);
	struct hf_crash_result r;
	uint64_t seed;
	uint32_t number;
	char id[256];

	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_EQUAL(seen.lines_left_out, 1);
	CU_ASSERT_STRING_EQUAL(seen.id, "s7.w3.p1-7");
	snprintf(id, sizeof(id), "%s", seen.id);
	OK(hf_crash_id_parse(id, &seed, &number));
	CU_ASSERT(seed == 7 && number == 3);
	memset(&seen, 0, sizeof(seen));
	o.seed = 99; /* the id's counts */
	OK(hf_crash_replay(&o, id, &r));
	CU_ASSERT(r.failures == 1 && r.images == 1);
	CU_ASSERT_STRING_EQUAL(seen.id, id);
	CU_ASSERT_STRING_EQUAL(seen.text, "20 without 7");
	CU_ASSERT_EQUAL(hf_crash_replay(&o, "s7.w4.p1-7", &r), -EINVAL);
	CU_ASSERT_EQUAL(hf_crash_replay(&o, "s7.w3.p9-7", &r), -ENOENT);
	CU_ASSERT_EQUAL(hf_crash_replay(&o, "s7.w3.p1-30", &r), -EINVAL);
	CU_ASSERT_EQUAL(hf_crash_replay(&o, "seven", &r), -EINVAL);
	repaired = true;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0);
	repaired = false;
}

/* Where a failure is reduced, the states that come after it are what they would have been. */
static void test_goes_on(void)
{
	struct hf_crash_options o = raw_options(many_lines, NULL);
	struct hf_crash_result fine, r;

	OK(hf_crash_explore(&o, &fine));
	o.check = check_many_lines;
	o.max_failures = 1000;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT(r.failures > 1 && r.failures < 1000);
	CU_ASSERT(r.states == fine.states && r.images == fine.images);
}

/* With eADR lines are lost from the last store backwards: none of them can be put back alone. */
static int check_one_without_next(hf_crash_run *run)
{
	for (unsigned i = 6; i + 1 < 30; i++)
		if (load(run, 64 * i) < load(run, 64 * (i + 1)))
			return hf_crash_say(run, "%u without %u", i + 1, i);
	return load(run, 64 * 5) && !load(run, 64 * 6) ? hf_crash_say(run, "5 without 6") : 0;
}

static void test_eadr(void)
{
	struct hf_crash_options o = raw_options(many_lines, check_one_without_next);
	struct hf_crash_result r;

	o.model.granularity = HF_CRASH_BYTE;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_STRING_EQUAL(seen.text, "5 without 6");
	CU_ASSERT_EQUAL(seen.lines_left_out, 24);
}

/* ---- crashes of recovery */

static int begin_only(hf_crash_run *run)
{
	persist(hf_crash_run_media(run), 0, 1);
	return 0;
}

/* Moves the mark from 0 to 64, in an order that a crash in the middle does not forgive. */
static int recover_badly(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	if (load(run, 0) == 0)
		return 0;
	persist(m, 0, 0);
	persist(m, 64, 1);
	return 0;
}

static int check_moved(hf_crash_run *run)
{
	return load(run, 64) || !hf_crash_ops(run) ? 0 : hf_crash_say(run, "the mark is lost");
}

static int move_workload(hf_crash_run *run)
{
	uint32_t op = hf_crash_op_begin(run, "mark");
	int err = begin_only(run);

	hf_crash_op_end(run, op);
	return err;
}

static int check_mark(hf_crash_run *run)
{
	return hf_crash_op_state(run, 0) == HF_CRASH_OP_FINISHED ? check_moved(run) : 0;
}

static void test_recovery(void)
{
	struct hf_crash_options o = raw_options(move_workload, check_mark);
	struct hf_crash_result r;

	o.recover = recover_badly;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0); /* whole recoveries are fine */
	o.depth = 1;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT(r.recovery_images > 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.id, ".r"));
	memset(&seen, 0, sizeof(seen.failures));
	{
		char id[256];

		snprintf(id, sizeof(id), "%s", seen.id);
		seen.failures = 0;
		OK(hf_crash_replay(&o, id, &r));
		CU_ASSERT_EQUAL(seen.failures, 1);
		CU_ASSERT_STRING_EQUAL(seen.text, "the mark is lost");
		CU_ASSERT_STRING_EQUAL(seen.id, id);
	}
}

/* A failure of which two crashes are the cause, among lines that have nothing to do with it. */

enum { MANY = 30, MARKS = 64, MOVED = 128 }; /* lines */

static int marks_workload(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	for (unsigned i = 0; i < MANY; i++)
		hf_crash_store64(m, 64 * (MARKS + i), 1);
	hf_crash_flush(m, 64 * MARKS, 64 * MANY);
	hf_crash_fence(m);
	return 0;
}

/* Believes the last of its lines, although they came in no order. */
static int recover_believing_last(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	if (load(run, 64 * (MOVED + 20)))
		return 0;
	for (unsigned i = 0; i < MANY; i++)
		hf_crash_store64(m, 64 * (MOVED + i), 1);
	hf_crash_flush(m, 64 * MOVED, 64 * MANY);
	hf_crash_fence(m);
	return 0;
}

/* Only matters where mark 3 was lost. */
static int check_marks(hf_crash_run *run)
{
	return load(run, 64 * (MARKS + 3)) || load(run, 64 * (MOVED + 7))
		   ? 0
		   : hf_crash_say(run, "neither mark 3 nor 7 moved");
}

static void test_reduction(void)
{
	struct hf_crash_options o = raw_options(marks_workload, check_marks);
	struct seen first;
	struct hf_crash_result r;

	o.recover = recover_believing_last;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0); /* whole recoveries are fine */
	o.depth = 2;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_STRING_EQUAL(seen.id, "s7.w3.p1-3.r1-7");
	CU_ASSERT_STRING_EQUAL(seen.where,
			       "at fence 1 after the beginning, then at point 1 of recovery");
	CU_ASSERT_STRING_EQUAL(seen.left_out, "line 3 at 0x10c0: none of its 1 stores\n"
					      "recovery 1, line 7 at 0x21c0: none of its 1 stores");
	CU_ASSERT_EQUAL(seen.lines_left_out, 2);
	first = seen;
	memset(&seen, 0, sizeof(seen));
	OK(hf_crash_replay(&o, first.id, &r));
	CU_ASSERT(r.failures == 1 && r.images == 1);
	CU_ASSERT_EQUAL(memcmp(&seen, &first, sizeof(seen)), 0);
}

static int recover_counting(hf_crash_run *run)
{
	persist(hf_crash_run_media(run), 4096, load(run, 4096) + 1);
	return 0;
}

static int check_count(hf_crash_run *run)
{
	return load(run, 4096) > 2 ? hf_crash_say(run, "three recoveries") : 0;
}

/* Recovered once, twice, three times: the third is seen only where two were crashed. */
static void test_depth(void)
{
	struct hf_crash_options o = raw_options(begin_only, check_count);
	struct hf_crash_result r;

	o.recover = recover_counting;
	for (int depth = 1; depth <= 2; depth++) {
		o.depth = depth;
		OK(hf_crash_explore(&o, &r));
		CU_ASSERT_EQUAL(r.failures, depth == 2);
	}
}

/* ---- kill -9: a recovery that believes what it reads and does not make it durable */

static int store_unflushed(hf_crash_run *run)
{
	hf_crash_store64(hf_crash_run_media(run), 0, 1);
	hf_crash_fence(hf_crash_run_media(run));
	return 0;
}

static bool settle_first;

static int recover_believing(hf_crash_run *run)
{
	hf_crash_media *m = hf_crash_run_media(run);

	if (settle_first) {
		hf_crash_flush(m, 0, 8);
		hf_crash_fence(m);
	}
	if (load(run, 0))
		persist(m, 64, 1);
	return 0;
}

static int check_believing(hf_crash_run *run)
{
	return load(run, 64) && !load(run, 0) ? hf_crash_say(run, "half of it") : 0;
}

static void test_kill(void)
{
	struct hf_crash_options o = raw_options(store_unflushed, check_believing);
	struct hf_crash_result r;
	struct seen first;

	o.depth = 1;
	o.recover = recover_believing;
	settle_first = false;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0); /* no power failure alone shows it */
	o.no_kill = false;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_STRING_EQUAL(seen.id, "s7.w3.p1kill.r1-0");
	first = seen;
	memset(&seen, 0, sizeof(seen));
	OK(hf_crash_replay(&o, first.id, &r));
	CU_ASSERT_EQUAL(memcmp(&seen, &first, sizeof(seen)), 0);
	settle_first = true;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0);
	CU_ASSERT(r.kills > 0);
}

/* ---- stores around the functions */

static int store_around(hf_crash_run *run)
{
	*((char *)hf_crash_media_addr(hf_crash_run_media(run)) + 12345) = 1;
	return 0;
}

static void test_stray(void)
{
	struct hf_crash_options o = raw_options(store_around, NULL);
	struct hf_crash_result r;

	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.text, "12345"));
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.id, "stray"));
}

/* ---- threads: one flushes, the other fences */

static atomic_int turn;

static void *flusher(void *arg)
{
	hf_crash_media *m = arg;

	hf_crash_store64(m, 0, 1);
	hf_crash_flush(m, 0, 8);
	atomic_store(&turn, 1);
	return NULL;
}

static int fence_for_another(hf_crash_run *run)
{
	uint32_t op = hf_crash_op_begin(run, "store");
	pthread_t t;

	if (pthread_create(&t, NULL, flusher, hf_crash_run_media(run)))
		return -EAGAIN;
	pthread_join(t, NULL);
	hf_crash_fence(hf_crash_run_media(run));
	hf_crash_op_end(run, op);
	return 0;
}

static int check_stored(hf_crash_run *run)
{
	return hf_crash_op_state(run, 0) == HF_CRASH_OP_FINISHED && !load(run, 0)
		   ? hf_crash_say(run, "lost")
		   : 0;
}

static void test_threads(void)
{
	struct hf_crash_options o = raw_options(fence_for_another, check_stored);
	struct hf_crash_result r;

	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 1);
}

/* ---- volumes */

static int make_files(hf_crash_run *run)
{
	static const char *const names[] = {"one", "two", "three"};

	for (unsigned i = 0; i < 3; i++) {
		uint32_t op = hf_crash_op_begin(run, names[i]);
		hf_file *f;
		int err =
		    hf_open(hf_crash_run_volume(run), names[i], HF_O_RDWR | HF_O_CREAT, 0600, &f);

		if (err || hf_pwrite(f, names[i], 3, 0) != 3 || hf_close(&f))
			return -EIO;
		hf_crash_op_end(run, op);
	}
	return 0;
}

static int check_files(hf_crash_run *run)
{
	static const char *const names[] = {"one", "two", "three"};

	for (unsigned i = 0; i < 3; i++) {
		enum hf_crash_op_state s = hf_crash_op_state(run, i);
		struct hf_stat st;
		int err = hf_stat(hf_crash_run_volume(run), names[i], &st);

		if ((s == HF_CRASH_OP_FINISHED && (err || st.size != 3)) ||
		    (s == HF_CRASH_OP_NONE && !err))
			return hf_crash_say(run, "%s: state %d, stat %d", names[i], (int)s, err);
	}
	return 0;
}

static void test_volume(void)
{
	struct hf_crash_options o = raw_options(make_files, check_files);
	struct hf_crash_result r;

	o.raw = false;
	o.no_kill = false;
	o.depth = 1;
	o.max_images = 32;
	o.all_below = 32;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT_EQUAL(r.failures, 0);
	if (r.failures)
		fprintf(stderr, "%s %s\n", seen.id, seen.text);
	CU_ASSERT(r.images > 100 && r.kills > 5 && r.recovery_images > 20);
}

/* ---- wrong use */

static int failing(hf_crash_run *run)
{
	(void)run;
	return -ENOTTY;
}

static void test_errors(void)
{
	struct hf_crash_options o = raw_options(failing, NULL);
	struct hf_crash_result r;
	hf_crash_media *m;

	CU_ASSERT_EQUAL(hf_crash_explore(&o, &r), -ENOTTY);
	CU_ASSERT_EQUAL(hf_crash_explore(&o, NULL), -EINVAL);
	o.workload = NULL;
	CU_ASSERT_EQUAL(hf_crash_explore(&o, &r), -EINVAL);
	o = raw_options(store_lines, NULL);
	o.depth = 100;
	CU_ASSERT_EQUAL(hf_crash_explore(&o, &r), -EINVAL);
	o.depth = 0;
	o.reserved[1] = &o;
	CU_ASSERT_EQUAL(hf_crash_explore(&o, &r), -EINVAL);
	CU_ASSERT_EQUAL(hf_crash_media_new(NULL, 0, NULL), -EINVAL);
	OK(hf_crash_media_new(&m, 1, NULL));
	CU_ASSERT_EQUAL(hf_crash_media_bytes(m), 4 << 20);
	hf_crash_media_delete(&m);
	CU_ASSERT_PTR_NULL(m);
	CU_ASSERT_EQUAL(hf_crash_id_parse(NULL, NULL, NULL), -EINVAL);
}

static void test_limits(void)
{
	struct hf_crash_options o = raw_options(two_ops_late, check_two_ops);
	struct hf_crash_result r;

	o.max_failures = 100;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT(!r.stopped && r.failures >= 1);
	o.max_failures = 1;
	OK(hf_crash_explore(&o, &r));
	CU_ASSERT(r.stopped && r.failures == 1);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"counts", test_counts},	     {"the same again", test_same_again},
	    {"operations", test_operations}, {"replay", test_replay},
	    {"goes on", test_goes_on},	     {"eadr", test_eadr},
	    {"recovery", test_recovery},     {"reduction", test_reduction},
	    {"depth", test_depth},	     {"kill", test_kill},
	    {"stray", test_stray},	     {"threads", test_threads},
	    {"volume", test_volume},	     {"errors", test_errors},
	    {"limits", test_limits},
	};

	return hf_run_suite("explorer", cases, HF_COUNT(cases));
}
