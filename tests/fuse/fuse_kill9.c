/* Kills the serving process under load, again and again: nothing that a system call has returned is lost.
 *
 *	fuse_kill9 BIN [--rounds N] [--seed S]
 *
 * Three processes work on the mount, each in its own directory, one system call that changes something at a time, and note in shared
 * memory what they are about to do and what has returned. At a random moment mount.holdfast gets SIGKILL. Then fsck.holdfast finds
 * nothing, and on the next mount each directory is what its notes say; the call in flight is there wholly or not at all, of a
 * write (which the kernel may cut into several) each byte old or new. The next round goes on with the same volume. */
#include "../system/rng.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS	 3
#define SLOTS	 16
#define FILE_MAX 200000u
#define OPS_MAX	 20000

enum kind { CREATE, WRITE, APPEND, TRUNCATE, RENAME, UNLINK, KINDS };

struct op {
	enum kind kind;
	unsigned slot, to;
	uint32_t off, len;
	uint64_t fill;
};

/* A file, or none. */
struct slot {
	bool there;
	uint32_t size;
	uint8_t bytes[FILE_MAX];
};

struct notes {
	_Atomic uint32_t started, done;
	_Atomic int failed;		/* errno of a call that should have worked */
	struct op op[OPS_MAX];
};

struct run {
	const char *bin;
	char vol[256], dir[256];
	struct notes *notes;		/* shared */
	struct slot model[WORKERS][SLOTS];
	struct rng rng;
	uint64_t rounds, ops, flying;
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the model */

static void op_random(struct rng *r, const struct slot *files, struct op *op)
{
	*op = (struct op){.slot = (unsigned)rng_below(r, SLOTS), .to = (unsigned)rng_below(r, SLOTS), .fill = rng_next(r)};
	op->kind = files[op->slot].there ? (enum kind)(1 + rng_below(r, KINDS - 1)) : CREATE;
	op->len = 1 + (uint32_t)rng_below(r, rng_one_in(r, 3) ? 60000 : 300);
	op->off = (uint32_t)rng_below(r, FILE_MAX - op->len);
	if (op->kind == APPEND)
		op->off = files[op->slot].size;
	if (op->kind == APPEND && op->off + op->len > FILE_MAX)
		op->kind = TRUNCATE;
}

static void model_write(struct slot *s, const struct op *op)
{
	if (op->off > s->size)
		memset(s->bytes + s->size, 0, op->off - s->size);
	rng_fill(op->fill, s->bytes + op->off, op->len);
	if (op->off + op->len > s->size)
		s->size = op->off + op->len;
}

static void model_apply(struct slot *files, const struct op *op)
{
	struct slot *s = &files[op->slot];

	switch (op->kind) {
	case CREATE:
		s->there = true;
		s->size = 0;
		break;
	case WRITE:
	case APPEND:
		model_write(s, op);
		break;
	case TRUNCATE:
		if (op->off > s->size)
			memset(s->bytes + s->size, 0, op->off - s->size);
		s->size = op->off;
		break;
	case RENAME:
		if (op->to == op->slot)
			break;
		files[op->to] = *s;
		s->there = false;
		break;
	default:
		s->there = false;
	}
}

/* ---- a worker */

static int write_real(const char *name, const struct op *op)
{
	static uint8_t bytes[FILE_MAX];
	int fd = open(name, O_WRONLY | O_CLOEXEC | (op->kind == APPEND ? O_APPEND : 0));
	ssize_t n;

	if (fd < 0)
		return -1;
	rng_fill(op->fill, bytes, op->len);
	n = op->kind == APPEND ? write(fd, bytes, op->len) : pwrite(fd, bytes, op->len, op->off);
	close(fd);
	if (n >= 0 && n < (ssize_t)op->len)
		errno = EIO;	/* the kernel had made several requests of it, and one was lost */
	return n == (ssize_t)op->len ? 0 : -1;
}

static int op_real(const struct op *op)
{
	char name[16], to[16];
	int fd;

	snprintf(name, sizeof(name), "f%u", op->slot);
	snprintf(to, sizeof(to), "f%u", op->to);
	switch (op->kind) {
	case CREATE:
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd >= 0)
			close(fd);
		return fd < 0 ? -1 : 0;
	case WRITE:
	case APPEND: return write_real(name, op);
	case TRUNCATE: return truncate(name, op->off);
	case RENAME: return rename(name, to);
	default: return unlink(name);
	}
}

