/* The target 'pins': the table of pins that a dead process left in the runtime directory, read by 'holdfast busy' and adopted by the
 * next mount. What must hold: no crash; the volume's space adds up with what was adopted; and when it is released, nothing is busy
 * and fsck finds nothing. */
#include "edit.h"
#include "target.h"
#include "file/volume.h"
#include "pin/table.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PINS = 5, RECORDS = 160, TABLE_MAX = 1 << 20 };

#define OK(call) ok((call), #call)
static void ok(int64_t ret, const char *what)
{
	FUZZ_MUST(ret >= 0, "%s: %d (%s)", what, (int)ret, hf_errormsg());
}

static struct {
	char dir[64], volume[96], table[192];
	uint8_t *bytes;			/* the volume file, mapped */
	uint8_t pristine[TABLE_MAX];	/* the table as a killed owner leaves it */
	size_t table_bytes;
} world;

static void clean_up(void)
{
	unlink(world.table);
	unlink(world.volume);
	rmdir(world.dir);
}

static hf_pin_id pin(hf_volume *v, const char *path, uint64_t off, uint64_t len)
{
	struct hf_pin_options o = {.struct_size = sizeof(o), .tag = "fuzz"};
	struct iovec iov[64];
	size_t n = 64;
	hf_file *f = NULL;
	hf_pin_id id;

	OK(hf_open(v, path, HF_O_RDWR, 0, &f));
	OK(hf_pin(f, off, len, &o, iov, &n, &id));
	OK(hf_close(&f));
	return id;
}

static void take_table(void)
{
	int fd = open(world.table, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, world.pristine, TABLE_MAX);

	FUZZ_MUST(n > 0, "no table of pins in %s", world.table);
	world.table_bytes = (size_t)n;
	close(fd);
}

/* A file of many extents, each second one of its blocks, so that its pin has chunks. */
static void scatter(hf_volume *v)
{
	hf_file *f = NULL, *g = NULL;

	OK(hf_open(v, "/scattered", HF_O_RDWR | HF_O_CREAT, 0600, &f));
	OK(hf_open(v, "/between", HF_O_RDWR | HF_O_CREAT, 0600, &g));
	for (unsigned i = 0; i < 40; i++) {
		OK(hf_append(f, world.pristine, HF_BLOCK_SIZE, NULL));
		OK(hf_append(g, world.pristine, HF_BLOCK_SIZE, NULL));
	}
	OK(hf_close(&f));
	OK(hf_close(&g));
}

