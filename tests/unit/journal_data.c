/* Records that vouch for data: what recovery believes, what sealing is for, and what it costs. */
#include "cunit_main.h"
#include "journal_sim.h"
#include "journal/internal.h"

#include <pthread.h>
#include <unistd.h>

#define WHOLE UINT64_MAX

struct vol {
	struct sim *sim;
	struct geo geo;
	struct journal *j;
	uint64_t words, data; /* offsets of metadata, and of file data */
	_Atomic jopen_t mark;
};

static void vol_at(struct vol *v)
{
	v->words = v->geo.first_data.v * HF_BLOCK_SIZE;
	v->data = v->words + 4 * HF_BLOCK_SIZE;
	v->sim->pm->no_threads = true;
}

static struct vol vol_new(void)
{
	struct vol v = {.sim = sim_new(4ull << 20)};
	struct mkfs_args args = {0};

	if (mkfs_write(v.sim->pm, &args) || geo_read(v.sim->pm, &v.geo))
		abort();
	vol_at(&v);
	if (journal_open(v.sim->pm, &v.geo, &v.j))
		abort();
	journal_thread_number(2); /* lane 0 */
	return v;
}

static void vol_free(struct vol *v)
{
	journal_close(&v->j);
	sim_free(v->sim);
}

/* Data of 'len' bytes at 'at', and a word that says so. */
static int append(struct vol *v, uint64_t at, uint32_t len, uint64_t i, uint8_t fill)
{
	struct txn *t = txn_begin(v->j);
	void *p = txn_data(t, MOFF(v->data + at), len, &v->mark);

	if (p)
		memset(p, fill, len);
	txn_set64(t, MOFF(v->words + i * 8), fill);
	return txn_commit(t, NULL);
}

static int change(struct vol *v, uint64_t i, uint64_t value)
{
	struct txn *t = txn_begin(v->j);

	txn_set64(t, MOFF(v->words + i * 8), value);
	return txn_commit(t, NULL);
}

/* The volume after a crash now, at which none of the words was in place yet, opened again. The byte 'spoilt' of the data is
 * another one than was stored. */
static int crash(struct vol *v, uint64_t spoilt, struct vol *after)
{
	memset(after, 0, sizeof(*after));
	after->geo = v->geo;
	after->sim = sim_new(v->sim->size);
	vol_at(after);
	memcpy(after->sim->mem, v->sim->mem, v->sim->size);
	memset(after->sim->mem + v->words, 0, HF_BLOCK_SIZE);
	if (spoilt != WHOLE)
		after->sim->mem[v->data + spoilt] ^= 0x10;
	memcpy(after->sim->shadow, after->sim->mem, v->sim->size);
	return journal_open(after->sim->pm, &after->geo, &after->j);
}

static uint64_t word_after(struct vol *v, uint64_t spoilt, uint64_t i)
{
	struct vol after;
	uint64_t value = UINT64_MAX;

	CU_ASSERT_EQUAL(crash(v, spoilt, &after), 0);
	if (after.j)
		value = pm_load64(after.sim->pm, MOFF(after.words + i * 8));
	vol_free(&after);
	return value;
}

/* The last record of a lane counts with its data, and not without. */
static void test_last(void)
{
	struct vol v = vol_new();

	CU_ASSERT_EQUAL(append(&v, 0, 100, 0, 1), 0);
	CU_ASSERT_TRUE(journal_is_open(v.j, v.mark));
	CU_ASSERT_EQUAL(word_after(&v, WHOLE, 0), 1);
	for (uint64_t byte = 0; byte < 100; byte += 9)
		CU_ASSERT_EQUAL(word_after(&v, byte, 0), 0);
	CU_ASSERT_EQUAL(word_after(&v, 100, 0), 1); /* is not its data's */
	vol_free(&v);
}