static _Noreturn void work(struct run *r, unsigned w, uint64_t seed)
{
	struct rng rng = {seed};
	struct notes *n = &r->notes[w];
	char name[300];
	bool lost;

	snprintf(name, sizeof(name), "%s/w%u", r->dir, w);
	if (chdir(name))
		_exit(0);	/* killed before it began */
	for (uint32_t i = 0; i < OPS_MAX; i++) {
		op_random(&rng, r->model[w], &n->op[i]);
		atomic_store(&n->started, i + 1);
		if (op_real(&n->op[i])) {
			lost = errno == ENOTCONN || errno == ECONNABORTED || errno == EIO || errno == EINTR;
			atomic_store(&n->failed, lost ? 0 : errno);
			_exit(0);
		}
		atomic_store(&n->done, i + 1);
		model_apply(r->model[w], &n->op[i]);
	}
	_exit(0);
}

/* ---- looking */

static bool slot_read(const struct run *r, unsigned w, unsigned slot, struct slot *out)
{
	char name[300];
	struct stat st;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "%s/w%u/f%u", r->dir, w, slot);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	out->there = fd >= 0;
	if (fd < 0)
		return errno == ENOENT;
	n = fstat(fd, &st) ? -1 : read(fd, out->bytes, FILE_MAX);
	close(fd);
	out->size = (uint32_t)n;
	return n >= 0 && n == st.st_size;
}

static bool slot_equal(const struct slot *a, const struct slot *b)
{
	return a->there == b->there && (!a->there || (a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0));
}

/* A write in flight, of which the kernel may have made several requests: each byte is the old one or the new one. */
static bool slot_between(const struct slot *s, const struct slot *old, const struct slot *new)
{
	if (!s->there || s->size < old->size || s->size > new->size)
		return false;
	for (uint32_t i = 0; i < s->size; i++)
		if (s->bytes[i] != new->bytes[i] && (i >= old->size || s->bytes[i] != old->bytes[i]))
			return false;
	return true;
}

static bool directory_right(struct run *r, unsigned w)
{
	static struct slot before[SLOTS], after[SLOTS], seen[SLOTS];
	struct notes *n = &r->notes[w];
	uint32_t done = atomic_load(&n->done);
	bool flying = atomic_load(&n->started) > done, is_before = true, is_after = true, between = false;
	unsigned s;

	memcpy(before, r->model[w], sizeof(before));
	for (uint32_t i = 0; i < done; i++)
		model_apply(before, &n->op[i]);
	memcpy(after, before, sizeof(after));
	if (flying)
		model_apply(after, &n->op[done]);
	for (s = 0; s < SLOTS; s++) {
		if (!slot_read(r, w, s, &seen[s])) {
			fprintf(stderr, "worker %u, file %u: cannot be read: %s\n", w, s, strerror(errno));
			return false;
		}
		is_before = is_before && slot_equal(&seen[s], &before[s]);
		is_after = is_after && slot_equal(&seen[s], &after[s]);
	}
	if (flying && (n->op[done].kind == WRITE || n->op[done].kind == APPEND)) {
		between = true;
		for (s = 0; s < SLOTS; s++)
			between = between && (s == n->op[done].slot ? slot_between(&seen[s], &before[s], &after[s])
								    : slot_equal(&seen[s], &before[s]));
	}
	if (!is_before && !is_after && !between) {
		for (s = 0; s < SLOTS; s++)
			if (!slot_equal(&seen[s], &before[s]))
				fprintf(stderr, "worker %u, file %u: %d %u bytes, should be %d %u bytes\n", w, s, seen[s].there,
					seen[s].size, before[s].there, before[s].size);
		fprintf(stderr, "after %u calls; in flight: %d, kind %d of file %u\n", done, flying, n->op[done].kind, n->op[done].slot);
		return false;
	}
	memcpy(r->model[w], seen, sizeof(seen));
	r->ops += done;
	r->flying += flying;
	return true;
}

/* ---- a round */

