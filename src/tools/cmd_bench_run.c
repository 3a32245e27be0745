/* The instrument: pairs, medians, quartiles, and how a result is told. */
#include "bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

double bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

uint64_t bench_random(struct bench *b)
{
	b->rng ^= b->rng << 13;
	b->rng ^= b->rng >> 7;
	b->rng ^= b->rng << 17;
	return b->rng;
}

void bench_must(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	tool_fail((int)ret, "%s", what);
	exit(EXIT_FAILED);
}

unsigned bench_count(const struct bench *b, unsigned n)
{
	return b->quick && n > 64 ? 64 : n;
}

void bench_sys(int64_t ret, const char *what)
{
	if (ret >= 0)
		return;
	tool_error("%s: %s", what, strerror(errno));
	exit(EXIT_FAILED);
}

uint64_t bench_bytes(const struct bench *b, uint64_t n)
{
	return b->quick ? min_u64(n, 16ull << 20) : n;
}

unsigned bench_rounds(const struct bench *b, unsigned n)
{
	return b->quick ? 2 : n;
}

int bench_compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), bench_compare_double);
	return v[n / 2];
}

const char *bench_size(uint64_t bytes, char buf[16])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned i = 0;

	for (; i < 4 && bytes >= 1024 && bytes % 1024 == 0; i++)
		bytes /= 1024;
	snprintf(buf, 16, "%u %s", (unsigned)bytes, unit[i]);
	return buf;
}

void bench_pairs(struct bench_result *r, const double *ours, const double *raw, unsigned n)
{
	double our[BENCH_ROUNDS_MAX], their[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	unsigned i;

	for (i = 0; i < n; i++) {
		our[i] = ours[i];
		their[i] = raw ? raw[i] : 0;
	}
	r->ns = bench_median(our, n);
	r->raw_ns = bench_median(their, n);
	for (i = 0; i < n; i++)
		ratio[i] = !raw ? ours[i] / r->ns : r->faster ? raw[i] / ours[i] : ours[i] / raw[i];
	r->ratio = bench_median(ratio, n);
	r->low = ratio[n / 4];
	r->high = ratio[n - 1 - n / 4];
}

void bench_add(struct bench *b, json_t *row)
{
	if (!row || json_array_append_new(b->rows, row))
		bench_must(-EDOM, "a figure of this row is no number");
}

static bool reached(const struct bench_result *r)
{
	return r->target <= 0 || (r->faster ? r->ratio >= r->target : r->ratio <= r->target);
}

void bench_report(struct bench *b, const struct bench_result *r)
{
	char ratio[32] = "", target[32] = "", spread[32] = "";

	bench_add(b, json_pack("{s:s,s:s,s:f,s:f,s:s,s:f,s:f,s:f,s:f,s:b,s:b}", "group", b->group, "name", r->name, "ns", r->ns,
						 "raw_ns", r->raw_ns, "raw", r->raw_name, "ratio", r->ratio, "ratio_low", r->low, "ratio_high",
						 r->high, "target", r->target, "higher_is_better", r->faster, "reached", reached(r)));
	if (b->json)
		return;
	if (r->raw_ns > 0)
		snprintf(ratio, sizeof(ratio), "%.2f", r->ratio);
	if (r->low > 0)
		snprintf(spread, sizeof(spread), "%.2f..%.2f", r->low, r->high);
	if (r->target > 0)
		snprintf(target, sizeof(target), "%s %.2f%s", r->faster ? ">=" : "<=", r->target, reached(r) ? "" : " *");
	printf("%-50s %11.0f %9.0f %8s %15s %-10s %s\n", r->name, r->ns, r->raw_ns, ratio, spread, target, r->raw_name);
	fflush(stdout);
}

void bench_single(struct bench *b, const char *name, double ns)
{
	bench_report(b, &(struct bench_result){.name = name, .raw_name = "-", .ns = ns});
}

void bench_note(struct bench *b, const char *name, const char *text)
{
	bench_add(b, json_pack("{s:s,s:s,s:s}", "group", b->group, "name", name, "note", text));
	if (!b->json)
		printf("%-50s %s\n", name, text);
}

void bench_point(struct bench *b, const char *plot, const char *line, double x, double y)
{
	json_t *lines = json_object_get(b->plots, plot), *points;

	if (!lines) {
		lines = json_object();
		json_object_set_new(b->plots, plot, lines);
	}
	points = json_object_get(lines, line);
	if (!points) {
		points = json_array();
		json_object_set_new(lines, line, points);
	}
	if (json_array_append_new(points, json_pack("[f,f]", x, y)))
		bench_must(-EDOM, line);
}

static double timed(struct bench *b, bench_fn *fn, void *ctx, unsigned ops)
{
	double t0 = bench_now_ns();

	fn(b, ctx, ops);
	return (bench_now_ns() - t0) / ops;
}

long bench_preemptions(void)
{
	struct rusage use;

	return getrusage(RUSAGE_THREAD, &use) ? 0 : use.ru_nivcsw;
}

/* One pair. The order is swapped each round: who comes second finds other things in the caches. True: nobody came in between. */
static bool round_of(struct bench *b, const struct bench_row *row, bool raw_first, double *ours, double *raw)
{
	unsigned ops = bench_count(b, row->ops), raw_ops = row->raw_ops ? bench_count(b, row->raw_ops) : ops;
	long before, after;

	if (row->prepare)
		row->prepare(b, row->ctx, ops);
	before = bench_preemptions();
	if (row->raw && raw_first)
		*raw = timed(b, row->raw, row->ctx, raw_ops);
	*ours = timed(b, row->ours, row->ctx, ops);
	if (row->raw && !raw_first)
		*raw = timed(b, row->raw, row->ctx, raw_ops);
	after = bench_preemptions();
	if (row->undo)
		row->undo(b, row->ctx, ops);
	return after == before;
}

/* A pair that was disturbed is measured again, but not for ever. */
struct bench_result bench_run(struct bench *b, const struct bench_row *row)
{
	struct bench_result r = {.name = row->name, .raw_name = row->raw ? row->raw_name : "-", .target = row->target, .faster = row->faster};
	unsigned i, rounds = bench_rounds(b, row->rounds ? row->rounds : BENCH_ROUNDS), again = b->quick ? 0 : 2 * rounds;
	double ours[BENCH_ROUNDS_MAX], raw[BENCH_ROUNDS_MAX];

	for (i = 0; i < rounds; i++)
		while (!round_of(b, row, i & 1, &ours[i], &raw[i]) && again)
			again--;
	bench_pairs(&r, ours, row->raw ? raw : NULL, rounds);
	bench_report(b, &r);
	return r;
}
