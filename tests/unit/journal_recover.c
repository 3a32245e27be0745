/* Recovery of journals that were made by hand: what is taken, what is refused, and that a refusal
 * stores nothing. */
#include "cunit_main.h"
#include "journal_sim.h"
#include "journal/internal.h"

#include <unistd.h>

struct vol {
	struct sim *sim;
	struct geo geo;
	struct journal *j;
	uint64_t base;
};

static struct vol vol_new(void)
{
	struct vol v = {.sim = sim_new(4ull << 20)};
	struct mkfs_args args = {0};

	if (mkfs_write(v.sim->pm, &args) || geo_read(v.sim->pm, &v.geo))
		abort();
	v.base = v.geo.first_data.v * HF_BLOCK_SIZE;
	return v;
}

static int vol_open(struct vol *v)
{
	return journal_open(v->sim->pm, &v->geo, &v->j);
}

static void vol_free(struct vol *v)
{
	if (v->j)
		journal_close(&v->j);
	sim_free(v->sim);
}

static uint64_t word(const struct vol *v, uint64_t off)
{
	return pm_load64(v->sim->pm, MOFF(v->base + off));
}

static uint8_t *lane_at(struct vol *v, uint32_t lane, uint32_t half, uint64_t off)
{
	return v->sim->mem + lane_off(&v->geo, lane, half).v + off;
}

static void seal(struct vol *v, uint32_t lane, uint32_t half, uint64_t off)
{
	struct fmt_record *r = (struct fmt_record *)(void *)lane_at(v, lane, half, off);

	r->csum = le64_of(hash_bytes((uint8_t *)r + 8, le32_get(r->bytes) - 8,
				     fmt_record_seed(&v->geo, lane, half, off)));
}

/* A record of one raw item with 'payload' bytes behind its 16. Returns its size. */
static uint64_t put_item(struct vol *v, uint32_t lane, uint32_t half, uint64_t off, uint64_t seq,
			 uint64_t head, uint64_t arg, const void *payload, uint64_t len)
{
	uint8_t *p = lane_at(v, lane, half, off);
	struct fmt_record *r = (struct fmt_record *)(void *)p;
	uint64_t bytes = round_up_u64(24 + 16 + len, 64);
	le64_t x;

	memset(p, 0, bytes);
	r->seq = le64_of(seq);
	r->bytes = le32_of((uint32_t)bytes);
	r->items = le32_of(1);
	x = le64_of(head);
	memcpy(p + 24, &x, 8);
	x = le64_of(arg);
	memcpy(p + 32, &x, 8);
	if (len > 0)
		memcpy(p + 40, payload, len);
	seal(v, lane, half, off);
	return bytes;
}

/* A record of 64 bytes that sets a word behind 'base'. */
static void put(struct vol *v, uint32_t lane, uint32_t half, uint64_t off, uint64_t seq,
		uint64_t at, uint64_t value)
{
	put_item(v, lane, half, off, seq, FMT_ITEM(FMT_ITEM_SET64, v->base + at), value, NULL, 0);
}

static void set_c(struct vol *v, unsigned copy, uint64_t c)
{
	uint64_t raw = htole64(fmt_ckpt_encode(&v->geo, JSEQ(c)));

	memcpy(v->sim->mem + (1 + copy) * HF_BLOCK_SIZE, &raw, 8);
}

static void test_order(void)
{
	struct vol v = vol_new();
	struct journal_stat st;

	put(&v, 1, 0, 0, 1, 0, 100);
	put(&v, 0, 1, 0, 2, 0, 200);
	put(&v, 0, 0, 0, 3, 0, 300);
	put(&v, 1, 0, 64, 4, 8, 400);
	put(&v, 1, 1, 0, 5, 0, 500);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 500);
	CU_ASSERT_EQUAL(word(&v, 8), 400);
	journal_stat(v.j, &st);
	CU_ASSERT(st.replayed == 5 && st.published.v == 5 + v.geo.nlanes &&
		  st.next.v == 6 + v.geo.nlanes);
	/* All of it is durable, not only visible. */
	CU_ASSERT_EQUAL(memcmp(v.sim->shadow + v.base, v.sim->mem + v.base, 64), 0);
	CU_ASSERT_EQUAL(memcmp(v.sim->shadow + 4096, v.sim->mem + 4096, 8192), 0);
	vol_free(&v);
}

