#include "oload.h"

static void on_failure(void *ctx, const struct hf_crash_failure *f, const char *sequence)
{
	struct load_limits *limits = ctx;

	if (!limits->quiet)
		printf("    %s\n", sequence);
	load_failed(limits, f);
}

static int one(struct fs_runner *r, const struct fs_sequence *s, struct load_limits *limits,
	       struct hf_crash_result *sum, bool *more)
{
	struct hf_crash_result res;
	bool same;
	int err = fs_runner_explore(r, s, &res, &same);

	if (!err)
		*more = load_add(limits, sum, &res);
	return err;
}

static int all(struct fs_runner *r, const struct load *l, struct load_limits *limits,
	       struct hf_crash_result *sum)
{
	bool more = true;
	int err = 0;

	for (size_t i = 0; i < fs_ops_count() && more && !err; i++) {
		if (strcmp(fs_kind_name(fs_op_at(i)->kind), l->lists[0]) != 0)
			continue;
		for (const char *p = l->lists[1]; *p && more && !err; p++) {
			struct fs_sequence s = {.setup = (unsigned)(*p - '0'), .n = 1, .op = {i}};

			err = one(r, &s, limits, sum, &more);
		}
	}
	return err;
}

static int run(const struct load *l, uint32_t bad_pages, struct load_limits *limits,
	       struct hf_crash_result *sum)
{
	struct hf_crash_options o = {.struct_size = sizeof(o),
				     .model = {.granularity = l->granularity},
				     .seed = limits->seed,
				     .max_images = limits->max_images,
				     .seconds = limits->seconds,
				     .bad_pages = bad_pages};
	struct fs_runner *r = fs_runner_new(&o, on_failure, limits);
	struct hf_crash_result res;
	int err;

	if (!r)
		return -ENOMEM;
	if (!limits->replay) {
		err = all(r, l, limits, sum);
	} else {
		err = fs_runner_replay(r, limits->replay, &res);
		if (!err)
			load_add(limits, sum, &res);
	}
	fs_runner_free(r);
	return err;
}

int oload_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	return run(l, 0, limits, sum);
}

int oload_run_bad(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	return run(l, 24, limits, sum);
}
