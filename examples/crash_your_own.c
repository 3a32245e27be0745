/* A queue of our own on persistent memory, with a mistake that no ordinary test finds, and the explorer that finds it.
 *
 *	cc crash_your_own.c $(pkg-config --cflags --libs holdfast-crash)
 *	./a.out		finds a crash after which the queue has an entry that was never written
 *	./a.out --fixed	passes
 *
 * The queue: entries of 64 bytes in a row; 'tail' counts them. push() stores the entry, then the tail. The mistake: there is
 * no fence between the two. The memory may then get the tail first, and the entry never. */
#include <holdfast/crash.h>
#include <stdio.h>
#include <string.h>

#define TAIL	 0
#define ENTRY(i) (64 + 64 * (uint64_t)(i))
#define PUSHES	 3

struct entry {
	uint64_t number;
	char text[56];
};

static bool fixed;

static void fill(struct entry *e, uint64_t number)
{
	memset(e, 0, sizeof(*e));
	e->number = number;
	snprintf(e->text, sizeof(e->text), "this is entry number %llu", (unsigned long long)number);
}

static void push(hf_crash_media *m, uint64_t i)
{
	struct entry e;

	fill(&e, i);
	hf_crash_store(m, ENTRY(i), &e, sizeof(e));
	hf_crash_flush(m, ENTRY(i), sizeof(e));
	if (fixed)
		hf_crash_fence(m);
	hf_crash_store64(m, TAIL, i + 1);
	hf_crash_flush(m, TAIL, 8);
	hf_crash_fence(m);
}

static int workload(hf_crash_run *run)
{
	for (uint64_t i = 0; i < PUSHES; i++) {
		uint32_t op = hf_crash_op_begin(run, "push");

		push(hf_crash_run_media(run), i);
		hf_crash_op_end(run, op);
	}
	return 0;
}

/* What was pushed is there, and what is there was pushed. */
static int check(hf_crash_run *run)
{
	const char *at = hf_crash_media_addr(hf_crash_run_media(run));
	uint64_t tail, least = 0;

	while (hf_crash_op_state(run, (uint32_t)least) == HF_CRASH_OP_FINISHED)
		least++;
	memcpy(&tail, at + TAIL, sizeof(tail));
	if (tail < least || tail > hf_crash_ops(run))
		return hf_crash_say(run, "the tail is %llu, after %llu pushes", (unsigned long long)tail, (unsigned long long)least);
	for (uint64_t i = 0; i < tail; i++) {
		struct entry want;

		fill(&want, i);
		if (memcmp(at + ENTRY(i), &want, sizeof(want)) != 0)
			return hf_crash_say(run, "the tail is %llu, but entry %llu was never written", (unsigned long long)tail,
					    (unsigned long long)i);
	}
	return 0;
}

static void failure(void *ctx, const struct hf_crash_failure *f)
{
	(void)ctx;
	printf("%s: %s\n  left out: %s\n  once more: ./crash_your_own --replay %s\n", f->where, f->text, f->left_out, f->id);
}

int main(int argc, char **argv)
{
	struct hf_crash_options opts = {
		.struct_size = sizeof(opts),
		.raw = true,
		.seed = 1,
		.workload = workload,
		.check = check,
		.failure = failure,
	};
	struct hf_crash_result res;
	int err;

	fixed = argc > 1 && !strcmp(argv[1], "--fixed");
	if (argc > 2 && !strcmp(argv[1], "--replay"))
		err = hf_crash_replay(&opts, argv[2], &res);
	else
		err = hf_crash_explore(&opts, &res);
	if (err) {
		fprintf(stderr, "%s\n", hf_errormsg());
		return 2;
	}
	printf("%llu crash states, %llu different images, %llu failures\n", (unsigned long long)res.states,
	       (unsigned long long)res.images, (unsigned long long)res.failures);
	return res.failures ? 1 : 0;
}
