/* One file, random operations, and a shadow of what it has to hold; each operation by one of two handles.
 *
 *	fsx [--seed S] [--ops N] library | mount DIR
 *
 * On a mount (not one with direct_io) the file is also read and written through memory maps, which have to agree with read and write at once. What failed
 * is printed with the last operations; the same seed does the same again.
 */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/falloc.h>

#include "system/rng.h"

#define MAX	(768u << 10)
#define BLOCK	4096u
#define HISTORY 12

enum kind { READ, WRITE, APPEND, TRUNCATE, ALLOCATE, KEEP, PUNCH, ZERO, COLLAPSE, INSERT, COPY, MAP_READ, MAP_WRITE, REOPEN, SYNC, HOLES, KINDS };
static const char *const names[KINDS] = {"read",  "write",    "append", "truncate", "allocate", "keep",	    "punch", "zero",
					 "collapse", "insert", "copy",	  "map read", "map write", "reopen", "sync",  "holes"};

static struct {
	const struct px_backend *b;
	struct rng rng;
	uint64_t seed, ops, n, size;
	uint8_t shadow[MAX + BLOCK], buf[MAX + BLOCK];
	uint64_t done[KINDS];
	char history[HISTORY][96];
} t;

static uint64_t draw(uint64_t below)
{
	return rng_below(&t.rng, below);
}

static int bad(const char *what, int64_t got)
{
	printf("fsx: operation %llu: %s (%lld)\n", (unsigned long long)t.n, what, (long long)got);
	for (unsigned i = 0; i < HISTORY; i++)
		printf("\t%s\n", t.history[(t.n + 1 + i) % HISTORY]);
	printf("replay: fsx --seed %llu --ops %llu\n", (unsigned long long)t.seed, (unsigned long long)t.n + 1);
	return -1;
}

static int same(const uint8_t *got, uint64_t off, uint64_t len, const char *what)
{
	for (uint64_t i = 0; i < len; i++)
		if (got[i] != t.shadow[off + i])
			return bad(what, (int64_t)(off + i));
	return 0;
}

/* The shadow beyond the size is always zeros. */
static void shadow_size(uint64_t size)
{
	if (size < t.size)
		memset(t.shadow + size, 0, t.size - size);
	t.size = size;
}

static void pattern(uint8_t *to, uint64_t len)
{
	uint8_t with = (uint8_t)(draw(255) + 1);

	for (uint64_t i = 0; i < len; i++)
		to[i] = (uint8_t)(with + i % 251);
}

/* ---- operations: 0, or -1 said why */

static int do_read(int slot, uint64_t off, uint64_t len)
{
	uint64_t want = off >= t.size ? 0 : off + len > t.size ? t.size - off : len;
	int64_t got = t.b->pread(slot, t.buf, len, off);

	return got != (int64_t)want ? bad("read", got) : same(t.buf, off, want, "what was read differs at");
}

static int do_write(int slot, uint64_t off, uint64_t len)
{
	int64_t got;

	pattern(t.shadow + off, len);
	if (off + len > t.size)
		t.size = off + len;
	got = t.b->pwrite(slot, t.shadow + off, len, off);
	return got != (int64_t)len ? bad("write", got) : 0;
}

static int do_truncate(int slot, uint64_t size)
{
	const struct px_at at = {.how = PX_SLOT, .slot = slot};
	int64_t err = t.b->truncate(&at, size);

	shadow_size(size);
	return err ? bad("truncate", err) : 0;
}

static int do_fallocate(int slot, enum kind k, uint64_t off, uint64_t len)
{
	static const int modes[KINDS] = {[KEEP] = FALLOC_FL_KEEP_SIZE,
					 [PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 [ZERO] = FALLOC_FL_ZERO_RANGE,
					 [COLLAPSE] = FALLOC_FL_COLLAPSE_RANGE,
					 [INSERT] = FALLOC_FL_INSERT_RANGE};
	int64_t err = t.b->fallocate(slot, modes[k], off, len);
	uint64_t end = off + len;

	if (err)
		return bad(names[k], err);
	if ((k == ALLOCATE || k == ZERO) && end > t.size)
		t.size = end;
	if (k == PUNCH || k == ZERO)
		memset(t.shadow + off, 0, len);
	if (k == COLLAPSE) {
		memmove(t.shadow + off, t.shadow + end, t.size - end);
		memset(t.shadow + t.size - len, 0, len);
		t.size -= len;
	}
	if (k == INSERT) {
		memmove(t.shadow + end, t.shadow + off, t.size - off);
		memset(t.shadow + off, 0, len);
		t.size += len;
	}
	return 0;
}

/* Collapse and insert: by blocks, inside the file, and not beyond what the shadow holds. */
static int do_shift(int slot, enum kind k)
{
	uint64_t blocks = t.size / BLOCK, off, len;

	if (blocks < 2 || t.b == &px_system)
		return 0;
	off = draw(blocks) * BLOCK;
	len = (1 + draw(8)) * BLOCK;
	if (k == COLLAPSE ? off + len >= t.size : off >= t.size || t.size + len > MAX)
		return 0;
	return do_fallocate(slot, k, off, len);
}

static int do_copy(int slot, uint64_t from, uint64_t to, uint64_t len)
{
	int64_t got;

	if (from >= t.size)
		return 0;
	if (from + len > t.size)
		len = t.size - from;
	if (to + len > MAX || (from < to + len && to < from + len))
		return 0;
	got = t.b->copy(slot, from, slot, to, len);
	if (got < 0 || (uint64_t)got > len || (len && !got))
		return bad("copy", got);
	memcpy(t.shadow + to, t.shadow + from, (size_t)got);
	if (got && to + (uint64_t)got > t.size)
		t.size = to + (uint64_t)got;
	return 0;
}

static int do_map(int slot, bool write, uint64_t off, uint64_t len)
{
	uint8_t *p;
	int err = 0;

	if (!t.b->fd || off >= t.size)
		return 0;
	if (off + len > t.size)
		len = t.size - off;
	p = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_SHARED, t.b->fd(slot), 0);
	if (p == MAP_FAILED)
		return errno == ENODEV ? 0 : bad("mmap", -errno); /* with -o direct_io there are none */
	if (write) {
		pattern(t.shadow + off, len);
		memcpy(p + off, t.shadow + off, len);
		if (draw(2) && msync(p, MAX, MS_SYNC))
			err = bad("msync", -errno);
	} else {
		err = same(p + off, off, len, "what is mapped differs at");
	}
	munmap(p, MAX);
	return err;
}

