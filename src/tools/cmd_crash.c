/* holdfast crash: sequences of operations on a simulated device, each crash state of them recovered and checked. */
#include "crash/fs_threads.h"
#include "tool.h"
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_SECONDS = 20, DEFAULT_IMAGES = 128, FAILURES_MAX = 10, ROUND = 256, ROUND_TIMED = 8 };

struct crash_cmd {
	uint64_t seed;
	unsigned depth;			/* 0: one, then two */
	unsigned threads;		/* operations of each of two threads; 0: sequences */
	uint32_t images, recovery, recovery_from, bad_pages;
	uint64_t part, parts;		/* this process does those whose number is part, modulo parts */
	uint64_t most;			/* sequences of each length; 0: all */
	double seconds;			/* 0: no limit */
	const char *replay;
	bool json;
	struct hf_crash_model model;
	size_t op[256], nops;		/* of the table, that are in use */
	bool kinds[FS_KINDS], any_kind;
	/* while it runs */
	struct fs_runner *runner;
	struct fs_pair *pair;
	struct hf_crash_result total;
	uint64_t sequences, same;	/* same: as a shorter one */
	bool complete, sample;
	json_t *failures;
	struct progress bar;
	int64_t t0;
};

/* ---- options */

static bool choose_kinds(struct crash_cmd *c, const char *list)
{
	char *copy = strdup(list), *save = NULL, *word;
	bool ok = copy != NULL;

	for (word = copy ? strtok_r(copy, ",", &save) : NULL; word && ok; word = strtok_r(NULL, ",", &save)) {
		unsigned k = 0;

		while (k < FS_KINDS && strcmp(word, fs_kind_name(k)))
			k++;
		ok = k < FS_KINDS;
		if (ok)
			c->kinds[k] = c->any_kind = true;
	}
	free(copy);
	return ok && c->any_kind;
}

static bool choose_model(struct crash_cmd *c, const char *name)
{
	if (!strcmp(name, "byte"))
		c->model.granularity = HF_CRASH_BYTE;
	else if (!strcmp(name, "page"))
		c->model.granularity = HF_CRASH_PAGE;
	else if (!strcmp(name, "any-order"))
		c->model.any_order = true;
	else
		return !strcmp(name, "line");
	return true;
}

/* "2/3" */
static bool choose_part(struct crash_cmd *c, const char *arg)
{
	unsigned part, parts;
	int end = 0;

	if (sscanf(arg, "%4u/%4u%n", &part, &parts, &end) != 2 || arg[end] || part == 0 || part > parts)
		return false;
	c->part = part - 1;
	c->parts = parts;
	return true;
}

static bool crash_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct crash_cmd *c = ctx;
	uint64_t n;

	(void)letter;
	if (!strcmp(name, "seed"))
		return tool_parse_number(arg, 10, UINT64_MAX, &c->seed);
	if (!strcmp(name, "sequences"))
		return tool_parse_number(arg, 10, UINT64_MAX, &c->most) && c->most > 0;
	if (!strcmp(name, "part"))
		return choose_part(c, arg);
	if (!strcmp(name, "ops"))
		return choose_kinds(c, arg);
	if (!strcmp(name, "model"))
		return choose_model(c, arg);
	if (!strcmp(name, "replay")) {
		c->replay = arg;
		return true;
	}
	if (!strcmp(name, "depth")) {
		if (!tool_parse_number(arg, 10, FS_SEQUENCE_MAX, &n) || n == 0)
			return false;
		c->depth = (unsigned)n;
	} else if (!strcmp(name, "threads")) {
		if (!tool_parse_number(arg, 10, FS_THREADS_OPS, &n) || n == 0)
			return false;
		c->threads = (unsigned)n;
	} else if (!strcmp(name, "poison")) {
		if (!tool_parse_number(arg, 10, 1u << 16, &n))
			return false;
		c->bad_pages = (uint32_t)n;
	} else if (!strcmp(name, "images")) {
		if (!tool_parse_number(arg, 10, 1u << 20, &n) || n == 0)
			return false;
		c->images = (uint32_t)n;
	} else if (!strcmp(name, "recovery-from")) {
		if (!tool_parse_number(arg, 10, 1u << 20, &n) || n == 0)
			return false;
		c->recovery_from = (uint32_t)n;
	} else if (!strcmp(name, "recovery")) {
		if (!tool_parse_number(arg, 10, 1u << 20, &n) || n == 0)
			return false;
		c->recovery = (uint32_t)n;
	} else {
		if (!tool_parse_number(arg, 10, 1u << 30, &n))
			return false;
		c->seconds = (double)n;
	}
	return true;
}

