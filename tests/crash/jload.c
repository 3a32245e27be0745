#include "jload.h"

#include "journal/internal.h"

#include <stdlib.h>

enum {
	AREA_BLOCKS = 8,
	AREA_BYTES = AREA_BLOCKS * HF_BLOCK_SIZE,
	LARGE_BYTES = 9000,
	LARGE_AT = HF_BLOCK_SIZE,
	BITS_AT = 2048,
	HOT_WORDS = 6,
	POINTERS_AT = 3072,
	BLOCKS_FROM = 64, /* behind the area's first block: what pointers name */
	DATA_ODD = 5,	  /* where data begins in its block */
	DATA_BYTES = 3001,
	AFTER_AT = 5 * HF_BLOCK_SIZE, /* what recovery's transactions change */
	AFTER_TXNS = 8,
	SHARED_AT = AFTER_AT + 8 * 64, /* in thread 1's area */
	VOLUME = 4 << 20,
};

struct thread_state {
	const char *ops;
	unsigned n;
	unsigned begun, done;
	uint8_t *model; /* n + 1 states of the area, one after the other */
};

struct jrun {
	const struct load *l;
	struct load_limits *limits;
	struct geo geo;
	struct journal *j;
	struct pm *pm;
	hf_crash_run *run;
	struct thread_state t[2];
	struct mtx shared; /* of the word at SHARED_AT */
	bool two, go_on, no_volume;
	unsigned alone; /* operations of the first before the second begins */
	uint32_t lane; /* the workload's thread number */
	uint64_t k, m;
	struct sched sched;
	int err;
};

static uint64_t area(const struct jrun *r, unsigned t)
{
	return (r->geo.first_data.v + t * AREA_BLOCKS) * HF_BLOCK_SIZE;
}

static uint64_t word_of(unsigned t, unsigned i, uint64_t what)
{
	return hash_mix2(hash_mix2(t + 1, i + 1), what) | 1;
}

/* The block that operation i of thread t fills. */
static uint64_t block_of(const struct jrun *r, unsigned t, unsigned i)
{
	return r->geo.first_data.v + BLOCKS_FROM + t * JLOAD_OPS + i;
}

/* ---- the operations, on the media and on the model */

struct both {
	struct jrun *r;
	unsigned t, i;
	struct txn *txn;
	uint8_t *model;
};

static void set(struct both *b, uint64_t at, uint64_t value)
{
	memcpy(b->model + at, &value, 8);
	if (b->txn)
		txn_set64(b->txn, MOFF(area(b->r, b->t) + at), value);
}

static void op_small(struct both *b)
{
	for (unsigned w = 0; w < HOT_WORDS; w++)
		set(b, w * 72, word_of(b->t, b->i, w));
}

static void op_large(struct both *b)
{
	uint64_t words[LARGE_BYTES / 8];

	for (unsigned w = 0; w < LARGE_BYTES / 8; w++)
		words[w] = word_of(b->t, b->i, w);
	memcpy(b->model + LARGE_AT, words, sizeof(words));
	if (b->txn)
		txn_copy(b->txn, MOFF(area(b->r, b->t) + LARGE_AT), words, sizeof(words));
	set(b, 0, word_of(b->t, b->i, 0));
}

/* Bits of both threads lie in thread 0's area; its model leaves them out: see compare(). */
static void op_bits(struct both *b)
{
	uint64_t first = (area(b->r, 0) + BITS_AT) * 8 + 32 * b->t;

	set(b, 8 * 60 + 8 * b->i, 1);
	if (b->txn && b->i % 2 == 0)
		txn_bits_set(b->txn, first, 20);
	else if (b->txn)
		txn_bits_clear(b->txn, first, 20);
}

static void op_fresh(struct both *b)
{
	uint64_t blk = block_of(b->r, b->t, b->i);

	if (b->txn) {
		txn_fresh(b->txn, MBLK(blk));
		for (unsigned w = 0; w < 512; w += 3)
			txn_set64(b->txn, MOFF(blk * HF_BLOCK_SIZE + w * 8), word_of(b->t, b->i, w));
	}
	set(b, POINTERS_AT + 8 * b->i, blk << 1);
}

static void op_data(struct both *b)
{
	uint64_t blk = block_of(b->r, b->t, b->i);
	uint8_t data[DATA_BYTES];

	memset(data, (int)(b->i + 1), sizeof(data));
	if (b->txn) {
		pm_copy_nt(b->r->pm, MOFF(blk * HF_BLOCK_SIZE + DATA_ODD), data, sizeof(data));
		txn_fence_first(b->txn);
	}
	set(b, POINTERS_AT + 8 * b->i, blk << 1 | 1);
}

