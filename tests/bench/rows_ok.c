/* rows_ok GROUP...: standard input is what 'holdfast bench --json' prints, with rows of these groups, each, and of no others. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int bad;

static void wrong(const char *what, const char *name)
{
	fprintf(stderr, "%s: %s\n", name ? name : "?", what);
	bad = 1;
}

static double number(json_t *row, const char *key, const char *name)
{
	json_t *v = json_object_get(row, key);
	double d = json_number_value(v);

	if (!json_is_number(v) || !isfinite(d) || d < 0)
		wrong(key, name);
	return d;
}

static void check_ratio(json_t *row, const char *name)
{
	double ratio = number(row, "ratio", name), low = number(row, "ratio_low", name), high = number(row, "ratio_high", name);
	double target = number(row, "target", name);
	int higher = json_is_true(json_object_get(row, "higher_is_better"));

	if (number(row, "ns", name) <= 0)
		wrong("took no time", name);
	number(row, "raw_ns", name);
	if (low > ratio || ratio > high)
		wrong("the quartiles are not around the median", name);
	if (!json_string_length(json_object_get(row, "raw")))
		wrong("does not say what it is compared with", name);
	if (target > 0 && json_is_true(json_object_get(row, "reached")) != (higher ? ratio >= target : ratio <= target))
		wrong("'reached' is not what the target says", name);
}

static void check_columns(json_t *row, const char *name, const char *const *key)
{
	for (; *key; key++)
		number(row, *key, name);
}

static void check_row(json_t *row)
{
	static const char *const media[] = {"payload", "stores", "cached_bytes", "nontemporal_bytes", "lines", "fences", "later_lines",
					    "later_fences", "amplification", NULL};
	static const char *const latency[] = {"samples", "p50", "p90", "p99", "p99.9", "p99.99", "max", "timer_ns", NULL};
	const char *name = json_string_value(json_object_get(row, "name")), *group = json_string_value(json_object_get(row, "group"));

	if (!name || !*name || !group)
		wrong("a row without a name or a group", name);
	else if (json_object_get(row, "note"))
		return;
	else if (json_object_get(row, "bytes"))
		number(row, "bytes", name);
	else if (!strcmp(group, "media"))
		check_columns(row, name, media);
	else if (!strcmp(group, "latency"))
		check_columns(row, name, latency);
	else
		check_ratio(row, name);
}

static void check_groups(json_t *rows, char **want)
{
	json_t *row;
	size_t i, k, found;

	for (k = 0; want[k]; k++) {
		found = 0;
		json_array_foreach (rows, i, row)
			found += !strcmp(json_string_value(json_object_get(row, "group")), want[k]);
		if (!found)
			wrong("no row of this group", want[k]);
	}
	json_array_foreach (rows, i, row) {
		for (k = 0; want[k] && strcmp(json_string_value(json_object_get(row, "group")), want[k]); k++)
			;
		if (!want[k])
			wrong("this group was not asked for", json_string_value(json_object_get(row, "group")));
	}
}

static void check_plots(json_t *plots)
{
	json_t *lines, *points, *point;
	const char *plot, *line;
	size_t i;

	json_object_foreach (plots, plot, lines) {
		json_object_foreach (lines, line, points) {
			if (!json_array_size(points))
				wrong("a line without points", plot);
			json_array_foreach (points, i, point)
				if (json_array_size(point) != 2 || !isfinite(json_number_value(json_array_get(point, 0))) ||
				    !isfinite(json_number_value(json_array_get(point, 1))))
					wrong(line, plot);
		}
	}
}

int main(int argc, char **argv)
{
	json_error_t e;
	json_t *all = json_loadf(stdin, JSON_REJECT_DUPLICATES, &e), *rows = json_object_get(all, "rows"), *row;
	size_t i;

	(void)argc;
	if (!all || !json_array_size(rows) || !json_is_object(json_object_get(all, "plots"))) {
		fprintf(stderr, "not what it should print (line %d: %s)\n", e.line, all ? "no rows" : e.text);
		return 1;
	}
	number(all, "seconds", "seconds");
	json_array_foreach (rows, i, row)
		check_row(row);
	if (!bad)
		check_groups(rows, argv + 1);
	check_plots(json_object_get(all, "plots"));
	json_decref(all);
	return bad;
}