static void test_up_to_c(void)
{
	struct vol v = vol_new();
	struct journal_stat st;

	put(&v, 0, 0, 0, 7, 0, 700);
	put(&v, 0, 0, 64, 8, 8, 800);
	put(&v, 0, 0, 128, 9, 16, 900);
	set_c(&v, 0, 8);
	set_c(&v, 1, 7);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 0);
	CU_ASSERT_EQUAL(word(&v, 8), 0);
	CU_ASSERT_EQUAL(word(&v, 16), 900);
	journal_stat(v.j, &st);
	CU_ASSERT(st.replayed == 1 && st.published.v == 9 + v.geo.nlanes);
	vol_free(&v);
}

/* The remains of an older lap behind the newer one are below C. */
static void test_laps(void)
{
	struct vol v = vol_new();

	put(&v, 0, 0, 0, 10, 0, 1000);
	put(&v, 0, 0, 64, 11, 8, 1100);
	put(&v, 0, 0, 128, 3, 0, 333);
	put(&v, 0, 0, 192, 4, 8, 444);
	set_c(&v, 0, 9);
	set_c(&v, 1, 9);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 1000);
	CU_ASSERT_EQUAL(word(&v, 8), 1100);
	journal_close(&v.j);
	/* Behind them one above C was never written. */
	set_c(&v, 0, 9);
	set_c(&v, 1, 9);
	put(&v, 0, 0, 256, 12, 16, 1200);
	CU_ASSERT_EQUAL(vol_open(&v), -EBADMSG);
	vol_free(&v);
}

static void test_torn_last(void)
{
	struct vol v = vol_new();
	struct journal_stat st;

	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 0, 0, 64, 2, 0, 2);
	lane_at(&v, 0, 0, 64)[50] ^= 4;
	put(&v, 1, 0, 0, 3, 8, 3);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 1);
	CU_ASSERT_EQUAL(word(&v, 8), 3);
	journal_stat(v.j, &st);
	CU_ASSERT(st.next.v == 4 + v.geo.nlanes && st.replayed == 2);
	vol_free(&v);
}

/* A record that a crash tore, and whose missing line comes later: from a record in its place with the same bytes there, which
 * is torn in its turn. It was not there when the numbers went on, so it is not there now. */
static void test_torn_completed(void)
{
	uint8_t content[64], line[64];
	struct vol v = vol_new();

	put(&v, 0, 0, 0, 1, 0, 1);
	memset(content, 7, sizeof(content));
	put_item(&v, 0, 0, 64, 2, FMT_ITEM(FMT_ITEM_COPY, v.base), sizeof(content), content,
		 sizeof(content));
	memcpy(line, lane_at(&v, 0, 0, 128), sizeof(line));
	memset(lane_at(&v, 0, 0, 128), 0, sizeof(line));
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 1);
	journal_close(&v.j);
	memcpy(lane_at(&v, 0, 0, 128), line, sizeof(line));
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 1);
	vol_free(&v);
}

static void refused(struct vol *v, int want)
{
	uint8_t *before = malloc(v->sim->size);
	uint64_t stores = v->sim->stores;
	int err;

	memcpy(before, v->sim->mem, v->sim->size);
	err = vol_open(v);
	if (err != want)
		printf("\n%d, not %d: %s\n", err, want, err_msg());
	CU_ASSERT_EQUAL(err, want);
	CU_ASSERT_PTR_NULL(v->j);
	CU_ASSERT_EQUAL(v->sim->stores, stores);
	CU_ASSERT_EQUAL(memcmp(before, v->sim->mem, v->sim->size), 0);
	free(before);
}

