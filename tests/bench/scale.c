/* What a volume of some size with some files costs: memory and time of a mount, clean and after a
 * kill, the first create after it, fsck.
 *
 *   scale VOLUME --bytes SIZE --files N [--blocks N]
 *     VOLUME    is made anew, sparse, and removed in the end
 *     --files   in directories of 1,000
 *     --blocks  that each file has (0: empty files)
 *
 * Each step is a process of its own, so that memory is that of the step: anonymous pages, at most,
 * sampled each half millisecond. Prints a line of JSON. */
#include <errno.h>
#include <holdfast.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PER_DIR	  1000u
#define AT_A_KILL 1000u /* files made since the mount */

struct figures {
	double seconds, first_create;
	uint64_t memory,
	    reserved; /* bytes: touched; allocated, which a full volume may come to touch */
};

static const char *volume;
static uint64_t bytes, files, blocks, killed;
static struct figures *out; /* of the step */
static _Atomic uint64_t memory_peak, reserved_peak;

static void must(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "scale: %s: %s\n", what, hf_errormsg());
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* "RssAnon", "VmData" */
static uint64_t memory_now(const char *what)
{
	unsigned long kib = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, what, strlen(what)))
			kib = strtoul(line + strlen(what) + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return (uint64_t)kib * 1024;
}

static void most(_Atomic uint64_t *v, uint64_t now_is)
{
	if (now_is > *v)
		*v = now_is;
}

static void *memory_watch(void *arg)
{
	const struct timespec a_moment = {.tv_nsec = 500000};

	(void)arg;
	for (;;) {
		most(&memory_peak, memory_now("RssAnon"));
		most(&reserved_peak, memory_now("VmData"));
		nanosleep(&a_moment, NULL);
	}
	return NULL;
}

/* ---- steps */

static hf_volume *mount_it(void)
{
	const struct hf_mount_options opts = {
	    .struct_size = sizeof(opts), .flags = HF_MOUNT_FORCE_CACHE_LINE | HF_MOUNT_NO_MSYNC};
	hf_volume *vol;

	must(hf_mount(&vol, volume, &opts), "mount");
	return vol;
}

static void make_files(hf_volume *vol, uint64_t from, uint64_t to)
{
	static const char data[4096] = "x";
	char path[64];
	hf_file *f;

	for (uint64_t i = from; i < to; i++) {
		snprintf(path, sizeof(path), "d%llu", (unsigned long long)(i / PER_DIR));
		if (i % PER_DIR == 0)
			must(hf_mkdir(vol, path, 0755), path);
		snprintf(path, sizeof(path), "d%llu/f%llu", (unsigned long long)(i / PER_DIR),
			 (unsigned long long)i);
		must(hf_open(vol, path, HF_O_WRONLY | HF_O_CREAT | HF_O_EXCL, 0644, &f), path);
		for (uint64_t b = 0; b < blocks; b++)
			must(hf_pwrite(f, data, sizeof(data), b * sizeof(data)), path);
		must(hf_close(&f), path);
	}
}

static void step_make(void)
{
	const struct hf_format_options opts = {
	    .struct_size = sizeof(opts), .bytes = bytes, .sparse = true, .force = true};
	hf_volume *vol;

	must(hf_format(volume, &opts), "format");
	vol = mount_it();
	make_files(vol, 0, files);
	must(hf_unmount(&vol), "unmount");
}

static void step_mount(void)
{
	uint64_t before = memory_now("RssAnon"), data = memory_now("VmData");
	hf_volume *vol;
	double t = now();
	hf_file *f;

	vol = mount_it();
	out->seconds = now() - t;
	t = now();
	must(hf_open(vol, "first", HF_O_WRONLY | HF_O_CREAT, 0644, &f), "first");
	out->first_create = now() - t;
	out->memory = memory_now("RssAnon") - before;
	out->reserved = memory_now("VmData") - data;
	must(hf_close(&f), "first");
	must(hf_unmount(&vol), "unmount");
}

/* The process ends without an unmount. */
static void step_kill(void)
{
	hf_volume *vol = mount_it();
	uint64_t from = (files + PER_DIR - 1) / PER_DIR * PER_DIR + killed * AT_A_KILL;

	make_files(vol, from, from + AT_A_KILL);
	_exit(0);
}

