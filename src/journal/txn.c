/* Transactions: gathered in memory in the form of the record that they will be, so that commit
 * copies it out once.
 *
 * txn_load64() sees what the transaction has pending. A word's latest value is in a SET64 item
 * (found by a small hash table) or in the payload of a COPY item (few; looked through from the
 * newest): whichever stands later in the record, which is also the order of applying. Setting a
 * word again changes the value where it stands. */
#include "journal/internal.h"

#include <stdlib.h>

enum {
	WORD_SLOTS = 2048, /* twice the SET64 items that a record can hold */
	COPIES_MAX = FMT_RECORD_MAX / 24,
	DEFER_FIRST = 16,
	FRESH_FIRST = 16,
	DATA_PIECES = 4,
};

struct defer {
	txn_fn *fn;
	void *ctx;
	uint64_t a, b;
};

struct txn {
	struct journal *j;
	int err;
	bool fence_first;
	uint32_t ticket;
	uint16_t gen;  /* of the slots of 'word' */
	uint32_t used; /* bytes of rec, its head included */
	uint32_t items;
	uint32_t bits_at; /* the last item of bits; 0: none */
	uint32_t ncopies;
	uint64_t entries; /* bound of the ring entries that applying takes */
	uint64_t touched; /* a bit for each line with pending words, by hash: most loads find that there are none */
	uint32_t ndata, data_used;
	_Atomic jopen_t *mark; /* where the commit tells which lane the data left open */
	uint32_t nfresh, fresh_cap;
	uint32_t ndefer, defer_cap;
	mblk_t *fresh;
	struct defer *defer;
	uint16_t copy_at[COPIES_MAX]; /* positions of COPY items */
	uint32_t word[WORD_SLOTS];    /* gen << 16 | position of a SET64 item */
	struct {
		moff_t off;
		uint32_t len, at; /* at: in 'data' */
		uint32_t item;	  /* its place in rec */
	} piece[DATA_PIECES];
	_Alignas(HF_LINE) uint8_t data[TXN_DATA_BYTES];
	_Alignas(HF_LINE) uint8_t rec[FMT_RECORD_MAX];
};
static_assert(FMT_RECORD_MAX <= 65536, "positions have 16 bits");

/* ---- the buffers: a thread keeps the one that it used last, for whatever volume. So none is ever another thread's, and taking
 * it takes no locked instruction. */

static HF_TLS struct txn *mine;
static HF_TLS bool mine_at_exit; /* this thread's end is told to txn_thread_ends */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool exit_key_is;

static struct txn *txn_new(void)
{
	struct txn *t = aligned_alloc(HF_LINE, round_up_u64(sizeof(*t), HF_LINE));

	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->fresh = malloc(FRESH_FIRST * sizeof(t->fresh[0]));
	t->defer = malloc(DEFER_FIRST * sizeof(t->defer[0]));
	t->fresh_cap = FRESH_FIRST;
	t->defer_cap = DEFER_FIRST;
	if (!t->fresh || !t->defer) {
		free(t->fresh);
		free(t->defer);
		free(t);
		return NULL;
	}
	return t;
}

static void txn_destroy(struct txn *t)
{
	free(t->fresh);
	free(t->defer);
	free(t);
}

static void txn_thread_ends(void *unused)
{
	(void)unused;
	if (mine)
		txn_destroy(mine);
	mine = NULL;
	mine_at_exit = false;
}

static void make_exit_key(void)
{
	exit_key_is = pthread_key_create(&exit_key, txn_thread_ends) == 0;
}

/* The library is unloaded, or the process ends. */
__attribute__((destructor)) static void txn_library_ends(void)
{
	if (exit_key_is)
		pthread_key_delete(exit_key);
	txn_thread_ends(NULL);
}

/* Without being told of the thread's end, nothing is kept. */
static void txn_keep(struct txn *t)
{
	if (!mine_at_exit) {
		pthread_once(&exit_once, make_exit_key);
		mine_at_exit = exit_key_is && pthread_setspecific(exit_key, &mine) == 0;
	}
	if (mine || !mine_at_exit)
		txn_destroy(t);
	else
		mine = t;
}

struct txn *txn_begin(struct journal *j)
{
	struct txn *t = mine;