static void make_world(const struct fuzz_image *im)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .max_cached_inodes = 256, .flags = HF_MOUNT_NO_MSYNC};
	struct pins_file_name name;
	hf_pin_id id[PINS];
	struct stat st;
	hf_volume *v;
	int fd;

	snprintf(world.dir, sizeof(world.dir), "/dev/shm/fuzz-pins-%d", (int)getpid());
	snprintf(world.volume, sizeof(world.volume), "%s/volume", world.dir);
	FUZZ_MUST(mkdir(world.dir, 0700) == 0 && setenv("HOLDFAST_RUNTIME_DIR", world.dir, 1) == 0, "%s", world.dir);
	fd = open(world.volume, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	FUZZ_MUST(fd >= 0 && write(fd, im->bytes, FUZZ_BYTES) == (ssize_t)FUZZ_BYTES && fstat(fd, &st) == 0, "%s", world.volume);
	world.bytes = mmap(NULL, FUZZ_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	FUZZ_MUST(world.bytes != MAP_FAILED, "no memory");
	close(fd);
	pins_file_name(&st, &name);
	snprintf(world.table, sizeof(world.table), "%s/%s", world.dir, name.s);
	atexit(clean_up);
	OK(hf_mount(&v, world.volume, &o));
	scatter(v);
	id[0] = pin(v, "/scattered", 0, 40 * HF_BLOCK_SIZE);
	id[1] = pin(v, "/blocks", 0, 20000);
	id[2] = pin(v, "/huge", 0, 2 << 20);
	id[3] = pin(v, "/huge", 4096, 8192);
	id[4] = pin(v, "/block", 0, 100);
	OK(hf_syncfs(v));
	take_table();
	for (unsigned i = 0; i < PINS; i++)
		OK(hf_unpin(v, id[i]));
	OK(hf_unmount(&v));
	memcpy(world.bytes, im->bytes, FUZZ_BYTES);	/* the volume of the mutations: what is pinned may be free there */
}

/* ---- an input */

static void put(uint8_t *p, uint64_t v, unsigned size)
{
	for (unsigned i = 0; i < size; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

static uint64_t get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	while (size-- > 0)
		v = v << 8 | p[size];
	return v;
}

static size_t edit_table(const uint8_t *data, size_t size, uint8_t *table)
{
	static const struct {
		uint16_t off, size;
	} rec[] = {{0, 3}, {3, 5}, {8, 8}, {24, 8}, {32, 8}, {48, 4}, {56, 4}, {60, 4}, {64, 8}, {72, 8}, {79, 1}, {111, 1}, {175, 1}, {8, 4}, {12, 4}},
	  head[] = {{8, 4}, {12, 4}, {16, 8}, {32, 8}, {40, 8}, {48, 8}, {56, 8}};
	struct fuzz_step s[FUZZ_STEPS_MAX];
	const struct fuzz_image *im = fuzz_image(false);
	unsigned n = fuzz_steps(data, size, 1u << FUZZ_RAW | 1u << FUZZ_COPY_BLOCK, s);
	size_t len = world.table_bytes;

	memcpy(table, world.pristine, len);
	for (unsigned i = 0; i < n; i++) {
		uint32_t at = s[i].object % RECORDS, from = s[i].aux % RECORDS;
		uint8_t *to = table + (at ? pins_offset(at) : 0), *other = table + (from ? pins_offset(from) : PINS_HEAD_BYTES);
		unsigned off = at ? rec[s[i].field % 15].off : head[s[i].field % 7].off;
		unsigned bytes = at ? rec[s[i].field % 15].size : head[s[i].field % 7].size;

		if (s[i].kind == FUZZ_COPY_BLOCK && s[i].how > 0xf0)
			len = (size_t)(s[i].value % world.table_bytes);
		else if (s[i].kind == FUZZ_COPY_BLOCK && at)
			memcpy(to, other, sizeof(struct pins_rec));
		else
			put(to + off, fuzz_value(im, &s[i], get(to + off, bytes), get(other + off, bytes)), bytes);
	}
	return len;
}

static int show(void *ctx, const struct pins_entry *e)
{
	uint64_t *sum = ctx;

	for (size_t i = 0; i < e->n; i++)
		*sum += e->ext[i].first ^ e->ext[i].n;
	*sum += strlen(e->tag) + strlen(e->name);
	return 0;
}

static void add_up(hf_volume *v, bool released)
{
	struct hf_busy b[16];
	uint64_t cursor = 0;
	struct hf_statfs st;
	size_t n;

	OK(hf_statfs(v, &st));
	FUZZ_MUST(st.blocks_free + st.blocks_busy_journal + st.blocks_busy_pinned + st.blocks_used == st.blocks, "space does not add up");
	FUZZ_MUST(!released || st.blocks_busy_pinned == 0, "%llu blocks are busy, and all was released",
		  (unsigned long long)st.blocks_busy_pinned);
	while (cursor != UINT64_MAX)
		OK(hf_busy_list(v, &cursor, b, 16, &n));
}

static void list_pins(hf_volume *v)
{
	struct hf_pin_info p[16];
	uint64_t cursor = 0;
	size_t n;

	while (cursor != UINT64_MAX) {
		OK(hf_pin_list(v, &cursor, p, 16, &n));
		for (size_t i = 0; i < n; i++) {
			struct iovec iov[8];
			size_t niov = 8;

			(void)hf_pin_iov(v, p[i].pin, iov, &niov);
			FUZZ_MUST(hf_unpin(v, p[i].pin) < 0, "an orphaned pin was dropped like one's own");
		}
	}
}

static void use(hf_volume *v)
{
	hf_file *f = NULL;

	OK(hf_open(v, "/new", HF_O_RDWR | HF_O_CREAT, 0600, &f));
	(void)hf_append(f, world.pristine, 100000, NULL);
	OK(hf_ftruncate(f, 0));
	OK(hf_close(&f));
	OK(hf_truncate(v, "/blocks", 0));
	OK(hf_unlink(v, "/huge"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hf_mount_options o = {.struct_size = sizeof(o), .max_cached_inodes = 256, .flags = HF_MOUNT_NO_MSYNC};
	struct hf_check_options co = {.struct_size = sizeof(co)};
	const struct fuzz_image *im = fuzz_image(false);
	static uint8_t table[TABLE_MAX];
	struct hf_check_result res;
	struct pins_owner owner;
	uint64_t sum = 0, n;
	hf_volume *v;
	size_t len;
	int fd;

	if (!world.bytes)
		make_world(im);
	len = edit_table(data, size, table);
	fd = open(world.table, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_MUST(fd >= 0 && write(fd, table, len) == (ssize_t)len, "%s", world.table);
	close(fd);
	(void)pins_table_read(world.volume, im->geo.uuid, &owner, show, &sum);
	OK(hf_mount(&v, world.volume, &o));
	add_up(v, false);
	list_pins(v);
	use(v);
	add_up(v, false);
	OK(hf_release_orphaned(v, &n));
	add_up(v, true);
	OK(hf_check_mounted(v, &co, &res));
	FUZZ_MUST(res.findings == 0, "pins of a dead owner damaged the volume");
	OK(hf_unmount(&v));
	memcpy(world.bytes, im->bytes, FUZZ_BYTES);
	return 0;
}

void target_verdict(const uint8_t *data, size_t size, char *out, size_t room)
{
	(void)data;
	(void)size;
	snprintf(out, room, "mount: ok; fsck: clean");
}

int target_write(const uint8_t *data, size_t size, FILE *to)
{
	(void)data;
	(void)size;
	(void)to;
	return -1;
}
