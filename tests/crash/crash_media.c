/* Each clause of the fault model, one case. */
#include "unit/cunit_main.h"
#include "crash/explore.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB (1ull << 20)

static struct hf_crash_media *new_media(struct hf_crash_model model)
{
	struct hf_crash_media *m;

	CU_ASSERT_EQUAL_FATAL(media_new(&m, 4 * MIB, &model), 0);
	return m;
}

static uint64_t word(const uint8_t *at, uint64_t off)
{
	uint64_t v;

	memcpy(&v, at + off, 8);
	return v;
}

static uint64_t durable(struct hf_crash_media *m, uint64_t off)
{
	return word(m->base, off);
}

/* In another thread. */
struct job {
	void (*fn)(struct hf_crash_media *m);
	struct hf_crash_media *m;
};

static void *job_main(void *arg)
{
	struct job *j = arg;

	j->fn(j->m);
	return NULL;
}

static void elsewhere(struct hf_crash_media *m, void (*fn)(struct hf_crash_media *m))
{
	struct job j = {fn, m};
	pthread_t t;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, job_main, &j), 0);
	pthread_join(t, NULL);
}

/* Every state of two words that the enumeration comes to: bit 2 a + b of the result for first word
 * a, second b (0 or 1). */
struct states {
	uint64_t off[2];
	unsigned seen;
};

static bool see(void *ctx, struct builder *b)
{
	struct states *s = ctx;
	unsigned v[2];

	for (unsigned w = 0; w < 2; w++) {
		uint8_t line[HF_LINE];
		size_t i = 0;

		memcpy(line, b->m->base + s->off[w] / HF_LINE * HF_LINE, HF_LINE);
		while (i < b->n && b->no[i] != s->off[w] / HF_LINE)
			i++;
		if (i < b->n)
			media_apply(b->m, b->no[i], b->c[i], line);
		v[w] = word(line, s->off[w] % HF_LINE) != 0;
	}
	s->seen |= 1u << (2 * v[0] + v[1]);
	return true;
}

static unsigned states_of(struct hf_crash_media *m, uint64_t a, uint64_t b)
{
	struct budget budget = {.all_below = 256, .max_images = 256, .seed = 1};
	struct states s = {.off = {a, b}};
	struct builder bd = {0};

	CU_ASSERT_EQUAL_FATAL(builder_start(&bd, m, 1), 0);
	builder_enumerate(&bd, &budget, see, &s);
	builder_free(&bd);
	return s.seen;
}
enum { OLD_OLD = 1, OLD_NEW = 2, NEW_OLD = 4, NEW_NEW = 8 };

static void test_store_flush_fence(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});

	hf_crash_store64(m, 4096, 1);
	CU_ASSERT_EQUAL(word(m->mem, 4096), 1);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 4096), 0); /* no flush */
	hf_crash_flush(m, 4096, 8);
	CU_ASSERT_EQUAL(durable(m, 4096), 0); /* no fence */
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 4096), 1);
	media_delete(&m);
}

static void test_version_at_flush(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});

	hf_crash_store64(m, 64, 1);
	hf_crash_flush(m, 64, 8);
	hf_crash_store64(m, 64, 2);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 1);
	CU_ASSERT_PTR_NOT_NULL(media_line(m, 1));
	media_delete(&m);
}

static void just_fence(struct hf_crash_media *m)
{
	hf_crash_fence(m);
}

static void flush_only(struct hf_crash_media *m)
{
	hf_crash_flush(m, 0, 4096);
}

static void flush_and_fence(struct hf_crash_media *m)
{
	hf_crash_flush(m, 0, 4096);
	hf_crash_fence(m);
}

static void test_threads(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});

	hf_crash_store64(m, 64, 1);
	hf_crash_flush(m, 64, 8);
	elsewhere(m, just_fence);
	CU_ASSERT_EQUAL(durable(m, 64), 0); /* its fence is not ours */
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 1);
	hf_crash_store64(m, 128, 1);
	elsewhere(m, flush_only);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 128), 0); /* our fence is not for its flush */
	elsewhere(m, flush_and_fence);
	CU_ASSERT_EQUAL(durable(m, 128), 1); /* its flush takes our cached stores */
	media_delete(&m);
}

