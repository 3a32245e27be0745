/* The published table of pins: what another process sees, what the next mount does when the owner
 * was killed, and that no damage to the file does harm. Owners are children of this process. */
#include "file_vol.h"

#include "file/volume.h"
#include "pin/pin.h"
#include "pin/pins.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

static char run_dir[64];
static const char *vol_file;

static uint64_t busy(hf_volume *vol)
{
	struct hf_statfs s;

	OK(hf_statfs(vol, &s));
	CU_ASSERT_EQUAL(
	    s.blocks_free + s.blocks_busy_journal + s.blocks_busy_pinned + s.blocks_used, s.blocks);
	return s.blocks_busy_pinned;
}

static size_t list(hf_volume *vol, struct hf_pin_info *out, size_t max)
{
	uint64_t cursor = 0;
	size_t n = 0;

	OK(hf_pin_list(vol, &cursor, out, max, &n));
	return n;
}

/* How many tables there are; the name of one. */
static int tables(char name[400])
{
	DIR *d = opendir(run_dir);
	struct dirent *e;
	int n = 0;

	for (e = readdir(d); e; e = readdir(d)) {
		if (!strstr(e->d_name, ".pins"))
			continue;
		snprintf(name, 400, "%s/%s", run_dir, e->d_name);
		n++;
	}
	closedir(d);
	return n;
}

/* ---- an owner */

struct owner {
	pid_t pid;
	int from; /* its words */
};

/* In the child: 'work' mounts and pins, and says so by returning; then it sleeps until it is
 * killed. */
static struct owner start(void (*work)(void))
{
	struct owner o;
	int p[2];
	char c;