static void op_gather(struct both *b, char op)
{
	switch (op) {
	case 's':
		op_small(b);
		break;
	case 'b':
		op_large(b);
		break;
	case 'm':
		op_bits(b);
		break;
	case 'f':
		op_fresh(b);
		break;
	case 'd':
		op_data(b);
		break;
	default:
		break;
	}
}

static int checkpoint(struct jrun *r)
{
	int err;

	if (!r->two)
		return journal_checkpoint(r->j);
	mtx_lock(&r->j->ckpt_mtx);
	err = ckpt_run_locked(r->j);
	mtx_unlock(&r->j->ckpt_mtx);
	return err;
}

/* Begun before the lock is taken, as most of the library's are. */
static int op_shared(struct jrun *r)
{
	moff_t at = MOFF(area(r, 1) + SHARED_AT);
	struct txn *t = txn_begin(r->j);
	int err;

	if (!t)
		return -ENOMEM;
	mtx_lock(&r->shared);
	txn_set64(t, at, txn_load64(t, at) + 1);
	err = txn_commit(t, NULL);
	mtx_unlock(&r->shared);
	return err;
}

static int op_do(struct jrun *r, unsigned t, unsigned i, char op)
{
	uint8_t scratch[AREA_BYTES];
	struct both b = {.r = r, .t = t, .i = i, .model = scratch};
	int err;

	if (op == 'c')
		return checkpoint(r);
	if (op == 'w')
		return op_shared(r);
	if (op == 'l')
		journal_thread_number(r->lane = 3 - r->lane);
	if (op == 'l' || op == '|')
		return 0;
	if (op == 'o' || op == 'F') {
		err = journal_close(&r->j);
		if (!err && op == 'F')
			err = hf_crash_media_format(hf_crash_run_media(r->run), r->limits->seed);
		return err ? err : journal_open(r->pm, &r->geo, &r->j);
	}
	b.txn = txn_begin(r->j);
	if (!b.txn)
		return -ENOMEM;
	op_gather(&b, op);
	return txn_commit(b.txn, NULL);
}

static int models(struct jrun *r)
{
	for (unsigned t = 0; t < 2; t++) {
		struct thread_state *th = &r->t[t];

		th->ops = r->l->lists[t] ? r->l->lists[t] : "";
		th->n = (unsigned)strlen(th->ops);
		HF_ASSERT(th->n <= JLOAD_OPS);
		th->model = calloc(th->n + 1, AREA_BYTES);
		if (!th->model)
			return -ENOMEM;
		for (unsigned i = 0; i < th->n; i++) {
			struct both b = {
			    .r = r, .t = t, .i = i, .model = th->model + (i + 1) * AREA_BYTES};

			memcpy(b.model, b.model - AREA_BYTES, AREA_BYTES);
			op_gather(&b, th->ops[i]);
		}
	}
	return 0;
}

/* ---- for the explorer */

/* With two threads the first one's operations before the other begins are part of the setting. */
static int setup_journal(struct jrun *r)
{
	struct thread_state *th = &r->t[0];
	int err = journal_open(r->pm, &r->geo, &r->j);

	r->lane = 1;
	mtx_init(&r->shared, RANK_DATA, 0);
	if (r->two)
		r->alone = (unsigned)strcspn(th->ops, "|");
	if (r->alone == th->n)
		r->alone = 0;
	for (unsigned i = 0; i < r->alone && !err; i++)
		err = op_do(r, 0, i, th->ops[i]);
	th->begun = th->done = r->alone;
	return err;
}

static int run_setup(hf_crash_run *run)
{
	struct jrun *r = hf_crash_ctx(run);
	hf_crash_media *m = hf_crash_run_media(run);
	uint8_t old[HF_BLOCK_SIZE];
	int err;

	memset(old, LOAD_OLD_BYTE, sizeof(old));
	err = hf_crash_media_format(m, r->limits->seed);
	if (!err)
		err = geo_read(m->pm, &r->geo);
	if (!err)
		err = models(r);
	/* What is handed out is not zeros. */
	for (unsigned t = 0; t < 2 && !err; t++)
		for (unsigned i = 0; i < JLOAD_OPS; i++)
			hf_crash_store(m, block_of(r, t, i) * HF_BLOCK_SIZE, old, sizeof(old));
	r->pm = m->pm;
	r->run = run;
	return err ? err : setup_journal(r);
}

static void thread_run(struct jrun *r, unsigned t, unsigned from)
{
	struct thread_state *th = &r->t[t];

	for (unsigned i = from; i < th->n && !r->err; i++) {
		char name[16];
		uint32_t op;

		snprintf(name, sizeof(name), "%c%u.%u", th->ops[i], t, i);
		th->begun = i + 1;
		op = hf_crash_op_begin(r->run, name);
		r->err = op_do(r, t, i, th->ops[i]);
		th->done = i + 1;
		hf_crash_op_end(r->run, op);
	}
}