/* Any bit of a record that has a successor. */
static void test_damaged_middle(void)
{
	struct vol v = vol_new();

	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 0, 0, 64, 2, 0, 2);
	put(&v, 0, 0, 128, 3, 0, 3);
	for (unsigned bit = 0; bit < 512; bit += 7) {
		lane_at(&v, 0, 0, 64)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(&v, -EBADMSG);
		lane_at(&v, 0, 0, 64)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	memset(lane_at(&v, 0, 0, 0), 0, 64);
	refused(&v, -EBADMSG);
	vol_free(&v);
}

static void test_numbers(void)
{
	struct vol v = vol_new();

	/* Two lanes: two may be missing. */
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 1, 0, 0, 4, 8, 4);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 8), 4);
	vol_free(&v);

	v = vol_new();
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 1, 0, 0, 5, 8, 4);
	refused(&v, -EBADMSG);
	vol_free(&v);

	v = vol_new();
	put(&v, 0, 0, 0, 4, 0, 1);
	refused(&v, -EBADMSG);
	set_c(&v, 1, 1);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	vol_free(&v);

	v = vol_new();
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 1, 0, 0, 1, 8, 1);
	put(&v, 1, 0, 64, 2, 8, 1);
	refused(&v, -EBADMSG);
	vol_free(&v);

	/* One twice and one missing: the count is right. */
	v = vol_new();
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 1, 0, 0, 1, 8, 1);
	put(&v, 1, 0, 64, 3, 8, 1);
	refused(&v, -EBADMSG);
	vol_free(&v);

	/* One number three times, so that the count of missing ones would be below zero. */
	v = vol_new();
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 0, 1, 0, 1, 0, 1);
	put(&v, 1, 0, 0, 1, 8, 1);
	refused(&v, -EBADMSG);
	vol_free(&v);
}

static void test_c_copies(void)
{
	struct vol v = vol_new();
	jseq_t c;

	/* One is damaged. */
	set_c(&v, 0, 5);
	v.sim->mem[2 * 4096] ^= 1;
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(journal_published(v.j).v, 5 + v.geo.nlanes);
	journal_close(&v.j);
	/* Recovery, with nothing to replay, has written both: the larger number does not hang on
	 * one copy. */
	for (unsigned copy = 0; copy < 2; copy++) {
		set_c(&v, copy, 9);
		set_c(&v, !copy, 7);
		CU_ASSERT_EQUAL(vol_open(&v), 0);
		journal_close(&v.j);
		v.sim->mem[(1 + copy) * 4096] ^= 1;
		CU_ASSERT_EQUAL(journal_read_c(v.sim->pm, &v.geo, &c), 0);
		CU_ASSERT_EQUAL(c.v, 9 + v.geo.nlanes);
	}
	v.sim->mem[4096] = v.sim->mem[8192] = 0xff;
	v.sim->mem[4103] ^= 0x55;
	v.sim->mem[8199] ^= 0x55;
	refused(&v, -EBADMSG);
	vol_free(&v);
}

