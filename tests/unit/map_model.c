/* Thousands of random operations at all heights; after each, the map is the model, and the blocks
 * in use are those that it has. */
#include "map_rand.h"

static void run(uint64_t seed, uint64_t bytes, uint64_t ops)
{
	uint64_t count[MR_OPS] = {0}, failed[MR_OPS] = {0}, most = 0;
	struct mr r;
	struct mv v;
	int err;

	mv_open(&v, bytes);
	v.rng += seed * 1000003;
	for (uint64_t i = 0; i < ops; i++) {
		mr_choose(&v, &r);
		err = mr_do(&v, &r);
		if (err && !mr_may_fail(r.op, err))
			fprintf(stderr, "operation %llu (%d, %llu, %llu): %d: %s\n",
				(unsigned long long)i, (int)r.op, (unsigned long long)r.f,
				(unsigned long long)r.n, err, err_msg());
		CU_ASSERT_FATAL(!err || mr_may_fail(r.op, err));
		count[r.op]++;
		failed[r.op] += err != 0;
		if (!err) {
			mr_model(&v.model, &r);
			if (r.op == MR_CUT || r.op == MR_COLLAPSE)
				mv_ok(mv_compare(v.fs.pm, &v.fs.geo, v.in.off, &v.model, NULL),
				      __LINE__);
			mv_must(mr_finish(&v, &r), "the rest of it");
		}
		most = max_u64(most, v.model.n);
		MV_OK(&v);
		if (i % 8 == 0)
			mv_ok(mv_compare_lookup(&v, 0, UINT64_MAX), __LINE__);
	}
	printf("\n    seed %llu: at most %llu blocks;", (unsigned long long)seed,
	       (unsigned long long)most);
	for (int i = 0; i < MR_OPS; i++)
		printf(" %llu/%llu", (unsigned long long)failed[i], (unsigned long long)count[i]);
	printf(" failed\n");
	mv_close(&v);
}

static void test_roomy(void)
{
	for (uint64_t seed = 0; seed < 3; seed++)
		run(seed, 128 * MIB, mr_ops(1500));
}

static void test_full(void)
{
	for (uint64_t seed = 10; seed < 13; seed++)
		run(seed, 8 * MIB, mr_ops(1500));
}

/* Several operations in one transaction; half of them are aborted. */
static void test_many_in_one(void)
{
	struct mv v;

	mv_open(&v, 64 * MIB);
	for (uint64_t i = 0; i < mr_ops(1000); i++) {
		struct mv_model after = mv_model_copy(&v.model), before;
		bool keep = mv_below(&v, 2) != 0;
		struct inode_edit e;
		struct mr r;
		int err = 0;

		mv_begin(&v, &e);
		for (unsigned k = 0; k < 4 && !err; k++) {
			/* Chosen by the state before: then no block is freed that this transaction
			 * allocated. */
			mr_choose(&v, &r);
			if (k ? r.op != MR_INSERT
			      : r.op == MR_CUT || r.op == MR_TRIM || r.op == MR_SHIFT_DOWN ||
				    r.op == MR_COLLAPSE)
				r.op = MR_SPLIT;
			if (r.op == MR_INSERT)
				r.n = min_u64(r.n, mv_model_hole(&after, r.f, r.n));
			before = v.model;
			v.model = after;
			err = mr_apply(&v, &r, &e);
			v.model = before;
			if (!err)
				mr_model(&after, &r);
		}
		CU_ASSERT_FATAL(!err || mr_may_fail(MR_INSERT, err) || mr_may_fail(r.op, err));
		if (err || !keep) {
			txn_abort(e.t);
			free(after.p);
		} else {
			mv_must(mv_end(&e), "commit");
			free(v.model.p);
			v.model = after;
		}
		MV_OK(&v);
	}
	mv_close(&v);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"roomy volume", test_roomy},
	    {"full volume", test_full},
	    {"several in one transaction", test_many_in_one},
	};

	return hf_run_suite("map against a model", cases, HF_COUNT(cases));
}