static void first(void *ctx)
{
	struct jrun *r = ctx;

	thread_run(r, 0, r->alone);
}

static void second(void *ctx)
{
	struct jrun *r = ctx;

	thread_run(r, 1, 0);
}

static int run_ops(hf_crash_run *run)
{
	struct jrun *r = hf_crash_ctx(run);
	int closed;

	if (r->two)
		sched_run(&r->sched, r->pm, first, second, r,
			  &(struct schedule){.k = r->k, .m = r->m, .name = r->l->name});
	else
		thread_run(r, 0, 0);
	closed = journal_close(&r->j);
	return r->err ? r->err : closed;
}

/* In the lane of the workload, so that its records are written over. Each transaction raises one of the words behind AFTER_AT,
 * in turn. */
static int go_on(struct jrun *r, struct pm *pm, struct journal *j)
{
	static const uint8_t bytes[LARGE_BYTES];
	uint64_t at = area(r, 1) + AFTER_AT;
	unsigned from = 0;
	int err = 0;

	/* Where a recovery before this one was crashed. */
	for (unsigned i = 1; i < AFTER_TXNS; i++)
		if (pm_load64(pm, MOFF(at + 8 * i)) != pm_load64(pm, MOFF(at)))
			from = from ? from : i;
	journal_thread_number(1);
	for (unsigned n = 0; n < AFTER_TXNS && !err; n++) {
		uint64_t word = at + 8 * ((from + n) % AFTER_TXNS);
		struct txn *t = txn_begin(j);

		if (!t)
			return -ENOMEM;
		txn_set64(t, MOFF(word), pm_load64(pm, MOFF(word)) + 1);
		txn_copy(t, MOFF(area(r, 1) + LARGE_AT), bytes, sizeof(bytes));
		err = txn_commit(t, NULL);
	}
	journal_thread_number(2);
	return err;
}

static int run_recover(hf_crash_run *run)
{
	struct jrun *r = hf_crash_ctx(run);
	struct pm *pm = hf_crash_run_media(run)->pm;
	bool formatting = r->t[0].begun > r->t[0].done && r->t[0].ops[r->t[0].done] == 'F';
	struct journal *j;
	struct geo geo;
	int err;

	r->no_volume = formatting && geo_read(pm, &geo) != 0;
	if (r->no_volume)
		return 0;
	err = journal_open(pm, &r->geo, &j);
	if (err)
		return hf_crash_say(run, "the journal does not open: %s", err_msg());
	if (r->go_on)
		err = go_on(r, pm, j);
	if (err)
		hf_crash_say(run, "the journal cannot be used: %s", err_msg());
	/* Without its checkpoint: the check looks at what recovery made. */
	journal_shutdown(j, -EIO);
	journal_close(&j);
	return err;
}

static bool block_ok(const struct jrun *r, const uint8_t *mem, unsigned t, unsigned i, uint64_t ptr)
{
	const uint8_t *p = mem + (ptr >> 1) * HF_BLOCK_SIZE;

	(void)r;
	if (ptr & 1) {
		for (unsigned k = 0; k < DATA_BYTES; k++)
			if (p[DATA_ODD + k] != i + 1)
				return false;
		return true;
	}
	for (unsigned w = 0; w < 512; w++) {
		uint64_t have, want = w % 3 ? 0 : word_of(t, i, w);

		memcpy(&have, p + 8 * w, 8);
		if (have != want)
			return false;
	}
	return true;
}

/* The area is as after 'n' operations of thread t. */
static bool area_is(const struct jrun *r, const uint8_t *mem, unsigned t, unsigned n)
{
	const uint8_t *have = mem + area(r, t), *want = r->t[t].model + (size_t)n * AREA_BYTES;
	uint64_t bits, mine = 0xfffffull << 32 * t, last = 0;

	if (memcmp(have, want, BITS_AT) != 0 ||
	    memcmp(have + BITS_AT + 8, want + BITS_AT + 8, AFTER_AT - BITS_AT - 8) != 0)
		return false;
	for (unsigned i = 0; i < n; i++) {
		uint64_t ptr;

		memcpy(&ptr, have + POINTERS_AT + 8 * i, 8);
		if (ptr && !block_ok(r, mem, t, i, ptr))
			return false;
		if (r->t[t].ops[i] == 'm')
			last = i % 2 == 0 ? mine : 0;
	}
	memcpy(&bits, mem + area(r, 0) + BITS_AT, 8);
	return (bits & mine) == last;
}