static int tool(const struct run *r, const char *name, const char *a, const char *b, const char *c)
{
	char path[512];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", r->bin, name);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDOUT_FILENO);
		execl(path, path, a, b, c, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die(name);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* In the foreground, so that its number is known. */
static pid_t serve(const struct run *r)
{
	const struct timespec pause = {.tv_nsec = 2000000};
	struct stat below, st;
	char path[512];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/mount.holdfast", r->bin);
	if (stat(r->dir, &below))
		die(r->dir);
	pid = fork();
	if (pid == 0) {
		execl(path, path, "-f", r->vol, r->dir, NULL);
		_exit(127);
	}
	for (int i = 0; i < 5000; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return -1;
		if (stat(r->dir, &st) == 0 && st.st_dev != below.st_dev)
			return pid;
		nanosleep(&pause, NULL);
	}
	return -1;
}

static bool load_and_kill(struct run *r)
{
	struct timespec t = {.tv_nsec = 3000000 + (long)rng_below(&r->rng, 120000000)};
	pid_t server = serve(r), worker[WORKERS];
	unsigned w;

	if (server < 0)
		return false;
	for (w = 0; w < WORKERS; w++) {
		uint64_t seed = rng_next(&r->rng);

		atomic_store(&r->notes[w].started, 0);
		atomic_store(&r->notes[w].done, 0);
		worker[w] = fork();
		if (worker[w] == 0)
			work(r, w, seed);
	}
	nanosleep(&t, NULL);
	kill(server, SIGKILL);
	for (w = 0; w < WORKERS; w++)
		waitpid(worker[w], NULL, 0);
	waitpid(server, NULL, 0);
	return umount2(r->dir, MNT_DETACH) == 0;
}

static bool look(struct run *r)
{
	pid_t server;
	bool right = true;
	unsigned w;

	if (tool(r, "fsck.holdfast", "-n", r->vol, NULL)) {
		fprintf(stderr, "fsck.holdfast found something\n");
		return false;
	}
	server = serve(r);
	if (server < 0)
		return false;
	for (w = 0; w < WORKERS; w++) {
		int err = atomic_load(&r->notes[w].failed);

		if (err)
			fprintf(stderr, "worker %u: a call failed: %s\n", w, strerror(err));
		right = right && !err && directory_right(r, w);
	}
	if (umount2(r->dir, 0))
		die("umount");
	waitpid(server, NULL, 0);
	return right;
}

static void prepare(struct run *r)
{
	char name[300];
	pid_t server;

	if (tool(r, "mkfs.holdfast", "-s", "48M", r->vol))
		die("mkfs.holdfast");
	server = serve(r);
	if (server < 0)
		exit(77);	/* it has said why */
	for (unsigned w = 0; w < WORKERS; w++) {
		snprintf(name, sizeof(name), "%s/w%u", r->dir, w);
		if (mkdir(name, 0755))
			die(name);
	}
	umount2(r->dir, 0);
	waitpid(server, NULL, 0);
}

int main(int argc, char **argv)
{
	static struct run r;
	char tmp[] = "/dev/shm/hf-kill9-XXXXXX";
	uint64_t seed = (uint64_t)time(NULL), round;
	bool right = true;

	if (argc < 2)
		return 2;
	r.bin = argv[1];
	r.rounds = 6;
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--rounds") == 0)
			r.rounds = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 10);
	}
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK)) {
		puts("skipped: not root, or no /dev/fuse");
		return 77;
	}
	r.rng.s = seed;
	r.notes = mmap(NULL, WORKERS * sizeof(*r.notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.notes == MAP_FAILED || !mkdtemp(tmp))
		die(tmp);
	snprintf(r.vol, sizeof(r.vol), "%s/vol", tmp);
	snprintf(r.dir, sizeof(r.dir), "%s/mnt", tmp);
	if (mkdir(r.dir, 0755))
		die(r.dir);
	prepare(&r);
	for (round = 0; round < r.rounds && right; round++)
		right = load_and_kill(&r) && look(&r);
	printf("%llu rounds, seed %llu: %llu calls had returned, %llu were in flight: %s\n", (unsigned long long)round,
	       (unsigned long long)seed, (unsigned long long)r.ops, (unsigned long long)r.flying, right ? "nothing lost" : "WRONG");
	umount2(r.dir, MNT_DETACH);
	unlink(r.vol);
	rmdir(r.dir);
	rmdir(tmp);
	return right ? 0 : 1;
}