static void test_items(void)
{
	struct vol v = vol_new();
	uint64_t lanes = v.geo.lanes_off.v, end = v.geo.bytes, base = v.base, all = ~0ull;
	const struct {
		unsigned kind;
		uint64_t off, arg;
		unsigned len;
	} bad[] = {
	    {0, base, 0, 0},
	    {5, base, 0, 0},
	    {255, base, 0, 0},
	    {FMT_ITEM_SET64, base + 4, 0, 0},
	    {FMT_ITEM_SET64, 0, 0, 0},
	    {FMT_ITEM_SET64, 4096, 0, 0},
	    {FMT_ITEM_SET64, 3 * 4096, 0, 0},
	    {FMT_ITEM_SET64, lanes, 0, 0},
	    {FMT_ITEM_SET64, lanes + 65536, 0, 0},
	    {FMT_ITEM_SET64, base - 8, 0, 0},
	    {FMT_ITEM_SET64, end - 4096, 0, 0},
	    {FMT_ITEM_SET64, end, 0, 0},
	    {FMT_ITEM_SET64, 1ull << 55, 0, 0},
	    {FMT_ITEM_SET64, (1ull << 56) - 8, 0, 0},
	    {FMT_ITEM_BITS_SET, base * 8, 0, 0},
	    {FMT_ITEM_BITS_SET, base * 8, all, 0},
	    {FMT_ITEM_BITS_SET, base * 8, 1025, 0},
	    {FMT_ITEM_BITS_SET, lanes * 8 - 1, 2, 0},
	    {FMT_ITEM_BITS_CLEAR, (end - 4096) * 8 - 1, 2, 0},
	    {FMT_ITEM_BITS_CLEAR, 0, 1, 0},
	    {FMT_ITEM_BITS_CLEAR, end * 8, 1, 0},
	    {FMT_ITEM_BITS_CLEAR, (1ull << 56) - 1, 64, 0},
	    {FMT_ITEM_COPY, base, 8, 0}, /* fits: the padding is its payload, see below */
	    {FMT_ITEM_COPY, base, 0, 8},
	    {FMT_ITEM_COPY, base, 12, 16},
	    {FMT_ITEM_COPY, base, all - 7, 8},
	    {FMT_ITEM_COPY, base, 1 << 20, 64},
	    {FMT_ITEM_COPY, base + 4, 8, 8},
	    {FMT_ITEM_COPY, lanes - 8, 16, 16},
	    {FMT_ITEM_COPY, end - 4096 - 8, 16, 16},
	    {FMT_ITEM_COPY, base, 32, 24},
	};
	uint8_t payload[64] = {0};

	/* A good one before it in number: nothing of that either. */
	put(&v, 1, 0, 0, 1, 512, 77);
	for (size_t i = 0; i < HF_COUNT(bad); i++) {
		memset(lane_at(&v, 0, 0, 0), 0, 4096);
		if (bad[i].kind == FMT_ITEM_COPY && bad[i].arg == 8 && bad[i].len == 0)
			continue;
		put_item(&v, 0, 0, 0, 2, FMT_ITEM(bad[i].kind, bad[i].off), bad[i].arg, payload,
			 bad[i].len);
		refused(&v, -EUCLEAN);
	}
	/* More items than there are. */
	memset(lane_at(&v, 0, 0, 0), 0, 4096);
	put(&v, 0, 0, 0, 2, 0, 1);
	((struct fmt_record *)(void *)lane_at(&v, 0, 0, 0))->items = le32_of(2);
	seal(&v, 0, 0, 0);
	refused(&v, -EUCLEAN);
	((struct fmt_record *)(void *)lane_at(&v, 0, 0, 0))->items = le32_of(1);
	seal(&v, 0, 0, 0);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 512), 77);
	vol_free(&v);
}

/* Content that holds records, byte for byte, at line borders: inside a valid record, inside a torn
 * one, and as what is left of an older lap. Their place is not theirs. */
static void test_user_bytes(void)
{
	struct vol v = vol_new();
	struct journal_stat st;
	uint8_t content[24 + 256] = {0};

	/* Records with larger numbers, copied from where they were valid. */
	put(&v, 1, 1, 0, 4, 0, 0xbad);
	put(&v, 1, 1, 64, 5, 0, 0xbad);
	memcpy(content + 24, lane_at(&v, 1, 1, 0), 128);
	memcpy(content + 24 + 128, lane_at(&v, 1, 1, 0), 128);
	memset(lane_at(&v, 1, 1, 0), 0, 4096);

	put(&v, 0, 0, 0, 1, 0, 1);
	/* 24 of head, 16 of item, 24 of content: then a line border. */
	put_item(&v, 0, 0, 64, 2, FMT_ITEM(FMT_ITEM_COPY, v.base + 4096), sizeof(content), content,
		 sizeof(content));
	put_item(&v, 1, 0, 0, 3, FMT_ITEM(FMT_ITEM_COPY, v.base + 8192), sizeof(content), content,
		 sizeof(content));
	lane_at(&v, 1, 0, 0)[9] ^= 1;
	memcpy(lane_at(&v, 0, 1, 0), content + 24, 256);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 1);
	journal_stat(v.j, &st);
	CU_ASSERT(st.replayed == 2 && st.next.v == 3 + v.geo.nlanes);
	vol_free(&v);
}

