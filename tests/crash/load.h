/* Workloads under the crash explorer, by name: for the tests of the known classes of bugs, and for the deliberate faults of
 * tests/crash/mutants. */
#ifndef HF_TESTS_CRASH_LOAD_H
#define HF_TESTS_CRASH_LOAD_H

#include "crash/fs.h"
#include "crash/sched.h"

enum {
	LOAD_FILES = 2,
	LOAD_STEPS = 12,
	LOAD_OLD_BYTE = 0xee, /* of files that are removed before anything else: nobody may see it again */
};

/* Who runs the steps: under the explorer, or before, to know what is there after each. */
struct load_world {
	hf_volume *vol;
	hf_crash_run *run; /* NULL: not under the explorer */
	hf_file *file[LOAD_FILES];
};

struct load_step;
typedef int64_t load_fn(struct load_world *w, const struct load_step *s);
struct load_step {
	const char *name;
	load_fn *fn;
	const char *a, *b; /* paths */
	uint64_t off, len;
	int flags; /* of the call; or the number of a file, or of repetitions */
	bool data; /* [off, off+len) of the file a may be there in part */
};

struct load_limits;
struct load {
	const char *name, *what;
	const struct load_step *setup, *steps; /* up to one without a name */
	uint64_t bytes;			       /* of the device; 0: 8 MiB */
	enum hf_crash_granularity granularity;
	/* Two threads: the steps from here on are the second one's, one of each; explored in all schedules of one switch each. */
	const struct load_step *second;
	/* Instead of steps: a workload of its own, described by letters (jload.h). 0, or -errno: it could not be done. */
	const char *lists[2];
	int (*own)(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
};

struct load_limits {
	double seconds; /* 0: none */
	uint32_t max_images;
	uint64_t seed;
	const char *replay;
	bool quiet;
	char id[256]; /* of the first failure */
	char where[256], text[512];
};

const struct load *load_find(const char *name);
size_t load_count(void);
/* One workload. 0, also with failures; the first is in limits->id. */
int load_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum);
/* Adds the numbers of one exploration. True: go on. */
bool load_add(struct load_limits *limits, struct hf_crash_result *sum, const struct hf_crash_result *r);
void load_failed(void *limits, const struct hf_crash_failure *f);

#endif
