/* Stories of pins, from the outside: what happens to who deletes, waits, dies or loses power while
 * something is held.
 *
 *	pin_scenarios [PATH-OF-HOLDFAST]
 */
#include "unit/file_vol.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define SECOND 1000000000ull

static const char *tool;

static hf_pin_id pin_at(hf_file *f, uint64_t off, uint64_t len, unsigned flags, struct iovec *iov)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .flags = flags, .tag = "story"};
	size_t n = 1;
	hf_pin_id id = 0;

	OK(hf_pin(f, off, len, &o, iov, &n, &id));
	return id;
}

static hf_file *file_of(hf_volume *vol, const char *path, uint64_t bytes, uint64_t seed)
{
	hf_file *f = vol_create(vol, path);
	uint8_t *buf = malloc(bytes);

	vol_fill(buf, bytes, seed);
	GET(bytes, hf_pwrite(f, buf, bytes, 0));
	free(buf);
	return f;
}

static bool holds(const void *p, uint64_t bytes, uint64_t seed)
{
	uint8_t *want = malloc(bytes);
	bool same;

	vol_fill(want, bytes, seed);
	same = memcmp(want, p, bytes) == 0;
	free(want);
	return same;
}

static struct hf_statfs space_of(hf_volume *vol)
{
	struct hf_statfs s = {0};

	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(
	    s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used, s.blocks);
	return s;
}

static uint64_t pins_of(hf_volume *vol, uint64_t *orphaned)
{
	struct hf_pin_info info[16];
	uint64_t cursor = 0, count = 0;
	size_t n = 0;

	*orphaned = 0;
	while (cursor != UINT64_MAX) {
		OK(hf_pin_list(vol, &cursor, info, 16, &n));
		count += n;
		for (size_t i = 0; i < n; i++)
			*orphaned += info[i].orphaned;
	}
	return count;
}

static void finds_nothing(hf_volume *vol)
{
	struct hf_check_options o = {.struct_size = sizeof(o), .finding = vol_print_finding};
	struct hf_check_result res = {.findings = 1};

	OK(hf_check_mounted(vol, &o, &res));
	CU_ASSERT_EQUAL(res.findings, 0);
}

/* ---- pin, unlink, close, and somebody who takes all the space there is */

/* Writes until it is full; returns how many bytes were taken. */
static uint64_t fill(hf_file *f, uint64_t at)
{
	uint64_t begin = at;
	uint8_t *buf = malloc(64 * KIB);
	ssize_t got;

	memset(buf, 'x', 64 * KIB);
	for (got = 1; got > 0; at += got > 0 ? (uint64_t)got : 0)
		got = hf_pwrite(f, buf, 64 * KIB, at);
	CU_ASSERT_EQUAL(got, -ENOSPC);
	free(buf);
	return at - begin;
}

static void unlinked(uint64_t bytes)
{
	hf_volume *vol = vol_memory(24 * MIB);
	hf_file *a = file_of(vol, "/a", bytes, 1), *b = vol_create(vol, "/b");
	uint64_t before, filled;
	struct iovec iov;
	hf_pin_id pin = pin_at(a, 0, bytes, 0, &iov);

	OK(hf_unlink(vol, "/a"));
	OK(hf_close(&a));
	filled = fill(b, 0);
	CU_ASSERT(holds(iov.iov_base, bytes, 1));
	/* The sentence of a full volume says who has the rest of it. */
	CU_ASSERT_PTR_NOT_NULL(strstr(hf_errormsg(), "busy"));
	CU_ASSERT_EQUAL(space_of(vol).blocks_busy_pinned, bytes / BLK);
	CU_ASSERT_EQUAL(fill(b, filled), 0);
	before = space_of(vol).blocks_free;
	OK(hf_unpin(vol, pin));
	CU_ASSERT_EQUAL(space_of(vol).blocks_busy_pinned, 0);
	CU_ASSERT_EQUAL(space_of(vol).blocks_free, before + bytes / BLK);
	/* A map node may be needed. */
	CU_ASSERT(fill(b, filled) + 64 * KIB >= bytes);
	finds_nothing(vol);
	OK(hf_close(&b));
	OK(hf_unmount(&vol));
}