/* Of several pieces all. */
static void test_pieces(void)
{
	struct vol v = vol_new();
	struct txn *t = txn_begin(v.j);

	memset(txn_data(t, MOFF(v.data), 10, &v.mark), 1, 10);
	txn_set64(t, MOFF(v.words), 5);
	memset(txn_data(t, MOFF(v.data + 5000), 300, &v.mark), 2, 300);
	CU_ASSERT_EQUAL(txn_commit(t, NULL), 0);
	CU_ASSERT_EQUAL(word_after(&v, WHOLE, 0), 5);
	CU_ASSERT_EQUAL(word_after(&v, 9, 0), 0);
	CU_ASSERT_EQUAL(word_after(&v, 5299, 0), 0);
	t = txn_begin(v.j);
	CU_ASSERT_PTR_NOT_NULL(txn_data(t, MOFF(v.data), TXN_DATA_BYTES, &v.mark));
	CU_ASSERT_PTR_NULL(txn_data(t, MOFF(v.data + 8192), 1, &v.mark));
	CU_ASSERT_EQUAL(txn_commit(t, NULL), -E2BIG);
	vol_free(&v);
}

/* One that has a successor counts whatever became of its data: right behind it, or in the lane's other half. */
static void test_not_last(void)
{
	struct vol v = vol_new();
	uint64_t left = 4 * HF_LINE;

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	CU_ASSERT_EQUAL(change(&v, 1, 2), 0);
	CU_ASSERT_FALSE(journal_is_open(v.j, v.mark));
	CU_ASSERT_EQUAL(word_after(&v, 3, 0), 1);
	while (v.j->half_bytes - v.j->lanes[0].off > left)
		CU_ASSERT_EQUAL_FATAL(change(&v, 1, 3), 0);
	CU_ASSERT_EQUAL(append(&v, 64, 8, 8, 4), 0);
	while (v.j->lanes[0].half == 0)
		CU_ASSERT_EQUAL_FATAL(append(&v, 128, 8, 16, 5), 0);
	CU_ASSERT_EQUAL(word_after(&v, 66, 8), 4);
	CU_ASSERT_EQUAL(word_after(&v, 130, 8), 4);
	vol_free(&v);
}

/* Numbers that are missing in one lane are no reason to refuse what came later in another. */
static void test_other_lane(void)
{
	struct vol v = vol_new();

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	journal_thread_number(3);
	for (uint64_t i = 1; i < 5; i++)
		CU_ASSERT_EQUAL(change(&v, 8, i), 0);
	CU_ASSERT_EQUAL(word_after(&v, 0, 0), 0);
	CU_ASSERT_EQUAL(word_after(&v, 0, 8), 4);
	CU_ASSERT_TRUE(journal_is_open(v.j, v.mark));
	vol_free(&v);
}

static void test_seal(void)
{
	struct vol v = vol_new();
	uint64_t fences;

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	journal_thread_number(3); /* from another lane */
	fences = v.sim->fences;
	CU_ASSERT_EQUAL(journal_seal(v.j, v.mark), 0);
	CU_ASSERT_EQUAL(v.sim->fences, fences + 1);
	CU_ASSERT_FALSE(journal_is_open(v.j, v.mark));
	CU_ASSERT_EQUAL(word_after(&v, 0, 0), 1);
	/* Once is enough. */
	CU_ASSERT_EQUAL(journal_seal(v.j, v.mark), 0);
	CU_ASSERT_EQUAL(journal_seal(v.j, 0), 0);
	CU_ASSERT_EQUAL(v.sim->fences, fences + 1);
	/* A checkpoint is as good. */
	CU_ASSERT_EQUAL(append(&v, 64, 64, 8, 1), 0);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	fences = v.sim->fences;
	CU_ASSERT_EQUAL(journal_seal(v.j, v.mark), 0);
	CU_ASSERT_EQUAL(v.sim->fences, fences);
	vol_free(&v);
}

static void test_seal_all(void)
{
	struct vol v = vol_new();

	for (uint32_t i = 0; i < v.geo.nlanes; i++) {
		journal_thread_number(i + 2);
		v.mark = 0;
		CU_ASSERT_EQUAL(append(&v, i * 64, 64, i * 8, 9), 0);
	}
	CU_ASSERT_EQUAL(journal_seal_all(v.j), 0);
	for (uint32_t i = 0; i < v.geo.nlanes; i++)
		CU_ASSERT_EQUAL(word_after(&v, i * 64, i * 8), 9);
	vol_free(&v);
}

