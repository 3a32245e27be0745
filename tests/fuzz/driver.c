/* Replays inputs without a fuzzer: fuzz_NAME [--update | --image FILE] FILE-OR-FOLDER...
 *
 * Each FILE.bin is run; where FILE.want is beside it, what a mount and fsck say of the image must be what stands there (--update
 * writes it anew). --image FILE writes the image of the one input, for the tools. */
#include "target.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 1 << 16 };

static bool update, failed;
static unsigned inputs;

static size_t slurp(const char *path, uint8_t *to, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return 0;
	n = fread(to, 1, room, f);
	fclose(f);
	return n;
}

static void compare(const char *path, const char *verdict)
{
	char want_path[4096], want[512];
	FILE *f;

	snprintf(want_path, sizeof(want_path), "%.*s.want", (int)(strlen(path) - 4), path);
	if (update) {
		f = fopen(want_path, "we");
		if (!f || fprintf(f, "%s\n", verdict) < 0 || fclose(f) != 0)
			failed = true;
		return;
	}
	want[slurp(want_path, (uint8_t *)want, sizeof(want) - 1)] = '\0';
	want[strcspn(want, "\n")] = '\0';
	if (strcmp(want, verdict) != 0) {
		fprintf(stderr, "%s: '%s', not '%s'\n", path, verdict, want);
		failed = true;
	}
}

static void run_file(const char *path)
{
	static uint8_t data[INPUT_MAX];
	size_t n = slurp(path, data, sizeof(data));
	char verdict[512] = "";

	inputs++;
	fprintf(stderr, "%s\n", path);
	(void)LLVMFuzzerTestOneInput(data, n);
	target_verdict(data, n, verdict, sizeof(verdict));
	if (strlen(path) > 4 && !strcmp(path + strlen(path) - 4, ".bin"))
		compare(path, verdict);
	else
		puts(verdict);
}

static void run_folder(const char *path, DIR *d)
{
	struct dirent *e;
	char file[4096];

	for (e = readdir(d); e; e = readdir(d)) {
		size_t n = strlen(e->d_name);

		if (n < 4 || strcmp(e->d_name + n - 4, ".bin") != 0)
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		run_file(file);
	}
}

static int write_image(const char *to, const char *input)
{
	static uint8_t data[INPUT_MAX];
	size_t n = slurp(input, data, sizeof(data));
	FILE *f = fopen(to, "we");
	int err = f ? target_write(data, n, f) : -1;

	if (f && fclose(f) != 0)
		err = -1;
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	int i = 1;

	if (argc == 4 && !strcmp(argv[1], "--image"))
		return write_image(argv[2], argv[3]);
	if (argc > 1 && !strcmp(argv[1], "--update")) {
		update = true;
		i++;
	}
	for (; i < argc; i++) {
		DIR *d = opendir(argv[i]);

		if (d) {
			run_folder(argv[i], d);
			closedir(d);
		} else {
			run_file(argv[i]);
		}
	}
	fprintf(stderr, "%u inputs\n", inputs);
	return failed || inputs == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