	if (pipe(p) < 0)
		exit(1);
	fflush(NULL);
	o.pid = fork();
	if (o.pid == 0) {
		work();
		if (write(p[1], "x", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(p[1]);
	o.from = p[0];
	CU_ASSERT_EQUAL_FATAL(read(o.from, &c, 1), 1);
	return o;
}

static void end(struct owner *o)
{
	int status;

	kill(o->pid, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(o->pid, &status, 0), o->pid);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(o->from);
}

static void need(bool ok)
{
	if (!ok)
		_exit(1);
}

static uint8_t block[BLK];

static void stamp_file(hf_file *f, uint64_t blocks, uint8_t with)
{
	memset(block, with, BLK);
	for (uint64_t i = 0; i < blocks; i++)
		need(hf_pwrite(f, block, BLK, i * BLK) == (ssize_t)BLK);
}

static hf_volume *child_mount(void)
{
	hf_volume *vol;

	need(hf_mount(&vol, vol_file, NULL) == 0);
	return vol;
}

static hf_file *child_create(hf_volume *vol, const char *path)
{
	hf_file *f;

	need(hf_open(vol, path, HF_O_RDWR | HF_O_CREAT, 0644, &f) == 0);
	return f;
}

/* Three pins: one of a file that is unlinked, of a whole frame and some blocks; one of many pieces;
 * one that stays in its file. */
static void work_three(void)
{
	hf_volume *vol = child_mount();
	hf_file *f = child_create(vol, "/gone"), *g = child_create(vol, "/pieces"),
		*h = child_create(vol, "/between"), *k = child_create(vol, "/stays");
	struct hf_pin_options o = {
	    .struct_size = sizeof(o), .flags = HF_PIN_WRITE, .tag = "killed"};
	uint8_t *frame = malloc(FRM);
	hf_pin_id id;

	memset(frame, 'F', FRM);
	need(hf_pwrite(f, frame, FRM, 0) == (ssize_t)FRM);
	for (uint64_t i = 0; i < 40; i++) {
		memset(block, 'P', BLK);
		need(hf_pwrite(g, block, BLK, i * BLK) == (ssize_t)BLK);
		need(hf_pwrite(h, block, BLK, i * BLK) == (ssize_t)BLK);
	}
	stamp_file(k, 3, 'K');
	need(hf_pin(f, 10, FRM - 10, &o, NULL, NULL, &id) == 0);
	need(hf_pin(g, 0, 40 * BLK, &o, NULL, NULL, &id) == 0);
	need(hf_pin(k, BLK, BLK, &o, NULL, NULL, &id) == 0);
	need(hf_unlink(vol, "/gone") == 0 && hf_close(&f) == 0);
	need(hf_ftruncate(g, 0) == 0);
}

/* No block of what is pinned is handed out, whatever is written. Returns how many blocks fit. */
static uint64_t fill(hf_volume *vol)
{
	hf_file *f = vol_create(vol, "/fill");
	uint64_t n = 0;

	memset(block, 0xee, BLK);
	while (hf_pwrite(f, block, BLK, n * BLK) == (ssize_t)BLK)
		n++;
	hf_close(&f);
	return n;
}

static uint64_t count_blocks_of(uint8_t with)
{
	uint64_t n = 0;
	int fd = open(vol_file, O_RDONLY);
	uint8_t b[BLK];

	while (read(fd, b, BLK) == (ssize_t)BLK) {
		size_t i = 0;

		while (i < BLK && b[i] == with)
			i++;
		n += i == BLK;
	}
	close(fd);
	return n;
}

static void rule_B4_killed_owner_is_adopted(void)
{
	struct owner o;
	struct hf_pin_info p[8];
	struct hf_busy b[8];
	char name[400];
	uint64_t n, cursor = 0, before;
	size_t nb;
	hf_volume *vol;
	hf_file *f;

	vol_format(vol_file, 32 * MIB);
	o = start(work_three);
	CU_ASSERT_EQUAL(tables(name), 1);
	end(&o);
	vol = vol_mount(vol_file, 0);
	CU_ASSERT_EQUAL_FATAL(list(vol, p, 8), 3);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT(p[i].orphaned);
		CU_ASSERT_EQUAL(p[i].thread, 0);
		CU_ASSERT_STRING_EQUAL(p[i].tag, "killed");
		FAILS(EINVAL, hf_unpin(vol, p[i].pin));
	}
	before = busy(vol);
	CU_ASSERT_EQUAL(before, 512 + 40);
	OK(hf_busy_list(vol, &cursor, b, 8, &nb));
	for (size_t i = 0; i < nb; i++)
		CU_ASSERT(b[i].journal || strcmp(b[i].tag, "killed") == 0);
	CU_ASSERT(fill(vol) > 4000);
	CU_ASSERT_EQUAL(busy(vol), before);
	/* A clean unmount does not end what may still be at work. */
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(count_blocks_of('F'), 512);
	CU_ASSERT(count_blocks_of('P') >= 80);
	CU_ASSERT_EQUAL(tables(name), 1);
	CHECK(vol_file);
	vol = vol_mount(vol_file, 0);
	CU_ASSERT_EQUAL(busy(vol), before);
	CU_ASSERT_EQUAL(list(vol, p, 8), 3);
	/* It is an ordinary pinned file for who truncates it. */
	f = vol_open(vol, "/stays", HF_O_RDWR);
	OK(hf_ftruncate(f, 0));
	CU_ASSERT_EQUAL(busy(vol), before + 1);
	OK(hf_release_orphaned(vol, &n));
	CU_ASSERT_EQUAL(n, 3);
	CU_ASSERT_EQUAL(busy(vol), 0);
	CU_ASSERT_EQUAL(list(vol, p, 8), 0);
	OK(hf_release_orphaned(vol, &n));
	CU_ASSERT_EQUAL(n, 0);
	hf_close(&f);
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(tables(name), 0);
	CHECK(vol_file);
}

/* Whoever inherited the descriptor keeps the next owner out, as long as he lives. */
static void work_leaves_child(void)
{
	hf_volume *vol = child_mount();
	hf_file *f = child_create(vol, "/f");
	hf_pin_id id;
	int p[2];
	char c;

	stamp_file(f, 2, 'B');
	need(hf_pin(f, 0, BLK, NULL, NULL, NULL, &id) == 0);
	need(hf_ftruncate(f, 0) == 0);
	need(pipe(p) == 0);
	if (fork() == 0) {
		need(hf_unpin(vol, id) == -ESTALE);
		need(hf_pin(f, 0, BLK, NULL, NULL, NULL, &id) == -ESTALE);
		need(hf_unmount(&vol) == -ESTALE);
		need(hf_unmount_force(vol) == -ESTALE);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		close(p[1]);
		/* until the test lets go of the volume's directory entry */
		while (access(vol_file, F_OK) == 0)
			usleep(1000);
		_exit(0);
	}
	close(p[1]);
	need(read(p[0], &c, 1) == 1);
}

static void rule_B4_inherited_lock(void)
{
	char away[400], name[400];
	struct owner o;
	hf_volume *vol = NULL;
	int err = -EBUSY;
	uint64_t n;

	vol_format(vol_file, 32 * MIB);
	o = start(work_leaves_child);
	end(&o);
	for (int i = 0; i < 3; i++)
		FAILS(EBUSY, hf_mount(&vol, vol_file, NULL));
	snprintf(away, sizeof(away), "%s-away", vol_file);
	CU_ASSERT_EQUAL(rename(vol_file, away), 0);
	for (int i = 0; i < 10000 && err == -EBUSY; i++) {
		usleep(1000);
		err = hf_mount(&vol, away, NULL);
	}
	CU_ASSERT_EQUAL_FATAL(err, 0);
	CU_ASSERT_EQUAL(busy(vol), 1);
	OK(hf_release_orphaned(vol, &n));
	CU_ASSERT_EQUAL(n, 1);
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(tables(name), 0);
	CU_ASSERT_EQUAL(rename(away, vol_file), 0);
}

/* A child has no map: neither its calls nor its stores reach what its parent pinned. */
static void rule_T6_child_of_fork(void)
{
	hf_volume *vol;
	struct iovec iov[1];
	int status;
	hf_pin_id id;
	hf_file *f;
	size_t n = 1;
	pid_t pid;

	vol_format(vol_file, 32 * MIB);
	vol = vol_mount(vol_file, 0);
	f = vol_create(vol, "/f");
	stamp_file(f, 2, 'T');
	OK(hf_pin(f, 0, BLK, NULL, iov, &n, &id));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct hf_pin_info p;
		uint64_t cursor = 0;

		need(hf_unpin(vol, id) == -ESTALE);
		need(hf_pin_persist(vol, id, 0, 1) == -ESTALE);
		need(hf_pin_take(vol, id) == -ESTALE);
		need(hf_pin_list(vol, &cursor, &p, 1, &n) == -ESTALE);
		need(hf_wait_idle(f, 0) == -ESTALE);
		need(hf_wait_idle_volume(vol, 0) == -ESTALE);
		need(hf_release_orphaned(vol, NULL) == -ESTALE);
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)iov[0].iov_base = 'C';
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	CU_ASSERT_EQUAL(*(const char *)iov[0].iov_base, 'T');
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_unpin(vol, id));
	hf_close(&f);
	OK(hf_unmount(&vol));
}