/* A new format over an old one, with the same uuid: the lanes are empty; and were they not, the
 * seed is another. */
static void test_new_format(void)
{
	struct vol v = vol_new();
	struct mkfs_args args = {.uuid = v.geo.uuid};
	uint8_t uuid[16], *lanes;
	uint64_t bytes = v.geo.nlanes * v.geo.lane_bytes;

	memcpy(uuid, v.geo.uuid, 16);
	args.uuid = uuid;
	put(&v, 0, 0, 0, 1, 0, 1);
	put(&v, 0, 0, 64, 2, 0, 1);
	lanes = malloc(bytes);
	memcpy(lanes, lane_at(&v, 0, 0, 0), bytes);
	CU_ASSERT_EQUAL(mkfs_write(v.sim->pm, &args), 0);
	for (uint64_t i = 0; i < bytes; i += 8)
		if (pm_load64(v.sim->pm, moff_add(v.geo.lanes_off, i)) != 0)
			CU_FAIL("lanes are not empty");
	CU_ASSERT_EQUAL(geo_read(v.sim->pm, &v.geo), 0);
	memcpy(lane_at(&v, 0, 0, 0), lanes, bytes);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), 0);
	free(lanes);
	vol_free(&v);
}

/* A record never crosses the end of its half, and may end there. */
static void test_half_end(void)
{
	struct vol v = vol_new();
	uint64_t half = v.geo.lane_bytes / 2;
	struct fmt_record *r;

	for (uint64_t off = 0; off < half; off += 64)
		put(&v, 0, 0, off, 1 + off / 64, 0, 1 + off / 64);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), half / 64);
	journal_close(&v.j);
	vol_free(&v);
	v = vol_new();
	for (uint64_t off = 0; off < half; off += 64)
		put(&v, 0, 0, off, 1 + off / 64, 0, 1 + off / 64);
	r = (struct fmt_record *)(void *)lane_at(&v, 0, 0, half - 64);
	r->bytes = le32_of(128);
	r->csum =
	    le64_of(hash_bytes((uint8_t *)r + 8, 120, fmt_record_seed(&v.geo, 0, 0, half - 64)));
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	CU_ASSERT_EQUAL(word(&v, 0), half / 64 - 1);
	vol_free(&v);
}

/* A full journal: every line a record. */
static void test_many(void)
{
	struct vol v = vol_new();
	uint64_t seq = 0, half = v.geo.lane_bytes / 2;
	struct journal_stat st;

	for (uint32_t lane = 0; lane < v.geo.nlanes; lane++)
		for (uint32_t h = 0; h < 2; h++)
			for (uint64_t off = 0; off < half; off += 64, seq++)
				put(&v, lane, h, off, seq + 1, 8 * (seq % 4096), seq);
	CU_ASSERT_EQUAL(vol_open(&v), 0);
	journal_stat(v.j, &st);
	CU_ASSERT_EQUAL(st.replayed, seq);
	CU_ASSERT_EQUAL(word(&v, 8 * ((seq - 1) % 4096)), seq - 1);
	vol_free(&v);
}

struct walked {
	unsigned n;
	uint64_t seq[8];
	uint32_t lane[8];
	unsigned stop;
};

static int walk_one(void *ctx, uint32_t lane, uint32_t half, uint64_t off,
		    const struct fmt_record *r)
{
	struct walked *w = ctx;

	(void)half;
	(void)off;
	if (w->n < 8) {
		w->seq[w->n] = le64_get(r->seq);
		w->lane[w->n] = lane;
	}
	w->n++;
	return w->stop == w->n ? 42 : 0;
}