static void test_unlinked_blocks(void)
{
	unlinked(1 * MIB);
}
static void test_unlinked_frame(void)
{
	unlinked(2 * FRM);
}
static void test_unlinked_one_block(void)
{
	unlinked(BLK);
}

/* ---- a page that somebody holds for as long as it takes the others to be done */

enum { HELD = 6 };
static const char *const held_names[HELD] = {"/truncated", "/punched",	 "/unlinked",
					     "/renamed",   "/collapsed", "/zeroed"};

struct holder {
	hf_volume *vol;
	hf_file *f[HELD];
	_Atomic bool pinned, returned, unpinned;
	pthread_t id;
};

static void *hold(void *arg)
{
	struct holder *h = arg;
	hf_pin_id pins[HELD];
	struct iovec iov[HELD];

	for (unsigned i = 0; i < HELD; i++)
		pins[i] = pin_at(h->f[i], 0, 8 * BLK, 0, &iov[i]);
	atomic_store(&h->pinned, true);
	/* An operation that waits for these pins waits for ever: the alarm ends it. */
	while (!atomic_load(&h->returned))
		usleep(1000);
	for (unsigned i = 0; i < HELD - 1; i++)
		CU_ASSERT(holds(iov[i].iov_base, 8 * BLK, i));
	atomic_store(&h->unpinned, true);
	for (unsigned i = 0; i < HELD; i++)
		OK(hf_unpin(h->vol, pins[i]));
	return NULL;
}

static void hold_begin(struct holder *h, uint64_t bytes)
{
	h->vol = vol_memory(48 * MIB);
	for (unsigned i = 0; i < HELD; i++)
		h->f[i] = file_of(h->vol, held_names[i], bytes, i);
	pthread_create(&h->id, NULL, hold, h);
	while (!atomic_load(&h->pinned))
		usleep(1000);
}

static void hold_end(struct holder *h)
{
	pthread_join(h->id, NULL);
	CU_ASSERT_EQUAL(space_of(h->vol).blocks_busy_pinned, 0);
	for (unsigned i = 0; i < HELD; i++)
		OK(hf_close(&h->f[i]));
	finds_nothing(h->vol);
	OK(hf_unmount(&h->vol));
}

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static int each(struct holder *h, unsigned i, const struct hf_how *how)
{
	hf_volume *vol = h->vol;

	switch (i) {
	case 0:
		return hf_ftruncate_how(h->f[0], 0, how);
	case 1:
		return hf_fallocate_how(h->f[1], PUNCH, 0, 8 * BLK, how);
	case 2:
		if (h->f[2])
			OK(hf_close(&h->f[2]));
		return hf_unlink_how(vol, held_names[2], how);
	case 3:
		if (h->f[3])
			OK(hf_close(&h->f[3]));
		return hf_rename_how(vol, "/over", held_names[3], 0, how);
	case 4:
		return hf_fallocate_how(h->f[4], FALLOC_FL_COLLAPSE_RANGE, 0, 8 * BLK, how);
	default:
		return hf_fallocate_how(h->f[5], ZERO, 0, 8 * BLK, how);
	}
}

static void reopen(struct holder *h)
{
	for (unsigned i = 0; i < HELD; i++)
		if (!h->f[i])
			h->f[i] = vol_create(h->vol, held_names[i]);
}

static void delayed(uint64_t bytes)
{
	struct holder h = {0};
	hf_file *over;

	hold_begin(&h, bytes);
	over = file_of(h.vol, "/over", BLK, 9);
	OK(hf_close(&over));
	alarm(60);
	for (unsigned i = 0; i < HELD; i++)
		OK(each(&h, i, NULL));
	CU_ASSERT_FALSE(h.unpinned);
	CU_ASSERT(space_of(h.vol).blocks_busy_pinned >= 5 * 8);
	atomic_store(&h.returned, true);
	reopen(&h);
	hold_end(&h);
	alarm(0);
}

static void test_nobody_waits_blocks(void)
{
	delayed(12 * BLK);
}
static void test_nobody_waits_frames(void)
{
	delayed(FRM);
}

/* All but the zeroing detach, and come back when the pins have gone; too early: done, but still
 * held. */
struct waiting {
	struct holder *h;
	unsigned i;
	pthread_t id;
};