	mine = NULL;
	if (!t) {
		t = txn_new();
		if (!t) {
			err_set(-ENOMEM, "transaction: out of memory");
			return NULL;
		}
	}
	t->j = j;
	t->err = 0;
	t->fence_first = false;
	t->ticket = 0;
	t->used = RECORD_HEAD;
	t->items = t->bits_at = t->ncopies = 0;
	t->entries = t->touched = 0;
	t->nfresh = t->ndefer = 0;
	t->ndata = t->data_used = 0;
	t->gen++;
	if (t->gen == 0) {
		memset(t->word, 0, sizeof(t->word));
		t->gen = 1;
	}
	return t;
}

void txn_set_ticket(struct txn *t, uint32_t ticket)
{
	t->ticket = ticket;
}

uint32_t txn_ticket(const struct txn *t)
{
	return t->ticket;
}

/* ---- items */

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

void txn_fail(struct txn *t, int err)
{
	if (t->err == 0)
		t->err = err;
}

int txn_error(const struct txn *t)
{
	return t->err;
}

uint32_t txn_room(const struct txn *t)
{
	return FMT_RECORD_MAX - t->used;
}

bool txn_is_empty(const struct txn *t)
{
	return t->items == 0 && t->nfresh == 0 && !t->fence_first;
}

/* Room for an item of 'bytes', or false with the error kept. */
static bool item_room(struct txn *t, uint32_t bytes)
{
	if (bytes <= FMT_RECORD_MAX - t->used)
		return true;
	txn_fail(t, err_set(-E2BIG, "transaction: more than %u bytes of changes", FMT_RECORD_MAX));
	return false;
}

/* The same for one that stores to [off, off+len). */
static bool item_fits(struct txn *t, uint32_t bytes, uint64_t off, uint64_t len)
{
	if (t->err || !item_room(t, bytes))
		return false;
	if (!apply_range_ok(&t->j->geo, off, len)) {
		txn_fail(
		    t,
		    err_set(-EUCLEAN,
			    "transaction: a change of %llu bytes at %llu, where no metadata can be",
			    (unsigned long long)len, (unsigned long long)off));
		return false;
	}
	return true;
}

static uint64_t line_bit(uint64_t off)
{
	return 1ull << ((off / HF_LINE * 0x9e3779b97f4a7c15ull) >> 58);
}

static void touch_lines(struct txn *t, uint64_t off, uint64_t len)
{
	if (len > 64 * HF_LINE) {
		t->touched = UINT64_MAX;
		return;
	}
	for (uint64_t line = off / HF_LINE * HF_LINE; line < off + len; line += HF_LINE)
		t->touched |= line_bit(line);
}

bool txn_may_have(const struct txn *t, moff_t off, uint64_t len)
{
	uint64_t bits = 0;

	if (len > 64 * HF_LINE)
		return t->touched != 0;
	for (uint64_t line = off.v / HF_LINE * HF_LINE; line < off.v + len; line += HF_LINE)
		bits |= line_bit(line);
	return t->touched & bits;
}

/* The slot of a word's SET64 item, or the free slot where it belongs. */
static uint32_t *word_slot(struct txn *t, uint64_t off)
{
	uint32_t i = (uint32_t)((off >> 3) * 0x9e3779b1u) >> 21;

	static_assert(WORD_SLOTS == 1u << (32 - 21), "");
	while (t->word[i] >> 16 == t->gen) {
		if (FMT_ITEM_OFF(get64(t->rec + (t->word[i] & 0xffff))) == off)
			break;
		i = (i + 1) % WORD_SLOTS;
	}
	return &t->word[i];
}

/* Where the pending value of the word stands in rec; 0: nowhere. */
static uint32_t word_pending(struct txn *t, uint64_t off, const uint32_t *slot)
{
	uint32_t at = *slot >> 16 == t->gen ? (*slot & 0xffff) + 8 : 0;

	for (uint32_t i = t->ncopies; i-- > 0;) {
		uint32_t c = t->copy_at[i];
		uint64_t from = FMT_ITEM_OFF(get64(t->rec + c)), len = get64(t->rec + c + 8);

		if (c < at)
			break;
		if (off - from < len)
			return c + 16 + (uint32_t)(off - from);
	}
	return at;
}

bool txn_is_fresh(const struct txn *t, mblk_t b)
{
	for (uint32_t i = t->nfresh; i-- > 0;)
		if (t->fresh[i].v == b.v)
			return true;
	return false;
}

static bool off_is_fresh(const struct txn *t, uint64_t off)
{
	return t->nfresh > 0 && txn_is_fresh(t, moff_to_mblk(MOFF(off)));
}