/* ---- what others see */

struct seen {
	size_t n, orphans;
	uint64_t blocks;
	char tag[32], name[64];
};

static int see(void *ctx, const struct pins_entry *e)
{
	struct seen *s = ctx;

	s->n++;
	s->orphans += e->orphaned;
	for (size_t i = 0; i < e->n; i++)
		s->blocks += pins_blocks(&e->ext[i]);
	memcpy(s->tag, e->tag, sizeof(s->tag));
	memcpy(s->name, e->name, sizeof(s->name));
	return 0;
}

static void test_read_by_others(void)
{
	struct pins_owner who;
	struct seen s = {0};
	uint8_t uuid[16] = {0};
	struct owner o;
	hf_volume *vol;

	vol_format(vol_file, 32 * MIB);
	FAILS(ENOENT, pins_table_read(vol_file, NULL, &who, see, &s));
	o = start(work_three);
	GET(0, pins_table_read(vol_file, NULL, &who, see, &s));
	CU_ASSERT_EQUAL(who.state, PINS_OWNER_ALIVE);
	CU_ASSERT_EQUAL(who.pid, (uint64_t)o.pid);
	CU_ASSERT_STRING_EQUAL(who.path, vol_file);
	CU_ASSERT_EQUAL(s.n, 3);
	CU_ASSERT_EQUAL(s.blocks, 512 + 40 + 1);
	CU_ASSERT_STRING_EQUAL(s.tag, "killed");
	end(&o);
	memset(&s, 0, sizeof(s));
	GET(0, pins_table_read(vol_file, NULL, &who, see, &s));
	CU_ASSERT_EQUAL(who.state, PINS_OWNER_DEAD);
	CU_ASSERT_EQUAL(s.n, 3);
	memset(&s, 0, sizeof(s));
	GET(0, pins_table_read(vol_file, uuid, &who, see, &s));
	CU_ASSERT_EQUAL(who.state, PINS_OWNER_STALE);
	CU_ASSERT_EQUAL(s.n, 0);
	vol = vol_mount(vol_file, 0);
	OK(hf_unmount(&vol));
	GET(0, pins_table_read(vol_file, NULL, &who, see, &s));
	CU_ASSERT_EQUAL(who.state, PINS_OWNER_NONE);
	CU_ASSERT_EQUAL(s.n, 3);
	CU_ASSERT_EQUAL(s.orphans, 3);
	vol = vol_mount(vol_file, 0);
	OK(hf_release_orphaned(vol, NULL));
	OK(hf_unmount(&vol));
}