static void test_nt(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t v = 1;

	hf_crash_store_nt(m, 64, &v, 8);
	elsewhere(m, flush_and_fence);
	CU_ASSERT_EQUAL(durable(m, 64), 0); /* no flush reaches it */
	hf_crash_flush(m, 64, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 1);
	media_delete(&m);
}

/* Non-temporal and cached stores to one line have no order between them. */
static void test_nt_order(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t v = 1;

	hf_crash_store64(m, 64, 1);
	hf_crash_store_nt(m, 72, &v, 8);
	CU_ASSERT_EQUAL(states_of(m, 64, 72), OLD_OLD | OLD_NEW | NEW_OLD | NEW_NEW);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 0);
	CU_ASSERT_EQUAL(durable(m, 72), 1);
	media_delete(&m);
}

static void test_nt_stays_cached(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){.nt_stays_cached = true});
	uint64_t v = 1;

	hf_crash_store64(m, 64, 1);
	hf_crash_store_nt(m, 72, &v, 8);
	hf_crash_store_nt(m, 128, &v, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 72), 0);
	CU_ASSERT_EQUAL(durable(m, 128), 1);
	hf_crash_flush(m, 64, 64);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 72), 1);
	media_delete(&m);
}

/* The last store to a byte wins, whichever of two becomes durable first. */
static void test_later_store_wins(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t v = 2;

	hf_crash_store64(m, 64, 1);
	hf_crash_store_nt(m, 64, &v, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 2);
	hf_crash_flush(m, 64, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 2);
	media_delete(&m);
}

static void test_line_order(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});

	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 72, 1);
	CU_ASSERT_EQUAL(states_of(m, 64, 72), OLD_OLD | NEW_OLD | NEW_NEW);
	media_delete(&m);
	m = new_media((struct hf_crash_model){0});
	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 128, 1);
	CU_ASSERT_EQUAL(states_of(m, 64, 128), OLD_OLD | OLD_NEW | NEW_OLD | NEW_NEW);
	media_delete(&m);
	m = new_media((struct hf_crash_model){.any_order = true});
	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 72, 1);
	CU_ASSERT_EQUAL(states_of(m, 64, 72), OLD_OLD | OLD_NEW | NEW_OLD | NEW_NEW);
	media_delete(&m);
}

/* A word's own stores keep their order on any CPU. */
static void test_word_order(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){.any_order = true});
	struct choice options[CRASH_CHOICES];
	size_t whole, n;

	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 64, 2);
	n = media_choices(m, 1, options, CRASH_CHOICES, &whole);
	CU_ASSERT_EQUAL(whole, 3);
	for (size_t i = 0; i < n; i++) {
		uint8_t line[HF_LINE];

		media_apply(m, 1, options[i], line);
		CU_ASSERT(word(line, 0) <= 2);
	}
	media_delete(&m);
}

static void test_torn(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t two[2] = {1, 1};

	hf_crash_store(m, 64, two, 16);
	CU_ASSERT_EQUAL(states_of(m, 64, 72), OLD_OLD | OLD_NEW | NEW_OLD | NEW_NEW);
	media_delete(&m);
	m = new_media((struct hf_crash_model){0});
	hf_crash_store_nt(m, 64, two, 16);
	CU_ASSERT_EQUAL(states_of(m, 64, 72), OLD_OLD | OLD_NEW | NEW_OLD | NEW_NEW);
	media_delete(&m);
}

/* Whole aligned words are never torn; the edges of an unaligned store are, byte by byte. */
static void test_torn_edges(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint8_t bytes[14], line[HF_LINE];
	bool edge_torn = false, word_torn = false;

	memset(bytes, 0xff, sizeof(bytes));
	hf_crash_store(m, 64 + 3, bytes, 13); /* five of word 0, all of word 1 */
	for (uint64_t seed = 0; seed < 4096; seed++) {
		media_apply(m, 1, media_choose(m, 1, seed), line);
		edge_torn |= memchr(line + 3, 0, 5) && memchr(line + 3, 0xff, 5);
		word_torn |= memchr(line + 8, 0, 8) && memchr(line + 8, 0xff, 8);
		CU_ASSERT(line[0] == 0 && line[1] == 0 && line[2] == 0 && line[16] == 0);
	}
	CU_ASSERT(edge_torn);
	CU_ASSERT(!word_torn);
	media_delete(&m);
}