void txn_set64(struct txn *t, moff_t off, uint64_t host_value)
{
	uint32_t *slot, at;

	HF_ASSERT(off.v % 8 == 0);
	if (off_is_fresh(t, off.v)) {
		pm_store64(t->j->pm, off, host_value);
		return;
	}
	slot = word_slot(t, off.v);
	at = t->touched & line_bit(off.v) ? word_pending(t, off.v, slot) : 0;
	if (at != 0) {
		put64(t->rec + at, host_value);
		return;
	}
	if (!item_fits(t, 16, off.v, 8))
		return;
	t->touched |= line_bit(off.v);
	*slot = (uint32_t)t->gen << 16 | t->used;
	put64(t->rec + t->used, FMT_ITEM(FMT_ITEM_SET64, off.v));
	put64(t->rec + t->used + 8, host_value);
	t->used += 16;
	t->items++;
	t->entries++;
}

uint64_t txn_load64(struct txn *t, moff_t off)
{
	uint32_t at;

	HF_ASSERT(off.v % 8 == 0);
	if (!(t->touched & line_bit(off.v)))
		return pm_load64(t->j->pm, off);
	at = word_pending(t, off.v, word_slot(t, off.v));
	return at != 0 ? get64(t->rec + at) : pm_load64(t->j->pm, off);
}

static void add_copy(struct txn *t, uint64_t off, const uint8_t *src, uint32_t len)
{
	if (len > FMT_RECORD_MAX) {
		txn_fail(t, err_set(-E2BIG, "transaction: more than %u bytes of changes",
				    FMT_RECORD_MAX));
		return;
	}
	if (!item_fits(t, 16 + len, off, len))
		return;
	put64(t->rec + t->used, FMT_ITEM(FMT_ITEM_COPY, off));
	put64(t->rec + t->used + 8, len);
	memcpy(t->rec + t->used + 16, src, len);
	t->copy_at[t->ncopies++] = (uint16_t)t->used;
	touch_lines(t, off, len);
	t->used += 16 + len;
	t->items++;
	t->entries += dirty_need(len);
}

void txn_copy(struct txn *t, moff_t off, const void *src, uint32_t len)
{
	const uint8_t *p = src;

	HF_ASSERT(off.v % 8 == 0);
	HF_ASSERT(len % 8 == 0);
	if (t->nfresh == 0) {
		if (len > 0)
			add_copy(t, off.v, p, len);
		return;
	}
	/* Block by block, each fresh or not. */
	while (len > 0) {
		uint32_t n = (uint32_t)min_u64(len, HF_BLOCK_SIZE - off.v % HF_BLOCK_SIZE);

		if (off_is_fresh(t, off.v))
			pm_store(t->j->pm, off, p, n);
		else
			add_copy(t, off.v, p, n);
		off.v += n;
		p += n;
		len -= n;
	}
}

/* Only a run that the last item of bits can take in is joined to it: items of bits keep their
 * order, so that setting and clearing the same bit does not change places. */
static bool join_bits(struct txn *t, unsigned kind, uint64_t bit, uint64_t count)
{
	uint8_t *p = t->rec + t->bits_at;
	uint64_t first, n;

	if (t->bits_at == 0 || FMT_ITEM_KIND(get64(p)) != kind)
		return false;
	first = FMT_ITEM_OFF(get64(p));
	n = get64(p + 8);
	if (bit != first + n && bit + count != first)
		return false;
	put64(p, FMT_ITEM(kind, min_u64(bit, first)));
	put64(p + 8, n + count);
	t->entries += dirty_need((n + count) / 8 + 16) - dirty_need(n / 8 + 16);
	return true;
}

static void add_bits(struct txn *t, unsigned kind, uint64_t bit, uint64_t count)
{
	uint64_t off = bit / 64 * 8, len = (bit % 64 + count + 63) / 64 * 8;

	if (count == 0)
		return;
	if (count > t->j->geo.nblocks) {
		txn_fail(t, err_set(-EUCLEAN, "transaction: %llu bits", (unsigned long long)count));
		return;
	}
	if (off_is_fresh(t, off)) {
		apply_bits(t->j->pm, bit, count, kind == FMT_ITEM_BITS_SET);
		return;
	}
	if (!item_fits(t, 0, off, len) || join_bits(t, kind, bit, count) || !item_room(t, 16))
		return;
	t->bits_at = t->used;
	put64(t->rec + t->used, FMT_ITEM(kind, bit));
	put64(t->rec + t->used + 8, count);
	t->used += 16;
	t->items++;
	t->entries += dirty_need(count / 8 + 16);
}

void txn_bits_set(struct txn *t, uint64_t media_bit, uint64_t count)
{
	add_bits(t, FMT_ITEM_BITS_SET, media_bit, count);
}