/* What was read under another state is not believed, nor are chunks that went on. */
static void test_read_again(void)
{
	hf_volume *vol = vol_memory(16 * MIB);
	hf_file *f = vol_create(vol, "/f"), *g = vol_create(vol, "/g");
	const struct pins *p = vol->fs.pins;
	struct pins_extent *x;
	union pins_any rec;
	uint64_t state;
	uint32_t index;
	hf_pin_id id;

	for (uint64_t i = 0; i < 30; i++) {
		GET(BLK, hf_pwrite(f, block, BLK, i * BLK));
		GET(BLK, hf_pwrite(g, block, BLK, i * BLK));
	}
	OK(hf_pin(f, 0, 30 * BLK, NULL, NULL, NULL, &id));
	index = pins_index(id);
	state = pins_state(p, index);
	CU_ASSERT(pins_read(p, index, state, &rec));
	CU_ASSERT(!pins_read(p, index, state + 1, &rec));
	CU_ASSERT(pins_read(p, index, state, &rec));
	CU_ASSERT(rec.rec.nextents > 12);
	OK(pins_extents(p, index, &rec, NULL, 0, &x));
	free(x);
	OK(hf_unpin(vol, id));
	GET(-EAGAIN, pins_extents(p, index, &rec, NULL, 0, &x));
	CU_ASSERT(!pins_read(p, index, state, &rec));
	hf_close(&f);
	hf_close(&g);
	OK(hf_unmount(&vol));
}

/* ---- files that say nothing, or nonsense */

