/* A log in a ring of fixed slots, written with plain stores through a view, that survives SIGKILL.
 *
 * THE RULE: pin before you register, unpin after you deregister. It is not needed here, because
 * only this program's own stores touch the view; but *a view is not a pin*. Whoever hands an
 * address of a view to a device (or to another thread's O_DIRECT) pins that range of the file
 * first, and hands out the pin's addresses: truncate takes a view's pages away at once, and the
 * device would go on writing into the next file.
 *
 * The second rule, of the log itself: what points at a record is made durable after the record, and
 * what forgets a record is made durable before its slot is used again. Two hf_view_persist for each
 * record are the price; a crash between any two lines of log_append() leaves a good log.
 *
 *      ring_log VOLUME [ROUNDS]
 *
 * Makes VOLUME (a file that does not exist), and then, ROUNDS times: starts a writer ('ring_log
 * write VOLUME', which appends until it is killed and tells its stdout what is durable), kills it
 * in the middle, opens the log, checks it.
 *
 * A file that is not on DAX is mounted with HF_MOUNT_NO_MSYNC: it shows the death of a process,
 * fast. Without the flag the same program survives power failure; on real persistent memory it
 * always does. */
#include "example.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_PATH   "/log"
#define LOG_BYTES  (4ul << 20) /* two pages of the view */
#define LOG_MAGIC  UINT64_C(0x676f6c2d676e6972)
#define HEAD_BYTES 4096ul
#define SLOT_BYTES 256ul
#define SLOTS	   ((LOG_BYTES - HEAD_BYTES) / SLOT_BYTES)

/* Records are numbered from 0 for ever; number n lies in slot n % SLOTS. In the log: [tail, head).
 */
struct head {
	uint64_t magic;
	uint64_t head, tail; /* 8 aligned bytes: after a crash the old value or the new one */
};
struct slot {
	uint64_t number;
	uint64_t sum;
	char text[SLOT_BYTES - 16];
};
struct log {
	hf_view *view;
	struct head *head;
	struct slot *slots;
};

static void check(bool ok, const char *what)
{
	if (!ok)
		expect(false, what);
}

