/* Random operations on two files, in step with a model in memory: sizes and offsets at and around
 * 128 bytes, blocks and frames. A failure names its seed: HF_TEST_SEED=<n> HF_TEST_ROUNDS=1 repeats
 * it. */
#include "file_vol.h"

#include <sys/uio.h>

#define MODEL_MAX   (7 * MIB)
#define MODEL_FILES 2

struct model_file {
	hf_file *f;
	uint64_t size;
	uint8_t *bytes; /* MODEL_MAX; zeros at and beyond size */
};
struct model {
	hf_volume *vol;
	const char *path; /* NULL: in memory */
	unsigned mount_flags;
	struct vol_rand rnd;
	uint64_t seed, step, stamp;
	struct model_file file[MODEL_FILES];
	uint8_t *buf;
	bool bad;
	char what[160];
};

static void model_fail(struct model *m, const char *why)
{
	if (!m->bad)
		fprintf(stderr, "seed %llu step %llu: %s: %s (last message: %s)\n",
			(unsigned long long)m->seed, (unsigned long long)m->step, m->what, why,
			hf_errormsg());
	m->bad = true;
	CU_ASSERT(false);
}

/* An offset that somebody may have got wrong. */
static uint64_t model_off(struct model *m, uint64_t limit)
{
	static const uint64_t marks[] = {0,	    64,	       128, BLK,     2 * BLK,
					 100 * BLK, FRM - BLK, FRM, 2 * FRM, 3 * FRM};
	uint64_t off;

	switch (vol_below(&m->rnd, 4)) {
	case 0:
		off = vol_below(&m->rnd, limit + 1);
		break;
	case 1:
		off = vol_below(&m->rnd, limit / BLK + 1) * BLK;
		break;
	default:
		off = marks[vol_below(&m->rnd, HF_COUNT(marks))] + vol_below(&m->rnd, 5) - 2;
		break;
	}
	return off > limit ? off % (limit + 1) : off;
}

static uint64_t model_len(struct model *m, uint64_t max)
{
	static const uint64_t lens[] = {1,   8,	      63,	127,	 128, 129,	BLK - 1,
					BLK, BLK + 1, 64 * KIB, FRM - 1, FRM, FRM + BLK};
	uint64_t len;

	if (vol_below(&m->rnd, 3))
		len = lens[vol_below(&m->rnd, vol_below(&m->rnd, 3) ? 10 : HF_COUNT(lens))];
	else
		len = 1 + vol_below(&m->rnd, vol_below(&m->rnd, 8) ? 20000 : 3 * MIB);
	return len > max ? 1 + len % max : len;
}

static void model_compare(struct model *m, struct model_file *f, uint64_t off, uint64_t len)
{
	uint64_t want = off >= f->size ? 0 : (len < f->size - off ? len : f->size - off);
	ssize_t got;

	memset(m->buf, 0xee, len);
	got = hf_pread(f->f, m->buf, len, off);
	if (got != (ssize_t)want) {
		model_fail(m, "a read gave another count");
		return;
	}
	for (uint64_t i = 0; i < want; i++) {
		if (m->buf[i] != f->bytes[off + i]) {
			char why[160];

			snprintf(why, sizeof(why),
				 "file %d byte %llu is %02x, not %02x (read at %llu, size %llu)",
				 (int)(f - m->file), (unsigned long long)(off + i), m->buf[i],
				 f->bytes[off + i], (unsigned long long)off,
				 (unsigned long long)f->size);
			model_fail(m, why);
			return;
		}
	}
	if (want < len && m->buf[want] != 0xee)
		model_fail(m, "a read wrote behind what it returned");
}

static void model_compare_all(struct model *m)
{
	struct hf_stat st;

	for (int i = 0; i < MODEL_FILES; i++) {
		if (hf_fstat(m->file[i].f, &st) || st.size != m->file[i].size)
			model_fail(m, "another size");
		model_compare(m, &m->file[i], 0, MODEL_MAX);
	}
}

static void model_raise(struct model_file *f, uint64_t end)
{
	if (end > f->size)
		f->size = end;
}

static void model_cut(struct model_file *f, uint64_t size)
{
	if (size < f->size)
		memset(f->bytes + size, 0, f->size - size);
	f->size = size;
}

/* ---- the operations */