static void step_check(void)
{
	const struct hf_check_options opts = {.struct_size = sizeof(opts)};
	struct hf_check_result result;
	uint64_t before = memory_now("RssAnon"), data = memory_now("VmData");
	pthread_t thread;
	double t;

	must(-pthread_create(&thread, NULL, memory_watch, NULL), "thread");
	t = now();
	must(hf_check(volume, &opts, &result), "check");
	out->seconds = now() - t;
	out->memory = memory_peak - before;
	out->reserved = reserved_peak - data;
	must(result.findings ? -EUCLEAN : 0, "the volume is damaged");
	must(result.files < files ? -EUCLEAN : 0, "files are missing");
}

static struct figures run(void (*step)(void))
{
	struct figures figures = {0};
	int pipe_fd[2], status;
	pid_t pid;

	must(pipe(pipe_fd), "pipe");
	pid = fork();
	if (pid == 0) {
		out = &figures;
		step();
		if (write(pipe_fd[1], &figures, sizeof(figures)) != (ssize_t)sizeof(figures))
			_exit(1);
		_exit(0);
	}
	must(pid, "fork");
	close(pipe_fd[1]);
	if (read(pipe_fd[0], &figures, sizeof(figures)) < 0)
		figures = (struct figures){0};
	close(pipe_fd[0]);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "scale: a step failed\n");
		unlink(volume);
		exit(1);
	}
	return figures;
}

/* The quietest of three. */
static struct figures best(void (*before)(void), void (*step)(void))
{
	struct figures best_yet = {.seconds = 1e9, .first_create = 1e9};

	for (int i = 0; i < 3; i++) {
		struct figures f;

		if (before) {
			run(before);
			killed++;
		}
		f = run(step);
		best_yet.reserved = f.reserved > best_yet.reserved ? f.reserved : best_yet.reserved;
		best_yet.memory = f.memory > best_yet.memory ? f.memory : best_yet.memory;
		best_yet.seconds = f.seconds < best_yet.seconds ? f.seconds : best_yet.seconds;
		best_yet.first_create =
		    f.first_create < best_yet.first_create ? f.first_create : best_yet.first_create;
	}
	return best_yet;
}

static uint64_t number(const char *text)
{
	char *tail;
	uint64_t v = strtoull(text, &tail, 10);

	if (*tail == 'M')
		v <<= 20;
	else if (*tail == 'G')
		v <<= 30;
	else if (*tail == 'T')
		v <<= 40;
	else if (*tail)
		v = 0;
	return v;
}

int main(int argc, char **argv)
{
	struct figures clean, after_kill, check;

	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--bytes"))
			bytes = number(argv[i + 1]);
		else if (!strcmp(argv[i], "--files"))
			files = number(argv[i + 1]);
		else if (!strcmp(argv[i], "--blocks"))
			blocks = number(argv[i + 1]);
	}
	if (argc % 2 || argc < 6 || !bytes || !files) {
		fprintf(stderr, "usage: scale VOLUME --bytes SIZE --files N [--blocks N]\n");
		return 2;
	}
	volume = argv[1];
	run(step_make);
	clean = best(NULL, step_mount);
	after_kill = best(step_kill, step_mount);
	check = best(NULL, step_check);
	unlink(volume);
	printf("{\"bytes\": %llu, \"files\": %llu, \"blocks\": %llu, \"mount_ms\": %.3f, "
	       "\"killed_ms\": %.3f, "
	       "\"first_create_us\": %.1f, \"mount_mib\": %.2f, \"mount_reserved_mib\": %.2f, "
	       "\"fsck_ms\": %.1f, "
	       "\"fsck_mib\": %.2f, \"fsck_reserved_mib\": %.2f}\n",
	       (unsigned long long)bytes, (unsigned long long)files, (unsigned long long)blocks,
	       clean.seconds * 1e3, after_kill.seconds * 1e3, clean.first_create * 1e6,
	       (double)clean.memory / 1048576, (double)clean.reserved / 1048576,
	       check.seconds * 1e3, (double)check.memory / 1048576,
	       (double)check.reserved / 1048576);
	return 0;
}