/* The words that recovery's own transactions raised in turn: all the same, or up to one of them by one more. */
static bool after_ok(const struct jrun *r, const uint8_t *mem)
{
	uint64_t w[AFTER_TXNS];

	memcpy(w, mem + area(r, 1) + AFTER_AT, sizeof(w));
	for (unsigned i = 1; i < AFTER_TXNS; i++)
		if (w[i] > w[i - 1] || w[i - 1] > w[i] + 1)
			return false;
	return w[0] <= w[AFTER_TXNS - 1] + 1;
}

/* It was raised by each operation that ended, and perhaps by those under way. */
static bool shared_ok(const struct jrun *r, const uint8_t *mem)
{
	uint64_t value, least = 0, most = 0;

	memcpy(&value, mem + area(r, 1) + SHARED_AT, 8);
	for (unsigned t = 0; t < 2; t++)
		for (unsigned i = 0; i < r->t[t].begun; i++)
			if (r->t[t].ops[i] == 'w') {
				least += i < r->t[t].done;
				most++;
			}
	return least <= value && value <= most;
}

static int run_check(hf_crash_run *run)
{
	struct jrun *r = hf_crash_ctx(run);
	const uint8_t *mem = hf_crash_media_addr(hf_crash_run_media(run));

	for (unsigned t = 0; t < (r->two ? 2u : 1u); t++) {
		struct thread_state *th = &r->t[t];

		if (!area_is(r, mem, t, th->done) && !area_is(r, mem, t, th->begun))
			return hf_crash_say(run, "thread %u: not as after %u or %u operations of '%s'",
					    t, th->done, th->begun, th->ops);
	}
	if (!shared_ok(r, mem))
		return hf_crash_say(run, "the word of both threads is not what they made it");
	if (r->go_on && !r->no_volume && !after_ok(r, mem))
		return hf_crash_say(run, "a transaction after the recovery is lost");
	return 0;
}

static void on_failure(void *ctx, const struct hf_crash_failure *f)
{
	struct jrun *r = ctx;

	load_failed(r->limits, f);
}

static int explore(struct jrun *r, struct hf_crash_result *res)
{
	struct hf_crash_options o = {.struct_size = sizeof(o),
				     .bytes = VOLUME,
				     .model = {.granularity = r->l->granularity},
				     .raw = true,
				     .seed = r->limits->seed,
				     .number = (uint32_t)(r->k << 16 | r->m),
				     .max_images = r->limits->max_images,
				     .seconds = r->limits->seconds,
				     .ctx = r,
				     .setup = run_setup,
				     .workload = run_ops,
				     .recover = run_recover,
				     .check = run_check,
				     .failure = on_failure};
	int err;

	if (r->limits->replay)
		err = hf_crash_replay(&o, r->limits->replay, res);
	else
		err = hf_crash_explore(&o, res);
	free(r->t[0].model);
	free(r->t[1].model);
	return err;
}

static int one(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum,
	       bool on)
{
	struct jrun r = {.l = l, .limits = limits, .go_on = on};
	struct hf_crash_result res;
	int err = explore(&r, &res);

	if (!err)
		load_add(limits, sum, &res);
	return err;
}

int jload_run(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	return one(l, limits, sum, false);
}

int jload_run_on(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	return one(l, limits, sum, true);
}

static int schedule(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum,
		    uint64_t k, uint64_t m, uint64_t events[3], bool *more)
{
	struct jrun r = {.l = l, .limits = limits, .two = true, .k = k, .m = m};
	struct hf_crash_result res;
	int err = explore(&r, &res);

	*more = !err && load_add(limits, sum, &res);
	memcpy(events, r.sched.events, sizeof(r.sched.events));
	return err;
}

int jload_run_two(const struct load *l, struct load_limits *limits, struct hf_crash_result *sum)
{
	uint64_t n[3], now[3], number;
	uint64_t seed;
	uint32_t at;
	bool more = true;
	int err;

	if (limits->replay) {
		err = hf_crash_id_parse(limits->replay, &seed, &at);
		number = at;
		return err ? err
			   : schedule(l, limits, sum, number >> 16, number & 0xffff, now, &more);
	}
	err = schedule(l, limits, sum, 0, 0, n, &more);
	/* Those first in which the second is not interrupted. */
	for (uint64_t k = 1; k <= n[1] && more && !err; k++)
		err = schedule(l, limits, sum, k, 0, now, &more);
	for (uint64_t k = 1; k <= n[1] && more && !err; k++)
		for (uint64_t m = 1; m < n[2] && more && !err; m++)
			err = schedule(l, limits, sum, k, m, now, &more);
	return err;
}
