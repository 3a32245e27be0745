/* The two halves of a power cut, in a guest whose machine is killed: powercut.sh.
 *
 *	powercut work DEVICE LOG     mounts, says 'working', and works until it is cut off
 *	powercut check DEVICE LOG    after the next boot: the volume is sound, and what had returned is there
 *
 * LOG is another device: it outlives the machine as the volume does, and what is stored there before and after each operation costs nothing.
 * A device without a log is formatted. 'check' exits with 1 if anything is missing or wrong.
 */
#include "system/crash_work.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC	  0x706f776572637574ull
#define LOG_BYTES (64ull << 20)

struct memory {
	uint64_t magic, rounds;
	_Atomic uint64_t worked; /* the logs say what was done since the last check */
	struct work_log logs[WORK_THREADS];
};
_Static_assert(sizeof(struct memory) <= LOG_BYTES, "the log's device");

static const char *const prefixes[WORK_THREADS] = {"/t0", "/t1"};

static struct memory *memory_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	return p;
}

static int volume_make(struct crash_work *cw, struct memory *mem)
{
	const struct hf_format_options o = {.struct_size = sizeof(o), .force = true, .uid = 1000, .gid = 100};
	int err = hf_format(cw->path, &o);

	if (err) {
		fprintf(stderr, "powercut: format: %s\n", hf_errormsg());
		return err;
	}
	memset(mem, 0, sizeof(*mem));
	mem->magic = MAGIC;
	return 0;
}

/* As it was found, then as recovery left it. */
static int volume_check(struct crash_work *cw, struct memory *mem)
{
	struct hf_check_result res;
	struct hf_info info = {0};
	hf_volume *vol;
	int err = 0;

	if (verify_check(&cw->v, NULL, cw->path, &res))
		return work_fail(cw, NULL, NULL);
	if (mem->worked)
		err = work_replay(cw);
	if (err || work_mount(cw, &vol))
		return 1;
	hf_info(vol, &info);
	if (verify_check(&cw->v, vol, NULL, &res))
		return work_fail(cw, NULL, NULL);
	if (mem->worked)
		err = work_verify(cw, vol);
	if (!err && res.orphans) {
		snprintf(cw->v.text, sizeof(cw->v.text), "%llu orphans are left after the mount", (unsigned long long)res.orphans);
		err = work_fail(cw, NULL, NULL);
	}
	if (hf_unmount(&vol) && !err) {
		snprintf(cw->v.text, sizeof(cw->v.text), "unmount: %s", hf_errormsg());
		err = work_fail(cw, NULL, NULL);
	}
	printf("checked: %llu operations; in flight: %llu not at all, %llu wholly, %llu in part; %llu transactions replayed, %llu orphans finished\n",
	       (unsigned long long)cw->ops, (unsigned long long)cw->nothing, (unsigned long long)cw->whole, (unsigned long long)cw->partial,
	       (unsigned long long)info.replayed, (unsigned long long)info.orphans_finished);
	return err;
}

static int check(struct crash_work *cw, struct memory *mem)
{
	int err;

	if (mem->magic != MAGIC)
		return volume_make(cw, mem);
	cw->round = mem->rounds;
	err = volume_check(cw, mem);
	if (!err)
		atomic_store(&mem->worked, 0);
	return err;
}

static int work(struct crash_work *cw, struct memory *mem, uint64_t seed)
{
	pthread_t t[WORK_THREADS];
	hf_volume *vol;
	int err = work_mount(cw, &vol);

	for (int i = 0; i < WORK_THREADS && !err; i++)
		err = hf_mkdir(vol, prefixes[i], 0755);
	if (err) {
		fprintf(stderr, "powercut: %s\n", hf_errormsg());
		return 1;
	}
	work_clear(cw, seed);
	mem->rounds++;
	atomic_store(&mem->worked, 1);
	printf("working, seed %llu\n", (unsigned long long)seed);
	work_begin(cw, vol, t);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct work_log *logs[WORK_THREADS];
	static struct crash_work cw;
	struct memory *mem;

	if (argc < 4) {
		fprintf(stderr, "usage: powercut check|work DEVICE LOG [SEED]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	mem = memory_map(argv[3]);
	for (int i = 0; i < WORK_THREADS; i++)
		logs[i] = &mem->logs[i];
	snprintf(cw.path, sizeof(cw.path), "%s", argv[2]);
	work_setup(&cw, prefixes, logs);
	if (strcmp(argv[1], "work") == 0)
		return work(&cw, mem, argc > 4 ? strtoull(argv[4], NULL, 0) : 1);
	return check(&cw, mem) ? 1 : 0;
}