static void *wait_for(void *arg)
{
	const struct hf_how forever = {sizeof(forever), HF_PINNED_WAIT, 30 * SECOND};
	struct waiting *w = arg;

	OK(each(w->h, w->i, &forever));
	CU_ASSERT_TRUE(w->h->unpinned);
	return NULL;
}

static void test_wait_returns_after_unpin(void)
{
	struct waiting w[HELD - 1];
	struct holder h = {0};
	hf_file *over;

	hold_begin(&h, FRM);
	over = file_of(h.vol, "/over", BLK, 9);
	OK(hf_close(&over));
	alarm(60);
	for (unsigned i = 0; i < HELD - 1; i++) {
		w[i] = (struct waiting){.h = &h, .i = i};
		pthread_create(&w[i].id, NULL, wait_for, &w[i]);
	}
	/* Time for a waiter that does not wait to show it. */
	usleep(300000);
	atomic_store(&h.returned, true);
	for (unsigned i = 0; i < HELD - 1; i++)
		pthread_join(w[i].id, NULL);
	reopen(&h);
	hold_end(&h);
	alarm(0);
}

static void test_wait_times_out(void)
{
	const struct hf_how soon = {sizeof(soon), HF_PINNED_WAIT, SECOND / 100};
	struct holder h = {0};
	struct hf_stat st;
	hf_file *over;

	hold_begin(&h, 16 * BLK);
	over = file_of(h.vol, "/over", BLK, 9);
	OK(hf_close(&over));
	alarm(60);
	for (unsigned i = 0; i < HELD - 1; i++)
		FAILS(ETIMEDOUT, each(&h, i, &soon));
	/* Done all the same. */
	CU_ASSERT_EQUAL(vol_size(h.f[0]), 0);
	CU_ASSERT_EQUAL(vol_size(h.f[4]), 8 * BLK);
	GET(-ENOENT, hf_stat(h.vol, held_names[2], &st));
	GET(-ENOENT, hf_stat(h.vol, "/over", &st));
	CU_ASSERT_EQUAL(space_of(h.vol).blocks_busy_pinned, 5 * 8);
	atomic_store(&h.returned, true);
	reopen(&h);
	hold_end(&h);
	alarm(0);
}

/* ---- FAIL: not a byte, not an extent, not a block */

struct picture {
	struct hf_stat st[HELD], over;
	uint64_t x[HELD][8][4]; /* extents, without what lies between their members */
	size_t nx[HELD];
	struct hf_statfs s;
	uint64_t pins, orphaned;
};

static void picture_extents(hf_file *f, struct picture *p, unsigned i)
{
	struct hf_extent x[8];

	OK(hf_extents(f, 0, x, 8, &p->nx[i]));
	for (size_t k = 0; k < p->nx[i]; k++) {
		p->x[i][k][0] = x[k].off;
		p->x[i][k][1] = x[k].len;
		p->x[i][k][2] = x[k].media_off;
		p->x[i][k][3] = x[k].huge;
	}
}

static void picture(struct holder *h, struct picture *p)
{
	memset(p, 0, sizeof(*p));
	for (unsigned i = 0; i < HELD; i++) {
		if (!h->f[i])
			h->f[i] = vol_open(h->vol, held_names[i], HF_O_RDWR);
		OK(hf_fstat(h->f[i], &p->st[i]));
		picture_extents(h->f[i], p, i);
	}
	OK(hf_stat(h->vol, "/over", &p->over));
	OK(hf_syncfs(h->vol));
	p->s = space_of(h->vol);
	p->pins = pins_of(h->vol, &p->orphaned);
}

static void fails(uint64_t bytes)
{
	const struct hf_how fail = {sizeof(fail), HF_PINNED_FAIL, 0};
	struct picture before, after;
	struct holder h = {0};
	uint8_t *buf = malloc(bytes);
	hf_file *over;

	hold_begin(&h, bytes);
	over = file_of(h.vol, "/over", BLK, 9);
	OK(hf_close(&over));
	alarm(60);
	picture(&h, &before);
	for (unsigned i = 0; i < HELD; i++)
		FAILS(EBUSY, each(&h, i, &fail));
	FAILS(EBUSY, hf_fallocate_how(h.f[4], FALLOC_FL_INSERT_RANGE, 0, BLK, &fail));
	FAILS(EBUSY, hf_truncate_how(h.vol, held_names[1], BLK, &fail));
	picture(&h, &after);
	CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof(before)), 0);
	for (unsigned i = 0; i < HELD; i++) {
		GET(bytes, hf_pread(h.f[i], buf, bytes, 0));
		CU_ASSERT(holds(buf, bytes, i));
	}
	atomic_store(&h.returned, true);
	hold_end(&h);
	alarm(0);
	free(buf);
}