void txn_bits_clear(struct txn *t, uint64_t media_bit, uint64_t count)
{
	add_bits(t, FMT_ITEM_BITS_CLEAR, media_bit, count);
}

/* ---- what goes before the record */

void txn_fresh(struct txn *t, mblk_t b)
{
	if (!geo_block_ok(&t->j->geo, b)) {
		txn_fail(
		    t, err_set(-EUCLEAN, "transaction: fresh block %llu", (unsigned long long)b.v));
		return;
	}
	if (t->nfresh == t->fresh_cap) {
		mblk_t *p = realloc(t->fresh, 2 * t->fresh_cap * sizeof(p[0]));

		if (!p) {
			txn_fail(t, err_set(-ENOMEM, "transaction: out of memory"));
			return;
		}
		t->fresh = p;
		t->fresh_cap *= 2;
	}
	pm_zero(t->j->pm, mblk_to_moff(b), HF_BLOCK_SIZE);
	t->fresh[t->nfresh++] = b;
}

void txn_fence_first(struct txn *t)
{
	t->fence_first = true;
}

void *txn_data(struct txn *t, moff_t off, uint32_t len, _Atomic jopen_t *mark)
{
	uint32_t at = t->data_used;

	static_assert(TXN_DATA_BYTES <= FMT_ITEM_DATA_MAX, "");
	if (t->ndata == DATA_PIECES || len > TXN_DATA_BYTES - at) {
		txn_fail(t, err_set(-E2BIG, "transaction: more than %u bytes of data", TXN_DATA_BYTES));
		return NULL;
	}
	if (!item_fits(t, 24, off.v, len))
		return NULL;
	t->piece[t->ndata].off = off;
	t->piece[t->ndata].len = len;
	t->piece[t->ndata].at = at;
	t->piece[t->ndata].item = t->used;
	t->ndata++;
	t->mark = mark;
	put64(t->rec + t->used, FMT_ITEM(FMT_ITEM_DATA, off.v));
	put64(t->rec + t->used + 8, len);
	t->used += 24;
	t->items++;
	t->data_used += len;
	return t->data + at;
}

/* The hash is of the copy: the caller's buffer may change while it is being written. */
static void data_hashes(struct txn *t)
{
	for (uint32_t i = 0; i < t->ndata; i++)
		put64(t->rec + t->piece[i].item + 16, data_hash(&t->j->geo, t->data + t->piece[i].at, t->piece[i].len));
}

/* Durability: by the record's fence. Crash: the hash fails, and the record does not count. */
static int data_store(struct txn *t)
{
	int err = 0;

	for (uint32_t i = 0; i < t->ndata && !err; i++)
		err = pm_guarded_write_nt(t->j->pm, t->piece[i].off, t->data + t->piece[i].at, t->piece[i].len);
	return err;
}

/* Durability: fresh blocks and the caller's data are on the media, before a record points to them
 * (I-JNL-11). Crash: nothing points to them yet. */
static int settle_first(struct txn *t)
{
	int err = 0;

	if (t->nfresh == 0 && !t->fence_first)
		return 0;
	for (uint32_t i = 0; i < t->nfresh && !err; i++)
		err = pm_flush(t->j->pm, mblk_to_moff(t->fresh[i]), HF_BLOCK_SIZE);
	if (!err)
		err = pm_fence(t->j->pm);
	if (!err)
		return 0;
	/* A failed msync may have been about anybody's lines: nothing can be trusted to be in place
	 * any more. */
	journal_shutdown(t->j, err);
	return err_set(
	    -EIO,
	    "commit: flushing failed; the volume takes no more changes until it is mounted again");
}

/* ---- commit */

int txn_defer(struct txn *t, txn_fn *fn, void *ctx, uint64_t a, uint64_t b)
{
	if (t->ndefer == t->defer_cap) {
		struct defer *p = realloc(t->defer, 2 * t->defer_cap * sizeof(p[0]));

		if (!p) {
			txn_fail(t, err_set(-ENOMEM, "transaction: out of memory"));
			return -ENOMEM;
		}
		t->defer = p;
		t->defer_cap *= 2;
	}
	t->defer[t->ndefer++] = (struct defer){fn, ctx, a, b};
	return 0;
}

static void txn_finish(struct txn *t, jseq_t seq, enum txn_outcome outcome)
{
	for (uint32_t i = 0; i < t->ndefer; i++)
		t->defer[i].fn(t->defer[i].ctx, t->defer[i].a, t->defer[i].b, seq, outcome);
	txn_keep(t);
}