static void op_write(struct model *m, struct model_file *f)
{
	uint64_t off = model_off(m, MODEL_MAX - 1), len = model_len(m, MODEL_MAX - off);
	uint64_t cut = vol_below(&m->rnd, len + 1), how = vol_below(&m->rnd, 4), at = off;
	struct iovec iov[3] = {{m->buf, cut}, {NULL, 0}, {m->buf + cut, len - cut}};
	ssize_t got;

	if (how == 1 && f->size + len > MODEL_MAX)
		how = 0;
	snprintf(m->what, sizeof(m->what), "write %llu at %llu (way %llu, size %llu)",
		 (unsigned long long)len, (unsigned long long)off, (unsigned long long)how,
		 (unsigned long long)f->size);
	vol_fill(m->buf, len, ++m->stamp);
	if (how == 0)
		got = hf_pwritev(f->f, iov, 3, off);
	else if (how == 1)
		got = hf_append(f->f, m->buf, len, &at);
	else
		got = hf_pwrite(f->f, m->buf, len, off);
	if (got != (ssize_t)len || (how == 1 && at != f->size)) {
		model_fail(m, "another count");
		return;
	}
	memcpy(f->bytes + at, m->buf, len);
	model_raise(f, at + len);
	model_compare(m, f, at > 5000 ? at - 5000 : 0, 10000);
}

static void op_truncate(struct model *m, struct model_file *f)
{
	uint64_t size = model_off(m, MODEL_MAX);

	snprintf(m->what, sizeof(m->what), "truncate %llu -> %llu", (unsigned long long)f->size,
		 (unsigned long long)size);
	if (hf_ftruncate(f->f, size))
		model_fail(m, "refused");
	model_cut(f, size);
}