/* ---- what is found */

static json_t *lines_of(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t n = strcspn(text, "\n");

		json_array_append_new(list, json_stringn(text, n));
		text += n + (text[n] == '\n');
	}
	return list;
}

static void indent(const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		printf("    %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

static void on_failure(void *ctx, const struct hf_crash_failure *f, const char *sequence)
{
	struct crash_cmd *c = ctx;

	json_array_append_new(c->failures, json_pack("{s:s,s:s,s:s,s:s,s:o,s:o}", "id", f->id, "sequence", sequence, "operation",
						     f->op, "where", f->where, "text", lines_of(f->text), "left_out",
						     lines_of(f->left_out)));
	if (c->json)
		return;
	progress_end(&c->bar);
	printf("%s\n  of: %s\n  crashed %s\n", f->id, sequence, f->where);
	if (*f->left_out) {
		printf("  left out:\n");
		indent(f->left_out);
	}
	printf("  found:\n");
	indent(f->text);
}

static void add(struct crash_cmd *c, const struct hf_crash_result *r)
{
	c->total.points += r->points;
	c->total.states += r->states;
	c->total.images += r->images;
	c->total.kills += r->kills;
	c->total.recovery_images += r->recovery_images;
	c->total.failures += r->failures;
}

static double elapsed(const struct crash_cmd *c)
{
	return (double)(tool_now_ns() - c->t0) / 1e9;
}

static int print_result(struct crash_cmd *c)
{
	const struct hf_crash_result *t = &c->total;
	double seconds = elapsed(c);
	int status = t->failures ? EXIT_FAILED : EXIT_OK;

	progress_end(&c->bar);
	if (c->json) {
		int printed = tool_json_print(json_pack(
			"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:b,s:O}", "seed", (json_int_t)c->seed, "sequences", (json_int_t)c->sequences,
			"same", (json_int_t)c->same, "points", (json_int_t)t->points, "states", (json_int_t)t->states, "images",
			(json_int_t)t->images, "kills", (json_int_t)t->kills, "recovery_images", (json_int_t)t->recovery_images, "seconds", seconds, "complete",
			c->complete, "failures", c->failures));

		return printed == EXIT_OK ? status : printed;
	}
	printf("seed %llu: %llu %s%s, ", (unsigned long long)c->seed, (unsigned long long)c->sequences, c->threads ? "runs" : "sequences",
	       c->complete ? ", all of them" : "");
	if (c->same)
		printf("%llu of them no more than shorter ones, ", (unsigned long long)c->same);
	printf("%llu crash states, %llu images checked (%llu of crashed recoveries), %.1f s, %llu failures\n",
	       (unsigned long long)t->states, (unsigned long long)t->images, (unsigned long long)t->recovery_images, seconds,
	       (unsigned long long)t->failures);
	return status;
}

/* ---- sequences */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* The ith list of n operations. */
static struct fs_sequence nth_sequence(const struct crash_cmd *c, unsigned setup, unsigned n, uint64_t i)
{
	struct fs_sequence s = {.setup = setup, .n = n};

	for (unsigned k = 0; k < n; k++, i /= c->nops)
		s.op[k] = c->op[i % c->nops];
	return s;
}

static void show_bar(struct crash_cmd *c, uint64_t done, uint64_t total)
{
	if (c->seconds > 0 && (double)done / (double)total < elapsed(c) / c->seconds)
		progress_update(&c->bar, (uint64_t)elapsed(c), (uint64_t)c->seconds, "s");
	else
		progress_update(&c->bar, done, total, "sequences");
}

/* False in *go_on: the time is over, or there are enough failures. */
static int run_one(struct crash_cmd *c, const struct fs_sequence *s, bool *go_on)
{
	struct hf_crash_result r;
	bool same;
	int err;

	*go_on = *go_on && (c->seconds == 0 || elapsed(c) < c->seconds) && c->total.failures < FAILURES_MAX;
	if (!*go_on)
		return 0;
	if (c->seconds > 0)
		fs_runner_limit(c->runner, c->seconds - elapsed(c) + 0.001);
	err = fs_runner_explore(c->runner, s, &r, &same);
	add(c, &r);
	c->sequences++;
	c->same += same;
	*go_on = !r.stopped || r.failures > 0;
	return err;
}

/* All sequences of n operations, in an order of the seed's: a few lists of operations after one setup, the same after the next
 * one (changing the setup costs something), then the next few. */
static int run_length(struct crash_cmd *c, unsigned n, bool *go_on)
{
	uint64_t lists = 1, total, step, at, done = 0, round;
	int err = 0;

	for (unsigned k = 0; k < n; k++)
		lists *= c->nops;
	total = c->most ? min_u64(c->most, lists * FS_SETUPS_USED) : lists * FS_SETUPS_USED;
	round = min_u64(c->seconds > 0 ? ROUND_TIMED : ROUND, (total + FS_SETUPS_USED - 1) / FS_SETUPS_USED);
	at = hash_mix2(c->seed, n) % lists;
	step = hash_mix2(c->seed, n + 100) % lists | 1;
	while (gcd(step, lists) != 1)
		step += 2;
	for (uint64_t from = 0; from < lists && !err; from += round)
		for (unsigned setup = 0; setup < FS_SETUPS_USED && !err; setup++)
			for (uint64_t i = from; i < min_u64(from + round, lists) && done < total && *go_on && !err; i++) {
				struct fs_sequence s = nth_sequence(c, setup, n, (at + i * (step % lists)) % lists);

				if (i % c->parts == c->part)
					err = run_one(c, &s, go_on);
				show_bar(c, ++done, total);
			}
	c->sample = c->sample || c->parts > 1 || total < lists * FS_SETUPS_USED;
	return err;
}

static int run_all(struct crash_cmd *c)
{
	unsigned to = c->depth ? c->depth : 2;
	bool go_on = true;
	int err = 0;

	for (unsigned n = 1; n <= to && go_on && !err; n++)
		err = run_length(c, n, &go_on);
	c->complete = go_on && !err && !c->sample;
	return err;
}

/* ---- two threads */

static bool time_is_left(const struct crash_cmd *c)
{
	return (c->seconds == 0 || elapsed(c) < c->seconds) && c->total.failures < FAILURES_MAX;
}

/* Many operations each in trees of their own; between two such runs, short ones on the same files. */
static int run_threads(struct crash_cmd *c)
{
	enum { SHORT_RUNS = 15 };
	uint64_t most = c->most ? c->most : FS_THREADS_RUNS;
	int err = 0;

	for (uint64_t i = 0; i < min_u64(most, FS_THREADS_RUNS) && !err && time_is_left(c); i++) {
		struct fs_threads t = {.orders = i % (SHORT_RUNS + 1) != 0, .nops = c->threads, .run = (uint32_t)i};
		struct hf_crash_result r;

		if (t.orders && t.nops > FS_ORDERS_STEPS)
			t.nops = 1 + (unsigned)(i / FS_SCHEDULES % FS_ORDERS_STEPS);
		if (c->seconds > 0)
			fs_pair_limit(c->pair, c->seconds - elapsed(c) + 0.001);
		err = fs_pair_explore(c->pair, &t, &r);
		add(c, &r);
		c->sequences++;
		if (c->seconds > 0)
			progress_update(&c->bar, (uint64_t)elapsed(c), (uint64_t)c->seconds, "s");
		else
			progress_update(&c->bar, i + 1, most, "runs");
	}
	return err;
}

static int run_replay(struct crash_cmd *c)
{
	struct fs_threads of_threads;
	struct hf_crash_result r;
	uint32_t number;
	int err = hf_crash_id_parse(c->replay, &c->seed, &number);

	if (!err && fs_threads_of(number, &of_threads))
		err = fs_pair_replay(c->pair, c->replay, &r);
	else if (!err)
		err = fs_runner_replay(c->runner, c->replay, &r);
	if (err)
		return err;
	add(c, &r);
	c->sequences = 1;
	return 0;
}

static void use_ops(struct crash_cmd *c)
{
	for (size_t i = 0; i < fs_ops_count() && c->nops < sizeof(c->op) / sizeof(c->op[0]); i++)
		if (!c->any_kind || c->kinds[fs_op_at(i)->kind])
			c->op[c->nops++] = i;
}

static int crash_run(struct crash_cmd *c)
{
	struct hf_crash_options o = {.struct_size = sizeof(o),
				     .seed = c->seed,
				     .model = c->model,
				     .max_images = c->images,
				     .max_recovery_images = c->recovery,
				     .all_below = c->images,
				     .bad_pages = c->bad_pages};
	int err;

	/* Each mount has tables of some 100 KiB: they need not be mapped anew. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_ARENA_MAX, 1);
	use_ops(c);
	c->runner = fs_runner_new(&o, on_failure, c);
	c->pair = fs_pair_new(&o, on_failure, c);
	c->failures = json_array();
	if (!c->runner || !c->pair || !c->failures)
		return tool_fail(-ENOMEM, "crash");
	fs_runner_recovery_from(c->runner, c->recovery_from);
	c->t0 = tool_now_ns();
	progress_begin(&c->bar, "exploring", !c->json && !c->replay);
	err = c->replay ? run_replay(c) : c->threads ? run_threads(c) : run_all(c);
	progress_end(&c->bar);
	return err ? tool_fail(err, "%s", c->replay ? c->replay : "exploring") : print_result(c);
}

int cmd_crash(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"seed", 0, true, "which sample; printed, and in each id (default 1)"},
		{"ops", 0, true, "only these operations: create,write,rename ..."},
		{"depth", 0, true, "all sequences of up to so many operations (1 to 3), not a sample"},
		{"threads", 0, true, "two threads, interleaved: long runs of so many operations each, and short ones on the same files"},
		{"seconds", 0, true, "stop after so long; 0: never (default 20, with --depth and --threads 0)"},
		{"sequences", 0, true, "at most so many of each length, chosen by the seed, or runs of threads (default: all)"},
		{"part", 0, true, "I/N: the Ith of N parts; as many processes as there are parts do all"},
		{"images", 0, true, "at most so many images at a crash (default 128)"},
		{"recovery", 0, true, "at most so many at each fence of a recovery (default 16)"},
		{"recovery-from", 0, true, "crash recovery from one image in so many only (default 1)"},
		{"poison", 0, true, "at each crash so many images more, each with a page of bad media (default 0; not with --threads)"},
		{"model", 0, true, "line, byte (eADR), page (msync), any-order"},
		{"replay", 0, true, "check the one image that this id names"},
		{0},
	};
	struct crash_cmd c = {.seed = 1, .images = DEFAULT_IMAGES, .seconds = -1, .parts = 1};
	int status = tool_options(argc, argv, "[options]",
				  "Does sequences of one and of two operations on a simulated device in memory. At each fence and after each\n"
				  "operation it takes what a power failure or a kill could leave, recovers that, crashes the recovery too, and\n"
				  "checks: it mounts, the structures are sound, what had finished is there, what was under way is there wholly\n"
				  "or not at all, the volume can be emptied and filled. A failure prints an id for --replay. No volume is needed.",
				  options, true, crash_option, &c, &c.json);

	if (status >= 0)
		return status;
	if (optind < argc)
		return tool_usage("no operands: %s", argv[optind]);
	if (c.threads && (c.depth || c.any_kind))
		return tool_usage("--threads goes with neither --depth nor --ops");
	if (c.threads && c.bad_pages)
		return tool_usage("--threads does not go with --poison");
	if (c.threads && c.parts > 1)
		return tool_usage("--threads does not go with --part: give each process a seed of its own");
	if (c.seconds < 0)
		c.seconds = c.depth || c.threads ? 0 : DEFAULT_SECONDS;
	status = crash_run(&c);
	fs_runner_free(c.runner);
	fs_pair_free(c.pair);
	json_decref(c.failures);
	return status;
}