/* A lane with room for the record. A lane that is full is let go of before the checkpoint: whoever
 * waits holds none (I-JNL-9). */
static int claim_with_room(struct txn *t, uint32_t bytes, struct lane **out, bool *kick)
{
	struct journal *j = t->j;

	for (;;) {
		struct lane *l = lane_claim(j);
		int err;

		if (!l)
			return journal_refuse(j);
		if (t->entries > l->dirty.mask + 1) {
			lane_release(l);
			return err_set(-E2BIG, "transaction: it changes too many lines at once");
		}
		if (lane_make_room(j, l, bytes, t->entries, kick)) {
			*out = l;
			return 0;
		}
		lane_release(l);
		err = ckpt_make_room(j);
		if (err)
			return err;
	}
}

/* A number was taken, and the data cannot be stored: the record has no changes. */
static uint32_t make_empty(struct txn *t)
{
	t->items = 0;
	((struct fmt_record *)(void *)t->rec)->items = le32_of(0);
	memset(t->rec + RECORD_HEAD, 0, HF_LINE - RECORD_HEAD);
	return HF_LINE;
}

/* Another lane may be open for the same mark, where the thread's usual one was taken: it is sealed. If that fails nothing
 * can change its data any more, for the volume is shut down. */
static void mark_open(struct txn *t, const struct lane *l, jseq_t seq)
{
	jopen_t was = atomic_load_explicit(t->mark, memory_order_relaxed);

	atomic_store_explicit(t->mark, lane_open_mark(l, seq.v), memory_order_release);
	if (journal_is_open(t->j, was))
		(void)journal_seal(t->j, was);
}

/* Everything from the number to the end of the apply runs straight through: no lock, no allocation,
 * no waiting (I-JNL-9). Data come after the number too: a locked instruction would wait for them. */
static int commit_record(struct txn *t, jseq_t *seq, enum txn_outcome *outcome)
{
	struct journal *j = t->j;
	uint32_t bytes = (uint32_t)round_up_u64(t->used, HF_LINE);
	bool kick = false;
	struct lane *l = NULL;
	uint64_t pos;
	int err, bad;

	memset(t->rec + t->used, 0, bytes - t->used);
	((struct fmt_record *)(void *)t->rec)->items = le32_of(t->items);
	data_hashes(t);
	err = claim_with_room(t, bytes, &l, &kick);
	if (err)
		return err;
	*seq = lane_take_number(j, l);
	bad = data_store(t);
	if (bad)
		bytes = make_empty(t);
	err = lane_write(j, l, *seq, t->rec, bytes);
	if (err) {
		/* I-JNL-10: the record may be on the media or not. The lane stays claimed and in
		 * flight, so that C can never pass the number, and nothing is applied. */
		journal_shutdown(j, err);
		*outcome = TXN_FAILED;
		return err_set(-EIO, "commit: the fence failed; the volume takes no more changes "
				     "until it is mounted "
				     "again, and this one may then be found done");
	}
	pos = atomic_load_explicit(&l->dirty.head, memory_order_relaxed);
	apply_items(j->pm, &l->dirty, &pos, t->rec + RECORD_HEAD, t->items);
	atomic_store_explicit(&l->dirty.head, pos, memory_order_release);
	data_remember(l, t->rec + RECORD_HEAD, t->items);
	lane_done(l, bytes, t->ndata && !bad ? seq->v : 0);
	if (kick)
		ckpt_kick(j);
	if (bad)
		return bad;
	if (t->ndata)
		mark_open(t, l, *seq);
	*outcome = TXN_COMMITTED;
	return 0;
}

int txn_commit(struct txn *t, jseq_t *seq_out)
{
	enum txn_outcome outcome = TXN_ABORTED;
	jseq_t seq = JSEQ(0);
	int err = t->err;

	if (!err && !txn_is_empty(t)) {
		if (t->j->read_only)
			err = err_set(-EROFS, "the volume is mounted read-only");
		else if (journal_state(t->j) != 0)
			err = journal_refuse(t->j); /* also of what may have been read from bad media: after the last read */
		else
			err = settle_first(t);
	}
	if (!err && t->items > 0)
		err = commit_record(t, &seq, &outcome);
	else if (!err)
		outcome = TXN_COMMITTED;
	if (seq_out)
		*seq_out = seq;
	txn_finish(t, seq, outcome);
	return err;
}

void txn_abort(struct txn *t)
{
	txn_finish(t, JSEQ(0), TXN_ABORTED);
}