static void op_range(struct model *m, struct model_file *f)
{
	static const int modes[] = {0,
				    FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE,
				    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[vol_below(&m->rnd, HF_COUNT(modes))];
	uint64_t off = model_off(m, MODEL_MAX - 1), len = model_len(m, MODEL_MAX - off), end;

	snprintf(m->what, sizeof(m->what), "fallocate mode %#x [%llu, +%llu) size %llu",
		 (unsigned)mode, (unsigned long long)off, (unsigned long long)len,
		 (unsigned long long)f->size);
	if (hf_fallocate(f->f, mode, off, len)) {
		model_fail(m, "refused");
		return;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		model_raise(f, off + len);
	end = off + len < f->size ? off + len : f->size;
	if ((mode & ~FALLOC_FL_KEEP_SIZE) && off < end)
		memset(f->bytes + off, 0, end - off);
	model_compare(m, f, off > 5000 ? off - 5000 : 0, 10000);
}

static void op_shift(struct model *m, struct model_file *f)
{
	uint64_t off = model_off(m, f->size) / BLK * BLK, len = (1 + vol_below(&m->rnd, 600)) * BLK;
	bool insert = vol_below(&m->rnd, 2) != 0;
	int want = 0, got;

	if (vol_below(&m->rnd, 4) == 0)
		len = FRM;
	if (insert && f->size + len > MODEL_MAX)
		return;
	if (insert ? off >= f->size : off + len >= f->size)
		want = -EINVAL;
	snprintf(m->what, sizeof(m->what), "%s [%llu, +%llu) size %llu",
		 insert ? "insert" : "collapse", (unsigned long long)off, (unsigned long long)len,
		 (unsigned long long)f->size);
	got = hf_fallocate(f->f, insert ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, off,
			   len);
	if (got != want)
		model_fail(m, "another result");
	if (got)
		return;
	if (insert) {
		memmove(f->bytes + off + len, f->bytes + off, f->size - off);
		memset(f->bytes + off, 0, len);
		f->size += len;
	} else {
		memmove(f->bytes + off, f->bytes + off + len, f->size - off - len);
		model_cut(f, f->size - len);
	}
}

static void op_copy(struct model *m, struct model_file *f)
{
	struct model_file *to = &m->file[vol_below(&m->rnd, MODEL_FILES)];
	uint64_t from = model_off(m, MODEL_MAX - 1), at = model_off(m, MODEL_MAX - 1), n;
	uint64_t len = model_len(m, MODEL_MAX - (from > at ? from : at));
	int64_t want, got;

	n = from >= f->size ? 0 : (len < f->size - from ? len : f->size - from);
	want = to == f && n && from < at + n && at < from + n ? -EINVAL : (int64_t)n;
	snprintf(m->what, sizeof(m->what),
		 "copy %llu from %llu of %d (size %llu) to %llu of %d (size %llu)",
		 (unsigned long long)len, (unsigned long long)from, (int)(f - m->file),
		 (unsigned long long)f->size, (unsigned long long)at, (int)(to - m->file),
		 (unsigned long long)to->size);
	got = hf_copy_file_range(f->f, from, to->f, at, len);
	if (got != want)
		model_fail(m, "another count");
	if (got <= 0)
		return;
	memmove(to->bytes + at, f->bytes + from, n);
	model_raise(to, at + n);
	model_compare(m, to, at > 5000 ? at - 5000 : 0, 10000);
}

/* What SEEK_HOLE calls a hole reads as zeros, what lies before it is SEEK_DATA's, and the extents
 * agree. */
static void op_seek(struct model *m, struct model_file *f)
{
	uint64_t off = 0, end;
	int64_t data, hole;

	snprintf(m->what, sizeof(m->what), "seek, size %llu", (unsigned long long)f->size);
	while (off < f->size) {
		data = hf_seek(f->f, off, SEEK_DATA);
		end = data < 0 ? f->size : (uint64_t)data;
		if (data < 0 && data != -ENXIO)
			model_fail(m, "SEEK_DATA");
		for (; off < end; off++) {
			if (f->bytes[off]) {
				model_fail(m, "a hole where there are bytes");
				return;
			}
		}
		if (data < 0)
			return;
		hole = hf_seek(f->f, off, SEEK_HOLE);
		if (hole <= (int64_t)off || hole > (int64_t)f->size) {
			model_fail(m, "SEEK_HOLE");
			return;
		}
		off = (uint64_t)hole;
	}
}

static const char *const model_names[MODEL_FILES] = {"/one", "/two"};

static void op_reopen(struct model *m)
{
	snprintf(m->what, sizeof(m->what), "reopen");
	for (int i = 0; i < MODEL_FILES; i++)
		if (hf_close(&m->file[i].f))
			model_fail(m, "close");
	if (m->path) {
		if (hf_unmount(&m->vol))
			model_fail(m, "unmount");
		CHECK(m->path);
		m->vol = vol_mount(m->path, m->mount_flags);
	}
	for (int i = 0; i < MODEL_FILES; i++)
		m->file[i].f = vol_create(m->vol, model_names[i]);
	model_compare_all(m);
}

static void model_step(struct model *m)
{
	struct model_file *f = &m->file[vol_below(&m->rnd, MODEL_FILES)];
	uint64_t what = vol_below(&m->rnd, 100);

	if (what < 40)
		op_write(m, f);
	else if (what < 52)
		op_truncate(m, f);
	else if (what < 70)
		op_range(m, f);
	else if (what < 80)
		op_shift(m, f);
	else if (what < 90)
		op_copy(m, f);
	else if (what < 94)
		op_seek(m, f);
	else if (what < 98)
		model_compare(m, f, model_off(m, MODEL_MAX - 1), 1 + vol_below(&m->rnd, 100000));
	else if (what < 99)
		op_reopen(m);
	else if (hf_syncfs(m->vol) || hf_fsync(f->f))
		model_fail(m, "sync");
	if (what < 90 && vol_below(&m->rnd, 16) == 0)
		model_compare_all(m);
}

static void model_round(const char *path, unsigned flags, uint64_t seed, uint64_t steps)
{
	struct model m = {
	    .path = path, .mount_flags = flags, .rnd = {seed}, .seed = seed, .stamp = seed};
	uint64_t used;

	m.vol = path ? vol_mount(path, flags) : vol_memory(64 * MIB);
	m.buf = malloc(MODEL_MAX);
	for (int i = 0; i < MODEL_FILES; i++) {
		OK(hf_close(&(hf_file *){vol_create(m.vol, model_names[i])}));
		OK(hf_unlink(m.vol, model_names[i]));
	}
	used = vol_used(m.vol);
	for (int i = 0; i < MODEL_FILES; i++) {
		m.file[i].f = vol_create(m.vol, model_names[i]);
		m.file[i].bytes = calloc(1, MODEL_MAX);
	}
	for (m.step = 0; m.step < steps && !m.bad; m.step++)
		model_step(&m);
	if (!m.bad)
		model_compare_all(&m);
	for (int i = 0; i < MODEL_FILES; i++) {
		OK(hf_close(&m.file[i].f));
		OK(hf_unlink(m.vol, model_names[i]));
		free(m.file[i].bytes);
	}
	CU_ASSERT_EQUAL(vol_used(m.vol), used);
	OK(hf_unmount(&m.vol));
	free(m.buf);
}

static void model_rounds(const char *path, unsigned flags, uint64_t rounds, uint64_t steps)
{
	uint64_t seed = vol_env("HF_TEST_SEED", 1);

	if (getenv("HF_TEST_SHORT"))
		rounds /= 8;
	rounds = vol_env("HF_TEST_ROUNDS", rounds);
	steps = vol_env("HF_TEST_STEPS", steps);
	for (uint64_t i = 0; i < rounds && CU_get_number_of_failures() == 0; i++)
		model_round(path, flags, seed + i, steps);
}

static void test_cache_line(void)
{
	model_rounds(NULL, 0, 40, 500);
}

static void test_page(void)
{
	const char *path = vol_path("rw-model");

	vol_format(path, 64 * MIB);
	model_rounds(path, 0, 20, 500);
	unlink(path);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"cache line", test_cache_line},
	    {"page", test_page},
	};

	return hf_run_suite("rw model", cases, HF_COUNT(cases));
}