static void store_nt_elsewhere(struct hf_crash_media *m)
{
	uint64_t v = 1;

	hf_crash_store_nt(m, 256, &v, 8);
}

static void test_byte(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){.granularity = HF_CRASH_BYTE});

	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 128, 1);
	/* One order over all lines. */
	CU_ASSERT_EQUAL(states_of(m, 64, 128), OLD_OLD | NEW_OLD | NEW_NEW);
	elsewhere(m, store_nt_elsewhere);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 1);
	CU_ASSERT_EQUAL(durable(m, 256), 0); /* another thread's, not fenced */
	CU_ASSERT_EQUAL(states_of(m, 64, 256), NEW_OLD | NEW_NEW);
	media_delete(&m);
}

static void store_in_page(struct hf_crash_media *m)
{
	hf_crash_store64(m, 4096 + 2048, 1);
	hf_crash_store64(m, 8192, 1);
}

static void test_page(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){.granularity = HF_CRASH_PAGE});
	uint64_t v = 1;

	elsewhere(m, store_in_page);
	hf_crash_store64(m, 4096, 1);
	hf_crash_flush(m, 4096, 1);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 4096), 1);
	CU_ASSERT_EQUAL(durable(m, 4096 + 2048), 1); /* the page goes as a whole */
	CU_ASSERT_EQUAL(durable(m, 8192), 0);
	hf_crash_store_nt(m, 12288, &v, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 12288), 1);
	media_delete(&m);
}

static void test_kill(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t v = 1;

	hf_crash_store64(m, 64, 1);
	hf_crash_flush(m, 64, 8);
	hf_crash_store_nt(m, 128, &v, 8);
	hf_crash_kill(m);
	CU_ASSERT_EQUAL(word(m->mem, 64), 1);
	CU_ASSERT_EQUAL(word(m->mem, 128), 1);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 0); /* nobody's fence */
	CU_ASSERT_EQUAL(durable(m, 128), 0);
	hf_crash_flush(m, 0, 256);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(durable(m, 64), 1);
	CU_ASSERT_EQUAL(durable(m, 128), 1);
	media_delete(&m);
}

static void test_poison(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t v = 0;

	hf_crash_store64(m, 8192, 7);
	hf_crash_store64(m, 12288, 8);
	CU_ASSERT_EQUAL(hf_crash_poison(m, 8192 + 64, 1, true), 0);
	CU_ASSERT_EQUAL(pm_guarded_read(m->pm, &v, MOFF(8192), 8), -EIO);
	CU_ASSERT_EQUAL(pm_guarded_read(m->pm, &v, MOFF(12288), 8), 0);
	CU_ASSERT_EQUAL(v, 8);
	CU_ASSERT_EQUAL(hf_crash_poison(m, 8192, 4096, false), 0);
	CU_ASSERT_EQUAL(pm_guarded_read(m->pm, &v, MOFF(8192), 8), 0);
	CU_ASSERT_EQUAL(v, 7);
	media_delete(&m);
}

static void test_stray(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t off = 0;

	hf_crash_store64(m, 64, 1);
	CU_ASSERT(!media_stray(m, true, &off));
	m->mem[100000] = 1;
	CU_ASSERT(media_stray(m, true, &off));
	CU_ASSERT(!media_stray(m, false, &off));
	CU_ASSERT_EQUAL(off, 100000);
	m->mem[100000] = 0;
	m->mem[66] = 1; /* in a line with a store of its own */
	CU_ASSERT(media_stray(m, true, &off));
	CU_ASSERT_EQUAL(off, 66);
	off = 0;
	CU_ASSERT(media_stray(m, false, &off));
	CU_ASSERT_EQUAL(off, 66);
	media_delete(&m);
}