/* A lane that is full is sealed all the same. */
static void test_seal_full(void)
{
	struct vol v = vol_new();

	journal_thread_number(2);
	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	while (v.j->lanes[0].half == 0 || v.j->half_bytes - v.j->lanes[0].off > 2 * HF_LINE)
		CU_ASSERT_EQUAL_FATAL(append(&v, 0, 64, 0, 1), 0);
	v.j->lanes[0].off = v.j->half_bytes;
	CU_ASSERT_EQUAL(journal_seal(v.j, v.mark), 0);
	CU_ASSERT_FALSE(journal_is_open(v.j, v.mark));
	vol_free(&v);
}

/* Two lanes for one mark: the earlier is sealed, for nobody could seal it later. */
static void test_two_lanes(void)
{
	struct vol v = vol_new();

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	CU_ASSERT_TRUE(journal_may_open(v.j, v.mark));
	journal_thread_number(3);
	CU_ASSERT_FALSE(journal_may_open(v.j, v.mark));
	CU_ASSERT_EQUAL(append(&v, 64, 64, 8, 2), 0);
	CU_ASSERT_EQUAL(word_after(&v, 0, 0), 1);
	CU_ASSERT_EQUAL(word_after(&v, 64, 8), 0);
	CU_ASSERT_TRUE(journal_may_open(v.j, v.mark));
	vol_free(&v);
}

/* A successor that is under way is none: the seal waits for it. */
struct sealing {
	struct vol *v;
	_Atomic int done;
	int err;
};

static void *run_seal(void *arg)
{
	struct sealing *s = arg;

	s->err = journal_seal(s->v->j, s->v->mark);
	atomic_store(&s->done, 1);
	return NULL;
}

static void test_under_way(void)
{
	struct vol v = vol_new();
	struct sealing s = {.v = &v};
	pthread_t t;

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	CU_ASSERT_TRUE_FATAL(lane_try(&v.j->lanes[0]));
	lane_take_number(v.j, &v.j->lanes[0]);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, run_seal, &s), 0);
	for (int i = 0; i < 200; i++)
		sched_yield();
	CU_ASSERT_EQUAL(atomic_load(&s.done), 0);
	CU_ASSERT_TRUE(journal_is_open(v.j, v.mark));
	atomic_store(&v.j->lanes[0].inflight, 0);
	lane_release(&v.j->lanes[0]);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(s.err, 0);
	CU_ASSERT_EQUAL(word_after(&v, 0, 0), 1);
	vol_free(&v);
}

/* Half of the data's lines are in the cache of a killed process, and then power fails. */
static void test_killed(void)
{
	struct vol v = vol_new(), a;
	uint8_t *image = malloc(v.sim->size);

	v.sim->fail_fence = v.sim->fences + 1; /* neither data nor record are durable, all of both visible */
	CU_ASSERT_EQUAL(append(&v, 0, 256, 0, 6), -EIO);
	memset(&a, 0, sizeof(a));
	a.geo = v.geo;
	a.sim = sim_new(v.sim->size);
	sim_kill(a.sim, v.sim);
	vol_at(&a);
	CU_ASSERT_EQUAL(journal_open(a.sim->pm, &a.geo, &a.j), 0);
	CU_ASSERT_EQUAL(pm_load64(a.sim->pm, MOFF(a.words)), 6);
	/* What was believed is durable. */
	CU_ASSERT_EQUAL(memcmp(a.sim->shadow + a.data, v.sim->mem + v.data, 256), 0);
	free(image);
	vol_free(&a);
	vol_free(&v);
}

