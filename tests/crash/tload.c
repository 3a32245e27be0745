#include "tload.h"

#include "crash/fs_threads.h"

enum { TREES_OPS = 20, IMAGES = 12, RUNS = 2000 };

static void failed(void *ctx, const struct hf_crash_failure *f, const char *what)
{
	struct load_limits *limits = ctx;

	if (!limits->quiet)
		printf("    %s\n", what);
	load_failed(limits, f);
}

static int runs(bool orders, struct fs_pair *p, struct load_limits *limits,
		struct hf_crash_result *sum)
{
	bool more = true;
	int err = 0;

	for (uint32_t i = 0; i < RUNS && more && !err; i++) {
		struct fs_threads t = {.orders = orders, .nops = orders ? 1 + i / FS_SCHEDULES % FS_ORDERS_STEPS : TREES_OPS, .run = i};
		struct hf_crash_result r;

		if (limits->seconds > 0)
			fs_pair_limit(p, limits->seconds - sum->seconds + 0.001);
		err = fs_pair_explore(p, &t, &r);
		more = !err && load_add(limits, sum, &r);
	}
	return err;
}

static int explore(bool orders, struct load_limits *limits, struct hf_crash_result *sum)
{
	struct hf_crash_options o = {.struct_size = sizeof(o),
				     .seed = limits->seed,
				     .max_images = IMAGES,
				     .all_below = IMAGES};
	struct fs_pair *p = fs_pair_new(&o, failed, limits);
	struct hf_crash_result r;
	int err;

	if (!p)
		return -ENOMEM;
	if (limits->replay) {
		err = fs_pair_replay(p, limits->replay, &r);
		load_add(limits, sum, &r);
	} else {
		err = runs(orders, p, limits, sum);
	}
	fs_pair_free(p);
	return err;
}

int tload_trees(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	(void)l;
	return explore(false, limits, sum);
}

int tload_orders(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	(void)l;
	return explore(true, limits, sum);
}