/* A device that begins with given bytes, and again. */
static void test_origin(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint8_t *bytes = calloc(1, m->bytes);
	uint64_t hash;

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	memset(bytes + 5000, 7, 1000);
	hash = media_bytes_hash(bytes, m->bytes);
	hf_crash_store64(m, 64, 1);
	media_set_origin(m, bytes, hash);
	CU_ASSERT_EQUAL(memcmp(m->mem, bytes, m->bytes), 0);
	CU_ASSERT_EQUAL(memcmp(m->base, bytes, m->bytes), 0);
	hf_crash_store64(m, 5000, 1);
	hf_crash_store64(m, 1 << 20, 1);
	hf_crash_flush(m, 5000, 8);
	hf_crash_flush(m, 1 << 20, 8);
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(m->hash, media_bytes_hash(m->base, m->bytes));
	CU_ASSERT_NOT_EQUAL(m->hash, hash);
	hf_crash_store64(m, 5064, 1);
	media_reset(m);
	CU_ASSERT_EQUAL(memcmp(m->mem, bytes, m->bytes), 0);
	CU_ASSERT_EQUAL(memcmp(m->base, bytes, m->bytes), 0);
	CU_ASSERT_EQUAL(m->hash, hash);
	media_set_origin(m, NULL, 0);
	CU_ASSERT_EQUAL(m->mem[5000], 0);
	media_delete(&m);
	free(bytes);
}

/* The same bytes to be read, but not the same stores pending: kills that differ. */
static void test_kill_hash(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t pending, durable;

	hf_crash_store64(m, 64, 1);
	pending = media_kill_hash(m);
	CU_ASSERT_EQUAL(pending, media_kill_hash(m));
	hf_crash_flush(m, 64, 8);
	hf_crash_fence(m);
	durable = media_kill_hash(m);
	CU_ASSERT_NOT_EQUAL(pending, durable);
	hf_crash_store64(m, 64, 2);
	hf_crash_store64(m, 64, 1);
	CU_ASSERT_NOT_EQUAL(media_kill_hash(m), durable);
	CU_ASSERT_NOT_EQUAL(media_kill_hash(m), pending);
	media_delete(&m);
}

/* What a program stores through plain pointers counts from the next flush or fence on. */
static void test_direct(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});
	uint64_t off;

	hf_crash_direct(m, 4096, 4096, true);
	m->mem[5000] = 1;
	m->mem[6000] = 1;
	CU_ASSERT(!media_stray(m, true, &off));
	hf_crash_flush(m, 5000, 1);
	m->mem[5001] = 1;
	hf_crash_fence(m);
	CU_ASSERT_EQUAL(m->base[5000], 1);
	CU_ASSERT_EQUAL(m->base[5001], 0); /* after the flush */
	CU_ASSERT_EQUAL(m->base[6000], 0);
	hf_crash_direct(m, 4096, 4096, false);
	m->mem[5002] = 1;
	CU_ASSERT(media_stray(m, true, &off));
	media_delete(&m);
}

/* A store of what is there already is no new version. */
static void test_silent(void)
{
	struct hf_crash_media *m = new_media((struct hf_crash_model){0});

	hf_crash_store64(m, 64, 0);
	CU_ASSERT_PTR_NULL(media_line(m, 1));
	hf_crash_store64(m, 64, 1);
	hf_crash_store64(m, 64, 1);
	CU_ASSERT_EQUAL(media_line(m, 1)->n, 1);
	media_delete(&m);
}

static void test_power_fail(void)
{
	unsigned seen = 0;

	for (uint64_t seed = 0; seed < 64; seed++) {
		struct hf_crash_media *m = new_media((struct hf_crash_model){0});

		hf_crash_store64(m, 64, 1);
		hf_crash_store64(m, 72, 1);
		hf_crash_power_fail(m, seed);
		CU_ASSERT_EQUAL(memcmp(m->mem, m->base, m->bytes), 0);
		seen |= 1u << (2 * word(m->mem, 64) + word(m->mem, 72));
		media_delete(&m);
	}
	CU_ASSERT_EQUAL(seen, OLD_OLD | NEW_OLD | NEW_NEW);
}

/* The hash of an image is that of its bytes, however it came about; ids give the same choices
 * again. */
struct roundtrip {
	struct hf_crash_media *copy, *dev;
	unsigned images;
};

static bool roundtrip(void *ctx, struct builder *b)
{
	struct roundtrip *r = ctx;
	static char id[CRASH_ID_MAX];
	uint64_t hash = b->hash;

	media_copy_base(r->copy, r->dev);
	for (size_t i = 0; i < b->n; i++) {
		uint8_t line[HF_LINE];

		media_apply(r->dev, b->no[i], b->c[i], line);
		media_copy_line(r->copy, b->no[i], line);
	}
	CU_ASSERT_EQUAL(r->copy->hash, hash);
	id[0] = 0;
	id_add_choices(id, b);
	builder_set_all(b, CHOICE_NONE);
	CU_ASSERT_EQUAL(id_set_choices(id, b), 0);
	CU_ASSERT_EQUAL(b->hash, hash);
	r->images++;
	return true;
}