static uint64_t checksum(const struct slot *s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ s->number;

	for (size_t i = 0; i < sizeof(s->text); i++)
		h = (h ^ (unsigned char)s->text[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void log_persist(struct log *log, const void *p, size_t len)
{
	uint64_t off = (uint64_t)((const char *)p - (const char *)log->head);

	must(hf_view_persist(log->view, off, len), "hf_view_persist");
}

static void log_open(struct log *log, hf_volume *vol)
{
	struct hf_view_options opts = {.struct_size = sizeof(opts), .prot = HF_VIEW_WRITE};
	hf_file *file;
	void *addr;

	must(hf_open(vol, LOG_PATH, HF_O_RDWR | HF_O_CREAT, 0600, &file), LOG_PATH);
	/* all of its space now: a store into a hole of a full volume would be SIGBUS */
	must(hf_fallocate(file, 0, 0, LOG_BYTES), "hf_fallocate");
	must(hf_view_map(file, 0, LOG_BYTES, &opts, &addr, &log->view), "hf_view_map");
	must(hf_close(&file), "hf_close"); /* the view keeps the file */
	log->head = addr;
	log->slots = (struct slot *)((char *)addr + HEAD_BYTES);
	if (log->head->magic == LOG_MAGIC)
		return;
	log->head->head = log->head->tail = 0;
	log_persist(log, log->head, sizeof(*log->head));
	log->head->magic = LOG_MAGIC; /* from here on it is a log */
	log_persist(log, log->head, sizeof(*log->head));
}

/* Durable on return. Compilers may not delay a store beyond a call of the library, so plain ones
 * do. */
static uint64_t log_append(struct log *log, const char *text)
{
	struct head *h = log->head;
	uint64_t number = h->head;
	struct slot *s = &log->slots[number % SLOTS];

	if (number - h->tail == SLOTS) {
		h->tail += SLOTS / 8; /* forget the oldest, many at a time */
		log_persist(log, &h->tail, sizeof(h->tail));
	}
	s->number = number;
	memset(s->text, 0, sizeof(s->text));
	strncpy(s->text, text, sizeof(s->text) - 1);
	s->sum = checksum(s);
	log_persist(log, s, sizeof(*s));
	h->head = number + 1;
	log_persist(log, &h->head, sizeof(h->head));
	return number;
}

/* Every record of [tail, head) is whole and is the one that was written under that number. */
static void log_check(struct log *log)
{
	const struct head *h = log->head;
	char text[64];

	check(h->magic == LOG_MAGIC, "there is a log");
	check(h->head - h->tail <= SLOTS, "head and tail are one lap apart at most");
	for (uint64_t n = h->tail; n < h->head; n++) {
		const struct slot *s = &log->slots[n % SLOTS];

		snprintf(text, sizeof(text), "event %llu", (unsigned long long)n);
		check(s->number == n && s->sum == checksum(s), "a record is whole");
		check(strcmp(s->text, text) == 0, "a record says what was logged");
	}
}

static hf_volume *mount_volume(const char *path)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .flags = HF_MOUNT_NO_MSYNC};
	hf_volume *vol;

	must(hf_mount(&vol, path, &opts), path);
	return vol;
}

static int writer(const char *path)
{
	struct log log;
	char text[64];

	log_open(&log, mount_volume(path));
	for (;;) {
		snprintf(text, sizeof(text), "event %llu", (unsigned long long)log.head->head);
		uint64_t number = log_append(&log, text);

		/* a copy in ordinary memory: write(2) from a page of the view that is not mapped
		 * yet would be EFAULT */
		if (write(STDOUT_FILENO, &number, sizeof(number)) != sizeof(number))
			return 0; /* the parent has gone */
	}
}

/* Runs a writer and kills it after it has reported 'reports' records; the last that was reported.
 */
static uint64_t kill_writer(const char *path, unsigned reports)
{
	uint64_t last = 0, number;
	unsigned got = 0;
	int fd[2], status;
	pid_t pid;

	must(pipe(fd) ? -errno : 0, "pipe");
	pid = fork();
	must(pid < 0 ? -errno : 0, "fork");
	if (pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		close(fd[0]);
		close(fd[1]);
		execl("/proc/self/exe", "ring_log", "write", path, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	/* after the kill, too, until the end of the pipe: those in it were reported */
	while (read(fd[0], &number, sizeof(number)) == sizeof(number)) {
		last = number;
		if (++got == reports)
			kill(pid, SIGKILL);
	}
	close(fd[0]);
	waitpid(pid, &status, 0);
	check(got >= reports && WIFSIGNALED(status), "the writer wrote until it was killed");
	return last;
}

int main(int argc, char **argv)
{
	struct hf_format_options fmt = {.struct_size = sizeof(fmt), .bytes = 32 << 20};
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 20;
	uint64_t last = 0, head = 0, tail = 0;

	if (argc > 2 && strcmp(argv[1], "write") == 0)
		return writer(argv[2]);
	if (argc < 2) {
		fprintf(stderr, "usage: ring_log VOLUME [ROUNDS]\n");
		return 2;
	}
	must(hf_format(argv[1], &fmt), "hf_format");
	for (unsigned i = 0; i < rounds; i++) {
		hf_volume *vol;
		struct log log;

		last = kill_writer(argv[1], 1 + (i * 2654435761u) % 4001);
		vol = mount_volume(argv[1]); /* it recovers the volume; the log needs no recovery */
		log_open(&log, vol);
		log_check(&log);
		head = log.head->head;
		tail = log.head->tail;
		check(head > last, "all that was reported durable is there");
		check(head <= last + 2, "and one more at most, which was under way");
		must(hf_view_unmap(&log.view), "hf_view_unmap");
		must(hf_unmount(&vol), "hf_unmount");
		printf("killed after %5llu was reported: the log has %llu to %llu, all whole\n",
		       (unsigned long long)last, (unsigned long long)tail,
		       (unsigned long long)(head - 1));
	}
	printf("%u kills, no record lost; the ring of %lu slots went round %llu times\n", rounds,
	       SLOTS, (unsigned long long)(head / SLOTS));
	return unlink(argv[1]) ? 1 : 0;
}