/* An item that no volume has. */
static void test_refused(void)
{
	struct vol v = vol_new(), a;
	static const uint64_t bad[][2] = {{0, 64}, {4096, 0}, {4096, FMT_ITEM_DATA_MAX + 1}, {UINT64_MAX >> 9, 8}};

	for (size_t i = 0; i < HF_COUNT(bad); i++) {
		struct fmt_record *r;
		uint8_t *p = v.sim->mem + lane_off(&v.geo, 0, 0).v;
		le64_t w[3] = {le64_of(FMT_ITEM(FMT_ITEM_DATA, i ? v.data : 0)), le64_of(bad[i][1]), le64_of(0)};

		if (i == 3)
			w[0] = le64_of(FMT_ITEM(FMT_ITEM_DATA, bad[i][0] & 0xfffffffffffull));
		memset(p, 0, HF_LINE);
		r = (struct fmt_record *)(void *)p;
		r->seq = le64_of(v.geo.nlanes + 1);
		r->bytes = le32_of(HF_LINE);
		r->items = le32_of(1);
		memcpy(p + RECORD_HEAD, w, sizeof(w));
		r->csum = le64_of(hash_bytes(p + 8, HF_LINE - 8, fmt_record_seed(&v.geo, 0, 0, 0)));
		CU_ASSERT_EQUAL(crash(&v, WHOLE, &a), -EUCLEAN);
		vol_free(&a);
	}
	vol_free(&v);
}

static int count_records(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r)
{
	(void)lane;
	(void)half;
	(void)off;
	(void)r;
	++*(unsigned *)ctx;
	return 0;
}

/* Below C nobody asks for the data: who walks all records, as fsck does, must not stumble over what became of them. */
static void test_below_c(void)
{
	struct vol v = vol_new();
	unsigned n = 0;

	CU_ASSERT_EQUAL(append(&v, 0, 64, 0, 1), 0);
	v.sim->mem[v.data] ^= 1;
	CU_ASSERT_EQUAL(journal_walk(v.sim->pm, &v.geo, count_records, &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(journal_checkpoint(v.j), 0);
	CU_ASSERT_EQUAL(journal_walk(v.sim->pm, &v.geo, count_records, &n), 0);
	CU_ASSERT_EQUAL(n, 1);
	vol_free(&v);
}

/* Data that cannot be read (the page behind a file that was cut short stands for bad media) may be those of an append that has
 * returned: it counts, and who reads them gets -EIO. */
static void test_unreadable(void)
{
	struct pm_open_args args = {.force_gran = true, .gran = PM_LINE, .no_threads = true};
	struct journal_stat st;
	struct mkfs_args mk = {0};
	struct vol v = {0};
	struct sim s = {0};

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(4ull << 20, &args, &s.pm), 0);
	CU_ASSERT_EQUAL(mkfs_write(s.pm, &mk), 0);
	CU_ASSERT_EQUAL(geo_read(s.pm, &v.geo), 0);
	v.sim = &s;
	vol_at(&v);
	CU_ASSERT_EQUAL_FATAL(journal_open(s.pm, &v.geo, &v.j), 0);
	journal_thread_number(2);
	CU_ASSERT_EQUAL(append(&v, 0, 100, 0, 1), 0);
	journal_shutdown(v.j, -EIO); /* no checkpoint */
	(void)journal_close(&v.j);
	pm_store64(s.pm, MOFF(v.words), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(s.pm->member[0].fd, (off_t)v.data), 0);
	CU_ASSERT_EQUAL_FATAL(journal_open(s.pm, &v.geo, &v.j), 0);
	CU_ASSERT_EQUAL(pm_load64(s.pm, MOFF(v.words)), 1);
	journal_stat(v.j, &st);
	CU_ASSERT_EQUAL(st.replayed, 1);
	CU_ASSERT_EQUAL(journal_close(&v.j), 0);
	pm_close(&s.pm);
}

static const struct hf_case cases[] = {
    {"last", test_last},
    {"pieces", test_pieces},
    {"not_last", test_not_last},
    {"other_lane", test_other_lane},
    {"seal", test_seal},
    {"seal_all", test_seal_all},
    {"seal_full", test_seal_full},
    {"two_lanes", test_two_lanes},
    {"under_way", test_under_way},
    {"killed", test_killed},
    {"refused", test_refused},
    {"unreadable", test_unreadable},
    {"below_c", test_below_c},
};

int main(void)
{
	return hf_run_suite("journal_data", cases, HF_COUNT(cases));
}