static void test_fail_blocks(void)
{
	fails(12 * BLK);
}
static void test_fail_frames(void)
{
	fails(FRM);
}

/* ---- power failure: what is on the media while pins are held, mounted where nobody knows of them
 */

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *buf = malloc(MIB);
	ssize_t n;

	CU_ASSERT_FATAL(in >= 0 && out >= 0);
	for (n = read(in, buf, MIB); n > 0; n = read(in, buf, MIB))
		CU_ASSERT_EQUAL(write(out, buf, (size_t)n), n);
	free(buf);
	close(in);
	close(out);
}

/* A file that stays, one that is truncated and one that is deleted while pinned: 64 + 512 blocks
 * are busy. */
static void hold_some(hf_volume *vol, hf_file **stays, hf_pin_id pins[3])
{
	hf_file *cut = file_of(vol, "/cut", 128 * BLK, 2), *gone = file_of(vol, "/gone", FRM, 3);
	struct iovec iov;

	*stays = file_of(vol, "/stays", 16 * BLK, 1);
	pins[0] = pin_at(*stays, 0, 16 * BLK, HF_PIN_WRITE, &iov);
	pins[1] = pin_at(cut, 32 * BLK, 96 * BLK, 0, &iov);
	pins[2] = pin_at(gone, 0, FRM, 0, &iov);
	OK(hf_ftruncate(cut, 64 * BLK));
	OK(hf_unlink(vol, "/gone"));
	OK(hf_close(&gone));
	OK(hf_close(&cut));
}

static void test_power_failure(void)
{
	char path[256], copy[300];
	hf_volume *vol;
	hf_file *stays;
	uint64_t orphaned, used;
	hf_pin_id pins[3];
	struct hf_statfs s;

	snprintf(path, sizeof(path), "%s", vol_path("power"));
	snprintf(copy, sizeof(copy), "%s.copy", path);
	vol_format(path, 32 * MIB);
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
	hold_some(vol, &stays, pins);
	OK(hf_syncfs(vol));
	s = space_of(vol);
	CU_ASSERT_EQUAL(s.blocks_busy_pinned, 64 + 512);
	used = s.blocks_used;
	copy_file(path, copy);
	GET(4, hf_unmount_force(vol)); /* three pins and an open file */
	for (unsigned i = 0; i < 3; i++)
		OK(hf_unpin(vol, pins[i]));
	OK(hf_close(&stays));
	CHECK(copy);
	vol = vol_mount(copy, HF_MOUNT_FORCE_CACHE_LINE);
	s = space_of(vol);
	CU_ASSERT_EQUAL(s.blocks_busy_pinned, 0);
	CU_ASSERT_EQUAL(s.blocks_used, used);
	CU_ASSERT_EQUAL(pins_of(vol, &orphaned), 0);
	finds_nothing(vol);
	OK(hf_wait_idle_volume(vol, 0));
	OK(hf_unmount(&vol));
	unlink(path);
	unlink(copy);
}

/* ---- SIGKILL */

/* A process that holds something, and is killed. */
static void killed_owner(const char *path)
{
	int pipes[2], status;
	pid_t pid;
	char c = 0;

	CU_ASSERT_FATAL(pipe(pipes) == 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		unsigned failures = CU_get_number_of_failures();
		hf_volume *vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
		hf_file *stays, *free_again = file_of(vol, "/free", FRM, 5);
		hf_pin_id pins[3];
		struct iovec iov;
		hf_pin_id pin = pin_at(free_again, 0, FRM, 0, &iov);

		hold_some(vol, &stays, pins);
		OK(hf_ftruncate(free_again, 0));
		OK(hf_unpin(vol, pin));
		c = CU_get_number_of_failures() > failures ? 'f' : 'k';
		(void)!write(pipes[1], &c, 1);
		for (;;)
			pause();
	}
	close(pipes[1]);
	CU_ASSERT_EQUAL(read(pipes[0], &c, 1), 1);
	CU_ASSERT_EQUAL(c, 'k');
	close(pipes[0]);
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
}