static void patch(const char *name, uint64_t off, const void *bytes, size_t len)
{
	int fd = open(name, O_RDWR);

	CU_ASSERT_EQUAL(pwrite(fd, bytes, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static void expect_pins(size_t n)
{
	hf_volume *vol = vol_mount(vol_file, 0);
	struct hf_pin_info p[8];
	struct hf_file *f;
	hf_pin_id id;

	CU_ASSERT_EQUAL(list(vol, p, 8), n);
	if (n == 0) {
		CU_ASSERT_EQUAL(busy(vol), 0);
	}
	f = vol_create(vol, "/probe");
	GET(BLK, hf_pwrite(f, block, BLK, 0));
	OK(hf_pin(f, 0, BLK, NULL, NULL, NULL, &id));
	OK(hf_unpin(vol, id));
	hf_close(&f);
	OK(hf_release_orphaned(vol, NULL));
	CU_ASSERT_EQUAL(busy(vol), 0);
	OK(hf_unmount(&vol));
	CHECK(vol_file);
}

static void killed_with_table(char name[400])
{
	struct owner o;

	vol_format(vol_file, 32 * MIB);
	o = start(work_three);
	end(&o);
	CU_ASSERT_EQUAL_FATAL(tables(name), 1);
}

static void test_stale(void)
{
	static const char other[40] = "00000000-0000-0000-0000-000000000000";
	static const uint64_t small = 1, magic = 12345;
	char name[400];

	killed_with_table(name);
	patch(name, offsetof(struct pins_head, boot_id), other, sizeof(other));
	expect_pins(0);
	killed_with_table(name);
	vol_format(vol_file, 32 * MIB);
	expect_pins(0);
	killed_with_table(name);
	patch(name, offsetof(struct pins_head, magic), &magic, 8);
	expect_pins(0);
	killed_with_table(name);
	patch(name, offsetof(struct pins_head, used), &small, 8);
	expect_pins(1);
	killed_with_table(name);
	CU_ASSERT_EQUAL(unlink(name), 0);
	CU_ASSERT_EQUAL(symlink("/etc/passwd", name), 0);
	expect_pins(0);
}

static void test_short(void)
{
	static const off_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 4096 + 191, 4096 + 192, 9000};
	char name[400];

	for (size_t i = 0; i < HF_COUNT(sizes); i++) {
		killed_with_table(name);
		CU_ASSERT_EQUAL(truncate(name, sizes[i]), 0);
		expect_pins(sizes[i] < 4096 + 192 ? 0 : sizes[i] == 9000 ? 3 : 1);
	}
}

/* The record of the pin of many pieces, and what becomes of it. */
static void test_damaged_record(void)
{
	static const struct {
		size_t field, len;
		uint64_t value;
	} bad[] = {
	    {offsetof(struct pins_rec, nextents), 4, 0},
	    {offsetof(struct pins_rec, nextents), 4, UINT32_MAX},
	    {offsetof(struct pins_rec, nextents), 4, 1u << 20},
	    {offsetof(struct pins_rec, next), 4, 0},
	    {offsetof(struct pins_rec, next), 4, 1},
	    {offsetof(struct pins_rec, next), 4, UINT32_MAX},
	    {offsetof(struct pins_rec, ext), 8, 0},
	    {offsetof(struct pins_rec, ext), 8, UINT64_MAX},
	    {offsetof(struct pins_rec, ext) + 8, 8, 0},
	    {offsetof(struct pins_rec, ext) + 8, 8, UINT64_MAX},
	    {offsetof(struct pins_rec, ext) + 8, 8, 1ull << 62},
	    {offsetof(struct pins_rec, ext) + 8, 8, PINS_FRAMES | 1},
	    {offsetof(struct pins_rec, len), 8, 0},
	    {offsetof(struct pins_rec, off), 8, UINT64_MAX},
	    {offsetof(struct pins_rec, tag) + 24, 8, UINT64_MAX},
	    {offsetof(struct pins_rec, state), 8, 77},
	};
	struct pins_rec r;
	char name[400];
	int fd;

	for (size_t i = 0; i < HF_COUNT(bad); i++) {
		uint32_t k = 0;

		killed_with_table(name);
		fd = open(name, O_RDONLY);
		do {
			CU_ASSERT_FATAL(pread(fd, &r, sizeof(r), (off_t)pins_offset(++k)) ==
					sizeof(r));
		} while (pins_state_of(r.state) != PINS_LIVE || r.nextents < 20);
		close(fd);
		patch(name, pins_offset(k) + bad[i].field, &bad[i].value, bad[i].len);
		expect_pins(2);
	}
}

static void test_fuzzed(void)
{
	struct vol_rand r = {vol_env("HF_SEED", 20261121)};
	int rounds = getenv("HF_TEST_SHORT") ? 10 : 60;
	struct pins_owner who;
	struct seen s = {0};
	struct stat st;
	hf_volume *vol;
	char name[400];

	for (int i = 0; i < rounds; i++) {
		killed_with_table(name);
		CU_ASSERT_EQUAL(stat(name, &st), 0);
		for (uint64_t k = 1 + vol_below(&r, 200); k; k--) {
			uint64_t junk = vol_below(&r, 2) ? vol_rand(&r) : vol_below(&r, 600),
				 size = vol_below(&r, 3) ? 20 * 192 : (uint64_t)st.st_size - 8192;

			patch(name, 4096 + vol_below(&r, size), &junk, 1 + vol_below(&r, 8));
		}
		pins_table_read(vol_file, NULL, &who, see, &s);
		vol = vol_mount(vol_file, 0);
		busy(vol);
		fill(vol);
		OK(hf_release_orphaned(vol, NULL));
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_unmount(&vol));
		CHECK(vol_file);
	}
}

/* ---- where it cannot be published */

static void test_unpublished(void)
{
	char name[400];
	hf_volume *vol;
	hf_file *f;
	hf_pin_id id;

	vol_format(vol_file, 32 * MIB);
	CU_ASSERT_EQUAL(chmod(run_dir, 0777), 0);
	vol = vol_mount(vol_file, 0);
	CU_ASSERT(!pins_published(&vol->fs));
	f = vol_create(vol, "/f");
	GET(BLK, hf_pwrite(f, block, BLK, 0));
	OK(hf_pin(f, 0, BLK, NULL, NULL, NULL, &id));
	OK(hf_unpin(vol, id));
	hf_close(&f);
	OK(hf_unmount(&vol));
	CU_ASSERT_EQUAL(tables(name), 0);
	CU_ASSERT_EQUAL(chmod(run_dir, 0755), 0);
	vol = vol_mount(vol_file, 0);
	CU_ASSERT(pins_published(&vol->fs));
	CU_ASSERT_EQUAL(tables(name), 1);
	OK(hf_unmount(&vol));
	vol = vol_mount(vol_file, HF_MOUNT_RDONLY);
	CU_ASSERT(!pins_published(&vol->fs));
	OK(hf_unmount(&vol));
	if (getenv("HF_TEST_DEVICE")) /* it would not be in memory */
		return;
	vol = vol_memory(16 * MIB);
	CU_ASSERT(!pins_published(&vol->fs));
	OK(hf_unmount(&vol));
}

/* ---- killed at any instant */

#define SLOTS 24u

/* What the child says about itself, in memory that outlives it. */
struct diary {
	_Atomic uint64_t media_off[SLOTS]; /* of one block that a pin covers; 0: none */
	_Atomic uint64_t steps;
};
static struct diary *diary;

/* One-block files: 'off' of each on the media is known before anybody takes the block away. */
static void churn_take(hf_volume *vol, uint32_t slot, hf_pin_id *id)
{
	char path[16];
	struct hf_extent x;
	size_t n;
	hf_file *f;

	snprintf(path, sizeof(path), "/%u", slot);
	f = child_create(vol, path);
	stamp_file(f, 1 + slot % 3, (uint8_t)(1 + slot));
	need(hf_pin(f, 0, BLK, NULL, NULL, NULL, id) == 0);
	need(hf_extents(f, 0, &x, 1, &n) == 0 && n == 1);
	atomic_store(&diary->media_off[slot], x.media_off);
	if (slot % 4)
		need(hf_unlink(vol, path) == 0);
	need(hf_close(&f) == 0);
}

static void churn_forever(uint64_t seed)
{
	struct vol_rand r = {seed};
	hf_volume *vol = child_mount();
	hf_pin_id id[SLOTS] = {0};

	for (;;) {
		uint32_t slot = (uint32_t)vol_below(&r, SLOTS);

		if (id[slot]) {
			atomic_store(&diary->media_off[slot], 0);
			need(hf_unpin(vol, id[slot]) == 0);
			id[slot] = 0;
		} else {
			churn_take(vol, slot, &id[slot]);
		}
		atomic_fetch_add(&diary->steps, 1);
	}
}

static void churn_and_die(uint64_t seed, uint64_t after_us)
{
	int status;
	pid_t pid;

	memset(diary, 0, sizeof(*diary));
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		churn_forever(seed);
	for (int i = 0; i < 20000 && atomic_load(&diary->steps) < 10; i++)
		usleep(500);
	usleep((useconds_t)after_us);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	CU_ASSERT(WIFSIGNALED(status));
	CU_ASSERT(atomic_load(&diary->steps) >= 10);
}

static void check_diary(void)
{
	int fd = open(vol_file, O_RDONLY);
	uint8_t b[BLK];

	for (uint32_t i = 0; i < SLOTS; i++) {
		uint64_t off = atomic_load(&diary->media_off[i]);

		if (off == 0)
			continue;
		CU_ASSERT_EQUAL(pread(fd, b, BLK, (off_t)off), (ssize_t)BLK);
		CU_ASSERT_EQUAL(b[0], 1 + i);
		CU_ASSERT_EQUAL(b[BLK - 1], 1 + i);
	}
	close(fd);
}

/* Each block that a pin covered when the process died has a record: nothing is written over it. */
static void rule_B4_killed_at_any_instant(void)
{
	int rounds = getenv("HF_TEST_SHORT") ? 5 : 40;
	struct vol_rand r = {vol_env("HF_SEED", 7)};
	hf_volume *vol;

	diary =
	    mmap(NULL, sizeof(*diary), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(diary != MAP_FAILED);
	vol_format(vol_file, 16 * MIB);
	for (int i = 0; i < rounds; i++) {
		churn_and_die(vol_rand(&r), vol_below(&r, 5000));
		vol = vol_mount(vol_file, 0);
		fill(vol);
		busy(vol);
		OK(hf_unmount(&vol));
		check_diary();
		vol = vol_mount(vol_file, 0);
		OK(hf_release_orphaned(vol, NULL));
		CU_ASSERT_EQUAL(busy(vol), 0);
		OK(hf_unlink(vol, "/fill"));
		OK(hf_unmount(&vol));
	}
	CHECK(vol_file);
	munmap(diary, sizeof(*diary));
}

static const struct hf_case cases[] = {
    {"rule_B4_killed_owner_is_adopted", rule_B4_killed_owner_is_adopted},
    {"rule_B4_inherited_lock", rule_B4_inherited_lock},
    {"rule_T6_child_of_fork", rule_T6_child_of_fork},
    {"read by others", test_read_by_others},
    {"records are read again", test_read_again},
    {"stale tables", test_stale},
    {"short tables", test_short},
    {"damaged records", test_damaged_record},
    {"fuzzed tables", test_fuzzed},
    {"not published", test_unpublished},
    {"rule_B4_killed_at_any_instant", rule_B4_killed_at_any_instant},
};

int main(void)
{
	int ret;

	snprintf(run_dir, sizeof(run_dir), "/tmp/hf-pin-table-%d", (int)getpid());
	if (mkdir(run_dir, 0755) < 0 || setenv("HOLDFAST_RUNTIME_DIR", run_dir, 1) < 0)
		return 1;
	vol_file = strdup(vol_path("pin-table"));
	ret = hf_run_suite("pin_table", cases, HF_COUNT(cases));
	unlink(vol_file);
	rmdir(run_dir);
	return ret;
}