static int do_reopen(int slot)
{
	int64_t err = t.b->close(slot);

	if (!err)
		err = t.b->open(slot, "f", O_RDWR, 0);
	return err ? bad("reopen", err) : 0;
}

/* What is said to be a hole holds zeros; the file's end is one. */
static int do_holes(int slot)
{
	const struct px_at at = {.how = PX_SLOT, .slot = slot};
	struct px_stat st;
	uint64_t pos = 0;
	int64_t err = t.b->stat(&at, &st);

	if (err || st.size != t.size)
		return bad("the size differs", (int64_t)st.size);
	while (pos < t.size) {
		int64_t data = t.b->seek(slot, pos, SEEK_DATA);
		uint64_t end = data == -ENXIO ? t.size : (uint64_t)data;

		if ((data < 0 && data != -ENXIO) || end < pos)
			return bad("seek for data", data);
		for (uint64_t i = pos; i < end; i++)
			if (t.shadow[i])
				return bad("a hole where data is", (int64_t)i);
		if (end >= t.size)
			break;
		data = t.b->seek(slot, end, SEEK_HOLE);
		if (data <= (int64_t)end || (uint64_t)data > t.size)
			return bad("seek for a hole", data);
		pos = (uint64_t)data;
	}
	return 0;
}

static int step(void)
{
	enum kind k = (enum kind)draw(KINDS);
	int slot = (int)draw(2);
	uint64_t off = draw(MAX), len = 1 + draw(draw(4) ? 9000 : 200000), to = draw(MAX);

	if (off + len > MAX)
		len = MAX - off;
	if (draw(3) == 0) /* often at an edge */
		off &= ~(uint64_t)(BLOCK - 1);
	snprintf(t.history[t.n % HISTORY], sizeof(t.history[0]), "%llu: %s by %d, off %llu len %llu to %llu, size %llu",
		 (unsigned long long)t.n, names[k], slot, (unsigned long long)off, (unsigned long long)len,
		 (unsigned long long)to, (unsigned long long)t.size);
	t.done[k]++;
	switch (k) {
	case READ:
		return do_read(slot, off, len);
	case WRITE:
		return do_write(slot, off, len);
	case APPEND:
		return t.size + len <= MAX ? do_write(slot, t.size, len) : 0;
	case TRUNCATE:
		return do_truncate(slot, draw(3) ? to : draw(t.size + 1));
	case COLLAPSE:
	case INSERT:
		return do_shift(slot, k);
	case COPY:
		return do_copy(slot, off, to, len);
	case MAP_READ:
	case MAP_WRITE:
		return do_map(slot, k == MAP_WRITE, off, len);
	case REOPEN:
		return do_reopen(slot);
	case SYNC:
		return t.b->fsync(slot) ? bad("fsync", 0) : 0;
	case HOLES:
		return do_holes(slot);
	default:
		return do_fallocate(slot, k, off, len);
	}
}

static int run(void)
{
	int err = 0;

	if (t.b->open(0, "f", O_RDWR | O_CREAT, 0644) || t.b->open(1, "f", O_RDWR, 0))
		return bad("open", 0);
	for (t.n = 0; !err && t.n < t.ops; t.n++) {
		err = step();
		if (!err && t.n % 64 == 0)
			err = do_read((int)(t.n / 64 % 2), 0, MAX);
	}
	return err ? err : do_read(0, 0, MAX);
}

static int backend(int argc, char **argv, int i)
{
	if (i < argc && strcmp(argv[i], "library") == 0) {
		t.b = &px_library;
		return 0;
	}
	if (i + 1 >= argc || strcmp(argv[i], "mount") != 0) {
		fprintf(stderr, "usage: fsx [--seed S] [--ops N] library | mount DIR\n");
		return -1;
	}
	t.b = &px_system;
	return px_system_open(argv[i + 1], "/dev/shm");
}

int main(int argc, char **argv)
{
	int i = 1, err;

	t.seed = (uint64_t)getpid();
	t.ops = 5000;
	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--seed") == 0)
			t.seed = strtoull(argv[i + 1], NULL, 0);
		else
			t.ops = strtoull(argv[i + 1], NULL, 0);
	}
	if (backend(argc, argv, i))
		return 2;
	t.rng.s = t.seed;
	err = t.b->begin();
	if (!err)
		err = run();
	if (!err)
		err = t.b->end();
	if (err) {
		printf("fsx: FAILED, seed %llu: %s\n", (unsigned long long)t.seed, px_failure());
		return 1;
	}
	printf("fsx on the %s, seed %llu: %llu operations:", t.b->name, (unsigned long long)t.seed, (unsigned long long)t.ops);
	for (int k = 0; k < KINDS; k++)
		printf(" %llu %s%s", (unsigned long long)t.done[k], names[k], k + 1 < KINDS ? "," : "\n");
	return 0;
}