static void look_at_orphans(hf_volume *vol, uint64_t pins, uint64_t busy)
{
	uint64_t orphaned;

	CU_ASSERT_EQUAL(pins_of(vol, &orphaned), pins);
	CU_ASSERT_EQUAL(orphaned, pins);
	CU_ASSERT_EQUAL(space_of(vol).blocks_busy_pinned, busy);
	finds_nothing(vol);
}

static void test_killed(void)
{
	hf_volume *vol;
	hf_file *b;
	uint64_t n = 0;
	char path[256];

	snprintf(path, sizeof(path), "%s", vol_path("killed"));
	vol_format(path, 32 * MIB);
	killed_owner(path);
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
	look_at_orphans(vol, 3, 64 + 512);
	b = vol_create(vol, "/b");
	fill(b, 0);
	look_at_orphans(vol, 3, 64 + 512);
	OK(hf_release_orphaned(vol, &n));
	CU_ASSERT_EQUAL(n, 3);
	look_at_orphans(vol, 0, 0);
	OK(hf_wait_idle_volume(vol, 0));
	OK(hf_close(&b));
	OK(hf_unmount(&vol));
	CHECK(path);
	unlink(path);
}

/* As after a reboot: nobody remembers. */
static void test_killed_and_forgotten(void)
{
	char dir[] = "/tmp/hf-scenarios-XXXXXX", path[256], command[300];
	hf_volume *vol;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	setenv("HOLDFAST_RUNTIME_DIR", dir, 1);
	snprintf(path, sizeof(path), "%s", vol_path("forgotten"));
	vol_format(path, 32 * MIB);
	killed_owner(path);
	snprintf(command, sizeof(command), "rm -r %s && mkdir -m 755 %s", dir, dir);
	CU_ASSERT_EQUAL(system(command), 0);
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
	look_at_orphans(vol, 0, 0);
	OK(hf_unmount(&vol));
	CHECK(path);
	unlink(path);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CU_ASSERT_EQUAL(system(command), 0);
	unsetenv("HOLDFAST_RUNTIME_DIR");
}

/* The command releases what a dead owner held; orphans that are not released survive mounts until
 * it does. */
static void test_killed_released_by_command(void)
{
	char path[256], command[600];
	hf_volume *vol;

	if (!tool)
		return;
	snprintf(path, sizeof(path), "%s", vol_path("command"));
	vol_format(path, 32 * MIB);
	killed_owner(path);
	for (unsigned i = 0; i < 2; i++) {
		vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
		look_at_orphans(vol, 3, 64 + 512);
		OK(hf_unmount(&vol));
	}
	snprintf(command, sizeof(command), "%s busy %s | grep -q story", tool, path);
	CU_ASSERT_EQUAL(system(command), 0);
	snprintf(command, sizeof(command), "%s busy --release %s >/dev/null", tool, path);
	CU_ASSERT_EQUAL(system(command), 0);
	vol = vol_mount(path, HF_MOUNT_FORCE_CACHE_LINE);
	look_at_orphans(vol, 0, 0);
	OK(hf_unmount(&vol));
	CHECK(path);
	unlink(path);
}

static const struct hf_case cases[] = {
    {"pin, unlink, close, fill: blocks", test_unlinked_blocks},
    {"pin, unlink, close, fill: frames", test_unlinked_frame},
    {"pin, unlink, close, fill: one block", test_unlinked_one_block},
    {"nobody waits for a held page: blocks", test_nobody_waits_blocks},
    {"nobody waits for a held page: frames", test_nobody_waits_frames},
    {"WAIT returns after the unpin", test_wait_returns_after_unpin},
    {"WAIT that times out has done it", test_wait_times_out},
    {"FAIL changes nothing: blocks", test_fail_blocks},
    {"FAIL changes nothing: frames", test_fail_frames},
    {"power failure with pins held", test_power_failure},
    {"killed with pins held", test_killed},
    {"killed, and nobody remembers", test_killed_and_forgotten},
    {"killed, and released by command", test_killed_released_by_command},
};

int main(int argc, char **argv)
{
	tool = argc > 1 ? argv[1] : NULL;
	return hf_run_suite("stories of pins", cases, HF_COUNT(cases));
}