static void test_walk(void)
{
	struct vol v = vol_new();
	struct walked w = {0};

	put(&v, 1, 0, 0, 5, 0, 1);
	put(&v, 0, 1, 0, 6, 0, 1);
	put(&v, 1, 0, 64, 7, 0, 1);
	set_c(&v, 0, 5);
	CU_ASSERT_EQUAL(journal_walk(v.sim->pm, &v.geo, walk_one, &w), 0);
	CU_ASSERT(w.n == 3 && w.seq[0] == 5 && w.seq[1] == 6 && w.seq[2] == 7);
	CU_ASSERT(w.lane[0] == 1 && w.lane[1] == 0 && w.lane[2] == 1);
	w = (struct walked){.stop = 2};
	CU_ASSERT_EQUAL(journal_walk(v.sim->pm, &v.geo, walk_one, &w), 42);
	CU_ASSERT_EQUAL(w.n, 2);
	/* Damage: what can be shown is shown, then it is said. */
	lane_at(&v, 1, 0, 0)[9] ^= 1;
	w = (struct walked){0};
	CU_ASSERT_EQUAL(journal_walk(v.sim->pm, &v.geo, walk_one, &w), -EBADMSG);
	CU_ASSERT(w.n == 1 && w.seq[0] == 6);
	vol_free(&v);
}

/* Lanes that fault: the pages behind a file that was cut short stand for poisoned ones. */
static void test_poison(void)
{
	struct pm_open_args line = {.force_gran = true, .gran = PM_LINE};
	struct mkfs_args args = {0};
	struct journal *j;
	struct pm *pm;
	struct geo g;

	CU_ASSERT_EQUAL_FATAL(pm_open_memfd(4ull << 20, &line, &pm), 0);
	CU_ASSERT_EQUAL(mkfs_write(pm, &args), 0);
	CU_ASSERT_EQUAL(geo_read(pm, &g), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(pm->member[0].fd, (off_t)(g.lanes_off.v + 8192)), 0);
	CU_ASSERT_EQUAL(journal_open(pm, &g, &j), -EIO);
	CU_ASSERT_EQUAL_FATAL(ftruncate(pm->member[0].fd, 4096), 0);
	CU_ASSERT_EQUAL(journal_open(pm, &g, &j), -EIO);
	pm_close(&pm);
}

/* Random damage anywhere in lanes and C: it opens or refuses, and never runs wild. */
static void test_noise(void)
{
	struct vol v = vol_new();
	struct rng r = {11};
	uint64_t from = 4096, to = v.geo.lanes_off.v + v.geo.nlanes * v.geo.lane_bytes, opened = 0;
	uint8_t *image = malloc(v.sim->size);

	for (uint64_t i = 0; i < 40; i++)
		put(&v, (uint32_t)(i % 2), 0, i / 2 * 64, i + 1, 8 * i, i);
	memcpy(image, v.sim->mem, v.sim->size);
	for (int n = 0; n < 400; n++) {
		sim_load(v.sim, image);
		for (uint64_t i = rng_below(&r, 4) + 1; i > 0; i--) {
			uint64_t at = rng_below(&r, 2)
					  ? from + rng_below(&r, to - from)
					  : v.geo.lanes_off.v + rng_below(&r, 2) * 65536 +
						rng_below(&r, 1400);

			v.sim->mem[at] = (uint8_t)rng_next(&r);
		}
		memcpy(v.sim->shadow, v.sim->mem, v.sim->size);
		if (vol_open(&v) == 0) {
			opened++;
			journal_close(&v.j);
		}
	}
	CU_ASSERT(opened > 20 && opened < 400);
	free(image);
	vol_free(&v);
}

static const struct hf_case cases[] = {
    {"order", test_order},
    {"up_to_c", test_up_to_c},
    {"laps", test_laps},
    {"torn_last", test_torn_last},
    {"torn_completed", test_torn_completed},
    {"damaged_middle", test_damaged_middle},
    {"numbers", test_numbers},
    {"c_copies", test_c_copies},
    {"items", test_items},
    {"user_bytes", test_user_bytes},
    {"new_format", test_new_format},
    {"half_end", test_half_end},
    {"many", test_many},
    {"walk", test_walk},
    {"poison", test_poison},
    {"noise", test_noise},
};

int main(void)
{
	return hf_run_suite("journal_recover", cases, HF_COUNT(cases));
}