static void test_hash_and_id(void)
{
	struct budget budget = {.all_below = 16, .max_images = 600, .seed = 3};
	struct roundtrip r = {.dev = new_media((struct hf_crash_model){0}),
			      .copy = new_media((struct hf_crash_model){0})};
	struct builder b = {0};
	uint8_t bytes[300];

	r.dev->copy = r.copy;
	memset(bytes, 0xa5, sizeof(bytes));
	for (uint64_t i = 0; i < 6; i++) {
		hf_crash_store(r.dev, 1000 * i + 3, bytes, 100 + 30 * i);
		hf_crash_store_nt(r.dev, 9000 + 64 * i + i, bytes, 50);
		hf_crash_store64(r.dev, 1000 * i / 64 * 64, i + 1);
		hf_crash_flush(r.dev, 1000 * i, 64);
		if (i == 2)
			hf_crash_fence(r.dev);
	}
	CU_ASSERT_EQUAL_FATAL(builder_start(&b, r.dev, 1), 0);
	builder_enumerate(&b, &budget, roundtrip, &r);
	CU_ASSERT(r.images > 500);
	builder_free(&b);
	media_copy_base(r.copy, r.dev);
	CU_ASSERT_EQUAL(memcmp(r.copy->mem, r.dev->base, r.dev->bytes), 0);
	media_reset(r.dev);
	media_copy_base(r.copy, r.dev);
	CU_ASSERT_EQUAL(r.copy->hash, 0);
	for (uint64_t i = 0; i < r.dev->bytes; i += 8)
		if (word(r.copy->mem, i) | word(r.dev->mem, i) | word(r.dev->base, i))
			CU_FAIL("a byte is left after the reset");
	media_delete(&r.dev);
	media_delete(&r.copy);
}

static void test_bad_ids(void)
{
	static const char *const bad[] = {
	    "",		"s1",	     "s1.w",	      "s1.w2",	     "s1.w2.q3-", "s1.w2.p-",
	    "s1.w2.p3", "x1.w2.p3-", "s1.w2.p3-.p4-", "s1.w2.p3-.r", "s-1.w2.p3-"};
	struct id id;

	for (size_t i = 0; i < HF_COUNT(bad); i++)
		CU_ASSERT_EQUAL(id_parse(bad[i], &id), -EINVAL);
	CU_ASSERT_EQUAL(id_parse("s1.w2.m3.p3-", &id), -EINVAL);
	CU_ASSERT_EQUAL(id_parse("s1.w2.m16.p3-", &id), -EINVAL);
	CU_ASSERT_EQUAL(id_parse("s1.w2.m6.p3-", &id), 0);
	CU_ASSERT(id.model.granularity == HF_CRASH_PAGE && id.model.any_order);
	CU_ASSERT_EQUAL(id_parse("s1.w2.p3-1,2_5.r6+.r7-0k1m3", &id), 0);
	CU_ASSERT(id.seed == 1 && id.number == 2 && id.levels == 3 && id.level[2].point == 7);
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"store, flush, fence", test_store_flush_fence},
	    {"the version at the flush", test_version_at_flush},
	    {"threads", test_threads},
	    {"non-temporal", test_nt},
	    {"non-temporal and cached", test_nt_order},
	    {"non-temporal stays cached", test_nt_stays_cached},
	    {"the later store wins", test_later_store_wins},
	    {"order in a line", test_line_order},
	    {"order in a word", test_word_order},
	    {"torn", test_torn},
	    {"torn edges", test_torn_edges},
	    {"eADR", test_byte},
	    {"pages", test_page},
	    {"kill", test_kill},
	    {"poison", test_poison},
	    {"stray stores", test_stray},
	    {"origin", test_origin},
	    {"hash of a kill", test_kill_hash},
	    {"direct stores", test_direct},
	    {"silent stores", test_silent},
	    {"power failure", test_power_fail},
	    {"hashes and ids", test_hash_and_id},
	    {"bad ids", test_bad_ids},
	};

	return hf_run_suite("simulated media", cases, HF_COUNT(cases));
}
